import asyncio
import os
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy.exc import SQLAlchemyError
from structlog.testing import capture_logs

from cds.store.database import DatabaseUnusable, sqlite_url
from cds.store.feedback import Feedback
from cds.store.store import Place, open_database, open_store, prepare_store
from tests.databases import new_database, silent

AT = datetime(2026, 11, 16, 9, 30, tzinfo=UTC)
TOLD = Feedback(card="c1", outcome="overridden", at=AT)


def test_a_database_that_is_silent_holds_nobody_up(
    tmp_path: Path, postgresql_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever asks a server that never answers is told so; when it answers again, all works."""
    monkeypatch.setattr("cds.store.database.WAIT_SECONDS", 1)
    store = open_store(Place(tmp_path, new_database(postgresql_server)))
    until = datetime.now(UTC) + timedelta(hours=1)
    assert store.told("ehr", "p1", ["escalate"], AT) == []
    assert asyncio.run(store.used_tokens.first_use("issuer", "before", until))

    with silent(postgresql_server), capture_logs() as lines:
        asked = [store.told("ehr", "p1", ["escalate"], AT) for _ in range(1000)]
        ailment = asyncio.run(store.ailment())
        with pytest.raises((SQLAlchemyError, TimeoutError)):
            asyncio.run(store.used_tokens.first_use("issuer", "meanwhile", until))
        with pytest.raises(SQLAlchemyError):
            asyncio.run(store.keep_feedback((TOLD,), "ehr", "myositis-patient-view"))

    assert set(map(type, asked)) == {type(None)}
    assert ailment
    # Asked once, and not by each of the calls.
    assert [line["event"] for line in lines].count("overrides_not_known") == 1
    while store.told("ehr", "p1", ["escalate"], AT) is None:  # bounded by the time of the test run
        os.sched_yield()
    assert asyncio.run(store.ailment()) is None
    assert asyncio.run(store.used_tokens.first_use("issuer", "afterwards", until))
    assert not asyncio.run(store.used_tokens.first_use("issuer", "before", until))
    assert asyncio.run(store.keep_feedback((TOLD,), "ehr", "myositis-patient-view")) == ["c1"]
    store.close()


def test_a_folder_that_takes_no_journal_is_told_before_anything_is_served(tmp_path: Path) -> None:
    """What would fail at the first answer fails at the start, with the folder and what to do."""
    (tmp_path / "journal").write_text("in the way of the folder")

    with pytest.raises(DatabaseUnusable, match="CDS_STATE") as told:
        prepare_store(Place(tmp_path))

    assert str(tmp_path / "journal") in str(told.value)


def test_trying_the_folder_leaves_no_journal(tmp_path: Path) -> None:
    """After the start of the store was prepared, the folder of journals is empty."""
    prepare_store(Place(tmp_path))

    assert list((tmp_path / "journal").iterdir()) == []


@pytest.mark.parametrize("named", [False, True])
def test_nobody_else_can_read_the_database(tmp_path: Path, named: bool) -> None:
    """An SQLite file is its owner's alone, where its address is given as well."""
    file = tmp_path / "cds.sqlite"
    before = os.umask(0o022)
    try:
        open_database(Place(tmp_path, sqlite_url(file) if named else None)).dispose()
    finally:
        os.umask(before)

    assert stat.S_IMODE(file.stat().st_mode) == 0o600
