from collections.abc import Callable
from datetime import date
from decimal import Decimal
from typing import Any

import pytest

from cds.chart.chart import Chart
from cds.chart.facts import Event, groups, level_of
from cds.chart.quantities import INFINITY, UNKNOWN, Interval
from cds.fhir.bundles import RESOURCE_TYPES, Delivery
from tests.chart.conftest import (
    AS_OF,
    FACTS,
    PATIENT,
    TERMS,
    Json,
    ago,
    between,
    chart_of,
    ck,
    concept,
    condition,
    deliver,
    dosage,
    exactly,
    fact,
    given,
    observation,
    order,
    patient_global,
    physician,
    pulse,
    quantity,
    read,
    stated,
    upper,
)

PREDNISONE = concept("rxnorm|8640")
MDA5 = "loinc|82424-3"
FVC = "loinc|19872-1"
SPO2 = "loinc|59408-5"
TROPONIN = "loinc|67151-1"

Damage = Callable[[Delivery, str], None]


def incomplete(delivery: Delivery, kind: str) -> None:
    """Say that a further page of this type exists, or that the server failed to answer."""
    delivery.incomplete.add(kind)


def unreadable(delivery: Delivery, kind: str) -> None:
    """Say that an entry of this type could not be read."""
    delivery.unread.add(kind)


def undelivered(delivery: Delivery, kind: str) -> None:
    """Say that nobody asked for this type."""
    delivery.delivered.discard(kind)


every_damage = pytest.mark.parametrize("damage", [incomplete, unreadable, undelivered])


def damaged(damage: Damage, kind: str, *resources: Json) -> Chart:
    """Read a chart of these resources, of which those of one type are not all known."""
    delivery = deliver(*resources)
    damage(delivery, kind)
    return chart_of(delivery)


# --- three values --------------------------------------------------------------------------------

ABSENT = [
    ("diagnosis.dermatomyositis", ("Condition",)),
    ("diagnosis.any_myositis", ("Condition",)),
    ("finding.myocarditis", ("Condition",)),
    ("finding.rapidly_progressive_ild", ("Condition",)),
    *[
        (name, ("MedicationRequest", "MedicationAdministration", "MedicationStatement"))
        for name in (
            "drug.prednisone.current",
            "drug.prednisone.ever",
            "drug.glucocorticoid.current",
            "drug.glucocorticoid.ever",
            "drug.pulse_methylprednisolone.ever",
        )
    ],
    ("measure.physician_global.current", ("Observation",)),
    ("assessment.compared", ("Observation",)),
]


@pytest.mark.parametrize(("name", "kinds"), ABSENT)
def test_false_only_where_nothing_is_recorded_and_all_was_delivered(
    name: str, kinds: tuple[str, ...]
) -> None:
    """Where everything of its types was delivered and read, what is not recorded is false."""
    assert fact(read(), name) is False
    for kind in RESOURCE_TYPES - set(kinds):
        assert fact(damaged(incomplete, kind), name) is False


@every_damage
@pytest.mark.parametrize(("name", "kinds"), ABSENT)
def test_unknown_where_something_may_be_recorded(
    name: str, kinds: tuple[str, ...], damage: Damage
) -> None:
    """A failed query, a missing page or an unreadable entry of any of its types: unknown."""
    for kind in kinds:
        assert fact(damaged(damage, kind), name) is None


PRESENT: list[tuple[str, list[Json]]] = [
    ("diagnosis.dermatomyositis", [condition("snomed|396230008")]),
    ("diagnosis.any_myositis", [condition("snomed|396230008")]),
    ("finding.interstitial_lung_disease", [condition("icd10cm|J84.114")]),
    ("antibody.mda5", [observation(MDA5, valueString="positive")]),
    ("drug.prednisone.current", [order(PREDNISONE, ago(9))]),
    ("drug.prednisone.ever", [order(PREDNISONE, ago(9), "stopped")]),
    ("drug.glucocorticoid.ever", [stated(PREDNISONE, ago(9), "completed")]),
    ("drug.pulse_methylprednisolone.ever", [pulse(1000, ago(900))]),
    ("measure.physician_global.current", [physician(5, ago(100)), physician(4)]),
    ("assessment.compared", [physician(5, ago(100)), physician(4)]),
]


