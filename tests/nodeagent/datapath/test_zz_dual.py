import pytest
from openeni_crds.enipool import Datapath, IPVlanMode, Mode
from openeni_testing.datapath_paths import PATHS, V4_ONLY
from openeni_testing.datapath_world import World
@pytest.fixture(scope="module", params=["L2","L3S"])
def world(request):
    made = World(Datapath(Mode.IPVLAN, IPVlanMode(request.param)), dual=True)
    yield made
    made.close()
@pytest.mark.parametrize("path", [p for p in PATHS if p not in V4_ONLY])
def test_p(world, path):
    before=world.network.dropped()
    PATHS[path](world, 6)
    assert world.network.dropped() == before
