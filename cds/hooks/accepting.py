"""What workers of one service know of each other: connections are shared out among them evenly.

Workers accept at one socket. Connections stay open for many calls, and whoever is quicker at the
moment would get most of them: a worker with five of eight connections keeps each waiting nearly
twice as long as one with three. And where one dies, the others get all of its connections, and the
one that takes its place would have nothing to do. So a worker gives way to those with fewer when it
accepts, and ends a connection after an answer where another one could have it. Each also gives a
sign of life, by which one that hangs is noticed.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import Callable
from functools import partial
from multiprocessing import get_context
from typing import Any

import structlog
import uvicorn
from msgspec import Struct

_log = structlog.get_logger()

_GIVE_WAY_SECONDS = 0.001
_GIVE_WAY_TIMES = 5
"""So often a worker lets others go first; one that is stopped or died takes nothing."""
_LIVES_SECONDS = 1.0
"""One that gave no sign of life for so long, of which there are ten a second, takes nothing."""
_NOT_YET = 2**31 - 1
"""For the connections of one that does not accept yet: no other has more."""
_PAUSE_SECONDS = 1.0
"""After which accepting is tried again where the process may open no more files."""


class Share(Struct, frozen=True):
    """What one worker of several knows of the others, in memory that all share.

    ``counts`` are the connections that each has open, ``signs`` the time (``time.monotonic``) of
    the last sign of life of each, ``own`` the place of this one.
    """

    counts: Any
    signs: Any
    own: int

    def note(self, connections: int) -> None:
        """Let the others know how many connections this one has open, and that it lives."""
        self.counts[self.own] = connections
        self.signs[self.own] = time.monotonic()

    def begin(self) -> None:
        """Let the others know that this one has just been begun, and does not accept yet."""
        self.note(_NOT_YET)

    def last_sign(self) -> float:
        """When this one last gave a sign of life."""
        return float(self.signs[self.own])

    def is_above_others(self) -> bool:
        """Whether another one has fewer."""
        return bool(self.counts[self.own] > min(self.counts))

    def has_too_many(self, connections: int) -> bool:
        """Whether with so many it should leave one to another, which then still has no more."""
        self.note(connections)
        lately = time.monotonic() - _LIVES_SECONDS
        return any(
            count + 1 < connections and sign > lately
            for count, sign in zip(self.counts, self.signs, strict=True)
        )


def shares(workers: int) -> list[Share]:
    """The shares of so many workers that are yet to be forked."""
    memory = get_context("fork")
    counts, signs = memory.RawArray("i", workers), memory.RawArray("d", workers)
    return [Share(counts, signs, own) for own in range(workers)]


class SharingServer(uvicorn.Server):
    """uvicorn's server for one worker of several: it gives way to those with fewer connections.

    One that is alone, and so gives way to nobody, has the only share.
    """

    def __init__(self, config: uvicorn.Config, share: Share) -> None:
        super().__init__(config)
        self._share = share

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to accept at sockets that listen already."""
        await super().startup(sockets=[])
        # As uvicorn makes it, whose type says less of its arguments.
        make: Callable[..., asyncio.Protocol] = self.config.http_protocol_class
        protocol = partial(
            make,
            config=self.config,
            server_state=self.server_state,
            app_state=self.lifespan.state,
            _loop=asyncio.get_running_loop(),
        )
        for listening in sockets or []:
            # All that uvicorn does with a server of its own is to close it and to wait for its end,
            # and that this has too.
            accepting = _Accepting(listening, protocol, self._give_way, self._note)
            self.servers.append(accepting)  # type: ignore[arg-type]

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End what is served, and first begin with what the operating system has let in already."""
        for server in self.servers:
            server.close()
            await server.wait_closed()
        await super().shutdown(sockets)

    async def on_tick(self, counter: int) -> bool:
        """Let the others know of connections that ended."""
        self._note()
        return await super().on_tick(counter)

    def _note(self) -> None:
        self._share.note(len(self.server_state.connections))

    def _give_way(self) -> bool:
        self._note()
        return self._share.is_above_others()


class _Accepting:
    """Accepts at a listening socket, one connection at a time."""

    def __init__(
        self,
        listening: socket.socket,
        protocol: Callable[[], asyncio.Protocol],
        give_way: Callable[[], bool],
        note: Callable[[], None],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._listening = listening
        self._protocol = protocol
        self._give_way = give_way
        self._note = note
        self._given_way = 0
        self._beginning: set[asyncio.Task[Any]] = set()
        self._waiting: asyncio.TimerHandle | None = None
        self._closed = False
        listening.setblocking(False)
        self._resume()

    def _resume(self) -> None:
        self._waiting = None
        self._loop.add_reader(self._listening.fileno(), self._accept)

    def _pause(self, seconds: float) -> None:
        self._loop.remove_reader(self._listening.fileno())
        self._waiting = self._loop.call_later(seconds, self._resume)

    def _accept(self) -> None:
        if self._beginning:
            return  # counted once it has begun, which is in the next round of the loop
        if self._given_way < _GIVE_WAY_TIMES and self._give_way():
            self._given_way += 1
            self._pause(_GIVE_WAY_SECONDS)
            return
        self._given_way = 0
        try:
            self._take()
        except OSError as fault:
            _log.error("accept_failed", fault=fault.strerror)
            self._pause(_PAUSE_SECONDS)

    def _take(self) -> bool:
        """Begin with a connection that waits, if there is one."""
        try:
            connection, _ = self._listening.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return False  # another worker was quicker, or the client has gone
        begin = self._loop.connect_accepted_socket(self._protocol, connection)
        task = self._loop.create_task(begin)
        self._beginning.add(task)
        task.add_done_callback(self._has_begun)
        return True

    def _has_begun(self, task: asyncio.Task[Any]) -> None:
        self._beginning.discard(task)
        self._note()  # at once, or the others would leave it more than its share

    def close(self) -> None:
        """Accept no more than what waits: with its socket it would be reset, call and all."""
        if self._closed:
            return
        self._closed = True
        if self._waiting is not None:
            self._waiting.cancel()
        else:
            self._loop.remove_reader(self._listening.fileno())
        with contextlib.suppress(OSError):
            while self._take():
                pass

    async def wait_closed(self) -> None:
        """Wait until what was accepted last has begun."""
        if self._beginning:
            await asyncio.wait(self._beginning)
