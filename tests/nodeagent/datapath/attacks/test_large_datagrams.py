"""What a pod cuts into fragments reaches a program of its own node by a service."""

import socket

import pytest

from openeni_crds.enipool import Datapath, IPVlanDatapath, IPVlanMode, Mode
from openeni_testing.network.neutron import NeutronNetwork
from openeni_testing.network.node import Node, eni_facts

pytestmark = [pytest.mark.root, pytest.mark.ipvlan]
NODE = ("10.99.0.11", "fd99::11")
SERVICE = "fd96::1"
# As kube-proxy does for node ports, or with `masqueradeAll`.
PROXY = f"""table ip6 proxy {{
  chain out {{
    type nat hook output priority -100;
    ip6 daddr {SERVICE} udp dport 5300 dnat to [{NODE[1]}]:5301;
  }}
  chain post {{ type nat hook postrouting priority 100; ct status dnat masquerade; }}
}}
"""


@pytest.mark.parametrize("size", [100, 3000])
@pytest.mark.parametrize("mode", [IPVlanMode.L3S, IPVlanMode.L3])
def test_a_masqueraded_datagram_of_any_size_arrives(mode: IPVlanMode, size: int) -> None:
    network = NeutronNetwork()
    node = Node("node", network, *NODE)
    try:
        datapath = Datapath(Mode.IPVLAN, IPVlanDatapath(mode))
        eni = eni_facts("eni-a", 10, datapath, dual=True)
        node.attach("ens10", eni, ("10.98.0.11", "fd98::11"))
        pod = node.add("pod", eni, "10.98.0.11", "fd98::11").namespace
        node.namespace.nft(PROXY)
        with (
            node.namespace.run(socket.socket, socket.AF_INET6, socket.SOCK_DGRAM) as server,
            pod.run(socket.socket, socket.AF_INET6, socket.SOCK_DGRAM) as client,
        ):
            server.bind((NODE[1], 5301))
            server.settimeout(20)
            client.sendto(bytes(size), (SERVICE, 5300))
            assert len(server.recv(5000)) == size
    finally:
        node.close()
        network.close()
