"""The database: SQLite in one file, or PostgreSQL; its tables made and changed by migrations."""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy import URL, Connection, Engine, Table, create_engine, event, make_url, text
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError

from cds.addresses import is_this_machine

WAIT_SECONDS = 10
"""How long a writer waits for the others, and a connection to PostgreSQL for the server."""

READ_MILLISECONDS = 250
"""How long the database may take over what a call waits for."""

_GIVE_UP_SECONDS = 0.5
"""After this PostgreSQL does not answer a call at all, not even that it takes too long."""

_READING = "reading"
_POSTGRESQL = ("postgresql", "postgres")
_SAID = ("require", "verify-ca", "verify-full", "disable")
"""Of libpq's ways those that do not depend on what the other side offers."""
_UPGRADE_LOCK = 0x6D796F73
"""Any fixed number serves: PostgreSQL's advisory lock of those that upgrade."""


class DatabaseUnusable(RuntimeError):
    """The database cannot be used; the text says why and what to do, without a password."""


def sqlite_url(file: Path) -> str:
    """The address of an SQLite database in a file."""
    return f"sqlite:///{file}"


def connect(url: str) -> Engine:
    """Make the engine of a database, which connects when it is first used.

    An address that begins with ``postgresql://`` is used through psycopg. A transaction of an
    SQLite database takes the lock of writers at its beginning, so that it never fails half way for
    want of it; see ``reading`` for those that only read. Commits wait until the disk has them.

    Raises ``DatabaseUnusable`` for an address that names no database this service can use, or
    leads over a network without saying how that is protected.
    """
    try:
        parsed = make_url(url)
        if parsed.drivername in _POSTGRESQL:
            parsed = parsed.set(drivername="postgresql+psycopg")
        kind = parsed.get_backend_name()
        if kind == "sqlite" and parsed.database in (None, "", ":memory:"):
            raise DatabaseUnusable(
                "An SQLite database without a file keeps nothing: name one, as in "
                "sqlite:////var/lib/myositis-cds/cds.sqlite"
            )
        if kind not in ("sqlite", "postgresql"):
            raise DatabaseUnusable(
                f"The database should be sqlite or postgresql, and {kind} is neither: write "
                "sqlite:////path/to/file or postgresql://user@host/database"
            )
        if kind == "postgresql":
            _check_way(parsed)
        engine = create_engine(parsed, **_options(kind))
    except (ArgumentError, NoSuchModuleError, ValueError):
        # Their texts may repeat the address, and a password with it.
        raise DatabaseUnusable(
            "The address of the database cannot be read: write sqlite:////path/to/file or "
            "postgresql://user@host/database"
        ) from None
    except ImportError:
        raise DatabaseUnusable(
            "PostgreSQL is asked for, and the library for it is not installed: "
            "pip install 'myositis-cds[postgresql]'"
        ) from None
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
    return engine


def _check_way(url: URL) -> None:
    """Refuse a way over a network of which nothing says how it is protected.

    libpq would else talk in the clear to whoever answers without TLS. Raises ``DatabaseUnusable``.
    """
    told = url.query.get("sslmode") or os.environ.get("PGSSLMODE")
    if told in _SAID or "service" in url.query or os.environ.get("PGSERVICE"):
        return
    named = url.query.get("host") or url.host or os.environ.get("PGHOST") or ()
    addresses = url.query.get("hostaddr") or os.environ.get("PGHOSTADDR") or ()
    for host in (*_each(named), *_each(addresses)):
        if host and not host.startswith("/") and not is_this_machine(host):
            raise DatabaseUnusable(
                f"The database is on another machine, {host}, and its address does not say how the "
                "way there is protected. Add ?sslmode=verify-full to it, and sslrootcert= with the "
                "certificate of the authority; or, for a network in which nobody else is, "
                "?sslmode=disable."
            )


