"""What began while somebody had flushed the filters does not go on once they are restored."""

import socket
from collections.abc import Generator

import pytest

from openeni_testing.network.attacks import DISCARD, datagram, received, sending
from openeni_testing.network.one_eni import MODES
from openeni_testing.network.topology import REMOTE, Topology

pytestmark = pytest.mark.root
NODE = "10.99.0.11"
# What `systemctl restart nftables` loads: a firewall that keeps connections.
FIREWALL = """flush ruleset
table inet filter { chain input { type filter hook input priority filter; policy accept
ct state established,related accept; }
}
"""


@pytest.fixture(params=MODES)
def topology(request: pytest.FixtureRequest) -> Generator[Topology]:
    made = Topology(request.param)
    yield made
    made.close()


def answer(client: str) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as served:
        served.bind((NODE, DISCARD))
        served.sendto(b"openeni", (client, DISCARD))


def test_a_flow_that_began_during_a_flush_does_not_reach_the_node(topology: Topology) -> None:
    """The chain of NAT sees the first packet of a flow alone, and conntrack knows the flow."""
    eni, node = topology.pods["a1"].facts.eni, topology.node.namespace
    source = REMOTE.addresses[0]
    frame = datagram(source, NODE, (REMOTE.mac, eni.mac), (DISCARD, DISCARD))
    attack = sending(topology.remote, "eth0", frame)
    node.nft(FIREWALL)
    assert received(topology.remote, attack, NODE, node) != [], "nothing keeps it out"
    node.run(answer, source)
    of_flow = ("-s", source, "-p", "udp", "--sport", str(DISCARD))
    assert "UNREPLIED" not in node.program("conntrack", "-L", *of_flow)
    assert topology.node.look().errors == {}
    assert received(topology.remote, attack, eni.primary[0], node, bound="0.0.0.0") == []  # noqa: S104
