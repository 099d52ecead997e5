"""Lasting overrides: which cards a patient is not to be shown again for now."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta

from msgspec import Struct
from sqlalchemy import Connection, and_, bindparam, select

from cds.cards.cards import OVERRIDE_REASONS
from cds.rules.language import OverrideReason
from cds.rules.reading import LONGEST_QUIET
from cds.store.tables import cards, feedback


class Told(Struct, frozen=True):
    """The last that was told of a card: what was behind it then, what became of it, and when."""

    rule: str
    fingerprint: str
    feedback: str
    overridden: bool
    reason: str | None
    since: datetime


MOST_TOLD = 1000
"""How much of what was told of a patient is looked at, the latest first: calls wait for it. Of a
patient of whom more is told, a card too many is the lesser harm."""

# Made once: calls wait for it. The latest are found by an index alone, so that it takes no longer
# however much was told.
_LATEST = (
    select(feedback)
    .where(feedback.c.patient == bindparam("patient"), feedback.c.client == bindparam("client"))
    .order_by(feedback.c.at.desc(), feedback.c.received_at.desc(), feedback.c.outcome.desc())
    .limit(bindparam("most"))
    .subquery()
)
_TOLD = (
    select(
        cards.c.uuid,
        cards.c.rule,
        cards.c.fingerprint,
        _LATEST.c.id,
        _LATEST.c.outcome,
        _LATEST.c.reason,
        _LATEST.c.reason_system,
        _LATEST.c.at,
        _LATEST.c.received_at,
    )
    .select_from(
        _LATEST.join(
            cards, and_(cards.c.uuid == _LATEST.c.card, cards.c.client == _LATEST.c.client)
        )
    )
    .where(_LATEST.c.received_at >= bindparam("oldest"), cards.c.fingerprint.is_not(None))
    .order_by(_LATEST.c.at.desc(), _LATEST.c.received_at.desc(), _LATEST.c.outcome.desc())
)


def find_told(connection: Connection, client: str, patient: str, now: datetime) -> list[Told]:
    """What was last told of each of a patient's cards, as long as it may count."""
    asked = {
        "client": client,
        "patient": patient,
        "oldest": now - timedelta(days=LONGEST_QUIET),
        "most": MOST_TOLD,
    }
    rows = connection.execute(_TOLD, asked).all()
    last = {row.uuid: row for row in reversed(rows)}
    return [
        Told(
            rule=row.rule,
            fingerprint=row.fingerprint,
            feedback=row.id,
            overridden=row.outcome == "overridden",
            reason=row.reason if row.reason_system == OVERRIDE_REASONS else None,
            # A clock that is ahead must not keep a card away for longer.
            since=min(row.at, row.received_at),
        )
        for row in last.values()
    ]


def standing(
    told: Iterable[Told],
    quiet: Mapping[str, tuple[timedelta, str]],
    reasons: Mapping[str, OverrideReason],
    now: datetime,
) -> dict[str, str]:
    """The rules whose cards are not to be given, each with the feedback because of which.

    ``quiet`` gives, by rule, how long a lasting override holds and the fingerprint of the facts as
    they are now.
    """
    found = {}
    for each in told:
        if each.rule not in quiet:
            continue
        period, fingerprint = quiet[each.rule]
        reason = reasons.get(each.reason or "")
        if (
            each.overridden
            and reason is not None
            and reason.lasting
            and each.fingerprint == fingerprint
            and now < each.since + period
        ):
            found[each.rule] = each.feedback
    return found
