"""Reconcile the node with its plan: compare, apply, and look again if anything differed."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace

from openeni_nodeagent.datapath.describe import summary
from openeni_nodeagent.datapath.diff import changes_links, differing_from, in_order
from openeni_nodeagent.datapath.links import NodePod
from openeni_nodeagent.datapath.linux.kernel import delete_filters, restore
from openeni_nodeagent.datapath.linux.namespace import open_namespace
from openeni_nodeagent.datapath.linux.netlink import Netlink
from openeni_nodeagent.datapath.linux.sysctls import observe_sysctls
from openeni_nodeagent.datapath.marks import GivenMark, Marks
from openeni_nodeagent.datapath.model import NOTHING, Neighbour, Operation, State
from openeni_nodeagent.datapath.node.changed_macs import restore_macs
from openeni_nodeagent.datapath.node.compare import compare, is_missing_route, members, sysctls
from openeni_nodeagent.datapath.node.host_slaves import FreeAddresses, missing_addresses
from openeni_nodeagent.datapath.node.looks_inside import in_turn, look_inside
from openeni_nodeagent.datapath.node.misplaced_addresses import misplaced_addresses
from openeni_nodeagent.datapath.node.nics import without_carrier
from openeni_nodeagent.datapath.node.noted_repairs import NotedRepairs
from openeni_nodeagent.datapath.node.offload import restore_offload, split_offload
from openeni_nodeagent.datapath.node.placement import KernelSnapshot, place, take_snapshot
from openeni_nodeagent.datapath.node.plan import (
    SHARED,
    STALE_ENIS,
    STRAYS,
    Differences,
    NodePlan,
    Part,
    eni_part,
    pod_part,
)
from openeni_nodeagent.datapath.node.service_flows import forget_flows
from openeni_nodeagent.datapath.pod import compare_inside, repair_inside
from openeni_nodeagent.datapath_api import (
    DatapathError,
    ENIFacts,
    Hold,
    KernelRefusedError,
    NodeReport,
    PodInterface,
    WantedNode,
)


@dataclass
class NodeReconcile:
    """One reconcile; the caller holds the lock of what ENIs share while it runs."""

    wanted: WantedNode
    marks: Marks
    given: Mapping[int, GivenMark]  # by table, first those from before
    others_routes: Callable[[State], State] = lambda _: NOTHING  # out of our links
    free: FreeAddresses = lambda _, __: None  # takes addresses of an ENI's host slave from pods
    noted: NotedRepairs = field(default_factory=NotedRepairs)
    seen: State = field(init=False)  # at the last comparison
    left: Differences = field(init=False)  # at the end
    errors: Mapping[str, DatapathError] = field(init=False)  # of ENIs that get no pods
    unrestored: Mapping[str, DatapathError] = field(default_factory=dict[str, DatapathError])
    refusals: dict[Part, DatapathError] = field(default_factory=dict[Part, DatapathError])
    broken: set[PodInterface] = field(default_factory=set[PodInterface])
    differing: dict[PodInterface, str] = field(default_factory=dict[PodInterface, str])
    disturbed: set[PodInterface] = field(default_factory=set[PodInterface])
    looked_into: dict[PodInterface, str] = field(default_factory=dict[PodInterface, str])
    offload: list[Operation] = field(default_factory=list[Operation])  # at the last comparison
    restored: list[Operation] = field(default_factory=list[Operation])  # unless it was refused

    def run(self, snapshot: KernelSnapshot, hold: Hold) -> tuple[NodeReport, NodePlan]:
        """Return what was found last, and the plan."""
        snapshot = self._with_others_routes(snapshot)
        self.noted.begin(snapshot.state)
        self.noted.of_macs, self.unrestored = restore_macs(snapshot, self.wanted)
        if self.noted.of_macs:
            snapshot = self._look_again()
        plan, found = self._compare(snapshot)
        if self._apply_enis(found, plan) | self._apply_pods(found, plan, hold):
            now = self._look_again()
            forget_flows(self.restored, snapshot.state, now.state)
            plan, found = self._compare(now)
        not_offloaded = restore_offload(self.offload)
        return replace(self._report(found, plan), not_offloaded=not_offloaded), plan

    def apply_enis(self, snapshot: KernelSnapshot, wanted: ENIFacts) -> NodePlan:
        """Bring the ENIs, and what they share, to the plan. Raises the DatapathError of one."""
        plan, found = self._compare(snapshot)
        if self._apply_enis(found, plan):
            forget_flows(self.restored, snapshot.state, self._look_again().state)
        of_parts = (self.refusals.get(part) for part in (SHARED, eni_part(wanted.mac)))
        for error in filter(None, (self.errors.get(wanted.name), *of_parts)):
            raise error
        return plan

    def compare(self, snapshot: KernelSnapshot) -> NodeReport:
        """Return how the node differs from its plan, pods' own namespaces included."""
        plan, found = self._compare(self._with_others_routes(snapshot))
        looked_into = {p.interface: p.netns for p in self.wanted.pods if p.netns}
        for pod in plan.pods:
            if pod.facts in looked_into:
                self._compare_inside(pod, looked_into[pod.facts])
        return self._report(found, plan)

    def check(self, snapshot: KernelSnapshot, pod: PodInterface) -> tuple[Operation, ...]:
        """Return how the pod, its ENI and what ENIs share differ. Raises DatapathError."""
        _, found = self._compare(snapshot)
        for error in self.errors.values():
            raise error
        parts = (SHARED, eni_part(pod.eni.mac), pod_part(pod))
        operations = (o for part in parts for o in found.get(part, ()))
        return tuple(differing_from(snapshot.state, operations))

    def _compare(self, snapshot: KernelSnapshot) -> tuple[NodePlan, Differences]:
        self.seen = snapshot.state
        plan, errors = place(snapshot, self.wanted, self.marks, self.given)
        self.errors = {**errors, **self.unrestored}
        self.given = plan.marks
        values = {i.path: i for i in observe_sysctls(sysctls(plan))}
        found = dict(compare(snapshot.state, values, plan))
        if not self.wanted.complete:
            for part in (STALE_ENIS, *(() if plan.shared else (SHARED,))):
                found.pop(part, None)
        without, self.offload = split_offload(found, is_complete=self.wanted.complete)
        return plan, without

    def _apply_enis(self, found: Differences, plan: NodePlan) -> bool:
        """Bring what ENIs share, and each ENI, to the plan; return True if anything differed.

        With them come the members of sets without which the ENIs' chains would drop what running
        pods send.
        """
        parts = [eni_part(eni.facts.mac) for eni in plan.enis]
        every = (SHARED, *parts, *map(eni_part, plan.closed), *plan.held, STALE_ENIS)
        differing = [part for part in every if part in found]
        if not self._restore(differing, found, members(found, plan) if differing else ()):
            self._apply_each(differing)
        if SHARED in differing and not plan.shared and SHARED not in self.refusals:
            delete_filters()
        self.noted.note(SHARED, found.get(SHARED, ()))
        for part in plan.held:  # its chain is another without the NIC, which nobody has changed
            self.noted.note(part, filter(is_missing_route, found.get(part, ())))
        for eni, part in zip(plan.enis, parts, strict=True):
            self.noted.note_eni(eni, found.get(part, ()))
        return bool(differing)

    def _apply_each(self, differing: Collection[Part]) -> None:
        """Apply what differs still, one part after the other; pods give back what hosts need."""
        plan, left = self._compare(self._look_again())  # a link cannot be created twice
        for eni in plan.enis:
            self.free(eni.facts, missing_addresses(eni, left))
        for part in differing:
            more = members(left, plan, of_eni=part)
            self._apply(part, in_order([*more, *left.get(part, ())]))

    def _apply_pods(self, found: Differences, plan: NodePlan, hold: Hold) -> bool:
        """Bring the pods that differ to their plan; return True if any did, or any stray.

        What differs is looked at once more, with ADD and DEL kept off them. A stray may have been
        a pod when the first look began.
        """
        looked_into = {pod.interface for pod in self.wanted.pods if pod.netns}
        differing = [
            pod.facts
            for pod in plan.pods
            if pod.facts in looked_into or pod_part(pod.facts) in found
        ]
        if not differing and STRAYS not in found:
            return False
        with hold(differing) as held:
            plan, found = self._compare(self._look_again())
            if strays := found.get(STRAYS, ()):
                self._apply(STRAYS, strays)
                self.noted.note_strays(STRAYS, strays)
            pods = {pod.facts: pod for pod in plan.pods if pod.facts in held}
            self._restore_on_host(pods, found)
            for wanted in in_turn(self.wanted.pods):
                pod = pods.get(wanted.interface)
                if pod and pod.facts not in self.broken:
                    self._look_inside(pod, wanted.netns)
        return True

    def _restore_on_host(self, pods: Mapping[PodInterface, NodePod], found: Differences) -> None:
        """Restore what differs on the host in one batch; a pod without its link is broken.

        Who changes the mode of one slave changes that of all, and with it each loses its neighbours
        (arp_netdev_event, IFF_NOARP). The host's slave tells of it: what goes there went in pods.
        """
        differing = {f: found[pod_part(f)] for f in pods if pod_part(f) in found}
        self.broken |= {f for f, operations in differing.items() if changes_links(operations)}
        batch = {f: operations for f, operations in differing.items() if f not in self.broken}
        for facts, operations in batch.items():
            self.noted.note(pod_part(facts), operations)
            if pods[facts].eni.ipvlan and any(isinstance(o.item, Neighbour) for o in operations):
                self.disturbed.add(facts)
        parts = [pod_part(facts) for facts in batch]
        if not self._restore(parts, found):
            for part in parts:
                self._apply(part, found[part])

    def _compare_inside(self, pod: NodePod, netns: str) -> None:
        def look() -> tuple[Operation, ...]:
            with open_namespace(netns) as namespace:
                return compare_inside(pod, namespace)

        if found := self._inside(pod, look):
            self.differing[pod.facts] = summary(found)

    def _look_inside(self, pod: NodePod, netns: str) -> None:
        found = self._inside(pod, lambda: repair_inside(pod, netns))
        if changes_links(found):
            self.broken.add(pod.facts)
            self.differing[pod.facts] = summary(found)
        elif not self.looked_into[pod.facts]:
            self.noted.note_inside(pod, found)

    def _inside(
        self, pod: NodePod, look: Callable[[], tuple[Operation, ...]]
    ) -> tuple[Operation, ...]:
        found, self.looked_into[pod.facts] = look_inside(pod.facts, look)
        return found

    def _restore(
        self, parts: Collection[Part], found: Differences, more: Collection[Operation] = ()
    ) -> bool:
        """Restore what differs in all these parts, and more, together.

        Returns False if the kernel has refused any of it: one part after the other then, so that
        each has its own error.
        """
        operations = [*more, *(o for part in parts for o in found[part])]
        self.restored += operations
        try:
            with Netlink() as netlink:
                restore(in_order(operations), netlink)
        except DatapathError:
            return False
        return True

    def _apply(self, part: Part, operations: Collection[Operation]) -> None:
        """Apply the operations of one part; a refusal concerns that part alone."""
        self.restored += operations
        try:
            with Netlink() as netlink:
                restore(list(operations), netlink)
        except DatapathError as error:
            self.refusals[part] = error

    def _look_again(self) -> KernelSnapshot:
        enis = (*self.wanted.enis, *self.wanted.departing)
        return self._with_others_routes(take_snapshot({eni.mac for eni in enis}))

    def _with_others_routes(self, snapshot: KernelSnapshot) -> KernelSnapshot:
        return replace(snapshot, state=snapshot.state | self.others_routes(snapshot.state))

    def _report(self, found: Differences, plan: NodePlan) -> NodeReport:
        differing = ((part, tuple(differing_from(self.seen, o))) for part, o in found.items())
        found = self.left = {part: operations for part, operations in differing if operations}
        errors = dict(self.errors)
        for eni in plan.enis:
            for part in (eni_part(eni.facts.mac), SHARED):
                if part in found:
                    errors.setdefault(eni.facts.name, self._error(part, found))
        errors = {**without_carrier(self.seen, plan.enis), **errors}
        self.differing |= misplaced_addresses(self.seen, plan.pods, plan.node_addresses)
        for pod in plan.pods:
            if (part := pod_part(pod.facts)) in found:
                self.differing[pod.facts] = str(self._error(part, found))
        errors |= {
            facts.name: self._error(part, found)
            for facts in self.wanted.departing
            if (part := eni_part(facts.mac)) in found
        }
        return NodeReport(
            {eni.facts.name: eni.link for eni in plan.enis if eni.facts.name not in errors},
            errors,
            frozenset(self.broken),
            {pod: why for pod, why in self.looked_into.items() if why} | self.differing,
            self.noted.done(self.refusals, found),
            "; ".join(str(self._error(p, found)) for p in (STRAYS, STALE_ENIS) if p in found),
            {
                facts.name: facts.mac in plan.closed
                for facts in self.wanted.departing
                if self.wanted.complete and not found.keys() & {eni_part(facts.mac), STALE_ENIS}
            },
            frozenset(self.disturbed),
            self.looked_into,
        )

    def _error(self, part: Part, found: Differences) -> DatapathError:
        """Return why a part still differs: the kernel's words, or what somebody changes again."""
        return self.refusals.get(part) or KernelRefusedError(summary(found[part]))
