"""A card as it is shown to one patient's clinician: whatever has a condition, where that holds."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeVar

from msgspec.structs import replace

from cds.rules.nodes import Values
from cds.rules.ruleset import CardTemplate, Option, Passage, Rule, Suggestion
from cds.rules.texts import Slot, Text

T = TypeVar("T", Passage, Option, Suggestion)


def shown(card: CardTemplate, values: Values) -> CardTemplate:
    """The card with those of its passages, options and drafts only whose conditions hold."""
    return replace(
        card,
        passages=_holding(card.passages, values),
        options=_holding(card.options, values),
        suggestions=_holding(card.suggestions, values),
    )


def _holding(parts: tuple[T, ...], values: Values) -> tuple[T, ...]:
    return tuple([p for p in parts if p.when is None or p.when.test(values) is True])


def texts_of(card: CardTemplate) -> Iterator[Text]:
    """The texts of a card, without those of its drafts."""
    yield card.summary
    yield card.lead
    for passage in card.passages:
        yield passage.text
    for option in card.options:
        yield option.option
        yield option.evidence


def asks_for_weight(rule: Rule, card: CardTemplate) -> bool:
    """Whether a text has a dose by body weight in it."""
    return bool(rule.file.weight_doses) and any(
        isinstance(part, Slot) and part.dose is not None for text in texts_of(card) for part in text
    )
