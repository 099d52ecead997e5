from decimal import Decimal
from typing import Any

import pytest

from cds.chart.measurements import (
    NOT_MAPPED,
    is_flagged_high,
    multiple_of_upper_limit,
    possible_multiple,
    recorded,
    upper_limit,
)
from cds.chart.quantities import INFINITY
from tests.chart.conftest import (
    AS_OF,
    FACTS,
    PATIENT,
    TERMS,
    Json,
    ago,
    between,
    ck,
    coding,
    concept,
    fact,
    haq,
    mmt150,
    observation,
    physician,
    quantity,
    read,
    reasons,
    series,
    upper,
    values,
)

MMT = "core_set|mmt"
MDA5 = "loinc|82424-3"


def maximum(value: object) -> Json:
    """Return the maximum of a scale as a component."""
    return {
        "component": [{"code": concept("core_set|mmt-maximum"), "valueQuantity": {"value": value}}]
    }


def left_out(resource: Json) -> str:
    """Return why the one Observation of a chart is left out; it must not be used as well."""
    chart = read(resource)
    assert (chart.measurements.series, chart.measurements.antibodies) == ({}, {})
    (excluded,) = chart.excluded
    assert excluded.reference == f"Observation/{resource['id']}"
    return excluded.reason


# --- units and numbers ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "unit", "centimetres"),
    [(72, "mm", "7.2"), (7.2, "cm", "7.2"), (100, "mm", "10"), (0, "mm", "0"), (10, "cm", "10")],
)
def test_a_scale_in_millimetres_is_converted(value: object, unit: str, centimetres: str) -> None:
    """A visual analogue scale is held in cm, exactly, whichever unit it came in."""
    chart = read(physician(value, unit=unit))
    assert values(chart, "physician_global_vas") == [Decimal(centimetres)]


@pytest.mark.parametrize(
    ("resource", "reason"),
    [
        (physician(100.1, unit="mm"), "10.01 cm is outside the range of the instrument (0 to 10"),
        (physician(10.01), "its value 10.01 cm is outside the range of the instrument"),
        (physician(72), "its value 72 cm is outside the range of the instrument (0 to 10 cm)"),
        (physician(-0.1), "its value -0.1 cm is outside the range of the instrument"),
        (mmt150(151), "its value 151 {score} is outside the range of the instrument (0 to 150"),
        (haq(3.1), "its value 3.1 {score} is outside the range of the instrument (0 to 3"),
        (ck(-1), "its value -1 U/L is below 0 U/L"),
        (ck(1e9), "its value is beyond anything that can be measured"),
        (ck(0.0000001), "its value is beyond anything that can be measured"),
        (ck("1.0000000000000000001"), "its value is written with more than 20 characters"),
    ],
)
def test_what_no_instrument_gives_is_left_out(resource: Json, reason: str) -> None:
    """A value outside the range is excluded with the reason, never clamped to the range."""
    assert reason in left_out(resource)


def test_the_ends_of_the_range_are_in_it() -> None:
    """An instrument gives its least and its greatest value."""
    chart = read(mmt150(150), mmt150(0, ago(1)))
    assert values(chart, "mmt8_150") == [0, 150]


@pytest.mark.parametrize(
    ("value", "unit", "units_per_litre"),
    [
        (3000, "U/L", 3000),
        (3000, "IU/L", 3000),
        (3000, "[iU]/L", 3000),
        (3000, "UNITS/L", 3000),
        (50, "µkat/L", 3000),  # micro sign
        (50, "μkat/L", 3000),  # Greek letter
        (50, "ukat/L", 3000),
        (50000, "nkat/L", 3000),
    ],
)
def test_enzymes_are_held_in_units_per_litre(value: int, unit: str, units_per_litre: int) -> None:
    """Every spelling met in practice gives the same number."""
    chart = read(observation("loinc|2157-6", value, unit))
    assert values(chart, "ck") == [units_per_litre]


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"value": 50}, "it has no unit (expected U/L)"),
        ({"value": 50, "unit": "ng/mL"}, "its unit ng/mL is not known for this (expected U/L)"),
        ({"value": 50, "unit": "U/L", "code": "ukat/L"}, "its units contradict each other"),
        (
            {"value": 50, "unit": "U/L", "code": "g/L", "system": "http://unitsofmeasure.org"},
            "its unit g/L is not known for this",
        ),
        ({"value": 50, "code": "xyz"}, "its unit xyz is not known for this"),
        ({"unit": "U/L"}, "it has no value"),
    ],
)
def test_a_unit_is_never_guessed(given: Json, reason: str) -> None:
    """A unit that is missing, unknown or contradicted leaves the value out."""
    resource = observation("loinc|2157-6", valueQuantity=given)
    assert reason in left_out(resource)


