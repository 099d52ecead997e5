"""The response criteria on charts of two visits, against counting by hand.

What is missing is tried out: the definition of improvement may be told only if it comes out the
same whatever the missing values are, and must then be told; the interval of the score holds every
score that they may give.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Struct

from cds.chart.quantities import Category, Interval
from cds.rules.reading import read_ruleset
from cds.rules.ruleset import RuleSet
from tests.chart.conftest import (
    PATIENT,
    Json,
    ago,
    ck,
    haq,
    mmt150,
    observation,
    patient_global,
    physician,
    read,
)
from tests.rules.test_derivations import score

LIMIT = 200
"""The upper limit of CK; its range in an adult is 15 times that."""
THEN, NOW = DAYS = ago(180), ago(0)

Judged = Literal["better", "same", "worse"]
Missing = Literal["nothing", "now", "both"]


class Scale(Struct, frozen=True):
    """An instrument: from its least to its greatest value by steps, and which end is good."""

    greatest: Decimal
    step: Decimal
    range: Decimal
    good: Literal["low", "high"] = "low"
    open: bool = False

    @property
    def ends(self) -> tuple[Decimal, Decimal]:
        """The least and the greatest value; what has no greatest is tried far above any."""
        return Decimal(0), self.greatest * 100 if self.open else self.greatest


VAS = Scale(Decimal(10), Decimal("0.1"), Decimal(10))
SCALES = {
    "physician_global": VAS,
    "patient_global": VAS,
    "muscle_strength": Scale(Decimal(150), Decimal(1), Decimal(150), good="high"),
    "physical_function": Scale(Decimal(3), Decimal("0.125"), Decimal(3)),
    "muscle_enzyme": Scale(Decimal(6000), Decimal(20), Decimal(15 * LIMIT), open=True),
    "extramuscular": VAS,
}
MAKE: Mapping[str, Callable[[str, str], Json]] = {
    "physician_global": physician,
    "patient_global": patient_global,
    "muscle_strength": mmt150,
    "mmt8_80": lambda value, on: observation("core_set|mmt8-80", value, None, on),
    "physical_function": haq,
    "muscle_enzyme": lambda value, on: ck(value, on, LIMIT),
    "extramuscular": lambda value, on: observation(
        "core_set|extramuscular-global", value, "cm", on
    ),
}
ADULT: Json = {"resourceType": "Patient", "id": PATIENT, "birthDate": "1970-01-01"}

Pair = tuple[Decimal, Decimal]


@st.composite
def pairs(draw: st.DrawFn, scale: Scale) -> Pair:
    """Two values of a scale, often exactly 20 or 25 % apart where the scale has such values."""
    steps = int(scale.greatest / scale.step)
    least = 1 if scale.good == "high" else 0
    before = draw(st.integers(least, steps).map(lambda n: n * scale.step))
    apart = [before * factor for factor in map(Decimal, ("0.5", "0.75", "0.8", "1.2", "1.25"))]
    fitting = [after for after in apart if after <= scale.greatest and after % scale.step == 0]
    anything = st.integers(0, steps).map(lambda n: n * scale.step)
    after = draw(st.sampled_from([before, *fitting]) | anything)
    return before, after


def judged(scale: Scale, before: Decimal, after: Decimal) -> Judged:
    """What the definition makes of one measure; a rise from 0 is worse, by this project's rule."""
    better = after - before if scale.good == "high" else before - after
    if before == 0:
        return "worse" if better < 0 else "same"
    change = Fraction(better) / Fraction(before)
    if change >= Fraction(20, 100):
        return "better"
    return "worse" if change <= Fraction(-25, 100) else "same"


def met(judgements: Mapping[str, Judged]) -> bool:
    """The IMACS definition of improvement, of six measures that are known."""
    seen = list(judgements.values())
    worse = seen.count("worse")
    return seen.count("better") >= 3 and worse <= 2 and judgements["muscle_strength"] != "worse"


def completions(values: Mapping[str, Pair], missing: Mapping[str, Missing]) -> Iterator[list[Pair]]:
    """The pairs that six measures may have, at the ends of what is missing and between them."""
    possible: list[list[Pair]] = []
    for name, (before, after) in values.items():
        low, high = SCALES[name].ends
        if missing[name] == "nothing":
            possible.append([(before, after)])
        elif missing[name] == "now":
            possible.append([(before, end) for end in (low, before, high)])
        else:
            middle = SCALES[name].greatest / 2
            possible.append([(middle, end) for end in (low, middle, high)])
    yield from (list(each) for each in itertools.product(*possible))


