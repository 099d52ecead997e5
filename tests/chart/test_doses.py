from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given as given_any
from hypothesis import strategies as st
from msgspec.structs import replace

from cds.chart.chart import Chart, read_chart, read_findings
from cds.chart.doses import days_at, dose_on
from cds.chart.quantities import INFINITY, Interval
from cds.rules.engine import LARGEST
from tests.chart.conftest import (
    AS_OF,
    FACTS,
    TERMS,
    Json,
    ago,
    between,
    chart_of,
    concept,
    deliver,
    exactly,
    fact,
    given,
    order,
    quantity,
    read,
    stated,
)
from tests.work import assert_in_proportion, work_of

PREDNISONE = concept("rxnorm|8640")
DAILY = "dose.glucocorticoid.daily"
ABOVE_15 = "dose.glucocorticoid.days_above_15_mg"
FROM_2_5 = "dose.glucocorticoid.days_from_2_5_mg"


def at_least(number: str | int) -> Interval:
    """Return a number of which only the least is known."""
    return Interval(Decimal(number), INFINITY)


def taken(value: object, unit: str | None = "mg", **of: Any) -> Json:
    """Return one dosage by mouth, once a day if not told."""
    timing = of.pop("timing", {"repeat": {"frequency": 1, "period": 1, "periodUnit": "d"}})
    made = {"doseAndRate": [{"doseQuantity": quantity(value, unit)}], "route": {"text": "Oral"}}
    return made | ({"timing": timing} if timing else {}) | of


def during(start: str, end: str | None = None) -> Json:
    """Return a timing once a day between two dates."""
    bounds = {"start": start} | ({"end": end} if end else {})
    return {
        "timing": {
            "repeat": {"boundsPeriod": bounds, "frequency": 1, "period": 1, "periodUnit": "d"}
        }
    }


def repeat(**of: Any) -> Json:
    """Return a timing that repeats."""
    return {"timing": {"repeat": of}}


def ordered(*dosages: Json, on: str | None = None, drug: Any = PREDNISONE, **of: Any) -> Json:
    """Return an order of these dosages, active if not told."""
    return order(drug, on or ago(30), dosageInstruction=list(dosages), **of)


def why(chart: Chart, name: str = DAILY) -> str:
    """Return what the evidence of a dose says."""
    return "; ".join(e.text for e in FACTS[name].evidence(chart))


# --- one dosage ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dosage", "dose"),
    [
        (taken(20), exactly(20)),
        (taken(0.02, "g"), exactly(20)),
        (taken(5, **repeat(frequency=2, period=1, periodUnit="d")), exactly(10)),
        (taken(20, **repeat(frequency=1, period=2, periodUnit="d")), exactly(10)),
        (taken(20, **repeat(period=1, periodUnit="d")), exactly(20)),
        (taken(5, **repeat(frequency=1, period=8, periodUnit="h")), exactly(15)),
        (taken(35, **repeat(frequency=3, period=1, periodUnit="wk")), exactly(15)),
        (taken(5, **repeat(frequency=1, frequencyMax=2, period=1, periodUnit="d")), between(5, 10)),
        (
            taken(20, **repeat(frequency=1, period=1, periodMax=2, periodUnit="d")),
            between(10, 20),
        ),
        (taken(5, **repeat(when=["MORN", "EVE"])), exactly(10)),
        (taken(5, **repeat(timeOfDay=["08:00:00", "12:00:00", "18:00:00"])), exactly(15)),
        (taken(10, timing={"code": {"coding": [{"code": "BID"}]}}), exactly(20)),
        (taken(10, timing={"code": {"coding": [{"code": "QOD"}]}}), exactly(5)),
    ],
)
def test_a_dose_a_day_is_one_dose_times_how_often_it_is_taken(dosage: Json, dose: Interval) -> None:
    """Whatever the way in which FHIR says how often, and exactly."""
    assert fact(read(ordered(dosage)), DAILY) == dose


