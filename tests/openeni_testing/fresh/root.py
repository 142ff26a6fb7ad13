"""`make fresh`: run the README's commands on a bare Debian that has only the README's packages.

Standard library only, for the machine's own python3:
`PYTHONPATH=tests:lab python3 -m openeni_testing.fresh.root [--distro NAME] [-- COMMAND...]`
"""

import argparse
import contextlib
import fcntl
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from openeni_lab.images.debian_archive import ArchiveError
from openeni_testing.fresh import remains
from openeni_testing.fresh.debian import FreshError, Recipe, make_root, recipe, remove_tree
from openeni_testing.fresh.machine import HOME, FreshMachine, copy_settings
from openeni_testing.lab.machine_facts import (
    cgroups,
    differences,
    machine_facts,
    mounts,
    occupied,
)

CHECKOUT: Final = Path(__file__).parents[3]
INSIDE: Final = Path("/home/stranger/openeni")
CACHE_INSIDE: Final = HOME / ".cache/openeni-lab"
COPY_SECONDS: Final = 300
# What a lab keeps for the next one: its state, the prepared machine, this checkout.
ALLOWED: Final = (
    "/var/lib/openeni-lab",
    str(INSIDE),
    remains.PYTEST,
    *(str(HOME / name) for name in remains.HOME_CACHES),
)
LABS: Final = "labs"  # file of a run's folder


@dataclass(frozen=True)
class TypedCommand:
    """A command, and its time limits with and without built programs."""

    words: tuple[str, ...]
    seconds: float
    cold: float = 0

    def limit(self, *, cold: bool) -> float:
        return self.cold if cold and self.cold else self.seconds


# The demo's lab takes half of a machine with two processors, so the longest runs without it.
COMMANDS: Final = (
    TypedCommand(("make", "demo"), 2700, 5400),
    TypedCommand(("make", "test", "T=tests/system/test_main_job.py"), 1500, 3600),
    TypedCommand(("make", "down"), 300),
    TypedCommand(("make", "check"), 1800),
)


@dataclass(frozen=True)
class Before:
    """The state before the run, which must be the same afterwards."""

    facts: Mapping[str, object]
    files: Mapping[str, remains.Stamp]
    packages: remains.Installed

    @classmethod
    def observe(cls, machine: FreshMachine) -> "Before":
        return cls(_facts(machine), _files(machine), remains.installed(machine.root))


def main() -> int:
    """Run the commands; return 0 if all of them passed and nothing is left, else 1."""
    signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))
    options = _options()
    try:
        _needs()
        wanted = recipe(CHECKOUT, options.distro)
        place = _place()
        with _run_folder(place) as folder:
            _judge(wanted, place, folder, options)
    except (FreshError, ArchiveError, OSError, subprocess.SubprocessError) as error:
        _say(f"FAILED: {error}")
        return 1
    except KeyboardInterrupt:
        return 130
    _say("passed: every command, and nothing was left")
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make fresh", description=main.__doc__)
    parser.add_argument("--distro", default="bookworm", choices=["bookworm", "trixie"])
    cache = parser.add_mutually_exclusive_group()
    cache.add_argument("--cache", type=Path, default=_lab_cache(), metavar="DIR")
    cache.add_argument("--no-cache", dest="cache", action="store_const", const=None)
    parser.add_argument("--keep", action="store_true", help="keep the root to look at")
    parser.add_argument("command", nargs="*", help="instead of what the README says")
    return parser.parse_args()


def _judge(wanted: Recipe, place: Path, folder: Path, options: argparse.Namespace) -> None:
    root, cache = folder / "root", options.cache or folder / "cache"
    cache.mkdir(parents=True, exist_ok=True)
    with _step(f"a bare Debian {wanted.distro} with {' '.join(wanted.packages)}"):
        _copy_pristine(wanted, place, root)
        copy_settings(root, Path.home())
    with _step(f"clone of {_head()} at {INSIDE}"):
        _clone(root)
    machine = FreshMachine(root, cache, CACHE_INSIDE, folder / LABS)
    try:
        machine.start()
        seen = Before.observe(machine)
        for command in _commands(options.command):
            with _step(" ".join(command.words)):
                machine.run(command.words, INSIDE, command.limit(cold=options.cache is None))
        left = _left(machine, seen)
    finally:
        machine.stop()
        _remove_groups(machine.labs)
        if options.keep:
            _keep(root, place)
    if left:
        raise FreshError("\n    ".join(["left behind:", *left]))


def _commands(words: Sequence[str]) -> tuple[TypedCommand, ...]:
    return (TypedCommand(tuple(words), COMMANDS[0].cold),) if words else COMMANDS


