"""The times that a patient was on a drug, from orders, administrations and statements."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, timedelta

from msgspec import Struct

from cds.chart.treatments import Exposure
from cds.fhir.dates import DateSpan


class Spell(Struct, frozen=True):
    """A time on one drug without a longer gap.

    ``start`` and ``end`` are None where the record does not tell them. ``current`` is unknown where
    it does not say. ``exposures`` are what tells of it, in order of time.
    """

    drug: str
    start: DateSpan | None
    end: DateSpan | None
    current: bool | None
    exposures: tuple[Exposure, ...]


def spells(exposures: Iterable[Exposure], gap: int, covers: int = 0) -> tuple[Spell, ...]:
    """The spells of exposures to one drug, the earliest first; those without a date come last.

    Exposures no further apart than ``gap`` days are one spell. ``covers`` is for how many days
    what was given once goes on, so that infusions at their usual distance are one spell too.
    """
    dated = sorted(
        ((e.start, e) for e in exposures if e.start is not None),
        key=lambda pair: (pair[0].first, pair[1].reference),
    )
    groups: list[list[Exposure]] = []
    covered = date.min
    for start, exposure in dated:
        allowed = timedelta(days=gap + (covers if groups and groups[-1][-1].kind == "given" else 0))
        # Compared as a difference: an open end is often written as 9999-12-31.
        if not groups or start.first - covered > allowed:
            groups.append([])
            covered = date.min
        groups[-1].append(exposure)
        if exposure.current and exposure.end is None:
            covered = date.max
        covered = max(covered, (exposure.end or start).last)
    undated = [[e] for e in exposures if e.start is None]
    return tuple(_spell(group) for group in (*groups, *undated))


def _spell(exposures: list[Exposure]) -> Spell:
    current: bool | None = any(e.current for e in exposures)
    if not current and any(e.current is None for e in exposures):
        current = None
    ends = [e.end for e in exposures if e.end is not None]
    end = max(ends, key=lambda each: each.last) if ends else None
    return Spell(exposures[0].drug, exposures[0].start, end, current, tuple(exposures))


def describe_spell(spell: Spell) -> str:
    """A spell in words: ``2023-04 to 2023-11, stopped``, or ``now, since 2024-02``."""
    last = spell.exposures[-1]
    if spell.start is None:
        dates = "at a time that is not recorded"
    elif spell.current:
        return f"now, since {spell.start}"
    elif spell.current is None:
        return f"since {spell.start}, whether still is not known"
    elif spell.end is None:
        dates = f"from {spell.start}, end not recorded"
    elif spell.end == spell.start:
        dates = str(spell.start)
    else:
        dates = f"{spell.start} to {spell.end}"
    ended = {"given": "given"}.get(last.kind) or (
        last.status if last.status in ("stopped", "completed", "on-hold") else "ended"
    )
    return f"{dates}, {ended}" + (f": {last.why}" if last.why else "")
