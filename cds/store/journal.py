"""Where a process notes what it answered before the answer leaves, until the database has it.

One file for each process: records are appended with a single write and so outlive the process
however it ends; the file is locked as long as its process lives. What a process leaves behind is
read by the next one to look.

A record is its length, a checksum (CRC-32) and its bytes.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import struct
import threading
import zlib
from collections.abc import Iterator
from pathlib import Path

from msgspec import Struct

SUFFIX = ".journal"
DAMAGED = ".damaged"
_HEAD = struct.Struct(">II")
_CHUNK = 8 * 2**20
_LONG = 4 * 2**20


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
    """The journal of this process. ``append`` is for any thread, the rest for one only."""

    def __init__(self, folder: Path, most: int) -> None:
        name = f"{os.getpid()}-{secrets.token_hex(4)}"
        draft = folder / f"{name}.new"
        self._most = most
        self._shorten_at = min(_LONG, most // 4)
        self._handle = os.open(
            draft, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600
        )
        # Locked before it goes by a name at which others look.
        fcntl.flock(self._handle, fcntl.LOCK_EX)
        self.file = draft.rename(folder / f"{name}{SUFFIX}")
        self._lock = threading.Lock()
        self._size = 0
        self._read = 0

    @property
    def pending(self) -> int:
        """Bytes that were noted and that the database does not have yet."""
        return self._size - self._read

    def append(self, record: bytes) -> None:
        """Note a record; when this returns, the end of the process cannot lose it.

        Raises ``JournalFull``, and then nothing was noted.
        """
        framed = _HEAD.pack(len(record), zlib.crc32(record)) + record
        with self._lock:
            if self._size + len(framed) > self._most:
                raise JournalFull(f"{self._most} bytes wait for the database")
            try:
                written = os.write(self._handle, framed)
            except OSError as fault:
                written, why = 0, fault.strerror or "it cannot be written"
            else:
                why = "the disk is full"
            if written != len(framed):
                os.ftruncate(self._handle, self._size)
                raise JournalFull(why)
            self._size += written

    def next_batch(self, most_bytes: int = _CHUNK) -> Batch:
        """The records that the database does not have yet, or the first of them."""
        return _read_batch(self._handle, self._read, self._size, most_bytes)

    def done(self, batch: Batch) -> None:
        """Forget a batch that the database has."""
        with self._lock:
            self._read = batch.end
            # Seldom, because it may wait for the disk, and who appends would wait with it. What is
            # read again after the end of this process is in the database already.
            if self._read == self._size >= self._shorten_at:
                os.ftruncate(self._handle, 0)
                self._size = self._read = 0

    def close(self) -> None:
        """Let go of the journal; a file that is not empty is left for the next process."""
        if not self.pending:
            self.file.unlink(missing_ok=True)
        os.close(self._handle)


class Leftover:
    """The journal of a process that has ended, locked by this one."""

    def __init__(self, file: Path, handle: int) -> None:
        self.file = file
        self._handle = handle
        self._read = 0
        self._size = os.fstat(handle).st_size

    def next_batch(self, most_bytes: int = _CHUNK) -> Batch:
        """The records that are not in the database yet, or the first of them."""
        return _read_batch(self._handle, self._read, self._size, most_bytes)

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


def leftovers(folder: Path) -> Iterator[Leftover]:
    """The journals of processes that have ended, each locked until it is closed."""
    for file in sorted(folder.glob(f"*{SUFFIX}")):
        try:
            handle = os.open(file, os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            continue  # another process was quicker
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            same = os.path.samestat(os.stat(file), os.fstat(handle))
        except OSError:
            same = False  # its process lives, or another has just dealt with it
        if same:
            yield Leftover(file, handle)
        else:
            os.close(handle)


def _read_batch(handle: int, start: int, end: int, most_bytes: int) -> Batch:
    """Whole records from ``start`` on; one that the end of a process cut off counts as none."""
    records: list[bytes] = []
    position = start
    while position < end and position - start < most_bytes:
        head = os.pread(handle, _HEAD.size, position)
        if len(head) < _HEAD.size:
            position = end
            break
        length, checksum = _HEAD.unpack(head)
        if position + _HEAD.size + length > end:
            # Cut off by the end of its process, and so never acknowledged.
            position = end
            break
        record = os.pread(handle, length, position + _HEAD.size)
        if zlib.crc32(record) != checksum:
            return Batch(tuple(records), position, damaged=True)
        records.append(record)
        position += _HEAD.size + length
    return Batch(tuple(records), position, damaged=False)
