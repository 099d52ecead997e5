import json
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cds.fhir.bundles import (
    DEEPEST,
    RESOURCE_TYPES,
    Delivery,
    Excluded,
    Unreadable,
    add,
    bytes_worth,
    count_entries,
    decode,
    entries_worth,
    find_medication,
    has_few_entries,
    keep_about,
    name_of,
    read_bundle,
    read_resource,
    reference_id,
    settle_server,
    take_drafts,
)
from cds.fhir.resources import Bundle, Patient
from tests.work import assert_in_proportion, work_of

ROOT = Path(__file__).parents[2]
Json = dict[str, Any]
OUTCOME: Json = {"resourceType": "OperationOutcome"}


def observation(id_: str | None, subject: Json | str | None = None, **members: Any) -> Json:
    """Return an Observation; a subject given as text is its reference."""
    if isinstance(subject, str):
        subject = {"reference": subject}
    given = {"id": id_, "subject": subject, **members}
    return {
        "resourceType": "Observation",
        "status": "final",
        **{key: value for key, value in given.items() if value is not None},
    }


def bundle(*resources: Any, links: Json | None = None, kind: str = "searchset") -> Json:
    """Return a Bundle of these resources, with links by their relation."""
    return {
        "resourceType": "Bundle",
        "type": kind,
        "link": [{"relation": name, "url": url} for name, url in (links or {}).items()],
        "entry": [{"resource": resource} for resource in resources],
    }


def delivery_of(document: Json | bytes) -> Delivery:
    """Read one document as it arrives."""
    raw = document if isinstance(document, bytes) else json.dumps(document).encode()
    into = Delivery()
    resource = decode(raw)
    read_resource(resource, into, type(resource).__name__)
    return into


def ids(delivery: Delivery) -> list[str | None]:
    """Return the ids of the Observations of a delivery."""
    return [o.id for o in delivery.observations]


def used(delivery: Delivery) -> int:
    """Count what a delivery makes use of."""
    return (
        len(delivery.patients)
        + len(delivery.observations)
        + len(delivery.conditions)
        + len(delivery.uses)
        + len({id(m) for m in delivery.medications.values()})
    )


# --- one document --------------------------------------------------------------------------------

EXAMPLE = json.dumps(
    bundle(
        {"resourceType": "Patient", "id": "p1", "birthDate": "1970"},
        observation("ck", "Patient/p1", valueQuantity={"value": -1.5e3, "unit": "U/L"}),
        {"resourceType": "Condition", "id": "dm", "code": {"text": "Dermatomyositis “ö” \\ \n"}},
        links={"self": "https://x/Observation?page=1"},
    ),
    indent=1,
    ensure_ascii=False,
).encode()


def test_the_example_can_be_read() -> None:
    """The document that the next test cuts off is sound as a whole."""
    read = delivery_of(EXAMPLE)
    assert (used(read), read.excluded) == (3, [])


def test_a_truncated_document_says_where_it_ends() -> None:
    """Cut off at any byte, a document is Unreadable with file, line and column of its end."""
    for end in range(len(EXAMPLE)):
        with pytest.raises(Unreadable) as refused:
            decode(EXAMPLE[:end], "a.json")
        head = EXAMPLE[:end]
        line, column = head.count(b"\n") + 1, end - head.rfind(b"\n")
        file, at_line, at_column = refused.value.place.split(":")
        assert (file, int(at_line)) == ("a.json", line), end
        # A number or string that was cut is told at or just before the end.
        assert int(at_column) <= column
        assert refused.value.problem


@pytest.mark.parametrize(
    ("raw", "place", "problem"),
    [
        (b"", "f:1:1", "ends too early"),
        (b'{\n  "resourceType": Patient}', "f:2:19", "JSON is malformed: invalid character"),
        (b'{"resourceType": "Patient"} x', "f:1:29", "JSON is malformed: trailing characters"),
        (
            '{"resourceType": "Patient"}'.encode("utf-16"),
            "f:1:1",
            "JSON is malformed: invalid character",
        ),
        (b'{"resourceType": "Patient", "id": "\xff"}', "f", "holds text that is not UTF-8"),
        (b"[" * 100_000, "f", "cannot be read: Expected `object`, got `array`"),
        (
            b'{"resourceType": "Patient", "x":' + b"[" * 9999 + b"]" * 9999 + b"}",
            "f",
            "is nested too deeply to be read",
        ),
        (b"{}", "f", "has no resourceType, so it is not a FHIR resource"),
        (b"null", "f", "cannot be read: Expected `object`, got `null`"),
        (b"[{}]", "f", "cannot be read: Expected `object`, got `array`"),
        (b'{"resourceType": 5}', "f", "cannot be read: Expected `str` - at `$.resourceType`"),
        (
            b'{"id": "s1", "resourceType": "Slot"}',
            "Slot/s1",
            "resource type Slot is not used by this service",
        ),
        (
            b'{"resourceType": "Observation", "id": "o1", "code": {"coding": [7]}}',
            "Observation/o1",
            "cannot be read: Expected `object`, got `int` - at `Observation.code.coding[0]`",
        ),
        (
            b'{"resourceType": "Bundle", "link": [5]}',
            "f",
            "cannot be read: Expected `object`, got `int` - at `Bundle.link[0]`",
        ),
    ],
)
def test_what_is_no_resource_is_unreadable_with_place_and_reason(
    raw: bytes, place: str, problem: str
) -> None:
    """Whatever is wrong with a document as such, the error says where and what."""
    with pytest.raises(Unreadable) as refused:
        decode(raw, "f")
    assert (refused.value.place, refused.value.problem) == (place, problem)
    assert str(refused.value) == f"{place}: {problem}"


def test_a_byte_order_mark_is_passed_over() -> None:
    """The mark that some editors put before UTF-8 text does no harm."""
    assert decode(b"\xef\xbb\xbf" + EXAMPLE) == decode(EXAMPLE)