@pytest.mark.parametrize(
    ("dosage", "dose", "reason"),
    [
        (taken(20, asNeededBoolean=True), between(0, 20), "as needed"),
        (taken(20, asNeededCodeableConcept={"text": "rash"}), between(0, 20), "as needed"),
        (taken(20, timing=None), at_least(0), "how often it is to be taken is not stated"),
        (taken(20, **repeat(frequency=1, period=1)), at_least(0), "cannot be read"),
        (
            taken(20, **repeat(frequency=1, period=1, periodUnit="mo")),
            at_least(0),
            "cannot be read",
        ),
        (
            taken(20, **repeat(frequency=1, period=1, periodUnit="wk", dayOfWeek=["mon"])),
            at_least(0),
            "certain days of the week",
        ),
        (taken(2, "tablet"), at_least(0), "stated in tablet, whose strength in mg is not told"),
        (taken(1, "mg/kg"), at_least(0), "stated in mg/kg"),
        (taken(20, None), at_least(0), "has no unit"),
        (
            {"route": {"text": "Oral"}, "text": "as per plan"},
            at_least(0),
            "not stated as a quantity",
        ),
        (
            {
                "route": {"text": "Oral"},
                "maxDosePerPeriod": {
                    "numerator": quantity(40, "mg"),
                    "denominator": quantity(1, "d"),
                },
            },
            between(0, 40),
            "not stated as a quantity",
        ),
    ],
)
def test_what_cannot_be_read_leaves_the_dose_open_and_says_why(
    dosage: Json, dose: Interval, reason: str
) -> None:
    """Nothing is guessed: not a strength, not once a day, not a body weight."""
    chart = read(ordered(dosage))
    assert fact(chart, DAILY) == dose
    assert reason in why(chart)


BEYOND = "beyond anything that can be given"


@pytest.mark.parametrize(
    ("dosage", "dose"),
    [
        (taken("1e1000"), at_least(0)),
        (taken("1e7"), at_least(0)),
        (taken("1e-7"), at_least(0)),
        (taken(20, **repeat(frequency=1, period="1e-1000", periodUnit="d")), at_least(0)),
        (taken(20, **repeat(frequency=1, period="1e1000", periodUnit="d")), at_least(0)),
        (taken(20, **repeat(frequency=10**30, period=1, periodUnit="d")), at_least(0)),
        (
            taken(
                0,
                doseAndRate=[
                    {"doseRange": {"low": quantity(5, "mg"), "high": quantity("1e9", "mg")}}
                ],
            ),
            at_least(0),
        ),
        (
            taken("1e1000")
            | {
                "maxDosePerPeriod": {
                    "numerator": quantity(40, "mg"),
                    "denominator": quantity(1, "d"),
                }
            },
            between(0, 40),
        ),
    ],
)
def test_a_dose_that_nobody_could_give_leaves_the_dose_open(dosage: Json, dose: Interval) -> None:
    """It is a mistake, of which nothing is known but that; nothing of it is cut to size."""
    chart = read(ordered(dosage))
    assert fact(chart, DAILY) == dose
    assert BEYOND in why(chart)


@pytest.mark.parametrize("denominator", ["1e-1000", "1e1000"])
def test_a_maximum_that_nobody_could_give_is_none(denominator: str) -> None:
    """The dose that is stated beside it counts; without one the dose stays open."""
    most = {"numerator": quantity(40, "mg"), "denominator": quantity(denominator, "d")}
    assert fact(read(ordered(taken(20, maxDosePerPeriod=most))), DAILY) == exactly(20)
    open_ = {"route": {"text": "Oral"}, "maxDosePerPeriod": most}
    assert fact(read(ordered(open_)), DAILY) == at_least(0)


@pytest.mark.parametrize("most", ["9999999", "0.000001"])
def test_the_greatest_and_the_least_dose_that_count(most: str) -> None:
    """Up to ten kilograms, and down to a nanogram, a dose is taken as it is written."""
    assert fact(read(ordered(taken(most))), DAILY) == exactly(most)


@pytest.mark.parametrize("number", ["1e1000", "9999999", "0.000001", "1e-1000"])
def test_no_number_of_doses_is_beyond_the_rule_engine(number: str) -> None:
    """However many doses there are, and whatever stands in the place of each number."""
    dosages = [
        taken(number),
        taken(20, **repeat(frequency=1, period=number, periodUnit="h")),
        taken(number, **repeat(frequency=1, period=number, periodUnit="wk")),
        taken(20, **repeat(boundsDuration={"value": number, "code": "a"}, when=["MORN"])),
    ]
    drugs = (PREDNISONE, "Dexamethasone", "Methylprednisolone")
    orders = [ordered(each, drug=drug) for each in dosages for drug in drugs]
    delivery = deliver(*orders)
    found = read_findings(delivery, TERMS, AS_OF)
    drafts = deliver(*(each | {"status": "draft"} for each in orders))
    chart = read_chart(delivery, found, "p1", TERMS, AS_OF, drafts=drafts)
    names = [name for name in FACTS if name.startswith("dose.")]
    numbers = [value for name in names if isinstance(value := fact(chart, name), Interval)]

    assert len(numbers) == len(names) > 0
    for each in numbers:
        assert each.low < LARGEST
        assert each.high < LARGEST or each.high == INFINITY


