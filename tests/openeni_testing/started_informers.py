"""Informers of a test, on a clock that it sets."""

from collections.abc import Callable

from openeni_crds.meta import Json
from openeni_kube.store import Store
from openeni_kube.watches.informer import Informer

Start = Callable[[Store, Callable[[Json], None]], Informer]


class ManualClock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now
