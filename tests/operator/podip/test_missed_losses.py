"""A pod is told of its lost address also when port or ENI have gone on since nobody could look."""

from collections.abc import Iterator
from typing import Any

import pytest

from openeni_crds.conditions import Condition, Reason, Type, find
from openeni_crds.eni import ENI
from openeni_crds.meta import Json, decode
from openeni_crds.names import ENIPOOLS, ENIS, FINALIZER_ENI, PODIPS, Kind
from openeni_crds.podip import PodIP
from openeni_kube.result import Done
from openeni_kube.store import NotFoundError, UnreachableError
from openeni_operator.cluster_state import ClusterState
from openeni_operator.missing_nodes import MissingNodes
from openeni_operator.podip.reconcile import PodIPDependencies, PodIPReconciler
from openeni_testing.controller.checks import TWO_RESYNCS
from openeni_testing.controller.recorded_events import RecordedEvents
from openeni_testing.controller.simulation import Simulation
from openeni_testing.objects import podip_body
from openeni_testing.store.hooked import HookedStore

SOON = 90.0  # seconds: two looks for the port, and less than a resync


class NoLists(HookedStore):
    """A store that lists no PodIPs while `down`."""

    down = False

    def pages(self, kind: Kind, **selectors: str) -> Iterator[tuple[Json, ...]]:
        if kind == PODIPS and self.down:
            raise UnreachableError(503, "etcd is slow")
        return super().pages(kind, **selectors)


def simulate_pod() -> tuple[Simulation, ENI]:
    """Return a simulation with a pod on the ENI of its only node."""
    sim = Simulation()
    for number in range(2):
        sim.cloud.add_subnet(sim.network, f"subnet-{number}", f"10.{96 + number}.0.0/24")
    sim.add_pool(subnets=[{"name": "subnet-0"}, {"name": "subnet-1"}])
    sim.settle(60)
    (eni,) = sim.enis()
    add_podip(sim, eni)
    sim.settle(60)
    return sim, eni


def add_podip(sim: Simulation, eni: ENI) -> None:
    address = port_of(eni).addresses[0]
    sim.granted[eni.name] = {address}
    body = podip_body("web")
    body["spec"] |= {"eniName": eni.name, "address": address}
    sim.api.create(PODIPS, body)


def port_of(eni: ENI) -> Any:
    assert eni.status.port is not None
    return eni.status.port


def address_lost(sim: Simulation) -> Condition | None:
    podip = decode(sim.api.get(PODIPS, "web", "default"), PodIP)
    return find(podip.status.conditions, Type.ADDRESS_LOST)


def is_gone(sim: Simulation, eni: ENI) -> bool:
    try:
        return sim.eni(eni.name).metadata.uid != eni.metadata.uid
    except NotFoundError:
        return True


def assert_pod_was_told(sim: Simulation, eni: ENI) -> None:
    lost = address_lost(sim)
    assert lost is not None
    assert (lost.status, lost.reason) == ("True", "PortLost")
    address = port_of(eni).addresses[0]
    assert lost.message == f"{address} is lost, since ENI {eni.name} is gone: restart the pod"


@pytest.mark.parametrize("cause", ["the subnet is exhausted", "the pool is deleted"])
def test_an_eni_that_goes_while_podips_cannot_be_listed(cause: str) -> None:
    sim, eni = simulate_pod()
    store = NoLists(sim.api)
    sim.store.store = store  # type: ignore[assignment]  # it is asked for no more than this
    del sim.cloud.ports[port_of(eni).id]
    if cause == "the subnet is exhausted":
        sim.cloud.filled.update(eni.spec.subnet_ids)
    store.down = True
    while not is_gone(sim, eni):
        sim.run_events(1)
        if cause == "the pool is deleted" and sim.eni(eni.name).status.port is None:
            sim.api.delete(ENIPOOLS, "pods")
            sim.run_events(5)
    assert address_lost(sim) is None
    store.down = False
    sim.settle(TWO_RESYNCS)
    assert_pod_was_told(sim, eni)


def test_a_port_that_is_not_created_anew_while_podips_cannot_be_listed() -> None:
    """By then PortReady has another reason than that the port was lost."""
    sim, eni = simulate_pod()
    store = NoLists(sim.api)
    sim.store.store = store  # type: ignore[assignment]  # it is asked for no more than this
    del sim.cloud.ports[port_of(eni).id]
    sim.cloud.quota, store.down = 0, True
    sim.settle(TWO_RESYNCS)
    ready = find(sim.eni(eni.name).status.conditions, Type.PORT_READY)
    assert ready is not None
    assert ready.reason == Reason.QUOTA_EXCEEDED
    assert address_lost(sim) is None
    store.down = False
    sim.settle(60)
    lost = address_lost(sim)
    assert lost is not None
    assert (lost.status, lost.reason) == ("True", "PortLost")


def test_an_eni_that_is_being_deleted_and_loses_its_port() -> None:
    """Its deletion waits for the pod; without a port there is nothing to wait for."""
    sim, eni = simulate_pod()
    sim.api.delete(ENIS, eni.name)
    sim.run_events(30)
    assert not is_gone(sim, eni)
    del sim.cloud.ports[port_of(eni).id]
    sim.process.enqueue_all()
    sim.run_events(SOON)
    assert is_gone(sim, eni)
    assert_pod_was_told(sim, eni)


def test_an_eni_whose_pods_have_gone_costs_no_list_of_podips() -> None:
    sim, eni = simulate_pod()
    sim.api.delete(PODIPS, "web", "default")
    sim.granted.clear()
    sim.run_events(30)
    store = CountedLists(sim.api)
    sim.store.store = store  # type: ignore[assignment]  # it is asked for no more than this
    sim.api.delete(ENIS, eni.name)
    sim.run_events(60)
    assert is_gone(sim, eni)
    assert store.listed == 0


class CountedLists(HookedStore):
    """A store that counts the lists of PodIPs."""

    listed = 0

    def pages(self, kind: Kind, **selectors: str) -> Iterator[tuple[Json, ...]]:
        self.listed += kind == PODIPS
        return super().pages(kind, **selectors)


def test_an_eni_that_the_cache_does_not_have_yet_has_lost_nothing() -> None:
    """Its agent has granted an address before the operator's own watch has shown the ENI."""
    sim, _ = simulate_pod()
    review = behind(sim)
    assert review("n1") == Done()
    assert address_lost(sim) is None


def test_an_eni_whose_finalizer_was_removed_by_force() -> None:
    sim, eni = simulate_pod()
    meta = sim.api.get(ENIS, eni.name)["metadata"]
    assert FINALIZER_ENI in meta["finalizers"]
    sim.api.delete(ENIS, eni.name)
    remove = [{"op": "remove", "path": "/metadata/finalizers"}]
    sim.api.patch(ENIS, eni.name, operations=remove)
    review = behind(sim)
    assert review("n1") == Done()
    assert_pod_was_told(sim, eni)
    written = len(sim.store.writes)
    assert review("n1") == Done()
    assert len(sim.store.writes) == written


def behind(sim: Simulation) -> PodIPReconciler:
    """Return a reconciler whose watches have shown nothing."""
    state = ClusterState(lambda _: None)
    missing = MissingNodes(state, sim.store, sim.cloud.clock)
    deps = PodIPDependencies(state, sim.store, missing, RecordedEvents(), lambda _: None, sim.now)
    return PodIPReconciler(deps)
