from collections.abc import Callable
from datetime import datetime, timedelta

import pytest
from sqlalchemy import Engine

from cds.cards.cards import OVERRIDE_REASONS
from cds.rules.language import OverrideReason
from cds.store.feedback import Feedback, Outcome, Reason, keep_feedback, name_patients
from cds.store.overrides import _TOLD, find_told, standing
from tests.store.conftest import AT, card, decision

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

    with engine.connect() as connection:
        asked = _TOLD.limit(2)
        monkeypatch.setattr("cds.store.overrides._TOLD", asked)
        found = find_told(connection, "ehr", "p1", AT + DAY)
    assert [(each.overridden, each.since) for each in found] == [(True, AT)]
