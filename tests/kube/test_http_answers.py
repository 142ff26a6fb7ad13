"""Pages over HTTP: who is slow, asks too often or asks for what hangs holds up nobody else."""

import errno
import http.client
import os
import socket
import socketserver
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from http import HTTPStatus
from ipaddress import ip_address
from itertools import pairwise
from typing import Any

import pytest

from openeni_kube import http_answers
from openeni_kube.http_answers import METRICS_PATH, Answer, AnswerServer, Scrapes, plain
from openeni_testing.waiting import wait_for

MOST = 4
Serve = Callable[..., int]


class Server(AnswerServer):
    def __init__(self, page: Callable[[], bytes]) -> None:
        super().__init__(ip_address("127.0.0.1"), 0)
        self._scrapes = Scrapes(page)

    def answer(self, path: str) -> Answer:
        return self._scrapes.answer() if path == METRICS_PATH else plain(HTTPStatus.OK)


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Serve]:
    """Yield a function that serves a page of metrics and returns its port."""
    monkeypatch.setattr(http_answers, "MOST_CONNECTIONS", MOST)
    with ExitStack() as serving:

        def start(page: Callable[[], bytes] = lambda: b"") -> int:
            server = serving.enter_context(Server(page))
            thread = threading.Thread(target=server.serve_forever, args=[0.01])
            thread.start()
            serving.callback(thread.join, 10)
            serving.callback(server.shutdown)
            return int(server.server_address[1])

        yield start


def ask(port: int, path: str = "/") -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.request("GET", path)
    answer = connection.getresponse()
    answer.read()
    return answer.status


def is_cut_off(connection: socket.socket) -> bool:
    """Send another byte; return True if the server has ended the connection."""
    try:
        connection.sendall(b"x")
        return connection.recv(1) == b""
    except TimeoutError:
        return False
    except OSError:
        return True


def test_the_oldest_connection_gives_way_to_one_too_many(serve: Serve) -> None:
    port, before = serve(), threading.active_count()
    with ExitStack() as held:
        clients = [
            held.enter_context(socket.create_connection(("127.0.0.1", port), 0.02))
            for _ in range(3 * MOST)
        ]
        for client in clients:
            client.sendall(b"GET / HTTP/1.0\r\nX: ")
        assert ask(port) == 200
        youngest = clients[1 - MOST :]
        wait_for(lambda: all(map(is_cut_off, clients[: 1 - MOST])), "the oldest give way")
        assert not any(map(is_cut_off, youngest))
        assert threading.active_count() <= before + MOST
        assert ask(port) == 200


def test_a_page_is_computed_once_for_all_who_ask_at_the_same_time(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    computed: list[None] = []

    def page() -> bytes:
        computed.append(None)
        return b""

    port = serve(page)
    monkeypatch.setattr(http_answers, "PAGE_SECONDS", 3600)
    assert [ask(port, METRICS_PATH) for _ in range(3)] == [200] * 3
    assert len(computed) == 1
    monkeypatch.setattr(http_answers, "PAGE_SECONDS", 0)
    assert ask(port, METRICS_PATH) == 200
    assert len(computed) == 2


def test_a_page_that_hangs_is_computed_once_and_holds_up_nothing_else(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_answers, "READ_SECONDS", 0.05)
    hangs, release = threading.Semaphore(0), threading.Event()

    def hang() -> bytes:
        hangs.release()
        assert release.wait(60)
        return b""

    port, answers = serve(hang), list[int]()
    first = threading.Thread(target=lambda: answers.append(ask(port, METRICS_PATH)))
    first.start()
    assert hangs.acquire(timeout=60)
    assert [ask(port, METRICS_PATH), ask(port)] == [503, 200]
    release.set()
    first.join(60)
    assert answers == [200]
    assert not hangs.acquire(blocking=False)


def test_without_open_files_it_pauses_until_it_can_accept(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_answers, "ACCEPT_PAUSE_SECONDS", 0.1)
    port, tries = serve(), list[float]()

    def refuse(_: socketserver.TCPServer) -> Any:
        tries.append(time.monotonic())
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    with monkeypatch.context() as out:
        out.setattr(socketserver.TCPServer, "get_request", refuse)
        with socket.create_connection(("127.0.0.1", port)):
            wait_for(lambda: len(tries) > 3, "it tries again")
    assert all(after - before >= 0.1 for before, after in pairwise(tries))
    assert ask(port) == 200
