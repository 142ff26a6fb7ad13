"""What a look reports of a NIC is of the port whose NIC it is, and nothing overwrites it."""

from collections.abc import Callable, Collection
from pathlib import Path

import pytest

from openeni_crds.conditions import Reason
from openeni_crds.eni import ENI
from openeni_crds.meta import decode
from openeni_crds.names import ENIS
from openeni_crds.status.eni import NodeStatus
from openeni_nodeagent.cluster.facts import eni_facts
from openeni_nodeagent.datapath_api import (
    ENIFacts,
    Hold,
    LinkFacts,
    NodeReport,
    NodeSnapshot,
    WantedNode,
)
from openeni_nodeagent.enis.link_status import ConditionValue
from openeni_nodeagent.grants.grant import Grant
from openeni_testing.agent import node_objects
from openeni_testing.agent.memory_datapath import MemoryDatapath, MemorySnapshot
from openeni_testing.agent.parts import AgentParts

OLD, NEW = node_objects.mac(0), node_objects.mac(9)
UP = ConditionValue(ok=True, reason=Reason.LINK_UP)


def facts_of(parts: AgentParts) -> ENIFacts:
    (eni,) = parts.caches.enis.all()
    facts = eni_facts(eni)
    assert facts
    return facts


def reported(parts: AgentParts) -> NodeStatus:
    """Publish; return what the ENI's status says of the node then."""
    parts.eni_publisher().reconcile("pods-0")
    node = decode(parts.store.get(ENIS, "pods-0"), ENI).status.node
    assert node
    return node


def with_pod(folder: Path, *, replaced: bool) -> tuple[AgentParts, Grant]:
    """Return an agent with a pod, whose ENI has another port by now if that is `replaced`."""
    parts = AgentParts(folder, datapath=MemoryDatapath(OLD, NEW))
    parts.create_objects()
    pod = parts.grant("web", "web")
    parts.look()
    if replaced:
        node_objects.write_operator_status(parts.store, number=9)
        parts.sync()
    parts.look()
    assert parts.looks.difference(pod.attachment) is None
    return parts, pod


@pytest.mark.parametrize("replaced", [False, True])
def test_a_pod_whose_nic_is_gone_is_not_as_planned(tmp_path: Path, replaced: bool) -> None:
    parts, pod = with_pod(tmp_path, replaced=replaced)
    parts.datapath.nics.remove(OLD)
    parts.look()
    found = parts.looks.difference(pod.attachment)
    assert found
    assert found.reason == Reason.WAITING_FOR_NIC


def test_the_nic_of_another_port_is_nothing_to_a_pod(tmp_path: Path) -> None:
    parts, pod = with_pod(tmp_path, replaced=True)
    parts.datapath.nics.remove(NEW)
    parts.look()
    assert parts.looks.difference(pod.attachment) is None


def test_an_eni_with_a_pod_on_a_former_port_is_not_idle(tmp_path: Path) -> None:
    parts, _ = with_pod(tmp_path, replaced=True)
    node = reported(parts)
    assert (node.granted, node.idle_since) == (0, "")


def test_the_link_that_is_reported_is_the_one_that_the_nic_has_now(tmp_path: Path) -> None:
    """A NIC that is plugged again has another index, and perhaps another name."""
    parts, _ = with_pod(tmp_path, replaced=False)
    before = reported(parts)
    assert (before.device, before.ifindex) == ("ens100", 100)
    parts.datapath.plugged[OLD] += 1
    parts.look()
    after = reported(parts)
    assert (after.device, after.ifindex) == ("ens200", 200)


@pytest.mark.parametrize("replaced", [False, True])
def test_a_pod_whose_nic_was_plugged_again_is_looked_into(tmp_path: Path, replaced: bool) -> None:
    """In the look that finds the NIC: its pods have no network until they are built again."""
    parts, _ = with_pod(tmp_path, replaced=replaced)
    parts.datapath.looked_into.clear()
    parts.datapath.plugged[OLD] += 1
    parts.look()
    assert parts.datapath.looked_into.keys() == {"web"}
    parts.datapath.looked_into.clear()
    parts.look()
    assert not parts.datapath.looked_into


