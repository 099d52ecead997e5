import contextlib
import json
import os
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from joserfc import jwt
from joserfc.jwk import ECKey

from tests.fhir_server import serving as serving_fhir
from tests.hooks.conformance import check_conversation
from tests.hooks.test_reloading import few_rules

CHECKOUT = Path(__file__).resolve().parents[2]
COMMAND = [sys.executable, "-m", "cds", "serve"]


def environment(**settings: str) -> dict[str, str]:
    """Return the environment of this process with these settings, and a state folder of its own."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("CDS_")}
    state = tempfile.mkdtemp(dir=os.environ["XDG_STATE_HOME"])
    return kept | {"CDS_STATE": state} | settings


def start(**settings: str) -> subprocess.CompletedProcess[str]:
    """Start the service where it cannot serve, and return how it ended."""
    return subprocess.run(
        COMMAND,
        cwd=CHECKOUT,
        env=environment(**settings),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def begun_by(process: subprocess.Popen[str]) -> list[int]:
    """Return the processes that the first one of a service has begun and that live, in order."""
    main = process.pid
    children = Path(f"/proc/{main}/task/{main}/children").read_text().split()
    return [int(child) for child in children]


class Serving:
    """The service in a process of its own: what it printed until it was ready, and where it is."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        assert process.stdout
        lines = []
        for line in process.stdout:
            lines.append(line)
            if line.startswith("Stop with"):
                break
        self.said = "".join(lines)
        found = re.search(r"serves on (http://\S+:\d+)\n", self.said)
        assert found, self.said
        self.url = found[1]

    def kill(self) -> None:
        """Kill all of its processes at once."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.communicate()  # which each of them has ended with its last open file

    def stop(self) -> tuple[int, str]:
        """Interrupt all of its processes as Ctrl-C does; the exit status, and the log."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGINT)
        _, log = self.process.communicate(timeout=30)
        return self.process.returncode, log


@contextlib.contextmanager
def serve(**settings: str) -> Iterator[Serving]:
    """Serve on a free port."""
    process = subprocess.Popen(
        COMMAND,
        cwd=CHECKOUT,
        env=environment(**{"CDS_AUTH": "off", "CDS_PORT": "0"} | settings),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        process_group=0,
    )
    try:
        yield Serving(process)
    finally:
        process.kill()
        process.communicate()


@pytest.fixture
def serving() -> Iterator[Serving]:
    """Serve the rules that the project ships."""
    with serve() as running:
        yield running


def test_what_the_terminal_says_to_try_gives_a_critical_card(serving: Serving) -> None:
    """The command that is printed names a request that exists and an address that answers it."""
    url, example = re.findall(r"curl (\S+/cds-services/\S+) .*\n.*--data @(\S+)", serving.said)[0]

    answer = httpx2.post(url, content=(CHECKOUT / example).read_bytes())

    assert "Authentication is OFF" in serving.said
    assert httpx2.get(f"{serving.url}/cds-services").status_code == 200
    assert answer.json()["cards"][0]["indicator"] == "critical"


def test_the_log_is_json_and_tells_nothing_of_the_patient(serving: Serving) -> None:
    """Rules and refusals with their reason are logged, addresses and data not; Ctrl-C is peace."""
    call = f"{serving.url}/cds-services/myositis-patient-view"
    request = json.loads((CHECKOUT / "fhir_examples/rp-ild-mda5.request.json").read_bytes())
    request["prefetch"]["conditions"] = {"resourceType": "Hana"}

    refused = httpx2.post(f"{call}?patient=Hana", json=request)
    httpx2.get(f"{serving.url}/Hana")
    status, log = serving.stop()

    made, started, line = map(json.loads, log.splitlines())
    version = refused.headers["X-Rules-Version"]
    assert refused.status_code == 412
    assert made["event"] == "pseudonym_key_made"
    assert (started["event"], started["rules_version"]) == ("rules_in_service", version)
    assert started["rules"]["inclusion-body-myositis"] == "1.2.0"
    assert line["rules_version"] == version
    assert (line["event"], line["status"], line["level"]) == ("request_refused", 412, "info")
    assert line["problems"][0].startswith("`prefetch.conditions` should be a Bundle")
    assert "Hana" not in log
    assert "rp-ild-mda5" not in log
    assert status == 0


