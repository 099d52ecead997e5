import json
from typing import Any
from uuid import UUID

import pytest
from starlette.datastructures import Headers
from structlog.testing import LogCapture

from cds.hooks.outcomes import Refused
from cds.hooks.requests import MOST_BESIDE, MOST_KEYS, check_type, read_request

MINIMAL: dict[str, Any] = {
    "hook": "patient-view",
    "hookInstance": "d1577c69-dfbe-44ad-ba6d-3e05e953b2ea",
    "context": {"userId": "Practitioner/example", "patientId": "1288992"},
}


def problem_of(body: bytes) -> str:
    """Return why a body is refused, after asserting that it is refused as malformed."""
    with pytest.raises(Refused) as refusal:
        read_request(body, "patient-view")
    assert refusal.value.status == 400
    (problem,) = refusal.value.problems
    return problem


def without(*path: str) -> bytes:
    """Return the minimal request without one of its fields."""
    changed = json.loads(json.dumps(MINIMAL))
    inner = changed
    for key in path[:-1]:
        inner = inner[key]
    del inner[path[-1]]
    return json.dumps(changed).encode()


def with_(**fields: Any) -> bytes:
    """Return the minimal request with some fields more, or other ones."""
    return json.dumps(MINIMAL | fields).encode()


def with_patient(patient: str) -> bytes:
    """Return the minimal request about a patient."""
    return with_(context={"userId": "Practitioner/example", "patientId": patient})


def authorized(**changes: Any) -> bytes:
    """Return the minimal request with a token for a FHIR server, some of its fields other ones."""
    authorization = {"access_token": "t0ken", "token_type": "Bearer"} | changes
    return with_(fhirAuthorization=authorization, fhirServer="https://ehr.example/fhir")


def test_point_07_what_the_specification_requires_is_enough() -> None:
    """Hook, hookInstance and context with user and patient make a request."""
    request = read_request(with_(), "patient-view")

    assert request.patient == "1288992"
    assert request.hookInstance == UUID("d1577c69-dfbe-44ad-ba6d-3e05e953b2ea")
    assert request.prefetch is None


@pytest.mark.parametrize(
    ("path", "named"),
    [
        (["hook"], "`hook`"),
        (["hookInstance"], "`hookInstance`"),
        (["context"], "`context`"),
        (["context", "userId"], "`userId` - at `$.context`"),
        (["context", "patientId"], "`patientId` - at `$.context`"),
    ],
)
def test_point_07_each_required_field_is_missed(path: list[str], named: str) -> None:
    """A request without a required field is malformed, and the field is named."""
    assert f"missing required field {named}" in problem_of(without(*path))


@pytest.mark.parametrize(
    ("fields", "place"),
    [
        ({"hook": 1}, "$.hook"),
        ({"hookInstance": "first"}, "$.hookInstance"),
        ({"context": []}, "$.context"),
        ({"context": {"userId": "", "patientId": "p"}}, "$.context.userId"),
        ({"context": {"userId": "u", "patientId": None}}, "$.context.patientId"),
        ({"prefetch": []}, "$.prefetch"),
        ({"fhirServer": {}}, "$.fhirServer"),
    ],
)
def test_point_07_each_field_of_a_wrong_kind_is_named(fields: dict[str, Any], place: str) -> None:
    """What is of a wrong kind is named by its path in the JSON."""
    assert f"`{place}`" in problem_of(with_(**fields))


def test_point_07_another_hook_than_that_of_the_service_is_refused() -> None:
    """A service answers only the hook that discovery gives it."""
    assert "for the hook patient-view" in problem_of(with_(hook="order-sign"))


def test_point_07_an_authorization_needs_its_server() -> None:
    """A token comes with the address of the server it is for."""
    authorization = {"access_token": "t0ken", "token_type": "Bearer"}

    refused = problem_of(with_(fhirAuthorization=authorization))
    read = read_request(
        with_(fhirAuthorization=authorization, fhirServer="https://ehr.example/fhir"),
        "patient-view",
    )

    assert "`$.fhirServer` is missing" in refused
    assert "t0ken" not in refused + repr(read)


