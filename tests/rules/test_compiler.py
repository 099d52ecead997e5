from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cds.chart.facts.declaration import Event, Value
from cds.chart.quantities import INFINITY, UNKNOWN, Interval
from cds.rules.compiler import Compiler
from cds.rules.engine import Engine
from cds.rules.formula import Both, Compare, Either, Formula
from cds.rules.nodes import Node, compile_node
from cds.rules.parsing import Scope, parse_condition

MakeNode = Callable[[str], Node]

LEAVES = (
    "finding.lung",
    "finding.heart",
    "diagnosis.myositis",
    *(f"measure.a.improvement {op} 20 %" for op in (">=", ">", "<=", "<", "==", "!=")),
    "measure.b.improvement >= -25 %",
    "drug.pulse within 14 d",
    "drug.pulse within 30 d",
)


def branches(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """Conditions with other conditions inside."""
    several = st.lists(inner, min_size=1, max_size=3).map(", ".join)
    return st.one_of(
        st.tuples(st.sampled_from(["not", "unknown"]), inner).map(lambda t: f"{{{t[0]}: {t[1]}}}"),
        st.tuples(st.sampled_from(["all", "any"]), several).map(lambda t: f"{{{t[0]}: [{t[1]}]}}"),
        st.tuples(
            st.sampled_from(["at_least", "at_most", "exactly"]), st.integers(0, 3), inner
        ).map(lambda t: f"{{{t[0]}: {t[1]}, of: measures, where: {{any: [current, {t[2]}]}}}}"),
    )


CONDITIONS = st.recursive(st.sampled_from(LEAVES), branches, max_leaves=6)

NUMBERS = st.one_of(
    st.sampled_from(["20", "-25", "19.9999999999999999999999", "20.0000000000000000000001"]),
    st.sampled_from(["0", "-25.000000000000000000000001", "1e14"]),
    st.decimals(-100, 100, places=2).map(str),
).map(Decimal)
TRUTHS = st.sampled_from([True, False, None])


@st.composite
def intervals(draw: st.DrawFn) -> Interval:
    """Known numbers, intervals and unknown ones, often exactly on a threshold."""
    low, high = sorted((draw(NUMBERS), draw(NUMBERS)))
    return draw(
        st.sampled_from(
            [
                Interval(low, low),
                Interval(low, high),
                Interval(-INFINITY, high),
                Interval(low, INFINITY),
                UNKNOWN,
            ]
        )
    )


@st.composite
def events(draw: st.DrawFn) -> Event:
    """Events sure, possible, both or neither, around the days that the conditions name."""
    on = st.none() | st.sampled_from([0, 13, 14, 15, 29, 30, 31]).map(Decimal)
    surely, possibly = draw(on), draw(on)
    if surely is not None:
        possibly = surely if possibly is None else min(surely, possibly)
    return Event(surely, possibly, draw(st.booleans()))


VALUES = st.fixed_dictionaries(
    {
        **dict.fromkeys(("finding.lung", "finding.heart", "diagnosis.myositis"), TRUTHS),
        **{f"measure.{m}.current": TRUTHS for m in "abc"},
        "measure.a.improvement": intervals(),
        "measure.b.improvement": intervals(),
        "drug.pulse": events(),
    }
)


def holds(formula: Formula, attributes: dict[str, Any]) -> bool:
    """What a formula means."""
    match formula:
        case Both(parts=parts):
            return all(holds(p, attributes) for p in parts)
        case Either(parts=parts):
            return any(holds(p, attributes) for p in parts)
        case Compare(attribute=name, op=op, constant=c):
            if name not in attributes:
                return False
            x = attributes[name]
            by_operator: dict[str, bool] = {
                "==": x == c,
                "<": x < c,
                "<=": x <= c,
                ">": x > c,
                ">=": x >= c,
            }
            return by_operator[op]


@given(text=CONDITIONS, values=VALUES)
@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_both_formulas_agree_with_the_node(
    text: str, values: dict[str, Value], node: MakeNode
) -> None:
    """One formula holds exactly where a condition is true, the other where it is false."""
    made = node(text)
    compiler = Compiler()
    true, false = (compiler.formula(made, truth=truth) for truth in (True, False))
    attributes = compiler.attributes(values)
    truth = made.test(values)
    assert holds(true, attributes) is (truth is True)
    assert holds(false, attributes) is (truth is False)


@given(values=VALUES)
@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_the_engine_agrees_with_the_nodes(values: dict[str, Value], engine: EngineOf) -> None:
    """The engine itself fires the formulas of every kind of condition where they are true."""
    built, compiler, nodes = engine
    fired = built.fired(compiler.attributes(values))
    for name, made in nodes.items():
        truth = made.test(values)
        assert (f"{name} true" in fired, f"{name} false" in fired) == (
            truth is True,
            truth is False,
        ), name


EngineOf = tuple[Engine, Compiler, dict[str, Node]]


@pytest.fixture
def engine(node: MakeNode) -> EngineOf:
    """One engine over conditions of every kind, in both polarities."""
    texts = (
        *LEAVES,
        "{not: finding.lung}",
        "{unknown: drug.pulse within 14 d}",
        "{not: {all: [finding.lung, measure.a.improvement >= 20 %]}}",
        "{any: [finding.lung, {not: {unknown: measure.a.improvement < 20 %}}]}",
        *(f"{{{how}: 1, of: measures, where: current}}" for how in ("at_least", "exactly")),
    )
    nodes = {text: node(text) for text in texts}
    compiler = Compiler()
    formulas = {
        f"{text} {str(truth).lower()}": compiler.formula(made, truth=truth)
        for text, made in nodes.items()
        for truth in (True, False)
    }
    return Engine(formulas), compiler, nodes


def test_unknown_is_absent(node: MakeNode) -> None:
    """What is unknown has no attribute, and an open bound has none either."""
    compiler = Compiler()
    for text in ("finding.lung", "measure.a.improvement > 20 %", "drug.pulse within 14 d"):
        compiler.formula(node(text), truth=True)
    values: dict[str, Value] = {
        "finding.lung": None,
        "measure.a.improvement": Interval(Decimal(3), INFINITY),
        "drug.pulse": Event(None, None, False),
    }
    assert compiler.attributes(values) == {"measure.a.improvement.low": Decimal(3)}


def test_counts_at_different_places_stay_apart(write: Callable[[str], Any], scope: Scope) -> None:
    """Two counts of one file, and two conditions asked for being unknown, never share a value."""
    document = write(
        "when:\n"
        "  any:\n"
        "    - {all: [{at_least: 3, of: measures, where: current},"
        " {at_least: 1, of: complications, where: it}]}\n"
        "    - {all: [{unknown: finding.lung}, {unknown: finding.heart}]}\n"
    )
    condition = parse_condition(document, ("when",), scope)
    assert condition is not None
    compiler = Compiler()
    formula = compiler.formula(compile_node(condition, scope.facts), truth=True)
    values: dict[str, Value] = {f"measure.{m}.current": False for m in "abc"}
    values |= {"finding.lung": None, "finding.heart": True}
    assert holds(formula, compiler.attributes(values)) is False
