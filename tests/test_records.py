import json
import os
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from typer.testing import CliRunner, Result

from cds import cli
from cds.advice import load_rules
from cds.hooks.service import create_app
from cds.store.store import Place, Store, open_store

ROOT = Path(__file__).parents[1]
CALL = "/cds-services/myositis-patient-view"
REQUEST = json.loads((ROOT / "fhir_examples/rp-ild-mda5.request.json").read_bytes())
REQUEST["prefetch"]["conditions"]["entry"].append(
    {"resource": {"resourceType": "Condition", "id": "migraine", "code": {"text": "Migraine"}}}
)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """Open a store in the folder that the settings name."""
    for name in os.environ:
        if name.startswith("CDS_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("CDS_STATE", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "200")
    opened = open_store(Place(tmp_path))
    yield opened
    opened.close()


@pytest.fixture
def card(store: Store) -> Any:
    """Answer one call, and override its critical card; that card."""
    ruleset = load_rules(ROOT / "rules")
    serving = TestClient(create_app(ruleset, lambda: date(2026, 11, 16), store=store))
    cards = serving.post(CALL, json=REQUEST).json()["cards"]
    (given,) = [card for card in cards if card["indicator"] == "critical"]
    item = {
        "card": given["uuid"],
        "outcome": "overridden",
        "overrideReason": {"reason": {"code": "infection-not-excluded"}},
        "outcomeTimestamp": datetime.now(UTC).isoformat(),
    }
    unknown = item | {"card": "nobody's"}
    told = serving.post(f"{CALL}/feedback", json={"feedback": [item, unknown]})
    assert told.status_code == 200
    store.settle()
    return given


def run(*arguments: str) -> Result:
    """Run ``cds`` in this process."""
    return CliRunner().invoke(cli.app, list(arguments))


def latest() -> Any:
    """The latest decision, as the list has it."""
    return json.loads(run("decisions", "list", "--json").stdout.splitlines()[0])


@pytest.mark.usefixtures("card")
def test_decisions_are_listed_with_what_the_next_command_needs() -> None:
    """The id stands whole on one line, with the rules whose cards were given."""
    result = run("decisions", "list")

    (line,) = [line for line in result.stdout.splitlines() if latest()["id"] in line]
    assert "pulse-for-rapidly-progressive-ild" in line
    assert latest()["patient"] in line
    assert "rp-ild-mda5" not in result.stdout.replace("pulse-for-rapidly", "")


@pytest.mark.usefixtures("card")
def test_a_decision_is_shown_with_facts_sources_and_cards(card: Any) -> None:
    """What was seen, where it is from, and what was said of it."""
    result = run("decisions", "show", latest()["id"])

    assert result.exit_code == 0
    assert card["uuid"] in result.stdout
    assert "Observation/rp-ild-mda5-anti-mda5-2026-10-26" in result.stdout
    assert "critical: Rapidly progressive ILD" in result.stdout
    assert "its code is not mapped to anything that this service knows" in result.stdout
    told = json.loads(run("decisions", "show", latest()["id"], "--json").stdout)
    assert told["facts"]["values"]["antibody.mda5"] is True
    assert told["answer"]["cards"][0]["uuid"] == card["uuid"]


@pytest.mark.usefixtures("card")
def test_a_decision_is_made_again_and_found_equal() -> None:
    """The answer says so, and of how many cards, with status 0."""
    id_ = latest()["id"]
    cards = json.loads(run("decisions", "show", id_, "--json").stdout)["answer"]["cards"]

    result = run("decisions", "replay", id_)

    assert result.exit_code == 0
    assert len(cards) == 1
    assert "give 1 card, the same to the last byte" in result.stdout


@pytest.mark.usefixtures("card")
def test_a_decision_that_was_changed_is_found_different(store: Store) -> None:
    """The rule that turned out otherwise is named, with status 1."""
    with store.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE decisions SET as_of = '2026-10-01'")

    result = run("decisions", "replay", latest()["id"])

    assert result.exit_code == 1
    assert "DIFFERENT" in result.stdout
    assert "pulse-for-rapidly-progressive-ild: true then, false now" in result.stdout


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize("command", ["show", "replay"])
def test_a_decision_that_is_not_kept_is_said(command: str) -> None:
    """On stderr, with status 1."""
    result = run("decisions", command, "no-such-id")

    assert result.exit_code == 1
    assert "no decision no-such-id is kept" in result.stderr


@pytest.mark.usefixtures("card")
def test_feedback_is_reported_by_rule_with_the_reasons() -> None:
    """What became of the card of each rule, and how many are not known; with --json the same."""
    result = run("feedback", "report")
    found = json.loads(run("feedback", "report", "--json", "--by", "year").stdout)

    assert "infection-not-excluded: 1" in result.stdout
    assert "1 (100 %)" in result.stdout
    assert "Feedback on 1 cards that are not known here" in result.stdout
    counts = {each["rule"]: (each["shown"], each["overridden"]) for each in found["rules"]}
    assert counts == {"pulse-for-rapidly-progressive-ild": (1, 1)}
    assert found["unknown"] == 1
    assert {each["period"] for each in found["rules"]} == {f"{datetime.now(UTC):%Y}"}


def test_a_database_that_cannot_be_used_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On stderr, with status 1."""
    monkeypatch.setenv("CDS_STATE", str(tmp_path))
    monkeypatch.setenv("CDS_DATABASE_URL", "mysql://cds:secret@db/cds")

    result = run("decisions", "list")

    assert result.exit_code == 1
    assert "mysql is neither" in result.stderr
    assert "secret" not in result.stderr


STEERING = "\x1b[2J\x9b1m\u202e\nforged"


@pytest.mark.parametrize(
    "arguments",
    [
        ("decisions", "list"),
        ("decisions", "list", "--json"),
        ("decisions", "show", "ID"),
        ("decisions", "show", "ID", "--json"),
        ("feedback", "report"),
        ("feedback", "report", "--json"),
    ],
)
def test_what_charts_and_clients_say_does_not_steer_the_terminal(
    store: Store, arguments: tuple[str, ...]
) -> None:
    """Their texts, ids, codes and reasons are shown without control characters."""
    request = json.loads(json.dumps(REQUEST))
    for entry in request["prefetch"]["conditions"]["entry"]:
        entry["resource"]["code"]["text"] = f"Myositis {STEERING}"
        entry["resource"]["id"] += STEERING
    ruleset = load_rules(ROOT / "rules")
    serving = TestClient(create_app(ruleset, lambda: date(2026, 11, 16), store=store))
    (given, *_) = serving.post(CALL, json=request).json()["cards"]
    item = {
        "card": given["uuid"],
        "outcome": "overridden",
        "overrideReason": {"reason": {"code": STEERING, "display": STEERING}},
        "outcomeTimestamp": datetime.now(UTC).isoformat(),
    }
    assert serving.post(f"{CALL}/feedback", json={"feedback": [item]}).status_code == 200
    store.settle()
    id_ = latest()["id"]

    shown = run(*(id_ if each == "ID" else each for each in arguments)).stdout

    assert shown
    assert not set(shown) & {"\x1b", "\x9b", "\u202e"}
    assert not [line for line in shown.splitlines() if line.startswith("forged")]
    if arguments in [("feedback", "report"), ("decisions", "show", "ID")]:
        assert "forged" in shown
