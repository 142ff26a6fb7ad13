"""Read the cluster for `openeni status`."""

from collections.abc import Iterable
from datetime import UTC, datetime

import msgspec

from openeni_cli.cluster import LEASE, SELECTOR_RELEASE, Cluster, asked
from openeni_cli.status.conditions import is_in_progress, problems_of, unreadable
from openeni_cli.status.nodes import node_problems
from openeni_cli.status.report import PoolSummary, Problem, StatusReport
from openeni_cli.status.workloads import Workloads, workload_problems
from openeni_crds.conditions import Type, find
from openeni_crds.eni import ENI
from openeni_crds.enipool import ENIPool
from openeni_crds.meta import Json, S, decode
from openeni_crds.names import (
    DAEMONSETS,
    DEPLOYMENTS,
    ENIPOOLS,
    ENIS,
    LABEL_COMPONENT,
    LEASES,
    NODES,
    PODIPS,
    PODS,
    SELECTOR_OURS,
)
from openeni_crds.podip import PodIP
from openeni_kube.store import object_key
from openeni_kube.wire import format_time
from openeni_operator.core_objects import parse_node


def observe(cluster: Cluster, now: datetime) -> StatusReport:
    """Return the state of openeni in a cluster. Raises CommandError."""
    pools, unread_pools = _decoded(cluster.objects(ENIPOOLS), ENIPool)
    enis, unread_enis = _decoded(cluster.objects(ENIS), ENI)
    found = workloads(cluster)
    nodes = [parse_node(body) for body in cluster.objects(NODES)]
    agents = [pod for pod in found.pods if component_of(pod) == "agent"]
    podip_count, of_podips = _podips(cluster, now)
    problems = [
        *workload_problems(found, now),
        *unread_pools,
        *_of_objects(ENIPOOLS.name, pools, now),
        *(node_problems(nodes, pools, agents) if found.installed else ()),
        *unread_enis,
        *_of_objects(ENIS.name, enis, now),
        *of_podips,
    ]
    return StatusReport(
        observed_at=format_time(now.astimezone(UTC)),
        problems=tuple(p for p in problems if not is_in_progress(p, now)),
        in_progress=tuple(p for p in problems if is_in_progress(p, now)),
        pools=tuple(map(_summary, pools)),
        enis=len(enis) + len(unread_enis),
        pod_ips=podip_count,
        nodes=len(nodes),
    )


def workloads(cluster: Cluster) -> Workloads:
    """Return openeni's own workloads, in whatever namespace they are."""
    deployments = cluster.objects(DEPLOYMENTS, labels=SELECTOR_RELEASE)
    homes = {body["metadata"]["namespace"] for body in deployments}
    leases = cluster.objects(LEASES, fields=f"metadata.name={LEASE}")
    return Workloads(
        tuple(deployments),
        tuple(cluster.objects(DAEMONSETS, labels=SELECTOR_RELEASE)),
        tuple(cluster.objects(PODS, labels=SELECTOR_OURS)),
        tuple(lease for lease in leases if lease["metadata"]["namespace"] in homes),
    )


def _podips(cluster: Cluster, now: datetime) -> tuple[int, list[Problem]]:
    """Count PodIPs and return their problems, a page at a time: there may be very many."""
    count, found = 0, list[Problem]()
    with asked(f"cannot list {PODIPS.plural}"):
        for page in cluster.store.pages(PODIPS):
            count += len(page)
            found += _of_page(page, now)
    return count, sorted(found, key=_by_reason)


def _of_page(page: Iterable[Json], now: datetime) -> list[Problem]:
    podips, unread = _decoded(page, PodIP)
    return [*unread, *_of_objects(PODIPS.name, podips, now)]


def _decoded(bodies: Iterable[Json], model: type[S]) -> tuple[list[S], list[Problem]]:
    """Return the objects, and a problem for each that is not as this release knows it."""
    found: list[S] = []
    unread: list[Problem] = []
    for body in bodies:
        try:
            found.append(decode(body, model))
        except msgspec.ValidationError as error:
            unread.append(unreadable(body["kind"], object_key(body), str(error)))
    return found, unread


def _of_objects(
    kind: str, objects: Iterable[ENIPool | ENI | PodIP], now: datetime
) -> list[Problem]:
    found = [
        problem
        for each in objects
        for problem in problems_of(kind, each.metadata, each.status.conditions, now)
    ]
    return sorted(found, key=_by_reason)


def _by_reason(problem: Problem) -> tuple[str, str]:
    """Order by reason, the longest first: the text shows those of a reason together."""
    return problem.reason, problem.since


def component_of(pod: Json) -> str:
    """Return whether a pod of openeni's is of the operator or of an agent."""
    labels: dict[str, str] = pod["metadata"].get("labels") or {}
    return labels.get(LABEL_COMPONENT, "")


def _summary(pool: ENIPool) -> PoolSummary:
    status = pool.status
    ready = find(status.conditions, Type.READY)
    counts = status.address_counts
    return PoolSummary(
        name=pool.name,
        mode=pool.spec.datapath.word,
        nodes_selected=status.node_counts.selected,
        nodes_served=status.node_counts.served,
        enis=status.eni_count,
        addresses=counts.total,
        granted=counts.granted,
        available=counts.available,
        cooling=counts.cooling,
        ready=ready.reason if ready else "Unknown",
    )
