"""Prove in a chroot that an image's layers hold all that its program imports and runs."""

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

SECONDS: Final = 120
NONROOT: Final = 65532
_VERSION: Final = "import importlib.metadata as m; print(m.version('openeni'))"
PROOFS: Final = {
    "operator": (
        ("/usr/bin/python", "-c", f"import openeni_operator.__main__; {_VERSION}"),
        # What the clouds' connection loads only when it is used.
        (
            "/usr/bin/python",
            "-c",
            "import openstack.network.v2._proxy, openstack.compute.v2._proxy",
        ),
    ),
    "nodeagent": (
        ("/usr/bin/python", "-c", f"import openeni_nodeagent.__main__; {_VERSION}"),
        ("/usr/sbin/nft", "--version"),
        ("/usr/local/libexec/openeni",),  # prints its version
    ),
}


def prove(part: str, layers: Sequence[Path]) -> None:
    """Put the layers together as a runtime does, and run the proofs as nobody in particular."""
    with TemporaryDirectory(dir=layers[0].parent) as root:
        Path(root).chmod(0o755)
        for layer in layers:
            shutil.copytree(layer, root, symlinks=True, dirs_exist_ok=True, copy_function=os.link)
        for command in PROOFS[part]:
            subprocess.run(
                command,
                executable=command[0],
                env={"PATH": "/usr/bin:/usr/sbin", "PYTHONDONTWRITEBYTECODE": "1"},
                preexec_fn=lambda: _enter(root),
                check=True,
                timeout=SECONDS,
            )


def _enter(root: str) -> None:
    os.chroot(root)
    os.chdir("/")
    os.setgroups([])
    os.setgid(NONROOT)
    os.setuid(NONROOT)
