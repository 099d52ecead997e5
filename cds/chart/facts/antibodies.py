"""Facts about antibodies: whether one was found."""

from __future__ import annotations

from collections.abc import Callable

from cds.chart.chart import Chart
from cds.chart.facts.declaration import Declaration, Evidence, Value
from cds.chart.vocabulary import Vocabulary


def declare(vocabulary: Vocabulary) -> list[Declaration]:
    """Of each antibody: whether a result was positive."""
    return [
        Declaration(
            name=f"antibody.{name}",
            kind="boolean",
            title=f"{entry.title} positive",
            read=_positive(name),
            evidence=_results(name, entry.title),
        )
        for name, entry in vocabulary.antibodies.items()
    ]


def _positive(name: str) -> Callable[[Chart], Value]:
    def read(chart: Chart) -> Value:
        results = chart.measurements.antibodies.get(name, ())
        if any(r.positive for r in results):
            return True
        return False if results and "Observation" in chart.complete else None

    return read


def _results(name: str, title: str) -> Callable[[Chart], tuple[Evidence, ...]]:
    return lambda chart: tuple(
        Evidence(r.reference, str(r.day), f"{title} {'positive' if r.positive else 'negative'}")
        for r in chart.measurements.antibodies.get(name, ())
    )
