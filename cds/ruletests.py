"""Runs the tests of rules: the cases beside each rule, and cases made for every threshold.

A case gives facts, or an example Bundle and a day, and says what the rule should make of them
(``cds.rules.language.Case``). Of every threshold the boundary is tried as well: just below, at and
just above it, missing, and intervals that touch it, on both engines, against a meaning of the
operators that is worked out here. What conditions were seen true, false and unknown is counted.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal, TypeAlias
from xml.etree import ElementTree

import msgspec
from msgspec import Struct, field

from cds.advice import advise
from cds.cards.card import Card
from cds.cards.cards import make_card, rank_cards
from cds.chart.assessments import Visits, measure_changes
from cds.chart.chart import Chart, read_chart
from cds.chart.facts.declaration import Declaration, Event, Value
from cds.chart.measurements import Measurement
from cds.chart.quantities import INFINITY, UNKNOWN, Category, Interval
from cds.fhir.bundles import (
    RESOURCE_TYPES,
    Delivery,
    Unreadable,
    decode,
    read_resource,
    take_drafts,
)
from cds.fhir.resources import Observation
from cds.located import (
    Document,
    Place,
    Problem,
    Steps,
    did_you_mean,
    read_document,
    read_struct,
)
from cds.rules.compiler import Compiler
from cds.rules.conditions import (
    All,
    Any_,
    Comparison,
    Condition,
    Count,
    Is,
    IsCategory,
    IsUnknown,
    Not,
    Within,
)
from cds.rules.derivations import Derivation, Part, Sum, nodes_of, points
from cds.rules.engine import Engine, EngineFault
from cds.rules.language import CardParts, Case, CaseFile, Hook
from cds.rules.nodes import Node, Truth
from cds.rules.ruleset import EnginesDisagree, Evaluation, Rule, RuleSet
from cds.rules.shared import FILE as SHARED
from cds.rules.trace import Trace, trace_rule
from cds.rules.words import say_truth, say_value

ENDING = ".test.yaml"


class Result(Struct, frozen=True, kw_only=True):
    """What became of one case: ``differences`` from what was expected, none where it passed.

    ``trace`` shows, for a case that failed, each condition of the rule with what it saw.
    """

    rule: str
    place: Place
    name: str
    kind: Literal["case", "boundary"]
    differences: tuple[str, ...] = ()
    trace: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether everything was as expected."""
        return not self.differences


class Uncovered(Struct, frozen=True, kw_only=True):
    """A condition that was never seen to be some of true, false and unknown."""

    rule: str
    place: Place
    says: str
    missing: tuple[Truth, ...]

    def __str__(self) -> str:
        """``condition: never true, never unknown``."""
        never = ", ".join(f"never {_TRUTHS[truth]}" for truth in self.missing)
        return f"{self.says}: {never}"


