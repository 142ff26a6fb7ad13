"""Compute how long an ENI has made no progress towards Ready, and whether it is stuck. Pure.

All of it follows from the ENI's conditions, so that a restart changes nothing.
"""

from typing import Final

from openeni_crds.conditions import Reason, Status, Type, find, is_true
from openeni_crds.eni import ENI
from openeni_crds.meta import parse_time

STUCK_SECONDS: Final = 600.0  # longer than any step of an ENI that becomes Ready takes
# Conditions whose status changes with each step. A reason that alternates changes no transition
# time.
STEPS: Final = frozenset(
    {Type.PORT_READY, Type.GUEST_PREPARED, Type.ATTACHED, Type.LINK_READY, Type.READY}
)
# Reasons that lie in one port or its NIC. Whatever else keeps an ENI from being Ready lies in the
# cloud, the project, the server or the node, and another ENI would meet it too.
OWN_REASONS: Final = frozenset(
    {
        Reason.CONFLICT,
        Reason.PORT_DISABLED,
        Reason.NIC_MISSING,
        Reason.NO_CARRIER,
        Reason.KERNEL_REFUSED,
    }
)


def stalled_seconds(eni: ENI, now: str) -> float:
    """Return the seconds since a step of the ENI was done or undone; 0 while it is Ready.

    `now` is RFC 3339 in UTC with whole seconds. Times of a node whose clock is ahead are left out:
    the operator's own tell enough.
    """
    conditions = eni.status.conditions
    if is_true(conditions, Type.READY):
        return 0.0
    latest = parse_time(now)
    texts = [c.last_transition_time for c in conditions if c.type in STEPS]
    try:
        times = [parse_time(text) for text in (eni.metadata.creation_timestamp, *texts)]
    except ValueError:
        return 0.0
    return (latest - max((t for t in times if t <= latest), default=latest)).total_seconds()


def is_stuck(eni: ENI, stalled: float) -> bool:
    """Return True if the ENI, stalled for so many seconds, has a fault of its own."""
    found = find(eni.status.conditions, Type.READY)
    return (
        stalled >= STUCK_SECONDS
        and found is not None
        and found.status == Status.FALSE
        and found.reason in OWN_REASONS
    )
