import os
from pathlib import Path

import pytest

from cds.store.journal import Journal, JournalFull, leftovers


def leave(folder: Path, *records: bytes) -> Path:
    """Leave a journal behind as a process does that ends in the midst of its work."""
    journal = Journal(folder, 10**6)
    for record in records:
        journal.append(record)
    journal.close()
    return journal.file


def test_records_come_back_in_order_and_are_forgotten_when_done(tmp_path: Path) -> None:
    """What was noted is read once, and a file that has grown long is emptied then."""
    journal = Journal(tmp_path, 100)
    journal.append(b"one")
    journal.append(b"two")
    batch = journal.next_batch()
    journal.append(b"three")
    journal.done(batch)
    rest = journal.next_batch()
    journal.done(rest)

    assert (batch.records, rest.records) == ((b"one", b"two"), (b"three",))
    assert journal.pending == 0
    assert journal.file.stat().st_size == 0
    assert journal.file.stat().st_mode & 0o777 == 0o600


def test_a_full_journal_refuses_and_keeps_what_it_has(tmp_path: Path) -> None:
    """Nothing is dropped to make room, and once the database has it there is room again."""
    journal = Journal(tmp_path, 40)
    journal.append(b"x" * 20)

    with pytest.raises(JournalFull):
        journal.append(b"y" * 20)

    batch = journal.next_batch()
    assert batch.records == (b"x" * 20,)
    journal.done(batch)
    journal.append(b"y" * 20)
    assert journal.next_batch().records == (b"y" * 20,)


def test_a_record_that_the_disk_has_no_room_for_is_refused_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half a record is taken back, so that the next one can be read."""
    journal = Journal(tmp_path, 10**6)
    write = os.write
    monkeypatch.setattr(os, "write", lambda handle, content: write(handle, content[:5]))

    with pytest.raises(JournalFull, match="the disk is full"):
        journal.append(b"one")

    monkeypatch.undo()
    journal.append(b"two")
    assert journal.next_batch().records == (b"two",)


def test_a_living_journal_is_nobody_elses(tmp_path: Path) -> None:
    """Only what an ended process has left is taken over."""
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


@pytest.mark.parametrize("cut", [1, 4, 9])
def test_a_record_that_was_cut_off_counts_as_none(tmp_path: Path, cut: int) -> None:
    """Its answer never left; those before it count."""
    file = leave(tmp_path, b"one", b"two")
    os.truncate(file, file.stat().st_size - cut)

    (found,) = leftovers(tmp_path)
    batch = found.next_batch()
    found.done(batch)

    assert (batch.records, batch.damaged) == ((b"one",), False)
    assert found.next_batch().records == ()


def test_a_damaged_record_is_told_and_never_read(tmp_path: Path) -> None:
    """What was changed on the disk does not count as a decision."""
    file = leave(tmp_path, b"one", b"two", b"three")
    content = file.read_bytes()
    file.write_bytes(content.replace(b"two", b"TWO"))

    (found,) = leftovers(tmp_path)
    batch = found.next_batch()

    assert (batch.records, batch.damaged) == ((b"one",), True)
