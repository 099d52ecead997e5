"""The clients that may call the service, from one file that whoever runs it writes (CDS_CLIENTS).

    clients:
      - name: Example University Hospital
        issuer: https://ehr.hospital.example/fhir
        jku: https://ehr.hospital.example/jwks.json
        audience: [https://cds.hospital.example]
        tenants: [2ddd6c3a-8e9a-44c6-a305-52111ad302a2]
        fhir_servers: [https://ehr.hospital.example/fhir]

Several entries may have one issuer, where each names tenants of its own: hospitals that an EHR
vendor serves from one place, with different `fhir_servers` or `audience`.

What CDS Hooks says of it: https://cds-hooks.hl7.org/2.0/#trusting-cds-clients. How a client is set
up is told in docs/authentication.md.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, urlsplit

from msgspec import Struct

from cds.addresses import is_this_machine
from cds.fhir.servers import Server, read_servers
from cds.hooks.keys import KeysInvalid, Source, is_open_to_all, read_key_file, read_key_set
from cds.located import Document, FilesInvalid, Steps, read_document, read_struct


class Client(Struct, frozen=True, kw_only=True):
    """A system that may call the service.

    ``issuer`` is the `iss` of its tokens, character for character. ``audience`` are the base URLs
    under which it calls this service, without a slash at the end: the `aud` of a token is one of
    them with the path of the endpoint behind it. Its public keys stand in ``jwks_file`` or at the
    address ``jku``, one of the two. If ``tenants`` are named, the `tenant` of a token must be among
    them; clients of one issuer have the same keys, and are told apart by their tenants.
    ``fhir_servers`` may be asked for what was not prefetched; none if empty.
    """

    name: str
    issuer: str
    audience: tuple[str, ...]
    jwks_file: Path | None = None
    jku: str | None = None
    tenants: tuple[str, ...] = ()
    fhir_servers: tuple[Server, ...] = ()

    @property
    def keys(self) -> Source:
        """Where its public keys are."""
        source = self.jwks_file or self.jku
        assert source is not None, "read_clients lets no other pass"
        return source


LONGEST_NAME = 100
LONGEST_TENANT = 99
"""Characters: with the slash between, the database keeps 200 of who called."""


class Caller(Struct, frozen=True):
    """Who calls: a client, and the tenant that its token names, empty where it names none."""

    client: Client
    tenant: str = ""

    @property
    def name(self) -> str:
        """What keeps apart whatever belongs to different callers: ``name`` or ``name/tenant``.

        What two hospitals of one EHR vendor are told and tell is as separate as that of two
        vendors. No name has a slash, so that no two callers have the same.
        """
        return f"{self.client.name}/{self.tenant}" if self.tenant else self.client.name


class _Entry(Struct, frozen=True, kw_only=True):
    """A client as it is written."""

    name: str
    issuer: str
    audience: tuple[str, ...]
    jwks_file: str | None = None
    jku: str | None = None
    tenants: tuple[str, ...] | None = None
    fhir_servers: tuple[str, ...] = ()


class _Clients(Struct, frozen=True, kw_only=True):
    # Each is read by itself, so that a mistake in one hides none in another.
    clients: list[Any]


def read_clients(path: Path) -> tuple[Client, ...]:
    """Read the list of clients, in the order of the file.

    ``jwks_file`` is looked for from the folder of the list. Raises ``FilesInvalid`` with every
    mistake, each at its place.
    """
    document = read_document(path)
    if path.exists() and is_open_to_all(path.stat()):
        document.report(
            "open-to-all",
            (),
            f"everyone may change who is let in by this file: chmod o-w {path}",
        )
    listed = read_struct(document, (), _Clients) if not document.problems else None
    clients = []
    if listed is not None:
        if not listed.clients:
            document.report("blank", ("clients",), "names no client, so every call is refused")
        entries = [
            (("clients", number), read_struct(document, ("clients", number), _Entry))
            for number in range(len(listed.clients))
        ]
        present = [(steps, entry) for steps, entry in entries if entry is not None]
        _check_distinct(document, present)
        clients = [_client(document, steps, entry, path.parent) for steps, entry in present]
    if document.problems:
        raise FilesInvalid(document.problems)
    return tuple(clients)


_Entries = list[tuple[tuple[str, int], _Entry]]


def _check_distinct(document: Document, entries: _Entries) -> None:
    """Report names that are not one client's, and clients that a token does not tell apart."""
    named: dict[str, int] = {}
    of_issuer: dict[str, _Entries] = {}
    for steps, entry in entries:
        for key, value in (("name", entry.name), ("issuer", entry.issuer)):
            if not value.strip():
                document.report("blank", (*steps, key), f"`{key}` is empty")
        if entry.name.strip():
            _check_name(document, (*steps, "name"), entry.name, named)
        if entry.tenants is not None:
            _check_tenants(document, (*steps, "tenants"), entry.tenants)
        if entry.issuer.strip():
            of_issuer.setdefault(entry.issuer, []).append((steps, entry))
    for same in of_issuer.values():
        if len(same) > 1:
            _check_apart(document, same)


def _check_name(document: Document, steps: Steps, name: str, named: dict[str, int]) -> None:
    line = document.place(steps).line
    first = named.setdefault(name, line)
    if first != line:
        document.report(
            "duplicate-client",
            steps,
            f"another client has this name too (line {first}): what is kept of their calls would "
            "be taken for that of one, so give each a name of its own",
        )
    if "/" in name or len(name) > LONGEST_NAME or not name.isprintable():
        document.report(
            "bad-name",
            steps,
            f"has a slash, behind which the log writes the tenant, is longer than {LONGEST_NAME} "
            "characters, or cannot be printed: write another",
        )


