"""`make test`: run the whole suite, each part on a suitable kernel, all parts in parallel.

Most tests run on this machine's kernel. Those of the ipvlan datapaths need a kernel that has it:
`openeni-lab kernel` runs them here or in a user-mode kernel. Arguments are passed on to pytest, so
that a part of the suite can be run (`make test T=tests/operator`); the floor of the coverage holds
for the whole suite only.

Coverage is not measured in the ipvlan part: tracing takes more than half of the processor time
there, and nearly every line that it runs is run by the veth cases of the same tests as well.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
RESULTS: Final = ROOT / "build" / "test"
LAB: Final = str(Path(sys.executable).with_name("openeni-lab"))
GIB_PER_WORKER: Final = 5  # of this machine's memory: two labs may run at once
WORKERS: Final = 3  # at most: tests wait for most of their time
NOTHING: Final = 5  # pytest's exit code where no test was selected
FLOOR: Final = 80  # per cent of lines and branches
SECONDS: Final = 5400
CLEAN_UP_SECONDS: Final = 120  # for labs to go down
KILL_SECONDS: Final = 30
TIMED_OUT: Final = 124
INTERRUPTED: Final = 130  # exit code after Ctrl-C, as a shell's


def workers() -> int:
    """Return how many tests may run at once in this machine's memory."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return max(1, min(WORKERS, memory // (GIB_PER_WORKER << 30)))


@dataclass(frozen=True)
class Part:
    """A part of the suite: the markers of its tests, and how to run them."""

    name: str
    markers: str
    words: tuple[str, ...] = ()
    prefix: tuple[str, ...] = ()
    covered: bool = True

    def command(self, chosen: Sequence[str]) -> list[str]:
        """Return the command line; its results go to files named after the part."""
        report = f"--junit-xml={RESULTS / self.name}.xml"
        traced = ["-m", "coverage", "run"] if self.covered else []
        pytest = [sys.executable, *traced, "-m", "pytest", "-m", self.markers]
        return [*self.prefix, *pytest, report, *self.words, *(chosen or ["tests"])]


PARTS: Final = (
    Part(
        "ipvlan",
        "ipvlan",
        ("-p", "no:cacheprovider"),
        (LAB, "kernel", f"--keep={RESULTS}", "--"),
        covered=False,
    ),
    Part("here", "not ipvlan and not inside and not images", (f"--numprocesses={workers()}",)),
)


def main(chosen: Sequence[str], parts: Sequence[Part] = PARTS) -> int:
    """Run every part, the last one in the foreground; return the worst exit code."""
    heed_signals()
    try:
        return _run(chosen, parts)
    except KeyboardInterrupt:
        return INTERRUPTED


def heed_signals() -> None:
    """Clean up after SIGTERM, and after Ctrl-C in a background job, too."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))


def _run(chosen: Sequence[str], parts: Sequence[Part]) -> int:
    shutil.rmtree(RESULTS, ignore_errors=True)
    RESULTS.mkdir(parents=True)
    *beside, last = parts
    with contextlib.ExitStack() as ending:
        running = [
            (part, ending.enter_context(_started(part, chosen, _log(part)))) for part in beside
        ]
        foreground = ending.enter_context(_started(last, chosen))
        codes = [_finished(foreground)]
        for part, process in running:
            codes.append(_finished(process))
            print(f"\n{part.name}:\n{_log(part).read_text(errors='replace')}", flush=True)
    ran = [abs(code) for code in codes if code != NOTHING or not chosen]
    return max([*ran, _coverage(whole=not chosen)]) if ran else NOTHING


@contextlib.contextmanager
def _started(
    part: Part, chosen: Sequence[str], log: Path | None = None
) -> Generator["subprocess.Popen[bytes]"]:
    """Run a part during the block; its tests clean up before it ends, even after Ctrl-C."""
    environment = {**os.environ, "COVERAGE_FILE": str(RESULTS / f"coverage-{part.name}")}
    with log.open("wb") if log else contextlib.nullcontext() as output:
        process = subprocess.Popen(
            part.command(chosen), cwd=ROOT, env=environment, stdout=output, stderr=output
        )
    with ended(process, CLEAN_UP_SECONDS):
        yield process


@contextlib.contextmanager
def ended(
    process: "subprocess.Popen[bytes]", seconds: float, number: int = signal.SIGINT
) -> Generator[None]:
    """End a process after the block with a signal that it cleans up after; it has so long for it.

    Pytest cleans up after SIGINT only.
    """
    try:
        yield
    except KeyboardInterrupt:  # it has had that as well, and a second one would end its clean-up
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(seconds)
        raise
    finally:
        process.send_signal(number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(seconds)
        process.kill()
        process.wait(KILL_SECONDS)


def _finished(process: "subprocess.Popen[bytes]") -> int:
    """Wait for a part; return its exit code, or that of timeout(1)."""
    try:
        return process.wait(SECONDS)
    except subprocess.TimeoutExpired:
        print(f"still running after {SECONDS} s: pid {process.pid}", flush=True)
        return TIMED_OUT


def _log(part: Part) -> Path:
    return RESULTS / f"{part.name}.log"


def _coverage(*, whole: bool) -> int:
    """Print the coverage; for the whole suite, require each covered part's data and the floor."""
    covered = (part.name for part in PARTS if part.covered)
    found = {name: [*RESULTS.glob(f"coverage-{name}.*")] for name in covered}
    lacking = [name for name, files in found.items() if not files]
    if lacking:
        print(f"no coverage of {', '.join(lacking)}", flush=True)
    if lacking and whole:
        return 1
    coverage = [sys.executable, "-m", "coverage"]
    data = f"--data-file={RESULTS / 'coverage'}"
    files = [str(file) for one in found.values() for file in one]
    combined = subprocess.run(
        [*coverage, "combine", "--quiet", data, *files], cwd=ROOT, check=False
    )
    floor = [f"--fail-under={FLOOR}"] if whole else []
    report = [*coverage, "report", data, "--sort=cover", *floor]
    reported = subprocess.run(report, cwd=ROOT, check=False)
    return max(combined.returncode, reported.returncode) if whole else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
