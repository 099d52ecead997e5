from decimal import Decimal

import pytest

from cds.chart.facts.declaration import Event
from cds.chart.quantities import UNKNOWN, Interval
from tests.chart.conftest import (
    FACTS,
    PATIENT,
    ago,
    between,
    concept,
    exactly,
    fact,
    order,
    physician,
    read,
)
from tests.chart.facts.conftest import PREDNISONE, Damage, damaged, event, every_damage


def test_when_the_assessments_were() -> None:
    """Days since baseline and current assessment, and between them."""
    chart = read(physician(5, ago(100)), physician(4, ago(9)))
    assert fact(chart, "assessment.baseline") == event(100, 100)
    assert fact(chart, "assessment.current") == event(9, 9)
    assert fact(chart, "assessment.days_between") == exactly(91)
    assert fact(read(), "assessment.days_between") == UNKNOWN


@pytest.mark.parametrize(
    ("baseline", "current", "days", "before"),
    [
        (100, 0, exactly(100), True),
        (100, 40, between(60, 100), True),  # assessed 60 days after the start
        (93, 0, exactly(100), True),  # within the grace of 7 days after it
        (92, 0, between(0, 100), False),
    ],
)
def test_for_how_long_on_treatment_the_response_is_known(
    baseline: int, current: int, days: Interval, before: bool
) -> None:
    """From the start to the current assessment, and only where the baseline precedes the start."""
    chart = read(
        physician(5, ago(baseline)), physician(4, ago(current)), order(PREDNISONE, ago(100))
    )
    assert fact(chart, "treatment.days_judged") == days
    assert fact(chart, "assessment.baseline_before_line") is before


def test_without_treatment_no_response_is_judged() -> None:
    """Then there is no start to count from."""
    chart = read(physician(5, ago(100)), physician(4, ago(0)))
    assert fact(chart, "treatment.days_judged") == UNKNOWN
    assert fact(chart, "assessment.baseline_before_line") is None


@pytest.mark.parametrize(
    ("born", "years"),
    [("1970-05-01", exactly(56)), ("1970", between(55, 56)), (None, UNKNOWN), ("?", UNKNOWN)],
)
def test_age_in_years(born: str | None, years: Interval) -> None:
    """An interval where only the year of birth is known, unknown without a birth date."""
    patient = {"resourceType": "Patient", "id": PATIENT} | ({"birthDate": born} if born else {})
    assert fact(read(patient), "patient.age") == years


def test_days_on_the_current_line() -> None:
    """Since the latest start of a current class that opens a line; unknown without one."""
    chart = read(order(PREDNISONE, ago(200)), order(concept("rxnorm|6851"), ago(90)))
    assert fact(chart, "treatment.line_days") == exactly(90)
    assert fact(read(), "treatment.line_days") == UNKNOWN


def test_the_previous_visit_has_facts_of_its_own() -> None:
    """4, 6 and 7 cm: 50 % and 2 cm worse than baseline at the visit before."""
    chart = read(physician(4, ago(180)), physician(6, ago(60)), physician(7, ago(0)))
    assert fact(chart, "assessment.has_previous") is True
    assert fact(chart, "assessment.previous") == Event(Decimal(60), Decimal(60), True)
    assert fact(chart, "measure.physician_global.previous.worsening") == exactly(50)
    assert fact(chart, "measure.physician_global.previous.worse_by") == exactly(2)
    assert fact(chart, "measure.physician_global.worse_by") == exactly(3)
    cited = FACTS["measure.physician_global.previous.worsening"].evidence(chart)
    assert [e.date for e in cited] == [ago(180), ago(60)]


def test_how_much_worse_it_is_than_at_the_previous_visit_is_a_fact() -> None:
    """8, 4 and 7 cm: better than baseline, and 75 % and 3 cm worse than at the visit before."""
    chart = read(physician(8, ago(180)), physician(4, ago(60)), physician(7, ago(0)))
    assert fact(chart, "measure.physician_global.since_previous.relative_worsening") == exactly(75)
    assert fact(chart, "measure.physician_global.since_previous.worse_by") == exactly(3)
    cited = FACTS["measure.physician_global.since_previous.worse_by"].evidence(chart)
    assert [e.date for e in cited] == [ago(60), ago(0)]
    assert "measure.physician_global.since_previous.improvement" not in FACTS
    assert "measure.skin_activity.since_previous.relative_worsening" not in FACTS


def test_without_a_previous_visit_its_facts_are_unknown() -> None:
    """That there is none is known, where everything was delivered."""
    chart = read(physician(4, ago(180)), physician(7, ago(0)))
    assert fact(chart, "assessment.has_previous") is False
    assert fact(chart, "measure.physician_global.previous.worsening") == UNKNOWN
    assert FACTS["measure.physician_global.previous.worsening"].evidence(chart) == ()
    assert fact(chart, "measure.physician_global.since_previous.worse_by") == UNKNOWN


@every_damage
def test_there_may_be_a_visit_that_was_not_delivered(damage: Damage) -> None:
    """Then nobody can say that there is none."""
    chart = damaged(damage, "Observation", physician(4, ago(180)), physician(7, ago(0)))
    assert fact(chart, "assessment.has_previous") is None


@pytest.mark.parametrize(
    ("gender", "male"), [("male", True), ("female", False), ("other", None), (None, None)]
)
def test_the_administrative_gender_is_male_or_not_or_not_known(
    gender: str | None, male: bool | None
) -> None:
    """Only what FHIR calls male or female says it."""
    patient = {"resourceType": "Patient", "id": PATIENT}
    if gender:
        patient["gender"] = gender
    assert fact(read(patient), "patient.male") is male
