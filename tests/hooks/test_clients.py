import json
from ipaddress import ip_network
from pathlib import Path
from textwrap import dedent

import pytest
from joserfc.jwk import ECKey

from cds.fhir.servers import Server
from cds.hooks.clients import Client, read_clients
from cds.located import FilesInvalid

CHECKOUT = Path(__file__).resolve().parents[2]
KEY = ECKey.generate_key("P-384", {"kid": "one"})

GOOD = """\
clients:
  - name: Example University Hospital
    issuer: https://ehr.hospital.example/fhir
    jku: https://ehr.hospital.example/keys?set=cds
    audience: [https://cds.hospital.example/, https://internal.example/myositis]
    tenants: [2ddd6c3a]
    fhir_servers: [https://ehr.hospital.example/fhir/]
  - name: A trial
    issuer: urn:trial
    jwks_file: keys/trial.json
    audience: [http://127.0.0.1:8000]
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A list of two clients, with the keys of the second beside it."""
    (tmp_path / "keys").mkdir()
    write_keys(tmp_path, private=False)
    path = tmp_path / "clients.yaml"
    path.write_text(GOOD, encoding="utf-8")
    return path


def write_keys(folder: Path, *, private: bool) -> None:
    """Write the key set of the second client."""
    content = json.dumps({"keys": [KEY.as_dict(private=private)]})
    (folder / "keys" / "trial.json").write_text(content, encoding="utf-8")


def problems(file: Path) -> list[str]:
    """What is wrong with a list, as ``line:column CODE message``."""
    with pytest.raises(FilesInvalid) as refused:
        read_clients(file)
    return [str(problem).removeprefix(f"{file}:") for problem in refused.value.problems]


def test_clients_are_read_as_they_are_written(file: Path) -> None:
    """Slashes at the end of base URLs are taken off, and a key file lies beside the list."""
    assert read_clients(file) == (
        Client(
            name="Example University Hospital",
            issuer="https://ehr.hospital.example/fhir",
            jku="https://ehr.hospital.example/keys?set=cds",
            audience=("https://cds.hospital.example", "https://internal.example/myositis"),
            tenants=("2ddd6c3a",),
            fhir_servers=(Server("https://ehr.hospital.example/fhir"),),
        ),
        Client(
            name="A trial",
            issuer="urn:trial",
            jwks_file=file.parent / "keys/trial.json",
            audience=("http://127.0.0.1:8000",),
        ),
    )


def test_the_keys_of_a_client_are_in_its_file_or_at_its_address(file: Path) -> None:
    """One of the two is where to look."""
    assert [client.keys for client in read_clients(file)] == [
        "https://ehr.hospital.example/keys?set=cds",
        file.parent / "keys/trial.json",
    ]


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:9", "[::1]:9"])
def test_http_is_read_from_this_machine(file: Path, host: str) -> None:
    """For a trial beside an EHR that runs here too."""
    file.write_text(GOOD.replace("jku: https://ehr.hospital.example", f"jku: http://{host}"))
    assert read_clients(file)[0].jku == f"http://{host}/keys?set=cds"


