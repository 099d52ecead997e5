import json
import shutil
from pathlib import Path
from typing import Any

import msgspec
import pytest
from jsonschema import Draft7Validator, FormatChecker
from typer.testing import CliRunner

from cds import cli
from cds.authoring.formatting import authored_files
from cds.authoring.schemas import (
    FOLDER,
    KINDS,
    RULE,
    SHARED,
    SITE,
    TEST,
    VOCABULARY,
    FileKind,
    kind_of,
    modeline,
    schema,
    schema_text,
)
from cds.located import parse_document, read_document
from cds.rules.reading import rule_files

RULES = Path(__file__).parents[2] / "rules"
SOURCES, SUGGESTIONS, ALIKE, REASONS, SCOPE = SHARED
_JSON = msgspec.json.Encoder(decimal_format="number")


def faults(data: Any, kind: FileKind) -> list[str]:
    """The places at which data do not fit the schema of a kind of file."""
    plain = json.loads(_JSON.encode(data))
    validator = Draft7Validator(schema(kind), format_checker=FormatChecker())
    return sorted(fault.json_path for fault in validator.iter_errors(plain))


def faults_of(text: str, kind: FileKind) -> list[str]:
    """The places at which a text does not fit the schema of a kind of file."""
    document = parse_document(text, "text")
    assert not document.problems
    return faults(document.data, kind)


RULE_TEXT = """\
id: x
title: X
version: 1.0.0
status: draft
owner: me
reviewed: 2026-01-01
review_by: 2027-01-01
evidence:
  - {source: trial, supports: it, certainty: low}
derive: response.x
when: diagnosis.myositis
"""


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_every_schema_is_one(kind: FileKind) -> None:
    """It is a schema of the draft that it names."""
    Draft7Validator.check_schema(schema(kind))


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_the_shipped_schemas_are_up_to_date(kind: FileKind) -> None:
    """Otherwise: `cds rules schema --out rules/schema`."""
    shipped = RULES / FOLDER / kind.schema_file

    assert shipped.read_text(encoding="utf-8") == schema_text(kind)


@pytest.mark.parametrize("path", authored_files(RULES), ids=lambda path: path.name)
def test_every_shipped_file_fits_its_schema_and_names_it(path: Path) -> None:
    """The modeline leads from the file to the schema of its kind."""
    first = path.read_text(encoding="utf-8").splitlines()[0]
    named = path.parent / first.removeprefix("# yaml-language-server: $schema=")

    assert named.resolve() == RULES / FOLDER / kind_of(path).schema_file
    assert faults(read_document(path).data, kind_of(path)) == []


def test_the_example_site_fits_its_schema() -> None:
    """What the documentation shows is marked by no editor, and a misspelt section is."""
    data = read_document(RULES.parent / "fhir_examples/site/site.yaml").data

    assert faults(data, SITE) == []
    assert faults(data | {"of": {}}, SITE) == ["$"]


def test_the_reader_takes_no_schema_for_a_rule() -> None:
    """The folder of schemas lies among the rules."""
    assert not [path for path in rule_files(RULES) if FOLDER in path.parts]


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("criteria/a.yaml", RULE),
        ("criteria/a.test.yaml", TEST),
        ("vocabulary/drugs.yaml", VOCABULARY),
        ("sources.yaml", SOURCES),
        ("suggestions.yaml", SUGGESTIONS),
        ("shared.yaml", ALIKE),
        ("override-reasons.yaml", REASONS),
        ("scope.yaml", SCOPE),
        ("site.yaml", SITE),
    ],
)
def test_the_path_of_a_file_says_its_kind(path: str, kind: FileKind) -> None:
    """And with it the schema, relative to the file."""
    up = "../" * path.count("/")

    assert kind_of(Path(path)) == kind
    assert modeline(Path(path), Path()) == (
        f"# yaml-language-server: $schema={up}schema/{kind.name}.schema.json"
    )


