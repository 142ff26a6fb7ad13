"""A pod asks the metadata service by every way that it may have, and nothing leaves its ENI."""

from collections.abc import Generator
from contextlib import suppress
from dataclasses import dataclass

import pytest

from openeni_crds import names
from openeni_crds.enipool import Datapath, IPVlanMode
from openeni_nodeagent.datapath.linux import modes
from openeni_testing.network import neutron
from openeni_testing.network.attacks import (
    addresses_of,
    captured,
    datagram,
    send_datagram,
    send_frames,
    sending,
    tagged,
)
from openeni_testing.network.neutron import NeutronNetwork
from openeni_testing.network.node import Node, Pod, allowing_metadata, eni_facts
from openeni_testing.network.one_eni import MODES

pytestmark = pytest.mark.root
ADDRESSES = ("10.98.0.11", "fd98::11")
METADATA = (names.METADATA_V4, names.METADATA_V6)
PRIORITY, NETWORK = 0, 98  # VLANs: a switch takes a priority tag off
PROVIDER = 0x88A8  # ETH_P_8021AD
EXPERIMENTAL = 0x88B5  # IEEE 802, local experimental EtherType 1
IPVLAN = [mode for mode in MODES if mode.id != "veth"]
LAYER_3 = [mode for mode in IPVLAN if mode.id != f"ipvlan-{IPVlanMode.L2}"]
L2 = [mode for mode in MODES if mode.id == f"ipvlan-{IPVlanMode.L2}"]
WITHOUT_EGRESS_HOOK = [mode for mode in MODES if mode not in L2]  # there L2 is refused


@dataclass
class Bench:
    node: Node
    network: NeutronNetwork
    pod: Pod
    port: str  # of the ENI, on the network's bridge

    def asked(self, *frames: bytes, kind: int = 0) -> list[str]:
        """Return the metadata addresses to which the pod's packets leave the ENI.

        Besides the frames, which the kernel is told to be of this kind, it sends what a program
        would, to both addresses.
        """
        pod = self.pod.namespace

        def attack() -> None:
            pod.run(send_frames, "eth0", frames, kind)
            with suppress(OSError):  # a reject
                pod.run(send_datagram, METADATA[0], b"ask", ADDRESSES[0])
            with suppress(OSError):
                pod.run(send_datagram, METADATA[1], b"ask", ADDRESSES[1], "eth0")

        place = (self.network.fabric, self.port)
        (seen,) = captured(pod, attack, neutron.GATEWAY, place)
        return [target for target in map(target_of, seen) if target in METADATA]

    def close(self) -> None:
        self.node.close()
        self.network.close()


def target_of(frame: bytes) -> str:
    return addresses_of(frame)[1]


def bench(datapath: Datapath, *, allowed: bool) -> Bench:
    network = NeutronNetwork()
    node = Node("node", network, "10.99.0.11", "fd99::11")
    eni = eni_facts("eni", 10, datapath, dual=True)
    eni = allowing_metadata(eni) if allowed else eni
    port = node.attach("ens7", eni, ADDRESSES)
    pod = node.add("pod", eni, *ADDRESSES)
    layer_3 = datapath.ipvlan_mode in (IPVlanMode.L3S, IPVlanMode.L3)
    # Every neighbour is known, so that no packet waits while the sentinel goes on.
    for namespace, device in ((node.namespace, "ens7"), (pod.namespace, "eth0")):
        in_veth = not eni.datapath.ipvlan and namespace is pod.namespace
        for address in (neutron.GATEWAY, neutron.GATEWAY_6, names.METADATA_V6):
            if not (layer_3 and namespace is pod.namespace):
                mac = names.VETH_MAC if in_veth else neutron.ROUTER_MAC
                namespace.ip(f"neigh replace {address} lladdr {mac} dev {device} nud permanent")
    pod.namespace.ip(f"route replace {names.METADATA_V6} dev eth0")
    if datapath.ipvlan_mode is IPVlanMode.L2:
        pod.namespace.ip(f"route add {names.METADATA_V4} via {neutron.GATEWAY} dev eth0 onlink")
    return Bench(node, network, pod, port.device)


