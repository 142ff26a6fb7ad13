"""What the benchmarks' processes need: small programs in C, and an environment."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

_FLAGS: Final = ("-static", "-O2", "-s", "-std=gnu11", "-Wall", "-Wextra", "-Werror")


def compile_c(source: str, target: Path, compiler: str = "") -> Path:
    """Compile to `target`, static, by default with the machine's own C library.

    Raises CalledProcessError.
    """
    compiler = compiler or shutil.which("cc") or "gcc"
    subprocess.run(
        [compiler, *_FLAGS, "-x", "c", "-", "-o", str(target)],
        input=source,
        text=True,
        timeout=120,
        check=True,
    )
    return target


def environment() -> dict[str, str]:
    """Return an environment in which Python finds what this process finds, and no settings."""
    path = os.pathsep.join(path for path in sys.path if path)
    return {"PATH": os.environ["PATH"], "PYTHONPATH": path}
