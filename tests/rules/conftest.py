from __future__ import annotations

import shutil
from collections.abc import Callable
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest

from cds.chart.chart import Chart, read_chart
from cds.chart.facts.declaration import Declaration, Evidence, Kind
from cds.chart.terms import Terms
from cds.chart.vocabulary import Number
from cds.fhir.bundles import Delivery
from cds.located import Document, read_document
from cds.rules.conditions import Condition
from cds.rules.nodes import Node, compile_node
from cds.rules.parsing import Scope, parse_condition
from cds.rules.reading import read_ruleset
from cds.rules.ruleset import RuleSet

REPOSITORY = Path(__file__).parents[2]

FACTS: dict[str, tuple[Kind, str]] = {
    "diagnosis.myositis": ("boolean", ""),
    "finding.lung": ("boolean", ""),
    "finding.heart": ("boolean", ""),
    "drug.pulse": ("event", ""),
    "observation.spo2": ("event", ""),
    "observation.spo2.latest": ("number", "%"),
    "observation.ck.multiple": ("number", ""),
    "treatment.days": ("number", "d"),
    "measure.a.improvement": ("number", "%"),
    "measure.b.improvement": ("number", "%"),
    "measure.c.improvement": ("number", "%"),
    "measure.a.worsening": ("number", "%"),
    "measure.a.current": ("boolean", ""),
    "measure.b.current": ("boolean", ""),
    "measure.c.current": ("boolean", ""),
}
"""The facts that conditions in these tests may name: kind and unit."""


def _declare(name: str, kind: Kind, unit: str) -> Declaration:
    return Declaration(
        name=name,
        kind=kind,
        unit=unit,
        title=f"<{name}>",
        read=lambda _: None,
        evidence=lambda _: (Evidence(f"Observation/{name}", "2026-01-01", name),),
    )


@pytest.fixture(scope="session")
def scope() -> Scope:
    """What names mean in the conditions of these tests."""
    return Scope(
        facts={name: _declare(name, kind, unit) for name, (kind, unit) in FACTS.items()},
        groups={
            "measures": ("measure.a", "measure.b", "measure.c"),
            "complications": ("finding.lung", "finding.heart"),
            "misspelt": ("finding.lung", "finding.haert"),
        },
        parameters={
            "least": Number(value=Decimal("20"), unit="%"),
            "recent": Number(value=Decimal("2"), unit="wk"),
        },
        behind={"finding.lung": {"severe": Number(value=Decimal("50"), unit="%")}},
    )


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str], Document]:
    """Write a rule file, and read it as a document."""

    def written(text: str) -> Document:
        path = tmp_path / "rule.yaml"
        path.write_text(text, encoding="utf-8")
        return read_document(path, "rule.yaml")

    return written


@pytest.fixture
def parse(
    write: Callable[[str], Document], scope: Scope
) -> Callable[[str], tuple[Condition | None, list[str]]]:
    """Parse the condition after ``when:``; it, and every problem as an author sees it."""

    def parsed(text: str) -> tuple[Condition | None, list[str]]:
        document = write(text)
        condition = parse_condition(document, ("when",), scope)
        return condition, [str(p) for p in document.problems]

    return parsed


@pytest.fixture
def node(
    parse: Callable[[str], tuple[Condition | None, list[str]]], scope: Scope
) -> Callable[[str], Node]:
    """Parse and compile a condition without problems."""

    def compiled(text: str) -> Node:
        condition, problems = parse(f"when: {text}")
        assert condition is not None, problems
        return compile_node(condition, scope.facts)

    return compiled


@pytest.fixture
def minimal(tmp_path: Path) -> Path:
    """A copy of the least folder of rules that is valid: one derived fact, one card."""
    return shutil.copytree(Path(__file__).with_name("minimal"), tmp_path / "rules")


@pytest.fixture(scope="session")
def shipped() -> RuleSet:
    """The rules that are shipped."""
    return read_ruleset(REPOSITORY / "rules")


def empty_chart(terms: Terms) -> Chart:
    """The chart of a patient of whom nothing was delivered."""
    return read_chart(Delivery(), {}, "1", terms, date(2026, 11, 23))


@pytest.fixture(scope="session")
def shipped_chart(shipped: RuleSet) -> Chart:
    """The chart of a patient of whom nothing was delivered, as the shipped rules read it."""
    return empty_chart(shipped.terms)
