"""The node agent: its parts, how they are connected, and the order in which they start and stop.

Start: replay the journal, configure node and ENIs as the previous process left them (idempotent, no
packet is lost), reserve the addresses that the kernel has, work off the DEL queue, then listen.
None of that needs the API server; ADDs wait until the informers have synced. Stop: accept no calls,
leave waiting ADDs to the next agent, finish what runs, and touch no pod.
"""

import logging
import threading
import time
from collections.abc import Callable
from typing import Final, TypeAlias

from openeni_kube.result import RequeueAfter, Result, Retry
from openeni_kube.store import Store
from openeni_kube.workers import Workers, stop_all
from openeni_kube.workqueue import Backoff
from openeni_nodeagent.attachments import del_queue, repair
from openeni_nodeagent.attachments.commands import CNICommands, CommandDependencies
from openeni_nodeagent.attachments.pool_choice import PoolChooser
from openeni_nodeagent.cluster.node_reconciler import NodeReconciler
from openeni_nodeagent.cluster.watches import Caches, Watches
from openeni_nodeagent.cni.call import StoppingError
from openeni_nodeagent.cni.install import HostFiles
from openeni_nodeagent.cni.server import CNIServer
from openeni_nodeagent.configuration_reconciler import ConfigurationReconciler
from openeni_nodeagent.datapath_api import ModeUnsupportedError, NodeDatapath
from openeni_nodeagent.enis.link_reconciler import LinkReconciler
from openeni_nodeagent.enis.nic_guards import GuardError, NICGuards
from openeni_nodeagent.grants.grants import Grants
from openeni_nodeagent.grants.journal import Journal
from openeni_nodeagent.grants.ledger import Grant
from openeni_nodeagent.phases import PhaseHistory
from openeni_nodeagent.reports.eni_publisher import ENIPublisher
from openeni_nodeagent.reports.podip_publisher import PodIPPublisher, key_of
from openeni_nodeagent.settings import Settings

STALE_SECONDS: Final = 10.0  # until another look at whether the cache of pods is current
COMPACT_SECONDS: Final = 60.0
PODIP_SECONDS: Final = 0.02  # after a grant changed: its ADD is answered first
COALESCE_SECONDS: Final = 0.3  # a burst of pods is one reconcile of their ENI
FINISH_SECONDS: Final = 2.0  # for what runs at the end; an API server that hangs gets no more
BACKOFF: Final = Backoff(base=0.25, maximum=30.0)
PeriodicTask: TypeAlias = Callable[[], Result]
_log: Final = logging.getLogger(__name__)


