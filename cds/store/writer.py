"""Takes what journals hold into the database, beside the answering of calls."""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import chain
from pathlib import Path

import msgspec
import structlog
from sqlalchemy import Engine
from sqlalchemy.exc import DataError, IntegrityError, SQLAlchemyError

from cds.rules.reading import LONGEST_QUIET
from cds.store.database import check_identity, identity, kind_of, reading
from cds.store.decisions import Decision, Entry, decode_entry, insert_rows, rows_of
from cds.store.feedback import name_all, name_patients, wait_for_cards
from cds.store.journal import DAMAGED, Batch, Journal, Leftover, leftovers
from cds.store.replays import UsedTokens
from cds.store.retention import delete_old

_log = structlog.get_logger()

PAUSE_SECONDS = 0.25
PAUSE_AFTER_FAILURE_SECONDS = 2
TEND_SECONDS = 3600
"""How often what is old is deleted, and what was left undone is done."""


class Writer:
    """Writes into the database what processes have handed over or left behind.

    Of this process it takes ``journal`` along. While the database fails, journals wait; ``failing``
    says so.
    """

    def __init__(
        self,
        engine: Engine,
        folder: Path,
        journal: Journal,
        keep_days: int,
        used_tokens: UsedTokens,
    ) -> None:
        self._engine = engine
        self._reading = reading(engine)
        self._identity = identity(engine)
        self._folder = folder
        self._journal = journal
        self._keep_days = keep_days
        self._used_tokens = used_tokens
        self._unreadable: set[Path] = set()
        self._round: Iterator[int] = iter(())
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
        next_round = 0.0
        while not self._stop.wait(PAUSE_SECONDS):
            now = time.monotonic()
            if not self._try(self.write):
                self._stop.wait(PAUSE_AFTER_FAILURE_SECONDS)
                continue
            if now >= next_round:
                next_round = now + TEND_SECONDS
                self._round = self._begin_round()
            # One transaction in each pause: what is noted goes on being written meanwhile.
            self._try(self._go_on)

    def _try(self, work: Callable[[], None]) -> bool:
        """Do something, and log where it fails and where that ends; the thread outlives both."""
        try:
            work()
        except Exception as fault:
            if not self.failing:
                _log.error("store_fails", fault=kind_of(fault), waiting=self._journal.pending)
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
        failed: Exception | None = None
        for left in leftovers(self._folder, self._tell_unreadable):
            try:
                self._adopt(left)
            except SQLAlchemyError:
                raise
            except Exception as fault:
                failed = fault  # of this file: the others are not to wait for it
            finally:
                left.close()
        if failed is not None:
            raise failed

    def _tell_unreadable(self, file: Path, fault: OSError) -> None:
        """Report a file that this process may not open, or cannot; once."""
        if file not in self._unreadable:
            self._unreadable.add(file)
            _log.error("journal_unreadable", file=file.name, fault=type(fault).__name__)

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
            file = self._set_aside(record)
            _log.error("record_refused", file=file.name, fault=type(fault).__name__)

    def _set_aside(self, record: bytes) -> Path:
        """Keep a record in a file, named so that it is kept once, however often this is done.

        Raises ``OSError``. When this returns the disk has it: its journal is deleted then.
        """
        file = self._folder / f"record-{hashlib.sha256(record).hexdigest()[:16]}{DAMAGED}"
        draft = file.with_suffix(".new")
        with open(draft, "wb", opener=_open_private) as writing:
            writing.write(record)
            writing.flush()
            os.fsync(writing.fileno())
        return draft.rename(file)

    def _insert(self, entries: list[Entry]) -> None:
        rows = rows_of(entries)
        with self._engine.begin() as connection:
            insert_rows(connection, rows)
        check_identity(self._engine, self._identity)
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
        with self._engine.begin() as connection:
            name_patients(connection, given)

    def _go_on(self) -> None:
        """Do a transaction of what this round is for; what fails is left to the next one."""
        next(self._round, None)

    def _begin_round(self) -> Iterator[int]:
        """What is done now and then, a transaction at a time."""
        now = datetime.now(UTC)
        return chain(
            # What is older counts for no override any more.
            name_all(self._engine, now - timedelta(days=LONGEST_QUIET)),
            self._used_tokens.forget_expired(now),
            self._delete_old(now),
        )

    def _delete_old(self, now: datetime) -> Iterator[int]:
        gone = 0
        for count in delete_old(self._engine, self._keep_days, now):
            gone += count
            yield count
        if gone:
            _log.info("decisions_deleted", count=gone, older_than_days=self._keep_days)


def _open_private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CLOEXEC, 0o600)
