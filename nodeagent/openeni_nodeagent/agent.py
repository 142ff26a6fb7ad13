"""The node agent: its parts, how they are connected, and the order in which they start and stop.

Start: replay the journal, look at the kernel and restore what the previous process had there (no
packet is lost), work off the DEL queue, then listen. That needs no API server; ADDs wait for the
informers. Stop: accept no calls, leave waiting ADDs to the next agent, finish what runs.
"""

import logging
import threading
from collections.abc import Iterator
from typing import Final

from openeni_kube.clock import boot_seconds
from openeni_kube.metrics import HistogramSample, Sample
from openeni_kube.store import Store
from openeni_kube.workers import stop_all
from openeni_nodeagent.attachments import del_queue
from openeni_nodeagent.attachments.commands import CNICommands, CommandDependencies
from openeni_nodeagent.attachments.container_locks import ContainerLocks
from openeni_nodeagent.attachments.detacher import Detacher
from openeni_nodeagent.attachments.granter import Granter, GranterDependencies
from openeni_nodeagent.attachments.pool_choice import PoolChooser
from openeni_nodeagent.attachments.repair import Repairs
from openeni_nodeagent.cluster.node_reconciler import NodeReconciler
from openeni_nodeagent.cluster.watches import Caches, Watches
from openeni_nodeagent.cni.install import HostFiles
from openeni_nodeagent.cni.server import CNIServer
from openeni_nodeagent.configuration_reconciler import ConfigurationReconciler
from openeni_nodeagent.datapath_api import ModeUnsupportedError, NodeDatapath, NodeFacts
from openeni_nodeagent.enis.eni_reconciler import ENIReconciler
from openeni_nodeagent.enis.gateways import GatewayReconciler
from openeni_nodeagent.enis.nic_guards import NICGuards
from openeni_nodeagent.gateway_api import GatewayProbe
from openeni_nodeagent.grant_events import GrantEvents
from openeni_nodeagent.grants.grant import Attachment, Grant
from openeni_nodeagent.grants.grant_log import GrantLog
from openeni_nodeagent.grants.grants import Grants
from openeni_nodeagent.grants.journal import Journal
from openeni_nodeagent.looks.callbacks import LookCallbacks
from openeni_nodeagent.looks.datapath_reconciler import DatapathReconciler
from openeni_nodeagent.metrics.samples import Samples
from openeni_nodeagent.periodic_tasks import DEL_QUEUE, JOURNAL, WAITS, PeriodicTasks
from openeni_nodeagent.phases import PhaseHistory
from openeni_nodeagent.readiness import Readiness
from openeni_nodeagent.reports.eni_publisher import ENIPublisher
from openeni_nodeagent.reports.podip_publisher import PodIPPublisher
from openeni_nodeagent.requeues import Requeues
from openeni_nodeagent.settings import Settings
from openeni_nodeagent.telemetry import Telemetry

