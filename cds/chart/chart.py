"""A patient's chart: everything that the facts are read from, made from one delivery."""

from __future__ import annotations

from datetime import date
from typing import Any

from msgspec import Struct, field

from cds.chart.allergies import NO_ALLERGIES, Allergies, read_allergies
from cds.chart.assessments import (
    MeasureChange,
    TreatmentLine,
    Visits,
    choose_visits,
    measure_changes,
    previous_changes,
)
from cds.chart.conditions import Assertion, read_conditions, too_old
from cds.chart.doses import DailyDose, read_dose
from cds.chart.measurements import Measurements, read_observations
from cds.chart.terms import Terms, in_sentence
from cds.chart.treatments import (
    NO_DRAFTS,
    TREATMENT_TYPES,
    Course,
    Drafts,
    Exposure,
    course,
    read_drafts,
    read_treatments,
)
from cds.chart.vocabulary import DrugClassEntry
from cds.fhir.bundles import Delivery, Excluded, name_of
from cds.fhir.dates import DateSpan, read_date
from cds.fhir.resources import MedicationUse


class Chart(Struct, frozen=True):
    """What the service knows of one patient on one day.

    ``complete`` names the resource types of which everything was delivered and could be read: what
    they do not hold is not recorded. ``excluded`` lists what was delivered and not used, and why.
    ``adult`` says whether the adult criteria apply, None where the age leaves it open. ``changes``
    are those from baseline to the current visit, ``previous`` those to the visit before, and
    ``since_previous`` those from that to the current one.
    ``drafts`` are the orders that somebody is about to place, where the chart is read for these.
    ``doses`` and ``draft_doses`` have the daily doses that the vocabulary declares, as they are
    taken and as they are about to be ordered. ``gender`` is the administrative one, as FHIR has it.
    ``allergies`` has what the patient is recorded to react to. ``planned`` are orders that begin
    later, by drug.
    ``gathered`` is the evidence that facts were asked for so far (``cds.chart.facts``), by fact.
    """

    terms: Terms
    patient: str
    as_of: date
    born: DateSpan | None
    adult: bool | None
    complete: frozenset[str]
    conditions: dict[str, list[Assertion]]
    measurements: Measurements
    exposures: dict[str, list[Exposure]]
    courses: dict[str, Course]
    line_start: date | None
    visits: Visits
    changes: dict[str, MeasureChange]
    previous: dict[str, MeasureChange]
    since_previous: dict[str, MeasureChange]
    excluded: tuple[Excluded, ...]
    drafts: Drafts = NO_DRAFTS
    doses: dict[str, DailyDose] = {}
    draft_doses: dict[str, DailyDose] = {}
    gender: str | None = None
    allergies: Allergies = NO_ALLERGIES
    planned: dict[str, list[Exposure]] = {}
    gathered: dict[str, tuple[Any, ...]] = field(default_factory=dict)


def age(born: DateSpan | None, as_of: date) -> tuple[int, int] | None:
    """The least and greatest age in whole years that a birth date allows."""
    if born is None:
        return None

    def years(birthday: date) -> int:
        before = (as_of.month, as_of.day) < (birthday.month, birthday.day)
        return as_of.year - birthday.year - before

    return years(born.last), years(born.first)


