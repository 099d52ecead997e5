"""What rules and the passages of their cards rest on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from cds.advice import load_rules
from cds.rules.resting import Behind, facts_behind
from cds.rules.ruleset import RuleSet

RULES = Path(__file__).parents[2] / "rules"


@pytest.fixture(scope="module")
def ruleset() -> Iterator[RuleSet]:
    """Read the rules that the project ships."""
    read = load_rules(RULES)
    yield read
    read.close()


def doubted(ruleset: RuleSet, rule: str) -> set[str]:
    """Return the parameters that a rule always rests on and that are in doubt."""
    return {constant.parameter or "" for constant in ruleset.doubted[rule]}


def test_a_rule_rests_on_the_numbers_behind_the_facts_that_it_waits_for(ruleset: RuleSet) -> None:
    """Twelve weeks, of the rule that derives an inadequate response."""
    assert "adequate_trial" in doubted(ruleset, "escalate-inadequate-response")


def test_a_passage_rests_on_the_numbers_behind_what_it_says(ruleset: RuleSet) -> None:
    """The age of adults, on which the category in its text depends; no condition asks for it."""
    condition = facts_behind(["response.deterioration_confirmed"], _behind(ruleset))
    assert "response.tis.category" not in condition
    resting = ruleset.passages["deterioration-confirmed"]
    assert "adult" in {constant.parameter for each in resting for constant in each.doubted}


def test_what_a_passage_rests_on_is_apart(ruleset: RuleSet) -> None:
    """The months without activity, behind the passage that says so and behind no other."""
    (card,) = (rule.card for rule in ruleset.card_rules if rule.id == "response-improved")
    assert card is not None
    assert "inactive_for" not in doubted(ruleset, "response-improved")
    by_passage = [
        {constant.parameter for constant in resting.doubted}
        for resting in ruleset.passages["response-improved"]
    ]
    assert len(by_passage) == len(card.passages)
    saying = [i for i, found in enumerate(by_passage) if "inactive_for" in found]
    asked = [card.passages[i].when for i in saying]
    assert len(saying) == 3
    *others, sustained, which = asked
    assert ["Inadequate response" in str(when) for when in others] == [True]
    assert all("Sustained inactivity" in str(when) for when in (sustained, which))
    for i in saying:
        assert (
            "measure.physician_global.days_inactive"
            in ruleset.passages["response-improved"][i].behind
        )


def test_what_is_said_always_is_not_said_again_of_a_passage(ruleset: RuleSet) -> None:
    """Each number once on a card, though several of its parts rest on it."""
    for rule in ruleset.card_rules:
        base = ruleset.doubted[rule.id]
        for resting in ruleset.passages[rule.id]:
            assert not set(base) & set(resting.doubted), rule.id


def test_facts_behind_facts_are_found_through_every_rule(ruleset: RuleSet) -> None:
    """From a category to what its ranks wait for, and on to what the chart holds."""
    found = facts_behind(["response.sustained"], _behind(ruleset))
    assert found[0] == "response.sustained"
    assert {"disease.inactive", "drug.immunomodulating.was_current"} <= set(found)
    assert "measure.muscle_enzyme.days_inactive" in found
    assert len(found) == len(set(found))


def _behind(ruleset: RuleSet) -> Behind:
    return Behind(ruleset.deriving, ruleset.derivations)