def _each(told: str | tuple[str, ...]) -> tuple[str, ...]:
    return (told,) if isinstance(told, str) else told


def _options(kind: str) -> dict[str, Any]:
    if kind == "sqlite":
        return {"connect_args": {"timeout": WAIT_SECONDS}}
    return {
        # A connection that the server has ended is noticed before it is used.
        "pool_pre_ping": True,
        "connect_args": {
            "connect_timeout": WAIT_SECONDS,
            # A server that is gone without a word is noticed as soon.
            "tcp_user_timeout": WAIT_SECONDS * 1000,
            "application_name": "myositis-cds",
        },
    }


def _prepare_sqlite(connection: Any, _: Any) -> None:
    # Transactions are begun by `_begin_sqlite`; the driver would begin them too late.
    connection.isolation_level = None
    cursor = connection.cursor()
    # Readers and the writer do not wait for each other; what is committed is on the disk.
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    reads = connection.get_execution_options().get(_READING)
    connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")


def reading(engine: Engine) -> Engine:
    """The same database for transactions that only read, and so wait for no writer."""
    return engine.execution_options(**{_READING: True})


def bounded(engine: Engine) -> Engine:
    """The same database, given up where it is silent for ``WAIT_SECONDS``; in place of ``engine``.

    A server that is stopped, or behind a broken network, may take a query and never answer. What
    may rightly take long, such as a migration, is for the engine as it was.
    """
    if engine.dialect.name == "sqlite":
        return engine
    engine.dispose()
    made = create_engine(engine.url, pool_timeout=WAIT_SECONDS, **_options("postgresql"))
    return _give_up_after(WAIT_SECONDS, made)


def _give_up_after(seconds: float, engine: Engine) -> Engine:
    from psycopg import Connection as PsycopgConnection
    from psycopg import OperationalError
    from psycopg.pq import TransactionStatus

    class BoundedConnection(PsycopgConnection[Any]):
        """Is closed by the first wait for the server that takes too long."""

        def wait(self, gen: Any, interval: float = 0.1, timeout: float | None = None) -> Any:
            try:
                return super().wait(gen, interval, seconds if timeout is None else timeout)
            except OperationalError:
                # The answer may still come, and would be taken for that of the next query.
                if self.pgconn.transaction_status == TransactionStatus.ACTIVE:
                    self.close()
                raise

    def connect_bounded(_: Any, __: Any, arguments: Any, options: Any) -> BoundedConnection:
        return BoundedConnection.connect(*arguments, **options)

    event.listen(engine, "do_connect", connect_bounded)
    return engine


def reading_at_once(engine: Engine) -> Engine:
    """The same database for what a call waits for: connections of its own, and given up soon."""
    if engine.dialect.name == "sqlite":
        made = connect(engine.url.render_as_string(hide_password=False))
        event.listen(made, "before_cursor_execute", _interrupt_late)
        return reading(made)
    made = create_engine(
        engine.url,
        pool_size=1,
        max_overflow=0,
        pool_timeout=_GIVE_UP_SECONDS,
        connect_args={
            "connect_timeout": 2,
            "tcp_user_timeout": 1000,
            "application_name": "myositis-cds calls",
            "options": f"-c statement_timeout={READ_MILLISECONDS}",
        },
    )
    return _give_up_after(_GIVE_UP_SECONDS, made)


_STEPS = 1000
"""Of SQLite's machine, after which the time is looked at; some hundredths of a millisecond."""


def _interrupt_late(_: Connection, cursor: Any, *__: Any) -> None:
    """Let SQLite end what is begun now with a fault where it takes longer than a call waits."""
    end = time.monotonic() + READ_MILLISECONDS / 1000
    cursor.connection.set_progress_handler(lambda: time.monotonic() > end, _STEPS)


def called(engine: Engine) -> str:
    """The address of a database as it may be shown: without the password, wherever it stands."""
    return engine.url.set(query={}).render_as_string(hide_password=True)


