import contextlib
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import Engine, select
from structlog.testing import capture_logs

from cds.store import writer
from cds.store.decisions import encode_entry
from cds.store.feedback import Feedback, keep_feedback, name_patients
from cds.store.journal import Journal
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
    return Writer(engine, folder, journal, 0, contextlib.nullcontext(), tokens), journal


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
    assert kept(engine) == 1
    assert refused == sorted([encode_entry(orphan), b"no entry at all"])
    assert [entry["event"] for entry in log] == ["record_refused"] * 2
    assert journal.pending == 0
