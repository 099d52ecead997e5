"""The store of one process: all that the service keeps, behind one door."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import structlog
from msgspec import Struct
from sqlalchemy import Engine, select
from sqlalchemy.exc import SQLAlchemyError

from cds.rules.ruleset import RuleSet
from cds.store.archive import pack
from cds.store.database import (
    DatabaseUnusable,
    bounded,
    check_identity,
    connect,
    identity,
    kind_of,
    make_table,
    private_file,
    private_folder,
    reading,
    reading_at_once,
    sqlite_url,
    upgrade,
)
from cds.store.decisions import Decision, KeptRules, encode_entry
from cds.store.feedback import Feedback, keep_feedback, name_patients, unknown_cards
from cds.store.journal import Journal, has_records
from cds.store.overrides import Told, find_told
from cds.store.pseudonyms import make_key, pseudonym, read_key
from cds.store.replays import UsedTokens
from cds.store.tables import decisions, used_tokens
from cds.store.writer import PAUSE_SECONDS, Writer

_log = structlog.get_logger()

DATABASE = "cds.sqlite"
TOKENS = "-tokens"
"""Behind the name of the SQLite database: that of the tokens that were used."""
KEY = "pseudonym.key"
JOURNALS = "journal"

MOST_WAITING = 256 * 2**20
"""Bytes that may wait for the database before calls are refused: some thousand answers."""

MOST_FEEDBACK = 32
"""Batches of feedback that may be written or wait for it before further ones are refused."""

LATE_SECONDS = 30.0
"""What waits longer for who writes into the database tells that nobody does."""


class FeedbackFull(RuntimeError):
    """No more feedback is taken at present: too much of it waits for the database."""


class Place(Struct, frozen=True):
    """Where things are kept: a folder, the address of the database (None: SQLite in the folder).

    ``key_file`` holds the key of the pseudonyms (None: in the folder, where it is made at first).
    """

    folder: Path
    database_url: str | None = None
    key_file: Path | None = None


@cache
def software_version() -> str:
    """The version of this software, as it is installed."""
    try:
        return version("myositis-cds")
    except PackageNotFoundError:
        return "not installed"


class State(Struct, frozen=True):
    """How the store is: the bytes that wait for the database, and whether that fails now."""

    waiting: int
    failing: bool


def open_database(place: Place) -> Engine:
    """Open the database, with its tables as this version of the service has them.

    Raises ``DatabaseUnusable``.
    """
    if place.database_url is None:
        private_folder(place.folder)
    engine = connect(place.database_url or sqlite_url(place.folder / DATABASE))
    if engine.dialect.name == "sqlite":
        private_file(Path(engine.url.database or ""))
    upgrade(engine)
    return engine


def open_tokens(engine: Engine) -> Engine:
    """Open where used tokens are remembered: in the database, or beside it where that is SQLite.

    There a call would wait for its token until decisions are written. Raises ``DatabaseUnusable``.
    """
    if engine.dialect.name != "sqlite":
        return engine
    file = Path(f"{engine.url.database}{TOKENS}")
    private_file(file)
    tokens = connect(sqlite_url(file))
    make_table(tokens, used_tokens)
    return tokens


class Store:
    """What one process keeps and asks; made by ``open_store``. ``engine`` is the database.

    ``tokens`` is that of the tokens that were used, the same one or another.
    """

    def __init__(
        self,
        engine: Engine,
        tokens: Engine,
        key: bytes,
        folder: Path,
        keep_days: int,
        journal: Journal,
        *,
        writes: bool,
    ) -> None:
        self.engine = engine
        self._key = key
        self.used_tokens = UsedTokens(tokens)
        # One thread: feedback is written one batch at a time, and nothing else waits behind it.
        self._feedback = ThreadPoolExecutor(1, "feedback")
        self._room_for_feedback = threading.BoundedSemaphore(MOST_FEEDBACK)
        self._asked = reading_at_once(engine)
        self._identity = identity(engine)
        self._silent = threading.Event()
        self._closed = threading.Event()
        self._writes = writes
        self._kept_rules: set[str] = set()
        self._journal = journal
        self._writer = Writer(engine, folder, self._journal, keep_days, self.used_tokens)
        if writes:
            self._writer.start()
        else:
            threading.Thread(target=self._hand_over, name="journal", daemon=True).start()

    @property
    def state(self) -> State:
        """How the store is."""
        return State(self._journal.pending, self._failing())

    def _failing(self) -> bool:
        return self._writer.failing or self._journal.late() > LATE_SECONDS

    def _hand_over(self) -> None:
        while not self._closed.wait(PAUSE_SECONDS):
            self._journal.hand_over()

    async def ailment(self) -> str | None:
        """What ails the database, in a sentence without secrets; None where it takes a write."""
        if self._failing():
            return "The database does not take what is to be written; it waits in the journal."

        def write() -> None:
            check_identity(self.engine, self._identity)
            self.used_tokens.probe(datetime.now(UTC))

        try:
            await asyncio.to_thread(write)
        except SQLAlchemyError:
            return "The database does not answer, or takes nothing."
        except OSError:
            return "The file of the database was removed or replaced while it was open: restart."
        return None

    def pseudonym(self, client: str, server: str, patient: str) -> str:
        """The pseudonym of a patient of a client and its FHIR server."""
        return pseudonym(self._key, client, server, patient)

    def keep_rules(self, ruleset: RuleSet) -> None:
        """Note the files of a rule set, which its decisions are made again with.

        Raises ``JournalFull``.
        """
        if ruleset.version not in self._kept_rules:
            files = pack(ruleset.contents)
            kept = KeptRules(version=ruleset.version, kept_at=datetime.now(UTC), files=files)
            self._journal.append(encode_entry(kept))
            self._kept_rules.add(ruleset.version)

    def note(self, decision: Decision) -> None:
        """Note a decision; when this returns, the end of this process cannot lose it.

        Raises ``JournalFull``.
        """
        self._journal.append(encode_entry(decision))

    def told(self, client: str, patient: str, now: datetime) -> list[Told] | None:
        """What was last told of a patient's cards; None where that cannot be found out in time."""
        if self._silent.is_set() or self._failing():
            return None
        try:
            with self._asked.connect() as connection:
                return find_told(connection, client[:200], patient, now)
        except SQLAlchemyError as fault:
            _log.error("overrides_not_known", fault=kind_of(fault))
            # Every call of this process waits while one asks: none does again before it answers.
            self._silent.set()
            threading.Thread(target=self._await_answer, name="silent", daemon=True).start()
            return None

    def _await_answer(self) -> None:
        while not self._closed.wait(1):
            try:
                with self._asked.connect() as connection:
                    connection.execute(select(1))
            except SQLAlchemyError:
                continue
            self._silent.clear()
            return

    async def keep_feedback(
        self, items: tuple[Feedback, ...], client: str, service: str
    ) -> list[str]:
        """Keep feedback; when this returns, the database has it. The cards that are not known.

        A card may also be unknown because the database does not have its answer yet. Raises
        ``FeedbackFull``, ``SQLAlchemyError``, or ``OSError`` where the file of the database is
        another one than was opened; feedback may be kept then all the same, and once if it is sent
        again.
        """
        if not self._room_for_feedback.acquire(blocking=False):
            raise FeedbackFull(f"{MOST_FEEDBACK} batches of feedback wait for the database")
        kept = self._feedback.submit(self._keep_feedback, items, client, service)
        # Also where nobody waits for it any more: until then it has its place.
        kept.add_done_callback(lambda _: self._room_for_feedback.release())
        return await asyncio.wrap_future(kept)

    def _keep_feedback(self, items: tuple[Feedback, ...], client: str, service: str) -> list[str]:
        now = datetime.now(UTC)
        told = {item.card for item in items}
        with self.engine.begin() as connection:
            keep_feedback(connection, items, client=client, service=service, received_at=now)
            unknown = unknown_cards(connection, client[:200], told)
            name_patients(connection, told)
        check_identity(self.engine, self._identity)
        if not unknown:
            return []
        # A transaction that did not see this feedback may have added their cards meanwhile.
        try:
            with self.engine.begin() as connection:
                name_patients(connection, unknown)
                return unknown_cards(connection, client[:200], unknown)
        except SQLAlchemyError as fault:
            # It is kept, whatever became of this; ``name_all`` does it later.
            _log.warning("feedback_not_named", fault=kind_of(fault))
            return unknown

    def settle(self) -> None:
        """Write at once what waits for the database, also of processes that have ended.

        Raises ``SQLAlchemyError``.
        """
        self._writer.write()

    def close(self) -> None:
        """Write what waits, or leave it to who does, and let go of everything."""
        self._closed.set()
        self._feedback.shutdown(cancel_futures=True)
        if self._writes:
            self._writer.close()
        self._journal.close()
        self._asked.dispose()
        self.used_tokens.close()
        self.engine.dispose()


