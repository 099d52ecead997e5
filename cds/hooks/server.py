"""Starts the service: reads the rules, warms up, says on the terminal what to try, and serves.

What answers, writes into the database, tests changed rules or serves metrics is a process of its
own, which this one begins, and begins again where it dies (``cds.hooks.workers``).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shlex
import socket
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NoReturn, cast

import structlog
import uvicorn

from cds.advice import load_rules
from cds.fhir.client import FhirClient
from cds.fhir.servers import read_servers
from cds.hooks.accepting import Share, SharingServer, shares
from cds.hooks.authentication import Authenticator
from cds.hooks.clients import Client, read_clients
from cds.hooks.connections import BoundedConnection, TellsOfConnections
from cds.hooks.fetching import Fetching
from cds.hooks.keys import KeySets
from cds.hooks.limits import Limits
from cds.hooks.lines import Lines
from cds.hooks.logs import FLUSH_SECONDS, log_json
from cds.hooks.metrics import PATH as METRICS
from cds.hooks.metrics import Metrics, forget, make_metrics_app, registry_of_all
from cds.hooks.metrics import share as count_in
from cds.hooks.outcomes import Refused
from cds.hooks.prefetch import make_templates
from cds.hooks.reloading import (
    Follower,
    Reloader,
    Tell,
    poll,
    polling,
    prepare,
    prepare_published,
    publish,
    published,
    settle_memory,
    watch,
)
from cds.hooks.service import (
    DISCOVERY,
    Attempt,
    InService,
    answer,
    create_app,
    make_served,
)
from cds.hooks.services import service_id
from cds.hooks.tracing import TracingUnavailable, start_tracing
from cds.hooks.workers import (
    Job,
    Supervisor,
    remember_signals,
    signals_held_back,
    stop_by,
    wait_to_be_stopped,
)
from cds.located import FilesInvalid
from cds.rules.engine import EngineFault, keep_memory
from cds.rules.ruleset import EnginesDisagree, RuleSet
from cds.settings import (
    Settings,
    SettingsInvalid,
    check_servable,
    host_names,
    metrics_host_names,
    today,
)
from cds.store.database import DatabaseUnusable
from cds.store.journal import JournalFull
from cds.store.store import Place as StorePlace
from cds.store.store import Store, open_store, prepare_store

KEEP_ALIVE_SECONDS = 75
"""How long an idle connection stays open: longer than a proxy keeps it (nginx: 60), which would
else send a call into a connection that is just being closed, and lose it."""

BACKLOG = 2048
"""Connections that may wait to be accepted, where the operating system allows as many."""

EXAMPLE = "rp-ild-mda5.request.json"
"""A request that is answered with a critical card."""


def serve(settings: Settings) -> None:
    """Serve until interrupted, with as many processes as the settings say.

    What prevents that (settings, clients, rules, a port in use) is printed to stderr, and the
    process ends with status 1.
    """
    operation = settings.operation
    example = settings.examples / EXAMPLE
    warm_up = partial(_warm_up, example=example, settings=settings)
    try:
        check_servable(settings)
        clients = _clients(settings)
        fetching = _fetching(settings)
        keep_memory()
        ruleset = _load_settled(settings)
        in_service = InService(make_served(ruleset))
        log = log_json(lambda: in_service.served.version)
        prepare_store(place_of(settings))
        warm_up(ruleset)
    except SettingsInvalid as fault:
        _stop(str(fault))
    except FilesInvalid as fault:
        site = f", with those of the site {settings.site}," if settings.site else ""
        _stop(f"The rules in {settings.rules}{site} cannot be used:\n{fault}")
    except (EngineFault, EnginesDisagree) as fault:
        _stop(f"The rule engine does not work here: {fault}")
    except DatabaseUnusable as fault:
        _stop(str(fault))
    if operation.tracing:
        _check_tracing()
    settle_memory()
    with contextlib.ExitStack() as open_until_the_end:
        listening = open_until_the_end.enter_context(_listen(settings.host, settings.port))
        metrics = None
        if operation.metrics_port is not None:
            metrics = _listen(
                operation.metrics_host, operation.metrics_port, "CDS_METRICS_PORT", 9101
            )
            open_until_the_end.enter_context(metrics)
        if settings.unknown:
            structlog.get_logger().warning("settings_not_known", names=settings.unknown)
        structlog.get_logger().info("rules_in_service", rules=in_service.served.rules)
        remember_signals()  # who reads the greeting may stop the service at once
        _greet(_greeting(_base(listening), ruleset, settings, example, metrics, clients))

        told = Path(open_until_the_end.enter_context(_folder_in_memory())) / "attempt"
        following = partial(
            Follower,
            in_service,
            partial(published, told),
            partial(prepare_published, warm_up=warm_up),
        )
        work = partial(_work, settings, clients, fetching, in_service, following, log, listening)
        jobs = [
            Job(f"worker {number}", partial(work, share=share), share)
            for number, share in enumerate(shares(operation.workers), start=1)
        ]
        died: Callable[[int], None] | None = None
        if metrics is not None:
            count_in(open_until_the_end.enter_context(_folder_in_memory()))
            jobs.append(Job("metrics", partial(_serve_metrics, settings, metrics)))
            died = forget
        sockets = [listening] if metrics is None else [listening, metrics]
        jobs.append(Job("store", partial(_write, settings, sockets)))
        if settings.reload_seconds:
            folders = settings.rules, settings.site
            trying = partial(
                Reloader,
                in_service,
                polling(*folders),
                partial(prepare, *folders, settings.examples, warm_up),
                partial(publish, file=told, in_service=in_service),
            )
            try_rules = partial(_try_rules, trying, settings.reload_seconds, sockets)
            jobs.append(Job("rules", try_rules))
        Supervisor(
            jobs,
            sockets,
            tend=following().check,
            seconds=settings.reload_seconds,
            shutdown_seconds=operation.shutdown_seconds,
            died=died,
            ending=partial(log.flush, FLUSH_SECONDS),
        ).run()
    # What the workers noted last, which no longer has anybody to write it.
    with contextlib.suppress(SystemExit):
        _open_store(settings).close()


def _work(
    settings: Settings,
    clients: tuple[Client, ...] | None,
    fetching: Fetching,
    in_service: InService,
    following: Callable[[Tell], Follower],
    log: Lines,
    listening: socket.socket,
    share: Share,
) -> None:
    """Answer calls in this process until SIGTERM or SIGINT, and finish those that have begun.

    Whatever has threads or connections of its own is made here, after the fork.
    """
    remember_signals()  # until it serves
    sys.setswitchinterval(_SWITCH_SECONDS)
    operation = settings.operation
    provider = start_tracing(operation.tracing_headers) if operation.tracing else None
    store = _open_store(settings, writes=False, ruleset=in_service.served.ruleset)
    app = create_app(
        in_service,
        partial(today, settings),
        _authenticator(clients, store),
        fetching,
        store,
        checks={"database": store.ailment},
        limits=Limits(
            body_bytes=operation.max_body_bytes,
            entries=operation.max_entries,
            calls=operation.max_calls,
            held_bytes=operation.max_held_bytes,
            receive_seconds=operation.receive_seconds,
            answer_seconds=operation.answer_seconds,
        ),
        origins=operation.cors_origins,
        hosts=host_names(settings),
        tracer=provider.get_tracer("cds.hooks") if provider else None,
    )
    metrics: Metrics = app.state.metrics
    log.lost = metrics.lost_lines

    def tell(attempt: Attempt) -> None:
        metrics.reloaded(accepted=attempt.accepted)
        metrics.serves(in_service.served.version)

    try:
        with _watching(following(tell).check, settings.reload_seconds):
            _run(
                listening,
                app,
                share,
                TellsOfConnections(metrics.ended),
                proxy_headers=bool(operation.forwarded_allow_ips),
                forwarded_allow_ips=list(operation.forwarded_allow_ips),
                timeout_graceful_shutdown=operation.shutdown_seconds,
            )
    finally:
        store.close()
        if provider is not None:
            provider.shutdown()


_SWITCH_SECONDS = 0.0005
"""How long one thread computes while others wait to. Those that write into the database stop to
wait after every few steps, and with the 5 ms of Python would come to do one step for each call that
is answered: then the journal grows until it is full."""


def _write(settings: Settings, sockets: Sequence[socket.socket]) -> None:
    """Write into the database what the workers note, until SIGTERM.

    Not in the workers: a thread beside the answering keeps calls waiting, for the interpreter and
    for its turn to write.
    """
    _stand_beside(sockets)
    with signals_held_back():  # told once more to stop, it still writes what is left
        store = _open_store(settings)
        wait_to_be_stopped()
        store.close()


def _try_rules(
    begin: Callable[[], Reloader], seconds: float, sockets: Sequence[socket.socket]
) -> None:
    """Try what changes of the rules, and let the others know of it, until SIGTERM.

    A process that is begun again begins with the rules that are in service by then.
    """
    _stand_beside(sockets)
    watch(begin().check, seconds, threading.Event())


def _stand_beside(sockets: Sequence[socket.socket]) -> None:
    """Be less urgent than the workers, and hold no socket open at which they have ceased to."""
    os.nice(_LESS_URGENT)
    for listening in sockets:
        listening.close()


_LESS_URGENT = 5
"""By so much less urgent is this than answering; a quarter of a processor is left to it even
where all are busy, which is enough to write some hundred calls a second."""


def _open_store(
    settings: Settings, *, writes: bool = True, ruleset: RuleSet | None = None
) -> Store:
    """Open the store, with the files of these rules noted; where that fails, end this process."""
    try:
        store = open_store(place_of(settings), settings.keep_days, writes=writes)
        if ruleset is not None:
            store.keep_rules(ruleset)
    except (DatabaseUnusable, JournalFull) as fault:
        # Its text is made for this. A worker is begun again, and tries again.
        structlog.get_logger().error("store_unusable", told=str(fault))
        raise SystemExit(1) from None
    return store


def _serve_metrics(settings: Settings, listening: socket.socket) -> None:
    """Serve the metrics of all workers, until SIGTERM."""
    app = make_metrics_app(registry_of_all(), metrics_host_names(settings))
    (share,) = shares(1)
    _run(listening, app, share, TellsOfConnections(), proxy_headers=False)


def _run(
    listening: socket.socket, app: Any, share: Share, ended: TellsOfConnections, **more: Any
) -> None:
    connection = partial(BoundedConnection, ended=ended, has_too_many=share.has_too_many)
    config = uvicorn.Config(
        app,
        **more,
        http=cast("type[BoundedConnection]", connection),
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        ws="none",
        lifespan="off",
        log_config=None,
        log_level="warning",
        access_log=False,
        server_header=False,
        # What one request notes for the log would otherwise stand in the next one's.
        reset_contextvars=True,
    )
    server = SharingServer(config, share)
    stop_by(server.handle_exit)  # uvicorn does so itself, but only when its loop is running
    server.run(sockets=[listening])


def _check_tracing() -> None:
    """Say before anything is served that spans cannot be sent."""
    try:
        start_tracing().shutdown()
    except TracingUnavailable as fault:
        _stop(str(fault))


def place_of(settings: Settings) -> StorePlace:
    """Where the settings say that decisions and feedback are kept."""
    return StorePlace(settings.state, settings.database_url, settings.pseudonym_key)


def _clients(settings: Settings) -> tuple[Client, ...] | None:
    """The clients that may call; None where authentication is off."""
    if settings.auth == "off":
        return None
    assert settings.clients is not None, "check_servable lets no other pass"
    try:
        return read_clients(settings.clients)
    except FilesInvalid as fault:
        _stop(f"The clients in {settings.clients} cannot be used:\n{fault}")


def _authenticator(clients: tuple[Client, ...] | None, store: Store) -> Authenticator | None:
    """What tells clients from others; the database remembers the tokens that were used."""
    if clients is None:
        return None
    return Authenticator(clients, KeySets(), store.used_tokens.first_use)


def _fetching(settings: Settings) -> Fetching:
    """How to fetch what was not sent along; raises ``SettingsInvalid``."""
    try:
        servers = read_servers(settings.fhir_servers)
    except ValueError as fault:
        raise SettingsInvalid((f"CDS_FHIR_SERVERS cannot be used: {fault}.",)) from None
    entries = settings.operation.max_entries
    return Fetching(FhirClient(), servers, settings.fetch_seconds, entries)


def _load_settled(settings: Settings) -> RuleSet:
    """Load the rules as they are at one moment, and again if they changed meanwhile."""
    while True:
        before = poll(settings.rules, settings.site)
        ruleset = load_rules(settings.rules, settings.site)
        if ruleset.version == before:
            return ruleset
        ruleset.close()


@contextlib.contextmanager
def _watching(check: Callable[[], None], seconds: float) -> Iterator[None]:
    """Let the rules be watched beside what is done meanwhile; not at all with 0 seconds."""
    stop = threading.Event()
    if seconds:
        threading.Thread(
            target=watch, args=(check, seconds, stop), name="rules", daemon=True
        ).start()
    try:
        yield
    finally:
        stop.set()


def _warm_up(ruleset: RuleSet, example: Path, settings: Settings) -> None:
    """Answer one request, so that the first patient does not wait for what is loaded on demand."""
    templates = make_templates(ruleset.terms.vocabulary)
    with contextlib.suppress(Refused):  # rules of one's own may ask for other prefetch
        asyncio.run(answer(example.read_bytes(), ruleset, templates, today(settings)))


def _listen(host: str, port: int, variable: str = "CDS_PORT", other: int = 8001) -> socket.socket:
    """Listen already, so that who reads where the service is can call it at once."""
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(address[:2], family=family, backlog=BACKLOG)
    except OSError as fault:
        _stop(
            f"Cannot serve on {host}, port {port}: {(fault.strerror or '').split(' (')[0]}.\n"
            f"Choose another port with {variable}, for example {variable}={other}, "
            "or 0 for any free one."
        )


def _base(listening: socket.socket) -> str:
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _folder_in_memory() -> TemporaryDirectory[str]:
    """A folder for what processes tell each other: on no disk that may be full or slow."""
    memory = Path("/dev/shm")
    usable = memory.is_dir() and os.access(memory, os.W_OK | os.X_OK)
    return TemporaryDirectory(prefix="myositis-cds-", dir=memory if usable else None)


def _greet(text: str) -> None:
    """Say something on stdout, whether or not anybody listens there."""
    said = Lines(1)
    said.put(text.encode(sys.stdout.encoding, "backslashreplace"))
    said.flush(1)


_OFF = "for a trial on this machine only, never with real patients."
_OFF_ON_NETWORK = "whoever reaches this address is answered."


def _greeting(
    base: str,
    ruleset: RuleSet,
    settings: Settings,
    example: Path,
    metrics: socket.socket | None,
    clients: tuple[Client, ...] | None,
) -> str:
    url = base + DISCOVERY
    rules = str(settings.rules)
    if ruleset.site is not None:
        rules += f"\nas changed for {ruleset.site.file.site} by {settings.site}"
    if metrics is not None:
        rules += f"\nMetrics for Prometheus on {_base(metrics)}{METRICS}"
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
