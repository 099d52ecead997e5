from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest

from cds.chart.chart import Chart
from cds.chart.conditions import Assertion
from cds.chart.facts.declaration import Event, Value
from cds.chart.quantities import UNKNOWN, Interval
from cds.rules.engine import Engine, EngineFault
from cds.rules.formula import Value as Attribute
from cds.rules.nodes import Truth
from cds.rules.reading import read_ruleset
from cds.rules.ruleset import EnginesDisagree, RuleSet, Selection

Fired = frozenset[str]


@pytest.fixture
def ruleset(minimal: Path) -> RuleSet:
    """The least valid rules."""
    return read_ruleset(minimal)


def values(
    strength: Interval, activity: Interval, myositis: Truth, lung: Truth = False
) -> dict[str, Value]:
    """The facts that the least rules ask for."""
    return {
        "measure.strength.improvement": strength,
        "measure.activity.improvement": activity,
        "diagnosis.myositis": myositis,
        "finding.lung_disease": lung,
    }


def percent(number: str) -> Interval:
    """A known change."""
    return Interval(Decimal(number), Decimal(number))


def lying(ruleset: RuleSet, lie: Callable[[Fired], Fired]) -> RuleSet:
    """The rule set with an engine that changes its answer before it gives it."""

    class Liar:
        def fired(self, attributes: Mapping[str, Attribute]) -> Fired:
            return lie(ruleset.engine.fired(attributes))

    return msgspec.structs.replace(ruleset, engine=Liar())


@pytest.mark.parametrize(
    ("strength", "myositis", "improved", "taper"),
    [
        (percent("20"), True, True, True),
        (percent("19.999999999999999999999999"), True, False, False),
        (UNKNOWN, True, None, None),
        (UNKNOWN, False, None, False),
        (percent("20"), None, True, None),
    ],
)
def test_rules_are_true_false_or_unknown(
    ruleset: RuleSet, strength: Interval, myositis: Truth, improved: Truth, taper: Truth
) -> None:
    """Each rule has its truth, and a derived fact goes into those that wait for it."""
    evaluation = ruleset.evaluate_values(values(strength, percent("0"), myositis))
    assert evaluation.outcomes == {"improved": improved, "taper": taper}
    assert evaluation.values["response.improved"] is improved


def test_selections_are_sure_and_possible(ruleset: RuleSet) -> None:
    """A selection names those that surely meet the condition, and those that may."""
    evaluation = ruleset.evaluate_values(values(UNKNOWN, percent("30"), True))
    assert evaluation.selections == {
        "response.improved_measures": Selection(("measure.activity",), ("measure.strength",))
    }


def test_a_derived_fact_that_is_given_stays(ruleset: RuleSet) -> None:
    """A test may give a derived fact: the rules that wait for it see what is given."""
    given = values(percent("0"), percent("0"), True) | {"response.improved": True}
    evaluation = ruleset.evaluate_values(given)
    assert evaluation.outcomes == {"improved": False, "taper": True}
    assert evaluation.values["response.improved"] is True


def test_a_chart_of_nothing_is_unknown(ruleset: RuleSet, shipped_chart: Chart) -> None:
    """A fact that the chart does not hold is unknown, and so is what rests on it."""
    chart = msgspec.structs.replace(
        shipped_chart,
        changes={
            name: shipped_chart.changes[known]
            for name, known in (("strength", "muscle_strength"), ("activity", "extramuscular"))
        },
    )
    assert ruleset.evaluate(chart).outcomes == {"improved": None, "taper": None}


@pytest.mark.parametrize(
    ("lie", "rules"),
    [
        (lambda fired: fired - {"taper"}, ("taper",)),
        (lambda fired: fired - {"improved"}, ("improved",)),
        (lambda fired: frozenset(), ("improved", "taper")),
        (lambda fired: fired | {"not improved"}, ("improved",)),
        (lambda fired: fired - {"taper"} | {"not improved"}, ("improved", "taper")),
    ],
)
def test_engines_that_disagree_give_no_answer(
    ruleset: RuleSet, lie: Callable[[Fired], Fired], rules: tuple[str, ...]
) -> None:
    """Where one engine says something else there is no evaluation, and the rules are named."""
    patient = values(percent("50"), percent("50"), True)
    assert ruleset.evaluate_values(dict(patient)).outcomes == {"improved": True, "taper": True}
    with pytest.raises(EnginesDisagree) as raised:
        lying(ruleset, lie).evaluate_values(dict(patient))
    assert raised.value.rules == rules
    assert str(raised.value) == f"the two rule engines disagree on: {', '.join(rules)}"