def upgrade(engine: Engine, revision: str = "head") -> None:
    """Bring the tables to a revision; several processes may do so at once, and one does it.

    Raises ``DatabaseUnusable`` where the database cannot be reached or changed, or was made by a
    later version of this service.
    """
    _migrate(engine, command.upgrade, revision)


def downgrade(engine: Engine, revision: str) -> None:
    """Take the tables back to an earlier revision, ``base`` for none; what they held is lost.

    Raises ``DatabaseUnusable`` as ``upgrade`` does.
    """
    _migrate(engine, command.downgrade, revision)


def _migrate(engine: Engine, go: Any, revision: str) -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    logging.getLogger("alembic").setLevel(logging.WARNING)
    try:
        # On SQLite the transaction itself keeps the other processes out.
        with _reaching(engine), engine.begin() as connection:
            if engine.dialect.name == "postgresql":
                connection.execute(text(f"SELECT pg_advisory_xact_lock({_UPGRADE_LOCK})"))
            config.attributes["connection"] = connection
            go(config, revision)
    except CommandError:
        raise DatabaseUnusable(
            f"The database {called(engine)} was made by a later version of this service: "
            "install that version, or name another database"
        ) from None


def make_table(engine: Engine, table: Table) -> None:
    """Make a table that is not there; several processes may do so at once, and one does it.

    Raises ``DatabaseUnusable``.
    """
    with _reaching(engine), engine.begin() as connection:
        table.create(connection, checkfirst=True)


def kind_of(fault: Exception) -> str:
    """What kind a fault of the database is, without its text, which holds what was to be kept."""
    return type(getattr(fault, "orig", None) or fault).__name__


@contextlib.contextmanager
def _reaching(engine: Engine) -> Iterator[None]:
    """Tell a database that cannot be reached or changed as ``DatabaseUnusable``."""
    try:
        yield
    except SQLAlchemyError as fault:
        reason = kind_of(fault)
        raise DatabaseUnusable(
            f"The database {called(engine)} cannot be used ({reason}): is it there, may this "
            "user create tables in it, and is there room on its disk?"
        ) from None


def identity(engine: Engine) -> tuple[int, int] | None:
    """What tells the file of an SQLite database from another at its place; None for PostgreSQL.

    Raises ``OSError`` where there is none.
    """
    if engine.dialect.name != "sqlite":
        return None
    found = os.stat(engine.url.database or "")
    return found.st_dev, found.st_ino


def check_identity(engine: Engine, opened: tuple[int, int] | None) -> None:
    """Raise ``OSError`` where the file of an SQLite database is not the one that was opened.

    Asked after a commit: what was written into a file that nobody finds again is lost.
    """
    if identity(engine) != opened:
        raise OSError("the file of the database was replaced while it was open")


def private_folder(folder: Path) -> Path:
    """Make a folder that nobody else may read, if it is not there; its path.

    Raises ``DatabaseUnusable``, also where there is one that is open to others.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK | os.X_OK):
            raise PermissionError(13, "Permission denied")
    except OSError as fault:
        raise DatabaseUnusable(
            f"{folder} cannot be used for what the service keeps: {fault.strerror}. "
            "Name another folder with CDS_STATE."
        ) from None
    _refuse_open(folder, "700")
    return folder


def private_file(file: Path) -> None:
    """Make an empty file that nobody else may read, if it is not there and can be made.

    Raises ``DatabaseUnusable`` where there is one that is open to others.
    """
    with contextlib.suppress(OSError):  # whoever uses it finds out why not
        os.close(os.open(file, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
        _refuse_open(file, "600")


def _refuse_open(path: Path, mode: str) -> None:
    """Refuse what others than its owner may read or change."""
    if path.stat().st_mode & 0o077:
        raise DatabaseUnusable(
            f"{path} is for data of patients, and others may read or change it: chmod {mode} {path}"
        )
