"""Each mistake is made in a copy of the folder ``minimal``, one at a time."""

from __future__ import annotations

import shutil
from decimal import Decimal
from pathlib import Path

import pytest

from cds.located import FilesInvalid, Place
from cds.rules.reading import check_ruleset, read_ruleset, rule_files
from cds.rules.ruleset import RuleSet
from cds.rules.texts import Slot

IMPROVED = "criteria/improved.yaml"
TAPER = "guidance/taper.yaml"
VOCABULARY = "vocabulary/vocabulary.yaml"


def problems_of(folder: Path) -> list[str]:
    """Every problem as an author sees it; there is a rule set where there is none."""
    ruleset, problems = check_ruleset(folder)
    assert (ruleset is None) is any(p.severity == "error" for p in problems)
    return [str(p) for p in problems]


def replace(folder: Path, file: str, old: str, new: str) -> None:
    """Replace one text, which must stand there once, in one file."""
    text = (folder / file).read_text(encoding="utf-8")
    assert text.count(old) == 1, old
    (folder / file).write_text(text.replace(old, new), encoding="utf-8")


def add_rule(folder: Path, like: str, name: str, **changes: str) -> None:
    """Add a copy of a rule under another id, with whole lines changed by their key."""
    lines = (folder / like).read_text(encoding="utf-8").splitlines()
    for key, value in {"id": Path(name).stem, **changes}.items():
        index = next(i for i, line in enumerate(lines) if line.strip().startswith(f"{key}:"))
        indent = lines[index][: len(lines[index]) - len(lines[index].lstrip())]
        lines[index] = f"{indent}{key}: {value}"
    (folder / name).write_text("\n".join(lines) + "\n", encoding="utf-8")


def test_the_least_folder_is_valid(minimal: Path) -> None:
    """The folder that every mistake below is made in has none itself."""
    assert problems_of(minimal) == []
    ruleset = read_ruleset(minimal)
    assert [r.id for r in ruleset.rules] == ["improved", "taper"]
    assert [r.id for r in ruleset.card_rules] == ["taper"]
    assert ruleset.deriving["response.improved"].id == "improved"
    assert ruleset.applies_to == "diagnosis.myositis"
    assert ruleset.rules[0].place == Place(IMPROVED, 1, 1)


def test_what_conditions_ask_for_is_needed(minimal: Path) -> None:
    """The facts of conditions and passages are read from a chart, derived ones are not."""
    assert [d.name for d in read_ruleset(minimal).needed] == [
        "measure.strength.improvement",
        "measure.activity.improvement",
        "diagnosis.myositis",
        "finding.lung_disease",
    ]


