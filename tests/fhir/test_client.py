import asyncio
import datetime
import ipaddress
import logging
import socket
import ssl
import threading
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
import structlog
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from cds.fhir import client as client_module
from cds.fhir.bundles import Delivery, read_resource
from cds.fhir.client import (
    MOST_ATTEMPTS,
    MOST_PAGES,
    Access,
    Allowance,
    CannotBeHad,
    FhirClient,
    _Lookups,
    encode_query,
)
from cds.fhir.resources import AnyResource, Patient
from cds.fhir.servers import read_servers
from tests.fhir_server import FhirServer, Reply, searchset, serving

PATIENT = {"resourceType": "Patient", "id": "hana"}
TOKEN = "s3cret-t0ken"
SEARCH = "Condition?patient=hana"

Resolve = Callable[[str, int], Awaitable[Iterable[str]]]


def condition(number: int) -> dict[str, str]:
    """Return a Condition."""
    return {"resourceType": "Condition", "id": f"c{number}"}


def resolving(*addresses: str) -> Resolve:
    """Return what finds these addresses for every name."""

    async def resolve(host: str, port: int) -> Iterable[str]:
        return addresses

    return resolve


def fetch(
    listed: FhirServer | list[str],
    query: str = SEARCH,
    *,
    seconds: float = 10,
    resolve: Resolve | None = None,
    tls: ssl.SSLContext | None = None,
    entries: int = 10_000,
) -> tuple[AnyResource, ...]:
    """Fetch once from the first server that is listed."""
    (server,) = read_servers([listed.base] if isinstance(listed, FhirServer) else listed)

    async def fetch_once() -> tuple[AnyResource, ...]:
        client = FhirClient(resolve, tls)
        try:
            deadline = asyncio.get_running_loop().time() + seconds
            return await client.fetch(Access(server, TOKEN), query, deadline, Allowance(entries))
        finally:
            await client.aclose()

    return asyncio.run(fetch_once())


def why_not(*args: Any, **kwargs: Any) -> str:
    """Return why a query cannot be had."""
    with pytest.raises(CannotBeHad) as fault:
        fetch(*args, **kwargs)
    return str(fault.value)


def ids(pages: tuple[AnyResource, ...]) -> list[str | None]:
    """Return the ids of the Conditions in pages."""
    delivery = Delivery()
    for page in pages:
        read_resource(page, delivery, "page")
    assert delivery.excluded == []
    return [each.id for each in delivery.conditions]


def test_a_name_that_nobody_tells_keeps_nothing_else_waiting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """However many ask for it, other threads are left to what else waits, such as the database."""
    told = threading.Event()

    def hang(*_: Any, **__: Any) -> list[Any]:
        told.wait(30)
        return []

    async def run() -> str:
        lookups = _Lookups()
        looking = [
            asyncio.create_task(lookups.resolve(f"ehr-{number}.example", 443))
            for number in range(40)
        ]
        await asyncio.sleep(0)
        try:
            return await asyncio.wait_for(asyncio.to_thread(lambda: "done"), 10)
        finally:
            told.set()
            await asyncio.gather(*looking)

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    assert asyncio.run(run()) == "done"


def test_a_name_that_nobody_tells_keeps_no_other_name_waiting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """However many ask for it, they wait for one lookup; who gives up ends it for nobody else."""
    told = threading.Event()
    asked: list[str] = []

    def look(host: str, port: int, **_: Any) -> list[Any]:
        asked.append(host)
        if host == "silent.example":
            told.wait(30)
        return [(None, None, None, None, ("192.0.2.1", port))]

    async def run() -> tuple[list[str], list[list[str]]]:
        lookups = _Lookups()
        silent = [asyncio.create_task(lookups.resolve("silent.example", 443)) for _ in range(40)]
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(lookups.resolve("silent.example", 443), 0.01)
        try:
            other = await asyncio.wait_for(lookups.resolve("ehr.example", 443), 10)
        finally:
            told.set()
        return other, await asyncio.gather(*silent)

    monkeypatch.setattr(socket, "getaddrinfo", look)
    other, silent = asyncio.run(run())
    assert other == ["192.0.2.1"]
    assert silent == [["192.0.2.1"]] * 40
    assert asked == ["silent.example", "ehr.example"]


