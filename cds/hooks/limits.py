"""Bounds on what one request, and all requests together, may take of this process.

What passes a bound is refused with an OperationOutcome that names it, before anything of it is
decoded. How deeply JSON may be nested is the decoder's own bound, of about a thousand levels, which
it checks in everything that it reads or skips: the reader of requests answers 400 for that.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable

import structlog
from msgspec import Struct
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cds.fhir.bundles import count_entries
from cds.hooks.outcomes import IssueType, operation_outcome

_log = structlog.get_logger()

HEALTH = "/health/"
"""Addresses under this are answered however busy the service is: they tell whether it lives."""

_OBJECTS_AN_ENTRY = 20
"""JSON objects that are read before a body is refused uncounted, for each entry it may have.

FHIR resources have about ten of some 80 bytes each, so no chart comes near.
"""


class Limits(Struct, frozen=True, kw_only=True):
    """What a request may take; sizes in bytes, times in seconds."""

    body_bytes: int = 8 * 1024 * 1024
    entries: int = 10_000
    """Of all Bundles of a request together."""
    calls: int = 100
    """Requests at a time."""
    held_bytes: int = 64 * 1024 * 1024
    """Of the bodies of all requests that arrive or are being answered."""
    receive_seconds: float = 10
    answer_seconds: float = 15


class _Beyond(Exception):
    """A bound is passed: the status, the name it is counted under, and what the client is told."""

    def __init__(self, status: int, reason: str, issue_type: IssueType, problem: str) -> None:
        self.status = status
        self.reason = reason
        self.issue_type: IssueType = issue_type
        self.problem = problem
        super().__init__(problem)


class _Bodies:
    """How many bytes the bodies have, together, that this process holds."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.held = 0


class _Part:
    """What one body has of those bytes, from when it is announced until it is answered."""

    def __init__(self, bodies: _Bodies) -> None:
        self._bodies = bodies
        self._bytes = 0

    def become(self, size: int) -> None:
        """Hold so many bytes from now on; raises ``_Beyond`` where there is no room for them."""
        more = size - self._bytes
        if more > 0 and self._bodies.held + more > self._bodies.most:
            raise _beyond_held()
        self._bodies.held += more
        self._bytes = size


