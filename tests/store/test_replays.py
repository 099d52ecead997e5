import asyncio
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone

import pytest
from sqlalchemy import Engine, select, text
from sqlalchemy.exc import SQLAlchemyError

from cds.store import replays
from cds.store.replays import KEPT_LONGER, UsedTokens
from cds.store.tables import used_tokens
from tests.store.conftest import AT


def first_use(engine: Engine, issuer: str, jti: str, until: datetime) -> bool:
    """Ask as a process of its own does."""
    return asyncio.run(UsedTokens(engine).first_use(issuer, jti, until))


def test_of_many_calls_with_one_token_one_is_the_first(engine: Engine) -> None:
    """However they meet in as many processes, exactly one of them is answered True."""
    with ThreadPoolExecutor(8) as pool:
        told = list(pool.map(lambda _: first_use(engine, "ehr", "t1", AT), range(24)))

    assert sorted(told) == [False] * 23 + [True]


def test_calls_that_are_asked_about_together_are_told_apart(engine: Engine) -> None:
    """Within a process too one use of each token is the first, whatever is asked beside it."""
    tokens = UsedTokens(engine)
    ids = [str(number % 10) for number in range(50)]

    async def uses() -> list[bool]:
        return await asyncio.gather(*(tokens.first_use("ehr", jti, AT) for jti in ids))

    told = asyncio.run(uses())

    assert [jti for jti, first in zip(ids, told, strict=True) if first] == ids[:10]
    assert asyncio.run(uses()) == [False] * 50


def test_a_fault_is_told_to_all_who_asked_and_to_nobody_later(engine: Engine) -> None:
    """Nobody is let in, or waits for ever; once the database works again, so does this."""
    tokens = UsedTokens(engine)

    async def uses() -> list[bool | BaseException]:
        asked = (tokens.first_use("ehr", str(number), AT) for number in range(20))
        return await asyncio.gather(*asked, return_exceptions=True)

    with engine.begin() as connection:
        connection.execute(text("ALTER TABLE used_tokens RENAME TO elsewhere"))
    assert {isinstance(told, SQLAlchemyError) for told in asyncio.run(uses())} == {True}
    with engine.begin() as connection:
        connection.execute(text("ALTER TABLE elsewhere RENAME TO used_tokens"))
    assert asyncio.run(uses()) == [True] * 20


def test_a_token_is_told_by_its_issuer_and_its_id(engine: Engine) -> None:
    """Another issuer may use the same id; ids may be of any length and characters."""
    tokens = UsedTokens(engine)
    long = "\0é" * 5000

    async def uses() -> list[bool]:
        pairs = [("a", "1"), ("b", "1"), ("a", "1"), ("a", long), ("a", long)]
        return [await tokens.first_use(*pair, AT) for pair in pairs]

    assert asyncio.run(uses()) == [True, True, False, True, False]


def test_expired_tokens_are_forgotten_and_no_others(engine: Engine) -> None:
    """What has expired would be refused anyway; an hour later it takes no room any more."""
    first_use(engine, "a", "old", AT - timedelta(seconds=1))
    first_use(engine, "a", "new", AT + timedelta(seconds=1))

    assert list(UsedTokens(engine).forget_expired(AT + KEPT_LONGER)) == [1]
    with engine.connect() as connection:
        assert len(connection.execute(select(used_tokens)).all()) == 1
    assert first_use(engine, "a", "new", AT) is False


def test_a_clock_that_was_ahead_for_a_while_lets_no_token_in_again(engine: Engine) -> None:
    """What expires within the hour is still remembered when the clock is right again."""
    first_use(engine, "a", "t1", AT)

    assert list(UsedTokens(engine).forget_expired(AT + timedelta(minutes=59))) == [0]
    assert first_use(engine, "a", "t1", AT) is False


def test_tokens_are_forgotten_some_at_a_time(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Calls come in between; in the end all that have expired are gone."""
    monkeypatch.setattr(replays, "AT_ONCE", 2)
    for number in range(5):
        first_use(engine, "a", str(number), AT - KEPT_LONGER)

    assert list(UsedTokens(engine).forget_expired(AT + timedelta(seconds=1))) == [2, 2, 1]


def test_more_calls_than_go_into_one_statement_are_told_apart_too(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of the many that came at one moment is answered, and each by itself."""
    monkeypatch.setattr(replays, "MOST_TOGETHER", 3)
    tokens = UsedTokens(engine)

    async def uses() -> list[bool]:
        return await asyncio.gather(*(tokens.first_use("ehr", f"{n % 8}", AT) for n in range(16)))

    assert asyncio.run(uses()) == [True] * 8 + [False] * 8


def test_a_moment_is_kept_as_the_column_has_it(engine: Engine) -> None:
    """To the microsecond and in UTC: what is forgotten by it is what has expired."""
    until = datetime(2026, 11, 16, 10, 30, 0, 1, tzinfo=timezone(timedelta(hours=1)))
    first_use(engine, "a", "t1", until)

    with engine.connect() as connection:
        assert connection.execute(select(used_tokens.c.until)).scalars().all() == [until]
