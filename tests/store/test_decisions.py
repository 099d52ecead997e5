from collections.abc import Callable
from datetime import timedelta

import pytest
from sqlalchemy import Engine

from cds.cards.card import Action, Card, Source, Suggestion
from cds.store.decisions import (
    Decision,
    NotKept,
    decode_entry,
    encode_entry,
    find_decision,
    list_decisions,
    name_cards,
)
from tests.store.conftest import AT, RULES, card, decision

Keep = Callable[..., None]


def test_a_decision_comes_back_as_it_was_kept(engine: Engine, keep: Keep) -> None:
    """Through the journal's form and the database: every field, cards in order."""
    made = decision(1, card("u1"), card("u2", "first-line", fingerprint="f"), card(None, "quiet"))
    passed = decode_entry(encode_entry(made))
    assert isinstance(passed, Decision)
    keep(passed)

    with engine.connect() as connection:
        assert find_decision(connection, made.id) == made


def test_what_is_kept_already_stays_as_it_is(engine: Engine, keep: Keep) -> None:
    """A journal that is read a second time adds nothing and changes nothing."""
    keep(decision(1, card("u1")))
    keep(decision(1, card("u1"), service="other"))

    with engine.connect() as connection:
        found = list_decisions(connection)
    assert [(each.service, each.cards) for each in found] == [
        ("myositis-patient-view", ("escalate",))
    ]


def test_a_decision_that_is_not_kept_is_told(engine: Engine) -> None:
    """The reader learns that it may have been deleted."""
    with engine.connect() as connection, pytest.raises(NotKept, match="its time is over"):
        find_decision(connection, "nothing")


def test_lists_are_the_latest_first_and_of_what_is_asked(engine: Engine, keep: Keep) -> None:
    """By time, by pseudonym, by rule, and no more than asked for."""
    hour = timedelta(hours=1)
    keep(
        decision(1, card("u1"), at=AT),
        decision(2, card(None), at=AT + hour, patient="p2"),
        decision(3, card("u3", "other"), at=AT + 2 * hour),
    )

    def listed(**asked: object) -> list[int]:
        with engine.connect() as connection:
            found = list_decisions(connection, **asked)  # type: ignore[arg-type]
        return [int(each.id[-3:]) for each in found]

    assert listed() == [3, 2, 1]
    assert listed(since=AT + hour) == [3, 2]
    assert listed(until=AT + hour) == [1]
    assert listed(patient="p2") == [2]
    assert listed(rule="escalate") == [2, 1]
    assert listed(most=1) == [3]


def test_cards_are_named_by_their_decision_alone() -> None:
    """Another decision gives other uuids, the same one the same, and suggestions have their own."""
    draft = Suggestion("a", "s1", (Action("create", "b", {}),))
    given = Card("c1", "s", "info", "d", Source("x"), (draft, draft))
    first, other = decision(1).id, decision(2).id

    (named,) = name_cards([("rule", given)], first)
    assert name_cards([("rule", given)], first) == (named,)
    (elsewhere,) = name_cards([("rule", given)], other)

    cards = (given, named, elsewhere)
    uuids = [card.uuid for card in cards] + [s.uuid for card in cards for s in card.suggestions]
    assert len(set(uuids)) == 8


def test_a_rule_set_is_kept_once(engine: Engine, keep: Keep) -> None:
    """Each process notes the files when it starts; the database has them once."""
    keep()
    keep()

    with engine.connect() as connection:
        kept = connection.exec_driver_sql("SELECT version FROM rulesets").scalars().all()
    assert kept == [RULES.version]