def test_a_dose_that_nobody_could_give_is_no_pulse() -> None:
    """Whether it is one is not known, as of a dose that is not stated."""
    for dose in ("1e1000", "1e-1000"):
        for chart in (
            read(ordered(taken(dose, route=INTRAVENOUS), drug="Methylprednisolone")),
            read(given("Methylprednisolone", ago(0), dose, "intravenous")),
        ):
            assert fact(chart, PULSE) is None


def test_a_range_is_a_range() -> None:
    """A dose range gives the bounds of the dose."""
    ranged = taken(
        0, doseAndRate=[{"doseRange": {"low": quantity(5, "mg"), "high": quantity(10, "mg")}}]
    )
    assert fact(read(ordered(ranged)), DAILY) == between(5, 10)


def test_an_order_without_dosage_leaves_the_dose_open() -> None:
    """That a glucocorticoid is given is known, how much is not."""
    chart = read(order("Prednisone tablets", ago(10)))
    assert fact(chart, DAILY) == at_least(0)


# --- which drugs and routes ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("drug", "dose", "equivalent"),
    [
        ("Prednisolone", 20, "20"),
        ("Methylprednisolone", 16, "20"),
        ("Dexamethasone", 3, "20"),
        ("Dexamethasone", 0.75, "5"),
        ("Hydrocortisone", 20, "5"),
        ("Deflazacort", 6, "5"),
    ],
)
def test_doses_are_expressed_in_prednisone(drug: str, dose: object, equivalent: str) -> None:
    """By the equal doses of the vocabulary, multiplied before they are divided."""
    assert fact(read(ordered(taken(dose), drug=drug)), DAILY) == exactly(equivalent)


INTRAVENOUS: Json = {"text": "Intravenous"}
PULSE = "drug.pulse_methylprednisolone.ever"


@pytest.mark.parametrize(
    ("dose", "daily", "pulsed"), [(40, 50, False), (249, "311.25", False), (250, 0, True)]
)
def test_what_is_given_intravenously_counts_below_a_pulse(
    dose: int, daily: object, pulsed: bool
) -> None:
    """40 mg of methylprednisolone are 50 mg of prednisone; from 250 mg it is a pulse."""
    for chart in (
        read(ordered(taken(dose, route=INTRAVENOUS), drug="Methylprednisolone")),
        read(given("Methylprednisolone", ago(0), dose, "intravenous")),
    ):
        assert fact(chart, DAILY) == exactly(str(daily))
        assert fact(chart, PULSE) is pulsed
        assert fact(chart, "drug.glucocorticoid.current") is True


def test_a_pulse_that_is_given_in_parts_is_no_daily_dose() -> None:
    """Its dose is that of the day."""
    parts = [given("Methylprednisolone", ago(0), 125, "intravenous") for _ in range(2)]
    assert fact(read(*parts), DAILY) == exactly(0)


def test_what_may_be_a_pulse_leaves_the_dose_open() -> None:
    """Intravenous methylprednisolone whose dose cannot be read is any dose, or none."""
    chart = read(order("Methylprednisolone", ago(3), dosageInstruction=[{"route": INTRAVENOUS}]))
    assert fact(chart, DAILY) == at_least(0)
    assert "it may be intravenous pulse methylprednisolone" in why(chart)


@pytest.mark.parametrize(("days", "daily"), [(28, at_least(0)), (29, exactly(0))])
@pytest.mark.parametrize("drug", ["Methylprednisolone acetate", "Triamcinolone acetonide"])
def test_a_depot_leaves_the_dose_open_while_it_lasts(drug: str, days: int, daily: Interval) -> None:
    """Into a muscle no equal dose holds; the dose is not known for four weeks after."""
    chart = read(given(drug, ago(days), 80, "intramuscular"))
    assert fact(chart, DAILY) == daily
    assert ("is equal to no known dose a day" in why(chart)) is (days == 28)