@pytest.mark.parametrize(
    ("changes", "place"),
    [
        ({"access_token": 5}, "access_token"),
        ({"access_token": None}, "access_token"),
        ({"access_token": ""}, "access_token"),
        ({"token_type": ["Bearer"]}, "token_type"),
        ({"token_type": "Basic"}, "token_type"),
        ({"expires_in": "300"}, "expires_in"),
        ({"scope": ["patient/*.read"]}, "scope"),
        ({"subject": {}}, "subject"),
        ({"patient": 1288992}, "patient"),
        ({"patient": "jane"}, "patient"),
        ({"patient": ""}, "patient"),
    ],
)
def test_point_07_each_wrong_field_of_an_authorization_is_named(
    changes: dict[str, Any], place: str
) -> None:
    """Whether or not it will be used, and with nothing of its values."""
    refused = problem_of(authorized(**changes))

    assert f"`$.fhirAuthorization.{place}`" in refused
    assert "t0ken" not in refused
    assert "jane" not in refused


@pytest.mark.parametrize("missing", ["access_token", "token_type"])
def test_point_07_an_authorization_has_a_token_and_its_type(missing: str) -> None:
    """Without them it opens nothing."""
    authorization = {"access_token": "t0ken", "token_type": "Bearer"}
    del authorization[missing]
    refused = problem_of(with_(fhirAuthorization=authorization, fhirServer="https://ehr.example/"))

    assert f"missing required field `{missing}` - at `$.fhirAuthorization`" in refused


@pytest.mark.parametrize("missing", ["expires_in", "scope", "subject"])
def test_point_07_what_only_tells_of_a_token_may_be_missing(missing: str) -> None:
    """The specification requires these fields, but nothing here depends on them."""
    said = {"expires_in": 300, "scope": "patient/*.read", "subject": "cds", "patient": "1288992"}

    for body in (
        authorized(**{name: value for name, value in said.items() if name != missing}),
        authorized(**said | {missing: None}),
    ):
        assert read_request(body, "patient-view").fhirAuthorization is not None


LONG = json.dumps({"resourceType": "Bundle", "entry": [{"fullUrl": "x" * 300}]})


@pytest.mark.parametrize(
    ("once", "more"),
    [
        ('"hook": ', '"hook": "order-sign", '),
        ('"context": ', '"context": {"userId": "Practitioner/1", "patientId": "other"}, '),
        ('"patientId": ', '"patientId": "other", '),
        ('"patientId": ', '"patient\\u0049d": "other", '),
        ('"prefetch": ', '"prefetch": {}, '),
        ('"conditions": ', '"conditions": null, '),
        ('"conditions": ', f'"conditions": {LONG}, '),
        ('"unknown": ', '"unknown": 1, '),
        ('"deep": ', '"deep": 1, '),
    ],
)
@pytest.mark.parametrize("first", [True, False])
def test_point_07_a_request_that_names_one_thing_twice_is_refused(
    once: str, more: str, first: bool
) -> None:
    """Nothing says which of them counts, for which patient least of all."""
    written = (
        '{"hook": "patient-view", "hookInstance": "6bb7daf0-0000-4000-8000-000000000001",'
        ' "context": {"userId": "Practitioner/1", "patientId": "p1"},'
        f' "prefetch": {{"others": {LONG}, "conditions": {LONG}, "numbers": 1e400}},'
        ' "unknown": {"deep": ' + "9" * 5000 + "}}"
    )
    assert read_request(written.encode(), "patient-view").patient == "p1"
    at = written.index(once)
    twice = written[:at] + more + written[at:]
    if not first:  # what was the only one is the last, as it is the first
        name = more.partition(":")[0]
        twice = twice.replace(more, "", 1)
        end = at + len(once)
        value, length = json.JSONDecoder(parse_int=str, parse_float=str).raw_decode(twice[end:])
        twice = f"{twice[: end + length]}, {name}: {json.dumps(value)}{twice[end + length :]}"

    with pytest.raises(Refused, match="two members of one name") as refusal:
        read_request(twice.encode(), "patient-view")
    assert refusal.value.status == 400


