"""The init of the lab and of each node: process 1 of its namespaces, which end with it.

Runs as `python -S -m openeni_lab.machine.init`, standard library only. It starts and reaps programs
for the clients of its control socket (`client`): one request and one answer per connection, each a
line of JSON. It outlives the process that started it. The lab's init also forwards a port of the
machine's loopback to the API server inside: it binds that socket before it leaves the machine's
network namespace, and a socket stays in the namespace of its creation.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import contextlib
import hmac
import json
import os
import signal
import socket
import sys
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from openeni_lab.machine import isolation, pseudo_terminal
from openeni_lab.machine.connections import Connections, splice
from openeni_lab.machine.guard import guard
from openeni_lab.machine.processes import Child, Processes
from openeni_lab.machine.supervisor import StartRequest, Supervisor

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator

LONGEST_LINE: Final = 1 << 26
DIAL_SECONDS: Final = 5
SEARCH_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

Reader = asyncio.StreamReader
Writer = asyncio.StreamWriter
Answer = dict[str, Any]


class Init:
    """Serve requests until one of them, or a signal, asks for the shutdown."""

    def __init__(self, options: argparse.Namespace, forwarder: socket.socket | None) -> None:
        environment = {"PATH": SEARCH_PATH, "HOME": "/root", "LANG": "C.UTF-8"}
        if options.tmp:
            environment["TMPDIR"] = options.tmp
        self._options = options
        self._token = Path(options.token).read_text().strip() if options.token else ""
        self._forwarder = forwarder
        self._processes = Processes(environment)
        self._supervisor = Supervisor(self._processes)
        self._connections = Connections()
        self._terminals: dict[int, Child] = {}
        self._ending = asyncio.Event()
        self._stop_seconds = 10.0
        self._do: dict[str, Callable[[Answer], Awaitable[Answer]]] = {
            "start": self._start,
            "stop": self._stop,
            "list": self._list,
            "run": self._run,
            "about": self._about,
            "outcome": self._outcome,
            "shutdown": self._shutdown,
        }

    async def serve(self) -> None:
        """Serve until SIGTERM, SIGINT or a shutdown request, then stop every program."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGCHLD, self._processes.reap)
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._ending.set)
        servers: list[asyncio.Server] = []
        if self._forwarder:
            forward = self._connections.served_by(self._forward)
            servers.append(await asyncio.start_server(forward, sock=self._forwarder))
        servers.append(await self._listen())
        _release(self._options.lock)
        await self._ending.wait()
        await self._supervisor.stop_all(self._stop_seconds)
        for server in servers:
            server.close()
        await self._connections.end()

    async def _listen(self) -> asyncio.Server:
        answer = self._connections.served_by(self._connection)
        if self._options.listen:
            host, _, port = self._options.listen.rpartition(":")
            return await asyncio.start_server(answer, host, int(port), limit=LONGEST_LINE)
        with _place_for(self._options.control) as place:
            return await asyncio.start_unix_server(answer, place, limit=LONGEST_LINE)

    async def _connection(self, reader: Reader, writer: Writer) -> None:
        try:
            request = json.loads(await reader.readline() or b"{}")
            if request.get("do") == "dial":
                await self._dial(request, reader, writer)
            elif request.get("do") == "terminal":
                await self._terminal(request, reader, writer)
            else:
                await _send(writer, await self._answer(request))
        except (OSError, ValueError):
            return  # the client went away or does not speak this protocol
        finally:
            writer.close()

    def _knows_token(self, request: Answer) -> bool:
        return hmac.compare_digest(self._token, request.get("token", ""))

    async def _answer(self, request: Answer) -> Answer:
        if not self._knows_token(request):
            return {"error": "wrong token"}
        do = self._do.get(request.get("do", ""))
        if do is None:
            return {"error": "unknown request"}
        try:
            return await do(request)
        except (OSError, TimeoutError) as error:
            return {"error": str(error)}

    async def _start(self, request: Answer) -> Answer:
        values = {field.name: request[field.name] for field in fields(StartRequest)}
        return {"pid": self._supervisor.start(StartRequest(**values))}

    async def _stop(self, request: Answer) -> Answer:
        await self._supervisor.stop(request["name"], request["seconds"])
        return {}

    async def _list(self, _request: Answer) -> Answer:
        return self._supervisor.facts()

    async def _run(self, request: Answer) -> Answer:
        stdin = base64.b64decode(request["stdin"])
        code, out, err = await self._processes.run(
            request["argv"], request["env"], stdin, request["timeout"]
        )
        return {
            "code": code,
            "out": base64.b64encode(out).decode(),
            "err": base64.b64encode(err).decode(),
        }

    async def _about(self, _request: Answer) -> Answer:
        port = self._forwarder.getsockname()[1] if self._forwarder else None
        return {"forwarder": port, "hostname": socket.gethostname()}

    async def _shutdown(self, request: Answer) -> Answer:
        self._stop_seconds = request["seconds"]
        self._ending.set()
        return {}

    async def _terminal(self, request: Answer, reader: Reader, writer: Writer) -> None:
        """Run a program whose terminal is this connection; `outcome` returns its exit code."""
        if not self._knows_token(request):
            await _send(writer, {"error": "wrong token"})
            return
        ours, theirs = pseudo_terminal.open_pair(request["rows"], request["columns"])
        try:
            child = self._processes.start_on(theirs, request["argv"], request["env"])
        finally:
            os.close(theirs)
        self._terminals[child.pid] = child
        await _send(writer, {"pid": child.pid})
        await pseudo_terminal.forward(ours, reader, writer)
        child.signal_group(signal.SIGHUP)

    async def _outcome(self, request: Answer) -> Answer:
        child = self._terminals.pop(request["pid"])
        await child.ended.wait()
        return {"code": child.code}

    async def _dial(self, request: Answer, reader: Reader, writer: Writer) -> None:
        """Forward this connection to a guest's init, from inside the lab's network."""
        try:
            there = await _open(request["host"], request["port"])
        except (OSError, TimeoutError):
            await _send(writer, {"error": f"no machine at {request['host']}:{request['port']}"})
            return
        await _send(writer, {})
        await splice((reader, writer), there)

    async def _forward(self, reader: Reader, writer: Writer) -> None:
        try:
            there = await _open("127.0.0.1", self._options.forward)
        except (OSError, TimeoutError):
            writer.close()  # nothing listens inside
            return
        await splice((reader, writer), there)


