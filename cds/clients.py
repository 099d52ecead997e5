"""The commands ``cds clients``: whether clients are set up right, before any of them calls."""

from __future__ import annotations

import asyncio
import base64
import os
import sys
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from cds.located import FilesInvalid
from cds.terminal import printable, printable_line

if TYPE_CHECKING:
    from cds.hooks.clients import Client
    from cds.hooks.keys import KeySet, Source

app = typer.Typer(help="Check the clients that may call the service.", no_args_is_help=True)

FileArgument = Annotated[
    Path | None,
    typer.Argument(metavar="[FILE]", help="List of clients; CDS_CLIENTS if not given."),
]


@app.command()
def check(file: FileArgument = None) -> None:
    """List the clients with their public keys, fetching these where they are at an address.

    Ends with status 1 where the list has a mistake, or the keys of a client cannot be had.
    """
    from cds.hooks.keys import KeysInvalid

    clients = _read(file)
    missing = 0
    for client in clients:
        _say(client.name)
        _say(f"  issuer        {client.issuer}")
        try:
            lines = list(_key_lines(asyncio.run(_key_set(client.keys))))
        except KeysInvalid as fault:
            missing += 1
            lines = [f"NONE: {fault}"]
        _say(f"  keys          {client.keys}")
        for line in lines:
            _say(f"                {line}")
        _say(f"  audience      {_listed(client.audience)}")
        _say(f"  tenants       {_listed(client.tenants) or 'any'}")
        servers = _listed(tuple(server.base for server in client.fhir_servers))
        _say(f"  FHIR servers  {servers or 'none: nothing is fetched'}")
        _say("")
    if missing:
        _fail(f"Without keys, no call of {missing} of {len(clients)} clients is accepted.")
    _say(f"{len(clients)} {'client' if len(clients) == 1 else 'clients'}, no errors")


@app.command()
def token(
    file: FileArgument = None,
    path: Annotated[
        str, typer.Option(metavar="PATH", help="The endpoint that the token is for.")
    ] = "/cds-services",
) -> None:
    """Say whether a token would be accepted, and if not, why; the token is read from stdin.

    Nothing is remembered, so that the token can still be used. Ends with status 1 where it would
    be refused.
    """
    from cds.hooks.authentication import Authenticator, Unauthenticated
    from cds.hooks.keys import KeySets

    clients = _read(file)
    sent = sys.stdin.read().strip().removeprefix("Authorization:").strip()
    sent = sent.removeprefix("Bearer ").strip()
    for part, content in zip(("header", "claims"), _decoded(sent), strict=False):
        _say(f"{part}  {content}")
    known = Authenticator(clients, KeySets(), _never_used)
    try:
        caller = asyncio.run(known.authenticate(f"Bearer {sent}", path))
    except Unauthenticated as refusal:
        _fail(f"refused: {refusal.reason}{': ' if refusal.detail else ''}{refusal.detail}")
    tenant = f", tenant {caller.tenant}" if caller.tenant else ""
    _say(f"accepted, as a token of {caller.client.name}{tenant}")


async def _never_used(issuer: str, jti: str, until: datetime) -> bool:
    return True


def _decoded(token: str) -> Iterator[str]:
    """Header and claims as they are, whether they are right or not."""
    for part in token.split(".")[:2]:
        try:
            content = base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
            yield content.decode("utf-8")
        except ValueError:
            yield "(not to be read)"


def _read(file: Path | None) -> tuple[Client, ...]:
    # Imported where it is needed: no other command has use for keys.
    from cds.hooks.clients import read_clients

    named = file or os.environ.get("CDS_CLIENTS")
    if not named:
        _fail("Which list of clients? Name the file, or set CDS_CLIENTS.")
    try:
        return read_clients(Path(named))
    except FilesInvalid as fault:
        _fail(str(fault))


async def _key_set(source: Source) -> KeySet:
    from cds.hooks.keys import fetch_key_set, read_key_set

    content = source.read_bytes() if isinstance(source, Path) else await fetch_key_set(source)
    return read_key_set(content)


def _key_lines(key_set: KeySet) -> Iterator[str]:
    for kid, key in key_set.keys.items():
        yield f"{kid}  {key.key_type}, {key.public_key.key_size} bits"
    for reason in key_set.unused:
        yield f"not used: {reason}"


def _listed(values: Sequence[str]) -> str:
    return ", ".join(values)


def _say(line: str) -> None:
    typer.echo(printable_line(line))


def _fail(message: str) -> NoReturn:
    sys.stdout.flush()
    typer.echo("\n".join(map(printable, message.split("\n"))), err=True)
    raise typer.Exit(1)
