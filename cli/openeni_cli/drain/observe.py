"""Read what is known about a node that is to go, and cordon it."""

from typing import Any

from openeni_cli.cluster import Cluster, asked
from openeni_cli.drain.steps import DrainFacts
from openeni_cli.failures import CommandError
from openeni_crds.eni import ENI
from openeni_crds.enipool import ENIPool
from openeni_crds.meta import Json
from openeni_crds.names import DAEMONSETS, ENIPOOLS, ENIS, NODES, PODIPS, PODS
from openeni_crds.podip import PodIP
from openeni_kube.store import NotFoundError, object_key
from openeni_operator.core_objects import Node, parse_node

CORDON: Any = [{"op": "add", "path": "/spec/unschedulable", "value": True}]


def observe(cluster: Cluster, name: str) -> DrainFacts:
    """Return the facts about a node. Raises CommandError."""
    node = _node(cluster, name)
    selector = f"spec.nodeName={name}"
    enis = tuple(cluster.models(ENIS, ENI, fields=selector))
    podips = tuple(cluster.models(PODIPS, PodIP, fields=selector))
    pods = cluster.objects(PODS, fields=selector)
    staying = frozenset(object_key(pod) for pod in pods if _stays(pod))
    pools = tuple(cluster.models(ENIPOOLS, ENIPool))
    return DrainFacts(name, node, pools, enis, podips, staying)


def check(facts: DrainFacts) -> None:
    """Raise CommandError where nothing is known about a node of this name."""
    if facts.node is None and not facts.enis and not facts.podips:
        raise CommandError(
            f"there is no Node {facts.name!r} and no ENI of one: either it was never here, or "
            "nothing of openeni's is left of it"
        )


def cordon(cluster: Cluster, facts: DrainFacts) -> None:
    """Keep new pods off the node, as `kubectl cordon` does."""
    if facts.node is not None and not facts.node.cordoned:
        with asked(f"cannot cordon {facts.name}"):
            cluster.store.patch(NODES, facts.name, operations=CORDON)


def _stays(pod: Json) -> bool:
    """Return True if `kubectl drain --ignore-daemonsets` leaves it, as mirrors of static pods."""
    owners: list[Json] = pod["metadata"].get("ownerReferences") or []
    return any(owner.get("kind") in {DAEMONSETS.name, NODES.name} for owner in owners)


def _node(cluster: Cluster, name: str) -> Node | None:
    with asked(f"cannot get Node {name}"):
        try:
            return parse_node(cluster.store.get(NODES, name))
        except NotFoundError:
            return None
