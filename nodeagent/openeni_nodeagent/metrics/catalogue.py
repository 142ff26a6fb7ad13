"""List the agent's metrics by name, type, labels and meaning, as docs/metrics.md does. Pure.

No label names a pod: a node has as many series as it has pools, phases and queues.
"""

from typing import Final

from openeni_kube.metrics import BUILD_INFO, EVENTS_DROPPED, Metric, MetricType

_GAUGE, _COUNTER, _HISTOGRAM = MetricType.GAUGE, MetricType.COUNTER, MetricType.HISTOGRAM

CNI_SECONDS: Final = Metric(
    "openeni_cni_duration_seconds",
    _HISTOGRAM,
    "Duration of CNI calls that succeeded, by phase; total is the whole call. queue is the wait "
    "until it begins. Of an ADD, grant includes the wait for an address, and turn is the wait for "
    "other pods' work in the kernel; plan, node, namespace and pod are its own. CHECK, GC and "
    "STATUS have total alone. The time until the agent accepts the call is in none of them, nor is "
    "what follows the answer.",
    ("command", "phase"),
    buckets=(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5, 2.5, 10, 60),
)
CNI_ERRORS: Final = Metric(
    "openeni_cni_errors_total",
    _COUNTER,
    "CNI calls that failed, by the error code of the CNI specification: 11 is to be tried again, "
    "as when there is no address. The command is Invalid if it is none of CNI's.",
    ("command", "code"),
)
ADDS_WAITING: Final = Metric(
    "openeni_cni_adds_waiting", _GAUGE, "ADDs that wait for an address of an ENIPool.", ("pool",)
)
ADDS_WAITING_SECONDS: Final = Metric(
    "openeni_cni_adds_waiting_seconds",
    _GAUGE,
    "Time for which the ADD that has waited longest for an address has done so; 0 if none waits. "
    "Each ADD gives up before the runtime does, and is made again.",
)
GRANTS: Final = Metric(
    "openeni_grants",
    _GAUGE,
    "Grants of addresses to pods of this node by state: connected; connecting, whose ADD runs or "
    "has failed; differing, whose datapath the last look could not bring to its plan.",
    ("state",),
)
NODE_ADDRESSES: Final = Metric(
    "openeni_node_addresses",
    _GAUGE,
    "Addresses for pods on the ENIs of this node, counted in pods, by state: granted, available, "
    "cooling, or unavailable (on an ENI that is not ready, or given up).",
    ("pool", "state"),
)
REPAIRS: Final = Metric(
    "openeni_repairs_total",
    _COUNTER,
    "What others had changed of openeni's in the kernel and the agent has restored, by kind: link, "
    "address, route, rule, neighbour, sysctl, qdisc, or element and chain of nftables.",
    ("kind",),
)
WATCH_AGE: Final = Metric(
    "openeni_watch_age_seconds",
    _GAUGE,
    "Time since the API server last answered a watch of the agent. A quiet one has an answer once "
    "a minute.",
    ("resource",),
)
LOOK_AGE: Final = Metric(
    "openeni_look_age_seconds",
    _GAUGE,
    "Time since the agent last looked at the whole node and found no error, at first since it read "
    "its Node; 0 until then. There is a look at least every 30 s.",
)
LOOK_SECONDS: Final = Metric(
    "openeni_look_duration_seconds",
    _GAUGE,
    "Duration of the last look at the whole node, with its repairs.",
)
QUEUE_DEPTH: Final = Metric(
    "openeni_agent_queue_depth", _GAUGE, "Keys that are due in a work queue.", ("queue",)
)
QUEUE_OLDEST_SECONDS: Final = Metric(
    "openeni_agent_queue_oldest_due_seconds",
    _GAUGE,
    "Time since the oldest key of a work queue that waits or is being worked on became due; 0 if "
    "there is none.",
    ("queue",),
)
DEL_QUEUE_DEPTH: Final = Metric(
    "openeni_del_queue_depth",
    _GAUGE,
    "DELs that the CNI executable has queued while no agent answered, and that are still to run.",
)
JOURNAL_RECORDS: Final = Metric(
    "openeni_journal_records",
    _GAUGE,
    "Records in the journal of grants; above 512 it is rewritten within a minute.",
)
JOURNAL_BYTES: Final = Metric(
    "openeni_journal_size_bytes", _GAUGE, "Size of the journal of grants."
)
GRANT_LOG_LINES: Final = Metric(
    "openeni_grant_log_pending_lines",
    _GAUGE,
    "Lines of the log of grants that are not written yet.",
)

CATALOGUE: Final = (
    CNI_SECONDS,
    CNI_ERRORS,
    ADDS_WAITING,
    ADDS_WAITING_SECONDS,
    GRANTS,
    NODE_ADDRESSES,
    REPAIRS,
    WATCH_AGE,
    LOOK_AGE,
    LOOK_SECONDS,
    QUEUE_DEPTH,
    QUEUE_OLDEST_SECONDS,
    DEL_QUEUE_DEPTH,
    JOURNAL_RECORDS,
    JOURNAL_BYTES,
    GRANT_LOG_LINES,
    EVENTS_DROPPED,
    BUILD_INFO,
)
