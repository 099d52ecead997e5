"""The shipped rules: two engines, and for the definition of improvement every completion."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from decimal import Decimal

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cds.chart.chart import Chart
from cds.chart.facts.declaration import Event, Value
from cds.chart.quantities import INFINITY, UNKNOWN, Interval
from cds.rules.conditions import Comparison, Within, walk
from cds.rules.derivations import nodes_of
from cds.rules.nodes import Truth
from cds.rules.ruleset import RuleSet
from cds.rules.trace import trace_rule, undecided

MEASURES = (
    "physician_global",
    "patient_global",
    "muscle_strength",
    "physical_function",
    "muscle_enzyme",
    "extramuscular",
)
LEAST = Decimal("1e-24")
"""Less than any instrument tells apart, and less than a double can hold beside 20."""


# --- both engines --------------------------------------------------------------------------------


def thresholds(ruleset: RuleSet) -> dict[str, set[Decimal]]:
    """Every constant that the rules compare a fact with."""
    found: dict[str, set[Decimal]] = {}
    nodes = [rule.node for rule in ruleset.rules]
    nodes += [node for d in ruleset.derivations.values() for node in nodes_of(d.makes)]
    for node in nodes:
        for condition in walk(node.condition):
            if isinstance(condition, Comparison):
                found.setdefault(condition.fact, set()).add(condition.constant.value)
            elif isinstance(condition, Within):
                found.setdefault(condition.fact, set()).add(condition.days.value)
    return found


def draw_value(draw: st.DrawFn, kind: str, constants: set[Decimal]) -> Value:
    """A value of one fact: known, unknown or in between, often on or right beside a threshold."""
    near = [c + d for c in sorted(constants) for d in (0, LEAST, -LEAST, 1, -1)] or [Decimal(0)]
    if kind == "boolean":
        return draw(st.sampled_from([True, False, None]))
    if kind == "event":
        on = st.none() | st.sampled_from([max(n, Decimal(0)) for n in near])
        surely, possibly = draw(on), draw(on)
        if surely is not None:
            possibly = surely if possibly is None else min(surely, possibly)
        return Event(surely, possibly, draw(st.booleans()))
    number = st.sampled_from(near) | st.decimals(-(10**9), 10**9, places=30)
    low, high = sorted((draw(number), draw(number)))
    ends = [(low, low), (low, high), (-INFINITY, high), (low, INFINITY), (-INFINITY, INFINITY)]
    return Interval(*draw(st.sampled_from([*ends, (INFINITY, INFINITY), (-INFINITY, -INFINITY)])))


@given(data=st.data())
@settings(max_examples=250, deadline=None)
def test_both_engines_agree_on_every_rule(shipped: RuleSet, data: st.DataObject) -> None:
    """Whatever is known of a patient, both engines give one answer for each shipped rule."""
    constants = thresholds(shipped)
    values = data.draw(
        st.composite(
            lambda draw: {
                d.name: draw_value(draw, d.kind, constants.get(d.name, set()))
                for d in shipped.needed
            }
        )()
    )
    evaluation = shipped.evaluate_values(values)  # raises where they disagree
    assert set(evaluation.outcomes) == {rule.id for rule in shipped.rules}


# --- the definition of improvement, by hand ------------------------------------------------------


def improved(changes: Mapping[str, Decimal], *, strictly: bool) -> bool:
    """The definition (Rider 2004) over six known changes, in percent, better is positive."""

    def better(change: Decimal) -> bool:
        return change > 20 if strictly else change >= 20

    def worse(change: Decimal) -> bool:
        return change < -25 if strictly else change <= -25

    return (
        sum(map(better, changes.values())) >= 3
        and sum(map(worse, changes.values())) <= 2
        and not worse(changes["muscle_strength"])
    )


def possible_changes(change: Interval) -> list[Decimal]:
    """Of the changes that an interval allows: on, right beside and between the thresholds."""
    ends = [e for e in (change.low, change.high) if e.is_finite()]
    inside = [c + d for c in (Decimal(20), Decimal(-25)) for d in (0, LEAST, -LEAST)]
    candidates = [*ends, *inside, Decimal(0), Decimal(1000), Decimal(-1000)]
    return [c for c in candidates if change.low <= c <= change.high]


def every_completion(
    known: Mapping[str, Interval], *, strictly: bool
) -> dict[tuple[Decimal, ...], bool]:
    """What the definition says for every way in which the missing measures may turn out."""
    choices = []
    for name in MEASURES:
        # One change is enough of those between which the definition makes no difference.
        kinds = {
            (c > 20 or (c == 20 and not strictly), c < -25 or (c == -25 and not strictly)): c
            for c in possible_changes(known[name])
        }
        choices.append(list(kinds.values()))
    return {
        changes: improved(dict(zip(MEASURES, changes, strict=True)), strictly=strictly)
        for changes in itertools.product(*choices)
    }


def deciding(completions: Mapping[tuple[Decimal, ...], bool]) -> set[str]:
    """The measures for which two completions that differ in them alone have different answers."""
    found = set()
    for index, name in enumerate(MEASURES):
        answers: dict[tuple[Decimal, ...], set[bool]] = {}
        for changes, answer in completions.items():
            others = changes[:index] + changes[index + 1 :]
            answers.setdefault(others, set()).add(answer)
        if any(len(a) > 1 for a in answers.values()):
            found.add(name)
    return found


def known_changes() -> st.SearchStrategy[Interval]:
    """A measure of which both values are known: often on or right beside a threshold."""
    near = [Decimal(c) + d for c in (20, -25) for d in (Decimal(0), LEAST, -LEAST)]
    number = st.sampled_from([*near, Decimal(0), Decimal(50), Decimal(-50)])
    number |= st.decimals(-100, 100, places=28)
    return number.map(lambda n: Interval(n, n))


def limited_changes(name: str) -> st.SearchStrategy[Interval]:
    """A measure of which only the baseline is known: the instrument's range limits its change."""

    def of_baseline(baseline: Decimal) -> Interval:
        if name == "muscle_enzyme":
            return Interval(-INFINITY, Decimal(100 if baseline else 0))
        if name == "muscle_strength":
            if baseline == 0:
                return Interval(Decimal(0), INFINITY)
            return Interval(Decimal(-100), (150 - 15 * baseline) * 100 / (15 * baseline))
        if baseline == 0:
            return Interval(-INFINITY, Decimal(0))
        return Interval((baseline - 10) * 100 / baseline, Decimal(100))

    ends = st.sampled_from([Decimal(n) for n in ("0", "8", "8.5", "9", "10")])
    return (ends | st.decimals(0, 10, places=1)).map(of_baseline)


