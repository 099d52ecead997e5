"""The facts that rules may name, all together.

Names are made from the vocabulary: ``diagnosis.x``, ``finding.x``, ``antibody.x``,
``drug.x.current``, ``measure.x.improvement`` and so on; ``declare`` has them all. A fact may be
unknown: ``None`` for a boolean, the whole line of numbers for a number. What was not recorded is
false only for what is false when not recorded (a diagnosis nobody made, a drug nobody prescribed),
and only where the resources that would hold it were delivered.
"""

from __future__ import annotations

from msgspec.structs import replace

from cds.chart.chart import Chart
from cds.chart.facts import (
    allergies,
    antibodies,
    conditions,
    doses,
    drugs,
    elapsed,
    measures,
    observations,
    visits,
)
from cds.chart.facts.declaration import Declaration, Evidence, EvidenceReader
from cds.chart.vocabulary import Vocabulary


def declare(vocabulary: Vocabulary) -> dict[str, Declaration]:
    """Every fact that a vocabulary makes, by name."""
    made = [
        *conditions.declare(vocabulary),
        *antibodies.declare(vocabulary),
        *drugs.declare(vocabulary),
        *allergies.declare(vocabulary),
        *doses.declare(vocabulary),
        *observations.declare(vocabulary),
        *measures.declare(vocabulary),
        *visits.declare(),
    ]
    declared = {d.name: d for d in made}
    declared |= {d.name: d for d in elapsed.declare(vocabulary, declared)}
    return {name: replace(d, evidence=_gathered_once(d)) for name, d in declared.items()}


def _gathered_once(fact: Declaration) -> EvidenceReader:
    """Keep the evidence of a fact with the chart: several cards and their record tell it."""

    def evidence(chart: Chart) -> tuple[Evidence, ...]:
        known = chart.gathered.get(fact.name)
        if known is None:
            known = chart.gathered[fact.name] = fact.evidence(chart)
        return known

    return evidence


def groups(vocabulary: Vocabulary) -> dict[str, tuple[str, ...]]:
    """Groups of facts that rules count over: ``core_set``, and those of the vocabulary."""
    core_set = tuple(f"measure.{k}" for k, m in vocabulary.measures.items() if m.core_set)
    return {"core_set": core_set, **vocabulary.groups}
