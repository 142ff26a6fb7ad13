"""Turn what a look at the node has found of ENIs into the status of their links."""

import logging
import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Final

from openeni_crds.conditions import Reason
from openeni_nodeagent.datapath_api import (
    DatapathError,
    LinkFacts,
    ModeUnsupportedError,
    NICMissingError,
    NoCarrierError,
    NodeReport,
    PodInterface,
)
from openeni_nodeagent.enis.eni_reconciler import ENIReconciler
from openeni_nodeagent.enis.link_status import ConditionValue
from openeni_nodeagent.enis.wanted_enis import ENIChoice
from openeni_nodeagent.grants.grant import Attachment, Grant

CARRIER_LOST_SECONDS: Final = 3.0  # after that a NIC without a carrier is reported
NIC_MISSING_SECONDS: Final = 60.0  # after that a NIC counts as missing
_MISSING: Final = 0  # the index of no NIC
_log: Final = logging.getLogger(__name__)


class LinkReports:
    """One thread calls `announce` and `moved` in each look at the kernel, `take_over` after it."""

    def __init__(self, enis: ENIReconciler) -> None:
        self._enis = enis
        self._indexes: dict[str, int] = {}  # of NICs, by ENI, when last seen
        self._nics: dict[Attachment, int] = {}  # and by pod
        self._missing_since: dict[str, float] = {}  # MAC -> when its NIC was first not found
        self._carrier_lost_since: dict[str, float] = {}  # by ENI

    def announce(self, choice: ENIChoice) -> None:
        """Report which ENIs a look leaves, before it does."""
        for eni in choice.departing:
            self._enis.report_departing(eni)

    def without_brief_losses(self, report: NodeReport) -> NodeReport:
        """Return the report without NICs that may have their carrier again in a moment.

        Of these nothing is reported: what was said of them before stays.
        """
        now = time.monotonic()
        lost = {n for n, error in report.errors.items() if isinstance(error, NoCarrierError)}
        self._carrier_lost_since = {n: self._carrier_lost_since.get(n, now) for n in lost}
        brief = {n for n in lost if now - self._carrier_lost_since[n] < CARRIER_LOST_SECONDS}
        errors = {name: error for name, error in report.errors.items() if name not in brief}
        return replace(report, errors=errors)

    def take_over(self, report: NodeReport, choice: ENIChoice, grants: Iterable[Grant]) -> None:
        """Report the links. Pods of `grants` that are new may stand on the NICs of before."""
        self._remember(grants)
        for eni in choice.served:
            if link := report.links.get(eni.name):
                self._missing_since.pop(eni.mac, None)
                value = ConditionValue(ok=True, reason=Reason.LINK_UP)
                self._enis.report_link(eni, value, link)
            elif error := report.errors.get(eni.name):
                self._enis.report_link(eni, self._failure(eni.mac, error))
        for eni in choice.departing:
            if eni.name in report.departed:
                self._indexes.pop(eni.name, None)
                self._missing_since.pop(eni.mac, None)
                self._enis.report_left(eni, is_plugged=report.departed[eni.name])
            elif error := report.errors.get(eni.name):
                _log.warning("ENI %s cannot be taken down: %s", eni.name, error)
        self._indexes |= {name: link.ifindex for name, link in report.links.items()}

    def moved(
        self, nics: Mapping[str, int], pods: Mapping[PodInterface, Grant], grants: Iterable[Grant]
    ) -> set[Attachment]:
        """Return the pods with another NIC than before: plugged in again, or another port's.

        `nics` are the indexes that a look has found, by MAC. A pod that no look has seen yet was
        built on the NIC that its ENI had. Of `grants` without a pod in this look what was known
        stays. A NIC that was missing comes back as another one, whatever its index.
        """
        self._remember(grants)
        found = {grant.attachment: nics.get(pod.eni.mac, _MISSING) for pod, grant in pods.items()}
        before = {its: self._nics.get(its, index) for its, index in found.items()}
        self._nics |= {its: index for its, index in found.items() if index or its in self._nics}
        return {its for its, index in found.items() if index not in {_MISSING, before[its]}}

    def waits(self) -> bool:
        """Return True if a NIC may soon be reported to be missing, or to have no carrier."""
        now = time.monotonic()
        return any(
            now - since < seconds
            for times, seconds in (
                (self._missing_since, NIC_MISSING_SECONDS),
                (self._carrier_lost_since, CARRIER_LOST_SECONDS),
            )
            for since in times.values()
        )

    def _remember(self, grants: Iterable[Grant]) -> None:
        known = {
            g.attachment: self._nics.get(g.attachment, self._indexes.get(g.eni)) for g in grants
        }
        self._nics = {its: index for its, index in known.items() if index is not None}

    def _failure(self, mac: str, error: DatapathError) -> ConditionValue:
        reason = Reason.KERNEL_REFUSED
        if isinstance(error, NoCarrierError):
            reason = Reason.NO_CARRIER
        if isinstance(error, ModeUnsupportedError):
            reason = Reason.MODE_UNSUPPORTED
        if isinstance(error, NICMissingError):
            since = self._missing_since.setdefault(mac, time.monotonic())
            missing = time.monotonic() - since >= NIC_MISSING_SECONDS
            reason = Reason.NIC_MISSING if missing else Reason.WAITING_FOR_NIC
        else:
            self._missing_since.pop(mac, None)
        return ConditionValue(ok=False, reason=reason, message=str(error))


def moved_since(
    nics: Mapping[str, int], links: Mapping[str, LinkFacts], pods: Mapping[PodInterface, Grant]
) -> set[Attachment]:
    """Return the pods whose NIC has come, or come again, while a look lasted.

    It began with `nics`, indexes by MAC, and ended with `links`, by ENI. Pure.
    """
    return {
        grant.attachment
        for pod, grant in pods.items()
        if (link := links.get(pod.eni.name)) and link.ifindex != nics.get(pod.eni.mac)
    }
