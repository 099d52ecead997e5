import asyncio
import contextlib
import json
import runpy
import threading
import tracemalloc
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import httpx2
import pytest
from fastapi.testclient import TestClient
from prometheus_client import generate_latest
from structlog.testing import LogCapture

from cds.fhir.client import FhirClient, encode_query
from cds.fhir.servers import read_servers
from cds.hooks.clients import Caller, Client
from cds.hooks.fetching import MOST_MEDICATIONS, Fetching, gather
from cds.hooks.limits import Limits
from cds.hooks.outcomes import Refused
from cds.hooks.prefetch import Template
from cds.hooks.requests import Authorization, read_request
from cds.hooks.service import create_app
from cds.hooks.services import service_id
from cds.rules.ruleset import RuleSet
from tests.fhir_server import NOT_FOUND, FhirServer, Reply, searchset, serving
from tests.hooks.conftest import AS_OF, CHECKOUT

EXAMPLES = CHECKOUT / "fhir_examples"
BUILD = runpy.run_path(str(EXAMPLES / "build.py"))
CASES = sorted(f.name.removesuffix(".bundle.json") for f in EXAMPLES.glob("*.bundle.json"))
CASE = "rp-ild-mda5"
CALL = "/cds-services/myositis-patient-view"
TOKEN = "s3cret-t0ken"
PAGE = 4

Json = dict[str, Any]
Example = Callable[[str], Any]


class Ehr:
    """A FHIR server that has one example patient, and what its answers are changed to."""

    def __init__(self, case: str, templates: tuple[Template, ...]) -> None:
        self.case = case
        self.changed: dict[str, Any] = {}
        bundle = json.loads((EXAMPLES / f"{case}.bundle.json").read_bytes())
        self.patient = next(r for r in BUILD["resources"](bundle) if BUILD["is_a"](r, "Patient"))
        self.queries = {
            t.key: encode_query(t.query.replace("{{context.patientId}}", self.patient["id"]))
            for t in templates
        }
        self._held = {
            t.key: [entry["resource"] for entry in BUILD["entries_of"](t, bundle)]
            for t in templates
        }
        self.server: FhirServer

    def answer(self, target: str) -> Reply:
        """Answer a search with pages, a read with the Patient."""
        target, _, page = target.removeprefix("/fhir/").partition("&page=")
        key = next((key for key, query in self.queries.items() if query == target), None)
        if (changed := self.changed.get(key or target)) is not None:
            return changed if isinstance(changed, Reply) else Reply(changed)
        if key is None:
            return NOT_FOUND
        if key == "patient":
            return Reply(self.patient)
        begin, held = int(page or 0), self._held[key]
        more = f"{self.server.base}/{target}&page={begin + PAGE}"
        following = more if begin + PAGE < len(held) else None
        return Reply(searchset(*held[begin : begin + PAGE], following=following))

    @property
    def fetched(self) -> set[str]:
        """The keys whose queries arrived, and what else was asked for."""
        names = {query: key for key, query in self.queries.items()}
        targets = (t.removeprefix("/fhir/").partition("&page=")[0] for t in self.server.targets)
        return {names.get(target, target) for target in targets}


@pytest.fixture
def ehr(templates: tuple[Template, ...]) -> Iterator[Ehr]:
    """Serve the patient of the critical card."""
    with serve_ehr(CASE, templates) as made:
        yield made


@contextlib.contextmanager
def serve_ehr(case: str, templates: tuple[Template, ...]) -> Iterator[Ehr]:
    """Serve the patient of an example."""
    ehr = Ehr(case, templates)
    with serving(ehr.answer) as ehr.server:
        yield ehr


@pytest.fixture
def ask(ruleset: RuleSet) -> Callable[..., Any]:
    """Return what calls the service with a request."""

    def call(request: Json, *allowed: str, seconds: float = 10) -> Any:
        fetching = Fetching(FhirClient(), read_servers(allowed), seconds)
        app = create_app(ruleset, lambda: AS_OF, fetching=fetching)
        with TestClient(app) as client:
            service = f"/cds-services/{service_id(request['hook'])}"
            return client.post(service, content=json.dumps(request))

    return call


def request_to(ehr: Ehr, example: Example, **changes: Any) -> Any:
    """Return the request of an example with the address and token of its FHIR server."""
    authorization = {
        "access_token": TOKEN,
        "token_type": "Bearer",
        "expires_in": 300,
        "scope": "patient/*.read",
        "subject": "cds-service",
    }
    request = example(ehr.case) | {
        "fhirServer": ehr.server.base,
        "fhirAuthorization": authorization,
    }
    return request | changes


