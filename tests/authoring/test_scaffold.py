import shutil
from datetime import date
from pathlib import Path

import msgspec
import pytest
from typer.testing import CliRunner, Result

from cds import cli
from cds.advice import load_rules
from cds.authoring.scaffold import (
    Answers,
    Shelf,
    Unfit,
    make_rule,
    read_shelf,
    write_rule,
)
from cds.authoring.schemas import FOLDER
from cds.located import FilesInvalid
from cds.rules.reading import check_ruleset
from cds.ruletests import run as run_tests

ROOT = Path(__file__).parents[2]
TODAY = date(2026, 11, 23)

CARD = Answers(
    id="anti-jo-1",
    kind="card",
    folder="guidance/antibodies",
    title="Anti-Jo-1: look for lung disease",
    owner="rheumatology",
    status="active",
    when=("antibody.jo1", "patient.age >= 18 a", "drug.rituximab within 2 wk"),
    source="bsr-2022",
    supports="screening for lung disease",
    certainty="low",
    problem="anti-jo-1",
    indicator="info",
    summary="Anti-Jo-1 is positive: consider a scan of the lung",
    lead="Anti-Jo-1 is **positive**.",
)

CRITERION = Answers(
    id="low-saturation",
    kind="criterion",
    folder="criteria",
    title="Low saturation",
    owner="rheumatology",
    status="active",
    when=("observation.spo2.latest < 92 %",),
    source="project-policy",
    supports="the threshold",
    certainty="unverified",
    derives="finding.low_saturation",
)


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    """A copy of the shipped rules."""
    shutil.copytree(ROOT / "rules", tmp_path / "rules")
    return tmp_path / "rules"


@pytest.fixture(scope="session")
def shelf() -> Shelf:
    """The shipped rules."""
    return read_shelf(ROOT / "rules")


def changed(answers: Answers, **changes: object) -> Answers:
    """Answers with some of them changed."""
    return msgspec.structs.replace(answers, **changes)


def run(*arguments: object, said: str | None = None) -> Result:
    """Run ``cds rules new`` in this process, and type what is said."""
    return CliRunner().invoke(cli.app, ["rules", "new", *map(str, arguments)], input=said)


def options(answers: Answers) -> list[str]:
    """The options that give the answers."""
    given = ["--derive" if k == "derives" else f"--{k}" for k in answers.__struct_fields__]
    values = msgspec.structs.astuple(answers)
    pairs = dict(zip(given, values, strict=True))
    single = [(k, v) for k, v in pairs.items() if v and k not in ("--id", "--when")]
    if answers.kind == "criterion":
        single = [(k, v) for k, v in single if k != "--indicator"]
    return [
        answers.id,
        *(part for pair in single for part in pair),
        *(part for condition in answers.when for part in ("--when", condition)),
    ]


@pytest.mark.parametrize("answers", [CARD, CRITERION], ids=lambda answers: answers.kind)
def test_a_new_rule_and_its_test_pass_at_once(answers: Answers, rules: Path) -> None:
    """The checker has no problem, not even a warning, and every case and boundary passes."""
    tests_before = run_tests(load_rules(rules), rules, ROOT / "fhir_examples")
    written = write_rule(answers, read_shelf(rules), TODAY)
    report = run_tests(load_rules(rules), rules, ROOT / "fhir_examples")
    made = [result for result in report.results if result.rule == answers.id]

    assert [path.name for path in written] == [f"{answers.id}.yaml", f"{answers.id}.test.yaml"]
    assert not [p for p in check_ruleset(rules)[1] if answers.id in p.place.file]
    assert report.passed
    assert sum(result.kind == "case" for result in made) == 1 + 2 * len(answers.when)
    assert report.coverage >= tests_before.coverage


