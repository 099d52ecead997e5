"""Numbers of which only the bounds may be known, and ranks of which several may be possible."""

from __future__ import annotations

from decimal import Decimal

from msgspec import Struct

INFINITY = Decimal("Infinity")


def is_within_reach(number: Decimal) -> bool:
    """Whether a number is zero, or one that can be measured or given in the units used here.

    What is worked out from two such numbers stays within what the rule engine takes.
    """
    return not number or -6 <= number.adjusted() <= 6


class Interval(Struct, frozen=True, gc=False):
    """A number of which only the bounds are known; equal bounds are a known number."""

    low: Decimal
    high: Decimal


UNKNOWN = Interval(-INFINITY, INFINITY)
"""A number of which nothing is known."""


class Category(Struct, frozen=True, gc=False):
    """One of the ranks ``of``, from the highest to the lowest: those still ``possible``.

    One possible rank is a known one; where all are possible nothing is known.
    """

    possible: tuple[str, ...]
    of: tuple[str, ...]
