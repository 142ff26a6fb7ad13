"""The node agent: its parts, wired once, and the order in which they begin and end.

Start: replay the journal, prepare node and ENIs as the earlier process left them (idempotent, no
packet lost), keep back what the kernel carries, work off the DEL queue, then listen. The API server
is needed for none of that; ADDs wait until the caches are filled. Stop: no new calls, those that
wait go to the next agent, what runs is finished, and no pod is touched.
"""

import logging
import threading
import time
from collections.abc import Callable
from typing import Final, TypeAlias

from openeni_kube.result import RequeueAfter, Result, Retry
from openeni_kube.store import Store
from openeni_kube.workers import Workers
from openeni_kube.workqueue import Backoff
from openeni_nodeagent.attachments import del_queue
from openeni_nodeagent.attachments.attach import Attach, Sources
from openeni_nodeagent.attachments.calls import StoppingError
from openeni_nodeagent.attachments.phases import Record
from openeni_nodeagent.attachments.pool_choice import PoolChooser
from openeni_nodeagent.cluster.own_node import NodeSide
from openeni_nodeagent.cluster.watches import Caches, Watches
from openeni_nodeagent.cni.install import InstallError, install_conflist, install_executable
from openeni_nodeagent.cni.server import Server
from openeni_nodeagent.grants.grants import Grants
from openeni_nodeagent.grants.journal import Journal
from openeni_nodeagent.grants.ledger import Grant
from openeni_nodeagent.grants.repair import Caches as RepairCaches
from openeni_nodeagent.grants.repair import Repair
from openeni_nodeagent.links.guest import Guest, GuestError
from openeni_nodeagent.links.links import Links
from openeni_nodeagent.reports.eni_publisher import EniStatus
from openeni_nodeagent.reports.podip_publisher import Publisher, key_of
from openeni_nodeagent.settings import Settings
from openeni_nodeagent.wiring import ModeUnsupportedError, NodeFacts, Wiring

HEARTBEAT_SECONDS: Final = 10.0
COMPACT_SECONDS: Final = 60.0
AFTERWARDS_SECONDS: Final = 0.02
COALESCE_SECONDS: Final = 0.3  # a burst of pods is one look at their ENI
BACKOFF: Final = Backoff(first=0.25, longest=30.0)
Timer: TypeAlias = Callable[[], Result]
_log: Final = logging.getLogger(__name__)