@every_damage
@pytest.mark.parametrize(("name", "resources"), PRESENT)
def test_what_is_recorded_is_true_whatever_is_missing(
    name: str, resources: list[Json], damage: Damage
) -> None:
    """What more there may be cannot make a recorded fact untrue."""
    assert fact(read(*resources), name) is True
    for kind in RESOURCE_TYPES:
        assert fact(damaged(damage, kind, *resources), name) is True


def test_a_drug_used_before_is_not_current() -> None:
    """Known to have been used, and known not to be used now, as long as everything is known."""
    before = order(PREDNISONE, ago(9), "stopped")
    assert fact(read(before), "drug.prednisone.current") is False
    chart = damaged(incomplete, "MedicationStatement", before)
    assert fact(chart, "drug.prednisone.current") is None


def test_an_uncertain_member_of_a_class_makes_it_unknown() -> None:
    """What may have been a pulse leaves ever and current unknown."""
    name = "drug.pulse_methylprednisolone"
    chart = read(pulse(None, ago(0)))
    assert (fact(chart, f"{name}.ever"), fact(chart, f"{name}.current")) == (None, None)
    past = read(pulse(None, ago(30)))
    assert (fact(past, f"{name}.ever"), fact(past, f"{name}.current")) == (None, False)


# --- antibodies ----------------------------------------------------------------------------------


def antibody(said: str, days_ago: int = 0) -> Json:
    """Return an anti-MDA5 result."""
    return observation(MDA5, on=ago(days_ago), valueString=said)


@pytest.mark.parametrize(
    ("resources", "positive"),
    [
        ([], None),  # not measured is not negative
        ([antibody("positive")], True),
        ([antibody("negative")], False),
        ([antibody("equivocal")], None),
        ([antibody("positive", 90), antibody("negative")], True),
        ([antibody("negative", 90), antibody("positive")], True),
        ([antibody("positive"), antibody("equivocal")], True),
        ([observation("loinc|8076-2", valueString="positive")], None),  # another antibody
    ],
)
def test_an_antibody(resources: list[Json], positive: bool | None) -> None:
    """Positive once is positive; negative only where measured; anything else is unknown."""
    assert fact(read(*resources), "antibody.mda5") is positive


@every_damage
def test_a_negative_antibody_is_unknown_where_other_results_may_exist(damage: Damage) -> None:
    """A positive result may stand on the page that did not come."""
    chart = damaged(damage, "Observation", antibody("negative"))
    assert fact(chart, "antibody.mda5") is None


# --- events --------------------------------------------------------------------------------------


def event(surely: int | None, possibly: int | None, *, complete: bool = True) -> Event:
    """Return an event so many days ago."""
    return Event(
        None if surely is None else Decimal(surely),
        None if possibly is None else Decimal(possibly),
        complete,
    )


@pytest.mark.parametrize(
    ("resources", "expected"),
    [
        ([], event(None, None)),
        ([pulse(1000, ago(14))], event(14, 14)),
        ([pulse(1000, ago(40)), pulse(1000, ago(5))], event(5, 5)),
        ([pulse(1000, ago(40)), pulse(None, ago(5))], event(40, 5)),
        ([pulse(None, ago(5))], event(None, 5)),
        ([pulse(1000)], event(None, 0)),
        ([pulse(1000, "2026-11")], event(15, 0)),
        ([pulse(1000, "2026-10")], event(46, 16)),
    ],
)
def test_when_a_pulse_was_last_given(resources: list[Json], expected: Event) -> None:
    """Surely so many days ago at the most, possibly so many at the least."""
    assert fact(read(*resources), "drug.pulse_methylprednisolone") == expected


def test_a_drug_in_use_is_of_today() -> None:
    """What is taken now was last used today, however long ago the order was written."""
    assert fact(read(order(PREDNISONE, ago(200))), "drug.prednisone") == event(0, 0)
    stopped = order(PREDNISONE, ago(200), "stopped")
    assert fact(read(stopped), "drug.prednisone") == event(200, 200)


