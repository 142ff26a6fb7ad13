"""Complete `kubectl openeni`: kubectl runs `kubectl_complete-openeni` with the words so far.

It wants what cobra's `__complete` prints: candidates, each with a tab and a description, and then a
directive (kubectl's pkg/cmd/plugin/plugin_completion.go, cobra's completions.go). typer prints such
lines for fish, by the variables that its own completion script for that shell sets.
"""

import os
import shlex
import sys
from contextlib import suppress
from typing import Final

from openeni_cli.commands import app

PROGRAM: Final = "openeni"
DIRECTIVE: Final = ":4"  # ShellCompDirectiveNoFileComp: no names of files beside the candidates


def main() -> None:
    """Print what the last word can become."""
    words = sys.argv[1:] or [""]
    # A word that has not begun is no word of a shell's line: only the space before it is there.
    line = shlex.join([PROGRAM, *words]) if words[-1] else shlex.join([PROGRAM, *words[:-1]]) + " "
    os.environ |= {
        f"_{PROGRAM.upper()}_COMPLETE": "complete_fish",
        "_TYPER_COMPLETE_FISH_ACTION": "get-args",
        "_TYPER_COMPLETE_ARGS": line,
    }
    with suppress(SystemExit):
        app(args=[], prog_name=PROGRAM)
    sys.stdout.write(f"{DIRECTIVE}\n")
    sys.stdout.flush()
