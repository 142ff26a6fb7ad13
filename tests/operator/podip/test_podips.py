"""PodIPs: released when their node is gone, told when Neutron has lost their addresses."""

from dataclasses import replace
from typing import Any

import pytest

from openeni_crds.conditions import Type, find, is_true
from openeni_crds.meta import Json, decode
from openeni_crds.names import FINALIZER_PODIP, NODES, PODIPS
from openeni_crds.podip import PodIP
from openeni_kube.result import Done
from openeni_kube.store import NotFoundError, Page
from openeni_operator.podip.reconcile import ALL, PodIPReconciler
from openeni_operator.podip.reconcile import World as PodIPWorld
from openeni_testing.controller.world import OperatorWorld


def add_podip(
    world: OperatorWorld, name: str, node: str, eni: str, address: str, *, uid: str = "some-uid"
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
    world.api.create(PODIPS, body)


def podip(world: OperatorWorld, name: str) -> PodIP:
    return decode(world.api.get(PODIPS, name, "default"), PodIP)


def grown() -> OperatorWorld:
    world = OperatorWorld(nodes=2)
    world.add_pool()
    world.settle(60)
    for eni in world.enis():
        assert eni.status.port is not None
        add_podip(
            world,
            f"on-{eni.spec.node_name}",
            eni.spec.node_name,
            eni.name,
            eni.status.port.addresses[0],
        )
    return world


def test_a_node_that_is_gone_releases_its_podips_and_no_others() -> None:
    world = grown()
    world.api.delete(PODIPS, "on-n2", "default")
    assert podip(world, "on-n2").metadata.deleting
    world.api.delete(NODES, "n2")
    world.settle(60)
    with pytest.raises(NotFoundError):
        podip(world, "on-n2")
    assert podip(world, "on-n1").metadata.finalizers == (FINALIZER_PODIP,)


def test_podips_of_a_node_that_went_while_the_operator_was_down_are_released() -> None:
    world = grown()
    world.api.delete(NODES, "n2")
    world.restart()
    world.settle(60)
    assert podip(world, "on-n2").metadata.finalizers == ()


def test_a_lost_port_is_told_to_the_pods_that_lost_their_addresses() -> None:
    world = grown()
    eni = next(e for e in world.enis() if e.spec.node_name == "n1")
    assert eni.status.port is not None
    del world.cloud.ports[eni.status.port.id]
    world.cloud.add_server()  # whatever else happens meanwhile
    world.cloud.quota = 1
    world.settle(700)
    told = find(podip(world, "on-n1").status.conditions, Type.ADDRESS_LOST)
    assert told is not None
    assert (told.status, told.reason) == ("True", "PortLost")
    assert "no longer on the port" in told.message
    assert podip(world, "on-n2").status.conditions == ()


def test_what_is_there_is_told_again_when_it_comes_back() -> None:
    world = grown()
    before = world.cloud.ports.copy()
    for port in before.values():  # somebody takes all but the lowest address away
        world.cloud.ports[port.id] = replace(port, fixed_ips=port.fixed_ips[:1])
    world.settle(700)
    assert is_true(podip(world, "on-n1").status.conditions, Type.ADDRESS_LOST)
    world.cloud.ports.update(before)
    world.settle(700)
    assert not is_true(podip(world, "on-n1").status.conditions, Type.ADDRESS_LOST)


def test_a_second_look_at_podips_writes_nothing() -> None:
    world = grown()
    world.settle(60)
    written = len(world.store.writes)
    world.settle(60)
    assert world.store.writes[written:] == []


def test_pods_that_have_an_address_bring_no_eni() -> None:
    """A pod is Pending for a while after its grant: it must not be counted twice."""
    world = OperatorWorld()
    world.add_pool(capacity={"addressesPerENI": 3, "minAvailable": 0})
    pods = [world.add_pod(f"p{i}", "n1") for i in range(3)]
    world.settle(60)
    (eni,) = world.enis()
    assert eni.status.port is not None
    world.held[eni.name] = set(eni.status.port.addresses)
    for uid, address in zip(pods, eni.status.port.addresses, strict=True):
        add_podip(world, uid, "n1", eni.name, address, uid=uid)
    world.settle(60)
    assert len(world.enis()) == 1
    world.add_pod("one-more", "n1")
    world.settle(60)
    assert len(world.enis()) == 2


def test_a_podip_that_cannot_be_read_is_logged_and_stops_no_other(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """One node's agent wrote it, or CRDs of another version let it pass."""
    world = grown()
    listed = world.api.list(PODIPS)
    broken: Json = {"metadata": {"name": "broken", "namespace": "default"}, "spec": {"podUID": 7}}
    world.api.delete(NODES, "n1")
    store: Any = StoreWith(world.store, (broken, *listed.items))
    mirror = world.process.mirror
    mirror.drop(NODES, {"metadata": {"name": "n1", "resourceVersion": "999999"}})
    assert PodIPReconciler(PodIPWorld(mirror, store, world.now))(ALL) == Done()
    assert FINALIZER_PODIP not in podip(world, "on-n1").metadata.finalizers
    assert "PodIP default/broken cannot be read" in caplog.text


class StoreWith:
    """A store whose list of PodIPs is given."""

    def __init__(self, store: Any, items: tuple[Json, ...]) -> None:
        self._store = store
        self._items = items

    def list(self, *_: object, **__: object) -> Page:
        return Page(self._items, "1")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)
