import asyncio
import copy
import json
import re
import time
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import parse_qsl, urlsplit
from uuid import UUID

import httpx2
import msgspec
import pytest
from fastapi.testclient import TestClient
from fhir.resources.R4B import get_fhir_model_class
from fhir.resources.R4B.operationoutcome import OperationOutcome
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from msgspec import Meta, Struct
from structlog.testing import LogCapture

from cds.hooks import service
from cds.hooks.service import create_app
from cds.rules.engine import EngineFault
from cds.rules.ruleset import EnginesDisagree, RuleSet

EXAMPLES = Path(__file__).resolve().parents[2] / "fhir_examples"
CASES = sorted(f.name.removesuffix(".bundle.json") for f in EXAMPLES.glob("*.bundle.json"))
DISCOVERY = "/cds-services"
CALL = "/cds-services/myositis-patient-view"
OPTIONAL = "allergies"
SERVED_HOOKS = ("patient-view", "order-select", "order-sign")

every_case = pytest.mark.parametrize("case", CASES)
Example = Callable[[str], Any]

# --- the specification, as structures of these tests' own ----------------------------------------

Text = Annotated[str, Meta(min_length=1)]
AbsoluteUrl = Annotated[str, Meta(pattern=r"^https?://[^/\s]+(/\S*)?$")]


class Spec(Struct, forbid_unknown_fields=True):
    """What is not in the specification is not sent."""


class Described(Spec):
    hook: Text
    id: Annotated[str, Meta(pattern=r"^[A-Za-z0-9._~-]+$")]
    description: Text
    title: Text
    prefetch: dict[str, Text]
    usageRequirements: Text


class Discovery(Spec):
    services: Annotated[list[Described], Meta(min_length=1)]


class Coding(Spec):
    code: Text
    system: AbsoluteUrl
    display: Text


class Source(Spec):
    label: Text
    url: AbsoluteUrl = ""


class Action(Spec):
    type: Literal["create"]
    description: Text
    resource: dict[str, Any]


class Suggestion(Spec):
    label: Text
    uuid: UUID
    actions: Annotated[list[Action], Meta(min_length=1)]


class Link(Spec):
    label: Text
    url: AbsoluteUrl
    type: Literal["absolute"]


class Card(Spec):
    uuid: UUID
    summary: Annotated[str, Meta(min_length=1, max_length=139)]
    indicator: Literal["info", "warning", "critical"]
    source: Source
    detail: Text
    suggestions: list[Suggestion] = []
    selectionBehavior: Literal["at-most-one", "any", ""] = ""
    overrideReasons: list[Coding] = []
    links: list[Link] = []


class Cards(Spec):
    cards: list[Card]


def cards(body: bytes) -> list[Card]:
    """Read a response by the specification, and return its cards."""
    return msgspec.json.decode(body, type=Cards).cards


def problems(body: bytes) -> list[str]:
    """Return what an OperationOutcome tells, after FHIR's own definitions accepted it."""
    issues = OperationOutcome.model_validate_json(body).issue
    told = [issue.diagnostics for issue in issues if issue.diagnostics]
    assert len(told) == len(issues) > 0
    return told


def empties(part: Any, path: str = "$") -> Iterator[str]:
    """Yield the path of everything that says nothing."""
    if part is None or part in ("", [], {}):
        yield path
    elif isinstance(part, dict):
        for key, value in part.items():
            yield from empties(value, f"{path}.{key}")
    elif isinstance(part, list):
        for index, value in enumerate(part):
            yield from empties(value, f"{path}[{index}]")


def call(client: TestClient, request: Any) -> Any:
    """Call the service of the hook that a request names, with the request as it is."""
    body = request if isinstance(request, bytes) else json.dumps(request).encode()
    hook = request.get("hook") if isinstance(request, dict) else None
    address = CALL.replace("patient-view", hook) if hook in SERVED_HOOKS else CALL
    return client.post(address, content=body, headers={"Content-Type": "application/json"})


# --- what is sent --------------------------------------------------------------------------------


@every_case
def test_point_01_nothing_that_is_sent_is_empty(
    client: TestClient, example: Example, case: str
) -> None:
    """Fields without content are left out; only the list of cards may be empty."""
    answer = call(client, example(case))
    said = [path for path in empties(answer.json()) if path != "$.cards"]

    assert answer.headers["content-type"] == "application/json"
    assert said == []
    assert list(empties(client.get(DISCOVERY).json())) == []
    assert list(empties(client.get("/rules").json())) == []