@pytest.fixture(scope="module")
def shipped() -> RuleSet:
    """The rules that are shipped."""
    return read_ruleset(Path(__file__).parents[2] / "rules")


STILL: Mapping[str, tuple[str, str]] = {
    "physician_global": ("3", "3"),
    "patient_global": ("3", "3"),
    "physical_function": ("1", "1"),
    "muscle_enzyme": ("300", "300"),
    "extramuscular": ("2", "2"),
}


@pytest.mark.parametrize(
    ("values", "points", "category"),
    [
        (
            {
                "physician_global": ("7", "4"),
                "patient_global": ("6", "5"),
                "muscle_strength": ("120", "135"),
                "physical_function": ("1.5", "1.125"),
                "muscle_enzyme": ("3000", "600"),
                "extramuscular": ("5", "3"),
            },
            "55",
            "moderate",
        ),
        ({**STILL, "mmt8_80": ("70", "78")}, "10", None),
        (
            {
                "physician_global": ("3", "6"),
                "patient_global": ("3", "7"),
                "muscle_strength": ("140", "110"),
                "physical_function": ("1", "2"),
                "muscle_enzyme": ("300", "3000"),
                "extramuscular": ("2", "4"),
            },
            "0",
            None,
        ),
        (
            {
                "physician_global": ("10", "0"),
                "patient_global": ("10", "0"),
                "muscle_strength": ("0", "150"),
                "physical_function": ("3", "0"),
                "muscle_enzyme": ("3000", "0"),
                "extramuscular": ("10", "0"),
            },
            "100",
            "major",
        ),
    ],
)
def test_the_worked_cases_of_the_score(
    shipped: RuleSet, values: Mapping[str, tuple[str, str]], points: str, category: str | None
) -> None:
    """The cases worked by hand come out from the values of both visits, of an adult."""
    visits = [
        MAKE[n](value, on)
        for n, pair in values.items()
        for value, on in zip(pair, DAYS, strict=True)
    ]
    found = shipped.evaluate(read(ADULT, *visits)).values
    expected = Decimal(points)
    assert found["response.tis.score"] == Interval(expected, expected)
    seen = found["response.tis.category"]
    assert isinstance(seen, Category)
    assert len(seen.possible) == 1
    assert category is None or set(seen.possible) == {category}


MISSING: tuple[Missing, ...] = ("nothing", "now", "both")


@settings(max_examples=120, deadline=None)
@given(
    values=st.fixed_dictionaries({name: pairs(scale) for name, scale in SCALES.items()}),
    missing=st.fixed_dictionaries(
        {name: st.just("nothing") | st.sampled_from(MISSING) for name in SCALES}
    ),
    known=st.sampled_from([name for name in SCALES if name != "muscle_enzyme"]),
)
def test_what_is_told_is_so_whatever_is_missing_and_all_that_is_so_is_told(
    shipped: RuleSet, values: dict[str, Pair], missing: dict[str, Missing], known: str
) -> None:
    """Met, not met and undetermined, and the bounds of the score, by trying what is missing."""
    missing = {**missing, known: "nothing"}  # or else there would be no second visit
    resources = [ADULT]
    for name, (before, after) in values.items():
        if missing[name] != "both":
            resources.append(MAKE[name](str(before), THEN))
        if missing[name] == "nothing":
            resources.append(MAKE[name](str(after), NOW))
    found = shipped.evaluate(read(*resources)).values
    seen = found["response.tis.score"]
    assert isinstance(seen, Interval)

    verdicts, scores = set(), set()
    for completed in completions(values, missing):
        each = dict(zip(values, completed, strict=True))
        verdicts.add(met({name: judged(SCALES[name], *pair) for name, pair in each.items()}))
        scores.add(score({name: percent_of_range(name, *pair) for name, pair in each.items()}))
    assert found["response.imacs.improved"] is (verdicts.pop() if len(verdicts) == 1 else None)
    assert seen.low <= min(scores) and max(scores) <= seen.high
    if set(missing.values()) == {"nothing"}:
        assert seen.low == seen.high


def percent_of_range(name: str, before: Decimal, after: Decimal) -> Decimal:
    """The improvement in percent of the range of the instrument."""
    scale = SCALES[name]
    better = after - before if scale.good == "high" else before - after
    return better * 100 / scale.range
