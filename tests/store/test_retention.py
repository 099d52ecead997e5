from collections.abc import Callable
from datetime import timedelta

import pytest
from sqlalchemy import Engine, func, select

from cds.store import retention
from cds.store.retention import delete_old
from cds.store.tables import cards, decisions, feedback, rulesets
from tests.store.conftest import AT, card, decision
from tests.store.test_feedback import accepted, told

Keep = Callable[..., None]
DAY = timedelta(days=1)


def kept(engine: Engine) -> list[int]:
    """Count the rows of the tables: decisions, cards, feedback, rule sets."""
    with engine.connect() as connection:
        return [
            connection.execute(select(func.count()).select_from(table)).scalar_one()
            for table in (decisions, cards, feedback, rulesets)
        ]


def test_what_is_older_goes_with_its_cards_and_the_rest_stays(engine: Engine, keep: Keep) -> None:
    """To the second; feedback goes by when it came; rule sets hold nothing of patients and stay."""
    keep(*(decision(i, card(f"u{i}"), at=AT - 30 * DAY) for i in range(5)))
    keep(decision(9, card("u9"), at=AT - 30 * DAY + timedelta(seconds=1)))
    told(engine, accepted("u1"), at=AT - 31 * DAY)
    told(engine, accepted("u9"), at=AT - DAY)

    gone = sum(delete_old(engine, 30, AT + timedelta(milliseconds=1)))

    assert gone == 5
    assert kept(engine) == [1, 1, 1, 1]


def test_more_than_goes_at_once_goes_too(
    engine: Engine, keep: Keep, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Deletion goes on, a few at a time, until all that is old has gone."""
    monkeypatch.setattr(retention, "AT_ONCE", 2)
    keep(*(decision(i, card(f"u{i}"), at=AT - 9 * DAY) for i in range(5)))

    assert list(delete_old(engine, 7, AT)) == [2, 2, 1, 0]
    assert kept(engine) == [0, 0, 0, 1]


def test_feedback_goes_a_few_at_a_time_as_well(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the portions others have their turn, and in the end all that is old has gone."""
    monkeypatch.setattr(retention, "AT_ONCE", 2)
    told(engine, *(accepted(f"u{i}") for i in range(5)), at=AT - 9 * DAY)
    told(engine, accepted("new"), at=AT)

    left = [(gone, kept(engine)[2]) for gone in delete_old(engine, 7, AT)]

    assert left == [(0, 6), (0, 4), (0, 2), (0, 1)]


def test_with_0_days_everything_stays(engine: Engine, keep: Keep) -> None:
    """Who wants to keep decisions for ever may."""
    keep(decision(1, card("u1"), at=AT - 9999 * DAY))

    assert sum(delete_old(engine, 0, AT)) == 0
    assert kept(engine) == [1, 1, 0, 1]
