"""The resync: enqueue every object again, spread over the interval, and check kopf's watch.

kopf does not report objects that were deleted while a watch was broken, nor whether its watch is
alive. So the versions of ENIPools are compared with a list of metadata. A difference that no watch
event has settled after `WATCH_LAG` is repaired, by one GET, and counted. Two rounds in a row with
differences mean that the watch is dead, and the liveness probe fails. Informers report deletions
and their own health: their kinds are only enqueued.
"""

import logging
import threading
import zlib
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Final

from openeni_crds.names import ENIPOOLS, Kind
from openeni_kube.store import NotFoundError, Store, StoreError
from openeni_operator.cluster_state import ClusterState, version_of
from openeni_operator.keys import Key
from openeni_operator.objects.invalid_objects import put_valid
from openeni_operator.watch_mapping import all_keys

LOG: Final = logging.getLogger(__name__)
KOPF_KINDS: Final = (ENIPOOLS,)  # the kinds that kopf watches
WATCH_LAG: Final = 5.0  # seconds by which a watch may be behind a list
UNHEALTHY_ROUNDS: Final = 2
BATCHES: Final = 60  # of a round
FIRST_ROUND: Final = 30.0  # seconds; early: deletions between `fill` and kopf's list are missed


def delay_of(key: Key, interval: float) -> float:
    """Return after how many seconds of each interval the key is due: the same in every process.

    The keys of a batch are due together: a thread that wakes up for a single one spends more on
    that than on the reconcile of an object that is as it should be.
    """
    return interval * (zlib.crc32(str(key).encode()) % BATCHES) / BATCHES


def differing(cached: Mapping[str, int], listed: Mapping[str, int]) -> set[str]:
    """Return the keys of the objects that only one side has, or that are newer in the list."""
    newer = {key for key, version in listed.items() if version > cached.get(key, -1)}
    return newer | (cached.keys() - listed.keys())


class Resync:
    """A background thread; any thread may call `healthy`."""

    def __init__(
        self,
        store: Store,
        state: ClusterState,
        interval: float,
        enqueue: Callable[[Key, float], None],
    ) -> None:
        """Run every `interval` seconds; `enqueue` makes a key due after so many seconds."""
        self._store = store
        self._state = state
        self._interval = interval
        self._enqueue = enqueue
        self._stop = threading.Event()
        self._hasten = threading.Event()
        self._mismatched_rounds = 0  # rounds in a row in which a watch had missed something
        self._thread = threading.Thread(target=self._run, name="resync", daemon=True)

    def fill(self) -> None:
        """List the kinds that kopf watches, before the first reconcile. Raises StoreError."""
        for kind in KOPF_KINDS:
            for body in self._store.list(kind).items:
                put_valid(self._state, kind, body)

    def start(self) -> None:
        self._thread.start()

    def hasten(self) -> None:
        """Begin a round now: the API server may have other objects than the watches have shown."""
        self._hasten.set()

    def stop(self) -> None:
        self._stop.set()
        self._hasten.set()

    def healthy(self) -> bool:
        """Return False once the watches repeatedly lack what the lists show."""
        fresh = self._mismatched_rounds < UNHEALTHY_ROUNDS
        return fresh and (self._thread.is_alive() or self._stop.is_set())

    def _run(self) -> None:
        pause = min(FIRST_ROUND, self._interval)
        while True:
            self._hasten.wait(pause)
            if self._stop.is_set():
                return
            self._hasten.clear()
            pause = self._interval
            try:
                self.run_once()
            except StoreError as error:
                LOG.warning("kopf's watches cannot be checked: %s", error)

    def run_once(self) -> None:
        """Enqueue everything, then repair what the watches have missed. Raises StoreError."""
        for key in all_keys(self._state):
            self._enqueue(key, delay_of(key, self._interval))
        missed = self._repair()
        self._mismatched_rounds = self._mismatched_rounds + 1 if missed else 0
        if missed:
            counts = ", ".join(f"{count} {kind}" for kind, count in missed.items())
            LOG.warning("the watches had missed changes, now repaired: %s", counts)

    def _repair(self) -> Counter[str]:
        """Return how many objects of each kind the watches had missed."""
        mismatches = {kind: self._compare(kind) for kind in KOPF_KINDS}
        missed = Counter[str]()
        if not any(mismatches.values()) or self._stop.wait(WATCH_LAG):
            return missed
        for kind, before in mismatches.items():
            now = self._state.versions(kind)
            for key, version in before.items():
                if now.get(key) == version and self._fetch(kind, key, version):
                    missed[kind.name] += 1
        return missed

    def _compare(self, kind: Kind) -> dict[str, int | None]:
        """Return the keys that differ, and the version of each in the cluster state."""
        cached = self._state.versions(kind)
        listed = {key: int(v) for key, v in self._store.list_versions(kind).items()}
        return {key: cached.get(key) for key in differing(cached, listed)}

    def _fetch(self, kind: Kind, key: str, version: int | None) -> bool:
        """Get an object that is unchanged in the cluster state; return True if that was wrong."""
        namespace, _, name = key.rpartition("/")
        try:
            body = self._store.get(kind, name, namespace)
        except NotFoundError:
            if version is None:  # created and deleted meanwhile
                return False
            self._state.delete_version(kind, key, version)
            return True
        known = version is not None and version_of(body) <= version
        # An invalid one no watch could have cached.
        update = version is not None
        return not known and put_valid(self._state, kind, body, only_update=update)
