"""The init's end of a lent terminal: a pseudo terminal whose other side is a connection."""

import asyncio
import fcntl
import os
import pty
import struct
import termios
from typing import Final

CHUNK: Final = 1 << 16


def open_pair(rows: int, columns: int) -> tuple[int, int]:
    """A pseudo terminal of this size: (ours, the program's)."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(ours, termios.TIOCSWINSZ, struct.pack("4H", rows, columns, 0, 0))
    return ours, theirs


async def carry(ours: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Between a connection and a pseudo terminal, until either ends; `ours` is closed."""
    loop = asyncio.get_running_loop()
    said: asyncio.Queue[bytes] = asyncio.Queue()

    def listen() -> None:
        try:
            data = os.read(ours, CHUNK)
        except OSError:  # EIO: the program has ended
            data = b""
        if not data:
            loop.remove_reader(ours)
        said.put_nowait(data)

    async def type_in() -> None:
        while data := await reader.read(CHUNK):
            os.write(ours, data)

    loop.add_reader(ours, listen)
    typing = asyncio.create_task(type_in())
    try:
        while data := await said.get():
            writer.write(data)
            await writer.drain()
    finally:
        typing.cancel()
        loop.remove_reader(ours)
        os.close(ours)
