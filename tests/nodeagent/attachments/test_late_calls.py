"""What the runtime has given up comes late: it changes nothing that a later call relies on."""

import threading
from pathlib import Path

import pytest

from openeni_nodeagent.attachments import commands, del_queue
from openeni_nodeagent.attachments.garbage_collection import GC_AGE_SECONDS
from openeni_nodeagent.cni.protocol import CNIError
from openeni_nodeagent.grants.grant_log import EndReason
from openeni_testing.agent import node_objects
from openeni_testing.agent.failed_adds import add, call, with_node
from openeni_testing.agent.parts import AgentParts
from openeni_testing.agent.queued_dels import queue_before_what_follows
from openeni_testing.waiting import wait_for


@pytest.fixture
def parts(tmp_path: Path) -> AgentParts:
    made = AgentParts(tmp_path)
    made.create_objects(count=2)
    with_node(made)
    return made


def test_a_del_that_is_queued_while_the_first_add_waits_ends_its_network(
    parts: AgentParts, folder: Path
) -> None:
    parts.grant("first", "a")
    second = parts.grant("second", "b")
    uid = node_objects.make_pod(parts.store, "web")
    parts.sync(look=False)
    waiting = threading.Thread(
        target=call, args=[parts, "ADD", uid], kwargs={"seconds": 30.0}, daemon=True
    )
    waiting.start()
    wait_for(lambda: len(parts.grants.waits()) == 1, "it waits")
    queue_before_what_follows(folder)
    assert del_queue.replay(folder, parts.detacher) == 1
    parts.datapath.lose(second.addresses[0])
    parts.grants.end_grant(second, EndReason.ADD_FAILED, used=False)
    parts.look()
    waiting.join(30)
    assert parts.grants.find("c1", "eth0")
    assert del_queue.replay(folder, parts.detacher) == 0
    assert parts.grants.find("c1", "eth0") is None


def test_an_add_that_was_given_up_before_a_del_does_not_keep_its_network(
    parts: AgentParts, folder: Path
) -> None:
    """An agent that was stalled finds the ADD in its socket."""
    grant = parts.grant("web", "c1")
    parts.sync(look=False)
    queue_before_what_follows(folder)
    with pytest.raises(CNIError, match="abandoned"):
        call(parts, "ADD", grant.attachment.pod_uid, alive=False)
    assert del_queue.replay(folder, parts.detacher) == 0
    assert parts.grants.all() == ()


def test_a_del_that_was_given_up_and_queued_does_not_run_twice(
    parts: AgentParts, folder: Path
) -> None:
    """Its executable has written it to the socket, too, and an ADD has succeeded since."""
    uid = parts.grant("web", "c1").attachment.pod_uid
    parts.sync(look=False)
    queue_before_what_follows(folder)
    assert del_queue.replay(folder, parts.detacher) == 0
    assert parts.grants.all() == ()
    add(parts, uid)
    with pytest.raises(CNIError, match="abandoned"):
        call(parts, "DEL", uid, alive=False)
    assert [grant.attachment.container_id for grant in parts.grants.all()] == ["c1"]


def test_a_gc_that_was_given_up_ends_nothing(
    parts: AgentParts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The API server does not have the pod: it is a static one, or none of Kubernetes'.

    Its ADD came just after the runtime had made its list, and the agent stood still since.
    """
    grant = parts.grant("web", "c1")
    monkeypatch.setattr(commands, "boot_seconds", lambda: grant.at + GC_AGE_SECONDS + 1)
    with pytest.raises(CNIError, match="abandoned"):
        call(parts, "GC", "", config={"cni.dev/valid-attachments": []}, alive=False)
    assert parts.grants.all() == (grant,)
    call(parts, "GC", "", config={"cni.dev/valid-attachments": []})
    assert parts.grants.all() == ()


def test_a_check_does_not_wait_for_an_add_that_waits(parts: AgentParts) -> None:
    """It would keep a thread for as long, as would all that come after it."""
    parts.grant("first", "a")
    parts.grant("second", "b")
    uid = node_objects.make_pod(parts.store, "web")
    parts.sync(look=False)

    def add_until_it_is_given_up() -> None:
        with pytest.raises(CNIError, match="abandoned"):
            call(parts, "ADD", uid, seconds=600.0)

    waiting = threading.Thread(target=add_until_it_is_given_up, daemon=True)
    waiting.start()
    wait_for(lambda: len(parts.grants.waits()) == 1, "it waits")
    with pytest.raises(CNIError, match="another call of container c1"):
        call(parts, "CHECK", uid, config={"prevResult": {}}, seconds=600.0)
    assert waiting.is_alive()
    with parts.locks.ending("c1"):
        waiting.join(30)
