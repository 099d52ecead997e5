"""What several cards say alike stands once, in ``shared.yaml``, and is put where rules name it.

An item ``{shared: name}`` among the texts or the options of a card stands for those of that name,
and the evidence of what a card so takes is cited with its own. All that is put in keeps the place
where it was written, so that a mistake in it is told there, once.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from msgspec import Struct

from cds.located import Document, Place, Steps, did_you_mean, read_document

FILE = "shared.yaml"
KEY = "shared"
"""The key of an item that stands for what is shared under a name."""

_PARTS = ("text", "options")


class _Piece(Struct, frozen=True):
    """An item of a list, with where it and everything in it stands."""

    data: Any
    places: Mapping[Steps, Place]


def read_shared(folder: Path) -> Document:
    """The shared file of a rules folder; without data where there is none, or it is no mapping."""
    if not (folder / FILE).exists():
        return Document(FILE, None, {}, [])
    document = read_document(folder / FILE, FILE)
    if document.data is not None and not isinstance(document.data, dict):
        document.report("wrong-type", (), "should be a mapping (key: value)")
        document.data = None
    return document


def read_rule(path: Path, name: str, shared: Document) -> Document:
    """A rule file with what it names of the shared file in its place."""
    document = read_document(path, name)
    if isinstance(document.data, dict):
        put_shared(document, shared)
    return document


def put_shared(document: Document, shared: Document) -> tuple[str, ...]:
    """Put what a rule names of ``shared`` in its place, and give back the names.

    A name that is not there is filed as a problem.
    """
    card = document.data.get("card")
    names: dict[str, None] = {}
    for part in _PARTS if isinstance(card, dict) else ():
        steps = ("card", part)
        pieces: list[_Piece] = []
        for i, piece in enumerate(_pieces(document, steps)):
            if not isinstance(piece.data, dict) or KEY not in piece.data:
                pieces.append(piece)
                continue
            name = _name(document, (*steps, i), piece.data, shared)
            if name is not None:
                names[name] = None
                pieces += _pieces(shared, (name, part))
        if names:
            _put(document, steps, pieces)
    evidence = [piece for name in names for piece in _pieces(shared, (name, "evidence"))]
    if evidence:
        _put(document, ("evidence",), [*_pieces(document, ("evidence",)), *evidence])
    return tuple(names)


def _name(
    document: Document, steps: Steps, item: Mapping[str, Any], shared: Document
) -> str | None:
    """The name of what an item stands for, where there is such a thing."""
    for extra in item:
        if extra != KEY:
            document.report("unknown-key", (*steps, extra), f"`{extra}` does not go with `{KEY}`")
    known = shared.data or {}
    name = item[KEY]
    if name in known:
        return str(name)
    document.report(
        "unknown-id", steps, f"`{name}` is not in {FILE}{did_you_mean(str(name), known)}"
    )
    return None


def _pieces(document: Document, steps: Steps) -> list[_Piece]:
    """The items of the list at ``steps``; none where there is no list."""
    found: Any = document.data
    for step in steps:
        found = found.get(step) if isinstance(found, dict) else None
    if not isinstance(found, list):
        return []
    n = len(steps)
    places: list[dict[Steps, Place]] = [{} for _ in found]
    for at, place in document.places.items():
        if at[:n] == steps and len(at) > n:
            places[at[n]][at[n + 1 :]] = place  # type: ignore[index]  # of a list the steps are numbers
    return [_Piece(*pair) for pair in zip(found, places, strict=True)]


def _put(document: Document, steps: Steps, pieces: list[_Piece]) -> None:
    """Put a list of items at ``steps``, in place of that which is there."""
    n = len(steps)
    kept = {at: p for at, p in document.places.items() if at[:n] != steps or len(at) == n}
    put = {
        (*steps, i, *at): place
        for i, piece in enumerate(pieces)
        for at, place in piece.places.items()
    }
    document.places = kept | put
    document.at(steps[:-1])[steps[-1]] = [piece.data for piece in pieces]
