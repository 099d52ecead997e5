"""How long things are kept."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

from sqlalchemy import Column, Engine, Table, delete, select

from cds.store.tables import decisions, feedback

AT_ONCE = 500
"""Rows deleted in one transaction, so that nobody waits long for its end."""


def delete_old(engine: Engine, days: int, now: datetime) -> Iterator[int]:
    """Delete decisions and feedback older than so many days (0: none).

    The files of rule sets stay: they hold nothing of patients. Yields after each transaction how
    many decisions went.
    """
    if not days:
        return
    before = now - timedelta(days=days)
    # The cards of decisions go with them.
    yield from _delete_before(engine, decisions, decisions.c.at, before)
    for _ in _delete_before(engine, feedback, feedback.c.received_at, before):
        yield 0


def _delete_before(
    engine: Engine, table: Table, moment: Column[datetime], before: datetime
) -> Iterator[int]:
    """Delete the rows of a table that are older, ``AT_ONCE`` in a transaction; how many each."""
    while True:
        with engine.begin() as connection:
            old = select(table.c.id).where(moment < before).limit(AT_ONCE)
            ids = connection.execute(old).scalars().all()
            connection.execute(delete(table).where(table.c.id.in_(ids)))
        yield len(ids)
        if len(ids) < AT_ONCE:
            return
