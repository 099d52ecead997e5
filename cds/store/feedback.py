"""Feedback: what clinicians did with cards, kept, and counted by rule."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from datetime import datetime
from typing import Literal

import msgspec
from msgspec import Struct
from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
    and_,
    exists,
    func,
    literal,
    select,
    tuple_,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite

from cds.store.database import reading
from cds.store.tables import Instant, cards, feedback

Outcome = Literal["accepted", "overridden"]
Period = Literal["day", "week", "month", "year"]

_PERIODS: dict[Period, Callable[[datetime], str]] = {
    "day": lambda at: f"{at:%Y-%m-%d}",
    "week": lambda at: "{}-W{:02}".format(*at.isocalendar()),
    "month": lambda at: f"{at:%Y-%m}",
    "year": lambda at: f"{at:%Y}",
}


class Reason(Struct, frozen=True):
    """The code of a reason, as it was offered on the card."""

    code: str
    system: str | None = None
    display: str | None = None


class Feedback(Struct, frozen=True, kw_only=True):
    """What became of one card, and when; ``suggestions`` are the ids of the accepted ones."""

    card: str
    outcome: Outcome
    at: datetime
    suggestions: tuple[str, ...] = ()
    reason: Reason | None = None
    comment: str | None = None


def keep_feedback(
    connection: Connection,
    items: Iterable[Feedback],
    *,
    client: str,
    service: str,
    received_at: datetime,
) -> None:
    """Keep feedback; what was told before, word for word, is kept once."""
    rows = [
        {
            "id": _identity(client, service, item),
            "received_at": received_at,
            "client": client[:200],
            "service": service[:200],
            "card": item.card,
            "outcome": item.outcome,
            "at": item.at,
            "reason": item.reason.code if item.reason else None,
            "reason_system": item.reason.system if item.reason else None,
            "reason_display": item.reason.display if item.reason else None,
            "comment": item.comment,
            "suggestions": msgspec.json.encode(item.suggestions).decode(),
        }
        for item in items
    ]
    # In one order everywhere: processes that keep the same feedback would wait for each other.
    rows.sort(key=lambda row: str(row["id"]))
    if rows:
        made = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
        connection.execute(made(feedback).on_conflict_do_nothing(), rows)


def _identity(client: str, service: str, item: Feedback) -> str:
    return hashlib.sha256(msgspec.json.encode((client, service, item))).hexdigest()


_TOLD_OF = and_(feedback.c.card == cards.c.uuid, feedback.c.client == cards.c.client)


def name_patients(connection: Connection, uuids: Collection[str]) -> None:
    """Note of whom feedback on these cards is, where the cards are known.

    Feedback and its card may come in either order, and at the same time. So whoever adds one of
    them, and did not see the other, calls this in a transaction after that: the later of the two
    then sees both.
    """
    connection.execute(
        update(feedback)
        .where(_lacks_patient(uuids), exists().where(_TOLD_OF))
        .values(patient=select(cards.c.patient).where(_TOLD_OF).scalar_subquery())
    )


AT_ONCE = 500
"""Pieces of feedback that are looked at in one transaction, so that nobody waits long for it."""


def name_all(engine: Engine, since: datetime) -> Iterator[int]:
    """Note of whom all feedback is that came since a moment, where its card is known by now.

    An earlier version of the service, which may run beside this one during an upgrade, does not
    note it; and whoever should have may have been cut off. Yields after each transaction how many
    pieces it found.
    """
    asked = (
        select(feedback.c.received_at, feedback.c.id, feedback.c.card, cards.c.uuid.label("known"))
        .select_from(feedback.outerjoin(cards, _TOLD_OF))
        .where(feedback.c.patient.is_(None))
        .order_by(feedback.c.received_at, feedback.c.id)
        .limit(AT_ONCE)
    )
    last = (since, "")
    while True:
        behind = tuple_(feedback.c.received_at, feedback.c.id) > tuple_(
            literal(last[0], Instant), literal(last[1])
        )
        with reading(engine).connect() as connection:
            found = connection.execute(asked.where(behind)).all()
        known = {row.card for row in found if row.known is not None}
        if known:
            with engine.begin() as connection:
                name_patients(connection, known)
        yield sum(row.known is not None for row in found)
        if len(found) < AT_ONCE:
            return
        last = (found[-1].received_at, found[-1].id)


def wait_for_cards(connection: Connection, uuids: Collection[str]) -> bool:
    """Whether there is feedback on these cards that does not have its patient yet."""
    found = connection.execute(select(feedback.c.id).where(_lacks_patient(uuids)).limit(1))
    return found.first() is not None


def _lacks_patient(uuids: Collection[str]) -> ColumnElement[bool]:
    return and_(feedback.c.card.in_(uuids), feedback.c.patient.is_(None))


def unknown_cards(connection: Connection, client: str, uuids: Iterable[str]) -> list[str]:
    """Those of the cards that are not known to have been given to this client."""
    asked = sorted(set(uuids))
    known = select(cards.c.uuid).where(cards.c.uuid.in_(asked), cards.c.client == client)
    found = set(connection.execute(known).scalars())
    return [uuid for uuid in asked if uuid not in found]


class RuleCount(Struct, frozen=True, kw_only=True):
    """How often a rule's card was given in a period, and what became of it.

    A card counts by the time at which it was given, and by the last that was told of it.
    ``reasons`` counts the overridden by code (``NO_CODE`` where there is only a comment or
    nothing). ``left_out`` counts the answers from which the card was left out after an override.
    """

    rule: str
    period: str
    shown: int
    patients: int
    accepted: int
    overridden: int
    reasons: dict[str, int]
    left_out: int

    @property
    def without_feedback(self) -> int:
        """How many cards nothing was told of."""
        return self.shown - self.accepted - self.overridden


class Report(Struct, frozen=True):
    """Feedback by rule and period; ``unknown`` counts the cards told of that are not known here."""

    rules: tuple[RuleCount, ...]
    unknown: int


class _Counting(Struct):
    shown: set[str]
    patients: set[str]
    last: dict[str, tuple[datetime, datetime, str, str | None]]
    left_out: int = 0


NO_CODE = "no code"


def count_feedback(
    connection: Connection,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    by: Period | None = None,
) -> Report:
    """Count by rule what was given from a moment and before another, and what became of it."""
    asked = select(
        cards.c.rule,
        cards.c.at.label("given_at"),
        cards.c.uuid,
        cards.c.patient,
        feedback.c.at,
        feedback.c.received_at,
        feedback.c.outcome,
        feedback.c.reason,
    ).select_from(cards.outerjoin(feedback, _TOLD_OF))
    unknown = select(func.count(feedback.c.card.distinct())).select_from(
        feedback.outerjoin(cards, _TOLD_OF)
    )
    unknown = unknown.where(cards.c.uuid.is_(None))
    if since is not None:
        asked = asked.where(cards.c.at >= since)
        unknown = unknown.where(feedback.c.received_at >= since)
    if until is not None:
        asked = asked.where(cards.c.at < until)
        unknown = unknown.where(feedback.c.received_at < until)
    counting: dict[tuple[str, str], _Counting] = {}
    for row in connection.execution_options(yield_per=1000).execute(asked):
        period = "" if by is None else _PERIODS[by](row.given_at)
        of = counting.setdefault((row.rule, period), _Counting(set(), set(), {}))
        if row.uuid is None:
            of.left_out += 1
            continue
        of.shown.add(row.uuid)
        of.patients.add(row.patient)
        if row.outcome is not None:
            latest = (row.at, row.received_at, row.outcome, row.reason)
            before = of.last.get(row.uuid)
            # Of what was told of one moment, overriding counts: it names a reason.
            if before is None or latest[:3] > before[:3]:
                of.last[row.uuid] = latest
    return Report(
        tuple(_count(*key, of) for key, of in sorted(counting.items())),
        connection.execute(unknown).scalar_one(),
    )


def _count(rule: str, period: str, of: _Counting) -> RuleCount:
    outcomes = Counter(outcome for _, _, outcome, _ in of.last.values())
    reasons = Counter(
        reason or NO_CODE for _, _, outcome, reason in of.last.values() if outcome == "overridden"
    )
    return RuleCount(
        rule=rule,
        period=period,
        shown=len(of.shown),
        patients=len(of.patients),
        accepted=outcomes["accepted"],
        overridden=outcomes["overridden"],
        reasons=dict(reasons.most_common()),
        left_out=of.left_out,
    )
