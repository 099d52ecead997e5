"""What stands beside the table of the core set: what was left out, the course of each measure, the
measures that are shown and never counted, and, of those missing, what they would settle."""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Set
from datetime import date

from msgspec.structs import replace

from cds.cards.markdown import escape, escape_authored, table
from cds.cards.once import once
from cds.cards.texts import Telling, missing_facts, say_signed, title_of
from cds.chart.assessments import MeasureChange, range_percent, trend
from cds.chart.facts.measures import last_measured
from cds.chart.facts.observations import show
from cds.chart.measurements import LeftOut, Measurement, plain
from cds.chart.quantities import Category, Interval
from cds.chart.terms import in_sentence
from cds.rules.assembly import asked
from cds.rules.ruleset import RuleSet

MOST_VALUES = 6
"""Values in the course of one measure on a card; earlier ones are in the report."""


def beside_core_set(telling: Telling) -> list[MeasureChange]:
    """The measures outside the core set that have a value at either visit.

    An instrument that counts in the core set is not shown once more as not counted.
    """
    measures = telling.ruleset.terms.vocabulary.measures
    changes = telling.chart.changes.items()
    counted = {change.instrument for name, change in changes if measures[name].core_set}
    return [
        change
        for name, change in changes
        if not measures[name].core_set and change.instrument and change.instrument not in counted
    ]


def courses(telling: Telling) -> Iterator[tuple[str, tuple[Measurement, ...]]]:
    """Every measure of which more is recorded than the two visits compared show, and all of it.

    Of the instrument that is compared; where a value lacks to compare, of each that counts.
    """
    beside = {change.measure for change in beside_core_set(telling)}
    measures = telling.ruleset.terms.vocabulary.measures
    series = telling.chart.measurements.series
    for name, change in telling.chart.changes.items():
        if not (measures[name].core_set or name in beside):
            continue
        for each in _instruments(change, telling):
            taken = trend(each, series)
            if len(taken) > sum(m is not None for m in (each.baseline, each.current)):
                yield named(each, telling), taken


def _instruments(change: MeasureChange, telling: Telling) -> Iterator[MeasureChange]:
    """A change, and where it lacks a value the other instruments of its measure, with none.

    At a first visit nothing is compared, and so nothing lacks.
    """
    if change.instrument is not None:
        yield change
    for other, baseline, current in change.others:
        if counts_in(other, change, telling):
            yield replace(change, instrument=other, baseline=baseline, current=current)
    lacks = change.baseline is None or change.current is None
    if lacks and telling.chart.visits.current is not None:
        measure = telling.ruleset.terms.vocabulary.measures[change.measure]
        for instrument in measure.instruments:
            if counts_in(instrument, change, telling) and instrument != change.instrument:
                yield replace(change, instrument=instrument, baseline=None, current=None)


def counts_in(instrument: str, change: MeasureChange, telling: Telling) -> bool:
    """Whether an instrument counts for its measure in this patient, as some do in a child only."""
    measure = telling.ruleset.terms.vocabulary.measures[change.measure]
    return telling.chart.adult is False or instrument not in measure.for_children


def say_others(change: MeasureChange, telling: Telling) -> Iterator[str]:
    """How the instruments of a measure changed that both visits have and that are not compared."""
    terms = telling.ruleset.terms
    for other, baseline, current in change.others:
        if baseline and current and baseline is not current and counts_in(other, change, telling):
            declared = terms.vocabulary.observations[other]
            percent = range_percent(declared, baseline, current, terms, adult=telling.chart.adult)
            said = f"{declared.title} is recorded too: {plain(baseline.low)} → {plain(current.low)}"
            if percent is not None:
                said += f", {say_signed(percent, telling.ruleset.thresholds)} of its range"
            yield said


MOST_LEFT_OUT = 8
"""Observations that were left out, on a card; the report of an evaluation has all."""


def say_left_out(telling: Telling) -> str:
    """The Observations of core set measures that were not used, the latest first, and why not."""
    found = telling.chart.measurements.left_out
    lines = list(_other_instruments(telling))
    if not found and not lines:
        return ""
    latest = sorted(found, key=lambda left: str(left.day or ""), reverse=True)
    lines += [
        f"- {_say_left(left, telling)}, {left.day or 'without a date'}: {escape(left.reason)} "
        f"({escape(left.reference)})"
        for left in latest[:MOST_LEFT_OUT]
    ]
    if more := max(len(latest) - MOST_LEFT_OUT, 0):
        lines.append(f"- and {more} more, in the report of the evaluation")
    return "\n".join(("**Left out of the core set measures**", "", *lines))


def _other_instruments(telling: Telling) -> Iterator[str]:
    """The instruments with values at the visits compared that another one goes before, and why."""
    vocabulary = telling.ruleset.terms.vocabulary
    for name, change in telling.chart.changes.items():
        if not vocabulary.measures[name].core_set:
            continue
        for other, *values in change.others:
            why = "counts in children only"
            if counts_in(other, change, telling):
                assert change.instrument is not None
                of = in_sentence(vocabulary.measures[name].title)
                why = f"{vocabulary.observations[change.instrument].title} counts for {of}"
            taken = {m.reference: m for m in values if m is not None}
            days = " and ".join(str(m.day) for m in taken.values())
            references = ", ".join(taken)
            yield (
                f"- {escape_authored(vocabulary.observations[other].title)}, {days}: "
                f"{escape_authored(why)} ({escape(references)})"
            )


def _say_left(left: LeftOut, telling: Telling) -> str:
    """What was left out: by its instrument or measure, or by its own words and what it may be."""
    vocabulary = telling.ruleset.terms.vocabulary
    title = vocabulary.measures[left.measure].title
    if not left.entry:
        return f"“{escape(left.text)}”, perhaps {in_sentence(title)}"
    kind, _, name = left.entry.partition(".")
    return escape_authored(vocabulary.observations[name].title if kind == "observation" else title)


