"""Carries the trace of a call from its client into the log, and into OpenTelemetry if that is on.

https://www.w3.org/TR/trace-context/. Spans hold method, route, status, service and decision: no
address as it was called, no text of a fault, nothing from a body.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from starlette.types import ASGIApp, Message, Receive, Scope, Send
from structlog.contextvars import bind_contextvars

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Tracer

_TRACEPARENT = re.compile(
    r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-[0-9a-f]{2}(-.*)?"
)


class TracingUnavailable(RuntimeError):
    """Spans were asked for, and what sends them is not installed."""


def start_tracing(headers: str | None = None) -> TracerProvider:
    """Send spans from this process, as the variables ``OTEL_*`` say; ``shutdown()`` sends the last.

    ``headers`` go with them, as ``OTEL_EXPORTER_OTLP_HEADERS`` is written. Raises
    ``TracingUnavailable``.
    """
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from opentelemetry.util.re import parse_env_headers
    except ImportError as fault:
        raise TracingUnavailable(
            "OTEL_EXPORTER_OTLP_ENDPOINT is set, but what sends the spans is not installed. "
            "Install myositis-cds[tracing], or leave the variable out."
        ) from fault
    name = os.environ.get("OTEL_SERVICE_NAME") or "myositis-cds"
    provider = TracerProvider(resource=Resource.create({"service.name": name}))
    told = parse_env_headers(headers, liberal=True) if headers else None
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(headers=told)))
    return provider


class Traces:
    """Names the trace of each request in the log lines, as ``trace_id`` and ``span_id``.

    Without a tracer these are the client's own, where it sends the header ``traceparent``.
    """

    def __init__(self, app: ASGIApp, tracer: Tracer | None = None) -> None:
        self.app = app
        self.tracer = tracer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request as part of its trace."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        carrier = {
            name.decode(): value.decode("latin-1")
            for name, value in scope["headers"]
            # Not `tracestate`: what a client writes into it is free text, and would be sent on.
            if name == b"traceparent"
        }
        if self.tracer is not None:
            await self._in_span(self.tracer, carrier, scope, receive, send)
            return
        if carrier and (sent := _TRACEPARENT.fullmatch(carrier.get("traceparent", ""))):
            bind_contextvars(trace_id=sent[1], span_id=sent[2])
        await self.app(scope, receive, send)

    async def _in_span(
        self, tracer: Tracer, carrier: dict[str, str], scope: Scope, receive: Receive, send: Send
    ) -> None:
        from opentelemetry.trace import SpanKind, Status, StatusCode
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        status = 500

        async def send_noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        with tracer.start_as_current_span(
            scope["method"],
            context=TraceContextTextMapPropagator().extract(carrier),
            kind=SpanKind.SERVER,
            # The texts of faults may hold patient data.
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            context = span.get_span_context()
            bind_contextvars(
                trace_id=format(context.trace_id, "032x"), span_id=format(context.span_id, "016x")
            )
            try:
                await self.app(scope, receive, send_noted)
            finally:
                span.set_attribute("http.request.method", scope["method"])
                span.set_attribute("http.response.status_code", status)
                if (route := scope.get("route")) is not None:
                    span.update_name(f"{scope['method']} {route.path}")
                    span.set_attribute("http.route", route.path)
                for name in ("service", "decision"):
                    if (value := scope.get("state", {}).get(name)) is not None:
                        span.set_attribute(f"cds.{name}", value)
                if status >= 500:
                    span.set_status(Status(StatusCode.ERROR))
