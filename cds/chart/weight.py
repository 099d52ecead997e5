"""The body weight that doses are worked out with: the last one on record, if it is recent."""

from __future__ import annotations

from msgspec import Struct

from cds.chart.chart import Chart
from cds.chart.measurements import Measurement
from cds.chart.vocabulary import Number


class Weight(Struct, frozen=True):
    """The last body weight on record, whether it still ``counts``, and ``within`` what it does."""

    measurement: Measurement
    counts: bool
    within: Number


def last_weight(chart: Chart) -> Weight | None:
    """The last body weight (kg) that is a number; None without one.

    It counts for fewer days in a child, who grows, and where nobody knows that this is none.
    """
    numbers = chart.terms.vocabulary.weight
    if numbers is None:
        return None
    taken = chart.measurements.series.get(numbers.observation, ())
    last = next((m for m in reversed(taken) if m.value is not None and m.value > 0), None)
    if last is None:
        return None
    within = numbers.adult_within if chart.adult else numbers.child_within
    return Weight(last, (chart.as_of - last.day).days <= within.value, within)
