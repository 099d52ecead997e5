"""Shows that each table and picture of ``docs/three-values.md`` is what the engine says."""

from __future__ import annotations

import importlib.util
import itertools
from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from pathlib import Path
from types import ModuleType
from xml.etree import ElementTree

import pytest

from cds.advice import load_rules
from cds.chart.chart import read_chart
from cds.chart.facts.declaration import Value
from cds.chart.quantities import UNKNOWN, Interval
from cds.fhir.bundles import RESOURCE_TYPES, Delivery
from cds.located import Place, parse_document
from cds.rules.conditions import Comparison, Constant, Count, Is
from cds.rules.nodes import Truth, compile_node
from cds.rules.parsing import Scope, parse_condition
from cds.rules.ruleset import RuleSet

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "three-values.md").read_text(encoding="utf-8")
WORDS: dict[Truth, str] = {True: "true", False: "false", None: "unknown"}
DAY = date(2026, 11, 16)
HERE = Place("", 1, 1)


def _script() -> ModuleType:
    """The script that draws the pictures, which is no part of a package."""
    spec = importlib.util.spec_from_file_location("draw", DOCS / "draw_three_values.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


draw = _script()


def rows(*head: str) -> list[list[str]]:
    """The rows of the table of the page that has this head."""
    first = f"| {' | '.join(head)} |\n"
    assert PAGE.count(first) == 1, first
    lines = PAGE.partition(first)[2].splitlines()[1:]
    table = itertools.takewhile(lambda line: line.startswith("|"), lines)
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table]


@pytest.fixture(scope="module")
def ruleset() -> Iterator[RuleSet]:
    """The shipped rules."""
    made = load_rules(DOCS.parent / "rules")
    yield made
    made.close()


def ask(condition: str, ruleset: RuleSet, delivered: frozenset[str]) -> Truth:
    """What the engine makes of a condition about a chart that holds nothing."""
    delivery = Delivery()
    delivery.delivered |= delivered
    chart = read_chart(delivery, {}, "nobody", ruleset.terms, DAY, None)
    document = parse_document(f"when: {condition}", "page")
    parsed = parse_condition(document, ("when",), Scope(ruleset.facts, ruleset.groups, {}))
    assert parsed is not None, document.problems
    node = compile_node(parsed, ruleset.facts)
    assert node.fact is not None
    return node.test({node.fact: ruleset.facts[node.fact].read(chart)})


def test_what_is_not_recorded_is_what_the_page_says(ruleset: RuleSet) -> None:
    """An empty chart that was delivered gives the answers of the table."""
    table = rows("what is asked, where everything was delivered and nothing is recorded", "answer")
    for condition, answer in table:
        truth = ask(condition.strip("`"), ruleset, frozenset(RESOURCE_TYPES))
        assert WORDS[truth] == answer, condition


def test_what_was_not_delivered_is_what_the_page_says(ruleset: RuleSet) -> None:
    """A chart of which nothing was delivered gives the answers of the table."""
    for condition, answer in rows("what is asked, where nothing was delivered", "answer"):
        assert WORDS[ask(condition.strip("`"), ruleset, frozenset())] == answer, condition


def test_numbers_compare_as_the_page_says() -> None:
    """Each score of the table is compared as it says, by every operator in its head."""
    for score, *answers in rows("score", "`>= 40`", "`> 40`", "`< 40`"):
        ends = [Decimal(end) for end in score.split(" to ")] if score != "not known" else []
        value: Value = Interval(ends[0], ends[-1]) if ends else UNKNOWN
        for operator, answer in zip((">=", ">", "<"), answers, strict=True):
            condition = Comparison("score", operator, Constant(Decimal(40), ""), HERE)  # type: ignore[arg-type]  # an operator
            truth = draw.truth_of(condition, {"score": value})
            assert WORDS[truth] == answer, (score, operator)


def test_counts_come_out_as_the_page_says() -> None:
    """So many members surely and so many perhaps give the answers of the table."""
    for sure, perhaps, at_least_3, at_most_2 in rows(
        "surely", "perhaps", "`at_least: 3`", "`at_most: 2`"
    ):
        truths: list[Truth] = [True] * int(sure) + [None] * int(perhaps)
        members: dict[str, Value] = {
            f"m{number}": truth
            for number, truth in enumerate([*truths, *[False] * (6 - len(truths))])
        }
        parts = tuple((name, Is(name, HERE)) for name in members)
        least = draw.truth_of(Count("at_least", 3, "six", parts, None, HERE), members)
        most = draw.truth_of(Count("at_most", 2, "six", parts, None, HERE), members)
        assert (WORDS[least], WORDS[most]) == (at_least_3, at_most_2), (sure, perhaps)


@pytest.mark.parametrize("name", sorted(draw.PICTURES))
def test_a_picture_is_what_the_engine_says(name: str) -> None:
    """Each picture is drawn anew from the engine's answers; where it differs, draw it again."""
    drawn = draw.PICTURES[name]()
    assert drawn == (DOCS / "images" / name).read_text(encoding="utf-8")
    assert ElementTree.fromstring(drawn).tag.endswith("svg")


def test_the_words_under_the_pictures_are_what_they_show() -> None:
    """The alternative texts tell the answers that the engine gives of the pictures' examples."""
    numbers = [
        WORDS[draw.reaches(Decimal(a), Decimal(b), draw.THRESHOLD)] for _, a, b in draw.NUMBERS
    ]
    counts = [WORDS[draw.at_most(draw.MOST, members)] for members in draw.COUNTS]
    assert numbers == ["true", "true", "false", "unknown"]
    assert counts == ["true", "true", "unknown", "false"]
    terms = draw.terms_of_example()
    low, high = (sum(getattr(points, end) for _, points, _ in terms) for end in ("low", "high"))
    assert (low, high) == (25, Decimal("57.5"))
    assert [(points.low, most) for _, points, most in terms][:2] == [(15, 20), (5, 10)]