ISSUER = "https://ehr.hospital.example"
KEY = ECKey.generate_key("P-384", {"kid": "one"})


def list_client(folder: Path) -> Path:
    """Write a list with one client, which signs with ``KEY``, into a folder."""
    (folder / "keys.json").write_text(json.dumps({"keys": [KEY.as_dict(private=False)]}))
    file = folder / "clients.yaml"
    file.write_text(
        "clients:\n"
        "  - name: Example University Hospital\n"
        f"    issuer: {ISSUER}\n"
        "    jwks_file: keys.json\n"
        "    audience: [https://cds.hospital.example]\n"
    )
    return file


@pytest.fixture
def clients(tmp_path: Path) -> Path:
    """A list with one client, which signs with ``KEY``."""
    return list_client(tmp_path)


def token(path: str) -> str:
    """A token for an endpoint, as the client of the list makes it now."""
    now = int(time.time())
    said = {
        "iss": ISSUER,
        "aud": f"https://cds.hospital.example{path}",
        "iat": now,
        "exp": now + 300,
        "jti": str(uuid.uuid4()),
    }
    return jwt.encode({"alg": "ES384", "kid": "one"}, said, KEY, algorithms=["ES384"])


def test_points_17_and_18_only_clients_are_answered(clients: Path) -> None:
    """With a list of clients: who they are is said, and the log names them, and no token."""
    path = "/cds-services/myositis-patient-view"
    good, used, call = token("/cds-services"), token("/cds-services"), token(path)
    with serve(CDS_AUTH="required", CDS_CLIENTS=str(clients)) as running:
        answers = [
            httpx2.get(f"{running.url}/cds-services", headers=headers)
            for headers in (
                {"Authorization": f"Bearer {good}"},
                {"Authorization": f"Bearer {used}"},
                {"Authorization": f"Bearer {used}"},
                {},
            )
        ]
        refused = httpx2.post(
            running.url + path, content=b"{", headers={"Authorization": f"Bearer {call}"}
        )
        _, log = running.stop()

    assert "Clients of" in running.said
    assert "Example University Hospital" in running.said
    assert "OFF" not in running.said
    assert [answer.status_code for answer in answers] == [200, 200, 401, 401]
    assert refused.status_code == 400
    lines = [json.loads(line) for line in log.splitlines()][2:]
    assert [(line["event"], line.get("reason"), line["client"]) for line in lines] == [
        ("unauthenticated", "replayed", "Example University Hospital"),
        ("unauthenticated", "no-token", None),
        ("request_refused", None, "Example University Hospital"),
    ]
    for sent in (good, used, call):
        assert not any(part in log for part in sent.split("."))


def test_a_wrong_list_of_clients_is_told_and_ends_with_status_1(clients: Path) -> None:
    """Every mistake at its place, and no service without the clients that were meant."""
    clients.write_text(clients.read_text().replace("jwks_file: keys", "jwks_file: none"))

    ended = start(CDS_CLIENTS=str(clients), CDS_PORT="0")

    assert ended.returncode == 1
    assert ended.stderr.startswith(f"The clients in {clients} cannot be used:\n{clients}:4:5 ")
    assert "Traceback" not in ended.stderr


def test_what_is_open_to_a_network_without_authentication_says_so() -> None:
    """Where the risk was accepted, the terminal does not speak of this machine only."""
    settings = {"CDS_HOST": "0.0.0.0", "CDS_AUTH_OFF_ON_NETWORK": "accept-the-risk"}
    with serve(**settings) as running:
        assert "Authentication is OFF: whoever reaches this address is answered." in running.said


