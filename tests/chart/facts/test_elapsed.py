from decimal import Decimal

import pytest

from cds.chart.quantities import INFINITY, UNKNOWN, Interval
from tests.chart.conftest import (
    Json,
    ago,
    between,
    condition,
    exactly,
    fact,
    order,
    physician,
    pulse,
    read,
)
from tests.chart.facts.conftest import METHOTREXATE, MYOCARDITIS, PREDNISONE, evidence, fvc


@pytest.mark.parametrize(
    ("resources", "days"),
    [
        ([condition(MYOCARDITIS, onsetDateTime=ago(50)), pulse(1000, ago(40))], exactly(-10)),
        ([condition(MYOCARDITIS, onsetDateTime=ago(30)), pulse(1000, ago(40))], exactly(10)),
        ([condition(MYOCARDITIS, onsetDateTime="2026-10"), pulse(1000, ago(40))], between(-6, 24)),
        (
            [
                condition(MYOCARDITIS, onsetDateTime=ago(50)),
                condition(MYOCARDITIS, onsetDateTime=ago(3)),
                pulse(1000, ago(40)),
            ],
            exactly(37),
        ),
        ([condition(MYOCARDITIS), pulse(1000, ago(40))], UNKNOWN),  # without a date
        ([condition(MYOCARDITIS, onsetDateTime=ago(30))], UNKNOWN),  # never pulsed
        (
            [
                condition(MYOCARDITIS, onsetDateTime=ago(30)),
                pulse(1000, ago(40)),
                pulse(None, ago(5)),
            ],
            between(-25, 10),
        ),
    ],
)
def test_the_days_from_one_thing_to_another(resources: list[Json], days: Interval) -> None:
    """Below 0 where the second came first; from a date that is not exact, all that it may be."""
    assert fact(read(*resources), "elapsed.pulse_to_myocarditis") == days


def test_of_several_the_earliest_begins_what_elapsed() -> None:
    """Treatment began with the first of its drugs; what is not given says nothing of that."""
    resources = [fvc(80, 10), order(PREDNISONE, ago(100))]
    name = "elapsed.treatment_to_fvc"
    assert fact(read(*resources), name) == Interval(Decimal(90), INFINITY)
    both = read(*resources, order(METHOTREXATE, ago(30)))
    assert fact(both, name) == exactly(90)


@pytest.mark.parametrize(
    ("onset", "end", "days"),
    [
        (ago(15), ago(400), exactly(385)),
        (ago(500), ago(400), exactly(-100)),
        (
            None,
            ago(400),
            Interval(-INFINITY, Decimal(385)),
        ),  # it began when, or before, it was recorded
    ],
)
def test_how_long_before_the_myositis_a_glucocorticoid_ended(
    onset: str | None, end: str, days: Interval
) -> None:
    """From the last day on which one was current to the onset, below 0 where it went on after."""
    began = {"recordedDate": ago(15)} if onset is None else {"onsetDateTime": onset}
    course = order(
        PREDNISONE,
        ago(450),
        "completed",
        dosageInstruction=[
            {"timing": {"repeat": {"boundsPeriod": {"start": ago(450), "end": end}}}}
        ],
    )
    chart = read(condition("snomed|396230008", **began), course)
    assert fact(chart, "elapsed.glucocorticoid_to_onset") == days


def test_how_long_before_the_treatment_the_baseline_lies() -> None:
    """From the baseline to the first day of the current line, whatever is current."""
    chart = read(physician(5, ago(500)), order(PREDNISONE, ago(100)), physician(4, ago(0)))
    assert fact(chart, "elapsed.baseline_to_treatment") == exactly(400)


def test_what_elapsed_is_between_is_its_evidence() -> None:
    """Both ends are cited."""
    chart = read(
        condition(MYOCARDITIS, onsetDateTime=ago(30), id="c"), pulse(1000, ago(40), id="p")
    )
    cited = [reference for reference, _, _ in evidence(chart, "elapsed.pulse_to_myocarditis")]
    assert cited == ["MedicationAdministration/p", "Condition/c"]
