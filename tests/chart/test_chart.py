import json
from collections.abc import Iterator
from datetime import date
from typing import Any

import pytest
from hypothesis import given as given_any
from hypothesis import settings
from hypothesis import strategies as st

from cds.chart.chart import Chart, age
from cds.chart.facts.declaration import Event
from cds.chart.quantities import Interval
from cds.fhir.bundles import RESOURCE_TYPES, Delivery, decode, keep_about, read_resource
from cds.fhir.dates import read_date
from tests.chart.conftest import (
    AS_OF,
    FACTS,
    PATIENT,
    TERMS,
    Json,
    ago,
    chart_of,
    ck,
    concept,
    condition,
    order,
    physician,
    read,
)

# --- age -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("born", "as_of", "years"),
    [
        ("2008-11-16", AS_OF, (18, 18)),
        ("2008-11-17", AS_OF, (17, 17)),
        ("2008-11", AS_OF, (17, 18)),
        ("2008-10", AS_OF, (18, 18)),
        ("2008-12", AS_OF, (17, 17)),
        ("2008", AS_OF, (17, 18)),
        ("1970", date(2026, 12, 31), (56, 56)),
        ("2008-02-29", date(2026, 2, 28), (17, 17)),
        ("2008-02-29", date(2026, 3, 1), (18, 18)),
        ("2026-11-16", AS_OF, (0, 0)),
    ],
)
def test_age_is_what_the_birth_date_allows(born: str, as_of: date, years: tuple[int, int]) -> None:
    """A full birth date gives one age, a year or a month the least and the greatest."""
    assert age(read_date(born), as_of) == years


def test_age_is_unknown_without_a_birth_date() -> None:
    """Nothing is assumed of a patient whose birth date is missing or cannot be read."""
    assert age(None, AS_OF) is None
    assert read({"resourceType": "Patient", "id": PATIENT, "birthDate": "about 1970"}).born is None


# --- what a chart holds --------------------------------------------------------------------------


def test_what_the_reading_of_the_bundle_left_out_stays_listed() -> None:
    """The list has what was no resource, what is not ours, and what the chart could not use."""
    foreign = ck(500, subject={"reference": "Patient/other"})
    unreadable = ck(500) | {"valueQuantity": "high"}
    chart = read(foreign, unreadable, {"resourceType": "Device"}, ck(500, status="registered"))
    assert len(chart.excluded) == 4
    assert all(e.reference and e.reason for e in chart.excluded)


def test_what_is_complete() -> None:
    """Complete is what was asked for, of which every page came and every entry could be read."""
    assert read().complete == RESOURCE_TYPES
    assert read(ck(500) | {"valueQuantity": "high"}).complete == RESOURCE_TYPES - {"Observation"}
    unidentified = order({"reference": "Medication/none"}, ago(3))
    assert read(unidentified).complete == RESOURCE_TYPES - {"MedicationRequest"}


def test_the_chart_is_as_of_its_day() -> None:
    """What came after the day of the evaluation is not yet known on it."""
    resources = (
        condition("snomed|396230008", onsetDateTime="2026-06-01"),
        physician(5, "2026-01-10"),
        physician(3, "2026-06-10"),
        order(concept("rxnorm|8640"), "2026-02-01"),
    )
    before = read(*resources, as_of=date(2026, 1, 31))
    assert (before.conditions, before.exposures) == ({}, {})
    assert before.visits.current is None
    after = read(*resources)
    assert "diagnosis.dermatomyositis" in after.conditions
    assert after.visits.current == date(2026, 6, 10)


# --- garbage -------------------------------------------------------------------------------------

