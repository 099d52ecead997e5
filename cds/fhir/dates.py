"""FHIR dates, which may be only a year or a month: read as the span of days that they cover."""

from __future__ import annotations

import calendar
import re
from datetime import UTC, date, datetime

from msgspec import Struct

from cds.fhir.resources import Period

_PARTIAL = re.compile(r"([0-9]{4})(?:-([0-9]{2}))?")


class DateSpan(Struct, frozen=True, gc=False):
    """The first and the last day that a FHIR date can mean; equal for a full date."""

    first: date
    last: date

    @property
    def exact(self) -> bool:
        """Whether this is one day."""
        return self.first == self.last

    def __str__(self) -> str:
        """The date as FHIR would write it."""
        if self.first == self.last:
            return self.first.isoformat()
        same_month = (self.first.year, self.first.month) == (self.last.year, self.last.month)
        return self.first.isoformat()[: 7 if same_month else 4]


def read_date(text: str | None) -> DateSpan | None:
    """Read a FHIR date, dateTime or instant; ``None`` where there is none or it is not one.

    The calendar day is taken as written, in the offset of whoever wrote it.
    """
    if not text:
        return None
    try:
        if len(text) >= 10:
            if text[7] != "-":
                return None  # weeks and undivided digits are ISO 8601, not FHIR
            day = datetime.fromisoformat(text).date()
            return DateSpan(day, day)
        partial = _PARTIAL.fullmatch(text)
        if partial is None:
            return None
        year, month = int(partial[1]), partial[2]
        if month is None:
            return DateSpan(date(year, 1, 1), date(year, 12, 31))
        last = calendar.monthrange(year, int(month))[1]
        return DateSpan(date(year, int(month), 1), date(year, int(month), last))
    except ValueError:
        return None


def read_instant(text: str | None) -> datetime | None:
    """Read a dateTime with a time of day as a moment, to order two by; UTC if it has no offset."""
    if not text or len(text) <= 10 or text[7] != "-":
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def read_period(period: Period | None) -> tuple[DateSpan | None, DateSpan | None]:
    """Read both ends of a Period."""
    if period is None:
        return None, None
    return read_date(period.start), read_date(period.end)
