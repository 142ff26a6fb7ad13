"""Track when this process made calls for an ENI and noticed changes; no object records that.

It is lost on a restart, which is harmless: the rules then wait again, or repeat an idempotent call.
"""

from dataclasses import dataclass, field
from typing import Final

from openeni_crds.conditions import Reason, Type, find
from openeni_crds.eni import ENI
from openeni_operator.cause import Cause
from openeni_operator.cloud.api import ACTIVE, Place, Port
from openeni_operator.eni.facts import Elapsed, Facts
from openeni_operator.eni.steps import Step
from openeni_operator.eni.timing import YIELD_TIME

ANSWER_SECONDS: Final = 60.0  # for which an answer stands for a look at the port
CERTAIN_REFUSALS: Final = 2  # to attach a port, in a row, that mean that the server has no slot
CERTAIN_CONFLICTS: Final = 3  # in a row, that mean that somebody else changes the port for long
BEHIND_SECONDS: Final = 600.0  # until a port that is older than before may be a restored one
ABSENT_SECONDS: Final = 300.0  # for which a look that found no port stands until the POST


def start_tracking(eni: ENI, now: float) -> "PortTracker":
    """Return a new tracker; what an earlier process requested may still appear."""
    port, attached = eni.status.port, find(eni.status.conditions, Type.ATTACHED)
    tried = port is None and find(eni.status.conditions, Type.PORT_READY) is not None
    slotless = attached is not None and attached.reason == Reason.NO_HOTPLUG_SLOT
    return PortTracker(
        eni.metadata.uid,
        attach_refusals=CERTAIN_REFUSALS if slotless else 0,
        resize_requested=now if port and port.releasing else None,
        resize_revision=port.revision if port else 0,
        create_requested=now if tried else None,
        settings_requested=now if eni.status.applied else None,
    )


@dataclass(frozen=True)
class PortAnswer:
    """A port as the answer to its creation, or to a change of its addresses, has it."""

    port: Port
    at: float
    place: Place  # of the credentials: those of the next look may be others


