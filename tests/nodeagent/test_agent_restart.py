"""What holds when the agent, the API server or the journal goes away and comes back."""

import time
from dataclasses import replace
from pathlib import Path

import pytest

from openeni_crds import names
from openeni_crds.conditions import Type
from openeni_nodeagent.agent import Agent
from openeni_nodeagent.cni import frame
from openeni_testing.agent import node_objects
from openeni_testing.agent.world import AgentWorld
from openeni_testing.objects import podip_body
from openeni_testing.waiting import wait_for


@pytest.fixture
def world(tmp_path: Path, executable: Path) -> AgentWorld:
    world = AgentWorld(tmp_path, executable)
    world.furnish()
    return world


def forgotten(agent: Agent, uid: str) -> None:
    wait_for(lambda: not agent.knows_pod(uid), "the watch has told of the pod's end")


def test_a_restarted_agent_knows_its_grants_and_touches_no_running_pod(world: AgentWorld) -> None:
    with world.agent():
        uid = node_objects.make_pod(world.store, "web")
        first = world.runtime("c1").call("ADD", "c1", uid, "web")
    adds = world.wiring.adds
    with world.agent() as agent:
        wait_for(agent.filled, "the agent serves")
        wait_for(lambda: world.said(Type.LINK_READY).reason == "LinkUp", "link")
        assert world.wiring.adds == adds
        again = world.runtime("c1").call("ADD", "c1", uid, "web")
        assert again.body == first.body
        assert world.add("other", "c2") != first.address
        world.delete("c1")
        assert list(world.wiring.owners().values()) == ["c2"]


def test_a_cool_down_goes_on_over_a_restart(world: AgentWorld) -> None:
    with world.agent():
        address = world.add("web", "c1")
        world.delete("c1")
    with world.agent():
        others = {world.add("a", "c2"), world.add("b", "c3")}
        assert others == set(node_objects.addresses(3)) - {address}
        wait_for(lambda: world.node_status().granted == 2, "only living pods count")
        assert world.node_status().cooling == 1
        uid = node_objects.make_pod(world.store, "late")
        answer = world.runtime("c4", deadline=3).call("ADD", "c4", uid, "late")
        assert answer.error == 11


def test_dels_of_pods_that_ended_meanwhile_are_done_before_it_listens(world: AgentWorld) -> None:
    with world.agent():
        world.add("web", "c1")
        world.ready_podip("web")
    world.delete("c1")
    assert world.wiring.owners() != {}
    with world.agent():
        assert world.wiring.owners() == {}
        assert list(world.settings.queue.iterdir()) == []
        wait_for(lambda: world.podip("web") is None, "the PodIP is gone")


