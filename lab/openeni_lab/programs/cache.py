"""The cache of built programs: each entry is a folder that is complete or absent.

Every release of a distribution has a folder of its own in the cache: a program that was linked on
one must not be used on another. An entry is built in place, because a Python environment cannot be
moved. Its record, written last, marks it as complete, so an interrupted build is never taken for an
entry. One lock covers the cache: two builders would only compete for the processors.
"""

import fcntl
import hashlib
import itertools
import os
import platform
import shutil
import subprocess
import textwrap
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import msgspec

from openeni_lab.invocation import command
from openeni_lab.progress import Progress

TIMEOUT_FACTOR: Final = 20  # a step fails after this many times its expected duration
SHOWN_LINES: Final = 15  # of a failed program's output
REMOVED: Final = ".removed-"  # and a process id: what a folder is called while it is removed
CANCEL_SECONDS: Final = 0.2  # how soon a running program is ended when its build is cancelled


class BuildError(Exception):
    """A build failed. The text has the end of the program's output and what to do."""


def distribution() -> str:
    """Return the machine's distribution and release, such as `debian-12`."""
    known = platform.freedesktop_os_release()
    return f"{known.get('ID', 'linux')}-{known.get('VERSION_ID', 'rolling')}"


class BuildRecord(msgspec.Struct, frozen=True):
    """The record of an entry; it exists if the entry is complete."""

    version: str
    toolchain: str
    cpus: int
    seconds: dict[str, float]  # of each step


@dataclass(frozen=True)
class CacheEntry:
    """A folder of the cache, named after everything that decides its contents."""

    name: str
    version: str
    inputs: tuple[bytes, ...]

    def folder(self, cache: Path) -> Path:
        digest = hashlib.sha256()
        for part in self.inputs:
            digest.update(hashlib.sha256(part).digest())
        return cache / distribution() / f"{self.name}-{self.version}-{digest.hexdigest()[:8]}"

    def complete(self, cache: Path) -> bool:
        """Return True if it was built completely; a record damaged by a power cut is invalid."""
        try:
            self.record(cache)
        except (OSError, msgspec.MsgspecError):
            return False
        return True

    def record(self, cache: Path) -> BuildRecord:
        return msgspec.json.decode(
            (self.folder(cache) / "record.json").read_bytes(), type=BuildRecord
        )


@dataclass
class Workshop:
    """The build of one entry: its folder, scratch space, log and progress."""

    entry: Path
    cache: Path
    log: Path
    progress: Progress
    prefix: Sequence[str]
    cancelled: threading.Event
    after_step: Callable[[str], None]
    toolchain: str = ""
    seconds: dict[str, float] = field(default_factory=dict[str, float])

    @property
    def scratch(self) -> Path:
        """Return scratch space, which is emptied before and after each entry."""
        return self.cache / "scratch" / self.entry.name

    def warn(self, text: str) -> None:
        """Tell the user, and the log, what the build does without."""
        with self.log.open("a") as log:
            log.write(f"{text}\n")
        self.progress.start(text, 0)  # names of steps stay on the screen
        self.progress.done()

    @contextmanager
    def step(self, name: str, expected_seconds: float) -> Generator["BuildStep"]:
        """Run one step of the build, with progress, a time in the record and a time limit."""
        self.progress.start(name, expected_seconds)
        begin = time.monotonic()
        yield BuildStep(self, max(900.0, expected_seconds * TIMEOUT_FACTOR))
        self.seconds[name] = round(time.monotonic() - begin, 1)
        self.progress.done()
        self.after_step(name)


