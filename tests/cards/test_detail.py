import json
import re
from collections.abc import Callable
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it.token import Token

from cds.advice import Advice
from cds.cards.card import Card
from cds.cards.detail import MOST_TREATMENTS, detail_of, say_change
from cds.cards.shown import shown
from cds.cards.texts import Telling
from cds.chart.assessments import MeasureChange
from cds.chart.measurements import Measurement
from cds.chart.quantities import Interval
from cds.fhir.resources import Observation
from cds.rules.ruleset import RuleSet
from cds.rules.words import say_certainty

CHECKOUT = Path(__file__).parents[2]
CASES = sorted(
    file.name.removesuffix(".bundle.json")
    for file in (CHECKOUT / "fhir_examples").glob("*.bundle.json")
)
Example = Callable[[str], Advice]
Tell = Callable[[str, str], Telling]
Render = Callable[[str], list[Token]]


def headings(card: Card) -> list[str]:
    """The bold words that stand before the parts of a detail, in order."""
    return re.findall(r"^\*\*([^*]+?):?\*\*", card.detail, re.MULTILINE)


def rows(detail: str, heading: str) -> list[list[str]]:
    """The cells of the table under a heading, without its head."""
    part = detail.split(f"**{heading}**\n\n")[1].split("\n\n")[0]
    return [line[2:-2].split(" | ") for line in part.splitlines()[2:]]


def inline(tokens: list[Token]) -> list[Token]:
    """Everything inside the lines of some Markdown."""
    return [child for token in tokens for child in token.children or []]


ORDER = [
    "Core set measures",
    "Options",
    "Treatment on record",
    "Why this card",
    "Missing",
    "Not verified in a source",
    "Sources",
]


# --- order ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", CASES)
def test_the_sentence_that_matters_comes_first(
    ruleset: RuleSet, example: Example, case: str
) -> None:
    """Each detail begins with the lead of its rule, in a paragraph of its own."""
    leads = {
        "".join(part if isinstance(part, str) else "\0" for part in rule.card.lead)
        for rule in ruleset.card_rules
        if rule.card
    }
    patterns = [re.escape(lead).replace("\0", ".*") for lead in leads]
    for card in example(case).cards:
        first = card.detail.split("\n\n")[0]
        assert [p for p in patterns if re.fullmatch(p, first)]


@pytest.mark.parametrize("case", CASES)
def test_parts_are_ordered(example: Example, case: str) -> None:
    """What decides comes first, where it is from last; criteria and sources are never left out."""
    for card in example(case).cards:
        found = [heading for heading in headings(card) if heading in ORDER]
        assert found == sorted(found, key=ORDER.index)
        assert {"Why this card", "Sources"} <= set(found)


@pytest.mark.parametrize("case", CASES)
def test_every_detail_is_markdown_without_html(example: Example, render: Render, case: str) -> None:
    """Only paragraphs, tables and lists, bold words and links to sources by absolute addresses."""
    for card in example(case).cards:
        tokens = render(card.detail)
        blocks = {token.type.removesuffix("_open").removesuffix("_close") for token in tokens}
        assert blocks <= {
            *("paragraph", "inline", "table", "thead", "tbody", "tr", "th", "td"),
            *("bullet_list", "list_item"),
        }
        inner = {token.type for token in inline(tokens)}
        assert inner <= {
            *("text", "text_special", "strong_open", "strong_close"),
            *("link_open", "link_close"),
        }
        for token in inline(tokens):
            if token.type == "link_open":
                assert str(token.attrs["href"]).startswith("https://")


# --- what the chart holds ------------------------------------------------------------------------

HOSTILE = [
    "</td><script>alert(1)</script>",
    "| a | b |\n| --- | --- |\n| c | d |",
    "[press here](http://evil.example)",
    "<http://evil.example>",
    "**critical** __now__ `code` ~~no~~",
    "\n\n# Heading\n\n- item\n\n> quote\n\n```\ncode",
    "![x](http://evil.example/x.png)",
    "\\",
    "a\\|b",
    "&lt;b&gt;",
]


