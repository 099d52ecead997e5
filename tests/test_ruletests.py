import re
import shutil
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import msgspec
import pytest
from typer.testing import CliRunner

from cds.advice import load_rules
from cds.cli import app
from cds.rules.conditions import Comparison
from cds.rules.nodes import Node
from cds.rules.ruleset import Rule, RuleSet
from cds.ruletests import Report, describe, run, to_junit

CHECKOUT = Path(__file__).parents[1]
EXAMPLES = CHECKOUT / "fhir_examples"
Test = Callable[..., Report]

RULE = """
id: low-saturation
title: Low saturation
version: 1.0.0
status: active
owner: pulmonology
reviewed: 2026-01-01
review_by: 2027-01-01
evidence: [{source: project-policy, supports: the threshold, certainty: unverified}]
when:
  all:
    - diagnosis.myositis
    - observation.spo2.latest < 92 %
    - not: drug.pulse_methylprednisolone within 14 d
card:
  problem: saturation
  indicator: warning
  summary: Saturation is low
  lead: "Saturation is {observation.spo2.latest}."
  text:
    - when: finding.interstitial_lung_disease
      text: The lung is known to be ill.
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shared files of the shipped rules, with one rule of its own and no test."""
    made = tmp_path_factory.mktemp("site") / "rules"
    others = shutil.ignore_patterns("guidance", "criteria", "contraindications")
    shutil.copytree(CHECKOUT / "rules", made, ignore=others)
    # The drafts of cards ask for facts that other rules derive.
    (made / "suggestions.yaml").write_text("{}\n", "utf-8")
    (made / "low-saturation.yaml").write_text(RULE, "utf-8")
    return made


@pytest.fixture(scope="module")
def ruleset(folder: Path) -> RuleSet:
    """That one rule."""
    return load_rules(folder)


@pytest.fixture
def test(folder: Path, ruleset: RuleSet) -> Test:
    """Run the cases of that rule, given as YAML."""

    def run_cases(cases: str, name: str = "low-saturation.test.yaml") -> Report:
        file = folder / name
        file.write_text(f"rule: low-saturation\ncases:\n{cases}", "utf-8")
        try:
            return run(ruleset, folder, EXAMPLES)
        finally:
            file.unlink()

    return run_cases


FIRES = """
  - name: low
    facts:
      diagnosis.myositis: true
      observation.spo2.latest: 91
      drug.pulse_methylprednisolone: 15
    expect: fires
"""


def problems(report: Report) -> list[tuple[int, str]]:
    """Line and code of each problem."""
    return [(problem.place.line, problem.code) for problem in report.problems]


# --- a site ---------------------------------------------------------------------------------------


def test_a_site_is_tested_by_its_own_cases(tmp_path: Path) -> None:
    """Cases of a shipped rule are judged by the site's number; rules of its own need a test."""
    (tmp_path / "rules").mkdir()
    (tmp_path / "site.yaml").write_text(
        "site: Mine\n"
        "parameters: {inadequate-response: {adequate_trial: {value: 112, unit: d, note: x}}}\n",
        "utf-8",
    )
    own = RULE.replace("id: low-saturation", "id: own")
    (tmp_path / "rules/own.yaml").write_text(own, "utf-8")
    case = """
  - name: after {days} days
    facts:
      drug.glucocorticoid.current: true
      treatment.days_judged: {days}
      elapsed.baseline_to_treatment: 0
      assessment.compared: true
      assessment.current: 0
      response.imacs.improved: false
      response.worsened: false
    expect: "{expect}"
"""
    cases = case.format(days=111, expect="false") + case.format(days=112, expect="true")
    test_file = tmp_path / "rules/inadequate-response.test.yaml"
    test_file.write_text(f"rule: inadequate-response\ncases:{cases}", "utf-8")

    report = run(load_rules(CHECKOUT / "rules", tmp_path), CHECKOUT / "rules", EXAMPLES)

    assert [r.differences for r in report.results if r.kind == "case"] == [(), ()]
    assert all(r.passed for r in report.results)
    (missing,) = report.problems
    assert (missing.code, missing.place.file) == ("test-missing", str(tmp_path / "rules/own.yaml"))
    assert {uncovered.rule for uncovered in report.uncovered} == {"own"}


