"""What is authored is worked out once for each rule set."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable

import msgspec

from cds.advice import Advice
from cds.cards.cards import make_cards
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


def test_cards_do_not_keep_the_rules_that_they_were_made_by(
    ruleset: RuleSet, example: Callable[[str], Advice]
) -> None:
    """Nothing that is kept of a rule set leads back to it: rules that were replaced are let go."""
    advice = example("refractory-previous-exposure")
    assert advice.chart is not None
    assert advice.evaluation is not None
    other = msgspec.structs.replace(ruleset)
    assert make_cards(other, advice.chart, advice.evaluation)
    replaced = weakref.ref(other)

    del other
    gc.collect()

    assert replaced() is None