def told(text: str, bundle: bytes) -> bytes:
    """The patient of a Bundle with a text in place of every diagnosis and drug that has a code."""
    content: Any = json.loads(bundle)
    for entry in content["entry"]:
        resource = entry["resource"]
        for key in ("code", "medicationCodeableConcept"):
            concept = resource.get(key)
            if resource["resourceType"] != "Observation" and concept and concept.get("coding"):
                concept["text"] = text
    return json.dumps(content).encode()


def shape(tokens: list[Token]) -> list[str]:
    """The structure of some Markdown: its blocks, marks and links, without its words."""
    inner = [t.type for t in inline(tokens) if t.type not in ("text", "text_special")]
    links = [str(t.attrs["href"]) for t in inline(tokens) if t.type == "link_open"]
    return [token.type for token in tokens] + inner + links


@settings(max_examples=30, deadline=None)
@given(text=st.sampled_from(HOSTILE) | st.lists(st.sampled_from(HOSTILE)).map(" ".join))
def test_what_a_chart_says_never_becomes_markup(
    advise_on: Callable[[bytes], Advice],
    bundle: Callable[[str], bytes],
    render: Render,
    text: str,
) -> None:
    """A diagnosis or drug of any name leaves a card's paragraphs, tables and links as they are."""
    raw = bundle("rp-ild-mda5")
    plain = advise_on(told("Plain words", raw)).cards
    hostile = advise_on(told(text, raw)).cards

    assert [card.summary for card in hostile] == [card.summary for card in plain]
    for card, other in zip(hostile, plain, strict=True):
        assert shape(render(card.detail)) == shape(render(other.detail))


def test_what_a_chart_says_is_shown_as_it_is(
    advise_on: Callable[[bytes], Advice], bundle: Callable[[str], bytes], render: Render
) -> None:
    """The reader sees the very text of the Condition."""
    text = "Lung <b>*urgent*</b> | see [note](http://x.example)"

    card, *_ = advise_on(told(text, bundle("rp-ild-mda5"))).cards

    said = "".join(token.content for token in inline(render(card.detail)))
    assert f"Recorded as: {text}, 2026-11-06" in said


# --- measures ------------------------------------------------------------------------------------


def test_the_table_of_measures_shows_values_dates_changes_and_references(example: Example) -> None:
    """All six core set measures, relative change and change of the range beside each other."""
    card, *_ = example("exactly-on-the-thresholds").cards

    table = rows(card.detail, "Core set measures")

    assert len(table) == 6 + 1
    assert table[0] == [
        "Physician global activity, VAS 0–10 cm",
        "5.5 cm (2026-06-01)",
        "4.4 cm (2026-11-09)",
        "improved 20\u202f%",
        "improved 11\u202f%",
        "7.5 of 20",
        "Observation/on-the-thresholds-physician-global-2026-06-01, "
        "Observation/on-the-thresholds-physician-global-2026-11-09",
    ]
    assert table[1][3:5] == ["worse 25\u202f%", "worse 9\u202f%"]
    assert table[4][0] == "Muscle enzyme: CK (4.3 times its upper limit at baseline)"
    assert "Baseline 2026-06-01: the last assessment on or before the start of" in card.detail
    assert "Current 2026-11-09: the latest assessment, at least 28 days after" in card.detail


def test_the_points_of_a_sum_stand_beside_the_changes_that_earn_them(example: Example) -> None:
    """One table has them where a card shows the measures, and its last row what they add up to."""
    card, *_ = example("undetermined-strength-missing").cards

    *each, total = (row[5] for row in rows(card.detail, "Core set measures"))

    assert each == [
        "15 of 20",
        "5 of 10",
        "0 to 32.5 of 32.5",
        "5 of 10",
        "0 of 7.5",
        "0 of 20",
    ]
    assert total == "**25 to 57.5 of 100**"
    assert "| Term | Seen | Points |" not in card.detail


def shown_with(tell: Telling, *show: str) -> str:
    """The detail of the card about an improved patient, with other tables."""
    rule = next(r for r in tell.ruleset.card_rules if r.id == "response-improved")
    assert rule.card is not None
    card = msgspec.structs.replace(shown(rule.card, tell.evaluation.values), show=show)
    return detail_of(rule, card, tell, ())


