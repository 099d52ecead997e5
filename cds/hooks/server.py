"""Starts the service: reads the rules, warms up, says on the terminal what to try, and serves."""

from __future__ import annotations

import asyncio
import contextlib
import shlex
import socket
import sys
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import NoReturn

import structlog
import uvicorn

from cds.advice import load_rules
from cds.fhir.client import FhirClient
from cds.fhir.servers import read_servers
from cds.hooks.authentication import Authenticator
from cds.hooks.clients import Client, read_clients
from cds.hooks.fetching import Fetching
from cds.hooks.keys import KeySets
from cds.hooks.logs import log_json
from cds.hooks.outcomes import Refused
from cds.hooks.prefetch import make_templates
from cds.hooks.reloading import Reloader, poll, prepare, settle_memory
from cds.hooks.replays import InMemory
from cds.hooks.service import DISCOVERY, InService, answer, create_app
from cds.hooks.services import service_id
from cds.located import FilesInvalid
from cds.rules.engine import EngineFault, keep_memory
from cds.rules.ruleset import EnginesDisagree, RuleSet
from cds.settings import Settings, SettingsInvalid, check_servable, today

EXAMPLE = "rp-ild-mda5.request.json"
"""A request that is answered with a critical card."""


def serve(settings: Settings) -> None:
    """Serve until interrupted.

    What prevents that (settings, clients, rules, a port in use) is printed to stderr, and the
    process ends with status 1.
    """
    try:
        check_servable(settings)
        clients = _clients(settings)
        keep_memory()
        ruleset = _load_settled(settings)
        app = create_app(
            ruleset, partial(today, settings), _authenticator(clients), _fetching(settings)
        )
        example = settings.examples / EXAMPLE
        warm_up = partial(_warm_up, example=example, settings=settings)
        warm_up(ruleset)
    except SettingsInvalid as fault:
        _stop(str(fault))
    except FilesInvalid as fault:
        site = f", with those of the site {settings.site}," if settings.site else ""
        _stop(f"The rules in {settings.rules}{site} cannot be used:\n{fault}")
    except (EngineFault, EnginesDisagree) as fault:
        _stop(f"The rule engine does not work here: {fault}")
    settle_memory()
    in_service: InService = app.state.in_service
    log_json(lambda: in_service.served.version)
    folders = settings.rules, settings.site
    reloader = Reloader(
        in_service, partial(poll, *folders), partial(prepare, *folders, settings.examples, warm_up)
    )
    with _listen(settings.host, settings.port) as listening:
        host, port = listening.getsockname()[:2]
        base = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        structlog.get_logger().info("rules_in_service", rules=in_service.served.rules)
        print(_greeting(base, ruleset, settings, example, clients), flush=True)
        server = uvicorn.Server(
            uvicorn.Config(
                app,
                http="httptools",
                lifespan="off",
                log_config=None,
                log_level="warning",
                access_log=False,
                server_header=False,
            )
        )
        with contextlib.suppress(KeyboardInterrupt), _watching(reloader, settings.reload_seconds):
            server.run(sockets=[listening])


def _clients(settings: Settings) -> tuple[Client, ...] | None:
    """The clients that may call; None where authentication is off."""
    if settings.auth == "off":
        return None
    assert settings.clients is not None, "check_servable lets no other pass"
    try:
        return read_clients(settings.clients)
    except FilesInvalid as fault:
        _stop(f"The clients in {settings.clients} cannot be used:\n{fault}")


def _authenticator(clients: tuple[Client, ...] | None) -> Authenticator | None:
    """What tells clients from others; one process remembers the tokens that were used."""
    return None if clients is None else Authenticator(clients, KeySets(), InMemory().first_use)


def _fetching(settings: Settings) -> Fetching:
    """How to fetch what was not sent along; raises ``SettingsInvalid``."""
    try:
        servers = read_servers(settings.fhir_servers)
    except ValueError as fault:
        raise SettingsInvalid((f"CDS_FHIR_SERVERS cannot be used: {fault}.",)) from None
    return Fetching(FhirClient(), servers, settings.fetch_seconds)


def _load_settled(settings: Settings) -> RuleSet:
    """Load the rules as they are at one moment, and again if they changed meanwhile."""
    while True:
        before = poll(settings.rules, settings.site)
        ruleset = load_rules(settings.rules, settings.site)
        if ruleset.version == before:
            return ruleset
        ruleset.close()


@contextlib.contextmanager
def _watching(reloader: Reloader, seconds: float) -> Iterator[None]:
    """Let the rules be watched beside what is done meanwhile; not at all with 0 seconds."""
    stop = threading.Event()
    if seconds:
        watch = partial(reloader.watch, seconds, stop)
        threading.Thread(target=watch, name="rules", daemon=True).start()
    try:
        yield
    finally:
        stop.set()


def _warm_up(ruleset: RuleSet, example: Path, settings: Settings) -> None:
    """Answer one request, so that the first patient does not wait for what is loaded on demand."""
    templates = make_templates(ruleset.terms.vocabulary)
    with contextlib.suppress(Refused):  # rules of one's own may ask for other prefetch
        asyncio.run(answer(example.read_bytes(), ruleset, templates, today(settings)))


def _listen(host: str, port: int) -> socket.socket:
    """Listen already, so that who reads where the service is can call it at once."""
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(address[:2], family=family)
    except OSError as fault:
        _stop(
            f"Cannot serve on {host}, port {port}: {(fault.strerror or '').split(' (')[0]}.\n"
            "Choose another port with CDS_PORT, for example CDS_PORT=8001, or 0 for any free one."
        )


_OFF = "for a trial on this machine only, never with real patients."
_OFF_ON_NETWORK = "whoever reaches this address is answered."


def _greeting(
    base: str,
    ruleset: RuleSet,
    settings: Settings,
    example: Path,
    clients: tuple[Client, ...] | None,
) -> str:
    url = base + DISCOVERY
    rules = str(settings.rules)
    if ruleset.site is not None:
        rules += f"\nas changed for {ruleset.site.file.site} by {settings.site}"
    with contextlib.suppress(ValueError):
        example = example.relative_to(Path.cwd())
    serves = f"""\
Myositis decision support (CDS Hooks 2.0) serves on {base}
with {len(ruleset.every)} rules, version {ruleset.version}, of {rules}
"""
    if clients is not None:
        return f"""\
{serves}
Clients of {settings.clients}: {", ".join(client.name for client in clients)}.
Every call needs a signed token of one of them, discovery at {url} too.
Stop with Ctrl-C."""
    return f"""\
{serves}
Try:  curl {url}
      curl {url}/{service_id("patient-view")} \\
        -H 'Content-Type: application/json' --data @{shlex.quote(str(example))}

Authentication is OFF: {_OFF_ON_NETWORK if settings.off_on_network else _OFF}
Stop with Ctrl-C."""


def _stop(reason: str) -> NoReturn:
    print(reason, file=sys.stderr)
    raise SystemExit(1)