def _left(machine: FreshMachine, before: Before) -> list[str]:
    packages, files = remains.installed(machine.root), _files(machine)
    changed = remains.changes(before.files, files)
    new = remains.touched(before.packages, packages)
    return [
        *differences(before.facts, _facts(machine)),
        *remains.remainders(changed, files, new, packages, ALLOWED),
        *remains.unannounced(before.packages, packages, machine.words),
    ]


def _facts(machine: FreshMachine) -> dict[str, object]:
    """Observe the machine from outside: it shares the network and does not have `ip` yet."""
    return {
        **machine_facts("default", machine.root),
        "mounts": [f"{point} ({kind})" for point, kind in mounts(machine.init)],
        "processes": sorted(machine.processes().values()),
        "network namespaces": sorted(p.name for p in machine.seen("/run/netns").glob("*")),
        "cgroups": [str(path) for path in _groups(machine.labs)],
    }


def _files(machine: FreshMachine) -> dict[str, remains.Stamp]:
    return {
        **remains.snapshot(machine.root),
        **remains.snapshot(machine.seen("/run"), "/run"),
        **remains.snapshot(machine.seen("/dev/shm"), "/dev/shm"),  # noqa: S108 - looked at
    }


def _groups(labs: Path) -> list[Path]:
    """Return what is left of the cgroups of a run's labs, and of no others."""
    names = labs.read_text().split() if labs.exists() else []
    return [path for name in names for path in cgroups(name)]


def _remove_groups(labs: Path) -> None:
    """Remove the cgroups of killed labs, since they are the host's."""
    for group in _groups(labs):
        for folder, _, _ in os.walk(group, topdown=False):
            with contextlib.suppress(OSError):
                Path(folder).rmdir()


def _needs() -> None:
    """Raise FreshError that names what this machine needs to check the result."""
    if os.geteuid():
        raise FreshError("needs root: it makes a root file system and namespaces")
    for program, package in (("ip", "iproute2"), ("nft", "nftables"), ("git", "git")):
        if not any(Path(folder, program).exists() for folder in ("/usr/sbin", "/sbin", "/usr/bin")):
            raise FreshError(
                f"{program} is missing, to see what is left: apt-get install {package}"
            )
    if occupied("openeni-lab-default"):  # one that was killed leaves empty groups: no hindrance
        raise FreshError("a lab runs on this machine under the same name: `make down` first")


def _lab_cache() -> Path:
    return Path(
        os.environ.get("OPENENI_LAB_CACHE") or Path.home() / ".cache/openeni-lab"
    ).absolute()


def _place() -> Path:
    """Return the folder of pristine roots and runs: not the lab's cache, which the runs see."""
    place = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "openeni-fresh"
    for folder in (place / "roots", place / "runs"):
        folder.mkdir(parents=True, exist_ok=True)
    return place


@contextlib.contextmanager
def _run_folder(place: Path) -> Generator[Path]:
    """Yield a folder for this run; remove it at the end, and those of killed runs.

    A run holds the lock of its folder as long as it lives.
    """
    with (place / "lock").open("w") as only_one:
        fcntl.flock(only_one, fcntl.LOCK_EX)
        for old in (place / "runs").iterdir():
            _remove_dead(old)
        folder = Path(tempfile.mkdtemp(prefix=f"{os.getpid()}-", dir=place / "runs"))
        lock = (folder / "lock").open("w")
        fcntl.flock(lock, fcntl.LOCK_EX)
    try:
        yield folder
    finally:
        remove_tree(folder)
        lock.close()


def _remove_dead(folder: Path) -> None:
    with (folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
        _remove_groups(folder / LABS)
        remove_tree(folder)


def _copy_pristine(wanted: Recipe, place: Path, root: Path) -> None:
    with (place / "roots.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        pristine = make_root(wanted, place / "roots")
        copy = ["cp", "-a", "--reflink=auto", str(pristine), str(root)]
        subprocess.run(copy, check=True, timeout=COPY_SECONDS)


def _keep(root: Path, place: Path) -> None:
    kept = place / "kept"
    remove_tree(kept)
    root.rename(kept)
    _say(f"kept: {kept}")


def _clone(root: Path) -> None:
    target = root / INSIDE.relative_to("/")
    target.parent.mkdir()
    clone = ["git", "clone", "--quiet", "--no-hardlinks", str(CHECKOUT), str(target)]
    subprocess.run(clone, check=True, timeout=COPY_SECONDS)


def _head() -> str:
    command = ["git", "-C", str(CHECKOUT), "log", "-1", "--format=%h (%s)"]
    return subprocess.check_output(command, text=True, timeout=COPY_SECONDS).strip()


@contextlib.contextmanager
def _step(what: str) -> Generator[None]:
    _say(f"==> {what}")
    begin = time.monotonic()
    yield
    _say(f"<== {time.monotonic() - begin:.0f} s: {what}")


def _say(text: str) -> None:
    sys.stdout.write(f"fresh: {text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    raise SystemExit(main())
