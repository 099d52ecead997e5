from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import msgspec
import pytest

from cds.chart.chart import Chart
from cds.chart.facts.declaration import Declaration, Event, Evidence, Kind, Value
from cds.chart.quantities import UNKNOWN, Interval
from cds.rules.nodes import Truth
from cds.rules.reading import read_ruleset
from cds.rules.ruleset import RuleSet
from cds.rules.trace import Trace, holding, trace_rule, undecided, walk

HEADER = """\
id: {id}
title: {id}
version: 1.0.0
status: active
owner: rheumatology
reviewed: 2026-01-01
review_by: 2027-01-01
evidence:
  - {{source: trial, supports: the threshold, certainty: definition}}
derive: response.{id}
when:
"""
KNOWN: dict[str, Value] = {
    "measure.strength.improvement": Interval(Decimal(20), Decimal(20)),
    "measure.activity.improvement": Interval(Decimal(-50), Decimal(100)),
    "diagnosis.myositis": True,
    "finding.lung_disease": False,
    "drug.glucocorticoid": Event(Decimal(3), Decimal(3), True),
}


def trace_of(
    folder: Path, chart: Chart, condition: str, values: dict[str, Value] | None = None
) -> Trace:
    """The trace of a rule with this condition, added to the least rules."""
    text = HEADER.format(id="traced") + f"  {condition}\n"
    (folder / "criteria/traced.yaml").write_text(text, encoding="utf-8")
    ruleset = read_ruleset(folder)
    evaluation = ruleset.evaluate_values({**KNOWN, **(values or {})})
    return trace_rule(ruleset.deriving["response.traced"], ruleset, chart, evaluation)


def facts(traces: list[Trace]) -> list[str | None]:
    """What traces are about."""
    return [trace.node.fact for trace in traces]


@pytest.mark.parametrize(
    ("condition", "truth", "seen"),
    [
        ("diagnosis.myositis", True, "yes"),
        ("finding.lung_disease", False, "no"),
        ("not: diagnosis.myositis", False, "yes"),
        ("unknown: diagnosis.myositis", False, "yes"),
        ("measure.strength.improvement >= 20 %", True, "20\u202f%"),
        ("measure.activity.improvement >= 20 %", None, "-50 to 100\u202f%"),
        ("not: measure.strength.improvement >= 20 %", False, "20\u202f%"),
        ("drug.glucocorticoid within 14 d", True, "3 days ago"),
        ("all: [diagnosis.myositis, finding.lung_disease]", False, "no"),
        ("any: [diagnosis.myositis, finding.lung_disease]", True, "yes"),
        ("{at_least: 1, of: core_set, where: improvement >= 20 %}", True, "1 to 2"),
        ("{at_least: 1, of: core_set, where: improvement >= 200 %}", False, "0"),
        ("response.improved", True, "yes"),
    ],
)
def test_says_what_was_seen(
    minimal: Path, shipped_chart: Chart, condition: str, truth: Truth, seen: str
) -> None:
    """A trace has the truth of its condition, and the value that was seen, in words."""
    trace = trace_of(minimal, shipped_chart, condition)
    assert (trace.truth, trace.seen) == (truth, seen)


def test_shows_every_part(minimal: Path, shipped_chart: Chart) -> None:
    """A trace holds the trace of each part, and of a derived fact the rule that derives it."""
    trace = trace_of(
        minimal, shipped_chart, "all: [{not: finding.lung_disease}, response.improved]"
    )
    assert [(t.node.kind, t.node.fact, t.truth) for t in walk(trace)] == [
        ("all", None, True),
        ("not", None, True),
        ("fact", "response.improved", True),
        ("fact", "finding.lung_disease", False),
        ("count", None, True),
        ("fact", "measure.strength.improvement", True),
        ("fact", "measure.activity.improvement", None),
    ]


def test_knows_thresholds_and_their_sources(minimal: Path, shipped_chart: Chart) -> None:
    """A comparison shows the threshold, the parameter that it is, and the source of that."""
    trace = trace_of(minimal, shipped_chart, "response.improved")
    strength = next(t for t in walk(trace) if t.node.fact == "measure.strength.improvement")
    constant = strength.node.constant
    assert constant is not None
    assert constant.number is not None
    assert (constant.value, constant.unit) == (Decimal(20), "%")
    assert (constant.parameter, constant.number.source) == ("threshold", "trial")


def declared(ruleset: RuleSet, name: str, kind: Kind, evidence: Evidence) -> RuleSet:
    """The rule set, where one fact comes from this evidence."""
    facts = dict(ruleset.facts)
    facts[name] = Declaration(
        name=name, kind=kind, title=name, read=lambda _: True, evidence=lambda _: (evidence,)
    )
    return msgspec.structs.replace(ruleset, facts=facts)


def test_cites_what_a_fact_comes_from(minimal: Path, shipped_chart: Chart) -> None:
    """A condition about a fact cites the resources that it comes from, and others cite nothing."""
    evidence = Evidence("Condition/m", "2026-01-02", "Myositis")
    ruleset = declared(read_ruleset(minimal), "diagnosis.myositis", "boolean", evidence)
    evaluation = ruleset.evaluate_values(dict(KNOWN))
    trace = trace_rule(ruleset.card_rules[0], ruleset, shipped_chart, evaluation)
    assert trace.evidence == ()
    assert trace.parts[0].evidence == (evidence,)


