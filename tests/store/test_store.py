import asyncio
import os
import stat
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import Connection, Engine, event
from sqlalchemy.exc import OperationalError, SQLAlchemyError
from structlog.testing import capture_logs

from cds.store.database import DatabaseUnusable, sqlite_url
from cds.store.decisions import encode_entry
from cds.store.feedback import Feedback, count_feedback
from cds.store.journal import Journal
from cds.store.store import (
    MOST_FEEDBACK,
    FeedbackFull,
    Place,
    Store,
    open_database,
    open_store,
    prepare_store,
)
from tests.databases import new_database, silent
from tests.store.conftest import RULES, card, decision

AT = datetime(2026, 11, 16, 9, 30, tzinfo=UTC)
TOLD = Feedback(card="c1", outcome="overridden", at=AT)


def test_a_database_that_is_silent_holds_nobody_up(
    tmp_path: Path, postgresql_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever asks a server that never answers is told so; when it answers again, all works."""
    monkeypatch.setattr("cds.store.database.WAIT_SECONDS", 1)
    store = open_store(Place(tmp_path, new_database(postgresql_server)))
    until = datetime.now(UTC) + timedelta(hours=1)
    assert store.told("ehr", "p1", AT) == []
    assert asyncio.run(store.used_tokens.first_use("issuer", "before", until))

    with silent(postgresql_server), capture_logs() as lines:
        asked = [store.told("ehr", "p1", AT) for _ in range(1000)]
        ailment = asyncio.run(store.ailment())
        with pytest.raises((SQLAlchemyError, TimeoutError)):
            asyncio.run(store.used_tokens.first_use("issuer", "meanwhile", until))
        with pytest.raises(SQLAlchemyError):
            asyncio.run(store.keep_feedback((TOLD,), "ehr", "myositis-patient-view"))

    assert set(map(type, asked)) == {type(None)}
    assert ailment
    # Asked once, and not by each of the calls.
    assert [line["event"] for line in lines].count("overrides_not_known") == 1
    while store.told("ehr", "p1", AT) is None:  # bounded by the time of the test run
        os.sched_yield()
    assert asyncio.run(store.ailment()) is None
    assert asyncio.run(store.used_tokens.first_use("issuer", "afterwards", until))
    assert not asyncio.run(store.used_tokens.first_use("issuer", "before", until))
    assert asyncio.run(store.keep_feedback((TOLD,), "ehr", "myositis-patient-view")) == ["c1"]
    store.close()


def test_sqlite_holds_no_call_up_either(on_sqlite: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """What takes longer than a call waits is given up and told; later calls are answered again."""
    monkeypatch.setattr("cds.store.database._STEPS", 1)
    with monkeypatch.context() as late, capture_logs() as lines:
        late.setattr("cds.store.database.READ_MILLISECONDS", -1)
        asked = [on_sqlite.told("ehr", "p1", AT) for _ in range(3)]

    assert asked == [None, None, None]
    assert [line["event"] for line in lines].count("overrides_not_known") == 1
    while (told := on_sqlite.told("ehr", "p1", AT)) is None:  # bounded by the time of the test run
        os.sched_yield()
    assert told == []


def test_a_folder_that_takes_no_journal_is_told_before_anything_is_served(tmp_path: Path) -> None:
    """What would fail at the first answer fails at the start, with the folder and what to do."""
    (tmp_path / "journal").write_text("in the way of the folder")

    with pytest.raises(DatabaseUnusable, match="CDS_STATE") as told:
        prepare_store(Place(tmp_path))

    assert str(tmp_path / "journal") in str(told.value)


def test_a_first_start_that_was_cut_off_keeps_no_later_one_from_starting(tmp_path: Path) -> None:
    """It left a journal in which nothing was noted, and had made no key yet."""
    (tmp_path / "journal").mkdir(mode=0o700)
    Journal(tmp_path / "journal", 1000)
    (tmp_path).chmod(0o700)

    prepare_store(Place(tmp_path))

    assert (tmp_path / "pseudonym.key").is_file()


def test_trying_the_folder_leaves_no_journal(tmp_path: Path) -> None:
    """After the start of the store was prepared, the folder of journals is empty."""
    prepare_store(Place(tmp_path))

    assert list((tmp_path / "journal").iterdir()) == []


def test_a_key_is_made_at_its_default_place_alone(tmp_path: Path) -> None:
    """And the log says so; where a setting names a file that is absent, it may be a mistake."""
    with pytest.raises(DatabaseUnusable, match="is not there"):
        prepare_store(Place(tmp_path, key_file=tmp_path / "elsewhere.key"))
    assert not (tmp_path / "elsewhere.key").exists()

    with capture_logs() as lines:
        prepare_store(Place(tmp_path))
        prepare_store(Place(tmp_path))

    assert [line["event"] for line in lines] == ["pseudonym_key_made"]
    assert lines[0]["file"] == str(tmp_path / "pseudonym.key")


@pytest.mark.parametrize("written", [False, True])
def test_where_there_are_decisions_no_new_key_is_made(tmp_path: Path, written: bool) -> None:
    """In the database or in a journal they name patients by the key that is gone."""
    store = open_store(Place(tmp_path), writes=False)
    store._journal.append(encode_entry(RULES))
    store.note(decision(1))
    if written:
        store.settle()
    store.close()
    key = (tmp_path / "pseudonym.key").rename(tmp_path / "lost.key")

    with pytest.raises(DatabaseUnusable, match="from a backup"):
        open_store(Place(tmp_path))

    assert not (tmp_path / "pseudonym.key").exists()
    key.rename(tmp_path / "pseudonym.key")
    open_store(Place(tmp_path)).close()


@pytest.mark.parametrize("named", [False, True])
def test_nobody_else_can_read_the_database(tmp_path: Path, named: bool) -> None:
    """An SQLite file is its owner's alone, where its address is given as well."""
    file = tmp_path / "cds.sqlite"
    before = os.umask(0o022)
    try:
        open_database(Place(tmp_path, sqlite_url(file) if named else None)).dispose()
    finally:
        os.umask(before)

    assert stat.S_IMODE(file.stat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("name", "mode"), [("cds.sqlite", "600"), ("cds.sqlite-tokens", "600"), ("journal", "700")]
)
def test_what_is_there_already_must_be_its_owners_alone(
    tmp_path: Path, name: str, mode: str
) -> None:
    """What others may read is not written to, and the command that mends it is told."""
    prepare_store(Place(tmp_path))
    (tmp_path / name).chmod(0o755)

    with pytest.raises(DatabaseUnusable, match=f"chmod {mode} {tmp_path / name}$"):
        prepare_store(Place(tmp_path))


@pytest.fixture
def on_sqlite(tmp_path: Path) -> Iterator[Store]:
    """Open a store on SQLite whose writer does not look while a test does."""
    store = open_store(Place(tmp_path), writes=False)
    store._journal.append(encode_entry(RULES))
    yield store
    store.close()


def test_a_database_that_takes_no_writes_is_not_well(on_sqlite: Store) -> None:
    """As where the disk is full: what can still be read is not enough to answer calls."""
    assert asyncio.run(on_sqlite.ailment()) is None
    with on_sqlite.used_tokens._engine.connect() as connection:
        # Of this one connection, which the pool gives out again.
        connection.exec_driver_sql("PRAGMA query_only = ON")

    assert asyncio.run(on_sqlite.ailment()) == "The database does not answer, or takes nothing."


@pytest.mark.parametrize("replaced", [False, True])
def test_a_file_that_was_removed_under_the_service_is_told_and_nothing_is_lost(
    on_sqlite: Store, tmp_path: Path, replaced: bool
) -> None:
    """What would be written into a file that nobody finds again stays in the journal."""
    on_sqlite.note(decision(1))
    (tmp_path / "cds.sqlite").rename(tmp_path / "elsewhere")
    if replaced:
        (tmp_path / "cds.sqlite").touch()

    said = asyncio.run(on_sqlite.ailment())
    with pytest.raises(OSError):
        on_sqlite.settle()

    assert said is not None
    assert "removed or replaced" in said
    assert on_sqlite.state.waiting > 0
    (tmp_path / "elsewhere").rename(tmp_path / "cds.sqlite")
    assert asyncio.run(on_sqlite.ailment()) is None


def test_where_nobody_writes_what_was_noted_the_store_says_so(
    on_sqlite: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process that does may be gone: calls go on, and readiness tells."""
    monkeypatch.setattr("cds.store.store.LATE_SECONDS", 0.0)
    on_sqlite.note(decision(1))
    on_sqlite._journal.hand_over()

    assert on_sqlite.state.failing
    assert "waits in the journal" in (asyncio.run(on_sqlite.ailment()) or "")
    on_sqlite.settle()
    assert not on_sqlite.state.failing


def test_on_sqlite_tokens_have_a_file_of_their_own(on_sqlite: Store, tmp_path: Path) -> None:
    """A call notes its token while decisions are being written, and nobody else can read it."""
    until = datetime.now(UTC) + timedelta(hours=1)
    with on_sqlite.engine.begin() as connection:  # holds the lock of those who write decisions
        assert asyncio.run(on_sqlite.used_tokens.first_use("issuer", "t1", until))
        connection.exec_driver_sql("SELECT 1")

    assert stat.S_IMODE((tmp_path / "cds.sqlite-tokens").stat().st_mode) == 0o600


def test_feedback_that_waits_holds_up_neither_tokens_nor_readiness(store: Store) -> None:
    """One client may send all that is taken: others are let in meanwhile, and more is refused."""
    until = datetime.now(UTC) + timedelta(hours=1)

    async def meanwhile() -> tuple[bool, str | None]:
        waiting = [
            asyncio.create_task(store.keep_feedback((TOLD,), "ehr", "myositis-patient-view"))
            for _ in range(MOST_FEEDBACK)
        ]
        try:
            await asyncio.sleep(0)  # each of them has begun then
            with pytest.raises(FeedbackFull):
                await store.keep_feedback((TOLD,), "other", "myositis-patient-view")
            first = await store.used_tokens.first_use("issuer", "t1", until)
            ailment = await store.ailment()
        finally:
            held.rollback()
        assert await asyncio.gather(*waiting) == [["c1"]] * MOST_FEEDBACK
        return first, ailment

    with store.engine.connect() as held:
        held.begin()  # which on SQLite keeps all others from writing
        if store.engine.dialect.name == "postgresql":
            held.exec_driver_sql("LOCK TABLE feedback IN EXCLUSIVE MODE")
        assert asyncio.run(meanwhile()) == (True, None)
    assert asyncio.run(store.keep_feedback((TOLD,), "other", "myositis-patient-view")) == ["c1"]


class FirstCommit:
    """Holds the first transaction of an engine just before its commit, until it is let go."""

    def __init__(self, engine: Engine) -> None:
        self.reached = threading.Event()
        self.may_go = threading.Event()
        event.listen(engine, "commit", self._hold)

    def _hold(self, _: Connection) -> None:
        self.reached.set()
        assert self.may_go.wait(20)


def say_overridden(store: Store) -> list[str]:
    """Tell that card c1 was overridden; the cards that are not known."""
    return asyncio.run(store.keep_feedback((TOLD,), "ehr", "myositis-patient-view"))


def note_card(store: Store) -> None:
    """Note the decision that gave card c1."""
    store._journal.append(encode_entry(RULES))
    store.note(decision(1, card("c1", fingerprint="f")))


def settle(store: Store) -> None:
    """Write what was noted."""
    store.settle()


def overridden_rules(store: Store) -> list[str]:
    """The rules of whose cards it is found that patient p1 was not to be shown them."""
    told = store.told("ehr", "p1", datetime.now(UTC))
    assert told is not None
    return [each.rule for each in told if each.overridden]


@pytest.mark.parametrize("first", ["feedback", "card"])
def test_feedback_and_its_card_committed_at_the_same_moment_find_each_other(
    tmp_path: Path, database_url: str, first: str
) -> None:
    """Whichever is first, where neither transaction can see what the other has added.

    The second is still uncommitted when whoever committed first looks for it once more.
    """
    telling = open_store(Place(tmp_path / "telling", database_url), writes=False)
    writing = open_store(Place(tmp_path / "writing", database_url), writes=False)
    note_card(writing)
    commits = {"feedback": FirstCommit(telling.engine), "card": FirstCommit(writing.engine)}
    second = "card" if first == "feedback" else "feedback"
    with ThreadPoolExecutor(2) as pool:

        def begin(what: str) -> Future[object]:
            work, store = (say_overridden, telling) if what == "feedback" else (settle, writing)
            return pool.submit(work, store)

        done = {first: begin(first)}
        assert commits[first].reached.wait(20)
        done[second] = begin(second)
        if writing.engine.dialect.name == "postgresql":
            assert commits[second].reached.wait(20)
            commits[first].may_go.set()
            done[first].result(20)
            commits[second].may_go.set()
        else:  # which lets the second write only when the first is done
            assert not commits[second].reached.wait(0.1)
            commits[second].may_go.set()
            commits[first].may_go.set()
        for each in done.values():
            each.result(20)

    assert overridden_rules(telling) == ["escalate"]
    telling.close()
    writing.close()


def failing_once(*, before: int) -> Callable[[object], None]:
    """Let a transaction fail, after so many that work."""
    count = iter(range(before + 1))

    def fail(_: object) -> None:
        if next(count, None) == before:
            raise OperationalError("COMMIT", None, RuntimeError("the connection is gone"))

    return fail


@pytest.fixture
def not_writing(place: Place) -> Iterator[Store]:
    """Open a store on a database of each kind, whose writer does not write while a test does."""
    store = open_store(place, writes=False)
    yield store
    store.close()


def test_feedback_is_acknowledged_once_it_is_kept_whatever_fails_after_that(
    not_writing: Store,
) -> None:
    """That its patient could not be noted is logged; the writer does so later."""
    event.listen(not_writing.engine, "commit", fail := failing_once(before=1))
    with capture_logs() as log:
        assert say_overridden(not_writing) == ["c1"]
    event.remove(not_writing.engine, "commit", fail)

    assert [line["event"] for line in log] == ["feedback_not_named"]
    with not_writing.engine.connect() as connection:
        assert count_feedback(connection).unknown == 1


def test_feedback_that_is_not_kept_is_not_acknowledged(not_writing: Store) -> None:
    """Who sends it again has it kept, once."""
    event.listen(not_writing.engine, "commit", fail := failing_once(before=0))
    with pytest.raises(OperationalError):
        say_overridden(not_writing)
    event.remove(not_writing.engine, "commit", fail)

    assert [say_overridden(not_writing) for _ in range(2)] == [["c1"]] * 2
    with not_writing.engine.connect() as connection:
        assert count_feedback(connection).unknown == 1


def test_feedback_on_a_card_that_is_known_is_kept_in_one_transaction(not_writing: Store) -> None:
    """With its patient: nothing can come between."""
    note_card(not_writing)
    not_writing.settle()
    commits: list[object] = []
    event.listen(not_writing.engine, "commit", commits.append)

    assert say_overridden(not_writing) == []

    assert overridden_rules(not_writing) == ["escalate"]
    assert len(commits) == 1


def test_feedback_in_a_file_that_nobody_finds_again_is_not_acknowledged(
    on_sqlite: Store, tmp_path: Path
) -> None:
    """The database was removed under the service: whoever told it must tell it again."""
    assert say_overridden(on_sqlite) == ["c1"]
    (tmp_path / "cds.sqlite").rename(tmp_path / "elsewhere")

    with pytest.raises(OSError):
        say_overridden(on_sqlite)


def test_tokens_in_a_file_that_nobody_finds_again_let_nobody_in(
    on_sqlite: Store, tmp_path: Path
) -> None:
    """A process that is begun later would know nothing of them; readiness tells of it."""
    until = datetime.now(UTC) + timedelta(hours=1)
    (tmp_path / "cds.sqlite-tokens").unlink()

    with pytest.raises(OSError):
        asyncio.run(on_sqlite.used_tokens.first_use("issuer", "t1", until))
    assert "removed or replaced" in (asyncio.run(on_sqlite.ailment()) or "")
