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
from typing import Final, TypeAlias

from openeni_crds.conditions import Reason
from openeni_operator.cloud.api import Port
from openeni_operator.eni.facts import Facts
from openeni_operator.eni.safeguards import (
    attached_twice,
    confirm_absence,
    confirm_older_port,
    detach,
    reattach_port,
    reject_disabled_port,
    resize_was_refused,
    wait_for_resize,
    wait_foreign,
    wait_until_active,
)
from openeni_operator.eni.steps import (
    AddAddresses,
    AddClaimedAddress,
    AttachPort,
    CreatePort,
    DeletePort,
    ForgetPort,
    Ready,
    ReleaseAddresses,
    RemoveFinalizer,
    SetQoSPolicy,
    SetSecurityGroups,
    Step,
    TagPort,
    UntagPort,
    Wait,
)
from openeni_operator.eni.timing import (
    ATTACH_TIMEOUT,
    CREATE_SETTLE_TIME,
    POLL,
    SLOW_POLL,
    YIELD_TIME,
    attach_pause,
    poll_interval,
)

Rule: TypeAlias = Callable[[Facts], Step | None]


def wait_for_create_outcome(facts: Facts) -> Step | None:
    """Wait while a requested port may still appear."""
    requested = facts.elapsed.create_requested
    if facts.ports or requested is None or requested >= CREATE_SETTLE_TIME:
        return None
    return Wait(
        Reason.OUTCOME_UNKNOWN,
        f"a port for server {facts.server_id} was requested, and Neutron does not show it yet; "
        "checking whether it exists",
        poll_interval(requested),
    )


def finish_deletion(facts: Facts) -> Step | None:
    """Let the ENI go once its port was deleted by us, or is not shown twice, some time apart."""
    if not facts.deleting or facts.ports:
        return None
    if facts.recorded_port in ("", facts.elapsed.deleted_port):
        return RemoveFinalizer()
    return confirm_absence(facts, Reason.DELETING) or RemoveFinalizer()


def restore_tags(facts: Facts) -> Step | None:
    """Neutron can drop tags at creation, and a port without its tags is never deleted."""
    missing = (TagPort(p.id, tag) for p in facts.ports for tag in sorted(facts.tags - p.tags))
    return next(missing, None)


def remove_duplicates(facts: Facts) -> Step | None:
    """Keep one of several ports with the same name; no agent was told of one never attached."""
    duplicates = sorted((p for p in facts.ports if p is not facts.port), key=lambda p: p.id)
    return next((DeletePort(p.id) for p in duplicates if not p.device_id), None)


def keep_attached_duplicates(facts: Facts) -> Step | None:
    """Two attached ports mean that Neutron hid one for long: pods may have addresses of both."""
    duplicates = sorted((p for p in facts.ports if p is not facts.port), key=lambda p: p.id)
    if not duplicates:
        return None
    fault, release = attached_twice(facts), release_addresses(facts)
    if fault is not None:
        return release or Wait(Reason.PORT_CHANGED, fault.message, SLOW_POLL)
    return _release_once(facts) or detach(duplicates[0], facts) or DeletePort(duplicates[0].id)


def wait_until_retired(facts: Facts) -> Step | None:
    """Take nothing from under a pod: the agent gives up every address first, once it has cooled.

    Those that it has given up, and others wait for, need not wait for the last pod.
    """
    if not facts.deleting or not facts.in_use:
        return None
    return release_addresses(facts) or Wait(
        Reason.DELETING,
        "waiting for the node's agent to give up every address of port "
        f"{facts.recorded_port}; pods may still use some, or some cool down",
        SLOW_POLL,
    )


def detach_for_deletion(facts: Facts) -> Step | None:
    """Detach the port before it is deleted, so that the guest's NIC goes first.

    That may take Nova minutes, so that what others wait for leaves the port before.
    """
    if not facts.deleting or facts.port is None:
        return None
    return _release_once(facts) or detach(facts.port, facts)


def delete_port(facts: Facts) -> Step | None:
    """Delete the port of an ENI that is being deleted, once it counts as detached."""
    port = facts.port
    return DeletePort(port.id) if facts.deleting and port is not None else None


def detect_loss(facts: Facts) -> Step | None:
    """Forget the recorded port once Neutron has twice, some time apart, not shown it."""
    if facts.ports or not facts.recorded_port:
        return None
    return confirm_absence(facts, Reason.PORT_LOST) or ForgetPort()


def create_port(facts: Facts) -> Step | None:
    """Create the port, with all its addresses and settings, in one call."""
    if facts.ports:
        return None
    if facts.yields:
        return Wait(
            Reason.WAITING_FOR_ADDRESS,
            "an address of the pool is on its way to another node, and a new port might get it: "
            f"the port is created when it has arrived, or within {YIELD_TIME:g} s",
            POLL,
        )
    return CreatePort()