def test_what_is_injected_into_a_joint_does_not_count() -> None:
    """It is local treatment."""
    chart = read(given("Triamcinolone acetonide", ago(1), 40, "intra-articular"))
    assert fact(chart, DAILY) == exactly(0)


def test_only_orders_surely_go_on_over_a_gap() -> None:
    """Two infusions a fortnight apart are no fortnight of treatment, though there may have been."""
    chart = read(*(given("Methylprednisolone", ago(d), 100, "intravenous") for d in (0, 14)))
    assert fact(chart, ABOVE_15) == between(0, 14)


def test_without_a_route_a_dose_is_possible_only() -> None:
    """It may be a cream."""
    untold = taken(20)
    del untold["route"]
    chart = read(ordered(untold))
    assert fact(chart, DAILY) == between(0, 20)
    assert "its route is not told" in why(chart)


# --- several dosages and orders ------------------------------------------------------------------


def test_steps_with_dates_follow_their_dates() -> None:
    """The step of today is the dose of today."""
    tapered = ordered(
        taken(40, sequence=1, **during(ago(60), ago(31))),
        taken(20, sequence=2, **during(ago(30), ago(11))),
        taken(10, sequence=3, **during(ago(10))),
    )
    assert fact(read(tapered), DAILY) == exactly(10)
    assert fact(read(tapered, as_of=date(2026, 10, 27)), DAILY) == exactly(20)


def test_steps_without_dates_may_be_over() -> None:
    """At most the highest step is taken, and perhaps nothing any more."""
    tapered = ordered(taken(40, sequence=1), taken(20, sequence=2))
    assert fact(read(tapered), DAILY) == between(0, 40)


def test_doses_of_one_sequence_are_taken_together() -> None:
    """FHIR has equal sequence numbers for what is concurrent; without one it may be either."""
    together = ordered(taken(15, sequence=1), taken(5, sequence=1))
    assert fact(read(together), DAILY) == exactly(20)
    either = ordered(taken(15), taken(5))
    assert fact(read(either), DAILY) == between(15, 20)


def test_a_later_order_replaces_an_earlier_one_or_is_added_to_it() -> None:
    """At least the dose of the later order is taken, at most both."""
    chart = read(ordered(taken(40), on=ago(60)), ordered(taken(10), on=ago(10)))
    assert fact(chart, DAILY) == between(10, 50)


def test_an_order_that_cannot_be_read_may_replace_or_add() -> None:
    """After it nothing is sure; before it, the later order still is."""
    later = read(ordered(taken(40), on=ago(60)), ordered(taken(2, "tablet"), on=ago(10)))
    assert fact(later, DAILY) == at_least(0)
    earlier = read(ordered(taken(2, "tablet"), on=ago(60)), ordered(taken(20), on=ago(10)))
    assert fact(earlier, DAILY) == at_least(20)


def test_what_was_given_fulfils_an_order() -> None:
    """A dose on the chart of administrations does not count a second time."""
    by_mouth = given(PREDNISONE, ago(0), 20, "oral")
    assert fact(read(ordered(taken(20)), by_mouth), DAILY) == exactly(20)
    assert fact(read(by_mouth), DAILY) == exactly(20)
    twice = (given(PREDNISONE, ago(0), 20, "oral"), given(PREDNISONE, ago(0), 10, "oral"))
    assert fact(read(*twice), DAILY) == exactly(30)


def test_a_statement_counts_as_an_order_does() -> None:
    """What the patient is said to take is a daily dose."""
    chart = read(stated(PREDNISONE, ago(5), dosage=[taken(15)]))
    assert fact(chart, DAILY) == exactly(15)


def test_no_dose_is_known_only_where_everything_was_delivered() -> None:
    """Nobody prescribed one: 0; orders were not delivered: not known."""
    assert fact(read(), DAILY) == exactly(0)
    undelivered = chart_of(deliver(delivered={"Patient", "Condition"}))
    assert fact(undelivered, DAILY) == at_least(0)
    assert fact(undelivered, ABOVE_15) == at_least(0)


def test_an_order_that_was_stopped_is_not_the_dose_of_today() -> None:
    """Nor is one that is on hold, or that ended."""
    for status in ("stopped", "completed", "on-hold"):
        assert fact(read(ordered(taken(20), status=status)), DAILY) == exactly(0)
    ended = ordered(taken(20, **during(ago(30), ago(1))))
    assert fact(read(ended), DAILY) == exactly(0)
    planned = ordered(taken(20, **during(ago(30), "2027-01-01")), status="stopped")
    assert fact(read(planned), DAILY) == exactly(0)


