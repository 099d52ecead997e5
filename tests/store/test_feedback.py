from collections.abc import Callable
from datetime import datetime, timedelta

import pytest
from sqlalchemy import Engine, event, select

from cds.store.feedback import (
    NO_CODE,
    Feedback,
    Reason,
    RuleCount,
    count_feedback,
    keep_feedback,
    name_all,
    unknown_cards,
)
from cds.store.tables import feedback
from tests.store.conftest import AT, card, decision

Keep = Callable[..., None]
MINUTE = timedelta(minutes=1)


def told(engine: Engine, *items: Feedback, client: str = "ehr", at: datetime = AT) -> None:
    """Keep feedback of a client."""
    with engine.begin() as connection:
        keep_feedback(connection, items, client=client, service="s", received_at=at)


def accepted(uuid: str, at: datetime = AT) -> Feedback:
    """Make up an acceptance."""
    return Feedback(card=uuid, outcome="accepted", at=at, suggestions=("s1",))


def overridden(uuid: str, code: str | None = None, at: datetime = AT) -> Feedback:
    """Make up an override."""
    reason = None if code is None else Reason(code, "https://x.example")
    return Feedback(card=uuid, outcome="overridden", at=at, reason=reason, comment="Later")


def counts(engine: Engine, **asked: object) -> list[RuleCount]:
    """Count what was told."""
    with engine.connect() as connection:
        return list(count_feedback(connection, **asked).rules)  # type: ignore[arg-type]


def test_cards_are_counted_by_rule_with_what_became_of_them(engine: Engine, keep: Keep) -> None:
    """Shown, to how many, accepted, overridden and why, left out, and the rest."""
    keep(
        decision(1, card("u1"), card("v1", "other")),
        decision(2, card("u2")),
        decision(3, card("u3"), patient="p2"),
        decision(4, card("u4"), patient="p2"),
        decision(5, card(None)),
    )
    told(engine, accepted("u1"), overridden("u2", "another-plan"), overridden("u3"))

    assert counts(engine) == [
        RuleCount(
            rule="escalate",
            period="",
            shown=4,
            patients=2,
            accepted=1,
            overridden=2,
            reasons={"another-plan": 1, NO_CODE: 1},
            left_out=1,
        ),
        RuleCount(
            rule="other",
            period="",
            shown=1,
            patients=1,
            accepted=0,
            overridden=0,
            reasons={},
            left_out=0,
        ),
    ]
    assert counts(engine)[0].without_feedback == 1


def test_what_is_sent_again_counts_once(engine: Engine, keep: Keep) -> None:
    """A batch that a client repeats changes nothing."""
    keep(decision(1, card("u1")))
    told(engine, accepted("u1"), accepted("u1"))
    told(engine, accepted("u1"), at=AT + MINUTE)

    (count,) = counts(engine)
    assert (count.shown, count.accepted) == (1, 1)


def test_of_several_outcomes_the_last_counts(engine: Engine, keep: Keep) -> None:
    """An override after an acceptance is an override, in whichever order the two arrive."""
    keep(decision(1, card("u1")), decision(2, card("u2")))
    told(engine, overridden("u1", "a", AT + MINUTE), accepted("u1"))
    told(engine, accepted("u2", AT + MINUTE), overridden("u2", "b"))

    (count,) = counts(engine)
    assert (count.accepted, count.overridden, count.reasons) == (1, 1, {"a": 1})


def test_feedback_on_unknown_cards_is_kept_and_counted(engine: Engine, keep: Keep) -> None:
    """So are cards of another client: nobody can tell of what was given to somebody else."""
    keep(decision(1, card("u1")))
    told(engine, accepted("nothing"), overridden("nothing"))
    told(engine, accepted("u1"), client="other")

    with engine.connect() as connection:
        assert count_feedback(connection).unknown == 2
        assert unknown_cards(connection, "ehr", ["u1", "nothing"]) == ["nothing"]
        assert unknown_cards(connection, "other", ["u1"]) == ["u1"]
    assert counts(engine)[0].accepted == 0


