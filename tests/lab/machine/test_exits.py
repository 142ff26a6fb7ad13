"""The description of exits."""

from pathlib import Path

import pytest

from openeni_lab.machine.exits import describe_exit, last_line


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


def test_the_last_line_of_a_long_log_is_returned(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("x" * 100_000 + "\nno route\n\n")
    assert last_line(log) == "no route"
    log.write_text("x" * 100_000)
    assert last_line(log) == "x" * 300
    assert last_line(tmp_path / "none") == "it logged nothing"
