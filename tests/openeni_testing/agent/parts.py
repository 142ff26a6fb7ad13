"""The agent's parts without its threads, over a store and a kernel in memory."""

from dataclasses import dataclass, field, replace
from pathlib import Path

from openeni_kube.store import Store
from openeni_nodeagent.attachments.attach import Attach, Sources, pod_facts
from openeni_nodeagent.attachments.pool_choice import PoolChooser
from openeni_nodeagent.cluster.watches import Caches
from openeni_nodeagent.grants.grants import Ask, Grants
from openeni_nodeagent.grants.journal import Journal
from openeni_nodeagent.grants.ledger import Grant, Holder
from openeni_nodeagent.grants.repair import Caches as RepairCaches
from openeni_nodeagent.grants.repair import Repair
from openeni_nodeagent.links.guest import Guest
from openeni_nodeagent.links.links import Links
from openeni_nodeagent.reports.eni_publisher import EniStatus
from openeni_nodeagent.reports.podip_publisher import Publisher
from openeni_nodeagent.wiring import NodeFacts
from openeni_testing.agent import node_objects
from openeni_testing.agent.wiring import MemoryWiring
from openeni_testing.store.memory import MemoryStore

NODE_FACTS = NodeFacts(("10.99.0.11",), ("10.96.0.0/12",), ())


@dataclass
class NodeParts:
    """One process of the agent on node n1, whose files are in `folder`.

    Call `look` where its watches would have shown what is new.
    """

    folder: Path
    store: MemoryStore = field(default_factory=MemoryStore)
    wiring: MemoryWiring = field(default_factory=lambda: MemoryWiring(node_objects.mac(0)))

    def __post_init__(self) -> None:
        self.caches = caches = Caches()
        self.grants = grants = Grants(Journal(self.folder / "journal", "boot"))
        self.wiring.prepare_node(NODE_FACTS)
        self.links = Links(
            caches.enis,
            grants,
            self.wiring,
            Guest((), lambda _: None),
            node=lambda: NODE_FACTS,
            told=lambda _: None,
        )
        self.attach = Attach(grants, self.wiring, self._sources())
        kept = RepairCaches(caches.pods, caches.podips, caches.enis)
        self.repair = Repair(grants, self.wiring, self.attach, kept, self.links.is_prepared)
        self.publisher = self.publisher_on(self.store)
        self.status = EniStatus(self.store, caches.enis, grants, self.links)

    def publisher_on(self, store: Store) -> Publisher:
        caches = self.caches
        return Publisher(store, caches.podips, caches.enis, self.grants, node_objects.NODE)

    def again(self) -> "NodeParts":
        """The next process: what was only in memory is gone, what the kernel carries is not."""
        self.wiring.prepared.clear()
        return replace(self)

    def furnish(self, count: int = 3) -> None:
        """Give the cluster a pool and one attached ENI, and see it."""
        node_objects.make_pool(self.store)
        node_objects.make_eni(self.store)
        node_objects.operator_says(self.store, count=count)
        self.look()

    def look(self) -> None:
        """Have the caches show what the store holds, and the links prepared."""
        caches = self.caches
        for cache in (caches.enis, caches.podips, caches.pods):
            there = self.store.list(cache.kind).items
            kept = {body["metadata"]["uid"] for body in there}
            for known in cache.all():
                if known.metadata.uid not in kept:
                    meta = known.metadata
                    gone = {"name": meta.name, "namespace": meta.namespace, "uid": meta.uid}
                    cache.drop({"metadata": gone})
            for body in there:
                cache.take(body)
        for eni in caches.enis.all():
            self.links.reconcile(eni.name)

    def netns(self, container: str) -> Path:
        """Where the container's namespace is mounted, if it is."""
        return self.folder / f"netns-{container}"

    def grant(self, name: str, container: str, uid: str = "", *, connect: bool = True) -> Grant:
        """Grant an address to a pod, and connect it."""
        netns = self.netns(container)
        netns.touch()
        holder = Holder(uid or node_objects.make_pod(self.store, name), container, "eth0")
        ask = Ask(holder, "default", name, str(netns), "pods", rest=30)
        grant = self.grants.acquire(ask, float("inf"), lambda: True)
        assert grant is not None
        if not connect:
            return grant
        facts = self.grants.facts(grant.eni)
        assert facts is not None
        return self.grants.connected(grant, self.wiring.add(pod_facts(grant, facts), str(netns)))

    def _sources(self) -> Sources:
        caches = self.caches
        chooser = PoolChooser(
            node_objects.NODE,
            nodes=caches.nodes,
            pods=caches.pods,
            pools=caches.pools,
            namespaces=caches.namespaces,
            silence=lambda: 0.0,
        )
        return Sources(
            caches.pods,
            caches.enis,
            chooser,
            self.links.is_prepared,
            ready=lambda _: True,
            settled=lambda: True,
            pods_known=lambda: True,
        )