@pytest.mark.parametrize(
    ("old", "new", "place"),
    [
        ("title: X", "titel: X", "$"),
        ("status: draft", "status: live", "$.status"),
        ("version: 1.0.0", "version: 1.0", "$.version"),
        ("reviewed: 2026-01-01", "reviewed: last year", "$.reviewed"),
        ("derive: response.x\n", "", "$"),
        ("derive: response.x", "card: {}", "$.card"),
        ("certainty: low", "certainty: sure", "$.evidence[0].certainty"),
        ("  - {source: trial, supports: it, certainty: low}", "  []", "$.evidence"),
        ("when: diagnosis.myositis", "when: [diagnosis.myositis]", "$.when"),
        ("when: diagnosis.myositis", "when: diagnosis.myositis ~ true", "$.when"),
        ("when: diagnosis.myositis", "when: {all: []}", "$.when"),
        ("when: diagnosis.myositis", "when: {al: [diagnosis.myositis]}", "$.when"),
        ("when: diagnosis.myositis", "when: {all: [a], any: [b]}", "$.when"),
        ("when: diagnosis.myositis", "when: {at_least: 3, of: core_set}", "$.when"),
        ("when: diagnosis.myositis", "when: {at_least: many, of: a, where: b}", "$.when"),
        ("owner: me", "owner: me\nparameters: {a: {value: many}}", "$.parameters.a.value"),
        ("owner: me", "owner: me\nhooks: [patient-vew]", "$.hooks[0]"),
    ],
)
def test_a_broken_rule_does_not_fit(old: str, new: str, place: str) -> None:
    """The fault is marked where the author has to look."""
    assert RULE_TEXT.count(old) == 1
    assert faults_of(RULE_TEXT, RULE) == []
    assert place in faults_of(RULE_TEXT.replace(old, new), RULE)


@pytest.mark.parametrize(
    "condition",
    [
        "diagnosis.myositis",
        "observation.spo2.latest < 92 %",
        "improvement >= parameters.improvement",
        "drug.x within 14 d",
        "{all: [a, {any: [b, {not: c}]}]}",
        "{unknown: a != 3}",
        "{at_most: 2, of: core_set, where: worsening >= 25 %, as: worse}",
        "{exactly: 0, of: core_set, where: {not: it}}",
    ],
)
def test_what_the_parser_takes_fits(condition: str) -> None:
    """Facts, comparisons, and every combination."""
    assert faults_of(RULE_TEXT.replace("diagnosis.myositis", condition), RULE) == []


@pytest.mark.parametrize(
    ("text", "kind", "place"),
    [
        ("rule: x\ncases: [{name: a, expect: true}]", TEST, "$.cases[0].expect"),
        ("rule: x\ncases: [{expect: fires}]", TEST, "$.cases[0]"),
        ("rule: x\ncases: [{name: a, expect: fires, example: e}]", TEST, "$.cases[0]"),
        (
            "rule: x\ncases: [{name: a, expect: fires, example: e, as_of: 2026-01-01, facts: {}}]",
            TEST,
            "$.cases[0]",
        ),
        ("x: {title: X, citation: Y}", SOURCES, "$.x"),
        ("x: {title: X, citation: Y, year: '2020'}", SOURCES, "$.x.year"),
        ("x: {label: L, description: D, resource: {status: draft}}", SUGGESTIONS, "$.x.resource"),
        ("x: {show: X}", REASONS, "$.x"),
        ("applies_to: drug.x", SCOPE, "$.applies_to"),
        ("drugs: {X-1: {title: X, names: [x]}}", VOCABULARY, "$.drugs"),
        ("drugs: {x: {title: X}}", VOCABULARY, "$.drugs.x"),
        ("drgs: {}", VOCABULARY, "$"),
        ("units: {u: {unit: cm, spellings: {mm: small}}}", VOCABULARY, "$.units.u.spellings.mm"),
    ],
)
def test_other_broken_files_do_not_fit(text: str, kind: FileKind, place: str) -> None:
    """Tests, shared files and vocabulary are held to their structures too."""
    assert place in faults_of(text, kind)


def test_fields_are_described_by_their_docstrings() -> None:
    """A field has the sentences that name it, and no pointer into the code."""
    definitions = schema(RULE)["$defs"]
    show = definitions["CardFile"]["properties"]["show"]["description"]

    assert show.startswith("`show` names the tables that follow: `measures`, `treatments`")
    assert "cds." not in schema_text(RULE)
    assert "`owner` answers for it" in definitions["RuleFile"]["properties"]["owner"]["description"]
    undescribed = [
        f"{name}.{field}"
        for name, definition in definitions.items()
        for field, said in definition.get("properties", {}).items()
        if "description" not in said and "$ref" not in said
    ]
    assert undescribed == []  # of a rule each has some


def test_the_command_writes_every_schema(tmp_path: Path) -> None:
    """Into the folder given, which is made."""
    folder = tmp_path / "a" / "b"
    result = CliRunner().invoke(cli.app, ["rules", "schema", "--out", str(folder)])

    assert result.exit_code == 0
    assert {path.name for path in folder.iterdir()} == {kind.schema_file for kind in KINDS}
    assert (folder / "rule.schema.json").read_text(encoding="utf-8") == schema_text(RULE)
    shutil.rmtree(folder)


def test_a_folder_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    """The message names it."""
    (tmp_path / "file").touch()
    result = CliRunner().invoke(cli.app, ["rules", "schema", "--out", str(tmp_path / "file" / "x")])

    assert result.exit_code == 1
    assert "cannot be written" in result.stderr
