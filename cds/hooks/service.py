"""The CDS Hooks service over HTTP: discovery, cards when a hook calls, the rules in service.

https://cds-hooks.hl7.org/2.0/#discovery and #calling-a-cds-service. Whatever is not answered with
success carries an OperationOutcome, and a fault is never answered with cards left out. Every
response names the version of the rules that it was made with, in the header `X-Rules-Version`.
Only a request without an accepted token is answered with neither, and a bare 401.
"""

from __future__ import annotations

import contextlib
import threading
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, date, datetime
from functools import partial

import msgspec
import structlog
from fastapi import FastAPI, Request, Response
from msgspec import Struct
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from structlog.contextvars import bind_contextvars

from cds.advice import advise
from cds.cards.card import Card
from cds.fhir.bundles import Delivery
from cds.hooks.authentication import Authenticator, RequiresToken
from cds.hooks.clients import Client
from cds.hooks.fetching import Fetching, gather
from cds.hooks.interface import describe_interface
from cds.hooks.logs import describe
from cds.hooks.orders import check_about, read_orders
from cds.hooks.outcomes import IssueType, Refused, operation_outcome
from cds.hooks.prefetch import Template, make_templates
from cds.hooks.requests import read_request
from cds.hooks.services import TITLE, Service, make_services
from cds.rules.engine import EngineFault
from cds.rules.language import Hook
from cds.rules.ruleset import EnginesDisagree, RuleSet

_log = structlog.get_logger()

DISCOVERY = "/cds-services"
RULES = "/rules"
INTERFACE = "/openapi.json"
VERSION_HEADER = "X-Rules-Version"


class _Discovery(Struct, frozen=True):
    services: tuple[Service, ...]


class _Cards(Struct, frozen=True):
    cards: tuple[Card, ...]


_ENCODER = msgspec.json.Encoder(decimal_format="number")


async def answer(
    body: bytes,
    ruleset: RuleSet,
    templates: tuple[Template, ...],
    as_of: date,
    hook: Hook = "patient-view",
    fetching: Fetching | None = None,
) -> bytes:
    """Answer a request of a hook with the cards of that day, both as JSON.

    What the request does not bring is fetched from its FHIR server, where ``fetching`` allows that.
    Raises ``Refused`` for a request that cannot be answered, ``EngineFault`` or
    ``EnginesDisagree`` where no answer can be trusted.
    """
    request = read_request(body, hook)
    orders = read_orders(request.context)
    delivery = await gather(request, templates, fetching)
    sent = _kinds(delivery)
    drafts = selected = None
    if orders is not None:
        check_about(orders, delivery, request.patient)
        drafts, selected = orders.drafts, orders.selected
    advice = advise(
        delivery, request.patient, ruleset, as_of, hook=hook, drafts=drafts, selected=selected
    )
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
    "Each of the {} sent along or fetched is about another patient than `context.patientId`: "
    "nothing in this request was used."
)


def _kinds(delivery: Delivery) -> set[str]:
    """Of what a delivery holds anything, the Patient apart."""
    held = {
        "Conditions": delivery.conditions,
        "Observations": delivery.observations,
        "medications": delivery.uses,
    }
    return {kind for kind, resources in held.items() if resources}


class Served(Struct, frozen=True):
    """A rule set in service, with all that is made from it: what one request is answered by.

    ``services`` are by their ids.
    """

    ruleset: RuleSet
    templates: tuple[Template, ...]
    services: dict[str, Service]
    discovery: bytes
    since: datetime

    @property
    def version(self) -> str:
        """The version of the rule set, by its content."""
        return self.ruleset.version

    @property
    def rules(self) -> dict[str, str]:
        """The version of each rule, as its file has it."""
        return {rule.id: rule.file.version for rule in self.ruleset.every}


def make_served(ruleset: RuleSet) -> Served:
    """Make ready to serve a rule set from now on.

    Raises ``FilesInvalid`` where the vocabulary makes no usable prefetch template.
    """
    templates = make_templates(ruleset.terms.vocabulary)
    services = make_services(ruleset, templates)
    discovery = msgspec.json.encode(_Discovery(services))
    by_id = {service.id: service for service in services}
    return Served(ruleset, templates, by_id, discovery, datetime.now(UTC))


class Attempt(Struct, frozen=True):
    """A try to take changed rules into service: when, what, and why not if they were refused.

    ``version`` is None where the files could not be read at all.
    """

    at: datetime
    version: str | None
    accepted: bool
    problems: tuple[str, ...]


class InService:
    """The rules in service, which may be replaced at any time and from any thread.

    A request is answered by the ones that are in service when it begins; these are closed only
    when no request uses them any more.
    """

    def __init__(self, served: Served) -> None:
        self.served = served
        self.last_attempt: Attempt | None = None
        self._lock = threading.Lock()
        self._uses: Counter[int] = Counter()
        self._replaced: list[Served] = []

    @contextlib.contextmanager
    def use(self) -> Iterator[Served]:
        """What is in service now, kept open as long as it is used."""
        with self._lock:
            served = self.served
            self._uses[id(served)] += 1
        try:
            yield served
        finally:
            with self._lock:
                self._uses[id(served)] -= 1

    def replace(self, served: Served, attempt: Attempt) -> Served:
        """Take other rules into service; those that were, which is for ``close_unused``."""
        with self._lock:
            replaced, self.served, self.last_attempt = self.served, served, attempt
            self._replaced.append(replaced)
        return replaced

    def close_unused(self) -> None:
        """Close the engines of the rules that were replaced and that no request uses."""
        with self._lock:
            unused = [each for each in self._replaced if not self._uses[id(each)]]
            self._replaced = [each for each in self._replaced if self._uses[id(each)]]
            for each in unused:
                del self._uses[id(each)]
        for each in unused:
            each.ruleset.close()


