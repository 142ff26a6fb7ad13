"""The process table of an init: start programs, reap every child, keep their exit codes.

Standard library only. `run` collects output in memory files instead of pipes: a pipe can fill up,
and a grandchild that keeps it open would block the reader.
"""

import asyncio
import os
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

OOM_STEP: Final = 100  # a tenth of all memory: more than any init uses
OOM_MAX: Final = 1000  # OOM_SCORE_ADJ_MAX of linux/oom.h


@dataclass
class Child:
    """A child process and its exit code."""

    pid: int
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    code: int | None = None
    on_end: Callable[[], None] | None = None  # called once it is reaped

    def signal_group(self, number: signal.Signals) -> None:
        """Send a signal to the process group, if there is one."""
        try:
            os.killpg(self.pid, number)
        except ProcessLookupError:
            return


class Processes:
    """All children of this init, by pid."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = dict(environment)
        self._children: dict[int, Child] = {}

    def reap(self) -> None:
        """Reap every child that has ended; call this on SIGCHLD."""
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
                if child.on_end:
                    child.on_end()

    async def run(
        self, argv: Sequence[str], env: Mapping[str, str], stdin: bytes, seconds: float
    ) -> tuple[int, bytes, bytes]:
        """Run a program; return its exit code (-n for signal n), output and error output.

        Kills it and raises TimeoutError after `seconds`.
        """
        files = [os.fdopen(os.memfd_create(name), "w+b", 0) for name in ("in", "out", "err")]
        try:
            files[0].write(stdin)
            files[0].seek(0)
            given, out, err = (file.fileno() for file in files)
            child = self.spawn(argv, env, "/", (given, out, err))
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
        """Start a program with `terminal` as its controlling terminal."""
        command = ["setsid", "--ctty", "--wait", *argv]
        return self.spawn(command, env, "/", (terminal, terminal, terminal))

    def spawn(
        self, argv: Sequence[str], env: Mapping[str, str], cwd: str, streams: tuple[int, int, int]
    ) -> Child:
        """Start a program on (input, output, error output), in a session of its own.

        Raises OSError when it cannot be started.
        """
        given, out, err = streams
        try:
            process = subprocess.Popen(
                argv,
                stdin=given,
                stdout=out,
                stderr=err,
                cwd=cwd,
                env={**self._environment, **env},
                start_new_session=True,
                preexec_fn=_raise_oom_score,  # noqa: PLW1509 - an init has one thread
            )
        except subprocess.SubprocessError as error:  # `_raise_oom_score` failed, for lack of memory
            raise OSError(str(error)) from error
        child = Child(process.pid)
        self._children[process.pid] = child
        # `reap` collects this child. Popen must not: its destructor would call waitpid(2) for a
        # process without a return code.
        process.returncode = 0
        return child


def _raise_oom_score() -> None:
    """Let the OOM killer prefer this process, the child, to its init (proc(5))."""
    score = Path("/proc/self/oom_score_adj")
    score.write_text(str(min(int(score.read_text()) + OOM_STEP, OOM_MAX)))
