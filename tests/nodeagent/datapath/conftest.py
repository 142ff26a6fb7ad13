"""One ENI on a node in each mode, and a pod's namespace."""

from collections.abc import Generator

import pytest

from openeni_testing.network.netns import Namespace
from openeni_testing.network.one_eni import MODES, OneENI


@pytest.fixture(scope="module", params=MODES)
def bench(request: pytest.FixtureRequest) -> Generator[OneENI]:
    made = OneENI(request.param)
    yield made
    made.close()


@pytest.fixture
def netns() -> Generator[Namespace]:
    with Namespace("pod") as made:
        yield made
