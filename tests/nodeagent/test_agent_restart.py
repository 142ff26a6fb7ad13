"""The agent, the API server or the journal is lost and returns."""

# pyright: reportPrivateUsage=false

import logging
import time
from dataclasses import replace
from pathlib import Path

import pytest

from openeni_crds import names
from openeni_crds.conditions import Type
from openeni_nodeagent.agent import Agent
from openeni_nodeagent.cni import frame
from openeni_testing.agent import node_objects
from openeni_testing.agent.host import AgentHost, grant_of, is_synced, knows_pod, waiting_adds
from openeni_testing.objects import podip_body
from openeni_testing.waiting import wait_for

pytestmark = pytest.mark.slow


@pytest.fixture
def host(tmp_path: Path, executable: Path) -> AgentHost:
    host = AgentHost(tmp_path, executable)
    host.create_objects()
    return host


def due_keys(agent: Agent, queue: str) -> int:
    ((due, _),) = agent._requeues.queues[queue].load().values()
    return due


def forgotten(agent: Agent, uid: str) -> None:
    wait_for(lambda: not knows_pod(agent, uid), "the watch has told of the pod's end")


def test_a_restarted_agent_knows_its_grants_and_touches_no_running_pod(host: AgentHost) -> None:
    with host.agent():
        uid = node_objects.make_pod(host.store, "web")
        first = host.runtime("c1").call("ADD", "c1", uid, "web")
    adds = host.datapath.adds
    with host.agent() as agent:
        wait_for(lambda: is_synced(agent), "the agent serves")
        wait_for(lambda: host.condition(Type.LINK_READY).reason == "LinkUp", "link")
        assert host.datapath.adds == adds
        again = host.runtime("c1").call("ADD", "c1", uid, "web")
        assert again.body == first.body
        assert host.add("other", "c2") != first.address
        host.delete("c1")
        assert list(host.datapath.owners().values()) == ["c2"]


def test_a_cool_down_survives_a_restart(host: AgentHost) -> None:
    with host.agent():
        address = host.add("web", "c1")
        host.delete("c1")
    with host.agent():
        others = {host.add("a", "c2"), host.add("b", "c3")}
        assert others == set(node_objects.addresses(3)) - {address}
        wait_for(lambda: host.node_status().granted == 2, "only living pods count")
        assert host.node_status().cooling == 1
        uid = node_objects.make_pod(host.store, "late")
        answer = host.runtime("c4", deadline=3).call("ADD", "c4", uid, "late")
        assert answer.error == 11


def test_queued_dels_run_before_the_agent_listens(host: AgentHost) -> None:
    with host.agent():
        host.add("web", "c1")
        host.ready_podip("web")
    host.delete("c1")
    assert host.datapath.owners() != {}
    with host.agent():
        assert host.datapath.owners() == {}
        assert list(host.settings.queue.iterdir()) == []
        wait_for(lambda: host.podip("web") is None, "the PodIP is gone")


