"""Observations as measurements: a number in the vocabulary's unit, with its day and provenance.

Whatever cannot be used is listed with the reason; nothing is clamped, converted by guess or
imputed. See ``rules/vocabulary/observations.yaml`` and ``units.yaml`` for codes, units and ranges.
"""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from itertools import groupby, pairwise
from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

from cds.chart.coding import Ambiguous, find, find_all, texts
from cds.chart.quantities import INFINITY, is_within_reach
from cds.chart.terms import Observed, Terms
from cds.chart.vocabulary import Bounds, UnitTable
from cds.fhir.bundles import Excluded
from cds.fhir.dates import DateSpan, read_date, read_instant, read_period
from cds.fhir.resources import (
    CodeableConcept,
    Observation,
    ObservationComponent,
    Quantity,
    ReferenceRange,
)

UCUM = "http://unitsofmeasure.org"
USED_STATUSES = frozenset({"final", "amended", "corrected"})
NOT_MAPPED = "its code is not mapped to anything that this service knows"

Valued = Observation | ObservationComponent


class Unusable(ValueError):
    """Why a value is left out."""


class Measurement(Struct, frozen=True, gc=False):
    """One numeric result, in the unit of its entry.

    ``low`` and ``high`` are equal but for a result given as a bound ("<5"), or of a day on which
    several differ. ``reference`` names the Observation, or the component of it; ``factor`` took its
    unit to the entry's. ``ranges`` are the reference ranges that may be those of this patient.
    """

    entry: str
    low: Decimal
    high: Decimal
    day: date
    issued: str
    reference: str
    source: Valued
    factor: Decimal
    remark: str = ""
    ranges: tuple[ReferenceRange, ...] = ()

    @property
    def value(self) -> Decimal | None:
        """The number, where it is one and not a bound."""
        return self.low if self.low == self.high else None


class UpperLimit(Struct, frozen=True, gc=False):
    """The upper limit of normal for a measurement, in its unit, and where it was taken from."""

    value: Decimal
    origin: Literal["reference range", "configured"]


class AntibodyResult(Struct, frozen=True, gc=False):
    """One antibody result: found or not found."""

    entry: str
    positive: bool
    day: date
    reference: str


class StatusResult(Struct, frozen=True, gc=False):
    """One answer about a status, and the findings that it is (``finding.smoking``)."""

    findings: tuple[str, ...]
    day: date
    issued: datetime
    reference: str
    text: str
    remark: str


class LeftOut(Struct, frozen=True, gc=False):
    """An Observation of a core set measure that was not used, or one that may be of it, and why.

    ``entry`` is what its code selects (``observation.x``, ``measure.x``), empty where it selects
    nothing and only the words of ``text`` name the measure. ``kind`` says how it is missing.
    """

    measure: str
    entry: str
    text: str
    day: DateSpan | None
    reference: str
    reason: str
    kind: Literal["not performed", "no value", "left out"]


class Measurements(Struct):
    """All usable results of a patient, by entry; measurements in order of time.

    ``unusable`` has the days of numeric results that were left out for their value, by entry: on
    such a day something was measured, and what was found is not known. ``left_out`` are the
    Observations of core set measures that could not be used.
    """

    series: dict[str, list[Measurement]]
    antibodies: dict[str, list[AntibodyResult]]
    statuses: dict[str, list[StatusResult]] = {}
    unusable: dict[str, list[date]] = {}
    left_out: list[LeftOut] = []


