"""Reads Bundles of every type into one ``Delivery``; what cannot be used is listed, never lost.

Each entry is decoded by itself, so that one broken entry never spoils its neighbours. Bundles may
be nested (a collection of search pages, for example); a page whose ``next`` link points to another
page of the same document is complete, one whose next page is not there is reported as such.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, Literal, TypeVar

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType, field

from cds.fhir.dates import read_instant
from cds.fhir.resources import (
    AboutPatient,
    AllergyIntolerance,
    AnyResource,
    Bundle,
    BundleEntry,
    BundleLink,
    Condition,
    Identifier,
    Medication,
    MedicationAdministration,
    MedicationRequest,
    MedicationStatement,
    MedicationUse,
    Observation,
    OperationOutcome,
    Patient,
    Reference,
    Resource,
)
from cds.fhir.servers import server_of

R = TypeVar("R", bound=Resource)
S = TypeVar("S", Observation, Condition, AllergyIntolerance, MedicationUse)

RESOURCE_TYPES = frozenset(
    {
        "Patient",
        "Observation",
        "Condition",
        "AllergyIntolerance",
        "MedicationRequest",
        "MedicationAdministration",
        "MedicationStatement",
    }
)
"""The types that tell about a patient, as ``Delivery.delivered`` and ``.incomplete`` name them."""

DEEPEST = 8
"""How deep Bundles may be nested; nobody nests deeper than a collection of pages."""


NO_RESOURCE = "holds no resource"
OF_SERVER = "OperationOutcome of the server"
"""How the reasons begin for which an entry is not used that holds nothing of the patient."""


class Unreadable(ValueError):
    """A document that is not FHIR JSON at all: ``place`` says where, ``problem`` what."""

    def __init__(self, place: str, problem: str) -> None:
        self.place = place
        self.problem = problem
        super().__init__(f"{place}: {problem}")


class Excluded(Struct, frozen=True, gc=False):
    """Something that was delivered and is not used, with the reason."""

    reference: str
    reason: str


class Delivery(Struct):
    """What a patient's documents hold, sorted by type.

    ``delivered`` names the resource types whose absence means that there are none; ``incomplete``
    those of which more may exist than can be used: a further page, a server's error in place of an
    answer, contradicting versions. ``patient_urls`` gives the id of the patient whom an address
    (``fullUrl``) means; ``located`` has the Patients, and the uses of drugs, that have an absolute
    one, until it is settled whether that is of the server. ``medications`` are found by
    ``Medication/{id}`` or by another address; by an absolute one alone until it is settled to be of
    the server. ``stated`` is the highest number of hits that a search says it has; ``foreign``
    counts the resources that were found to be about somebody else. ``server`` is where they come
    from, as ``cds.fhir.servers.server_of`` has it: None until that is settled, and empty where
    nothing tells it; ``addresses`` are those of the entries that tell about a patient, Patients and
    draft orders aside.
    """

    patients: list[Patient] = field(default_factory=list)
    observations: list[Observation] = field(default_factory=list)
    conditions: list[Condition] = field(default_factory=list)
    allergies: list[AllergyIntolerance] = field(default_factory=list)
    uses: list[MedicationUse] = field(default_factory=list)
    medications: dict[str, Medication] = field(default_factory=dict)
    excluded: list[Excluded] = field(default_factory=list)
    delivered: set[str] = field(default_factory=set)
    incomplete: set[str] = field(default_factory=set)
    unread: set[str] = field(default_factory=set)
    patient_urls: dict[str, str] = field(default_factory=dict)
    located: list[tuple[str, Patient | MedicationUse]] = field(default_factory=list)
    stated: int = 0
    foreign: int = 0
    server: str | None = None
    addresses: list[str] = field(default_factory=list)

    @property
    def about_patient(self) -> list[AboutPatient]:
        """All that is about a patient: what has a subject."""
        return [*self.observations, *self.conditions, *self.allergies, *self.uses]


class _Page(Struct, frozen=True):
    place: str
    url: str
    types: frozenset[str]


class _Reading(Struct):
    """The state of reading one document."""

    into: Delivery
    pages: set[str] = field(default_factory=set)
    following: list[_Page] = field(default_factory=list)
    deleted: set[str] = field(default_factory=set)


class _Header(Struct):
    resourceType: object = None
    id: object = None


class _LooseEntry(Struct):
    resource: Raw | UnsetType = UNSET


class _LooseBundle(Struct):
    """A Bundle whose entries may be anything."""

    resourceType: Literal["Bundle"]
    type: str | None = None
    total: object = None
    link: tuple[BundleLink, ...] | None = None
    entry: tuple[Raw, ...] | None = None


class _CountedEntry(Struct, gc=False):
    """Any object, of which nothing is kept."""


class _CountedPage(Struct):
    entry: list[_CountedEntry] | None = None


class _CountedContext(Struct):
    draftOrders: _CountedPage | None = None


class _CountedUsually(_CountedPage):
    """A Bundle, or a request with its Bundles."""

    prefetch: dict[str, _CountedPage | None] | None = None
    context: _CountedContext | None = None


_DECODER: msgspec.json.Decoder[AnyResource] = msgspec.json.Decoder(AnyResource)
_LOOSE_BUNDLE = msgspec.json.Decoder(_LooseBundle)
_ENTRY = msgspec.json.Decoder(BundleEntry)
_LOOSE_ENTRY = msgspec.json.Decoder(_LooseEntry)
_HEADER = msgspec.json.Decoder(_Header)
_BROKEN = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def decode(raw: bytes | Raw, place: str = "$") -> AnyResource:
    """Decode one resource; raises ``Unreadable`` naming the place where it is not one."""
    try:
        return _DECODER.decode(raw)
    except _BROKEN as fault:
        text = bytes(raw)
        if text.startswith(_BYTE_ORDER_MARK):
            return decode(text.removeprefix(_BYTE_ORDER_MARK), place)
        mended = _mend(text)
        if mended is None:
            raise Unreadable(*_explain(text, place, fault)) from None
        return mended


def read_bundle(bundle: Bundle, into: Delivery, place: str = "Bundle") -> None:
    """Read a Bundle and all Bundles in it into a delivery."""
    reading = _Reading(into)
    _read_bundle(bundle, reading, place, 1)
    for page in reading.following:
        if page.url in reading.pages:
            continue
        into.incomplete |= page.types
        into.excluded.append(
            Excluded(
                f"{page.place}.link[next]",
                "a further page of this search exists and was not delivered, so what is not "
                "found here may still be recorded",
            )
        )


def read_resource(resource: AnyResource, into: Delivery, place: str) -> None:
    """Read one decoded resource into a delivery."""
    if isinstance(resource, Bundle):
        read_bundle(resource, into, place)
    else:
        _sort(resource, into, place, None)


def _read_bundle(bundle: Bundle, reading: _Reading, place: str, depth: int) -> None:
    into = reading.into
    if isinstance(bundle.total, int):
        into.stated = max(into.stated, bundle.total)
    types: set[str] = set()
    observations = False
    for index, entry in enumerate(bundle.entry):
        raw = entry.resource
        if not isinstance(raw, Raw):
            reference = entry.fullUrl or f"{place}.entry[{index}]"
            into.excluded.append(Excluded(reference, _without_resource(entry, reading)))
            continue
        resource: AnyResource | None
        try:
            resource = _DECODER.decode(raw)
        except _BROKEN as fault:
            resource = _mend(bytes(raw))
            if resource is None:
                reference = entry.fullUrl or f"{place}.entry[{index}]"
                into.excluded.append(Excluded(*_explain(bytes(raw), reference, fault)))
                into.unread |= RESOURCE_TYPES & {_type_of(bytes(raw))}
                continue
        if type(resource) is Observation and resource.id is not None and not reading.deleted:
            # What nearly every entry is, with nothing to see to.
            into.observations.append(resource)
            if entry.fullUrl is not None:
                into.addresses.append(entry.fullUrl)
            observations = True
            continue
        if isinstance(resource, Bundle):
            inner = f"{place}.entry[{index}].resource"
            if depth == DEEPEST:
                into.excluded.append(Excluded(inner, f"Bundles nested deeper than {DEEPEST}"))
            else:
                _read_bundle(resource, reading, inner, depth + 1)
            continue
        if reading.deleted and name_of(resource) in reading.deleted:
            into.excluded.append(Excluded(name_of(resource), "was deleted later"))
            continue
        types.add(type(resource).__name__)
        _sort(resource, into, f"{place}.entry[{index}]", entry.fullUrl)
    if observations:
        types.add("Observation")
    for link in bundle.link:
        if link.relation == "self" and link.url:
            reading.pages.add(link.url)
        elif link.relation == "next" and link.url:
            known = frozenset(types & RESOURCE_TYPES) or RESOURCE_TYPES
            reading.following.append(_Page(place, link.url, known))


def _without_resource(entry: BundleEntry, reading: _Reading) -> str:
    """Say why an entry holds no resource."""
    if entry.request is not None and entry.request.method == "DELETE":
        # A history tells the latest first, so the versions that follow are the deleted ones.
        reading.deleted.add("/".join((entry.request.url or "").split("/")[-2:]))
        return "was deleted"
    status = entry.response.status if entry.response else None
    if status and not status.startswith("2"):
        reading.into.incomplete |= RESOURCE_TYPES
        return f"{NO_RESOURCE}: the server answered {status}"
    if entry.fullUrl and not status:
        reading.into.incomplete |= RESOURCE_TYPES  # there is something at that address
    return NO_RESOURCE


def _sort(resource: AnyResource, into: Delivery, place: str, url: str | None) -> None:
    if url and resource.id is None:
        # What is to be created has no id yet; others refer to it by the address of its entry.
        resource = msgspec.structs.replace(resource, id=reference_id(url))
    match resource:
        case Observation():
            into.observations.append(resource)
        case Condition():
            into.conditions.append(resource)
        case AllergyIntolerance():
            into.allergies.append(resource)
        case MedicationRequest() | MedicationAdministration() | MedicationStatement():
            into.uses.append(resource)
        case Medication():
            _keep_medication(resource, into, place, url)
        case Patient():
            into.patients.append(resource)
            if url and resource.id:
                into.patient_urls[url] = resource.id
        case OperationOutcome():
            said = "; ".join(i.diagnostics or i.code or "no details" for i in resource.issue)
            into.excluded.append(Excluded(place, f"{OF_SERVER}: {said}"))
            if any((i.severity or "").casefold() not in _HARMLESS for i in resource.issue):
                into.incomplete |= RESOURCE_TYPES
    if url and "://" in url and resource.id and isinstance(resource, Patient | MedicationUse):
        into.located.append((url, resource))
    if url and _tells_of_a_patient(resource):
        into.addresses.append(url)


def _tells_of_a_patient(resource: AnyResource) -> bool:
    """Whether its address is one where the patient's record is; a draft is nowhere yet."""
    return isinstance(resource, AboutPatient) and not _is_draft(resource)


