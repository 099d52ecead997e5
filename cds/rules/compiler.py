"""Compiles conditions to the formulas that the engine understands.

The engine has neither three values nor negation, so a condition becomes up to two formulas: one
that holds where it is surely true, one where it is surely false. Numbers are two attributes, their
bounds. Counts, dates and "unknown" are worked out before, as attributes of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal

from cds.chart.quantities import INFINITY, Interval
from cds.rules.conditions import (
    All,
    Any_,
    Comparison,
    Count,
    Is,
    IsCategory,
    IsUnknown,
    Not,
    Within,
)
from cds.rules.formula import Both, Compare, Either, Formula, Operator
from cds.rules.formula import Value as AttributeValue
from cds.rules.nodes import Node, Values

Attributes = dict[str, AttributeValue]
Writer = Callable[[Values, Attributes], None]
"""Writes what it knows of some values into the attributes of the fact that the engine is given."""


class Compiler:
    """Collects, for the conditions of a rule set, the attributes that their formulas name."""

    def __init__(self) -> None:
        self._writers: dict[str, Writer] = {}

    def attributes(self, values: Values) -> Attributes:
        """The engine's attributes of these values; what is unknown is absent."""
        made: Attributes = {}
        for write in self._writers.values():
            write(values, made)
        return made

    def formula(self, node: Node, *, truth: bool) -> Formula:
        """The formula that holds where a condition is surely true (or surely false)."""
        condition = node.condition
        match condition:
            case Is(fact=fact):
                self._writers.setdefault(fact, _boolean(fact))
                return Compare(fact, "==", truth)
            case Comparison(fact=fact, op=op, constant=constant):
                self._writers.setdefault(fact, _bounds(fact))
                return _compare(fact, op, constant.value, truth=truth)
            case Within():
                key = f"{condition.fact} within {condition.days.value}"
                self._writers.setdefault(key, _tested(key, node))
                return Compare(key, "==", truth)
            case IsCategory(fact=fact, category=category):
                key = f"{fact} is {category}"
                self._writers.setdefault(key, _tested(key, node))
                return Compare(key, "==", truth)
            case IsUnknown():
                key = f"unknown at {condition.place}"
                self._writers.setdefault(key, _tested(key, node))
                return Compare(key, "==", truth)
            case Count(how=how, n=n):
                key = f"count at {condition.place}"
                self._writers.setdefault(key, _counted(key, node))
                op_: str = {"at_least": ">=", "at_most": "<=", "exactly": "=="}[how]
                return _compare(key, op_, Decimal(n), truth=truth)
            case Not():
                return self.formula(node.parts[0], truth=not truth)
            case All() | Any_():
                inner = tuple(self.formula(part, truth=truth) for part in node.parts)
                conjunction = isinstance(condition, All) is truth
                return Both(inner) if conjunction else Either(inner)


def _compare(key: str, op: str, c: Decimal, *, truth: bool) -> Formula:
    """A comparison over bounds: ``x >= c`` is true when even the lowest x reaches c."""
    low, high = f"{key}.low", f"{key}.high"

    def leaf(attribute: str, operator: Operator) -> Formula:
        return Compare(attribute, operator, c)

    equal = Both((leaf(low, ">="), leaf(high, "<=")))
    unequal = Either((leaf(low, ">"), leaf(high, "<")))
    table: Mapping[str, tuple[Formula, Formula]] = {
        ">=": (leaf(low, ">="), leaf(high, "<")),
        ">": (leaf(low, ">"), leaf(high, "<=")),
        "<": (leaf(high, "<"), leaf(low, ">=")),
        "<=": (leaf(high, "<="), leaf(low, ">")),
        "==": (equal, unequal),
        "!=": (unequal, equal),
    }
    return table[op][0 if truth else 1]


def _boolean(fact: str) -> Writer:
    def write(values: Values, made: Attributes) -> None:
        value = values[fact]
        if value is True or value is False:
            made[fact] = value

    return write


def _bounds(fact: str) -> Writer:
    low, high = f"{fact}.low", f"{fact}.high"

    def write(values: Values, made: Attributes) -> None:
        value = values[fact]
        assert isinstance(value, Interval)
        if value.low != -INFINITY:
            made[low] = value.low
        if value.high != INFINITY:
            made[high] = value.high

    return write


def _tested(key: str, node: Node) -> Writer:
    test = node.test

    def write(values: Values, made: Attributes) -> None:
        truth = test(values)
        if truth is not None:
            made[key] = truth

    return write


def _counted(key: str, node: Node) -> Writer:
    count = node.tally
    assert count is not None
    low, high = f"{key}.low", f"{key}.high"

    def write(values: Values, made: Attributes) -> None:
        least, most = count(values)
        made[low], made[high] = Decimal(least), Decimal(most)

    return write
