"""Note what a look has found that others have changed: each is logged and counted. Pure."""

from collections.abc import Collection, Container, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final, Self

from openeni_nodeagent.datapath.describe import sentence
from openeni_nodeagent.datapath.diff import differing_from
from openeni_nodeagent.datapath.links import NodeENI, NodePod
from openeni_nodeagent.datapath.model import NOTHING, Operation, State, Verb
from openeni_nodeagent.datapath.node.plan import Differences, NodePlan, Part, eni_part, pod_part
from openeni_nodeagent.datapath.plan import plan_pod
from openeni_nodeagent.datapath_api import Repair

_OF_A_POD: Final = 20  # repairs of one look into a pod, which can give rise to any number


@dataclass(frozen=True)
class LastLook:
    """Holds what tells a repair from a change of what is wanted: what was once as planned."""

    # Of each part on the node, its plan when it was last so; nothing of one that never was.
    planned: Mapping[Part, State] = field(default_factory=dict[Part, State])
    nics: Mapping[Part, int] = field(default_factory=dict[Part, int])  # indexes of ENIs' NICs then
    # As they were planned when they were built, or when all inside of them was last so.
    pods: Mapping[Part, NodePod] = field(default_factory=dict[Part, NodePod])
    # Those of the node that the last look, and ADDs since, have planned pods with.
    addresses: frozenset[tuple[str, ...]] = frozenset()

    def and_since(self, built: Mapping[Part, NodePod], used_links: Container[str]) -> Self:
        """Return it with the pods that have been built since, without those that are gone.

        used_links are the names of all pods' links on the host.
        """
        kept = {part: pod for part, pod in self.pods.items() if pod.host_link in used_links}
        return replace(
            self,
            planned={part: state for part, state in self.planned.items() if part not in built},
            pods={**kept, **built},
            addresses=self.addresses | {pod.eni.node.addresses for pod in built.values()},
        )

    def is_readdressed(self, plan: NodePlan) -> bool:
        """Return whether the node's links have other addresses than pods were planned with."""
        return bool(plan.enis) and self.addresses != frozenset({plan.node_addresses})


class NotedRepairs:
    """Holds the operations that a look found necessary, by part.

    What was there when the look began, and has to come again, went with something that the look has
    removed, such as an address: nobody else has taken it away. Nor has anybody changed what was not
    planned when the part was last as planned, or was planned and is no more: the node is another
    one, or its agent.
    """

    def __init__(self, last: LastLook | None = None) -> None:
        self._last = last or LastLook()
        self._noted: list[tuple[Part, Operation]] = []
        self._before = NOTHING
        self._pods: dict[Part, NodePod] = {}  # that are as planned inside
        self.of_macs: tuple[Repair, ...] = ()

    def begin(self, seen: State) -> None:
        self._before = seen

    def note(self, part: Part, operations: Iterable[Operation]) -> None:
        """Note what differs of a part on the node."""
        planned = self._last.planned.get(part, NOTHING)
        if not planned and (pod := self._last.pods.get(part)):
            planned = plan_pod(pod).host
        if planned:
            changed = (o for o in operations if (o.verb is Verb.REMOVE) != (o.item in planned))
            self._noted += [(part, o) for o in differing_from(self._before, changed)]

    def note_eni(self, eni: NodeENI, operations: Iterable[Operation]) -> None:
        """Note what differs of an ENI, unless its NIC is another one, as after it was unplugged."""
        part = eni_part(eni.facts.mac)
        if self._last.nics.get(part) == eni.link.ifindex:
            self.note(part, operations)

    def note_strays(self, part: Part, operations: Iterable[Operation]) -> None:
        """Note what is of no pod; when the agent starts, an agent before it has left that."""
        if self._last.planned:
            self._noted += [(part, o) for o in operations]

    def note_inside(self, pod: NodePod, operations: Collection[Operation]) -> None:
        """Note what differed inside of a pod, if that was planned the same when it was last so."""
        part = pod_part(pod.facts)
        if operations and (known := self._last.pods.get(part)):
            same = replace(known, host_index=pod.host_index, pod_index=pod.pod_index)
            if plan_pod(same).pod == plan_pod(pod).pod:
                self._noted += [(part, operation) for operation in operations][:_OF_A_POD]
        self._pods[part] = pod

    def done(self, refused: Container[Part], left: Differences) -> tuple[Repair, ...]:
        """Return what was noted, without what the kernel has refused to restore."""
        noted = (
            Repair(type(operation.item).__name__.lower(), sentence(operation))
            for part, operation in self._noted
            if part not in refused or operation not in left.get(part, ())
        )
        return *self.of_macs, *noted

    def this_look(self, plan: NodePlan, left: Container[Part]) -> LastLook:
        """Return what the next look has to know of this one, and of those before it.

        `left` are the parts that differ from its last plan still.
        """
        last, nics = self._last, {eni_part(e.facts.mac): e.link.ifindex for e in plan.enis}
        now = {**plan.held, **plan.wanted}
        return LastLook(
            planned={p: last.planned.get(p, NOTHING) if p in left else now[p] for p in now},
            nics={
                p: index for p, index in nics.items() if p not in left or last.nics.get(p) == index
            },
            pods={**last.pods, **self._pods},
            addresses=frozenset({plan.node_addresses}) if plan.enis else last.addresses,
        )
