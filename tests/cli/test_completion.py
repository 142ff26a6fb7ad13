"""`kubectl openeni` is completed as kubectl completes plugins."""

import os
import sys
from collections.abc import Callable
from importlib.metadata import entry_points

import pytest

from openeni_cli.completion import main

Complete = Callable[..., list[str]]


@pytest.fixture
def complete(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Complete:
    """Return a function that completes words; kubectl drops empty lines of it."""
    monkeypatch.setattr(os, "environ", os.environ.copy())

    def lines(*words: str) -> list[str]:
        monkeypatch.setattr(sys, "argv", ["kubectl_complete-openeni", *words])
        main()
        return [line for line in capsys.readouterr().out.splitlines() if line]

    return lines


def test_kubectl_finds_the_program_by_its_name() -> None:
    scripts = entry_points(group="console_scripts", name="kubectl_complete-openeni")
    assert [script.value for script in scripts] == ["openeni_cli.completion:main"]


@pytest.mark.parametrize(
    ("words", "candidates"),
    [
        (("di",), ["diagnose"]),
        (("preflight", "--no"), ["--node"]),
        (("trace", ""), ["pod"]),
        (("status", "-o", ""), ["text", "json", "yaml"]),
        (("--context", "a b", "swe"), ["sweep"]),
        (("status", "-o", "jsonn"), []),
    ],
)
def test_candidates_come_with_descriptions_and_a_directive(
    complete: Complete, words: tuple[str, ...], candidates: list[str]
) -> None:
    *found, directive = complete(*words)
    assert directive == ":4"
    assert [line.partition("\t")[0] for line in found] == candidates


def test_every_command_is_offered_first(complete: Complete) -> None:
    names = {line.partition("\t")[0] for line in complete("")}
    assert {"status", "diagnose", "preflight", "sweep", "drain-node", "trace"} <= names
