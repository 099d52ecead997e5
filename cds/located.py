"""Authored YAML, read with the line and column of everything in it.

Rule authors are told of every mistake of every file at once, each at its place. So a file is read
into a ``Document``: plain values and, beside them, where each stands. ``read_struct`` turns a part
of a document into a frozen structure and files a ``Problem`` for whatever does not fit.

YAML is read more strictly than usual, so that a value means what it looks like: numbers are
``Decimal`` or ``int``, only ``true`` and ``false`` are booleans (``no`` and ``off`` are words),
a key may stand once, quoted text is text, and anchors are refused.
"""

from __future__ import annotations

import contextlib
import difflib
import re
from collections.abc import Iterable, Iterator
from datetime import date
from decimal import Decimal
from pathlib import Path
from types import UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import msgspec
import yaml
from msgspec import Struct

Step = str | int
Steps = tuple[Step, ...]
Severity = Literal["error", "warning"]
T = TypeVar("T")
StructT = TypeVar("StructT", bound=Struct)


class Place(Struct, frozen=True, order=True):
    """A place in a file; lines and columns count from 1."""

    file: str
    line: int = 1
    column: int = 1

    def __str__(self) -> str:
        """``file:line:column``, as editors understand it."""
        return f"{self.file}:{self.line}:{self.column}"


class Problem(Struct, frozen=True, order=True):
    """Something wrong in an authored file: where, what kind, and what to do about it."""

    place: Place
    code: str
    message: str
    severity: Severity = "error"

    def __str__(self) -> str:
        """``file:line:column CODE message``."""
        return f"{self.place} {self.code} {self.message}"


