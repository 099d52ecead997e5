"""Problems as people, programs, editors and CI read them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cds.authoring.codes import CODES
from cds.authoring.problem_formats import as_json, as_sarif, as_text, by_weight, name_of
from cds.located import Place, Problem, Severity


def problem(
    line: int = 2,
    column: int = 7,
    code: str = "unknown-fact",
    message: str = "`x` is no fact (did you mean `y`?)",
    severity: Severity = "error",
) -> Problem:
    """A problem of the file a.yaml."""
    return Problem(Place("a.yaml", line, column), code, message, severity)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file with a problem on its second line."""
    path = tmp_path / "a.yaml"
    path.write_text("when:\n    - x\n", encoding="utf-8")
    return path


def test_text_shows_the_line_the_column_and_the_suggestion(file: Path) -> None:
    """file:line:column CODE message, then the line with a caret and what to write."""
    assert as_text(problem(), str(file)).plain == (
        f"{file}:2:7 unknown-fact `x` is no fact (did you mean `y`?)\n"
        "    2 |     - x\n"
        "      |       ^ y\n"
    )


def test_text_of_what_stays_in_view_is_one_line(file: Path) -> None:
    """What is unverified takes one line, and comes after everything else."""
    known = problem(line=1, column=1, code="unverified", message="m", severity="warning")
    assert as_text(known, str(file)).plain == f"{file}:1:1 unverified m"
    assert sorted([known, problem()], key=by_weight) == [problem(), known]


@pytest.mark.parametrize(("line", "column"), [(1, 1), (9, 1)])
def test_text_without_a_line_to_show_is_the_message(line: int, column: int, tmp_path: Path) -> None:
    """Of an empty file, a folder, or a line that is not there, only the message is told."""
    (tmp_path / "a.yaml").write_text("", encoding="utf-8")
    for path in (tmp_path / "a.yaml", tmp_path, tmp_path / "none.yaml"):
        shown = as_text(problem(line, column), str(path)).plain
        assert shown == f"{path}:{line}:{column} unknown-fact `x` is no fact (did you mean `y`?)"


@pytest.mark.parametrize("column", [1, 40, 79, 150, 299, 300])
def test_a_long_line_is_shown_around_the_column(column: int, tmp_path: Path) -> None:
    """The excerpt fits into 80 columns, and the caret stands under its character."""
    text = "".join(chr(ord("a") + i % 26) for i in range(300))
    (tmp_path / "a.yaml").write_text(text, encoding="utf-8")
    shown = as_text(problem(1, column, message="m"), str(tmp_path / "a.yaml")).plain
    _, excerpt, caret, *_ = shown.split("\n")
    assert len(excerpt) <= 80
    assert excerpt[caret.index("^")] == text[column - 1]


def test_the_caret_stands_under_wide_letters_and_tabs(tmp_path: Path) -> None:
    """Letters that are two columns wide move the caret; a tab is shown as one space."""
    (tmp_path / "a.yaml").write_text("筋炎:\tx", encoding="utf-8")
    shown = as_text(problem(1, 5, message="m"), str(tmp_path / "a.yaml")).plain
    assert shown.split("\n")[1:3] == ["    1 | 筋炎: x", "      |       ^"]


def test_what_a_file_says_cannot_steer_the_terminal(tmp_path: Path) -> None:
    """Escape sequences in a line, a message or a name are shown and not obeyed."""
    (tmp_path / "a.yaml").write_text("a: \x1b[2Jx\n", encoding="utf-8")
    shown = as_text(problem(1, 1, message="\x1b[2J\nm"), str(tmp_path / "a.yaml")).plain
    assert "\x1b" not in shown
    assert len(shown.splitlines()) == 3


def test_letters_that_are_not_utf_8_are_shown_as_such(tmp_path: Path) -> None:
    """The line of a file in another encoding can be shown."""
    (tmp_path / "a.yaml").write_bytes(b"a: \xe9x\n")
    shown = as_text(problem(1, 4, message="m"), str(tmp_path / "a.yaml")).plain
    assert shown.split("\n")[1] == "    1 | a: \ufffdx"


def test_json_is_an_array_with_a_problem_a_line() -> None:
    """Each has file, line, column, code, severity, message and suggestion."""
    text = as_json([problem(), problem(message="m", severity="warning")], ["r/a.yaml"] * 2)
    first, second = json.loads(text)
    assert len(text.splitlines()) == 4
    assert first == {
        "file": "r/a.yaml",
        "line": 2,
        "column": 7,
        "code": "unknown-fact",
        "severity": "error",
        "message": "`x` is no fact (did you mean `y`?)",
        "suggestion": "y",
    }
    assert (second["severity"], second["suggestion"]) == ("warning", None)
    assert json.loads(as_json([], [])) == []


def test_sarif_has_what_readers_of_it_need() -> None:
    """The required properties of SARIF 2.1.0, each result with its rule, level and place."""
    problems = [problem(), problem(code="unverified", severity="warning"), problem(line=3)]
    log = json.loads(as_sarif(problems, ["a b/ä.yaml", "/x/a.yaml", "a b/ä.yaml"]))

    assert log["version"] == "2.1.0"
    assert log["$schema"].endswith("sarif-2.1.0.json")
    (run,) = log["runs"]
    assert run["columnKind"] == "unicodeCodePoints"
    driver = run["tool"]["driver"]
    assert driver["name"]
    rules = driver["rules"]
    assert [rule["id"] for rule in rules] == ["unknown-fact", "unverified"]
    for rule in rules:
        assert rule["shortDescription"]["text"] == CODES[rule["id"]].title
        assert rule["help"]["markdown"] == CODES[rule["id"]].page
        assert rule["help"]["text"]
    for result, each in zip(run["results"], problems, strict=True):
        assert rules[result["ruleIndex"]]["id"] == result["ruleId"] == each.code
        assert result["level"] == each.severity
        assert result["message"]["text"] == each.message
        (location,) = result["locations"]
        region = location["physicalLocation"]["region"]
        assert (region["startLine"], region["startColumn"]) == (each.place.line, each.place.column)
    uris = [
        r["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] for r in run["results"]
    ]
    assert uris == ["a%20b/%C3%A4.yaml", "file:///x/a.yaml", "a%20b/%C3%A4.yaml"]


def test_sarif_of_nothing_is_a_run_without_results() -> None:
    """A run in which nothing was found has an empty list, which clears earlier findings."""
    assert json.loads(as_sarif([], []))["runs"][0]["results"] == []


def test_files_are_named_as_they_can_be_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the present folder where they are in it, else by the whole path; a folder by itself."""
    monkeypatch.chdir(tmp_path)
    assert name_of(problem(), tmp_path / "rules") == "rules/a.yaml"
    assert name_of(problem(), Path("rules")) == "rules/a.yaml"
    assert name_of(problem(), Path("/elsewhere")) == "/elsewhere/a.yaml"
    assert name_of(Problem(Place("/site/site.yaml"), "blank", "m"), Path("rules")) == (
        "/site/site.yaml"
    )
    assert name_of(Problem(Place("rules"), "no-vocabulary", "m"), Path("rules")) == "rules"