def test_the_files_of_a_card(shelf: Shelf) -> None:
    """In the canonical layout, with the modelines, and reviewed today for a year."""
    rule, test = make_rule(CARD, shelf, TODAY)

    assert (
        rule
        == """\
# yaml-language-server: $schema=../../schema/rule.schema.json
id: anti-jo-1
title: "Anti-Jo-1: look for lung disease"
version: 0.1.0
status: active
owner: rheumatology
reviewed: 2026-11-23
review_by: 2027-11-23
evidence:
  - source: bsr-2022
    supports: screening for lung disease
    certainty: low
when:
  all:
    - antibody.jo1
    - patient.age >= 18 a
    - drug.rituximab within 2 wk
card:
  problem: anti-jo-1
  indicator: info
  summary: "Anti-Jo-1 is positive: consider a scan of the lung"
  lead: "Anti-Jo-1 is **positive**."
"""
    )
    assert test.splitlines()[:8] == [
        "# yaml-language-server: $schema=../../schema/test.schema.json",
        "rule: anti-jo-1",
        "cases:",
        "  - name: every condition holds",
        "    facts: {antibody.jo1: true, patient.age: 18, drug.rituximab: 14}",
        "    expect: fires",
        '  - name: "not so: antibody.jo1"',
        "    facts: {antibody.jo1: false, patient.age: 18, drug.rituximab: 14}",
    ]
    assert "    facts: {antibody.jo1: true, patient.age: 17, drug.rituximab: 14}" in test
    assert "    facts: {antibody.jo1: true, patient.age: 18, drug.rituximab: 15}" in test
    assert "    facts: {antibody.jo1: true, patient.age: 18, drug.rituximab: unknown}" in test


@pytest.mark.parametrize(
    ("op", "held", "not_held"),
    [
        (">=", "92", "91"),
        (">", "93", "92"),
        ("<=", "92", "93"),
        ("<", "91", "92"),
        ("==", "92", "91"),
        ("!=", "91", "92"),
    ],
)
def test_cases_stand_at_the_threshold(op: str, held: str, not_held: str, shelf: Shelf) -> None:
    """Or one beside it, where the threshold itself does not do."""
    answers = changed(CRITERION, when=(f"observation.spo2.latest {op} 92 %",))
    _, test = make_rule(answers, shelf, TODAY)

    assert f'facts: {{observation.spo2.latest: {held}}}\n    expect: "true"' in test
    assert f'facts: {{observation.spo2.latest: {not_held}}}\n    expect: "false"' in test


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"id": "Anti Jo"}, "`Anti Jo` is not an id: use small letters, digits and hyphens"),
        ({"id": "refractory"}, "`refractory` is a rule already: choose another id"),
        ({"folder": "../elsewhere"}, "`../elsewhere` is not a folder for rules: begin with"),
        ({"folder": "vocabulary"}, "`vocabulary` is not a folder for rules: begin with"),
        ({"source": "bsr-2020"}, "`bsr-2020` is not in sources.yaml (did you mean `bsr-2022`?)"),
        ({"derives": "saturation"}, "`saturation` is not the name of a fact: write for example"),
        ({"derives": "response.worsened"}, "`response.worsened` is a fact already: choose"),
        ({"when": ("antibody.jo2",)}, "`antibody.jo2` is not a fact that the vocabulary"),
        ({"when": ("patient.age >= 18 d",)}, "`18 d` has the unit `d`, but this fact has"),
        ({"when": ()}, "a rule needs a condition"),
        (
            {"when": ("patient.age >= 18 a", "patient.age < 65 a")},
            "two conditions are about `patient.age`: give one, and add the other by hand",
        ),
    ],
)
def test_an_answer_that_does_not_fit_is_refused(
    changes: dict[str, object], problem: str, shelf: Shelf
) -> None:
    """The message says what to write instead."""
    with pytest.raises(Unfit) as refused:
        make_rule(changed(CRITERION, **changes), shelf, TODAY)
    assert str(refused.value).startswith(problem)


def test_a_review_is_due_in_a_year() -> None:
    """From the 29th of February on the 28th."""
    shelf = read_shelf(ROOT / "rules")
    rule, _ = make_rule(CRITERION, shelf, date(2028, 2, 29))

    assert "reviewed: 2028-02-29\nreview_by: 2029-02-28\n" in rule


def test_no_file_is_overwritten(rules: Path) -> None:
    """Not even a test without its rule."""
    test = rules / "criteria" / "low-saturation.test.yaml"
    test.write_text("rule: low-saturation\ncases: []\n")
    with pytest.raises(FileExistsError, match="is there already, and is not overwritten"):
        write_rule(CRITERION, read_shelf(rules), TODAY)

    assert test.read_text() == "rule: low-saturation\ncases: []\n"
    assert not (rules / "criteria" / "low-saturation.yaml").exists()


