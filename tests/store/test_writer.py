import os
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import Engine, select
from sqlalchemy.exc import OperationalError
from structlog.testing import capture_logs

from cds.store import writer
from cds.store.decisions import encode_entry, insert_rows, rows_of
from cds.store.feedback import Feedback, keep_feedback, name_patients
from cds.store.journal import Batch, Journal, Leftover, leftovers
from cds.store.overrides import find_told
from cds.store.replays import UsedTokens
from cds.store.tables import decisions
from cds.store.writer import Writer
from tests.store.conftest import AT, RULES, card, decision


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the writer look every few milliseconds."""
    monkeypatch.setattr(writer, "PAUSE_SECONDS", 0.005)
    monkeypatch.setattr(writer, "PAUSE_AFTER_FAILURE_SECONDS", 0.005)


def kept(engine: Engine) -> int:
    """Count the decisions that the database has."""
    with engine.connect() as connection:
        return len(connection.execute(select(decisions.c.id)).all())


def until(holds: Callable[[], bool]) -> None:
    """Wait until something holds, 20 seconds at most."""
    deadline = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < deadline, "it did not come to hold within 20 s"
        threading.Event().wait(0.005)


def make_writer(engine: Engine, folder: Path) -> tuple[Writer, Journal]:
    """Make a writer and the journal that it reads."""
    journal = Journal(folder, 10**6)
    tokens = UsedTokens(engine)
    return Writer(engine, folder, journal, 0, tokens), journal


def rename(engine: Engine, table: str, name: str) -> None:
    """Rename a table, so that nobody finds it by the old name."""
    with engine.begin() as connection:
        connection.exec_driver_sql(f"ALTER TABLE {table} RENAME TO {name}")


def leave(folder: Path, *numbers: int) -> Path:
    """Leave the journal of a process that has ended, with some decisions."""
    journal = Journal(folder, 10**6)
    journal.append(encode_entry(RULES))
    for number in numbers:
        journal.append(encode_entry(decision(number)))
    journal.close()
    return journal.file


def test_what_is_noted_is_written_beside_the_answering(engine: Engine, tmp_path: Path) -> None:
    """Without anybody asking for it; the journal is empty then."""
    made, journal = make_writer(engine, tmp_path)
    made.start()
    journal.append(encode_entry(RULES))
    journal.append(encode_entry(decision(1)))

    until(lambda: kept(engine) == 1)
    made.close()

    assert journal.pending == 0


def test_feedback_that_came_before_its_card_counts_for_the_patient(
    engine: Engine, tmp_path: Path
) -> None:
    """A card may wait in a journal while what became of it is told already."""
    with engine.begin() as connection:
        told = Feedback(card="u1", outcome="overridden", at=AT)
        keep_feedback(connection, [told], client="ehr", service="s", received_at=AT)
        name_patients(connection, ["u1"])
    made, journal = make_writer(engine, tmp_path)
    journal.append(encode_entry(RULES))
    journal.append(encode_entry(decision(1, card("u1", fingerprint="f"))))
    made.write()

    with engine.connect() as connection:
        found = find_told(connection, "ehr", "p1", AT)
    assert [(each.rule, each.overridden) for each in found] == [("escalate", True)]


def test_a_database_that_fails_loses_nothing(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is noted meanwhile waits, the log says so once, and then it is written."""
    made, journal = make_writer(engine, tmp_path)
    rename(engine, "decisions", "away")
    with capture_logs() as log:
        made.start()
        journal.append(encode_entry(RULES))
        journal.append(encode_entry(decision(1)))
        until(lambda: made.failing)
        journal.append(encode_entry(decision(2)))
        rename(engine, "away", "decisions")
        until(lambda: kept(engine) == 2)
        until(lambda: not made.failing)
        made.close()

    assert [entry["event"] for entry in log] == ["store_fails", "store_works_again"]
    assert "myositis-patient-view" not in str(log)


