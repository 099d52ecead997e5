from decimal import Decimal
from pathlib import Path

import pytest

from cds.chart.code_forms import fault_of
from cds.chart.vocabulary import Vocabulary, coded_entries, read_vocabulary
from cds.located import Problem, read_document
from tests.chart.conftest import TERMS, VOCABULARY_FOLDER

SYSTEMS = "systems: {loinc: {url: http://loinc.org}}\n"


def read(folder: Path, **files: str) -> tuple[Vocabulary, list[Problem]]:
    """Read a vocabulary of these files."""
    for name, text in files.items():
        (folder / f"{name}.yaml").write_text(text, encoding="utf-8")
    problems: list[Problem] = []
    return read_vocabulary(folder, problems), problems


def said(problems: list[Problem]) -> list[str]:
    """Return problems as they are printed, without the folder."""
    return [str(p).split("/", 1)[1] for p in problems]


def test_the_vocabulary_as_shipped_is_sound() -> None:
    """The files under rules/vocabulary have no problem, and every section is filled."""
    problems: list[Problem] = []
    vocabulary = read_vocabulary(VOCABULARY_FOLDER, problems)
    assert problems == []
    for section in Vocabulary.__struct_fields__:
        assert getattr(vocabulary, section), section


def test_the_core_set_is_the_six_measures_of_imacs() -> None:
    """The ids and their order are those that reports use."""
    assert [name for name, m in TERMS.vocabulary.measures.items() if m.core_set] == [
        "physician_global",
        "patient_global",
        "muscle_strength",
        "physical_function",
        "muscle_enzyme",
        "extramuscular",
    ]


@pytest.mark.parametrize(
    ("entry", "low", "high", "worse"),
    [
        ("physician_global_vas", 0, 10, "higher"),
        ("patient_global_vas", 0, 10, "higher"),
        ("extramuscular_vas", 0, 10, "higher"),
        ("mmt8_80", 0, 80, "lower"),
        ("mmt8_150", 0, 150, "lower"),
        ("mmt_total_260", 0, 260, "lower"),
        ("cmas", 0, 52, "lower"),
        ("haq_di", 0, 3, "higher"),
        ("chaq", 0, 3, "higher"),
        ("ck", 0, None, "higher"),
    ],
)
def test_instruments_have_their_ranges(entry: str, low: int, high: int | None, worse: str) -> None:
    """Range and direction of every instrument, on which all percentages rest."""
    declared = TERMS.vocabulary.observations[entry]
    assert declared.range is not None
    assert (declared.range.low, declared.range.high, declared.worse) == (low, high, worse)


@pytest.mark.parametrize(
    ("enzyme", "multiplier"), [("ck", 15), ("ldh", 3), ("ast", 3), ("alt", 3), ("aldolase", 6)]
)
def test_enzymes_have_their_range_in_upper_limits(enzyme: str, multiplier: int) -> None:
    """The range of an enzyme in adults as a multiple of its upper limit (Aggarwal 2017)."""
    number = TERMS.vocabulary.observations[enzyme].adult_range_in_upper_limits
    assert number is not None
    assert number.value == multiplier
    assert number.certainty != "verified"


def test_the_assessment_numbers() -> None:
    """Window 14, grace 7, look-back 730 and least interval 28 days."""
    numbers = TERMS.vocabulary.assessments
    assert numbers is not None
    days = (numbers.window, numbers.grace, numbers.look_back, numbers.least_interval)
    assert [(n.value, n.unit) for n in days] == [(14, "d"), (7, "d"), (730, "d"), (28, "d")]


def test_recalled_codes_are_marked() -> None:
    """No ATC code was read in its source, so none is verified; a drug without codes has a name."""
    for section, name, entry in coded_entries(TERMS.vocabulary):
        assert "atc" not in entry.codes, (section, name)
    drugs = TERMS.vocabulary.drugs.values()
    coded = [drug for drug in drugs if "rxnorm" in drug.codes or drug.unverified]
    assert all("atc" in drug.unverified for drug in coded)
    assert all(drug.names for drug in drugs)