def test_a_del_that_was_queued_while_the_agent_came_is_done_too(
    world: AgentWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("openeni_nodeagent.attachments.del_queue.PERIOD_SECONDS", 0.2)
    with world.agent() as agent:
        wait_for(agent.filled, "the agent serves")
        world.add("web", "c1")
        nowhere = replace(world.runtime("c1"), run=world.folder / "elsewhere")
        assert nowhere.call("DEL", "c1").code == 0
        (file,) = (nowhere.run / "queue").iterdir()
        file.rename(world.settings.queue / file.name)
        wait_for(lambda: world.wiring.owners() == {}, "the queued DEL is done")


def test_a_queued_del_older_than_the_grant_was_not_meant(world: AgentWorld) -> None:
    with world.agent():
        address = world.add("web", "c1")
    request = frame.encode_request(
        {"CNI_COMMAND": "DEL", "CNI_CONTAINERID": "c1", "CNI_IFNAME": "eth0"},
        b'{"cniVersion":"1.1.0","name":"openeni"}',
        deadline=1,
    )
    old = int((time.clock_gettime(time.CLOCK_BOOTTIME) - 3600) * 1000)
    (world.settings.queue / f"{old:020d}-1.del").write_bytes(request)
    (world.settings.queue / f"{old:020d}-2.del").write_bytes(request[:-3])
    with world.agent():
        assert world.wiring.owners() == {address: "c1"}
        assert list(world.settings.queue.iterdir()) == []


def test_with_the_api_server_away_warm_pods_start_and_end_and_are_told_later(
    world: AgentWorld,
) -> None:
    with world.agent() as agent:
        wait_for(lambda: world.node_status().available == 3, "the ENI is ready")
        uid = node_objects.make_pod(world.store, "web")
        wait_for(lambda: agent.knows_pod(uid), "the watch has shown the pod")
        world.store.set_outage(outage=True)
        answer = world.runtime("c1").call("ADD", "c1", uid, "web")
        assert answer.code == 0
        world.store.set_outage(outage=False)
        world.ready_podip("web")
        world.store.set_outage(outage=True)
        world.delete("c1")
        assert world.wiring.owners() == {}
        world.store.set_outage(outage=False)
        wait_for(lambda: world.podip("web") is None, "the end is told")


def test_a_restart_without_the_api_server_still_checks_and_deletes(world: AgentWorld) -> None:
    with world.agent():
        uid = node_objects.make_pod(world.store, "web")
        made = world.runtime("c1").call("ADD", "c1", uid, "web")
    world.store.set_outage(outage=True)
    with world.agent():
        runtime = world.runtime("c1", deadline=3)
        assert runtime.call("CHECK", "c1", uid, prevResult=made.body).code == 0
        assert runtime.call("ADD", "c1", uid, "web").body == made.body
        assert runtime.call("STATUS").code == 0
        assert "has not read its objects" in runtime.call("ADD", "c2", "uid", "x").body["msg"]
        world.delete("c1")
        assert world.wiring.owners() == {}


def test_a_lost_journal_is_made_up_from_podips_and_kernel(world: AgentWorld) -> None:
    with world.agent():
        address = world.add("web", "c1")
        world.ready_podip("web")
    world.settings.journal.unlink()
    with world.agent():
        others = {world.add("a", "c2"), world.add("b", "c3")}
        assert address not in others
        wait_for(lambda: world.node_status().granted == 3, "the pod is known again")
        assert world.ready("web")
        world.delete("c1")
        assert "c1" not in world.wiring.owners().values()


def test_a_del_between_the_loss_and_the_finding_is_asked_again(world: AgentWorld) -> None:
    with world.agent():
        address = world.add("web", "c1")
        world.ready_podip("web")
    world.settings.journal.unlink()
    world.store.set_outage(outage=True)
    with world.agent():
        answer = world.runtime("c1").call("DEL", "c1")
        assert (answer.error, address in answer.body["details"]) == (11, True)
        world.store.set_outage(outage=False)
        wait_for(lambda: world.runtime("c1").call("DEL", "c1").code == 0, "DEL is done")
        assert world.wiring.owners() == {}


def test_what_the_kernel_carries_for_nobody_is_kept_back_until_it_lets_go(
    world: AgentWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("openeni_nodeagent.grants.repair.PERIOD_SECONDS", 0.5)
    with world.agent():
        address = world.add("web", "c1")
        world.ready_podip("web")
    world.settings.journal.unlink()
    world.store.delete(names.PODS, "web", "default")
    world.store.delete(names.PODIPS, "web", "default")
    world.store.patch(
        names.PODIPS,
        "web",
        [{"op": "replace", "path": "/metadata/finalizers", "value": []}],
        "default",
    )
    with world.agent():
        assert {world.add("a", "c2"), world.add("b", "c3")} == set(node_objects.addresses(3)) - {
            address
        }
        world.wiring.delete_address(address)
        assert world.add("c", "c4") == address


def test_a_datapath_that_went_under_a_living_pod_is_made_again(world: AgentWorld) -> None:
    with world.agent():
        address = world.add("web", "c1")
    world.wiring.delete_address(address)
    with world.agent():
        wait_for(lambda: world.wiring.owners() == {address: "c1"}, "it is connected again")


def test_after_a_reboot_every_pod_is_new(world: AgentWorld) -> None:
    with world.agent(boot="first"):
        uid = node_objects.make_pod(world.store, "web")
        address = world.add("web", "c1", uid)
        world.wiring.delete_address(address)
    with world.agent(boot="second"):
        wait_for(lambda: world.podip("web") is None, "the old grant's PodIP is gone")
        world.add("web", "c9", uid)
        wait_for(lambda: world.holds("web", container="c9"), "the PodIP is the new sandbox's")


def test_a_new_pod_of_the_same_name_waits_for_the_old_ones_podip(world: AgentWorld) -> None:
    with world.agent():
        old = node_objects.make_pod(world.store, "web-0")
        world.add("web-0", "c1", old)
        world.ready_podip("web-0")
        world.store.delete(names.PODS, "web-0", "default")
        new = node_objects.make_pod(world.store, "web-0")
        world.add("web-0", "c2", new)
        podip = world.podip("web-0")
        assert podip is not None
        assert podip.spec.pod_uid == old
        world.delete("c1")
        wait_for(lambda: world.holds("web-0", uid=new), "the new pod's PodIP")
        world.ready_podip("web-0")


def test_a_podip_of_the_same_name_on_another_node_is_waited_for(world: AgentWorld) -> None:
    world.store.create(names.PODIPS, podip_body("web-0", node="n2"))
    before = world.podip("web-0")
    assert before is not None
    with world.agent():
        uid = node_objects.make_pod(world.store, "web-0")
        world.add("web-0", "c1", uid)
        wait_for(lambda: world.node_status().granted == 1, "the pod is counted")
        assert world.podip("web-0") == before
        world.store.delete(names.PODIPS, "web-0", "default")
        wait_for(lambda: world.holds("web-0", uid=uid), "the PodIP is the new pod's")


def test_gc_frees_what_neither_runtime_nor_api_know_and_nothing_else(
    world: AgentWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("openeni_nodeagent.attachments.attach.GC_AGE_SECONDS", 0.0)
    with world.agent() as agent:
        for name, container in (("listed", "c1"), ("known", "c2"), ("lost", "c3")):
            world.add(name, container)
        for name in ("listed", "lost"):
            uid = world.store.get(names.PODS, name, "default")["metadata"]["uid"]
            world.store.delete(names.PODS, name, "default")
            forgotten(agent, uid)
        assert world.runtime("x").gc("c1").code == 0
        assert sorted(world.wiring.owners().values()) == ["c1", "c2"]


def test_gc_spares_a_pod_that_is_just_being_started(world: AgentWorld) -> None:
    with world.agent() as agent:
        world.add("young", "c1")
        uid = world.store.get(names.PODS, "young", "default")["metadata"]["uid"]
        world.store.delete(names.PODS, "young", "default")
        forgotten(agent, uid)
        assert world.runtime("x").gc().code == 0
        assert list(world.wiring.owners().values()) == ["c1"]


def test_gc_frees_a_replaced_sandbox_only_when_the_runtime_lists_the_newer_one(
    world: AgentWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("openeni_nodeagent.attachments.attach.GC_AGE_SECONDS", 0.0)
    with world.agent():
        uid = node_objects.make_pod(world.store, "web")
        world.add("web", "old", uid)
        world.add("web", "new", uid)
        assert world.runtime("x").gc().code == 0
        assert sorted(world.wiring.owners().values()) == ["new", "old"]
        assert world.runtime("x").gc("new").code == 0
        assert list(world.wiring.owners().values()) == ["new"]


def test_waiting_adds_go_to_the_next_agent(world: AgentWorld) -> None:
    with world.agent() as agent:
        for number in range(3):
            world.add(f"p{number}", f"c{number}")
        uid = node_objects.make_pod(world.store, "late")
        add = world.runtime("c9").start("ADD", "c9", uid, "late")
        wait_for(lambda: agent.waiting() == {"pods": 1}, "the ADD waits")
    assert add.poll() is None
    node_objects.operator_says(world.store, count=4)
    with world.agent():
        out, _ = add.communicate(timeout=60)
        assert add.returncode == 0, out
