"""Lays out rule files in one way, with every comment kept where it belongs.

Keys come in the order of the structures (``cds.rules.language``, ``cds.chart.vocabulary``), blocks
are indented by two, quotes stand only where they are of use, runs of blank lines become one.
What is on one line stays on it; a list or mapping in brackets over several lines is joined where it
then fits. A comment belongs to the key below it or, at the end of a line, to that line; it moves
with them. A block with a comment below its last key is not sorted. Written by hand, since the
libraries that keep comments hang each on the key *before* it.

Before a text is given back it is read again: the same data, the same comments at the same keys, and
nothing left to change, or the file is refused.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

import msgspec
import yaml
from msgspec import Struct, field

from cds.authoring.schemas import FOLDER, KINDS, FileKind, kind_of, modeline
from cds.chart.vocabulary import CodedEntry, Entry
from cds.located import FilesInvalid, Place, Problem, parse_document, read_document
from cds.rules.conditions import HowMany

WIDTH = 100
"""What is in brackets over several lines is joined where the line is then no longer than this."""


class _Refused(Exception):
    """A text holds something that cannot be laid out."""

    def __init__(self, line: int, column: int, what: str) -> None:
        self.line, self.column, self.what = line + 1, column + 1, what
        super().__init__(what)


# --- files ---------------------------------------------------------------------------------------


def authored_files(path: Path) -> list[Path]:
    """The file itself, or every YAML file in a folder."""
    return [path] if path.is_file() else sorted(path.rglob("*.yaml"))


def format_file(path: Path) -> tuple[str, str]:
    """The text of a file as it is, and as it should be; nothing is written.

    The modeline is put right where a folder above the file holds the schemas. Raises
    ``FilesInvalid`` where the file is not YAML, or holds something that cannot be laid out.
    """
    document = read_document(path)
    if document.problems:
        raise FilesInvalid(document.problems)
    text = path.read_bytes().decode("utf-8")
    return text, format_text(text, kind_of(path), str(path), _modeline_of(path.resolve()))


def _modeline_of(path: Path) -> str | None:
    for root in path.parents:
        if (root / FOLDER / kind_of(path).schema_file).is_file():
            return modeline(path, root)
    return None


def format_text(
    text: str, kind: FileKind, name: str = "text", schema_line: str | None = None
) -> str:
    """A text as it should be, with ``schema_line`` on top where it is given.

    Raises ``FilesInvalid`` where it is not YAML, or holds something that cannot be laid out.
    """
    before = parse_document(text, name)
    if before.problems:
        raise FilesInvalid(before.problems)
    text = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    head = ""
    if schema_line is not None:
        head = f"{schema_line}\n"
        text = _MODELINE.sub("", text, count=1)
    try:
        made, comments = _laid_out(text, kind)
        again, same_comments = _laid_out(made, kind)
    except _Refused as fault:
        problem = Problem(Place(name, fault.line, fault.column), "not-formatted", fault.what)
        raise FilesInvalid([problem]) from None
    except yaml.YAMLError:  # what was made is no YAML any more
        made, comments, again, same_comments = "", [], "", []
    after = parse_document(made, name)
    if (
        after.problems
        or _exact(after.data) != _exact(before.data)
        or (made, comments) != (again, same_comments)
    ):
        what = "cannot be laid out without a change of meaning or of a comment: left as it is"
        raise FilesInvalid([Problem(Place(name), "not-formatted", what)])
    return head + made


_SCHEMA_FILES = "|".join(re.escape(kind.schema_file) for kind in KINDS)
_MODELINE = re.compile(
    rf"^#[ \t]*yaml-language-server:[ \t]*\$schema=\S*?({_SCHEMA_FILES})[ \t]*\n", re.MULTILINE
)


def _exact(value: Any) -> Any:
    """A value that equals only what is written the same: 1 is neither 1.0 nor true."""
    if isinstance(value, dict):
        return {key: _exact(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_exact(inner) for inner in value]
    return type(value).__name__, str(value)


def _laid_out(text: str, kind: FileKind) -> tuple[str, list[_Kept]]:
    """The text laid out, and its comments, sorted, with the keys that they stand at."""
    source = _read(text)
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    assert root is not None  # a text without YAML in it is a problem already
    stop = text.count("\n") + 1
    shape = _Shape(kind.structure)
    begin = root.start_mark.line
    # What a blank line parts from the first key is about the file.
    head = max((n + 1 for n in range(begin) if n not in source.own), default=0)
    lines = _own(source, range(head), 0, (), "head")
    if _is_block(root):
        lines += _block(source, root, shape, head, stop, 0, ())
    else:
        lines += _own(source, range(head, begin), 0, (), "above")
        lines += _value(source, root, shape, 0, 0, ())
        lines[-1] = _beside(source, lines[-1], _end(source, root), ())
        lines += _own(source, range(_end(source, root) + 1, stop), 0, (), "below")
    left = sorted((*source.own, *source.beside))
    if left:
        raise _Refused(left[0], 0, "has a comment inside a value: put it above the key")
    return "\n".join(_without_blanks(lines)).rstrip("\n") + "\n", sorted(source.kept)


# --- what is in the text -------------------------------------------------------------------------

_Steps = tuple[str, ...]
_Kept = tuple[_Steps, str, str]
"""A comment that was kept: the key that it stands at, on which side, and its text."""


class _Source(Struct):
    """A text with its comments by line (from 0), each as its column and what it says.

    ``own`` have a line of their own, ``beside`` stand at the end of one. Both are taken away as
    they are written out, into ``kept``. ``dashes``: where each item of a list begins.
    """

    text: str
    own: dict[int, tuple[int, str]] = field(default_factory=dict)
    beside: dict[int, tuple[int, str]] = field(default_factory=dict)
    dashes: list[tuple[int, int]] = field(default_factory=list)
    kept: list[_Kept] = field(default_factory=list)


_STRANGE: dict[type[yaml.Token], str] = {
    yaml.DirectiveToken: "a directive (%)",
    yaml.DocumentStartToken: "a document marker (---)",
    yaml.DocumentEndToken: "a document marker (...)",
    yaml.AnchorToken: "an anchor (&name)",
    yaml.AliasToken: "an anchor (*name)",
    yaml.TagToken: "a tag (!name)",
}


def _read(text: str) -> _Source:
    source = _Source(text)
    gap = 0  # where what may hold comments begins
    for token in yaml.scan(text, Loader=yaml.SafeLoader):
        start = token.start_mark
        if type(token) in _STRANGE:
            raise _Refused(
                start.line, start.column, f"uses {_STRANGE[type(token)]}: write the file without it"
            )
        if isinstance(token, yaml.KeyToken) and text.startswith("?", start.index):
            raise _Refused(start.line, start.column, "uses a key with `?`: write `key: value`")
        if isinstance(token, yaml.BlockEntryToken):
            source.dashes.append((start.line, start.column))
        if isinstance(token, yaml.ScalarToken):
            _comments(source, gap, start.index)
            gap = token.end_mark.index
    _comments(source, gap, len(text))
    return source


def _comments(source: _Source, start: int, stop: int) -> None:
    """Note the comments in a part of the text that holds no scalars."""
    for found in re.compile(r"#[^\n]*").finditer(source.text, start, stop):
        line = source.text.count("\n", 0, found.start())
        column = found.start() - source.text.rfind("\n", 0, found.start()) - 1
        before = source.text[found.start() - column : found.start()]
        where = source.beside if before.strip() else source.own
        where[line] = (column, found.group().rstrip())


class _Item(Struct):
    """An entry of a mapping, or of a list, which has no key: where it begins, and its value."""

    key: yaml.ScalarNode | None
    value: yaml.Node
    line: int
    column: int
    end: int


def _items(source: _Source, node: yaml.Node) -> list[_Item]:
    items = []
    for entry in node.value:
        key, value = entry if isinstance(entry, tuple) else (None, entry)
        mark = (key or value).start_mark
        line, column = mark.line, mark.column
        if key is None and _is_block(node):
            line, column = max(
                dash
                for dash in source.dashes
                if dash[1] == node.start_mark.column and dash <= (line, column)
            )
        items.append(_Item(key, value, line, column, max(line, _end(source, value))))
    return items


def _key(item: _Item, index: int) -> str:
    return str(index) if item.key is None else str(item.key.value)


def _is_block(node: yaml.Node) -> bool:
    return isinstance(node, yaml.CollectionNode) and not node.flow_style


def _is_empty(node: yaml.Node) -> bool:
    return isinstance(node, yaml.ScalarNode) and not node.style and not node.value


def _is_block_text(node: yaml.Node) -> bool:
    return isinstance(node, yaml.ScalarNode) and node.style in ("|", ">")


def _end(source: _Source, node: yaml.Node) -> int:
    """The last line of a node."""
    if _is_block(node):
        last = node.value[-1]
        key, value = last if isinstance(last, tuple) else (last, last)
        return max(int(key.start_mark.line), _end(source, value))
    if _is_block_text(node):
        text = source.text[node.start_mark.index : node.end_mark.index]
        header, _, _ = text.partition("\n")
        # With + the blank lines at the end are part of the text.
        text = text.removesuffix("\n") if "+" in header else text.rstrip()
        return int(node.start_mark.line) + text.count("\n")
    return int(node.end_mark.line)


# --- blocks --------------------------------------------------------------------------------------


def _block(
    source: _Source,
    node: yaml.Node,
    shape: _Shape,
    begin: int,
    stop: int,
    indent: int,
    steps: _Steps,
) -> list[str]:
    """The lines of a mapping or list in block style; the lines from begin to stop belong to it."""
    items = _items(source, node)
    column = node.start_mark.column
    begins = [begin]
    begins += [_border(source, a, b.line, column) for a, b in pairwise(items)]
    begins.append(_border(source, items[-1], stop, column))
    pieces = []
    for i, (item, (first, following)) in enumerate(zip(items, pairwise(begins), strict=True)):
        key = _key(item, i)
        inner = (*steps, key)
        piece = _own(source, range(first, item.line), indent, inner, "above")
        piece += _entry(source, item, shape.of(key), following, indent, inner)
        pieces.append((key, piece))
    below = _own(source, range(begins[-1], stop), indent, steps, "below")
    if not any(below):  # what stands below the last key may belong to that key
        pieces = [(key, dict(pieces)[key]) for key in shape.sorted([key for key, _ in pieces])]
    lines = [line for _, piece in pieces for line in piece]
    return _without_blanks(lines) + below


def _border(source: _Source, item: _Item, stop: int, column: int) -> int:
    """The line between what belongs to an entry and what belongs to the next one, at a column.

    Comments that stand further in belong to the entry; from the first other one on, to the next.
    """
    begin = item.end + 1
    if _is_block_text(item.value):  # anything further in would be part of the text
        return begin
    border = next(
        (n for n in range(begin, stop) if n in source.own and source.own[n][0] <= column), stop
    )
    while border > begin and border - 1 not in source.own:
        border -= 1
    return border


def _entry(
    source: _Source, item: _Item, shape: _Shape, stop: int, indent: int, steps: _Steps
) -> list[str]:
    """The lines of one entry of a block, and of the comments below it that belong to it."""
    value, margin = item.value, " " * indent
    head = margin + ("-" if item.key is None else f"{_scalar(source, item.key, bracketed=False)}:")
    within = range(item.line + 1, value.start_mark.line)
    apart = item.line < value.start_mark.line and (
        item.line in source.beside or any(n in source.own for n in within)
    )
    if _is_block(value):
        if item.key is None and not apart:
            lines = _block(source, value, shape, item.line, stop, indent + 2, steps)
            return [f"{margin}- {lines[0].lstrip()}", *lines[1:]]
        lines = [_beside(source, head, item.line, steps)]
        return lines + _block(source, value, shape, item.line + 1, stop, indent + 2, steps)
    if apart:
        lines = [_beside(source, head, item.line, (*steps, ":"))]
        lines += _own(source, within, indent + 2, steps, "within")
        inner = _value(source, value, shape, indent + 2, indent + 2, steps)
        lines += [" " * (indent + 2) + inner[0], *inner[1:]]
    elif _is_empty(value):
        lines = [head]
    else:
        inner = _value(source, value, shape, indent, len(head) + 1, steps)
        lines = [f"{head} {inner[0]}", *inner[1:]]
    lines[-1] = _beside(source, lines[-1], item.end, steps)
    return lines + _own(source, range(item.end + 1, stop), indent + 2, steps, "below")


def _own(source: _Source, within: range, indent: int, steps: _Steps, side: str) -> list[str]:
    """Comments and blank lines, of which one stands for several."""
    lines: list[str] = []
    for n in within:
        if n in source.own:
            comment = source.own.pop(n)[1]
            source.kept.append((steps, side, comment))
            lines.append(" " * indent + comment)
        elif not lines or lines[-1]:
            lines.append("")
    return lines


def _beside(source: _Source, line: str, number: int, steps: _Steps, before: int = 0) -> str:
    """A line with the comment that stands at its end, in the column where it stood if it can.

    ``before`` is how many characters stand before the line.
    """
    if number not in source.beside:
        return line
    column, comment = source.beside.pop(number)
    source.kept.append((steps, "beside", comment))
    return line.ljust(max(column - before, len(line) + 2)) + comment


def _without_blanks(lines: list[str]) -> list[str]:
    """Lines without the blank ones at the beginning."""
    return lines[next((i for i, line in enumerate(lines) if line), len(lines)) :]


# --- values --------------------------------------------------------------------------------------


def _value(
    source: _Source,
    node: yaml.Node,
    shape: _Shape,
    indent: int,
    column: int,
    steps: _Steps,
    *,
    bracketed: bool = False,
) -> list[str]:
    """The lines of a scalar, or of a mapping or list in brackets; the first begins at a column.

    ``indent`` is that of the line on which it begins.
    """
    if isinstance(node, yaml.ScalarNode):
        if _is_block_text(node):
            return _block_text(source, node, indent)
        first, *others = _scalar(source, node, bracketed=bracketed).split("\n")
        return [first.rstrip(), *(" " * (indent + 2) * bool(o.strip()) + o.strip() for o in others)]
    start, end = node.start_mark.line, node.end_mark.line
    commented = any(n in source.own or n in source.beside for n in range(start, end))
    if not commented:
        line = _one_line(source, node, shape)
        if "\n" not in line and (start == end or column + len(line) <= WIDTH):
            return [line]
    return _brackets(source, node, shape, indent, column, steps, commented=commented)


def _block_text(source: _Source, node: yaml.ScalarNode, indent: int) -> list[str]:
    """A text after ``|`` or ``>``, as it stands, further in or out."""
    lines = source.text[node.start_mark.index : node.end_mark.index].split("\n")
    header, lines = lines[0].rstrip(), lines[1 : _end(source, node) - node.start_mark.line + 1]
    if re.search("[0-9]", header.split("#")[0]):
        mark = node.start_mark
        raise _Refused(mark.line, mark.column, "says its own indentation: leave the digit out")
    least = min((len(n) - len(n.lstrip(" ")) for n in lines if n.strip()), default=0)
    return [header, *((" " * (indent + 2) + n[least:]).rstrip(" ") for n in lines)]


def _one_line(source: _Source, node: yaml.Node, shape: _Shape | None = None) -> str:
    """A node on one line, unless a scalar in it has several."""
    if isinstance(node, yaml.ScalarNode):
        return _scalar(source, node)
    shape = shape or _Shape()
    if isinstance(node, yaml.MappingNode):
        parts = {
            key.value: f"{_scalar(source, key)}: {_one_line(source, value, shape.of(key.value))}"
            for key, value in node.value
        }
        return "{" + ", ".join(parts[key].rstrip() for key in shape.sorted(list(parts))) + "}"
    listed = (_one_line(source, value, shape.of(str(i))) for i, value in enumerate(node.value))
    return "[" + ", ".join(listed) + "]"


def _brackets(
    source: _Source,
    node: yaml.Node,
    shape: _Shape,
    indent: int,
    column: int,
    steps: _Steps,
    *,
    commented: bool,
) -> list[str]:
    """A mapping or list in brackets, with lines broken before the entries where they are now."""
    items = _items(source, node)
    opening, closing = "{}" if isinstance(node, yaml.MappingNode) else "[]"
    ends = [node.start_mark.line, *(item.end for item in items)]
    hanging = bool(items) and items[0].line > ends[0]
    margin = indent + 2 if hanging else column + 1
    starts = [item.line for item in items]
    if not commented:  # sorted entries take each other's places: lines break where they did
        by_key = {_key(item, i): item for i, item in enumerate(items)}
        items = [by_key[key] for key in shape.sorted(list(by_key))]
    lines = [opening]

    def before() -> int:
        return column if len(lines) == 1 else 0

    for i, item in enumerate(items):
        key = _key(item, i)
        inner = (*steps, key)
        if starts[i] > ends[i]:
            lines[-1] = _beside(source, lines[-1], ends[i], (*steps, f"after {i}"), before())
            lines += _own(source, range(ends[i] + 1, starts[i]), margin, inner, "above")
            lines.append(" " * margin)
        elif i:
            lines[-1] += " "
        if item.key is not None:
            lines[-1] += f"{_scalar(source, item.key)}: "
        at = before() + len(lines[-1])
        shaped = shape.of(key)
        first, *others = _value(source, item.value, shaped, margin, at, inner, bracketed=True)
        lines[-1] += first
        lines += others
        if item is not items[-1]:
            lines[-1] = f"{lines[-1].rstrip()},"
    last, end = ends[len(items)], node.end_mark.line
    if end > last and commented:
        lines[-1] = _beside(source, lines[-1], last, (*steps, "last"), before())
        lines += _own(source, range(last + 1, end), margin, steps, "below")
        lines.append(" " * (indent if hanging else margin) + closing)
    elif end > last and hanging:
        lines.append(" " * indent + closing)
    else:
        lines[-1] += closing
    return lines


_SAFE = re.compile(r"[^\W\d_](?:[\w ./–-]*[\w./–-])?")
"""What no reader takes for anything but text, without quotes."""


def _scalar(source: _Source, node: yaml.ScalarNode, *, bracketed: bool = True) -> str:
    """A scalar as it stands, but for quotes that are of no use, or of the other kind.

    In brackets quotes stay: a comma that is put into the text later would end it there.
    """
    token = source.text[node.start_mark.index : node.end_mark.index]
    text: str = node.value
    if not node.style or "\n" in token:
        return token
    safe = _SAFE.fullmatch(text) and "  " not in text and yaml.safe_load(text) == text
    if safe and not bracketed:
        return text
    if node.style == "'" and text.isprintable() and not set(text) & {'"', "\\"}:
        return f'"{text}"'
    return token


# --- the order of keys ---------------------------------------------------------------------------


class _Shape(Struct, frozen=True):
    """What a value is to be: the type of it, or of a condition; nothing where it is not known."""

    kind: Any = None

    def of(self, key: str) -> _Shape:
        """The shape of what stands under a key, or of an item."""
        for option in _options(self.kind):
            if option is _CONDITION:
                return self
            if _is_structure(option):
                hints = get_type_hints(option)
                return _Shape(_CONDITION if key == "when" else hints.get(key))
            if get_origin(option) is dict:
                return _Shape(get_args(option)[1])
            if get_origin(option) in (list, tuple):
                return _Shape(get_args(option)[0])
        return _Shape()

    def sorted(self, keys: list[str]) -> list[str]:
        """Keys in the order of the structure; one that it does not know stays behind its own."""
        order = _order(self.kind)
        ranks: list[int] = []
        for key in keys:
            known = order.index(key) if key in order else None
            ranks.append(known if known is not None else ranks[-1] if ranks else -1)
        return [key for _, key in sorted(zip(ranks, keys, strict=True), key=lambda pair: pair[0])]


_CONDITION = "condition"
_CONDITION_KEYS = (*get_args(HowMany), "of", "where", "as")


def _options(kind: Any) -> tuple[Any, ...]:
    return get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)


def _is_structure(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, Struct)


def _order(kind: Any) -> Sequence[str]:
    """The order of the keys of a structure: title, what is its own, and then its codes."""
    if kind is _CONDITION:
        return _CONDITION_KEYS
    for option in _options(kind):
        if _is_structure(option):
            names = [f.encode_name for f in msgspec.structs.fields(option)]
            if not issubclass(option, CodedEntry):
                return names
            codes = [n for n in CodedEntry.__struct_fields__ if n not in Entry.__struct_fields__]
            return [*(n for n in names if n not in codes), *codes]
    return ()
