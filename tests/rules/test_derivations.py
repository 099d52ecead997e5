"""Derived numbers and categories, and the shipped Total Improvement Score against its table."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cds.chart.facts.declaration import Event, Value
from cds.chart.quantities import UNKNOWN, Category, Interval
from cds.located import FilesInvalid
from cds.rules.derivations import points
from cds.rules.engine import Engine
from cds.rules.formula import Value as Attribute
from cds.rules.language import Band
from cds.rules.reading import check_ruleset, read_ruleset
from cds.rules.ruleset import EnginesDisagree, RuleSet, Selection

LEAST = Decimal("1e-24")
BANDS = (
    Band(above=Decimal(5), points=Decimal("7.5")),
    Band(above=Decimal(15), points=Decimal(15)),
)


def between(low: str, high: str) -> Interval:
    """An interval, from its bounds as text."""
    return Interval(Decimal(low), Decimal(high))


@pytest.mark.parametrize(
    ("low", "high", "least", "most"),
    [
        ("5", "5", "0", "0"),
        ("5.000000000000000001", "5.000000000000000001", "7.5", "7.5"),
        ("15", "15", "7.5", "7.5"),
        ("15.1", "15.1", "15", "15"),
        ("-30", "-30", "0", "0"),
        ("5", "15", "0", "7.5"),
        ("6", "14", "7.5", "7.5"),
        ("4", "16", "0", "15"),
        ("6", "Infinity", "7.5", "15"),
        ("-Infinity", "5", "0", "0"),
        ("-Infinity", "Infinity", "0", "15"),
    ],
)
def test_a_band_reaches_up_to_the_next_threshold_and_includes_it(
    low: str, high: str, least: str, most: str
) -> None:
    """A number has the points of its band; an interval those of every band that it touches."""
    assert points(BANDS, between(low, high)) == between(least, most)


def test_points_that_fall_with_the_number_are_bounded_as_well() -> None:
    """Higher bands may give fewer points: the bounds are of the points, not of the number."""
    falling = (Band(above=Decimal(0), points=Decimal(9)), Band(above=Decimal(5), points=Decimal(2)))
    assert points(falling, between("1", "9")) == between("2", "9")


# --- the Total Improvement Score, by hand --------------------------------------------------------

TABLE: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "physician_global": (("5", "15", "25", "40"), ("0", "7.5", "15", "17.5", "20")),
    "patient_global": (("5", "15", "25", "40"), ("0", "2.5", "5", "7.5", "10")),
    "muscle_strength": (("2", "10", "20", "30"), ("0", "10", "20", "27.5", "32.5")),
    "physical_function": (("5", "15", "25", "40"), ("0", "5", "7.5", "7.5", "10")),
    "muscle_enzyme": (("5", "15", "25", "40"), ("0", "2.5", "5", "7.5", "7.5")),
    "extramuscular": (("5", "15", "25", "40"), ("0", "7.5", "12.5", "15", "20")),
}
"""Aggarwal 2017: the upper edges of all bands but the last, which they include, and the points."""


def score(percents: Mapping[str, Decimal]) -> Decimal:
    """The score of six known improvements in percent of the range."""
    total = Decimal(0)
    for name, percent in percents.items():
        edges, given_points = TABLE[name]
        total += Decimal(given_points[sum(percent > Decimal(edge) for edge in edges)])
    return total


@pytest.fixture(scope="module")
def shipped() -> RuleSet:
    """The rules that are shipped."""
    return read_ruleset(Path(__file__).parents[2] / "rules")


def evaluated(ruleset: RuleSet, percents: Mapping[str, Value], age: Value) -> dict[str, Value]:
    """Every value that the rules come to for these improvements, all else unknown."""
    nothing: dict[str, Value] = {
        "boolean": None,
        "number": UNKNOWN,
        "event": Event(None, None, complete=False),
    }
    unknown = {declared.name: nothing[declared.kind] for declared in ruleset.needed}
    own = {f"measure.{name}.range_percent": value for name, value in percents.items()}
    return ruleset.evaluate_values({**unknown, **own, "patient.age": age}).values


PERCENT = st.sampled_from(
    [
        Decimal(edge) + beside
        for edge in ("0", "2", "5", "10", "15", "20", "25", "30", "40")
        for beside in (-LEAST, Decimal(0), LEAST)
    ]
) | st.decimals(-200, 100, places=3)


@settings(max_examples=150, deadline=None)
@given(
    percents=st.fixed_dictionaries(dict.fromkeys(TABLE, PERCENT)),
    missing=st.sets(st.sampled_from(list(TABLE))),
    age=st.sampled_from([4, 17, 18, 60]),
)
def test_the_interval_holds_the_true_score_whatever_is_missing(
    shipped: RuleSet, percents: dict[str, Decimal], missing: set[str], age: int
) -> None:
    """With nothing missing it is the score of the table; else it lies between the two bounds."""
    years = Interval(Decimal(age), Decimal(age))
    known = {n: UNKNOWN if n in missing else Interval(p, p) for n, p in percents.items()}
    values = evaluated(shipped, known, years)
    seen, category = values["response.tis.score"], values["response.tis.category"]

    assert isinstance(seen, Interval) and isinstance(category, Category)
    true_score = score(percents)
    assert seen.low <= true_score <= seen.high
    given_by_missing = sum((Decimal(TABLE[name][1][-1]) for name in missing), Decimal(0))
    assert seen.high - seen.low == given_by_missing
    thresholds = (20, 40, 60) if age >= 18 else (30, 45, 70)
    names = ("below minimal", "minimal", "moderate", "major")
    assert names[sum(true_score >= t for t in thresholds)] in category.possible
    bounds = {names[sum(end >= t for t in thresholds)] for end in (seen.low, seen.high)}
    if len(bounds) == 1:
        assert set(category.possible) == bounds


@pytest.mark.parametrize(("name", "edges"), [(name, table[0]) for name, table in TABLE.items()])
def test_every_edge_of_the_table_is_closed_on_the_right(
    shipped: RuleSet, name: str, edges: tuple[str, ...]
) -> None:
    """On each edge the points are those below it, right above it those of the next band."""
    still = {other: Interval(Decimal(0), Decimal(0)) for other in TABLE}
    for edge, beside in itertools.product(map(Decimal, edges), (-LEAST, Decimal(0), LEAST)):
        percent = edge + beside
        values = evaluated(shipped, {**still, name: Interval(percent, percent)}, UNKNOWN)
        expected = score({**dict.fromkeys(TABLE, Decimal(0)), name: percent})
        assert values["response.tis.score"] == Interval(expected, expected)


# --- in a rule set of one's own ------------------------------------------------------------------

HEAD = """\
title: Derived
version: 1.0.0
status: active
owner: rheumatology
reviewed: 2026-01-01
review_by: 2027-01-01
evidence:
  - {source: trial, supports: it, certainty: definition}
