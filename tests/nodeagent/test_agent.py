"""The whole agent: real executable, real socket, real journal; cluster and kernel in memory."""

import signal
import threading
from pathlib import Path

import pytest

from openeni_crds import names
from openeni_crds.conditions import Status, Type
from openeni_nodeagent.agent import Agent
from openeni_nodeagent.grants.journal import replay
from openeni_nodeagent.wiring import ModeUnsupportedError, PodFacts
from openeni_testing.agent import node_objects
from openeni_testing.agent.cni_call import Process, finish
from openeni_testing.agent.wiring import MemoryWiring
from openeni_testing.agent.world import AgentWorld
from openeni_testing.waiting import wait_for


@pytest.fixture
def world(tmp_path: Path, executable: Path) -> AgentWorld:
    return AgentWorld(tmp_path, executable)


def test_a_pod_gets_an_address_a_podip_and_gives_both_back(world: AgentWorld) -> None:
    world.furnish()
    with world.agent():
        address = world.add("web", "c1")
        assert address in node_objects.addresses(3)
        assert world.wiring.owners() == {address: "c1"}
        podip = world.ready_podip("web")
        assert podip.spec.addresses == (address,)
        assert podip.metadata.finalizers == (names.FINALIZER_PODIP,)
        assert [owner.kind for owner in podip.metadata.owner_references] == ["Pod"]
        assert (podip.status.pod_interface, podip.status.gateway) == ("eth0", "169.254.1.1")
        wait_for(lambda: world.node_status().granted == 1, "the ENI counts the pod")
        assert world.node_status().available == 2
        assert world.node_status().idle_since == ""
        world.delete("c1")
        assert world.wiring.owners() == {}
        wait_for(lambda: world.podip("web") is None, "the PodIP is gone")
        wait_for(lambda: world.node_status().cooling == 1, "its address cools down")
        assert world.node_status().idle_since != ""


def test_a_repeated_add_of_one_container_has_the_same_answer(world: AgentWorld) -> None:
    world.furnish()
    with world.agent():
        uid = node_objects.make_pod(world.store, "web")
        first = world.runtime("c1").call("ADD", "c1", uid, "web")
        again = world.runtime("c1").call("ADD", "c1", uid, "web")
        assert first.body == again.body
        assert len(world.wiring.owners()) == 1


def test_a_new_sandbox_gets_its_own_address_and_the_old_ones_del_comes_late(
    world: AgentWorld,
) -> None:
    world.furnish()
    with world.agent():
        uid = node_objects.make_pod(world.store, "web")
        old = world.add("web", "old", uid)
        new = world.add("web", "new", uid)
        assert old != new
        for _ in range(2):
            world.delete("old")
        assert world.wiring.owners() == {new: "new"}
        wait_for(lambda: world.holds("web", container="new"), "the PodIP is the new sandbox's")
        podip = world.ready_podip("web")
        assert podip.spec.addresses == (new,)


def test_an_add_waits_in_the_queue_until_an_eni_brings_addresses(world: AgentWorld) -> None:
    node_objects.make_node(world.store)
    node_objects.make_pool(world.store)
    with world.agent():
        uid = node_objects.make_pod(world.store, "web")
        add = world.runtime("c1").start("ADD", "c1", uid, "web")
        with pytest.raises(Exception, match="timed out"):
            add.wait(0.5)
        node_objects.make_eni(world.store)
        node_objects.operator_says(world.store, attached=False)
        assert world.said(Type.GUEST_PREPARED).status == Status.TRUE
        wait_for(
            lambda: world.said(Type.LINK_READY).reason == "WaitingForAttach",
            "the link waits for the attachment",
        )
        node_objects.operator_says(world.store)
        assert finish(add).code == 0


def waits(agent: Agent, count: int) -> None:
    wait_for(lambda: agent.waiting() == {"pods": count}, f"{count} ADDs wait")


def test_those_who_wait_are_served_in_the_order_they_came(world: AgentWorld) -> None:
    world.furnish(count=1, cool_down="30s")
    with world.agent() as agent:
        world.add("first", "c0")
        adds: list[Process] = []
        for number in (1, 2):
            uid = node_objects.make_pod(world.store, f"p{number}")
            adds.append(world.runtime(f"c{number}").start("ADD", f"c{number}", uid, f"p{number}"))
            waits(agent, number)
        node_objects.operator_says(world.store, count=2)
        assert finish(adds[0]).code == 0
        assert adds[1].poll() is None
        node_objects.operator_says(world.store, count=3)
        assert finish(adds[1]).code == 0


def test_at_the_deadline_the_cause_is_said(world: AgentWorld) -> None:
    world.furnish(count=1)
    with world.agent():
        world.add("first", "c0")
        uid = node_objects.make_pod(world.store, "second")
        answer = world.runtime("c1", deadline=3).call("ADD", "c1", uid, "second")
        assert answer.error == 11
        assert "default/second" in answer.body["msg"]
        assert "granted or cooling down" in answer.body["details"]


def test_a_killed_add_leaves_the_queue_and_takes_no_address(world: AgentWorld) -> None:
    world.furnish(count=1, cool_down="30s")
    with world.agent() as agent:
        world.add("first", "c0")
        uid = node_objects.make_pod(world.store, "second")
        add = world.runtime("c1").start("ADD", "c1", uid, "second")
        waits(agent, 1)
        add.send_signal(signal.SIGKILL)
        add.communicate(timeout=60)
        wait_for(lambda: agent.waiting() == {}, "the dead ADD has left the queue")
        node_objects.operator_says(world.store, count=2)
        world.add("third", "c2")


