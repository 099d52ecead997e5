"""For how long a measure has been held at a level."""

from decimal import Decimal
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cds.chart.held import days_held, instruments_of, is_at, values_behind
from cds.chart.quantities import INFINITY, UNKNOWN, Interval
from cds.chart.vocabulary import MeasureLevel, Number
from tests.chart.conftest import (
    AS_OF,
    FACTS,
    TERMS,
    Json,
    ago,
    between,
    chart_of,
    ck,
    condition,
    deliver,
    fact,
    haq,
    ldh,
    mmt150,
    observation,
    physician,
    quantity,
    read,
    series,
)

PHYSICIAN = "measure.physician_global.days_inactive"
EXTRAMUSCULAR = "measure.extramuscular.days_inactive"
ENZYME = "measure.muscle_enzyme.days_inactive"
WINDOW, GAP = 14, 120
CHILD: Json = {"resourceType": "Patient", "id": "p1", "birthDate": "2016-01-01"}


def at_least(days: int) -> Interval:
    """Return a time of which only the least is known."""
    return Interval(Decimal(days), INFINITY)


def test_it_is_held_from_the_first_of_the_assessments_that_follow_each_other() -> None:
    """From the first visit without activity up to today, and perhaps for longer."""
    chart = read(*(physician(0, ago(days)) for days in (0, 100, 200, 300)))
    assert fact(chart, PHYSICIAN) == at_least(300)


def test_a_value_above_the_level_ends_it() -> None:
    """It may have been held since the day after, and surely since the next visit."""
    chart = read(physician("0.1", ago(250)), *(physician(0, ago(days)) for days in (0, 100, 200)))
    assert fact(chart, PHYSICIAN) == between(200, 249)


def test_activity_today_leaves_nothing() -> None:
    """However long it was held before."""
    chart = read(physician("0.1", ago(0)), *(physician(0, ago(days)) for days in (100, 200)))
    assert fact(chart, PHYSICIAN) == between(0, 0)


def test_activity_between_visits_counts() -> None:
    """An enzyme above its upper limit on a day of its own ends it."""
    visits = [
        each for days in (0, 100, 200) for each in (physician(0, ago(days)), ck(150, ago(days)))
    ]
    assert fact(read(*visits), ENZYME) == at_least(200)
    assert fact(read(*visits, ck(201, ago(50))), ENZYME) == between(0, 49)


@pytest.mark.parametrize(("days", "held"), [(WINDOW, at_least(110)), (WINDOW + 1, UNKNOWN)])
def test_the_last_assessment_must_be_one_of_today(days: int, held: Interval) -> None:
    """What was found longer ago than the window of an assessment says nothing of today."""
    chart = read(physician(0, ago(days)), physician(0, ago(110)))
    assert fact(chart, PHYSICIAN) == held


@pytest.mark.parametrize(("gap", "held"), [(GAP, at_least(GAP)), (GAP + 1, at_least(0))])
def test_a_gap_that_is_too_long_is_not_covered(gap: int, held: Interval) -> None:
    """Nobody looked for longer than the vocabulary allows: what was before is not counted."""
    assert fact(read(physician(0, ago(0)), physician(0, ago(gap))), PHYSICIAN) == held


def test_a_visit_without_the_measure_leaves_the_time_before_unknown() -> None:
    """Only strength was taken at one of the visits."""
    visits = [physician(0, ago(days)) for days in (0, 60, 180)]
    assert fact(read(*visits, mmt150(140, ago(60))), PHYSICIAN) == at_least(180)
    assert fact(read(*visits, mmt150(140, ago(120))), PHYSICIAN) == at_least(60)


@pytest.mark.parametrize(("days", "held"), [(WINDOW, at_least(60)), (WINDOW + 1, at_least(0))])
def test_what_was_taken_near_a_visit_belongs_to_it(days: int, held: Interval) -> None:
    """An enzyme within the window of the assessment, and no other."""
    near = ck(150, ago(60 + days))
    chart = read(physician(0, ago(0)), ck(150, ago(0)), mmt150(140, ago(60)), near)
    assert fact(chart, ENZYME) == held


def test_a_value_that_cannot_be_used_leaves_it_unknown() -> None:
    """It was measured and might be high; entered again on the same day it is known."""
    visits = [each for days in (0, 100) for each in (physician(0, ago(days)), ck(150, ago(days)))]
    unread = observation("loinc|2157-6", on=ago(50), valueString="see comment")
    assert fact(read(*visits, unread), ENZYME) == at_least(0)
    assert fact(read(*visits, unread, ck(150, ago(50))), ENZYME) == at_least(100)


