"""What an operator takes from the repository fits the program: settings, ports, times, users."""

import ast
import configparser
import re
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from cds.settings import Operation, from_environment

CHECKOUT = Path(__file__).resolve().parents[1]
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
    """Return the settings that a text names."""
    return set(re.findall(r"\bCDS_[A-Z_]+\b", text))


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
    assert names_in("\n".join(documented())) == names_in(code)


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


def test_links_of_the_guide_lead_somewhere() -> None:
    """Files and headings that the guide points to exist."""
    text = read("docs/deployment.md")
    headings = {
        re.sub(r"[^a-z0-9 -]", "", heading.lower()).replace(" ", "-")
        for heading in re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    }
    links = re.findall(r"\]\(([^)]+)\)", text)
    assert links
    for link in links:
        if link.startswith("#"):
            assert link[1:] in headings, link
        elif not link.startswith("https://"):
            assert (CHECKOUT / "docs" / link).resolve().exists(), link


def test_the_image_is_of_pinned_bases_that_the_project_supports() -> None:
    """Each stage begins with a full version of Python, one that the package admits."""
    bases = [value.split()[0] for name, value in instructions() if name == "FROM"]
    assert len(bases) == 2
    assert len(set(bases)) == 1
    version = re.fullmatch(r"python:(3\.\d+)\.\d+-slim-bookworm", bases[0])
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


def test_the_example_keeps_patient_data_behind_tls_and_authentication(compose: Any) -> None:
    """Only the proxy has a port outside; clients are authenticated; passwords stand in files."""
    services = compose["services"]
    assert {name for name, service in services.items() if "ports" in service} == {"proxy"}
    settings = services["cds"]["environment"]
    assert settings["CDS_AUTH"] == "required"
    assert (
        settings["CDS_FORWARDED_ALLOW_IPS"]
        == (compose["networks"]["inside"]["ipam"]["config"][0]["subnet"])
    )
    assert re.search(r"://[^/@]*:[^/@]*@", settings["CDS_DATABASE_URL"]) is None
    assert services["cds"]["read_only"] is True
    assert services["cds"]["cap_drop"] == ["ALL"]
    named = {v.partition(":")[0] for s in services.values() for v in s.get("volumes", [])}
    assert set(compose["volumes"]) <= named
    used = {secret for s in services.values() for secret in s.get("secrets", [])}
    assert used == set(compose["secrets"])


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
    assert service["Restart"] == "always"
    # Only the first process is told to stop: it tells its workers, which finish what they began.
    assert service["KillMode"] == "mixed"


def test_systemd_finds_nothing_wrong_with_the_unit(tmp_path: Path) -> None:
    """Where systemd is at hand, it verifies the unit; elsewhere its parts are tested above."""
    verifier = shutil.which("systemd-analyze")
    if verifier is None:
        assert unit().sections() == ["Unit", "Service", "Install"]
        return
    there = read("deploy/myositis-cds.service").replace("/opt/myositis-cds/bin/cds", "/bin/true")
    (tmp_path / "myositis-cds.service").write_text(there)
    verified = subprocess.run(
        [verifier, "verify", str(tmp_path / "myositis-cds.service")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (verified.returncode, verified.stderr) == (0, "")