def test_several_files_are_one_vocabulary(tmp_path: Path) -> None:
    """An entry may stand in any file, and may name entries of other files."""
    vocabulary, problems = read(
        tmp_path,
        a="observations: {ck: {title: CK, units: enzyme, codes: {loinc: {'2157-6': CK}}}}",
        b="units: {enzyme: {unit: U/L, spellings: {U/L: 1, nkat/L: 0.06}}}\n" + SYSTEMS,
    )
    assert problems == []
    assert vocabulary.observations["ck"].title == "CK"
    assert vocabulary.units["enzyme"].spellings == {"U/L": Decimal(1), "nkat/L": Decimal("0.06")}


def test_one_code_can_mean_one_thing_only(tmp_path: Path) -> None:
    """A code under two entries that are looked up together is a problem at its second place."""
    _, problems = read(
        tmp_path,
        a=SYSTEMS + "units: {u: {unit: x, spellings: {x: 1}}}\n"
        "observations:\n"
        "  ck: {title: CK, units: u, codes: {loinc: {'1': CK}}}\n"
        "antibodies:\n"
        "  jo1: {title: Jo-1, unverified: {loinc: {'1': Jo-1}}}\n",
    )
    assert said(problems) == [
        "a.yaml:6:43 duplicate-code loinc 1 stands already under observations.ck: "
        "one code can mean one thing only"
    ]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("drgs: {}", "a.yaml:1:1 unknown-key `drgs` is not a section of the vocabulary (did you"),
        ("- drugs", "a.yaml:1:1 wrong-type should be a mapping of sections"),
        ("drugs: [a]", "a.yaml:1:1 wrong-type should be a mapping from id to entry"),
        (
            "drugs: {Aspirin: {title: A, names: [a]}}",
            "a.yaml:1:9 bad-id `Aspirin` is not an id: use small letters, digits and _",
        ),
        (
            "measures: {m: {title: M, instruments: [ckk]}}\nobservations: {}",
            "a.yaml:1:26 unknown-id `ckk` is not declared among the observations",
        ),
        (
            "observations: {ck: {title: CK, units: enzyme}}",
            "a.yaml:1:32 unknown-id `enzyme` is not declared among the units",
        ),
        (
            "antibodies: {jo1: {title: Jo-1, codes: {lonc: {'1': x}}}}\n" + SYSTEMS,
            "a.yaml:1:41 unknown-id `lonc` is not a declared code system (did you mean `loinc`?)",
        ),
        (
            "findings: {f: {title: F, said_of: g}}",
            "a.yaml:1:26 unknown-id `g` is not declared among the findings",
        ),
        (
            "drug_classes: {c: {title: C, any_of: [d], routes: [r]}}",
            "a.yaml:1:30 unknown-id `d` is not declared among the drugs",
        ),
        ("biologicals: [d]", "a.yaml:1:15 unknown-id `d` is not declared among the drugs"),
        (
            "units: {u: {unit: m, spellings: {m: 1}}}\n"
            "observations: {o: {title: O, units: u, falls: {latest: {value: 1, unit: d}}}}",
            "a.yaml:2:48 bad-id a fall cannot be called `latest`: use small letters, digits and _,",
        ),
        (
            "drugs: {d: {title: D, names: [d]}}\n"
            "allergens: {a: {title: A, drugs: [d], includes: [e]}}",
            "a.yaml:2:39 unknown-id `e` is not declared among the drugs",
        ),
        ("negations: 'no'", "a.yaml:1:1 wrong-type should be a list, but is text"),
        ("negations:", "a.yaml:1:1 wrong-type should be a list, but is nothing"),
        ("negations_after: 7", "a.yaml:1:1 wrong-type should be a list, but is a whole number"),
        ("groups: {g: }", "a.yaml:1:10 wrong-type should be a list, but is nothing"),
        ("groups: {g: observation.ck}", "a.yaml:1:10 wrong-type should be a list, but is text"),
        ("assessments: 14", "a.yaml:1:1 wrong-type should be a mapping"),
    ],
)
def test_a_mistake_is_told_at_its_place(tmp_path: Path, text: str, problem: str) -> None:
    """What is wrong in a file is a problem with file, line and column, and never an exception."""
    _, problems = read(tmp_path, a=text)
    assert said(problems)[0].startswith(problem)