def test_a_nic_that_comes_back_under_its_index_is_another_one(tmp_path: Path) -> None:
    """As one that was in another namespace, where somebody may have chosen its index."""
    parts, _ = with_pod(tmp_path, replaced=False)
    parts.datapath.nics.remove(OLD)
    parts.look()
    parts.datapath.looked_into.clear()
    parts.datapath.nics.add(OLD)
    parts.look()
    assert parts.datapath.looked_into.keys() == {"web"}


def test_a_pod_that_was_built_during_the_look_that_saw_its_nic_go_is_looked_into(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It stands on the NIC of before, and no look has known it with that one."""
    parts, _ = with_pod(tmp_path, replaced=False)
    parts.datapath.looked_into.clear()
    reconcile = parts.datapath.reconcile

    def slow(snapshot: NodeSnapshot, wanted: WantedNode, hold: Hold) -> NodeReport:
        monkeypatch.undo()
        parts.grant("late", "late")
        parts.datapath.plugged[OLD] += 1
        return reconcile(snapshot, wanted, hold)

    monkeypatch.setattr(parts.datapath, "reconcile", slow)
    for _ in range(2):
        parts.look()
    assert parts.datapath.looked_into.keys() == {"web", "late"}


@pytest.mark.parametrize("during", [False, True])
def test_a_pod_that_follows_its_addresses_to_another_nic_is_looked_into(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, during: bool
) -> None:
    """Also if the API shows the new port `during` a look, whose NIC is there already."""
    parts = AgentParts(tmp_path, datapath=MemoryDatapath(OLD))
    parts.create_objects()
    parts.grant("web", "web")
    parts.look()
    parts.look()
    parts.datapath.looked_into.clear()
    parts.datapath.nics = {NEW}
    parts.look()
    port = parts.store.get(ENIS, "pods-0")["status"]["port"] | {"id": "b", "macAddress": NEW}
    operations = [{"op": "replace", "path": "/status/port", "value": port}]
    parts.store.patch(ENIS, "pods-0", operations=operations, subresource="status")
    observe = parts.datapath.observe

    def observe_slowly(enis: Collection[ENIFacts]) -> MemorySnapshot:
        found = observe(enis)
        monkeypatch.undo()
        parts.sync(look=False)
        return found

    if during:
        monkeypatch.setattr(parts.datapath, "observe", observe_slowly)
        parts.looks.look()
    else:
        parts.sync(look=False)
    for _ in range(3):
        parts.look()
    assert parts.datapath.looked_into.keys() == {"web"}


def test_the_report_about_a_former_port_is_not_taken_for_the_present_ones(tmp_path: Path) -> None:
    """A look that began before the port was replaced."""
    parts = AgentParts(tmp_path, datapath=MemoryDatapath(OLD))
    parts.create_objects()
    before = facts_of(parts)
    node_objects.write_operator_status(parts.store, number=9)
    parts.sync(look=False)
    parts.links.report_link(before, UP, LinkFacts("ens7", 7))
    assert not parts.links.is_link_ready("pods-0")


def test_a_report_that_comes_while_guards_are_swept_is_not_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Looks go on meanwhile."""
    parts = AgentParts(tmp_path)
    parts.create_objects()
    parts.grants.forget("pods-0")  # nothing keeps the former port
    node_objects.write_operator_status(parts.store, number=9)

    def sweep(_: Callable[[], Collection[str]]) -> None:
        parts.links.report_link(facts_of(parts), UP, LinkFacts("e", 9))

    monkeypatch.setattr(parts.guards, "sweep", sweep)
    parts.sync(look=False)
    assert parts.links.is_link_ready("pods-0")