def test_what_an_ended_process_left_is_taken_over(engine: Engine, tmp_path: Path) -> None:
    """By a process that lives already, or the next to start; once."""
    file = leave(tmp_path, 1, 2)
    made, _ = make_writer(engine, tmp_path)
    made.start()

    until(lambda: not file.exists())
    made.close()

    assert kept(engine) == 2


def test_a_damaged_leftover_is_read_as_far_as_it_goes_and_set_aside(
    engine: Engine, tmp_path: Path
) -> None:
    """People can look at it, and the log names it."""
    file = leave(tmp_path, 1, 2)
    content = bytearray(file.read_bytes())
    content[-5] ^= 1
    file.write_bytes(content)
    made, _ = make_writer(engine, tmp_path)

    with capture_logs() as log:
        made.write()

    assert kept(engine) == 1
    assert file.with_suffix(".damaged").read_bytes() == content
    assert [(entry["event"], entry["read"]) for entry in log] == [("journal_damaged", 2)]


@pytest.mark.parametrize("byte", range(4))
def test_a_leftover_with_a_damaged_length_is_not_deleted(
    engine: Engine, tmp_path: Path, byte: int
) -> None:
    """None of its records can be found, and all of them are still there for people to look at."""
    file = leave(tmp_path, 1, 2)
    content = bytearray(file.read_bytes())
    content[20 + byte] ^= 0x40  # behind the form of the file and how much it has
    file.write_bytes(content)
    made, _ = make_writer(engine, tmp_path)

    with capture_logs() as log:
        made.write()

    assert file.with_suffix(".damaged").read_bytes() == content
    assert [(entry["event"], entry["read"]) for entry in log] == [("journal_damaged", 0)]


def test_a_record_that_no_database_takes_does_not_stop_the_others(
    engine: Engine, tmp_path: Path
) -> None:
    """It is kept in a file, and the log names that."""
    made, journal = make_writer(engine, tmp_path)
    orphan = decision(1, rules_version="never kept")
    for record in (RULES, orphan, decision(2)):
        journal.append(encode_entry(record))
    journal.append(b"no entry at all")

    with capture_logs() as log:
        made.write()

    refused = sorted(file.read_bytes() for file in tmp_path.glob("*.damaged"))
    assert {file.stat().st_mode & 0o777 for file in tmp_path.glob("*.damaged")} == {0o600}
    assert kept(engine) == 1
    assert refused == sorted([encode_entry(orphan), b"no entry at all"])
    assert [entry["event"] for entry in log] == ["record_refused"] * 2
    assert journal.pending == 0


def test_a_record_that_is_refused_again_is_kept_once(engine: Engine, tmp_path: Path) -> None:
    """As where the process ended before the journal was deleted."""
    made, journal = make_writer(engine, tmp_path)
    for _ in range(2):
        journal.append(b"no entry at all")
        made.write()

    assert [file.read_bytes() for file in tmp_path.glob("record-*")] == [b"no entry at all"]


