"""Headers that tell a browser what it may do with an answer, and which pages may ask for one.

https://fetch.spec.whatwg.org/#http-cors-protocol. The service sends JSON only, so nothing in it
is ever to be shown, framed, sniffed or kept. And the one header that tells by which name a browser
came here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import structlog
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cds.addresses import is_this_machine
from cds.hooks.limits import HEALTH
from cds.hooks.logs import Sparing
from cds.hooks.outcomes import operation_outcome

_log = structlog.get_logger()

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


_ALLOWED_METHODS = ("GET", "POST")
_ALLOWED_HEADERS = ("Authorization", "Content-Type")
# A browser sends these without asking, but may ask where their values are unusual.
_HARMLESS_HEADERS = ("accept", "accept-language", "content-language")
_PREFLIGHT_SECONDS = 600


class Secures:
    """Gives every answer the headers above, also the one to a fault that nothing inside caught.

    ``fail`` makes the answer to such a fault. Pages of ``origins`` may call from a browser, `*`
    standing for any: their preflights are answered here, since they come without a token. Other
    pages get no header that allows anything. No cookies are ever meant: a browser client is known
    by its token, as any other.
    """

    def __init__(
        self,
        app: ASGIApp,
        fail: Callable[[Scope, Exception], Response],
        origins: Sequence[str] = (),
    ) -> None:
        self.app = app
        self.fail = fail
        self.origins = frozenset(origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, with the headers."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        asked = Headers(scope=scope)
        more = self._headers(scope, asked.get("origin"))
        started = False

        async def send_secured(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                message["headers"] = [*message["headers"], *more]
            await send(message)

        if self.origins and _is_preflight(scope, asked):
            await self._preflight(asked)(scope, receive, send_secured)
            return
        try:
            await self.app(scope, receive, send_secured)
        except Exception as fault:
            if started:
                raise
            await self.fail(scope, fault)(scope, receive, send_secured)

    def _allows(self, origin: str | None) -> bool:
        return origin is not None and ("*" in self.origins or origin in self.origins)

    def _headers(self, scope: Scope, origin: str | None) -> list[tuple[bytes, bytes]]:
        headers = list(_SECURE)
        if scope.get("scheme") == "https":
            headers.append(_HSTS)
        if not self.origins:
            return headers
        if "*" in self.origins:
            origin = origin and "*"
        else:
            headers.append((b"vary", b"Origin"))
        if origin is not None and self._allows(origin):
            headers.append((b"access-control-allow-origin", origin.encode("latin-1")))
            headers.append((b"access-control-expose-headers", ", ".join(EXPOSED).encode()))
        return headers

    def _preflight(self, asked: Headers) -> Response:
        """Tell a browser what a page may do, or that it may not do what it is about to."""
        method = asked["access-control-request-method"]
        named = asked.get("access-control-request-headers", "").lower().split(",")
        sent = {name.strip() for name in named} - {"", *_HARMLESS_HEADERS}
        problem = None
        if not self._allows(asked["origin"]):
            problem = "Pages of this origin may not call the service (CDS_CORS_ORIGINS)."
        elif method not in _ALLOWED_METHODS:
            problem = f"Pages may call with {' and '.join(_ALLOWED_METHODS)} only."
        elif not sent <= {name.lower() for name in _ALLOWED_HEADERS}:
            problem = f"Pages may send the headers {' and '.join(_ALLOWED_HEADERS)} only."
        if problem is not None:
            refused = operation_outcome("not-supported", [problem])
            return Response(refused, 400, media_type="application/json")
        allowed = {
            "Access-Control-Allow-Methods": ", ".join(_ALLOWED_METHODS),
            "Access-Control-Allow-Headers": ", ".join(_ALLOWED_HEADERS),
            "Access-Control-Max-Age": str(_PREFLIGHT_SECONDS),
        }
        return Response(status_code=200, headers=allowed)


class ChecksHost:
    """Lets only requests through that were sent to a name of this machine, or one of ``names``.

    A page of any origin can let a browser ask this service as if it were of that origin, by a name
    that it makes lead to a loopback address (DNS rebinding). The header `Host` has that name.
    ``refused`` is told of each that is not let through.
    """

    def __init__(
        self, app: ASGIApp, names: Sequence[str], refused: Callable[[str], None] = lambda _: None
    ) -> None:
        self.app = app
        self.names = frozenset(names)
        self.refused = refused
        self._sparing = Sparing(_MOST_LINES)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or refuse it with 421."""
        if (
            scope["type"] != "http"
            # Probes call by whatever address they know, and learn nothing of patients.
            or scope["path"].startswith(HEALTH)
            or self._is_ours(Headers(scope=scope).getlist("host"))
        ):
            await self.app(scope, receive, send)
            return
        self.refused("host")
        spared = self._sparing.take()
        if spared is not None:
            _log.warning("host_refused", **spared)
        problem = operation_outcome("not-supported", [_OTHER_HOST])
        await Response(problem, 421, media_type="application/json")(scope, receive, send)

    def _is_ours(self, sent: Sequence[str]) -> bool:
        if len(sent) != 1 or (parts := _HOST.fullmatch(sent[0].lower())) is None:
            return False
        name = parts["address"] or parts["name"]
        return name in self.names or is_this_machine(name)


_HOST = re.compile(r"(\[(?P<address>[0-9a-f:.]+)\]|(?P<name>[a-z0-9._-]+?))\.?(:[0-9]{1,5})?")
_OTHER_HOST = (
    "This service is called by the name localhost or a loopback address, and by those that "
    "CDS_HOST_NAMES lists; the header `Host` of this request has another."
)
_MOST_LINES = 5


def _is_preflight(scope: Scope, asked: Headers) -> bool:
    return (
        scope["method"] == "OPTIONS"
        and "origin" in asked
        and "access-control-request-method" in asked
    )
