"""Run the DELs that the executable queued while no agent answered.

The agent does so before it listens, and then every few seconds: an executable may have given up on
the socket just before the agent opened it. The folder is root's, but whatever stands in it, the
agent starts: what is not a DEL is removed.
"""

import logging
import re
import shutil
import stat
import time
from pathlib import Path
from typing import Final

from openeni_nodeagent.attachments.detacher import Detacher
from openeni_nodeagent.cni import frame
from openeni_nodeagent.cni.parsing import parse
from openeni_nodeagent.cni.protocol import CNIError, Command, Request

REPLAY_PERIOD_SECONDS: Final = 3.0
# An executable writes a hidden file, and gives it its name in the next moment, unless it is killed.
UNFINISHED_SECONDS: Final = 60.0
_NAME: Final = re.compile(r"(\d+)-\d+\.del")  # milliseconds of CLOCK_BOOTTIME, process
_log: Final = logging.getLogger(__name__)


def replay(folder: Path, detacher: Detacher) -> int:
    """Run every queued DEL, oldest first; return the number of those that failed."""
    try:
        files = sorted(folder.iterdir())
    except OSError as error:
        _log.warning("the queue of DELs %s cannot be read: %s", folder, error)
        return 0
    failed = 0
    for file in files:
        if file.name.startswith("."):
            _remove_unfinished(file)
        elif file.suffix == ".del" and not _is_done(file, detacher):
            failed += 1
    return failed


def depth(folder: Path) -> int:
    """Return how many DELs are queued; 0 if the folder cannot be read."""
    try:
        return sum(file.suffix == ".del" and file.name[0] != "." for file in folder.iterdir())
    except OSError:
        return 0


def _is_done(file: Path, detacher: Detacher) -> bool:
    """Run one queued DEL and remove its file; return False if it must be retried."""
    try:
        request = _read(file)
        if request is not None:
            queued = int(file.name.partition("-")[0]) / 1000
            detacher.replay(request.container_id, request.interface, request.netns, queued)
        _remove(file)
    except (CNIError, OSError) as error:
        details = f" {error.details}" if isinstance(error, CNIError) else ""
        _log.warning("queued DEL %s failed and will be retried: %s%s", file.name, error, details)
        return False
    except Exception:  # noqa: BLE001 - must not keep the agent from its start, nor the next DEL
        _log.exception("queued DEL %s failed and will be retried", file.name)
        return False
    return True


def _read(file: Path) -> Request | None:
    """Return the DEL in a file; None, after a line in the log, if it has none. Raises OSError."""
    if not stat.S_ISREG(file.lstat().st_mode):  # to open a FIFO takes as long as nobody writes
        _log.error("queued DEL %s is no file and is dropped", file.name)
        return None
    try:
        _, environment, stdin = frame.decode_request(file.read_bytes())
        request = parse(environment, stdin)
    except (frame.FrameError, CNIError) as error:
        _log.error("queued DEL %s is unreadable and dropped: %s", file.name, error)
        return None
    if _NAME.fullmatch(file.name) is None or request.command != Command.DEL:
        _log.error("queued %s %s is not a DEL and is dropped", request.command, file.name)
        return None
    return request


def _remove_unfinished(file: Path) -> None:
    """Remove what a killed executable has left; the runtime sends that DEL again."""
    try:
        if time.time() - file.lstat().st_mtime > UNFINISHED_SECONDS:
            _remove(file)
    except OSError as error:
        _log.warning("%s cannot be removed: %s", file, error)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