def set_security_groups(facts: Facts) -> Step | None:
    """Set them before a port that stays is attached or called ready: they keep its pods safe.

    What others wait for leaves the port all the same, if the cloud refuses them.
    """
    port, settings = facts.port, facts.settings
    if port is None or settings.has_groups(port):
        return None
    groups = SetSecurityGroups(port.id, settings.lacks_security(port))
    return (release_addresses(facts) if facts.refused == groups else None) or groups


def attach_port(facts: Facts) -> Step | None:
    """Attach the port once the guest is prepared; after an attempt, wait for its outcome."""
    port = facts.port
    if port is None or port.device_id:
        return None
    requested = facts.elapsed.attach_requested
    if requested is not None and requested < attach_pause(facts.elapsed.attach_refusals):
        late = requested >= ATTACH_TIMEOUT  # it will not be attached any more
        return Wait(
            Reason.ATTACH_UNKNOWN,
            f"Nova did not report whether it attached port {port.id} to server "
            f"{facts.server_id}; checking the port",
            attach_pause(facts.elapsed.attach_refusals) - requested
            if late
            else poll_interval(requested),
        )
    if not facts.guest_prepared:
        return Wait(
            Reason.WAITING_FOR_AGENT,
            "waiting for the node's agent to keep the guest's own network tools off the NIC of "
            f"port {port.id}",
            SLOW_POLL,
        )
    return AttachPort(port.id)


def reject_foreign_server(facts: Facts) -> Step | None:
    """Wait for people while the port is attached to a server that is not the node's."""
    port = facts.port
    foreign = port is not None and port.device_id != facts.server_id
    return wait_foreign(port, facts) if port and foreign else None


def wait_for_link(facts: Facts) -> Step | None:
    """Wait until the agent has found and configured the NIC."""
    port = facts.port
    if port is None or facts.link_ready:
        return None
    return Wait(
        Reason.WAITING_FOR_NIC,
        f"waiting for the node's agent to find the NIC of port {port.id} by its MAC address",
        SLOW_POLL,
    )


def release_addresses(facts: Facts) -> Step | None:
    """Remove from the port what the agent has retired, in one call; before addresses are added.

    Whatever keeps the port from serving pods: others may wait for what leaves it.
    """
    port, release = facts.port, facts.resize.release
    if port is None or not release or resize_was_refused(facts):
        return None
    return wait_for_resize(facts) or ReleaseAddresses(port.id, release)


def _release_once(facts: Facts) -> Step | None:
    """Release before the port goes; if that fails, the addresses leave with the port."""
    release = release_addresses(facts)
    return None if release == facts.refused else release


def add_claimed_address(facts: Facts) -> Step | None:
    """Add an address that a certain pod waits for, in a call of its own: it may be refused."""
    port, claimed = facts.port, facts.resize.claimed
    if port is None or claimed is None:
        return None
    return wait_for_resize(facts) or AddClaimedAddress(port.id, claimed.subnet_id, claimed.address)


def add_addresses(facts: Facts) -> Step | None:
    """Add the addresses that the port lacks, in one call; refusals hold up no other rule."""
    port, subnets = facts.port, facts.resize.add
    if port is None or not subnets or facts.yields or resize_was_refused(facts):
        return None
    return wait_for_resize(facts) or AddAddresses(port.id, subnets)


def update_settings(facts: Facts) -> Step | None:
    """Give the port the pool's tags, one by one, and QoS policy; last, as pods do not need them.

    One that the cloud refuses holds up no other: after it, the next one is tried.
    """
    pending = _pending_settings(facts.port, facts) if facts.port is not None else []
    after = pending.index(facts.refused) + 1 if facts.refused in pending else 0
    return pending[after % len(pending)] if pending else None


RULES: Final[tuple[Rule, ...]] = (
    wait_for_create_outcome,
    finish_deletion,
    restore_tags,
    remove_duplicates,
    keep_attached_duplicates,
    wait_until_retired,
    detach_for_deletion,
    delete_port,
    confirm_older_port,
    detect_loss,
    create_port,
    set_security_groups,
    attach_port,
    reject_foreign_server,
    release_addresses,
    reject_disabled_port,
    reattach_port,
    wait_until_active,
    add_claimed_address,
    add_addresses,
    wait_for_link,
    update_settings,
)


def next_step(facts: Facts) -> Step:
    """Return the step of the first rule that has one, else Ready."""
    return next((step for rule in RULES if (step := rule(facts)) is not None), Ready())


def _pending_settings(port: Port, facts: Facts) -> list[Step]:
    """Return a step for each tag and QoS policy that is to be changed: those of others stay."""
    settings = facts.settings
    policy = settings.wanted_policy(port)
    return [
        *(TagPort(port.id, tag) for tag in settings.missing_tags(port)),
        *(UntagPort(port.id, t) for t in settings.surplus_tags(port) if t not in facts.tags),
        *([SetQoSPolicy(port.id, policy)] if policy != port.qos_policy_id else []),
    ]
