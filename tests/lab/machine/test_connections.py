"""An init's connections: each is served to its end, and nothing outlives it."""

import asyncio
import contextlib
import gc
import socket
import struct
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from openeni_lab.machine.connections import Connections, Stream, splice

SECONDS = 20.0
RESET = struct.pack("ii", 1, 0)  # SO_LINGER: closing sends RST (socket(7))


class Peer:
    """A server whose connections a test takes and holds."""

    def __init__(self) -> None:
        self._taken: asyncio.Queue[Stream] = asyncio.Queue()
        self.port = 0

    @contextlib.asynccontextmanager
    async def listening(self) -> AsyncGenerator["Peer"]:
        server = await asyncio.start_server(self._take, "127.0.0.1")
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()

    def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._taken.put_nowait((reader, writer))

    async def taken(self) -> Stream:
        return await asyncio.wait_for(self._taken.get(), SECONDS)


@contextlib.asynccontextmanager
async def forwarded(path: Path) -> AsyncGenerator[tuple[Connections, Stream, Stream]]:
    """Yield a forwarder's connections, and both ends of one that goes through it."""
    connections = Connections()
    async with Peer().listening() as there:

        async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await splice((reader, writer), await asyncio.open_connection("127.0.0.1", there.port))

        server = await asyncio.start_unix_server(connections.served_by(forward), path)
        client = await asyncio.open_unix_connection(path)
        far = await there.taken()
        try:
            yield connections, client, far
        finally:
            server.close()
            for _, writer in (client, far):
                writer.close()


async def no_task_is_left() -> None:
    """Return once this is the only task that the loop still has."""
    others = asyncio.all_tasks() - {asyncio.current_task()}
    await asyncio.wait_for(asyncio.gather(*others, return_exceptions=True), SECONDS)


def received(stream: Stream, size: int = 100) -> "asyncio.Future[bytes]":
    return asyncio.ensure_future(asyncio.wait_for(stream[0].read(size), SECONDS))


def test_both_ways_are_copied_until_both_have_ended(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with forwarded(tmp_path / "socket") as (_, client, far):
            client[1].write(b"question")
            client[1].write_eof()
            assert await asyncio.wait_for(far[0].read(), SECONDS) == b"question"
            far[1].write(b"answer")
            far[1].write_eof()
            assert await asyncio.wait_for(client[0].read(), SECONDS) == b"answer"
            await no_task_is_left()

    asyncio.run(scenario())


def test_when_one_end_is_lost_the_other_is_closed_although_it_is_silent(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with forwarded(tmp_path / "socket") as (_, client, far):
            far[1].get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            far[1].transport.abort()
            assert await received(client) == b""
            await no_task_is_left()

    asyncio.run(scenario())


@pytest.mark.filterwarnings("error")
def test_a_connection_whose_client_has_gone_is_served_until_the_far_end_notices(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The client goes while the far end has something to say, as when a watch is interrupted."""

    async def scenario() -> None:
        async with forwarded(tmp_path / "socket") as (_, client, far):
            client[1].close()
            await client[1].wait_closed()
            assert await received(far) == b""
            far[1].write(b"an event")
            await far[1].drain()
            gc.collect()
            far[1].write(b"another")
            await no_task_is_left()

    asyncio.run(scenario())
    assert caplog.text == ""


def test_a_task_that_nothing_else_refers_to_is_kept_until_it_ends(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        connections = Connections()
        begun, ended = asyncio.Event(), asyncio.Event()

        async def serve(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.transport.abort()
            begun.set()
            try:
                await asyncio.get_running_loop().create_future()  # only this task refers to it
            finally:
                ended.set()

        server = await asyncio.start_unix_server(connections.served_by(serve), tmp_path / "socket")
        client = await asyncio.open_unix_connection(tmp_path / "socket")
        await asyncio.wait_for(begun.wait(), SECONDS)
        assert await received(client) == b""
        gc.collect()
        assert not ended.is_set()
        server.close()
        await connections.end()
        assert ended.is_set()
        client[1].close()
        await no_task_is_left()

    asyncio.run(scenario())
    assert "pending" not in caplog.text


def test_at_the_end_every_connection_is_closed(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with forwarded(tmp_path / "socket") as (connections, client, far):
            await connections.end()
            for stream in (client, far):
                assert await received(stream) == b""
            await no_task_is_left()

    asyncio.run(scenario())
