"""Find out whether the gateways of an ENI's subnets answer on its link, and report it.

Beside the looks at the kernel: an answer takes seconds, and nothing waits for it. Pods get
addresses of the ENI whatever is found: a subnet may have no router yet, and pods of one subnet need
none.

In mode l3 nobody on the node answers ARP requests for pods. Whether the network does is seen where
one of the port's addresses has no pod: a gateway that has to answer it asks for it, unless the
network answers, and then the request does not reach the node.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

from openeni_crds.conditions import Reason
from openeni_crds.eni import ENI
from openeni_crds.enipool import IPVlanMode
from openeni_kube.result import Done, RequeueAfter, Result, Retry
from openeni_nodeagent.addresses import IPV4, family_of
from openeni_nodeagent.cluster.cache import Cache
from openeni_nodeagent.cluster.facts import eni_facts
from openeni_nodeagent.datapath_api import DatapathError, ENIFacts, LinkFacts
from openeni_nodeagent.enis.eni_reconciler import ENIReconciler
from openeni_nodeagent.enis.link_status import ConditionValue
from openeni_nodeagent.gateway_api import Answer, GatewayProbe, Listener
from openeni_nodeagent.grants.grants import Grants

ASK_PERIOD_SECONDS: Final = 30.0
SILENT_PERIOD_SECONDS: Final = 10.0  # until one that did not answer is asked again
SILENT_SECONDS: Final = 5.0  # the kernel asks three times, a second apart (neigh/*/mcast_solicit)
ANSWER_SECONDS: Final = 0.2  # until the kernel is looked at for an answer: it may soon be forgotten
# And for that of a gateway that it knows, and asks three times, a second apart (ucast_solicit).
CONFIRM_SECONDS: Final = 2.0
LISTEN_SECONDS: Final = 4.0  # as long as a gateway asks
_REACHABLE: Final = ConditionValue(ok=True, reason=Reason.REACHABLE)
_Question: TypeAlias = tuple[LinkFacts, str, str, str]  # what `GatewayProbe.listen` is given


@dataclass(frozen=True)
class _Listening:
    question: _Question
    begun: float
    listener: Listener


class GatewayReconciler:
    """A work queue calls `reconcile`."""

    def __init__(
        self, enis: Cache[ENI], grants: Grants, links: ENIReconciler, probe: GatewayProbe
    ) -> None:
        self._enis = enis
        self._grants = grants
        self._links = links
        self._probe = probe
        self._unanswered: dict[str, dict[str, float]] = {}  # ENI -> gateway -> since when
        self._listening: dict[str, _Listening] = {}  # by ENI

    def reconcile(self, name: str) -> Result:
        """Ask the gateways of one ENI whose link is ready, and report what they have answered."""
        eni, status = self._enis.get(name), self._links.status_of(name)
        facts = eni_facts(eni) if eni else None
        if eni is None or facts is None or not status.link.ok or status.mac_address != facts.mac:
            self._unanswered.pop(name, None)
            self._end_listening(name)
            # The first look may find the link before the cache has the ENI.
            return RequeueAfter(CONFIRM_SECONDS) if status.link.ok else Done()
        try:
            return self._ask(eni, facts, LinkFacts(status.device, status.ifindex))
        except DatapathError as error:
            return Retry(f"the gateways of ENI {name} cannot be asked: {error}")

    def _ask(self, eni: ENI, facts: ENIFacts, link: LinkFacts) -> Result:
        gateways = {s.gateway: s.cidr for s in facts.subnets if s.gateway}
        answers = {gateway: self._probe.ask(link, gateway) for gateway in gateways}
        is_known = bool(gateways) and Answer.FIXED not in answers.values()
        value = _REACHABLE if is_known else None
        if silent := self._silent(eni.name, answers):
            cidrs = ", ".join(gateways[gateway] for gateway in silent)
            message = f"no answer from {', '.join(silent)}: pods reach nothing beyond {cidrs}"
            value = ConditionValue(ok=False, reason=Reason.GATEWAY_UNREACHABLE, message=message)
        elif Answer.NONE in answers.values():
            return RequeueAfter(ANSWER_SECONDS)
        elif Answer.OLD in answers.values():
            return RequeueAfter(CONFIRM_SECONDS)
        elif question := self._question(eni, facts, link):
            if (left := self._listen(eni.name, question)) > 0:
                return RequeueAfter(left)
            if self._listening.pop(eni.name).listener.finish():
                _, _, gateway, spare = question
                message = f"{gateway} asks the node for {spare}, and nobody answers for pods of L3"
                value = ConditionValue(ok=False, reason=Reason.ARP_UNANSWERED, message=message)
        else:
            self._end_listening(eni.name)
        self._links.report_gateways(eni.name, facts.mac, value)
        self._unanswered.pop(eni.name, None)  # nobody looks until the next time
        return RequeueAfter(SILENT_PERIOD_SECONDS if silent else ASK_PERIOD_SECONDS)

    def _silent(self, name: str, answers: Mapping[str, Answer]) -> list[str]:
        """Return the gateways that have not answered for SILENT_SECONDS.

        Each packet of a pod has the kernel begin anew to ask one that does not answer.
        """
        now, before = time.monotonic(), self._unanswered.get(name, {})
        since = {g: before.get(g, now) for g, found in answers.items() if found is Answer.NONE}
        self._unanswered[name] = since
        return [gateway for gateway, begun in since.items() if now - begun >= SILENT_SECONDS]

    def _question(self, eni: ENI, facts: ENIFacts, link: LinkFacts) -> _Question | None:
        """Return what to ask to find out whether the network answers ARP; None without an address.

        One that the node gives up may be another port's already.
        """
        port, node = eni.status.port, eni.status.node
        if facts.datapath.ipvlan_mode is not IPVlanMode.L3 or eni.metadata.deleting or not port:
            return None
        used = {address for grant in self._grants.of_eni(eni.name) for address in grant.addresses}
        used |= {*eni.spec.retiring, *port.releasing}
        used |= {answer.address for answer in node.retired} if node else set()
        spare = [a for a in port.addresses if family_of(a) == IPV4 and a not in used]
        gateway = next((s.gateway for s in facts.subnets if family_of(s.cidr) == IPV4), "")
        return (link, facts.mac, gateway, spare[-1]) if gateway and spare else None

    def _listen(self, name: str, question: _Question) -> float:
        """Ask, unless it is asked already; return the seconds until all that follows was heard."""
        now = time.monotonic()
        known = self._listening.get(name)
        if known is None or known.question != question:
            self._end_listening(name)
            listener = self._probe.listen(*question)
            known = self._listening[name] = _Listening(question, now, listener)
        return known.begun + LISTEN_SECONDS - now

    def _end_listening(self, name: str) -> None:
        if known := self._listening.pop(name, None):
            known.listener.close()
