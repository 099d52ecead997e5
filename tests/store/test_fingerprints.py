from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest

from cds.advice import advise
from cds.chart.quantities import Interval
from cds.fhir.bundles import Delivery, decode, read_resource
from cds.rules.ruleset import Evaluation, RuleSet
from cds.store.fingerprints import behind, fingerprint
from tests.hooks.conftest import AS_OF

CHECKOUT = Path(__file__).resolve().parents[2]
RULE = "escalate-inadequate-response"


@pytest.fixture(scope="module")
def evaluation(ruleset: RuleSet) -> Evaluation:
    """Evaluate the example of refractory disease."""
    file = CHECKOUT / "fhir_examples/refractory-dermatomyositis.bundle.json"
    delivery = Delivery(delivered={"Condition", "Observation", "MedicationRequest"})
    read_resource(decode(file.read_bytes()), delivery, "Bundle")
    patient = delivery.patients[0].id or ""
    evaluated = advise(delivery, patient, ruleset, AS_OF).evaluation
    assert evaluated is not None
    assert evaluated.outcomes[RULE] is True
    return evaluated


def of(ruleset: RuleSet, evaluation: Evaluation, later: int = 0, **changed: Any) -> str:
    """Take the fingerprint of the rule, some days later, with values of facts changed."""
    (rule,) = [rule for rule in ruleset.rules if rule.id == RULE]
    values = {**evaluation.values, **{n.replace("__", "."): v for n, v in changed.items()}}
    changed_evaluation = msgspec.structs.replace(evaluation, values=values)
    return fingerprint(rule, ruleset, changed_evaluation, AS_OF + timedelta(days=later))


def test_the_same_facts_have_the_same_fingerprint(ruleset: RuleSet, evaluation: Evaluation) -> None:
    """Whenever it is taken."""
    assert of(ruleset, evaluation) == of(ruleset, evaluation)


def test_a_changed_fact_changes_it(ruleset: RuleSet, evaluation: Evaluation) -> None:
    """Of the rule's own condition, of a passage or option of its card, of what it waits for."""
    plain = of(ruleset, evaluation)

    for name in (
        "diagnosis__any_dermatomyositis",
        "finding__interstitial_lung_disease",
        "drug__rituximab__current",
    ):
        old = evaluation.values[name.replace("__", ".")]
        assert of(ruleset, evaluation, **{name: not old}) != plain, name
    measure = evaluation.values["measure.muscle_strength.improvement"]
    assert isinstance(measure, Interval)
    moved = Interval(measure.low + 1, measure.high + 1)
    assert of(ruleset, evaluation, measure__muscle_strength__improvement=moved) != plain


def test_a_fact_that_is_not_behind_the_card_changes_nothing(
    ruleset: RuleSet, evaluation: Evaluation
) -> None:
    """A card does not come back because of what it never looked at."""
    (rule,) = [rule for rule in ruleset.rules if rule.id == RULE]
    names = behind(rule, ruleset).facts

    assert "antibody.mda5" not in names
    assert of(ruleset, evaluation, antibody__mda5=True) == of(ruleset, evaluation)


def test_the_passing_of_time_alone_changes_nothing(
    ruleset: RuleSet, evaluation: Evaluation
) -> None:
    """Days since a start count by the conditions they meet; only when one turns is it another."""
    days = evaluation.values["treatment.line_days"]
    assert isinstance(days, Interval)
    later = Interval(days.low + 7, days.high + 7)

    assert of(ruleset, evaluation, later=7, treatment__line_days=later) == of(ruleset, evaluation)

    early = Interval(Decimal(1), Decimal(1))
    assert of(ruleset, evaluation, treatment__line_days=early) != of(ruleset, evaluation)
