import json
import os
import signal
import threading
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import httpx2
import pytest
from sqlalchemy import select

from cds.store.database import connect
from cds.store.store import Place, open_store
from cds.store.tables import cards, feedback
from tests.databases import new_database, postgresql, stopped
from tests.hooks.test_server import CHECKOUT, begun_by, serve, start

CALL = "/cds-services/myositis-patient-view"
BODY = json.loads((CHECKOUT / "fhir_examples/rp-ild-mda5.request.json").read_bytes())


class Clients:
    """Clients that call and give feedback until the service is gone, and note what it answered.

    Feedback may be refused with ``refusals``; it is not told then.
    """

    def __init__(
        self, url: str, *, until_it_ends: bool = True, refusals: frozenset[int] = frozenset()
    ) -> None:
        self.url = url
        self.until_it_ends = until_it_ends
        self.refusals = refusals
        self.given: list[str] = []
        self.told: list[tuple[str, str]] = []
        self.refused = 0
        self.faults: list[Exception] = []
        self.enough = threading.Event()
        self.threads = [threading.Thread(target=self._work) for _ in range(6)]

    def _work(self) -> None:
        try:
            self._call()
        except Exception as fault:
            self.faults.append(fault)
            raise

    def _call(self) -> None:
        with httpx2.Client(base_url=self.url, timeout=10) as client:
            while True:
                try:
                    answer = client.post(CALL, json=BODY | {"hookInstance": str(uuid.uuid4())})
                    given = [card["uuid"] for card in answer.json()["cards"]]
                    self.given += given
                    at = datetime.now(UTC).isoformat()
                    item = {"card": given[0], "outcome": "overridden", "outcomeTimestamp": at}
                    told = client.post(f"{CALL}/feedback", json={"feedback": [item]})
                    if told.status_code in self.refusals:
                        self.refused += 1
                        continue
                    assert told.status_code == 200, told.text
                    self.told.append((given[0], at))
                except httpx2.TransportError as fault:
                    self.faults.append(fault)
                    if self.until_it_ends:
                        return
                    continue
                if len(self.told) >= 60:
                    self.enough.set()
                    if not self.until_it_ends:
                        return


def test_nothing_that_was_acknowledged_is_lost_when_all_processes_are_killed(
    tmp_path: Path, database_url: str
) -> None:
    """At once, under load: every card that was given and all feedback taken is in the database."""
    state = tmp_path / "state"
    with serve(CDS_STATE=str(state), CDS_DATABASE_URL=database_url) as serving:
        clients = Clients(serving.url)
        for thread in clients.threads:
            thread.start()
        assert clients.enough.wait(60), clients.faults
        serving.kill()
        for thread in clients.threads:
            thread.join()

    # What they had not written yet is taken over by whoever comes next.
    store = open_store(Place(state, database_url))
    store.settle()
    store.close()

    engine = connect(database_url)
    with engine.connect() as connection:
        kept_cards = set(connection.execute(select(cards.c.uuid)).scalars())
        kept_feedback = set(connection.execute(select(feedback.c.card)).scalars())
    engine.dispose()
    assert len(clients.told) >= 60
    assert set(clients.given) <= kept_cards
    assert {card for card, _ in clients.told} <= kept_feedback
    assert list((state / "journal").iterdir()) == []


def test_nothing_that_was_acknowledged_is_lost_when_a_worker_is_killed(tmp_path: Path) -> None:
    """What a killed worker of two had noted is taken over by another, with nothing of it lost."""
    with serve(CDS_STATE=str(tmp_path), CDS_WORKERS="2") as serving:
        clients = Clients(serving.url, until_it_ends=False)
        for thread in clients.threads:
            thread.start()
        while len(clients.told) < 10:
            clients.enough.wait(0.01)
        os.kill(begun_by(serving.process)[0], signal.SIGKILL)
        for thread in clients.threads:
            thread.join()
        status, log = serving.stop()

    assert status == 0
    assert "worker_died" in log
    store = open_store(Place(tmp_path))
    store.settle()
    with store.engine.connect() as connection:
        kept_cards = set(connection.execute(select(cards.c.uuid)).scalars())
        kept_feedback = set(connection.execute(select(feedback.c.card)).scalars())
    store.close()
    assert set(clients.given) <= kept_cards
    assert {card for card, _ in clients.told} <= kept_feedback


