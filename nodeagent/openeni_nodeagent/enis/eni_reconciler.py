"""Reconcile what an ENI needs on this node besides the kernel: guards, and its place in the ledger.

Level-based, one ENI at a time: every reconcile starts from the object as it is now. The node's own
network programs are kept off the NIC as soon as the MAC is known, before it is attached. A reload
of such a program may take long, so one thread does that for all ENIs. The kernel is
`datapath_reconciler`'s, which tells this one what it has found.
"""

import logging
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Final, TypeAlias

from openeni_crds.conditions import Reason
from openeni_crds.eni import ENI
from openeni_kube.result import Done, RequeueAfter, Result, Retry
from openeni_nodeagent.cluster.cache import Cache
from openeni_nodeagent.cluster.facts import eni_facts, eni_view, is_attached
from openeni_nodeagent.datapath_api import ENIFacts, LinkFacts
from openeni_nodeagent.enis.link_status import ConditionValue, LinkStatus, without_port
from openeni_nodeagent.enis.nic_guards import GuardError, NICGuards
from openeni_nodeagent.grants.grants import Grants
from openeni_nodeagent.grants.journal import JournalError

GUARD_PERIOD_SECONDS: Final = 30.0  # the guards are looked at again
_NO_LINK: Final = LinkFacts("", 0)
# What the datapath sees of an ENI's object: facts, attached, being deleted; None if it is gone
_Seen: TypeAlias = tuple[ENIFacts, bool, bool] | None
_log: Final = logging.getLogger(__name__)


