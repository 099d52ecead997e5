"""The course of results that a card names: the last values with their days, and the limit."""

from __future__ import annotations

from collections.abc import Iterator

from cds.cards.markdown import escape, escape_authored
from cds.cards.texts import Telling
from cds.chart.facts.observations import last_of_days, show
from cds.chart.measurements import Measurement, plain, recorded, upper_limit
from cds.rules.ruleset import CardTemplate

MOST_RESULTS = 6
"""Values in the course of one result on a card; the latest are the ones that count."""


def say_results(card: CardTemplate, telling: Telling) -> str:
    """What a card shows of Observations, a line for each that is recorded; empty without any."""
    lines = [line for name in _named(card, telling) if (line := _course(name, telling))]
    return "\n".join(("**Course of results**", "", *lines)) if lines else ""


def _named(card: CardTemplate, telling: Telling) -> Iterator[str]:
    """The observations that a card shows, by themselves or as a group, each once."""
    groups = telling.ruleset.terms.vocabulary.groups
    shown: dict[str, None] = {}
    for table in card.show:
        for member in groups.get(table, (table,)):
            if member.startswith("observation."):
                shown[member.removeprefix("observation.")] = None
    yield from shown


def _course(name: str, telling: Telling) -> str:
    taken = last_of_days(telling.chart, name)
    if not taken:
        return ""
    last = taken[-MOST_RESULTS:]
    title = escape_authored(telling.ruleset.terms.vocabulary.observations[name].title)
    values = " → ".join(say_measured(m, telling) for m in last)
    more = "… → " if len(taken) > len(last) else ""
    days = (last[-1].day - last[0].day).days
    said = [f"- {title}: {more}{values}"]
    if days:
        said.append(f"in {days} days" if days > 1 else "in 1 day")
    limit = upper_limit(last[-1], telling.chart.terms)
    if limit is not None:
        said.append(f"upper limit {plain(limit.value)} ({limit.origin})")
    references = ", ".join(m.reference for m in last)
    return f"{', '.join(said)} ({escape(references)})"


def say_measured(measurement: Measurement, telling: Telling) -> str:
    """A value with its day, as it was recorded where it was converted, and what else is to say."""
    said = [str(measurement.day)]
    if as_recorded := recorded(measurement):
        said.append(f"{as_recorded} as recorded")
    if measurement.remark:
        said.append(measurement.remark)
    return f"{escape(show(measurement, telling.chart))} ({escape('; '.join(said))})"
