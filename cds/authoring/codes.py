"""Every code of a problem in rule files: what it means, why it matters, and how it is mended.

``cds rules check --explain CODE`` shows these pages, and ``python -m cds.authoring.codes FOLDER``
writes them to ``docs/problems/``. Each example is an edit of one small set of rules, and the tests
make that edit: what stands here as broken is reported, at that line, and what stands as mended is
not.
"""

from __future__ import annotations

import sys
from pathlib import Path
from textwrap import dedent
from typing import Literal

from msgspec import Struct

from cds.located import Severity

LOW = "guidance/low-saturation.yaml"
SCORE = "criteria/score.yaml"
GRADE = "criteria/grade.yaml"
TAPER = "guidance/taper.yaml"
IMPROVED = "criteria/improved.yaml"
MEASURES = "vocabulary/measures.yaml"
TERMS = "vocabulary/codes.yaml"
TEST = "guidance/low-saturation.test.yaml"
SITE = "site/site.yaml"


class Code(Struct, frozen=True, kw_only=True):
    """A kind of problem, with an example.

    In ``file`` the text ``mended`` is replaced by ``broken``, and the problem is reported at the
    line that holds ``at`` (the first line of ``broken`` if not given), of ``file`` if
    ``at_file`` is not given. Where ``mended`` is None the file stands only in the broken set; where
    ``broken`` is None it is missing there. What no edit of a file brings about has no
    ``file``. ``told_by`` is the command that reports it, or the running service, where it refuses
    changed rules; ``clients`` are the mistakes in the list of clients (CDS_CLIENTS).
    """

    id: str
    title: str
    why: str
    file: str = ""
    mended: str | None = None
    broken: str | None = None
    at: str | None = None
    at_file: str | None = None
    encoding: str = "utf-8"
    severity: Severity = "error"
    told_by: Literal["check", "test", "format", "service", "clients"] = "check"

    @property
    def page(self) -> str:
        """What is known of this code, as Markdown."""
        kind = "An error" if self.severity == "error" else "A warning"
        by = _TOLD_BY.get(self.told_by, f"`cds rules {self.told_by}`")
        parts = [f"# {self.id}: {self.title}", f"{kind} of {by}. {self.why}"]
        where = self.file
        if not where:
            return "\n\n".join(parts) + "\n"
        told = ""
        if self.at:
            told = f"\n\nReported at `{self.at}`"
            told += f" in `{self.at_file}`." if self.at_file else "."
        if self.broken is None:
            parts.append(f"Broken: there is no `{where}`.{told}")
        else:
            parts.append(f"Broken, in `{where}`:\n\n{_fenced(self.broken)}{told}")
        if self.mended is None:
            parts.append(f"Mended: `{where}` is not there.")
        elif self.broken is None:
            parts.append(f"Mended: `{where}` is there.")
        else:
            parts.append(f"Mended:\n\n{_fenced(self.mended)}")
        return "\n\n".join(parts) + "\n"


def _fenced(text: str) -> str:
    lines = dedent(text).strip("\n").splitlines() or ["# nothing at all"]
    shown = "\n".join(line if len(line) <= 100 else f"{line[:96]} ..." for line in lines)
    return f"```yaml\n{shown}\n```"


def write_pages(folder: Path) -> None:
    """Write the page of every code, and a list of them, into a folder; old pages are removed."""
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.md"):
        old.unlink()
    for name, text in pages().items():
        (folder / name).write_text(text, encoding="utf-8")


def pages() -> dict[str, str]:
    """Every page by the name of its file; the list of them is ``README.md``."""
    rows = [f"| [{c.id}]({c.id}.md) | {c.severity} | {c.title} |" for c in CODES.values()]
    head = [
        "# Problems of rule files",
        "",
        "Every code that `cds rules check`, `test` and `format` report, the service where it "
        "refuses changed rules, and `cds clients check` of the list of clients. A page is shown in "
        "the terminal by `cds rules check --explain CODE`.",
        "",
        "| code | severity | meaning |",
        "|---|---|---|",
    ]
    return {f"{c.id}.md": c.page for c in CODES.values()} | {
        "README.md": "\n".join([*head, *rows]) + "\n"
    }