class FilesInvalid(ValueError):
    """Authored files have errors; ``problems`` holds every one of them."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(sorted(problems))
        super().__init__("\n".join(map(str, self.problems)))


class Document(Struct):
    """One file: its plain ``data``, and where each key and value of it stands."""

    file: str
    data: Any
    places: dict[Steps, Place]
    problems: list[Problem]

    def place(self, steps: Steps) -> Place:
        """Where a value stands, or the nearest thing around it that is in the file."""
        while steps and steps not in self.places:
            steps = steps[:-1]
        return self.places.get(steps, Place(self.file))

    def report(self, code: str, steps: Steps, message: str, severity: Severity = "error") -> None:
        """File a problem at a value."""
        self.problems.append(Problem(self.place(steps), code, message, severity))

    def at(self, steps: Steps) -> Any:
        """The plain value at ``steps``."""
        value = self.data
        for step in steps:
            value = value[step]
        return value


def read_document(path: Path, name: str | None = None) -> Document:
    """Read one YAML file; what is wrong with it as YAML is among its problems.

    ``name`` is how the file is called in problems; the path itself if not given.
    """
    name = name or str(path)
    document = Document(name, None, {}, [])
    try:
        return parse_document(path.read_text(encoding="utf-8"), name)
    except UnicodeDecodeError as fault:
        before = fault.object[: fault.start]
        column = len(before.rpartition(b"\n")[2].decode("utf-8")) + 1
        document.places[()] = Place(name, before.count(b"\n") + 1, column)
        document.report("not-text", (), f"is not UTF-8 text (byte {fault.start}): save it as UTF-8")
    except OSError as fault:
        document.report("unreadable", (), f"cannot be read: {fault.strerror}")
    return document


def parse_document(text: str, name: str) -> Document:
    """Read YAML that stands in a text; ``name`` is how it is called in problems."""
    document = Document(name, None, {}, [])
    try:
        root = yaml.compose(text, Loader=yaml.CSafeLoader)
    except yaml.YAMLError as fault:
        _report_fault(document, text, fault)
    else:
        if root is None:
            document.report("empty", (), "is empty: fill or remove it")
        else:
            try:
                document.data = _plain(root, (), document, set())
            except RecursionError:
                document.report("not-yaml", (), "is nested too deeply to be read")
    return document


_ADVICE = (
    ("quoted scalar", "a quotation mark is opened here and never closed: close it"),
    ("tab character", "indent with spaces, not with a tab"),
    ("mapping values", "put a text with `: ` in it in quotes, or indent this line as those above"),
    ("expected key", "indent this line as those above, and close quotes only where a text ends"),
    ("expected '-'", "indent this line as the items of the list above"),
    ("expected ','", "close the bracket, or put the comma that is missing before this"),
)
"""What to do about faults of YAML, by words of the parser."""


def _report_fault(document: Document, text: str, fault: yaml.YAMLError) -> None:
    """File what keeps a text from being YAML, where an author would mend it."""
    mark = getattr(fault, "problem_mark", None)
    context = getattr(fault, "context", None) or ""
    what = (getattr(fault, "problem", None) or str(fault)).splitlines()[0]
    if "quoted scalar" in context:  # the end of the file is where it was noticed
        mark, what = fault.context_mark, f"{context}, {what}"  # type: ignore[attr-defined]  # a MarkedYAMLError
    advice = next((a for words, a in _ADVICE if words in what), "check indentation and quotes")
    opened = _quoted_too_far(text, mark.line) if mark is not None and "expected" in what else None
    if opened is not None and mark is not None:
        end, mark = mark.line + 1, opened
        advice = f"the text in quotes that begins here ends only on line {end}: close its quotes"
    if mark is not None:
        document.places[()] = Place(document.file, mark.line + 1, mark.column + 1)
        here = text.splitlines()[mark.line :][:1]
        sign = here[0][mark.column : mark.column + 1] if here else ""
        if sign == "\t":
            advice = "indent with spaces, not with a tab"
        elif sign and sign in "%@`*&!|>":
            advice = f"put a text that begins with {sign} in quotes"
    document.report("not-yaml", (), f"is not YAML here: {what}; {advice}")


def _quoted_too_far(text: str, line: int) -> Any:
    """Where a quoted text begins that ends on a later line, at which the parser gave up."""
    opened = None
    with contextlib.suppress(yaml.YAMLError):
        for token in yaml.scan(text, Loader=yaml.CSafeLoader):
            if token.start_mark.line > line:
                break
            quoted = isinstance(token, yaml.ScalarToken) and token.style in ("'", '"')
            if quoted and token.start_mark.line < token.end_mark.line == line:
                opened = token.start_mark
    return opened


_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]*)")
_NUMBER = re.compile(r"[-+]?(0|[1-9][0-9]*)\.[0-9]+")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_WORDS: dict[str, Any] = {"true": True, "false": False, "null": None, "~": None, "": None}


def _plain(node: yaml.Node, steps: Steps, document: Document, seen: set[int]) -> Any:
    """Turn a YAML node into plain values, noting where each stands."""
    if id(node) in seen:
        document.report("anchor", steps, "uses an anchor (*name): write the value out in full")
        return None
    seen.add(id(node))
    mark = node.start_mark
    # The value of a key stands where the key does, because that is what the reader looks for.
    document.places.setdefault(steps, Place(document.file, mark.line + 1, mark.column + 1))
    if isinstance(node, yaml.MappingNode):
        return dict(_pairs(node, steps, document, seen))
    if isinstance(node, yaml.SequenceNode):
        return [_plain(n, (*steps, i), document, seen) for i, n in enumerate(node.value)]
    assert isinstance(node, yaml.ScalarNode)
    return _scalar(node)


def _pairs(
    node: yaml.MappingNode, steps: Steps, document: Document, seen: set[int]
) -> Iterator[tuple[str, Any]]:
    first: dict[str, Place] = {}
    for key_node, value_node in node.value:
        mark = key_node.start_mark
        place = Place(document.file, mark.line + 1, mark.column + 1)
        if not isinstance(key_node, yaml.ScalarNode):
            document.places[(*steps, "?")] = place
            document.report("wrong-type", (*steps, "?"), "has a key that is not a word")
            continue
        key = key_node.value
        if key in first:
            document.problems.append(
                Problem(
                    place,
                    "duplicate-key",
                    f"`{key}` stands twice (first on line {first[key].line}): "
                    "only one can count, so remove one",
                )
            )
            continue
        first[key] = document.places[(*steps, key)] = place
        yield key, _plain(value_node, (*steps, key), document, seen)


def _scalar(node: yaml.ScalarNode) -> Any:
    text: str = node.value
    if node.style:  # quoted or block text is text, whatever it looks like
        return text
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.fullmatch(text):
        return int(text)
    if _NUMBER.fullmatch(text):
        return Decimal(text)
    if _DATE.fullmatch(text):
        with contextlib.suppress(ValueError):
            return date.fromisoformat(text)
    return text


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`` (did you mean `x`?)`` for the nearest known word, or nothing."""
    near = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f" (did you mean `{near[0]}`?)" if near else ""


