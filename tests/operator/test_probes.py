"""What the operator's probes answer."""

import asyncio
import http.client
import socket
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from ipaddress import ip_address

import pytest

from openeni_operator.process.probes import LoopCheck, Probes, serve_probes
from openeni_testing.waiting import wait_for

pytestmark = pytest.mark.slow


def test_it_lives_and_is_not_ready_until_it_has_started() -> None:
    probes = Probes()
    assert probes.problem("/healthz") == ""
    assert probes.problem("/readyz") == "not started: the log says why"
    probes.started({"watches": lambda: True})
    assert (probes.problem("/healthz"), probes.problem("/readyz")) == ("", "")


def test_a_failed_check_is_named_by_both_probes() -> None:
    probes = Probes()
    probes.started({"watches": lambda: True, "workers": lambda: False, "kopf": lambda: False})
    for path in ("/healthz", "/readyz"):
        assert probes.problem(path) == "failed: workers, kopf"
    assert probes.problem("/") is None


Ask = Callable[[str], tuple[int, str, str]]


@contextmanager
def served(
    metrics: Callable[[], bytes] | None = None, address: str = "127.0.0.1"
) -> Generator[Ask]:
    """Yield a function that asks for a path; it returns the status, content type and text."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]

    def ask(path: str) -> tuple[int, str, str]:
        asked = http.client.HTTPConnection(address, port, timeout=60)
        asked.request("GET", path)
        answer = asked.getresponse()
        text = answer.read().decode()
        asked.close()
        return answer.status, answer.headers["Content-Type"], text

    with serve_probes(Probes(), ip_address(address), port, metrics):
        yield ask


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_they_are_served_on_an_address_of_either_family(address: str) -> None:
    with served(address=address) as ask:
        assert ask("/healthz") == (200, "text/plain; charset=utf-8", "OK\n")


def test_metrics_are_served_beside_them_only_if_they_are_asked_for() -> None:
    with served() as ask:
        assert ask("/metrics")[0] == 404
    with served(lambda: b"openeni_leader 1.0\n") as ask:
        kind = "text/plain; version=0.0.4; charset=utf-8"
        assert ask("/metrics") == (200, kind, "openeni_leader 1.0\n")
        assert ask("/metrics/")[0] == 404
        assert ask("/healthz")[0] == 200


def test_metrics_that_fail_say_nothing_to_strangers_and_hold_up_nobody(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail() -> bytes:
        raise ValueError("a secret of the process")

    with served(fail) as ask:
        assert ask("/metrics")[::2] == (500, "failed: the log says why\n")
        assert ask("/healthz")[0] == 200
    assert "a secret of the process" in caplog.text


def test_port_0_serves_nothing() -> None:
    with serve_probes(Probes(), ip_address("192.0.2.1"), 0):
        pass


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    """Yield an event loop that runs in a thread."""
    made = asyncio.new_event_loop()
    thread = threading.Thread(target=made.run_forever)
    thread.start()
    yield made
    made.call_soon_threadsafe(made.stop)
    thread.join(10)
    made.close()


def test_a_loop_that_runs_nothing_fails_the_check(loop: asyncio.AbstractEventLoop) -> None:
    check, release = LoopCheck(seconds=0.2), threading.Event()
    assert check()  # there is no loop yet
    check.watch(loop)
    assert check()
    loop.call_soon_threadsafe(release.wait, 30)
    assert not check()
    release.set()
    wait_for(check, "the loop to run again")


def test_a_loop_that_has_ended_fails_the_check() -> None:
    ended = asyncio.new_event_loop()
    ended.close()
    check = LoopCheck()
    check.watch(ended)
    assert not check()
