"""Run a command on a kernel with ipvlan, whatever kernel the machine has.

The datapath's tests and benchmarks need ipvlan. If the machine's kernel has it, the command runs in
new namespaces; otherwise in a user-mode kernel whose read-only root is the machine's file system.
A third kernel is Debian's own in an emulator, for a benchmark that counts instructions. In all
cases the command sees the same files, its exit code is returned, and its processes are in a PID
namespace that ends with this process, even if this process is killed.
"""

import os
import re
import select
import shutil
import subprocess
import sys
import tempfile
import termios
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from openeni_lab.hypervisor.emulator import EmulatedKernel
from openeni_lab.hypervisor.uml import GuestKernel
from openeni_lab.machine.isolation import ending_with_caller
from openeni_lab.programs import prepared
from openeni_lab.programs.sets import EMULATOR, KERNEL

TIMED_OUT: Final = 124  # as timeout(1) returns it
INTERRUPTED: Final = 130
NO_ANSWER: Final = 125  # the guest ended without an exit code: its kernel died
_KEPT: Final = re.compile(
    r"PATH|HOME|LANG|LC_.*|TERM|PYTHON.*|PYTEST_.*|COVERAGE_.*|VIRTUAL_ENV|OPENENI_.*|TZ|CI"
)
_EXIT: Final = re.compile(rb"openeni-guest-exit (\d+)\n")


def run_in_kernel(
    argv: Sequence[str],
    env: Mapping[str, str] | None = None,
    *,
    memory_mib: int = 2048,
    seconds: float | None = None,
    own_kernel: bool | None = None,
    keep: Path | None = None,
) -> int:
    """Run `argv` on a kernel with ipvlan, with this process's folder, output and error output.

    Returns its exit code as a shell does: 128 + n for signal n, 124 after `seconds`, 130 after
    Ctrl-C, 125 if the kernel died. `env` is added to the variables that are kept. `own_kernel`
    overrides the prepared facts: whether the machine's kernel is used. Files that the command
    writes in a guest are lost, except in the folder `keep`. Raises NotPreparedError if the
    user-mode kernel was not built, GuestBootError if it cannot be booted.
    """
    wanted = {name: value for name, value in os.environ.items() if _KEPT.fullmatch(name)}
    if not sys.stdout.isatty():
        # In a guest the command always writes to a terminal: keep colours out of a file.
        wanted |= {"TERM": "dumb", "NO_COLOR": "1"}
    wanted |= env or {}
    here = prepared.read(()).machine.ipvlan if own_kernel is None else own_kernel
    try:
        if here:
            return _run_in_namespaces(argv, wanted, seconds)
        return _run_in_guest(argv, wanted, memory_mib, seconds, keep)
    except KeyboardInterrupt:  # also within Popen: the child is killed when this process ends
        return INTERRUPTED


def run_emulated(argv: Sequence[str], env: Mapping[str, str], *, seconds: float, keep: Path) -> int:
    """Run `argv` on Debian's kernel in an emulator that counts instructions, like `run_in_kernel`.

    Each of its nanoseconds is one instruction. `env` is all of its environment, and `seconds` are
    the machine's. Raises NotPreparedError if the kernel was not fetched, GuestBootError as
    `EmulatedKernel.argv`.
    """
    built = prepared.read([EMULATOR.name]).built

    def guest(folder: Path, writing: int) -> EmulatedKernel:
        kernel, initrd = built.emulated_kernel, built.emulated_initrd
        return EmulatedKernel(folder, kernel, initrd, writing, shared=keep)

    try:
        return _boot(guest, argv, env, seconds)
    except KeyboardInterrupt:
        return INTERRUPTED


def _run_in_namespaces(argv: Sequence[str], env: Mapping[str, str], seconds: float | None) -> int:
    fresh = "mount -t sysfs sys /sys && mount -t tmpfs -o mode=755 run /run && ip link set lo up"
    # The shell stays process 1: a namespace's first process ignores signals without a handler.
    inside = ["sh", "-c", f'{fresh} || exit 125; "$@"; exit $?', "sh", *argv]
    kinds = ["--mount", "--mount-proc", "--net", "--uts", "--ipc"]
    with _started([*ending_with_caller(*kinds), *inside], env) as process:
        try:
            code = process.wait(seconds)
        except subprocess.TimeoutExpired:
            return TIMED_OUT
    return code if code >= 0 else 128 - code