CASES = [
    # --- rule files as files ---
    (TAPER, "status: active", "status: active\nstate: new",
     "guidance/taper.yaml:5:1 unknown-key `state` is not known here (did you mean `status`?)"),
    (TAPER, "owner: rheumatology\n", "",
     "guidance/taper.yaml:1:1 missing-key `owner` is missing"),
    (TAPER, "status: active", "status: actve",
     "guidance/taper.yaml:4:1 wrong-type `actve` is not one of draft, testing, active, retired "
     "(did you mean `active`?)"),
    (TAPER, "reviewed: 2026-01-01", "reviewed: last year",
     "guidance/taper.yaml:6:1 wrong-type should be a date (2026-11-01), but is text"),
    (TAPER, "title: Taper", "title: Taper\ntitle: Better",
     "guidance/taper.yaml:3:1 duplicate-key `title` stands twice (first on line 2): only one "
     "can count, so remove one"),
    (TAPER, "title: Taper", "title: 'Taper",
     "guidance/taper.yaml:2:8 not-yaml is not YAML here: while scanning a quoted scalar, found "
     "unexpected end of stream; a quotation mark is opened here and never closed: close it"),
    (TAPER, "1.0.0\nstatus: active\nowner: rheumatology", "&a 1.0.0\nstatus: active\nowner: *a",
     "guidance/taper.yaml:5:1 anchor uses an anchor (*name): write the value out in full\n"
     "guidance/taper.yaml:5:1 wrong-type should be text, but is nothing; put it in quotes"),
    (IMPROVED, "id: improved", "id: bettered",
     "criteria/improved.yaml:1:1 bad-id `bettered` should be `improved`, as the file is named"),
    (TAPER, "status: active", "status: active\nhooks: []",
     "guidance/taper.yaml:5:1 wrong-value names no hook, so that its card would never be given: "
     "leave it out, or name one"),
    # --- what a rule makes ---
    (IMPROVED, "derive: response.improved\n", "",
     "criteria/improved.yaml:1:1 derive-or-card a rule has one of `derive`, `card` and "
     "`contraindication`, and not more\n"
     "guidance/taper.yaml:13:7 unknown-fact `response.improved` is not a fact that the vocabulary "
     "or a rule declares"),
    (TAPER, "card:", "derive: response.tapered\ncard:",
     "guidance/taper.yaml:1:1 derive-or-card a rule has one of `derive`, `card` and "
     "`contraindication`, and not more"),
    (IMPROVED, "derive: response.improved", "derive: diagnosis.myositis",
     "criteria/improved.yaml:12:1 duplicate-id `diagnosis.myositis` is declared already: the "
     "vocabulary\n"
     "guidance/taper.yaml:13:7 unknown-fact `response.improved` is not a fact that the vocabulary "
     "or a rule declares"),
    (IMPROVED, "as: response.improved_measures", "as: finding.lung_disease",
     "criteria/improved.yaml:17:3 duplicate-id `finding.lung_disease` is the name of a fact "
     "already\n"
     "guidance/taper.yaml:17:3 unknown-fact `{response.improved_measures}` is neither a fact, a "
     "selection nor a parameter of this rule (did you mean `response.improved`?)"),
    (TAPER, "{option: Slow taper,", "{option: Slow taper, drug: prednisolone,",
     "guidance/taper.yaml:24:28 unknown-id `prednisolone` is not declared among the drugs and "
     "drug_classes (did you mean `prednisone`?)"),
    (TAPER, "source: trial}\n  suggestions",
     "source: trial, status: {licence: illegal}}\n  suggestions",
     "guidance/taper.yaml:24:73 wrong-type `illegal` is not one of approved, off label, differs "
     "between countries"),
    # --- evidence ---
    (IMPROVED, "evidence:\n  - {source: trial, supports: the threshold, certainty: definition}",
     "evidence: []",
     "criteria/improved.yaml:8:1 no-evidence a rule must name what it rests on"),
    (IMPROVED, "{source: trial, supports", "{source: trail, supports",
     "criteria/improved.yaml:9:6 unknown-source `trail` is not in sources.yaml (did you mean "
     "`trial`?)"),
    (IMPROVED, "supports: the threshold, certainty: definition}",
     "supports: the threshold, certainty: definition, when: diagnosis.myositis}",
     "criteria/improved.yaml:9:69 unknown-key only a card cites some of its evidence and not "
     "other: remove `when`"),
    (IMPROVED, '"%", source: trial', '"%", source: withdrawn',
     "criteria/improved.yaml:11:37 retired-source `withdrawn` is retired: cite another"),
    (TAPER, "evidence: One trial, source: trial", "evidence: One trial, source: opinion",
     "guidance/taper.yaml:24:49 unknown-source `opinion` is not in sources.yaml"),
    ("suggestions.yaml", "  description: Creates a draft",
     "  description: Creates a draft\n"
     "  parameters: {dose: {value: 5, unit: mg, source: trail}}",
     "suggestions.yaml:4:43 unknown-source `trail` is not in sources.yaml (did you mean `trial`?)"),
    ("vocabulary/vocabulary.yaml", "    range: {low: 0, high: 10}",
     "    range: {low: 0, high: 10}\n"
     "    falls: {far: {value: 9, unit: d, source: trail}}",
     "vocabulary/vocabulary.yaml:17:38 unknown-source `trail` is not in sources.yaml (did you mean "
     "`trial`?)"),
    ("vocabulary/vocabulary.yaml", "    range: {low: 0, high: 10}",
     "    range: {low: 0, high: 10}\n"
     "    falls: {far: {value: 9, unit: d, source: withdrawn}}",
     "vocabulary/vocabulary.yaml:17:38 retired-source `withdrawn` is retired: cite another"),
    # --- conditions and texts ---
    (TAPER, "- response.improved", "- response.imporved",
     "guidance/taper.yaml:13:7 unknown-fact `response.imporved` is not a fact that the vocabulary "
     "or a rule declares (did you mean `response.improved`?)"),
    (TAPER, "- when: finding.lung_disease", "- when: finding.lung_diseases",
     "guidance/taper.yaml:21:7 unknown-fact `finding.lung_diseases` is not a fact that the "
     "vocabulary or a rule declares (did you mean `finding.lung_disease`?)"),
    (TAPER, "Consider tapering.", "Consider {tapering}.",
     "guidance/taper.yaml:18:3 unknown-fact `{tapering}` is neither a fact, a selection nor a "
     "parameter of this rule"),
    (TAPER, "text: Watch the lung.", "text: Watch {the lung.",
     "guidance/taper.yaml:22:7 bad-text `{` stands alone: close the braces, or double it"),
    (TAPER, "option: Slow taper", "option: '{slow}'",
     "guidance/taper.yaml:24:8 unknown-fact `{slow}` is neither a fact, a selection nor a "
     "parameter of this rule"),
    ("suggestions.yaml", "Patient/{patient.id}", "Patient/{patient.name}",
     "suggestions.yaml:6:15 unknown-fact `{patient.name}` is neither a fact, a selection nor a "
     "parameter of this rule (did you mean `patient.age`?)"),
    # --- what a card names ---
    (TAPER, "suggestions: [reduce]", "suggestions: [reduced]",
     "guidance/taper.yaml:25:17 unknown-id `reduced` is not in suggestions.yaml (did you mean "
     "`reduce`?)"),
    (TAPER, "override_reasons: [declined]", "override_reasons: [decline]",
     "guidance/taper.yaml:26:22 unknown-id `decline` is not in override-reasons.yaml (did you mean "
     "`declined`?)"),
    # --- what stands once for all rules ---
    ("sources.yaml", "title: A trial", "titel: A trial",
     "sources.yaml:1:1 missing-key `title` is missing\n"
     "sources.yaml:1:9 unknown-key `titel` is not known here (did you mean `title`?)"),
    ("override-reasons.yaml", "declined: {display: Patient declined}", "- declined",
     "override-reasons.yaml:1:1 wrong-type should be a mapping (key: value)\n"
     "guidance/taper.yaml:26:22 unknown-id `declined` is not in override-reasons.yaml"),
    ("scope.yaml", "applies_to", "applys_to",
     "scope.yaml:1:1 missing-key `applies_to` names the diagnosis or finding that a patient must "
     "have for any rule\n"
     "scope.yaml:1:1 unknown-key `applys_to` is not known here (did you mean `applies_to`?)"),
    ("scope.yaml", "diagnosis.myositis", "drug.prednisone.current",
     "scope.yaml:1:1 missing-key `applies_to` names the diagnosis or finding that a patient must "
     "have for any rule"),
    ("scope.yaml", "diagnosis.myositis", "diagnosis.myosotis",
     "scope.yaml:1:1 unknown-fact `diagnosis.myosotis` is not a fact that the vocabulary declares "
     "(did you mean `diagnosis.myositis`?)"),
    ("scope.yaml", "diagnosis.myositis", "diagnosis.myositis\nforemost: lung",
     "scope.yaml:2:1 wrong-type should be a list of problems of cards"),
    # --- vocabulary ---
    (VOCABULARY, "negations: [", "negation: [",
     "vocabulary/vocabulary.yaml:51:1 unknown-key `negation` is not a section of the vocabulary "
     "(did you mean `negations`?)"),
    (VOCABULARY, 'negations: ["no", "without"]', "negations: without",
     "vocabulary/vocabulary.yaml:51:1 wrong-type should be a list, but is text"),
    (VOCABULARY, "  course_gap: {value: 90, unit: d}\n", "",
     "vocabulary/vocabulary.yaml:45:1 missing-key `course_gap` is missing"),
    (VOCABULARY, "[finding.lung_disease]", "finding.lung_disease",
     "vocabulary/vocabulary.yaml:44:3 wrong-type should be a list, but is text"),
    (VOCABULARY, "  oral: {", "  Oral: {",
     "vocabulary/vocabulary.yaml:38:3 bad-id `Oral` is not an id: use small letters, digits and _"),
    (VOCABULARY, "title: SpO2\n    units: percent", "title: SpO2\n    units: procent",
     "vocabulary/vocabulary.yaml:20:5 unknown-id `procent` is not declared among the units (did "
     "you mean `percent`?)"),
    (VOCABULARY, "{local: {ild: Interstitial lung disease}}",
     "{locl: {ild: Interstitial lung disease}}",
     "vocabulary/vocabulary.yaml:32:13 unknown-id `locl` is not a declared code system (did you "
     "mean `local`?)"),
    (VOCABULARY, "instruments: [activity]}",
     "instruments: [activity], maximum: {locl: {top: Top}}}",
     "vocabulary/vocabulary.yaml:24:66 unknown-id `locl` is not a declared code system (did you "
     "mean `local`?)"),
    (VOCABULARY, "groups:", "results:\n  positive: {codes: {locl: {pos: Positive}}}\ngroups:",
     "vocabulary/vocabulary.yaml:44:22 unknown-id `locl` is not a declared code system (did you "
     "mean `local`?)"),
    (VOCABULARY, "spo2: Oxygen saturation", "activity: Activity",
     "vocabulary/vocabulary.yaml:21:21 duplicate-code local activity stands already under "
     "observations.activity: one code can mean one thing only"),
]  # fmt: skip


