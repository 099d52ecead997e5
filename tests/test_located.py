from __future__ import annotations

from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import pytest
from msgspec import Struct

from cds.located import (
    Document,
    FilesInvalid,
    Place,
    Problem,
    did_you_mean,
    read_document,
    read_struct,
    read_value,
)


class Source(Struct, frozen=True):
    """A part that several fields below are made of."""

    title: str
    year: int | None = None


class Sheet(Struct, frozen=True):
    """A structure with a field of every kind that rule files use."""

    name: str
    limit: Decimal | None = None
    count: int = 0
    active: bool = True
    since: date | None = None
    worse: Literal["higher", "lower"] = "higher"
    tags: tuple[str, ...] = ()
    factors: dict[str, Decimal] = {}
    codes: dict[str, dict[str, str]] = {}
    source: Source | None = None
    sources: tuple[Source, ...] = ()
    by_name: dict[str, Source] = {}
    optional: tuple[Source, ...] | None = None
    lists: dict[str, tuple[Source, ...]] = {}
    either: str | tuple[str, ...] = ()
    small: Annotated[int, msgspec.Meta(le=9)] = 0
    when_: str = msgspec.field(default="", name="when")


def document_of(text: str | bytes, folder: Path) -> Document:
    """Write a file and read it."""
    path = folder / "sheet.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_document(path, "sheet.yaml")


def sheet_of(text: str, folder: Path) -> tuple[Sheet | None, list[str]]:
    """Read a file as a Sheet: what was read, and the problems as they are printed."""
    document = document_of(text, folder)
    sheet = read_struct(document, (), Sheet)
    return sheet, [str(p) for p in document.problems]


def test_a_file_without_problems_becomes_a_structure(tmp_path: Path) -> None:
    """Every kind of field is read, and what is not given has its default."""
    text = """
name: CK
limit: 20.0
count: -3
active: false
since: 2024-02-29
worse: lower
tags: [a, "1", b c]
factors: {U/L: 1, "ukat/L": 59.88}
codes: {loinc: {2157-6: Creatine kinase, 30192: old}}
source: {title: Paper, year: 2017}
sources: [{title: A}, {title: B, year: null}]
by_name: {a: {title: A}}
optional:
- title: O
lists: {x: [{title: L}]}
either: [p, q]
small: 9
when: now
"""
    sheet, problems = sheet_of(text, tmp_path)
    assert problems == []
    assert sheet == Sheet(
        name="CK",
        limit=Decimal("20.0"),
        count=-3,
        active=False,
        since=date(2024, 2, 29),
        worse="lower",
        tags=("a", "1", "b c"),
        factors={"U/L": Decimal(1), "ukat/L": Decimal("59.88")},
        codes={"loinc": {"2157-6": "Creatine kinase", "30192": "old"}},
        source=Source("Paper", 2017),
        sources=(Source("A"), Source("B")),
        by_name={"a": Source("A")},
        optional=(Source("O"),),
        lists={"x": (Source("L"),)},
        either=("p", "q"),
        small=9,
        when_="now",
    )
    assert sheet_of("name: x\n", tmp_path) == (Sheet(name="x"), [])


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("20", "20"),
        ("20.0", "20.0"),
        ("20.50", "20.50"),
        ("-0.1", "-0.1"),
        ("0.1000000000000000000000000001", "0.1000000000000000000000000001"),
    ],
)
def test_numbers_keep_every_digit_that_was_written(text: str, value: str, tmp_path: Path) -> None:
    """A number is the Decimal of its own text."""
    sheet, problems = sheet_of(f"name: x\nlimit: {text}\n", tmp_path)
    assert problems == []
    assert sheet is not None and str(sheet.limit) == value
    assert type(sheet.limit) is Decimal


@pytest.mark.parametrize(
    "text",
    [
        '"20"',
        "'20'",
        "NaN",
        ".nan",
        "Infinity",
        ".5",
        "5.",
        "1e3",
        "1_000",
        "007",
        "0x1F",
        "\u0663",
    ],
)
def test_what_only_resembles_a_number_is_text(text: str, tmp_path: Path) -> None:
    """Quoted numbers and spellings that YAML dialects read differently are refused as numbers."""
    assert sheet_of(f"name: x\nlimit: {text}\n", tmp_path) == (
        None,
        ["sheet.yaml:2:1 wrong-type should be a number, but is text"],
    )


