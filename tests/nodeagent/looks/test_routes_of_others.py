"""Routes of others are read where one may be openeni's concern: a node may have 100,000 by BGP."""

import threading
import time
from collections.abc import Callable, Generator, Iterable
from typing import Any

import pytest

from openeni_crds.enipool import Datapath, Mode
from openeni_nodeagent.datapath.changes import Change, Kind
from openeni_nodeagent.datapath.linux import uapi
from openeni_nodeagent.datapath.linux.attributes import HEADER
from openeni_nodeagent.datapath.linux.kernel import observe
from openeni_nodeagent.datapath.linux.netlink import Netlink
from openeni_nodeagent.datapath.linux.rtnetlink_encode import RTMSG
from openeni_nodeagent.datapath.model import Link, Route, State, Verb
from openeni_nodeagent.datapath.node.others_routes import OthersRoutes
from openeni_testing.network.reached_pod import SECOND, ReachedPod
from openeni_testing.waiting import wait_for

pytestmark = pytest.mark.root
LEARNED = 40  # routes of the node, of each family
BGP = 186  # RTPROT_BGP
SECONDS = 10.0
OF_OTHERS = "192.0.2.0/24"


@pytest.fixture
def bench() -> Generator[ReachedPod]:
    made = ReachedPod(Datapath(Mode.VETH))
    for n in range(LEARNED):
        made.node.namespace.ip(f"route add 20.0.{n}.0/24 via 10.99.0.1 dev eth0 proto bgp")
        route = f"route add 2400:0:{n:x}::/48 via fd99::1 dev eth0 proto bgp"
        made.node.namespace.program("ip", "-6", *route.split())
    yield made
    made.node.datapath.close()
    made.close()


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """A list of the messages of learned routes that were read."""
    found: list[bytes] = []
    dump = Netlink.dump

    def counted(self: Netlink, request: bytes, wanted: Callable[[bytes], object] = bool) -> Any:
        def note(raw: bytes) -> object:
            _, kind, *_ = HEADER.unpack_from(raw)
            if kind == uapi.RTM_NEWROUTE and RTMSG.unpack_from(raw, HEADER.size)[5] == BGP:
                found.append(raw)
            return wanted(raw)

        return dump(self, request, note)

    monkeypatch.setattr(Netlink, "dump", counted)
    return found


def subscribe(bench: ReachedPod) -> None:
    told = threading.Event()
    bench.node.run(bench.node.datapath.subscribe, told.set)
    assert told.wait(SECONDS)


def list_routes(bench: ReachedPod) -> str:
    return bench.node.namespace.program("ip", "route", "show", "table", "all", "proto", "static")


def add_route(bench: ReachedPod) -> None:
    bench.node.namespace.ip(f"route add {OF_OTHERS} dev {bench.pod_link} proto static")


def many_pods(bench: ReachedPod) -> None:
    """Links of pods that are looked at for the first time: more than are asked for one by one."""
    for n in range(9):
        bench.node.namespace.ip(f"link add oeni{n:010x} type veth peer name peer{n}")
        bench.node.namespace.ip(f"link set oeni{n:010x} alias openeni")


def test_a_look_for_another_reason_reads_none(bench: ReachedPod, read: list[bytes]) -> None:
    subscribe(bench)
    bench.node.look()
    read.clear()
    bench.node.namespace.ip("rule del pref 500")
    assert bench.node.look().repairs
    assert bench.check() == ()
    bench.node.run(bench.node.datapath.add, bench.pod.facts, bench.pod.namespace.path)
    bench.node.look()
    bench.add("second", SECOND)
    bench.node.look()
    assert read == []
    bench.assert_connected()


def test_one_that_leads_to_a_pod_goes_and_no_other_link_is_read(
    bench: ReachedPod, read: list[bytes]
) -> None:
    subscribe(bench)
    bench.node.look()
    read.clear()
    add_route(bench)
    wait_for(lambda: len(bench.node.look().repairs) == 1, "a look that has been told of it")
    assert (list_routes(bench), read) == ("", [])


def test_a_pods_link_is_watched_also_while_its_eni_has_no_nic(
    bench: ReachedPod, read: list[bytes]
) -> None:
    """Else each look would read all routes, if a node has many such links."""
    told = threading.Event()
    bench.node.run(bench.node.datapath.subscribe, told.set)
    many_pods(bench)
    bench.network.unplug(bench.port)
    for _ in range(2):
        bench.node.look()
    read.clear()
    bench.node.look()
    assert read == []
    told.clear()
    add_route(bench)
    assert told.wait(SECONDS)
    bench.node.look()
    assert list_routes(bench) == ""


def test_one_that_came_before_the_first_look_at_a_pod_goes(bench: ReachedPod) -> None:
    """Notifications of its link's routes are not told yet."""
    subscribe(bench)
    bench.node.look()
    second = bench.add("second", SECOND)
    link = second.pod_network.host_interface
    bench.node.namespace.ip(f"route add {OF_OTHERS} dev {link} proto static")
    bench.node.look()
    assert list_routes(bench) == ""


def test_one_that_came_while_looks_had_left_its_pod_alone_goes(bench: ReachedPod) -> None:
    """As of a pod whose ADD is repeated."""
    subscribe(bench)
    for _ in range(2):
        bench.node.look()
    bench.node.look(busy=bench.node.pods)
    add_route(bench)
    wait_for(lambda: len(bench.node.look().repairs) == 1, "a look that has been told of it")
    assert list_routes(bench) == ""


def test_those_of_many_links_are_read_at_once(bench: ReachedPod, read: list[bytes]) -> None:
    many_pods(bench)
    add_route(bench)
    bench.node.look()
    assert list_routes(bench) == ""
    assert len(read) >= 2 * LEARNED


def in_kernel() -> State:
    with Netlink() as netlink:
        return observe(netlink)


def destinations(routes: Iterable[object]) -> set[str]:
    return {route.destination for route in routes if isinstance(route, Route)}


def lost(others: OthersRoutes, _: pytest.MonkeyPatch) -> None:
    others.changed(Change(Kind.UNKNOWN, Verb.CHANGE))


def long_ago(_: OthersRoutes, patch: pytest.MonkeyPatch) -> None:
    last = time.monotonic()
    patch.setattr(time, "monotonic", lambda: last + 400)


@pytest.mark.parametrize("happens", [lost, long_ago])
def test_one_that_no_notification_has_told_of_is_read_once_some_may_have_been_lost_and_in_time(
    bench: ReachedPod,
    monkeypatch: pytest.MonkeyPatch,
    happens: Callable[[OthersRoutes, pytest.MonkeyPatch], None],
) -> None:
    run = bench.node.namespace.run
    seen = run(in_kernel)
    others = OthersRoutes(lambda: {link.index for link in seen if isinstance(link, Link)})
    assert run(others.read, seen) == frozenset()
    add_route(bench)
    assert run(others.read, seen) == frozenset()
    with monkeypatch.context() as patch:
        happens(others, patch)
        assert destinations(run(others.read, seen)) == {OF_OTHERS}
    assert destinations(run(others.read, seen)) == {OF_OTHERS}  # it is still there
