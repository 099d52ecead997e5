from collections.abc import Callable
from datetime import date, timedelta
from decimal import Decimal

import msgspec
import pytest

from cds.chart.assessments import MeasureChange, range_in_upper_limits, trend
from cds.chart.chart import Chart
from cds.chart.quantities import INFINITY, UNKNOWN, Interval
from cds.chart.terms import in_sentence
from cds.chart.vocabulary import Number
from tests.chart.conftest import (
    AS_OF,
    TERMS,
    Json,
    ago,
    between,
    chart_of,
    ck,
    concept,
    deliver,
    exactly,
    given,
    haq,
    ldh,
    mmt150,
    observation,
    order,
    patient_global,
    physician,
    quantity,
    read,
)

THEN, NOW = ago(180), ago(0)


def on(days_ago: int) -> date:
    """Return a date so many days before the day of the evaluation."""
    return AS_OF - timedelta(days=days_ago)


def visits(chart: Chart) -> tuple[date | None, date | None]:
    """Return the two dates that are compared."""
    return chart.visits.baseline, chart.visits.current


def taken(change: MeasureChange) -> tuple[Decimal | None, Decimal | None]:
    """Return the values of a measure at both visits."""
    return (
        change.baseline.value if change.baseline else None,
        change.current.value if change.current else None,
    )


def change(measure: str, *resources: Json) -> MeasureChange:
    """Return the change of a measure between two visits at which physician global was taken.

    It was 5 cm at both, unless physician global is the measure itself.
    """
    visits = () if measure == "physician_global" else (physician(5, THEN), physician(5, NOW))
    return read(*visits, *resources).changes[measure]


# --- relative change -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "after", "percent"),
    [
        (10, 8, 20),
        (10, 8.01, "19.9"),
        (5, 4, 20),
        (1, 0.8, 20),  # (1 - 0.8) / 1 is below 0.2 in binary floating point
        (1.5, 1.2, 20),
        (4, 5, -25),
        (0.8, 1, -25),
        (5, 5, 0),
        (10, 0, 100),
    ],
)
def test_improvement_where_higher_is_worse(before: object, after: object, percent: object) -> None:
    """Improvement is (baseline - current) / baseline, exact to the last digit."""
    found = change("physician_global", physician(before, THEN), physician(after, NOW))
    number = Decimal(str(percent))
    assert (found.improvement, found.relative) == (Interval(number, number), number)
    assert found.worsening == Interval(-number, -number)
    assert not found.undefined


@pytest.mark.parametrize(
    ("before", "after", "percent"),
    [(120, 144, 20), (150, 120, -20), (100, 75, -25), (100, 125, 25), (80, 80, 0), (100, 0, -100)],
)
def test_improvement_where_lower_is_worse(before: int, after: int, percent: int) -> None:
    """Of strength it is (current - baseline) / baseline."""
    found = change("muscle_strength", mmt150(before, THEN), mmt150(after, NOW))
    assert (found.improvement, found.worsening) == (exactly(percent), exactly(-percent))


def test_a_scale_may_change_its_unit_between_visits() -> None:
    """100 mm to 8 cm is exactly twenty per cent."""
    found = change("physician_global", physician(100, THEN, unit="mm"), physician(8, NOW))
    assert found.relative == 20


def test_nothing_is_rounded_up_to_a_threshold() -> None:
    """A change just short of twenty per cent stays short of it."""
    found = change("muscle_enzyme", ck(9999999, THEN), ck("7999999.3", NOW))
    assert found.relative is not None
    assert Decimal("19.99999") < found.relative < 20


# --- baseline 0 ----------------------------------------------------------------------------------


def test_a_rise_from_zero_is_worse() -> None:
    """From 0 any rise counts as worsened by more than any threshold, and never as improved."""
    found = change("physician_global", physician(0, THEN), physician(0.1, NOW))
    assert found.worsening == Interval(INFINITY, INFINITY)
    assert found.improvement == Interval(-INFINITY, -INFINITY)
    assert (found.undefined, found.relative) == (True, None)


def test_no_change_from_zero_is_neither() -> None:
    """From 0 to 0 nothing improved and nothing worsened; the percentage is still undefined."""
    found = change("physician_global", physician(0, THEN), physician(0, NOW))
    assert (found.improvement, found.worsening) == (exactly(0), exactly(0))
    assert (found.undefined, found.relative) == (True, None)


def test_from_zero_what_is_missing_may_have_worsened_but_not_improved() -> None:
    """With baseline 0 and the current value missing, improvement is impossible."""
    found = change("patient_global", patient_global(0, THEN))
    assert found.improvement == Interval(-INFINITY, Decimal(0))
    assert found.worsening == Interval(Decimal(0), INFINITY)


def test_from_no_strength_a_rise_is_undefined() -> None:
    """Strength of 0 cannot worsen; how much a rise is in percent nothing defines."""
    found = change("muscle_strength", mmt150(0, THEN), mmt150(10, NOW))
    assert found.improvement == Interval(Decimal(0), INFINITY)
    assert found.worsening == Interval(-INFINITY, Decimal(0))
    assert (found.undefined, found.relative) == (True, None)


# --- missing values ------------------------------------------------------------------------------


def test_strength_at_its_maximum_cannot_improve() -> None:
    """At 150 of 150 whatever the missing value is, it is no improvement."""
    found = change("muscle_strength", mmt150(150, THEN))
    assert found.improvement == between(-100, 0)
    assert found.worsening == between(0, 100)


