"""The CDS Hooks service over HTTP: discovery, cards when a hook calls, the rules in service.

https://cds-hooks.hl7.org/2.0/#discovery and #calling-a-cds-service. Whatever is not answered with
success carries an OperationOutcome, and a fault is never answered with cards left out. Whatever is
answered with rules names their version, in the header `X-Rules-Version`, and the answer to a call
also itself, in `X-Decision-Id`, as its line in the log does. What is refused before that has
neither: a request without an accepted token (a bare 401), a preflight, what is no whole request.
"""

from __future__ import annotations

import contextlib
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING

import msgspec
import structlog
from fastapi import FastAPI, Request, Response
from msgspec import Struct
from sqlalchemy.exc import SQLAlchemyError
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from structlog.contextvars import bind_contextvars

from cds.advice import Advice, Question, advise
from cds.cards.card import encode_cards
from cds.fhir.bundles import Delivery
from cds.hooks.authentication import Authenticator, RequiresToken
from cds.hooks.clients import Caller
from cds.hooks.feedback import take_feedback
from cds.hooks.fetching import Fetching, gather
from cds.hooks.headers import ChecksHost, Secures
from cds.hooks.health import Check, add_health, rules_work
from cds.hooks.interface import describe_interface
from cds.hooks.limits import HEALTH, Beyond, KeepsLimits, Limits
from cds.hooks.logs import describe
from cds.hooks.metrics import UNKNOWN, Metrics, reason_of
from cds.hooks.orders import Orders, check_about, read_orders
from cds.hooks.outcomes import IssueType, Refused, operation_outcome
from cds.hooks.prefetch import Template, make_templates
from cds.hooks.recording import Recording
from cds.hooks.requests import Request as HookRequest
from cds.hooks.requests import check_type, read_request
from cds.hooks.services import TITLE, Service, make_services
from cds.hooks.tracing import Traces
from cds.hooks.turns import Turns
from cds.rules.engine import EngineFault
from cds.rules.language import Hook
from cds.rules.ruleset import EnginesDisagree, RuleSet
from cds.store.store import Store

if TYPE_CHECKING:
    from opentelemetry.trace import Tracer

_log = structlog.get_logger()

DISCOVERY = "/cds-services"
RULES = "/rules"
INTERFACE = "/openapi.json"
VERSION_HEADER = "X-Rules-Version"
DECISION_HEADER = "X-Decision-Id"


class _Discovery(Struct, frozen=True):
    services: tuple[Service, ...]


_AT_ONCE = contextlib.nullcontext()
"""For a call that nobody else is waiting beside."""


async def answer(
    body: bytes,
    ruleset: RuleSet,
    templates: tuple[Template, ...],
    as_of: date,
    hook: Hook = "patient-view",
    fetching: Fetching | None = None,
    recording: Recording | None = None,
    advised: Callable[[Advice], None] = lambda _: None,
    turns: contextlib.AbstractAsyncContextManager[None] = _AT_ONCE,
) -> bytes:
    """Answer a request of a hook with the cards of that day, both as JSON, and record the decision.

    What the request does not bring is fetched from its FHIR server, where ``fetching`` allows that.
    ``advised`` is told what is answered with; ``turns`` are waited for before that is worked out.
    Raises ``Refused`` for a request that cannot be answered, or not be recorded, ``EngineFault`` or
    ``EnginesDisagree`` where no answer can be trusted.
    """
    request = read_request(body, hook)
    orders = read_orders(request.context)
    drafts = None if orders is None else orders.drafts
    delivery = await gather(request, templates, fetching, drafts)
    async with turns:
        return _work_out(request, orders, delivery, ruleset, as_of, recording, advised, hook)


def _work_out(
    request: HookRequest,
    orders: Orders | None,
    delivery: Delivery,
    ruleset: RuleSet,
    as_of: date,
    recording: Recording | None,
    advised: Callable[[Advice], None],
    hook: Hook,
) -> bytes:
    """Answer with what was delivered: what ``answer`` does once nothing is to be waited for."""
    question = Question(delivery, request.patient, hook)
    if orders is not None:
        check_about(orders, delivery, request.patient)
        question = Question(delivery, request.patient, hook, orders.drafts, orders.selected)
    if recording is not None:
        question = recording.begin(request, question, as_of)
    advice = advise(
        question.delivery,
        question.patient,
        ruleset,
        as_of,
        hook=hook,
        drafts=question.drafts,
        selected=question.selected,
        left_out=None if recording is None else recording.left_out,
    )
    if delivery.foreign:
        _log.warning("resources_of_others", left_out=delivery.foreign)
    if advice.applies is None:
        # Other reasons name what stands in the chart, such as a date.
        unread = dict.fromkeys(
            excluded.reason
            for excluded in advice.excluded
            if excluded.reference.startswith("Condition") and reason_of(excluded) in _UNREAD
        )
        raise Refused(412, "incomplete", [_NO_TELLING, *unread])
    answered = encode_cards(advice.cards) if recording is None else recording.end(question, advice)
    advised(advice)
    return answered


