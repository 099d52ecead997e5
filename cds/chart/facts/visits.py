"""Facts about the assessments that are compared, the treatment line, and the patient."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta
from decimal import Decimal

from cds.chart.chart import Chart, age
from cds.chart.facts.declaration import (
    Declaration,
    Evidence,
    EvidenceReader,
    Value,
    no_evidence,
    observed_on,
)
from cds.chart.facts.measures import is_recorded
from cds.chart.quantities import UNKNOWN, Interval


def declare() -> list[Declaration]:
    """Of the assessments, of the treatment line that they judge, and of the patient."""

    def compared(chart: Chart) -> Value:
        visits = chart.visits
        return is_recorded(chart, visits.baseline is not None and visits.current is not None)

    def days_between(chart: Chart) -> Value:
        visits = chart.visits
        if visits.baseline is None or visits.current is None:
            return UNKNOWN
        days = Decimal((visits.current - visits.baseline).days)
        return Interval(days, days)

    def ago(day: Callable[[Chart], date | None]) -> Callable[[Chart], Value]:
        return lambda chart: observed_on(day(chart), chart)

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
            read=lambda chart: is_recorded(chart, chart.visits.previous is not None),
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