def test_without_the_measures_a_sum_has_a_table_of_its_own(telling: Tell) -> None:
    """Every term with what was seen and its points; the measures alone have no column for them."""
    tell = telling("response-improved", "improved-at-six-months")

    alone = shown_with(tell, "response.tis.score")
    measures = shown_with(tell, "measures")

    assert rows(alone, "ACR/EULAR Total Improvement Score")[0] == [
        "Physician global activity",
        "45\u202f%",
        "20 of 20",
    ]
    assert "Core set measures" not in alone
    assert "| Change of range | Observations |" in measures


def test_a_value_that_was_converted_stands_with_what_was_recorded(example: Example) -> None:
    """Enzymes in µkat/L and scales in mm can be found again in the record; others need no word."""
    card, *_ = example("real-world-mess").cards

    table = rows(card.detail, "Core set measures")

    assert table[4][1] == "2550 U/L (2026-03-02; 42.5 µkat/L as recorded)"
    assert table[1][1:3] == ["7.1 cm (2026-03-02)", "3.8 cm (2026-11-09; 38 mm as recorded)"]


def test_what_was_left_out_stands_below_the_table_of_measures(example: Example) -> None:
    """Why a value in the chart is not the one compared, on every card with that table."""
    card, *_ = example("undetermined-strength-missing").cards

    part = card.detail.split("**Left out of the core set measures**\n\n")[1].split("\n\n")[0]

    assert part == (
        "- MMT-8, both sides and axial, 0–150, 2026-11-10: it has no value (Not performed: right "
        "arm in a sling after a fall) (Observation/strength-missing-mmt8-150-2026-11-10)\n"
        "- HAQ-DI, 0–3, 2026-11-10: is of the same day as "
        "Observation/strength-missing-haq-di-2026-11-10, which is later and counts "
        "(Observation/strength-missing-haq-di-2026-11-10-first)"
    )


def test_a_measure_that_is_missing_says_so(example: Example) -> None:
    """No value stands in for one that was not recorded, and what would settle it is named."""
    card, *_ = example("undetermined-strength-missing").cards
    strength = rows(card.detail, "Core set measures")[2]

    assert strength[1:5] == ["118 (2026-05-18)", "not performed (2026-11-10)", "", ""]
    assert "it depends on muscle strength." in card.detail
    assert "**Missing:**" not in card.detail  # not said twice


def change(baseline: str, current: str, *, undefined: bool, worsening: Interval) -> MeasureChange:
    """A change of a measure from one value to another."""
    first, last = (
        Measurement(
            "haq_di",
            Decimal(value),
            Decimal(value),
            date(2026, 1, 1),
            "",
            "Observation/1",
            Observation(),
            Decimal(1),
        )
        for value in (baseline, current)
    )
    improvement = Interval(-worsening.high, -worsening.low)
    return MeasureChange(
        "physical_function", "haq_di", first, last, improvement, worsening, None, undefined
    )


@pytest.mark.parametrize(
    "baseline, current, undefined, worsening, said",
    [
        ("2", "1", False, ("-50", "-50"), "improved 50\u202f%"),
        ("2", "3", False, ("50", "50"), "worse 50\u202f%"),
        ("2", "2", False, ("0", "0"), "unchanged"),
        ("2", "1.6875", False, ("-15.625", "-15.625"), "improved 15.6\u202f%"),
        ("2", "1.6008", False, ("-19.96", "-19.96"), "improved 19.96\u202f%"),
        ("0", "0", True, ("0", "0"), "unchanged"),
        ("0", "1", True, ("Infinity", "Infinity"), "worse (from 0, no percentage)"),
        (
            "-1",
            "1",
            True,
            ("-Infinity", "Infinity"),
            "no percentage of a baseline that is not above 0",
        ),
    ],
)
def test_changes_in_words(
    telling: Tell,
    baseline: str,
    current: str,
    undefined: bool,
    worsening: tuple[str, str],
    said: str,
) -> None:
    """From 0 there is no percentage, and none is made up."""
    low, high = map(Decimal, worsening)

    made = change(baseline, current, undefined=undefined, worsening=Interval(low, high))

    assert say_change(made, telling("response-improved", "measures-missing")) == said


# --- doubts and sources --------------------------------------------------------------------------


