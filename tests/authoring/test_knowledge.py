"""The document for clinical governance holds everything clinical, and is up to date."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

from cds.advice import load_rules
from cds.authoring.knowledge import RULES, knowledge
from cds.rules.ruleset import RuleSet
from cds.rules.words import say_number

SHARES = re.compile(r"\(#shared-([\w-]+)\)")
DOCUMENT = Path(__file__).parents[2] / "docs" / "knowledge.md"


@pytest.fixture(scope="module")
def ruleset() -> RuleSet:
    """The shipped rules."""
    return load_rules(RULES)


@pytest.fixture(scope="module")
def text() -> str:
    """The document of the shipped rules."""
    return knowledge(RULES)


def part(text: str, heading: str) -> str:
    """What stands under a heading of the second level."""
    found = re.search(rf"^## {heading}\n(.*?)(?=^## |\Z)", text, re.M | re.S)
    assert found is not None, heading
    return found[1]


def rule(text: str, id_: str) -> str:
    """What stands under a rule."""
    found = re.search(rf'^<a id="{id_}"></a>\n(.*?)(?=^<a id="|^## |\Z)', text, re.M | re.S)
    assert found is not None, id_
    return found[1]


def words(text: str) -> list[str]:
    """The words of a text around what is put into it."""
    return [each for each in re.split(r"\{[^{}]*\}", text) if each]


def test_the_document_is_that_of_the_rules(text: str) -> None:
    """`make documents` brings it up to date."""
    assert DOCUMENT.read_text(encoding="utf-8") == text


def test_every_rule_is_there_with_all_that_is_to_be_approved(text: str, ruleset: RuleSet) -> None:
    """Header, parameters with source, evidence, and the words of the card as they are written.

    What several cards say alike may stand apart, once, where the rule links to it.
    """
    for each in ruleset.every:
        said, file = rule(text, each.id), each.file
        assert f"version {file.version}, {file.status}" in said
        assert f"Reviewed {file.reviewed}, to be reviewed by {file.review_by}" in said
        for name in file.parameters:
            assert f"\n| {name.replace('_', ' ')} | " in said
        taken = "".join(f"\n{rule(text, f'shared-{s}')}" for s in SHARES.findall(said))
        for item in file.evidence:
            assert f"[`{item.source}`](#source-{item.source})" in said + taken
        if file.card is not None:
            texts = [p if isinstance(p, str) else p.text for p in file.card.text]
            for part in (*words(file.card.summary), *words(file.card.lead)):
                assert part in said
            for part in (part for line in texts for part in words(line)):
                assert part in said + taken
            for reason in file.card.override_reasons:
                assert f"`{reason}`" in said


def test_every_unverified_number_stands_at_the_top(text: str, ruleset: RuleSet) -> None:
    """Of rules, drafts and the vocabulary, with the codes that were recalled."""
    top = part(text, "What nobody has read in a source")
    for each in ruleset.every:
        for name, number in each.file.parameters.items():
            row = f"| [`{each.id}`](#{each.id}) | “{name.replace('_', ' ')}” |"
            assert (row in top) is (number.certainty == "unverified")
    for row in (
        "[`assessments`](#number-assessments) | window |",
        "[`observations.aldolase`](#number-observations.aldolase) | adult range in upper limits |",
        "[`measures.physician_global`](#number-measures.physician_global) | levels: inactive: no",
        "[`observations.spo2`](#number-observations.spo2) | falls: fall |",
    ):
        assert f"| {row}" in top
    assert "`observations.ck`" not in top
    assert "loinc 98979-8 (Glomerular filtration rate" in top
    assert text.index("What nobody has read") < text.index("\n## Rules")


def test_what_was_read_once_stands_apart(text: str, ruleset: RuleSet) -> None:
    """In a section of its own after what nobody has read."""
    once = part(text, "What was read in one secondary source")
    assert "| [`observations.ck`](#number-observations.ck) | adult range in upper limits |" in once
    assert (
        "| [`doses.glucocorticoid`](#number-doses.glucocorticoid) | equal: prednisolone |" in once
    )
    for each in ruleset.every:
        for name, number in each.file.parameters.items():
            row = f"| [`{each.id}`](#{each.id}) | “{name.replace('_', ' ')}” |"
            assert (row in once) is (number.certainty == "one source")


def test_conditions_are_in_words(text: str) -> None:
    """As a list within a list; what is counted is named, with what is asked of it."""
    said = rule(text, "confirmed-deterioration")
    assert (
        "- at least one of these:\n"
        "  - all of these:\n"
        "    - Physician global activity, worse by ≥ 2 cm\n" in said
    )
    assert "at least 3 of 5 (Physician global activity, Patient or parent global activity," in said


def test_scores_and_categories_are_in_words(text: str) -> None:
    """The points of each band, and the condition of each category."""
    score = rule(text, "total-improvement-score")
    assert (
        "above 5\u202f%: 7.5; above 15\u202f%: 15; above 25\u202f%: 17.5; above 40\u202f%: 20"
        in score
    )
    assert "below minimal: otherwise" in rule(text, "total-improvement-category")


def test_every_source_says_whether_it_was_read(text: str, ruleset: RuleSet) -> None:
    """With its citation."""
    said = part(text, "Sources")
    for key, source in ruleset.sources.items():
        (row,) = (line for line in said.splitlines() if f'id="source-{key}"' in line)
        assert ("**recalled**" in row) is (source.checked == "recalled")
        assert source.citation.replace("|", "\\|") in row
        assert ("(read" in row) is (source.checked == "read" and key != "project-policy")


def test_where_a_rule_is_asked_for_is_said_of_cards_alone(text: str) -> None:
    """Criteria and contraindications have no hooks of their own."""
    assert "Asked at: order-select, order-sign. Owner" in rule(text, "draft-advised-against")
    assert "Worked out wherever a card asks for it. Owner" in rule(text, "refractory")
    assert "Shown with options, and with drugs that are given or ordered. Owner" in rule(
        text, "drug-allergy"
    )


def test_what_speaks_against_a_drug_is_said_with_its_numbers(text: str) -> None:
    """A contraindication's own number, and one of another rule with the way to it."""
    own = rule(text, "filgotinib-in-renal-impairment")
    assert "**Said of Filgotinib** (caution): renal impairment, in which (below 60 mL/min" in own
    other = rule(text, "filgotinib-in-renal-failure")
    assert "is below [15 mL/min/1.73 m2](#filgotinib-in-renal-impairment)" in other