@every_damage
def test_an_event_says_whether_more_may_be_recorded(damage: Damage) -> None:
    """So that a rule does not take what was not delivered for what did not happen."""
    name = "drug.pulse_methylprednisolone"
    chart = damaged(damage, "MedicationAdministration", pulse(1000, ago(40)))
    assert fact(chart, name) == event(40, 40, complete=False)
    for of_observations in ("observation.ck", "assessment.baseline", "assessment.current"):
        assert fact(read(), of_observations) == event(None, None)
        found = fact(damaged(damage, "Observation"), of_observations)
        assert found == event(None, None, complete=False)


def test_when_something_was_last_measured() -> None:
    """The latest of several counts."""
    assert fact(read(ck(500, ago(30)), ck(400, ago(9))), "observation.ck") == event(9, 9)


def test_when_the_assessments_were() -> None:
    """Days since baseline and current assessment, and between them."""
    chart = read(physician(5, ago(100)), physician(4, ago(9)))
    assert fact(chart, "assessment.baseline") == event(100, 100)
    assert fact(chart, "assessment.current") == event(9, 9)
    assert fact(chart, "assessment.days_between") == exactly(91)
    assert fact(read(), "assessment.days_between") == UNKNOWN


# --- numbers -------------------------------------------------------------------------------------


def test_latest_and_previous_value() -> None:
    """One value a day, the last issued; a single day has no value before."""
    chart = read(
        ck(900, ago(30)),
        ck(500, ago(9), issued=f"{ago(9)}T08:00:00Z"),
        ck(400, ago(9), issued=f"{ago(9)}T09:00:00Z"),
    )
    assert fact(chart, "observation.ck.latest") == exactly(400)
    assert fact(chart, "observation.ck.previous") == exactly(900)
    alone = read(ck(400))
    assert fact(alone, "observation.ck.previous") == UNKNOWN
    assert fact(read(), "observation.ck.latest") == UNKNOWN


@pytest.mark.parametrize(
    ("resource", "multiple"),
    [
        (observation(TROPONIN, 28, "ng/L", **upper(14, "ng/L")), exactly(2)),
        (observation(TROPONIN, "0.028", "ng/mL", **upper(14, "ng/L")), exactly(2)),
        (observation(TROPONIN, 14, "ng/L", **upper(14, "ng/L")), exactly(1)),
        (observation(TROPONIN, 28, "ng/L"), UNKNOWN),
        (
            observation(
                TROPONIN,
                valueQuantity=quantity(7, "ng/L", comparator="<"),
                **upper(14, "ng/L"),
            ),
            Interval(Decimal("-Infinity"), Decimal("0.5")),
        ),
        (
            observation(
                TROPONIN,
                valueQuantity=quantity(28, "ng/L", comparator=">"),
                **upper(14, "ng/L"),
            ),
            Interval(Decimal(2), Decimal("Infinity")),
        ),
    ],
)
def test_a_value_in_multiples_of_its_upper_limit(resource: Json, multiple: Interval) -> None:
    """Exact at the limit, an interval for a bound, unknown without a limit."""
    assert fact(read(resource), "observation.troponin_t_hs.multiple") == multiple


def fvc(percent: object, days_ago: int, **of: Any) -> Json:
    """Return an FVC in percent of predicted."""
    return observation(FVC, percent, "%", ago(days_ago), **of)


def saturation(percent: int, days_ago: int) -> Json:
    """Return an oxygen saturation."""
    return observation(SPO2, percent, "%", ago(days_ago))


@pytest.mark.parametrize(
    ("resources", "fall"),
    [
        ([fvc(80, 183), fvc(70, 0)], exactly(10)),
        ([fvc(80, 184), fvc(70, 0)], UNKNOWN),  # too long ago
        ([fvc(80, 100), fvc(90, 60), fvc(75, 0)], exactly(15)),  # from the highest
        ([fvc(70, 100), fvc(80, 0)], exactly(-10)),
        ([fvc(70, 0)], UNKNOWN),
        ([], UNKNOWN),
        ([fvc(90, 300), fvc(80, 200), fvc(75, 150)], exactly(15)),  # before the latest, not today
    ],
)
def test_a_fall_within_six_months(resources: list[Json], fall: Interval) -> None:
    """From the highest value of the 183 days before the latest one, in points."""
    assert fact(read(*resources), "observation.fvc_percent_predicted.fall") == fall


