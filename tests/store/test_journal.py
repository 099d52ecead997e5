import os
import struct
import zlib
from pathlib import Path

import pytest

from cds.store.journal import Batch, Journal, JournalFull, has_records, leftovers


def leave(folder: Path, *records: bytes) -> Path:
    """Leave a journal behind as a process does that ends in the midst of its work."""
    journal = Journal(folder, 10**6)
    for record in records:
        journal.append(record)
    journal.close()
    return journal.file


def read(folder: Path) -> list[bytes]:
    """Read everything that was handed over or left, as whoever writes into the database does."""
    records: list[bytes] = []
    for found in leftovers(folder):
        while batch := found.next_batch().records:
            records += batch
            found.done(found.next_batch())
        found.remove()
        found.close()
    return records


def test_what_is_handed_over_comes_back_in_order_and_once(tmp_path: Path) -> None:
    """Over several files too, whatever is noted meanwhile."""
    journal = Journal(tmp_path, 10**6)
    journal.append(b"one")
    journal.append(b"two")
    journal.hand_over()
    journal.append(b"three")
    journal.hand_over()
    journal.append(b"four")

    assert read(tmp_path) == [b"one", b"two", b"three"]
    assert read(tmp_path) == []
    journal.hand_over()
    assert read(tmp_path) == [b"four"]
    assert journal.pending == 0


def test_what_was_noted_is_its_owners_alone(tmp_path: Path) -> None:
    """Nobody else may read the file, and with nothing noted no further one is begun."""
    journal = Journal(tmp_path, 10**6)
    journal.hand_over()

    assert [file.stat().st_mode & 0o777 for file in tmp_path.iterdir()] == [0o600]


def test_records_are_read_some_at_a_time(tmp_path: Path) -> None:
    """So that no transaction is long; together they are all."""
    leave(tmp_path, *(b"%d" % number for number in range(40)))

    (found,) = leftovers(tmp_path)
    sizes = []
    while (batch := found.next_batch()).records:
        sizes.append(len(batch.records))
        found.done(batch)

    assert sizes == [16, 16, 8]


def test_a_full_journal_refuses_and_keeps_what_it_has(tmp_path: Path) -> None:
    """Nothing is dropped to make room, and once the database has it there is room again."""
    journal = Journal(tmp_path, 50)
    journal.append(b"x" * 20)
    journal.hand_over()

    with pytest.raises(JournalFull):
        journal.append(b"y" * 20)

    assert journal.pending == 32
    assert read(tmp_path) == [b"x" * 20]
    journal.append(b"y" * 20)
    journal.hand_over()
    assert read(tmp_path) == [b"y" * 20]


def test_how_long_records_have_waited_is_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From when the oldest were noted, handed over or not, until somebody has taken them."""
    now = [100.0]
    monkeypatch.setattr("cds.store.journal.time.monotonic", lambda: now[0])
    journal = Journal(tmp_path, 10**6)
    journal.append(b"one")
    assert journal.late() == 0
    journal.hand_over()
    now[0] = 107.0
    journal.append(b"two")
    journal.hand_over()

    assert journal.late() == 7
    read(tmp_path)
    assert journal.late() == 0
    journal.append(b"three")
    now[0] = 110.0
    assert journal.late() == 3


def test_without_room_for_a_further_file_the_journal_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was noted stays in the file that there is, and is handed over later."""
    journal = Journal(tmp_path, 10**6)
    journal.append(b"one")

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "open", full)
        journal.hand_over()
    journal.append(b"two")
    assert read(tmp_path) == []
    journal.hand_over()

    assert read(tmp_path) == [b"one", b"two"]


