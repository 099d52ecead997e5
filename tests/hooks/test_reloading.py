import asyncio
import itertools
import json
import os
import re
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from functools import partial
from pathlib import Path
from typing import Any

import httpx2
import pytest
import structlog
import uvicorn
from fastapi import FastAPI
from fastapi.testclient import TestClient
from structlog.testing import LogCapture

from cds.advice import load_rules
from cds.hooks import reloading, service
from cds.hooks.connections import BoundedConnection
from cds.hooks.reloading import (
    Follower,
    Published,
    Reloader,
    polling,
    prepare,
    prepare_published,
    publish,
    published,
    watch,
)
from cds.hooks.server import KEEP_ALIVE_SECONDS
from cds.hooks.service import Attempt, InService, Served, answer, create_app
from cds.located import Problem
from cds.rules.contents import content_version
from cds.rules.engine import EngineFault
from cds.rules.ruleset import RuleSet
from cds.store.archive import pack

CHECKOUT = Path(__file__).resolve().parents[2]
EXAMPLES = CHECKOUT / "fhir_examples"
AS_OF = date(2026, 11, 16)
CALL = "/cds-services/myositis-patient-view"
BODY = (EXAMPLES / "inclusion-body-myositis.request.json").read_bytes()
RULE = "guidance/scope/inclusion-body-myositis.yaml"
TEST = "guidance/scope/inclusion-body-myositis.test.yaml"
SUMMARY = "Inclusion body myositis: immunosuppression"


SUGGESTIONS = """\
pulse-methylprednisolone-adult:
  label: Draft a proposal
  description: Creates a draft proposal
  resource:
    resourceType: MedicationRequest
    status: draft
    intent: proposal
    medicationCodeableConcept: {text: Methylprednisolone}
    subject: {reference: "Patient/{patient.id}"}
"""
"""A draft without doses: those that are shipped have theirs from criteria."""


def no_warm_up(ruleset: RuleSet) -> None:
    """Try nothing."""


def write(rules: Path, file: str, old: str, new: str) -> None:
    """Change a rule file as an author would; ``old`` must be there."""
    text = (rules / file).read_text()
    assert old in text
    (rules / file).write_text(text.replace(old, new))


def reword(rules: Path, word: str) -> str:
    """Let the summary of the rule begin with a word; the version that the folder then has."""
    text = (rules / RULE).read_text()
    changed = re.sub(r'summary: ".*Inclusion body', f'summary: "{word} Inclusion body', text)
    (rules / RULE).write_text(changed)
    return content_version(rules, None)


def entries_of(log: LogCapture) -> list[Any]:
    """Return what was logged of the rules, the lines of calls apart."""
    return [entry for entry in log.entries if entry["event"].startswith("rules_")]


class Running:
    """A service over a rules folder of its own, whose looks at it the test makes one by one."""

    def __init__(self, rules: Path) -> None:
        self.rules = rules
        self.app: FastAPI = create_app(load_rules(rules), lambda: AS_OF)
        self.in_service: InService = self.app.state.in_service
        self.prepared = 0
        self.poll: Callable[[], str | Problem] = polling(rules)
        self.prepare: Callable[[], Served] = partial(prepare, rules, None, EXAMPLES, no_warm_up)
        self.reloader = Reloader(self.in_service, lambda: self.poll(), self._prepare)
        self.client = TestClient(self.app, raise_server_exceptions=False)

    def _prepare(self) -> Served:
        self.prepared += 1
        return self.prepare()

    def look_twice(self) -> None:
        """See the folder the same at two looks."""
        self.reloader.check()
        self.reloader.check()

    def call(self) -> tuple[str, str]:
        """Open the chart of the example; the version that answered, and the summary of the card."""
        given = self.client.post(CALL, content=BODY)
        assert given.status_code == 200, given.text
        (card,) = given.json()["cards"]
        return given.headers["X-Rules-Version"], card["summary"]

    def shown(self) -> Any:
        """What GET /rules tells."""
        return self.client.get("/rules").json()