@pytest.mark.parametrize(
    ("measure", "baseline", "improvement"),
    [
        ("muscle_strength", mmt150(100, THEN), between(-100, 50)),
        ("muscle_strength", observation("core_set|mmt8-80", 64, None, THEN), between(-100, 25)),
        ("patient_global", patient_global(8, THEN), between(-25, 100)),
        ("patient_global", patient_global(10, THEN), between(0, 100)),
        ("physical_function", haq(1.5, THEN), between(-100, 100)),
        ("muscle_enzyme", ck(500, THEN), Interval(-INFINITY, Decimal(100))),
    ],
)
def test_a_missing_current_value_is_bounded_by_the_range(
    measure: str, baseline: Json, improvement: Interval
) -> None:
    """What is missing can be anything that the instrument can give, and nothing else."""
    found = change(measure, baseline)
    assert (found.baseline is not None, found.current) == (True, None)
    assert found.improvement == improvement
    assert found.worsening == Interval(-improvement.high, -improvement.low)
    assert (found.relative, found.range_percent) == (None, None)


def test_without_a_baseline_nothing_is_known() -> None:
    """A current value alone tells of no change."""
    found = change("patient_global", patient_global(3, NOW))
    assert taken(found) == (None, 3)
    assert (found.improvement, found.worsening) == (UNKNOWN, UNKNOWN)
    assert (found.relative, found.range_percent) == (None, None)


def test_a_measure_that_was_never_taken_is_unknown() -> None:
    """It has no instrument, no values and no bounds."""
    found = change("extramuscular")
    assert (found.instrument, taken(found)) == (None, (None, None))
    assert (found.improvement, found.worsening) == (UNKNOWN, UNKNOWN)


# --- percent of the range ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("measure", "before", "after", "percent"),
    [
        ("physician_global", physician(7, THEN), physician(4, NOW), 30),
        ("physician_global", physician(1.1, THEN), physician(0.6, NOW), 5),  # above 5 in binary
        ("physician_global", physician(4, THEN), physician(7, NOW), -30),
        ("physician_global", physician(0, THEN), physician(2, NOW), -20),  # defined from 0 as well
        ("patient_global", patient_global(6, THEN), patient_global(5, NOW), 10),
        ("muscle_strength", mmt150(120, THEN), mmt150(135, NOW), 10),
        ("physical_function", haq(1.5, THEN), haq(1.125, NOW), "12.5"),
    ],
)
def test_change_in_percent_of_the_range(
    measure: str, before: Json, after: Json, percent: object
) -> None:
    """The change is divided by the whole range of the instrument, positive for better."""
    assert change(measure, before, after).range_percent == Decimal(str(percent))


def enzyme_range_percent(birth: str | None, before: Json, after: Json) -> Decimal | None:
    """Return the change of the enzyme in percent of its range, for a patient born then."""
    patient = {"resourceType": "Patient", "id": "p1"} | ({"birthDate": birth} if birth else {})
    chart = read(patient, physician(5, THEN), physician(5, NOW), before, after)
    return chart.changes["muscle_enzyme"].range_percent


def test_the_range_of_an_enzyme_is_a_multiple_of_its_upper_limit() -> None:
    """CK 3000 to 600 with an upper limit of 200: 2400 of 15 times 200."""
    assert enzyme_range_percent("1970-01-01", ck(3000, THEN), ck(600, NOW)) == 80
    assert enzyme_range_percent("1970-01-01", ldh(600, THEN), ldh(300, NOW)) == 40


@pytest.mark.parametrize("birth", ["2015-01-01", None, "2008"])
def test_the_range_of_an_enzyme_is_known_for_adults_only(birth: str | None) -> None:
    """For a child, or where the age may be a child's, there is no range, and relative stays."""
    assert enzyme_range_percent(birth, ck(3000, THEN), ck(600, NOW)) is None


def test_an_enzyme_without_upper_limit_has_only_its_relative_change() -> None:
    """The definition of improvement can use it, the range cannot be known."""
    before, after = ck(3000, THEN, limit=None), ck(600, NOW, limit=None)
    assert enzyme_range_percent("1970-01-01", before, after) is None
    found = change("muscle_enzyme", before, after)
    assert found.relative == 80
    assert "no upper limit is known" in found.remark


# --- which enzyme --------------------------------------------------------------------------------


def test_the_most_abnormal_enzyme_at_baseline_counts() -> None:
    """CK is higher in U/L, and LDH higher in multiples of its upper limit."""
    found = change("muscle_enzyme", ck(600, THEN), ldh(1000, THEN), ck(100, NOW), ldh(500, NOW))
    assert (found.instrument, taken(found)) == ("ldh", (1000, 500))
    assert found.remark == "4.0 times its upper limit at baseline"


def test_the_same_enzyme_is_followed() -> None:
    """What is most abnormal later does not matter, and another enzyme never stands in."""
    found = change("muscle_enzyme", ck(2000, THEN), ldh(300, THEN), ck(150, NOW), ldh(2000, NOW))
    assert (found.instrument, taken(found)) == ("ck", (2000, 150))
    missing = change("muscle_enzyme", ck(2000, THEN), ldh(300, THEN), ldh(250, NOW))
    assert (missing.instrument, taken(missing)) == ("ck", (2000, None))
    assert "the same enzyme is not recorded at the later visit" in missing.remark
    assert missing.relative is None


