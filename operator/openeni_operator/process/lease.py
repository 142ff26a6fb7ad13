"""Decide about a Lease (coordination.k8s.io/v1): whether it is ours, free, or another's.

Clocks of nodes differ, so the times in a Lease are for people. A Lease is free when it has stayed
the same for its whole duration since we first saw it so, on our own clock; client-go does the same.
"""

from dataclasses import dataclass
from typing import Final

from openeni_crds.meta import Json

DURATION: Final = 15  # seconds without a renewal after which another process may lead


@dataclass(frozen=True)
class Lease:
    """What a Lease said at one version; `duration` is in seconds, `holder` "" if it is free."""

    version: str
    holder: str
    duration: float
    transitions: int


@dataclass(frozen=True)
class SeenLease:
    """A Lease, and since when it has been like this, on our own clock."""

    lease: Lease
    since: float


def read_lease(body: Json) -> Lease:
    """Read the API's object. What a stranger has left out or nulled counts as free."""
    spec: Json = body.get("spec") or {}
    return Lease(
        str(body["metadata"]["resourceVersion"]),
        spec.get("holderIdentity") or "",
        float(spec.get("leaseDurationSeconds") or 0),
        int(spec.get("leaseTransitions") or 0),
    )


def look(before: SeenLease | None, lease: Lease, now: float) -> SeenLease:
    """Return what has been seen after another look."""
    return before if before and before.lease == lease else SeenLease(lease, now)


def seconds_until_free(seen: SeenLease, identity: str, now: float) -> float:
    """Return how long to wait before `identity` may take it; 0 if it may now."""
    if seen.lease.holder in ("", identity):
        return 0.0
    return max(0.0, seen.since + seen.lease.duration - now)


def held_by(identity: str, before: Lease | None, at: str) -> Json:
    """Return the spec with which `identity` takes or renews the Lease. `at` is a MicroTime."""
    transitions = before.transitions if before else 0
    taken = before is not None and before.holder != identity
    spec: Json = {
        "holderIdentity": identity,
        "leaseDurationSeconds": DURATION,
        "renewTime": at,
        "leaseTransitions": transitions + taken,
    }
    return spec if before and not taken else {**spec, "acquireTime": at}
