import re
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from prometheus_client import CollectorRegistry, generate_latest
from structlog.testing import LogCapture

from cds.fhir.bundles import Excluded
from cds.hooks import service
from cds.hooks.limits import Limits
from cds.hooks.metrics import Metrics, make_metrics_app, reason_of
from cds.hooks.service import create_app
from cds.rules.engine import EngineFault
from cds.rules.ruleset import EnginesDisagree, RuleSet

CALL = "/cds-services/myositis-patient-view"
CDS = Path(__file__).resolve().parents[2] / "cds"


@pytest.fixture
def counted(ruleset: RuleSet) -> TestClient:
    """Serve the rules with counts of their own."""
    app = create_app(ruleset, lambda: date(2026, 11, 16))
    return TestClient(app, raise_server_exceptions=False)


def samples(client: TestClient) -> dict[str, float]:
    """Return what Prometheus would read, the buckets of histograms and times of creation apart."""
    metrics: Metrics = client.app.state.metrics  # type: ignore[attr-defined]  # an ASGI app to it
    lines = generate_latest(metrics.registry).decode().splitlines()
    read = (line.rpartition(" ") for line in lines if not line.startswith("#"))
    return {
        name.removeprefix("myositis_cds_"): float(value)
        for name, _, value in read
        if "_bucket{" not in name and "_created{" not in name
    }


def test_calls_are_counted_by_service_and_status_and_timed(
    counted: TestClient, example: Callable[[str], Any]
) -> None:
    """Each answer counts once; services that do not exist count as one, whatever their names."""
    counted.post(CALL, json=example("rp-ild-mda5"))
    counted.post(CALL, content=b"{")
    counted.post("/cds-services/Doe-Jane", json={})
    counted.post("/cds-services/Doe-John", json={})

    found = samples(counted)
    assert found['calls_total{service="myositis-patient-view",status="200"}'] == 1
    assert found['calls_total{service="myositis-patient-view",status="400"}'] == 1
    assert found['calls_total{service="unknown",status="404"}'] == 2
    assert found['call_seconds_count{service="myositis-patient-view"}'] == 2
    assert found['call_seconds_sum{service="myositis-patient-view"}'] > 0


def test_cards_are_counted_by_rule_and_indicator(
    counted: TestClient, example: Callable[[str], Any]
) -> None:
    """Every card of the answers counts for the rule that it is of."""
    given = [counted.post(CALL, json=example("rp-ild-mda5")).json()["cards"] for _ in range(2)]

    found = samples(counted)
    rule = "pulse-for-rapidly-progressive-ild"
    assert found[f'cards_total{{indicator="critical",rule="{rule}"}}'] == 2
    counted_cards = sum(v for k, v in found.items() if k.startswith("cards_total"))
    assert counted_cards == sum(map(len, given))


def test_what_is_left_out_is_counted_by_kind_of_reason(
    counted: TestClient, example: Callable[[str], Any]
) -> None:
    """Kinds only, without a code, a date or a number of the patient's."""
    counted.post(CALL, json=example("real-world-mess"))

    kinds = {k: v for k, v in samples(counted).items() if k.startswith("exclusions_total")}
    assert kinds
    assert 'exclusions_total{reason="other"}' not in kinds
    assert all(re.fullmatch(r'exclusions_total\{reason="[a-z ]+"\}', kind) for kind in kinds)


def reasons_in_the_code() -> list[str]:
    """Return how the reasons begin for which chart and reader leave something out."""
    sources = [*(CDS / "chart").glob("*.py"), CDS / "fhir" / "bundles.py"]
    text = "\n".join(file.read_text(encoding="utf-8") for file in sources)
    return re.findall(r'raise (?:Unusable|_NotUsed|Ambiguous)\(\s*f?"((?:it|its) [^"{]*)', text)


def test_every_reason_of_the_chart_has_a_kind() -> None:
    """A new reason needs a kind, or it would be counted as something other."""
    reasons = reasons_in_the_code()
    assert len(reasons) > 25
    other = [r for r in reasons if reason_of(Excluded("Observation/1", r)) == "other"]
    assert other == []
    assert reason_of(Excluded("Observation/1", "something new")) == "other"