@pytest.fixture
def blocked(request: pytest.FixtureRequest) -> Generator[Bench]:
    made = bench(request.param, allowed=False)
    yield made
    made.close()


@pytest.fixture
def blocked_by_the_rest(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Generator[Bench]:
    """On a kernel without nftables' egress hook (before Linux 5.16): the last chain is missing."""
    monkeypatch.setattr(modes, "has_egress_hook", lambda: False)
    made = bench(request.param, allowed=False)
    assert "hook egress" not in made.node.namespace.program("nft", "list", "ruleset")
    yield made
    made.close()


@pytest.fixture
def allowed(request: pytest.FixtureRequest) -> Generator[Bench]:
    made = bench(request.param, allowed=True)
    yield made
    made.close()


def frames_of(pod: Pod) -> list[bytes]:
    """Return frames to both addresses: bare, and in every VLAN that might be taken off."""
    macs = pod.facts.eni.mac, neutron.ROUTER_MAC
    bare = [datagram(*pair, macs) for pair in zip(ADDRESSES, METADATA, strict=True)]
    tags = ((PRIORITY, 0x8100), (NETWORK, 0x8100), (PRIORITY, PROVIDER))
    return [*bare, *(tagged(frame, *tag) for frame in bare for tag in tags)]


@pytest.mark.parametrize("blocked", MODES, indirect=True)
def test_no_packet_for_the_metadata_service_leaves_the_eni(blocked: Bench) -> None:
    assert blocked.asked(*frames_of(blocked.pod)) == []


@pytest.mark.parametrize("blocked", L2, indirect=True)
def test_an_l2_pod_does_not_reach_it_through_the_node_either(blocked: Bench) -> None:
    """The frames are for the ENI's own MAC, which is the node's stack."""
    mac = blocked.pod.facts.eni.mac
    pairs = zip(ADDRESSES, METADATA, strict=True)
    assert blocked.asked(*(datagram(*pair, (mac, mac)) for pair in pairs)) == []


@pytest.mark.parametrize("blocked", MODES, indirect=True)
def test_a_lie_to_the_kernel_about_a_frames_type_is_of_no_use(blocked: Bench) -> None:
    assert blocked.asked(*frames_of(blocked.pod), kind=EXPERIMENTAL) == []


@pytest.mark.parametrize("kind", [0, EXPERIMENTAL])
@pytest.mark.parametrize("blocked_by_the_rest", WITHOUT_EGRESS_HOOK, indirect=True)
def test_without_an_egress_hook_nothing_leaves_the_eni_either(
    blocked_by_the_rest: Bench, kind: int
) -> None:
    bench = blocked_by_the_rest
    assert bench.asked(*frames_of(bench.pod), kind=kind) == []


@pytest.mark.parametrize("allowed", IPVLAN, indirect=True)
def test_where_it_is_allowed_the_same_packets_leave(allowed: Bench) -> None:
    """The other tests mean something. (The node forwards no link-local packet of a veth pod.)"""
    assert {*allowed.asked()} == {*METADATA}


@pytest.mark.parametrize("blocked", LAYER_3, indirect=True)
def test_nobody_whom_a_pod_names_hears_an_error_of_the_node(blocked: Bench) -> None:
    """It would go by the node's own NIC, past the ENI's security groups."""
    node, pod = blocked.node.namespace, blocked.pod.namespace
    macs = blocked.pod.facts.eni.mac, blocked.pod.facts.eni.mac
    named = (neutron.OUTSIDE, neutron.OUTSIDE_6)
    assert all(node.ping(address) for address in named)
    sent = [datagram(*pair, macs) for pair in zip(named, METADATA, strict=True)]
    attack = sending(pod, "eth0", *sent)
    place = (blocked.network.fabric, blocked.port)
    _, by_its_own = captured(pod, attack, neutron.GATEWAY, place, (node, "eth0"))
    assert not set(map(target_of, by_its_own)) & set(named)
