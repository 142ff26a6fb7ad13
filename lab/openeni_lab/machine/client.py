"""One interface to the lab, to a namespace node and to a VM node: the client of their init.

All three run the same init program, so whoever starts kubelet or the node agent does not need to
know what kind of machine it starts them on.
"""

import base64
import json
import socket
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from openeni_lab.machine import terminal
from openeni_lab.machine.exits import UnexpectedExit

ANSWER_SECONDS = 30.0  # an init answers at once unless the machine is overloaded


class MachineError(Exception):
    """The machine is not there or refused; the text is one line for the user."""


@dataclass(frozen=True)
class ProcessState:
    """A started program; `pid` is valid inside the machine, `exit_code` None while it runs.

    `restarts` counts the times its init started it again since it was started, `last_end` is the
    last time that it ended unasked since then.
    """

    pid: int
    exit_code: int | None
    restarts: int = 0
    last_end: UnexpectedExit | None = None

    @classmethod
    def of(cls, facts: dict[str, Any]) -> "ProcessState":
        """As an init tells of it."""
        end = facts["last_end"]
        last_end = UnexpectedExit(**end) if end else None
        return cls(facts["pid"], facts["exit_code"], facts["restarts"], last_end)

    @property
    def running(self) -> bool:
        return self.exit_code is None


@dataclass(frozen=True)
class Finished:
    """What a program that ran to its end left; a signal's number is negative in `code`."""

    code: int
    out: bytes
    err: bytes

    @property
    def text(self) -> str:
        """Standard output as text without the last newline."""
        return self.out.decode(errors="replace").rstrip("\n")

    @property
    def complaint(self) -> str:
        """The last line that it wrote to standard error."""
        lines = self.err.decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else f"exit status {self.code}"


@dataclass(frozen=True)
class GuestEndpoint:
    """Where the init of a VM listens, inside the lab's network namespace."""

    host: str
    port: int
    token: str


class Machine:
    """A client of one init.

    `control` is the init's unix socket; with `guest`, the socket of the lab's init, which dials the
    guest's from inside the lab's network. Every method raises MachineError when the machine is
    not there or refuses.
    """

    def __init__(self, control: Path, guest: GuestEndpoint | None = None) -> None:
        self._control = control
        self._guest = guest

    def start(
        self,
        name: str,
        argv: Sequence[str],
        *,
        log: Path,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        restart: bool = False,
    ) -> None:
        """Start a program under `name`, its output appended to `log` (a path on the machine).

        `env` is added to the machine's own environment. With `restart` the machine starts it again
        whenever it ends unasked, as a kubelet starts a container (`ends.restart_delay`). Refused
        while `name` runs; one that waits for its next start is started at once.
        """
        self._ask(
            "start",
            name=name,
            argv=[str(word) for word in argv],
            env=dict(env or {}),
            log=str(log),
            cwd=str(cwd or "/"),
            restart=restart,
        )

    def stop(self, name: str, seconds: float = 10) -> None:
        """TERM, KILL after `seconds`, both to the process group; quiet when it does not run.

        It is not started again, and this end is none of `ends`.
        """
        self._ask("stop", seconds + ANSWER_SECONDS, name=name, seconds=seconds)

    def list(self) -> dict[str, ProcessState]:
        """Everything started, ended ones included until their name is used again."""
        return {
            name: ProcessState.of(facts) for name, facts in self._ask("list")["processes"].items()
        }

    def unexpected_exits(self) -> tuple[UnexpectedExit, ...]:
        """The last ends of programs that nobody asked for, oldest first."""
        return tuple(UnexpectedExit(**facts) for facts in self._ask("list")["ends"])

    def running(self, name: str) -> bool:
        """Whether `name` runs; False when the machine is not there either."""
        try:
            process = self.list().get(name)
        except MachineError:
            return False
        return process is not None and process.running

    def run(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        stdin: bytes = b"",
        timeout: float = 60,
    ) -> Finished:
        """Run a program to its end; killed after `timeout` seconds (then a MachineError)."""
        answer = self._ask(
            "run",
            timeout + ANSWER_SECONDS,
            argv=[str(word) for word in argv],
            env=dict(env or {}),
            stdin=base64.b64encode(stdin).decode(),
            timeout=timeout,
        )
        return Finished(
            answer["code"], base64.b64decode(answer["out"]), base64.b64decode(answer["err"])
        )

    def check(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        stdin: bytes = b"",
        timeout: float = 60,
    ) -> str:
        """As `run`, returns the text; MachineError with its complaint when it fails."""
        finished = self.run(argv, env=env, stdin=stdin, timeout=timeout)
        if finished.code:
            raise MachineError(f"{' '.join(argv)}: {finished.complaint}")
        return finished.text

    def attend(self, argv: Sequence[str], *, env: Mapping[str, str] | None = None) -> int:
        """Run a program on this process's terminal; its exit code."""
        rows, columns = terminal.size()
        with self._connect(ANSWER_SECONDS) as connection:
            # Unbuffered: what follows the answer is the terminal's.
            with connection.makefile("rwb", buffering=0) as stream:
                self._dial(stream)
                request = {"do": "terminal", "argv": list(argv), "env": dict(env or {})}
                size = {"rows": rows, "columns": columns}
                pid = _exchange(stream, {**request, **size, **self._credentials})["pid"]
            connection.settimeout(None)
            terminal.attend(connection)
        return int(self._ask("outcome", pid=pid)["code"])

    def shutdown(self, seconds: float = 10) -> None:
        """Stop everything in reverse order of starting, then end the machine itself."""
        self._ask("shutdown", seconds + ANSWER_SECONDS, seconds=seconds)

    def alive(self) -> bool:
        """Whether its init answers."""
        try:
            self._ask("list")
        except MachineError:
            return False
        return True

    def about(self) -> dict[str, Any]:
        """What init says of itself: `forwarder` is its port on the machine's loopback."""
        return self._ask("about")

    def pid(self) -> int:
        """The init's process id as the caller sees it (not for a VM)."""
        with self._connect(ANSWER_SECONDS) as connection:
            size = struct.calcsize("3i")
            credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
        return int(struct.unpack("3i", credentials)[0])

    def _ask(self, do: str, patience: float = ANSWER_SECONDS, /, **request: Any) -> dict[str, Any]:
        with self._connect(patience) as connection, connection.makefile("rwb") as stream:
            self._dial(stream)
            return _exchange(stream, {"do": do, **request, **self._credentials})

    @property
    def _credentials(self) -> dict[str, str]:
        return {"token": self._guest.token} if self._guest else {}

    def _dial(self, stream: Any) -> None:
        """On to the guest, if it is one."""
        if self._guest:
            where = {"host": self._guest.host, "port": self._guest.port}
            _exchange(stream, {"do": "dial", **where})

    def _connect(self, seconds: float) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(seconds)
        try:
            connection.connect(str(self._control))
        except OSError as error:
            connection.close()
            raise MachineError(f"no machine at {self._control}: {error.strerror}") from error
        return connection


def _exchange(stream: Any, request: dict[str, Any]) -> dict[str, Any]:
    try:
        stream.write(json.dumps(request).encode() + b"\n")
        stream.flush()
        line = stream.readline()
    except OSError as error:
        raise MachineError(f"the machine did not answer {request['do']}: {error}") from error
    if not line:
        raise MachineError(f"the machine ended during {request['do']}")
    answer: dict[str, Any] = json.loads(line)
    if "error" in answer:
        raise MachineError(answer["error"])
    return answer
