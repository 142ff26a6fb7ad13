"""Enqueue what depends on what has changed: each queue's keys follow from objects and grants."""

from collections.abc import Callable, Collection, Mapping
from typing import Final

from openeni_kube.result import Result
from openeni_kube.workers import Workers, no_pause
from openeni_kube.workqueue import Backoff
from openeni_nodeagent.cluster.watches import Caches
from openeni_nodeagent.enis.nic_guards import NICGuards
from openeni_nodeagent.grants.grant import Grant
from openeni_nodeagent.grants.grants import Grants
from openeni_nodeagent.reports.publishing_pace import PublishingPace

BACKOFF: Final = Backoff(base=0.25, maximum=30.0)
COALESCE_SECONDS: Final = 0.3  # a burst of pods is one reconcile of their ENI
LOOK: Final = "node"  # the one key of its queue
GUARDS: Final = "guards"  # of all ENIs: the one key of its queue
PUBLISHERS: Final = frozenset({"podips", "eni-status"})  # queues that write for each pod


class Requeues:
    """Any thread may call everything but `make_queues`, which is called before all else."""

    def __init__(self, caches: Caches, grants: Grants, guards: NICGuards, node: str) -> None:
        self.queues: dict[str, Workers[str]] = {}
        self._caches = caches
        self._grants = grants
        self._guards = guards
        self._node = node
        self._on_ports: dict[str, Collection[str] | None] = {}  # as PodIPs have been told

    def make_queues(
        self,
        reconcilers: Mapping[str, Callable[[str], Result]],
        behind: Callable[[], bool],
        busy: Callable[[], bool],
    ) -> None:
        """Make a queue for each of these, and have every change of an object or a guard passed on.

        While the caches are `behind` the API server, no PodIP and no ENI status is written: a pod
        that is not listed yet would count as gone. In an outage each try would fail, take processor
        time from the pods that start meanwhile, and lengthen its key's back-off beyond it. While
        CNI calls keep the agent `busy`, they are put off.
        """
        caches, queues = self._caches, self.queues
        pace = PublishingPace(behind, busy)
        for name, reconcile in reconcilers.items():
            pause_of = pace.pause if name in PUBLISHERS else no_pause
            queues[name] = Workers(name, reconcile, backoff=BACKOFF, pause_of=pause_of)
        caches.enis.subscribe(self.eni)
        caches.podips.subscribe(queues["podips"].add)
        caches.nodes.subscribe(queues["node"].add)
        caches.cidrs.subscribe(lambda _: queues["node"].add(self._node))
        self._guards.subscribe(lambda: queues["guards"].add(GUARDS))
        for changed in (caches.enis, caches.nodes, caches.pools):
            changed.subscribe(lambda _: self.configuration())

    def look(self, delay: float = 0.0) -> None:
        """Have the node's datapath looked at."""
        self.queues["look"].add(LOOK, delay)

    def eni(self, name: str) -> None:
        """Pass on that an ENI's object has changed: to its PodIPs if its port's addresses have.

        It changes with each pod that comes or goes: the agent itself reports how many it has.
        """
        self.queues["enis"].add(name)
        self.queues["eni-status"].add(name)
        eni = self._caches.enis.get(name)
        on_port = eni.status.port.addresses if eni and eni.status.port else None
        if name in self._on_ports and self._on_ports[name] == on_port:
            return
        if eni is None:
            self._on_ports.pop(name, None)
        else:
            self._on_ports[name] = on_port
        for grant in self._grants.of_eni(name):
            self.queues["podips"].add(grant.pod_key, COALESCE_SECONDS)

    def link(self, name: str) -> None:
        """Pass on that an ENI's link has changed, or that its guards have been read."""
        for queue in ("enis", "gateways"):
            self.queues[queue].add(name)
        self.configuration()  # it may have become ready

    def eni_status(self, name: str) -> None:
        """Pass on that what the agent reports of an ENI may have changed."""
        self.queues["eni-status"].add(name)

    def eni_statuses(self) -> None:
        """Pass on that what the agent reports of every ENI may have changed."""
        for eni in self._caches.enis.all():
            self.queues["eni-status"].add(eni.name)

    def pod(self, grant: Grant) -> None:
        """Pass on that the state of a pod's datapath has changed."""
        self.queues["podips"].add(grant.pod_key)

    def disconnected(self, key: str) -> None:
        """Pass on that a container has links that nothing needs any more."""
        self.queues["disconnected"].add(key)

    def configuration(self) -> None:
        """Pass on what may decide whether this node gets its pods' network from openeni."""
        for name in ("configuration", "node"):  # an unused node loses its labels
            self.queues[name].add(self._node)

    def configured(self) -> None:
        """Pass on that the condition CNIConfigured has changed."""
        self.queues["node"].add(self._node)
        self.eni_statuses()
