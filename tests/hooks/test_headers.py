from collections.abc import Callable
from datetime import date
from typing import Any

import httpx2
import pytest
from fastapi.testclient import TestClient

from cds.hooks import service
from cds.hooks.authentication import Authenticator
from cds.hooks.keys import KeySets
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


def access_of(answer: Any) -> dict[str, str]:
    """Return what an answer allows to pages of other origins."""
    return {n: v for n, v in answer.headers.items() if n.startswith("access-control-")}


def test_point_20_a_page_of_a_named_origin_may_call_with_a_token(page: TestClient) -> None:
    """The preflight allows the origin, its methods, Authorization and Content-Type, and no more."""
    for asked in ("authorization,content-type", "Authorization, Accept", "", "content-type"):
        allowed = preflight(page, ORIGIN, asked)
        assert allowed.status_code == 200
        assert access_of(allowed) == {
            "access-control-allow-origin": ORIGIN,
            "access-control-allow-methods": "GET, POST",
            "access-control-allow-headers": "Authorization, Content-Type",
            "access-control-expose-headers": "X-Rules-Version, X-Decision-Id, Retry-After",
            "access-control-max-age": "600",
        }
        assert allowed.headers["Vary"] == "Origin"


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
    refused = preflight(page, origin)
    assert refused.status_code == 400
    assert "CDS_CORS_ORIGINS" in refused.json()["issue"][0]["diagnostics"]
    answer = page.get("/cds-services", headers={"Origin": origin})
    assert answer.status_code == 200
    for given in (refused, answer, page.get("/cds-services")):
        assert access_of(given) == {}
        assert given.headers["Vary"] == "Origin"


def test_point_20_without_origins_no_page_may_call(ruleset: RuleSet) -> None:
    """By default nothing is allowed to pages of other origins."""
    client = client_of(ruleset)
    refused = preflight(client, ORIGIN)
    assert refused.status_code == 405
    answer = client.get("/cds-services", headers={"Origin": ORIGIN})
    assert access_of(refused) == access_of(answer) == {}


def test_point_20_any_origin_may_be_allowed_for_a_trial(ruleset: RuleSet) -> None:
    """With `*` the answer is the same to all of them."""
    client = client_of(ruleset, origins=["*"])
    for origin in (ORIGIN, "null"):
        allowed = preflight(client, origin)
        assert allowed.status_code == 200
        assert allowed.headers["Access-Control-Allow-Origin"] == "*"
    assert access_of(client.get("/cds-services")) == {}


def test_other_headers_and_methods_are_not_allowed(page: TestClient) -> None:
    """A page may not send headers or methods that the service has no use for."""
    assert preflight(page, ORIGIN, "x-forwarded-for").status_code == 400
    assert preflight(page, ORIGIN, "authorization, cookie").status_code == 400
    asked = {"Origin": ORIGIN, "Access-Control-Request-Method": "DELETE"}
    assert page.options(CALL, headers=asked).status_code == 400


def test_point_20_a_preflight_needs_no_token(ruleset: RuleSet) -> None:
    """A browser asks without a token; what is no preflight, and every other call, needs one."""
    authenticator = Authenticator([], KeySets(), never)
    client = client_of(ruleset, origins=[ORIGIN], authenticator=authenticator)
    assert preflight(client, ORIGIN).status_code == 200
    assert client.options(CALL, headers={"Origin": ORIGIN}).status_code == 401
    refused = client.post(CALL, content=b"{", headers={"Origin": ORIGIN})
    assert refused.status_code == 401
    assert refused.headers["Access-Control-Allow-Origin"] == ORIGIN


async def never(*_: object) -> bool:
    """Take no token for a new one."""
    return False


def test_every_answer_has_the_security_headers(
    ruleset: RuleSet, example: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Preflights, cards, refusals, what is not there, what is not allowed, and faults."""
    client = client_of(ruleset, origins=[ORIGIN])
    answers = [
        preflight(client, ORIGIN),
        preflight(client, "https://other.example.org"),
        client.post(CALL, json=example("rp-ild-mda5")),
        client.post(CALL, content=b"{"),
        client.get("/nothing"),
        client.delete("/cds-services"),
        client.get("/health/live"),
    ]
    monkeypatch.setattr(service, "_show_rules", None)
    answers.append(client.get("/rules"))

    assert [answer.status_code for answer in answers] == [200, 400, 200, 400, 404, 405, 200, 500]
    for answer in answers:
        assert SECURE.items() <= {name.title(): v for name, v in answer.headers.items()}.items()
        assert "Strict-Transport-Security" not in answer.headers


def test_point_01_only_https_is_asked_for_again_over_https(ruleset: RuleSet) -> None:
    """Behind TLS a browser is told to come back by HTTPS only; over HTTP that may not be said."""
    answer = client_of(ruleset, base="https://testserver").get("/cds-services")
    assert answer.headers["Strict-Transport-Security"] == "max-age=31536000"


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200),
        ("LOCALHOST:8000", 200),
        ("localhost.", 200),
        ("127.0.0.1:8000", 200),
        ("127.8.8.8", 200),
        ("[::1]:8000", 200),
        ("CDS.hospital.example:443", 200),
        ("evil.example:8000", 421),
        ("localhost.evil.example", 421),
        ("evil.example@localhost", 421),
        ("127.0.0.1.evil.example", 421),
        ("localhost:8000:8000", 421),
        ("localhost/evil.example", 421),
        ("0.0.0.0", 421),
        ("2130706433", 421),
        ("[::ffff:8.8.8.8]", 421),
        ("[localhost]", 421),
        ("", 421),
    ],
)
def test_only_names_of_this_machine_and_those_that_are_listed_are_answered(
    ruleset: RuleSet, host: str, status: int
) -> None:
    """A page that makes its own name lead to loopback is told nothing, whatever it asks for."""
    client = client_of(ruleset, hosts=["cds.hospital.example"])
    for path in ("/cds-services", "/rules", "/openapi.json"):
        answer = client.get(path, headers={"Host": host})
        assert answer.status_code == status
        if status == 421:
            assert "CDS_HOST_NAMES" in answer.json()["issue"][0]["diagnostics"]
            assert answer.headers["Cache-Control"] == "no-store"


def test_probes_may_call_by_any_name(ruleset: RuleSet) -> None:
    """An orchestrator calls by addresses that nobody can list, and is told nothing of patients."""
    client = client_of(ruleset, hosts=["cds.hospital.example"])

    assert client.get("/health/live", headers={"Host": "10.1.2.3:8000"}).status_code == 200


def test_of_two_names_neither_is_believed(ruleset: RuleSet) -> None:
    """Which of them counts would be a guess."""
    client = client_of(ruleset, hosts=[])
    twice = [("Host", "localhost"), ("Host", "evil.example")]
    assert client.get("/cds-services", headers=twice[:1]).status_code == 200
    assert client.get("/cds-services", headers=httpx2.Headers(twice)).status_code == 421


def test_by_which_name_it_is_called_makes_no_difference_unless_names_are_given(
    ruleset: RuleSet,
) -> None:
    """With authentication the audience of a token says it."""
    answer = client_of(ruleset).get("/cds-services", headers={"Host": "cds.hospital.example"})
    assert answer.status_code == 200