def test_point_02_no_extension_is_used(client: TestClient, example: Example) -> None:
    """Nothing stands under the name that is reserved."""
    sent = client.get(DISCOVERY).text + call(client, example("rp-ild-mda5")).text

    assert '"extension"' not in sent


def test_point_03_discovery_describes_the_service(client: TestClient) -> None:
    """Each service has what the specification requires and recommends."""
    answer = client.get(DISCOVERY)

    described = msgspec.json.decode(answer.content, type=Discovery).services
    assert answer.status_code == 200
    assert [(each.hook, each.id) for each in described] == [
        (hook, f"myositis-{hook}") for hook in SERVED_HOOKS
    ]


def test_point_04_no_two_services_share_an_id(client: TestClient) -> None:
    """Clients that keep services by their id lose none."""
    ids = [s["id"] for s in client.get(DISCOVERY).json()["services"]]

    assert len(set(ids)) == len(ids)


def test_point_05_only_tokens_that_every_client_knows_are_used(client: TestClient) -> None:
    """The patient's id is the only token in the templates of each service, and each has it."""
    services = client.get(DISCOVERY).json()["services"]
    assert len(services) == len(SERVED_HOOKS)
    for query in (query for each in services for query in each["prefetch"].values()):
        assert query.count("{{context.patientId}}") == 1
        assert query.count("{") == 2


@pytest.mark.parametrize("number", range(len(SERVED_HOOKS)))
def test_point_06_only_the_recommended_query_parameters_are_used(
    client: TestClient, number: int
) -> None:
    """One read by id; the rest are searches by reference, by token, sorted by date."""
    queries = client.get(DISCOVERY).json()["services"][number]["prefetch"].values()
    searches = [urlsplit(query) for query in queries if "?" in query]

    assert [query for query in queries if "?" not in query] == ["Patient/{{context.patientId}}"]
    for search in searches:
        parameters = dict(parse_qsl(search.query, strict_parsing=True))
        assert search.path in {
            "AllergyIntolerance",
            "Condition",
            "Observation",
            "MedicationRequest",
            "MedicationAdministration",
            "MedicationStatement",
        }
        assert parameters.pop("patient") == "{{context.patientId}}"
        assert parameters.pop("_sort", "-date") == "-date"
        for token in parameters.pop("code", "s|c").split(","):
            system, code = token.split("|")
            assert system and code
        assert parameters == {}


def test_point_07_the_hook_of_another_service_is_refused(
    client: TestClient, example: Example
) -> None:
    """A call for another hook is malformed, and says which hook is meant."""
    body = json.dumps(example("rp-ild-mda5") | {"hook": "order-sign"})
    answer = client.post(CALL, content=body)

    assert answer.status_code == 400
    assert "patient-view" in problems(answer.content)[0]


def test_point_08_a_prefetch_that_failed_is_not_data(client: TestClient, example: Example) -> None:
    """An OperationOutcome in place of the conditions is no patient without myositis."""
    request = example("rp-ild-mda5")
    request["prefetch"]["conditions"] = {"resourceType": "OperationOutcome", "issue": []}

    answer = call(client, request)

    assert answer.status_code == 412
    assert problems(answer.content)[0].startswith("`prefetch.conditions` is an OperationOutcome")


@pytest.mark.parametrize("prefetch", ["absent", None, {}])
def test_point_09_without_prefetch_the_call_is_refused_with_every_key(
    client: TestClient, example: Example, prefetch: object
) -> None:
    """Data that cannot be had give 412, and each key that is needed is named."""
    request = example("rp-ild-mda5") | {"prefetch": prefetch}
    if prefetch == "absent":
        del request["prefetch"]

    answer = call(client, request)

    assert answer.status_code == 412
    needed = [f"prefetch.{key}" for key in needed_keys(client)]
    assert [p.split("`")[1] for p in problems(answer.content)] == needed


def needed_keys(client: TestClient) -> list[str]:
    """The keys of discovery but for the one that an EHR may not serve."""
    keys = list(client.get(DISCOVERY).json()["services"][0]["prefetch"])
    keys.remove(OPTIONAL)
    return keys