def test_multiples_are_compared_in_one_unit() -> None:
    """An upper limit in µkat/L and a value in U/L give the multiple that they are."""
    high = {"referenceRange": [{"high": quantity(3, "ukat/L")}]}  # 180 U/L
    found = change("muscle_enzyme", ck(900, THEN, **high), ldh(1000, THEN))
    assert found.instrument == "ck"
    assert found.remark.startswith("5.0 times")


def test_one_enzyme_is_usable_and_said() -> None:
    """Two are asked for; of one the remark says so, of two it does not."""
    one = change("muscle_enzyme", ck(600, THEN), ck(100, NOW))
    assert one.relative is not None
    assert "only one enzyme at baseline; two are asked for" in one.remark
    two = change("muscle_enzyme", ck(600, THEN), ldh(100, THEN), ck(100, NOW))
    assert "only one enzyme" not in two.remark


def test_an_enzyme_without_a_limit_is_not_compared() -> None:
    """Its multiple is unknown, however high it is, and the remark says that it was left aside."""
    found = change("muscle_enzyme", ck(9000, THEN, limit=None), ldh(300, THEN), ldh(250, NOW))
    assert found.instrument == "ldh"
    assert "enzymes without an upper limit were not compared" in found.remark


def test_equal_multiples_are_decided_by_the_order_of_the_vocabulary() -> None:
    """The choice does not depend on the order in which resources arrive."""
    resources = (ldh(500, THEN), ck(400, THEN), ck(100, NOW), ldh(100, NOW))
    assert change("muscle_enzyme", *resources).instrument == "ck"
    assert change("muscle_enzyme", *resources[::-1]).instrument == "ck"


def ldh_by(codes: str, value: object, when: str, limit: object) -> Json:
    """Return an LDH in U/L whose codes may say by which reaction it was measured."""
    return ldh(value, when, limit) | {"code": concept(*(f"loinc|{code}" for code in codes.split()))}


@pytest.mark.parametrize(
    ("before", "after"), [("14805-6", "14804-9"), ("14805-6", "2532-0"), ("2532-0", "14804-9")]
)
def test_an_enzyme_is_not_compared_with_one_by_another_reaction(before: str, after: str) -> None:
    """LDH at three times the limit of each reaction has not halved."""
    found = change("muscle_enzyme", ldh_by(before, 1440, THEN, 480), ldh_by(after, 720, NOW, 240))
    assert (taken(found), found.relative) == ((1440, None), None)
    assert found.remark.endswith(
        "the same enzyme, by the same method, is not recorded at the later visit"
    )
    same = change("muscle_enzyme", ldh_by(before, 1440, THEN, 480), ldh_by(before, 720, NOW, 480))
    assert same.relative == 50


def test_a_code_that_names_the_reaction_counts_beside_one_that_leaves_it_open() -> None:
    """The two say the same; codes of both reactions contradict each other."""
    both, after = "2532-0 14804-9", ldh_by("14804-9", 120, NOW, 240)
    for codes in (both, "14804-9 2532-0"):
        found = change("muscle_enzyme", ldh_by(codes, 480, THEN, 240), after)
        assert (found.instrument, found.relative) == ("ldh_lactate_to_pyruvate", 75)
    unclear = ldh_by(f"{both} 14805-6", 480, THEN, 240)
    assert change("muscle_enzyme", unclear, after).baseline is None


def test_two_reactions_are_one_enzyme() -> None:
    """Two enzymes are asked for, and LDH by both is one."""
    twice = (ldh_by("14804-9", 480, THEN, 240), ldh_by("14805-6", 900, THEN, 480))
    found = change("muscle_enzyme", *twice, ldh_by("14804-9", 120, NOW, 240))
    assert "only one enzyme at baseline; two are asked for" in found.remark
    two = change("muscle_enzyme", *twice, ck(100, THEN))
    assert "only one enzyme" not in two.remark


def test_upper_limits_that_differ_are_told() -> None:
    """Another method or laboratory may be why an enzyme changed, or did not."""
    found = change("muscle_enzyme", ck(1500, THEN), ck(1500, NOW, limit=300))
    assert found.remark.endswith(
        "; upper limit 200 at baseline, 300 later: "
        "another method or laboratory may explain a change"
    )
    for later in (ck(1500, NOW), ck(1500, NOW, limit=None), haq(1, NOW)):
        assert "may explain" not in change("muscle_enzyme", ck(1500, THEN), later).remark


def test_no_enzyme_at_baseline() -> None:
    """A current enzyme alone is shown and tells of no change."""
    found = change("muscle_enzyme", ck(600, NOW))
    assert (taken(found), found.improvement) == ((None, 600), UNKNOWN)
    assert found.remark == "no enzyme is recorded at baseline"


# --- same instrument -----------------------------------------------------------------------------


def test_different_instruments_are_not_compared() -> None:
    """120 of 150 and then 70 of 80 is no change of anything; the current value is missing."""
    later = observation("core_set|mmt8-80", 70, None, NOW)
    found = change("muscle_strength", mmt150(120, THEN), later)
    assert (found.instrument, taken(found)) == ("mmt8_150", (120, None))
    assert found.by_another
    assert found.improvement == between(-100, 25)
    assert found.remark == (
        "baseline MMT-8, both sides and axial, 0-150, later MMT-8, one side, 0-80: "
        "different instruments cannot be compared"
    ).replace("0-", "0–")


