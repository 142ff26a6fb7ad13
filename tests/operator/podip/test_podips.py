"""PodIPs are released with their node, and marked when Neutron has lost their addresses."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from openeni_crds.conditions import Type, find, is_true
from openeni_crds.meta import Json, decode
from openeni_crds.names import FINALIZER_PODIP, NODES, PODIPS, Kind
from openeni_crds.podip import PodIP
from openeni_kube.result import Done, Retry
from openeni_kube.store import NotFoundError, StoreError
from openeni_operator.cluster_state import ClusterState
from openeni_operator.missing_nodes import NODE_GRACE_PERIOD, MissingNodes
from openeni_operator.podip.reconcile import ALL_NODES, PodIPDependencies, PodIPReconciler
from openeni_testing.controller.recorded_events import RecordedEvents
from openeni_testing.controller.simulation import Simulation


def add_podip(
    sim: Simulation, name: str, node: str, eni: str, address: str, *, uid: str = "some-uid"
) -> None:
    body: dict[str, Any] = {
        "apiVersion": "openeni.io/v1alpha1",
        "kind": "PodIP",
        "metadata": {"name": name, "namespace": "default", "finalizers": [FINALIZER_PODIP]},
        "spec": {
            "podUID": uid,
            "nodeName": node,
            "containerID": "c" * 64,
            "eniName": eni,
            "poolName": "pods",
            "address": address,
            "datapathMode": "Veth",
        },
    }
    sim.api.create(PODIPS, body)


def podip(sim: Simulation, name: str) -> PodIP:
    return decode(sim.api.get(PODIPS, name, "default"), PodIP)


def simulate_podips() -> Simulation:
    sim = Simulation(nodes=2)
    sim.add_pool()
    sim.settle(60)
    for eni in sim.enis():
        assert eni.status.port is not None
        node, address = eni.spec.node_name, eni.status.port.addresses[0]
        sim.granted[eni.name] = {address}
        add_podip(sim, f"on-{node}", node, eni.name, address)
    return sim


def test_a_deleted_node_releases_its_podips_and_no_others() -> None:
    sim = simulate_podips()
    sim.api.delete(PODIPS, "on-n2", "default")
    assert podip(sim, "on-n2").metadata.deleting
    sim.api.delete(NODES, "n2")
    sim.settle(59)
    assert podip(sim, "on-n2").metadata.finalizers, "its kubelet may register it again"
    sim.settle(2)
    with pytest.raises(NotFoundError):
        podip(sim, "on-n2")
    assert podip(sim, "on-n1").metadata.finalizers == (FINALIZER_PODIP,)


def test_podips_of_a_node_deleted_while_the_operator_was_down_are_released() -> None:
    sim = simulate_podips()
    sim.api.delete(NODES, "n2")
    sim.restart()
    sim.settle(61)
    assert podip(sim, "on-n2").metadata.finalizers == ()


def test_a_node_that_is_registered_anew_keeps_its_podips_and_enis() -> None:
    """An operator.md proof: kubectl delete node; systemctl restart kubelet."""
    sim = simulate_podips()
    node = sim.api.get(NODES, "n2")
    enis = {eni.name: eni.metadata.uid for eni in sim.enis()}
    sim.api.delete(NODES, "n2")
    sim.settle(50)
    metadata = {"name": "n2", "labels": node["metadata"]["labels"]}
    sim.api.create(NODES, {**node, "metadata": metadata})
    sim.settle(700)
    assert podip(sim, "on-n2").metadata.finalizers == (FINALIZER_PODIP,)
    assert {eni.name: eni.metadata.uid for eni in sim.enis()} == enis
    assert not any(eni.metadata.deleting or eni.spec.retiring for eni in sim.enis())


def test_a_lost_port_marks_the_podips_that_lost_their_addresses() -> None:
    sim = simulate_podips()
    eni = next(e for e in sim.enis() if e.spec.node_name == "n1")
    assert eni.status.port is not None
    del sim.cloud.ports[eni.status.port.id]
    sim.cloud.quota = 1  # used by n2: the port cannot be replaced
    sim.settle(700)
    lost = find(podip(sim, "on-n1").status.conditions, Type.ADDRESS_LOST)
    assert lost is not None
    assert (lost.status, lost.reason) == ("True", "PortLost")
    assert "no longer on the port" in lost.message
    assert podip(sim, "on-n2").status.conditions == ()


def test_a_restored_address_clears_address_lost() -> None:
    sim = simulate_podips()
    before = sim.cloud.ports.copy()
    for port in before.values():  # remove all but the primary address
        sim.cloud.ports[port.id] = replace(port, fixed_ips=port.fixed_ips[:1])
    sim.settle(700)
    assert is_true(podip(sim, "on-n1").status.conditions, Type.ADDRESS_LOST)
    sim.cloud.ports.update(before)
    sim.settle(700)
    assert not is_true(podip(sim, "on-n1").status.conditions, Type.ADDRESS_LOST)


def test_unchanged_podips_are_not_written_again() -> None:
    sim = simulate_podips()
    sim.settle(60)
    written = len(sim.store.writes)
    sim.settle(60)
    assert sim.store.writes[written:] == []


def test_pods_with_an_address_do_not_count_as_waiting() -> None:
    """A pod stays Pending for a while after its grant; it must not be counted twice."""
    sim = Simulation()
    sim.add_pool(capacity={"addressesPerENI": 3, "minAvailable": 0})
    pods = [sim.add_pod(f"p{i}", "n1") for i in range(3)]
    sim.settle(60)
    (eni,) = sim.enis()
    assert eni.status.port is not None
    sim.granted[eni.name] = set(eni.status.port.addresses)
    for uid, address in zip(pods, eni.status.port.addresses, strict=True):
        add_podip(sim, uid, "n1", eni.name, address, uid=uid)
    sim.settle(60)
    assert len(sim.enis()) == 1
    sim.add_pod("one-more", "n1")
    sim.settle(60)
    assert len(sim.enis()) == 2


def test_an_invalid_podip_is_logged_and_does_not_stop_the_others(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A faulty agent may write one, or CRDs of another version may admit one."""
    sim = simulate_podips()
    listed = sim.api.list(PODIPS)
    invalid: Json = {"metadata": {"name": "invalid", "namespace": "default"}, "spec": {"podUID": 7}}
    sim.api.delete(NODES, "n1")
    store: Any = StoreWith(sim.store, (invalid, *listed.items))
    reviewed = list[str]()
    review = reconciler(sim, store, reviewed.append)
    assert review(ALL_NODES) == Done()
    assert reviewed == ["n1"]
    sim.cloud.clock.advance(NODE_GRACE_PERIOD)
    assert review(ALL_NODES) == Done()
    assert FINALIZER_PODIP not in podip(sim, "on-n1").metadata.finalizers
    assert "PodIP default/invalid is ignored" in caplog.text


