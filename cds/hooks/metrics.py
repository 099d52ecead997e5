"""What the service counts and times, for Prometheus. No label and no value comes from a patient.

Every label has a bounded set of values: services, statuses, rules, kinds of reasons. Each worker
keeps its counts in files of a folder, where whoever serves the metrics adds them up; ``share`` must
be called before anything is counted. Where nobody does serve them, counts stay in memory.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import structlog
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Scope

from cds.advice import Advice
from cds.fhir.bundles import Excluded
from cds.hooks.headers import ChecksHost, Secures
from cds.hooks.logs import describe
from cds.hooks.outcomes import operation_outcome
from cds.rules.ruleset import EnginesDisagree

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

_log = structlog.get_logger()

_FOLDER = "PROMETHEUS_MULTIPROC_DIR"
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)

UNKNOWN = "unknown"
"""Stands for every service that there is not: what was asked for may be any text."""


def share(folder: str) -> None:
    """Let all processes that begin from here count in one folder, which must exist.

    prometheus_client decides between memory and files once, when it is imported. That is why this
    module imports it only where metrics are made.
    """
    os.environ[_FOLDER] = folder


class Metrics:
    """The counts of one process, in ``registry``."""

    def __init__(self) -> None:
        from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

        self.registry = CollectorRegistry()
        self._seconds = Histogram(
            "myositis_cds_call_seconds",
            "Time from the whole request to its answer.",
            ["service"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._calls = Counter(
            "myositis_cds_calls",
            "Calls of services by HTTP status.",
            ["service", "status"],
            registry=self.registry,
        )
        self._cards = Counter(
            "myositis_cds_cards", "Cards given.", ["rule", "indicator"], registry=self.registry
        )
        self._feedback = Counter(
            "myositis_cds_feedback",
            "What clients told of cards, as often as they told it.",
            ["service", "outcome"],
            registry=self.registry,
        )
        self._feedback_calls = Counter(
            "myositis_cds_feedback_calls",
            "Calls with feedback by HTTP status.",
            ["service", "status"],
            registry=self.registry,
        )
        self._excluded = Counter(
            "myositis_cds_exclusions",
            "Resources or parts of them that were delivered and not used.",
            ["reason"],
            registry=self.registry,
        )
        self._disagreements = Counter(
            "myositis_cds_engine_disagreements",
            "Calls that failed because the two rule engines differed.",
            ["rule"],
            registry=self.registry,
        )
        self._faults = Counter(
            "myositis_cds_faults",
            "Requests that ended in a fault of the service.",
            ["fault"],
            registry=self.registry,
        )
        self._refusals = Counter(
            "myositis_cds_refusals",
            "Requests refused because a limit was passed, or for the name that they were sent to.",
            ["limit"],
            registry=self.registry,
        )
        self._connections = Counter(
            "myositis_cds_connections_ended",
            "Connections that passed a bound, were not HTTP, or made room for others.",
            ["reason"],
            registry=self.registry,
        )
        self._unauthenticated = Counter(
            "myositis_cds_unauthenticated",
            "Requests without a token that is accepted.",
            ["reason"],
            registry=self.registry,
        )
        self._reloads = Counter(
            "myositis_cds_reloads",
            "Attempts to take changed rules into service.",
            ["outcome"],
            registry=self.registry,
        )
        self._lost_lines = Counter(
            "myositis_cds_log_lines_lost",
            "Lines of the log that were not written: nobody read them, or the disk was full.",
            registry=self.registry,
        )
        self._serving = Gauge(
            "myositis_cds_rules_in_service",
            "Processes that answer by this version of the rules.",
            ["version"],
            multiprocess_mode="livesum",
            registry=self.registry,
        )
        self._version: str | None = None

    def answered(self, service: str, status: int, seconds: float) -> None:
        """Count a call and its time."""
        self._seconds.labels(service).observe(seconds)
        self._calls.labels(service, str(status)).inc()

    def advised(self, advice: Advice) -> None:
        """Count the cards of an answer, and what was left out of it."""
        for rule, card in zip(advice.given, advice.cards, strict=True):
            self._cards.labels(rule, card.indicator).inc()
        if advice.excluded:
            for reason, count in Counter(map(reason_of, advice.excluded)).items():
                self._excluded.labels(reason).inc(count)

    def told(self, service: str, status: int, outcomes: Iterable[str] = ()) -> None:
        """Count a call with feedback, and what it told of cards."""
        self._feedback_calls.labels(service, str(status)).inc()
        for outcome, count in Counter(outcomes).items():
            self._feedback.labels(service, outcome).inc(count)

    def failed(self, fault: Exception) -> None:
        """Count a fault, and of engines that differ the rules about which they do."""
        self._faults.labels(type(fault).__name__).inc()
        if isinstance(fault, EnginesDisagree):
            for rule in fault.rules:
                self._disagreements.labels(rule).inc()

    def refused(self, limit: str) -> None:
        """Count a request that passed this limit."""
        self._refusals.labels(limit).inc()

    def ended(self, reason: str) -> None:
        """Count a connection that its client did not end as it should."""
        self._connections.labels(reason).inc()

    def unauthenticated(self, reason: str) -> None:
        """Count a request without a token that is accepted."""
        self._unauthenticated.labels(reason).inc()

    def reloaded(self, *, accepted: bool) -> None:
        """Count an attempt to take changed rules into service."""
        self._reloads.labels("accepted" if accepted else "refused").inc()

    def lost_lines(self, count: int) -> None:
        """Count lines of the log that were lost."""
        self._lost_lines.inc(count)

    def serves(self, version: str) -> None:
        """Note the version of the rules that this process answers by from now on."""
        if self._version is not None:
            self._serving.labels(self._version).set(0)
        self._serving.labels(version).set(1)
        self._version = version


PATH = "/metrics"

_UNREADABLE = "The metrics cannot be read just now; ask again."


def make_metrics_app(registry: CollectorRegistry, hosts: Sequence[str] | None = None) -> ASGIApp:
    """Make the application that shows what is counted, at one address and by GET or HEAD only.

    It is called by a name of this machine or one of ``hosts``; by any name where these are None.
    One form for whoever asks: what a client says of others it could read is not believed.
    """
    from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

    async def show(request: Request) -> Response:
        try:
            content = generate_latest(registry)
        except Exception as fault:  # such as a file that a worker is just about to make
            _log.warning("metrics_unreadable", **describe(fault))
            raise HTTPException(503, _UNREADABLE, {"Retry-After": "1"}) from None
        return Response(content, headers={"Content-Type": CONTENT_TYPE_LATEST})

    def fail(scope: Scope, fault: Exception) -> Response:
        return Response(status_code=500)

    async def refuse(request: Request, fault: Exception) -> Response:
        assert isinstance(fault, HTTPException)
        if fault.status_code == 503:
            outcome = operation_outcome("transient", [fault.detail])
        else:
            outcome = operation_outcome("not-supported", [f"Here is only GET {PATH}."])
        return Response(outcome, fault.status_code, fault.headers, media_type="application/json")

    routes = [Route(PATH, show, methods=["GET"])]
    app = Starlette(routes=routes, exception_handlers={HTTPException: refuse})
    app.router.redirect_slashes = False
    return Secures(app if hosts is None else ChecksHost(app, hosts), fail)


def registry_of_all() -> CollectorRegistry:
    """What all processes that share a folder have counted, added up anew at each look."""
    from prometheus_client import CollectorRegistry
    from prometheus_client.multiprocess import MultiProcessCollector

    registry = CollectorRegistry()
    # prometheus_client leaves this class without annotations.
    MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return registry


def forget(process: int) -> None:
    """Count a process that has died no longer among those that serve; its counts stay."""
    from prometheus_client.multiprocess import mark_process_dead

    # As with the class above.
    mark_process_dead(process)  # type: ignore[no-untyped-call]


def reason_of(excluded: Excluded) -> str:
    """The kind of a reason for which something was left out; reasons themselves hold values."""
    reason = excluded.reason
    for kind, beginnings in _KINDS.items():
        if reason.startswith(beginnings):
            return kind
    return "other"


_KINDS: dict[str, tuple[str, ...]] = {
    "not mapped": (
        "its code is not mapped",
        "its drug is not mapped",
        "its substance is not mapped",
        "its substance has no name",
        "its code names no instrument",
        "its codes mean different",
        "it has no code",
        "no instrument of this measure",
    ),
    "status": (
        "its status",
        "its intent",
        "its verificationStatus",
        "its clinicalStatus",
        "it ended on",
        "it says not to",
        "was deleted",
    ),
    "date": ("its date", "its effective", "it has no effective", "it is dated", "it begins on"),
    "unit": ("its unit", "it has no unit"),
    "value": (
        "its value",
        "differs from another of the same day",
        "is of the same day as",
        "its comparator",
        "its result",
        "it has no value",
        "it has no answer",
        "it is a bound",
        "it is the maximum",
    ),
    "not used": ("resource type ", "it is not systemic"),
    "another patient": ("is about", "is another patient"),
    "versions": ("is delivered",),
    "not read": (
        "is nested too deeply",
        "holds text",
        "holds no resource",
        "has no resourceType",
        "cannot be read",
        "of its texts",
        "a text in it",
        "it names more than",
    ),
    "not delivered": ("a further page", "OperationOutcome", "is missing", "is an OperationOutcome"),
}
"""Kinds by how the reasons begin, the most frequent first."""