def test_the_test_of_a_shipped_rule_has_its_name(tmp_path: Path) -> None:
    """A site's test file that is named otherwise is told of."""
    (tmp_path / "rules").mkdir()
    (tmp_path / "site.yaml").write_text("site: Mine\n", "utf-8")
    (tmp_path / "rules/other.test.yaml").write_text(
        "rule: inadequate-response\ncases: []\n", "utf-8"
    )
    report = run(load_rules(CHECKOUT / "rules", tmp_path), CHECKOUT / "rules", EXAMPLES)
    assert [problem.code for problem in report.problems] == ["test-misplaced"]


# --- the shipped rules ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def shipped() -> Report:
    """What becomes of the tests that the project ships."""
    return run(load_rules(CHECKOUT / "rules"), CHECKOUT / "rules", EXAMPLES)


def test_the_shipped_rules_pass_their_tests(shipped: Report) -> None:
    """Every rule has a test file, every case and boundary passes, every condition is covered."""
    assert "\n".join(describe(shipped)).count("FAILED") == 0
    assert shipped.problems == ()
    assert shipped.uncovered == ()
    assert shipped.passed
    assert shipped.coverage == 100


def test_each_shipped_rule_has_cases_and_an_example(shipped: Report) -> None:
    """No rule rests on its boundaries alone."""
    cases = {result.rule for result in shipped.results if result.kind == "case"}
    tests = sorted((CHECKOUT / "rules").rglob("*.test.yaml"))

    assert len(cases) == len(tests)
    assert all("example: " in file.read_text("utf-8") for file in tests)


@pytest.mark.parametrize(
    "file, written, changed",
    [
        ("criteria/imacs-improvement.yaml", "improvement: {value: 20", "improvement: {value: 21"),
        ("criteria/imacs-improvement.yaml", "improvement >=", "improvement >"),
        ("criteria/imacs-improvement.yaml", "at_most: 2", "at_most: 3"),
        ("criteria/imacs-improvement.yaml", "worsening < ", "worsening <= "),
        (
            "guidance/life-threatening/pulse-for-myocarditis.yaml",
            "- unknown: drug.pulse_methylprednisolone within pulse.adult_dose.parameters.recent\n",
            "",
        ),
        (
            "guidance/life-threatening/pulse-for-rapidly-progressive-ild.yaml",
            "indicator: critical",
            "indicator: warning",
        ),
        (
            "guidance/life-threatening/pulse-for-rapidly-progressive-ild.yaml",
            "when: {not: finding.rapidly_progressive_ild.confirmed}",
            "when: finding.rapidly_progressive_ild.confirmed",
        ),
    ],
)
def test_the_shipped_tests_notice_a_mistake(
    tmp_path: Path, file: str, written: str, changed: str
) -> None:
    """A wrong number, operator, variant or indicator fails a case of the rule that it is in."""
    shutil.copytree(CHECKOUT / "rules", tmp_path / "rules")
    rule = tmp_path / "rules" / file
    assert written in rule.read_text("utf-8")
    rule.write_text(rule.read_text("utf-8").replace(written, changed, 1), "utf-8")

    report = run(load_rules(tmp_path / "rules"), tmp_path / "rules", EXAMPLES)

    assert not report.passed
    assert rule.stem in {result.rule for result in report.results if not result.passed}


def test_the_shipped_tests_notice_a_mistake_in_what_cards_share(tmp_path: Path) -> None:
    """It fails cases of the cards that have it."""
    shutil.copytree(CHECKOUT / "rules", tmp_path / "rules")
    shared = tmp_path / "rules/shared.yaml"
    text = shared.read_text("utf-8")
    wrong = text.replace("{not: antibody.mda5}]", "{unknown: antibody.mda5}]", 1)
    assert wrong != text
    shared.write_text(wrong, "utf-8")

    report = run(load_rules(tmp_path / "rules"), tmp_path / "rules", EXAMPLES)

    assert {result.rule for result in report.results if not result.passed} == {
        "oral-glucocorticoid-ordered-alone",
        "pulse-for-rapidly-progressive-ild",
        "rapidly-progressive-ild-after-pulse",
        "rapidly-progressive-ild-pulse-given",
        "rapidly-progressive-ild-worse-after-pulse",
    }