def test_a_podip_that_cannot_be_written_does_not_stop_the_others() -> None:
    """It may be as large as etcd takes, or created anew meanwhile."""
    sim = simulate_podips()
    sim.api.delete(NODES, "n1")
    sim.api.delete(NODES, "n2")
    review = reconciler(sim, StoreRefusing(sim.store, "on-n1"))
    assert review(ALL_NODES) == Done()
    sim.cloud.clock.advance(NODE_GRACE_PERIOD)
    result = review(ALL_NODES)
    assert result == Retry("PodIP default/on-n1: 500: request is too large")
    assert FINALIZER_PODIP in podip(sim, "on-n1").metadata.finalizers
    assert FINALIZER_PODIP not in podip(sim, "on-n2").metadata.finalizers


def test_podips_are_reviewed_page_by_page() -> None:
    """There may be more than fit the operator's memory: no page is read before the last is done."""
    sim = simulate_podips()
    listed = sim.api.list(PODIPS).items
    sim.api.delete(NODES, "n1")
    sim.api.delete(NODES, "n2")
    store = StoreByPages(sim.store, listed)
    review = reconciler(sim, store)
    review(ALL_NODES)
    sim.cloud.clock.advance(NODE_GRACE_PERIOD)
    review(ALL_NODES)
    assert store.released_at_page == [0, 1]


