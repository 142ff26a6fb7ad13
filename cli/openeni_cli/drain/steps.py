"""Decide whether a node may be taken out of the cluster, and what is to be done before. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from msgspec import Struct

from openeni_crds.capacity import Growth
from openeni_crds.conditions import Type, is_true
from openeni_crds.eni import ENI
from openeni_crds.enipool import ENIPool
from openeni_crds.podip import PodIP
from openeni_crds.selection import serves
from openeni_operator.core_objects import Node


class Stage(StrEnum):
    """How far a node is on its way out."""

    SCHEDULABLE = "Schedulable"  # new pods may come
    IN_USE = "InUse"  # pods have addresses
    REMOVABLE = "Removable"  # nothing is lost when its server goes
    RELEASING = "Releasing"  # the Node has gone, or left its pools; ports are still there
    RELEASED = "Released"  # nothing of openeni's is left


class KeptAddress(Struct, frozen=True, rename="camel"):
    """Addresses that are kept on the node for the next pod of a name."""

    pod: str
    addresses: tuple[str, ...]
    moves: bool  # the next pod may be on another node and get them there


class DrainReport(Struct, frozen=True, rename="camel"):
    """How far a node is, and what comes next."""

    node: str
    stage: Stage
    pods: tuple[str, ...]  # that have an address and are to be evicted
    daemon_pods: tuple[str, ...]  # that have one, and end with the node
    kept: tuple[KeptAddress, ...]
    enis: tuple[str, ...]
    next: str  # what to do, or what is waited for


@dataclass(frozen=True)
class DrainFacts:
    name: str
    node: Node | None  # None where there is no such Node
    pools: tuple[ENIPool, ...]
    enis: tuple[ENI, ...]  # of the node
    podips: tuple[PodIP, ...]  # of the node
    daemon_pods: frozenset[str] = frozenset()  # of DaemonSets, and static ones


def look(facts: DrainFacts) -> DrainReport:
    """Return how far the node is."""
    kept = [p for p in facts.podips if is_true(p.status.conditions, Type.RETAINED)]
    holding = sorted(p.key for p in facts.podips if p not in kept)
    pods = [key for key in holding if key not in facts.daemon_pods]
    serving = _serving(facts)
    stage = _stage(facts, pods, holding, serving)
    return DrainReport(
        node=facts.name,
        stage=stage,
        pods=tuple(pods),
        daemon_pods=tuple(key for key in holding if key in facts.daemon_pods),
        kept=tuple(_kept(kept, facts.pools)),
        enis=tuple(sorted(eni.name for eni in facts.enis)),
        next=_next(facts.name, stage, serving),
    )


def is_done(report: DrainReport) -> bool:
    """Return True if there is nothing to wait for: a person goes on, or all is done."""
    return report.stage in {Stage.REMOVABLE, Stage.RELEASED}


def _serving(facts: DrainFacts) -> list[str]:
    if facts.node is None:
        return []
    return sorted(pool.name for pool in facts.pools if serves(pool, facts.node.traits))


def _stage(facts: DrainFacts, pods: list[str], holding: list[str], serving: list[str]) -> Stage:
    if facts.node is not None and not facts.node.cordoned:
        return Stage.SCHEDULABLE
    if pods and facts.node is not None:
        return Stage.IN_USE
    if serving:
        return Stage.REMOVABLE
    return Stage.RELEASING if facts.enis or holding else Stage.RELEASED


def _kept(podips: Iterable[PodIP], pools: Iterable[ENIPool]) -> Iterable[KeptAddress]:
    growth = {pool.name: pool.status.growth or pool.spec.capacity.growth for pool in pools}
    for podip in sorted(podips, key=lambda p: p.key):
        moves = growth.get(podip.spec.pool_name) is Growth.ELASTIC
        yield KeptAddress(podip.key, podip.spec.addresses, moves)


def _next(node: str, stage: Stage, serving: list[str]) -> str:
    pools = ", ".join(serving)
    return {
        Stage.SCHEDULABLE: f"kubectl cordon {node}",
        Stage.IN_USE: (
            f"kubectl drain {node} --ignore-daemonsets (with --delete-emptydir-data if pods have "
            "such volumes)"
        ),
        Stage.REMOVABLE: (
            f"delete the server and then the Node: the operator deletes its ports. To keep the "
            f"server, take the node out of spec.nodeSelector of {pools}, and delete the pods of "
            "DaemonSets that are named here. Either way, run this again until the ENIs have gone"
        ),
        Stage.RELEASING: (
            "the operator deletes the ENIs and their ports once their last pod has gone; if one "
            "stays, its conditions say why: "
            f"kubectl get eni --field-selector spec.nodeName={node}"
        ),
        Stage.RELEASED: "nothing of openeni's is left of the node",
    }[stage]
