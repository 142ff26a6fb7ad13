"""What is known about the address of one pod. Pure."""

from dataclasses import dataclass
from typing import Any

from msgspec import Struct

from openeni_cli.grant_log import Holder
from openeni_crds.eni import ENI
from openeni_crds.enipool import ENIPool
from openeni_crds.meta import Json
from openeni_crds.podip import PodIP
from openeni_crds.selection import NoPool


class TracedEvent(Struct, frozen=True, rename="camel"):
    """A Kubernetes Event about the pod, its PodIP or its ENI."""

    at: str
    about: str
    type: str
    reason: str
    note: str
    count: int


@dataclass(frozen=True)
class TraceFacts:
    """Objects and lines of logs that are about the pod."""

    namespace: str
    name: str
    pod: Json | None = None
    podip: PodIP | None = None
    eni: ENI | None = None  # that the PodIP names
    choice: ENIPool | NoPool | None = None  # None where the pod is on no node yet
    node_enis: tuple[ENI, ...] = ()  # of the chosen pool, on the pod's node
    agent: Json | None = None  # the agent's pod on the node
    grant: Holder | None = None  # by the log of grants
    events: tuple[TracedEvent, ...] = ()
    notes: tuple[str, ...] = ()  # what could not be read

    def condition(self, type_: str) -> Json:
        """Return a condition of the pod; {} if it has none of the type."""
        pod: dict[str, Any] = self.pod or {}
        conditions: list[Json] = pod.get("status", {}).get("conditions") or []
        found = [c for c in conditions if c["type"] == type_]
        return found[0] if found else {}


def parse_event(body: Json) -> TracedEvent:
    """Return an Event of events.k8s.io/v1, whichever client wrote it."""
    series: Json = body.get("series") or {}
    regarding: Json = body.get("regarding") or {}
    at = (
        series.get("lastObservedTime")
        or body.get("deprecatedLastTimestamp")
        or body.get("eventTime")
        or body["metadata"].get("creationTimestamp", "")
    )
    return TracedEvent(
        at=at,
        about=f"{regarding.get('kind', '')} {regarding.get('name', '')}".strip(),
        type=body.get("type", ""),
        reason=body.get("reason", ""),
        note=body.get("note", ""),
        count=series.get("count") or body.get("deprecatedCount") or 1,
    )