def test_an_id_is_declared_once(tmp_path: Path) -> None:
    """A second entry of the same id is a problem that names the first."""
    drug = "drugs: {a: {title: A, names: [a]}}"
    vocabulary, problems = read(tmp_path, a=drug, b=drug)
    assert len(problems) == 1
    assert said(problems)[0].startswith("b.yaml:1:9 duplicate-id `a` is declared already at ")
    assert list(vocabulary.drugs) == ["a"]


def test_an_entry_with_problems_spoils_no_other(tmp_path: Path) -> None:
    """The rest of a file is read and checked, so that every mistake is told at once."""
    vocabulary, problems = read(
        tmp_path, a="drugs: {a: {title: A}, b: {title: B, names: [b]}, c: {title: C, names: x}}"
    )
    assert list(vocabulary.drugs) == ["b"]
    assert [p.code for p in problems] == ["missing-key", "wrong-type"]


# --- terminology ---------------------------------------------------------------------------------


def test_every_code_is_of_a_known_form() -> None:
    """Of each public code system the form is declared, so that every shipped code is checked."""
    forms = {name: system.form for name, system in TERMS.vocabulary.systems.items()}
    assert forms == {
        "loinc": "loinc",
        "snomed": "snomed",
        "icd10cm": "icd-10-cm",
        "rxnorm": "rxnorm",
        "atc": "atc",
        "interpretation": None,
        "absent_unknown_ips": None,
        "core_set": None,
    }


FORMED = "systems: {loinc: {url: http://loinc.org, form: loinc}}\n"


def test_a_mistyped_code_is_an_error(tmp_path: Path) -> None:
    """It would never match, or match another thing."""
    _, problems = read(
        tmp_path, a=FORMED + "antibodies:\n  jo1: {title: Jo-1, codes: {loinc: {8076-3: Jo-1}}}\n"
    )
    assert said(problems) == [
        "a.yaml:3:38 bad-code loinc 8076-3 cannot be right: its check digit should be 2; "
        "look it up again"
    ]


def test_a_code_needs_a_display(tmp_path: Path) -> None:
    """Nobody could tell what it was meant to be."""
    _, problems = read(
        tmp_path, a=FORMED + 'antibodies:\n  jo1: {title: Jo-1, codes: {loinc: {8076-2: ""}}}\n'
    )
    assert [p.code for p in problems] == ["blank"]


def test_one_code_has_one_display(tmp_path: Path) -> None:
    """A code that is a diagnosis here and a finding of another name there is wrong in one place."""
    _, problems = read(
        tmp_path,
        a="systems: {snomed: {url: http://snomed.info/sct, form: snomed}}\n"
        "diagnoses:\n  dm: {title: DM, codes: {snomed: {396230008: Dermatomyositis}}}\n"
        "drugs:\n  x: {title: X, names: [x], codes: {snomed: {396230008: Something}}}\n",
    )
    assert [p.code for p in problems] == ["contradictory-code"]
    assert "“Something” here and “Dermatomyositis” at" in problems[0].message


def test_a_code_is_verified_or_not(tmp_path: Path) -> None:
    """It cannot stand under both keys of one entry."""
    _, problems = read(
        tmp_path,
        a=FORMED + "antibodies:\n  jo1: {title: Jo-1, codes: {loinc: {8076-2: Jo-1}}, "
        "unverified: {loinc: {8076-2: Jo-1}}}\n",
    )
    assert [p.code for p in problems] == ["contradictory-code"]


def test_a_note_belongs_to_a_code_of_its_entry(tmp_path: Path) -> None:
    """A note on a mistyped code would never be shown."""
    _, problems = read(
        tmp_path,
        a=FORMED + "antibodies:\n  jo1: {title: Jo-1, codes: {loinc: {8076-2: Jo-1}}, "
        "notes: {8076-1: by immunoblot}}\n",
    )
    assert [(p.code, "did you mean" in p.message) for p in problems] == [("unknown-id", True)]


