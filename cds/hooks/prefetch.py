"""What the EHR is asked to send along with a call, and what it sent.

https://cds-hooks.hl7.org/2.0/#prefetch-template
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from urllib.parse import quote

from msgspec import Raw, Struct

from cds.chart.vocabulary import CodedEntry, Codes, Vocabulary
from cds.fhir.bundles import (
    ELSEWHERE,
    NO_RESOURCE,
    OF_SERVER,
    Delivery,
    Excluded,
    Unreadable,
    add,
    decode,
    known_as,
    not_about,
    read_resource,
    settle_server,
)
from cds.fhir.resources import AnyResource, Bundle, OperationOutcome
from cds.fhir.servers import server_at
from cds.hooks.outcomes import Refused
from cds.located import FilesInvalid, Place, Problem

LONGEST_QUERY = 2000
"""Characters in a query as it is sent: servers and what stands before them refuse longer ones."""

LONGEST_ID = "x" * 64
"""The longest id that FHIR allows, https://hl7.org/fhir/R4/datatypes.html#id."""


class Template(Struct, frozen=True):
    """One key of ``prefetch``: the FHIR query, what type it finds, and the codes it asks for.

    ``codes`` are pairs of a code system's URL and a code, empty where all of the type is asked for.
    A call without an ``optional`` key is answered all the same.
    """

    key: str
    resource: str
    query: str
    codes: tuple[tuple[str, str], ...]
    optional: bool = False

    @property
    def answer(self) -> str:
        """The resource that the query is answered with: a Bundle, unless one is read by its id."""
        return "Bundle" if "?" in self.query else self.resource


def make_templates(vocabulary: Vocabulary) -> tuple[Template, ...]:
    """Make the templates of the vocabulary's prefetch section, filled with its codes.

    Codes that make a query longer than ``LONGEST_QUERY`` are divided over several keys: ``key``,
    ``key-2``, ``key-3``. Raises ``FilesInvalid`` where that cannot be done.
    """
    templates = []
    problems = []
    for key, entry in vocabulary.prefetch.items():
        codes = tuple(
            dict.fromkeys(
                (vocabulary.system_url(system), code)
                for section in entry.codes_of
                for of in _SECTIONS[section](vocabulary)
                for system, by_code in of.items()
                for code in by_code
            )
        )
        for n, part in enumerate(_divided(entry.query, codes), 1):
            # No id of an entry has a hyphen, so that this is the name of no other key.
            name = key if n == 1 else f"{key}-{n}"
            query = _filled(entry.query, part)
            templates.append(Template(name, entry.resource, query, part, entry.optional))
            length = _length_sent(entry.query, part)
            if length > LONGEST_QUERY:
                of = f" for the code {part[0][1]} alone" if part else ""
                problems.append(
                    Problem(
                        Place("vocabulary"),
                        "query-too-long",
                        f"`prefetch.{key}` makes a query of {length} characters as it is "
                        f"sent{of}, more than {LONGEST_QUERY}: shorten it",
                    )
                )
    if problems:
        raise FilesInvalid(problems)
    return tuple(templates)


_Codes = tuple[tuple[str, str], ...]


def _divided(query: str, codes: _Codes) -> Iterator[_Codes]:
    """Yield codes in their order, as many at a time as one query may be long."""
    part: _Codes = ()
    for code in codes:
        if part and _length_sent(query, (*part, code)) > LONGEST_QUERY:
            yield part
            part = ()
        part = (*part, code)
    yield part


def _filled(query: str, codes: _Codes) -> str:
    return query.replace("{codes}", ",".join(f"{url}|{code}" for url, code in codes))


def _length_sent(query: str, codes: _Codes) -> int:
    """The most characters that a query can be sent as: whatever may be escaped is, for any id."""
    sent = _filled(query, codes).replace("{{context.patientId}}", LONGEST_ID)
    return len(quote(sent, safe="?&="))


def _both(entries: Mapping[str, CodedEntry]) -> Iterator[Codes]:
    for entry in entries.values():
        yield entry.codes
        yield entry.unverified


def _instruments(vocabulary: Vocabulary) -> set[str]:
    return {name for m in vocabulary.measures.values() for name in m.instruments}


def _of_measures(vocabulary: Vocabulary) -> Iterator[Codes]:
    """Codes of the measures, of the maximum of their scales, and of their instruments."""
    yield from _both(vocabulary.measures)
    yield from (measure.maximum for measure in vocabulary.measures.values())
    instruments = _instruments(vocabulary)
    yield from _both({n: o for n, o in vocabulary.observations.items() if n in instruments})


