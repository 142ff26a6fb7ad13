"""An agent under more calls than it can serve, and one that hangs: what is still answered."""

# pyright: reportPrivateUsage=false

import json
import math
import threading
from pathlib import Path

import pytest

from openeni_nodeagent.attachments import pool_choice
from openeni_nodeagent.cni import self_check, server
from openeni_nodeagent.cni.server import MOST_ADDS, THREADS
from openeni_nodeagent.reports import publishing_pace
from openeni_testing.agent import node_objects
from openeni_testing.agent.cni_call import Process, finish
from openeni_testing.agent.host import AgentHost, is_synced
from openeni_testing.waiting import wait_for

pytestmark = pytest.mark.slow
LONG = 600  # seconds, more than the tests wait: no ADD ends by itself meanwhile


@pytest.fixture
def host(tmp_path: Path, executable: Path) -> AgentHost:
    return AgentHost(tmp_path, executable)


def refused(adds: list[Process]) -> int:
    return sum(add.poll() is not None for add in adds)


def assert_all_else_is_answered(host: AgentHost, uid: str, result: object) -> None:
    """The agent itself answers CHECK, GC, probes and DEL; the executable did not have to."""
    runtime = host.runtime("c1")
    for answer in (runtime.call("CHECK", "c1", uid, prevResult=result), runtime.gc("c1")):
        assert "does not answer" not in answer.body.get("msg", "")
    assert runtime.call("STATUS").code == 0
    assert runtime.ask("live").returncode == 0
    host.delete("c1")
    assert list(host.settings.queue.iterdir()) == []
    assert host.datapath.owners() == {}


@pytest.mark.parametrize("wait", ["caches", "pod", "address"])
def test_however_adds_wait_all_else_is_answered(
    host: AgentHost, wait: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool_choice, "POD_SECONDS", LONG)
    monkeypatch.setattr(server, "FINISH_SECONDS", 0.5)
    host.create_objects(count=1)
    with host.agent():
        uid = node_objects.make_pod(host.store, "first")
        made = host.runtime("c1").call("ADD", "c1", uid, "first")
    host.store.set_outage(outage=wait == "caches")
    with host.agent() as agent:
        if wait != "caches":
            wait_for(lambda: is_synced(agent), "the agent serves")
        uids = ["unknown"] * (THREADS + 10)
        if wait == "address":
            uids = [node_objects.make_pod(host.store, f"p{n}") for n in range(THREADS + 10)]
        adds = [
            host.runtime(f"x{n}", deadline=LONG).start("ADD", f"x{n}", uid_of, f"p{n}")
            for n, uid_of in enumerate(uids)
        ]
        try:
            surplus = len(adds) - MOST_ADDS
            wait_for(lambda: refused(adds) >= surplus, "as many ADDs wait as may")
            assert_all_else_is_answered(host, uid, made.body)
        finally:
            for add in adds:
                add.kill()
                add.communicate(timeout=60)
            host.store.set_outage(outage=False)


def test_adds_that_are_killed_before_the_caches_are_read_leave_their_places(
    host: AgentHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "MOST_ADDS", 2)
    host.store.set_outage(outage=True)
    with host.agent():
        adds = [host.runtime(f"x{n}", deadline=LONG).start("ADD", f"x{n}", "1") for n in range(3)]
        wait_for(lambda: refused(adds), "two wait")
        for add in adds:
            add.kill()
            add.communicate(timeout=60)
        another = host.runtime("c1", deadline=3)  # the agent answers it after one second

        def has_a_place() -> bool:
            answer = another.call("ADD", "c1", "1")
            assert "has not read its objects" in answer.body["msg"], answer.body
            return True

        wait_for(has_a_place, "another ADD waits in their place", seconds=30)


def test_the_probes_fail_once_the_ledger_hangs(
    host: AgentHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(self_check, "PERIOD_SECONDS", 0.05)
    monkeypatch.setattr(self_check, "ANSWER_SECONDS", 0.1)
    monkeypatch.setattr(self_check, "SILENT_SECONDS", 0.5)
    host.create_objects()
    with host.agent() as agent:
        ask = host.runtime("c1").ask
        wait_for(lambda: ask("ready").returncode == 0, "the agent is ready")
        with agent._grants._changed:
            wait_for(lambda: ask("live").returncode == 1, "it is to be started anew")
            assert "the agent's ledger has not answered" in ask("live").stdout
            assert ask("ready").returncode == 1
        wait_for(lambda: ask("ready").returncode == 0, "the ledger answers again")


def test_a_question_of_the_agent_to_itself_is_no_call(host: AgentHost) -> None:
    host.create_objects()
    with host.agent():
        uid = node_objects.make_pod(host.store, "web")
        assert finish(host.runtime("c1").start("ADD", "c1", uid, "web")).code == 0
        asked = host.runtime("c1")
        wait_for(lambda: set(json.loads(asked.ask("phases").stdout)) == {"ADD"}, "no other call")


def test_while_calls_are_at_work_podips_are_put_off_and_then_written(
    host: AgentHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publishing_pace, "MOST_BUSY_SECONDS", 3600.0)
    host.create_objects()
    with host.agent() as agent:
        wait_for(lambda: host.node_status().available == 3, "the ENI is ready")
        young = agent._server._threads._young
        young[threading.current_thread()] = math.inf  # a call that has always just begun
        host.add("web", "c1")
        podips = agent._requeues.queues["podips"]
        wait_for(lambda: podips.load()[""][0] == 1, "its PodIP is due and not written")
        assert host.podip("web") is None
        del young[threading.current_thread()]
        host.ready_podip("web")