@pytest.mark.parametrize(
    ("prefetch", "context"),
    [
        # A text that begins and ends as what stands between two others.
        ({"x": f"{' ' * 220}:"}, f'"patientId"{" " * 220}:"p1"'),
        (
            {"x": f"{' ' * 220}:", "y": f"{' ' * 220},"},
            f'"patientId"{" " * 220}:"p1"{" " * 220},"patientId":"p2"',
        ),
    ],
)
def test_a_text_that_looks_like_the_form_hides_nothing(
    prefetch: dict[str, str], context: str
) -> None:
    """What is skipped is skipped where it stands, and not wherever its bytes are found."""
    sent = json.dumps({**MINIMAL, "prefetch": prefetch, "context": {"userId": "u", "CONTEXT": 1}})
    body = sent.replace('"CONTEXT": 1', context).encode()

    if context.count("patientId") == 1:
        assert read_request(body, "patient-view").patient == "p1"
    else:
        assert "two members of one name" in problem_of(body)


def test_as_many_keys_and_as_much_beside_them_as_may_be_are_read() -> None:
    """Long values of prefetch and draft orders, in letters of several bytes, do not count."""
    values = {f"k{i}": f"v{i:06}{'é' * 20_000}" for i in range(MOST_KEYS)}
    orders = {"resourceType": "Bundle", "z": "ü" * 300_000}
    context = {"userId": "u", "patientId": "p1", "draftOrders": orders}
    sent = MINIMAL | {"hook": "order-sign", "prefetch": values, "context": context}
    body = json.dumps(sent | {"extension": "a" * (MOST_BESIDE - 10_000)}, ensure_ascii=False)

    assert read_request(body.encode(), "order-sign").patient == "p1"


def test_more_keys_of_prefetch_than_anyone_sends_are_refused() -> None:
    """Each costs work beside that of its bytes; the refusal says where they are, and the bound."""
    keys = {f"k{i}": None for i in range(MOST_KEYS + 1)}

    assert problem_of(with_(prefetch=keys)) == (
        "This is not a request that can be answered: "
        "Expected `object` of length <= 200 - at `$.prefetch`."
    )


