"""How long the steps of an ENI's lifecycle may take, and how often to look at them."""

from typing import Final

# All in seconds.
CREATE_SETTLE_TIME: Final = 30.0  # a requested port may show up this late
RESIZE_SETTLE_TIME: Final = 30.0  # a requested change of addresses may be done this late
RESIZE_PAUSE: Final = 30.0  # after a refusal, doubled by each in a row up to
MAX_RESIZE_PAUSE: Final = 300.0
YIELD_TIME: Final = 30.0  # for which requests wait for addresses on their way to other ENIs
ATTACH_TIMEOUT: Final = 60.0  # Nova's RPC timeout: until then an attach may still succeed
DETACH_TIMEOUT: Final = 200.0  # libvirt makes 8 attempts of 20 s to remove a NIC from a guest
MAX_DETACHES: Final = 3  # requests without effect, then the port is deleted where it is
CONFIRM_INTERVAL: Final = 60.0  # between two observations that must agree that a port is gone
MASS_LOSS_TIME: Final = 600.0  # until many ports that vanish together are believed to be gone
MAX_UNSHOWN_TIME: Final = 86400.0  # the same for a port that was created and never shown
MAX_ATTACH_PAUSE: Final = 3600.0  # between two attempts to attach to a server without a free slot
ACTIVE_TIMEOUT: Final = 120.0  # a port that is not ACTIVE by then needs attention
MAX_REATTACH_PAUSE: Final = 3600.0  # between two attempts to have it ACTIVE by another attach
POLL: Final = 2.0
SLOW_POLL: Final = 30.0  # where a watch event is expected; in case it is lost
POLL_SHARE: Final = 1 / 4  # of the time waited so far: what takes long is looked at less often


def attach_pause(refusals: int) -> float:
    """Return the seconds until the next attempt; a server without a slot rarely gets one."""
    return min(MAX_ATTACH_PAUSE, ATTACH_TIMEOUT * 2.0 ** max(0, min(refusals - 1, 30)))


def reattach_pause(reattachments: int) -> float:
    """Return for how long a port stays attached and not ACTIVE until it is attached anew."""
    return min(MAX_REATTACH_PAUSE, ACTIVE_TIMEOUT * 2.0 ** min(reattachments, 30))


def unshown_time(created: int) -> float:
    """Return for how long the last of the ports that Neutron created is not believed to be gone.

    `created` counts those that it has not shown: its reads are wrong, and one more hides as well.
    """
    return min(MAX_UNSHOWN_TIME, MASS_LOSS_TIME * 2.0 ** max(0, min(created - 1, 30)))


def resize_pause(refusals: int) -> float:
    """Return the seconds until addresses that were refused are asked for again."""
    return min(MAX_RESIZE_PAUSE, RESIZE_PAUSE * 2.0 ** max(0, min(refusals - 1, 30)))


def poll_interval(waited: float) -> float:
    """Return the seconds until the next look at what has been waited for so long."""
    return min(SLOW_POLL, max(POLL, waited * POLL_SHARE))