@given(st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
def test_garbage_is_unreadable_and_nothing_else(raw: bytes) -> None:
    """No bytes whatever raise anything but Unreadable."""
    with pytest.raises(Unreadable):
        decode(raw)


def test_a_single_resource_is_read_like_an_entry() -> None:
    """A document may be one resource; it is sorted, or listed by its place."""
    assert ids(delivery_of(observation("o1"))) == ["o1"]
    read = delivery_of({**OUTCOME, "issue": [{"severity": "error", "code": "timeout"}]})
    assert read.excluded == [
        Excluded("OperationOutcome", "OperationOutcome of the server: timeout")
    ]


# --- entries -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("entry", "reference", "reason"),
    [
        (
            {"resource": {"resourceType": "Observation", "id": "bad", "status": 5}},
            "Observation/bad",
            "cannot be read: Expected `str | null`, got `int` - at `Observation.status`",
        ),
        (
            {"fullUrl": "urn:uuid:1", "resource": {"resourceType": "Observation", "status": 5}},
            "urn:uuid:1",
            "cannot be read: Expected `str | null`, got `int` - at `Observation.status`",
        ),
        (
            {"resource": {"resourceType": "Slot", "id": "s1"}},
            "Slot/s1",
            "resource type Slot is not used by this service",
        ),
        (
            {"resource": {"id": "lost"}},
            "Bundle.entry[1]",
            "has no resourceType, so it is not a FHIR resource",
        ),
        ({"resource": None}, "Bundle.entry[1]", "cannot be read: Expected `object`, got `null`"),
        ({"resource": 5}, "Bundle.entry[1]", "cannot be read: Expected `object`, got `int`"),
        (5, "Bundle.entry[1]", "cannot be read: Expected `object`, got `int`"),
        (None, "Bundle.entry[1]", "cannot be read: Expected `object`, got `null`"),
        ({}, "Bundle.entry[1]", "holds no resource"),
        ({"fullUrl": "urn:uuid:1"}, "urn:uuid:1", "holds no resource"),
        ({"fullUrl": 7}, "Bundle.entry[1]", "holds no resource"),
        (
            {"resource": {"resourceType": "Medication", "code": {"text": "x"}}},
            "Bundle.entry[1]",
            "is a Medication without id: no order can name it",
        ),
        (
            {"resource": {"resourceType": "Bundle", "id": "inner", "link": 5}},
            "Bundle/inner",
            "cannot be read: Expected `array`, got `int` - at `Bundle.link`",
        ),
    ],
)
def test_one_unreadable_entry_never_spoils_a_bundle(
    entry: Any, reference: str, reason: str
) -> None:
    """What is wrong with an entry is listed with reference and reason; its neighbours are used."""
    document = bundle(observation("a"), observation("b"))
    document["entry"].insert(1, entry)
    read = delivery_of(document)
    assert ids(read) == ["a", "b"]
    assert read.excluded == [Excluded(reference, reason)]


def test_an_entry_with_a_senseless_address_is_still_used() -> None:
    """A fault in what surrounds a resource does not cost the resource."""
    document = bundle(observation("a"))
    document["entry"][0] |= {"fullUrl": 5, "request": "get", "search": 7}
    assert ids(delivery_of(document)) == ["a"]


def test_text_that_is_not_utf8_costs_only_its_entry() -> None:
    """An entry in another encoding is listed, the others are used."""
    raw = json.dumps(
        bundle(observation("a", note="?"), observation(None, valueString="?"))
    ).encode()
    read = delivery_of(raw.replace(b"?", b"\xe4"))
    assert ids(read) == ["a"]
    assert read.excluded == [Excluded("Bundle.entry[1]", "holds text that is not UTF-8")]


@pytest.mark.parametrize("members", ['"entry": null, "link": null', '"entry": []', '"id": "x"'])
def test_a_bundle_may_be_empty(members: str) -> None:
    """An empty search is a delivery of nothing, and nothing is listed."""
    assert delivery_of(f'{{"resourceType": "Bundle", {members}}}'.encode()) == Delivery()


SCALAR = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(width=32, allow_nan=False, allow_infinity=False)
    | st.text(max_size=3)
)
NAMES = st.sampled_from(["id", "status", "subject", "code", "valueQuantity", "value", "fullUrl"])
GARBAGE = st.recursive(
    SCALAR,
    lambda inside: st.lists(inside, max_size=3) | st.dictionaries(NAMES, inside, max_size=3),
    max_leaves=6,
)
RESOURCE = st.builds(
    lambda kind, members: {**members, "resourceType": kind},
    st.sampled_from(
        ["Observation", "Patient", "Condition", "Medication", "MedicationRequest", "Slot", ""]
    )
    | GARBAGE,
    st.dictionaries(NAMES, GARBAGE, max_size=4),
)
ENTRY = GARBAGE | st.fixed_dictionaries(
    {"resource": RESOURCE | GARBAGE}, optional={"fullUrl": GARBAGE, "request": GARBAGE}
)


@given(st.lists(ENTRY, max_size=8))
def test_every_entry_is_used_or_listed(entries: list[Any]) -> None:
    """Of any entries whatever, those used and those listed add up to all."""
    read = delivery_of(json.dumps({"resourceType": "Bundle", "entry": entries}).encode())
    assert used(read) + len(read.excluded) == len(entries)
    assert all(e.reference and e.reason for e in read.excluded)
    before = used(read) + len(read.excluded)
    keep_about(read, "p1")
    assert used(read) + len(read.excluded) == before


# --- Bundles of every type -----------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["searchset", "collection", "batch-response", "history", "odd"])
def test_the_type_of_a_bundle_does_not_matter(kind: str) -> None:
    """Resources are read from the entries of a Bundle of any type."""
    assert ids(delivery_of(bundle(observation("a"), observation("b"), kind=kind))) == ["a", "b"]


@pytest.mark.parametrize(
    ("kind", "head"), [("document", "Composition"), ("message", "MessageHeader")]
)
def test_the_head_of_a_document_or_message_is_listed(kind: str, head: str) -> None:
    """A document's Composition and a message's header are not used, the rest is."""
    read = delivery_of(bundle({"resourceType": head, "id": "h"}, observation("a"), kind=kind))
    assert ids(read) == ["a"]
    assert [e.reference for e in read.excluded] == [f"{head}/h"]


def test_an_empty_search_with_an_outcome_is_an_empty_search() -> None:
    """An outcome that only informs is listed, and the search counts as complete."""
    outcome = {**OUTCOME, "issue": [{"severity": "information", "diagnostics": "no matches"}]}
    document = bundle(outcome)
    document["entry"][0]["search"] = {"mode": "outcome"}
    read = delivery_of(document)
    assert read.excluded == [
        Excluded("Bundle.entry[0]", "OperationOutcome of the server: no matches")
    ]
    assert read.incomplete == set()


def test_after_an_error_of_the_server_absence_means_nothing() -> None:
    """Where the server tells of an error, more may exist of every type."""
    issues = [{"severity": "fatal", "code": "exception"}, {"severity": "error"}]
    read = delivery_of(bundle(observation("a"), {**OUTCOME, "issue": issues}))
    assert ids(read) == ["a"]
    assert read.excluded[0].reason == "OperationOutcome of the server: exception; no details"
    assert read.incomplete == RESOURCE_TYPES


