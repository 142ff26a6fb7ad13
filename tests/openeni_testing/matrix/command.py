"""`make matrix`: send the packets of every cell of the support table, and write docs/support.md.

    python -m openeni_testing.matrix.command                     all of it, in the lab's kernel
    python -m openeni_testing.matrix.command --here FILE [WORD]  in this kernel, into a file

With words only worlds that have all of them are run: a mode, a stack, a proxy. Nothing is written
to the docs then.
"""

import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from openeni_testing.matrix.cells import WORLDS, Cell, cells
from openeni_testing.matrix.outcomes import Outcome, parse, table
from openeni_testing.matrix.page import committed, page
from openeni_testing.matrix.run import differences, run

ROOT: Final = Path(__file__).parents[3]
PAGE: Final = ROOT / "docs" / "support.md"
RESULTS: Final = ROOT / "build" / "matrix"
LAB: Final = Path(sys.executable).with_name("openeni-lab")
SECONDS: Final = 3600


def main(arguments: Sequence[str]) -> int:
    if arguments[:1] == ["--here"]:
        return _run_here(Path(arguments[1]), set(arguments[2:]))
    RESULTS.mkdir(parents=True, exist_ok=True)
    file = RESULTS / "cells.txt"
    file.unlink(missing_ok=True)
    inside = [sys.executable, "-m", "openeni_testing.matrix.command", "--here", str(file)]
    argv = [str(LAB), "kernel", f"--keep={RESULTS}", "--", *inside]
    subprocess.run(argv, cwd=ROOT, check=False, timeout=SECONDS)
    if not file.exists():
        print("no table: see above")
        return 1
    return take_over(file.read_text())


def _run_here(file: Path, words: set[str]) -> int:
    """Run the worlds that have these words, and write the table of their cells after each."""
    outcomes: dict[Cell, Outcome] = {}
    failed = False
    before = committed(PAGE.read_text()) if PAGE.exists() else {}
    for key in WORLDS:
        if not words <= {key.mode.word, key.stack.name, str(key.proxy)}:
            continue
        begun = time.monotonic()
        try:
            found = run(key, key.cells())
        except AssertionError as error:  # the others say more of the fault
            print(error, flush=True)
            failed = True
            continue
        new = list(differences(found, before))
        took = time.monotonic() - begun
        print(
            f"{key}: {len(found)} cells, {took:.1f} s, {len(new)} differ",
            *new,
            sep="\n  ",
            flush=True,
        )
        outcomes |= found
        failed |= bool(new)
        file.write_text(table(outcomes))
    return int(failed)


def take_over(text: str) -> int:
    """Write the page if the table is complete; return 0 if it is as it was, and as declared."""
    before = committed(PAGE.read_text()) if PAGE.exists() else {}
    try:
        found = parse(text)
    except ValueError as error:
        print(f"the table is not complete: {error}")
        return 1
    if lacking := [cell for cell in cells() if cell not in found]:
        print("missing:", *lacking, sep="\n  ")
        return 1
    PAGE.write_text(page(found))
    wrong = list(differences(found, before))
    print(f"{len(found)} cells, {len(wrong)} not as they were or should be", *wrong, sep="\n  ")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
