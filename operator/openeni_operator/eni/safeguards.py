"""What several rules need before they go on: confirm that a port is gone, detach or reattach it.

Pure.
"""

from openeni_crds.conditions import Reason
from openeni_operator.cause import Cause
from openeni_operator.claim_refusals import REFUSED_SECONDS
from openeni_operator.cloud.api import ACTIVE, DOWN, Port
from openeni_operator.eni.facts import Facts
from openeni_operator.eni.resize import NO_RESIZE
from openeni_operator.eni.steps import ConfirmPort, DetachPort, Step, Wait
from openeni_operator.eni.timing import (
    ACTIVE_TIMEOUT,
    CONFIRM_INTERVAL,
    DETACH_TIMEOUT,
    MASS_LOSS_TIME,
    MAX_DETACHES,
    POLL,
    RESIZE_SETTLE_TIME,
    SLOW_POLL,
    poll_interval,
    reattach_pause,
    resize_pause,
    unshown_time,
)


def confirm_older_port(facts: Facts) -> Step | None:
    """Have Neutron confirm a port that is older than before: it was restored, or its reads lag."""
    port = facts.port
    return ConfirmPort(port.id) if facts.behind and port is not None else None


def confirm_absence(facts: Facts, reason: Reason) -> Step | None:
    """Wait until Neutron has twice, some time apart, not shown the recorded port; then None."""
    missing = facts.elapsed.port_missing or 0.0
    if missing < CONFIRM_INTERVAL:
        port = facts.recorded_port
        return Wait(reason, f"Neutron no longer shows port {port}; checking again", POLL)
    if facts.unshown and missing < unshown_time(facts.unshown):
        return Wait(
            reason,
            f"Neutron has created port {facts.recorded_port} and does not show it: a node of its "
            "database may be behind, or its policy may hide ports; before another one is created, "
            f"this is looked at for {unshown_time(facts.unshown) / 60:.0f} minutes",
            SLOW_POLL,
        )
    if facts.mass_loss and missing < MASS_LOSS_TIME:
        return Wait(
            reason,
            f"Neutron shows neither port {facts.recorded_port} nor many others of this cluster; "
            "after 10 minutes they count as deleted. Check the cloud, and its project and region "
            "in clouds.yaml",
            SLOW_POLL,
        )
    return None


def reject_disabled_port(facts: Facts) -> Step | None:
    """Leave a port disabled that somebody has disabled: it may be on purpose."""
    port = facts.port
    if port is None or port.enabled:
        return None
    return Wait(
        Reason.PORT_DISABLED,
        f"port {port.id} is disabled (its admin_state_up is false), so its pods have no network: "
        f"run openstack port set --enable {port.id}",
        SLOW_POLL,
    )


def reattach_port(facts: Facts) -> Step | None:
    """Detach a port that stays DOWN, to attach it anew: its host may have missed the first time.

    No pod can have an address of it meanwhile: its agent has given up each, at the pool's request.
    """
    port, elapsed = facts.port, facts.elapsed
    if port is None or port.status != DOWN:
        return None
    requested = elapsed.detach_requested if elapsed.detaching_port == port.id else None
    if requested is not None and requested < DETACH_TIMEOUT:
        return Wait(
            Reason.REATTACHING,
            f"port {port.id} stays DOWN: waiting for Nova to detach it from server "
            f"{facts.server_id}, to attach it anew",
            poll_interval(requested),
        )
    stayed = elapsed.inactive is not None and elapsed.inactive >= reattach_pause(
        elapsed.reattachments
    )
    return DetachPort(port.id) if facts.given_up and stayed else None


def wait_until_active(facts: Facts) -> Step | None:
    """Wait until Neutron has the port ACTIVE; if that takes long, its host needs a look."""
    port, again = facts.port, facts.elapsed.reattachments > 0
    if port is None or port.status == ACTIVE:
        return None
    requested = facts.elapsed.attach_requested
    attached = f"port {port.id} is attached to server {facts.server_id} but"
    if requested is not None and requested < ACTIVE_TIMEOUT and again:
        message = f"port {port.id} stayed DOWN and was attached anew: it is not yet ACTIVE"
        return Wait(Reason.REATTACHING, message, poll_interval(requested))
    if requested is not None and requested < ACTIVE_TIMEOUT:
        message = f"{attached} not yet ACTIVE"
        return Wait(Reason.WAITING_FOR_ATTACH, message, poll_interval(requested))
    then = ", also after it was attached anew" if again else ""
    if port.status == DOWN and not facts.given_up:
        then += ", and is attached anew once no pod has an address of it"
    return Wait(
        Reason.PORT_NOT_ACTIVE,
        f"{attached} {port.status}{then}: check Neutron's agent on the server's host",
        SLOW_POLL,
    )


