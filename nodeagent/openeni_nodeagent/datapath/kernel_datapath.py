"""The NodeDatapath on Linux: each method plans, observes, diffs and applies."""

import logging
import threading
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Final

from openeni_crds import names
from openeni_crds.enipool import Mode
from openeni_nodeagent.datapath.changes import Change, watched
from openeni_nodeagent.datapath.conntrack_flusher import ConntrackFlusher
from openeni_nodeagent.datapath.describe import sentence
from openeni_nodeagent.datapath.inside.reachability import wait_until_reachable
from openeni_nodeagent.datapath.inside.taken_addresses import TakenAddresses
from openeni_nodeagent.datapath.links import NodeENI, NodePod, pod_on_node
from openeni_nodeagent.datapath.linux import modes
from openeni_nodeagent.datapath.linux.kernel import list_links
from openeni_nodeagent.datapath.linux.namespace import open_namespace
from openeni_nodeagent.datapath.linux.netlink import Netlink
from openeni_nodeagent.datapath.linux.subscription import Subscription
from openeni_nodeagent.datapath.marks import GivenMark, Mark, Marks
from openeni_nodeagent.datapath.model import NOTHING, Verb
from openeni_nodeagent.datapath.node.announce import Announcer
from openeni_nodeagent.datapath.node.nics import nics_by_mac
from openeni_nodeagent.datapath.node.noted_repairs import LastLook, NotedRepairs
from openeni_nodeagent.datapath.node.offload import change_flowtable
from openeni_nodeagent.datapath.node.others_routes import OthersRoutes
from openeni_nodeagent.datapath.node.placement import KernelSnapshot, take_snapshot
from openeni_nodeagent.datapath.node.plan import Part, pod_part
from openeni_nodeagent.datapath.node.reconcile import NodeReconcile
from openeni_nodeagent.datapath.pod import (
    build,
    build_from_template,
    clear,
    clear_host,
    compare_inside,
    remove_host_part,
    remove_links,
    repair,
    with_free_indexes,
)
from openeni_nodeagent.datapath.pod_messages.pod_network import pod_network
from openeni_nodeagent.datapath.turns import TURNS, Turns
from openeni_nodeagent.datapath_api import (
    DatapathError,
    ENIFacts,
    Hold,
    KernelRefusedError,
    LinkFacts,
    NamespaceGoneError,
    NICMissingError,
    NoCarrierError,
    NodeFacts,
    NodeReport,
    NodeSnapshot,
    PodInterface,
    PodNetwork,
    WantedNode,
    WantedPod,
)
from openeni_nodeagent.phases import Stopwatch

_log: Final = logging.getLogger(__name__)
_REMEMBERED: Final = 1024  # links of pods that had a DEL: the kernel soon tells that they go


