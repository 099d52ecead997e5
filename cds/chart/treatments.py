"""Orders, administrations and statements as courses of treatment, by drug and class of drugs.

A drug is matched by ingredient or product code, then by name as a whole word, which the evidence
shows. Forms that are not systemic (eye drops, creams, inhalers) do not count, unless a class asks
for their route.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Literal

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from cds.chart.coding import LONGEST_TEXT, Match, find_all, texts
from cds.chart.measurements import Unusable, plain, unit_factor
from cds.chart.naming import hear
from cds.chart.quantities import is_within_reach
from cds.chart.terms import Terms
from cds.chart.vocabulary import DrugClassEntry, Number, UnitTable
from cds.fhir.bundles import Delivery, Excluded, find_medication, name_of
from cds.fhir.dates import DateSpan, read_date, read_period
from cds.fhir.resources import (
    CodeableConcept,
    Dosage,
    DoseAndRate,
    Medication,
    MedicationAdministration,
    MedicationRequest,
    MedicationStatement,
    MedicationUse,
    Quantity,
    Reference,
)

Kind = Literal["ordered", "given", "stated", "drafted"]

TREATMENT_TYPES = frozenset(
    {"MedicationRequest", "MedicationAdministration", "MedicationStatement"}
)
"""The types of resource that tell of a treatment."""

_ORDER_INTENTS = frozenset(
    {"order", "original-order", "reflex-order", "filler-order", "instance-order"}
)
_COUNTED = {
    "ordered": frozenset({"active", "on-hold", "completed", "stopped", "unknown"}),
    "given": frozenset({"in-progress", "completed", "stopped", "on-hold"}),
    "stated": frozenset({"active", "completed", "stopped", "on-hold", "unknown"}),
}
_NOT_GIVEN = "not-done"
_HALTED = {"on-hold": "on hold", "stopped": "stopped"}
"""The statuses of what need not have been carried out, or not whole, and how they are said."""


class DoseStep(Struct, frozen=True, gc=False):
    """One step of a dosage that changes: mg on a day of treatment, from its first to its last day.

    ``daily`` says that each day is one. ``end`` is open (None) where none is written.
    """

    dose: Decimal
    daily: bool
    start: DateSpan
    end: DateSpan | None


class Exposure(Struct, frozen=True, gc=False):
    """One order, administration or statement of one drug, or a draft of an order.

    ``current`` is unknown where the chart does not say. ``dose`` is the dose of one day in mg,
    where it can be read, of several the highest; ``steps`` are these in order of time, where each
    has dates of its own. ``end`` is open (None) for what still goes on, or is not told. ``status``
    is that of the resource, ``why`` what it says of the reason for that status. ``dosages`` are as
    they were written, ``supply`` is for how long what is dispensed is to last.
    """

    drug: str
    kind: Kind
    reference: str
    text: str
    route: str | None
    start: DateSpan | None
    end: DateSpan | None
    current: bool | None
    dose: Decimal | None
    remark: str
    status: str = ""
    why: str = ""
    dosages: tuple[Dosage, ...] = ()
    supply: Quantity | None = None
    steps: tuple[DoseStep, ...] = ()


class Course(Struct, frozen=True):
    """All that is known of a drug or a class of drugs in one patient.

    ``current`` is three-valued; ``since`` is when the current course began; ``events`` are the
    exposures that count, in order of time; ``planned`` are orders that begin later, of which
    nothing else here tells.
    """

    events: tuple[Exposure, ...]
    current: bool | None
    since: DateSpan | None
    uncertain: tuple[Exposure, ...] = ()
    planned: tuple[Exposure, ...] = ()


NO_COURSE = Course((), False, None)
"""What is known of a drug that nothing tells of."""


class Treatments(Struct, frozen=True):
    """What orders, administrations and statements tell of, by drug, and what was ``not_given``.

    ``planned`` are the orders that begin later.
    """

    exposures: dict[str, list[Exposure]]
    not_given: dict[str, list[Exposure]] = {}
    planned: dict[str, list[Exposure]] = {}


def read_treatments(
    uses: list[MedicationUse],
    medications: dict[str, Medication],
    terms: Terms,
    as_of: date,
    excluded: list[Excluded],
    unread: set[str],
) -> Treatments:
    """The exposures of a patient by drug.

    What is left out is added to ``excluded``; the type of a resource whose drug cannot be known is
    added to ``unread``, since it could be any drug.
    """
    found: dict[str, list[Exposure]] = {}
    not_given: dict[str, list[Exposure]] = {}
    planned: dict[str, list[Exposure]] = {}
    for use in uses:
        if isinstance(use, MedicationAdministration) and use.status == _NOT_GIVEN:
            excluded.append(Excluded(name_of(use), f"its status is {use.status}"))
            for exposure in _withheld(use, medications, terms, as_of):
                not_given.setdefault(exposure.drug, []).append(exposure)
            continue
        try:
            for exposure in _exposures(use, medications, terms, as_of):
                of = planned if is_planned(exposure, as_of) else found
                of.setdefault(exposure.drug, []).append(exposure)
        except Unusable as reason:
            excluded.append(Excluded(name_of(use), str(reason)))
            if isinstance(reason, _Unidentified):
                unread.add(type(use).__name__)
    return Treatments(found, not_given, planned)


def _withheld(
    use: MedicationAdministration, medications: dict[str, Medication], terms: Terms, as_of: date
) -> list[Exposure]:
    """What was to be given and was not, as if it had been; nothing where that cannot be read."""
    try:
        return _exposures(replace(use, status="completed"), medications, terms, as_of)
    except Unusable:
        return []


class Drafts(Struct, frozen=True):
    """The orders that somebody is about to place: none of them is treatment yet.

    ``courses`` has, by drug and class of drugs, what is drafted: its ``events``, and as
    ``uncertain`` what may belong to a class. ``unread`` are the drafts whose drug cannot be known;
    each could be any drug. ``exposures`` has the drafts by drug.
    """

    courses: dict[str, Course]
    unread: tuple[Excluded, ...] = ()
    exposures: dict[str, list[Exposure]] = {}


NO_DRAFTS = Drafts({})
"""Where no order is being placed: when a chart is opened."""


def read_drafts(
    drafts: Delivery,
    medications: dict[str, Medication],
    terms: Terms,
    excluded: list[Excluded],
) -> Drafts:
    """Read draft orders as the orders that they would become, by drug and class of drugs.

    ``medications`` are those of the chart, which drafts may refer to. Status and intent say no more
    than that a draft is none yet, and a start in the future is no reason to wait with advice. What
    is left out is added to ``excluded``; a draft of what is no drug is left out too.
    """
    known = {**medications, **drafts.medications}
    found: dict[str, list[Exposure]] = {}
    unread = []
    if "MedicationRequest" in drafts.unread | drafts.incomplete:
        unread.append(Excluded(UNREAD_DRAFT, "a draft order cannot be read"))
    for order in drafts.uses:
        if not isinstance(order, MedicationRequest):
            excluded.append(Excluded(name_of(order), "is among the draft orders and no order"))
            continue
        if order.status in _WITHDRAWN:
            excluded.append(Excluded(name_of(order), f"its status is {order.status}"))
            continue
        placed = replace(order, status="active", intent="order")
        try:
            for exposure in _exposures(placed, known, terms, date.max):
                drafted = replace(exposure, kind="drafted", current=None)
                found.setdefault(exposure.drug, []).append(drafted)
        except _Unidentified as reason:
            unread.append(Excluded(name_of(order), f"{reason}{reason.codes}"))
            excluded.append(Excluded(name_of(order), str(reason)))
        except Unusable as reason:
            excluded.append(Excluded(name_of(order), str(reason)))
    entries = {
        **{
            name: DrugClassEntry(title=terms.vocabulary.drugs[name].title, any_of=(name,))
            for name in found
        },
        **terms.vocabulary.drug_classes,
    }
    courses = {
        name: course(entry, Treatments(found), date.max, 0) for name, entry in entries.items()
    }
    return Drafts(
        {name: c for name, c in courses.items() if c is not NO_COURSE}, tuple(unread), found
    )


UNREAD_DRAFT = "MedicationRequest"
"""How a draft is referred to of which not even the id can be told."""

_WITHDRAWN = frozenset({"cancelled", "completed", "entered-in-error", "stopped"})
"""What is no longer about to be placed, wherever it is sent."""


class _Unidentified(Unusable):
    """The drug of a resource cannot be known; ``codes`` says which codes it has instead."""

    def __init__(self, reason: str, codes: str = "") -> None:
        super().__init__(reason)
        self.codes = codes


MOST_CODES = 5
"""That are named of a drug that cannot be known."""

LONGEST_CODE = 200
"""Characters of a code, and of the URL of its system, that are shown."""


def _codes_of(concept: CodeableConcept) -> str:
    """Name the codes of a concept and their systems; those that are not named are counted."""
    coded = [coding for coding in concept.coding or () if coding.code]
    named = [
        f"{coding.code} of {coding.system or 'a system that is not named'}"
        for coding in coded[:MOST_CODES]
        if max(len(coding.code or ""), len(coding.system or "")) <= LONGEST_CODE
    ]
    more = len(coded) - len(named)
    told = [*named, f"{more} more"] if named and more else named
    return f": {', '.join(told)}" if told else ""


def _exposures(
    use: MedicationUse, medications: dict[str, Medication], terms: Terms, as_of: date
) -> list[Exposure]:
    kind: Kind
    if isinstance(use, MedicationRequest):
        kind = "ordered"
        if use.intent is not None and use.intent not in _ORDER_INTENTS:
            raise Unusable(f"its intent is {use.intent}, so it is not an order")
        if use.doNotPerform:
            raise Unusable("it says not to give the drug")
    else:
        kind = "given" if isinstance(use, MedicationAdministration) else "stated"
    if use.status not in _COUNTED[kind]:
        raise Unusable(f"its status is {use.status or 'missing'}")
    concept, form = product_of(use, medications)
    _check_lengths(use, concept, form)
    matches = find_drugs(concept, terms)
    if not matches:
        if not texts(concept):
            raise _Unidentified(
                "its drug has no name, and no code that this service knows", _codes_of(concept)
            )
        raise Unusable("its drug is not mapped to anything that this service knows")
    if len(matches) > MOST_DRUGS:
        raise _Unidentified(f"it names more than {MOST_DRUGS} drugs, and could be any of them")
    start, end = _span(use)
    later = start is not None and start.first > as_of
    if start is not None and later and not _is_awaited(use, start, terms, as_of):
        raise Unusable(f"it begins on {start}, after {as_of}")
    route, systemic = _route(use, concept, form, terms)
    if systemic is False:
        raise Unusable(f"it is not systemic treatment ({route or 'local'})")
    said = texts(concept)
    dosages = _dosages(use)
    return [
        Exposure(
            match.entry,
            kind,
            name_of(use),
            said[0] if said else terms.vocabulary.drugs[match.entry].title,
            route,
            start,
            end,
            None if later else _is_current(use, kind, match.entry, start, end, terms, as_of),
            _daily_dose(use, terms),
            match.remark,
            use.status or "",
            _why(use),
            dosages=dosages,
            supply=_supply(use),
            steps=_dose_steps(dosages, terms) if len(dosages) > 1 else (),
        )
        for match in matches
    ]


def _is_awaited(use: MedicationUse, start: DateSpan, terms: Terms, as_of: date) -> bool:
    """Whether this is an order that stands already and soon begins: it counts as ``planned``.

    Seen from a day before it was written, it is none yet.
    """
    numbers = terms.vocabulary.assessments
    if numbers is None or numbers.ordered_ahead is None or not isinstance(use, MedicationRequest):
        return False
    written = read_date(use.authoredOn)
    return (
        use.status in _STANDING
        and (written is None or written.first <= as_of)
        and (start.first - as_of).days <= numbers.ordered_ahead.value
    )


_STANDING = frozenset({"active", "unknown"})
"""The statuses of orders that may be carried out."""


def is_planned(exposure: Exposure, as_of: date) -> bool:
    """Whether an exposure is an order that begins later."""
    start = exposure.start
    return exposure.kind == "ordered" and start is not None and start.first > as_of


MOST_DRUGS = 10
"""That one order may be of; what names more is a list, and no order of all of it."""


def _check_lengths(
    use: MedicationUse, concept: CodeableConcept, form: CodeableConcept | None
) -> None:
    """Raise ``Unusable`` where a text that may name drug or route is too long to be looked through.

    It could then be any drug.
    """
    dosages = _dosages(use)
    concepts = (concept, form, *(dosage.route for dosage in dosages))
    said = [text for each in concepts if each is not None for text in texts(each)]
    if any(len(text) > LONGEST_TEXT for text in (*said, *(d.text or "" for d in dosages))):
        raise _Unidentified(
            f"a text in it has more than {LONGEST_TEXT} characters, and was not looked through"
        )


def _supply(use: MedicationUse) -> Quantity | None:
    asked = use.dispenseRequest if isinstance(use, MedicationRequest) else None
    return asked.expectedSupplyDuration if asked is not None else None


def _why(use: MedicationUse) -> str:
    """The reason for the status of a use, as it is recorded: why a drug was stopped."""
    reasons = use.statusReason
    concepts = (reasons,) if isinstance(reasons, CodeableConcept) else reasons or ()
    return "; ".join(said[0] for said in map(texts, concepts) if said)


def says_failure(exposure: Exposure, terms: Terms) -> bool | None:
    """Whether a drug ended because it failed or was not tolerated, by the reason recorded.

    None where the reason doubts it.
    """
    if not exposure.why or exposure.current or len(exposure.why) > LONGEST_TEXT:
        return False
    why = exposure.why.casefold()
    heard = hear([hit.span() for hit in terms.failures.finditer(why)], why, terms.denials)
    return None if heard == "doubted" else heard == "said"


_CONTAINED = msgspec.json.Decoder(Medication)


class _Identified(Struct):
    id: str | None = None


_IDENTIFIED = msgspec.json.Decoder(_Identified)


def product_of(
    use: MedicationUse, medications: dict[str, Medication]
) -> tuple[CodeableConcept, CodeableConcept | None]:
    """The concept of the drug and its dose form, looked up where the use only refers to it.

    Raises ``Unusable`` where it names none.
    """
    if use.medicationCodeableConcept is not None:
        return use.medicationCodeableConcept, None
    pointer = use.medicationReference
    if pointer is None:
        raise _Unidentified("it names no drug")
    medication = _contained(use, pointer)
    if medication is None and pointer.reference:
        medication = find_medication(pointer.reference, medications)
    if medication is not None and medication.code is not None:
        return medication.code, medication.form
    if pointer.display:
        return CodeableConcept(text=pointer.display), None
    raise _Unidentified("its drug is a reference to a Medication that was not delivered")


def _contained(use: MedicationUse, pointer: Reference) -> Medication | None:
    if not pointer.reference or not pointer.reference.startswith("#"):
        return None
    for raw in use.contained:
        try:
            if _IDENTIFIED.decode(raw).id == pointer.reference[1:]:
                return _CONTAINED.decode(raw)
        except (msgspec.DecodeError, UnicodeDecodeError):
            continue
    return None


def find_drugs(concept: CodeableConcept, terms: Terms) -> list[Match]:
    """The drugs that a concept means: by code, else by name as a whole word."""
    matches = find_all(terms.drugs, concept)
    if matches:
        return matches
    named: set[str] = set()
    for said in texts(concept):
        named |= terms.drug_names.find_all(said)
    return [Match(name, "matched by name") for name in sorted(named)]


def _dosages(use: MedicationUse) -> tuple[Dosage, ...]:
    if isinstance(use, MedicationRequest):
        return use.dosageInstruction
    if isinstance(use, MedicationStatement):
        return use.dosage
    given = use.dosage
    if given is None:
        return ()
    dose = (DoseAndRate(doseQuantity=given.dose),) if given.dose else ()
    return (Dosage(text=given.text, route=given.route, doseAndRate=dose),)


def _route(
    use: MedicationUse, concept: CodeableConcept, form: CodeableConcept | None, terms: Terms
) -> tuple[str | None, bool | None]:
    """The route and whether it is systemic: by code, else by the words of route, form, product.

    Where nothing tells the route, it is unknown, and the drug counts as systemic.
    """
    routes = [d.route for d in _dosages(use) if d.route is not None]
    for concept_ in routes:
        for match in find_all(terms.routes, concept_):
            return match.entry, terms.vocabulary.routes[match.entry].systemic
    said = [w for r in routes for w in texts(r)]
    said += texts(form) if form else []
    said += texts(concept)
    said += [d.text for d in _dosages(use) if d.text]
    for words in said:
        hits = terms.route_names.find_all(words)
        if not hits:
            continue
        local = {h for h in hits if not terms.vocabulary.routes[h].systemic}
        if len(local or hits) == 1:
            route = (local or hits).pop()
            return route, terms.vocabulary.routes[route].systemic
        return None, not local
    return None, None


def _span(use: MedicationUse) -> tuple[DateSpan | None, DateSpan | None]:
    """When a use began and ended."""
    if isinstance(use, MedicationRequest):
        bounds = [
            read_period(d.timing.repeat.boundsPeriod)
            for d in use.dosageInstruction
            if d.timing and d.timing.repeat and d.timing.repeat.boundsPeriod
        ]
        starts = [s for s, _ in bounds if s is not None]
        ends = [e for _, e in bounds]
        start = min(starts, key=lambda s: s.first) if starts else read_date(use.authoredOn)
        whole = [e for e in ends if e is not None]
        end = max(whole, key=lambda e: e.last) if ends and len(whole) == len(ends) else None
        return start, end
    day = read_date(use.effectiveDateTime)
    if isinstance(use, MedicationAdministration):
        if day is not None:
            return day, day
        return read_period(use.effectivePeriod)
    if day is not None:
        return day, None
    start, end = read_period(use.effectivePeriod)
    return start, end


def _is_current(
    use: MedicationUse,
    kind: Kind,
    drug: str,
    start: DateSpan | None,
    end: DateSpan | None,
    terms: Terms,
    as_of: date,
) -> bool | None:
    if kind == "given":
        covers = terms.vocabulary.drugs[drug].covers
        last = end or start
        if last is None:
            return None
        days = timedelta(days=int(covers.value) if covers else 1)
        if as_of - last.first <= days:
            return True
        return False if as_of - last.last > days else None
    if use.status == "active":
        if end is None:
            return True
        if end.last < as_of:
            return False
        return True if end.first >= as_of else None
    return None if use.status == "unknown" else False


_PER_DAY = {"h": Decimal(24), "d": Decimal(1)}


def _daily_dose(use: MedicationUse, terms: Terms) -> Decimal | None:
    """The dose of one day in mg, where quantity and timing tell it; else None, never a guess."""
    total: Decimal | None = None
    table = terms.vocabulary.units.get("dose")
    if table is None:
        return None
    for dosage in _dosages(use):
        for part in dosage.doseAndRate:
            daily = _daily(part, dosage, table)
            if daily is not None:
                total = max(total or Decimal(0), daily)
    return total


def _daily(part: DoseAndRate, dosage: Dosage, table: UnitTable) -> Decimal | None:
    """The mg of one day by one dosage; None where it is not told, or nobody could give so much."""
    dose, times = _in_milligrams(part, table), _times_a_day(dosage)
    if dose is None or times is None or not is_within_reach(dose * times):
        return None
    return dose * times


def _in_milligrams(part: DoseAndRate, table: UnitTable) -> Decimal | None:
    quantity = part.doseQuantity
    if quantity is None or quantity.value is None or not quantity.value.is_finite():
        return None
    try:
        return quantity.value * unit_factor(quantity, table)
    except Unusable:
        return None


def _dose_steps(dosages: tuple[Dosage, ...], terms: Terms) -> tuple[DoseStep, ...]:
    """The steps of a dosage that changes, the earliest first.

    None at all unless each has one dose, that is to be taken, from a date of its own, after that of
    the one before has ended: nothing is guessed of what may be taken together.
    """
    table = terms.vocabulary.units.get("dose")
    steps = []
    for dosage in dosages:
        repeat = dosage.timing.repeat if dosage.timing else None
        start, end = read_period(repeat.boundsPeriod if repeat else None)
        part = dosage.doseAndRate[0] if len(dosage.doseAndRate) == 1 else None
        if table is None or part is None or repeat is None or start is None:
            return ()
        if dosage.asNeededBoolean or dosage.asNeededCodeableConcept or part.doseQuantity is None:
            return ()
        dose = _daily(part, dosage, table)
        if dose is None or part.doseQuantity.comparator is not None:
            return ()
        daily = repeat.periodUnit == "h" or (repeat.periodUnit == "d" and repeat.period == 1)
        steps.append(DoseStep(dose, daily, start, end))
    steps.sort(key=lambda step: step.start.first)
    if any(a.end is None or a.end.last >= b.start.first for a, b in pairwise(steps)):
        return ()
    return tuple(steps)


def _times_a_day(dosage: Dosage) -> Decimal | None:
    repeat = dosage.timing.repeat if dosage.timing else None
    if repeat is None or repeat.periodUnit is None:
        return Decimal(1)
    per = _PER_DAY.get(repeat.periodUnit)
    if per is None or not repeat.period:
        return Decimal(1)
    times = Decimal(repeat.frequency or 1) * per / repeat.period
    return max(times, Decimal(1))


# --- courses -------------------------------------------------------------------------------------


def course(entry: DrugClassEntry, treatments: Treatments, as_of: date, gap: int) -> Course:
    """What is known of a class of drugs: exposures that count, whether current, since when."""
    exposures = treatments.exposures
    planned = [
        exposure
        for drug in entry.any_of
        for exposure in treatments.planned.get(drug, ())
        if counts_for(entry, exposure, {}) is not False
    ]
    if not planned and exposures.keys().isdisjoint(entry.any_of):
        return NO_COURSE
    events: list[Exposure] = []
    uncertain: list[Exposure] = []
    orders: list[Exposure] = []
    given = given_by_day(entry, exposures)
    for drug in entry.any_of:
        for exposure in exposures.get(drug, ()):
            counts = counts_for(entry, exposure, given)
            if counts and entry.single and exposure.kind == "given" and exposure.status in _HALTED:
                uncertain.append(exposure)  # it was halted before all of it was given
            elif counts and entry.single and exposure.kind == "ordered":
                orders.append(exposure)
            elif counts:
                events.append(exposure)
            elif counts is None:
                uncertain.append(exposure)
    if orders:
        done = _days_of(e for e in events if e.kind == "given")
        withheld = (e for drug in entry.any_of for e in treatments.not_given.get(drug, ()))
        not_done = _days_of(e for e in withheld if counts_for(entry, e, {}) is not False)
        for order in orders:
            counts = _was_carried_out(order, done, not_done)
            if counts is not False:
                (events if counts else uncertain).append(order)
    events.sort(key=lambda e: (e.start.first if e.start else date.min, e.reference))
    current: bool | None = any(e.current for e in events)
    if not current and any(e.current is not False for e in (*events, *uncertain)):
        current = None
    since = _since(events, as_of, gap) if current else None
    return Course(tuple(events), current, since, tuple(uncertain), tuple(planned))


def _was_carried_out(order: Exposure, done: _Days, not_done: _Days) -> bool | None:
    """Whether an order of a single event stands for one; None where that is not known.

    Of one that was held or stopped what was given tells, if anything does; so does what was not
    given on its first day, of every order.
    """
    begun, halted = order.start, order.status in _HALTED
    if begun is None:
        return None if halted else True
    if _touch(done, begun.first, order.end.last if order.end else date.max):
        return not halted
    if _touch(not_done, begun.first, begun.last):
        return False if halted else None
    return None if halted else True


_Days = Sequence[tuple[date, date]]
"""Days in order: when each at the earliest was, and the last day on which one up to it may be."""


def _days_of(exposures: Iterable[Exposure]) -> _Days:
    days = []
    furthest = date.min
    for first, last in sorted((e.start.first, e.start.last) for e in exposures if e.start):
        furthest = max(furthest, last)
        days.append((first, furthest))
    return days


def _touch(days: _Days, first: date, last: date) -> bool:
    """Whether one of the days may lie between these two."""
    until = bisect_right(days, last, key=lambda day: day[0])
    return until > 0 and days[until - 1][1] >= first


def given_by_day(
    entry: DrugClassEntry, exposures: Mapping[str, list[Exposure]]
) -> dict[DateSpan | None, Decimal]:
    """What was given on each day by the routes of a class: a day's dose may be divided.

    Nothing where the class does not ask for a dose.
    """
    if entry.daily_dose_at_least is None:
        return {}
    totals: dict[DateSpan | None, Decimal] = {}
    for drug in entry.any_of:
        for e in exposures.get(drug, ()):
            one_day = e.start is not None and e.start.exact and e.end == e.start
            of_class = not entry.routes or e.route in entry.routes
            if e.kind == "given" and one_day and of_class and e.dose is not None:
                totals[e.start] = totals.get(e.start, Decimal(0)) + e.dose
    return totals


def counts_for(
    entry: DrugClassEntry, exposure: Exposure, given: Mapping[DateSpan | None, Decimal]
) -> bool | None:
    """Whether an exposure belongs to a class; None where route or dose is not known."""
    unsure = False
    if entry.routes:
        if exposure.route is None:
            unsure = True
        elif exposure.route not in entry.routes:
            return False
    if entry.daily_dose_at_least is not None:
        dose = exposure.dose
        if dose is not None and exposure.kind == "given":
            dose = given.get(exposure.start, dose)
        if dose is None:
            unsure = True
        elif dose < entry.daily_dose_at_least.value:
            return False
    return None if unsure else True


def _since(events: list[Exposure], as_of: date, gap: int) -> DateSpan | None:
    """When the current course began: the first of the exposures that follow each other."""
    allowed = timedelta(days=gap)
    begun: DateSpan | None = None
    covered = date.min
    for event in events:
        if event.start is None:
            continue
        # Compared as a difference: an open end is often written as 9999-12-31.
        if begun is None or event.start.first - covered > allowed:
            begun = event.start
        until = event.end.last if event.end else (as_of if event.current else event.start.last)
        covered = max(covered, until)
    return begun


def was_current(exposure: Exposure, covers: Number | None, as_of: date) -> tuple[int | None, int]:
    """How many days ago an exposure last was current: surely at most, and possibly at least.

    None where it is not known ever to have been. What was ordered or stated and is not current may
    have ended on any day since it began, where no end is told or the end is yet to come. An
    administration ``covers`` some days; so may what was ordered or stated of such a drug, after its
    end.
    """
    if exposure.current:
        return 0, 0
    given = exposure.kind == "given"
    last = exposure.end or (exposure.start if given else None)
    if last is None or (not given and last.last > as_of):
        return ((as_of - exposure.start.first).days if exposure.start else None), 0
    days = int(covers.value) if covers else int(given)
    surely = (as_of - last.first).days - (days if given else 0)
    return max(surely, 0), max((as_of - last.last).days - days, 0)


GRAMS_FROM = 10_000
"""Milligrams from which a dose is said in grams, as people say that of immunoglobulin."""


def describe(exposure: Exposure, as_of: date) -> str:
    """An exposure in words: ``Prednisolone, ordered 2026-05-11, 50 mg on a day of treatment``.

    Of an order that begins later: ``Prednisolone, ordered to begin 2026-11-17``.
    Of a dosage that changes the dose of ``as_of``, and the others with their dates:
    ``20 mg a day since 2026-10-21 (50 mg until 2026-09-22, 30 mg until 2026-10-20)``.
    """
    parts = [f"{exposure.text}, {exposure.kind}"]
    if exposure.start is not None:
        parts[0] += f"{' to begin' if is_planned(exposure, as_of) else ''} {exposure.start}"
        if exposure.end is not None and exposure.end != exposure.start:
            parts[0] += f"{', until' if is_planned(exposure, as_of) else ' to'} {exposure.end}"
    if exposure.kind in ("ordered", "given") and exposure.status in _HALTED:
        parts[0] += f" ({_HALTED[exposure.status]})"
    if exposure.steps:
        parts.append(_say_steps(exposure, as_of))
    elif exposure.dose is not None:
        of_several = ", the highest of several doses" if len(exposure.dosages) > 1 else ""
        parts.append(f"{_say_dose(exposure.dose)} on a day of treatment{of_several}")
    return ", ".join(parts)


def _say_dose(dose: Decimal) -> str:
    return f"{plain(dose / 1000)} g" if dose >= GRAMS_FROM else f"{plain(dose)} mg"


MOST_STEPS = 4
"""Steps told beside the present one; of more the first and the latest are the ones that count."""


def _say_steps(exposure: Exposure, as_of: date) -> str:
    per = " a day" if all(s.daily for s in exposure.steps) else " on a day of treatment"
    begun = [s for s in exposure.steps if s.start.last <= as_of]
    now = begun[-1] if exposure.current and begun else None
    if now is None or (now.end is not None and now.end.last < as_of):
        return _list_steps(exposure.steps, per)
    others = [_list_steps(begun[:-1])] if len(begun) > 1 else []
    if later := exposure.steps[len(begun) :]:
        others.append("then " + ", ".join(f"{_say_dose(s.dose)} from {s.start}" for s in later))
    return f"{_say_dose(now.dose)}{per} since {now.start} ({'; '.join(others)})"


def _list_steps(steps: Sequence[DoseStep], per: str = "") -> str:
    """Steps with their dates: ``50 mg until 2026-09-22, 30 mg from 2026-09-23``."""
    more = len(steps) - MOST_STEPS
    told = steps if more <= 0 else (steps[0], *steps[1 - MOST_STEPS :])
    said = [
        f"{_say_dose(s.dose)}{per if s is told[0] else ''} "
        f"{f'until {s.end}' if s.end else f'from {s.start}'}"
        for s in told
    ]
    if more > 0:
        said.insert(1, f"{more} more step{'s' if more > 1 else ''}")
    return ", ".join(said)


def carried_out(exposures: Iterable[Exposure]) -> set[str]:
    """The orders of one drug whose dose was given on each of their days: these tell it all."""
    orders: list[tuple[Exposure, int, int]] = []
    given: dict[tuple[str | None, Decimal | None], set[int]] = {}
    for e in exposures:
        if e.start is None or e.end is None or not (e.start.exact and e.end.exact):
            continue
        first, last = e.start.first.toordinal(), e.end.first.toordinal()
        if e.kind == "given" and first == last:
            given.setdefault((e.route, e.dose), set()).add(first)
        elif e.kind == "ordered" and e.dose is not None:
            orders.append((e, first, last))
    # In order, the days from first to last are counted and not gone through for each order.
    in_order = {of: sorted(days) for of, days in given.items()}
    return {
        order.reference
        for order, first, last in orders
        if (days := in_order.get((order.route, order.dose)))
        and first <= last
        and bisect_right(days, last) - bisect_left(days, first) == last - first + 1
    }


def latest(events: Iterable[Exposure]) -> DateSpan | None:
    """The last day on which a drug was in use, of all exposures that have a date."""
    ends = [e.end or e.start for e in events]
    known = [e for e in ends if e is not None]
    return max(known, key=lambda s: s.last) if known else None
