"""Which truths a condition can have, whatever the patient: found by trying every case apart.

A fact has few values that the conditions on it can tell apart: on, beside and between their
thresholds, known or not. Conditions that share facts are tried together, value by value, with the
very tests that the rules are evaluated with. Where that would take too long, everything is held to
be possible: what is said to be impossible here is so.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import TypeAlias

from cds.chart.facts.declaration import Declaration, Event, Value
from cds.chart.quantities import INFINITY, UNKNOWN, Category, Interval
from cds.chart.vocabulary import Vocabulary
from cds.rules.nodes import Node, Truth

Truths: TypeAlias = frozenset[Truth]

ANY: Truths = frozenset({True, False, None})

MOST_CASES = 20_000
"""So many are tried together, at about five microseconds each."""


def bounds_of(facts: Mapping[str, Declaration], vocabulary: Vocabulary) -> dict[str, Interval]:
    """The bounds of facts: the range of an Observation, and no days or years below none.

    Of the days from one thing to another there are none: the other may have come first.
    """
    bounds = {
        name: Interval(Decimal(0), INFINITY)
        for name, declared in facts.items()
        if declared.kind == "number"
        and declared.unit in ("d", "a")
        and not name.startswith("elapsed.")
    }
    for name, entry in vocabulary.observations.items():
        if entry.range is not None:
            low, high = entry.range.low, entry.range.high
            held = Interval(-INFINITY if low is None else low, INFINITY if high is None else high)
            values = ("latest", "previous", *(f"{fall}_from" for fall in entry.falls))
            bounds |= {f"observation.{name}.{of}": held for of in values}
    return bounds


class Possible:
    """Answers what is possible, given the facts of a rule set and their bounds."""

    def __init__(self, facts: Mapping[str, Declaration], bounds: Mapping[str, Interval]) -> None:
        self._facts = facts
        self._bounds = bounds
        self._known: dict[int, tuple[Node, Truths]] = {}

    def truths(self, node: Node) -> Truths:
        """The truths that a condition can have; perhaps more than it really can."""
        if id(node) not in self._known:
            self._known[id(node)] = (node, self._truths(node))
        return self._known[id(node)][1]

    def together(self, nodes: Sequence[Node]) -> bool:
        """Whether all of these conditions can be true of one patient."""
        return all(
            (cases := self._cases(cluster)) is None or any(all(t is True for t in c) for c in cases)
            for cluster in clusters(nodes)
        )

    def implies(self, given: Sequence[Node], node: Node) -> bool:
        """Whether a condition is surely true wherever these are; False where nobody can say."""
        if node.kind == "all":
            return all(self.implies(given, part) for part in node.parts)
        asked = facts_of(node)
        near = [each for each in given if facts_of(each) & asked]
        cases = self._cases([*near, node])
        if cases is None:
            return False
        return all(c[-1] is True for c in cases if all(t is True for t in c[:-1]))

    def _truths(self, node: Node) -> Truths:
        if node.kind in ("all", "any"):
            # What decides the whole alone: one false part of `all`, one true part of `any`.
            decisive = node.kind == "any"
            each = [self.truths(part) for part in node.parts]
            found: set[Truth] = {t for truths in each for t in truths if t is not (not decisive)}
            if all(self._can_all_be(cluster, not decisive) for cluster in clusters(node.parts)):
                found.add(not decisive)
            return frozenset(found)
        cases = self._cases([node])
        return ANY if cases is None else frozenset(case[0] for case in cases)

    def _can_all_be(self, nodes: Sequence[Node], truth: bool) -> bool:
        if any(truth not in self.truths(node) for node in nodes):
            return False
        cases = self._cases(nodes)
        return cases is None or any(all(t is truth for t in case) for case in cases)

    def _cases(self, nodes: Sequence[Node]) -> set[tuple[Truth, ...]] | None:
        """The truths that conditions can have together; None where there are too many to try."""
        leaves: dict[str, list[Node]] = {}
        for leaf in itertools.chain.from_iterable(map(leaves_of, nodes)):
            leaves.setdefault(leaf.fact or "", []).append(leaf)
        values = [self._values(fact, of) for fact, of in leaves.items()]
        if math.prod(map(len, values)) > MOST_CASES or not all(values):
            return None
        tests = [node.test for node in nodes]
        found = set()
        for case in itertools.product(*values):
            seen = dict(zip(leaves, case, strict=True))
            found.add(tuple(test(seen) for test in tests))
        return found

    def _values(self, fact: str, leaves: list[Node]) -> list[Value]:
        """Values of one fact that its conditions can tell apart; none where its kind is new."""
        declared = self._facts.get(fact)
        if declared is None:
            return []
        limits = {leaf.constant.value for leaf in leaves if leaf.constant is not None}
        values: Iterable[Value]
        if declared.kind == "boolean":
            values = (True, False, None)
        elif declared.kind == "number" and limits:
            values = numbers(limits, self._bounds.get(fact, UNKNOWN))
        elif declared.kind == "event":
            values = events(limits)
        elif declared.kind == "category":
            values = categories(declared.categories)
        else:
            return []
        apart: dict[tuple[Truth, ...], Value] = {}
        for value in values:
            apart.setdefault(tuple(leaf.test({fact: value}) for leaf in leaves), value)
        return list(apart.values())


def numbers(limits: set[Decimal], bounds: Interval) -> Iterator[Interval]:
    """Numbers on, beside and between the limits, the intervals between them, and unknown."""
    ends = {end for end in (bounds.low, bounds.high) if end.copy_abs() != INFINITY}
    marks = sorted(limits | ends)
    between = [(a + b) / 2 for a, b in itertools.pairwise(marks)]
    points = sorted(
        n for n in {*marks, *between, marks[0] - 1, marks[-1] + 1} if bounds.low <= n <= bounds.high
    )
    for low, high in itertools.combinations_with_replacement(points, 2):
        yield Interval(low, high)
    yield UNKNOWN


def events(limits: set[Decimal]) -> Iterator[Event]:
    """Events on and just after these days, surely and perhaps; never, and unknown."""
    days = sorted({Decimal(0), *(d for n in limits for d in (n, n + 1) if d >= 0)})
    for complete in (True, False):
        yield Event(None, None, complete)
        for possibly in days:
            yield Event(None, possibly, complete)
            for surely in days:
                if possibly <= surely:
                    yield Event(surely, possibly, complete)


def categories(ranks: tuple[str, ...]) -> Iterator[Category]:
    """Every rank, every two beside each other, and all: not known."""
    for n in {1, min(2, len(ranks)), len(ranks)}:
        for start in range(len(ranks) - n + 1):
            yield Category(ranks[start : start + n], ranks)


def leaves_of(node: Node) -> Iterator[Node]:
    """The conditions inside a condition that ask for a fact themselves."""
    if node.fact is not None:
        yield node
    for part in node.parts:
        yield from leaves_of(part)


def facts_of(node: Node) -> frozenset[str]:
    """The names of the facts that a condition asks for."""
    return frozenset(leaf.fact for leaf in leaves_of(node) if leaf.fact is not None)


def clusters(nodes: Sequence[Node]) -> list[list[Node]]:
    """Conditions in groups that share no fact with each other."""
    groups: list[tuple[set[str], list[Node]]] = []
    for node in nodes:
        facts, members = set(facts_of(node)), [node]
        apart = []
        for group in groups:
            if group[0] & facts:
                facts |= group[0]
                members = [*group[1], *members]
            else:
                apart.append(group)
        groups = [*apart, (facts, members)]
    return [members for _, members in groups]
