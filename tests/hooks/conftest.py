import json
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from typing import Any

import httpx2
import pytest
import structlog
from fastapi.testclient import TestClient
from structlog.testing import LogCapture

from cds.advice import load_rules
from cds.hooks.prefetch import Template, make_templates
from cds.hooks.service import create_app
from cds.rules.ruleset import RuleSet
from tests.hooks.conformance import check_answer

CHECKOUT = Path(__file__).resolve().parents[2]
AS_OF = date(2026, 11, 16)


@pytest.fixture(autouse=True)
def every_answer_conforms(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hold every answer of every test, in process or from a server, against the schemas.

    What is posted is said to be JSON, as every client says it, unless a test says otherwise.
    """
    send = httpx2.Client.send

    def checked(client: httpx2.Client, request: httpx2.Request, **options: Any) -> httpx2.Response:
        if request.method == "POST":
            request.headers.setdefault("Content-Type", "application/json")
        answer = send(client, request, **options)
        check_answer(request.method, request.url.path, answer.status_code, answer.content)
        return answer

    monkeypatch.setattr(httpx2.Client, "send", checked)


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