def test_a_record_that_the_disk_has_no_room_for_is_refused_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half a record is taken back, so that the next one can be read."""
    journal = Journal(tmp_path, 10**6)
    write = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda handle, content, at: write(handle, content[:5], at))

    with pytest.raises(JournalFull, match="the disk is full"):
        journal.append(b"one")

    monkeypatch.undo()
    journal.append(b"two")
    journal.hand_over()
    assert read(tmp_path) == [b"two"]


def test_a_living_journal_is_nobody_elses(tmp_path: Path) -> None:
    """Only what is no longer written to is found."""
    journal = Journal(tmp_path, 10**6)
    journal.append(b"one")
    left = leave(tmp_path, b"two")

    (found,) = leftovers(tmp_path)

    assert found.file == left
    assert found.next_batch().records == (b"two",)


def test_a_leftover_goes_to_one_process(tmp_path: Path) -> None:
    """While one reads it, others do not find it; once removed, nobody does."""
    leave(tmp_path, b"one")
    (found,) = leftovers(tmp_path)

    assert list(leftovers(tmp_path)) == []

    found.remove()
    found.close()
    assert list(leftovers(tmp_path)) == []


def test_a_journal_without_records_leaves_nothing(tmp_path: Path) -> None:
    """A process that has written everything leaves no file."""
    leave(tmp_path)

    assert list(tmp_path.iterdir()) == []


def test_a_file_that_has_lost_its_end_is_told(tmp_path: Path) -> None:
    """Wherever it was cut off, between records too; those before it count."""
    file = leave(tmp_path, b"one", b"two")
    whole = file.read_bytes()
    for size in range(len(whole)):
        file.write_bytes(whole[:size])
        (found,) = leftovers(tmp_path)
        batch = found.next_batch()
        found.close()

        ends = size >= len(whole) - 15  # where "one" has ended
        assert (batch.records, batch.damaged) == ((b"one",) if ends else (), True), size


def test_whatever_bit_is_changed_is_told(tmp_path: Path) -> None:
    """Of lengths, checksums and all else: what is read was noted so, and the rest is damage."""
    noted = (b"one", b"two", b"three")
    file = leave(tmp_path, *noted)
    whole = file.read_bytes()
    for bit in range(len(whole) * 8):
        changed = bytearray(whole)
        changed[bit // 8] ^= 1 << bit % 8
        file.write_bytes(changed)
        (found,) = leftovers(tmp_path)
        batch = found.next_batch()
        found.close()

        assert batch.damaged, bit
        assert batch.records == noted[: len(batch.records)], bit


def test_a_record_that_is_not_counted_yet_counts(tmp_path: Path) -> None:
    """Its process ended between writing it and saying so."""
    before = leave(tmp_path, b"one")
    counted = before.read_bytes()[:20]
    before.unlink()
    file = leave(tmp_path, b"one", b"two")
    file.write_bytes(counted + file.read_bytes()[20:])

    assert read(tmp_path) == [b"one", b"two"]


def test_a_record_in_whose_midst_the_process_was_killed_is_no_damage(tmp_path: Path) -> None:
    """Wherever the system ended its writing: it was not counted, so nobody was told of it."""
    before = leave(tmp_path, b"one")
    counted = before.read_bytes()
    before.unlink()
    file = leave(tmp_path, b"one", b"two")
    uncounted = counted[:20] + file.read_bytes()[20:]
    for size in range(len(counted) + 12, len(uncounted)):
        file.write_bytes(uncounted[:size])
        (found,) = leftovers(tmp_path)
        batch = found.next_batch()
        found.done(batch)
        rest = found.next_batch()
        found.close()

        assert (batch.records, batch.damaged) == ((b"one",), False), size
        assert (rest.records, rest.damaged) == ((), False), size


@pytest.mark.parametrize(("cut", "damaged"), [(0, False), (1, True), (11, False), (12, True)])
def test_a_journal_of_an_earlier_version_is_read(tmp_path: Path, cut: int, damaged: bool) -> None:
    """As far as its whole records go; that whole ones are missing at its end nothing tells."""
    records = (b"one", b"two")
    content = b"".join(struct.pack(">II", len(r), zlib.crc32(r)) + r for r in records)
    (tmp_path / "1-ab-000000000.journal").write_bytes(content[: len(content) - cut])

    (found,) = leftovers(tmp_path)
    batch = found.next_batch()

    whole = {0: 2, 1: 1, 11: 1, 12: 0}[cut]
    assert (batch.records, batch.damaged) == (records[:whole], damaged)


def test_files_that_an_earlier_version_does_not_understand_bear_another_name(
    tmp_path: Path,
) -> None:
    """Where both run for a while, it lets them be; an empty file of its own holds nothing."""
    leave(tmp_path, b"one")
    (tmp_path / "1-ab-000000000.journal").touch()

    assert len(list(tmp_path.glob("*.journal"))) == 1
    assert sorted(batch.records for batch in batches(tmp_path)) == [(), (b"one",)]
    assert not any(batch.damaged for batch in batches(tmp_path))


@pytest.mark.parametrize(
    ("name", "content", "has"),
    [("1-ab-0.journal", b"", False), ("1-ab-0.journal", b"x", True)],
)
def test_whether_anything_was_noted_is_told_of_earlier_files_too(
    tmp_path: Path, name: str, content: bytes, has: bool
) -> None:
    """A file that nothing was noted in has no decision, and each form begins otherwise."""
    Journal(tmp_path, 1000)
    (tmp_path / name).write_bytes(content)

    assert has_records(tmp_path) is has
    leave(tmp_path, b"one")
    assert has_records(tmp_path)


def batches(folder: Path) -> list[Batch]:
    """Read the first batch of each file."""
    found = []
    for left in leftovers(folder):
        found.append(left.next_batch())
        left.close()
    return found


def test_a_damaged_record_is_told_and_never_read(tmp_path: Path) -> None:
    """What was changed on the disk does not count as a decision."""
    file = leave(tmp_path, b"one", b"two", b"three")
    content = file.read_bytes()
    file.write_bytes(content.replace(b"two", b"TWO"))

    (found,) = leftovers(tmp_path)
    batch = found.next_batch()

    assert (batch.records, batch.damaged) == ((b"one",), True)


@pytest.mark.parametrize("zeros", [1, 8, 4096])
def test_zeros_behind_the_records_are_no_records(tmp_path: Path, zeros: int) -> None:
    """A disk that lost power may leave them where a record should be."""
    file = leave(tmp_path, b"one")
    file.write_bytes(file.read_bytes() + bytes(zeros))

    (found,) = leftovers(tmp_path)
    batch = found.next_batch()

    assert (batch.records, batch.damaged) == ((b"one",), True)


def test_files_of_a_process_come_in_order_and_none_while_an_earlier_one_is_dealt_with(
    tmp_path: Path,
) -> None:
    """What a record refers to stands before it; another process's files do not wait."""
    journal = Journal(tmp_path, 10**6)
    for record in (b"one", b"two"):
        journal.append(record)
        journal.hand_over()
    (taken,) = leftovers(tmp_path)
    leave(tmp_path, b"other")

    meanwhile = list(leftovers(tmp_path))

    assert [left.next_batch().records for left in meanwhile] == [(b"other",)]
    for left in (taken, *meanwhile):
        left.remove()
        left.close()
    assert read(tmp_path) == [b"two"]


