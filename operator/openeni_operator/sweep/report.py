"""Report the ports that are left over: in the log, and as a condition of the cloud's ENIPools.

A port's tags name no pool, and its ENI, which did, is gone: each pool of the cloud reports all.
"""

import logging
import threading
from typing import Final

from openeni_crds.conditions import Condition, Reason, Type, condition
from openeni_operator.settings import OrphanMode
from openeni_operator.sweep.plan import SweepPlan, Verdict

LOG: Final = logging.getLogger(__name__)
IDS_SHOWN: Final = 16  # of ports or ENIs; a condition's message is bounded
PAGE: Final = "docs/orphans.md"
_VERDICTS: Final = {
    Verdict.ON_NODE: "attached to a node, so left alone",
    Verdict.ON_SERVER: "attached to a server that is no node, so left alone",
    Verdict.UNPROVEN: "without the name and tags of openeni's ports, so left alone",
}


class PortReports:
    """The latest condition of each cloud, for its pools. Thread-safe; a restart forgets them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._conditions: dict[str, Condition] = {}

    def get(self, cloud: str) -> Condition | None:
        """Return the condition; None before the first look."""
        with self._lock:
            return self._conditions.get(cloud)

    def put(self, cloud: str, found: Condition) -> bool:
        """Replace the condition; return True if it has changed."""
        with self._lock:
            changed = self._conditions.get(cloud) != found
            self._conditions[cloud] = found
            return changed

    def forget(self, cloud: str) -> None:
        with self._lock:
            self._conditions.pop(cloud, None)


def report(cloud: str, found: SweepPlan, owned: Condition | None) -> None:
    """Log what a look has found in the cloud."""
    if owned is not None and owned.message:
        LOG.warning("cloud %r: %s", cloud, owned.message, extra={"reason": owned.reason})
    if found.enis:
        names = _listed(found.enis, IDS_SHOWN)
        LOG.warning("cloud %r lists no port with this cluster's tag for ENI %s", cloud, names)


def ports_owned(found: SweepPlan) -> Condition | None:
    """Return the condition PortsOwned, without a time; None if that takes another look."""
    if not found.ports:
        owned = condition(Type.PORTS_OWNED, Reason.OWNED, status=True)
        return None if found.undecided else owned
    if found.too_many:
        return condition(
            Type.PORTS_OWNED,
            Reason.TOO_MANY_ORPHANS,
            f"{found.without_eni} of the {found.port_count} ports of this cluster have no ENI: so "
            "many may mean that ENIs are missing, and none is deleted; find out, then delete the "
            f"ports by hand ({PAGE}): {_by_verdict(found)}",
            status=False,
        )
    return condition(
        Type.PORTS_OWNED,
        Reason.ORPHANED_PORTS,
        f"ports of this cluster have no ENI ({PAGE}): {_by_verdict(found)}",
        status=False,
    )


def _by_verdict(found: SweepPlan) -> str:
    left, parts = IDS_SHOWN, list[str]()
    for verdict in Verdict:
        ids = found.ports.get(verdict, ())
        if ids:
            parts.append(f"{_outcome(found, verdict)}: {_listed(ids, left)}")
            left -= min(left, len(ids))
    return "; ".join(parts)


def _outcome(found: SweepPlan, verdict: Verdict) -> str:
    if verdict is not Verdict.DELETE:
        return _VERDICTS[verdict]
    if found.too_many:
        return "unused"
    if found.mode is OrphanMode.DELETE:
        return "unused, left while a pool has spec.paused" if found.paused else "being deleted"
    return "unused, would be deleted with operator.orphans=Delete"


def _listed(names: tuple[str, ...], most: int) -> str:
    rest = len(names) - most
    shown = names[: max(0, most)]
    return ", ".join([*shown, *([f"{rest} more"] if rest > 0 else [])])
