"""The client of an init: one interface to the lab, to namespace nodes and to VM nodes.

All of them run the same init program, so the code that starts kubelet or the node agent does not
depend on the kind of machine.
"""

import base64
import contextlib
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
    """The machine is not reachable or refuses a request. The text is one line for the user."""


@dataclass(frozen=True)
class ProcessState:
    """The state of a started program. `exit_code` is None while it runs.

    `pid` is its process id inside the machine, and `last_end` its unexpected exit since it was
    started by name.
    """

    pid: int
    exit_code: int | None
    last_end: UnexpectedExit | None = None

    @classmethod
    def of(cls, facts: dict[str, Any]) -> "ProcessState":
        """Read the state from an init's answer."""
        end = facts["last_end"]
        last_end = UnexpectedExit(**end) if end else None
        return cls(facts["pid"], facts["exit_code"], last_end)

    @property
    def running(self) -> bool:
        return self.exit_code is None


@dataclass(frozen=True)
class Finished:
    """The result of a program that has exited; `code` is -n if signal n ended it."""

    code: int
    out: bytes
    err: bytes

    @property
    def text(self) -> str:
        """Return standard output as text, without the final newline."""
        return self.out.decode(errors="replace").rstrip("\n")

    @property
    def complaint(self) -> str:
        """Return the last line of standard error, or else the exit status."""
        lines = self.err.decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else f"exit status {self.code}"


@dataclass(frozen=True)
class GuestEndpoint:
    """The address of a VM's init in the lab's network, and the token that it requires."""

    host: str
    port: int
    token: str


class Machine:
    """A client of one init.

    `control` is the init's unix socket. For a VM it is the socket of the lab's init, which connects
    to `guest` from inside the lab's network. Every method raises MachineError when the machine is
    not reachable or refuses.
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
    ) -> None:
        """Start a program under `name` and append its output to `log` (a path on the machine).

        `env` is added to the machine's own environment. The call is refused while `name` runs.
        """
        self._ask(
            "start",
            name=name,
            argv=[str(word) for word in argv],
            env=dict(env or {}),
            log=str(log),
            cwd=str(cwd or "/"),
        )

    def stop(self, name: str, seconds: float = 10) -> None:
        """Stop a program: SIGTERM to its process group, SIGKILL after `seconds`.

        Does nothing if it does not run. The exit is not reported by `unexpected_exits`.
        """
        self._ask("stop", seconds + ANSWER_SECONDS, name=name, seconds=seconds)

    def list(self) -> dict[str, ProcessState]:
        """Return every program by name. One that has exited stays until its name is used again."""
        processes = self._ask("list")["processes"]
        return {name: ProcessState.of(facts) for name, facts in processes.items()}

    def unexpected_exits(self) -> tuple[UnexpectedExit, ...]:
        """Return the last unexpected exits of programs, oldest first."""
        return tuple(UnexpectedExit(**facts) for facts in self._ask("list")["ends"])

    def running(self, name: str) -> bool:
        """Return True if `name` runs, False also if the machine is not reachable."""
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
        """Run a program and wait for it; kill it and raise MachineError after `timeout` seconds."""
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
        """Run a program and return its output; raise MachineError with its last error line."""
        finished = self.run(argv, env=env, stdin=stdin, timeout=timeout)
        if finished.code:
            raise MachineError(f"{' '.join(argv)}: {finished.complaint}")
        return finished.text

    def run_on_terminal(self, argv: Sequence[str], *, env: Mapping[str, str] | None = None) -> int:
        """Run a program on this process's terminal and return its exit code."""
        rows, columns = terminal.size()
        with self._connect(ANSWER_SECONDS) as connection:
            # Unbuffered: the bytes after the answer belong to the terminal.
            with connection.makefile("rwb", buffering=0) as stream:
                self._dial(stream)
                request = {"do": "terminal", "argv": list(argv), "env": dict(env or {})}
                size = {"rows": rows, "columns": columns}
                pid = _exchange(stream, {**request, **size, **self._credentials})["pid"]
            connection.settimeout(None)
            terminal.forward(connection)
        return int(self._ask("outcome", pid=pid)["code"])

    def shutdown(self, seconds: float = 10) -> None:
        """Stop everything in reverse order of starting, then end the machine itself."""
        self._ask("shutdown", seconds + ANSWER_SECONDS, seconds=seconds)

    def alive(self) -> bool:
        """Return True if the init answers."""
        try:
            self._ask("list")
        except MachineError:
            return False
        return True

    def about(self) -> dict[str, Any]:
        """Return facts about the init; `forwarder` is its port on the machine's loopback."""
        return self._ask("about")

    def pid(self) -> int:
        """Return the init's process id in the caller's PID namespace (not for a VM)."""
        with self._connect(ANSWER_SECONDS) as connection:
            size = struct.calcsize("3i")
            credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
        return int(struct.unpack("3i", credentials)[0])

    def _ask(self, do: str, patience: float = ANSWER_SECONDS, /, **request: Any) -> dict[str, Any]:
        with self._connect(patience) as connection:
            stream = connection.makefile("rwb")
            try:
                self._dial(stream)
                return _exchange(stream, {"do": do, **request, **self._credentials})
            finally:
                with contextlib.suppress(OSError):  # what could not be sent is known by now
                    stream.close()

    @property
    def _credentials(self) -> dict[str, str]:
        return {"token": self._guest.token} if self._guest else {}

    def _dial(self, stream: Any) -> None:
        """Have the lab's init connect this stream to the guest's init, if there is one."""
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
