"""What a person on call reads first: the cause and the way out, each once."""

import json
from typing import Any

import pytest

from openeni_crds.conditions import Reason
from openeni_crds.names import EVENTS, NAMESPACES, NODES, PODS
from openeni_crds.reasons import REASONS
from openeni_testing.cli_cluster import HOME, READY, CliCluster, ago, condition

Json = dict[str, Any]
Capture = pytest.CaptureFixture[str]
REFUSED = "cloud 'default': Keystone rejects the credentials"
NOT_YET = "not known yet: see the condition Ready"


@pytest.fixture
def cluster() -> CliCluster:
    """Return a cluster with two nodes and no pool, on which all is well."""
    found = CliCluster()
    found.install("n1", "n2")
    return found


def told(cluster: CliCluster, capsys: Capture, *words: str) -> list[str]:
    """Return the lines that a command prints which finds something wrong."""
    assert cluster.run(*words) == 1
    return capsys.readouterr().out.splitlines()


def remedy(reason: Reason) -> str:
    return f"    what to do: {REASONS[reason].plain_remedy}"


def waiting_pod(cluster: CliCluster, node: str) -> None:
    cluster.put(NAMESPACES, {"metadata": {"name": "default", "labels": {}}})
    body: Json = {"metadata": {"name": "web-0", "namespace": "default"}, "spec": {"nodeName": node}}
    scheduled = condition("PodScheduled", "", status="True")
    cluster.put(PODS, body, {"phase": "Pending", "conditions": [scheduled]})


def test_a_refused_credential_is_one_problem_of_pool_and_enis(
    cluster: CliCluster, capsys: Capture
) -> None:
    reason = Reason.CREDENTIALS_INVALID
    quoted = f"ENI pods-0 on node n1: {REFUSED}"
    cluster.pool(
        "pods",
        condition("CapacityAvailable", reason, message=quoted),
        condition("CloudReachable", reason, message=REFUSED),
        condition("Supported", reason, status="Unknown", message=NOT_YET),
        condition("Ready", reason, message=REFUSED),
    )
    cluster.eni(
        "pods-0",
        condition("PortReady", reason, message=REFUSED, since=300),
        condition("Attached", "WaitingForPort", message="see the condition PortReady"),
        condition("LinkReady", "WaitingForAttach"),
        condition("Ready", reason, message=REFUSED),
    )
    cluster.eni("pods-1", on="n2")
    types = "CloudReachable, CapacityAvailable, Supported"
    assert told(cluster, capsys, "status")[:6] == [
        "1 problem with 2 objects",
        "",
        f"ENIPool pods: {reason} ({types}), for 60m: {REFUSED}",
        f"ENI pods-0: {reason} (PortReady), for 5m",
        remedy(reason),
        "",
    ]


def test_a_term_that_selects_nothing_is_named_though_only_ready_names_it(
    cluster: CliCluster, capsys: Capture
) -> None:
    why = "spec.subnets[0]: cloud 'default' has no subnet with the name 'nope'"
    cluster.pool(
        "pods",
        condition("Supported", "NotFound", status="Unknown", message=NOT_YET),
        condition("CapacityAvailable", "NotFound", status="Unknown", message=NOT_YET),
        condition("Ready", "NotFound", message=why),
    )
    assert told(cluster, capsys, "status")[2].endswith(f": {why}")


def test_a_reason_of_ready_alone_is_not_hidden_by_another_problem(
    cluster: CliCluster, capsys: Capture
) -> None:
    cluster.pool(
        "pods",
        condition("PortsOwned", "OrphanedPorts"),
        condition("Ready", "WaitingForNodes", message="spec.nodeSelector matches no node"),
    )
    lines = told(cluster, capsys, "status")
    assert lines[0] == "2 problems"
    assert any(line.endswith("spec.nodeSelector matches no node") for line in lines)


def test_an_exhausted_subnet_has_one_way_out_and_a_pod_that_waits_for_it_says_why(
    cluster: CliCluster, capsys: Capture
) -> None:
    reason, why = Reason.SUBNET_EXHAUSTED, "spec.subnets: subnet 'pods' has no free address"
    cluster.pool("pods", condition("CapacityAvailable", reason, message=why), READY)
    of_port = "cloud 'default': no free address in subnet pods"
    cluster.eni("pods-0", condition("PortReady", reason, message=of_port), port=None)
    lines = told(cluster, capsys, "status")
    assert lines[0] == "1 problem with 2 objects"
    assert lines.count(remedy(reason)) == 1
    waiting_pod(cluster, "n1")
    head, cause, way_out, *_ = told(cluster, capsys, "trace", "pod", "default/web-0")
    assert head == "the address of pod default/web-0 waits at ENI"
    assert cause == f"why: pods-0, no port yet; PortReady is False, {reason}: {of_port}"
    assert way_out == f"what to do: {REASONS[reason].plain_remedy}"


