"""Which two visits are compared, and how each measure changed from one to the other.

An assessment is the set of core set Observations within a window around one date. All numbers
(window, grace, look-back, least interval) are in ``rules/vocabulary/measures.yaml``.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from datetime import date, timedelta
from decimal import Decimal

from msgspec import Struct

from cds.chart.measurements import (
    Measurement,
    issued_at,
    multiple_of_upper_limit,
    plain,
    upper_limit,
)
from cds.chart.quantities import INFINITY, UNKNOWN, Interval
from cds.chart.terms import Terms
from cds.chart.vocabulary import AssessmentNumbers, MeasureEntry, Number, ObservationEntry

HUNDRED = Decimal(100)


class TreatmentLine(Struct, frozen=True):
    """The current treatment line: the day on which it began, and what began then."""

    start: date
    title: str


class Visits(Struct, frozen=True):
    """The two dates that are compared, and why these.

    ``reason`` says why this baseline, or why there is none, and ``current_reason`` the same of the
    current assessment. ``previous`` is the last assessment between the two. ``days`` are those of
    all assessments at a visit, in order of time.
    """

    baseline: date | None
    current: date | None
    reason: str
    current_reason: str = ""
    previous: date | None = None
    days: tuple[date, ...] = ()


Pair = tuple[str, Measurement | None, Measurement | None]
"""An instrument with its values at baseline and now."""


class MeasureChange(Struct, frozen=True):
    """One measure at baseline and now, or at another visit.

    ``improvement`` is the change relative to baseline in percent, positive for better; its opposite
    is ``worsening``. Where the current value is missing they are the interval that the range of the
    instrument still allows. ``range_percent`` is the change in percent of the instrument's range.
    ``worse_by`` is how much worse the value is, in the unit of the first instrument of the measure,
    and not known by any other. ``by_another`` says that the current value is missing although the
    measure was taken, by another instrument than at baseline. ``others`` are the instruments of the
    measure that have values too, where the first that both visits have is compared.
    """

    measure: str
    instrument: str | None
    baseline: Measurement | None
    current: Measurement | None
    improvement: Interval
    worsening: Interval
    range_percent: Decimal | None
    undefined: bool
    remark: str = ""
    worse_by: Interval = UNKNOWN
    by_another: bool = False
    others: tuple[Pair, ...] = ()

    @property
    def relative(self) -> Decimal | None:
        """The improvement in percent where both values are known and it is defined."""
        if self.undefined or self.current is None or self.improvement.low != self.improvement.high:
            return None
        return self.improvement.low


Series = dict[str, list[Measurement]]


def choose_visits(
    series: Series,
    terms: Terms,
    as_of: date,
    line: TreatmentLine | None,
    named_baseline: date | None = None,
    *,
    adult: bool | None = None,
    ended: bool = False,
) -> Visits:
    """Choose baseline and current date.

    Baseline: the date that the caller names; else the last assessment on or before the start of the
    current treatment line (with a grace after it); else the earliest within the look-back. The
    reason says where there was treatment that ``ended``. Current: the latest assessment at least
    the least interval after it. Assessments stand on the days of measures that make a visit; on
    those of the others, such as laboratory values, only where there are none of these. Where there
    are such others since, the reason says so.
    """
    numbers = _numbers(terms)
    days = _days(series, terms, of_visits=True, adult=adult)
    other_days = _days(series, terms, of_visits=False, adult=adult)
    baseline, reason = _baseline(
        days or other_days, numbers, as_of, line, named_baseline, ended=ended
    )
    every = tuple(days)
    if baseline is None:
        return Visits(None, None, reason, days=every)
    least = int(numbers.least_interval.value)
    window = timedelta(days=int(numbers.window.value))
    for candidates in (days, other_days):
        later = [day for day in candidates if day >= baseline + timedelta(days=least)]
        if later:
            why = f"the latest assessment, at least {least} days after baseline"
            since = [day for day in other_days if day > later[-1] + window]
            if since:
                why += "; what was measured without a visit since, "
                why += f"last on {since[-1]}, is not compared"
            previous = _previous(candidates, baseline, later[-1], window)
            return Visits(baseline, later[-1], reason, why, previous, every)
    why = f"no assessment at least {least} days after baseline"
    soon = [day for day in (*days, *other_days) if day > baseline]
    if soon:
        why += f" (the latest is of {max(soon)})"
    return Visits(baseline, None, reason, why, days=every)


def _previous(days: list[date], baseline: date, current: date, window: timedelta) -> date | None:
    """The last assessment before the current one whose window holds neither that nor baseline."""
    between = [day for day in days if baseline + window < day < current - window]
    return between[-1] if between else None


def _numbers(terms: Terms) -> AssessmentNumbers:
    numbers = terms.vocabulary.assessments
    if numbers is None:
        raise ValueError("the vocabulary has no section `assessments`")
    return numbers


def _days(series: Series, terms: Terms, *, of_visits: bool, adult: bool | None) -> list[date]:
    """The days of core set measures: of those that make a visit, or of the others."""
    days: set[date] = set()
    for measure in terms.vocabulary.measures.values():
        if not measure.core_set or measure.makes_visit is not of_visits:
            continue
        for instrument in measure.instruments:
            if adult is False or instrument not in measure.for_children:
                days.update([m.day for m in series.get(instrument, ())])
    return sorted(days)


def _baseline(
    days: list[date],
    numbers: AssessmentNumbers,
    as_of: date,
    line: TreatmentLine | None,
    named: date | None,
    *,
    ended: bool,
) -> tuple[date | None, str]:
    if named is not None:
        window = timedelta(days=int(numbers.window.value))
        near = [d for d in days if abs(d - named) <= window]
        if not near:
            return (
                None,
                f"no assessment within {window.days} days of the baseline asked for ({named})",
            )
        day = min(near, key=lambda d: (abs(d - named), d))
        nearest = "" if day == named else ", the nearest assessment"
        return day, f"named by the caller ({named}){nearest}"
    if not days:
        return None, "no core set measure is recorded"
    began = "" if line is None else f"the start of {line.title} on {line.start}"
    if line is not None:
        grace = int(numbers.grace.value)
        before = [d for d in days if d <= line.start + timedelta(days=grace)]
        if before and before[-1] <= line.start:
            return before[-1], f"the last assessment on or before {began}"
        if before:
            return before[-1], f"the last assessment no more than {grace} days after {began}"
    look_back = int(numbers.look_back.value)
    recent = [d for d in days if d >= as_of - timedelta(days=look_back)]
    if not recent:
        return None, f"no assessment within {look_back} days"
    none = "no treatment is current" if ended else "no start of treatment is known"
    why = f"none precedes {began}" if began else none
    return recent[0], f"the earliest assessment within {look_back} days; {why}"


def measure_changes(
    series: Series, terms: Terms, visits: Visits, *, adult: bool | None
) -> dict[str, MeasureChange]:
    """The change of every measure of the vocabulary between two visits."""
    window = timedelta(days=int(_numbers(terms).window.value))
    return {
        name: _change(name, measure, series, series, terms, visits, window, adult=adult)
        for name, measure in terms.vocabulary.measures.items()
    }


def previous_changes(
    series: Series, terms: Terms, visits: Visits, *, adult: bool | None
) -> tuple[dict[str, MeasureChange], dict[str, MeasureChange]]:
    """The changes of core set measures to the visit before the current one, and those since.

    The first are from baseline, the second to the current visit. Both are empty without such a
    visit. What is nearer to the current visit belongs to that one alone, so that no single
    Observation can stand for two visits in a row.
    """
    previous, current = visits.previous, visits.current
    if previous is None or current is None:
        return {}, {}
    window = timedelta(days=int(_numbers(terms).window.value))
    to_it = Visits(visits.baseline, previous, visits.reason)
    from_it = Visits(previous, current, visits.reason)
    nearer = previous.toordinal() + current.toordinal()
    changes: dict[str, MeasureChange] = {}
    since: dict[str, MeasureChange] = {}
    for name, measure in terms.vocabulary.measures.items():
        if measure.core_set:
            earlier = {
                instrument: taken[: bisect_left(taken, nearer, key=_twice)]
                for instrument in measure.instruments
                if (taken := series.get(instrument))
            }
            changes[name] = _change(
                name, measure, earlier, earlier, terms, to_it, window, adult=adult
            )
            since[name] = _change(
                name, measure, earlier, series, terms, from_it, window, adult=adult
            )
    return changes, since


def _ordinal(measurement: Measurement) -> int:
    return measurement.day.toordinal()


def _twice(measurement: Measurement) -> int:
    return 2 * measurement.day.toordinal()


def trend(change: MeasureChange, series: Series) -> tuple[Measurement, ...]:
    """Every value of the instrument that is compared, the last of each day, in order of time."""
    if change.instrument is None:
        return ()
    return tuple({m.day: m for m in series.get(change.instrument, ())}.values())


def _nearest(
    measurements: list[Measurement], day: date | None, window: timedelta
) -> Measurement | None:
    """The measurement nearest to a day within the window; of two as near, the later issued."""
    if day is None:
        return None
    first = bisect_left(measurements, day.toordinal() - window.days, key=_ordinal)
    after = bisect_right(measurements, day.toordinal() + window.days, key=_ordinal)
    best: Measurement | None = None
    nearest = window
    # In order of (day, issued): of one day, the later issued comes last.
    for m in measurements[first:after]:
        distance = abs(m.day - day)
        if distance > nearest:
            continue
        nearer = best is None or distance < nearest or m.day == best.day
        if nearer or (best is not None and issued_at(m) >= issued_at(best)):
            best, nearest = m, distance
    return best


def _change(
    name: str,
    measure: MeasureEntry,
    before: Series,
    after: Series,
    terms: Terms,
    visits: Visits,
    window: timedelta,
    *,
    adult: bool | None,
) -> MeasureChange:
    """How a measure changed, of what may stand for the first visit and for the second."""
    chosen = [
        (
            instrument,
            _nearest(before.get(instrument, []), visits.baseline, window),
            _nearest(taken, visits.current, window),
        )
        for instrument in measure.instruments
        if (taken := after.get(instrument))
    ]
    if not chosen:  # most measures beside the core set, in most patients
        return MeasureChange(name, None, None, None, UNKNOWN, UNKNOWN, None, False)
    choice = _choose_for(measure, chosen, terms, adult=adult)
    instrument, baseline, current, remark = _apart(visits, *choice)
    if instrument is None:
        return MeasureChange(name, None, None, None, UNKNOWN, UNKNOWN, None, False, remark)
    declared = terms.vocabulary.observations[instrument]
    improvement, worsening, undefined = _relative(declared, baseline, current)
    return MeasureChange(
        name,
        instrument,
        baseline,
        current,
        improvement,
        worsening,
        range_percent(declared, baseline, current, terms, adult=adult),
        undefined,
        remark,
        _worse_by(declared, baseline, current) if instrument == measure.instruments[0] else UNKNOWN,
        baseline is not None
        and current is None
        and any(later and other != instrument for other, _, later in chosen),
        tuple(pair for pair in chosen if pair[0] != instrument and (pair[1] or pair[2]))
        if measure.choose == "first" and baseline is not None and current is not None
        else (),
    )


def _apart(
    visits: Visits,
    instrument: str | None,
    baseline: Measurement | None,
    current: Measurement | None,
    remark: str,
) -> Choice:
    """See that no Observation stands for both visits where their windows meet.

    It would show a change of nothing. It belongs to the nearer visit, and to baseline if between.
    """
    if baseline is None or baseline is not current:
        return instrument, baseline, current, remark
    assert visits.baseline is not None and visits.current is not None
    if abs(visits.current - baseline.day) < abs(visits.baseline - baseline.day):
        return instrument, None, current, "the only value near baseline belongs to the later visit"
    return instrument, baseline, None, "the only value near the later visit belongs to baseline"


Choice = tuple[str | None, Measurement | None, Measurement | None, str]


def _choose_for(
    measure: MeasureEntry, pairs: list[Pair], terms: Terms, *, adult: bool | None
) -> Choice:
    """Which instrument is compared, with the alternates that only a child may have.

    They are taken only where no other instrument has both values, and never for an adult or where
    the age is not known.
    """
    if not measure.for_children or not any(p[0] in measure.for_children for p in pairs):
        return _choose(measure, pairs, terms)
    usual = [p for p in pairs if p[0] not in measure.for_children]
    juvenile = [p for p in pairs if p[0] in measure.for_children and (p[1] or p[2])]
    choice = _choose(measure, usual, terms)
    if not juvenile or (choice[1] is not None and choice[2] is not None):
        return choice
    title = terms.vocabulary.observations[juvenile[0][0]].title
    if adult is not False:
        known = "this is an adult" if adult else "the age is not known"
        said = f"{title} is recorded and counts in children only; {known}"
        return (*choice[:3], "; ".join(filter(None, (choice[3], said))))
    both = [p for p in juvenile if p[1] is not None and p[2] is not None]
    if both:
        return (*both[0], "stands in for the adult measure in a child")
    return choice if choice[0] else (*juvenile[0], "stands in for the adult measure in a child")


def _choose(measure: MeasureEntry, pairs: list[Pair], terms: Terms) -> Choice:
    """Which instrument of a measure is compared: (instrument, baseline, current, remark)."""
    pairs = [p for p in pairs if p[1] is not None or p[2] is not None]
    if not pairs:
        return None, None, None, ""
    if measure.choose == "highest multiple of upper limit":
        return _most_abnormal(pairs, terms)
    both = [p for p in pairs if p[1] is not None and p[2] is not None]
    if both:
        return (*both[0], "")
    titles = terms.vocabulary.observations
    first = [p for p in pairs if p[1] is not None]
    later = [p for p in pairs if p[2] is not None]
    if first and later:
        return (
            first[0][0],
            first[0][1],
            None,
            f"baseline {titles[first[0][0]].title}, later {titles[later[0][0]].title}: "
            "different instruments cannot be compared",
        )
    return (*(first or later)[0], "")


def _most_abnormal(pairs: list[Pair], terms: Terms) -> Choice:
    """The enzyme with the highest multiple of its upper limit at baseline, and the same one now."""
    at_baseline = [p for p in pairs if p[1] is not None]
    if not at_baseline:
        instrument, _, current = pairs[0]
        return instrument, None, current, "no enzyme is recorded at baseline"
    ranked = []
    for pair in at_baseline:
        assert pair[1] is not None
        multiple = multiple_of_upper_limit(pair[1], terms)
        if multiple is not None:
            ranked.append((multiple[0], pair))
    remarks = []
    observations = terms.vocabulary.observations
    enzyme = {name: observations[name].method_of or name for name, _, _ in pairs}
    if len({enzyme[name] for name, _, _ in at_baseline}) == 1:
        remarks.append("only one enzyme at baseline; two are asked for")
    if ranked:
        # max() keeps the first of equals, so the order of the vocabulary breaks ties.
        multiple_of_best, best = max(ranked, key=lambda r: r[0])
        remarks.insert(0, f"{multiple_of_best:.1f} times its upper limit at baseline")
        if len(ranked) < len(at_baseline):
            remarks.append("enzymes without an upper limit were not compared")
    else:
        best = next((p for p in at_baseline if p[2] is not None), at_baseline[0])
        remarks.append("no upper limit is known")
    assert best[1] is not None
    limit = upper_limit(best[1], terms)
    if limit and limit.origin == "configured":
        remarks.append("upper limit as configured, not from the laboratory")
    taken_later = {enzyme[name] for name, _, current in pairs if current is not None}
    if best[2] is None and taken_later:
        method = ", by the same method," if enzyme[best[0]] in taken_later else ""
        remarks.append(f"the same enzyme{method} is not recorded at the later visit")
    later = upper_limit(best[2], terms) if best[2] is not None else None
    if limit and later and limit.value != later.value:
        remarks.append(
            f"upper limit {plain(limit.value)} at baseline, {plain(later.value)} later: "
            "another method or laboratory may explain a change"
        )
    return (*best, "; ".join(remarks))


def _relative(
    declared: ObservationEntry, baseline: Measurement | None, current: Measurement | None
) -> tuple[Interval, Interval, bool]:
    """Improvement and worsening relative to baseline in percent, and whether it is undefined.

    From a baseline of 0 no relative change is defined. Where higher is worse, nothing can improve
    from 0, any rise counts as worsened and no change as neither (a policy of this project, since no
    source says). Where lower is worse, nothing can worsen from 0 and a rise stays undefined. On a
    scale that does not begin at 0 a ratio to a baseline of 0 or less means nothing at all.
    """
    if baseline is None:
        return UNKNOWN, UNKNOWN, False
    start = baseline.low
    begins = declared.range.low if declared.range else None
    if start < 0 or (start == 0 and begins != 0):
        return UNKNOWN, UNKNOWN, True
    lowest, highest = _held(declared, current)
    sign = 1 if declared.worse == "higher" else -1
    if start == 0:
        return _from_zero(sign, lowest, highest)

    def improved(to: Decimal) -> Decimal:
        return (start - to if sign == 1 else to - start) * HUNDRED / start

    if current is not None:
        percent = improved(current.low)
        return Interval(percent, percent), Interval(-percent, -percent), False
    worst, best = (highest, lowest) if sign == 1 else (lowest, highest)
    low, high = improved(worst), improved(best)
    return Interval(low, high), Interval(-high, -low), False


def _held(declared: ObservationEntry, value: Measurement | None) -> tuple[Decimal, Decimal]:
    """A value as lowest and highest possible: where it is missing, the range of its instrument."""
    if value is not None:
        return value.low, value.low
    bounds = declared.range
    return (
        bounds.low if bounds and bounds.low is not None else -INFINITY,
        bounds.high if bounds and bounds.high is not None else INFINITY,
    )


def _worse_by(
    declared: ObservationEntry, baseline: Measurement | None, current: Measurement | None
) -> Interval:
    """How much worse a value is than at baseline, in its unit; negative where it is better."""
    if baseline is None:
        return UNKNOWN
    lowest, highest = _held(declared, current)
    if declared.worse == "higher":
        return Interval(lowest - baseline.low, highest - baseline.low)
    return Interval(baseline.low - highest, baseline.low - lowest)


def _from_zero(sign: int, lowest: Decimal, highest: Decimal) -> tuple[Interval, Interval, bool]:
    zero = Decimal(0)
    if highest == zero:
        return Interval(zero, zero), Interval(zero, zero), True
    risen = lowest > zero
    if sign == 1:
        low = INFINITY if risen else zero
        return Interval(-INFINITY, -low if risen else zero), Interval(low, INFINITY), True
    return Interval(zero, INFINITY), Interval(-INFINITY, zero), True


def range_percent(
    declared: ObservationEntry,
    baseline: Measurement | None,
    current: Measurement | None,
    terms: Terms,
    *,
    adult: bool | None,
) -> Decimal | None:
    """The improvement in percent of the instrument's range, as the ACR/EULAR criteria count it.

    The range of an enzyme is a multiple of its upper limit, for adults and for children apart.
    """
    if baseline is None or current is None:
        return None
    if declared.adult_range_in_upper_limits is not None:
        limit = upper_limit(baseline, terms)
        multiple = range_in_upper_limits(declared, adult=adult)
        if multiple is None or limit is None:
            return None
        span = multiple.value * limit.value
    elif declared.range and declared.range.low is not None and declared.range.high is not None:
        span = declared.range.high - declared.range.low
    else:
        return None
    change = baseline.low - current.low
    if declared.worse == "lower":
        change = -change
    return change * HUNDRED / span


def range_in_upper_limits(declared: ObservationEntry, *, adult: bool | None) -> Number | None:
    """The range of an enzyme as a multiple of its upper limit; None where none is known.

    For a child the vocabulary must say where it was read: none is taken from adults.
    """
    if adult is None:
        return None
    if adult:
        return declared.adult_range_in_upper_limits
    juvenile = declared.juvenile_range_in_upper_limits
    return juvenile if juvenile is not None and juvenile.source is not None else None
