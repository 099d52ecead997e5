import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select
from structlog.testing import LogCapture

from cds.hooks.feedback import MOST_ITEMS, MOST_PROBLEMS
from cds.hooks.limits import Limits
from cds.hooks.metrics import Metrics
from cds.hooks.service import create_app
from cds.rules.ruleset import RuleSet
from cds.store.store import Place, Store, open_store
from cds.store.tables import feedback
from tests.hooks.conftest import AS_OF

FEEDBACK = "/cds-services/myositis-patient-view/feedback"
ACCEPTED = {
    "card": "4e0a3a1e-3283-4575-ab82-028d55fe2719",
    "outcome": "accepted",
    "acceptedSuggestions": [{"id": "e56e1945-20b3-4393-8503-a1a20fd73152"}],
    "outcomeTimestamp": "2026-11-16T09:30:00Z",
}
OVERRIDDEN = {
    "card": "4e0a3a1e-3283-4575-ab82-028d55fe2719",
    "outcome": "overridden",
    "overrideReason": {
        "reason": {"code": "another-plan", "system": "https://x.example", "display": "Another"},
        "userComment": "Next week",
    },
    "outcomeTimestamp": "2026-11-16T10:31:00.5+01:00",
}


@pytest.fixture
def store(tmp_path: Path, database_url: str) -> Iterator[Store]:
    """Open a store in a database of each kind."""
    opened = open_store(Place(tmp_path / "state", database_url))
    yield opened
    opened.close()


@pytest.fixture
def serving(ruleset: RuleSet, store: Store) -> TestClient:
    """Serve with a store."""
    return TestClient(create_app(ruleset, lambda: AS_OF, store=store))


def kept(store: Store) -> list[dict[str, Any]]:
    """Give the feedback that is kept, in order of time."""
    with store.engine.connect() as connection:
        rows = connection.execute(select(feedback).order_by(feedback.c.at)).mappings()
        return [dict(row) for row in rows]


def test_point_16_feedback_that_tells_one_thing_twice_is_refused(
    serving: TestClient, store: Store
) -> None:
    """Accepted and overridden in one item: nothing says which counts, and nothing is kept."""
    item = json.dumps(ACCEPTED).replace('"card"', '"outcome": "overridden", "card"')
    answer = serving.post(
        FEEDBACK,
        content=f'{{"feedback": [{item}]}}',
        headers={"Content-Type": "application/json"},
    )

    assert answer.status_code == 400
    (issue,) = answer.json()["issue"]
    assert issue["diagnostics"].startswith("Nothing of this feedback was kept: an object in it has")
    assert kept(store) == []


def test_point_16_a_batch_is_kept_before_it_is_answered(serving: TestClient, store: Store) -> None:
    """An acceptance and an override of one card, with all that was told; no body comes back."""
    answer = serving.post(FEEDBACK, json={"feedback": [ACCEPTED, OVERRIDDEN]})

    first, second = kept(store)
    assert (answer.status_code, answer.content) == (200, b"")
    assert first["suggestions"] == '["e56e1945-20b3-4393-8503-a1a20fd73152"]'
    assert second["outcome"] == "overridden"
    assert second["at"].isoformat() == "2026-11-16T09:31:00.500000+00:00"
    assert [second[name] for name in ("reason", "reason_system", "reason_display", "comment")] == [
        "another-plan",
        "https://x.example",
        "Another",
        "Next week",
    ]


def test_point_16_what_is_sent_again_is_kept_once(serving: TestClient, store: Store) -> None:
    """A client that saw no answer repeats itself, within a batch or in another."""
    for _ in range(2):
        assert serving.post(FEEDBACK, json={"feedback": [ACCEPTED, ACCEPTED]}).status_code == 200

    assert len(kept(store)) == 1