# --- cases ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "facts, otherwise, outcome",
    [
        ("{}", "unknown", "unknown"),
        ("{}", "not recorded", "silent"),
        ("{diagnosis.myositis: true}", "not recorded", "unknown"),
        ("{diagnosis.myositis: true, observation.spo2.latest: 91.9}", "not recorded", "fires"),
        ("{diagnosis.myositis: true, observation.spo2.latest: 92}", "not recorded", "silent"),
        ("{diagnosis.myositis: unknown, observation.spo2.latest: 1}", "not recorded", "unknown"),
        ("{diagnosis.myositis: true, observation.spo2.latest: 1}", "unknown", "unknown"),
        (
            "{diagnosis.myositis: true, observation.spo2.latest: [80, 91.9], "
            "drug.pulse_methylprednisolone: never}",
            "unknown",
            "fires",
        ),
        (
            "{diagnosis.myositis: true, observation.spo2.latest: [80, 92], "
            "drug.pulse_methylprednisolone: never}",
            "unknown",
            "unknown",
        ),
        (
            "{diagnosis.myositis: true, observation.spo2.latest: 80, "
            "drug.pulse_methylprednisolone: 14}",
            "unknown",
            "silent",
        ),
        (
            "{diagnosis.myositis: true, observation.spo2.latest: 80, "
            "drug.pulse_methylprednisolone: perhaps 14}",
            "unknown",
            "unknown",
        ),
        (
            "{diagnosis.myositis: true, observation.spo2.latest: 80, "
            "drug.pulse_methylprednisolone: perhaps 15}",
            "unknown",
            "fires",
        ),
    ],
)
def test_facts_mean_what_they_say(test: Test, facts: str, otherwise: str, outcome: str) -> None:
    """Exactly one outcome is the right one, whichever a case expects."""
    for expected in ("fires", "silent", "unknown"):
        report = test(
            f"  - {{name: a, facts: {facts}, otherwise: {otherwise}, expect: {expected}}}"
        )
        (result,) = [r for r in report.results if r.kind == "case"]
        assert report.problems == ()
        assert result.passed is (expected == outcome)


def test_a_failure_shows_what_was_expected_and_what_each_condition_saw(test: Test) -> None:
    """The reader sees at once which condition was not as thought."""
    report = test(FIRES.replace("91", "92.5"))

    assert [line for line in describe(report) if "boundaries" not in line][:6] == [
        "low-saturation.test.yaml:4:5 FAILED low-saturation: low",
        "    expected fires, seen silent",
        "    | all of: no",
        "    |   Idiopathic inflammatory myopathy other than inclusion body myositis: yes",
        "    |   SpO2 < 92\u202f%: no, seen 92.5\u202f%",
        "    |   not: Intravenous pulse methylprednisolone within 14 days: yes, seen 15 days ago",
    ]
    assert not report.passed


@pytest.mark.parametrize(
    "card, difference",
    [
        ("{indicator: warning}", None),
        ("{indicator: critical}", "expected indicator critical, seen warning"),
        ("{summary: is low}", None),
        ("{summary: is high}", "expected in summary “is high”, seen “Saturation is low”"),
        ("{detail: [Saturation is 91]}", None),
        ("{detail: [ill]}", "expected in detail “ill”"),
        ("{without: [ill]}", None),
        ("{without: [Saturation]}", "not expected in detail “Saturation”"),
        ("{suggestions: []}", None),
        ("{suggestions: [Draft]}", "expected suggestions ['Draft'], seen []"),
        ("{shown: true}", None),
        ("{shown: false}", "expected to give way to another, seen shown"),
    ],
)
def test_parts_of_the_card_are_compared(test: Test, card: str, difference: str | None) -> None:
    """Each part that a case names, and only those."""
    report = test(f"{FIRES}    card: {card}")

    (result,) = [r for r in report.results if r.kind == "case"]
    if difference is None:
        assert result.passed
    else:
        assert [difference in seen for seen in result.differences] == [True]


def test_a_case_says_at_which_hook_it_is(test: Test) -> None:
    """A card is shown at the hooks that its rule declares, the first of which is taken."""
    shown = FIRES + "    card: {shown: true}\n"
    at_view, at_sign = (
        shown.replace("- name: low", f"- name: low\n    hook: {hook}")
        for hook in ("patient-view", "order-sign")
    )
    (failed,) = (result for result in test(at_sign).results if not result.passed)

    assert test(shown).passed
    assert test(at_view).passed
    assert failed.differences == ("card: expected to be shown, seen to give way to another",)