def few_rules(at: Path) -> Path:
    """Copy the shipped rules with only the one about inclusion body myositis, to a new folder."""
    folder = shutil.copytree(CHECKOUT / "rules", at)
    for unasked in ("criteria", "contraindications"):
        shutil.rmtree(folder / unasked)
    (folder / "suggestions.yaml").write_text(SUGGESTIONS, encoding="utf-8")
    for other in (folder / "guidance").iterdir():
        if other.name != "scope":
            shutil.rmtree(other)
    return folder


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    """Copy few rules into a folder of the test's own."""
    return few_rules(tmp_path / "rules")


@pytest.fixture
def running(rules: Path) -> Iterator[Running]:
    """Serve that folder."""
    made = Running(rules)
    yield made
    made.in_service.served.ruleset.close()


# --- what is taken -------------------------------------------------------------------------------


def test_a_good_change_is_taken_at_the_second_look(running: Running, log: LogCapture) -> None:
    """Cards, header, discovery and GET /rules follow the files; the log says what came for what."""
    first = running.call()
    version = reword(running.rules, "Changed:")
    running.reloader.check()
    half_way = running.call()
    running.reloader.check()

    assert half_way == first
    assert running.call() == (version, f"Changed: {first[1]}"[:140])
    assert running.shown()["version"] == version
    (entry,) = entries_of(log)
    assert (entry["event"], entry["replaced"]) == ("rules_accepted", first[0])
    assert entry["rules"] == {"inclusion-body-myositis": "1.2.0"}


def test_discovery_changes_with_the_vocabulary(running: Running) -> None:
    """A prefetch key that is added to the rules is asked for once they are in service."""
    more = (
        "prefetch:\n  more: {resource: Encounter, query: 'Encounter?patient={{context.patientId}}'}"
    )
    write(running.rules, "vocabulary/prefetch.yaml", "prefetch:", more)
    running.look_twice()

    (discovered,) = running.client.get("/cds-services").json()["services"]
    assert "more" in discovered["prefetch"]


def test_files_that_change_between_looks_are_waited_for(running: Running) -> None:
    """As long as each look sees something else nothing is even tried."""
    first = running.call()
    for word in ("One:", "Two:", "Three:"):
        reword(running.rules, word)
        running.reloader.check()
    assert (running.prepared, running.call()) == (0, first)

    running.reloader.check()
    assert running.call()[1].startswith("Three:")


def test_files_that_change_while_they_are_read_are_read_again(running: Running) -> None:
    """What was read in between is thrown away, good or bad, and not called an attempt."""
    first = running.call()
    usual = running.prepare

    def interrupted() -> Served:
        running.prepare = usual
        reword(running.rules, "Late:")
        return usual()

    running.prepare = interrupted
    reword(running.rules, "Early:")
    running.look_twice()
    assert (running.call(), running.shown().get("last_attempt")) == (first, None)

    running.reloader.check()
    assert running.call()[1].startswith("Late:")


def test_unchanged_files_are_not_read_again(running: Running) -> None:
    """What is in service already, or was refused already, is not tried at every look."""
    running.look_twice()
    assert running.prepared == 0

    write(running.rules, RULE, "status: active", "status: actve")
    for _ in range(5):
        running.reloader.check()
    assert running.prepared == 1


# --- what is refused -----------------------------------------------------------------------------

