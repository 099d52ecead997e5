"""Decisions: what was answered, to whom, when, from what, and why; kept, found and listed."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime
from uuid import UUID, uuid5

import msgspec
from isal import isal_zlib
from msgspec import Struct
from msgspec.structs import replace
from sqlalchemy import Connection, RowMapping, Table, select
from sqlalchemy.dialects import postgresql, sqlite

from cds.cards.card import Card
from cds.chart.facts.declaration import Evidence, Value
from cds.fhir.bundles import Excluded
from cds.rules.language import Hook
from cds.rules.nodes import Truth
from cds.store.tables import cards, decisions, rulesets


class CardGiven(Struct, frozen=True, kw_only=True):
    """A card of an answer, or one that was left out of it, and then has no ``uuid``.

    ``fingerprint`` is that of the facts behind it, where its rule states a quiet period;
    ``silenced_by`` is the feedback because of which it was left out.
    """

    rule: str
    rule_version: str
    indicator: str
    uuid: str | None = None
    fingerprint: str | None = None
    silenced_by: str | None = None


class Facts(Struct, frozen=True):
    """What the rules saw: each fact with its value, each rule with its truth.

    ``evidence`` has, of the facts behind the cards, the resources that they come from. ``excluded``
    is what was delivered and not used, with the reasons; of patients without their ids.
    """

    values: dict[str, Value]
    outcomes: dict[str, Truth]
    evidence: dict[str, tuple[Evidence, ...]]
    excluded: tuple[Excluded, ...] = ()


class Decision(Struct, frozen=True, kw_only=True, tag="decision"):
    """One answer. ``patient`` is a pseudonym, and stands for the patient in every part.

    ``inputs`` (``cds.store.inputs``), ``facts`` (``Facts``) and ``answer`` (the cards as sent) are
    JSON. ``overrides_known`` is false where it could not be found out in time which cards had been
    overridden, and none was left out.
    """

    id: str
    at: datetime
    service: str
    hook: Hook
    hook_instance: str
    client: str
    patient: str
    rules_version: str
    software: str
    as_of: date
    applies: bool
    microseconds: int
    overrides_known: bool
    inputs: bytes
    facts: bytes
    answer: bytes
    cards: tuple[CardGiven, ...]


class KeptRules(Struct, frozen=True, kw_only=True, tag="rules"):
    """The files of a rule set, compressed, noted before its first decision."""

    version: str
    kept_at: datetime
    files: bytes


Entry = Decision | KeptRules
"""What a journal holds."""

_ENTRY_ENCODER = msgspec.msgpack.Encoder()
_ENTRY_DECODER: msgspec.msgpack.Decoder[Entry] = msgspec.msgpack.Decoder(Entry)
_FACTS_ENCODER = msgspec.json.Encoder(decimal_format="string")


class NotKept(LookupError):
    """There is no such decision, or no longer."""


def encode_entry(entry: Entry) -> bytes:
    """An entry of a journal as bytes."""
    return _ENTRY_ENCODER.encode(entry)


def decode_entry(record: bytes) -> Entry:
    """The entry of ``encode_entry``; raises ``msgspec.DecodeError``."""
    return _ENTRY_DECODER.decode(record)


def encode_facts(facts: Facts) -> bytes:
    """Facts as JSON, with numbers as texts: some are infinite."""
    return _FACTS_ENCODER.encode(facts)


def name_cards(given: Iterable[tuple[str, Card]], decision: str) -> tuple[Card, ...]:
    """The cards of a decision, each with its rule, under uuids that no other decision gives.

    Feedback on a card is then about this one answer. The same decision gives the same uuids, which
    tell nothing of the patient.
    """
    named = []
    for rule, card in given:
        uuid = card_uuid(decision, rule)
        suggestions = tuple(
            replace(suggestion, uuid=str(uuid5(UUID(uuid), str(i))))
            for i, suggestion in enumerate(card.suggestions)
        )
        named.append(replace(card, uuid=uuid, suggestions=suggestions))
    return tuple(named)


def card_uuid(decision: str, rule: str) -> str:
    """The uuid of the card that a rule gives in a decision."""
    return str(uuid5(UUID(decision), rule))


Rows = tuple[tuple[Table, list[dict[str, object]]], ...]
"""Rows by their table, in the order in which they go in."""


def rows_of(entries: Sequence[Entry]) -> Rows:
    """What journals hold as rows; that takes long enough not to be done in a transaction."""
    kept = [e for e in entries if isinstance(e, KeptRules)]
    made = [e for e in entries if isinstance(e, Decision)]
    return (
        (rulesets, [msgspec.structs.asdict(each) for each in kept]),
        (decisions, [_row(each) for each in made]),
        (cards, [row for each in made for row in _card_rows(each)]),
    )


def insert_rows(connection: Connection, rows: Rows) -> None:
    """Keep rows; what is kept already stays as it is."""
    insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    for table, each in rows:
        if each:
            connection.execute(insert(table).on_conflict_do_nothing(), each)


def _row(decision: Decision) -> dict[str, object]:
    row = msgspec.structs.asdict(decision)
    del row["cards"]
    # Names that clients and rules bring along may be of any length.
    for name in ("service", "client"):
        row[name] = row[name][:200]
    for name in ("inputs", "facts", "answer"):
        # The form of zlib, which anything reads, in a quarter of its time.
        row[name] = isal_zlib.compress(row[name], 1)
    return row


def _card_rows(decision: Decision) -> list[dict[str, object]]:
    shared = {
        "decision": decision.id,
        "client": decision.client[:200],
        "patient": decision.patient,
        "at": decision.at,
    }
    return [
        {**shared, "position": i, **msgspec.structs.asdict(card)}
        for i, card in enumerate(decision.cards)
    ]


def find_decision(connection: Connection, id: str) -> Decision:
    """The decision with this id; raises ``NotKept``."""
    row = connection.execute(select(decisions).where(decisions.c.id == id)).mappings().first()
    if row is None:
        raise NotKept(f"no decision {id} is kept: it was never made here, or its time is over")
    given = connection.execute(
        select(cards).where(cards.c.decision == id).order_by(cards.c.position)
    ).mappings()
    return _decision(row, given)


def find_rules(connection: Connection, version: str) -> bytes:
    """The files of a rule set as ``cds.store.archive`` packed them; raises ``NotKept``."""
    found = connection.execute(select(rulesets.c.files).where(rulesets.c.version == version))
    files: bytes | None = found.scalar()
    if files is None:
        raise NotKept(f"the files of rule set {version} are not kept")
    return files


def _decision(row: RowMapping, given: Iterable[RowMapping]) -> Decision:
    fields = {name: row[name] for name in Decision.__struct_fields__ if name in row}
    for name in ("inputs", "facts", "answer"):
        fields[name] = zlib.decompress(row[name])
    listed = tuple(
        CardGiven(**{name: card[name] for name in CardGiven.__struct_fields__}) for card in given
    )
    return Decision(**fields, cards=listed)


class Listed(Struct, frozen=True):
    """A decision in a list of them; ``cards`` are the rules whose cards were given."""

    id: str
    at: datetime
    service: str
    client: str
    patient: str
    rules_version: str
    milliseconds: float
    cards: tuple[str, ...]
    left_out: tuple[str, ...]


def list_decisions(
    connection: Connection,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    patient: str | None = None,
    rule: str | None = None,
    most: int = 50,
) -> list[Listed]:
    """Decisions, the latest first: from a moment, before a moment, of a pseudonym, with a rule."""
    columns = ("id", "at", "service", "client", "patient", "rules_version", "microseconds")
    asked = (
        select(*(decisions.c[name] for name in columns))
        .order_by(decisions.c.at.desc(), decisions.c.id)
        .limit(most)
    )
    if since is not None:
        asked = asked.where(decisions.c.at >= since)
    if until is not None:
        asked = asked.where(decisions.c.at < until)
    if patient is not None:
        asked = asked.where(decisions.c.patient == patient)
    if rule is not None:
        asked = asked.where(
            decisions.c.id.in_(select(cards.c.decision).where(cards.c.rule == rule))
        )
    rows = connection.execute(asked).mappings().all()
    given: dict[str, list[RowMapping]] = {}
    ids = [row["id"] for row in rows]
    found = select(cards).where(cards.c.decision.in_(ids)).order_by(cards.c.position)
    for card in connection.execute(found).mappings():
        given.setdefault(card["decision"], []).append(card)
    return [
        Listed(
            id=row["id"],
            at=row["at"].astimezone(UTC),
            service=row["service"],
            client=row["client"],
            patient=row["patient"],
            rules_version=row["rules_version"],
            milliseconds=row["microseconds"] / 1000,
            cards=tuple(c["rule"] for c in given.get(row["id"], ()) if c["uuid"]),
            left_out=tuple(c["rule"] for c in given.get(row["id"], ()) if not c["uuid"]),
        )
        for row in rows
    ]