def test_an_order_of_unknown_status_is_perhaps_the_dose_of_today() -> None:
    """It may go on or not."""
    assert fact(read(ordered(taken(20), status="unknown")), DAILY) == between(0, 20)


# --- how long ------------------------------------------------------------------------------------


def test_the_time_at_a_level_goes_over_orders_and_steps() -> None:
    """As long as the dose was surely above it each day, whatever the order."""
    chart = read(
        ordered(taken(40, **during(ago(40), ago(21))), on=ago(40), status="completed"),
        ordered(taken(20, **during(ago(20))), on=ago(20)),
    )
    assert fact(chart, ABOVE_15) == exactly(40)


@pytest.mark.parametrize(("dose", "days"), [(15, 0), (15.001, 30), (16, 30)])
def test_a_level_that_is_exceeded_is_not_reached_by_its_number(dose: object, days: int) -> None:
    """More than 15 mg is not 15 mg."""
    assert fact(read(ordered(taken(dose))), ABOVE_15) == exactly(days)


@pytest.mark.parametrize(("dose", "days"), [(2.499, 0), (2.5, 30)])
def test_another_level_counts_from_its_number(dose: object, days: int) -> None:
    """At least 2.5 mg is 2.5 mg."""
    assert fact(read(ordered(taken(dose))), FROM_2_5) == exactly(days)


def test_a_lower_step_ends_the_time_at_a_level() -> None:
    """Only the time up to today counts, not an earlier one."""
    chart = read(
        ordered(taken(40, **during(ago(60), ago(41))), status="completed", on=ago(60)),
        ordered(taken(10, **during(ago(40), ago(11))), status="completed", on=ago(40)),
        ordered(taken(20, **during(ago(10))), on=ago(10)),
    )
    assert fact(chart, ABOVE_15) == exactly(10)
    assert fact(chart, FROM_2_5) == exactly(60)


@pytest.mark.parametrize(("gap", "days"), [(14, 60), (15, 30)])
def test_a_short_gap_between_orders_is_bridged(gap: int, days: int) -> None:
    """A renewal that comes late does not begin anew; up to 14 days, as the vocabulary says."""
    chart = read(
        ordered(taken(20, **during(ago(60), ago(31 + gap))), status="completed", on=ago(60)),
        ordered(taken(20, **during(ago(30))), on=ago(30)),
    )
    assert fact(chart, ABOVE_15) == exactly(days)


def test_an_end_that_is_not_told_leaves_the_time_open() -> None:
    """The completed order may have gone on until the next one, or have ended on its first day."""
    chart = read(
        ordered(taken(20), status="completed", on=ago(60)),
        ordered(taken(20), on=ago(30)),
    )
    assert fact(chart, ABOVE_15) == between(30, 60)


def test_a_start_of_which_only_the_month_is_known_gives_bounds() -> None:
    """From the first of October at the earliest, the last of October at the latest."""
    chart = read(ordered(taken(20), on="2026-10"))
    assert fact(chart, ABOVE_15) == between(
        (AS_OF - date(2026, 10, 31)).days, (AS_OF - date(2026, 10, 1)).days
    )


def test_an_order_without_a_start_has_been_going_on_for_an_unknown_time() -> None:
    """Today is sure, before that nothing."""
    chart = read(order(PREDNISONE, None, dosageInstruction=[taken(20)]))
    assert fact(chart, DAILY) == exactly(20)
    assert fact(chart, ABOVE_15) == at_least(0)


def test_the_days_at_a_level_cost_in_proportion_to_the_orders() -> None:
    """Orders that each begin on another day, and all go on, are not gone through for each day."""
    entry = TERMS.vocabulary.doses["glucocorticoid"]

    def work(number: int) -> int:
        chart = read(*(ordered(taken(20, **during(ago(i))), on=ago(i)) for i in range(number)))
        dose = chart.doses["glucocorticoid"]
        return work_of(lambda: days_at(entry.levels["above_15_mg"], 14, dose, complete=True))

    assert_in_proportion(work, 100)