@pytest.mark.parametrize(
    "given",
    [
        {"value": 50, "unit": "U/L", "code": "U/L", "system": "http://unitsofmeasure.org"},
        {"value": 50, "unit": "enzyme units", "code": "U/L"},  # the code counts first
        {"value": 50, "unit": "U/L", "code": "17", "system": "urn:hospital"},
    ],
)
def test_the_code_of_a_unit_counts_before_its_print(given: Json) -> None:
    """A known code decides; a local code leaves it to the printed unit."""
    assert values(read(observation("loinc|2157-6", valueQuantity=given)), "ck") == [50]


def test_a_bare_number_is_a_score_but_no_length() -> None:
    """Scores have no unit; a bare 7 on a visual analogue scale could be cm or mm."""
    assert values(read(haq(1.5)), "haq_di") == [Decimal("1.5")]
    assert left_out(observation("core_set|physician-global", 7)) == "it has no unit (expected cm)"


def test_a_whole_number_value_counts() -> None:
    """valueInteger is a number like any other."""
    chart = read(observation("core_set|mmt8-150", valueInteger=120))
    assert values(chart, "mmt8_150") == [120]


def test_numbers_stay_exact() -> None:
    """Eighty per cent written as a decimal is that, not the nearest binary fraction."""
    (taken,) = series(read(haq(0.8)), "haq_di")
    assert taken.value == Decimal("0.8")


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ({"valueString": "about 500"}, "its value is words, not a number"),
        ({"valueCodeableConcept": {"text": "high"}}, "its value is words, not a number"),
        ({}, "it has no value"),
        (
            {
                "dataAbsentReason": {
                    "coding": [{"code": "not-performed", "display": "Not Performed"}]
                }
            },
            "it has no value (Not Performed)",
        ),
        ({"dataAbsentReason": {}}, "it has no value (no reason given)"),
    ],
)
def test_what_is_not_a_number_is_left_out(members: Json, reason: str) -> None:
    """Words, an absent value and its reason are told as such."""
    assert left_out(observation("loinc|2157-6", **members)) == reason


# --- what of a measure is left out -------------------------------------------------------------


NOT_DONE: Json = {"dataAbsentReason": {"coding": [{"code": "not-performed"}]}}


@pytest.mark.parametrize(
    ("resource", "said"),
    [
        (ck(500, status="preliminary"), ("muscle_enzyme", "observation.ck", "left out")),
        (
            observation("core_set|mmt8-150", **NOT_DONE),
            ("muscle_strength", "observation.mmt8_150", "not performed"),
        ),
        (
            observation("core_set|cmas", dataAbsentReason={"text": "refused"}),
            ("muscle_strength", "observation.cmas", "no value"),
        ),
        (observation(MMT, 71), ("muscle_strength", "measure.muscle_strength", "left out")),
        (
            observation(concept("urn:flowsheet|0990", text="MMT right side"), 71),
            ("muscle_strength", "", "left out"),
        ),
        (
            observation(concept("core_set|chq-phs"), 40, status="cancelled"),
            ("muscle_enzyme", "observation.chq_phs", "left out"),
        ),
    ],
)
def test_what_of_a_core_set_measure_is_left_out_is_told(
    resource: Json, said: tuple[str, str, str]
) -> None:
    """By its code, or by its words where nothing maps it; with the same reason as in the report."""
    chart = read(resource)
    (left,) = chart.measurements.left_out
    assert (left.measure, left.entry, left.kind) == said
    assert (left.reference, left.reason) == (chart.excluded[0].reference, chart.excluded[0].reason)
    assert str(left.day) == ago(0)


@pytest.mark.parametrize(
    "resource",
    [
        observation("loinc|67151-1", 5, "ng/L", status="preliminary"),
        observation("core_set|cdasi-activity", 5, status="preliminary"),
        observation(MDA5, valueString="?"),
        observation(concept("urn:flowsheet|1", text="Commitment"), 5),
        observation(concept("urn:flowsheet|1"), 5),
    ],
)
def test_what_is_of_no_core_set_measure_is_not_told_as_left_out_of_it(resource: Json) -> None:
    """Other results are in the report only."""
    chart = read(resource)
    assert len(chart.excluded) == 1
    assert chart.measurements.left_out == []


