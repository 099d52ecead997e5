from collections.abc import Callable
from decimal import Decimal

import msgspec
import pytest

from cds.cards.texts import (
    Telling,
    fill,
    join_words,
    missing_facts,
    missing_titles,
    say_evidence,
    title_of,
)
from cds.chart.facts import Evidence
from cds.chart.quantities import INFINITY, UNKNOWN, Interval
from cds.rules.texts import Form, Slot

Tell = Callable[[str, str], Telling]


def said(name: str, form: Form, telling: Telling) -> str:
    """What is put in one place of a text."""
    return fill((Slot(name, form),), telling)


@pytest.mark.parametrize(
    "name, form, case, expected",
    [
        ("parameters.recent", "value", "rp-ild-already-pulsed", "14 days"),
        ("patient.id", "value", "rp-ild-already-pulsed", "already-pulsed"),
        ("patient.age", "value", "rp-ild-already-pulsed", "52 years"),
        ("antibody.mda5", "value", "rp-ild-already-pulsed", "not known"),
        ("antibody.mda5", "evidence", "rp-ild-already-pulsed", "nothing recorded"),
        ("antibody.mda5", "dates", "rp-ild-already-pulsed", "no known date"),
        ("antibody.mda5", "value", "rp-ild-mda5", "yes"),
        ("antibody.mda5", "dates", "rp-ild-mda5", "2026-10-26"),
        (
            "antibody.mda5",
            "evidence",
            "rp-ild-mda5",
            "Anti-MDA5 positive, 2026-10-26 (Observation/rp-ild-mda5-anti-mda5-2026-10-26)",
        ),
        ("drug.pulse_methylprednisolone", "value", "rp-ild-already-pulsed", "2026-11-11"),
        (
            "drug.pulse_methylprednisolone",
            "dates",
            "rp-ild-already-pulsed",
            "2026-11-09, 2026-11-10, 2026-11-11",
        ),
        ("drug.pulse_methylprednisolone", "value", "rp-ild-mda5", "not recorded"),
        ("observation.fvc_percent_predicted.fall", "value", "rp-ild-mda5", "17\u202f%"),
        ("response.imacs.worsened_measures", "value", "improved-at-six-months", "none"),
        (
            "response.imacs.improved_measures",
            "value",
            "undetermined-strength-missing",
            "Physician global activity, Patient global activity, Physical function",
        ),
        ("response.imacs.improved", "missing", "undetermined-strength-missing", "muscle strength"),
        ("response.imacs.improved", "missing", "improved-at-six-months", "none"),
        ("assessment.baseline", "value", "improved-at-six-months", "2026-05-11"),
        ("treatment.line_days", "value", "refractory-dermatomyositis", "180 days"),
        ("response.imacs.improved.parameters.improvement", "value", "rp-ild-mda5", "20\u202f%"),
        ("drug.jak_inhibitor", "history", "rp-ild-mda5", "nothing recorded"),
        (
            "drug.methotrexate",
            "history",
            "refractory-dermatomyositis",
            "methotrexate 2024-12-04 to 2025-07-07, stopped: Inadequate response: weakness and "
            "rash persisted",
        ),
    ],
)
def test_what_is_inserted(telling: Tell, name: str, form: Form, case: str, expected: str) -> None:
    """Facts, selections and parameters are said in a reader's words, with dates and references."""
    assert said(name, form, telling("rapidly-progressive-ild-pulse-given", case)) == expected


def test_only_what_is_inserted_goes_through_the_escape(telling: Tell) -> None:
    """What the author wrote is Markdown already."""
    text = ("**Age** ", Slot("patient.age", "value"), " *now*")

    filled = fill(text, telling("pulse-for-myocarditis", "myocarditis"), lambda t: f"<{t}>")

    assert filled == "**Age** <57 years> *now*"


def test_a_date_that_the_text_says_is_not_said_again() -> None:
    """An order names its days itself; other evidence gets its date."""
    order = Evidence("MedicationRequest/1", "2026-11-09", "Prednisolone, ordered 2026-11-09")
    result = Evidence("Observation/1", "2026-11-09", "CK 300 U/L")

    assert say_evidence(order) == "Prednisolone, ordered 2026-11-09 (MedicationRequest/1)"
    assert say_evidence(result) == "CK 300 U/L, 2026-11-09 (Observation/1)"
    assert say_evidence(Evidence("", "", "said")) == "said"


def test_members_of_groups_have_the_titles_of_the_vocabulary(telling: Tell) -> None:
    """Measures and results are called as in tables, other facts as in criteria."""
    of = telling("pulse-for-myocarditis", "myocarditis")

    assert title_of("measure.muscle_strength", of) == "Muscle strength"
    assert title_of("measure.muscle_strength.improvement", of) == "Muscle strength"
    assert title_of("measure.muscle_strength.previous.worsening", of) == "Muscle strength"
    assert title_of("observation.troponin_i", of) == "Troponin I"
    assert title_of("observation.troponin_i.multiple", of) == "Troponin I"
    assert title_of("finding.myocarditis", of) == "Myocarditis"


def test_a_measure_that_is_missing_counts_once(telling: Tell) -> None:
    """Strength is asked for in three conditions, and named once; nothing settles what is known."""
    strength_missing = telling("response-undetermined", "undetermined-strength-missing")

    assert missing_facts("response.imacs.improved", strength_missing) == ["measure.muscle_strength"]
    assert missing_facts("diagnosis.myositis", strength_missing) == []


def test_for_how_long_a_level_was_held_is_not_settled_by_measuring_today(telling: Tell) -> None:
    """So it is apart from the measure, of which a card says what measuring it would settle."""
    long_ago = telling("response-improved", "measures-missing")
    values = {
        **long_ago.evaluation.values,
        "disease.inactive": None,
        "measure.physician_global.days_inactive": Interval(Decimal(0), INFINITY),
        "measure.skin_activity.days_inactive": UNKNOWN,
    }
    kept = {"measure.extramuscular.days_inactive", "measure.muscle_enzyme.days_inactive"}
    values |= dict.fromkeys(kept, Interval(Decimal(200), INFINITY))
    unknown = msgspec.structs.replace(
        long_ago, evaluation=msgspec.structs.replace(long_ago.evaluation, values=values)
    )
    assert missing_facts("disease.inactive", unknown) == ["measure.physician_global.days_inactive"]
    assert missing_titles("disease.inactive", unknown) == ["physician global activity over time"]


def test_words_are_joined_as_in_a_sentence() -> None:
    """Commas, and an "and" before the last."""
    assert [join_words(list("abc")[:n]) for n in range(4)] == ["", "a", "a and b", "a, b and c"]