def test_point_09_each_key_but_one_is_needed(client: TestClient, example: Example) -> None:
    """Whichever key is left out, the call is refused naming that one alone."""
    for key in needed_keys(client):
        request = example("no-myositis")
        del request["prefetch"][key]

        answer = call(client, request)

        assert answer.status_code == 412
        assert [p.split("`")[1] for p in problems(answer.content)] == [f"prefetch.{key}"]


@pytest.mark.parametrize(
    "value", ["absent", None, {"resourceType": "OperationOutcome", "issue": []}]
)
def test_point_09_what_an_ehr_may_not_serve_is_not_needed(
    client: TestClient, example: Example, value: object
) -> None:
    """Without allergies the cards are given all the same."""
    request = example("rp-ild-mda5")
    request["prefetch"][OPTIONAL] = value
    if value == "absent":
        del request["prefetch"][OPTIONAL]

    answer = call(client, request)

    assert answer.status_code == 200
    assert [card.indicator for card in cards(answer.content)] == ["critical"]


def test_point_09_a_malformed_request_is_400(client: TestClient) -> None:
    """The place in the request is told."""
    answer = call(client, {"hook": "patient-view"})

    assert answer.status_code == 400
    assert "missing required field `hookInstance`" in problems(answer.content)[0]


@pytest.mark.parametrize("slash", ["", "/"])
def test_point_09_an_unknown_service_is_404(client: TestClient, slash: str) -> None:
    """A service that does not exist is not found, whatever is sent to it."""
    answer = client.post(f"{DISCOVERY}/other{slash}", content=b"")

    assert answer.status_code == 404
    assert "GET /cds-services" in problems(answer.content)[0]


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        (EngineFault("The rule engine failed."), "The rule engine failed."),
        (EnginesDisagree(["b", "a"]), "the two rule engines disagree on: a, b"),
        (ValueError("Doe, Jane"), None),
        (RecursionError("Doe, Jane"), None),
    ],
)
def test_point_09_a_fault_is_never_a_list_of_cards(
    ruleset: RuleSet,
    example: Example,
    log: LogCapture,
    monkeypatch: pytest.MonkeyPatch,
    fault: Exception,
    told: str | None,
) -> None:
    """A fault is 500, counted and logged; what it was reading is neither sent nor logged."""

    def fail(*_: object, **__: object) -> None:
        raise fault

    monkeypatch.setattr(service, "advise", fail)
    app = create_app(ruleset, lambda: date(2026, 11, 16))
    with TestClient(app) as client:
        answers = [call(client, example("rp-ild-mda5")) for _ in range(2)]

    assert [answer.status_code for answer in answers] == [500, 500]
    assert app.state.faults == {type(fault).__name__: 2}
    assert [entry["count"] for entry in log.entries] == [1, 2]
    for answer, entry in zip(answers, log.entries, strict=True):
        assert entry["incident"] in problems(answer.content)[0]
        assert (entry["event"], entry["fault"]) == ("call_failed", type(fault).__name__)
        assert entry["told"] == told
        assert entry["at"][-1].endswith(" fail")
    assert "Jane" not in str(log.entries) + answers[0].text
    assert "rp-ild-mda5" not in str(log.entries) + answers[0].text


def test_point_10_prefetch_alone_is_enough_and_quick(client: TestClient, example: Example) -> None:
    """A call that brings all its data is answered well within half a second."""
    request = example("rp-ild-mda5")
    call(client, request)

    start = time.perf_counter()
    answer = call(client, request)

    assert time.perf_counter() - start < 0.25
    assert cards(answer.content)[0].indicator == "critical"


def test_point_11_unknown_fields_change_nothing(client: TestClient, example: Example) -> None:
    """Fields that the specification does not have are ignored wherever they stand."""
    plain = call(client, example("rp-ild-mda5"))
    request = example("rp-ild-mda5") | {"extra": {"a": [1]}}
    request["context"]["extra"] = None
    request["prefetch"]["extra"] = 7

    assert call(client, request).content == plain.content


