"""Other namespaces: sockets stay where they were opened, and what cannot be done is an error."""

import os
import threading
from collections.abc import Iterator

import pytest

from openeni_nodeagent.datapath.linux.kernel import list_links, observe
from openeni_nodeagent.datapath.linux.namespace import in_namespace, open_namespace
from openeni_nodeagent.datapath.linux.netlink import Netlink
from openeni_nodeagent.datapath.model import Address
from openeni_nodeagent.datapath_api import DatapathError, NamespaceGoneError
from openeni_testing.network.netns import Namespace

pytestmark = pytest.mark.root


@pytest.fixture
def netns() -> Iterator[Namespace]:
    with Namespace("other") as made:
        made.ip("link add inside type veth peer name peer", "addr add 10.98.0.5/32 dev inside")
        yield made


def test_what_a_socket_shows_is_of_the_namespace_it_was_opened_in(netns: Namespace) -> None:
    with open_namespace(netns.path) as descriptor:
        opened = in_namespace(descriptor, Netlink)
    with opened, Netlink() as own:
        assert {link.name for link in list_links(opened)} == {"lo", "inside", "peer"}
        addresses = {i.address for i in observe(opened) if isinstance(i, Address)}
        assert addresses == {"127.0.0.1", "::1", "10.98.0.5"}
        assert "inside" not in {link.name for link in list_links(own)}


def test_a_thread_that_cannot_be_started_is_an_error_of_the_datapath(
    netns: Namespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with open_namespace(netns.path) as descriptor:
        monkeypatch.setattr(threading.Thread, "start", refuse)
        with pytest.raises(DatapathError, match="can't start new thread"):
            in_namespace(descriptor, os.getpid)


def test_a_namespace_that_is_not_there_is_gone() -> None:
    with pytest.raises(NamespaceGoneError), open_namespace("/run/netns/nowhere"):
        pass
