"""The tables. What they hold is described in docs/decision-log.md; ``migrations`` makes them.

Times are in UTC, as SQLite has none with an offset. A ``client`` is who called, tenant
included, empty where authentication is off.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    Boolean,
    Column,
    Date,
    DateTime,
    Dialect,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    text,
)

metadata = MetaData()


class Instant(TypeDecorator[datetime]):
    """A moment, kept in UTC; naive ones are refused."""

    impl = DateTime(timezone=False)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Take the offset off, after going to UTC; raises ``ValueError`` where there is none."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a moment without offset cannot be kept")
        return value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        """Put the offset on again."""
        return None if value is None else value.replace(tzinfo=UTC)


rulesets = Table(
    "rulesets",
    metadata,
    Column("version", String(64), primary_key=True),
    Column("kept_at", Instant, nullable=False),
    Column("files", LargeBinary, nullable=False),
)
"""The files of every rule set that answered, compressed; ``cds.store.archive`` reads them."""

decisions = Table(
    "decisions",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("at", Instant, nullable=False),
    Column("service", String(200), nullable=False),
    Column("hook", String(40), nullable=False),
    Column("hook_instance", String(36), nullable=False),
    Column("client", String(200), nullable=False),
    Column("patient", String(64), nullable=False),
    Column("rules_version", String(64), ForeignKey("rulesets.version"), nullable=False),
    Column("software", String(40), nullable=False),
    Column("as_of", Date, nullable=False),
    Column("applies", Boolean, nullable=False),
    Column("microseconds", Integer, nullable=False),
    Column("overrides_known", Boolean, nullable=False),
    Column("inputs", LargeBinary, nullable=False),
    Column("facts", LargeBinary, nullable=False),
    Column("answer", LargeBinary, nullable=False),
    Index("decisions_by_time", "at"),
    Index("decisions_by_patient", "patient", "at"),
)
"""One row for each answer; ``inputs``, ``facts`` and ``answer`` are compressed JSON."""

cards = Table(
    "cards",
    metadata,
    Column(
        "decision",
        String(36),
        ForeignKey("decisions.id", ondelete="CASCADE"),
        primary_key=True,
    ),
    Column("rule", String(200), primary_key=True),
    Column("position", Integer, nullable=False),
    Column("uuid", String(36), unique=True),
    Column("rule_version", String(40), nullable=False),
    Column("indicator", String(10), nullable=False),
    Column("fingerprint", String(64)),
    Column("silenced_by", String(64)),
    Column("client", String(200), nullable=False),
    Column("patient", String(64), nullable=False),
    Column("at", Instant, nullable=False),
    Index("cards_by_patient", "patient", "rule"),
    Index("cards_by_time", "at"),
)
"""The cards of an answer, and (without ``uuid``) those left out after an override."""

feedback = Table(
    "feedback",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("received_at", Instant, nullable=False),
    Column("client", String(200), nullable=False),
    Column("service", String(200), nullable=False),
    Column("card", String(200), nullable=False),
    Column("outcome", String(10), nullable=False),
    Column("at", Instant, nullable=False),
    Column("reason", Text),
    Column("reason_system", Text),
    Column("reason_display", Text),
    Column("comment", Text),
    Column("suggestions", Text, nullable=False),
    Column("patient", String(64)),
    Index("feedback_by_card", "card", "patient"),
    Index("feedback_by_time", "received_at"),
    Index("feedback_by_patient", "patient", "received_at"),
    Index(
        "feedback_told",
        "patient",
        "client",
        "at",
        "received_at",
        "outcome",
        sqlite_where=text("patient IS NOT NULL"),
        postgresql_where=text("patient IS NOT NULL"),
    ),
)
"""What clinicians did with cards; ``suggestions`` is a JSON list of the ids of accepted ones.

``patient`` is that of the card, once the card is known: a call asks what was told of a patient, who
may have had very many cards of which nothing was.
"""

used_tokens = Table(
    "used_tokens",
    metadata,
    Column("token", String(64), primary_key=True),
    Column("until", Instant, nullable=False),
    Index("used_tokens_by_end", "until"),
)
"""The tokens that were used, as hashes of issuer and `jti`, until they expire."""