def test_a_part_of_a_panel_is_left_out_by_itself() -> None:
    """One component out of range is told with its place; the other is used."""
    parts = [
        {"code": concept("core_set|physician-global"), "valueQuantity": quantity(38, "cm")},
        {"code": concept("core_set|patient-global"), "valueQuantity": quantity(3, "cm")},
    ]
    chart = read(observation(concept("urn:panel|1"), component=parts, id="p"))
    (left,) = chart.measurements.left_out
    assert (left.measure, left.reference) == ("physician_global", "Observation/p.component[0]")


def test_codes_that_mean_different_measures_are_told_by_the_first() -> None:
    """What contradicts itself is not used, and not passed over."""
    both = concept("core_set|physician-global", "core_set|patient-global")
    (left,) = read(observation(both, 3, "cm")).measurements.left_out
    assert left.measure == "physician_global"
    assert "its codes mean different things" in left.reason


@pytest.mark.parametrize(
    ("resource", "entry", "said"),
    [
        (physician(72, unit="mm"), "physician_global_vas", "72 mm"),
        (physician(7.2), "physician_global_vas", ""),
        (observation("loinc|2157-6", 1.0, "µkat/L"), "ck", "1.0 µkat/L"),
        (
            observation("loinc|2157-6", valueQuantity={"value": 42.5, "code": "ukat/L"}),
            "ck",
            "42.5 ukat/L",
        ),
        (mmt150(120), "mmt8_150", ""),
        (observation("core_set|mmt8-150", valueInteger=120), "mmt8_150", ""),
    ],
)
def test_a_converted_value_is_told_as_it_was_recorded(
    resource: Json, entry: str, said: str
) -> None:
    """With its own unit and all its digits; what was not converted needs no second number."""
    (taken,) = series(read(resource), entry)
    assert recorded(taken) == said


# --- comparators ---------------------------------------------------------------------------------


@pytest.mark.parametrize("comparator", ["<", "<=", ">", ">="])
def test_a_bound_is_no_value_of_a_core_set_measure(comparator: str) -> None:
    """A CK of >20000 has no relative change, so it is left out, never taken as 20000."""
    bound = quantity(20000, "U/L", comparator=comparator)
    reason = left_out(observation("loinc|2157-6", valueQuantity=bound))
    assert reason == f"it is a bound ({comparator}20000), not a value"


@pytest.mark.parametrize(
    ("comparator", "low", "high"),
    [("<", -INFINITY, 5), ("<=", -INFINITY, 5), (">", 5, INFINITY), (">=", 5, INFINITY)],
)
def test_a_bound_of_a_laboratory_value_is_an_interval(
    comparator: str, low: Decimal, high: Decimal
) -> None:
    """A troponin of <5 ng/L is anything up to 5."""
    bound = quantity(5, "ng/L", comparator=comparator)
    (taken,) = series(read(observation("loinc|67151-1", valueQuantity=bound)), "troponin_t_hs")
    assert (taken.low, taken.high, taken.value) == (low, high, None)


def test_an_unknown_comparator_leaves_the_value_out() -> None:
    """What a comparator of a later FHIR version means is not guessed."""
    bound = quantity(5, "ng/L", comparator="ad")
    assert left_out(observation("loinc|67151-1", valueQuantity=bound)) == (
        "its comparator ad is not known"
    )


# --- status and date -----------------------------------------------------------------------------


@pytest.mark.parametrize("status", ["final", "amended", "corrected"])
def test_results_that_stand_are_used(status: str) -> None:
    """Final, amended and corrected results count."""
    assert values(read(ck(500, status=status)), "ck") == [500]