_FILES = (
    Code(
        id="no-vocabulary",
        title="the folder has no vocabulary",
        why="Without the folder `vocabulary` no rule can name a fact: most often another folder "
        "was named than the one with the rules. Name the folder that holds `vocabulary`.",
        file="vocabulary",
        mended="",
        broken=None,
    ),
    Code(
        id="unreadable",
        title="a file cannot be read",
        why="A file that every set of rules has is missing, or its permissions keep it from being "
        "read. What cannot be read cannot be checked.",
        file="override-reasons.yaml",
        mended="",
        broken=None,
    ),
    Code(
        id="unread-file",
        title="a file would never be read",
        why="Only files whose names end in `.yaml`, in the folders for them, are read: what stands "
        "in this one would have no effect, without anybody noticing.",
        file="guidance/stop-tapering.yml",
        mended=None,
        broken="id: stop-tapering\n",
    ),
    Code(
        id="empty",
        title="a file is empty",
        why="Nothing, or only comments, stands in the file. Fill it (`cds rules new` writes a rule "
        "to begin with), or remove it.",
        file="guidance/new-rule.yaml",
        mended=None,
        broken="",
    ),
    Code(
        id="not-text",
        title="a file is not UTF-8 text",
        why="Letters such as `é`, `≥` or `µ` would be read as something else. Save the file with "
        "the encoding UTF-8; editors offer it when saving.",
        file=TAPER,
        mended="title: Tapering after improvement",
        broken="title: Tapering, after Jørgensen",
        encoding="latin-1",
        at="title: Tapering, after",
    ),
    Code(
        id="not-yaml",
        title="the text is not YAML",
        why="From the place that is named the file cannot be understood, so nothing in it is "
        "checked. Look at the indentation (spaces, never tabs), at quotes and brackets that are "
        "not closed, and at texts that contain `: ` or begin with a sign and need quotes.",
        file=TAPER,
        mended='  summary: "Improved ({response.improved_measures}): consider tapering"',
        broken="  summary: Improved ({response.improved_measures}): consider tapering",
    ),
    Code(
        id="anchor",
        title="YAML anchors are not allowed",
        why="A value that is written once and meant in several places (`&name`, `*name`) is easily "
        "changed where it should not be. Write it out in full.",
        file=TAPER,
        mended="id: taper\ntitle: Tapering after improvement",
        broken="id: &name taper\ntitle: *name",
        at="title: *name",
    ),
    Code(
        id="duplicate-key",
        title="a key stands twice",
        why="YAML would silently keep the last of them. Only one can be meant: remove the other.",
        file=LOW,
        mended='  low: {value: 92, unit: "%", source: guideline-2022}',
        broken='  low: {value: 92, unit: "%", source: guideline-2022}\n'
        '  low: {value: 88, unit: "%", source: guideline-2022}',
        at="low: {value: 88",
    ),
    Code(
        id="unknown-key",
        title="a key is not known here",
        why="It would have no effect. Correct its spelling, or indent it under what it belongs to.",
        file=TAPER,
        mended="  indicator: info",
        broken="  indicater: info",
    ),
    Code(
        id="missing-key",
        title="a key that is needed is missing",
        why="Without it the meaning is incomplete, and nothing is assumed in its place.",
        file=LOW,
        mended="    - at_least: 1\n      of: complications\n      where: it",
        broken="    - at_least: 1\n      of: complications",
    ),
    Code(
        id="wrong-type",
        title="a value is of another kind",
        why="A number, a date, a list or one of certain words is asked for, and something else "
        "stands there: a word that is misspelt, a day that does not exist, a number in quotes.",
        file=TAPER,
        mended="review_by: 2027-11-01",
        broken="review_by: 2027-11-31",
    ),
    Code(
        id="bad-id",
        title="an id is not what it should be",
        why="A rule is called as its file is, so that either is found by the other. Ids of the "
        "vocabulary have small letters, digits and `_`, because they become parts of facts.",
        file=TAPER,
        mended="id: taper",
        broken="id: tapering",
    ),
    Code(
        id="duplicate-id",
        title="an id is declared twice",
        why="One name can mean one thing only. Give one of the two another name; where a file was "
        "copied, its `id` and what it derives must be changed too.",
        file="guidance/tapering/taper.yaml",
        mended=None,
        broken="""\
id: taper
title: Tapering after improvement
version: 1.0.0
status: draft
owner: rheumatology
reviewed: 2026-11-01
review_by: 2027-11-01
evidence:
  - {source: trial-2020, supports: tapering, certainty: low}
when: response.improved
card: {problem: response, indicator: info, summary: Taper, lead: Consider tapering.}
""",
    ),
    Code(
        id="not-formatted",
        title="a file cannot be laid out",
        why="`cds rules format` never changes what a file means, nor loses a comment. Where it "
        "could not be sure of that, it leaves the file as it is and says what is in the way.",
        file=TAPER,
        mended="title: Tapering after improvement",
        broken="? title\n: Tapering after improvement",
        told_by="format",
    ),
)