async def _open(host: str, port: int) -> tuple[Reader, Writer]:
    return await asyncio.wait_for(asyncio.open_connection(host, port), DIAL_SECONDS)


async def _send(writer: Writer, answer: Answer) -> None:
    writer.write(json.dumps(answer).encode() + b"\n")
    await writer.drain()


@contextlib.contextmanager
def _place_for(control: str) -> Generator[Path]:
    """Remove an earlier socket; only the owner may use the new one."""
    place = Path(control)
    place.unlink(missing_ok=True)
    before = os.umask(0o177)
    try:
        yield place
    finally:
        os.umask(before)


def _isolate(options: argparse.Namespace) -> None:
    """Complete the isolation, in the child that is process 1 of the new PID namespace."""
    isolation.die_with_parent(signal.SIGKILL)
    isolation.join_cgroup(options.cgroup)
    isolation.unshare(isolation.NEW_MOUNTS | isolation.NEW_NAME | isolation.NEW_IPC)
    isolation.own_mounts()
    socket.sethostname(options.hostname)
    if options.root:
        isolation.unshare(isolation.NEW_CGROUP)
        isolation.node_root(
            Path(options.root), options.persistent, [Path(path) for path in options.shared]
        )
    else:
        isolation.lab_file_systems()


def _release(lock: int | None) -> None:
    """Release the lock of the starting process: from now on the machine can be found."""
    if lock is not None:
        os.close(lock)


def _bind_forwarder() -> socket.socket:
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    return listener


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="openeni_lab.machine.init", description=__doc__)
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--control", help="unix socket to listen on")
    where.add_argument("--listen", help="host:port to listen on (in a virtual machine)")
    parser.add_argument("--token", help="file with the token that every request must carry")
    parser.add_argument("--tmp", help="folder for temporary files")
    parser.add_argument("--forward", type=int, help="port inside, reached on 127.0.0.1 outside")
    parser.add_argument("--cgroup", help="run in new namespaces and in this cgroup")
    parser.add_argument("--lock", type=int, help="file descriptor to close once the init listens")
    parser.add_argument("--owner", type=int, help="process id; the lab ends when that one ends")
    parser.add_argument("--hostname", default="openeni-lab")
    parser.add_argument("--root", help="node: folder for what it keeps; / is copied on write")
    parser.add_argument("--persistent", action="append", default=[], help="folder kept in --root")
    parser.add_argument("--shared", action="append", default=[], help="folder bound, read-only")
    return parser.parse_args()


def main() -> int:
    options = _options()
    owner = os.pidfd_open(options.owner) if options.owner else None
    forwarder = _bind_forwarder() if options.forward else None
    if options.cgroup:
        isolation.unshare(isolation.NEW_NETWORK | isolation.NEW_PIDS)
        child = os.fork()
        if child:
            _release(options.lock)
            return guard(child, owner, str(Path(options.cgroup).parts[0]))
        _isolate(options)
    asyncio.run(Init(options, forwarder).serve())
    return 0


if __name__ == "__main__":
    sys.exit(main())
