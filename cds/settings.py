"""Settings of the service, taken from the environment.

| variable | meaning | when not set, or empty |
|---|---|---|
| ``CDS_RULES`` | folder of the rule files | the rules that travel with this installation |
| ``CDS_SITE`` | folder of this hospital's own additions and changes to the rules | none |
| ``CDS_RELOAD_SECONDS`` | how often the service looks for changed rules, 0 for never | ``2`` |
| ``CDS_HOST`` | address to serve on | ``127.0.0.1`` |
| ``CDS_PORT`` | port to serve on, 0 for any free one | ``8000`` |
| ``CDS_AUTH`` | ``required`` or ``off`` | ``required`` |
| ``CDS_CLIENTS`` | file that lists the clients that may call | none |
| ``CDS_AUTH_OFF_ON_NETWORK`` | ``accept-the-risk`` lets ``CDS_AUTH=off`` serve any address | no |
| ``CDS_HOST_NAMES`` | names by which it and its metrics are called (``Host``), besides those of \
loopback | any; only loopback with ``CDS_AUTH=off``, and for metrics, on a loopback address |
| ``CDS_FHIR_SERVERS`` | with ``CDS_AUTH=off``, FHIR servers that may be asked, separated by \
commas | none |
| ``CDS_FETCH_SECONDS`` | how long a call may fetch what was not sent along | ``5`` |
| ``CDS_STATE`` | folder of what the service keeps: its database, journals, a key \
| ``myositis-cds`` in ``XDG_STATE_HOME``, else in ``~/.local/state`` |
| ``CDS_DATABASE_URL`` | database of decisions and feedback, as ``postgresql://user@host/name`` \
| an SQLite file in ``CDS_STATE`` |
| ``CDS_PSEUDONYM_KEY_FILE`` | file of the key of the pseudonyms | made in ``CDS_STATE`` |
| ``CDS_KEEP_DAYS`` | days that decisions and feedback are kept, 0 for ever | ``730`` |
| ``CDS_TIMEZONE`` | IANA time zone that decides which day is today | the machine's own |
| ``CDS_WORKERS`` | processes that answer; one that dies is replaced | ``1`` |
| ``CDS_SHUTDOWN_SECONDS`` | how long calls that have begun may take to end when stopped | ``20`` |
| ``CDS_MAX_BODY_BYTES`` | largest body of a request | ``8388608`` (8 MiB) |
| ``CDS_MAX_ENTRIES`` | most entries of all Bundles that a call sends and has fetched | ``10000`` |
| ``CDS_MAX_CALLS`` | most requests that are answered at a time, in each worker | ``100`` |
| ``CDS_MAX_HELD_BYTES`` | most bytes of all requests at a time, what is fetched for them \
included, in each worker | ``67108864`` (64 MiB) |
| ``CDS_RECEIVE_SECONDS`` | longest time for a request to arrive | ``10`` |
| ``CDS_ANSWER_SECONDS`` | longest time from its arrival to the answer | ``15`` |
| ``CDS_CORS_ORIGINS`` | origins whose pages in a browser may call, separated by commas | none |
| ``CDS_FORWARDED_ALLOW_IPS`` | proxies whose ``X-Forwarded-*`` headers are believed | none |
| ``CDS_METRICS_PORT`` | port to serve metrics for Prometheus on, 0 for any free one | no metrics |
| ``CDS_METRICS_HOST`` | address to serve them on; they need no authentication | ``127.0.0.1`` |
| ``OTEL_EXPORTER_OTLP_ENDPOINT`` | base URL of an OpenTelemetry collector | no spans |
| ``OTEL_EXPORTER_OTLP_HEADERS`` | headers for it, such as a token: ``name=value,...`` | none |

Each may also be given as the content of a file, which ``_FILE`` behind its name names: so secrets
stand neither in the environment nor on a command line.
"""

import difflib
import ipaddress
import re
from collections.abc import Iterator, Mapping
from datetime import date, datetime
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, available_timezones

import msgspec

from cds.addresses import is_this_machine

_PACKAGE = Path(__file__).resolve().parent
_HIGHEST_PORT = 65535
_A_MINUTE = 60
_A_DAY = 86400
_AN_HOUR = 3600
_ACCEPTED = "accept-the-risk"
_LONGEST_DAYS = 6


_MOST_IN_A_FILE = 64 * 1024
_IN_FILE = "_FILE"
_IS_OF_A_FILE = "CDS_PSEUDONYM_KEY_FILE"
"""Names a file in the first place; the key stands in no variable."""


