"""A pod puts a fragment of its own into what an honest sender sends in fragments.

The node joins them by addresses and ID, whichever links they come in by. The first one that
arrives counts: it has the port that the datagram seems to be from.
"""

from collections.abc import Sequence

import pytest

from openeni_crds.enipool import Datapath, IPVlanDatapath, IPVlanMode, Mode
from openeni_testing.network import neutron
from openeni_testing.network.attacks import (
    DISCARD,
    MACs,
    datagram,
    heard,
    on_one_processor,
    send_frames,
)
from openeni_testing.network.fragments import cut
from openeni_testing.network.netns import Namespace
from openeni_testing.network.node import Pod
from openeni_testing.network.topology import REMOTE, Topology

pytestmark = pytest.mark.root
NODE = ("10.99.0.11", "fd99::11")
OUTSIDE = (neutron.OUTSIDE, neutron.OUTSIDE_6)
FORGED = 4242  # a port
ATTACKED = pytest.mark.parametrize("attacked", [True, False], ids=["attacked", "honest"])
Sending = tuple[Namespace, MACs]


def case(mode: IPVlanMode, *more: object) -> object:
    datapath = Datapath(Mode.IPVLAN, IPVlanDatapath(mode))
    marks = pytest.mark.ipvlan
    return pytest.param(
        datapath, *more, id="-".join(["ipvlan", mode, *map(str, more)]), marks=marks
    )


def veth(*more: object) -> object:
    return pytest.param(Datapath(Mode.VETH), *more, id="-".join(["veth", *map(str, more)]))


def of_pod(pod: Pod) -> Sending:
    return pod.namespace, (pod.pod_network.pod_mac, pod.pod_network.host_mac)


def by_eni(pod: Pod) -> Sending:
    return pod.namespace, (pod.facts.eni.mac, pod.facts.eni.mac)


def of_outside(topology: Topology) -> Sending:
    outside, fabric = topology.network.outside, topology.network.fabric
    return outside, (_mac(outside, "eth0"), _mac(fabric, "out"))


def _mac(namespace: Namespace, device: str) -> str:
    return namespace.program("ip", "-br", "link", "show", "dev", device).split()[2]


def ports_heard(
    listener: Namespace,
    source: str,
    target: str,
    honest: Sending,
    attackers: Sequence[Sending],
) -> list[tuple[str, int]]:
    """Return from where the listener gets what the honest sender sends after the attackers."""

    def attack() -> None:
        for namespace, macs in attackers:
            namespace.run(on_one_processor)
            forged = datagram(source, target, macs, (FORGED, DISCARD))
            namespace.run(send_frames, "eth0", cut(forged, macs, macs)[:1])
        namespace, macs = honest
        namespace.run(on_one_processor)
        whole = datagram(source, target, macs)
        namespace.run(send_frames, "eth0", cut(whole, macs, macs))

    return heard(honest[0], attack, target, listener)


@ATTACKED
@pytest.mark.parametrize(
    ("topology", "honest"),
    [
        veth("a2"),
        veth("b1"),
        case(IPVlanMode.L2, "b1"),
        case(IPVlanMode.L3S, "b1"),
        case(IPVlanMode.L3, "b1"),
    ],
    indirect=["topology"],
)
def test_the_node_hears_no_fragment_of_a_pod_from_another(
    topology: Topology, honest: str, attacked: bool
) -> None:
    pod, other = topology.pods["a1"], topology.pods[honest]
    for place in range(len(topology.families)):
        source = other.facts.addresses[place]
        attackers = [of_pod(pod)] if attacked else []
        node = topology.node.namespace
        found = ports_heard(node, source, NODE[place], of_pod(other), attackers)
        assert found == [(source, DISCARD)]


@ATTACKED
@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize(
    "topology", [veth(), case(IPVlanMode.L2), case(IPVlanMode.L3S)], indirect=True
)
def test_the_node_hears_no_fragment_of_a_pod_from_outside(
    topology: Topology, family: int, attacked: bool
) -> None:
    """That comes in by the node's own NIC, such as a name server's answer."""
    place = int(family == 6)
    assert topology.network.outside.ping(NODE[place])
    attackers = [of_pod(topology.pods["a1"])] if attacked else []
    node = topology.node.namespace
    honest = of_outside(topology)
    found = ports_heard(node, OUTSIDE[place], NODE[place], honest, attackers)
    assert found == [(OUTSIDE[place], DISCARD)]


@ATTACKED
@pytest.mark.parametrize("listener", ["a2", "b1"])
@pytest.mark.parametrize("topology", [veth()], indirect=True)
def test_a_pod_hears_no_fragment_of_another_from_outside(
    topology: Topology, listener: str, attacked: bool
) -> None:
    pod = topology.pods[listener]
    for place in range(len(topology.families)):
        target = pod.facts.addresses[place]
        assert topology.network.outside.ping(target)
        attackers = [of_pod(topology.pods["a1"])] if attacked else []
        honest = of_outside(topology)
        found = ports_heard(pod.namespace, OUTSIDE[place], target, honest, attackers)
        assert found == [(OUTSIDE[place], DISCARD)]


@ATTACKED
@pytest.mark.parametrize("topology", [case(IPVlanMode.L3S), case(IPVlanMode.L3)], indirect=True)
def test_the_network_hears_no_fragment_of_a_pod_from_one_of_another_eni(
    topology: Topology, attacked: bool
) -> None:
    """The kernel joins in one place what pods of all ENIs send."""
    pod, other = topology.pods["a1"], topology.pods["b1"]
    for place in range(len(topology.families)):
        source, target = other.facts.addresses[place], REMOTE.addresses[place]
        assert other.namespace.ping(target)
        attackers = [by_eni(pod)] if attacked else []
        found = ports_heard(topology.remote, source, target, by_eni(other), attackers)
        assert found == [(source, DISCARD)]
