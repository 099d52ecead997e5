"""What an operator takes from the repository fits the program: settings, ports, times, users."""

import ast
import configparser
import contextlib
import ipaddress
import json
import re
import socket
import ssl
import subprocess
import sys
import threading
import time
import tomllib
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import psycopg
import pytest
import yaml

from cds.settings import Operation, from_environment
from cds.store.store import Place, open_store
from tests.databases import postgresql
from tests.hooks.test_server import Serving, list_client, serve
from tests.nginx import Proxy, free_port, proxy_before
from tests.programs import find_program

CHECKOUT = Path(__file__).resolve().parents[1]
KEY_FILE = "CDS_PSEUDONYM_KEY_FILE"
KEEP_ALIVE = 75
"""Seconds; cds.hooks.server says so to uvicorn."""


def read(name: str) -> str:
    """Return the text of a file of the repository."""
    return (CHECKOUT / name).read_text(encoding="utf-8")


def documented() -> list[str]:
    """Return the rows of the table in the docstring of cds/settings.py."""
    docstring = ast.get_docstring(ast.parse(read("cds/settings.py"))) or ""
    return [line.replace("``", "`") for line in docstring.splitlines() if line.startswith("|")]


def names_in(text: str) -> set[str]:
    """Return the settings that a text names, also those whose value is said to stand in a file."""
    names = set(re.findall(r"\bCDS_[A-Z_]+\b", text))
    return {name if name == KEY_FILE else name.removesuffix("_FILE") for name in names}


def instructions() -> list[tuple[str, str]]:
    """Return the instructions of the Dockerfile, continued lines joined."""
    text = re.sub(r"^#.*\n", "", read("Dockerfile"), flags=re.MULTILINE).replace("\\\n", " ")
    return [(line.split()[0], line.partition(" ")[2]) for line in text.splitlines() if line]


@pytest.fixture
def compose() -> Any:
    """Read the compose file."""
    return yaml.safe_load(read("compose.yaml"))


def test_every_setting_that_is_read_is_in_the_table() -> None:
    """The table of the module has each variable that the code asks for, and no other."""
    source = read("cds/settings.py")
    code = source.replace(ast.get_docstring(ast.parse(source), clean=False) or "", "")
    assert names_in("\n".join(documented())) == names_in(code) - {"CDS_TEST_"}


def test_the_guide_has_the_table_of_the_settings() -> None:
    """Row by row as the module has it."""
    lines = read("docs/deployment.md").splitlines()
    assert [row for row in documented() if row not in lines] == []


def test_the_defaults_in_the_table_are_those_of_the_program() -> None:
    """What the table says of limits and times is what an empty environment gives."""
    said = dict(
        re.findall(r"^\| `(CDS_\w+)` \|.*\| `(\d+)`", "\n".join(documented()), re.MULTILINE)
    )
    operation = from_environment({}).operation
    assert operation == Operation()
    fields = {
        "CDS_WORKERS": operation.workers,
        "CDS_SHUTDOWN_SECONDS": operation.shutdown_seconds,
        "CDS_MAX_BODY_BYTES": operation.max_body_bytes,
        "CDS_MAX_ENTRIES": operation.max_entries,
        "CDS_MAX_CALLS": operation.max_calls,
        "CDS_MAX_HELD_BYTES": operation.max_held_bytes,
        "CDS_RECEIVE_SECONDS": operation.receive_seconds,
        "CDS_ANSWER_SECONDS": operation.answer_seconds,
    }
    assert {name: float(said[name]) for name in fields} == fields


@pytest.mark.parametrize(
    "file", ["Dockerfile", "compose.yaml", "deploy/myositis-cds.service", "deploy/nginx.conf"]
)
def test_what_is_deployed_names_only_settings_that_there_are(file: str) -> None:
    """A variable that nothing reads would be a promise that nobody keeps."""
    assert names_in(read(file)) <= names_in("\n".join(documented()))


def headings(name: str) -> set[str]:
    """Return the headings of a page, as links name them."""
    return {
        re.sub(r"[^a-z0-9 -]", "", heading.lower()).replace(" ", "-")
        for heading in re.findall(r"^#+ (.*)$", read(name), re.MULTILINE)
    }


