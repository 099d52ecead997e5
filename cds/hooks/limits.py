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

from cds.fhir.bundles import bytes_worth, entries_worth, has_few_entries
from cds.hooks.outcomes import IssueType, Refused, operation_outcome

_log = structlog.get_logger()

HEALTH = "/health/"
"""Addresses under this are answered however busy the service is: they tell whether it lives."""


class Limits(Struct, frozen=True, kw_only=True):
    """What a request may take; sizes in bytes, times in seconds."""

    body_bytes: int = 8 * 1024 * 1024
    entries: int = 10_000
    """Of all Bundles of a request together."""
    calls: int = 100
    """Requests that are being answered at a time."""
    held_bytes: int = 64 * 1024 * 1024
    """Of the bodies of all requests that arrive or are being answered, and of what is fetched.

    A body that has arrived counts as ``bytes_worth``.
    """
    receive_seconds: float = 10
    answer_seconds: float = 15


class Beyond(Refused):
    """A request is refused because it passes a bound; ``reason`` is what that is counted under."""

    def __init__(self, status: int, reason: str, issue_type: IssueType, problem: str) -> None:
        self.reason = reason
        super().__init__(status, issue_type, [problem])


class Budget:
    """The bytes that all requests of this process may hold together, of which each has a share."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.held = 0


class Share:
    """What one request has of a budget, from its first byte until it is answered."""

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._bytes = 0

    @property
    def room(self) -> int:
        """How many bytes this one could hold."""
        return self._budget.most - self._budget.held + self._bytes

    def become(self, size: int, wanted: int = 0) -> None:
        """Hold so many bytes from now on, or as many of those that are wanted as there is room for.

        Raises ``Beyond`` where there is no room for ``size``.
        """
        if size > self.room:
            raise _beyond_held()
        held = max(size, min(wanted, self.room))
        self._budget.held += held - self._bytes
        self._bytes = held

    def take(self, size: int) -> None:
        """Hold so many bytes more, as ``become``."""
        self.become(self._bytes + size)


class KeepsLimits:
    """Reads a request's body within the bounds, and lets no more requests in than there may be.

    A request counts as one of them once its body is there: who sends none keeps nobody out.
    ``request.state.share`` is its ``Share`` of the bytes that may be held, for what is fetched for
    it. ``refused`` is told the reason of each refusal here: ``busy``, ``held``, ``body``,
    ``entries``, ``receive`` or ``answer``.
    """

    def __init__(
        self, app: ASGIApp, limits: Limits, refused: Callable[[str], None] = lambda _: None
    ) -> None:
        self.app = app
        self.limits = limits
        self.refused = refused
        self._calls = 0
        self._budget = Budget(limits.held_bytes)

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

        share = Share(self._budget)
        scope.setdefault("state", {})["share"] = share
        try:
            self._check_calls()
            replay = await self._received(scope, receive, share)
            if replay is None:  # the client is gone
                return
            self._check_calls()
            self._calls += 1
            try:
                async with asyncio.timeout(self.limits.answer_seconds) as answering:
                    await self.app(scope, replay, send_noted)
            except TimeoutError:
                # Another timeout than this one is a fault like any other.
                if started or not answering.expired():
                    raise
                raise _beyond_answer(self.limits) from None
            finally:
                self._calls -= 1
        except Beyond as beyond:
            self.refused(beyond.reason)
            _log.info("request_limited", status=beyond.status, limit=beyond.reason)
            await _refusal(beyond)(scope, receive, send)
        finally:
            share.become(0)

    def _check_calls(self) -> None:
        if self._calls >= self.limits.calls:
            raise _beyond_calls()

    async def _received(self, scope: Scope, receive: Receive, share: Share) -> Receive | None:
        """Read the whole body, and give what it can be read from again; None if it never ends."""
        if scope["method"] in ("GET", "HEAD", "OPTIONS"):
            return receive
        try:
            async with asyncio.timeout(self.limits.receive_seconds):
                body = await _read(receive, self.limits.body_bytes, _announced(scope), share)
        except TimeoutError:
            raise _beyond_receive(self.limits) from None
        if body is None:
            return None
        most = self.limits.entries
        if entries_worth(body) > most or not has_few_entries(body, most):
            raise _beyond_entries(self.limits)
        share.become(bytes_worth(body))
        held = [body]
        del body  # it is given away: Starlette makes a copy of it, which is then the only one

        async def replay() -> Message:
            if not held:
                return await receive()
            return {"type": "http.request", "body": held.pop(), "more_body": False}

        return replay


def _announced(scope: Scope) -> int:
    """The length of a body that a client says before it sends it; 0 where it says none."""
    said = dict(scope["headers"]).get(b"content-length", b"")
    return int(said) if re.fullmatch(rb"[0-9]{1,18}", said) else 0


async def _read(receive: Receive, most: int, announced: int, share: Share) -> bytes | None:
    """The body, or None if the client has gone before its end.

    A body for which there is no room when it is announced is not begun with. Then room is held for
    as much again as has arrived, up to what was announced: for who sends nothing there is none, and
    who has sent half is not refused at the last byte where that can be helped. What is too long is
    read to its end and thrown away: a client that is still sending would find its connection broken
    instead of the answer.
    """
    body = bytearray()  # as a list, pieces of a byte each would take far more than is counted
    size = 0
    more = True
    if share.room < announced <= most:
        raise _beyond_held()
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        chunk = message.get("body", b"")
        size += len(chunk)
        if max(size, announced) <= most:
            share.become(size, min(2 * size, announced))
            body += chunk
        else:
            body.clear()
            share.become(0)
        more = message.get("more_body", False)
    if size > most:
        raise Beyond(
            413,
            "body",
            "too-long",
            f"The body has {size} bytes; this service reads at most {most} (CDS_MAX_BODY_BYTES). "
            "Send only what the prefetch templates ask for.",
        )
    return bytes(body)


def _beyond_calls() -> Beyond:
    return Beyond(
        503,
        "busy",
        "throttled",
        "The service is answering as many requests as it may at a time (CDS_MAX_CALLS). "
        "Call again after the time in the header Retry-After.",
    )


def _beyond_held() -> Beyond:
    return Beyond(
        503,
        "held",
        "throttled",
        "The service holds as many bytes of requests, and of what it fetches for them, as it may "
        "at a time (CDS_MAX_HELD_BYTES). Call again after the time in the header Retry-After.",
    )


def _beyond_entries(limits: Limits) -> Beyond:
    return Beyond(
        413,
        "entries",
        "too-costly",
        f"The Bundles of this request have more than {limits.entries} entries (CDS_MAX_ENTRIES), "
        "or far more JSON objects, arrays or values than that. "
        "Send only what the prefetch templates ask for.",
    )


def _beyond_receive(limits: Limits) -> Beyond:
    return Beyond(
        408,
        "receive",
        "timeout",
        f"The request did not arrive within {limits.receive_seconds:g} seconds "
        "(CDS_RECEIVE_SECONDS).",
    )


def _beyond_answer(limits: Limits) -> Beyond:
    return Beyond(
        503,
        "answer",
        "timeout",
        f"No answer was found within {limits.answer_seconds:g} seconds (CDS_ANSWER_SECONDS), so "
        "there is no advice on this patient. Call again after the time in the header Retry-After.",
    )


def _refusal(beyond: Beyond) -> Response:
    headers = {}
    if beyond.status == 503:
        headers["Retry-After"] = "1"
    if beyond.reason == "receive":
        headers["Connection"] = "close"  # what may still arrive would be taken for a new request
    return Response(
        operation_outcome(beyond.issue_type, beyond.problems),
        beyond.status,
        headers,
        media_type="application/json",
    )
