"""Derived numbers and categories: sums over bands, counts, and ranks, each worked out of facts.

What is not known stays open: a number is the interval between the least and the most that it can
be, a category every rank that it can have. Nothing is filled in.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from decimal import Decimal
from typing import TypeAlias

from msgspec import Struct

from cds.chart.facts.declaration import Value
from cds.chart.quantities import Category, Interval
from cds.located import Place
from cds.rules.conditions import facts_of
from cds.rules.language import Band, RuleFile, Term
from cds.rules.nodes import Node, Values


class Part(Struct, frozen=True):
    """One term of a sum: a number, and the bands that give it points."""

    fact: str
    unit: str
    bands: tuple[Band, ...]
    file: Term
    place: Place

    @property
    def most(self) -> Decimal:
        """The most points that it can give."""
        return max(Decimal(0), *(band.points for band in self.bands))


class Sum(Struct, frozen=True):
    """The points of several numbers, added."""

    parts: tuple[Part, ...]

    @property
    def most(self) -> Decimal:
        """The most that it can be."""
        return sum((part.most for part in self.parts), Decimal(0))


class HowMany(Struct, frozen=True):
    """The number of members of a group that meet a condition."""

    node: Node


class Ranks(Struct, frozen=True):
    """Ranks from the highest to the lowest, each with its condition; the last has none.

    A rank is had by whoever meets its condition and none above it.
    """

    ranks: tuple[tuple[str, Node | None], ...]

    @property
    def names(self) -> tuple[str, ...]:
        """All ranks, from the highest to the lowest."""
        return tuple(name for name, _ in self.ranks)


Makes: TypeAlias = Sum | HowMany | Ranks


class Derivation(Struct, frozen=True):
    """A rule that derives a number or a category, how, and what its counts select."""

    file: RuleFile
    fact: str
    place: Place
    makes: Makes
    selections: tuple[tuple[str, Node], ...]

    @property
    def id(self) -> str:
        """The id of the rule."""
        return self.file.id


class Contribution(Struct, frozen=True):
    """What one term adds to a sum: the value that was seen, and its points."""

    part: Part
    seen: Interval
    points: Interval


def work_out(makes: Makes, values: Values) -> Value:
    """The value of a derived number or category."""
    match makes:
        case Sum():
            points = [each.points for each in contributions(makes, values)]
            zero = Decimal(0)
            return Interval(sum((p.low for p in points), zero), sum((p.high for p in points), zero))
        case HowMany(node=node):
            assert node.tally is not None
            least, most = node.tally(values)
            return Interval(Decimal(least), Decimal(most))
        case Ranks():
            return _rank(makes, values)


def contributions(of: Sum, values: Values) -> tuple[Contribution, ...]:
    """What each term adds; of a number that is not known, from the least to the most it can."""
    found = []
    for part in of.parts:
        seen = values[part.fact]
        if not isinstance(seen, Interval):
            raise TypeError(f"{part.fact} is not a number")
        found.append(Contribution(part, seen, points(part.bands, seen)))
    return tuple(found)


def points(bands: tuple[Band, ...], seen: Interval) -> Interval:
    """The points of a number: those of the band it lies in, or of every band that it may lie in.

    A band reaches from just above its threshold up to the next one, that included; up to the first
    threshold there are none.
    """
    floors = [band.above for band in bands]
    given = (Decimal(0), *[band.points for band in bands])
    reached = given[bisect_left(floors, seen.low) : bisect_left(floors, seen.high) + 1]
    return Interval(min(reached), max(reached))


def _rank(of: Ranks, values: Values) -> Category:
    possible = []
    for name, node in of.ranks:
        truth = True if node is None else node.test(values)
        if truth is not False:
            possible.append(name)
        if truth is True:
            break
    return Category(tuple(possible), of.names)


def nodes_of(makes: Makes) -> Iterator[Node]:
    """The conditions of a derivation: of its ranks, or of what it counts."""
    match makes:
        case HowMany(node=node):
            yield node
        case Ranks(ranks=ranks):
            yield from (node for _, node in ranks if node is not None)


def facts_asked(makes: Makes) -> Iterator[str]:
    """The names of the facts that a derivation asks for."""
    if isinstance(makes, Sum):
        yield from (part.fact for part in makes.parts)
    for node in nodes_of(makes):
        yield from facts_of(node.condition)
