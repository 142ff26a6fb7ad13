"""Decide whether clouds and nodes are fit for the pools: ordered checks over facts. Pure."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from openeni_crds.capacity import Growth
from openeni_crds.conditions import Condition, Reason, Status
from openeni_crds.enipool import ENIPool
from openeni_crds.reasons import REASONS
from openeni_kube.answers import FAILED, PASSED, UNKNOWN, WARNED, Check
from openeni_operator.cause import Cause
from openeni_operator.cloud.api import PortQuota
from openeni_operator.enipool.growth_probe import obstacle_by_owner
from openeni_operator.enipool.resolution import Resolution, without_port_security
from openeni_operator.enipool.resolved import free_count

PLATFORM_REMEDY: Final = (
    "run the cloud controller manager of OpenStack, or set the kubelet's --provider-id to "
    "openstack:///<server's ID>; exclude other machines by spec.nodeSelector"
)
INTERNAL_REMEDY: Final = (
    "set internal-network-name in [Networking] of the cloud controller manager's cloud.conf to "
    "the nodes' own network"
)
# With what openeni lacks without it; "" is needed.
EXTENSIONS: Final[Mapping[str, str]] = {
    "security-group": "",
    "standard-attr-tag": "",
    "quota_details": "the port quota is not known, and no metric shows it",
    "revision-if-match": "pools are Static: addresses are not added to ports",
    "port-security": "it is not known whether the pools' security groups are in force",
    "tag-ports-during-bulk-creation": "each port takes another call for its tags",
}


@dataclass(frozen=True)
class NodeFacts:
    name: str
    provider_id: str
    server_id: str  # "" if the node is not an OpenStack server
    in_cloud: bool | None  # Nova has the server; None: it was not asked
    pod_addresses: tuple[str, ...] = ()  # of ENIs, that the Node has as its own


@dataclass(frozen=True)
class PoolFacts:
    pool: ENIPool
    resolved: Resolution | Cause
    enis: int
    nodes: int  # that the pool selects
    bare_nodes: int  # those of them without an ENI of the pool


@dataclass(frozen=True)
class CloudFacts:
    """What one cloud answers to the operator's own credentials."""

    name: str
    failure: Cause | None = None  # it cannot be asked
    expiry: Condition | None = None  # of the credential; None if the cloud does not tell
    extensions: Mapping[str, bool] = field(default_factory=dict[str, bool])
    quota: PortQuota | Cause | None = None
    pools: tuple[PoolFacts, ...] = ()
    nodes: tuple[NodeFacts, ...] = ()


def check_cloud(facts: CloudFacts) -> Iterator[Check]:
    """Yield the checks of a cloud, of its pools and of their nodes, in this order."""
    if facts.failure is not None:
        yield failed("credentials", facts.name, facts.failure)
        return
    yield Check("credentials", facts.name, PASSED, "the cloud accepts them")
    if facts.expiry is not None:
        yield _expiry(facts.name, facts.expiry)
    yield from _extensions(facts)
    yield _quota(facts)
    if not facts.pools:
        yield Check("pools", facts.name, WARNED, "no ENIPool names this cloud: create one")
    for pool in facts.pools:
        yield from _pool(pool)
    yield from _nodes(facts)


def failed(name: str, about: str, cause: Cause, verdict: str = FAILED) -> Check:
    """Return a check that has not passed, with the remedy of its reason."""
    remedy = REASONS[cause.reason].plain_remedy
    return Check(name, about, verdict, cause.message, cause.reason.value, remedy)


def _expiry(cloud: str, found: Condition) -> Check:
    if found.status == Status.TRUE:
        return Check("expiry", cloud, PASSED, "the credentials do not expire within 30 days")
    return failed("expiry", cloud, Cause(Reason.CREDENTIALS_EXPIRING, found.message), WARNED)


def _extensions(facts: CloudFacts) -> Iterator[Check]:
    for alias, without in EXTENSIONS.items():
        if facts.extensions.get(alias, True):
            continue
        text = without or "openeni does not work"
        remedy = f"have the cloud's administrators load Neutron's extension {alias}"
        verdict = WARNED if without else FAILED
        yield Check("extensions", facts.name, verdict, f"without {alias} {text}", "", remedy)
    if all(facts.extensions.get(alias, True) for alias in EXTENSIONS):
        yield Check("extensions", facts.name, PASSED, "Neutron has what openeni uses")