class KernelDatapath:
    """Implements NodeDatapath in the network namespace of the calling threads: the node's."""

    def __init__(self, mark_mask: int = names.MARK_MASK) -> None:
        self._marks = Marks(mark_mask)
        self._node = NodeFacts(addresses=())
        self._enis: Mapping[str, NodeENI] = {}  # by MAC; replaced, never changed
        self._last = LastLook()
        self._wanted: tuple[ENIFacts, ...] = ()  # at the last look
        self._built: dict[Part, NodePod] = {}  # since the last look
        self._given: Mapping[int, GivenMark] = {}  # by table, since the last look
        self._errors: Mapping[str, DatapathError] = {}  # of other ENIs, at the last look, by name
        self._pods_lock = threading.Lock()  # of what was built, and of the names of links
        self._disconnected: dict[str, None] = {}  # of pods that had a DEL, the newest last
        self._watched = watched(NOTHING, NOTHING, frozenset(), self._disconnected)
        self._shared_lock = threading.Lock()  # of what ENIs share, and of `_enis`
        self._turns = Turns()
        self._checks = threading.BoundedSemaphore(TURNS)  # what is read of a pod may take 8 MiB
        self._announcer = Announcer()
        self._conntrack = ConntrackFlusher()
        self._taken = TakenAddresses()
        self._subscription: Subscription | None = None
        self._others_routes = OthersRoutes(
            lambda: self._watched.links if self._subscription else ()
        )

    def close(self) -> None:
        if self._subscription:
            self._subscription.close()
        self._announcer.close()

    def datapath_modes(self) -> frozenset[str]:
        return modes.supported_datapath_modes()

    def subscribe(self, changed: Callable[[], None]) -> None:
        def tell(change: Change) -> None:
            self._others_routes.changed(change)
            changed()

        self._taken.on_freed = changed
        self._subscription = Subscription(lambda: self._watched, tell)
        self._subscription.start()

    def observe(self, enis: Collection[ENIFacts]) -> KernelSnapshot:
        return take_snapshot({eni.mac for eni in enis})

    def reconcile(self, snapshot: NodeSnapshot, wanted: WantedNode, hold: Hold) -> NodeReport:
        if not isinstance(snapshot, KernelSnapshot):
            raise TypeError(snapshot)
        with self._shared_lock:
            self._taken.learn(wanted)
            others, free = self._others_routes.read, self._taken.free
            with self._pods_lock:
                built, self._built = self._built, {}
            self._last = self._last.and_since(built, wanted.used_links)
            noted = NotedRepairs(self._last)
            run = NodeReconcile(wanted, self._marks, self._given, others, free, noted)
            report, plan = run.run(snapshot, hold)
            is_readdressed = self._last.is_readdressed(plan)  # pods learn that at the next look
            self._last = noted.this_look(plan, run.left)
            report = replace(self._taken.report(report, wanted), readdressed=is_readdressed)
            self._given, self._node = run.given, wanted.node
            self._wanted, self._errors = wanted.enis, report.errors
            usable = NoCarrierError | None  # without a carrier it has all else that pods need
            whole = (e for e in plan.enis if isinstance(report.errors.get(e.facts.name), usable))
            self._enis = {eni.facts.mac: self._same(eni) for eni in whole}
            planned = frozenset(item for part in plan.wanted.values() for item in part)
            macs, own = frozenset(eni.mac for eni in wanted.enis), wanted.node.addresses
            self._watched = watched(planned, run.seen, macs, self._disconnected, own)
        self._conntrack.add(wanted.strays)
        self._conntrack.flush()
        return report

    def compare(self, snapshot: NodeSnapshot, wanted: WantedNode) -> NodeReport:
        if not isinstance(snapshot, KernelSnapshot):
            raise TypeError(snapshot)
        others = self._others_routes.read
        run = NodeReconcile(wanted, self._marks, self._given, others_routes=others)
        return run.compare(snapshot)

    def forget_flows(self, addresses: Collection[str], /) -> None:
        self._conntrack.add(addresses)

    def add(self, pod: PodInterface, netns: str, *, rebuilds: bool = False) -> PodNetwork:
        stopwatch = Stopwatch()
        self._conntrack.give(pod.addresses)
        with open_namespace(netns) as namespace:
            with stopwatch.phase("turn"):
                self._turns.acquire()
            try:
                node_pod = self._build(pod, namespace, stopwatch, rebuilds=rebuilds)
            finally:
                self._turns.release()
            self._taken.add(pod, netns)
            with self._pods_lock:
                self._built[pod_part(pod)] = node_pod
            if not rebuilds:
                with stopwatch.phase("pod"), suppress(DatapathError):  # all of it is built
                    wait_until_reachable(node_pod, namespace)
        return pod_network(node_pod, stopwatch.seconds)

    def finish_add(self, pod: PodInterface) -> None:
        if eni := self._enis.get(pod.eni.mac):
            self._announcer.announce(eni.link.ifindex, pod.eni.mac, pod.addresses)
            change_flowtable(pod_on_node(pod, eni), Verb.ADD)

    def network(self, pod: PodInterface) -> PodNetwork:
        return pod_network(self._node_pod(pod), {})

    def check(self, pod: PodInterface, netns: str) -> tuple[str, ...]:
        wanted = WantedNode(self._node, (pod.eni,), pods=(WantedPod(pod),), complete=False)
        with open_namespace(netns) as namespace:
            run = NodeReconcile(wanted, self._marks, self._given)
            found = run.check(self.observe((pod.eni,)), pod)
            with self._checks:
                inside = compare_inside(self._node_pod(pod), namespace)
        return tuple(map(sentence, (*found, *inside)))

    def delete(self, pod: PodInterface) -> None:
        node_pod = self._any_node_pod(pod)
        with self._turns:
            if node_pod.eni.link.ifindex:
                remove_host_part(node_pod)
            else:  # some of it has the index of a NIC that is gone
                clear_host(pod.addresses, node_pod.host_link)
        self._taken.delete(pod)
        with self._pods_lock:
            self._built.pop(pod_part(pod), None)
            self._disconnected[node_pod.host_link] = None
            if len(self._disconnected) > _REMEMBERED:
                del self._disconnected[next(iter(self._disconnected))]
        self._conntrack.add(pod.addresses)

    def finish_delete(self, pod: PodInterface, netns: str, kept: Collection[str] = ()) -> None:
        self._conntrack.flush()  # of all pods that were deleted meanwhile, at once
        node_pod = self._any_node_pod(pod)
        with self._turns:
            remove_links(node_pod, netns, kept)
        change_flowtable(node_pod, Verb.REMOVE)  # it may wait for others' transactions of nftables

    def _same(self, eni: NodeENI) -> NodeENI:
        """Return the object that is equal and known: a key of templates, found by its identity."""
        known = self._enis.get(eni.facts.mac, eni)
        return known if known == eni else eni

    def _node_pod(self, pod: PodInterface) -> NodePod:
        if not (eni := self._enis.get(pod.eni.mac)):
            error = self._errors.get(pod.eni.name, "it has no NIC on this node")
            raise NICMissingError(f"ENI {pod.eni.name} cannot be used (yet): {error}")
        return pod_on_node(pod, eni)

    def _any_node_pod(self, pod: PodInterface) -> NodePod:
        """Return the pod, also if its ENI has no NIC."""
        gone = NodeENI(pod.eni, LinkFacts("", 0), self._node, Mark(0, 0))
        return pod_on_node(pod, self._enis.get(pod.eni.mac, gone))

    def _build(
        self, pod: PodInterface, namespace: int, stopwatch: Stopwatch, *, rebuilds: bool
    ) -> NodePod:
        """Build the pod, or nothing. Raises DatapathError, which says whether something is left."""
        node_pod = self._node_pod(pod)
        with self._pods_lock:
            self._disconnected.pop(node_pod.host_link, None)
        try:
            if rebuilds:  # a refusal of what is still there looks at the whole node
                remove_host_part(node_pod)
            return self._build_or_repair(node_pod, namespace, stopwatch)
        except Exception as error:  # noqa: BLE001 - a decoder's, of what root in the pod has made
            raise self._failure(error, node_pod, namespace) from None

    def _build_or_repair(self, node_pod: NodePod, namespace: int, stopwatch: Stopwatch) -> NodePod:
        """Build without looking; where the kernel refuses, observe, then repair or build anew.

        Returns the pod as it was built: its NIC may have been plugged again under another index.
        """
        try:
            build_from_template(node_pod, namespace, stopwatch)
        except KernelRefusedError:
            with stopwatch.phase("repair"):
                node_pod = pod_on_node(node_pod.facts, self._restore(node_pod.facts.eni))
                if node_pod.eni.ipvlan:
                    pod = node_pod.facts
                    with self._turns.let_others():
                        self._taken.free(pod.eni, pod.addresses, (pod, namespace))
                if repair(node_pod, namespace, Stopwatch()):
                    return node_pod
                clear(node_pod, namespace)
                node_pod = with_free_indexes(node_pod, namespace)
            build(node_pod, namespace, stopwatch)
        return node_pod

    def _restore(self, facts: ENIFacts) -> NodeENI:
        """Bring one ENI, and what all share, to the plan. Raises DatapathError.

        The others in veth come with it: the rules that all share would let their pods' packets
        pass, while theirs are gone.
        """
        with self._turns.holding(self._shared_lock):  # looks hold it while they look into pods
            in_veth = (e for e in self._wanted if e.datapath.mode is Mode.VETH)
            enis = (facts, *(e for e in in_veth if e.mac != facts.mac))
            wanted = WantedNode(self._node, enis, complete=False)
            free = self._taken.free
            run = NodeReconcile(wanted, self._marks, self._given, free=free)
            plan = run.apply_enis(self.observe(wanted.enis), facts)
            kept = {t: m for t, m in self._given.items() if m not in run.given.values()}
            self._given = {**kept, **run.given}  # an ENI has taken its mark to another table
            (eni,) = (eni for eni in plan.enis if eni.facts.mac == facts.mac)
            self._enis = {**self._enis, facts.mac: self._same(eni)}
            return eni

    def _failure(self, cause: Exception, node_pod: NodePod, namespace: int) -> DatapathError:
        """Remove what `add` has built; return its error, which says whether that succeeded."""
        left_behind = False
        try:
            with suppress(NamespaceGoneError):  # the host's part goes first, the pod's went with it
                clear(node_pod, namespace)
        except Exception:  # noqa: BLE001 - as above
            left_behind = True
        failure = self._nic_missing(node_pod.eni.facts) or cause
        if not isinstance(failure, DatapathError):
            if not isinstance(failure, OSError):
                _log.error("the datapath cannot be built", exc_info=failure)
            failure = KernelRefusedError(f"the datapath cannot be built: {failure!r}")
        failure.left_behind = left_behind
        return failure

    def _nic_missing(self, eni: ENIFacts) -> NICMissingError | None:
        """Return the error that names the NIC, if it is gone."""
        with suppress(DatapathError), Netlink() as netlink:
            if not nics_by_mac(list_links(netlink), {eni.mac}):
                return NICMissingError(f"the NIC of ENI {eni.name} ({eni.mac}) is gone")
        return None
