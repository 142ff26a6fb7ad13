"""`python -m openeni_nodeagent.cni.query`: print the phases of the last CNI calls as JSON.

The format is command -> calls, oldest first -> phase -> seconds.
"""

import os
import socket
import sys
from pathlib import Path
from typing import Final

from openeni_crds.names import RUN_FOLDER
from openeni_nodeagent.cni import frame
from openeni_nodeagent.cni.server import QUERY

ANSWER_SECONDS: Final = 10.0


class QueryError(Exception):
    """The agent did not answer; the text has its socket's path."""


def phases(path: Path) -> bytes:
    """Query the agent that listens at `path`. Raises QueryError."""
    try:
        with socket.socket(socket.AF_UNIX) as asking:
            asking.settimeout(ANSWER_SECONDS)
            asking.connect(str(path))
            asking.sendall(frame.encode_request({QUERY: "phases"}, b"", deadline=ANSWER_SECONDS))
            with asking.makefile("rb") as answer:
                whole = answer.read()
    except OSError as error:
        raise QueryError(f"no agent answers at {path}: {error}") from None
    return whole[frame.ANSWER_HEADER.size :]


def main() -> int:
    folder = os.environ.get("OPENENI_RUN") or RUN_FOLDER
    try:
        sys.stdout.write(phases(Path(folder) / "cni.sock").decode() + "\n")
    except QueryError as error:
        sys.stderr.write(f"openeni: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
