"""Which points of the interface the tests show, by their names."""

import ast
import re
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
POINTS = range(1, 21)
"""The points of CDS Hooks 2.0 that a service must get right, each with tests of its name."""


def test_each_point_has_a_test_named_after_it() -> None:
    """`test_point_07_…` shows point 7, `test_points_17_and_18_…` both; none is without."""
    shown: set[int] = set()
    for file in TESTS.rglob("test_*.py"):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.FunctionDef):
                named = re.match(r"test_points?_(\d\d)_(?:and_(\d\d)_)?", node.name)
                shown |= {int(number) for number in (named.groups() if named else ()) if number}

    assert shown == set(POINTS)
