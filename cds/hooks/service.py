"""The CDS Hooks service over HTTP: discovery, and cards when a chart is opened.

https://cds-hooks.hl7.org/2.0/#discovery and #calling-a-cds-service. Whatever is not answered with
success carries an OperationOutcome, and a fault is never answered with cards left out.
"""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Callable, Iterable
from datetime import date
from typing import Literal

import msgspec
import structlog
from fastapi import FastAPI, Request, Response
from msgspec import Struct
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from cds.advice import advise
from cds.cards.card import Card
from cds.fhir.bundles import Delivery
from cds.hooks.logs import describe
from cds.hooks.outcomes import IssueType, Refused, operation_outcome
from cds.hooks.prefetch import Template, make_templates, read_prefetch
from cds.hooks.requests import read_request
from cds.rules.engine import EngineFault
from cds.rules.ruleset import EnginesDisagree, RuleSet

_log = structlog.get_logger()

DISCOVERY = "/cds-services"


class Service(Struct, frozen=True):
    """A service as discovery describes it."""

    hook: Literal["patient-view"]
    id: str
    title: str
    description: str
    prefetch: dict[str, str]
    usageRequirements: str


def patient_view(templates: tuple[Template, ...]) -> Service:
    """The service that is called when a chart is opened."""
    return Service(
        hook="patient-view",
        id="myositis-patient-view",
        title="Myositis decision support",
        description=(
            "Response to treatment by the IMACS core set measures, life-threatening involvement of "
            "heart and lung, and options for treatment, for patients with inflammatory myopathy. "
            "No cards for patients without it."
        ),
        prefetch={template.key: template.query for template in templates},
        usageRequirements=(
            "FHIR R4. Every prefetch key is needed: its resources, or null where there are none. "
            "Searches with all their pages."
        ),
    )


class _Discovery(Struct, frozen=True):
    services: tuple[Service, ...]


class _Cards(Struct, frozen=True):
    cards: tuple[Card, ...]


_ENCODER = msgspec.json.Encoder(decimal_format="number")


def answer(body: bytes, ruleset: RuleSet, templates: tuple[Template, ...], as_of: date) -> bytes:
    """Answer a patient-view request with the cards of that day, both as JSON.

    Raises ``Refused`` for a request that cannot be answered, ``EngineFault`` or
    ``EnginesDisagree`` where no answer can be trusted.
    """
    request = read_request(body, "patient-view")
    delivery = read_prefetch(request.prefetch or {}, templates, request.patient)
    sent = _kinds(delivery)
    advice = advise(delivery, request.patient, ruleset, as_of)
    foreign = sent - _kinds(delivery)
    # Contradicting versions were left out too, and make the rules answer that much is unknown.
    if foreign and not delivery.incomplete:
        raise Refused(400, "invalid", [_FOREIGN.format(kind) for kind in sorted(foreign)])
    if advice.applies is None:
        unread = [e.reason for e in advice.excluded if e.reference.startswith("Condition")]
        raise Refused(412, "incomplete", [_NO_TELLING, *unread])
    return _ENCODER.encode(_Cards(advice.cards))


_NO_TELLING = (
    "Whether the guidance is about this patient cannot be told: Conditions in "
    "`prefetch.conditions` could not be read or contradict each other."
)


_FOREIGN = (
    "Each of the {} sent along is about another patient than `context.patientId`: nothing in this "
    "request was used."
)


def _kinds(delivery: Delivery) -> set[str]:
    """Of what a delivery holds anything, the Patient apart."""
    held = {
        "Conditions": delivery.conditions,
        "Observations": delivery.observations,
        "medications": delivery.uses,
    }
    return {kind for kind, resources in held.items() if resources}


def create_app(ruleset: RuleSet, today: Callable[[], date]) -> FastAPI:
    """Make the application that serves a rule set; ``today`` is asked at each call.

    ``app.state.faults`` counts the calls that ended in a fault, by the name of the fault.
    Raises ``FilesInvalid`` where the vocabulary makes no usable prefetch template.
    """
    templates = make_templates(ruleset.terms.vocabulary)
    service = patient_view(templates)
    discovery = msgspec.json.encode(_Discovery((service,)))
    entrance = msgspec.json.encode({"title": service.title, "discovery": DISCOVERY})
    faults: Counter[str] = Counter()

    # FastAPI's own pages would describe none of this: bodies are read and written by msgspec. A
    # slash at the end is accepted, because a redirected POST is lost by some clients.
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None, redirect_slashes=False)
    app.state.faults = faults

    @app.api_route("/", methods=["GET", "HEAD"])
    async def show_entrance() -> Response:
        return _json(entrance)

    @app.api_route(DISCOVERY, methods=["GET", "HEAD"])
    @app.api_route(DISCOVERY + "/", methods=["GET", "HEAD"])
    async def discover() -> Response:
        return _json(discovery)

    @app.post(DISCOVERY + "/{service_id}")
    @app.post(DISCOVERY + "/{service_id}/")
    async def call(request: Request) -> Response:
        if request.path_params["service_id"] != service.id:
            return _outcome(404, "not-found", ["There is no such service. " + _SEE_DISCOVERY])
        body = await request.body()
        try:
            return _json(answer(body, ruleset, templates, today()))
        except Refused as refusal:
            _log.info("request_refused", status=refusal.status, problems=refusal.problems)
            return _outcome(refusal.status, refusal.issue_type, refusal.problems)
        except Exception as fault:
            return _fail(fault, faults)

    @app.exception_handler(HTTPException)
    async def explain(request: Request, fault: HTTPException) -> Response:
        issue_type, problem = _HTTP.get(fault.status_code, ("processing", str(fault.detail)))
        response = _outcome(fault.status_code, issue_type, [problem])
        response.headers.update(fault.headers or {})
        return response

    @app.exception_handler(ClientDisconnect)
    async def let_go(request: Request, fault: ClientDisconnect) -> Response:
        return _outcome(400, "incomplete", ["The connection ended before the request did."])

    @app.exception_handler(Exception)
    async def fail(request: Request, fault: Exception) -> Response:
        return _fail(fault, faults)

    return app


_SEE_DISCOVERY = f"GET {DISCOVERY} lists the services."

_HTTP: dict[int, tuple[IssueType, str]] = {
    404: ("not-found", "Nothing is served at this address. " + _SEE_DISCOVERY),
    405: (
        "not-supported",
        "This address does not answer this HTTP method. Services are called with POST; "
        + _SEE_DISCOVERY,
    ),
}
"""What Starlette refuses by itself."""


def _json(content: bytes, status: int = 200) -> Response:
    return Response(content, status, media_type="application/json")


def _outcome(status: int, issue_type: IssueType, problems: Iterable[str]) -> Response:
    return _json(operation_outcome(issue_type, problems), status)


def _fail(fault: Exception, faults: Counter[str]) -> Response:
    """Count and log a fault, and tell the client no more than how to find it in the log."""
    name = type(fault).__name__
    faults[name] += 1
    incident = str(uuid.uuid4())
    # The text of other faults may hold what was being read.
    told = str(fault) if isinstance(fault, EngineFault | EnginesDisagree) else None
    _log.error("call_failed", incident=incident, told=told, count=faults[name], **describe(fault))
    return _outcome(
        500,
        "exception",
        [
            "The service failed, and gives no advice on this patient rather than advice that may "
            f"be wrong. The log of the service tells more, under incident {incident}."
        ],
    )