def read_chart(
    delivery: Delivery,
    conditions: dict[str, list[Assertion]],
    patient: str,
    terms: Terms,
    as_of: date,
    baseline: date | None = None,
    drafts: Delivery | None = None,
) -> Chart:
    """Read a patient's delivery into a chart; ``conditions`` were read before, for the gate."""
    excluded = list(delivery.excluded)
    born = read_date(delivery.patients[0].birthDate) if delivery.patients else None
    gender = delivery.patients[0].gender if delivery.patients else None
    measurements = read_observations(delivery.observations, terms, as_of, excluded, gender)
    unread = set(delivery.unread)
    uses, drafted = delivery.uses, NO_DRAFTS
    if drafts is not None:
        excluded += drafts.excluded
        drafted = read_drafts(drafts, delivery.medications, terms, excluded)
        uses = _without_drafts(uses, drafts, excluded)
    treatments = read_treatments(uses, delivery.medications, terms, as_of, excluded, unread)
    exposures = treatments.exposures
    allergies = read_allergies(delivery.allergies, terms, as_of, excluded, unread)
    numbers = terms.vocabulary.assessments
    gap = int(numbers.course_gap.value) if numbers else 0
    classes = terms.vocabulary.drug_classes
    courses = {
        name: course(DrugClassEntry(title=drug.title, any_of=(name,)), treatments, as_of, gap)
        for name, drug in terms.vocabulary.drugs.items()
        if name in exposures or name in treatments.planned
    }
    courses |= {name: course(entry, treatments, as_of, gap) for name, entry in classes.items()}
    complete = frozenset(delivery.delivered - delivery.incomplete - unread)
    line = _line(terms, courses)
    ended = complete >= TREATMENT_TYPES and _ended(terms, courses)
    years = age(born, as_of)
    adult = None
    if years is not None and terms.adult_from is not None:
        adult_from = terms.adult_from.value
        adult = True if years[0] >= adult_from else False if years[1] < adult_from else None
    series = measurements.series
    visits = choose_visits(series, terms, as_of, line, baseline, adult=adult, ended=ended)
    return Chart(
        terms,
        patient,
        as_of,
        born,
        adult,
        complete,
        _with_statuses(conditions, measurements, terms, as_of),
        measurements,
        exposures,
        courses,
        line.start if line else None,
        visits,
        measure_changes(series, terms, visits, adult=adult),
        *previous_changes(series, terms, visits, adult=adult),
        tuple(excluded),
        drafted,
        _doses(exposures, terms, as_of),
        _doses(drafted.exposures, terms, as_of) if drafted.exposures else {},
        gender,
        allergies,
        treatments.planned,
    )


def _with_statuses(
    conditions: dict[str, list[Assertion]], measurements: Measurements, terms: Terms, as_of: date
) -> dict[str, list[Assertion]]:
    """The findings of Conditions, and those that the latest answer about a status is."""
    found = dict(conditions)
    for results in measurements.statuses.values():
        latest = max(results, key=lambda r: (r.day, r.issued, r.reference))
        for key in latest.findings:
            day = DateSpan(latest.day, latest.day)
            old = too_old(terms.condition_entries[key], day, as_of)
            remark = "; ".join(filter(None, (latest.remark, old)))
            said = Assertion(key, latest.reference, latest.text, day, remark, not old)
            found[key] = [*found.get(key, ()), said]
    return found


def _doses(exposures: dict[str, list[Exposure]], terms: Terms, as_of: date) -> dict[str, DailyDose]:
    return {
        name: read_dose(entry, exposures, terms, as_of)
        for name, entry in terms.vocabulary.doses.items()
    }


def _without_drafts(
    uses: list[MedicationUse], drafts: Delivery, excluded: list[Excluded]
) -> list[MedicationUse]:
    """Some records hold an order as active while it is still being signed."""
    drafted = {name_of(draft) for draft in drafts.uses if draft.id}
    excluded += [
        Excluded(name_of(use), "is still a draft order") for use in uses if name_of(use) in drafted
    ]
    return [use for use in uses if name_of(use) not in drafted]


def read_findings(delivery: Delivery, terms: Terms, as_of: date) -> dict[str, list[Assertion]]:
    """Read only the Conditions: enough to know whether the patient has myositis at all."""
    return read_conditions(delivery.conditions, terms, as_of, delivery.excluded, delivery.unread)


def _line(terms: Terms, courses: dict[str, Course]) -> TreatmentLine | None:
    """The current treatment line: the latest start of a current class or drug that opens one.

    Of a partial date the earliest day is taken, so that the baseline surely precedes the treatment.
    """
    vocabulary = terms.vocabulary
    started: dict[date, dict[str, None]] = {}
    for name, entry in vocabulary.drug_classes.items():
        names = entry.any_of if entry.line == "each drug" else (name,) if entry.line else ()
        for each in names:
            since = courses[each].since if each in courses else None
            if since is not None:
                title = (vocabulary.drug_classes.get(each) or vocabulary.drugs[each]).title
                started.setdefault(since.first, {})[in_sentence(title)] = None
    if not started:
        return None
    latest = max(started)
    return TreatmentLine(latest, " and ".join(started[latest]))


def _ended(terms: Terms, courses: dict[str, Course]) -> bool:
    """Whether there was treatment that opens a line, and surely none is current."""
    lines = [courses[name] for name, each in terms.vocabulary.drug_classes.items() if each.line]
    return any(each.events for each in lines) and all(each.current is False for each in lines)