"""
COUNT = f"""\
id: how-many
{HEAD}derive: response.how_many
count: {{of: core_set, where: improvement >= 20 %, as: response.counted}}
"""
RANKS = f"""\
id: rank
{HEAD}derive: response.rank
categories:
  - {{category: high, when: response.how_many >= 2}}
  - {{category: middle, when: response.how_many >= 1}}
  - {{category: low}}
"""
OTHER = COUNT.replace("how-many", "rank").replace("how_many", "rank").replace("counted", "other")


@pytest.fixture
def own(minimal: Path) -> RuleSet:
    """The least rules, with a number that counts and a category."""
    (minimal / "criteria/how-many.yaml").write_text(COUNT, encoding="utf-8")
    (minimal / "criteria/rank.yaml").write_text(RANKS, encoding="utf-8")
    return read_ruleset(minimal)


def values_of(strength: Interval, activity: Interval) -> dict[str, Value]:
    """What the least rules ask for, with these improvements."""
    return {
        "measure.strength.improvement": strength,
        "measure.activity.improvement": activity,
        "diagnosis.myositis": True,
        "finding.lung_disease": False,
    }


GOOD = between("30", "30")
BAD = between("0", "0")


@pytest.mark.parametrize(
    ("strength", "activity", "counted", "rank"),
    [
        (GOOD, GOOD, between("2", "2"), ("high",)),
        (GOOD, BAD, between("1", "1"), ("middle",)),
        (BAD, BAD, between("0", "0"), ("low",)),
        (GOOD, UNKNOWN, between("1", "2"), ("high", "middle")),
        (UNKNOWN, BAD, between("0", "1"), ("middle", "low")),
        (UNKNOWN, UNKNOWN, between("0", "2"), ("high", "middle", "low")),
    ],
)
def test_a_count_is_an_interval_and_a_rank_all_that_it_may_be(
    own: RuleSet, strength: Interval, activity: Interval, counted: Interval, rank: tuple[str, ...]
) -> None:
    """Members that may meet the condition widen the count, and with it what the rank can be."""
    values = own.evaluate_values(values_of(strength, activity)).values
    assert values["response.how_many"] == counted
    assert values["response.rank"] == Category(rank, ("high", "middle", "low"))


def test_a_count_selects(own: RuleSet) -> None:
    """Who meets the condition of a count is named, for texts."""
    evaluation = own.evaluate_values(values_of(GOOD, UNKNOWN))
    assert evaluation.selections["response.counted"] == Selection(
        ("measure.strength",), ("measure.activity",)
    )


def test_what_is_given_stays_as_given(own: RuleSet) -> None:
    """A test may set a derived number, and what rests on it follows."""
    given_values: dict[str, Value] = {"response.how_many": between("2", "2")}
    values = own.evaluate_values({**values_of(BAD, BAD), **given_values}).values
    assert values["response.rank"] == Category(("high",), ("high", "middle", "low"))


@pytest.mark.parametrize("lie", ["rank high", "not rank high"])
def test_the_engines_are_compared_on_the_conditions_of_ranks(
    own: RuleSet, lie: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the engine answers otherwise for one rank, no answer is given at all."""
    honest = Engine.fired

    def lying(engine: Engine, attributes: Mapping[str, Attribute]) -> frozenset[str]:
        return frozenset(honest(engine, attributes)) ^ {lie}

    monkeypatch.setattr(Engine, "fired", lying)
    with pytest.raises(EnginesDisagree, match="rank"):
        own.evaluate_values(values_of(GOOD, GOOD))


