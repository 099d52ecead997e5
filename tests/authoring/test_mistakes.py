"""Mistakes that people make in the shipped files: each is told at its line, with what to do."""

from __future__ import annotations

import shutil
from datetime import date
from pathlib import Path

import pytest
from msgspec import Struct

from cds.authoring.checking import check_rules
from cds.authoring.codes import CODES

RULES = Path(__file__).parents[2] / "rules"
DAY = date(2026, 11, 23)

ILD = "guidance/life-threatening/suspected-rapidly-progressive-ild.yaml"
PULSE = "guidance/life-threatening/pulse-for-myocarditis.yaml"
TROPONIN = "guidance/life-threatening/troponin-without-myocarditis.yaml"
NOT_IMPROVED = "guidance/response/response-not-improved.yaml"
IMACS = "criteria/imacs-improvement.yaml"
WORSENING = "criteria/worsening.yaml"
INADEQUATE = "criteria/inadequate-response.yaml"
OBSERVATIONS = "vocabulary/observations.yaml"
MEASURES = "vocabulary/measures.yaml"
CONDITIONS = "vocabulary/conditions.yaml"


class Mistake(Struct, frozen=True):
    """In ``file`` the first ``right`` becomes ``wrong``.

    ``code`` is told at the line that then begins with ``at``, and the message holds ``says``.
    """

    name: str
    file: str
    right: str
    wrong: str
    code: str
    at: str
    says: str


