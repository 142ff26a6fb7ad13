"""Create and remove what a lab has on the machine: one process tree, one cgroup, one folder.

Removal does not depend on the lab's init: every process in the lab's cgroup is killed, and
whatever could not be removed is reported by name.
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
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from openeni_lab import layout
from openeni_lab.layout import Layout
from openeni_lab.machine import isolation
from openeni_lab.machine.boot import boot_id
from openeni_lab.machine.client import Machine, MachineError
from openeni_lab.machine.limits import LabLimits, LimitError, in_force
from openeni_lab.machine.limits import apply as limit_use
from openeni_lab.machine.service import last_line_with_path
from openeni_lab.machine.steps import Step

STOP_SECONDS: Final = 15.0  # for an orderly shutdown of the lab
KILL_SECONDS: Final = 20.0
BUSY_SECONDS: Final = 30.0
REMOVERS: Final = 16  # threads that remove a lab's files
INIT_SECONDS: Final = 60.0  # it answers after 0.2 s on a fast machine
OWNER: Final = "OPENENI_LAB_OWNER"  # variable: id of a process; labs that are started end with it


class LabError(Exception):
    """A lab cannot be started or removed. The text is for the user."""


@contextlib.contextmanager
def locked(lab: Layout) -> Generator[int]:
    """Lock the lab, so that one `up` or `down` works on it at a time; yield the lock's descriptor.

    A starting init inherits the lock, so that a `down` after a killed `up` waits for an init that
    has not joined its cgroup yet. Raises LabError when another process keeps the lock.
    """
    path = lab.root / f".{lab.name}.lock"
    lock = _wait_for_lock(lab, path)
    try:
        yield lock
        if not lab.state.exists():
            path.unlink(missing_ok=True)
            with contextlib.suppress(OSError):  # other labs live there
                lab.root.rmdir()
    finally:
        os.close(lock)


def _wait_for_lock(lab: Layout, path: Path) -> int:
    deadline = time.monotonic() + BUSY_SECONDS
    while (lock := _lock(path)) is None:
        if time.monotonic() > deadline:
            raise LabError(
                f"another openeni-lab command works on the lab {lab.name!r}: wait for it to end"
            )
        time.sleep(0.1)
    return lock


def _lock(path: Path) -> int | None:
    """Lock the file that has this name now; return None if it is locked.

    Its last owner may have removed it between our open and our lock: then the inodes differ.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except FileNotFoundError:  # its folder has just been removed with the last lab
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(file).st_ino == path.stat().st_ino:
            return file
    except (BlockingIOError, FileNotFoundError):
        pass
    os.close(file)
    return None


def init_command(*flags: str) -> list[str]:
    """Return the command of an init, the lab's or a node's; it needs no site packages."""
    return [sys.executable, "-S", "-m", "openeni_lab.machine.init", *flags]


def init_environment() -> dict[str, str]:
    return {"PYTHONPATH": layout.PACKAGES, "PYTHONDONTWRITEBYTECODE": "1"}


def discard_earlier(lab: Layout) -> bool:
    """Remove a lab of an earlier boot, or the rest of an interrupted removal.

    Returns True if there was one. etcd and MariaDB run without fsync, so their files must not be
    used after a power cut.
    """
    if not lab.state.exists() or _booted(lab) == boot_id():
        return False
    remove(lab)
    return True


def _booted(lab: Layout) -> str:
    """Return the boot id that the lab was started with; removal deletes it first."""
    try:
        return _boot_file(lab).read_text()
    except FileNotFoundError:
        return ""


def _boot_file(lab: Layout) -> Path:
    return lab.state / "boot-id"


def start_init_step(
    lab: Layout, lock: int, limits: LabLimits | None = None, owner: int | None = None
) -> Step:
    """Return the step that starts the lab's init, which outlives the process that starts it.

    If `owner` is the id of a process, the lab ends with that one.
    """
    bounds = limits or LabLimits.of(lab.node_count)
    given = owner or int(os.environ.get(OWNER) or 0)
    return Step("init", Machine(lab.control).alive, lambda: _start(lab, lock, bounds, given), 0.2)


def limits(lab: Layout) -> LabLimits:
    """Return the limits in force, or the default ones if the lab does not run."""
    if not Machine(lab.control).alive():
        return LabLimits.of(lab.node_count)
    return in_force(lab.cgroup, isolation.cgroup_roots())


