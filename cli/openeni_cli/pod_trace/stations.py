"""Tell which stations a pod's address has passed, and what it waits for at the next. Pure."""

from collections.abc import Callable
from enum import StrEnum
from typing import Final, TypeAlias

from msgspec import Struct

from openeni_cli.pod_trace.facts import TracedEvent, TraceFacts
from openeni_cli.status.conditions import remedy_of
from openeni_crds.conditions import Condition, Status, Type, find
from openeni_crds.eni import ENI
from openeni_crds.enipool import ENIPool
from openeni_crds.reasons.entry import plain
from openeni_crds.selection import NoPool
from openeni_nodeagent.event_reasons import POD_REASONS, WITH_ADDRESS, PodReason
from openeni_operator.core_objects import is_ready

ENDED: Final = frozenset({"Failed", "Succeeded"})  # phases of a pod


class State(StrEnum):
    """Whether the address has passed a station."""

    DONE = "Done"
    WAITING = "Waiting"
    UNKNOWN = "Unknown"  # no trace of it is left; a later station tells that it was passed


class Station(Struct, frozen=True, rename="camel"):
    """A station on the way of an address to its pod."""

    name: str
    state: State
    at: str = ""  # RFC 3339
    detail: str = ""
    remedy: str = ""


class TraceReport(Struct, frozen=True, rename="camel"):
    """All stations in their order; `stands_at` is the first that is not passed, "" if all are."""

    pod: str
    stands_at: str
    stations: tuple[Station, ...]
    events: tuple[TracedEvent, ...]
    notes: tuple[str, ...]


def trace(facts: TraceFacts) -> TraceReport:
    """Return the stations of the pod's address."""
    stations = _without_address(facts) or _of_gone_pod(facts) or _all_stations(facts)
    waiting = next((s.name for s in stations if s.state is State.WAITING), "")
    events = tuple(sorted(facts.events, key=lambda e: e.at))
    return TraceReport(f"{facts.namespace}/{facts.name}", waiting, stations, events, facts.notes)


def _without_address(facts: TraceFacts) -> tuple[Station, ...]:
    """Return the stations of a pod that is to have no address, or no longer; () for others."""
    pod = facts.pod or {}
    phase: str = pod.get("status", {}).get("phase", "")
    if pod.get("spec", {}).get("hostNetwork"):
        detail = "the pod uses its node's own network (hostNetwork): openeni gives it no address"
    elif phase in ENDED and facts.podip is None:
        detail = f"the pod has ended ({phase}) and given its address back"
    else:
        return ()
    return (_created(facts), Station("Network", State.DONE, detail=detail))


def _of_gone_pod(facts: TraceFacts) -> tuple[Station, ...]:
    """Return the stations of a pod that has gone and whose PodIP is there; () for others."""
    if facts.pod is not None or facts.podip is None:
        return ()
    kept = find(facts.podip.status.conditions, Type.RETAINED)
    addresses = ", ".join(facts.podip.spec.addresses)
    if kept is not None and kept.status == Status.TRUE:
        detail = (
            f"{addresses}: kept for the next pod of this name, for {facts.podip.spec.retention}"
        )
        return (_created(facts), Station("PodIP", State.DONE, kept.last_transition_time, detail))
    node = facts.podip.spec.node_name
    detail = (
        f"{addresses}: the agent of node {node} gives it up, or the operator if the node has gone"
    )
    remedy = f"see that the agent's pod on node {node} is ready: `openeni status`"
    return (_created(facts), Station("PodIP", State.WAITING, detail=detail, remedy=remedy))


def _all_stations(facts: TraceFacts) -> tuple[Station, ...]:
    return tuple(each(facts) for each in STATIONS)


def _created(facts: TraceFacts) -> Station:
    if facts.pod is None:
        return Station("Pod", State.DONE, detail="it has gone")
    metadata = facts.pod["metadata"]
    leaving = metadata.get("deletionTimestamp")
    detail = f"UID {metadata.get('uid', '')}" + (
        f", being deleted since {leaving}" if leaving else ""
    )
    return Station("Pod", State.DONE, metadata.get("creationTimestamp", ""), detail)


