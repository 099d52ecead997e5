"""The structures of CDS Hooks 2.0 cards; empty fields are left out when encoded.

Specification: https://cds-hooks.hl7.org/2.0/#cds-service-response.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec
from msgspec import Struct

Indicator = Literal["critical", "warning", "info"]

SUMMARY_LIMIT = 140
"""A summary must be shorter than this many characters."""


class Coding(Struct, frozen=True, omit_defaults=True):
    """A reason, as a code of this project's own code system."""

    code: str
    system: str
    display: str


class Source(Struct, frozen=True, omit_defaults=True):
    """Where a card's knowledge comes from."""

    label: str
    url: str | None = None


class Action(Struct, frozen=True, omit_defaults=True):
    """What accepting a suggestion does in the EHR: create a draft."""

    type: Literal["create"]
    description: str
    resource: dict[str, Any]


class Suggestion(Struct, frozen=True, omit_defaults=True):
    """Something that the clinician may accept from a card."""

    label: str
    uuid: str
    actions: tuple[Action, ...]


class Link(Struct, frozen=True):
    """A source to read."""

    label: str
    url: str
    type: Literal["absolute"] = "absolute"


class Card(Struct, frozen=True, omit_defaults=True):
    """One card. ``detail`` is GitHub-flavoured Markdown without HTML."""

    uuid: str
    summary: str
    indicator: Indicator
    detail: str
    source: Source
    suggestions: tuple[Suggestion, ...] = ()
    selectionBehavior: Literal["at-most-one", "any"] | None = None
    overrideReasons: tuple[Coding, ...] = ()
    links: tuple[Link, ...] = ()


class _Cards(Struct, frozen=True):
    cards: tuple[Card, ...]


_ENCODER = msgspec.json.Encoder(decimal_format="number")


def encode_cards(cards: tuple[Card, ...]) -> bytes:
    """The answer of a service that gives these cards, as JSON."""
    return _ENCODER.encode(_Cards(cards))
