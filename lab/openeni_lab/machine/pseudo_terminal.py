"""The init's end of a forwarded terminal: a pseudo terminal connected to a stream."""

import asyncio
import fcntl
import os
import pty
import struct
import termios
from typing import Final

CHUNK: Final = 1 << 16


def open_pair(rows: int, columns: int) -> tuple[int, int]:
    """Open a pseudo terminal of this size; return its two ends: (ours, the program's)."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(ours, termios.TIOCSWINSZ, struct.pack("4H", rows, columns, 0, 0))
    return ours, theirs


async def forward(ours: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Copy between a stream and a pseudo terminal until either ends, then close `ours`."""
    loop = asyncio.get_running_loop()
    output: asyncio.Queue[bytes] = asyncio.Queue()

    def read_output() -> None:
        try:
            data = os.read(ours, CHUNK)
        except OSError:  # EIO: the program has ended
            data = b""
        if not data:
            loop.remove_reader(ours)
        output.put_nowait(data)

    async def write_input() -> None:
        while data := await reader.read(CHUNK):
            os.write(ours, data)

    loop.add_reader(ours, read_output)
    writing = asyncio.create_task(write_input())
    try:
        while data := await output.get():
            writer.write(data)
            await writer.drain()
    finally:
        writing.cancel()
        loop.remove_reader(ours)
        os.close(ours)