def test_a_failed_answer_in_a_batch_is_no_absence() -> None:
    """A part of a batch that the server refused is listed with its status."""
    page = bundle(observation("a"))
    document = bundle(page, kind="batch-response")
    document["entry"][0]["response"] = {"status": "200 OK"}
    document["entry"].append({"response": {"status": "500 Server Error", "outcome": OUTCOME}})
    read = delivery_of(document)
    assert ids(read) == ["a"]
    assert read.excluded == [
        Excluded("Bundle.entry[1]", "holds no resource: the server answered 500 Server Error")
    ]
    assert read.incomplete == RESOURCE_TYPES


def test_a_transaction_response_without_resources_is_listed() -> None:
    """Entries that only say what was stored hold nothing, and nothing is thought missing."""
    document = bundle(kind="transaction-response")
    document["entry"] = [{"response": {"status": "201 Created", "location": "Observation/1"}}]
    read = delivery_of(document)
    assert (read.excluded, read.incomplete) == (
        [Excluded("Bundle.entry[0]", "holds no resource")],
        set(),
    )


def test_what_a_history_tells_was_deleted_is_not_used() -> None:
    """Versions before a deletion are listed; one that was created anew after it is used."""
    document = bundle(observation("again"), observation("gone"), observation("again"))
    document["type"] = "history"
    document["entry"][1:1] = [
        {"fullUrl": f"https://x/Observation/{id_}", "request": {"method": "DELETE", "url": url}}
        for id_, url in (("gone", "Observation/gone"), ("again", "https://x/Observation/again"))
    ]
    read = delivery_of(document)
    assert ids(read) == ["again"]
    assert read.excluded == [
        Excluded("https://x/Observation/gone", "was deleted"),
        Excluded("https://x/Observation/again", "was deleted"),
        Excluded("Observation/gone", "was deleted later"),
        Excluded("Observation/again", "was deleted later"),
    ]


# --- pages ---------------------------------------------------------------------------------------

FURTHER = (
    "a further page of this search exists and was not delivered, so what is not found here may "
    "still be recorded"
)


def test_a_next_page_that_was_not_delivered_is_reported() -> None:
    """A next link that leads out of the document makes its types incomplete."""
    condition = {"resourceType": "Condition", "id": "c"}
    read = delivery_of(bundle(condition, links={"self": "https://x?1", "next": "https://x?2"}))
    assert read.incomplete == {"Condition"}
    assert read.excluded == [Excluded("Bundle.link[next]", FURTHER)]


def test_after_an_empty_page_with_a_next_link_everything_may_exist() -> None:
    """A page that does not show what was searched for makes every type incomplete."""
    assert delivery_of(bundle(links={"next": "https://x?2"})).incomplete == RESOURCE_TYPES


def test_pages_of_one_document_complete_each_other() -> None:
    """A collection of all pages is complete, in whatever order they stand; cycles do no harm."""
    first = bundle(observation("a"), links={"self": "https://x?1", "next": "https://x?2"})
    second = bundle(observation("b"), links={"self": "https://x?2", "next": "https://x?3"})
    third = bundle(observation("c"), links={"self": "https://x?3", "next": "https://x?1"})
    read = delivery_of(bundle(third, first, second, kind="collection"))
    assert ids(read) == ["c", "a", "b"]
    assert (read.incomplete, read.excluded) == (set(), [])


def test_the_page_that_is_missing_is_named_by_its_predecessor() -> None:
    """Of several pages, the one whose next page is missing is named by its path."""
    first = bundle(observation("a"), links={"self": "https://x?1", "next": "https://x?2"})
    second = bundle(observation("b"), links={"self": "https://x?2", "next": "https://x?3"})
    read = delivery_of(bundle(first, second, kind="collection"))
    assert read.incomplete == {"Observation"}
    assert read.excluded == [Excluded("Bundle.entry[1].resource.link[next]", FURTHER)]


def test_a_page_that_leads_to_itself_is_complete() -> None:
    """A next link to the page itself is no further page."""
    links = {"self": "https://x?1", "next": "https://x?1"}
    assert delivery_of(bundle(observation("a"), links=links)).incomplete == set()


def test_bundles_are_read_to_a_fixed_depth() -> None:
    """Bundles in Bundles are read as deep as anybody nests them; deeper ones are listed."""
    document = bundle(observation("deep"))
    for _ in range(DEEPEST - 1):
        document = bundle(document, kind="collection")
    assert ids(delivery_of(document)) == ["deep"]
    read = delivery_of(bundle(document, kind="collection"))
    assert ids(read) == []
    assert read.excluded == [
        Excluded("Bundle" + ".entry[0].resource" * DEEPEST, f"Bundles nested deeper than {DEEPEST}")
    ]


# --- whose they are ------------------------------------------------------------------------------

PATIENT = {
    "resourceType": "Patient",
    "id": "p1",
    "identifier": [{"system": "urn:mrn", "value": "4711"}, {}],
}
SUBJECTS: list[tuple[Json | str | None, bool]] = [
    ("Patient/p1", True),
    ("Patient/p1/_history/7", True),
    ("https://x/fhir/Patient/p1", True),
    ("https://x/fhir/Patient/p1/_history/7", True),
    ("ftp://x/fhir/Patient/p1", False),
    ("//x/fhir/Patient/p1", False),
    ("fhir/Patient/p1", False),
    ("https://x y/fhir/Patient/p1", False),
    ("urn:uuid:c0ffee", True),
    (None, True),
    ({"display": "A. Patient"}, True),
    ({"identifier": {"system": "urn:mrn", "value": "4711", "use": "official"}}, True),
    ({"identifier": {"system": "urn:mrn", "value": "4712"}}, False),
    ({"identifier": {"system": "urn:other", "value": "4711"}}, False),
    ({"identifier": {}}, False),
    ("Patient/p2", False),
    ("Patient/P1", False),
    ("Patient/p1x", False),
    ("https://x/fhir/Patient/p2", False),
    ("https://x/fhir/Group/p1", False),
    ("urn:uuid:decaf", False),
    ("Group/p1", False),
    ("p1", False),
    ("#p1", False),
    ("", False),
]


@pytest.mark.parametrize(("subject", "ours"), SUBJECTS)
def test_only_what_is_about_the_patient_is_kept(subject: Json | str | None, ours: bool) -> None:
    """Every form of reference is understood; what is about somebody else is listed."""
    document = bundle(
        PATIENT,
        observation("o", subject),
        {**observation("c", subject), "resourceType": "Condition"},
        {**observation("m", subject), "resourceType": "MedicationStatement"},
    )
    document["entry"][0]["fullUrl"] = "urn:uuid:c0ffee"
    read = delivery_of(document)
    keep_about(read, "p1")
    kept = [name_of(r) for r in (*read.observations, *read.conditions, *read.uses)]
    listed = [e.reference for e in read.excluded]
    everything = ["Observation/o", "Condition/c", "MedicationStatement/m"]
    assert (kept, listed) == ((everything, []) if ours else ([], everything))


