"""The whole agent: real executable, real socket, real journal; cluster and kernel in memory."""

import signal
import threading
from pathlib import Path

import pytest

from openeni_crds import names
from openeni_crds.conditions import Status, Type
from openeni_nodeagent.agent import Agent
from openeni_nodeagent.datapath_api import ModeUnsupportedError, PodInterface
from openeni_nodeagent.grants.journal import read
from openeni_testing.agent import node_objects
from openeni_testing.agent.cni_call import Process, finish
from openeni_testing.agent.host import AgentHost, is_synced, waiting_adds
from openeni_testing.agent.memory_datapath import MemoryDatapath
from openeni_testing.waiting import wait_for

pytestmark = pytest.mark.slow


@pytest.fixture
def host(tmp_path: Path, executable: Path) -> AgentHost:
    return AgentHost(tmp_path, executable)


def test_a_pod_gets_an_address_a_podip_and_gives_both_back(host: AgentHost) -> None:
    host.create_objects()
    with host.agent():
        address = host.add("web", "c1")
        assert address in node_objects.addresses(3)
        assert host.datapath.owners() == {address: "c1"}
        podip = host.ready_podip("web")
        assert podip.spec.addresses == (address,)
        assert podip.metadata.finalizers == (names.FINALIZER_PODIP,)
        assert [owner.kind for owner in podip.metadata.owner_references] == ["Pod"]
        assert (podip.status.pod_interface, podip.status.gateway) == ("eth0", "169.254.1.1")
        wait_for(lambda: host.node_status().granted == 1, "the ENI counts the pod")
        assert host.node_status().available == 2
        assert host.node_status().idle_since == ""
        host.delete("c1")
        assert host.datapath.owners() == {}
        wait_for(lambda: host.podip("web") is None, "the PodIP is gone")
        wait_for(lambda: host.node_status().cooling == 1, "its address cools down")
        assert host.node_status().idle_since != ""


def test_a_repeated_add_of_one_container_has_the_same_answer(host: AgentHost) -> None:
    host.create_objects()
    with host.agent():
        uid = node_objects.make_pod(host.store, "web")
        first = host.runtime("c1").call("ADD", "c1", uid, "web")
        again = host.runtime("c1").call("ADD", "c1", uid, "web")
        assert first.body == again.body
        assert len(host.datapath.owners()) == 1


def test_a_new_sandbox_keeps_its_own_address_when_the_old_ones_del_comes_late(
    host: AgentHost,
) -> None:
    host.create_objects()
    with host.agent():
        uid = node_objects.make_pod(host.store, "web")
        old = host.add("web", "old", uid)
        new = host.add("web", "new", uid)
        assert old != new
        for _ in range(2):
            host.delete("old")
        assert host.datapath.owners() == {new: "new"}
        wait_for(lambda: host.holds("web", container="new"), "the PodIP is the new sandbox's")
        podip = host.ready_podip("web")
        assert podip.spec.addresses == (new,)


def test_an_add_waits_in_the_queue_until_an_eni_brings_addresses(host: AgentHost) -> None:
    node_objects.make_node(host.store)
    node_objects.make_pool(host.store)
    with host.agent():
        uid = node_objects.make_pod(host.store, "web")
        add = host.runtime("c1").start("ADD", "c1", uid, "web")
        with pytest.raises(Exception, match="timed out"):
            add.wait(0.5)
        node_objects.make_eni(host.store)
        node_objects.write_operator_status(host.store, attached=False)
        wait_for(
            lambda: host.condition(Type.GUEST_PREPARED).status == Status.TRUE,
            "the node's programs are kept off the NIC",
        )
        wait_for(
            lambda: host.condition(Type.LINK_READY).reason == "WaitingForAttach",
            "the link waits for the attachment",
        )
        node_objects.write_operator_status(host.store)
        assert finish(add).code == 0


def waits(agent: Agent, count: int) -> None:
    wait_for(lambda: waiting_adds(agent) == count, f"{count} ADDs wait")


