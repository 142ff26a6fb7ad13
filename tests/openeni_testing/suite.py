"""`make test`: run the suite, each part on a suitable kernel, all parts in parallel.

Most tests run on this machine's kernel. Those of the ipvlan datapaths need a kernel that has it:
`openeni-lab kernel` runs them here or in a user-mode kernel. Tests that go through every state, or
through minutes of a lab's life, take more than half of the processor time of all: they are a run of
their own (`make test-exhaustive`).

Arguments are passed on to pytest, so that some tests of any part can be run (`make test
T=tests/operator`); the floor of the coverage holds for the whole suite only.

Coverage is not measured in two parts, nor in simulations (tests/conftest.py). Tracing takes more
than half of the processor time there, and nearly every line that they run is run by other tests as
well: by the veth cases of the same tests (ipvlan), by those that go through fewer states or a
shorter life (exhaustive, long, simulated).
"""

import contextlib
import json
import os
import secrets
import signal
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from openeni_lab.machine.exits import wait_for_exit
from openeni_testing.plugins import share

ROOT: Final = Path(__file__).parents[2]
RESULTS: Final = ROOT / "build" / "test"
LAB: Final = str(Path(sys.executable).with_name("openeni-lab"))
GIB_PER_WORKER: Final = 5  # of this machine's memory: two labs may run at once
WORKERS: Final = 3  # at most: tests wait for most of their time
# Exit codes of pytest: a test failed, pytest itself did, arguments that it does not know, and no
# test was selected.
FAILED: Final = 1
INTERNAL_ERROR: Final = 3
USAGE_ERROR: Final = 4
NOTHING: Final = 5
CODES: Final = "codes.json"
SEED: Final = "OPENENI_SEED"  # of random tests; also the name of the file that has a run's
FLOOR: Final = 80  # per cent of lines and branches
OF_THIS_KERNEL: Final = "not ipvlan and not inside and not images"
OF_IPVLAN: Final = (("-p", "no:cacheprovider"), (LAB, "kernel", f"--keep={RESULTS}", "--"))
# Where they are: a user-mode kernel need not read all the others.
PLACES_OF_IPVLAN: Final = ("tests/nodeagent", "tests/system/test_hand_ipvlan.py")
APART: Final = "--apart"  # run the parts that have a run of their own
SECONDS: Final = 5400
CLEAN_UP_SECONDS: Final = 120  # for labs to go down
KILL_SECONDS: Final = 30
TIMED_OUT: Final = 124
_CRASHED: Final = "crashed while running"  # xdist's words
INTERRUPTED: Final = 130  # exit code after Ctrl-C, as a shell's


def workers() -> int:
    """Return how many tests may run at once in this machine's memory."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return max(1, min(WORKERS, memory // (GIB_PER_WORKER << 30)))


def busy_workers() -> int:
    """Return how many tests may run at once where tests do not wait, but compute."""
    return min(workers(), len(os.sched_getaffinity(0)))


@dataclass(frozen=True)
class Part:
    """A part of the suite: the markers of its tests, and how to run them."""

    name: str
    markers: str
    words: tuple[str, ...] = ()
    prefix: tuple[str, ...] = ()
    covered: bool = True
    of_whole: tuple[str, ...] = ()  # options that make sense for the whole part alone
    places: tuple[str, ...] = ("tests",)
    apart: bool = False  # it has a run of its own, but for tests that are chosen

    def command(self, chosen: Sequence[str]) -> list[str]:
        """Return the command line; its results go to files named after the part."""
        report = f"--junit-xml={RESULTS / self.name}.xml"
        traced = ["-m", "coverage", "run"] if self.covered else []
        pytest = [sys.executable, *traced, "-m", "pytest", "-m", self.markers]
        what = chosen or [*self.of_whole, *self.places]
        return [*self.prefix, *pytest, report, *self.words, *what]


PARTS: Final = (
    Part(
        "ipvlan",
        "ipvlan and not exhaustive and not long",
        *OF_IPVLAN,
        covered=False,
        places=PLACES_OF_IPVLAN,
    ),
    Part(
        "ipvlan-exhaustive",
        "ipvlan and (exhaustive or long)",
        *OF_IPVLAN,
        covered=False,
        places=PLACES_OF_IPVLAN,
        apart=True,
    ),
    Part(
        "exhaustive",
        f"(exhaustive or long) and {OF_THIS_KERNEL}",
        ("-p", "no:cacheprovider", f"--numprocesses={busy_workers()}"),
        covered=False,
        apart=True,
    ),
    Part(
        "here",
        f"not exhaustive and not long and {OF_THIS_KERNEL}",
        (f"--numprocesses={workers()}",),
        of_whole=("--every-reason",),
    ),
)


def is_collected_in_guest(path: Path) -> bool:
    """Return True if a run of all tests looks for those of the ipvlan datapaths in a module."""
    return any(path.is_relative_to(ROOT / place) for place in PLACES_OF_IPVLAN)


def main(arguments: Sequence[str], parts: Sequence[Part] = PARTS) -> int:
    """Run the parts that the arguments ask for; return the worst exit code."""
    apart = APART in arguments
    shares = tuple(word for word in arguments if word.startswith(f"{share.OPTION}="))
    chosen = [word for word in arguments if word not in (APART, *shares)]
    of_run = [part for part in parts if chosen or part.apart == apart]
    heed_signals()
    os.environ.setdefault(SEED, str(secrets.randbelow(10**6)))
    try:
        return run_parts(chosen, [replace(part, words=(*part.words, *shares)) for part in of_run])
    except KeyboardInterrupt:
        return INTERRUPTED


def heed_signals() -> None:
    """Clean up after SIGTERM, and after Ctrl-C in a background job, too."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))