def test_a_podip_that_moves_while_its_lost_node_is_released_keeps_its_finalizer() -> None:
    """Its new node's agent has a datapath to remove."""
    sim = simulate_podips()
    listed = sim.api.list(PODIPS).items
    sim.api.delete(NODES, "n1")
    review = reconciler(sim, StoreWith(sim.store, listed))
    review(ALL_NODES)
    sim.cloud.clock.advance(NODE_GRACE_PERIOD)
    move(sim, "on-n1", "n2", "another")
    assert isinstance(review(ALL_NODES), Retry)
    assert podip(sim, "on-n1").metadata.finalizers == (FINALIZER_PODIP,)


def test_a_podip_that_moves_while_it_is_reviewed_has_lost_no_address() -> None:
    """The loss is one of the ENI that it was on."""
    sim = Simulation()
    sim.add_pool()
    sim.settle(60)
    (eni,) = sim.enis()
    add_podip(sim, "on-n1", "n1", eni.name, "10.98.3.99")
    listed = sim.api.list(PODIPS).items
    state, reviewed = sim.process.state, list[str]()
    state.put(PODIPS, move(sim, "on-n1", "n1", "another"))
    store: Any = StoreWith(sim.store, listed)
    missing = MissingNodes(state, store, sim.cloud.clock)
    deps = PodIPDependencies(state, store, missing, RecordedEvents(), reviewed.append, sim.now)
    assert PodIPReconciler(deps)(ALL_NODES) == Done()
    assert podip(sim, "on-n1").status.conditions == ()
    assert reviewed == ["n1"], "what a page shows that is out of date is looked at again"


def move(sim: Simulation, name: str, node: str, eni: str) -> Json:
    """Move a PodIP to another node, as the operator does with one that is retained."""
    spec = {"nodeName": node, "eniName": eni}
    operations = [{"op": "add", "path": f"/spec/{k}", "value": v} for k, v in spec.items()]
    return sim.api.patch(PODIPS, name, "default", operations=operations)


class StoreByPages:
    """A store with one PodIP on each page, which notes how many were released at each."""

    def __init__(self, store: Any, items: tuple[Json, ...]) -> None:
        self._store = store
        self._items = items
        self._released = 0
        self.released_at_page: list[int] = []

    def pages(self, *_: object, **__: object) -> Iterator[tuple[Json, ...]]:
        self.released_at_page = []
        for item in self._items:
            self.released_at_page.append(self._released)
            yield (item,)

    def patch(self, *args: Any, **more: Any) -> Any:
        self._released += 1
        return self._store.patch(*args, **more)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


def reconciler(
    sim: Simulation, store: Any, review: Callable[[str], None] = lambda _: None
) -> PodIPReconciler:
    """Return a reconciler of an operator that has just started."""
    state = ClusterState(lambda _: None)
    missing = MissingNodes(state, store, sim.cloud.clock)
    return PodIPReconciler(
        PodIPDependencies(state, store, missing, RecordedEvents(), review, sim.now)
    )


class StoreRefusing:
    """A store that takes no patch of one object."""

    def __init__(self, store: Any, name: str) -> None:
        self._store = store
        self._name = name

    def patch(self, kind: Kind, name: str, *args: Any, **more: Any) -> Json:
        if name == self._name:
            raise StoreError(500, "request is too large")
        body: Json = self._store.patch(kind, name, *args, **more)
        return body

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


class StoreWith:
    """A store that returns the given objects for every list."""

    def __init__(self, store: Any, items: tuple[Json, ...]) -> None:
        self._store = store
        self._items = items

    def pages(self, *_: object, **__: object) -> Iterator[tuple[Json, ...]]:
        yield self._items

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)