def test_one_address_names_one_system(tmp_path: Path) -> None:
    """A coding could otherwise be of either."""
    _, problems = read(
        tmp_path,
        a="systems: {loinc: {url: http://loinc.org}, lab: {url: x, aliases: [http://loinc.org]}}\n",
    )
    assert [p.message for p in problems] == [
        "http://loinc.org is the system `loinc` already: use that name"
    ]


def test_what_stands_in_for_children_is_an_instrument_of_the_measure(tmp_path: Path) -> None:
    """A name that is not among the instruments would have no effect."""
    _, problems = read(
        tmp_path,
        a='units: {score: {unit: "1", spellings: {"1": 1}}}\n'
        "observations: {das: {title: DAS, units: score}}\n"
        "measures: {skin: {title: Skin, instruments: [das], for_children: [dass]}}\n",
    )
    assert [(p.code, "did you mean `das`" in p.message) for p in problems] == [("unknown-id", True)]


def test_drafts_call_their_codes_as_the_vocabulary_does() -> None:
    """A draft resource has no display of its own for a code that the vocabulary has."""
    displays = {
        (TERMS.vocabulary.system_url(system), code): display
        for _, _, entry in coded_entries(TERMS.vocabulary)
        for codes in (entry.codes, entry.unverified)
        for system, by_code in codes.items()
        for code, display in by_code.items()
    }
    drafts = read_document(VOCABULARY_FOLDER.parent / "suggestions.yaml").data
    codings = [
        coding
        for draft in drafts.values()
        for coding in draft["resource"].get("medicationCodeableConcept", {}).get("coding", ())
    ]
    assert codings
    for coding in codings:
        assert displays[coding["system"], coding["code"]] == coding["display"]


DOSE = """drugs:
  prednisone: {title: Prednisone, names: [prednisone]}
routes:
  oral: {title: oral, systemic: true}
doses:
  glucocorticoid:
    title: Glucocorticoid
    expressed_in: prednisone
    equal:
      prednisone: {value: 5, unit: mg}
    routes: [oral]
    gap: {value: 14, unit: d}
    levels:
      high: {title: high, dose: {value: 15, unit: mg/d}}
"""


@pytest.mark.parametrize(
    ("right", "wrong", "problem"),
    [
        ("expressed_in: prednisone", "expressed_in: prednison", "8:5 unknown-id"),
        ("value: 5,", "value: 0,", "10:7 bad-range"),
        ("      prednisone: {value", "      cortisone: {value", "9:5 unknown-id"),
        ("routes: [oral]", "routes: [by_mouth]", "11:5 unknown-id"),
        ("      high:", "      High:", "14:7 bad-id"),
    ],
)
def test_a_dose_that_cannot_be_worked_out_is_told(
    tmp_path: Path, right: str, wrong: str, problem: str
) -> None:
    """Doses are converted by equal doses above 0 of declared drugs, by declared routes."""
    assert read(tmp_path, doses=DOSE)[1] == []
    assert right in DOSE
    problems = said(read(tmp_path, doses=DOSE.replace(right, wrong))[1])
    assert any(problem in each for each in problems), problems


LEVEL = """units:
  vas: {unit: cm, spellings: {cm: 1}}
observations:
  activity: {title: Activity, units: vas}
  pain: {title: Pain, units: vas}
measures:
  activity:
    title: Activity
    instruments: [activity]
    levels:
      inactive:
        title: none
        no_worse_than:
          activity: {value: 0, unit: cm}
        upper_limits: {value: 1}
"""


