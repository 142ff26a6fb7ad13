"""Keep sums over the ENIs of a pool: a reconcile replaces the shares of those that have changed.

Pure.
"""

from collections import Counter
from collections.abc import Callable, Collection, KeysView
from dataclasses import dataclass, field
from typing import Final

from openeni_crds.conditions import Reason, Status, Type, find, is_true
from openeni_crds.eni import ENI
from openeni_crds.status.enipool import AddressCounts
from openeni_operator.cause import Cause
from openeni_operator.eni.report import agent_report, capacity_of, held_by, uses_other_cni
from openeni_operator.enipool.capacity_status import Obstacle, eni_obstacle
from openeni_operator.enipool.port_selection import is_behind, settings_failure


@dataclass(frozen=True)
class ENIShare:
    """What one ENI adds to the sums; addresses are counted in pods."""

    total: int
    granted: int
    available: int
    cooling: int
    held: int  # of its subnets
    ready: bool
    deleting: bool
    behind: bool  # its port does not have the pool's settings yet
    unsettled: bool  # and cannot be given them
    failed: bool  # it keeps the pool from its addresses
    denied: bool  # the cloud has refused to change its addresses
    other_cni: str  # its node, if another CNI plugin is configured there


@dataclass(frozen=True)
class ENISummary:
    """The sums that a pool's status is derived from."""

    count: int = 0
    present: int = 0  # not being deleted
    ready: int = 0
    addresses: AddressCounts = field(default_factory=AddressCounts)
    behind: int = 0
    obstacle: Obstacle | None = None  # of the first ENI that has failed
    settings_failure: Cause | None = None  # of the first ENI that has one
    other_cni: Collection[str] = ()  # nodes


NO_ENIS: Final = ENISummary()
_SUMS: Final = ("total", "granted", "available", "cooling", "held", "ready", "deleting", "behind")
_NAMED: Final = ("unsettled", "failed", "denied")


def share_of(eni: ENI, now: str, *, outdated: bool) -> ENIShare:
    """Return the ENI's share; it is `outdated` if its spec lacks settings of the pool."""
    report, deleting = agent_report(eni, now), eni.metadata.deleting
    behind = not deleting and (outdated or is_behind(eni))
    sized = find(eni.status.conditions, Type.SIZED)
    return ENIShare(
        total=capacity_of(eni) if eni.status.port else 0,
        granted=report.granted,
        available=report.available,
        cooling=report.cooling,
        held=held_by(eni),
        ready=is_true(eni.status.conditions, Type.READY),
        deleting=deleting,
        behind=behind,
        unsettled=behind and settings_failure(eni) is not None,
        failed=eni_obstacle(eni) is not None,
        denied=sized is not None and (sized.status, sized.reason) == (Status.FALSE, Reason.DENIED),
        other_cni=eni.spec.node_name if uses_other_cni(eni) else "",
    )


class ENITotals:
    """Sums of shares."""

    def __init__(self) -> None:
        self._shares: dict[str, ENIShare] = {}
        self._sums: Counter[str] = Counter()
        self._names: dict[str, set[str]] = {part: set() for part in _NAMED}
        self._other_cni: Counter[str] = Counter()  # ENIs by node

    def replace(self, name: str, share: ENIShare | None) -> None:
        """Replace the share of an ENI; None: it is gone."""
        before = self._shares.pop(name, None)
        if before is not None:
            self._add(name, before, -1)
        if share is not None:
            self._shares[name] = share
            self._add(name, share, 1)

    def _add(self, name: str, share: ENIShare, sign: int) -> None:
        for part in _SUMS:
            self._sums[part] += sign * int(getattr(share, part))
        for part, names in self._names.items():
            if getattr(share, part):
                (names.add if sign > 0 else names.discard)(name)
        if share.other_cni:
            self._other_cni[share.other_cni] += sign
            if not self._other_cni[share.other_cni]:
                del self._other_cni[share.other_cni]

    @property
    def names(self) -> KeysView[str]:
        return self._shares.keys()

    @property
    def held(self) -> int:
        """Return how many addresses the ENIs take from subnets, in pods."""
        return self._sums["held"]

    @property
    def denied(self) -> bool:
        """Return True if the cloud has refused to change the addresses of an ENI."""
        return bool(self._names["denied"])

    def summary(self, eni_of: Callable[[str], ENI | None]) -> ENISummary:
        """Return the sums; `eni_of` returns an ENI by its name."""
        sums = self._sums
        failed, unsettled = (
            eni_of(min(self._names[part])) if self._names[part] else None
            for part in ("failed", "unsettled")
        )
        return ENISummary(
            count=len(self._shares),
            present=len(self._shares) - sums["deleting"],
            ready=sums["ready"],
            addresses=AddressCounts(
                sums["total"], sums["granted"], sums["available"], sums["cooling"]
            ),
            behind=sums["behind"],
            obstacle=eni_obstacle(failed) if failed else None,
            settings_failure=settings_failure(unsettled) if unsettled else None,
            other_cni=self._other_cni.keys(),
        )
