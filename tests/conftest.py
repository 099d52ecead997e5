import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from cds.store.database import sqlite_url
from tests.databases import new_database, postgresql
from tests.hooks.conformance import check_answer


@pytest.fixture(autouse=True, scope="session")
def state_folder() -> Iterator[None]:
    """Keep what services of the tests keep out of the home of whoever runs them."""
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", folder)
        patch.delenv("CDS_STATE", raising=False)
        yield


@pytest.fixture(autouse=True)
def every_answer_conforms(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hold every answer of every test, in process or from a server, against the schemas.

    What is posted is said to be JSON, as every client says it, unless a test says otherwise. The
    asynchronous client asks FHIR servers too, and of its answers only those of services count.
    """
    send, send_async = httpx2.Client.send, httpx2.AsyncClient.send

    def checked(client: httpx2.Client, request: httpx2.Request, **options: Any) -> httpx2.Response:
        if request.method == "POST":
            request.headers.setdefault("Content-Type", "application/json")
        answer = send(client, request, **options)
        check_answer(request.method, request.url.path, answer.status_code, answer.content)
        return answer

    async def checked_async(
        client: httpx2.AsyncClient, request: httpx2.Request, **options: Any
    ) -> httpx2.Response:
        answer = await send_async(client, request, **options)
        if request.url.path.startswith("/cds-services"):
            content = await answer.aread()
            check_answer(request.method, request.url.path, answer.status_code, content)
        return answer

    monkeypatch.setattr(httpx2.Client, "send", checked)
    monkeypatch.setattr(httpx2.AsyncClient, "send", checked_async)


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[str]:
    """Run a PostgreSQL server as long as the tests run."""
    with postgresql() as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Give the address of an empty database, of each kind in turn."""
    if request.param == "sqlite":
        return sqlite_url(tmp_path / "cds.sqlite")
    server: str = request.getfixturevalue("postgresql_server")
    return new_database(server)