@pytest.mark.parametrize(
    ("right", "wrong", "told"),
    [
        # --- the file
        (GOOD, "", "1:1 empty"),
        (GOOD, "clients: [\n", "2:1 not-yaml"),
        (GOOD, "clients: []\n", "1:1 blank names no client"),
        (GOOD, "clients: {}\n", "1:1 wrong-type should be a list"),
        (GOOD, "clients: [one]\n", "1:11 wrong-type should be a mapping"),
        # --- names
        ("name: A trial", "name: ''", "8:5 blank `name` is empty"),
        ("issuer: urn:trial", "issuer: ' '", "9:5 blank `issuer` is empty"),
        ("tenants: [2ddd6c3a]", "tenant: [a]", "6:5 unknown-key `tenant` is not known here (did"),
        ("    issuer: urn:trial\n", "", "8:5 missing-key `issuer` is missing"),
        (
            "name: A trial",
            "name: Example University Hospital",
            "8:5 duplicate-client another client has this name too (line 2)",
        ),
        (
            "issuer: urn:trial",
            "issuer: https://ehr.hospital.example/fhir",
            "9:5 duplicate-client another client has this issuer too (line 3)",
        ),
        # --- keys
        ("    jwks_file: keys/trial.json\n", "", "8:5 no-key-set has neither of"),
        (
            "    jwks_file: keys/trial.json\n",
            "    jwks_file: keys/trial.json\n    jku: https://trial.example/keys\n",
            "11:5 no-key-set has both of",
        ),
        ("keys/trial.json", "keys/none.json", "10:5 bad-key-set "),
        ("keys/trial.json", "keys", "10:5 bad-key-set "),
        ("keys/trial.json", "clients.yaml", "10:5 bad-key-set "),
        (
            "jku: https://ehr.hospital.example",
            "jku: http://ehr.hospital.example",
            "4:5 bad-address `http://ehr.hospital.example/keys?set=cds` is read without encryption",
        ),
        (
            "jku: https://ehr.hospital.example",
            "jku: http://localhost.evil.example",
            "4:5 bad-address `http://localhost.evil.example/keys?set=cds` is read without",
        ),
        ("jku: https://", "jku: ", "4:5 bad-address `ehr.hospital.example/keys?set=cds` is not"),
        ("jku: https:", "jku: file:", "4:5 bad-address `file://ehr.hospital.example/keys"),
        # --- addresses
        ("[http://127.0.0.1:8000]", "[]", "11:5 blank names no URL"),
        ("[http://127.0.0.1:8000]", "['127.0.0.1:8000']", "11:16 bad-address `127.0.0.1:8000`"),
        ("[http://127.0.0.1:8000]", "[/cds-services]", "11:16 bad-address `/cds-services`"),
        ("[http://127.0.0.1:8000]", "['https://']", "11:16 bad-address `https://`"),
        ("[http://127.0.0.1:8000]", "['https://a:99999']", "11:16 bad-address `https://a:99999`"),
        ("[http://127.0.0.1:8000]", "['https://a b']", "11:16 bad-address `https://a b`"),
        ("[http://127.0.0.1:8000]", "['https://[::1']", "11:16 bad-address `https://[::1`"),
        ("[http://127.0.0.1:8000]", "['https://a?b=c']", "11:16 bad-address `https://a?b=c` has"),
        (
            "[http://127.0.0.1:8000]",
            "[https://a/cds-services/]",
            "11:16 bad-address ends with /cds-services: write what stands before it",
        ),
        (
            "fhir_servers: [https:",
            "fhir_servers: [http:",
            "7:20 bad-address `http://ehr.hospital.example/fhir/` would send",
        ),
        (
            "fhir_servers: [https://",
            "fhir_servers: [https://me:secret@",
            "7:20 bad-address the address of ehr.hospital.example holds a name or password",
        ),
        (
            "fhir_servers: [https://ehr.hospital.example/fhir/",
            "fhir_servers: ['https://ehr.hospital.example/fhir#x'",
            "7:20 bad-address `https://ehr.hospital.example/fhir#x` has more than a path",
        ),
        ("tenants: [2ddd6c3a]", "tenants: 2ddd6c3a", "6:5 wrong-type should be a list"),
        # --- who calls
        ("name: A trial", "name: A trial/2", "8:5 bad-name has a slash"),
        ("name: A trial", f"name: {'x' * 101}", "8:5 bad-name has a slash"),
        ("name: A trial", 'name: "A\\ntrial"', "8:5 bad-name has a slash"),
        ("[2ddd6c3a]", "['']", "6:15 bad-tenant is empty"),
        ("[2ddd6c3a]", "[]", "6:5 blank names no tenant, so every token is refused"),
        ("[2ddd6c3a]", f"[a, {'x' * 100}]", "6:18 bad-tenant is empty, longer than 99"),
    ],
)
def test_what_is_wrong_is_told_at_its_place(file: Path, right: str, wrong: str, told: str) -> None:
    """Each mistake with line and column, and what to do about it."""
    assert right in GOOD
    file.write_text(GOOD.replace(right, wrong), encoding="utf-8")
    (problem,) = problems(file)
    assert problem.startswith(told)


@pytest.mark.parametrize("name", ["clients.yaml", "keys/trial.json"])
def test_what_everyone_may_change_is_refused(file: Path, name: str) -> None:
    """Whoever can write there lets in whom they like; those of a group may be meant to."""
    changed = file.parent / name
    changed.chmod(0o664)
    assert len(read_clients(file)) == 2
    changed.chmod(0o666)
    (problem,) = problems(file)
    assert "everyone may change" in problem
    assert problem.endswith(f"chmod o-w {changed}")


def test_a_misspelt_key_is_told_with_the_one_that_was_meant(file: Path) -> None:
    """And that the right one is missing."""
    file.write_text(GOOD.replace("issuer: urn", "isuer: urn"), encoding="utf-8")
    assert problems(file) == [
        "8:5 missing-key `issuer` is missing",
        "9:5 unknown-key `isuer` is not known here (did you mean `issuer`?)",
    ]


def test_every_mistake_is_told_at_once(file: Path) -> None:
    """A mistake in one client hides none in another."""
    wrong = GOOD.replace("jku: https", "jku: http").replace("keys/trial", "keys/none")
    file.write_text(wrong.replace("audience: [http:", "audence: [http:"), encoding="utf-8")
    assert [problem.split()[1] for problem in problems(file)] == [
        "bad-address",
        "missing-key",
        "unknown-key",
    ]


