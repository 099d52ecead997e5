from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine

from cds.cards.cards import OVERRIDE_REASONS
from cds.rules.language import OverrideReason
from cds.store.database import connect, sqlite_url, upgrade
from cds.store.decisions import insert_rows, rows_of
from cds.store.feedback import (
    Feedback,
    Outcome,
    Reason,
    keep_feedback,
    name_patients,
    wait_for_cards,
)
from cds.store.overrides import find_told, standing
from tests.store.conftest import AT, RULES, card, decision

Keep = Callable[..., None]
DAY = timedelta(days=1)
REASONS = {
    "declined": OverrideReason(display="Declined", lasting=True),
    "later": OverrideReason(display="Not now"),
}


def tell(
    engine: Engine,
    uuid: str,
    code: str | None = "declined",
    *,
    outcome: Outcome = "overridden",
    at: datetime = AT,
    received_at: datetime = AT,
    system: str = OVERRIDE_REASONS,
    client: str = "ehr",
) -> None:
    """Keep what became of a card."""
    reason = None if code is None else Reason(code, system)
    item = Feedback(card=uuid, outcome=outcome, at=at, reason=reason)
    with engine.begin() as connection:
        keep_feedback(connection, [item], client=client, service="s", received_at=received_at)
        name_patients(connection, [uuid])


def left_out(
    engine: Engine, *, patient: str = "p1", fingerprint: str = "f", now: datetime = AT + DAY
) -> bool:
    """Whether the card of the rule `escalate` is left out, at a fingerprint of its facts."""
    with engine.connect() as connection:
        told = find_told(connection, "ehr", patient, now)
    quiet = {"escalate": (90 * DAY, fingerprint)}
    return "escalate" in standing(told, quiet, REASONS, now)


@pytest.fixture
def given(keep: Keep) -> None:
    """Give one card, twice."""
    keep(
        decision(1, card("u1", fingerprint="f")),
        decision(2, card("u2", fingerprint="f")),
    )


@pytest.mark.usefixtures("given")
def test_a_lasting_override_holds_for_its_time_and_its_patient(engine: Engine) -> None:
    """To the day, and for nobody else."""
    tell(engine, "u1")

    assert left_out(engine, now=AT + 90 * DAY - timedelta(seconds=1))
    assert not left_out(engine, now=AT + 90 * DAY)
    assert not left_out(engine, patient="p2")


@pytest.mark.usefixtures("given")
def test_changed_facts_end_an_override(engine: Engine) -> None:
    """What the clinician decided was decided about other facts."""
    tell(engine, "u1")

    assert not left_out(engine, fingerprint="g")


@pytest.mark.usefixtures("given")
@pytest.mark.parametrize(
    "told",
    [
        {"code": "later"},
        {"code": None},
        {"code": "unheard-of"},
        {"system": "https://other.example"},
        {"outcome": "accepted"},
        {"client": "other"},
        {"uuid": "u9"},
    ],
)
def test_nothing_but_a_lasting_reason_of_ours_from_who_got_the_card_silences_it(
    engine: Engine, told: dict[str, str]
) -> None:
    """Another reason, none, one of another system, another client, another card: it is given."""
    tell(engine, **{"uuid": "u1", **told})  # type: ignore[arg-type]  # named by the parameters

    assert not left_out(engine)


@pytest.mark.usefixtures("given")
def test_the_last_that_was_told_of_a_card_counts(engine: Engine) -> None:
    """An override may follow an acceptance, and an acceptance take an override back."""
    tell(engine, "u1", None, outcome="accepted", at=AT)
    tell(engine, "u1", at=AT + timedelta(minutes=1))
    assert left_out(engine)

    tell(engine, "u1", None, outcome="accepted", at=AT + timedelta(minutes=2))
    assert not left_out(engine)


@pytest.mark.usefixtures("given")
def test_a_clock_that_is_ahead_silences_for_no_longer(engine: Engine) -> None:
    """The time counts from when it was told, where the client says it was later."""
    tell(engine, "u1", at=AT + 300 * DAY, received_at=AT)

    assert left_out(engine, now=AT + 89 * DAY)
    assert not left_out(engine, now=AT + 90 * DAY)


def test_a_card_whose_rule_stated_no_time_silences_nothing(engine: Engine, keep: Keep) -> None:
    """It has no fingerprint, so nothing can be said of the facts behind it."""
    keep(decision(1, card("u1")))
    tell(engine, "u1")

    assert not left_out(engine)


@pytest.mark.usefixtures("given")
def test_of_very_much_that_was_told_the_latest_is_looked_at(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Calls wait for it, so there is a bound; what counts of a card is the last all the same."""
    for day in range(5):
        tell(engine, "u1", outcome="accepted", code=None, at=AT - (5 - day) * DAY)
    tell(engine, "u1")

    monkeypatch.setattr("cds.store.overrides.MOST_TOLD", 2)
    with engine.connect() as connection:
        found = find_told(connection, "ehr", "p1", AT + DAY)
    assert [(each.overridden, each.since) for each in found] == [(True, AT)]


def test_looking_takes_no_longer_however_much_was_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite takes no more steps for what is asked of a card where ten times as much was told."""
    monkeypatch.setattr("cds.store.overrides.MOST_TOLD", 20)
    engine = connect(sqlite_url(tmp_path / "cds.sqlite"))
    upgrade(engine)
    with engine.begin() as connection:
        insert_rows(connection, rows_of([RULES, decision(1, card("u1", fingerprint="f"))]))

    def steps_with(pieces: range) -> int:
        items = [
            Feedback(card="u1", outcome="accepted", at=AT + timedelta(seconds=piece))
            for piece in pieces
        ]
        steps: list[None] = []
        with engine.begin() as connection:
            keep_feedback(connection, items, client="ehr", service="s", received_at=AT)
            driver = connection.connection.dbapi_connection
            assert driver is not None
            driver.set_progress_handler(lambda: steps.append(None), 1)
            name_patients(connection, ["u1"])
            named = len(steps)
            find_told(connection, "ehr", "p1", AT + DAY)
            wait_for_cards(connection, ["u1"])
            driver.set_progress_handler(None, 1)
        return len(steps) - named

    few, many = steps_with(range(100)), steps_with(range(100, 1100))
    engine.dispose()
    assert 0 < many <= few
