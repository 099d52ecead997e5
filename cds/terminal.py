"""Text that cannot steer the terminal, or the viewer of a log, in which it is shown.

Names, comments and codes come from charts and from those who call: written out as they are, they
could clear a screen, forge a line, or make a number read backwards.
"""

from __future__ import annotations

import re

_DIRECTIONS = "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"
_BREAKS = "\u2028\u2029"
_STEERING = re.compile(f"[\x00-\x09\x0b-\x1f\x7f-\x9f{_DIRECTIONS}{_BREAKS}]")
_IN_LINES = re.compile(f"[\x7f-\x9f{_DIRECTIONS}{_BREAKS}]")


def printable(text: str) -> str:
    """Text without what would steer a terminal; only line breaks stay."""
    return _STEERING.sub("\N{REPLACEMENT CHARACTER}", text)


def printable_line(text: str) -> str:
    """``printable`` for what stands on one line: a line break in it is one space."""
    return printable(" ".join(text.splitlines()) if "\n" in text or "\r" in text else text)


def printable_json(encoded: bytes) -> bytes:
    """JSON, encoded without line breaks, that means the same and does not steer a terminal.

    JSON itself asks to escape only the control characters before the space.
    """
    if encoded.isascii() and b"\x7f" not in encoded:
        return encoded
    return _IN_LINES.sub(lambda found: f"\\u{ord(found[0]):04x}", encoded.decode()).encode()
