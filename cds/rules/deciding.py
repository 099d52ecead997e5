"""Which unknown facts an unknown answer depends on, found by trying how they may turn out.

A condition can be unknown without deciding anything: where three measures improved and muscle
strength and two others are missing, the two others are within the two that may be worse, and only
strength settles the definition of improvement.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from typing import TypeAlias

from cds.chart.facts.declaration import Event, Value
from cds.chart.quantities import INFINITY, Category, Interval
from cds.rules.nodes import Node, Truth, Values

Outcome: TypeAlias = dict[str, Value]
"""What one subject turned out to be: values of its facts."""

Answer: TypeAlias = Callable[[dict[str, Value]], Truth]


def deciding(unknown: Iterable[Node], values: Values, answer: Answer) -> set[str]:
    """The facts of these unknown conditions on which the answer depends.

    It depends on a fact where two outcomes of it, while all else turns out the same, give different
    answers. The changes of one measure are one subject: they turn out together.
    """
    nodes: dict[str, list[Node]] = {}
    for node in unknown:
        nodes.setdefault(subject_of(_fact(node)), []).append(node)
    outcomes = {subject: _outcomes(of, values) for subject, of in nodes.items()}
    return {
        _fact(node)
        for subject, of in nodes.items()
        if _decides(subject, outcomes, values, answer)
        for node in of
    }


def _fact(node: Node) -> str:
    assert node.fact is not None  # only what asks for a fact can be unknown by itself
    return node.fact


def subject_of(fact: str) -> str:
    """What turns out together with this fact: of a measure, all that is said of its change."""
    return fact.rpartition(".")[0] if fact.startswith("measure.") else fact


def _decides(
    subject: str, outcomes: Mapping[str, list[Outcome]], values: Values, answer: Answer
) -> bool:
    own = outcomes[subject]
    others = [each for other, each in outcomes.items() if other != subject]

    def differ(so_far: dict[str, Value], depth: int) -> bool:
        answers = {answer(so_far | outcome) for outcome in own}
        if True in answers and False in answers:
            return True
        if None not in answers or depth == len(others):
            return False
        return any(differ(so_far | outcome, depth + 1) for outcome in others[depth])

    return differ(dict(values), 0)


def _outcomes(nodes: list[Node], values: Values) -> list[Outcome]:
    """The outcomes of one subject that these conditions can tell apart."""
    asked: dict[str, list[tuple[str, int, Node]]] = {}
    for node in nodes:
        quantity, sign = quantity_of(_fact(node))
        asked.setdefault(quantity, []).append((_fact(node), sign, node))
    told_apart: dict[tuple[Truth, ...], Outcome] = {}
    for parts in itertools.product(*(_possible(of, values) for of in asked.values())):
        outcome = {fact: value for part in parts for fact, value in part.items()}
        told_apart.setdefault(tuple(node.test(outcome) for node in nodes), outcome)
    return list(told_apart.values())


def quantity_of(fact: str) -> tuple[str, int]:
    """What a fact measures, and its sign: worsening is the opposite of improvement."""
    if fact.startswith("measure.") and fact.endswith(".worsening"):
        return f"{subject_of(fact)}.improvement", -1
    return fact, 1


def _possible(asked: list[tuple[str, int, Node]], values: Values) -> list[Outcome]:
    """Outcomes on, beside and between all thresholds of one quantity that its bounds allow."""
    fact, sign, _ = asked[0]
    limits = {s * node.constant.value for _, s, node in asked if node.constant is not None}
    value = values[fact]
    if isinstance(value, Interval):
        ends = (sign * value.low, sign * value.high)
        numbers = _numbers(min(ends), max(ends), limits)
        return [{f: Interval(s * n, s * n) for f, s, _ in asked} for n in numbers]
    if isinstance(value, Event):
        return [{f: event for f, _, _ in asked} for event in _events(value, limits)]
    if isinstance(value, Category):
        ranks = [Category((rank,), value.of) for rank in value.possible]
        return [{f: rank for f, _, _ in asked} for rank in ranks]
    return [{f: truth for f, _, _ in asked} for truth in (True, False)]


def _numbers(low: Decimal, high: Decimal, limits: set[Decimal]) -> list[Decimal]:
    known = sorted(limits | {end for end in (low, high) if end.copy_abs() != INFINITY})
    between = [(a + b) / 2 for a, b in itertools.pairwise(known)]
    numbers = [known[0] - 1, *known, *between, known[-1] + 1]
    return [n for n in numbers if low <= n <= high]


def _events(event: Event, limits: set[Decimal]) -> list[Event]:
    earliest = event.possibly if event.complete and event.possibly is not None else Decimal(0)
    latest = INFINITY if event.surely is None else event.surely
    happened = [
        Event(day, day, True) for day in sorted({earliest, *limits}) if earliest <= day <= latest
    ]
    return [*happened, Event(event.surely, event.surely, True)]  # at the latest, or never