@pytest.mark.parametrize(
    ("condition", "values", "expected"),
    [
        # What is known, or makes no difference, decides nothing.
        ("diagnosis.myositis", {}, []),
        ("any: [diagnosis.myositis, finding.lung_disease]", {"finding.lung_disease": None}, []),
        ("all: [diagnosis.myositis, finding.lung_disease]",
         {"finding.lung_disease": None}, ["finding.lung_disease"]),
        ("all: [diagnosis.myositis, finding.lung_disease]", {"diagnosis.myositis": None}, []),
        ("all: [diagnosis.myositis, {not: finding.lung_disease}]",
         {"diagnosis.myositis": None}, ["diagnosis.myositis"]),
        ("not: finding.lung_disease", {"finding.lung_disease": None}, ["finding.lung_disease"]),
        ("all: [diagnosis.myositis, {any: [finding.lung_disease, diagnosis.myositis]}]",
         {"diagnosis.myositis": None, "finding.lung_disease": None}, ["diagnosis.myositis"] * 2),
        # Numbers and events.
        ("measure.activity.improvement >= 20 %", {}, ["measure.activity.improvement"]),
        ("drug.glucocorticoid within 1 d",
         {"drug.glucocorticoid": Event(None, None, False)}, ["drug.glucocorticoid"]),
        # Counts.
        ("{at_least: 2, of: core_set, where: improvement >= 20 %}", {},
         ["measure.activity.improvement"]),
        ("{at_least: 1, of: core_set, where: improvement >= 20 %}", {}, []),
        ("{exactly: 1, of: core_set, where: improvement >= 20 %}",
         {"measure.strength.improvement": UNKNOWN},
         ["measure.strength.improvement", "measure.activity.improvement"]),
        # Through derived facts to what they are derived from.
        ("not: response.improved",
         {"measure.strength.improvement": Interval(Decimal(0), Decimal(0))},
         ["measure.activity.improvement"]),
        ("all: [response.improved, finding.lung_disease]",
         {"measure.strength.improvement": UNKNOWN, "finding.lung_disease": None},
         ["measure.strength.improvement", "measure.activity.improvement", "finding.lung_disease"]),
        ("any: [response.improved, {all: [response.improved, finding.lung_disease]}]",
         {"measure.strength.improvement": UNKNOWN, "finding.lung_disease": None},
         ["measure.strength.improvement", "measure.activity.improvement"] * 2),
        # What makes it so that something is not known.
        ("unknown: finding.lung_disease", {"finding.lung_disease": None}, ["finding.lung_disease"]),
        ("unknown: response.improved",
         {"measure.strength.improvement": Interval(Decimal(0), Decimal(0))},
         ["measure.activity.improvement"]),
        ("unknown: diagnosis.myositis", {}, []),
    ],
)  # fmt: skip
def test_undecided_is_what_decides(
    minimal: Path,
    shipped_chart: Chart,
    condition: str,
    values: dict[str, Value],
    expected: list[str],
) -> None:
    """Of an unknown trace, the unknown conditions that decide it are found, and no others."""
    trace = trace_of(minimal, shipped_chart, condition, values)
    assert facts(undecided(trace)) == expected


def test_a_condition_that_nothing_decides_lacks_all_that_is_missing(
    minimal: Path, shipped_chart: Chart
) -> None:
    """Where a condition is unknown and yet the same either way, it says what is not known."""
    trace = trace_of(
        minimal,
        shipped_chart,
        "any: [finding.lung_disease, {not: finding.lung_disease}]",
        {"finding.lung_disease": None},
    )
    assert trace.truth is None
    assert facts(undecided(trace)) == ["finding.lung_disease"] * 2


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("any: [diagnosis.myositis, finding.lung_disease]", ["diagnosis.myositis"]),
        ("all: [diagnosis.myositis, {not: finding.lung_disease}]", ["diagnosis.myositis"]),
        ("not: {all: [diagnosis.myositis, finding.lung_disease]}", []),
        ("any: [measure.strength.improvement >= 20 %, "
         "{all: [diagnosis.myositis, finding.lung_disease]}]", ["measure.strength.improvement"]),
        ("any: [measure.strength.improvement >= 20 %, "
         "{all: [diagnosis.myositis, measure.activity.improvement >= 20 %]}]",
         ["measure.strength.improvement"]),
        ("any: [response.improved, {not: {any: [finding.lung_disease, response.improved]}}]",
         ["measure.strength.improvement"]),
        ("{at_least: 1, of: core_set, where: {all: [improvement >= 20 %, improvement < 0 %]}}", []),
    ],
)  # fmt: skip
def test_holding_is_what_decides(
    minimal: Path, shipped_chart: Chart, condition: str, expected: list[str]
) -> None:
    """What holds and decides is found, and not what holds in a group that as a whole does not."""
    assert facts(list(holding(trace_of(minimal, shipped_chart, condition)))) == expected


def test_asking_changes_nothing(minimal: Path, shipped_chart: Chart) -> None:
    """To look for what decides leaves the evaluation as it was."""
    trace = trace_of(
        minimal,
        shipped_chart,
        "all: [response.improved, finding.lung_disease]",
        {"measure.strength.improvement": UNKNOWN, "finding.lung_disease": None},
    )
    before = dict(trace.of.evaluation.values)
    undecided(trace)
    assert trace.of.evaluation.values == before