def test_a_name_is_looked_up_anew_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is kept: a name that was not found may be by the next call, or lead elsewhere."""
    answers: list[list[Any] | OSError] = [socket.gaierror(), [(0, 0, 0, "", ("192.0.2.2", 443))]]

    def look(*_: Any, **__: Any) -> list[Any]:
        answer = answers.pop(0)
        if isinstance(answer, OSError):
            raise answer
        return answer

    async def run() -> list[str]:
        lookups = _Lookups()
        with pytest.raises(socket.gaierror):
            await lookups.resolve("ehr.example", 443)
        return await lookups.resolve("ehr.example", 443)

    monkeypatch.setattr(socket, "getaddrinfo", look)
    assert asyncio.run(run()) == ["192.0.2.2"]


# --- asking --------------------------------------------------------------------------------------


def test_a_resource_is_read_with_the_token() -> None:
    """The token goes into the header that it belongs in, and FHIR JSON is asked for."""
    with serving({"Patient/hana": PATIENT}) as server:
        (patient,) = fetch(server, "Patient/hana")

    assert isinstance(patient, Patient)
    (asked,) = server.asked
    assert asked.headers["Authorization"] == f"Bearer {TOKEN}"
    assert asked.headers["Accept"] == "application/fhir+json"
    assert "Cookie" not in asked.headers


def test_a_query_is_written_as_an_address() -> None:
    """The bar between system and code is encoded; what divides parameters and codes is not."""
    query = "Observation?patient=hana&code=http://loinc.org|1-1,urn:x|a b&_sort=-date"

    assert encode_query(query) == (
        "Observation?patient=hana&code=http://loinc.org%7C1-1,urn:x%7Ca%20b&_sort=-date"
    )


def test_a_server_that_needs_no_token_gets_none() -> None:
    """Without a token there is no header that could hold one."""
    with serving({"Patient/hana": PATIENT}) as server:
        (allowed,) = read_servers([server.base])

        async def read() -> None:
            client = FhirClient()
            deadline = asyncio.get_running_loop().time() + 10
            await client.fetch(Access(allowed), "Patient/hana", deadline, Allowance())
            await client.aclose()

        asyncio.run(read())

    assert "Authorization" not in server.asked[0].headers


def test_connections_are_kept_and_cookies_are_not() -> None:
    """A second request goes over the same connection, and brings back nothing that was set."""
    ports: set[int] = set()

    def script(target: str) -> Reply:
        return Reply(PATIENT, headers={"Set-Cookie": "session=1; Path=/"})

    with serving(script) as server:
        (allowed,) = read_servers([server.base])
        handler: Any = server._server.RequestHandlerClass
        handler.setup = _noting(handler.setup, ports)

        async def read_twice() -> None:
            client = FhirClient()
            for _ in range(2):
                deadline = asyncio.get_running_loop().time() + 10
                await client.fetch(Access(allowed, TOKEN), "Patient/hana", deadline, Allowance())
            await client.aclose()

        asyncio.run(read_twice())

    assert len(server.asked) == 2
    assert len(ports) == 1
    assert "Cookie" not in server.asked[1].headers


def _noting(setup: Callable[[Any], None], ports: set[int]) -> Callable[[Any], None]:
    def note(handler: Any) -> None:
        ports.add(handler.client_address[1])
        setup(handler)

    return note


def test_no_proxy_of_the_environment_gets_the_token(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tokens go to the server that was listed, and to nobody in between."""
    with serving({"Patient/hana": PATIENT}) as server, serving({}) as proxy:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        monkeypatch.delenv("NO_PROXY", raising=False)
        fetch(server, "Patient/hana")

    assert (len(server.asked), proxy.asked) == (1, [])


# --- pages ---------------------------------------------------------------------------------------


def test_point_08_all_pages_are_followed() -> None:
    """Pages are read in order, whether their links are absolute or relative to the base."""
    with serving({}) as server:
        pages = {
            "/fhir/" + SEARCH: searchset(condition(1), following=f"{server.base}?page=2"),
            "/fhir?page=2": searchset(condition(2), following="Condition?page=3"),
            "/fhir/Condition?page=3": searchset(condition(3)),
        }
        server.script = lambda target: Reply(pages[target])

        assert ids(fetch(server)) == ["c1", "c2", "c3"]


