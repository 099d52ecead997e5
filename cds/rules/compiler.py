"""Compiles conditions to the formulas that the engine understands.

The engine has neither three values nor negation, so a condition becomes up to two formulas: one
that holds where it is surely true, one where it is surely false. Numbers are two attributes, their
bounds. Counts, dates and "unknown" are worked out before, as attributes of their own.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import TypeAlias

from cds.chart.quantities import UNKNOWN, Interval
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
from cds.rules.nodes import Node, Tally, Test, Values

Attributes = dict[str, AttributeValue]


_Bounds: TypeAlias = tuple[str, str]
"""What the engine calls the bounds of a number, the lower and the higher."""

_LEAST, _MOST = UNKNOWN.low, UNKNOWN.high


class Compiler:
    """Collects, for the conditions of a rule set, the attributes that their formulas name.

    These are facts that are true or false, what is worked out to be that, the bounds of facts that
    are numbers, and those of counts.
    """

    def __init__(self) -> None:
        self._facts: dict[str, None] = {}
        self._tests: dict[str, Test] = {}
        self._numbers: dict[str, _Bounds] = {}
        self._tallies: dict[_Bounds, Tally] = {}

    def attributes(self, values: Values) -> Attributes:
        """The engine's attributes of these values; what is unknown is absent."""
        made: Attributes = {}
        for fact in self._facts:
            value = values[fact]
            if value is True or value is False:
                made[fact] = value
        for key, test in self._tests.items():
            truth = test(values)
            if truth is not None:
                made[key] = truth
        for fact, (low, high) in self._numbers.items():
            number = values[fact]
            assert isinstance(number, Interval)
            if number.low != _LEAST:
                made[low] = number.low
            if number.high != _MOST:
                made[high] = number.high
        for (low, high), tally in self._tallies.items():
            least, most = tally(values)
            made[low], made[high] = Decimal(least), Decimal(most)
        return made

    def formula(self, node: Node, *, truth: bool) -> Formula:
        """The formula that holds where a condition is surely true (or surely false)."""
        condition = node.condition
        match condition:
            case Is(fact=fact):
                self._facts[fact] = None
                return Compare(fact, "==", truth)
            case Comparison(fact=fact, op=op, constant=constant):
                self._numbers[fact] = _bounds(fact)
                return _compare(fact, op, constant.value, truth=truth)
            case Within():
                key = f"{condition.fact} within {condition.days.value}"
                self._tests.setdefault(key, node.test)
                return Compare(key, "==", truth)
            case IsCategory(fact=fact, category=category):
                key = f"{fact} is {category}"
                self._tests.setdefault(key, node.test)
                return Compare(key, "==", truth)
            case IsUnknown():
                key = f"unknown at {condition.place}"
                self._tests.setdefault(key, node.test)
                return Compare(key, "==", truth)
            case Count(how=how, n=n):
                key = f"count at {condition.place}"
                assert node.tally is not None
                self._tallies.setdefault(_bounds(key), node.tally)
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
    low, high = _bounds(key)

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


def _bounds(key: str) -> _Bounds:
    return f"{key}.low", f"{key}.high"
