from collections.abc import Callable
from datetime import date
from typing import Any

import pytest
from fastapi.testclient import TestClient

from cds.hooks import service
from cds.hooks.service import create_app
from cds.rules.ruleset import RuleSet

CALL = "/cds-services/myositis-patient-view"
ORIGIN = "https://ehr.example.org"
SECURE = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


def client_of(ruleset: RuleSet, *, base: str = "http://testserver", **given: Any) -> TestClient:
    """Serve the rules with what is given, and let faults be answered."""
    app = create_app(ruleset, lambda: date(2026, 11, 16), **given)
    return TestClient(app, base_url=base, raise_server_exceptions=False)


@pytest.fixture
def page(ruleset: RuleSet) -> TestClient:
    """Serve the rules to pages of one origin."""
    return client_of(ruleset, origins=[ORIGIN])


def preflight(client: TestClient, origin: str, headers: str = "authorization,content-type") -> Any:
    """Ask as a browser does before it lets a page call."""
    asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": headers}
    return client.options(CALL, headers={"Origin": origin, **asked})


def test_point_20_a_page_of_a_named_origin_may_call_with_a_token(page: TestClient) -> None:
    """The preflight allows the origin, POST, Authorization and Content-Type."""
    allowed = preflight(page, ORIGIN)
    assert allowed.status_code == 200
    assert allowed.headers["Access-Control-Allow-Origin"] == ORIGIN
    assert "POST" in allowed.headers["Access-Control-Allow-Methods"]
    named = allowed.headers["Access-Control-Allow-Headers"]
    assert {"Authorization", "Content-Type"} <= set(named.split(", "))
    assert "Access-Control-Allow-Credentials" not in allowed.headers


def test_point_20_the_page_can_read_the_answer_and_what_names_it(
    page: TestClient, example: Callable[[str], Any]
) -> None:
    """Cards, and the version of the rules and the decision beside them, reach the page."""
    answer = page.post(CALL, json=example("rp-ild-mda5"), headers={"Origin": ORIGIN})
    assert answer.json()["cards"]
    assert answer.headers["Access-Control-Allow-Origin"] == ORIGIN
    exposed = answer.headers["Access-Control-Expose-Headers"].split(", ")
    assert exposed == ["X-Rules-Version", "X-Decision-Id", "Retry-After"]
    assert answer.headers["X-Decision-Id"]


def test_point_20_a_page_can_read_why_it_was_refused(
    page: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Refusals and faults carry the origin too, or the page would see nothing but a failure."""

    def fail(*_: object) -> None:
        raise RuntimeError("Doe, Jane")

    refused = page.post(CALL, content=b"{", headers={"Origin": ORIGIN})
    monkeypatch.setattr(service, "_show_rules", fail)
    failed = page.get("/rules", headers={"Origin": ORIGIN})

    assert (refused.status_code, failed.status_code) == (400, 500)
    for answer in (refused, failed):
        assert answer.headers["Access-Control-Allow-Origin"] == ORIGIN
        assert answer.json()["resourceType"] == "OperationOutcome"
        assert "Jane" not in answer.text


@pytest.mark.parametrize(
    "origin", ["https://other.example.org", "http://ehr.example.org", "null", ORIGIN + ".evil.org"]
)
def test_point_20_no_other_origin_may(page: TestClient, origin: str) -> None:
    """A preflight from elsewhere is refused, and an answer is not given to the page."""
    assert preflight(page, origin).status_code == 400
    answer = page.get("/cds-services", headers={"Origin": origin})
    assert "Access-Control-Allow-Origin" not in answer.headers


def test_point_20_without_origins_no_page_may_call(ruleset: RuleSet) -> None:
    """By default nothing is allowed to pages of other origins."""
    client = client_of(ruleset)
    assert preflight(client, ORIGIN).status_code == 405
    answer = client.get("/cds-services", headers={"Origin": ORIGIN})
    assert "Access-Control-Allow-Origin" not in answer.headers


def test_other_headers_are_not_allowed(page: TestClient) -> None:
    """A page may not send headers that the service has no use for."""
    assert preflight(page, ORIGIN, "x-forwarded-for").status_code == 400


def test_every_answer_has_the_security_headers(
    ruleset: RuleSet, example: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cards, refusals, what is not there, what is not allowed, and faults."""
    client = client_of(ruleset)
    answers = [
        client.post(CALL, json=example("rp-ild-mda5")),
        client.post(CALL, content=b"{"),
        client.get("/nothing"),
        client.delete("/cds-services"),
        client.get("/health/live"),
    ]
    monkeypatch.setattr(service, "_show_rules", None)
    answers.append(client.get("/rules"))

    assert [answer.status_code for answer in answers] == [200, 400, 404, 405, 200, 500]
    for answer in answers:
        assert SECURE.items() <= {name.title(): v for name, v in answer.headers.items()}.items()
        assert "Strict-Transport-Security" not in answer.headers


def test_point_01_only_https_is_asked_for_again_over_https(ruleset: RuleSet) -> None:
    """Behind TLS a browser is told to come back by HTTPS only; over HTTP that may not be said."""
    answer = client_of(ruleset, base="https://testserver").get("/cds-services")
    assert answer.headers["Strict-Transport-Security"] == "max-age=31536000"
