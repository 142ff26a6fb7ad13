"""What a look at the node tells of pods' namespaces, and what the host's slave lacks."""

from dataclasses import replace

import pytest

from openeni_crds.names import host_link
from openeni_nodeagent.datapath.inside import taken_addresses
from openeni_nodeagent.datapath.inside.taken_addresses import TakenAddresses
from openeni_nodeagent.datapath.ipvlan import slave_items
from openeni_nodeagent.datapath.model import Address, Link, Operation, Verb
from openeni_nodeagent.datapath.node.host_slaves import missing_addresses
from openeni_nodeagent.datapath.node.plan import eni_part
from openeni_nodeagent.datapath_api import NodeReport, WantedNode, WantedPod
from openeni_testing.agent.clock import Clock
from openeni_testing.network.node import DATAPATHS, PLANNED_NODE, placed_pod, pod_interface

ENI = placed_pod(DATAPATHS[2]).eni
BAD = pod_interface("bad", ENI.facts, "10.98.0.11")
NEXT = pod_interface("next", ENI.facts, "10.98.0.12")


def wanted(*pods: WantedPod) -> WantedNode:
    links = frozenset(host_link(p.interface.container_id, p.interface.interface) for p in pods)
    return WantedNode(PLANNED_NODE, pods=pods, used_links=links)


@pytest.fixture
def looked_at(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, frozenset[str]]]:
    """Return paths that were looked at, and for which addresses; each has all of them."""
    found: list[tuple[str, frozenset[str]]] = []

    def free(pod: WantedPod, sought: frozenset[str], _: int | None) -> frozenset[str]:
        found.append((pod.netns, sought))
        return sought

    monkeypatch.setattr(taken_addresses, "_free", free)
    return found


def test_a_path_is_known_until_two_looks_lack_the_pod(
    looked_at: list[tuple[str, frozenset[str]]],
) -> None:
    taken = TakenAddresses()
    taken.learn(wanted(WantedPod(BAD, "/run/netns/bad")))
    taken.learn(wanted(WantedPod(BAD)))  # not looked into
    for looks in range(2):
        taken.free(ENI.facts, NEXT.addresses, (NEXT, 0))
        assert looked_at == [("/run/netns/bad", frozenset(NEXT.addresses))] * (looks + 1)
        taken.learn(wanted())
    taken.free(ENI.facts, NEXT.addresses, (NEXT, 0))
    assert len(looked_at) == 2


def test_pods_of_other_enis_and_pods_with_a_del_are_not_looked_at(
    looked_at: list[tuple[str, frozenset[str]]],
) -> None:
    taken = TakenAddresses()
    taken.add(BAD, "/run/netns/bad")
    taken.free(replace(ENI.facts, mac="fa:16:3e:00:00:99"), NEXT.addresses, (NEXT, 0))
    taken.delete(BAD)
    taken.free(ENI.facts, NEXT.addresses, (NEXT, 0))
    assert looked_at == []


def test_a_grants_addresses_are_not_sought(
    looked_at: list[tuple[str, frozenset[str]]],
) -> None:
    taken = TakenAddresses()
    taken.add(BAD, "/run/netns/bad")
    taken.free(ENI.facts, BAD.addresses, (replace(NEXT, addresses=BAD.addresses), 0))
    assert looked_at == []


def test_for_one_address_few_slow_pods_are_read_and_another_time_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock, read = Clock.of(monkeypatch, taken_addresses), list[str]()

    def free(pod: WantedPod, _: frozenset[str], __: int | None) -> frozenset[str]:
        read.append(pod.netns)
        clock.now += 9.0
        return frozenset()

    monkeypatch.setattr(taken_addresses, "_free", free)
    taken = TakenAddresses()
    for number in range(10):
        taken.add(pod_interface(f"slow{number}", ENI.facts, f"10.98.0.{20 + number}"), str(number))
    taken.free(ENI.facts, NEXT.addresses, (NEXT, 0))
    assert len(read) == 3
    for _ in range(3):
        taken.free(ENI.facts, NEXT.addresses, (NEXT, 0))
    assert {*read} == {str(number) for number in range(10)}


def test_it_ends_with_the_address_which_may_soon_be_taken_again(
    looked_at: list[tuple[str, frozenset[str]]],
) -> None:
    taken = TakenAddresses()
    taken.add(BAD, "/run/netns/bad")
    taken.add(pod_interface("other", ENI.facts, "10.98.0.13"), "/run/netns/other")
    taken.free(ENI.facts, NEXT.addresses, (NEXT, 0))
    assert [path for path, _ in looked_at] == ["/run/netns/bad"]


def test_it_is_reported_once_and_asks_for_a_look(
    looked_at: list[tuple[str, frozenset[str]]],
) -> None:
    taken, asked = TakenAddresses(), list[str]()
    taken.on_freed = lambda: asked.append("look")
    taken.add(BAD, "/run/netns/bad")
    taken.free(ENI.facts, NEXT.addresses, (NEXT, 0))
    assert asked == ["look"]
    report = taken.report(NodeReport(), wanted(WantedPod(BAD)))
    assert report.broken == {BAD}
    assert [repair.kind for repair in report.repairs] == ["address"]
    assert taken.report(NodeReport(), wanted(WantedPod(BAD))) == NodeReport()
    taken.free(ENI.facts, NEXT.addresses, (NEXT, 0))
    taken.add(BAD, "/run/netns/bad")  # built again before the look
    assert taken.report(NodeReport(), wanted(WantedPod(BAD))).broken == frozenset()
    assert len(looked_at) == 2


def test_a_slave_lacks_what_is_to_come_and_nothing_else() -> None:
    items = slave_items(ENI)
    missing = tuple(Operation(Verb.ADD, i) for i in items if isinstance(i, Address))
    link = tuple(Operation(Verb.ADD, i) for i in items if isinstance(i, Link))
    goes = (Operation(Verb.REMOVE, Address(ENI.host_slave_index, "11.0.0.1", 32)),)
    other = (Operation(Verb.ADD, Address(ENI.link.ifindex, "10.98.0.10", 32)),)
    part = eni_part(ENI.facts.mac)
    assert missing_addresses(ENI, {part: (*missing, *link, *goes, *other)}) == {
        *PLANNED_NODE.addresses,
        *PLANNED_NODE.local_dns,
    }