def problems(answer: Any, status: int = 412) -> dict[str, str]:
    """Return what is wrong with each key, after asserting the status."""
    assert answer.status_code == status, answer.text
    told = [issue["diagnostics"] for issue in answer.json()["issue"]]
    return {text.split("`")[1].removeprefix("prefetch."): text for text in told}


def expected(case: str) -> Any:
    """Return the cards of an example."""
    return json.loads((EXAMPLES / f"{case}.cards.json").read_bytes())


UNMAPPED = ": its code is not mapped to anything that this service knows ("


def asked_for(answer: Any) -> list[Json]:
    """Return cards without what no query asks for: Observations whose codes nothing maps.

    They come only with a record that was sent whole. The uuid is that of the words.
    """
    return [
        card
        | {
            "uuid": "",
            "detail": "\n".join(x for x in card["detail"].split("\n") if UNMAPPED not in x),
        }
        for card in answer["cards"]
    ]


# --- both ways -----------------------------------------------------------------------------------


@pytest.mark.parametrize("case", CASES)
def test_point_10_all_fetched_gives_the_same_cards_as_all_prefetched(
    case: str, templates: tuple[Template, ...], example: Example, ask: Callable[..., Any]
) -> None:
    """A FHIR server that answers each query, in pages, gives every example its cards."""
    with serve_ehr(case, templates) as ehr:
        request = request_to(ehr, example)
        del request["prefetch"]

        answer = ask(request, ehr.server.base)

    assert answer.status_code == 200, answer.text
    assert asked_for(answer.json()) == asked_for(expected(case))
    assert ehr.fetched == {template.key for template in templates}
    for asked in ehr.server.asked:
        assert asked.headers["Authorization"] == f"Bearer {TOKEN}"


def test_point_10_what_was_sent_is_not_fetched(
    ehr: Ehr, example: Example, ask: Callable[..., Any]
) -> None:
    """A call that brings everything asks nothing of the FHIR server."""
    answer = ask(request_to(ehr, example), ehr.server.base)

    assert answer.json() == expected(CASE)
    assert ehr.server.asked == []


def test_point_08_each_key_that_is_missing_is_fetched_and_no_other(
    ehr: Ehr, example: Example, ask: Callable[..., Any]
) -> None:
    """A partial prefetch is used as far as it goes."""
    for key in ehr.queries:
        ehr.server.asked.clear()
        request = request_to(ehr, example)
        del request["prefetch"][key]

        answer = ask(request, ehr.server.base)

        assert answer.json() == expected(CASE)
        assert ehr.fetched == {key}


def test_a_call_is_answered_although_an_optional_key_cannot_be_had(
    ehr: Ehr, example: Example, ask: Callable[..., Any]
) -> None:
    """An EHR that does not serve allergies gets the cards, which say that these are not known."""
    ehr.changed["allergies"] = Reply({"resourceType": "OperationOutcome"}, status=403)
    request = request_to(ehr, example)
    del request["prefetch"]["allergies"]

    answer = ask(request, ehr.server.base)

    assert answer.status_code == 200
    summaries = [card["summary"] for card in answer.json()["cards"]]
    assert summaries == [card["summary"] for card in expected(CASE)["cards"]]
    assert "Allergy to a drug that this service knows" in answer.json()["cards"][0]["detail"]
    assert ehr.fetched == {"allergies"}


def test_point_08_null_is_an_answer_and_not_fetched(
    ehr: Ehr, example: Example, ask: Callable[..., Any]
) -> None:
    """A client that says that there is nothing is believed."""
    request = request_to(ehr, example)
    request["prefetch"]["conditions"] = None

    answer = ask(request, ehr.server.base)

    assert answer.json() == {"cards": []}
    assert ehr.server.asked == []


