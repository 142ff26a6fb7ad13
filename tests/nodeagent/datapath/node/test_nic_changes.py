"""A NIC that is renamed, plugged again or taken down: the next configuration puts all right."""

from collections.abc import Generator

import pytest

from openeni_crds import names
from openeni_crds.enipool import Datapath, IPVlanMode, Mode
from openeni_testing.network import neutron
from openeni_testing.network.neutron import NeutronNetwork, Port, vm
from openeni_testing.network.node import Node, Pod, eni_facts
from openeni_testing.network.one_eni import MODES

pytestmark = pytest.mark.root
ADDRESSES = ("10.98.0.11", "fd98::11")
SECOND = ("10.98.0.12", "fd98::12")


class Bench:
    """One ENI with a pod, and a remote VM."""

    def __init__(self, datapath: Datapath) -> None:
        self.network = NeutronNetwork()
        self.node = Node("node", self.network, "10.99.0.11", "fd99::11")
        remote = Port("remote", "fa:16:3e:98:00:c8", ("10.98.0.200", "fd98::c8"))
        self.remote = vm(self.network, "remote", remote)
        self.eni = eni_facts("eni", 10, datapath, dual=datapath.ipvlan_mode is not IPVlanMode.L3)
        self.families = len(self.eni.primary)
        self.port = self.plug("ens7")
        self.configure()
        self.pod = self.add("pod", ADDRESSES)

    def plug(self, device: str) -> Port:
        port = Port("eni", self.eni.mac, (*self.eni.primary, *ADDRESSES, *SECOND))
        self.network.plug(self.node.namespace, device, port)
        if self.eni.datapath.ipvlan_mode is IPVlanMode.L3:  # does not work without
            self.network.answer_arp(port)
        return port

    def configure(self) -> tuple[str, int]:
        link = self.node.configure(self.eni)
        return link.device, link.ifindex

    def add(self, name: str, addresses: tuple[str, ...]) -> Pod:
        return self.node.add(name, self.eni, *addresses[: self.families])

    def add_again(self) -> None:
        self.node.run(self.node.datapath.add, self.pod.facts, self.pod.namespace.path)

    def check(self) -> tuple[str, ...]:
        run, pod = self.node.namespace.run, self.pod
        return run(self.node.datapath.check, pod.facts, pod.namespace.path)

    def assert_connected(self) -> None:
        pod = self.pod.namespace
        for place in range(self.families):
            outside = (neutron.OUTSIDE, neutron.OUTSIDE_6)[place]
            assert pod.ask(outside, 80) == ("outside", ADDRESSES[place])
            assert self.remote.ask(ADDRESSES[place], 80) is not None
            node = (self.node.address, self.node.address_6)[place]
            assert pod.ask(node, 10250) == ("node", ADDRESSES[place])
        assert self.network.dropped() == {}

    def close(self) -> None:
        self.node.close()
        self.remote.close()
        self.network.close()


@pytest.fixture(params=MODES)
def bench(request: pytest.FixtureRequest) -> Generator[Bench]:
    made = Bench(request.param)
    yield made
    made.close()


def test_a_renamed_nic_is_a_difference_where_the_kernel_has_its_name(bench: Bench) -> None:
    """From Linux 6.2 on udev renames a link that is up."""
    bench.node.namespace.ip("link set ens7 name eth9")
    by_name = bench.check()
    assert bool(by_name) == (bench.eni.datapath.mode is Mode.IPVLAN)
    _, index = bench.configure()
    assert bench.configure() == ("eth9", index)
    assert bench.check() == ()
    bench.assert_connected()
    assert bench.pod.namespace.ask(neutron.METADATA, 80) is None


def test_an_add_repairs_what_a_renamed_nic_has_lost(bench: Bench) -> None:
    bench.node.namespace.ip("link set ens7 name eth9")
    bench.add_again()
    assert bench.check() == ()
    bench.assert_connected()


def test_a_nic_that_is_plugged_again_works_under_its_new_index(bench: Bench) -> None:
    _, before = bench.configure()
    bench.network.unplug(bench.port)
    bench.plug("ens7")
    _, index = bench.configure()
    assert index != before
    bench.add_again()
    assert bench.check() == ()
    bench.assert_connected()
    assert traces(bench.node, before) == []


def test_an_add_to_a_nic_that_was_plugged_again_needs_no_other_help(bench: Bench) -> None:
    bench.network.unplug(bench.port)
    bench.plug("ens8")
    second = bench.add("second", SECOND)
    assert second.namespace.ping(neutron.GATEWAY)
    bench.add_again()
    assert bench.check() == ()
    bench.assert_connected()


def test_a_nic_that_was_down_gets_its_routes_back(bench: Bench) -> None:
    bench.node.namespace.ip("link set ens7 down", "link set ens7 up")
    assert bench.check() != ()
    bench.configure()
    bench.add_again()  # what went with the link of its pods
    assert bench.check() == ()
    bench.assert_connected()


def test_what_finds_no_route_in_an_enis_table_does_not_leave_by_the_nodes_nic(
    bench: Bench,
) -> None:
    table = str(names.eni_table(bench.configure()[1]))
    for family in ("-4", "-6")[: bench.families]:
        bench.node.namespace.program("ip", family, *f"route flush table {table} dev ens7".split())
    pod = bench.pod.namespace
    for outside in (neutron.OUTSIDE, neutron.OUTSIDE_6)[: bench.families]:
        assert pod.ask(outside, 80) is None
    assert bench.network.dropped() == {}
    bench.configure()
    bench.assert_connected()


def traces(node: Node, index: int) -> list[str]:
    """Return what is left of an ENI that had this index."""
    table = str(names.eni_table(index))
    words = ("rule",), ("route", "show", "table", "all")
    commands = [("ip", family, *rest) for family in ("-4", "-6") for rest in words]
    listed = "".join(node.namespace.program(*command) for command in commands)
    listed += node.namespace.program("nft", "list", "ruleset")
    return [line for line in listed.splitlines() if {table, f"eni{index}"} & {*line.split()}]
