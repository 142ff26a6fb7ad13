"""Pods of two ENIs of one node, one in `Veth` and one of ipvlan, where security groups have state.

Each packet goes the way that its answer comes: what passes the network in one direction alone is
dropped there.
"""

import itertools
from collections.abc import Generator, Iterator
from dataclasses import dataclass, replace

import pytest

from openeni_crds.enipool import Datapath, IPVlanDatapath, IPVlanMode, Mode
from openeni_crds.status.eni import PortSubnet
from openeni_testing.network.netns import Namespace
from openeni_testing.network.neutron import NeutronNetwork
from openeni_testing.network.node import Node, Pod, eni_facts

pytestmark = [pytest.mark.root, pytest.mark.ipvlan]
OTHER_SUBNETS = (
    PortSubnet("v4b", "10.97.0.0/24", "10.97.0.1"),
    PortSubnet("v6b", "fd97::/64", "fd97::1"),
)
WITHOUT_GATEWAY = (PortSubnet("v4b", "10.97.0.0/24", ""), PortSubnet("v6b", "fd97::/64", ""))
SERVICE = {4: "10.96.0.7", 6: "fd96::7"}
SERVICE_PORT = {"veth": 8001, "ipvlan": 8002}  # of the pod that it leads to
DNS_PORT = 5300


@dataclass(frozen=True)
class World:
    """One node with two pods, whose ENIs are in one subnet or in two."""

    node: Node
    network: NeutronNetwork
    mode: IPVlanMode
    pods: dict[str, Pod]

    @property
    def families(self) -> tuple[int, ...]:
        """L3 has no IPv6 here: nobody answers neighbour solicitations for its pods."""
        return (4,) if self.mode is IPVlanMode.L3 else (4, 6)

    def pairs(self) -> Iterator[tuple[str, str, int]]:
        for (a, b), family in itertools.product(itertools.permutations(self.pods), self.families):
            yield a, b, family

    def namespace(self, pod: str) -> Namespace:
        return self.pods[pod].namespace

    def address(self, pod: str, family: int) -> str:
        return self.pods[pod].facts.addresses[family == 6]

    def primary(self, pod: str, family: int) -> str:
        """The primary address of the pod's ENI."""
        return self.pods[pod].facts.eni.primary[family == 6]


@pytest.fixture(params=IPVlanMode)
def mode(request: pytest.FixtureRequest) -> IPVlanMode:
    return IPVlanMode(request.param)


@pytest.fixture(params=["one subnet", "two subnets"])
def world(mode: IPVlanMode, request: pytest.FixtureRequest) -> Generator[World]:
    network = NeutronNetwork()
    network.drop_invalid()
    network.add_bridge("br-97", 97, 1450)
    node = Node("node", network, "10.99.0.11", "fd99::11")
    datapaths = {"veth": Datapath(Mode.VETH), "ipvlan": Datapath(Mode.IPVLAN, IPVlanDatapath(mode))}
    pods = dict[str, Pod]()
    for number, (name, datapath) in zip((10, 20), datapaths.items(), strict=True):
        eni = eni_facts(f"eni-{name}", number, datapath, dual=True)
        net, bridge = 98, "br-pods"
        if name == "veth" and request.param != "one subnet":
            primary, net, bridge = (f"10.97.0.{number}", f"fd97::{number}"), 97, "br-97"
            subnets = OTHER_SUBNETS if request.param == "two subnets" else WITHOUT_GATEWAY
            eni = replace(eni, primary=primary, subnets=subnets)
        addresses = (f"10.{net}.0.{number + 1}", f"fd{net}::{number + 1}")
        port = node.attach(f"ens{number}", eni, addresses, bridge=bridge)
        if datapath.ipvlan_mode is IPVlanMode.L3:  # does not work without
            network.answer_arp(port)
        pods[name] = node.add(name, eni, *addresses)
        pods[name].namespace.answer(DNS_PORT)
    yield World(node, network, mode, pods)
    node.close()
    network.close()


def test_each_reaches_the_other(world: World) -> None:
    for asking, asked, family in world.pairs():
        pod, address = world.namespace(asking), world.address(asked, family)
        own = world.address(asking, family)
        assert pod.ask(address, 80) == (asked, own)
        assert pod.ask_by_datagram(address, DNS_PORT) == (asked, own)
        assert pod.ping(address)
    assert world.network.dropped() == {}
    assert world.network.dropped_as_invalid() == 0


@pytest.mark.parametrize("mode", [IPVlanMode.L2], indirect=True)
@pytest.mark.parametrize("world", ["no gateway"], indirect=True)
def test_through_the_node_they_do_so_without_a_gateway(world: World) -> None:
    """And without the NIC of the `Veth` ENI."""
    test_each_reaches_the_other(world)
    world.node.namespace.ip("link del ens10")
    world.node.look()
    assert world.namespace("veth").ask(world.address("ipvlan", 4), 80)


@pytest.mark.parametrize("masquerading", [False, True])
def test_each_reaches_services_of_the_other(world: World, *, masquerading: bool) -> None:
    translate(world, masquerading=masquerading)
    for asking, asked, family in world.pairs():
        pod = world.namespace(asking)
        found = pod.ask(SERVICE[family], SERVICE_PORT[asked])
        assert found, (asking, asked, family, "TCP")
        assert found[0] == asked
        found = pod.ask_by_datagram(SERVICE[family], SERVICE_PORT[asked])
        assert found, (asking, asked, family, "UDP")
    assert world.network.dropped() == {}
    assert world.network.dropped_as_invalid() == 0


def test_what_is_for_a_service_without_a_way_to_its_pod_leaves_by_no_other_nic(
    world: World,
) -> None:
    translate(world, masquerading=False)
    world.node.namespace.ip("link del ens20")
    world.node.look()
    for family in world.families:
        assert not world.namespace("veth").ask(SERVICE[family], SERVICE_PORT["ipvlan"])
    assert world.network.dropped() == {}


@pytest.mark.parametrize("masquerading", [False, True])
def test_each_reaches_node_ports_at_the_others_primary_address(
    world: World, *, masquerading: bool
) -> None:
    translate(world, masquerading=masquerading, at_primary=True)
    for asking, asked, family in world.pairs():
        found = world.namespace(asking).ask(world.primary(asked, family), SERVICE_PORT[asked])
        assert found, (asking, asked, family)
        assert found[0] == asked
    assert world.network.dropped() == {}
    assert world.network.dropped_as_invalid() == 0


def translate(world: World, *, masquerading: bool, at_primary: bool = False) -> None:
    """Translate the services' addresses, or their ports at ENIs', as kube-proxy does."""
    for (asked, port), family in itertools.product(SERVICE_PORT.items(), world.families):
        word, to = {4: "ip", 6: "ip6"}[family], world.address(asked, family)
        bracketed = f"[{to}]" if family == 6 else to
        address = world.primary(asked, family) if at_primary else SERVICE[family]
        rules = [
            f"{word} daddr {address} {protocol} dport {port} dnat {word} to {bracketed}:{target}"
            for protocol, target in (("tcp", 80), ("udp", DNS_PORT))
        ]
        hooks = {"prerouting": "dstnat", "output": "-100"}
        world.node.namespace.nft(
            f"table {word} proxy{port} {{\n"
            + "".join(
                f"chain {hook} {{ type nat hook {hook} priority {priority};\n"
                + "\n".join(rules)
                + "\n}\n"
                for hook, priority in hooks.items()
            )
            + "chain out { type nat hook postrouting priority srcnat;\n"
            + ("ct status dnat masquerade\n" if masquerading else "")
            + "}\n}\n"
        )
