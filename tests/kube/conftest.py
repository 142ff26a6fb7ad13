"""The stores that the contract tests run on."""

from typing import TYPE_CHECKING

import pytest

from openeni_kube.store import Store
from openeni_testing.store.memory import MemoryStore

if TYPE_CHECKING:
    from openeni_kube.client import KubeStore


@pytest.fixture(params=["memory", pytest.param("real", marks=pytest.mark.cluster)])
def store(request: pytest.FixtureRequest) -> Store:
    """Each test of the contract runs on both."""
    if request.param == "memory":
        return MemoryStore(bookmark_seconds=0.2)
    real: KubeStore = request.getfixturevalue("real_store")
    return real
