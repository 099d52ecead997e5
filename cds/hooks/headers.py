"""Headers that tell a browser what it may do with an answer, and which pages may ask for one.

https://fetch.spec.whatwg.org/#http-cors-protocol. The service sends JSON only, so nothing in it
is ever to be shown, framed, sniffed or kept.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

EXPOSED = ("X-Rules-Version", "X-Decision-Id", "Retry-After")
"""Headers of an answer that a page of another origin may read."""

_SECURE = (
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
)
# Only over HTTPS, as RFC 6797 has it: the scheme is that of a proxy that is believed.
_HSTS = (b"strict-transport-security", b"max-age=31536000")


class Secures:
    """Gives every answer the headers above, also the one to a fault that nothing inside caught.

    ``fail`` makes the answer to such a fault.
    """

    def __init__(self, app: ASGIApp, fail: Callable[[Scope, Exception], Response]) -> None:
        self.app = app
        self.fail = fail

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, with the headers."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = False

        async def send_secured(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                headers = message["headers"] = [*message["headers"], *_SECURE]
                if scope.get("scheme") == "https":
                    headers.append(_HSTS)
            await send(message)

        try:
            await self.app(scope, receive, send_secured)
        except Exception as fault:
            if started:
                raise
            await self.fail(scope, fault)(scope, receive, send_secured)


def cors(origins: Sequence[str]) -> dict[str, Any]:
    """The arguments of Starlette's ``CORSMiddleware`` for pages of these origins.

    No cookies are ever meant: a browser client is known by its token, as any other.
    """
    return {
        "allow_origins": list(origins),
        "allow_methods": ["GET", "POST"],
        "allow_headers": ["Authorization", "Content-Type"],
        "expose_headers": list(EXPOSED),
    }