class KeepsLimits:
    """Reads a request's body within the bounds, and lets no more requests in than there may be.

    ``refused`` is told the reason of each refusal: ``busy``, ``held``, ``body``, ``entries``,
    ``receive`` or ``answer``.
    """

    def __init__(
        self, app: ASGIApp, limits: Limits, refused: Callable[[str], None] = lambda _: None
    ) -> None:
        self.app = app
        self.limits = limits
        self.refused = refused
        self._calls = 0
        self._bodies = _Bodies(limits.held_bytes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or refuse it."""
        if scope["type"] != "http" or scope["path"].startswith(HEALTH):
            await self.app(scope, receive, send)
            return
        started = False

        async def send_noted(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        self._calls += 1
        part = _Part(self._bodies)
        try:
            if self._calls > self.limits.calls:
                raise _beyond_calls()
            replay = await self._received(scope, receive, part)
            if replay is None:  # the client is gone
                return
            try:
                async with asyncio.timeout(self.limits.answer_seconds) as answering:
                    await self.app(scope, replay, send_noted)
            except TimeoutError:
                # Another timeout than this one is a fault like any other.
                if started or not answering.expired():
                    raise
                raise _beyond_answer(self.limits) from None
        except _Beyond as beyond:
            self.refused(beyond.reason)
            _log.info("request_limited", status=beyond.status, limit=beyond.reason)
            await _refusal(beyond)(scope, receive, send)
        finally:
            self._calls -= 1
            part.become(0)

    async def _received(self, scope: Scope, receive: Receive, part: _Part) -> Receive | None:
        """Read the whole body, and give what it can be read from again; None if it never ends."""
        if scope["method"] in ("GET", "HEAD", "OPTIONS"):
            return receive
        try:
            async with asyncio.timeout(self.limits.receive_seconds):
                body = await _read(receive, self.limits.body_bytes, _announced(scope), part)
        except TimeoutError:
            raise _beyond_receive(self.limits) from None
        if body is None:
            return None
        if not _has_few_entries(body, self.limits.entries):
            raise _beyond_entries(self.limits)
        sent = False

        async def replay() -> Message:
            nonlocal sent
            if sent:
                return await receive()
            sent = True
            return {"type": "http.request", "body": body, "more_body": False}

        return replay


def _announced(scope: Scope) -> int:
    """The length of a body that a client says before it sends it; 0 where it says none."""
    said = dict(scope["headers"]).get(b"content-length", b"")
    return int(said) if re.fullmatch(rb"[0-9]{1,18}", said) else 0


async def _read(receive: Receive, most: int, announced: int, part: _Part) -> bytes | None:
    """The body, or None if the client has gone before its end.

    There must be room for all that is announced before any of it is read, and for each further
    piece of a body whose length is not known. What is too long is read to its end and thrown away:
    a client that is still sending would find its connection broken instead of the answer.
    """
    chunks: list[bytes] = []
    size = 0
    more = True
    if announced <= most:
        part.become(announced)
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        chunk = message.get("body", b"")
        size += len(chunk)
        if max(size, announced) <= most:
            part.become(max(size, announced))
            chunks.append(chunk)
        else:
            chunks.clear()
            part.become(0)
        more = message.get("more_body", False)
    if size > most:
        raise _Beyond(
            413,
            "body",
            "too-long",
            f"The body has {size} bytes; this service reads at most {most} (CDS_MAX_BODY_BYTES). "
            "Send only what the prefetch templates ask for.",
        )
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def _has_few_entries(body: bytes, most: int) -> bool:
    """Whether the Bundles of a body have no more entries than that, those in Bundles included.

    Every entry is an object, so a body with few braces need not be decoded for this.
    """
    objects = body.count(b"{")
    if objects <= most:
        return True
    if objects > most * _OBJECTS_AN_ENTRY:
        return False
    return count_entries(body) <= most


def _beyond_calls() -> _Beyond:
    return _Beyond(
        503,
        "busy",
        "throttled",
        "The service is answering as many requests as it may at a time (CDS_MAX_CALLS). "
        "Call again after the time in the header Retry-After.",
    )


def _beyond_held() -> _Beyond:
    return _Beyond(
        503,
        "held",
        "throttled",
        "The service holds as many bytes of requests as it may at a time (CDS_MAX_HELD_BYTES). "
        "Call again after the time in the header Retry-After.",
    )


def _beyond_entries(limits: Limits) -> _Beyond:
    return _Beyond(
        413,
        "entries",
        "too-costly",
        f"The Bundles of this request have more than {limits.entries} entries (CDS_MAX_ENTRIES), "
        "or far more JSON objects than that. Send only what the prefetch templates ask for.",
    )


def _beyond_receive(limits: Limits) -> _Beyond:
    return _Beyond(
        408,
        "receive",
        "timeout",
        f"The request did not arrive within {limits.receive_seconds:g} seconds "
        "(CDS_RECEIVE_SECONDS).",
    )


def _beyond_answer(limits: Limits) -> _Beyond:
    return _Beyond(
        503,
        "answer",
        "timeout",
        f"No answer was found within {limits.answer_seconds:g} seconds (CDS_ANSWER_SECONDS), so "
        "there is no advice on this patient. Call again after the time in the header Retry-After.",
    )


def _refusal(beyond: _Beyond) -> Response:
    headers = {}
    if beyond.status == 503:
        headers["Retry-After"] = "1"
    if beyond.reason == "receive":
        headers["Connection"] = "close"  # what may still arrive would be taken for a new request
    return Response(
        operation_outcome(beyond.issue_type, [beyond.problem]),
        beyond.status,
        headers,
        media_type="application/json",
    )
