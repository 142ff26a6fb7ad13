"""`openeni trace pod`: each station of an address, and the one where it waits."""

import json
from typing import Any

import pytest

from openeni_crds.conditions import Reason
from openeni_crds.meta import Json
from openeni_crds.names import ENIS, EVENTS, NAMESPACES, PODS
from openeni_crds.reasons import REASONS
from openeni_testing.cli_cluster import READY, CliCluster, ago, condition
from openeni_testing.objects import port_status

Capture = pytest.CaptureFixture[str]
ENI = "pods-2f1f9a3e-0"


@pytest.fixture
def cluster(cluster: CliCluster) -> CliCluster:
    cluster.put(NAMESPACES, {"metadata": {"name": "default", "labels": {}}})
    return cluster


def pod(cluster: CliCluster, *, node: str = "n1", spec: Json | None = None, **status: Any) -> str:
    """Put a pod web-0; return its UID."""
    body: Json = {
        "metadata": {"name": "web-0", "namespace": "default"},
        "spec": ({"nodeName": node} if node else {}) | (spec or {}),
    }
    scheduled = condition("PodScheduled", "", status="True" if node else "False", since=50)
    conditions = [scheduled, *status.pop("conditions", ())]
    shown = {"phase": "Pending", "conditions": conditions} | status
    made = cluster.put(PODS, body, shown, created=55)
    return str(made["metadata"]["uid"])


def event(cluster: CliCluster, reason: str, note: str, kind: str = "Pod", **more: Any) -> None:
    name = ENI if kind == "ENI" else "web-0"
    namespace = "" if kind == "ENI" else "default"
    body: Json = {
        "metadata": {"name": f"{reason.lower()}-{len(note)}", "namespace": "default"},
        "regarding": {"kind": kind, "namespace": namespace, "name": name},
        "reason": reason,
        "note": note,
        "type": "Warning",
        "eventTime": ago(10),
    }
    cluster.put(EVENTS, body | more)


def traced(cluster: CliCluster, capsys: Capture) -> tuple[str, dict[str, Json]]:
    """Return where the address stands, and the stations by name."""
    code = cluster.run("trace", "pod", "default/web-0", "-o", "json")
    found: Json = json.loads(capsys.readouterr().out)
    assert code == (1 if found["standsAt"] else 0)
    return found["standsAt"], {s["name"]: s for s in found["stations"]}


def served(cluster: CliCluster) -> None:
    """Put a pod that has its address."""
    started = condition("PodReadyToStartContainers", "", status="True", since=40)
    uid = pod(cluster, conditions=[started], podIPs=[{"ip": "10.98.0.5"}])
    cluster.eni(ENI)
    built = condition("DatapathReady", "Applied", status="True", since=45)
    cluster.podip("web-0", built, podUID=uid, containerID="5d1b", created=46)
    line = {
        "event": "GrantBegan",
        "time": ago(47).replace("Z", ".120Z"),
        "node": "n1",
        "podUID": uid,
        "containerID": "5d1b",
        "addresses": ["10.98.0.5"],
    }
    text = json.dumps(line, separators=(",", ":"))
    cluster.logs.texts["openeni-agent-n1", False] = [text]


def test_an_address_that_has_arrived_has_the_times_of_its_stations(
    cluster: CliCluster, capsys: Capture
) -> None:
    served(cluster)
    stands_at, stations = traced(cluster, capsys)
    assert stands_at == ""
    assert {s["state"] for s in stations.values()} == {"Done"}
    passed = ("Pod", "Scheduled", "Granted", "PodIP", "Datapath", "Started")
    times = [stations[name]["at"] for name in passed]
    assert times == sorted(times)
    assert "10.98.0.5" in stations["Granted"]["detail"]
    assert "port b7a1f2de" in stations["ENI"]["detail"]


def test_the_text_has_each_station_and_the_events(cluster: CliCluster, capsys: Capture) -> None:
    served(cluster)
    event(cluster, "Pulled", "Container image", type="Normal", deprecatedCount=3)
    assert cluster.run("trace", "pod", "default/web-0") == 0
    text = capsys.readouterr().out
    assert text.startswith("the address of pod default/web-0 has passed every station\n")
    assert "Pod web-0: Pulled (3 times): Container image" in text
    words = ("Pod", "Scheduled", "Pool", "Agent", "ENI", "Granted", "PodIP", "Datapath", "Started")
    assert [w for w in words if f"\n{w} " in text] == list(words)


def test_a_pod_without_a_node_waits_for_the_scheduler(cluster: CliCluster, capsys: Capture) -> None:
    pod(cluster, node="")
    stands_at, stations = traced(cluster, capsys)
    assert stands_at == "Scheduled"
    assert stations["Scheduled"]["remedy"]


def test_a_pod_that_no_pool_selects_is_told_as_its_agent_would(
    cluster: CliCluster, capsys: Capture
) -> None:
    cluster.store.delete(ENIS, ENI)
    pod(cluster, spec={"nodeName": "n1"})
    cluster.pool("reserved", spec={"priority": 5, "namespaceSelector": {"matchLabels": {"a": "b"}}})
    _, stations = traced(cluster, capsys)
    assert stations["Pool"]["detail"] == "pods (Veth)"
    cluster.store.patch(
        PODS,
        "web-0",
        "default",
        operations=[
            {"op": "add", "path": "/metadata/annotations", "value": {"openeni.io/pool": "reserved"}}
        ],
    )
    stands_at, stations = traced(cluster, capsys)
    assert stands_at == "Pool"
    assert "does not permit pods of namespace 'default'" in stations["Pool"]["detail"]


def test_without_an_agent_there_is_no_add(cluster: CliCluster, capsys: Capture) -> None:
    cluster.node("n2")
    pod(cluster, node="n2")
    assert traced(cluster, capsys)[0] == "Agent"


