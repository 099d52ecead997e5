from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest

from cds.advice import advise
from cds.chart.facts.declaration import Event
from cds.chart.quantities import Interval
from cds.fhir.bundles import Delivery, decode, read_resource
from cds.rules.ruleset import Evaluation, RuleSet
from cds.store.fingerprints import behind, fingerprints
from tests.hooks.conftest import AS_OF

CHECKOUT = Path(__file__).resolve().parents[2]
RULE = "escalate-inadequate-response"


@pytest.fixture(scope="module")
def evaluation(ruleset: RuleSet) -> Evaluation:
    """Evaluate the example of refractory disease."""
    file = CHECKOUT / "fhir_examples/refractory-dermatomyositis.bundle.json"
    types = {"Condition", "AllergyIntolerance", "Observation", "MedicationRequest"}
    delivery = Delivery(delivered=types)
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
    seen = values["assessment.current"]
    assert isinstance(seen, Event)
    assert seen.surely is not None
    values["assessment.current"] = Event(seen.surely + later, seen.surely + later, seen.complete)
    changed_evaluation = msgspec.structs.replace(evaluation, values=values)
    day = AS_OF + timedelta(days=later)
    return fingerprints([rule], ruleset, changed_evaluation, day)[rule.id]


def of_facts(ruleset: RuleSet, evaluation: Evaluation, **changed: Any) -> str:
    """Take the fingerprint of the rule where facts of the chart differ, evaluated anew."""
    values = {each.name: evaluation.values[each.name] for each in ruleset.needed}
    values |= {name.replace("__", "."): value for name, value in changed.items()}
    return of(ruleset, ruleset.evaluate_values(values))


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


@pytest.mark.parametrize("known", [True, False, None])
@pytest.mark.parametrize("form", ["current", "ever"])
@pytest.mark.parametrize("drug", ["rituximab", "calcineurin_inhibitor"])
def test_the_drugs_of_the_options_change_it(
    ruleset: RuleSet, evaluation: Evaluation, drug: str, form: str, known: Any
) -> None:
    """A drug or a class that is given now, or was, stands elsewhere on the card."""
    name = f"drug.{drug}.{form}"
    changed = of(ruleset, evaluation, **{name: known})

    assert (changed == of(ruleset, evaluation)) is (evaluation.values[name] is known)


@pytest.mark.parametrize(
    ("name", "before", "known"),
    [
        ("finding.active_infection", False, True),
        ("finding.active_infection", False, None),
        ("finding.pregnancy", None, True),
        ("finding.pregnancy", None, False),
    ],
)
def test_what_speaks_against_the_options_changes_it(
    ruleset: RuleSet,
    evaluation: Evaluation,
    name: str,
    before: bool | None,
    known: bool | None,
) -> None:
    """Once it is recorded, and likewise once it is no longer known, or known not to be so."""
    assert evaluation.values[name] is before
    assert of_facts(ruleset, evaluation) == of(ruleset, evaluation)

    assert of_facts(ruleset, evaluation, **{name: known}) != of(ruleset, evaluation)


def test_a_laboratory_value_counts_only_by_the_contraindication_that_it_meets(
    ruleset: RuleSet, evaluation: Evaluation
) -> None:
    """A card does not come back at each blood test, but does where renal function gets too low."""

    def at(egfr: int) -> str:
        seen = Interval(Decimal(egfr), Decimal(egfr))
        return of_facts(ruleset, evaluation, observation__egfr__latest=seen)

    assert at(90) == at(88)
    assert at(88) != at(29)
    assert at(29) == at(25)


@pytest.mark.parametrize("known", [True, None])
def test_an_allergy_to_a_drug_of_an_option_changes_it(
    ruleset: RuleSet, evaluation: Evaluation, known: bool | None
) -> None:
    """Also where another allergy was on record before."""
    before = of_facts(ruleset, evaluation, patient__drug_allergy=True)
    after = of_facts(
        ruleset, evaluation, patient__drug_allergy=True, drug__rituximab__allergy=known
    )
    assert before != after


def test_what_speaks_against_drugs_of_no_option_changes_nothing(
    ruleset: RuleSet, evaluation: Evaluation
) -> None:
    """The contraindications behind the card are those to what it proposes, of classes too."""
    (rule,) = [rule for rule in ruleset.rules if rule.id == RULE]
    against = {other.id for other in behind(rule, ruleset).against}

    assert {"jak-inhibitor-in-infection", "calcineurin-inhibitor-in-renal-impairment"} <= against
    assert "nintedanib-in-liver-disease" not in against


def test_a_fact_that_is_not_behind_the_card_changes_nothing(
    ruleset: RuleSet, evaluation: Evaluation
) -> None:
    """A card does not come back because of what it never looked at."""
    (rule,) = [rule for rule in ruleset.rules if rule.id == RULE]
    names = behind(rule, ruleset).facts

    assert "finding.dysphagia" not in names
    assert of(ruleset, evaluation, finding__dysphagia=True) == of(ruleset, evaluation)


def test_the_passing_of_time_alone_changes_nothing(
    ruleset: RuleSet, evaluation: Evaluation
) -> None:
    """Days since a start count by the conditions they meet; only when one turns is it another."""
    days = evaluation.values["treatment.days_judged"]
    assert isinstance(days, Interval)
    later = Interval(days.low + 7, days.high + 7)

    assert of(ruleset, evaluation, later=7, treatment__days_judged=later) == of(ruleset, evaluation)

    early = Interval(Decimal(1), Decimal(1))
    assert of(ruleset, evaluation, treatment__days_judged=early) != of(ruleset, evaluation)


def test_a_treatment_that_goes_on_does_not_change_from_day_to_day(
    ruleset: RuleSet, evaluation: Evaluation
) -> None:
    """That it ended does, on whatever day somebody looks."""
    drug = "drug.immunomodulating.was_current"
    (rule,) = [rule for rule in ruleset.rules if rule.id == RULE]
    assert drug in behind(rule, ruleset).facts
    assert evaluation.values[drug] == Event(Decimal(0), Decimal(0), complete=False)
    assert of(ruleset, evaluation, later=7) == of(ruleset, evaluation)

    def ended(days: int, later: int) -> str:
        event = Event(Decimal(days), Decimal(days), complete=False)
        return of(ruleset, evaluation, later, drug__immunomodulating__was_current=event)

    assert ended(10, 0) != of(ruleset, evaluation)
    assert ended(17, 7) == ended(10, 0)
