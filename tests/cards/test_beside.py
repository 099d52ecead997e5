"""What stands beside the table of the core set."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from cds.advice import Advice
from cds.cards.beside import (
    MOST_VALUES,
    beside_core_set,
    courses,
    named,
    say_courses,
    settled_by,
)
from cds.cards.texts import Telling

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
    """Not only the two that are compared; a measure of two visits has no course."""
    tell = telling("response-improved", "measures-missing")
    said = say_courses(tell)
    assert "- Muscle enzyme: CK (U/L): 3480 (2026-05-11) → 690 (2026-08-10) → 240" in said
    assert "Patient global" not in said
    assert all(len(taken) == 3 for _, taken in courses(tell))


def test_a_long_course_begins_with_an_ellipsis(telling: Tell) -> None:
    """A card is read at a glance: the last values are enough."""
    tell = telling("response-improved", "measures-missing")
    series = tell.chart.measurements.series
    first = series["ck"][0]
    earlier = [
        msgspec.structs.replace(first, day=first.day.replace(year=2010 + i)) for i in range(9)
    ]
    longer = msgspec.structs.replace(
        tell.chart.measurements, series={**series, "ck": [*earlier, *series["ck"]]}
    )
    chart = msgspec.structs.replace(tell.chart, measurements=longer)
    said = say_courses(msgspec.structs.replace(tell, chart=chart))
    (enzyme,) = (line for line in said.splitlines() if "CK" in line)
    assert enzyme.startswith("- Muscle enzyme: CK (U/L): … → ")
    assert enzyme.count("→") == MOST_VALUES


def test_a_measure_is_named_with_its_instrument(telling: Tell) -> None:
    """What stands in for another construct is never called by that alone."""
    changes = telling("response-improved", "juvenile-core-set")
    said = [named(change, changes) for change in changes.chart.changes.values()][:6]
    assert said[4:] == [
        "Muscle enzyme: CHQ-PhS, physical summary score",
        "Extramuscular activity: DAS, 0–20",
    ]


def test_what_is_missing_names_what_it_would_settle(telling: Tell) -> None:
    """The last value with its day, and the conclusions that depend on the measure."""
    tell = telling("core-set-measures-missing", "measures-missing")
    said = settled_by(["measure.patient_global", "measure.physician_global"], tell)
    assert said.splitlines()[2:] == [
        "| Patient global activity | 4 cm (2026-08-10) | ACR/EULAR Total Improvement Score |",
        "| Physician global activity | 2 cm (2026-11-11) | nothing that is open now |",
    ]


def test_where_nothing_is_compared_nothing_is_settled(telling: Tell) -> None:
    """At a first visit the table says only what was last recorded."""
    tell = telling("core-set-measures-missing", "new-untreated-dermatomyositis")
    assert settled_by(["measure.patient_global"], tell).startswith("| Measure | Last recorded |\n")
    assert settled_by([], tell) == ""