_VOCABULARY = (
    Code(
        id="unknown-id",
        title="a name is not declared",
        why="What an entry or a card refers to is declared nowhere: a unit table, an instrument, a "
        "code system, a suggestion, an override reason. Correct the name, or declare it.",
        file=MEASURES,
        mended="instruments: [haq_di]",
        broken="instruments: [haq]",
    ),
    Code(
        id="unknown-group",
        title="a group is not declared",
        why="`of` names the group that is counted over: `core_set`, or one under `groups` in the "
        "vocabulary.",
        file=LOW,
        mended="of: complications",
        broken="of: complication",
    ),
    Code(
        id="duplicate-code",
        title="one code stands in two entries",
        why="A resource with this code would mean two things. Let the code stand under the entry "
        "that it means; for a concept that covers both, make a group of the entries.",
        file=TERMS,
        mended="codes: {local: {myocarditis: Myocarditis}}",
        broken="codes: {local: {ild: Myocarditis}}",
    ),
    Code(
        id="bad-code",
        title="a code cannot be right",
        why="Codes of LOINC and SNOMED CT end in a check digit, and those of ICD-10-CM, ATC and "
        "RxNorm have a form: this one was mistyped, and would match nothing, or another thing. "
        "Look it up again. In `site.yaml` it is a warning, since some systems send such codes.",
        file=TERMS,
        mended='unverified: {icd10cm: {I51.4: "Myocarditis, unspecified"}}',
        broken='unverified: {icd10cm: {I514: "Myocarditis, unspecified"}}',
    ),
    Code(
        id="contradictory-code",
        title="what is said of a code contradicts itself",
        why="One code has one meaning, so it has one display wherever it stands, and is either "
        "verified or not.",
        file=TERMS,
        mended="    codes: {local: {ild: Interstitial lung disease}}",
        broken="    codes: {local: {ild: Interstitial lung disease}}\n"
        "    unverified: {local: {ild: Interstitial lung disease}}",
        at="unverified: {local: {ild:",
    ),
    Code(
        id="bad-range",
        title="the range of an instrument is upside down",
        why="A value outside the range is left out as impossible: with a lowest value that is not "
        "below the highest, every value would be.",
        file=MEASURES,
        mended="range: {low: 0, high: 52, source: guideline-2022}",
        broken="range: {low: 52, high: 0, source: guideline-2022}",
    ),
    Code(
        id="query-too-long",
        title="a prefetch query is too long",
        why="Servers, or what stands before them, would refuse a query of more than 2,000 "
        "characters, and the facts would be unknown for every patient. Codes are divided over "
        "several keys without your doing anything: what is too long is the rest of the query, or "
        "one code. Shorten it.",
        file=TERMS,
        mended='query: "Condition?patient={{context.patientId}}"',
        broken='query: "Condition?patient={{context.patientId}}&code=' + "1234567890," * 180 + '"',
        at="",
        at_file="vocabulary",
    ),
)