def test_links_of_the_guide_lead_somewhere() -> None:
    """Files and headings that the guide points to exist."""
    links = re.findall(r"\]\(([^)]+)\)", read("docs/deployment.md"))
    assert links
    for link in links:
        if link.startswith("https://"):
            continue
        file, _, heading = link.partition("#")
        assert (CHECKOUT / "docs" / file).resolve().exists(), link
        if heading:
            assert heading in headings(f"docs/{file or 'deployment.md'}"), link


def test_the_guide_says_of_each_claim_about_an_ehr_how_well_it_is_known() -> None:
    """Each point about a vendor is marked as read, inferred, or to be asked."""
    guide = read("docs/deployment.md")
    vendors = guide[guide.index("### Epic") :]
    points = re.findall(r"^- \[ \] (.*)$", vendors, re.MULTILINE)
    assert len(points) > 8
    for point in points:
        assert re.match(r"\*(Read|Read in an example only|Inferred|To ask)\*: ", point), point


def test_the_image_is_of_pinned_bases_that_the_project_supports() -> None:
    """Each stage begins with a full version of Python, one that the package admits."""
    bases = [value.split()[0] for name, value in instructions() if name == "FROM"]
    assert len(bases) == 2
    assert len(set(bases)) == 1
    pinned = r"python:(3\.\d+)\.\d+-slim-bookworm(@sha256:[0-9a-f]{64})?"
    version = re.fullmatch(pinned, bases[0])
    assert version
    required = tomllib.loads(read("pyproject.toml"))["project"]["requires-python"]
    assert required == ">=3.11,<3.13"
    assert version[1] in ("3.11", "3.12")


def test_the_image_runs_as_a_user_without_rights_and_can_be_asked_for_its_health() -> None:
    """The last stage ends as a numbered user, has a health check, and runs the command itself."""
    last = instructions()
    last = last[[name for name, _ in last].index("FROM", 1) :]
    said = dict(last)
    assert said["USER"] == "10001"
    assert "/health/live" in said["HEALTHCHECK"]
    assert (said["ENTRYPOINT"], said["CMD"]) == ('["cds"]', '["serve"]')
    assert f"EXPOSE {from_environment({}).port}" in read("Dockerfile")


def test_the_health_of_a_container_is_asked_for_by_no_proxy(service: Serving) -> None:
    """Docker may name one in the environment; a service that does not answer is not well."""
    (asked,) = [value for name, value in instructions() if name == "HEALTHCHECK"]
    command = json.loads(asked.partition("CMD ")[2])

    def status(port: str) -> int:
        environment = {"CDS_PORT": port, "http_proxy": "http://127.0.0.1:1"}
        asking = [sys.executable, *command[1:]]
        return subprocess.run(asking, env=environment, check=False, capture_output=True).returncode

    assert command[:2] == ["python", "-c"]
    assert status(service.url.rpartition(":")[2]) == 0
    assert status(str(free_port())) == 1


def test_the_image_is_built_from_what_is_let_into_it() -> None:
    """What the Dockerfile copies is in the context, and nothing that may hold secrets is."""
    ignored = read(".dockerignore").splitlines()
    assert "*" in ignored
    admitted = {line[1:] for line in ignored if line.startswith("!")}
    copied = [value.split() for name, value in instructions() if name == "COPY"]
    sources = {s for words in copied if "--from=build" not in words for s in words[:-1]}
    assert sources == admitted
    assert all((CHECKOUT / source).exists() for source in sources)
    assert "PIP_CONSTRAINT=constraints.txt" in read("Dockerfile")


def test_only_the_proxy_of_the_example_can_be_reached(compose: Any) -> None:
    """The database shares a network without a way out with the service alone."""
    services = compose["services"]
    assert {name for name, service in services.items() if "ports" in service} == {"proxy"}
    assert services["proxy"]["ports"] == ["443:443"]
    assert compose["networks"]["data"] == {"internal": True}
    assert services["database"]["networks"] == ["data"]
    assert "data" not in services["proxy"]["networks"]


