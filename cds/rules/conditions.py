"""The conditions of rules, as structures: what may stand after ``when``.

``cds.rules.parsing`` reads them from files, ``cds.rules.nodes`` evaluates them with three values,
``cds.rules.compiler`` compiles them for the engine.
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Literal, TypeAlias

from msgspec import Struct

from cds.chart.vocabulary import Number
from cds.located import Place

Operator = Literal[">=", ">", "<=", "<", "==", "!="]
HowMany = Literal["at_least", "at_most", "exactly"]


class Constant(Struct, frozen=True):
    """A number in a condition, as it was written, and the parameter that it came from."""

    value: Decimal
    unit: str
    parameter: str | None = None
    number: Number | None = None

    def __str__(self) -> str:
        """The number with its unit."""
        return f"{self.value} {self.unit}".strip()


class Is(Struct, frozen=True):
    """A boolean fact."""

    fact: str
    place: Place


class Comparison(Struct, frozen=True):
    """A number against a constant."""

    fact: str
    op: Operator
    constant: Constant
    place: Place


class Within(Struct, frozen=True):
    """Something happened in the last so many days."""

    fact: str
    days: Constant
    place: Place


class IsCategory(Struct, frozen=True):
    """A category has this rank."""

    fact: str
    category: str
    place: Place


class Not(Struct, frozen=True):
    """The opposite of a condition."""

    part: Condition
    place: Place


class All(Struct, frozen=True):
    """Every part is true."""

    parts: tuple[Condition, ...]
    place: Place


class Any_(Struct, frozen=True):
    """At least one part is true."""

    parts: tuple[Condition, ...]
    place: Place


class IsUnknown(Struct, frozen=True):
    """A condition is neither true nor false."""

    part: Condition
    place: Place


class Count(Struct, frozen=True):
    """How many members of a group meet a condition, against a number.

    ``selects`` names the selection (those that meet it) for use in texts.
    """

    how: HowMany
    n: int
    group: str
    members: tuple[tuple[str, Condition], ...]
    selects: str | None
    place: Place


Condition: TypeAlias = Is | Comparison | Within | IsCategory | Not | All | Any_ | IsUnknown | Count


def parts_of(condition: Condition) -> tuple[Condition, ...]:
    """The conditions directly inside a condition."""
    match condition:
        case All(parts=parts) | Any_(parts=parts):
            return parts
        case Not(part=part) | IsUnknown(part=part):
            return (part,)
        case Count(members=members):
            return tuple(part for _, part in members)
        case _:
            return ()


def walk(condition: Condition) -> Iterator[Condition]:
    """A condition and every condition inside it."""
    yield condition
    for part in parts_of(condition):
        yield from walk(part)


def facts_of(condition: Condition) -> Iterator[str]:
    """The names of the facts that a condition asks for."""
    for each in walk(condition):
        if isinstance(each, Is | Comparison | Within | IsCategory):
            yield each.fact
