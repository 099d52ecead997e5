import json
import re
from collections.abc import Callable
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it.token import Token

from cds.advice import Advice
from cds.cards.card import Card
from cds.cards.detail import say_change
from cds.chart.assessments import MeasureChange
from cds.chart.measurements import Measurement
from cds.chart.quantities import Interval
from cds.fhir.resources import Observation
from cds.rules.ruleset import RuleSet

CHECKOUT = Path(__file__).parents[2]
CASES = sorted(
    file.name.removesuffix(".bundle.json")
    for file in (CHECKOUT / "fhir_examples").glob("*.bundle.json")
)
Example = Callable[[str], Advice]
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
    text = "RP-ILD <b>*urgent*</b> | see [note](http://x.example)"

    card, *_ = advise_on(told(text, bundle("rp-ild-mda5"))).cards

    said = "".join(token.content for token in inline(render(card.detail)))
    assert f"Recorded as: {text}, 2026-11-06" in said


# --- measures ------------------------------------------------------------------------------------


def test_the_table_of_measures_shows_values_dates_changes_and_references(example: Example) -> None:
    """All six core set measures, relative change and change of the range beside each other."""
    card, *_ = example("exactly-on-the-thresholds").cards

    table = rows(card.detail, "Core set measures")

    assert len(table) == 6
    assert table[0] == [
        "Physician global activity, VAS 0–10 cm",
        "5.5 cm (2026-06-01)",
        "4.4 cm (2026-11-09)",
        "improved 20\u202f%",
        "improved 11\u202f%",
        "Observation/on-the-thresholds-physician-global-2026-06-01, "
        "Observation/on-the-thresholds-physician-global-2026-11-09",
    ]
    assert table[1][3:5] == ["worse 25\u202f%", "worse 9\u202f%"]
    assert table[4][0] == "Muscle enzyme: CK (4.3 times its upper limit at baseline)"
    assert "Baseline 2026-06-01: the last assessment on or before the start of" in card.detail
    assert "Current 2026-11-09: the latest assessment, at least 28 days after" in card.detail


def test_a_measure_that_is_missing_says_so(example: Example) -> None:
    """No value stands in for one that was not recorded, and what would settle it is named."""
    card, *_ = example("undetermined-strength-missing").cards
    strength = rows(card.detail, "Core set measures")[2]

    assert strength[1:5] == ["118 (2026-05-18)", "missing", "", ""]
    assert "**Missing:** Muscle strength\n" in card.detail


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
    baseline: str, current: str, undefined: bool, worsening: tuple[str, str], said: str
) -> None:
    """From 0 there is no percentage, and none is made up."""
    low, high = map(Decimal, worsening)

    made = change(baseline, current, undefined=undefined, worsening=Interval(low, high))

    assert say_change(made) == said


# --- doubts and sources --------------------------------------------------------------------------


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

    assert "“recent” 14 days" in doubts(pulse)
    assert "methylprednisolone from 250 mg a day" in doubts(pulse)
    assert "recalled, not verified" in pulse.detail
    assert "“fvc fall” 10\u202f%" in doubts(suspicion)
    assert "fall within 183 days" in doubts(suspicion)
    assert "range of MMT-8, both sides and axial, 0–150" in doubts(improved)
    assert "range of Aldolase, 6 times its upper limit" in doubts(improved)
    assert "range of HAQ-DI" not in doubts(improved)


def test_numbers_behind_a_passage_are_said_where_it_is_shown(example: Example) -> None:
    """A line on complete clinical response rests on six months; other cards do not."""
    shown, *_ = example("complete-clinical-response").cards
    other, *_ = example("improved-at-six-months").cards

    assert "definition: **complete clinical response**" in shown.detail
    assert "“inactive for” 183 days" in shown.detail
    assert "**complete clinical response**" not in other.detail
    assert "“inactive for”" not in other.detail


def test_the_strict_reading_is_said_where_it_changes_the_answer(example: Example) -> None:
    """On the thresholds a card says that “more than” would answer otherwise; else it is silent."""
    on_the_thresholds, *_ = example("exactly-on-the-thresholds").cards
    far_from_them, *_ = example("improved-at-six-months").cards

    assert "Read strictly" in on_the_thresholds.detail
    assert "would **not** be met" in on_the_thresholds.detail
    assert "Read strictly" not in far_from_them.detail


def test_every_source_is_linked_with_what_it_supports(ruleset: RuleSet, example: Example) -> None:
    """Each line has author and year, the address, what it supports, and how certain that is."""
    card, *_ = example("rp-ild-mda5").cards
    rule = next(r for r in ruleset.rules if r.id == "pulse-for-rapidly-progressive-ild")

    lines = card.detail.split("**Sources**\n\n")[1].splitlines()

    cited = [item for item in rule.file.evidence if item.when is None]
    for line, item in zip(lines, cited, strict=True):
        assert f"]({ruleset.sources[item.source].url})" in line
        assert line.endswith(f"{item.supports} (certainty: {item.certainty})")
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
    """A patient without other drugs has all six options, each with a source to read."""
    card, *_ = example("rp-ild-mda5").cards

    options = rows(card.detail, "Options")

    assert [option[0] for option in options] == [
        "Rituximab",
        "Cyclophosphamide",
        "Intravenous immunoglobulin",
        "Mycophenolate",
        "Calcineurin inhibitor (tacrolimus or ciclosporin)",
        "JAK inhibitor",
    ]
    assert all(option[4].startswith("[Johnson SR") for option in options)