def _scheduled(facts: TraceFacts) -> Station:
    node = facts.pod["spec"].get("nodeName") if facts.pod else None
    condition = facts.condition("PodScheduled")
    if node:
        return Station("Scheduled", State.DONE, _time(condition), f"to node {node}")
    detail = condition.get("message", "") or "the scheduler has not chosen a node"
    remedy = "make room on a node, or correct what the scheduler's message names"
    return Station("Scheduled", State.WAITING, _time(condition), detail, remedy)


def _pool(facts: TraceFacts) -> Station:
    if facts.podip is not None:  # what a pod has been given stays
        detail = f"{facts.podip.spec.pool_name} ({facts.podip.spec.datapath_mode})"
        return Station("Pool", State.DONE, detail=detail)
    if isinstance(facts.choice, ENIPool):
        detail = f"{facts.choice.name} ({facts.choice.spec.datapath.word})"
        return Station("Pool", State.DONE, detail=detail)
    if isinstance(facts.choice, NoPool):
        return Station("Pool", State.WAITING, detail=facts.choice.why, remedy="as the text says")
    return Station("Pool", State.WAITING, detail="chosen once the pod is on a node")


def _agent(facts: TraceFacts) -> Station:
    if facts.agent is None:
        remedy = "see agent.nodeSelector and agent.tolerations of the chart, and `openeni status`"
        return Station("Agent", State.WAITING, detail="no agent runs on the node", remedy=remedy)
    name = facts.agent["metadata"]["name"]
    if is_ready(facts.agent):
        return Station("Agent", State.DONE, detail=f"{name} is ready")
    namespace = facts.agent["metadata"]["namespace"]
    remedy = f"`openeni status` says why; its log: kubectl -n {namespace} logs {name}"
    return Station("Agent", State.WAITING, detail=f"{name} is not ready", remedy=remedy)


def _eni(facts: TraceFacts) -> Station:
    """Return the station of the ENI that the pod has an address of, or could get one of."""
    if facts.eni is not None:
        return _eni_station(facts.eni)
    if facts.podip is not None and facts.podip.spec.eni_name:
        detail = f"{facts.podip.spec.eni_name} is no more: the pod's address is lost"
        return Station("ENI", State.WAITING, detail=detail, remedy="restart the pod")
    ready = [e for e in facts.node_enis if _status(e, Type.READY) is Status.TRUE]
    if ready or not facts.node_enis:
        detail = _supply(ready) if ready else "the node has no ENI of the pool yet"
        remedy = "" if ready else "`openeni status` says what keeps the pool from having one there"
        state = State.DONE if ready else State.WAITING
        return Station("ENI", state, detail=detail, remedy=remedy)
    return _eni_station(facts.node_enis[0])


def _eni_station(eni: ENI) -> Station:
    ready = find(eni.status.conditions, Type.READY)
    port, node = eni.status.port, eni.status.node
    parts = [
        eni.name,
        f"port {port.id}, MAC {port.mac_address}" if port else "no port yet",
        f"device {node.device}" if node and node.device else "",
    ]
    bad = [c for c in eni.status.conditions if c.status != Status.TRUE and c.type != Type.READY]
    if ready is not None and ready.status == Status.TRUE:
        at = ready.last_transition_time
        return Station("ENI", State.DONE, at, ", ".join(filter(None, parts)))
    return _waiting("ENI", bad[0] if bad else ready, ", ".join(filter(None, parts)))


def _supply(enis: list[ENI]) -> str:
    counts = [e.status.node for e in enis if e.status.node is not None]
    available, cooling = sum(c.available for c in counts), sum(c.cooling for c in counts)
    return f"{len(enis)} ready, with {available} addresses free and {cooling} cooling down"