@pytest.mark.parametrize(("file", "old", "new", "expected"), CASES)
def test_a_mistake_is_told_at_its_place(
    minimal: Path, file: str, old: str, new: str, expected: str
) -> None:
    """A mistake is reported at its file, line and column, with what to write instead."""
    replace(minimal, file, old, new)
    assert sorted(problems_of(minimal)) == sorted(expected.split("\n"))


def test_every_mistake_of_every_file_is_told_at_once(minimal: Path) -> None:
    """Mistakes in several files and several places of one are all in one exception."""
    replace(minimal, IMPROVED, "owner: rheumatology\n", "")
    replace(minimal, TAPER, "- diagnosis.myositis", "- diagnosis.myosotis")
    replace(minimal, TAPER, "suggestions: [reduce]", "suggestions: [reduced]")
    replace(minimal, "suggestions.yaml", "label: Reduce prednisone", "label: '{what}'")
    replace(minimal, VOCABULARY, "  oral: {", "  Oral: {")
    with pytest.raises(FilesInvalid) as raised:
        read_ruleset(minimal)
    assert [(p.place.file, p.code) for p in raised.value.problems] == [
        (IMPROVED, "missing-key"),
        (TAPER, "unknown-fact"),  # and not also that it names what the broken rule makes
        (TAPER, "unknown-id"),
        ("suggestions.yaml", "unknown-fact"),
        (VOCABULARY, "bad-id"),
    ]


