"""Numbers of which only the bounds may be known, and ranks of which several may be possible."""

from __future__ import annotations

from decimal import Decimal

from msgspec import Struct

INFINITY = Decimal("Infinity")


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
