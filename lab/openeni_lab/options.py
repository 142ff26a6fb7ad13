"""The options of the command `openeni-lab`, each written once."""

import re
from pathlib import Path
from typing import Annotated, Final

import typer

from openeni_lab.lab import NodeKind
from openeni_lab.layout import MOST_NODES, Layout

DEFAULT: Final = Layout().name


def _valid(name: str) -> str:
    if not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,15}", name):
        raise typer.BadParameter(
            f"{name!r}: a lab's name is 1 to 16 characters of a-z, 0-9 and '-', no '-' first"
        )
    return name


NameOption = Annotated[str, typer.Option("--name", callback=_valid, help="Name of the lab.")]
NodeOption = Annotated[str, typer.Option("--node", "-n", help="The node (n1, n2, ...).")]
AllOption = Annotated[bool, typer.Option("--all", help="Also for tests and benchmarks.")]
EmulatorOption = Annotated[bool, typer.Option("--emulator", help="Also for `make bench-datapath`.")]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
KeepOption = Annotated[
    Path | None,
    typer.Option(exists=True, file_okay=False, help="Folder in which files are kept."),
]
NodeCountOption = Annotated[
    int, typer.Option("--nodes", min=1, max=MOST_NODES, help="How many nodes.")
]
KindOption = Annotated[
    NodeKind,
    typer.Option(
        "--kind",
        help="vm: nodes with a user-mode kernel; auto: vm if the machine's kernel lacks ipvlan.",
    ),
]
LinesOption = Annotated[int, typer.Option("--lines", min=0, help="Last lines of each log to show.")]
SinceOption = Annotated[
    float | None,
    typer.Option(hidden=True, help="Unix time from which on `demo` counts the preparation, too."),
]
MemoryOption = Annotated[
    int | None,
    typer.Option(
        min=0,
        help="Memory limit of the whole lab in MiB, also if it runs already; 0: no limit.",
        show_default="4096 + 1280 for each node",
    ),
]
CPUsOption = Annotated[
    float | None,
    typer.Option(
        "--cpus",
        min=0,
        help="Processors that the whole lab may use, also if it runs already; 0: no limit.",
        show_default="all",
    ),
]