def run_parts(chosen: Sequence[str], parts: Sequence[Part]) -> int:
    """Run parts at the same time, the last one in the foreground; return the worst exit code."""
    for old in (file for part in parts for file in RESULTS.glob(f"*{part.name}.*")):
        old.unlink()
    RESULTS.mkdir(parents=True, exist_ok=True)
    _write_codes({part.name: None for part in parts})
    if SEED in os.environ:  # `main` sets it
        (RESULTS / SEED).write_text(os.environ[SEED])
    *beside, last = parts
    with contextlib.ExitStack() as ending:
        running = [
            (part, ending.enter_context(_started(part, chosen, _log(part)))) for part in beside
        ]
        foreground = ending.enter_context(_started(last, chosen))
        codes = {last.name: _confirmed(last, _finished(foreground))}
        for part, process in running:
            codes[part.name] = _confirmed(part, _finished(process))
            print(f"\n{part.name}:\n{_log(part).read_text(errors='replace')}", flush=True)
    ran = [abs(code) for code in codes.values() if code != NOTHING or not chosen]
    if not ran or USAGE_ERROR in ran:
        return max(ran, default=NOTHING)  # pytest has said why
    covered = [part.name for part in parts if part.covered]
    codes["coverage"] = _coverage(covered, whole=not chosen) if covered else 0
    _write_codes(codes)
    return max(*ran, codes["coverage"])


@contextlib.contextmanager
def _started(
    part: Part, chosen: Sequence[str], log: Path | None = None
) -> Generator["subprocess.Popen[bytes]"]:
    """Run a part during the block; its tests clean up before it ends, even after Ctrl-C.

    Bytecode is written: else each worker compiles all tests anew, and each program all it imports.
    """
    environment = {**os.environ, "COVERAGE_FILE": str(RESULTS / f"coverage-{part.name}")}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
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
    if wait_for_exit(process.pid, SECONDS):
        return process.wait()
    print(f"still running after {SECONDS} s: pid {process.pid}", flush=True)
    return TIMED_OUT


def _confirmed(part: Part, code: int) -> int:
    """Return the exit code of a part, or that of an internal error if its report disagrees.

    A process may end with 0 or 1 for other reasons than its tests: before the first or after the
    last of them. xdist only prints an internal error of a worker at a run's end, and runs nothing
    more once workers have crashed again and again.
    """
    if code not in (0, FAILED):
        return code
    try:
        found = [*ET.parse(RESULTS / f"{part.name}.xml").iter()]  # noqa: S314 - pytest wrote it
    except (OSError, ET.ParseError) as error:
        print(f"{part.name} ended with {code} and no report of its tests: {error}", flush=True)
        return INTERNAL_ERROR
    faults = [one for one in found if one.tag in ("failure", "error")]
    if bool(faults) != bool(code):
        print(f"{part.name} ended with {code}, its report has {len(faults)} faults", flush=True)
        return INTERNAL_ERROR
    if any(_CRASHED in one.get("message", "") for one in faults):
        print(f"{part.name}: a worker has crashed, and tests may not have run", flush=True)
        return INTERNAL_ERROR
    return code


def _write_codes(codes: Mapping[str, int | None]) -> None:
    """Note the exit code of each part of a run; None of one that has not ended."""
    (RESULTS / CODES).write_text(json.dumps(codes))


def _log(part: Part) -> Path:
    return RESULTS / f"{part.name}.log"


def _coverage(covered: Sequence[str], *, whole: bool) -> int:
    """Print the coverage; for the whole suite, require each covered part's data and the floor."""
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
    return max(abs(combined.returncode), abs(reported.returncode)) if whole else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