_CONDITIONS = (
    Code(
        id="bad-condition",
        title="this is not a condition",
        why="A condition is a fact (`diagnosis.myositis`), a fact with an operator and a number "
        "with its unit (`observation.spo2.latest < 92 %`, `drug.x within 14 d`), or one of `all`, "
        "`any`, `not`, `unknown`, `at_least`, `at_most`, `exactly`. Operators are `<`, `<=`, `>`, "
        "`>=`, `==`, `!=`, `within` and `is`.",
        file=LOW,
        mended="    - observation.spo2.latest < parameters.low",
        broken="    - observation.spo2.latest =< parameters.low",
    ),
    Code(
        id="unknown-fact",
        title="a fact is not declared",
        why="A misspelt fact would be unknown for every patient, and the rule would never fire. "
        "Facts come from the vocabulary (`cds vocabulary list`) and from rules that derive them.",
        file=LOW,
        mended="    - observation.spo2.latest < parameters.low",
        broken="    - observation.spo.latest < parameters.low",
    ),
    Code(
        id="unknown-parameter",
        title="a parameter is not declared",
        why="`parameters.x` is a number of the same rule: write it under `parameters`, with its "
        "unit, source and certainty.",
        file=LOW,
        mended="    - observation.spo2.latest < parameters.low",
        broken="    - observation.spo2.latest < parameters.lwo",
    ),
    Code(
        id="wrong-kind",
        title="the operator does not fit the fact",
        why="A diagnosis is true or false, a saturation is a number, a prescription happened on a "
        "day: each is asked for in its own way.",
        file=LOW,
        mended="    - observation.spo2.latest < parameters.low",
        broken="    - observation.spo2.latest",
    ),
    Code(
        id="wrong-unit",
        title="the unit does not fit the fact",
        why="A number in another unit is another number. Nothing is converted or assumed, but days "
        "and weeks: write the number in the unit of the fact.",
        file=LOW,
        mended='  low: {value: 92, unit: "%", source: guideline-2022}',
        broken="  low: {value: 92, source: guideline-2022}",
    ),
    Code(
        id="never-true",
        title="a condition can never be true",
        why="Its parts contradict each other, a threshold lies outside of what the instrument can "
        "give, or more members are asked for than the group has. What depends on it never happens. "
        "Where more is counted than there is it is an error, else a warning.",
        file=LOW,
        mended="    - observation.spo2.latest < parameters.low\n",
        broken="    - observation.spo2.latest < parameters.low\n"
        "    - observation.spo2.latest >= 95 %\n",
        severity="warning",
        at="- observation.spo2.latest >= 95 %",
    ),
    Code(
        id="always-true",
        title="a condition can never be false",
        why="It says nothing of the patient, but perhaps that something is known. If that is meant "
        "write `not: {unknown: ...}`; else correct or remove it.",
        file=LOW,
        mended="    - observation.spo2.latest < parameters.low\n",
        broken="    - observation.spo2.latest < parameters.low\n"
        "    - any: [finding.myocarditis, {not: finding.myocarditis}]\n",
        severity="warning",
        at="- any: [finding.myocarditis",
    ),
    Code(
        id="unknown-category",
        title="a category is not declared",
        why="`is` compares with one of the categories that the rule which derives the fact lists. "
        "A misspelt one would never be had.",
        file=TAPER,
        mended="    - when: response.grade is good",
        broken="    - when: response.grade is god",
    ),
    Code(
        id="cycle",
        title="rules wait for each other",
        why="A fact cannot be derived from itself, nor by a detour over other rules. Take out of "
        "one of the conditions the fact that closes the circle.",
        file=IMPROVED,
        mended="""\
when:
  at_least: 1
  of: core_set
  where: improvement >= parameters.improvement
  as: response.improved_measures
""",
        broken="""\
when:
  any:
    - response.improved
    - at_least: 1
      of: core_set
      where: improvement >= parameters.improvement
      as: response.improved_measures
""",
        at="id: improved",
    ),
    Code(
        id="not-compilable",
        title="a condition is too large for the rule engine",
        why="The engine takes only so many comparisons, groups and ways to come true in one rule. "
        "Derive a fact from a part of the condition, in a rule of its own, and name that fact.",
        file=TAPER,
        mended="    - response.improved\n",
        broken="    - response.improved\n"
        + "    - any: [finding.lung_disease, finding.myocarditis]\n" * 10,
        at="id: taper",
    ),
)

_RULES = (
    Code(
        id="derive-or-card",
        title="a rule has none of `derive`, `card` and `contraindication`, or several",
        why="A rule makes a card, derives a fact that other rules name, or says what speaks "
        "against drugs; for two of these write two.",
        file=IMPROVED,
        mended="derive: response.improved\n",
        broken="",
        at="id: improved",
    ),
    Code(
        id="one-meaning",
        title="a rule says in two ways, or in none, what it derives",
        why="A derived fact is true or false (`when`), a number (`sum` or `count`) or one of "
        "several `categories`: exactly one of these says how. A rule with a card has `when`; only "
        "a number has a `unit`.",
        file=SCORE,
        mended="unit: points\n",
        broken="unit: points\nwhen: diagnosis.myositis\n",
        at="sum:",
    ),
    Code(
        id="bad-bands",
        title="the bands of a sum do not go upwards",
        why="Each band begins just above its threshold and ends at the next one, that included. "
        "Two that begin at one place, or stand in another order, would hide each other.",
        file=SCORE,
        mended="bands: [{above: 5, points: 10}, {above: 15, points: 20}]",
        broken="bands: [{above: 15, points: 20}, {above: 5, points: 10}]",
    ),
    Code(
        id="bad-categories",
        title="the last category has a condition, or another has none",
        why="Categories stand from the highest to the lowest, and each is had by whoever meets "
        "its condition and none above it. The last is had by all others, and so has no condition.",
        file=GRADE,
        mended="  - category: poor\n",
        broken="  - category: poor\n    when: response.score < parameters.good\n",
    ),
    Code(
        id="no-evidence",
        title="a rule rests on nothing",
        why="Each rule names at least one source, with what it supports and how certain that is. A "
        "choice of your own is a source too: declare it in `sources.yaml`.",
        file=TAPER,
        mended="evidence:\n  - {source: trial-2020, supports: tapering, certainty: low}",
        broken="evidence: []",
    ),
    Code(
        id="unknown-source",
        title="a source is not declared",
        why="Publications stand once in `sources.yaml`, with title, citation and year; rules name "
        "them by their id.",
        file=LOW,
        mended="  - source: guideline-2022",
        broken="  - source: guideline-2002",
    ),
    Code(
        id="retired-source",
        title="a source is retired",
        why="The source was withdrawn or replaced (`retired: true`). Read what came in its place, "
        "and cite that.",
        file=LOW,
        mended="  - source: guideline-2022",
        broken="  - source: withdrawn-2010",
    ),
    Code(
        id="bad-text",
        title="braces in a text are not right",
        why="In texts braces stand around a fact, as `{observation.spo2.latest}` or "
        "`{finding.lung_disease:evidence}`. A brace that is meant as such is doubled: `{{`.",
        file=LOW,
        mended='  lead: "Oxygen saturation is {observation.spo2.latest}: consider oxygen."',
        broken='  lead: "Oxygen saturation is {observation.spo2.latest: consider oxygen."',
    ),
    Code(
        id="not-fhir",
        title="a draft is not a valid FHIR resource",
        why="An EHR would refuse what this suggestion creates. The message names the element and "
        "what FHIR R4 asks for there.",
        file="suggestions.yaml",
        mended="    intent: proposal\n",
        broken="",
        at="oxygen:",
    ),
)

