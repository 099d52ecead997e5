from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

import pytest

from cds.chart.facts.declaration import Event, Value
from cds.chart.quantities import INFINITY, UNKNOWN, Interval
from cds.rules.deciding import deciding
from cds.rules.nodes import Node

MakeNode = Callable[[str], Node]
NEVER = Event(None, None, True)


def leaves(node: Node, values: dict[str, Value]) -> list[Node]:
    """Every unknown condition of a condition."""
    if node.test(values) is not None:
        return []
    return [leaf for part in node.parts for leaf in leaves(part, values)] or [node]


def decided_by(node: Node, values: dict[str, Value]) -> set[str]:
    """The facts that an unknown condition depends on."""
    assert node.test(values) is None
    return deciding(leaves(node, values), values, node.test)


def number(low: str, high: str) -> Interval:
    """An interval."""
    return Interval(Decimal(low), Decimal(high))


@pytest.mark.parametrize("text", ["all", "any"])
def test_all_that_is_missing_decides(node: MakeNode, text: str) -> None:
    """Of two unknown parts, each decides where the other leaves it room."""
    made = node(f"{{{text}: [finding.lung, finding.heart]}}")
    values: dict[str, Value] = {"finding.lung": None, "finding.heart": None}
    assert decided_by(made, values) == {"finding.lung", "finding.heart"}


def test_what_makes_no_difference_does_not_decide(node: MakeNode) -> None:
    """A part that matters only where another has already decided is not asked for."""
    made = node(
        "{all: [finding.lung, {any: [finding.heart, {not: finding.lung}, diagnosis.myositis]}]}"
    )
    values: dict[str, Value] = {
        "finding.lung": None,
        "finding.heart": None,
        "diagnosis.myositis": None,
    }
    assert decided_by(made, values) == {"finding.lung", "finding.heart", "diagnosis.myositis"}
    only = node("{any: [{all: [finding.lung, finding.heart]}, finding.lung]}")
    assert decided_by(only, values) == {"finding.lung"}


def test_nothing_decides_what_is_the_same_either_way(node: MakeNode) -> None:
    """A condition that is true whatever turns out depends on nothing, unknown as it is."""
    made = node("{any: [finding.lung, {not: finding.lung}]}")
    assert decided_by(made, {"finding.lung": None}) == set()


def test_bounds_limit_what_a_number_may_turn_out(node: MakeNode) -> None:
    """A number decides only by values that its bounds allow."""
    made = node(
        "{all: [finding.lung, {any: [measure.a.improvement >= 20 %, "
        "{all: [measure.a.improvement < 0 %, finding.heart]}]}]}"
    )
    values: dict[str, Value] = {
        "finding.lung": True,
        "finding.heart": None,
        "measure.a.improvement": number("5", "30"),
    }
    assert decided_by(made, values) == {"measure.a.improvement"}
    values["measure.a.improvement"] = number("-5", "10")
    assert decided_by(made, values) == {"measure.a.improvement", "finding.heart"}


@pytest.mark.parametrize(
    ("op", "value", "decides"),
    [
        (">", number("10", "20.1"), True),
        (">=", number("10", "20"), True),
        ("==", number("20", "21"), True),
        ("!=", number("19", "20"), True),
        ("<", UNKNOWN, True),
        ("<=", Interval(Decimal(20), INFINITY), True),
    ],
)
def test_thresholds_themselves_are_tried(
    node: MakeNode, op: str, value: Interval, decides: bool
) -> None:
    """Values on, below and above a threshold are tried, at the ends of the bounds too."""
    made = node(f"{{all: [finding.lung, measure.a.improvement {op} 20 %]}}")
    facts: dict[str, Value] = {"finding.lung": None, "measure.a.improvement": value}
    assert ("measure.a.improvement" in decided_by(made, facts)) is decides


@pytest.mark.parametrize(
    ("event", "decides"),
    [
        (Event(None, None, False), {"finding.lung", "drug.pulse"}),
        (Event(None, Decimal(3), True), {"finding.lung", "drug.pulse"}),
        (Event(Decimal(20), Decimal(3), True), {"finding.lung", "drug.pulse"}),
        (Event(Decimal(20), Decimal(20), False), {"finding.lung", "drug.pulse"}),
    ],
)
def test_events_may_have_happened_or_not(node: MakeNode, event: Event, decides: set[str]) -> None:
    """What may have happened is tried on every day that makes a difference, and as never."""
    made = node("{all: [finding.lung, drug.pulse within 14 d]}")
    assert decided_by(made, {"finding.lung": None, "drug.pulse": event}) == decides


def test_two_limits_of_one_event_turn_out_together(node: MakeNode) -> None:
    """An event within 14 days is also within 30, so the second condition never decides alone."""
    made = node(
        "{any: [{all: [drug.pulse within 14 d, {not: drug.pulse within 30 d}, finding.lung]}, "
        "finding.heart]}"
    )
    values: dict[str, Value] = {
        "finding.lung": None,
        "finding.heart": None,
        "drug.pulse": Event(None, None, False),
    }
    assert decided_by(made, values) == {"finding.heart"}


def test_worsening_is_the_opposite_of_improvement(node: MakeNode) -> None:
    """One measure cannot improve and worsen at once, so what asks for both is never met."""
    made = node(
        "{any: [{all: [measure.a.improvement >= 20 %, measure.a.worsening >= 25 %, finding.lung]},"
        " finding.heart]}"
    )
    values: dict[str, Value] = {
        "finding.lung": None,
        "finding.heart": None,
        "measure.a.improvement": UNKNOWN,
        "measure.a.worsening": UNKNOWN,
    }
    assert decided_by(made, values) == {"finding.heart"}
