"""veth: every path of the contract, with real packets on the machine's own kernel."""

from collections.abc import Generator

import pytest

from openeni_crds.enipool import Datapath, Mode
from openeni_testing.network.netns import Namespace
from openeni_testing.network.paths import PATHS, V4_ONLY
from openeni_testing.network.topology import Topology
from openeni_testing.waiting import wait_for

pytestmark = pytest.mark.root


@pytest.fixture(scope="module")
def topology() -> Generator[Topology]:
    made = Topology(Datapath(Mode.VETH), dual=True)
    yield made
    made.close()


@pytest.mark.parametrize(
    ("path", "family"),
    [(path, family) for path in PATHS for family in ((4,) if path in V4_ONLY else (4, 6))],
)
def test_packets_arrive_and_none_is_spoofed(topology: Topology, path: str, family: int) -> None:
    PATHS[path](topology, family)
    assert topology.network.dropped() == {}


@pytest.mark.parametrize("pod", ["a1", "b1"])
def test_a_pod_is_as_planned_after_all_that(topology: Topology, pod: str) -> None:
    facts, path = topology.pods[pod].facts, topology.pods[pod].namespace.path
    assert topology.node.run(topology.node.datapath.check, facts, path) == ()


@pytest.fixture
def spoofing(topology: Topology) -> Generator[Namespace]:
    """The first node, set up to send from its own address by an ENI; nothing of it stays."""
    wrong = (
        "neigh add 10.98.0.250 lladdr fa:16:3e:98:00:c8 dev ens20 nud permanent",
        "route add 10.98.0.250 dev ens20 src 10.99.0.11",
    )
    topology.node.namespace.ip(*wrong)
    yield topology.node.namespace
    topology.node.namespace.ip(*(command.replace(" add ", " del ", 1) for command in wrong))
    topology.network.forget_dropped()


def test_a_spoofed_packet_would_have_been_counted(topology: Topology, spoofing: Namespace) -> None:
    """The other tests' zero means something: a wrong source on the ENI is dropped and counted."""
    before = topology.network.dropped()
    for _ in range(3):
        spoofing.send("10.98.0.250")
    counted = before.get("eni-b", 0) + 3
    wait_for(lambda: topology.network.dropped() == before | {"eni-b": counted}, "each is counted")
