import asyncio
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import httpx2
import pytest
from fastapi.testclient import TestClient
from structlog.testing import LogCapture

from cds.hooks import health
from cds.hooks.limits import Limits
from cds.hooks.service import create_app
from cds.rules.engine import EngineFault
from cds.rules.ruleset import RuleSet
from tests.databases import new_database, postgresql, stopped
from tests.hooks.test_server import CHECKOUT, list_client, serve, token


def client_of(ruleset: RuleSet, **given: Any) -> TestClient:
    """Serve the rules with what is given."""
    return TestClient(create_app(ruleset, lambda: date(2026, 11, 16), **given))


def test_a_service_that_can_answer_is_live_and_ready(client: TestClient) -> None:
    """Both are 200, by GET and by HEAD, and readiness names its checks."""
    assert client.get("/health/live").json() == {"live": True}
    ready = client.get("/health/ready")
    assert ready.status_code == 200
    assert ready.json() == {"ready": True, "checks": {"rules": {"ready": True}}}
    assert client.head("/health/ready").status_code == 200


def test_rules_that_no_longer_work_make_it_unready(
    ruleset: RuleSet, monkeypatch: pytest.MonkeyPatch, log: LogCapture
) -> None:
    """Readiness evaluates the rules; what is said to the network is the fault's name alone."""

    def fail(*_: object, **__: object) -> None:
        raise EngineFault("the text of the fault")

    client = client_of(ruleset)
    monkeypatch.setattr(health, "advise", fail)
    ready = client.get("/health/ready")

    assert ready.status_code == 503
    said = "The check failed (EngineFault); the log of the service tells more."
    assert ready.json() == {"ready": False, "checks": {"rules": {"ready": False, "problem": said}}}
    assert client.get("/health/live").status_code == 200
    assert [entry["event"] for entry in log.entries] == ["check_failed"]


def check_of(problem: str | None) -> Callable[[], Any]:
    """Make a check that finds this problem."""

    async def check() -> str | None:
        return problem

    return check


def test_each_part_of_the_service_is_told_apart(ruleset: RuleSet) -> None:
    """One that is not well makes the whole unready, and the others stay as they are."""
    problem = "The database does not answer."
    checks = {"database": check_of(problem), "keys": check_of(None)}
    ready = client_of(ruleset, checks=checks).get("/health/ready")

    assert ready.status_code == 503
    assert ready.json()["checks"] == {
        "rules": {"ready": True},
        "database": {"ready": False, "problem": problem},
        "keys": {"ready": True},
    }


def test_a_check_that_hangs_has_failed(ruleset: RuleSet, monkeypatch: pytest.MonkeyPatch) -> None:
    """A database that never answers does not make readiness wait for ever."""

    async def hang() -> str | None:
        await asyncio.Event().wait()
        return None

    monkeypatch.setattr(health, "CHECK_SECONDS", 0.01)
    ready = client_of(ruleset, checks={"database": hang}).get("/health/ready")

    assert ready.status_code == 503
    assert "(TimeoutError)" in ready.json()["checks"]["database"]["problem"]


def test_health_is_told_however_many_are_served(ruleset: RuleSet) -> None:
    """A busy service is not taken for a dead one."""
    busy = client_of(ruleset, limits=Limits(calls=0))
    assert busy.get("/cds-services").status_code == 503
    assert busy.get("/health/live").status_code == 200
    assert busy.get("/health/ready").status_code == 200


def test_who_asks_while_checks_go_on_gets_their_answer(
    ruleset: RuleSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Anybody may ask, so many who do at a time cost no more than one, however long that takes."""
    monkeypatch.setattr(health, "KEPT_SECONDS", 0)
    rounds = 0

    async def run() -> list[int]:
        nonlocal rounds
        go_on = asyncio.Event()

        async def check() -> str | None:
            nonlocal rounds
            rounds += 1
            await go_on.wait()
            return None

        app = create_app(ruleset, lambda: date(2026, 11, 16), checks={"slow": check})
        transport = httpx2.ASGITransport(app)
        async with httpx2.AsyncClient(transport=transport, base_url="http://test") as http:
            asked = [asyncio.create_task(http.get("/health/ready")) for _ in range(5)]
            while not rounds:
                await asyncio.sleep(0)
            for _ in range(50):
                await asyncio.sleep(0)
            go_on.set()
            answers = [await each for each in asked]
            answers.append(await http.get("/health/ready"))
        return [answer.status_code for answer in answers]

    assert asyncio.run(run()) == [200] * 6
    assert rounds == 2


def test_who_asks_often_makes_no_work(ruleset: RuleSet, monkeypatch: pytest.MonkeyPatch) -> None:
    """Readiness is looked at once for all who ask within a second, and then anew."""
    looks: list[str] = []

    async def look() -> str | None:
        looks.append("database")
        return None

    client = client_of(ruleset, checks={"database": look})
    assert {client.get("/health/ready").status_code for _ in range(20)} == {200}
    assert looks == ["database"]
    monkeypatch.setattr(health, "monotonic", lambda: float("inf"))
    assert client.get("/health/ready").status_code == 200
    assert looks == ["database"] * 2


CALL = "/cds-services/myositis-patient-view"
REQUEST = (CHECKOUT / "fhir_examples/rp-ild-mda5.request.json").read_bytes()


def summaries(answer: httpx2.Response) -> list[str]:
    """Return what the cards of an answer say first."""
    return [card["summary"] for card in answer.json()["cards"]]


@pytest.mark.parametrize("auth", ["required", "off"])
def test_a_database_that_is_stopped_is_told_until_it_is_back(tmp_path: Path, auth: str) -> None:
    """Meanwhile nobody whose token cannot be checked is let in, and no answer lacks its cards.

    Where no tokens are checked calls are answered as before, and recorded when it is back.
    """
    settings = {"CDS_CLIENTS": str(list_client(tmp_path))} if auth == "required" else {}
    with postgresql() as server:
        database = new_database(server)
        with serve(CDS_DATABASE_URL=database, CDS_AUTH=auth, **settings) as running:

            def call() -> httpx2.Response:
                headers = {"Content-Type": "application/json"}
                if auth == "required":
                    headers["Authorization"] = f"Bearer {token(CALL)}"
                return httpx2.post(running.url + CALL, content=REQUEST, headers=headers, timeout=30)

            def when_ready(status: int) -> Any:
                """Wait for readiness, bounded by the time of the whole test run."""
                while (told := httpx2.get(f"{running.url}/health/ready")).status_code != status:
                    time.sleep(0.05)
                return told.json()

            given = summaries(call())
            assert when_ready(200)["checks"]["database"] == {"ready": True}
            with stopped(server):
                told = when_ready(503)
                meanwhile = [call() for _ in range(3)]
                live = httpx2.get(f"{running.url}/health/live").status_code
            assert when_ready(200)["ready"]
            after = call()

    assert given
    assert (told["ready"], told["checks"]["rules"]) == (False, {"ready": True})
    assert told["checks"]["database"]["problem"].startswith("The database does not ")
    assert live == 200
    for answer in meanwhile:
        if auth == "required":
            assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
            assert "database" in answer.json()["issue"][0]["diagnostics"]
        else:
            assert (answer.status_code, summaries(answer)) == (200, given)
    assert summaries(after) == given
