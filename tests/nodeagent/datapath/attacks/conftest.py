"""Fixtures of several modules of attacks."""

from collections.abc import Generator

import pytest

from openeni_crds.enipool import Datapath, IPVlanMode
from openeni_testing.network.topology import Topology


@pytest.fixture(scope="module")
def topology(request: pytest.FixtureRequest) -> Generator[Topology]:
    """Machines and pods of a datapath, the fixture's parameter; in l3 without IPv6."""
    datapath: Datapath = request.param
    made = Topology(datapath, datapath.ipvlan_mode is not IPVlanMode.L3)
    yield made
    made.close()