SUGGESTION = """\
  suggestions: [pulse-methylprednisolone-adult]
  override_reasons"""


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ([(RULE, "status: active", "status: [active")], [RULE, "not-yaml is not YAML here"]),
        ([(RULE, "status: active", "status: actve")], [f"{RULE}:5:1 wrong-type", "active"]),
        (
            [(TEST, "expect: silent", "expect: fires")],
            [TEST, "test-failed inclusion-body-myositis: another myositis"],
        ),
        ([(TEST, "rule: inclusion-body-myositis", "rule: other")], ["unknown-rule", "`other`"]),
        (
            [
                (RULE, "  override_reasons", SUGGESTION),
                ("suggestions.yaml", "    status: draft", "    status: [draft]"),
            ],
            ["suggestions.yaml:", "not-fhir `pulse-methylprednisolone-adult`"],
        ),
        (
            [("vocabulary/prefetch.yaml", "&code={codes}", "&code={codes}" + "x" * 2000)],
            ["prefetch"],
        ),
    ],
    ids=["syntax", "value", "failing test", "test of no rule", "draft not FHIR", "query too long"],
)
def test_a_bad_change_is_refused_and_the_last_good_rules_stay(
    running: Running, log: LogCapture, changes: list[tuple[str, str, str]], told: list[str]
) -> None:
    """Each problem is at GET /rules and in the log, at its place; calls are answered as before."""
    first = running.call()
    for file, old, new in changes:
        write(running.rules, file, old, new)
    running.look_twice()

    attempt = running.shown()["last_attempt"]
    assert running.call() == first
    assert (running.shown()["version"], attempt["accepted"]) == (first[0], False)
    assert attempt["version"] == content_version(running.rules, None) != first[0]
    assert all(re.match(r"\S+:\d+:\d+ [a-z-]+ ", each) for each in attempt["problems"])
    assert all(part in "\n".join(attempt["problems"]) for part in told)
    (entry,) = entries_of(log)
    assert (entry["event"], entry["log_level"]) == ("rules_refused", "error")
    assert (entry["refused"], list(entry["problems"])) == (attempt["version"], attempt["problems"])


def test_every_problem_of_a_bad_change_is_told(running: Running) -> None:
    """Mistakes in several files are all there at once."""
    write(running.rules, RULE, "status: active", "status: actve")
    write(running.rules, "scope.yaml", "applies_to:", "aplies_to:")
    running.look_twice()

    told = running.shown()["last_attempt"]["problems"]
    assert {RULE, "scope.yaml"} <= {each.partition(":")[0] for each in told}


def test_a_change_back_ends_the_refusal(running: Running, log: LogCapture) -> None:
    """The rules in service are what the folder has again; the same mistake is refused anew."""
    first = running.call()
    good = (running.rules / RULE).read_text()
    for _ in range(2):
        write(running.rules, RULE, "status: active", "status: actve")
        running.look_twice()
        assert not running.shown()["last_attempt"]["accepted"]
        (running.rules / RULE).write_text(good)
        running.look_twice()
        attempt = running.shown()["last_attempt"]
        assert (attempt["accepted"], attempt["version"]) == (True, first[0])

    assert running.call() == first
    assert [e["event"] for e in entries_of(log)] == ["rules_refused", "rules_changed_back"] * 2


def test_a_mended_change_is_taken(running: Running) -> None:
    """After a refusal the next good change comes into service."""
    write(running.rules, RULE, "status: active", "status: actve")
    running.look_twice()
    write(running.rules, RULE, "status: actve", "status: active")
    version = reword(running.rules, "Mended:")
    running.look_twice()

    assert running.call()[0] == version
    attempt = running.shown()["last_attempt"]
    assert (attempt.keys(), attempt["accepted"]) == ({"at", "version", "accepted"}, True)


def test_a_folder_that_has_gone_is_refused(running: Running) -> None:
    """An unmounted share does not take the rules out of service."""
    first = running.call()
    running.rules.rename(running.rules.with_name("elsewhere"))
    running.look_twice()

    (problem,) = running.shown()["last_attempt"]["problems"]
    assert "no-vocabulary" in problem
    assert running.call() == first


def test_files_that_cannot_be_read_are_refused(running: Running, rules: Path) -> None:
    """A link to nowhere is told by its name, without a version, and its mending is noticed."""
    first = running.call()
    (rules / "guidance" / "broken.yaml").symlink_to(rules / "nowhere")
    running.look_twice()

    attempt = running.shown()["last_attempt"]
    (problem,) = attempt["problems"]
    assert ("version" in attempt, attempt["accepted"]) == (False, False)
    assert problem.endswith("broken.yaml:1:1 unreadable cannot be read: No such file or directory")
    (rules / "guidance" / "broken.yaml").unlink()
    running.look_twice()
    assert running.shown()["last_attempt"]["accepted"]
    assert running.call() == first


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        (EngineFault("The rule engine failed."), "rules:1:1 engine-fault The rule engine failed."),
        (ValueError("Doe, Jane"), "rules:1:1 fault could not be tried"),
    ],
)
def test_a_fault_while_rules_are_tried_refuses_them(
    running: Running, log: LogCapture, fault: Exception, told: str
) -> None:
    """Looking goes on afterwards; what the text of an unknown fault holds is told nowhere."""
    first = running.call()
    usual = running.prepare

    def fail(ruleset: RuleSet) -> None:
        raise fault

    running.prepare = partial(prepare, running.rules, None, EXAMPLES, fail)
    reword(running.rules, "One:")
    running.look_twice()
    (problem,) = running.shown()["last_attempt"]["problems"]
    assert problem.startswith(told)
    assert "Jane" not in problem + str(log.entries)
    assert running.call() == first

    running.prepare = usual
    version = reword(running.rules, "Two:")
    running.look_twice()
    assert running.call()[0] == version


