"""A flow to a service that begins while its way back is another one than after a look.

Somebody has removed what translates its sender, or its ENI had another mark. Its client goes on
asking from one port, as DNS forwarders, QUIC and RADIUS do.
"""

import socket
from collections.abc import Generator
from contextlib import ExitStack

import pytest

from openeni_crds import names
from openeni_nodeagent.datapath.kernel_datapath import KernelDatapath
from openeni_testing.network.one_eni import MODES
from openeni_testing.network.topology import REMOTE, Topology

pytestmark = pytest.mark.root
TABLE = f"inet {names.NFT_TABLE}"
SERVICE = "10.96.0.10"


@pytest.fixture(params=MODES)
def topology(request: pytest.FixtureRequest) -> Generator[Topology]:
    made = Topology(request.param)
    yield made
    made.close()


def is_answered(client: socket.socket) -> bool:
    client.send(b"openeni")
    try:
        return bool(client.recv(100))
    except OSError:
        return False


@pytest.mark.parametrize(
    ("damage", "backend"),
    [
        (f"delete table {TABLE}", "remote"),
        (f"flush chain {TABLE} service", "remote"),
        (f"flush chain {TABLE} service", "a2"),
        (f"flush map {TABLE} sources4", "remote"),
    ],
)
def test_a_flow_that_began_meanwhile_is_answered_after_a_look(
    topology: Topology, damage: str, backend: str
) -> None:
    node, pods = topology.node, topology.pods
    address = REMOTE.addresses[0] if backend == "remote" else pods[backend].address
    server = topology.remote if backend == "remote" else pods[backend].namespace
    server.answer(53)
    translate = f"ip daddr {SERVICE} udp dport 53 dnat to {address};"
    node.namespace.nft(f"""table ip proxy {{
      chain prerouting {{ type nat hook prerouting priority dstnat; {translate} }}
      chain output {{ type nat hook output priority -100; {translate} }}
    }}
    """)
    with ExitStack() as sockets:

        def begin() -> socket.socket:
            client = pods["a1"].namespace.run(socket.socket, socket.AF_INET, socket.SOCK_DGRAM)
            sockets.enter_context(client).settimeout(1)
            client.connect((SERVICE, 53))
            return client

        before = begin()
        assert is_answered(before)
        node.namespace.nft(damage + "\n")
        during = begin()
        is_answered(during)
        assert node.look().errors == {}
        assert is_answered(during)
        assert is_answered(before)
        assert is_answered(begin())


@pytest.mark.parametrize("mask", [0x003E0000, 0xFC000000], ids=["overlaps", "is apart"])
def test_one_to_a_node_port_at_an_eni_is_answered_by_it_with_another_mask(
    topology: Topology, mask: int
) -> None:
    node, pod = topology.node, topology.pods["a1"]
    primary = pod.facts.eni.primary[0]
    pod.namespace.answer(53)
    node.namespace.nft(f"""table ip proxy {{
      chain prerouting {{ type nat hook prerouting priority dstnat;
        ip daddr {primary} udp dport 53 dnat to {pod.address}; }}
    }}
    """)
    outside = topology.network.outside
    with outside.run(socket.socket, socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(1)
        client.connect((primary, 53))
        assert is_answered(client)
        node.datapath = KernelDatapath(mask)
        assert node.look().errors == {}
        assert is_answered(client)
    assert topology.network.dropped() == {}


def test_one_whose_mark_has_the_same_value_in_a_wider_mask_stays_with_its_backend(
    topology: Topology,
) -> None:
    """One more bit is what `LinkReady` asks for where a node has more ENIs than marks."""
    node, pods = topology.node, topology.pods
    primary = pods["a1"].facts.eni.primary[0]
    backends = f"0 : {pods['a1'].address}, 1 : {pods['a2'].address}"  # as kube-proxy chooses one
    node.namespace.nft(f"""table ip proxy {{
      chain prerouting {{ type nat hook prerouting priority dstnat;
        ip daddr {primary} tcp dport 30080 dnat to numgen inc mod 2 map {{ {backends} }}; }}
    }}
    """)
    for name in ("a1", "a2"):
        pods[name].namespace.echo(30080)
    with topology.network.outside.run(socket.create_connection, (primary, 30080), 5) as client:
        client.settimeout(4)
        assert is_answered(client)
        node.datapath = KernelDatapath(0x003F0000)
        for _ in range(2):
            assert node.look().errors == {}
        assert is_answered(client)


def test_one_to_a_program_of_the_node_goes_on(topology: Topology) -> None:
    """It never has another sender. Its server speaks next, as in a watch of the API server."""
    host, pod = topology.node.namespace, topology.pods["a1"].namespace
    host.nft(f"""table ip proxy {{
      chain prerouting {{ type nat hook prerouting priority dstnat;
        ip daddr {SERVICE} tcp dport 443 dnat to {topology.node.address}:6443; }}
      chain output {{ type nat hook output priority -100;
        ip daddr {SERVICE} tcp dport 443 dnat to {topology.node.address}:6443; }}
    }}
    """)
    with (
        host.run(socket.create_server, (topology.node.address, 6443)) as server,
        pod.run(socket.create_connection, (SERVICE, 443), 5) as client,
    ):
        served, _ = server.accept()
        with served:
            host.nft(f"flush chain {TABLE} service\n")
            assert topology.node.look().errors == {}
            served.send(b"openeni")
            assert client.recv(100) == b"openeni"