@pytest.mark.parametrize(
    ("resources", "fall"),
    [
        ([fvc(80, 40), fvc(70, 0), pulse(1000, ago(40))], exactly(10)),
        ([fvc(80, 41), fvc(70, 0), pulse(1000, ago(40))], UNKNOWN),  # before it
        ([fvc(80, 60), fvc(74, 30), fvc(70, 0), pulse(1000, ago(50))], exactly(4)),
        ([fvc(80, 40), fvc(70, 0)], UNKNOWN),  # no pulse
        ([fvc(80, 40), fvc(70, 0), pulse(1000, ago(60)), pulse(None, ago(5))], UNKNOWN),
    ],
)
def test_a_fall_after_a_drug(resources: list[Json], fall: Interval) -> None:
    """Only values from the day of its last use on count, and none where that is not sure."""
    name = "observation.fvc_percent_predicted.fall_since_pulse"
    assert fact(read(*resources), name) == fall


@pytest.mark.parametrize(
    ("resources", "fall"),
    [
        ([fvc(80, 114), fvc(70, 0), order(PREDNISONE, ago(100))], exactly(10)),
        ([fvc(80, 115), fvc(70, 0), order(PREDNISONE, ago(100))], UNKNOWN),  # before treatment
        ([fvc(80, 300), fvc(74, 100), fvc(70, 0), order(PREDNISONE, ago(110))], exactly(4)),
        ([fvc(80, 365), fvc(70, 0), order(PREDNISONE, ago(500))], exactly(10)),
        ([fvc(80, 366), fvc(70, 0), order(PREDNISONE, ago(500))], UNKNOWN),  # too long ago
        ([fvc(80, 100), fvc(70, 0)], UNKNOWN),  # no treatment
        ([fvc(80, 100), fvc(70, 0), order(PREDNISONE, "0001-01-05")], exactly(10)),  # a slip
    ],
)
def test_a_fall_on_treatment(resources: list[Json], fall: Interval) -> None:
    """Values count from the start of treatment on, and of the visit at which it was begun."""
    name = "observation.fvc_percent_predicted.fall_on_treatment"
    assert fact(read(*resources), name) == fall


def test_which_values_a_fall_is_looked_for_in_stands_in_its_title() -> None:
    """After a drug, or on treatment."""
    of = "observation.fvc_percent_predicted"
    assert FACTS[f"{of}.fall_since_pulse"].title.endswith(
        ", fall within 183 days, since the last intravenous pulse methylprednisolone"
    )
    assert FACTS[f"{of}.fall_on_treatment"].title.endswith(
        ", on systemic glucocorticoid or immunosuppressive drug other than a glucocorticoid"
    )


METHOTREXATE = concept("rxnorm|6851")


def stopped(why: str | None, status: str = "stopped") -> Json:
    """Return an order of methotrexate that ended, and why."""
    reason = {} if why is None else {"statusReason": {"text": why}}
    return order(METHOTREXATE, ago(300), status, **reason)


@pytest.mark.parametrize(
    ("resources", "failed"),
    [
        ([stopped("Lack of effect")], True),
        ([stopped("Intolerance: liver enzymes rose")], True),
        ([stopped("no response after 6 months")], True),
        ([stopped("Patient's wish; no side effects")], False),
        ([stopped("Wish to conceive")], False),
        ([stopped(None)], None),
        ([stopped(None, "completed")], None),
        ([order(METHOTREXATE, ago(300))], False),  # merely given
        ([], False),
        ([stopped("Wish to conceive"), stopped("Side effects")], True),
        ([stopped("x" * 10_001)], None),  # not looked through
    ],
)
def test_a_drug_has_failed_where_the_reason_for_its_end_says_so(
    resources: list[Json], failed: bool | None
) -> None:
    """Not known where it ended and nobody recorded why."""
    chart = read(*resources)
    assert fact(chart, "drug.methotrexate.failed") is failed
    assert fact(chart, "drug.steroid_sparing.failed") is failed


def test_why_a_drug_failed_is_the_evidence() -> None:
    """Only what ended for that reason is cited."""
    chart = read(stopped("Lack of effect"), order(METHOTREXATE, ago(20)))
    ((_, _, text),) = evidence(chart, "drug.steroid_sparing.failed")
    assert text.endswith(", stopped: Lack of effect")


