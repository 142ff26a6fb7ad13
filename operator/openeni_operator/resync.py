"""Periodic resync: compare a full list of every kind with the cluster state.

kopf does not report objects that were deleted while a watch was broken, nor whether its watches are
alive. So at start, and again every few minutes, everything is listed. A difference that no watch
event has settled after `WATCH_LAG` is repaired and counted. Two rounds in a row with differences
mean that a watch is dead, and the liveness probe fails.
"""

import logging
import random
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import msgspec

from openeni_crds.meta import Json
from openeni_crds.names import Kind
from openeni_kube.store import Store, StoreError
from openeni_operator.cluster_state import (
    FIELD_SELECTORS,
    WATCHED_KINDS,
    ClusterState,
    by_key,
    version_of,
)
from openeni_operator.invalid_objects import log_invalid

LOG: Final = logging.getLogger(__name__)
WATCH_LAG: Final = 5.0  # seconds by which a watch may be behind a list
JITTER: Final = 0.2  # part of the interval by which a pause varies either way
UNHEALTHY_ROUNDS: Final = 2


@dataclass(frozen=True)
class _Mismatch:
    """An object that is new or newer in the list, or (without a body) missing from it."""

    kind: Kind
    key: str
    body: Json | None
    version: int


class Resync:
    """A background thread; any thread may call `healthy`."""

    def __init__(
        self, store: Store, state: ClusterState, interval: float, enqueue_all: Callable[[], None]
    ) -> None:
        """Run every `interval` seconds; `enqueue_all` enqueues the keys of all objects."""
        self._store = store
        self._state = state
        self._enqueue_all = enqueue_all
        self._interval = interval
        self._stop = threading.Event()
        self._mismatched_rounds = 0  # rounds in a row in which a watch had missed something
        self._thread = threading.Thread(target=self._run, name="resync", daemon=True)

    def fill(self) -> None:
        """List everything once, before the first reconcile. Raises StoreError."""
        for kind in WATCHED_KINDS:
            page = self._store.list(kind, field_selector=FIELD_SELECTORS.get(kind, ""))
            for body in page.items:
                self._put(kind, body)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()

    def healthy(self) -> bool:
        """Return False once the watches repeatedly lack what the lists show."""
        fresh = self._mismatched_rounds < UNHEALTHY_ROUNDS
        return fresh and (self._thread.is_alive() or self._stop.is_set())

    def _run(self) -> None:
        while not self._stop.wait(self._pause()):
            try:
                self.run_once()
            except StoreError as error:
                LOG.warning("resync failed", extra={"error": str(error)})

    def _pause(self) -> float:
        # spreads load; no cryptographic randomness is needed
        return self._interval * random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311

    def run_once(self) -> None:
        """Compare, wait for late events, repair what still differs, then enqueue everything."""
        mismatches = [m for kind in WATCHED_KINDS for m in self._compare(kind)]
        missed: Counter[str] = Counter()
        if mismatches and not self._stop.wait(WATCH_LAG):
            missed.update(m.kind.name for m in mismatches if self._repair(m))
        self._mismatched_rounds = self._mismatched_rounds + 1 if missed else 0
        if missed:
            counts = ", ".join(f"{count} {kind}" for kind, count in missed.items())
            LOG.warning("the watches had missed changes, now repaired: %s", counts)
        self._enqueue_all()

    def _compare(self, kind: Kind) -> list[_Mismatch]:
        before = self._state.versions(kind)
        page = self._store.list(kind, field_selector=FIELD_SELECTORS.get(kind, ""))
        listed = by_key(page.items)
        outdated = [
            _Mismatch(kind, key, body, version_of(body))
            for key, body in listed.items()
            if before.get(key, -1) < version_of(body)
        ]
        deleted = [_Mismatch(kind, k, None, v) for k, v in before.items() if k not in listed]
        return outdated + deleted

    def _repair(self, mismatch: _Mismatch) -> bool:
        """Return True if no watch event had settled the mismatch."""
        version = self._state.versions(mismatch.kind).get(mismatch.key)
        body = mismatch.body
        if body is None:
            unsettled = version == mismatch.version
            if unsettled:
                self._state.delete_version(mismatch.kind, mismatch.key, mismatch.version)
            return unsettled
        if version is not None and version >= mismatch.version:
            return False
        if version is None and not self._exists(mismatch):
            return False
        self._put(mismatch.kind, body)
        return True

    def _exists(self, mismatch: _Mismatch) -> bool:
        """List again: the object may have been deleted since the first list."""
        page = self._store.list(
            mismatch.kind, field_selector=FIELD_SELECTORS.get(mismatch.kind, "")
        )
        return mismatch.key in by_key(page.items)

    def _put(self, kind: Kind, body: Json) -> None:
        try:
            self._state.put(kind, body)
        except msgspec.ValidationError as error:
            log_invalid(kind, body, error)
