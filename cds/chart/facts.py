"""The facts that rules may name: what each is called, what kind it is, and how it is read.

Names are made from the vocabulary: ``diagnosis.x``, ``finding.x``, ``antibody.x``,
``drug.x.current``, ``measure.x.improvement`` and so on; ``declare`` has them all. A fact may be
unknown: ``None`` for a boolean, the whole line of numbers for a number. What was not recorded is
false only for what is false when not recorded (a diagnosis nobody made, a drug nobody prescribed),
and only where the resources that would hold it were delivered.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import date, timedelta
from decimal import Decimal
from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

from cds.chart.allergies import Allergy
from cds.chart.allergies import Kind as AllergyKind
from cds.chart.assessments import MeasureChange
from cds.chart.chart import Chart, age
from cds.chart.coding import LONGEST_TEXT
from cds.chart.conditions import Assertion
from cds.chart.doses import DailyDose, Taken, daily, days_at, days_ordered, highest, say_dose
from cds.chart.held import days_held, last_at, values_behind
from cds.chart.measurements import (
    Measurement,
    multiple_of_upper_limit,
    plain,
    recorded,
    say_unit,
    upper_limit,
)
from cds.chart.quantities import INFINITY, UNKNOWN, Category, Interval
from cds.chart.terms import in_sentence
from cds.chart.treatments import (
    NO_COURSE,
    Exposure,
    carried_out,
    describe,
    latest,
    says_failure,
    was_current,
)
from cds.chart.vocabulary import (
    ConditionEntry,
    DoseEntry,
    DoseLevel,
    Elapsed,
    Fall,
    MeasureLevel,
    Number,
    Unrecorded,
    Vocabulary,
)
from cds.fhir.dates import DateSpan

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

    ``categories``, of a fact of that kind, are its ranks from the highest to the lowest. ``sense``,
    of a change in percent, says what a number above 0 is.
    """

    name: str
    kind: Kind
    title: str
    unit: str = ""
    categories: tuple[str, ...] = ()
    sense: Literal["better", "worse"] | None = None
    read: Callable[[Chart], Value]
    evidence: EvidenceReader


def declare(vocabulary: Vocabulary) -> dict[str, Declaration]:
    """Every fact that a vocabulary makes, by name."""
    made = [
        *_of_conditions(vocabulary),
        *_of_onset(vocabulary),
        *_of_confirmation(vocabulary),
        *_of_antibodies(vocabulary),
        *_of_drugs(vocabulary),
        *_of_orders(),
        *_of_allergies(vocabulary),
        *_of_doses(vocabulary),
        *_of_observations(vocabulary),
        *_of_measures(vocabulary),
        *_of_visits(),
    ]
    declared = {d.name: d for d in made}
    declared |= {d.name: d for d in _of_elapsed(vocabulary, declared)}
    return {name: replace(d, evidence=_gathered_once(d)) for name, d in declared.items()}


def _gathered_once(fact: Declaration) -> EvidenceReader:
    """Keep the evidence of a fact with the chart: several cards and their record tell it."""

    def evidence(chart: Chart) -> tuple[Evidence, ...]:
        known = chart.gathered.get(fact.name)
        if known is None:
            known = chart.gathered[fact.name] = fact.evidence(chart)
        return known

    return evidence


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
            read=_asserted(f"{prefix}.{name}", entry, _sources_of(name, prefix, vocabulary)),
            evidence=_assertions(f"{prefix}.{name}"),
        )
        for prefix, entries in (
            ("diagnosis", vocabulary.diagnoses),
            ("finding", vocabulary.findings),
        )
        for name, entry in entries.items()
    ]


def _of_onset(vocabulary: Vocabulary) -> list[Declaration]:
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
                    evidence=_assertions(key),
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
        if began is None:
            return UNKNOWN
        low, high = (chart.as_of - began.last).days, (chart.as_of - began.first).days
        return Interval(Decimal(max(low, 0)), Decimal(high))

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
    """Whether something is so: unknown where it is left open, or may be over."""
    denied = tuple(f"finding.{name}" for name in entry.denied_by)

    def read(chart: Chart) -> Value:
        assertions = chart.conditions.get(key)
        if assertions is not None:
            if any(a.sure for a in assertions):
                return True
            return None if not _denied(denied, chart) else False
        if not types <= chart.complete:
            return None
        if entry.unrecorded is None or _denied(denied, chart):
            return False
        return None if _may_be_unrecorded(entry.unrecorded, chart) else False

    return read