def test_a_port_in_use_is_said_and_ends_with_status_1() -> None:
    """The port is named, and how another is chosen."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        ended = start(CDS_AUTH="off", CDS_PORT=port)

    assert ended.returncode == 1
    assert ended.stdout == ""
    *_, first, second = ended.stderr.splitlines()
    assert first == f"Cannot serve on 127.0.0.1, port {port}: Address already in use."
    assert "CDS_PORT=8001" in second


def test_wrong_rules_are_all_told_and_end_with_status_1(tmp_path: Path) -> None:
    """A rule folder that cannot be used is not served, and every problem is printed."""
    (tmp_path / "vocabulary").mkdir()
    (tmp_path / "vocabulary" / "a.yaml").write_text("sistems: {}\nmesures: {}\n")

    ended = start(CDS_AUTH="off", CDS_PORT="0", CDS_RULES=str(tmp_path))

    assert ended.returncode == 1
    assert f"The rules in {tmp_path} cannot be used" in ended.stderr
    assert "vocabulary/a.yaml:1:1 unknown-key" in ended.stderr
    assert "vocabulary/a.yaml:2:1 unknown-key" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_site_is_served_and_named() -> None:
    """The terminal says whose rules these are, and discovery asks for the codes of the site."""
    site = CHECKOUT / "fhir_examples/site"
    with serve(CDS_SITE=str(site)) as running:
        assert f"as changed for Example University Hospital by {site}" in running.said
        services = httpx2.get(f"{running.url}/cds-services").json()["services"]
    for service in services:
        assert "CodeSystem/flowsheet|30401" in service["prefetch"]["core_set_measures"]


def test_a_wrong_site_is_told_and_ends_with_status_1(tmp_path: Path) -> None:
    """The service does not start without the changes that it was asked to make."""
    (tmp_path / "site.yaml").write_text("site: Mine\noff: {nothing: x}\n", encoding="utf-8")

    ended = start(CDS_AUTH="off", CDS_PORT="0", CDS_SITE=str(tmp_path))

    assert ended.returncode == 1
    assert f"with those of the site {tmp_path}, cannot be used" in ended.stderr
    assert f"{tmp_path}/site.yaml:2:7 unknown-rule" in ended.stderr


def test_rules_that_ask_for_other_prefetch_are_served(tmp_path: Path) -> None:
    """The example that warms the service up need not fit the rules that are served."""
    rules = shutil.copytree(CHECKOUT / "rules", tmp_path / "rules")
    prefetch = rules / "vocabulary" / "prefetch.yaml"
    more = "  encounters: {resource: Encounter, query: 'Encounter?patient={{context.patientId}}'}\n"
    prefetch.write_text(prefetch.read_text() + more)

    with serve(CDS_RULES=str(rules)) as serving:
        services = httpx2.get(f"{serving.url}/cds-services").json()["services"]

    assert all("encounters" in service["prefetch"] for service in services)


def last_attempt(serving: Serving, *, accepted: bool) -> Any:
    """Return the last attempt at a reload, as soon as it is one of this kind."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        attempt = httpx2.get(f"{serving.url}/rules").json().get("last_attempt")
        if attempt and attempt["accepted"] is accepted:
            return attempt
        time.sleep(0.02)
    raise AssertionError("no such attempt within 30 s")


def test_changed_rules_are_taken_and_wrong_ones_refused_without_a_restart(tmp_path: Path) -> None:
    """A running service follows its folder, and every line of its log names the version."""
    rules = few_rules(tmp_path / "rules")  # which are soon tested
    file = rules / "guidance" / "scope" / "inclusion-body-myositis.yaml"

    with serve(CDS_RULES=str(rules), CDS_RELOAD_SECONDS="0.05") as serving:
        first = httpx2.get(serving.url).headers["X-Rules-Version"]
        file.write_text(file.read_text().replace("version: 1.2.0", "version: 1.3.0"))
        second = last_attempt(serving, accepted=True)["version"]
        file.write_text(file.read_text().replace("status: active", "status: actve"))
        (problem,) = last_attempt(serving, accepted=False)["problems"]
        served = httpx2.get(serving.url).headers["X-Rules-Version"]
        status, log = serving.stop()

    lines = [json.loads(line) for line in log.splitlines()][1:]
    assert first != second == served
    assert "guidance/scope/inclusion-body-myositis.yaml:5:1 wrong-type" in problem
    # The same line of each process that takes them counts once.
    assert list(dict.fromkeys((line["event"], line["rules_version"]) for line in lines)) == [
        ("rules_in_service", first),
        ("rules_accepted", second),
        ("rules_refused", second),
    ]
    versions = [x["rules"]["inclusion-body-myositis"] for x in lines if "rules" in x]
    assert versions[0] == "1.2.0"
    assert set(versions[1:]) == {"1.3.0"}
    assert status == 0