@pytest.mark.parametrize(
    "sent",
    [
        {"resourceType": "OperationOutcome", "issue": [{"severity": "error"}]},
        {"resourceType": "Condition", "id": "c1"},
        {"resourceType": "Basic"},
        {},
        "nothing",
        searchset({"resourceType": "Condition", "id": "c9"}, following="Condition?page=2"),
        searchset({"resourceType": "OperationOutcome", "issue": [{"severity": "error"}]}),
        searchset({"resourceType": "Observation", "id": "o9"}),
        searchset({"resourceType": "condition", "id": "c9"}),
        searchset({"resourceType": "Condition", "id": "c9", "subject": {"reference": "Patient/x"}}),
        {"resourceType": "Bundle", "type": "searchset", "total": 5},
        {"resourceType": "Bundle", "entry": [{"fullUrl": "https://ehr.example/Condition/c9"}]},
    ],
)
def test_point_08_what_does_not_satisfy_a_key_is_fetched_in_its_place(
    ehr: Ehr, example: Example, ask: Callable[..., Any], sent: Any
) -> None:
    """A failure, a wrong type, something unreadable, a first page: the query is asked anew."""
    request = request_to(ehr, example)
    request["prefetch"]["conditions"] = sent

    answer = ask(request, ehr.server.base)

    assert answer.json() == expected(CASE)
    assert ehr.fetched == {"conditions"}


# --- what cannot be had --------------------------------------------------------------------------


def test_point_09_each_key_that_cannot_be_had_is_named_with_its_reason(
    ehr: Ehr, example: Example, ask: Callable[..., Any]
) -> None:
    """One key fails in each way; all are told at once, and the others are not."""
    ehr.changed = {
        "conditions": Reply(status=403),
        "laboratory": Reply(b"<html>"),
        "antibodies": Reply(status=302, headers={"Location": "https://evil.example"}),
        "medication_requests": {"resourceType": "OperationOutcome", "issue": []},
    }
    request = request_to(ehr, example)
    del request["prefetch"]

    told = problems(ask(request, ehr.server.base))

    assert list(told) == ["conditions", "laboratory", "antibodies", "medication_requests"]
    assert all(text.startswith(f"`prefetch.{key}` is missing") for key, text in told.items())
    assert "the token of the call does not open it (HTTP status 403)." in told["conditions"]
    assert "redirects (302)" in told["antibodies"]
    assert "should be a Bundle, but is a OperationOutcome" in told["medication_requests"]


def test_point_09_without_a_server_the_reason_is_told(
    ehr: Ehr, example: Example, ask: Callable[..., Any]
) -> None:
    """No address, none allowed, another than allowed: each is said of the key."""
    request = request_to(ehr, example)
    del request["prefetch"]["conditions"]
    other = "https://ehr.example/fhir"

    assert "no FHIR server is allowed" in problems(ask(request))["conditions"]
    assert "not among the servers" in problems(ask(request, other))["conditions"]
    assert "not among the servers" in problems(ask(request, f"{ehr.server.base}x"))["conditions"]
    for nothing in (None, ""):
        bare = request | {"fhirServer": nothing, "fhirAuthorization": None}
        told = problems(ask(bare, ehr.server.base))["conditions"]
        assert "names no `fhirServer`" in told
    assert ehr.server.asked == []


@pytest.mark.parametrize(
    "written", ["ftp://{}", "http://u:p@{}", "http://{}?x=1", "http://{}/x", "{}", "\n"]
)
def test_point_09_a_server_that_is_not_written_as_it_is_listed_is_not_asked(
    ehr: Ehr, example: Example, ask: Callable[..., Any], written: str
) -> None:
    """An address with anything in it that the list does not have is another address."""
    place = ehr.server.base.removeprefix("http://")
    request = request_to(ehr, example, fhirServer=written.format(place))
    del request["prefetch"]

    assert set(problems(ask(request, ehr.server.base))) == set(ehr.queries) - {"allergies"}
    assert ehr.server.asked == []


def test_a_slash_at_the_end_of_the_server_makes_no_difference(
    ehr: Ehr, example: Example, ask: Callable[..., Any]
) -> None:
    """EHRs write their address with and without it."""
    request = request_to(ehr, example, fhirServer=f"{ehr.server.base}/")
    del request["prefetch"]

    assert ask(request, ehr.server.base).json() == expected(CASE)


def test_point_10_a_slow_server_is_waited_for_within_the_budget(
    ehr: Ehr, example: Example, ask: Callable[..., Any]
) -> None:
    """All keys share one time; the slow one is named, the others were had meanwhile."""
    ehr.changed = {"laboratory": Reply(hold=True)}
    request = request_to(ehr, example)
    del request["prefetch"]

    told = problems(ask(request, ehr.server.base, seconds=2))

    assert list(told) == ["laboratory"]
    assert "took longer than there is time for" in told["laboratory"]
    assert ehr.fetched == set(ehr.queries)


