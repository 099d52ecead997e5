"""The files of the rule language: what may stand in them, as structures.

These structures are the definition: the parser reads files into them, and whatever they do not
name is an error. Conditions are parsed by ``cds.rules.conditions``.
"""

from __future__ import annotations

from datetime import date
from typing import Any, Literal

from msgspec import Struct

from cds.chart.vocabulary import Number

Status = Literal["draft", "testing", "active", "retired"]
Indicator = Literal["critical", "warning", "info"]
Hook = Literal["patient-view", "order-select", "order-sign"]
EvidenceCertainty = Literal["high", "moderate", "low", "expert opinion", "definition", "unverified"]


class Source(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A publication: ``checked`` says whether the citation was read or recalled."""

    title: str
    citation: str
    year: int
    url: str | None = None
    checked: Literal["read", "recalled"] = "recalled"
    note: str | None = None
    retired: bool = False


class EvidenceItem(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A source and what it supports, with how certain that is."""

    source: str
    supports: str
    certainty: EvidenceCertainty


class Passage(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A paragraph of a card that is shown only where a condition is true."""

    text: str
    when: Any = None


class Option(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One treatment option of a card: a row with its evidence."""

    option: str
    evidence: str
    source: str
    when: Any = None


class CardFile(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a fired rule says. Texts are Markdown with ``{facts}``; see ``cds.cards.texts``.

    Of several cards about one ``problem`` only the most urgent is given. ``lead`` is the sentence
    that matters, and comes first in the detail. ``show`` names the tables that follow.
    """

    problem: str
    indicator: Indicator
    summary: str
    lead: str
    text: tuple[str | Passage, ...] = ()
    options: tuple[Option, ...] = ()
    show: tuple[Literal["measures", "treatments"], ...] = ()
    suggestions: tuple[str, ...] = ()
    override_reasons: tuple[str, ...] = ()


class RuleFile(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A rule: when it holds, it makes a card, or derives a fact that other rules may name."""

    id: str
    title: str
    version: str
    status: Status
    owner: str
    reviewed: date
    review_by: date
    evidence: tuple[EvidenceItem, ...]
    when: Any
    parameters: dict[str, Number] = {}
    hooks: tuple[Hook, ...] = ("patient-view",)
    derive: str | None = None
    card: CardFile | None = None


class OverrideReason(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A reason that a clinician may give for not following a card."""

    display: str


class SuggestionFile(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A draft that a card may carry, for the clinician to complete: a FHIR resource to create."""

    label: str
    description: str
    resource: dict[str, Any]
    parameters: dict[str, Number] = {}
    when: Any = None


class Case(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One test of a rule: facts or an example Bundle, a date, and what is expected.

    ``facts`` gives values by name: true, false, a number, ``[low, high]``, days ago for an event
    (or ``never``); whatever is not given is unknown. ``selects`` gives the members of a selection.
    ``card`` gives parts of the card, each of which must be contained in it.
    """

    name: str
    expect: Literal["fires", "silent", "unknown", "true", "false"]
    facts: dict[str, Any] = {}
    example: str | None = None
    as_of: date | None = None
    card: dict[str, Any] = {}
    selects: dict[str, tuple[str, ...]] = {}


class TestFile(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The tests of one rule, beside it under the same stem."""

    rule: str
    cases: tuple[Case, ...]
