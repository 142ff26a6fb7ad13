"""What the agent relies on: one contract for the kernel's datapath and its stand-in in memory."""

from collections.abc import Callable, Collection, Generator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import pytest

from openeni_crds.enipool import Datapath, Mode
from openeni_nodeagent.datapath_api import (
    DatapathError,
    ENIFacts,
    NamespaceGoneError,
    NICMissingError,
    NodeDatapath,
    NodeFacts,
    NodeReport,
    NodeSnapshot,
    PodInterface,
    WantedNode,
    WantedPod,
)
from openeni_nodeagent.pod_options import PortMapping, Transport
from openeni_testing.agent.memory_datapath import MemoryDatapath
from openeni_testing.network.netns import Namespace
from openeni_testing.network.neutron import NeutronNetwork
from openeni_testing.network.node import Node, all_free, eni_facts, pod_interface

ENI = eni_facts("eni", 10, Datapath(Mode.VETH), dual=True)
FACTS = NodeFacts(("10.99.0.11", "fd99::11"), ("10.96.0.0/16",))
PORTS = (PortMapping(8080, 80, Transport.TCP), PortMapping(8053, 53, Transport.UDP, "10.99.0.11"))
POD = pod_interface("one", ENI, "10.98.0.11", "fd98::11")
OTHER = pod_interface("two", ENI, "10.98.0.12", "fd98::12")


class Ground(Protocol):
    """A node with the NIC of one ENI, and what happens to it."""

    datapath: NodeDatapath

    def run(self, work: Callable[..., Any], *arguments: object) -> Any:
        """Call `work` where the agent's threads are."""
        ...

    def netns(self, pod: PodInterface) -> str:
        """Return the path of the pod's network namespace."""
        ...

    def unplug(self) -> None: ...

    def lose(self, pod: PodInterface) -> None:
        """Remove the pod's link."""
        ...


class MemoryGround:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.memory = MemoryDatapath(ENI.mac)
        self.datapath: NodeDatapath = self.memory

    def run(self, work: Callable[..., Any], *arguments: object) -> Any:
        return work(*arguments)

    def netns(self, pod: PodInterface) -> str:
        path = self.folder / pod.container_id
        path.touch()
        return str(path)

    def unplug(self) -> None:
        self.memory.nics.clear()

    def lose(self, pod: PodInterface) -> None:
        for address in pod.addresses:
            self.memory.lose(address)


class KernelGround:
    def __init__(self) -> None:
        self.network = NeutronNetwork()
        self.node = Node("node", self.network, "10.99.0.11", "fd99::11")
        self.port = self.node.attach("ens7", ENI, (*POD.addresses, *OTHER.addresses))
        self.datapath = self.node.datapath
        self.pods: dict[str, Namespace] = {}

    def run(self, work: Callable[..., Any], *arguments: object) -> Any:
        return self.node.namespace.run(work, *arguments)

    def netns(self, pod: PodInterface) -> str:
        if pod.container_id not in self.pods:
            self.pods[pod.container_id] = Namespace(pod.container_id)
        return self.pods[pod.container_id].path

    def unplug(self) -> None:
        self.network.unplug(self.port)

    def lose(self, pod: PodInterface) -> None:
        self.pods[pod.container_id].ip("link del eth0")

    def close(self) -> None:
        for pod in self.pods.values():
            pod.close()
        self.node.close()
        self.network.close()


@pytest.fixture(params=["memory", pytest.param("kernel", marks=pytest.mark.root)])
def ground(request: pytest.FixtureRequest, tmp_path: Path) -> Generator[Ground]:
    if request.param == "memory":
        yield MemoryGround(tmp_path)
    else:
        made = KernelGround()
        yield made
        made.close()


def look(
    ground: Ground,
    *pods: PodInterface,
    enis: tuple[ENIFacts, ...] = (ENI,),
    departing: tuple[ENIFacts, ...] = (),
    strays: frozenset[str] = frozenset(),
    hold: Callable[
        [Collection[PodInterface]], AbstractContextManager[frozenset[PodInterface]]
    ] = all_free,
) -> NodeReport:
    wanted = WantedNode(FACTS, enis, departing, tuple(map(WantedPod, pods)), strays)

    def reconcile() -> NodeReport:
        snapshot = ground.datapath.observe((*enis, *departing))
        return ground.datapath.reconcile(snapshot, wanted, hold)

    report: NodeReport = ground.run(reconcile)
    return report


def add(ground: Ground, pod: PodInterface) -> Any:
    return ground.run(ground.datapath.add, pod, ground.netns(pod))


def check(ground: Ground, pod: PodInterface) -> Any:
    return ground.run(ground.datapath.check, pod, ground.netns(pod))


def snapshot(ground: Ground) -> NodeSnapshot:
    found: NodeSnapshot = ground.run(ground.datapath.observe, (ENI,))
    return found