class SettingsInvalid(ValueError):
    """The settings cannot be used; ``problems`` has a sentence or two for each reason.

    Each names the variable, the value it has, and what to write instead.
    """

    def __init__(self, problems: tuple[str, ...]) -> None:
        self.problems = problems
        super().__init__(
            "\n".join(["The settings cannot be used:", *(f"  - {problem}" for problem in problems)])
        )


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """How the service runs: limits, processes, and who may look on; see the table."""

    workers: int = 1
    shutdown_seconds: int = 20
    max_body_bytes: int = 8 * 1024 * 1024
    max_entries: int = 10_000
    max_calls: int = 100
    max_held_bytes: int = 64 * 1024 * 1024
    receive_seconds: float = 10
    answer_seconds: float = 15
    cors_origins: tuple[str, ...] = ()
    """Each as a browser sends it, or "*" alone for every one."""
    forwarded_allow_ips: tuple[str, ...] = ()
    """Addresses and networks of the proxies that are believed."""
    metrics_port: int | None = None
    """None for no metrics."""
    metrics_host: str = "127.0.0.1"
    tracing: bool = False
    """Whether spans are sent; where to, OpenTelemetry reads from the environment itself."""
    tracing_headers: str | None = None
    """What is sent to the collector with them; it may hold a token, and is shown nowhere."""


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What the service was told by its environment; see the table of this module."""

    rules: Path
    """Folder of the rule files, absolute."""
    site: Path | None = None
    """Folder of this hospital's own additions and changes, absolute."""
    examples: Path
    """Folder of the example patients that travel with this installation, absolute."""
    reload_seconds: float = 2
    """How long to wait between two looks at the rule files; 0 for never looking again."""
    host: str = "127.0.0.1"
    port: int = 8000
    auth: Literal["required", "off"] = "required"
    clients: Path | None = None
    """File that lists the clients that may call, absolute."""
    off_on_network: bool = False
    """Whether addresses that others reach may be served without authentication."""
    host_names: tuple[str, ...] = ()
    """By which the service may be called; see ``host_names``."""
    fhir_servers: tuple[str, ...] = ()
    """Base URLs that may be asked where no list of clients says it, and networks they may be in."""
    fetch_seconds: float = 5
    """How long a call may take to fetch what was not sent along."""
    state: Path = Path.home() / ".local" / "state" / "myositis-cds"
    """Folder of what the service keeps, absolute; made when it is first used."""
    database_url: str | None = None
    """None for an SQLite file in ``state``. It may hold a password, and is shown nowhere."""
    pseudonym_key: Path | None = None
    """None for a file in ``state``."""
    keep_days: int = 730
    """How long decisions and feedback are kept; 0 for ever."""
    timezone: ZoneInfo | None = None
    """None for the machine's own time zone."""
    operation: Operation = Operation()
    unknown: tuple[str, ...] = ()
    """Variables that begin as those of the table and that nothing asks for, such as a misspelt one.

    They prevent nothing: an orchestrator may set some of its own, where a service is called `cds`.
    """