def test_the_longest_course_of_one_drug_of_a_class() -> None:
    """Two drugs one after the other are no long course of either."""
    azathioprine = concept("rxnorm|1256")
    one = stopped("Wish to conceive") | {"dosageInstruction": []}
    chart = read(one, order(azathioprine, ago(20)), order(concept("rxnorm|42316"), ago(50)))
    assert fact(chart, "drug.steroid_sparing.longest") == exactly(50)
    assert fact(read(one), "drug.steroid_sparing.longest") == exactly(0)
    assert len(evidence(chart, "drug.steroid_sparing.longest")) == 1


def test_a_class_that_is_one_line_is_one_course_through_a_change_of_drug() -> None:
    """Prednisolone after prednisone goes on with it; the first and what is current are cited."""
    prednisone = order(concept("rxnorm|8640"), ago(96)) | {"status": "completed"}
    prednisone["dispenseRequest"] = {"validityPeriod": {"start": ago(96), "end": ago(30)}}
    chart = read(prednisone, order(concept("rxnorm|8638"), ago(30)))
    assert fact(chart, "drug.glucocorticoid.longest") == exactly(96)
    assert len(evidence(chart, "drug.glucocorticoid.longest")) == 2


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
    ("baseline", "current", "percent"),
    [(4, 5, exactly(25)), (0, 0, exactly(0)), (0, 1, UNKNOWN), (4, 3, exactly(-25))],
)
def test_of_a_rise_from_0_no_percentage_is_defined(
    baseline: int, current: int, percent: Interval
) -> None:
    """It counts as worsened in the definition of improvement alone."""
    chart = read(physician(baseline, ago(100)), physician(current, ago(0)))
    assert fact(chart, "measure.physician_global.relative_worsening") == percent


MYOCARDITIS = "snomed|50920009"


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


def test_the_latest_date_of_a_finding() -> None:
    """Of several entries the one that began or was recorded last."""
    chart = read(
        condition(MYOCARDITIS, onsetDateTime=ago(50)), condition(MYOCARDITIS, recordedDate=ago(7))
    )
    assert fact(chart, "finding.myocarditis.days") == exactly(50)
    assert fact(chart, "finding.myocarditis.days_latest") == exactly(7)


def test_what_elapsed_is_between_is_its_evidence() -> None:
    """Both ends are cited."""
    chart = read(
        condition(MYOCARDITIS, onsetDateTime=ago(30), id="c"), pulse(1000, ago(40), id="p")
    )
    cited = [reference for reference, _, _ in evidence(chart, "elapsed.pulse_to_myocarditis")]
    assert cited == ["MedicationAdministration/p", "Condition/c"]


def test_a_filtration_rate_is_cited_in_a_unit_that_people_write() -> None:
    """The braces of UCUM are for machines."""
    chart = read(observation("loinc|62238-1", 24, "mL/min/{1.73_m2}", ago(1)))
    (cited,) = evidence(chart, "observation.egfr.latest")
    assert cited[2] == "eGFR 24 mL/min/1.73 m2"


def test_a_filtration_rate_of_no_body_surface_is_not_taken_for_one() -> None:
    """A bare mL/min is excluded with its reason, and the rate stays unknown."""
    chart = read(observation("loinc|62238-1", 24, "mL/min", ago(1)))
    assert fact(chart, "observation.egfr.latest") == UNKNOWN
    assert any("mL/min" in each.reason for each in chart.excluded)


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


def test_one_saturation_is_no_fall() -> None:
    """With none before it there is nothing that it fell from."""
    chart = read(saturation(86, 0))
    assert fact(chart, "observation.spo2.fall") == UNKNOWN
    assert fact(chart, "observation.spo2.fall_from") == UNKNOWN
    assert evidence(chart, "observation.spo2.fall_from") == []


def test_what_has_no_trend_declared_has_no_fall() -> None:
    """There is no such fact of ferritin."""
    assert "observation.ferritin.latest" in FACTS
    assert not [name for name in FACTS if name.startswith("observation.ferritin.fall")]