_HARMLESS = frozenset({"warning", "information", "success"})
"""Severities of an issue that is no failure; what is none of these may be one."""


def _keep_medication(medication: Medication, into: Delivery, place: str, url: str | None) -> None:
    if not medication.id:
        into.excluded.append(Excluded(place, "is a Medication without id: no order can name it"))
        return
    if url and "://" in url:
        _put_medication(url.split("/_history/")[0], medication, into)
        return
    name = name_of(medication)
    medication = _put_medication(name, medication, into)
    if url and _relative(url) != name:
        into.medications[url] = medication


def _put_medication(name: str, medication: Medication, into: Delivery) -> Medication:
    """Put a Medication under its name or address, where of several versions the latest counts."""
    twin = into.medications.get(name)
    if twin is not None:
        latest = _latest([twin, medication], into)
        medication = latest or msgspec.structs.replace(medication, code=None)
    into.medications[name] = medication
    return medication


def add(part: Delivery, into: Delivery) -> None:
    """Add what one delivery holds to another, which names itself what is ``delivered``."""
    into.patients += part.patients
    into.observations += part.observations
    into.conditions += part.conditions
    into.allergies += part.allergies
    into.uses += part.uses
    into.excluded += part.excluded
    into.incomplete |= part.incomplete
    into.unread |= part.unread
    into.patient_urls |= part.patient_urls
    into.located += part.located
    into.addresses += part.addresses
    into.foreign += part.foreign
    into.stated = max(into.stated, part.stated)
    for name, medication in part.medications.items():
        if name == name_of(medication) or "://" in name:
            _put_medication(name, medication, into)
        else:
            into.medications[name] = medication