class _Noting(Mapping[str, str]):
    """Variables, with a note of those that are asked for."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self.asked: set[str] = set()

    def __getitem__(self, name: str) -> str:
        self.asked.add(name)
        return self._environ[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._environ)

    def __len__(self) -> int:
        return len(self._environ)


def from_environment(environ: Mapping[str, str]) -> Settings:
    """Read the settings from ``environ``, usually ``os.environ``.

    Raises SettingsInvalid with every problem at once.
    """
    problems: list[str] = []
    given, environ = environ, _Noting(_with_files(environ, problems))

    rules = _shipped("rules")
    if value := environ.get("CDS_RULES"):
        rules = Path(value).absolute()
        if not rules.is_dir():
            problems.append(
                f"CDS_RULES is {value!r}, which is not a folder. "
                "Write the path of a folder of rule files, or leave it out for the rules that "
                "travel with this installation."
            )
    elif not rules.is_dir():
        problems.append(
            f"CDS_RULES is not set, and the rules of this installation are missing: {rules} is "
            "not a folder. Install myositis-cds anew, or write the path of a folder of rule files."
        )

    site = None
    if value := environ.get("CDS_SITE"):
        site = Path(value).absolute()
        if not site.is_dir():
            problems.append(
                f"CDS_SITE is {value!r}, which is not a folder. "
                "Write the path of the folder that holds your site.yaml, or leave it out for the "
                "rules without changes."
            )

    reload_seconds = 2.0
    if value := environ.get("CDS_RELOAD_SECONDS"):
        if re.fullmatch(r"[0-9]{1,5}(\.[0-9]{1,3})?", value) and float(value) <= _A_DAY:
            reload_seconds = float(value)
        else:
            problems.append(
                f"CDS_RELOAD_SECONDS is {value!r}, which is not a number of seconds. "
                f"Write a number from 0 (never look for changed rules) to {_A_DAY}, such as 2."
            )

    port = 8000
    if value := environ.get("CDS_PORT"):
        if value.isascii() and value.isdecimal() and int(value[:6]) <= _HIGHEST_PORT:
            port = int(value)
        else:
            problems.append(
                f"CDS_PORT is {value!r}, which is not a port. "
                f"Write a whole number from 0 (any free port) to {_HIGHEST_PORT}, such as 8000."
            )

    auth: Literal["required", "off"] = "required"
    match environ.get("CDS_AUTH") or auth:
        case "required" | "off" as auth:
            pass
        case value:
            problems.append(
                f"CDS_AUTH is {value!r}, which is neither 'required' nor 'off'. "
                "Write CDS_AUTH=required, or CDS_AUTH=off for a trial on this machine only."
            )

    clients = None
    if value := environ.get("CDS_CLIENTS"):
        clients = Path(value).absolute()
        if not clients.is_file():
            problems.append(
                f"CDS_CLIENTS is {value!r}, which is not a file. "
                "Write the path of the YAML file that lists the clients that may call "
                "(docs/authentication.md has an example)."
            )

    off_on_network = False
    if value := environ.get("CDS_AUTH_OFF_ON_NETWORK"):
        off_on_network = value == _ACCEPTED
        if not off_on_network:
            problems.append(
                f"CDS_AUTH_OFF_ON_NETWORK is {value!r}, which means nothing. "
                f"Write {_ACCEPTED} to serve a network without authentication, or leave it out."
            )

    fetch_seconds = 5.0
    if value := environ.get("CDS_FETCH_SECONDS"):
        if re.fullmatch(r"[0-9]{1,2}(\.[0-9]{1,3})?", value) and 0 < float(value) <= _A_MINUTE:
            fetch_seconds = float(value)
        else:
            problems.append(
                f"CDS_FETCH_SECONDS is {value!r}, which is not a number of seconds. "
                f"Write a number above 0, up to {_A_MINUTE}, such as 5."
            )

    names = tuple(name.lower() for name in _listed(environ, "CDS_HOST_NAMES"))
    problems.extend(
        f"CDS_HOST_NAMES has {name!r}, which is not a name or address as it stands in the address "
        "of this service. Write it without scheme, port and path, such as cds.hospital.example."
        for name in names
        if not re.fullmatch(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?|[0-9a-f:]*:[0-9a-f:.]*", name)
    )

    keep_days = 730
    if value := environ.get("CDS_KEEP_DAYS"):
        if value.isascii() and value.isdecimal() and len(value) <= _LONGEST_DAYS:
            keep_days = int(value)
        else:
            problems.append(
                f"CDS_KEEP_DAYS is {value!r}, which is not a number of days. "
                "Write a whole number such as 730, or 0 to keep decisions and feedback for ever."
            )

    timezone = None
    if value := environ.get("CDS_TIMEZONE"):
        known = available_timezones()
        if value in known:
            timezone = ZoneInfo(value)
        else:
            problems.append(
                f"CDS_TIMEZONE is {value!r}, which is not the name of an IANA time zone. "
                f"Write {_similar(value, known)}, or leave it out for the machine's own time zone."
            )

    operation = _operation(environ, auth, problems)
    if not problems:
        _check_together(operation, fetch_seconds, problems)
    if problems:
        raise SettingsInvalid(tuple(problems))
    settings = Settings(
        rules=rules,
        site=site,
        examples=_shipped("fhir_examples"),
        reload_seconds=reload_seconds,
        host=environ.get("CDS_HOST") or "127.0.0.1",
        port=port,
        auth=auth,
        clients=clients,
        off_on_network=off_on_network,
        host_names=names,
        fhir_servers=_listed(environ, "CDS_FHIR_SERVERS"),
        fetch_seconds=fetch_seconds,
        state=_state(environ),
        database_url=environ.get("CDS_DATABASE_URL") or None,
        pseudonym_key=_file(environ.get(_IS_OF_A_FILE)),
        keep_days=keep_days,
        timezone=timezone,
        operation=operation,
    )
    return msgspec.structs.replace(settings, unknown=_unknown(given, environ.asked))


def _unknown(given: Mapping[str, str], asked: set[str]) -> tuple[str, ...]:
    return tuple(
        name
        for name in sorted(given)
        if name.startswith("CDS_")
        and not name.startswith("CDS_TEST_")
        and not {name, name.removesuffix(_IN_FILE)} & asked
    )


def _with_files(environ: Mapping[str, str], problems: list[str]) -> Mapping[str, str]:
    """The variables, with those whose values stand in files; no problem tells what stands there."""
    found = dict(environ)
    for name, path in environ.items():
        variable = name.removesuffix(_IN_FILE)
        of_ours = name.startswith("CDS_") or variable == "OTEL_EXPORTER_OTLP_HEADERS"
        if variable == name or not path or not of_ours or name == _IS_OF_A_FILE:
            continue
        if environ.get(variable):
            problems.append(
                f"{variable} and {name} are both set, and nothing says which counts. "
                "Leave one of them out."
            )
            continue
        try:
            found[variable] = _line_in(Path(path))
        except (OSError, ValueError) as fault:
            reason = fault.strerror if isinstance(fault, OSError) else str(fault)
            problems.append(
                f"{name} is {path!r}, which cannot be used: {reason}. "
                f"Write the path of a file whose one line is the value of {variable}."
            )
    return found


def _line_in(file: Path) -> str:
    """The one line of a file; raises ``OSError`` or ``ValueError``, which says nothing of it."""
    with file.open("rb") as opened:
        content = opened.read(_MOST_IN_A_FILE + 1)
    if len(content) > _MOST_IN_A_FILE:
        raise ValueError(f"it has more than {_MOST_IN_A_FILE} bytes")
    try:
        line = content.decode().strip()
    except UnicodeDecodeError:
        raise ValueError("it is not UTF-8") from None
    if not line:
        raise ValueError("it is empty")
    if not line.isprintable():
        raise ValueError("it has several lines, or characters that are not printable")
    return line


def _operation(environ: Mapping[str, str], auth: str, problems: list[str]) -> Operation:
    default = Operation()
    metrics_port = None
    if environ.get("CDS_METRICS_PORT"):
        metrics_port = _whole(environ, "CDS_METRICS_PORT", 9100, (0, _HIGHEST_PORT), problems)
    return Operation(
        workers=_whole(environ, "CDS_WORKERS", default.workers, (1, 64), problems),
        shutdown_seconds=_whole(
            environ, "CDS_SHUTDOWN_SECONDS", default.shutdown_seconds, (1, _AN_HOUR), problems
        ),
        max_body_bytes=_whole(
            environ, "CDS_MAX_BODY_BYTES", default.max_body_bytes, (1024, 1024**3), problems
        ),
        max_entries=_whole(
            environ, "CDS_MAX_ENTRIES", default.max_entries, (1, 10_000_000), problems
        ),
        max_calls=_whole(environ, "CDS_MAX_CALLS", default.max_calls, (1, 100_000), problems),
        max_held_bytes=_whole(
            environ, "CDS_MAX_HELD_BYTES", default.max_held_bytes, (1024, 64 * 1024**3), problems
        ),
        receive_seconds=_seconds(environ, "CDS_RECEIVE_SECONDS", default.receive_seconds, problems),
        answer_seconds=_seconds(environ, "CDS_ANSWER_SECONDS", default.answer_seconds, problems),
        cors_origins=_origins(environ, auth, problems),
        forwarded_allow_ips=_networks(environ, problems),
        metrics_port=metrics_port,
        metrics_host=environ.get("CDS_METRICS_HOST") or default.metrics_host,
        tracing=_collector(environ, problems),
        tracing_headers=environ.get("OTEL_EXPORTER_OTLP_HEADERS") or None,
    )


def _check_together(operation: Operation, fetch_seconds: float, problems: list[str]) -> None:
    """Report settings that are right each by itself, and of which one defeats the other."""
    if fetch_seconds >= operation.answer_seconds:
        problems.append(
            f"CDS_FETCH_SECONDS is {fetch_seconds:g} and CDS_ANSWER_SECONDS is "
            f"{operation.answer_seconds:g}: a call would be given up while it still may fetch, and "
            "its client would not be told what could not be had. Write a CDS_ANSWER_SECONDS that "
            "leaves some seconds to answer after fetching, such as 5 and 15."
        )
    if operation.max_held_bytes < operation.max_body_bytes:
        problems.append(
            f"CDS_MAX_HELD_BYTES is {operation.max_held_bytes} and CDS_MAX_BODY_BYTES is "
            f"{operation.max_body_bytes}: a request of the largest size could never be read. Write "
            "a CDS_MAX_HELD_BYTES of several times the other."
        )


def _whole(
    environ: Mapping[str, str],
    name: str,
    default: int,
    bounds: tuple[int, int],
    problems: list[str],
) -> int:
    low, high = bounds
    value = environ.get(name)
    if not value:
        return default
    if re.fullmatch(r"[0-9]{1,10}", value) and low <= int(value) <= high:
        return int(value)
    problems.append(
        f"{name} is {value!r}, which is not a whole number from {low} to {high}. "
        f"Write one, such as {default}, or leave it out."
    )
    return default


def _seconds(environ: Mapping[str, str], name: str, default: float, problems: list[str]) -> float:
    value = environ.get(name)
    if not value:
        return default
    if re.fullmatch(r"[0-9]{1,4}(\.[0-9]{1,3})?", value) and 0 < float(value) <= _AN_HOUR:
        return float(value)
    problems.append(
        f"{name} is {value!r}, which is not a number of seconds. "
        f"Write a number above 0 and up to {_AN_HOUR}, such as {default:g}."
    )
    return default


def _listed(environ: Mapping[str, str], name: str) -> tuple[str, ...]:
    """The values of a variable that holds several, separated by commas."""
    return tuple(part for part in (p.strip() for p in environ.get(name, "").split(",")) if part)


def _origins(environ: Mapping[str, str], auth: str, problems: list[str]) -> tuple[str, ...]:
    name = "CDS_CORS_ORIGINS"
    origins = _listed(environ, name)
    if origins == ("*",) and auth == "off":
        return origins
    if "*" in origins:
        problems.append(
            f"{name} has '*', which would let a page of any origin call. It is possible alone, and "
            "with CDS_AUTH=off, for a trial on this machine. Write the origins that may call, such "
            "as https://ehr.example.org."
        )
    problems.extend(
        f"{name} has {origin!r}, which is not an origin as browsers send it. Write scheme and "
        "host in small letters, and the port if it is not the usual one, without a path or a "
        "slash at the end, such as https://ehr.example.org."
        for origin in origins
        if origin != "*" and not _is_origin(origin)
    )
    return origins


def _is_origin(origin: str) -> bool:
    try:
        parts = urlsplit(origin)
        return (
            parts.scheme in ("http", "https")
            and bool(parts.hostname)
            and parts.username is None
            and origin == f"{parts.scheme}://{parts.netloc}"
            and origin == origin.lower()
            and not re.search(r"[\s*]", origin)
            and parts.port != {"http": 80, "https": 443}[parts.scheme]
        )
    except ValueError:
        return False


def _networks(environ: Mapping[str, str], problems: list[str]) -> tuple[str, ...]:
    networks = _listed(environ, "CDS_FORWARDED_ALLOW_IPS")
    for network in networks:
        try:
            everyone = ipaddress.ip_network(network).prefixlen == 0
        except ValueError:
            everyone = True
        if everyone:
            problems.append(
                f"CDS_FORWARDED_ALLOW_IPS has {network!r}, which is neither an IP address nor a "
                "network, or is everyone's. Write those of the proxies in front of this service, "
                "such as 127.0.0.1,10.1.0.0/16. Whoever is named can say whose request it is."
            )
    return networks


def _collector(environ: Mapping[str, str], problems: list[str]) -> bool:
    """Whether spans are sent; OpenTelemetry's own variables for traces alone count before ours."""
    general, alone = "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"
    if not environ.get(general):
        return False
    told = [name for name in (alone, general) if environ.get(name)]
    wrong = [name for name in told if not re.fullmatch(r"https?://[^/\s]+(/\S*)?", environ[name])]
    problems.extend(
        f"{name} is {environ[name]!r}, which is not the URL of a collector. Write its base URL, "
        "such as http://127.0.0.1:4318, or leave it out."
        for name in wrong
    )
    name, value = told[0], environ[told[0]]
    headers = next((name for name in _COLLECTOR_HEADERS if environ.get(name)), None)
    if not wrong and headers and value.startswith("http:"):
        host = urlsplit(value).hostname or ""
        if not is_this_machine(host):
            problems.append(
                f"{name} is {value!r}, to which {headers} would be sent without encryption. "
                "Write https, or leave the headers out."
            )
    return True


