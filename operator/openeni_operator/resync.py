"""The slow second look: lists of everything, against what the watches brought.

kopf tells nobody of objects that went while a watch was broken, and gives no word on whether its
watches live. So at start, and again every few minutes, everything is listed. What a list shows and
no watch has brought a while later is repaired and counted: twice in a row means that a watch is
dead, and the liveness probe says so.
"""

import logging
import random
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import msgspec

from openeni_crds.meta import Json
from openeni_crds.names import Kind
from openeni_kube.store import Store, StoreError
from openeni_operator.mirror import KINDS, SELECTORS, Mirror, listed, version_of

LOG: Final = logging.getLogger(__name__)
GRACE: Final = 5.0  # seconds that a watch may be behind a list
SPREAD: Final = 0.2  # of the interval, either way
BLIND_ROUNDS: Final = 2


@dataclass(frozen=True)
class _Doubt:
    """Where list and mirror differ: a body the mirror lacks, or a version the list lacks."""

    kind: Kind
    key: str
    body: Json | None
    version: int


class Resync:
    """One thread; `healthy` may be asked from any."""

    def __init__(
        self, store: Store, mirror: Mirror, interval: float, everything: Callable[[], None]
    ) -> None:
        """`interval` in seconds; `everything` has everything looked at again."""
        self._store = store
        self._mirror = mirror
        self._everything = everything
        self._interval = interval
        self._stop = threading.Event()
        self._blind = 0  # rounds in a row in which a watch had missed something
        self._thread = threading.Thread(target=self._run, name="resync", daemon=True)

    def fill(self) -> None:
        """Bring everything in, once, before anything is decided. Raises StoreError."""
        for kind in KINDS:
            page = self._store.list(kind, field_selector=SELECTORS.get(kind, ""))
            for body in page.items:
                self._take(kind, body)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()

    def healthy(self) -> bool:
        """Whether the watches bring what the lists show."""
        return self._blind < BLIND_ROUNDS and (self._thread.is_alive() or self._stop.is_set())

    def _run(self) -> None:
        while not self._stop.wait(self._pause()):
            try:
                self.round()
            except StoreError as error:
                LOG.warning("resync failed", extra={"error": str(error)})

    def _pause(self) -> float:
        # spreading load, no secret: any random number will do
        return self._interval * random.uniform(1 - SPREAD, 1 + SPREAD)  # noqa: S311

    def round(self) -> None:
        """Compare, wait a little, repair what still differs, and have everything looked at."""
        doubts = [doubt for kind in KINDS for doubt in self._compare(kind)]
        missed = 0
        if doubts and not self._stop.wait(GRACE):
            missed = sum(self._repair(doubt) for doubt in doubts)
        self._blind = self._blind + 1 if missed else 0
        if missed:
            LOG.warning("watches had missed changes", extra={"objects": missed})
        self._everything()

    def _compare(self, kind: Kind) -> list[_Doubt]:
        before = self._mirror.versions(kind)
        page = self._store.list(kind, field_selector=SELECTORS.get(kind, ""))
        there = listed(page.items)
        lacking = [
            _Doubt(kind, key, body, version_of(body))
            for key, body in there.items()
            if before.get(key, -1) < version_of(body)
        ]
        gone = [_Doubt(kind, k, None, v) for k, v in before.items() if k not in there]
        return lacking + gone

    def _repair(self, doubt: _Doubt) -> bool:
        """Return whether it still had to be repaired."""
        version = self._mirror.versions(doubt.kind).get(doubt.key)
        body = doubt.body
        if body is None:
            still = version == doubt.version
            if still:
                self._mirror.prune(doubt.kind, doubt.key, doubt.version)
            return still
        if version is not None and version >= doubt.version:
            return False
        if version is None and not self._is_there(doubt):
            return False
        self._take(doubt.kind, body)
        return True

    def _is_there(self, doubt: _Doubt) -> bool:
        """It may have been listed, watched and gone again meanwhile."""
        now = self._store.list(doubt.kind, field_selector=SELECTORS.get(doubt.kind, ""))
        return doubt.key in listed(now.items)

    def _take(self, kind: Kind, body: Json) -> None:
        try:
            self._mirror.put(kind, body)
        except msgspec.ValidationError as error:
            LOG.warning("an object does not fit its kind", extra={"error": str(error)})
