"""User-mode Linux: a kernel as a process, for machines whose own kernel lacks ipvlan.

Here are the words that boot one, the file that tells its first program (guest_init.sh) what to
run, and its management console, through which NICs are plugged as a hypervisor plugs them.
Standard library only: Nova's process and the guest import it.
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

CONSOLE_SECONDS: Final = 20.0  # a busy guest answers within one; an ended one never
_MAGIC: Final = 0xCAFEBABE  # the protocol is arch/um/drivers/mconsole.h
_VERSION: Final = 2
_LONGEST_COMMAND: Final = 512
_LONGEST_SOCKET: Final = 103  # of sockaddr_un's 108 bytes; the asker's own name is 4 longer
_UMID: Final = "guest"
_INIT: Final = Path(__file__).with_name("guest_init.sh")


class ConsoleError(Exception):
    """The guest's kernel refused a console command or does not answer; one line."""


class GuestBootError(Exception):
    """A guest cannot be booted like this; one line that says why."""


@dataclass(frozen=True)
class GuestKernel:
    """One user-mode kernel: what it is booted with.

    `folder` is its own on the host (its command, its console's socket) and needs a path without
    blanks. `nics` are `vec<n>:transport=tap,...` (see `nics.Nic.vector`). An `exec` guest's command
    is its process 1; a `run` guest runs it and switches itself off, a `talk` guest does so with the
    first console as its terminal.
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
        """The socket of its management console, there from the first moments of its boot."""
        return self.folder / _UMID / "mconsole"

    @property
    def argv(self) -> list[str]:
        """The command that boots it; its environment must be `environment`.

        GuestBootError if a path cannot be written on a kernel's command line.
        """
        words = [
            str(self.kernel),
            f"uml_dir={self.folder}",
            f"umid={_UMID}",
            f"mem={self.memory_mib}M",
            "rootfstype=hostfs",
            "ro",
            "init=/bin/sh",
            "dummy.numdummies=0",
            "ifb.numifbs=0",
            *self.nics,
            "con=null",
            *self.consoles,
            "quiet",
            "--",
            str(_INIT),
            str(self.folder),
            self.what,
            *([str(self.shared)] if self.shared else []),
        ]
        blank = next((word for word in words if re.search(r"\s", word)), None)
        if blank:
            raise GuestBootError(f"a path without blanks is needed to boot a kernel: {blank!r}")
        if self.what == "exec" and len(str(self.mconsole)) > _LONGEST_SOCKET:
            raise GuestBootError(f"a shorter path is needed for a guest's console: {self.mconsole}")
        return words

    @property
    def environment(self) -> dict[str, str]:
        """For the process that is the kernel, not for what runs in it.

        With an empty TMPDIR it keeps the guest's memory in /dev/shm, where that is a tmpfs.
        """
        return {"PATH": os.defpath, "HOME": "/", "TMPDIR": "", "LD_PRELOAD": str(self.preload)}

    def prepare(self, argv: Sequence[str], env: Mapping[str, str], cwd: Path) -> None:
        """Write what the guest shall run and remove what an earlier boot left.

        A kernel that finds an earlier one's folder asks whether its pid lives, and in a new PID
        namespace some other process usually has it.
        """
        shutil.rmtree(self.folder / _UMID, ignore_errors=True)
        self.folder.mkdir(parents=True, exist_ok=True)
        lines = [f"cd {shlex.quote(str(cwd))} || exit 126"]
        lines += [f"export {name}={shlex.quote(value)}" for name, value in sorted(env.items())]
        command = self.folder / "command"
        command.touch(mode=0o600)  # the environment may hold a password
        command.write_text("\n".join([*lines, f"exec {shlex.join(argv)}", ""]))


def console(path: Path, command: str, *, seconds: float = CONSOLE_SECONDS) -> str:
    """Send one command (`config`, `remove`, `halt`, `version`) to a guest's management console.

    Returns its answer. ConsoleError when it refuses, does not answer, or when a NIC is to hang on
    a tap that this network namespace does not have: the kernel would answer `ok` and make a tap of
    that name which hangs on no bridge. OSError when the guest has no such socket.
    """
    _refuse_missing_tap(command)
    text = command.encode()
    if len(text) >= _LONGEST_COMMAND:
        raise ConsoleError(f"longer than a console command may be: {command}")
    asking = path.with_name(f"ask-{secrets.token_hex(4)}")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as asker:
        asker.settimeout(seconds)
        asker.bind(str(asking))
        try:
            request = struct.pack("III", _MAGIC, _VERSION, len(text))
            asker.sendto(request + text.ljust(_LONGEST_COMMAND, b"\0"), str(path))
            return _answer(asker, command)
        except TimeoutError as error:
            raise ConsoleError(f"no answer within {seconds:.0f} s to: {command}") from error
        finally:
            asking.unlink(missing_ok=True)


def _answer(asker: socket.socket, command: str) -> str:
    text = b""
    while True:
        reply = asker.recv(8192)
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
        raise ConsoleError(f"there is no tap {tap[1]} to plug a NIC into") from error