def _denied(by: tuple[str, ...], chart: Chart) -> bool:
    return any(a.sure for key in by for a in chart.conditions.get(key, ()))


def _may_be_unrecorded(unrecorded: Unrecorded, chart: Chart) -> bool:
    """Whether what nobody recorded may be so all the same in this patient."""
    if unrecorded.false_in is not None and chart.gender == unrecorded.false_in:
        return False
    known = age(chart.born, chart.as_of)
    if known is None:
        return True
    return known[1] >= unrecorded.from_age.value and known[0] <= unrecorded.to_age.value


def _of_confirmation(vocabulary: Vocabulary) -> list[Declaration]:
    """Whether a diagnosis or finding is recorded as more than provisional or a differential."""
    return [
        Declaration(
            name=f"{prefix}.{name}.confirmed",
            kind="boolean",
            title=f"{entry.title}, recorded without doubt",
            read=_confirmed(f"{prefix}.{name}", _sources_of(name, prefix, vocabulary)),
            evidence=_assertions(f"{prefix}.{name}"),
        )
        for prefix, entries in (
            ("diagnosis", vocabulary.diagnoses),
            ("finding", vocabulary.findings),
        )
        for name, entry in entries.items()
    ]


def _confirmed(key: str, types: frozenset[str]) -> Callable[[Chart], Value]:
    def read(chart: Chart) -> Value:
        if any(a.sure and not a.doubted for a in chart.conditions.get(key, ())):
            return True
        open_ = any(not a.sure and not a.doubted for a in chart.conditions.get(key, ()))
        return False if types <= chart.complete and not open_ else None

    return read


def _assertions(key: str) -> Callable[[Chart], tuple[Evidence, ...]]:
    def say(a: Assertion) -> Evidence:
        text = f"{a.text} ({a.remark})" if a.remark else a.text
        return Evidence(a.reference, str(a.since) if a.since else "", text)

    def evidence(chart: Chart) -> tuple[Evidence, ...]:
        assertions = chart.conditions.get(key, ())
        sure = [a for a in assertions if a.sure]
        return tuple(say(a) for a in sure or assertions)

    return evidence


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
            (f".{WAS_CURRENT}", "event", ", last current treatment", "", _was_current(name)),
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
                    evidence=_exposures(
                        name,
                        current_only=suffix == ".current",
                        latest_first=suffix == f".{WAS_CURRENT}",
                    ),
                )
            )
        made += _of_trial(name, entry.title, vocabulary)
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
    of_drugs = fact.startswith(("drug.", "dose.", CONTRAINDICATION))
    return fact == ORDER_UNREAD or (of_drugs and fact.endswith(ORDERED))


def lasts(fact: str) -> bool:
    """Whether a fact is an event that goes on: of today, it says now and not that day."""
    return fact.endswith(f".{WAS_CURRENT}")


ORDERED = ".ordered"
"""What the names of facts end with that are about draft orders of a drug."""

CURRENT = ".current"
"""What the names of facts end with that are about drugs that are given now."""

CONTRAINDICATION = "contraindication."
"""What the names of facts begin with that rules make which speak against drugs."""

WAS_CURRENT = "was_current"
"""The last part of a fact that says when a drug last was current treatment."""

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


def any_ordered(name: str, title: str, drugs: tuple[str, ...]) -> Declaration:
    """The fact that a draft order is of one of these drugs and classes of drugs."""
    return _any(name, title, map(_ordered, drugs), map(_drafted, drugs))


def any_current(name: str, title: str, drugs: tuple[str, ...]) -> Declaration:
    """The fact that one of these drugs and classes of drugs is current treatment."""
    cited = (_exposures(drug, current_only=True, latest_first=False) for drug in drugs)
    return _any(name, title, map(_current, drugs), cited)