SEEDED = (
    Mistake(
        "a fact is misspelt",
        ILD,
        "- finding.interstitial_lung_disease\n",
        "- finding.intersticial_lung_disease\n",
        "unknown-fact",
        "- finding.intersticial_lung_disease",
        "did you mean `finding.interstitial_lung_disease`?",
    ),
    Mistake(
        "the short name of a diagnosis is written out",
        ILD,
        "- diagnosis.myositis\n",
        "- myositis\n",
        "unknown-fact",
        "- myositis",
        "did you mean `diagnosis.myositis`?",
    ),
    Mistake(
        "days are written for a percentage",
        ILD,
        'low_saturation: {value: 92, unit: "%"',
        "low_saturation: {value: 92, unit: d",
        "wrong-unit",
        "low_saturation:",
        "has the unit `d`, but what it is compared with has the unit `%`: convert the number to",
    ),
    Mistake(
        "a percentage has no unit",
        WORSENING,
        'strength: {value: 20, unit: "%"',
        "strength: {value: 20",
        "wrong-unit",
        "strength:",
        "has no unit, but what it is compared with has the unit `%`: write `20 %`",
    ),
    Mistake(
        "months are not days",
        ILD,
        "recent: {value: 90, unit: d",
        "recent: {value: 3, unit: mo",
        "wrong-unit",
        "recent:",
        "convert the number to `d`",
    ),
    Mistake(
        "a line is indented with a tab",
        ILD,
        "    - finding.interstitial_lung_disease\n",
        "\t- finding.interstitial_lung_disease\n",
        "not-yaml",
        "- finding.interstitial_lung_disease",
        "indent with spaces, not with a tab",
    ),
    Mistake(
        "a closing quote is missing",
        PULSE,
        'consider IV pulse methylprednisolone and urgent cardiology"\n',
        "consider IV pulse methylprednisolone and urgent cardiology\n",
        "not-yaml",
        "summary:",
        "close its quotes",
    ),
    Mistake(
        "a text with a colon has no quotes",
        PULSE,
        'summary: "Myocarditis in myositis: consider IV pulse methylprednisolone and urgent '
        'cardiology"',
        "summary: Myocarditis in myositis: consider IV pulse methylprednisolone",
        "not-yaml",
        "summary:",
        "put a text with `: ` in it in quotes",
    ),
    Mistake(
        "an item of a list is indented too little",
        ILD,
        "    - finding.interstitial_lung_disease\n",
        "   - finding.interstitial_lung_disease\n",
        "not-yaml",
        "- finding.interstitial_lung_disease",
        "indent this line as those above",
    ),
    Mistake(
        "a bracket is not closed",
        PULSE,
        "  show: [treatments]\n",
        "  show: [treatments\n",
        "not-yaml",
        "suggestions:",
        "close the bracket",
    ),
    Mistake(
        "a key stands twice",
        ILD,
        "status: active\n",
        "status: active\nstatus: draft\n",
        "duplicate-key",
        "status: draft",
        "remove one",
    ),
    Mistake(
        "a key is misspelt",
        ILD,
        "  indicator: warning\n",
        "  indicater: warning\n",
        "unknown-key",
        "indicater:",
        "did you mean `indicator`?",
    ),
    Mistake(
        "a source is unknown",
        IMACS,
        "  - source: rider-2004\n",
        "  - source: rider-2005\n",
        "unknown-source",
        "- source: rider-2005",
        "did you mean `rider-2004`?",
    ),
    Mistake(
        "a source is left out",
        IMACS,
        "  - source: rider-2004\n    supports:",
        "  - supports:",
        "missing-key",
        "- supports:",
        "`source` is missing",
    ),
    Mistake(
        "an operator is turned round",
        ILD,
        "observation.spo2.latest < parameters",
        "observation.spo2.latest =< parameters",
        "bad-condition",
        "- observation.spo2.latest =<",
        "write `<=` for `=<`",
    ),
    Mistake(
        "an operator is copied from a paper",
        WORSENING,
        "muscle_strength.worsening >= parameters",
        "muscle_strength.worsening ≥ parameters",
        "bad-condition",
        "- measure.muscle_strength.worsening ≥",
        "write `>=` for `≥`",
    ),
    Mistake(
        "what is counted is missing",
        IMACS,
        "      where: improvement >= parameters.improvement\n",
        "",
        "missing-key",
        "- at_least: 3",
        "`where` is missing",
    ),
    Mistake(
        "a parameter is misspelt",
        IMACS,
        "improvement >= parameters.improvement",
        "improvement >= parameters.improvment",
        "unknown-parameter",
        "where: improvement >=",
        "did you mean `improvement`?",
    ),
    Mistake(
        "a status is misspelt",
        ILD,
        "status: active",
        "status: activ",
        "wrong-type",
        "status: activ",
        "did you mean `active`?",
    ),
    Mistake(
        "a day does not exist",
        ILD,
        "reviewed: 2026-11-16",
        "reviewed: 2026-11-31",
        "wrong-type",
        "reviewed:",
        "not a day of the calendar",
    ),
    Mistake(
        "a day is written in the German way",
        ILD,
        "reviewed: 2026-11-16",
        "reviewed: 16.11.2026",
        "wrong-type",
        "reviewed:",
        "should be a date (2026-11-01)",
    ),
    Mistake(
        "a count is negative",
        IMACS,
        "- at_least: 3",
        "- at_least: -3",
        "wrong-type",
        "- at_least: -3",
        "takes a whole number from 0",
    ),
    Mistake(
        "more is counted than there is",
        IMACS,
        "- at_least: 3",
        "- at_least: 7",
        "never-true",
        "- at_least: 7",
        "has only 6 members: count no more",
    ),
    Mistake(
        "a group is unknown",
        IMACS,
        "of: core_set",
        "of: coreset",
        "unknown-group",
        "of: coreset",
        "did you mean `core_set`?",
    ),
    Mistake(
        "a placeholder is unknown",
        NOT_IMPROVED,
        "{response.imacs.improved_measures}",
        "{response.imacs.improved_measure}",
        "unknown-fact",
        '- "Improved by',
        "did you mean `response.imacs.improved_measures`?",
    ),
    Mistake(
        "the form of a placeholder is unknown",
        PULSE,
        "{finding.myocarditis:evidence}",
        "{finding.myocarditis:evidance}",
        "bad-text",
        '- "Recorded as:',
        "did you mean `evidence`?",
    ),
    Mistake(
        "a brace is not closed",
        PULSE,
        "{finding.myocarditis:evidence}",
        "{finding.myocarditis:evidence",
        "bad-text",
        '- "Recorded as:',
        "close the braces, or double it",
    ),
    Mistake(
        "a suggestion is unknown",
        PULSE,
        "suggestions: [pulse-methylprednisolone-adult,",
        "suggestions: [pulse-methylprednisolone,",
        "unknown-id",
        "suggestions:",
        "did you mean `pulse-methylprednisolone-",
    ),
    Mistake(
        "an override reason is unknown",
        PULSE,
        "override_reasons: [already-treated,",
        "override_reasons: [allready-treated,",
        "unknown-id",
        "override_reasons:",
        "did you mean `already-treated`?",
    ),
    Mistake(
        "the id of a copied file was not changed",
        ILD,
        "id: suspected-rapidly-progressive-ild\n",
        "id: pulse-for-myocarditis\n",
        "duplicate-id",
        "id: pulse-for-myocarditis",
        "is declared already at guidance/life-threatening/pulse-for-myocarditis.yaml:",
    ),
    Mistake(
        "two rules wait for each other",
        WORSENING,
        "  any:\n",
        "  any:\n    - treatment.inadequate_response\n",
        "cycle",
        "id: inadequate-response",
        "take out of one of them the fact that another derives",
    ),
    Mistake(
        "one code stands in two entries",
        CONDITIONS,
        'snomed: {"50920009": Myocarditis}',
        'snomed: {"233703007": Myocarditis}',
        "duplicate-code",
        '"233703007": Interstitial lung disease',
        "one code can mean one thing only",
    ),
    Mistake(
        "a code system is unknown",
        CONDITIONS,
        'snomed: {"50920009": Myocarditis}',
        'snomedct: {"50920009": Myocarditis}',
        "unknown-id",
        "snomedct:",
        "did you mean `snomed`?",
    ),
    Mistake(
        "a table of units is unknown",
        OBSERVATIONS,
        "units: vas",
        "units: cm",
        "unknown-id",
        "units: cm",
        "`cm` is not declared among the units",
    ),
    Mistake(
        "the ends of a range are exchanged",
        OBSERVATIONS,
        "range: {low: 0, high: 80}",
        "range: {low: 80, high: 0}",
        "bad-range",
        "range: {low: 80, high: 0}",
        "exchange or correct them",
    ),
    Mistake(
        "an instrument is unknown",
        MEASURES,
        "instruments: [haq_di, chaq]",
        "instruments: [haq, chaq]",
        "unknown-id",
        "instruments:",
        "did you mean",
    ),
    Mistake(
        "a number has a comma",
        WORSENING,
        "strength: {value: 20,",
        'strength: {value: "20,5",',
        "wrong-type",
        "strength:",
        "should be a number",
    ),
    Mistake(
        "a diagnosis is compared with a number",
        ILD,
        "- diagnosis.myositis\n",
        "- diagnosis.myositis >= 1\n",
        "wrong-kind",
        "- diagnosis.myositis >= 1",
        "is true or false",
    ),
    Mistake(
        "a number is asked for without a threshold",
        ILD,
        "- observation.spo2.latest < parameters.low_saturation\n",
        "- observation.spo2.latest\n",
        "wrong-kind",
        "- observation.spo2.latest",
        "write for example",
    ),
    Mistake(
        "`and` is written in a condition",
        ILD,
        "- diagnosis.myositis\n",
        "- diagnosis.myositis and finding.myocarditis\n",
        "bad-condition",
        "- diagnosis.myositis and",
        "write a fact",
    ),
    Mistake(
        "a threshold is beyond the instrument",
        ILD,
        'low_saturation: {value: 92, unit: "%"',
        'low_saturation: {value: 920, unit: "%"',
        "never-true",
        "- observation.spo2.previous >= parameters.low_saturation",
        "can never be true, whatever the patient: correct or remove it",
    ),
    Mistake(
        "a rule contradicts itself",
        PULSE,
        "    - finding.myocarditis\n",
        "    - finding.myocarditis\n    - not: finding.myocarditis\n",
        "never-true",
        "- not: finding.myocarditis",
        "remove one",
    ),
    Mistake(
        "a threshold is changed in one of two rules",
        PULSE,
        "recent: {value: 14,",
        "recent: {value: 28,",
        "overlapping-thresholds",
        "recent: {value: 28,",
        "make them equal",
    ),
    Mistake(
        "a test names a rule that is not there",
        "criteria/worsening.test.yaml",
        "rule: worsening",
        "rule: worsned",
        "unknown-rule",
        "rule: worsned",
        "did you mean `worsening`?",
    ),
)