def _of_observations(vocabulary: Vocabulary) -> Iterator[Codes]:
    """Codes of the observations that are no instrument of a measure."""
    instruments = _instruments(vocabulary)
    yield from _both({n: o for n, o in vocabulary.observations.items() if n not in instruments})


def _of_antibodies(vocabulary: Vocabulary) -> Iterator[Codes]:
    yield from _both(vocabulary.antibodies)


def _of_statuses(vocabulary: Vocabulary) -> Iterator[Codes]:
    yield from _both(vocabulary.statuses)


_SECTIONS = {
    "measures": _of_measures,
    "observations": _of_observations,
    "antibodies": _of_antibodies,
    "statuses": _of_statuses,
}


def read_prefetch(
    prefetch: Mapping[str, Raw],
    templates: tuple[Template, ...],
    patient: str,
    fhir_server: str | None = None,
    drafts: Delivery | None = None,
) -> Delivery:
    """Read what was sent for each template into one delivery.

    Raises ``Refused``: status 412 naming every key that cannot be used and is not optional, because
    what it would have held may change the advice, and as ``read_sent``.
    """
    into, unsatisfied = read_sent(prefetch, templates, patient, fhir_server, drafts)
    refuse_without(unsatisfied, templates, into)
    return into


def refuse_without(
    problems: Mapping[str, str], templates: Iterable[Template], into: Delivery
) -> None:
    """Refuse the call for which keys cannot be had, unless they all are optional.

    These are listed as excluded: nothing of their resources was delivered, so that what they would
    hold is unknown.
    """
    optional = {template.key for template in templates if template.optional}
    if needed := {key: told for key, told in problems.items() if key not in optional}:
        raise cannot_be_had(needed)
    into.excluded += [Excluded(f"prefetch.{key}", told) for key, told in problems.items()]


def cannot_be_had(problems: Mapping[str, str]) -> Refused:
    """The refusal of a call for which keys cannot be had, with what is wrong with each."""
    told = [f"`prefetch.{key}` {problem}" for key, problem in problems.items()]
    return Refused(412, "incomplete", told)


def read_sent(
    prefetch: Mapping[str, Raw],
    templates: tuple[Template, ...],
    patient: str,
    fhir_server: str | None = None,
    drafts: Delivery | None = None,
) -> tuple[Delivery, dict[str, str]]:
    """Read what was sent, and say of each key that is not satisfied why.

    ``null`` means that the record holds nothing. Of a key that is not satisfied nothing is in the
    delivery. Where ``fhir_server`` does not tell which server all of it is of, what was sent does,
    ``drafts`` included, as ``settle_server`` has it.

    Raises ``Refused`` with status 400 where the Patient is not the one whom the call is about,
    because then nothing in the request can be trusted, and nothing that could be fetched in its
    place would mend it.
    """
    into = Delivery(server=server_at(fhir_server or ""))
    problems = {}
    held: list[tuple[Template, Delivery]] = []
    for template in patient_first(templates):
        sent = _sent(template, prefetch)
        if isinstance(sent, str):
            problems[template.key] = sent
        else:
            held.append((template, _read(sent, f"prefetch.{template.key}", into)))
    settle_server(patient, into, *(each for _, each in held), drafts=drafts)
    for template, part in held:
        problem = _take(template, part, into, patient)
        if problem is not None:
            if template.resource == "Patient" and problem == ANOTHER:
                told = f"`prefetch.{template.key}` {ANOTHER}: nothing in this request was used."
                raise Refused(400, "invalid", [told])
            problems[template.key] = f"{problem}."
    return into, {t.key: problems[t.key] for t in templates if t.key in problems}


def patient_first(templates: Iterable[Template]) -> list[Template]:
    """Templates with that of the Patient first: by its identifiers others may refer to it."""
    return sorted(templates, key=lambda template: template.resource != "Patient")


def _sent(template: Template, prefetch: Mapping[str, Raw]) -> tuple[AnyResource, ...] | str:
    """What was sent for a key, nothing for ``null``; or why it is no answer to the query."""
    raw = prefetch.get(template.key)
    if raw is None:
        return (
            "is missing: send the answer to its template (GET /cds-services lists them), "
            "or null where the record holds nothing."
        )
    if bytes(raw) == b"null":
        return ()
    try:
        resource = decode(raw, f"prefetch.{template.key}")
    except Unreadable as fault:
        return _unreadable(template, fault)
    if isinstance(resource, OperationOutcome):
        return "is an OperationOutcome: the query failed on the side of the client."
    if not isinstance(resource, Bundle) and type(resource).__name__ != template.answer:
        return _wrong_type(template, resource)
    return (resource,)


