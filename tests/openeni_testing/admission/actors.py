"""The operator and an agent as they are, on a real API server with their own tokens.

The operator's reconciles are driven by hand and its cloud is in memory; of the agent all that
writes to the API server is real, and no kernel is there.
"""

from datetime import UTC, datetime, timedelta
from typing import Any, Final, cast

from openeni_crds.conditions import Reason, Type, is_true
from openeni_crds.eni import ENI
from openeni_crds.meta import decode
from openeni_crds.names import ENIPOOLS, ENIS, MANAGER_AGENT, NODES, PODIPS
from openeni_crds.podip import PodIP
from openeni_kube.client import KubeStore
from openeni_kube.result import Result, Retry
from openeni_nodeagent.cluster.cache import Cache
from openeni_nodeagent.cluster.facts import attached, eni_view
from openeni_nodeagent.cluster.objects import Node
from openeni_nodeagent.cluster.own_node import NodeSide
from openeni_nodeagent.grants.ledger import Grant, Ledger
from openeni_nodeagent.reports import eni_status
from openeni_nodeagent.reports.eni_status import Said, Side
from openeni_nodeagent.reports.podip_publisher import Publisher, key_of
from openeni_operator.eni.observe import World as ENIWorld
from openeni_operator.eni.reconcile import ENIReconciler
from openeni_operator.enipool.reconcile import PoolReconciler
from openeni_operator.enipool.reconcile import World as PoolWorld
from openeni_operator.enipool.resolver import Resolver
from openeni_operator.mirror import Mirror
from openeni_operator.podip.reconcile import ALL, PodIPReconciler
from openeni_operator.podip.reconcile import World as PodIPWorld
from openeni_operator.ports import PortLists
from openeni_testing.cloud.memory import MemoryCloud

_BEGUN: Final = datetime(2026, 1, 1, tzinfo=UTC)
_STEP: Final = 5.0  # seconds of the cloud's clock between two looks


def succeeded(result: Result) -> None:
    """Assert that the API server refused nothing."""
    assert not (isinstance(result, Retry) and "forbidden" in result.error), result


class Operator:
    """The operator of one pool."""

    def __init__(self, store: KubeStore, cloud: MemoryCloud, pool: str) -> None:
        self._store = store
        self._cloud = cloud
        self._pool = pool
        self.mirror = Mirror(lambda _: None)
        ports = PortLists(0, cloud.clock)
        self._pools = PoolReconciler(
            PoolWorld(self.mirror, store, Resolver(self._find, ports, 0, cloud.clock), self.now)
        )
        self._enis = ENIReconciler(
            ENIWorld(
                self.mirror,
                store,
                self._find,
                "1c0ffee1-0000",
                ports,
                cloud.clock,
                self.now,
                lambda _: None,
            )
        )
        self._podips = PodIPReconciler(PodIPWorld(self.mirror, store, self.now))

    def now(self) -> str:
        at = _BEGUN + timedelta(seconds=int(self._cloud.clock()))
        return at.strftime("%Y-%m-%dT%H:%M:%SZ")

    def act(self) -> None:
        """Look at everything once."""
        self._cloud.settle()
        for kind in (NODES, ENIPOOLS, ENIS):
            there = {b["metadata"]["name"]: b for b in self._store.list(kind).items}
            for name, version in self.mirror.versions(kind).items():
                if name not in there:
                    self.mirror.prune(kind, name, version)
            for body in there.values():
                self.mirror.put(kind, body)
        succeeded(self._pools(self._pool))
        for eni in self.mirror.enis_of(self._pool):
            succeeded(self._enis(eni.name))
        self.review()
        self._cloud.clock.advance(_STEP)

    def review(self) -> None:
        """Look at every PodIP."""
        succeeded(self._podips(ALL))

    def _find(self, name: str) -> MemoryCloud:
        return self._cloud


class Agent:
    """The agent of one node."""

    def __init__(self, store: KubeStore, node: str, operator: Operator) -> None:
        self._store = store
        self._node = node
        self._now = operator.now
        self._ledger = Ledger()
        self._enis: Cache[ENI] = Cache(ENIS, ENI)
        self._podips: Cache[PodIP] = Cache(PODIPS, PodIP)
        self._publisher = Publisher(store, self._podips, self._enis, cast("Any", self), node)

    def all(self) -> tuple[Grant, ...]:
        """What the publisher asks of Grants."""
        return self._ledger.grants()

    def reserved(self) -> frozenset[str]:
        """What the publisher asks of Grants."""
        return frozenset()

    def label(self) -> None:
        """Say what the node's kernel can do."""
        side = NodeSide(
            self._store,
            cast("Any", self),
            cast("Any", None),
            settings=cast("Any", None),
            nodes=Cache(NODES, Node),
            cidrs=cast("Any", None),
            changed=lambda: None,
        )
        (body,) = self._store.list(NODES, field_selector=f"metadata.name={self._node}").items
        succeeded(side._label(decode(body, Node)))

    def modes(self) -> frozenset[str]:
        """What NodeSide asks of the wiring."""
        return frozenset({"Veth", "IPVlanL3S"})

    def report(self) -> None:
        """Write what differs of each ENI's status."""
        mine = f"spec.nodeName={self._node}"
        for body in self._store.list(ENIS, field_selector=mine).items:
            self._enis.take(body)
            eni = decode(body, ENI)
            if eni.status.port is not None:
                self._report(eni)

    def _report(self, eni: ENI) -> None:
        plugged = attached(eni)
        held = any(g.eni == eni.name for g in self._ledger.grants())
        up = plugged and (held or not eni.metadata.deleting)
        self._ledger.observe(eni_view(eni, link_ready=up), 0)
        side = Side(
            guest=Said(ok=True, reason=Reason.PREPARED),
            link=Said(ok=up, reason=Reason.LINK_UP if up else Reason.WAITING_FOR_NIC),
            device="eth1",
            ifindex=3,
        )
        answers, counts = self._ledger.acknowledge(eni.name, 0), self._ledger.counts(eni.name, 0)
        node = eni_status.node_status(side, answers, counts, self._now())
        told = eni_status.conditions(eni, side, self._now())
        if not eni_status.shown(eni, node, told):
            written = eni_status.body(eni, node, told)
            self._store.apply(ENIS, written, manager=MANAGER_AGENT, subresource="status")

    def take(self, grant: Grant) -> None:
        """Record a grant, and publish it; a pod's next sandbox takes the place of its last."""
        for old in self._ledger.grants():
            if old.holder.pod_uid == grant.holder.pod_uid:
                self._ledger.free(old.holder.container_id, old.holder.interface, 0)
        self._ledger.record(grant)
        self.publish(key_of(grant))

    def end(self, grant: Grant) -> None:
        """End a grant: the PodIP loses its finalizer and goes."""
        self._ledger.free(grant.holder.container_id, grant.holder.interface, 0)
        self.publish(key_of(grant))

    def publish(self, key: str) -> None:
        for body in self._store.list(PODIPS, field_selector=f"spec.nodeName={self._node}").items:
            self._podips.take(body)
        succeeded(self._publisher.reconcile(key))


def is_ready(eni: ENI) -> bool:
    return is_true(eni.status.conditions, Type.READY)
