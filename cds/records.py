"""The commands that look into what the service keeps: ``cds decisions`` and ``cds feedback``."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Annotated, Any, NoReturn

import msgspec
import typer
from rich.console import Console
from rich.markdown import Markdown
from rich.table import Table
from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from cds.located import FilesInvalid
from cds.rules.engine import EngineFault
from cds.rules.ruleset import EnginesDisagree
from cds.settings import SettingsInvalid, from_environment
from cds.store.archive import ArchiveUnusable
from cds.store.database import DatabaseUnusable, reading
from cds.store.decisions import Decision, NotKept, find_decision, list_decisions
from cds.store.feedback import Period, Report, RuleCount, count_feedback
from cds.store.repetition import repeat
from cds.store.store import Place, open_database
from cds.terminal import printable, printable_json, printable_line

decisions = typer.Typer(help="Look at the decisions that were given.", no_args_is_help=True)
feedback = typer.Typer(help="Look at what clinicians did with cards.", no_args_is_help=True)

_DAY = "%Y-%m-%d"

Since = Annotated[
    datetime | None,
    typer.Option("--since", formats=[_DAY], metavar="DATE", help="From this day on (UTC)."),
]
Until = Annotated[
    datetime | None,
    typer.Option("--until", formats=[_DAY], metavar="DATE", help="Before this day (UTC)."),
]
AsJson = Annotated[bool, typer.Option("--json", help="JSON in place of a table.")]
Id = Annotated[str, typer.Argument(metavar="ID", help="The id of a decision.")]


@contextmanager
def _database() -> Iterator[Connection]:
    """The database of the settings, to read; what prevents that is said, with exit status 1."""
    try:
        settings = from_environment(os.environ)
        engine = open_database(Place(settings.state, settings.database_url, settings.pseudonym_key))
        try:
            with reading(engine).connect() as connection:
                yield connection
        finally:
            engine.dispose()
    except (SettingsInvalid, DatabaseUnusable, NotKept, ArchiveUnusable) as fault:
        _fail(str(fault))
    except SQLAlchemyError as fault:
        _fail(f"The database failed: {type(getattr(fault, 'orig', None) or fault).__name__}")


def _fail(message: str) -> NoReturn:
    typer.echo("\n".join(map(printable, message.split("\n"))), err=True)
    raise typer.Exit(1)


def _utc(day: datetime | None) -> datetime | None:
    return None if day is None else day.replace(tzinfo=UTC)


@decisions.command("list")
def list_(
    since: Since = None,
    until: Until = None,
    patient: Annotated[
        str | None, typer.Option(help="Only of this patient, by the pseudonym.")
    ] = None,
    rule: Annotated[
        str | None, typer.Option(help="Only those in which this rule's card stands.")
    ] = None,
    most: Annotated[int, typer.Option(min=1, help="At most so many.")] = 50,
    as_json: AsJson = False,
) -> None:
    """List decisions, the latest first."""
    with _database() as connection:
        found = list_decisions(
            connection,
            since=_utc(since),
            until=_utc(until),
            patient=patient,
            rule=rule,
            most=most,
        )
    if as_json:
        for each in found:
            typer.echo(printable_json(msgspec.json.encode(each)))
        return
    table = _table("Time (UTC)", "Decision", "Service", "Patient", "Cards of", "ms")
    # What is copied to the next command stands on one line.
    table.columns[1].no_wrap = True
    for each in found:
        said = [*each.cards, *(f"({name}, left out)" for name in each.left_out)]
        _add(
            table,
            f"{each.at:%Y-%m-%d %H:%M:%S}",
            each.id,
            each.service,
            each.patient,
            "\n".join(said) or "none",
            f"{each.milliseconds:.1f}",
        )
    _print(table)
    if len(found) == most:
        typer.echo(f"The latest {most}; --most and --until show others.")


@decisions.command()
def show(id_: Id, as_json: AsJson = False) -> None:
    """Show a decision: when, about whom, by which rules, what was seen and what was answered."""
    with _database() as connection:
        decision = find_decision(connection, id_)
    if as_json:
        told = msgspec.to_builtins(decision)
        for name in ("inputs", "facts", "answer"):
            told[name] = json.loads(getattr(decision, name))
        typer.echo(printable_json(json.dumps(told, indent=1, ensure_ascii=False).encode()))
        return
    _print(_head(decision))
    facts = json.loads(decision.facts)
    _print(_facts(facts))
    # Decisions of before this was kept have none.
    if excluded := facts.get("excluded"):
        _print(_not_used(excluded))
    for card in json.loads(decision.answer)["cards"]:
        told = f"# {card['indicator']}: {card['summary']}\n\n{card['detail']}"
        _print(Markdown(printable(told)))


def _head(decision: Decision) -> Table:
    table = Table(show_header=False)
    applies = "yes" if decision.applies else "no: the rules are not about this patient"
    left_out = [card for card in decision.cards if card.uuid is None]
    for name, value in (
        ("Decision", decision.id),
        ("Time (UTC)", f"{decision.at:%Y-%m-%d %H:%M:%S.%f}"),
        ("Service", f"{decision.service} ({decision.hook}, {decision.hook_instance})"),
        ("Client", decision.client or "not authenticated"),
        ("Patient", f"{decision.patient} (pseudonym)"),
        ("As of", str(decision.as_of)),
        ("Rule set", decision.rules_version),
        ("Software", decision.software),
        ("Duration", f"{decision.microseconds / 1000:.2f} ms"),
        ("Applies", applies),
        *(
            ("Card", f"{card.rule} {card.rule_version}, {card.indicator}, {card.uuid}")
            for card in decision.cards
            if card.uuid is not None
        ),
        *(("Left out", f"{c.rule}: overridden, feedback {c.silenced_by}") for c in left_out),
    ):
        _add(table, name, value)
    if not decision.overrides_known:
        _add(table, "Overrides", "could not be found out in time, so nothing was left out")
    return table


def _facts(facts: dict[str, Any]) -> Table:
    table = _table("Fact", "Value", "From")
    for name, value in sorted(facts["values"].items()):
        sources = [
            printable_line(", ".join(filter(None, (e["text"], e["date"], e["reference"]))))
            for e in facts["evidence"].get(name, ())
        ]
        if value is not None:
            _add(table, name, _say(value), "\n".join(sources))
    return table


def _not_used(excluded: list[dict[str, str]]) -> Table:
    table = _table("Not used", "Why")
    for each in excluded:
        _add(table, each["reference"], each["reason"])
    return table


def _say(value: Any) -> str:
    """The value of a fact, as it is kept, in words."""
    match value:
        case True | False:
            return "yes" if value else "no"
        case {"low": "-Infinity", "high": "Infinity"}:
            return "unknown"
        case {"low": low, "high": high}:
            return low if low == high else f"{low} to {high}"
        case {"surely": None, "possibly": None}:
            return "never" if value["complete"] else "unknown"
        case {"surely": surely, "possibly": possibly}:
            said = [] if surely is None else [f"{surely} days ago"]
            if possibly is not None and possibly != surely:
                said.append(f"perhaps {possibly} days ago")
            return ", ".join(said)
        case {"possible": possible}:
            return " or ".join(possible)
    return str(value)


@decisions.command()
def replay(id_: Id) -> None:
    """Make a decision again, from the same inputs and rules, and compare.

    Exit status 1 where anything differs.
    """
    with _database() as connection:
        try:
            made = repeat(connection, id_)
        except FilesInvalid as fault:
            _fail(f"The rules of then cannot be read any more:\n{fault}")
        except (EngineFault, EnginesDisagree) as fault:
            _fail(f"No answer can be trusted: {fault}")
    decision = made.decision
    if made.equal:
        count = sum(card.uuid is not None for card in decision.cards)
        cards = "no card" if not count else f"{count} card{'s' if count > 1 else ''}"
        typer.echo(
            f"Equal: the same inputs and rule set {decision.rules_version} give {cards}, the same "
            "to the last byte."
        )
        return
    typer.echo(f"DIFFERENT from what was answered on {decision.at:%Y-%m-%d %H:%M:%S} UTC:")
    for rule, (kept, now) in made.outcomes.items():
        typer.echo(f"{rule}: {_TRUTHS[kept]} then, {_TRUTHS[now]} now")
    for line in made.difference:
        typer.echo(printable_line(line))
    raise typer.Exit(1)


_TRUTHS = {True: "true", False: "false", None: "unknown"}


@feedback.command("report")
def report(
    since: Since = None,
    until: Until = None,
    by: Annotated[
        Period | None, typer.Option(help="Divide by the time at which cards were given.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Say by rule how often its card was shown, accepted and overridden, and why."""
    with _database() as connection:
        found = count_feedback(connection, since=_utc(since), until=_utc(until), by=by)
    if as_json:
        typer.echo(printable_json(msgspec.json.encode(found)))
        return
    _print(_counts(found.rules, periods=by is not None))
    _tell_rest(found)