@dataclass(frozen=True)
class BuildStep:
    """Runs the programs of one step; they share its time limit."""

    workshop: Workshop
    limit: float

    def run(self, argv: Sequence[str], *, cwd: Path, env: Mapping[str, str] | None = None) -> None:
        """Run a program with its output in the log; raise BuildError on failure or timeout."""
        if not shutil.which(argv[0]):
            raise BuildError(f"{argv[0]} is missing: run `{command('check')}`")
        process = subprocess.Popen(
            [*self.workshop.prefix, *argv],
            cwd=cwd,
            env={**os.environ, **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        last: deque[str] = deque(maxlen=SHOWN_LINES)
        listener = threading.Thread(target=self._listen, args=(process, last))
        listener.start()
        try:
            code = self._wait(process)
        except BaseException:
            os.killpg(process.pid, 9)
            process.wait(30)
            raise
        finally:
            listener.join(30)
        if code is None:
            raise self._failed(argv, f"did not finish within {self.limit:.0f} s", last)
        if code:
            raise self._failed(argv, f"exit status {code}", last)

    def _wait(self, process: "subprocess.Popen[bytes]") -> int | None:
        """Return the exit status, or None after the time limit, with the program killed."""
        deadline = time.monotonic() + self.limit
        while time.monotonic() < deadline:
            try:
                return process.wait(CANCEL_SECONDS)
            except subprocess.TimeoutExpired:
                if self.workshop.cancelled.is_set():
                    raise BuildError(f"{self.workshop.entry.name}: cancelled") from None
        os.killpg(process.pid, 9)
        process.wait(30)
        return None

    def _listen(self, process: "subprocess.Popen[bytes]", last: deque[str]) -> None:
        assert process.stdout is not None  # noqa: S101 - asked for above
        with self.workshop.log.open("ab") as log, process.stdout as output:
            for raw in output:
                log.write(raw)
                log.flush()
                line = raw.decode(errors="replace").rstrip()
                if line:
                    last.append(line)
                    self.workshop.progress.note(line)

    def _failed(self, argv: Sequence[str], how: str, last: Sequence[str]) -> BuildError:
        output = "\n".join(f"    {line}" for line in last)
        ran = textwrap.shorten(" ".join(argv), 120, placeholder=" ...")
        return BuildError(
            f"{self.workshop.entry.name}: `{ran}`: {how}. Last output:\n{output}\n"
            f"The whole output is in {self.workshop.log}. If a download failed, run the command "
            f"again: finished sets are kept. `{command('check')}` lists what the machine lacks."
        )


@contextmanager
def locked(cache: Path, progress: Progress) -> Generator[None]:
    """Lock the cache for building; the kernel releases the lock of a dead process."""
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            progress.start("waiting for another build in the same cache", 600)
            fcntl.flock(lock, fcntl.LOCK_EX)
            progress.done()
        yield


def _nothing(_step: str) -> None:
    """Do nothing after a step."""


@contextmanager
def building(
    entry: CacheEntry,
    cache: Path,
    progress: Progress,
    *,
    prefix: Sequence[str] = (),
    cancelled: threading.Event | None = None,
    after_step: Callable[[str], None] = _nothing,
) -> Generator[Workshop]:
    """Yield an empty workshop for an entry, which is complete if the block does not raise.

    `prefix` is the start of every program's command line. `cancelled` ends a running program from
    another thread. `after_step` is called with the name of each completed step.
    """
    logs = cache / "logs"
    logs.mkdir(exist_ok=True)
    log = logs / f"{entry.name}.log"
    log.write_bytes(b"")
    folder = entry.folder(cache)
    ending = cancelled or threading.Event()
    workshop = Workshop(folder, cache, log, progress, prefix, ending, after_step)
    for old in (folder, workshop.scratch):
        remove(old)
        old.mkdir(parents=True)
    yield workshop
    remove(workshop.scratch)
    record = BuildRecord(entry.version, workshop.toolchain, os.cpu_count() or 1, workshop.seconds)
    unfinished = folder / "record.new"
    unfinished.write_bytes(msgspec.json.format(msgspec.json.encode(record)) + b"\n")
    os.sync()  # the record must not reach the disk before the entry
    unfinished.rename(folder / "record.json")


def size_mib(path: Path) -> float:
    """Return the disk usage of a file or folder, in which others may work meanwhile."""
    inside = (
        Path(folder, name) for folder, *names in os.walk(path) for name in itertools.chain(*names)
    )
    return sum(map(_blocks, itertools.chain([path], inside))) * 512 / (1 << 20)


def _blocks(path: Path) -> int:
    try:
        return path.lstat().st_blocks
    except FileNotFoundError:
        return 0


def remove(path: Path) -> None:
    """Remove a file or folder if it exists, and what an interrupted call has left of it.

    A folder loses its name first: half of an entry must not be taken for one.
    """

    def open_up(function: Any, inside: str, _error: object) -> None:
        with suppress(FileNotFoundError):  # another process removes it, too
            Path(inside).parent.chmod(0o700)
            function(inside)

    for earlier in path.parent.glob(f"{path.name}{REMOVED}*"):
        shutil.rmtree(earlier, onerror=open_up)
    if path.is_dir():
        going = path.with_name(f"{path.name}{REMOVED}{os.getpid()}")
        with suppress(FileNotFoundError):
            path.rename(going)
        shutil.rmtree(going, onerror=open_up)
    else:
        path.unlink(missing_ok=True)