def test_a_folder_without_vocabulary_is_no_rules_folder(tmp_path: Path) -> None:
    """Of a folder without vocabulary it is only asked whether it is the right one."""
    assert problems_of(tmp_path) == [
        f"{tmp_path}:1:1 no-vocabulary has no folder `vocabulary`: is it a rules folder?"
    ]


@pytest.mark.parametrize("name", ["sources.yaml", "suggestions.yaml", "scope.yaml"])
def test_a_missing_shared_file_is_an_error(minimal: Path, name: str) -> None:
    """A shared file that is not there is never taken for an empty one."""
    (minimal / name).unlink()
    assert f"{name}:1:1 unreadable cannot be read: No such file or directory" in problems_of(
        minimal
    )


def test_an_empty_rule_file_is_an_error(minimal: Path) -> None:
    """A rule file without content is reported, not skipped."""
    (minimal / "guidance/none.yaml").write_text("# nothing yet\n", encoding="utf-8")
    assert problems_of(minimal) == ["guidance/none.yaml:1:1 empty is empty: fill or remove it"]


def test_a_rule_file_that_is_a_list_is_an_error(minimal: Path) -> None:
    """A rule file must be a mapping."""
    (minimal / "guidance/none.yaml").write_text("- id: none\n", encoding="utf-8")
    assert problems_of(minimal) == [
        "guidance/none.yaml:1:1 wrong-type should be a mapping (key: value)"
    ]


def test_an_id_stands_once(minimal: Path) -> None:
    """Two rules with one id, which derive and select the same, are told apart by their files."""
    shutil.copy(minimal / IMPROVED, minimal / "guidance/improved.yaml")
    assert problems_of(minimal) == [
        f"guidance/improved.yaml:1:1 duplicate-id `improved` is declared already at {IMPROVED}:1:1",
        "guidance/improved.yaml:12:1 duplicate-id `response.improved` is declared already: "
        f"{IMPROVED}:12:1",
        "guidance/improved.yaml:17:3 duplicate-id `response.improved_measures` is selected already "
        f"at {IMPROVED}:17:3",
    ]


def test_a_vocabulary_entry_stands_once(minimal: Path) -> None:
    """An entry that stands in two files of the vocabulary names the first place in the second."""
    (minimal / "vocabulary/zz.yaml").write_text(
        "routes:\n  oral: {title: oral, systemic: true}\n", encoding="utf-8"
    )
    assert problems_of(minimal) == [
        f"vocabulary/zz.yaml:2:3 duplicate-id `oral` is declared already at {VOCABULARY}:38:3"
    ]


def test_a_vocabulary_file_must_be_a_mapping(minimal: Path) -> None:
    """A vocabulary file that is a list, and a section that is one, are told."""
    (minimal / "vocabulary/yy.yaml").write_text("- routes\n", encoding="utf-8")
    (minimal / "vocabulary/zz.yaml").write_text("prefetch: [patient]\n", encoding="utf-8")
    assert problems_of(minimal) == [
        "vocabulary/yy.yaml:1:1 wrong-type should be a mapping of sections",
        "vocabulary/zz.yaml:1:1 wrong-type should be a mapping from id to entry",
    ]