def prepare_store(place: Place) -> None:
    """Make the tables and the key where they are missing, before several processes want them.

    Nothing stays open. Raises ``DatabaseUnusable``, also where no journal could be written.
    """
    _open_journal(place.folder, MOST_WAITING).close()
    engine = open_database(place)
    try:
        _key(place, engine)
        open_tokens(engine).dispose()
    finally:
        engine.dispose()


def _key(place: Place, engine: Engine) -> bytes:
    """Read the key of the pseudonyms; one is made in the folder alone, and before any decision."""
    if place.key_file is not None:
        return read_key(place.key_file)
    file = place.folder / KEY
    if not file.exists() and not _has_decisions(place.folder, engine):
        make_key(file)
    return read_key(file)


def _has_decisions(folder: Path, engine: Engine) -> bool:
    """Whether decisions are kept in the database, or wait for it in journals."""
    if has_records(folder / JOURNALS):
        return True
    with reading(engine).connect() as connection:
        return connection.execute(select(decisions.c.id).limit(1)).first() is not None


def _open_journal(state: Path, most_waiting: int) -> Journal:
    folder = private_folder(private_folder(state) / JOURNALS)
    try:
        return Journal(folder, most_waiting)
    except OSError as fault:
        raise DatabaseUnusable(
            f"No journal of decisions can be written in {folder}: {fault.strerror}. "
            "Make room, or name another folder with CDS_STATE."
        ) from None


def open_store(
    place: Place, keep_days: int = 0, most_waiting: int = MOST_WAITING, *, writes: bool = True
) -> Store:
    """Open the store; decisions and feedback are deleted after so many days (0: never).

    What is noted goes into the database by a thread of this process, or, where it does not itself
    ``write``, by another process that does. Raises ``DatabaseUnusable``.
    """
    folder = private_folder(place.folder)
    engine = bounded(open_database(place))
    key = _key(place, engine)
    journal = _open_journal(folder, most_waiting)
    tokens = open_tokens(engine)
    return Store(engine, tokens, key, folder / JOURNALS, keep_days, journal, writes=writes)
