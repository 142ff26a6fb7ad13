"""What is sent to a pod at the moment when its ADD has ended arrives.

In the kernel for the tests of ipvlan, which has one processor: what the kernel leaves for later, it
does when the thread that adds the pod, a real-time one, waits or ends.
"""

import os
import socket
from collections.abc import Generator

import pytest

from openeni_testing.network.netns import Namespace
from openeni_testing.network.node import pod_interface
from openeni_testing.network.one_eni import MODES
from openeni_testing.network.topology import Topology

pytestmark = [pytest.mark.root, pytest.mark.ipvlan]
PORT = 7007
SECONDS = 10
FAMILIES = (socket.AF_INET, socket.AF_INET6)


@pytest.fixture(params=MODES)
def topology(request: pytest.FixtureRequest) -> Generator[Topology]:
    made = Topology(request.param, dual=True)
    yield made
    made.close()


def test_the_first_packets_to_a_pod_arrive(topology: Topology) -> None:
    node, left = topology.node, topology.pods["a2"]
    facts = pod_interface("came", left.facts.eni, *left.facts.addresses)
    node.delete(left)
    sender = topology.pods["a1"].namespace
    clients = [sender.run(socket.socket, family, socket.SOCK_DGRAM) for family in FAMILIES]

    def add_and_send() -> None:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
        try:
            node.datapath.add(facts, came.path)
            for client, address in zip(clients, facts.addresses, strict=True):
                client.sendto(address.encode(), (address, PORT))
        finally:
            os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))

    with Namespace("came") as came:
        sink = came.run(socket.socket, socket.AF_INET6, socket.SOCK_DGRAM)
        with sink, clients[0], clients[1]:
            sink.bind(("::", PORT))
            sink.settimeout(SECONDS)
            node.run(add_and_send)
            assert {sink.recv(64).decode() for _ in FAMILIES} == set(facts.addresses)