@pytest.mark.parametrize(
    ("resources", "highest"),
    [
        ([(97, 60), (90, 1), (86, 0)], exactly(97)),  # not the value before alone
        ([(97, 184), (90, 183), (86, 0)], exactly(90)),  # within 183 days
        ([(91, 5), (84, 0)], exactly(91)),
    ],
)
def test_what_a_saturation_fell_from(resources: list[tuple[int, int]], highest: Interval) -> None:
    """The highest value of the time before the latest one, with that as evidence."""
    chart = read(*(saturation(value, days) for value, days in resources))
    assert fact(chart, "observation.spo2.fall_from") == highest
    (found,) = evidence(chart, "observation.spo2.fall_from")
    assert found[2] == f"SpO2 {highest.low} %"


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


# --- evidence ------------------------------------------------------------------------------------


def evidence(chart: Chart, name: str) -> list[tuple[str, str, str]]:
    """Return the evidence of a fact."""
    return [(e.reference, e.date, e.text) for e in FACTS[name].evidence(chart)]


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


def test_evidence_of_a_group_is_that_of_its_members() -> None:
    """A group cites the Conditions that are in it."""
    chart = read(condition("snomed|31384009", text="PM", id="pm"))
    assert evidence(chart, "diagnosis.myositis") == [("Condition/pm", "", "PM")]


def test_evidence_of_a_drug() -> None:
    """What was ordered or given, matched by name where it was, and what is uncertain."""
    chart = read(
        given("Methylprednisolone 1 g", ago(3), 1000, "IV", id="sure"),
        pulse(None, ago(2), id="doubtful"),
    )
    assert evidence(chart, "drug.pulse_methylprednisolone") == [
        (
            "MedicationAdministration/sure",
            ago(3),
            f"Methylprednisolone 1 g, given {ago(3)}, 1000 mg on a day of treatment "
            "(matched by name)",
        ),
        (
            "MedicationAdministration/doubtful",
            ago(2),
            f"Methylprednisolone, given {ago(2)}",
        ),
    ]


def test_of_an_order_that_was_carried_out_what_was_given_is_the_evidence() -> None:
    """Three infusions say what their order says; what is current still names the order."""
    members = dosage(1000, route="intravenous")
    members["dosageInstruction"][0]["timing"] = {
        "repeat": {"boundsPeriod": {"start": ago(5), "end": ago(3)}}
    }
    infusion = order(concept("rxnorm|6902"), ago(5), status="completed", id="o", **members)
    days = [pulse(1000, ago(day), id=f"g{day}") for day in (5, 4, 3)]

    given_all = evidence(read(infusion, *days), "drug.pulse_methylprednisolone")
    given_two = evidence(read(infusion, *days[:2]), "drug.pulse_methylprednisolone")

    assert [reference for reference, _, _ in given_all] == [
        f"MedicationAdministration/g{day}" for day in (5, 4, 3)
    ]
    assert "MedicationRequest/o" in {reference for reference, _, _ in given_two}


def test_evidence_of_a_measure_is_both_values() -> None:
    """Baseline and current value, each with its reference and day, and as it was recorded."""
    chart = read(physician(80, ago(100), unit="mm", id="a"), physician(6, id="b"))
    title = "Physician global activity, VAS 0–10 cm"
    assert evidence(chart, "measure.physician_global.improvement") == [
        ("Observation/a", ago(100), f"{title} 8 cm (80 mm as recorded)"),
        ("Observation/b", ago(0), f"{title} 6 cm"),
    ]


def test_evidence_of_a_result() -> None:
    """A value with its upper limit, a bound as a bound, a score without a unit, and remarks."""
    chart = read(
        ck(600, id="ck"),
        observation(TROPONIN, id="t", valueQuantity=quantity(5, "ng/L", comparator="<")),
        observation("loinc|98979-8", 91, "mL/min/{1.73_m2}", id="s"),
        observation("core_set|mmt8-150", 120, id="m"),
    )
    assert evidence(chart, "observation.ck.latest") == [
        ("Observation/ck", ago(0), "CK 600 U/L (upper limit 200, reference range)")
    ]
    assert evidence(chart, "observation.troponin_t_hs.latest") == [
        ("Observation/t", ago(0), "High-sensitivity troponin T <5 ng/L")
    ]
    assert evidence(chart, "observation.egfr.latest") == [
        ("Observation/s", ago(0), "eGFR 91 mL/min/1.73 m2 (code not verified)")
    ]
    assert evidence(chart, "observation.mmt8_150.latest") == [
        ("Observation/m", ago(0), "MMT-8, both sides and axial, 0–150 120")
    ]


