from datetime import UTC, date, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cds.fhir.dates import DateSpan, read_date, read_instant, read_period
from cds.fhir.resources import Period


@pytest.mark.parametrize(
    ("text", "first", "last"),
    [
        ("2024", date(2024, 1, 1), date(2024, 12, 31)),
        ("2024-02", date(2024, 2, 1), date(2024, 2, 29)),
        ("2023-02", date(2023, 2, 1), date(2023, 2, 28)),
        ("2024-12", date(2024, 12, 1), date(2024, 12, 31)),
        ("2024-02-29", date(2024, 2, 29), date(2024, 2, 29)),
    ],
)
def test_a_date_is_the_span_of_days_it_can_mean(text: str, first: date, last: date) -> None:
    """A year and a month are read as all their days, a full date as that day."""
    assert read_date(text) == DateSpan(first, last)


@pytest.mark.parametrize(
    "text",
    [
        "2024-03-01T00:30:00+02:00",
        "2024-03-01T23:59:59.999999999-11:00",
        "2024-03-01T12:00:00Z",
        "2024-03-01T12:00",
        "2024-03-01 12:00:00",
    ],
)
def test_the_day_is_taken_as_written(text: str) -> None:
    """A time of day and its offset never move the calendar day that the writer wrote."""
    assert read_date(text) == DateSpan(date(2024, 3, 1), date(2024, 3, 1))


NOT_DATES = [
    None,
    "",
    "yesterday",
    "2024-13",
    "2024-00",
    "2024-02-30",
    "2023-02-29",
    "0000",
    "0000-01",
    "24",
    "2024-1-1",
    "2024-W01-1",
    "2024-W01-1T00:00:00Z",
    "20240101",
    "20240101T000000Z",
    "2024-01-01T25:00:00Z",
    "2024-01-01Tnoon",
    "2024-01-01T",
    "01/02/2024",
    "2024-02 ",
    "\u0662\u0660\u0662\u0664",  # digits, but not ASCII
    "2024-01-01\n",
]


@pytest.mark.parametrize("text", NOT_DATES)
def test_what_is_no_fhir_date_is_no_date(text: str | None) -> None:
    """What is not a date of the calendar, in FHIR's order of digits, is not guessed at."""
    assert read_date(text) is None


@given(st.text(max_size=30) | st.text(alphabet="0123456789-:TZ.+W ", max_size=30))
def test_reading_never_raises(text: str) -> None:
    """Whatever stands in place of a date, reading it gives an answer."""
    span, moment = read_date(text), read_instant(text)
    assert span is None or span.first <= span.last
    assert moment is None or moment.tzinfo is not None


@given(st.dates())
def test_a_full_date_is_exact_and_written_as_it_was_read(day: date) -> None:
    """A full date is one day and prints as itself."""
    span = read_date(day.isoformat())
    assert span is not None
    assert span.exact
    assert str(span) == day.isoformat()


@pytest.mark.parametrize("text", ["1984", "2024-02", "2024-11"])
def test_a_partial_date_is_not_exact_and_written_as_it_was_read(text: str) -> None:
    """A year or month prints as FHIR writes it."""
    span = read_date(text)
    assert span is not None
    assert not span.exact
    assert str(span) == text


def test_instants_are_compared_across_offsets() -> None:
    """The same moment written in two offsets is equal, and one without offset is UTC."""
    assert read_instant("2024-03-01T14:00:00+02:00") == read_instant("2024-03-01T12:00:00Z")
    assert read_instant("2024-03-01T12:00:00") == datetime(2024, 3, 1, 12, tzinfo=UTC)
    assert read_instant("2024-03-01T12:00:00-05:00") == datetime(
        2024, 3, 1, 12, tzinfo=timezone(timedelta(hours=-5))
    )


@pytest.mark.parametrize("text", [*NOT_DATES, "2024", "2024-03", "2024-03-01"])
def test_what_has_no_time_of_day_is_no_instant(text: str | None) -> None:
    """A bare date is not a moment."""
    assert read_instant(text) is None


def test_either_end_of_a_period_may_be_open() -> None:
    """Each end is read by itself; an end that is missing or no date is open."""
    day = DateSpan(date(2024, 3, 1), date(2024, 3, 1))
    assert read_period(None) == (None, None)
    assert read_period(Period(start="2024-03-01")) == (day, None)
    assert read_period(Period(start="soon", end="2024-03-01T08:00:00Z")) == (None, day)