DATES = st.sampled_from(
    [
        *("2026-11-10", "2026-05", "2025", "9999-12-31", "0001-01-01", "2026-13-01", "x", ""),
        *("2026-W46-1", "2026-11-10T23:59:60Z", "2026-11-10T08:00:00+14:00"),
        "2026-11-16T00:00:00.123456789Z",
    ]
)
KEYS = [
    key
    for index in (
        TERMS.observations,
        TERMS.conditions,
        TERMS.drugs,
        TERMS.results.codes,
        TERMS.routes,
    )
    for key in index
]
CODINGS: st.SearchStrategy[Any] = st.one_of(
    st.sampled_from(KEYS).map(lambda key: {"system": key[0], "code": key[1]}),
    st.builds(dict, code=st.sampled_from(["2157-6", "", None]), display=st.text(max_size=8)),
)
TEXTS = st.one_of(
    st.none(),
    st.text(max_size=8),
    st.sampled_from(
        ["RP-ILD", "not rapidly progressive", "Methylprednisolone 1 g IV", "eye drops", "positive"]
    ),
)
CONCEPTS: st.SearchStrategy[Any] = st.one_of(
    st.just({}), st.builds(dict, coding=st.lists(CODINGS, max_size=3), text=TEXTS)
)
NUMBERS = st.one_of(
    st.integers(-10, 300),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from([0, 1e300, 1e-300, "1e999", "-0", 10**25]),
)
UNITS = st.sampled_from(
    [s for t in TERMS.vocabulary.units.values() for s in t.spellings] + [None, "x"]
)
QUANTITIES: st.SearchStrategy[Any] = st.builds(
    dict,
    value=st.one_of(st.none(), NUMBERS),
    unit=UNITS,
    code=UNITS,
    comparator=st.sampled_from([None, None, None, "<", ">=", "ad"]),
)
RANGES: st.SearchStrategy[Any] = st.lists(
    st.builds(dict, high=QUANTITIES, type=st.one_of(st.none(), CONCEPTS)), max_size=2
)
VALUED: dict[str, st.SearchStrategy[Any]] = {
    "code": CONCEPTS,
    "valueQuantity": QUANTITIES,
    "valueInteger": st.integers(-10, 300),
    "valueCodeableConcept": CONCEPTS,
    "valueString": TEXTS,
    "valueBoolean": st.booleans(),
    "dataAbsentReason": CONCEPTS,
    "interpretation": st.lists(CONCEPTS, max_size=2),
    "referenceRange": RANGES,
}
PERIODS: st.SearchStrategy[Any] = st.builds(
    dict, start=st.one_of(st.none(), DATES), end=st.one_of(st.none(), DATES)
)
WHEN: dict[str, st.SearchStrategy[Any]] = {"effectiveDateTime": DATES, "effectivePeriod": PERIODS}
DRUG: dict[str, st.SearchStrategy[Any]] = {
    "medicationCodeableConcept": CONCEPTS,
    "medicationReference": st.builds(
        dict,
        reference=st.sampled_from(["Medication/m", "#m", "#", "", "x/y/z", None]),
        display=TEXTS,
    ),
    "contained": st.lists(
        st.one_of(
            st.builds(dict, resourceType=st.just("Medication"), id=st.just("m"), code=CONCEPTS),
            st.just({"id": "m"}),
            st.just(7),
        ),
        max_size=2,
    ),
}
REPEATS: st.SearchStrategy[Any] = st.builds(
    dict,
    boundsPeriod=PERIODS,
    frequency=st.integers(-1, 10**9),
    period=NUMBERS,
    periodUnit=st.sampled_from(["d", "h", "wk", "x", None]),
)
DOSAGES: st.SearchStrategy[Any] = st.builds(
    dict,
    text=TEXTS,
    route=CONCEPTS,
    timing=st.builds(dict, repeat=REPEATS),
    doseAndRate=st.lists(st.builds(dict, doseQuantity=QUANTITIES), max_size=2),
)
STATUSES = st.sampled_from(
    [
        "final",
        "final",
        "active",
        "active",
        "completed",
        "completed",
        "unknown",
        "entered-in-error",
        None,
    ]
)


def some(kind: str, **members: st.SearchStrategy[Any]) -> st.SearchStrategy[Json]:
    """Return resources of a kind with any of these members."""
    optional = {"status": STATUSES, **members}
    return st.fixed_dictionaries({"resourceType": st.just(kind)}, optional=optional)


RESOURCES = st.one_of(
    some(
        "Observation",
        **VALUED,
        **WHEN,
        effectiveInstant=DATES,
        issued=DATES,
        component=st.lists(st.fixed_dictionaries({}, optional=VALUED), max_size=2),
    ),
    some(
        "Condition",
        code=CONCEPTS,
        clinicalStatus=CONCEPTS,
        verificationStatus=CONCEPTS,
        onsetDateTime=DATES,
        onsetPeriod=PERIODS,
        recordedDate=DATES,
        abatementDateTime=DATES,
        abatementPeriod=PERIODS,
    ),
    some(
        "MedicationRequest",
        **DRUG,
        intent=st.sampled_from(["order", "plan", None]),
        doNotPerform=st.booleans(),
        authoredOn=DATES,
        dosageInstruction=st.lists(DOSAGES, max_size=2),
    ),
    some(
        "MedicationAdministration",
        **DRUG,
        **WHEN,
        dosage=st.builds(dict, text=TEXTS, route=CONCEPTS, dose=QUANTITIES),
    ),
    some("MedicationStatement", **DRUG, **WHEN, dosage=st.lists(DOSAGES, max_size=2)),
)


def known(chart: Chart) -> Iterator[str]:
    """Yield the reference of everything that a chart used or listed, components as their whole."""
    for taken in chart.measurements.series.values():
        yield from (m.reference.split(".component")[0] for m in taken)
    for results in chart.measurements.antibodies.values():
        yield from (r.reference.split(".component")[0] for r in results)
    for assertions in chart.conditions.values():
        yield from (a.reference for a in assertions)
    for exposures in chart.exposures.values():
        yield from (e.reference for e in exposures)
    yield from (e.reference.split(".component")[0] for e in chart.excluded)


@settings(max_examples=150, deadline=None)
@given_any(st.lists(RESOURCES, max_size=12), st.dates(date(1900, 1, 1)), st.none() | st.dates())
def test_nothing_that_can_be_delivered_breaks_the_reading(
    resources: list[Json], as_of: date, baseline: date | None
) -> None:
    """Whatever is in the resources, a chart is made, each of them is used or listed with a reason,
    and every fact and its evidence can be read.
    """
    entries = [
        {"resource": {key: v for key, v in r.items() if v is not None} | {"id": f"r{i}"}}
        for i, r in enumerate(resources)
    ]
    delivery = Delivery(delivered=set(RESOURCE_TYPES))
    document = {"resourceType": "Bundle", "type": "collection", "entry": entries}
    read_resource(decode(json.dumps(document).encode()), delivery, "Bundle")
    keep_about(delivery, PATIENT)
    chart = chart_of(delivery, as_of, baseline)
    names = {f"{e['resource']['resourceType']}/{e['resource']['id']}" for e in entries}
    assert names == set(known(chart))
    assert all(excluded.reason for excluded in chart.excluded)
    for declared in FACTS.values():
        value = declared.read(chart)
        if isinstance(value, Interval):
            assert value.low <= value.high, declared.name
        elif isinstance(value, Event):
            ends = (value.surely, value.possibly)
            assert None in ends or value.possibly <= value.surely  # type: ignore[operator]  # not None
        for evidence in declared.evidence(chart):
            assert evidence.text
