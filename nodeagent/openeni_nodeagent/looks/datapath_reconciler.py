"""Reconcile the node's datapath with its ENIs and grants: the one look at the whole node.

At start, periodically, and after notifications of the kernel, changes of ENIs or the node's facts,
a failed ADD, an ended grant. Each look tells the ledger which addresses the kernel has, brings what
differs to its plan, and looks again. Links and datapaths are ready if it found no difference then.
"""

import contextlib
import logging
import random
import threading
import time
from collections.abc import Collection, Generator, Mapping
from typing import Final

from openeni_kube.result import RequeueAfter, Result, Retry
from openeni_nodeagent.attachments.container_locks import ContainerLocks
from openeni_nodeagent.attachments.repair import Repairs
from openeni_nodeagent.attachments.wanted_pods import (
    granted_links,
    left_pods,
    lost_paths,
    pods_of,
    wanted_pod,
)
from openeni_nodeagent.cluster.watches import Caches
from openeni_nodeagent.cni.call import StoppingError
from openeni_nodeagent.cni.protocol import CNIError
from openeni_nodeagent.datapath_api import (
    DatapathError,
    ModeUnsupportedError,
    NICMissingError,
    NoCarrierError,
    NodeDatapath,
    NodeFacts,
    NodeReport,
    NodeSnapshot,
    PodInterface,
    Repair,
    WantedNode,
)
from openeni_nodeagent.enis.eni_reconciler import ENIReconciler
from openeni_nodeagent.enis.link_reports import LinkReports, moved_since
from openeni_nodeagent.enis.wanted_enis import ENIChoice, choose_enis, every_eni
from openeni_nodeagent.grants.grant import Attachment, Grant
from openeni_nodeagent.grants.grants import Grants
from openeni_nodeagent.grants.netns_identity import leads_to_pod
from openeni_nodeagent.looks.callbacks import LookCallbacks
from openeni_nodeagent.looks.look_pace import LookPace
from openeni_nodeagent.looks.pod_looks import LOOK_PERIOD_SECONDS, PodLooks
from openeni_nodeagent.looks.repair_notes import RepairNotes
from openeni_nodeagent.reports.differences import differences_of
from openeni_nodeagent.reports.podip_body import Difference

REBUILD_SECONDS: Final = 60.0
SOON_SECONDS: Final = 1.0  # until another look at what should have gone, or should be there
_log: Final = logging.getLogger(__name__)