def test_with_0_seconds_rules_stay_as_they_were_at_the_start(tmp_path: Path) -> None:
    """A service that is not to look leaves changed files alone."""
    rules = shutil.copytree(CHECKOUT / "rules", tmp_path / "rules")

    with serve(CDS_RULES=str(rules), CDS_RELOAD_SECONDS="0") as serving:
        (rules / "scope.yaml").write_text("")
        time.sleep(0.3)
        status = httpx2.get(f"{serving.url}/rules").json()

    assert "last_attempt" not in status


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({}, "CDS_CLIENTS is not set"),
        ({"CDS_AUTH": "off", "CDS_HOST": "0.0.0.0"}, "CDS_HOST"),
    ],
)
def test_what_may_not_be_served_is_not(settings: dict[str, str], told: str) -> None:
    """Without authentication, and beyond this machine, the service does not start."""
    ended = start(CDS_PORT="0", **settings)

    assert ended.returncode == 1
    assert told in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_list_of_fhir_servers_with_a_mistake_ends_with_status_1() -> None:
    """The variable and the entry are named, and nothing is served."""
    listed = "https://ehr.example/fhir,http://ehr.example/fhir"
    ended = start(CDS_AUTH="off", CDS_PORT="0", CDS_FHIR_SERVERS=listed)

    assert ended.returncode == 1
    assert "CDS_FHIR_SERVERS cannot be used: `http://ehr.example/fhir` would send" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_served_process_fetches_from_the_servers_that_are_listed() -> None:
    """The settings reach the call: a listed server is asked, and its refusal is told and logged."""
    request = json.loads((CHECKOUT / "fhir_examples/rp-ild-mda5.request.json").read_bytes())
    del request["prefetch"]["conditions"]
    request["fhirAuthorization"] = {"access_token": "s3cret-t0ken", "token_type": "Bearer"}
    with serving_fhir({}) as ehr, serve(CDS_FHIR_SERVERS=ehr.base) as running:
        request["fhirServer"] = ehr.base

        answer = httpx2.post(f"{running.url}/cds-services/myositis-patient-view", json=request)
        _, log = running.stop()

    assert answer.status_code == 412
    assert "HTTP status 404" in answer.json()["issue"][0]["diagnostics"]
    assert [asked.headers["Authorization"] for asked in ehr.asked] == ["Bearer s3cret-t0ken"]
    assert "s3cret-t0ken" not in log + answer.text
    assert "rp-ild-mda5" not in log + answer.text


def test_a_served_process_counts_what_it_fetches_with_what_it_was_sent() -> None:
    """The setting of the entries reaches what is fetched."""
    request = json.loads((CHECKOUT / "fhir_examples/rp-ild-mda5.request.json").read_bytes())
    conditions = request["prefetch"].pop("conditions")
    sent = sum(len(held.get("entry", ())) for held in request["prefetch"].values() if held)
    answers = {"Condition?patient=rp-ild-mda5": conditions}
    with (
        serving_fhir(answers) as ehr,
        serve(CDS_FHIR_SERVERS=ehr.base, CDS_MAX_ENTRIES=str(sent)) as running,
    ):
        request["fhirServer"] = ehr.base

        answer = httpx2.post(f"{running.url}/cds-services/myositis-patient-view", json=request)

    assert answer.status_code == 412
    assert "CDS_MAX_ENTRIES" in answer.json()["issue"][0]["diagnostics"]


