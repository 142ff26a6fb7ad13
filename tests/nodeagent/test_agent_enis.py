"""The agent and its ENIs: found, told, asked back, let go; the cluster and the kernel in memory."""

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from openeni_crds import names
from openeni_crds.conditions import Type, find
from openeni_crds.meta import Json
from openeni_testing.agent import node_objects
from openeni_testing.agent.cni_call import finish
from openeni_testing.agent.world import AgentWorld
from openeni_testing.store.memory import MemoryStore
from openeni_testing.waiting import wait_for


class RecordingStore(MemoryStore):
    """Notes what the agent applies, before it is done."""

    def __init__(self, before_apply: Callable[[str], None] = lambda _: None) -> None:
        super().__init__(bookmark_seconds=0.2)
        self.applied: list[str] = []
        self._before_apply = before_apply

    def apply(self, kind: names.Kind, body: Json, *, manager: str, **options: Any) -> Json:
        if manager == names.MANAGER_AGENT:
            what = f"{kind.name} {body['metadata']['name']}"
            self.applied.append(what)
            self._before_apply(what)
        return super().apply(kind, body, manager=manager, **options)


@pytest.fixture
def world(tmp_path: Path, executable: Path) -> AgentWorld:
    return AgentWorld(tmp_path, executable)


def test_an_eni_that_is_being_deleted_waits_for_its_pods_and_is_released(
    world: AgentWorld,
) -> None:
    world.furnish()
    with world.agent():
        address = world.add("web", "c1")
        world.store.delete(names.ENIS, "pods-0")
        generation = wait_for(
            lambda: world.eni().metadata.deleting and world.eni().metadata.generation, "deleting"
        )
        wait_for(lambda: len(world.node_status().retired) == 2, "free ones are given up")
        refused = world.node_status().refused
        assert [(r.address, r.generation) for r in refused] == [(address, generation)]
        assert world.wiring.released == []
        world.delete("c1")
        wait_for(lambda: len(world.node_status().retired) == 3, "all are given up")
        wait_for(lambda: world.said(Type.LINK_READY).reason == "Deleting", "released")
        assert world.wiring.released == ["pods-0"]
        assert world.node_status().refused == ()


def test_addresses_asked_back_are_answered_at_the_generation_that_asked(
    world: AgentWorld,
) -> None:
    world.furnish()
    with world.agent():
        held = world.add("web", "c1")
        free = next(a for a in node_objects.addresses(3) if a != held)
        world.store.patch(
            names.ENIS,
            "pods-0",
            [{"op": "add", "path": "/spec/retiring", "value": [held, free]}],
        )
        generation = world.eni().metadata.generation
        wait_for(lambda: world.node_status().retired, "it is answered")
        node = world.node_status()
        assert [(a.address, a.generation) for a in node.retired] == [(free, generation)]
        assert [(a.address, a.generation) for a in node.refused] == [(held, generation)]


def test_a_second_look_at_the_same_world_writes_nothing(tmp_path: Path, executable: Path) -> None:
    """Each queue works in order: when it has done what came last, it has done what came before."""
    store = RecordingStore()
    world = AgentWorld(tmp_path, executable, store)
    world.wiring.nics.add(node_objects.mac(1))
    world.furnish()
    with world.agent():
        for name in ("web", "last"):
            world.add(name, name)
        wait_for(lambda: world.node_status().granted == 2, "the pods are counted")
        for name in ("web", "last"):
            world.ready_podip(name)
        store.applied.clear()
        label = [{"op": "add", "path": "/metadata/labels", "value": {"x": "y"}}]
        store.patch(names.NODES, "n1", [{**label[0], "path": "/metadata/labels/x", "value": "y"}])
        store.patch(names.ENIS, "pods-0", label)
        store.patch(names.PODIPS, "web", label, "default")
        node_objects.make_eni(store, "pods-1")
        node_objects.operator_says(store, "pods-1", number=1)
        bare: list[Json] = [{"op": "replace", "path": "/status", "value": {}}]
        store.patch(names.PODIPS, "last", bare, "default", subresource="status")
        wait_for(lambda: world.node_status("pods-1").available == 3, "the last ENI is ready")
        world.ready_podip("last")
        assert set(store.applied) == {"ENI pods-1", "PodIP last"}