@pytest.mark.parametrize(
    "fault", [EnginesDisagree(["worsening", "refractory"]), EngineFault("Doe, Jane")]
)
def test_faults_and_disagreements_of_the_engines_are_counted(
    counted: TestClient,
    example: Callable[[str], Any],
    monkeypatch: pytest.MonkeyPatch,
    fault: Exception,
) -> None:
    """Each fault by its name, and where the engines differ each rule about which they do."""

    def fail(*_: object, **__: object) -> None:
        raise fault

    monkeypatch.setattr(service, "advise", fail)
    assert counted.post(CALL, json=example("rp-ild-mda5")).status_code == 500

    found = samples(counted)
    assert found[f'faults_total{{fault="{type(fault).__name__}"}}'] == 1
    disagreed = {k for k in found if k.startswith("engine_disagreements_total")}
    rules = fault.rules if isinstance(fault, EnginesDisagree) else ()
    assert disagreed == {f'engine_disagreements_total{{rule="{rule}"}}' for rule in rules}


def test_a_fault_outside_of_calls_is_counted_too(
    counted: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What fails while the rules are shown is a fault like any other."""
    monkeypatch.setattr(service, "_show_rules", None)
    assert counted.get("/rules").status_code == 500
    assert samples(counted)['faults_total{fault="TypeError"}'] == 1


def test_what_passed_a_limit_is_counted(ruleset: RuleSet) -> None:
    """By the name of the limit."""
    app = create_app(ruleset, lambda: date(2026, 11, 16), limits=Limits(body_bytes=10))
    client = TestClient(app)
    assert client.post(CALL, content=b" " * 11).status_code == 413
    assert samples(client)['refusals_total{limit="body"}'] == 1


def test_the_version_in_service_follows_the_rules() -> None:
    """The version before counts nobody any more; attempts count by their outcome."""
    metrics = Metrics()
    metrics.serves("first")
    metrics.serves("second")
    metrics.reloaded(accepted=True)
    metrics.reloaded(accepted=False)

    read = generate_latest(metrics.registry).decode().splitlines()
    assert 'myositis_cds_rules_in_service{version="first"} 0.0' in read
    assert 'myositis_cds_rules_in_service{version="second"} 1.0' in read
    assert 'myositis_cds_reloads_total{outcome="accepted"} 1.0' in read
    assert 'myositis_cds_reloads_total{outcome="refused"} 1.0' in read


def test_metrics_are_at_one_address_and_only_read() -> None:
    """Whatever else is asked for is not there, and no other method is answered."""
    metrics = Metrics()
    metrics.serves("first")
    client = TestClient(make_metrics_app(metrics.registry))

    shown = client.get("/metrics?name[]=other", headers={"Accept": "text/plain; version=1.x"})
    assert shown.status_code == 200
    assert shown.headers["Content-Type"].startswith("text/plain; version=")
    assert 'myositis_cds_rules_in_service{version="first"} 1.0' in shown.text
    head = client.head("/metrics")
    assert (head.status_code, head.text) == (200, "")
    assert {client.get(path).status_code for path in ("/", "/metrics/", "/metrics/x")} == {404}
    for method in ("POST", "PUT", "DELETE", "OPTIONS"):
        refused = client.request(method, "/metrics")
        assert refused.status_code == 405
        assert set(refused.headers["Allow"].split(", ")) == {"GET", "HEAD"}
        assert refused.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize(
    ("host", "status"),
    [("localhost:9100", 200), ("[::1]:9100", 200), ("cds.example", 200), ("evil.example", 421)],
)
def test_metrics_are_shown_by_the_names_of_the_service_only(host: str, status: int) -> None:
    """A page that makes its own name lead to loopback is not shown what is counted."""
    app = make_metrics_app(Metrics().registry, hosts=["cds.example"])

    shown = TestClient(app).get("/metrics", headers={"Host": host})

    assert shown.status_code == status
    assert ("myositis_cds" in shown.text) is (status == 200)
    assert shown.headers["Cache-Control"] == "no-store"


def test_metrics_that_cannot_be_read_are_told_so(log: LogCapture) -> None:
    """Files that workers are just making are no fault of theirs: the next look has them."""

    class Unreadable:
        def collect(self) -> list[Any]:
            raise ValueError("half a file")

    registry = CollectorRegistry()
    registry.register(Unreadable())
    unreadable = TestClient(make_metrics_app(registry)).get("/metrics")

    assert (unreadable.status_code, unreadable.headers["Retry-After"]) == (503, "1")
    assert "ask again" in unreadable.json()["issue"][0]["diagnostics"]
    assert [entry["event"] for entry in log.entries] == ["metrics_unreadable"]
