"""The agent and its ENIs: found, told, asked back, let go; the cluster and the kernel in memory."""

import json
import time
from pathlib import Path

import pytest

from openeni_crds import names
from openeni_crds.conditions import Type, find
from openeni_testing import nodeworld
from openeni_testing.agentworld import AgentWorld
from openeni_testing.cnicall import finish
from openeni_testing.waiting import wait_for


@pytest.fixture
def world(tmp_path: Path, executable: Path) -> AgentWorld:
    return AgentWorld(tmp_path, executable)


def test_an_eni_that_is_being_deleted_waits_for_its_pods_and_is_released(
    world: AgentWorld,
) -> None:
    world.furnish()
    with world.agent():
        address = world.add("web", "c1")
        world.store.delete(names.ENI, "pods-0")
        generation = wait_for(
            lambda: world.eni().metadata.deleting and world.eni().metadata.generation, "deleting"
        )
        wait_for(lambda: len(world.node_status().retired) == 2, "free ones are given up", 10)
        refused = world.node_status().refused
        assert [(r.address, r.generation) for r in refused] == [(address, generation)]
        assert world.wiring.released == []
        world.delete("c1")
        wait_for(lambda: len(world.node_status().retired) == 3, "all are given up", 10)
        wait_for(lambda: world.said(Type.LINK_READY).reason == "Deleting", "released", 10)
        assert world.wiring.released == ["pods-0"]
        assert world.node_status().refused == ()


def test_addresses_asked_back_are_answered_at_the_generation_that_asked(
    world: AgentWorld,
) -> None:
    world.furnish()
    with world.agent():
        held = world.add("web", "c1")
        free = next(a for a in nodeworld.addresses(3) if a != held)
        world.store.patch(
            names.ENI,
            "pods-0",
            [{"op": "add", "path": "/spec/retiring", "value": [held, free]}],
        )
        generation = world.eni().metadata.generation
        wait_for(lambda: world.node_status().retired, "it is answered", 10)
        node = world.node_status()
        assert [(a.address, a.generation) for a in node.retired] == [(free, generation)]
        assert [(a.address, a.generation) for a in node.refused] == [(held, generation)]


def test_a_second_look_at_the_same_world_writes_nothing(world: AgentWorld) -> None:
    world.furnish()
    with world.agent():
        world.add("web", "c1")
        wait_for(lambda: world.node_status().granted == 1, "the pod is counted", 10)
        world.ready_podip("web")
        versions = _versions(world)
        world.store.patch(
            names.NODE, "n1", [{"op": "add", "path": "/metadata/labels/x", "value": "y"}]
        )
        deadline = time.monotonic() + 3
        wait_for(lambda: time.monotonic() > deadline, "three seconds have passed", 10)
        assert _versions(world) == versions


def _versions(world: AgentWorld) -> list[str]:
    found = [world.store.get(names.ENI, "pods-0"), world.store.get(names.PODIP, "web", "default")]
    return [body["metadata"]["resourceVersion"] for body in found]


def test_a_burst_of_pods_is_few_writes_of_the_enis_status(world: AgentWorld) -> None:
    world.furnish(count=20)
    with world.agent():
        wait_for(lambda: world.node_status().available == 20, "the ENI is ready", 10)
        before = int(world.eni().metadata.resource_version)
        began = time.monotonic()
        uids = [nodeworld.make_pod(world.store, f"p{n}") for n in range(20)]
        adds = [
            world.runtime(f"c{n}").start("ADD", f"c{n}", uid, f"p{n}") for n, uid in enumerate(uids)
        ]
        assert [finish(add).code for add in adds] == [0] * 20
        wait_for(lambda: world.node_status().granted == 20, "all are counted", 10)
        took = time.monotonic() - began
        changes = world.changes(names.ENI, before)
        assert changes <= took + 2


def test_the_node_says_what_its_kernel_can_do(world: AgentWorld) -> None:
    world.furnish()
    with world.agent():
        wait_for(
            lambda: (
                world.store.get(names.NODE, "n1")["metadata"]["labels"].get(names.LABEL_VETH)
                == "true"
            ),
            "the label is there",
            10,
        )
        labels = world.store.get(names.NODE, "n1")["metadata"]["labels"]
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
        wait_for(conflist.exists, "the configuration is installed", 10)
        assert json.loads(conflist.read_text())["name"] == "openeni"


def test_a_nic_that_does_not_come_is_awaited_and_then_found(world: AgentWorld) -> None:
    world.wiring.nics.clear()
    world.furnish()
    with world.agent():
        wait_for(lambda: world.said(Type.LINK_READY).reason == "WaitingForNIC", "it is awaited", 10)
        world.wiring.nics.add(nodeworld.mac(0))
        wait_for(lambda: world.said(Type.LINK_READY).reason == "LinkUp", "it is found", 10)
        assert world.node_status().ifindex == 7


def test_an_eni_that_went_takes_its_guards_along(world: AgentWorld) -> None:
    world.furnish()
    with world.agent():
        guard = world.folder / "networkd" / "05-openeni-fa163e000000.network"
        wait_for(guard.exists, "networkd is kept off", 10)
        world.store.delete(names.ENI, "pods-0")
        wait_for(lambda: world.said(Type.LINK_READY).reason == "Deleting", "released", 10)
        world.store.patch(
            names.ENI, "pods-0", [{"op": "replace", "path": "/metadata/finalizers", "value": []}]
        )
        wait_for(lambda: not guard.exists(), "the guard is gone", 10)


def test_a_podip_shows_when_its_address_left_the_port(world: AgentWorld) -> None:
    world.furnish(count=1)
    with world.agent():
        world.add("web", "c1")
        wait_for(lambda: world.podip("web"), "the PodIP is there", 10)
        nodeworld.operator_says(world.store, count=0)

        def lost() -> bool:
            podip = world.podip("web")
            said = find(podip.status.conditions, Type.ASSIGNED) if podip else None
            return said is not None and said.reason == "AddressNotOnPort"

        wait_for(lost, "Assigned is False", 10)
