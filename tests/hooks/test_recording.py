import json
import shutil
import zlib
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select
from structlog.testing import LogCapture

from cds.advice import load_rules
from cds.cards.cards import OVERRIDE_REASONS
from cds.hooks.authentication import Authenticator
from cds.hooks.clients import Caller, Client
from cds.hooks.service import create_app
from cds.rules.ruleset import RuleSet
from cds.store.decisions import Decision, find_decision, list_decisions
from cds.store.feedback import count_feedback
from cds.store.repetition import repeat
from cds.store.store import Place, Store, open_store
from cds.store.tables import decisions
from tests.hooks.conftest import AS_OF, CHECKOUT

CALL = "/cds-services/myositis-patient-view"
REQUESTS = sorted((CHECKOUT / "fhir_examples").glob("*.request.json"))
ESCALATION = "refractory-dermatomyositis"
INADEQUATE = "Inadequate response"
NOT_IMPROVED = "Not improved since"
PULSE = "Rapidly progressive ILD"


@pytest.fixture
def store(tmp_path: Path, database_url: str) -> Iterator[Store]:
    """Open a store in a database of each kind."""
    opened = open_store(Place(tmp_path / "state", database_url), writes=False)
    yield opened
    opened.close()


@pytest.fixture
def serving(ruleset: RuleSet, store: Store) -> TestClient:
    """Serve with a store."""
    return TestClient(create_app(ruleset, lambda: AS_OF, store=store))


def kept(store: Store) -> list[Decision]:
    """Wait for what was noted, and give the decisions that are kept, the latest first."""
    store.settle()
    with store.engine.connect() as connection:
        return [find_decision(connection, each.id) for each in list_decisions(connection)]


def call(serving: TestClient, request: Any) -> list[Any]:
    """Call the service; the cards."""
    hook = request["hook"]
    answer = serving.post(f"/cds-services/myositis-{hook}", json=request)
    assert answer.status_code == 200, answer.text
    cards: list[Any] = answer.json()["cards"]
    return cards


def about(cards: list[Any], summary: str) -> Any:
    """The one card whose summary begins so."""
    (card,) = [card for card in cards if card["summary"].startswith(summary)]
    return card


def summaries_of(cards: list[Any]) -> list[str]:
    """The summaries of cards, in their order."""
    return [card["summary"] for card in cards]


def add_condition(request: Any, id_: str, snomed: str) -> None:
    """Add a Condition to those of a request, like the first but for its id and code."""
    conditions = request["prefetch"]["conditions"]["entry"]
    more = json.loads(json.dumps(conditions[0]))
    more["resource"]["id"] = id_
    more["resource"]["code"] = {"coding": [{"system": "http://snomed.info/sct", "code": snomed}]}
    more.pop("fullUrl", None)
    conditions.append(more)


def override(serving: TestClient, card: Any, code: str, **changed: Any) -> None:
    """Tell that a card was overridden, just now."""
    item = {
        "card": card["uuid"],
        "outcome": "overridden",
        "overrideReason": {"reason": {"code": code, "system": OVERRIDE_REASONS}},
        "outcomeTimestamp": datetime.now(UTC).isoformat(),
    }
    told = serving.post(f"{CALL}/feedback", json={"feedback": [item | changed]})
    assert told.status_code == 200, told.text


@pytest.mark.parametrize("file", REQUESTS, ids=lambda file: file.name.split(".")[0])
def test_every_example_is_recorded_without_the_patient_and_comes_out_equal_again(
    ruleset: RuleSet, tmp_path: Path, file: Path
) -> None:
    """The client gets the cards of the example; what is kept never names the patient, anywhere."""
    request = json.loads(file.read_bytes())
    expected = json.loads(file.with_name(file.name.replace("request", "cards")).read_bytes())
    patient = request["context"]["patientId"].removeprefix("Patient/")
    store = open_store(Place(tmp_path))
    given = call(TestClient(create_app(ruleset, lambda: AS_OF, store=store)), request)
    (decision,) = kept(store)
    with store.engine.connect() as connection:
        made = repeat(connection, decision.id)
    store.close()

    assert without_uuids(given) == without_uuids(expected["cards"])
    assert made.equal, made.difference
    for part in (decision.inputs, decision.facts, decision.answer):
        assert f'Patient/{patient}"'.encode() not in part
        assert b"identifier" not in part.replace(b'"identifier":[]', b"")
    assert decision.patient != patient
    assert [card.uuid for card in decision.cards] == [card["uuid"] for card in given]


