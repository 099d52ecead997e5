"""Where a process notes what it answered before the answer leaves, until the database has it.

Records are written with a single write behind what there is, and so outlive the process however it
ends. Now and then the file is handed over and another one begun. A file is locked as long as its
process writes to it; whatever is not locked, handed over or left behind, is for whoever writes into
the database.

A file begins with eight bytes that name its form, and how many bytes of records it has, with the
checksum of that; after each record that is brought up to date. So a file that has lost its end is
told from one that ends there, also where it lost whole records. A record is its length, the
checksum of its bytes, the checksum of these two, and its bytes, of which there is at least one: a
length that was changed is told before anything is taken for what it measures. Checksums are CRC-32.
A file whose whole records do not reach both its end and the bytes that it should have is damaged,
unless it ends in the midst of a record that it does not count: of a process that was killed then.

Files that an earlier version of this program left behind begin with the first record, and that with
its length and the checksum of its bytes; of these nothing tells that they lost whole records.
"""

from __future__ import annotations

import errno
import fcntl
import itertools
import os
import secrets
import struct
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from isal.isal_zlib import crc32
from msgspec import Struct
from msgspec.structs import replace

SUFFIX = ".journal2"
"""Of files in this form: a process of an earlier version, which would not understand them, lets
them be."""
_EARLIER = ".journal"
DAMAGED = ".damaged"
_FORM = b"\xffcds-j2\n"
_NOTED = struct.Struct(">QI")
_BEGIN = len(_FORM) + _NOTED.size
_HEAD = struct.Struct(">III")
_EARLIER_HEAD = struct.Struct(">II")

MOST_AT_ONCE = 16
"""Records that go into the database in one transaction: calls wait for its end."""
_MOST_BYTES = 8 * 2**20
"""Of such records, so that large ones do not fill the memory; a single one may have more."""


class JournalFull(RuntimeError):
    """Nothing more can be noted: the database has been away too long, or the disk is full."""


class Batch(Struct, frozen=True):
    """Records in the order in which they were noted, and where the last of them ends.

    ``damaged``: what follows can never be read.
    """

    records: tuple[bytes, ...]
    end: int
    damaged: bool


class Journal:
    """The journal of this process, for any thread; ``most`` bytes may wait for the database."""

    def __init__(self, folder: Path, most: int) -> None:
        self._folder = folder
        self._most = most
        self._name = f"{os.getpid()}-{secrets.token_hex(4)}"
        self._numbers = itertools.count()
        self._lock = threading.Lock()
        self._handed_over: list[_HandedOver] = []
        self.file, self._handle = self._begin()
        self._size = 0
        self._since = 0.0

    def _begin(self) -> tuple[Path, int]:
        # In the order of their names the files are in that of their records.
        name = f"{self._name}-{next(self._numbers):09}"
        draft = self._folder / f"{name}.new"
        handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            _write_at(handle, 0, _FORM + _noted(0))
            # Locked before it goes by a name at which others look.
            fcntl.flock(handle, fcntl.LOCK_EX)
            return draft.rename(self._folder / f"{name}{SUFFIX}"), handle
        except OSError:
            os.close(handle)
            draft.unlink()
            raise

    @property
    def pending(self) -> int:
        """Bytes that were noted and that the database does not have yet."""
        with self._lock:
            return self._waiting()

    def late(self) -> float:
        """Seconds since the first record was noted of those that nobody has taken; 0 for none."""
        with self._lock:
            if not self._waiting():
                return 0.0
            return time.monotonic() - (
                self._handed_over[0].since if self._handed_over else self._since
            )

    def _waiting(self) -> int:
        self._handed_over = [each for each in self._handed_over if each.file.exists()]
        return sum(each.size for each in self._handed_over) + self._size

    def append(self, record: bytes) -> None:
        """Note a record; when this returns, the end of the process cannot lose it.

        Raises ``JournalFull``, and then nothing was noted.
        """
        head = _EARLIER_HEAD.pack(len(record), crc32(record))
        framed = _HEAD.pack(len(record), crc32(record), crc32(head)) + record
        with self._lock:
            known = sum(each.size for each in self._handed_over) + self._size
            if known + len(framed) > self._most and self._waiting() + len(framed) > self._most:
                raise JournalFull(f"{self._most} bytes wait for the database")
            try:
                _write_at(self._handle, _BEGIN + self._size, framed)
                _write_at(self._handle, len(_FORM), _noted(self._size + len(framed)))
            except OSError as fault:
                os.ftruncate(self._handle, _BEGIN + self._size)
                raise JournalFull(fault.strerror or "it cannot be written") from None
            if not self._size:
                self._since = time.monotonic()
            self._size += len(framed)

    def hand_over(self) -> None:
        """Let others have what was noted so far; where that cannot be done, they wait for it."""
        with self._lock:
            if not self._size:
                return
            try:
                file, handle = self._begin()
            except OSError:
                return  # no room for a file; what there is goes on being used
            os.close(self._handle)
            self._handed_over.append(_HandedOver(self.file, self._size, self._since))
            self.file, self._handle, self._size = file, handle, 0

    def close(self) -> None:
        """Let go of the journal; a file that is not empty is left for others."""
        with self._lock:
            if not self._size:
                self.file.unlink(missing_ok=True)
            os.close(self._handle)
            # A thread that still notes something must not write into a file that is opened next.
            self._handle, self._size = -1, 0