def test_a_record_that_can_be_kept_nowhere_stays_in_its_journal(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk is full: nothing is deleted, and nothing piles up however often it is tried."""
    made, journal = make_writer(engine, tmp_path)
    journal.append(b"no entry at all")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        for _ in range(3):
            with pytest.raises(OSError):
                made.write()
        assert list(tmp_path.glob("*.damaged")) == []
        assert len(list(tmp_path.glob("*.new"))) == 1
    made.write()

    assert [file.read_bytes() for file in tmp_path.glob("record-*")] == [b"no entry at all"]


def test_a_journal_that_cannot_be_read_holds_up_no_other(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its disk may be broken: it stays, the fault is told, and the rest is written."""
    files = sorted([leave(tmp_path, 1), leave(tmp_path, 2)])
    made, _ = make_writer(engine, tmp_path)
    read = Leftover.next_batch

    def broken(left: Leftover) -> Batch:
        if left.file == files[0]:
            raise OSError(5, "Input/output error")
        return read(left)

    monkeypatch.setattr(Leftover, "next_batch", broken)
    with pytest.raises(OSError, match="Input/output"):
        made.write()

    assert kept(engine) == 1
    assert [file.exists() for file in files] == [True, False]


def test_a_journal_that_may_not_be_opened_is_reported_once(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With its name, since nobody would look for it else."""
    file = leave(tmp_path, 1)
    made, _ = make_writer(engine, tmp_path)
    opened = os.open

    def refuse(path: object, *arguments: int) -> int:
        if path == file:
            raise PermissionError(13, "Permission denied")
        return opened(path, *arguments)  # type: ignore[arg-type]  # as it was called

    monkeypatch.setattr(os, "open", refuse)
    with capture_logs() as log:
        made.write()
        made.write()

    assert [(line["event"], line["file"]) for line in log] == [("journal_unreadable", file.name)]
    assert file.exists()


def test_what_was_written_without_naming_its_patient_is_taken_up_again(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The journal of a card stays until feedback on it that came before has its patient."""
    with engine.begin() as connection:
        told = Feedback(card="u1", outcome="overridden", at=AT)
        keep_feedback(connection, [told], client="ehr", service="s", received_at=AT)
    made, journal = make_writer(engine, tmp_path)
    journal.append(encode_entry(RULES))
    journal.append(encode_entry(decision(1, card("u1", fingerprint="f"))))

    def away(*_: object) -> None:
        raise OperationalError("UPDATE", None, RuntimeError("the connection is gone"))

    with monkeypatch.context() as patched:
        patched.setattr(writer, "name_patients", away)
        with pytest.raises(OperationalError):
            made.write()
    assert journal.pending > 0
    made.write()

    with engine.connect() as connection:
        assert [each.rule for each in find_told(connection, "ehr", "p1", AT)] == ["escalate"]
    assert journal.pending == 0


def test_the_writer_names_what_an_earlier_version_did_not(engine: Engine, tmp_path: Path) -> None:
    """At its start, and then about once an hour: such a version may still run on elsewhere."""
    now = datetime.now(UTC)
    with engine.begin() as connection:
        insert_rows(connection, rows_of([RULES, decision(1, card("u1", fingerprint="f"))]))
        told = Feedback(card="u1", outcome="overridden", at=now)
        keep_feedback(connection, [told], client="ehr", service="s", received_at=now)
    made, _ = make_writer(engine, tmp_path)
    made.start()

    def named() -> bool:
        with engine.connect() as connection:
            return bool(find_told(connection, "ehr", "p1", now))

    until(named)
    made.close()


def test_what_is_done_hourly_goes_on_after_what_failed_of_it(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And what is noted is written between any two of its transactions."""
    steps: list[str] = []

    def tokens(*_: object) -> Iterator[int]:
        steps.append("tokens")
        yield 1
        raise OSError(5, "Input/output error")

    def deletion(*_: object) -> Iterator[int]:
        for count in (1, 1):
            steps.append("deletion")
            yield count

    made, _ = make_writer(engine, tmp_path)

    def wrote(of: Writer) -> None:
        if of is made:  # a service that other tests share writes in this process too
            steps.append("written")

    monkeypatch.setattr(UsedTokens, "forget_expired", tokens)
    monkeypatch.setattr(writer, "delete_old", deletion)
    monkeypatch.setattr(Writer, "write", wrote)
    made.start()
    until(lambda: steps.count("written") > 6)
    made.close()

    done = [step for step in steps if step != "written"]
    assert done == ["tokens", "deletion", "deletion"]
    assert "written" in steps[steps.index("tokens") : steps.index("deletion")]


def test_what_another_writer_deals_with_is_waited_for(engine: Engine, tmp_path: Path) -> None:
    """Of the same process, whose decisions refer to rules that the other has yet to write."""
    made, journal = make_writer(engine, tmp_path)
    journal.append(encode_entry(RULES))
    journal.hand_over()
    (taken,) = leftovers(tmp_path)
    journal.append(encode_entry(decision(1)))

    made.write()
    assert (kept(engine), list(tmp_path.glob("*.damaged"))) == (0, [])
    taken.close()
    made.write()

    assert (kept(engine), list(tmp_path.glob("*.damaged"))) == (1, [])
