"""Each code is explained, and what is explained is so."""

from __future__ import annotations

import ast
import shutil
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cds import cli
from cds.authoring.checking import check_rules
from cds.authoring.codes import CODES, Code, pages
from cds.authoring.formatting import format_file
from cds.hooks.prefetch import make_templates
from cds.hooks.reloading import prepare
from cds.located import FilesInvalid, Problem
from cds.ruletests import run

ROOT = Path(__file__).parents[2]
BASE = Path(__file__).with_name("broken")
DAY = date(2026, 11, 23)


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """A copy of the rules and the site of the examples, in which nothing is wrong."""
    return shutil.copytree(BASE, tmp_path / "base")


def file_of(code: Code, base: Path) -> Path:
    """The file of an example."""
    return base / code.file if code.file.startswith("site") else base / "rules" / code.file


def spoil(code: Code, base: Path) -> None:
    """Make the broken set of an example."""
    path = file_of(code, base)
    if code.broken is None:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    elif code.mended is None:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(code.broken.encode(code.encoding))
    else:
        text = path.read_text(encoding="utf-8")
        assert text.count(code.mended) == 1, "what is mended stands once in the rules as they are"
        path.write_bytes(text.replace(code.mended, code.broken).encode(code.encoding))


def told(code: Code, base: Path) -> list[Problem]:
    """What the command of a code says of the rules."""
    if code.told_by == "format":
        try:
            format_file(file_of(code, base))
        except FilesInvalid as fault:
            return list(fault.problems)
        return []
    if code.told_by == "service":
        try:
            prepare(base / "rules", None, ROOT / "fhir_examples", lambda _: None)
        except FilesInvalid as fault:
            return list(fault.problems)
        return []
    of_site = code.file.startswith("site") or (code.at_file or "").startswith("site")
    ruleset, problems = check_rules(base / "rules", DAY, base / "site" if of_site else None)
    if ruleset is not None and code.told_by == "test":
        problems += run(ruleset, base / "rules", ROOT / "fhir_examples").problems
    if ruleset is not None:
        try:
            make_templates(ruleset.terms.vocabulary)
        except FilesInvalid as fault:
            problems += fault.problems
    return problems


@pytest.mark.parametrize("site", [False, True], ids=["alone", "with a site"])
def test_the_rules_of_the_examples_are_sound(site: bool, base: Path) -> None:
    """As mended, no command has anything to say: what an example tells is of its one change."""
    ruleset, problems = check_rules(base / "rules", DAY, base / "site" if site else None)
    assert problems == []
    assert ruleset is not None
    report = run(ruleset, base / "rules", ROOT / "fhir_examples")
    assert report.passed, report


EXAMPLES = [code for code in CODES.values() if code.file]


@pytest.mark.parametrize("code", EXAMPLES, ids=[code.id for code in EXAMPLES])
def test_the_broken_example_is_told_at_its_line(code: Code, base: Path) -> None:
    """Each code is reported of its own example, with the severity that its page names."""
    spoil(code, base)
    problem = next(p for p in told(code, base) if p.code == code.id)
    assert problem.severity == code.severity
    if code.broken and code.at != "":
        file = base / "rules" / problem.place.file
        if code.at_file is not None:
            inner = "" if code.at_file.startswith("site") else "rules"
            assert file == base / inner / code.at_file
        else:
            assert file == file_of(code, base)
        line = file.read_text("utf-8", "replace").splitlines()[problem.place.line - 1].strip()
        expected = code.at or code.broken.strip().splitlines()[0].strip()
        assert expected in line


def calls(path: Path) -> Iterator[ast.Call]:
    """Every call in a module that files a problem."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            name = getattr(node.func, "attr", getattr(node.func, "id", ""))
            if name in ("report", "Problem", "_warning"):
                yield node


def code_of(call: ast.Call) -> ast.expr:
    """Where the code stands among the arguments."""
    name = getattr(call.func, "attr", getattr(call.func, "id", ""))
    return call.args[0 if name == "report" else 1]


def reported() -> set[str]:
    """Every code that the source can report."""
    codes = set()
    for path in (ROOT / "cds").rglob("*.py"):
        for call in calls(path):
            code = code_of(call)
            for each in (code.body, code.orelse) if isinstance(code, ast.IfExp) else (code,):
                if isinstance(each, ast.Constant):
                    codes.add(str(each.value))
                else:  # passed on by `Document.report` and `_warning` themselves
                    assert ast.unparse(each) == "code", f"{path}:{call.lineno}"
    return codes


def test_every_code_that_is_reported_is_explained_and_no_other() -> None:
    """Whatever a module may report has its page, and each page is of a code that is reported."""
    assert reported() == set(CODES)


def test_the_pages_are_those_of_the_codes() -> None:
    """docs/problems is as `python -m cds.authoring.codes docs/problems` writes it."""
    folder = ROOT / "docs/problems"
    found = {path.name: path.read_text(encoding="utf-8") for path in folder.iterdir()}
    assert found == pages()


@pytest.mark.parametrize("code", CODES.values(), ids=CODES)
def test_each_code_can_be_explained_in_the_terminal(code: Code) -> None:
    """The page of a code is what --explain prints."""
    result = CliRunner().invoke(cli.app, ["rules", "check", "--explain", code.id])
    assert result.exit_code == 0
    assert result.stdout.strip() == code.page.strip()
    assert code.why in result.stdout


def test_a_code_that_is_misspelt_is_not_explained() -> None:
    """The nearest code is named, with status 1."""
    result = CliRunner().invoke(cli.app, ["rules", "check", "--explain", "wrong-unt"])
    assert result.exit_code == 1
    assert result.stderr == "`wrong-unt` is no code of a problem (did you mean `wrong-unit`?)\n"
