"""The command line of operator and agent: `--version`, `ask`. Settings are in the environment."""

import argparse
from collections.abc import Collection
from dataclasses import dataclass
from enum import IntEnum

from openeni_crds.names import BUNDLE_VERSION


class ExitCode(IntEnum):
    """What a script can tell from the end of `openeni`, and of `ask`."""

    OK = 0
    FOUND = 1
    USAGE = 2
    UNAVAILABLE = 3
    INTERRUPTED = 130


@dataclass(frozen=True)
class Question:
    """What `openeni` asks a program in its pod; `node` is for a question about one."""

    name: str
    node: str = ""


def read_command_line(program: str, questions: Collection[str]) -> Question | None:
    """Return the question, or None if there is nothing on the command line.

    Exit with what else was asked for, or with status 2.
    """
    parser = argparse.ArgumentParser(
        prog=program, description="Settings come from the environment, which the chart sets."
    )
    parser.add_argument("--version", action="version", version=f"{program} {BUNDLE_VERSION}")
    commands = parser.add_subparsers(dest="command", metavar="ask")
    ask = commands.add_parser("ask", help="answer a question of `openeni` with a JSON object")
    ask.add_argument("question", choices=sorted(questions))
    ask.add_argument("--node", default="", help="for preflight: the node to try a port on")
    given = parser.parse_args()
    return Question(given.question, given.node) if given.command else None
