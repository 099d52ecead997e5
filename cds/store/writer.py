"""Takes what journals hold into the database, beside the answering of calls."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import structlog
from sqlalchemy import Engine
from sqlalchemy.exc import DataError, IntegrityError, SQLAlchemyError

from cds.store.database import identity, reading
from cds.store.decisions import Decision, Entry, decode_entry, insert_rows, rows_of
from cds.store.feedback import name_patients, wait_for_cards
from cds.store.journal import DAMAGED, Batch, Journal, Leftover, leftovers
from cds.store.replays import UsedTokens
from cds.store.retention import delete_old

_log = structlog.get_logger()

PAUSE_SECONDS = 0.25
PAUSE_AFTER_FAILURE_SECONDS = 2
DELETE_SECONDS = 3600


class Writer:
    """Writes into the database what processes have handed over or left behind.

    Of this process it takes ``journal`` along. While the database fails, journals wait; ``failing``
    says so. ``turn`` is held while writing.
    """

    def __init__(
        self,
        engine: Engine,
        folder: Path,
        journal: Journal,
        keep_days: int,
        turn: contextlib.AbstractContextManager[object],
        used_tokens: UsedTokens,
    ) -> None:
        self._engine = engine
        self._reading = reading(engine)
        self._identity = identity(engine)
        self._folder = folder
        self._journal = journal
        self._keep_days = keep_days
        self._turn = turn
        self._used_tokens = used_tokens
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="store", daemon=True)
        self.failing = False

    def start(self) -> None:
        """Begin to write, now and then."""
        self._thread.start()

    def close(self) -> None:
        """Write what there is, once more, and end."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join()
        self._try(self.write)

    def _run(self) -> None:
        next_deletion = 0.0
        while not self._stop.wait(PAUSE_SECONDS):
            now = time.monotonic()
            written = self._try(self.write)
            if written and now >= next_deletion:
                next_deletion = now + DELETE_SECONDS
                self._try(self._delete_old)
            if not written:
                self._stop.wait(PAUSE_AFTER_FAILURE_SECONDS)

    def _try(self, work: Callable[[], None]) -> bool:
        """Do something, and log where it fails and where that ends; the thread outlives both."""
        try:
            work()
        except (SQLAlchemyError, OSError) as fault:
            if not self.failing:
                # The texts of these faults hold what was to be written.
                cause = getattr(fault, "orig", None) or fault
                _log.error("store_fails", fault=type(cause).__name__, waiting=self._journal.pending)
            self.failing = True
            return False
        except Exception as fault:
            _log.error("store_fails", fault=type(fault).__name__, waiting=self._journal.pending)
            self.failing = True
            return False
        if self.failing:
            _log.info("store_works_again")
        self.failing = False
        return True

    def write(self) -> None:
        """Write what there is now, of this process and of others.

        Raises ``SQLAlchemyError``, or ``OSError`` where the file of the database is another one
        than was opened: what would be written into that is lost.
        """
        self._journal.hand_over()
        if identity(self._engine) != self._identity:
            raise OSError("the file of the database was replaced while it was open")
        for left in leftovers(self._folder):
            try:
                self._adopt(left)
            finally:
                left.close()

    def _adopt(self, left: Leftover) -> None:
        count = 0
        while True:
            batch = left.next_batch()
            self._write(batch)
            count += len(batch.records)
            left.done(batch)
            if batch.damaged:
                kept = left.set_aside()
                _log.error("journal_damaged", file=kept.name, read=count)
                return
            if not batch.records:
                left.remove()
                return

    def _write(self, batch: Batch) -> None:
        if not batch.records:
            return
        try:
            entries = [decode_entry(record) for record in batch.records]
            self._insert(entries)
        except (DataError, IntegrityError, msgspec.DecodeError):
            for record in batch.records:
                self._write_alone(record)

    def _write_alone(self, record: bytes) -> None:
        """Write one record; what the database can never take is kept beside it, and reported."""
        try:
            self._insert([decode_entry(record)])
        except (DataError, IntegrityError, msgspec.DecodeError) as fault:
            file = self._folder / f"record-{time.time_ns()}{DAMAGED}"
            file.touch(0o600)
            file.write_bytes(record)
            _log.error("record_refused", file=file.name, fault=type(fault).__name__)

    def _insert(self, entries: list[Entry]) -> None:
        rows = rows_of(entries)
        with self._turn, self._engine.begin() as connection:
            insert_rows(connection, rows)
        self._name_patients(entries)

    def _name_patients(self, entries: list[Entry]) -> None:
        """Give feedback that came before its card the patient of it; there seldom is any."""
        given = {
            card.uuid
            for entry in entries
            if isinstance(entry, Decision)
            for card in entry.cards
            if card.uuid is not None
        }
        with self._reading.connect() as connection:
            if not wait_for_cards(connection, given):
                return
        with self._turn, self._engine.begin() as connection:
            name_patients(connection, given)

    def _delete_old(self) -> None:
        now = datetime.now(UTC)
        self._used_tokens.forget_expired(now)
        gone = delete_old(self._engine, self._keep_days, now, self._turn)
        if gone:
            _log.info("decisions_deleted", count=gone, older_than_days=self._keep_days)
