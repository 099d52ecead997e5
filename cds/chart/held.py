"""For how long a measure has been held at a level, over all assessments up to now.

A measure is taken to have been at a level between two assessments at which it was, if these are no
further apart than the ``held_gap`` of the vocabulary. The first of them must lie at the beginning
of the time that is counted and the last within the window of an assessment before today, so that
the whole of it is covered. One value that is not at the level, on whatever day, ends it. What is
missing at an assessment, or cannot be judged, leaves it unknown from there on back.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from datetime import date, timedelta
from decimal import Decimal

from cds.chart.chart import Chart
from cds.chart.measurements import Measurement, upper_limit
from cds.chart.quantities import INFINITY, UNKNOWN, Interval
from cds.chart.terms import Terms
from cds.chart.vocabulary import MeasureLevel


def days_held(name: str, level: MeasureLevel, chart: Chart) -> Interval:
    """For how many days up to today a measure was surely, and possibly, held at a level.

    At each assessment one of its instruments must have been at the level. Of a measure that is
    taken from the most abnormal of them, that must be the one that is compared between visits, if
    that was not at the level at baseline. Whatever else was measured must have been at it too.
    """
    series, terms = chart.measurements.series, chart.terms
    counted = instruments_of(name, level, chart)
    broken: date | None = None
    unsure: date | None = None
    at_level: dict[str, list[date]] = {}
    for instrument in counted:
        taken = series.get(instrument)
        for measurement in _backwards(taken) if taken else ():
            if broken is not None and measurement.day <= broken:
                break
            held = is_at(level, measurement, terms)
            if held:
                at_level.setdefault(instrument, []).append(measurement.day)
            elif held is False:
                broken = measurement.day
            elif unsure is None or measurement.day > unsure:
                unsure = measurement.day
        for day in chart.measurements.unusable.get(instrument, ()):
            # What was entered again on the same day is known.
            if day not in at_level.get(instrument, ()) and (unsure is None or day > unsure):
                unsure = day
    since = None
    if at_level and "Observation" in chart.complete:
        after = max((day for day in (broken, unsure) if day is not None), default=date.min)
        needed = _needed(name, level, counted, chart)
        days = [day for each in needed for day in at_level.get(each, ()) if day > after]
        since = _covered_since(sorted(days), after, chart)
    if since is None and broken is None:
        return UNKNOWN
    return Interval(
        Decimal(0 if since is None else (chart.as_of - since).days),
        INFINITY if broken is None else Decimal(max((chart.as_of - broken).days - 1, 0)),
    )


def last_at(name: str, level: MeasureLevel, chart: Chart) -> bool | None:
    """Whether a measure was at a level when it was last taken: all that was measured on that day.

    None where nothing was, where it cannot be judged, or where a later value cannot be used.
    """
    if "Observation" not in chart.complete:
        return None
    series, counted = chart.measurements.series, instruments_of(name, level, chart)
    last = [next(_backwards(taken)) for each in counted if (taken := series.get(each))]
    day = max((m.day for m in last), default=date.min)
    unusable = (each for one in counted for each in chart.measurements.unusable.get(one, ()))
    if not last or any(each > day for each in unusable):
        return None
    at_level = [is_at(level, m, chart.terms) for m in last if m.day == day]
    return False if False in at_level else None if None in at_level else True


def instruments_of(name: str, level: MeasureLevel, chart: Chart) -> tuple[str, ...]:
    """The instruments of a measure whose values can be at a level in this patient."""
    measure = chart.terms.vocabulary.measures[name]
    named, children = level.no_worse_than, measure.for_children
    others = level.upper_limits is not None
    return tuple(
        [
            each
            for each in measure.instruments
            if (each in named or (others and each not in children))
            and (chart.adult is False or each not in children)
        ]
    )


def is_at(level: MeasureLevel, measurement: Measurement, terms: Terms) -> bool | None:
    """Whether a value is at a level; None where it has no upper limit to be compared with."""
    declared = terms.vocabulary.observations[measurement.entry]
    number = level.no_worse_than.get(measurement.entry)
    if number is not None:
        if declared.worse == "higher":
            return measurement.high <= number.value
        return measurement.low >= number.value
    limit = upper_limit(measurement, terms)
    if limit is None or level.upper_limits is None:
        return None
    return measurement.high <= level.upper_limits.value * limit.value


def values_behind(name: str, level: MeasureLevel, chart: Chart) -> list[Measurement]:
    """The values that a level rests on, the latest first: of each day and instrument the last."""
    series = chart.measurements.series
    counted = instruments_of(name, level, chart)
    found = [m for each in counted for m in _backwards(series.get(each, []))]
    return sorted(found, key=lambda m: m.day, reverse=True)


def _backwards(taken: list[Measurement]) -> Iterator[Measurement]:
    """The last measurement of each day, the latest first."""
    day = None
    for measurement in reversed(taken):
        if measurement.day != day:
            day = measurement.day
            yield measurement


def _needed(
    name: str, level: MeasureLevel, counted: tuple[str, ...], chart: Chart
) -> tuple[str, ...]:
    """The instruments of which one must be known at each assessment."""
    change = chart.changes[name]
    if (
        chart.terms.vocabulary.measures[name].choose == "first"
        or change.instrument not in counted
        or change.baseline is None
        or is_at(level, change.baseline, chart.terms)
    ):
        return counted
    return (change.instrument,)


def _covered_since(days: list[date], after: date, chart: Chart) -> date | None:
    """The first of the assessments, without a gap up to today, that all have one of these days."""
    numbers = chart.terms.vocabulary.assessments
    if not days or numbers is None or numbers.held_gap is None:
        return None
    window = timedelta(days=int(numbers.window.value))
    allowed, gap = window, timedelta(days=int(numbers.held_gap.value))
    since, later = None, chart.as_of
    for visit in reversed(chart.visits.days):
        if visit <= after or later - visit > allowed:
            break
        nearby = bisect_left(days, visit - window)
        if nearby == len(days) or days[nearby] > visit + window:
            break
        since = later = visit
        allowed = gap
    return since
