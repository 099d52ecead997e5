"""Facts about drugs and their classes: given now or ever, how long, why they ended, and drafts."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from decimal import Decimal

from msgspec.structs import replace

from cds.chart.allergies import Allergy
from cds.chart.chart import Chart
from cds.chart.coding import LONGEST_TEXT
from cds.chart.facts.declaration import (
    Declaration,
    Event,
    Evidence,
    EvidenceReader,
    Kind,
    Value,
    any_so,
    days_ago,
)
from cds.chart.quantities import UNKNOWN, Interval
from cds.chart.treatments import (
    NO_COURSE,
    TREATMENT_TYPES,
    Exposure,
    carried_out,
    describe,
    says_failure,
    was_current,
)
from cds.chart.vocabulary import Vocabulary


def declare(vocabulary: Vocabulary) -> list[Declaration]:
    """Of each drug and class: its courses, how a trial of it ended, and whether it is ordered."""
    return [*_of_courses(vocabulary), _unread_order()]


def _of_courses(vocabulary: Vocabulary) -> list[Declaration]:
    made = []
    entries = {**vocabulary.drugs, **vocabulary.drug_classes}
    single = {name for name, entry in vocabulary.drug_classes.items() if entry.single}
    for name, entry in entries.items():
        table: tuple[tuple[str, Kind, str, str, Callable[[Chart], Value]], ...] = (
            ("", "event", "", "", _last_use(name, single=name in single)),
            (".current", "boolean", ", now", "", is_current(name)),
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
                    evidence=exposures(name, suffix),
                )
            )
        if name in single:
            made.append(
                Declaration(
                    name=f"drug.{name}.given",
                    kind="event",
                    title=f"{entry.title}, as more than an order tells",
                    read=_last_use(name, single=True, orders=False),
                    evidence=_given(name),
                )
            )
        made += _of_trial(name, entry.title, vocabulary)
        made.append(
            Declaration(
                name=f"drug.{name}.ordered",
                kind="boolean",
                title=f"{entry.title}, in the draft orders",
                read=is_ordered(name),
                evidence=drafted(name),
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


def _unread_order() -> Declaration:
    return Declaration(
        name=ORDER_UNREAD,
        kind="boolean",
        title="A draft order whose drug cannot be read",
        read=lambda chart: bool(chart.drafts.unread),
        evidence=lambda chart: tuple(
            Evidence(unread.reference, "", unread.reason) for unread in chart.drafts.unread
        ),
    )


def is_ordered(name: str) -> Callable[[Chart], Value]:
    """Whether a draft order is of a drug; no unread draft may be taken to be of another one."""

    def read(chart: Chart) -> Value:
        drafted = chart.drafts.courses.get(name, NO_COURSE)
        if drafted.events:
            return True
        return None if drafted.uncertain or chart.drafts.unread else False

    return read


def any_ordered(name: str, title: str, drugs: tuple[str, ...]) -> Declaration:
    """The fact that a draft order is of one of these drugs and classes of drugs."""
    return _any(name, title, map(is_ordered, drugs), map(drafted, drugs))


def any_current(name: str, title: str, drugs: tuple[str, ...]) -> Declaration:
    """The fact that one of these drugs and classes of drugs is current treatment."""
    cited = (exposures(drug, CURRENT) for drug in drugs)
    return _any(name, title, map(is_current, drugs), cited)


def _any(
    name: str,
    title: str,
    reads: Iterable[Callable[[Chart], Value]],
    evidence: Iterable[EvidenceReader],
) -> Declaration:
    """The fact that one of several things is so, with the evidence of each of them."""
    each, cited = tuple(reads), tuple(evidence)

    def read(chart: Chart) -> Value:
        return any_so([of(chart) for of in each])

    def cite(chart: Chart) -> tuple[Evidence, ...]:
        return tuple(dict.fromkeys(e for of in cited for e in of(chart)))

    return Declaration(name=name, kind="boolean", title=title, read=read, evidence=cite)


def drafted(name: str) -> EvidenceReader:
    """The draft orders of a drug, and those that may be of it."""

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


def treatments_complete(chart: Chart) -> bool:
    """Whether all was delivered that could tell of a treatment."""
    return chart.complete >= TREATMENT_TYPES


def is_current(name: str) -> Callable[[Chart], Value]:
    """Whether a drug, or one of a class, is given now; not known where an order begins later."""

    def read(chart: Chart) -> Value:
        course = chart.courses.get(name, NO_COURSE)
        if course.current or (treatments_complete(chart) and not course.planned):
            return course.current
        return None

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
            treatments_complete(chart),
        )

    return read


def _ever(name: str) -> Callable[[Chart], Value]:
    def read(chart: Chart) -> Value:
        course = chart.courses.get(name, NO_COURSE)
        if course.events:
            return True
        open_ = course.uncertain or course.planned or not treatments_complete(chart)
        return None if open_ else False

    return read


def _days_on(name: str) -> Callable[[Chart], Value]:
    def read(chart: Chart) -> Value:
        since = chart.courses.get(name, NO_COURSE).since
        return UNKNOWN if since is None else days_ago(since, chart)

    return read


def _of_trial(name: str, title: str, vocabulary: Vocabulary) -> list[Declaration]:
    """Whether a drug, or one of a class, was tried: for how long, and whether it failed.

    Of a class that is one line of treatment the course is that of the class: to change from one of
    its drugs to another does not begin it anew.
    """
    entry = vocabulary.drug_classes.get(name)
    of_class = entry is not None and entry.line == "class"
    drugs = (name,) if entry is None else entry.any_of
    tried = (name,) if of_class else drugs
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
            title=f"{title}, failed or not tolerated",
            read=_failed(name, drugs),
            evidence=_failures(name, drugs),
        ),
    ]


def _days_longest(name: str, tried: tuple[str, ...]) -> Callable[[Chart], Value]:
    """The days of the longest course; 0 where surely none is being given."""

    def read(chart: Chart) -> Value:
        drug, days = _longest(tried, chart)
        none = not drug and treatments_complete(chart)
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
    return drug, days_ago(since, chart)


def _of_course(name: str, chart: Chart) -> list[Exposure]:
    """What shows how long a course has gone on: what it began with, and what is current."""
    course = chart.courses.get(name, NO_COURSE)
    first = next((e for e in course.events if e.start == course.since), None)
    return [e for e in course.events if e is first or e.current]


def _failed(name: str, drugs: tuple[str, ...]) -> Callable[[Chart], Value]:
    """Whether a drug failed or was not tolerated, by the reason for its stop or by an allergy.

    Not known where something ended and the record does not say why.
    """

    def read(chart: Chart) -> Value:
        course = chart.courses.get(name, NO_COURSE)
        reactions = _not_tolerated(drugs, chart)
        if any(sure for _, sure in reactions):
            return True
        failures = [says_failure(e, chart.terms) for e in course.events]
        if True in failures:
            return True
        unexplained = None in failures or any(
            e.current is not True and not 0 < len(e.why) <= LONGEST_TEXT for e in course.events
        )
        complete = treatments_complete(chart) and "AllergyIntolerance" in chart.complete
        return None if unexplained or course.uncertain or reactions or not complete else False

    return read


def _failures(name: str, drugs: tuple[str, ...]) -> EvidenceReader:
    def evidence(chart: Chart) -> tuple[Evidence, ...]:
        course = chart.courses.get(name, NO_COURSE)
        cited = [
            (cite_exposure(e, chart), e) for e in course.events if says_failure(e, chart.terms)
        ]
        ended = [replace(c, text=f"{c.text}, {e.status}: {e.why}") for c, e in cited]
        reactions = [
            Evidence(a.reference, str(a.since) if a.since else "", a.said)
            for a, sure in _not_tolerated(drugs, chart)
            if sure
        ]
        return (*ended, *reactions)

    return evidence


def _not_tolerated(drugs: tuple[str, ...], chart: Chart) -> list[tuple[Allergy, bool]]:
    """What is recorded of reactions to these drugs, and whether it surely speaks of a failure.

    A drug that is given all the same has not been given up, nor have those beside it for which the
    same record stands.
    """
    about: dict[str, Allergy] = {}
    given: dict[str, list[Value]] = {}
    for drug, reactions in chart.allergies.of.items():
        for reaction in reactions:
            given.setdefault(reaction.reference, []).append(is_current(drug)(chart))
            known = about.get(reaction.reference)
            if drug in drugs and (known is None or (reaction.sure and not known.sure)):
                about[reaction.reference] = reaction
    uses = {reference: any_so(given[reference]) for reference in about}
    return [(a, a.sure and uses[r] is False) for r, a in about.items() if uses[r] is not True]


def _last_use(name: str, *, single: bool, orders: bool = True) -> Callable[[Chart], Value]:
    """When a drug was last used; without ``orders`` as administrations and statements tell it."""

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
        sure = [ago(e, chart) for e in course.events if orders or _is_given(e)]
        others = (*course.uncertain, *course.planned)
        maybe = sure + [ago(e, chart) for e in others if orders or _is_given(e)]
        highs = [a[1] for a in sure if a is not None]
        lows = [Decimal(0) if a is None else a[0] for a in maybe]
        return Event(
            min(highs) if highs else None, min(lows) if lows else None, treatments_complete(chart)
        )

    return read


def _is_given(exposure: Exposure) -> bool:
    return exposure.kind != "ordered"


def _given(name: str) -> EvidenceReader:
    def evidence(chart: Chart) -> tuple[Evidence, ...]:
        course = chart.courses.get(name, NO_COURSE)
        told = filter(_is_given, (*course.events, *course.uncertain))
        return tuple(cite_exposure(e, chart) for e in told)

    return evidence


def exposures(name: str, suffix: str) -> Callable[[Chart], tuple[Evidence, ...]]:
    """The exposures to a drug behind a fact; of an order that was carried out, what was given.

    Orders that begin later are told where they leave the fact open.
    """

    def evidence(chart: Chart) -> tuple[Evidence, ...]:
        course = chart.courses.get(name, NO_COURSE)
        events = course.events[::-1] if suffix == f".{WAS_CURRENT}" else course.events
        told = (*events, *course.uncertain)
        opens = {"": True, CURRENT: not course.current, ".ever": not course.events}
        if opens.get(suffix):
            told += course.planned
        if suffix == CURRENT:
            return tuple(cite_exposure(e, chart) for e in told if e.current is not False)
        done: set[str] = set()
        for drug in {e.drug for e in course.events if e.kind == "given"}:
            done |= carried_out(e for e in course.events if e.drug == drug)
        return tuple(cite_exposure(e, chart) for e in told if e.reference not in done)

    return evidence
