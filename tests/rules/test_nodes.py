from __future__ import annotations

import itertools
from collections.abc import Callable
from decimal import Decimal

import pytest

from cds.chart.facts.declaration import Event, Value
from cds.chart.quantities import INFINITY, UNKNOWN, Interval
from cds.rules.nodes import Node, Truth

MakeNode = Callable[[str], Node]
TRUTHS: tuple[Truth, ...] = (True, False, None)


def interval(low: str, high: str | None = None) -> Interval:
    """An interval, or a known number."""
    return Interval(Decimal(low), Decimal(low if high is None else high))


def days(n: int | None) -> Decimal | None:
    """So many days."""
    return None if n is None else Decimal(n)


@pytest.mark.parametrize(
    ("lung", "heart", "all_", "any_"),
    [
        (True, True, True, True),
        (True, False, False, True),
        (True, None, None, True),
        (False, True, False, True),
        (False, False, False, False),
        (False, None, False, None),
        (None, True, None, True),
        (None, False, False, None),
        (None, None, None, None),
    ],
)
def test_all_and_any_follow_kleene(
    node: MakeNode, lung: Truth, heart: Truth, all_: Truth, any_: Truth
) -> None:
    """``all`` and ``any`` are unknown only where the unknown part could still decide them."""
    values: dict[str, Value] = {"finding.lung": lung, "finding.heart": heart}
    assert node("{all: [finding.lung, finding.heart]}").test(values) is all_
    assert node("{any: [finding.lung, finding.heart]}").test(values) is any_


@pytest.mark.parametrize(
    ("truth", "not_", "unknown"), [(True, False, False), (False, True, False), (None, None, True)]
)
def test_not_and_unknown(node: MakeNode, truth: Truth, not_: Truth, unknown: bool) -> None:
    """The opposite of unknown is unknown, and ``unknown`` itself is never unknown."""
    values: dict[str, Value] = {"finding.lung": truth}
    assert node("finding.lung").test(values) is truth
    assert node("{not: finding.lung}").test(values) is not_
    assert node("{unknown: finding.lung}").test(values) is unknown
    assert node("{not: {unknown: finding.lung}}").test(values) is (not unknown)


@pytest.mark.parametrize("n", [0, 1, 2, 3])
@pytest.mark.parametrize("truths", list(itertools.product(TRUTHS, repeat=3)))
def test_counts_are_what_every_completion_says(
    node: MakeNode, truths: tuple[Truth, ...], n: int
) -> None:
    """A count is true or false where it is so whatever the unknown members turn out to be."""
    values = {f"measure.{m}.current": t for m, t in zip("abc", truths, strict=True)}
    hits = [
        sum(completion)
        for completion in itertools.product(*((True, False) if t is None else (t,) for t in truths))
    ]
    for how, answers in {
        "at_least": {h >= n for h in hits},
        "at_most": {h <= n for h in hits},
        "exactly": {h == n for h in hits},
    }.items():
        expected = answers.pop() if len(answers) == 1 else None
        count = node(f"{{{how}: {n}, of: measures, where: current}}")
        assert count.test(dict(values)) is expected, how
        assert count.tally is not None
        assert count.tally(dict(values)) == (min(hits), max(hits))