def test_a_site_is_watched_too(rules: Path, tmp_path: Path) -> None:
    """A change in the hospital's own folder is a change, and is named in what is shown."""
    site = tmp_path / "site"
    site.mkdir()
    (site / "site.yaml").write_text("site: Hospital\n")
    app = create_app(load_rules(rules, site), lambda: AS_OF)
    in_service: InService = app.state.in_service
    reloader = Reloader(
        in_service, polling(rules, site), partial(prepare, rules, site, EXAMPLES, no_warm_up)
    )
    client = TestClient(app)
    before = client.get("/rules").json()

    (site / "site.yaml").write_text("site: Clinic\n")
    for _ in range(2):
        reloader.check()
    after = client.get("/rules").json()
    assert (before["site"], after["site"]) == ("Hospital", "Clinic")
    assert before["version"] != after["version"]
    (site / "site.yaml").write_text("sit: Clinic\n")
    for _ in range(2):
        reloader.check()
    assert f"{site / 'site.yaml'}:1:1 " in client.get("/rules").text


# --- what is told --------------------------------------------------------------------------------


def test_the_rules_in_service_are_shown(running: Running) -> None:
    """Version, time, each rule with its version and title; and the last attempt, once there is."""
    before = datetime.now(UTC)
    shown = running.shown()
    assert shown == {
        "version": content_version(running.rules, None),
        "since": shown["since"],
        "rules": [
            {
                "id": "inclusion-body-myositis",
                "version": "1.2.0",
                "title": "Inclusion body myositis is outside the scope of this guidance",
            }
        ],
    }
    assert datetime.fromisoformat(shown["since"]) <= before

    write(running.rules, RULE, "version: 1.2.0", "version: 1.3.0")
    running.look_twice()
    shown = running.shown()
    assert [rule["version"] for rule in shown["rules"]] == ["1.3.0"]
    assert shown["last_attempt"] == {
        "at": shown["last_attempt"]["at"],
        "version": shown["version"],
        "accepted": True,
    }
    assert before <= datetime.fromisoformat(shown["since"])
    assert before <= datetime.fromisoformat(shown["last_attempt"]["at"]) <= datetime.now(UTC)
    assert running.client.head("/rules").status_code == 200


