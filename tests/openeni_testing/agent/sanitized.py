"""Build C code with the sanitizers, which end a program at its first invalid access."""

import subprocess
from pathlib import Path
from typing import Final

from openeni_nodeagent.cni.build import SOURCE

FLAKY_IO: Final = Path(__file__).with_name("flaky_io.h")
SCAN_VERSIONS: Final = Path(__file__).with_name("scan_versions.c")
_FLAGS: Final = (
    *("-std=gnu11", "-g", "-O1", "-Wall", "-Wextra", "-Werror", '-DOPENENI_VERSION="test"'),
    *("-fsanitize=address,undefined", "-fno-sanitize-recover=all", f"-I{SOURCE.parent}"),
)


def sanitized(source: Path, target: Path, *flags: str) -> Path:
    """Build one file to `target`; gcc of every distribution has the sanitizers."""
    done = subprocess.run(
        ["cc", *_FLAGS, *flags, "-o", str(target), str(source)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert not done.returncode, done.stderr
    return target
