"""The facts that rules may name: what each is called, what kind it is, and how it is read.

Names are made from the vocabulary: ``diagnosis.x``, ``finding.x``, ``antibody.x``,
``drug.x.current``, ``measure.x.improvement`` and so on; ``declare`` has them all. A fact may be
unknown: ``None`` for a boolean, the whole line of numbers for a number. What was not recorded is
false only for what is false when not recorded (a diagnosis nobody made, a drug nobody prescribed),
and only where the resources that would hold it were delivered.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from decimal import Decimal
from typing import Literal

from msgspec import Struct

from cds.chart.chart import Chart, age
from cds.chart.conditions import Assertion
from cds.chart.measurements import Measurement, multiple_of_upper_limit, plain, upper_limit
from cds.chart.quantities import INFINITY, UNKNOWN, Category, Interval
from cds.chart.treatments import NO_COURSE, Exposure, describe
from cds.chart.vocabulary import Vocabulary

Kind = Literal["boolean", "number", "event", "category"]


class Event(Struct, frozen=True, gc=False):
    """How many days ago something last happened.

    ``surely`` days ago at the most, for what is certain to have happened (None: nothing is);
    ``possibly`` days ago at the least, for what may have. ``complete``: nothing else is recorded.
    """

    surely: Decimal | None
    possibly: Decimal | None
    complete: bool


Value = bool | None | Interval | Event | Category


class Evidence(Struct, frozen=True, gc=False):
    """Where a fact comes from: the resource, its date, and what it says."""

    reference: str
    date: str
    text: str


EvidenceReader = Callable[[Chart], tuple[Evidence, ...]]


class Declaration(Struct, frozen=True, kw_only=True):
    """A fact: its name, kind, unit and title, and how it and its evidence are read from a chart.

    ``categories``, of a fact of that kind, are its ranks from the highest to the lowest.
    """

    name: str
    kind: Kind
    title: str
    unit: str = ""
    categories: tuple[str, ...] = ()
    read: Callable[[Chart], Value]
    evidence: EvidenceReader


def declare(vocabulary: Vocabulary) -> dict[str, Declaration]:
    """Every fact that a vocabulary makes, by name."""
    made = [
        *_of_conditions(vocabulary),
        *_of_antibodies(vocabulary),
        *_of_drugs(vocabulary),
        *_of_orders(),
        *_of_observations(vocabulary),
        *_of_measures(vocabulary),
        *_of_visits(),
    ]
    return {d.name: d for d in made}


def groups(vocabulary: Vocabulary) -> dict[str, tuple[str, ...]]:
    """Groups of facts that rules count over: ``core_set``, and those of the vocabulary."""
    core_set = tuple(f"measure.{k}" for k, m in vocabulary.measures.items() if m.core_set)
    return {"core_set": core_set, **vocabulary.groups}


def no_evidence(_: Chart) -> tuple[Evidence, ...]:
    """The evidence of what nobody recorded."""
    return ()


# --- conditions ----------------------------------------------------------------------------------


def _of_conditions(vocabulary: Vocabulary) -> list[Declaration]:
    return [
        Declaration(
            name=f"{prefix}.{name}",
            kind="boolean",
            title=entry.title,
            read=_asserted(f"{prefix}.{name}"),
            evidence=_assertions(f"{prefix}.{name}"),
        )
        for prefix, entries in (
            ("diagnosis", vocabulary.diagnoses),
            ("finding", vocabulary.findings),
        )
        for name, entry in entries.items()
    ]


def _asserted(key: str) -> Callable[[Chart], Value]:
    def read(chart: Chart) -> Value:
        if key in chart.conditions:
            return True
        return False if "Condition" in chart.complete else None

    return read


def _assertions(key: str) -> Callable[[Chart], tuple[Evidence, ...]]:
    def say(a: Assertion) -> Evidence:
        text = f"{a.text} ({a.remark})" if a.remark else a.text
        return Evidence(a.reference, str(a.since) if a.since else "", text)

    return lambda chart: tuple(say(a) for a in chart.conditions.get(key, ()))


# --- antibodies ----------------------------------------------------------------------------------


def _of_antibodies(vocabulary: Vocabulary) -> list[Declaration]:
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


# --- drugs ---------------------------------------------------------------------------------------

_TREATMENT_TYPES = frozenset(
    {"MedicationRequest", "MedicationAdministration", "MedicationStatement"}
)


def _of_drugs(vocabulary: Vocabulary) -> list[Declaration]:
    made = []
    entries = {**vocabulary.drugs, **vocabulary.drug_classes}
    single = {name for name, entry in vocabulary.drug_classes.items() if entry.single}
    for name, entry in entries.items():
        table: tuple[tuple[str, Kind, str, str, Callable[[Chart], Value]], ...] = (
            ("", "event", "", "", _last_use(name, single=name in single)),
            (".current", "boolean", ", now", "", _current(name)),
            (".ever", "boolean", ", ever", "", _ever(name)),
            (".days", "number", ", days on the current course", "d", _days_on(name)),
        )
        for suffix, kind, title, unit, read in table:
            made.append(
                Declaration(
                    name=f"drug.{name}{suffix}",
                    kind=kind,
                    title=entry.title + title,
                    unit=unit,
                    read=read,
                    evidence=_exposures(name, current_only=suffix == ".current"),
                )
            )
        made.append(
            Declaration(
                name=f"drug.{name}.ordered",
                kind="boolean",
                title=f"{entry.title}, in the draft orders",
                read=_ordered(name),
                evidence=_drafted(name),
            )
        )
    return made


def is_about_drafts(fact: str) -> bool:
    """Whether a fact is about the orders that somebody is about to place."""
    return fact == ORDER_UNREAD or (fact.startswith("drug.") and fact.endswith(".ordered"))


ORDER_UNREAD = "order.unread"
"""The fact that the drug of a draft order cannot be known."""


def _of_orders() -> list[Declaration]:
    return [
        Declaration(
            name=ORDER_UNREAD,
            kind="boolean",
            title="A draft order whose drug cannot be read",
            read=lambda chart: bool(chart.drafts.unread),
            evidence=lambda chart: tuple(
                Evidence(unread.reference, "", unread.reason) for unread in chart.drafts.unread
            ),
        )
    ]


def _ordered(name: str) -> Callable[[Chart], Value]:
    """Whether a draft order is of a drug; no unread draft may be taken to be of another one."""

    def read(chart: Chart) -> Value:
        drafted = chart.drafts.courses.get(name, NO_COURSE)
        if drafted.events:
            return True
        return None if drafted.uncertain or chart.drafts.unread else False

    return read


def _drafted(name: str) -> EvidenceReader:
    def evidence(chart: Chart) -> tuple[Evidence, ...]:
        drafted = chart.drafts.courses.get(name, NO_COURSE)
        return tuple(map(_cite_exposure, (*drafted.events, *drafted.uncertain)))

    return evidence


def _cite_exposure(exposure: Exposure) -> Evidence:
    return Evidence(
        exposure.reference,
        str(exposure.start) if exposure.start else "",
        describe(exposure) + (f" ({exposure.remark})" if exposure.remark else ""),
    )


def _complete(chart: Chart) -> bool:
    return chart.complete >= _TREATMENT_TYPES


def _current(name: str) -> Callable[[Chart], Value]:
    def read(chart: Chart) -> Value:
        current = chart.courses.get(name, NO_COURSE).current
        return current if current or _complete(chart) else None

    return read


def _ever(name: str) -> Callable[[Chart], Value]:
    def read(chart: Chart) -> Value:
        course = chart.courses.get(name, NO_COURSE)
        if course.events:
            return True
        return False if _complete(chart) and not course.uncertain else None

    return read


def _days_on(name: str) -> Callable[[Chart], Value]:
    def read(chart: Chart) -> Value:
        since = chart.courses.get(name, NO_COURSE).since
        if since is None:
            return UNKNOWN
        low, high = (chart.as_of - since.last).days, (chart.as_of - since.first).days
        return Interval(Decimal(max(low, 0)), Decimal(high))

    return read


def _last_use(name: str, *, single: bool) -> Callable[[Chart], Value]:
    def ago(exposure: Exposure, chart: Chart) -> tuple[Decimal, Decimal] | None:
        """Days since its last use: (least, most)."""
        if exposure.current and not (single and exposure.kind != "given" and not exposure.end):
            last = exposure.end or exposure.start
            if last is None or last.last >= chart.as_of or exposure.end is None:
                return Decimal(0), Decimal(0)
        last = exposure.start if single and exposure.end is None else exposure.end or exposure.start
        if last is None:
            return None
        least, most = (chart.as_of - last.last).days, (chart.as_of - last.first).days
        return Decimal(max(least, 0)), Decimal(max(most, 0))

    def read(chart: Chart) -> Value:
        course = chart.courses.get(name, NO_COURSE)
        sure = [ago(e, chart) for e in course.events]
        maybe = sure + [ago(e, chart) for e in course.uncertain]
        highs = [a[1] for a in sure if a is not None]
        lows = [Decimal(0) if a is None else a[0] for a in maybe]
        return Event(min(highs) if highs else None, min(lows) if lows else None, _complete(chart))

    return read


def _exposures(name: str, *, current_only: bool) -> Callable[[Chart], tuple[Evidence, ...]]:
    def evidence(chart: Chart) -> tuple[Evidence, ...]:
        course = chart.courses.get(name, NO_COURSE)
        return tuple(
            _cite_exposure(e)
            for e in (*course.events, *course.uncertain)
            if e.current is not False or not current_only
        )

    return evidence


# --- observations --------------------------------------------------------------------------------


def _of_observations(vocabulary: Vocabulary) -> list[Declaration]:
    made = []
    for name, entry in vocabulary.observations.items():
        unit = vocabulary.units[entry.units].unit if entry.units in vocabulary.units else ""
        within = int(entry.trend_within.value) if entry.trend_within else None
        for suffix, title, of_unit, read, evidence in (
            (".latest", "", unit, _nth_last(name, 1), _last(name, 1)),
            (".previous", ", the value before", unit, _nth_last(name, 2), _last(name, 2)),
            (".multiple", ", times its upper limit", "", _multiple(name), _last(name, 1)),
            (".fall", ", fall", unit, _fall(name, within), _falling(name, within)),
        ):
            if suffix == ".fall" and within is None:
                continue
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
                name=f"observation.{name}",
                kind="event",
                title=entry.title,
                read=_last_taken(name),
                evidence=_last(name, 1),
            )
        )
    return made


def _of_days(chart: Chart, name: str) -> list[Measurement]:
    """The last measurement of each day, in order of time."""
    return list({m.day: m for m in chart.measurements.series.get(name, ())}.values())


def _nth_last(name: str, n: int) -> Callable[[Chart], Value]:
    def read(chart: Chart) -> Value:
        if name not in chart.measurements.series:
            return UNKNOWN
        taken = _of_days(chart, name)
        return Interval(taken[-n].low, taken[-n].high) if len(taken) >= n else UNKNOWN

    return read


def _multiple(name: str) -> Callable[[Chart], Value]:
    def read(chart: Chart) -> Value:
        if name not in chart.measurements.series:
            return UNKNOWN
        multiple = multiple_of_upper_limit(_of_days(chart, name)[-1], chart.terms)
        return UNKNOWN if multiple is None else Interval(*multiple)

    return read


def _highest_before(chart: Chart, name: str, within: int) -> tuple[Measurement, Measurement] | None:
    """The latest measurement and the highest one before it within so many days."""
    if name not in chart.measurements.series:
        return None
    *earlier, latest = _of_days(chart, name)
    near = [m for m in earlier if (latest.day - m.day).days <= within and m.value is not None]
    if not near or latest.value is None:
        return None
    return max(near, key=lambda m: m.low), latest


def _fall(name: str, within: int | None) -> Callable[[Chart], Value]:
    def read(chart: Chart) -> Value:
        pair = _highest_before(chart, name, within or 0)
        if pair is None:
            return UNKNOWN
        fallen = pair[0].low - pair[1].low
        return Interval(fallen, fallen)

    return read


def _falling(name: str, within: int | None) -> Callable[[Chart], tuple[Evidence, ...]]:
    def evidence(chart: Chart) -> tuple[Evidence, ...]:
        pair = _highest_before(chart, name, within or 0)
        return tuple(cite(m, chart) for m in pair) if pair else ()

    return evidence


def _last_taken(name: str) -> Callable[[Chart], Value]:
    def read(chart: Chart) -> Value:
        taken = chart.measurements.series.get(name)
        complete = "Observation" in chart.complete
        if not taken:
            return Event(None, None, complete)
        days = Decimal((chart.as_of - taken[-1].day).days)
        return Event(days, days, complete)

    return read


def _last(name: str, n: int) -> Callable[[Chart], tuple[Evidence, ...]]:
    def evidence(chart: Chart) -> tuple[Evidence, ...]:
        taken = _of_days(chart, name)
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
    else:
        number = plain(measurement.low)
    return number if unit.startswith("{") else f"{number} {unit}"


def cite(measurement: Measurement, chart: Chart) -> Evidence:
    """A measurement as evidence, with its upper limit where it has one."""
    entry = chart.terms.vocabulary.observations[measurement.entry]
    limit = upper_limit(measurement, chart.terms)
    said = [f"{entry.title} {show(measurement, chart)}"]
    if limit is not None:
        said.append(f"upper limit {plain(limit.value)}, {limit.origin}")
    if measurement.remark:
        said.append(measurement.remark)
    text = said[0] if len(said) == 1 else f"{said[0]} ({'; '.join(said[1:])})"
    return Evidence(measurement.reference, str(measurement.day), text)


# --- measures ------------------------------------------------------------------------------------


def _of_measures(vocabulary: Vocabulary) -> list[Declaration]:
    made = []
    for name, entry in vocabulary.measures.items():
        for suffix, title, read in (
            ("improvement", "improvement relative to baseline", _improvement(name)),
            ("worsening", "worsening relative to baseline", _worsening(name)),
            ("range_percent", "improvement in percent of the range", _range_percent(name)),
        ):
            made.append(
                Declaration(
                    name=f"measure.{name}.{suffix}",
                    kind="number",
                    title=f"{entry.title}, {title}",
                    unit="%",
                    read=read,
                    evidence=_both(name),
                )
            )
        made.append(
            Declaration(
                name=f"measure.{name}.current",
                kind="boolean",
                title=f"{entry.title}, measured at the current visit",
                read=_measured(name),
                evidence=_both(name),
            )
        )
    return made


def _improvement(name: str) -> Callable[[Chart], Value]:
    return lambda chart: chart.changes[name].improvement


def _worsening(name: str) -> Callable[[Chart], Value]:
    return lambda chart: chart.changes[name].worsening


def _range_percent(name: str) -> Callable[[Chart], Value]:
    def read(chart: Chart) -> Value:
        percent = chart.changes[name].range_percent
        return UNKNOWN if percent is None else Interval(percent, percent)

    return read


def _measured(name: str) -> Callable[[Chart], Value]:
    return lambda chart: _recorded(chart, chart.changes[name].current is not None)


def _recorded(chart: Chart, recorded: bool) -> bool | None:
    """Whether Observations are recorded; unknown where there may be more than were read."""
    return recorded or (False if "Observation" in chart.complete else None)


def _both(name: str) -> Callable[[Chart], tuple[Evidence, ...]]:
    def evidence(chart: Chart) -> tuple[Evidence, ...]:
        change = chart.changes[name]
        return tuple(cite(m, chart) for m in (change.baseline, change.current) if m is not None)

    return evidence


# --- visits and patient --------------------------------------------------------------------------


def _of_visits() -> list[Declaration]:
    def compared(chart: Chart) -> Value:
        visits = chart.visits
        return _recorded(chart, visits.baseline is not None and visits.current is not None)

    def days_between(chart: Chart) -> Value:
        visits = chart.visits
        if visits.baseline is None or visits.current is None:
            return UNKNOWN
        days = Decimal((visits.current - visits.baseline).days)
        return Interval(days, days)

    def ago(day: Callable[[Chart], date | None]) -> Callable[[Chart], Value]:
        def read(chart: Chart) -> Value:
            that = day(chart)
            complete = "Observation" in chart.complete
            if that is None:
                return Event(None, None, complete)
            days = Decimal((chart.as_of - that).days)
            return Event(days, days, complete)

        return read

    def on(day: Callable[[Chart], date | None], text: str) -> EvidenceReader:
        def evidence(chart: Chart) -> tuple[Evidence, ...]:
            that = day(chart)
            return () if that is None else (Evidence("", str(that), text),)

        return evidence

    def line_days(chart: Chart) -> Value:
        if chart.line_start is None:
            return UNKNOWN
        days = Decimal((chart.as_of - chart.line_start).days)
        return Interval(days, days)

    def years(chart: Chart) -> Value:
        known = age(chart.born, chart.as_of)
        return UNKNOWN if known is None else Interval(Decimal(known[0]), Decimal(known[1]))

    return [
        Declaration(
            name="assessment.compared",
            kind="boolean",
            title="There is a baseline and a later assessment",
            read=compared,
            evidence=no_evidence,
        ),
        Declaration(
            name="assessment.days_between",
            kind="number",
            title="Days from baseline to the current assessment",
            unit="d",
            read=days_between,
            evidence=no_evidence,
        ),
        Declaration(
            name="assessment.baseline",
            kind="event",
            title="Baseline assessment",
            read=ago(lambda chart: chart.visits.baseline),
            evidence=on(lambda chart: chart.visits.baseline, "baseline"),
        ),
        Declaration(
            name="assessment.current",
            kind="event",
            title="Current assessment",
            read=ago(lambda chart: chart.visits.current),
            evidence=on(lambda chart: chart.visits.current, "current assessment"),
        ),
        Declaration(
            name="treatment.line_days",
            kind="number",
            title="Days since the current treatment line began",
            unit="d",
            read=line_days,
            evidence=on(lambda chart: chart.line_start, "start of the current treatment line"),
        ),
        Declaration(
            name="patient.age",
            kind="number",
            title="Age",
            unit="a",
            read=years,
            evidence=no_evidence,
        ),
    ]
