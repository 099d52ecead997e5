"""A patient's chart: everything that the facts are read from, made from one delivery."""

from __future__ import annotations

from datetime import date

from msgspec import Struct

from cds.chart.assessments import MeasureChange, Visits, choose_visits, measure_changes
from cds.chart.conditions import Assertion, read_conditions
from cds.chart.measurements import Measurements, read_observations
from cds.chart.terms import Terms
from cds.chart.treatments import (
    NO_DRAFTS,
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
    ``drafts`` are the orders that somebody is about to place, where the chart is read for these.
    """

    terms: Terms
    patient: str
    as_of: date
    born: DateSpan | None
    complete: frozenset[str]
    conditions: dict[str, list[Assertion]]
    measurements: Measurements
    exposures: dict[str, list[Exposure]]
    courses: dict[str, Course]
    line_start: date | None
    visits: Visits
    changes: dict[str, MeasureChange]
    excluded: tuple[Excluded, ...]
    drafts: Drafts = NO_DRAFTS


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
    measurements = read_observations(delivery.observations, terms, as_of, excluded)
    unread = set(delivery.unread)
    uses, drafted = delivery.uses, NO_DRAFTS
    if drafts is not None:
        excluded += drafts.excluded
        drafted = read_drafts(drafts, delivery.medications, terms, excluded)
        uses = _without_drafts(uses, drafts, excluded)
    exposures = read_treatments(uses, delivery.medications, terms, as_of, excluded, unread)
    numbers = terms.vocabulary.assessments
    gap = int(numbers.course_gap.value) if numbers else 0
    classes = terms.vocabulary.drug_classes
    courses = {
        name: course(DrugClassEntry(title=drug.title, any_of=(name,)), exposures, as_of, gap)
        for name, drug in terms.vocabulary.drugs.items()
        if name in exposures
    }
    courses |= {name: course(entry, exposures, as_of, gap) for name, entry in classes.items()}
    line_start = _line_start(terms, courses)
    visits = choose_visits(measurements.series, terms, as_of, line_start, baseline)
    years = age(born, as_of)
    adult_from = numbers.adult_from.value if numbers else None
    adult = None
    if years is not None and adult_from is not None:
        adult = True if years[0] >= adult_from else False if years[1] < adult_from else None
    return Chart(
        terms,
        patient,
        as_of,
        born,
        frozenset(delivery.delivered - delivery.incomplete - unread),
        conditions,
        measurements,
        exposures,
        courses,
        line_start,
        visits,
        measure_changes(measurements.series, terms, visits, adult=adult),
        tuple(excluded),
        drafted,
    )


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
    return read_conditions(delivery.conditions, terms, as_of, delivery.excluded)


def _line_start(terms: Terms, courses: dict[str, Course]) -> date | None:
    """When the current treatment line began: the latest start of a current class that opens one.

    Of a partial date the earliest day is taken, so that the baseline surely precedes the treatment.
    """
    starts = []
    for name, entry in terms.vocabulary.drug_classes.items():
        names = entry.any_of if entry.line == "each drug" else (name,) if entry.line else ()
        for each in names:
            since = courses[each].since if each in courses else None
            if since is not None:
                starts.append(since.first)
    return max(starts) if starts else None