@pytest.mark.parametrize(
    ("subject", "reason"),
    [
        ("Patient/p2", "is about another patient"),
        ("#p1", "is about somebody described within it, who cannot be told to be this patient"),
        (
            {"identifier": {"value": "1"}},
            "is about somebody who is given by an identifier that is not this patient's",
        ),
    ],
)
def test_the_reason_says_why_somebody_is_not_the_patient(subject: Json | str, reason: str) -> None:
    """Another patient, a contained one and an unknown identifier are told apart."""
    read = delivery_of(bundle(PATIENT, observation("o", subject)))
    keep_about(read, "p1")
    assert read.excluded == [Excluded("Observation/o", reason)]


SAME_ID = Excluded(
    "Observation/o",
    "is about a patient with this id at an address that nothing tells to be the same server",
)


@pytest.mark.parametrize(
    ("server", "reference", "ours"),
    [
        ("ehr.example/fhir", "https://ehr.example/fhir/Patient/p1", True),
        ("ehr.example/fhir", "https://ehr.example/fhir/Patient/p1/_history/2", True),
        ("ehr.example/fhir", "http://ehr.example/fhir/Patient/p1", True),
        ("ehr.example/fhir", "HTTPS://EHR.Example:443/fhir//Patient/p1", True),
        ("ehr.example/fhir", "http://ehr.example:80/fhir/Patient/p1", True),
        ("ehr.example/fhir", "Patient/p1/_history/2", True),
        ("ehr.example/fhir", "https://other.example/fhir/Patient/p1", False),
        ("ehr.example/fhir", "https://ehr.example/FHIR/Patient/p1", False),
        ("ehr.example/fhir", "https://ehr.example/fhir/tenant/Patient/p1", False),
        ("ehr.example/fhir", "https://ehr.example:8443/fhir/Patient/p1", False),
        ("ehr.example/fhir", "https://ehr.example.evil.example/fhir/Patient/p1", False),
        ("ehr.example/fhir", "https://ehr.example/fhir?/Patient/p1", False),
        ("ehr.example/fhir", "https://ehr.example@other.example/fhir/Patient/p1", False),
        ("", "https://ehr.example/fhir/Patient/p1", False),
        ("", "Patient/p1", True),
    ],
)
def test_the_same_id_on_another_server_is_another_patient(
    server: str, reference: str, ours: bool
) -> None:
    """An absolute reference counts at the server of the call, however that is written."""
    read = delivery_of(bundle(observation("o", reference)))
    read.server = server
    keep_about(read, "p1")
    assert (ids(read), read.excluded) == ((["o"], []) if ours else ([], [SAME_ID]))
    assert read.foreign == (0 if ours else 1)


A, B = "https://a.example/fhir", "https://b.example/fhir"


@pytest.mark.parametrize(
    ("patient_at", "entry_at", "references", "ours"),
    [
        (None, None, [A, A], [A]),  # nothing else tells, and these agree
        (None, None, [A, B], []),
        (None, "urn:uuid:", [A], [A]),
        (None, A, [A, B], [A]),
        (None, B, [A], []),
        (A, A, [A, B], [A]),
        (A, B, [A, B], [B]),  # a Patient whose address is of none of the entries is another
        (A, None, [A, B], [A]),
        (A, None, [B], []),
        ("urn:uuid:", B, [A, B], [B]),
    ],
)
def test_where_no_server_is_named_what_was_sent_tells_it(
    patient_at: str | None, entry_at: str | None, references: list[str], ours: list[str]
) -> None:
    """The addresses of entries, else that of the Patient, else references that all agree."""
    resources = [observation(str(i), f"{at}/Patient/p1") for i, at in enumerate(references)]
    document = bundle(PATIENT, *resources, observation("relative", "Patient/p1"))
    first, *others = document["entry"]
    first.pop("fullUrl", None)
    if patient_at is not None:
        first["fullUrl"] = f"{patient_at}/Patient/p1"
    for entry in others:
        entry.pop("fullUrl", None)
        if entry_at is not None:
            entry["fullUrl"] = f"{entry_at}/Observation/{entry['resource']['id']}"
    read = delivery_of(document)
    keep_about(read, "p1")
    kept = [str(i) for i, at in enumerate(references) if at in ours]
    assert ids(read) == [*kept, "relative"]


def test_draft_orders_tell_the_server_with_the_chart() -> None:
    """What only the drafts tell counts for them, and what both tell differently counts for none."""
    for about, kept in ((A, ["draft"]), (B, [])):
        chart = delivery_of(bundle(observation("o", f"{A}/Patient/p1")))
        order = {**observation("draft", f"{about}/Patient/p1"), "resourceType": "MedicationRequest"}
        drafts = delivery_of(bundle(order))
        keep_about(chart, "p1", drafts)
        assert [use.id for use in drafts.uses] == kept
        assert ids(chart) == (["o"] if kept else [])


def test_a_patient_of_another_server_is_another_patient() -> None:
    """One with the same id tells neither age nor address of the patient of the call."""
    document = bundle(PATIENT, observation("o", f"{B}/Patient/p1"))
    document["entry"][0]["fullUrl"] = f"{B}/Patient/p1"
    read = Delivery(server="a.example/fhir")
    read_resource(decode(json.dumps(document).encode()), read, "Bundle")
    keep_about(read, "p1")
    assert (read.patients, read.observations, read.foreign) == ([], [], 2)
    assert read.excluded == [
        Excluded("Patient/p1", "is another patient, of another server"),
        SAME_ID,
    ]


def test_two_patients_with_one_id_on_two_servers_are_told_apart_from_neither() -> None:
    """Without a server of the call, neither is kept, nor what refers to either."""
    document = bundle(
        at(A, person("1", "1950-01-01")),
        at(B, person("2", "2015-01-01")),
        observation("a", f"{A}/Patient/p1"),
        observation("b", f"{B}/Patient/p1"),
        observation("by number", {"identifier": {"system": "urn:mrn", "value": "2"}}),
        observation("relative", "Patient/p1"),
    )
    read = delivery_of(document)
    keep_about(read, "p1")
    assert (read.patients, ids(read)) == ([], ["relative"])
    untold = "is another patient, or this one: nothing tells which server the data come from"
    assert read.excluded[:2] == [Excluded("Patient/p1", untold)] * 2
    assert read.incomplete == {"Patient"}