def test_a_rule_that_the_checker_refuses_is_not_left_behind(rules: Path) -> None:
    """Here a text names a fact that there is not."""
    answers = changed(CARD, lead="Since {antibody.jo2:evidence}.")
    with pytest.raises(FilesInvalid, match=r"anti-jo-1\.yaml:\d+:\d+ unknown-fact"):
        write_rule(answers, read_shelf(rules), TODAY)

    assert not list(rules.rglob("anti-jo-1*"))


def test_rules_with_errors_take_no_new_one(rules: Path) -> None:
    """They are to be put right first."""
    (rules / "scope.yaml").write_text("applies_to: diagnosis.none\n")
    with pytest.raises(FilesInvalid, match=r"scope\.yaml:1:1 unknown-fact"):
        read_shelf(rules)


def test_without_schemas_there_is_no_modeline(rules: Path) -> None:
    """It would lead nowhere."""
    shutil.rmtree(rules / FOLDER)
    rule, test = make_rule(CRITERION, read_shelf(rules), TODAY)

    assert rule.startswith("id: low-saturation\n")
    assert test.startswith("rule: low-saturation\n")


# --- the command ---------------------------------------------------------------------------------


@pytest.mark.parametrize("answers", [CARD, CRITERION], ids=lambda answers: answers.kind)
def test_with_every_option_nothing_is_asked(answers: Answers, rules: Path) -> None:
    """The files are named, and that the rule counts from now on."""
    result = run("--rules", rules, *options(answers))
    file = rules / answers.folder / answers.id

    assert result.exit_code == 0, result.output
    assert result.stdout == (
        f"written: {file}.yaml\nwritten: {file}.test.yaml\n"
        "The rule is active: it counts wherever this folder is served.\n"
    )


def test_what_is_not_given_is_asked_until_it_fits(rules: Path) -> None:
    """With defaults for what can be guessed; an unfit answer is explained and asked for again."""
    said = [
        "low saturation",  # no id
        "low-saturation",
        "criterion",
        "",  # the folder that is offered
        "",  # the title that is offered
        "rheumatology",
        "observation.spo2.latest < 92",  # no unit
        "observation.spo2.latest < 92 %",
        "finding.myocarditis",
        "",  # no other condition
        "project-policy",
        "the threshold",
        "unverified",
        "finding.low_saturation",
    ]
    result = run("--rules", rules, said="\n".join(said) + "\n")
    text = (rules / "criteria" / "low-saturation.yaml").read_text()

    assert result.exit_code == 0, result.output
    assert "`low saturation` is not an id" in result.output
    assert "write `92 %`" in result.output
    assert "    - observation.spo2.latest < 92 %\n    - finding.myocarditis\n" in text
    assert "title: Low saturation\n" in text
    assert "derive: finding.low_saturation\n" in text


def test_a_draft_does_not_count(rules: Path) -> None:
    """It is written with that status."""
    result = run("--rules", rules, *options(changed(CARD, status="draft")))

    assert result.exit_code == 0
    assert "counts nowhere else until its status is active" in result.stdout
    assert "anti-jo-1" not in {rule.id for rule in load_rules(rules).rules}
    assert "anti-jo-1" in {rule.id for rule in load_rules(rules, drafts=True).rules}


@pytest.mark.parametrize(
    ("wrong", "problem"),
    [
        (("--certainty", "sure"), "`sure` is not one of high, moderate, low, expert opinion,"),
        (("--derive", "response.x"), "`derives` does not go with a card"),
        (("--owner", " "), "`owner` is empty: it has to say something"),
        (("--when", "antibody.jo2"), "`antibody.jo2` is not a fact"),
    ],
)
def test_an_option_that_does_not_fit_ends_it(
    wrong: tuple[str, str], problem: str, rules: Path
) -> None:
    """Nothing is written."""
    result = run("--rules", rules, *options(CARD), *wrong)

    assert result.exit_code == 1
    assert result.stderr.startswith(problem)
    assert not list(rules.rglob("anti-jo-1*"))