class DatapathReconciler:
    """One thread at a time calls `look` or `first_look`; any thread may call the rest."""

    def __init__(
        self,
        grants: Grants,
        datapath: NodeDatapath,
        caches: Caches,
        enis: ENIReconciler,
        *,
        repairs: Repairs,
        locks: ContainerLocks,
        callbacks: LookCallbacks,
    ) -> None:
        self._grants = grants
        self._datapath = datapath
        self._caches = caches
        self._links = LinkReports(enis)
        self._repairs = repairs
        self._locks = locks
        self._callbacks = callbacks
        self.pace = LookPace()
        self._lock = threading.Lock()  # of what other threads read or write:
        self._pod_looks = PodLooks()
        self._node: NodeFacts | None = None
        self._differing: Mapping[Attachment, Difference] = {}
        self._held: frozenset[PodInterface] = frozenset()  # by the last look, at its end
        self._left: set[Attachment] = set()  # of these, what it had no time left for
        self._busy: set[Attachment] = set()  # what it was to look into, and a call had
        self._postponed = False  # the last look left pods to the next one, which is soon
        self._succeeded_at: float | None = None  # the last look without error; at first: `set_node`
        self.repair_notes = RepairNotes(callbacks.on_repairs)

    def set_node(self, facts: NodeFacts) -> None:
        """Set the node's facts; routes in pods may follow from them."""
        with self._lock:
            self._succeeded_at = self._succeeded_at or time.monotonic()
            if facts != self._node:
                self._node = facts
                self._pod_looks.ask_all()

    def look_into(self, attachment: Attachment) -> None:
        """Look into the pod's own namespace, too, at the next look."""
        with self._lock:
            self._pod_looks.ask(attachment)

    def difference(self, attachment: Attachment) -> Difference | None:
        """Return how a pod's datapath differed from its plan at the last look, if it did."""
        return self._differing.get(attachment)

    def last_look(self) -> tuple[float, float]:
        """Return the age of the last good look (0: no node is set) and the last's length, in s."""
        succeeded_at = self._succeeded_at
        return 0.0 if succeeded_at is None else time.monotonic() - succeeded_at, self.pace.took

    def first_look(self, node: NodeFacts | None) -> None:
        """Look at the node as the previous process left it. Raises DatapathError.

        Without facts of the node nothing but the addresses in the kernel is of interest. The next
        look looks into pods: how long that takes is theirs to choose, and no call is served yet.
        """
        if node is None:
            self._grants.look(lambda: self._datapath.observe(()).pods)
        else:
            self.set_node(node)
            self._look(node, set())

    def look(self, _: str = "") -> Result:
        """Look at the node once, and put right what differs."""
        if (unsettled := self.pace.unsettled()) > 0:
            return RequeueAfter(unsettled)
        with self._lock:
            if (node := self._node) is None:
                return RequeueAfter(SOON_SECONDS)
            unseen = self._pod_looks.take()
        with self.pace.measured():
            try:
                return self._look(node, unseen)
            except Exception as error:  # noqa: BLE001 - whatever somebody has put into the kernel
                with self._lock:
                    self._pod_looks.ask_all()
                if not isinstance(error, DatapathError):
                    _log.exception("a look at the node failed")
                return Retry(f"the node cannot be looked at: {error}")

    def _look(self, node: NodeFacts, asked: set[Attachment] | None) -> Result:
        synced = self._callbacks.is_synced()
        before = {g.attachment: g for g in self._grants.all() if g.connected}
        used_links = self._used_links()
        snapshot, kernel = self._observe()
        choice = self._choose(synced=synced)
        self._links.announce(choice)
        grants = self._grants.all()
        pods = pods_of(choice.served, (g for g in grants if before.get(g.attachment) == g))
        self._pod_looks.note_moved(self._links.moved(snapshot.nics, pods, grants))
        unseen = self._pod_looks.choose(asked, {grant.attachment for grant in grants})
        wanted = WantedNode(
            node,
            choice.served,
            choice.departing,
            tuple(wanted_pod(pod, grant, unseen) for pod, grant in pods.items()),
            self._grants.leftovers(),
            used_links | self._used_links(),
            complete=synced,
        )
        self._postponed, self._held, self._busy = False, frozenset(), set()
        report = self._datapath.reconcile(
            snapshot, wanted, lambda differing: self._hold(differing, pods, unseen)
        )
        granted = {grant.attachment: grant for grant in self._grants.all()}  # ADDs go on meanwhile
        were_asked = self._pod_looks.asked(granted)
        looked_into = {pods[pod].attachment: why for pod, why in report.looked_into.items()}
        looked_into |= lost_paths(wanted.pods, pods, were_asked)
        self._left = {pods[pod].attachment for pod in left_pods(wanted.pods, self._held, report)}
        self._pod_looks.finish(were_asked.keys(), granted.keys(), looked_into, self._left)
        self._pod_looks.note_moved(moved_since(snapshot.nics, report.links, pods))
        report = self._links.without_brief_losses(report)
        self._take_over(report, choice, pods)
        failed = self._rebuild(report, pods)
        if self._callbacks.may_repair():
            self._repairs.run(grants, kernel, snapshot.host_ports)
            self._callbacks.on_repaired()
        result = self._next(report, failed)
        if not isinstance(result, Retry):
            self._succeeded_at = time.monotonic()
        return result

    def _used_links(self) -> frozenset[str]:
        """Return the names of links that grants have, or had and are to be removed any moment."""
        return granted_links(self._grants.all()) | self._callbacks.unfinished_links()

    def _observe(self) -> tuple[NodeSnapshot, Mapping[str, str]]:
        """Look at the kernel; return all of it, and the addresses of pods in it."""
        enis = every_eni(self._caches.enis.all(), self._grants.known_enis())
        snapshots: list[NodeSnapshot] = []

        def read() -> Mapping[str, str]:
            snapshots.append(self._datapath.observe(enis))
            return snapshots[-1].pods

        before = self._grants.reserved()
        kernel = self._grants.look(read)
        if self._grants.reserved() != before:
            self._callbacks.on_reserved()
        return snapshots[-1], kernel

    def _choose(self, *, synced: bool) -> ENIChoice:
        grants, enis = self._grants, self._caches.enis.all()
        known = grants.known_enis()
        if not synced:
            return ENIChoice(known)
        return choose_enis(enis, known, is_observed=grants.knows, is_in_use=grants.is_in_use)

    @contextlib.contextmanager
    def _hold(
        self,
        asked: Collection[PodInterface],
        pods: Mapping[PodInterface, Grant],
        unseen: Collection[Attachment],
    ) -> Generator[frozenset[PodInterface]]:
        """Hold the locks of those containers that have no call running, and the same grant.

        Of the others, only those that were to be looked into will be: a burst has many.
        """
        held: list[PodInterface] = []
        with contextlib.ExitStack() as stack:
            for pod in asked:
                try:
                    stack.enter_context(self._locks.locked(pod.container_id))
                except (CNIError, StoppingError):
                    self._postponed = True
                    if pods[pod].attachment in unseen:
                        self._busy.add(pods[pod].attachment)
                        self.look_into(pods[pod].attachment)
                    continue
                if self._grants.find(*pods[pod].key) == pods[pod]:
                    held.append(pod)
            self._held = frozenset(held)
            yield self._held

    def _take_over(
        self, report: NodeReport, choice: ENIChoice, pods: Mapping[PodInterface, Grant]
    ) -> None:
        """Keep what the look found, and tell those whom it concerns."""
        self.repair_notes.note(report.repairs)
        self._links.take_over(report, choice, self._grants.all())
        for pod in report.disturbed:
            self.look_into(pods[pod].attachment)
        if report.readdressed:  # routes in pods depend on these
            with self._lock:
                self._pod_looks.ask_all()
        before = self._differing
        kept = {i: found for i, found in before.items() if i in self._left | self._busy}
        self._differing = differences_of(report, pods, {**kept, **self._pod_looks.unseen()})
        for grant in pods.values():
            if before.get(grant.attachment) != self._differing.get(grant.attachment):
                self._callbacks.on_pod(grant)

    def _rebuild(self, report: NodeReport, pods: Mapping[PodInterface, Grant]) -> list[str]:
        """Build pods anew whose links are missing or wrong; return those that could not be.

        A pod that was built several times just now waits for the next periodic look: it may delete
        its link as fast as that is built. And it may never be reached: no look waits for that. Nor
        does it go on for longer than REBUILD_SECONDS: each may have to wait for what others do.
        """
        failed, rebuilt, late = list[str](), list[Repair](), time.monotonic() + REBUILD_SECONDS
        for pod in random.sample(tuple(report.broken), len(report.broken)):
            grant = pods[pod]
            if time.monotonic() > late:
                self.look_into(grant.attachment)
                continue
            name = f"{grant.namespace}/{grant.name}"
            is_there = leads_to_pod(grant.netns, grant)  # if not, its grant is about to end
            if not (is_there and self._pod_looks.may_rebuild(grant.attachment)):
                continue
            self.look_into(grant.attachment)
            try:
                with self._locks.locked(pod.container_id):
                    if self._grants.find(*grant.key) == grant:
                        with self._pod_looks.rebuilding(grant.attachment):
                            self._datapath.add(pod, grant.netns, rebuilds=True)
                            self._datapath.finish_add(pod)
                        rebuilt.append(Repair("link", f"pod {name} had no whole datapath"))
            except (DatapathError, CNIError, StoppingError) as error:
                failed.append(f"the datapath of pod {name} cannot be built again: {error}")
        self.repair_notes.note(rebuilt)
        return failed

    def _next(self, report: NodeReport, failed: list[str]) -> Result:
        lasting = (NICMissingError, NoCarrierError, ModeUnsupportedError)
        errors = [e for e in report.errors.values() if not isinstance(e, lasting)]
        pods = [text for pod, text in report.differing.items() if pod not in report.broken]
        left = filter(None, (report.left, report.not_offloaded))
        if wrong := [*failed, *map(str, errors), *pods, *left]:
            return Retry("; ".join(wrong))
        waits = self._postponed or self._left or self._links.waits()
        if waits or self._pod_looks.is_asked() or self._grants.leftovers():
            return RequeueAfter(SOON_SECONDS)  # also for a NIC, should its notification be missed
        return RequeueAfter(LOOK_PERIOD_SECONDS)