def test_nothing_is_lost_when_the_process_that_writes_is_killed(tmp_path: Path) -> None:
    """What workers note meanwhile waits for the one that takes its place."""

    def kept() -> set[str | None]:
        engine = connect(f"sqlite:///{tmp_path}/cds.sqlite")
        with engine.connect() as connection:
            uuids = set(connection.execute(select(cards.c.uuid)).scalars())
        engine.dispose()
        return uuids

    given: set[str] = set()

    def call(times: int) -> None:
        for _ in range(times):
            answer = httpx2.post(f"{serving.url}{CALL}", json=BODY)
            given.update(card["uuid"] for card in answer.json()["cards"])

    with serve(CDS_STATE=str(tmp_path), CDS_WORKERS="2") as serving:
        call(5)
        os.kill(begun_by(serving.process)[2], signal.SIGKILL)  # begun after the two workers
        call(5)
        while kept() != given:  # bounded by the time of the whole test run
            os.sched_yield()
        status, log = serving.stop()

    assert status == 0
    assert '"job":"store"' in log
    assert "worker_died" in log


@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_nothing_that_was_acknowledged_is_lost_when_postgresql_is_started_again(
    tmp_path: Path, mode: Literal["fast", "immediate"]
) -> None:
    """Stopped, or crashed, under load: calls go on, and feedback is refused while it is away."""
    with postgresql() as server:
        database = new_database(server)
        settings = {"CDS_STATE": str(tmp_path), "CDS_DATABASE_URL": database, "CDS_WORKERS": "2"}
        with serve(**settings) as serving:
            clients = Clients(serving.url, until_it_ends=False, refusals=frozenset({500, 503}))
            for thread in clients.threads:
                thread.start()
            while len(clients.told) < 10:
                clients.enough.wait(0.01)
            with stopped(server, mode):
                before = len(clients.given)
                while len(clients.given) < before + 10 or not clients.refused:
                    clients.enough.wait(0.01)
            for thread in clients.threads:
                thread.join()
            status, _ = serving.stop()

        store = open_store(Place(tmp_path, database))
        store.settle()
        patients: dict[str, str | None] = {"": None}
        while None in patients.values():  # bounded by the time of the whole test run
            with store.engine.connect() as connection:
                kept_cards = set(connection.execute(select(cards.c.uuid)).scalars())
                told = connection.execute(select(feedback.c.card, feedback.c.patient)).all()
            patients = {row.card: row.patient for row in told}
        store.close()

    assert status == 0
    assert set(clients.given) <= kept_cards
    assert {card for card, _ in clients.told} <= patients.keys()
    assert list((tmp_path / "journal").iterdir()) == []


def test_an_interrupted_service_has_written_everything(tmp_path: Path) -> None:
    """After Ctrl-C the database has every decision, and no journal is left."""
    with serve(CDS_STATE=str(tmp_path)) as serving:
        answer = httpx2.post(f"{serving.url}{CALL}", json=BODY)
        status, _ = serving.stop()

    engine = connect(f"sqlite:///{tmp_path}/cds.sqlite")
    with engine.connect() as connection:
        kept = connection.execute(select(cards.c.uuid)).scalars().all()
    engine.dispose()
    assert status == 0
    given = [card["uuid"] for card in answer.json()["cards"]]
    assert given
    assert sorted(kept) == sorted(given)
    assert list((tmp_path / "journal").iterdir()) == []


@pytest.mark.parametrize(
    "url", ["mysql://cds:secret@db/cds", "postgresql://cds:secret@127.0.0.1:1/"]
)
def test_a_database_that_cannot_be_used_is_told_and_ends_with_status_1(url: str) -> None:
    """The service does not start without the place where decisions go; no password is shown."""
    ended = start(CDS_AUTH="off", CDS_PORT="0", CDS_DATABASE_URL=url)

    assert ended.returncode == 1
    assert "database" in ended.stderr
    assert "secret" not in ended.stderr + ended.stdout


def test_a_state_folder_without_journals_is_told_and_ends_with_status_1(tmp_path: Path) -> None:
    """What could not be recorded is not answered in the first place; it is said, not traced."""
    (tmp_path / "journal").write_text("in the way of the folder")

    ended = start(CDS_AUTH="off", CDS_PORT="0", CDS_STATE=str(tmp_path))

    assert ended.returncode == 1
    assert f"{tmp_path}/journal cannot be used" in ended.stderr
    assert "Traceback" not in ended.stderr