@pytest.mark.parametrize(
    ("right", "wrong", "problem"),
    [
        ("          activity: {", "          pain: {", "14:11 unknown-id `pain` is not among the"),
        ("value: 0, unit: cm", "value: 0, unit: mm", "14:11 wrong-unit the unit is `mm` and"),
        ("value: 1}", 'value: 1, unit: "%"}', "15:9 wrong-unit so many times the upper limit"),
        ("value: 1}", "value: 0}", "15:9 bad-range the number (0) is not above 0"),
        ("      inactive:", "      Inactive:", "11:7 bad-id `Inactive` is not an id"),
        (
            """        no_worse_than:
          activity: {value: 0, unit: cm}
        upper_limits: {value: 1}
""",
            "",
            "11:7 missing-key `no_worse_than` or `upper_limits` is missing",
        ),
    ],
)
def test_a_level_that_no_value_can_be_at_is_told(
    tmp_path: Path, right: str, wrong: str, problem: str
) -> None:
    """A level says which values are at it, of instruments of its measure and in their units."""
    assert read(tmp_path, level=LEVEL)[1] == []
    assert right in LEVEL
    problems = said(read(tmp_path, level=LEVEL.replace(right, wrong))[1])
    assert any(problem in each for each in problems), problems


def test_levels_need_to_know_how_far_assessments_may_lie_apart(tmp_path: Path) -> None:
    """Without that no time between two assessments is covered; without levels nobody asks."""
    days = ("window", "grace", "look_back", "least_interval", "course_gap")
    numbers = ", ".join(f"{name}: {{value: 1, unit: d}}" for name in days)
    without = f"assessments: {{{numbers}}}\n"
    problems = said(read(tmp_path, level=LEVEL + without)[1])
    assert [each.split(" is missing")[0] for each in problems] == [
        "level.yaml:11:7 missing-key `held_gap`"
    ]
    whole = without.replace("}}\n", "}, held_gap: {value: 120, unit: d}}\n")
    assert read(tmp_path, level=LEVEL + whole)[1] == []
    assert read(tmp_path, level=without)[1] == []


def test_a_status_asserts_declared_findings(tmp_path: Path) -> None:
    """A name that no finding has is an error."""
    text = "statuses:\n  smoking_status: {title: Smoking, asserts: [smoking]}\n"
    (problem,) = said(read(tmp_path, statuses=text)[1])
    assert "unknown-id" in problem


def test_the_classes_of_immunosuppressive_drugs_agree() -> None:
    """What one class calls immunosuppressive no wider one leaves out."""
    classes = {name: set(entry.any_of) for name, entry in TERMS.vocabulary.drug_classes.items()}
    assert classes["conventional_agent"] <= classes["steroid_sparing"]
    assert classes["steroid_sparing"] <= classes["immunomodulating"]
    assert classes["glucocorticoid"] <= classes["immunomodulating"]
    apart = {"rituximab", "cyclophosphamide", "immunoglobulin"} | classes["jak_inhibitor"]
    assert classes["steroid_sparing"] - apart == classes["immunosuppressant"]
    assert classes["steroid_sparing"] - {"immunoglobulin"} == classes["immunosuppressive"]


def test_every_code_has_a_display_and_is_of_a_system_with_a_form() -> None:
    """So each is checked: LOINC and SNOMED CT by their check digit, the others by their form."""
    vocabulary = TERMS.vocabulary
    own = {"absent_unknown_ips", "core_set", "interpretation"}
    for section, name, entry in coded_entries(vocabulary):
        families = getattr(entry, "families", {})
        for codes in (entry.codes, entry.unverified, families):
            for system, by_code in codes.items():
                for code, display in by_code.items():
                    assert display.strip(), f"{section}.{name}: {code}"
                form = vocabulary.systems[system].form
                assert form is not None or system in own, f"{section}.{name}: {system}"
                if form is not None:
                    faults = {code: fault_of(code, form) for code in by_code}
                    assert not any(faults.values()), f"{section}.{name}: {faults}"
    for result in vocabulary.results.values():
        for system, by_code in result.codes.items():
            form = vocabulary.systems[system].form
            assert all(display.strip() for display in by_code.values())
            assert form is None or not any(fault_of(code, form) for code in by_code)


def test_a_name_is_that_of_one_drug_only() -> None:
    """Otherwise a text with it would mean another drug than it says, or two."""
    drugs = [n.casefold() for d in TERMS.vocabulary.drugs.values() for n in d.names]
    groups = [n.casefold() for a in TERMS.vocabulary.allergens.values() for n in a.names]
    assert len(drugs) == len(set(drugs))
    assert len(groups) == len(set(groups))
    assert not set(drugs) & set(groups)