def test_an_eni_whose_nic_is_there_has_a_link_and_nothing_that_differs(ground: Ground) -> None:
    report = look(ground)
    assert report.links.keys() == {"eni"}
    assert (report.errors, report.broken, report.left) == ({}, frozenset(), "")
    assert look(ground).repairs == ()
    assert "Veth" in ground.datapath.datapath_modes()


def test_an_eni_without_a_nic_is_an_error_of_its_own(ground: Ground) -> None:
    look(ground)
    ground.unplug()
    report = look(ground)
    assert report.links == {}
    assert isinstance(report.errors["eni"], NICMissingError)
    with pytest.raises(NICMissingError) as raised:
        add(ground, POD)
    assert not raised.value.left_behind
    assert snapshot(ground).pods == {}


def test_a_pod_that_was_added_is_seen_with_its_device_and_needs_nothing(ground: Ground) -> None:
    look(ground)
    made = add(ground, POD)
    assert snapshot(ground).pods == dict.fromkeys(POD.addresses, made.host_interface)
    assert check(ground, POD) == ()
    report = look(ground, POD)
    assert (report.broken, report.differing, report.repairs) == (frozenset(), {}, ())
    assert replace(made, phases={}) == replace(ground.datapath.network(POD), phases={})


def test_a_repeated_add_changes_nothing(ground: Ground) -> None:
    look(ground)
    first, second = add(ground, POD), add(ground, POD)
    assert replace(first, phases={}) == replace(second, phases={})
    assert snapshot(ground).pods == dict.fromkeys(POD.addresses, first.host_interface)


def test_an_add_without_its_namespace_leaves_nothing_and_says_so(ground: Ground) -> None:
    look(ground)
    with pytest.raises(NamespaceGoneError) as raised:
        ground.run(ground.datapath.add, POD, "/nowhere")
    assert not raised.value.left_behind
    assert snapshot(ground).pods == {}
    with pytest.raises(NamespaceGoneError):
        ground.run(ground.datapath.check, POD, "/nowhere")


def test_a_del_removes_what_add_has_made_and_may_come_twice_or_alone(ground: Ground) -> None:
    look(ground)
    for pod in (POD, OTHER):
        add(ground, pod)
    for _ in range(2):
        ground.run(ground.datapath.delete, POD)
        assert set(snapshot(ground).pods) == set(OTHER.addresses)
        ground.run(ground.datapath.finish_delete, POD, ground.netns(POD))
        ground.run(ground.datapath.finish_delete, POD, "")
    assert check(ground, POD) != ()
    assert check(ground, OTHER) == ()


def test_host_ports_are_seen_at_the_address_that_they_lead_to(ground: Ground) -> None:
    look(ground)
    pod = replace(POD, host_ports=PORTS)
    add(ground, pod)
    (v4, v6), web = pod.addresses, PORTS[0]
    assert {a: set(ports) for a, ports in snapshot(ground).host_ports.items()} == {
        v4: {replace(web, host_ip="0.0.0.0"), PORTS[1]},  # noqa: S104 - one map a family
        v6: {replace(web, host_ip="::")},
    }
    ground.run(ground.datapath.delete, pod)
    assert not any(snapshot(ground).host_ports.values())


def test_a_look_leaves_a_pod_that_it_does_not_know_and_removes_strays(ground: Ground) -> None:
    look(ground)
    for pod in (POD, OTHER):
        add(ground, pod)
    assert look(ground, OTHER).repairs == ()
    assert set(snapshot(ground).pods) == {*POD.addresses, *OTHER.addresses}
    report = look(ground, OTHER, strays=frozenset(POD.addresses))
    assert report.repairs != ()
    assert report.left == ""
    assert set(snapshot(ground).pods) == set(OTHER.addresses)


def test_a_pod_whose_link_is_gone_is_broken_until_it_is_added_again(ground: Ground) -> None:
    look(ground)
    for pod in (POD, OTHER):
        add(ground, pod)
    ground.lose(POD)
    report = look(ground, POD, OTHER)
    assert report.broken == {POD}
    assert report.differing.keys() == {POD}
    add(ground, POD)
    report = look(ground, POD, OTHER)
    assert (report.broken, report.differing) == (frozenset(), {})


def test_a_pod_that_cannot_be_held_is_not_touched(ground: Ground) -> None:
    look(ground)
    add(ground, POD)
    ground.lose(POD)
    report = look(ground, POD, hold=lambda _: nullcontext(frozenset()))
    assert report.broken == frozenset()
    assert check(ground, POD) != ()


def test_an_eni_that_departs_is_left_and_cannot_be_used(ground: Ground) -> None:
    look(ground)
    add(ground, POD)
    ground.run(ground.datapath.delete, POD)
    report = look(ground, enis=(), departing=(ENI,))
    assert report.departed.keys() == {"eni"}
    assert report.links == {}
    with pytest.raises((DatapathError, AssertionError)):
        add(ground, POD)
