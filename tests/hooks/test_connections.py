import asyncio
import contextlib
import itertools
import json
import socket
import time
from collections.abc import Awaitable, Callable
from typing import Any, cast

import pytest
import uvicorn
from structlog.testing import LogCapture

from cds.hooks import connections
from cds.hooks.connections import BoundedConnection, TellsOfConnections
from tests.hooks.conformance import check_conversation

Conversation = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Echo:
    """An application that answers each request with its body, and notes what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, bytes]] = []
        self.headers: list[tuple[bytes, bytes]] = []
        self.left: list[str] = []
        self.ended: list[str] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer a request: under /early before its body, under /large with very much."""
        body, path = b"", scope["path"]
        message: dict[str, Any] = {"more_body": path != "/early"}
        while message.get("more_body"):
            message = await receive()
            if message["type"] == "http.disconnect":
                self.left.append(path)
                return
            body += message["body"]
        self.asked.append((scope["method"], path, body))
        self.headers = scope["headers"]
        body = body or b"yes" if path != "/large" else bytes(50_000_000)
        length = [(b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": 200, "headers": length})
        await send({"type": "http.response.body", "body": body})


def talk(*conversations: Conversation) -> Echo:
    """Let clients talk to a server with this protocol, each over a connection of its own.

    They begin in order, each a moment after the one before it.
    """
    echo = Echo()
    config = uvicorn.Config(
        echo, http=BoundedConnection, lifespan="off", log_level="critical", timeout_keep_alive=60
    )

    async def run() -> None:
        config.load()
        state = uvicorn.server.ServerState()
        loop = asyncio.get_running_loop()
        server = await loop.create_server(
            lambda: BoundedConnection(config, state, {}, loop, echo.ended.append), "127.0.0.1", 0
        )

        async def converse(number: int, conversation: Conversation) -> None:
            await asyncio.sleep(0.1 * number)
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            await asyncio.wait_for(conversation(reader, writer), 30)
            writer.close()

        async with server:
            await asyncio.gather(*itertools.starmap(converse, enumerate(conversations)))
            while state.connections:
                await asyncio.sleep(0.01)

    with asyncio.Runner(loop_factory=config.get_loop_factory()) as runner:
        runner.run(run())
    return echo


async def answered(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    """Read one answer: its head and its body."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(head.partition(b"content-length: ")[2].split(b"\r\n")[0])
    return head, await reader.readexactly(length)


def refusal(received: bytes) -> tuple[bytes, str]:
    """Return status line and sentence of a refusal, after which the connection is closed."""
    check_conversation(b"", received)
    head, _, body = received.partition(b"\r\n\r\n")
    assert b"connection: close" in head
    return head.split(b"\r\n")[0], json.loads(body)["issue"][0]["diagnostics"]


def ok(length: int, *, last: bool = False) -> bytes:
    """Return the head of an answer, which may be the last one of a connection."""
    close = b"connection: close\r\n" if last else b""
    return b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n%s\r\n" % (length, close)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for the head of a request only for a moment."""
    monkeypatch.setattr(BoundedConnection, "_head_seconds", 0.05)


@pytest.mark.parametrize("begun", [b"", b"POST / HTTP/1.1\r\nHost: x\r\nX-Slow: "])
def test_a_head_that_does_not_arrive_ends_the_connection(impatient: None, begun: bytes) -> None:
    """A client that says nothing, or stops in the middle of a header, gets 408."""

    async def conversation(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(begun)
        line, said = refusal(await reader.read())
        assert line == b"HTTP/1.1 408 Request Timeout"
        assert "within 0.05 seconds" in said

    assert talk(conversation).ended == ["slow-head"]


def test_a_further_head_on_the_same_connection_is_waited_for_alike(impatient: None) -> None:
    """The time begins with its first byte, not while the connection is idle."""

    async def conversation(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert await answered(reader) == (ok(3), b"yes")
        await asyncio.sleep(0.2)  # longer than a head may take
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert await answered(reader) == (ok(3), b"yes")
        writer.write(b"GET / HTTP/1.1\r\n")
        line, _ = refusal(await reader.read())
        assert line == b"HTTP/1.1 408 Request Timeout"

    assert talk(conversation).ended == ["slow-head"]


def test_a_body_may_take_longer_than_a_head(impatient: None) -> None:
    """How long a body takes is for the application to bound."""

    async def conversation(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\na")
        await asyncio.sleep(0.2)  # longer than a head may take
        writer.write(b"b")
        assert (await answered(reader))[1] == b"ab"

    assert talk(conversation).ended == []


@pytest.mark.parametrize("name", [b"X-A: ", b"X: b\r\n"])
def test_a_head_without_end_is_refused(monkeypatch: pytest.MonkeyPatch, name: bytes) -> None:
    """One header or many: past the bound the client gets 431."""
    monkeypatch.setattr(connections, "HEAD_BYTES", 1000)

    async def conversation(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"GET / HTTP/1.1\r\n" + name * 400)
        line, said = refusal(await reader.read())
        assert line == b"HTTP/1.1 431 Request Header Fields Too Large"
        assert "more than 1000 bytes" in said

    assert talk(conversation).ended == ["large-head"]


def test_what_is_not_http_is_refused_in_the_same_form() -> None:
    """Also this refusal is an OperationOutcome."""

    async def conversation(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"\x16\x03\x01 this is TLS\r\n\r\n")
        line, said = refusal(await reader.read())
        assert line == b"HTTP/1.1 400 Bad Request"
        assert "HTTP/1.1" in said

    assert talk(conversation).ended == ["malformed"]


HEAD = b"POST /first HTTP/1.1\r\nHost: x\r\n"
SECOND = b"POST /second HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"


def test_headers_are_counted() -> None:
    """A hundred are read, and with one more the whole request is refused."""

    async def conversation(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n" + b"A: b\r\n" * 99 + b"\r\n")
        assert await answered(reader) == (ok(3), b"yes")
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n" + b"A: b\r\n" * 100 + b"\r\n")
        line, said = refusal(await reader.read())
        assert line == b"HTTP/1.1 431 Request Header Fields Too Large"
        assert "or 100 headers" in said

    assert len(talk(conversation).asked) == 1


def test_a_head_that_arrives_at_once_is_bounded_too() -> None:
    """Also where the parser has it whole before anything could be counted."""

    async def conversation(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nA: " + b"a" * 70_000)
        writer.write(b"\r\n\r\n")
        line, _ = refusal(await reader.read())
        assert line == b"HTTP/1.1 431 Request Header Fields Too Large"

    assert talk(conversation).asked == []


def test_trailers_are_read_and_not_used() -> None:
    """What follows the last chunk changes nothing of the request, and the next one is read."""

    async def conversation(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(CHUNKED + b"2\r\nab\r\n0\r\nAuthorization: Bearer x\r\n\r\n")
        assert await answered(reader) == (ok(2), b"ab")
        writer.write(SECOND)
        assert await answered(reader) == (ok(3), b"yes")

    echo = talk(conversation)
    assert echo.asked == [("POST", "/first", b"ab"), ("POST", "/second", b"")]
    assert b"authorization" not in dict(echo.headers)


@pytest.mark.parametrize(
    ("endless", "times"),
    [
        (b"0\r\n" + b"A: b\r\n" * 200, 1),  # many trailers
        (b"0\r\nA: " + b"b" * 1000, 200),  # one that never ends
        (b"0\r\n" + b"A" * 1000, 200),  # whose name never ends
        (b"1;" + b"a" * 1000, 200),  # an extension of a chunk
        (b"1;a=" + b"b" * 1000, 200),
    ],
)
def test_what_is_not_body_has_an_end(endless: bytes, times: int) -> None:
    """Past the bound of trailers and extensions of chunks the client gets 431, and no answer."""

    async def conversation(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(CHUNKED + b"2\r\nab\r\n" + endless)
        for _ in range(times):
            writer.write(endless.rpartition(b"\n")[2])
            await writer.drain()
        assert refusal(await reader.read())[0] == b"HTTP/1.1 431 Request Header Fields Too Large"

    echo = talk(conversation)
    assert (echo.asked, echo.left, echo.ended) == ([], ["/first"], ["large-head"])


UPGRADES = [
    b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n",
    b"Connection: keep-alive, upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n",
    b"Connection: upgrade\r\nUpgrade: TLS/1.0, other\r\n",
    b"Upgrade: h2c\r\n",
]


@pytest.mark.parametrize("upgrade", UPGRADES)
@pytest.mark.parametrize("apart", [False, True])
@pytest.mark.parametrize("chunked", [False, True])
def test_an_upgrade_is_ignored(upgrade: bytes, apart: bool, chunked: bool) -> None:
    """The request is answered with its body, however it arrives, and the next one as ever.

    A body that looks like a request is a body.
    """
    length = b"%x\r\n%s\r\n0\r\n\r\n" % (len(SECOND), SECOND)
    framing = (
        b"Transfer-Encoding: chunked\r\n" if chunked else b"Content-Length: %d\r\n" % len(SECOND)
    )

    async def conversation(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        parts = [HEAD + upgrade + framing + b"\r\n", length if chunked else SECOND]
        for part in parts if apart else [b"".join(parts)]:
            writer.write(part)
            await asyncio.sleep(0.02)
        assert await answered(reader) == (ok(len(SECOND)), SECOND)
        writer.write(b"GET /third HTTP/1.1\r\nHost: x\r\n" + upgrade + b"\r\n")
        assert await answered(reader) == (ok(3), b"yes")
        writer.write(SECOND)
        assert await answered(reader) == (ok(3), b"yes")

    assert talk(conversation).asked == [
        ("POST", "/first", SECOND),
        ("GET", "/third", b""),
        ("POST", "/second", b""),
    ]


@pytest.mark.parametrize(
    "doubtful",
    [
        HEAD + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        HEAD + b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n",
        HEAD + b"Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
        HEAD + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
        HEAD + b"Content-Length: 3, 3\r\n\r\nabc",
        HEAD + b"Content-Length: +3\r\n\r\nabc",
        HEAD + b"Content-Length : 3\r\n\r\nabc",
        HEAD + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        HEAD + b"Transfer-Encoding: identity\r\n\r\n",
        HEAD + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        HEAD.replace(b"1.1", b"1.0") + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        HEAD + b"A: b\r\n c\r\n\r\n",
        HEAD + b"A: b\r\n\tContent-Length: 3\r\n\r\nabc",
        HEAD + b"A: \0\r\n\r\n",
        HEAD + b"Host: y\r\n\r\n",
        b"POST /first HTTP/1.1\r\nContent-Length: 0\r\n\r\n",
        b"GET /first\r\n\r\n",
        b"GET /first HTTP/2.0\r\nHost: x\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /first HTTP/1.1\nHost: x\n\n",
    ],
)
def test_a_request_that_could_be_read_in_two_ways_is_refused(doubtful: bytes) -> None:
    """The client gets 400, and what follows on the connection is no request either."""

    async def conversation(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(doubtful + SECOND)
        assert refusal(await reader.read())[0] == b"HTTP/1.1 400 Bad Request"

    echo = talk(conversation)
    assert (echo.asked, echo.ended) == ([], ["malformed"])


@pytest.mark.parametrize(
    "broken", [b"-1\r\na\r\n", b"0x1\r\na\r\n", b"f" * 17 + b"\r\na\r\n", b"1\r\nab\r\n"]
)
def test_a_broken_chunk_ends_its_request(broken: bytes) -> None:
    """The application never takes a body for whole that was not."""

    async def conversation(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(CHUNKED + broken + SECOND)
        assert refusal(await reader.read())[0] == b"HTTP/1.1 400 Bad Request"

    echo = talk(conversation)
    assert (echo.asked, echo.ended) == ([], ["malformed"])


def test_a_request_sent_ahead_is_not_read() -> None:
    """The answer before it says that the connection ends, so its client knows to send it again."""

    async def conversation(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(SECOND + SECOND * 5000)
        assert await reader.read() == ok(3, last=True) + b"yes"

    echo = talk(conversation)
    assert (echo.asked, echo.ended) == ([("POST", "/second", b"")], ["sent-ahead"])


def test_who_waits_to_be_asked_for_a_body_is_asked() -> None:
    """`Expect: 100-continue` is answered where the body is wanted, and the connection goes on."""

    async def conversation(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(HEAD + b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\n")
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(b"ab")
        assert await answered(reader) == (ok(2), b"ab")
        writer.write(SECOND)
        assert await answered(reader) == (ok(3), b"yes")

    assert len(talk(conversation).asked) == 2


def test_after_an_early_answer_nothing_is_taken_for_another_request() -> None:
    """Who was not asked for the body may send it or not: the connection ends in both cases."""

    async def conversation(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = HEAD.replace(b"/first", b"/early")
        writer.write(head + b"Expect: 100-continue\r\nContent-Length: 56\r\n\r\n")
        assert await answered(reader) == (ok(3, last=True), b"yes")
        writer.write(SECOND)
        writer.write(SECOND)
        assert await reader.read() == b""

    assert talk(conversation).asked == [("POST", "/early", b"")]


def test_an_early_answer_reaches_a_client_that_is_still_sending() -> None:
    """It is not lost in a connection that is reset under a body that nobody reads."""

    async def conversation(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = HEAD.replace(b"/first", b"/early")
        writer.write(head + b"Content-Length: 20000000\r\n\r\n")
        for _ in range(200):
            writer.write(bytes(100_000))
            await writer.drain()
        assert await reader.read() == ok(3, last=True) + b"yes"

    assert talk(conversation).asked == [("POST", "/early", b"")]


def test_a_client_that_drips_on_after_an_early_answer_is_cut_off(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """However long its body is, and though it never closes the connection."""
    monkeypatch.setattr(BoundedConnection, "_end_seconds", 0.1)

    async def conversation(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = HEAD.replace(b"/first", b"/early")
        writer.write(head + b"Content-Length: 20000000\r\n\r\n")
        assert await answered(reader) == (ok(3, last=True), b"yes")
        with pytest.raises(ConnectionError):
            while True:
                writer.write(b"a")
                await writer.drain()
                await asyncio.sleep(0.01)

    assert talk(conversation).ended == ["not-ending"]


@pytest.mark.parametrize("last", [b"", b"Connection: close\r\n"])
def test_a_client_that_does_not_read_is_cut_off(
    monkeypatch: pytest.MonkeyPatch, last: bytes
) -> None:
    """An answer that nobody takes is not kept, whether the connection would go on or not."""
    monkeypatch.setattr(BoundedConnection, "_write_seconds", 0.1)
    monkeypatch.setattr(BoundedConnection, "_end_seconds", 0.1)

    async def conversation(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        transport = cast("asyncio.Transport", writer.transport)
        transport.pause_reading()
        writer.write(b"GET /large HTTP/1.1\r\nHost: x\r\n" + last + b"\r\n")
        await asyncio.sleep(0.5)
        transport.resume_reading()
        received = 0
        with contextlib.suppress(ConnectionError):
            while piece := await reader.read(1_000_000):
                received += len(piece)
        assert received < 50_000_000

    (reason,) = talk(conversation).ended
    assert reason in {"not-reading", "not-ending"}


def test_an_idle_connection_ends_though_its_client_sends_empty_lines(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Only a request keeps it open, and not every byte."""

    async def conversation(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert await answered(reader) == (ok(3), b"yes")
        with pytest.raises(ConnectionError):
            while True:
                writer.write(b"\r\n")
                await writer.drain()
                await asyncio.sleep(0.01)

    monkeypatch.setattr(BoundedConnection, "on_response_complete", _idle_for(0.1))
    assert talk(conversation).ended == []


def _idle_for(seconds: float) -> Callable[[BoundedConnection], None]:
    complete = BoundedConnection.on_response_complete

    def on_response_complete(self: BoundedConnection) -> None:
        self.timeout_keep_alive = seconds  # type: ignore[assignment]
        complete(self)

    return on_response_complete


def test_what_has_arrived_before_a_connection_is_given_up_is_answered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A process that was too busy to read for as long as a connection may be idle reads first."""
    monkeypatch.setattr(BoundedConnection, "on_response_complete", _idle_for(0.1))

    async def conversation(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        loop = asyncio.get_running_loop()
        ours, theirs = socket.socketpair()
        with ours, theirs, socket.create_connection(writer.get_extra_info("peername")) as client:
            client.setblocking(False)

            def be_busy() -> None:
                """Keep the process of the server busy, while the loop looks at what has arrived."""
                loop.remove_reader(ours)
                client.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
                time.sleep(0.3)

            for _ in range(3):
                loop.add_reader(ours, be_busy)
                theirs.send(b"!")
                given = b""
                while len(given) < len(ok(3)) + 3:
                    given += await loop.sock_recv(client, 1000)
                    assert given
                assert given == ok(3) + b"yes"

    assert len(talk(conversation).asked) == 3


def at_work_until(done: asyncio.Event) -> Conversation:
    """A client whose request is complete only when something is done."""

    async def at_work(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(HEAD + b"Content-Length: 2\r\n\r\na")
        await done.wait()
        writer.write(b"b")
        assert await answered(reader) == (ok(2), b"ab")

    return at_work


def test_beyond_the_most_connections_the_one_that_waits_longest_makes_room(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One that does not ask for anything gives way to one that does, and calls are left alone."""
    monkeypatch.setattr(connections, "MOST_CONNECTIONS", 2)
    done = asyncio.Event()

    async def idle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert await reader.read() == b""

    async def asking(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert await answered(reader) == (ok(3), b"yes")
        done.set()

    echo = talk(at_work_until(done), idle, asking)
    assert (len(echo.asked), echo.ended) == (2, ["made-room"])


def test_who_stays_on_after_the_last_answer_makes_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever is refused before a body is read, and keeps the connection, keeps nobody out."""
    monkeypatch.setattr(connections, "MOST_CONNECTIONS", 1)

    async def staying(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(HEAD.replace(b"/first", b"/early") + b"Content-Length: 9\r\n\r\n")
        assert await answered(reader) == (ok(3, last=True), b"yes")
        await asyncio.sleep(0.3)

    async def asking(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert await answered(reader) == (ok(3), b"yes")

    echo = talk(staying, asking)
    assert (len(echo.asked), echo.ended) == (2, ["made-room"])


def test_a_connection_is_counted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that makes room and has not read its answer made room, and is not counted again."""
    monkeypatch.setattr(connections, "MOST_CONNECTIONS", 1)
    monkeypatch.setattr(BoundedConnection, "_end_seconds", 0.1)
    unread = asyncio.Event()

    async def not_reading(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        cast("asyncio.Transport", writer.transport).pause_reading()
        writer.write(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n")
        await unread.wait()

    async def malformed(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        unread.set()
        writer.write(b"no HTTP\r\n\r\n")
        await asyncio.sleep(0.3)  # longer than it may take to end

    monkeypatch.setattr(BoundedConnection, "pause_writing", lambda _: None)  # as if none were slow
    assert talk(not_reading, malformed).ended == ["made-room", "malformed"]


def test_where_all_connections_are_at_work_another_one_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is told so with 503 and Retry-After."""
    monkeypatch.setattr(connections, "MOST_CONNECTIONS", 1)
    done = asyncio.Event()

    async def another(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        given = await reader.read()
        assert refusal(given)[0] == b"HTTP/1.1 503 Service Unavailable"
        assert b"retry-after: 1\r\n" in given
        done.set()

    echo = talk(at_work_until(done), another)
    assert (len(echo.asked), echo.ended) == (1, ["no-room"])


def test_the_log_tells_of_a_few_connections_and_the_count_of_all(log: LogCapture) -> None:
    """Five lines a second at most, the first of the next second with the number left out."""
    counted: list[str] = []
    now = 100.0
    tell = TellsOfConnections(counted.append, lambda: now)
    for _ in range(8):
        tell("malformed")
    now = 101.0
    tell("slow-head")
    tell("no-room")

    lines = [(line["event"], line["reason"], line.get("left_out")) for line in log.entries]
    assert lines == [
        *[("connection_ended", "malformed", None)] * 5,
        ("connection_ended", "slow-head", 3),
        ("connection_ended", "no-room", None),
    ]
    assert counted == ["malformed"] * 8 + ["slow-head", "no-room"]
