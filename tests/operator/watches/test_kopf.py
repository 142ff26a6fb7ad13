"""kopf's watch of ENIPools goes on after any error, and a signal ends it at any time."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from openeni_testing.controller.pool_server import PoolServer, error_event
from openeni_testing.fake_openstack.http_server import HttpServer
from openeni_testing.waiting import wait_for

pytestmark = pytest.mark.slow


@contextmanager
def running(
    folder: Path, watch: Callable[[int], str]
) -> Generator[tuple[PoolServer, "subprocess.Popen[bytes]", Callable[[], str]]]:
    """Run kopf on a server; yield the server, the process and a reader of its output."""
    pools, output = PoolServer(watch), folder / "output"
    server = HttpServer(pools.answer)
    (folder / "kubeconfig").write_text(pools.kubeconfig(server))
    paths = os.pathsep.join(path for path in sys.path if path)
    with output.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "openeni_testing.controller.kopf_child"],
            env={**os.environ, "PYTHONPATH": paths, "KUBECONFIG": str(folder / "kubeconfig")},
            stdout=out,
            stderr=subprocess.STDOUT,
        )
    try:
        yield pools, process, output.read_text
    finally:
        process.kill()
        process.wait(100)
        server.close()


def quiet(_: int) -> str:
    """A watch that hears nothing ends soon, as the API server ends watches."""
    time.sleep(0.2)
    return ""


@pytest.mark.parametrize("code", [410, 500, 504])
def test_an_error_of_the_watch_makes_kopf_list_again(tmp_path: Path, code: int) -> None:
    def watch(number: int) -> str:
        return error_event(code) if number == 1 else quiet(number)

    with running(tmp_path, watch) as (pools, process, output):
        wait_for(lambda: pools.watches >= 3, "the watch goes on")
        assert pools.lists == 2
        assert pools.unknown == []
        process.send_signal(signal.SIGTERM)
        assert process.wait(100) == 0
        assert "pool-1" in output()
        assert ("kopf has failed and is run again" in output()) == (code != 410)


def test_whoever_knows_better_makes_kopf_list_again(tmp_path: Path) -> None:
    """A watch from a version of before a restored backup would hear nothing for long."""

    def watches(pools: PoolServer, lists: int) -> bool:
        return pools.lists == lists and pools.watches > lists

    with running(tmp_path, quiet) as (pools, process, output):

        def is_told(name: str) -> bool:
            return name in output()

        for lists in (1, 2, 3):
            wait_for(partial(watches, pools, lists), "it watches")
            wait_for(partial(is_told, f"pool-{lists - 1}"), "what was listed is passed on")
            process.send_signal(signal.SIGUSR1)
        process.send_signal(signal.SIGTERM)
        assert process.wait(100) == 0


def test_a_signal_between_two_runs_of_kopf_ends_it(tmp_path: Path) -> None:
    with running(tmp_path, lambda _: error_event(500)) as (_, process, output):
        wait_for(lambda: "kopf has failed and is run again" in output(), "it has failed")
        process.send_signal(signal.SIGTERM)
        assert process.wait(100) == 0
