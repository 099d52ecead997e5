"""Takes feedback on cards; https://cds-hooks.hl7.org/2.0/#feedback.

Fields that are not known here are ignored, as in requests. One card may be told of several times:
an acceptance may be followed by an override, and what was sent before may be sent again.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Literal

import msgspec
import structlog
from msgspec import Meta, Raw, Struct

from cds.hooks.outcomes import Refused
from cds.hooks.requests import ambiguity
from cds.store.feedback import Feedback, Reason
from cds.store.store import FeedbackFull, Store

_log = structlog.get_logger()

LONGEST_ID = 200
"""Characters; the uuids that this service gives have 36."""

LONGEST_CODE = 1000
"""Characters of a code, of its system and of what it is called."""

LONGEST_COMMENT = 10_000
"""Characters; some pages, where an EHR has a line for it."""

MOST_SUGGESTIONS = 100
"""That may be accepted of one card."""

MOST_ITEMS = 500
"""Of one batch: it is one transaction, for whose end others wait."""

MOST_PROBLEMS = 100
"""That are told of one batch: they stand in the log as well."""

_Id = Annotated[str, Meta(min_length=1, max_length=LONGEST_ID)]
_Code = Annotated[str, Meta(min_length=1, max_length=LONGEST_CODE)]
_Name = Annotated[str, Meta(max_length=LONGEST_CODE)]
_Comment = Annotated[str, Meta(max_length=LONGEST_COMMENT)]


class _Suggestion(Struct, frozen=True):
    id: _Id


class _Coding(Struct, frozen=True):
    code: _Code
    system: _Name | None = None
    display: _Name | None = None


class _OverrideReason(Struct, frozen=True):
    reason: _Coding | None = None
    userComment: _Comment | None = None


class _Item(Struct, frozen=True):
    card: _Id
    outcome: Literal["accepted", "overridden"]
    outcomeTimestamp: Annotated[datetime, Meta(tz=True)]
    acceptedSuggestions: (
        Annotated[tuple[_Suggestion, ...], Meta(max_length=MOST_SUGGESTIONS)] | None
    ) = None
    overrideReason: _OverrideReason | None = None


class _Body(Struct, frozen=True):
    feedback: tuple[Raw, ...]


_BODY = msgspec.json.Decoder(_Body)
_ITEM = msgspec.json.Decoder(_Item)
_NOT_JSON = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)

_REFUSED = "Nothing of this feedback was kept"
_FULL = f"{_REFUSED}: too much of it waits for the database. Send it again later."


def read_feedback(body: bytes) -> tuple[Feedback, ...]:
    """Read a batch of feedback.

    Raises ``Refused`` with status 400, saying of every item where in the JSON its problem is (of
    the first ``MOST_PROBLEMS``), and with status 413 for more than ``MOST_ITEMS``.
    """
    try:
        items = _BODY.decode(body).feedback
    except msgspec.ValidationError as fault:
        # Of this form its text names types and places, never values.
        raise Refused(
            400, "invalid", [f'{_REFUSED}: {fault}. It should be {{"feedback": [...]}}.']
        ) from None
    except _NOT_JSON:
        raise Refused(400, "invalid", [f"{_REFUSED}: the body is not JSON."]) from None
    if len(items) > MOST_ITEMS:
        raise Refused(
            413,
            "too-costly",
            [f"{_REFUSED}: it has {len(items)} items, and at most {MOST_ITEMS} are taken at once."],
        )
    if problem := ambiguity(body):
        raise Refused(400, "invalid", [f"{_REFUSED}: {problem}"])
    read: list[Feedback] = []
    problems: list[str] = []
    for i, raw in enumerate(items):
        try:
            read.append(_read_item(raw))
        except _Wrong as wrong:
            problems.append(f"{_REFUSED}: {wrong.at(f'$.feedback[{i}]')}")
    if problems:
        more = len(problems) - MOST_PROBLEMS
        further = [f"{_REFUSED}: there are {more} problems more."] if more > 0 else []
        raise Refused(400, "invalid", problems[:MOST_PROBLEMS] + further)
    return tuple(read)


class _Wrong(Exception):
    """What is wrong with an item; ``$`` in the text stands for where it is."""

    def at(self, place: str) -> str:
        """The text, with the place of the item."""
        said = str(self).replace("`$", f"`{place}")
        return said if f"`{place}" in said else f"`{place}`: {said}"


_OUTCOMES = "`$.outcome` should be `accepted` or `overridden`."


def _read_item(raw: Raw) -> Feedback:
    try:
        item = _ITEM.decode(raw)
    except msgspec.ValidationError as fault:
        if "Invalid enum value" in str(fault):  # which the text goes on to repeat
            raise _Wrong(_OUTCOMES) from None
        raise _Wrong(f"{fault}.") from None
    except _NOT_JSON:
        raise _Wrong("is not JSON.") from None
    if item.outcome == "accepted" and item.acceptedSuggestions is None:
        raise _Wrong(
            "`$.acceptedSuggestions` is missing, which names the suggestions of the card that were "
            "accepted."
        )
    try:
        at = item.outcomeTimestamp.astimezone(UTC)
    except OverflowError:
        raise _Wrong("`$.outcomeTimestamp` lies outside of all calendars.") from None
    told = item.overrideReason or _OverrideReason()
    return Feedback(
        card=_text(item.card),
        outcome=item.outcome,
        at=at,
        suggestions=tuple(_text(each.id) for each in item.acceptedSuggestions or ()),
        reason=None
        if told.reason is None
        else Reason(
            _text(told.reason.code),
            told.reason.system and _text(told.reason.system),
            told.reason.display and _text(told.reason.display),
        ),
        comment=told.userComment and _text(told.userComment),
    )


def _text(said: str) -> str:
    """A text as every database can keep it: without the character of number 0."""
    return said.replace("\0", "\N{REPLACEMENT CHARACTER}")


async def take_feedback(
    body: bytes, store: Store, client: str, service: str
) -> tuple[Feedback, ...]:
    """Keep a batch of feedback, which is returned; the database has it then.

    What is told of cards that are not known is kept too, and logged. Raises ``Refused`` with status
    400 or 413, with 503 where too much waits for the database, and ``SQLAlchemyError`` where it
    cannot be kept.
    """
    items = read_feedback(body)
    try:
        unknown = await store.keep_feedback(items, client, service)
    except FeedbackFull:
        raise Refused(503, "throttled", [_FULL]) from None
    if unknown:
        _log.info("feedback_on_unknown_cards", cards=len(unknown), client=client)
    _log.info("feedback_taken", service=service, items=len(items))
    return items