def _any(
    name: str,
    title: str,
    reads: Iterable[Callable[[Chart], Value]],
    evidence: Iterable[EvidenceReader],
) -> Declaration:
    """The fact that one of several things is so, with the evidence of each of them."""
    each, cited = tuple(reads), tuple(evidence)

    def read(chart: Chart) -> Value:
        return _any_so([of(chart) for of in each])

    def cite(chart: Chart) -> tuple[Evidence, ...]:
        return tuple(dict.fromkeys(e for of in cited for e in of(chart)))

    return Declaration(name=name, kind="boolean", title=title, read=read, evidence=cite)


def _drafted(name: str) -> EvidenceReader:
    def evidence(chart: Chart) -> tuple[Evidence, ...]:
        drafted = chart.drafts.courses.get(name, NO_COURSE)
        return tuple(cite_exposure(e, chart) for e in (*drafted.events, *drafted.uncertain))

    return evidence


def cite_exposure(exposure: Exposure, chart: Chart) -> Evidence:
    """An exposure as evidence, with what must be said of how its drug was known."""
    return Evidence(
        exposure.reference,
        str(exposure.start) if exposure.start else "",
        describe(exposure, chart.as_of) + (f" ({exposure.remark})" if exposure.remark else ""),
    )


def _complete(chart: Chart) -> bool:
    return chart.complete >= _TREATMENT_TYPES


def _current(name: str) -> Callable[[Chart], Value]:
    def read(chart: Chart) -> Value:
        current = chart.courses.get(name, NO_COURSE).current
        return current if current or _complete(chart) else None

    return read


def _was_current(name: str) -> Callable[[Chart], Value]:
    """When a drug last was current treatment, of all that may be of it."""

    def read(chart: Chart) -> Value:
        course = chart.courses.get(name, NO_COURSE)
        drugs = chart.terms.vocabulary.drugs
        ago = [
            was_current(exposure, drugs[exposure.drug].covers, chart.as_of)
            for exposure in (*course.events, *course.uncertain)
        ]
        sure = [surely for surely, _ in ago[: len(course.events)] if surely is not None]
        return Event(
            Decimal(min(sure)) if sure else None,
            Decimal(min(possibly for _, possibly in ago)) if ago else None,
            _complete(chart),
        )

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


def _of_trial(name: str, title: str, vocabulary: Vocabulary) -> list[Declaration]:
    """Whether a drug, or one of a class, was tried: for how long, and whether it failed.

    Of a class that is one line of treatment the course is that of the class: to change from one of
    its drugs to another does not begin it anew.
    """
    entry = vocabulary.drug_classes.get(name)
    of_class = entry is not None and entry.line == "class"
    tried = (name,) if entry is None or of_class else entry.any_of
    course = "current course" if of_class else "longest current course of one drug"
    return [
        Declaration(
            name=f"drug.{name}.longest",
            kind="number",
            title=f"{title}, days on the {course}",
            unit="d",
            read=_days_longest(name, tried),
            evidence=lambda chart: tuple(
                cite_exposure(e, chart) for e in _of_course(_longest(tried, chart)[0], chart)
            ),
        ),
        Declaration(
            name=f"drug.{name}.failed",
            kind="boolean",
            title=f"{title}, stopped for failure or intolerance",
            read=_failed(name),
            evidence=_failures(name),
        ),
    ]


def _days_longest(name: str, tried: tuple[str, ...]) -> Callable[[Chart], Value]:
    """The days of the longest course; 0 where surely none is being given."""

    def read(chart: Chart) -> Value:
        drug, days = _longest(tried, chart)
        none = not drug and _complete(chart)
        if none and chart.courses.get(name, NO_COURSE).current is False:
            return Interval(Decimal(0), Decimal(0))
        return days

    return read


