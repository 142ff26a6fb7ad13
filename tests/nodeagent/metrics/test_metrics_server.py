"""Metrics over HTTP, never at the cost of the agent."""

import http.client
import socket
import threading
import time
from collections.abc import Callable, Iterator
from ipaddress import ip_address
from itertools import pairwise
from typing import Any

import pytest

from openeni_kube.http_answers import AnswerServer
from openeni_nodeagent.metrics import server
from openeni_nodeagent.metrics.server import MetricsServer
from openeni_testing.waiting import wait_for

PAGE = b"openeni_grants 1.0\n"
Serve = Callable[..., int]


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "PAUSE_SECONDS", 0.001)
    monkeypatch.setattr(server, "RETRY_SECONDS", 0.01)


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Yield a function that serves a page and returns its port."""
    started: list[MetricsServer] = []

    def start(page: Callable[[], bytes] = lambda: PAGE, address: str = "127.0.0.1") -> int:
        port = free_port()
        started.append(MetricsServer(ip_address(address), port, page))
        started[-1].start()
        return port

    yield start
    for each in started:
        each.stop()


def ask(port: int, path: str = "/metrics", address: str = "127.0.0.1") -> tuple[int, bytes]:
    def answered() -> tuple[int, bytes]:
        try:
            connection = http.client.HTTPConnection(address, port, timeout=30)
            connection.request("GET", path)
            answer = connection.getresponse()
        except ConnectionRefusedError as error:  # it starts
            raise AssertionError from error
        return answer.status, answer.read()

    return wait_for(answered, "an answer")


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_the_metrics_are_served_on_an_address_of_either_family(serve: Serve, address: str) -> None:
    port = serve(address=address)
    assert ask(port, address=address) == (200, PAGE)
    assert ask(port, "/", address=address)[0] == 404
    assert ask(port, "/metrics/", address=address)[0] == 404


def test_a_port_that_is_taken_is_served_once_it_is_free(caplog: pytest.LogCaptureFixture) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = int(taken.getsockname()[1])
        made = MetricsServer(ip_address("127.0.0.1"), port, lambda: PAGE)
        made.start()
        wait_for(lambda: "agent.metricsPort" in caplog.text, "the way out is logged")
    assert ask(port) == (200, PAGE)
    assert caplog.text.count("agent.metricsPort") == 1
    made.stop()


def test_it_pauses_after_each_connection(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    port, times = serve(), list[float]()
    ask(port)
    monkeypatch.setattr(server, "PAUSE_SECONDS", 0.1)
    process = AnswerServer.process_request

    def noted(self: AnswerServer, *connection: Any) -> None:
        times.append(time.monotonic())
        process(self, *connection)

    monkeypatch.setattr(AnswerServer, "process_request", noted)
    asking = [threading.Thread(target=ask, args=[port]) for _ in range(4)]
    for each in asking:
        each.start()
    for each in asking:
        each.join(60)
    assert len(times) == 4
    assert all(after - before >= 0.1 for before, after in pairwise(times))


def test_metrics_that_fail_say_nothing_to_strangers(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> bytes:
        raise ValueError("a secret of the process")

    port = serve(fail)
    for _ in range(2):
        assert ask(port) == (500, b"failed: the log says why\n")
    assert "a secret of the process" in caplog.text
