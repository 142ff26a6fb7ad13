"""Files and folders of the host: replace files in one step, and notice folders that were moved."""

import contextlib
import os
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import Final

_MOUNTS: Final = Path("/proc/self/mountinfo")  # of each mount: ID, parent, device, source, target


class MountedFolders:
    """Folders of the host that the container has been started with.

    A folder that is moved keeps its mounts: the agent still reads and writes it, and the programs
    that it was mounted for have another one.
    """

    def __init__(self, folders: Iterable[Path]) -> None:
        self._sources = _sources_of_mounts(folders)

    def problem(self) -> str:
        """Return which folder is no longer the one at its path on the host; "" if all are."""
        present = _sources_of_mounts(self._sources)
        for folder, source in self._sources.items():
            if (now := present.get(folder, source)) != source:
                return (
                    f"{folder} was moved or removed on the node (the agent still has it, now "
                    f"{now}): move it back; only if it is gone for good, delete the agent's "
                    "pod, for which the present one is mounted"
                )
        return ""


def _sources_of_mounts(folders: Iterable[Path]) -> dict[Path, str]:
    """Return where those folders that are mounted here are in their filesystems.

    After a move it has its new path here; one that was removed is `//deleted`
    (proc_pid_mountinfo(5), seq_dentry). Before Linux 5.8 an unmount meanwhile may hide a line
    ("proc/mounts: add cursor"): a folder without one says nothing.
    """
    mounts = [line.split() for line in _MOUNTS.read_text().splitlines()]
    sources = {mount[4]: mount[3] for mount in mounts}  # of several at one path the last one's
    return {folder: sources[str(folder)] for folder in folders if str(folder) in sources}


def write_atomically(target: Path, content: bytes, mode: int) -> bool:
    """Write a file unless it is there with this content; return True if it was written.

    A link is no such file, whatever it leads to: that may go. Nor is a file that its owner may not
    read or run as `mode` has it, or others may do more with. Raises OSError.
    """
    with contextlib.suppress(FileNotFoundError):
        if _has_mode(target.lstat().st_mode, mode) and target.read_bytes() == content:
            return False
    fresh = target.with_name(f".{target.name}.new")
    fresh.unlink(missing_ok=True)
    try:
        file = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        with os.fdopen(file, "wb") as out:
            os.fchmod(file, mode)  # whatever the umask
            out.write(content)
            out.flush()
            os.fsync(file)  # after a power failure half of a file would be run
        fresh.replace(target)
    finally:
        fresh.unlink(missing_ok=True)
    return True


def _has_mode(found: int, wanted: int) -> bool:
    """Return True for a file with this mode or a stricter one (CIS Kubernetes Benchmark, 1.1.9)."""
    needed = wanted & (stat.S_IRUSR | stat.S_IXUSR)
    return stat.S_ISREG(found) and needed & ~found == 0 and stat.S_IMODE(found) & ~wanted == 0
