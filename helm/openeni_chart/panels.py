"""The panels of Grafana's dashboards: what an administrator asks, and the query that answers."""

from dataclasses import dataclass
from typing import Final, Literal


@dataclass(frozen=True)
class Panel:
    """One question of an administrator, and the query that answers it."""

    title: str
    about: str
    query: str
    legend: str = ""
    kind: Literal["stat", "timeseries", "table"] = "timeseries"
    unit: str = "short"


@dataclass(frozen=True)
class Dashboard:
    """Panels in their order, which `variable` filters: a label, and the metric that has it."""

    name: str  # of its file
    title: str
    variable: str
    listed_by: str
    panels: tuple[Panel, ...]


_POOLS: Final = Dashboard(
    "openeni-pools",
    "openeni: pools and operator",
    "pool",
    "openeni_pool_condition",
    (
        Panel(
            "Operators that lead",
            "1. Otherwise nothing is created, changed or deleted",
            "sum(openeni_leader)",
            kind="stat",
        ),
        Panel(
            "Pods that wait for an address",
            "0, but for seconds after pods were created",
            'sum(max by (pool) (openeni_pods_waiting{pool=~"$pool"}))',
            kind="stat",
        ),
        Panel(
            "Nodes without a ready agent",
            "0. No pod starts on such nodes",
            "max(openeni_nodes_agent_not_ready)",
            kind="stat",
        ),
        Panel(
            "Agents that are ready",
            "As many as nodes",
            "max(openeni_agents_ready)",
            kind="stat",
        ),
        Panel(
            "Conditions of pools",
            "All that are not True: empty is good. `kubectl describe enipool` has the messages",
            "max by (pool, type, status, reason)"
            ' (openeni_pool_condition{pool=~"$pool", status!="True"})',
            kind="table",
        ),
        Panel(
            "Addresses for pods",
            "Available ones are what new pods start from at once",
            'sum by (state) (max by (pool, state) (openeni_pool_addresses{pool=~"$pool"}))',
            "{{state}}",
        ),
        Panel(
            "ENIs by the reason of Ready",
            "Ready, but for those that come and go",
            'sum by (reason) (max by (pool, reason) (openeni_eni_state{pool=~"$pool"}))',
            "{{reason}}",
        ),
        Panel(
            "Nodes by state",
            "at_limit counts served ones again: they can get no other ENI",
            'sum by (state) (max by (pool, state) (openeni_pool_nodes{pool=~"$pool"}))',
            "{{state}}",
        ),
        Panel(
            "Free addresses of subnets",
            "An upper bound: ports of other projects are not seen",
            'min by (subnet) (openeni_pool_subnet_free{pool=~"$pool"})'
            ' / max by (subnet) (openeni_pool_subnet_size{pool=~"$pool"})',
            "{{subnet}}",
            unit="percentunit",
        ),
        Panel(
            "Port quota",
            "Each ENI is a port",
            "max by (cloud, kind) (openeni_cloud_port_quota)",
            "{{cloud}}: {{kind}}",
        ),
        Panel(
            "Calls to clouds by result",
            "OK, or the reason of the error",
            "sum by (cloud, result)"
            " (rate(openeni_cloud_call_duration_seconds_count[$__rate_interval]))",
            "{{cloud}}: {{result}}",
            unit="reqps",
        ),
        Panel(
            "Duration of calls to clouds",
            "The 95th percentile of each operation",
            "histogram_quantile(0.95, sum by (operation, le)"
            " (rate(openeni_cloud_call_duration_seconds_bucket[$__rate_interval])))",
            "{{operation}}",
            unit="s",
        ),
        Panel(
            "Work that is due",
            "Since when the oldest key of each lane is due: seconds, unless a cloud is slow",
            "max by (lane) (openeni_queue_oldest_due_seconds)",
            "{{lane}}",
            unit="s",
        ),
        Panel(
            "Reconciles by outcome",
            "Retry is one that failed",
            "sum by (kind, outcome)"
            " (rate(openeni_reconcile_duration_seconds_count[$__rate_interval]))",
            "{{kind}}: {{outcome}}",
            unit="ops",
        ),
    ),
)
_ADD: Final = 'command="ADD", node=~"$node"'
_NODES: Final = Dashboard(
    "openeni-nodes",
    "openeni: nodes",
    "node",
    "openeni_look_age_seconds",
    (
        Panel(
            "Duration of ADDs",
            "The 95th percentile, with the wait for an address",
            "histogram_quantile(0.95, sum by (node, le)"
            f' (rate(openeni_cni_duration_seconds_bucket{{{_ADD}, phase="total"}}'
            "[$__rate_interval])))",
            "{{node}}",
            unit="s",
        ),
        Panel(
            "Where ADDs spend their time",
            "The mean of each phase; grant includes the wait for an address",
            f'sum by (phase) (rate(openeni_cni_duration_seconds_sum{{{_ADD}, phase!="total"}}'
            f"[$__rate_interval])) / sum by (phase) (rate(openeni_cni_duration_seconds_count"
            f'{{{_ADD}, phase!="total"}}[$__rate_interval]))',
            "{{phase}}",
            unit="s",
        ),
        Panel(
            "CNI calls that fail",
            "Code 11 is to be tried again: there is no address yet",
            "sum by (node, command, code)"
            ' (rate(openeni_cni_errors_total{node=~"$node"}[$__rate_interval]))',
            "{{node}}: {{command}} {{code}}",
            unit="ops",
        ),
        Panel(
            "ADDs that wait for an address",
            "0, but for seconds after pods were created",
            'sum by (node) (openeni_cni_adds_waiting{node=~"$node"})',
            "{{node}}",
        ),
        Panel(
            "Addresses for pods",
            "Of the nodes' ENIs; unavailable ones are on an ENI that is not ready",
            'sum by (state) (openeni_node_addresses{node=~"$node"})',
            "{{state}}",
        ),
        Panel(
            "Grants to pods",
            "Connected, but for those whose ADD runs; differing ones need a look at the log",
            'sum by (state) (openeni_grants{node=~"$node"})',
            "{{state}}",
        ),
        Panel(
            "Repairs",
            "0: another program changes openeni's part of the kernel",
            "sum by (node, kind)"
            ' (increase(openeni_repairs_total{node=~"$node"}[$__rate_interval]))',
            "{{node}}: {{kind}}",
        ),
        Panel(
            "Time since a look without an error",
            "Below half a minute",
            'max by (node) (openeni_look_age_seconds{node=~"$node"})',
            "{{node}}",
            unit="s",
        ),
        Panel(
            "Time since the API server answered",
            "Below a minute",
            'max by (node, resource) (openeni_watch_age_seconds{node=~"$node"})',
            "{{node}}: {{resource}}",
            unit="s",
        ),
        Panel(
            "Work that is due",
            "Since when the oldest key of each queue is due",
            'max by (node, queue) (openeni_agent_queue_oldest_due_seconds{node=~"$node"})',
            "{{node}}: {{queue}}",
            unit="s",
        ),
        Panel(
            "DELs that wait",
            "0: pods have ended, and their addresses stay granted",
            'max by (node) (openeni_del_queue_depth{node=~"$node"})',
            "{{node}}",
        ),
        Panel(
            "Versions",
            "Of operators and agents: one, but for an upgrade",
            "count by (version) (openeni_build_info)",
            "{{version}}",
        ),
    ),
)
DASHBOARDS: Final = (_POOLS, _NODES)
