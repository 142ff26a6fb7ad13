"""DELs that were queued while no agent ran: each runs once, oldest first, and none is lost."""

import os
import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from openeni_kube.clock import boot_seconds
from openeni_nodeagent.attachments import del_queue
from openeni_nodeagent.cni.protocol import CNIError
from openeni_nodeagent.datapath_api import PodInterface
from openeni_testing.agent.cni_call import DEEP
from openeni_testing.agent.failed_adds import add, with_node
from openeni_testing.agent.parts import AgentParts
from openeni_testing.agent.queued_dels import queue_before_what_follows, queued, request
from openeni_testing.waiting import wait_for


@pytest.fixture
def parts(tmp_path: Path) -> AgentParts:
    made = AgentParts(tmp_path)
    made.create_objects()
    return made


def test_queued_dels_run_oldest_first_and_their_files_are_removed(
    parts: AgentParts, folder: Path
) -> None:
    for name in ("first", "second"):
        parts.grant(name, name)
    now = boot_seconds()
    netns = {name: str(parts.netns(name)) for name in ("first", "second")}
    queued(folder, request("second", netns=netns["second"]), now + 2)
    queued(folder, request("first"), now + 1)
    assert del_queue.replay(folder, parts.detacher) == 0
    parts.finish()
    assert parts.datapath.ended == list(netns.items())
    assert parts.grants.all() == ()
    assert list(folder.iterdir()) == []


def test_a_del_of_a_container_without_a_grant_succeeds(parts: AgentParts, folder: Path) -> None:
    queued(folder, request("unknown"), boot_seconds())
    assert del_queue.replay(folder, parts.detacher) == 0
    assert list(folder.iterdir()) == []


def test_a_grant_that_is_younger_than_the_del_is_kept(parts: AgentParts, folder: Path) -> None:
    before = boot_seconds() - 1
    grant = parts.grant("web", "c1")
    queued(folder, request("c1"), before)
    assert del_queue.replay(folder, parts.detacher) == 0
    assert parts.grants.all() == (grant,)


def test_a_del_that_fails_is_kept_for_a_retry_and_delays_no_other(
    parts: AgentParts, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    parts.grant("web", "c1")
    file = queued(folder, request("c1"), boot_seconds() + 1)
    queued(folder, request("unknown"), boot_seconds() + 2)
    parts.datapath.refused = "EPERM"
    assert del_queue.replay(folder, parts.detacher) == 1
    assert list(folder.iterdir()) == [file]
    assert "will be retried" in caplog.text
    assert "EPERM" in caplog.text
    parts.datapath.refused = ""
    assert del_queue.replay(folder, parts.detacher) == 0
    assert parts.grants.all() == ()
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("failed", [True, False], ids=["a DEL that has failed", "a DEL"])
@pytest.mark.parametrize("restarted", [True, False], ids=["restart", "no restart"])
def test_an_add_keeps_its_network_whatever_was_queued_before_it(
    parts: AgentParts, folder: Path, *, failed: bool, restarted: bool
) -> None:
    """The agent listens though a DEL is queued: the runtime knows nothing of that."""
    grant = parts.grant("web", "c1")
    queue_before_what_follows(folder)
    if failed:
        parts.datapath.refused = "EPERM"
        assert del_queue.replay(folder, parts.detacher) == 1
        parts.datapath.refused = ""
    with_node(parts)
    parts.sync(look=False)
    add(parts, grant.attachment.pod_uid)
    if restarted:
        parts = parts.restarted()
        parts.sync(look=False)
    assert del_queue.replay(folder, parts.detacher) == 0
    assert list(folder.iterdir()) == []
    assert [one.addresses for one in parts.grants.all()] == [grant.addresses]
    assert set(parts.datapath.owners()) == set(grant.addresses)
    queued(folder, request("c1"), boot_seconds() + 1)
    assert del_queue.replay(folder, parts.detacher) == 0
    assert parts.grants.all() == ()


def test_a_del_that_is_queued_while_an_add_is_at_work_ends_its_network(
    parts: AgentParts, folder: Path
) -> None:
    """The runtime has given that ADD up, and the agent that finishes it listens no longer."""
    grant = parts.grant("web", "c1")
    with_node(parts)
    parts.sync(look=False)
    later = boot_seconds() + 0.1

    def give_up(_: PodInterface) -> None:
        queued(folder, request("c1"), later)
        wait_for(lambda: boot_seconds() > later, "the ADD ends after the DEL")

    parts.datapath.before_add = give_up
    add(parts, grant.attachment.pod_uid)
    assert del_queue.replay(folder, parts.detacher) == 0
    assert parts.grants.all() == ()


def test_an_add_that_fails_keeps_nothing_that_a_queued_del_ends(
    parts: AgentParts, folder: Path
) -> None:
    grant = parts.grant("web", "c1")
    queue_before_what_follows(folder)
    with_node(parts)
    parts.sync(look=False)
    parts.datapath.refused = "EPERM"
    with pytest.raises(CNIError, match="cannot be built"):
        add(parts, grant.attachment.pod_uid)
    parts.datapath.refused = ""
    assert del_queue.replay(folder, parts.detacher) == 0
    assert parts.grants.all() == ()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        pytest.param(b"", "is unreadable", id="empty"),
        pytest.param(request("c1")[:-3], "is unreadable", id="cut off"),
        pytest.param(b"x" * 200, "is unreadable", id="foreign"),
        pytest.param(request("c1", "DANCE"), "is unreadable", id="no command of CNI"),
        pytest.param(
            request("c1", stdin=b'{"cniVersion":"1.1.0","prevResult":' + DEEP + b"}"),
            "is unreadable",
            id="nested too deep",
        ),
        pytest.param(
            request("c1", stdin=b'{"cniVersion":"1.1.0\xff"}'), "is unreadable", id="no UTF-8"
        ),
        pytest.param(request("c1", "STATUS"), "is not a DEL", id="another command"),
    ],
)
def test_a_file_that_is_not_a_del_is_dropped_and_named(
    parts: AgentParts,
    folder: Path,
    caplog: pytest.LogCaptureFixture,
    content: bytes,
    words: str,
) -> None:
    grant = parts.grant("web", "c1")
    file = queued(folder, content, boot_seconds() + 1)
    assert del_queue.replay(folder, parts.detacher) == 0
    assert parts.grants.all() == (grant,)
    assert list(folder.iterdir()) == []
    assert file.name in caplog.text
    assert words in caplog.text


