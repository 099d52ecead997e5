"""What a card rests on besides the thresholds of its rule."""

from __future__ import annotations

from collections.abc import Callable

from cds.advice import Advice
from cds.cards.resting import Choice, unverified_choices
from cds.rules.ruleset import RuleSet

VISITS = (
    "choice of the visits compared (within 14 days, grace 7 days, look-back 730 days, "
    "least interval 28 days)"
)


def choices(fact: str, ruleset: RuleSet) -> list[Choice]:
    """What of the choices behind a fact was recalled."""
    return list(unverified_choices([fact], ruleset.terms.vocabulary))


def test_whatever_compares_visits_says_how_they_were_chosen(ruleset: RuleSet) -> None:
    """Window, grace, look-back and least interval are choices of this project."""
    assert choices("measure.extramuscular.worsening", ruleset) == [Choice(VISITS)]
    assert choices("diagnosis.myositis", ruleset) == []


def test_the_length_of_a_course_says_what_one_course_is(ruleset: RuleSet) -> None:
    """Days of the treatment line depend on which orders are taken together."""
    for fact in ("treatment.line_days", "drug.methotrexate.days"):
        assert choices(fact, ruleset) == [Choice("what is one course of treatment (gap 90 days)")]


def test_how_long_a_dose_counts_is_a_choice_about_that_drug(ruleset: RuleSet) -> None:
    """It bears on who has the drug on record, and not where only ever counts."""
    (rituximab,) = (
        c for c in choices("drug.steroid_sparing.current", ruleset) if c.drug == "rituximab"
    )
    assert rituximab.said == "how long one administration counts: Rituximab, 183 days"
    assert choices("drug.steroid_sparing.ever", ruleset) == []


def test_a_choice_about_a_drug_is_said_where_that_is_on_record(
    example: Callable[[str], Advice],
) -> None:
    """The same card says it of rituximab that was given, and not to who never had any."""

    def said(case: str) -> bool:
        (card,) = (c for c in example(case).cards if "is inadequate" in c.detail)
        return "how long one administration counts: Rituximab, 183 days" in card.detail

    assert said("refractory-previous-exposure")
    assert not said("refractory-dermatomyositis")


def test_the_card_says_so(example: Callable[[str], Advice]) -> None:
    """Under what nobody verified in a source."""
    (card,) = (c for c in example("measures-missing").cards if c.summary.startswith("Missing"))
    assert VISITS in card.detail.partition("**Not verified in a source:**")[2]
