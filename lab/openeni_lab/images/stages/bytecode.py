"""Compile the Python files of an image's layer, with the standard library only."""

import compileall
import py_compile
import re
from collections.abc import Iterable
from pathlib import Path


def compile_folder(layer: Path, folder: Path, skipped: Iterable[str] = ()) -> None:
    """Write bytecode that is valid for good: its bytes depend on the source alone.

    `folder` is in `layer`, whose path is in no file; folders in `folder` that `skipped` names stay
    without.
    """
    patterns = "|".join(re.escape(f"/{folder.relative_to(layer)}/{name}/") for name in skipped)
    compileall.compile_dir(
        folder,
        quiet=1,
        rx=re.compile(patterns) if patterns else None,
        stripdir=str(layer),
        prependdir="/",
        invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
    )