def test_the_example_authenticates_clients_and_believes_its_proxy_alone(compose: Any) -> None:
    """Who calls is said by a token; for whom, by the one address that the proxy has."""
    settings = compose["services"]["cds"]["environment"]
    proxy = compose["services"]["proxy"]["networks"]["inside"]["ipv4_address"]
    subnet = compose["networks"]["inside"]["ipam"]["config"][0]["subnet"]
    assert settings["CDS_AUTH"] == "required"
    assert settings["CDS_FORWARDED_ALLOW_IPS"] == proxy
    assert ipaddress.ip_address(proxy) in ipaddress.ip_network(subnet)


def test_no_container_of_the_example_can_take_the_address_of_another(compose: Any) -> None:
    """Where one address is fixed all are: who starts first would else be given any free one."""
    inside = [
        service["networks"]["inside"]["ipv4_address"]
        for service in compose["services"].values()
        if "inside" in service["networks"]
    ]
    (config,) = compose["networks"]["inside"]["ipam"]["config"]
    _gateway, *free = ipaddress.ip_network(config["subnet"]).hosts()
    assert len(set(inside)) == len(inside) == 2
    assert {ipaddress.ip_address(address) for address in inside} <= set(free)


def test_the_secrets_of_the_example_stand_in_files(compose: Any) -> None:
    """None is in an environment, and each goes only to the container that needs it."""
    services = compose["services"]
    environments = {n: s.get("environment", {}) for n, s in services.items()}
    assert environments["cds"]["CDS_DATABASE_URL_FILE"] == "/run/secrets/database-url"
    assert environments["cds"][KEY_FILE] == "/run/secrets/pseudonym-key"
    assert environments["database"]["POSTGRES_PASSWORD_FILE"] == "/run/secrets/superuser-password"
    for name in ("CDS_DATABASE_URL", "PGPASSWORD", "POSTGRES_PASSWORD"):
        assert all(name not in environment for environment in environments.values())
    assert {n: s.get("secrets", []) for n, s in services.items()} == {
        "proxy": [],
        "cds": ["database-url", "pseudonym-key"],
        "database": ["superuser-password", "database-password"],
    }
    assert set(compose["secrets"]) == {
        "database-url",
        "pseudonym-key",
        "superuser-password",
        "database-password",
    }


def test_the_service_has_no_rights_in_the_example_but_on_its_own_database(
    compose: Any, tmp_path: Path
) -> None:
    """It is no superuser, makes no databases and roles, and owns what it keeps its records in."""
    database = compose["services"]["database"]
    assert (
        "./deploy/database.sql:/docker-entrypoint-initdb.d/database.sql:ro" in database["volumes"]
    )
    assert database["environment"]["POSTGRES_USER"] == "postgres"

    (tmp_path / "password").write_text("it's s3cret\n")
    script = read("deploy/database.sql")
    assert "/run/secrets/database-password" in script
    # The superuser of the tests has the name already.
    for old, new in (
        ("/run/secrets/database-password", str(tmp_path / "password")),
        (" cds", " served"),
    ):
        script = script.replace(old, new)
    with postgresql() as url:
        psql = ["psql", "--no-psqlrc", "--set", "ON_ERROR_STOP=1", url]
        subprocess.run(psql, input=script, check=True, text=True, capture_output=True)
        with psycopg.connect(url) as connection:
            role = connection.execute(
                "SELECT rolcanlogin, rolsuper, rolcreatedb, rolcreaterole, rolreplication,"
                " rolbypassrls, rolpassword LIKE 'SCRAM-SHA-256$%' FROM pg_authid"
                " WHERE rolname = 'served'"
            ).fetchone()
            owner = connection.execute(
                "SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = 'served'"
            ).fetchone()
        own = url.replace("cds@/postgres", "served@/served")
        open_store(Place(tmp_path / "state", own)).close()
        with psycopg.connect(own) as connection:
            kept = connection.execute("SELECT count(*) FROM pg_tables WHERE tableowner = 'served'")
            tables = kept.fetchone()

    assert role == (True, False, False, False, False, False, True)
    assert owner == ("served",)
    assert tables is not None
    assert tables[0] > 0