def test_the_last_value_of_a_day_counts() -> None:
    """A corrected value replaces the one that was issued before it on that day."""
    day = ago(0)
    wrong = physician(4, day, issued=f"{day}T08:00:00Z")
    right = physician(0, day, issued=f"{day}T09:00:00Z")
    assert fact(read(wrong, right, physician(0, ago(60))), PHYSICIAN) == at_least(60)


def test_an_enzyme_without_an_upper_limit_leaves_it_unknown() -> None:
    """It may be above it, also where another enzyme is normal."""
    visits = [each for days in (0, 100) for each in (physician(0, ago(days)), ck(150, ago(days)))]
    assert fact(read(*visits, ldh(300, ago(100), limit=None)), ENZYME) == at_least(0)
    assert fact(read(*visits, ldh(249, ago(100))), ENZYME) == at_least(100)


@pytest.mark.parametrize(("value", "held"), [(200, at_least(100)), ("200.1", between(0, 0))])
def test_an_enzyme_at_its_upper_limit_is_not_above_it(value: object, held: Interval) -> None:
    """The limit itself is normal."""
    chart = read(physician(0, ago(0)), physician(0, ago(100)), ck(value, ago(0)), ck(150, ago(100)))
    assert fact(chart, ENZYME) == held


def test_the_enzyme_that_is_compared_is_needed_at_each_visit() -> None:
    """If it was raised at baseline: another that was not does not show that all is quiet."""
    visits = [physician(0, ago(days)) for days in (0, 100, 200)]
    raised = [physician(5, ago(700)), ck(4000, ago(700)), ldh(200, ago(700))]
    later = [ck(150, ago(0)), ck(150, ago(100)), *(ldh(200, ago(days)) for days in (0, 100, 200))]
    assert fact(read(*raised, *visits, *later), ENZYME) == between(100, 699)
    assert fact(read(*raised, *visits, *later, ck(150, ago(200))), ENZYME) == between(200, 699)
    normal = [physician(0, ago(300)), ck(150, ago(300)), ldh(100, ago(300))]
    assert fact(read(*normal, *visits, *later), ENZYME) == at_least(300)


def test_what_stands_for_a_measure_in_a_child_counts_in_a_child_only() -> None:
    """DAS shows activity outside the muscles in a child; in an adult it says nothing."""
    das = [observation("core_set|das", 0, None, ago(days)) for days in (0, 100)]
    visits = [physician(0, ago(days)) for days in (0, 100)]
    assert fact(read(CHILD, *visits, *das), EXTRAMUSCULAR) == at_least(100)
    assert fact(read(CHILD | {"birthDate": "1980-01-01"}, *visits, *das), EXTRAMUSCULAR) == UNKNOWN
    raised = observation("core_set|das", 1, None, ago(50))
    assert fact(read(CHILD, *visits, *das, raised), EXTRAMUSCULAR) == between(0, 49)


def test_a_score_of_health_is_no_enzyme() -> None:
    """CHQ-PhS, which stands for the enzyme in a child, has no upper limit to be compared with."""
    scores = [observation("core_set|chq-phs", 55, None, ago(days)) for days in (0, 100)]
    chart = read(CHILD, *(physician(0, ago(days)) for days in (0, 100)), *scores)
    assert chart.changes["muscle_enzyme"].instrument == "chq_phs"
    assert fact(chart, ENZYME) == UNKNOWN


LAST_PHYSICIAN = "measure.physician_global.last_inactive"
LAST_ENZYME = "measure.muscle_enzyme.last_inactive"


def test_the_last_value_says_whether_it_is_at_the_level_now() -> None:
    """However long it was held before, and whenever it was taken."""
    assert fact(read(physician(0, ago(60)), physician("0.1", ago(6))), LAST_PHYSICIAN) is False
    assert fact(read(physician(4, ago(60)), physician(0, ago(6))), LAST_PHYSICIAN) is True
    assert fact(read(), LAST_PHYSICIAN) is None


def test_everything_that_was_last_measured_must_be_at_the_level() -> None:
    """A second enzyme of the same day counts, and an older one does not."""
    visit = [physician(0, ago(3)), ck(150, ago(3))]
    assert fact(read(*visit, ldh(251, ago(3))), LAST_ENZYME) is False
    assert fact(read(*visit, ldh(249, ago(3))), LAST_ENZYME) is True
    assert fact(read(*visit, ldh(300, ago(100))), LAST_ENZYME) is True
    assert fact(read(*visit, ldh(300, ago(3), limit=None)), LAST_ENZYME) is None


def test_a_later_value_that_cannot_be_used_leaves_the_level_open() -> None:
    """What was measured last is not known then, and neither where not all was delivered."""
    unread = observation("loinc|2157-6", on=ago(1), valueString="see comment")
    assert fact(read(ck(150, ago(3)), unread), LAST_ENZYME) is None
    assert fact(read(ck(150, ago(3))), LAST_ENZYME) is True