def set_limits(lab: Layout, limits: LabLimits) -> None:
    """Set the limits of a lab, which may run already. Raises LabError if that is not possible."""
    try:
        limit_use(lab.cgroup, limits, isolation.cgroup_roots())
    except LimitError as error:
        raise LabError(str(error)) from None


def _start(lab: Layout, lock: int, limits: LabLimits, owner: int) -> None:
    for folder in (lab.state, lab.logs, lab.state / "tmp"):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    _boot_file(lab).write_text(boot_id())
    set_limits(lab, limits)
    command = init_command(
        *([f"--owner={owner}"] if owner else []),
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
    _wait_for_init(Machine(lab.control), process, log)


def _wait_for_init(machine: Machine, process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + INIT_SECONDS
    while not machine.alive():
        if process.poll() is not None:
            raise LabError(f"the lab's init did not start: {last_line_with_path(log)}")
        if time.monotonic() > deadline:
            process.kill()
            process.wait()
            raise LabError(
                f"the lab's init did not answer within {INIT_SECONDS:.0f} s: "
                f"{last_line_with_path(log)}"
            )
        time.sleep(0.02)


def remove(lab: Layout) -> None:
    """Stop a lab and remove everything of it. Raises LabError that names what is left."""
    _stop(lab)
    kill(lab)
    remove_cgroups(lab)
    _boot_file(lab).unlink(missing_ok=True)
    _remove_files(lab.state)
    shutil.rmtree(lab.state, ignore_errors=True)
    left = leftovers(lab)
    if left:
        raise LabError(f"could not remove all of the lab {lab.name!r}: {', '.join(left)}")


def _remove_files(folder: Path) -> None:
    """Remove the files of a folder, several at a time; `leftovers` reports what stays.

    Each unlink may wait for the file system's journal, which other labs' databases keep busy: one
    after the other, a lab's files have taken more than a minute.
    """

    def unlink(file: Path) -> None:
        with contextlib.suppress(OSError):
            file.unlink()

    files = (Path(place, name) for place, _, names in os.walk(folder) for name in names)
    with ThreadPoolExecutor(REMOVERS) as pool:
        pool.map(unlink, files)


def remove_cgroups(lab: Layout, part: str = "") -> None:
    """Remove the cgroups of the lab, or of one node, whose processes have ended."""
    isolation.remove_cgroups(f"{lab.cgroup}/{part}")  # `leftovers` reports what stays


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


def kill(lab: Layout) -> None:
    """Kill all processes of a lab, its init included; `leftovers` reports those that stay."""
    deadline = time.monotonic() + KILL_SECONDS
    while (pids := set(processes(lab))) and time.monotonic() < deadline:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.05)


def processes(lab: Layout) -> dict[int, str]:
    """Return the lab's processes: process id to the part that it belongs to (`lab` or a node)."""
    found: dict[int, str] = {}
    for folder in isolation.cgroups(lab.cgroup):
        with contextlib.suppress(OSError):  # the cgroup was removed meanwhile
            for pid in (folder / "cgroup.procs").read_text().split():
                part = folder.parts[folder.parts.index(lab.cgroup) + 1 :]
                found[int(pid)] = part[0] if part else "lab"
    return found


def leftovers(lab: Layout) -> list[str]:
    """Return what is left of the lab on the machine, found by its name."""
    return [
        *(f"process {pid}" for pid in processes(lab)),
        *(f"cgroup {folder}" for folder in isolation.cgroups(lab.cgroup)),
        *(f"mount {p}" for p, _ in isolation.mount_points() if Path(p).is_relative_to(lab.state)),
        *([f"folder {lab.state}"] if lab.state.exists() else []),
    ]


def memory(lab: Layout) -> dict[str, float]:
    """Return the memory of each part of the lab in MiB, as PSS: shared pages count once."""
    sums: dict[str, float] = {}
    for pid, part in processes(lab).items():
        with contextlib.suppress(OSError):  # ended meanwhile
            text = Path(f"/proc/{pid}/smaps_rollup").read_text()
            kib = next(line.split()[1] for line in text.splitlines() if line.startswith("Pss:"))
            sums[part] = sums.get(part, 0) + int(kib) / 1024
    return sums