_KINDS = {
    "str": "text",
    "int": "a whole number",
    "decimal": "a number",
    "bool": "true or false",
    "array": "a list",
    "object": "a mapping (key: value)",
    "null": "nothing",
    "date": "a date (2026-11-01)",
}


def read_value(document: Document, steps: Steps, kind: type[T] | Any) -> T | None:
    """Read the value at ``steps`` as ``kind``; ``None`` and problems where it does not fit.

    Lists, mappings and structures are read piece by piece, so that every problem in them is filed,
    each at its place. Of a union, at most one member may be a list, and one a mapping or structure.
    """
    before = len(document.problems)
    value: T | None = _read(document, steps, kind)
    return value if len(document.problems) == before else None


def _read(document: Document, steps: Steps, kind: Any) -> Any:
    data = document.at(steps)
    options = get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)
    for option in options:
        origin, arguments = get_origin(option), get_args(option)
        if isinstance(data, dict):
            if isinstance(option, type) and issubclass(option, Struct):
                return read_struct(document, steps, option)
            if origin is dict and arguments[0] is str:
                return {key: _read(document, (*steps, key), arguments[1]) for key in data}
        elif isinstance(data, list) and (origin is list or arguments[1:] == (...,)):
            return origin(_read(document, (*steps, i), arguments[0]) for i in range(len(data)))
    try:
        if isinstance(data, str):
            _check_text(data, options)
        return msgspec.convert(data, kind)
    except msgspec.ValidationError as fault:
        document.report("wrong-type", steps, _in_words(str(fault).split(" - at `$")[0]))
        return None


def _check_text(text: str, options: tuple[Any, ...]) -> None:
    """Refuse what msgspec would take as a number or a date, and name the words that are known."""
    for option in options:
        if option is Decimal:
            raise msgspec.ValidationError("Expected `decimal`, got `str`")
        if option is date:
            if _DATE.fullmatch(text):
                raise msgspec.ValidationError(
                    f"`{text}` is in quotes, or not a day of the calendar"
                )
            raise msgspec.ValidationError("Expected `date`, got `str`")
        if get_origin(option) is Literal and text not in get_args(option):
            words = get_args(option)
            raise msgspec.ValidationError(
                f"`{text}` is not one of {', '.join(map(str, words))}{did_you_mean(text, words)}"
            )


def _in_words(text: str) -> str:
    """Say a conversion fault of msgspec in an author's words."""
    fault = re.fullmatch(r"Expected `(?P<want>[^`]*)`(?:, got `(?P<got>[^`]*)`)?", text)
    if fault is None:
        return text[0].lower() + text[1:]
    want = " or ".join(_KINDS.get(w, w) for w in fault["want"].split(" | ") if w != "null")
    if not fault["got"]:
        return f"should be {want}"
    hint = "; put it in quotes" if fault["want"].startswith("str") else ""
    return f"should be {want}, but is {_KINDS.get(fault['got'], fault['got'])}{hint}"


def read_struct(document: Document, steps: Steps, kind: type[StructT]) -> StructT | None:
    """Read the mapping at ``steps`` as a structure.

    Every key that is unknown, missing or of the wrong type becomes a problem of its own; ``None``
    is returned where there was any.
    """
    data = document.at(steps)
    if not isinstance(data, dict):
        if document.data is not None or not document.problems:  # else the file is no YAML at all
            document.report("wrong-type", steps, "should be a mapping (key: value)")
        return None
    before = len(document.problems)
    types = get_type_hints(kind, include_extras=True)
    fields = {f.encode_name: f for f in msgspec.structs.fields(kind)}
    values: dict[str, Any] = {}
    for key in data:
        if key in fields:
            name = fields[key].name
            values[name] = _read(document, (*steps, key), types[name])
        else:
            hint = did_you_mean(key, fields)
            document.report("unknown-key", (*steps, key), f"`{key}` is not known here{hint}")
    for key, field in fields.items():
        if field.required and key not in data:
            document.report("missing-key", steps, f"`{key}` is missing")
    return kind(**values) if len(document.problems) == before else None
