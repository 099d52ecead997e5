"""What a card rests on besides the thresholds of its rule."""

from __future__ import annotations

from collections.abc import Callable

from cds.advice import Advice
from cds.cards.resting import doubted_choices
from cds.cards.texts import Telling

Tell = Callable[[str, str], Telling]

VISITS = (
    "choice of the visits compared (within 14 days, grace 7 days, look-back 730 days, "
    "least interval 28 days)"
)
GAP = "what is so at two visits is so between them, if no more than 120 days lie there"


def choices(facts: list[str], tell: Telling) -> list[str]:
    """Return what of the choices behind facts nobody verified, in words."""
    found = list(doubted_choices(facts, tell))
    assert {doubt.certainty for doubt in found} <= {"unverified"}
    return [doubt.said for doubt in found]


def test_whatever_compares_visits_says_how_they_were_chosen(telling: Tell) -> None:
    """Window, grace, look-back and least interval are choices of this project."""
    tell = telling("response-improved", "measures-missing")
    assert choices(["measure.extramuscular.worsening"], tell) == [VISITS]
    assert choices(["diagnosis.myositis"], tell) == []


def test_the_length_of_a_course_says_what_one_course_is(telling: Tell) -> None:
    """Days of the treatment line depend on which orders are taken together."""
    tell = telling("response-improved", "measures-missing")
    for fact in ("treatment.line_days", "drug.methotrexate.days"):
        assert choices([fact], tell) == ["what is one course of treatment (gap 90 days)"]


def test_how_long_a_dose_counts_is_said_where_the_drug_is_on_record(telling: Tell) -> None:
    """Only of drugs that this patient has, and not where only ever counts."""
    tell = telling("response-improved", "measures-missing")
    exposed = dict(tell.chart.exposures)
    assert choices(["drug.steroid_sparing.current"], tell) == []
    tell.chart.exposures["rituximab"] = []
    try:
        assert choices(["drug.steroid_sparing.current"], tell) == [
            "how long one administration counts: Rituximab, 183 days"
        ]
        assert choices(["drug.steroid_sparing.ever"], tell) == []
    finally:
        tell.chart.exposures.clear()
        tell.chart.exposures.update(exposed)


def test_for_how_long_something_counts_is_said_where_it_is_on_record(telling: Tell) -> None:
    """Of an infection and a filtration rate that this patient has, and of nothing else."""
    facts = ["finding.active_infection", "finding.pregnancy", "observation.egfr.latest"]
    ill = telling("pulse-for-rapidly-progressive-ild", "rp-ild-with-infection")
    assert choices(facts, ill) == [
        "for how long pneumonia counts, 90 days",
        "for how long eGFR counts, 183 days",
    ]


def test_what_counts_as_no_activity_is_said_where_there_is_none(telling: Tell) -> None:
    """The level and the gap between visits; nothing of them where a measure is not at its level."""
    facts = ["measure.physician_global.days_inactive", "measure.muscle_enzyme.days_inactive"]
    inactive = telling("complete-response-or-remission", "remission")
    assert choices(facts, inactive) == [
        VISITS,
        "no activity: Physician global activity, VAS 0–10 cm at most 0 cm",
        GAP,
        "not above its upper limit: Muscle enzyme at most 1 × its upper limit",
        GAP,
    ]
    active = telling("complete-response-or-remission", "worsened")
    assert choices(facts, active) == [VISITS]


def test_drugs_are_named_in_the_order_of_the_facts(telling: Tell) -> None:
    """Equal input, equal cards: the order does not depend on how a set is kept."""
    tell = telling("escalate-inadequate-response", "refractory-previous-exposure")
    facts = ["drug.rituximab.current", "drug.immunoglobulin.current", "drug.methotrexate.current"]
    assert [said.split(": ")[1] for said in choices(facts, tell)] == [
        "Rituximab, 183 days",
        "Intravenous immunoglobulin, 35 days",
    ]


def test_the_card_says_so(example: Callable[[str], Advice]) -> None:
    """Under what nobody verified in a source."""
    (card,) = (c for c in example("measures-missing").cards if c.summary.startswith("Missing"))
    assert VISITS in card.detail.partition("**Not verified in a source:**")[2]
