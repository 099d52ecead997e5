"""Facts about daily doses: of today, of the draft orders, and for how long at a level."""

from __future__ import annotations

from collections.abc import Callable

from msgspec.structs import replace

from cds.chart.chart import Chart
from cds.chart.doses import DailyDose, Taken, daily, days_at, days_ordered, highest, say_dose
from cds.chart.facts.declaration import Declaration, Evidence, EvidenceReader, Value
from cds.chart.facts.drugs import cite_exposure, treatments_complete
from cds.chart.quantities import INFINITY
from cds.chart.vocabulary import DoseEntry, DoseLevel, Vocabulary

DOSE_UNIT = "mg/d"


def declare(vocabulary: Vocabulary) -> list[Declaration]:
    """Of each drug whose doses count: that of today, of the drafts, and the days at its levels."""
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
    return lambda chart: daily(chart.doses[name], complete=treatments_complete(chart))


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
    return lambda chart: days_at(level, gap, chart.doses[name], complete=treatments_complete(chart))


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