def _mend(text: bytes) -> Bundle | None:
    """Read a Bundle in which something is no entry, as one in which that alone is unreadable."""
    try:
        bundle = _LOOSE_BUNDLE.decode(text)
    except _BROKEN:
        return None
    entries = tuple(_mend_entry(raw) for raw in bundle.entry or ())
    return Bundle(type=bundle.type, total=bundle.total, link=bundle.link or (), entry=entries)


def _mend_entry(raw: Raw) -> BundleEntry:
    try:
        return _ENTRY.decode(raw)
    except _BROKEN:
        pass
    try:
        return BundleEntry(resource=_LOOSE_ENTRY.decode(raw).resource)
    except _BROKEN:
        return BundleEntry(resource=raw)


def _type_of(text: bytes) -> str:
    """What an entry that cannot be read says it is."""
    try:
        return str(_HEADER.decode(text).resourceType)
    except _BROKEN:
        return ""


def _explain(text: bytes, place: str, fault: Exception) -> tuple[str, str]:
    """Say which resource could not be read and why: (reference, reason)."""
    name, reference = "$", place
    try:
        header = _HEADER.decode(text)
    except _BROKEN:
        header = _Header()
    if isinstance(header.resourceType, str):
        name = header.resourceType
        if isinstance(header.id, str):
            reference = f"{name}/{header.id}"
    if isinstance(fault, RecursionError):
        return reference, "is nested too deeply to be read"
    if isinstance(fault, UnicodeDecodeError):
        return reference, "holds text that is not UTF-8"
    said = str(fault)
    if said.endswith("at `$.resourceType`") and name != "$":
        return reference, f"resource type {name} is not used by this service"
    if said.endswith("missing required field `resourceType`"):
        return reference, "has no resourceType, so it is not a FHIR resource"
    byte = re.search(r"\(byte (\d+)\)", said)
    if byte or "truncated" in said:
        # Of trailing characters msgspec names the second.
        offset = int(byte[1]) - ("trailing" in said) if byte else len(text)
        head = text[:offset]
        line, column = head.count(b"\n") + 1, offset - head.rfind(b"\n")
        what = "ends too early" if not byte else said.split(" (byte")[0]
        return f"{place}:{line}:{column}", what
    return reference, "cannot be read: " + said.replace("`$", f"`{name}")