def _quota(facts: CloudFacts) -> Check:
    if isinstance(facts.quota, Cause):
        return failed("quota", facts.name, facts.quota, UNKNOWN)
    if facts.quota is None or facts.quota.limit < 0:
        return Check("quota", facts.name, PASSED, "ports are not limited")
    left = max(0, facts.quota.limit - facts.quota.used)
    least = sum(pool.bare_nodes for pool in facts.pools)
    most = sum(_most_enis(pool) for pool in facts.pools)
    message = (
        f"{left} of {facts.quota.limit} ports are left; nodes without an ENI need {least}, and "
        f"all pools at their limits {most}"
    )
    if left >= most:
        return Check("quota", facts.name, PASSED, message)
    verdict = FAILED if left < least else WARNED
    return failed("quota", facts.name, Cause(Reason.QUOTA_EXCEEDED, message), verdict)


def _most_enis(facts: PoolFacts) -> int:
    """Return how many ENIs more the pool may get on the nodes that there are."""
    spec = facts.pool.spec
    most = facts.nodes * spec.capacity.max_enis_per_node
    bound = most if spec.limits.max_enis is None else min(most, spec.limits.max_enis)
    return max(0, bound - facts.enis)


def _pool(facts: PoolFacts) -> Iterator[Check]:
    name, resolved = facts.pool.name, facts.resolved
    if isinstance(resolved, Cause):
        yield failed("names", name, resolved)
        return
    subnets = ", ".join(s.subnet.name or s.subnet.id for s in resolved.subnets)
    yield Check(
        "names", name, PASSED, f"network {resolved.network.id}, subnets {subnets}, no DHCP or SLAAC"
    )
    yield Check("mtu", name, PASSED, f"pods get {resolved.mtu} of {resolved.network.mtu} bytes")
    if isinstance(resolved.qos, Cause):
        yield failed("qos", name, resolved.qos, WARNED)
    yield _port_security(facts, resolved)
    yield _addresses(facts, resolved)
    yield _growth(facts, resolved)


def _port_security(facts: PoolFacts, resolved: Resolution) -> Check:
    name, on = facts.pool.name, resolved.network.port_security
    fault = without_port_security(resolved)
    if fault is not None:
        remedy = "set it on, or spec.securityGroups to []"
        return Check("port security", name, FAILED, fault.message, fault.reason.value, remedy)
    if on is None:
        message = "spec.securityGroups: Neutron does not say whether port security is on"
        remedy = "see that traffic which the groups forbid is dropped"
        return Check("port security", name, WARNED, message, "", remedy)
    return Check("port security", name, PASSED, "on" if on else "off, and no groups are asked")


def _addresses(facts: PoolFacts, resolved: Resolution) -> Check:
    name, free = facts.pool.name, free_count(resolved)
    each = facts.pool.spec.capacity.addresses_per_eni + 1
    needed = facts.bare_nodes * each
    message = (
        f"spec.subnets: at most {free} addresses are free; {facts.bare_nodes} nodes without an ENI "
        f"take {needed}, {each} each"
    )
    if free >= needed:
        return Check("addresses", name, PASSED, message)
    verdict = FAILED if free < each else WARNED
    return failed("addresses", name, Cause(Reason.SUBNET_EXHAUSTED, message), verdict)


def _growth(facts: PoolFacts, resolved: Resolution) -> Check:
    name, wanted = facts.pool.name, facts.pool.spec.capacity.growth
    obstacle = "" if wanted is Growth.STATIC else obstacle_by_owner(resolved)
    if wanted is Growth.ELASTIC and obstacle:
        return failed("growth", name, Cause(Reason.ELASTIC_UNSUPPORTED, obstacle), WARNED)
    if wanted is Growth.STATIC or obstacle:
        return Check("growth", name, PASSED, "by whole ENIs (Static)")
    return Check("growth", name, PASSED, "by single addresses (Elastic); a canary proves it")


def _nodes(facts: CloudFacts) -> Iterator[Check]:
    """Yield a check of each node that is not fit, or one for all of them."""
    found = [check for node in facts.nodes for check in _node(node, facts.name)]
    yield from found
    if not found:
        yield Check("nodes", facts.name, PASSED, f"{len(facts.nodes)} nodes are servers of it")


def _node(node: NodeFacts, cloud: str) -> Iterator[Check]:
    if not node.server_id:
        message = f"spec.providerID {node.provider_id!r} names no server of OpenStack"
        yield Check("nodes", node.name, WARNED, message, "", PLATFORM_REMEDY)
    elif node.in_cloud is False:
        message = f"spec.providerID: cloud {cloud!r} has no server {node.server_id}"
        yield failed("nodes", node.name, Cause(Reason.SERVER_NOT_FOUND, message))
    if node.pod_addresses:
        message = f"status.addresses has addresses of pods: {', '.join(node.pod_addresses)}"
        yield Check("nodes", node.name, FAILED, message, "", INTERNAL_REMEDY)
