"""What one ENI's port needs next: ordered rules over facts that are read anew each time.

Theory of operation. No phase is stored anywhere. `next_step` asks each rule in turn; the first that
has something to say decides. The order is the meaning: first nothing is taken from under a pod,
then what is too much goes, then what is missing is made, last what is on its way is waited for.

Crashes and lost answers. The port's name holds the ENI's UID, so whoever comes back finds it by
looking; a POST whose answer was lost is given `SETTLE` seconds to show its port before another is
made, and should it show up later still, the second one is found under the same name and deleted
while it is attached to nothing. Attaching and detaching are judged by the port's device_id alone.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeAlias

from openeni_crds.conditions import Reason
from openeni_operator.cloud.api import ACTIVE, Port

SETTLE: Final = 30.0  # seconds in which a POST without an answer may still make its port
PLUGGING: Final = 60.0  # Nova's own RPC time-out: until then an attach may still succeed
UNPLUGGING: Final = 200.0  # libvirt tries 8 x 20 s to take a NIC from a guest
SURE: Final = 10.0  # between two looks that must agree before a port is believed lost
NODE_GRACE: Final = 60.0  # a Node object may be made anew within this
POLL: Final = 2.0
SLOW_POLL: Final = 30.0  # what an event will tell; in case it got lost
ACTIVATION: Final = 120.0  # a port that is not ACTIVE by then needs a person


@dataclass(frozen=True)
class Ages:
    """Seconds since things happened that only this process saw; None: not, as far as it knows."""

    create_unknown: float | None = None  # a POST without an answer
    attach_asked: float | None = None
    detach_asked: float | None = None
    detaching: str = ""  # id of the port that was asked to be detached
    port_missing: float | None = None
    node_gone: float | None = None


@dataclass(frozen=True)
class Facts:
    """One ENI as the API server, Neutron and its agent show it at one instant."""

    server_id: str
    tags: frozenset[str]
    deleting: bool = False
    ports: tuple[Port, ...] = ()  # all of the ENI's name
    recorded: str = ""  # id of the port in the status
    prepared: bool = False  # the agent keeps the guest's own hands off the NIC
    in_use: bool = True  # the agent may still use the NIC or grant addresses
    linked: bool = False  # the agent has the NIC
    server_gone: bool = False  # Nova says so
    ages: Ages = Ages()

    @property
    def port(self) -> Port | None:
        """The one that is kept, should there be several."""
        return min(self.ports, key=self._rank, default=None)

    def _rank(self, port: Port) -> tuple[bool, bool, str, str]:
        return (
            port.id != self.recorded,
            port.device_id != self.server_id,
            port.created_at,
            port.id,
        )


@dataclass(frozen=True)
class CreatePort:
    pass


@dataclass(frozen=True)
class TagPort:
    port: str


@dataclass(frozen=True)
class DeletePort:
    port: str


@dataclass(frozen=True)
class Attach:
    port: str


@dataclass(frozen=True)
class Detach:
    port: str


@dataclass(frozen=True)
class Forget:
    """The recorded port is lost: clear the record, so that another is made."""


@dataclass(frozen=True)
class Pause:
    """Nothing to do but to look again after so many seconds."""

    reason: Reason
    message: str
    after: float


@dataclass(frozen=True)
class Ready:
    pass


@dataclass(frozen=True)
class Gone:
    """The cloud has nothing of this ENI: its finalizer may go."""


Step: TypeAlias = (
    CreatePort | TagPort | DeletePort | Attach | Detach | Forget | Pause | Ready | Gone
)
Rule: TypeAlias = Callable[[Facts], Step | None]


def wait_for_lost_answer(facts: Facts) -> Step | None:
    """A POST without an answer: its port may still appear."""
    unknown = facts.ages.create_unknown
    if facts.ports or unknown is None or unknown >= SETTLE:
        return None
    return Pause(
        Reason.OUTCOME_UNKNOWN,
        "the cloud did not answer the creation of the port; looking whether it was made",
        POLL,
    )


def finish(facts: Facts) -> Step | None:
    return Gone() if facts.deleting and not facts.ports else None


def mark(facts: Facts) -> Step | None:
    """Neutron can drop tags at creation, and nothing is deleted without its marks."""
    bare = next((p for p in facts.ports if not facts.tags <= p.tags), None)
    return TagPort(bare.id) if bare else None


def drop_doubles(facts: Facts) -> Step | None:
    """Of several ports of one name one stays; no agent was ever told of the others."""
    spare = next((p for p in facts.ports if p is not facts.port), None)
    if spare is None:
        return None
    return _off(spare, facts) or DeletePort(spare.id)


def wait_for_pods(facts: Facts) -> Step | None:
    """Nothing is taken from under a pod: the agent gives up every address first."""
    if not facts.deleting or not facts.in_use:
        return None
    return Pause(
        Reason.DELETING,
        "waiting for the node's agent to give up every address; pods may still hold some",
        SLOW_POLL,
    )


def unplug(facts: Facts) -> Step | None:
    return _off(facts.port, facts) if facts.deleting and facts.port is not None else None


def drop(facts: Facts) -> Step | None:
    port = facts.port
    return DeletePort(port.id) if facts.deleting and port is not None else None


def notice_loss(facts: Facts) -> Step | None:
    """Neutron has said twice, some time apart, that the recorded port is not there."""
    if facts.ports or not facts.recorded:
        return None
    missing = facts.ages.port_missing or 0.0
    if missing >= SURE:
        return Forget()
    return Pause(Reason.PORT_LOST, "Neutron does not know the port any more; looking again", POLL)


def create(facts: Facts) -> Step | None:
    return None if facts.ports else CreatePort()


def plug(facts: Facts) -> Step | None:
    port = facts.port
    if port is None or port.device_id:
        return None
    asked = facts.ages.attach_asked
    if asked is not None and asked < PLUGGING:
        return Pause(
            Reason.ATTACH_UNKNOWN,
            "Nova did not say whether the port was attached; looking at the port",
            POLL,
        )
    if not facts.prepared:
        return Pause(
            Reason.WAITING_FOR_AGENT,
            "waiting for the node's agent to keep the guest's own network tools off the NIC",
            SLOW_POLL,
        )
    return Attach(port.id)


def refuse_foreign_server(facts: Facts) -> Step | None:
    port = facts.port
    return None if port is None or port.device_id == facts.server_id else _foreign(port)


def become_active(facts: Facts) -> Step | None:
    port = facts.port
    if port is None or port.status == ACTIVE:
        return None
    asked = facts.ages.attach_asked
    if asked is not None and asked < ACTIVATION:
        return Pause(Reason.WAITING_FOR_ATTACH, "the port is attached but not yet ACTIVE", POLL)
    return Pause(
        Reason.PORT_NOT_ACTIVE,
        f"the port is attached but {port.status}: see Neutron's agent on the server's host",
        SLOW_POLL,
    )


def link(facts: Facts) -> Step | None:
    if facts.linked:
        return None
    return Pause(
        Reason.WAITING_FOR_NIC,
        "waiting for the node's agent to find the NIC by its MAC address",
        SLOW_POLL,
    )


RULES: Final[tuple[Rule, ...]] = (
    wait_for_lost_answer,
    finish,
    mark,
    drop_doubles,
    wait_for_pods,
    unplug,
    drop,
    notice_loss,
    create,
    plug,
    refuse_foreign_server,
    become_active,
    link,
)


def next_step(facts: Facts) -> Step:
    """Return the first rule's step, or Ready where none has anything to say."""
    return next((step for rule in RULES if (step := rule(facts)) is not None), Ready())


def _off(port: Port, facts: Facts) -> Step | None:
    """What takes the port off its server; None when it is off."""
    asked = facts.ages.detach_asked if facts.ages.detaching == port.id else None
    if not port.device_id or (facts.server_gone and asked is not None and asked >= SURE):
        return None
    if port.device_id != facts.server_id:
        return _foreign(port)
    if asked is None or asked >= UNPLUGGING:
        return Detach(port.id)
    return Pause(Reason.DELETING, "waiting for Nova to detach the port", POLL)


def _foreign(port: Port) -> Pause:
    return Pause(
        Reason.CONFLICT,
        f"the port is attached to server {port.device_id}, not to this node's: "
        "detach it there, or delete this ENI once that server is gone",
        SLOW_POLL,
    )
