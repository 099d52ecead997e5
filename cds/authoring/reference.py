"""The reference for rule authors, made from the definitions.

``python -m cds.authoring.reference docs/reference.md`` writes it. What a key means is said in the
docstring of its structure, and only there; a test compares the page with what is made here.
"""

from __future__ import annotations

import re
import sys
import types
from collections.abc import Iterable, Iterator, Mapping
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal, TypeAlias, Union, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Struct

from cds.authoring.codes import CODES
from cds.authoring.schemas import Scope, sentences
from cds.chart import vocabulary
from cds.chart.facts.catalogue import declare
from cds.chart.facts.declaration import Declaration
from cds.chart.facts.drugs import CONTRAINDICATION, CURRENT, ORDERED, any_current, any_ordered
from cds.chart.vocabulary import Vocabulary
from cds.rules import language, site

_EXAMPLE: Mapping[str, object] = {
    "systems": {"loinc": {"url": "http://loinc.org"}},
    "units": {"x_units": {"unit": "x", "spellings": {"x": 1}}},
    "observations": {
        "x": {"title": "X", "units": "x_units", "falls": {"y": {"value": 183, "unit": "d"}}}
    },
    "measures": {
        "x": {
            "title": "X",
            "instruments": ["x"],
            "levels": {
                "y": {"title": "at a level y", "no_worse_than": {"x": {"value": 1, "unit": "x"}}}
            },
            "worsenings": {"y": {"value": 183, "unit": "d"}},
        }
    },
    "diagnoses": {"x": {"title": "X"}},
    "findings": {"x": {"title": "X"}},
    "antibodies": {"x": {"title": "X"}},
    "drugs": {"x": {"title": "X", "names": ["x"]}},
    "drug_classes": {"x": {"title": "X", "any_of": ["x"], "single": True}},
    "doses": {
        "x": {
            "title": "X",
            "expressed_in": "x",
            "equal": {"x": {"value": 1, "unit": "mg"}},
            "routes": [],
            "gap": {"value": 1, "unit": "d"},
            "levels": {"y": {"title": "at a level y", "dose": {"value": 1, "unit": "mg"}}},
        }
    },
    "elapsed": {
        "x": {"title": "Days to X", "since": ["drug.x.days"], "until": "observation.x"},
    },
}
"""A vocabulary with one entry of each kind that makes facts, all called x; a part of one is y."""

_Structures: TypeAlias = tuple[type[Struct], ...]

_RULE: _Structures = (
    language.RuleFile,
    language.EvidenceItem,
    vocabulary.Number,
    language.WeightDose,
    language.Term,
    language.Band,
    language.Rank,
)
_CARD: _Structures = (
    language.CardFile,
    language.Passage,
    language.Option,
    language.LicenceStatus,
    language.Contraindication,
)
_SHARED: _Structures = (
    language.Source,
    language.SuggestionFile,
    language.SharedFile,
    language.OverrideReason,
    Scope,
)
_TESTS: _Structures = (language.CaseFile, language.Case, language.CardParts)
_SITE: _Structures = (site.SiteFile, site.SiteSystem, site.Choice)


def _table(*rows: tuple[str, ...]) -> str:
    """A table as Markdown; the first row is its head."""
    head, *others = (f"| {' | '.join(row)} |" for row in rows)
    return "\n".join([head, "|" + "---|" * len(rows[0]), *others])


_STATUSES = _table(
    ("status", "checked", "tested and explained", "gives cards"),
    ("`draft`", "yes", "yes", "no"),
    ("`testing`", "yes", "yes", "no"),
    ("`active`", "yes", "yes", "yes"),
    ("`retired`", "its keys only", "no", "no"),
)

_TEXT_CONDITIONS = _table(
    ("condition", "of", "is true where"),
    ("`diagnosis.myositis`", "true or false", "the fact is true"),
    (
        "`observation.spo2.latest < 92 %`",
        "a number",
        "it is so for every number that the fact may have; `>=`, `>`, `<=`, `<`, `==`, `!=`",
    ),
    (
        "`drug.methotrexate within 14 d`",
        "an event",
        "it surely happened in the last so many days (`d`) or weeks (`wk`)",
    ),
    ("`response.tis.category is major`", "a category", "no other category is possible"),
)

_CONDITIONS = _table(
    ("condition", "is true where"),
    ("`all: [...]`", "every part is true"),
    ("`any: [...]`", "at least one part is true"),
    ("`not: ...`", "the part is false"),
    ("`unknown: ...`", "the part is neither true nor false"),
    (
        "`{at_least: 3, of: core_set, where: ..., as: name}`",
        "so many members of the group surely meet `where`; also `at_most`, `exactly`",
    ),
)

