import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey
from typer.testing import CliRunner, Result

from cds import cli

KEY = ECKey.generate_key("P-384", {"kid": "one"})
ISSUER = "https://ehr.hospital.example"
BASE = "https://cds.hospital.example"


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A list with one client, and no settings."""
    monkeypatch.delenv("CDS_CLIENTS", raising=False)
    (tmp_path / "keys.json").write_text(json.dumps({"keys": [KEY.as_dict(private=False)]}))
    path = tmp_path / "clients.yaml"
    path.write_text(
        f"clients:\n  - name: Example\n    issuer: {ISSUER}\n    jwks_file: keys.json\n"
        f"    audience: [{BASE}]\n    tenants: [north, south]\n"
    )
    return path


def run(*arguments: object, stdin: str = "") -> Result:
    """Run ``cds clients``."""
    return CliRunner().invoke(cli.app, ["clients", *map(str, arguments)], input=stdin)


def token(path: str = "/cds-services", **header: str) -> str:
    """A token that the client makes now."""
    now = int(time.time())
    said = {"iss": ISSUER, "aud": BASE + path, "iat": now, "exp": now + 300, "jti": "1"}
    return jwt.encode(
        {"alg": "ES384", "kid": "one"} | header, said | {"tenant": "north"}, KEY, ["ES384"]
    )


def test_clients_are_listed_with_their_keys(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file is named, or CDS_CLIENTS does."""
    named = run("check", file)
    monkeypatch.setenv("CDS_CLIENTS", str(file))
    assert run("check").stdout == named.stdout
    assert named.exit_code == 0
    assert named.stdout.splitlines() == [
        "Example",
        f"  issuer        {ISSUER}",
        f"  keys          {file.parent / 'keys.json'}",
        "                one  EC, 384 bits",
        f"  audience      {BASE}",
        "  tenants       north, south",
        "  FHIR servers  none: nothing is fetched",
        "",
        "1 client, no errors",
    ]


def test_a_client_without_keys_fails_the_check(file: Path) -> None:
    """Nothing answers at the address; the others are listed all the same."""
    file.write_text(
        file.read_text() + "  - name: Other\n    issuer: urn:other\n"
        f"    jku: http://127.0.0.1:9/keys\n    audience: [{BASE}]\n"
    )
    result = run("check", file)
    assert result.exit_code == 1
    assert "one  EC, 384 bits" in result.stdout
    assert "NONE: it could not be fetched (ConnectError)" in result.stdout
    assert result.stderr == "Without keys, no call of 1 of 2 clients is accepted.\n"


def test_a_mistake_in_the_list_is_told(file: Path) -> None:
    """With line and column, and status 1."""
    file.write_text(file.read_text().replace("issuer:", "isuer:"))
    result = run("check", file)
    assert result.exit_code == 1
    assert f"{file}:3:5 unknown-key `isuer`" in result.stderr


def test_without_a_list_it_is_asked_for(file: Path) -> None:
    """Neither named nor in CDS_CLIENTS."""
    result = run("check")
    assert result.exit_code == 1
    assert result.stderr == "Which list of clients? Name the file, or set CDS_CLIENTS.\n"


@pytest.mark.parametrize("before", ["", "Bearer ", "Authorization: Bearer "])
def test_a_token_that_would_be_accepted_is_said_to_be(file: Path, before: str) -> None:
    """As often as is asked, however it was copied, with what stands in it."""
    sent = token("/cds-services/myositis-patient-view")
    for _ in range(2):
        result = run(
            *("token", file, "--path", "/cds-services/myositis-patient-view"),
            stdin=f"{before}{sent}\n",
        )
        assert result.exit_code == 0, result.stderr
        assert '"kid":"one"' in result.stdout
        assert result.stdout.endswith("accepted, as a token of Example, tenant north\n")


@pytest.mark.parametrize(
    ("sent", "told"),
    [
        # Made when the test is run: by then a token made before all tests may have expired.
        (lambda: token("/rules"), f"refused: audience: `aud` is {BASE}/rules\n"),
        (lambda: token(kid="two"), "refused: unknown-key\n"),
        (lambda: "nonsense", "refused: malformed: it is not a signed JWT\n"),
        (lambda: "", "refused: malformed: it is not a signed JWT\n"),
    ],
)
def test_a_token_that_would_be_refused_is_told_why(
    file: Path, sent: Callable[[], str], told: str
) -> None:
    """With the reason that the service would log, and status 1."""
    result = run("token", file, stdin=sent())
    assert result.exit_code == 1
    assert result.stderr == told
