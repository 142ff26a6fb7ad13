"""The stores that the contract tests run on, informers with a clock of their own, and workers."""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest

from openeni_crds.meta import Json
from openeni_crds.names import ENIS
from openeni_kube.result import Result
from openeni_kube.store import Store
from openeni_kube.watches.informer import Informer
from openeni_kube.workers import Workers, no_pause
from openeni_kube.workqueue import Backoff, one_lane
from openeni_testing.started_informers import ManualClock, Start
from openeni_testing.store.memory import MemoryStore

if TYPE_CHECKING:
    from openeni_kube.client import KubeStore

Reconcile = Callable[[str], Result]
Make = Callable[..., Workers[str]]
QUICK = Backoff(base=0.01, maximum=0.03, jitter=0)


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


@pytest.fixture
def make() -> Iterator[Make]:
    """Make workers that end with the test."""
    made: list[Workers[str]] = []

    def one(
        reconcile: Reconcile,
        threads: int = 1,
        lane_of: Callable[[str], str] = one_lane,
        pause_of: Callable[[str, float], float] = no_pause,
    ) -> Workers[str]:
        made.append(
            Workers(
                "test",
                reconcile,
                threads=threads,
                backoff=QUICK,
                lane_of=lane_of,
                pause_of=pause_of,
            )
        )
        return made[-1]

    yield one
    for workers in made:
        workers.stop(60)
