"""What one process saw of an ENI and no object holds: only when to look again depends on it.

Lost with the process, and harmless so: the rules then wait anew, or do again what does no harm.
"""

from dataclasses import dataclass

from openeni_crds.conditions import Type, find
from openeni_crds.eni import ENI
from openeni_operator.eni.lifecycle import Ages, Facts
from openeni_operator.eni.status import Trouble


def first_sight(eni: ENI, now: float) -> "Memory":
    """Begin to remember; a port that an earlier process asked for may still come."""
    tried = eni.status.port is None and find(eni.status.conditions, Type.PORT_READY) is not None
    return Memory(eni.metadata.uid, create_unknown=now if tried else None)


@dataclass
class Memory:
    """Times of one monotonic clock, in seconds."""

    uid: str
    create_unknown: float | None = None
    attach_asked: float | None = None
    detach_asked: float | None = None
    detaching: str = ""
    port_missing: float | None = None
    node_gone: float | None = None
    attach_trouble: Trouble | None = None

    def notice(self, now: float, facts: Facts, *, node_gone: bool) -> None:
        """Take in what was just seen."""
        missing = bool(facts.recorded) and not facts.ports
        self.port_missing = (self.port_missing or now) if missing else None
        self.node_gone = (self.node_gone or now) if node_gone else None
        if facts.ports:
            self.create_unknown = None
        if any(p.device_id for p in facts.ports):
            self.attach_trouble = None
        if not any(p.device_id for p in facts.ports if p.id == self.detaching):
            self.detach_asked = None

    def ages(self, now: float) -> Ages:
        def since(at: float | None) -> float | None:
            return None if at is None else now - at

        return Ages(
            create_unknown=since(self.create_unknown),
            attach_asked=since(self.attach_asked),
            detach_asked=since(self.detach_asked),
            detaching=self.detaching,
            port_missing=since(self.port_missing),
            node_gone=since(self.node_gone),
        )
