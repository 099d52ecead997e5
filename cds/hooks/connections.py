"""The HTTP protocol of the server, with bounds on all that a client does with a connection.

What comes before the application is called, and after it has answered, an application cannot bound.
uvicorn reads the lines of a request for as long, and as many, as the client sends them, and keeps a
connection for as long as its client drips bytes or does not read.

A connection carries one request at a time, and is used again only after a request that was wholly
read: where doubt is left about where a request ends, what comes next is never taken for another.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from typing import Any, Literal, cast

import httptools
import structlog
from uvicorn import Config
from uvicorn._types import (
    ASGI3Application,
    ASGIReceiveCallable,
    ASGISendCallable,
    ASGISendEvent,
    Scope,
)
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from cds.hooks.logs import Sparing
from cds.hooks.outcomes import IssueType, operation_outcome

_log = structlog.get_logger()

HEAD_BYTES = 65536
"""Most bytes of the request line and the headers; a bearer token has some thousand.

So many may also stand between two pieces of a body sent in chunks, or after the last of them.
"""
MOST_HEADERS = 100
"""Of one request, those after its body (trailers) included; they are never used."""
HEAD_SECONDS = 10.0
"""Longest time from a connection, or the first byte of a further request, to the whole head."""
WRITE_SECONDS = 30.0
"""Longest time for which a client may leave unread what it is sent."""
END_SECONDS = 5.0
"""Longest time for a client to read the last answer, and to stop sending, before it is cut off."""
LEAVE_SECONDS = 1.0
"""How long an idle connection is kept when the service stops, for what is already on its way."""
MOST_CONNECTIONS = 500
"""Open ones of one process; beyond them the one that waits longest for its client is closed."""

_A_MOMENT = 0.05
"""Time to read what has arrived already, before a connection is given up for its silence."""

MOST_LINES = 5
"""A second, in each process, that tell of connections: anyone may make as many as they like."""

Reason = Literal[
    "slow-head",
    "large-head",
    "malformed",
    "sent-ahead",
    "not-reading",
    "not-ending",
    "no-room",
    "made-room",
]
"""Why a connection is ended; docs/deployment.md says what each means."""

_PHRASES = {
    400: b"Bad Request",
    408: b"Request Timeout",
    431: b"Request Header Fields Too Large",
    503: b"Service Unavailable",
}
_REASONS: dict[int, Reason] = {
    400: "malformed",
    408: "slow-head",
    431: "large-head",
    503: "no-room",
}
_ISSUE_TYPES: dict[int, IssueType] = {408: "timeout", 503: "throttled"}
_CODING = b"transfer-encoding"
# Names of headers that are about a change of the protocol, to which this service never agrees.
_UPGRADING = (b"upgrade", b"http2-settings")


class TellsOfConnections:
    """Counts each connection that is ended by ``counted``, and tells of a few in the log.

    Nothing of what was sent is told, nor by whom.
    """

    def __init__(
        self,
        counted: Callable[[Reason], None] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._counted = counted
        self._sparing = Sparing(MOST_LINES, clock)

    def __call__(self, reason: Reason) -> None:
        """Count one, and log it or leave it out."""
        self._counted(reason)
        spared = self._sparing.take()
        if spared is not None:
            _log.info("connection_ended", reason=reason, **spared)


class BoundedConnection(HttpToolsProtocol):
    """Ends a connection whose client does not keep to the bounds.

    What it refuses, and what is not HTTP, is answered with an OperationOutcome too. ``ended`` is
    told why, of each connection that its client did not end as it should. ``has_too_many`` tells of
    how many connections are open whether one should be left to another process: it then ends after
    the answer, and its client begins another one.
    """

    _head_seconds = HEAD_SECONDS
    _write_seconds = WRITE_SECONDS
    _end_seconds = END_SECONDS
    _leave_seconds = LEAVE_SECONDS

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        ended: Callable[[Reason], None] = lambda _: None,
        has_too_many: Callable[[int], bool] = lambda _: False,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._told = ended
        self._has_too_many = has_too_many
        self._has_told = False
        self._application = self.app
        self.app = cast("ASGI3Application", self._answer)
        self._timer: asyncio.TimerHandle | None = None
        self._unread_timer: asyncio.TimerHandle | None = None
        self._waits_since: float | None = None
        """When it began to wait for a request, the rest of its head, or for its client to end."""
        self._deaf = False
        """Whether all that still arrives is thrown away."""
        self._ending = False
        self._stopping = False
        self._in_head = False
        self._in_request = False
        self._upgrading = False
        self._went_on = False
        self._loose_bytes = 0
        """That arrived since the last piece of the body, or the begin of the request."""
        self._fields = self._field_bytes = 0

    # What the loop and the server tell.

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        # uvicorn's own protocol narrows the argument in the same way.
        """Begin to wait for the first request."""
        self._socket = transport
        super().connection_made(cast("asyncio.Transport", _Gentle(transport, self)))
        self._await(self._head_seconds, self._too_slow)
        if len(self.connections) > MOST_CONNECTIONS:
            self._make_room()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait for nothing more."""
        self._deaf = True
        self._stop_waiting()
        super().connection_lost(exc)
        self._unset_keepalive_if_required()
        self.resume_writing()

    def data_received(self, data: bytes) -> None:
        """Read on, unless nothing more is expected."""
        if self._deaf:
            return
        self._went_on = False
        try:
            self._feed(data)
        except httptools.HttpParserError:
            if not self._deaf:
                self._refuse(400, "This is not an HTTP/1.1 request.")
        if self._went_on or not self._in_request:
            self._loose_bytes = 0
        else:
            self._loose_bytes += len(data)
            if self._loose_bytes > HEAD_BYTES and not self._deaf:
                self._refuse_size()

    def pause_writing(self) -> None:
        """Wait for the client to read."""
        super().pause_writing()
        if self._unread_timer is None:
            self._unread_timer = self.loop.call_later(self._write_seconds, self._cut, "not-reading")

    def resume_writing(self) -> None:
        """Wait no more for the client to read."""
        super().resume_writing()
        self._stop_waiting_to_be_read()

    def shutdown(self) -> None:
        """Let this end with what is being answered, or else with what is already on its way."""
        self._stopping = True
        if self._is_answering():
            self.cycle.keep_alive = False
        elif not self._in_head and not self._deaf:
            self._await(self._leave_seconds, self._leave)

    # What the parser tells. It stops reading at an exception.

    def on_message_begin(self) -> None:
        """Begin to wait for the rest of the head."""
        if self._is_answering():
            # Answers would pile up for a client that does not wait for them. It has to send this
            # again on another connection, as whoever sends ahead must be ready to do.
            self.cycle.keep_alive = False
            self._deaf = True
            self._tell("sent-ahead")
            raise httptools.HttpParserError
        super().on_message_begin()
        self._in_head = self._in_request = True
        self._fields = self._field_bytes = 0
        self._await(self._head_seconds, self._too_slow)

    def on_url(self, url: bytes) -> None:
        """Read a part of the address."""
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Read a header; one that comes after the body is only counted."""
        self._fields += 1
        self._count(len(name) + len(value) + len(b": \r\n"))
        if self._in_head:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Let the request be answered: its body is the application's."""
        self._in_head = False
        self._went_on = True
        self._check_head()
        if self.parser.should_upgrade():
            self._upgrading = True  # and what follows is no business of this parser
            return
        self._stop_waiting()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Read a piece of the body."""
        self._went_on = True
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Note the end of the request."""
        if self._upgrading:
            return
        self._in_request = False
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Wait for the next request."""
        super().on_response_complete()
        if not self._deaf:
            self._unset_keepalive_if_required()  # which any byte at all would put off
            seconds = self._leave_seconds if self._stopping else self.timeout_keep_alive
            self._await(seconds, self._leave)

    async def _answer(
        self, scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable
    ) -> None:
        """Let the application answer; before the request has arrived, that is its last answer.

        What still arrives could not be told from a further request by a client that waits to be
        asked for the body (``Expect: 100-continue``) and then does not send it.
        """
        cycle = self.cycle

        async def send_last(message: ASGISendEvent) -> None:
            if message["type"] == "http.response.start" and (
                cycle.more_body or self._stopping or self._has_too_many(len(self.connections))
            ):
                cycle.keep_alive = False
            await send(message)

        await self._application(scope, receive, send_last)

    def _is_answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    # Reading.

    def _feed(self, data: bytes) -> None:
        """Read, as if nobody ever asked for another protocol: that is never agreed to.

        The parser takes what follows such a head for the other protocol. So another one gets the
        same head without the question.
        """
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            rest = data[upgrade.args[0] :]
            begin = b"%s %s HTTP/%s" % (
                self.parser.get_method(),
                self.url,
                self.parser.get_http_version().encode(),
            )
            head = _without_upgrade(begin, self.headers)
            self._upgrading = False
            self.parser = httptools.HttpRequestParser(self)
            self.parser.feed_data(head + rest)

    def _count(self, size: int) -> None:
        self._field_bytes += size
        if self._fields > MOST_HEADERS or self._field_bytes > HEAD_BYTES:
            self._refuse_size()
            raise httptools.HttpParserError

    def _check_head(self) -> None:
        """Refuse what one reader could take for something else than another does."""
        version = self.parser.get_http_version()
        names = [name for name, _ in self.headers]
        coding = [value.strip().lower() for name, value in self.headers if name == _CODING]
        problem = None
        if version not in ("1.0", "1.1") or self.parser.get_method() == b"CONNECT":
            problem = "This is not an HTTP/1.1 request to a server that is no proxy."
        elif names.count(b"host") != 1 and (version == "1.1" or b"host" in names):
            problem = "The request should have one header Host."
        elif coding and (coding != [b"chunked"] or version == "1.0"):
            problem = "A body is read as it is or, in HTTP/1.1, with Transfer-Encoding: chunked."
        if problem is not None:
            self._refuse(400, problem)
            raise httptools.HttpParserError

    # Waiting.

    def _await(self, seconds: float, then: Callable[[], None]) -> None:
        self._stop_waiting()
        self._waits_since = self.loop.time()
        self._timer = self.loop.call_later(seconds, self._look_once_more, then)

    def _look_once_more(self, then: Callable[[], None]) -> None:
        """Read what has arrived meanwhile: a busy process may be later in reading than in this."""
        self._timer = self.loop.call_later(_A_MOMENT, then)

    def _stop_waiting(self) -> None:
        self._waits_since = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _stop_waiting_to_be_read(self) -> None:
        if self._unread_timer is not None:
            self._unread_timer.cancel()
            self._unread_timer = None

    def _make_room(self) -> None:
        """End the connection that waits longest, or this one where all others are at work."""
        waiting = (each for each in self.connections if isinstance(each, BoundedConnection))
        longest = min(waiting, key=lambda each: (each._waits_since is None, each._waits_since or 0))
        if longest is self:
            self._refuse(503, "The service has as many connections as it may. Call again later.")
        else:
            longest._tell("made-room")
            longest._leave()

    # Ending.

    def _too_slow(self) -> None:
        self._refuse(408, f"The request did not arrive within {self._head_seconds:g} seconds.")

    def _refuse_size(self) -> None:
        self._refuse(
            431,
            f"The head of the request has more than {HEAD_BYTES} bytes or {MOST_HEADERS} headers, "
            "what is sent between and after the pieces of its body included.",
        )

    def _refuse(self, status: Literal[400, 408, 431, 503], problem: str) -> None:
        self._tell(_REASONS[status])
        if self._is_answering():
            started = self.cycle.response_started
            self.cycle.disconnected = True
            self.cycle.message_event.set()
            if started:
                self._abort()
                return
        body = operation_outcome(_ISSUE_TYPES.get(status, "invalid"), [problem])
        self._socket.write(
            b"HTTP/1.1 %d %s\r\ncontent-type: application/json\r\ncontent-length: %d\r\n"
            b"cache-control: no-store\r\nx-content-type-options: nosniff\r\n%s"
            b"connection: close\r\n\r\n%s"
            % (
                status,
                _PHRASES[status],
                len(body),
                b"retry-after: 1\r\n" if status == 503 else b"",
                body,
            )
        )
        self.end()

    def end(self) -> None:
        """Send what is written and no more; let the client read it, and stop sending, for a while.

        A connection that is closed while its client still sends is reset, and an answer that the
        client has not read yet is lost.
        """
        if self._socket.is_closing() or self._ending:
            return
        self._ending = self._deaf = True
        self._stop_waiting()
        self._waits_since = self.loop.time()  # who stays on after an answer makes room as well
        self.flow.resume_reading()
        self._socket.write_eof()
        self._timer = self.loop.call_later(self._end_seconds, self._cut, "not-ending")

    def is_ending(self) -> bool:
        """Whether what was written is the last of this connection."""
        return self._ending

    def _leave(self) -> None:
        """Close a connection on which nothing is under way."""
        self._deaf = True
        self._stop_waiting()
        if self._socket.get_write_buffer_size():
            self._cut("not-reading")
        else:
            self._socket.close()

    def _cut(self, reason: Reason) -> None:
        self._tell(reason)
        self._abort()

    def _tell(self, reason: Reason) -> None:
        """Tell why this connection ends, once: what follows from the first reason is none."""
        if not self._has_told:
            self._has_told = True
            self._told(reason)

    def _abort(self) -> None:
        self._deaf = True
        self._stop_waiting()
        self._stop_waiting_to_be_read()
        self._socket.abort()


class _Gentle:
    """A transport that is closed as a protocol ends its connection."""

    def __init__(self, transport: asyncio.Transport, protocol: BoundedConnection) -> None:
        self._transport = transport
        self._protocol = protocol

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def close(self) -> None:
        """End the connection."""
        self._protocol.end()

    def is_closing(self) -> bool:
        """Whether it is ending, or has ended."""
        return self._protocol.is_ending() or self._transport.is_closing()


def _without_upgrade(request_line: bytes, headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """The head of a request, without what asks for another protocol."""
    lines = [request_line]
    for name, value in headers:
        if name == b"connection":
            options = [option.strip() for option in value.split(b",")]
            value = b", ".join(each for each in options if each.lower() not in _UPGRADING)
        if name not in _UPGRADING:
            lines.append(b"%s: %s" % (name, value))
    return b"\r\n".join([*lines, b"", b""])