@pytest.mark.parametrize(
    "status", ["registered", "preliminary", "cancelled", "entered-in-error", "unknown", "odd", None]
)
def test_other_statuses_are_left_out(status: str | None) -> None:
    """Whatever does not stand is listed with its status."""
    assert left_out(ck(500, status=status)) == f"its status is {status or 'missing'}"


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ({"effectiveDateTime": None}, "it has no effective date"),
        ({"effectiveDateTime": "2026"}, "its date 2026 is not a full date"),
        ({"effectiveDateTime": "2026-05"}, "its date 2026-05 is not a full date"),
        ({"effectiveDateTime": "yesterday!"}, "its effective date cannot be read"),
        ({"effectiveDateTime": "2026-02-30"}, "its effective date cannot be read"),
        ({"effectiveDateTime": ago(-1)}, f"it is dated {ago(-1)}, after {AS_OF}"),
        (
            {"effectiveDateTime": None, "effectivePeriod": {"start": ago(3), "end": ago(2)}},
            "its effective period is not one day",
        ),
        (
            {"effectiveDateTime": None, "effectivePeriod": {"start": ago(3)}},
            "its effective period is not one day",
        ),
        (
            {"effectiveDateTime": None, "effectivePeriod": {"start": "2026", "end": "2026"}},
            "its date 2026 is not a full date",
        ),
    ],
)
def test_a_result_needs_its_day(members: Json, reason: str) -> None:
    """A result of no one known day, or of a day to come, is left out."""
    assert left_out(ck(500, **members)) == reason


@pytest.mark.parametrize(
    "members",
    [
        {"effectiveDateTime": "2026-05-11T23:30:00-08:00"},
        {"effectiveDateTime": None, "effectiveInstant": "2026-05-11T00:10:00.123+02:00"},
        {
            "effectiveDateTime": None,
            "effectivePeriod": {"start": "2026-05-11T08:00:00Z", "end": "2026-05-11T09:00:00Z"},
        },
    ],
)
def test_the_day_is_the_one_that_was_written(members: Json) -> None:
    """The calendar day counts in the offset of whoever wrote it; a period may be one day."""
    (taken,) = series(read(ck(500, **members)), "ck")
    assert taken.day.isoformat() == "2026-05-11"


def test_of_one_day_the_later_issued_comes_last() -> None:
    """Issue times are compared as moments, whatever their offsets and fractions."""
    early, late = "2026-05-11T10:00:00+02:00", "2026-05-11T09:00:00Z"  # 08:00 and 09:00 UTC
    day = "2026-05-11"
    chart = read(ck(2, day, issued=late), ck(1, day, issued=early))
    assert values(chart, "ck") == [1, 2]
    fraction = read(
        ck(2, day, issued="2026-05-11T09:00:00.5Z"), ck(1, day, issued="2026-05-11T09:00:00Z")
    )
    assert values(fraction, "ck") == [1, 2]


def test_without_issue_times_the_time_of_day_orders() -> None:
    """Two troponins of one morning are in order of when they were taken."""
    code = "loinc|67151-1"
    chart = read(
        observation(code, 80, "ng/L", "2026-05-11T11:00:00Z"),
        observation(code, 20, "ng/L", "2026-05-11T08:00:00Z"),
    )
    assert values(chart, "troponin_t_hs") == [20, 80]


def test_of_one_measure_on_one_day_the_last_counts_and_the_others_are_listed() -> None:
    """They are left out with the reason; a value that is the same is no other."""
    day, late, early = "2026-05-11", "2026-05-11T11:00:00Z", "2026-05-11T09:00:00Z"
    chart = read(
        mmt150(120, day, issued=late, id="late"),
        mmt150(110, day, issued=early, id="early"),
        mmt150(120, day, issued=early, id="same"),
    )
    why = "is of the same day as Observation/late, which is later and counts"
    assert [(e.reference, e.reason) for e in chart.excluded] == [("Observation/early", why)]
    (left,) = chart.measurements.left_out
    assert (left.measure, left.entry, str(left.day)) == (
        "muscle_strength",
        "observation.mmt8_150",
        day,
    )
    twice = read(mmt150(120, day), mmt150(120, day))
    assert reasons(twice) == []
    assert values(twice, "mmt8_150") == [120, 120]


@pytest.mark.parametrize("issued", [None, "2026-05-11T09:00:00Z"])
def test_values_of_one_measure_and_day_that_differ_without_a_later_one_do_not_count(
    issued: str | None,
) -> None:
    """Both are listed, and something was measured that day which is not known."""
    day = "2026-05-11"
    chart = read(mmt150(120, day, issued=issued), mmt150(110, day, issued=issued))
    assert series(chart, "mmt8_150") == []
    assert (
        reasons(chart)
        == ["differs from another of the same day, and nothing says which is the later"] * 2
    )
    assert [str(day) for day in chart.measurements.unusable["mmt8_150"]] == [day]
    assert len(chart.measurements.left_out) == 2