@pytest.mark.parametrize("mistake", SEEDED, ids=lambda mistake: mistake.name)
def test_a_mistake_is_told_at_its_line_with_what_to_do(mistake: Mistake, tmp_path: Path) -> None:
    """One edit of the shipped files gives the code that is explained, where the mistake is."""
    folder = shutil.copytree(RULES, tmp_path / "rules")
    text = (folder / mistake.file).read_text(encoding="utf-8")
    assert mistake.right in text
    (folder / mistake.file).write_text(
        text.replace(mistake.right, mistake.wrong, 1), encoding="utf-8"
    )

    _, problems = check_rules(folder, DAY)

    told = [p for p in problems if p.code == mistake.code]
    assert told, [str(p) for p in problems]
    lines = [
        (folder / p.place.file).read_text(encoding="utf-8").splitlines()[p.place.line - 1].strip()
        for p in told
    ]
    assert any(
        line.startswith(mistake.at) and mistake.says in problem.message
        for line, problem in zip(lines, told, strict=True)
    ), [(line, problem.message) for line, problem in zip(lines, told, strict=True)]
    assert mistake.code in CODES
    assert len([p for p in problems if p.code != "unverified"]) <= 4  # it is not drowned


def test_an_empty_file_is_told(tmp_path: Path) -> None:
    """A rule file without anything in it is named, with what to do."""
    folder = shutil.copytree(RULES, tmp_path / "rules")
    (folder / ILD).write_text("", encoding="utf-8")
    _, problems = check_rules(folder, DAY)
    assert f"{ILD}:1:1 empty is empty: fill or remove it" in [str(p) for p in problems]


def test_a_file_in_another_encoding_is_told_at_the_letter(tmp_path: Path) -> None:
    """A file that was saved as Windows-1252 is told at its first letter that is not UTF-8."""
    folder = shutil.copytree(RULES, tmp_path / "rules")
    text = (folder / ILD).read_text(encoding="utf-8")
    text = text.replace("owner: rheumatology", "owner: Rhumatologie générale")
    (folder / ILD).write_bytes(text.encode("cp1252", "replace"))
    line = next(i for i, said in enumerate(text.splitlines(), 1) if "générale" in said)
    _, problems = check_rules(folder, DAY)
    told = [p for p in problems if p.code == "not-text"]
    assert [(p.place.line, p.place.column) for p in told] == [(line, 22)]
    assert told[0].message.endswith("save it as UTF-8")


def test_the_shipped_rules_have_no_error_and_only_known_doubts() -> None:
    """What nobody verified stays in view; nothing else is to be said of the shipped rules."""
    ruleset, problems = check_rules(RULES, DAY)
    assert ruleset is not None
    assert {p.code for p in problems} == {"unverified"}
    assert {p.severity for p in problems} == {"warning"}