def test_point_07_a_token_for_the_fhir_server_is_never_kept(
    ruleset: RuleSet, tmp_path: Path, example: Any
) -> None:
    """Neither in the decision, nor in any file of the store, of which its journal is one."""
    token = "s3cret-t0ken-of-the-fhir-server"
    request = example("rp-ild-mda5") | {
        "fhirServer": "https://fhir.hospital.example/r4",
        "fhirAuthorization": {"access_token": token, "token_type": "Bearer"},
    }
    store = open_store(Place(tmp_path))
    call(TestClient(create_app(ruleset, lambda: AS_OF, store=store)), request)
    files = list(tmp_path.rglob("*"))
    written = b"".join(file.read_bytes() for file in files if file.is_file())
    (decision,) = kept(store)
    store.close()
    at_last = b"".join(file.read_bytes() for file in tmp_path.rglob("*") if file.is_file())

    assert decision.hook_instance.encode() in at_last
    for part in (written, at_last, decision.inputs, decision.facts, decision.answer):
        assert token.encode() not in part


def without_uuids(cards: Any) -> Any:
    """Cards without what differs from call to call."""
    return [
        {
            **{name: value for name, value in card.items() if name != "uuid"},
            "suggestions": [
                {name: value for name, value in suggestion.items() if name != "uuid"}
                for suggestion in card.get("suggestions", ())
            ],
        }
        for card in cards
    ]


def test_a_decision_tells_when_for_whom_by_what_and_why(
    serving: TestClient, store: Store, example: Callable[[str], Any]
) -> None:
    """Service, hook instance, rule set, facts with the resources behind the cards, duration."""
    request = example("rp-ild-mda5")
    cards = call(serving, request)

    (decision,) = kept(store)

    facts = json.loads(decision.facts)
    assert decision.service == "myositis-patient-view"
    assert decision.hook_instance == request["hookInstance"]
    assert decision.as_of == AS_OF
    assert 0 < decision.microseconds < 60_000_000
    assert decision.cards[0].rule == "pulse-for-rapidly-progressive-ild"
    assert facts["values"]["antibody.mda5"] is True
    assert facts["outcomes"]["pulse-for-rapidly-progressive-ild"] is True
    (evidence,) = facts["evidence"]["antibody.mda5"]
    assert evidence["reference"] == "Observation/rp-ild-mda5-anti-mda5-2026-10-26"
    assert decision.cards[0].uuid == about(cards, PULSE)["uuid"]
    assert [card.uuid for card in decision.cards] == [card["uuid"] for card in cards]


def test_of_a_patient_without_myositis_only_what_tells_that_is_kept(
    serving: TestClient, store: Store, example: Callable[[str], Any]
) -> None:
    """The rules are not about them, and so nothing but Conditions is."""
    request = example("rp-ild-mda5")
    request["prefetch"]["conditions"] = None

    assert call(serving, request) == []

    (decision,) = kept(store)
    assert not decision.applies
    assert set(json.loads(decision.inputs)["record"]) == {"delivered"}


def test_what_was_sent_and_not_used_is_kept_with_the_reason(
    serving: TestClient, store: Store, example: Callable[[str], Any]
) -> None:
    """Of patients, and of what a server wrote, nothing is kept in it."""
    request = example("rp-ild-mda5")
    about_jane = {"subject": {"reference": "Patient/jane"}}
    remark = {"severity": "warning", "diagnostics": "Doe, Jane"}
    for resource in (
        {"resourceType": "Condition", "id": "c9"} | about_jane,
        {"resourceType": "Condition", "id": "c10", "code": {"text": "Migraine"}},
        {"resourceType": "Patient", "id": "jane"},
        {"resourceType": "OperationOutcome", "issue": [remark]},
    ):
        request["prefetch"]["conditions"]["entry"].append({"resource": resource})

    call(serving, request)

    (decision,) = kept(store)
    told = json.loads(decision.facts)["excluded"]
    assert {each["reference"]: each["reason"] for each in told if "c" in each["reference"]} == {
        "Condition/c9": "is about another patient",
        "Condition/c10": "its code is not mapped to anything that this service knows",
        "prefetch.conditions.entry[5]": "OperationOutcome of the server",
    }
    assert {"reference": "Patient", "reason": "is another patient"} in told
    assert b"jane" not in decision.facts.lower()


def test_a_refused_call_is_no_decision(
    serving: TestClient, store: Store, example: Callable[[str], Any]
) -> None:
    """Nothing was advised, so nothing is kept."""
    request = example("rp-ild-mda5")
    del request["prefetch"]["conditions"]

    assert serving.post(CALL, json=request).status_code == 412
    assert kept(store) == []


def test_the_same_card_has_another_uuid_in_each_answer(
    serving: TestClient, example: Callable[[str], Any]
) -> None:
    """Feedback is then about one answer, and not about all that were alike."""
    first, second = (call(serving, example("rp-ild-mda5")) for _ in range(2))

    assert first
    assert not {card["uuid"] for card in first} & {card["uuid"] for card in second}
    assert without_uuids(first) == without_uuids(second)


