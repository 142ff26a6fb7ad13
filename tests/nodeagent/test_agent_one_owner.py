"""One address, one owner, also when the kernel, the journal or a runtime fails in the middle."""

import json
import threading
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from openeni_crds import names
from openeni_crds.conditions import Type
from openeni_nodeagent.agent import Agent
from openeni_nodeagent.datapath_api import KernelRefusedError, PodInterface
from openeni_nodeagent.grants.grants import Grants
from openeni_nodeagent.grants.journal import JournalError
from openeni_testing.agent import node_objects
from openeni_testing.agent.cni_call import finish
from openeni_testing.agent.host import AgentHost, grant_events, grant_of, is_synced, knows_pod
from openeni_testing.waiting import wait_for

pytestmark = pytest.mark.slow

BUSY = "netlink: timed out"


@pytest.fixture
def host(tmp_path: Path, executable: Path) -> AgentHost:
    return AgentHost(tmp_path, executable)


def refuse(*_: object) -> None:
    raise JournalError("the journal of grants cannot be written: No space left on device")


def gone(agent: Agent, host: AgentHost, name: str) -> None:
    """Delete a pod, and wait until the agent knows."""
    uid = host.store.get(names.PODS, name, "default")["metadata"]["uid"]
    host.store.delete(names.PODS, name, "default")
    wait_for(lambda: not knows_pod(agent, uid), "the watch has told of the pod's end")


