from decimal import Decimal

import pytest

from cds.chart.quantities import UNKNOWN, Interval
from tests.chart.conftest import (
    FACTS,
    Json,
    ago,
    ck,
    concept,
    exactly,
    fact,
    observation,
    order,
    pulse,
    quantity,
    read,
    upper,
)
from tests.chart.facts.conftest import PREDNISONE, damaged, evidence, fvc, incomplete

SPO2 = "loinc|59408-5"
TROPONIN = "loinc|67151-1"


def saturation(percent: int, days_ago: int) -> Json:
    """Return an oxygen saturation."""
    return observation(SPO2, percent, "%", ago(days_ago))


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


@pytest.mark.parametrize("code", ["77147-7", "48642-3", "48643-1", "88293-6", "88294-4", "69405-9"])
def test_a_filtration_rate_by_another_formula(code: str) -> None:
    """What laboratories send most often besides counts as well, each for what it is."""
    chart = read(observation(f"loinc|{code}", 12, "mL/min/{1.73_m2}"))
    assert fact(chart, "observation.egfr.latest") == exactly(12)


def test_of_two_filtration_rates_by_race_only_the_range_is_known() -> None:
    """Nothing says which of them is the patient's."""
    of_both = [
        observation(f"loinc|{code}", value, "mL/min/{1.73_m2}")
        for code, value in (("48642-3", 28), ("48643-1", 34))
    ]
    chart = read(*of_both)
    assert fact(chart, "observation.egfr.latest") == Interval(Decimal(28), Decimal(34))
    assert fact(read(of_both[0]), "observation.egfr.latest") == exactly(28)


def flagged(*codes: str, on: str | None = None) -> Json:
    """Return a troponin without a range, as a laboratory calls it."""
    made = observation(TROPONIN, 28, "ng/L", on)
    return made | {"interpretation": [concept(f"interpretation|{code}") for code in codes]}


@pytest.mark.parametrize(
    ("resources", "high"),
    [
        ([flagged("HH")], True),
        ([flagged("N")], False),
        ([flagged()], False),
        ([], False),
        ([flagged("H", on=ago(3)), flagged("N", on=ago(1))], False),
        ([flagged("N", on=ago(3)), flagged("H", on=ago(1))], True),
    ],
)
def test_whether_the_laboratory_calls_the_last_value_high(
    resources: list[Json], high: bool
) -> None:
    """Of several values the last; without a word of the laboratory it is not called high."""
    assert fact(read(*resources), "observation.troponin_t_hs.flagged_high") is high


def test_of_what_was_not_delivered_nobody_knows_what_it_was_called() -> None:
    """There may be a value that was not read."""
    chart = damaged(incomplete, "Observation")
    assert fact(chart, "observation.troponin_t_hs.flagged_high") is None


def test_of_limits_that_disagree_the_evidence_names_all() -> None:
    """Who compares by hand reads which limits there are, and what the laboratory says."""
    ranges = [{"high": quantity(high, "ng/L")} for high in (34, 16)]
    high: Json = {"interpretation": [concept("interpretation|H")]}
    chart = read(observation(TROPONIN, 28, "ng/L", referenceRange=ranges, **high))
    assert fact(chart, "observation.troponin_t_hs.multiple") == Interval(
        Decimal(28) / 34, Decimal("1.75")
    )
    ((_, _, said),) = evidence(chart, "observation.troponin_t_hs")
    assert said == (
        "High-sensitivity troponin T 28 ng/L (upper limit 16 or 34, and which of them is for this "
        "patient is not said; called high by the laboratory)"
    )


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
        ", on systemic glucocorticoid or immunoglobulin, or immunosuppressive drug other than a "
        "glucocorticoid"
    )


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


def test_evidence_of_a_fall_is_what_it_was_measured_from() -> None:
    """The highest value before and the latest."""
    chart = read(fvc(80, 100, id="a"), fvc(70, 0, id="b"))
    found = evidence(chart, "observation.fvc_percent_predicted.fall")
    assert [reference for reference, _, _ in found] == ["Observation/a", "Observation/b"]


@pytest.mark.parametrize(("days", "now"), [(183, exactly(24)), (184, UNKNOWN)])
def test_an_old_filtration_rate_is_not_the_current_one(days: int, now: Interval) -> None:
    """It is unknown then, and the evidence says that it is too old."""
    chart = read(observation("loinc|62238-1", 24, "mL/min/{1.73_m2}", ago(days)))
    assert fact(chart, "observation.egfr.latest") == now
    (cited,) = evidence(chart, "observation.egfr.latest")
    assert ("older than 183 days" in cited[2]) is (now == UNKNOWN)
