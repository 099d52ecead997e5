"""A card as it is shown to one patient's clinician: whatever has a condition, where that holds."""

from __future__ import annotations

from typing import TypeVar

from msgspec.structs import replace

from cds.rules.nodes import Values
from cds.rules.ruleset import CardTemplate, Option, Passage, Suggestion
from cds.rules.texts import Slot

T = TypeVar("T", Passage, Option, Suggestion)


def shown(card: CardTemplate, values: Values) -> CardTemplate:
    """The card with those of its passages, options and drafts only whose conditions hold."""
    return replace(
        card,
        passages=_holding(card.passages, values),
        options=_holding(card.options, values),
        suggestions=drafts_of(card, values),
    )


def drafts_of(card: CardTemplate, values: Values) -> tuple[Suggestion, ...]:
    """The drafts of the card whose conditions hold."""
    return _holding(card.suggestions, values)


def _holding(parts: tuple[T, ...], values: Values) -> tuple[T, ...]:
    return tuple([p for p in parts if p.when is None or p.when.test(values) is True])


def slots_of(card: CardTemplate) -> tuple[Slot, ...]:
    """The places in the texts of a card where something is put in, without those of its drafts."""
    texts = [card.summary, card.lead, *[passage.text for passage in card.passages]]
    for option in card.options:
        texts += (option.option, option.evidence)
    return tuple([part for text in texts for part in text if isinstance(part, Slot)])


def asks_for_weight(slots: tuple[Slot, ...]) -> bool:
    """Whether a dose by body weight is put in."""
    return any(slot.dose is not None for slot in slots)