@pytest.mark.parametrize("text", ["yes", "no", "on", "off", "True", "FALSE", "y", '"true"'])
def test_only_true_and_false_are_booleans(text: str, tmp_path: Path) -> None:
    """Words that YAML 1.1 takes for booleans are text, and refused where a boolean belongs."""
    assert sheet_of(f"name: x\nactive: {text}\n", tmp_path)[1] == [
        "sheet.yaml:2:1 wrong-type should be true or false, but is text"
    ]
    sheet, problems = sheet_of(f"name: x\ntags: [{text}]\n", tmp_path)
    assert (sheet and sheet.tags, problems) == ((text.strip('"'),), [])


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("limt: 2", "2:1 unknown-key `limt` is not known here (did you mean `limit`?)"),
        ("xyzzy: 2", "2:1 unknown-key `xyzzy` is not known here"),
        ("when_: now", "2:1 unknown-key `when_` is not known here (did you mean `when`?)"),
        ("limit: [1]", "2:1 wrong-type should be a number, but is a list"),
        ("limit: true", "2:1 wrong-type should be a number, but is true or false"),
        ("count: 2.0", "2:1 wrong-type should be a whole number, but is a number"),
        ("count: {a: 1}", "2:1 wrong-type should be a whole number, but is a mapping (key: value)"),
        ("count:", "2:1 wrong-type should be a whole number, but is nothing"),
        (
            "worse: hihger",
            "2:1 wrong-type `hihger` is not one of higher, lower (did you mean `higher`?)",
        ),
        ("worse: 5", "2:1 wrong-type should be text, but is a whole number; put it in quotes"),
        (
            "since: 2024-02-30",
            "2:1 wrong-type `2024-02-30` is in quotes, or not a day of the calendar",
        ),
        (
            'since: "2024-02-01"',
            "2:1 wrong-type `2024-02-01` is in quotes, or not a day of the calendar",
        ),
        ("since: 2024", "2:1 wrong-type should be a date (2026-11-01), but is a whole number"),
        ("since: spring", "2:1 wrong-type should be a date (2026-11-01), but is text"),
        ("tags: a", "2:1 wrong-type should be a list, but is text"),
        ("tags: [a, 5]", "2:11 wrong-type should be text, but is a whole number; put it in quotes"),
        (
            "tags:\n- a\n- 2024-01-01",
            "4:3 wrong-type should be text, but is a date (2026-11-01); put it in quotes",
        ),
        ("factors: {a: 1, b: x}", "2:17 wrong-type should be a number, but is text"),
        (
            "codes: {s: {1-8: 5}}",
            "2:13 wrong-type should be text, but is a whole number; put it in quotes",
        ),
        ("source: {}", "2:1 missing-key `title` is missing"),
        ("source: x", "2:1 wrong-type should be a mapping (key: value), but is text"),
        (
            "sources: [{title: A}, {titel: B, title: B}]",
            "2:24 unknown-key `titel` is not known here (did you mean `title`?)",
        ),
        ("sources:\n- title: A\n- year: 5", "4:3 missing-key `title` is missing"),
        ("sources: [5]", "2:11 wrong-type should be a mapping (key: value), but is a whole number"),
        ("sources: {title: A}", "2:1 wrong-type should be a list, but is a mapping (key: value)"),
        (
            "by_name:\n  a:\n    title: A\n    yaer: 1",
            "5:5 unknown-key `yaer` is not known here (did you mean `year`?)",
        ),
        ("by_name:\n  a:", "3:3 wrong-type should be a mapping (key: value), but is nothing"),
        (
            "optional:\n- title: O\n  yaer: 1",
            "4:3 unknown-key `yaer` is not known here (did you mean `year`?)",
        ),
        ("lists: {x: [{title: L}, {}]}", "2:25 missing-key `title` is missing"),
        (
            "either: 5",
            "2:1 wrong-type should be text or a list, but is a whole number; put it in quotes",
        ),
        (
            "either: [a, 5]",
            "2:13 wrong-type should be text, but is a whole number; put it in quotes",
        ),
        ("small: 10", "2:1 wrong-type expected `int` <= 9"),
    ],
)
def test_each_problem_is_told_at_its_place(line: str, problem: str, tmp_path: Path) -> None:
    """Whatever does not fit is one problem, at its line and column, and there is no structure."""
    sheet, problems = sheet_of(f"name: x\n{line}\n", tmp_path)
    assert (sheet, problems) == (None, [f"sheet.yaml:{problem}"])