def test_waiting_adds_are_served_in_the_order_of_their_arrival(host: AgentHost) -> None:
    host.create_objects(count=1, cool_down="30s")
    with host.agent() as agent:
        host.add("first", "c0")
        adds: list[Process] = []
        for number in (1, 2):
            uid = node_objects.make_pod(host.store, f"p{number}")
            adds.append(host.runtime(f"c{number}").start("ADD", f"c{number}", uid, f"p{number}"))
            waits(agent, number)
        node_objects.write_operator_status(host.store, count=2)
        assert finish(adds[0]).code == 0
        assert adds[1].poll() is None
        node_objects.write_operator_status(host.store, count=3)
        assert finish(adds[1]).code == 0


def test_at_the_deadline_the_cause_is_said(host: AgentHost) -> None:
    host.create_objects(count=1)
    with host.agent():
        host.add("first", "c0")
        wait_for(lambda: host.condition(Type.LINK_READY).status == Status.TRUE, "the link is ready")
        uid = node_objects.make_pod(host.store, "second")
        answer = host.runtime("c1", deadline=3).call("ADD", "c1", uid, "second")
        assert answer.error == 11
        assert "default/second" in answer.body["msg"]
        assert "granted or cooling down" in answer.body["details"]


def test_a_killed_add_leaves_the_queue_and_takes_no_address(host: AgentHost) -> None:
    host.create_objects(count=1, cool_down="30s")
    with host.agent() as agent:
        host.add("first", "c0")
        uid = node_objects.make_pod(host.store, "second")
        add = host.runtime("c1").start("ADD", "c1", uid, "second")
        waits(agent, 1)
        add.send_signal(signal.SIGKILL)
        add.communicate(timeout=60)
        wait_for(lambda: waiting_adds(agent) == 0, "the dead ADD has left the queue")
        node_objects.write_operator_status(host.store, count=2)
        host.add("third", "c2")


def test_a_pod_that_the_watch_shows_late_is_waited_for(host: AgentHost) -> None:
    host.create_objects()
    with host.agent() as agent:
        wait_for(lambda: is_synced(agent), "the agent serves")
        unknown = host.runtime("c9").call("ADD", "c9", "no-such-uid", "ghost")
        assert unknown.error == 11
        assert "default/ghost has not been seen" in unknown.body["msg"]
        assert host.datapath.owners() == {}


def test_a_pod_without_a_pool_gets_an_error_that_names_the_cause(host: AgentHost) -> None:
    node_objects.make_node(host.store)
    node_objects.make_pool(host.store, selects_all=False)
    with host.agent():
        uid = node_objects.make_pod(host.store, "web", {names.ANNOTATION_POOL: "gold"})
        answer = host.runtime("c1").call("ADD", "c1", uid, "web")
        assert answer.error == 11
        assert "there is no ENIPool 'gold'" in answer.body["details"]
        uid = node_objects.make_pod(host.store, "other")
        answer = host.runtime("c2").call("ADD", "c2", uid, "other")
        assert answer.body["msg"] == "no ENIPool for pod default/other"
        assert "(pods) selects this pod of namespace 'default'" in answer.body["details"]


def test_nothing_is_granted_from_a_pool_that_is_being_deleted(host: AgentHost) -> None:
    host.create_objects()
    host.store.patch(
        names.ENIPOOLS,
        "pods",
        operations=[
            {"op": "add", "path": "/metadata/finalizers", "value": [names.FINALIZER_ENIPOOL]}
        ],
    )
    host.store.delete(names.ENIPOOLS, "pods")
    with host.agent():
        uid = node_objects.make_pod(host.store, "web")
        answer = host.runtime("c1").call("ADD", "c1", uid, "web")
        assert "being deleted" in answer.body["details"]


def test_a_refusal_of_the_kernel_frees_the_address_and_is_named(
    host: AgentHost,
) -> None:
    host.create_objects(count=1)
    with host.agent():
        uid = node_objects.make_pod(host.store, "web")
        host.datapath.refused = "adding veth oe1: EPERM"
        for _ in range(3):
            answer = host.runtime("c1").call("ADD", "c1", uid, "web")
            assert (answer.error, answer.body["details"]) == (5, "adding veth oe1: EPERM")
        host.datapath.refused = ""
        assert host.add("web", "c1", uid) == node_objects.addresses(1)[0]