FINISH_SECONDS: Final = 2.0  # for what runs at the end; an API server that hangs gets no more
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
        *,
        gateways: GatewayProbe,
    ) -> None:
        self._settings = settings
        self._store = store
        self._datapath = datapath
        self._journal = journal
        self._caches = caches = Caches()
        self._watches = Watches(store, caches, settings.node, cidrs=not settings.service_cidrs)
        self._readiness = Readiness(self._watches)
        self._grant_log = GrantLog(settings.node)
        self._locks = ContainerLocks()
        self._grants = grants = Grants(journal, self._grant_log, self._locks.is_at_work)
        self._telemetry = Telemetry(store, settings.node, caches, grants)
        self._requeues = requeues = Requeues(caches, grants, guards, settings.node)
        self._enis = ENIReconciler(
            caches.enis,
            grants,
            guards,
            on_status=requeues.eni_status,
            on_link=requeues.link,
            on_object=requeues.look,
        )
        self._gateways = GatewayReconciler(caches.enis, grants, self._enis, gateways)
        self._detacher = Detacher(
            grants,
            datapath,
            self._locks,
            repaired=self._readiness.repaired.is_set,
            on_disconnected=requeues.disconnected,
        )
        self._looks = self._make_looks()
        self._podips = PodIPPublisher(store, caches, grants, settings.node, self._looks.difference)
        self._node = self._make_node_reconciler()
        self._files = HostFiles.of(settings)
        self._server = CNIServer(
            settings.socket,
            self._make_commands().handle,
            PhaseHistory(),
            self._readiness.probes(requeues.queues, grants, self._server_problem),
            self._telemetry.call_ended,
        )
        self._make_queues()

    def start(self) -> None:
        """Start everything. Raises DatapathError, InstallError, OSError: one line says why."""
        datapath_modes = self._datapath.datapath_modes()
        if not datapath_modes:
            raise ModeUnsupportedError(
                "this kernel supports neither veth nor ipvlan: "
                "load the module veth or ipvlan, or use a kernel that has them"
            )
        _log.info("this kernel supports: %s", ", ".join(sorted(datapath_modes)))
        self._telemetry.start()
        self._files.upgrade()
        now, cooling = boot_seconds(), self._journal.state.cooling_until.items()
        # After its cool-down an address may be another node's pod's: that one keeps its flows.
        self._datapath.forget_flows({address for address, until in cooling if until > now})
        self._looks.first_look(self._journal.state.node)
        if left := del_queue.replay(self._settings.queue, self._detacher):
            _log.warning("%d queued DELs failed and will be retried", left)
        self._watches.start()
        for queue in self._requeues.queues.values():
            queue.start()
        self._datapath.subscribe(lambda: self._requeues.look(self._looks.pace.changed()))
        self._server.start()
        self._readiness.start(self._serve, self._enis.sweep_guards, self._name_cluster)
        for task in (DEL_QUEUE, JOURNAL, WAITS):
            self._requeues.queues["periodic"].add(task)
        self._requeues.look()

    def stop(self) -> None:
        """Finish running calls; pods, their addresses and the datapath stay as they are."""
        self._readiness.stop()
        self._grants.stop()
        self._locks.stop()
        self._server.stop()
        self._watches.stop()
        stop_all(self._requeues.queues.values(), FINISH_SECONDS)
        self._detacher.stop()
        self._datapath.close()
        self._telemetry.stop()
        last = threading.Thread(target=self._grant_log.flush, daemon=True)
        last.start()
        last.join(FINISH_SECONDS)
        self._journal.close()

    def samples(self) -> Iterator[Sample | HistogramSample]:
        """Take the samples of the agent's metrics."""
        return Samples(
            self._telemetry.calls,
            self._telemetry.events,
            self._grants,
            self._grant_log,
            self._journal,
            self._caches,
            self._watches,
            self._looks,
            self._requeues.queues,
            self._settings.queue,
        ).take()

    def _server_problem(self) -> str:
        return self._server.problem()

    def _make_looks(self) -> DatapathReconciler:
        caches, grants, requeues = self._caches, self._grants, self._requeues
        repairs = Repairs(
            grants,
            caches,
            self._locks,
            detacher=self._detacher,
            is_link_ready=self._enis.is_link_ready,
        )
        callbacks = LookCallbacks(
            is_synced=self._readiness.synced.is_set,
            may_repair=self._readiness.pods_current,
            unfinished_links=self._detacher.unfinished_links,
            on_pod=requeues.pod,
            on_reserved=requeues.eni_statuses,
            on_repaired=self._readiness.repaired.set,
            on_repairs=self._telemetry.repaired,
        )
        return DatapathReconciler(
            grants,
            self._datapath,
            caches,
            self._enis,
            repairs=repairs,
            locks=self._locks,
            callbacks=callbacks,
        )

    def _make_node_reconciler(self) -> NodeReconciler:
        return NodeReconciler(
            self._store,
            self._datapath,
            self._grants,
            settings=self._settings,
            nodes=self._caches.nodes,
            cidrs=self._caches.cidrs,
            is_unused=self._is_unused,
            on_facts=self._on_facts,
        )

    def _make_configuration(self) -> ConfigurationReconciler:
        return ConfigurationReconciler(
            self._settings.node,
            self._files,
            self._caches,
            self._grants,
            self._enis,
            is_synced=self._readiness.synced.is_set,
            on_change=self._requeues.configured,
        )

    def _make_commands(self) -> CNICommands:
        dependencies = CommandDependencies(
            self._caches.pods,
            Granter(self._grants, self._granter_dependencies()),
            is_link_ready=self._enis.is_link_ready,
            pods_current=self._readiness.pods_current,
            on_add_failed=self._on_add_failed,
        )
        return CNICommands(self._grants, self._datapath, self._locks, self._detacher, dependencies)

    def _granter_dependencies(self) -> GranterDependencies:
        caches = self._caches
        chooser = PoolChooser(self._settings.node, caches, silence=self._watches.pods_age)
        return GranterDependencies(
            caches.enis,
            caches.podips,
            chooser,
            wait_until_synced=self._readiness.wait_until_synced,
            find_podip=self._podips.find,
            on_claim=self._on_claim,
        )

    def _make_queues(self) -> None:
        caches, grants, detacher = self._caches, self._grants, self._detacher
        configuration = self._make_configuration()
        enis = ENIPublisher(self._store, caches.enis, grants, self._enis, configuration.condition)
        events = GrantEvents(grants, self._grant_log, self._requeues, enis.note_use)
        tasks = PeriodicTasks(grants, detacher, self._settings.queue, self._telemetry.pod_events)
        self._requeues.make_queues(
            {
                "look": self._looks.look,
                "enis": self._enis.reconcile,
                "gateways": self._gateways.reconcile,
                "guards": self._enis.reload_guards,
                "eni-status": enis.reconcile,
                "podips": self._podips.reconcile,
                "node": self._node.reconcile,
                "periodic": tasks.run,
                "disconnected": detacher.finish,
                "configuration": configuration.reconcile,
                "grants": events.pass_on,
                "grant-log": events.flush,
            },
            self._readiness.behind,
            self._server.busy,
        )
        grants.subscribe(events.note)
        caches.podips.subscribe(self._podips.observe)

    def _on_facts(self, facts: NodeFacts) -> None:
        self._looks.set_node(facts)
        self._requeues.look()

    def _on_claim(self, claim: Grant) -> None:
        self._podips.claim(claim)
        self._requeues.pod(claim)

    def _on_add_failed(self, attachment: Attachment) -> None:
        self._looks.look_into(attachment)
        self._requeues.look(self._looks.pace.delay())

    def _is_unused(self) -> bool | None:
        """Return whether there is no pool, and nothing of openeni on this node; None: unknown."""
        used = self._caches.pools.all() or self._caches.enis.all() or self._grants.all()
        return not (used or self._files.installed()) if self._readiness.synced.is_set() else None

    def _serve(self) -> None:
        """Wait for the node's facts, then serve ADDs and repair. Again, it does no harm."""
        self._requeues.queues["node"].add(self._settings.node)
        while self._node.facts() is None and not self._readiness.stopping.wait(0.05):
            pass
        self._readiness.synced.set()
        for grant in self._grants.all():
            self._requeues.pod(grant)
        self._requeues.look()
        self._requeues.configuration()

    def _name_cluster(self) -> None:
        self._grant_log.cluster = self._watches.cluster_id()