def test_a_pulse_is_cited_once_with_its_days(example: Example) -> None:
    """In the text, among the criteria and in the table of treatment, without the order for it."""
    card, *_ = example("rp-ild-already-pulsed").cards
    said = (
        "Methylprednisolone sodium succinate 1 g powder for solution for infusion, "
        "given 2026-11-09, 2026-11-10 and 2026-11-11, 1000 mg on a day of treatment"
    )

    treated = {row[0]: row[1:] for row in rows(card.detail, "Treatment on record")}

    assert card.detail.count(said) == 3
    assert card.detail.count("Methylprednisolone sodium succinate") == 3
    assert treated[said] == [
        "no",
        ", ".join(
            f"MedicationAdministration/already-pulsed-infusion-2026-11-{day}"
            for day in ("09", "10", "11")
        ),
    ]


def test_only_drugs_of_the_class_are_shown_where_a_class_is_named(example: Example) -> None:
    """Vitamin D and a bisphosphonate on record do not stand among the immunosuppressive drugs."""
    card, *_ = example("improved-by-score-not-by-definition").cards

    treated = [row[0].split()[0] for row in rows(card.detail, "Treatment on record")]

    assert treated == ["Prednisolone", "Prednisolone", "Azathioprine"]
    assert "| Glucocorticoid, immunosuppressive or immunomodulating drug | Now |" in card.detail


def test_a_run_of_days_is_cited_with_the_order_that_begins_it(example: Example) -> None:
    """Of more orders than a cell holds the rest is counted, and the first is never left out."""
    card = next(c for c in example("refractory-dermatomyositis").cards if "fracture" in c.summary)

    (cited,) = (row[3] for row in rows(card.detail, "Why this card") if "days up to now" in row[0])

    assert "ordered 2024-12-04 to 2025-01-28" in cited
    assert cited.endswith("; and 1 more")


def test_treatments_that_the_table_does_not_hold_are_counted(
    bundle: Callable[[str], bytes], advise_on: Callable[[bytes], Advice]
) -> None:
    """Doses that are alike are one row; of the rows that are left out the number is told."""
    content: Any = json.loads(bundle("rp-ild-already-pulsed"))
    (order,) = (
        e["resource"]
        for e in content["entry"]
        if e["resource"]["id"] == "already-pulsed-prednisolone-2026-11-12"
    )
    for i in range(MOST_TREATMENTS + 1):
        other = json.loads(json.dumps(order)) | {"id": f"o{i}", "authoredOn": f"20{i + 10}-01-01"}
        other["dosageInstruction"][0].pop("timing", None)
        content["entry"].append({"resource": other})

    card, *_ = advise_on(json.dumps(content).encode()).cards

    assert len(rows(card.detail, "Treatment on record")) == MOST_TREATMENTS
    assert "\n\nand 3 earlier.\n\n" in card.detail


def test_what_is_missing_is_only_what_would_settle_something(example: Example) -> None:
    """Other troponins that were not measured are not missed where one is above its limit."""
    raised, *_ = example("troponin-without-myocarditis").cards

    assert "**Missing:**" not in raised.detail


def test_numbers_that_nobody_read_are_said(example: Example) -> None:
    """What was recalled, or chosen by the project, is told on each card that rests on it."""
    pulse, *_ = example("myocarditis").cards
    suspicion, improved, *_ = example("ild-suspicion-only").cards

    def doubts(card: Card) -> str:
        (line,) = re.findall(r"\*\*Not verified in a source:\*\* (.*)", card.detail)
        return str(line)

    assert "Intravenous pulse methylprednisolone within 14 days (Project" in doubts(pulse)
    assert "methylprednisolone from 250 mg a day" in doubts(pulse)
    assert "each was read in one secondary source" in pulse.detail
    assert "FVC, % predicted, fall within 183 days ≥ 10\u202f% (Points" in doubts(suspicion)
    assert "fall within 183 days" in doubts(suspicion)
    assert "range of MMT-8, both sides and axial, 0–150" in doubts(improved)
    assert "range of Aldolase, 6 times its upper limit" in doubts(improved)
    assert "range of HAQ-DI" not in doubts(improved)