def test_a_selection_is_named_by_conditions_of_rules_only(minimal: Path) -> None:
    """A count under which a passage is shown selects nothing that a text could name."""
    replace(
        minimal,
        TAPER,
        "- when: finding.lung_disease\n      text: Watch the lung.",
        "- when: {at_least: 1, of: complications, where: it, as: seen}\n      text: '{seen}'",
    )
    assert [p.split()[1] for p in problems_of(minimal)] == ["unknown-fact"]


def test_a_card_shows_tables_selections_and_observations(shipped: RuleSet, minimal: Path) -> None:
    """A group of observations may be named; what is none of these is told with what there is."""
    shows = {table for rule in shipped.card_rules if rule.card for table in rule.card.show}
    assert {"troponin", "observation.spo2", "measures", "assessment.missing_measures"} <= shows

    replace(minimal, TAPER, "  suggestions:", "  show: [observation.spo, core_set]\n  suggestions:")
    (spo, group) = problems_of(minimal)
    assert "unknown-id `observation.spo` is no table: write `measures`, `treatments`," in spo
    assert "`core_set` is no table" in group


WEIGHT = """\
  weight:
    title: Weight
    units: weight
    codes: {local: {weight: Weight}}
measures:
"""
WEIGHT_SECTION = """\
weight:
  observation: weight
  adult_within: {value: 180, unit: d}
  child_within: {value: 90, unit: d}
diagnoses:
"""


def with_weight(folder: Path, doses: str, *parameters: str, text: str = "") -> None:
    """Give the least rules a body weight, and the card about tapering doses by it."""
    replace(folder, VOCABULARY, "measures:\n", WEIGHT)
    replace(folder, VOCABULARY, "diagnoses:\n", WEIGHT_SECTION)
    unit = '  percent: {unit: "%", spellings: {"%": 1}}\n'
    replace(folder, VOCABULARY, unit, f"{unit}  weight: {{unit: kg, spellings: {{kg: 1}}}}\n")
    lines = "".join(f"  {each}\n" for each in parameters)
    replace(
        folder, TAPER, "when:\n  all", f"parameters:\n{lines}weight_doses:\n  {doses}\nwhen:\n  all"
    )
    replace(folder, TAPER, "lead: Consider tapering.", f"lead: 'Consider tapering{text}.'")


def test_a_dose_by_weight_is_read_with_its_numbers(minimal: Path) -> None:
    """What the text asks for has its numbers, and the unit without the kg."""
    with_weight(
        minimal,
        "start: {per_kg: parameters.low, up_to: parameters.high, at_most: parameters.most}",
        "low: {value: 0.5, unit: mg/kg/d}",
        "high: {value: 1, unit: mg/kg/d}",
        "most: {value: 60, unit: mg/d}",
        text="{weight_dose.start}",
    )
    (card,) = (rule.card for rule in read_ruleset(minimal).card_rules if rule.id == "taper")
    assert card is not None
    (dose,) = (part.dose for part in card.lead if isinstance(part, Slot))
    assert dose is not None
    assert (dose.low, dose.high, dose.most) == (Decimal("0.5"), Decimal(1), Decimal(60))
    assert dose.unit == "mg/d"
    assert [name for name, _ in dose.numbers] == ["low", "high", "most"]


def test_a_dose_by_weight_may_have_the_numbers_of_another_rule(minimal: Path) -> None:
    """Those of the rule that derives a fact, so that a dose is written once."""
    with_weight(
        minimal,
        "start: {per_kg: response.improved.parameters.low}",
        "unused: {value: 1, unit: mg}",
        text="{weight_dose.start}",
    )
    replace(minimal, IMPROVED, "parameters:\n", "parameters:\n  low: {value: 2, unit: mg/kg}\n")
    (card,) = (rule.card for rule in read_ruleset(minimal).card_rules if rule.id == "taper")
    assert card is not None
    (dose,) = (part.dose for part in card.lead if isinstance(part, Slot))
    assert dose is not None
    assert (dose.low, dose.unit) == (Decimal(2), "mg")