def test_of_values_issued_together_the_one_taken_later_counts() -> None:
    """A laboratory issues the values of a day at once."""
    issued = "2026-05-11T15:00:00Z"
    chart = read(
        mmt150(120, "2026-05-11T11:00:00Z", issued=issued, id="later"),
        mmt150(110, "2026-05-11T09:00:00Z", issued=issued),
    )
    assert values(chart, "mmt8_150") == [110, 120]
    assert reasons(chart) == ["is of the same day as Observation/later, which is later and counts"]


def test_a_time_that_only_one_of_two_has_does_not_order_them() -> None:
    """The other may have been the later."""
    day = "2026-05-11"
    chart = read(mmt150(120, day, issued="2026-05-11T09:00:00Z"), mmt150(110, day))
    assert series(chart, "mmt8_150") == []


def test_another_value_of_a_day_without_a_later_one_lies_between_them() -> None:
    """A saturation of 87 or 97 % is not known to be low, nor not to be."""
    spo2 = "loinc|59408-5"
    chart = read(
        observation(spo2, 97, "%", ago(7)),
        observation(spo2, 97, "%", ago(0)),
        observation(spo2, 87, "%", ago(0)),
    )
    assert fact(chart, "observation.spo2.latest") == between(87, 97)
    (evidence,) = FACTS["observation.spo2.latest"].evidence(chart)
    assert evidence.text.startswith("SpO2 87 to 97 % (with Observation/")
    assert len(reasons(chart)) == 2


# --- codes ---------------------------------------------------------------------------------------


def test_what_nothing_maps_is_listed() -> None:
    """An Observation without code, or with an unknown one, is listed as not mapped."""
    for code in (None, concept("loinc|1-1"), concept(text="CK")):
        assert left_out(observation("", 5, "U/L") | {"code": code}) == NOT_MAPPED


def test_contradicting_codes_leave_the_value_out() -> None:
    """One number cannot be CK and LDH."""
    assert left_out(observation(concept("loinc|2157-6", "loinc|2532-0"), 5, "U/L")) == (
        "its codes mean different things: observation.ck and observation.ldh"
    )


def test_components_are_read_each_with_its_own_place() -> None:
    """The parts of a panel are measurements; a part that cannot be used is listed by its place."""
    parts = [
        {"code": concept("loinc|2157-6"), "valueQuantity": quantity(500, "U/L")},
        {"code": concept("loinc|2532-0"), "valueQuantity": quantity(300, "mmol/L")},
        {"code": concept("loinc|1-1"), "valueQuantity": quantity(1, "U/L")},
    ]
    panel = observation("loinc|24323-8", component=parts)
    chart = read(panel)
    (taken,) = series(chart, "ck")
    assert (taken.value, taken.reference) == (500, f"Observation/{panel['id']}.component[0]")
    assert [(e.reference.rsplit(".")[-1], e.reason) for e in chart.excluded] == [
        ("component[1]", "its unit mmol/L is not known for this (expected U/L)")
    ]


def test_a_panel_of_nothing_known_is_listed_once() -> None:
    """A panel none of whose parts is mapped is listed as a whole."""
    parts = [{"code": concept("loinc|1-1"), "valueInteger": 1}, {"valueInteger": 2}]
    assert left_out(observation("loinc|24323-8", component=parts)) == NOT_MAPPED


# --- muscle strength -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "entry"),
    [
        ("mmt8-80", "mmt8_80"),
        ("mmt8-150", "mmt8_150"),
        ("mmt-total-260", "mmt_total_260"),
        ("cmas", "cmas"),
    ],
)
def test_the_code_of_an_instrument_gives_its_maximum(code: str, entry: str) -> None:
    """A specific code needs no maximum beside the value."""
    assert values(read(observation(f"core_set|{code}", 40)), entry) == [40]


def test_strength_without_a_maximum_means_nothing() -> None:
    """An unspecific code without a maximum is left out, though 70 would fit every scale."""
    assert left_out(observation(MMT, 70)) == (
        "its code names no instrument and it brings no maximum, so it means nothing"
    )


