import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import uvicorn

from cds.hooks import connections
from cds.hooks.connections import BoundedHead

Conversation = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def answer_yes(scope: Any, receive: Any, send: Any) -> None:
    """Answer every request after its body."""
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"yes"})


def talk(conversation: Conversation) -> None:
    """Let a client talk to a server with this protocol."""

    async def run() -> None:
        config = uvicorn.Config(
            answer_yes,
            http=BoundedHead,
            lifespan="off",
            log_level="critical",
            timeout_keep_alive=60,
        )
        config.load()
        state = uvicorn.server.ServerState()
        loop = asyncio.get_running_loop()
        server = await loop.create_server(
            lambda: BoundedHead(config, state, {}, loop), "127.0.0.1", 0
        )
        async with server:
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            await asyncio.wait_for(conversation(reader, writer), 30)
            writer.close()

    asyncio.run(run())


def refusal(received: bytes) -> tuple[bytes, str]:
    """Return status line and sentence of a refusal, after which the connection is closed."""
    head, _, body = received.partition(b"\r\n\r\n")
    outcome = json.loads(body)
    assert outcome["resourceType"] == "OperationOutcome"
    assert b"connection: close" in head
    return head.split(b"\r\n")[0], outcome["issue"][0]["diagnostics"]


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for the head of a request only for a moment."""
    monkeypatch.setattr(BoundedHead, "_head_seconds", 0.05)


@pytest.mark.parametrize("begun", [b"", b"POST / HTTP/1.1\r\nHost: x\r\nX-Slow: "])
def test_a_head_that_does_not_arrive_ends_the_connection(impatient: None, begun: bytes) -> None:
    """A client that says nothing, or stops in the middle of a header, gets 408."""

    async def conversation(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(begun)
        line, said = refusal(await reader.read())
        assert line == b"HTTP/1.1 408 Request Timeout"
        assert "within 0.05 seconds" in said

    talk(conversation)


def test_a_further_head_on_the_same_connection_is_waited_for_alike(impatient: None) -> None:
    """The time begins with its first byte, not while the connection is idle."""

    async def conversation(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"200 OK" in await reader.readuntil(b"yes\r\n0\r\n\r\n")
        await asyncio.sleep(0.2)  # longer than a head may take
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"200 OK" in await reader.readuntil(b"yes\r\n0\r\n\r\n")
        writer.write(b"GET / HTTP/1.1\r\n")
        line, _ = refusal(await reader.read())
        assert line == b"HTTP/1.1 408 Request Timeout"

    talk(conversation)


def test_a_body_may_take_longer_than_a_head(impatient: None) -> None:
    """How long a body takes is for the application to bound."""

    async def conversation(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\na")
        await asyncio.sleep(0.2)  # longer than a head may take
        writer.write(b"b")
        assert b"200 OK" in await reader.readuntil(b"yes\r\n0\r\n\r\n")

    talk(conversation)


@pytest.mark.parametrize("name", [b"X-A: ", b"X: b\r\n"])
def test_a_head_without_end_is_refused(monkeypatch: pytest.MonkeyPatch, name: bytes) -> None:
    """One header or many: past the bound the client gets 431."""
    monkeypatch.setattr(connections, "HEAD_BYTES", 1000)

    async def conversation(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"GET / HTTP/1.1\r\n" + name * 400)
        line, said = refusal(await reader.read())
        assert line == b"HTTP/1.1 431 Request Header Fields Too Large"
        assert "more than 1000 bytes" in said

    talk(conversation)


def test_what_is_not_http_is_refused_in_the_same_form() -> None:
    """Also this refusal is an OperationOutcome."""

    async def conversation(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"\x16\x03\x01 this is TLS\r\n\r\n")
        line, said = refusal(await reader.read())
        assert line == b"HTTP/1.1 400 Bad Request"
        assert "HTTP/1.1" in said

    talk(conversation)