_DOUBTS = (
    Code(
        id="shadowed",
        title="a card is never given",
        why="Of several cards about one problem only the most urgent is given. Wherever this rule "
        "fires, that other one fires too and comes first. Narrow one of them, or name another "
        "problem.",
        file=TAPER,
        mended="""\
    - response.improved
    - drug.prednisone.current
card:
  problem: response
""",
        broken="""\
    - response.improved
    - observation.spo2.latest < 88 %
    - observation.spo2 within 3 d
    - finding.lung_disease
card:
  problem: saturation
""",
        severity="warning",
        at="id: taper",
    ),
    Code(
        id="same-priority",
        title="nobody said which of two cards about one problem is given",
        why="Of several cards about one problem only one is given: the most urgent, and of equally "
        "urgent ones that with the highest `priority` (0 where none is written). These two may "
        "fire together: give the one that is to be given the higher `priority`.",
        file=TAPER,
        mended="  problem: response\n  indicator: info\n",
        broken="  problem: saturation\n  indicator: critical\n",
        severity="warning",
        at="indicator: critical",
    ),
    Code(
        id="never-shown",
        title="a part of a card is never shown",
        why="Where the rule fires, the condition of this passage, option or suggestion cannot be "
        "true.",
        file=LOW,
        mended="    - when: finding.lung_disease\n",
        broken="    - when: observation.spo2.latest >= 95 %\n",
        severity="warning",
    ),
    Code(
        id="always-shown",
        title="a part of a card is always shown",
        why="Where the rule fires, this condition is true: leave it out, and the card says the "
        "same.",
        file=LOW,
        mended="    - when: finding.lung_disease\n",
        broken="    - when: observation.spo2.latest < 95 %\n",
        severity="warning",
    ),
    Code(
        id="overlapping-thresholds",
        title="one fact has two thresholds that seem to be meant as one",
        why="Two rules compare the same fact with different numbers, under the same parameter name "
        "or after the same source. If one of them was updated and the other forgotten, make them "
        "equal; else give them names that say how they differ.",
        file=TAPER,
        mended="""\
when:
  all:
    - diagnosis.myositis
    - response.improved
""",
        broken="""\
parameters:
  low: {value: 90, unit: "%", source: trial-2020}
when:
  all:
    - diagnosis.myositis
    - response.improved
    - observation.spo2.latest >= parameters.low
""",
        severity="warning",
        at="low: {value: 90",
    ),
    Code(
        id="unverified",
        title="something in a rule was never verified",
        why="A number or a supporting statement was recalled or chosen, and not read in a source. "
        "Cards say so. Read it in a source and write `certainty: verified`, or have your clinical "
        "governance approve it. Drafts are warned of too, so that a reviewer sees it in time.",
        file=LOW,
        mended="  recent: {value: 7, unit: d, source: guideline-2022}",
        broken="  recent: {value: 7, unit: d, source: guideline-2022, certainty: unverified}",
        severity="warning",
    ),
    Code(
        id="no-source",
        title="a number is called verified, and names no source",
        why="`certainty` is `verified` where nothing else is said, and then the source is needed "
        "in which the number was read.",
        file=LOW,
        mended="  recent: {value: 7, unit: d, source: guideline-2022}",
        broken="  recent: {value: 7, unit: d}",
        severity="warning",
    ),
    Code(
        id="review-past",
        title="the day of the review is past",
        why="Medicine moves on: a rule is read against its sources again by the day that "
        "`review_by` names. Review it, then set `reviewed` and `review_by` anew.",
        file=TAPER,
        mended="reviewed: 2026-11-01\nreview_by: 2027-11-01",
        broken="reviewed: 2025-11-01\nreview_by: 2026-11-01",
        severity="warning",
        at="review_by",
    ),
    Code(
        id="bad-weight-dose",
        title="a dose by body weight cannot be worked out",
        why="It is a number in a unit per kg, such as mg/kg, times the body weight. The upper end "
        "of a range has the same unit and is not below it; the most that is given in all is in the "
        "unit without the kg. Nothing is converted: write the numbers in these units.",
        file=LOW,
        mended="  start_most: {value: 80, unit: mg, source: guideline-2022}",
        broken="  start_most: {value: 0.08, unit: g, source: guideline-2022}",
        at="start: {per_kg: parameters.start, at_most",
    ),
    Code(
        id="unused-parameter",
        title="nothing uses a parameter",
        why="A number, or a dose by body weight, that nothing depends on looks as if it mattered. "
        "Use it, or remove it.",
        file=TAPER,
        mended="when:\n",
        broken="parameters:\n  dose: {value: 10, unit: mg, source: trial-2020}\nwhen:\n",
        severity="warning",
        at="dose:",
    ),
    Code(
        id="unused-derived-fact",
        title="no rule asks for a derived fact",
        why="It is worked out for every patient, and never said. Name it in a rule, or retire the "
        "rule that derives it.",
        file=TAPER,
        mended="    - response.improved\n",
        broken="",
        severity="warning",
        at="derive:",
        at_file="criteria/improved.yaml",
    ),
    Code(
        id="unused-source",
        title="no rule rests on a source",
        why="Perhaps a rule has lost its citation. Cite the source, remove it, or write `retired: "
        "true` to keep it for the record.",
        file="sources.yaml",
        mended="withdrawn-2010:\n",
        broken="forgotten-2021: {title: A trial, citation: A trial. 2021., year: 2021}\n"
        "withdrawn-2010:\n",
        severity="warning",
    ),
    Code(
        id="unused-suggestion",
        title="no card carries a suggestion",
        why="A draft that no card carries is never offered. Name it under `suggestions` of a card, "
        "or remove it.",
        file=LOW,
        mended="  suggestions: [oxygen]\n",
        broken="",
        severity="warning",
        at="oxygen:",
        at_file="suggestions.yaml",
    ),
    Code(
        id="unused-shared",
        title="no card takes what is shared",
        why="What is shared is checked as part of the cards that take it: nobody would notice a "
        "mistake in this. Name it in one, as an item `shared: ...` of its `text` or `options`, or "
        "remove it.",
        file="shared.yaml",
        mended=None,
        broken='oxygen-told:\n  title: Oxygen\n  text: ["Consider oxygen."]\n',
        severity="warning",
        at="oxygen-told:",
    ),
    Code(
        id="unused-override-reason",
        title="no card offers an override reason",
        why="Name it under `override_reasons` of a card, or remove it.",
        file="override-reasons.yaml",
        mended="already-treated: {display: Already treated}\n",
        broken="already-treated: {display: Already treated}\ntoo-ill: {display: Too ill}\n",
        severity="warning",
        at="too-ill",
    ),
    Code(
        id="unused-problem",
        title="no card is about a problem that is to come first",
        why="Nothing comes first for it, perhaps because its name is mistyped. Write under "
        "`foremost` the `problem` of a card, or remove it.",
        file="scope.yaml",
        mended="applies_to: diagnosis.myositis\n",
        broken="applies_to: diagnosis.myositis\nforemost: [satuation]\n",
        severity="warning",
        at="satuation",
    ),
    Code(
        id="unused-group",
        title="no rule counts over a group",
        why="Count over it with `of`, or remove it from the vocabulary.",
        file=TERMS,
        mended="groups:\n",
        broken="groups:\n  lungs: [finding.lung_disease]\n",
        severity="warning",
        at="lungs:",
    ),
    Code(
        id="test-missing",
        title="a rule has no test",
        why="Nobody would notice if a change of the vocabulary, of another rule or of a threshold "
        "broke it. Write its cases beside it, in `<rule>.test.yaml`; `cds rules new` writes both. "
        "A warning of `cds rules check`, an error of `cds rules test`.",
        file="guidance/taper.test.yaml",
        mended="",
        broken=None,
        severity="warning",
        at="id: taper",
        at_file="guidance/taper.yaml",
    ),
)

