"""Formulas over named attributes: the only language the engine is given.

A formula is a comparison with a constant, or a conjunction or disjunction of formulas. There is no
negation: whoever compiles a formula pushes it down to the comparisons first. A comparison with an
attribute that is absent does not hold, whatever its operator.
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Literal, TypeAlias

import msgspec

Value: TypeAlias = bool | str | Decimal
"""What an attribute or a constant may be: numbers are always Decimal, never int or float."""

Operator: TypeAlias = Literal["==", "<", "<=", ">", ">="]


class Compare(msgspec.Struct, frozen=True):
    """The attribute is present and stands in this relation to the constant."""

    attribute: str
    op: Operator
    constant: Value


class Both(msgspec.Struct, frozen=True):
    """Every part holds."""

    parts: tuple[Formula, ...]


class Either(msgspec.Struct, frozen=True):
    """At least one part holds."""

    parts: tuple[Formula, ...]


Formula: TypeAlias = Compare | Both | Either


def leaves(formula: Formula) -> Iterator[Compare]:
    """Every comparison of a formula, from left to right, as often as it is written."""
    if isinstance(formula, Compare):
        yield formula
    else:
        for part in formula.parts:
            yield from leaves(part)
