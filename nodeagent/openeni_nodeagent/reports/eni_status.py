"""The agent's part of an ENI's status, as the body of a server-side apply. Pure.

The body names exactly the fields and conditions that the agent owns. Its only times are those of a
condition's last transition, so that an unchanged state gives an equal body, which is not written.
"""

from typing import Final

from msgspec.structs import replace

from openeni_crds import names
from openeni_crds.conditions import Condition, Type, condition, merge
from openeni_crds.eni import ENI
from openeni_crds.meta import Json, encode
from openeni_crds.owners import AGENT_ENI, CONDITIONS
from openeni_crds.status.eni import NodeStatus, RetireAnswer
from openeni_nodeagent.enis.link_status import ConditionValue, LinkStatus
from openeni_nodeagent.grants.eni_view import GrantCounts, RetireAnswers

_OWN: Final = frozenset(t for t, entry in CONDITIONS.items() if AGENT_ENI in entry.owners)
_NEW: Final = frozenset({Type.GATEWAY_REACHABLE})


def node_status(
    link: LinkStatus, answers: RetireAnswers, counts: GrantCounts, idle_since: str
) -> NodeStatus:
    def at(addresses: tuple[str, ...]) -> tuple[RetireAnswer, ...]:
        return tuple(RetireAnswer(address, answers.generation) for address in addresses)

    return NodeStatus(
        mac_address=link.mac_address,
        device=link.device,
        ifindex=link.ifindex,
        granted=counts.granted,
        cooling=counts.cooling,
        available=counts.available,
        idle_since="" if counts.granted else idle_since,
        retired=at(answers.retired),
        refused=at(answers.refused),
    )


def agent_conditions(
    eni: ENI, link: LinkStatus, cni_configured: Condition, now: str
) -> tuple[Condition, ...]:
    generation = eni.metadata.generation
    gateways = [link.gateways] if link.gateways else []  # without them there is no condition
    wanted = (
        replace(cni_configured, observed_generation=generation),
        _condition(Type.GUEST_PREPARED, link.guest, generation),
        _condition(Type.LINK_READY, link.link, generation),
        *(_condition(Type.GATEWAY_REACHABLE, found, generation) for found in gateways),
    )
    return merge(eni.status.conditions, wanted, now)


def status_body(eni: ENI, node: NodeStatus, conditions: tuple[Condition, ...]) -> Json:
    """Return the body to apply; its uid makes it fail on another ENI of the same name."""
    counts = {"granted": node.granted, "cooling": node.cooling, "available": node.available}
    return {
        "apiVersion": names.API_VERSION,
        "kind": names.ENIS.name,
        "metadata": {"name": eni.name, "uid": eni.metadata.uid},
        "status": {"conditions": [encode(c) for c in conditions], "node": encode(node) | counts},
    }


def without_new(conditions: tuple[Condition, ...]) -> tuple[Condition, ...]:
    """Return those conditions that admission policies of the release before let agents write.

    After `helm rollback` these are there before the agents are.
    """
    return tuple(c for c in conditions if c.type not in _NEW)


def is_shown(eni: ENI, node: NodeStatus, conditions: tuple[Condition, ...]) -> bool:
    """Return True if the ENI already shows exactly this."""
    shown = {c.type: c for c in eni.status.conditions if c.type in _OWN}
    return eni.status.node == node and shown == {c.type: c for c in conditions}


def _condition(type_: Type, value: ConditionValue, generation: int) -> Condition:
    return condition(type_, value.reason, value.message, status=value.ok, generation=generation)
