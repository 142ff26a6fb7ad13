"""The agent's parts without its threads, with a store and a kernel in memory."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from openeni_crds.conditions import Condition, Reason, Type, condition
from openeni_crds.names import Kind
from openeni_crds.podip import PodIP
from openeni_kube.clock import boot_seconds
from openeni_kube.result import Result
from openeni_kube.store import Store
from openeni_nodeagent.attachments.commands import CNICommands, CommandDependencies
from openeni_nodeagent.attachments.container_locks import ContainerLocks
from openeni_nodeagent.attachments.detacher import Detacher, pod_interface
from openeni_nodeagent.attachments.granter import Granter, GranterDependencies
from openeni_nodeagent.attachments.pool_choice import PoolChooser
from openeni_nodeagent.attachments.repair import Repairs
from openeni_nodeagent.cluster.watches import Caches
from openeni_nodeagent.datapath_api import NodeFacts, Repair
from openeni_nodeagent.enis.eni_reconciler import ENIReconciler
from openeni_nodeagent.enis.nic_guards import NICGuards
from openeni_nodeagent.grants.grant import Attachment, Grant
from openeni_nodeagent.grants.grant_log import GrantLog
from openeni_nodeagent.grants.grants import Grants
from openeni_nodeagent.grants.journal import Journal
from openeni_nodeagent.grants.netns_identity import identify
from openeni_nodeagent.grants.requests import GrantRequest
from openeni_nodeagent.looks.callbacks import LookCallbacks
from openeni_nodeagent.looks.datapath_reconciler import DatapathReconciler
from openeni_nodeagent.pod_options import PortMapping
from openeni_nodeagent.reports.eni_publisher import ENIPublisher
from openeni_nodeagent.reports.podip_publisher import PodIPPublisher
from openeni_testing.agent import node_objects
from openeni_testing.agent.memory_datapath import MemoryDatapath
from openeni_testing.store.memory import MemoryStore

CNI_CONFIGURED = condition(Type.CNI_CONFIGURED, Reason.CONFIGURED, status=True)
NODE_FACTS = NodeFacts(("10.99.0.11",), ("10.96.0.0/12",), ())


@dataclass
class AgentParts:
    """One process of a node's agent, whose files are in `folder`.

    Call `sync` where its watches would have shown a change.
    """

    folder: Path
    store: MemoryStore = field(default_factory=MemoryStore)
    datapath: MemoryDatapath = field(default_factory=lambda: MemoryDatapath(node_objects.mac(0)))
    guards: NICGuards = field(default_factory=lambda: NICGuards((), lambda _: None))
    node: str = node_objects.NODE
    behind: set[Kind] = field(default_factory=set[Kind])  # whose watches show nothing new
    make_grants: Callable[[Journal, GrantLog, Callable[[str], bool]], Grants] = Grants
    make_locks: Callable[[], ContainerLocks] = ContainerLocks

    def __post_init__(self) -> None:
        self.caches = caches = Caches()
        self._synced: dict[Kind, int] = {}
        self.journal = Journal(self.folder / "journal", "boot")
        self.log_lines: list[str] = []
        self.log = GrantLog(self.node, self.log_lines.append)
        self.locks = locks = self.make_locks()
        self.grants = grants = self.make_grants(self.journal, self.log, locks.is_at_work)
        self.disconnected: list[str] = []
        self.links = ENIReconciler(
            caches.enis,
            grants,
            self.guards,
            on_status=lambda _: None,
            on_link=self._on_link,
            on_object=lambda: None,
        )
        self.repaired = True
        self.synced = False
        self.repairs: list[Repair] = []
        self.failed_adds: list[Attachment] = []
        self.detacher = Detacher(
            grants,
            self.datapath,
            locks,
            repaired=lambda: self.repaired,
            on_disconnected=self.disconnected.append,
        )
        self.claims: list[Grant] = []
        self.commands = self._make_commands()
        self.looks = self._make_looks()
        self.looks.first_look(self.journal.state.node)
        self.looks.set_node(NODE_FACTS)
        self.publisher = self.publisher_on(self.store)
        caches.podips.subscribe(self.publisher.observe)
        self.status = self.eni_publisher()

    def _make_looks(self) -> DatapathReconciler:
        repairs = Repairs(
            self.grants,
            self.caches,
            self.locks,
            detacher=self.detacher,
            is_link_ready=self.links.is_link_ready,
        )
        return DatapathReconciler(
            self.grants,
            self.datapath,
            self.caches,
            self.links,
            repairs=repairs,
            locks=self.locks,
            callbacks=LookCallbacks(
                is_synced=lambda: self.synced,
                may_repair=lambda: self.synced,
                unfinished_links=self.detacher.unfinished_links,
                on_pod=lambda _: None,
                on_reserved=lambda: None,
                on_repaired=lambda: None,
                on_repairs=self.repairs.extend,
            ),
        )

    def _on_link(self, name: str) -> None:
        self.links.reconcile(name)

    def eni_publisher(
        self, cni_configured: Callable[[], Condition] = lambda: CNI_CONFIGURED
    ) -> ENIPublisher:
        """Return an ENIPublisher that has written nothing yet."""
        return ENIPublisher(self.store, self.caches.enis, self.grants, self.links, cni_configured)

    def publisher_on(self, store: Store) -> PodIPPublisher:
        return PodIPPublisher(store, self.caches, self.grants, self.node, self.looks.difference)

    def restarted(self) -> "AgentParts":
        """Return the next process: memory is lost, the kernel and the journal are not."""
        self.datapath.configured.clear()
        return replace(self)

    def create_objects(self, count: int = 3) -> None:
        """Create a pool and one attached ENI, and sync."""
        node_objects.make_pool(self.store)
        node_objects.make_eni(self.store)
        node_objects.write_operator_status(self.store, count=count)
        self.sync()

    def sync(self, *, look: bool = True) -> None:
        """Bring the caches up to date with the store, reconcile the ENIs, and look at the node."""
        caches = self.caches
        before = {eni.name for eni in caches.enis.all()}
        mine = f"spec.nodeName={self.node}"
        for cache, selector in (
            (caches.nodes, f"metadata.name={self.node}"),
            (caches.pools, ""),
            (caches.enis, mine),
            (caches.podips, mine),
            (caches.pods, mine),
        ):
            at = self.store.changed_at(cache.kind)
            if cache.kind in self.behind or self._synced.get(cache.kind) == at:
                continue
            self._synced[cache.kind] = at
            there = self.store.list(cache.kind, field_selector=selector).items
            kept = {body["metadata"]["uid"] for body in there}
            for known in cache.all():
                if known.metadata.uid not in kept:
                    meta = known.metadata
                    gone = {"name": meta.name, "namespace": meta.namespace, "uid": meta.uid}
                    cache.remove({"metadata": gone})
            for body in there:
                cache.put(body)
        for name in before | {eni.name for eni in caches.enis.all()}:
            self.links.reconcile(name)
        self.links.reload_guards("")
        if look:
            self.look()

    def look(self) -> Result:
        """Look at the node, with the caches as they are, and finish what has ended."""
        self.synced = True
        result = self.looks.look()
        self.finish()
        return result

    def finish(self) -> None:
        """Remove the links of pods whose grants have ended."""
        while self.disconnected:
            self.detacher.finish(self.disconnected.pop(0))

    def netns(self, container: str) -> Path:
        """Return the path of the container's namespace, which may not exist."""
        return self.folder / f"netns-{container}"

    def grant(
        self,
        name: str,
        container: str,
        uid: str = "",
        *ports: PortMapping,
        connect: bool = True,
    ) -> Grant:
        """Grant an address to a pod, with these host ports, and connect it."""
        netns = self.netns(container)
        netns.touch()
        attachment = Attachment(uid or node_objects.make_pod(self.store, name), container, "eth0")
        request = GrantRequest(
            attachment,
            "default",
            name,
            str(netns),
            "pods",
            cool_down=30,
            asked_at=boot_seconds(),
            netns_id=identify(str(netns)),
            host_ports=ports,
        )
        grant = self.grants.acquire(request, float("inf"), lambda: True)
        assert grant is not None
        if not connect:
            return grant
        facts = self.grants.facts_of(grant)
        assert facts is not None
        pod_network = self.datapath.add(pod_interface(grant, facts), str(netns))
        self.grants.mark_connected(grant, pod_network)
        connected = self.grants.find(container, "eth0")
        assert connected is not None
        return connected

    def _on_claim(self, claim: Grant) -> None:
        self.claims.append(claim)
        self.publisher.claim(claim)

    def _find_podip(self, namespace: str, name: str) -> PodIP | None:
        return self.publisher.find(namespace, name)

    def _make_commands(self) -> CNICommands:
        caches = self.caches
        chooser = PoolChooser(self.node, caches, silence=lambda: 0.0)
        granter = Granter(
            self.grants,
            GranterDependencies(
                caches.enis,
                caches.podips,
                chooser,
                wait_until_synced=lambda _, __: True,
                find_podip=self._find_podip,
                on_claim=self._on_claim,
            ),
        )
        dependencies = CommandDependencies(
            caches.pods,
            granter,
            self.links.is_link_ready,
            pods_current=lambda: True,
            on_add_failed=self.failed_adds.append,
        )
        return CNICommands(self.grants, self.datapath, self.locks, self.detacher, dependencies)