def test_an_add_that_a_crash_cut_off_keeps_its_grant_while_its_eni_is_not_ready(
    host: AgentHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel has the address although the journal does not say that it is connected."""
    host.create_objects()
    uid = node_objects.make_pod(host.store, "one")
    with host.agent(), monkeypatch.context() as full:
        full.setattr(Grants, "mark_connected", refuse)
        assert host.runtime("c1").call("ADD", "c1", uid, "one").error == 5
    ((address, _),) = host.datapath.owners().items()
    host.datapath.nics.clear()  # udev renames it
    with host.agent() as agent:
        wait_for(lambda: is_synced(agent), "the agent serves")
        answer = host.runtime("c1").call("ADD", "c1", uid, "one")
        assert (answer.error, "is not ready" in answer.body["msg"]) == (11, True)
        assert grant_of(agent, "c1").addresses == (address,)
        host.datapath.nics.add(node_objects.mac(0))
        wait_for(lambda: host.condition(Type.LINK_READY).reason == "LinkUp", "the link is ready")
        assert host.add("two", "c2") != address
        assert host.add("one", "c1", uid) == address


def test_an_add_whose_pod_cannot_be_removed_again_keeps_its_grant_for_the_del(
    host: AgentHost,
) -> None:
    host.create_objects(count=2)
    with host.agent() as agent:
        host.datapath.build_fails, host.datapath.clear_fails = BUSY, True
        uid = node_objects.make_pod(host.store, "one")
        answer = host.runtime("c1").call("ADD", "c1", uid, "one")
        assert (answer.error, answer.body["details"]) == (5, BUSY)
        assert not grant_of(agent, "c1").connected
        wait_for(lambda: host.node_status().granted == 1, "the ENI counts it")
        host.datapath.build_fails = ""
        other = host.add("two", "c2")
        assert set(host.datapath.owners().values()) == {"c1", "c2"}
        assert host.runtime("c1").call("DEL", "c1").error == 5
        host.datapath.clear_fails = False
        host.delete("c1")
        assert host.datapath.owners() == {other: "c2"}
        wait_for(lambda: host.node_status().granted == 1, "its grant has ended")


def test_an_add_that_fails_and_leaves_nothing_costs_no_address(host: AgentHost) -> None:
    host.create_objects(count=1)
    with host.agent():
        host.datapath.build_fails = BUSY
        uid = node_objects.make_pod(host.store, "one")
        assert host.runtime("c1").call("ADD", "c1", uid, "one").error == 5
        host.datapath.build_fails = ""
        host.add("two", "c2")


def test_a_removal_that_removed_nothing_is_noticed_and_repeated(host: AgentHost) -> None:
    host.create_objects(count=1, cool_down="1s")
    with host.agent():
        address = host.add("one", "c1")
        host.ready_podip("one")
        host.datapath.clears_nothing = True
        host.delete("c1")
        uid = node_objects.make_pod(host.store, "two")
        assert host.runtime("c2", deadline=5).call("ADD", "c2", uid, "two").error == 11
        assert host.datapath.owners() == {address: "c1"}
        wait_for(lambda: host.node_status().cooling == 1, "it counts as cooling down")
        wait_for(lambda: host.podip("one") is None, "its PodIP does not wait for that")
        host.datapath.clears_nothing = False
        assert host.add("two", "c2", uid) == address


def test_an_eni_is_not_torn_down_while_the_kernel_has_an_address_of_it(host: AgentHost) -> None:
    host.create_objects()
    with host.agent():
        address = host.add("web", "c1")
        host.store.delete(names.ENIS, "pods-0")
        host.datapath.clears_nothing = True
        host.delete("c1")
        wait_for(lambda: len(host.node_status().retired) == 2, "the others are given up")
        wait_for(lambda: host.node_status().granted == 0, "the pod has ended")
        assert address not in {answer.address for answer in host.node_status().retired}
        assert host.datapath.torn_down == []
        host.datapath.clears_nothing = False
        wait_for(lambda: len(host.node_status().retired) == 3, "all are given up")
        wait_for(lambda: host.datapath.torn_down == ["pods-0"], "it is torn down")


def test_a_repeated_add_whose_namespace_is_gone_may_be_retried_and_keeps_its_grant(
    host: AgentHost,
) -> None:
    host.create_objects(count=1)
    with host.agent() as agent:
        uid = node_objects.make_pod(host.store, "web")
        address = host.add("web", "c1", uid)
        runtime = host.runtime("c1")
        runtime.netns.unlink()
        answer = runtime.call("ADD", "c1", uid, "web")
        assert (answer.error, "is gone" in answer.body["details"]) == (11, True)
        assert grant_of(agent, "c1").addresses == (address,)
        assert host.datapath.owners() == {address: "c1"}
        host.delete("c1")
        assert host.datapath.owners() == {}


def test_a_container_that_is_added_in_another_namespace_leaves_the_first(host: AgentHost) -> None:
    host.create_objects()
    with host.agent() as agent:
        uid = node_objects.make_pod(host.store, "web")
        address = host.add("web", "c1", uid)
        first, second = host.runtime("c1").netns, host.runtime("other").netns
        answer = host.runtime("other").call("ADD", "c1", uid, "web")
        assert answer.address == address
        assert host.datapath.ended == [("c1", str(first))]
        assert grant_of(agent, "c1").netns == str(second)
        host.delete("c1")  # by the first path: the pod is not there
        wait_for(lambda: host.datapath.ended[1:] == [("c1", str(second))], "its links are removed")


def test_a_path_that_leads_to_another_pods_namespace_is_not_entered(host: AgentHost) -> None:
    """A process ended, and its number, which is in the path, is another's."""
    host.create_objects()
    with host.agent():
        host.add("web", "c1")
        host.runtime("other").netns.rename(host.runtime("c1").netns)
        host.delete("c1")
        wait_for(lambda: host.datapath.ended == [("c1", "")], "its links are removed")
        assert host.datapath.owners() == {}


def test_check_of_a_pod_whose_namespace_is_gone_does_not_say_that_no_del_is_needed(
    host: AgentHost,
) -> None:
    host.create_objects()
    with host.agent():
        uid = node_objects.make_pod(host.store, "web")
        host.add("web", "c1", uid)
        runtime = host.runtime("c1")
        runtime.netns.unlink()
        answer = runtime.call("CHECK", "c1", uid, prevResult={"ips": []})
        assert answer.error == 100
        assert "its DEL is still to come" in answer.body["msg"]


def test_gc_goes_on_past_a_pod_that_cannot_be_removed_and_reports_all(
    host: AgentHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("openeni_nodeagent.attachments.garbage_collection.GC_AGE_SECONDS", 0.0)
    host.create_objects()
    delete = host.datapath.delete

    def sick(pod: PodInterface) -> None:
        if pod.container_id in {"ca", "cc"}:
            raise KernelRefusedError(f"{pod.container_id} is sick")
        delete(pod)

    with host.agent() as agent:
        for name in "abc":
            host.add(name, f"c{name}")
            gone(agent, host, name)
        monkeypatch.setattr(host.datapath, "delete", sick)
        answer = host.runtime("x").gc()
        assert answer.body["msg"] == "2 grants could not be ended"
        assert "ca is sick" in answer.body["details"]
        assert "cc is sick" in answer.body["details"]
        assert sorted(host.datapath.owners().values()) == ["ca", "cc"]


def test_listeners_are_told_once_of_each_add_and_of_each_del(host: AgentHost) -> None:
    host.create_objects()
    with host.agent() as agent:
        uid = node_objects.make_pod(host.store, "web")
        seen = grant_events(agent)
        host.add("web", "c1", uid)
        wait_for(lambda: seen, "the listener is told, once the ADD has been answered")
        assert [grant.attachment.container_id for grant in seen] == ["c1"]
        host.delete("c1")
        wait_for(lambda: len(seen) > 1, "the listener is told of the DEL")
    assert len(seen) == 2


def test_an_agent_that_stops_leaves_calls_that_wait_for_another_to_the_next_one(
    host: AgentHost,
) -> None:
    host.create_objects()
    connecting, go_on = threading.Event(), threading.Event()

    def slowly(pod: PodInterface) -> None:
        connecting.set()
        assert go_on.wait(60)

    host.datapath.before_add = slowly
    with host.agent() as agent:
        uid = node_objects.make_pod(host.store, "slow")
        add = host.runtime("slow").start("ADD", "slow", uid, "slow")
        assert connecting.wait(60)
        delete = host.runtime("slow").start("DEL", "slow")
        with pytest.raises(Exception, match="timed out"):
            delete.wait(0.3)
        stopping = threading.Thread(target=agent.stop)
        stopping.start()
        assert finish(delete).code == 0
        assert len(list(host.settings.queue.glob("*.del"))) == 1
        assert stopping.is_alive()  # the ADD is finished
        go_on.set()
        stopping.join(60)
        assert finish(add).code == 0
    with host.agent():
        wait_for(lambda: host.datapath.owners() == {}, "the DEL has been done")


def test_the_log_of_grants_says_who_had_which_address_and_when(
    host: AgentHost, caplog: pytest.LogCaptureFixture
) -> None:
    cluster = host.store.create(names.NAMESPACES, {"metadata": {"name": "kube-system"}})
    host.create_objects()
    caplog.set_level("INFO", "openeni.grants")

    def lines() -> list[dict[str, str]]:
        return [json.loads(r.message) for r in caplog.records if r.name == "openeni.grants"]

    with host.agent():
        uid = node_objects.make_pod(host.store, "web")
        address = host.add("web", "c1", uid)
        host.delete("c1")
        wait_for(lambda: len(lines()) == 2, "both are written while the agent runs")
        host.add("last", "c2")
    began, ended, last = lines()
    assert (last["event"], last["pod"]) == ("GrantBegan", "last")  # written when the agent stops
    times = [datetime.fromisoformat(began.pop("time")), datetime.fromisoformat(ended.pop("began"))]
    assert abs(times[0] - times[1]) < timedelta(seconds=0.1)
    assert datetime.fromisoformat(ended.pop("time")) >= times[0]
    assert (began.pop("event"), ended.pop("event")) == ("GrantBegan", "GrantEnded")
    assert ended.pop("reason") == "Deleted"
    expected = {
        "cluster": cluster["metadata"]["uid"],
        "node": "n1",
        "namespace": "default",
        "pod": "web",
        "podUID": uid,
        "containerID": "c1",
        "interface": "eth0",
        "addresses": [address],
        "eni": "pods-0",
        "port": "port-0",
        "pool": "pods",
    }
    assert began == ended == expected