def test_what_was_not_taken_at_all_was_taken_by_no_other_instrument() -> None:
    """Nor what was not taken at baseline, or by the same instrument at both visits."""
    later = observation("core_set|mmt8-80", 70, None, NOW)
    assert not change("muscle_strength", mmt150(120, THEN)).by_another
    assert not change("muscle_strength", later).by_another
    assert not change("muscle_strength", mmt150(120, THEN), mmt150(130, NOW), later).by_another


def test_the_instrument_that_both_visits_have_is_compared() -> None:
    """One that stands first in the vocabulary gives way to one that was used twice."""
    eighty = [observation("core_set|mmt8-80", v, None, d) for v, d in ((50, THEN), (60, NOW))]
    found = change("muscle_strength", mmt150(120, THEN), *eighty)
    assert (found.instrument, taken(found)) == ("mmt8_80", (50, 60))
    assert found.remark == ""


def test_of_two_instruments_used_twice_the_first_in_the_vocabulary_counts() -> None:
    """Where both visits have several, the order of the vocabulary decides."""
    eighty = [observation("core_set|mmt8-80", v, None, d) for v, d in ((50, THEN), (60, NOW))]
    found = change("muscle_strength", *eighty, mmt150(120, THEN), mmt150(121, NOW))
    assert found.instrument == "mmt8_150"


def test_child_and_adult_questionnaires_are_different_instruments() -> None:
    """CHAQ at baseline and HAQ-DI now cannot be compared, though both go from 0 to 3."""
    found = change("physical_function", observation("core_set|chaq", 2, None, THEN), haq(1, NOW))
    assert found.relative is None
    assert taken(found) == (Decimal(2), None)


# --- which visits --------------------------------------------------------------------------------


def test_without_treatment_the_earliest_within_the_look_back() -> None:
    """730 days back still counts, 731 do not."""
    at = [physician(5, ago(days)) for days in (731, 730, 400, 0)]
    chart = read(*at)
    assert visits(chart) == (on(730), on(0))
    assert chart.visits.reason == (
        "the earliest assessment within 730 days; no start of treatment is known"
    )


@pytest.mark.parametrize(
    ("status", "known"),
    [
        ("stopped", "no treatment is current"),
        # Whether it still goes on is not recorded.
        ("unknown", "no start of treatment is known"),
    ],
)
def test_after_treatment_the_earliest_within_the_look_back(status: str, known: str) -> None:
    """Where treatment surely ended the reason says that none is current, not that none began."""
    ended = order(concept("rxnorm|6851"), ago(500), status)
    chart = read(ended, physician(5, ago(400)), physician(5, ago(0)))
    assert visits(chart) == (on(400), on(0))
    assert chart.visits.reason == f"the earliest assessment within 730 days; {known}"


def test_that_treatment_ended_is_not_said_where_not_all_was_delivered() -> None:
    """An order that is current may be among those that were not sent."""
    ended = order(concept("rxnorm|6851"), ago(500), "stopped")
    delivery = deliver(ended, physician(5, ago(400)), physician(5, ago(0)))
    chart = chart_of(msgspec.structs.replace(delivery, incomplete={"MedicationRequest"}))
    assert chart.visits.reason.endswith("no start of treatment is known")


def test_nothing_within_the_look_back() -> None:
    """An assessment of long ago alone is no baseline."""
    chart = read(physician(5, ago(731)))
    assert visits(chart) == (None, None)
    assert chart.visits.reason == "no assessment within 730 days"


def test_nothing_recorded() -> None:
    """Without any core set measure nothing is compared, and that is the reason."""
    chart = read()
    assert visits(chart) == (None, None)
    assert chart.visits.reason == "no core set measure is recorded"


def prednisone(start: str) -> Json:
    """Return an active order of prednisone from a day on."""
    return order(concept("rxnorm|8640"), start)


@pytest.mark.parametrize(
    ("days_after_start", "counts"), [(-30, True), (0, True), (7, True), (8, False)]
)
def test_the_last_assessment_before_treatment(days_after_start: int, counts: bool) -> None:
    """The last assessment up to 7 days after the start is the baseline; one on day 8 is not."""
    started = 200
    later = started - days_after_start
    chart = read(
        prednisone(ago(started)),
        physician(9, ago(400)),
        physician(7, ago(later)),
        physician(3, ago(0)),
    )
    assert visits(chart) == (on(later if counts else 400), on(0))
    said = "no more than 7 days after" if 0 < days_after_start <= 7 else "on or before"
    assert chart.visits.reason == (
        f"the last assessment {said} the start of systemic glucocorticoid on {on(started)}"
    )


def test_no_assessment_before_treatment() -> None:
    """Then the earliest within the look-back is taken, and the reason says so."""
    chart = read(prednisone(ago(300)), physician(7, ago(200)), physician(3, ago(0)))
    assert visits(chart) == (on(200), on(0))
    assert chart.visits.reason == (
        "the earliest assessment within 730 days; none precedes the start of "
        f"systemic glucocorticoid on {on(300)}"
    )


def test_a_new_drug_opens_a_new_line() -> None:
    """The baseline belongs to the latest line: methotrexate added to prednisone."""
    chart = read(
        prednisone(ago(400)),
        order(concept("rxnorm|6851"), ago(200)),
        physician(9, ago(410)),
        physician(6, ago(205)),
        physician(3, ago(0)),
    )
    assert chart.line_start == on(200)
    assert chart.visits.baseline == on(205)