def test_what_happens_during_a_write_of_the_enis_status_is_one_more_write(
    tmp_path: Path, executable: Path
) -> None:
    burst, writing, go_on = threading.Event(), threading.Event(), threading.Event()

    def slowly(what: str) -> None:
        if burst.is_set() and what == "ENI pods-0":
            writing.set()
            assert go_on.wait(60)

    store = RecordingStore(slowly)
    world = AgentWorld(tmp_path, executable, store)
    world.furnish(count=20)
    with world.agent():
        wait_for(lambda: world.node_status().available == 20, "the ENI is ready")
        store.applied.clear()
        burst.set()
        world.add("p0", "c0")
        assert writing.wait(60)
        uids = {n: node_objects.make_pod(store, f"p{n}") for n in range(1, 20)}
        adds = [world.runtime(f"c{n}").start("ADD", f"c{n}", u, f"p{n}") for n, u in uids.items()]
        assert [finish(add).code for add in adds] == [0] * 19
        go_on.set()
        wait_for(lambda: world.node_status().granted == 20, "all are counted")
        assert store.applied.count("ENI pods-0") == 2


def test_the_node_says_what_its_kernel_can_do(world: AgentWorld) -> None:
    world.furnish()
    with world.agent():
        wait_for(
            lambda: (
                world.store.get(names.NODES, "n1")["metadata"]["labels"].get(names.LABEL_VETH)
                == "true"
            ),
            "the label is there",
        )
        labels = world.store.get(names.NODES, "n1")["metadata"]["labels"]
        assert labels[names.LABEL_IPVLAN] == "false"
        assert labels["kubernetes.io/os"] == "linux"


def test_the_configuration_comes_only_when_pods_can_be_served(world: AgentWorld) -> None:
    conflist = world.folder / "conf" / "10-openeni.conflist"
    with world.agent() as agent:
        assert (world.folder / "bin" / "openeni").exists()
        assert not agent.filled()
        assert not conflist.exists()
        assert world.runtime("x").call("STATUS").code == 0
        world.furnish()
        wait_for(conflist.exists, "the configuration is installed")
        assert json.loads(conflist.read_text())["name"] == "openeni"


def test_a_nic_that_does_not_come_is_awaited_and_then_found(world: AgentWorld) -> None:
    world.wiring.nics.clear()
    world.furnish()
    with world.agent():
        wait_for(lambda: world.said(Type.LINK_READY).reason == "WaitingForNIC", "it is awaited")
        world.wiring.nics.add(node_objects.mac(0))
        wait_for(lambda: world.said(Type.LINK_READY).reason == "LinkUp", "it is found")
        assert world.node_status().ifindex == 7


def test_an_eni_that_went_takes_its_guards_along(world: AgentWorld) -> None:
    world.furnish()
    with world.agent():
        guard = world.folder / "networkd" / "05-openeni-fa163e000000.network"
        wait_for(guard.exists, "networkd is kept off")
        world.store.delete(names.ENIS, "pods-0")
        wait_for(lambda: world.said(Type.LINK_READY).reason == "Deleting", "released")
        world.store.patch(
            names.ENIS, "pods-0", [{"op": "replace", "path": "/metadata/finalizers", "value": []}]
        )
        wait_for(lambda: not guard.exists(), "the guard is gone")


def test_a_podip_shows_when_its_address_left_the_port(world: AgentWorld) -> None:
    world.furnish(count=1)
    with world.agent():
        world.add("web", "c1")
        wait_for(lambda: world.podip("web"), "the PodIP is there")
        node_objects.operator_says(world.store, count=0)

        def lost() -> bool:
            podip = world.podip("web")
            said = find(podip.status.conditions, Type.ASSIGNED) if podip else None
            return said is not None and said.reason == "AddressNotOnPort"

        wait_for(lost, "Assigned is False")