def test_numbers_behind_a_passage_are_said_where_it_is_shown(example: Example) -> None:
    """A line on complete clinical response rests on six months; other cards do not."""
    shown, *_ = example("complete-clinical-response").cards
    other, *_ = example("improved-at-six-months").cards

    assert "definition: **complete clinical response**" in shown.detail
    assert "Physician global activity, no activity, days up to now ≥ 183 days and" in shown.detail
    assert "(The six months of most definitions; off" in shown.detail
    assert "**complete clinical response**" not in other.detail
    assert "The six months of most" not in other.detail


def test_the_strict_reading_is_said_where_it_changes_the_answer(example: Example) -> None:
    """On the thresholds a card says that “more than” would answer otherwise; else it is silent."""
    on_the_thresholds, *_ = example("exactly-on-the-thresholds").cards
    far_from_them, *_ = example("improved-at-six-months").cards

    assert "Read strictly" in on_the_thresholds.detail
    assert "would **not** be met" in on_the_thresholds.detail
    assert "Read strictly" not in far_from_them.detail


def test_every_source_is_linked_with_what_it_supports(ruleset: RuleSet, example: Example) -> None:
    """Each line has author and year, the address, what it supports, and how certain that is.

    Choices of the project have no address, and say that they are such.
    """
    card, *_ = example("rp-ild-mda5").cards
    rule = next(r for r in ruleset.rules if r.id == "pulse-for-rapidly-progressive-ild")

    every = card.detail.split("**Sources**\n\n")[1].splitlines()
    choices = [line for line in every if line.startswith("- A choice of this project")]
    lines = [line for line in every if line not in choices]

    assert choices
    assert all(line.endswith(" (certainty: unverified)") for line in choices)
    cited = [
        item
        for item in rule.file.evidence
        if item.source != "project-policy" and f"{item.supports} (" in card.detail
    ]
    *_, prophylaxis, alternatives, tested, severe, blood = lines
    for line, item in zip(lines, cited, strict=True):
        assert f"]({ruleset.sources[item.source].url})" in line
        assert line.endswith(f"{item.supports} (certainty: {say_certainty(item.certainty)})")
    assert lines[1].endswith("(certainty: read in one secondary source)")
    assert prophylaxis.startswith("- [Fragoulis GE et al. 2022](https://ard.bmj.com/")
    assert alternatives.startswith("- [Rodriguez M et al. 2004](https://pmc.ncbi.nlm.nih.gov/")
    assert tested.endswith("testing G6PD before dapsone (certainty: low)")
    assert "dapsone after a severe reaction to a sulfonamide" in severe
    assert "methaemoglobinaemia with dapsone" in blood
    assert lines[1].startswith("- [Johnson SR et al. 2024](https://doi.org/10.1002/acr.25348): ")


def test_a_source_is_cited_only_where_it_bears_on_the_patient(example: Example) -> None:
    """The dose for children is cited in a child, what holds in pregnancy in a pregnant patient."""
    cited = {
        case: card.detail.split("**Sources**\n\n")[1]
        for case in ("rp-ild-mda5", "juvenile-rp-ild", "rp-ild-in-pregnancy")
        for card in example(case).cards[:1]
    }

    assert [case for case, said in cited.items() if "dose for children" in said] == [
        "juvenile-rp-ild"
    ]
    assert [case for case, said in cited.items() if "in pregnancy" in said] == [
        "rp-ild-in-pregnancy"
    ]


def test_the_first_source_that_bears_on_the_patient_is_that_of_the_card(example: Example) -> None:
    """A card is not headed by a trial in another disease, nor links to it."""
    card, *_ = example("glucocorticoid-alone").cards

    assert "Immune Globulin" not in card.source.label
    assert not [link for link in card.links if "Immune Globulin" in link.label]


def test_one_assessment_alone_has_no_columns_of_change(example: Example) -> None:
    """Of a patient who was assessed once no later values are called missing."""
    card, *_ = example("new-untreated-dermatomyositis").cards

    assert "| Measure | Baseline | Observations |" in card.detail
    assert "| missing |" not in card.detail


def test_in_a_child_the_card_says_why_the_enzyme_gives_no_points(example: Example) -> None:
    """Where no range of the enzyme is known the reason stands beside the score, not in adults."""
    said = "its range was found in no source"
    assert said in example("juvenile-dermatomyositis").cards[0].detail
    assert said not in example("improved-at-six-months").cards[0].detail


