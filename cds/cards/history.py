"""What a patient had of a drug or of each drug of a class, in words."""

from __future__ import annotations

from datetime import date
from operator import itemgetter

from cds.chart.chart import Chart
from cds.chart.spells import describe_spell, spells
from cds.chart.terms import in_sentence
from cds.chart.vocabulary import Vocabulary

MOST_SPELLS = 3
"""Times on one drug that are told; the latest are the ones that count."""


def ingredients(drug: str, vocabulary: Vocabulary) -> tuple[str, ...]:
    """The drugs of a class; a drug itself."""
    entry = vocabulary.drug_classes.get(drug)
    return entry.any_of if entry is not None else (drug,)


def history(drug: str, chart: Chart, *, now: bool = False) -> list[str]:
    """The times on each drug: ``methotrexate 2023-04 to 2023-11, stopped``.

    The drugs stand in the order in which they were begun, those without a date last. With ``now``
    only what still goes on.
    """
    vocabulary = chart.terms.vocabulary
    gap = int(vocabulary.assessments.course_gap.value) if vocabulary.assessments else 0
    said: list[tuple[date, str]] = []
    for name in ingredients(drug, vocabulary):
        planned = [] if now else chart.planned.get(name, [])
        if name not in chart.exposures and not planned:
            continue
        entry = vocabulary.drugs[name]
        covers = int(entry.covers.value) if entry.covers else 0
        found = spells(chart.exposures.get(name, ()), gap, covers)
        found = tuple(s for s in found if s.current or not now)
        texts = [describe_spell(spell) for spell in found[-MOST_SPELLS:]]
        if more := max(len(found) - MOST_SPELLS, 0):
            texts.append(f"and {more} earlier")
        if not any(s.current for s in found):
            texts += [f"ordered to begin {e.start}" for e in planned]
        if texts:
            began = found[0].start.first if found and found[0].start else date.max
            said.append((began, f"{in_sentence(entry.title)} {', '.join(texts)}"))
    return [text for _, text in sorted(said, key=itemgetter(0))]