def read_observations(
    observations: list[Observation],
    terms: Terms,
    as_of: date,
    excluded: list[Excluded],
    gender: str | None = None,
) -> Measurements:
    """Read the Observations of one patient of a gender; what is left out goes to ``excluded``."""
    found = Measurements({}, {}, {}, {}, [])
    days: dict[str, date] = {}  # many Observations of one visit have one date
    for observation in observations:
        reference = f"Observation/{observation.id}" if observation.id else "Observation without id"
        try:
            used = _read_one(observation, observation, reference, terms, as_of, days, found, gender)
        except (Unusable, Ambiguous) as reason:
            excluded.append(Excluded(reference, str(reason)))
            _note_left_out(observation, observation, excluded[-1], terms, found)
            used = True
        for index, part in enumerate(observation.component) if observation.component else ():
            where = f"{reference}.component[{index}]"
            try:
                used = (
                    _read_one(observation, part, where, terms, as_of, days, found, gender) or used
                )
            except (Unusable, Ambiguous) as reason:
                excluded.append(Excluded(where, str(reason)))
                _note_left_out(observation, part, excluded[-1], terms, found)
                used = True
        if not used:
            excluded.append(Excluded(reference, NOT_MAPPED))
            _note_left_out(observation, observation, excluded[-1], terms, found)
    for entry, measurements in list(found.series.items()):
        if len(measurements) > 1 and _sort(measurements):
            _settle_days(entry, measurements, terms, found, excluded)
    return found


def _settle_days(
    entry: str,
    measurements: list[Measurement],
    terms: Terms,
    found: Measurements,
    excluded: list[Excluded],
) -> None:
    """Settle which of different values of one day counts: the last; of a measure others are listed.

    Where no time tells which is the last, none counts of an instrument of a measure; any other
    value is known only to lie between them.
    """
    of_measure = entry in terms.measure_of
    kept: list[Measurement] = []
    for _, group in groupby(measurements, key=lambda m: m.day):
        of_day = list(group)
        if len({(m.low, m.high) for m in of_day}) == 1:
            kept += of_day
            continue
        last = _last(of_day)
        if last is not None:
            kept += of_day
            if not of_measure:  # a course of one day, which is told as such
                continue
            why = f"is of the same day as {last.reference}, which is later and counts"
        elif of_measure:
            found.unusable.setdefault(entry, []).append(of_day[0].day)
            why = "differs from another of the same day, and nothing says which is the later"
        else:
            kept.append(_between(of_day))
            why = (
                "differs from another of the same day, and nothing says which is the later: "
                "what it was is known to lie between them only"
            )
        for m in of_day:
            if last is None or (m.low, m.high) != (last.low, last.high):
                excluded.append(Excluded(m.reference, why))
                _note_day(m, why, terms, found)
    found.series[entry] = kept
    if not kept:
        del found.series[entry]


def _last(of_day: list[Measurement]) -> Measurement | None:
    """The last measurement of a day; None where the times do not tell, and those differ."""
    latest = of_day
    for time in (issued_at, _taken_at):
        moments = [time(m) for m in latest]
        if _NEVER in moments:
            return None
        latest = [m for m, at in zip(latest, moments, strict=True) if at == max(moments)]
        if len({(m.low, m.high) for m in latest}) == 1:
            return latest[-1]
    return None


def _between(of_day: list[Measurement]) -> Measurement:
    """What is known of several values that differ: that it lies between the least and the most."""
    others = ", ".join(m.reference for m in of_day[1:])
    remark = f"with {others} of the same day, which differ, and nothing says which is the later"
    return replace(
        of_day[0],
        low=min(m.low for m in of_day),
        high=max(m.high for m in of_day),
        remark="; ".join(filter(None, (of_day[0].remark, remark))),
    )


def _note_day(measurement: Measurement, why: str, terms: Terms, found: Measurements) -> None:
    """Add a value that is left out for another of its day, where it is of a core set measure."""
    entry = f"observation.{measurement.entry}"
    if entry in terms.core_set:
        day = DateSpan(measurement.day, measurement.day)
        said = (terms.core_set[entry], entry, "", day, measurement.reference, why)
        found.left_out.append(LeftOut(*said, kind="left out"))


