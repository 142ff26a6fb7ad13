"""The exposition holds what the catalogue lists, in a registry of its own."""

from collections.abc import Iterable
from typing import Final

import pytest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample as Exposed

from openeni_crds.names import BUNDLE_VERSION, ENIS, NODES
from openeni_kube.events import DropCause
from openeni_kube.metrics import MetricType, Sample, Source, dropped_samples
from openeni_kube.result import Blocked, Done, RequeueAfter, Result, Retry
from openeni_operator.cloud.api import PortQuota
from openeni_operator.cloud.errors import QuotaExceededError
from openeni_operator.process.metric_catalogue import (
    CATALOGUE,
    LEADER,
)
from openeni_operator.process.metrics import (
    LaneLoad,
    Metrics,
    agent_samples,
    crd_version_samples,
    leader_samples,
    queue_samples,
    quota_samples,
    throttle_samples,
)

OWN: Final = "openeni_"


def exposed(metrics: Metrics, name: str = OWN) -> list[Exposed]:
    families = text_string_to_metric_families(metrics.page().decode())
    return [s for family in families for s in family.samples if s.name.startswith(name)]


def values(metrics: Metrics, name: str) -> dict[tuple[str, ...], float]:
    """Return the values of one metric's samples by their labels' values."""
    found = [s for s in exposed(metrics, name) if s.name == name]
    return {tuple(s.labels.values()): s.value for s in found}


def source_of(samples: Iterable[Sample]) -> Source:
    kept = list(samples)
    return lambda: kept


def full() -> Metrics:
    """Return metrics to which everything but the cluster state has reported."""
    metrics = Metrics()
    metrics.cloud_called("default", "create port", None, 0.3)
    metrics.cloud_called("default", "create port", QuotaExceededError("used up"), 0.2)
    metrics.reconciled(ENIS, Done(), 0.01)
    for samples in (
        leader_samples(leads=True),
        agent_samples(3),
        crd_version_samples(skew=False),
        queue_samples({"default": LaneLoad(4, 2.5), "": LaneLoad(0, 0)}),
        throttle_samples({"default": 0.75}),
        quota_samples({"default": PortQuota(85, 100), "other": PortQuota(3, -1)}),
        dropped_samples({DropCause.RATE_LIMITED: 7, DropCause.QUEUE_FULL: 0}),
    ):
        metrics.add_source(source_of(samples))
    return metrics


def test_a_call_is_counted_by_its_result() -> None:
    calls = values(full(), "openeni_cloud_call_duration_seconds_count")
    assert calls == {
        ("default", "create port", "OK"): 1,
        ("default", "create port", "QuotaExceeded"): 1,
    }
    sums = values(full(), "openeni_cloud_call_duration_seconds_sum")
    assert sums["default", "create port", "OK"] == pytest.approx(0.3)


@pytest.mark.parametrize(
    ("result", "outcome"),
    [
        (Done(), "Done"),
        (RequeueAfter(5), "RequeueAfter"),
        (Retry("x"), "Retry"),
        (Blocked("x"), "Blocked"),
    ],
)
def test_a_reconcile_is_counted_by_its_outcome(result: Result, outcome: str) -> None:
    metrics = Metrics()
    metrics.reconciled(NODES, result, 0.01)
    counts = values(metrics, "openeni_reconcile_duration_seconds_count")
    assert counts == {("Node", outcome): 1}


def test_what_sources_report_is_asked_for_at_each_scrape() -> None:
    metrics, leads = Metrics(), [False]
    metrics.add_source(lambda: leader_samples(leads[0]))
    assert values(metrics, LEADER.name) == {(): 0}
    leads[0] = True
    assert values(metrics, LEADER.name) == {(): 1}


def test_each_source_has_its_samples() -> None:
    metrics = full()
    assert values(metrics, "openeni_build_info") == {(BUNDLE_VERSION,): 1}
    assert values(metrics, "openeni_agents_ready") == {(): 3}
    assert values(metrics, "openeni_crd_version_skew") == {(): 0}
    assert values(metrics, "openeni_queue_depth") == {("default",): 4, ("no-cloud",): 0}
    assert values(metrics, "openeni_queue_oldest_due_seconds")["default",] == 2.5
    assert values(metrics, "openeni_cloud_throttle_ratio") == {("default",): 0.75}
    assert values(metrics, "openeni_cloud_port_quota") == {
        ("default", "used"): 85,
        ("default", "limit"): 100,
        ("other", "used"): 3,
    }
    assert values(metrics, "openeni_events_dropped_total") == {
        ("RateLimited",): 7,
        ("QueueFull",): 0,
    }


def test_everything_exposed_is_in_the_catalogue_with_its_labels() -> None:
    labels = {metric.name: set(metric.labels) for metric in CATALOGUE}
    for sample in exposed(full()):
        name = sample.name
        for ending in ("_bucket", "_count", "_sum", "_created"):
            name = name.removesuffix(ending)
        assert set(sample.labels) - {"le"} == labels[name], sample.name


def test_the_process_has_its_metrics_and_nothing_of_another_registry() -> None:
    first, second = Metrics(), Metrics()
    first.cloud_called("default", "x", None, 1)
    assert exposed(first, "process_cpu_seconds_total")
    assert not exposed(second, "openeni_cloud")


def test_label_values_of_strangers_are_escaped() -> None:
    metrics = Metrics()
    strange = 'a"b\n\\'
    metrics.add_source(lambda: throttle_samples({strange: 1}))
    assert values(metrics, "openeni_cloud_throttle_ratio") == {(strange,): 1}


def test_names_are_unique_and_end_as_their_type_asks() -> None:
    names = [metric.name for metric in CATALOGUE]
    assert len(set(names)) == len(names)
    for metric in CATALOGUE:
        assert metric.name.startswith(OWN)
        assert metric.name.endswith("_total") == (metric.type is MetricType.COUNTER)
        assert bool(metric.buckets) == (metric.type is MetricType.HISTOGRAM)
        assert sorted(metric.buckets) == list(metric.buckets)


def test_a_source_may_be_added_while_another_is_asked() -> None:
    metrics = Metrics()

    def adds() -> Iterable[Sample]:
        metrics.add_source(lambda: leader_samples(leads=True))
        return ()

    metrics.add_source(adds)
    assert values(metrics, LEADER.name) == {}
    assert values(metrics, LEADER.name) == {(): 1}