# --- clients that mean ill ----------------------------------------------------------------------


def converse(url: str, *parts: bytes | None) -> bytes:
    """Send parts one after the other over a connection, and return what comes until its end.

    None stands for waiting until an answer begins. What comes must be as the interface says.
    """
    host, port = url.removeprefix("http://").split(":")
    received = b""
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with contextlib.suppress(ConnectionError):
            for part in parts:
                if part is None:
                    received += connection.recv(65536)
                else:
                    connection.sendall(part)
                    time.sleep(0.05)
            while piece := connection.recv(65536):
                received += piece
    check_conversation(b"".join(part for part in parts if part), received)
    return received


def test_a_served_process_reads_nothing_but_http_1_of_an_orderly_client(serving: Serving) -> None:
    """An upgrade is ignored with the body intact, and trailers without end are refused."""
    body = (CHECKOUT / "fhir_examples/rp-ild-mda5.request.json").read_bytes()
    head = (
        b"POST /cds-services/myositis-patient-view HTTP/1.1\r\nHost: localhost\r\n"
        b"Content-Type: application/json\r\n"
    )
    upgrade = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAM\r\n"
    close = b"GET /cds-services HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"

    length = b"Content-Length: %d\r\n\r\n" % len(body)
    upgraded = converse(serving.url, head + upgrade + length, body, None, close)
    endless = converse(
        serving.url,
        head + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n",
        *[b"X-A: b\r\n" * 60] * 4,
    )

    answers = upgraded.split(b"HTTP/1.1 ")[1:]
    assert [answer[:3] for answer in answers] == [b"200", b"200"]
    assert json.loads(answers[0].partition(b"\r\n\r\n")[2])["cards"][0]["indicator"] == "critical"
    assert endless.startswith(b"HTTP/1.1 431 ")
    assert endless.count(b"HTTP/1.1") == 1


def test_a_served_process_answers_beside_those_who_announce_and_send_nothing() -> None:
    """More of them than may be answered at a time, and than may be held, keep nobody out."""
    body = (CHECKOUT / "fhir_examples/rp-ild-mda5.request.json").read_bytes()
    head = (
        b"POST /cds-services/myositis-patient-view HTTP/1.1\r\nHost: localhost\r\n"
        b"Content-Type: application/json\r\nContent-Length: 8388608\r\n\r\n"
    )
    said = {"Content-Type": "application/json"}
    with serve(CDS_MAX_CALLS="5") as running, contextlib.ExitStack() as open_:
        host, port = running.url.removeprefix("http://").split(":")
        for sent in (b"", b"{") * 20:
            silent = open_.enter_context(socket.create_connection((host, int(port)), timeout=30))
            silent.sendall(head + sent)
        answer = httpx2.post(
            f"{running.url}/cds-services/myositis-patient-view", content=body, headers=said
        )

    assert answer.status_code == 200
    assert answer.json()["cards"][0]["indicator"] == "critical"


def test_a_served_process_lets_nobody_without_a_token_keep_a_connection(clients: Path) -> None:
    """After its 401 a client that drips its body on, or does not read, is soon cut off."""
    head = b"POST /cds-services/myositis-patient-view HTTP/1.1\r\nHost: localhost\r\n"
    with serve(CDS_AUTH="required", CDS_CLIENTS=str(clients)) as running:
        host, port = running.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=30) as connection:
            connection.sendall(head + b"Content-Length: 8000000\r\n\r\n{")
            answer = connection.recv(65536)
            began = time.monotonic()
            with pytest.raises(ConnectionError):
                while time.monotonic() < began + 30:
                    connection.sendall(b" ")
                    time.sleep(0.05)

    check_conversation(head, answer)
    assert answer.startswith(b"HTTP/1.1 401 ")
    assert b"\r\nconnection: close\r\n" in answer


