"""The stores that the contract tests run on, and informers with a clock of their own."""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest

from openeni_crds.meta import Json
from openeni_crds.names import ENIS
from openeni_kube.store import Store
from openeni_kube.watches.informer import Informer
from openeni_testing.started_informers import ManualClock, Start
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


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def start(clock: ManualClock) -> Iterator[Start]:
    """Start informers that end with the test."""
    started: list[Informer] = []

    def one(store: Store, on_change: Callable[[Json], None]) -> Informer:
        informer = Informer(store, ENIS, on_change=on_change, on_delete=lambda _: None, clock=clock)
        informer.start()
        started.append(informer)
        return informer

    yield one
    for informer in started:
        informer.stop()
