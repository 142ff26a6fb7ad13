"""A review of many PodIPs ends when the process is told to stop, so that the Lease is released."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path

from openeni_crds.meta import Json
from openeni_crds.names import PODIPS, Kind
from openeni_operator.settings import Settings
from openeni_testing.controller.running import running_operator
from openeni_testing.store.memory import MemoryStore

PAGES = 100  # of 50,000 PodIPs


class SlowStore(MemoryStore):
    """The first page of PodIPs is on its way until it may `go_on`."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0
        self.reading, self.go_on = threading.Event(), threading.Event()

    def pages(
        self, kind: Kind, *, field_selector: str = "", label_selector: str = ""
    ) -> Iterator[tuple[Json, ...]]:
        if kind != PODIPS:
            yield from super().pages(
                kind, field_selector=field_selector, label_selector=label_selector
            )
            return
        for _ in range(PAGES):
            self.asked += 1
            self.reading.set()
            assert self.go_on.wait(60)
            yield ()


def test_a_review_asks_for_no_more_pages_when_the_operator_stops(tmp_path: Path) -> None:
    store = SlowStore()
    no_resync = Settings(resync=1e6)
    with running_operator(store, tmp_path / "clouds.yaml", settings=no_resync) as operator:
        assert store.reading.wait(60)
        operator.workers.request_stop()
        store.go_on.set()
        operator.workers.join(time.monotonic() + 60)
        assert operator.workers.ended()
    assert store.asked == 1
