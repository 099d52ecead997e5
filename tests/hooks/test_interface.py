import copy
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from fastapi.testclient import TestClient

from cds.hooks.interface import NAMES, describe_interface, read_schema
from cds.hooks.prefetch import Template
from cds.hooks.services import make_services
from cds.rules.ruleset import RuleSet
from tests.hooks.conformance import check_answer, faults

EXAMPLES = Path(__file__).resolve().parents[2] / "fhir_examples"
Json = dict[str, Any]

CARD: Json = {
    "uuid": "6f1d2f0a-6d1c-5d0f-9a44-0c1b7a5e2f61",
    "summary": "Consider",
    "indicator": "info",
    "source": {"label": "Source"},
}
SUGGESTION: Json = {
    "label": "Order",
    "actions": [
        {"type": "create", "description": "Draft", "resource": {"resourceType": "Basic", "id": "1"}}
    ],
}
OUTCOME: Json = {
    "card": "6f1d2f0a-6d1c-5d0f-9a44-0c1b7a5e2f61",
    "outcome": "accepted",
    "acceptedSuggestions": [{"id": "1"}],
    "outcomeTimestamp": "2026-11-16T10:00:00Z",
}


def changed(whole: Json, **of: Any) -> Json:
    """Return JSON with some members changed, and without those that are ``...``."""
    made = copy.deepcopy(whole) | of
    return {key: value for key, value in made.items() if value is not ...}


@pytest.mark.parametrize("name", NAMES)
def test_each_schema_is_one(name: str) -> None:
    """The schemas are valid JSON Schema 2020-12, and name themselves."""
    schema = read_schema(name)

    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema["$id"].endswith(f"/{name}.schema.json")
    assert schema["title"] and schema["description"]


@pytest.mark.parametrize(
    "card",
    [
        CARD,
        changed(CARD, summary="x" * 139, suggestions=[SUGGESTION], selectionBehavior="any"),
        changed(CARD, links=[{"label": "App", "url": "https://a.example", "type": "smart"}]),
    ],
)
def test_a_card_by_the_specification_passes(card: Json) -> None:
    """What the specification requires is enough, and what it allows is allowed."""
    assert faults("response", {"cards": [card]}) == []


@pytest.mark.parametrize(
    "card",
    [
        *(changed(CARD, **{key: ...}) for key in CARD),
        changed(CARD, uuid="card-1"),
        changed(CARD, summary="x" * 140),
        changed(CARD, summary=""),
        changed(CARD, detail=""),
        changed(CARD, detail=None),
        changed(CARD, indicator="hard-stop"),
        changed(CARD, source={"label": "S", "url": "source"}),
        changed(CARD, source={"label": "S", "topic": {"code": "1"}}),
        changed(CARD, links=[]),
        changed(CARD, links=[{"label": "L", "url": "/l", "type": "absolute"}]),
        changed(CARD, links=[{"label": "L", "url": "https://l.example", "type": "relative"}]),
        changed(
            CARD,
            links=[
                {"label": "L", "url": "https://l.example", "type": "absolute", "appContext": "a"}
            ],
        ),
        changed(CARD, suggestions=[]),
        changed(CARD, suggestions=[SUGGESTION]),
        changed(CARD, suggestions=[SUGGESTION], selectionBehavior="all"),
        changed(
            CARD,
            suggestions=[changed(SUGGESTION, isRecommended=True)] * 2,
            selectionBehavior="at-most-one",
        ),
        changed(
            CARD,
            suggestions=[{"label": "S", "actions": [{"type": "create", "description": "D"}]}],
            selectionBehavior="any",
        ),
        changed(
            CARD,
            suggestions=[{"label": "S", "actions": [{"type": "delete", "description": "D"}]}],
            selectionBehavior="any",
        ),
        changed(
            CARD,
            suggestions=[
                {
                    "label": "S",
                    "actions": [
                        {
                            "type": "create",
                            "description": "D",
                            "resource": {"resourceType": "Basic", "code": {}},
                        }
                    ],
                }
            ],
            selectionBehavior="any",
        ),
        changed(CARD, overrideReasons=[{"code": "1", "display": "No system"}]),
        changed(CARD, extension={}),
        changed(CARD, sumary="misspelt"),
    ],
)
def test_a_card_against_the_specification_does_not_pass(card: Json) -> None:
    """What is missing, empty, too long, unknown or misspelt is found."""
    assert faults("response", {"cards": [card]}) != []


