"""Replace files on the host in one step, so that no reader meets half of one."""

import contextlib
import os
import stat
from pathlib import Path


def write_atomically(target: Path, content: bytes, mode: int) -> bool:
    """Replace what is not a file of this content and mode; return True if it did. Raises OSError.

    A symbolic link is not one, whatever it leads to: that may go.
    """
    with contextlib.suppress(FileNotFoundError):
        if target.lstat().st_mode == stat.S_IFREG | mode and target.read_bytes() == content:
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
