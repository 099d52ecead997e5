import ipaddress
import tracemalloc
from collections.abc import Callable

import pytest

from cds.fhir.servers import (
    LONGEST_URL,
    Server,
    base_of,
    is_allowed,
    read_servers,
    server_at,
    server_of,
    within,
)


@pytest.mark.parametrize(
    ("written", "base"),
    [
        ("https://ehr.example/fhir", "https://ehr.example/fhir"),
        ("https://ehr.example/fhir/", "https://ehr.example/fhir"),
        ("HTTPS://EHR.example:443/fhir", "https://ehr.example/fhir"),
        ("https://ehr.example:8443/FHIR/R4//", "https://ehr.example:8443/FHIR/R4"),
        ("https://ehr.example", "https://ehr.example"),
        ("http://localhost:80/fhir", "http://localhost/fhir"),
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("http://[::1]:8080/fhir", "http://[::1]:8080/fhir"),
    ],
)
def test_a_base_url_has_one_way_of_writing(written: str, base: str) -> None:
    """What means the same server is the same text, so that it can be compared."""
    assert base_of(written) == base


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ("", "not the address of a FHIR server"),
        ("fhir.example/r4", "not the address of a FHIR server"),
        ("/fhir", "not the address of a FHIR server"),
        ("ftp://ehr.example/fhir", "not the address of a FHIR server"),
        ("https:///fhir", "not the address of a FHIR server"),
        ("https://ehr.example:99999/fhir", "not the address of a FHIR server"),
        ("https://ehr.example:0/fhir", "not the address of a FHIR server"),
        ("https://ehr.example/a b", "not the address of a FHIR server"),
        ("https://ehr.example\\@evil.example/", "not the address of a FHIR server"),
        ("https://éhr.example/fhir", "not the address of a FHIR server"),
        ("https://ehr.example/fhir\n", "not the address of a FHIR server"),
        ("https://[::1/fhir", "not the address of a FHIR server"),
        ("https://me:you@ehr.example/fhir", "holds a name or password"),
        ("https://ehr.example/fhir?x=1", "more than a path"),
        ("https://ehr.example/fhir#", "more than a path"),
        ("http://ehr.example/fhir", "unencrypted"),
        ("http://10.0.0.1/fhir", "unencrypted"),
        ("10.20.0.1/16", "not the address of a FHIR server"),
    ],
)
def test_what_is_no_base_url_is_refused_with_the_reason(written: str, told: str) -> None:
    """A list with a mistake is not used in part."""
    with pytest.raises(ValueError, match=told) as fault:
        read_servers(["https://ehr.example/fhir", written])

    assert "you@" not in str(fault.value)


@pytest.mark.parametrize(
    ("reference", "server"),
    [
        ("https://EHR.example:443/fhir/Patient/p1/_history/2", "ehr.example/fhir"),
        ("http://ehr.example:80/fhir//Patient/p1", "ehr.example/fhir"),
        ("https://ehr.example:8443/Fhir/Patient/p1", "ehr.example:8443/Fhir"),
        ("https://ehr.example/Patient/p1", "ehr.example"),
        ("http://[::1]:8080/fhir/Patient/p1", "[::1]:8080/fhir"),
        ("Patient/p1", None),
        ("//ehr.example/fhir/Patient/p1", None),
        ("ftp://ehr.example/fhir/Patient/p1", None),
        ("urn:uuid:c0ffee", None),
        ("https://ehr.example:x/fhir/Patient/p1", None),
        ("https://ehr.example/fhir?a/Patient/p1", None),
        ("https:///Patient/p1", None),
        ("https://p1", None),
        ("", None),
    ],
)
def test_a_reference_tells_its_server_in_one_way_of_writing(
    reference: str, server: str | None
) -> None:
    """Scheme, capitals of the host, default port, version and slashes at the end do not count."""
    assert server_of(reference) == server


def test_a_list_names_servers_and_the_networks_that_they_may_be_in() -> None:
    """Networks are those of the whole list; an address that is a base URL is its own."""
    inside = ipaddress.ip_network("10.20.0.0/16")

    assert read_servers(["https://ehr.example/fhir", "10.20.0.0/16", "https://10.9.9.9"]) == (
        Server("https://ehr.example/fhir", (inside,)),
        Server("https://10.9.9.9", (inside, ipaddress.ip_network("10.9.9.9"))),
    )
    assert read_servers([]) == ()