def test_a_full_journal_refuses_the_call_and_says_so(
    ruleset: RuleSet, tmp_path: Path, example: Callable[[str], Any], log: LogCapture
) -> None:
    """An answer that cannot be recorded is not given: 503, with the reason in the log."""
    store = open_store(Place(tmp_path), most_waiting=100)
    serving = TestClient(create_app(ruleset, lambda: AS_OF, store=store))

    answer = serving.post(CALL, json=example("rp-ild-mda5"))
    store.close()

    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
    (issue,) = answer.json()["issue"]
    assert issue["code"] == "transient"
    assert "cannot record its decisions" in issue["diagnostics"]
    assert "decision_not_noted" in [entry["event"] for entry in log.entries]


def test_a_lasting_override_keeps_the_card_away_and_the_decision_says_so(
    serving: TestClient, store: Store, example: Callable[[str], Any]
) -> None:
    """The next card about the same problem is given in its place; those of other problems stay."""
    before = call(serving, example(ESCALATION))
    overridden = about(before, INADEQUATE)
    kept(store)
    override(serving, overridden, "another-plan")

    after = call(serving, example(ESCALATION))

    latest = kept(store)[0]
    silent = [card for card in latest.cards if card.uuid is None]
    others = [card for card in before if card is not overridden]
    assert others
    assert without_uuids(after) == without_uuids([about(after, NOT_IMPROVED), *others])
    assert [card.rule for card in silent] == ["escalate-inadequate-response"]
    assert silent[0].silenced_by
    with store.engine.connect() as connection:
        assert repeat(connection, latest.id).equal


def test_an_override_ends_when_a_fact_behind_the_card_changes(
    serving: TestClient, store: Store, example: Callable[[str], Any]
) -> None:
    """A value that was not there when the clinician decided brings the card back."""
    before = about(call(serving, example(ESCALATION)), INADEQUATE)
    kept(store)
    override(serving, before, "another-plan")
    assert before["summary"] not in summaries_of(call(serving, example(ESCALATION)))
    request = example(ESCALATION)
    add_condition(request, "ild", "233703007")

    assert before["summary"] in summaries_of(call(serving, request))


def test_an_override_ends_when_something_new_speaks_against_an_option(
    serving: TestClient, store: Store, example: Callable[[str], Any]
) -> None:
    """The card comes back with the contraindication; the decision names the resource behind it."""
    before = about(call(serving, example(ESCALATION)), INADEQUATE)
    kept(store)
    override(serving, before, "another-plan")
    assert before["summary"] not in summaries_of(call(serving, example(ESCALATION)))
    request = example(ESCALATION)
    add_condition(request, "hepatitis", "66071002")

    after = about(call(serving, request), INADEQUATE)

    assert "boxed warning of reactivation" in after["detail"]
    assert "boxed warning of reactivation" not in before["detail"]
    (evidence,) = json.loads(kept(store)[0].facts)["evidence"]["finding.hepatitis_b"]
    assert evidence["reference"] == "Condition/hepatitis"


@pytest.mark.parametrize("code", ["data-wrong", "unheard-of"])
def test_a_reason_that_does_not_last_keeps_nothing_away(
    serving: TestClient, store: Store, example: Callable[[str], Any], code: str
) -> None:
    """Nor does one that this service never offered."""
    before = call(serving, example(ESCALATION))
    kept(store)
    override(serving, about(before, INADEQUATE), code)

    assert without_uuids(call(serving, example(ESCALATION))) == without_uuids(before)


def test_a_critical_card_is_given_whatever_was_overridden(
    serving: TestClient, store: Store, example: Callable[[str], Any]
) -> None:
    """Its rule states no time, so that danger is told at every call."""
    before = about(call(serving, example("rp-ild-mda5")), PULSE)
    kept(store)
    override(serving, before, "not-appropriate")

    after = about(call(serving, example("rp-ild-mda5")), PULSE)
    assert after["indicator"] == "critical"
    assert without_uuids([after]) == without_uuids([before])


def test_an_override_at_one_process_counts_at_another(
    ruleset: RuleSet, tmp_path: Path, database_url: str, example: Callable[[str], Any]
) -> None:
    """Workers share the database and ask it at each call, so none is behind."""
    place = Place(tmp_path / "state", database_url)
    one, other = open_store(place), open_store(place)
    first, second = (TestClient(create_app(ruleset, lambda: AS_OF, store=s)) for s in (one, other))
    before = call(first, example(ESCALATION))
    overridden = about(before, INADEQUATE)
    one.settle()
    assert without_uuids(call(second, example(ESCALATION))) == without_uuids(before)

    override(first, overridden, "patient-declined")
    after = call(second, example(ESCALATION))
    for store in (one, other):
        store.close()

    others = [card for card in before if card is not overridden]
    assert without_uuids(after) == without_uuids([about(after, NOT_IMPROVED), *others])


