"""The stores that the tests of this folder run on."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from openeni_kube.client import KubeStore, connect
from openeni_kube.store import Store
from openeni_testing.objects import install_crds, remove_objects
from openeni_testing.store.memory import MemoryStore


@pytest.fixture(scope="session")
def serving_store(api_server: Path) -> KubeStore:
    """A store on a real API server that serves our kinds."""
    store = connect(agent="openeni-tests", kubeconfig=str(api_server))
    install_crds(store)
    return store


@pytest.fixture
def real_store(serving_store: KubeStore) -> Iterator[KubeStore]:
    """The same for one test, whose objects do not outlive it."""
    yield serving_store
    remove_objects(serving_store)


@pytest.fixture(params=["memory", pytest.param("real", marks=pytest.mark.cluster)])
def store(request: pytest.FixtureRequest) -> Store:
    """Each test of the contract runs on both."""
    if request.param == "memory":
        return MemoryStore(bookmark_seconds=0.2)
    real: KubeStore = request.getfixturevalue("real_store")
    return real
