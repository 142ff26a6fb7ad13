"""Reconcile the link of an ENI on this node with the ENI's object. Level-based, one ENI at a time.

Every reconcile starts from the object as it is now; this process remembers only what it has done
itself. First it keeps the node's own network programs off the NIC, as soon as the MAC is known. It
configures the link once the operator reports the attachment, and tears it down when the ENI is
being deleted and no pod is left on it.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from openeni_crds.conditions import Reason
from openeni_crds.eni import ENI
from openeni_kube.result import Done, RequeueAfter, Result, Retry, requeue
from openeni_nodeagent.cluster.cache import Cache
from openeni_nodeagent.cluster.facts import eni_facts, eni_view, is_attached
from openeni_nodeagent.datapath_api import (
    DatapathError,
    ENIFacts,
    LinkFacts,
    ModeUnsupportedError,
    NICMissingError,
    NodeDatapath,
    NodeFacts,
)
from openeni_nodeagent.enis.link_status import ConditionValue, LinkStatus
from openeni_nodeagent.enis.nic_guards import GuardError, NICGuards
from openeni_nodeagent.grants.grants import Grants
from openeni_nodeagent.grants.journal import JournalError

HOT_PLUG_SECONDS: Final = 10.0  # a NIC usually appears this soon after its attachment
NIC_POLL_SECONDS: Final = 0.25
SLOW_NIC_POLL_SECONDS: Final = 2.0
NIC_MISSING_SECONDS: Final = 60.0  # after that it counts as missing
_log: Final = logging.getLogger(__name__)


@dataclass(frozen=True)
class ConfiguredLink:
    """The last call of `configure_eni` for an ENI, and its result."""

    facts: ENIFacts
    node: NodeFacts
    link: LinkFacts


class LinkReconciler:
    """A work queue calls `reconcile`; any thread may call the rest."""

    def __init__(
        self,
        enis: Cache[ENI],
        grants: Grants,
        datapath: NodeDatapath,
        guards: NICGuards,
        *,
        node: Callable[[], NodeFacts | None],
        on_change: Callable[[str], None],
    ) -> None:
        """`on_change(name)` is called whenever an ENI's link status may have changed."""
        self._enis = enis
        self._grants = grants
        self._datapath = datapath
        self._guards = guards
        self._node = node
        self._on_change = on_change
        self._configured: dict[str, ConfiguredLink] = {}
        self._statuses: dict[str, LinkStatus] = {}
        self._missing_since: dict[str, float] = {}  # ENI -> when its NIC was first not found

    def is_link_ready(self, name: str) -> bool:
        return name in self._configured

    def status_of(self, name: str) -> LinkStatus:
        return self._statuses.get(name, LinkStatus())

    def restore(self, node: NodeFacts) -> None:
        """Configure the ENIs of the journal, so that DEL and CHECK need no API server.

        Idempotent in the kernel: no packet is lost. What fails is left to `reconcile`.
        """
        for facts in self._grants.known_enis():
            try:
                self._configure(facts, node)
            except DatapathError as error:
                _log.warning(
                    "ENI %s cannot be configured yet, will be retried: %s", facts.name, error
                )

    def reconcile(self, name: str) -> Result:
        """Bring one ENI's guards, link and ledger entry up to date."""
        try:
            return self._reconcile(name)
        except JournalError as error:
            return Retry(f"ENI {name}: {error}")

    def _reconcile(self, name: str) -> Result:
        eni = self._enis.get(name)
        facts = eni_facts(eni) if eni is not None else None
        if eni is None:
            self._forget(name)
            return Done()
        if facts is None:
            return Done()
        self._set_status(name, self._guard(facts, self.status_of(name)))
        if eni.metadata.deleting:
            return self._teardown(eni, facts)
        again, status = self._configure_link(eni, facts, self.status_of(name))
        self._grants.observe(eni_view(eni, link_ready=status.link.ok is True), facts)
        self._set_status(name, status)
        if status.guest.ok is not True:
            return Retry(status.guest.message)
        return requeue(again)

    def _guard(self, facts: ENIFacts, status: LinkStatus) -> LinkStatus:
        try:
            self._guards.prepare(facts.mac)
        except GuardError as error:
            return replace(
                status,
                guest=ConditionValue(
                    ok=False, reason=Reason.GUEST_NOT_PREPARED, message=str(error)
                ),
            )
        return replace(status, guest=ConditionValue(ok=True, reason=Reason.PREPARED))

    def _configure_link(
        self, eni: ENI, facts: ENIFacts, status: LinkStatus
    ) -> tuple[float | None, LinkStatus]:
        node = self._node()
        if not is_attached(eni):
            self._missing_since.pop(facts.name, None)
            self._configured.pop(facts.name, None)
            value = ConditionValue(ok=False, reason=Reason.WAITING_FOR_ATTACH)
            return None, LinkStatus(status.guest, value)
        if node is None:
            return NIC_POLL_SECONDS, status
        try:
            link = self._configure(facts, node)
        except NICMissingError as error:
            return self._nic_missing(facts.name, str(error), status)
        except ModeUnsupportedError as error:
            self._configured.pop(facts.name, None)
            value = ConditionValue(ok=False, reason=Reason.MODE_UNSUPPORTED, message=str(error))
            return None, LinkStatus(status.guest, value)
        except DatapathError as error:
            self._configured.pop(facts.name, None)
            value = ConditionValue(ok=False, reason=Reason.KERNEL_REFUSED, message=str(error))
            return SLOW_NIC_POLL_SECONDS, LinkStatus(status.guest, value)
        self._missing_since.pop(facts.name, None)
        value = ConditionValue(ok=True, reason=Reason.LINK_UP)
        return None, LinkStatus(status.guest, value, link.device, link.ifindex)

    def _configure(self, facts: ENIFacts, node: NodeFacts) -> LinkFacts:
        before = self._configured.get(facts.name)
        if before is not None and (before.facts, before.node) == (facts, node):
            return before.link
        link = self._datapath.configure_eni(facts, node)
        self._configured[facts.name] = ConfiguredLink(facts, node, link)
        return link

    def _nic_missing(self, name: str, text: str, status: LinkStatus) -> tuple[float, LinkStatus]:
        since = self._missing_since.setdefault(name, time.monotonic())
        waited = time.monotonic() - since
        self._configured.pop(name, None)
        reason = Reason.WAITING_FOR_NIC if waited < NIC_MISSING_SECONDS else Reason.NIC_MISSING
        value = ConditionValue(ok=False, reason=reason, message=text)
        again = NIC_POLL_SECONDS if waited < HOT_PLUG_SECONDS else SLOW_NIC_POLL_SECONDS
        return again, LinkStatus(status.guest, value)

    def _teardown(self, eni: ENI, facts: ENIFacts) -> Result:
        name = eni.name
        self._grants.observe(eni_view(eni, link_ready=False), facts)
        status = self.status_of(name)
        if status.link.reason == Reason.DELETING:
            return Done()
        if self._grants.of_eni(name):
            self._set_status(name, status)
            return RequeueAfter(SLOW_NIC_POLL_SECONDS)
        try:
            self._datapath.teardown_eni(facts)
        except DatapathError as error:
            return Retry(f"ENI {name} cannot be torn down: {error}")
        self._configured.pop(name, None)
        value = ConditionValue(ok=False, reason=Reason.DELETING)
        self._set_status(name, LinkStatus(status.guest, value))
        return Done()

    def _forget(self, name: str) -> None:
        facts = self._grants.facts(name)
        self._grants.forget(name)
        for known in (self._statuses, self._missing_since):
            known.pop(name, None)
        if facts is None or self._grants.of_eni(name):
            return
        self._configured.pop(name, None)
        try:
            self._guards.forget(facts.mac)
        except GuardError as error:
            _log.warning("guards of ENI %s are left: %s", name, error)

    def _set_status(self, name: str, status: LinkStatus) -> None:
        self._statuses[name] = status
        self._on_change(name)
