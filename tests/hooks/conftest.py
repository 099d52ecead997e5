import json
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import structlog
from fastapi.testclient import TestClient
from structlog.testing import LogCapture

from cds.advice import load_rules
from cds.hooks.prefetch import Template, make_templates
from cds.hooks.service import create_app
from cds.rules.ruleset import RuleSet

CHECKOUT = Path(__file__).resolve().parents[2]
AS_OF = date(2026, 11, 16)


@pytest.fixture(scope="session")
def ruleset() -> RuleSet:
    """Read the rules that the project ships."""
    return load_rules(CHECKOUT / "rules")


@pytest.fixture(scope="session")
def templates(ruleset: RuleSet) -> tuple[Template, ...]:
    """Make the prefetch templates of the rules that the project ships."""
    return make_templates(ruleset.terms.vocabulary)


@pytest.fixture(scope="session")
def client(ruleset: RuleSet) -> TestClient:
    """Serve the rules on the day that the examples stand at."""
    return TestClient(create_app(ruleset, lambda: AS_OF), follow_redirects=False)


@pytest.fixture(scope="session")
def example() -> Callable[[str], Any]:
    """Read the request of an example patient, afresh at each call."""

    def read(case: str) -> Any:
        return json.loads((CHECKOUT / f"fhir_examples/{case}.request.json").read_bytes())

    return read


@pytest.fixture
def log() -> Iterator[LogCapture]:
    """Capture what is logged; ``entries`` holds it."""
    capture = LogCapture()
    structlog.configure(processors=[capture])
    yield capture
    structlog.reset_defaults()
