"""What a fact is: its name and kind, the values it may have, and the evidence it rests on."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from decimal import Decimal
from typing import Literal

from msgspec import Struct

from cds.chart.chart import Chart
from cds.chart.quantities import Category, Interval
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


def no_evidence(_: Chart) -> tuple[Evidence, ...]:
    """The evidence of what nobody recorded."""
    return ()


def days_ago(span: DateSpan, chart: Chart) -> Interval:
    """Days since a date that may be known in part: at the least, not below 0, and at the most."""
    least, most = (chart.as_of - span.last).days, (chart.as_of - span.first).days
    return Interval(Decimal(max(least, 0)), Decimal(most))


def observed_on(day: date | None, chart: Chart) -> Event:
    """An event that Observations tell of, by its day; None where they tell of none."""
    days = None if day is None else Decimal((chart.as_of - day).days)
    return Event(days, days, "Observation" in chart.complete)


def any_so(known: list[Value]) -> Value:
    """Whether one of several things is so; unknown where none surely is and one may be."""
    return True if True in known else None if None in known else False
