from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
from sqlalchemy import Engine

from cds.advice import load_rules
from cds.rules.ruleset import RuleSet
from cds.store.archive import pack
from cds.store.database import connect, upgrade
from cds.store.decisions import CardGiven, Decision, KeptRules, insert_rows, rows_of
from cds.store.store import Place, Store, open_store

CHECKOUT = Path(__file__).resolve().parents[2]
AT = datetime(2026, 11, 16, 9, 30, tzinfo=UTC)


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    """Open a database of each kind, with its tables."""
    engine = connect(database_url)
    upgrade(engine)
    yield engine
    engine.dispose()


@pytest.fixture
def place(tmp_path: Path, database_url: str) -> Place:
    """Say where to keep things: in a new folder, and in a database of each kind."""
    return Place(tmp_path / "state", database_url)


@pytest.fixture
def store(place: Place) -> Iterator[Store]:
    """Open a store."""
    opened = open_store(place)
    yield opened
    opened.close()


@pytest.fixture(scope="session")
def ruleset() -> RuleSet:
    """Read the rules that the project ships."""
    return load_rules(CHECKOUT / "rules")


RULES = KeptRules(version="v1", kept_at=AT, files=pack({}))


def decision(number: int, *given: CardGiven, **fields: object) -> Decision:
    """Make up the decision of a number, which is its id too."""
    made: dict[str, object] = {
        "id": f"00000000-0000-4000-8000-{number:012}",
        "at": AT,
        "service": "myositis-patient-view",
        "hook": "patient-view",
        "hook_instance": "d1577c69-dfbe-44ad-ba6d-3e05e953b2ea",
        "client": "ehr",
        "patient": "p1",
        "rules_version": "v1",
        "software": "0.1.0",
        "as_of": date(2026, 11, 16),
        "applies": True,
        "microseconds": 900,
        "overrides_known": True,
        "inputs": b'{"record":{}}',
        "facts": b'{"values":{},"outcomes":{},"evidence":{}}',
        "answer": b'{"cards":[]}',
        "cards": given,
    }
    return Decision(**(made | fields))  # type: ignore[arg-type]  # named just above


def card(uuid: str | None, rule: str = "escalate", **fields: object) -> CardGiven:
    """Make up a card that was given, or with None one that was left out."""
    made: dict[str, object] = {"rule": rule, "rule_version": "1.0.0", "indicator": "warning"}
    return CardGiven(uuid=uuid, **(made | fields))  # type: ignore[arg-type]  # named just above


@pytest.fixture
def keep(engine: Engine) -> Callable[..., None]:
    """Give what keeps decisions in the database."""

    def keep(*decisions: Decision) -> None:
        with engine.begin() as connection:
            insert_rows(connection, rows_of([RULES, *decisions]))

    return keep