def person(number: str, born: str) -> Json:
    """Return a Patient with the id p1; the higher the number, the later the update."""
    return {
        "resourceType": "Patient",
        "id": "p1",
        "identifier": [{"system": "urn:mrn", "value": number}],
        "birthDate": born,
        "meta": {"lastUpdated": f"202{number}-01-01T00:00:00Z"},
    }


def at(server: str, resource: Json) -> Json:
    """Return a Bundle with the resource at its address on a server."""
    url = f"{server}/{resource['resourceType']}/{resource['id']}"
    return {"resourceType": "Bundle", "entry": [{"fullUrl": url, "resource": resource}]}


MINE, THEIRS = person("1", "1950-01-01"), person("2", "2015-01-01")
BY_NUMBER = {
    number: observation(number, {"identifier": {"system": "urn:mrn", "value": number}})
    for number in ("1", "2")
}


@pytest.mark.parametrize(
    "sent",
    [
        [at(A, MINE), at(B, THEIRS), at(A, observation("a", "Patient/p1"))],
        [MINE, at(B, THEIRS), at(A, observation("a", f"{A}/Patient/p1"))],
        [MINE, at(B, THEIRS), observation("a", f"{A}/Patient/p1")],
        [MINE, at(B, THEIRS), observation("a", "Patient/p1")],
        [at(A, MINE), at(A, MINE), at(B, THEIRS), at(A, observation("a", f"{A}/Patient/p1"))],
    ],
)
def test_where_no_server_is_named_a_namesake_tells_nothing_of_the_patient(sent: list[Json]) -> None:
    """Neither their birth date nor what is about their number counts, however late it is."""
    read = delivery_of(bundle(*sent, *BY_NUMBER.values()))
    keep_about(read, "p1")
    assert [p.birthDate for p in read.patients] == ["1950-01-01"]
    assert ids(read) == ["a", "1"]


def test_a_patient_at_none_of_the_servers_of_their_data_is_not_kept() -> None:
    """Where entries are of several servers, a Patient at a third may be anybody's."""
    observations = [at(server, observation(server[8:9], "Patient/p1")) for server in (A, B)]
    read = delivery_of(bundle(at("https://c.example/fhir", MINE), *observations))
    keep_about(read, "p1")
    assert (read.patients, ids(read), read.incomplete) == ([], ["a", "b"], {"Patient"})


@pytest.mark.parametrize(
    "elsewhere",
    [
        {"resourceType": "Practitioner", "id": "1"},
        {"resourceType": "Medication", "id": "1"},
        {"resourceType": "MedicationRequest", "id": "1", "status": "draft"},
    ],
)
def test_the_address_of_what_is_no_record_of_the_patient_tells_nothing(elsewhere: Json) -> None:
    """A directory, a catalogue of drugs and draft orders may be at another server."""
    mine = at(A, observation("a", f"{A}/Patient/p1"))
    read = delivery_of(bundle(MINE, mine, at(B, elsewhere)))
    keep_about(read, "p1")
    assert (read.server, ids(read)) == ("a.example/fhir", ["a"])


def test_the_address_of_draft_orders_tells_nothing() -> None:
    """Where those that are being placed are at, the chart need not be, whatever their status."""
    order = {"resourceType": "MedicationRequest", "id": "1", "status": "active"}
    chart, drafts = (
        delivery_of(at(A, observation("a", f"{A}/Patient/p1"))),
        delivery_of(at(B, order)),
    )
    keep_about(chart, "p1", drafts)
    assert (ids(chart), len(drafts.uses)) == (["a"], 1)


def test_other_patients_are_listed() -> None:
    """Of several Patients the one asked for is kept."""
    read = delivery_of(bundle({**PATIENT, "id": "p2"}, PATIENT, {**PATIENT, "id": None}))
    keep_about(read, "p1")
    assert [p.id for p in read.patients] == ["p1"]
    assert read.excluded == [
        Excluded("Patient/p2", "is another patient"),
        Excluded("Patient/(without id)", "is another patient"),
    ]


def test_a_patient_under_two_addresses_is_one_patient() -> None:
    """Delivered twice under different addresses, a Patient counts once and both addresses count."""
    document = bundle(
        PATIENT, PATIENT, observation("a", "urn:uuid:1"), observation("b", "urn:oid:2")
    )
    document["entry"][0]["fullUrl"] = "urn:uuid:1"
    document["entry"][1]["fullUrl"] = "urn:oid:2"
    read = delivery_of(document)
    keep_about(read, "p1")
    assert ids(read) == ["a", "b"]
    assert [e.reference for e in read.excluded] == ["Patient/p1"]


def test_what_has_no_id_yet_is_known_by_its_address() -> None:
    """In a transaction, entries to be created refer to each other by the address of their entry."""
    patient = {"resourceType": "Patient"}
    document = bundle(patient, observation(None, "urn:uuid:c0ffee"), kind="transaction")
    document["entry"][0]["fullUrl"] = "urn:uuid:c0ffee"
    document["entry"][1]["fullUrl"] = "urn:uuid:decaf"
    read = delivery_of(document)
    keep_about(read, "c0ffee")
    assert [name_of(o) for o in read.observations] == ["Observation/decaf"]
    assert read.excluded == []


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        ("Patient/p1", "p1"),
        ("https://x/fhir/Patient/p1/_history/3", "p1"),
        ("urn:uuid:c0ffee", "c0ffee"),
        ("p1", "p1"),
        ("", ""),
    ],
)
def test_the_id_is_the_end_of_a_reference(reference: str, expected: str) -> None:
    """The id is found in relative, absolute, versioned and URN references."""
    assert reference_id(reference) == expected


# --- delivered more than once --------------------------------------------------------------------

ONCE = "is delivered more than once; the version last updated counts, once"


def version(number: int, updated: str | None) -> Json:
    """Return a version of one Observation."""
    return observation("o", valueInteger=number, meta={"lastUpdated": updated} if updated else None)


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0), (1, 0, 2)])
def test_the_version_last_updated_counts(order: tuple[int, ...]) -> None:
    """Whatever the order of delivery, and across offsets, the latest version is kept."""
    versions = [
        version(1, None),
        version(2, "2024-03-01T14:00:00+03:00"),
        version(3, "2024-03-01T12:00:00Z"),
    ]
    read = delivery_of(bundle(*(versions[i] for i in order)))
    keep_about(read, "p1")
    assert [o.valueInteger for o in read.observations] == [3]
    assert read.excluded == [Excluded("Observation/o", ONCE)] * 2
    assert read.incomplete == set()


