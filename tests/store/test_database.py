import subprocess
import sys
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Engine, inspect, select, text

from cds.store.database import (
    DatabaseUnusable,
    called,
    connect,
    downgrade,
    private_file,
    private_folder,
    sqlite_url,
    upgrade,
)
from cds.store.decisions import insert_rows, rows_of
from cds.store.feedback import Feedback, keep_feedback
from cds.store.tables import feedback, metadata
from tests.store.conftest import AT, RULES, card, decision


def test_migrations_make_the_tables_as_they_are_declared(engine: Engine) -> None:
    """What the migrations make is, column by column, what the code believes."""
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []


def test_migrations_go_down_and_up_again(engine: Engine) -> None:
    """Down to nothing but alembic's own table, and up to all of them."""
    downgrade(engine, "base")
    bare = inspect(engine).get_table_names()
    upgrade(engine)

    assert bare == ["alembic_version"]
    assert set(metadata.tables) < set(inspect(engine).get_table_names())


def test_feedback_that_was_kept_before_gets_its_patient(engine: Engine) -> None:
    """The patient of each card that is known, and none where it is not or was another client's."""
    with engine.begin() as connection:
        made = decision(1, card("u1"), card("u2", "other"))
        insert_rows(connection, rows_of([RULES, made]))
        items = [Feedback(card=uuid, outcome="accepted", at=AT) for uuid in ("u1", "u9")]
        keep_feedback(connection, items, client="ehr", service="s", received_at=AT)
        other = [Feedback(card="u2", outcome="accepted", at=AT)]
        keep_feedback(connection, other, client="another", service="s", received_at=AT)
    downgrade(engine, "0001")
    upgrade(engine)

    with engine.connect() as connection:
        rows = connection.execute(select(feedback.c.card, feedback.c.patient)).all()
    assert sorted(map(tuple, rows)) == [("u1", "p1"), ("u2", None), ("u9", None)]


def test_several_processes_may_upgrade_at_once(database_url: str) -> None:
    """Of processes that start together each finds the tables made, and none fails."""
    code = (
        "import sys; from cds.store.database import connect, upgrade; upgrade(connect(sys.argv[1]))"
    )
    started = [
        subprocess.Popen([sys.executable, "-c", code, database_url], stderr=subprocess.PIPE)
        for _ in range(4)
    ]
    ended = [(process.communicate()[1], process.returncode) for process in started]

    assert [status for _, status in ended] == [0] * 4, ended


def test_a_database_of_a_later_version_is_refused(engine: Engine) -> None:
    """Tables that this version does not know are not written to, and the reader is told why."""
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))

    with pytest.raises(DatabaseUnusable, match="made by a later version"):
        upgrade(engine)


def test_sqlite_waits_for_the_disk_and_lets_readers_read(tmp_path: Path) -> None:
    """Each connection has write-ahead logging, full synchronisation and foreign keys."""
    with connect(sqlite_url(tmp_path / "a.sqlite")).connect() as connection:
        told = [
            connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys")
        ]

    assert told == ["wal", 2, 1]


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("mysql://cds:secret@db/cds", "mysql is neither"),
        ("sqlite://", "without a file"),
        ("cds:secret@db", "cannot be read"),
        ("postgresql://cds:secret@db:port/cds", "cannot be read"),
    ],
)
def test_addresses_of_no_usable_database_are_refused(url: str, told: str) -> None:
    """What is wrong is said, and the password is not."""
    with pytest.raises(DatabaseUnusable, match=told) as refused:
        connect(url)

    assert "secret" not in str(refused.value)


def test_a_database_that_cannot_be_reached_is_told_without_its_password() -> None:
    """The address is named with the password struck out."""
    engine = connect("postgresql://cds:secret@127.0.0.1:1/cds")

    with pytest.raises(DatabaseUnusable) as refused:
        upgrade(engine)

    assert "postgresql+psycopg://cds:***@127.0.0.1:1/cds cannot be used" in str(refused.value)
    assert "secret" not in str(refused.value) + called(engine)


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    """The reader learns which folder, and which setting names another."""
    (tmp_path / "file").touch()

    with pytest.raises(DatabaseUnusable, match=r"file/state cannot be used.*CDS_STATE"):
        private_folder(tmp_path / "file" / "state")


def test_the_folder_is_for_its_owner_alone(tmp_path: Path) -> None:
    """Nobody else may list what is kept."""
    assert private_folder(tmp_path / "state").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("mode", [0o710, 0o705, 0o770])
def test_a_folder_that_is_open_to_others_is_refused(tmp_path: Path, mode: int) -> None:
    """The reader is told the command that mends it, and nothing is changed by itself."""
    folder = private_folder(tmp_path / "state")
    folder.chmod(mode)

    with pytest.raises(DatabaseUnusable, match=f"chmod 700 {folder}"):
        private_folder(folder)

    assert folder.stat().st_mode & 0o777 == mode
    folder.chmod(0o700)
    assert private_folder(folder) == folder


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620])
def test_a_file_that_is_open_to_others_is_refused(tmp_path: Path, mode: int) -> None:
    """The reader is told the command that mends it; one with its owner alone is used as it is."""
    file = tmp_path / "cds.sqlite"
    private_file(file)
    private_file(file)
    file.chmod(mode)

    with pytest.raises(DatabaseUnusable, match=f"chmod 600 {file}"):
        private_file(file)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://cds:secret@db.hospital.example/cds",
        "postgresql://cds:secret@10.1.2.3/cds?sslmode=prefer",
        "postgresql://cds:secret@/cds?host=/tmp&host=db.hospital.example",
        "postgresql+psycopg://cds:secret@localhost,db/cds",
        "postgresql://cds:secret@localhost/cds?hostaddr=10.1.2.3",
    ],
)
def test_a_way_over_a_network_must_say_how_it_is_protected(url: str) -> None:
    """What libpq does by itself depends on what the other side offers, whoever that is."""
    with pytest.raises(DatabaseUnusable, match=r"Add \?sslmode=verify-full") as refused:
        connect(url)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://cds@db.hospital.example/cds?sslmode=verify-full",
        "postgresql://cds@database/cds?sslmode=disable",
        "postgresql://cds@localhost/cds",
        "postgresql://cds@[::1]/cds",
        "postgresql://cds@/cds?host=/run/postgresql",
        "postgresql:///cds",
    ],
)
def test_a_way_that_is_protected_or_leads_nowhere_is_taken(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Within this machine, or as somebody who knows the network has said."""
    monkeypatch.delenv("PGHOST", raising=False)
    connect(url).dispose()


def test_libpq_s_own_variables_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """They name a host, and say how the way to it is protected, where the address does not."""
    monkeypatch.setenv("PGHOST", "db.hospital.example")
    with pytest.raises(DatabaseUnusable, match="another machine"):
        connect("postgresql://cds@/cds")
    monkeypatch.setenv("PGSSLMODE", "verify-full")
    connect("postgresql://cds@/cds").dispose()
