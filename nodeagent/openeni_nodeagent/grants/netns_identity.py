"""Identify a network namespace: its path may lead to another pod's once its own pod is gone.

/proc/<pid>/ns/net leads to whatever process has that number. Device and inode of the nsfs file
tell two namespaces apart that exist at the same time (namespaces(7)); a path whose namespace has
ended shows the file that it was mounted on, or nothing.
"""

import os
from io import FileIO

from openeni_nodeagent.grants.grant import Grant


class HeldNamespace:
    """A namespace that lives and can be entered until `close`, whatever becomes of its path.

    Runtimes unmount that path with MNT_DETACH, which an open file does not hinder.
    """

    def __init__(self, path: str) -> None:
        """Open it. Raises OSError."""
        self._file = FileIO(path, opener=_open_at_once)  # not inherited by programs
        found = os.fstat(self._file.fileno())
        self.identity = found.st_dev, found.st_ino
        self.path = f"/proc/self/fd/{self._file.fileno()}"

    def close(self) -> None:
        self._file.close()


def _open_at_once(path: str, flags: int) -> int:
    """Open whatever a runtime has named: without O_NONBLOCK a FIFO waits for its writer."""
    return os.open(path, flags | os.O_NONBLOCK)


def identify(path: str) -> tuple[int, int] | None:
    """Return device and inode of the namespace at `path`; None if there is nothing."""
    if not path:
        return None
    try:
        found = os.stat(path)  # noqa: PTH116 - pathlib takes seven times as long
    except OSError:
        return None
    return found.st_dev, found.st_ino


def leads_to_pod(path: str, grant: Grant) -> bool:
    """Return True if the namespace at `path` is the one that the grant's pod was connected in."""
    return grant.netns_id is not None and identify(path) == grant.netns_id


def hold(path: str, grant: Grant) -> HeldNamespace | None:
    """Return the namespace at `path`; None if there is none, or it is not the grant's pod's.

    Where it is not known which one is the pod's, the runtime's path is believed. Raises OSError if
    it cannot be opened, though it may be there.
    """
    try:
        held = HeldNamespace(path)
    except (FileNotFoundError, NotADirectoryError, ProcessLookupError):
        return None
    if grant.netns_id in {None, held.identity}:
        return held
    held.close()
    return None