def test_a_derived_number_in_a_circle_is_an_error(minimal: Path) -> None:
    """A number cannot rest on a category that rests on it."""
    circle = COUNT.replace("improvement >= 20 %", "response.rank is high")
    (minimal / "criteria/how-many.yaml").write_text(circle, encoding="utf-8")
    (minimal / "criteria/rank.yaml").write_text(RANKS, encoding="utf-8")
    with pytest.raises(FilesInvalid, match="wait for each other: how-many, rank"):
        read_ruleset(minimal)


@pytest.mark.parametrize(
    ("text", "code", "says"),
    [
        (RANKS.replace("response.how_many >= 2", "response.rank"), "wrong-kind", "is high"),
        (RANKS.replace("response.how_many >= 2", "response.how_many"), "wrong-kind", "a number"),
        (RANKS.replace("category: middle", "category: high"), "duplicate-id", "`high` stands"),
        (
            RANKS.replace("response.how_many >= 2", "response.how_many is high"),
            "wrong-kind",
            "`is` takes a category",
        ),
        (RANKS.replace("  - {category: low}\n", ""), "bad-categories", "take out its `when`"),
        (RANKS + "unit: points\n", "one-meaning", "only a derived number has a unit"),
        (RANKS + "count: {of: core_set}\n", "one-meaning", "exactly one of"),
        (HEAD + "id: rank\nderive: response.rank\n", "one-meaning", "here is none"),
        (
            OTHER.replace("core_set", "core"),
            "unknown-group",
            "core_set",
        ),
        (OTHER.replace(", as:", ", ass:"), "unknown-key", "`ass`"),
        (
            f"id: rank\n{HEAD}derive: response.rank\nsum:\n"
            "  - {of: diagnosis.myositis, bands: [{above: 1, points: 2}]}\n",
            "wrong-kind",
            "is not a number",
        ),
        (
            f"id: rank\n{HEAD}derive: response.rank\nsum:\n"
            "  - {of: measure.strength.improvement, bands: [{above: 1, points: 2}]}\n",
            "wrong-unit",
            "is in `%`",
        ),
        (
            f"id: rank\n{HEAD}derive: response.rank\nsum:\n"
            '  - {of: measure.strength.improvement, unit: "%", bands: []}\n',
            "bad-bands",
            "at least one band",
        ),
        (
            f"id: rank\n{HEAD}derive: response.rank\nsum:\n"
            '  - {of: measure.strength.improvment, unit: "%", bands: [{above: 1, points: 1}]}\n',
            "unknown-fact",
            "did you mean `measure.strength.improvement`?",
        ),
    ],
)
def test_mistakes_are_told(minimal: Path, text: str, code: str, says: str) -> None:
    """Each way of deriving a number or category wrongly has its message, and no other follows."""
    (minimal / "criteria/how-many.yaml").write_text(COUNT, encoding="utf-8")
    (minimal / "criteria/rank.yaml").write_text(text, encoding="utf-8")
    _, problems = check_ruleset(minimal)
    assert [problem.code for problem in problems] == [code]
    assert says in problems[0].message
