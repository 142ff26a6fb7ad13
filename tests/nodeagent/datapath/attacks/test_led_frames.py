"""An l2 pod leads ARP by an ifb to its slave: past hooks at ingress (tc_skip_classify)."""

import socket

import pytest

from openeni_crds.enipool import Datapath, IPVlanDatapath, IPVlanMode, Mode
from openeni_testing.network import neutron
from openeni_testing.network.attacks import captured
from openeni_testing.network.frames import arp
from openeni_testing.network.neutron import ROUTER_MAC
from openeni_testing.network.node import Node, eni_facts

pytestmark = [pytest.mark.root, pytest.mark.ipvlan]
EVIL = "02:ba:d0:00:00:01"
SO_MARK = 36
FILTER = "tc filter add dev eth0 egress protocol all prio 1 bpf bytecode"
# Classic BPF: what has the mark 7 (SKF_AD_MARK).
MARKED = "4,32 0 0 4294963220,21 0 1 7,6 0 0 4294967295,6 0 0 0"


def send(mark: int, *frames: bytes) -> None:
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as raw:
        raw.setsockopt(socket.SOL_SOCKET, SO_MARK, mark)
        for frame in frames:
            raw.sendto(frame, ("eth0", 0x0806))


@pytest.mark.parametrize("mark", [0, 7], ids=["sent", "led"])
@pytest.mark.parametrize("ends", ["own", "33:33:00:00:00:01"])
def test_no_arp_of_an_l2_pod_moves_its_enis_gateway(node: Node, ends: str, mark: int) -> None:
    """The frame is for its node if its two MACs are the same: the ENI's, or a group's."""
    eni = eni_facts("eni", 10, Datapath(Mode.IPVLAN, IPVlanDatapath(IPVlanMode.L2)))
    node.attach("ens7", eni, ("10.98.0.11", "10.98.0.12"))
    bad, good = node.add("bad", eni, "10.98.0.11"), node.add("good", eni, "10.98.0.12")
    bad.namespace.ip("link add ifb9 type ifb", "link set ifb9 up")
    led = "action skbedit mark 0 pipe action mirred egress redirect dev ifb9"
    bad.namespace.program("sh", "-c", f"tc qdisc add dev eth0 clsact; {FILTER} '{MARKED}' {led}")
    node.namespace.ip(f"neigh replace {neutron.GATEWAY} lladdr {ROUTER_MAC} dev ens7 nud stale")
    end = bytes.fromhex((eni.mac if ends == "own" else ends).replace(":", ""))
    asked = end + end + arp(eni.mac, EVIL, neutron.GATEWAY, neutron.GATEWAY)[12:]
    answered = asked[:20] + b"\x00\x02" + asked[22:]

    def attack() -> None:
        bad.namespace.run(send, mark, asked, answered)

    captured(bad.namespace, attack, neutron.GATEWAY, (node.namespace, "ens7"))
    assert ROUTER_MAC in node.namespace.program("ip", "neigh", "show", neutron.GATEWAY)
    assert good.namespace.ping(neutron.OUTSIDE)
