from collections.abc import Callable
from decimal import Decimal

import msgspec
import pytest

from cds.cards.texts import (
    MOST_DATES,
    Telling,
    fill,
    join_words,
    missing_facts,
    missing_titles,
    say_all,
    say_evidence,
    say_for_weight,
    title_of,
    together,
)
from cds.chart.facts.declaration import Evidence
from cds.chart.quantities import INFINITY, UNKNOWN, Interval
from cds.rules.parsing import ByWeight
from cds.rules.texts import Form, Slot

Tell = Callable[[str, str], Telling]


def said(name: str, form: Form, telling: Telling) -> str:
    """What is put in one place of a text."""
    return fill((Slot(name, form),), telling)


@pytest.mark.parametrize(
    "name, form, case, expected",
    [
        ("pulse.adult_dose.parameters.recent", "value", "rp-ild-already-pulsed", "14 days"),
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
        ("response.imacs.worsened_measures", "evidence", "improved-at-six-months", "none"),
        (
            "risk.cardiovascular",
            "evidence",
            "jak-inhibitor-with-risk",
            "Hypertension (in category I10 Essential hypertension; code not verified), 2014-03-03 "
            "(Condition/jak-risk-hypertension)",
        ),
        (
            "cancer_risk.high_factors",
            "evidence",
            "worsened",
            "Dermatomyositis that is not clinically amyopathic: Dermatomyositis, 2026-01-12 "
            "(Condition/worsened-dermatomyositis); Onset of myositis from the 40th birthday on: "
            "48 years (Dermatomyositis, 2026-01-12 (Condition/worsened-dermatomyositis))",
        ),
        ("contraindication.jak_inhibitor_in_cancer", "evidence", "worsened", "nothing recorded"),
        (
            "response.imacs.improved_measures",
            "value",
            "undetermined-strength-missing",
            "Physician global activity, Patient or parent global activity, Physical function",
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


def given(day: int, text: str = "IVIG, given {}, 70 g", month: int = 1) -> Evidence:
    """An infusion on one day."""
    date = f"2026-{month:02}-{day:02}"
    return Evidence(f"MedicationAdministration/{month}-{day}", date, text.format(date))


def test_what_is_alike_but_for_its_day_is_said_once() -> None:
    """The days in order of time, with every resource; another dose is another thing."""
    said = together([given(11), given(9), given(2, "IVIG, given {}, 35 g"), given(10)])
    assert said == [
        (
            "IVIG, given 2026-01-09, 2026-01-10 and 2026-01-11, 70 g",
            [f"MedicationAdministration/1-{day}" for day in (9, 10, 11)],
        ),
        ("IVIG, given 2026-01-02, 35 g", ["MedicationAdministration/1-2"]),
    ]


def test_two_resources_of_one_day_are_said_once_with_both() -> None:
    """A divided dose names its day once."""
    first, second = given(9), Evidence("MedicationAdministration/b", given(9).date, given(9).text)
    assert together([first, second]) == [
        (first.text, ["MedicationAdministration/1-9", "MedicationAdministration/b"])
    ]


def test_results_alike_on_different_days_stay_apart() -> None:
    """Only what names its own day is joined: two equal results are two results."""
    results = [Evidence(f"Observation/{i}", f"2026-01-0{i}", "CK 300 U/L") for i in (1, 2)]
    assert [text for text, _ in together(results)] == [
        "CK 300 U/L, 2026-01-01",
        "CK 300 U/L, 2026-01-02",
    ]


def test_many_days_are_told_by_the_first_the_last_and_their_number() -> None:
    """A cell of a table holds only so many dates."""
    few = [given(day) for day in range(1, MOST_DATES + 1)]
    (said, _), *_ = together(few)
    assert said.count("2026-") == MOST_DATES
    ((said, references),) = together([*few, given(28)])
    assert said == f"IVIG, given 2026-01-01 to 2026-01-28 on {MOST_DATES + 1} days, 70 g"
    assert len(references) == MOST_DATES + 1


def test_of_much_evidence_the_first_and_the_last_are_said_and_the_rest_is_counted() -> None:
    """Nothing is cut in silence."""
    results = [Evidence("", f"2026-01-0{i}", f"CK {i}") for i in range(1, 7)]
    assert say_all(results, 4) == (
        "CK 1, 2026-01-01; CK 2, 2026-01-02; CK 3, 2026-01-03; CK 6, 2026-01-06; and 2 more"
    )
    assert "more" not in say_all(results, 6)
    assert "more" not in say_all(results)
    assert say_all([]) == ""


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


def test_a_measure_taken_by_another_instrument_is_asked_for_by_that_of_baseline(
    telling: Tell,
) -> None:
    """It was measured: what is missing is the instrument that can be compared."""
    tell = telling("response-undetermined", "undetermined-strength-missing")
    assert missing_titles("response.imacs.improved", tell) == ["muscle strength"]

    change = msgspec.structs.replace(tell.chart.changes["muscle_strength"], by_another=True)
    changes = tell.chart.changes | {"muscle_strength": change}
    chart = msgspec.structs.replace(tell.chart, changes=changes)
    assert missing_titles(
        "response.imacs.improved", msgspec.structs.replace(tell, chart=chart)
    ) == ["muscle strength (by MMT-8, both sides and axial, 0–150, as at baseline)"]


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


# --- doses by body weight ------------------------------------------------------------------------


def by_weight(low: str, high: str | None = None, most: str | None = None) -> ByWeight:
    """A dose in mg for each kg."""
    return ByWeight(Decimal(low), Decimal(high or low), Decimal(most) if most else None, "mg")


@pytest.mark.parametrize(
    ("dose", "case", "said"),
    [
        (by_weight("30", most="1000"), "juvenile-rp-ild", " (for 32 kg, 2026-11-12: 960 mg)"),
        (
            by_weight("30", most="960"),
            "juvenile-rp-ild",
            " (for 32 kg, 2026-11-12: 960 mg, the maximum)",
        ),
        (
            by_weight("30", most="500"),
            "juvenile-rp-ild",
            " (for 32 kg, 2026-11-12: 500 mg, the maximum)",
        ),
        (by_weight("0.5", "1"), "juvenile-rp-ild", " (for 32 kg, 2026-11-12: 16 to 32 mg)"),
        (
            by_weight("0.5", "1", "20"),
            "juvenile-rp-ild",
            " (for 32 kg, 2026-11-12: 16 to 20 mg, the maximum)",
        ),
        (by_weight("0.1"), "juvenile-rp-ild", " (for 32 kg, 2026-11-12: 3.2 mg)"),
        (by_weight("30"), "rp-ild-in-pregnancy", ""),
        (by_weight("30"), "worsened", ""),
    ],
)
def test_a_dose_by_weight_is_exact_capped_and_never_guessed(
    telling: Tell, dose: ByWeight, case: str, said: str
) -> None:
    """Without a weight, and with one that is too old, the text stays as it is."""
    assert say_for_weight(dose, telling("pulse-for-myocarditis", case).chart) == said


def test_a_text_asks_for_a_dose_by_weight(telling: Tell) -> None:
    """The dose stands where the text has it, after a blank of its own."""
    slot = Slot("weight_dose.pulse", "value", by_weight("30", most="1000"))
    tell = telling("pulse-for-myocarditis", "juvenile-rp-ild")
    assert fill(("30 mg/kg", slot, "."), tell) == "30 mg/kg (for 32 kg, 2026-11-12: 960 mg)."