@dataclass
class PortTracker:
    """Times of one monotonic clock, in seconds; None if it did not happen."""

    uid: str
    create_requested: float | None = None
    created: str = ""  # the ID that the last POST was answered with
    unshown: int = 0  # POSTs that were answered since a look has shown a port
    attach_requested: float | None = None
    detach_requested: float | None = None
    detaching_port: str = ""
    detaches: int = 0  # of that port
    deleted_port: str = ""
    port_missing: float | None = None
    attach_failure: Cause | None = None
    attach_refusals: int = 0  # in a row: the server had no slot
    settings_requested: float | None = None  # tags, or a QoS policy
    resize_requested: float | None = None  # a change of addresses that may still be done
    resize_revision: int = 0  # of the port before it
    resize_refused: float | None = None
    resize_refusals: int = 0  # in a row
    resize_conflicts: int = 0  # in a row: somebody else has changed the port meanwhile
    resize_failure: Cause | None = None
    transit: dict[str, float] = field(default_factory=dict[str, float])  # since when, by address
    yields_since: float | None = None  # its requests have waited for those, or could be made
    inactive_since: float | None = None  # the port is attached and not ACTIVE
    reattachments: int = 0  # detach requests since it was last ACTIVE
    behind_since: float | None = None  # the cloud shows an older port than it did
    confirmed_revision: int | None = None  # of such a port, which is the newest all the same
    answer: PortAnswer | None = None
    # When a look found no port, whose creation waits for its turn, or there could not be one yet.
    known_absent: float | None = None
    last_step: Step | None = None  # the last one that changed something
    repeated: int = 0  # steps that were done and did not show
    refused: Step | None = None  # the last one that the cloud refused
    hindrance: Cause | None = None  # why that one fails, if addresses are changed after it

    def answered_port(self, now: float, place: Place) -> Port | None:
        """Return the port as an answer has it, if nothing can have changed since."""
        answer = self.answer
        if answer is None or answer.place != place or now - answer.at > ANSWER_SECONDS:
            return None
        return answer.port

    def known_ports(self, now: float, place: Place) -> tuple[Port, ...] | None:
        """Return what an answer or a recent look says; None if it takes another look.

        A port that was not there has not appeared: nobody else creates one under this name.
        """
        answered = self.answered_port(now, place)
        if answered is not None:
            return (answered,)
        known = self.known_absent is not None and now - self.known_absent <= ABSENT_SECONDS
        return () if known else None

    def update(self, now: float, facts: Facts, *, looked: bool) -> None:
        """Record what was just observed, if somebody looked: an answer is no look."""
        if not looked:
            return
        missing = bool(facts.recorded_port) and not facts.ports
        self.port_missing = (self.port_missing or now) if missing else None
        if facts.ports:
            self.create_requested, self.unshown = None, 0
        if any(p.device_id for p in facts.ports):
            self.attach_failure, self.attach_refusals = None, 0
        if not any(p.device_id for p in facts.ports if p.id == self.detaching_port):
            self.detach_requested, self.detaches = None, 0
        self._note_activity(now, facts)
        if any(p.revision > self.resize_revision for p in facts.ports):
            self.resize_requested = None

    def _note_activity(self, now: float, facts: Facts) -> None:
        port = facts.port
        attached = port is not None and port.device_id == facts.server_id and port.enabled
        active = port is not None and port.status == ACTIVE
        self.inactive_since = (self.inactive_since or now) if attached and not active else None
        if active:
            self.reattachments = 0

    def is_behind(self, now: float, *, older: bool) -> bool:
        """Note whether the cloud shows an `older` port; return True if that is to be waited out."""
        self.behind_since = (self.behind_since or now) if older else None
        return self.behind_since is not None and now - self.behind_since < BEHIND_SECONDS

    def refuse_resize(self, now: float, failure: Cause) -> None:
        """Note that the cloud has refused a change of addresses."""
        self.resize_refused, self.resize_failure = now, failure
        self.resize_refusals += 1

    def conflict_of_resize(self, failure: Cause) -> None:
        """Note that the port is not as it was observed: a single time that is nothing."""
        self.resize_requested = None
        self.resize_conflicts += 1
        if self.resize_conflicts >= CERTAIN_CONFLICTS:
            self.resize_failure = failure

    def refuse_step(self, step: Step, failure: Cause, *, hinders: bool) -> None:
        """Note that the cloud has refused a step, which `hinders` changes of addresses or not."""
        self.refused, self.hindrance = step, failure if hinders else None

    def note_next(self, step: Step) -> None:
        """Note which step is next: one that was refused hinders nothing any more once it is not."""
        if step != self.refused:
            self.hindrance = None

    def yields(self, now: float, transit: frozenset[str], *, asks: bool) -> bool:
        """Note which addresses are in transit; return True if a request is to wait for a new one.

        An ENI that `asks` for any address waits for `YIELD_TIME`, then it has as long for its
        request, whatever is in transit by then: there may always be another one.
        """
        self.transit = {address: self.transit.get(address, now) for address in transit}
        new = any(now - since < YIELD_TIME for since in self.transit.values())
        if not (asks and transit):
            self.yields_since = None
        elif new and (self.yields_since is None or now - self.yields_since >= 2 * YIELD_TIME):
            self.yields_since = now
        return new and self.yields_since is not None and now - self.yields_since < YIELD_TIME

    def end_resize(self) -> None:
        """Note that there is nothing to change about the addresses."""
        self.resize_refused = self.resize_failure = None
        self.resize_refusals = self.resize_conflicts = 0

    def port_created(self, port: Port, at: float, place: Place) -> None:
        """Record the answer to a POST."""
        self.answer, self.created = PortAnswer(port, at, place), port.id
        self.unshown += 1

    def port_deleted(self, port: str) -> None:
        """Record a confirmed deletion; of a POST that was answered, no other port can come."""
        self.deleted_port = port
        if port == self.created:
            self.create_requested = None

    def elapsed(self, now: float) -> Elapsed:
        def since(at: float | None) -> float | None:
            return None if at is None else now - at

        return Elapsed(
            create_requested=since(self.create_requested),
            attach_requested=since(self.attach_requested),
            attach_refusals=self.attach_refusals,
            detach_requested=since(self.detach_requested),
            detaching_port=self.detaching_port,
            detaches=self.detaches,
            port_missing=since(self.port_missing),
            deleted_port=self.deleted_port,
            settings_requested=since(self.settings_requested),
            resize_requested=since(self.resize_requested),
            resize_refused=since(self.resize_refused),
            resize_refusals=self.resize_refusals,
            inactive=since(self.inactive_since),
            reattachments=self.reattachments,
        )
