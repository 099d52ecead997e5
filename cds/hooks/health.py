"""Tells load balancers and orchestrators whether the process lives and whether it can answer.

Neither needs authentication, and neither says anything but the names of checks and what ails them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from datetime import date
from time import monotonic

import msgspec
import structlog
from fastapi import FastAPI, Response
from msgspec import Struct

from cds.advice import advise
from cds.fhir.bundles import Delivery
from cds.hooks.limits import HEALTH
from cds.hooks.logs import describe
from cds.rules.ruleset import RuleSet

LIVE = HEALTH + "live"
READY = HEALTH + "ready"

CHECK_SECONDS = 2
"""A check that takes longer has failed."""

KEPT_SECONDS = 1.0
"""So long what was found is told again: anyone may ask, and a look costs rules and a write."""

Check = Callable[[], Awaitable[str | None]]
"""What ails a part of the service, in a sentence without secrets; None for nothing."""

_log = structlog.get_logger()


class _Part(Struct, frozen=True, omit_defaults=True):
    ready: bool
    problem: str | None = None


class _Readiness(Struct, frozen=True):
    ready: bool
    checks: dict[str, _Part]


def add_health(app: FastAPI, checks: Mapping[str, Check]) -> None:
    """Answer 200 at ``/health/live``, and at ``/health/ready`` 200 or 503 with each check."""

    @app.api_route(LIVE, methods=["GET", "HEAD"])
    async def live() -> Response:
        return _json(b'{"live":true}', 200)

    latest: asyncio.Task[list[_Part]] | None = None
    until = 0.0

    async def check() -> list[_Part]:
        nonlocal until
        found = await asyncio.gather(*map(_try, checks.values()))
        until = monotonic() + KEPT_SECONDS
        return found

    @app.api_route(READY, methods=["GET", "HEAD"])
    async def ready() -> Response:
        # Anybody may ask, so one round answers all who ask while it goes on, and soon after.
        nonlocal latest
        if latest is None or (latest.done() and monotonic() >= until):
            latest = asyncio.create_task(check())
        parts = dict(zip(checks, await asyncio.shield(latest), strict=True))
        every = all(part.ready for part in parts.values())
        return _json(msgspec.json.encode(_Readiness(every, parts)), 200 if every else 503)


def rules_work(ruleset: Callable[[], RuleSet], today: Callable[[], date]) -> Check:
    """A check that the rules in service can be evaluated, for a patient of whom nothing is known.

    Both engines do so, and must agree.
    """

    async def check() -> str | None:
        advise(Delivery(), "nobody", ruleset(), today(), everything=True)
        return None

    return check


async def _try(check: Check) -> _Part:
    try:
        async with asyncio.timeout(CHECK_SECONDS):
            problem = await check()
    except Exception as fault:
        # Its text may tell more than the network should know, such as the address of a database.
        _log.error("check_failed", **describe(fault))
        problem = f"The check failed ({type(fault).__name__}); the log of the service tells more."
    return _Part(problem is None, problem)


def _json(content: bytes, status: int) -> Response:
    return Response(content, status, media_type="application/json")