def test_point_08_endless_pages_are_given_up() -> None:
    """There is a bound on pages, and it is told."""

    def script(target: str) -> Reply:
        number = int(target.rpartition("=")[2]) if "page" in target else 1
        return Reply(searchset(following=f"Condition?page={number + 1}"))

    with serving(script) as server:
        assert why_not(server) == f"the answer has more than {MOST_PAGES} pages"

    assert len(server.asked) == MOST_PAGES


def test_pages_that_go_in_a_circle_are_given_up() -> None:
    """A page that was read is not read again."""
    with serving({SEARCH: searchset(following=SEARCH)}) as server:
        assert "lead back" in why_not(server)

    assert len(server.asked) == 1


@pytest.mark.parametrize(
    "following",
    [
        "http://127.0.0.1:{other}/fhir/Condition?page=2",
        "http://localhost:{port}/fhir/Condition?page=2",
        "http://me:you@127.0.0.1:{port}/fhir/Condition?page=2",
        "https://127.0.0.1:{port}/fhir/Condition?page=2",
        "//127.0.0.1:{other}/fhir/Condition",
        "/admin",
        "/fhirs/Condition",
        "../admin",
        "Condition/../../admin",
        "%2e%2e/admin",
        "Condition/%2E./%2e%2e/admin",
        "..\\admin",
        "file:///etc/passwd",
        "http://[",
    ],
)
def test_a_further_page_elsewhere_is_not_read(following: str) -> None:
    """A server cannot send the token anywhere but under its own base."""
    with serving({}) as other, serving({}) as server:
        link = following.format(other=other.port, port=server.port)
        server.script = lambda target: Reply(searchset(condition(1), following=link))

        why = why_not(server)

    assert why == "a page of the answer is elsewhere than under the base of the FHIR server"
    assert (len(server.asked), other.asked) == (1, [])


@pytest.mark.parametrize("query", ["../admin", "//other.example/Patient/1", "Patient/%2e%2e/x"])
def test_a_query_cannot_leave_the_base(query: str) -> None:
    """Not even a template of one's own can."""
    with serving({}) as server:
        assert why_not(server, query) == "the query leads out of the base of the FHIR server"

    assert server.asked == []


# --- answers that are none -----------------------------------------------------------------------


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(status: int) -> None:
    """Wherever it leads, nothing is asked there."""
    with serving({}) as other, serving({}) as server:
        headers = {"Location": f"{other.base}/{SEARCH}"}
        server.script = lambda target: Reply(status=status, headers=headers)

        assert f"redirects ({status})" in why_not(server)

    assert (len(server.asked), other.asked) == (1, [])


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 500, 204])
def test_an_answer_without_data_is_told_by_its_status_and_not_asked_for_again(status: int) -> None:
    """What will not change is asked once; of a token that is refused, that is said."""
    with serving({SEARCH: Reply(status=status)}) as server:
        why = why_not(server)

    assert str(status) in why
    assert ("token" in why) is (status in (401, 403))
    assert len(server.asked) == 1


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>Doe, Jane</html>",
        b"{",
        b"[]",
        b"\xff",
        {},
        {"resourceType": "Jane"},
        {"resourceType": "Condition", "id": "Jane", "code": "Jane"},
    ],
)
def test_what_is_no_fhir_is_refused_without_repeating_it(body: Any) -> None:
    """The reason says what is wrong, and nothing that the server wrote."""
    with serving({SEARCH: Reply(body)}) as server:
        why = why_not(server)

    assert why.startswith("the FHIR server answered with what ")
    assert "Jane" not in why


