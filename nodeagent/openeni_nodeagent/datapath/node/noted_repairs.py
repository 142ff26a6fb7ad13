"""Note what a look has found that others have changed: each is logged and counted. Pure."""

from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Self

from openeni_nodeagent.datapath.describe import sentence
from openeni_nodeagent.datapath.diff import differing_from
from openeni_nodeagent.datapath.links import NodePod
from openeni_nodeagent.datapath.model import NOTHING, Operation, State, Verb
from openeni_nodeagent.datapath.node.plan import Differences, NodePlan, Part, pod_part
from openeni_nodeagent.datapath.plan import plan_pod
from openeni_nodeagent.datapath_api import PodInterface, Repair


@dataclass(frozen=True)
class LastLook:
    """Holds what tells a repair from a change of what is wanted."""

    # By MACs of ENIs, indexes of NICs that were as planned once: what differs of these is a repair.
    configured: Mapping[str, int] = field(default_factory=dict[str, int])
    planned: Mapping[Part, State] = field(default_factory=dict[Part, State])
    # As they were planned when they were built, or were last as planned inside.
    pods: Mapping[PodInterface, NodePod] = field(default_factory=dict[PodInterface, NodePod])
    # Those of the node that pods were planned with: then, and by ADDs since.
    addresses: frozenset[tuple[str, ...]] = frozenset()

    def and_since(
        self,
        nics: Mapping[str, int],
        built: Mapping[PodInterface, NodePod],
        used_links: Container[str],
    ) -> Self:
        """Return what is known now of these NICs and pods.

        The NICs are indexes by the MACs of their ENIs, of those that are configured; `built` are
        pods since the last look; used_links are the names of links on the host of all pods.
        """
        kept = {facts: pod for facts, pod in self.pods.items() if pod.host_link in used_links}
        return replace(
            self,
            configured={**self.configured, **nics},
            pods={**kept, **built},
            addresses=self.addresses | {pod.eni.node.addresses for pod in built.values()},
        )

    def is_readdressed(self, plan: NodePlan) -> bool:
        """Return whether the node's links have other addresses than pods were planned with."""
        return bool(plan.enis) and self.addresses != frozenset({plan.node_addresses})


class NotedRepairs:
    """Holds the operations that a look found necessary, by part.

    What was there when the look began, and has to come again, went with something that the look has
    removed, such as an address: nobody else has taken it away. Nor has anybody changed what the
    last look had not `planned` of a part, or planned and does no more: the node is another one.
    """

    def __init__(self, last: LastLook | None = None) -> None:
        self.last = last or LastLook()
        self._noted: list[tuple[Part, Operation]] = []
        self._before = NOTHING
        self._pods: dict[PodInterface, NodePod] = {}  # that are as planned inside
        self.of_macs: tuple[Repair, ...] = ()

    def begin(self, seen: State) -> None:
        self._before = seen

    def note(self, part: Part, operations: Iterable[Operation]) -> None:
        """Note what differs on the node, all of it if the last look had no plan of the part."""
        self._note(part, operations, self.last.planned.get(part))

    def note_pod(self, pod: PodInterface, operations: Iterable[Operation]) -> None:
        """Note what differs of a pod on the node, unless it was built by an agent before this.

        The last look has no plan of a pod that is new, or whose ENI had no NIC.
        """
        part = pod_part(pod)
        if part in self.last.planned:
            self.note(part, operations)
        elif known := self.last.pods.get(pod):
            self._note(part, operations, plan_pod(known).host)

    def note_inside(self, pod: NodePod, operations: Iterable[Operation]) -> None:
        """Note what differed inside of a pod, if all of it was once as it is planned now."""
        if self.last.pods.get(pod.facts) == pod:
            self._noted += [(pod_part(pod.facts), operation) for operation in operations]
        self._pods[pod.facts] = pod

    def _note(self, part: Part, operations: Iterable[Operation], planned: State | None) -> None:
        if planned is not None:
            operations = [o for o in operations if (o.verb is Verb.REMOVE) != (o.item in planned)]
        self._noted += [(part, o) for o in differing_from(self._before, operations)]

    def done(self, refused: Container[Part], left: Differences) -> tuple[Repair, ...]:
        """Return what was noted, without what the kernel has refused to restore."""
        noted = (
            Repair(type(operation.item).__name__.lower(), sentence(operation))
            for part, operation in self._noted
            if part not in refused or operation not in left.get(part, ())
        )
        return *self.of_macs, *noted

    def this_look(self, plan: NodePlan) -> LastLook:
        """Return what the next look has to know of this one, whose last plan is given."""
        last, nics = self.last, {(eni.facts.mac, eni.link.ifindex) for eni in plan.enis}
        return LastLook(
            configured=dict(nics & last.configured.items()),
            planned=plan.wanted,
            pods={**last.pods, **self._pods},
            addresses=frozenset({plan.node_addresses}) if plan.enis else last.addresses,
        )