def _longest(tried: tuple[str, ...], chart: Chart) -> tuple[str, Interval]:
    """The drug or class given longest without a gap up to now, and for how many days."""
    begun = {
        drug: since
        for drug in tried
        if (since := chart.courses.get(drug, NO_COURSE).since) is not None
    }
    if not begun:
        return "", UNKNOWN
    drug, since = min(begun.items(), key=lambda each: each[1].last)
    low, high = (chart.as_of - since.last).days, (chart.as_of - since.first).days
    return drug, Interval(Decimal(max(low, 0)), Decimal(high))


def _of_course(name: str, chart: Chart) -> list[Exposure]:
    """What shows how long a course has gone on: what it began with, and what is current."""
    course = chart.courses.get(name, NO_COURSE)
    first = next((e for e in course.events if e.start == course.since), None)
    return [e for e in course.events if e is first or e.current]


def _failed(name: str) -> Callable[[Chart], Value]:
    """Whether a drug was stopped because it failed or was not tolerated, as its record says.

    Not known where something ended and the record does not say why.
    """

    def read(chart: Chart) -> Value:
        course = chart.courses.get(name, NO_COURSE)
        if any(says_failure(e, chart.terms) for e in course.events):
            return True
        unexplained = any(
            e.current is not True and not 0 < len(e.why) <= LONGEST_TEXT for e in course.events
        )
        return None if unexplained or course.uncertain or not _complete(chart) else False

    return read


def _failures(name: str) -> EvidenceReader:
    def evidence(chart: Chart) -> tuple[Evidence, ...]:
        course = chart.courses.get(name, NO_COURSE)
        cited = [
            (cite_exposure(e, chart), e) for e in course.events if says_failure(e, chart.terms)
        ]
        return tuple(replace(c, text=f"{c.text}, {e.status}: {e.why}") for c, e in cited)

    return evidence


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


def _exposures(
    name: str, *, current_only: bool, latest_first: bool
) -> Callable[[Chart], tuple[Evidence, ...]]:
    """The exposures to a drug; of an order that was carried out, what was given."""

    def evidence(chart: Chart) -> tuple[Evidence, ...]:
        course = chart.courses.get(name, NO_COURSE)
        events = course.events[::-1] if latest_first else course.events
        told = (*events, *course.uncertain)
        if current_only:
            return tuple(cite_exposure(e, chart) for e in told if e.current is not False)
        done: set[str] = set()
        for drug in {e.drug for e in course.events if e.kind == "given"}:
            done |= carried_out(e for e in course.events if e.drug == drug)
        return tuple(cite_exposure(e, chart) for e in told if e.reference not in done)

    return evidence


# --- allergies -----------------------------------------------------------------------------------

ALLERGIES: dict[AllergyKind, str] = {
    "allergy": "allergy to it on record",
    "intolerance": "intolerance of it on record",
}
"""The last part of facts of a drug that say what the patient is recorded to react to."""


def _of_allergies(vocabulary: Vocabulary) -> list[Declaration]:
    """Whether an allergy to a drug, to one of a class, or to any is on record."""
    made = [
        Declaration(
            name=f"drug.{name}.{kind}",
            kind="boolean",
            title=f"{entry.title}, {title}",
            read=_reacts(drugs, kind),
            evidence=_reactions(drugs, kind),
        )
        for entries in (vocabulary.drugs, vocabulary.drug_classes)
        for name, entry in entries.items()
        for drugs in [getattr(entry, "any_of", (name,))]
        for kind, title in ALLERGIES.items()
    ]
    every = tuple(vocabulary.drugs)
    any_drug: tuple[tuple[AllergyKind, str], ...] = (
        ("allergy", "Allergy to a drug that this service knows"),
        ("intolerance", "Intolerance of a drug that this service knows"),
    )
    return made + [
        Declaration(
            name=f"patient.drug_{kind}",
            kind="boolean",
            title=title,
            read=_reacts(every, kind),
            evidence=_reactions(every, kind),
        )
        for kind, title in any_drug
    ]


def _recorded_allergies(drugs: tuple[str, ...], kind: AllergyKind, chart: Chart) -> list[Allergy]:
    of = chart.allergies.of
    # Of the two the recorded drugs are the fewer, by far.
    return [a for drug in of if drug in drugs for a in of[drug] if a.kind == kind] if of else []