def test_where_overrides_cannot_be_found_out_cards_are_given(
    serving: TestClient, store: Store, example: Callable[[str], Any], monkeypatch: Any
) -> None:
    """A card too many is the lesser harm; the decision says that it was not known."""
    before = call(serving, example(ESCALATION))
    kept(store)
    override(serving, about(before, INADEQUATE), "another-plan")
    monkeypatch.setattr(store, "told", lambda *_: None)

    after = call(serving, example(ESCALATION))

    assert without_uuids(after) == without_uuids(before)
    assert not kept(store)[0].overrides_known


def test_a_tampered_decision_is_found_out(
    serving: TestClient, store: Store, example: Callable[[str], Any]
) -> None:
    """Changed cards, and changed inputs, come out different when the decision is made again."""
    call(serving, example("rp-ild-mda5"))
    (decision,) = kept(store)

    def with_part(name: str, content: bytes) -> list[str]:
        with store.engine.begin() as connection:
            packed = zlib.compress(content)
            connection.execute(decisions.update().values({name: packed}))
            made = repeat(connection, decision.id)
            connection.execute(
                decisions.update().values({name: zlib.compress(getattr(decision, name))})
            )
        assert not made.equal
        return made.difference

    warning = decision.answer.replace(b'"critical"', b'"warning"')
    changed = with_part("answer", warning)
    assert '-   "indicator": "warning",' in changed
    assert '+   "indicator": "critical",' in changed
    assert with_part("inputs", decision.inputs.replace(b"2026-11-06", b"2026-11-05"))


def test_a_decision_is_made_again_by_the_rules_of_then(
    tmp_path: Path, example: Callable[[str], Any]
) -> None:
    """Rules that have since changed on the disk, or are gone, do not matter."""
    rules = shutil.copytree(CHECKOUT / "rules", tmp_path / "rules")
    store = open_store(Place(tmp_path / "state"))
    serving = TestClient(create_app(load_rules(rules), lambda: AS_OF, store=store))
    call(serving, example("rp-ild-mda5"))
    shutil.rmtree(rules)

    (decision,) = kept(store)
    with store.engine.connect() as connection:
        assert repeat(connection, decision.id).equal
        files = connection.execute(select(decisions.c.rules_version)).scalars().all()
    store.close()
    assert files == [decision.rules_version]


def test_times_of_decisions_are_of_now(serving: TestClient, store: Store, example: Any) -> None:
    """The moment is the call's, in UTC, whatever day the advice is for."""
    call(serving, example("rp-ild-mda5"))

    (decision,) = kept(store)
    assert abs(datetime.now(UTC) - decision.at) < timedelta(minutes=1)


# --- tenants -------------------------------------------------------------------------------------


class Trusting(Authenticator):
    """Takes whatever the header says for the tenant of one client."""

    def __init__(self) -> None:
        self.client = Client(
            name="Vendor", issuer="urn:vendor", audience=(), jku="https://x.example"
        )

    async def authenticate(self, authorization: str | None, path: str) -> Caller:
        """Who calls."""
        return Caller(self.client, authorization or "")


def test_what_one_tenant_tells_or_is_told_is_nothing_to_another(
    ruleset: RuleSet, store: Store, example: Callable[[str], Any]
) -> None:
    """The same id at two hospitals of one vendor is two patients, and a card is one hospital's."""
    app = create_app(ruleset, lambda: AS_OF, Trusting(), store=store)
    north = TestClient(app, headers={"Authorization": "north"})
    south = TestClient(app, headers={"Authorization": "south"})
    request = example(ESCALATION)
    of_north = about(call(north, request), INADEQUATE)
    of_south = about(call(south, request), INADEQUATE)
    store.settle()

    override(north, of_north, "another-plan")
    override(north, of_south, "another-plan")
    store.settle()

    assert not [s for s in summaries_of(call(north, request)) if s.startswith(INADEQUATE)]
    assert about(call(south, request), INADEQUATE)

    override(south, of_south, "another-plan")
    store.settle()

    assert not [s for s in summaries_of(call(south, request)) if s.startswith(INADEQUATE)]
    decided = kept(store)
    assert {each.client for each in decided} == {"Vendor/north", "Vendor/south"}
    assert len({each.patient for each in decided}) == 2
    with store.engine.connect() as connection:
        report = count_feedback(connection)
    (counted,) = (r for r in report.rules if r.overridden)
    assert (counted.overridden, report.unknown) == (2, 1)
