"""How a shell in the current folder calls openeni-lab, for messages with commands to copy."""

import os
import shlex
import shutil
import sys
from pathlib import Path
from typing import Final

from openeni_lab.layout import Layout

PROGRAM: Final = "openeni-lab"


def command(words: str, lab: Layout | None = None) -> str:
    """Return a command that works as printed. `lab` is the lab that it is about, if it has one."""
    name = f" --name {lab.name}" if lab and lab.name != Layout().name else ""
    return f"{program()} {words}{name}"


def program() -> str:
    """Return the call of this program, or of the one beside another program's Python."""
    executable = Path(sys.argv[0])
    if executable.name != PROGRAM and executable.parts[-2:] != ("openeni_lab", "__main__.py"):
        executable = Path(sys.executable).with_name(PROGRAM)
    return called_as(executable)


def called_as(executable: Path, module: str = "openeni_lab") -> str:
    """Return how a shell in the current folder calls a program, or its module if there is none."""
    if executable.name == "__main__.py" or not executable.exists():
        return f"{shlex.quote(sys.executable)} -m {module}"
    found = shutil.which(executable.name)
    if found and Path(found).samefile(executable):
        return shlex.quote(executable.name)
    path = os.path.relpath(executable)
    return shlex.quote(path if "/" in path else f"./{path}")
