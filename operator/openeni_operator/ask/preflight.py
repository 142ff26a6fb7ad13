"""Ask the clouds of all pools whether they are fit, with the operator's own credentials."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from openeni_crds.conditions import Reason
from openeni_crds.enipool import ENIPool
from openeni_crds.meta import Json
from openeni_crds.selection import selects_node, server_of
from openeni_kube.answers import FAILED, Check, Preflight
from openeni_kube.clock import now_text
from openeni_kube.store import Store
from openeni_operator.ask.canary import NAME, Trial, try_port
from openeni_operator.ask.checks import (
    EXTENSIONS,
    CloudFacts,
    NodeFacts,
    PoolFacts,
    check_cloud,
)
from openeni_operator.ask.cluster import list_cluster
from openeni_operator.ask.patience import patiently
from openeni_operator.cause import Cause
from openeni_operator.cloud.api import Cloud, PortQuota
from openeni_operator.cloud.errors import CloudError
from openeni_operator.cluster_state import ClusterState
from openeni_operator.core_objects import Node
from openeni_operator.credential_expiry import judge
from openeni_operator.enipool.memory.subnet_usage import SubnetUsage
from openeni_operator.enipool.resolution import Resolution
from openeni_operator.enipool.resolve import NetworkReads, resolve
from openeni_operator.shared_reads import CloudReads

DEFAULT_CLOUD = "default"  # of spec.cloud, before there is a pool
READS_SECONDS = 600.0  # longer than a preflight takes


def preflight(
    store: Store,
    cloud: Callable[[str], Cloud],
    own: str,
    canary_node: str = "",
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
    now: Callable[[], str] = now_text,
) -> Preflight:
    """Return all checks; with a node, a port is tried on it. `own` is the cluster's ID.

    Raises StoreError.
    """
    listed = list_cluster(store)
    run = _Preflight(
        listed.state,
        listed.nodes,
        own,
        cloud,
        CloudReads(READS_SECONDS, clock),
        clock,
        sleep,
        now,
    )
    found = [run.look(name) for name in sorted(run.state.clouds() or {DEFAULT_CLOUD})]
    checks = [check for facts in found for check in check_cloud(facts)]
    if canary_node:
        checks += run.try_port(canary_node, found)
    return Preflight(tuple(checks))


@dataclass(frozen=True)
class _Preflight:
    state: ClusterState
    nodes: tuple[Json, ...]
    cluster_id: str
    cloud: Callable[[str], Cloud]
    reads: CloudReads
    clock: Callable[[], float]  # monotonic seconds
    sleep: Callable[[float], None]
    now: Callable[[], str]  # RFC 3339, UTC, whole seconds

    def look(self, name: str) -> CloudFacts:
        """Return what a cloud answers."""
        try:
            cloud = patiently(self.cloud, name)
            extensions = {alias: patiently(cloud.has_extension, alias) for alias in EXTENSIONS}
            pools = [p for p in self.state.pools() if p.spec.cloud == name]
            pools.sort(key=lambda pool: pool.name)
            expires = patiently(cloud.credential_expiry)
            return CloudFacts(
                name,
                expiry=None if expires is None else judge(name, expires, self.now()),
                extensions=extensions,
                quota=_quota(cloud),
                pools=tuple(self._pool(pool, cloud) for pool in pools),
                nodes=tuple(self._nodes(pools, cloud)),
            )
        except CloudError as error:
            return CloudFacts(name, Cause(error.reason, error.message))

    def _pool(self, pool: ENIPool, cloud: Cloud) -> PoolFacts:
        enis = self.state.enis_of(pool.name)
        name = pool.spec.cloud
        reads = NetworkReads(
            network=lambda network: self.reads.network(name, cloud, network),
            ports=lambda network: self.reads.ports_on(name, cloud, network),
        )
        try:
            resolved = patiently(resolve, pool, cloud, reads)
        except CloudError as error:
            resolved = Cause(error.reason, error.message)
        selected = self._selected(pool)
        served = {eni.spec.node_name for eni in enis}
        bare = sum(node.name not in served for node in selected)
        return PoolFacts(pool, resolved, len(enis), len(selected), bare)

    def _selected(self, pool: ENIPool) -> list[Node]:
        return [node for node in self.state.nodes() if selects_node(pool, node.traits)]

    def _nodes(self, pools: list[ENIPool], cloud: Cloud) -> Iterator[NodeFacts]:
        """Yield the nodes that the pools select, and those that lack a provider ID."""
        for body in self.nodes:
            node = self.state.node(body["metadata"]["name"])
            if node is None:
                continue
            labelled = [p for p in pools if _matches_labels(p, node)]
            if labelled:
                in_cloud = None
                if node.server_id:
                    in_cloud = patiently(cloud.server_exists, node.server_id)
                yield NodeFacts(
                    node.name,
                    str(body.get("spec", {}).get("providerID", "")),
                    server_of(body.get("spec", {}).get("providerID", "")),
                    in_cloud,
                    self._pod_addresses(body),
                )

    def _pod_addresses(self, body: Json) -> tuple[str, ...]:
        """Return addresses of the node's ENIs that the cloud's controller gave to the Node."""
        ports = (eni.status.port for eni in self.state.enis_on(body["metadata"]["name"]))
        ours = {a for port in ports if port is not None for a in (*port.primary, *port.addresses)}
        listed: list[Json] = body.get("status", {}).get("addresses") or []
        return tuple(sorted({each["address"] for each in listed} & ours))

    def try_port(self, name: str, clouds: list[CloudFacts]) -> tuple[Check, ...]:
        """Try a port on a node, of the first pool that selects it."""
        node = self.state.node(name)
        if node is None:
            return (
                _untried(name, f"there is no Node {name!r}", "name one of `kubectl get nodes`"),
            )
        for facts in (pool for cloud in clouds for pool in cloud.pools):
            if not selects_node(facts.pool, node.traits) or isinstance(facts.resolved, Cause):
                continue
            trial = self._trial(facts.pool, facts.resolved, node)
            if trial is not None:
                return try_port(trial)
        message = "no ENIPool that selects the node has a cloud that answers and a subnet for it"
        return (_untried(name, message, "see the checks above, and spec.nodeSelector"),)

    def _trial(self, pool: ENIPool, resolved: Resolution, node: Node) -> Trial | None:
        count = pool.spec.capacity.addresses_per_eni + 1
        subnets = resolved.choose(node.zone, count, SubnetUsage())
        if not subnets:
            return None
        return Trial(
            patiently(self.cloud, pool.spec.cloud),
            node.name,
            node.server_id,
            resolved.network.id,
            tuple(subnet.id for subnet in subnets),
            count,
            tuple(group.id for group in resolved.security_groups),
            self.cluster_id,
            self.clock,
            self.sleep,
        )


def _matches_labels(pool: ENIPool, node: Node) -> bool:
    selector = pool.spec.node_selector
    return selector is None or selector.matches(node.labels)


def _quota(cloud: Cloud) -> PortQuota | Cause:
    try:
        return patiently(cloud.port_quota)
    except CloudError as error:
        return Cause(error.reason, error.message)


def _untried(node: str, message: str, remedy: str) -> Check:
    return Check(NAME, node, FAILED, message, Reason.NOT_FOUND.value, remedy)
