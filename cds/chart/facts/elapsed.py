"""Facts about the days from one thing to another."""

from __future__ import annotations

from collections.abc import Callable

from cds.chart.chart import Chart
from cds.chart.facts.declaration import Declaration, Event, EvidenceReader, Value
from cds.chart.quantities import INFINITY, UNKNOWN, Interval
from cds.chart.vocabulary import Elapsed, Vocabulary


def declare(vocabulary: Vocabulary, declared: dict[str, Declaration]) -> list[Declaration]:
    """The days from one fact to another; what names a fact that is none makes no fact itself."""
    return [
        Declaration(
            name=f"elapsed.{name}",
            kind="number",
            title=entry.title,
            unit="d",
            read=_elapsed([declared[fact] for fact in entry.since], declared[entry.until]),
            evidence=_both_ends([declared[fact] for fact in (*entry.since, entry.until)]),
        )
        for name, entry in vocabulary.elapsed.items()
        if not misnamed(entry, declared)
    ]


def misnamed(entry: Elapsed, declared: dict[str, Declaration]) -> list[str]:
    """The facts of an entry that do not say how long ago something was."""
    return [
        fact
        for fact in (*entry.since, entry.until)
        if fact not in declared
        or not (declared[fact].kind == "event" or declared[fact].unit == "d")
    ]


def _days_ago(value: Value) -> Interval:
    if isinstance(value, Event):
        if value.surely is None:
            return UNKNOWN
        return Interval(value.surely if value.possibly is None else value.possibly, value.surely)
    assert isinstance(value, Interval)
    return value


def _elapsed(since: list[Declaration], until: Declaration) -> Callable[[Chart], Value]:
    def read(chart: Chart) -> Value:
        begun = [_days_ago(each.read(chart)) for each in since]
        ended = _days_ago(until.read(chart))
        low = max(each.low for each in begun)
        if low == -INFINITY or ended == UNKNOWN:
            return UNKNOWN
        return Interval(low - ended.high, max(each.high for each in begun) - ended.low)

    return read


def _both_ends(facts: list[Declaration]) -> EvidenceReader:
    return lambda chart: tuple(evidence for fact in facts for evidence in fact.evidence(chart))