@pytest.mark.parametrize(
    ("doses", "parameters", "text", "told"),
    [
        (
            "x: {per_kg: parameters.lwo}",
            ["low: {value: 1, unit: mg/kg}"],
            "",
            "unknown-parameter `parameters.lwo` is not a parameter of this rule",
        ),
        (
            "x: {per_kg: parameters.low}",
            ["low: {value: 1, unit: mg}"],
            "",
            "bad-weight-dose is in `mg` and should be in `mg/kg`: convert the number",
        ),
        (
            "x: {per_kg: parameters.low, at_most: parameters.most}",
            ["low: {value: 1, unit: mg/kg}", "most: {value: 1, unit: g}"],
            "",
            "bad-weight-dose is in `g` and should be in `mg`: convert the number",
        ),
        (
            "x: {per_kg: parameters.low, up_to: parameters.high}",
            ["low: {value: 2, unit: mg/kg}", "high: {value: 1, unit: mg/kg}"],
            "",
            "bad-weight-dose a dose is above 0, and `up_to` is not below `per_kg`",
        ),
        (
            "x: {per_kg: parameters.low}",
            ["low: {value: 1, unit: mg/kg}"],
            "{weight_dose.y}",
            "unknown-fact `{weight_dose.y}` is neither a fact",
        ),
        (
            "x: {per_kg: parameters.low}",
            ["low: {value: 1, unit: mg/kg}"],
            "{weight_dose.x:evidence}",
            "bad-text `weight_dose.x` has no forms: take out `:evidence`",
        ),
    ],
)
def test_a_dose_by_weight_that_cannot_be_worked_out_is_told(
    minimal: Path, doses: str, parameters: list[str], text: str, told: str
) -> None:
    """Names that nothing declares, units that do not fit, a range that is upside down."""
    with_weight(minimal, doses, *parameters, text=text)
    assert any(told in problem for problem in problems_of(minimal))


def test_without_a_body_weight_no_dose_is_worked_out_by_it(minimal: Path) -> None:
    """The vocabulary must say what the weight is, in kg, and for how many days it counts."""
    with_weight(
        minimal,
        "x: {per_kg: parameters.low}",
        "low: {value: 1, unit: mg/kg}",
        text="{weight_dose.x}",
    )
    assert problems_of(minimal) == []

    replace(minimal, VOCABULARY, "observation: weight", "observation: spo2")
    replace(
        minimal,
        VOCABULARY,
        "child_within: {value: 90, unit: d}",
        "child_within: {value: 3, unit: wk}",
    )
    unit, days = problems_of(minimal)
    assert "wrong-unit `spo2` is held in `%` and should be in `kg`" in unit
    assert "wrong-unit the unit is `wk` and should be `d`" in days


# --- order ---------------------------------------------------------------------------------------


def order_of(ruleset: RuleSet) -> list[str]:
    """The rules in the order in which they are evaluated."""
    return [rule.id for rule in ruleset.ordered]


def test_rules_come_after_what_they_wait_for(minimal: Path) -> None:
    """A rule is evaluated after the rules whose conclusions it names, whatever the file names."""
    add_rule(minimal, TAPER, "guidance/aaa.yaml")
    replace(minimal, "guidance/aaa.yaml", "- response.improved", "- not: response.stable")
    stable = (minimal / IMPROVED).read_text(encoding="utf-8").split("when:")[0]
    stable = stable.replace("id: improved", "id: stable")
    stable = stable.replace("response.improved", "response.stable")
    (minimal / "guidance/stable.yaml").write_text(
        stable + "when:\n  not: response.improved\n", encoding="utf-8"
    )
    order = order_of(read_ruleset(minimal))
    assert sorted(order) == ["aaa", "improved", "stable", "taper"]
    assert order.index("improved") < order.index("stable") < order.index("aaa")
    assert order.index("improved") < order.index("taper")


def derive_from(folder: Path, name: str, fact: str) -> None:
    """Add a rule that derives ``response.<name>`` from another fact."""
    header = (folder / IMPROVED).read_text(encoding="utf-8").split("when:")[0]
    header = header.replace("id: improved", f"id: {name}")
    header = header.replace("response.improved", f"response.{name}")
    (folder / f"criteria/{name}.yaml").write_text(f"{header}when: {fact}\n", encoding="utf-8")


def test_a_cycle_names_the_rules_in_it(minimal: Path) -> None:
    """Rules that wait for each other are told by name; one that waits for them is not."""
    derive_from(minimal, "after", "response.first")
    derive_from(minimal, "first", "response.second")
    derive_from(minimal, "second", "response.first")
    assert problems_of(minimal) == [
        "criteria/first.yaml:1:1 cycle these rules wait for each other: first, second; take out "
        "of one of them the fact that another derives"
    ]


def test_a_rule_that_waits_for_itself_is_a_cycle(minimal: Path) -> None:
    """A rule cannot derive a fact from the same fact."""
    derive_from(minimal, "first", "{not: response.first}")
    assert problems_of(minimal) == [
        "criteria/first.yaml:1:1 cycle `first` asks for the fact that it derives: take that out "
        "of its condition"
    ]


