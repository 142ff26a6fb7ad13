"""The caller's end of a forwarded terminal, for `shell` and `exec` on a VM node.

`pseudo_terminal` is the other end, apart because an init's client need not import asyncio.
Standard library only.
"""

import os
import select
import socket
import sys
import termios
import tty
from collections.abc import Generator
from contextlib import contextmanager
from typing import Final

CHUNK: Final = 1 << 16


def size() -> tuple[int, int]:
    """Return the rows and columns of this process's terminal."""
    columns, rows = os.get_terminal_size(sys.stdin.fileno())
    return rows, columns


def forward(connection: socket.socket) -> None:
    """Copy between this process's terminal, in raw mode, and a connection until it is closed."""
    with _raw(sys.stdin.fileno()):
        while True:
            readable, _, _ = select.select([sys.stdin, connection], [], [])
            if connection in readable:
                data = connection.recv(CHUNK)
                if not data:
                    return
                os.write(sys.stdout.fileno(), data)
            if sys.stdin in readable:
                connection.sendall(os.read(sys.stdin.fileno(), CHUNK))


@contextmanager
def _raw(descriptor: int) -> Generator[None]:
    before = termios.tcgetattr(descriptor)
    tty.setraw(descriptor)
    try:
        yield
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)
