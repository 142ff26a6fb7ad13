"""Processes by fork: a program's modules are imported once, not once for each process of it.

Thirty imports of a large program take longer than all that happens between thirty kills. The
nursery is a process that runs `raise_children`; a test's `Nursery` starts it and asks it for
children, which can be killed.
"""

import os
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Final, Self, TypeAlias

from openeni_testing.waiting import wait_for

Process: TypeAlias = "subprocess.Popen[str]"
END_SECONDS: Final = 60


def raise_children(run: Callable[[str], int]) -> None:
    """Fork a child for each line `start ARGUMENT`, which runs `run` and ends with its status.

    It answers with the process' ID; a line `status PID` with its exit status, "" while it runs. At
    the end of the input all children are killed.
    """
    alive: set[int] = set()
    try:
        for line in sys.stdin:
            command, argument = line.split()
            if command == "start":
                pid = _fork(partial(run, argument))
                alive.add(pid)
                answer = str(pid)
            else:
                pid, status = os.waitpid(int(argument), os.WNOHANG)
                alive.discard(pid)
                answer = str(os.waitstatus_to_exitcode(status)) if pid else ""
            sys.stdout.write(f"{answer}\n")
            sys.stdout.flush()
    finally:
        for pid in alive:
            os.kill(pid, signal.SIGKILL)


def _fork(run: Callable[[], int]) -> int:
    """Return the ID of a process whose exit status is what `run` returns there."""
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # the parent's answers go there
        status = run()
    except BaseException:  # noqa: BLE001 this is the end of the process
        traceback.print_exc()
    finally:
        os._exit(status)
    return 0


class Nursery:
    """Starts children of a module that calls `raise_children`; any thread may.

    `popen` starts the nursery: in a network namespace, for instance.
    """

    def __init__(
        self,
        module: str,
        *arguments: object,
        log: Path,
        popen: Callable[..., Process] = subprocess.Popen,
    ) -> None:
        self._command = [sys.executable, "-m", module, *map(str, arguments)]
        self._log_path, self._popen = log, popen
        self._asking = threading.Lock()

    def __enter__(self) -> Self:
        self._log = self._log_path.open("ab")
        self._process = self._popen(
            self._command,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
        )
        return self

    def __exit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._process.communicate(timeout=END_SECONDS)
        self._log.close()

    def start(self, argument: str) -> "Child":
        return Child(self, int(self.ask("start", argument)))

    def ask(self, command: str, argument: str) -> str:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with self._asking:
            self._process.stdin.write(f"{command} {argument}\n")
            self._process.stdin.flush()
            answer = self._process.stdout.readline()
        assert answer, self.log()
        return answer.strip()

    def log(self) -> str:
        return self._log_path.read_text()


class Child:
    """A process of a nursery."""

    def __init__(self, nursery: Nursery, pid: int) -> None:
        self._nursery, self._pid = nursery, pid
        self._status = ""

    def kill(self) -> None:
        """Kill it, and wait until it is gone."""
        self.signal(signal.SIGKILL)
        assert self.wait() == -signal.SIGKILL, self._nursery.log()

    def signal(self, number: signal.Signals) -> None:
        assert self.runs(), self._nursery.log()
        os.kill(self._pid, number)

    def runs(self) -> bool:
        """Return True while the process has not ended."""
        self._status = self._status or self._nursery.ask("status", str(self._pid))
        return not self._status

    def wait(self) -> int:
        """Return its exit status, negative for a signal."""
        wait_for(lambda: not self.runs(), "the process ends")
        return int(self._status)
