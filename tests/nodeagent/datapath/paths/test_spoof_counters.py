"""The network of the tests drops and counts what a port may not send, so its zero means much."""

from collections.abc import Generator

import pytest

from openeni_crds.enipool import Datapath, Mode
from openeni_testing.network.topology import Topology
from openeni_testing.waiting import wait_for

pytestmark = pytest.mark.root


@pytest.fixture
def topology() -> Generator[Topology]:
    made = Topology(Datapath(Mode.VETH))
    yield made
    made.close()


def test_a_spoofed_packet_is_counted(topology: Topology) -> None:
    """The node sends from its own address by an ENI."""
    topology.node.namespace.ip(
        "neigh add 10.98.0.250 lladdr fa:16:3e:98:00:c8 dev ens20 nud permanent",
        "route add 10.98.0.250 dev ens20 src 10.99.0.11",
    )
    before = topology.network.dropped()
    for _ in range(3):
        topology.node.namespace.send("10.98.0.250")
    counted = before.get("eni-b", 0) + 3
    wait_for(lambda: topology.network.dropped() == before | {"eni-b": counted}, "each is counted")
