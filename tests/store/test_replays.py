import asyncio
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

from sqlalchemy import Engine, select

from cds.store.replays import UsedTokens, first_use, forget_expired
from cds.store.tables import used_tokens
from tests.store.conftest import AT


def test_of_many_calls_with_one_token_one_is_the_first(engine: Engine) -> None:
    """However they meet, exactly one of them is answered True."""
    with ThreadPoolExecutor(8) as pool:
        told = list(pool.map(lambda _: first_use(engine, "ehr", "t1", AT), range(24)))

    assert sorted(told) == [False] * 23 + [True]


def test_a_token_is_told_by_its_issuer_and_its_id(engine: Engine) -> None:
    """Another issuer may use the same id; ids may be of any length and characters."""
    tokens = UsedTokens(engine)
    long = "\0é" * 5000

    async def uses() -> list[bool]:
        pairs = [("a", "1"), ("b", "1"), ("a", "1"), ("a", long), ("a", long)]
        return [await tokens.first_use(*pair, AT) for pair in pairs]

    assert asyncio.run(uses()) == [True, True, False, True, False]


def test_expired_tokens_are_forgotten_and_no_others(engine: Engine) -> None:
    """What has expired would be refused anyway, and takes no room."""
    first_use(engine, "a", "old", AT - timedelta(seconds=1))
    first_use(engine, "a", "new", AT + timedelta(seconds=1))

    assert forget_expired(engine, AT) == 1
    with engine.connect() as connection:
        assert len(connection.execute(select(used_tokens)).all()) == 1
    assert first_use(engine, "a", "new", AT) is False
