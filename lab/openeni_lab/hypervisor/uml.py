"""User-mode Linux (UML): a kernel as a process, for machines whose own kernel lacks ipvlan.

This module has the command line that boots one, the file that tells its first program
(guest_init.sh) what to run, and its management console, which hot-plugs NICs. Standard library
only: Nova's process imports it.
"""

import os
import re
import secrets
import shlex
import shutil
import socket
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

CONSOLE_SECONDS: Final = 20.0  # a busy guest answers within 1 s; a dead one never
_MAGIC: Final = 0xCAFEBABE  # the protocol is arch/um/drivers/mconsole.h
_VERSION: Final = 2
_LONGEST_COMMAND: Final = 512
_LONGEST_SOCKET: Final = 103  # sockaddr_un has 108 bytes, and our own socket's name is 4 longer
_UMID: Final = "guest"
INIT: Final = Path(__file__).with_name("guest_init.sh")


class ConsoleError(Exception):
    """The guest's kernel refused a console command or does not answer. One line."""


class GuestBootError(Exception):
    """A guest cannot be booted with these settings. One line that says why."""


@dataclass(frozen=True)
class GuestKernel:
    """One user-mode kernel, and what it is booted with.

    `folder` is on the host, for its command and its console's socket; the path must not contain
    blanks. `nics` are `vec<n>:transport=tap,...` (see `records.Nic.vector`). In an `exec` guest the
    command is process 1. A `run` guest runs it and powers off; a `talk` guest does the same with
    the first console as the command's terminal.
    """

    folder: Path
    kernel: Path
    preload: Path
    memory_mib: int = 1024
    what: Literal["exec", "run", "talk"] = "exec"
    nics: tuple[str, ...] = ()
    consoles: tuple[str, ...] = ("con0=null,fd:1",)  # its log; kernel messages too
    shared: Path | None = None  # a folder of the host that the guest may write

    @property
    def mconsole(self) -> Path:
        """Return the socket of its management console, which exists from early in the boot."""
        return self.folder / _UMID / "mconsole"

    @property
    def argv(self) -> list[str]:
        """Return the command that boots it; run it with `environment`.

        Raises GuestBootError if a path does not fit on a kernel's command line.
        """
        argv = [
            str(self.kernel),
            f"uml_dir={self.folder}",
            f"umid={_UMID}",
            f"mem={self.memory_mib}M",
            "rootfstype=hostfs",
            "ro",
            "init=/bin/sh",
            "dummy.numdummies=0",
            "ifb.numifbs=0",
            "seccomp=auto",  # ptrace where the host refuses a filter; unknown before 6.16
            *self.nics,
            "con=null",
            *self.consoles,
            "quiet",
            "--",
            str(INIT),
            str(self.folder),
            self.what,
            *([str(self.shared)] if self.shared else []),
        ]
        refuse_blanks(argv)
        if self.what == "exec" and len(str(self.mconsole)) > _LONGEST_SOCKET:
            raise GuestBootError(f"a guest's console needs a shorter path: {self.mconsole}")
        return argv

    @property
    def environment(self) -> dict[str, str]:
        """Return the environment of the process that is the kernel, not of programs in it.

        With an empty TMPDIR it keeps the guest's memory in /dev/shm if that is a tmpfs.
        """
        return {"PATH": os.defpath, "HOME": "/", "TMPDIR": "", "LD_PRELOAD": str(self.preload)}

    def prepare(self, argv: Sequence[str], env: Mapping[str, str], cwd: Path) -> None:
        """Write the guest's command, and remove the folder of an earlier boot.

        A kernel takes such a folder over only if the process id in it is dead, and in a new PID
        namespace another process usually has that id.
        """
        shutil.rmtree(self.folder / _UMID, ignore_errors=True)
        write_command(self.folder, argv, env, cwd)


def refuse_blanks(words: Sequence[str]) -> None:
    """Raise GuestBootError if a word does not fit on a kernel's command line."""
    blank = next((word for word in words if re.search(r"\s", word)), None)
    if blank:
        raise GuestBootError(f"booting a kernel needs a path without blanks: {blank!r}")


def write_command(folder: Path, argv: Sequence[str], env: Mapping[str, str], cwd: Path) -> None:
    """Write what guest_init.sh reads in the folder that it is given."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = [f"cd {shlex.quote(str(cwd))} || exit 126"]
    lines += [f"export {name}={shlex.quote(value)}" for name, value in sorted(env.items())]
    command = folder / "command"
    command.touch(mode=0o600)  # the environment may hold a password
    command.write_text("\n".join([*lines, f"exec {shlex.join(argv)}", ""]))


def console(path: Path, command: str, *, seconds: float = CONSOLE_SECONDS) -> str:
    """Send one command (`config`, `remove`, `halt`, `version`) to a guest's management console.

    Returns its answer. Raises ConsoleError when the guest refuses or does not answer, and for a NIC
    whose tap does not exist in this network namespace: the kernel would report success and create
    a tap that is on no bridge. Raises OSError when the socket does not exist.
    """
    _refuse_missing_tap(command)
    text = command.encode()
    if len(text) >= _LONGEST_COMMAND:
        raise ConsoleError(f"too long for a console command: {command}")
    own = path.with_name(f"ask-{secrets.token_hex(4)}")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as client:
        client.settimeout(seconds)
        client.bind(str(own))
        try:
            request = struct.pack("III", _MAGIC, _VERSION, len(text))
            client.sendto(request + text.ljust(_LONGEST_COMMAND, b"\0"), str(path))
            return _answer(client, command)
        except TimeoutError as error:
            raise ConsoleError(f"no answer within {seconds:.0f} s to: {command}") from error
        finally:
            own.unlink(missing_ok=True)


def _answer(client: socket.socket, command: str) -> str:
    text = b""
    while True:
        reply = client.recv(8192)
        failed, more, length = struct.unpack_from("III", reply)
        text += reply[12 : 12 + length].rstrip(b"\0")
        if not more:
            break
    answer = text.decode(errors="replace").strip()
    if failed:
        raise ConsoleError(f"{command}: {answer or 'refused'}")
    return answer


def _refuse_missing_tap(command: str) -> None:
    tap = re.search(r"^config vec\d+:.*\bifname=([^,]+)", command)
    if not tap:
        return
    try:
        socket.if_nametoindex(tap[1])
    except OSError as error:
        raise ConsoleError(f"there is no tap {tap[1]} for the NIC") from error
