"""The HTTP protocol of the server, with bounds on the head of a request.

What comes before the application is called, an application cannot bound. uvicorn reads the lines of
a request for as long, and as many, as the client sends them.
"""

from __future__ import annotations

import asyncio
from typing import Literal

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from cds.hooks.outcomes import operation_outcome

HEAD_BYTES = 65536
"""Most bytes of the request line and the headers; a bearer token has some thousand."""
HEAD_SECONDS = 10.0
"""Longest time from a connection, or the first byte of a further request, to the whole head."""

_PHRASES = {400: b"Bad Request", 408: b"Request Timeout", 431: b"Request Header Fields Too Large"}


class BoundedHead(HttpToolsProtocol):
    """Ends a connection whose client does not send the head of a request in time or in bounds.

    These refusals, and the one of what is not HTTP, are OperationOutcomes too.
    """

    _head_seconds = HEAD_SECONDS
    _awaiting: asyncio.TimerHandle | None = None
    _head_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        # uvicorn's own protocol narrows the argument in the same way.
        """Begin to wait for the first request."""
        super().connection_made(transport)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no more."""
        self._have_head()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        """Begin to wait for the rest of the head."""
        super().on_message_begin()
        self._await_head()

    def on_headers_complete(self) -> None:
        """Wait no more: the body is the application's."""
        self._have_head()
        super().on_headers_complete()

    def data_received(self, data: bytes) -> None:
        """Count what arrives while the head is not complete."""
        super().data_received(data)
        if self._awaiting is not None and not self.transport.is_closing():
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_BYTES:
                self._refuse(431, f"The head of the request has more than {HEAD_BYTES} bytes.")

    def send_400_response(self, msg: str) -> None:
        """Answer what is not HTTP."""
        self._refuse(400, "This is not an HTTP/1.1 request.")

    def _await_head(self) -> None:
        self._have_head()
        self._awaiting = self.loop.call_later(self._head_seconds, self._too_slow)

    def _have_head(self) -> None:
        if self._awaiting is not None:
            self._awaiting.cancel()
            self._awaiting = None
        self._head_bytes = 0

    def _too_slow(self) -> None:
        self._refuse(408, f"The request did not arrive within {self._head_seconds:g} seconds.")

    def _refuse(self, status: Literal[400, 408, 431], problem: str) -> None:
        body = operation_outcome("timeout" if status == 408 else "invalid", [problem])
        self._have_head()
        self.transport.write(
            b"HTTP/1.1 %d %s\r\ncontent-type: application/json\r\ncontent-length: %d\r\n"
            b"cache-control: no-store\r\nx-content-type-options: nosniff\r\n"
            b"connection: close\r\n\r\n%s" % (status, _PHRASES[status], len(body), body)
        )
        self.transport.close()