def test_options_that_are_being_given_are_left_out(ruleset: RuleSet, example: Example) -> None:
    """A patient without other drugs has all options, each with a source to read."""
    card, *_ = example("rp-ild-mda5").cards

    options = rows(card.detail, "Options")

    assert [option[0] for option in options] == [
        "Rituximab",
        "Cyclophosphamide",
        "Intravenous immunoglobulin",
        "Mycophenolate",
        "Calcineurin inhibitor (tacrolimus or ciclosporin)",
        "JAK inhibitor",
        "Prophylaxis against Pneumocystis, beside the treatment",
    ]
    assert all(option[4].startswith("[Johnson SR") for option in options[:-1])


# --- doses by body weight ------------------------------------------------------------------------


def weighed_on(bundle: bytes, day: str) -> bytes:
    """A Bundle whose body weights are of one day."""
    content: Any = json.loads(bundle)
    for entry in content["entry"]:
        if "-weight-" in entry["resource"]["id"]:
            entry["resource"]["effectiveDateTime"] = day
    return json.dumps(content).encode()


def test_a_dose_by_weight_names_the_weight_and_what_of_it_nobody_read(example: Example) -> None:
    """The Observation can be looked up, and for how long it counts is a choice of the project."""
    card, *_ = example("juvenile-rp-ild").cards

    assert "at most 1000 mg a day (for 32 kg, 2026-11-12: 960 mg);" in card.detail
    assert (
        "**Doses by weight:** Body weight 32 kg, 2026-11-12 "
        "(Observation/juvenile-rp-ild-weight-2026-11-12)."
    ) in card.detail
    assert "for how long a body weight counts, 90 days" in card.detail


def test_a_weight_that_is_too_old_is_told_and_not_used(
    bundle: Callable[[str], bytes], advise_on: Callable[[bytes], Advice]
) -> None:
    """The dose per kg stays as it is, with the reason why nothing was worked out."""
    old = weighed_on(bundle("juvenile-rp-ild"), "2026-05-05")

    card, *_ = advise_on(old).cards

    assert "Dose (child): 30 mg/kg a day, at most 1000 mg a day; the number of days" in card.detail
    assert (
        "**No dose by weight:** the last weight is older than 90 days: Body weight 32 kg"
    ) in card.detail


def test_a_card_whose_doses_need_no_weight_says_nothing_of_it(example: Example) -> None:
    """The pulse for an adult is not by weight, though a weight is on record."""
    card, *_ = example("rp-ild-mda5").cards

    assert "by weight" not in card.detail
    assert "body weight" not in card.detail


def test_whether_an_option_is_approved_is_told_of_its_drug(
    example: Example,
) -> None:
    """The dose for this patient stands in the table, not once more among the doubts."""
    card = next(
        c for c in example("new-untreated-dermatomyositis").cards if "Untreated" in c.summary
    )

    assert (
        "| Prednisolone 0.5 mg/kg to 1 mg/kg a day (for 68 kg, 2026-11-12: 34 to 68 mg), "
        "usually 40 mg to 60 mg a day |" in card.detail
    )
    assert "whether approved: Calcineurin inhibitor, Systemic glucocorticoid" in card.detail


def test_a_pulse_that_is_ordered_to_begin_later_is_told_and_not_drafted_again(
    ordered: Callable[..., Advice],
) -> None:
    """The card stands, since none was given, and says what is ordered and how soon that counts."""
    card, *_ = ordered("rp-ild-mda5", "Methylprednisolone 1 g intravenous", "2026-11-17").cards
    order, *_ = rows(card.detail, "Treatment on record")

    assert order == [
        "Methylprednisolone 1 g intravenous, ordered to begin 2026-11-17 (matched by name)",
        "not yet",
        "MedicationRequest/ordered",
    ]
    assert "may have been given or ordered already" in card.detail
    assert "how soon an order must begin to count (14 days)" in card.detail
    assert card.suggestions == ()

    far, *_ = ordered("rp-ild-mda5", "Methylprednisolone 1 g intravenous", "2026-12-01").cards
    assert "may have been given or ordered already" not in far.detail
    assert far.suggestions
