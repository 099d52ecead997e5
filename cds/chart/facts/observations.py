"""Facts about single observations: the latest value, the one before, and falls."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta

from msgspec.structs import replace

from cds.chart.chart import Chart
from cds.chart.facts.declaration import (
    Declaration,
    Evidence,
    EvidenceReader,
    Value,
    observed_on,
)
from cds.chart.measurements import (
    Measurement,
    is_flagged_high,
    plain,
    possible_multiple,
    recorded,
    say_unit,
    upper_limit,
    upper_limits,
)
from cds.chart.quantities import INFINITY, UNKNOWN, Interval
from cds.chart.terms import in_sentence
from cds.chart.treatments import NO_COURSE, latest
from cds.chart.vocabulary import Fall, Number, Vocabulary


def declare(vocabulary: Vocabulary) -> list[Declaration]:
    """Of each observation: its last values, and the falls that are looked for."""
    made = []
    for name, entry in vocabulary.observations.items():
        unit = vocabulary.units[entry.units].unit if entry.units in vocabulary.units else ""
        falls = []
        for fall, back in entry.falls.items():
            days = f"within {plain(back.value)} days{_of_fall(back, vocabulary)}"
            falls += [
                (f".{fall}", f", fall {days}", unit, _fall(name, back), _falling(name, back)),
                (
                    f".{fall}_from",
                    f", highest value before {days}",
                    unit,
                    _fall_from(name, back),
                    _fallen_from(name, back),
                ),
            ]
        within = entry.counts_for
        latest = _current_only(name, within, _nth_last(name, 1))
        multiple = _current_only(name, within, _multiple(name))
        now = _last_with_age(name, within)
        for suffix, title, of_unit, read, evidence in (
            (".latest", "", unit, latest, now),
            (".previous", ", the value before", unit, _nth_last(name, 2), _last(name, 2)),
            (".multiple", ", times its upper limit", "", multiple, now),
            *falls,
        ):
            made.append(
                Declaration(
                    name=f"observation.{name}{suffix}",
                    kind="number",
                    title=entry.title + title,
                    unit=of_unit,
                    read=read,
                    evidence=evidence,
                )
            )
        made.append(
            Declaration(
                name=f"observation.{name}.flagged_high",
                kind="boolean",
                title=f"{entry.title}, called high by the laboratory",
                read=_flagged(name, within),
                evidence=now,
            )
        )
        made.append(
            Declaration(
                name=f"observation.{name}",
                kind="event",
                title=entry.title,
                read=_last_taken(name),
                evidence=_last(name, 1),
            )
        )
    return made


def last_of_days(chart: Chart, name: str) -> list[Measurement]:
    """The last measurement of each day, in order of time."""
    return list({m.day: m for m in chart.measurements.series.get(name, ())}.values())


def _nth_last(name: str, n: int) -> Callable[[Chart], Value]:
    def read(chart: Chart) -> Value:
        if name not in chart.measurements.series:
            return UNKNOWN
        taken = last_of_days(chart, name)
        return Interval(taken[-n].low, taken[-n].high) if len(taken) >= n else UNKNOWN

    return read


def _too_old(name: str, within: Number | None, chart: Chart) -> bool:
    """Whether the last value of an observation is too old to be taken for the current one."""
    taken = chart.measurements.series.get(name, ())
    return within is not None and any((chart.as_of - m.day).days > within.value for m in taken[-1:])


def _current_only(
    name: str, within: Number | None, read: Callable[[Chart], Value]
) -> Callable[[Chart], Value]:
    if within is None:
        return read
    return lambda chart: UNKNOWN if _too_old(name, within, chart) else read(chart)


def _last_with_age(name: str, within: Number | None) -> EvidenceReader:
    """The last value as evidence, and that it is too old, where it is."""
    last = _last(name, 1)
    if within is None:
        return last

    def evidence(chart: Chart) -> tuple[Evidence, ...]:
        if not _too_old(name, within, chart):
            return last(chart)
        said = f"older than {plain(within.value)} days, so not taken for the current value"
        return tuple(replace(e, text=f"{e.text}; {said}") for e in last(chart))

    return evidence


def _multiple(name: str) -> Callable[[Chart], Value]:
    def read(chart: Chart) -> Value:
        if name not in chart.measurements.series:
            return UNKNOWN
        multiple = possible_multiple(last_of_days(chart, name)[-1], chart.terms)
        return UNKNOWN if multiple is None else Interval(*multiple)

    return read


def _flagged(name: str, within: Number | None) -> Callable[[Chart], Value]:
    def read(chart: Chart) -> Value:
        taken = last_of_days(chart, name)
        if not taken or _too_old(name, within, chart):
            return False if "Observation" in chart.complete and not taken else None
        return is_flagged_high(taken[-1], chart.terms)

    return read


def _of_fall(fall: Fall, vocabulary: Vocabulary) -> str:
    """Which values a fall is looked for in, for its title."""
    titles = {**vocabulary.drugs, **vocabulary.drug_classes}
    if fall.after is not None:
        return f", since the last {in_sentence(titles[fall.after].title)}"
    drugs = " or ".join(in_sentence(titles[drug].title) for drug in fall.during)
    return f", on {drugs}" if drugs else ""


def _from_day(fall: Fall, chart: Chart) -> date | None:
    """The first day of which values count for a fall; None where there is none or it is not known.

    Of a partial date it is the last day that it may mean: no value before counts.
    """
    if fall.after is not None:
        course = chart.courses.get(fall.after, NO_COURSE)
        if course.uncertain:
            return None
        last = latest(course.events)
        return None if last is None else last.last
    if fall.during:
        begun = [chart.courses.get(drug, NO_COURSE).since for drug in fall.during]
        days = [since.last for since in begun if since is not None]
        numbers = chart.terms.vocabulary.assessments
        window = timedelta(days=int(numbers.window.value) if numbers else 0)
        # The first days of year 1 stand there by mistake; before them there are none.
        return max(min(days), date.min + window) - window if days else None
    return date.min


def _counted_before(chart: Chart, name: str, fall: Fall) -> list[Measurement]:
    """The measurements before the latest that count for a fall."""
    first = _from_day(fall, chart)
    if first is None or name not in chart.measurements.series:
        return []
    *earlier, latest_one = last_of_days(chart, name)
    return [m for m in earlier if m.day >= first and (latest_one.day - m.day).days <= fall.value]


def _highest_before(chart: Chart, name: str, fall: Fall) -> tuple[Measurement, Measurement] | None:
    """The latest measurement and the highest one before it of those that count for a fall."""
    near = [m for m in _counted_before(chart, name, fall) if m.value is not None]
    if not near:
        return None
    latest_one = last_of_days(chart, name)[-1]
    return None if latest_one.value is None else (max(near, key=lambda m: m.low), latest_one)


def _fall_from(name: str, fall: Fall) -> Callable[[Chart], Value]:
    """The highest value before the latest; a range where one was recorded as below or above."""

    def read(chart: Chart) -> Value:
        near = _counted_before(chart, name, fall)
        if not near:
            return UNKNOWN
        return Interval(max(m.low for m in near), max(m.high for m in near))

    return read


def _fallen_from(name: str, fall: Fall) -> EvidenceReader:
    def evidence(chart: Chart) -> tuple[Evidence, ...]:
        near = _counted_before(chart, name, fall)
        return (cite(max(near, key=lambda m: (m.low, m.high)), chart),) if near else ()

    return evidence


def _fall(name: str, fall: Fall) -> Callable[[Chart], Value]:
    def read(chart: Chart) -> Value:
        pair = _highest_before(chart, name, fall)
        if pair is None:
            return UNKNOWN
        fallen = pair[0].low - pair[1].low
        return Interval(fallen, fallen)

    return read


def _falling(name: str, fall: Fall) -> Callable[[Chart], tuple[Evidence, ...]]:
    def evidence(chart: Chart) -> tuple[Evidence, ...]:
        pair = _highest_before(chart, name, fall)
        return tuple(cite(m, chart) for m in pair) if pair else ()

    return evidence


def _last_taken(name: str) -> Callable[[Chart], Value]:
    def read(chart: Chart) -> Value:
        taken = chart.measurements.series.get(name)
        return observed_on(taken[-1].day if taken else None, chart)

    return read


def _last(name: str, n: int) -> Callable[[Chart], tuple[Evidence, ...]]:
    def evidence(chart: Chart) -> tuple[Evidence, ...]:
        taken = last_of_days(chart, name)
        return (cite(taken[-n], chart),) if len(taken) >= n else ()

    return evidence


def show(measurement: Measurement, chart: Chart) -> str:
    """A measurement as people write it: ``1.5``, ``3000 U/L``, ``<5 ng/L``."""
    entry = chart.terms.vocabulary.observations[measurement.entry]
    unit = chart.terms.vocabulary.units[entry.units].unit
    if measurement.low == -INFINITY:
        number = f"<{plain(measurement.high)}"
    elif measurement.high == INFINITY:
        number = f">{plain(measurement.low)}"
    elif measurement.low < measurement.high:
        number = f"{plain(measurement.low)} to {plain(measurement.high)}"
    else:
        number = plain(measurement.low)
    return number if unit.startswith("{") else f"{number} {say_unit(unit)}"


def cite(measurement: Measurement, chart: Chart) -> Evidence:
    """A measurement as evidence: as it was recorded, where that differs, and its upper limit."""
    entry = chart.terms.vocabulary.observations[measurement.entry]
    limit = upper_limit(measurement, chart.terms)
    said = [f"{entry.title} {show(measurement, chart)}"]
    if as_recorded := recorded(measurement):
        said.append(f"{as_recorded} as recorded")
    if limit is not None:
        said.append(f"upper limit {plain(limit.value)}, {limit.origin}")
    elif limits := upper_limits(measurement, chart.terms):
        several = " or ".join(map(plain, limits))
        said.append(f"upper limit {several}, and which of them is for this patient is not said")
    above = limit is not None and measurement.low > limit.value
    if not above and is_flagged_high(measurement, chart.terms):
        said.append("called high by the laboratory")
    if measurement.remark:
        said.append(measurement.remark)
    text = said[0] if len(said) == 1 else f"{said[0]} ({'; '.join(said[1:])})"
    return Evidence(measurement.reference, str(measurement.day), text)
