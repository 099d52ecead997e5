"""What is authored is worked out once for each rule set."""

from __future__ import annotations

import gc
import weakref

import msgspec

from cds.cards.once import once
from cds.rules.ruleset import RuleSet


def test_what_was_made_is_kept_for_its_rule_set_alone(ruleset: RuleSet) -> None:
    """Another rule set may have other texts under the same name, so that it is made anew for it."""
    made = once(lambda name, of: [f"{name} of {len(of.rules)} rules"])
    other = msgspec.structs.replace(ruleset, rules=())

    assert made("age", ruleset) == [f"age of {len(ruleset.rules)} rules"]
    assert made("age", ruleset) is made("age", ruleset)
    assert made("weight", ruleset) is not made("age", ruleset)
    assert made("age", other) == ["age of 0 rules"]


def test_what_was_made_goes_with_its_rule_set(ruleset: RuleSet) -> None:
    """Rules that were replaced leave nothing behind."""

    class Made:
        pass

    made = once(lambda _, __: Made())
    other = msgspec.structs.replace(ruleset)
    kept = weakref.ref(made("age", other))
    assert kept() is not None

    del other
    gc.collect()

    assert kept() is None
