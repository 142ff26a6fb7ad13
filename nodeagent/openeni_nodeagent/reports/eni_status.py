"""What the agent says of an ENI, as the body of a server-side apply: pure.

The body names exactly the fields and conditions that the agent owns, has no times of its own but
those that a condition's change brings, and is equal for equal worlds: what has not changed is not
written.
"""

from dataclasses import dataclass

from openeni_crds import names
from openeni_crds.conditions import Condition, Reason, Type, condition, merge
from openeni_crds.eni import ENI, NodeStatus, RetireAnswer
from openeni_crds.meta import Json, encode
from openeni_nodeagent.grants.ledger import Answers, Counts


@dataclass(frozen=True)
class Said:
    """One condition before it has a time."""

    ok: bool | None
    reason: Reason
    message: str = ""


@dataclass(frozen=True)
class Side:
    """What the agent found out about one ENI."""

    guest: Said = Said(ok=None, reason=Reason.WAITING_FOR_PORT)
    link: Said = Said(ok=None, reason=Reason.WAITING_FOR_PORT)
    device: str = ""
    ifindex: int = 0


def node_status(side: Side, answers: Answers, counts: Counts, idle_since: str) -> NodeStatus:
    def at(addresses: tuple[str, ...]) -> tuple[RetireAnswer, ...]:
        return tuple(RetireAnswer(address, answers.generation) for address in addresses)

    return NodeStatus(
        device=side.device,
        ifindex=side.ifindex,
        granted=counts.granted,
        cooling=counts.cooling,
        available=counts.available,
        idle_since="" if counts.granted else idle_since,
        retired=at(answers.retired),
        refused=at(answers.refused),
    )


def conditions(eni: ENI, side: Side, now: str) -> tuple[Condition, ...]:
    generation = eni.metadata.generation
    wanted = (
        _condition(Type.GUEST_PREPARED, side.guest, generation),
        _condition(Type.LINK_READY, side.link, generation),
    )
    return merge(eni.status.conditions, wanted, now)


def body(eni: ENI, node: NodeStatus, said: tuple[Condition, ...]) -> Json:
    """The apply; the uid keeps it from another ENI of the same name."""
    counts = {"granted": node.granted, "cooling": node.cooling, "available": node.available}
    return {
        "apiVersion": names.API_VERSION,
        "kind": names.ENIS.name,
        "metadata": {"name": eni.name, "uid": eni.metadata.uid},
        "status": {"conditions": [encode(c) for c in said], "node": encode(node) | counts},
    }


def shown(eni: ENI, node: NodeStatus, said: tuple[Condition, ...]) -> bool:
    """Whether the API shows exactly this already."""
    mine = {c.type: c for c in eni.status.conditions}
    return eni.status.node == node and all(mine.get(c.type) == c for c in said)


def _condition(type_: Type, said: Said, generation: int) -> Condition:
    return condition(type_, said.reason, said.message, status=said.ok, generation=generation)
