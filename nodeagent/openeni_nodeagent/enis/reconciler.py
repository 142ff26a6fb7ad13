"""From an ENI's object to a NIC that carries pods, and back: level-based, one ENI at a time.

Every look starts from the object as it is now; what this process remembers is only what it has
done itself. Order: guard against the node's own network programs as soon as the MAC is known,
prepare the link once the operator says that it is attached, let it go when the ENI is being
deleted and no pod is left on it.
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
from openeni_nodeagent.cluster.facts import attached, eni_facts, eni_view
from openeni_nodeagent.datapath_api import (
    DatapathError,
    EniFacts,
    LinkFacts,
    ModeUnsupportedError,
    NicMissingError,
    NodeDatapath,
    NodeFacts,
)
from openeni_nodeagent.enis.link_status import ConditionValue, LinkStatus
from openeni_nodeagent.enis.nic_guards import GuardError, NicGuards
from openeni_nodeagent.grants.grants import Grants

SOON_SECONDS: Final = 10.0  # a NIC appears seconds after its attachment: look often that long
LOOK_SECONDS: Final = 0.25
LATER_SECONDS: Final = 2.0
NIC_SECONDS: Final = 60.0  # then it is missing, not awaited
_log: Final = logging.getLogger(__name__)


@dataclass(frozen=True)
class Prepared:
    """What prepare_eni was last called with, and what it found."""

    facts: EniFacts
    node: NodeFacts
    link: LinkFacts


class EniReconciler:
    """`reconcile` is a work queue's; the rest may be asked by any thread."""

    def __init__(
        self,
        enis: Cache[ENI],
        grants: Grants,
        datapath: NodeDatapath,
        guest: NicGuards,
        *,
        node: Callable[[], NodeFacts | None],
        told: Callable[[str], None],
    ) -> None:
        """`told(name)` hears of every look that may have changed what is said of an ENI."""
        self._enis = enis
        self._grants = grants
        self._datapath = datapath
        self._guest = guest
        self._node = node
        self._told = told
        self._prepared: dict[str, Prepared] = {}
        self._sides: dict[str, LinkStatus] = {}
        self._awaited: dict[str, float] = {}  # since when a NIC has been looked for

    def is_prepared(self, name: str) -> bool:
        return name in self._prepared

    def side(self, name: str) -> LinkStatus:
        return self._sides.get(name, LinkStatus())

    def restore(self, node: NodeFacts) -> None:
        """Prepare again what an earlier process had granted from, before anything is served.

        So a DEL or CHECK needs no API server. Idempotent in the kernel: no packet is lost. What
        fails is left to `reconcile`.
        """
        for facts in self._grants.known_enis():
            try:
                self._prepare(facts, node)
            except DatapathError as error:
                _log.warning("ENI %s is not prepared again yet: %s", facts.name, error)

    def reconcile(self, name: str) -> Result:
        """Look at one ENI."""
        eni = self._enis.get(name)
        facts = eni_facts(eni) if eni is not None else None
        if eni is None:
            self._gone(name)
            return Done()
        if facts is None:
            return Done()
        self._say(name, self._guard(facts, self.side(name)))
        if eni.metadata.deleting:
            return self._let_go(eni, facts)
        again, side = self._link(eni, facts, self.side(name))
        self._grants.observe(eni_view(eni, link_ready=side.link.ok is True), facts)
        self._say(name, side)
        if side.guest.ok is not True:
            return Retry(side.guest.message)
        return requeue(again)

    def _guard(self, facts: EniFacts, side: LinkStatus) -> LinkStatus:
        try:
            self._guest.prepare(facts.mac)
        except GuardError as error:
            return replace(
                side,
                guest=ConditionValue(
                    ok=False, reason=Reason.GUEST_NOT_PREPARED, message=str(error)
                ),
            )
        return replace(side, guest=ConditionValue(ok=True, reason=Reason.PREPARED))

    def _link(self, eni: ENI, facts: EniFacts, side: LinkStatus) -> tuple[float | None, LinkStatus]:
        node = self._node()
        if not attached(eni):
            self._awaited.pop(facts.name, None)
            self._prepared.pop(facts.name, None)
            said = ConditionValue(ok=False, reason=Reason.WAITING_FOR_ATTACH)
            return None, LinkStatus(side.guest, said)
        if node is None:
            return LOOK_SECONDS, side
        try:
            link = self._prepare(facts, node)
        except NicMissingError as error:
            return self._missing(facts.name, str(error), side)
        except ModeUnsupportedError as error:
            self._prepared.pop(facts.name, None)
            said = ConditionValue(ok=False, reason=Reason.MODE_UNSUPPORTED, message=str(error))
            return None, LinkStatus(side.guest, said)
        except DatapathError as error:
            self._prepared.pop(facts.name, None)
            said = ConditionValue(ok=False, reason=Reason.KERNEL_REFUSED, message=str(error))
            return LATER_SECONDS, LinkStatus(side.guest, said)
        self._awaited.pop(facts.name, None)
        said = ConditionValue(ok=True, reason=Reason.LINK_UP)
        return None, LinkStatus(side.guest, said, link.device, link.ifindex)

    def _prepare(self, facts: EniFacts, node: NodeFacts) -> LinkFacts:
        before = self._prepared.get(facts.name)
        if before is not None and (before.facts, before.node) == (facts, node):
            return before.link
        link = self._datapath.prepare_eni(facts, node)
        self._prepared[facts.name] = Prepared(facts, node, link)
        return link

    def _missing(self, name: str, text: str, side: LinkStatus) -> tuple[float, LinkStatus]:
        since = self._awaited.setdefault(name, time.monotonic())
        waited = time.monotonic() - since
        self._prepared.pop(name, None)
        reason = Reason.WAITING_FOR_NIC if waited < NIC_SECONDS else Reason.NIC_MISSING
        said = ConditionValue(ok=False, reason=reason, message=text)
        return LOOK_SECONDS if waited < SOON_SECONDS else LATER_SECONDS, LinkStatus(
            side.guest, said
        )

    def _let_go(self, eni: ENI, facts: EniFacts) -> Result:
        name = eni.name
        self._grants.observe(eni_view(eni, link_ready=False), facts)
        side = self.side(name)
        if side.link.reason == Reason.DELETING:
            return Done()
        if self._grants.of_eni(name):
            self._say(name, side)
            return RequeueAfter(LATER_SECONDS)
        try:
            self._datapath.release_eni(facts)
        except DatapathError as error:
            return Retry(f"ENI {name} cannot be released: {error}")
        self._prepared.pop(name, None)
        self._say(name, LinkStatus(side.guest, ConditionValue(ok=False, reason=Reason.DELETING)))
        return Done()

    def _gone(self, name: str) -> None:
        facts = self._grants.facts(name)
        self._grants.forget(name)
        for memory in (self._sides, self._awaited):
            memory.pop(name, None)
        if facts is None or self._grants.of_eni(name):
            return
        self._prepared.pop(name, None)
        try:
            self._guest.forget(facts.mac)
        except GuardError as error:
            _log.warning("%s", error)

    def _say(self, name: str, side: LinkStatus) -> None:
        self._sides[name] = side
        self._told(name)
