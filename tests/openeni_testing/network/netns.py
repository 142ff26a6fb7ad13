"""Network namespaces as objects, with the programs and sockets in them.

Everything happens in this process: a thread that has entered the namespace opens the sockets. That
keeps a test with a dozen namespaces fast also where starting a program is slow.
"""

import ctypes
import fcntl
import itertools
import os
import socket
import struct
import subprocess
import threading
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, ParamSpec, Self, TypeVar

T = TypeVar("T")
P = ParamSpec("P")
_CLONE_NEWNET: Final = 0x40000000
_SIOCSIFFLAGS: Final = 0x8914  # linux/sockios.h
_IFF_UP: Final = 0x1  # linux/if.h
_LIBC: Final = ctypes.CDLL(None, use_errno=True)
# RTMGRP_* of linux/rtnetlink.h, both families
_LINK, _ADDRESSES, _ROUTES, _RULES = 0x1, 0x110, 0x440, 0x40080
_SECONDS: Final = 5.0  # a lost packet's; a real machine may be slow
_ECHO_SECONDS: Final = 0.5
_PROGRAM_SECONDS: Final = 60
_LONGEST: Final = 1 << 16
_LINK_LOCAL: Final = b"\xfe\x80"
_PACKET_INFO: Final = socket.CMSG_SPACE(20)  # struct in6_pktinfo


# Paths of namespaces are used again as late as possible: a runtime's never are.
_NUMBERS: Final = itertools.cycle(range(300, 1000))


class Namespace:
    """A new network namespace; it ends with `close`."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._servers: list[socket.socket] = []
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=name, initializer=_leave)
        self.thread_id = self.run(threading.get_native_id)  # as `ip link ... netns` wants it
        self._descriptor = self.run(_open_own)
        # As a runtime hands it to a plugin.
        self.path = f"/proc/{os.getpid()}/fd/{self._descriptor}"
        self.run(_set_loopback_up)
        self.sysctl("net/ipv4/ping_group_range", "0 0")
        # Duplicate address detection of a new link's own address would delay every test by 2 s.
        self.sysctl("net/ipv6/conf/default/accept_dad", "0")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def lose_path(self) -> None:
        """Have `path` lead nowhere, and all else go on."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def close(self) -> None:
        for server in self._servers:
            with suppress(OSError):  # a datagram socket has no peer to tell
                server.shutdown(socket.SHUT_RDWR)
            server.close()
        self._thread.shutdown()
        self.lose_path()

    def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call `work` in the namespace; threads and programs that it starts are in there too."""
        return self._thread.submit(work, *args, **kwargs).result()

    def program(self, *argv: str, stdin: str = "") -> str:
        """Run a program in the namespace and return its output; a failure shows its errors."""
        done = self.run(
            subprocess.run,
            argv,
            input=stdin,
            text=True,
            capture_output=True,
            timeout=_PROGRAM_SECONDS,
            check=False,
        )
        assert done.returncode == 0, f"{self.name}: {' '.join(argv)}: {done.stderr}{stdin}"
        return str(done.stdout)

    def ip(self, *commands: str) -> None:
        self.program("ip", "-batch", "-", stdin="\n".join(commands) + "\n")

    def links(self) -> set[str]:
        """Return the names of its links; a program would take fifty times as long to start."""
        return {name for _, name in self.run(socket.if_nameindex)}

    def nft(self, script: str) -> str:
        return self.program("nft", "-f", "-", stdin=script)

    def sysctl(self, path: str, value: str = "") -> str:
        """Set the sysctl if a value is given; return its current value."""
        file = Path("/proc/sys") / path
        if value:
            self.run(file.write_text, value)
        return self.run(file.read_text).strip()

    @contextmanager
    def watching(self) -> Generator[Callable[[], int]]:
        """Yield a function that counts the changes of links, addresses, routes and rules."""
        with self.run(socket.socket, socket.AF_NETLINK, socket.SOCK_RAW, 0) as monitor:
            monitor.bind((0, _LINK | _ADDRESSES | _ROUTES | _RULES))
            monitor.setblocking(False)
            yield lambda: _heard(monitor)

    def listen(self, port: int, address: str = "::") -> None:
        """Answer every connection with this namespace's name and the client's address."""
        server = self.run(_open, address, socket.SOCK_STREAM)
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind((address, port))
        server.listen(64)
        self._servers.append(server)
        threading.Thread(target=_serve, args=(server, self.name), daemon=True).start()

    def ask(self, address: str, port: int, source: str = "") -> tuple[str, str] | None:
        """Connect: the server's name and the address it saw; None if nothing answers."""
        with self.run(_open, address, socket.SOCK_STREAM) as client:
            client.settimeout(_SECONDS)
            try:
                if source:
                    client.bind((source, 0))
                client.connect((address, port))
                name, _, seen = client.recv(256).decode().partition(" ")
            except OSError:
                return None
            with suppress(OSError):
                client.recv(256)  # the end: it is acknowledged now, not in what a test does next
        return name, seen

    def echo(self, port: int) -> None:
        """Send back whatever a connection brings."""
        server = self.run(_open, "::", socket.SOCK_STREAM)
        server.bind(("::", port))
        server.listen(64)
        self._servers.append(server)
        threading.Thread(target=_serve_echoes, args=(server,), daemon=True).start()

    def answer(self, port: int) -> None:
        """Answer every datagram with this namespace's name and the client's address.

        The answer comes from the address that was asked, padded with blanks to the datagram's
        length.
        """
        server = self.run(_open, "::", socket.SOCK_DGRAM)
        server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
        server.bind(("::", port))
        self._servers.append(server)
        threading.Thread(target=_answer, args=(server, self.name), daemon=True).start()

    def ask_by_datagram(
        self, address: str, port: int, source: str = "", source_port: int = 0
    ) -> tuple[str, str] | None:
        """Send datagrams until one is answered: by `answer`, with what `ask` returns."""
        with self.run(_open, address, socket.SOCK_DGRAM) as client:
            client.settimeout(_ECHO_SECONDS)
            client.bind((source, source_port))
            client.connect((address, port))
            for _ in range(round(_SECONDS / _ECHO_SECONDS)):
                with suppress(OSError):
                    client.send(b"openeni")
                    name, _, seen = client.recv(256).decode().partition(" ")
                    return name, seen
        return None

    def send(self, address: str) -> None:
        """Send one UDP datagram that nobody needs to answer."""
        with self.run(_open, address, socket.SOCK_DGRAM) as sender:
            sender.sendto(b"openeni", (address, 9))

    def ping(self, address: str) -> bool:
        """Return True if an echo request is answered; a new bridge port may lose the first ones."""
        v6 = ":" in address
        protocol = socket.IPPROTO_ICMPV6 if v6 else socket.IPPROTO_ICMP
        with self.run(_open, address, socket.SOCK_DGRAM, protocol) as echo:
            echo.settimeout(_ECHO_SECONDS)
            for sequence in range(round(_SECONDS / _ECHO_SECONDS)):
                request = struct.pack("!BBHHH", 128 if v6 else 8, 0, 0, 0, sequence) + b"openeni"
                with suppress(OSError):
                    echo.sendto(request, (address, 0))
                    return echo.recv(256)[8:] == b"openeni"
        return False


