"""Calls the service with whatever its own description allows, and some that it does not."""

import json
import tempfile
from collections.abc import Iterator
from datetime import date, datetime
from pathlib import Path
from typing import Any, get_args

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
from cds.hooks.authentication import Authenticator
from cds.hooks.clients import Client
from cds.hooks.keys import KeySets
from cds.hooks.service import create_app
from cds.rules.language import Hook
from cds.store.store import Place, open_store
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
ruleset = load_rules(CHECKOUT / "rules")
state = tempfile.TemporaryDirectory()
store = open_store(Place(Path(state.name)))
app = create_app(ruleset, lambda: date(2026, 11, 16), store=store)
interface = schemathesis.openapi.from_asgi("/openapi.json", app)
OPERATIONS = {
    f"{method.upper()} {path}"
    for path, operations in interface.raw_schema["paths"].items()
    for method in operations
}


async def never_used(issuer: str, jti: str, until: datetime) -> bool:
    """Take every token for a new one."""
    return True


CLIENT = Client(
    name="Hospital",
    issuer="https://ehr.example",
    audience=("https://cds.example",),
    jku="https://ehr.example/jwks.json",
    tenants=(),
)
guarded = create_app(
    ruleset, lambda: date(2026, 11, 16), Authenticator([CLIENT], KeySets(), never_used), store=store
)


@pytest.fixture(autouse=True, scope="module")
def closed_store() -> Iterator[None]:
    """Let go of the store at the end."""
    yield
    store.close()
    state.cleanup()


def test_every_operation_is_among_those_that_are_called() -> None:
    """Discovery, and of each hook the call and its feedback."""
    services = [f"/cds-services/myositis-{hook}" for hook in get_args(Hook)]
    posted = {f"POST {service}{what}" for service in services for what in ("", "/feedback")}
    assert {"GET /cds-services", *posted} == OPERATIONS


@interface.parametrize()
@bounded
def test_whatever_is_called_without_a_token_is_a_bare_401(case: schemathesis.Case[Any]) -> None:
    """Of no operation, and of no body, is more told to who is not known.

    Only OPTIONS is answered, with which browsers ask before they call, and which has no token.
    """
    if case.method == "OPTIONS":
        return
    answer = case.call(app=guarded)

    assert (answer.status_code, answer.content) == (401, b"")


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