class _RuleInService(Struct, frozen=True):
    id: str
    version: str
    title: str


class _RulesInService(Struct, frozen=True):
    version: str
    since: datetime
    site: str | None
    rules: tuple[_RuleInService, ...]
    last_attempt: Attempt | None


def _show_rules(served: Served, last_attempt: Attempt | None) -> bytes:
    ruleset = served.ruleset
    return msgspec.json.encode(
        _RulesInService(
            version=served.version,
            since=served.since,
            site=ruleset.site.file.site if ruleset.site else None,
            rules=tuple(
                _RuleInService(rule.id, rule.file.version, rule.file.title)
                for rule in ruleset.every
            ),
            last_attempt=last_attempt,
        )
    )


class _TakesRules:
    """Takes the rules in service once for each request, and names them in response and log."""

    def __init__(self, app: ASGIApp, in_service: InService) -> None:
        self.app = app
        self.in_service = in_service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        with self.in_service.use() as served:

            async def send_named(message: Message) -> None:
                if message["type"] == "http.response.start":
                    MutableHeaders(scope=message)[VERSION_HEADER] = served.version
                await send(message)

            scope.setdefault("state", {})["served"] = served
            # Not undone at the end: each request has a task, and so a context, of its own.
            bind_contextvars(rules_version=served.version)
            await self.app(scope, receive, send_named)


def _is_open(path: str) -> bool:
    """Whether a path is answered without a token: the entrance, and whether the service lives."""
    return path == "/" or path.startswith("/health/")


def create_app(
    ruleset: RuleSet,
    today: Callable[[], date],
    authenticator: Authenticator | None = None,
    fetching: Fetching | None = None,
) -> FastAPI:
    """Make the application that serves a rule set; ``today`` is asked at each call.

    Without an authenticator everyone is answered. ``request.state.client`` is the client that
    calls, None without an authenticator.
    Without ``fetching`` nothing is fetched from the FHIR servers of those who call.
    ``app.state.faults`` counts the calls that ended in a fault, by the name of the fault.
    ``app.state.in_service`` is the ``InService`` in which the rule set can be replaced.
    Raises ``FilesInvalid`` where the vocabulary makes no usable prefetch template.
    """
    in_service = InService(make_served(ruleset))
    entrance = msgspec.json.encode(
        {"title": TITLE, "discovery": DISCOVERY, "rules": RULES, "interface": INTERFACE}
    )
    faults: Counter[str] = Counter()

    # FastAPI's own pages would describe none of this: bodies are read and written by msgspec. A
    # slash at the end is accepted, because a redirected POST is lost by some clients.
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None, redirect_slashes=False)
    app.state.faults = faults
    app.state.in_service = in_service
    app.add_middleware(_TakesRules, in_service=in_service)
    # Added last, so that it stands before all else: who is not known gets no further.
    app.add_middleware(
        RequiresToken,
        authenticator=authenticator,
        is_open=_is_open,
        fail=partial(_fail, faults=faults),
    )

    @app.api_route("/", methods=["GET", "HEAD"])
    async def show_entrance() -> Response:
        return _json(entrance)

    @app.api_route(DISCOVERY, methods=["GET", "HEAD"])
    @app.api_route(DISCOVERY + "/", methods=["GET", "HEAD"])
    async def discover(request: Request) -> Response:
        return _json(_served(request).discovery)

    @app.api_route(RULES, methods=["GET", "HEAD"])
    async def show_rules(request: Request) -> Response:
        return _json(_show_rules(_served(request), in_service.last_attempt))

    @app.api_route(INTERFACE, methods=["GET", "HEAD"])
    async def show_interface(request: Request) -> Response:
        served = _served(request)
        addresses = {getattr(route, "path", "") for route in app.routes}
        described = describe_interface(
            served.services.values(),
            served.version,
            feedback=f"{DISCOVERY}/{{service_id}}/feedback" in addresses,
            authenticated=authenticator is not None,
        )
        return _json(msgspec.json.encode(described))

    @app.post(DISCOVERY + "/{service_id}")
    @app.post(DISCOVERY + "/{service_id}/")
    async def call(request: Request) -> Response:
        served = _served(request)
        service = served.services.get(request.path_params["service_id"])
        if service is None:
            return _outcome(404, "not-found", ["There is no such service. " + _SEE_DISCOVERY])
        body = await request.body()
        try:
            source = _fetching_for(request, fetching)
            return _json(
                await answer(body, served.ruleset, served.templates, today(), service.hook, source)
            )
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
        response = _fail(fault, faults)
        # This answer is given outside of what names the rules in the others.
        response.headers[VERSION_HEADER] = _served(request).version
        return response

    return app


def _served(request: Request) -> Served:
    """The rules that were in service when the request began."""
    served: Served = request.state.served
    return served


def _fetching_for(request: Request, fetching: Fetching | None) -> Fetching | None:
    """How to fetch for who calls: a client that is known has FHIR servers of its own."""
    client: Client | None = request.state.client
    if fetching is None or client is None:
        return fetching
    return msgspec.structs.replace(fetching, servers=client.fhir_servers)


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
