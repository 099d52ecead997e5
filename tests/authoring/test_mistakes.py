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
SATURATION = "criteria/saturation-low.yaml"
FELL_BELOW = "criteria/saturation-fell-below.yaml"
FELL = "criteria/saturation-fell.yaml"
FVC_FELL = "criteria/fvc-fell.yaml"
DETERIORATION = "criteria/confirmed-deterioration.yaml"
PULSE = "guidance/life-threatening/pulse-for-myocarditis.yaml"
TROPONIN = "guidance/life-threatening/troponin-without-myocarditis.yaml"
NOT_IMPROVED = "guidance/response/response-not-improved.yaml"
IMACS = "criteria/imacs-improvement.yaml"
WORSENING = "criteria/worsening.yaml"
INADEQUATE = "criteria/inadequate-response.yaml"
OBSERVATIONS = "vocabulary/observations.yaml"
MEASURES = "vocabulary/measures.yaml"
CONDITIONS = "vocabulary/conditions.yaml"
SCORE = "criteria/total-improvement-score.yaml"
CATEGORY = "criteria/total-improvement-category.yaml"
ESCALATE = "guidance/escalation/escalate-inadequate-response.yaml"

COUNTING = "criteria/measures-improved.yaml"
COUNTED = """\
id: measures-improved
title: Measures improved
version: 1.0.0
status: active
owner: rheumatology
reviewed: 2026-11-16
review_by: 2027-11-16
evidence:
  - {source: rider-2004, supports: the measures, certainty: definition}
derive: response.measures_improved
count:
  of: core_set
  where: improvement >= 20 %
  as: response.measures_that_improved
"""
"""A rule that counts: none of the shipped ones does."""


class Mistake(Struct, frozen=True):
    """In ``file`` the first ``right`` becomes ``wrong``.

    ``code`` is told at the line that then begins with ``at``, and the message holds ``says``.
    ``added`` is the text of a file that is not among the shipped ones.
    """

    name: str
    file: str
    right: str
    wrong: str
    code: str
    at: str
    says: str
    added: str = ""


