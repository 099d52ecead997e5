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
| ``CDS_FHIR_SERVERS`` | FHIR servers that may be asked, separated by commas | none |
| ``CDS_FETCH_SECONDS`` | how long a call may fetch what was not sent along | ``5`` |
| ``CDS_TIMEZONE`` | IANA time zone that decides which day is today | the machine's own |
"""

import difflib
import ipaddress
import re
from collections.abc import Mapping
from datetime import date, datetime
from pathlib import Path
from typing import Literal
from zoneinfo import ZoneInfo, available_timezones

import msgspec

_PACKAGE = Path(__file__).resolve().parent
_HIGHEST_PORT = 65535
_A_MINUTE = 60
_A_DAY = 86400
_ACCEPTED = "accept-the-risk"


class SettingsInvalid(ValueError):
    """The settings cannot be used; ``problems`` has a sentence or two for each reason.

    Each names the variable, the value it has, and what to write instead.
    """

    def __init__(self, problems: tuple[str, ...]) -> None:
        self.problems = problems
        super().__init__(
            "\n".join(["The settings cannot be used:", *(f"  - {problem}" for problem in problems)])
        )


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
    fhir_servers: tuple[str, ...] = ()
    """Base URLs that may be asked where no list of clients says it, and networks they may be in."""
    fetch_seconds: float = 5
    """How long a call may take to fetch what was not sent along."""
    timezone: ZoneInfo | None = None
    """None for the machine's own time zone."""


def from_environment(environ: Mapping[str, str]) -> Settings:
    """Read the settings from ``environ``, usually ``os.environ``.

    Raises SettingsInvalid with every problem at once.
    """
    problems: list[str] = []

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

    servers = (entry.strip() for entry in (environ.get("CDS_FHIR_SERVERS") or "").split(","))

    fetch_seconds = 5.0
    if value := environ.get("CDS_FETCH_SECONDS"):
        if re.fullmatch(r"[0-9]{1,2}(\.[0-9]{1,3})?", value) and 0 < float(value) <= _A_MINUTE:
            fetch_seconds = float(value)
        else:
            problems.append(
                f"CDS_FETCH_SECONDS is {value!r}, which is not a number of seconds. "
                f"Write a number above 0, up to {_A_MINUTE}, such as 5."
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

    if problems:
        raise SettingsInvalid(tuple(problems))
    return Settings(
        rules=rules,
        site=site,
        examples=_shipped("fhir_examples"),
        reload_seconds=reload_seconds,
        host=environ.get("CDS_HOST") or "127.0.0.1",
        port=port,
        auth=auth,
        clients=clients,
        off_on_network=off_on_network,
        fhir_servers=tuple(filter(None, servers)),
        fetch_seconds=fetch_seconds,
        timezone=timezone,
    )


def check_servable(settings: Settings) -> None:
    """Refuse what would open patient data to a network without authentication.

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
    if settings.auth == "off" and not settings.off_on_network and not _is_loopback(settings.host):
        raise SettingsInvalid(
            (
                f"CDS_HOST is {settings.host!r}, which is not a loopback address, and CDS_AUTH is "
                "'off': anyone who reaches this address would be answered. "
                "Write CDS_HOST=127.0.0.1 or leave it out, or authenticate clients with "
                "CDS_AUTH=required and CDS_CLIENTS. Where nobody but this service's own proxy can "
                f"reach the address, CDS_AUTH_OFF_ON_NETWORK={_ACCEPTED} serves it all the same.",
            )
        )


def today(settings: Settings) -> date:
    """Return the present date in the time zone of the settings."""
    return datetime.now(settings.timezone).date()


def _shipped(folder: str) -> Path:
    """Find a folder that travels with the package: inside a wheel, beside cds/ in a checkout."""
    inside = _PACKAGE / "data" / folder
    return inside if inside.is_dir() else _PACKAGE.parent / folder


def _similar(value: str, known: set[str]) -> str:
    spelled = {name.casefold(): name for name in sorted(known)}
    close = difflib.get_close_matches(value.casefold().replace(" ", "_"), spelled, n=1)
    return spelled[close[0]] if close else "a name such as Europe/Stockholm"


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
