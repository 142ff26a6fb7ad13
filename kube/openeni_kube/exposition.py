"""Expose metrics in Prometheus' text format; the only importer of its client."""

from collections.abc import Iterable
from itertools import accumulate
from typing import TypeAlias

from prometheus_client import CollectorRegistry, Histogram, ProcessCollector, generate_latest
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
)
from prometheus_client.registry import Collector

from openeni_kube.metrics import (
    BUILD_INFO,
    HistogramSample,
    Metric,
    MetricType,
    Sample,
    Source,
)

Family: TypeAlias = CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily


class Exposition:
    """The metrics of one process. Safe to use from many threads."""

    def __init__(self, version: str) -> None:
        self._registry = CollectorRegistry()
        self._sources = _Sources([lambda: [Sample(BUILD_INFO, (version,), 1)]])
        self._registry.register(self._sources)
        ProcessCollector(registry=self._registry)

    def add_source(self, source: Source) -> None:
        """Ask `source` for samples at each scrape; each metric has one source."""
        self._sources.add(source)

    def histogram(self, metric: Metric) -> Histogram:
        """Return a histogram to observe values with; it is a source of its own."""
        return Histogram(
            metric.name,
            metric.help,
            metric.labels,
            buckets=metric.buckets,
            registry=self._registry,
        )

    def page(self) -> bytes:
        """Return the exposition in Prometheus' text format, version 0.0.4."""
        return generate_latest(self._registry)


class _Sources(Collector):
    """Turns the samples of all sources into the client's metric families."""

    def __init__(self, sources: list[Source]) -> None:
        self._sources = sources

    def add(self, source: Source) -> None:
        self._sources = [*self._sources, source]  # a scrape may be going through the old list

    def collect(self) -> Iterable[Family]:
        families: dict[Metric, Family] = {}
        for source in self._sources:
            for sample in source():
                if sample.metric not in families:
                    families[sample.metric] = _family(sample.metric)
                _add(families[sample.metric], sample)
        return families.values()


def _family(metric: Metric) -> Family:
    make: type[Family] = {
        MetricType.COUNTER: CounterMetricFamily,
        MetricType.GAUGE: GaugeMetricFamily,
        MetricType.HISTOGRAM: HistogramMetricFamily,
    }[metric.type]
    return make(metric.name, metric.help, labels=metric.labels)


def _add(family: Family, sample: Sample | HistogramSample) -> None:
    if isinstance(sample, HistogramSample):
        assert isinstance(family, HistogramMetricFamily)  # noqa: S101 - by the metric's type
        bounds = [*(str(float(bound)) for bound in sample.metric.buckets), "+Inf"]
        buckets = list(zip(bounds, accumulate(sample.counts), strict=True))
        family.add_metric(sample.labels, buckets, sample.sum)
    else:
        assert not isinstance(family, HistogramMetricFamily)  # noqa: S101 - by the metric's type
        family.add_metric(sample.labels, sample.value)