_TEXTS = _table(
    ("form", "gives"),
    (
        "`{fact}`",
        "the value in words; of an event the date of its last time; of a selection the titles of "
        "its members",
    ),
    ("`{fact:evidence}`", "what it rests on, with dates and references"),
    ("`{fact:dates}`", "only the dates"),
    ("`{fact:history}`", "of a drug or a class the times on it"),
    (
        "`{fact:missing}`",
        "of a derived fact that is not known, or not exactly, what would settle it",
    ),
    ("`{parameters.name}`", "the number with its unit"),
    ("`{fact.parameters.name}`", "a parameter of the rule that derives the fact"),
    (
        "`{weight_dose.name}`",
        "the [dose by body weight](#a-dose-by-body-weight) for this patient, in brackets after a "
        "blank; nothing where no recent weight is on record",
    ),
    ("`{patient.id}`", "the id of the patient, for suggestions"),
    ("`{{`", "a brace"),
)


def page() -> str:
    """The whole reference, as Markdown."""
    parts: list[Iterable[str]] = [
        _head(),
        [
            "## Rules",
            "One rule a file, named for its `id`, in `criteria/`, `guidance/` or "
            "`contraindications/`.",
        ],
        *map(_structure, _RULE),
        [
            "### Status",
            _STATUSES,
            "A draft is checked as if it were active, warnings included, so that nothing comes up "
            "only on the day it is.",
        ],
        [
            "### Hooks",
            f"A rule is asked at the hooks it names: {_choices(language.Hook)}. The first is "
            "when a chart is opened; at the others `drug.x.ordered` says what the drafts hold.",
        ],
        [
            "## Conditions",
            "A condition is true, false or unknown; [three-values.md](three-values.md) says when. "
            "It is a text:",
            _TEXT_CONDITIONS,
            "or one of these, of other conditions:",
            _CONDITIONS,
            "After `where` names are looked up under the member first: of `core_set` `improvement` "
            "is `measure.physician_global.improvement` and so on, and `it` is the member itself. "
            "`as` names those that meet it, for texts.",
            "A number is given with the unit of the fact, or as `parameters.name`, or as "
            "`fact.parameters.name`, a parameter of the rule that derives the fact, so that each "
            "number stands once. Nothing is converted, except weeks to days.",
        ],
        ["## Cards"],
        *map(_structure, _CARD),
        [
            "### Texts",
            "In every text of a card a name in braces is replaced by what is known of the patient.",
            _TEXTS,
        ],
        [
            "## Facts",
            "What each kind of entry makes, here of entries called `x`, with parts called `y`. "
            "`cds vocabulary list` names those that there are.",
            _facts(),
        ],
        ["## Vocabulary", "Any file of `vocabulary/` may have any of these sections."],
        _sections(),
        [
            "## Sources, suggestions, what cards share, override reasons, scope",
            "Each in one file: `sources.yaml`, `suggestions.yaml`, `shared.yaml`, "
            "`override-reasons.yaml` (by their ids) and `scope.yaml`.",
        ],
        *map(_structure, _SHARED),
        ["## Tests", "Beside each rule, under the same name: `<rule>.test.yaml`."],
        *map(_structure, _TESTS),
        [
            "## Site",
            "What a hospital changes, in `site.yaml`: see [site-mapping.md](site-mapping.md).",
        ],
        *map(_structure, _SITE),
        ["## Problems", _problems()],
    ]
    return "\n\n".join(block for part in parts for block in part) + "\n"


def _head() -> Iterator[str]:
    yield "# Reference of rule files"
    yield (
        "Made from the definitions by `python -m cds.authoring.reference docs/reference.md`: edit "
        "those. To learn it, begin with the [tutorial](tutorial.md)."
    )


# --- structures ----------------------------------------------------------------------------------


def _structure(structure: type[Struct]) -> Iterator[str]:
    """A structure: what it is, then its keys with what may stand there."""
    yield f"### {_heading(structure)}"
    hints = get_type_hints(structure)
    said = [
        sentence
        for each in structure.__mro__
        if issubclass(each, Struct) and each is not Struct and each is not vocabulary.Entry
        for sentence in sentences(each.__doc__ or "")
    ]
    yield " ".join(said)
    rows = ["| key | takes | if left out |", "|---|---|---|"]
    for field in msgspec.structs.fields(structure):
        takes = _OPEN.get(field.name) if hints[field.name] is Any else None
        rows.append(f"| `{field.name}` | {takes or _type(hints[field.name])} | {_without(field)} |")
    yield "\n".join(rows)


def _without(field: msgspec.structs.FieldInfo) -> str:
    """What holds where a key is left out."""
    if field.required:
        return "(required)"
    default = field.default
    if isinstance(default, bool):
        return f"`{str(default).lower()}`"
    if isinstance(default, tuple):
        return ", ".join(f"`{each}`" for each in default)
    return f"`{default}`" if isinstance(default, str) and default else ""


_OPEN = {
    "when": "a [condition](#conditions)",
    "count": "`of`, `where`, `as`, as in a [condition](#conditions)",
    "expect": "what is expected",
}


def _heading(structure: type[Struct]) -> str:
    return _NAMES.get(structure.__name__, structure.__name__)


