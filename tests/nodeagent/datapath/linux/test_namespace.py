"""Other namespaces: sockets stay where they were opened, and what cannot be done is an error."""

import contextlib
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from openeni_nodeagent.datapath.linux import namespace
from openeni_nodeagent.datapath.linux.kernel import list_links, observe
from openeni_nodeagent.datapath.linux.namespace import (
    in_namespace,
    in_new_namespace,
    open_namespace,
)
from openeni_nodeagent.datapath.linux.netlink import Netlink
from openeni_nodeagent.datapath.model import Address
from openeni_nodeagent.datapath_api import DatapathError, NamespaceGoneError
from openeni_testing.network.netns import Namespace
from openeni_testing.open_files import no_more_files

pytestmark = pytest.mark.root


@pytest.fixture
def netns() -> Iterator[Namespace]:
    with Namespace("other") as made:
        made.ip("link add inside type veth peer name peer", "addr add 10.98.0.5/32 dev inside")
        yield made


def links() -> set[str]:
    return {name for _, name in socket.if_nameindex()}


def test_what_a_socket_shows_is_of_the_namespace_it_was_opened_in(netns: Namespace) -> None:
    with open_namespace(netns.path) as descriptor:
        opened = in_namespace(descriptor, Netlink)
    with opened, Netlink() as own:
        assert {link.name for link in list_links(opened)} == {"lo", "inside", "peer"}
        addresses = {i.address for i in observe(opened) if isinstance(i, Address)}
        assert addresses == {"127.0.0.1", "::1", "10.98.0.5"}
        assert "inside" not in {link.name for link in list_links(own)}


def test_a_path_that_is_a_fifo_is_no_namespace(tmp_path: Path) -> None:
    """It has no writer, for which a thread would wait."""
    fifo = tmp_path / "netns"
    os.mkfifo(fifo)
    with open_namespace(str(fifo)) as descriptor, pytest.raises(NamespaceGoneError):
        in_namespace(descriptor, links)


def test_the_thread_is_back_whatever_happens_inside(netns: Namespace) -> None:
    own = links()
    with open_namespace(netns.path) as descriptor:
        assert in_namespace(descriptor, links) == {"lo", "inside", "peer"}
        assert links() == own
        with pytest.raises(ZeroDivisionError):
            in_namespace(descriptor, lambda: 1 // 0)
        assert links() == own


def test_a_thread_that_could_not_come_back_does_not_go(
    netns: Namespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_namespace(netns.path) as descriptor:
        monkeypatch.setattr(namespace, "_OWN_NAMESPACE", "/proc/thread-self/ns/nothing")
        with pytest.raises(DatapathError, match="cannot open the node's namespace"):
            in_namespace(descriptor, lambda: pytest.fail("it was run"))


LOST: Final = """
from openeni_nodeagent.datapath.linux import namespace

class LibC:
    answers = [0, -1]

    def setns(self, descriptor: int, kind: int) -> int:
        return self.answers.pop(0)

namespace._LIBC = LibC()
namespace.in_namespace(0, lambda: print("inside", flush=True))
print("went on")
"""


def test_a_thread_that_cannot_come_back_ends_the_process() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", LOST], capture_output=True, text=True, timeout=60, check=False
    )
    assert (ended.returncode, ended.stdout) == (namespace.LOST_EXIT_CODE, "inside\n")
    assert "cannot leave a pod's network" in ended.stderr


def test_it_ends_although_nobody_reads_its_log() -> None:
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(writing, bytes(1 << 12))
    os.set_blocking(writing, True)
    command = [sys.executable, "-c", LOST]
    ended = subprocess.run(command, stdout=subprocess.PIPE, stderr=writing, timeout=60, check=False)
    os.close(reading)
    os.close(writing)
    assert (ended.returncode, ended.stdout) == (namespace.LOST_EXIT_CODE, b"inside\n")


def test_a_thread_that_cannot_be_started_is_an_error_of_the_datapath(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    with pytest.raises(DatapathError, match="can't start new thread"):
        in_new_namespace(os.getpid)


def test_a_namespace_that_is_not_there_is_gone() -> None:
    with pytest.raises(NamespaceGoneError), open_namespace("/run/netns/nowhere"):
        pass


def test_one_that_cannot_be_opened_now_has_not_ended(netns: Namespace) -> None:
    with (
        no_more_files(),
        pytest.raises(DatapathError, match="Too many open files") as raised,
        open_namespace(netns.path),
    ):
        pass
    assert not isinstance(raised.value, NamespaceGoneError)
