from datetime import date
from decimal import Decimal

import pytest

from cds.chart.quantities import INFINITY, UNKNOWN, Interval
from tests.chart.conftest import (
    AS_OF,
    PATIENT,
    ago,
    between,
    condition,
    exactly,
    fact,
    read,
)
from tests.chart.facts.conftest import MYOCARDITIS, evidence


def test_the_latest_date_of_a_finding() -> None:
    """Of several entries the one that began or was recorded last."""
    chart = read(
        condition(MYOCARDITIS, onsetDateTime=ago(50)), condition(MYOCARDITIS, recordedDate=ago(7))
    )
    assert fact(chart, "finding.myocarditis.days") == exactly(50)
    assert fact(chart, "finding.myocarditis.days_latest") == exactly(7)


@pytest.mark.parametrize(
    ("code", "finding"),
    [
        ("icd10cm|J18.9", "active_infection"),
        ("snomed|91302008", "active_infection"),
        ("snomed|56717001", "active_infection"),
        ("snomed|77386006", "pregnancy"),
        ("snomed|431857002", "severe_renal_impairment"),
        ("snomed|61977001", "hepatitis_b"),
    ],
)
def test_what_speaks_against_drugs_is_found(code: str, finding: str) -> None:
    """Each by its own codes, and a chronic hepatitis is no active infection."""
    chart = read(condition(code))
    assert fact(chart, f"finding.{finding}") is True
    assert (fact(chart, "finding.active_infection") is True) == (finding == "active_infection")


def test_evidence_of_a_condition() -> None:
    """Its reference, since when, its words, and what must be said of the match."""
    provisional = {"coding": [{"code": "provisional"}]}
    chart = read(
        condition(
            "icd10cm|I51.4",
            text="Myocarditis",
            id="c",
            onsetDateTime="2026-05",
            verificationStatus=provisional,
        )
    )
    assert evidence(chart, "finding.possible_myocarditis") == [
        (
            "Condition/c",
            "2026-05",
            "Myocarditis (this code also covers myocardial fibrosis, so it is of low specificity; "
            "provisional)",
        )
    ]


def test_a_diagnosis_counts_from_its_earliest_date() -> None:
    """When it began goes before when it was recorded, and the earliest of several counts."""
    chart = read(
        {"resourceType": "Patient", "id": PATIENT, "birthDate": "1986-11-16"},
        condition(
            "snomed|396230008", onsetDateTime="2026-10-17", recordedDate="2026-11-01", id="later"
        ),
        condition("snomed|31384009", recordedDate="2026-09-17", id="earlier"),
    )
    assert fact(chart, "diagnosis.myositis.days") == exactly(60)
    assert fact(chart, "diagnosis.dermatomyositis.days") == exactly(30)
    assert fact(chart, "diagnosis.myositis.age") == exactly(39)


def test_a_finding_counts_from_its_earliest_date_too() -> None:
    """How long a complication is on record is asked of it as of a diagnosis."""
    chart = read(condition("snomed|50920009", onsetDateTime="2026-11-12"))
    assert fact(chart, "finding.myocarditis.days") == exactly(4)
    assert fact(chart, "finding.rapidly_progressive_ild.days") == UNKNOWN


def test_of_a_partial_date_the_bounds_are_known() -> None:
    """A year of onset leaves days and age open between its ends."""
    chart = read(
        {"resourceType": "Patient", "id": PATIENT, "birthDate": "1986-06-30"},
        condition("snomed|396230008", onsetDateTime="2025"),
    )
    days = (AS_OF - date(2025, 12, 31)).days, (AS_OF - date(2025, 1, 1)).days
    assert fact(chart, "diagnosis.myositis.days") == between(*days)
    assert fact(chart, "diagnosis.myositis.age") == between(38, 39)


def test_without_a_date_the_time_of_a_diagnosis_is_not_known() -> None:
    """Nor is it where nobody made the diagnosis, or where Conditions are missing."""
    for chart in (read(condition("snomed|396230008")), read()):
        assert fact(chart, "diagnosis.myositis.days") == UNKNOWN
        assert fact(chart, "diagnosis.myositis.age") == UNKNOWN


