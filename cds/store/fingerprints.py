"""What is behind a card, as one short text: equal texts, equal facts."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from datetime import date, timedelta
from decimal import Decimal
from functools import cache
from weakref import WeakKeyDictionary

from msgspec import Struct

from cds.cards.history import ingredients
from cds.chart.facts.declaration import Declaration, Event, Value
from cds.chart.facts.drugs import lasts
from cds.chart.quantities import Category, Interval
from cds.rules.compiler import Compiler
from cds.rules.derivations import Sum, nodes_of
from cds.rules.nodes import Node
from cds.rules.ruleset import Evaluation, Rule, RuleSet

_PASSING = frozenset({"min", "h", "d", "wk", "mo", "a"})
"""Units of time: what is counted in them changes by itself from day to day."""


class Behind(Struct, frozen=True):
    """The facts that a rule and its card ask for, those that they are derived from included.

    ``passing`` are the conditions on those of them that change as time passes. ``against`` are the
    contraindications to drugs of the card's options, whose own facts are not among ``facts``;
    ``drugs`` are what those ask for that speak against whichever drug.
    """

    facts: tuple[str, ...]
    passing: tuple[Node, ...]
    against: tuple[Rule, ...]
    drugs: tuple[str, ...]


def fingerprints(
    rules: Iterable[Rule], ruleset: RuleSet, evaluation: Evaluation, as_of: date
) -> dict[str, str]:
    """The facts that the card of each rule rests on or tells of, with what each was, as a hash.

    By the rule. Facts that other rules derive count with all that is behind them. An event counts
    by its date, or as going on (a drug that is current treatment), and a span of time (an age, days
    since a start) only by the conditions that it meets, so that the passing of time alone changes
    nothing until a condition turns. A contraindication to a drug of the card's options counts by
    its truth only, so that a new laboratory value does not bring the card back unless it changes
    what speaks against an option.
    """
    values, facts = evaluation.values, ruleset.facts

    @cache  # many facts are behind several rules
    def say(fact: str) -> str:
        return f"{fact} {_say(values[fact], facts[fact], as_of)}"

    return {rule.id: _hash(rule, ruleset, evaluation, say) for rule in rules}


def _hash(rule: Rule, ruleset: RuleSet, evaluation: Evaluation, say: Callable[[str], str]) -> str:
    of = behind(rule, ruleset)
    values = evaluation.values
    told = [say(fact) for fact in of.facts]
    told += [f"{node.fact} {node.says} {node.test(values)}" for node in of.passing]
    told += [f"{other.id} {evaluation.outcomes[other.id]}" for other in of.against]
    told += [f"{fact} {values[fact]}" for fact in of.drugs]
    return hashlib.sha256("\n".join(told).encode()).hexdigest()[:32]


def behind(rule: Rule, ruleset: RuleSet) -> Behind:
    """What is behind a rule and its card; it is worked out once, and forgotten with the rules."""
    known = _BEHIND.setdefault(ruleset.compiler, {})
    if rule.id not in known:
        found = list(_find_behind(rule, ruleset))
        passing = {
            f"{fact} {node.says}": node
            for fact, node in found
            if node is not None and node.fact is not None and _passes(ruleset.facts[fact])
        }
        known[rule.id] = Behind(
            tuple(sorted({fact for fact, _ in found})),
            tuple(node for _, node in sorted(passing.items())),
            against := tuple(_against(rule, ruleset)),
            tuple(
                f"drug.{drug}.{other.file.contraindication.drugs_with}"
                for other in against
                if other.file.contraindication and other.file.contraindication.drugs_with
                for drug in dict.fromkeys(_proposed(rule))
            ),
        )
    return known[rule.id]


_BEHIND: WeakKeyDictionary[Compiler, dict[str, Behind]] = WeakKeyDictionary()


def _passes(fact: Declaration) -> bool:
    return fact.kind == "event" or fact.unit in _PASSING


def _find_behind(rule: Rule, ruleset: RuleSet) -> Iterator[tuple[str, Node | None]]:
    """Each fact with the condition on it; a term of a sum and the drug of an option have none."""
    for drug in _proposed(rule):
        # As ``cds.cards.options`` tells of it: given now, given before, or not on record.
        yield f"drug.{drug}.current", None
        yield f"drug.{drug}.ever", None
    waiting = [rule.node, *(rule.card.shown_when if rule.card else ())]
    seen: set[str] = set()
    for node in waiting:  # which grows meanwhile
        waiting.extend(node.parts)
        if node.fact is not None:
            yield node.fact, node
            for part, inner in _derived(node.fact, ruleset, seen):
                if inner is None:
                    yield part, None
                else:
                    waiting.append(inner)


def _derived(fact: str, ruleset: RuleSet, seen: set[str]) -> Iterator[tuple[str, Node | None]]:
    """What a fact is derived from, once: terms of sums as facts, all else as conditions."""
    if fact in seen:
        return
    seen.add(fact)
    if fact in ruleset.deriving:
        yield fact, ruleset.deriving[fact].node
    elif fact in ruleset.derivations:
        makes = ruleset.derivations[fact].makes
        if isinstance(makes, Sum):
            for part in makes.parts:
                yield part.fact, None
                yield from _derived(part.fact, ruleset, seen)
        for node in nodes_of(makes):
            yield fact, node


def _proposed(rule: Rule) -> list[str]:
    """The drugs, and classes of drugs, of the options of a rule's card."""
    return [o.drug for o in rule.card.options if o.drug is not None] if rule.card else []


def _against(rule: Rule, ruleset: RuleSet) -> Iterator[Rule]:
    """The contraindications to drugs of the options of a rule's card."""
    vocabulary = ruleset.terms.vocabulary
    proposed = {name for drug in _proposed(rule) for name in ingredients(drug, vocabulary)}
    for other in ruleset.contraindications:
        said = other.file.contraindication
        drugs = said.drugs if said else ()
        if (proposed and said and said.drugs_with) or any(
            name in proposed for drug in drugs for name in ingredients(drug, vocabulary)
        ):
            yield other


def _say(value: Value, fact: Declaration, as_of: date) -> str:
    match value:
        case Event(surely=surely, possibly=possibly, complete=complete):
            days = (_day(ago, as_of, going_on=lasts(fact.name)) for ago in (surely, possibly))
            return f"{' '.join(days)} {complete}"
        case Interval(low=low, high=high):
            return "" if fact.unit in _PASSING else f"{_plain(low)} {_plain(high)}"
        case Category(possible=possible):
            return ", ".join(possible)
        case _:
            return str(value)


def _day(ago: Decimal | None, as_of: date, *, going_on: bool) -> str:
    if ago is None:
        return ""
    return "now" if going_on and ago == 0 else str(as_of - timedelta(days=int(ago)))


def _plain(number: Decimal) -> str:
    """A number as text: 8 and 8.0 are the same."""
    return str(number.normalize()) if number.is_finite() else str(number)