def _granted(facts: TraceFacts) -> Station:
    if facts.grant is not None:
        addresses = ", ".join(facts.grant.addresses)
        container = f"container {facts.grant.container_id[:12]}"
        return Station("Granted", State.DONE, facts.grant.began, f"{addresses} to {container}")
    if facts.podip is not None:
        detail = ", ".join(facts.podip.spec.addresses) or "no address yet"
        return Station("Granted", State.UNKNOWN, detail=f"{detail}; the log has no line about it")
    warnings = [e for e in facts.events if e.type == "Warning" and e.reason not in WITH_ADDRESS]
    said = max(warnings, key=lambda e: (e.reason in POD_REASONS, e.at), default=None)
    detail = f"{said.reason}: {said.note}" if said else "no ADD has got an address yet"
    remedy = _event_remedy(said.reason) if said else ""
    return Station("Granted", State.WAITING, said.at if said else "", detail, remedy)


def _event_remedy(reason: str) -> str:
    """Return what the documentation says to do about an agent's event."""
    entry = POD_REASONS.get(PodReason(reason)) if reason in POD_REASONS else None
    return plain(entry.remedy) if entry else "as the event says"


def _podip(facts: TraceFacts) -> Station:
    if facts.podip is None:
        detail = "published beside the ADD, once there is a grant"
        return Station("PodIP", State.WAITING, detail=detail)
    at, conditions = facts.podip.metadata.creation_timestamp, facts.podip.status.conditions
    lost, assigned = find(conditions, Type.ADDRESS_LOST), find(conditions, Type.ASSIGNED)
    if lost is not None and lost.status == Status.TRUE:
        return _waiting("PodIP", lost, "")
    if assigned is not None and assigned.status != Status.TRUE:
        return _waiting("PodIP", assigned, "")
    return Station("PodIP", State.DONE, at, ", ".join(facts.podip.spec.addresses))


def _datapath(facts: TraceFacts) -> Station:
    conditions = facts.podip.status.conditions if facts.podip else ()
    built = find(conditions, Type.DATAPATH_READY)
    if built is not None and built.status == Status.TRUE:
        return Station("Datapath", State.DONE, built.last_transition_time)
    return _waiting("Datapath", built, "")


def _running(facts: TraceFacts) -> Station:
    status = (facts.pod or {}).get("status", {})
    shown = [each["ip"] for each in status.get("podIPs") or ()]
    started = facts.condition("PodReadyToStartContainers")
    own = facts.podip.spec.addresses if facts.podip else ()
    if shown and own and not set(own) & set(shown):
        detail = f"the pod's status has {', '.join(shown)}, the PodIP {', '.join(own)}"
        return Station("Started", State.WAITING, detail=detail, remedy="restart the pod")
    if shown and not own:
        detail = f"the pod has {', '.join(shown)}, which is not of openeni"
        remedy = "another CNI plugin serves the node: see docs/migration.md"
        return Station("Started", State.WAITING, detail=detail, remedy=remedy)
    if shown:
        return Station("Started", State.DONE, _time(started), f"its status has {', '.join(shown)}")
    return Station("Started", State.WAITING, _time(started), "kubelet shows no address yet")


def _waiting(name: str, condition: Condition | None, detail: str) -> Station:
    if condition is None:
        return Station(name, State.WAITING, detail=detail or "nothing is reported yet")
    text = f"{condition.type} is {condition.status}, {condition.reason}: {condition.message}"
    remedy, at = remedy_of(condition.reason), condition.last_transition_time
    return Station(name, State.WAITING, at, "; ".join(filter(None, (detail, text))), remedy)


def _status(eni: ENI, type_: Type) -> Status | None:
    found = find(eni.status.conditions, type_)
    return found.status if found else None


def _time(condition: dict[str, str]) -> str:
    return condition.get("lastTransitionTime") or ""


_Find: TypeAlias = Callable[[TraceFacts], Station]
STATIONS: Final[tuple[_Find, ...]] = (
    _created,
    _scheduled,
    _pool,
    _agent,
    _eni,
    _granted,
    _podip,
    _datapath,
    _running,
)