def test_a_del_file_of_another_name_is_dropped_and_other_files_are_ignored(
    parts: AgentParts, folder: Path
) -> None:
    grant = parts.grant("web", "c1")
    (folder / "whatever.del").write_bytes(request("c1"))
    (folder / "1-2.new").write_bytes(request("c1"))
    assert del_queue.replay(folder, parts.detacher) == 0
    assert parts.grants.all() == (grant,)
    assert [file.name for file in folder.iterdir()] == ["1-2.new"]


def make_folder(path: Path) -> None:
    (path / "inside").mkdir(parents=True)


def make_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(path))


def make_loop(path: Path) -> None:
    path.symlink_to(path.name)


@pytest.mark.timeout(30)  # to open a FIFO would take for ever
@pytest.mark.parametrize("make", [make_folder, os.mkfifo, make_socket, make_loop])
def test_what_is_in_the_place_of_a_file_is_removed_and_delays_no_other(
    parts: AgentParts,
    folder: Path,
    caplog: pytest.LogCaptureFixture,
    make: Callable[[Path], None],
) -> None:
    parts.grant("web", "c1")
    now = boot_seconds()
    odd = folder / f"{int(now):020d}-7.del"
    make(odd)
    queued(folder, request("c1"), now + 1)
    assert del_queue.replay(folder, parts.detacher) == 0
    assert parts.grants.all() == ()
    assert list(folder.iterdir()) == []
    assert f"queued DEL {odd.name} is no file and is dropped" in caplog.text


@pytest.mark.parametrize("error", [OSError("input/output error"), RuntimeError("a fault of ours")])
def test_a_del_that_cannot_be_run_is_kept_and_delays_no_other(
    parts: AgentParts,
    folder: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
) -> None:
    parts.grant("web", "c1")
    now = boot_seconds()
    unread = queued(folder, request("x"), now)
    queued(folder, request("c1"), now + 1)

    def read_bytes(path: Path) -> bytes:
        if path == unread:
            raise error
        return reads(path)

    reads = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", read_bytes)
    assert del_queue.replay(folder, parts.detacher) == 1
    assert parts.grants.all() == ()
    assert list(folder.iterdir()) == [unread]
    assert "failed and will be retried" in caplog.text


def test_a_queue_that_is_not_there_is_no_error(parts: AgentParts, folder: Path) -> None:
    folder.rmdir()
    assert del_queue.replay(folder, parts.detacher) == 0


def test_what_a_killed_executable_has_left_is_removed_once_it_is_old(
    parts: AgentParts, folder: Path
) -> None:
    """A younger one is about to get its name."""
    for name in (".00000000000000012345-7", ".00000000000000012345-8"):
        (folder / name).write_bytes(request("c1")[:9])
    old = time.time() - del_queue.UNFINISHED_SECONDS - 1
    os.utime(folder / ".00000000000000012345-7", (old, old))
    assert del_queue.replay(folder, parts.detacher) == 0
    assert [file.name for file in folder.iterdir()] == [".00000000000000012345-8"]


def test_while_lost_grants_are_looked_for_the_del_of_an_unknown_container_is_kept(
    parts: AgentParts, folder: Path
) -> None:
    parts.grant("web", "c1")
    (parts.folder / "journal").unlink()
    fresh = parts.restarted()
    fresh.repaired = False
    file = queued(folder, request("c1"), boot_seconds() + 1)
    assert del_queue.replay(folder, fresh.detacher) == 1
    assert list(folder.iterdir()) == [file]
    fresh.repaired = True
    assert del_queue.replay(folder, fresh.detacher) == 0
    assert list(folder.iterdir()) == []


def test_a_container_whose_call_still_runs_is_left_for_the_next_time(
    parts: AgentParts, folder: Path
) -> None:
    """An ADD may hold its lock for as long as it waits for an address."""
    parts.grant("web", "c1")
    queued(folder, request("c1"), boot_seconds() + 1)
    with parts.locks.locked("c1"):
        assert del_queue.replay(folder, parts.detacher) == 1
    assert del_queue.replay(folder, parts.detacher) == 0
    assert parts.grants.all() == ()
