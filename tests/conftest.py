import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from cds.store.database import sqlite_url
from tests.databases import new_database, postgresql


@pytest.fixture(autouse=True, scope="session")
def state_folder() -> Iterator[None]:
    """Keep what services of the tests keep out of the home of whoever runs them."""
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", folder)
        patch.delenv("CDS_STATE", raising=False)
        yield


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
