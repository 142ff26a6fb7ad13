"""Metrics as values: what they are called, and what they are now. Pure.

A program lists its metrics in a catalogue, from which docs/metrics.md is made. Names and labels are
API. The values of a label come from the code or from objects that exist: nobody can make series
without bound.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, TypeAlias

from openeni_kube.events import DropCause


class MetricType(StrEnum):
    GAUGE = "gauge"
    COUNTER = "counter"
    HISTOGRAM = "histogram"


@dataclass(frozen=True)
class Metric:
    """One metric; `buckets` are a histogram's upper bounds."""

    name: str
    type: MetricType
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()


@dataclass(frozen=True)
class Sample:
    """The present value of a metric for the values of its labels."""

    metric: Metric
    labels: tuple[str, ...]
    value: float


@dataclass(frozen=True)
class HistogramSample:
    """What a histogram has counted: observations in each bucket, the last without bound."""

    metric: Metric
    labels: tuple[str, ...]
    counts: tuple[int, ...]
    sum: float


Source: TypeAlias = Callable[[], Iterable[Sample | HistogramSample]]  # is called at each scrape

BUILD_INFO: Final = Metric(
    "openeni_build_info",
    MetricType.GAUGE,
    "1; the label has the version of the program that serves it.",
    ("version",),
)
EVENTS_DROPPED: Final = Metric(
    "openeni_events_dropped_total",
    MetricType.COUNTER,
    "Kubernetes Events that were not written, by cause: QueueFull, RateLimited (too many about one "
    "object), NotWritten (the API server refused it, or was away for too long).",
    ("cause",),
)


def dropped_samples(dropped: Mapping[DropCause, int]) -> Iterable[Sample]:
    for cause, count in dropped.items():
        yield Sample(EVENTS_DROPPED, (cause.value,), count)
