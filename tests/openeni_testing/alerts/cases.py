"""What makes each alert of the chart fire, and what ends it: series as Prometheus scrapes them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

Labels = Mapping[str, str]


@dataclass(frozen=True)
class Level:
    """Values of a gauge before, during and after the cause; None: the series is absent."""

    metric: str
    labels: Labels
    before: float | None
    during: float | None


@dataclass(frozen=True)
class Growth:
    """What a counter grows by from scrape to scrape, before, during and after the cause."""

    metric: str
    labels: Labels
    before: float
    during: float


@dataclass(frozen=True)
class Case:
    """The series of one alert's cause, and the labels with which the alert fires."""

    alert: str
    series: tuple[Level | Growth, ...]
    labels: Labels = field(default_factory=dict[str, str])
    value: str = ""  # as the summary has it


def _condition(alert: str, type_: str, reason: str) -> Case:
    """A condition of a pool that is True becomes False for this reason."""
    labels = {"pool": "pods", "type": type_}
    good = {**labels, "status": "True", "reason": "Ready"}
    bad = {**labels, "status": "False", "reason": reason}
    series = (
        Level("openeni_pool_condition", good, 1, None),
        Level("openeni_pool_condition", bad, None, 1),
    )
    return Case(alert, series, {**labels, "status": "False"})


def _level(
    alert: str, metric: str, labels: Labels, before: float | None, during: float, *, value: str = ""
) -> Case:
    """A gauge whose labels are those of the alert, but for its reason."""
    own = {label: word for label, word in labels.items() if label != "reason"}
    return Case(alert, (Level(metric, labels, before, during),), own, value)


_SUBNET: Final = {"pool": "pods", "subnet": "6f1c"}
_QUOTA: Final = "openeni_cloud_port_quota"
_DURATION: Final = "openeni_cni_duration_seconds"
_RECONCILES: Final = "openeni_reconcile_duration_seconds_count"

CASES: Final = (
    _level("OpenENINoLeader", "openeni_leader", {}, 1, 0),
    _condition("OpenENICloudCredentialsInvalid", "CloudReachable", "CredentialsInvalid"),
    _condition("OpenENICloudCredentialsInvalid", "CloudReachable", "CloudNotConfigured"),
    _condition("OpenENICredentialsExpiring", "CredentialsCurrent", "CredentialsExpiring"),
    _condition("OpenENICloudUnreachable", "CloudReachable", "CloudUnreachable"),
    _condition("OpenENIPoolNoCapacity", "CapacityAvailable", "QuotaExceeded"),
    Case(  # a ratio that is too small
        "OpenENISubnetNearlyExhausted",
        (
            Level("openeni_pool_subnet_free", _SUBNET, 100, 30),
            Level("openeni_pool_subnet_size", _SUBNET, 250, 250),
        ),
        {"subnet": "6f1c"},
    ),
    Case(  # a number that is too small
        "OpenENISubnetNearlyExhausted",
        (
            Level("openeni_pool_subnet_free", _SUBNET, 20, 15),
            Level("openeni_pool_subnet_size", _SUBNET, 29, 29),
        ),
        {"subnet": "6f1c"},
    ),
    Case(
        "OpenENIPortQuotaNearlyUsed",
        (
            Level(_QUOTA, {"cloud": "default", "kind": "used"}, 80, 90),
            Level(_QUOTA, {"cloud": "default", "kind": "limit"}, 100, 100),
        ),
        {"cloud": "default"},
    ),
    _level("OpenENIPodsWaiting", "openeni_pods_waiting", {"pool": "pods"}, 0, 3),
    _condition("OpenENIPoolNotReady", "Ready", "NotFound"),
    _condition("OpenENIPoolUnsupported", "Supported", "ModeUnsupported"),
    _condition("OpenENIPortsOutdated", "UpToDate", "Denied"),
    _condition("OpenENIPoolPaused", "UpToDate", "Paused"),
    _level(
        "OpenENINotReady",
        "openeni_eni_not_ready_seconds",
        {"pool": "pods", "reason": "Attaching"},
        60,
        700,
    ),
    _level(
        "OpenENIStuckDeleting",
        "openeni_eni_deleting_seconds",
        {"pool": "pods", "reason": "Detaching"},
        60,
        1000,
    ),
    _condition("OpenENIPortsOrphaned", "PortsOwned", "OrphanedPorts"),
    _level("OpenENIAgentDown", "openeni_nodes_agent_not_ready_seconds", {}, None, 1000),
    Case(
        "OpenENINoAgents",
        (
            Level("openeni_agents_ready", {}, 3, 0),
            Level("openeni_pool_nodes", {"pool": "pods", "state": "served"}, 3, 3),
        ),
    ),
    _level(
        "OpenENINodesWithoutAgent",
        "openeni_pool_nodes",
        {"pool": "pods", "state": "without_agent"},
        0,
        1,
    ),
    Case(
        "OpenENIADDFailing",
        (
            Growth("openeni_cni_errors_total", {"command": "ADD", "code": "999"}, 0, 1),
            Growth("openeni_cni_errors_total", {"command": "ADD", "code": "11"}, 1, 1),
        ),
        {"code": "999"},
    ),
    Case(
        "OpenENIADDSlow",
        (
            Growth(f"{_DURATION}_sum", {"command": "ADD", "phase": "total"}, 20.1, 23),
            Growth(f"{_DURATION}_sum", {"command": "ADD", "phase": "grant"}, 20, 20),
            Growth(f"{_DURATION}_count", {"command": "ADD", "phase": "total"}, 2, 2),
        ),
    ),
    Case(
        "OpenENIRepairsRepeated",
        (Growth("openeni_repairs_total", {"kind": "rule"}, 0, 1),),
        {"kind": "rule"},
    ),
    _level("OpenENILookFailing", "openeni_look_age_seconds", {}, 20, 400),
    _level("OpenENIWatchSilent", "openeni_watch_age_seconds", {"resource": "enis"}, 40, 400),
    _level(
        "OpenENIAgentQueueStalled",
        "openeni_agent_queue_oldest_due_seconds",
        {"queue": "podips"},
        0,
        420,
        value="7m 0s",
    ),
    _level("OpenENIDELsQueued", "openeni_del_queue_depth", {}, 0, 2),
    Case(
        "OpenENIReconcileFailing",
        (
            Growth(_RECONCILES, {"kind": "ENI", "outcome": "Retry"}, 1, 8),
            Growth(_RECONCILES, {"kind": "ENI", "outcome": "Done"}, 9, 2),
        ),
        {"kind": "ENI"},
    ),
    _level(
        "OpenENIQueueStalled",
        "openeni_queue_oldest_due_seconds",
        {"lane": "cloud-default"},
        0,
        420,
        value="7m 0s",
    ),
    _level("OpenENICRDVersionSkew", "openeni_crd_version_skew", {}, 0, 1),
)
