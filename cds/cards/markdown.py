"""Markdown for the detail of cards: tables, and what comes from the chart made safe to insert."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

_SHOWN = str.maketrans(
    {c: f"\\{c}" for c in "\\`*_[]<>|#~"} | dict.fromkeys("\n\r\t\v\f", " ") | {"&": "&amp;"}
)
_BREAKS = re.compile(r"\s+")


def escape(text: str) -> str:
    """Text from a chart as Markdown that shows exactly that text, on one line, without markup."""
    return text.translate(_SHOWN)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of cells that are Markdown already."""
    lines = ["| " + " | ".join(head) + " |", "| " + " | ".join("---" for _ in head) + " |"]
    lines.extend("| " + " | ".join(row) + " |" for row in rows)
    return "\n".join(lines)


def shorten(text: str, limit: int) -> str:
    """Text of fewer than ``limit`` characters, cut at a word and with an ellipsis if need be."""
    text = _BREAKS.sub(" ", text).strip()
    if len(text) < limit:
        return text
    head = text[: limit - 2]
    cut = head.rsplit(" ", 1)[0] if " " in head[limit // 2 :] else head
    return cut.rstrip(" ,;:") + "…"