def _run_in_guest(
    argv: Sequence[str],
    env: Mapping[str, str],
    memory_mib: int,
    seconds: float | None,
    keep: Path | None,
) -> int:
    built = prepared.read([KERNEL.name]).built
    interactive = sys.stdin.isatty()

    def guest(folder: Path, writing: int) -> GuestKernel:
        consoles = ("con0=fd:0,fd:1" if interactive else "con0=null,fd:1", "con1=null,fd:2")
        messages = (f"con2=null,fd:{writing}", "console=tty2")  # of guest_init.sh and the kernel
        return GuestKernel(
            folder=folder,
            kernel=built.kernel,
            preload=built.kernel_preload,
            memory_mib=memory_mib,
            what="talk" if interactive else "run",
            consoles=(*consoles, *messages),
            shared=keep,
        )

    with _terminal_kept():
        return _boot(guest, argv, env, seconds, stdin=None if interactive else subprocess.DEVNULL)


def _boot(
    make: Callable[[Path, int], GuestKernel | EmulatedKernel],
    argv: Sequence[str],
    env: Mapping[str, str],
    seconds: float | None,
    *,
    stdin: int | None = subprocess.DEVNULL,
) -> int:
    """Run a command in the guest that `make` returns for its folder and the file for messages."""
    folder = Path(tempfile.mkdtemp(prefix="openeni-kernel-"))
    reading, writing = os.pipe()
    try:
        guest = make(folder, writing)
        guest.prepare(argv, env, Path.cwd())
        # Its memory is a file in /dev/shm: mount a private one without the usual size limit.
        memory = "mount -t tmpfs -o size=100% shm /dev/shm || exit 125"
        boot = [*ending_with_caller("--mount"), "sh", "-c", f'{memory}; exec "$@"', "sh"]
        with _started([*boot, *guest.argv], guest.environment, writing, stdin=stdin):
            os.close(writing)
            return _follow(reading, folder, seconds)
    finally:
        os.close(reading)
        shutil.rmtree(folder, ignore_errors=True)


def _follow(reading: int, folder: Path, seconds: float | None) -> int:
    """Read the messages of the guest and its kernel until one has the exit code."""
    deadline = None if seconds is None else time.monotonic() + seconds
    received = b""
    while True:
        left = None if deadline is None else max(0.0, deadline - time.monotonic())
        if not select.select([reading], [], [], left)[0]:
            return TIMED_OUT
        more = os.read(reading, 65536)
        if not more:
            break
        received += more
        code = _EXIT.search(received)
        if code:
            return int(code[1])
        if b"openeni-guest-started" in received:
            # It has read its command. Nothing is left behind if this process is killed now.
            shutil.rmtree(folder, ignore_errors=True)
    last = received.decode(errors="replace").strip().splitlines()[-5:]
    print(
        "openeni-lab: the guest's kernel ended:",
        *(last or ["without a message"]),
        sep="\n  ",
        file=sys.stderr,
    )
    return NO_ANSWER


@contextmanager
def _started(
    argv: Sequence[str], env: Mapping[str, str], *passed: int, stdin: int | None = None
) -> Generator[subprocess.Popen[bytes]]:
    """Run a process in a session of its own, so that Ctrl-C reaches only us; kill it at the end."""
    process = subprocess.Popen(argv, env=env, pass_fds=passed, stdin=stdin, start_new_session=True)
    try:
        yield process
    finally:
        process.kill()
        process.wait(30)


@contextmanager
def _terminal_kept() -> Generator[None]:
    """Restore the terminal's mode: a killed guest leaves it raw."""
    if not sys.stdin.isatty():
        yield
        return
    before = termios.tcgetattr(sys.stdin)
    try:
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)