class Report(Struct, frozen=True, kw_only=True):
    """All results. ``seen`` of ``to_see`` truths of conditions were met with, three for each."""

    problems: tuple[Problem, ...]
    results: tuple[Result, ...]
    uncovered: tuple[Uncovered, ...]
    seen: int
    to_see: int

    @property
    def passed(self) -> bool:
        """Whether the test files are in order and every case passed."""
        return not self.problems and all(result.passed for result in self.results)

    @property
    def coverage(self) -> Decimal:
        """Percent of the truths of conditions that were seen, never rounded up."""
        return Decimal(self.seen * 1000 // self.to_see) / 10 if self.to_see else Decimal(100)


_TRUTHS: Mapping[Truth, str] = {True: "true", False: "false", None: "unknown"}
_EXPECTED: Mapping[bool, Mapping[Truth, str]] = {
    True: {True: "fires", False: "silent", None: "unknown"},
    False: _TRUTHS,
}
"""The words for the outcome of a rule, by whether it makes a card."""


Tested: TypeAlias = Rule | Derivation
"""What has tests: rules that are true, false or unknown, and those that derive a value."""


class _Seen(Struct):
    """The truths that each condition was seen to have."""

    truths: dict[tuple[str, Condition], set[Truth]] = field(default_factory=dict)

    def see(self, rule: Tested, node: Node, truth: Truth) -> None:
        self.truths.setdefault(_owned(rule, node.condition), set()).add(truth)


def _owned(rule: Tested, condition: Condition) -> tuple[str, Condition]:
    """A condition with the rule that it is of; what cards share is of none of them."""
    return "" if condition.place.file == SHARED else rule.id, condition


def run_drafts(ruleset: RuleSet, folder: Path, examples: Path) -> Report:
    """Run the tests of the rules in draft and in testing, and of no others.

    ``ruleset`` was read with ``drafts``, so that these rules count. Nothing is asked of them but
    that the cases that they have pass: what is being written need not be covered yet.
    """
    report = run(ruleset, folder, examples)
    own = [result for result in report.results if result.rule in ruleset.unfinished]
    files = {_test_file(rule) for rule in ruleset.every if rule.id in ruleset.unfinished}
    problems = tuple(problem for problem in report.problems if problem.place.file in files)
    return Report(problems=problems, results=tuple(own), uncovered=(), seen=0, to_see=0)


def together(active: Report, drafts: Report) -> Report:
    """One report of two; the coverage is that of the active rules."""
    return msgspec.structs.replace(
        active,
        problems=(*active.problems, *drafts.problems),
        results=(*active.results, *drafts.results),
    )


def run(ruleset: RuleSet, folder: Path, examples: Path) -> Report:
    """Run every test of a folder of rules, from which ``ruleset`` was read.

    Tests of rules that do not count in it (drafts, those in testing) are left aside.

    ``examples`` is the folder that holds the Bundles which cases name. Of rules that a site has
    changed the written cases are the site's, which may be about shipped rules too: the shipped
    cases say what holds without its changes. Boundaries are tried of every threshold.
    """
    problems: list[Problem] = []
    results: list[Result] = []
    seen = _Seen()
    rules = {rule.id: rule for rule in ruleset.every}
    tested: set[str] = set()
    site = ruleset.site
    own = tuple(r for r in ruleset.every if site is None or site.holds(r.place.file))
    for path in sorted((site.folder if site else folder).rglob(f"*{ENDING}")):
        name = str(path) if site else path.relative_to(folder).as_posix()
        document = read_document(path, name)
        if _about(document) in ruleset.unfinished.keys() - rules.keys():
            continue
        rule = _rule_of(document, rules, own)
        if rule is not None:
            tested.add(rule.id)
            file = read_struct(document, (), CaseFile)
            for i, case in enumerate(file.cases if file else ()):
                result = _run_case(document, i, case, rule, ruleset, examples, seen)
                if result is not None:
                    results.append(result)
        problems += document.problems
    problems += [
        Problem(
            rule.place,
            "test-missing",
            f"`{rule.id}` has no test: write {_test_file(rule)} beside it",
        )
        for rule in own
        if rule.id not in tested
    ]
    for rule in ruleset.every:
        results += _boundaries(rule, seen)
    uncovered, met, of = _coverage(own, seen)
    return Report(
        problems=tuple(sorted(set(problems))),
        results=tuple(results),
        uncovered=uncovered,
        seen=met,
        to_see=of,
    )


def _test_file(rule: Tested) -> str:
    return rule.place.file.removesuffix(".yaml") + ENDING


def _about(document: Document) -> str | None:
    """The rule that a test file names, or None where it names none."""
    name = document.data.get("rule") if isinstance(document.data, dict) else None
    return name if isinstance(name, str) else None


def _rule_of(
    document: Document, rules: Mapping[str, Tested], own: tuple[Tested, ...]
) -> Tested | None:
    """The rule that a test file is about; what is wrong with its header is filed.

    The tests of the folder's ``own`` rules stand beside them; a site's tests of shipped rules may
    stand anywhere in its folder, under the name of the rule.
    """
    name = _about(document)
    if name is None:
        read_struct(document, (), CaseFile)  # files what is wrong
        return None
    rule = rules.get(name)
    if rule is None:
        document.report(
            "unknown-rule", ("rule",), f"`{name}` is no active rule{did_you_mean(name, rules)}"
        )
        return None
    belongs = _test_file(rule) if rule in own else f"{name}{ENDING}"
    if document.file != belongs and (rule in own or Path(document.file).name != belongs):
        document.report("test-misplaced", ("rule",), f"the tests of `{name}` belong in {belongs}")
    return rule


# --- written cases -------------------------------------------------------------------------------

_ANY_DAY = date(2020, 1, 1)
"""The day of a case that names none: facts have no dates but relative to it."""

_BETWEEN_VISITS = timedelta(days=180)


def _run_case(
    document: Document,
    index: int,
    case: Case,
    rule: Tested,
    ruleset: RuleSet,
    examples: Path,
    seen: _Seen,
) -> Result | None:
    """Run one case; ``None``, with problems filed, where it cannot be run."""
    steps: Steps = ("cases", index)
    before = len(document.problems)
    _check_case(document, steps, case, rule, ruleset)
    made = (
        _chart_of_facts(document, steps, case, ruleset)
        if case.example is None
        else _delivery_of_example(document, steps, case, examples)
    )
    if made is None or len(document.problems) > before:
        return None
    try:
        if isinstance(made, Delivery):
            chart, evaluation = _evaluate_example(made, case, rule, ruleset)
        else:
            chart, values = made
            evaluation = ruleset.evaluate_values(values)
        differences = _compare(case, rule, ruleset, chart, evaluation)
    except (EngineFault, EnginesDisagree) as fault:
        return _result(document, steps, case, rule, (str(fault),), ())
    _see(rule, evaluation, seen)
    shown: tuple[str, ...] = ()
    if differences and isinstance(rule, Rule):
        trace = trace_rule(rule, ruleset, chart, evaluation)
        shown = tuple(_show_trace(trace, frozenset(case.facts)))
    return _result(document, steps, case, rule, differences, shown)


def _result(
    document: Document,
    steps: Steps,
    case: Case,
    rule: Tested,
    differences: tuple[str, ...],
    trace: tuple[str, ...],
) -> Result:
    return Result(
        rule=rule.id,
        place=document.place(steps),
        name=case.name,
        kind="case",
        differences=differences,
        trace=trace,
    )


def _check_case(
    document: Document, steps: Steps, case: Case, rule: Tested, ruleset: RuleSet
) -> None:
    """File what a case asks for that its rule cannot give."""
    if isinstance(rule, Derivation):
        _put(document, (*steps, "expect"), ruleset.facts[rule.fact], case.expect, {})
    else:
        words = _EXPECTED[rule.card is not None].values()
        if case.expect not in words:
            given = {True: "true", False: "false"}.get(case.expect, str(case.expect))
            document.report(
                "wrong-expectation",
                (*steps, "expect"),
                f"this rule {'makes a card' if rule.card else 'derives whether something is so'}: "
                f'expect one of {", ".join(words)}, as text (`"true"`)'
                f"{did_you_mean(given, words)}",
            )
    makes_card = isinstance(rule, Rule) and rule.card is not None and case.expect == "fires"
    if case.card is not None and not makes_card:
        document.report(
            "wrong-expectation", (*steps, "card"), "only a rule that fires makes a card"
        )
    selections = [name for name, _ in rule.selections]
    for name, members in case.selects.items():
        if name not in selections:
            document.report(
                "unknown-selection",
                (*steps, "selects", name),
                f"`{name}` is not selected by this rule{did_you_mean(name, selections)}",
            )
            continue
        known = next(node.members for selection, node in rule.selections if selection == name)
        for i, member in enumerate(members):
            if member not in known:
                document.report(
                    "unknown-fact",
                    (*steps, "selects", name, i),
                    f"`{member}` is not a member of the group{did_you_mean(member, known)}",
                )
    if case.example is not None:
        for key in ("facts", "measures", "otherwise"):
            if key in document.at(steps):
                document.report(
                    "example-and-facts", (*steps, key), f"`{key}` does not go with `example`"
                )


def _evaluate_example(
    delivery: Delivery, case: Case, rule: Rule | Derivation, ruleset: RuleSet
) -> tuple[Chart, Evaluation]:
    assert case.as_of is not None
    patient = delivery.patients[0].id
    assert patient is not None
    hook = _hook_of(case, rule)
    drafts = None if hook == "patient-view" else take_drafts(delivery)
    advice = advise(
        delivery, patient, ruleset, case.as_of, everything=True, hook=hook, drafts=drafts
    )
    assert advice.chart is not None
    assert advice.evaluation is not None
    return advice.chart, advice.evaluation


def _hook_of(case: Case, rule: Rule | Derivation) -> Hook:
    return case.hook or rule.file.hooks[0]


def _delivery_of_example(
    document: Document, steps: Steps, case: Case, examples: Path
) -> Delivery | None:
    assert case.example is not None
    if case.as_of is None:
        document.report("missing-key", steps, "`as_of` is missing: the day to judge from")
    names = sorted(path.name for path in examples.glob("*.bundle.json"))
    if case.example not in names:
        document.report(
            "missing-example",
            (*steps, "example"),
            f"`{case.example}` is not among the examples{did_you_mean(case.example, names)}",
        )
        return None
    # As a whole chart: what the Bundle does not hold is not recorded.
    delivery = Delivery(delivered=set(RESOURCE_TYPES))
    try:
        read_resource(decode((examples / case.example).read_bytes()), delivery, "Bundle")
    except Unreadable as fault:
        document.report("missing-example", (*steps, "example"), f"cannot be read: {fault}")
        return None
    if len(delivery.patients) != 1 or delivery.patients[0].id is None:
        document.report(
            "missing-example", (*steps, "example"), "should hold one Patient, with an id"
        )
        return None
    return delivery


def _chart_of_facts(
    document: Document, steps: Steps, case: Case, ruleset: RuleSet
) -> tuple[Chart, dict[str, Value]] | None:
    """A chart with nothing but the measures of a case, and the values of all facts."""
    day = case.as_of or _ANY_DAY
    delivery = Delivery(delivered=set(RESOURCE_TYPES))
    chart = read_chart(delivery, {}, "example", ruleset.terms, day)
    if case.measures:
        series = _series(document, steps, case, chart)
        if series is None:
            return None
        visits = Visits(day - _BETWEEN_VISITS, day, "as the case has it")
        changes = measure_changes(series, ruleset.terms, visits, adult=None)
        chart = msgspec.structs.replace(chart, visits=visits, changes=changes)
    values = {
        declared.name: declared.read(chart)
        if case.otherwise == "not recorded" or (case.measures and _of_visits(declared.name))
        else _unknown(declared)
        for declared in ruleset.needed
    }
    for name in case.facts:
        where = (*steps, "facts", name)
        declared = ruleset.facts.get(name)
        if declared is None:
            document.report(
                "unknown-fact",
                where,
                f"`{name}` is not a fact that the vocabulary or a rule declares"
                f"{did_you_mean(name, ruleset.facts)}",
            )
        elif name not in values and name not in {*ruleset.deriving, *ruleset.derivations}:
            document.report("unused-fact", where, f"no rule asks for `{name}`: remove it")
        elif case.measures and _of_visits(name):
            document.report(
                "unused-fact", where, f"`measures` says what `{name}` is: give one of the two"
            )
        else:
            _put(document, where, declared, case.facts[name], values)
    return chart, values


def _of_visits(fact: str) -> bool:
    return fact.startswith(("measure.", "assessment."))


def _unknown(declared: Declaration) -> Value:
    return {
        "boolean": None,
        "number": UNKNOWN,
        "event": Event(None, None, complete=False),
        "category": Category(declared.categories, declared.categories),
    }[declared.kind]


_PERHAPS = re.compile(r"perhaps (\d+)")


def _put(
    document: Document, where: Steps, declared: Declaration, given: Any, values: dict[str, Value]
) -> None:
    """Set a fact to the value that a case gives; what is not of its kind is filed."""
    try:
        values[declared.name] = _value_of(declared, given)
    except ValueError as fault:
        document.report("wrong-value", where, f"`{declared.name}` takes {fault}")


def _value_of(declared: Declaration, given: Any) -> Value:
    """The value of a fact that a case gives; raises ValueError with what would be one."""
    number = Decimal(given) if isinstance(given, int | Decimal) else None
    if isinstance(given, bool):
        number = None
    if given == "unknown":
        return _unknown(declared)
    match declared.kind:
        case "boolean":
            if isinstance(given, bool):
                return given
            raise ValueError("true, false or unknown")
        case "number":
            if number is not None:
                return Interval(number, number)
            if interval := _interval(given):
                return interval
            unit = f" (in {declared.unit})" if declared.unit else ""
            raise ValueError(f"a number{unit}, [low, high] with low below high, or unknown")
        case "category":
            ranks = [given] if isinstance(given, str) else given
            if isinstance(ranks, list) and ranks and set(ranks) <= set(declared.categories):
                possible = tuple(rank for rank in declared.categories if rank in ranks)
                return Category(possible, declared.categories)
            names = ", ".join(declared.categories)
            raise ValueError(f"one of {names}, a list of these, or unknown")
        case "event":
            if given == "never":
                return Event(None, None, complete=True)
            if number is not None and number >= 0:
                return Event(number, number, complete=True)
            if isinstance(given, str) and (perhaps := _PERHAPS.fullmatch(given)):
                return Event(None, Decimal(perhaps[1]), complete=True)
            raise ValueError("the days since, never, unknown, or perhaps and the days since")


def _interval(given: Any) -> Interval | None:
    if not isinstance(given, list) or len(given) != 2:
        return None
    if any(isinstance(n, bool) or not isinstance(n, int | Decimal) for n in given):
        return None
    low, high = map(Decimal, given)
    return Interval(low, high) if low <= high else None


def _series(
    document: Document, steps: Steps, case: Case, chart: Chart
) -> dict[str, list[Measurement]] | None:
    """The measurements of a case: at a baseline, and at the day of the case."""
    vocabulary = chart.terms.vocabulary
    instruments = {i: i for measure in vocabulary.measures.values() for i in measure.instruments}
    instruments |= {name: m.instruments[0] for name, m in vocabulary.measures.items()}
    series: dict[str, list[Measurement]] = {}
    before = len(document.problems)
    for name, values in case.measures.items():
        where = (*steps, "measures", name)
        if name not in instruments:
            document.report(
                "unknown-fact",
                where,
                f"`{name}` is neither a measure nor an instrument of one"
                f"{did_you_mean(name, instruments)}",
            )
            continue
        bounds = vocabulary.observations[instruments[name]].range
        low = bounds.low if bounds and bounds.low is not None else -INFINITY
        high = bounds.high if bounds and bounds.high is not None else INFINITY
        if len(values) not in (1, 2) or not all(low <= value <= high for value in values):
            document.report(
                "wrong-value",
                where,
                f"`{name}` takes [baseline, current] or [baseline], from {low} to {high}",
            )
            continue
        days = (chart.as_of - _BETWEEN_VISITS, chart.as_of)
        series[instruments[name]] = [
            Measurement(
                instruments[name], value, value, day, "", "the case", Observation(), Decimal(1)
            )
            for value, day in zip(values, days, strict=False)
        ]
    return series if len(document.problems) == before else None


# --- expected and seen ---------------------------------------------------------------------------


def _compare(
    case: Case, rule: Tested, ruleset: RuleSet, chart: Chart, evaluation: Evaluation
) -> tuple[str, ...]:
    """What differs from what a case expects."""
    differences: list[str] = []
    outcome: Truth = None
    if isinstance(rule, Derivation):
        declared, seen = ruleset.facts[rule.fact], evaluation.values[rule.fact]
        expected = _value_of(declared, case.expect)
        if seen != expected:
            said = (say_value(value, declared.unit) for value in (expected, seen))
            differences.append("expected {}, seen {}".format(*said))
    else:
        outcome = evaluation.outcomes[rule.id]
        found = _EXPECTED[rule.card is not None][outcome]
        if found != case.expect:
            differences.append(f"expected {case.expect}, seen {found}")
    for name, members in case.selects.items():
        met = evaluation.selections[name].members
        if set(met) != set(members):
            differences.append(
                f"{name}: expected {', '.join(members) or 'none'}, seen {', '.join(met) or 'none'}"
            )
    if case.card is None or isinstance(rule, Derivation):
        return tuple(differences)
    if rule.card is not None and outcome is True:
        card = make_card(rule, rule.card, ruleset, chart, evaluation)
        shown = rule.id in (r.id for r, _ in rank_cards(ruleset, evaluation, _hook_of(case, rule)))
        differences += _compare_card(case.card, card, shown=shown)
    return tuple(differences)


def _compare_card(parts: CardParts, card: Card, *, shown: bool) -> Iterator[str]:
    if parts.indicator is not None and parts.indicator != card.indicator:
        yield f"card: expected indicator {parts.indicator}, seen {card.indicator}"
    if parts.summary is not None and parts.summary not in card.summary:
        yield f"card: expected in summary “{parts.summary}”, seen “{card.summary}”"
    for text in parts.detail:
        if text not in card.detail:
            yield f"card: expected in detail “{text}”, seen\n{card.detail}"
    for text in parts.without:
        if text in card.detail:
            yield f"card: not expected in detail “{text}”, seen\n{card.detail}"
    if parts.suggestions is not None:
        labels = tuple(s.label for s in card.suggestions)
        if labels != parts.suggestions:
            yield (f"card: expected suggestions {list(parts.suggestions)}, seen {list(labels)}")
    if parts.shown is not None and parts.shown is not shown:
        yield (
            f"card: expected {'to be shown' if parts.shown else 'to give way to another'}, "
            f"seen {'shown' if shown else 'to give way to another'}"
        )


def _show_trace(trace: Trace, given: frozenset[str], depth: int = 0) -> Iterator[str]:
    """Each condition with what it saw; of a derived fact that a case gives, not why."""
    seen = trace.seen
    said = say_truth(trace.truth)
    note = "" if trace.node.kind in ("all", "any") or seen == said else f", seen {seen}"
    yield f"{'  ' * depth}{trace.node.says}: {said}{note}"
    if trace.node.fact is None or trace.node.fact not in given:
        for part in trace.parts:
            yield from _show_trace(part, given, depth + 1)


# --- coverage ------------------------------------------------------------------------------------


def _walk(node: Node) -> Iterator[Node]:
    yield node
    for part in node.parts:
        yield from _walk(part)


def _of_card(rule: Rule) -> Iterator[Node]:
    """The conditions on the parts of a rule's card."""
    for when in rule.card.conditions if rule.card else ():
        yield from _walk(when)


def _nodes(rule: Tested) -> Iterator[Node]:
    """The conditions of a rule, without those of its card."""
    for node in nodes_of(rule.makes) if isinstance(rule, Derivation) else (rule.node,):
        yield from _walk(node)


def _every_node(rule: Tested) -> Iterator[Node]:
    """The conditions of a rule and of its card."""
    yield from _nodes(rule)
    if isinstance(rule, Rule):
        yield from _of_card(rule)


def _see(rule: Tested, evaluation: Evaluation, seen: _Seen) -> None:
    """Note the truths of conditions; those on the card count only where there is one."""
    nodes = list(_nodes(rule))
    if isinstance(rule, Rule) and evaluation.outcomes[rule.id] is True:
        nodes += _of_card(rule)
    for node in nodes:
        if node.fact is not None:
            seen.see(rule, node, node.test(evaluation.values))


def _alike_where_known(rule: Tested) -> set[Condition]:
    """The conditions of a card that are only asked whether they are known.

    True and false say the same there, and a rule that gives its card only where something is not
    known, or known to be false, never meets the third.
    """
    if not isinstance(rule, Rule):
        return set()
    asked = [part for n in _of_card(rule) if n.kind == "unknown" for part in n.parts]
    return {part.condition for part in asked if part.fact is not None}


def _coverage(rules: Iterable[Tested], seen: _Seen) -> tuple[tuple[Uncovered, ...], int, int]:
    uncovered: list[Uncovered] = []
    met = of = 0
    counted: set[tuple[str, Condition]] = set()
    for rule in rules:
        alike = _alike_where_known(rule)
        # A condition that stands twice at one place (a group's, or one that cards share) is one.
        leaves = {_owned(rule, n.condition): n for n in _every_node(rule) if n.fact is not None}
        for owned, node in leaves.items():
            if owned in counted:
                continue
            counted.add(owned)
            condition = node.condition
            truths = seen.truths.get(owned, set())
            if condition in alike and truths & {True, False}:
                truths = truths | {True, False}
            of += 3
            met += len(truths)
            missing = tuple(t for t in (True, False, None) if t not in truths)
            if missing:
                place = condition.place
                uncovered.append(
                    Uncovered(rule=rule.id, place=place, says=node.says, missing=missing)
                )
    return tuple(uncovered), met, of


# --- boundaries ----------------------------------------------------------------------------------

_MEANING: Mapping[str, Callable[[Any, Any], bool]] = {
    ">=": operator.ge,
    ">": operator.gt,
    "<": operator.lt,
    "<=": operator.le,
    "==": operator.eq,
    "!=": operator.ne,
    "at_least": operator.ge,
    "at_most": operator.le,
    "exactly": operator.eq,
}

_JUST = Decimal("1E-18")
"""How far *just* below and above a threshold is: nearer than two doubles stand."""

_Probe = tuple[str, dict[str, Value], Truth]
"""A value in words, the values of the facts, and the truth that is expected."""


def _boundaries(rule: Tested, seen: _Seen) -> Iterator[Result]:
    """Try the boundary of every threshold of a rule and of its card, and of every band."""
    tried: set[Condition] = set()
    if isinstance(rule, Derivation) and isinstance(rule.makes, Sum):
        for part in rule.makes.parts:
            yield Result(
                rule=rule.id,
                place=part.place,
                name=f"boundary: the bands of {part.fact}",
                kind="boundary",
                differences=tuple(_around_bands(part)),
            )
    for node in _every_node(rule):
        if node.condition in tried:
            continue
        tried.add(node.condition)
        match node.condition:
            case Comparison() as comparison:
                probes = list(_around(comparison))
            case Within() as within:
                probes = list(_around_days(within))
            case Count() as count:
                probes = list(_around_count(count))
            case _:
                continue
        yield Result(
            rule=rule.id,
            place=node.condition.place,
            name=f"boundary: {node.says}",
            kind="boundary",
            differences=tuple(_try(node, probes)),
        )
        if node.fact is not None:
            for _, values, _ in probes:
                seen.see(rule, node, node.test(values))


def _try(node: Node, probes: list[_Probe]) -> Iterator[str]:
    """What differs, on either engine, from what is expected of a condition by itself."""
    compiler = Compiler()
    engine = Engine(
        {truth: compiler.formula(node, truth=truth == "true") for truth in ("true", "false")}
    )
    try:
        for said, values, expected in probes:
            truth = node.test(values)
            fired = engine.fired(compiler.attributes(values))
            if truth is not expected:
                yield f"{said}: expected {_TRUTHS[expected]}, seen {_TRUTHS[truth]}"
            if fired != ({_TRUTHS[expected]} if expected is not None else set()):
                answer = " and ".join(sorted(fired)) or "unknown"
                yield f"{said}: expected {_TRUTHS[expected]}, the engine answers {answer}"
    except EngineFault as fault:
        yield str(fault)
    finally:
        engine.close()


def _expected(op: str, c: Decimal, low: Decimal, high: Decimal) -> Truth:
    """What an operator says of every number between two: one truth, or unknown.

    Its truth changes at the constant only, so a few numbers stand for all.
    """
    truths = {_MEANING[op](n, c) for n in (low, c - 1, c, c + 1, high) if low <= n <= high}
    return truths.pop() if len(truths) == 1 else None


def _around(condition: Comparison) -> Iterator[_Probe]:
    c = condition.constant.value
    edges = (
        ("far below", c - 1, c - 1),
        ("just below", c - _JUST, c - _JUST),
        ("at", c, c),
        ("just above", c + _JUST, c + _JUST),
        ("far above", c + 1, c + 1),
        ("from just below to it", c - _JUST, c),
        ("from it to just above", c, c + _JUST),
        ("from below to above", c - 1, c + 1),
        ("at most just below", -INFINITY, c - _JUST),
        ("at least just above", c + _JUST, INFINITY),
        ("at least it", c, INFINITY),
        ("at most it", -INFINITY, c),
        ("without bound below", -INFINITY, -INFINITY),
        ("without bound above", INFINITY, INFINITY),
        ("missing", -INFINITY, INFINITY),
    )
    for said, low, high in edges:
        truth = _expected(condition.op, c, low, high)
        yield said, {condition.fact: Interval(low, high)}, truth


def _around_bands(part: Part) -> Iterator[str]:
    """What differs from the points of the last band below a number, which are tried one by one.

    An interval has the points of every number in it: they change at the thresholds only.
    """
    marks = [n for band in part.bands for n in (band.above, band.above + _JUST)]
    numbers = sorted({marks[0] - 1, *marks, marks[-1] + 1})

    def given(number: Decimal) -> Decimal:
        return next((b.points for b in reversed(part.bands) if number > b.above), Decimal(0))

    for i, low in enumerate(numbers):
        for high in numbers[i:]:
            within = [given(n) for n in numbers if low <= n <= high]
            wanted, seen = (
                Interval(min(within), max(within)),
                points(part.bands, Interval(low, high)),
            )
            if seen != wanted:
                yield f"{low} to {high}: expected {wanted}, seen {seen}"
    every = [Decimal(0), *(band.points for band in part.bands)]
    if points(part.bands, UNKNOWN) != Interval(min(every), max(every)):
        yield "missing: expected every number of points to be possible"


def _around_days(condition: Within) -> Iterator[_Probe]:
    days = condition.days.value
    events: tuple[tuple[str, Event, Truth], ...] = (
        ("a day fewer", Event(days - 1, days - 1, complete=True), True),
        ("as many days", Event(days, days, complete=True), True),
        ("a day more", Event(days + 1, days + 1, complete=True), False),
        ("never", Event(None, None, complete=True), False),
        ("missing", Event(None, None, complete=False), None),
        ("a day more, more may be missing", Event(days + 1, days + 1, complete=False), None),
        ("as many days, more may be missing", Event(days, days, complete=False), True),
        ("perhaps as many days", Event(None, days, complete=True), None),
        ("perhaps a day more", Event(None, days + 1, complete=True), False),
        ("a day more, or as many", Event(days + 1, days, complete=True), None),
    )
    for said, event, truth in events:
        yield said, {condition.fact: event}, truth


def _around_count(count: Count) -> Iterator[_Probe]:
    """One too few, just enough and one too many members, the others failing or missing."""
    parts = [part for _, part in count.members]
    for sure in (count.n - 1, count.n, count.n + 1):
        if not 0 <= sure <= len(parts):
            continue
        for possible in (0, 1, len(parts) - sure):
            if sure + possible > len(parts):
                continue
            truths: list[Truth] = [True] * sure + [None] * possible
            truths += [False] * (len(parts) - sure - possible)
            values: dict[str, Value] = {}
            for part, truth in zip(parts, truths, strict=True):
                values |= _values_for(part, truth)
            least, most = Decimal(sure), Decimal(sure + possible)
            expected = _expected(count.how, Decimal(count.n), least, most)
            yield f"{sure} of {len(parts)}, {possible} missing", values, expected


def _values_for(condition: Condition, truth: Truth) -> dict[str, Value]:
    """Values of facts that give a condition a truth, where its parts have none in common."""
    match condition:
        case Is(fact=fact):
            return {fact: truth}
        case Comparison(fact=fact, op=op, constant=constant):
            if truth is None:
                return {fact: UNKNOWN}
            c = constant.value
            meets = next(n for n in (c, c - 1, c + 1) if _MEANING[op](n, c) is truth)
            return {fact: Interval(meets, meets)}
        case Within(fact=fact, days=days):
            return {fact: Event(days.value if truth else None, None, complete=truth is not None)}
        case IsCategory(fact=fact, category=category):
            # Of two ranks either is possible; the other one stands for all others.
            ranks = (category, f"not {category}")
            possible = {True: ranks[:1], False: ranks[1:], None: ranks}[truth]
            return {fact: Category(possible, ranks)}
        case Not(part=part):
            return _values_for(part, None if truth is None else not truth)
        case IsUnknown(part=part):
            return _values_for(part, None if truth else True)
        case All(parts=parts) | Any_(parts=parts):
            return {k: v for part in parts for k, v in _values_for(part, truth).items()}
        case Count(members=members):
            return {k: v for _, part in members for k, v in _values_for(part, truth).items()}


# --- reports -------------------------------------------------------------------------------------


def describe(report: Report, place: Callable[[Place], str] = str) -> Iterator[str]:
    """A report for a terminal, line by line; of what passed only the numbers.

    ``place`` says a place as the reader can open it.
    """
    for problem in report.problems:
        yield f"{place(problem.place)} {problem.code} {problem.message}"
    for result in report.results:
        if not result.passed:
            yield f"{place(result.place)} FAILED {result.rule}: {result.name}"
            for difference in result.differences:
                yield from (f"    {line}" for line in difference.splitlines())
            yield from (f"    | {line}" for line in result.trace)
    for each in report.uncovered:
        yield f"{place(each.place)} not covered: {each}"
    cases = sum(result.kind == "case" for result in report.results)
    failed = sum(not result.passed for result in report.results)
    yield (
        f"{cases} cases and {len(report.results) - cases} boundaries of "
        f"{len({result.rule for result in report.results})} rules: {failed} failed"
    )
    yield f"conditions seen true, false and unknown: {report.coverage} %"


_NOT_XML = re.compile("[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def to_junit(report: Report) -> bytes:
    """A report as JUnit XML: a suite for each rule, and one for the problems of test files."""
    root = ElementTree.Element("testsuites", name="cds rules test")
    suites: dict[str, ElementTree.Element] = {}

    def add(suite: str, name: str, place: Place, wrong: str, kind: str, text: str) -> None:
        if suite not in suites:
            suites[suite] = ElementTree.SubElement(root, "testsuite", name=suite)
        case = ElementTree.SubElement(
            suites[suite],
            "testcase",
            name=_NOT_XML.sub("\ufffd", name),
            classname=suite,
            file=place.file,
            line=str(place.line),
        )
        if wrong:
            fault = ElementTree.SubElement(case, kind, message=_NOT_XML.sub("\ufffd", wrong))
            fault.text = _NOT_XML.sub("\ufffd", text)

    for problem in report.problems:
        add("test files", str(problem.place), problem.place, problem.message, "error", str(problem))
    for result in report.results:
        first = result.differences[0].splitlines()[0] if result.differences else ""
        text = "\n".join((str(result.place), *result.differences, *result.trace))
        add(result.rule, result.name, result.place, first, "failure", text)
    for suite in (*suites.values(), root):
        for attribute, tag in (
            ("tests", "testcase"),
            ("failures", "failure"),
            ("errors", "error"),
        ):
            suite.set(attribute, str(sum(1 for _ in suite.iter(tag))))
    return bytes(ElementTree.tostring(root, encoding="utf-8", xml_declaration=True))
