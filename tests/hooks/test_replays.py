import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from cds.hooks.replays import InMemory, MemoryFull

NOW = datetime(2026, 11, 16, tzinfo=UTC)


def test_a_token_is_used_first_once() -> None:
    """By its issuer and its id together."""
    memory = InMemory(clock=lambda: NOW)
    uses = [("a", "1"), ("a", "1"), ("a", "2"), ("b", "1"), ("a1", ""), ("a", "1")]
    first = [asyncio.run(memory.first_use(*use, NOW + timedelta(hours=1))) for use in uses]
    assert first == [True, False, True, True, True, False]


def test_a_token_is_remembered_until_the_time_that_was_given() -> None:
    """That moment included; later it is refused as expired by who asks."""
    now = [NOW]
    memory = InMemory(clock=lambda: now[0])
    assert asyncio.run(memory.first_use("a", "1", NOW + timedelta(seconds=60)))
    now[0] += timedelta(seconds=60)
    assert not asyncio.run(memory.first_use("a", "1", NOW + timedelta(seconds=90)))
    now[0] += timedelta(seconds=1)
    assert asyncio.run(memory.first_use("a", "1", NOW + timedelta(seconds=90)))


def test_a_full_memory_lets_nobody_in() -> None:
    """What cannot be remembered is not accepted; there is room again when tokens have expired."""
    now = [NOW]
    memory = InMemory(most=2, clock=lambda: now[0])
    for jti, seconds in (("1", 90), ("2", 60)):
        assert asyncio.run(memory.first_use("a", jti, NOW + timedelta(seconds=seconds)))
    with pytest.raises(MemoryFull, match="2 used tokens"):
        asyncio.run(memory.first_use("a", "3", NOW + timedelta(seconds=60)))
    assert not asyncio.run(memory.first_use("a", "1", NOW + timedelta(seconds=60)))
    now[0] += timedelta(seconds=61)
    assert asyncio.run(memory.first_use("a", "3", NOW + timedelta(seconds=120)))