def test_an_eni_that_is_not_ready_has_its_reason_and_what_to_do(
    cluster: CliCluster, capsys: Capture
) -> None:
    pod(cluster)
    bad = condition("Attached", "NoHotplugSlot", message="No available PCI slots")
    cluster.eni(ENI, bad, condition("Ready", "NoHotplugSlot"))
    stands_at, stations = traced(cluster, capsys)
    assert stands_at == "ENI"
    assert "No available PCI slots" in stations["ENI"]["detail"]
    assert stations["ENI"]["remedy"] == REASONS[Reason.NO_HOTPLUG_SLOT].plain_remedy


def test_an_add_that_gets_no_address_has_the_agents_event(
    cluster: CliCluster, capsys: Capture
) -> None:
    pod(cluster)
    node = {"granted": 15, "available": 0, "cooling": 2}
    port = port_status("p") | {"addresses": [f"10.98.0.{i}" for i in range(11, 26)]}
    cluster.eni(ENI, READY, node=node, port=port)
    event(cluster, "AddressesExhausted", "every address is granted or cools down")
    event(cluster, "FailedCreatePodSandBox", "plugin type=openeni failed", eventTime=ago(30))
    event(cluster, "BandwidthNotLimited", "of the sandbox before", eventTime=ago(5))
    stands_at, stations = traced(cluster, capsys)
    assert stands_at == "Granted"
    assert stations["ENI"]["detail"] == "1 ready, with 0 addresses free and 2 cooling down"
    assert stations["Granted"]["detail"].startswith("AddressesExhausted: every address")


def test_a_datapath_that_is_not_as_planned_has_its_reason(
    cluster: CliCluster, capsys: Capture
) -> None:
    uid = pod(cluster, podIPs=[{"ip": "10.98.0.5"}])
    cluster.eni(ENI)
    bad = condition("DatapathReady", "KernelRefused", message="route: File exists")
    cluster.podip("web-0", bad, podUID=uid)
    stands_at, stations = traced(cluster, capsys)
    assert stands_at == "Datapath"
    assert "route: File exists" in stations["Datapath"]["detail"]
    assert stations["Granted"]["state"] == "Unknown"  # its line is in no log any more


def test_an_address_that_neutron_lost_is_at_the_podip(cluster: CliCluster, capsys: Capture) -> None:
    uid = pod(cluster, podIPs=[{"ip": "10.98.0.5"}])
    cluster.eni(ENI)
    cluster.podip("web-0", condition("AddressLost", "PortLost", status="True"), podUID=uid)
    assert traced(cluster, capsys)[0] == "PodIP"


def test_an_address_of_another_plugin_is_not_ours(cluster: CliCluster, capsys: Capture) -> None:
    pod(cluster, podIPs=[{"ip": "192.0.2.7"}])
    cluster.eni(ENI)
    _, stations = traced(cluster, capsys)
    assert "which is not of openeni" in stations["Started"]["detail"]


@pytest.mark.parametrize(
    ("spec", "status", "says"),
    [
        ({"hostNetwork": True}, {}, "uses its node's own network"),
        ({}, {"phase": "Succeeded"}, "has ended (Succeeded)"),
    ],
)
def test_a_pod_that_is_to_have_no_address_waits_for_none(
    cluster: CliCluster, capsys: Capture, spec: Json, status: Json, says: str
) -> None:
    pod(cluster, spec=spec, **status)
    stands_at, stations = traced(cluster, capsys)
    assert stands_at == ""
    assert says in stations["Network"]["detail"]


def test_a_pod_that_has_gone_and_keeps_its_address(cluster: CliCluster, capsys: Capture) -> None:
    cluster.eni(ENI)
    gone = [condition(t, "Retained") for t in ("Assigned", "DatapathReady")]
    kept = condition("Retained", "Retained", status="True")
    cluster.podip("web-0", *gone, kept, retention="1h")
    stands_at, stations = traced(cluster, capsys)
    assert stands_at == ""
    assert list(stations) == ["Pod", "PodIP"]
    assert "kept for the next pod of this name, for 1h" in stations["PodIP"]["detail"]


def test_a_pod_that_has_gone_leaves_its_podip_to_its_nodes_agent(
    cluster: CliCluster, capsys: Capture
) -> None:
    cluster.podip("web-0")
    stands_at, stations = traced(cluster, capsys)
    assert stands_at == "PodIP"
    assert "the agent of node n1 gives it up" in stations["PodIP"]["detail"]


def test_the_podip_of_an_earlier_pod_of_the_name_is_not_its_own(
    cluster: CliCluster, capsys: Capture
) -> None:
    cluster.eni(ENI)
    cluster.podip("web-0", podUID="of-another", nodeName="n9")
    pod(cluster)
    assert cluster.run("trace", "pod", "default/web-0") == 1
    text = capsys.readouterr().out
    assert text.startswith("the address of pod default/web-0 waits at Granted\n")
    assert "note: the PodIP default/web-0 is of an earlier pod of this name" in text
    assert "node n9" in text


def test_a_pod_that_never_was_is_told_where_to_ask(cluster: CliCluster, capsys: Capture) -> None:
    assert cluster.run("trace", "pod", "default/web-9") == 3
    (line,) = capsys.readouterr().err.splitlines()
    assert "there is no pod default/web-9" in line
    assert "openeni whois ADDRESS --history" in line


@pytest.mark.parametrize("text", ["web-0", "/web-0", "shop/", "a/b/c"])
def test_a_pod_is_named_with_its_namespace(text: str, capsys: Capture) -> None:
    assert CliCluster().run("trace", "pod", text) == 2
    assert "NAMESPACE/NAME" in capsys.readouterr().err
