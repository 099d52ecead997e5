"""Fetches from the EHR what it did not send along, with the token of the call.

https://cds-hooks.hl7.org/2.0/#fhir-resource-access. Only the keys that are not satisfied are
fetched, all at once, and only from a server that whoever runs this service has listed. The token is
read here and nowhere else, and is never kept or logged.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, TypeVar

import structlog
from msgspec import Struct

from cds.fhir.bundles import Delivery, count_entries, find_medication, name_of, read_resource
from cds.fhir.client import MOST_ENTRIES, Access, Allowance, CannotBeHad, FhirClient
from cds.fhir.resources import AnyResource, Medication
from cds.fhir.servers import Server, base_of
from cds.hooks.prefetch import Template, patient_first, read_sent, refuse_without, take
from cds.hooks.requests import OrderSignContext, Request

MOST_MEDICATIONS = 50
"""Medications that are fetched for one call, each by its reference."""

T = TypeVar("T")
Fetch = Coroutine[Any, Any, tuple[AnyResource, ...]]

_log = structlog.get_logger()


class Fetching(Struct, frozen=True):
    """How to fetch: with which client, from which servers, and for how many seconds at most.

    ``entries`` is how many entries of Bundles one call may have, of what is sent and what is
    fetched together. ``hold`` is told of the bytes that are fetched for a call, and raises
    ``Refused`` where this process has no room for them.
    """

    client: FhirClient
    servers: tuple[Server, ...] = ()
    seconds: float = 5.0
    entries: int = MOST_ENTRIES
    hold: Callable[[int], None] = lambda _: None


async def gather(
    request: Request,
    templates: tuple[Template, ...],
    fetching: Fetching | None = None,
    drafts: Delivery | None = None,
) -> Delivery:
    """What was sent along with a call, and in place of what was not, what its FHIR server answers.

    ``drafts`` are its draft orders, which may tell with it which server all of it is of.

    Nothing is fetched where every key is satisfied and every drug has a name, and without
    ``fetching``. Medications that orders refer to, drafts among them, are fetched too; where one
    cannot be had, its drug stays unknown.

    Raises ``Refused``: status 412 naming each needed key that cannot be had and why; status 400
    where the Patient that was sent is another than the call is about; and as ``fetching.hold``.
    """
    delivery, unsatisfied = read_sent(
        request.prefetch or {}, templates, request.patient, request.fhirServer, drafts
    )
    if not unsatisfied and not _nameless(delivery, drafts):
        return delivery
    access = _access(request, fetching)
    if fetching is None or not isinstance(access, Access):
        told = {key: f"{problem} {access}" for key, problem in unsatisfied.items()}
        refuse_without(told, templates, delivery)
        if told:
            _log.info("gone_without", keys=list(told))
        return delivery
    deadline = asyncio.get_running_loop().time() + fetching.seconds
    allowance = Allowance(fetching.entries - _entries_sent(request), fetching.hold)

    def fetch(query: str) -> Fetch:
        return fetching.client.fetch(access, query, deadline, allowance)

    if unsatisfied:
        missing = [t for t in templates if t.key in unsatisfied]
        problems = await _fetch(missing, delivery, request, fetch)
        _log.info("fetched", keys=list(unsatisfied), in_vain=problems)
        told = {
            key: f"{unsatisfied[key]} Fetching it failed: {problem}."
            for key, problem in problems.items()
        }
        refuse_without(told, templates, delivery)
    await _fetch_medications(delivery, drafts, fetch)
    return delivery


def _entries_sent(request: Request) -> int:
    """The entries of a request, as its limit counts them."""
    context = request.context
    drafts = [context.draftOrders] if isinstance(context, OrderSignContext) else []
    return sum(map(count_entries, (*drafts, *(request.prefetch or {}).values())))


# --- where from ----------------------------------------------------------------------------------


def _access(request: Request, fetching: Fetching | None) -> Access | str:
    """What opens the FHIR server of a call, or a sentence that says why nothing is fetched."""
    if not request.fhirServer:
        return "It cannot be fetched either: the request names no `fhirServer`."
    if fetching is None or not fetching.servers:
        return "It cannot be fetched either: no FHIR server is allowed for this client."
    try:
        base = base_of(request.fhirServer)
    except ValueError:
        base = ""
    server = next((server for server in fetching.servers if server.base == base), None)
    if server is None:
        return (
            "It cannot be fetched either: `fhirServer` is not among the servers that are allowed "
            "for this client."
        )
    authorization = request.fhirAuthorization
    return Access(server, None if authorization is None else authorization.access_token)


# --- keys ----------------------------------------------------------------------------------------


async def _fetch(
    templates: list[Template],
    into: Delivery,
    request: Request,
    fetch: Callable[[str], Fetch],
) -> dict[str, str]:
    """Fetch keys into a delivery, all at once; says of each that cannot be had why."""
    templates = patient_first(templates)
    answers = await _all_of(_fetch_key(template, request, fetch) for template in templates)
    problems = {}
    for template, answer in zip(templates, answers, strict=True):
        problem = str(answer) if isinstance(answer, CannotBeHad) else None
        if not isinstance(answer, CannotBeHad):
            problem = _take(template, answer, into, request.patient)
        if problem is not None:
            problems[template.key] = problem
    return problems


async def _fetch_key(
    template: Template, request: Request, fetch: Callable[[str], Fetch]
) -> tuple[AnyResource, ...]:
    # An id is written in letters that need no encoding; `read_request` lets no other pass.
    query = template.query.replace("{{context.patientId}}", request.patient)
    if "{{" in query:
        raise CannotBeHad("its query has a token that only the client can fill")
    return await fetch(query)


def _take(
    template: Template, answer: tuple[AnyResource, ...], into: Delivery, patient: str
) -> str | None:
    """Read what was fetched for a key; says why it is not used, or ``None``."""
    for page in answer:
        if type(page).__name__ != template.answer:
            return f"the answer should be a {template.answer}, but is a {type(page).__name__}"
    problem = take(template, answer, f"fetched.{template.key}", into, patient)
    return None if problem is None else f"the answer {problem}"


# --- medications ---------------------------------------------------------------------------------


def _nameless(delivery: Delivery, drafts: Delivery | None) -> list[str]:
    """The references to Medications that were not delivered, of uses that name no drug besides.

    Those of drafts come first: what is fetched is bounded, and the call is about them.
    """
    found: dict[str, None] = {}
    known = delivery.medications
    uses = delivery.uses
    if drafts is not None:
        known = {**known, **drafts.medications}
        uses = [*drafts.uses, *uses]
    for use in uses:
        pointer = use.medicationReference
        if pointer is None or use.medicationCodeableConcept is not None or pointer.display:
            continue
        reference = pointer.reference
        if not reference or reference.startswith("#"):
            continue
        if find_medication(reference, known) is None:
            found[reference.split("/_history/")[0]] = None
    return list(found)


_MEDICATION = re.compile(r"Medication/[A-Za-z0-9._-]+")


async def _fetch_medications(
    into: Delivery, drafts: Delivery | None, fetch: Callable[[str], Fetch]
) -> None:
    """Fetch the Medications of the server of those that orders only refer to."""
    # What is of that server is settled to be named without its address.
    of_server = [each for each in _nameless(into, drafts) if _MEDICATION.fullmatch(each)]
    asked = of_server[:MOST_MEDICATIONS]
    if not asked:
        return
    answers = await _all_of(fetch(reference) for reference in asked)
    failed = []
    for reference, answer in zip(asked, answers, strict=True):
        if isinstance(answer, CannotBeHad):
            failed.append(str(answer))
        elif isinstance(answer[0], Medication) and name_of(answer[0]) == reference:
            read_resource(answer[0], into, f"fetched.{reference}")
        else:
            failed.append("the answer is not the Medication that was asked for")
    _log.info(
        "medications_fetched",
        fetched=len(asked) - len(failed),
        in_vain=failed,
        left=len(of_server) - len(asked),
    )


async def _all_of(
    fetches: Iterable[Coroutine[Any, Any, T]],
) -> list[T | CannotBeHad]:
    """Fetch all at once; what cannot be had is returned, and any other fault raised."""
    answers: list[T | CannotBeHad] = []
    for answer in await asyncio.gather(*fetches, return_exceptions=True):
        if isinstance(answer, BaseException) and not isinstance(answer, CannotBeHad):
            raise answer
        answers.append(answer)
    return answers