def _open(address: str, kind: socket.SocketKind, protocol: int = 0) -> socket.socket:
    return socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, kind, protocol)


def _heard(monitor: socket.socket) -> int:
    count = 0
    while True:
        try:
            monitor.recv(65536)
        except BlockingIOError:
            return count
        count += 1


def _serve(server: socket.socket, name: str) -> None:
    while True:
        try:
            client, peer = server.accept()
        except OSError:
            return
        with client:
            client.sendall(f"{name} {peer[0].removeprefix('::ffff:')}".encode())


def _answer(server: socket.socket, name: str) -> None:
    while True:
        try:
            data, [(level, kind, asked)], _, peer = server.recvmsg(_LONGEST, _PACKET_INFO)
            answer = f"{name} {peer[0].removeprefix('::ffff:')}".encode()
            # struct in6_pktinfo: by any interface, but a link-local address is that of one
            source = asked if asked.startswith(_LINK_LOCAL) else asked[:16] + bytes(4)
            server.sendmsg([answer.ljust(len(data))], [(level, kind, source)], 0, peer)
        except (OSError, ValueError):  # a socket that was shut down has no packet's information
            return


def _serve_echoes(server: socket.socket) -> None:
    while True:
        try:
            client, _ = server.accept()
        except OSError:
            return
        threading.Thread(target=_send_back, args=(client,), daemon=True).start()


def _send_back(client: socket.socket) -> None:
    with client, suppress(OSError):  # the client has given up
        client.settimeout(_SECONDS)
        while data := client.recv(_LONGEST):
            client.sendall(data)


def _leave() -> None:
    if _LIBC.unshare(_CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "unshare")


def _open_own() -> int:
    """Return a descriptor of the thread's own namespace."""
    opened = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    try:
        return fcntl.fcntl(opened, fcntl.F_DUPFD_CLOEXEC, next(_NUMBERS))
    finally:
        os.close(opened)


def _set_loopback_up() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, struct.pack("16sh22x", b"lo", _IFF_UP))