def test_a_huge_answer_is_given_up_before_it_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bound holds for one body, and for all pages together."""
    monkeypatch.setattr(client_module, "MOST_BYTES", 1000)
    with serving({SEARCH: b" " * 1001}) as server:
        assert "longer than 1000 bytes" in why_not(server)

    first = searchset(condition(1), following="Condition?page=2")
    with serving({SEARCH: first, "Condition?page=2": b" " * 900}) as server:
        assert "longer than 1000 bytes" in why_not(server)


def test_more_entries_than_may_be_read_are_given_up() -> None:
    """Those of all pages count, and those of Bundles in them."""
    first = searchset(condition(1), condition(2), following="Condition?page=2")
    second = searchset({"resourceType": "Bundle", "entry": [{"resource": condition(3)}]})
    with serving({SEARCH: first, "Condition?page=2": second}) as server:
        assert ids(fetch(server, entries=4)) == ["c1", "c2", "c3"]
        assert "more entries together than may be read" in why_not(server, entries=3)
        assert "(CDS_MAX_ENTRIES)" in why_not(server, entries=-1)


def test_what_is_left_is_left_for_all_queries_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """Queries that are made at the same time share what one call may read."""
    monkeypatch.setattr(client_module, "MOST_BYTES", 1000)
    big = searchset(condition(1)) | {"id": "x" * 600}

    async def fetch_two(base: str, allowances: list[Allowance]) -> list[object]:
        client = FhirClient()
        (server,) = read_servers([base])
        deadline = asyncio.get_running_loop().time() + 10
        fetches = (client.fetch(Access(server), SEARCH, deadline, each) for each in allowances)
        try:
            return await asyncio.gather(*fetches, return_exceptions=True)
        finally:
            await client.aclose()

    with serving({SEARCH: big}) as server:
        shared = asyncio.run(fetch_two(server.base, [Allowance()] * 2))
        apart = asyncio.run(fetch_two(server.base, [Allowance(), Allowance()]))

    assert sum(isinstance(answer, CannotBeHad) for answer in shared) == 1
    assert not any(isinstance(answer, CannotBeHad) for answer in apart)


def test_a_compressed_answer_is_refused() -> None:
    """It was not asked for, and may unfold to any size."""
    with serving({SEARCH: Reply(b"", headers={"Content-Encoding": "gzip"})}) as server:
        assert "compressed" in why_not(server)

    assert server.asked[0].headers["Accept-Encoding"] == "identity"


# --- what may pass -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "first",
    [
        Reply(status=503),
        Reply(status=502),
        Reply(status=504),
        Reply(status=429),
        Reply(status=503, headers={"Retry-After": "0"}),
        Reply(status=503, headers={"Retry-After": "Tue, 24 Nov 2020 10:00:00 GMT"}),
        Reply(status=503, headers={"Retry-After": "soon"}),
        Reply(status=503, headers={"Retry-After": "Fri, 31 Dec 99999999999999999999 23:59:59 GMT"}),
        Reply(status=503, headers={"Retry-After": "Fri, 31 Dec 2021 23:59:59 +99999999999999999"}),
        Reply(drop=True),
    ],
)
def test_what_may_pass_is_asked_again(first: Reply) -> None:
    """A server that is busy, or a connection that broke, is given another chance."""
    replies = iter([first, Reply(searchset(condition(1)))])
    with serving(lambda target: next(replies)) as server:
        assert ids(fetch(server)) == ["c1"]

    assert len(server.asked) == 2


def test_what_does_not_pass_is_given_up() -> None:
    """After a few attempts the last reason is told."""
    with serving({SEARCH: Reply(status=503, headers={"Retry-After": "0"})}) as server:
        assert why_not(server) == "the FHIR server answered with HTTP status 503"

    assert len(server.asked) == MOST_ATTEMPTS


def test_a_wait_beyond_the_deadline_is_not_begun() -> None:
    """A server that wants to be asked later than there is time is told of at once."""
    with serving({SEARCH: Reply(status=429, headers={"Retry-After": "3600"})}) as server:
        assert why_not(server) == "the FHIR server answered with HTTP status 429"

    assert len(server.asked) == 1


def test_point_10_a_slow_server_is_waited_for_only_until_the_deadline() -> None:
    """The deadline ends a request that is under way."""
    with serving({SEARCH: Reply(hold=True)}) as server:
        why = why_not(server, seconds=0.2)

    assert why == "the FHIR server took longer than there is time for"


def test_a_server_that_is_not_there_cannot_be_reached() -> None:
    """A port that nobody listens on is tried as often as one that is busy."""
    with serving({}) as server:
        pass

    assert why_not(server) == "the FHIR server could not be reached"


# --- addresses -----------------------------------------------------------------------------------

NAME = "https://fhir.hospital.example/fhir"
REFUSED = (
    "the name of the FHIR server leads to a private address, which the list of allowed servers "
    "does not name"
)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "0.0.0.0",
        "10.1.2.3",
        "100.64.0.1",
        "169.254.169.254",
        "172.16.0.1",
        "192.168.1.1",
        "224.0.0.1",
        "255.255.255.255",
        "::1",
        "::",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "64:ff9b::7f00:1",
        "2002:7f00:1::",
        "2001:0:1::1",
        "fc00::1",
        "fe80::1%eth0",
        "fec0::1",
        "ff02::1",
    ],
)
def test_a_name_that_leads_to_a_private_address_is_refused(address: str) -> None:
    """A listed name is no way into a network, not even beside a public address."""
    assert why_not([NAME], resolve=resolving(address)) == REFUSED
    assert why_not([NAME], resolve=resolving("192.0.32.7", address)) == REFUSED


def test_a_name_that_leads_to_this_machine_is_refused_by_the_machines_own_resolver() -> None:
    """The machine's own way of finding names is checked like any other."""
    with serving({SEARCH: searchset()}) as server:
        assert why_not([f"https://localhost.localdomain:{server.port}/fhir"]) in (
            REFUSED,
            "the name of the FHIR server was not found",
        )
        assert why_not([f"https://127.1:{server.port}/fhir"]) == REFUSED

    assert server.asked == []