@pytest.mark.parametrize("said", [b"", b"Content-Type: text/plain\r\n"])
def test_a_call_that_is_not_said_to_be_json_is_refused(serving: Serving, said: bytes) -> None:
    """What a page of any origin can send unasked is answered with what to send, and no cards."""
    body = (CHECKOUT / "fhir_examples/rp-ild-mda5.request.json").read_bytes()
    answered = converse(
        serving.url,
        b"POST /cds-services/myositis-patient-view HTTP/1.1\r\n"
        b"Host: localhost\r\nConnection: close\r\n",
        said + b"Content-Length: %d\r\n\r\n" % len(body),
        body,
    )
    head, _, outcome = answered.partition(b"\r\n\r\n")

    assert head.startswith(b"HTTP/1.1 415 Unsupported Media Type\r\n")
    (issue,) = json.loads(outcome)["issue"]
    assert issue["code"] == "not-supported"
    assert "`Content-Type: application/json`" in issue["diagnostics"]


def test_the_port_for_metrics_keeps_the_same_bounds() -> None:
    """A head without end, and a body that nobody waits for, end a connection there as elsewhere."""
    with serve(CDS_METRICS_PORT="0") as running:
        url = re.findall(r"Metrics for Prometheus on (http://\S+)/metrics\n", running.said)[0]
        shown = ""
        while "myositis_cds_rules_in_service" not in shown:  # until a worker has begun
            shown = httpx2.get(f"{url}/metrics").text
        elsewhere = httpx2.get(f"{url}/").status_code
        posted = httpx2.post(f"{url}/metrics", content=b"{}").status_code
        get = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n"
        endless = converse(url, get, *[b"X-A: b\r\n" * 60] * 3)
        early = converse(url, get + b"Content-Length: 8\r\n\r\n")

    assert (elsewhere, posted) == (404, 405)
    assert endless.startswith(b"HTTP/1.1 431 ")
    assert early.startswith(b"HTTP/1.1 200 ")
    assert b"\r\nconnection: close\r\n" in early


def test_what_is_refused_of_connections_and_hosts_is_counted_and_logged() -> None:
    """By reason, and nothing of what was sent."""
    with serve(CDS_METRICS_PORT="0") as running:
        url = re.findall(r"Metrics for Prometheus on (http://\S+)/metrics\n", running.said)[0]
        bad = converse(running.url, b"GET /Hana HTTP/1.1\r\n\r\n")
        other = httpx2.get(f"{running.url}/cds-services", headers={"Host": "hana.example"})
        metrics = httpx2.get(f"{url}/metrics").text
        _, log = running.stop()

    assert bad.startswith(b"HTTP/1.1 400 ")
    assert other.status_code == 421
    assert 'myositis_cds_connections_ended_total{reason="malformed"} 1.0' in metrics
    assert 'myositis_cds_refusals_total{limit="host"} 1.0' in metrics
    events = [(x["event"], x.get("reason")) for x in map(json.loads, log.splitlines())]
    assert ("connection_ended", "malformed") in events
    assert ("host_refused", None) in events
    assert "hana" not in log.lower()


# --- what becomes of the log -------------------------------------------------------------------


def free_port() -> int:
    """Return a port that nobody listens at just now."""
    with socket.create_server(("127.0.0.1", 0)) as found:
        port: int = found.getsockname()[1]
    return port