MISSING = "missing"
"""What is said of a value of which the record has no trace."""


def say_missing(measure: str, visit: date | None, telling: Telling) -> str:
    """How a measure is missing at a visit: ``not performed (2026-11-10)``, or just ``missing``."""
    left = telling.chart.measurements.left_out
    numbers = telling.ruleset.terms.vocabulary.assessments
    if not left or visit is None or numbers is None:
        return MISSING
    near = [
        (abs((each.day.first - visit).days), each)
        for each in left
        if each.measure == measure and each.entry and each.day is not None and each.day.exact
    ]
    near = [pair for pair in near if pair[0] <= numbers.window.value]
    if not near:
        return MISSING
    _, nearest = min(near, key=lambda pair: (pair[0], pair[1].reference))
    return f"{nearest.kind} ({nearest.day})"


def named(change: MeasureChange, telling: Telling) -> str:
    """A measure with the instrument that is compared: ``Muscle enzyme: CK``."""
    vocabulary = telling.ruleset.terms.vocabulary
    title = vocabulary.measures[change.measure].title
    if change.instrument is None:
        return title
    instrument = vocabulary.observations[change.instrument].title
    return instrument if instrument.startswith(title) else f"{title}: {instrument}"


def say_courses(telling: Telling) -> str:
    """The course of each measure over all its assessments, as a list; empty where two are all."""
    lines = []
    for title, taken in courses(telling):
        last = taken[-MOST_VALUES:]
        more = "… → " if len(taken) > len(last) else ""
        values = " → ".join([f"{_short(m, telling)} ({m.day})" for m in last])
        unit = _unit_of(last[-1], telling)
        in_unit = "" if not unit or title.endswith(unit) else f" ({escape_authored(unit)})"
        lines.append(f"- {escape_authored(title)}{in_unit}: {more}{values}")
    return "\n".join(("**Course**", "", *lines)) if lines else ""


def _unit_of(measurement: Measurement, telling: Telling) -> str:
    """The unit of a course; scores have none."""
    vocabulary = telling.ruleset.terms.vocabulary
    unit = vocabulary.units[vocabulary.observations[measurement.entry].units].unit
    return "" if unit.startswith("{") else unit


def _short(measurement: Measurement, telling: Telling) -> str:
    """A value without its unit, as Markdown."""
    value = measurement.value
    if value is None:
        return escape(show(measurement, telling.chart))
    number = plain(value)
    return escape(number) if value < 0 else number


def settled_by(members: Sequence[str], telling: Telling) -> str:
    """Measures that are missing: when each was last taken, and what it would settle."""
    would = _would_settle(telling)
    visits = telling.chart.visits
    # Before anything is compared, the visit is the last that was held.
    visit = visits.current or max(visits.days, default=visits.baseline)
    rows = []
    for member in (each for each in members if each.startswith("measure.")):
        name = member.removeprefix("measure.")
        last = last_measured(name, telling.chart)
        said = "never" if last is None else f"{escape(show(last, telling.chart))} ({last.day})"
        why = say_missing(name, visit, telling)
        rows.append(
            (
                escape_authored(title_of(member, telling)),
                said if why == MISSING else why if last is None else f"{said}; {why}",
                escape_authored("; ".join(would.get(member, ())) or "nothing that is open now"),
            )
        )
    if not rows:
        return ""
    if visits.current is None:  # nothing is compared yet, so nothing is open
        return table(("Measure", "Last recorded"), (row[:2] for row in rows))
    return table(("Measure", "Last recorded", "Would settle"), rows)


def _would_settle(telling: Telling) -> dict[str, list[str]]:
    """What the rules leave open, by the measures on which it depends.

    What in turn waits only for something of this is not told beside it.
    """
    would: dict[str, list[str]] = {}
    open_: set[str] = set()
    if telling.chart.visits.current is None:
        return would
    ruleset = telling.ruleset
    for name in (*ruleset.deriving, *ruleset.derivations):
        value = telling.evaluation.values.get(name)
        if isinstance(value, Interval):
            known = value.low == value.high
        elif isinstance(value, Category):
            known = len(value.possible) == 1
        else:
            known = value is not None
        if not known:
            open_.add(name)
            for fact in missing_facts(name, telling):
                would.setdefault(fact, []).append(name)
    return {
        fact: [_what_is_open(name, open_, ruleset) for name in _foremost(names, ruleset)]
        for fact, names in would.items()
    }


def _what_is_open(name: str, open_: Set[str], ruleset: RuleSet) -> str:
    """The title of a derived fact; of a score whose category is known in any case, its points."""
    categories = _categories_of(name, ruleset)
    fact = ruleset.facts[name]
    settled = fact.kind == "number" and categories and categories.isdisjoint(open_)
    title = fact.title
    return f"{title}: its points; the category stands" if settled else title


@once
def _categories_of(name: str, ruleset: RuleSet) -> frozenset[str]:
    """The categories that are worked out from a derived fact."""
    return frozenset(
        each
        for each in ruleset.derivations
        if ruleset.facts[each].kind == "category" and name in _asked(each, ruleset)
    )


@once
def _asked(name: str, ruleset: RuleSet) -> frozenset[str]:
    """The facts that a derived fact waits for."""
    return frozenset(asked(ruleset.deriving.get(name) or ruleset.derivations[name]))


def _foremost(names: Sequence[str], ruleset: RuleSet) -> list[str]:
    """Derived facts without those that ask for another of them."""
    return [name for name in names if _asked(name, ruleset).isdisjoint(names)]