@every_case
def test_point_12_cards_are_as_the_specification_has_them(
    client: TestClient, example: Example, case: str
) -> None:
    """Each card has an id of its own, a short summary, and Markdown without HTML."""
    answer = call(client, example(case))

    assert answer.status_code == 200
    given = cards(answer.content)
    assert len({card.uuid for card in given}) == len(given)
    for card in given:
        assert 0 < len(card.summary) < 140
        assert card.indicator in ("info", "warning", "critical")
        tokens = MarkdownIt("gfm-like", {"linkify": False}).parse(card.detail)
        kinds = {t.type for token in tokens for t in (token, *(token.children or ()))}
        assert not kinds & {"html_block", "html_inline"}
        # The selection behaviour comes with suggestions, and only with them.
        assert bool(card.selectionBehavior) == bool(card.suggestions)


@every_case
def test_point_13_each_source_is_named_and_its_addresses_are_absolute(
    client: TestClient, example: Example, case: str
) -> None:
    """A source has a label; what it links to can be opened from anywhere; a topic is a Coding."""
    for card in call(client, example(case)).json()["cards"]:
        source = card["source"]
        assert source["label"]
        for name in {"url", "icon"} & source.keys():
            assert re.match(r"https?://[^/\s]+", source[name])
        if "topic" in source:
            assert {"code", "system"} <= source["topic"].keys()


def test_point_14_a_suggestion_creates_a_valid_draft(client: TestClient, example: Example) -> None:
    """The resource of each action is complete FHIR R4, proposed and about the patient."""
    drafted = set()
    for case in CASES:
        request = example(case)
        patient = request["context"]["patientId"].removeprefix("Patient/")
        for card in cards(call(client, request).content):
            for action in (action for each in card.suggestions for action in each.actions):
                resource = action.resource
                get_fhir_model_class(resource["resourceType"]).model_validate(resource)
                assert (resource["intent"], resource["status"]) == ("proposal", "draft")
                assert resource["subject"]["reference"] == f"Patient/{patient}"
                drafted.add(case)
            assert card.selectionBehavior or not card.suggestions

    assert "rp-ild-mda5" in drafted


@every_case
def test_point_15_each_link_is_absolute_and_of_a_kind(
    client: TestClient, example: Example, case: str
) -> None:
    """A link has a label, an absolute address and its type; a context only for an app."""
    for card in call(client, example(case)).json()["cards"]:
        for link in card.get("links", []):
            assert link["label"]
            assert re.match(r"https?://[^/\s]+", link["url"])
            assert link["type"] in ("absolute", "smart")
            assert link["type"] == "smart" or "appContext" not in link


# --- around it -----------------------------------------------------------------------------------


def test_the_same_call_is_answered_with_the_same_bytes(
    client: TestClient, example: Example
) -> None:
    """Identifiers of cards come from what they say, so a card can be recognised."""
    first, second = (call(client, example("rp-ild-mda5")).content for _ in range(2))

    assert first == second