def full_pipe() -> tuple[int, int]:
    """Open a pipe that takes nothing more until it is read."""
    out, into = os.pipe()
    os.set_blocking(into, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(into, b" " * 1023 + b"\n")
    os.set_blocking(into, True)
    return out, into


def call_until_up(url: str) -> httpx2.Response:
    """Call once the service answers; bounded by the time of the whole test run."""
    body = (CHECKOUT / "fhir_examples/inclusion-body-myositis.request.json").read_bytes()
    while True:
        try:
            return httpx2.post(f"{url}/cds-services/myositis-patient-view", content=body)
        except httpx2.ConnectError:
            time.sleep(0.1)


@contextlib.contextmanager
def serve_into(stdout: int, stderr: int, **settings: str) -> Iterator[tuple[Any, str]]:
    """Serve with these streams; the process and where it is."""
    port = str(free_port())
    process = subprocess.Popen(
        COMMAND,
        cwd=CHECKOUT,
        env=environment(**{"CDS_AUTH": "off", "CDS_PORT": port} | settings),
        stdout=stdout,
        stderr=stderr,
    )
    try:
        yield process, f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


def test_streams_that_nobody_reads_keep_no_call_waiting() -> None:
    """The service starts and answers, and what it logged is there for whoever reads it later."""
    out, stuck_out = full_pipe()
    err, stuck_err = full_pipe()
    with serve_into(stuck_out, stuck_err) as (process, url):
        answers = [call_until_up(url) for _ in range(20)]
        os.close(stuck_out)
        os.close(stuck_err)
        process.terminate()
        with os.fdopen(err, "rb") as reading:
            lines = [json.loads(line) for line in reading if line.strip()]
        status = process.wait(30)
    os.close(out)

    assert {answer.status_code for answer in answers} == {200}
    told = [line["decision"] for line in lines if line["event"] == "call_answered"]
    assert sorted(told) == sorted(answer.headers["X-Decision-Id"] for answer in answers)
    assert status == 0


def test_a_log_that_nobody_ever_reads_does_not_keep_the_service_from_ending() -> None:
    """What still waits is given up after a while."""
    err, stuck = full_pipe()
    with serve_into(subprocess.DEVNULL, stuck) as (process, url):
        answer = call_until_up(url)
        process.terminate()
        status = process.wait(30)
    os.close(err)
    os.close(stuck)

    assert (answer.status_code, status) == (200, 0)


def test_who_stops_the_service_while_it_begins_is_heard() -> None:
    """It ends in order, at whatever step of its start it is."""
    ended = []
    for number in range(4):
        with serve() as running:
            time.sleep(number / 100)
            ended.append(running.stop()[0])

    assert ended == [0, 0, 0, 0]


def test_a_setting_that_there_is_not_is_told_in_the_log() -> None:
    """By its name alone."""
    with serve(CDS_KEEP_DAY="30") as running:
        _, log = running.stop()

    (line,) = [x for x in map(json.loads, log.splitlines()) if x["event"] == "settings_not_known"]
    assert line["names"] == ["CDS_KEEP_DAY"]


def test_a_full_disk_under_the_log_fails_no_call() -> None:
    """Each line that could not be written is counted among the metrics."""
    port = str(free_port())
    with (
        open("/dev/full", "wb", buffering=0) as full,
        serve_into(full.fileno(), full.fileno(), CDS_METRICS_PORT=port) as (_, url),
    ):
        answers = [call_until_up(url) for _ in range(3)]
        while True:  # bounded by the time of the whole test run
            metrics = httpx2.get(f"http://127.0.0.1:{port}/metrics").text
            lost = float(re.findall(r"^myositis_cds_log_lines_lost_total (\S+)", metrics, re.M)[0])
            if lost >= 3:
                break

    assert {answer.status_code for answer in answers} == {200}


def test_closed_streams_are_no_reason_not_to_serve(tmp_path: Path) -> None:
    """Nothing is written into what gets their numbers instead, such as the database."""
    port = free_port()
    state = tmp_path / "state"
    process = subprocess.Popen(
        ["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", *COMMAND],
        cwd=CHECKOUT,
        env=environment(CDS_AUTH="off", CDS_PORT=str(port), CDS_STATE=str(state)),
    )
    try:
        answer = call_until_up(f"http://127.0.0.1:{port}")
        streams = [os.readlink(f"/proc/{process.pid}/fd/{number}") for number in range(3)]
        process.terminate()
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()

    assert answer.status_code == 200
    assert streams == [os.devnull] * 3
    with contextlib.closing(sqlite3.connect(state / "cds.sqlite")) as database:
        assert database.execute("select count(*) from decisions").fetchall() == [(1,)]
        assert database.execute("pragma integrity_check").fetchall() == [("ok",)]