def test_feedback_before_its_decision_counts_when_that_is_there(engine: Engine, keep: Keep) -> None:
    """A decision may still wait in a journal when the clinician has acted."""
    told(engine, accepted("u1"))
    keep(decision(1, card("u1")))

    with engine.connect() as connection:
        found = count_feedback(connection)
    assert (found.unknown, found.rules[0].accepted) == (0, 1)


def test_counts_are_divided_by_the_time_at_which_cards_were_given(
    engine: Engine, keep: Keep
) -> None:
    """By month, week, day or year; from one moment and before another."""
    december = datetime(2026, 12, 31, 23, 59, tzinfo=AT.tzinfo)
    keep(
        decision(1, card("u1")),
        decision(2, card("u2"), at=december),
    )

    def periods(by: str) -> list[str]:
        return [count.period for count in counts(engine, by=by)]

    assert periods("month") == ["2026-11", "2026-12"]
    assert periods("week") == ["2026-W47", "2026-W53"]
    assert periods("day") == ["2026-11-16", "2026-12-31"]
    assert periods("year") == ["2026"]
    assert [c.shown for c in counts(engine, since=AT + MINUTE)] == [1]
    assert [c.shown for c in counts(engine, until=AT)] == []


def patients(engine: Engine) -> dict[str, str | None]:
    """Say of whom the feedback on each card is."""
    asked = select(feedback.c.card, feedback.c.patient).order_by(feedback.c.card)
    with engine.connect() as connection:
        rows = connection.execute(asked)
        return {row.card: row.patient for row in rows}


def test_all_feedback_whose_card_is_known_gets_its_patient(engine: Engine, keep: Keep) -> None:
    """An earlier version named none; what is on no card of this client, or too old, stays so."""
    keep(decision(1, card("u1")), decision(2, card("u2"), client="other"), decision(3, card("u3")))
    told(engine, accepted("u1"), accepted("u2"), accepted("u9"))
    told(engine, accepted("u3"), at=AT - MINUTE)

    assert list(name_all(engine, AT)) == [1]
    assert patients(engine) == {"u1": "p1", "u2": None, "u3": None, "u9": None}


def test_patients_are_named_some_at_a_time_and_each_is_looked_at_once(
    engine: Engine, keep: Keep, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However much came at one moment, and with what nobody knows in between."""
    monkeypatch.setattr("cds.store.feedback.AT_ONCE", 2)
    keep(*(decision(i, card(f"u{i}")) for i in range(0, 9, 2)))
    told(engine, *(accepted(f"u{i}") for i in range(9)))
    written: list[object] = []
    event.listen(engine, "commit", written.append)

    named = list(name_all(engine, AT))

    assert (len(named), sum(named)) == (5, 5)
    assert len(written) == sum(count > 0 for count in named)
    assert [card for card, patient in patients(engine).items() if patient is None] == [
        "u1",
        "u3",
        "u5",
        "u7",
    ]


def test_who_is_to_be_named_is_found_by_an_index(engine: Engine) -> None:
    """However much feedback there is that has its patient."""
    asked: list[tuple[str, object]] = []

    def note(_: object, __: object, statement: str, parameters: object, *___: object) -> None:
        asked.append((statement, parameters))

    event.listen(engine, "before_cursor_execute", note)
    list(name_all(engine, AT))
    event.remove(engine, "before_cursor_execute", note)
    statement, parameters = asked[-1]
    explain = "EXPLAIN QUERY PLAN" if engine.dialect.name == "sqlite" else "EXPLAIN"
    with engine.connect() as connection:
        if engine.dialect.name == "postgresql":  # which reads an empty table as a whole
            connection.exec_driver_sql("SET enable_seqscan = off")
        plan = connection.exec_driver_sql(f"{explain} {statement}", parameters).all()  # type: ignore[arg-type]

    assert "feedback_by_patient" in str(plan)
    assert "received_at" in str(plan)