def test_a_del_that_is_queued_after_the_start_runs_too(
    host: AgentHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("openeni_nodeagent.attachments.del_queue.REPLAY_PERIOD_SECONDS", 0.2)
    with host.agent() as agent:
        wait_for(lambda: is_synced(agent), "the agent serves")
        host.add("web", "c1")
        nowhere = replace(host.runtime("c1"), run=host.folder / "elsewhere")
        assert nowhere.call("DEL", "c1").code == 0
        (file,) = (nowhere.run / "queue").iterdir()
        file.rename(host.settings.queue / file.name)
        wait_for(lambda: host.datapath.owners() == {}, "the queued DEL is done")


def test_a_queued_del_that_is_older_than_the_grant_is_ignored(host: AgentHost) -> None:
    with host.agent():
        address = host.add("web", "c1")
    request = frame.encode_request(
        {"CNI_COMMAND": "DEL", "CNI_CONTAINERID": "c1", "CNI_IFNAME": "eth0"},
        b'{"cniVersion":"1.1.0","name":"openeni"}',
        deadline=1,
    )
    old = int((time.clock_gettime(time.CLOCK_BOOTTIME) - 3600) * 1000)
    (host.settings.queue / f"{old:020d}-1.del").write_bytes(request)
    (host.settings.queue / f"{old:020d}-2.del").write_bytes(request[:-3])
    with host.agent():
        assert host.datapath.owners() == {address: "c1"}
        assert list(host.settings.queue.iterdir()) == []


def test_with_the_api_server_away_warm_pods_start_and_end_and_podips_follow_later(
    host: AgentHost,
) -> None:
    with host.agent() as agent:
        wait_for(lambda: host.node_status().available == 3, "the ENI is ready")
        uid = node_objects.make_pod(host.store, "web")
        wait_for(lambda: knows_pod(agent, uid), "the watch has shown the pod")
        host.store.set_outage(outage=True)
        answer = host.runtime("c1").call("ADD", "c1", uid, "web")
        assert answer.code == 0
        host.store.set_outage(outage=False)
        host.ready_podip("web")
        host.store.set_outage(outage=True)
        host.delete("c1")
        assert host.datapath.owners() == {}
        host.store.set_outage(outage=False)
        wait_for(lambda: host.podip("web") is None, "the end is told")


def test_while_no_watch_reaches_the_api_server_nothing_is_published(
    host: AgentHost, caplog: pytest.LogCaptureFixture
) -> None:
    """Pods start, no PodIP is tried meanwhile, and all are written soon after the outage."""
    caplog.set_level(logging.WARNING, logger="openeni_kube.workers")
    with host.agent() as agent:
        uids = {name: node_objects.make_pod(host.store, name) for name in ("a", "b", "c")}
        wait_for(lambda: all(knows_pod(agent, uid) for uid in uids.values()), "pods are known")
        host.store.set_outage(outage=True)
        wait_for(agent._watches.unreachable, "every watch has noticed")
        for name, uid in uids.items():
            assert host.runtime(name).call("ADD", name, uid, name).code == 0
        wait_for(lambda: due_keys(agent, "podips") == len(uids), "all wait to be published")
        assert "PodIP" not in caplog.text
        host.store.set_outage(outage=False)
        for name in uids:
            host.ready_podip(name)


def test_a_restart_without_the_api_server_still_checks_and_deletes(host: AgentHost) -> None:
    with host.agent():
        uid = node_objects.make_pod(host.store, "web")
        made = host.runtime("c1").call("ADD", "c1", uid, "web")
    host.store.set_outage(outage=True)
    with host.agent():
        runtime = host.runtime("c1", deadline=3)
        assert runtime.call("CHECK", "c1", uid, prevResult=made.body).code == 0
        assert runtime.call("ADD", "c1", uid, "web").body == made.body
        assert runtime.call("STATUS").code == 0
        refused = host.runtime("c2", deadline=3).call("ADD", "c2", "uid", "x")
        assert "has not read its objects" in refused.body["msg"]
        host.delete("c1")
        assert host.datapath.owners() == {}


def test_a_lost_datapath_of_a_running_pod_is_built_again(host: AgentHost) -> None:
    with host.agent():
        address = host.add("web", "c1")
    host.datapath.lose(address)
    with host.agent():
        wait_for(lambda: host.datapath.owners() == {address: "c1"}, "it is connected again")


def test_after_a_reboot_every_pod_is_new(host: AgentHost) -> None:
    with host.agent(boot="first"):
        uid = node_objects.make_pod(host.store, "web")
        address = host.add("web", "c1", uid)
        host.datapath.lose(address)
    with host.agent(boot="second"):
        wait_for(lambda: host.podip("web") is None, "the old grant's PodIP is gone")
        host.add("web", "c9", uid)
        wait_for(lambda: host.holds("web", container="c9"), "the PodIP is the new sandbox's")


def test_a_new_pod_of_the_same_name_waits_for_the_old_ones_podip(host: AgentHost) -> None:
    with host.agent():
        old = node_objects.make_pod(host.store, "web-0")
        host.add("web-0", "c1", old)
        host.ready_podip("web-0")
        host.store.delete(names.PODS, "web-0", "default")
        new = node_objects.make_pod(host.store, "web-0")
        host.add("web-0", "c2", new)
        podip = host.podip("web-0")
        assert podip is not None
        assert podip.spec.pod_uid == old
        host.delete("c1")
        wait_for(lambda: host.holds("web-0", uid=new), "the new pod's PodIP")
        host.ready_podip("web-0")


def test_a_podip_of_the_same_name_on_another_node_is_waited_for(host: AgentHost) -> None:
    host.store.create(names.PODIPS, podip_body("web-0", node="n2"))
    before = host.podip("web-0")
    assert before is not None
    with host.agent():
        uid = node_objects.make_pod(host.store, "web-0")
        host.add("web-0", "c1", uid)
        wait_for(lambda: host.node_status().granted == 1, "the pod is counted")
        assert host.podip("web-0") == before
        host.store.delete(names.PODIPS, "web-0", "default")
        wait_for(lambda: host.holds("web-0", uid=uid), "the PodIP is the new pod's")


def test_gc_frees_only_what_neither_runtime_nor_api_server_has(
    host: AgentHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("openeni_nodeagent.attachments.garbage_collection.GC_AGE_SECONDS", 0.0)
    with host.agent() as agent:
        for name, container in (("listed", "c1"), ("known", "c2"), ("lost", "c3")):
            host.add(name, container)
        for name in ("listed", "lost"):
            uid = host.store.get(names.PODS, name, "default")["metadata"]["uid"]
            host.store.delete(names.PODS, name, "default")
            forgotten(agent, uid)
        assert host.runtime("x").gc("c1").code == 0
        assert sorted(host.datapath.owners().values()) == ["c1", "c2"]


def test_gc_spares_a_pod_that_is_just_being_started(host: AgentHost) -> None:
    with host.agent() as agent:
        host.add("young", "c1")
        uid = host.store.get(names.PODS, "young", "default")["metadata"]["uid"]
        host.store.delete(names.PODS, "young", "default")
        forgotten(agent, uid)
        assert host.runtime("x").gc().code == 0
        assert list(host.datapath.owners().values()) == ["c1"]


def test_gc_frees_a_replaced_sandbox_only_when_the_runtime_lists_the_newer_one(
    host: AgentHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("openeni_nodeagent.attachments.garbage_collection.GC_AGE_SECONDS", 0.0)
    with host.agent():
        uid = node_objects.make_pod(host.store, "web")
        host.add("web", "old", uid)
        host.add("web", "new", uid)
        assert host.runtime("x").gc().code == 0
        assert sorted(host.datapath.owners().values()) == ["new", "old"]
        assert host.runtime("x").gc("new").code == 0
        assert list(host.datapath.owners().values()) == ["new"]


def test_gc_of_one_network_spares_what_a_living_container_has_of_another(
    host: AgentHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A runtime lists for each network what it has of that one: here c1/net1, but not c1/eth0."""
    monkeypatch.setattr("openeni_nodeagent.attachments.garbage_collection.GC_AGE_SECONDS", 0.0)
    with host.agent() as agent:
        host.add("web", "c1")
        uid = grant_of(agent, "c1").attachment.pod_uid
        runtime = host.runtime("c1")
        second = replace(runtime, environment={"CNI_IFNAME": "net1"})
        assert second.call("ADD", "c1", uid, "web").code == 0
        assert runtime.gc("c1", interface="net1").code == 0
        assert list(host.datapath.owners().values()) == ["c1", "c1"]


def test_gc_of_another_network_ends_nothing(
    host: AgentHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("openeni_nodeagent.attachments.garbage_collection.GC_AGE_SECONDS", 0.0)
    with host.agent() as agent:
        host.add("web", "c1")
        uid = grant_of(agent, "c1").attachment.pod_uid
        host.store.delete(names.PODS, "web", "default")
        forgotten(agent, uid)
        runtime = host.runtime("c1")
        assert replace(runtime, network="other").gc().code == 0
        assert list(host.datapath.owners().values()) == ["c1"]
        assert runtime.gc().code == 0
        assert host.datapath.owners() == {}


def test_waiting_adds_go_to_the_next_agent(host: AgentHost) -> None:
    with host.agent() as agent:
        for number in range(3):
            host.add(f"p{number}", f"c{number}")
        uid = node_objects.make_pod(host.store, "late")
        add = host.runtime("c9").start("ADD", "c9", uid, "late")
        wait_for(lambda: waiting_adds(agent) == 1, "the ADD waits")
    assert add.poll() is None
    node_objects.write_operator_status(host.store, count=4)
    with host.agent():
        out, _ = add.communicate(timeout=60)
        assert add.returncode == 0, out