def test_evidence_of_an_antibody() -> None:
    """Every result, positive or negative, with its day."""
    chart = read(
        observation(MDA5, on=ago(9), id="n", valueString="negative"),
        observation(MDA5, id="p", valueString="positive"),
    )
    assert evidence(chart, "antibody.mda5") == [
        ("Observation/n", ago(9), "Anti-MDA5 negative"),
        ("Observation/p", ago(0), "Anti-MDA5 positive"),
    ]


def test_evidence_of_a_fall_is_what_it_was_measured_from() -> None:
    """The highest value before and the latest."""
    chart = read(fvc(80, 100, id="a"), fvc(70, 0, id="b"))
    found = evidence(chart, "observation.fvc_percent_predicted.fall")
    assert [reference for reference, _, _ in found] == ["Observation/a", "Observation/b"]


def test_nothing_recorded_has_no_evidence() -> None:
    """Of an empty record there is nothing to cite."""
    chart = read()
    assert [name for name in FACTS if evidence(chart, name)] == []


# --- declarations --------------------------------------------------------------------------------


def test_the_core_set_is_a_group_of_measures() -> None:
    """Rules count over it; every member has the facts that they count by."""
    core_set = groups(TERMS.vocabulary)["core_set"]
    assert len(core_set) == 6
    for member in core_set:
        assert {f"{member}.improvement", f"{member}.worsening"} <= set(FACTS)


def test_groups_of_the_vocabulary_have_facts() -> None:
    """Every member of every group is a fact, or has facts, or is what a rule derives."""
    derived = {"cancer_risk.dermatomyositis", "cancer_risk.onset_after_40"}
    for name, members in groups(TERMS.vocabulary).items():
        for member in members:
            known = member in FACTS or member in derived
            assert known or any(f.startswith(f"{member}.") for f in FACTS), (name, member)


def test_values_are_of_the_declared_kind() -> None:
    """A boolean fact gives a boolean or unknown, a number an interval, an event an event."""
    patient = {"resourceType": "Patient", "id": PATIENT, "birthDate": "1970"}
    full = read(
        patient,
        condition("snomed|396230008"),
        physician(5, ago(100)),
        physician(4),
        ck(900, ago(100)),
        ck(100),
        fvc(80, 90),
        fvc(70, 0),
        observation(MDA5, valueString="positive"),
        order(PREDNISONE, ago(90), **dosage(50)),
    )
    kinds: dict[str, type | tuple[type, ...]] = {
        "boolean": (bool, type(None)),
        "number": Interval,
        "event": Event,
    }
    for chart in (full, read()):
        for declared in FACTS.values():
            assert isinstance(declared.read(chart), kinds[declared.kind]), declared.name
            assert declared.title


# --- visits in a row, and when a measure was last taken ------------------------------------------


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


def test_without_a_previous_visit_its_facts_are_unknown() -> None:
    """That there is none is known, where everything was delivered."""
    chart = read(physician(4, ago(180)), physician(7, ago(0)))
    assert fact(chart, "assessment.has_previous") is False
    assert fact(chart, "measure.physician_global.previous.worsening") == UNKNOWN
    assert FACTS["measure.physician_global.previous.worsening"].evidence(chart) == ()


@every_damage
def test_there_may_be_a_visit_that_was_not_delivered(damage: Damage) -> None:
    """Then nobody can say that there is none."""
    chart = damaged(damage, "Observation", physician(4, ago(180)), physician(7, ago(0)))
    assert fact(chart, "assessment.has_previous") is None


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


# --- onset ---------------------------------------------------------------------------------------


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


@pytest.mark.parametrize(("days", "now"), [(183, exactly(24)), (184, UNKNOWN)])
def test_an_old_filtration_rate_is_not_the_current_one(days: int, now: Interval) -> None:
    """It is unknown then, and the evidence says that it is too old."""
    chart = read(observation("loinc|62238-1", 24, "mL/min/{1.73_m2}", ago(days)))
    assert fact(chart, "observation.egfr.latest") == now
    (cited,) = evidence(chart, "observation.egfr.latest")
    assert ("older than 183 days" in cited[2]) is (now == UNKNOWN)


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
