"""Numbers of which only the bounds may be known."""

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