@pytest.mark.parametrize("drug", TERMS.vocabulary.drug_classes["steroid_sparing"].any_of)
def test_every_drug_that_the_response_is_judged_on_opens_a_new_line(drug: str) -> None:
    """Without it the baseline would be that of the treatment before."""
    entry = TERMS.vocabulary.drugs[drug]
    chart = read(
        prednisone(ago(400)),
        order(entry.names[0], ago(30)),
        physician(9, ago(410)),
        physician(6, ago(35)),
        physician(3, ago(0)),
    )
    assert visits(chart) == (on(35), on(0))
    assert chart.visits.reason.endswith(f"the start of {in_sentence(entry.title)} on {on(30)}")


def test_a_treatment_that_ended_opens_no_line() -> None:
    """Only what is taken now makes the current line."""
    chart = read(
        prednisone(ago(400)),
        order(concept("rxnorm|6851"), ago(200), "stopped"),
        given(concept("rxnorm|121191"), ago(300)),
    )
    assert chart.line_start == on(400)


@pytest.mark.parametrize(("days", "current"), [(28, True), (27, False)])
def test_the_least_interval(days: int, current: bool) -> None:
    """The current assessment is at least 28 days after baseline; before that there is none."""
    chart = read(physician(5, ago(days)), physician(4, ago(0)))
    assert visits(chart) == (on(days), on(0) if current else None)


def test_the_current_assessment_is_the_latest() -> None:
    """Of several later ones the last counts."""
    chart = read(*(physician(5, ago(days)) for days in (180, 90, 30, 2)))
    assert visits(chart) == (on(180), on(2))


def test_a_blood_sample_is_no_visit_where_there_are_visits() -> None:
    """Enzymes taken between visits do not move the assessment."""
    chart = read(physician(5, ago(180)), ck(500, ago(200)), physician(4, ago(10)), ck(100, ago(0)))
    assert visits(chart) == (on(180), on(10))
    assert taken(chart.changes["muscle_enzyme"]) == (None, 100)


@pytest.mark.parametrize("told", [patient_global, haq])
def test_what_a_patient_tells_is_no_visit_where_there_are_visits(
    told: Callable[[object, str], Json],
) -> None:
    """A questionnaire from home neither replaces a full visit nor the baseline."""
    chart = read(physician(5, ago(180)), told(2, ago(170)), physician(4, ago(30)), told(1, ago(0)))
    assert visits(chart) == (on(180), on(30))


def test_what_a_patient_tells_belongs_to_a_visit_within_the_window() -> None:
    """Answered a few days before or after, it is compared with the visit."""
    chart = read(
        physician(5, ago(180)), patient_global(5, ago(178)),
        physician(4, ago(10)), patient_global(4, ago(0)),
    )  # fmt: skip
    assert visits(chart) == (on(180), on(10))
    assert taken(chart.changes["patient_global"]) == (5, 4)


def test_blood_samples_alone_are_compared() -> None:
    """Where no other measure was ever taken, the days of the enzymes are the assessments."""
    chart = read(ck(500, ago(180)), ck(100, ago(0)))
    assert visits(chart) == (on(180), on(0))
    assert chart.changes["muscle_enzyme"].relative == 80


def test_a_value_that_was_left_out_makes_no_visit() -> None:
    """A preliminary or impossible value does not stand for an assessment."""
    chart = read(
        physician(5, ago(180)), physician(5, ago(30)), physician(11, ago(0)),
        mmt150(90, ago(1), status="preliminary"),
    )  # fmt: skip
    assert visits(chart) == (on(180), on(30))


# --- a named baseline ----------------------------------------------------------------------------


@pytest.mark.parametrize(("days", "found"), [(14, True), (15, False), (-14, True), (-15, False)])
def test_a_named_baseline_finds_the_assessment_within_the_window(days: int, found: bool) -> None:
    """An assessment 14 days before or after the date asked for counts, 15 days off none does."""
    named = on(200)
    at = 200 + days
    chart = read(physician(9, ago(500)), physician(5, ago(at)), physician(4), baseline=named)
    if found:
        assert visits(chart) == (on(at), on(0))
        assert chart.visits.reason == f"named by the caller ({named}), the nearest assessment"
    else:
        assert visits(chart) == (None, None)
        assert chart.visits.reason == (
            f"no assessment within 14 days of the baseline asked for ({named})"
        )


def test_a_named_baseline_takes_the_nearest_assessment() -> None:
    """It goes before the start of treatment, and before the earliest assessment."""
    chart = read(
        prednisone(ago(300)),
        physician(9, ago(310)),
        physician(7, ago(206)),
        physician(6, ago(197)),
        physician(4),
        baseline=on(200),
    )
    assert visits(chart) == (on(197), on(0))


def test_of_assessments_as_near_the_earlier_is_the_baseline() -> None:
    """Three days before and three after the date asked for: the one before."""
    chart = read(physician(7, ago(203)), physician(6, ago(197)), physician(4), baseline=on(200))
    assert chart.visits.baseline == on(203)


# --- which values belong to a visit --------------------------------------------------------------


@pytest.mark.parametrize(
    ("days", "belongs"), [(14, True), (15, False), (-14, True), (-15, False), (0, True)]
)
def test_the_edges_of_the_window(days: int, belongs: bool) -> None:
    """A value exactly 14 days from the visit belongs to it, one of 15 days does not."""
    chart = read(
        physician(5, ago(200)),
        patient_global(6, ago(200 + days)),
        physician(4, ago(20)),
        patient_global(3, ago(20)),
        baseline=on(200),
    )
    # The visit that was asked for is that of physician global in every case.
    assert chart.visits.baseline == on(200)
    assert taken(chart.changes["patient_global"]) == (6 if belongs else None, 3)