class Agent:
    """Call start(), then stop()."""

    def __init__(
        self,
        settings: Settings,
        store: Store,
        datapath: NodeDatapath,
        journal: Journal,
        guards: NICGuards,
    ) -> None:
        self._settings = settings
        self._datapath = datapath
        self._journal = journal
        self._guards = guards
        self._stopping = threading.Event()
        self._synced, self._repaired = threading.Event(), threading.Event()
        self._caches = caches = Caches()
        self._watches = Watches(store, caches, settings.node, cidrs=not settings.service_cidrs)
        self._grants = grants = Grants(journal)
        self._node = NodeReconciler(
            store,
            datapath,
            grants,
            settings=settings,
            nodes=caches.nodes,
            cidrs=caches.cidrs,
            is_unused=self._is_unused,
            on_change=self._requeue_enis,
        )
        self._links = LinkReconciler(
            caches.enis,
            grants,
            datapath,
            guards,
            node=self._node.facts,
            on_change=self._requeue_eni_status,
        )
        self._files = _host_files(settings)
        self._configuration = self._make_configuration()
        self._eni_publisher = ENIPublisher(
            store, caches.enis, grants, self._links, self._configuration.condition
        )
        self._podip_publisher = PodIPPublisher(
            store, caches.podips, caches.enis, grants, settings.node
        )
        self._commands = commands = CNICommands(grants, datapath, self._dependencies())
        is_link_ready = self._links.is_link_ready
        self._repair = repair.Repair(grants, datapath, commands, caches, is_link_ready)
        probes = {"live": self._dead, "ready": self._unready}
        self._server = CNIServer(settings.socket, self._commands.handle, PhaseHistory(), probes)
        self._queues = self._make_queues()
        self._subscribe()

    def start(self) -> None:
        """Start everything. Raises DatapathError, InstallError, OSError: one line says why."""
        datapath_modes = self._datapath.datapath_modes()
        if not datapath_modes:
            raise ModeUnsupportedError(
                "this kernel supports neither veth nor ipvlan: "
                "load the module veth or ipvlan, or use a kernel that has them"
            )
        _log.info("this kernel supports: %s", ", ".join(sorted(datapath_modes)))
        self._files.upgrade()
        node = self._journal.state.node
        if node is not None:
            self._node.restore(node)
            self._links.restore(node)
        self._repair.reserve()
        left = del_queue.replay(self._settings.queue, self._commands)
        if left:
            _log.warning("%d queued DELs failed and will be retried", left)
        self._watches.start()
        for queue in self._queues.values():
            queue.start()
        self._server.start()
        threading.Thread(target=self._serve_once_synced, name="sync", daemon=True).start()
        self._start_timers()

    def stop(self) -> None:
        """Finish running calls; pods, their addresses and the datapath stay as they are."""
        self._stopping.set()
        self._synced.set()
        self._grants.stop()
        self._server.stop()
        self._watches.stop()
        stop_all(self._queues.values(), FINISH_SECONDS)
        self._journal.close()

    def _make_configuration(self) -> ConfigurationReconciler:
        return ConfigurationReconciler(
            self._settings.node,
            self._files,
            self._caches,
            self._grants,
            self._links,
            is_synced=self._synced.is_set,
            on_change=self._on_configuration,
        )

    def _dependencies(self) -> CommandDependencies:
        caches = self._caches
        chooser = PoolChooser(
            self._settings.node,
            nodes=caches.nodes,
            pods=caches.pods,
            pools=caches.pools,
            namespaces=caches.namespaces,
            silence=self._watches.pods_age,
        )
        return CommandDependencies(
            caches.pods,
            caches.enis,
            chooser,
            is_link_ready=self._links.is_link_ready,
            wait_until_synced=self._wait_until_synced,
            repaired=self._repaired.is_set,
            pods_current=lambda: self._synced.is_set() and self._watches.pods_current(),
        )

    def _wait_until_synced(self, deadline: float) -> bool:
        synced = self._synced.wait(max(deadline - time.monotonic(), 0))
        if self._stopping.is_set():
            raise StoppingError
        return synced

    def _make_queues(self) -> dict[str, Workers[str]]:
        timers: dict[str, PeriodicTask] = {
            "compact": self._compact_journal,
            "queue": self._replay_del_queue,
            "repair": self._run_repair,
        }
        reconcilers: dict[str, Callable[[str], Result]] = {
            "enis": self._links.reconcile,
            "eni-status": self._eni_publisher.reconcile,
            "podips": self._podip_publisher.reconcile,
            "node": self._node.reconcile,
            "timers": lambda name: timers[name](),
            "configuration": self._configuration.reconcile,
        }
        return {
            name: Workers(name, reconcile, backoff=BACKOFF)
            for name, reconcile in reconcilers.items()
        }

    def _subscribe(self) -> None:
        caches, queues = self._caches, self._queues
        caches.enis.subscribe(self._on_eni)
        caches.podips.subscribe(queues["podips"].add)
        caches.nodes.subscribe(queues["node"].add)
        caches.cidrs.subscribe(lambda _: queues["node"].add(self._settings.node))
        for changed in (caches.enis, caches.nodes, caches.pools):
            changed.subscribe(lambda _: self._requeue_configuration())
        self._grants.subscribe(self._on_grant)

    def _start_timers(self) -> None:
        self._queues["timers"].add("queue", del_queue.REPLAY_PERIOD_SECONDS)
        self._queues["timers"].add("compact", COMPACT_SECONDS)

    def _on_eni(self, name: str) -> None:
        self._queues["enis"].add(name)
        self._queues["eni-status"].add(name)
        for grant in self._grants.of_eni(name):
            self._queues["podips"].add(key_of(grant), COALESCE_SECONDS)

    def _on_grant(self, grant: Grant) -> None:
        self._eni_publisher.note_use(grant)
        self._queues["podips"].add(key_of(grant), PODIP_SECONDS)
        self._queues["enis"].add(grant.eni, COALESCE_SECONDS)
        self._queues["eni-status"].add(grant.eni, COALESCE_SECONDS)

    def _requeue_eni_status(self, name: str) -> None:
        self._queues["eni-status"].add(name)
        self._requeue_configuration()  # its link may have become ready

    def _is_unused(self) -> bool | None:
        """Return whether there is no pool, and nothing of openeni on this node; None: unknown."""
        used = self._caches.pools.all() or self._caches.enis.all() or self._grants.all()
        return not (used or self._files.installed()) if self._synced.is_set() else None

    def _on_configuration(self) -> None:
        self._queues["node"].add(self._settings.node)
        self._requeue_eni_statuses()

    def _requeue_eni_statuses(self) -> None:
        for eni in self._caches.enis.all():
            self._queues["eni-status"].add(eni.name)

    def _requeue_configuration(self) -> None:
        for name in ("configuration", "node"):  # an unused node loses its labels
            self._queues[name].add(self._settings.node)

    def _requeue_enis(self) -> None:
        for eni in self._caches.enis.all():
            self._queues["enis"].add(eni.name)

    def _serve_once_synced(self) -> None:
        """Wait for informers and node, then serve ADDs and repair."""
        self._watches.wait(self._stopping)
        if self._stopping.is_set():
            return
        self._queues["node"].add(self._settings.node)
        while self._node.facts() is None and not self._stopping.wait(0.05):
            pass
        try:
            self._guards.sweep(
                eni.status.port.mac_address for eni in self._caches.enis.all() if eni.status.port
            )
        except GuardError as error:
            _log.warning("guards of former ENIs are left: %s", error)
        self._synced.set()
        for grant in self._grants.all():
            self._queues["podips"].add(key_of(grant))
        self._queues["timers"].add("repair")
        self._requeue_configuration()

    def _dead(self) -> str:
        """Return what only a restart can mend; the answer itself shows that the socket serves."""
        ended = [name for name, queue in self._queues.items() if not queue.alive()]
        return f"ended: {', '.join(ended)}" if ended else ""

    def _unready(self) -> str:
        """Return what keeps this process from serving pods."""
        if not self._synced.is_set():
            return "the objects of this node have not been read from the API server"
        if not self._repaired.is_set():
            return "the pods of this node have not been looked at"
        return self._dead()

    def _compact_journal(self) -> Result:
        try:
            self._journal.compact()
        except OSError as error:
            return Retry(f"the journal cannot be compacted: {error}")
        return RequeueAfter(COMPACT_SECONDS)

    def _replay_del_queue(self) -> Result:
        del_queue.replay(self._settings.queue, self._commands)
        return RequeueAfter(del_queue.REPLAY_PERIOD_SECONDS)

    def _run_repair(self) -> Result:
        if not self._watches.pods_current():
            return RequeueAfter(STALE_SECONDS)
        self._repair.run()
        self._repaired.set()
        return RequeueAfter(repair.REPAIR_PERIOD_SECONDS)


def _host_files(settings: Settings) -> HostFiles:
    return HostFiles(
        settings.executable, settings.bin_folder, settings.conf_folder, settings.served
    )
