from decimal import Decimal

import pytest

from cds.chart.facts.catalogue import groups
from cds.chart.facts.declaration import Event
from cds.chart.facts.measures import level_of
from cds.chart.quantities import INFINITY, UNKNOWN, Interval
from tests.chart.conftest import (
    AS_OF,
    FACTS,
    PATIENT,
    TERMS,
    ago,
    chart_of,
    ck,
    deliver,
    exactly,
    fact,
    mmt150,
    observation,
    patient_global,
    physician,
    read,
)
from tests.chart.facts.conftest import event, evidence


def test_when_something_was_last_measured() -> None:
    """The latest of several counts."""
    assert fact(read(ck(500, ago(30)), ck(400, ago(9))), "observation.ck") == event(9, 9)


@pytest.mark.parametrize(
    ("baseline", "current", "percent"),
    [(4, 5, exactly(25)), (0, 0, exactly(0)), (0, 1, UNKNOWN), (4, 3, exactly(-25))],
)
def test_of_a_rise_from_0_no_percentage_is_defined(
    baseline: int, current: int, percent: Interval
) -> None:
    """It counts as worsened in the definition of improvement alone."""
    chart = read(physician(baseline, ago(100)), physician(current, ago(0)))
    assert fact(chart, "measure.physician_global.relative_worsening") == percent


def test_a_measure_in_three_numbers() -> None:
    """Relative improvement, its opposite, and the change in percent of the range."""
    chart = read(physician(8, ago(100)), physician(6))
    assert fact(chart, "measure.physician_global.improvement") == exactly(25)
    assert fact(chart, "measure.physician_global.worsening") == exactly(-25)
    assert fact(chart, "measure.physician_global.range_percent") == exactly(20)
    assert fact(chart, "measure.patient_global.improvement") == UNKNOWN
    assert fact(chart, "measure.patient_global.range_percent") == UNKNOWN


def test_a_measure_missing_at_the_current_visit() -> None:
    """Taken at baseline only, it is not among what was measured now."""
    chart = read(physician(8, ago(100)), patient_global(5, ago(100)), physician(6))
    assert fact(chart, "measure.physician_global.current") is True
    assert fact(chart, "measure.patient_global.current") is False


def test_evidence_of_a_measure_is_both_values() -> None:
    """Baseline and current value, each with its reference and day, and as it was recorded."""
    chart = read(physician(80, ago(100), unit="mm", id="a"), physician(6, id="b"))
    title = "Physician global activity, VAS 0–10 cm"
    assert evidence(chart, "measure.physician_global.improvement") == [
        ("Observation/a", ago(100), f"{title} 8 cm (80 mm as recorded)"),
        ("Observation/b", ago(0), f"{title} 6 cm"),
    ]


def test_worse_by_is_a_fact_where_a_measure_has_one_unit() -> None:
    """In cm of the scale; muscle tests and enzymes have no unit in common."""
    assert FACTS["measure.extramuscular.worse_by"].unit == "cm"
    assert "measure.muscle_strength.worse_by" not in FACTS
    assert "measure.muscle_enzyme.worse_by" not in FACTS


def test_when_a_measure_was_last_taken_by_any_instrument() -> None:
    """The latest of all its instruments; a day that is long past is no visit."""
    chart = read(ck(200, ago(40)), observation("loinc|2532-0", 300, "U/L", ago(9)))
    assert fact(chart, "measure.muscle_enzyme.last") == Event(Decimal(9), Decimal(9), True)
    (cited,) = FACTS["measure.muscle_enzyme.last"].evidence(chart)
    assert cited.date == ago(9)


def test_a_measure_that_was_never_taken() -> None:
    """Never, where everything was delivered."""
    assert fact(read(), "measure.extramuscular.last") == Event(None, None, True)
    assert FACTS["measure.extramuscular.last"].evidence(read()) == ()


def test_a_juvenile_score_is_no_measure_of_an_adult() -> None:
    """DAS counts as the measure in a child, and where the age is not known it does not."""
    das = observation("core_set|das", 8, None, ago(3))
    child = {"resourceType": "Patient", "id": PATIENT, "birthDate": "2015-03-01"}
    taken = Event(Decimal(3), Decimal(3), True)
    assert fact(read(child, das), "measure.extramuscular.last") == taken
    assert fact(read(das), "measure.extramuscular.last") == Event(None, None, True)


def test_measures_beside_the_core_set_are_of_no_group_that_counts() -> None:
    """They have facts, so that a rule may show them, and are not counted."""
    assert "measure.skin_activity.improvement" in FACTS
    assert "measure.skin_activity" not in groups(TERMS.vocabulary)["core_set"]
    assert "measure.skin_activity.previous.improvement" not in FACTS


def test_every_level_of_a_measure_is_a_fact_of_its_own() -> None:
    """So many days, about which the level says what counts; other facts are of no level."""
    for name, measure in TERMS.vocabulary.measures.items():
        for key, level in measure.levels.items():
            declared = FACTS[f"measure.{name}.days_{key}"]
            assert (declared.kind, declared.unit) == ("number", "d")
            assert level_of(declared.name, TERMS.vocabulary) is level
    for other in ("measure.muscle_enzyme.improvement", "dose.glucocorticoid.days_above_15_mg"):
        assert level_of(other, TERMS.vocabulary) is None


def test_a_change_says_whether_more_is_better() -> None:
    """Improvement and worsening are one change with two signs; other numbers have none."""
    assert FACTS["measure.muscle_strength.improvement"].sense == "better"
    assert FACTS["measure.muscle_strength.range_percent"].sense == "better"
    assert FACTS["measure.muscle_strength.previous.worsening"].sense == "worse"
    assert FACTS["measure.physician_global.worse_by"].sense is None
    assert FACTS["observation.spo2.latest"].sense is None


LATELY = "measure.muscle_strength.worse_lately"


@pytest.mark.parametrize(
    ("values", "percent"),
    [
        ([(150, 180), (140, 90), (120, 5)], exactly(20)),
        ([(150, 184), (140, 90), (126, 5)], exactly(10)),
        ([(120, 90), (140, 5)], exactly(0)),
        ([(140, 5)], UNKNOWN),
        ([(150, 200), (140, 184)], UNKNOWN),
        ([(0, 90), (0, 5)], UNKNOWN),
    ],
)
def test_how_much_worse_than_its_best_of_some_time_a_measure_is(
    values: list[tuple[int, int]], percent: Interval
) -> None:
    """In percent of the best value of these days; one value alone, or a best of 0, says nothing."""
    chart = read(*(mmt150(value, ago(days)) for value, days in values))
    assert fact(chart, LATELY) == percent


def test_each_instrument_is_compared_with_itself() -> None:
    """The greatest worsening counts, and the best and the last value of each are its evidence."""
    one_side = [observation("core_set|mmt8-80", n, None, ago(d)) for n, d in ((80, 90), (60, 9))]
    chart = read(mmt150(150, ago(90)), mmt150(135, ago(9)), *one_side)
    assert fact(chart, LATELY) == exactly(25)
    assert [day for _, day, _ in evidence(chart, LATELY)] == [ago(90), ago(9)] * 2


def test_a_worsening_may_be_greater_where_not_everything_was_read() -> None:
    """It is at least that of the values that were."""
    chart = chart_of(
        deliver(mmt150(150, ago(90)), mmt150(120, ago(9)), delivered={"Condition"}), AS_OF
    )
    assert fact(chart, LATELY) == Interval(Decimal(20), INFINITY)
