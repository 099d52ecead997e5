"""Which tokens have been used, in the database: for several processes and machines."""

from __future__ import annotations

import asyncio
import hashlib
from datetime import datetime

from sqlalchemy import Engine, delete
from sqlalchemy.dialects import postgresql, sqlite

from cds.store.tables import used_tokens

LONGEST = 5.0
"""Seconds that a call may wait to be told whether its token was used."""


class UsedTokens:
    """Remembers used tokens until they expire."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def first_use(self, issuer: str, jti: str, until: datetime) -> bool:
        """Whether a token is used for the first time; it is remembered at least ``until`` then.

        Of several calls for the same token, from however many processes, exactly one is answered
        True. Raises ``SQLAlchemyError`` where that cannot be told, or ``TimeoutError``.
        """
        # However many wait for a database that is silent, each waits no longer than this.
        async with asyncio.timeout(LONGEST):
            return await asyncio.to_thread(first_use, self._engine, issuer, jti, until)


def first_use(engine: Engine, issuer: str, jti: str, until: datetime) -> bool:
    """As ``UsedTokens.first_use``, at once."""
    # A hash, because issuers may choose any `jti`, of any length and characters.
    token = hashlib.sha256(f"{issuer}\0{jti}".encode("utf-8", "surrogatepass")).hexdigest()
    insert = postgresql.insert if engine.dialect.name == "postgresql" else sqlite.insert
    kept = insert(used_tokens).values(token=token, until=until).on_conflict_do_nothing()
    with engine.begin() as connection:
        return connection.execute(kept.returning(used_tokens.c.token)).first() is not None


def forget_expired(engine: Engine, now: datetime) -> int:
    """Forget the tokens that have expired; how many."""
    with engine.begin() as connection:
        return connection.execute(delete(used_tokens).where(used_tokens.c.until < now)).rowcount
