"""What an attack aims at: two nodes with an ENI, a pod and its PodIP each, and who may write."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

import pytest

from openeni_crds.meta import Json
from openeni_crds.names import ENIPOOLS, ENIS, NAMESPACES, NODES, PODIPS, PODS, Kind
from openeni_kube.client import KubeStore
from openeni_kube.store import NotFoundError, StoreError
from openeni_kube.wire import object_path
from openeni_lab.product.chart import NAMESPACE
from openeni_testing.admission import bodies
from openeni_testing.admission.cluster import ALICE, MANAGER, Cluster
from openeni_testing.objects import remove, unique

ACCOUNTS: Final = Kind("", "v1", "serviceaccounts", "ServiceAccount", namespaced=True)
_KINDS: Final = (ENIPOOLS, ENIS, PODIPS, NODES)


@dataclass(frozen=True)
class Place:
    """One node and what is on it."""

    node: str
    agent_pod: Json
    eni: Json
    pod: Json
    podip: Json

    @property
    def eni_name(self) -> str:
        return str(self.eni["metadata"]["name"])


@dataclass(frozen=True)
class Target:
    """The agent's token is of `mine`; nothing of `other` is its to write."""

    cluster: Cluster
    admin: KubeStore
    alice: KubeStore  # cluster-admin, in no group
    agent: KubeStore
    operator: KubeStore
    pool: Json
    mine: Place
    other: Place
    bare: Json  # a pod of `mine` without a PodIP
    space: str  # the namespace of the pods

    @property
    def pool_name(self) -> str:
        return str(self.pool["metadata"]["name"])

    def snapshot(self) -> list[Json]:
        """Return all that an attack may change, without what changes by itself."""
        return [_stripped(body) for kind in _KINDS for body in self.admin.list(kind).items]


@dataclass(frozen=True)
class Attack:
    """What somebody tries, and how the policies' answer begins or what it holds."""

    name: str
    refused: str  # a regular expression
    do: Callable[[Target], object]

    def succeeds(self, target: Target) -> None:
        """Assert that nothing stands in its way: the attack is real."""
        before = target.snapshot()
        self.do(target)
        assert target.snapshot() != before

    def is_refused(self, target: Target) -> None:
        """Assert that the policies refuse it, say why, and that it has changed nothing."""
        before = target.snapshot()
        with pytest.raises(StoreError, match=self.refused) as error:
            self.do(target)
        assert "ValidatingAdmissionPolicy 'openeni-" in error.value.message
        assert target.snapshot() == before


class Targets:
    """Lends a target to one test after the other.

    One is made anew, with its pods, tokens and connections, only if the last test has changed it:
    most attacks are refused and leave every object at the version that it was created with.
    """

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._made: Target | None = None
        self._created: list[Json] = []  # everything that a test may change, with its versions

    def lend(self) -> Target:
        """Return a target that is as it was made."""
        if self._made is not None and self._stored() != self._created:
            self.remove()
        if self._made is None:
            self._made = _make(self._cluster)
            self._created = self._stored()
        return self._made

    def remove(self) -> None:
        """Remove the target, and whatever else a test has put beside it."""
        if self._made is None:
            return
        admin, space = self._cluster.admin, self._made.space
        self._made = None
        for kind in (PODIPS, ENIS, ENIPOOLS, NODES):
            for body in admin.list(kind).items:
                remove(admin, kind, body["metadata"]["name"], body["metadata"].get("namespace", ""))
        for body in admin.list(PODS).items:
            end_pod(admin, body)
        admin.delete(NAMESPACES, space)

    def _stored(self) -> list[Json]:
        admin = self._cluster.admin
        return [body for kind in (*_KINDS, PODS, NAMESPACES) for body in admin.list(kind).items]


def _make(cluster: Cluster) -> Target:
    admin, space = cluster.admin, unique("space")
    make_namespace(admin, space)
    pool = admin.create(ENIPOOLS, bodies.pool(unique("pool")))
    mine, other = (_place(admin, unique("node"), space, pool) for _ in range(2))
    return Target(
        cluster=cluster,
        admin=admin,
        alice=cluster.user(ALICE),
        agent=cluster.account("openeni-agent", mine.agent_pod),
        operator=cluster.account("openeni-operator"),
        pool=pool,
        mine=mine,
        other=other,
        bare=admin.create(PODS, bodies.pod(unique("bare"), space, mine.node)),
        space=space,
    )


def make_namespace(store: KubeStore, name: str) -> None:
    """Make a namespace with the account that pods of it need."""
    store.create(NAMESPACES, bodies.manifest("v1", "Namespace", name))
    store.create(ACCOUNTS, bodies.manifest("v1", ACCOUNTS.name, "default", name))


def end_pod(store: KubeStore, body: Json) -> None:
    """Delete a pod as its kubelet does at last."""
    path = object_path(PODS, body["metadata"]["name"], body["metadata"]["namespace"])
    with suppress(NotFoundError):
        store.request("DELETE", path, body={"gracePeriodSeconds": 0})


def _place(admin: KubeStore, node: str, space: str, pool: Json) -> Place:
    admin.create(NODES, bodies.node(node))
    agent_pod = admin.create(PODS, bodies.pod(unique("agent"), NAMESPACE, node, "openeni-agent"))
    pool_name = pool["metadata"]["name"]
    eni = admin.create(ENIS, bodies.eni(unique("eni"), node, pool))
    report = {
        "conditions": [bodies.condition("PortReady"), bodies.condition("Ready")],
        "port": bodies.port_report(())["port"],
    }
    eni = _applied(admin, ENIS, bodies.status(eni, report))
    pod = admin.create(PODS, bodies.pod(unique("pod"), space, node))
    podip = admin.create(PODIPS, bodies.podip(pod, node, eni["metadata"]["name"], pool_name))
    lost = {"conditions": [bodies.condition("AddressLost")]}
    podip = _applied(admin, PODIPS, bodies.status(podip, lost))
    return Place(node, agent_pod, eni, pod, podip)


def _applied(admin: KubeStore, kind: Kind, body: Json) -> Json:
    return admin.apply(kind, body, manager=MANAGER, subresource="status")


def _stripped(body: Json) -> Json:
    kept = {k: v for k, v in body["metadata"].items() if k != "managedFields"}
    del kept["resourceVersion"]
    return body | {"metadata": kept}
