"""Values and thresholds in a reader's words."""

from __future__ import annotations

from decimal import Decimal
from functools import lru_cache

from cds.chart.facts.declaration import Event, Value
from cds.chart.measurements import plain, say_unit
from cds.chart.quantities import INFINITY, Category, Interval
from cds.rules.conditions import Constant

OPERATORS = {">=": "≥", "<=": "≤", "==": "=", "!=": "≠", ">": ">", "<": "<"}


_TRUTHS = {True: "yes", False: "no", None: "not known"}


def say_truth(truth: bool | None) -> str:
    """True, false and unknown in a reader's words."""
    return _TRUTHS[truth]


CERTAINTIES = {"one source": "read in one secondary source"}
"""Certainties whose own name says too little, in a reader's words."""


def say_certainty(certainty: str) -> str:
    """How certain something is, in a reader's words."""
    return CERTAINTIES.get(certainty, certainty)


def say_constant(constant: Constant) -> str:
    """A threshold with its unit."""
    return say_number(constant.value, constant.unit)


_UNITS = {"%": "\u202f%", "d": " days", "wk": " weeks", "a": " years", "": ""}
_ONE = {"d": " day", "wk": " week", "a": " year"}


@lru_cache(maxsize=4096)
def say_number(value: Decimal, unit: str) -> str:
    """A number as people write it, with its unit; long fractions rounded for reading only.

    Equal numbers are written equally, and most of a card's stand in it more than once. What is kept
    of them tells of no patient: a number of at most some thirty digits, and how it is written.
    """
    text = f"{value:f}"
    point = text.find(".")
    if 0 <= point < len(text) - 4:
        value = _rounded(value)
    units = _UNITS | _ONE if value == 1 else _UNITS
    return plain(value) + units.get(unit, f" {say_unit(unit)}")


@lru_cache(maxsize=4096)
def say_percent(value: Decimal, apart: frozenset[Decimal] = frozenset()) -> str:
    """A percentage of a patient as people write it: with one decimal, where that is true enough.

    ``apart`` are thresholds that are no whole numbers: like a whole number, no percentage is shown
    as one of them, or on its other side, that is not.
    """
    return plain(_rounded(value, 1, apart)) + _UNITS["%"]


def _rounded(value: Decimal, places: int = 3, apart: frozenset[Decimal] = frozenset()) -> Decimal:
    """A long fraction, rounded; never to a whole number, which 19.98 % under 20 % is not."""
    exponent = value.as_tuple().exponent
    assert isinstance(exponent, int)  # infinities have words of their own
    digits = 1
    while -exponent > places and digits < -exponent:
        rounded = round(value, digits)
        beside = all(abs(rounded).compare(t) == abs(value).compare(t) for t in apart)
        if beside and rounded != rounded.to_integral_value():
            return rounded
        digits += 1
    return value


def say_value(value: Value, unit: str, apart: frozenset[Decimal] = frozenset()) -> str:
    """The value of a fact in a reader's words; ``apart`` is as ``say_percent`` has it."""
    if isinstance(value, Event):
        if value.surely is None:
            return "not recorded" if value.complete and value.possibly is None else "not known"
        days = plain(value.surely)
        return {"0": "today", "1": "1 day ago"}.get(days, f"{days} days ago")
    if isinstance(value, Interval):
        return _say_interval(value, unit, apart)
    if isinstance(value, Category):
        return _say_category(value)
    return say_truth(value)


def _say_interval(value: Interval, unit: str, apart: frozenset[Decimal]) -> str:
    if value.low == value.high:
        if value.low in (INFINITY, -INFINITY):
            return "from 0" if value.low > 0 else "not possible"
        return _say_seen(value.low, unit, apart)
    if value.low == -INFINITY and value.high == INFINITY:
        return "not known"
    if value.low == -INFINITY:
        return f"at most {_say_seen(value.high, unit, apart)}"
    if value.high == INFINITY:
        return f"at least {_say_seen(value.low, unit, apart)}"
    least = _say_seen(value.low, unit, apart) if unit == "%" else say_number(value.low, "")
    return f"{least.removesuffix(_UNITS['%'])} to {_say_seen(value.high, unit, apart)}"


def _say_seen(value: Decimal, unit: str, apart: frozenset[Decimal]) -> str:
    return say_percent(value, apart) if unit == "%" else say_number(value, unit)


def _say_category(value: Category) -> str:
    """``moderate``, ``at least minimal``, ``minimal or none``, ``not known``."""
    possible = value.possible
    if len(possible) == len(value.of):
        return "not known"
    if len(possible) > 2 and possible == value.of[: len(possible)]:
        return f"at least {possible[-1]}"
    if len(possible) > 2 and possible == value.of[-len(possible) :]:
        return f"at most {possible[0]}"
    return " or ".join(reversed(possible))
