"""Pods with IPv6 on a node that has none: it is disabled on all of the node's own links."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from openeni_crds.enipool import Datapath, IPVlanMode
from openeni_crds.status.eni import PortSubnet
from openeni_nodeagent.datapath_api import ENIFacts
from openeni_testing.network import neutron
from openeni_testing.network.netns import Namespace
from openeni_testing.network.neutron import NeutronNetwork, Port, vm
from openeni_testing.network.node import Node, Pod, eni_facts
from openeni_testing.network.one_eni import MODES

pytestmark = pytest.mark.root

REMOTE = Port("remote", "fa:16:3e:98:00:c8", ("10.98.0.200", "fd98::200"))
DUAL, IPV6_ONLY = 0, 1  # how many families a pod lacks
# In l3, nothing on the node answers neighbour solicitations for pods: the network must.
ANSWERING = [mode for mode in MODES if mode.id != f"ipvlan-{IPVlanMode.L3}"]


def ipv6_only(eni: ENIFacts) -> ENIFacts:
    subnet = PortSubnet("v6", neutron.SUBNET_6, neutron.GATEWAY_6)
    return ENIFacts(eni.name, eni.mac, eni.mtu, eni.datapath, eni.primary[1:], (subnet,))


@dataclass
class IPv4Node:
    datapath: Datapath
    lacking: int
    network: NeutronNetwork = field(default_factory=NeutronNetwork)
    node: Node = field(init=False)
    remote: Namespace = field(init=False)
    pods: list[Pod] = field(init=False)

    def __post_init__(self) -> None:
        self.remote = vm(self.network, "remote", REMOTE)
        self.node = Node("node", self.network, "10.99.0.11", "")
        eni = eni_facts("eni", 10, self.datapath, dual=True)
        eni = ipv6_only(eni) if self.lacking else eni
        of_pods = [(f"10.98.0.{n}", f"fd98::{n}")[self.lacking :] for n in (11, 12)]
        self.node.attach("ens10", eni, tuple(a for pod in of_pods for a in pod))
        self.pods = [self.node.add(f"a{n}", eni, *pod) for n, pod in enumerate(of_pods, start=1)]

    def close(self) -> None:
        for machine in (self.node, self.remote, self.network):
            machine.close()


@pytest.fixture(params=[DUAL, IPV6_ONLY], ids=["dual", "ipv6"])
def lacking(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.fixture
def place(request: pytest.FixtureRequest, lacking: int) -> Iterator[IPv4Node]:
    made = IPv4Node(request.param, lacking)  # a datapath
    yield made
    made.close()


@pytest.mark.parametrize("place", MODES, indirect=True)
def test_pods_reach_each_other_and_their_node_reaches_them(place: IPv4Node) -> None:
    """The node's probes come from the ENI's primary address: it has no other one of IPv6."""
    (one, other), node = place.pods, place.node.namespace
    assert one.namespace.ask("fd98::12", 80) == ("a2", "fd98::11")
    assert other.namespace.ping("fd98::11")
    assert node.ask("fd98::11", 80) == ("a1", "fd98::10")
    assert node.ping("fd98::12")
    assert one.namespace.ask("fd98::10", 10250) == ("node", "fd98::11")
    if place.lacking == DUAL:
        assert node.ask("10.98.0.11", 80) == ("a1", "10.99.0.11")
    assert place.network.dropped() == {}
    assert _complaints(place) == []


@pytest.mark.parametrize("place", ANSWERING, indirect=True)
def test_pods_reach_the_subnet_and_what_is_beyond_it(place: IPv4Node) -> None:
    (pod, _), outside = place.pods, place.network.outside
    assert pod.namespace.ask("fd98::200", 80) == ("remote", "fd98::11")
    assert place.remote.ask("fd98::11", 80) == ("a1", "fd98::200")
    assert pod.namespace.ping(neutron.GATEWAY_6)
    assert pod.namespace.ask(neutron.OUTSIDE_6, 80) == ("outside", "fd98::11")
    assert outside.ask("fd98::11", 80) == ("a1", neutron.OUTSIDE_6)
    assert place.network.dropped() == {}


def _complaints(place: IPv4Node) -> list[str]:
    """Return what CHECK says of every pod."""
    datapath, node = place.node.datapath, place.node.namespace
    found = [node.run(datapath.check, pod.facts, pod.namespace.path) for pod in place.pods]
    return [line for lines in found for line in lines]
