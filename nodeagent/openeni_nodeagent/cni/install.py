"""Install the CNI executable and its configuration on the host, each in one atomic step.

The configuration comes last, once the agent can serve: a runtime that sees it starts pods. Both are
replaced when they differ, so that an upgrade or a rollback of the agent includes the executable. A
pod that is being started keeps the inode of the old file.
"""

from pathlib import Path
from typing import Final

import msgspec

from openeni_crds.names import CNI_NAME
from openeni_nodeagent.cni.protocol import VERSIONS
from openeni_nodeagent.files import write_atomically

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


def install_executable(source: Path, folder: Path) -> None:
    """Install the executable if the host's differs. Raises InstallError."""
    try:
        content = source.read_bytes()
    except OSError as error:
        raise InstallError(
            f"no CNI executable at {source} ({error.strerror}); "
            "build it: python -m openeni_nodeagent.cni.build, and set OPENENI_CNI_EXECUTABLE"
        ) from None
    _install(folder / CNI_NAME, content, 0o755)


def install_conflist(folder: Path) -> None:
    """Install the configuration list if the host's differs. Raises InstallError."""
    _install(folder / CONFLIST, conflist(), 0o644)


def _install(target: Path, content: bytes, mode: int) -> None:
    try:
        write_atomically(target, content, mode)
    except OSError as error:
        raise InstallError(f"{target} cannot be written: {error.strerror}") from None