def test_where_observations_lack_nothing_is_surely_held() -> None:
    """What was not delivered may show activity; what was shows it for certain."""
    visits = [physician(0, ago(0)), physician(0, ago(100)), physician(1, ago(150))]
    chart = chart_of(deliver(condition("snomed|396230008"), *visits, delivered=["Condition"]))
    assert fact(chart, PHYSICIAN) == between(0, 149)


def test_nothing_recorded_is_not_known() -> None:
    """Neither activity nor its absence."""
    assert fact(read(), PHYSICIAN) == UNKNOWN
    assert fact(read(mmt150(140)), PHYSICIAN) == UNKNOWN


def test_where_lower_is_worse_a_level_is_a_least_value() -> None:
    """Strength held at 145 or more; an instrument that is not named does not count."""
    level = MeasureLevel(
        title="strong", no_worse_than={"mmt8_150": Number(value=Decimal(145), unit="{score}")}
    )
    chart = read(mmt150(145, ago(0)), mmt150(150, ago(100)), mmt150(144, ago(200)))
    assert days_held("muscle_strength", level, chart) == between(100, 199)
    assert instruments_of("muscle_strength", level, chart) == ("mmt8_150",)
    assert [is_at(level, m, TERMS) for m in series(chart, "mmt8_150")] == [False, True, True]


def test_it_rests_on_every_value_the_latest_first() -> None:
    """Of the instruments that count, the last of each day."""
    chart = read(ck(150, ago(10)), ldh(240, ago(20)), ck(160, ago(30)), haq(1))
    level = TERMS.vocabulary.measures["muscle_enzyme"].levels["inactive"]
    found = values_behind("muscle_enzyme", level, chart)
    assert [(m.entry, (AS_OF - m.day).days) for m in found] == [("ck", 10), ("ldh", 20), ("ck", 30)]
    first, *_ = FACTS[ENZYME].evidence(chart)
    assert first.text == "CK 150 U/L (upper limit 200, reference range)"


Visit = tuple[int, str]
visits = st.lists(
    st.tuples(st.integers(0, 400), st.sampled_from(["none", "some", "missing", "unread"])),
    max_size=9,
    unique_by=lambda visit: visit[0],
)


def resource(visit: Visit) -> list[Json]:
    """Return what was recorded at a visit: activity, none, another measure, an unreadable value."""
    days, found = visit
    other = mmt150(140, ago(days))
    if found == "missing":
        return [other]
    if found == "unread":
        unread = observation("core_set|physician-global", on=ago(days))
        return [other, unread | {"valueQuantity": quantity(0, "furlong")}]
    return [other, physician(0 if found == "none" else 3, ago(days))]


@given(visits)
@settings(max_examples=200, deadline=None)
def test_what_is_surely_held_was_seen_at_every_visit_of_the_time(drawn: list[Visit]) -> None:
    """No activity, nothing missing and no long gap in it, and the bounds are in order."""
    held = fact(read(*(each for visit in drawn for each in resource(visit))), PHYSICIAN)
    assert isinstance(held, Interval)
    assert held.low <= held.high
    ended = [days for days, found in drawn if found == "some"]
    assert held.high == (INFINITY if not ended else max(min(ended) - 1, 0))
    if held.low <= 0:
        return
    covered = sorted((days, found) for days, found in drawn if days <= held.low)
    seen = [days for days, found in drawn if found == "none"]
    assert {found for _, found in covered} <= {"none", "missing"}
    for days, _ in covered:  # where it is missing, a visit within the window has it
        assert any(abs(days - other) <= WINDOW for other in seen)
    ends = [0, *(days for days, _ in covered)]
    assert ends[-1] == held.low
    assert ends[1] <= WINDOW
    assert all(b - a <= GAP for a, b in pairwise(ends[1:]))


@given(visits, st.integers(1, 400))
@settings(max_examples=100, deadline=None)
def test_a_visit_where_it_is_not_known_never_makes_it_longer(drawn: list[Visit], days: int) -> None:
    """An unknown visit can only take away from what is sure."""
    if any(abs(days - other) <= WINDOW for other, _ in drawn):
        return
    without = [each for visit in drawn for each in resource(visit)]
    for found in ("missing", "unread"):
        more = fact(read(*without, *resource((days, found))), PHYSICIAN)
        less = fact(read(*without), PHYSICIAN)
        assert isinstance(more, Interval)
        assert isinstance(less, Interval)
        assert more.low <= less.low
        assert more.low < days  # such a visit is never within what is sure


def test_the_window_and_the_gap_are_those_of_the_vocabulary() -> None:
    """The numbers of these tests are the ones that are used."""
    numbers = TERMS.vocabulary.assessments
    assert numbers is not None
    assert numbers.held_gap is not None
    assert (numbers.window.value, numbers.held_gap.value) == (WINDOW, GAP)
