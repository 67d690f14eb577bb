"""TCP links that are slow, late, silent or broken, between processes of this machine.

Each link listens at an address of its own and leads to a real one; who connects there can be slowed
down, delayed, cut off without a word, and thrown out, at any moment and from any thread:

    with FaultyLinks() as links:
        link = links.to("tcp://127.0.0.1:5550")
        link.slow(100_000)      # bytes a second, in each direction
        link.delay(0.1)         # seconds, in each direction
        link.cut()              # nothing passes, and nobody is told
        link.heal()
        link.reset()            # all connections break

Nodes talk over links if their overlay files name `link.address` and `--address` the real ones.
"""

import asyncio
import math
import socket
import struct
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Final, Self, TypeVar

READ_BYTES: Final = 16_384
"""Read at once: a slow link passes 16 KiB in a sixth of a second, at 100 KB/s."""

BUFFER_BYTES: Final = 65_536
"""What the system may hold for a link at either side, about as much as routers do."""

IN_FLIGHT_MAX: Final = 1024
"""Pieces of up to `READ_BYTES` that are on their way on a link with a delay."""

RESET: Final = struct.pack("ii", 1, 0)
"""For `SO_LINGER`: closing throws away what is left, and tells the other end so."""

Result = TypeVar("Result")


@dataclass(eq=False)
class _Line:
    """One direction of all connections of a link, which share its rate."""

    rate: float = math.inf
    delay_s: float = 0.0
    free_s: float = 0.0
    """When the next byte may leave."""

    def leaves_s(self, size: int, now: float) -> float:
        """When so many bytes have left that are there now."""
        self.free_s = max(self.free_s, now) + size / self.rate
        return self.free_s


@dataclass(eq=False)
class Link:
    """What is between those who connect and one address. Its methods may be called from any thread
    and take effect at once; what has entered before a cut still comes after it."""

    address: str
    """Where to connect, `tcp://127.0.0.1:PORT`."""
    _target: tuple[str, int]
    _loop: asyncio.AbstractEventLoop
    _there: _Line = field(default_factory=_Line)
    _back: _Line = field(default_factory=_Line)
    _passes: asyncio.Event = field(default_factory=asyncio.Event)
    _tasks: set["asyncio.Task[None]"] = field(default_factory=set)
    _ends: set[asyncio.StreamWriter] = field(default_factory=set)

    def slow(self, bytes_per_s: float) -> None:
        """So many bytes a second pass in each direction, all connections together."""
        self._do(lambda: self._set("rate", bytes_per_s))

    def delay(self, seconds: float) -> None:
        """Everything takes so much longer, in each direction."""
        self._do(lambda: self._set("delay_s", seconds))

    def cut(self) -> None:
        """Nothing passes, and nobody is told: connections stand, new ones are taken."""
        self._do(self._passes.clear)

    def heal(self) -> None:
        """Everything passes again."""
        self._do(self._passes.set)

    def reset(self) -> None:
        """All connections break, and both ends are told."""
        self._do(self._break)

    def _do(self, action: Any) -> None:
        done = threading.Event()

        def act() -> None:
            action()
            done.set()

        self._loop.call_soon_threadsafe(act)
        done.wait()

    def _set(self, name: str, value: float) -> None:
        for line in (self._there, self._back):
            setattr(line, name, value)

    def _break(self) -> None:
        for end in self._ends:
            raw = end.get_extra_info("socket")
            if raw is not None:
                with suppress(OSError):
                    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            end.transport.abort()
        for task in self._tasks:
            task.cancel()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, from its making to its end."""
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        mine = {writer}
        self._ends.add(writer)
        try:
            await self._passes.wait()
            there = await asyncio.open_connection(*self._target, limit=READ_BYTES)
            mine.add(there[1])
            self._ends.add(there[1])
            _bound_buffers(there[1])
            async with asyncio.TaskGroup() as group:
                group.create_task(self._carry(reader, there[1], self._there))
                group.create_task(self._carry(there[0], writer, self._back))
        except* (OSError, asyncio.CancelledError):
            pass  # either end is gone, or the link is
        finally:
            for end in mine:
                end.close()
            self._ends -= mine
            self._tasks.discard(task)

    async def _carry(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, line: _Line
    ) -> None:
        """One direction, until its source ends."""
        on_the_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(IN_FLIGHT_MAX)
        delivering = asyncio.create_task(self._deliver(on_the_way, writer))
        try:
            while data := await reader.read(READ_BYTES):
                await self._passes.wait()
                leaves_s = line.leaves_s(len(data), self._loop.time())
                await asyncio.sleep(leaves_s - self._loop.time())
                await on_the_way.put((leaves_s + line.delay_s, data))
            await on_the_way.join()
            await self._passes.wait()
            writer.write_eof()  # the other direction may go on
        finally:
            delivering.cancel()

    async def _deliver(
        self, on_the_way: "asyncio.Queue[tuple[float, bytes]]", writer: asyncio.StreamWriter
    ) -> None:
        while True:
            comes_s, data = await on_the_way.get()
            await asyncio.sleep(comes_s - self._loop.time())
            await self._passes.wait()
            if not writer.is_closing():  # else it is gone, and the other direction tells
                writer.write(data)
                with suppress(OSError):
                    await writer.drain()
            on_the_way.task_done()


class FaultyLinks:
    """All links of a test, in a thread of their own. Close it, or use it in a `with`."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._links: list[Link] = []
        self._servers: list[asyncio.Server] = []
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()

    def to(self, address: str) -> Link:
        """A new link to `tcp://HOST:PORT`, where nobody has to listen yet."""
        return self._run(self._listen(address))

    def close(self) -> None:
        """Breaks and forgets all links."""
        self._run(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _run(self, work: Coroutine[Any, Any, Result]) -> Result:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    async def _listen(self, address: str) -> Link:
        host, port = address.removeprefix("tcp://").rsplit(":", 1)
        listening = socket.create_server(("127.0.0.1", 0))
        for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):  # what is accepted inherits them
            listening.setsockopt(socket.SOL_SOCKET, option, BUFFER_BYTES)
        link = Link(f"tcp://127.0.0.1:{listening.getsockname()[1]}", (host, int(port)), self._loop)
        link._passes.set()
        server = await asyncio.start_server(link._serve, sock=listening, limit=READ_BYTES)
        self._links.append(link)
        self._servers.append(server)
        return link

    async def _end(self) -> None:
        for server in self._servers:
            server.close()
        tasks = [task for link in self._links for task in link._tasks]
        for link in self._links:
            link._break()
        await asyncio.gather(*tasks, return_exceptions=True)


@contextmanager
def parted(*links: Link) -> Iterator[None]:
    """These links are cut for a while."""
    for link in links:
        link.cut()
    try:
        yield
    finally:
        for link in links:
            link.heal()


def _bound_buffers(writer: asyncio.StreamWriter) -> None:
    raw = writer.get_extra_info("socket")
    for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
        raw.setsockopt(socket.SOL_SOCKET, option, BUFFER_BYTES)
