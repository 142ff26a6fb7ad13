"""A pod that is reached over one ENI, in each mode."""

from collections.abc import Generator

import pytest

from openeni_testing.network.one_eni import MODES
from openeni_testing.network.reached_pod import ReachedPod


@pytest.fixture(params=MODES)
def bench(request: pytest.FixtureRequest) -> Generator[ReachedPod]:
    made = ReachedPod(request.param)
    yield made
    made.close()