_COLLECTOR_HEADERS = ("OTEL_EXPORTER_OTLP_HEADERS", "OTEL_EXPORTER_OTLP_TRACES_HEADERS")


def check_servable(settings: Settings) -> None:
    """Refuse what would open patient data to a network without authentication, or have no effect.

    Clients must authenticate, so there must be a list of them; or authentication is off, and then
    only a loopback address is served, unless the risk of another was accepted in so many words.

    Raises SettingsInvalid.
    """
    if settings.auth == "required" and settings.clients is None:
        raise SettingsInvalid(
            (
                "CDS_AUTH is 'required', as it is when not set, but CDS_CLIENTS is not set, so "
                "nobody could call. Write CDS_CLIENTS=clients.yaml, a file that lists the clients "
                "(docs/authentication.md has an example); or, for a trial on this machine only, "
                "write CDS_AUTH=off.",
            )
        )
    if settings.auth == "required" and settings.fhir_servers:
        raise SettingsInvalid(
            (
                "CDS_FHIR_SERVERS is set, but counts only with CDS_AUTH=off: where clients "
                "authenticate, each has its own. List them under `fhir_servers` of the client in "
                "CDS_CLIENTS, and leave CDS_FHIR_SERVERS out.",
            )
        )
    if "*" in settings.operation.cors_origins and not is_this_machine(settings.host):
        raise SettingsInvalid(
            (
                f"CDS_CORS_ORIGINS is '*' and CDS_HOST is {settings.host!r}, which is not a "
                "loopback address: a page of any origin, opened by anybody who reaches this "
                "address, could call without authentication and read the cards. Write the origins "
                "that may call, or CDS_HOST=127.0.0.1 for a trial on this machine.",
            )
        )
    if (
        settings.auth == "off"
        and not settings.off_on_network
        and not is_this_machine(settings.host)
    ):
        raise SettingsInvalid(
            (
                f"CDS_HOST is {settings.host!r}, which is not a loopback address, and CDS_AUTH is "
                "'off': anyone who reaches this address would be answered. "
                "Write CDS_HOST=127.0.0.1 or leave it out, or authenticate clients with "
                "CDS_AUTH=required and CDS_CLIENTS. Where nobody but this service's own proxy can "
                f"reach the address, CDS_AUTH_OFF_ON_NETWORK={_ACCEPTED} serves it all the same.",
            )
        )