def test_the_nearest_value_wins() -> None:
    """Of two values in the window the nearer to the visit counts, though the other is later."""
    chart = read(
        physician(5, THEN),
        physician(4, NOW),
        ck(900, ago(188)),
        ck(700, ago(182)),
        ck(500, ago(170)),
    )
    assert taken(chart.changes["muscle_enzyme"])[0] == 700


def test_of_values_as_near_the_later_issued_wins() -> None:
    """Days 3 before and 3 after the visit tie, and the time of issue decides either way."""
    for before, after, first in (("09", "01", 1), ("01", "09", 2)):
        chart = read(
            physician(5, THEN),
            physician(4, NOW),
            ck(1, ago(183), issued=f"2026-06-{before}T08:00:00Z"),
            ck(2, ago(177), issued=f"2026-06-{after}T08:00:00Z"),
        )
        assert taken(chart.changes["muscle_enzyme"])[0] == first


def test_of_one_day_the_later_issued_wins() -> None:
    """A correction that was issued later counts, whatever the order of arrival and the offsets."""
    first = physician(7, THEN, issued=f"{THEN}T10:00:00+02:00")
    second = physician(6, THEN, issued=f"{THEN}T09:00:00Z")
    for resources in ((first, second), (second, first)):
        found = change("physician_global", *resources, physician(3, NOW))
        assert taken(found) == (6, 3)


def test_one_value_never_stands_for_both_visits() -> None:
    """With visits 28 days apart a value in the middle is in both windows and shows no change."""
    chart = read(
        physician(5, ago(28)), physician(4, ago(0)), mmt150(100, ago(14)),
        baseline=on(28),
    )  # fmt: skip
    found = chart.changes["muscle_strength"]
    assert visits(chart) == (on(28), on(0))
    assert taken(found) == (100, None)
    assert found.relative is None
    assert found.remark == "the only value near the later visit belongs to baseline"


# --- why these visits ----------------------------------------------------------------------------


def test_the_reason_names_the_drugs_that_began() -> None:
    """Two drugs that were started on one day are both named."""
    chart = read(
        prednisone(ago(200)),
        order(concept("rxnorm|6851"), ago(200)),
        physician(7, ago(201)),
        physician(3, NOW),
    )
    assert chart.visits.reason == (
        "the last assessment on or before the start of systemic glucocorticoid and methotrexate "
        f"on {on(200)}"
    )
    assert chart.visits.current_reason == "the latest assessment, at least 28 days after baseline"


def test_what_was_measured_without_a_visit_since_is_told() -> None:
    """It is not compared, and may be a flare: who reads of the visits learns of it."""
    visited = (prednisone(ago(200)), physician(7, ago(201)), physician(0, ago(40)))
    chart = read(*visited, patient_global(9, ago(3)), ck(6000, ago(25)))
    assert visits(chart) == (on(201), on(40))
    assert chart.visits.current_reason == (
        "the latest assessment, at least 28 days after baseline; what was measured without a visit "
        f"since, last on {on(3)}, is not compared"
    )
    # What lies within 14 days of a visit belongs to it.
    assert "since" not in (read(*visited, ck(6000, ago(26))).visits.current_reason or "")


def test_a_named_baseline_on_its_very_day() -> None:
    """Nothing need be said of what was nearest."""
    chart = read(physician(7, ago(200)), physician(3, NOW), baseline=on(200))
    assert chart.visits.reason == f"named by the caller ({on(200)})"


def test_a_later_assessment_that_is_too_early_is_named() -> None:
    """Where nothing is late enough to be the current one, the reason says what there is."""
    chart = read(physician(5, ago(20)), physician(4, ago(2)))
    assert chart.visits.current is None
    assert chart.visits.current_reason == (
        f"no assessment at least 28 days after baseline (the latest is of {on(2)})"
    )


# --- the visit before the current one ------------------------------------------------------------


@pytest.mark.parametrize(
    ("days", "found"), [(165, True), (166, False), (180, False), (15, True), (14, False)]
)
def test_the_previous_visit_is_apart_from_both(days: int, found: bool) -> None:
    """It lies outside the window of 14 days around baseline and around the current visit."""
    chart = read(physician(5, THEN), physician(6, ago(days)), physician(7, NOW))
    assert chart.visits.previous == (on(days) if found else None)


def test_the_last_of_several_visits_is_the_previous_one() -> None:
    """Two visits in a row are the last two."""
    chart = read(*(physician(5, ago(days)) for days in (180, 120, 60, 0)))
    assert chart.visits.previous == on(60)


def test_the_previous_visit_is_compared_with_baseline_too() -> None:
    """Not with the visit that follows it."""
    chart = read(physician(4, THEN), physician(6, ago(60)), physician(7, NOW))
    assert chart.previous["physician_global"].worsening == exactly(50)
    assert chart.previous["physician_global"].worse_by == exactly(2)


def test_the_current_visit_is_compared_with_the_previous_one_too() -> None:
    """A flare after improvement is a worsening since then, from 0 in the unit alone."""
    chart = read(
        physician(8, THEN), physician(0, ago(60)), physician(6, NOW),
        mmt150(90, THEN), mmt150(148, ago(60)), mmt150(111, NOW),
    )  # fmt: skip
    assert chart.changes["physician_global"].improvement == exactly(25)
    assert chart.since_previous["physician_global"].worse_by == exactly(6)
    assert chart.since_previous["muscle_strength"].worsening == exactly(25)


