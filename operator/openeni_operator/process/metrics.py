"""Record the operator's calls and reconciles, and take the samples of its other metrics.

Calls and reconciles are recorded when they end; sources are asked for the rest at each scrape.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from openeni_crds.names import BUNDLE_VERSION, Kind
from openeni_kube.exposition import Exposition
from openeni_kube.metrics import Sample
from openeni_kube.result import Result
from openeni_operator.cloud.api import PortQuota
from openeni_operator.cloud.errors import CloudError
from openeni_operator.process.metric_catalogue import (
    AGENTS_READY,
    CLOUD_CALL_SECONDS,
    CLOUD_PORT_QUOTA,
    CLOUD_THROTTLE_RATIO,
    CRD_VERSION_SKEW,
    LEADER,
    QUEUE_DEPTH,
    QUEUE_OLDEST_SECONDS,
    RECONCILE_SECONDS,
)

OK: Final = "OK"


@dataclass(frozen=True)
class LaneLoad:
    """A lane of the work queue: keys that are due, and the seconds since the first of them was."""

    depth: int
    oldest_due: float


NO_CLOUD_LANE: Final = "no-cloud"  # Prometheus takes an empty label for none


class Metrics(Exposition):
    """The operator's metrics. Safe to use from many threads."""

    def __init__(self) -> None:
        super().__init__(BUNDLE_VERSION)
        self._calls = self.histogram(CLOUD_CALL_SECONDS)
        self._reconciles = self.histogram(RECONCILE_SECONDS)

    def cloud_called(
        self, cloud: str, operation: str, error: CloudError | None, seconds: float
    ) -> None:
        """Record a call that has ended."""
        result = OK if error is None else error.reason.value
        self._calls.labels(cloud, operation, result).observe(seconds)

    def reconciled(self, kind: Kind, result: Result, seconds: float) -> None:
        """Record a reconcile that has ended."""
        self._reconciles.labels(kind.name, type(result).__name__).observe(seconds)


def leader_samples(leads: bool) -> Iterable[Sample]:
    yield Sample(LEADER, (), leads)


def agent_samples(ready: int) -> Iterable[Sample]:
    yield Sample(AGENTS_READY, (), ready)


def crd_version_samples(skew: bool) -> Iterable[Sample]:
    yield Sample(CRD_VERSION_SKEW, (), skew)


def queue_samples(lanes: Mapping[str, LaneLoad]) -> Iterable[Sample]:
    for lane, load in lanes.items():
        label = lane or NO_CLOUD_LANE
        yield Sample(QUEUE_DEPTH, (label,), load.depth)
        yield Sample(QUEUE_OLDEST_SECONDS, (label,), load.oldest_due)


def throttle_samples(ratios: Mapping[str, float]) -> Iterable[Sample]:
    """Take the unused part of each cloud's rate."""
    for cloud, ratio in ratios.items():
        yield Sample(CLOUD_THROTTLE_RATIO, (cloud,), ratio)


def quota_samples(quotas: Mapping[str, PortQuota]) -> Iterable[Sample]:
    for cloud, quota in quotas.items():
        yield Sample(CLOUD_PORT_QUOTA, (cloud, "used"), quota.used)
        if quota.limit >= 0:
            yield Sample(CLOUD_PORT_QUOTA, (cloud, "limit"), quota.limit)
