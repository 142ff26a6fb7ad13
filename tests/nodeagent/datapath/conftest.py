"""A network with a node on it, one ENI on a node in each mode, and a pod's namespace."""

from collections.abc import Generator

import pytest

from openeni_testing.network.netns import Namespace
from openeni_testing.network.neutron import NeutronNetwork
from openeni_testing.network.node import Node
from openeni_testing.network.one_eni import MODES, OneENI


@pytest.fixture(scope="module", params=MODES)
def bench(request: pytest.FixtureRequest) -> Generator[OneENI]:
    made = OneENI(request.param)
    yield made
    made.close()


@pytest.fixture
def network() -> Generator[NeutronNetwork]:
    made = NeutronNetwork()
    yield made
    made.close()


@pytest.fixture
def node(network: NeutronNetwork) -> Generator[Node]:
    made = Node("node", network, "10.99.0.11", "fd99::11")
    yield made
    made.close()


@pytest.fixture
def netns() -> Generator[Namespace]:
    with Namespace("pod") as made:
        yield made
