"""Calls the service with whatever its own description allows, and some that it does not."""

import json
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from cds.advice import load_rules
from cds.hooks.service import create_app
from tests.hooks.conformance import faults

CHECKOUT = Path(__file__).resolve().parents[2]

# The same calls each time, so that a failure is one that everybody sees.
bounded = settings(
    derandomize=True,
    max_examples=40,
    deadline=None,
    database=None,
    phases=(Phase.explicit, Phase.generate),
    suppress_health_check=list(HealthCheck),
)


# Read when tests are collected, because there is a test for each operation that it describes.
app = create_app(load_rules(CHECKOUT / "rules"), lambda: date(2026, 11, 16))
interface = schemathesis.openapi.from_asgi("/openapi.json", app)


@interface.parametrize()
@bounded
def test_whatever_is_called_is_answered_as_described(case: schemathesis.Case[Any]) -> None:
    """No call fails the service; each answer has a status, type, headers and body it declares."""
    case.call_and_validate(
        checks=[
            not_a_server_error,
            status_code_conformance,
            content_type_conformance,
            response_headers_conformance,
            response_schema_conformance,
        ]
    )


# --- draft orders --------------------------------------------------------------------------------

SIGNING = json.loads(
    (CHECKOUT / "fhir_examples/methotrexate-ordered-with-ild.request.json").read_text("utf-8")
)

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["resourceType", "id", "coding", "text", "reference", "subject", "x"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=8,
)

further_drafts = st.fixed_dictionaries(
    {
        "resourceType": st.sampled_from(
            ["MedicationRequest", "ServiceRequest", "Bundle", "Patient", "Medication"]
        )
    },
    optional={
        "id": st.sampled_from(["a", "methotrexate-ild-methotrexate-draft"]) | anything,
        "status": st.sampled_from(["draft", "active", "cancelled"]) | anything,
        "subject": st.sampled_from([{"reference": "Patient/methotrexate-ild"}]) | anything,
        "medicationCodeableConcept": st.sampled_from([{"text": "rituximab"}]) | anything,
        "dosageInstruction": anything,
        "entry": anything,
    },
)


def call(hook: str, context: Any) -> Any:
    """Call the service of a hook about the example, with another context."""
    request = SIGNING | {"hook": hook, "context": context}
    return TestClient(app).post(f"/cds-services/myositis-{hook}", content=json.dumps(request))


@given(further=st.lists(further_drafts | anything, min_size=1, max_size=3), first=st.booleans())
@bounded
def test_what_stands_beside_a_draft_never_hides_it(further: list[Any], first: bool) -> None:
    """A call with other drafts, of whatever kind, is refused or has the card about the first."""
    drafts = SIGNING["context"]["draftOrders"]
    entries = [{"resource": resource} for resource in further]
    both = [*entries, *drafts["entry"]] if first else [*drafts["entry"], *entries]
    named = [r.get("id") for r in further if isinstance(r, dict)]
    answer = call("order-sign", SIGNING["context"] | {"draftOrders": drafts | {"entry": both}})

    assert answer.status_code in (200, 400, 412)
    if answer.status_code == 200:
        indicators = {card["indicator"] for card in answer.json()["cards"]}
        # Two drafts of one id contradict each other, and the card is that neither can be read.
        named_twice = "methotrexate-ild-methotrexate-draft" in named
        assert indicators & ({"warning", "info"} if named_twice else {"warning"})


@pytest.mark.parametrize("hook", ["order-select", "order-sign"])
@given(orders=anything, selections=anything)
@bounded
def test_no_draft_orders_fail_the_service(hook: str, orders: Any, selections: Any) -> None:
    """What is no Bundle of drafts is refused, and the refusal is one that the interface has."""
    context = SIGNING["context"] | {"draftOrders": orders, "selections": selections}
    answer = call(hook, context)

    assert answer.status_code == 400
    assert faults("operation-outcome", answer.json()) == []
