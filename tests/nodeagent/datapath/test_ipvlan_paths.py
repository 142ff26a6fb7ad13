"""ipvlan in its three modes: every path of the contract, on a kernel that has it."""

from collections.abc import Generator

import pytest

from openeni_crds.enipool import Datapath, IPVlanMode, Mode
from openeni_testing.datapath_paths import PATHS, V4_ONLY
from openeni_testing.datapath_world import World

pytestmark = [pytest.mark.root, pytest.mark.ipvlan]
# In l3 the network has to answer for the pods, and the test's bridge answers ARP, not ND.
CASES = [
    pytest.param(mode, path, family, id=f"{mode}-{path}-ipv{family}")
    for mode in IPVlanMode
    for path in PATHS
    for family in ((4,) if mode is IPVlanMode.L3 or path in V4_ONLY else (4, 6))
]


@pytest.fixture(scope="module")
def world(request: pytest.FixtureRequest) -> Generator[World]:
    mode: IPVlanMode = request.param
    made = World(Datapath(Mode.IPVLAN, mode), dual=mode is not IPVlanMode.L3)
    yield made
    made.close()


@pytest.mark.parametrize(("world", "path", "family"), CASES, indirect=["world"])
def test_packets_arrive_and_none_is_spoofed(world: World, path: str, family: int) -> None:
    PATHS[path](world, family)
    assert world.network.dropped() == {}


@pytest.mark.parametrize("world", list(IPVlanMode), indirect=True)
def test_the_pods_are_as_planned_after_all_that(world: World) -> None:
    for name in ("a1", "b1"):
        pod = world.pods[name]
        assert world.node.run(world.node.datapath.check, pod.facts, pod.namespace.path) == ()
