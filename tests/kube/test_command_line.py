"""Operator and agent say their version, and answer questions; nothing else is a command line."""

import json
import subprocess
import sys

import pytest

from openeni_crds.names import BUNDLE_VERSION
from openeni_kube.command_line import ExitCode, Question, read_command_line
from openeni_nodeagent.ask.answer import QUESTIONS
from openeni_operator.ask.answer import ANSWERS

pytestmark = pytest.mark.slow

PROGRAMS = {"openeni-operator": "openeni_operator", "openeni-agent": "openeni_nodeagent"}


def run(program: str, *words: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", PROGRAMS[program], *words]
    return subprocess.run(command, capture_output=True, text=True, env={}, timeout=60, check=False)


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_program_says_its_version_without_any_setting(program: str) -> None:
    said = run(program, "--version")
    assert (said.returncode, said.stdout) == (0, f"{program} {BUNDLE_VERSION}\n")


@pytest.mark.parametrize("program", PROGRAMS)
def test_anything_else_is_refused_by_its_name(program: str) -> None:
    said = run(program, "--workers=4")
    assert said.returncode == 2
    assert f"{program}: error: unrecognized arguments: --workers=4" in said.stderr


@pytest.mark.parametrize(
    ("program", "says"),
    [("openeni-operator", "set KUBECONFIG"), ("openeni-agent", "NODE_NAME is missing")],
)
def test_a_question_is_answered_by_one_object_even_if_there_is_no_answer(
    program: str, says: str
) -> None:
    """Settings come from the environment here, too."""
    said = run(program, "ask", "diagnose")
    assert said.returncode == ExitCode.UNAVAILABLE, said
    (line,) = said.stdout.splitlines()
    assert says in json.loads(line)["error"]


def test_each_program_has_its_own_questions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["openeni-operator", "ask", "preflight", "--node", "n1"])
    assert read_command_line("openeni-operator", ANSWERS) == Question("preflight", "n1")
    with pytest.raises(SystemExit) as ended:
        read_command_line("openeni-agent", QUESTIONS)
    assert ended.value.code == ExitCode.USAGE
    monkeypatch.setattr(sys, "argv", ["openeni-operator"])
    assert read_command_line("openeni-operator", ANSWERS) is None
