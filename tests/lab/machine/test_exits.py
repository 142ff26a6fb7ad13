"""The back-off of restarts, and the description of exits."""

import itertools
from pathlib import Path

import pytest

from openeni_lab.machine.exits import UnexpectedExit, describe_exit, last_line, restart_delay


def test_restarts_wait_as_a_kubelets_do() -> None:
    """Restarts are immediate, then after 10 s, doubled up to 5 minutes."""
    delays = [restart_delay(None, 1)]
    for _ in range(7):
        delays.append(restart_delay(delays[-1], 1))
    assert delays == [0, 10, 20, 40, 80, 160, 300, 300]
    assert all(before <= after for before, after in itertools.pairwise(delays))


@pytest.mark.parametrize(("ran", "delay"), [(599, 300), (601, 0)])
def test_ten_minutes_of_running_are_forgiven(ran: float, delay: float) -> None:
    assert restart_delay(300, ran) == delay


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (0, "ended with 0"),
        (2, "ended with 2"),
        (-11, "ended by SIGSEGV (signal 11)"),
        (-9, "ended by SIGKILL (signal 9)"),
        (-40, "ended by signal 40"),
    ],
)
def test_an_end_is_named(code: int, text: str) -> None:
    assert describe_exit(code) == text


@pytest.mark.parametrize(
    ("restart_in", "text"),
    [(None, "not started again"), (0, "started again"), (10, "started again in 10 s")],
)
def test_an_end_says_what_comes_next(restart_in: float | None, text: str) -> None:
    end = UnexpectedExit("1", "agent", "ended with 1", 0, restart_in, "/log", "no route")
    assert str(end) == f"agent ended with 1; {text}"


def test_the_last_line_of_a_long_log_is_returned(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("x" * 100_000 + "\nno route\n\n")
    assert last_line(log) == "no route"
    log.write_text("x" * 100_000)
    assert last_line(log) == "x" * 300
    assert last_line(tmp_path / "none") == "it logged nothing"
