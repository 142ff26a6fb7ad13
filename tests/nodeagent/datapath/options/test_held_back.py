"""What a limited pod of veth holds back costs nobody else the node's answers."""

import socket
from collections.abc import Generator
from typing import Final

import pytest

from openeni_crds.enipool import Datapath, Mode
from openeni_nodeagent.pod_options import Bandwidth, RateLimit
from openeni_testing.network.neutron import NeutronNetwork
from openeni_testing.network.node import Node, Pod, eni_facts

pytestmark = pytest.mark.root
PORT: Final = 5353
DNS: Final = "10.99.0.11"  # a socket of the node: all that waits counts against it
LEAST: Final = Bandwidth(ingress=RateLimit(1_000, 0xFFFFFFFF))  # that kubelet takes
QUESTIONS: Final = 2_000
ADDRESSES: Final = ("10.98.0.11", "10.98.0.12", "10.98.0.13")


@pytest.fixture
def pods() -> Generator[tuple[Node, Pod, list[Pod]]]:
    network = NeutronNetwork()
    node = Node("node", network, DNS, "fd99::11")
    eni = eni_facts("eni", 10, Datapath(Mode.VETH))
    node.attach("ens7", eni, ADDRESSES)
    honest, *limited = ADDRESSES
    greedy = [node.add(f"greedy-{a}", eni, a, bandwidth=LEAST) for a in limited]
    yield node, node.add("honest", eni, honest), greedy
    node.close()
    network.close()


def ask_much() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        for _ in range(QUESTIONS):
            asking.sendto(b"openeni", (DNS, PORT))


def test_a_server_of_the_node_answers_others_while_pods_hold_its_answers(
    pods: tuple[Node, Pod, list[Pod]],
) -> None:
    node, honest, greedy = pods
    node.namespace.answer(PORT)
    for pod in greedy:
        pod.namespace.run(ask_much)
    assert honest.namespace.ask_by_datagram(DNS, PORT)