def test_a_file_that_cannot_be_opened_is_told_and_what_was_noted_after_it_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one that belongs to another user; the journals of other processes are read."""
    journal = Journal(tmp_path, 10**6)
    for record in (b"one", b"two"):
        journal.append(record)
        journal.hand_over()
    leave(tmp_path, b"other")
    first = min(tmp_path.glob(f"{journal.file.name.rpartition('-')[0]}-*"))
    told: list[Path] = []
    opened = os.open

    def refuse(path: Path, *arguments: int) -> int:
        if path == first:
            raise PermissionError(13, "Permission denied")
        return opened(path, *arguments)

    monkeypatch.setattr(os, "open", refuse)
    found = list(leftovers(tmp_path, lambda file, _: told.append(file)))

    assert [left.next_batch().records for left in found] == [(b"other",)]
    assert told == [first]


def test_a_file_that_gets_no_name_leaves_nothing_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where the folder is full: the journal goes on with the file that it has."""
    journal = Journal(tmp_path, 10**6)
    journal.append(b"one")
    before = os.listdir("/proc/self/fd")

    def full(*_: object) -> Path:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "rename", full)
        journal.hand_over()

    assert os.listdir("/proc/self/fd") == before
    assert list(tmp_path.iterdir()) == [journal.file]


def test_a_journal_that_was_closed_takes_nothing(tmp_path: Path) -> None:
    """A thread that is late does not write into whatever was opened since."""
    journal = Journal(tmp_path, 10**6)
    journal.append(b"one")
    journal.close()

    journal.hand_over()
    with pytest.raises(OSError):
        journal.append(b"two")

    assert read(tmp_path) == [b"one"]