_TESTS = (
    Code(
        id="unknown-rule",
        title="a rule of this name does not exist",
        why="A test or a site names a rule that is not there, so it would test or change nothing. "
        "Correct the name; where the rule was removed, remove this too.",
        file=TEST,
        mended="rule: low-saturation",
        broken="rule: low-saturaton",
    ),
    Code(
        id="test-misplaced",
        title="a test stands in the wrong place",
        why="The tests of a rule stand beside it under the same name, so that each is found by the "
        "other.",
        file="guidance/saturation.test.yaml",
        mended=None,
        broken="rule: low-saturation\ncases: []\n",
        told_by="test",
    ),
    Code(
        id="wrong-expectation",
        title="a test expects what its rule cannot do",
        why="A rule with a card `fires`, is `silent` or `unknown`; one that derives a fact is "
        "`true`, `false` or `unknown`. Only a rule that fires makes a card.",
        file=TEST,
        mended="    expect: silent",
        broken='    expect: "false"',
        told_by="test",
    ),
    Code(
        id="wrong-value",
        title="a fact in a test has a value of another kind",
        why="True or false for a diagnosis, a number or `[low, high]` in the unit of the fact, for "
        "an event the days since.",
        file=TEST,
        mended="observation.spo2.latest: 92}",
        broken="observation.spo2.latest: low}",
        told_by="test",
    ),
    Code(
        id="unused-fact",
        title="a test gives a fact that no rule asks for",
        why="It cannot change anything, so it is probably meant to be another fact.",
        file=TEST,
        mended="observation.spo2.latest: 92}",
        broken="observation.spo2.latest: 92, observation.spo2.previous: 90}",
        told_by="test",
    ),
    Code(
        id="unknown-selection",
        title="a test names a selection that its rule does not make",
        why="`selects` in a test names what the rule calls `as`.",
        file="criteria/improved.test.yaml",
        mended="    selects: {response.improved_measures: [measure.muscle_strength]}",
        broken="    selects: {response.improved: [measure.muscle_strength]}",
        told_by="test",
    ),
    Code(
        id="missing-example",
        title="the example of a test cannot be used",
        why="`example` is the name of a Bundle among the examples, with one Patient in it.",
        file=TEST,
        mended="  - name: not low\n    facts: {diagnosis.myositis: true, "
        "observation.spo2.latest: 92}\n",
        broken="  - name: not low\n    example: nobody.bundle.json\n    as_of: 2026-11-16\n",
        told_by="test",
        at="example:",
    ),
    Code(
        id="example-and-facts",
        title="a test has both an example and facts",
        why="A case is an example Bundle on a day, or facts: with both nobody could say which "
        "counts.",
        file=TEST,
        mended="  - name: not low\n",
        broken="  - name: not low\n    example: rp-ild-mda5.bundle.json\n    as_of: 2026-11-16\n",
        told_by="test",
        at="facts:",
    ),
)

