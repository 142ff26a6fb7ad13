"""List the operator's metrics by name, type, labels and meaning, as docs/metrics.md does. Pure.

Names and labels are API. The values of a label come from the code, from clouds.yaml, or from pools
and subnets that exist: nobody can make series without bound.
"""

from typing import Final

from openeni_kube.metrics import BUILD_INFO, EVENTS_DROPPED, Metric, MetricType

_GAUGE, _HISTOGRAM = MetricType.GAUGE, MetricType.HISTOGRAM

POOL_CONDITION: Final = Metric(
    "openeni_pool_condition",
    _GAUGE,
    "1 for the present status and reason of each condition of an ENIPool.",
    ("pool", "type", "status", "reason"),
)
POOL_NODES: Final = Metric(
    "openeni_pool_nodes",
    _GAUGE,
    "Nodes of an ENIPool by state, as in its status.nodeCounts: served, without_agent, "
    "without_datapath, without_subnet; at_limit counts served ones again.",
    ("pool", "state"),
)
POOL_ADDRESSES: Final = Metric(
    "openeni_pool_addresses",
    _GAUGE,
    "Addresses for pods on an ENIPool's ports, counted in pods, by state: granted, available, "
    "cooling, or unavailable (on an ENI that is not Ready, or retiring).",
    ("pool", "state"),
)
POOL_SUBNET_FREE: Final = Metric(
    "openeni_pool_subnet_free",
    _GAUGE,
    "Upper bound of the free addresses in a subnet of an ENIPool: ports of other projects are not "
    "seen.",
    ("pool", "subnet"),
)
POOL_SUBNET_SIZE: Final = Metric(
    "openeni_pool_subnet_size",
    _GAUGE,
    "Addresses in the allocation pools of a subnet of an ENIPool.",
    ("pool", "subnet"),
)
POOL_SUBNET_USED: Final = Metric(
    "openeni_pool_subnet_used",
    _GAUGE,
    "Addresses in a subnet that are on ports of an ENIPool's ENIs, the primary ones included.",
    ("pool", "subnet"),
)
ENI_STATE: Final = Metric(
    "openeni_eni_state",
    _GAUGE,
    "ENIs of an ENIPool by the reason of their condition Ready: None before there is one, Other if "
    "it is not one of openeni's.",
    ("pool", "reason"),
)
ENI_NOT_READY_SECONDS: Final = Metric(
    "openeni_eni_not_ready_seconds",
    _GAUGE,
    "Longest time that an ENI of an ENIPool has not been Ready, by the ENI's present reason. ENIs "
    "that are being deleted do not count.",
    ("pool", "reason"),
)
ENI_DELETING_SECONDS: Final = Metric(
    "openeni_eni_deleting_seconds",
    _GAUGE,
    "Longest time that a deleted ENI of an ENIPool has been without pods and cool-downs and is not "
    "gone, by the ENI's present reason. ENIs that pods use do not count.",
    ("pool", "reason"),
)
PODS_WAITING: Final = Metric(
    "openeni_pods_waiting",
    _GAUGE,
    "Pods on a node that wait for an address of an ENIPool.",
    ("pool",),
)
NODES_AGENT_NOT_READY: Final = Metric(
    "openeni_nodes_agent_not_ready",
    _GAUGE,
    "Nodes with the taint node.openeni.io/agent-not-ready.",
)
NODES_AGENT_NOT_READY_SECONDS: Final = Metric(
    "openeni_nodes_agent_not_ready_seconds",
    _GAUGE,
    "Longest time that a node has had the taint node.openeni.io/agent-not-ready.",
)
AGENTS_READY: Final = Metric("openeni_agents_ready", _GAUGE, "Node agents whose pod is ready.")
CLOUD_CALL_SECONDS: Final = Metric(
    "openeni_cloud_call_duration_seconds",
    _HISTOGRAM,
    "Duration of calls to a cloud, without the time in the operator's own limits. The result is OK "
    "or the reason of the error.",
    ("cloud", "operation", "result"),
    buckets=(0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120),
)
CLOUD_THROTTLE_RATIO: Final = Metric(
    "openeni_cloud_throttle_ratio",
    _GAUGE,
    "Ratio of the rate of calls to a cloud that the operator leaves unused, because the cloud has "
    "throttled it, to the configured rate: from 0 to 1.",
    ("cloud",),
)
CLOUD_PORT_QUOTA: Final = Metric(
    "openeni_cloud_port_quota",
    _GAUGE,
    "Ports in the quota of a cloud's project, by kind: limit (absent if there is none) and used.",
    ("cloud", "kind"),
)
RECONCILE_SECONDS: Final = Metric(
    "openeni_reconcile_duration_seconds",
    _HISTOGRAM,
    "Duration of reconciles. The outcome is the result's class: Done, RequeueAfter, Blocked, or "
    "Retry for one that failed.",
    ("kind", "outcome"),
    buckets=(0.005, 0.025, 0.1, 0.5, 1, 5, 15, 60, 120),
)
QUEUE_DEPTH: Final = Metric(
    "openeni_queue_depth", _GAUGE, "Keys that are due in a lane of the work queue.", ("lane",)
)
QUEUE_OLDEST_SECONDS: Final = Metric(
    "openeni_queue_oldest_due_seconds",
    _GAUGE,
    "Time since the oldest key of a lane of the work queue that waits or is being worked on became "
    "due; 0 if there is none.",
    ("lane",),
)
LEADER: Final = Metric("openeni_leader", _GAUGE, "1 if this operator leads, else 0.")
CRD_VERSION_SKEW: Final = Metric(
    "openeni_crd_version_skew",
    _GAUGE,
    "1 if the CRDs were not those of this operator's build when it started, else 0.",
)
CATALOGUE: Final = (
    POOL_CONDITION,
    POOL_NODES,
    POOL_ADDRESSES,
    POOL_SUBNET_FREE,
    POOL_SUBNET_SIZE,
    POOL_SUBNET_USED,
    ENI_STATE,
    ENI_NOT_READY_SECONDS,
    ENI_DELETING_SECONDS,
    PODS_WAITING,
    NODES_AGENT_NOT_READY,
    NODES_AGENT_NOT_READY_SECONDS,
    AGENTS_READY,
    CLOUD_CALL_SECONDS,
    CLOUD_THROTTLE_RATIO,
    CLOUD_PORT_QUOTA,
    RECONCILE_SECONDS,
    QUEUE_DEPTH,
    QUEUE_OLDEST_SECONDS,
    LEADER,
    EVENTS_DROPPED,
    CRD_VERSION_SKEW,
    BUILD_INFO,
)
