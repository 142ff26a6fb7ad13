"""Decide the next step for an ENI's port: ordered rules over facts that are observed each time.

No phase is stored anywhere. `next_step` asks each rule in turn, and the first that returns a step
decides. Their order is the specification: first, nothing is taken from under a pod; then surplus
ports are removed; then what is missing is created; last, what is in progress is waited for.

Crashes and lost responses. The port's name holds the ENI's UID, so that any later reconcile finds
the port by its name. After a POST, whatever its response, no other POST is made for
`CREATE_SETTLE_TIME`: Neutron's databases may show the port late. If it shows up later still, it has
the same name as the second one, and the surplus one is deleted before it is attached. Only the
port's device_id tells whether it is attached.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeAlias

from openeni_crds.conditions import Reason
from openeni_operator.cloud.api import ACTIVE, Port

# All in seconds.
CREATE_SETTLE_TIME: Final = 30.0  # a requested port may show up this late
ATTACH_TIMEOUT: Final = 60.0  # Nova's RPC timeout: until then an attach may still succeed
DETACH_TIMEOUT: Final = 200.0  # libvirt makes 8 attempts of 20 s to remove a NIC from a guest
CONFIRM_INTERVAL: Final = 10.0  # between two observations that must agree that a port is gone
ACTIVE_TIMEOUT: Final = 120.0  # a port that is not ACTIVE by then needs attention
POLL: Final = 2.0
SLOW_POLL: Final = 30.0  # where a watch event is expected; in case it is lost


@dataclass(frozen=True)
class Elapsed:
    """Seconds since events that only this process saw; None if there was none."""

    create_requested: float | None = None  # a POST that was not refused
    attach_requested: float | None = None
    detach_requested: float | None = None
    detaching_port: str = ""  # ID of the port of the last detach request
    port_missing: float | None = None
    deleted_port: str = ""  # ID of a port whose deletion Neutron has confirmed


@dataclass(frozen=True)
class Facts:
    """An ENI as the API server, Neutron, Nova and the agent report it."""

    server_id: str
    tags: frozenset[str]
    deleting: bool = False
    ports: tuple[Port, ...] = ()  # every port with the ENI's port name
    recorded_port: str = ""  # ID of the port in ENI.status
    guest_prepared: bool = False  # the agent keeps the guest's own network tools off the NIC
    in_use: bool = True  # the agent may still use the NIC or grant addresses
    link_ready: bool = False  # the agent has found the NIC
    server_gone: bool = False  # Nova reports that the server does not exist
    elapsed: Elapsed = Elapsed()

    @property
    def port(self) -> Port | None:
        """The port to keep, if there are several."""
        return min(self.ports, key=self._rank, default=None)

    def _rank(self, port: Port) -> tuple[bool, bool, str, str]:
        return (
            port.id != self.recorded_port,
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
class AttachPort:
    port: str


@dataclass(frozen=True)
class DetachPort:
    port: str


@dataclass(frozen=True)
class ForgetPort:
    """The recorded port is lost: clear it in the status, so that another is created."""


@dataclass(frozen=True)
class Wait:
    """Observe again after so many seconds."""

    reason: Reason
    message: str
    after: float


@dataclass(frozen=True)
class Ready:
    pass


@dataclass(frozen=True)
class RemoveFinalizer:
    """The cloud holds nothing of this ENI any more."""


Step: TypeAlias = (
    CreatePort
    | TagPort
    | DeletePort
    | AttachPort
    | DetachPort
    | ForgetPort
    | Wait
    | Ready
    | RemoveFinalizer
)
Rule: TypeAlias = Callable[[Facts], Step | None]


def wait_for_create_outcome(facts: Facts) -> Step | None:
    """Wait while a requested port may still appear."""
    requested = facts.elapsed.create_requested
    if facts.ports or requested is None or requested >= CREATE_SETTLE_TIME:
        return None
    return Wait(
        Reason.OUTCOME_UNKNOWN,
        "a port was requested and Neutron does not show it yet; checking whether it exists",
        POLL,
    )


def finish_deletion(facts: Facts) -> Step | None:
    """Let the ENI go once its port was deleted by us, or is not shown twice, some time apart."""
    if not facts.deleting or facts.ports:
        return None
    if facts.recorded_port in ("", facts.elapsed.deleted_port):
        return RemoveFinalizer()
    return _confirm_absence(facts, Reason.DELETING) or RemoveFinalizer()


def restore_tags(facts: Facts) -> Step | None:
    """Neutron can drop tags at creation, and a port without its tags is never deleted."""
    untagged = next((p for p in facts.ports if not facts.tags <= p.tags), None)
    return TagPort(untagged.id) if untagged else None


def remove_duplicates(facts: Facts) -> Step | None:
    """Keep one of several ports with the same name; the agent knows of no other."""
    duplicate = next((p for p in facts.ports if p is not facts.port), None)
    if duplicate is None:
        return None
    return _detach(duplicate, facts) or DeletePort(duplicate.id)


def wait_until_retired(facts: Facts) -> Step | None:
    """Take nothing from under a pod: the agent gives up every address first."""
    if not facts.deleting or not facts.in_use:
        return None
    return Wait(
        Reason.DELETING,
        "waiting for the node's agent to give up every address; pods may still use some",
        SLOW_POLL,
    )


def detach_for_deletion(facts: Facts) -> Step | None:
    return _detach(facts.port, facts) if facts.deleting and facts.port is not None else None


def delete_port(facts: Facts) -> Step | None:
    port = facts.port
    return DeletePort(port.id) if facts.deleting and port is not None else None


def detect_loss(facts: Facts) -> Step | None:
    """Forget the recorded port once Neutron has twice, some time apart, not shown it."""
    if facts.ports or not facts.recorded_port:
        return None
    return _confirm_absence(facts, Reason.PORT_LOST) or ForgetPort()


def create_port(facts: Facts) -> Step | None:
    return None if facts.ports else CreatePort()


def attach_port(facts: Facts) -> Step | None:
    port = facts.port
    if port is None or port.device_id:
        return None
    requested = facts.elapsed.attach_requested
    if requested is not None and requested < ATTACH_TIMEOUT:
        return Wait(
            Reason.ATTACH_UNKNOWN,
            "Nova did not report whether it attached the port; checking the port",
            POLL,
        )
    if not facts.guest_prepared:
        return Wait(
            Reason.WAITING_FOR_AGENT,
            "waiting for the node's agent to keep the guest's own network tools off the NIC",
            SLOW_POLL,
        )
    return AttachPort(port.id)


def reject_foreign_server(facts: Facts) -> Step | None:
    port = facts.port
    return None if port is None or port.device_id == facts.server_id else _wait_foreign(port)


def wait_until_active(facts: Facts) -> Step | None:
    port = facts.port
    if port is None or port.status == ACTIVE:
        return None
    requested = facts.elapsed.attach_requested
    if requested is not None and requested < ACTIVE_TIMEOUT:
        return Wait(Reason.WAITING_FOR_ATTACH, "the port is attached but not yet ACTIVE", POLL)
    return Wait(
        Reason.PORT_NOT_ACTIVE,
        f"the port is attached but {port.status}: check Neutron's agent on the server's host",
        SLOW_POLL,
    )


def wait_for_link(facts: Facts) -> Step | None:
    if facts.link_ready:
        return None
    return Wait(
        Reason.WAITING_FOR_NIC,
        "waiting for the node's agent to find the NIC by its MAC address",
        SLOW_POLL,
    )


RULES: Final[tuple[Rule, ...]] = (
    wait_for_create_outcome,
    finish_deletion,
    restore_tags,
    remove_duplicates,
    wait_until_retired,
    detach_for_deletion,
    delete_port,
    detect_loss,
    create_port,
    attach_port,
    reject_foreign_server,
    wait_until_active,
    wait_for_link,
)


def next_step(facts: Facts) -> Step:
    """Return the step of the first rule that has one, else Ready."""
    return next((step for rule in RULES if (step := rule(facts)) is not None), Ready())


def _confirm_absence(facts: Facts, reason: Reason) -> Step | None:
    """Wait until Neutron has twice, some time apart, not shown the recorded port; then None."""
    if (facts.elapsed.port_missing or 0.0) >= CONFIRM_INTERVAL:
        return None
    return Wait(reason, "Neutron no longer shows the port; checking again", POLL)


def _detach(port: Port, facts: Facts) -> Step | None:
    """Return the step that detaches the port; None if it counts as detached."""
    elapsed = facts.elapsed
    requested = elapsed.detach_requested if elapsed.detaching_port == port.id else None
    confirmed = requested is not None and requested >= CONFIRM_INTERVAL
    if not port.device_id or (facts.server_gone and confirmed):
        return None
    if port.device_id != facts.server_id:
        return _wait_foreign(port)
    if requested is None or requested >= DETACH_TIMEOUT:
        return DetachPort(port.id)
    return Wait(Reason.DELETING, "waiting for Nova to detach the port", POLL)


def _wait_foreign(port: Port) -> Wait:
    return Wait(
        Reason.CONFLICT,
        f"the port is attached to server {port.device_id}, not to the node's server: "
        "detach it there, or delete this ENI once that server is gone",
        SLOW_POLL,
    )