def _note_left_out(
    observation: Observation, part: Valued, why: Excluded, terms: Terms, found: Measurements
) -> None:
    """Add to ``left_out`` what is of a core set measure by its code, or may be by its words."""
    if part.code is None:
        return
    said = texts(part.code)
    matches = [match.entry for match in find_all(terms.observations, part.code)]
    of = [(terms.core_set[entry], entry) for entry in matches if entry in terms.core_set]
    if not matches:
        of = [(name, "") for words in said for name in sorted(terms.measure_names.find_all(words))]
    if not of:
        return
    absent = part.dataAbsentReason
    codes = {coding.code for coding in absent.coding} if absent else set()
    kind: Literal["not performed", "no value", "left out"] = "left out"
    if absent is not None:
        kind = "not performed" if "not-performed" in codes else "no value"
    period = observation.effectivePeriod
    day = read_date(
        observation.effectiveDateTime
        or observation.effectiveInstant
        or (period.start if period else None)
    )
    text = said[0] if said else ""
    found.left_out.append(LeftOut(*of[0], text, day, why.reference, why.reason, kind))


_NEVER = datetime.min.replace(tzinfo=UTC)


def issued_at(measurement: Measurement) -> datetime:
    """When a result was issued, as a moment to order two by; before all others if not told."""
    return read_instant(measurement.issued) or _NEVER


def _taken_at(measurement: Measurement) -> datetime:
    """When a value was true, as a moment; before all others if not told, as of a component."""
    source = measurement.source
    if not isinstance(source, Observation):
        return _NEVER
    return read_instant(source.effectiveDateTime or source.effectiveInstant) or _NEVER


def _sort(measurements: list[Measurement]) -> bool:
    """Bring into order of time: by day, when issued, when taken; whether a day has several."""
    measurements.sort(key=lambda m: m.day)
    several = any(a.day == b.day for a, b in pairwise(measurements))
    if several:
        measurements.sort(key=lambda m: (m.day, issued_at(m), _taken_at(m), m.reference))
    return several


def _read_one(
    observation: Observation,
    part: Valued,
    reference: str,
    terms: Terms,
    as_of: date,
    days: dict[str, date],
    found: Measurements,
    gender: str | None,
) -> bool:
    """Read an Observation or a component into ``found``; whether it is something we know."""
    if part.code is None:
        return False
    match = find(terms.observations, part.code)
    if match is None:
        return False
    observed = terms.observed[match.entry]
    kind, entry = observed.kind, observed.name
    if kind == "maximum":
        if part is observation:
            raise Unusable("it is the maximum of a scale, without the value that it is for")
        return False
    if observation.status not in USED_STATUSES:
        raise Unusable(f"its status is {observation.status or 'missing'}")
    if kind == "antibody":
        positive = _is_positive(part, terms)
        result = AntibodyResult(entry, positive, _day(observation, as_of, days), reference)
        found.antibodies.setdefault(entry, []).append(result)
        return True
    day = _day(observation, as_of, days)
    if kind == "status":
        status = _status(part, entry, day, observation, reference, terms)
        found.statuses.setdefault(entry, []).append(status)
        return True
    try:
        if kind == "measure":
            entry = _instrument_by_maximum(observation, part, entry, terms)
            observed = terms.observed[f"observation.{entry}"]
        measurement = _measure(
            part, observed, match.remark, day, _issued(observation), reference, terms, gender
        )
    except Unusable:
        unresolved = observed.kind == "measure"
        for each in terms.vocabulary.measures[entry].instruments if unresolved else (entry,):
            found.unusable.setdefault(each, []).append(day)
        raise
    found.series.setdefault(entry, []).append(measurement)
    return True


def _day(observation: Observation, as_of: date, days: dict[str, date]) -> date:
    """The day on which an Observation was true; it must be one known day, not after ``as_of``.

    ``days`` keeps what the dates of this patient that were read before turned out to be.
    """
    text = observation.effectiveDateTime or observation.effectiveInstant
    if text:
        if text in days:
            return days[text]
        span = read_date(text)
        if span is None:
            raise Unusable("its effective date cannot be read")
    elif observation.effectivePeriod:
        start, end = read_period(observation.effectivePeriod)
        if start is None or end is None or start != end:
            raise Unusable("its effective period is not one day")
        span = start
    else:
        raise Unusable("it has no effective date")
    if not span.exact:
        raise Unusable(f"its date {span} is not a full date")
    if span.first > as_of:
        raise Unusable(f"it is dated {span}, after {as_of}")
    if text:
        days[text] = span.first
    return span.first