def test_every_link_within_the_document_leads_somewhere(text: str) -> None:
    """The contents, the rules and the sources."""
    anchors = set(re.findall(r'<a id="([^"]+)">', text))
    headings = re.findall(r"^#+ (.*)$", text, re.M)
    anchors |= {heading.lower().replace(" ", "-") for heading in headings}
    assert {link for link in re.findall(r"\]\(#([^)]+)\)", text)} <= anchors


def test_every_table_is_whole(text: str) -> None:
    """Each row has as many cells as the head: nothing in a cell breaks out of it."""
    rows = 0
    for table in re.findall(r"(?:^\|.*\n)+", text, re.M):
        cells = {len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}
        assert len(cells) == 1, table
        rows += table.count("\n")
    tokens = MarkdownIt("commonmark").enable("table").parse(text)
    assert sum(token.type == "tr_open" for token in tokens) == rows - text.count("| --- |\n")


def test_classes_of_drugs_are_shown_with_their_drugs(text: str, ruleset: RuleSet) -> None:
    """Who approves a class approves each drug in it, and how each is recognised."""
    vocabulary = ruleset.terms.vocabulary
    classes, drugs = part(text, "Classes of drugs"), part(text, "Drugs")
    for name, entry in vocabulary.drug_classes.items():
        titles = "; ".join(vocabulary.drugs[drug].title for drug in entry.any_of)
        assert f"| {entry.title} (`{name}`) | {titles} |" in classes
    for drug in vocabulary.drugs.values():
        for code in [c for by_code in drug.codes.values() for c in by_code]:
            assert f" {code} " in drugs
    assert "atc L04AX03 methotrexate (**unverified**)" in drugs
    at_least = "at least [so much](#number-drug_classes.pulse_methylprednisolone) a day"
    assert at_least in classes