def test_a_missing_key_is_told_at_the_mapping(tmp_path: Path) -> None:
    """A key that is not there is reported where the mapping starts."""
    assert sheet_of("# first line\n\ncount: 1\n", tmp_path)[1] == [
        "sheet.yaml:3:1 missing-key `name` is missing"
    ]


def test_all_problems_of_a_file_are_told_at_once(tmp_path: Path) -> None:
    """Problems do not hide one another, also several in one list."""
    text = "tags: [1, a, 2]\nsources:\n- {}\n- {title: 5, x: 1}\nlimit: y\n"
    document = document_of(text, tmp_path)
    assert read_struct(document, (), Sheet) is None
    assert [(p.place.line, p.code) for p in sorted(document.problems)] == [
        (1, "missing-key"),
        (1, "wrong-type"),
        (1, "wrong-type"),
        (3, "missing-key"),
        (4, "wrong-type"),
        (4, "unknown-key"),
        (5, "wrong-type"),
    ]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "1:1 empty is empty: fill or remove it"),
        ("# nothing but this\n", "1:1 empty is empty: fill or remove it"),
        (
            "a: 1\nb:\n\tc: 1\n",
            "3:1 not-yaml is not YAML here: found character that cannot start "
            "any token; indent with spaces, not with a tab",
        ),
        (
            "a: b: c\n",
            "1:5 not-yaml is not YAML here: mapping values are not allowed in this "
            "context; put a text with `: ` in it in quotes, or indent this line as those above",
        ),
        (
            "a: [1,\n",
            "2:1 not-yaml is not YAML here: did not find expected node content; check "
            "indentation and quotes",
        ),
        (
            "a: 1\n---\nb: 2\n",
            "2:1 not-yaml is not YAML here: but found another document; check "
            "indentation and quotes",
        ),
        (
            "a: *b\n",
            "1:4 not-yaml is not YAML here: found undefined alias; put a text that begins with * "
            "in quotes",
        ),
        (
            "a: \0\n",
            "1:1 not-yaml is not YAML here: unacceptable character #x0000: control "
            "characters are not allowed; check indentation and quotes",
        ),
        (b"a: 1\nb: \xff\n", "2:4 not-text is not UTF-8 text (byte 8): save it as UTF-8"),
        (
            'a: "one\nb: "two"\n',
            "1:4 not-yaml is not YAML here: did not find expected key; the text in quotes that "
            "begins here ends only on line 2: close its quotes",
        ),
        (
            "a: 'one\nb: two\n",
            "1:4 not-yaml is not YAML here: while scanning a quoted scalar, found unexpected end "
            "of stream; a quotation mark is opened here and never closed: close it",
        ),
        (
            "a: %x\n",
            "1:4 not-yaml is not YAML here: found character that cannot start any token; "
            "put a text that begins with % in quotes",
        ),
        ("[" * 5000 + "]" * 5000, "1:1 not-yaml is nested too deeply to be read"),
    ],
)
def test_what_is_no_yaml_is_told_once(text: str | bytes, problem: str, tmp_path: Path) -> None:
    """A file that cannot be read has one problem, also after it is asked for a structure."""
    document = document_of(text, tmp_path)
    assert read_struct(document, (), Sheet) is None
    assert [str(p) for p in document.problems] == [f"sheet.yaml:{problem}"]


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    """A missing file, and a folder in place of one, are problems of the file."""
    missing = read_document(tmp_path / "none.yaml", "none.yaml")
    assert list(map(str, missing.problems)) == [
        "none.yaml:1:1 unreadable cannot be read: No such file or directory"
    ]
    folder = read_document(tmp_path)
    assert list(map(str, folder.problems)) == [
        f"{tmp_path}:1:1 unreadable cannot be read: Is a directory"
    ]


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("a: &x {b: 1}\nc: *x\n", "2:1"),
        ("a: &x 1\nb:\n  - 2\n  - *x\n", "2:1"),
        ("a: &x\n  b: *x\n", "2:3"),
    ],
)
def test_anchors_are_refused_where_they_are_used(text: str, place: str, tmp_path: Path) -> None:
    """A value must be written out where it counts, so that it has one place; cycles do no harm."""
    document = document_of(text, tmp_path)
    assert [str(p) for p in document.problems] == [
        f"sheet.yaml:{place} anchor uses an anchor (*name): write the value out in full"
    ]


