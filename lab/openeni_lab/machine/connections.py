"""The connections of an init: the tasks that serve them, and copying between two of them.

Standard library only, for `init`.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Connections:
    """The tasks that serve an init's connections.

    asyncio refers to a task weakly, and forgets a connection whose peer has ended: a task that goes
    on copying the other way would be collected, and what it copies from stay open.
    """

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def served_by(
        self,
        serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[Any, Any, None]],
    ) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], None]:
        """Return a server's callback, which keeps the task of each connection until it ends."""

        def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.get_running_loop().create_task(serve(reader, writer))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

        return connected

    async def end(self) -> None:
        """Cancel the tasks that still run, and wait for their end."""
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def splice(one: Stream, other: Stream) -> None:
    """Copy both ways until both streams have ended, or one of them is lost; close them."""
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(_copy(one[0], other[1]))
            group.create_task(_copy(other[0], one[1]))
    except* OSError:
        pass  # one is lost: the group has ended the other's task
    finally:
        for _, writer in (one, other):
            writer.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(1 << 16):
        writer.write(data)
        await writer.drain()
    if writer.can_write_eof():
        writer.write_eof()