def test_point_16_an_override_after_an_acceptance_is_kept_beside_it(
    serving: TestClient, store: Store, example: Callable[[str], Any]
) -> None:
    """Of a card that was given: told one by one, then again in a batch, as each came to be."""
    request = example("rp-ild-mda5")
    card = serving.post(FEEDBACK.removesuffix("/feedback"), json=request).json()["cards"][0]
    accepted, overridden = ACCEPTED | {"card": card["uuid"]}, OVERRIDDEN | {"card": card["uuid"]}

    for batch in ([accepted], [overridden], [overridden, accepted], [accepted, accepted]):
        answer = serving.post(FEEDBACK, json={"feedback": batch})
        assert (answer.status_code, answer.content) == (200, b"")

    rows = kept(store)
    assert [row["outcome"] for row in rows] == ["accepted", "overridden"]
    assert {row["card"] for row in rows} == {card["uuid"]}
    assert rows[0]["reason"] is None
    assert rows[1]["suggestions"] in (None, "[]")


def test_an_unknown_card_is_kept_and_logged_without_its_comment(
    serving: TestClient, store: Store, log: LogCapture
) -> None:
    """The decision may come later, or be of another database; a comment may tell of the patient."""
    assert serving.post(FEEDBACK, json={"feedback": [OVERRIDDEN]}).status_code == 200

    (entry,) = [e for e in log.entries if e["event"] == "feedback_on_unknown_cards"]
    assert entry["cards"] == 1
    assert "Next week" not in str(log.entries)
    assert len(kept(store)) == 1


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"card": None}, "Expected `str`, got `null` - at `$.feedback[1].card`"),
        ({"card": ""}, "`$.feedback[1].card`"),
        ({"card": "x" * 201}, "`$.feedback[1].card`"),
        ({"outcome": "ignored"}, "`$.feedback[1].outcome` should be `accepted` or `overridden`."),
        ({"acceptedSuggestions": None}, "`$.feedback[1].acceptedSuggestions` is missing"),
        ({"acceptedSuggestions": [{}]}, "`$.feedback[1].acceptedSuggestions[0]`"),
        ({"outcomeTimestamp": "2026-11-16"}, "`$.feedback[1].outcomeTimestamp`"),
        ({"outcomeTimestamp": "2026-11-16T09:30:00"}, "`$.feedback[1].outcomeTimestamp`"),
        ({"outcomeTimestamp": "0001-01-01T00:00:00+14:00"}, "outside of all calendars"),
        ({"overrideReason": {"reason": "declined"}}, "`$.feedback[1].overrideReason.reason`"),
        (
            {"overrideReason": {"userComment": "x" * 10_001}},
            "`str` of length <= 10000 - at `$.feedback[1].overrideReason.userComment`",
        ),
        (
            {"overrideReason": {"reason": {"code": "x" * 1001}}},
            "`str` of length <= 1000 - at `$.feedback[1].overrideReason.reason.code`",
        ),
        (
            {"overrideReason": {"reason": {"code": "x", "system": "x" * 1001}}},
            "`$.feedback[1].overrideReason.reason.system`",
        ),
        (
            {"overrideReason": {"reason": {"code": "x", "display": "x" * 1001}}},
            "`$.feedback[1].overrideReason.reason.display`",
        ),
        (
            {"acceptedSuggestions": [{"id": "x"}] * 101},
            "`array` of length <= 100 - at `$.feedback[1].acceptedSuggestions`",
        ),
    ],
)
def test_point_16_a_wrong_item_is_located_and_nothing_of_the_batch_is_kept(
    serving: TestClient, store: Store, changed: dict[str, Any], told: str
) -> None:
    """400, with the place in the JSON; what is right in the batch can be sent again with it."""
    answer = serving.post(FEEDBACK, json={"feedback": [OVERRIDDEN, ACCEPTED | changed]})

    (issue,) = answer.json()["issue"]
    assert answer.status_code == 400
    assert told in issue["diagnostics"]
    assert "Nothing of this feedback was kept" in issue["diagnostics"]
    assert kept(store) == []