def test_when_it_began_is_known_where_it_is_stated() -> None:
    """A date on which it was recorded says only that it did not begin later."""
    patient = {"resourceType": "Patient", "id": PATIENT, "birthDate": "1986-11-16"}
    stated = read(patient, condition("snomed|396230008", onsetDateTime=ago(30)))
    assert fact(stated, "diagnosis.myositis.onset_days") == exactly(30)
    assert fact(stated, "diagnosis.myositis.onset_age") == exactly(39)
    recorded = read(patient, condition("snomed|396230008", recordedDate=ago(30)))
    assert fact(recorded, "diagnosis.myositis.onset_days") == Interval(Decimal(30), INFINITY)
    assert fact(recorded, "diagnosis.myositis.onset_age") == between(0, 39)
    undated = read(patient, condition("snomed|396230008"))
    assert fact(undated, "diagnosis.myositis.onset_days") == UNKNOWN
    assert fact(undated, "diagnosis.myositis.onset_age") == UNKNOWN


@pytest.mark.parametrize(
    ("onset", "years"),
    [
        ("2026-03-01", exactly(39)),
        ("2026-03-02", exactly(40)),
        ("2026-03-03", exactly(40)),
        ("2026-03", between(39, 40)),
        ("2026", between(39, 40)),
    ],
)
def test_the_age_when_it_began_is_one_more_from_the_birthday_on(
    onset: str, years: Interval
) -> None:
    """The day of the birthday included; a month or year that holds it leaves both ages open."""
    patient = {"resourceType": "Patient", "id": PATIENT, "birthDate": "1986-03-02"}
    chart = read(patient, condition("snomed|396230008", onsetDateTime=onset))
    assert fact(chart, "diagnosis.myositis.onset_age") == years


def test_when_it_was_recorded_is_apart_from_when_it_began() -> None:
    """Without a date of the record it was recorded on any day since it began."""
    chart = read(condition("snomed|396230008", onsetDateTime=ago(200), recordedDate=ago(30)))
    assert fact(chart, "diagnosis.myositis.recorded_days") == exactly(30)
    chart = read(condition("snomed|396230008", onsetDateTime=ago(200)))
    assert fact(chart, "diagnosis.myositis.recorded_days") == between(0, 200)
    chart = read(
        condition("snomed|396230008", onsetDateTime=ago(200)),
        condition("snomed|31384009", recordedDate=ago(30)),
    )
    assert fact(chart, "diagnosis.myositis.recorded_days") == between(30, 200)
    assert fact(read(condition("snomed|396230008")), "diagnosis.myositis.recorded_days") == UNKNOWN
    later = read(condition("snomed|396230008", onsetDateTime=ago(200), recordedDate=ago(-3)))
    assert fact(later, "diagnosis.myositis.recorded_days") == UNKNOWN


def test_what_was_recorded_before_it_is_said_to_have_begun_leaves_that_open() -> None:
    """Of two Conditions the one that is older without an onset may be of the same disease."""
    chart = read(
        condition("snomed|31384009", recordedDate=ago(400)),
        condition("snomed|396230008", onsetDateTime=ago(30)),
    )
    assert fact(chart, "diagnosis.myositis.onset_days") == Interval(Decimal(400), INFINITY)


@pytest.mark.parametrize(
    ("born", "gender", "expected"),
    [
        ("1971-11-17", "female", None),
        ("1971-11-16", "female", False),
        ("1971", "female", None),
        ("2014-11-16", "female", None),
        ("2014-11-17", "female", False),
        ("1971-11-17", "male", False),
        ("1971-11-17", None, None),
    ],
)
def test_of_a_pregnancy_that_nobody_recorded(
    born: str, gender: str | None, expected: bool | None
) -> None:
    """It is unknown from the 12th to the 55th birthday, save in a man."""
    patient = {"resourceType": "Patient", "id": PATIENT, "birthDate": born}
    chart = read(patient if gender is None else {**patient, "gender": gender})
    assert fact(chart, "finding.pregnancy") is expected