def count_entries(document: bytes | Raw) -> int:
    """The entries of all Bundles in a JSON document, those in Bundles included.

    Nothing else of it is read; what is no JSON has none, and is for its reader to explain. What its
    readers pass over must not hide them: a text that is not UTF-8, or a number beyond all bounds.
    """
    text = bytes(document).lstrip(_BYTE_ORDER_MARK)  # of several as well, which ``decode`` takes
    usual = _count_usual(text)
    if usual is not None:
        return usual
    try:
        # As Latin-1 every byte is some character, and between texts JSON has no others.
        values: list[Any] = [[_COUNTED.decode(text.decode("latin-1"))]]
    except _BROKEN:
        return _most_elements(text) if _is_json(text) else 0
    entries = 0
    while values:
        value = values.pop()
        if isinstance(value, dict):
            entry = value.get("entry")
            if isinstance(entry, list):
                entries += len(entry)
            value = value.values()
        values += [each for each in value if type(each) in _NESTING]
    return entries


def _count_usual(text: bytes) -> int | None:
    """The entries of a document that has them where they usually are; None if it may have others.

    What they hold is skipped, which takes a fifth of the time of reading it. There may be others
    where the word ``"entry"`` stands once more, or an escape that may write a letter of it.
    """
    try:
        usual = _USUAL.decode(text)
    except _BROKEN:
        return None
    orders = usual.context.draftOrders if usual.context else None
    pages = (usual, orders, *(usual.prefetch or {}).values())
    lists = [page.entry for page in pages if page is not None and page.entry is not None]
    if text.count(b'"entry"') != len(lists) or b"\\u006" in text or b"\\u007" in text:
        return None
    return sum(map(len, lists))


def has_few_entries(document: bytes, most: int) -> bool:
    """Whether the Bundles of a document have no more entries than that, as ``count_entries``.

    What holds fewer things than that in all its lists need not be decoded for this.
    """
    return _most_elements(document) <= most or count_entries(document) <= most


