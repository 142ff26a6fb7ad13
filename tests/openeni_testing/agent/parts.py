"""The agent's parts without its threads, with a store and a kernel in memory."""

from dataclasses import dataclass, field, replace
from pathlib import Path

from openeni_crds.conditions import Reason, Type, condition
from openeni_kube.store import Store
from openeni_nodeagent.attachments.commands import CNICommands, CommandDependencies, pod_interface
from openeni_nodeagent.attachments.pool_choice import PoolChooser
from openeni_nodeagent.attachments.repair import Repair
from openeni_nodeagent.cluster.watches import Caches
from openeni_nodeagent.datapath_api import NodeFacts
from openeni_nodeagent.enis.link_reconciler import LinkReconciler
from openeni_nodeagent.enis.nic_guards import NICGuards
from openeni_nodeagent.grants.grants import GrantRequest, Grants
from openeni_nodeagent.grants.journal import Journal
from openeni_nodeagent.grants.ledger import Attachment, Grant
from openeni_nodeagent.reports.eni_publisher import ENIPublisher
from openeni_nodeagent.reports.podip_publisher import PodIPPublisher
from openeni_testing.agent import node_objects
from openeni_testing.agent.memory_datapath import MemoryDatapath
from openeni_testing.store.memory import MemoryStore

CNI_CONFIGURED = condition(Type.CNI_CONFIGURED, Reason.CONFIGURED, status=True)
NODE_FACTS = NodeFacts(("10.99.0.11",), ("10.96.0.0/12",), ())


@dataclass
class AgentParts:
    """One process of the agent on node n1, whose files are in `folder`.

    Call `sync` where its watches would have shown a change.
    """

    folder: Path
    store: MemoryStore = field(default_factory=MemoryStore)
    datapath: MemoryDatapath = field(default_factory=lambda: MemoryDatapath(node_objects.mac(0)))

    def __post_init__(self) -> None:
        self.caches = caches = Caches()
        self.journal = Journal(self.folder / "journal", "boot")
        self.grants = grants = Grants(self.journal)
        self.datapath.configure_node(NODE_FACTS)
        self.links = LinkReconciler(
            caches.enis,
            grants,
            self.datapath,
            NICGuards((), lambda _: None),
            node=lambda: NODE_FACTS,
            on_change=lambda _: None,
        )
        self.commands = CNICommands(grants, self.datapath, self._dependencies())
        self.repair = Repair(grants, self.datapath, self.commands, caches, self.links.is_link_ready)
        self.publisher = self.publisher_on(self.store)
        self.status = self.eni_publisher()

    def eni_publisher(self) -> ENIPublisher:
        """Return an ENIPublisher that has written nothing yet."""
        return ENIPublisher(
            self.store, self.caches.enis, self.grants, self.links, lambda: CNI_CONFIGURED
        )

    def publisher_on(self, store: Store) -> PodIPPublisher:
        caches = self.caches
        return PodIPPublisher(store, caches.podips, caches.enis, self.grants, node_objects.NODE)

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

    def sync(self) -> None:
        """Bring the caches up to date with the store, and reconcile the ENIs."""
        caches = self.caches
        for cache in (caches.pools, caches.enis, caches.podips, caches.pods):
            there = self.store.list(cache.kind).items
            kept = {body["metadata"]["uid"] for body in there}
            for known in cache.all():
                if known.metadata.uid not in kept:
                    meta = known.metadata
                    gone = {"name": meta.name, "namespace": meta.namespace, "uid": meta.uid}
                    cache.remove({"metadata": gone})
            for body in there:
                cache.put(body)
        for eni in caches.enis.all():
            self.links.reconcile(eni.name)

    def netns(self, container: str) -> Path:
        """Return the path of the container's namespace, which may not exist."""
        return self.folder / f"netns-{container}"

    def grant(self, name: str, container: str, uid: str = "", *, connect: bool = True) -> Grant:
        """Grant an address to a pod, and connect it."""
        netns = self.netns(container)
        netns.touch()
        attachment = Attachment(uid or node_objects.make_pod(self.store, name), container, "eth0")
        request = GrantRequest(attachment, "default", name, str(netns), "pods", cool_down=30)
        grant = self.grants.acquire(request, float("inf"), lambda: True)
        assert grant is not None
        if not connect:
            return grant
        facts = self.grants.facts(grant.eni)
        assert facts is not None
        pod_network = self.datapath.add(pod_interface(grant, facts), str(netns))
        self.grants.mark_connected(grant, pod_network)
        connected = self.grants.find(container, "eth0")
        assert connected is not None
        return connected

    def _dependencies(self) -> CommandDependencies:
        caches = self.caches
        chooser = PoolChooser(
            node_objects.NODE,
            nodes=caches.nodes,
            pods=caches.pods,
            pools=caches.pools,
            namespaces=caches.namespaces,
            silence=lambda: 0.0,
        )
        return CommandDependencies(
            caches.pods,
            caches.enis,
            chooser,
            self.links.is_link_ready,
            wait_until_synced=lambda _: True,
            repaired=lambda: True,
            pods_current=lambda: True,
        )