class ENIReconciler:
    """One work queue calls `reconcile`, one `reload_guards`; any thread may call the rest."""

    def __init__(
        self,
        enis: Cache[ENI],
        grants: Grants,
        guards: NICGuards,
        *,
        on_status: Callable[[str], None],
        on_link: Callable[[str], None],
        on_object: Callable[[], None],
    ) -> None:
        """`on_status(name)` is called when an ENI's status may have changed.

        `on_link(name)` is called when the ENI is to be reconciled: its link's has changed, which
        the ledger must see, or its guards have been read. `on_object` is called once the ledger has
        seen a change that the datapath has to see, too.
        """
        self._enis = enis
        self._grants = grants
        self._guards = guards
        self._on_status = on_status
        self._on_link = on_link
        self._on_object = on_object
        self._lock = threading.Lock()
        self._statuses: dict[str, LinkStatus] = {}
        self._seen: dict[str, _Seen] = {}
        self._gone: set[str] = set()  # ENIs without an object whose NICs are not there, either

    def is_link_ready(self, name: str) -> bool:
        """Return True if the last look at the kernel found the ENI as planned."""
        return self.status_of(name).link.ok is True

    def status_of(self, name: str) -> LinkStatus:
        return self._statuses.get(name, LinkStatus())

    def report_link(
        self, facts: ENIFacts, value: ConditionValue, link: LinkFacts = _NO_LINK
    ) -> None:
        """Take over what the last look found of an ENI, unless it has another port now, or none."""

        def found(before: LinkStatus) -> LinkStatus:
            has_no_port = before.link.reason is Reason.WAITING_FOR_PORT
            is_anothers = before.mac_address not in {"", facts.mac}
            if is_anothers or (has_no_port and self._enis.get(facts.name)):
                return before
            known = replace(before, mac_address=facts.mac)
            return known.with_link(value, link.device, link.ifindex)

        if self._change(facts.name, found):
            self._on_link(facts.name)

    def report_gateways(self, name: str, mac: str, value: ConditionValue | None) -> None:
        """Take over what the gateways of an ENI have answered, while its link is ready."""

        def found(before: LinkStatus) -> LinkStatus:
            is_ready = before.mac_address == mac and before.link.ok
            return replace(before, gateways=value) if is_ready else before

        self._change(name, found)

    def report_departing(self, facts: ENIFacts) -> None:
        """Take over that a look is about to leave an ENI: no ADD uses it until a look serves it."""
        eni = self._enis.get(facts.name)
        if eni is not None and not eni.metadata.deleting:
            self.report_link(facts, waiting_for_attach(eni))

    def report_left(self, facts: ENIFacts, *, is_plugged: bool) -> None:
        """Take over that nothing of an ENI is left in the kernel, if it is being deleted.

        One without an object, or a former port, is left only when its NIC is gone, too: until then
        that is kept down, and the node's own network programs off it.
        """
        eni = self._enis.get(facts.name)
        if eni is not None and eni.metadata.deleting:
            message = f"the node has given up port {_port_id(eni)}: the ENI is being deleted"
            value = ConditionValue(ok=False, reason=Reason.DELETING, message=message)
            self.report_link(facts, value)
        elif eni is None and not is_plugged and facts.name not in self._gone:
            self._gone.add(facts.name)
            self._on_link(facts.name)

    def sweep_guards(self) -> None:
        """Remove the guards of former ENIs, once the cache shows all of this node's."""
        try:
            self._guards.sweep(self._macs)
        except GuardError as error:
            _log.warning("guards of former ENIs are left: %s", error)

    def reload_guards(self, _: str) -> Result:
        """Have the node's programs read the guards that have changed; ENIs then show the result."""
        result: Result = Done()
        try:
            if not self._guards.reload():
                return result
        except GuardError as error:
            result = Retry(str(error))
        for eni in self._enis.all():
            self._on_link(eni.name)
        return result

    def reconcile(self, name: str) -> Result:
        """Bring one ENI's guards and ledger entry up to date."""
        try:
            return self._reconcile(name)
        except JournalError as error:
            return Retry(f"ENI {name}: {error}")

    def _reconcile(self, name: str) -> Result:
        eni = self._enis.get(name)
        if eni is None:
            return self._forget(name)
        self._gone.discard(name)
        facts = eni_facts(eni)
        if facts is None:
            self._grants.withdraw(name)
            self._note(name, None)
            self._change(name, lambda _: without_port())
            return Done()
        known = self._statuses.get(name)
        replaced = known is not None and known.mac_address != facts.mac
        self._change(name, lambda s: s if s.mac_address == facts.mac else LinkStatus(facts.mac))
        ready = self.is_link_ready(name) and not eni.metadata.deleting
        self._grants.observe(eni_view(eni, link_ready=ready), facts)
        self._note(name, (facts, is_attached(eni), eni.metadata.deleting))
        guest = self._guard(facts) or self.status_of(name).guest
        if replaced:
            self.sweep_guards()
        self._change(name, lambda status: replace(status, guest=guest))
        if not (is_attached(eni) or eni.metadata.deleting or self._grants.is_in_use(facts)):
            self._change(name, lambda status: status.with_link(waiting_for_attach(eni)))
        self._on_status(name)  # it may have been written before the ledger has seen this object
        return Retry(guest.message) if guest.ok is False else RequeueAfter(GUARD_PERIOD_SECONDS)

    def _guard(self, facts: ENIFacts) -> ConditionValue | None:
        """Write an ENI's guards; return None while a program is still to read some."""
        try:
            is_read = self._guards.prepare(facts.mac)
        except GuardError as error:
            return ConditionValue(ok=False, reason=Reason.GUEST_NOT_PREPARED, message=str(error))
        return ConditionValue(ok=True, reason=Reason.PREPARED) if is_read else None

    def _forget(self, name: str) -> Result:
        """Forget an ENI without an object, or a former port, once nothing of it is left.

        As long as a pod uses it, it is served, and then its NIC is kept down while it is there: for
        both its facts are needed.
        """
        self._grants.withdraw(name)
        self._note(name, None)
        is_known = any(facts.name == name for facts in self._grants.known_enis())
        if is_known and name not in self._gone:
            return Done()
        self._grants.forget(name)
        self._gone.discard(name)
        with self._lock:
            self._statuses.pop(name, None)
        self._seen.pop(name, None)
        self.sweep_guards()
        return Done()

    def _macs(self) -> set[str]:
        """Return the MACs of this node's ENIs, those that are left to be torn down among them."""
        ports = (eni.status.port for eni in self._enis.all())
        known = {facts.mac for facts in self._grants.known_enis()}
        return known | {port.mac_address for port in ports if port}

    def _note(self, name: str, seen: _Seen) -> None:
        if self._seen.get(name) != seen:
            self._seen[name] = seen
            self._on_object()

    def _change(self, name: str, change: Callable[[LinkStatus], LinkStatus]) -> bool:
        """Change the status of one ENI from what it is now; return True if its link has changed."""
        with self._lock:
            known = self._statuses.get(name)
            before = known or LinkStatus()
            status = self._statuses[name] = change(before)
        if status != known:
            self._on_status(name)
        return status.link != before.link


def waiting_for_attach(eni: ENI) -> ConditionValue:
    """Return the state of the link of an ENI that is not attached by its conditions."""
    message = f"waiting for port {_port_id(eni)} to be attached: see the condition Attached"
    return ConditionValue(ok=False, reason=Reason.WAITING_FOR_ATTACH, message=message)


def _port_id(eni: ENI) -> str:
    return eni.status.port.id if eni.status.port else ""