def test_since_the_previous_visit_the_instrument_that_both_have_is_compared() -> None:
    """Whatever was used at baseline."""
    chart = read(
        physician(8, THEN), physician(1, ago(60)), physician(6, NOW),
        observation("core_set|mmt8-80", 50, None, THEN), mmt150(148, ago(60)), mmt150(111, NOW),
    )  # fmt: skip
    assert taken(chart.since_previous["muscle_strength"]) == (148, 111)


def test_no_value_stands_for_two_visits_in_a_row() -> None:
    """A value within both windows belongs to the current visit, to which it is nearer."""
    chart = read(
        physician(4, THEN), physician(6, ago(20)), physician(7, NOW),
        patient_global(4, THEN), patient_global(9, ago(8)),
    )  # fmt: skip
    assert taken(chart.changes["patient_global"]) == (4, 9)
    assert taken(chart.previous["patient_global"]) == (4, None)
    assert taken(chart.since_previous["patient_global"]) == (None, 9)


def test_a_value_half_way_belongs_to_the_current_visit() -> None:
    """Ten days from both: it is not lent to the visit before."""
    chart = read(
        physician(4, THEN), physician(6, ago(20)), physician(7, NOW),
        patient_global(4, THEN), patient_global(9, ago(10)),
    )  # fmt: skip
    assert taken(chart.previous["patient_global"]) == (4, None)
    assert taken(chart.since_previous["patient_global"]) == (None, 9)


def test_without_a_previous_visit_nothing_is_compared_with_it() -> None:
    """Two visits are not three."""
    chart = read(physician(5, THEN), physician(6, NOW))
    assert (chart.previous, chart.since_previous) == ({}, {})


# --- how much worse, in the unit -----------------------------------------------------------------


def test_worse_by_is_in_the_unit_of_the_instrument() -> None:
    """From 3 to 5 cm it is 2 cm worse, whatever that is of 3; for better it is negative."""
    assert change("extramuscular", vas(3, THEN), vas(5, NOW)).worse_by == exactly(2)
    assert change("extramuscular", vas(5, THEN), vas(3, NOW)).worse_by == exactly(-2)


def test_worse_by_of_a_missing_value_is_what_the_range_allows() -> None:
    """From 8 cm it cannot become more than 2 cm worse on a scale of 10 cm."""
    assert change("extramuscular", vas(8, THEN)).worse_by == between(-8, 2)


def vas(value: object, when: str) -> Json:
    """Return an extramuscular activity in cm."""
    return observation("core_set|extramuscular-global", value, "cm", when)


# --- children ------------------------------------------------------------------------------------

CHILD = {"resourceType": "Patient", "id": "p1", "birthDate": "2015-03-01"}
ADULT = {"resourceType": "Patient", "id": "p1", "birthDate": "1975-03-01"}
SEVENTEEN_OR_EIGHTEEN = {"resourceType": "Patient", "id": "p1", "birthDate": "2008"}


def das(value: object, when: str) -> Json:
    """Return a disease activity score."""
    return observation("core_set|das", value, None, when)


def chq(value: object, when: str) -> Json:
    """Return a physical summary score of the CHQ."""
    return observation("core_set|chq-phs", value, None, when)


def test_the_juvenile_score_stands_in_for_a_child() -> None:
    """DAS from 10 to 8 of 20 is 20 % better, 10 % of its range, and not in cm."""
    found = change("extramuscular", CHILD, das(10, THEN), das(8, NOW))
    assert (found.instrument, found.relative, found.range_percent) == ("das", 20, 10)
    assert found.worse_by == UNKNOWN
    assert found.remark == "stands in for the adult measure in a child"


def test_higher_is_better_in_the_juvenile_questionnaire_and_its_range_is_not_known() -> None:
    """CHQ-PhS from 30 to 36 is 20 % better, and has no percentage of a range."""
    found = change("muscle_enzyme", CHILD, chq(30, THEN), chq(36, NOW))
    assert (found.instrument, found.relative, found.range_percent) == ("chq_phs", 20, None)


@pytest.mark.parametrize(
    ("patient", "said"),
    [
        (ADULT, "this is an adult"),
        (SEVENTEEN_OR_EIGHTEEN, "the age is not known"),
        (None, "the age is not known"),
    ],
)
def test_the_juvenile_score_counts_in_children_only(patient: Json | None, said: str) -> None:
    """In an adult, or where the age leaves it open, it is not counted, and the remark says so."""
    of = (patient,) if patient else ()
    found = change("extramuscular", *of, das(10, THEN), das(2, NOW))
    assert taken(found) == (None, None)
    assert found.remark == f"DAS, 0–20 is recorded and counts in children only; {said}"


def test_what_both_visits_have_goes_before_the_juvenile_score() -> None:
    """A child with the visual analogue scale at both visits is compared by it."""
    found = change("extramuscular", CHILD, vas(5, THEN), vas(4, NOW), das(10, THEN), das(2, NOW))
    assert found.instrument == "extramuscular_vas"


def test_the_juvenile_score_goes_before_a_scale_of_one_visit() -> None:
    """Only the same instrument at both visits can be compared."""
    found = change("extramuscular", CHILD, vas(5, THEN), das(10, THEN), das(2, NOW))
    assert (found.instrument, found.relative) == ("das", 80)


