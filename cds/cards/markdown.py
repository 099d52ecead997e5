"""Markdown for the detail of cards: tables, and what comes from the chart made safe to insert."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import cache

_SHOWN = str.maketrans({c: f"\\{c}" for c in "\\`*_[]<>|#~$"} | {"&": "&amp;"})
# All but the blanks that keep a number and its unit on one line.
_BLANKS = re.compile(r"(?:[^\S\u00a0\u202f]|\x00)+")
# GitHub's Markdown makes links of bare addresses, unless what they are known by is escaped.
_ADDRESS = re.compile(r"(?<=www)\.|:(?=//)|@", re.IGNORECASE)
# At its beginning a line of text would be a list, a heading or a rule.
_BEGINNING = re.compile(r"\A( ?(?:\d{1,9}(?=[.)]))?)([-+=]|[.)](?!\d))")
# They change the direction of what follows, and could make a number read backwards.
_DIRECTIONS = dict.fromkeys(
    map(ord, "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
)
# Most texts have nothing to escape, which a look or two tell.
_HARMLESS = re.compile(
    r"(?! ?(?:[-+=]|\d{0,9}[.)](?!\d)))"
    r"[A-Za-z0-9À-ÖØ-öø-ÿ /,;:.%()–×≥≤“”’\-\u00a0\u202f]*"
)


def escape(text: str) -> str:
    """Text from a chart as Markdown that shows that text, on one line, without markup or links.

    Blanks are shown as one space, and marks that change the direction of writing are left out.
    """
    if not text or (
        _HARMLESS.fullmatch(text)
        and "  " not in text
        and "//" not in text
        and "w." not in text
        and "W." not in text
    ):
        return text
    shown = _BLANKS.sub(" ", text.translate(_DIRECTIONS)).translate(_SHOWN)
    return _BEGINNING.sub(r"\1\\\2", _ADDRESS.sub(r"\\\g<0>", shown))


@cache
def escape_authored(text: str) -> str:
    """``escape`` for the texts of rule files, which are few, and never a patient's."""
    return escape(text)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of cells that are Markdown already."""
    lines = ["| " + " | ".join(head) + " |", "| " + " | ".join("---" for _ in head) + " |"]
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join(lines)


def shorten(text: str, limit: int) -> str:
    """Text of fewer than ``limit`` characters, cut at a word and with an ellipsis if need be."""
    if not _HARMLESS.fullmatch(text) or "  " in text:
        text = _BLANKS.sub(" ", text.translate(_DIRECTIONS))
    text = text.strip()
    if len(text) < limit:
        return text
    head = text[: limit - 2]
    cut = head.rsplit(" ", 1)[0] if " " in head[limit // 2 :] else head
    return cut.rstrip(" ,;:") + "…"