@pytest.mark.parametrize(
    ("most", "entry"), [(80, "mmt8_80"), (150, "mmt8_150"), (260, "mmt_total_260"), (52, "cmas")]
)
def test_the_maximum_tells_the_instrument(most: int, entry: str) -> None:
    """The maximum counts from the reference range, from a component, and as a whole number."""
    whole = [{"code": concept("core_set|mmt-maximum"), "valueInteger": most}]
    for members in (upper(most), maximum(most), maximum(float(most)), {"component": whole}):
        chart = read(observation(MMT, 40, **members))
        assert values(chart, entry) == [40]
        assert chart.excluded == ()


@pytest.mark.parametrize(
    ("members", "said"),
    [
        (upper(100), "100"),
        (upper(80) | maximum(150), "150 and 80"),
        (upper(80.5), "80.5"),
    ],
)
def test_an_unknown_or_contradicted_maximum_means_nothing(members: Json, said: str) -> None:
    """A maximum that no instrument has, or two that differ, leave the value out."""
    assert left_out(observation(MMT, 70, **members)) == (
        f"no instrument of this measure has the maximum {said}"
    )


def test_a_component_brings_its_own_maximum() -> None:
    """Of strength within a panel, its own reference range tells the instrument."""
    part: Json = {"code": concept(MMT), "valueQuantity": quantity(70)} | upper(80)
    chart = read(observation("loinc|1-1", component=[part], **upper(150)))
    assert values(chart, "mmt8_80") == [70]
    assert values(chart, "mmt8_150") == []


def test_a_value_above_the_maximum_it_brings_is_left_out() -> None:
    """The maximum is also the range: 85 of 80 is no strength."""
    assert "outside the range of the instrument (0 to 80" in left_out(
        observation(MMT, 85, **upper(80))
    )


def test_a_maximum_alone_is_listed() -> None:
    """A maximum without a value to belong to is not used, and said."""
    assert left_out(observation("core_set|mmt-maximum", 80)) == (
        "it is the maximum of a scale, without the value that it is for"
    )
    assert left_out(observation("loinc|1-1", **maximum(80))) == NOT_MAPPED


def test_a_sum_of_organ_systems_is_no_visual_analogue_scale() -> None:
    """Extramuscular activity reported as a sum of 0 to 60 is another instrument."""
    of_sixty = observation("core_set|extramuscular-global", 24, "{score}")
    assert left_out(of_sixty) == "its unit {score} is not known for this (expected cm)"


# --- upper limits --------------------------------------------------------------------------------


def limit_of(resource: Json) -> tuple[Decimal, str] | None:
    """Return the upper limit of the one CK of a chart and where it comes from."""
    (taken,) = series(read(resource), "ck")
    limit = upper_limit(taken, TERMS)
    return (limit.value, limit.origin) if limit else None


@pytest.mark.parametrize(
    ("value", "unit", "high", "limit"),
    [
        (3000, "U/L", quantity(200, "U/L"), 200),
        (50, "ukat/L", quantity(200, "U/L"), 200),  # each in its own unit
        (3000, "U/L", quantity(3, "ukat/L"), 180),
        (50, "ukat/L", quantity(3), 180),  # without a unit it is in that of the value
    ],
)
def test_an_upper_limit_is_in_its_own_unit(value: int, unit: str, high: Json, limit: int) -> None:
    """The reference range may be written in another unit than the value."""
    resource = observation("loinc|2157-6", value, unit, referenceRange=[{"high": high}])
    assert limit_of(resource) == (limit, "reference range")
    (taken,) = series(read(resource), "ck")
    assert multiple_of_upper_limit(taken, TERMS) == (Decimal(3000) / limit,) * 2


def range_of(high: object, kind: str | None = None, unit: str = "U/L") -> Json:
    """Return a reference range, of a kind such as ``critical``."""
    made: Json = {"high": quantity(high, unit)}
    return made | ({"type": {"coding": [{"code": kind}]}} if kind else {})


@pytest.mark.parametrize(
    ("ranges", "limit"),
    [
        ([], None),
        ([{"low": quantity(10, "U/L")}], None),
        ([range_of(0)], None),
        ([range_of(200, unit="ng/mL")], None),
        ([range_of(200), range_of(170)], None),  # for men and for women, and nothing says which
        ([range_of(200), range_of(200)], 200),
        ([range_of(1000, "critical")], None),
        ([range_of(1000, "treatment"), range_of(200, "normal")], 200),
    ],
)
def test_only_one_normal_range_gives_a_limit(ranges: list[Json], limit: int | None) -> None:
    """Ranges that disagree, are not the normal one, or have no usable limit give none."""
    found = limit_of(ck(500, referenceRange=ranges))
    assert found == (None if limit is None else (limit, "reference range"))


