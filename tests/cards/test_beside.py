"""What stands beside the table of the core set."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from datetime import timedelta

import msgspec

from cds.advice import Advice
from cds.cards.beside import (
    MOST_LEFT_OUT,
    MOST_VALUES,
    beside_core_set,
    courses,
    named,
    say_courses,
    say_left_out,
    say_missing,
    settled_by,
)
from cds.cards.texts import Telling
from cds.chart.measurements import LeftOut, Measurement
from cds.fhir.dates import DateSpan

Tell = Callable[[str, str], Telling]


def test_measures_outside_the_core_set_are_apart(telling: Tell) -> None:
    """Damage, quality of life and skin activity, in the order of the vocabulary."""
    tell = telling("response-improved", "measures-missing")
    assert [change.measure for change in beside_core_set(tell)] == [
        "physician_damage",
        "patient_damage",
        "physical_quality_of_life",
        "mental_quality_of_life",
        "skin_activity",
    ]


def test_an_instrument_that_counts_is_not_shown_as_not_counted(telling: Tell) -> None:
    """CHQ-PhS counts in this child, so only the psychosocial score stands beside."""
    tell = telling("response-improved", "juvenile-core-set")
    assert [change.measure for change in beside_core_set(tell)] == ["mental_quality_of_life"]


def test_the_card_counts_no_measure_outside_the_core_set(
    example: Callable[[str], Advice],
) -> None:
    """Damage that doubled is shown, and neither worsens nor improves anything."""
    card = next(c for c in example("measures-missing").cards if c.summary.startswith("Improved"))
    _, _, beside = card.detail.partition("**Beside the core set, not counted**")
    assert "| Physician global damage, VAS 0–10 cm | 0.5 cm (2026-05-11) | 1 cm" in beside
    assert "Worsened: none." in card.detail


def test_the_course_has_every_visit(telling: Tell) -> None:
    """Not only the two that are compared, whose values alone are no course."""
    tell = telling("response-improved", "measures-missing")
    said = say_courses(tell)
    assert "- Muscle enzyme: CK (U/L): 3480 (2026-05-11) → 690 (2026-08-10) → 240" in said
    assert say_courses(telling("response-improved", "exactly-on-the-thresholds")) == ""


def test_a_measure_that_is_missing_now_has_a_course(telling: Tell) -> None:
    """The value between the visits is the last known of what the card asks for."""
    tell = telling("response-undetermined", "undetermined-strength-missing")
    said = say_courses(tell)
    assert (
        "- Muscle strength: MMT-8, both sides and axial, 0–150: 118 (2026-05-18) → 124 (2026-08-17)"
    ) in said


def with_series(tell: Telling, **series: list[Measurement]) -> Telling:
    """The same patient with these measurements too, no more of them compared than before."""
    measurements = msgspec.structs.replace(
        tell.chart.measurements, series={**tell.chart.measurements.series, **series}
    )
    chart = msgspec.structs.replace(tell.chart, measurements=measurements)
    return msgspec.structs.replace(tell, chart=chart)


def test_other_instruments_have_a_course_where_a_value_lacks(telling: Tell) -> None:
    """MMT-8 of one side is no substitute for that of both, and is not passed over either."""
    one_side = "Muscle strength: MMT-8, one side, 0–80"
    missing = telling("response-undetermined", "undetermined-strength-missing")
    (first, *_) = missing.chart.measurements.series["mmt8_150"]
    other = [msgspec.structs.replace(first, entry="mmt8_80")]
    complete = telling("response-improved", "improved-at-six-months")
    first_visit = telling("first-line-untreated", "new-untreated-dermatomyositis")
    assert say_courses(first_visit) == ""
    assert one_side in dict(courses(with_series(missing, mmt8_80=other)))
    assert one_side not in dict(courses(with_series(complete, mmt8_80=other)))


def test_what_counts_in_children_only_has_no_course_in_an_adult(telling: Tell) -> None:
    """DAS in place of the extramuscular VAS is told of a child and not of an adult."""
    tell = telling("response-undetermined", "undetermined-strength-missing")
    (first, *_) = tell.chart.measurements.series["mmt8_150"]
    tell = with_series(tell, das=[msgspec.structs.replace(first, entry="das")])
    change = tell.chart.changes["extramuscular"]
    changes = {**tell.chart.changes, "extramuscular": msgspec.structs.replace(change, current=None)}

    def titles(*, adult: bool) -> set[str]:
        chart = msgspec.structs.replace(tell.chart, changes=changes, adult=adult)
        return set(dict(courses(msgspec.structs.replace(tell, chart=chart))))

    assert titles(adult=False) - titles(adult=True) == {"Extramuscular activity: DAS, 0–20"}


def test_a_long_course_begins_with_an_ellipsis(telling: Tell) -> None:
    """A card is read at a glance: the last values are enough."""
    tell = telling("response-improved", "measures-missing")
    series = tell.chart.measurements.series
    first = series["ck"][0]
    earlier = [
        msgspec.structs.replace(first, day=first.day.replace(year=2010 + i)) for i in range(9)
    ]
    said = say_courses(with_series(tell, ck=[*earlier, *series["ck"]]))
    (enzyme,) = (line for line in said.splitlines() if "CK" in line)
    assert enzyme.startswith("- Muscle enzyme: CK (U/L): … → ")
    assert enzyme.count("→") == MOST_VALUES


# --- what was left out ---------------------------------------------------------------------------


def test_what_was_left_out_is_listed_with_the_reason(telling: Tell) -> None:
    """The latest first, what has no date last; what no code maps is only perhaps the measure."""
    said = say_left_out(telling("response-improved", "real-world-mess")).splitlines()[2:]
    assert [line.split(": ")[0] for line in said] == [
        "- CK, 2026-11-13",
        "- Physician global activity, VAS 0–10 cm, 2026-11-09",
        "- Patient or parent global activity, VAS 0–10 cm, 2026-11-09",
        "- Aldolase, 2026-11-09",
        "- “MMT”, perhaps muscle strength, 2026-06-08",
        "- HAQ-DI, 0–3, 2026-06",
        "- MMT-8, both sides and axial, 0–150, without a date",
    ]
    assert said[0].endswith(
        ": its status is preliminary (Observation/real-world-ck-preliminary-2026-11-13)"
    )


def left_out(tell: Telling, *left: LeftOut) -> Telling:
    """The same patient with these Observations left out."""
    measurements = msgspec.structs.replace(tell.chart.measurements, left_out=list(left))
    chart = msgspec.structs.replace(tell.chart, measurements=measurements)
    return msgspec.structs.replace(tell, chart=chart)


def test_of_much_that_was_left_out_the_rest_is_counted(telling: Tell) -> None:
    """A card names so many, and says where the others are."""
    tell = telling("response-undetermined", "undetermined-strength-missing")
    one, _ = tell.chart.measurements.left_out
    said = say_left_out(left_out(tell, *[one] * (MOST_LEFT_OUT + 2))).splitlines()[2:]
    assert len(said) == MOST_LEFT_OUT + 1
    assert said[-1] == "- and 2 more, in the report of the evaluation"
    assert say_left_out(left_out(tell)) == ""


def test_of_two_instruments_at_both_visits_the_one_that_does_not_count_is_told_too(
    bundle: Callable[[str], bytes], advise_on: Callable[[bytes], Advice]
) -> None:
    """Manual testing goes before CMAS in a child: what CMAS shows is told, and why it is left."""
    content = json.loads(bundle("juvenile-dermatomyositis"))
    strength = [e for e in content["entry"] if "-cmas-" in e["resource"]["id"]]
    for entry in copy.deepcopy(strength):
        resource = entry["resource"]
        resource["id"] = resource["id"].replace("cmas", "mmt")
        resource["code"]["coding"][0]["code"] = "mmt8-80"
        content["entry"].append(entry | {"fullUrl": entry["fullUrl"].replace("cmas", "mmt")})
    advice = advise_on(json.dumps(content).encode())
    (card,) = (card for card in advice.cards if "**Course**" in card.detail)
    assert (
        "| Muscle strength: MMT-8, one side, 0–80 (CMAS, 0–52 is recorded too: 28 → 46, "
        "improved 34.6\u202f% of its range) | 28 (2026-05-05) | 46 (2026-11-10) |"
    ) in card.detail
    assert (
        "- CMAS, 0–52, 2026-05-05 and 2026-11-10: MMT-8, one side, 0–80 counts for muscle "
        "strength (Observation/juvenile-cmas-2026-05-05, Observation/juvenile-cmas-2026-11-10)"
    ) in card.detail
    assert "- Muscle strength: CMAS, 0–52: " in card.detail


def test_how_a_measure_is_missing_at_a_visit(telling: Tell) -> None:
    """Of its own Observations within the window of the visit, the nearest says how."""
    tell = telling("response-undetermined", "undetermined-strength-missing")
    visit = tell.chart.visits.current
    assert visit is not None
    one, _ = tell.chart.measurements.left_out

    def on(days: int, **other: str) -> LeftOut:
        day = visit + timedelta(days=days)
        return msgspec.structs.replace(one, day=DateSpan(day, day), **other)

    def said(*left: LeftOut, measure: str = "muscle_strength") -> str:
        return say_missing(measure, visit, left_out(tell, *left))

    assert said(on(0)) == "not performed (2026-11-10)"
    assert said(on(-14)) == "not performed (2026-10-27)"
    assert said(on(-14), on(2, kind="left out")) == "left out (2026-11-12)"
    assert said(on(15)) == "missing"
    assert said(on(0), measure="patient_global") == "missing"
    assert said(on(0, entry="")) == "missing"
    assert said() == "missing"
    assert say_missing("muscle_strength", None, left_out(tell, on(0))) == "missing"


def test_what_is_missing_and_was_not_performed_says_so(telling: Tell) -> None:
    """The table of what would settle something has the last value, and that none was taken now."""
    tell = telling("core-set-measures-missing", "undetermined-strength-missing")
    (row,) = settled_by(["measure.muscle_strength"], tell).splitlines()[2:]
    assert row.startswith(
        "| Muscle strength | 124 (2026-08-17); not performed (2026-11-10) | IMACS definition"
    )


def test_a_measure_is_named_with_its_instrument(telling: Tell) -> None:
    """What stands in for another construct is never called by that alone."""
    changes = telling("response-improved", "juvenile-core-set")
    said = [named(change, changes) for change in changes.chart.changes.values()][:6]
    assert said[4:] == [
        "Muscle enzyme: CHQ-PhS, physical summary score",
        "Extramuscular activity: DAS, 0–20",
    ]


def test_what_is_missing_names_what_it_would_settle(telling: Tell) -> None:
    """The last value with its day, and what depends on it: of a score perhaps only its points."""
    tell = telling("core-set-measures-missing", "measures-missing")
    said = settled_by(["measure.patient_global", "measure.physician_global"], tell)
    assert said.splitlines()[2:] == [
        "| Patient or parent global activity | 4 cm (2026-08-10) | "
        "ACR/EULAR Total Improvement Score: its points; the category stands |",
        "| Physician global activity | 2 cm (2026-11-11) | nothing that is open now |",
    ]


def test_only_a_score_has_points(
    bundle: Callable[[str], bytes], advise_on: Callable[[bytes], Advice]
) -> None:
    """Worsening is one by its definition or none, though a category is worked out from it."""
    document = json.loads(bundle("improved-at-six-months"))
    document["entry"] = [
        entry
        for entry in document["entry"]
        if "extramuscular-global-2026-11-11" not in entry["resource"]["id"]
    ]
    cards = advise_on(json.dumps(document).encode()).cards
    (row,) = {
        line
        for card in cards
        for line in card.detail.splitlines()
        if line.startswith("| Extramuscular activity | 2.2 cm")
    }
    assert row.endswith(
        "| Worsening since baseline (provisional definition); "
        "ACR/EULAR Total Improvement Score: its points; the category stands |"
    )


def test_where_nothing_is_compared_nothing_is_settled(telling: Tell) -> None:
    """At a first visit the table says only what was last recorded."""
    tell = telling("core-set-measures-missing", "new-untreated-dermatomyositis")
    assert settled_by(["measure.patient_global"], tell).startswith("| Measure | Last recorded |\n")
    assert settled_by([], tell) == ""


def test_what_was_recorded_today_and_left_out_was_not_never_recorded(telling: Tell) -> None:
    """At a first visit too, and as far as nothing else of the measure is on record."""
    tell = telling("core-set-measures-missing", "new-untreated-dermatomyositis")
    other = telling("response-undetermined", "undetermined-strength-missing")
    missing, _ = other.chart.measurements.left_out
    (visit,) = tell.chart.visits.days
    left = msgspec.structs.replace(missing, day=DateSpan(visit, visit), kind="left out")
    series = {k: v for k, v in tell.chart.measurements.series.items() if k != "mmt8_150"}
    measurements = msgspec.structs.replace(tell.chart.measurements, series=series, left_out=[left])
    chart = msgspec.structs.replace(tell.chart, measurements=measurements)
    tell = msgspec.structs.replace(tell, chart=chart)
    assert settled_by(["measure.muscle_strength"], tell).splitlines()[2:] == [
        "| Muscle strength | left out (2026-11-12) |"
    ]