@pytest.mark.parametrize(
    ("value", "truths"),
    [  # in the order  >=     >      <=     <      ==     !=
        (interval("19.999"), (False, False, True, True, False, True)),
        (interval("20"), (True, False, True, False, True, False)),
        (interval("20.0"), (True, False, True, False, True, False)),
        (interval("20.001"), (True, True, False, False, False, True)),
        (interval("19.9999999999999999999999"), (False, False, True, True, False, True)),
        (interval("20.0000000000000000000001"), (True, True, False, False, False, True)),
        (interval("10", "19"), (False, False, True, True, False, True)),
        (interval("10", "20"), (None, False, True, None, None, None)),
        (interval("10", "30"), (None, None, None, None, None, None)),
        (interval("20", "30"), (True, None, None, False, None, None)),
        (interval("21", "30"), (True, True, False, False, False, True)),
        (UNKNOWN, (None, None, None, None, None, None)),
        (Interval(Decimal(21), INFINITY), (True, True, False, False, False, True)),
        (Interval(Decimal(20), INFINITY), (True, None, None, False, None, None)),
        (Interval(-INFINITY, Decimal(19)), (False, False, True, True, False, True)),
        (Interval(-INFINITY, Decimal(20)), (None, False, True, None, None, None)),
        (Interval(INFINITY, INFINITY), (True, True, False, False, False, True)),
        (Interval(-INFINITY, -INFINITY), (False, False, True, True, False, True)),
    ],
)
def test_comparisons_below_at_and_above(
    node: MakeNode, value: Interval, truths: tuple[Truth, ...]
) -> None:
    """A comparison holds where it holds for every number of the interval, exactly."""
    for op, truth in zip((">=", ">", "<=", "<", "==", "!="), truths, strict=True):
        comparison = node(f"measure.a.improvement {op} 20 %")
        assert comparison.test({"measure.a.improvement": value}) is truth, op


@pytest.mark.parametrize(
    ("surely", "possibly", "complete", "truth"),
    [
        (13, 13, True, True),
        (14, 14, True, True),
        (15, 15, True, False),
        (0, 0, False, True),
        (15, 14, True, None),  # its date is partial: 14 days ago, or 15
        (15, 15, False, None),  # more may be recorded elsewhere
        (None, None, True, False),
        (None, None, False, None),
        (None, 14, True, None),  # something uncertain may have been one
        (None, 15, True, False),
        (None, 15, False, None),
        (20, 3, True, None),
        (3, 0, False, True),
    ],
)
def test_within(
    node: MakeNode, surely: int | None, possibly: int | None, complete: bool, truth: Truth
) -> None:
    """``within`` counts its last day; what may have happened, or lacks, leaves it unknown."""
    event = Event(days(surely), days(possibly), complete)
    assert node("drug.pulse within 14 d").test({"drug.pulse": event}) is truth


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("finding.lung", UNKNOWN),
        ("measure.a.improvement > 20 %", None),
        ("drug.pulse within 14 d", True),
    ],
)
def test_values_of_the_wrong_kind_are_faults(node: MakeNode, text: str, value: Value) -> None:
    """A value of the wrong kind is never taken for unknown."""
    made = node(text)
    assert made.fact is not None
    with pytest.raises(TypeError, match=made.fact):
        made.test({made.fact: value})


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("finding.lung", "<finding.lung>"),
        ("observation.spo2.latest < 92 %", "<observation.spo2.latest> < 92\u202f%"),
        ("measure.a.improvement >= parameters.least", "<measure.a.improvement> ≥ 20\u202f%"),
        ("drug.pulse within 2 wk", "<drug.pulse> within 14 days"),
        ("{not: finding.lung}", "not: <finding.lung>"),
        ("{unknown: finding.lung}", "not known: <finding.lung>"),
        ("{all: [finding.lung]}", "all of"),
        ("{any: [finding.lung]}", "at least one of"),
        (
            "{at_least: 2, of: measures, where: improvement >= 20 %}",
            "at least 2 of 3: improvement ≥ 20\u202f%",
        ),
        (
            "{at_most: 1, of: measures, where: {not: improvement >= 20 %}}",
            "at most 1 of 3: not: improvement ≥ 20\u202f%",
        ),
        ("{exactly: 1, of: complications, where: it}", "exactly 1 of 2: complications"),
    ],
)
def test_says_itself_in_words(node: MakeNode, text: str, says: str) -> None:
    """A condition says in words what it asks."""
    assert node(text).says == says


def test_names_members_beside_parts(node: MakeNode) -> None:
    """The members of a count stand in the order of its parts."""
    count = node("{at_least: 1, of: measures, where: current}")
    assert count.members == ("measure.a", "measure.b", "measure.c")
    assert [p.fact for p in count.parts] == [f"{m}.current" for m in count.members]