def host_names(settings: Settings) -> tuple[str, ...] | None:
    """The names by which the service may be called besides those of loopback; None for any.

    Without authentication a page of any origin could call what is served on loopback, by a name of
    its own that it makes lead there. With authentication nobody calls without a token, whatever the
    name, and ``audience`` says to which addresses.
    """
    if settings.host_names:
        return settings.host_names
    return () if settings.auth == "off" and is_this_machine(settings.host) else None


def metrics_host_names(settings: Settings) -> tuple[str, ...] | None:
    """The names by which the metrics may be asked for, as ``host_names``: nobody authenticates."""
    if settings.host_names:
        return settings.host_names
    return () if is_this_machine(settings.operation.metrics_host) else None


def today(settings: Settings) -> date:
    """Return the present date in the time zone of the settings."""
    return datetime.now(settings.timezone).date()


def _state(environ: Mapping[str, str]) -> Path:
    if value := environ.get("CDS_STATE"):
        return Path(value).absolute()
    # https://specifications.freedesktop.org/basedir-spec/: a relative path counts for nothing.
    base = Path(environ.get("XDG_STATE_HOME") or "")
    if not base.is_absolute():
        base = Path(environ.get("HOME") or Path.home(), ".local", "state")
    return base.absolute() / "myositis-cds"


def _file(value: str | None) -> Path | None:
    return Path(value).absolute() if value else None


def _shipped(folder: str) -> Path:
    """Find a folder that travels with the package: inside a wheel, beside cds/ in a checkout."""
    inside = _PACKAGE / "data" / folder
    return inside if inside.is_dir() else _PACKAGE.parent / folder


def _similar(value: str, known: set[str]) -> str:
    spelled = {name.casefold(): name for name in sorted(known)}
    close = difflib.get_close_matches(value.casefold().replace(" ", "_"), spelled, n=1)
    return spelled[close[0]] if close else "a name such as Europe/Stockholm"
