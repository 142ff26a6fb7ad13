"""The hand tests of ipvlan, typed as an administrator would: (b) l2 with three slaves, (c) l3.

They say what the kernel and the network do by themselves, without any of openeni.
"""

from collections.abc import Generator
from contextlib import ExitStack
from dataclasses import dataclass

import pytest

from openeni_testing.network import hand_steps
from openeni_testing.network.netns import Namespace
from openeni_testing.network.neutron import GATEWAY, SUBNET, NeutronNetwork, Port, vm

pytestmark = [pytest.mark.root, pytest.mark.ipvlan]
MAC = "fa:16:3e:98:00:0a"
ENI = Port("eni", MAC, ("10.98.0.10", "10.98.0.11", "10.98.0.12", "10.98.0.13"))
NODE = "10.99.0.11"
REMOTE = Port("remote", "fa:16:3e:98:00:c8", ("10.98.0.200", "fd98::200"))


@dataclass
class Hand:
    """Create a node with a hot-plugged ENI, and an empty pod for each of its addresses."""

    network: NeutronNetwork
    node: Namespace
    remote: Namespace
    pods: tuple[Namespace, ...]
    device: str

    def pod(self, number: int) -> hand_steps.HandPod:
        namespace = self.pods[number - 1]
        return hand_steps.HandPod(str(namespace.thread_id), namespace.program)

    def slave(self, number: int, prefix: int, mode: str) -> None:
        address = f"{ENI.addresses[number]}/{prefix}"
        hand_steps.give_slave(self.node.program, self.device, self.pod(number), address, mode)


@pytest.fixture
def typed() -> Generator[Hand]:
    with ExitStack() as cleanup:
        network = NeutronNetwork()
        cleanup.callback(network.close)
        remote = cleanup.enter_context(vm(network, "remote", REMOTE))
        node = cleanup.enter_context(Namespace("node"))
        pods = tuple(cleanup.enter_context(Namespace(f"p{n}")) for n in (1, 2, 3))
        for machine in (node, *pods):
            machine.sysctl("net/ipv6/conf/default/disable_ipv6", "1")
        network.plug(node, "eth5", ENI)
        node.ip("addr add 10.98.0.11/24 dev eth5")  # what a DHCP client would have done
        device = hand_steps.find_nic(node.program, MAC)
        hand_steps.flush(node.program, device)
        yield Hand(network, node, remote, pods, device)


def test_b_three_slaves_in_l2_are_reached_and_reach_with_slash_24_and_slash_32(
    typed: Hand,
) -> None:
    typed.slave(1, 24, "l2")
    typed.slave(2, 24, "l2")
    typed.slave(3, 32, "l2")
    hand_steps.route(typed.pod(1), f"default via {GATEWAY}")
    hand_steps.route(typed.pod(2), f"default via {GATEWAY}")
    hand_steps.route(typed.pod(3), f"{SUBNET} dev eth0", f"default via {GATEWAY}")
    first, second, third = typed.pods
    for pod, address in zip(typed.pods, ENI.addresses[1:], strict=True):
        assert pod.ping(REMOTE.addresses[0])
        assert typed.remote.ping(address)
        assert pod.ping(GATEWAY)
    assert first.ping("10.98.0.12")
    assert first.ping("10.98.0.13")
    assert third.ping("10.98.0.11")
    assert second.ping("10.98.0.13")
    assert typed.network.dropped() == {}


def test_c_in_l3_pods_reach_each_other_and_the_node_by_routes_alone(typed: Hand) -> None:
    typed.slave(1, 32, "l3")
    typed.slave(2, 32, "l3")
    _routes_between_node_and_pods(typed)
    first, second, _ = typed.pods
    assert first.ping("10.98.0.12")
    assert second.ping("10.98.0.11")
    assert typed.node.ping("10.98.0.11")
    assert first.ping(NODE)
    assert typed.network.dropped() == {}


def test_c_in_l3_nobody_answers_arp_for_a_pod_unless_the_network_does(typed: Hand) -> None:
    typed.slave(1, 32, "l3")
    _routes_between_node_and_pods(typed)
    assert not typed.remote.ping("10.98.0.11")
    typed.network.answer_arp(ENI)
    assert typed.remote.ping("10.98.0.11")
    assert typed.pods[0].ping(REMOTE.addresses[0])
    assert typed.network.dropped() == {}


def _routes_between_node_and_pods(typed: Hand) -> None:
    node = typed.node.program
    hand_steps.give_node_a_slave(node, typed.device, ENI.addresses[0], SUBNET, NODE)
    for number in (1, 2):
        hand_steps.route_to_pod(node, ENI.addresses[number], NODE)
        if "eth0" in typed.pods[number - 1].program("ip", "link"):
            hand_steps.route(typed.pod(number), "default dev eth0")
