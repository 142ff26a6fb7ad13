"""Take the samples of the agent's metrics from its parts, at each scrape.

Nothing is counted twice: most numbers are what the parts are now. Locks that an ADD needs are held
for a copy at most.
"""

import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from openeni_crds.status.eni import PortStatus
from openeni_kube.events import EventRecorder
from openeni_kube.metrics import HistogramSample, Sample, dropped_samples
from openeni_kube.workers import Workers
from openeni_nodeagent.addresses import family_of
from openeni_nodeagent.attachments import del_queue
from openeni_nodeagent.cluster.watches import Caches, Watches
from openeni_nodeagent.cni.call_statistics import CallStatistics
from openeni_nodeagent.datapath_api import REPAIR_KINDS
from openeni_nodeagent.grants.grant_log import GrantLog
from openeni_nodeagent.grants.grants import Grants
from openeni_nodeagent.grants.journal import Journal
from openeni_nodeagent.looks.datapath_reconciler import DatapathReconciler
from openeni_nodeagent.metrics.catalogue import (
    ADDS_WAITING,
    ADDS_WAITING_SECONDS,
    CNI_ERRORS,
    CNI_SECONDS,
    DEL_QUEUE_DEPTH,
    GRANT_LOG_LINES,
    GRANTS,
    JOURNAL_BYTES,
    JOURNAL_RECORDS,
    LOOK_AGE,
    LOOK_SECONDS,
    NODE_ADDRESSES,
    QUEUE_DEPTH,
    QUEUE_OLDEST_SECONDS,
    REPAIRS,
    WATCH_AGE,
)

CONNECTED: Final = "connected"
CONNECTING: Final = "connecting"
DIFFERING: Final = "differing"


@dataclass(frozen=True)
class Samples:
    """The parts that are asked."""

    calls: CallStatistics
    events: EventRecorder
    grants: Grants
    grant_log: GrantLog
    journal: Journal
    caches: Caches
    watches: Watches
    looks: DatapathReconciler
    queues: Mapping[str, Workers[str]]
    dels: Path  # the folder of queued DELs

    def take(self) -> Iterator[Sample | HistogramSample]:
        """Yield the samples of every metric but those of the process."""
        yield from self._of_calls()
        yield from self._of_waits()
        yield from self._of_grants()
        yield from self._of_addresses()
        yield from self._of_looks()
        yield from self._of_queues()
        yield from dropped_samples(self.events.dropped())

    def _of_calls(self) -> Iterator[Sample | HistogramSample]:
        for labels, found in self.calls.durations().items():
            yield HistogramSample(CNI_SECONDS, labels, tuple(found.counts), found.sum)
        for (command, code), count in self.calls.errors().items():
            yield Sample(CNI_ERRORS, (command, str(code)), count)

    def _of_waits(self) -> Iterator[Sample]:
        waits = self.grants.waits()
        counts = Counter({pool.name: 0 for pool in self.caches.pools.all()})
        counts.update(wait.request.pool for wait in waits)
        for pool, count in counts.items():
            yield Sample(ADDS_WAITING, (pool,), count)
        now = time.monotonic()
        longest = max((now - wait.since for wait in waits), default=0.0)
        yield Sample(ADDS_WAITING_SECONDS, (), longest)

    def _of_grants(self) -> Iterator[Sample]:
        counts = Counter({CONNECTED: 0, CONNECTING: 0, DIFFERING: 0})
        for grant in self.grants.all():
            differs = self.looks.difference(grant.attachment)
            counts[DIFFERING if differs else CONNECTED if grant.connected else CONNECTING] += 1
        for state, count in counts.items():
            yield Sample(GRANTS, (state,), count)

    def _of_addresses(self) -> Iterator[Sample]:
        totals: Counter[tuple[str, str]] = Counter()
        for eni in self.caches.enis.all():
            counts, port = self.grants.counts(eni.name), eni.status.port
            if counts is None or port is None:
                continue
            known = {
                "granted": counts.granted,
                "available": counts.available,
                "cooling": counts.cooling,
            }
            known["unavailable"] = max(_pods(port) - sum(known.values()), 0)
            for state, count in known.items():
                totals[eni.spec.pool_name, state] += count
        for labels, count in totals.items():
            yield Sample(NODE_ADDRESSES, labels, count)

    def _of_looks(self) -> Iterator[Sample]:
        repaired = dict(self.looks.repair_notes.counts)  # in one step: a look may be adding to it
        for kind in REPAIR_KINDS:
            yield Sample(REPAIRS, (kind,), repaired.get(kind, 0))
        for resource, age in self.watches.ages().items():
            yield Sample(WATCH_AGE, (resource,), age)
        age, took = self.looks.last_look()
        yield Sample(LOOK_AGE, (), age)
        yield Sample(LOOK_SECONDS, (), took)

    def _of_queues(self) -> Iterator[Sample]:
        for name, queue in self.queues.items():
            for depth, oldest in queue.load().values():  # it has one lane
                yield Sample(QUEUE_DEPTH, (name,), depth)
                yield Sample(QUEUE_OLDEST_SECONDS, (name,), oldest)
        records, size = self.journal.size()
        yield Sample(DEL_QUEUE_DEPTH, (), del_queue.depth(self.dels))
        yield Sample(JOURNAL_RECORDS, (), records)
        yield Sample(JOURNAL_BYTES, (), size)
        yield Sample(GRANT_LOG_LINES, (), self.grant_log.pending())


def _pods(port: PortStatus) -> int:
    """Return how many pods can have an address of each family."""
    families = Counter(map(family_of, port.addresses))
    return min(families.values(), default=0)
