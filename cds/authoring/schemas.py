"""JSON Schema of every kind of rule file, for completion and error marks in editors.

The schemas are made from the structures that the reader uses, with their docstrings as
descriptions; only the grammar of conditions (``cds.rules.parsing``) is written out here. A schema
cannot know the facts and sources of a folder: what it passes is still for ``cds rules check``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

import msgspec
from msgspec import Struct

from cds.chart import vocabulary
from cds.chart.vocabulary import Vocabulary
from cds.rules import language, site
from cds.rules.conditions import HowMany, Operator
from cds.rules.language import (
    CaseFile,
    OverrideReason,
    RuleFile,
    SharedFile,
    Source,
    SuggestionFile,
)
from cds.rules.shared import KEY
from cds.rules.site import SiteFile

Schema = dict[str, Any]

FOLDER = "schema"
"""The folder of schemas in a rules folder."""


class Scope(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Whom the rules are about. ``applies_to`` is a diagnosis or finding of the vocabulary.

    ``foremost`` are problems of cards: of equally urgent cards about different problems those about
    these come first, in this order, and then the others in the order of the rule files.
    """

    applies_to: str
    foremost: tuple[str, ...] = ()


class FileKind(Struct, frozen=True):
    """A kind of authored file: its name, what is in it, and the structure that it is read into."""

    name: str
    title: str
    structure: Any

    @property
    def schema_file(self) -> str:
        """What the file with its schema is called."""
        return f"{self.name}.schema.json"


RULE = FileKind("rule", "A rule", RuleFile)
TEST = FileKind("test", "The tests of a rule", CaseFile)
VOCABULARY = FileKind("vocabulary", "Sections of the vocabulary", Vocabulary)
SHARED = (
    FileKind("sources", "The publications that rules rest on", dict[str, Source]),
    FileKind("suggestions", "Drafts that cards may carry", dict[str, SuggestionFile]),
    FileKind("shared", "What several cards say alike", dict[str, SharedFile]),
    FileKind("override-reasons", "Reasons for not following a card", dict[str, OverrideReason]),
    FileKind("scope", "Whom the rules are about", Scope),
)
SITE = FileKind("site", "What a hospital changes in the shipped rules", SiteFile)
KINDS = (RULE, TEST, VOCABULARY, *SHARED, SITE)


def kind_of(path: Path) -> FileKind:
    """What kind of file a path in a rules folder names."""
    if path.name.endswith(".test.yaml"):
        return TEST
    if path.parent.name == "vocabulary":
        return VOCABULARY
    return next((kind for kind in (*SHARED, SITE) if path.name == f"{kind.name}.yaml"), RULE)


def schema_text(kind: FileKind) -> str:
    """The schema of a kind of file, as it stands in its own file."""
    return json.dumps(schema(kind), indent=2, ensure_ascii=False) + "\n"


def schema(kind: FileKind) -> Schema:
    """The JSON Schema of a kind of file, of draft 7, which editors for YAML know."""
    made = msgspec.json.schema(kind.structure)
    definitions: Schema = made.pop("$defs", {})
    for name, definition in definitions.items():
        _describe(definition, _STRUCTURES[name])
    _refine(definitions)
    if any("when" in definition["properties"] for definition in definitions.values()):
        definitions |= _CONDITIONS
    made = {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": kind.title,
        **made,
        "$defs": definitions,
    }
    adapted: Schema = _adapted(made)
    return adapted


