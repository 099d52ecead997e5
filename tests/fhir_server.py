"""A FHIR server on the loopback interface that answers as a test scripts it."""

from __future__ import annotations

import contextlib
import json
import ssl
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from msgspec import Struct


class Reply(Struct):
    """One answer; ``drop`` ends the connection in place of it, ``hold`` keeps the caller waiting.

    What is held is let go when the server closes.
    """

    body: Any = b""
    status: int = 200
    headers: dict[str, str] = {}
    drop: bool = False
    hold: bool = False

    @property
    def content(self) -> bytes:
        """The body as it is sent."""
        return self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()


class Asked(Struct):
    """A request that arrived: what stands behind the host in its address, and its headers."""

    target: str
    headers: dict[str, str]


Script = Callable[[str], Reply]
NOT_FOUND = Reply({"resourceType": "OperationOutcome", "issue": []}, status=404)


class FhirServer:
    """Answers each target (path and query) by ``script``, and keeps what was asked."""

    def __init__(self, script: Script, tls: ssl.SSLContext | None = None) -> None:
        self.script = script
        self.asked: list[Asked] = []
        self._closing = threading.Event()
        fhir = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_GET(self) -> None:
                fhir.asked.append(Asked(self.path, dict(self.headers)))
                reply = fhir.script(self.path)
                if reply.hold:
                    fhir._closing.wait(30)
                if reply.drop or reply.hold:
                    self.close_connection = True
                    return
                self.send_response(reply.status)
                for name, value in reply.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(reply.content)))
                self.end_headers()
                with contextlib.suppress(OSError):  # the client may have read enough
                    self.wfile.write(reply.content)

            def log_message(self, *_: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 64  # all keys of a call arrive at once

            def handle_error(self, *_: object) -> None:
                pass  # clients that let go are part of these tests

        self._server = Server(("127.0.0.1", 0), Handler)
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self.port = self._server.server_address[1]
        self.base = f"http://127.0.0.1:{self.port}/fhir"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()

    @property
    def targets(self) -> list[str]:
        """What was asked for, in the order of arrival."""
        return [asked.target for asked in self.asked]

    def close(self) -> None:
        """Stop answering."""
        self._closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@contextlib.contextmanager
def serving(
    script: Script | dict[str, Any], tls: ssl.SSLContext | None = None
) -> Iterator[FhirServer]:
    """Serve a script: a function, or for each target behind the base a reply or a body."""

    def look_up(target: str) -> Reply:
        assert isinstance(script, dict)
        reply = script.get(target.removeprefix("/fhir/"), NOT_FOUND)
        return reply if isinstance(reply, Reply) else Reply(reply)

    server = FhirServer(look_up if isinstance(script, dict) else script, tls)
    try:
        yield server
    finally:
        server.close()


def searchset(*resources: Any, following: str | None = None) -> dict[str, Any]:
    """A page of the answer to a search; ``following`` is the address of the next."""
    page: dict[str, Any] = {"resourceType": "Bundle", "type": "searchset"}
    page["entry"] = [{"resource": resource} for resource in resources]
    if following is not None:
        page["link"] = [{"relation": "next", "url": following}]
    return page