@pytest.mark.parametrize(
    "outcome",
    [
        OUTCOME,
        changed(OUTCOME, outcome="overridden", acceptedSuggestions=...),
        changed(
            OUTCOME,
            outcome="overridden",
            acceptedSuggestions=...,
            overrideReason={"reason": {"code": "1"}, "userComment": "No"},
        ),
    ],
)
def test_feedback_by_the_specification_passes(outcome: Json) -> None:
    """A batch may name a card more than once, with or without a reason."""
    assert faults("feedback", {"feedback": [outcome, outcome]}) == []


@pytest.mark.parametrize(
    "content",
    [
        OUTCOME,
        [OUTCOME],
        {"feedback": OUTCOME},
        {"feedback": [changed(OUTCOME, acceptedSuggestions=...)]},
        {"feedback": [changed(OUTCOME, outcome="ignored")]},
        {"feedback": [changed(OUTCOME, outcomeTimestamp="16.11.2026")]},
        {"feedback": [changed(OUTCOME, card=...)]},
    ],
)
def test_feedback_against_the_specification_does_not_pass(content: Any) -> None:
    """Feedback is a list under its name, and each outcome says which, what and when."""
    assert faults("feedback", content) != []


@pytest.mark.parametrize(
    "change",
    [
        {"hook": ...},
        {"hookInstance": "1"},
        {"context": {"userId": "Practitioner/1"}},
        {"fhirAuthorization": {"access_token": "t"}},
        {"prefetch": {"patient": []}},
        {"hook": "order-sign"},
        {"hook": "order-select"},
    ],
)
def test_a_request_against_the_specification_does_not_pass(change: Json) -> None:
    """What a hook requires is required of its request."""
    request = json.loads((EXAMPLES / "rp-ild-mda5.request.json").read_text("utf-8"))

    assert faults("request", request | {"another": 1}) == []
    assert faults("request", changed(request, **change)) != []


@pytest.mark.parametrize(
    ("method", "path", "status", "content"),
    [
        ("GET", "/cds-services", 200, {"services": []}),
        ("POST", "/cds-services/x", 200, {"cards": [CARD, CARD]}),
        ("POST", "/cds-services/x", 200, {"cards": [changed(CARD, detail="")]}),
        ("POST", "/cds-services/x", 500, {"cards": []}),
        ("GET", "/elsewhere", 404, {"detail": "Not Found"}),
    ],
)
def test_an_answer_that_is_not_by_the_interface_fails_its_test(
    method: str, path: str, status: int, content: Json
) -> None:
    """Every answer in these tests is checked, so the check has to be able to fail."""
    with pytest.raises(AssertionError):
        check_answer(method, path, status, json.dumps(content).encode())


# --- OpenAPI -------------------------------------------------------------------------------------


def test_the_interface_is_served(client: TestClient) -> None:
    """Every service has its address, and each reference in the description leads somewhere."""
    described = client.get("/openapi.json").json()
    services = [each["id"] for each in client.get("/cds-services").json()["services"]]
    text = json.dumps(described)
    referred = {part.split('"')[0] for part in text.split('"#/components/schemas/')[1:]}

    assert described["openapi"] == "3.1.0"
    assert set(described["paths"]) >= {f"/cds-services/{id_}" for id_ in services}
    assert referred <= set(described["components"]["schemas"])
    assert "$defs" not in text
    assert client.get("/").json()["interface"] == "/openapi.json"


def test_feedback_and_authentication_are_described_where_they_are(
    ruleset: RuleSet, templates: tuple[Template, ...]
) -> None:
    """What is not served is not promised, and what is required is said."""
    services = make_services(ruleset, templates)
    bare = describe_interface(services, "1", feedback=False, authenticated=False)
    whole = describe_interface(services, "1", feedback=True, authenticated=True)
    address = "/cds-services/myositis-patient-view"

    assert f"{address}/feedback" not in bare["paths"]
    assert "security" not in bare
    assert f"{address}/feedback" in whole["paths"]
    assert whole["security"] == [{"clientJwt": []}]
    assert "401" in whole["paths"][address]["post"]["responses"]
