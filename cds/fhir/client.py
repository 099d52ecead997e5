"""Reads and searches on FHIR R4 servers, of which an operator has listed every one.

What a server answers is not trusted with where to go next: a further page lies under the same base
URL or is not read, redirects are not followed, and the address that a name leads to is checked
before it is connected to, so that no listed name can be turned against what is inside a network.
https://hl7.org/fhir/R4/http.html, https://hl7.org/fhir/R4/search.html

Nothing raised or logged here holds a token, an address or anything of a patient.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from http.cookiejar import CookieJar, DefaultCookiePolicy
from urllib.parse import quote

import httpx2
import msgspec
import stamina
from msgspec import Struct

from cds.addresses import Address, literal_address
from cds.fhir.bundles import Unreadable, count_entries, decode
from cds.fhir.resources import AnyResource, Bundle
from cds.fhir.servers import Server, is_allowed, within

# The lines that these write of each request hold its whole address, with the patient's id.
for _name in ("httpx2", "httpcore2"):
    logging.getLogger(_name).setLevel(logging.WARNING)

MOST_PAGES = 50
"""Pages that are read of one search."""

MOST_BYTES = 10_000_000
"""Bytes that are read for one allowance: for one call, all queries and pages together."""

MOST_ENTRIES = 10_000
"""Entries of Bundles that are read for one allowance, where nothing else is said."""

MOST_ATTEMPTS = 4
"""How often one address is asked, where it is busy or cannot be reached."""

LONGEST_CONNECT = 2.0
"""Seconds until an address that does not answer is given up."""

Resolve = Callable[[str, int], Awaitable[Iterable[str]]]
"""Finds the IP addresses of a host name and port."""


class CannotBeHad(Exception):
    """A query was not answered with data; the text is a clause that says why, for the caller."""


class Access(Struct, frozen=True):
    """A server, and the bearer token that opens it; None where none is needed."""

    server: Server
    token: str | None = None

    def __repr__(self) -> str:
        """The server alone."""
        return f"Access({self.server.base!r})"


class Allowance:
    """How much may still be read of what servers answer, for all queries that share it.

    ``entries`` are those of Bundles; the bytes are ``MOST_BYTES``. ``hold`` is told of bytes as
    they arrive, and raises an exception of its own where there is no room for them.
    """

    def __init__(
        self, entries: int = MOST_ENTRIES, hold: Callable[[int], None] = lambda _: None
    ) -> None:
        self._entries = entries
        self._bytes = MOST_BYTES
        self._hold = hold

    def take_bytes(self, number: int) -> None:
        """Count bytes as they arrive; raises ``CannotBeHad`` beyond what is left."""
        self._hold(number)
        self._bytes -= number
        if self._bytes < 0:
            raise CannotBeHad(
                f"all that is fetched for one call is longer than {MOST_BYTES} bytes together"
            )

    def take_entries(self, page: bytes) -> None:
        """Count the entries of a page before it is read, as with bytes."""
        self._entries -= count_entries(page)
        if self._entries < 0:
            raise CannotBeHad(
                "what was sent and what is fetched have more entries together than may be read "
                "for one call (CDS_MAX_ENTRIES)"
            )


def encode_query(query: str) -> str:
    """Write a relative query (``Condition?patient=1&code=a|b``) as it stands in an address."""
    path, mark, parameters = query.partition("?")
    return quote(path, safe="/%") + mark + quote(parameters, safe="=&,:/?$+%")


class FhirClient:
    """Asks FHIR servers, over connections that are kept for each server.

    ``resolve`` finds the addresses of a host; ``tls`` decides which certificates are accepted, by
    default those of the machine's own authorities (or of ``SSL_CERT_FILE``). No proxy is used and
    no cookie is kept. A client is for one event loop.
    """

    def __init__(self, resolve: Resolve | None = None, tls: ssl.SSLContext | None = None) -> None:
        self._resolve = resolve or _Lookups().resolve
        self._tls = tls
        self._connections: dict[Server, httpx2.AsyncClient] = {}

    async def fetch(
        self, access: Access, query: str, deadline: float, allowance: Allowance
    ) -> tuple[AnyResource, ...]:
        """Answer a relative query: one resource, or all pages of a search, without their links.

        ``deadline`` is a time of the running event loop. Until then, what may pass is waited for
        and asked again. No more is read than ``allowance`` has left. Raises ``CannotBeHad``.
        """
        server = access.server
        try:
            async with asyncio.timeout_at(deadline):
                url = within(server, encode_query(query))
                if url is None:
                    raise CannotBeHad("the query leads out of the base of the FHIR server")
                return await self._pages(access, url, deadline, allowance)
        except TimeoutError:
            raise CannotBeHad("the FHIR server took longer than there is time for") from None

    async def _pages(
        self, access: Access, url: str, deadline: float, allowance: Allowance
    ) -> tuple[AnyResource, ...]:
        pages: list[AnyResource] = []
        seen: set[str] = set()
        while True:
            seen.add(url)
            body = await self._ask(access, url, deadline, allowance)
            allowance.take_entries(body)
            page = _read(body)
            following = None
            if isinstance(page, Bundle):
                following = next((n.url for n in page.link if n.relation == "next" and n.url), None)
                page = msgspec.structs.replace(page, link=())
            pages.append(page)
            if following is None:
                return tuple(pages)
            next_url = within(access.server, following)
            if next_url is None:
                raise CannotBeHad(
                    "a page of the answer is elsewhere than under the base of the FHIR server"
                )
            if next_url in seen:
                raise CannotBeHad("the pages of the answer lead back to an earlier one")
            if len(pages) == MOST_PAGES:
                raise CannotBeHad(f"the answer has more than {MOST_PAGES} pages")
            url = next_url

    async def _ask(self, access: Access, url: str, deadline: float, allowance: Allowance) -> bytes:
        """Get one page, asking again for what may pass while there is time."""

        def worthwhile(fault: Exception) -> bool | float:
            if not isinstance(fault, _MayPass):
                return False
            if fault.wait is None:
                return True
            return fault.wait if _now() + fault.wait < deadline else False

        async for attempt in stamina.retry_context(
            worthwhile,
            attempts=MOST_ATTEMPTS,
            timeout=None,
            wait_initial=0.1,
            wait_max=1.0,
            wait_jitter=0.1,
        ):
            with attempt:
                return await self._ask_once(access, url, allowance)
        raise AssertionError("the last attempt returns or raises")

    async def _ask_once(self, access: Access, url: str, allowance: Allowance) -> bytes:
        headers = {"Accept": "application/fhir+json", "Accept-Encoding": "identity"}
        if access.token is not None:
            headers["Authorization"] = f"Bearer {access.token}"
        try:
            connection = self._connection(access.server)
            async with connection.stream("GET", url, headers=headers) as answer:
                _check_status(answer)
                return await _body(answer, allowance)
        except httpx2.TransportError as fault:
            if _is_of_tls(fault):
                raise CannotBeHad("the FHIR server has no certificate that is trusted") from None
            raise _MayPass("the FHIR server could not be reached") from None
        except httpx2.InvalidURL:
            raise CannotBeHad("the query makes no address") from None

    def _connection(self, server: Server) -> httpx2.AsyncClient:
        if server not in self._connections:
            self._connections[server] = httpx2.AsyncClient(
                transport=_CheckedTransport(server, self._resolve, self._tls),
                cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
                follow_redirects=False,
                timeout=httpx2.Timeout(None, connect=LONGEST_CONNECT),
                trust_env=False,
            )
        return self._connections[server]

    async def aclose(self) -> None:
        """Close every connection."""
        for connection in self._connections.values():
            await connection.aclose()
        self._connections.clear()


class _MayPass(CannotBeHad):
    """Worth asking again, after ``wait`` seconds where the server said so."""

    def __init__(self, why: str, wait: float | None = None) -> None:
        self.wait = wait
        super().__init__(why)


class _CheckedTransport(httpx2.AsyncHTTPTransport):
    """Connects to one server only, at addresses that were checked.

    A name is resolved here, once for each request, and the request is sent to the very address
    that was found good: whoever answers for the name cannot change it in between. Connections are
    kept by address, so a transport is never shared between servers.
    """

    def __init__(self, server: Server, resolve: Resolve, tls: ssl.SSLContext | None) -> None:
        super().__init__(
            verify=tls or True,
            limits=httpx2.Limits(max_connections=32, max_keepalive_connections=16),
        )
        self._server = server
        self._resolve = resolve

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        url = request.url
        port = url.port or (443 if url.scheme == "https" else 80)
        unreached: httpx2.TransportError = httpx2.ConnectError("no address")
        for address in await self._addresses(url.host, port):
            there = httpx2.Request(
                request.method,
                url.copy_with(host=str(address)),
                headers=request.headers,  # with the Host that was asked for
                # The certificate must be that of the name, not of the address.
                extensions={**request.extensions, "sni_hostname": url.host},
            )
            try:
                return await super().handle_async_request(there)
            except (httpx2.ConnectError, httpx2.ConnectTimeout) as fault:
                unreached = fault
        raise unreached

    async def _addresses(self, host: str, port: int) -> list[Address]:
        """The addresses of a host, all of which are allowed; raises ``CannotBeHad``."""
        literal = literal_address(host)
        if literal is not None:
            found = [literal]
        else:
            try:
                said = await self._resolve(host, port)
            except OSError:
                raise _MayPass("the name of the FHIR server was not found") from None
            found = [ipaddress.ip_address(text.partition("%")[0]) for text in said]
        if not found:
            raise _MayPass("the name of the FHIR server was not found")
        if not all(is_allowed(address, self._server.networks) for address in found):
            raise CannotBeHad(
                "the name of the FHIR server leads to a private address, which the list of "
                "allowed servers does not name"
            )
        return list(dict.fromkeys(found))


# --- addresses -----------------------------------------------------------------------------------


_RESOLVING = ThreadPoolExecutor(8, "resolving")
"""Of their own: a lookup cannot be ended, and those of servers whose names nobody tells would keep
the other threads from whatever else has to wait."""


class _Lookups:
    """Finds the addresses of names; who asks for one that is being looked up waits for that one.

    So a name that nobody tells keeps one thread, however many ask for it, and the other threads are
    left to the names of other servers.
    """

    def __init__(self) -> None:
        self._under_way: dict[tuple[str, int], asyncio.Future[list[str]]] = {}

    async def resolve(self, host: str, port: int) -> list[str]:
        """The addresses of a host; raises ``OSError``."""
        named = (host, port)
        if named not in self._under_way:
            found = asyncio.get_running_loop().run_in_executor(_RESOLVING, _look_up, host, port)
            self._under_way[named] = found
            found.add_done_callback(lambda _: self._under_way.pop(named))
        # Who gives up, gives up for itself alone.
        return await asyncio.shield(self._under_way[named])


def _look_up(host: str, port: int) -> list[str]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(where[0]) for *_, where in found]


# --- answers -------------------------------------------------------------------------------------


_PASSING = frozenset(
    {
        HTTPStatus.TOO_MANY_REQUESTS,
        HTTPStatus.BAD_GATEWAY,
        HTTPStatus.SERVICE_UNAVAILABLE,
        HTTPStatus.GATEWAY_TIMEOUT,
    }
)


def _check_status(answer: httpx2.Response) -> None:
    status = answer.status_code
    if status == HTTPStatus.OK:
        return
    if answer.is_redirect:
        raise CannotBeHad(f"the FHIR server redirects ({status}), which is not followed")
    if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        raise CannotBeHad(f"the token of the call does not open it (HTTP status {status})")
    why = f"the FHIR server answered with HTTP status {status}"
    if status in _PASSING:
        raise _MayPass(why, _wait(answer.headers.get("Retry-After")))
    raise CannotBeHad(why)


def _wait(retry_after: str | None) -> float | None:
    """The seconds that a server asks to wait, written as a number or as a date."""
    if retry_after is None:
        return None
    if retry_after.isascii() and retry_after.isdecimal():
        return float(retry_after[:9])
    try:
        when = parsedate_to_datetime(retry_after)
    except (ValueError, OverflowError):  # the latter for a year, or an offset, beyond all numbers
        return None
    if when.tzinfo is None:
        when = when.replace(tzinfo=UTC)
    return max(0.0, (when - datetime.now(UTC)).total_seconds())


async def _body(answer: httpx2.Response, allowance: Allowance) -> bytes:
    # Not asked for; read as it is, it could unfold to any size.
    if answer.headers.get("Content-Encoding", "identity") != "identity":
        raise CannotBeHad("the FHIR server compressed its answer, although it was asked not to")
    body = bytearray()  # a list of many small pieces would take far more than is counted
    pieces: AsyncIterator[bytes] = answer.aiter_raw()
    async for piece in pieces:
        allowance.take_bytes(len(piece))
        body += piece
    return bytes(body)


def _read(body: bytes) -> AnyResource:
    try:
        return decode(body)
    except Unreadable as fault:
        # What else is said of a type are the server's own words.
        of_type = fault.problem.startswith("resource type ")
        why = "is a resource of another type" if of_type else fault.problem
        raise CannotBeHad(f"the FHIR server answered with what {why}") from None


def _is_of_tls(fault: BaseException) -> bool:
    """Whether a connection failed because the other side could not prove who it is."""
    cause: BaseException | None = fault
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return True
        cause = cause.__cause__ or cause.__context__
    return False


def _now() -> float:
    return asyncio.get_running_loop().time()
