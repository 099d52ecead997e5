import asyncio
import json
import sys
from collections.abc import Callable
from datetime import date
from typing import Any
from uuid import UUID

import pytest
import structlog
from fastapi.testclient import TestClient
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode
from structlog.testing import LogCapture

from cds.hooks import service
from cds.hooks.limits import Limits
from cds.hooks.service import create_app
from cds.hooks.tracing import TracingUnavailable, start_tracing
from cds.rules.ruleset import RuleSet

CALL = "/cds-services/myositis-patient-view"
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
SPAN = "00f067aa0ba902b7"


@pytest.fixture
def lines() -> Any:
    """Capture what is logged, with what is bound for the request."""
    capture = LogCapture()
    structlog.configure(processors=[structlog.contextvars.merge_contextvars, capture])
    yield capture.entries
    structlog.reset_defaults()


def test_a_call_has_one_line_with_the_decision_that_the_client_was_told(
    client: TestClient, example: Callable[[str], Any], lines: list[Any]
) -> None:
    """Answered or refused: one line, under the id in the header, and no two ids are the same."""
    answers = [
        client.post(CALL, json=example("rp-ild-mda5")),
        client.post(CALL, content=b"{"),
    ]
    told = [answer.headers["X-Decision-Id"] for answer in answers]

    assert [line["event"] for line in lines] == ["call_answered", "request_refused"]
    assert [line["decision"] for line in lines] == told
    assert len({UUID(each) for each in told}) == 2
    assert lines[0]["service"] == "myositis-patient-view"


def test_a_call_that_is_given_up_has_its_decision_in_answer_and_log(
    ruleset: RuleSet,
    example: Callable[[str], Any],
    lines: list[Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whoever is told that it took too long is found in the log as any other."""

    async def never(*_: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(service, "gather", never)
    app = create_app(ruleset, lambda: date(2026, 11, 16), limits=Limits(answer_seconds=0.05))
    answer = TestClient(app).post(CALL, json=example("rp-ild-mda5"))

    (line,) = lines
    assert answer.status_code == 503
    assert (line["event"], line["limit"]) == ("request_limited", "answer")
    assert line["decision"] == answer.headers["X-Decision-Id"]
    assert line["rules_version"] == answer.headers["X-Rules-Version"]


def test_the_trace_of_the_client_is_in_the_line(
    client: TestClient, example: Callable[[str], Any], lines: list[Any]
) -> None:
    """The two ids of the W3C header traceparent are logged."""
    headers = {"traceparent": f"00-{TRACE}-{SPAN}-01"}
    client.post(CALL, json=example("rp-ild-mda5"), headers=headers)
    assert (lines[0]["trace_id"], lines[0]["span_id"]) == (TRACE, SPAN)


@pytest.mark.parametrize(
    "header",
    [
        "Doe, Jane",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE.upper()}-{SPAN}-01",
    ],
)
def test_a_trace_that_is_none_is_not_logged(
    client: TestClient, example: Callable[[str], Any], lines: list[Any], header: str
) -> None:
    """What the W3C rules refuse never reaches the log."""
    client.post(CALL, json=example("rp-ild-mda5"), headers={"traceparent": header})
    assert "trace_id" not in lines[0]
    assert "Jane" not in json.dumps(lines)


@pytest.fixture
def spans() -> InMemorySpanExporter:
    """Keep spans instead of sending them."""
    return InMemorySpanExporter()


@pytest.fixture
def traced(ruleset: RuleSet, spans: InMemorySpanExporter) -> TestClient:
    """Serve the rules with spans."""
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(spans))
    tracer = provider.get_tracer("test")
    app = create_app(ruleset, lambda: date(2026, 11, 16), tracer=tracer)
    return TestClient(app, raise_server_exceptions=False)


def test_a_span_continues_the_trace_of_the_client(
    traced: TestClient,
    spans: InMemorySpanExporter,
    example: Callable[[str], Any],
    lines: list[Any],
) -> None:
    """It is a child of the client's, is named by its route, and the log names it."""
    headers = {"traceparent": f"00-{TRACE}-{SPAN}-01"}
    answer = traced.post(f"{CALL}?patient=Jane", json=example("rp-ild-mda5"), headers=headers)

    (span,) = spans.get_finished_spans()
    assert span.context is not None
    assert span.parent is not None
    assert format(span.context.trace_id, "032x") == TRACE == lines[0]["trace_id"]
    assert format(span.parent.span_id, "016x") == SPAN
    assert format(span.context.span_id, "016x") == lines[0]["span_id"]
    assert span.name == "POST /cds-services/{service_id}"
    assert dict(span.attributes or {}) == {
        "http.request.method": "POST",
        "http.response.status_code": 200,
        "http.route": "/cds-services/{service_id}",
        "cds.service": "myositis-patient-view",
        "cds.decision": answer.headers["X-Decision-Id"],
    }


def test_a_span_tells_nothing_of_what_was_asked_for(
    traced: TestClient, spans: InMemorySpanExporter
) -> None:
    """Addresses that do not exist, and services that do not, are not in it: both are free text."""
    state = {"traceparent": f"00-{TRACE}-{SPAN}-01", "tracestate": "name=Doe-Jane"}
    traced.get("/Doe-Jane", headers=state)
    traced.post("/cds-services/Doe-Jane", json={})
    for span in spans.get_finished_spans():
        assert span.context is not None
        assert "Jane" not in span.to_json() + str(span.context.trace_state)


def test_a_fault_marks_its_span(
    traced: TestClient, spans: InMemorySpanExporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has failed, and carries no text of the fault."""

    def fail(*_: object) -> None:
        raise RuntimeError("Doe, Jane")

    monkeypatch.setattr("cds.hooks.service.advise", fail)
    monkeypatch.setattr("cds.hooks.service._show_rules", fail)
    traced.get("/rules")

    (span,) = spans.get_finished_spans()
    assert span.status.status_code is StatusCode.ERROR
    assert "Jane" not in span.to_json()


def test_without_what_sends_spans_it_is_said_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The extra of the package is named."""
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    with pytest.raises(TracingUnavailable, match=r"Install myositis-cds\[tracing\]"):
        start_tracing()


def test_headers_for_the_collector_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are given as OpenTelemetry's own variable has them, and stand in none."""
    given: list[object] = []

    class Exporter(OTLPSpanExporter):
        def __init__(self, headers: dict[str, str] | None = None) -> None:
            given.append(headers)
            super().__init__(headers=headers)

    monkeypatch.setattr(
        "opentelemetry.exporter.otlp.proto.http.trace_exporter.OTLPSpanExporter", Exporter
    )
    start_tracing("authorization=Bearer abc,x-site=north").shutdown()
    start_tracing().shutdown()

    assert given == [{"authorization": "Bearer abc", "x-site": "north"}, None]
