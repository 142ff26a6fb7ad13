"""Situations of a node, as facts for the operator's decisions; their outcomes are computed."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from openeni_operator.node.taint import SILENT_SECONDS, TaintFacts
from openeni_operator.sizing.elastic import REFUSAL_SECONDS
from openeni_operator.sizing.plan import FAILURE_MEMORY_SECONDS
from openeni_operator.sizing.stalls import STUCK_SECONDS
from openeni_operator.sizing.state import ENIState, NodeState, SizingPolicy

HOUR: Final = 3600.0
POLICY: Final = SizingPolicy(addresses_per_eni=4, max_enis=3, min_available=1, reclaim_after=HOUR)

_FULL: Final = ENIState("eni-0", addresses=4, granted=4, ready=True)
_HALF: Final = ENIState("eni-0", addresses=4, granted=2, ready=True)
_IDLE: Final = ENIState("eni-1", addresses=4, ready=True, idle_seconds=HOUR)
_STUCK: Final = ENIState("eni-0", addresses=4, stuck=True, stalled_seconds=STUCK_SECONDS)
_RETIRING: Final = replace(_IDLE, retiring=True, all_asked=True)


def _node(*enis: ENIState, waiting: int = 0) -> NodeState:
    return NodeState("node-1", enis, waiting)


NODES: Final[Mapping[str, NodeState]] = {
    "the node has no ENI": _node(),
    "every address is granted": _node(_FULL),
    "every address is granted, and a new ENI is not ready yet": _node(
        _FULL, ENIState("eni-1", addresses=4)
    ),
    "a new ENI is stuck, and pods wait": _node(_STUCK, waiting=1),
    "two are stuck, and pods wait; `CapacityAvailable` names them": _node(
        _STUCK, replace(_STUCK, name="eni-1"), waiting=1
    ),
    "a stuck ENI has made no progress for an hour, and the other one, Ready, suffices": _node(
        replace(_STUCK, stalled_seconds=FAILURE_MEMORY_SECONDS), replace(_HALF, name="eni-1")
    ),
    "pods wait, and the node has as many ENIs as it may": _node(
        _FULL, replace(_FULL, name="eni-1"), replace(_FULL, name="eni-2"), waiting=2
    ),
    "the server has no slot for the second ENI": _node(
        _FULL, ENIState("eni-1", addresses=4, no_slot=True), waiting=2
    ),
    "the ENI's subnets have no address left for its port, and others have": _node(
        ENIState("eni-0", addresses=4, exhausted=True)
    ),
    "somebody changed the ENI's port": _node(replace(_HALF, broken=True)),
    "an ENI has been idle for an hour, and the other one, Ready, suffices": _node(_HALF, _IDLE),
    "the agent is giving up the addresses of an idle ENI": _node(_HALF, _RETIRING),
    "the same, and pods need its addresses again": _node(_FULL, _RETIRING, waiting=1),
    "the agent has given up all addresses": _node(_HALF, replace(_RETIRING, all_retired=True)),
    "the pool no longer selects the node, or is being deleted": replace(
        _node(_HALF, _IDLE), selected=False
    ),
    "there is no such Node, perhaps for a moment": replace(_node(_HALF), missing=True),
    "the ENI's server has not been a Node for long": replace(
        _node(replace(_HALF, orphaned=True)), missing=True
    ),
}

ELASTIC: Final = SizingPolicy(
    addresses_per_eni=8, max_enis=2, min_available=1, reclaim_after=HOUR, elastic=True
)


def _elastic(addresses: int, granted: int, *, wanted: int | None = None) -> ENIState:
    count = addresses if wanted is None else wanted
    return ENIState("eni-0", addresses, granted=granted, ready=True, wanted=count)


ELASTIC_NODES: Final[Mapping[str, NodeState]] = {
    "the node has no ENI": _node(),
    "two pods run on two addresses": _node(_elastic(2, 2)),
    "three pods wait there, too": _node(_elastic(2, 2), waiting=3),
    "the same, and its addresses have been asked for": _node(_elastic(2, 2, wanted=7), waiting=3),
    "its ENI is full": _node(_elastic(8, 8)),
    "four addresses are free, since less than an hour": _node(_elastic(6, 2)),
    "four addresses have been free for an hour": replace(_node(_elastic(6, 2)), peak=4),
    "the agent is giving up two of them": _node(_elastic(6, 2, wanted=4)),
    "the same, and three pods wait": _node(_elastic(6, 2, wanted=4), waiting=3),
    "the node is cordoned, and a pod waits": replace(
        _node(_elastic(2, 2), waiting=1), cordoned=True
    ),
    "the ENI's subnet has no more addresses, and another one has some": replace(
        _node(replace(_elastic(2, 2, wanted=4), refused=True, scarce=True)),
        alternative=frozenset({"other"}),
    ),
    "for a minute the cloud has refused to change the ENI's port": _node(
        replace(_elastic(2, 2, wanted=4), refused=True, lacking_seconds=REFUSAL_SECONDS)
    ),
}

_SERVED: Final = TaintFacts(
    tainted=False, selected=True, enis=1, configured=True, other_cni=False, silent=0
)

TAINTS: Final[Mapping[str, TaintFacts]] = {
    "no pool selects the node, and it has no ENI": replace(_SERVED, selected=False, enis=0),
    "another CNI plugin is configured on the node": replace(_SERVED, other_cni=True),
    "the agent is ready, and pods cannot start with openeni yet": replace(
        _SERVED, configured=False
    ),
    "the agent is ready, and pods start with openeni": _SERVED,
    f"the agent has not been ready for less than {SILENT_SECONDS:.0f} s": replace(
        _SERVED, silent=SILENT_SECONDS / 2
    ),
    f"the agent has not been ready for {SILENT_SECONDS:.0f} s": replace(
        _SERVED, silent=SILENT_SECONDS
    ),
    "the same, on a node without an ENI": replace(_SERVED, silent=SILENT_SECONDS, enis=0),
    "no agent runs in the cluster": replace(_SERVED, silent=None),
}
