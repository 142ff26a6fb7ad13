"""Find nodes that openeni should serve and does not. Pure."""

from collections.abc import Iterable

from openeni_cli.status.report import Problem
from openeni_crds.enipool import ENIPool
from openeni_crds.meta import Json
from openeni_crds.names import NODES, TAINT_AGENT_NOT_READY
from openeni_crds.selection import serves
from openeni_kube.store import object_key
from openeni_operator.core_objects import Node


def node_problems(
    nodes: Iterable[Node], pools: Iterable[ENIPool], agents: Iterable[Json]
) -> list[Problem]:
    """Return the problems of nodes; `agents` are the agents' pods."""
    by_node = {pod["spec"].get("nodeName"): object_key(pod) for pod in agents}
    candidates = list(pools)
    found: list[Problem] = []
    for node in sorted(nodes, key=lambda n: n.name):
        serving = sorted(p.name for p in candidates if serves(p, node.traits))
        if serving and node.name not in by_node:
            found.append(_without_agent(node, serving))
        elif node.agent_taint:
            found.append(_tainted(node, by_node.get(node.name, "")))
    return found


def _without_agent(node: Node, pools: list[str]) -> Problem:
    return Problem(
        kind=NODES.name,
        name=node.name,
        reason="NoAgent",
        conditions=(),
        since="",
        message=f"selected by {', '.join(pools)}, but there is no pod of the agent on it",
        remedy=(
            "correct agent.nodeSelector, agent.affinity or agent.tolerations of the chart, or take "
            "the node out of the pool's spec.nodeSelector"
        ),
    )


def _tainted(node: Node, agent: str) -> Problem:
    return Problem(
        kind=NODES.name,
        name=node.name,
        reason="AgentNotReady",
        conditions=(),
        since=node.tainted_since if node.tainted_since != "unknown" else "",
        message=(
            f"has the taint {TAINT_AGENT_NOT_READY}: no new pods are scheduled to it, and those "
            "that run keep their network"
        ),
        remedy=(
            f"see {f'the agent {agent}' if agent else 'why no agent runs there'}, and the node's "
            f"ENIs: kubectl get eni --field-selector spec.nodeName={node.name}"
        ),
    )