def _noted(size: int) -> bytes:
    """What a file says of the bytes of records that it has."""
    return _NOTED.pack(size, crc32(size.to_bytes(8)))


def _write_at(handle: int, position: int, content: bytes) -> None:
    """Write all of this, or raise ``OSError``."""
    if os.pwrite(handle, content, position) != len(content):
        raise OSError(errno.ENOSPC, "the disk is full")


class _HandedOver(Struct, frozen=True):
    file: Path
    size: int
    since: float


class Leftover:
    """A file of a journal that nobody writes to any more, locked by this process."""

    def __init__(self, file: Path, handle: int) -> None:
        self.file = file
        self._handle = handle
        self._size = os.fstat(handle).st_size
        self._is_earlier = file.suffix == _EARLIER
        self._read = 0 if self._is_earlier else _BEGIN

    def next_batch(self, most: int = MOST_AT_ONCE) -> Batch:
        """The records that are not in the database yet, or the first of them."""
        batch = _read_batch(self._handle, self._read, self._size, most, earlier=self._is_earlier)
        if self._is_earlier:
            return batch
        if batch.damaged and self._is_cut_at(batch.end):
            return replace(batch, end=self._size, damaged=False)
        if batch.end >= self._size and not self._has_all():
            return replace(batch, damaged=True)
        return batch

    def _counted_end(self) -> int | None:
        """Where the records end that the file says it has; None where that cannot be read."""
        begin = os.pread(self._handle, _BEGIN, 0)
        if len(begin) < _BEGIN:
            return None
        size: int = _NOTED.unpack_from(begin, len(_FORM))[0]
        return _BEGIN + size if begin == _FORM + _noted(size) else None

    def _has_all(self) -> bool:
        """Whether the file has as many bytes as it should; one record may not be counted yet."""
        counted = self._counted_end()
        return counted is not None and counted <= self._size

    def _is_cut_at(self, position: int) -> bool:
        """Whether a record begins there in whose midst the process was killed.

        It is not counted yet, so nobody was told that it had been noted.
        """
        head = os.pread(self._handle, _HEAD.size, position)
        if self._counted_end() != position or len(head) < _HEAD.size:
            return False
        length: int
        length, _, checksum = _HEAD.unpack(head)
        whole = crc32(head[: _EARLIER_HEAD.size]) == checksum
        return whole and position + _HEAD.size + length > self._size

    def done(self, batch: Batch) -> None:
        """Forget a batch that the database has."""
        self._read = batch.end

    def remove(self) -> None:
        """Delete the file, all of which the database has."""
        self.file.unlink()

    def set_aside(self) -> Path:
        """Keep a damaged file for people to look at; where."""
        return self.file.rename(self.file.with_suffix(DAMAGED))

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._handle)


def _files(folder: Path) -> list[Path]:
    return sorted([*folder.glob(f"*{_EARLIER}"), *folder.glob(f"*{SUFFIX}")])


def has_records(folder: Path) -> bool:
    """Whether anything that was noted waits in the files of a folder."""
    begins = {_EARLIER: 0, SUFFIX: _BEGIN}
    return any(file.stat().st_size > begins[file.suffix] for file in _files(folder))


def leftovers(
    folder: Path, refused: Callable[[Path, OSError], None] = lambda *_: None
) -> Iterator[Leftover]:
    """The files that no process writes to any more, each locked until it is closed.

    Those of one process come in order, and none before the earlier ones are gone: what a record
    refers to was noted before it. ``refused`` is told of files that cannot be opened.
    """
    held: set[str] = set()
    for file in _files(folder):
        process = file.name.rpartition("-")[0]
        if process in held:
            continue
        try:
            handle = os.open(file, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            continue  # another process was quicker
        except OSError as fault:
            refused(file, fault)
            held.add(process)
            continue
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            same = os.path.samestat(os.stat(file), os.fstat(handle))
        except FileNotFoundError:
            same = False  # another has just dealt with it
        except OSError:
            same = False  # it is still written to, or another is dealing with it
            held.add(process)
        if not same:
            os.close(handle)
            continue
        yield Leftover(file, handle)
        if file.exists():
            held.add(process)


def _read_batch(handle: int, start: int, end: int, most: int, *, earlier: bool) -> Batch:
    """Whole records from ``start`` on; damaged where they end before ``end``."""
    records: list[bytes] = []
    position = start
    while position < end and len(records) < most and position - start < _MOST_BYTES:
        record, after = _read_record(handle, position, end, earlier=earlier)
        if record is None:
            return Batch(tuple(records), position, damaged=True)
        records.append(record)
        position = after
    return Batch(tuple(records), position, damaged=False)


def _read_record(
    handle: int, position: int, end: int, *, earlier: bool
) -> tuple[bytes | None, int]:
    """A record and where it ends; None where it is damaged or not whole."""
    size = _EARLIER_HEAD.size if earlier else _HEAD.size
    head = os.pread(handle, size, position)
    if len(head) < size:
        return None, position
    length, checksum = _EARLIER_HEAD.unpack_from(head)
    if not earlier and _HEAD.unpack(head)[2] != crc32(head[: _EARLIER_HEAD.size]):
        return None, position
    begin = position + size
    # Zeros, which a disk may leave at the end of a file, would be records without bytes.
    if not length or begin + length > end:
        return None, position
    record = os.pread(handle, length, begin)
    return (record, begin + length) if crc32(record) == checksum else (None, position)