def _counts(rules: Sequence[RuleCount], *, periods: bool) -> Table:
    head = ["Rule", "Shown", "Patients", "Accepted", "Overridden", "Nothing told", "Left out"]
    table = _table(*(["Period", *head] if periods else head), "Why overridden")
    for each in sorted(rules, key=lambda r: (r.period, r.rule)):
        row = [
            each.rule,
            str(each.shown),
            str(each.patients),
            _share(each.accepted, each.shown),
            _share(each.overridden, each.shown),
            _share(each.without_feedback, each.shown),
            str(each.left_out),
            "\n".join(f"{printable_line(r)}: {count}" for r, count in each.reasons.items()),
        ]
        _add(table, *([each.period, *row] if periods else row))
    return table


def _share(count: int, shown: int) -> str:
    return f"{count} ({round(100 * count / shown)} %)" if shown else str(count)


def _tell_rest(found: Report) -> None:
    if found.unknown:
        typer.echo(
            f"Feedback on {found.unknown} cards that are not known here: given by another "
            "database, or longer ago than decisions are kept."
        )


def _table(*head: str) -> Table:
    """A table that loses nothing where the terminal is narrow."""
    table = Table(*head)
    for column in table.columns:
        column.overflow = "fold"
    return table


def _add(table: Table, *cells: str) -> None:
    """Add a row, of which nothing that a client or a chart says can steer the terminal."""
    table.add_row(*map(printable, cells))


def _print(what: Table | Markdown) -> None:
    Console(markup=False, emoji=False).print(what)
