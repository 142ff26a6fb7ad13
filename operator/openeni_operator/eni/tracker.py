"""Track when this process made calls for an ENI and noticed changes; no object records that.

It is lost on a restart, which is harmless: the rules then wait again, or repeat an idempotent call.
"""

from dataclasses import dataclass

from openeni_crds.conditions import Type, find
from openeni_crds.eni import ENI
from openeni_operator.cause import Cause
from openeni_operator.eni.lifecycle import Elapsed, Facts


def start_tracking(eni: ENI, now: float) -> "PortTracker":
    """Return a new tracker; a port that an earlier process requested may still appear."""
    tried = eni.status.port is None and find(eni.status.conditions, Type.PORT_READY) is not None
    return PortTracker(eni.metadata.uid, create_requested=now if tried else None)


@dataclass
class PortTracker:
    """Times of one monotonic clock, in seconds; None if it did not happen."""

    uid: str
    create_requested: float | None = None
    attach_requested: float | None = None
    detach_requested: float | None = None
    detaching_port: str = ""
    deleted_port: str = ""
    port_missing: float | None = None
    node_missing: float | None = None
    attach_failure: Cause | None = None

    def update(self, now: float, facts: Facts, *, node_missing: bool) -> None:
        """Record what was just observed."""
        port_missing = bool(facts.recorded_port) and not facts.ports
        self.port_missing = (self.port_missing or now) if port_missing else None
        self.node_missing = (self.node_missing or now) if node_missing else None
        if facts.ports:
            self.create_requested = None
        if any(p.device_id for p in facts.ports):
            self.attach_failure = None
        if not any(p.device_id for p in facts.ports if p.id == self.detaching_port):
            self.detach_requested = None

    def elapsed(self, now: float) -> Elapsed:
        def since(at: float | None) -> float | None:
            return None if at is None else now - at

        return Elapsed(
            create_requested=since(self.create_requested),
            attach_requested=since(self.attach_requested),
            detach_requested=since(self.detach_requested),
            detaching_port=self.detaching_port,
            port_missing=since(self.port_missing),
            deleted_port=self.deleted_port,
        )
