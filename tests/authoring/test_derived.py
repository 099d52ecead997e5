from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from cds.advice import Advice, advise, load_rules
from cds.authoring.derived import DerivedExplanation, describe_derived, explain_derived
from cds.fhir.bundles import RESOURCE_TYPES, Delivery, decode, read_resource
from cds.rules.ruleset import RuleSet

ROOT = Path(__file__).parents[2]
DAY = date(2026, 11, 16)


@pytest.fixture(scope="module")
def shipped() -> RuleSet:
    """The shipped rules."""
    return load_rules(ROOT / "rules")


def advice_on(example: str, ruleset: RuleSet) -> Advice:
    """The advice on an example patient, whole."""
    raw = (ROOT / f"fhir_examples/{example}.bundle.json").read_bytes()
    delivery = Delivery(delivered=set(RESOURCE_TYPES))
    read_resource(decode(raw), delivery, "Bundle")
    patient = delivery.patients[0].id
    assert patient is not None
    return advise(delivery, patient, ruleset, DAY, everything=True)


def derived(fact: str, ruleset: RuleSet) -> DerivedExplanation:
    """The explanation of a derived fact of the patient whose strength is missing."""
    advice = advice_on("undetermined-strength-missing", ruleset)
    return explain_derived(ruleset.derivations[fact], ruleset, advice)


def test_a_sum_shows_every_term_with_its_points_and_what_is_missing(shipped: RuleSet) -> None:
    """Each term has what was seen and where that is from; the missing one its whole span."""
    explanation = derived("response.tis.score", shipped)

    assert explanation.value == "25 to 57.5 points"
    assert [(t.title, t.points, t.most) for t in explanation.terms] == [
        ("Physician global activity", "15", "20"),
        ("Patient or parent global activity", "5", "10"),
        ("Muscle strength", "0 to 32.5", "32.5"),
        ("Physical function", "5", "10"),
        ("Muscle enzyme", "0", "7.5"),
        ("Extramuscular activity", "0", "20"),
    ]
    assert explanation.missing == ("muscle strength",)
    assert len(explanation.terms[0].evidence) == 2


def test_a_category_shows_the_condition_of_each_rank(shipped: RuleSet) -> None:
    """From the highest to the lowest, which has none; the words say what would settle it."""
    explanation = derived("response.tis.category", shipped)
    truths = [(r.category, r.conditions and r.conditions.truth) for r in explanation.ranks]

    assert truths == [
        ("major", False),
        ("moderate", None),
        ("minimal", True),
        ("below minimal", None),
    ]
    lines = list(describe_derived(explanation))
    assert "response.tis.category = minimal or moderate" in lines
    assert "below minimal, if none above" in lines
    assert lines[-1] == "What would settle it: muscle strength."
    assert all(len(line) <= 80 for line in lines)


def test_nothing_is_missing_where_the_value_is_exact(shipped: RuleSet) -> None:
    """Then no line says so."""
    advice = advice_on("improved-at-six-months", shipped)
    score = shipped.derivations["response.tis.score"]
    explanation = explain_derived(score, shipped, advice)

    assert explanation.value == "82.5 points"
    assert explanation.missing == ()
    assert not any("settle" in line for line in describe_derived(explanation))


def test_the_advice_must_hold_the_whole_chart(shipped: RuleSet) -> None:
    """Advice on a patient without myositis has no evaluation to explain."""
    advice = Advice("1", DAY, False, None, None, (), ())
    with pytest.raises(ValueError, match="everything"):
        explain_derived(shipped.derivations["response.tis.score"], shipped, advice)
