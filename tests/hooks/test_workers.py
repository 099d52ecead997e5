import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import pytest

from cds.rules.contents import content_version
from tests.hooks.conformance import check_conversation
from tests.hooks.test_reloading import RULE, few_rules, write
from tests.hooks.test_server import begun_by, list_client, token

CHECKOUT = Path(__file__).resolve().parents[2]
CALL = "/cds-services/myositis-patient-view"
BODY = (CHECKOUT / "fhir_examples/inclusion-body-myositis.request.json").read_bytes()
JSON = {"Content-Type": "application/json"}


class Serving:
    """The service with several workers, in processes of its own."""

    def __init__(self, **settings: str) -> None:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("CDS_")}
        given = {"CDS_AUTH": "off", "CDS_PORT": "0", "CDS_WORKERS": "2", **settings}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "cds", "serve"],
            cwd=CHECKOUT,
            env=kept | given,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout
        self.said = ""
        for line in self.process.stdout:
            self.said += line
            if line.startswith("Stop with"):
                break
        self.url = re.findall(r"serves on (http://\S+)\n", self.said)[0]
        self.lines: list[dict[str, Any]] = []
        self.not_json = ""
        self._logged = threading.Condition()
        self._reading = threading.Thread(target=self._read, daemon=True)
        self._reading.start()

    def _read(self) -> None:
        assert self.process.stderr
        for line in self.process.stderr:
            with self._logged:
                try:
                    self.lines.append(json.loads(line))
                except ValueError:
                    self.not_json += line
                self._logged.notify_all()

    def stop(self) -> None:
        """Stop it, and read its log to the end."""
        self.process.terminate()
        self.process.wait(30)
        self._reading.join(30)

    def wait_for(self, event: str, **said: object) -> dict[str, Any]:
        """Return the first line of this event that says so, as soon as it is there."""
        wanted = {"event": event, **said}

        def found() -> dict[str, Any] | None:
            return next((line for line in self.lines if wanted.items() <= line.items()), None)

        with self._logged:
            line = self._logged.wait_for(found, timeout=30)
        assert line, f"{wanted} is not among {self.lines}"
        return line

    def begun(self) -> list[int]:
        """Return the processes that it has begun and that live: first the workers, last `rules`."""
        return begun_by(self.process)

    def call(self) -> tuple[int, int]:
        """Call once over a connection of its own; the status, and the process that answered."""
        answer = httpx2.post(self.url + CALL, content=BODY, timeout=30)
        return answer.status_code, self.line_of(answer.headers["X-Decision-Id"])["process"]

    def answering(self) -> set[int]:
        """Call until two workers have answered, 30 seconds at most; the processes of these."""
        found: set[int] = set()
        deadline = time.monotonic() + 30
        while len(found) < 2:
            assert time.monotonic() < deadline, f"only {found} answered in 30 s"
            found.add(self.call()[1])
        return found

    def line_of(self, decision: str) -> dict[str, Any]:
        """Return the line of a decision in the log, as soon as it is there."""
        with self._logged:
            line = self._logged.wait_for(
                lambda: next((x for x in self.lines if x.get("decision") == decision), None), 30
            )
        assert line
        return line


@pytest.fixture
def serving(request: pytest.FixtureRequest) -> Iterator[Serving]:
    """Serve with two workers, and with what the test says."""
    running = Serving(**getattr(request, "param", {}))
    yield running
    running.stop()
    assert running.not_json == ""


@pytest.mark.parametrize("serving", [{"CDS_WORKERS": "1"}, {}], indirect=True)
def test_a_worker_that_is_killed_is_replaced(serving: Serving) -> None:
    """Its death is logged, another one begins, and calls are answered throughout."""
    status, victim = serving.call()
    begun = serving.begun()
    assert status == 200
    assert victim in begun

    os.kill(victim, signal.SIGKILL)
    answered = [serving.call() for _ in range(20)]

    died = serving.wait_for("worker_died")
    assert (died["worker"], died["status"]) == (victim, -signal.SIGKILL)
    assert {status for status, _ in answered} == {200}
    assert victim not in {worker for _, worker in answered}
    while not set(serving.begun()) - set(begun):  # bounded by the time of the whole test run
        assert serving.call()[0] == 200
    assert victim not in serving.begun()