def _status(
    part: Valued,
    entry: str,
    day: date,
    observation: Observation,
    reference: str,
    terms: Terms,
) -> StatusResult:
    """The findings that the answer of a status is; raises ``Unusable`` without an answer."""
    answer = part.valueCodeableConcept
    if answer is None and part.valueString:
        answer = CodeableConcept(text=part.valueString)
    if answer is None:
        raise Unusable("it has no answer")
    words = texts(answer)
    matches = {m.entry: m.remark for m in find_all(terms.conditions, answer)}
    for word in words if not matches else ():
        named = terms.condition_names.find(word)
        if named is not None and not named.doubted:
            matches[named.entry] = "matched by name"
    may = [f"finding.{name}" for name in terms.vocabulary.statuses[entry].asserts]
    said = words[0] if words else next((c.code for c in answer.coding if c.code), "")
    text = f"{terms.vocabulary.statuses[entry].title}: {said}"
    remark = "; ".join(filter(None, (matches.get(key) for key in may)))
    moment = read_instant(_issued(observation)) or _NEVER
    findings = tuple(key for key in may if key in matches)
    return StatusResult(findings, day, moment, reference, text, remark)


def _issued(observation: Observation) -> str:
    """When a result was issued; where nothing says so, when it was true, which is no later."""
    return observation.issued or observation.effectiveDateTime or observation.effectiveInstant or ""


def _measure(
    part: Valued,
    observed: Observed,
    remark: str,
    day: date,
    issued: str,
    reference: str,
    terms: Terms,
    gender: str | None,
) -> Measurement:
    declared, table = observed.entry, observed.units
    assert declared is not None and table is not None  # as of every observation that is checked
    quantity = part.valueQuantity
    if quantity is None and part.valueInteger is not None:
        quantity = Quantity(value=Decimal(part.valueInteger))
    if quantity is None or quantity.value is None:
        raise Unusable(_why_no_number(part))
    factor = unit_factor(quantity, table)
    low = high = _plain_number(quantity.value if factor == 1 else quantity.value * factor)
    bounds = declared.range
    if bounds is not None and (
        (bounds.low is not None and low < bounds.low)
        or (bounds.high is not None and low > bounds.high)
    ):
        raise Unusable(_outside(low, bounds, table.unit))
    if quantity.comparator is not None:
        if observed.name in terms.measure_of:
            raise Unusable(f"it is a bound ({quantity.comparator}{quantity.value}), not a value")
        if quantity.comparator in ("<", "<="):
            low = -INFINITY
        elif quantity.comparator in (">", ">="):
            high = INFINITY
        else:
            raise Unusable(f"its comparator {quantity.comparator} is not known")
    ranges = part.referenceRange
    if any(usual.appliesTo for usual in ranges):
        ranges = tuple(usual for usual in ranges if _may_be_of(usual, gender, terms))
    return Measurement(
        observed.name, low, high, day, issued, reference, part, factor, remark, ranges
    )


def _may_be_of(usual: ReferenceRange, gender: str | None, terms: Terms) -> bool:
    """Whether a reference range may be one of this patient: not surely one of the other sex."""
    sexes = set().union(*map(terms.sexes.find, usual.appliesTo))
    known = gender in terms.sexes.words.values()
    return not known or not sexes or gender in sexes


MOST_DIGITS = 20
"""Characters of a number: more than any instrument gives, few enough for exact arithmetic."""


MOST_COMPONENTS = 50
"""Among which the maximum of a scale is looked for: it stands beside its value, and little else."""


def recorded(measurement: Measurement) -> str:
    """A value that was converted as it is recorded, with its unit: ``42.5 µkat/L``; else empty."""
    quantity = measurement.source.valueQuantity
    if measurement.factor == 1 or quantity is None or quantity.value is None:
        return ""
    if -INFINITY < measurement.low < measurement.high < INFINITY:  # several that differ
        return ""
    return f"{quantity.comparator or ''}{quantity.value:f} {quantity.unit or quantity.code}"


