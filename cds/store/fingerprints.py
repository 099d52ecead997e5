"""What is behind a card, as one short text: equal texts, equal facts."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from datetime import date, timedelta
from decimal import Decimal

from cds.chart.facts import Event, Value
from cds.chart.quantities import Interval
from cds.rules.nodes import Node
from cds.rules.ruleset import Evaluation, Rule, RuleSet

_PASSING = frozenset({"min", "h", "d", "wk", "mo", "a"})
"""Units of time: what is counted in them changes by itself from day to day."""


def fingerprint(rule: Rule, ruleset: RuleSet, evaluation: Evaluation, as_of: date) -> str:
    """The facts that a rule's card rests on or tells of, with what each was, as a hash.

    Facts that other rules derive count with all that is behind them. An event counts by its date,
    and a span of time (an age, days since a start) only by the conditions that it meets, so that
    the passing of time alone changes nothing until a condition turns.
    """
    told = {
        f"{leaf.fact} {leaf.says} {leaf.test(evaluation.values)} "
        f"{_say(evaluation.values[leaf.fact], ruleset.facts[leaf.fact].unit, as_of)}"
        for leaf in leaves_behind(rule, ruleset)
        if leaf.fact is not None
    }
    return hashlib.sha256("\n".join(sorted(told)).encode()).hexdigest()[:32]


def leaves_behind(rule: Rule, ruleset: RuleSet) -> Iterator[Node]:
    """The conditions on single facts that a rule and its card consist of.

    Those of the rules that derive facts which it waits for are among them.
    """
    waiting = [rule.node, *_shown(rule)]
    derived: set[str] = set()
    while waiting:
        node = waiting.pop()
        waiting.extend(node.parts)
        if node.fact is not None:
            yield node
            if node.fact in ruleset.deriving and node.fact not in derived:
                derived.add(node.fact)
                waiting.append(ruleset.deriving[node.fact].node)


def _shown(rule: Rule) -> Iterator[Node]:
    """The conditions under which parts of a rule's card are shown."""
    card = rule.card
    if card is None:
        return
    yield from (part.when for part in card.passages if part.when is not None)
    yield from (part.when for part in card.options if part.when is not None)
    yield from (part.when for part in card.suggestions if part.when is not None)


def _say(value: Value, unit: str, as_of: date) -> str:
    match value:
        case Event(surely=surely, possibly=possibly, complete=complete):
            return f"{_day(surely, as_of)} {_day(possibly, as_of)} {complete}"
        case Interval(low=low, high=high):
            return "" if unit in _PASSING else f"{_plain(low)} {_plain(high)}"
        case _:
            return str(value)


def _day(ago: Decimal | None, as_of: date) -> str:
    return "" if ago is None else str(as_of - timedelta(days=int(ago)))


def _plain(number: Decimal) -> str:
    """A number as text: 8 and 8.0 are the same."""
    return str(number.normalize()) if number.is_finite() else str(number)
