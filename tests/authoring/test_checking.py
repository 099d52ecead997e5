"""`cds rules check` tells every problem of every file in one run, to people and programs."""

from __future__ import annotations

import json
import shutil
from datetime import date
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from cds import cli
from cds.authoring.checking import check_rules

BASE = Path(__file__).with_name("broken")
LOW, TAPER = "guidance/low-saturation.yaml", "guidance/taper.yaml"
DAY = date(2026, 11, 23)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of rules in order, named from the folder above it."""
    shutil.copytree(BASE / "rules", tmp_path / "rules")
    monkeypatch.chdir(tmp_path)
    return Path("rules")


def run(*arguments: str) -> Result:
    """Run `cds rules check` on the day of these tests."""
    return CliRunner().invoke(cli.app, ["rules", "check", "rules", "--as-of", str(DAY), *arguments])


def edit(folder: Path, file: str, before: str, after: str) -> None:
    """Replace a text that stands in a file once."""
    text = (folder / file).read_text(encoding="utf-8")
    assert text.count(before) == 1
    (folder / file).write_text(text.replace(before, after), encoding="utf-8")


def test_problems_of_all_files_are_told_in_one_run(folder: Path) -> None:
    """A rule, a shared file, the vocabulary and a test each tell what is wrong with them."""
    edit(folder, LOW, "observation.spo2.latest <", "observation.spo.latest <")
    edit(folder, TAPER, "indicator: info", "indicator: infos")
    edit(folder, "sources.yaml", "title: A guideline\n", "titel: A guideline\n")
    edit(folder, "vocabulary/measures.yaml", "instruments: [cmas]", "instruments: [cmass]")
    edit(folder, "guidance/taper.test.yaml", "rule: taper", "rule: tapper")
    ruleset, problems = check_rules(folder, DAY)
    assert ruleset is None
    assert {(p.place.file, p.code) for p in problems} >= {
        (LOW, "unknown-fact"),
        (TAPER, "wrong-type"),
        ("sources.yaml", "unknown-key"),
        ("vocabulary/measures.yaml", "unknown-id"),
        ("guidance/taper.test.yaml", "unknown-rule"),
    }
    assert problems == sorted(problems)


def test_rules_in_order_end_with_status_0(folder: Path) -> None:
    """The number of rules is told, and nothing else."""
    result = run()
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == "5 rules read from rules: no errors\n"


def test_an_error_is_shown_with_its_line(folder: Path) -> None:
    """The place, the code and the message, the line, a caret and the suggestion; status 1."""
    edit(folder, LOW, "observation.spo2.latest <", "observation.spo.latest <")
    result = run()
    assert result.exit_code == 1
    assert result.stdout == (
        f"rules/{LOW}:22:7 unknown-fact `observation.spo.latest` is not a fact that the "
        "vocabulary or a rule declares (did you mean `observation.spo2.latest`?)\n"
        "   22 |     - observation.spo.latest < parameters.low\n"
        "      |       ^ observation.spo2.latest\n\n"
    )
    assert result.stderr == (
        "1 error in rules; `cds rules check --explain CODE` says more of each\n"
    )


def test_warnings_fail_only_where_it_is_strict(folder: Path) -> None:
    """A warning leaves status 0, and gives status 1 with --strict."""
    (folder / "guidance/taper.test.yaml").unlink()
    result = run()
    assert result.exit_code == 0
    assert f"rules/{TAPER}:1:1 test-missing" in result.stdout
    assert result.stdout.endswith("5 rules read from rules: no errors, 1 warning\n")
    strict = run("--strict")
    assert strict.exit_code == 1
    assert strict.stderr == "1 warning in rules, with --strict\n"


def test_strict_has_nothing_against_rules_without_warnings(folder: Path) -> None:
    """Where nothing is to be said, --strict is status 0."""
    assert run("--strict").exit_code == 0


def test_the_day_decides_what_is_past(folder: Path) -> None:
    """--as-of is the day on which reviews are judged."""
    result = run("--as-of", "2028-01-01", "--format", "json")
    assert [row["code"] for row in json.loads(result.stdout)] == ["review-past"] * 5


@pytest.mark.parametrize("form", ["json", "sarif"])
@pytest.mark.parametrize("broken", [False, True], ids=["in order", "broken"])
def test_formats_for_programs_have_stdout_to_themselves(
    folder: Path, form: str, broken: bool
) -> None:
    """What is on stdout can be parsed, with errors and without; the status is the same."""
    if broken:
        edit(folder, TAPER, "indicator: info", "indicator: infos")
    result = run("--format", form)
    found = json.loads(result.stdout)
    rows = found if form == "json" else found["runs"][0]["results"]
    assert len(rows) == int(broken)
    assert result.exit_code == int(broken)


def test_a_site_is_checked_with_the_rules(folder: Path) -> None:
    """Problems of a site's files are told beside those of the rules, by their whole path."""
    site = shutil.copytree(BASE / "site", "site")
    edit(Path(site), "rules/ours.test.yaml", "rule: ours", "rule: yours")
    result = run("--site", "site")
    assert result.exit_code == 1
    assert "site/rules/ours.test.yaml:1:1 unknown-rule `yours` is no rule" in result.stdout


def test_a_draft_may_have_a_test(folder: Path) -> None:
    """A test of a rule that is not active yet is in order."""
    edit(folder, TAPER, "status: active", "status: draft")
    ruleset, problems = check_rules(folder, DAY)
    assert ruleset is not None
    assert problems == []


@pytest.mark.parametrize("status", ["draft", "testing"])
def test_a_draft_is_judged_as_if_it_were_active(folder: Path, status: str) -> None:
    """What is doubtful in a draft is told before it is active; it does not count before either."""
    edit(folder, TAPER, "status: active", f"status: {status}")
    edit(folder, TAPER, "certainty: low", "certainty: unverified")
    edit(
        folder,
        TAPER,
        "    - response.improved\n",
        "    - response.improved\n    - not: response.improved\n",
    )
    (folder / "guidance/taper.test.yaml").unlink()
    ruleset, problems = check_rules(folder, DAY)
    assert ruleset is not None
    assert "taper" not in [rule.id for rule in ruleset.every]
    assert {p.code for p in problems if p.place.file == TAPER} == {
        "never-true",
        "test-missing",
        "unverified",
    }


def test_a_draft_that_could_not_be_active_is_an_error(folder: Path) -> None:
    """Two rules that derive one fact are told while one of them is still a draft."""
    text = (folder / "criteria/improved.yaml").read_text(encoding="utf-8")
    text = text.replace("id: improved", "id: improved-anew").replace("active", "draft")
    (folder / "criteria/improved-anew.yaml").write_text(text, encoding="utf-8")
    ruleset, problems = check_rules(folder, DAY)
    assert ruleset is None
    assert {p.code for p in problems if p.severity == "error"} == {"duplicate-id"}


def test_a_file_that_nobody_would_read_is_an_error(folder: Path) -> None:
    """A rule in a file that ends in .yml is told, and not passed over."""
    (folder / TAPER).rename(folder / "guidance/taper.yml")
    _, problems = check_rules(folder, DAY)
    assert "guidance/taper.yml:1:1 unread-file is not read: end its name in .yaml" in [
        str(p) for p in problems
    ]
