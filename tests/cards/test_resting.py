"""What a card rests on: the thresholds that decided, and the choices behind facts."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

from cds.advice import Advice
from cds.cards.resting import Rests, doubted_choices, rests_on
from cds.cards.texts import Telling
from cds.chart.vocabulary import Number
from cds.rules.conditions import Constant
from cds.rules.site import SiteNumber

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


def behind(tell: Telling, rule: str, said: tuple[str, ...] = ()) -> Rests:
    """Return what the condition of a rule rests on for a patient, and facts that are said."""
    (found,) = (each for each in tell.ruleset.rules if each.id == rule)
    return rests_on((found.node,), said, tell)


def names(rests: Rests) -> set[str]:
    """Return the parameters among the thresholds."""
    return {constant.parameter or "" for constant in rests.constants}


def test_a_rule_rests_on_the_numbers_behind_the_facts_that_it_waits_for(telling: Tell) -> None:
    """Twelve weeks, of the rule that derives an inadequate response."""
    tell = telling("escalate-inadequate-response", "not-improved")
    rests = behind(tell, "escalate-inadequate-response")
    assert "adequate_trial" in names(rests)
    assert "treatment.days_judged" in rests.facts


def test_of_conditions_that_must_all_be_met_it_rests_on_those_that_are_not(telling: Tell) -> None:
    """An active patient is not inactive whatever troponin and lung function are."""
    active = telling("first-line-untreated", "new-untreated-dermatomyositis")
    assert names(behind(active, "sustained-inactivity")) == {"inactive_for"}
    quiet = telling("response-improved", "complete-clinical-response")
    assert {"inactive_for", "recent", "strength"} <= names(behind(quiet, "sustained-inactivity"))


def test_of_alternatives_it_rests_on_those_that_hold(telling: Tell) -> None:
    """Worse by extramuscular activity, and not by three of six."""
    tell = telling("response-worsened", "worsened-at-one-visit")
    rests = behind(tell, "worsening")
    holding = {"vas"} if "any_measure" not in names(rests) else {"vas", "any_measure"}
    assert names(rests) == holding


def test_a_text_rests_on_the_numbers_behind_what_it_says(telling: Tell) -> None:
    """The age of adults, on which the category in it depends; no condition asks for it."""
    tell = telling("response-improved", "improved-at-six-months")
    without = behind(tell, "response-improved")
    rests = behind(tell, "response-improved", ("response.tis.category",))
    assert "adult_from" in names(rests) - names(without)
    assert rests.facts == without.facts


def test_a_number_of_the_site_is_not_listed_as_recalled() -> None:
    """The site's own decision is told as that, and not a second time as unverified."""
    recalled = Number(value=Decimal(12), unit="wk", certainty="unverified")
    own = SiteNumber(
        value=Decimal(16), unit="wk", certainty="unverified", site="X", of="x", shipped=recalled
    )
    read = Number(value=Decimal(20), unit="%", source="rider-2004")
    shipped = Constant(Decimal(84), "d", "trial", recalled)
    others = [Constant(Decimal(112), "d", "trial", own), Constant(Decimal(20), "%", "x", read)]
    rests = Rests(dict.fromkeys([shipped, *others], ("a ≥ 84 days", "b ≥ 84 days")), ())
    assert list(rests.doubted) == [("a ≥ 84 days and b ≥ 84 days", recalled)]


def test_a_threshold_is_told_as_what_asks_for_it(telling: Tell) -> None:
    """Of all members of a group once, as what is counted."""
    tell = telling("response-worsened", "worsened-at-one-visit")
    asked = {c.parameter: said for c, said in behind(tell, "worsening").constants.items()}
    assert asked["vas"] == ("Extramuscular activity, worse by ≥ 2 cm",)
    assert asked["any_measure"] == ("at least 3 of 6: relative worsening ≥ 30\u202f%",)


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
