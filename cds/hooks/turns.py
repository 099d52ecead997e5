"""One call after the other, in the order in which they came.

An event loop takes what has arrived in rounds: it looks at its connections, and then works through
all that it found before it looks again. Whoever was answered last in a round has not asked again
when the next one begins, and has to wait through all of it, while those before it are answered in
every round. So under load some connections would wait twice as long as others. With turns, each
round has one answer, and between two of them the loop sees who has come meanwhile.
"""

from __future__ import annotations

import asyncio
from types import TracebackType


class Turns:
    """Whose turn it is to be worked for; what is done within ``async with`` should not wait."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()

    async def __aenter__(self) -> None:
        """Wait for those who came before."""
        await self._lock.acquire()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        fault: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Let the next one begin, but only once the loop has seen who has come meanwhile."""
        asyncio.get_running_loop().call_soon(self._lock.release)