def test_under_load_only_the_calls_of_the_killed_worker_are_lost(serving: Serving) -> None:
    """Of eight clients that keep calling, each loses at most the call that was under way."""

    async def client(calls: int, lost: list[int]) -> int:
        answered = 0
        async with httpx2.AsyncClient(timeout=30) as http:
            while answered < calls:
                try:
                    answer = await http.post(serving.url + CALL, content=BODY, headers=JSON)
                except httpx2.TransportError:
                    lost.append(1)
                    continue
                assert answer.status_code == 200
                answered += 1
        return answered

    async def run() -> tuple[int, int]:
        lost: list[int] = []
        load = [asyncio.create_task(client(60, lost)) for _ in range(8)]
        await asyncio.wait(load, timeout=0.2)
        os.kill(serving.begun()[0], signal.SIGKILL)
        return sum(await asyncio.gather(*load)), len(lost)

    answered, lost = asyncio.run(run())

    assert answered == 480
    assert lost <= 8
    assert serving.wait_for("worker_died")["status"] == -signal.SIGKILL


def test_what_has_begun_is_finished_when_the_service_is_stopped(serving: Serving) -> None:
    """A call whose body is still arriving at SIGTERM is answered, and then the service ends."""

    async def run() -> bytes:
        port = int(serving.url.rpartition(":")[2])
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        head = (
            f"POST {CALL} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(BODY)}\r\n"
        )
        # The server asks for the body when it has begun to answer.
        writer.write(f"{head}Expect: 100-continue\r\n\r\n".encode())
        assert b"100 Continue" in await reader.readuntil(b"\r\n\r\n")
        serving.process.terminate()
        while True:
            try:
                _, closing = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                break
            closing.close()
        writer.write(BODY)
        return await asyncio.wait_for(reader.read(), 30)

    answer = asyncio.run(run())

    check_conversation(f"POST {CALL} HTTP/1.1\r\n".encode(), answer)
    assert answer.startswith(b"HTTP/1.1 200 OK")
    assert serving.process.wait(30) == 0


@pytest.mark.parametrize("serving", [{"CDS_SHUTDOWN_SECONDS": "1"}], indirect=True)
def test_a_call_that_never_ends_does_not_hold_up_the_end(serving: Serving) -> None:
    """After the time that the settings give, the service ends all the same."""

    async def run() -> None:
        port = int(serving.url.rpartition(":")[2])
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(f"POST {CALL} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n".encode())
        writer.write(b"Expect: 100-continue\r\n\r\n")
        assert b"100 Continue" in await reader.readuntil(b"\r\n\r\n")
        serving.process.terminate()
        await asyncio.to_thread(serving.process.wait, 30)
        writer.close()

    asyncio.run(run())
    assert serving.process.returncode == 0


def test_all_processes_end_with_the_one_that_began_them(serving: Serving) -> None:
    """Nothing is left to serve old rules on the port if the first process is killed."""
    while len(begun := serving.begun()) < 4:
        os.sched_yield()
    serving.process.kill()
    serving.process.wait(30)
    # Not Path.exists, which fails where a process ends while it is looked at.
    while any(os.path.exists(f"/proc/{process}/cmdline") for process in begun):
        os.sched_yield()
    with pytest.raises(httpx2.ConnectError):
        httpx2.get(serving.url)


HANGING = """
import itertools, sys, time
from cds.hooks import workers
from cds.hooks.accepting import shares

workers.HUNG_SECONDS, workers._LOOK_SECONDS = 0.4, 0.1
own, = shares(1)
begun = 0

class Signs:
    def begin(self):
        global begun
        begun += 1
        own.begin()
    last_sign = own.last_sign

def work():
    print("begun", begun, flush=True)
    while True:
        time.sleep(0.02)
        if begun > 1:  # the first one hangs
            own.note(0)

job = workers.Job("worker 1", work, Signs())
workers.Supervisor([job], [], tend=lambda: None, seconds=0, shutdown_seconds=1).run()
"""