_NAMES: Mapping[str, str] = {
    "RuleFile": "A rule",
    "EvidenceItem": "Evidence",
    "Number": "A number",
    "WeightDose": "A dose by body weight",
    "Bounds": "A range",
    "Term": "A term of a sum",
    "Band": "A band",
    "Rank": "A category",
    "CardFile": "A card",
    "Passage": "A passage",
    "Option": "An option",
    "LicenceStatus": "Whether a drug is approved",
    "Contraindication": "A contraindication",
    "Source": "A source",
    "SuggestionFile": "A suggestion",
    "SharedFile": "What cards share",
    "OverrideReason": "An override reason",
    "Scope": "The scope",
    "Fall": "A fall",
    "MeasureLevel": "A level of a measure",
    "DoseLevel": "A level of a dose",
    "CaseFile": "A test file",
    "Case": "A case",
    "CardParts": "What is expected of a card",
    "SiteFile": "A site",
    "SiteSystem": "A code system of a site",
    "Choice": "A number that a site sets",
}


def _type(hint: Any) -> str:
    """What may stand in a key, in words."""
    origin, inner = get_origin(hint), get_args(hint)
    if hint is Any:
        return "anything"
    if hint == vocabulary.Codes:
        return "by code system, then code: the display"
    if origin is Literal:
        return _choices(hint)
    if origin in (Union, types.UnionType):
        return " or ".join(_type(each) for each in inner if each is not type(None))
    if origin is tuple:
        return f"a list of: {_type(inner[0])}"
    if origin is dict:
        return f"by name: {_type(inner[1])}"
    if isinstance(hint, type) and issubclass(hint, Struct):
        name = _NAMES.get(hint.__name__)
        return f"[{name[0].lower()}{name[1:]}](#{_anchor(name)})" if name else hint.__name__
    plain: Mapping[object, str] = {
        str: "text",
        bool: "true or false",
        int: "a whole number",
        Decimal: "a number",
        date: "a date, such as 2026-11-01",
    }
    return plain[hint]


def _choices(hint: Any) -> str:
    return ", ".join(f"`{each}`" for each in get_args(hint))


def _anchor(heading: str) -> str:
    return re.sub(r"[^a-z0-9 _-]", "", heading.lower()).replace(" ", "-")


# --- vocabulary ----------------------------------------------------------------------------------


def _sections() -> Iterator[str]:
    """Every section of the vocabulary, with the structure of its entries where it has one."""
    shown: set[object] = set()
    for hint in get_type_hints(Vocabulary).values():
        kind = get_args(hint)[1] if get_origin(hint) is dict else hint
        if get_origin(kind) in (Union, types.UnionType):
            kind = get_args(kind)[0]
        if not (isinstance(kind, type) and issubclass(kind, Struct)):
            continue
        if kind in shown:
            continue
        shown.add(kind)
        same = [name for name, other in get_type_hints(Vocabulary).items() if other == hint]
        blocks = list(_structure(kind))
        yield "### " + ", ".join(f"`{name}`" for name in same)
        yield from blocks[1:]
    yield from _structure(vocabulary.Bounds)
    yield from _structure(vocabulary.Fall)
    yield from _structure(vocabulary.MeasureLevel)
    yield from _structure(vocabulary.DoseLevel)


# --- facts ---------------------------------------------------------------------------------------

_KINDS = {"boolean": "true or false", "number": "number", "event": "event", "category": "category"}


def _facts() -> str:
    facts = declare(msgspec.convert(_EXAMPLE, Vocabulary, strict=False))
    rows = ["| fact | kind | what it is |", "|---|---|---|"]
    rows += [_fact_row(each) for each in facts.values()]
    against = f"{CONTRAINDICATION}x"
    rows.append(f"| `{against}` | true or false | what the contraindication x says holds |")
    ordered = any_ordered(against + ORDERED, "A drug of the contraindication x is ordered", ())
    rows.append(_fact_row(ordered))
    current = any_current(against + CURRENT, "A drug of the contraindication x is given now", ())
    rows.append(_fact_row(current))
    return "\n".join(rows) + (
        "\n\n`drug.x` is made of every drug and every class of drugs, `observation.x.y` of each of "
        "its `falls` (and `observation.x.y_from`, what it fell from), `dose.x.days_y` "
        "and `measure.x.days_y` (and `measure.x.last_y`) of each of their `levels`, "
        "`measure.x.worse_y` of each of its `worsenings`. A value "
        "`.latest`, `.previous` or of a fall has the unit of its unit table. Rules add the facts "
        "that they `derive`."
    )


def _fact_row(fact: Declaration) -> str:
    kind = _KINDS[fact.kind]
    if fact.kind == "number":
        unit = (
            "the unit of its table" if fact.unit == "x" else f"`{fact.unit}`" if fact.unit else ""
        )
        kind += f", {unit}" if unit else ""
    return f"| `{fact.name}` | {kind} | {fact.title} |"


# --- problems ------------------------------------------------------------------------------------


def _problems() -> str:
    rows = ["| code | | meaning |", "|---|---|---|"]
    rows += [
        f"| [{each.id}](problems/{each.id}.md) | {each.severity} | {each.title} |"
        for each in CODES.values()
    ]
    return "\n".join(rows)


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(page(), encoding="utf-8")
