"""One read serves all who need its result, and no failure is taken for one."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from openeni_operator.cloud.errors import CloudUnreachableError
from openeni_operator.shared_reads import CloudReads, SharedRead
from openeni_testing.cloud.faults import FakeClock
from openeni_testing.cloud.memory import MemoryCloud

ASKING = 20


class Source:
    """Numbers its reads."""

    def __init__(self) -> None:
        self.reads = 0

    def __call__(self) -> int:
        self.reads += 1
        return self.reads


def test_a_value_is_read_again_only_when_it_is_too_old() -> None:
    clock, source = FakeClock(), Source()
    shared: SharedRead[str, int] = SharedRead(100, clock)
    assert [shared.get("a", source) for _ in range(3)] == [1, 1, 1]
    clock.advance(100)
    assert shared.get("a", source) == 1
    clock.advance(0.1)
    assert shared.get("a", source) == 2


def test_a_value_from_before_a_moment_is_read_again_once() -> None:
    clock, source = FakeClock(), Source()
    shared: SharedRead[str, int] = SharedRead(100, clock)
    shared.get("a", source)
    since = clock.now
    assert shared.get("a", source, not_before=since) == 2, "it is not known which came first"
    clock.advance(1)
    assert shared.get("a", source, not_before=since) == 3
    assert shared.get("a", source, not_before=since) == 3


def test_threads_that_ask_at_once_share_a_read() -> None:
    shared: SharedRead[str, int] = SharedRead(100, FakeClock())
    source, begin = Source(), threading.Barrier(ASKING)

    def ask(_: int) -> int:
        begin.wait(30)
        return shared.get("a", source)

    with ThreadPoolExecutor(ASKING) as threads:
        assert set(threads.map(ask, range(ASKING))) == {1}


def test_a_failure_and_nothing_are_not_remembered() -> None:
    shared: SharedRead[str, int | None] = SharedRead(100, FakeClock())

    def fails() -> int:
        raise CloudUnreachableError("no answer")

    def nothing() -> None:
        return None

    with pytest.raises(CloudUnreachableError):
        shared.get("a", fails)
    assert shared.get("a", nothing) is None
    assert shared.get("a", Source()) == 1


def test_credentials_of_another_project_see_nothing_of_what_others_read() -> None:
    here, there = MemoryCloud(), MemoryCloud()
    there.place = type(here.place)("another", here.place.region)
    network = here.add_network()
    reads = CloudReads(100, here.clock)
    reads.ports_on("default", here, network.id)
    reads.ports_on("default", there, network.id)
    assert (here.calls["list ports"], there.calls["list ports"]) == (1, 1)


def test_a_server_that_is_not_there_is_asked_for_again() -> None:
    cloud = MemoryCloud()
    reads = CloudReads(100, cloud.clock)
    assert not reads.server_was_seen("default", cloud, "server-x")
    server = cloud.add_server()
    assert reads.server_was_seen("default", cloud, server)
    assert reads.server_was_seen("default", cloud, server)
    assert cloud.calls["get server"] == 2
