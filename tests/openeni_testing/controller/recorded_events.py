"""Events as a list, for tests of what an administrator is told."""

from dataclasses import dataclass, field

from openeni_crds.meta import ObjectMeta
from openeni_crds.names import Kind
from openeni_kube.event_series import EventType, Occurrence, occurrence


@dataclass
class RecordedEvents:
    """A recorder that keeps what it is told."""

    events: list[Occurrence] = field(default_factory=list[Occurrence])

    def record(
        self,
        kind: Kind,
        metadata: ObjectMeta,
        type_: EventType,
        reason: str,
        *,
        note: str,
        action: str,
        note_varies: bool = False,
    ) -> None:
        made = occurrence(
            kind, metadata, type_, reason, note=note, action=action, note_varies=note_varies
        )
        self.events.append(made)