def test_diagnoses_and_findings_are_shown_with_their_members_and_codes(
    text: str, ruleset: RuleSet
) -> None:
    """Groups with their members, entries with codes, categories and what else they mean."""
    findings = part(text, "Findings")
    assert "Active serious infection (`active_infection`) | Sepsis; Pneumonia;" in findings
    assert (
        "icd10cm C50 and all within it: Malignant neoplasm of breast (**unverified**)" in findings
    )
    assert "once it is over it counts as: Cancer before" in findings
    assert "not known, and not false, where nobody recorded it" in findings
    diagnoses = part(text, "Diagnoses")
    for entry in ruleset.terms.vocabulary.diagnoses.values():
        for by_code in entry.codes.values():
            for code, display in by_code.items():
                assert f"{code} {display}" in diagnoses


def test_the_words_that_decide_how_a_text_is_read_are_listed(text: str, ruleset: RuleSet) -> None:
    """Those that deny or doubt a name, and those that leave it as it is."""
    vocabulary = ruleset.terms.vocabulary
    said = part(text, "Diagnoses")
    for heading, words in (
        ("Before or behind a name these change nothing", vocabulary.qualifiers),
        ("These deny what stands behind them", vocabulary.negations),
        ("These what stands before them", vocabulary.negations_after),
    ):
        assert f"{heading}: {'; '.join(words)}." in said
    assert all(word in said for word in (*vocabulary.doubts, *vocabulary.doubts_after))


def test_every_number_of_a_rule_has_the_day_of_its_review(text: str, ruleset: RuleSet) -> None:
    """That of its rule; policies of the project are named in a table of their own as well.

    But for how long a card stays away, which stands among what nobody has read, and is told so.
    """
    policies = part(text, "Policies of this project")
    for each in ruleset.every:
        said = rule(text, each.id)
        assert f"to be reviewed by {each.file.review_by}" in said
        for name, number in each.file.parameters.items():
            called = name.replace("_", " ")
            (_,) = [line for line in said.splitlines() if line.startswith(f"| {called} | ")]
            card = each.file.card
            quiet = card is not None and card.quiet_after_override == f"parameters.{name}"
            if number.source == "project-policy":  # whatever its certainty
                told = not (quiet and number.certainty == "unverified")
                assert (f"| [`{each.id}`](#{each.id}) | “{called}” |" in policies) is told
    assert "how long each card stays away after a reason (“quiet”)" in policies


def test_every_number_that_is_to_be_decided_is_shown_with_what_was_noted_of_it(
    text: str, ruleset: RuleSet
) -> None:
    """Nobody approves a name: its value and its note stand in each list that asks for a word."""
    lists = [
        part(text, "What nobody has read in a source"),
        part(text, "What was read in one secondary source"),
        part(text, "Policies of this project"),
    ]
    shown = [row for each in lists for row in each.splitlines()]
    for each in ruleset.every:
        for name, number in each.file.parameters.items():
            row = f"| [`{each.id}`](#{each.id}) | “{name.replace('_', ' ')}” | "
            value = say_number(number.value, number.unit)
            said = f"{value}; {number.note}" if number.note else value
            assert {line for line in shown if line.startswith(row)} <= {f"{row}{said} |"}
    window = "| window | 14 days; Project policy: Observations within"
    assert [window in each for each in lists] == [True, False, True]


def test_every_number_stands_in_one_table(text: str, ruleset: RuleSet) -> None:
    """That of its rule, or that of the vocabulary; beside it only what is to be decided."""
    elsewhere = text
    for heading in (
        "What nobody has read in a source",
        "What was read in one secondary source",
        "Policies of this project",
    ):
        elsewhere = elsewhere.replace(part(text, heading), "")
    for each in ruleset.every:
        for name, number in each.file.parameters.items():
            value = f"| {name.replace('_', ' ')} | {say_number(number.value, number.unit)} |"
            assert value in rule(text, each.id)
            for line in elsewhere.splitlines():
                if line.startswith(f"| [`{each.id}`]") and f"“{name.replace('_', ' ')}”" in line:
                    assert set(line.split("|")[3:]) <= {"", "  "}
    vocabulary = part(text, "Numbers of the vocabulary")
    assert "| range | 0 to 150 |" in vocabulary
    assert "| levels: above 15 mg: dose | 15 mg/d |" in vocabulary
    rest = elsewhere.replace(vocabulary, "")
    for row in ("| range | ", "| covers | ", "| levels: above 15 mg: dose | ", "| window | 14"):
        assert row in vocabulary
        assert not re.search(rf"{re.escape(row)}\d", rest)