def _plain_number(value: Decimal) -> Decimal:
    """Refuse numbers that no instrument gives.

    All arithmetic on the others is exact or correctly rounded far beyond any threshold, and their
    ratios stay within what the rule engine takes.
    """
    if not value.is_finite():
        raise Unusable("its value is not a number")
    if not is_within_reach(value):
        raise Unusable("its value is beyond anything that can be measured")
    if len(str(value)) > MOST_DIGITS:
        raise Unusable(f"its value is written with more than {MOST_DIGITS} characters")
    return value


def _outside(value: Decimal, bounds: Bounds, unit: str) -> str:
    said = f"its value {plain(value)} {unit} is"
    if bounds.high is None:
        return f"{said} below {bounds.low} {unit}"
    low = "" if bounds.low is None else f"{bounds.low}"
    return f"{said} outside the range of the instrument ({low} to {bounds.high} {unit})"


def _why_no_number(part: Valued) -> str:
    absent = part.dataAbsentReason
    if absent is not None:
        said = absent.text or next((c.display or c.code for c in absent.coding), None)
        return f"it has no value ({said or 'no reason given'})"
    if part.valueString is not None or part.valueCodeableConcept is not None:
        return "its value is words, not a number"
    return "it has no value"


def unit_factor(quantity: Quantity, table: UnitTable) -> Decimal:
    """The factor from a quantity's unit to the table's; raises ``Unusable`` for an unknown unit.

    The UCUM code counts before the printed unit, and the two must not contradict each other.
    """
    by_code = table.spellings.get(quantity.code) if quantity.code else None
    by_unit = table.spellings.get(quantity.unit) if quantity.unit else None
    if by_code is not None:
        if by_unit is not None and by_unit != by_code:
            raise Unusable(f"its units contradict each other: {quantity.code} and {quantity.unit}")
        return by_code
    if quantity.code and (quantity.system == UCUM or by_unit is None):
        raise Unusable(f"its unit {quantity.code} is not known for this (expected {table.unit})")
    if by_unit is not None:
        return by_unit
    if quantity.unit:
        raise Unusable(f"its unit {quantity.unit} is not known for this (expected {table.unit})")
    if table.may_be_absent:
        return Decimal(1)
    raise Unusable(f"it has no unit (expected {table.unit})")


def _instrument_by_maximum(
    observation: Observation, valued: Valued, measure: str, terms: Terms
) -> str:
    """The instrument that an unspecific code means, by the maximum that comes with the value."""
    if len(observation.component) > MOST_COMPONENTS:
        raise Unusable(
            f"its code names no instrument, and of more than {MOST_COMPONENTS} components none is "
            "looked through for the maximum"
        )
    maxima: list[Decimal] = [
        r.high.value for r in valued.referenceRange if r.high and r.high.value is not None
    ]
    for part in observation.component:
        if part.code is None or find(terms.observations, part.code) != terms.maximum:
            continue
        if part.valueQuantity and part.valueQuantity.value is not None:
            maxima.append(part.valueQuantity.value)
        elif part.valueInteger is not None:
            maxima.append(Decimal(part.valueInteger))
    if not maxima:
        raise Unusable("its code names no instrument and it brings no maximum, so it means nothing")
    fitting = [
        name
        for name in terms.vocabulary.measures[measure].instruments
        if (r := terms.vocabulary.observations[name].range) and all(m == r.high for m in maxima)
    ]
    if len(fitting) != 1:
        said = " and ".join(sorted({plain(m) for m in maxima}))
        raise Unusable(f"no instrument of this measure has the maximum {said}")
    return fitting[0]


def upper_limits(measurement: Measurement, terms: Terms) -> list[Decimal]:
    """The upper limits of the normal ranges that an Observation brings, the lowest first.

    A reference range without a unit is in the unit of its value, as FHIR has it.
    """
    table = terms.vocabulary.units[terms.vocabulary.observations[measurement.entry].units]
    limits: set[Decimal] = set()
    for usual in measurement.ranges:
        high = usual.high
        if high is None or high.value is None or high.value <= 0:
            continue
        if not _is_normal(usual):
            continue
        try:
            factor = unit_factor(high, table) if high.code or high.unit else measurement.factor
            limits.add(_plain_number(_plain_number(high.value) * factor))
        except Unusable:
            continue
    return sorted(limits)


