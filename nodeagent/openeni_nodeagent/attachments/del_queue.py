"""Run the DELs that the executable queued while no agent answered.

The agent does so before it listens, and then every few seconds: an executable may have given up on
the socket just before the agent opened it.
"""

import logging
import re
from pathlib import Path
from typing import Final

from openeni_nodeagent.attachments.commands import CNICommands
from openeni_nodeagent.cni import frame
from openeni_nodeagent.cni.protocol import CNIError, Command, parse

REPLAY_PERIOD_SECONDS: Final = 3.0
_NAME: Final = re.compile(r"(\d+)-\d+\.del")  # milliseconds of CLOCK_BOOTTIME, process
_log: Final = logging.getLogger(__name__)


def replay(folder: Path, commands: CNICommands) -> int:
    """Run every queued DEL, oldest first; return the number of those that failed."""
    left = 0
    for file in sorted(folder.glob("*.del")):
        try:
            _replay_one(file, commands)
        except CNIError as error:
            _log.warning(
                "queued DEL %s failed and will be retried: %s %s", file.name, error, error.details
            )
            left += 1
            continue
        file.unlink(missing_ok=True)
    return left


def _replay_one(file: Path, commands: CNICommands) -> None:
    named = _NAME.fullmatch(file.name)
    try:
        _, environment, stdin = frame.decode_request(file.read_bytes())
        request = parse(environment, stdin)
    except (frame.FrameError, CNIError) as error:
        _log.error("queued DEL %s is unreadable and dropped: %s", file.name, error)
        return
    if named is None or request.command != Command.DEL:
        _log.error("queued %s %s is not a DEL and is dropped", request.command, file.name)
        return
    queued = int(named[1]) / 1000
    commands.replay(request.container_id, request.interface, request.netns, queued)
