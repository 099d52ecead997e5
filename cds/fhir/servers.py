"""Which FHIR servers may be asked, and what of an address belongs to one.

Operators list servers by their base URLs. A listed name is no leave to reach into a network: the
addresses that it leads to must be public, unless the list names them too.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from urllib.parse import SplitResult, unquote, urljoin, urlsplit

from msgspec import Struct

from cds.addresses import Address, is_this_machine, literal_address

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

LONGEST_URL = 8000
"""Characters of an address that is taken apart; servers read none that is longer, as a rule.

What takes addresses apart keeps the last of them for as long as the process lives: without a bound,
whoever sends very long ones would fill the memory, outside of all limits.
https://www.rfc-editor.org/rfc/rfc9110#section-4.1-5
"""


class Server(Struct, frozen=True):
    """A FHIR server that may be asked.

    ``base`` is as ``base_of`` writes it; ``networks`` are the addresses that it may have although
    they are not of the public internet.
    """

    base: str
    networks: tuple[Network, ...] = ()


def read_servers(listed: Iterable[str]) -> tuple[Server, ...]:
    """Read a list of base URLs, and of the private addresses or networks that they may be in.

    ``https://ehr.example/fhir`` must have public addresses, unless the list has an entry such as
    ``10.20.0.0/16`` or ``10.20.1.4`` too. A server that is listed by an address, or as localhost,
    may have that address. Raises ``ValueError`` saying what is wrong with which entry.
    """
    bases: list[str] = []
    networks: list[Network] = []
    for entry in listed:
        try:
            networks.append(ipaddress.ip_network(entry))
        except ValueError:
            bases.append(base_of(entry))
    return tuple(Server(base, (*networks, *_named_by(base))) for base in bases)


def base_of(url: str) -> str:
    """The base URL of a FHIR server in its one way of writing, without a slash at the end.

    Raises ``ValueError`` where it is none, or would send tokens over a network in the clear.
    """
    example = "write a base URL such as https://ehr.example/fhir"
    parts = _split(url)
    if parts is None or parts.scheme not in ("http", "https"):
        raise ValueError(f"`{url}` is not the address of a FHIR server: {example}")
    if parts.username is not None or parts.password is not None:
        raise ValueError(f"the address of {parts.hostname} holds a name or password: {example}")
    if parts.query or parts.fragment or "?" in url or "#" in url:
        raise ValueError(f"`{url}` has more than a path: {example}")
    host = parts.hostname or ""
    if parts.scheme == "http" and not is_this_machine(host):
        raise ValueError(
            f"`{url}` would send tokens and patient data unencrypted: write https "
            "(http only for localhost, 127.0.0.1 or [::1])"
        )
    return f"{_origin(parts)}{parts.path.rstrip('/')}"


def server_of(reference: str) -> str | None:
    """The server of an absolute reference or address, as others are compared with it; else None.

    That of ``https://EHR.example:443/fhir/Patient/p1/_history/2`` is ``ehr.example/fhir``: no more
    than this tells one server from another. Not the scheme, as a server may not know that what
    stands before it speaks https.
    """
    if not reference.lower().startswith(("http://", "https://")):
        return None
    resource = reference.split("/_history/")[0].rstrip("/")
    return server_at(resource.rpartition("/")[0].rpartition("/")[0])


def server_at(base: str) -> str | None:
    """A base URL as ``server_of`` has it; None where it is none."""
    parts = _split(base)
    if parts is None or parts.scheme not in _PORTS or "?" in base or "#" in base:
        return None
    return _origin(parts).partition("://")[2] + parts.path.rstrip("/")


def is_allowed(address: Address, networks: Iterable[Network]) -> bool:
    """Whether an address is of the public internet, or in one of the networks that were named."""
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    if any(address in network for network in networks):
        return True
    if not address.is_global or address.is_multicast or address.is_reserved:
        return False
    # What carries another address in it may lead anywhere.
    return isinstance(address, ipaddress.IPv4Address) or not (
        address.sixtofour or address.teredo or address.is_site_local
    )


_LOOPBACK: tuple[Network, ...] = (
    ipaddress.ip_network("127.0.0.0/8"),
    ipaddress.ip_network("::1/128"),
)


def _named_by(base: str) -> tuple[Network, ...]:
    """The networks that a base URL names by itself."""
    host = urlsplit(base).hostname or ""
    if host == "localhost":
        return _LOOPBACK
    literal = literal_address(host)
    return () if literal is None else (ipaddress.ip_network(literal),)


def within(server: Server, url: str) -> str | None:
    """A relative or absolute address as an absolute one; None where it leads out of the base."""
    if len(url) > LONGEST_URL:
        return None
    try:
        parts = _split(urljoin(f"{server.base}/", url))
    except ValueError:
        return None
    base = urlsplit(server.base)
    if parts is None or parts.username is not None or _origin(parts) != _origin(base):
        return None
    path, root = unquote(parts.path), unquote(base.path)
    if path != root and not path.startswith(f"{root}/"):
        return None
    if _may_climb(path.removeprefix(root)):
        return None
    return f"{_origin(parts)}{parts.path}" + (f"?{parts.query}" if parts.query else "")


def _may_climb(path: str) -> bool:
    """Whether what stands behind a base, decoded once, could be read as the way out of it.

    Servers and what stands before them differ in what they decode twice (``%``), take for a slash
    (a backslash) or cut off a step (``;`` and what follows): ``..;/``, ``..%5c``, ``%252e%252e``.
    """
    if any(sign in path for sign in "%\\;") or not path.isprintable():
        return True
    return any(step == "." or step.startswith("..") for step in path.split("/"))


def _split(url: str) -> SplitResult | None:
    """The parts of a URL, if it is not too long and has a host and a port that can be."""
    plain = url.isascii() and url.isprintable() and " " not in url and "\\" not in url
    if not plain or len(url) > LONGEST_URL:
        return None
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return None
    return parts if parts.hostname and port != 0 else None


_PORTS = {"http": 80, "https": 443}


def _origin(parts: SplitResult) -> str:
    host = parts.hostname or ""
    host = f"[{host}]" if ":" in host else host
    port = "" if parts.port in (None, _PORTS.get(parts.scheme)) else f":{parts.port}"
    return f"{parts.scheme}://{host}{port}"