SEEDED = (
    Mistake(
        "a condition is negated as in a sentence",
        ILD,
        "- finding.interstitial_lung_disease\n",
        "- not patient.male\n",
        "bad-condition",
        "- not patient.male",
        "write `not: patient.male`",
    ),
    Mistake(
        "a fact is compared with true",
        ILD,
        "- finding.interstitial_lung_disease\n",
        "- patient.male == true\n",
        "wrong-kind",
        "- patient.male == true",
        "write `patient.male` alone",
    ),
    Mistake(
        "a fact is compared with false",
        ILD,
        "- finding.interstitial_lung_disease\n",
        "- patient.male == false\n",
        "wrong-kind",
        "- patient.male == false",
        "write `not: patient.male`",
    ),
    Mistake(
        "a category is compared as a number is",
        ILD,
        "- finding.interstitial_lung_disease\n",
        "- response.tis.category == major\n",
        "wrong-kind",
        "- response.tis.category == major",
        "write `response.tis.category is major`",
    ),
    Mistake(
        "a unit is written out",
        ILD,
        "- finding.interstitial_lung_disease\n",
        "- patient.age > 40 years\n",
        "wrong-unit",
        "- patient.age > 40 years",
        "write `40 a`",
    ),
    Mistake(
        "a number has a decimal comma",
        ILD,
        "- finding.interstitial_lung_disease\n",
        "- patient.age > 40,5 a\n",
        "bad-condition",
        "- patient.age > 40,5 a",
        "write `40.5 a`",
    ),
    Mistake(
        "the year of a source that many rules cite is no number",
        "sources.yaml",
        "  year: 2004\n",
        "  year: soon\n",
        "wrong-type",
        "year: soon",
        "should be a whole number",
    ),
    Mistake(
        "a quote is not closed among the sources",
        "sources.yaml",
        "  year: 2004\n",
        '  year: "2004\n',
        "not-yaml",
        "",
        "is not YAML here",
    ),
    Mistake(
        "a level of dose has the unit of a dose",
        "vocabulary/doses.yaml",
        "unit: mg/d, source: eular-pjp-2022",
        "unit: mg, source: eular-pjp-2022",
        "wrong-unit",
        "dose:",
        "should be `mg/d`",
    ),
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
        SATURATION,
        'low_saturation: {value: 92, unit: "%"',
        "low_saturation: {value: 92, unit: d",
        "wrong-unit",
        "low_saturation:",
        "has the unit `d`, but what it is compared with has the unit `%`: convert the number to",
    ),
    Mistake(
        "a percentage has no unit",
        FVC_FELL,
        'fvc_fall: {value: 10, unit: "%"',
        "fvc_fall: {value: 10",
        "wrong-unit",
        "fvc_fall:",
        "has no unit, but what it is compared with has the unit `%`: write `10 %`",
    ),
    Mistake(
        "months are not days",
        SATURATION,
        "recent: {value: 90, unit: d",
        "recent: {value: 3, unit: mo",
        "wrong-unit",
        "recent:",
        "convert the number to `d`",
    ),
    Mistake(
        "a line is indented with a tab",
        ILD,
        "        - lung.dlco_fell\n",
        "\t- lung.dlco_fell\n",
        "not-yaml",
        "- lung.dlco_fell",
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
        "        - lung.dlco_fell\n",
        "       - lung.dlco_fell\n",
        "not-yaml",
        "- lung.dlco_fell",
        "indent this line as those above",
    ),
    Mistake(
        "a bracket is not closed",
        PULSE,
        "  show: [troponin, observation.nt_probnp, treatments]\n",
        "  show: [troponin, observation.nt_probnp, treatments\n",
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
        SATURATION,
        "observation.spo2.latest < parameters",
        "observation.spo2.latest =< parameters",
        "bad-condition",
        "- observation.spo2.latest =<",
        "write `<=` for `=<`",
    ),
    Mistake(
        "an operator is copied from a paper",
        WORSENING,
        "muscle_strength.relative_worsening >= response",
        "muscle_strength.relative_worsening ≥ response",
        "bad-condition",
        "- measure.muscle_strength.relative_worsening ≥",
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
        "reviewed: 2026-11-29",
        "reviewed: 2026-11-31",
        "wrong-type",
        "reviewed:",
        "not a day of the calendar",
    ),
    Mistake(
        "a day is written in the German way",
        ILD,
        "reviewed: 2026-11-29",
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
        "units: ferritin",
        "units: ng",
        "unknown-id",
        "units: ng",
        "`ng` is not declared among the units",
    ),
    Mistake(
        "the ends of a range are exchanged",
        OBSERVATIONS,
        "range: {low: 0, high: 80, source: imacs-form-04}",
        "range: {low: 80, high: 0, source: imacs-form-04}",
        "bad-range",
        "range: {low: 80, high: 0, source: imacs-form-04}",
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
        DETERIORATION,
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
        SATURATION,
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
        "write `all: [diagnosis.myositis, finding.myocarditis]`",
    ),
    Mistake(
        "a threshold is beyond the instrument",
        FELL_BELOW,
        "- observation.spo2.fall_from >= lung.saturation_low.parameters.low_saturation",
        "- observation.spo2.fall_from >= 920 %",
        "never-true",
        "- observation.spo2.fall_from >= 920 %",
        "can never be true, whatever the patient: correct or remove it",
    ),
    Mistake(
        "a rule contradicts itself",
        PULSE,
        "    - finding.myocarditis.confirmed\n",
        "    - finding.myocarditis.confirmed\n    - not: finding.myocarditis.confirmed\n",
        "never-true",
        "- not: finding.myocarditis.confirmed",
        "remove one",
    ),
    Mistake(
        "a threshold that stands in another rule is given once more, and otherwise",
        FELL,
        "derive: lung.saturation_fell\nwhen:\n  all:\n"
        "    - observation.spo2.fall >= parameters.saturation_fall\n"
        "    - observation.spo2 within lung.saturation_low.parameters.recent\n",
        "  recent: {value: 60, unit: d, source: project-policy, certainty: unverified}\n"
        "derive: lung.saturation_fell\nwhen:\n  all:\n"
        "    - observation.spo2.fall >= parameters.saturation_fall\n"
        "    - observation.spo2 within parameters.recent\n",
        "overlapping-thresholds",
        "recent: {value: 90,",
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
    Mistake(
        "a term of a sum is misspelt",
        SCORE,
        "of: measure.muscle_strength.range_percent",
        "of: measure.muscle_strengh.range_percent",
        "unknown-fact",
        "- of: measure.muscle_strengh",
        "did you mean `measure.muscle_strength.range_percent`?",
    ),
    Mistake(
        "a diagnosis is added to a sum",
        SCORE,
        "of: measure.muscle_strength.range_percent",
        "of: diagnosis.myositis",
        "wrong-kind",
        "- of: diagnosis.myositis",
        "is not a number",
    ),
    Mistake(
        "the unit of a term is left out",
        SCORE,
        '  - of: measure.patient_global.range_percent\n    unit: "%"\n',
        "  - of: measure.patient_global.range_percent\n",
        "wrong-unit",
        "- of: measure.patient_global",
        "is in `%`: give the bands, and `unit`, in that",
    ),
    Mistake(
        "the unit of a term is another",
        SCORE,
        'unit: "%"',
        "unit: cm",
        "wrong-unit",
        "unit: cm",
        "is in `%`: give the bands, and `unit`, in that",
    ),
    Mistake(
        "one measure is added twice",
        SCORE,
        "of: measure.patient_global.range_percent",
        "of: measure.physician_global.range_percent",
        "duplicate-id",
        "- of: measure.physician_global",
        "is added already",
    ),
    Mistake(
        "the bands of a term go down",
        SCORE,
        "{above: 15, points: 15}",
        "{above: 1.5, points: 15}",
        "bad-bands",
        "bands: [{above: 5, points: 7.5}, {above: 1.5, points: 15}",
        "1.5 does not lie above 5; put them in order",
    ),
    Mistake(
        "a term has no bands",
        SCORE,
        "bands: [{above: 5, points: 7.5}, {above: 15, points: 15}, {above: 25, points: 17.5}, "
        "{above: 40, points: 20}]",
        "bands: []",
        "bad-bands",
        "bands: []",
        "a term has at least one band",
    ),
    Mistake(
        "a band is called by another word",
        SCORE,
        "{above: 15, points: 15}",
        "{from: 15, points: 15}",
        "unknown-key",
        "bands: [{above: 5, points: 7.5}, {from: 15",
        "`from` is not known here",
    ),
    Mistake(
        "a sum also has a condition",
        SCORE,
        "unit: points\n",
        "unit: points\nwhen: diagnosis.myositis\n",
        "one-meaning",
        "sum:",
        "exactly one of `when`",
    ),
    Mistake(
        "a category is misspelt where it is asked for",
        ESCALATE,
        "response.tis.category is below minimal",
        "response.tis.category is nothing",
        "unknown-category",
        "- when: {all: [{not: response.imacs.improved}, {not: response.tis.category is nothing}]}",
        "`nothing` is not one of major, moderate, minimal, below minimal",
    ),
    Mistake(
        "a category is compared with a number",
        ESCALATE,
        "response.tis.category is below minimal",
        "response.tis.category < 20 points",
        "wrong-kind",
        "- when: {all: [{not: response.imacs.improved}, {not: response.tis.category < 20",
        "`<` takes a number, but `response.tis.category` is a category",
    ),
    Mistake(
        "a category is asked for without saying which",
        ESCALATE,
        "response.tis.category is below minimal",
        "response.tis.category",
        "wrong-kind",
        "- when: {all: [{not: response.imacs.improved}, {not: response.tis.category}]}",
        "write for example `response.tis.category is major`",
    ),
    Mistake(
        "`is` is asked of a diagnosis",
        ESCALATE,
        "response.tis.category is below minimal",
        "diagnosis.myositis is true",
        "wrong-kind",
        "- when: {all: [{not: response.imacs.improved}, {not: diagnosis.myositis is true}]}",
        "`is` takes a category, but `diagnosis.myositis` is true or false",
    ),
    Mistake(
        "a score is true or false",
        ESCALATE,
        "response.tis.category is below minimal",
        "response.tis.score",
        "wrong-kind",
        "- when: {all: [{not: response.imacs.improved}, {not: response.tis.score}]}",
        "write for example `response.tis.score >= 20 points`",
    ),
    Mistake(
        "the lowest category has a condition",
        CATEGORY,
        "  - category: below minimal\n",
        "  - category: below minimal\n    when: diagnosis.myositis\n",
        "bad-categories",
        "- category: below minimal",
        "is the last, which is had by all others: take out its `when`",
    ),
    Mistake(
        "two categories have one name",
        CATEGORY,
        "category: moderate",
        "category: major",
        "duplicate-id",
        "- category: major",
        "`major` stands above already: rename one",
    ),
    Mistake(
        "a threshold of a score has another unit",
        CATEGORY,
        "adult_major: {value: 60, unit: points",
        'adult_major: {value: 60, unit: "%"',
        "wrong-unit",
        "adult_major:",
        "what it is compared with has the unit `points`",
    ),
    Mistake(
        "a table is shown that is none",
        ESCALATE,
        "show: [measures, response.tis.score, drug.immunomodulating]",
        "show: [measures, response.tis.scores, treatments]",
        "unknown-id",
        "show:",
        "did you mean `response.tis.score`?",
    ),
    Mistake(
        "a category is shown as a table",
        ESCALATE,
        "show: [measures, response.tis.score, drug.immunomodulating]",
        "show: [measures, response.tis.category, treatments]",
        "unknown-id",
        "show:",
        "write `measures`, `treatments`, a class of drugs",
    ),
    Mistake(
        "a count has a number",
        COUNTING,
        "  of: core_set\n",
        "  at_least: 3\n  of: core_set\n",
        "unknown-key",
        "at_least: 3",
        "`at_least` does not go with `count`",
        COUNTED,
    ),
    Mistake(
        "a count does not say what it counts",
        COUNTING,
        "  where: improvement >= 20 %\n",
        "",
        "missing-key",
        "count:",
        "`where` is missing",
        COUNTED,
    ),
    Mistake(
        "a count has only a group",
        COUNTING,
        "count:\n  of: core_set\n  where: improvement >= 20 %\n"
        "  as: response.measures_that_improved\n",
        "count: core_set\n",
        "wrong-type",
        "count: core_set",
        "`count` takes `of` and `where`",
        COUNTED,
    ),
    Mistake(
        "a count counts over a group that there is not",
        COUNTING,
        "of: core_set",
        "of: core",
        "unknown-group",
        "of: core",
        "core_set",
        COUNTED,
    ),
    Mistake(
        "what is counted is misspelt",
        COUNTING,
        "where: improvement >= 20 %",
        "where: improvment >= 20 %",
        "unknown-fact",
        "where: improvment",
        "did you mean `improvement`?",
        COUNTED,
    ),
    Mistake(
        "a number is derived, and a card given",
        COUNTING,
        "derive: response.measures_improved\n",
        "derive: response.measures_improved\n"
        "card: {problem: response, indicator: info, summary: Improved, lead: Improved}\n",
        "derive-or-card",
        "id: measures-improved",
        "a rule has one of `derive`, `card` and `contraindication`, and not more",
        COUNTED,
    ),
)


@pytest.mark.parametrize("mistake", SEEDED, ids=lambda mistake: mistake.name)
def test_a_mistake_is_told_at_its_line_with_what_to_do(mistake: Mistake, tmp_path: Path) -> None:
    """One edit of the shipped files gives the code that is explained, where the mistake is."""
    folder = shutil.copytree(RULES, tmp_path / "rules")
    if mistake.added:
        (folder / mistake.file).write_text(mistake.added, encoding="utf-8")
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
