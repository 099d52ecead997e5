"""Which tokens have been used, in the database: for several processes and machines."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from itertools import chain

from msgspec import Struct
from sqlalchemy import Dialect, Engine, delete, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DBAPIError

from cds.store.database import check_identity, identity
from cds.store.tables import Instant, used_tokens

LONGEST = 5.0
"""Seconds that a call may wait to be told whether its token was used."""


KEPT_LONGER = timedelta(hours=1)
"""So long tokens are remembered after they have expired."""

AT_ONCE = 500
"""Tokens that are forgotten in one transaction."""

MOST_TOGETHER = 1000
"""Tokens that are noted in one statement: databases bound the values that it may have."""

_PROBE = "probe"
"""Stands among the tokens, and is none: those are 64 digits."""


class _Asked(Struct, eq=False):
    """A token that a call waits to hear about."""

    token: str
    until: datetime
    answer: asyncio.Future[bool]


class UsedTokens:
    """Remembers used tokens until they expire.

    Whatever is asked while the database is busy with others is asked together, in one transaction:
    each waits for the disk. They are asked in a thread of their own, so that no call waits for its
    token behind whatever else waits for the database.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._identity = identity(engine)
        self._thread = ThreadPoolExecutor(1, "tokens")
        self._asked: list[_Asked] = []
        self._answering: asyncio.Task[None] | None = None

    async def first_use(self, issuer: str, jti: str, until: datetime) -> bool:
        """Whether a token is used for the first time; it is remembered at least ``until`` then.

        Of several calls for the same token, from however many processes, exactly one is answered
        True. Raises ``SQLAlchemyError`` where that cannot be told, ``TimeoutError``, or ``OSError``
        where the file of tokens is another one than was opened.
        """
        answer: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._asked.append(_Asked(_token(issuer, jti), until, answer))
        if self._answering is None:
            self._answering = asyncio.create_task(self._answer())
        # However many wait for a database that is silent, each waits no longer than this.
        async with asyncio.timeout(LONGEST):
            return await answer

    async def _answer(self) -> None:
        try:
            while self._asked:
                asked, self._asked = self._asked[:MOST_TOGETHER], self._asked[MOST_TOGETHER:]
                batch = [each for each in asked if not each.answer.done()]
                await self._answer_together(batch)
        finally:
            self._answering = None

    async def _answer_together(self, batch: list[_Asked]) -> None:
        try:
            first = await asyncio.get_running_loop().run_in_executor(
                self._thread, self._use, {a.token: a.until for a in batch}
            )
        except Exception as fault:
            for each in batch:
                if not each.answer.done():
                    each.answer.set_exception(fault)
            return
        for each in batch:
            if not each.answer.done():
                each.answer.set_result(each.token in first)
            first.discard(each.token)  # of several uses at once, one is the first

    def _use(self, tokens: dict[str, datetime]) -> set[str]:
        first = _use(self._engine, tokens)
        # In a file that nobody finds again they would be forgotten.
        check_identity(self._engine, self._identity)
        return first

    def forget_expired(self, now: datetime) -> Iterator[int]:
        """Forget the tokens that have expired, an hour later; yields how many each time.

        Some at a time: calls wait for the end of each transaction. An hour later, since a clock
        that was ahead for a while would else let them in again.
        """
        expired = select(used_tokens.c.token).where(used_tokens.c.until < now - KEPT_LONGER)
        some = delete(used_tokens).where(used_tokens.c.token.in_(expired.limit(AT_ONCE)))
        gone = AT_ONCE
        while gone >= AT_ONCE:
            with self._engine.begin() as connection:
                gone = connection.execute(some).rowcount
            yield gone

    def probe(self, now: datetime) -> None:
        """Write what says nothing, to see whether a token could be noted now.

        Raises ``SQLAlchemyError``, or ``OSError`` where the file is another than was opened.
        """
        made = postgresql.insert if self._engine.dialect.name == "postgresql" else sqlite.insert
        insert = made(used_tokens).values(token=_PROBE, until=now)
        with self._engine.begin() as connection:
            connection.execute(
                insert.on_conflict_do_update(index_elements=["token"], set_={"until": now})
            )
        check_identity(self._engine, self._identity)

    def close(self) -> None:
        """Let go of the thread and the database."""
        self._thread.shutdown(cancel_futures=True)
        self._engine.dispose()


def _use(engine: Engine, tokens: dict[str, datetime]) -> set[str]:
    """Note that tokens were used; those of them that had not been before.

    By the driver itself, since each call waits for this, and SQLAlchemy takes three times as long
    as the database. On SQLite the statement is a transaction of its own.
    """
    if not tokens:
        return set()
    mark = "%s" if engine.dialect.name == "postgresql" else "?"
    values = ", ".join([f"({mark}, {mark})"] * len(tokens))
    insert = f"INSERT INTO used_tokens (token, until) VALUES {values}"
    # In one order everywhere: processes that note the same tokens would wait for each other.
    rows = ((token, _as_kept(until, engine.dialect)) for token, until in sorted(tokens.items()))
    driver = engine.dialect.loaded_dbapi
    try:
        with contextlib.closing(engine.raw_connection()) as connection:
            cursor = connection.cursor()
            cursor.execute(
                f"{insert} ON CONFLICT DO NOTHING RETURNING token", tuple(chain.from_iterable(rows))
            )
            first = {token for (token,) in cursor.fetchall()}
            connection.commit()
    except driver.Error as fault:
        raise DBAPIError(insert, None, fault) from None
    return first


def _as_kept(until: datetime, dialect: Dialect) -> str:
    """A moment as the column has it, in either database."""
    kept = Instant().process_bind_param(until, dialect)
    assert kept is not None
    return kept.isoformat(" ", "microseconds")


def _token(issuer: str, jti: str) -> str:
    # A hash, because issuers may choose any `jti`, of any length and characters.
    return hashlib.sha256(f"{issuer}\0{jti}".encode("utf-8", "surrogatepass")).hexdigest()
