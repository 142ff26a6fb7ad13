"""The agent asks itself over its own socket, as the executable does: the proof that it answers.

That the process runs proves little: its listener may have ended, its threads may all be stuck, its
ledger may be locked for ever. So a thread of its own asks for the ledger through the socket, and
the probe `live` fails once no answer has come for a while: kubelet then starts the agent anew.
"""

import faulthandler
import logging
import socket
import threading
import time
from pathlib import Path
from typing import Final

from openeni_nodeagent.cni import frame

PERIOD_SECONDS: Final = 5.0
# A node that has far too much to do answers late, and has even more to do if its agent starts anew.
ANSWER_SECONDS: Final = 25.0  # for each of connect, send and receive
SILENT_SECONDS: Final = 60.0
LEDGER: Final = "ledger"  # the probe of the server that takes the ledger's lock
_STDERR: Final = 2
_log: Final = logging.getLogger(__name__)


class SelfCheck:
    """Runs from start() to stop(); any thread may ask for the `problem`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._answered = time.monotonic()
        self._reported = False
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="self-check", daemon=True)

    def start(self) -> None:
        self._answered = time.monotonic()
        self._thread.start()

    def stop(self) -> None:
        """Ask no more; a question that is being asked ends by itself."""
        self._stopping.set()

    def problem(self) -> str:
        """Return what is wrong, "" if the agent has answered lately."""
        silent = time.monotonic() - self._answered
        if silent < SILENT_SECONDS:
            return ""
        return f"the agent's ledger has not answered over its socket for {silent:.0f} s"

    def _run(self) -> None:
        while not self._stopping.wait(PERIOD_SECONDS):
            try:
                _ask(self._path)
            except (OSError, frame.FrameError, MemoryError) as error:
                _log.warning("the agent does not answer its own question: %s", error)
                self._report()
            else:
                self._answered, self._reported = time.monotonic(), False

    def _report(self) -> None:
        """Show, before kubelet ends this process, where each of its threads is."""
        problem = self.problem()
        if problem and not self._reported and not self._stopping.is_set():
            self._reported = True
            _log.error("%s; the threads of this process:", problem)
            faulthandler.dump_traceback(_STDERR, all_threads=True)


def _ask(path: Path) -> None:
    """Ask once. Raises OSError, FrameError."""
    question = {frame.QUERY: LEDGER}
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as connection:
        connection.settimeout(ANSWER_SECONDS)
        connection.connect(str(path))
        connection.sendall(frame.encode_request(question, b"", deadline=ANSWER_SECONDS))
        answer = b""
        while chunk := connection.recv(4096):
            answer += chunk
    exit_code, text = frame.decode_answer(answer)
    if exit_code:
        raise frame.FrameError(text.decode(errors="replace").strip())