def test_a_worker_that_hangs_is_replaced() -> None:
    """One that gives no sign of life is killed, and the next one, which does, is left alone.

    Before that it tells where it hangs.
    """
    with subprocess.Popen(
        [sys.executable, "-c", HANGING],
        cwd=CHECKOUT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout
        assert process.stderr
        said: list[str] = []
        for line in process.stdout:
            said.append(line.strip())
            if line == "begun 2\n":
                break
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(1.5)
        process.terminate()
        rest = process.stdout.read()
        where = process.stderr.read()

    assert re.search(r'File "<string>", line \d+ in work\n', where)
    assert [line for line in said if line.startswith("begun")] == ["begun 1", "begun 2"]
    assert sum("worker_hangs" in line for line in said) == 1
    assert "begun 3" not in rest
    assert process.returncode == 0


@pytest.mark.parametrize("serving", [{"CDS_METRICS_PORT": "0"}], indirect=True)
def test_the_counts_of_all_workers_are_served_together(serving: Serving) -> None:
    """Calls that different workers answered are added up, and outlive the worker."""
    url = re.findall(r"Metrics for Prometheus on (http://\S+)\n", serving.said)[0]
    answering: set[int] = set()
    calls = 0
    while len(answering) < 2:
        answering.add(serving.call()[1])
        calls += 1
    os.kill(answering.pop(), signal.SIGKILL)
    serving.wait_for("worker_died")

    text = httpx2.get(url).text
    count = re.findall(r"myositis_cds_calls_total\{\S*status=\"200\"\} (\S+)", text)
    assert [float(value) for value in count] == [calls]


def test_point_18_a_token_is_used_once_whichever_worker_is_asked(tmp_path: Path) -> None:
    """Of several uses at once, over connections of their own, one counts, and none later."""
    clients = list_client(tmp_path)
    running = Serving(
        CDS_AUTH="required", CDS_CLIENTS=str(clients), CDS_STATE=str(tmp_path / "state")
    )

    def use(sent: str) -> int:
        headers = {"Authorization": f"Bearer {sent}"}
        return httpx2.get(f"{running.url}/cds-services", headers=headers, timeout=30).status_code

    def refusing() -> set[int]:
        return {x["process"] for x in running.lines if x["event"] == "unauthenticated"}

    try:
        used = [token("/cds-services") for _ in range(10)]
        with ThreadPoolExecutor(8) as pool:
            answered = list(pool.map(use, [sent for sent in used for _ in range(4)]))
        while len(refusing()) < 2:  # bounded by the time of the whole test run
            assert use(used[0]) == 401
    finally:
        running.stop()

    by_token = [answered[start : start + 4] for start in range(0, 40, 4)]
    assert [sorted(uses) for uses in by_token] == [[200, 401, 401, 401]] * 10


BREAKING = """
import os, signal
from functools import partial
from cds.hooks.logs import log_json
from cds.hooks.workers import Job, Supervisor

def fail():
    raise ValueError("Doe, Jane")

log = log_json()
Supervisor(
    [Job("breaks", fail)],
    [],
    tend=lambda: None,
    seconds=0,
    shutdown_seconds=1,
    died=lambda _: os.kill(os.getpid(), signal.SIGTERM),
    ending=partial(log.flush, 5),
).run()
"""


def test_what_breaks_a_worker_is_logged_without_its_text() -> None:
    """The text of a fault may hold data; the line is there although the process is gone."""
    ended = subprocess.run(
        [sys.executable, "-c", BREAKING], capture_output=True, text=True, timeout=60, check=True
    )

    broke, died = map(json.loads, ended.stderr.splitlines())
    assert (broke["event"], broke["job"], broke["fault"]) == ("uncaught", "breaks", "ValueError")
    assert (died["event"], died["worker"], died["status"]) == ("worker_died", broke["process"], 1)
    assert "Jane" not in ended.stdout + ended.stderr


ENDING = """
import time
from cds.hooks.workers import Job, Supervisor

def work():
    print("begun", flush=True)
    time.sleep(60)

def end():
    time.sleep(0.3)
    print("ended", flush=True)

Supervisor(
    [Job("one", work)], [], tend=lambda: None, seconds=0, shutdown_seconds=1, ending=end
).run()
"""


def test_what_a_process_does_last_is_not_cut_short() -> None:
    """It is told to stop more than once, as by Ctrl-C and by the process that began it."""
    with subprocess.Popen(
        [sys.executable, "-c", ENDING], cwd=CHECKOUT, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        assert process.stdout.readline() == "begun\n"
        process.terminate()
        said = process.stdout.read()

    assert (said, process.returncode) == ("ended\n", 0)


STOPPED_AT_ONCE = """
import os, signal, time
from cds.hooks.workers import Job, Supervisor

class Signs:
    def begin(self):
        os.kill(os.getpid(), signal.SIGTERM)

    def last_sign(self):
        return time.monotonic()

jobs = [Job("one", lambda: time.sleep(60), Signs()), Job("two", lambda: time.sleep(60))]
Supervisor(jobs, [], tend=lambda: None, seconds=0, shutdown_seconds=1).run()
"""


def test_whoever_stops_the_service_before_all_workers_have_begun_is_heard() -> None:
    """What has begun is ended, and what has not is no fault."""
    ended = subprocess.run(
        [sys.executable, "-c", STOPPED_AT_ONCE],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (0, "")


def shown_by_all(serving: Serving, **attempt: object) -> dict[str, Any]:
    """What GET /rules tells when ten connections in a row were told of such an attempt."""
    shown: dict[str, Any] = {}
    so_far = 0
    deadline = time.monotonic() + 60
    while so_far < 10:
        assert time.monotonic() < deadline, f"not all were told within a minute: {shown}"
        shown = httpx2.get(f"{serving.url}/rules").json()
        told = attempt.items() <= shown.get("last_attempt", {}).items()
        so_far = so_far + 1 if told else 0
    return shown


def test_all_workers_take_changed_rules_that_one_process_has_tested(tmp_path: Path) -> None:
    """And tell of those that were refused, which only that process logs."""
    rules = few_rules(tmp_path / "rules")
    file = rules / RULE
    serving = Serving(CDS_RULES=str(rules), CDS_RELOAD_SECONDS="0.1")
    try:
        workers = serving.answering()
        file.write_text(file.read_text().replace("version: 1.2.0", "version: 1.3.0"))
        accepted = shown_by_all(serving, accepted=True)
        answered = serving.answering()
        file.write_text(file.read_text().replace("status: active", "status: actve"))
        refused = shown_by_all(serving, accepted=False)
    finally:
        serving.stop()

    took = {line["process"] for line in serving.lines if line["event"] == "rules_accepted"}
    (told,) = (line for line in serving.lines if line["event"] == "rules_refused")
    assert answered == workers < took
    assert accepted["version"] == accepted["last_attempt"]["version"] == refused["version"]
    assert f"{RULE}:5:1 wrong-type" in refused["last_attempt"]["problems"][0]
    assert told["process"] in took - workers


def test_the_process_that_tests_changed_rules_is_replaced_and_its_work_goes_on(
    tmp_path: Path,
) -> None:
    """By one that begins with what is in service by then, and brings the next change there."""
    rules = few_rules(tmp_path / "rules")
    serving = Serving(CDS_RULES=str(rules), CDS_RELOAD_SECONDS="0.1")
    try:
        write(rules, RULE, "version: 1.2.0", "version: 1.3.0")
        second = shown_by_all(serving, accepted=True)["version"]
        serving.wait_for("rules_accepted", process=serving.process.pid)
        known = [serving.process.pid, *serving.begun()]
        os.kill(known[-1], signal.SIGKILL)
        died = serving.wait_for("worker_died")
        write(rules, RULE, "version: 1.3.0", "version: 1.4.0")
        third = content_version(rules, None)
        shown_by_all(serving, version=third, accepted=True)
    finally:
        serving.stop()

    (took,) = (
        line
        for line in serving.lines
        if line["event"] == "rules_accepted" and line["process"] not in known
    )
    assert (died["job"], died["worker"]) == ("rules", known[-1])
    assert (took["replaced"], took["rules_version"]) == (second, third)
