"""How much of a drug is taken each day, and for how long at least so much.

A daily dose is an interval: what cannot be read leaves it open, with the reason, and nothing is
guessed. Doses of different drugs are expressed in one of them, by the equal doses that the
vocabulary declares. FHIR R4 says how dosages are written: https://hl7.org/fhir/R4/dosage.html,
https://hl7.org/fhir/R4/datatypes.html#Timing.

What one exposure tells of a day:

- A dose times how often it is taken; 20 mg every other day are 10 mg a day.
- What is taken as needed, or stated only as a maximum, may be nothing at all.
- Steps with dates of their own follow these. Steps without may be over: at least nothing, at most
  the highest. Several doses without a sequence may be taken together or not.

What several exposures tell: an order may replace the one before or be added to it, so the dose is
at least that of the one that began last, and at most the sum. What was given fulfils an order. Only
the routes that the vocabulary names count. Where no route is told, the dose counts only as
possible, and so does what may be of the class that is no daily dose (an intravenous pulse). A depot
leaves the dose open for as long as it lasts.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from datetime import date
from decimal import Context, Decimal

from msgspec import Struct
from msgspec.structs import replace

from cds.chart.measurements import Unusable, plain, unit_factor
from cds.chart.quantities import INFINITY, Interval, is_within_reach
from cds.chart.terms import Terms, in_sentence
from cds.chart.treatments import Exposure, counts_for, given_by_day
from cds.chart.vocabulary import Depots, DoseEntry, DoseLevel, DrugClassEntry, UnitTable
from cds.fhir.dates import DateSpan, read_period
from cds.fhir.resources import Dosage, DoseAndRate, Quantity, TimingRepeat

ZERO = Decimal(0)
_LONG_AGO = 1
"""The ordinal of a day before all others, for what has no beginning."""

MOST_STEPS = 50
"""Dosages of one exposure that are read; nobody writes a taper of more into one order."""


class Step(Struct, frozen=True, gc=False):
    """One dosage of an exposure: its daily dose, and the days on which it applies.

    ``low`` and ``high`` are mg a day in the drug that doses are expressed in; ``why`` says what
    could not be read. ``sure`` and ``possible`` are the first and last day (ordinals) on which it
    surely and possibly applies; ``dated`` says that these are dates of its own.
    """

    low: Decimal
    high: Decimal
    why: str
    sequence: int | None
    dated: bool
    sure: tuple[int, int]
    possible: tuple[int, int]


class Taken(Struct, frozen=True):
    """One exposure that counts towards a daily dose, and its steps."""

    exposure: Exposure
    began: int
    steps: tuple[Step, ...]


class DailyDose(Struct, frozen=True):
    """Everything that tells of a daily dose up to ``today`` (an ordinal)."""

    taken: tuple[Taken, ...]
    today: int


def read_dose(
    entry: DoseEntry, exposures: Mapping[str, list[Exposure]], terms: Terms, as_of: date
) -> DailyDose:
    """What is known of a declared daily dose in one patient."""
    today = as_of.toordinal()
    without = terms.vocabulary.drug_classes.get(entry.without or "")
    apart = _Apart(without, given_by_day(without, exposures)) if without else None
    found = []
    for drug in _counted(entry):
        for exposure in exposures.get(drug, ()):
            steps = _steps_of(exposure, entry, apart, terms, today)
            if steps is not None:
                start = exposure.start
                began = start.first.toordinal() if start else _LONG_AGO
                found.append(Taken(exposure, began, steps))
    found.sort(key=lambda taken: (-taken.began, taken.exposure.reference))
    return DailyDose(tuple(found), today)


class _Apart(Struct, frozen=True):
    """The class of drugs that is no daily dose, with what was given of it on each day."""

    entry: DrugClassEntry
    given: Mapping[DateSpan | None, Decimal]


def _counted(entry: DoseEntry) -> Iterable[str]:
    """The drugs that tell of a daily dose, or leave it open."""
    return dict.fromkeys((*entry.equal, *(entry.depots.drugs if entry.depots else ())))


def _steps_of(
    exposure: Exposure, entry: DoseEntry, apart: _Apart | None, terms: Terms, today: int
) -> tuple[Step, ...] | None:
    """What an exposure tells of a daily dose, None where it is none."""
    drug, route, depots = exposure.drug, exposure.route, entry.depots
    if depots is not None and drug in depots.drugs and route in depots.routes:
        return (_depot(exposure, depots, today),)
    if drug not in entry.equal or (route is not None and route not in entry.routes):
        return None
    steps = tuple(_steps(exposure, entry, terms, today))
    if apart is None or drug not in apart.entry.any_of or route is None:
        return steps
    belongs = counts_for(apart.entry, exposure, apart.given)
    if belongs is None:
        title = in_sentence(apart.entry.title)
        return tuple(_perhaps(step, title) for step in steps)
    return None if belongs else steps


# --- one dosage ----------------------------------------------------------------------------------


def _steps(exposure: Exposure, entry: DoseEntry, terms: Terms, today: int) -> Iterator[Step]:
    factor_to = entry.equal[entry.expressed_in].value
    factor_from = entry.equal[exposure.drug].value
    if len(exposure.dosages) > MOST_STEPS:
        why = f"it has more than {MOST_STEPS} dosages, which are not read"
        yield Step(
            ZERO,
            INFINITY,
            why,
            None,
            False,
            *_applies(exposure, exposure.start, exposure.end, today),
        )
        return
    for dosage in exposure.dosages or (Dosage(),):
        low, high, why = _read(dosage, exposure, terms)
        if exposure.route is None:
            low, why = ZERO, "; ".join(filter(None, (why, "its route is not told")))
        start, end, dated = exposure.start, exposure.end, False
        repeat = dosage.timing.repeat if dosage.timing else None
        if repeat is not None and repeat.boundsPeriod is not None:
            own_start, own_end = read_period(repeat.boundsPeriod)
            start, end, dated = own_start or start, own_end or end, own_start is not None
        sure, possible = _applies(exposure, start, end, today)
        yield Step(
            low * factor_to / factor_from,
            high * factor_to / factor_from,
            why,
            dosage.sequence,
            dated,
            sure,
            possible,
        )


def _depot(exposure: Exposure, depots: Depots, today: int) -> Step:
    """What a depot tells: that the dose is not known while it lasts."""
    sure, (first, last) = _applies(exposure, exposure.start, exposure.end, today)
    day_after = 1 if exposure.kind == "given" else 0  # on which another dose may follow
    lasting = last - day_after + int(depots.last.value)
    why = "what is injected into a muscle is equal to no known dose a day"
    return Step(ZERO, INFINITY, why, None, False, sure, (first, lasting))


def _perhaps(step: Step, title: str) -> Step:
    """A step that may be of what is no daily dose."""
    why = "; ".join(filter(None, (step.why, f"it may be {title}")))
    return replace(step, low=ZERO, why=why)


def _applies(
    exposure: Exposure, start: DateSpan | None, end: DateSpan | None, today: int
) -> tuple[tuple[int, int], tuple[int, int]]:
    """The days on which a step surely applies, and on which it possibly does."""
    if exposure.kind == "given":  # a dose that was given counts for its day; the next may follow
        first, last = start, end or start
        if first is None or last is None:
            return (today, _LONG_AGO), (_LONG_AGO, today)
        covered = (first.last.toordinal(), last.first.toordinal())
        return covered, (first.first.toordinal(), last.last.toordinal() + 1)
    current = exposure.current
    if end is not None and current is False and end.last.toordinal() >= today:
        end = None  # stopped before its planned end, on a day that is not told
    begun = start.last.toordinal() if start else today if current else today + 1
    begins = start.first.toordinal() if start else _LONG_AGO
    if end is not None:
        return (begun, end.first.toordinal()), (begins, end.last.toordinal())
    if current:
        return (begun, today), (begins, today)
    # It ended on a day that is not told: only its first day is sure.
    first_day = start.first.toordinal() if start else _LONG_AGO
    return (begun, first_day), (begins, today - 1 if current is False else today)


class _Unreadable(ValueError):
    """Why a dose a day cannot be read."""


def _read(dosage: Dosage, exposure: Exposure, terms: Terms) -> tuple[Decimal, Decimal, str]:
    """The mg a day of one dosage, lowest and highest possible, and why it is not known exactly."""
    table = terms.vocabulary.units["dose"]
    most = _maximum(dosage, table)
    try:
        low, high = _amount(dosage.doseAndRate, table)
        if exposure.kind != "given":
            least, most_often = _times_a_day(dosage)
            low = _within_reach(low * least[0] / least[1])
            high = _within_reach(high * most_often[0] / most_often[1])
    except _Unreadable as reason:
        low, high, why = ZERO, INFINITY, str(reason)
    else:
        why = ""
    if most is not None and most < high:
        low, high = min(low, most), most
        why = why or "a maximum is stated"
    if dosage.asNeededBoolean or dosage.asNeededCodeableConcept is not None:
        low, why = ZERO, "it is to be taken as needed"
    return low, high, why


def _amount(parts: Iterable[DoseAndRate], table: UnitTable) -> tuple[Decimal, Decimal]:
    """One dose in mg: several ways of stating it should agree, and else are bounds."""
    lows, highs = [], []
    for part in parts:
        if part.doseQuantity is not None:
            dose = _milligrams(part.doseQuantity, table)
            lows.append(dose)
            highs.append(dose)
        elif part.doseRange is not None:
            low, high = part.doseRange.low, part.doseRange.high
            lows.append(_milligrams(low, table) if low else ZERO)
            highs.append(_milligrams(high, table) if high else INFINITY)
    if not lows:
        raise _Unreadable("its dose is not stated as a quantity")
    return min(lows), max(highs)


def _milligrams(quantity: Quantity, table: UnitTable) -> Decimal:
    if quantity.value is None or quantity.comparator is not None or quantity.value < 0:
        raise _Unreadable("its dose is not a number")
    try:
        return _within_reach(quantity.value * unit_factor(quantity, table))
    except Unusable:
        unit = quantity.unit or quantity.code
        said = f"is stated in {unit}" if unit else "has no unit"
        raise _Unreadable(f"its dose {said}, whose strength in mg is not told") from None


def _within_reach(dose: Decimal) -> Decimal:
    """A dose that can be given, or one that nothing tells the bounds of."""
    if dose != INFINITY and not is_within_reach(dose):
        raise _Unreadable("its dose is beyond anything that can be given")
    return dose


_PER_DAY = {"h": (24, 1), "d": (1, 1), "wk": (1, 7)}
"""How many periods of a unit make a day, as a fraction; months and years are not of one length."""

_CODES = {
    "QD": (1, 1),
    "AM": (1, 1),
    "PM": (1, 1),
    "BED": (1, 1),
    "QOD": (1, 2),
    "BID": (2, 1),
    "TID": (3, 1),
    "QID": (4, 1),
    "Q4H": (6, 1),
    "Q6H": (4, 1),
    "Q8H": (3, 1),
    "WK": (1, 7),
}
"""The abbreviations of FHIR (https://hl7.org/fhir/R4/valueset-timing-abbreviation.html) that say
how many times in how many days."""


Often = tuple[Decimal, Decimal]
"""How many times in how many days, apart so that a dose is multiplied before it is divided."""


def _times_a_day(dosage: Dosage) -> tuple[Often, Often]:
    """How often it is taken, at the least and at the most."""
    timing = dosage.timing
    repeat = timing.repeat if timing else None
    if repeat is not None and (repeat.period is not None or repeat.when or repeat.timeOfDay):
        return _repeats(repeat)
    for coding in timing.code.coding if timing and timing.code else ():
        if coding.code in _CODES:
            times, days = _CODES[coding.code]
            often = Decimal(times), Decimal(days)
            return often, often
    raise _Unreadable("how often it is to be taken is not stated")


def _repeats(repeat: TimingRepeat) -> tuple[Often, Often]:
    if repeat.dayOfWeek:
        raise _Unreadable("it is to be taken on certain days of the week")
    moments = len(repeat.when) or len(repeat.timeOfDay) or 1
    if repeat.period is None:
        often = Decimal(moments), Decimal(1)
        return often, often
    scale = _PER_DAY.get(repeat.periodUnit or "")
    longest = repeat.periodMax or repeat.period
    if scale is None or repeat.period <= 0 or longest < repeat.period:
        raise _Unreadable("how often it is to be taken cannot be read")
    least = repeat.frequency if repeat.frequency is not None else moments
    most = repeat.frequencyMax if repeat.frequencyMax is not None else least
    if not 0 <= least <= most:
        raise _Unreadable("how often it is to be taken cannot be read")
    times, days = scale
    return (
        (Decimal(least * times), longest * days),
        (Decimal(most * times), repeat.period * days),
    )


def _maximum(dosage: Dosage, table: UnitTable) -> Decimal | None:
    """The stated maximum in mg a day, where it can be read."""
    ratio = dosage.maxDosePerPeriod
    if ratio is None or ratio.numerator is None or ratio.denominator is None:
        return None
    period = ratio.denominator
    scale = _PER_DAY.get(period.code or period.unit or "")
    if scale is None or not period.value or period.value <= 0:
        return None
    try:
        most = _milligrams(ratio.numerator, table) * scale[0] / (period.value * scale[1])
        return _within_reach(most)
    except _Unreadable:
        return None


# --- a day ---------------------------------------------------------------------------------------


def dose_on(dose: DailyDose, day: int) -> Interval | None:
    """The dose of one day (an ordinal), or None where nothing tells of that day."""
    orders: list[tuple[int, bool, Interval]] = []
    given_low = given_high = ZERO
    any_told = False
    for taken in dose.taken:
        told = _of_exposure(taken, day)
        if told is None:
            continue
        any_told = True
        sure, bounds = told
        if taken.exposure.kind == "given":
            given_low += bounds.low if sure else ZERO
            given_high += bounds.high
        else:
            orders.append((taken.began, sure, bounds))
    if not any_told:
        return None
    high = sum((bounds.high for _, _, bounds in orders), ZERO)
    return Interval(max(_least(orders), given_low), max(high, given_high))


def _of_exposure(taken: Taken, day: int) -> tuple[bool, Interval] | None:
    """Whether an exposure surely tells of a day, and the dose that it tells."""
    steps = [s for s in taken.steps if s.possible[0] <= day <= s.possible[1]]
    if not steps:
        return None
    sure = all(s.sure[0] <= day <= s.sure[1] for s in steps)
    lows, highs = [s.low for s in steps], [s.high for s in steps]
    sequences = {s.sequence for s in steps}
    if len(steps) == 1:
        bounds = Interval(lows[0], highs[0])
    elif len(sequences) == len(steps) and None not in sequences:
        low = min(lows) if all(s.dated for s in steps) else ZERO
        bounds = Interval(low, max(highs))
    elif len(sequences) == 1 and None not in sequences:
        bounds = Interval(sum(lows, ZERO), sum(highs, ZERO))
    else:
        bounds = Interval(max(lows), sum(highs, ZERO))
    return sure, bounds


def _least(orders: list[tuple[int, bool, Interval]]) -> Decimal:
    """The least dose that orders leave possible; they come with the one that began last first.

    What perhaps has ended may hide an earlier order, or may not: the lower of both is sure.
    """
    least: Decimal | None = None
    for began, sure, bounds in orders:
        if not sure:
            least = bounds.low if least is None else min(least, bounds.low)
            continue
        together = [b.low for start, certain, b in orders if certain and start == began]
        return max(together) if least is None else min(least, max(together))
    return ZERO


def daily(dose: DailyDose, *, complete: bool) -> Interval:
    """The dose of today, mg a day; ``complete`` says that nothing else is recorded."""
    known = dose_on(dose, dose.today) or Interval(ZERO, ZERO)
    return known if complete else Interval(known.low, INFINITY)


def highest(dose: DailyDose, *, complete: bool) -> Interval:
    """The highest dose of a day that orders which are still drafts ask for, mg a day."""
    lows = [max((s.low for s in taken.steps), default=ZERO) for taken in dose.taken]
    highs = [max((s.high for s in taken.steps), default=ZERO) for taken in dose.taken]
    return Interval(max(lows, default=ZERO), sum(highs, ZERO) if complete else INFINITY)


# --- for how long it is ordered ------------------------------------------------------------------


def days_ordered(dose: DailyDose, *, complete: bool) -> Interval:
    """For how many days orders which are still drafts ask; open where there are none."""
    each = [_days_of(taken.exposure) for taken in dose.taken]
    low = max((days.low for days in each), default=ZERO)
    high = sum((days.high for days in each), ZERO)
    return Interval(low, high if each and complete else INFINITY)


def _days_of(exposure: Exposure) -> Interval:
    """The days that one draft is for: of its dosages, or at least those of the supply.

    A supply may be renewed. Dosages of one sequence are taken together, others one after the other.
    """
    of_step: dict[int | None, list[Interval]] = {}
    for dosage in exposure.dosages:
        of_step.setdefault(dosage.sequence, []).append(_days_of_dosage(dosage))
    steps = [
        Interval(max(d.low for d in days), max(d.high for d in days)) for days in of_step.values()
    ]
    supplied = _as_days(exposure.supply)
    least = supplied.low if supplied is not None else ZERO
    if not steps:
        return Interval(least, INFINITY)
    low, high = sum((d.low for d in steps), ZERO), sum((d.high for d in steps), ZERO)
    return Interval(max(low, min(least, high)), high)


def _days_of_dosage(dosage: Dosage) -> Interval:
    open_ = Interval(ZERO, INFINITY)
    repeat = dosage.timing.repeat if dosage.timing else None
    if repeat is None:
        return open_
    if repeat.boundsPeriod is not None:
        start, end = read_period(repeat.boundsPeriod)
        if start is None or end is None or end.last < start.first:
            return open_
        least, most = (end.first - start.last).days + 1, (end.last - start.first).days + 1
        return Interval(Decimal(max(least, 0)), Decimal(most))
    if repeat.boundsRange is not None:
        low, high = _as_days(repeat.boundsRange.low), _as_days(repeat.boundsRange.high)
        return Interval(low.low if low else ZERO, high.high if high else INFINITY)
    return _as_days(repeat.boundsDuration) or open_


_DAYS_OF = {"d": (1, 1), "wk": (7, 7), "mo": (28, 31), "a": (365, 366)}
"""The days of a unit of time: months and years are not of one length."""

_UNITS_OF_TIME = {"day": "d", "week": "wk", "month": "mo", "year": "a"}


def _as_days(duration: Quantity | None) -> Interval | None:
    """A duration in days, None where it cannot be read."""
    if duration is None or duration.value is None or duration.comparator is not None:
        return None
    unit = duration.code or duration.unit or ""
    days = _DAYS_OF.get(_UNITS_OF_TIME.get(unit.casefold().rstrip("s"), unit))
    if days is None or duration.value < 0 or not is_within_reach(duration.value):
        return None
    return Interval(duration.value * days[0], duration.value * days[1])


# --- how long ------------------------------------------------------------------------------------


def days_at(level: DoseLevel, gap: int, dose: DailyDose, *, complete: bool) -> Interval:
    """For how many days up to today the dose was surely, and possibly, at a level each day.

    The days are gone back in stretches on which nothing changes, and at each change only what
    changes is looked at: a chart may hold thousands of doses that each begin on another day. Over a
    gap only an order surely goes on into another: what was given twice may have been given twice.
    """
    sure = possible = last = dose.today
    surely = ordered = True
    bridged = False
    changing = _changing(dose)
    of_day = _OfDay(level, dose.taken)
    for place in range(len(dose.taken)):
        of_day.put(place, last)
    for first in (*sorted(changing, reverse=True), _LONG_AGO) if dose.taken else ():
        if not of_day.tells:
            if last == dose.today or last - first + 1 > gap:
                break
            bridged = True
        elif not of_day.possibly:
            break
        else:
            if bridged and not (ordered and of_day.ordered):
                surely = False
            bridged, ordered = False, of_day.ordered
            possible = first
            surely = surely and of_day.surely
            sure = first if surely else sure
        last = first - 1
        for place in changing.get(first, ()):
            of_day.put(place, last)
    return Interval(_days(sure, dose), _days(possible, dose) if complete else INFINITY)


def _changing(dose: DailyDose) -> dict[int, set[int]]:
    """The days from which on an exposure may tell something else than the day before; by place."""
    changing: dict[int, set[int]] = {}
    for place, taken in enumerate(dose.taken):
        for step in taken.steps:
            for begins, ends in (step.sure, step.possible):
                for day in (begins, ends + 1):
                    if _LONG_AGO < day <= dose.today:
                        changing.setdefault(day, set()).add(place)
    return changing


class _OfDay:
    """Whether the dose of one day reaches a level, as ``dose_on`` has that dose.

    It is kept up from day to day: ``put`` reads anew what one exposure tells.
    """

    def __init__(self, level: DoseLevel, taken: tuple[Taken, ...]) -> None:
        self._level = level
        self._taken = taken
        self._told: list[tuple[bool, Interval] | None] = [None] * len(taken)
        self._ordered, self._given, self._surely_given = _Sum(), _Sum(), _Sum()
        # As ``_least`` has it: of the orders, the one that began last first, the first of these
        # decides. An order that perhaps has ended and reaches the level leaves it to the next.
        self._deciding: list[int] = []
        self._reaching: Counter[int] = Counter()  # the sure ones, by the day on which they began

    def put(self, place: int, day: int) -> None:
        """Take what one exposure tells of a day in place of what it told before."""
        now = _of_exposure(self._taken[place], day)
        for told, sign in ((self._told[place], -1), (now, 1)):
            if told is not None:
                self._count(place, *told, sign)
        self._told[place] = now

    def _count(self, place: int, sure: bool, bounds: Interval, sign: int) -> None:
        taken = self._taken[place]
        if taken.exposure.kind == "given":
            self._given.add(bounds.high, sign)
            self._surely_given.add(bounds.low if sure else ZERO, sign)
            return
        self._ordered.add(bounds.high, sign)
        reaches = _reaches(self._level, bounds.low)
        if sure and reaches:
            self._reaching[taken.began] += sign
        if not sure and reaches:
            return
        at = bisect_left(self._deciding, place)
        if sign > 0:
            self._deciding.insert(at, place)
        else:
            del self._deciding[at]

    @property
    def tells(self) -> bool:
        """Whether anything tells of the day."""
        return bool(self._ordered.count or self._given.count)

    @property
    def ordered(self) -> bool:
        """Whether an order or statement tells of the day, and not only what was given."""
        return self._ordered.count > 0

    @property
    def possibly(self) -> bool:
        """Whether the highest possible dose reaches the level."""
        return _reaches(self._level, max(self._ordered.total, self._given.total))

    @property
    def surely(self) -> bool:
        """Whether the lowest possible dose reaches the level."""
        if _reaches(self._level, self._surely_given.total):
            return True
        if not self._deciding:
            return False
        first = self._deciding[0]
        told = self._told[first]
        return told is not None and told[0] and self._reaching[self._taken[first].began] > 0


_EXACT = Context(prec=50_000)
"""More digits than sums of doses can have, so that none is ever rounded."""


class _Sum:
    """A sum from which can be taken away again exactly what was added."""

    def __init__(self) -> None:
        self.count = 0
        self._finite = ZERO
        self._infinite = 0

    def add(self, value: Decimal, sign: int) -> None:
        self.count += sign
        if value == INFINITY:
            self._infinite += sign
        else:
            self._finite = _EXACT.fma(value, Decimal(sign), self._finite)

    @property
    def total(self) -> Decimal:
        return INFINITY if self._infinite else self._finite


def _days(since: int, dose: DailyDose) -> Decimal:
    return INFINITY if since <= _LONG_AGO else Decimal(dose.today - since)


def _reaches(level: DoseLevel, value: Decimal) -> bool:
    return value > level.dose.value if level.exceeded else value >= level.dose.value


# --- in words ------------------------------------------------------------------------------------


def say_dose(taken: Taken, unit: str, day: int) -> str:
    """What an exposure tells of a day: ``20 mg/d``, or why that is not known."""
    told = _of_exposure(taken, day)
    if told is None:
        return ""
    bounds = told[1]
    whys = {s.why for s in taken.steps if s.why and s.possible[0] <= day <= s.possible[1]}
    if bounds.low == bounds.high:
        return f"{plain(_short(bounds.low))} {unit}"
    if bounds.high == INFINITY:
        said = f"at least {plain(_short(bounds.low))} {unit}" if bounds.low else "dose not known"
    else:
        said = f"{plain(_short(bounds.low))} to {plain(_short(bounds.high))} {unit}"
    if not whys and len(taken.steps) > 1:
        whys = {"several doses are stated"}
    return f"{said}: {'; '.join(sorted(whys))}" if whys else said


def _short(value: Decimal) -> Decimal:
    """A long fraction rounded for reading only."""
    exponent = value.as_tuple().exponent
    assert isinstance(exponent, int)  # what is not finite is told in words
    return round(value, 2) if exponent < -2 else value