def test_an_example_is_read_as_a_whole_chart(test: Test) -> None:
    """A Bundle of the folder of examples, on the day that the case names."""
    case = "  - {name: a, example: %s.bundle.json, as_of: 2026-11-16, expect: %s}\n"

    report = test(case % ("rp-ild-mda5", "fires") + case % ("no-myositis", "silent"))

    assert report.passed


@pytest.mark.parametrize(
    "case, line, code, said",
    [
        ("{name: a, expect: true}", 3, "wrong-expectation", "as text"),
        ('{name: a, expect: "true"}', 3, "wrong-expectation", "fires, silent, unknown"),
        ("{name: a, expect: firse}", 3, "wrong-expectation", "did you mean `fires`?"),
        ("{expect: fires}", 3, "missing-key", "`name` is missing"),
        ("{name: a, expect: fires, fact: {}}", 3, "unknown-key", "did you mean `facts`?"),
        (
            "{name: a, expect: fires, facts: {diagnosis.myositsi: true}}",
            3,
            "unknown-fact",
            "did you mean `diagnosis.myositis`?",
        ),
        (
            "{name: a, expect: fires, facts: {finding.myocarditis: true}}",
            3,
            "unused-fact",
            "no rule asks for",
        ),
        (
            "{name: a, expect: fires, facts: {diagnosis.myositis: 1}}",
            3,
            "wrong-value",
            "takes true, false or unknown",
        ),
        (
            "{name: a, expect: fires, facts: {observation.spo2.latest: true}}",
            3,
            "wrong-value",
            "takes a number (in %)",
        ),
        (
            "{name: a, expect: fires, facts: {observation.spo2.latest: [92, 91]}}",
            3,
            "wrong-value",
            "[low, high]",
        ),
        (
            "{name: a, expect: fires, facts: {drug.pulse_methylprednisolone: -1}}",
            3,
            "wrong-value",
            "the days since",
        ),
        (
            "{name: a, expect: fires, facts: {drug.pulse_methylprednisolone: maybe}}",
            3,
            "wrong-value",
            "perhaps",
        ),
        ("{name: a, expect: silent, card: {}}", 3, "wrong-expectation", "rule that fires"),
        ("{name: a, expect: fires, selects: {raised: []}}", 3, "unknown-selection", "`raised`"),
        (
            "{name: a, expect: fires, example: rp-ild-mda.bundle.json, as_of: 2026-11-16}",
            3,
            "missing-example",
            "did you mean `rp-ild-mda5.bundle.json`?",
        ),
        (
            "{name: a, expect: fires, example: rp-ild-mda5.bundle.json}",
            3,
            "missing-key",
            "the day to judge from",
        ),
        (
            "{name: a, expect: fires, example: rp-ild-mda5.bundle.json, as_of: 2026-11-16, "
            "facts: {diagnosis.myositis: true}}",
            3,
            "example-and-facts",
            "does not go with `example`",
        ),
        ("{name: a, expect: fires, measures: {strength: [1]}}", 3, "unknown-fact", "measure"),
        (
            "{name: a, expect: fires, measures: {muscle_strength: [151]}}",
            3,
            "wrong-value",
            "from 0 to 150",
        ),
        (
            "{name: a, expect: fires, measures: {muscle_strength: [1, 2, 3]}}",
            3,
            "wrong-value",
            "[baseline, current]",
        ),
    ],
)
def test_mistakes_in_test_files_are_told_at_their_place(
    test: Test, case: str, line: int, code: str, said: str
) -> None:
    """Each has a code and says what to write; the case is not run, and the whole has not passed."""
    report = test(f"  - {case}\n")

    assert problems(report) == [(line, code)]
    assert said in report.problems[0].message
    assert [r for r in report.results if r.kind == "case"] == []
    assert not report.passed


def test_a_rule_without_a_test_is_a_problem_at_the_rule(folder: Path, ruleset: RuleSet) -> None:
    """It names the file that should be written."""
    report = run(ruleset, folder, EXAMPLES)

    (problem,) = report.problems
    assert str(problem).startswith("low-saturation.yaml:2:1 test-missing ")
    assert "low-saturation.test.yaml" in problem.message