@pytest.mark.parametrize("name", ["proxy", "cds", "database"])
def test_each_container_of_the_example_may_do_little(compose: Any, name: str) -> None:
    """It writes nowhere but to its volumes and to memory, has no rights, and bounds its log."""
    service = compose["services"][name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "cap_add" not in service
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["logging"]["options"]["max-size"]
    assert service["ulimits"] == {"core": 0}
    # The user of its own image is tested above.
    assert name == "cds" or not service["user"].startswith("0")


@pytest.mark.parametrize("name", ["proxy", "database"])
def test_the_images_of_the_example_are_pinned(compose: Any, name: str) -> None:
    """To a full version: what is tried is what runs."""
    assert re.search(r":\d+\.\d+(\.\d+)?-", compose["services"][name]["image"])


def test_every_volume_of_the_example_is_used(compose: Any) -> None:
    """A volume that nothing mounts would keep nothing."""
    services = compose["services"].values()
    named = {v.partition(":")[0] for s in services for v in s.get("volumes", [])}
    assert set(compose["volumes"]) <= named


def test_nothing_is_stopped_before_it_may_be(compose: Any) -> None:
    """What starts the service waits longer than the service does for calls that have begun."""
    allowed = from_environment({}).operation.shutdown_seconds
    assert int(compose["services"]["cds"]["stop_grace_period"].removesuffix("s")) > allowed
    assert int(unit()["Service"]["TimeoutStopSec"]) > allowed


def test_the_proxy_waits_and_admits_as_much_as_the_service() -> None:
    """Its refusals say less than those of the service, so its limits lie beyond them."""
    proxy = read("deploy/nginx.conf")
    operation = from_environment({}).operation

    def number(name: str) -> int:
        return int(re.findall(rf"\b{name} (\d+)", proxy)[0])

    assert number("client_max_body_size") * 1024**2 > operation.max_body_bytes
    assert number("proxy_read_timeout") > operation.answer_seconds
    assert number("keepalive_timeout") < KEEP_ALIVE
    assert "KEEP_ALIVE_SECONDS = 75" in read("cds/hooks/server.py")
    assert "proxy_set_header X-Forwarded-For $remote_addr;" in proxy
    assert "proxy_set_header X-Forwarded-Proto https;" in proxy
    assert proxy.count("{") == proxy.count("}")


def unit() -> configparser.ConfigParser:
    """Read the systemd unit; of a key given more than once the last counts."""
    parsed = configparser.ConfigParser(strict=False, interpolation=None, delimiters=("=",))
    parsed.optionxform = str  # type: ignore[assignment,method-assign]  # keys keep their case
    parsed.read_string(read("deploy/myositis-cds.service"))
    return parsed


def test_the_unit_runs_the_command_without_rights() -> None:
    """It serves as a user of its own, sees nothing else as writable, and is started again."""
    service = unit()["Service"]
    assert service["ExecStart"].endswith("/bin/cds serve")
    assert service["DynamicUser"] == service["NoNewPrivileges"] == "yes"
    assert service["ProtectSystem"] == "strict"
    assert service["CapabilityBoundingSet"] == ""
    assert service["LimitCORE"] == "0"
    assert service["Restart"] == "always"
    # Only the first process is told to stop: it tells its workers, which finish what they began.
    assert service["KillMode"] == "mixed"


def test_the_unit_has_its_secrets_from_systemd() -> None:
    """As credentials, of which the environment has the paths only."""
    lines = read("deploy/myositis-cds.service").splitlines()
    loaded = [x.partition("=")[2].split(":")[0] for x in lines if x.startswith("LoadCredential=")]
    told = [x.removeprefix("Environment=") for x in lines if x.startswith("Environment=")]
    assert loaded == ["database-url", "pseudonym-key"]
    assert told == [
        "CDS_STATE=%S/myositis-cds",
        "CDS_DATABASE_URL_FILE=%d/database-url",
        f"{KEY_FILE}=%d/pseudonym-key",
    ]


def systemd_analyze(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Ask systemd about the unit, as if the program were installed."""
    found = find_program(
        "systemd-analyze", title="systemd", package="systemd", required_by="CDS_TEST_SYSTEMD"
    )
    there = read("deploy/myositis-cds.service").replace("/opt/myositis-cds/bin/cds", "/bin/true")
    file = folder / "myositis-cds.service"
    file.write_text(there)
    return subprocess.run(
        [found, *arguments, str(file)], capture_output=True, text=True, check=False
    )


def test_where_systemd_is_required_its_tests_are_not_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before a change lands they must have run; elsewhere they may be skipped."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("CDS_TEST_SYSTEMD", "required")
    with pytest.raises(pytest.fail.Exception, match="apt-get install systemd"):
        systemd_analyze(tmp_path, "verify")
    monkeypatch.delenv("CDS_TEST_SYSTEMD")
    with pytest.raises(pytest.skip.Exception):
        systemd_analyze(tmp_path, "verify")
    assert "export CDS_TEST_SYSTEMD=required" in read(".ci/run")


def test_systemd_finds_nothing_wrong_with_the_unit(tmp_path: Path) -> None:
    """Every section and key is known to it, and every value is one."""
    verified = systemd_analyze(tmp_path, "verify")
    assert (verified.returncode, verified.stderr) == (0, "")


def test_systemd_finds_the_unit_little_exposed(tmp_path: Path) -> None:
    """At most 1.5 of 10, most of which is that it may use the network."""
    judged = systemd_analyze(tmp_path, "security", "--offline=true", "--threshold=15")
    assert judged.returncode == 0, judged.stdout


# --- the proxy, as it runs -----------------------------------------------------------------------


CALL = "/cds-services/myositis-patient-view"
SECURE = {
    "content-type": "application/json",
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
    "strict-transport-security": "max-age=31536000",
}


@pytest.fixture(scope="module")
def service() -> Iterator[Serving]:
    """Serve, believing a proxy on this machine."""
    with serve(CDS_FORWARDED_ALLOW_IPS="127.0.0.1") as running:
        yield running


@pytest.fixture(scope="module")
def proxied(service: Serving, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx2.Client]:
    """Call the service through the proxy that is deployed."""
    port = int(service.url.rpartition(":")[2])
    with proxy_before(port, tmp_path_factory.mktemp("nginx")) as proxy:
        yield client_of(proxy)


def client_of(proxy: Proxy) -> httpx2.Client:
    """Make a client that trusts the certificate of a proxy."""
    return httpx2.Client(
        base_url=proxy.url,
        verify=proxy.trust,
        trust_env=False,
        timeout=30,
        headers={"Content-Type": "application/json"},
    )


class Recorder:
    """A server that notes what it gets, byte by byte, and answers each request with 200."""

    def __init__(self, *, silent: bool = False) -> None:
        self.got: list[bytes] = []
        self._silent = silent
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listening.accept()
                threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        got = b""
        while b"\r\n\r\n" not in got or (b"chunked" in got and b"\r\n0\r\n" not in got):
            part = connection.recv(65536)
            if not part:
                return
            got += part
        self.got.append(got)
        if not self._silent:
            connection.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{}")
            connection.close()

    def close(self) -> None:
        """Take no more."""
        self._listening.close()


@pytest.fixture
def recorder() -> Iterator[Recorder]:
    """Record what the proxy passes on."""
    recording = Recorder()
    yield recording
    recording.close()


def is_outcome(answer: httpx2.Response, status: int, code: str, retry: str | None) -> bool:
    """Whether the proxy itself refused with this OperationOutcome, and with safe headers."""
    (issue,) = answer.json()["issue"]
    assert answer.json()["resourceType"] == "OperationOutcome"
    assert {name: answer.headers[name] for name in SECURE} == SECURE
    assert answer.headers.get("retry-after") == retry
    return (answer.status_code, issue["code"]) == (status, code)


def raw(proxy: Proxy, request: bytes) -> bytes:
    """Send bytes over TLS, and read until the other side ends."""
    plain = socket.create_connection(("127.0.0.1", proxy.port), timeout=30)
    with proxy.trust.wrap_socket(plain, server_hostname="localhost") as secure:
        secure.sendall(request)
        answer = b""
        while part := secure.recv(65536):
            answer += part
    return answer


def test_a_call_through_the_proxy_is_answered_with_cards(proxied: httpx2.Client) -> None:
    """The headers of the service come through once, and HTTPS is known to it."""
    body = (CHECKOUT / "fhir_examples/rp-ild-mda5.request.json").read_bytes()

    answer = proxied.post(CALL, content=body)

    assert answer.status_code == 200
    assert answer.json()["cards"][0]["indicator"] == "critical"
    assert {name: answer.headers[name] for name in SECURE} == SECURE
    assert "retry-after" not in answer.headers
    assert answer.headers["X-Decision-Id"]


def test_what_the_service_refuses_comes_through_as_it_said_it(proxied: httpx2.Client) -> None:
    """Its limits lie below those of the proxy, and its words are its own."""
    large = proxied.post(CALL, content=b" " * (8 * 1024**2 + 1))
    unknown = proxied.get("/nothing")

    assert large.status_code == 413
    assert "CDS_MAX_BODY_BYTES" in large.text
    assert unknown.status_code == 404
    assert unknown.headers["X-Rules-Version"]


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_beyond_the_limit_of_the_proxy_is_refused(
    proxied: httpx2.Client, chunked: bool
) -> None:
    """With an OperationOutcome, whether its length is told or found out; again would not help."""
    pieces = (b" " * 1024**2 for _ in range(10))
    answer = proxied.post(CALL, content=pieces if chunked else b"".join(pieces))

    assert is_outcome(answer, 413, "too-long", None)


@pytest.mark.parametrize(
    "path",
    ["/health/ready", "/health/live", "//health/live", "/x/../health/live", "/%68ealth/live"],
)
def test_whether_the_service_is_well_is_not_published(proxied: httpx2.Client, path: str) -> None:
    """However the address is written."""
    url = httpx2.URL(str(proxied.base_url)).copy_with(raw_path=path.encode())
    assert is_outcome(proxied.get(url), 404, "not-found", None)


def test_the_addresses_of_errors_are_none_of_clients(proxied: httpx2.Client) -> None:
    """They are for the proxy itself."""
    assert is_outcome(proxied.get("/.away"), 404, "not-found", None)


def test_a_head_that_is_too_large_is_refused(proxied: httpx2.Client) -> None:
    """A token of 8 KiB passes, and a header of 17 KiB does not; nor does such an address."""
    with_token = proxied.get("/", headers={"Authorization": f"Bearer {'x' * 8192}"})
    too_large = proxied.get("/", headers={"X-Other": "x" * 17 * 1024})
    too_long = proxied.get(f"/{'x' * 17 * 1024}")

    assert with_token.status_code == 200
    assert is_outcome(too_large, 400, "invalid", None)
    assert is_outcome(too_long, 414, "too-long", None)


def test_what_is_no_https_is_refused(proxied: httpx2.Client) -> None:
    """Plain HTTP at the port of TLS is told so, and leads nowhere."""
    answer = httpx2.get(str(proxied.base_url).replace("https", "http"), trust_env=False)
    assert is_outcome(answer, 400, "invalid", None)


@pytest.mark.parametrize(
    ("version", "accepted"),
    [
        (ssl.TLSVersion.TLSv1_1, False),
        (ssl.TLSVersion.TLSv1_2, True),
        (ssl.TLSVersion.TLSv1_3, True),
    ],
)
def test_tls_before_1_2_is_refused(
    proxied: httpx2.Client, version: ssl.TLSVersion, accepted: bool
) -> None:
    """By the proxy: the client of this test would speak it."""
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
    old.set_ciphers("ALL:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        old.minimum_version = old.maximum_version = version
    refused = contextlib.nullcontext() if accepted else pytest.raises(ssl.SSLError)
    port = httpx2.URL(str(proxied.base_url)).port
    with refused, socket.create_connection(("127.0.0.1", port or 0)) as plain:
        old.wrap_socket(plain).close()


def test_who_calls_is_said_by_the_proxy_and_not_by_the_client(
    recorder: Recorder, tmp_path: Path
) -> None:
    """What a client sends as forwarded is replaced, and it cannot ask for another protocol."""
    sent = {
        "Authorization": "Bearer kept",
        "X-Forwarded-For": "198.51.100.7",
        "X-Forwarded-Proto": "http",
        "X-Forwarded-Host": "elsewhere.example",
        "X-Forwarded-Port": "99",
        "X-Forwarded-Prefix": "/elsewhere",
        "X-Real-IP": "198.51.100.7",
        "Forwarded": "for=198.51.100.7",
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "TE": "trailers",
    }
    with proxy_before(recorder.port, tmp_path) as proxy:
        answer = client_of(proxy).get("/a%2Fb?c=%7C", headers=sent)

    line, *headers = recorder.got[0].decode().lower().split("\r\n\r\n")[0].split("\r\n")
    told = dict(header.split(": ", 1) for header in headers)
    assert answer.status_code == 200
    assert line == "get /a%2fb?c=%7c http/1.1"
    assert told["authorization"] == "bearer kept"
    assert {n: v for n, v in told.items() if "forward" in n or n == "x-real-ip"} == {
        "x-forwarded-for": "127.0.0.1",
        "x-forwarded-proto": "https",
    }
    assert not {"upgrade", "te", "connection"} & told.keys()


def test_trailers_are_not_passed_on(recorder: Recorder, tmp_path: Path) -> None:
    """Headers behind the body would come past all that looks at headers."""
    with proxy_before(recorder.port, tmp_path) as proxy:
        answer = raw(
            proxy,
            b"POST / HTTP/1.1\r\nHost: localhost\r\nTrailer: X-Forwarded-For\r\n"
            b"Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
            b"2\r\n{}\r\n0\r\nX-Forwarded-For: 198.51.100.7\r\n\r\n",
        )

    assert answer.startswith(b"HTTP/1.1 200")
    assert b"{}" in recorder.got[0]
    assert b"198.51.100.7" not in recorder.got[0]
    assert b"trailer" not in recorder.got[0].lower()


def test_a_service_that_is_away_is_told_as_such(tmp_path: Path) -> None:
    """With the time after which it may be back."""
    with proxy_before(free_port(), tmp_path) as proxy:
        assert is_outcome(client_of(proxy).post(CALL, json={}), 502, "transient", "5")


def test_a_service_that_does_not_answer_is_told_as_such(tmp_path: Path) -> None:
    """No client waits for ever."""
    silent = Recorder(silent=True)
    with proxy_before(silent.port, tmp_path, proxy_read_timeout="1s") as proxy:
        assert is_outcome(client_of(proxy).get("/"), 504, "timeout", "5")
    silent.close()


def test_who_calls_too_often_is_told_to_wait(recorder: Recorder, tmp_path: Path) -> None:
    """Beyond the rate of an address, as far as that is bounded."""
    limit = {"limit_req": "zone=cds_requests burst=1 nodelay"}
    rate = {"limit_req_zone": "$binary_remote_addr zone=cds_requests:1m rate=1r/m"}
    with proxy_before(recorder.port, tmp_path, **rate, **limit) as proxy:
        answers = [client_of(proxy).get("/") for _ in range(3)]

    assert [answer.status_code for answer in answers[:2]] == [200, 200]
    assert is_outcome(answers[2], 429, "throttled", "1")


def test_who_holds_too_many_connections_is_told_to_wait(tmp_path: Path) -> None:
    """Calls of one address that are under way are bounded."""
    silent = Recorder(silent=True)
    with proxy_before(silent.port, tmp_path, limit_conn="cds_connections 1") as proxy:

        def wait() -> None:
            with contextlib.suppress(httpx2.TransportError):
                client_of(proxy).get("/")

        threading.Thread(target=wait, daemon=True).start()
        while not silent.got:  # bounded by the time of the whole test run
            time.sleep(0.01)
        answer = client_of(proxy).get("/")
    silent.close()

    assert is_outcome(answer, 429, "throttled", "1")


def test_who_has_no_token_is_refused_before_a_body_is_read(tmp_path: Path) -> None:
    """Through the proxy too: at once where the body does not come, and in peace where it does."""
    clients = list_client(tmp_path)
    with serve(
        CDS_AUTH="required", CDS_CLIENTS=str(clients), CDS_FORWARDED_ALLOW_IPS="127.0.0.1"
    ) as running:
        port = int(running.url.rpartition(":")[2])
        with proxy_before(port, tmp_path) as proxy:
            whole = [client_of(proxy).post(CALL, content=b" " * 8 * 1024**2) for _ in range(5)]
            waiting = raw(
                proxy,
                f"POST {CALL} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
                "Content-Length: 1000000\r\n\r\n".encode(),
            )

    assert [(answer.status_code, answer.content) for answer in whole] == [(401, b"")] * 5
    assert waiting.startswith(b"HTTP/1.1 401 ")