@pytest.mark.parametrize("place", ["context", "extension", ""])
def test_more_beside_the_resources_than_anyone_sends_is_refused(place: str) -> None:
    """Names that nobody knows are gone through one by one, wherever they stand."""
    flood = {f"x{i}": 1 for i in range(MOST_BESIDE // 10)}
    known = MINIMAL.get(place, {})
    body = with_(**(flood if not place else {place: {**known, **flood}}))

    with pytest.raises(Refused, match="more than 1048576 bytes beside `prefetch`") as refusal:
        read_request(body, "patient-view")
    assert (refusal.value.status, refusal.value.issue_type) == (413, "too-costly")


def test_draft_orders_are_not_gone_through_for_names() -> None:
    """What stands twice in a resource is its reader's; in what is around it, it is refused."""
    orders = f'{{"resourceType": "Bundle", "entry": [{{"id": 1, "id": 2, "x": {LONG}}}]}}'
    written = (
        '{"hook": "order-sign", "hookInstance": "6bb7daf0-0000-4000-8000-000000000001", "context":'
        f' {{"userId": "Practitioner/1", "patientId": "p1", "draftOrders": {orders}}}}}'
    )
    assert read_request(written.encode(), "order-sign").patient == "p1"
    with pytest.raises(Refused, match="two members of one name"):
        read_request(
            written.replace('"userId"', '"draftOrders": {}, "userId"').encode(), "order-sign"
        )


def test_point_11_unknown_fields_are_ignored() -> None:
    """Extra fields of the request and of its context do not matter."""
    context = MINIMAL["context"] | {"extra": [1], "encounterId": "e1"}

    request = read_request(with_(context=context, extension={"org.example": 1}), "patient-view")

    assert request.context.encounterId == "e1"
    assert request.patient == "1288992"


def test_text_that_nobody_reads_may_be_no_utf_8() -> None:
    """An ignored field is ignored with whatever it holds, as one that is long is not looked at."""
    body = with_(extension={"org.example": "M\u00fcller"}).replace(b"\\u00fc", b"\xfc")

    assert b"M\xfcller" in body
    assert read_request(body, "patient-view").patient == "1288992"


def test_null_stands_for_an_optional_field_that_is_absent() -> None:
    """Some clients write null for what they do not send."""
    nothing = dict.fromkeys(["prefetch", "fhirServer", "fhirAuthorization"])

    assert read_request(with_(**nothing), "patient-view").prefetch is None


def test_a_patient_id_with_its_type_is_accepted_and_logged(log: LogCapture) -> None:
    """`Patient/id` is read as the id; the log says so, and not whose id it was."""
    request = read_request(with_patient("Patient/1288992"), "patient-view")

    assert request.patient == "1288992"
    assert [entry["event"] for entry in log.entries] == ["patient_id_with_type"]
    assert "1288992" not in str(log.entries)


@pytest.mark.parametrize(
    "patient", ["https://ehr.example/Patient/p1", "Patient/", "a b", "p1/_history/2", "p1\n", "é"]
)
def test_what_is_no_id_is_not_taken_for_one(patient: str) -> None:
    """An id that nothing in the prefetch could bear would look like a patient without data."""
    assert "$.context.patientId" in problem_of(with_patient(patient))


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b"", "the body is empty"),
        (b" \n", "the body is empty"),
        (b"hook=patient-view", "not JSON"),
        (with_()[:-9], "not JSON"),
        (with_() + b"}", "not JSON"),
        (b'{"extension":' + b"[" * 100_000, "nested too deeply"),
        (with_(hook="\u00e9").replace(b"\\u00e9", b"\xe9"), "not UTF-8"),
        (b"[]", "Expected `object`"),
    ],
)
def test_what_is_no_json_object_is_refused(body: bytes, told: str) -> None:
    """Each way of not being JSON is told apart."""
    assert told in problem_of(body)


def test_a_refusal_repeats_nothing_of_the_request() -> None:
    """The text names places and kinds; values, which may be a patient's, stay out."""
    for body in (
        with_(hook="Doe, Jane"),
        with_(hookInstance="Doe, Jane"),
        with_patient("Doe, Jane"),
        with_(context="Doe, Jane"),
    ):
        assert "Jane" not in problem_of(body)


@pytest.mark.parametrize(
    "said",
    [
        "application/json",
        "Application/JSON;charset=UTF-8",
        'application/json; charset="utf-8"; x=y',
        "application/fhir+json; fhirVersion=4.0",
    ],
)
def test_what_is_said_to_be_json_is_read(said: str) -> None:
    """Parameters make no difference, nor does the type of FHIR's own interface."""
    check_type(Headers({"Content-Type": said, "Content-Encoding": "identity"}))


@pytest.mark.parametrize(
    "said",
    [
        [],
        [""],
        ["text/plain"],
        ["text/plain; application/json"],
        ["application/x-www-form-urlencoded"],
        ["multipart/form-data; boundary=application/json"],
        ["application/jsonx"],
        ["application/xml"],
        ["application/json; charset=iso-8859-1"],
        ["application/json", "application/json"],
        ["text/plain", "application/json"],
    ],
)
def test_what_is_not_said_to_be_json_is_refused(said: list[str]) -> None:
    """Among these is all that a page of any origin can let a browser send unasked."""
    headers = Headers(raw=[(b"content-type", value.encode()) for value in said])
    with pytest.raises(Refused) as refused:
        check_type(headers)
    assert refused.value.status == 415
    assert "`Content-Type: application/json`" in refused.value.problems[0]


def test_a_compressed_body_is_refused() -> None:
    """It would be read as broken JSON; what to do is said instead."""
    with pytest.raises(Refused) as refused:
        check_type(Headers({"Content-Type": "application/json", "Content-Encoding": "gzip"}))
    assert refused.value.status == 415
    assert "Content-Encoding" in refused.value.problems[0]
