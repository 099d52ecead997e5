from decimal import Decimal
from pathlib import Path

import pytest

from cds.chart.vocabulary import Vocabulary, coded_entries, read_vocabulary
from cds.located import Problem
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
    """No ATC code was read in its source, so none stands among the verified ones."""
    for section, name, entry in coded_entries(TERMS.vocabulary):
        assert "atc" not in entry.codes, (section, name)
    drugs = TERMS.vocabulary.drugs
    assert all("atc" in drug.unverified for drug in drugs.values())


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


def test_a_status_asserts_declared_findings(tmp_path: Path) -> None:
    """A name that no finding has is an error."""
    text = "statuses:\n  smoking_status: {title: Smoking, asserts: [smoking]}\n"
    (problem,) = said(read(tmp_path, statuses=text)[1])
    assert "unknown-id" in problem