def test_point_10_keys_are_fetched_at_the_same_time(
    ehr: Ehr, example: Example, ask: Callable[..., Any]
) -> None:
    """No key waits for another: the server answers only when all have been asked for."""
    barrier = threading.Barrier(len(ehr.queries))
    first_of = set(ehr.queries.values())
    plain = ehr.answer

    def together(target: str) -> Reply:
        if target.removeprefix("/fhir/") in first_of:
            barrier.wait(10)
        return plain(target)

    ehr.server.script = together
    request = request_to(ehr, example)
    del request["prefetch"]

    assert ask(request, ehr.server.base).json() == expected(CASE)


# --- how much ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("spare", "status"), [(0, 200), (-1, 412)])
def test_entries_are_bounded_of_what_is_sent_and_fetched_together(
    ehr: Ehr, example: Example, ruleset: RuleSet, spare: int, status: int
) -> None:
    """What one call may bring along it may not have fetched on top of that."""
    request = request_to(ehr, example)
    entries = sum(len(held.get("entry", ())) for held in request["prefetch"].values() if held)
    for key in ("conditions", "laboratory"):
        del request["prefetch"][key]

    fetching = Fetching(FhirClient(), read_servers([ehr.server.base]), entries=entries + spare)
    with TestClient(create_app(ruleset, lambda: AS_OF, fetching=fetching)) as client:
        answer = client.post(CALL, content=json.dumps(request))

    assert answer.status_code == status
    assert ("CDS_MAX_ENTRIES" in answer.text) == (status == 412)


