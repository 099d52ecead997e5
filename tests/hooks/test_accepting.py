import asyncio
import contextlib
import os
import signal
import socket
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import httpx2
import pytest
import uvicorn

from cds.hooks.accepting import Share, SharingServer, shares
from cds.hooks.connections import BoundedConnection
from tests.hooks.test_workers import BODY, CALL, Serving


def test_a_share_is_above_others_where_one_has_fewer() -> None:
    """With as many as the others it takes its turn; what ended counts no more."""
    one, other = shares(2)
    one.note(3)
    other.note(2)

    assert (one.is_above_others(), other.is_above_others()) == (True, False)
    one.note(2)
    assert (one.is_above_others(), other.is_above_others()) == (False, False)


def test_a_share_leaves_one_to_another_that_then_has_no_more() -> None:
    """With two more than another it has too many; with one more to move it would change nothing."""
    one, other = shares(2)
    other.note(2)

    assert [one.has_too_many(connections) for connections in (2, 3, 4)] == [False, False, True]
    assert one.counts[one.own] == 4


def test_a_share_leaves_nothing_to_one_that_does_not_answer() -> None:
    """One that has just been begun, or gave no sign of life for a second, has no part in this."""
    one, other = shares(2)
    other.begin()
    assert not one.has_too_many(8)
    one.note(8)
    assert not one.is_above_others()

    other.note(0)
    assert one.has_too_many(8)
    other.signs[other.own] -= 1
    assert not one.has_too_many(8)


async def say_hello(scope: Any, receive: Any, send: Callable[[Any], Awaitable[None]]) -> None:
    """Answer everything in the same way."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"hello"})


async def answered(share: Share, connections: int) -> list[int]:
    """Serve with this share of several, and call over so many connections that stay open."""
    listening = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(say_hello, lifespan="off", log_config=None, ws="none")
    server = SharingServer(config, share)
    serving = asyncio.create_task(server._serve([listening]))
    url = f"http://127.0.0.1:{listening.getsockname()[1]}"
    clients = [httpx2.AsyncClient(timeout=30) for _ in range(connections)]
    try:
        statuses = [(await client.get(url)).status_code for client in clients]
        open_connections = share.counts[share.own]
        # Noted at the latest with the next sign of life.
        while open_connections != connections:
            await asyncio.sleep(0.01)
            open_connections = share.counts[share.own]
    finally:
        for client in clients:
            await client.aclose()
        server.should_exit = True
        await serving
    return statuses


def test_a_worker_that_others_leave_alone_answers_all_the_same() -> None:
    """One that has stopped keeps nobody waiting, though it has the fewest connections."""
    own, stopped = shares(2)

    assert asyncio.run(answered(own, 4)) == [200] * 4
    assert stopped.counts[1] == 0


def test_a_server_that_has_ended_accepts_no_more() -> None:
    """Its socket is closed, and the end waits for what was accepted."""
    (own,) = shares(1)

    async def run() -> None:
        listening = socket.create_server(("127.0.0.1", 0))
        config = uvicorn.Config(say_hello, lifespan="off", log_config=None, ws="none")
        server = SharingServer(config, own)
        serving = asyncio.create_task(server._serve([listening]))
        while not server.started:
            await asyncio.sleep(0.01)
        address = listening.getsockname()
        server.should_exit = True
        await serving
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(address)

    asyncio.run(run())


def test_a_call_that_waits_to_be_accepted_is_answered_before_the_end() -> None:
    """Its connection is open for the client already, and closing the socket would reset it."""
    (own,) = shares(1)

    async def run() -> bytes:
        listening = socket.create_server(("127.0.0.1", 0))
        config = uvicorn.Config(
            say_hello, http=BoundedConnection, lifespan="off", log_config=None, ws="none"
        )
        server = SharingServer(config, own)
        serving = asyncio.create_task(server._serve([listening]))
        while not server.started:
            await asyncio.sleep(0.01)
        loop = asyncio.get_running_loop()
        with socket.create_connection(listening.getsockname()) as client:
            client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            client.setblocking(False)
            server.should_exit = True
            # Nothing is read, and nobody let in, before this is called.
            ending = asyncio.create_task(server.shutdown([listening]))
            given = b""
            while piece := await loop.sock_recv(client, 1000):
                given += piece
        await ending
        await serving
        return given

    answered = asyncio.run(run())
    assert answered.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"hello" in answered


class Calling:
    """Eight clients that go on calling a service, each over a connection that it keeps."""

    def __init__(self, serving: Serving) -> None:
        self._serving = serving
        self._clients = [httpx2.Client(timeout=30) for _ in range(8)]

    def answering(self) -> Counter[int]:
        """Which processes answer, once each client has called, and how many of the calls."""
        decisions = [
            client.post(self._serving.url + CALL, content=BODY).headers["X-Decision-Id"]
            for client in self._clients
        ]
        return Counter(self._serving.line_of(decision)["process"] for decision in decisions)

    def begin_anew(self) -> None:
        """Call once with each, where some have lost their connection."""
        for client in self._clients:
            with contextlib.suppress(httpx2.TransportError):
                client.post(self._serving.url + CALL, content=BODY)

    def until_even(self) -> Counter[int]:
        """Go on calling until no process has more than five of the eight, 30 seconds at most."""
        deadline = time.monotonic() + 30
        while max((answering := self.answering()).values()) > 5:
            assert time.monotonic() < deadline, f"not shared out evenly in 30 s: {answering}"
        return answering

    def close(self) -> None:
        """Close all connections."""
        for client in self._clients:
            client.close()


def test_connections_are_shared_out_evenly() -> None:
    """Of eight that stay open, neither of two workers soon has more than five, and so it stays."""
    serving = Serving()
    try:
        calling = Calling(serving)
        soon, later = calling.until_even(), calling.answering()
        calling.close()
    finally:
        serving.stop()

    assert len(soon) == 2
    assert max(later.values()) <= 5


def test_after_a_death_connections_are_shared_out_again() -> None:
    """Of eight clients that go on calling, the worker that took the place soon answers its part."""
    serving = Serving()
    try:
        calling = Calling(serving)
        victim = min(calling.until_even())
        os.kill(victim, signal.SIGKILL)
        serving.wait_for("worker_died")
        calling.begin_anew()
        after = calling.until_even()
        calling.close()
    finally:
        serving.stop()

    assert victim not in after
    assert len(after) == 2
