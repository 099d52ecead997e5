"""Facts about diagnoses and findings: whether one is so, surely so, and since when."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import date
from decimal import Decimal

from cds.chart.chart import Chart, age
from cds.chart.conditions import Assertion, too_old
from cds.chart.facts.declaration import Declaration, Evidence, Value, days_ago
from cds.chart.quantities import INFINITY, UNKNOWN, Interval
from cds.chart.vocabulary import ConditionEntry, Unrecorded, Vocabulary
from cds.fhir.dates import DateSpan


def declare(vocabulary: Vocabulary) -> list[Declaration]:
    """Of each diagnosis and finding: whether it is so, since when, and whether without doubt."""
    return [*_recorded(vocabulary), *_dated_facts(vocabulary), *_confirmation(vocabulary)]


def _recorded(vocabulary: Vocabulary) -> list[Declaration]:
    return [
        Declaration(
            name=f"{prefix}.{name}",
            kind="boolean",
            title=entry.title,
            read=_asserted(f"{prefix}.{name}", entry, _sources_of(name, prefix, vocabulary)),
            evidence=_assertions(f"{prefix}.{name}", entry),
        )
        for prefix, entries in (
            ("diagnosis", vocabulary.diagnoses),
            ("finding", vocabulary.findings),
        )
        for name, entry in entries.items()
    ]


def _dated_facts(vocabulary: Vocabulary) -> list[Declaration]:
    """How long a diagnosis or finding is on record, and how old the patient was at its first date.

    A date is when it began or, where that is not stated, when it was recorded. The latest one tells
    a further episode from one that is long known. When it began, of which no statement may be
    earlier, is apart: it is no later than it was recorded.
    """
    made = []
    entries = [(f"diagnosis.{name}", entry) for name, entry in vocabulary.diagnoses.items()]
    entries += [(f"finding.{name}", entry) for name, entry in vocabulary.findings.items()]
    for key, entry in entries:
        for suffix, title, unit, read in (
            ("days", "days since its earliest date on record", "d", _days_since(key, min)),
            ("days_latest", "days since its latest date on record", "d", _days_since(key, max)),
            ("age", "age at its earliest date on record", "a", _age_at(key)),
            ("recorded_days", "days since it was first recorded", "d", _days_since_recorded(key)),
            ("onset_days", "days since it began", "d", _days_since_onset(key)),
            ("onset_age", "age when it began", "a", _age_at_onset(key)),
        ):
            made.append(
                Declaration(
                    name=f"{key}.{suffix}",
                    kind="number",
                    title=f"{entry.title}, {title}",
                    unit=unit,
                    read=read,
                    evidence=_assertions(key, entry),
                )
            )
    return made


Choose = Callable[[Iterable[date]], date]


def _dated(key: str, chart: Chart, choose: Choose) -> DateSpan | None:
    """The earliest or latest date of what asserts something; of several spans, what it may be."""
    dates = [a.since for a in chart.conditions.get(key, ()) if a.sure and a.since is not None]
    if not dates or "Condition" not in chart.complete:
        return None
    return DateSpan(choose(d.first for d in dates), choose(d.last for d in dates))


def _days_since(key: str, choose: Choose) -> Callable[[Chart], Value]:
    def read(chart: Chart) -> Value:
        began = _dated(key, chart, choose)
        return UNKNOWN if began is None else days_ago(began, chart)

    return read


def _age_at(key: str) -> Callable[[Chart], Value]:
    def read(chart: Chart) -> Value:
        began = _dated(key, chart, min)
        youngest = age(chart.born, began.first) if began else None
        oldest = age(chart.born, began.last) if began else None
        if youngest is None or oldest is None:
            return UNKNOWN
        return Interval(Decimal(youngest[0]), Decimal(oldest[1]))

    return read


def _onset_of(key: str, chart: Chart) -> tuple[DateSpan | None, DateSpan | None]:
    """When it began as that is stated, and its earliest date on record."""
    stated = [a.onset for a in chart.conditions.get(key, ()) if a.sure and a.onset is not None]
    earliest = _dated(key, chart, min)
    if not stated or earliest is None:
        return None, earliest
    onset = DateSpan(min(d.first for d in stated), min(d.last for d in stated))
    # What was recorded before it is said to have begun leaves open when that was.
    return (onset if onset.first <= earliest.first else None), earliest


def _days_since_onset(key: str) -> Callable[[Chart], Value]:
    days_since = _days_since(key, min)

    def read(chart: Chart) -> Value:
        onset, earliest = _onset_of(key, chart)
        known = days_since(chart)
        if earliest is None or not isinstance(known, Interval):
            return UNKNOWN
        return known if onset is not None else Interval(known.low, INFINITY)

    return read


def _days_since_recorded(key: str) -> Callable[[Chart], Value]:
    days_since = _days_since(key, min)

    def read(chart: Chart) -> Value:
        sure = [a for a in chart.conditions.get(key, ()) if a.sure]
        dates = [a.recorded for a in sure if a.recorded is not None]
        known = days_since(chart)
        if not isinstance(known, Interval) or known is UNKNOWN:
            return UNKNOWN
        low = max((chart.as_of - min(d.last for d in dates)).days, 0) if dates else 0
        if not dates or len(dates) < len(sure):  # one without a date may have been recorded before
            return Interval(Decimal(low), max(known.high, Decimal(low)))
        high = (chart.as_of - min(d.first for d in dates)).days
        # On a day before the record was made, how long it has stood there cannot be told.
        return Interval(Decimal(low), Decimal(high)) if high >= 0 else UNKNOWN

    return read


def _age_at_onset(key: str) -> Callable[[Chart], Value]:
    age_at = _age_at(key)

    def read(chart: Chart) -> Value:
        onset, _ = _onset_of(key, chart)
        known = age_at(chart)
        if known is UNKNOWN or not isinstance(known, Interval):
            return UNKNOWN
        return known if onset is not None else Interval(Decimal(0), known.high)

    return read


def _sources_of(name: str, prefix: str, vocabulary: Vocabulary) -> frozenset[str]:
    """The resource types that may assert an entry: without all of them it may be recorded."""
    answers = any(name in status.asserts for status in vocabulary.statuses.values())
    also = {"Observation"} if answers and prefix == "finding" else set()
    return frozenset({"Condition", *also})


def _asserted(key: str, entry: ConditionEntry, types: frozenset[str]) -> Callable[[Chart], Value]:
    """Whether something is so: unknown where it is left open, may be over, or was denied since."""
    denied = tuple(f"finding.{name}" for name in entry.denied_by)

    def read(chart: Chart) -> Value:
        assertions = chart.conditions.get(key)
        if assertions is not None:
            if any(a.sure for a in assertions):
                return None if _denied_since(key, entry, chart) else True
            return None if not _denied(denied, chart) else False
        if not types <= chart.complete:
            return None
        if entry.unrecorded is None or _denied(denied, chart):
            return False
        return None if _may_be_unrecorded(entry.unrecorded, chart) else False

    return read


def _denied(by: tuple[str, ...], chart: Chart) -> bool:
    return any(a.sure for key in by for a in chart.conditions.get(key, ()))


def _denied_since(key: str, entry: ConditionEntry, chart: Chart) -> list[Assertion]:
    """What says that something is not so, and is surely later than all that surely asserts it.

    A denial that is too old to speak of today still says that what was asserted before it is over.
    """
    sure = [a for a in chart.conditions.get(key, ()) if a.sure] if entry.denied_by else []
    dates = [[d.last for d in (a.since, a.recorded) if d is not None] for a in sure]
    if not all(dates) or not dates:
        return []
    latest = max(map(max, dates))
    found = []
    for by in entry.denied_by:
        denies = chart.terms.vocabulary.findings[by]
        for a in chart.conditions.get(f"finding.{by}", ()):
            counted = a.sure or bool(too_old(denies, a.since, chart.as_of))
            if counted and not a.doubted and a.since is not None and a.since.first > latest:
                found.append(a)
    return found


def _may_be_unrecorded(unrecorded: Unrecorded, chart: Chart) -> bool:
    """Whether what nobody recorded may be so all the same in this patient."""
    if unrecorded.false_in is not None and chart.gender == unrecorded.false_in:
        return False
    known = age(chart.born, chart.as_of)
    if known is None:
        return True
    return known[1] >= unrecorded.from_age.value and known[0] <= unrecorded.to_age.value


def _confirmation(vocabulary: Vocabulary) -> list[Declaration]:
    """Whether a diagnosis or finding is recorded as more than provisional or a differential."""
    return [
        Declaration(
            name=f"{prefix}.{name}.confirmed",
            kind="boolean",
            title=f"{entry.title}, recorded without doubt",
            read=_confirmed(f"{prefix}.{name}", entry, _sources_of(name, prefix, vocabulary)),
            evidence=_assertions(f"{prefix}.{name}", entry),
        )
        for prefix, entries in (
            ("diagnosis", vocabulary.diagnoses),
            ("finding", vocabulary.findings),
        )
        for name, entry in entries.items()
    ]


def _confirmed(key: str, entry: ConditionEntry, types: frozenset[str]) -> Callable[[Chart], Value]:
    def read(chart: Chart) -> Value:
        if any(a.sure and not a.doubted for a in chart.conditions.get(key, ())):
            return None if _denied_since(key, entry, chart) else True
        open_ = any(not a.sure and not a.doubted for a in chart.conditions.get(key, ()))
        return False if types <= chart.complete and not open_ else None

    return read


def _assertions(key: str, entry: ConditionEntry) -> Callable[[Chart], tuple[Evidence, ...]]:
    def say(a: Assertion) -> Evidence:
        text = f"{a.text} ({a.remark})" if a.remark else a.text
        return Evidence(a.reference, str(a.since) if a.since else "", text)

    def evidence(chart: Chart) -> tuple[Evidence, ...]:
        assertions = chart.conditions.get(key, ())
        sure = [a for a in assertions if a.sure]
        return tuple(say(a) for a in (*(sure or assertions), *_denied_since(key, entry, chart)))

    return evidence