def _check_tenants(document: Document, steps: Steps, tenants: tuple[str, ...]) -> None:
    if not tenants:
        document.report(
            "blank",
            steps,
            "names no tenant, so every token is refused: name some, or leave `tenants` out where "
            "every tenant of this client may call",
        )
    for number, tenant in enumerate(tenants):
        if not is_tenant(tenant):
            document.report(
                "bad-tenant",
                (*steps, number),
                f"is empty, longer than {LONGEST_TENANT} characters, or cannot be printed: no "
                "token with it is accepted",
            )


def is_tenant(tenant: object) -> bool:
    """Whether a `tenant` can be kept as it is: some text that a line of a log can hold."""
    return isinstance(tenant, str) and 0 < len(tenant) <= LONGEST_TENANT and tenant.isprintable()


def _check_apart(document: Document, same: _Entries) -> None:
    """Report clients of one issuer that are not told apart by tenants, or have other keys."""
    first = same[0]
    owner: dict[str, tuple[str, int]] = {}
    for steps, entry in same:
        other = document.place((*(first[0] if steps != first[0] else same[1][0]), "issuer")).line
        if entry.tenants is None:
            document.report(
                "duplicate-client",
                (*steps, "issuer"),
                f"another client has this issuer too (line {other}): a token must belong to one "
                "client only, so put both into one, or name the `tenants` of each",
            )
        for number, tenant in enumerate(entry.tenants or ()):
            if owner.setdefault(tenant, steps) != steps:
                line = document.place((*owner[tenant], "tenants")).line
                document.report(
                    "duplicate-tenant",
                    (*steps, "tenants", number),
                    f"another client of this issuer has this tenant too (line {line}): a token "
                    "must belong to one client only, so take it out of one",
                )
        elsewhere = (entry.jwks_file, entry.jku) != (first[1].jwks_file, first[1].jku)
        if elsewhere and entry.tenants:
            document.report(
                "other-keys",
                (*steps, "jku" if entry.jku is not None else "jwks_file"),
                f"another client of this issuer (line {other}) has its keys elsewhere: write the "
                "same, because the tenant counts only once the signature was found right",
            )


def _client(document: Document, steps: Steps, entry: _Entry, folder: Path) -> Client:
    jwks_file = None
    if (entry.jwks_file is None) == (entry.jku is None):
        which = "neither" if entry.jku is None else "both"
        document.report(
            "no-key-set",
            steps if entry.jku is None else (*steps, "jku"),
            f"has {which} of `jwks_file` and `jku`: write the one that tells where the public keys "
            "of this client are",
        )
    if entry.jwks_file is not None:
        jwks_file = folder / entry.jwks_file
        _check_file(document, (*steps, "jwks_file"), jwks_file)
    if entry.jku is not None:
        _address(document, (*steps, "jku"), entry.jku, confidential=True, query=True)
    if not entry.audience:
        document.report("blank", (*steps, "audience"), "names no URL, so every token is refused")
    return Client(
        name=entry.name,
        issuer=entry.issuer,
        audience=tuple(
            _audience(document, (*steps, "audience", number), url)
            for number, url in enumerate(entry.audience)
        ),
        jwks_file=jwks_file,
        jku=entry.jku,
        tenants=entry.tenants or (),
        fhir_servers=_fhir_servers(document, (*steps, "fhir_servers"), entry.fhir_servers),
    )


def _check_file(document: Document, steps: Steps, file: Path) -> None:
    try:
        read_key_set(read_key_file(file))
    except OSError as fault:
        document.report("bad-key-set", steps, f"{file} cannot be read: {fault.strerror}")
    except KeysInvalid as fault:
        document.report("bad-key-set", steps, f"{file} cannot be used: {fault}")


def _fhir_servers(document: Document, steps: Steps, listed: tuple[str, ...]) -> tuple[Server, ...]:
    servers: list[Server] = []
    for number, entry in enumerate(listed):
        try:
            servers += read_servers([entry])
        except ValueError as fault:
            document.report("bad-address", (*steps, number), str(fault))
    return () if document.problems else read_servers(listed)


def _audience(document: Document, steps: Steps, url: str) -> str:
    base = _address(document, steps, url, confidential=False)
    if base.endswith("/cds-services") and _split(base) is not None:
        document.report(
            "bad-address",
            steps,
            "ends with /cds-services: write what stands before it, because the rest of the URL of "
            "each endpoint is put behind this",
        )
    return base


def _address(
    document: Document, steps: Steps, url: str, *, confidential: bool, query: bool = False
) -> str:
    """An absolute URL without the slash at its end, or the problem that it is none.

    ``confidential`` where keys come from there: with http, only from this machine.
    """
    parts = _split(url)
    example = "write an absolute URL such as https://ehr.hospital.example/fhir"
    if parts is None or parts.scheme not in ("http", "https"):
        document.report("bad-address", steps, f"`{url}` is not the URL of a server: {example}")
    elif parts.username is not None or parts.password is not None:
        document.report("bad-address", steps, "has a name or password in it: leave these out")
    elif parts.fragment or (parts.query and not query):
        document.report("bad-address", steps, f"`{url}` has more than a path behind it: {example}")
    elif confidential and parts.scheme == "http" and not is_this_machine(parts.hostname or ""):
        document.report(
            "bad-address",
            steps,
            f"`{url}` is read without encryption, so anyone between could change it: write https "
            "(http only for localhost, 127.0.0.1 or [::1])",
        )
    return url.rstrip("/")


def _split(url: str) -> SplitResult | None:
    """The parts of a URL, if it has a host and a port that can be."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return None
    plain = url.isascii() and url.isprintable() and " " not in url and "\\" not in url
    return parts if plain and parts.hostname and port != 0 else None
