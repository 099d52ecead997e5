"""What of a card depends on its rule and on no patient is worked out once."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import TypeVar
from weakref import WeakKeyDictionary

from cds.rules.ruleset import Rule, RuleSet

T = TypeVar("T")


def once_for_each_rule(make: Callable[[Rule, RuleSet], T]) -> Callable[[Rule, RuleSet], T]:
    """Keep what a function makes of a rule of a rule set, as long as the rule set lives."""
    known: WeakKeyDictionary[RuleSet, dict[str, T]] = WeakKeyDictionary()

    @wraps(make)
    def made(rule: Rule, ruleset: RuleSet) -> T:
        of_rules = known.get(ruleset)
        if of_rules is None:
            of_rules = known.setdefault(ruleset, {})
        if rule.id not in of_rules:
            of_rules[rule.id] = make(rule, ruleset)
        return of_rules[rule.id]

    return made