def test_a_namespace_that_is_gone_costs_no_address(host: AgentHost) -> None:
    host.create_objects(count=1)
    with host.agent():
        uid = node_objects.make_pod(host.store, "web")
        runtime = host.runtime("c1")
        runtime.netns.unlink()
        assert "is gone" in runtime.call("ADD", "c1", uid, "web").body["details"]
        host.add("web", "c2", uid)


def test_an_agent_does_not_start_on_a_kernel_without_any_mode(host: AgentHost) -> None:
    host.datapath = MemoryDatapath(datapath_modes=frozenset())
    with (
        pytest.raises(ModeUnsupportedError, match="neither veth nor ipvlan"),
        host.agent(),
    ):
        pass


def test_a_grant_is_in_the_journal_before_the_kernel_hears_of_it(host: AgentHost) -> None:
    host.create_objects()
    known: list[str] = []

    def look(pod: PodInterface) -> None:
        journal = read(host.settings.journal)
        known.extend(container for container, _ in journal.grants)

    host.datapath.before_add = look
    with host.agent():
        host.add("web", "c1")
    assert known == ["c1"]


def test_a_del_waits_for_its_own_containers_add_and_for_no_other(
    host: AgentHost,
) -> None:
    host.create_objects()
    connecting, go_on = threading.Event(), threading.Event()

    def slowly(pod: PodInterface) -> None:
        if pod.container_id == "slow":
            connecting.set()
            assert go_on.wait(60)

    host.datapath.before_add = slowly
    with host.agent():
        uid = node_objects.make_pod(host.store, "slow")
        add = host.runtime("slow").start("ADD", "slow", uid, "slow")
        assert connecting.wait(60)
        delete = host.runtime("slow").start("DEL", "slow")
        host.add("other", "c2")
        host.delete("c2")
        assert delete.poll() is None
        go_on.set()
        assert [finish(add).code, finish(delete).code] == [0, 0]
        assert host.datapath.owners() == {}


def test_an_add_that_waits_for_an_address_gives_up_for_its_containers_del(host: AgentHost) -> None:
    """A runtime was restarted, or killed a meta plugin, and the executable waits on."""
    host.create_objects(count=1)
    with host.agent() as agent:
        host.add("first", "c0")
        uid = node_objects.make_pod(host.store, "web")
        add = host.runtime("c1", deadline=100).start("ADD", "c1", uid, "web")
        waits(agent, 1)
        host.delete("c1")
        ended = finish(add)
        assert (ended.error, "abandoned" in ended.body["msg"]) == (11, True)
        node_objects.write_operator_status(host.store, count=2)
        host.add("web", "c1", uid)


def test_a_del_fails_for_nothing_that_it_does_not_need(host: AgentHost) -> None:
    host.create_objects()
    with host.agent():
        host.add("web", "c1")
        result = {"ips": None, "interfaces": 7}
        deleted = host.runtime("c1").call("DEL", "c1", prevResult=result, runtimeConfig=0)
        assert deleted.code == 0
        assert host.datapath.owners() == {}


def test_check_fails_for_a_lost_route_and_for_an_unknown_container(host: AgentHost) -> None:
    host.create_objects()
    with host.agent():
        uid = node_objects.make_pod(host.store, "web")
        runtime = host.runtime("c1")
        assert runtime.call("CHECK", "c1", uid, prevResult={"ips": []}).error == 3
        made = runtime.call("ADD", "c1", uid, "web")
        assert runtime.call("CHECK", "c1", uid, prevResult=made.body).code == 0
        other = made.body | {"ips": [{"address": "10.1.1.1/32"}]}
        assert "10.1.1.1" in runtime.call("CHECK", "c1", uid, prevResult=other).body["details"]
        other["interfaces"][1]["mac"] = "02:00:00:00:00:01"
        wrong = runtime.call("CHECK", "c1", uid, prevResult=other)
        assert (wrong.error, "02:00:00:00:00:01" in wrong.body["details"]) == (100, True)
        host.datapath.lose(made.address)
        gone = runtime.call("CHECK", "c1", uid, prevResult=made.body)
        assert (gone.error, "no route" in gone.body["details"]) == (100, True)
