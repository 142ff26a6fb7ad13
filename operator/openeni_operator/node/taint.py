"""Decide whether a node carries the taint that keeps new pods off it. Pure.

The taint is also the startup taint that an administrator gives to new nodes. It says NoSchedule and
nothing more: the pods of a node whose agent has died still have their network.
"""

from dataclasses import dataclass
from typing import Final

from openeni_crds.meta import Json
from openeni_crds.names import TAINT_AGENT_NOT_READY

TAINT: Final[Json] = {"key": TAINT_AGENT_NOT_READY, "effect": "NoSchedule"}
SILENT_SECONDS: Final = 60.0  # longer than the restart of an agent takes


@dataclass(frozen=True)
class TaintFacts:
    """Facts that the decision depends on."""

    tainted: bool
    selected: bool  # a pool selects the node
    enis: int  # of the node
    configured: bool  # its container runtime starts pods with openeni
    other_cni: bool  # it starts them with another CNI plugin
    silent: float | None  # seconds since its agent was ready; None: no agent runs in the cluster


@dataclass(frozen=True)
class TaintDecision:
    tainted: bool
    after: float | None = None  # seconds until another look, if nothing changes before


def decide(facts: TaintFacts) -> TaintDecision:
    """Return whether the node should have the taint."""
    if not facts.selected and not facts.enis:
        return TaintDecision(tainted=False)  # it is none of openeni's nodes
    if facts.other_cni:
        return TaintDecision(tainted=False)
    if facts.silent is None:
        return TaintDecision(facts.tainted)  # all agents at once: an administrator's doing
    if facts.silent == 0:
        return TaintDecision(facts.tainted and not facts.configured)
    if not facts.enis:
        return TaintDecision(facts.tainted)  # it has not served yet
    left = SILENT_SECONDS - facts.silent
    return TaintDecision(facts.tainted, left) if left > 0 else TaintDecision(tainted=True)