def write_schemas(folder: Path) -> list[Path]:
    """Write the schema of every kind of file into a folder, made if it is not there."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for kind in KINDS:
        path = folder / kind.schema_file
        path.write_text(schema_text(kind), encoding="utf-8")
        written.append(path)
    return written


def modeline(path: Path, root: Path) -> str:
    """The comment that names the schema of a file to editors, relative to the file."""
    up = "../" * (len(path.relative_to(root).parts) - 1)
    return f"# yaml-language-server: $schema={up}{FOLDER}/{kind_of(path).schema_file}"


# --- from structures -----------------------------------------------------------------------------

_STRUCTURES: Mapping[str, type[Struct]] = {
    each.__name__: each
    for each in (*vars(vocabulary).values(), *vars(language).values(), *vars(site).values(), Scope)
    if isinstance(each, type) and issubclass(each, Struct)
}


def _describe(definition: Schema, structure: type[Struct]) -> None:
    """Give a structure its docstring, and each field the sentences of it that name the field."""
    told = [
        sentence
        for each in structure.__mro__
        if issubclass(each, Struct) and each is not Struct
        for sentence in sentences(each.__doc__ or "")
    ]
    definition["description"] = " ".join(sentences(structure.__doc__ or ""))
    for name, field in definition["properties"].items():
        said = [sentence for sentence in told if f"`{name}`" in sentence]
        if said:
            definition["properties"][name] = {"description": " ".join(said), **field}


def sentences(docstring: str) -> list[str]:
    """The sentences of a docstring, without pointers into the code."""
    text = " ".join(docstring.replace("``", "`").split())
    text = re.sub(r"[;,] see `cds\.[^`]*`", "", text)
    return [s for s in re.split(r"(?<=[.!?]) (?=[A-Z`])", text) if s]


def _adapted(value: Any) -> Any:
    """A schema as it is of use to an author of YAML.

    Numbers are numbers. What may be left out is not offered as null, nor with an empty default.
    """
    if isinstance(value, list):
        return [_adapted(inner) for inner in value]
    if not isinstance(value, dict):
        return value
    options = [option for option in value.get("anyOf", ()) if option != {"type": "null"}]
    if len(options) == 1:
        value = {k: v for k, v in value.items() if k != "anyOf"} | options[0]
    if value.get("format") == "decimal":
        value = {k: v for k, v in value.items() if k != "format"} | {"type": "number"}
    return {
        key: _adapted(inner)
        for key, inner in value.items()
        if not (key == "default" and inner in (None, {}, [], ""))
    }


# --- what structures do not say ------------------------------------------------------------------


def _refine(definitions: Schema) -> None:
    """Say what is known of the parts that the structures leave open, where a schema has them."""
    for definition in definitions.values():
        if "when" in definition["properties"]:
            definition["properties"]["when"] = {"$ref": "#/$defs/Condition"}
        if "count" in definition["properties"]:
            definition["properties"]["count"] = {"$ref": "#/$defs/HowMany"}
    if (rule := definitions.get("RuleFile")) is not None:
        rule["properties"]["evidence"]["minItems"] = 1
        meanings = [{"required": [key]} for key in ("when", "sum", "count", "categories")]
        rule["oneOf"] = [
            {"required": ["derive"], "oneOf": meanings},
            {"required": ["card", "when"], "not": {"anyOf": meanings[1:]}},
            {"required": ["contraindication", "when"], "not": {"anyOf": meanings[1:]}},
        ]
    if (card := definitions.get("CardFile")) is not None:
        for part in ("text", "options"):
            items = card["properties"][part]["items"]
            card["properties"][part]["items"] = {"anyOf": [items, _TAKEN]}
    if (sections := definitions.get("Vocabulary")) is not None:
        for section in sections["properties"].values():
            if section.get("type") == "object":
                section["propertyNames"] = {"pattern": "^[a-z][a-z0-9_]*$"}
    if (case := definitions.get("Case")) is not None:
        case["properties"]["facts"]["additionalProperties"] = _FACT
        case["properties"]["expect"] |= _EXPECTED
        excluded = [{"required": [key]} for key in ("facts", "measures", "otherwise")]
        case["dependencies"] = {"example": {"required": ["as_of"], "not": {"anyOf": excluded}}}
    if (scope := definitions.get("Scope")) is not None:
        scope["properties"]["applies_to"]["pattern"] = r"^(diagnosis|finding)\."
    if (suggestion := definitions.get("SuggestionFile")) is not None:
        suggestion["properties"]["resource"]["required"] = ["resourceType"]


_TAKEN: Schema = {
    "description": "Stands for what is shared under this name in `shared.yaml`.",
    "type": "object",
    "properties": {KEY: {"type": "string"}},
    "required": [KEY],
    "additionalProperties": False,
}

_FACT: Schema = {
    "description": "The value of a fact: true, false, unknown, a number, [low, high], days ago.",
    "type": ["boolean", "number", "string", "array"],
    "items": {"type": ["number", "string", "null"]},
}

_EXPECTED: Schema = {
    "type": ["string", "number", "array"],
    "items": {"type": ["number", "string"]},
    "examples": ["fires", "silent", "unknown", "true", "false"],
}

_CONDITION: Schema = {"$ref": "#/$defs/Condition"}
_OPERATORS = "|".join((*get_args(Operator), r"\bwithin\b", r"\bis\b"))


def _of_one(word: str, title: str, value: Schema) -> Schema:
    return {
        "description": title,
        "type": "object",
        "properties": {word: value},
        "required": [word],
        "additionalProperties": False,
    }


_COUNTED: Schema = {
    "of": {"description": "A group: `core_set`, or one of `groups`.", "type": "string"},
    "where": {
        "description": "What a member must meet; names are looked up under the member.",
        **_CONDITION,
    },
    "as": {"description": "A name for those that meet it, for texts.", "type": "string"},
}


def _count(how: str) -> Schema:
    return {
        "description": f"Whether `{how}` so many members of a group meet a condition.",
        "type": "object",
        "properties": {
            how: {"description": "How many members.", "type": "integer", "minimum": 0},
            **_COUNTED,
        },
        "required": [how, "of", "where"],
        "additionalProperties": False,
    }


_PARTS: Schema = {"type": "array", "minItems": 1, "items": _CONDITION}

_CONDITIONS: Schema = {
    "Condition": {
        "description": "True, false or unknown: a fact, a comparison, or a combination of these.",
        "anyOf": [
            {
                "description": "A fact, or a fact, an operator and a number with its unit.",
                "type": "string",
                "pattern": rf"^\s*[A-Za-z][\w.]*(\s*({_OPERATORS})\s*\S.*)?\s*$",
                "examples": [
                    "diagnosis.myositis",
                    "observation.spo2.latest < 92 %",
                    "drug.pulse_methylprednisolone within parameters.recent",
                    "response.tis.category is moderate",
                ],
            },
            _of_one("all", "Every part is true.", _PARTS),
            _of_one("any", "At least one part is true.", _PARTS),
            _of_one("not", "The opposite of a condition.", _CONDITION),
            _of_one("unknown", "A condition is neither true nor false.", _CONDITION),
            *map(_count, get_args(HowMany)),
        ],
    },
    "HowMany": {
        "description": "How many members of a group meet a condition.",
        "type": "object",
        "properties": _COUNTED,
        "required": ["of", "where"],
        "additionalProperties": False,
    },
}
