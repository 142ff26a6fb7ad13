"""`openeni drain-node`: what is to be done before a node goes, and when it has gone."""

import json
from typing import Any

import pytest

from openeni_cli.commands import POLL_SECONDS
from openeni_crds.meta import Json
from openeni_crds.names import ENIS, NODES, PODIPS, PODS
from openeni_kube.store import StoreError
from openeni_testing.cli_cluster import READY, CliCluster, condition
from openeni_testing.objects import remove

Capture = pytest.CaptureFixture[str]


def drained(cluster: CliCluster, capsys: Capture, *words: str) -> Json:
    code = cluster.run("drain-node", "n1", "-o", "json", *words)
    found: Json = json.loads(capsys.readouterr().out)
    assert code == (0 if found["stage"] in {"Removable", "Released"} else 1)
    return found


def is_cordoned(cluster: CliCluster) -> bool:
    return bool(cluster.store.get(NODES, "n1")["spec"].get("unschedulable"))


def kept(cluster: CliCluster, name: str, **spec: Any) -> None:
    retained = condition("Retained", "Retained", status="True")
    cluster.podip(name, READY, retained, retention="1h", **spec)


def test_a_node_is_cordoned_and_its_pods_are_named(cluster: CliCluster, capsys: Capture) -> None:
    cluster.eni("pods-0")
    cluster.podip("web-0")
    found = drained(cluster, capsys)
    assert is_cordoned(cluster)
    assert (found["stage"], found["pods"]) == ("InUse", ["default/web-0"])
    assert "kubectl drain n1 --ignore-daemonsets" in found["next"]


def test_a_dry_run_changes_nothing(cluster: CliCluster, capsys: Capture) -> None:
    found = drained(cluster, capsys, "--dry-run", "--wait", "600")
    assert not is_cordoned(cluster)
    assert found["stage"] == "Schedulable"


def test_a_node_without_pods_may_be_removed_its_enis_go_with_it(
    cluster: CliCluster, capsys: Capture
) -> None:
    cluster.eni("pods-0")
    found = drained(cluster, capsys)
    assert (found["stage"], found["enis"]) == ("Removable", ["pods-0"])
    assert "spec.nodeSelector of pods" in found["next"]


def test_a_node_that_has_left_its_pools_waits_for_its_enis(
    cluster: CliCluster, capsys: Capture
) -> None:
    cluster.eni("pods-0")
    change = [{"op": "replace", "path": "/spec/providerID", "value": ""}]
    cluster.store.patch(NODES, "n1", operations=change)
    assert drained(cluster, capsys)["stage"] == "Releasing"
    remove(cluster.store, ENIS, "pods-0")
    assert drained(cluster, capsys)["stage"] == "Released"


def test_a_node_that_has_gone_is_released_when_its_enis_have(
    cluster: CliCluster, capsys: Capture
) -> None:
    cluster.eni("pods-0")
    cluster.store.delete(NODES, "n1")
    assert drained(cluster, capsys)["stage"] == "Releasing"
    remove(cluster.store, ENIS, "pods-0")
    assert cluster.run("drain-node", "n1") == 3
    assert "nothing of openeni's is left of it" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("growth", "says"), [("Elastic", "its next pod gets"), ("Static", "cannot move")]
)
def test_kept_addresses_do_not_hold_a_node_and_say_whether_they_move(
    cluster: CliCluster, capsys: Capture, growth: str, says: str
) -> None:
    cluster.pool("grown", growth=growth)
    kept(cluster, "web-0", poolName="grown")
    assert cluster.run("drain-node", "n1") == 0
    text = capsys.readouterr().out
    assert text.startswith("node n1: may be removed\n")
    assert "kept for default/web-0: 10.98.0.5" in text
    assert says in text


def test_pods_of_daemonsets_end_with_the_node_and_hold_nothing(
    cluster: CliCluster, capsys: Capture
) -> None:
    """`kubectl drain --ignore-daemonsets` leaves them."""
    for name, kind in (("logs-x", "DaemonSet"), ("static-n1", "Node")):
        owner = {"apiVersion": "v1", "kind": kind, "name": "o", "uid": "u"}
        body: Json = {
            "metadata": {"name": name, "namespace": "default", "ownerReferences": [owner]},
            "spec": {"nodeName": "n1"},
        }
        cluster.put(PODS, body)
        cluster.podip(name)
    found = drained(cluster, capsys)
    assert (found["stage"], found["pods"]) == ("Removable", [])
    assert found["daemonPods"] == ["default/logs-x", "default/static-n1"]
    change = [{"op": "replace", "path": "/spec/providerID", "value": ""}]
    cluster.store.patch(NODES, "n1", operations=change)
    assert drained(cluster, capsys)["stage"] == "Releasing"  # they hold their ENI


def test_it_waits_until_the_pods_have_gone(
    cluster: CliCluster, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster.podip("web-0")
    waits: list[float] = []

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 3:
            remove(cluster.store, PODIPS, "web-0", "default")

    monkeypatch.setattr("openeni_cli.commands.time.sleep", sleep)
    assert drained(cluster, capsys, "--wait", "600")["stage"] == "Removable"
    assert waits == [POLL_SECONDS] * 3


def test_a_node_that_nobody_knows_is_an_error(cluster: CliCluster, capsys: Capture) -> None:
    assert cluster.run("drain-node", "n7") == 3
    assert "there is no Node 'n7'" in capsys.readouterr().err


def test_who_may_not_cordon_is_told_so(
    cluster: CliCluster, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise StoreError(403, 'nodes "n1" is forbidden: User "eve" cannot patch')

    monkeypatch.setattr(cluster.store, "patch", refuse)
    assert cluster.run("drain-node", "n1") == 3
    said = capsys.readouterr().err
    assert said.startswith('openeni: cannot cordon n1: nodes "n1" is forbidden')