def attached_twice(facts: Facts) -> Cause | None:
    """Return the fault of an ENI with two attached ports, until both may be removed."""
    port, others = facts.port, [p.id for p in facts.ports if p is not facts.port and p.device_id]
    if port is None or not others or (facts.deleting and not facts.in_use):
        return None
    ports = ", ".join(sorted([port.id, *others]))
    return Cause(
        Reason.PORT_CHANGED,
        f"ports {ports} of this ENI are attached: the operator puts another ENI in "
        "its place, and removes both after the last pod",
    )


def why_inactive(facts: Facts) -> Cause | None:
    """Return what a port waits for that is attached and not ACTIVE, whatever is done meanwhile."""
    port = facts.port
    if port is None or port.device_id != facts.server_id or facts.deleting:
        return None
    for rule in (reject_disabled_port, reattach_port, wait_until_active):
        if isinstance(step := rule(facts), Wait):
            return Cause(step.reason, step.message)
    return None


def resize_was_refused(facts: Facts) -> bool:
    """Return True if the cloud has refused a change of addresses a short time ago."""
    return _resize_pause_left(facts) > 0


def _resize_pause_left(facts: Facts) -> float:
    """Return the seconds until addresses are asked for again; 0 or less if they may be now."""
    refused, refusals = facts.elapsed.resize_refused, facts.elapsed.resize_refusals
    return 0.0 if refused is None else resize_pause(refusals) - refused


def until_resize(facts: Facts) -> tuple[float, str] | None:
    """Return after how many seconds to see to the addresses again, and why; None if all is done."""
    if facts.resize.refused:
        return REFUSED_SECONDS, "the cloud has refused an address"
    if facts.resize == NO_RESIZE:
        return None
    if resize_was_refused(facts):
        return _resize_pause_left(facts), "the cloud has refused addresses"
    return (POLL, "an address is on its way to another ENI") if facts.yields else None


def wait_for_resize(facts: Facts) -> Step | None:
    """Wait while a change of addresses that got no response may still be done.

    A late one fails once the port has changed, but for Neutron's retries (LP#1909008): with its old
    list it could remove addresses that were added since.
    """
    requested = facts.elapsed.resize_requested
    if requested is None or requested >= RESIZE_SETTLE_TIME:
        return None
    return Wait(
        Reason.OUTCOME_UNKNOWN,
        "a change of the port's addresses got no response; checking whether it was made",
        poll_interval(requested),
    )


def detach(port: Port, facts: Facts) -> Step | None:
    """Return the step that detaches the port; None if it counts as detached.

    Nova accepts a request and can fail without a word, also because it does not know the NIC. After
    the last one the port is deleted: Neutron tells Nova, which removes a NIC that it knows of.
    """
    elapsed = facts.elapsed
    ours = elapsed.detaching_port == port.id
    requested = elapsed.detach_requested if ours else None
    confirmed = requested is not None and requested >= CONFIRM_INTERVAL
    if not port.device_id or (facts.server_gone and confirmed):
        return None
    if port.device_id != facts.server_id:
        return wait_foreign(port, facts)
    if requested is None or requested >= DETACH_TIMEOUT:
        failed = ours and elapsed.detaches >= MAX_DETACHES
        return None if failed else DetachPort(port.id)
    return Wait(
        Reason.DELETING,
        f"waiting for Nova to detach port {port.id} from server {facts.server_id}",
        poll_interval(requested),
    )


def wait_foreign(port: Port, facts: Facts) -> Wait:
    return Wait(
        Reason.ATTACHED_ELSEWHERE,
        f"port {port.id} is attached to server {port.device_id}, not to the node's server "
        f"{facts.server_id}: detach it there, or delete this ENI once that server is gone",
        SLOW_POLL,
    )
