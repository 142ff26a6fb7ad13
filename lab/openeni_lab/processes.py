"""The process table of an init: starts programs, reaps whatever ends, knows how each one ended.

Standard library only. Outputs of `run` go through memory files, so that no pipe can fill up and a
grandchild that keeps one open holds nobody up.
"""

import asyncio
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Child:
    """A program and how it ended."""

    pid: int
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    code: int | None = None

    def signal_group(self, number: signal.Signals) -> None:
        """To everything that the program started and did not send away."""
        try:
            os.killpg(self.pid, number)
        except ProcessLookupError:
            return


class Processes:
    """All children of this init, by pid; the named ones by name, in order of starting."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = dict(environment)
        self._children: dict[int, Child] = {}
        self.named: dict[str, Child] = {}

    def reap(self) -> None:
        """Take every ended process from the kernel; call on SIGCHLD."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            child = self._children.pop(pid, None)
            if child:
                child.code = os.waitstatus_to_exitcode(status)
                child.ended.set()

    def start(
        self, name: str, argv: Sequence[str], env: Mapping[str, str], cwd: str, log: str
    ) -> Child:
        """Raises FileExistsError while `name` runs, OSError when the program cannot start."""
        before = self.named.pop(name, None)
        if before and before.code is None:
            self.named[name] = before
            raise FileExistsError(f"{name} runs already")
        Path(log).parent.mkdir(parents=True, exist_ok=True)
        with Path(log).open("ab") as output:
            child = self._spawn(argv, env, cwd, (subprocess.DEVNULL, output.fileno()))
        self.named[name] = child
        return child

    async def run(
        self, argv: Sequence[str], env: Mapping[str, str], stdin: bytes, seconds: float
    ) -> tuple[int, bytes, bytes]:
        """Exit code (negative: signal), output, error output; TimeoutError kills it."""
        files = [os.fdopen(os.memfd_create(name), "w+b", 0) for name in ("in", "out", "err")]
        try:
            files[0].write(stdin)
            files[0].seek(0)
            given, out, err = (file.fileno() for file in files)
            child = self._spawn(argv, env, "/", (given, out, err))
            try:
                await asyncio.wait_for(child.ended.wait(), seconds)
            except TimeoutError:
                raise TimeoutError(f"{argv[0]}: killed after {seconds:g} s") from None
            finally:
                child.signal_group(signal.SIGKILL)
            answers = [os.pread(fd, os.fstat(fd).st_size, 0) for fd in (out, err)]
            return child.code or 0, answers[0], answers[1]
        finally:
            for file in files:
                file.close()

    def start_on(self, terminal: int, argv: Sequence[str], env: Mapping[str, str]) -> Child:
        """With this terminal as its controlling one."""
        command = ["setsid", "--ctty", "--wait", *argv]
        return self._spawn(command, env, "/", (terminal, terminal, terminal))

    async def stop(self, name: str, seconds: float) -> None:
        """TERM the group, KILL it after `seconds`."""
        child = self.named.get(name)
        if child is None:
            return
        for number, patience in ((signal.SIGTERM, seconds), (signal.SIGKILL, 5)):
            child.signal_group(number)
            try:
                await asyncio.wait_for(child.ended.wait(), patience)
            except TimeoutError:
                continue
            child.signal_group(signal.SIGKILL)
            return

    async def stop_all(self, seconds: float) -> None:
        """In reverse order of starting, in `seconds` all together; one that hangs gets a third."""
        deadline = time.monotonic() + seconds
        for name in reversed(list(self.named)):
            await self.stop(name, max(0.2, min(seconds / 3, deadline - time.monotonic())))

    def _spawn(
        self, argv: Sequence[str], env: Mapping[str, str], cwd: str, streams: tuple[int, ...]
    ) -> Child:
        given, out, err = (*streams, streams[1])[:3]
        process = subprocess.Popen(
            argv,
            stdin=given,
            stdout=out,
            stderr=err,
            cwd=cwd,
            env={**self._environment, **env},
            start_new_session=True,
        )
        child = Child(process.pid)
        self._children[process.pid] = child
        process.returncode = 0  # reaped by `reap`; keeps the destructor from waiting
        return child