_SERVICE = (
    Code(
        id="test-failed",
        title="a test of changed rules fails",
        why="Changed rules are tested before they are taken into service. The last rules that were "
        "in order stay. `cds rules test` shows each condition with what it saw.",
        file=TEST,
        mended="    expect: silent",
        broken="    expect: unknown",
        at="- name: not low",
        told_by="service",
    ),
    Code(
        id="engine-fault",
        title="no answer of changed rules could be trusted",
        why="The rule engine did not answer as it must, or the two engines gave different answers. "
        "The last rules that were in order stay. It is a fault of this program or of the machine, "
        "and not of the rules: report it.",
        told_by="service",
    ),
    Code(
        id="fault",
        title="changed rules could not be tried",
        why="A fault of this program kept it from trying the rules. The last rules that were in "
        "order stay. See the log, and run `cds rules check` and `cds rules test`.",
        told_by="service",
    ),
)

_SITES = (
    Code(
        id="no-site",
        title="the folder of the site cannot be used",
        why="`CDS_SITE` names the hospital's own folder, with `site.yaml` in it. Without it the "
        "rules would run without the changes that the hospital decided on.",
        file="site",
        mended="",
        broken=None,
    ),
    Code(
        id="blank",
        title="a text is empty",
        why="A name, reason or spelling without letters would say nothing, or match everything.",
        file=SITE,
        mended="site: St Example",
        broken='site: " "',
    ),
    Code(
        id="duplicate-name",
        title="one name stands in two entries",
        why="Text with this name would mean two things. Give it to the entry that it means.",
        file=SITE,
        mended="  drugs.prednisone: [prednison]",
        broken="  drugs.prednisone: [oxygen]",
    ),
    Code(
        id="duplicate-unit",
        title="a spelling of a unit has two factors",
        why="A unit can mean one thing only: values would be wrong by the ratio of the two.",
        file=SITE,
        mended="  percent: {percent: 1}",
        broken='  percent: {"%": 100}',
    ),
    Code(
        id="bad-number",
        title="a number cannot be right",
        why="A factor between units, and an upper limit of normal, are more than 0. A card stays "
        "away after an override for more than 0 days, and at most 366.",
        file=SITE,
        mended="  percent: {percent: 1}",
        broken="  percent: {percent: 0}",
    ),
    Code(
        id="own-rule",
        title="a site changes a rule of its own from outside",
        why="`site.yaml` changes what is shipped. A rule of the site itself is changed in its own "
        "file, where its author looks.",
        file=SITE,
        mended="parameters:\n",
        broken="off:\n  ours: replaced\nparameters:\n",
        at="ours:",
    ),
    Code(
        id="off-already",
        title="a rule is off already",
        why="It is switched off, or not active as shipped: what is said of it here has no effect.",
        file=SITE,
        mended="parameters:\n",
        broken="off:\n  low-saturation: our lung team decides\nparameters:\n",
        at="low-saturation:",
    ),
    Code(
        id="rule-needed",
        title="a rule that is switched off is needed by another",
        why="A rule that stays asks for the fact that this one derives, and would be unknown for "
        "every patient.",
        file=SITE,
        mended="parameters:\n",
        broken="off:\n  improved: not used here\nparameters:\n",
        at="improved:",
    ),
    Code(
        id="same-value",
        title="a site sets the value that is shipped",
        why="It changes nothing today, and would hide a correction in the next release.",
        file=SITE,
        mended="    recent: {value: 3, unit: d, note: decided by our lung team}",
        broken="    recent: {value: 7, unit: d, note: decided by our lung team}",
        severity="warning",
    ),
    Code(
        id="number-in-text",
        title="a number that a site changed is written out in a card",
        why="The card would state the shipped number, while the rule goes by the site's. Switch "
        "the rule off, and add one of your own that says your number.",
        file=LOW,
        mended="    - {option: Nasal oxygen, evidence: A guideline, source: guideline-2022}",
        broken="    - {option: Nasal oxygen, evidence: Within 7 days, source: guideline-2022}",
        severity="warning",
        at="recent:",
        at_file="site/site.yaml",
    ),
)