def test_the_same_version_twice_counts_once() -> None:
    """Copies count once, with or without a time of update."""
    for updated in (None, "2024-03-01T12:00:00Z"):
        read = delivery_of(bundle(version(1, updated), version(1, updated)))
        keep_about(read, "p1")
        assert [o.valueInteger for o in read.observations] == [1]
        assert read.excluded == [Excluded("Observation/o", ONCE)]


def test_of_contradicting_versions_none_is_guessed() -> None:
    """Where versions differ and none is the latest, all are listed and the type is incomplete."""
    read = delivery_of(bundle(version(1, None), version(2, None), observation("other")))
    keep_about(read, "p1")
    assert ids(read) == ["other"]
    reason = "is delivered in versions that differ, and nothing says which is the latest"
    assert read.excluded == [Excluded("Observation/o", reason)] * 2
    assert read.incomplete == {"Observation"}


def test_the_same_id_in_another_type_is_another_resource() -> None:
    """An order and a statement with one id, and resources without id, are all kept."""
    kinds = ["MedicationRequest", "MedicationStatement", "MedicationAdministration"]
    read = delivery_of(bundle(*({"resourceType": kind, "id": "1"} for kind in kinds)))
    read_bundle(Bundle(), read)
    read.observations = delivery_of(bundle(observation(None), observation(None))).observations
    keep_about(read, "p1")
    assert [name_of(u) for u in read.uses] == [f"{kind}/1" for kind in kinds]
    assert len(read.observations) == 2
    assert read.excluded == []


# --- Medications ---------------------------------------------------------------------------------


def medication(text: str | None, updated: str | None = None) -> Json:
    """Return a Medication of that name."""
    return {
        "resourceType": "Medication",
        "id": "m1",
        "code": {"text": text},
        "meta": {"lastUpdated": updated},
    }


def texts(read: Delivery) -> dict[str, str | None]:
    """Return the names of the Medications by the references that find them."""
    return {key: m.code.text if m.code else None for key, m in read.medications.items()}


def test_medications_are_found_by_id_and_by_address() -> None:
    """A Medication is found under its type and id, and under an address that is no server's."""
    document = bundle(medication("azathioprine"))
    document["entry"][0]["fullUrl"] = "urn:uuid:1"
    assert texts(delivery_of(document)) == {
        "Medication/m1": "azathioprine",
        "urn:uuid:1": "azathioprine",
    }


@pytest.mark.parametrize(
    ("server", "found"),
    [
        ("x/fhir", "Medication/m1"),
        ("y/fhir", "https://X/fhir/Medication/m1"),
        ("", "https://X/fhir/Medication/m1"),
    ],
)
def test_a_medication_with_an_address_has_its_id_on_that_server_only(
    server: str, found: str
) -> None:
    """The same id is another product elsewhere; where nothing tells the server, it may be."""
    document = bundle(medication("azathioprine"))
    document["entry"][0]["fullUrl"] = "https://X/fhir/Medication/m1/_history/4"
    read = delivery_of(document)
    read.server = server
    for _ in range(2):
        settle_server("p1", read)
        assert (texts(read), read.excluded) == ({found: "azathioprine"}, [])


def test_patients_with_and_without_an_address_are_told_apart_in_proportion() -> None:
    """Each is looked up among those with an address, and not compared with every one of them."""
    compared = 0

    class Watched(Patient, frozen=True, eq=False):
        def __eq__(self, other: object) -> bool:
            nonlocal compared
            compared += 1
            return self is other

        def __hash__(self) -> int:
            return id(self)

    def work(number: int) -> int:
        nonlocal compared
        compared = 0
        patients = [Watched(id="p1") for _ in range(number)]
        located = [(f"urn:uuid:{i}", patient) for i, patient in enumerate(patients)]
        settle_server("p1", Delivery(patients=list(patients), located=list(located)))
        return number + compared

    assert_in_proportion(work, 50)


def test_versions_at_one_address_are_of_one_medication() -> None:
    """Also of two deliveries, and with what has no address of its own."""
    old, new = medication("a", "2024-01-01T00:00:00Z"), medication("b", "2024-02-01T00:00:00Z")
    parts = []
    for version in (new, old):
        document = bundle(version)
        document["entry"][0]["fullUrl"] = "https://x/fhir/Medication/m1"
        parts.append(delivery_of(document))
    read = delivery_of(bundle(medication("c", "2023-01-01T00:00:00Z")))
    read.server = "x/fhir"
    for part in parts:
        add(part, read)

    settle_server("p1", read)

    assert texts(read) == {"Medication/m1": "b"}
    assert read.excluded == [Excluded("Medication/m1", ONCE)] * 2


def test_the_latest_version_of_a_medication_counts() -> None:
    """A Medication delivered twice is the version last updated; the other is listed."""
    old, new = medication("a", "2024-01-01T00:00:00Z"), medication("b", "2024-02-01T00:00:00Z")
    for document in (bundle(old, new), bundle(new, old)):
        read = delivery_of(document)
        assert texts(read) == {"Medication/m1": "b"}
        assert read.excluded == [Excluded("Medication/m1", ONCE)]


def test_contradicting_medications_name_no_drug() -> None:
    """Where two versions of a Medication differ and none is the latest, the drug is unknown."""
    read = delivery_of(bundle(medication("a"), medication("b")))
    assert texts(read) == {"Medication/m1": None}
    assert [e.reference for e in read.excluded] == ["Medication/m1"] * 2


def referring(*references: str) -> list[Json]:
    """Return orders that only refer to their drugs."""
    return [
        {"resourceType": "MedicationRequest", "medicationReference": {"reference": reference}}
        for reference in references
    ]


@pytest.mark.parametrize(
    "reference",
    [
        "Medication/m1",
        "Medication/m1/_history/2",
        "https://ehr.example/fhir/Medication/m1",
        "http://EHR.example:80/fhir/Medication/m1/_history/2",
    ],
)
@pytest.mark.parametrize("address", [None, "https://ehr.example/fhir/Medication/m1"])
def test_a_medication_is_found_by_however_an_order_refers_to_it(
    reference: str, address: str | None
) -> None:
    """With the address of the server or without, and to whatever version; another id is not."""
    document = bundle({"resourceType": "Medication", "id": "m1"}, *referring(reference))
    document["entry"][0]["fullUrl"] = address
    read = delivery_of(document)
    read.server = "ehr.example/fhir"

    settle_server("p1", read)

    (order,) = read.uses
    assert order.medicationReference is not None and order.medicationReference.reference is not None
    found = find_medication(order.medicationReference.reference, read.medications)
    assert found is not None and found.id == "m1"
    assert find_medication("Medication/m2", read.medications) is None