def changes_of(name: str) -> st.SearchStrategy[Interval]:
    """What may be known of one measure."""
    return st.one_of(known_changes(), limited_changes(name), st.just(UNKNOWN))


def measured(changes: Mapping[str, Interval]) -> Iterator[tuple[str, Value]]:
    """The facts of the measures."""
    for name, change in changes.items():
        yield f"measure.{name}.improvement", change
        yield f"measure.{name}.worsening", Interval(-change.high, -change.low)


def facts_with(ruleset: RuleSet, changes: Mapping[str, Interval]) -> dict[str, Value]:
    """All facts of a patient of whom nothing but changes of measures is known."""
    unknown: dict[str, Value] = {
        "boolean": None,
        "number": UNKNOWN,
        "event": Event(None, None, False),
    }
    return {d.name: unknown[d.kind] for d in ruleset.needed} | dict(measured(changes))


def six(text: str) -> dict[str, Interval]:
    """Six measures in their order: ``+`` improved, ``-`` worsened, ``=`` neither, ``?`` unknown.

    ``0`` is a baseline of 0 whose current value is missing: it can only be worse, or the same.
    """
    means = {
        "+": Interval(Decimal(20), Decimal(20)),
        "-": Interval(Decimal(-25), Decimal(-25)),
        "=": Interval(Decimal(0), Decimal(0)),
        "?": UNKNOWN,
        "0": Interval(-INFINITY, Decimal(0)),
    }
    return {name: means[sign] for name, sign in zip(MEASURES, text, strict=True)}


RULES = (("imacs-improvement", False), ("imacs-improvement-strict", True))


@pytest.mark.parametrize(("rule", "strictly"), RULES)
@given(known=st.fixed_dictionaries({name: changes_of(name) for name in MEASURES}))
@example(known=six("+++?=?"))
@example(known=six("++?+=?"))
@example(known=six("++?+??"))
@example(known=six("+=??00"))
@settings(max_examples=200, deadline=None)
def test_improvement_is_what_every_completion_says(
    shipped: RuleSet, shipped_chart: Chart, rule: str, strictly: bool, known: dict[str, Interval]
) -> None:
    """Met, not met or undetermined, and by which measures, is what trying every value gives."""
    evaluation = shipped.evaluate_values(facts_with(shipped, known))
    completions = every_completion(known, strictly=strictly)
    answers = set(completions.values())
    expected: Truth = answers.pop() if len(answers) == 1 else None
    assert evaluation.outcomes[rule] is expected
    of = next(r for r in shipped.rules if r.id == rule)
    leaves = undecided(trace_rule(of, shipped, shipped_chart, evaluation))
    named = {(leaf.node.fact or "").split(".")[1] for leaf in leaves}
    assert named == deciding(completions)


@pytest.mark.parametrize(
    ("known", "answer", "asks_for"),
    [
        ("+++===", True, set()),
        ("++====", False, set()),
        ("+++--=", True, set()),
        ("++=+--", True, set()),  # two worse are allowed
        ("+++---", False, set()),
        ("++-+==", False, set()),  # strength worsened
        ("++=+??", True, set()),
        ("++?+=?", None, {"muscle_strength"}),
        ("++?+==", None, {"muscle_strength"}),
        ("++?+??", None, {"muscle_strength"}),  # with strength not worse, the two others may be
        ("++=???", None, {"physical_function", "muscle_enzyme", "extramuscular"}),
        ("==-???", False, set()),
        ("===???", None, {"physical_function", "muscle_enzyme", "extramuscular"}),
        ("====??", False, set()),
        ("??????", None, set(MEASURES)),
    ],
)
def test_named_cases(
    shipped: RuleSet, shipped_chart: Chart, known: str, answer: Truth, asks_for: set[str]
) -> None:
    """The cases that a reader of the definition would try first."""
    evaluation = shipped.evaluate_values(facts_with(shipped, six(known)))
    assert evaluation.outcomes["imacs-improvement"] is answer
    trace = trace_rule(
        shipped.deriving["response.imacs.improved"], shipped, shipped_chart, evaluation
    )
    assert {(leaf.node.fact or "").split(".")[1] for leaf in undecided(trace)} == asks_for