@pytest.mark.parametrize(
    ("strength", "lie"),
    [
        (percent("0"), lambda fired: fired | {"taper"}),
        (percent("0"), lambda fired: fired - {"not improved"}),
        (UNKNOWN, lambda fired: fired | {"not improved"}),
        (UNKNOWN, lambda fired: fired | {"improved"}),
        (UNKNOWN, lambda fired: fired | {"taper"}),
    ],
)
def test_a_rule_fired_too_much_or_a_denial_too_little_is_a_disagreement(
    ruleset: RuleSet, strength: Interval, lie: Callable[[Fired], Fired]
) -> None:
    """False and unknown are compared as well as true."""
    patient = values(strength, percent("0"), True)
    ruleset.evaluate_values(dict(patient))
    with pytest.raises(EnginesDisagree):
        lying(ruleset, lie).evaluate_values(dict(patient))


def test_the_evaluator_is_not_believed_either(ruleset: RuleSet) -> None:
    """Where it is the evaluator in Python that errs, there is no evaluation either."""
    improved, taper = ruleset.rules
    wrong = msgspec.structs.replace(
        taper, node=msgspec.structs.replace(taper.node, test=lambda _: False)
    )
    erring = msgspec.structs.replace(ruleset, ordered=(improved, wrong))
    with pytest.raises(EnginesDisagree, match="taper"):
        erring.evaluate_values(values(percent("50"), percent("50"), True))


def test_a_fault_of_the_engine_is_not_an_answer(ruleset: RuleSet) -> None:
    """An engine that fails leaves no evaluation."""
    ruleset.close()
    with pytest.raises(EngineFault):
        ruleset.evaluate_values(values(percent("50"), percent("50"), True))


def test_what_is_named_in_a_disagreement_is_no_patient_data(ruleset: RuleSet) -> None:
    """The text of a disagreement holds the ids of rules, and no value."""
    with pytest.raises(EnginesDisagree) as raised:
        lying(ruleset, lambda _: frozenset()).evaluate_values(
            values(percent("33.25"), percent("50"), True)
        )
    assert "33" not in str(raised.value)


def said(*, sure: bool = True) -> Assertion:
    """Return a Condition that asserts something, or leaves it open."""
    return Assertion("x", "Condition/1", "x", None, "", sure)


@pytest.mark.parametrize(
    ("conditions", "complete", "applies"),
    [
        ({"diagnosis.myositis": [said()]}, True, True),
        ({"diagnosis.myositis": [said()]}, False, True),
        ({"diagnosis.myositis": [said(sure=False)]}, True, None),
        ({}, True, False),
        ({"finding.lung_disease": [said()]}, True, False),
        ({}, False, None),
    ],
)
def test_whom_the_rules_are_about(
    ruleset: RuleSet, conditions: dict[str, list[Assertion]], complete: bool, applies: Truth
) -> None:
    """The rules apply to who has the diagnosis; who lacks it must have had Conditions delivered."""
    assert ruleset.applies(conditions, complete=complete) is applies


def test_a_missing_fact_is_a_fault(ruleset: RuleSet) -> None:
    """A fact that nobody gave is an error, and never silently unknown."""
    given = values(percent("50"), percent("50"), True)
    del given["diagnosis.myositis"]
    with pytest.raises(KeyError, match=r"diagnosis\.myositis"):
        ruleset.evaluate_values(given)


def test_a_value_of_the_wrong_kind_is_a_fault(ruleset: RuleSet) -> None:
    """An event in the place of a number is an error."""
    given = values(percent("50"), percent("50"), True)
    given["measure.strength.improvement"] = Event(None, None, True)
    with pytest.raises(TypeError, match=r"measure\.strength\.improvement"):
        ruleset.evaluate_values(given)


def test_every_rule_is_compiled_for_the_engine(ruleset: RuleSet) -> None:
    """The engine knows each rule, and of what derives a fact also when it is surely false."""
    assert isinstance(ruleset.engine, Engine)
    attributes = ruleset.compiler.attributes(
        values(percent("0"), percent("0"), True) | {"response.improved": True}
    )
    assert ruleset.engine.fired(attributes) == {"not improved", "taper"}


def test_thresholds_that_are_no_whole_percentage_are_known(minimal: Path) -> None:
    """Of conditions as of bands, so that no card shows a number as one that it did not reach."""
    improved = minimal / "criteria/improved.yaml"
    text = improved.read_text(encoding="utf-8")
    assert read_ruleset(minimal).thresholds == frozenset()

    improved.write_text(text.replace("value: 20,", "value: 17.5,"), encoding="utf-8")
    (minimal / "criteria/points.yaml").write_text(
        text.split("parameters:")[0].replace("id: improved", "id: points")
        + "derive: response.points\n"
        "sum:\n"
        "  - of: measure.strength.improvement\n"
        '    unit: "%"\n'
        "    bands: [{above: 2.25, points: 1}, {above: 5, points: 2}]\n",
        encoding="utf-8",
    )

    assert read_ruleset(minimal).thresholds == {Decimal("17.5"), Decimal("2.25")}
