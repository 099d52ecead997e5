"""Makes a kept decision again, from what was kept, and says whether it comes out the same."""

from __future__ import annotations

import difflib
import json

import msgspec
from msgspec import Struct
from sqlalchemy import Connection

from cds.advice import advise_on
from cds.cards.card import encode_cards
from cds.store.archive import rebuild
from cds.store.decisions import Decision, find_decision, find_rules, name_cards
from cds.store.inputs import read_inputs


class Repetition(Struct, frozen=True):
    """A decision made again: ``answer`` is what it gave now, ``outcomes`` the rules that differ.

    ``outcomes`` has, by rule, the truth that was kept and the one of now.
    """

    decision: Decision
    answer: bytes
    outcomes: dict[str, tuple[bool | None, bool | None]]

    @property
    def equal(self) -> bool:
        """Whether the cards are the same to the last byte, and every rule is as it was."""
        return self.answer == self.decision.answer and not self.outcomes

    @property
    def difference(self) -> list[str]:
        """The lines in which the cards differ, each as ``diff`` would show it."""
        kept, now = (_lines(answer) for answer in (self.decision.answer, self.answer))
        return list(difflib.unified_diff(kept, now, "as kept", "as made again", lineterm="", n=1))


class _Outcomes(Struct, frozen=True):
    outcomes: dict[str, bool | None]


_OUTCOMES = msgspec.json.Decoder(_Outcomes)


def repeat(connection: Connection, id_: str) -> Repetition:
    """Make a decision again, by the same rules, from the same inputs, as of the same day.

    Cards that were left out after an override are left out again. Raises ``NotKept``,
    ``ArchiveUnusable``, ``FilesInvalid`` where the rules cannot be read any more, and
    ``EngineFault`` or ``EnginesDisagree`` as any evaluation does.
    """
    decision = find_decision(connection, id_)
    ruleset = rebuild(decision.rules_version, find_rules(connection, decision.rules_version))
    left_out = frozenset(card.rule for card in decision.cards if card.uuid is None)
    try:
        question = read_inputs(decision.inputs, decision.patient, decision.hook)
        advice = advise_on(question, ruleset, decision.as_of, left_out=lambda _: left_out)
    finally:
        ruleset.close()
    given = zip(advice.given, advice.cards, strict=True)
    kept = _OUTCOMES.decode(decision.facts).outcomes
    now = advice.evaluation.outcomes if advice.evaluation else {}
    return Repetition(
        decision,
        encode_cards(name_cards(given, decision.id)),
        {
            rule: (kept.get(rule), now.get(rule))
            for rule in sorted(kept.keys() | now.keys())
            if kept.get(rule) != now.get(rule) or (rule in kept) != (rule in now)
        },
    )


def _lines(answer: bytes) -> list[str]:
    return json.dumps(json.loads(answer), indent=1, ensure_ascii=False).splitlines()