@pytest.mark.parametrize("server", ["ehr.example/fhir", ""])
def test_an_absolute_reference_to_a_medication_counts_at_its_server_only(server: str) -> None:
    """Another's Medication of the same id is another drug, found by its whole address if at all."""
    elsewhere, there = "https://x/fhir/Medication/m1", "https://y/fhir/Medication/m1/_history/1"
    document = bundle(medication("a"), medication("b"), *referring(elsewhere, there))
    document["entry"][1]["fullUrl"] = "https://y/fhir/Medication/m1"
    read = delivery_of(document)
    read.server = server

    settle_server("p1", read)

    found = [
        find_medication(use.medicationReference.reference or "", read.medications)
        for use in read.uses
        if use.medicationReference is not None
    ]
    assert [m.code and m.code.text for m in found if m is not None] == ["b"]
    assert found[0] is None


@pytest.mark.parametrize("server", ["ehr.example/fhir", ""])
def test_an_order_refers_to_the_medication_beside_it(server: str) -> None:
    """A relative reference is to the server where the order is, whatever that one is called."""
    document = bundle(medication("a"), medication("b"), *referring("Medication/m1") * 3)
    for entry, address in zip(
        document["entry"][1:],
        (
            "https://gate/r4/Medication/m1",
            "https://gate/r4/MedicationRequest/1",
            None,
            "urn:uuid:1",
        ),
        strict=True,
    ):
        entry["fullUrl"] = address
    read = delivery_of(document)
    read.server = server
    drafts = take_drafts(read)
    settle_server("p1", read, drafts=drafts)

    found = [
        find_medication(use.medicationReference.reference or "", read.medications)
        for use in read.uses
        if use.medicationReference is not None
    ]

    assert [m and m.code and m.code.text for m in found] == ["b", "a", "a"]


# --- what is counted -----------------------------------------------------------------------------


def test_entries_are_counted_in_bundles_of_bundles() -> None:
    """Whatever they hold; what is no JSON has none."""
    pages = bundle(bundle(observation("1"), observation("2")), bundle(), observation("3"))

    assert count_entries(json.dumps(pages).encode()) == 5
    assert count_entries(json.dumps({"entry": 5, "x": [{"entry": [{}, None]}]}).encode()) == 2
    assert count_entries(b"[1, true, null]") == count_entries(b"7") == 0
    assert count_entries(b"{") == count_entries(b"\xff") == count_entries(b"[" * 5000) == 0


@pytest.mark.parametrize(
    "passed_over",
    [b"1e999", b'"\xff"', b'{"\xe9": 1, "\xe8": 2}', b'"\\u0000"', b"[0.1, 12]"],
)
@pytest.mark.parametrize("before", [b"", b"\xef\xbb\xbf", b"\xef\xbb\xbf" * 2])
def test_what_a_reader_passes_over_hides_no_entries(passed_over: bytes, before: bytes) -> None:
    """A number beyond all bounds, or a byte that is no UTF-8, is in the way of no count."""
    pages = json.dumps(bundle(bundle(observation("1"), observation("2")), observation("3")))
    document = before + pages.encode()[:-1] + b', "y": ' + passed_over + b"}"

    assert count_entries(document) == 4
    assert len(delivery_of(document).observations) == 3


def test_what_is_read_and_cannot_be_counted_has_the_most_entries_that_it_could() -> None:
    """A whole number of thousands of digits is no reason to count none."""
    pages = json.dumps(bundle(observation("1"), observation("2"))).encode()
    document = pages[:-1] + b', "y": 1' + b"0" * 5000 + b"}"

    assert len(delivery_of(document).observations) == 2
    assert count_entries(document) >= 2
    assert not has_few_entries(document, 1)


def request(pages: Json, orders: Json | None = None) -> Json:
    """Return a request of a hook with these Bundles."""
    return {"hook": "order-sign", "context": {"draftOrders": orders}, "prefetch": pages}


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize(
    "place",
    [
        lambda page: page,
        lambda page: request({"patient": None, "observations": page, "conditions": bundle()}),
        lambda page: request({"patient": {"resourceType": "Patient"}}, page),
    ],
)
def test_entries_where_they_usually_are_are_counted_without_reading_them(
    place: Callable[[Json], Json], indent: int | None
) -> None:
    """Whatever their number, it takes the same few steps, and what they hold is only skipped."""

    def counting(number: int) -> int:
        code = {"coding": [{"system": "http://loinc.org", "code": "2157-6"}], "text": 'CK "ö"'}
        page = bundle(*[observation(f"o{i}", "Patient/p1", code=code) for i in range(number)])
        document = json.dumps(place(page), indent=indent).encode()
        assert not has_few_entries(document, number - 1)
        return work_of(lambda: assert_few(document, number))

    def assert_few(document: bytes, most: int) -> None:
        assert has_few_entries(document, most)

    assert counting(500) == counting(2000) < 50


PAGE = '{"entry": [{}, {}]}'


@pytest.mark.parametrize(
    ("document", "entries"),
    [
        ('{"prefetch": {"a": {"entry": [{"resource": %s}]}}}', 3),
        ('{"prefetch": {"a": {"entry": [{}], "contained": [%s]}}}', 3),
        ('{"prefetch": {"a": [%s], "b": {"entry": [{}]}}}', 3),
        ('{"prefetch": {"a": {"entry": [{}]}}, "extension": %s}', 3),
        ('{"context": {"draftOrders": {"entry": [{}]}, "other": %s}}', 3),
        ('{"entry": [{"resource": %s}, {}], "prefetch": {"b": {"entry": [{}]}}}', 5),
        ('{"prefetch": {"a": {"entry": null, "x": %s}}}', 2),
        ('{"prefetch": {"a": {"\\u0065ntry": [{"resource": %s}]}}}', 3),
        ('{"entr\\u0079": [{"text": "a"}, {}], "x": %s}', 4),
        ('{"entry": [{}, null, "entry", 1, [%s]]}', 7),
        ('{"prefetch": "entry", "context": ["entry", %s]}', 2),
    ],
)
@pytest.mark.parametrize("page", [PAGE, PAGE.replace("n", "\\u006E"), PAGE.replace(" ", "\n")])
def test_entries_elsewhere_than_usual_are_counted_as_well(
    document: str, entries: int, page: str
) -> None:
    """However the word is written that they stand under, and whatever else is that word."""
    written = (document % page).encode()
    assert count_entries(written) == entries
    assert has_few_entries(written, entries)
    assert not has_few_entries(written, entries - 1)


def entries_in(value: Any) -> int:
    """Count the entries of all Bundles in some JSON, one after the other."""
    if isinstance(value, list):
        return sum(map(entries_in, value))
    if not isinstance(value, dict):
        return 0
    entry = value.get("entry")
    here = len(entry) if isinstance(entry, list) else 0
    return here + sum(map(entries_in, value.values()))


