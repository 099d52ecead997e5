"""What conditions can be is found by trying; where that is too much, everything is possible."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from cds.authoring.possible import ANY, Possible, bounds_of
from cds.located import read_document
from cds.rules.nodes import Node, compile_node
from cds.rules.parsing import Scope, parse_condition
from cds.rules.reading import read_ruleset
from cds.rules.ruleset import RuleSet

BASE = Path(__file__).with_name("broken") / "rules"


@pytest.fixture(scope="module")
def ruleset() -> RuleSet:
    """The rules of the examples."""
    return read_ruleset(BASE)


@pytest.fixture(scope="module")
def possible(ruleset: RuleSet) -> Possible:
    """What is possible by these rules."""
    return Possible(ruleset.facts, bounds_of(ruleset.facts, ruleset.terms.vocabulary))


def node(text: str, ruleset: RuleSet, folder: Path) -> Node:
    """A condition as it is written in a rule."""
    path = folder / "when.yaml"
    path.write_text(f"when: {text}\n", encoding="utf-8")
    document = read_document(path)
    condition = parse_condition(
        document, ("when",), Scope(ruleset.facts, ruleset.groups, parameters={})
    )
    assert condition is not None, document.problems
    return compile_node(condition, ruleset.facts)


X, HEART = "finding.lung_disease", "finding.myocarditis"
SPO2, AGE = "observation.spo2.latest", "patient.age"
TAKEN = "observation.spo2"
KNOWN, NEVER, ALWAYS = {True, False}, {False, None}, {True, None}


@pytest.mark.parametrize(
    ("text", "truths"),
    [
        (X, ANY),
        (f"{{unknown: {X}}}", KNOWN),
        (f"{{unknown: {{unknown: {X}}}}}", {False}),
        (f"{{all: [{X}, {{not: {X}}}]}}", NEVER),
        (f"{{any: [{X}, {{not: {X}}}]}}", ALWAYS),
        (f"{{any: [{X}, {{not: {X}}}, {{unknown: {X}}}]}}", ALWAYS),
        (f"{{all: [{X}, {{unknown: {X}}}]}}", {False}),
        (f"{{all: [{X}, {{not: {HEART}}}]}}", ANY),
        (f"{{all: [{SPO2} < 92 %, {SPO2} >= 92 %]}}", NEVER),
        (f"{{all: [{SPO2} <= 92 %, {SPO2} >= 92 %]}}", ANY),
        (f"{{all: [{SPO2} <= 92 %, {SPO2} >= 92 %, {SPO2} != 92 %]}}", NEVER),
        (f"{{any: [{SPO2} < 92 %, {SPO2} > 90 %]}}", ALWAYS),
        (f"{{any: [{SPO2} < 92 %, {SPO2} > 92 %]}}", ANY),
        (f"{SPO2} > 100 %", NEVER),
        (f"{SPO2} >= 100 %", ANY),
        (f"{SPO2} >= 0 %", ALWAYS),
        (f"{AGE} < 0 a", NEVER),
        (f"{AGE} <= 0 a", ANY),
        (f"{TAKEN} within -1 d", NEVER),
        (f"{{all: [{TAKEN} within 3 d, {{not: {TAKEN} within 7 d}}]}}", NEVER),
        (f"{{all: [{TAKEN} within 7 d, {{not: {TAKEN} within 3 d}}]}}", ANY),
        ("{at_least: 0, of: complications, where: it}", {True}),
        ("{at_most: 2, of: complications, where: it}", {True}),
        ("{exactly: 2, of: complications, where: it}", ANY),
        (f"{{all: [{{exactly: 2, of: complications, where: it}}, {{not: {X}}}]}}", NEVER),
        (f"{{all: [{{any: [{X}, {HEART}]}}, {{not: {X}}}, {{not: {HEART}}}]}}", NEVER),
    ],
)
def test_truths(
    text: str, truths: set[bool | None], ruleset: RuleSet, possible: Possible, tmp_path: Path
) -> None:
    """Contradictions, what leaves no other case, and bounds of facts are seen; nothing else is."""
    found = possible.truths(node(text, ruleset, tmp_path))
    decided = {True, False}
    assert found & decided == truths & decided


@pytest.mark.parametrize(
    ("given", "text", "implied"),
    [
        ([X, HEART], X, True),
        ([X], HEART, False),
        ([X], f"{{any: [{X}, {HEART}]}}", True),
        ([X, HEART], f"{{all: [{HEART}, {X}]}}", True),
        ([X], f"{{not: {{unknown: {X}}}}}", True),
        ([f"{SPO2} < 88 %"], f"{SPO2} < 92 %", True),
        ([f"{SPO2} < 92 %"], f"{SPO2} < 88 %", False),
        ([f"{SPO2} == 88 %"], f"{SPO2} != 92 %", True),
        ([f"{TAKEN} within 3 d"], f"{TAKEN} within 7 d", True),
        ([f"{TAKEN} within 7 d"], f"{TAKEN} within 3 d", False),
        ([X], "{at_least: 1, of: complications, where: it}", True),
        ([X], "{at_least: 2, of: complications, where: it}", False),
        ([f"{{not: {X}}}"], f"{{unknown: {X}}}", False),
    ],
)
def test_implies(
    given: list[str],
    text: str,
    implied: bool,
    ruleset: RuleSet,
    possible: Possible,
    tmp_path: Path,
) -> None:
    """A condition follows from others where it is true in every case in which they are."""
    nodes = [node(each, ruleset, tmp_path) for each in given]
    assert possible.implies(nodes, node(text, ruleset, tmp_path)) is implied


def test_what_is_too_much_to_try_is_held_to_be_possible(
    ruleset: RuleSet, possible: Possible, tmp_path: Path
) -> None:
    """Of a contradiction that takes too many cases nothing is said, rather than something wrong."""
    facts = [name for name, declared in ruleset.facts.items() if declared.kind == "boolean"]
    assert len(facts) >= 10
    one = "{any: [" + ", ".join(facts) + "]}"
    none = ", ".join(f"{{not: {fact}}}" for fact in facts)
    tangled = node(f"{{all: [{one}, {none}]}}", ruleset, tmp_path)
    assert True in possible.truths(tangled)


def test_measures_have_no_bounds_that_nobody_declared(tmp_path: Path) -> None:
    """Where an Observation has no range any threshold can be met."""
    folder = shutil.copytree(BASE, tmp_path / "rules")
    path = folder / "vocabulary/measures.yaml"
    text = path.read_text(encoding="utf-8")
    ranged = "    range: {low: 0, high: 100, source: guideline-2022}\n"
    path.write_text(text.replace(ranged, ""), encoding="utf-8")
    ruleset = read_ruleset(folder)
    bounds = bounds_of(ruleset.facts, ruleset.terms.vocabulary)
    assert SPO2 not in bounds
    above = node(f"{SPO2} > 100 %", ruleset, tmp_path)
    assert True in Possible(ruleset.facts, bounds).truths(above)
