"""What rules rest on, whoever the patient is."""

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


def test_facts_behind_facts_are_found_through_every_rule(ruleset: RuleSet) -> None:
    """From a category to what its ranks wait for, and on to what the chart holds."""
    found = facts_behind(["response.sustained"], _behind(ruleset))
    assert found[0] == "response.sustained"
    assert {"disease.inactive", "drug.immunomodulating.was_current"} <= set(found)
    assert "measure.muscle_enzyme.days_inactive" in found
    assert len(found) == len(set(found))


def _behind(ruleset: RuleSet) -> Behind:
    return Behind(ruleset.deriving, ruleset.derivations)