def test_of_orders_that_began_long_ago_and_are_uncertain_each_is_looked_at_once() -> None:
    """Those of which only the year is known stand before every other on all days."""
    entry = TERMS.vocabulary.doses["glucocorticoid"]

    def work(number: int) -> int:
        spans = (during("2025", ago(i)) for i in range(number))
        chart = read(*(ordered(taken(20, **span), on="2025") for span in spans))
        dose = chart.doses["glucocorticoid"]
        return work_of(lambda: days_at(entry.levels["above_15_mg"], 14, dose, complete=True))

    assert_in_proportion(work, 80)


_DAYS = st.integers(0, 40)
_ORDERS = st.lists(
    st.tuples(
        st.sampled_from([2, 5, 10, 20]),
        _DAYS,
        st.none() | _DAYS,
        st.sampled_from(["active", "completed", "unknown", "given"]),
    ),
    max_size=8,
)


@given_any(_ORDERS)
def test_going_back_over_changes_finds_the_days_that_going_back_over_days_does(
    orders: list[tuple[int, int, int | None, str]],
) -> None:
    """The sums that are kept up are those that would be made for each day."""
    made = []
    for dose, began, ended, status in orders:
        if status == "given":
            made.append(given(PREDNISONE, ago(began), dose, "oral"))
            continue
        end = None if ended is None else ago(min(began, ended))
        span = during(ago(began), end)
        made.append(ordered(taken(dose, **span), on=ago(began), status=status))
    chart = read(*made)
    dose_of_all = chart.doses["glucocorticoid"]
    orders_only = replace(
        dose_of_all, taken=tuple(t for t in dose_of_all.taken if t.exposure.kind != "given")
    )
    for key, level in TERMS.vocabulary.doses["glucocorticoid"].levels.items():
        reached = level.dose.value
        sure = possible = 0
        surely = after_order = True
        gap = 0
        for day in range(100):
            on_order = dose_on(orders_only, dose_of_all.today - day) is not None
            bounds = dose_on(dose_of_all, dose_of_all.today - day)
            if bounds is None:
                gap += 1
                if day == 0 or gap > 14:
                    break
                continue
            if gap and not (after_order and on_order):
                surely = False
            gap, after_order = 0, on_order
            low, high = (
                value > reached if level.exceeded else value >= reached
                for value in (bounds.low, bounds.high)
            )
            if not high:
                break
            possible = day
            surely = surely and low
            sure = day if surely else sure
        assert fact(chart, f"dose.glucocorticoid.days_{key}") == between(sure, possible)


def test_an_order_of_more_steps_than_anybody_writes_is_not_read() -> None:
    """Its dose is open, and the evidence says why."""
    steps = [taken(20, sequence=i) for i in range(51)]
    chart = read(ordered(*steps[:50]), ordered(*steps))

    assert fact(read(ordered(*steps[:50])), DAILY) == between(0, 20)
    assert fact(read(ordered(*steps)), DAILY) == at_least(0)
    assert "it has more than 50 dosages, which are not read" in why(chart)


def test_the_days_at_a_dose_are_cited_from_the_order_that_begins_them() -> None:
    """The latest first and the first of the run last; none that a gap or a low dose parts."""
    chart = read(
        ordered(taken(40, **during(ago(400), ago(300))), on=ago(400), id="before-the-gap"),
        ordered(taken(5, **during(ago(70), ago(61))), on=ago(70), id="low"),
        ordered(taken(60, **during(ago(60), ago(41))), on=ago(60), id="begins"),
        ordered(taken(30, **during(ago(40), ago(21))), on=ago(40), id="goes-on"),
        ordered(taken(20, **during(ago(20))), on=ago(20), id="now"),
    )
    assert [e.reference for e in FACTS[ABOVE_15].evidence(chart)] == [
        "MedicationRequest/now",
        "MedicationRequest/goes-on",
        "MedicationRequest/begins",
    ]
    assert [e.reference for e in FACTS[FROM_2_5].evidence(chart)][-1] == "MedicationRequest/low"
    assert [e.reference for e in FACTS[DAILY].evidence(chart)] == ["MedicationRequest/now"]


def test_days_at_a_dose_without_a_beginning_are_cited_whole() -> None:
    """Where no order has a date every one may belong to the run."""
    chart = read(ordered(taken(20), id="undated"), ordered(taken(30), id="other"))
    assert {e.reference for e in FACTS[ABOVE_15].evidence(chart)} == {
        "MedicationRequest/undated",
        "MedicationRequest/other",
    }