MEMBERS = ("entry", "prefetch", "context", "draftOrders", "resource", "x")


@given(
    st.recursive(
        st.sampled_from((None, 1, "entry", {}, {"entry": [{}]})),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from(MEMBERS), inner, max_size=3)
        ),
    ),
    st.sampled_from(("entry", "e\\u006etry")),
)
def test_all_entries_of_any_document_are_counted(value: Any, word: str) -> None:
    """Wherever they are: no more and no fewer."""
    written = json.dumps(value).replace("entry", word).encode()
    assert count_entries(written) == entries_in(value)


def test_a_name_that_is_repeated_hides_no_entries() -> None:
    """The last one counts, for the count as for who reads them."""
    repeated = b'{"entry": [{}, {}, {}], "entry": [{}]}'
    assert count_entries(repeated) == 1
    assert count_entries(b'{"prefetch": {"a": %b, "a": {"entry": [{}]}}}' % repeated) == 1


def test_entries_that_are_no_objects_are_counted() -> None:
    """They are listed one by one as well, and are no cheaper way past the bound."""
    nothing = b'{"resourceType": "Bundle", "entry": [null, 1, "a", []]}'
    assert count_entries(nothing) == 4
    assert has_few_entries(nothing, 4)
    assert not has_few_entries(nothing, 3)


@pytest.mark.parametrize(
    ("document", "worth"),
    [
        (b"7", 0),
        (b"{}" * 20, 1),
        (b"{}" * 21, 2),
        (b"[]" * 41, 3),
        (b"," * 149, 2),
        (b"," * 150, 3),
    ],
)
def test_a_document_is_worth_the_entries_that_would_have_so_much(
    document: bytes, worth: int
) -> None:
    """Objects and arrays count by twenty, what stands beside others by fifty."""
    assert entries_worth(document) == worth


@pytest.mark.parametrize(
    ("listed", "of"),
    [
        (b'"ab"', '{"resourceType": "AllergyIntolerance", "category": [%s]}'),
        (b"{}", '{"resourceType": "Observation", "code": {"coding": [%s]}}'),
        (
            b'{"code":"a","system":"b","display":"\xe2\x82\xac"}',
            '{"resourceType": "Observation", "code": {"coding": [%s]}}',
        ),
        (
            b'{"code":{"coding":[{"code":"x"}]},"valueQuantity":{"value":1}}',
            '{"resourceType": "Observation", "component": [%s]}',
        ),
        (
            b'{"timing":{"repeat":{"period":1}},"doseAndRate":[{"doseQuantity":{"value":1}}]}',
            '{"resourceType": "MedicationRequest", "dosageInstruction": [%s]}',
        ),
    ],
)
def test_what_is_read_of_a_document_takes_in_proportion_to_what_it_is_worth(
    listed: bytes, of: str
) -> None:
    """However little each thing in it is: its length alone tells of less than a tenth."""
    before, after = (b'{"resourceType": "Bundle", "entry": [{"resource": ' + of.encode()).split(
        b"%s"
    )
    document = before + b",".join([listed] * 5000) + after + b"}]}"
    delivery_of(document)  # what is loaded with the first
    tracemalloc.start()
    try:
        delivery = delivery_of(document)
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert delivery.excluded == []
    assert taken < 5 * bytes_worth(document)


def test_fhir_is_worth_its_bytes() -> None:
    """No more is held for a chart than it has bytes."""
    chart = (ROOT / "fhir_examples" / "refractory-dermatomyositis.request.json").read_bytes()
    assert bytes_worth(chart) == len(chart)
    assert bytes_worth(b"{}" * 40) == 2 * 1024


@pytest.mark.parametrize(
    ("entry", "whole"),
    [
        ({"fullUrl": "https://ehr.example/Condition/1"}, False),
        ({"fullUrl": "https://ehr.example/Condition/1", "response": {"status": "204"}}, True),
        ({"request": {"method": "DELETE", "url": "Condition/1"}, "fullUrl": "x"}, True),
        ({}, True),
    ],
)
def test_an_address_without_its_resource_leaves_all_incomplete(entry: Json, whole: bool) -> None:
    """There is something, and of what type nobody can tell."""
    read = delivery_of({"resourceType": "Bundle", "entry": [entry]})

    assert read.incomplete == (set() if whole else RESOURCE_TYPES)


@pytest.mark.parametrize(
    ("severity", "failed"),
    [
        ("information", False),
        ("warning", False),
        ("Warning", False),
        ("success", False),
        ("error", True),
        ("FATAL", True),
        ("unheard-of", True),
        (None, True),
    ],
)
def test_an_issue_that_is_not_known_to_be_harmless_is_a_failure(
    severity: str | None, failed: bool
) -> None:
    """An answer with a failure in it may lack anything."""
    issue = {"code": "exception"} | ({"severity": severity} if severity else {})
    read = delivery_of(bundle(observation("1"), {**OUTCOME, "issue": [issue]}))

    assert read.incomplete == (RESOURCE_TYPES if failed else set())


def test_what_is_about_others_is_counted() -> None:
    """Patients and what is about them, once each however often it is looked at."""
    read = delivery_of(
        bundle(
            {"resourceType": "Patient", "id": "p1"},
            {"resourceType": "Patient", "id": "p2"},
            observation("1", "Patient/p1"),
            observation("2", "Patient/p2"),
        )
    )
    keep_about(read, "p1")
    keep_about(read, "p1")

    assert read.foreign == 2


@pytest.mark.parametrize(("total", "stated"), [(7, 7), (0, 0), ("7", 0), (None, 0), (1.5, 0)])
def test_a_delivery_knows_how_many_hits_a_search_states(total: object, stated: int) -> None:
    """The highest of those that its Bundles state; what is no number spoils nothing."""
    pages = bundle(bundle(observation("1")) | {"total": total}, {"resourceType": "Bundle"})

    read = delivery_of(pages)

    assert (ids(read), read.stated) == (["1"], stated)


def test_drafts_are_taken_out_of_a_chart() -> None:
    """Orders that are drafts go, and everything else stays, in its order."""
    orders = [
        {"resourceType": "MedicationRequest", "id": str(i), "status": status}
        for i, status in enumerate(("active", "draft", "stopped", "draft"))
    ]
    chart = delivery_of(bundle(*orders, {"resourceType": "MedicationStatement", "status": "draft"}))

    drafts = take_drafts(chart)

    assert [use.id for use in drafts.uses] == ["1", "3"]
    assert [use.id for use in chart.uses] == ["0", "2", None]
    assert drafts.medications is chart.medications