class Agent:
    """start(), then stop(). `phases` holds how long the last calls took."""

    def __init__(
        self, settings: Settings, store: Store, wiring: Wiring, journal: Journal, guest: Guest
    ) -> None:
        self._settings = settings
        self._wiring = wiring
        self._journal = journal
        self._guest = guest
        self._stopping = threading.Event()
        self._filled = threading.Event()
        self._settled = threading.Event()
        self.phases = Record()
        self._caches = caches = Caches()
        self._watches = Watches(store, caches, settings.node, cidrs=not settings.service_cidrs)
        self._grants = grants = Grants(journal)
        self._node = NodeSide(
            store,
            wiring,
            grants,
            settings=settings,
            nodes=caches.nodes,
            cidrs=caches.cidrs,
            changed=self._node_changed,
        )
        self._links = Links(
            caches.enis, grants, wiring, guest, node=self._node_facts, told=self._eni_told
        )
        self._status = EniStatus(store, caches.enis, grants, self._links)
        self._publisher = Publisher(store, caches.podips, caches.enis, grants, settings.node)
        self._attach = Attach(grants, wiring, self._sources())
        self._repair = Repair(
            grants,
            wiring,
            self._attach,
            RepairCaches(caches.pods, caches.podips, caches.enis),
            self._links.is_prepared,
        )
        self._server = Server(settings.socket, self._attach.handle, self.phases)
        self._queues = self._make_queues()
        self._listen()

    def start(self) -> None:
        """Raises WiringError, InstallError, OSError: one line says what is wrong."""
        modes = self._wiring.modes()
        if not modes:
            raise ModeUnsupportedError(
                "this kernel can connect pods neither by veth nor by ipvlan: "
                "load the modules veth or ipvlan, or use a kernel that has them"
            )
        _log.info("this kernel can do: %s", ", ".join(sorted(modes)))
        install_executable(self._settings.executable, self._settings.bin_folder)
        remembered = self._journal.known.node
        if remembered is not None:
            self._node.restore(remembered)
            self._links.restore(remembered)
        self._repair.reserve()
        left = del_queue.replay(self._settings.queue, self._attach)
        if left:
            _log.warning("%d queued DELs are left to be tried again", left)
        self._settings.heartbeat.touch()
        self._watches.start()
        for queue in self._queues.values():
            queue.start()
        self._server.start()
        threading.Thread(target=self._serve_when_filled, name="filling", daemon=True).start()
        self._begin_timers()

    def stop(self) -> None:
        """Finish what runs; pods, their addresses and the datapath stay as they are."""
        self._stopping.set()
        self._filled.set()
        self._grants.stop()
        self._server.stop()
        self._watches.stop()
        for queue in self._queues.values():
            queue.stop(2.0)
        self._journal.close()

    def filled(self) -> bool:
        """Whether the agent has read its objects and serves warm ADDs."""
        return self._filled.is_set() and not self._stopping.is_set()

    def knows_pod(self, uid: str) -> bool:
        """Whether the watch has shown this pod, and not yet its end."""
        return self._caches.pods.get(uid) is not None

    def waiting(self) -> dict[str, int]:
        """How many pods wait for an address, by pool."""
        return self._grants.waiting()

    def _sources(self) -> Sources:
        caches = self._caches
        chooser = PoolChooser(
            self._settings.node,
            nodes=caches.nodes,
            pods=caches.pods,
            pools=caches.pools,
            namespaces=caches.namespaces,
            silence=self._watches.pods_silence,
        )
        return Sources(
            caches.pods,
            caches.enis,
            chooser,
            self._links.is_prepared,
            self._ready,
            self._settled.is_set,
            lambda: self._filled.is_set() and self._watches.pods_known(),
        )

    def _ready(self, deadline: float) -> bool:
        filled = self._filled.wait(max(deadline - time.monotonic(), 0))
        if self._stopping.is_set():
            raise StoppingError
        return filled

    def _node_facts(self) -> NodeFacts | None:
        return self._node.facts()

    def _make_queues(self) -> dict[str, Workers[str]]:
        timers: dict[str, Timer] = {
            "compact": self._compact,
            "queue": self._replay,
            "repair": self._look,
        }
        reconcilers: dict[str, Callable[[str], Result]] = {
            "links": self._links.reconcile,
            "status": self._status.reconcile,
            "podips": self._publisher.reconcile,
            "node": self._node.reconcile,
            "timers": lambda name: timers[name](),
            "heartbeat": self._beat,
        }
        return {
            name: Workers(name, reconcile, backoff=BACKOFF)
            for name, reconcile in reconcilers.items()
        }

    def _listen(self) -> None:
        caches, queues = self._caches, self._queues
        caches.enis.listen(self._eni_changed)
        caches.podips.listen(queues["podips"].add)
        caches.nodes.listen(queues["node"].add)
        caches.cidrs.listen(lambda _: queues["node"].add(self._settings.node))
        self._grants.listen(self._grant_changed)

    def _begin_timers(self) -> None:
        self._queues["heartbeat"].add("heartbeat")
        self._queues["timers"].add("queue", del_queue.PERIOD_SECONDS)
        self._queues["timers"].add("compact", COMPACT_SECONDS)

    def _eni_changed(self, name: str) -> None:
        self._queues["links"].add(name)
        self._queues["status"].add(name)
        for grant in self._grants.of_eni(name):
            self._queues["podips"].add(key_of(grant), COALESCE_SECONDS)

    def _eni_told(self, name: str) -> None:
        self._queues["status"].add(name)

    def _grant_changed(self, grant: Grant) -> None:
        """Tell it after the pod has its answer: the ADD is still on its way."""
        self._status.used(grant)
        self._queues["podips"].add(key_of(grant), AFTERWARDS_SECONDS)
        self._queues["links"].add(grant.eni, COALESCE_SECONDS)
        self._queues["status"].add(grant.eni, COALESCE_SECONDS)

    def _node_changed(self) -> None:
        for eni in self._caches.enis.all():
            self._queues["links"].add(eni.name)

    def _serve_when_filled(self) -> None:
        """Once the caches are filled: the node, what disagrees, ADDs, the configuration."""
        self._watches.wait(self._stopping)
        if self._stopping.is_set():
            return
        self._queues["node"].add(self._settings.node)
        while self._node.facts() is None and not self._stopping.wait(0.05):
            pass
        try:
            self._guest.sweep(
                eni.status.port.mac_address for eni in self._caches.enis.all() if eni.status.port
            )
        except GuestError as error:
            _log.warning("%s", error)
        self._filled.set()
        for grant in self._grants.all():
            self._queues["podips"].add(key_of(grant))
        self._queues["timers"].add("repair")
        self._install()

    def _install(self) -> None:
        while not self._stopping.is_set():
            try:
                install_conflist(self._settings.conf_folder)
            except InstallError as error:
                _log.error("%s", error)
                self._stopping.wait(HEARTBEAT_SECONDS)
            else:
                _log.info("serving pods of node %s", self._settings.node)
                return

    def _beat(self, _: str) -> Result:
        self._settings.heartbeat.touch()
        return RequeueAfter(HEARTBEAT_SECONDS)

    def _compact(self) -> Result:
        try:
            self._journal.compact()
        except OSError as error:
            return Retry(f"the journal cannot be compacted: {error}")
        return RequeueAfter(COMPACT_SECONDS)

    def _replay(self) -> Result:
        del_queue.replay(self._settings.queue, self._attach)
        return RequeueAfter(del_queue.PERIOD_SECONDS)

    def _look(self) -> Result:
        if not self._watches.pods_known():
            return RequeueAfter(HEARTBEAT_SECONDS)
        again = self._repair.look()
        self._settled.set()
        return RequeueAfter(again)
