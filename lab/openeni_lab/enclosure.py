"""What a lab is made of on the machine: one process tree, one cgroup, one folder; made and removed.

Removal does not trust the lab's init to be there or to be sane: whatever is in the lab's cgroup is
killed, then what is left is looked for and named.
"""

import contextlib
import fcntl
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Final

from openeni_lab import isolation, layout
from openeni_lab.layout import Layout
from openeni_lab.machine import Machine, MachineError
from openeni_lab.steps import Step

STOP_SECONDS: Final = 15.0  # for an orderly end of everything in the lab
KILL_SECONDS: Final = 20.0
BUSY_SECONDS: Final = 30.0


class LabError(Exception):
    """A lab cannot be started or removed; the text is one line for the user."""


@contextlib.contextmanager
def only_one(lab: Layout) -> Generator[int]:
    """One `up` or `down` of a lab at a time; yields the lock, which a starting init holds on to.

    So a `down` after a killed `up` waits for an init that has not joined its cgroup yet.
    Raises LabError when another one is at work.
    """
    lab.root.mkdir(parents=True, exist_ok=True)
    path = lab.root / f".{lab.name}.lock"
    deadline = time.monotonic() + BUSY_SECONDS
    with path.open("w") as file:
        while not _lock(file.fileno()):
            if time.monotonic() > deadline:
                raise LabError(f"another openeni-lab is at work on the lab {lab.name!r}")
            time.sleep(0.1)
        yield file.fileno()
        if not lab.state.exists():
            path.unlink(missing_ok=True)
            with contextlib.suppress(OSError):  # other labs live there
                lab.root.rmdir()


def _lock(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def init_command(*flags: str) -> list[str]:
    """The init program of the lab and of every node, on this Python, without its site folder."""
    return [sys.executable, "-S", "-m", "openeni_lab.init", *flags]


def init_environment() -> dict[str, str]:
    return {"PYTHONPATH": str(Path(__file__).parent.parent), "PYTHONDONTWRITEBYTECODE": "1"}


def step(lab: Layout, lock: int) -> Step:
    """Start the lab's init; it outlives whoever started it."""
    return Step("init", Machine(lab.control).alive, lambda: _start(lab, lock), 0.2)


def _start(lab: Layout, lock: int) -> None:
    for folder in (lab.state, lab.logs, lab.state / "tmp"):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    command = init_command(
        f"--control={lab.control}",
        f"--tmp={lab.state / 'tmp'}",
        f"--forward={layout.API_SERVER_PORT}",
        f"--cgroup={lab.cgroup}/lab",
        f"--lock={lock}",
    )
    log = lab.logs / "init.log"
    with log.open("ab") as output:
        process = subprocess.Popen(
            command,
            env={**os.environ, **init_environment()},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            pass_fds=[lock],
            start_new_session=True,
        )
    machine = Machine(lab.control)
    while not machine.alive():
        if process.poll() is not None:
            words = log.read_text(errors="replace").strip().splitlines()
            raise LabError(f"the lab's init did not start: {words[-1] if words else log}")
        time.sleep(0.02)


def remove(lab: Layout) -> None:
    """End everything of a lab and remove every trace. Raises LabError naming what is left."""
    _stop(lab)
    _kill(lab)
    remove_cgroups(lab)
    shutil.rmtree(lab.state, ignore_errors=True)
    left = leftovers(lab)
    if left:
        raise LabError(f"left of the lab {lab.name!r}: {', '.join(left)}")


def remove_cgroups(lab: Layout, part: str = "") -> None:
    """Of the whole lab or of one node, whose processes have ended."""
    for folder in _cgroups(lab, part, bottom_up=True):
        with contextlib.suppress(OSError):  # `leftovers` tells of what stays
            folder.rmdir()


def _stop(lab: Layout) -> None:
    machine = Machine(lab.control)
    try:
        init = os.pidfd_open(machine.pid())
    except (MachineError, OSError):
        return  # it does not run
    try:
        machine.shutdown(STOP_SECONDS)
        ended = select.poll()  # unlike select() for any number of open files
        ended.register(init, select.POLLIN)
        ended.poll(1000 * (STOP_SECONDS + KILL_SECONDS))
    except MachineError:
        return  # it ended meanwhile, or is killed next
    finally:
        os.close(init)


def _kill(lab: Layout) -> None:
    deadline = time.monotonic() + KILL_SECONDS
    while (pids := set(processes(lab))) and time.monotonic() < deadline:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.05)


def processes(lab: Layout) -> dict[int, str]:
    """Every process of the lab: its id and the part of the lab it is in (`lab` or a node)."""
    found: dict[int, str] = {}
    for folder in _cgroups(lab):
        with contextlib.suppress(OSError):  # a cgroup that ends while we look
            for pid in (folder / "cgroup.procs").read_text().split():
                part = folder.parts[folder.parts.index(lab.cgroup) + 1 :]
                found[int(pid)] = part[0] if part else "lab"
    return found


def leftovers(lab: Layout) -> list[str]:
    """What carries the lab's names on the machine."""
    return [
        *(f"process {pid}" for pid in processes(lab)),
        *(f"cgroup {folder}" for folder in _cgroups(lab)),
        *(f"mount {p}" for p, _ in isolation.mount_points() if Path(p).is_relative_to(lab.state)),
        *([f"folder {lab.state}"] if lab.state.exists() else []),
    ]


def _cgroups(lab: Layout, part: str = "", *, bottom_up: bool = False) -> Iterator[Path]:
    for root in isolation.cgroup_roots():
        for folder, _, _ in os.walk(root / lab.cgroup / part, topdown=not bottom_up):
            yield Path(folder)


def memory(lab: Layout) -> dict[str, float]:
    """MiB of each part of the lab, what is shared between processes counted once (PSS)."""
    sums: dict[str, float] = {}
    for pid, part in processes(lab).items():
        with contextlib.suppress(OSError):  # ended meanwhile
            text = Path(f"/proc/{pid}/smaps_rollup").read_text()
            kib = next(line.split()[1] for line in text.splitlines() if line.startswith("Pss:"))
            sums[part] = sums.get(part, 0) + int(kib) / 1024
    return sums