_UNREAD = ("not read", "versions")
_NO_TELLING = (
    "Whether the guidance is about this patient cannot be told: Conditions in "
    "`prefetch.conditions` could not be read or contradict each other."
)


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


class Attempt(Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A try to take changed rules into service: when, what, and why not if they were refused.

    ``version`` is None, and then not told, where the files could not be read at all.
    """

    at: datetime
    version: str | None = None
    accepted: bool
    problems: tuple[str, ...] = ()


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


class _RulesInService(Struct, frozen=True, omit_defaults=True):
    version: str
    since: datetime
    rules: tuple[_RuleInService, ...]
    site: str | None = None
    last_attempt: Attempt | None = None


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
    """Takes the rules in service once for each request, and names them in response and log.

    So is the decision named, of a call that is given up as well.
    """

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
                    _name(scope, MutableHeaders(scope=message))
                await send(message)

            scope.setdefault("state", {})["served"] = served
            # Not undone at the end: each request has a task, and so a context, of its own.
            bind_contextvars(rules_version=served.version)
            await self.app(scope, receive, send_named)


def _name(scope: Scope, headers: MutableHeaders) -> None:
    """Name in a response the rules and the decision of its request, as far as it has them."""
    state = scope.get("state", {})
    if (served := state.get("served")) is not None:
        headers[VERSION_HEADER] = served.version
    if (decision := state.get("decision")) is not None:
        headers[DECISION_HEADER] = decision


def _is_open(scope: Scope) -> bool:
    """Whether a request is answered without a token: the entrance, and whether the service lives.

    Neither reads a body: who is not known must not use up what may be held of all.
    """
    entrance = scope["path"] == "/" and scope["method"] in ("GET", "HEAD")
    return entrance or scope["path"].startswith(HEALTH)


def create_app(
    ruleset: RuleSet | InService,
    today: Callable[[], date],
    authenticator: Authenticator | None = None,
    fetching: Fetching | None = None,
    store: Store | None = None,
    *,
    limits: Limits | None = None,
    origins: Sequence[str] = (),
    hosts: Sequence[str] | None = None,
    checks: Mapping[str, Check] | None = None,
    tracer: Tracer | None = None,
) -> FastAPI:
    """Make the application that serves a rule set; ``today`` is asked at each call.

    Without an authenticator everyone is answered. ``request.state.caller`` is who calls,
    None without an authenticator. Pages of ``origins`` may call from a browser. It is called by a
    name of this machine or one of ``hosts``; by any name where these are None. ``checks`` are what
    must be well besides the rules for ``/health/ready``.
    Without ``fetching`` nothing is fetched from the FHIR servers of those who call.
    Without a store no decision is recorded, and no feedback taken.
    ``app.state.faults`` counts the calls that ended in a fault, by the name of the fault, and
    ``app.state.metrics`` has the ``Metrics``.
    ``app.state.in_service`` is the ``InService`` in which the rule set can be replaced.
    Raises ``FilesInvalid`` where the vocabulary makes no usable prefetch template.
    """
    in_service = ruleset if isinstance(ruleset, InService) else InService(make_served(ruleset))
    metrics = Metrics()
    metrics.serves(in_service.served.version)
    entrance = msgspec.json.encode(
        {"title": TITLE, "discovery": DISCOVERY, "rules": RULES, "interface": INTERFACE}
    )
    faults: Counter[str] = Counter()
    turns = Turns()

    # FastAPI's own pages would describe none of this: bodies are read and written by msgspec. A
    # slash at the end is accepted, because a redirected POST is lost by some clients.
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None, redirect_slashes=False)
    app.state.faults = faults
    app.state.in_service = in_service
    app.state.metrics = metrics

    def fail(fault: Exception, told_first: str = _ADVICE_FAILED) -> Response:
        metrics.failed(fault)
        return _fail(fault, faults, told_first)

    def fail_outside(scope: Scope, fault: Exception) -> Response:
        """Answer a fault that nothing else answers, which is outside of what names the rules."""
        response = fail(fault)
        _name(scope, response.headers)
        return response

    # From the innermost to the outermost.
    app.add_middleware(KeepsLimits, limits=limits or Limits(), refused=metrics.refused)
    app.add_middleware(_TakesRules, in_service=in_service)
    # Who is not known gets no further than this: no body of theirs is waited for.
    app.add_middleware(
        RequiresToken,
        authenticator=authenticator,
        is_open=_is_open,
        fail=fail,
        refused=metrics.unauthenticated,
    )
    app.add_middleware(Traces, tracer=tracer)
    if hosts is not None:
        app.add_middleware(ChecksHost, names=hosts, refused=metrics.refused)
    app.add_middleware(Secures, fail=fail_outside, origins=origins)
    rules = rules_work(lambda: in_service.served.ruleset, today)
    add_health(app, {"rules": rules, **(checks or {})})

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
        started = time.perf_counter()
        served = _served(request)
        service = served.services.get(request.path_params["service_id"])
        decision = str(uuid.uuid4())
        request.state.decision = decision
        # Not undone at the end, as with the version of the rules.
        bind_contextvars(decision=decision)
        if service is None:
            problem = "There is no such service. " + _SEE_DISCOVERY
            response = _outcome(404, "not-found", [problem])
        else:
            request.state.service = service.id
            response = await decide(request, service, await request.body())
        name = UNKNOWN if service is None else service.id
        metrics.answered(name, response.status_code, time.perf_counter() - started)
        return response

    async def decide(request: Request, service: Service, body: bytes) -> Response:
        """Answer a call of a service, and write its one line in the log."""
        started = time.perf_counter()
        served = _served(request)
        recording = None
        if store is not None:
            recording = Recording(
                store, served.ruleset, service.id, client_of(request), request.state.decision
            )
        try:
            check_type(request.headers)
            content = await answer(
                body,
                served.ruleset,
                served.templates,
                today(),
                service.hook,
                _fetching_for(request, fetching),
                recording,
                metrics.advised,
                turns,
            )
        except Refused as refusal:
            _log.info("request_refused", status=refusal.status, problems=refusal.problems)
            if isinstance(refusal, Beyond):
                metrics.refused(refusal.reason)
            return _refused(refusal)
        except Exception as fault:
            return fail(fault)
        milliseconds = round((time.perf_counter() - started) * 1000, 2)
        _log.info("call_answered", service=service.id, milliseconds=milliseconds)
        return _json(content)

    if store is not None:

        @app.post(DISCOVERY + "/{service_id}/feedback")
        @app.post(DISCOVERY + "/{service_id}/feedback/")
        async def feedback(request: Request) -> Response:
            service_id = request.path_params["service_id"]
            if service_id not in _served(request).services:
                metrics.told(UNKNOWN, 404)
                return _outcome(404, "not-found", ["There is no such service. " + _SEE_DISCOVERY])
            request.state.service = service_id
            told: Iterable[str] = ()
            try:
                check_type(request.headers)
                items = await take_feedback(
                    await request.body(), store, client_of(request), service_id
                )
            except Refused as refusal:
                _log.info("feedback_refused", status=refusal.status, problems=refusal.problems)
                response = _refused(refusal)
            except Exception as fault:
                response = fail(fault, _FEEDBACK_FAILED)
            else:
                told = (item.outcome for item in items)
                response = Response(status_code=200)
            metrics.told(service_id, response.status_code, told)
            return response

    @app.exception_handler(HTTPException)
    async def explain(request: Request, fault: HTTPException) -> Response:
        issue_type, problem = _HTTP.get(fault.status_code, ("processing", str(fault.detail)))
        response = _outcome(fault.status_code, issue_type, [problem])
        response.headers.update(fault.headers or {})
        return response

    return app


def _served(request: Request) -> Served:
    """The rules that were in service when the request began."""
    served: Served = request.state.served
    return served


def _fetching_for(request: Request, fetching: Fetching | None) -> Fetching | None:
    """How to fetch for a call: a client that is known has FHIR servers of its own.

    What is fetched counts with the body among the bytes that are held for all calls.
    """
    if fetching is None:
        return None
    caller: Caller | None = request.state.caller
    servers = fetching.servers if caller is None else caller.client.fhir_servers
    return msgspec.structs.replace(fetching, servers=servers, hold=request.state.share.take)


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


def _refused(refusal: Refused) -> Response:
    response = _outcome(refusal.status, refusal.issue_type, refusal.problems)
    if refusal.status == 503:
        response.headers["Retry-After"] = _RETRY_SECONDS
    return response


_ADVICE_FAILED = (
    "The service failed, and gives no advice on this patient rather than advice that may be wrong."
)
_STORE_AWAY = (
    "The database of the service does not answer, and nothing is answered that could not be "
    "accounted for: send it again later."
)
_RETRY_SECONDS = "5"
_FEEDBACK_FAILED = (
    "The service failed, and cannot say whether it kept this feedback: send it again later. What "
    "was kept already counts once."
)


def client_of(request: Request) -> str:
    """The name of who calls, tenant included; empty where authentication is off."""
    caller: Caller | None = request.state.caller
    return "" if caller is None else caller.name


def _fail(fault: Exception, faults: Counter[str], told_first: str) -> Response:
    """Count and log a fault, and tell the client no more than how to find it in the log."""
    name = type(fault).__name__
    faults[name] += 1
    incident = str(uuid.uuid4())
    away = isinstance(fault, SQLAlchemyError | TimeoutError)
    # The text of other faults may hold what was being read.
    told = str(fault) if isinstance(fault, EngineFault | EnginesDisagree) else None
    _log.error("call_failed", incident=incident, told=told, count=faults[name], **describe(fault))
    if away and told_first is _ADVICE_FAILED:
        told_first = _STORE_AWAY
    problem = f"{told_first} The log of the service tells more, under incident {incident}."
    if not away:
        return _outcome(500, "exception", [problem])
    response = _outcome(503, "transient", [problem])
    response.headers["Retry-After"] = _RETRY_SECONDS
    return response