def of_sex(high: object, *codes: str, text: str | None = None) -> Json:
    """Return a reference range for those whom one concept names."""
    return range_of(high) | {"appliesTo": [concept(*codes, text=text)]}


MALE, FEMALE = "snomed|248153007", "snomed|248152002"


@pytest.mark.parametrize(
    ("gender", "ranges", "limit"),
    [
        ("female", [of_sex(200, MALE), of_sex(170, FEMALE)], 170),
        ("male", [of_sex(200, MALE), of_sex(170, FEMALE)], 200),
        ("female", [of_sex(200, text="Men"), of_sex(170, text="women")], 170),
        ("female", [of_sex(200, MALE), range_of(170)], 170),
        ("female", [of_sex(200, MALE)], None),
        ("female", [of_sex(170, FEMALE), of_sex(160, text="third trimester")], None),
        ("other", [of_sex(200, MALE), of_sex(170, FEMALE)], None),
        (None, [of_sex(200, MALE), of_sex(170, FEMALE)], None),
        (None, [of_sex(200, MALE)], 200),
    ],
)
def test_of_ranges_by_sex_that_of_the_patient_counts(
    gender: str | None, ranges: list[Json], limit: int | None
) -> None:
    """One that is surely of the other sex is none; what still disagrees gives no limit."""
    patient = {"resourceType": "Patient", "id": PATIENT} | ({"gender": gender} if gender else {})
    (taken,) = series(read(patient, ck(500, referenceRange=ranges)), "ck")
    found = upper_limit(taken, TERMS)
    assert (found.value if found else None) == limit


@pytest.mark.parametrize(
    ("value", "multiple"),
    [(340, (Decimal("1.7"), Decimal(2))), (185, (Decimal("0.925"), Decimal(185) / 170))],
)
def test_of_limits_that_disagree_the_multiple_may_be_of_each(
    value: int, multiple: tuple[Decimal, Decimal]
) -> None:
    """What is above all of them is above its own; the exact multiple is not known."""
    (taken,) = series(read(ck(value, referenceRange=[range_of(200), range_of(170)])), "ck")
    assert possible_multiple(taken, TERMS) == multiple
    assert multiple_of_upper_limit(taken, TERMS) is None
    (alone,) = series(read(ck(value, referenceRange=[range_of(200)])), "ck")
    assert possible_multiple(alone, TERMS) == multiple_of_upper_limit(alone, TERMS)


@pytest.mark.parametrize(
    ("said", "high"),
    [
        (concept("interpretation|H"), True),
        (concept("interpretation|HH"), True),
        (concept("interpretation|HU"), True),
        (concept(text="High"), True),
        (concept("interpretation|N"), False),
        (concept("interpretation|A"), False),  # abnormal may be low
        (concept(text="Not high"), False),
    ],
)
def test_what_the_laboratory_calls_high(said: Json, high: bool) -> None:
    """Its codes for high, or that word alone; nothing else."""
    (taken,) = series(read(ck(500, limit=None, interpretation=[said])), "ck")
    assert is_flagged_high(taken, TERMS) is high


def test_a_value_without_a_limit_has_no_multiple() -> None:
    """Nothing is assumed where no limit is known."""
    (taken,) = series(read(ck(500, limit=None)), "ck")
    assert multiple_of_upper_limit(taken, TERMS) is None


# --- antibodies ----------------------------------------------------------------------------------


def antibody(**members: Any) -> bool | None:
    """Return whether anti-MDA5 is positive, by one Observation; a result not used is listed."""
    chart = read(observation(MDA5, **members))
    found = fact(chart, "antibody.mda5")
    assert found is None or isinstance(found, bool)
    assert (found is None) == (len(chart.excluded) == 1)
    return found


def result(*codes: str, text: str | None = None) -> dict[str, Json]:
    """Return a coded result."""
    return {"valueCodeableConcept": concept(*codes, text=text)}


def graded(value: object, limit: object, comparator: str | None = None, **of: Any) -> Json:
    """Return a result as a quantity with its limit."""
    number = quantity(value, "U/mL") | ({"comparator": comparator} if comparator else {})
    return {"valueQuantity": number} | upper(limit, "U/mL") | of