def test_a_name_that_is_not_found_is_told() -> None:
    """What no resolver knows is no fault of the service."""

    async def fail(host: str, port: int) -> Iterable[str]:
        raise OSError("no such name")

    assert why_not([NAME], resolve=fail) == "the name of the FHIR server was not found"


def test_localhost_may_be_this_machine() -> None:
    """A list that names localhost means it."""
    with serving({SEARCH: searchset(condition(1))}) as server:
        assert ids(fetch([f"http://localhost:{server.port}/fhir"])) == ["c1"]


def certificate(folder: Path, *names: str) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Make a certificate of its own authority: what serves with it, and what trusts it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "Test")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([_general(n) for n in names]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    chain = folder / "server.pem"
    pem = serialization.Encoding.PEM
    chain.write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + made.public_bytes(pem)
    )
    serves = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serves.load_cert_chain(chain)
    trusts = ssl.create_default_context(cadata=made.public_bytes(pem).decode())
    return serves, trusts


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def test_a_private_address_that_the_list_names_is_used_with_the_name(tmp_path: Path) -> None:
    """The certificate and the Host are those of the name, the connection that of the address.

    The address that does not answer is passed over.
    """
    serves, trusts = certificate(tmp_path, "fhir.hospital.example")
    with serving({SEARCH: searchset(condition(1))}, serves) as server:
        listed = [f"https://fhir.hospital.example:{server.port}/fhir", "127.0.0.0/8"]

        pages = fetch(listed, resolve=resolving("127.0.0.9", "127.0.0.1"), tls=trusts)

    assert ids(pages) == ["c1"]
    assert server.asked[0].headers["Host"] == f"fhir.hospital.example:{server.port}"


def test_a_certificate_of_another_name_is_refused(tmp_path: Path) -> None:
    """Who cannot prove the name gets no request, however the name led there."""
    serves, trusts = certificate(tmp_path, "other.hospital.example", "127.0.0.1")
    with serving({SEARCH: searchset()}, serves) as server:
        listed = [f"https://fhir.hospital.example:{server.port}/fhir", "127.0.0.1"]

        why = why_not(listed, resolve=resolving("127.0.0.1"), tls=trusts)

    assert why == "the FHIR server has no certificate that is trusted"
    assert server.asked == []


def test_a_certificate_of_the_address_serves_a_server_that_is_listed_by_it(tmp_path: Path) -> None:
    """A base URL with an address needs a certificate for that address."""
    serves, trusts = certificate(tmp_path, "127.0.0.1")
    with serving({SEARCH: searchset(condition(1))}, serves) as server:
        assert ids(fetch([f"https://127.0.0.1:{server.port}/fhir"], tls=trusts)) == ["c1"]


# --- what is not told ----------------------------------------------------------------------------


def test_point_07_neither_token_nor_patient_are_in_what_is_logged_or_raised(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Libraries log addresses and headers at their most talkative; here they do not."""
    replies = iter([Reply(status=503), Reply(drop=True), Reply(b"<hana>")])
    with (
        structlog.testing.capture_logs() as logged,
        caplog.at_level(logging.DEBUG),
        serving(lambda target: next(replies)) as server,
    ):
        (allowed,) = read_servers([server.base])
        why = why_not(server, "Patient/hana")

    assert len(server.asked) == 3
    assert [entry["event"] for entry in logged] == ["stamina.retry_scheduled"] * 2
    said = caplog.text + str(logged) + why + repr(Access(allowed, TOKEN))
    assert TOKEN not in said
    assert "hana" not in said
