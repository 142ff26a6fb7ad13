"""Reasons of the agent's Events: what each means, and what to do about it. Pure.

docs/events.md is made from here, and the chart's admission policy lets an agent write no others.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class PodReason(StrEnum):
    """Why a pod has no address, or not all else that it asks for."""

    NO_POOL = "NoPool"
    POD_NOT_SEEN = "PodNotSeen"
    AGENT_NOT_SYNCED = "AgentNotSynced"
    NO_ENI_READY = "NoENIReady"
    ADDRESSES_EXHAUSTED = "AddressesExhausted"
    TOO_MANY_PODS_WAIT = "TooManyPodsWait"
    HOST_PORT_IN_USE = "HostPortInUse"
    TOO_MANY_HOST_PORTS = "TooManyHostPorts"
    ADDRESS_NOT_AVAILABLE = "AddressNotAvailable"
    INVALID_ANNOTATION = "InvalidAnnotation"
    DATAPATH_FAILED = "DatapathFailed"
    OTHER_PLUGIN_FIRST = "OtherPluginFirst"
    JOURNAL_FAILED = "JournalFailed"
    AGENT_FAILED = "AgentFailed"
    BANDWIDTH_NOT_LIMITED = "BandwidthNotLimited"


class NodeReason(StrEnum):
    """Says what is wrong with a node."""

    REPAIRS_REPEATED = "RepairsRepeated"


@dataclass(frozen=True)
class EventReason:
    """The documentation of one reason."""

    meaning: str
    remedy: str


# Their notes name addresses and links, which every try chooses anew; the Event keeps the first.
VARYING: Final = frozenset({PodReason.DATAPATH_FAILED})

WITH_ADDRESS: Final = frozenset({PodReason.BANDWIDTH_NOT_LIMITED})  # of pods that have one

POD_REASONS: Final[Mapping[PodReason, EventReason]] = {
    PodReason.NO_POOL: EventReason(
        "No ENIPool serves the pod on this node, or the one that it asks for does not permit it.",
        "The note names the annotation, the selector or the pool.",
    ),
    PodReason.POD_NOT_SEEN: EventReason(
        "The agent's watch has not shown the pod, so that its pool is not known; or the API server "
        "is away, and the node has no pool that serves every pod.",
        "If it lasts, see `openeni_watch_age_seconds` and the agent's log: the agent does not "
        "reach the API server.",
    ),
    PodReason.AGENT_NOT_SYNCED: EventReason(
        "The agent has started and not yet read its objects from the API server.",
        "If it lasts, the agent's log says what keeps it from the API server.",
    ),
    PodReason.NO_ENI_READY: EventReason(
        "The pod's pool has no ENI on this node that is ready.",
        "The note has the conditions of the ENIs or of the pool that are not True: see their "
        "reasons in [conditions](conditions.md).",
    ),
    PodReason.ADDRESSES_EXHAUSTED: EventReason(
        "Every address of the pod's pool on this node is granted or cools down.",
        "The operator adds an ENI, up to `spec.capacity.maxENIsPerNode`. If none comes, the "
        "condition `CapacityAvailable` of the pool says why; or run fewer pods on the node.",
    ),
    PodReason.TOO_MANY_PODS_WAIT: EventReason(
        "As many pods of the node wait as the agent lets wait at a time.",
        "The runtime tries again. What the others wait for is in their Events.",
    ),
    PodReason.HOST_PORT_IN_USE: EventReason(
        "Another pod of the node has one of the pod's host ports.",
        "The note names it. If it is on its way out, the runtime tries again; else give one of "
        "them another `hostPort` or `hostIP`.",
    ),
    PodReason.TOO_MANY_HOST_PORTS: EventReason(
        "The pod has more host ports than openeni gives one pod, or than are left on its node.",
        "The note has the limit and what to do: [host ports](host-ports.md#limits).",
    ),
    PodReason.ADDRESS_NOT_AVAILABLE: EventReason(
        "The address that the pod keeps, or asks for by name, cannot be given to it now.",
        "The note says why, or what the condition `Placed` of the pod's PodIP says: "
        "[addresses that stay](sticky.md).",
    ),
    PodReason.INVALID_ANNOTATION: EventReason(
        "An annotation of the pod about its address is not valid.",
        "The note names the annotation and what it may be: [addresses that stay](sticky.md).",
    ),
    PodReason.DATAPATH_FAILED: EventReason(
        "The node's kernel refused the pod's network.",
        "The note has the kernel's words about the first try, the agent's log those about each.",
    ),
    PodReason.OTHER_PLUGIN_FIRST: EventReason(
        "Another CNI plugin stands in front of openeni in the network configuration list.",
        "Put openeni first: [CNI](cni.md).",
    ),
    PodReason.JOURNAL_FAILED: EventReason(
        "The agent cannot write its journal, without which no address is granted.",
        "The note has the error: most often there is no space left in `/run` of the node.",
    ),
    PodReason.AGENT_FAILED: EventReason(
        "The agent met an error that it does not know.",
        "Report it with the traceback in the agent's log.",
    ),
    PodReason.BANDWIDTH_NOT_LIMITED: EventReason(
        "The pod has its address, but its annotation `kubernetes.io/ingress-bandwidth` has no "
        "effect in the datapath mode of its pool.",
        "Use an ENIPool with mode `Veth`, or remove the annotation: "
        "[host ports and bandwidth](host-ports.md).",
    ),
}
NODE_REASONS: Final[Mapping[NodeReason, EventReason]] = {
    NodeReason.REPAIRS_REPEATED: EventReason(
        "Another program changes openeni's part of the node's network again and again, and the "
        "agent restores it each time. Packets may be lost meanwhile.",
        "The note says what was changed first, and which programs are known to do that.",
    ),
}
