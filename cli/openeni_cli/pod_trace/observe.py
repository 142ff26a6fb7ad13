"""Read what is known about the address of one pod."""

from openeni_cli.agent_logs import agents_on, read_grants
from openeni_cli.cluster import Cluster, asked, decoded
from openeni_cli.failures import CommandError
from openeni_cli.grant_log import Holder, holders
from openeni_cli.pod_trace.facts import TracedEvent, TraceFacts, parse_event
from openeni_crds.eni import ENI
from openeni_crds.enipool import ENIPool
from openeni_crds.meta import Json
from openeni_crds.names import (
    ENIPOOLS,
    ENIS,
    EVENTS,
    NAMESPACES,
    NODES,
    PODIPS,
    PODS,
    Kind,
)
from openeni_crds.podip import PodIP
from openeni_crds.selection import NoPool, choose_pool
from openeni_kube.store import NotFoundError
from openeni_operator.core_objects import parse_node, parse_pod


def observe(cluster: Cluster, namespace: str, name: str) -> TraceFacts:
    """Return the facts. Raises CommandError, also where there is neither the pod nor its PodIP."""
    pod = _get(cluster, PODS, name, namespace)
    body = _get(cluster, PODIPS, name, namespace)
    podip = decoded(body, PodIP) if body else None
    if pod is None and podip is None:
        raise CommandError(
            f"there is no pod {namespace}/{name}, and no PodIP of one: `openeni whois ADDRESS "
            "--history` answers about pods that have gone"
        )
    notes: list[str] = []
    if pod is not None and podip is not None and not _is_of(podip, pod):
        notes.append(
            f"the PodIP {podip.key} is of an earlier pod of this name; this one gets its own when "
            f"the agent of node {podip.spec.node_name} has given up the addresses"
        )
        podip = None
    node = pod["spec"].get("nodeName", "") if pod else ""
    node = node or (podip.spec.node_name if podip else "")
    choice = _choice(cluster, pod, node) if pod and node and podip is None else None
    enis = cluster.models(ENIS, ENI, fields=f"spec.nodeName={node}") if node else []
    agent = next(iter(agents_on(cluster, node)), None) if node else None
    grant, unread = _grant(cluster, agent, _uid(pod, podip), podip)
    own = podip.spec.eni_name if podip else ""
    return TraceFacts(
        namespace,
        name,
        pod,
        podip,
        next((eni for eni in enis if eni.name == own), None) if own else None,
        choice,
        tuple(e for e in enis if isinstance(choice, ENIPool) and e.spec.pool_name == choice.name),
        agent,
        grant,
        tuple(_events(cluster, namespace, name, own)),
        tuple(notes + unread),
    )


def _get(cluster: Cluster, kind: Kind, name: str, namespace: str = "") -> Json | None:
    with asked(f"cannot get {kind.name} {name}"):
        try:
            return cluster.store.get(kind, name, namespace)
        except NotFoundError:
            return None


def _is_of(podip: PodIP, pod: Json) -> bool:
    """Return True if the PodIP is the pod's, or may become it: one that outlives its pod."""
    return podip.is_retained or podip.spec.pod_uid == pod["metadata"].get("uid")


def _uid(pod: Json | None, podip: PodIP | None) -> str:
    if pod is not None:
        return str(pod["metadata"].get("uid", ""))
    return podip.spec.pod_uid if podip else ""


def _choice(cluster: Cluster, pod: Json, node: str) -> ENIPool | NoPool | None:
    """Return the pool that the agent would choose for the pod, by the same rule."""
    body = _get(cluster, NODES, node)
    if body is None:
        return None
    home = _get(cluster, NAMESPACES, pod["metadata"]["namespace"]) or {"metadata": {}}
    traits = parse_pod(pod).traits(home["metadata"].get("labels") or {})
    pools = cluster.models(ENIPOOLS, ENIPool)
    return choose_pool(traits, parse_node(body).traits, pools)


def _grant(
    cluster: Cluster, agent: Json | None, uid: str, podip: PodIP | None
) -> tuple[Holder | None, list[str]]:
    """Return the last grant to the pod in the log of its node's agent."""
    if agent is None or not uid:
        return None, []
    lines, unread = read_grants(cluster, [agent], uid)
    found = holders(line for line in lines if line.pod_uid == uid)
    sandbox = podip.spec.container_id if podip else ""
    named = [each for each in found if each.container_id == sandbox] or found
    return (named[-1] if named else None), unread


def _events(cluster: Cluster, namespace: str, name: str, eni: str) -> list[TracedEvent]:
    wanted = {("Pod", namespace, name), ("PodIP", namespace, name), ("ENI", "", eni)}
    found: list[TracedEvent] = []
    for each in filter(None, (name, eni)):
        for body in cluster.objects(EVENTS, fields=f"regarding.name={each}"):
            about: Json = body.get("regarding") or {}
            key = (about.get("kind", ""), about.get("namespace") or "", about.get("name", ""))
            if key in wanted:
                found.append(parse_event(body))
    return found