def test_a_public_address_needs_no_network_and_a_private_one_its_own() -> None:
    """A network that was named opens that network, also as an IPv6 socket writes it."""
    networks = (ipaddress.ip_network("10.20.0.0/16"),)

    assert is_allowed(ipaddress.ip_address("192.0.32.7"), ())
    assert is_allowed(ipaddress.ip_address("2606:2800:220::1"), ())
    assert is_allowed(ipaddress.ip_address("10.20.1.1"), networks)
    assert is_allowed(ipaddress.ip_address("::ffff:10.20.1.1"), networks)
    assert not is_allowed(ipaddress.ip_address("10.21.1.1"), networks)
    for other in ("224.0.0.1", "239.1.1.1", "255.255.255.255", "ff0e::1", "0.0.0.0", "::"):
        assert not is_allowed(ipaddress.ip_address(other), ())


@pytest.mark.parametrize("base", ["https://ehr.example", "https://ehr.example/fhir"])
def test_what_lies_under_a_base_is_found_relative_to_it(base: str) -> None:
    """Relative and absolute addresses under the base mean the same."""
    server = Server(base)

    assert within(server, "Patient/1") == f"{base}/Patient/1"
    assert within(server, f"{base}/Patient/1#top") == f"{base}/Patient/1"
    assert within(server, f"{base}?page=2") == f"{base}?page=2"
    assert within(server, "https://other.example/fhir/Patient/1") is None


@pytest.mark.parametrize(
    "path",
    [
        "..",
        "../admin",
        "Patient/../../admin",
        "%2e%2e/admin",
        "%2E./admin",
        "..;/admin",
        "..;jsessionid=1/admin",
        "..%3b/admin",
        "..%5cadmin",
        "..%5Cadmin",
        "%252e%252e/admin",
        "Patient%252f..%252f..%252fadmin",
        "..%2fadmin",
        "Patient%2f..%2f..%2fadmin",
        "..%00/admin",
        "...",
        ".;/admin",
        "Patient;v=1/1",
        "./Patient%2e/%2e",
    ],
)
def test_a_path_that_some_server_reads_as_leading_out_is_refused(path: str) -> None:
    """What is decoded twice, ends at a semicolon or has a backslash is read in several ways."""
    assert within(Server("https://ehr.example/fhir"), f"https://ehr.example/fhir/{path}") is None


def test_dots_and_signs_elsewhere_lead_nowhere() -> None:
    """Ids may hold dots, pages are named in the query, and the base is as the operator wrote it."""
    server = Server("https://ehr.example/r4;v=1/50%25")

    for rest in ("/Patient/a..b.", "/Patient/.x", "?page=..;/%252e%252e", "/Patient?a=%5c"):
        assert within(server, server.base + rest) == server.base + rest


# --- what is kept of them ------------------------------------------------------------------------

SERVER = Server("https://ehr.example/fhir")


@pytest.mark.parametrize(
    "read",
    [
        server_of,
        server_at,
        lambda url: within(SERVER, url),
        lambda url: within(SERVER, url.removeprefix("https://ehr.example/fhir/")),
        lambda url: within(SERVER, "?page=" + url.rpartition("/")[2]),
    ],
)
@pytest.mark.parametrize("sign", ["x", "é"])
def test_of_long_addresses_nothing_is_kept(read: Callable[[str], str | None], sign: str) -> None:
    """What a sender writes for an address fills no memory that outlives the call."""
    tracemalloc.start()
    try:
        for number in range(20):
            url = f"https://ehr.example/fhir/{sign * 100_000}{number}/Patient/{sign * 100_000}"
            assert read(url) is None
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < 1_000_000  # of 4 MB that were sent


def test_an_address_of_the_greatest_length_is_read() -> None:
    """Servers whose further pages have long addresses are followed up to the bound."""
    address = f"{SERVER.base}?page=".ljust(LONGEST_URL, "x")
    assert within(SERVER, address) == address
    assert within(SERVER, f"{address}x") is None
    base = "https://ehr.example/".ljust(LONGEST_URL, "x")
    assert server_at(base) == base.removeprefix("https://")
    assert server_at(f"{base}x") is None
