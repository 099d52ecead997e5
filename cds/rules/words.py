"""Values and thresholds in a reader's words."""

from __future__ import annotations

from decimal import Decimal
from functools import lru_cache

from cds.chart.facts import Event, Value
from cds.chart.measurements import plain, say_unit
from cds.chart.quantities import INFINITY, Category, Interval
from cds.rules.conditions import Constant

OPERATORS = {">=": "≥", "<=": "≤", "==": "=", "!=": "≠", ">": ">", "<": "<"}


_TRUTHS = {True: "yes", False: "no", None: "not known"}


def say_truth(truth: bool | None) -> str:
    """True, false and unknown in a reader's words."""
    return _TRUTHS[truth]


def say_constant(constant: Constant) -> str:
    """A threshold with its unit."""
    return say_number(constant.value, constant.unit)


_UNITS = {"%": "\u202f%", "d": " days", "a": " years", "": ""}


@lru_cache(maxsize=4096)
def say_number(value: Decimal, unit: str) -> str:
    """A number as people write it, with its unit; long fractions rounded for reading only.

    Equal numbers are written equally, and most of a card's stand in it more than once.
    """
    text = f"{value:f}"
    point = text.find(".")
    if 0 <= point < len(text) - 4:
        value = _rounded(value)
    return plain(value) + _UNITS.get(unit, f" {say_unit(unit)}")


def _rounded(value: Decimal) -> Decimal:
    """A long fraction, rounded; never to a whole number, which 19.98 % under 20 % is not."""
    exponent = value.as_tuple().exponent
    assert isinstance(exponent, int)  # infinities have words of their own
    digits = 1
    while -exponent > 3 and digits < -exponent:
        rounded = round(value, digits)
        if rounded != rounded.to_integral_value():
            return rounded
        digits += 1
    return value


def say_value(value: Value, unit: str) -> str:
    """The value of a fact in a reader's words."""
    if isinstance(value, Event):
        if value.surely is None:
            return "not recorded" if value.complete and value.possibly is None else "not known"
        days = plain(value.surely)
        return {"0": "today", "1": "1 day ago"}.get(days, f"{days} days ago")
    if isinstance(value, Interval):
        return _say_interval(value, unit)
    if isinstance(value, Category):
        return _say_category(value)
    return say_truth(value)


def _say_interval(value: Interval, unit: str) -> str:
    if value.low == value.high:
        if value.low in (INFINITY, -INFINITY):
            return "from 0" if value.low > 0 else "not possible"
        return say_number(value.low, unit)
    if value.low == -INFINITY and value.high == INFINITY:
        return "not known"
    if value.low == -INFINITY:
        return f"at most {say_number(value.high, unit)}"
    if value.high == INFINITY:
        return f"at least {say_number(value.low, unit)}"
    return f"{say_number(value.low, '')} to {say_number(value.high, unit)}"


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