def test_between_two_answers_the_loop_sees_who_has_come_meanwhile(
    ruleset: RuleSet, example: Example, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of calls that come together one is worked for in each round of the loop, in their order."""
    app = create_app(ruleset, lambda: date(2026, 11, 16))
    rounds = 0
    worked: list[int] = []
    work_out = service._work_out

    def count() -> None:
        nonlocal rounds
        rounds += 1
        asyncio.get_running_loop().call_soon(count)

    def noted(*given: Any) -> bytes:
        worked.append(rounds)
        return work_out(*given)

    async def call_together() -> list[int]:
        asyncio.get_running_loop().call_soon(count)
        transport = httpx2.ASGITransport(app)
        async with httpx2.AsyncClient(transport=transport, base_url="http://localhost") as client:
            request = example("rp-ild-mda5")
            answers = await asyncio.gather(*(client.post(CALL, json=request) for _ in range(4)))
        return [answer.status_code for answer in answers]

    monkeypatch.setattr(service, "_work_out", noted)
    assert asyncio.run(call_together()) == [200] * 4
    assert len(set(worked)) == 4


def test_the_day_of_the_call_counts(ruleset: RuleSet, example: Example) -> None:
    """Today is asked at each call: two weeks after a pulse it is asked what came of it."""
    days = iter([date(2026, 11, 16), date(2027, 2, 1)])
    client = TestClient(create_app(ruleset, lambda: next(days)))

    now, later = (call(client, example("rp-ild-already-pulsed")).content for _ in range(2))

    assert cards(now)[0].indicator == "info"
    assert cards(later)[0].indicator == "warning"
    assert "still recorded after an IV pulse" in cards(later)[0].summary


def test_a_patient_id_with_its_type_changes_nothing(client: TestClient, example: Example) -> None:
    """`Patient/id` means the same patient."""
    request = example("rp-ild-mda5")
    plain = call(client, request)
    request["context"]["patientId"] = "Patient/" + request["context"]["patientId"]

    assert call(client, request).content == plain.content


def test_data_of_another_patient_are_refused(
    client: TestClient, example: Example, log: LogCapture
) -> None:
    """Prefetch of one patient under the id of another gives no cards, and no ids in the log."""
    request = example("rp-ild-mda5")
    request["context"]["patientId"] = "somebody-else"

    answer = call(client, request)

    assert answer.status_code == 400
    assert "another Patient" in problems(answer.content)[0]
    assert [entry["event"] for entry in log.entries] == ["request_refused"]
    assert "rp-ild-mda5" not in str(log.entries) + answer.text
    assert "somebody-else" not in str(log.entries) + answer.text


def test_conditions_that_cannot_be_read_are_not_an_answer_without_cards(
    client: TestClient, example: Example
) -> None:
    """Where no readable Condition tells of myositis, one that is not makes the call fail."""
    request = example("rp-ild-mda5")
    for entry in request["prefetch"]["conditions"]["entry"]:
        entry["resource"]["onsetDateTime"] = 20260914

    answer = call(client, request)

    assert answer.status_code == 412
    assert "`Condition.onsetDateTime`" in problems(answer.content)[1]


def test_what_stands_in_the_chart_is_no_part_of_a_refusal_or_of_the_log(
    client: TestClient, example: Example, log: LogCapture
) -> None:
    """Of Conditions only those that cannot be read are told of; others have dates and codes."""
    request = example("rp-ild-mda5")
    known = request["prefetch"]["conditions"]["entry"][0]["resource"]
    request["prefetch"]["conditions"]["entry"] = [
        {"resource": known | {"id": "unread", "onsetDateTime": 20260914}},
        {"resource": known | {"id": "ended", "abatementDateTime": "2001-02-03"}},
        {"resource": known | {"id": "odd", "clinicalStatus": {"coding": [{"code": "Hana"}]}}},
    ]

    answer = call(client, request)

    assert answer.status_code == 412
    assert len(problems(answer.content)) == 2
    assert [entry["event"] for entry in log.entries] == ["request_refused"]
    for said in ("Hana", "2001-02"):
        assert said not in str(log.entries) + answer.text


@pytest.mark.parametrize("key", ["conditions", "core_set_measures", "medication_requests"])
def test_resources_that_are_all_about_another_patient_are_refused(
    client: TestClient, example: Example, key: str
) -> None:
    """A mix-up of patients is a fault, even where no Patient is there to tell it by."""
    request = example("no-myositis")
    request["prefetch"] |= {"patient": None, key: example("rp-ild-mda5")["prefetch"][key]}

    answer = call(client, request)

    assert answer.status_code == 412
    (problem,) = problems(answer.content)
    assert problem.startswith(f"`prefetch.{key}` is about another patient")
    assert "rp-ild-mda5" not in answer.text


def test_one_resource_of_another_patient_is_left_out_and_counted_in_the_log(
    client: TestClient, example: Example, log: LogCapture
) -> None:
    """The rest is answered; the log has the number and the decision, and nothing of either."""
    request = example("rp-ild-mda5")
    other = {
        "resourceType": "Condition",
        "id": "c9",
        "code": {"text": "Inclusion body myositis"},
        "subject": {"reference": "Patient/jane"},
    }
    request["prefetch"]["conditions"]["entry"].append({"resource": other})

    answer = call(client, request)

    assert answer.json() == call(client, example("rp-ild-mda5")).json()
    (line,) = (entry for entry in log.entries if entry["event"] == "resources_of_others")
    assert line["left_out"] == 1
    assert "jane" not in str(log.entries)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/docs", 404),
        ("GET", "/redoc", 404),
        ("GET", "/cds-services/a/b", 404),
        ("GET", "/%00", 404),
        ("PUT", DISCOVERY, 405),
        ("POST", DISCOVERY, 405),
        ("GET", CALL, 405),
        ("DELETE", CALL, 405),
        ("POST", "/", 405),
    ],
)
def test_whatever_else_is_asked_for_is_refused_with_an_outcome(
    client: TestClient, method: str, path: str, status: int
) -> None:
    """Unknown addresses and methods are explained, and the methods that exist are listed."""
    answer = client.request(method, path)

    assert answer.status_code == status
    assert "GET /cds-services" in problems(answer.content)[0]
    assert ("allow" in answer.headers) == (status == 405)


@pytest.mark.parametrize("path", ["/", DISCOVERY, DISCOVERY + "/"])
def test_head_is_answered_like_get(client: TestClient, path: str) -> None:
    """Those who only look whether the service is there are answered."""
    head, get = client.head(path), client.get(path)

    assert (head.status_code, get.status_code) == (200, 200)
    assert head.headers["content-length"] == get.headers["content-length"]


def test_a_slash_at_the_end_makes_no_difference(client: TestClient, example: Example) -> None:
    """Neither discovery nor a call is redirected, because a redirected call may lose its body."""
    request = json.dumps(example("rp-ild-mda5"))

    assert client.get(DISCOVERY + "/").content == client.get(DISCOVERY).content
    assert cards(client.post(CALL + "/", content=request).content)


def test_the_entrance_tells_where_discovery_is(client: TestClient) -> None:
    """Who opens the bare address in a browser is told where to go."""
    assert client.get(client.get("/").json()["discovery"]).status_code == 200


# --- what nobody should send ---------------------------------------------------------------------

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**12), 10**40)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8)
    | st.sampled_from(
        ["Bundle", "Patient", "Observation", "2026-13-45", "2026", "9999-12-31", "\ud800", "1e999"]
    ),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=6,
)


def places(part: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path of every value in a JSON document."""
    keys = part if isinstance(part, dict) else range(len(part)) if isinstance(part, list) else ()
    for key in keys:
        yield (*path, key)
        yield from places(part[key], (*path, key))


SEEDS = {
    case: json.loads((EXAMPLES / f"{case}.request.json").read_bytes())
    for case in ("no-myositis", "rp-ild-mda5", "real-world-mess")
}
PLACES = {case: list(places(request)) for case, request in SEEDS.items()}


@st.composite
def mutated_requests(draw: st.DrawFn) -> bytes:
    """Draw a request of an example in which up to four values are others, or missing."""
    case = draw(st.sampled_from(sorted(SEEDS)))
    request = copy.deepcopy(SEEDS[case])
    for path in draw(st.lists(st.sampled_from(PLACES[case]), min_size=1, max_size=4)):
        inner = request
        try:
            for key in path[:-1]:
                inner = inner[key]
            if draw(st.booleans()):
                inner[path[-1]] = draw(json_values)
            else:
                del inner[path[-1]]
        except (KeyError, IndexError, TypeError):
            continue  # an earlier change took this place away
    return json.dumps(request, ensure_ascii=draw(st.booleans())).encode(errors="surrogatepass")


@st.composite
def truncated_requests(draw: st.DrawFn) -> bytes:
    """Draw a request that ends too early, or in which some bytes are others."""
    body = json.dumps(SEEDS[draw(st.sampled_from(sorted(SEEDS)))]).encode()
    cut = draw(st.integers(0, len(body)))
    return body[:cut] + draw(st.binary(max_size=4)) + body[cut + draw(st.integers(1, 9999)) :]


def check_answer(answer: Any) -> None:
    """Assert that an answer is valid cards, or a refusal that explains itself."""
    if answer.status_code == 200:
        cards(answer.content)
    else:
        assert answer.status_code in {400, 412}
        problems(answer.content)


@settings(max_examples=300, deadline=None)
@given(mutated_requests())
def test_mutated_requests_are_answered_or_refused(client: TestClient, body: bytes) -> None:
    """Whatever stands in a request, it is answered with valid cards or refused with a reason."""
    check_answer(call(client, body))


@settings(max_examples=100, deadline=None)
@given(truncated_requests() | st.binary() | json_values.map(lambda v: json.dumps(v).encode()))
def test_garbage_is_refused(client: TestClient, body: bytes) -> None:
    """What is no request, or no longer one, never gives a fault or an invalid answer."""
    check_answer(call(client, body))