def test_of_a_key_that_stands_twice_the_first_is_kept(tmp_path: Path) -> None:
    """The second is reported, so no document with it can be used, and nothing else changes."""
    document = document_of("a:\n  b: 1\n  b: {x: 2}\n", tmp_path)
    assert document.data == {"a": {"b": 1}}
    assert [(p.code, p.place.line, p.place.column) for p in document.problems] == [
        ("duplicate-key", 3, 3)
    ]


def test_a_key_that_is_no_word_is_told(tmp_path: Path) -> None:
    """A list in place of a key is reported where it stands."""
    document = document_of("a: 1\n? [b]\n: 2\n", tmp_path)
    assert document.data == {"a": 1}
    assert list(map(str, document.problems)) == [
        "sheet.yaml:2:3 wrong-type has a key that is not a word"
    ]


def test_quoted_and_block_text_is_text(tmp_path: Path) -> None:
    """Quotes and block styles keep what looks like something else as text."""
    document = document_of("a: |\n  5\nb: >-\n  true\nc: \"5\"\nd: '2024-01-01'\n", tmp_path)
    assert document.data == {"a": "5\n", "b": "true", "c": "5", "d": "2024-01-01"}


def test_a_byte_order_mark_is_passed_over(tmp_path: Path) -> None:
    """The mark that some editors put before UTF-8 text does no harm."""
    document = document_of(b"\xef\xbb\xbfname: x\n", tmp_path)
    assert (document.data, document.problems) == ({"name": "x"}, [])


def test_places_are_of_keys_and_of_list_items(tmp_path: Path) -> None:
    """A value stands where its key does, a list item where it starts, the rest around it."""
    document = document_of("a:\n  b: [x,\n      y]\n", tmp_path)
    where = {steps: str(document.place(steps)) for steps in [(), ("a",), ("a", "b")]}
    assert where == {(): "sheet.yaml:1:1", ("a",): "sheet.yaml:1:1", ("a", "b"): "sheet.yaml:2:3"}
    assert document.place(("a", "b", 1)) == Place("sheet.yaml", 3, 7)
    assert document.place(("a", "b", 1, "deeper")) == Place("sheet.yaml", 3, 7)
    assert document.at(("a", "b", 1)) == "y"


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (list[int], [1, 2]),
        (tuple[int, ...], (1, 2)),
        (tuple[int, int], (1, 2)),
        (frozenset[int], frozenset({1, 2})),
        (list[Decimal] | None, [Decimal(1), Decimal(2)]),
        (tuple[str, ...], None),
        (tuple[int], None),
    ],
)
def test_a_value_is_read_as_the_kind_asked_for(kind: Any, value: Any, tmp_path: Path) -> None:
    """Lists become what is asked for; None where they do not fit."""
    document = document_of("a: [1, 2]\n", tmp_path)
    assert read_value(document, ("a",), kind) == value
    assert bool(document.problems) == (value is None)


def test_problems_sort_by_file_line_and_column() -> None:
    """The exception for invalid files prints all problems in the order of their places."""
    problems = [
        Problem(Place("b", 1, 1), "x", "three"),
        Problem(Place("a", 10, 2), "x", "two"),
        Problem(Place("a", 9, 3), "y", "one", "warning"),
    ]
    fault = FilesInvalid(problems)
    assert str(fault) == "a:9:3 y one\na:10:2 x two\nb:1:1 x three"
    assert fault.problems == tuple(reversed(problems))


def test_the_nearest_known_word_is_suggested() -> None:
    """A slip of the pen gets a suggestion, a different word none."""
    assert did_you_mean("metotrexate", ["methotrexate", "rituximab"]) == (
        " (did you mean `methotrexate`?)"
    )
    assert did_you_mean("aspirin", ["methotrexate", "rituximab"]) == ""