def test_bytes_are_bounded_of_all_that_one_call_fetches(
    ehr: Ehr, example: Example, ask: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Answers of which each is short enough are too much together, Medications included."""
    long = {"resourceType": "Bundle", "type": "searchset", "id": "x" * 3000}
    ehr.changed = {"medication_requests": long, "medication_statements": long}
    request = request_to(ehr, example)
    del request["prefetch"]["medication_requests"]
    monkeypatch.setattr("cds.fhir.client.MOST_BYTES", 4000)

    assert ask(request, ehr.server.base).status_code == 200

    del request["prefetch"]["medication_statements"]

    (told,) = problems(ask(request, ehr.server.base)).values()
    assert "all that is fetched for one call is longer than 4000 bytes together" in told


# --- whose they are ------------------------------------------------------------------------------


def test_point_09_answers_about_another_patient_are_refused(
    ehr: Ehr, example: Example, ask: Callable[..., Any]
) -> None:
    """A server that answers for somebody else is not believed for that key."""
    about = {"subject": {"reference": "Patient/jane"}}
    ehr.changed = {
        "patient": {"resourceType": "Patient", "id": "jane"},
        "conditions": searchset({"resourceType": "Condition", "id": "c9"} | about),
        "laboratory": searchset({"resourceType": "Observation", "id": "o9"} | about),
    }
    request = request_to(ehr, example)
    del request["prefetch"]

    answer = ask(request, ehr.server.base)

    told = problems(answer)
    assert list(told) == ["patient", "conditions", "laboratory"]
    assert "is another Patient than" in told["patient"]
    assert "about another patient than" in told["conditions"]
    assert "jane" not in answer.text


def test_one_resource_about_another_patient_is_never_used(
    ehr: Ehr, example: Example, ask: Callable[..., Any]
) -> None:
    """It is left out, as it is of what was sent, and the rest counts."""
    request = request_to(ehr, example)
    other = {
        "resourceType": "Condition",
        "id": "c9",
        "code": {"text": "Inclusion body myositis"},
        "subject": {"reference": "Patient/jane"},
    }
    held = request["prefetch"].pop("conditions")["entry"]
    ehr.changed = {"conditions": searchset(*(entry["resource"] for entry in held), other)}

    assert ask(request, ehr.server.base).json() == expected(CASE)


def test_point_09_resources_of_another_type_are_refused(
    ehr: Ehr, example: Example, ask: Callable[..., Any]
) -> None:
    """A server that does not understand the query may answer with something else."""
    ehr.changed = {"conditions": searchset({"resourceType": "Observation", "id": "o1"})}
    request = request_to(ehr, example)
    del request["prefetch"]["conditions"]

    told = problems(ask(request, ehr.server.base))["conditions"]

    assert "holds Observation, which was not asked for" in told


def test_point_09_an_error_among_what_was_found_is_not_a_complete_answer(
    ehr: Ehr, example: Example, ask: Callable[..., Any]
) -> None:
    """Part of an answer may hide what would change the advice."""
    outcome = {"resourceType": "OperationOutcome", "issue": [{"severity": "error"}]}
    ehr.changed = {"conditions": searchset(outcome)}
    request = request_to(ehr, example)
    del request["prefetch"]["conditions"]

    assert "is not complete" in problems(ask(request, ehr.server.base))["conditions"]


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ({"resourceType": "Bundle", "total": 5}, "the answer is not complete: by its `total`"),
        (searchset({"resourceType": "condition"}), "the answer has entries, and none of them"),
        (
            {"resourceType": "Bundle", "entry": [{"fullUrl": "https://ehr.example/Condition/c9"}]},
            "the answer is not complete: there are entries in it that hold no resource",
        ),
    ],
)
def test_point_09_an_answer_that_holds_nothing_of_its_type_is_refused(
    ehr: Ehr, example: Example, ask: Callable[..., Any], answer: Any, told: str
) -> None:
    """What is fetched is judged as what is sent."""
    ehr.changed = {"conditions": answer}
    request = request_to(ehr, example)
    del request["prefetch"]["conditions"]

    assert told in problems(ask(request, ehr.server.base))["conditions"]


def test_point_08_an_empty_search_is_an_answer_on_each_of_its_pages(
    ehr: Ehr, example: Example, ask: Callable[..., Any]
) -> None:
    """The last page may be empty, and a search without a hit have a remark of the server."""
    remark = {"resourceType": "OperationOutcome", "issue": [{"severity": "warning"}]}
    held = example(CASE)["prefetch"]["conditions"]["entry"]
    query = ehr.queries["conditions"]
    first = searchset(*(e["resource"] for e in held), following=f"{ehr.server.base}/{query}&p=2")
    ehr.changed = {
        "conditions": first | {"total": len(held)},
        f"{query}&p=2": searchset() | {"total": len(held)},
        "medication_statements": searchset(remark) | {"total": 1},
    }
    request = request_to(ehr, example)
    for key in ("conditions", "medication_statements"):
        del request["prefetch"][key]

    assert ask(request, ehr.server.base).json() == expected(CASE)


# --- the token -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"token_type": "Basic"}, "`$.fhirAuthorization.token_type` should be `Bearer`"),
        ({"access_token": None}, "`$.fhirAuthorization.access_token`"),
        ({"access_token": ""}, "`$.fhirAuthorization.access_token` is not written as a token"),
        ({"access_token": "a\r\nX: y"}, "is not written as a token"),
        ({"patient": "jane"}, "`$.fhirAuthorization.patient` is another patient"),
    ],
)
def test_point_07_an_authorization_that_cannot_be_used_is_malformed(
    ehr: Ehr, example: Example, ask: Callable[..., Any], changes: Json, told: str
) -> None:
    """The field is named, its value is not, and nothing is fetched."""
    request = request_to(ehr, example)
    del request["prefetch"]["conditions"]
    request["fhirAuthorization"] |= changes

    answer = ask(request, ehr.server.base)

    assert answer.status_code == 400
    assert told in answer.json()["issue"][0]["diagnostics"]
    assert "jane" not in answer.text
    assert ehr.server.asked == []


def test_point_07_an_authorization_for_another_patient_is_malformed_where_all_was_sent(
    ehr: Ehr, example: Example, ask: Callable[..., Any]
) -> None:
    """A call that contradicts itself is not answered, although nothing would be fetched."""
    request = request_to(ehr, example)
    request["fhirAuthorization"] |= {"patient": "jane"}

    answer = ask(request, ehr.server.base)

    assert answer.status_code == 400
    assert "`$.fhirAuthorization.patient`" in answer.json()["issue"][0]["diagnostics"]


def test_point_07_a_token_for_this_patient_is_used(
    ehr: Ehr, example: Example, ask: Callable[..., Any]
) -> None:
    """The patient of the token may be written with its type, and the type of token in any case."""
    request = request_to(ehr, example)
    del request["prefetch"]["conditions"]
    request["fhirAuthorization"] |= {"patient": f"Patient/{CASE}", "token_type": "bearer"}

    assert ask(request, ehr.server.base).json() == expected(CASE)


def test_an_open_server_is_asked_without_a_token(
    ehr: Ehr, example: Example, ask: Callable[..., Any]
) -> None:
    """A call with a server and no authorization says that none is needed."""
    request = request_to(ehr, example, fhirAuthorization=None)
    del request["prefetch"]["conditions"]

    assert ask(request, ehr.server.base).json() == expected(CASE)
    assert "Authorization" not in ehr.server.asked[0].headers


def test_point_07_the_token_and_the_patient_are_nowhere_in_the_log(
    ehr: Ehr, example: Example, ask: Callable[..., Any], log: LogCapture
) -> None:
    """Keys and reasons are logged; neither who was asked about, nor with what, nor where."""
    replies = iter([Reply(status=503), Reply(status=404)])
    plain = ehr.answer
    ehr.server.script = lambda t: next(replies) if "Condition" in t else plain(t)
    request = request_to(ehr, example)
    del request["prefetch"]

    answer = ask(request, ehr.server.base)

    assert list(problems(answer)) == ["conditions"]
    events = [entry["event"] for entry in log.entries]
    assert events == ["stamina.retry_scheduled", "fetched", "request_refused"]
    assert log.entries[1]["in_vain"] == {
        "conditions": "the FHIR server answered with HTTP status 404"
    }
    said = str(log.entries) + answer.text + repr(Authorization(TOKEN, "Bearer"))
    assert TOKEN not in said
    assert CASE not in said
    assert str(ehr.server.port) not in said


# --- medications ---------------------------------------------------------------------------------

UNTREATED = "new-untreated-dermatomyositis"
PREDNISOLONE = {
    "resourceType": "Medication",
    "id": "m1",
    "code": {"text": "Prednisolone 20 mg tablets"},
}


@pytest.fixture
def untreated(templates: tuple[Template, ...]) -> Iterator[Ehr]:
    """Serve a patient without treatment, whose EHR has a Medication."""
    with serve_ehr(UNTREATED, templates) as made:
        made.changed = {"Medication/m1": PREDNISOLONE}
        yield made


def ordered(number: int, **drug: Any) -> Json:
    """Return an active order."""
    return {
        "resourceType": "MedicationRequest",
        "id": f"mr{number}",
        "status": "active",
        "intent": "order",
        "authoredOn": "2026-11-01",
        "subject": {"reference": "Patient/new-untreated"},
        **drug,
    }


def referring(*references: str) -> Json:
    """Return the answer to a search: orders that only refer to their drugs."""
    pointers = [{"reference": reference} for reference in references]
    return searchset(*(ordered(n, medicationReference=p) for n, p in enumerate(pointers)))


def test_a_medication_that_an_order_refers_to_is_fetched(
    untreated: Ehr, example: Example, ask: Callable[..., Any]
) -> None:
    """The order then counts as one that names its drug, however its reference is written."""
    request = request_to(untreated, example)
    named = searchset(ordered(0, medicationCodeableConcept=PREDNISOLONE["code"]))
    request["prefetch"]["medication_requests"] = named
    as_named = ask(request, untreated.server.base)
    assert as_named.status_code == 200
    assert as_named.json() != expected(UNTREATED)

    for reference in ("Medication/m1", f"{untreated.server.base}/Medication/m1/_history/3"):
        request["prefetch"]["medication_requests"] = referring(reference)
        untreated.server.asked.clear()

        assert ask(request, untreated.server.base).json() == as_named.json()
        assert untreated.fetched == {"Medication/m1"}


def test_medications_of_orders_that_were_fetched_are_fetched_too(
    untreated: Ehr, example: Example, ask: Callable[..., Any]
) -> None:
    """Several orders of one product ask for it once."""
    request = request_to(untreated, example)
    del request["prefetch"]["medication_requests"]
    untreated.changed["medication_requests"] = referring("Medication/m1", "Medication/m1")

    assert ask(request, untreated.server.base).status_code == 200

    targets = [target.removeprefix("/fhir/") for target in untreated.server.targets]
    assert targets == [untreated.queries["medication_requests"], "Medication/m1"]


@pytest.mark.parametrize("hook", ["order-sign", "order-select"])
def test_a_medication_that_a_draft_order_refers_to_is_fetched(
    templates: tuple[Template, ...], example: Example, ask: Callable[..., Any], hook: str
) -> None:
    """The draft then gets the cards of one that names its drug, and before all others."""
    with serve_ehr("methotrexate-ordered-with-ild", templates) as ehr:
        request = request_to(ehr, example, hook=hook)
        first = request["context"]["draftOrders"]["entry"][0]
        first["fullUrl"] = f"{ehr.server.base}/MedicationRequest/{first['resource']['id']}"
        draft = first["resource"]
        if hook == "order-select":
            request["context"]["selections"] = [f"MedicationRequest/{draft['id']}"]
        as_named = ask(request).json()
        ehr.changed["Medication/mtx"] = {
            "resourceType": "Medication",
            "id": "mtx",
            "code": draft.pop("medicationCodeableConcept"),
        }
        draft["medicationReference"] = {"reference": "Medication/mtx"}
        without = ask(request).json()
        answer = ask(request, ehr.server.base).json()
        others = referring(*(f"Medication/m{n}" for n in range(MOST_MEDICATIONS)))
        for entry in others["entry"]:
            entry["resource"]["subject"] = draft["subject"]
        request["prefetch"]["medication_requests"] = others
        ehr.server.asked.clear()
        ask(request, ehr.server.base)

    assert any("ethotrexate" in card["summary"] for card in as_named["cards"])
    assert without != as_named
    assert answer == as_named
    assert "Medication/mtx" in ehr.fetched
    assert len(ehr.server.asked) == MOST_MEDICATIONS


@pytest.mark.parametrize(
    "changed",
    [
        Reply(status=404),
        PREDNISOLONE | {"id": "m2"},
        {"resourceType": "Patient", "id": "m1"},
        b"<html>",
    ],
)
def test_a_medication_that_cannot_be_had_leaves_its_drug_unknown(
    untreated: Ehr, example: Example, ask: Callable[..., Any], log: LogCapture, changed: Any
) -> None:
    """The answer is as without a FHIR server, never as if the order were of nothing."""
    request = request_to(untreated, example)
    request["prefetch"]["medication_requests"] = referring("Medication/m1")
    untreated.changed["Medication/m1"] = changed

    unknown = ask(request)
    answer = ask(request, untreated.server.base)

    assert answer.status_code == 200
    assert answer.json() == unknown.json()
    (fetched,) = [entry for entry in log.entries if entry["event"] != "call_answered"]
    assert (fetched["event"], fetched["fetched"], len(fetched["in_vain"])) == (
        "medications_fetched",
        0,
        1,
    )


def test_medications_elsewhere_or_known_are_not_fetched(
    untreated: Ehr, example: Example, ask: Callable[..., Any]
) -> None:
    """Other servers, what stands in the order, and what has a name in it are left alone."""
    request = request_to(untreated, example)
    request["prefetch"]["medication_requests"] = searchset(
        ordered(0, medicationReference={"reference": "https://evil.example/fhir/Medication/m1"}),
        ordered(
            1, medicationReference={"reference": "urn:uuid:0c3151bd-1cbf-4d64-b04d-cd9187a4c6e0"}
        ),
        ordered(2, medicationReference={"reference": "Medication/m1", "display": "Azathioprine"}),
        ordered(3, medicationReference={"reference": "#m1"}, contained=[PREDNISOLONE]),
        ordered(4, medicationReference={"reference": "Medication/../Patient/jane"}),
        ordered(5, medicationReference={"display": "Methotrexate"}),
    )

    assert ask(request, untreated.server.base).status_code == 200
    assert untreated.server.asked == []


def test_the_number_of_medications_that_are_fetched_is_bounded(
    untreated: Ehr, example: Example, ask: Callable[..., Any]
) -> None:
    """A long list of orders cannot make one call ask for ever."""
    request = request_to(untreated, example)
    names = [f"Medication/m{n}" for n in range(MOST_MEDICATIONS + 5)]
    request["prefetch"]["medication_requests"] = referring(*names)

    assert ask(request, untreated.server.base).status_code == 200

    assert len(untreated.server.asked) == MOST_MEDICATIONS


# --- what is held --------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["conditions", "Medication/m1"])
def test_what_is_fetched_is_held_with_the_bodies_of_all_calls(
    untreated: Ehr, example: Example, ruleset: RuleSet, key: str
) -> None:
    """Without room for it the call is refused, to be sent again, and leaves nothing behind."""
    request = request_to(untreated, example)
    if key == "conditions":
        del request["prefetch"]["conditions"]
    else:
        request["prefetch"]["medication_requests"] = referring(key)
    sent = json.dumps(request)
    got = []
    for room in (20, 20_000):
        fetching = Fetching(FhirClient(), read_servers([untreated.server.base]), 10)
        limits = Limits(held_bytes=len(sent) + room)
        app = create_app(ruleset, lambda: AS_OF, fetching=fetching, limits=limits)
        with TestClient(app) as client:
            got += [client.post(CALL, content=sent) for _ in range(10)]
        counted = generate_latest(app.state.metrics.registry).decode()
        refused = f'refusals_total{{limit="held"}} {10 * (room == 20):.1f}\n'
        assert (refused in counted) is (room == 20)

    assert [answer.status_code for answer in got] == [503] * 10 + [200] * 10
    assert got[0].headers["Retry-After"] == "5"
    assert got[0].headers["X-Decision-Id"] != got[1].headers["X-Decision-Id"]
    assert "(CDS_MAX_HELD_BYTES)" in got[0].json()["issue"][0]["diagnostics"]


def test_a_call_that_waits_for_its_server_holds_its_body_once(
    ehr: Ehr, example: Example, ruleset: RuleSet
) -> None:
    """The framework has no copy of it."""
    request = request_to(ehr, example)
    del request["prefetch"]["conditions"]
    request["prefetch"]["of-another-service"] = "a" * 4_000_000
    sent = json.dumps(request).encode()
    del request
    begun, go_on = asyncio.Event(), asyncio.Event()
    said = {"Content-Type": "application/json"}

    class Waits(FhirClient):
        async def fetch(self, *asked: Any) -> Any:
            begun.set()
            await go_on.wait()
            return await super().fetch(*asked)

    async def pieces() -> AsyncIterator[bytes]:
        for at in range(0, len(sent), 65536):
            yield sent[at : at + 65536]

    async def run() -> float:
        fetching = Fetching(Waits(), read_servers([ehr.server.base]), 10)
        app = create_app(ruleset, lambda: AS_OF, fetching=fetching)
        transport = httpx2.ASGITransport(app=app)
        async with httpx2.AsyncClient(transport=transport, base_url="http://service") as client:
            tracemalloc.start()
            try:
                before, _ = tracemalloc.get_traced_memory()
                call = asyncio.create_task(client.post(CALL, content=pieces(), headers=said))
                await asyncio.wait_for(begun.wait(), 30)
                held = tracemalloc.get_traced_memory()[0] - before
            finally:
                tracemalloc.stop()
            go_on.set()
            assert (await call).status_code == 200
        return held / len(sent)

    assert 1.0 <= asyncio.run(run()) < 1.3


# --- who may ask whom ----------------------------------------------------------------------------


class KnowsWho:
    """Stands in for authentication: every call is one client's."""

    def __init__(self, *listed: str) -> None:
        self.client = Client(
            name="Example",
            issuer="https://ehr.example",
            audience=("https://cds.example",),
            fhir_servers=read_servers(listed),
        )

    async def authenticate(self, authorization: str | None, path: str) -> Caller:
        """Whoever it is."""
        return Caller(self.client)


def test_a_client_has_a_list_of_its_own(ehr: Ehr, example: Example, ruleset: RuleSet) -> None:
    """The servers of one client are not those of another, nor those of callers without a name."""
    request = request_to(ehr, example)
    del request["prefetch"]["conditions"]
    statuses = []
    for listed in ([ehr.server.base], [], ["https://other.example/fhir"]):
        fetching = Fetching(FhirClient(), read_servers([ehr.server.base]))
        known: Any = KnowsWho(*listed)
        app = create_app(ruleset, lambda: AS_OF, known, fetching)
        with TestClient(app) as client:
            statuses.append(client.post(CALL, content=json.dumps(request)).status_code)

    assert statuses == [200, 412, 412]
    assert len(ehr.server.asked) == 1


def test_a_token_that_only_the_client_can_fill_is_not_sent_on(
    ehr: Ehr, example: Example, ruleset: RuleSet
) -> None:
    """A template of a site may have a token that a service has no value for."""
    template = Template("mine", "Condition", "Condition?asserter={{userPractitionerId}}", ())
    request = read_request(json.dumps(request_to(ehr, example)).encode(), "patient-view")
    fetching = Fetching(FhirClient(), read_servers([ehr.server.base]))

    with pytest.raises(Refused, match="a token that only the client can fill") as refused:
        asyncio.run(gather(request, (template,), fetching))

    assert refused.value.status == 412
    assert ehr.server.asked == []
