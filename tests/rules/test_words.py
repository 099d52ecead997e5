from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cds.chart.facts.declaration import Event, Value
from cds.chart.quantities import INFINITY, UNKNOWN, Category, Interval
from cds.rules.conditions import Constant
from cds.rules.words import OPERATORS, say_constant, say_number, say_percent, say_truth, say_value


@pytest.mark.parametrize(
    ("value", "unit", "said"),
    [
        ("20", "%", "20\u202f%"),
        ("20.50", "%", "20.5\u202f%"),
        ("84", "d", "84 days"),
        ("18", "a", "18 years"),
        ("1", "d", "1 day"),
        ("1.0", "wk", "1 week"),
        ("1", "a", "1 year"),
        ("0", "d", "0 days"),
        ("2.5", "", "2.5"),
        ("3000", "U/L", "3000 U/L"),
        ("1E+3", "U/L", "1000 U/L"),
        ("-20", "%", "-20\u202f%"),
        ("0.125", "", "0.125"),
        ("33.33333333333333333333333333", "%", "33.3\u202f%"),
        ("66.66666666666666666666666667", "%", "66.7\u202f%"),
        ("20.0000", "%", "20\u202f%"),
    ],
)
def test_numbers(value: str, unit: str, said: str) -> None:
    """A number is written without exponent and trailing zeros, a long fraction rounded."""
    assert say_number(Decimal(value), unit) == said


@pytest.mark.parametrize("value", ["-0", "-0.0000", "0.00", "0E+5"])
def test_zero_is_written_the_same_however_it_is_recorded(value: str) -> None:
    """What is kept of the number of one patient is never shown for another's otherwise."""
    say_number.cache_clear()
    say_percent.cache_clear()
    assert say_number(Decimal(value), "mg/d") == say_number(Decimal(0), "mg/d") == "0 mg/d"
    assert say_percent(Decimal(value)) == say_percent(Decimal(0)) == "0\u202f%"


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("19.99000499750124937531234383", "19.99"),
        ("20.00000499750124937531234383", "20.000005"),
        ("-24.98", "-24.98"),
        ("-24.9999", "-24.9999"),
        ("0.0144", "0.01"),
        ("0.00012", "0.0001"),
    ],
)
def test_rounding_never_reaches_a_threshold(value: str, said: str) -> None:
    """A number just beside a whole one is never shown as the whole one, which it did not reach."""
    assert say_number(Decimal(value), "") == said


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("15.625", "15.6"),
        ("42.85714285714285714285714286", "42.9"),
        ("-4.166666666666666666666666667", "-4.2"),
        ("20", "20"),
        ("20.0", "20"),
        ("15.5", "15.5"),
        ("19.96", "19.96"),
        ("20.04", "20.04"),
        ("-24.98", "-24.98"),
        ("0.04", "0.04"),
        ("14.9996", "14.9996"),
    ],
)
def test_a_percentage_has_one_decimal_unless_it_would_read_as_a_whole_number(
    value: str, said: str
) -> None:
    """What is just below 20 % or just above 15 % has as many decimals as tell it apart."""
    assert say_percent(Decimal(value)) == f"{said}\u202f%"


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("17.46", "17.46"),
        ("17.54", "17.54"),
        ("-17.46", "-17.46"),
        ("17.5", "17.5"),
        ("17.43", "17.4"),
        ("2.2449", "2.2"),
        ("2.2451", "2.25"),
        ("2.26", "2.3"),
    ],
)
def test_a_percentage_is_never_rounded_onto_or_over_a_threshold(value: str, said: str) -> None:
    """A site may set thresholds that are no whole numbers; these are not reached falsely either."""
    thresholds = frozenset({Decimal("17.5"), Decimal("2.245")})
    assert say_percent(Decimal(value), thresholds) == f"{said}\u202f%"


@given(
    value=st.decimals(min_value=-200, max_value=200, places=6),
    threshold=st.decimals(min_value=0, max_value=100, places=2),
)
def test_a_percentage_as_shown_is_on_the_same_side_of_every_threshold(
    value: Decimal, threshold: Decimal
) -> None:
    """Whatever the numbers, the reader decides as the rule did."""
    shown = Decimal(say_percent(value, frozenset({threshold})).removesuffix("\u202f%"))
    assert abs(value).compare(threshold) == abs(shown).compare(threshold)
    assert abs(value - shown) <= Decimal("0.05")


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (True, "yes"),
        (False, "no"),
        (None, "not known"),
        (Interval(Decimal(20), Decimal(20)), "20\u202f%"),
        (Interval(Decimal(-50), Decimal(100)), "-50 to 100\u202f%"),
        (Interval(Decimal("-27.125"), Decimal("19.96")), "-27.1 to 19.96\u202f%"),
        (Interval(Decimal(-50), INFINITY), "at least -50\u202f%"),
        (Interval(-INFINITY, Decimal(0)), "at most 0\u202f%"),
        (UNKNOWN, "not known"),
        (Interval(INFINITY, INFINITY), "from 0"),
        (Interval(-INFINITY, -INFINITY), "not possible"),
        (Event(Decimal(0), Decimal(0), True), "today"),
        (Event(Decimal(1), Decimal(1), True), "1 day ago"),
        (Event(Decimal(14), Decimal(3), False), "14 days ago"),
        (Event(None, None, True), "not recorded"),
        (Event(None, None, False), "not known"),
        (Event(None, Decimal(3), True), "not known"),
    ],
)
def test_values(value: Value, said: str) -> None:
    """Every kind of value has words, the unknown ones too."""
    assert say_value(value, "%") == said


@pytest.mark.parametrize(("truth", "said"), [(True, "yes"), (False, "no"), (None, "not known")])
def test_truths(truth: bool | None, said: str) -> None:
    """The three truths are said in words."""
    assert say_truth(truth) == said


def test_constants_and_operators() -> None:
    """A threshold is said with its unit, an operator with its sign."""
    assert say_constant(Constant(Decimal("20.0"), "%")) == "20\u202f%"
    assert OPERATORS == {">=": "≥", "<=": "≤", "==": "=", "!=": "≠", ">": ">", "<": "<"}


@pytest.mark.parametrize(
    ("possible", "said"),
    [
        (("moderate",), "moderate"),
        (("major", "moderate"), "moderate or major"),
        (("moderate", "minimal"), "minimal or moderate"),
        (("major", "moderate", "minimal"), "at least minimal"),
        (("moderate", "minimal", "none"), "at most moderate"),
        (("major", "moderate", "minimal", "none"), "not known"),
    ],
)
def test_categories(possible: tuple[str, ...], said: str) -> None:
    """A rank by its name; of several that are possible the best that can be said."""
    ranks = ("major", "moderate", "minimal", "none")
    assert say_value(Category(possible, ranks), "") == said
