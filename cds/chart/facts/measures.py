"""Facts about measures: how one changed, when it was taken, and how long it was at a level."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from cds.chart.assessments import MeasureChange
from cds.chart.chart import Chart
from cds.chart.facts.declaration import (
    Declaration,
    Evidence,
    EvidenceReader,
    Value,
    observed_on,
)
from cds.chart.facts.observations import cite, last_of_days
from cds.chart.held import days_held, last_at, values_behind
from cds.chart.measurements import Measurement, plain
from cds.chart.quantities import INFINITY, UNKNOWN, Interval
from cds.chart.vocabulary import MeasureLevel, Number, Vocabulary


def declare(vocabulary: Vocabulary) -> list[Declaration]:
    """Of each measure: how it changed, whether and when it was taken, for how long it was held.

    ``measure.x.previous`` is the same comparison with baseline at the visit before the current one,
    ``measure.x.since_previous`` how much worse the current value is than at that visit.
    """
    made = []
    for name, entry in vocabulary.measures.items():
        numbers: list[tuple[str, str, str, Callable[[MeasureChange], Interval]]] = [
            ("improvement", "improvement relative to baseline", "%", lambda c: c.improvement),
            ("worsening", "worsening relative to baseline", "%", lambda c: c.worsening),
            (
                "relative_worsening",
                "worsening relative to baseline, where that is defined",
                "%",
                _defined_worsening,
            ),
            ("range_percent", "improvement in percent of the range", "%", _of_range),
        ]
        usual = [i for i in entry.instruments if i not in entry.for_children]
        if len(usual) == 1:  # others have no unit in common
            unit = _unit_of(usual[0], vocabulary)
            numbers.append(("worse_by", "worse by", unit, lambda c: c.worse_by))
        for suffix, title, unit, number in numbers:
            whens = [("", title, _now)]
            if entry.core_set:
                whens.append((".previous", f"{title}, at the visit before", _before))
                if suffix in _SINCE:
                    whens.append((".since_previous", _SINCE[suffix], _since))
            for when, said, changes in whens:
                made.append(
                    Declaration(
                        name=f"measure.{name}{when}.{suffix}",
                        kind="number",
                        title=f"{entry.title}, {said}",
                        unit=unit,
                        sense=_SENSES.get(suffix),
                        read=_changed(name, number, changes),
                        evidence=_both(name, changes),
                    )
                )
        made += [
            Declaration(
                name=f"measure.{name}.current",
                kind="boolean",
                title=f"{entry.title}, measured at the current visit",
                read=_measured(name),
                evidence=_both(name, _now),
            ),
            Declaration(
                name=f"measure.{name}.last",
                kind="event",
                title=f"{entry.title}, last measured",
                read=_last_measured(name),
                evidence=_latest(name),
            ),
        ]
        made += [
            Declaration(
                name=f"measure.{name}.{HELD}{key}",
                kind="number",
                title=f"{entry.title}, {level.title}, days up to now",
                unit="d",
                read=_held(name, level),
                evidence=_held_by(name, level),
            )
            for key, level in entry.levels.items()
        ]
        made += [
            Declaration(
                name=f"measure.{name}.{LAST}{key}",
                kind="boolean",
                title=f"{entry.title}, {level.title}, when last measured",
                read=_last_at(name, level),
                evidence=_latest(name),
            )
            for key, level in entry.levels.items()
        ]
        made += [
            Declaration(
                name=f"measure.{name}.{WORSE}{key}",
                kind="number",
                title=f"{entry.title}, worse than its best of {plain(back.value)} days",
                unit="%",
                sense="worse",
                read=_worse_than_best(name, back),
                evidence=_best_and_last(name, back),
            )
            for key, back in entry.worsenings.items()
        ]
    return made


WORSE = "worse_"
"""What the last part of a fact begins with that says how much worse than at its best it is."""


HELD = "days_"
"""What the last part of a fact begins with that says for how long something is at a level."""


LAST = "last_"
"""What the last part of a fact begins with that says whether the last value is at a level."""


def level_of(fact: str, vocabulary: Vocabulary) -> MeasureLevel | None:
    """The level of a measure that a fact is about; None for every other fact.

    Such a fact is about all assessments: to take the measure today need not settle it.
    """
    return _level_named(fact, HELD, vocabulary)


def last_level_of(fact: str, vocabulary: Vocabulary) -> MeasureLevel | None:
    """The level that a fact is about which asks of the last value; None for every other fact."""
    return _level_named(fact, LAST, vocabulary)


def _level_named(fact: str, beginning: str, vocabulary: Vocabulary) -> MeasureLevel | None:
    kind, _, rest = fact.partition(".")
    name, _, form = rest.partition(".")
    if kind != "measure" or not form.startswith(beginning):
        return None
    return vocabulary.measures[name].levels.get(form.removeprefix(beginning))


def _held(name: str, level: MeasureLevel) -> Callable[[Chart], Value]:
    return lambda chart: days_held(name, level, chart)


def _last_at(name: str, level: MeasureLevel) -> Callable[[Chart], Value]:
    return lambda chart: last_at(name, level, chart)


def _held_by(name: str, level: MeasureLevel) -> EvidenceReader:
    return lambda chart: tuple(cite(m, chart) for m in values_behind(name, level, chart))


_SENSES: dict[str, Literal["better", "worse"]] = {
    "improvement": "better",
    "worsening": "worse",
    "relative_worsening": "worse",
    "range_percent": "better",
}

_SINCE = {
    "relative_worsening": "worsening relative to the visit before, where that is defined",
    "worse_by": "worse than at the visit before by",
}
"""What is told of the change since the visit before, which has no definition of response."""

Changes = Callable[[Chart], dict[str, MeasureChange]]


def _now(chart: Chart) -> dict[str, MeasureChange]:
    return chart.changes


def _before(chart: Chart) -> dict[str, MeasureChange]:
    return chart.previous


def _since(chart: Chart) -> dict[str, MeasureChange]:
    return chart.since_previous


def _unit_of(observation: str, vocabulary: Vocabulary) -> str:
    declared = vocabulary.observations.get(observation)
    table = vocabulary.units.get(declared.units) if declared else None
    return table.unit if table else ""


def _defined_worsening(change: MeasureChange) -> Interval:
    """The worsening in percent; not known of a rise from 0, of which no percentage is defined."""
    risen = change.undefined and change.worsening.high == INFINITY
    return UNKNOWN if risen else change.worsening


def _of_range(change: MeasureChange) -> Interval:
    percent = change.range_percent
    return UNKNOWN if percent is None else Interval(percent, percent)


def _changed(
    name: str, number: Callable[[MeasureChange], Interval], changes: Changes
) -> Callable[[Chart], Value]:
    def read(chart: Chart) -> Value:
        change = changes(chart).get(name)
        return UNKNOWN if change is None else number(change)

    return read


def _measured(name: str) -> Callable[[Chart], Value]:
    return lambda chart: is_recorded(chart, chart.changes[name].current is not None)


def is_recorded(chart: Chart, recorded: bool) -> bool | None:
    """Whether Observations are recorded; unknown where there may be more than were read."""
    return recorded or (False if "Observation" in chart.complete else None)


def last_measured(name: str, chart: Chart) -> Measurement | None:
    """The last value of a measure by any instrument that counts for this patient."""
    measure = chart.terms.vocabulary.measures[name]
    taken = [
        chart.measurements.series[instrument][-1]
        for instrument in measure.instruments
        if instrument in chart.measurements.series
        and (chart.adult is False or instrument not in measure.for_children)
    ]
    return max(taken, key=lambda m: m.day) if taken else None


def _best_of(name: str, back: Number, chart: Chart) -> list[tuple[Measurement, Measurement]]:
    """Of each instrument the best and the last value of the days that count, where it has two."""
    vocabulary = chart.terms.vocabulary
    found = []
    for instrument in vocabulary.measures[name].instruments:
        taken = [
            m
            for m in last_of_days(chart, instrument)
            if (chart.as_of - m.day).days <= back.value and m.value is not None
        ]
        if len(taken) > 1:
            best = min if vocabulary.observations[instrument].worse == "higher" else max
            found.append((best(taken, key=lambda m: m.low), taken[-1]))
    return found


def _worse_than_best(name: str, back: Number) -> Callable[[Chart], Value]:
    """The greatest worsening by any instrument, in percent of its best value.

    It is at least that where there may be values that were not read.
    """

    def read(chart: Chart) -> Value:
        percents = [
            abs(best.low - last.low) / best.low * 100
            for best, last in _best_of(name, back, chart)
            if best.low > 0
        ]
        if not percents:
            return UNKNOWN
        most = max(percents)
        return Interval(most, most if "Observation" in chart.complete else INFINITY)

    return read


def _best_and_last(name: str, back: Number) -> EvidenceReader:
    return lambda chart: tuple(cite(m, chart) for pair in _best_of(name, back, chart) for m in pair)


def _last_measured(name: str) -> Callable[[Chart], Value]:
    def read(chart: Chart) -> Value:
        last = last_measured(name, chart)
        return observed_on(None if last is None else last.day, chart)

    return read


def _latest(name: str) -> Callable[[Chart], tuple[Evidence, ...]]:
    def evidence(chart: Chart) -> tuple[Evidence, ...]:
        last = last_measured(name, chart)
        return () if last is None else (cite(last, chart),)

    return evidence


def _both(name: str, changes: Changes) -> Callable[[Chart], tuple[Evidence, ...]]:
    def evidence(chart: Chart) -> tuple[Evidence, ...]:
        change = changes(chart).get(name)
        if change is None:
            return ()
        return tuple(cite(m, chart) for m in (change.baseline, change.current) if m is not None)

    return evidence