def _reacts(drugs: tuple[str, ...], kind: AllergyKind) -> Callable[[Chart], Value]:
    def read(chart: Chart) -> Value:
        found = _recorded_allergies(drugs, kind, chart)
        if any(allergy.sure for allergy in found):
            return True
        return None if found or "AllergyIntolerance" not in chart.complete else False

    return read


def _reactions(drugs: tuple[str, ...], kind: AllergyKind) -> EvidenceReader:
    """What is recorded of drugs; where that is nothing, what leaves it open or says there is none.

    Of a record that stands for several of them once.
    """

    def evidence(chart: Chart) -> tuple[Evidence, ...]:
        found = _recorded_allergies(drugs, kind, chart)
        told = [a for a in found if a.sure] or [*found, *chart.allergies.open]
        return tuple(
            dict.fromkeys(
                Evidence(a.reference, str(a.since) if a.since else "", a.said)
                for a in told or chart.allergies.none
            )
        )

    return evidence


def ordered_despite(name: str, title: str, kind: AllergyKind) -> Declaration:
    """The fact that a draft order is of a drug to which an allergy or intolerance is on record."""

    def read(chart: Chart) -> Value:
        drafts = chart.drafts
        known = [_both_so(_ordered(d), kind, d, chart) for d in drafts.exposures]
        if True not in known and drafts.unread:  # each of these could be any drug
            known.append(_unless_false(_reacts(tuple(chart.terms.vocabulary.drugs), kind)(chart)))
        return _any_so(known)

    def evidence(chart: Chart) -> tuple[Evidence, ...]:
        return _of_reacting(chart.drafts.exposures, kind, _drafted, chart)

    return Declaration(name=name, kind="boolean", title=title, read=read, evidence=evidence)


def current_despite(name: str, title: str, kind: AllergyKind) -> Declaration:
    """The fact that a drug is current treatment to which an allergy or intolerance is recorded."""

    def cited(drug: str) -> EvidenceReader:
        return _exposures(drug, current_only=True, latest_first=False)

    def read(chart: Chart) -> Value:
        known = [_both_so(_current(d), kind, d, chart) for d in chart.exposures]
        if True not in known and not _complete(chart):
            known.append(_unless_false(_reacts(tuple(chart.terms.vocabulary.drugs), kind)(chart)))
        return _any_so(known)

    def evidence(chart: Chart) -> tuple[Evidence, ...]:
        return _of_reacting(chart.exposures, kind, cited, chart)

    return Declaration(name=name, kind="boolean", title=title, read=read, evidence=evidence)


def _both_so(used: Callable[[Chart], Value], kind: AllergyKind, drug: str, chart: Chart) -> Value:
    reacts = _reacts((drug,), kind)(chart)
    if reacts is False:
        return False
    is_used = used(chart)
    return False if is_used is False else None if None in (reacts, is_used) else True


def _unless_false(value: Value) -> Value:
    return False if value is False else None


def _any_so(known: list[Value]) -> Value:
    return True if True in known else None if None in known else False


def _of_reacting(
    drugs: Iterable[str],
    kind: AllergyKind,
    cited: Callable[[str], EvidenceReader],
    chart: Chart,
) -> tuple[Evidence, ...]:
    reacting = (d for d in drugs if _reacts((d,), kind)(chart) is not False)
    return tuple(dict.fromkeys(e for drug in reacting for e in cited(drug)(chart)))


# --- daily doses ---------------------------------------------------------------------------------

DOSE_UNIT = "mg/d"


