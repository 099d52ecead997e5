import asyncio
from collections.abc import Awaitable, Callable

import pytest

from cds.hooks.turns import Turns


def run(work: Callable[[Turns], Awaitable[None]]) -> None:
    """Let something take turns, 20 seconds at most."""

    async def bounded() -> None:
        async with asyncio.timeout(20):
            await work(Turns())

    asyncio.run(bounded())


def test_whoever_comes_meanwhile_goes_before_who_asks_again() -> None:
    """Four that ask again as soon as they were worked for are worked for in a ring."""
    order: list[int] = []

    async def ask(turns: Turns, name: int) -> None:
        for _ in range(5):
            async with turns:
                order.append(name)
            await asyncio.sleep(0)  # the answer is on its way, and comes back as a question

    async def work(turns: Turns) -> None:
        await asyncio.gather(*(ask(turns, name) for name in range(4)))

    run(work)

    assert order == [0, 1, 2, 3] * 5


def test_a_round_of_the_loop_has_one_turn() -> None:
    """Between two turns the loop looks at its connections, which it does once in each round."""
    rounds = 0
    seen: list[int] = []

    def count() -> None:
        nonlocal rounds
        rounds += 1
        asyncio.get_running_loop().call_soon(count)

    async def ask(turns: Turns) -> None:
        async with turns:
            seen.append(rounds)

    async def work(turns: Turns) -> None:
        asyncio.get_running_loop().call_soon(count)
        await asyncio.gather(*(ask(turns) for _ in range(5)))

    run(work)

    assert len(set(seen)) == 5


@pytest.mark.parametrize("fault", [ValueError, asyncio.CancelledError])
def test_a_fault_ends_a_turn(fault: type[BaseException]) -> None:
    """Whoever fails, or is given up, keeps nobody waiting."""
    order: list[str] = []

    async def fail(turns: Turns) -> None:
        async with turns:
            order.append("failed")
            raise fault

    async def work(turns: Turns) -> None:
        failing = asyncio.create_task(fail(turns))
        await asyncio.gather(failing, return_exceptions=True)
        async with turns:
            order.append("went on")

    run(work)

    assert order == ["failed", "went on"]


def test_who_is_given_up_while_waiting_loses_only_the_own_turn() -> None:
    """A call that takes too long is cancelled; those behind it are worked for."""
    order: list[str] = []

    async def ask(turns: Turns, name: str) -> None:
        async with turns:
            order.append(name)

    async def work(turns: Turns) -> None:
        async with turns:
            asked = [asyncio.create_task(ask(turns, name)) for name in ("first", "second")]
            await asyncio.sleep(0)
            asked[0].cancel()
            await asyncio.sleep(0)
        await asyncio.gather(*asked, return_exceptions=True)

    run(work)

    assert order == ["second"]