def entries_worth(document: bytes) -> int:
    """How many entries would have so many JSON objects, arrays and values, at the least.

    FHIR resources have about ten objects of some 80 bytes each, fewer arrays, and some 25 commas:
    no chart comes near. It tells of a document, before it is decoded, that it would take far more
    time and memory than its entries do: one of brackets alone, or of the shortest texts.
    """
    objects = max(document.count(b"{"), document.count(b"["))
    return max(-(-objects // _OBJECTS_AN_ENTRY), document.count(b",") // _COMMAS_AN_ENTRY)


def bytes_worth(document: bytes) -> int:
    """How many bytes of FHIR would take about as much memory once they are read, at the least.

    As many as the document has, unless it has far more in them than FHIR: then what it holds takes
    the memory, and not its length.
    """
    return max(len(document), entries_worth(document) * _BYTES_AN_ENTRY)


_OBJECTS_AN_ENTRY = 20
_COMMAS_AN_ENTRY = 50
_BYTES_AN_ENTRY = 1024  # of an entry that has so many; those of the examples have more

_NESTING = (dict, list)
_COUNTED = msgspec.json.Decoder(float_hook=bool)  # of a fraction, its value would be worked out
_USUAL = msgspec.json.Decoder(_CountedUsually)
_SKIPPED = msgspec.json.Decoder(Raw)


def _is_json(text: bytes) -> bool:
    """Whether a reader that passes over all of it finds nothing wrong."""
    try:
        _SKIPPED.decode(text)
    except _BROKEN:
        return False
    return True


def _most_elements(text: bytes) -> int:
    """How many things the lists of a JSON document hold together, at the most."""
    return text.count(b"[") + text.count(b",")


# --- whose they are ------------------------------------------------------------------------------


def reference_id(reference: str) -> str:
    """The id at the end of a reference, without version: ``p1`` of ``https://x/Patient/p1``.

    Of ``urn:uuid:…`` it is the UUID.
    """
    return re.split("[/:]", reference.split("/_history/")[0])[-1]


def settle_server(
    patient_id: str, *together: Delivery | None, drafts: Delivery | None = None
) -> None:
    """Settle which server these deliveries come from together, unless one of them has that.

    The addresses of their entries tell it. Where these are of several servers, that of the Patient
    counts if it is one of them; where there are none, the address of the Patient alone does, and
    without that the references to the patient, those of ``drafts`` included. If they tell of
    several, nothing is told: the same id is another patient on another server.

    A Patient of another server is listed as excluded. Where nothing is told, none counts that has
    an address on any, and Patient is ``incomplete``. A Medication that has an address on the server
    is found by its id from then on, and what refers to one there does so without its address. What
    is on another server, or on any where nothing is told, is found by its whole address only; so
    do those refer to it that have an address there themselves.
    """
    charts = [each for each in together if each is not None]
    deliveries = charts if drafts is None else [*charts, drafts]
    server = next((each.server for each in deliveries if each.server is not None), None)
    if server is None:
        server = _told_server(patient_id, charts, deliveries)
    for each in deliveries:
        each.server = server
        _settle_medications(each)
        _leave_namesakes(each, patient_id)


def _told_server(
    patient_id: str, charts: Sequence[Delivery], deliveries: Sequence[Delivery]
) -> str:
    located = [
        (url, patient)
        for each in charts
        for url, patient in each.located
        if isinstance(patient, Patient) and patient.id == patient_id
    ]
    of_patient = _servers(url for url, _ in located)
    of_entries = _servers(
        f"{type_}/id"
        for type_ in {url.rpartition("/")[0] for each in charts for url in each.addresses}
    )
    told = of_patient & of_entries or of_entries
    if not told:
        # Beside a Patient without an address, one who has an address may be another.
        addressed = {p for _, p in located}
        beside = any(
            p.id == patient_id and p not in addressed for each in charts for p in each.patients
        )
        told = (set() if beside else of_patient) or _servers(_absolute(patient_id, deliveries))
    return told.pop() if len(told) == 1 else ""


def _servers(urls: Iterable[str]) -> set[str]:
    return {server for url in urls if (server := server_of(url)) is not None}


def _absolute(patient_id: str, deliveries: Iterable[Delivery]) -> set[str]:
    """The references to a patient that name more than type and id."""
    relative = f"Patient/{patient_id}"
    return {
        reference
        for each in deliveries
        for resource in each.about_patient
        if resource.subject is not None
        and (reference := resource.subject.reference) is not None
        and reference != relative
        and _relative(reference) == relative
    }


def _leave_namesakes(delivery: Delivery, patient_id: str) -> None:
    """Leave out the Patients who have the same id at an address that is not of the server."""
    namesakes = {
        id(patient)
        for url, patient in delivery.located
        if isinstance(patient, Patient)
        and patient.id == patient_id
        and not _may_be_at(url, delivery.server)
    }
    delivery.located = []
    if not namesakes:
        return
    reason = NAMESAKE if delivery.server else UNTOLD
    delivery.foreign += len(namesakes)
    delivery.excluded += [Excluded(f"Patient/{patient_id}", reason)] * len(namesakes)
    delivery.patients = [p for p in delivery.patients if id(p) not in namesakes]
    if not delivery.server:
        delivery.incomplete.add("Patient")


def _settle_medications(delivery: Delivery) -> None:
    for url in [url for url in delivery.medications if _is_of(delivery, url)]:
        name = name_of(delivery.medications[url])
        if _relative(url) == name:
            _put_medication(name, delivery.medications.pop(url), delivery)
    addresses = {id(resource): url for url, resource in delivery.located}
    delivery.uses = [_referring(use, delivery, addresses.get(id(use))) for use in delivery.uses]


def _referring(use: MedicationUse, delivery: Delivery, url: str | None) -> MedicationUse:
    """The same use, which names its Medication as it is found from now on."""
    pointer = use.medicationReference
    reference = pointer.reference if pointer is not None else None
    if pointer is None or reference is None:
        return use
    named = _relative(reference)
    if "://" not in reference:
        # https://hl7.org/fhir/R4/bundle.html#references: at the server where it is itself
        beside = f"{url.split('/_history/')[0].rsplit('/', 2)[0]}/{named}" if url else ""
        if beside not in delivery.medications:
            return use
        named = beside
    elif not _is_of(delivery, reference) or not named.startswith("Medication/"):
        return use
    there = msgspec.structs.replace(pointer, reference=named)
    return msgspec.structs.replace(use, medicationReference=there)


def _is_of(delivery: Delivery, url: str) -> bool:
    """Whether this is an absolute address on the server of a delivery, which something told."""
    return "://" in url and bool(delivery.server) and server_of(url) == delivery.server


NAMESAKE = "is another patient, of another server"
UNTOLD = "is another patient, or this one: nothing tells which server the data come from"


def keep_about(delivery: Delivery, patient_id: str, drafts: Delivery | None = None) -> None:
    """Leave in a delivery only what is about one patient; the rest is listed as excluded.

    A resource without a subject is taken to be about the patient whose documents these are, and so
    is one whose subject is given as words only; one whose subject is given by an identifier must
    bear an identifier of the Patient. An absolute reference must be to the server that the delivery
    comes from. What is delivered more than once counts once, in the version last updated; where
    versions differ and none can be told to be the latest, none counts and its type is
    ``incomplete``. The same is done with ``drafts``.
    """
    settle_server(patient_id, delivery, drafts=drafts)
    _keep_about(delivery, patient_id)
    if drafts is not None:
        drafts.patients = delivery.patients
        _keep_about(drafts, patient_id)


def _keep_about(delivery: Delivery, patient_id: str) -> None:
    others = [p for p in delivery.patients if p.id != patient_id]
    delivery.foreign += len(others)
    delivery.excluded += [Excluded(name_of(p), "is another patient") for p in others]
    delivery.patients = _once([p for p in delivery.patients if p.id == patient_id], delivery)
    known = known_as(delivery, patient_id)
    delivery.observations = _ours(delivery.observations, known, delivery)
    delivery.conditions = _ours(delivery.conditions, known, delivery)
    delivery.allergies = _ours(delivery.allergies, known, delivery)
    delivery.uses = _ours(delivery.uses, known, delivery)


class KnownAs(Struct, frozen=True):
    """The references and identifiers that mean one patient, and on which server."""

    references: frozenset[str]
    identifiers: frozenset[Identifier]
    server: str | None


def known_as(delivery: Delivery, patient_id: str) -> KnownAs:
    """How a patient is referred to in a delivery; made once, as it may be long."""
    urls = (
        url
        for url, id_ in delivery.patient_urls.items()
        if id_ == patient_id and _may_be_at(url, delivery.server)
    )
    relative = f"Patient/{patient_id}"
    # As nearly all references are written, so that these need not be taken apart.
    usual = [f"{scheme}{delivery.server}/{relative}" for scheme in _SCHEMES if delivery.server]
    ours = [p for p in delivery.patients if p.id == patient_id]
    return KnownAs(
        frozenset((relative, *usual, *urls)),
        frozenset(i for p in ours for i in p.identifier if i.value),
        delivery.server,
    )


_SCHEMES = ("https://", "http://")


def _may_be_at(url: str, server: str | None) -> bool:
    """Whether the address of an entry is of this server, or of none, such as ``urn:uuid:…``."""
    return "://" not in url or (server is not None and server_of(url) == server)


ELSEWHERE = "is about a patient with this id at an address that nothing tells to be the same server"


def not_about(subject: Reference | None, known: KnownAs) -> str | None:
    """Say why a subject is not a patient who is known so, as ``keep_about`` has it, or ``None``."""
    if subject is None or subject.reference in known.references:
        return None
    if subject.reference is None:
        if subject.identifier is None or subject.identifier in known.identifiers:
            return None
        return "is about somebody who is given by an identifier that is not this patient's"
    if subject.reference.startswith("#"):
        return "is about somebody described within it, who cannot be told to be this patient"
    reference = subject.reference.split("/_history/")[0]
    if reference in known.references:
        return None
    if _relative(reference) not in known.references:
        return "is about another patient"
    server = server_of(reference)
    return None if server is not None and server == known.server else ELSEWHERE


def take_drafts(delivery: Delivery) -> Delivery:
    """Take the draft orders out of a chart: a delivery of their own, with their Medications."""
    drafts: list[MedicationUse] = []
    others: list[MedicationUse] = []
    for use in delivery.uses:
        (drafts if _is_draft(use) else others).append(use)
    delivery.uses = others
    located = [(url, each) for url, each in delivery.located if _is_draft(each)]
    return Delivery(medications=delivery.medications, uses=drafts, located=located)


def _is_draft(resource: AnyResource) -> bool:
    return isinstance(resource, MedicationRequest) and resource.status == "draft"


def name_of(resource: Resource) -> str:
    """How a resource is referred to: ``Observation/ck-1``."""
    return f"{type(resource).__name__}/{resource.id or '(without id)'}"


def find_medication(reference: str, medications: dict[str, Medication]) -> Medication | None:
    """The Medication that an order refers to, once ``settle_server`` was used.

    An absolute reference that is still there is to another server, or to one that nothing tells.
    """
    found = medications.get(reference.split("/_history/")[0])
    if found is not None or "://" in reference:
        return found
    return medications.get(_relative(reference))


def _ours(resources: list[S], known: KnownAs, delivery: Delivery) -> list[S]:
    kept = []
    for resource in resources:
        reason = not_about(resource.subject, known)
        if reason is None:
            kept.append(resource)
        else:
            delivery.foreign += 1
            delivery.excluded.append(Excluded(name_of(resource), reason))
    return _once(kept, delivery)


def _relative(reference: str) -> str:
    """``Patient/p1`` of ``https://x/fhir/Patient/p1/_history/2``."""
    return "/".join(reference.split("/_history/")[0].split("/")[-2:])


def _once(resources: list[R], delivery: Delivery) -> list[R]:
    """Keep the latest version of each resource; those without id are all different."""
    if len({r.id for r in resources}) == len(resources):
        return resources
    versions: dict[object, list[R]] = {}
    for resource in resources:
        key = (type(resource), resource.id) if resource.id else id(resource)
        versions.setdefault(key, []).append(resource)
    latest = [_latest(same, delivery) for same in versions.values()]
    return [resource for resource in latest if resource is not None]


def _latest(versions: list[R], delivery: Delivery) -> R | None:
    """Choose among what was delivered of one resource; ``None`` where no choice can be made."""
    newest = max(map(_updated, versions))
    first, *others = [v for v in versions if _updated(v) == newest]
    name = name_of(first)
    if any(other != first for other in others):
        reason = "is delivered in versions that differ, and nothing says which is the latest"
        delivery.excluded += [Excluded(name, reason)] * len(versions)
        delivery.incomplete.add(type(first).__name__)
        return None
    reason = "is delivered more than once; the version last updated counts, once"
    delivery.excluded += [Excluded(name, reason)] * (len(versions) - 1)
    return first


_NEVER = datetime.min.replace(tzinfo=UTC)


def _updated(resource: Resource) -> datetime:
    return read_instant(resource.meta.lastUpdated if resource.meta else None) or _NEVER