def test_every_response_names_the_version(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also those that refuse, those for addresses that do not exist, and faults."""

    def fail(*_: object) -> None:
        raise ValueError

    client = running.client
    answers = [
        client.get("/"),
        client.get("/cds-services"),
        client.get("/rules"),
        client.post(CALL, content=BODY),
        client.post(CALL, content=b"{}"),
        client.post("/cds-services/other", content=BODY),
        client.get("/nowhere"),
        client.delete("/cds-services"),
    ]
    monkeypatch.setattr(service, "advise", fail)
    answers.append(client.post(CALL, content=BODY))
    monkeypatch.setattr(service, "_show_rules", fail)
    answers.append(client.get("/rules"))

    assert [a.status_code for a in answers] == [200, 200, 200, 200, 400, 404, 404, 405, 500, 500]
    version = content_version(running.rules, None)
    assert [a.headers["X-Rules-Version"] for a in answers] == [version] * len(answers)


def test_what_is_logged_of_a_request_names_the_version(running: Running) -> None:
    """A refusal is logged with the version of the rules that refused."""
    capture = LogCapture()
    structlog.configure(processors=[structlog.contextvars.merge_contextvars, capture])
    try:
        running.client.post(CALL, content=b"{}")
        first = running.in_service.served.version
        second = reword(running.rules, "Changed:")
        running.look_twice()
        running.client.post(CALL, content=b"{}")
    finally:
        structlog.reset_defaults()

    logged = [e["rules_version"] for e in capture.entries if e["event"] == "request_refused"]
    assert logged == [first, second]


# --- between and during requests -----------------------------------------------------------------


def test_a_request_is_answered_by_the_rules_that_it_began_with(running: Running) -> None:
    """Rules replaced while the body arrives answer to the end, and are closed after it."""
    old = running.in_service.served
    sent: list[Any] = []

    async def exchange() -> None:
        begun, arrived = asyncio.Event(), asyncio.Event()

        async def receive() -> Any:
            begun.set()
            await arrived.wait()
            return {"type": "http.request", "body": BODY, "more_body": False}

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {
            "type": "http",
            "method": "POST",
            "path": CALL,
            "query_string": b"",
            "headers": [(b"content-type", b"application/json")],
        }
        request = asyncio.create_task(running.app(scope, receive, send))
        await begun.wait()
        reword(running.rules, "Changed:")
        running.look_twice()
        running.reloader.check()
        assert running.in_service.served is not old
        arrived.set()
        await request

    asyncio.run(exchange())

    start, body = sent
    assert (b"x-rules-version", old.version.encode()) in start["headers"]
    assert json.loads(body["body"])["cards"][0]["summary"].startswith(SUMMARY)
    assert asyncio.run(answer(BODY, old.ruleset, old.templates, AS_OF)) == body["body"]
    running.reloader.check()
    with pytest.raises(EngineFault, match="closed"):
        asyncio.run(answer(BODY, old.ruleset, old.templates, AS_OF))


def test_rules_that_nobody_uses_are_closed_when_they_are_replaced(running: Running) -> None:
    """The engine's memory is given back at once."""
    old = running.in_service.served
    reword(running.rules, "Changed:")
    running.look_twice()

    with pytest.raises(EngineFault, match="closed"):
        asyncio.run(answer(BODY, old.ruleset, old.templates, AS_OF))


SWAPS = 24
CALLERS = 3


def test_under_load_no_call_fails_and_none_sees_a_mixture(running: Running) -> None:
    """While rules are swapped back and forth each answer is whole, of the version in its header.

    Callers over loopback ask for cards, discovery and the rules in service; between two swaps each
    kind is answered at least once.
    """
    codes = "vocabulary/prefetch.yaml", "prefetch:"
    extra = "prefetch:\n  extra: {{resource: {0}, query: '{0}?patient={{{{context.patientId}}}}'}}"
    original = (running.rules / codes[0]).read_text()
    request = json.loads(BODY)
    request["prefetch"]["extra"] = None
    words = {"A:": "Encounter", "B:": "Procedure"}
    versions: dict[str, str] = {}

    def author(word: str) -> None:
        added = original.replace(codes[1], extra.format(words[word]), 1)
        (running.rules / codes[0]).write_text(added)
        versions[reword(running.rules, word)] = word

    author("A:")
    running.look_twice()

    seen: list[tuple[str, str, int, str, str]] = []
    wrong: list[object] = []
    done = threading.Event()
    sock = socket.create_server(("127.0.0.1", 0))
    base = f"http://127.0.0.1:{sock.getsockname()[1]}"
    config = uvicorn.Config(
        running.app,
        http=BoundedConnection,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        lifespan="off",
        log_config=None,
    )
    server = uvicorn.Server(config)

    def ask() -> None:
        try:
            with httpx2.Client(base_url=base, timeout=20) as client:
                while not done.is_set():
                    for path in (CALL, "/cds-services", "/rules"):
                        given = (
                            client.post(path, json=request) if path == CALL else client.get(path)
                        )
                        said = given.json()
                        if path == CALL:
                            word = said["cards"][0]["summary"][:2]
                        elif path == "/rules":
                            word = versions[said["version"]]
                        else:
                            query = said["services"][0]["prefetch"]["extra"]
                            word = next(w for w, kind in words.items() if query.startswith(kind))
                        version = given.headers["X-Rules-Version"]
                        seen.append((path, version, given.status_code, versions[version], word))
        except Exception as fault:
            wrong.append(fault)

    serving = threading.Thread(target=server.run, kwargs={"sockets": [sock]})
    callers = [threading.Thread(target=ask) for _ in range(CALLERS)]
    serving.start()
    for caller in callers:
        caller.start()
    try:
        for word in itertools.islice(itertools.cycle(["B:", "A:"]), SWAPS):
            author(word)
            running.look_twice()
            served = running.in_service.served.version
            assert versions[served] == word
            met: set[str] = set()
            start, deadline = len(seen), time.monotonic() + 20
            while len(met) < 3 and not wrong and time.monotonic() < deadline:
                time.sleep(0.001)
                met = {path for path, version, *_ in seen[start:] if version == served}
            assert len(met) == 3, wrong
    finally:
        done.set()
        for caller in callers:
            caller.join(30)
        server.should_exit = True
        serving.join(30)
        sock.close()

    assert wrong == []
    assert running.prepared == SWAPS + 1
    assert {status for _, _, status, _, _ in seen} == {200}
    assert [one for one in seen if one[3] != one[4]] == []
    assert {one[4] for one in seen} == {"A:", "B:"}


def test_files_are_read_again_only_where_one_may_have_changed(
    rules: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of unchanged ones none is; a change is seen, even one that leaves size and time alone."""
    read: list[Path] = []
    before = content_version(rules, None)

    def counted(folder: Path, site: Path | None) -> str:
        read.append(folder)
        return content_version(folder, site)

    monkeypatch.setattr(reloading, "content_version", counted)
    monkeypatch.setattr(reloading, "_SETTLED_NS", 0)
    look = polling(rules)
    assert [look(), look(), look()] == [before] * 3
    assert len(read) == 1

    file = next(rules.rglob("inclusion-body-myositis.yaml"))
    times = file.stat()
    file.write_bytes(file.read_bytes().swapcase())
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))

    assert look() == content_version(rules, None) != before


def test_what_was_changed_a_moment_ago_is_read_again(rules: Path) -> None:
    """Two changes within one tick of the clock of a file system bear the same stamp."""
    file = next(rules.rglob("inclusion-body-myositis.yaml"))
    look = polling(rules)
    for text in ("# one\n", "# two\n", "# six\n"):
        file.write_text(text)
        assert look() == content_version(rules, None)


def test_watching_looks_until_it_is_told_to_stop(running: Running) -> None:
    """Each interval is one look; two looks take a change."""
    version = reword(running.rules, "Changed:")
    stop = threading.Event()
    looks = 0

    def counted() -> str | Problem:
        nonlocal looks
        looks += 1
        if running.in_service.served.version == version:
            stop.set()
        return content_version(running.rules, None)

    running.poll = counted
    watching = threading.Thread(target=watch, args=(running.reloader.check, 0.001, stop))
    watching.start()
    watching.join(20)

    assert not watching.is_alive()
    assert looks == 4  # two that saw the change, one after it was read, one that stopped
    assert running.in_service.served.version == version


# --- what another process has tried --------------------------------------------------------------


class Following(Running):
    """A service that follows what the test says that another process has tried."""

    def __init__(self, rules: Path) -> None:
        super().__init__(rules)
        self.last: Published | None = None
        self.told: list[Attempt] = []
        self.followed = partial(prepare_published, warm_up=no_warm_up)
        self.follower = Follower(self.in_service, lambda: self.last, self._follow, self.told.append)

    def _follow(self, version: str, files: bytes) -> Served:
        self.prepared += 1
        return self.followed(version, files)

    def accepted(self) -> str:
        """Say that what the folder holds now was accepted; its version."""
        ruleset = load_rules(self.rules)
        ruleset.close()
        attempt = Attempt(at=datetime.now(UTC), version=ruleset.version, accepted=True, problems=())
        self.last = Published(attempt, pack(ruleset.contents))
        return ruleset.version

    def refused(self, version: str | None, *problems: str) -> None:
        """Say that something was refused."""
        attempt = Attempt(at=datetime.now(UTC), version=version, accepted=False, problems=problems)
        self.last = Published(attempt)


@pytest.fixture
def following(rules: Path) -> Iterator[Following]:
    """Serve that folder, as another process finds it."""
    made = Following(rules)
    yield made
    made.in_service.served.ruleset.close()


def test_what_another_process_accepted_is_taken_once_and_not_tested_again(
    following: Following,
) -> None:
    """Also without the tests, which that process has run; nothing is taken before it has spoken."""
    first = following.call()
    reword(following.rules, "Changed:")
    (following.rules / TEST).unlink()
    following.follower.check()
    before = following.call()
    version = following.accepted()
    following.follower.check()
    following.follower.check()

    assert before == first
    assert following.call() == (version, f"Changed: {first[1]}"[:140])
    assert following.prepared == 1
    assert following.shown()["last_attempt"]["version"] == version
    assert following.told == [following.last and following.last.attempt]


def test_what_another_process_refused_is_told_and_the_last_good_rules_stay(
    following: Following,
) -> None:
    """With its problems, and without reading the rules; so is that they were changed back."""
    first = following.call()
    following.refused("v", "a.yaml:1:1 wrong-type this")
    following.follower.check()
    refused = following.shown()["last_attempt"]
    following.accepted()
    following.follower.check()

    assert (refused["accepted"], refused["version"]) == (False, "v")
    assert refused["problems"] == ["a.yaml:1:1 wrong-type this"]
    assert following.shown()["last_attempt"]["accepted"] is True
    assert following.call() == first
    assert following.prepared == 0


def test_what_was_accepted_is_taken_whatever_the_folder_holds_by_then(
    following: Following,
) -> None:
    """So all processes serve the same, also those that look late."""
    reword(following.rules, "Changed:")
    version = following.accepted()
    write(following.rules, RULE, "status: active", "status: actve")
    following.follower.check()

    assert following.call()[0] == version


def test_a_process_that_is_begun_later_does_not_tell_of_an_attempt_again(
    following: Following,
) -> None:
    """It begins with the rules, and with the last attempt, of the process that begins it."""
    following.refused("v", "a.yaml:1:1 wrong-type this")
    following.follower.check()
    told: list[Attempt] = []
    Follower(following.in_service, lambda: following.last, following.followed, told.append).check()

    assert len(following.told) == 1
    assert told == []


def test_a_fault_while_an_attempt_is_followed_is_logged_and_tried_again(
    following: Following, log: LogCapture
) -> None:
    """The rules in service stay until it works; nothing of the fault's text is told."""
    first = following.call()
    reword(following.rules, "Changed:")
    version = following.accepted()
    whole = following.last
    assert whole is not None
    following.last = Published(whole.attempt, b"patient Jane Roe")
    following.follower.check()
    assert following.call() == first

    following.last = whole
    following.follower.check()
    assert following.call()[0] == version
    events = [(entry["event"], entry.get("fault")) for entry in entries_of(log)]
    assert events == [("rules_not_followed", "ArchiveUnusable"), ("rules_accepted", None)]
    assert "Jane" not in str(log.entries)


def test_an_attempt_is_published_whole_with_the_files_that_were_accepted(
    running: Running, tmp_path: Path
) -> None:
    """Another process reads what was attempted last, or that nothing was yet."""
    file = tmp_path / "told" / "attempt"
    file.parent.mkdir()
    none = published(file)
    accepted = Attempt(at=datetime.now(UTC), version=running.call()[0], accepted=True, problems=())
    publish(accepted, file, running.in_service)
    first = published(file)
    refused = Attempt(at=datetime.now(UTC), accepted=False, problems=("a.yaml:1:1 unreadable",))
    publish(refused, file, running.in_service)

    assert none is None
    assert first is not None
    assert first.attempt == accepted
    assert first.files is not None
    followed = prepare_published(running.call()[0], first.files, no_warm_up)
    assert followed.version == running.call()[0]
    followed.ruleset.close()
    assert published(file) == Published(refused)
    assert [each.name for each in file.parent.iterdir()] == ["attempt"]
