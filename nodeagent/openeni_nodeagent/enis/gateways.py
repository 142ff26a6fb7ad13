"""Find out whether the gateways of an ENI's subnets answer on its link, and report it.

Beside the looks at the kernel: an answer takes seconds, and nothing waits for it. Pods get
addresses of the ENI whatever is found: a subnet may have no router yet, and pods of one subnet need
none.

In mode l3 nobody on the node answers ARP requests for pods. Whether the network does is seen where
one of the port's addresses has no pod: a gateway that has to answer it asks for it, unless the
network answers, and then the request does not reach the node.
"""

import time
from collections.abc import Iterable, Mapping
from typing import Final

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
from openeni_nodeagent.gateway_api import Answer, GatewayProbe
from openeni_nodeagent.grants.grants import Grants

ASK_PERIOD_SECONDS: Final = 30.0
ANSWER_SECONDS: Final = 2.0  # until the kernel is looked at again for an answer
SILENT_SECONDS: Final = 5.0  # the kernel asks three times, a second apart (neigh/*/mcast_solicit)
# A gateway that knows the address of a former pod asks that one's NIC alone, five seconds later
# (neigh/*/delay_first_probe_time).
LISTEN_SECONDS: Final = 8.0
_REACHABLE: Final = ConditionValue(ok=True, reason=Reason.REACHABLE)


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

    def reconcile(self, name: str) -> Result:
        """Ask the gateways of one ENI whose link is ready, and report what they have answered."""
        eni, status = self._enis.get(name), self._links.status_of(name)
        facts = eni_facts(eni) if eni else None
        if facts is None or not status.link.ok or status.mac_address != facts.mac:
            self._unanswered.pop(name, None)
            return Done()  # it is asked for again once the link is ready
        try:
            return self._ask(facts, LinkFacts(status.device, status.ifindex))
        except DatapathError as error:
            return Retry(f"the gateways of ENI {name} cannot be asked: {error}")

    def _ask(self, facts: ENIFacts, link: LinkFacts) -> Result:
        gateways = {s.gateway: s.cidr for s in facts.subnets if s.gateway}
        answers = {gateway: self._probe.ask(link, gateway) for gateway in gateways}
        value = _REACHABLE if gateways else None
        if silent := self._silent(facts.name, answers):
            cidrs = ", ".join(gateways[gateway] for gateway in silent)
            message = f"no answer from {', '.join(silent)}: pods reach nothing beyond {cidrs}"
            value = ConditionValue(ok=False, reason=Reason.GATEWAY_UNREACHABLE, message=message)
        elif any(answer is not Answer.FRESH for answer in answers.values()):
            return RequeueAfter(ANSWER_SECONDS)
        elif spare := self._spare(facts, gateways):
            asked = self._probe.is_asked_for(link, facts.mac, *spare)
            if asked is None:
                return RequeueAfter(LISTEN_SECONDS)
            if asked:
                message = f"{spare[0]} has asked the node for {spare[1]}, and mode L3 has no answer"
                value = ConditionValue(ok=False, reason=Reason.ARP_UNANSWERED, message=message)
        self._links.report_gateways(facts.name, facts.mac, value)
        return RequeueAfter(ASK_PERIOD_SECONDS)

    def _silent(self, name: str, answers: Mapping[str, Answer]) -> list[str]:
        """Return the gateways that have not answered for SILENT_SECONDS.

        Each packet of a pod has the kernel begin anew to ask one that does not answer.
        """
        now, before = time.monotonic(), self._unanswered.get(name, {})
        since = {g: before.get(g, now) for g, found in answers.items() if found is Answer.NONE}
        self._unanswered[name] = since
        return [gateway for gateway, begun in since.items() if now - begun >= SILENT_SECONDS]

    def _spare(self, facts: ENIFacts, gateways: Iterable[str]) -> tuple[str, str] | None:
        """Return the gateway and the address to find out with whether the network answers ARP."""
        eni = self._enis.get(facts.name)
        if eni is None or facts.datapath.ipvlan_mode is not IPVlanMode.L3:
            return None
        port = eni.status.port
        used = {address for grant in self._grants.of_eni(facts.name) for address in grant.addresses}
        spare = [a for a in (port.addresses if port else ()) if family_of(a) == IPV4]
        spare = [address for address in spare if address not in used]
        gateway = next((g for g in gateways if family_of(g) == IPV4), None)
        return (gateway, spare[-1]) if gateway and spare else None
