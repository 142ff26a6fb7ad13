"""Port ids of this process's netlink sockets, by which it knows what it has changed itself.

Each has a prefix from 0x4000 to 0x7FFF, and 16 random bits. netlink_autobind() begins at the
process's id, which another process in a container may have, too. Binding one takes no capability,
and the kernel shows everybody those in use, so somebody may have bound all with a prefix that the
agent has used: then it takes another one.
"""

import errno
import secrets
import socket
import threading
from typing import Final

_ATTEMPTS: Final = 8


class _Prefixes:
    """Those that this process has drawn; any thread may use it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.drawn: frozenset[int] = frozenset()
        self.draw()

    def draw(self) -> None:
        with self._lock:
            self.current = 0x4000 | secrets.randbelow(0x4000)
            self.drawn |= {self.current}


_PREFIXES: Final = _Prefixes()


def is_own_port(port: int) -> bool:
    """Return True for the port id (nlmsg_pid) of a socket of this process.

    The kernel repeats it in the notifications of what a request has changed.
    """
    return port >> 16 in _PREFIXES.drawn


def bind(unbound: socket.socket) -> None:
    """Give a socket a port id that is free. Raises OSError."""
    for attempt in range(_ATTEMPTS):
        try:
            unbound.bind((_PREFIXES.current << 16 | secrets.randbits(16), 0))
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            if attempt % 2:  # once may be by chance
                _PREFIXES.draw()
        else:
            return
    raise OSError(errno.EADDRINUSE, "all port ids that were tried are in use")