def upper_limit(measurement: Measurement, terms: Terms) -> UpperLimit | None:
    """The upper limit of normal: of the Observation itself, else the configured one, else none.

    Where several ranges that may be those of the patient disagree there is none.
    """
    limits = upper_limits(measurement, terms)
    if len(limits) == 1:
        return UpperLimit(limits[0], "reference range")
    configured = terms.vocabulary.observations[measurement.entry].upper_limit
    if not limits and configured is not None:
        return UpperLimit(configured.value, "configured")
    return None


def _is_normal(usual: ReferenceRange) -> bool:
    """Whether a reference range is the normal one (and not a treatment or critical range)."""
    codes = [c.code for c in usual.type.coding] if usual.type else ()
    return not codes or "normal" in codes


def multiple_of_upper_limit(
    measurement: Measurement, terms: Terms
) -> tuple[Decimal, Decimal] | None:
    """A result as a multiple of its upper limit, lowest and highest possible; None without one."""
    limit = upper_limit(measurement, terms)
    if limit is None:
        return None
    return measurement.low / limit.value, measurement.high / limit.value


def possible_multiple(measurement: Measurement, terms: Terms) -> tuple[Decimal, Decimal] | None:
    """As ``multiple_of_upper_limit``; of limits that disagree it may be each."""
    limits = upper_limits(measurement, terms)
    if len(limits) < 2:
        return multiple_of_upper_limit(measurement, terms)
    return measurement.low / limits[-1], measurement.high / limits[0]


def is_flagged_high(measurement: Measurement, terms: Terms) -> bool:
    """Whether the laboratory itself says that a result is high."""
    return any(map(terms.high.find, measurement.source.interpretation))


def _is_positive(part: Valued, terms: Terms) -> bool:
    """Whether an antibody was found; raises ``Unusable`` where that is not clear."""
    said: set[str] = set()
    concepts = (*([part.valueCodeableConcept] if part.valueCodeableConcept else ()),)
    words = [part.valueString or "", *(c.text or "" for c in concepts)]
    for concept in concepts:
        if match := find(terms.results.codes, concept):
            said.add(match.entry)
    for word in words:
        if result := terms.results.words.get(word.strip().casefold()):
            said.add(result)
    if part.valueBoolean is not None:
        said.add("positive" if part.valueBoolean else "negative")
    for concept in part.interpretation:
        if match := find(terms.results.codes, concept):
            said.add(match.entry)
    quantity = part.valueQuantity
    if not said and quantity and quantity.value is not None:
        said |= _against_limit(quantity, part)
    if len(said) != 1:
        why = "contradicts itself" if said else "is neither positive nor negative"
        raise Unusable(f"its result {why}")
    return said == {"positive"}


def _against_limit(quantity: Quantity, part: Valued) -> set[str]:
    """Positive or negative by the reference range, where unit and comparator leave no doubt."""
    highs = {
        r.high.value
        for r in part.referenceRange
        if r.high
        and r.high.value is not None
        and _is_normal(r)
        and (r.high.unit or quantity.unit) == quantity.unit
        and (r.high.code or quantity.code) == quantity.code
    }
    if len(highs) != 1 or quantity.value is None or not quantity.value.is_finite():
        return set()
    high = highs.pop()
    if quantity.comparator in (None, "<", "<=") and quantity.value <= high:
        return {"negative"}
    if quantity.comparator in (None, ">", ">=") and quantity.value > high:
        return {"positive"}
    return set()


def plain(value: Decimal) -> str:
    """A number as people write it: no exponent, no trailing zeros, and zero without a sign."""
    text = str(value or 0)
    if "E" in text:
        text = f"{value:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def say_unit(unit: str) -> str:
    """A UCUM unit as people write it, without braces and with µ: ``mL/min/1.73 m2``, ``µg/L``."""
    said = unit.replace("{", "").replace("}", "").replace("_", " ")
    return f"µ{said[1:]}" if said.startswith("ug") else said
