"""ipvlan in its three modes: every path of the contract, on a kernel that has it."""

from collections.abc import Generator

import pytest

from openeni_crds.enipool import Datapath, IPVlanMode, Mode
from openeni_testing.datapath_paths import PATHS
from openeni_testing.datapath_world import World

pytestmark = [pytest.mark.root, pytest.mark.ipvlan]


@pytest.fixture(scope="module", params=list(IPVlanMode))
def world(request: pytest.FixtureRequest) -> Generator[World]:
    made = World(Datapath(Mode.IPVLAN, request.param))
    yield made
    made.close()


@pytest.mark.parametrize("path", PATHS)
def test_packets_arrive_and_none_is_spoofed(world: World, path: str) -> None:
    PATHS[path](world, 4)
    assert world.network.dropped() == {}


@pytest.mark.parametrize("pod", ["a1", "b1"])
def test_a_pod_is_as_planned_after_all_that(world: World, pod: str) -> None:
    facts, path = world.pods[pod].facts, world.pods[pod].namespace.path
    assert world.node.run(world.node.datapath.check, facts, path) == ()