def test_what_is_put_into_a_text_is_said_plainly(text: str) -> None:
    """A number with the way to its table, what is known of the patient by what it is."""
    untreated = rule(text, "first-line-untreated")
    dose = "[0.5 mg/kg](#first-line-doses) to [1 mg/kg](#first-line-doses) a day"
    assert f"Prednisolone {dose} ⟨adult start for the last recent weight⟩, usually" in rule(
        text, "shared-first-line-glucocorticoid"
    )
    assert "- adult start: [0.5 mg/kg](#first-line-doses) to [1 mg/kg](#first-line-doses)" in (
        untreated
    )
    assert "⟨what is on record of: Pregnancy⟩" in rule(text, "pregnancy-not-known-with-order")
    assert "those counted of the group “core set”" in rule(text, "response-improved")
    assert "⟨what is on record of: allergy of this drug⟩" in rule(text, "drug-allergy")
    assert "[500 mg](#pulse-doses) to [1000 mg](#pulse-doses) intravenously" in text
    assert not re.search(r"\{[\w.]+[.:}]", text)


def test_the_time_after_a_reason_is_shown(text: str) -> None:
    """With the rule that has it; and that a card has none."""
    assert "After a lasting reason it stays away for 365 days." in rule(text, "fracture-risk")
    assert "It does not stay away after a reason." in rule(
        text, "oral-glucocorticoid-ordered-alone"
    )


def test_numbers_within_conditions_and_sums_are_with_their_rule(text: str) -> None:
    """How many factors make a risk high, and the points of a band."""
    assert "- at least 2 of 6 (Dermatomyositis that is" in rule(text, "cancer-risk-high")
    assert "| Muscle strength, improvement in percent of the range | above 2\u202f%: 10;" in rule(
        text, "total-improvement-score"
    )


def test_only_what_stands_in_a_source_was_read_in_one(text: str) -> None:
    """A number without a source is unverified, and a choice of the project was read nowhere."""
    assert "**no source**" not in text
    vocabulary = part(text, "Numbers of the vocabulary")
    for line in vocabulary.splitlines():
        if "| read in a source |" in line:
            assert "](#source-" in line
            assert "](#source-project-policy)" not in line
    for row in (
        "`observations.fvc_percent_predicted` | range | 0 to 300 | **unverified** |",
        "`observations.ck` | range | ≥ 0 | chosen by this project |",
        "`observations.mmt8_80` | range | 0 to 80 | read in a source | [`imacs-form-04`]",
    ):
        assert row in vocabulary


def test_the_policy_that_a_rise_from_nothing_is_worse_is_told(text: str) -> None:
    """It decides the definition of improvement, and no publication says it."""
    assert "a rise from 0, of which no percentage is defined, counts as worsened" in part(
        text, "Policies of this project"
    )


def test_how_values_and_assessments_are_chosen_is_told(text: str, ruleset: RuleSet) -> None:
    """Each measure with its instruments in order, and each statement with how well it is known."""
    said, vocabulary = part(text, "Measures and assessments"), ruleset.terms.vocabulary
    measured = [i for i in vocabulary.measures["muscle_enzyme"].instruments if i != "chq_phs"]
    enzymes = "; ".join(vocabulary.observations[i].title for i in measured)
    stands_in = vocabulary.observations["chq_phs"].title
    row = f"| Muscle enzyme (`muscle_enzyme`) | in the core set | {enzymes} | {stands_in} | highest"
    assert row in said
    assert "the baseline is the last assessment no later than `grace` after" in said
    enzyme = "the enzyme with the highest multiple of its upper limit at baseline counts, and the"
    assert f"| `measures.muscle_enzyme` | {enzyme} same one at follow-up | **unverified** |" in said
    assert enzyme in part(text, "What nobody has read in a source")
    policies = part(text, "Policies of this project")
    assert enzyme not in policies
    assert "the current assessment is the latest at least `least_interval` after" in policies
