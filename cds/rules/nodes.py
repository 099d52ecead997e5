"""Conditions ready to evaluate, after Kleene: true, false, or None for unknown.

A condition is unknown only where what is unknown could still decide it. Each node also carries what
it says in words, so that a trace costs nothing until somebody reads it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from operator import ge, gt, le, lt
from typing import Literal, TypeAlias, TypeVar

from msgspec import Struct

from cds.chart.facts.declaration import Declaration, Event, Value
from cds.chart.quantities import UNKNOWN, Category, Interval
from cds.rules.conditions import (
    All,
    Any_,
    Comparison,
    Condition,
    Constant,
    Count,
    Is,
    IsCategory,
    IsUnknown,
    Not,
    Within,
)
from cds.rules.words import OPERATORS, say_constant

Truth: TypeAlias = bool | None
Values: TypeAlias = Mapping[str, Value]
Test: TypeAlias = Callable[[Values], Truth]
Tally: TypeAlias = Callable[[Values], tuple[int, int]]
Kind = Literal["fact", "not", "unknown", "all", "any", "count"]
Part = TypeVar("Part")


class Node(Struct, frozen=True):
    """A condition with its test, its words and its parts.

    ``tally``, of a count, says how many members surely meet it and how many at the most;
    ``members`` names them, in the order of the parts.
    """

    kind: Kind
    test: Test
    says: str
    condition: Condition
    parts: tuple[Node, ...] = ()
    fact: str | None = None
    constant: Constant | None = None
    tally: Tally | None = None
    members: tuple[str, ...] = ()


def compile_node(condition: Condition, facts: Mapping[str, Declaration]) -> Node:
    """Make a condition ready to evaluate."""
    match condition:
        case Is(fact=fact):
            return Node("fact", _is(fact), facts[fact].title, condition, fact=fact)
        case Comparison(fact=fact, op=op, constant=constant):
            says = f"{facts[fact].title} {OPERATORS[op]} {say_constant(constant)}"
            test = _comparison(condition)
            return Node("fact", test, says, condition, fact=fact, constant=constant)
        case Within(fact=fact, days=days):
            says = f"{facts[fact].title} within {say_constant(days)}"
            test = _within(fact, days.value)
            return Node("fact", test, says, condition, fact=fact, constant=days)
        case IsCategory(fact=fact, category=category):
            says = f"{facts[fact].title}: {category}"
            return Node("fact", _is_category(fact, category), says, condition, fact=fact)
        case Not(part=part):
            node = compile_node(part, facts)
            return Node("not", _not(node.test), f"not: {node.says}", condition, (node,))
        case IsUnknown(part=part):
            node = compile_node(part, facts)
            says = f"not known: {node.says}"
            return Node("unknown", _is_unknown(node.test), says, condition, (node,))
        case All(parts=parts):
            nodes = tuple(compile_node(p, facts) for p in parts)
            return Node("all", _all([n.test for n in nodes]), "all of", condition, nodes)
        case Any_(parts=parts):
            nodes = tuple(compile_node(p, facts) for p in parts)
            return Node("any", _any([n.test for n in nodes]), "at least one of", condition, nodes)
        case Count(how=how, n=n, members=members):
            nodes = tuple(compile_node(p, facts) for _, p in members)
            tally = _tally([node.test for node in nodes])
            how_many = how.replace("_", " ")
            says = f"{how_many} {n} of {len(nodes)}: {_criterion(condition)}"
            return Node(
                "count",
                _count(condition, tally),
                says,
                condition,
                nodes,
                tally=tally,
                members=tuple(name for name, _ in members),
            )


def bearing(kind: Kind, parts: Sequence[Part], truth_of: Callable[[Part], Truth]) -> Sequence[Part]:
    """The parts of a condition of this kind that make it true, false or unknown."""
    if kind not in ("all", "any"):
        return parts
    truths = [truth_of(part) for part in parts]
    # What one part alone brings about; then what one that is not known may.
    for decisive in (kind == "any", None):
        if decisive in truths:
            return [p for p, truth in zip(parts, truths, strict=True) if truth is decisive]
    return parts


def _criterion(condition: Count) -> str:
    """What a count counts, said once for all members."""
    return _said_of_all(condition.members[0][1]) or condition.group.replace("_", " ")


def _said_of_all(part: Condition) -> str:
    """What is asked of a member, without its name; empty where it has no word of its own."""
    match part:
        case Comparison(fact=fact, op=op, constant=constant):
            word = fact.rsplit(".", 1)[-1].replace("_", " ")
            return f"{word} {OPERATORS[op]} {say_constant(constant)}"
        case Within(fact=fact, days=days):
            word = fact.rsplit(".", 1)[-1] if fact.count(".") > 1 else "recorded"
            return f"{word} within {say_constant(days)}"
        case Not(part=inner) if said := _said_of_all(inner):
            return f"not: {said}"
        case _:
            return ""


def _is(fact: str) -> Test:
    def test(values: Values) -> Truth:
        value = values[fact]
        if value is None or value is True or value is False:
            return value
        raise TypeError(f"{fact} is neither true nor false")

    return test


def _comparison(condition: Comparison) -> Test:
    fact, c, op = condition.fact, condition.constant.value, condition.op
    if op in ("==", "!="):
        return _equal(fact, c) if op == "==" else _not(_equal(fact, c))
    # The lower bound tells what is surely reached, the upper one what is surely missed; "<" and
    # "<=" are the opposites of ">=" and ">".
    upward = op in (">=", ">")
    reached, missed = (ge, lt) if op in (">=", "<") else (gt, le)

    def test(values: Values) -> Truth:
        x = values[fact]
        if x is UNKNOWN:  # as most numbers of most patients are
            return None
        if not isinstance(x, Interval):
            raise TypeError(f"{fact} is not a number")
        if reached(x.low, c):
            return upward
        return not upward if missed(x.high, c) else None

    return test


def _equal(fact: str, c: Decimal) -> Test:
    def test(values: Values) -> Truth:
        x = values[fact]
        if not isinstance(x, Interval):
            raise TypeError(f"{fact} is not a number")
        if x.low == c == x.high:
            return True
        return False if x.high < c or x.low > c else None

    return test


def _within(fact: str, days: Decimal) -> Test:
    def test(values: Values) -> Truth:
        event = values[fact]
        if not isinstance(event, Event):
            raise TypeError(f"{fact} is not an event")
        if event.surely is not None and event.surely <= days:
            return True
        if event.possibly is not None and event.possibly <= days:
            return None
        return False if event.complete else None

    return test


def _is_category(fact: str, category: str) -> Test:
    def test(values: Values) -> Truth:
        value = values[fact]
        if not isinstance(value, Category):
            raise TypeError(f"{fact} is not a category")
        if category not in value.possible:
            return False
        return True if len(value.possible) == 1 else None

    return test


def _not(test: Test) -> Test:
    def negated(values: Values) -> Truth:
        truth = test(values)
        return None if truth is None else not truth

    return negated


def _is_unknown(test: Test) -> Test:
    return lambda values: test(values) is None


def _all(tests: list[Test]) -> Test:
    def test(values: Values) -> Truth:
        result: Truth = True
        for part in tests:
            truth = part(values)
            if truth is False:
                return False
            if truth is None:
                result = None
        return result

    return test


def _any(tests: list[Test]) -> Test:
    def test(values: Values) -> Truth:
        result: Truth = False
        for part in tests:
            truth = part(values)
            if truth is True:
                return True
            if truth is None:
                result = None
        return result

    return test


def _tally(tests: list[Test]) -> Tally:
    def count(values: Values) -> tuple[int, int]:
        sure = possible = 0
        for test in tests:
            truth = test(values)
            if truth is True:
                sure += 1
            elif truth is None:
                possible += 1
        return sure, sure + possible

    return count


def _count(condition: Count, count: Tally) -> Test:
    n = condition.n

    def at_least(values: Values) -> Truth:
        least, most = count(values)
        return True if least >= n else False if most < n else None

    def at_most(values: Values) -> Truth:
        least, most = count(values)
        return True if most <= n else False if least > n else None

    def exactly(values: Values) -> Truth:
        least, most = count(values)
        if least == n == most:
            return True
        return False if least > n or most < n else None

    return {"at_least": at_least, "at_most": at_most, "exactly": exactly}[condition.how]