def _of_doses(vocabulary: Vocabulary) -> list[Declaration]:
    made = []
    for name, entry in vocabulary.doses.items():
        made.append(
            Declaration(
                name=f"dose.{name}.daily",
                kind="number",
                title=f"{entry.title}, daily dose",
                unit=DOSE_UNIT,
                read=_daily(name),
                evidence=_taken_now(name),
            )
        )
        made.append(
            Declaration(
                name=f"dose.{name}.ordered",
                kind="number",
                title=f"{entry.title}, highest daily dose in the draft orders",
                unit=DOSE_UNIT,
                read=_daily_ordered(name),
                evidence=_dose_drafted(name),
            )
        )
        made.append(
            Declaration(
                name=f"dose.{name}.ordered_days",
                kind="number",
                title=f"{entry.title}, days that the draft orders are for",
                unit="d",
                read=_days_ordered(name),
                evidence=_dose_drafted(name),
            )
        )
        made += [
            Declaration(
                name=f"dose.{name}.days_{key}",
                kind="number",
                title=f"{entry.title}, {level.title}, days up to now",
                unit="d",
                read=_days_at(name, entry, level),
                evidence=_taken_since(name, entry, level),
            )
            for key, level in entry.levels.items()
        ]
    return made


def _daily(name: str) -> Callable[[Chart], Value]:
    return lambda chart: daily(chart.doses[name], complete=_complete(chart))


def _daily_ordered(name: str) -> Callable[[Chart], Value]:
    def read(chart: Chart) -> Value:
        drafted = chart.draft_doses.get(name)
        complete = not chart.drafts.unread
        return highest(drafted or DailyDose((), 0), complete=complete)

    return read


def _days_ordered(name: str) -> Callable[[Chart], Value]:
    def read(chart: Chart) -> Value:
        drafted = chart.draft_doses.get(name) or DailyDose((), 0)
        return days_ordered(drafted, complete=not chart.drafts.unread)

    return read


def _days_at(name: str, entry: DoseEntry, level: DoseLevel) -> Callable[[Chart], Value]:
    gap = int(entry.gap.value)
    return lambda chart: days_at(level, gap, chart.doses[name], complete=_complete(chart))


def _taken_now(name: str) -> EvidenceReader:
    """The exposures that the dose of today rests on, with what each tells."""
    return lambda chart: tuple(
        _cite_dose(taken, said, chart) for taken, said in _told_now(chart.doses[name]) if said
    )


def _taken_since(name: str, entry: DoseEntry, level: DoseLevel) -> EvidenceReader:
    """The exposures that the days at a level rest on; the one that begins them comes last."""
    gap = int(entry.gap.value)

    def evidence(chart: Chart) -> tuple[Evidence, ...]:
        dose = chart.doses[name]
        days = days_at(level, gap, dose, complete=True).high
        begun = 0 if days == INFINITY else dose.today - int(days)
        return tuple(
            _cite_dose(taken, said, chart)
            for taken, said in _told_now(dose)
            if any(step.possible[1] >= begun for step in taken.steps)
        )

    return evidence


def _told_now(dose: DailyDose) -> list[tuple[Taken, str]]:
    return [(taken, say_dose(taken, DOSE_UNIT, dose.today)) for taken in dose.taken]


def _dose_drafted(name: str) -> EvidenceReader:
    def evidence(chart: Chart) -> tuple[Evidence, ...]:
        drafted = chart.draft_doses.get(name)
        return tuple(_cite_dose(taken, "", chart) for taken in drafted.taken) if drafted else ()

    return evidence


def _cite_dose(taken: Taken, said: str, chart: Chart) -> Evidence:
    """An exposure with its dose of today in place of that of a day of treatment."""
    if not said:
        return cite_exposure(taken.exposure, chart)
    cited = cite_exposure(replace(taken.exposure, dose=None, steps=()), chart)
    return Evidence(cited.reference, cited.date, f"{cited.text}, now {said}")


# --- observations --------------------------------------------------------------------------------


def _of_observations(vocabulary: Vocabulary) -> list[Declaration]:
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
        multiple = multiple_of_upper_limit(last_of_days(chart, name)[-1], chart.terms)
        return UNKNOWN if multiple is None else Interval(*multiple)

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
        complete = "Observation" in chart.complete
        if not taken:
            return Event(None, None, complete)
        days = Decimal((chart.as_of - taken[-1].day).days)
        return Event(days, days, complete)

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
    if measurement.remark:
        said.append(measurement.remark)
    text = said[0] if len(said) == 1 else f"{said[0]} ({'; '.join(said[1:])})"
    return Evidence(measurement.reference, str(measurement.day), text)


