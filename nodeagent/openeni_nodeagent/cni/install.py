"""Install the CNI executable and its configuration on the host, each in one atomic step.

The configuration comes last, once the agent can serve: a runtime that sees it starts pods. Both are
replaced when they differ, so that an upgrade or a rollback of the agent includes the executable. A
pod that is being started keeps the inode of the old file.
"""

import os
from pathlib import Path
from typing import Final

import msgspec

from openeni_crds.names import CNI_NAME
from openeni_nodeagent.cni.protocol import VERSIONS

CONFLIST: Final = f"10-{CNI_NAME}.conflist"


class InstallError(Exception):
    """A file could not be installed on the host; the text has its path and the cause."""


def conflist() -> bytes:
    """Return the network configuration list.

    libcni 1.2 and newer read `cniVersions` and use the highest version that both know. Older ones
    read `cniVersion` alone and would refuse 1.1.0.
    """
    body: dict[str, object] = {
        "cniVersion": "1.0.0",
        "cniVersions": VERSIONS,
        "name": CNI_NAME,
        "plugins": [{"type": CNI_NAME}],
    }
    return msgspec.json.format(msgspec.json.encode(body), indent=2) + b"\n"


def install_executable(source: Path, folder: Path) -> bool:
    """Return True if the host's file was replaced. Raises InstallError."""
    try:
        content = source.read_bytes()
    except OSError as error:
        raise InstallError(
            f"no CNI executable at {source} ({error.strerror}); "
            "build it: python -m openeni_nodeagent.cni.build, and set OPENENI_CNI_EXECUTABLE"
        ) from None
    return _replace(folder / CNI_NAME, content, 0o755)


def install_conflist(folder: Path) -> bool:
    """Return True if the host's file was replaced. Raises InstallError."""
    return _replace(folder / CONFLIST, conflist(), 0o644)


def _replace(target: Path, content: bytes, mode: int) -> bool:
    try:
        if target.is_file() and target.read_bytes() == content:
            return False
        fresh = target.with_name(f".{target.name}.new")
        fresh.unlink(missing_ok=True)
        file = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        with os.fdopen(file, "wb") as out:
            os.fchmod(file, mode)
            out.write(content)
            out.flush()
            os.fsync(file)  # after a power failure half of a file would be run
        fresh.replace(target)
    except OSError as error:
        raise InstallError(f"{target} cannot be written: {error.strerror}") from None
    return True