@pytest.mark.parametrize(
    ("members", "positive"),
    [
        (result("snomed|10828004"), True),
        (result("snomed|260385009"), False),
        (result("urn:x|1", "loinc|LA6576-8"), True),
        (result(text="Positive"), True),
        (result(text=" NEGATIVE "), False),
        ({"valueString": "Strongly positive"}, True),
        ({"valueString": "+++"}, True),
        ({"valueString": "not detected"}, False),
        ({"valueBoolean": True}, True),
        ({"valueBoolean": False}, False),
        ({"interpretation": [concept("interpretation|POS")]}, True),
        ({"interpretation": [concept("interpretation|N")]}, False),
        (graded(21, 20), True),
        (graded(20, 20), False),
        (graded(20, 20, "<"), False),
        (graded(150, 20, ">"), True),
        (graded(15, 20, interpretation=[concept("interpretation|POS")]), True),
    ],
)
def test_a_clear_antibody_result(members: Json, positive: bool) -> None:
    """Codes, words, interpretation and a quantity against its limit tell found from not found."""
    assert antibody(**members) is positive


@pytest.mark.parametrize(
    "members",
    [
        {},
        {"valueString": "equivocal"},
        {"valueString": "not positive"},  # only whole texts count
        {"valueString": "see comment: negative for Jo-1"},
        result("snomed|42425007"),
        result("snomed|10828004", "snomed|260385009"),
        result("snomed|10828004", text="Negative"),
        result("snomed|10828004") | {"interpretation": [concept("interpretation|NEG")]},
        {"valueQuantity": quantity(21, "U/mL")},
        graded(15, 20, ">"),
        graded(25, 20, "<"),
        graded(25, 20) | {"valueQuantity": quantity(25, "mg/L")},
        graded(25, 20) | {"referenceRange": [range_of(20, unit="U/mL"), range_of(40, unit="U/mL")]},
        graded(25, 20) | {"referenceRange": [range_of(20, "critical", unit="U/mL")]},
    ],
)
def test_an_unclear_antibody_result_is_unknown(members: Json) -> None:
    """A result that is neither, or both, is left out and never taken as negative."""
    assert antibody(**members) is None


def test_a_preliminary_antibody_result_does_not_count() -> None:
    """The status of an antibody result counts as that of every other."""
    assert antibody(status="preliminary", valueString="positive") is None


def test_codings_beside_a_known_one_do_no_harm() -> None:
    """A local code beside LOINC, with displays, is read by the LOINC code."""
    code = {"coding": [{"system": "urn:hospital", "code": "CPK"}, coding("loinc|2157-6", "CK")]}
    chart = read(observation(code, 500, "U/L"))
    assert (values(chart, "ck"), reasons(chart)) == ([500], [])


def test_a_remark_on_the_code_stays_with_the_measurement() -> None:
    """eGFR by the code that was recalled says so."""
    (taken,) = series(read(observation("loinc|98979-8", 91, "mL/min/{1.73_m2}")), "egfr")
    assert taken.remark == "code not verified"


def test_of_many_components_none_is_looked_through_for_the_maximum() -> None:
    """A panel is left out in which everything would have to be compared with everything."""
    other = {"code": concept("urn:x|1"), "valueInteger": 1}
    of = maximum(80)["component"]

    assert values(read(observation(MMT, 40, component=[*of, *[other] * 49])), "mmt8_80") == [40]
    assert left_out(observation(MMT, 40, component=[*of, *[other] * 50])) == (
        "its code names no instrument, and of more than 50 components none is looked through for "
        "the maximum"
    )


def test_the_day_of_a_value_that_cannot_be_used_is_kept() -> None:
    """By its entry; of muscle testing that names no instrument, for each that it may have been."""
    chart = read(
        observation("loinc|2157-6", 300, "mg", ago(3)),
        observation("core_set|mmt", 140, None, ago(2)),
        ck(300, ago(1)),
        ck(300, ago(4), status="entered-in-error"),
    )
    unusable = chart.measurements.unusable
    assert {name: [day.isoformat() for day in days] for name, days in unusable.items()} == {
        "ck": [ago(3)],
        **{name: [ago(2)] for name in ("mmt8_150", "mmt8_80", "mmt_total_260", "cmas")},
    }