def test_tests_stand_beside_their_rule(test: Test) -> None:
    """A test file elsewhere, or of another name, is run, and told to be misplaced."""
    report = test(FIRES, "saturation.test.yaml")

    assert problems(report) == [(1, "test-misplaced")]
    assert len([r for r in report.results if r.kind == "case"]) == 1


@pytest.mark.parametrize(
    "content, code",
    [
        ("rule: low-saturaton\ncases: []\n", "unknown-rule"),
        ("cases: []\n", "missing-key"),
        ("rule: low-saturation\n", "missing-key"),
        ("- a\n", "wrong-type"),
        ("rule: [\n", "not-yaml"),
        ("", "empty"),
    ],
)
def test_a_test_file_that_is_none_is_told(
    folder: Path, ruleset: RuleSet, content: str, code: str
) -> None:
    """An unknown rule, a missing key and what is no YAML are problems, never a quiet pass."""
    file = folder / "low-saturation.test.yaml"
    file.write_text(content, "utf-8")
    try:
        report = run(ruleset, folder, EXAMPLES)
    finally:
        file.unlink()

    assert code in [problem.code for problem in report.problems]
    assert not report.passed


# --- boundaries and coverage ---------------------------------------------------------------------


def test_every_threshold_has_its_boundary_tried(test: Test) -> None:
    """Numbers, days and counts; the condition stands in the name."""
    report = test(FIRES)

    assert [result.name for result in report.results if result.kind == "boundary"] == [
        "boundary: SpO2 < 92\u202f%",
        "boundary: Intravenous pulse methylprednisolone within 14 days",
    ]


def test_a_wrong_operator_is_found_at_the_boundary(folder: Path, ruleset: RuleSet) -> None:
    """An evaluator that takes < for <= gives itself away, and so does an engine that does."""

    def wrong(node: Node) -> Node:
        condition = node.condition
        if isinstance(condition, Comparison):
            at_most = msgspec.structs.replace(condition, op="<=")
            return msgspec.structs.replace(node, condition=at_most)
        parts = tuple(map(wrong, node.parts))
        return msgspec.structs.replace(node, parts=parts)

    def broken(rule: Rule) -> Rule:
        return msgspec.structs.replace(rule, node=wrong(rule.node))

    rules = tuple(map(broken, ruleset.rules))
    report = run(msgspec.structs.replace(ruleset, rules=rules), folder, EXAMPLES)

    (failed,) = [result for result in report.results if not result.passed]
    assert "at: expected true, seen false" in failed.differences
    assert len(failed.differences) < 6


def test_what_was_not_seen_is_listed(test: Test) -> None:
    """Conditions of the card count only where there is one."""
    report = test(FIRES)

    assert [(each.place.line, str(each)) for each in report.uncovered] == [
        (
            12,
            "Idiopathic inflammatory myopathy other than inclusion body myositis: "
            "never false, never unknown",
        ),
        (21, "Interstitial lung disease: never true, never false"),
    ]
    assert (report.seen, report.to_see) == (8, 12)
    assert str(report.coverage) == "66.6"


def test_where_a_card_asks_whether_something_is_known_true_and_false_are_one(folder: Path) -> None:
    """A sentence for what is not known is covered by two cases: known, and not known."""
    file = folder / "low-saturation.yaml"
    cases = folder / "low-saturation.test.yaml"
    asked = "when: {unknown: finding.interstitial_lung_disease}"
    file.write_text(RULE.replace("when: finding.interstitial_lung_disease", asked), "utf-8")
    known = FIRES.replace(
        "    expect", "      finding.interstitial_lung_disease: false\n    expect"
    )
    try:
        rules = load_rules(folder)
        cases.write_text(f"rule: low-saturation\ncases:\n{FIRES}", "utf-8")
        once = run(rules, folder, EXAMPLES)
        cases.write_text(f"rule: low-saturation\ncases:\n{FIRES}{known}", "utf-8")
        twice = run(rules, folder, EXAMPLES)
    finally:
        file.write_text(RULE, "utf-8")
        cases.unlink()

    assert "Interstitial lung disease: never true, never false" in map(str, once.uncovered)
    assert not any("Interstitial" in str(each) for each in twice.uncovered)