def test_a_pod_that_waits_for_an_address_has_what_its_agent_says_and_the_way_out(
    cluster: CliCluster, capsys: Capture
) -> None:
    cluster.pool()
    cluster.eni("pods-0")
    waiting_pod(cluster, "n1")
    for reason, seconds in (("AddressesExhausted", 60), ("FailedCreatePodSandBox", 5)):
        about = {"kind": "Pod", "namespace": "default", "name": "web-0"}
        event: Json = {
            "metadata": {"name": reason.lower(), "namespace": "default"},
            "regarding": about,
            "reason": reason,
            "note": f"{reason} it says",
            "type": "Warning",
            "eventTime": ago(seconds),
        }
        cluster.put(EVENTS, event)
    _, cause, way_out, *_ = told(cluster, capsys, "trace", "pod", "default/web-0")
    assert cause == "why: AddressesExhausted: AddressesExhausted it says"
    assert way_out.startswith("what to do: The operator adds an ENI, up to")


def test_an_eni_that_is_kept_from_going_says_by_what(cluster: CliCluster, capsys: Capture) -> None:
    why = "waiting for the node's agent to give up every address of port p; pods may use some"
    cluster.pool()
    cluster.eni("pods-0", condition("Ready", Reason.DELETING, message=why, since=900))
    lines = told(cluster, capsys, "status")
    assert lines[2:4] == [
        f"ENI pods-0: Deleting (Ready), for 15m: {why}",
        remedy(Reason.DELETING),
    ]


def test_a_podip_that_waits_for_an_address_has_the_reason_that_keeps_it(
    cluster: CliCluster, capsys: Capture
) -> None:
    cluster.pool()
    cluster.podip(
        "web-0",
        condition("Assigned", "WaitingForAddress", since=400),
        condition("Placed", "AddressTaken", message="10.98.0.7 is on port gateway", since=400),
        condition("Ready", "WaitingForAddress", since=400),
    )
    lines = told(cluster, capsys, "status")
    assert lines[:3] == [
        "1 problem",
        "",
        "PodIP default/web-0: AddressTaken (Placed), for 6m: 10.98.0.7 is on port gateway",
    ]


def test_an_agent_that_is_down_has_its_last_words_and_a_command_that_can_be_copied(
    cluster: CliCluster, capsys: Capture
) -> None:
    cluster.pool()
    name = "openeni-agent-n2"
    cluster.store.delete(PODS, name, HOME)
    ended = {"reason": "Error", "exitCode": 1, "message": "INFO starts\nOPENENI_MARK_MASK: 0\n"}
    state = {"waiting": {"reason": "CrashLoopBackOff"}}
    crashed: Json = {"name": "agent", "state": state, "lastState": {"terminated": ended}}
    unready = condition("Ready", "ContainersNotReady", since=600)
    cluster.workload_pod(name, "agent", "n2", conditions=[unready], containerStatuses=[crashed])
    cluster.store.delete(NODES, "n2")
    taint = {"key": "node.openeni.io/agent-not-ready", "timeAdded": ago(590)}
    cluster.node("n2", taints=[taint])
    lines = told(cluster, capsys, "status")
    assert lines[2].endswith("it ended last by Error (exit code 1): OPENENI_MARK_MASK: 0")
    assert lines[3].endswith(f": kubectl -n {HOME} logs --previous {name}")
    assert lines[5].startswith("Node n2: AgentNotReady, for 9m: ")
    assert "those that run keep their network" in lines[5]
    assert f"see the agent {HOME}/{name}" in lines[6]
    waiting_pod(cluster, "n2")
    head, cause, way_out, *_ = told(cluster, capsys, "trace", "pod", "default/web-0")
    assert (head.split()[-1], cause) == ("Agent", f"why: {name} is not ready")
    assert "`openeni status` says why" in way_out


def test_without_openeni_no_node_is_a_problem_of_its_own(capsys: Capture) -> None:
    found = CliCluster()
    found.node("n1")
    found.pool()
    assert found.run("status", "-o", "json") == 1
    (problem,) = json.loads(capsys.readouterr().out)["problems"]
    assert problem["reason"] == "NotInstalled"


def test_no_remedy_is_markdown() -> None:
    assert not [reason for reason, entry in REASONS.items() if "](" in entry.plain_remedy]