@pytest.mark.parametrize(
    ("threshold", "expected"),
    [
        ("1000000000000000", "'measure.strength.improvement.low' >= Decimal('1000000000000000')"),
        ("0.00000000000000000001", "a number is 0 or at least"),
    ],
)
def test_what_the_engine_cannot_take_is_told_at_its_rule(
    minimal: Path, threshold: str, expected: str
) -> None:
    """A threshold that the engine cannot compare exactly is a problem of its rule."""
    derive_from(minimal, "zz", f"measure.strength.improvement >= {threshold} %")
    (problem,) = problems_of(minimal)
    assert problem.startswith("criteria/zz.yaml:1:1 not-compilable Rule 'zz': ")
    assert expected in problem


def test_thresholds_too_close_for_the_engine_are_told_at_the_later_rule(minimal: Path) -> None:
    """Two thresholds of two rules that no double tells apart are a problem of the second."""
    derive_from(minimal, "first", "measure.activity.improvement >= 20 %")
    derive_from(minimal, "near", "measure.activity.improvement >= 20.000000000000000000001 %")
    derive_from(minimal, "other", "measure.activity.improvement >= 30 %")
    (problem,) = problems_of(minimal)
    assert problem.startswith("criteria/near.yaml:1:1 not-compilable ")
    assert "too close" in problem


# --- status --------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", ["draft", "testing", "retired"])
def test_only_active_rules_are_evaluated(minimal: Path, status: str) -> None:
    """A rule that is not active is neither evaluated nor makes a card."""
    replace(minimal, TAPER, "status: active", f"status: {status}")
    ruleset = read_ruleset(minimal)
    assert [r.id for r in ruleset.rules] == ["improved"]
    assert order_of(ruleset) == ["improved"]
    assert ruleset.card_rules == ()
    assert [d.name for d in ruleset.needed] == [
        "measure.strength.improvement",
        "measure.activity.improvement",
    ]


@pytest.mark.parametrize("status", ["draft", "testing", "retired"])
def test_nothing_rests_on_a_rule_that_is_not_active(minimal: Path, status: str) -> None:
    """An active rule cannot name what only a rule derives or selects that is not active."""
    replace(minimal, IMPROVED, "status: active", f"status: {status}")
    assert [p.split()[:2] for p in problems_of(minimal)] == [
        ["guidance/taper.yaml:13:7", "unknown-fact"],
        ["guidance/taper.yaml:17:3", "unknown-fact"],
    ]


@pytest.mark.parametrize(("status", "problems"), [("draft", 1), ("testing", 1), ("retired", 0)])
def test_drafts_are_checked_and_retired_rules_are_not(
    minimal: Path, status: str, problems: int
) -> None:
    """A draft must be right too; a retired rule may name what is no longer there."""
    replace(minimal, TAPER, "status: active", f"status: {status}")
    replace(minimal, TAPER, "- diagnosis.myositis", "- diagnosis.no_longer")
    assert len(problems_of(minimal)) == problems


def test_tests_and_vocabulary_are_no_rule_files(minimal: Path) -> None:
    """Rule files are those of all folders but the vocabulary, without tests and shared files."""
    (minimal / "guidance/taper.test.yaml").write_text("rule: taper\ncases: []\n", encoding="utf-8")
    assert [p.relative_to(minimal).as_posix() for p in rule_files(minimal)] == [IMPROVED, TAPER]
    assert problems_of(minimal) == []


AGAINST = """\
id: in-lung-disease
title: Against it in lung disease
version: 1.0.0
status: active
owner: rheumatology
reviewed: 2026-01-01
review_by: 2027-01-01
evidence:
  - {source: trial, supports: the harm, certainty: low}
when: finding.lung_disease
contraindication:
  drugs: [glucocorticoid]
  weight: caution
  text: "the lung: {finding.lung_disease:evidence}"
"""


def test_a_rule_may_say_what_speaks_against_drugs(minimal: Path) -> None:
    """A contraindication makes no card; the options of cards show it."""
    (minimal / "guidance" / "in-lung-disease.yaml").write_text(AGAINST, encoding="utf-8")
    ruleset = read_ruleset(minimal)
    assert [rule.id for rule in ruleset.contraindications] == ["in-lung-disease"]
    assert "in-lung-disease" not in {rule.id for rule in ruleset.card_rules}
    ruleset.close()