# --- reports and the command ---------------------------------------------------------------------


def test_the_junit_report_has_a_suite_for_each_rule(test: Test) -> None:
    """Counts, failures with their text, and problems of test files as errors."""
    report = test(FIRES.replace("91", "92.5") + "  - {name: b, expect: fires, fact: {}}\n")
    failing = test(FIRES.replace("91", "92.5").replace("low\n", '"a \\u0001 b"\n'))

    root = ElementTree.fromstring(to_junit(report))
    failed = ElementTree.fromstring(to_junit(failing))

    assert {s.get("name"): s.get("errors") for s in root} == {
        "test files": "1",
        "low-saturation": "0",
    }
    (suite,) = failed
    assert (suite.get("tests"), suite.get("failures")) == ("3", "1")
    assert next(case.get("name") for case in suite) == "a \ufffd b"
    failure = failed.find(".//failure")
    assert failure is not None
    assert failure.get("message") == "expected fires, seen silent"
    assert "SpO2 < 92\u202f%: no" in (failure.text or "")


def test_the_command_passes_and_counts(folder: Path, tmp_path: Path) -> None:
    """Results on stdout, exit status 0, and JUnit where asked for."""
    written = tmp_path / "results.xml"
    result = CliRunner().invoke(
        app,
        ["rules", "test", str(CHECKOUT / "rules"), "--coverage", "100", "--junit", str(written)],
    )

    assert result.exit_code == 0, result.output
    assert re.search(r"^\d+ cases and \d+ boundaries of \d+ rules: 0 failed$", result.stdout, re.M)
    assert ElementTree.parse(written).getroot().get("failures") == "0"


@pytest.mark.parametrize(
    "case, options, said",
    [
        (FIRES, ["--coverage", "67"], "66.6 % is less than the 67 %"),
        (FIRES.replace("91", "93"), [], "low-saturation.test.yaml:4:5 FAILED"),
        ("  - {name: a, expect: no}\n", [], "low-saturation.test.yaml:3:15 wrong-expectation"),
    ],
)
def test_the_command_fails_and_says_why(
    folder: Path, case: str, options: list[str], said: str
) -> None:
    """A failing case, a problem and too little coverage each end with exit status 1."""
    file = folder / "low-saturation.test.yaml"
    file.write_text(f"rule: low-saturation\ncases:\n{case}", "utf-8")
    try:
        result = CliRunner().invoke(app, ["rules", "test", str(folder), *options])
    finally:
        file.unlink()

    assert result.exit_code == 1
    assert said in result.output


# --- drafts ---------------------------------------------------------------------------------------


@pytest.fixture(params=["draft", "testing"])
def unfinished(tmp_path: Path, folder: Path, request: pytest.FixtureRequest) -> Path:
    """That one rule, not active yet."""
    made = shutil.copytree(folder, tmp_path / "rules")
    text = RULE.replace("status: active", f"status: {request.param}")
    assert text != RULE
    (made / "low-saturation.yaml").write_text(text, "utf-8")
    return made


@pytest.mark.parametrize(("days", "exit_code"), [(15, 0), (13, 1)])
def test_drafts_are_tried_by_the_command(unfinished: Path, days: int, exit_code: int) -> None:
    """Their cases are run as if they were active, and one that fails makes the command fail."""
    cases = FIRES.replace("methylprednisolone: 15", f"methylprednisolone: {days}")
    (unfinished / "low-saturation.test.yaml").write_text(
        f"rule: low-saturation\ncases:\n{cases}", "utf-8"
    )
    result = CliRunner().invoke(app, ["rules", "test", str(unfinished), "--coverage", "100"])

    assert result.exit_code == exit_code, result.output
    assert "1 cases and 2 boundaries of 1 rules" in result.stdout


def test_tests_of_drafts_are_left_aside_where_drafts_do_not_count(unfinished: Path) -> None:
    """What is served is not kept from being served by a draft whose test fails."""
    cases = FIRES.replace("expect: fires", "expect: silent")
    (unfinished / "low-saturation.test.yaml").write_text(
        f"rule: low-saturation\ncases:\n{cases}", "utf-8"
    )
    report = run(load_rules(unfinished), unfinished, EXAMPLES)

    assert report.passed
    assert report.results == ()