def test_a_pod_that_the_watch_shows_late_is_waited_for(world: AgentWorld) -> None:
    world.furnish()
    with world.agent() as agent:
        wait_for(agent.filled, "the agent serves")
        unknown = world.runtime("c9").call("ADD", "c9", "no-such-uid", "ghost")
        assert unknown.error == 11
        assert "default/ghost has not been seen" in unknown.body["msg"]
        assert world.wiring.owners() == {}


def test_no_pool_is_said_in_the_pods_words(world: AgentWorld) -> None:
    node_objects.make_node(world.store)
    node_objects.make_pool(world.store, selects_all=False)
    with world.agent():
        uid = node_objects.make_pod(world.store, "web", {names.ANNOTATION_POOL: "gold"})
        answer = world.runtime("c1").call("ADD", "c1", uid, "web")
        assert answer.error == 11
        assert "there is no ENIPool 'gold'" in answer.body["details"]
        uid = node_objects.make_pod(world.store, "other")
        answer = world.runtime("c2").call("ADD", "c2", uid, "other")
        assert answer.body["msg"] == "no ENIPool for pod default/other"
        assert "(pods) selects this pod of namespace 'default'" in answer.body["details"]


def test_nothing_is_granted_from_a_pool_that_is_being_deleted(world: AgentWorld) -> None:
    world.furnish()
    world.store.patch(
        names.ENIPOOLS,
        "pods",
        [{"op": "add", "path": "/metadata/finalizers", "value": [names.FINALIZER_ENIPOOL]}],
    )
    world.store.delete(names.ENIPOOLS, "pods")
    with world.agent():
        uid = node_objects.make_pod(world.store, "web")
        answer = world.runtime("c1").call("ADD", "c1", uid, "web")
        assert "being deleted" in answer.body["details"]


def test_a_refusal_of_the_kernel_frees_the_address_and_says_what_was_refused(
    world: AgentWorld,
) -> None:
    world.furnish(count=1)
    with world.agent():
        uid = node_objects.make_pod(world.store, "web")
        world.wiring.refused = "adding veth oe1: EPERM"
        for _ in range(3):
            answer = world.runtime("c1").call("ADD", "c1", uid, "web")
            assert (answer.error, answer.body["details"]) == (5, "adding veth oe1: EPERM")
        world.wiring.refused = ""
        assert world.add("web", "c1", uid) == node_objects.addresses(1)[0]


def test_a_namespace_that_is_gone_costs_no_address(world: AgentWorld) -> None:
    world.furnish(count=1)
    with world.agent():
        uid = node_objects.make_pod(world.store, "web")
        runtime = world.runtime("c1")
        runtime.netns.unlink()
        assert "is gone" in runtime.call("ADD", "c1", uid, "web").body["details"]
        world.add("web", "c2", uid)


def test_a_kernel_that_can_do_nothing_is_said_at_the_start(world: AgentWorld) -> None:
    world.wiring = MemoryWiring(modes=frozenset())
    with (
        pytest.raises(ModeUnsupportedError, match="neither by veth nor by ipvlan"),
        world.agent(),
    ):
        pass


def test_a_grant_is_in_the_journal_before_the_kernel_hears_of_it(world: AgentWorld) -> None:
    world.furnish()
    known: list[str] = []

    def look(pod: PodFacts) -> None:
        journal = replay(world.settings.journal.read_bytes())
        known.extend(container for container, _ in journal.grants)

    world.wiring.before_add = look
    with world.agent():
        world.add("web", "c1")
    assert known == ["c1"]


def test_a_del_never_meets_its_own_add_half_way_and_waits_for_no_other(
    world: AgentWorld,
) -> None:
    world.furnish()
    connecting, go_on = threading.Event(), threading.Event()

    def slowly(pod: PodFacts) -> None:
        if pod.container_id == "slow":
            connecting.set()
            assert go_on.wait(60)

    world.wiring.before_add = slowly
    with world.agent():
        uid = node_objects.make_pod(world.store, "slow")
        add = world.runtime("slow").start("ADD", "slow", uid, "slow")
        assert connecting.wait(60)
        delete = world.runtime("slow").start("DEL", "slow")
        world.add("other", "c2")
        world.delete("c2")
        assert delete.poll() is None
        go_on.set()
        assert [finish(add).code, finish(delete).code] == [0, 0]
        assert world.wiring.owners() == {}


def test_check_finds_what_is_missing_and_what_never_was(world: AgentWorld) -> None:
    world.furnish()
    with world.agent():
        uid = node_objects.make_pod(world.store, "web")
        runtime = world.runtime("c1")
        assert runtime.call("CHECK", "c1", uid, prevResult={"ips": []}).error == 3
        made = runtime.call("ADD", "c1", uid, "web")
        assert runtime.call("CHECK", "c1", uid, prevResult=made.body).code == 0
        other = {"ips": [{"address": "10.1.1.1/32"}]}
        assert "10.1.1.1" in runtime.call("CHECK", "c1", uid, prevResult=other).body["details"]
        world.wiring.delete_address(made.address)
        gone = runtime.call("CHECK", "c1", uid, prevResult=made.body)
        assert (gone.error, "no route" in gone.body["details"]) == (100, True)