def test_every_wrong_item_is_told_at_once(serving: TestClient) -> None:
    """An integrator sees all that is wrong, not only the first."""
    wrong = ACCEPTED | {"outcome": "?"}

    answer = serving.post(FEEDBACK, json={"feedback": [wrong, ACCEPTED, wrong]})

    said = [issue["diagnostics"] for issue in answer.json()["issue"]]
    assert ["$.feedback[0].outcome" in said[0], "$.feedback[2].outcome" in said[1]] == [True, True]


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"feedback": {}}', b'{"card": "x"}', b"\xff"])
def test_point_16_what_is_no_feedback_is_refused(serving: TestClient, body: bytes) -> None:
    """A single object in place of a list is told how it should be."""
    answer = serving.post(FEEDBACK, content=body)

    assert answer.status_code == 400
    assert "Nothing of this feedback was kept" in answer.json()["issue"][0]["diagnostics"]


def test_feedback_that_is_not_said_to_be_json_is_not_taken(
    serving: TestClient, store: Store
) -> None:
    """A page of any origin could send it so, unasked, through the browser of somebody inside."""
    body = json.dumps({"feedback": [OVERRIDDEN]})
    answer = serving.post(FEEDBACK, content=body, headers={"Content-Type": "text/plain"})

    assert answer.status_code == 415
    assert "`Content-Type: application/json`" in answer.json()["issue"][0]["diagnostics"]
    assert kept(store) == []


def test_unknown_fields_and_characters_that_databases_refuse_are_taken(
    serving: TestClient, store: Store
) -> None:
    """More fields are no fault of the client; the character 0 is kept as a replacement."""
    more = OVERRIDDEN | {"new": 1, "overrideReason": {"userComment": "a\0b", "more": []}}

    assert serving.post(FEEDBACK, json={"feedback": [more], "extension": {}}).status_code == 200
    assert kept(store)[0]["comment"] == "a\N{REPLACEMENT CHARACTER}b"


def test_an_empty_batch_is_taken(serving: TestClient) -> None:
    """There is nothing wrong with having nothing to tell."""
    assert serving.post(FEEDBACK, json={"feedback": []}).status_code == 200


def test_feedback_on_a_service_that_is_none_is_not_found(serving: TestClient) -> None:
    """The address names the service that gave the card."""
    answer = serving.post("/cds-services/other/feedback", json={"feedback": []})

    assert answer.status_code == 404
    assert "no such service" in answer.json()["issue"][0]["diagnostics"]


def test_feedback_that_cannot_be_kept_is_not_acknowledged(
    serving: TestClient, store: Store, log: LogCapture
) -> None:
    """503, and the client is asked to send it again; the log has no part of it."""
    feedback.drop(store.engine)

    answer = serving.post(FEEDBACK, json={"feedback": [OVERRIDDEN]})

    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
    assert "cannot say whether it kept this feedback" in answer.json()["issue"][0]["diagnostics"]
    assert "Next week" not in str(log.entries)


def test_items_are_taken_up_to_a_bound(serving: TestClient, store: Store) -> None:
    """A batch of the largest size is kept whole; a larger one is refused, and nothing kept."""
    items = [ACCEPTED | {"card": f"card {number}"} for number in range(MOST_ITEMS + 1)]

    refused = serving.post(FEEDBACK, json={"feedback": items})
    assert (refused.status_code, kept(store)) == (413, [])
    said = refused.json()["issue"][0]["diagnostics"]
    assert "it has 501 items, and at most 500 are taken at once" in said

    assert serving.post(FEEDBACK, json={"feedback": items[1:]}).status_code == 200
    assert len(kept(store)) == MOST_ITEMS