# --- measures ------------------------------------------------------------------------------------


def _of_measures(vocabulary: Vocabulary) -> list[Declaration]:
    """Of each measure: how it changed, whether and when it was taken, for how long it was held.

    ``measure.x.previous`` is the same comparison with baseline at the visit before the current one.
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
            whens = (("", "", _now), (".previous", ", at the visit before", _before))
            for when, of_when, changes in whens if entry.core_set else whens[:1]:
                made.append(
                    Declaration(
                        name=f"measure.{name}{when}.{suffix}",
                        kind="number",
                        title=f"{entry.title}, {title}{of_when}",
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
    return made


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

Changes = Callable[[Chart], dict[str, MeasureChange]]


def _now(chart: Chart) -> dict[str, MeasureChange]:
    return chart.changes


def _before(chart: Chart) -> dict[str, MeasureChange]:
    return chart.previous


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
    return lambda chart: _recorded(chart, chart.changes[name].current is not None)


def _recorded(chart: Chart, recorded: bool) -> bool | None:
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


def _last_measured(name: str) -> Callable[[Chart], Value]:
    def read(chart: Chart) -> Value:
        last = last_measured(name, chart)
        complete = "Observation" in chart.complete
        if last is None:
            return Event(None, None, complete)
        days = Decimal((chart.as_of - last.day).days)
        return Event(days, days, complete)

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


# --- from one thing to another -------------------------------------------------------------------


def _of_elapsed(vocabulary: Vocabulary, declared: dict[str, Declaration]) -> list[Declaration]:
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

    def begins_before_line(chart: Chart) -> Value:
        if chart.line_start is None or chart.visits.baseline is None:
            return None
        numbers = chart.terms.vocabulary.assessments
        grace = timedelta(days=int(numbers.grace.value) if numbers else 0)
        return chart.visits.baseline <= chart.line_start + grace

    def judged(chart: Chart) -> Value:
        if chart.line_start is None:
            return UNKNOWN
        seen, current = 0, chart.visits.current
        if current is not None and begins_before_line(chart) is True:
            seen = max((current - chart.line_start).days, 0)
        return Interval(Decimal(seen), Decimal((chart.as_of - chart.line_start).days))

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
            name="assessment.has_previous",
            kind="boolean",
            title="There is a further assessment between baseline and the current one",
            read=lambda chart: _recorded(chart, chart.visits.previous is not None),
            evidence=no_evidence,
        ),
        Declaration(
            name="assessment.previous",
            kind="event",
            title="Assessment before the current one",
            read=ago(lambda chart: chart.visits.previous),
            evidence=on(lambda chart: chart.visits.previous, "assessment before the current one"),
        ),
        Declaration(
            name="treatment.line_days",
            kind="number",
            title="Days since the current treatment line began",
            unit="d",
            read=line_days,
            evidence=on(lambda chart: chart.line_start, "start of the current treatment line"),
        ),
        # Only a comparison that begins before the treatment shows what it did, and only so far as
        # the current assessment reaches; the days since may have changed it.
        Declaration(
            name="treatment.days_judged",
            kind="number",
            title="Days on the current treatment line that the response is known for",
            unit="d",
            read=judged,
            evidence=on(lambda chart: chart.line_start, "start of the current treatment line"),
        ),
        Declaration(
            name="assessment.baseline_before_line",
            kind="boolean",
            title="The baseline precedes the current treatment line",
            read=begins_before_line,
            evidence=on(lambda chart: chart.visits.baseline, "baseline"),
        ),
        Declaration(
            name="patient.age",
            kind="number",
            title="Age",
            unit="a",
            read=years,
            evidence=no_evidence,
        ),
        Declaration(
            name="patient.male",
            kind="boolean",
            title="Male sex (administrative gender)",
            read=lambda chart: {"male": True, "female": False}.get(chart.gender or ""),
            evidence=no_evidence,
        ),
    ]