def test_a_password_in_an_address_is_not_repeated(file: Path) -> None:
    """What is told goes to terminals and tickets."""
    file.write_text(GOOD.replace("https://ehr", "https://me:secret@ehr"), encoding="utf-8")
    assert "secret" not in " ".join(problems(file))


def test_a_private_key_is_refused(file: Path) -> None:
    """It lies where it should never have come to, so it must be replaced."""
    write_keys(file.parent, private=True)
    (problem,) = problems(file)
    assert problem.startswith("10:5 bad-key-set ")
    assert "key 1 holds its private part: replace the key by a new one" in problem
    assert str(KEY.as_dict(private=True)["d"]) not in problem


def test_a_list_that_is_not_there_is_told(tmp_path: Path) -> None:
    """The file is named."""
    (problem,) = problems(tmp_path / "clients.yaml")
    assert problem.startswith("1:1 unreadable cannot be read: No such file")


def test_the_example_of_the_guide_is_right(tmp_path: Path) -> None:
    """What docs/authentication.md shows can be copied."""
    guide = (CHECKOUT / "docs/authentication.md").read_text(encoding="utf-8")
    example = guide.partition("```yaml\n")[2].partition("```")[0]
    file = tmp_path / "clients.yaml"
    file.write_text(dedent(example), encoding="utf-8")
    (client,) = read_clients(file)
    assert client.name == "Example University Hospital"
    assert client.tenants and client.fhir_servers


def test_networks_of_the_fhir_servers_may_be_listed_beside_them(file: Path) -> None:
    """A hospital's own server usually has a private address, which the list must name."""
    listed = GOOD.replace("example/fhir/]", "example/fhir/, 10.20.0.0/16]")
    file.write_text(listed, encoding="utf-8")

    assert read_clients(file)[0].fhir_servers == (
        Server("https://ehr.hospital.example/fhir", (ip_network("10.20.0.0/16"),)),
    )


# --- several clients of one issuer ---------------------------------------------------------------

ONE_ISSUER = """\
clients:
  - name: North
    issuer: https://vendor.example
    jku: https://vendor.example/keys
    audience: [https://cds.north.example]
    tenants: [n1, n2]
    fhir_servers: [https://vendor.example/north]
  - name: South
    issuer: https://vendor.example
    jku: https://vendor.example/keys
    audience: [https://cds.south.example]
    tenants: [s1]
    fhir_servers: [https://vendor.example/south]
"""


def test_clients_of_one_issuer_have_their_own_servers_and_audience(file: Path) -> None:
    """Their tenants tell them apart."""
    file.write_text(ONE_ISSUER, encoding="utf-8")

    assert [(c.name, c.audience, c.fhir_servers[0].base) for c in read_clients(file)] == [
        ("North", ("https://cds.north.example",), "https://vendor.example/north"),
        ("South", ("https://cds.south.example",), "https://vendor.example/south"),
    ]


@pytest.mark.parametrize(
    ("right", "wrong", "told"),
    [
        (
            "[s1]",
            "[s1, n2]",
            "12:19 duplicate-tenant another client of this issuer has this tenant too (line 6)",
        ),
        (
            "    tenants: [s1]\n",
            "",
            "9:5 duplicate-client another client has this issuer too (line 3): a token must "
            "belong to one client only, so put both into one, or name the `tenants` of each",
        ),
        (
            "    tenants: [n1, n2]\n",
            "",
            "3:5 duplicate-client another client has this issuer too (line 8)",
        ),
        (
            "    jku: https://vendor.example/keys\n    audience: [https://cds.south",
            "    jku: https://vendor.example/keys2\n    audience: [https://cds.south",
            "10:5 other-keys another client of this issuer (line 3) has its keys elsewhere",
        ),
        (
            "    jku: https://vendor.example/keys\n    audience: [https://cds.south",
            "    jwks_file: keys/trial.json\n    audience: [https://cds.south",
            "10:5 other-keys another client of this issuer (line 3) has its keys elsewhere",
        ),
    ],
)
def test_clients_of_one_issuer_that_a_token_does_not_tell_apart_are_refused(
    file: Path, right: str, wrong: str, told: str
) -> None:
    """At the place of the tenant, issuer or key set that is to be changed."""
    assert right in ONE_ISSUER
    file.write_text(ONE_ISSUER.replace(right, wrong), encoding="utf-8")

    (problem,) = problems(file)
    assert problem.startswith(told)


def test_each_of_several_without_tenants_is_told(file: Path) -> None:
    """Whoever mends one must see the other."""
    bare = ONE_ISSUER.replace("    tenants: [n1, n2]\n", "").replace("    tenants: [s1]\n", "")
    file.write_text(bare, encoding="utf-8")

    assert [problem.split()[:2] for problem in problems(file)] == [
        ["3:5", "duplicate-client"],
        ["8:5", "duplicate-client"],
    ]
