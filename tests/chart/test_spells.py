"""Times on a drug, from orders, administrations and statements."""

from datetime import date

import pytest

from cds.chart.spells import describe_spell, spells
from cds.chart.treatments import Exposure, Kind
from cds.fhir.dates import DateSpan, read_date

GAP = 90


def span(text: str | None) -> DateSpan | None:
    """A FHIR date, or none."""
    return read_date(text)


def exposure(
    start: str | None,
    end: str | None = None,
    *,
    kind: Kind = "ordered",
    current: bool | None = False,
    status: str = "stopped",
    why: str = "",
) -> Exposure:
    """One order of methotrexate, or one administration or statement."""
    return Exposure(
        "methotrexate",
        kind,
        f"MedicationRequest/{start}",
        "Methotrexate",
        None,
        span(start),
        span(end),
        current,
        None,
        "",
        status,
        why,
    )


@pytest.mark.parametrize(
    ("one", "said"),
    [
        (exposure("2023-04", "2023-11"), "2023-04 to 2023-11, stopped"),
        (exposure("2023-04-03", "2023-11-20", status="completed"),
         "2023-04-03 to 2023-11-20, completed"),
        (exposure("2023-04-03", "2023-11-20", why="Lack of effect"),
         "2023-04-03 to 2023-11-20, stopped: Lack of effect"),
        (exposure("2024-02-01", current=True, status="active"), "now, since 2024-02-01"),
        (exposure("2024-02", current=None, status="unknown"),
         "since 2024-02, whether still is not known"),
        (exposure("2023-04-03"), "from 2023-04-03, end not recorded, stopped"),
        (exposure("2023-04-03", "2023-06-03", status="active"), "2023-04-03 to 2023-06-03, ended"),
        (exposure("2024-03-04", "2024-03-04", kind="given", status="completed"),
         "2024-03-04, given"),
        (exposure(None), "at a time that is not recorded, stopped"),
        (exposure("2026-01-01", current=None, status="on-hold"),
         "since 2026-01-01, whether still is not known"),
    ],
)  # fmt: skip
def test_a_time_is_told_as_it_is_recorded(one: Exposure, said: str) -> None:
    """Dates as precise as they are, whether it goes on, how it ended and why."""
    (spell,) = spells([one], GAP)
    assert describe_spell(spell) == said


def test_orders_that_follow_each_other_are_one_time() -> None:
    """A renewal within the gap goes on; the last of them says how it ended."""
    first = exposure("2024-01-01", "2024-03-31", status="completed")
    renewed = exposure("2024-06-29", "2024-09-30", why="Nausea")
    (spell,) = spells([renewed, first], GAP)
    assert describe_spell(spell) == "2024-01-01 to 2024-09-30, stopped: Nausea"


def test_a_longer_gap_parts_two_times() -> None:
    """One day more than the gap is a new time, after the earlier one."""
    first = exposure("2024-01-01", "2024-03-31")
    again = exposure("2024-06-30", current=True, status="active")
    assert list(map(describe_spell, spells([again, first], GAP))) == [
        "2024-01-01 to 2024-03-31, stopped",
        "now, since 2024-06-30",
    ]


def test_infusions_at_their_distance_are_one_time() -> None:
    """What is given every six months goes on between two infusions, and not without that."""
    infusions = [
        exposure(day, day, kind="given", status="completed") for day in ("2024-03-04", "2024-09-02")
    ]
    assert len(spells(infusions, GAP)) == 2
    (spell,) = spells(infusions, GAP, covers=183)
    assert describe_spell(spell) == "2024-03-04 to 2024-09-02, given"


def test_an_order_without_end_that_still_goes_on_covers_what_follows() -> None:
    """Later orders of the same drug do not begin it anew."""
    open_ended = exposure("2020-01-01", current=True, status="active")
    later = exposure("2025-01-01", "2025-02-01", status="completed")
    (spell,) = spells([later, open_ended], GAP)
    assert spell.start == span("2020-01-01")
    assert spell.current is True


def test_an_end_far_ahead_is_no_fault() -> None:
    """9999-12-31 stands for an open end in practice."""
    (spell,) = spells([exposure("2024-01-01", "9999-12-31", current=True, status="active")], GAP)
    assert spell.end == DateSpan(date(9999, 12, 31), date(9999, 12, 31))
    assert describe_spell(spell) == "now, since 2024-01-01"


def test_what_has_no_date_stands_last_and_alone() -> None:
    """Nothing is merged with what could have been at any time."""
    found = spells([exposure(None), exposure("2024-01-01", "2024-02-01")], GAP)
    assert [spell.start for spell in found] == [span("2024-01-01"), None]
