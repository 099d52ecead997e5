"""Problems of rule files as people, programs, editors and CI read them: text, JSON, SARIF 2.1.0."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from rich.cells import cell_len
from rich.text import Text

from cds.authoring.codes import CODES, Code
from cds.located import Problem

WIDTH = 80
"""Columns; a line of a file that is longer is shown in part."""

_STYLES = {"error": "bold red", "warning": "bold yellow"}
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_SUGGESTED = re.compile(r"\(did you mean `([^`]*)`\?\)")


def name_of(problem: Problem, folder: Path) -> str:
    """The path of a problem's file as it can be opened from here; a site's are whole paths."""
    file = folder if problem.place.file == str(folder) else folder / problem.place.file
    here = Path.cwd()
    return str(file.relative_to(here) if file.is_relative_to(here) else file)


# --- text ----------------------------------------------------------------------------------------


BRIEF = frozenset({"unverified"})
"""Codes of what is known and stays so: told after all others, each in one line."""


def by_weight(problem: Problem) -> tuple[bool, Problem]:
    """The order in which people read problems: by place, what only stays in view last."""
    return problem.code in BRIEF, problem


def as_text(problem: Problem, file: str, width: int = WIDTH) -> Text:
    """``file:line:column CODE message``; below it the line, and a caret under the column.

    ``file`` is where it can be opened from here. A suggestion stands beside the caret, and a blank
    line follows it.
    """
    place = problem.place
    text = Text(_clean(f"{file}:{place.line}:{place.column} "))
    text.append(problem.code, _STYLES[problem.severity])
    text.append(_clean(f" {problem.message}"))
    line = None if problem.code in BRIEF else _line(Path(file), place.line)
    if line is None:
        return text
    text.append("\n")
    gutter = f"{place.line:5} | "
    shown, column = _window(line, place.column, width - len(gutter))
    text.append(gutter, "dim")
    text.append(f"{shown}\n")
    text.append(" " * (len(gutter) - 2) + "| ", "dim")
    text.append(" " * cell_len(shown[:column]) + "^", _STYLES[problem.severity])
    suggested = _SUGGESTED.search(problem.message)
    if suggested is not None:
        text.append(_clean(f" {suggested[1]}"), "green")
    text.append("\n")
    return text


def _line(path: Path, number: int) -> str | None:
    """A line of a file; None of what is empty, or no file that can be read."""
    try:
        lines = path.read_bytes().decode("utf-8", "replace").splitlines()
    except OSError:
        return None
    line = lines[number - 1] if number <= len(lines) else ""
    return line if line.strip() else None


def _window(line: str, column: int, width: int) -> tuple[str, int]:
    """The part of a line around a column (from 1), and where in it the column is (from 0)."""
    at = min(column - 1, len(line))
    start = 0 if len(line) <= width or at < width - 20 else at - 20
    shown = line[start : start + width]
    if start:
        shown = f"…{shown[1:]}"
    if start + width < len(line):
        shown = f"{shown[:-1]}…"
    return _clean(shown), at - start


def _clean(text: str) -> str:
    """Text without what would steer a terminal; each character stays one."""
    return _CONTROLS.sub(lambda c: " " if c[0] == "\t" else "\ufffd", text)


# --- JSON ----------------------------------------------------------------------------------------


def as_json(problems: Sequence[Problem], files: Sequence[str]) -> str:
    """A JSON array with one problem a line; ``files`` are where each can be opened from here."""
    rows = [
        {
            "file": file,
            "line": problem.place.line,
            "column": problem.place.column,
            "code": problem.code,
            "severity": problem.severity,
            "message": problem.message,
            "suggestion": found[1] if (found := _SUGGESTED.search(problem.message)) else None,
        }
        for problem, file in zip(problems, files, strict=True)
    ]
    return (
        "[\n" + ",\n".join(json.dumps(row, ensure_ascii=False) for row in rows) + "\n]"
        if rows
        else "[]"
    )


# --- SARIF ---------------------------------------------------------------------------------------


def as_sarif(problems: Sequence[Problem], files: Sequence[str]) -> str:
    """A log in SARIF 2.1.0, as GitHub, GitLab and editors take it.

    Paths are relative to the present folder, as URIs; columns count characters.
    """
    codes = list(dict.fromkeys(problem.code for problem in problems))
    driver: dict[str, Any] = {
        "name": "cds rules check",
        "rules": [_rule(CODES[code]) if code in CODES else {"id": code} for code in codes],
    }
    results = [
        {
            "ruleId": problem.code,
            "ruleIndex": codes.index(problem.code),
            "level": problem.severity,
            "message": {"text": problem.message},
            "locations": [
                {
                    "physicalLocation": {
                        "artifactLocation": {"uri": _uri(file)},
                        "region": {
                            "startLine": problem.place.line,
                            "startColumn": problem.place.column,
                        },
                    }
                }
            ],
        }
        for problem, file in zip(problems, files, strict=True)
    ]
    log = {
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [
            {
                "tool": {"driver": driver},
                "columnKind": "unicodeCodePoints",
                "results": results,
            }
        ],
    }
    return json.dumps(log, indent=2, ensure_ascii=False)


def _rule(code: Code) -> dict[str, Any]:
    return {
        "id": code.id,
        "shortDescription": {"text": code.title},
        "fullDescription": {"text": code.why},
        "help": {"text": code.page, "markdown": code.page},
        "defaultConfiguration": {"level": code.severity},
    }


def _uri(file: str) -> str:
    path = Path(file)
    return path.as_uri() if path.is_absolute() else quote(path.as_posix())
