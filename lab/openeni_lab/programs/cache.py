"""The cache of built programs: each entry is a folder that is complete or absent.

Every release of a distribution has a folder of its own in the cache: a program that was linked on
one must not be taken on another. An entry is built in place, because a Python environment cannot be
moved; its record, written last, is what makes it complete, so a crash leaves nothing that anyone
would take for an entry. One lock covers the cache: two builders would only take each other's
processors.
"""

import fcntl
import hashlib
import os
import platform
import shutil
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import msgspec

from openeni_lab.progress import Progress

SLOWEST_MACHINE: Final = 20  # times slower than expected before a step is given up
TOLD: Final = 15  # lines of a failed program's output
CANCEL_SECONDS: Final = 0.2  # how soon a running program is ended when its build is cancelled
# At low priority; a compiler that outlived a killed builder would write into the next one's build.
_PREFIX: Final = ("nice", "-n", "10", "setpriv", "--pdeathsig", "KILL")


class BuildError(Exception):
    """Something could not be built; says what, the last words of the program, and what to do."""


def distribution() -> str:
    """Return the machine's distribution and release, such as `debian-12`."""
    known = platform.freedesktop_os_release()
    return f"{known.get('ID', 'linux')}-{known.get('VERSION_ID', 'rolling')}"


class BuildRecord(msgspec.Struct, frozen=True):
    """Beside each entry: when it is there the entry is complete."""

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
        """Whether it was built to its end; a record that a power cut damaged does not count."""
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
    """Where one entry is being built: its folder, scratch space, log, and who is told."""

    entry: Path
    cache: Path
    log: Path
    progress: Progress
    cancelled: threading.Event
    after_step: Callable[[str], None]
    toolchain: str = ""
    seconds: dict[str, float] = field(default_factory=dict[str, float])

    @property
    def scratch(self) -> Path:
        """Emptied before and after each entry."""
        return self.cache / "scratch" / self.entry.name

    @contextmanager
    def step(self, name: str, expected_seconds: float) -> Generator["BuildStep"]:
        """One step of the build: told, timed for the record, given up when it takes too long."""
        self.progress.start(name, expected_seconds)
        begin = time.monotonic()
        yield BuildStep(self, max(900.0, expected_seconds * SLOWEST_MACHINE))
        self.seconds[name] = round(time.monotonic() - begin, 1)
        self.progress.done()
        self.after_step(name)


@dataclass(frozen=True)
class BuildStep:
    """Runs the programs of a step; all of them share its time."""

    workshop: Workshop
    limit: float

    def run(self, argv: Sequence[str], *, cwd: Path, env: Mapping[str, str] | None = None) -> None:
        """Run a program, its output into the log; BuildError if it fails or takes too long."""
        if not shutil.which(argv[0]):
            raise BuildError(f"{argv[0]} is missing: run `openeni-lab check`")
        process = subprocess.Popen(
            [*_PREFIX, *argv],
            cwd=cwd,
            env={**os.environ, **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        last: deque[str] = deque(maxlen=TOLD)
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
            raise self._failed(argv, f"did not end within {self.limit:.0f} s", last)
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
        words = "\n".join(f"    {line}" for line in last)
        return BuildError(
            f"{self.workshop.entry.name}: `{' '.join(argv)[:120]}`: {how}. Last output:\n{words}\n"
            f"The whole output is in {self.workshop.log}. If a download failed, run the command "
            "again: what is finished is kept. Else `openeni-lab check` says what the machine lacks."
        )


@contextmanager
def locked(cache: Path, progress: Progress) -> Generator[None]:
    """Be the only builder in this cache; the kernel lets go of the lock of one that died."""
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
    """Nobody waits for the end of a step."""


@contextmanager
def building(
    entry: CacheEntry,
    cache: Path,
    progress: Progress,
    cancelled: threading.Event | None = None,
    after_step: Callable[[str], None] = _nothing,
) -> Generator[Workshop]:
    """Give an empty folder to build the entry in; complete when the block ends without an error.

    `cancelled` ends a running program from another thread; `after_step` is called with the name
    of each step that is done.
    """
    logs = cache / "logs"
    logs.mkdir(exist_ok=True)
    log = logs / f"{entry.name}.log"
    log.write_bytes(b"")
    folder = entry.folder(cache)
    workshop = Workshop(folder, cache, log, progress, cancelled or threading.Event(), after_step)
    for old in (folder, workshop.scratch):
        remove(old)
        old.mkdir(parents=True)
    yield workshop
    remove(workshop.scratch)
    record = BuildRecord(entry.version, workshop.toolchain, os.cpu_count() or 1, workshop.seconds)
    unfinished = folder / "record.new"
    unfinished.write_bytes(msgspec.json.format(msgspec.json.encode(record)) + b"\n")
    os.sync()  # the record must not reach the disk before what it stands for
    unfinished.rename(folder / "record.json")


def size_mib(path: Path) -> float:
    """Return what a file or folder takes on the disk."""
    inside = [path, *path.rglob("*")]
    return sum(one.lstat().st_blocks for one in inside) * 512 / (1 << 20)


def remove(path: Path) -> None:
    """Remove a file or folder if it is there."""

    def open_up(function: Any, inside: str, _error: object) -> None:
        Path(inside).parent.chmod(0o700)
        function(inside)

    if path.is_dir():
        shutil.rmtree(path, onerror=open_up)
    else:
        path.unlink(missing_ok=True)
