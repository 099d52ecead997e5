"""What of a card depends on the rules and on no patient is worked out once."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from functools import wraps
from typing import TypeVar
from weakref import WeakKeyDictionary

from cds.rules.ruleset import RuleSet

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")


def once(make: Callable[[K, RuleSet], T]) -> Callable[[K, RuleSet], T]:
    """Keep what a function makes of something in a rule set, as long as the rule set lives.

    For what is authored only: never for what holds anything of a patient.
    """
    known: WeakKeyDictionary[RuleSet, dict[K, T]] = WeakKeyDictionary()

    @wraps(make)
    def made(key: K, ruleset: RuleSet) -> T:
        of_ruleset = known.get(ruleset)
        if of_ruleset is None:
            of_ruleset = known.setdefault(ruleset, {})
        if key not in of_ruleset:
            of_ruleset[key] = make(key, ruleset)
        return of_ruleset[key]

    return made