def cmas(value: object, when: str) -> Json:
    """Return a Childhood Myositis Assessment Scale."""
    return observation("core_set|cmas", value, None, when)


def test_the_strength_scale_of_children_counts_in_children_only() -> None:
    """CMAS from 20 to 40 of 52 is no strength of an adult, and makes no visit of one."""
    of = (cmas(20, THEN), cmas(40, NOW))
    found = change("muscle_strength", ADULT, *of)
    assert taken(found) == (None, None)
    assert found.remark == "CMAS, 0–52 is recorded and counts in children only; this is an adult"
    assert change("muscle_strength", CHILD, *of).relative == 100
    assert read(ADULT, *of).visits.days == ()
    assert len(read(CHILD, *of).visits.days) == 2


def test_the_other_instruments_of_a_measure_are_kept() -> None:
    """What was measured by CMAS beside manual testing is not lost; of enzymes one is chosen."""
    of = (mmt150(100, THEN), mmt150(110, NOW))
    found = change("muscle_strength", CHILD, *of, cmas(20, THEN), cmas(40, NOW))
    ((instrument, before, after),) = found.others
    assert before is not None and after is not None
    assert (found.instrument, instrument) == ("mmt8_150", "cmas")
    assert (before.value, after.value) == (20, 40)
    assert change("muscle_strength", CHILD, *of).others == ()
    assert change("muscle_strength", CHILD, *of[:1], cmas(20, THEN)).others == ()
    assert change("muscle_enzyme", ck(600, THEN), ck(100, NOW), ldh(300, THEN)).others == ()


def test_an_enzyme_at_both_visits_goes_before_the_questionnaire() -> None:
    """CHQ-PhS stands in for an enzyme only where there is none to compare."""
    found = change(
        "muscle_enzyme", CHILD, ck(1000, THEN), ck(100, NOW), chq(30, THEN), chq(36, NOW)
    )
    assert found.instrument == "ck"


def test_an_enzyme_has_no_range_in_a_child() -> None:
    """Fifteen times the upper limit was stated for adults: a child's CK has no percentage of it."""
    of = (ck(3000, THEN), ck(600, NOW))
    assert change("muscle_enzyme", ADULT, *of).range_percent == 80
    assert change("muscle_enzyme", CHILD, *of).range_percent is None
    assert change("muscle_enzyme", SEVENTEEN_OR_EIGHTEEN, *of).range_percent is None
    assert change("muscle_enzyme", *of).range_percent is None


def test_a_juvenile_multiplier_counts_where_its_source_is_named() -> None:
    """One that a file gives without a source is not used."""
    entry = TERMS.vocabulary.observations["ck"]
    sourced = Number(value=Decimal(10), source="a-paper")
    for number, expected in ((sourced, sourced), (Number(value=Decimal(10)), None), (None, None)):
        declared = msgspec.structs.replace(entry, juvenile_range_in_upper_limits=number)
        assert range_in_upper_limits(declared, adult=False) == expected


def test_a_score_in_a_child_is_no_assessment_of_an_adult() -> None:
    """The days on which only juvenile scores were taken count in a child alone."""
    of = (chq(30, THEN), chq(36, NOW), ck(500, ago(90)))
    assert visits(read(CHILD, *of)) == (on(180), on(0))
    assert visits(read(ADULT, *of)) == (on(90), None)


def test_a_disease_activity_score_makes_a_visit_of_a_child() -> None:
    """What the parents answer in between does not; an adult has none."""
    of = (das(9, THEN), das(4, ago(20)), chq(30, ago(0)))
    assert visits(read(CHILD, *of)) == (on(180), on(20))
    assert visits(read(ADULT, *of)) == (None, None)


# --- beside the core set -------------------------------------------------------------------------


def test_measures_beside_the_core_set_make_no_visit() -> None:
    """A skin score alone is no assessment of the core set."""
    chart = read(observation("core_set|cdasi-activity", 20, None, NOW))
    assert chart.visits.baseline is None


def test_a_ratio_to_a_score_below_zero_is_undefined() -> None:
    """A summary score is scaled to a population: from -2 or 0 no percentage means anything."""
    for start in (-2, 0):
        found = change(
            "physical_quality_of_life",
            observation("core_set|sf36-pcs", start, None, THEN),
            observation("core_set|sf36-pcs", 10, None, NOW),
        )
        assert (found.improvement, found.worsening) == (UNKNOWN, UNKNOWN)
        assert found.undefined
        assert found.relative is None


def test_a_trend_has_the_last_value_of_each_day() -> None:
    """In order of time, and of one instrument."""
    chart = read(
        physician(5, THEN),
        physician(7, ago(90), issued=f"{ago(90)}T08:00:00Z"),
        physician(6, ago(90), issued=f"{ago(90)}T12:00:00Z"),
        physician(4, NOW),
    )
    found = trend(chart.changes["physician_global"], chart.measurements.series)
    assert [m.value for m in found] == [5, 6, 4]
    assert trend(chart.changes["extramuscular"], chart.measurements.series) == ()


def test_the_days_of_all_assessments_are_kept() -> None:
    """Those of measures taken at a visit, in order of time, whether or not two are compared."""
    visits = read(physician(5, ago(0)), mmt150(140, ago(90)), ck(300, ago(40))).visits
    assert [day.isoformat() for day in visits.days] == [ago(90), ago(0)]
    assert read(physician(5, ago(0))).visits.days == (AS_OF,)
    assert read().visits.days == ()
