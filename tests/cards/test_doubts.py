"""What cards say of numbers that nobody read in a source of their own."""

from __future__ import annotations

import re
from collections.abc import Callable

from cds.advice import Advice
from cds.cards.card import Card

Example = Callable[[str], Advice]


def said(card: Card, head: str) -> str:
    """Return what a card says under a head; nothing where it has none."""
    found = re.findall(rf"\*\*{head}:\*\* (.*)", card.detail)
    assert len(found) <= 1
    return "".join(found)


def card_of(advice: Advice, words: str) -> Card:
    """Return the one card whose summary holds these words."""
    (card,) = (card for card in advice.cards if words in card.summary)
    return card


def test_what_was_read_in_one_secondary_source_is_said_apart(example: Example) -> None:
    """The range of CK was read once, the range of MMT-8 never: each under its own head."""
    improved = card_of(example("improved-at-six-months"), "Improved since")
    once = said(improved, "Read in one secondary source")
    assert once == "range of CK, 15 times its upper limit."
    never = said(improved, "Not verified in a source")
    assert "range of MMT-8" in never
    assert "range of CK" not in never


def test_ages_behind_a_risk_are_said_as_they_were_read(example: Example) -> None:
    """Of JAK inhibitors one age was read in one source, one in its own; of immunoglobulin none."""
    risk = card_of(example("jak-inhibitor-with-risk"), "JAK inhibitor")
    assert said(risk, "Read in one secondary source").startswith("Age ≥ 50 years (")
    assert "65 years" in risk.detail
    assert said(risk, "Not verified in a source") == ""
    risk = card_of(example("immunoglobulin-with-thrombotic-risk"), "Immunoglobulin")
    assert "65 years" in said(risk, "Not verified in a source")


def test_an_equal_dose_is_said_where_something_was_converted(example: Example) -> None:
    """Prednisolone is counted as prednisone; prednisone itself is not converted."""
    over = card_of(example("not-improved"), "Pneumocystis")
    assert "5 mg prednisolone counted as 5 mg prednisone" in said(
        over, "Read in one secondary source"
    )


def test_a_number_that_only_a_text_shows_is_said(example: Example) -> None:
    """The most a child is given stands in an option for children: no condition asks for it."""
    child = card_of(example("juvenile-untreated"), "Untreated myositis")
    assert "60 mg (The most prednisolone a day in a child; recalled, not read)" in said(
        child, "Not verified in a source"
    )
    adult = card_of(example("new-untreated-dermatomyositis"), "Untreated myositis")
    assert "in a child" not in said(adult, "Not verified in a source")


def test_nothing_is_said_where_all_was_read_or_chosen_otherwise(example: Example) -> None:
    """No head stands without anything under it."""
    scope = card_of(example("inclusion-body-myositis"), "Inclusion body myositis")
    assert "Read in one secondary source" not in scope.detail


def test_how_an_enzyme_was_chosen_is_said_where_there_were_several(example: Example) -> None:
    """Nobody read that the same enzyme counts at follow-up; with one there is nothing to choose."""
    chosen = "the enzyme with the highest multiple of its upper limit at baseline counts"
    improved = card_of(example("improved-at-six-months"), "Improved since")
    assert chosen in said(improved, "Not verified in a source")
    (worse,) = (c for c in example("worsened-at-one-visit").cards if "Worse" in c.summary)
    assert chosen not in worse.detail