def test_where_too_much_feedback_waits_the_client_is_asked_to_send_it_again(
    serving: TestClient, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """503 with the time after which to do so, and nothing is kept; then it is taken."""
    with monkeypatch.context() as patched:
        patched.setattr(store, "_room_for_feedback", threading.Semaphore(0))
        refused = serving.post(FEEDBACK, json={"feedback": [OVERRIDDEN]})

    assert (refused.status_code, refused.headers["Retry-After"]) == (503, "5")
    assert "Nothing of this feedback was kept" in refused.json()["issue"][0]["diagnostics"]
    assert kept(store) == []
    assert serving.post(FEEDBACK, json={"feedback": [OVERRIDDEN]}).status_code == 200


def test_of_very_many_wrong_items_the_first_are_told(serving: TestClient, log: LogCapture) -> None:
    """Neither the answer nor the log grows with what a client sends."""
    answer = serving.post(FEEDBACK, json={"feedback": [{}] * MOST_ITEMS})

    issues = answer.json()["issue"]
    assert (answer.status_code, len(issues)) == (400, MOST_PROBLEMS + 1)
    assert f"{MOST_ITEMS - MOST_PROBLEMS} problems more" in issues[-1]["diagnostics"]
    (line,) = log.entries
    assert len(line["problems"]) == MOST_PROBLEMS + 1


@pytest.mark.parametrize(
    ("limits", "status", "limit"),
    [
        (Limits(body_bytes=100), 413, "CDS_MAX_BODY_BYTES"),
        (Limits(calls=0), 503, "CDS_MAX_CALLS"),
    ],
)
def test_limits_are_kept_for_feedback_too(
    ruleset: RuleSet, store: Store, limits: Limits, status: int, limit: str
) -> None:
    """What passes a limit is refused with its name, and nothing is kept."""
    client = TestClient(create_app(ruleset, lambda: AS_OF, store=store, limits=limits))

    answer = client.post(FEEDBACK, json={"feedback": [ACCEPTED]})

    assert (answer.status_code, kept(store)) == (status, [])
    assert limit in answer.json()["issue"][0]["diagnostics"]


def test_feedback_is_counted_by_outcome_and_status(serving: TestClient) -> None:
    """Metrics tell how much of each outcome arrives, and how much is refused."""
    serving.post(FEEDBACK, json={"feedback": [ACCEPTED, OVERRIDDEN, OVERRIDDEN]})
    serving.post(FEEDBACK, json={"feedback": [{}]})
    serving.post("/cds-services/Doe-Jane/feedback", json={"feedback": []})

    metrics: Metrics = serving.app.state.metrics  # type: ignore[attr-defined]  # an ASGI app to it
    counted = metrics.registry.get_sample_value
    of = {"service": "myositis-patient-view"}
    told, calls = "myositis_cds_feedback_total", "myositis_cds_feedback_calls_total"
    assert counted(told, of | {"outcome": "accepted"}) == 1
    assert counted(told, of | {"outcome": "overridden"}) == 2
    assert counted(calls, of | {"status": "200"}) == 1
    assert counted(calls, of | {"status": "400"}) == 1
    assert counted(calls, {"service": "unknown", "status": "404"}) == 1


def test_without_a_store_no_feedback_is_taken(client: TestClient) -> None:
    """There is nowhere to keep it, and so it is not acknowledged."""
    assert client.post(FEEDBACK, json={"feedback": [ACCEPTED]}).status_code == 404


def test_nothing_that_a_client_wrote_gets_into_the_log(
    serving: TestClient, log: LogCapture
) -> None:
    """Whether feedback is kept or not: no outcome, reason, comment, field, service or header."""
    mark = "Hana\x1b[2J"
    reason = {"reason": {"code": mark, "system": mark, "display": mark}, "userComment": mark}
    headers = {"User-Agent": "Hana", "Origin": "https://hana.example", "Referer": "Hana"}
    batches = [
        [OVERRIDDEN | {"overrideReason": reason, "card": mark, mark: mark}],
        [OVERRIDDEN | {"outcome": mark}],
        [OVERRIDDEN | {"outcomeTimestamp": mark}],
        [OVERRIDDEN | {"overrideReason": mark}],
    ]

    statuses = [
        serving.post(FEEDBACK, json={"feedback": batch, mark: mark}, headers=headers).status_code
        for batch in batches
    ]
    unknown = serving.post("/cds-services/Hana/feedback", json={"feedback": []}, headers=headers)

    assert (statuses, unknown.status_code) == ([200, 400, 400, 400], 404)
    assert len([e for e in log.entries if e["event"] == "feedback_refused"]) == 3
    assert "hana" not in str(log.entries).casefold()
    assert "hana" not in unknown.text.casefold()