ANOTHER = "is another Patient than `context.patientId`"


def take(
    template: Template,
    answer: tuple[AnyResource, ...],
    place: str,
    into: Delivery,
    patient: str,
) -> str | None:
    """Read the pages of an answer, sent or fetched, into a delivery.

    An answer that cannot be the whole one to its query, about this patient, leaves the delivery as
    it is; what is wrong with it is returned as a clause (``is about another patient``).
    """
    held = _read(answer, place, into)
    settle_server(patient, held)
    return _take(template, held, into, patient)


def _read(answer: tuple[AnyResource, ...], place: str, into: Delivery) -> Delivery:
    held = Delivery(server=into.server)
    for number, page in enumerate(answer, 1):
        at = place if len(answer) == 1 else f"{place}, page {number}"
        read_resource(page, held, at)
    return held


def _take(template: Template, held: Delivery, into: Delivery, patient: str) -> str | None:
    problem = _why_not(template, held, into, patient)
    if problem is None:
        add(held, into)
        into.delivered.add(template.resource)
    return problem


def _why_not(template: Template, held: Delivery, into: Delivery, patient: str) -> str | None:
    if template.resource == "Patient" and any(p.id not in (None, patient) for p in held.patients):
        return ANOTHER
    if problem := _what_is_missing(held):
        return problem
    told = held.about_patient
    if others := {type(each).__name__ for each in told} - {template.resource}:
        return f"holds {', '.join(sorted(others))}, which was not asked for"
    if not told and not (template.resource == "Patient" and held.patients):
        return None if template.resource in held.unread else _why_empty(held)
    known = known_as(
        Delivery(
            patients=[*into.patients, *held.patients],
            patient_urls=into.patient_urls | held.patient_urls,
            server=into.server,
        ),
        patient,
    )
    if told and all(not_about(each.subject, known) for each in told):
        if any(not_about(each.subject, known) == ELSEWHERE for each in told):
            return _OF_ANOTHER_SERVER
        return "is about another patient than `context.patientId`: nothing of it was used"
    return None


_OF_ANOTHER_SERVER = (
    "names the patient at an address that does not begin with `fhirServer`, or that nothing tells "
    "to be the same server: nothing of it was used. References should be relative (`Patient/id`), "
    "or begin with the `fhirServer` of the call"
)


def _what_is_missing(held: Delivery) -> str | None:
    """Say what is missing from an answer; ``None`` where only the chart needs to know."""
    if any(e.reason == NO_RESOURCE for e in held.excluded):
        return "is not complete: there are entries in it that hold no resource"
    if not held.incomplete:
        return None
    if any(e.reference.endswith(".link[next]") for e in held.excluded):
        return (
            "has a further page (its link `next`), which was not sent: "
            "send all pages, as Bundles in one Bundle of type collection, or one larger page"
        )
    if any("the server" in e.reason for e in held.excluded):
        return "is not complete: the server reported an error among its entries"
    return None


def _why_empty(held: Delivery) -> str | None:
    """Say why an answer without anything of its type does not say that there is nothing.

    Remarks of the server are no hits, although some servers count them as such.
    """
    remarks = sum(e.reason.startswith(OF_SERVER) for e in held.excluded)
    if held.patients or held.medications or len(held.excluded) > remarks:
        return "has entries, and none of them is of the type that was asked for and can be read"
    if held.stated > remarks:
        return f"is not complete: by its `total` there are {held.stated}, and none is in it"
    return None


def _wrong_type(template: Template, resource: AnyResource) -> str:
    return f"should be a {template.answer}, but is a {type(resource).__name__}."


def _unreadable(template: Template, fault: Unreadable) -> str:
    should = f"should be a {template.answer}, and cannot be read as one"
    if fault.problem.startswith("resource type "):  # what follows is the client's own text
        return f"{should}: it is a resource of another type."
    # A place may be the reference of a resource, which is the patient's.
    at = f" (at {fault.place})" if fault.place.startswith("prefetch.") else ""
    return f"{should}: it {fault.problem}{at}."