def test_contraindications_are_counted_where_no_card_of_their_own_tells_of_orders(
    minimal: Path,
) -> None:
    """Each makes the facts that it holds, and that its drug is ordered; a group has them all."""
    file = minimal / "guidance" / "in-lung-disease.yaml"
    file.write_text(AGAINST, encoding="utf-8")
    ruleset = read_ruleset(minimal)
    assert ruleset.groups["contraindications"] == ("contraindication.in_lung_disease",)
    assert ruleset.facts["contraindication.in_lung_disease.ordered"].kind == "boolean"
    assert ruleset.deriving["contraindication.in_lung_disease"].id == "in-lung-disease"
    ruleset.close()

    file.write_text(AGAINST + "  ordered: taper\n", encoding="utf-8")
    ruleset = read_ruleset(minimal)
    assert "contraindications" not in ruleset.groups
    ruleset.close()

    taper = minimal / TAPER
    text = taper.read_text(encoding="utf-8")
    taper.write_text(text.replace("status: active", "status: draft"), encoding="utf-8")
    ruleset = read_ruleset(minimal)
    assert ruleset.groups["contraindications"] == ("contraindication.in_lung_disease",)
    ruleset.close()


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("[glucocorticoid]", "[glucocorticoids]",
         "guidance/in-lung-disease.yaml:12:11 unknown-id `glucocorticoids` is not declared among "
         "the drugs and drug_classes (did you mean `glucocorticoid`?)"),
        ("{finding.lung_disease:evidence}", "{finding.lung}",
         "guidance/in-lung-disease.yaml:14:3 unknown-fact `{finding.lung}` is neither a fact, a "
         "selection nor a parameter of this rule (did you mean `finding.lung_disease`?)"),
        ("weight: caution", "weight: grave",
         "guidance/in-lung-disease.yaml:13:3 wrong-type `grave` is not one of contraindicated, "
         "advised against, caution"),
        ("weight: caution", "weight: caution\n  ordered: tapr",
         "guidance/in-lung-disease.yaml:14:3 unknown-id `tapr` is not a rule with a card "
         "(did you mean `taper`?)"),
        ("drugs: [glucocorticoid]", "drugs: [glucocorticoid]\n  drugs_with: allergy",
         "guidance/in-lung-disease.yaml:11:1 one-meaning either `drugs` or `drugs_with` says which "
         "drugs it speaks against, and not both"),
        ("  drugs: [glucocorticoid]\n", "",
         "guidance/in-lung-disease.yaml:11:1 missing-key either `drugs` or `drugs_with` says which "
         "drugs it speaks against, and not both"),
        ("{finding.lung_disease:evidence}", "{it.allergy}",
         "guidance/in-lung-disease.yaml:14:3 unknown-fact `{it.allergy}` is neither a fact, a "
         "selection nor a parameter of this rule (did you mean `patient.drug_allergy`?)"),
        ("when: ", "derive: lung.bad\nwhen: ",
         "guidance/in-lung-disease.yaml:1:1 derive-or-card a rule has one of `derive`, `card` and "
         "`contraindication`, and not more"),
    ],
)  # fmt: skip
def test_a_mistake_in_a_contraindication_is_told_at_its_place(
    minimal: Path, old: str, new: str, problem: str
) -> None:
    """Its drugs, text and weight are checked as those of cards are."""
    file = minimal / "guidance" / "in-lung-disease.yaml"
    file.write_text(AGAINST.replace(old, new), encoding="utf-8")
    assert problem in problems_of(minimal)


def test_a_contraindication_may_be_to_whichever_drug_something_is_recorded_of(
    minimal: Path,
) -> None:
    """Its text shows what is on record of the drug, and the options' drugs are asked for it."""
    text = AGAINST.replace("drugs: [glucocorticoid]", "drugs_with: intolerance")
    text = text.replace("{finding.lung_disease:evidence}", "{it.intolerance:evidence}")
    (minimal / "guidance" / "in-lung-disease.yaml").write_text(text, encoding="utf-8")
    taper = minimal / TAPER
    named = taper.read_text(encoding="utf-8").replace(
        "{option: Slow taper,", "{option: Slow taper, drug: glucocorticoid,"
    )
    taper.write_text(named, encoding="utf-8")
    ruleset = read_ruleset(minimal)
    needed = {declared.name for declared in ruleset.needed}
    assert "drug.glucocorticoid.intolerance" in needed
    assert "drug.glucocorticoid.allergy" not in needed
    ruleset.close()


def test_the_facts_behind_derived_facts_are_found() -> None:
    """A rule that asks for an inadequate response rests on the measures behind it, each once."""
    ruleset = read_ruleset(Path(__file__).parents[2] / "rules")
    behind = ruleset.behind["escalate-inadequate-response"]
    assert "treatment.inadequate_response" in behind
    assert "measure.extramuscular.worsening" in behind
    assert "measure.extramuscular.range_percent" in behind
    assert len(behind) == len(set(behind))
