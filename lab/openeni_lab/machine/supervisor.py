"""The named programs of an init, which it starts and stops.

A program that ends without having been stopped is logged by the init and reported to clients as an
`UnexpectedExit`. Standard library only.
"""

import asyncio
import contextlib
import signal
import subprocess
import sys
import time
import uuid
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from openeni_lab.machine.exits import UnexpectedExit, describe_exit, last_line
from openeni_lab.machine.processes import Child, Processes

KEPT_ENDS: Final = 200
KILL_SECONDS: Final = 5.0


@dataclass(frozen=True)
class StartRequest:
    """A client's request to run a program under a name."""

    name: str
    argv: Sequence[str]
    env: Mapping[str, str]
    cwd: str
    log: str


class SupervisedProgram:
    """A named program and its process."""

    def __init__(self, command: StartRequest) -> None:
        self.command = command
        self.child: Child | None = None
        self.last_end: UnexpectedExit | None = None
        self.stopping = False

    @property
    def running(self) -> bool:
        return self.child is not None and self.child.code is None

    def facts(self) -> dict[str, Any]:
        """Return the state as `client.ProcessState` reads it."""
        return {
            "pid": self.child.pid if self.child else 0,
            "exit_code": self.child.code if self.child else None,
            "last_end": asdict(self.last_end) if self.last_end else None,
        }


class Supervisor:
    """The named programs, in the order in which they were started."""

    def __init__(self, processes: Processes) -> None:
        self._processes = processes
        self._programs: dict[str, SupervisedProgram] = {}
        self._life = uuid.uuid4().hex[:8]
        self._count = 0
        self._ends: deque[UnexpectedExit] = deque(maxlen=KEPT_ENDS)

    def start(self, command: StartRequest) -> int:
        """Start a program and return its process id.

        Raises FileExistsError while a program of this name runs, OSError if it cannot start.
        """
        before = self._programs.get(command.name)
        if before:
            if before.running:
                raise FileExistsError(f"{command.name} runs already")
            del self._programs[command.name]
        program = SupervisedProgram(command)
        pid = self._spawn(program)
        self._programs[command.name] = program
        return pid

    async def stop(self, name: str, seconds: float) -> None:
        """Send SIGTERM to the group, SIGKILL after `seconds`."""
        program = self._programs.get(name)
        if program is None:
            return
        program.stopping = True
        child = program.child
        for number, timeout in ((signal.SIGTERM, seconds), (signal.SIGKILL, KILL_SECONDS)):
            if child is None or child.code is not None:
                return
            child.signal_group(number)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(child.ended.wait(), timeout)

    async def stop_all(self, seconds: float) -> None:
        """Stop all in reverse order, within `seconds`; each gets at most a third of that."""
        deadline = time.monotonic() + seconds
        for program in self._programs.values():
            program.stopping = True  # one may exit because another was stopped
        for name in reversed(list(self._programs)):
            await self.stop(name, max(0.2, min(seconds / 3, deadline - time.monotonic())))

    def facts(self) -> dict[str, Any]:
        """Return the state of every program and the last unexpected exits."""
        programs = {name: program.facts() for name, program in self._programs.items()}
        return {"processes": programs, "ends": [asdict(end) for end in self._ends]}

    def _spawn(self, program: SupervisedProgram) -> int:
        command = program.command
        Path(command.log).parent.mkdir(parents=True, exist_ok=True)
        with Path(command.log).open("ab") as output:
            streams = (subprocess.DEVNULL, output.fileno(), output.fileno())
            child = self._processes.spawn(command.argv, command.env, command.cwd, streams)
        child.on_end = lambda: self._ended(program, child)
        program.child = child
        return child.pid

    def _ended(self, program: SupervisedProgram, child: Child) -> None:
        child.signal_group(signal.SIGKILL)  # like a container, it ends as a whole
        if not program.stopping:
            self._record(program, describe_exit(child.code or 0))

    def _record(self, program: SupervisedProgram, how: str) -> None:
        """Keep and log an unexpected exit."""
        command = program.command
        self._count += 1
        end = UnexpectedExit(
            id=f"{self._life}-{self._count}",
            program=command.name,
            how=how,
            at=time.time(),
            log=command.log,
            last_line=last_line(Path(command.log)),
        )
        program.last_end = end
        self._ends.append(end)
        with contextlib.suppress(OSError):  # a full disk
            print(f"{end}; its log: {end.log}", file=sys.stderr, flush=True)