_CLIENTS = (
    Code(
        id="bad-address",
        title="an address in the list of clients cannot be used",
        why="The audience of tokens, key sets and FHIR servers are absolute URLs, without name, "
        "password or fragment. Key sets and patient data come over https only: between here and "
        "there, anyone could change what comes over http.",
        told_by="clients",
    ),
    Code(
        id="bad-key-set",
        title="a file of a client's keys cannot be used",
        why="Without a public key no token of the client can be checked. A private key in the file "
        "is no secret any more, and must be replaced by its owner.",
        told_by="clients",
    ),
    Code(
        id="bad-name",
        title="the name of a client cannot be written behind its calls",
        why="The name stands in the log and with each decision, with the tenant behind a slash. It "
        "must be short and printable, and have no slash of its own.",
        told_by="clients",
    ),
    Code(
        id="bad-tenant",
        title="a tenant in the list of clients can never be met",
        why="A tenant is kept with each decision, so a token with one that is empty, long or not "
        "printable is refused.",
        told_by="clients",
    ),
    Code(
        id="duplicate-client",
        title="two clients have the same name, or an issuer without tenants to tell them apart",
        why="The issuer says whose a token is, and the name is what the log has of it: of two "
        "clients with the same, it could not be told which one called. Entries of one issuer are "
        "told apart by their `tenants`.",
        told_by="clients",
    ),
    Code(
        id="duplicate-tenant",
        title="two clients of one issuer have the same tenant",
        why="Issuer and tenant together say whose a token is. With a tenant in two entries it "
        "could not be told which one called.",
        told_by="clients",
    ),
    Code(
        id="open-to-all",
        title="everyone on this machine may change the list of clients",
        why="Whoever can write into it lets in whom they like, and names the servers asked for "
        "data of patients. Take the right away: chmod o-w.",
        told_by="clients",
    ),
    Code(
        id="no-key-set",
        title="it is not said where the public keys of a client are",
        why="They are in a file beside the list, `jwks_file`, or at an address, `jku`. One of the "
        "two must be given, and not both: it would be a guess which one counts.",
        told_by="clients",
    ),
    Code(
        id="other-keys",
        title="clients of one issuer have their keys in different places",
        why="A token is checked with the keys of its issuer before its tenant is believed, so all "
        "entries of one issuer must name the same keys.",
        told_by="clients",
    ),
)

_TOLD_BY = {"service": "the service", "clients": "`cds clients check`"}

CODES: dict[str, Code] = {
    code.id: code
    for code in sorted(
        (
            *_FILES,
            *_VOCABULARY,
            *_CONDITIONS,
            *_RULES,
            *_DOUBTS,
            *_TESTS,
            *_SERVICE,
            *_SITES,
            *_CLIENTS,
        ),
        key=lambda code: code.id,
    )
}
"""Every code by its id."""

if __name__ == "__main__":
    write_pages(Path(sys.argv[1]))
