"""What was built once: folders that are complete or not there, and the workshop that fills them.

An entry is built in place, because a Python environment cannot be moved; its record, written last,
is what makes it complete, so a crash leaves nothing that anyone would take for an entry. One lock
covers the cache: two builders would only take each other's processors.
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
import threading
import time
from collections import deque
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import msgspec

from openeni_lab.progress import Progress

SLOWEST_MACHINE: Final = 20  # times slower than expected before a step is given up
TOLD: Final = 15  # lines of a failed program's output
# A compiler that outlived a killed builder would write into what the next one builds.
_DIE_TOO: Final = ("setpriv", "--pdeathsig", "KILL")


class BuildError(Exception):
    """Something could not be built; says what, the last words of the program, and what to do."""


class Record(msgspec.Struct, frozen=True):
    """Beside each entry: when it is there the entry is complete."""

    version: str
    toolchain: str
    cpus: int
    seconds: dict[str, float]  # of each step


@dataclass(frozen=True)
class Entry:
    """A folder of the cache, named after everything that decides its contents."""

    name: str
    version: str
    inputs: tuple[bytes, ...]

    def folder(self, cache: Path) -> Path:
        digest = hashlib.sha256()
        for part in self.inputs:
            digest.update(hashlib.sha256(part).digest())
        return cache / f"{self.name}-{self.version}-{digest.hexdigest()[:8]}"

    def complete(self, cache: Path) -> bool:
        return (self.folder(cache) / "record.json").is_file()

    def record(self, cache: Path) -> Record:
        return msgspec.json.decode((self.folder(cache) / "record.json").read_bytes(), type=Record)


@dataclass
class Workshop:
    """Where one entry is being built: its folder, scratch space, log, and who is told."""

    entry: Path
    cache: Path
    log: Path
    progress: Progress
    toolchain: str = ""
    seconds: dict[str, float] = field(default_factory=dict[str, float])

    @property
    def scratch(self) -> Path:
        """Emptied before and after each entry."""
        return self.cache / "scratch"

    @contextmanager
    def step(self, name: str, expected_seconds: float) -> Generator["Step"]:
        """One step of the build: told, timed for the record, given up when it takes too long."""
        self.progress.start(name, expected_seconds)
        begin = time.monotonic()
        yield Step(self, max(900.0, expected_seconds * SLOWEST_MACHINE))
        self.seconds[name] = round(time.monotonic() - begin, 1)
        self.progress.done()


@dataclass(frozen=True)
class Step:
    """Runs the programs of a step; all of them share its time."""

    workshop: Workshop
    limit: float

    def run(self, argv: Sequence[str], *, cwd: Path, env: Mapping[str, str] | None = None) -> None:
        """Run a program, its output into the log; BuildError if it fails or takes too long."""
        if not shutil.which(argv[0]):
            raise BuildError(f"{argv[0]} is missing: run `openeni-lab check`")
        process = subprocess.Popen(
            [*_DIE_TOO, *argv],
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
            code = process.wait(self.limit)
        except BaseException as error:
            os.killpg(process.pid, 9)
            process.wait(30)
            if isinstance(error, subprocess.TimeoutExpired):
                raise self._failed(argv, f"did not end within {self.limit:.0f} s", last) from error
            raise
        finally:
            listener.join(30)
        if code:
            raise self._failed(argv, f"exit status {code}", last)

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
            f"{self.workshop.entry.name}: `{' '.join(argv)[:120]}`: {how}. Its words:\n{words}\n"
            f"The whole output is in {self.workshop.log}. If a download failed, start again: what "
            "was done is kept. Otherwise `openeni-lab check` says what the machine lacks."
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


@contextmanager
def building(entry: Entry, cache: Path, progress: Progress) -> Generator[Workshop]:
    """An empty folder to build the entry in; complete when the block ends without an error."""
    logs = cache / "logs"
    logs.mkdir(exist_ok=True)
    log = logs / f"{entry.name}.log"
    log.write_bytes(b"")
    folder = entry.folder(cache)
    workshop = Workshop(entry=folder, cache=cache, log=log, progress=progress)
    for old in (folder, workshop.scratch):
        remove(old)
        old.mkdir()
    yield workshop
    remove(workshop.scratch)
    record = Record(entry.version, workshop.toolchain, os.cpu_count() or 1, workshop.seconds)
    unfinished = folder / "record.new"
    unfinished.write_bytes(msgspec.json.format(msgspec.json.encode(record)) + b"\n")
    unfinished.rename(folder / "record.json")


def remove(folder: Path) -> None:
    """Remove a folder if it is there."""

    def open_up(function: Any, path: str, _error: object) -> None:
        Path(path).parent.chmod(0o700)
        function(path)

    if folder.exists():
        shutil.rmtree(folder, onerror=open_up)
