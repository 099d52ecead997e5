"""Which tokens have been used: each may be used once."""

from __future__ import annotations

import heapq
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

FirstUse = Callable[[str, str, datetime], Awaitable[bool]]
"""Whether a token is used for the first time, by its issuer and its id (`jti`).

If so, it is remembered until the time that is given, at least. Of several calls for the same token,
from however many processes that share what is remembered, exactly one is answered True. Where that
cannot be told or remembered, an exception is raised, never True given.
"""

MOST = 1_000_000
"""How many tokens are remembered in memory: a good hundred megabytes."""


class MemoryFull(RuntimeError):
    """So many tokens are in use that no more can be remembered."""

    def __init__(self, most: int) -> None:
        super().__init__(f"{most} used tokens are remembered, and more would take too much memory")


class InMemory:
    """Remembers tokens in this process alone: for one process, and until it ends."""

    def __init__(
        self, most: int = MOST, clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._most = most
        self._clock = clock
        self._used: set[tuple[str, str]] = set()
        self._until: list[tuple[datetime, tuple[str, str]]] = []

    async def first_use(self, issuer: str, jti: str, until: datetime) -> bool:
        """See ``FirstUse``. Raises ``MemoryFull``."""
        # Nothing is awaited here, so no other request comes between the look and the note.
        now = self._clock()
        while self._until and self._until[0][0] < now:
            self._used.discard(heapq.heappop(self._until)[1])
        token = (issuer, jti)
        if token in self._used:
            return False
        if len(self._used) >= self._most:
            raise MemoryFull(self._most)
        self._used.add(token)
        heapq.heappush(self._until, (until, token))
        return True
