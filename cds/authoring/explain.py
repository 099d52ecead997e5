"""Explains what a rule made of one patient, and what would have to be different for it to fire.

The shortest list of differences is searched for exactly, over the tree of conditions with derived
facts opened up. A condition is satisfied by what its facts *would have to be*; two conditions on
one fact must agree, and the changes of one measure are one thing to be different. Facts of
different names count as independent of each other, which a chart's need not be (a drug taken now
was ever taken): such a list may then name more than is needed, never less.
"""

from __future__ import annotations

import itertools
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date
from decimal import Decimal
from typing import TypeAlias

from msgspec import Struct, field

from cds.advice import Advice
from cds.authoring.possible import bounds_of, categories, events, numbers
from cds.cards.criteria import SIGNS
from cds.cards.texts import Telling, say_evidence, title_of
from cds.chart.facts.declaration import Declaration, Event, Evidence, Value
from cds.chart.quantities import INFINITY, UNKNOWN, Category, Interval
from cds.located import did_you_mean
from cds.rules.conditions import Comparison, Constant, Count, Is, IsCategory, Operator, Within
from cds.rules.deciding import quantity_of, subject_of
from cds.rules.derivations import Derivation
from cds.rules.nodes import Kind, Node, Truth
from cds.rules.ruleset import Rule, RuleSet
from cds.rules.trace import Trace, trace_rule, undecided
from cds.rules.words import OPERATORS, say_constant, say_number, say_truth

# --- what is said --------------------------------------------------------------------------------


class Threshold(Struct, frozen=True):
    """The number that a condition compares with, and the parameter that it came from, if any."""

    value: Decimal
    unit: str
    parameter: str | None
    source: str | None
    certainty: str | None
    note: str | None


class Line(Struct, frozen=True, kw_only=True):
    """One condition: what it says, whether it is met, what was seen, where that is from.

    ``truth`` is true, false or None for unknown. ``derived_by`` names the rule whose conditions the
    ``parts`` of a derived fact are. ``member`` is the title of the member of a group that a part of
    a count is about.
    """

    kind: Kind
    says: str
    fact: str | None
    truth: Truth
    seen: str
    threshold: Threshold | None
    evidence: tuple[Evidence, ...]
    derived_by: str | None
    member: str | None
    parts: tuple[Line, ...]


class Wanted(Struct, frozen=True):
    """What a fact would have to be, and what it is now."""

    fact: str
    says: str
    now: str


class Missing(Struct, frozen=True):
    """A condition that is not known and decides, and what the rule would be either way.

    ``if_met`` and ``if_not_met`` are ``true``, ``false`` or ``unknown``, or several of them where
    that depends on more than whether the condition is met.
    """

    fact: str
    says: str
    if_met: tuple[str, ...]
    if_not_met: tuple[str, ...]


class Explanation(Struct, frozen=True, kw_only=True):
    """What a rule made of one patient on one day, and why.

    ``applies``: whether the rules are about this patient. ``card_given``: None for a rule without
    card; of a card that fired and is not given, ``instead`` names the rule of the same problem that
    is. ``changes`` is the shortest list of what would have to be different for the rule to fire,
    one entry for each thing: empty where it fired, None where nothing could make it fire. Where
    the search was given up ``shortest`` is false, and a shorter list may exist. ``missing`` has
    what decides a rule that is unknown.
    """

    rule: str
    version: str
    title: str
    patient: str
    as_of: date
    rules_version: str
    applies: Truth
    truth: Truth
    card_given: bool | None
    instead: str | None
    conditions: Line
    changes: tuple[tuple[Wanted, ...], ...] | None
    shortest: bool
    missing: tuple[Missing, ...]


class UnknownRule(LookupError):
    """No active rule has this name; the text says so, with the nearest one."""


def find_rule(name: str, ruleset: RuleSet) -> Rule | Derivation:
    """The active rule of this id, or the one that derives the fact of this name.

    Raises ``UnknownRule``.
    """
    for rule in ruleset.every:
        if name in (rule.id, rule.file.derive):
            return rule
    known = [n for rule in ruleset.every for n in (rule.id, rule.file.derive) if n]
    raise UnknownRule(f"`{name}` is not an active rule{did_you_mean(name, known)}")


def explain(rule: Rule, ruleset: RuleSet, advice: Advice) -> Explanation:
    """Explain one rule; the advice must have been made with ``everything``."""
    if advice.chart is None or advice.evaluation is None:
        raise ValueError("an explanation needs advice made with `everything`")
    trace = trace_rule(rule, ruleset, advice.chart, advice.evaluation)
    rivals = [
        each
        for each in ruleset.card_rules
        if each.id in advice.given
        and each.card
        and rule.card
        and each.card.problem == rule.card.problem
    ]
    search = _Search(trace)
    solution = search.solution
    return Explanation(
        rule=rule.id,
        version=rule.file.version,
        title=rule.file.title,
        patient=advice.patient,
        as_of=advice.as_of,
        rules_version=ruleset.version,
        applies=advice.applies,
        truth=trace.truth,
        card_given=None if rule.card is None else rule.id in advice.given,
        instead=rivals[0].id if trace.truth and rivals and rivals[0] is not rule else None,
        conditions=line_of(trace),
        changes=None if solution is None else tuple(search.words(solution)),
        shortest=search.exhausted,
        missing=tuple(_missing(trace, rule, search)) if trace.truth is None else (),
    )


def line_of(trace: Trace, member: str | None = None) -> Line:
    """A condition as it was found, with the conditions inside it."""
    node, of = trace.node, trace.of
    deriving = of.ruleset.deriving.get(node.fact) if node.fact is not None else None
    telling = Telling(of.ruleset, of.chart, of.evaluation, {})
    titles = [title_of(name, telling) for name in node.members]
    members: list[str | None] = [*titles] or [None] * len(trace.parts)
    return Line(
        kind=node.kind,
        says=node.says,
        fact=node.fact,
        truth=trace.truth,
        seen=trace.seen,
        threshold=_threshold(node.constant),
        evidence=trace.evidence,
        derived_by=deriving.id if deriving is not None else None,
        member=member,
        parts=tuple(map(line_of, trace.parts, members)),
    )


def _threshold(constant: Constant | None) -> Threshold | None:
    if constant is None:
        return None
    number = constant.number
    if number is None:
        return Threshold(constant.value, constant.unit, constant.parameter, None, None, None)
    return Threshold(
        constant.value,
        constant.unit,
        constant.parameter,
        number.source,
        number.certainty,
        number.note,
    )


# --- what would have to be different -------------------------------------------------------------

Truths: TypeAlias = frozenset[Truth]
Price: TypeAlias = tuple[int, int]
"""How many things would be different, and how many of them are known today."""

YES: Truths = frozenset({True})
NO: Truths = frozenset({False})
OPEN: Truths = frozenset({None})
ALL_TRUTHS: Truths = YES | NO | OPEN
NONE: Truths = frozenset()
NOTHING: Price = (0, 0)
LEARNED: Price = (1, 0)
CHANGED: Price = (1, 1)
IMPOSSIBLE: Price = (1_000_000, 0)

MOST_STEPS = 50_000
"""Steps after which the search for a shorter list is given up; a step is about 20 microseconds."""


class _Cell(Struct, frozen=True):
    """One way in which a thing can be: values of its facts, and what its conditions then are.

    ``price`` is nothing for how it is now.
    """

    values: dict[str, Value]
    truths: tuple[Truth, ...]
    price: Price


class _Thing(Struct):
    """Facts that turn out together, the conditions on them, and the ways in which they can be.

    The first of the ``cells`` is how it is now.
    """

    leaves: dict[object, Trace] = field(default_factory=dict)
    cells: list[_Cell] = field(default_factory=list)

    def price(self, cells: Iterable[int]) -> Price:
        """What it costs for this to be in one of some cells."""
        return min(self.cells[i].price for i in cells)


class _Goal(Struct, frozen=True):
    """At least ``n`` of these conditions must have one of the ``wanted`` truths."""

    n: int
    parts: tuple[Trace, ...]
    wanted: Truths


class _Asked(Struct, frozen=True):
    """A condition on a fact, and the truths that it may have."""

    leaf: Trace
    wanted: Truths


Allowed: TypeAlias = Mapping[str, frozenset[int]]
"""The cells that each thing may still be in; of others it may be in any."""


class _Solution(Struct, frozen=True):
    price: Price
    allowed: Allowed
    asked: tuple[_Asked, ...]


class _Search:
    """Looks for the cheapest way in which a condition becomes true: branch and bound.

    Every choice (which parts of an ``any`` or of a count) is tried, the cheapest first, unless what
    it costs at the least, beside what is spent already, is not less than the best found so far.
    """

    def __init__(self, root: Trace) -> None:
        self.things: dict[str, _Thing] = {}
        self.solution: _Solution | None = None
        self.exhausted = True
        self._of = root.of
        self._steps = 0
        self._inside: dict[int, frozenset[str]] = {}
        self._collect(root)
        self._bounds = bounds_of(root.of.ruleset.facts, root.of.ruleset.terms.vocabulary)
        for thing in self.things.values():
            thing.cells = list(self._cells(thing))
        self._solve([_Goal(1, (root,), YES)], {}, ())

    def _collect(self, trace: Trace) -> frozenset[str]:
        """Find the things that a condition depends on, with all conditions on them."""
        if _is_leaf(trace):
            name = subject_of(trace.node.fact or "")
            self.things.setdefault(name, _Thing()).leaves.setdefault(_key(trace.node), trace)
            found = frozenset({name})
        else:
            found = frozenset().union(*map(self._collect, trace.parts))
        self._inside[id(trace)] = found
        return found

    # --- how things can be

    def _cells(self, thing: _Thing) -> Iterator[_Cell]:
        """How a thing is now, and the ways in which its conditions can be told apart."""
        leaves = list(thing.leaves.values())
        all_now = self._of.evaluation.values
        now = {leaf.node.fact: all_now[leaf.node.fact] for leaf in leaves if leaf.node.fact}
        truths_now = tuple(leaf.truth for leaf in leaves)
        yield _Cell(now, truths_now, NOTHING)
        found: dict[tuple[Truth, ...], _Cell] = {}
        for values in self._values(leaves):
            if values is None:  # of a kind that is not known here, anything is held possible
                for each in itertools.product((True, False, None), repeat=len(leaves)):
                    found[each] = _Cell({}, each, CHANGED)
                break
            truths = tuple(leaf.node.test(values) for leaf in leaves)
            possible = all(_may_turn_out(now[fact], value) for fact, value in values.items())
            cell = _Cell(values, truths, LEARNED if possible else CHANGED)
            if truths not in found or cell.price < found[truths].price:
                found[truths] = cell
        found.pop(truths_now, None)
        yield from found.values()

    def _values(self, leaves: Sequence[Trace]) -> Iterator[dict[str, Value] | None]:
        limits: dict[str, set[Decimal]] = {}
        signs: dict[str, dict[str, int]] = {}
        for leaf in leaves:
            fact = leaf.node.fact or ""
            quantity, sign = quantity_of(fact)
            signs.setdefault(quantity, {})[fact] = sign
            of = limits.setdefault(quantity, set())
            if leaf.node.constant is not None:
                of.add(sign * leaf.node.constant.value)
            # What a number that is partly known may still be is told from what it cannot be.
            now = self._of.evaluation.values[fact]
            if isinstance(now, Interval):
                ends = (sign * now.low, sign * now.high)
                of.update(end for end in ends if end.copy_abs() != INFINITY)
        ways: list[list[dict[str, Value]]] = []
        for quantity, facts in signs.items():
            kind = self._of.ruleset.facts[next(iter(facts))].kind
            if kind == "boolean":
                ways.append([dict.fromkeys(facts, truth) for truth in (True, False, None)])
            elif kind == "event":
                ways.append([dict.fromkeys(facts, each) for each in events(limits[quantity])])
            elif kind == "number":
                # With zero among the limits, gain and loss can be told apart.
                marks = limits[quantity] | ({Decimal(0)} if len(signs) > 1 else set())
                bounds = self._bounds.get(quantity, UNKNOWN)
                ways.append(
                    [
                        {fact: _signed(number, sign) for fact, sign in facts.items()}
                        for number in numbers(marks, bounds)
                    ]
                )
            elif kind == "category":
                ranks = self._of.ruleset.facts[next(iter(facts))].categories
                ways.append([dict.fromkeys(facts, each) for each in categories(ranks)])
            else:
                yield None
                return
        for parts in itertools.product(*ways):
            values = {fact: value for part in parts for fact, value in part.items()}
            if _agree(values):
                yield values

    # --- the search

    def _solve(self, goals: list[_Goal], allowed: Allowed, asked: tuple[_Asked, ...]) -> None:
        self._steps += 1
        if self._steps > MOST_STEPS and self.solution is not None:
            self.exhausted = False
            return
        spent = self._price(allowed)
        ahead = max((self._least(goal, allowed) for goal in goals), default=NOTHING)
        if ahead >= IMPOSSIBLE:
            return
        if self.solution is not None and _sum(spent, ahead) >= self.solution.price:
            return
        if not goals:
            self.solution = _Solution(spent, allowed, asked)
            return
        # What leaves no choice comes first: it may rule out much of what does.
        goal = next((each for each in goals if each.n >= len(each.parts)), goals[0])
        rest = [each for each in goals if each is not goal]
        if goal.n <= 0:
            self._solve(rest, allowed, asked)
            return
        if goal.n < len(goal.parts):
            first, *others = sorted(
                goal.parts, key=lambda part: self._least(_Goal(1, (part,), goal.wanted), allowed)
            )
            left = tuple(others)
            taken = [_Goal(1, (first,), goal.wanted), _Goal(goal.n - 1, left, goal.wanted)]
            self._solve([*taken, *rest], allowed, asked)
            self._solve([_Goal(goal.n, left, goal.wanted), *rest], allowed, asked)
            return
        first, *others = goal.parts
        if others:
            rest = [_Goal(len(others), tuple(others), goal.wanted), *rest]
        if not _is_leaf(first):
            for way in _ways(first, goal.wanted):
                self._solve([*way, *rest], allowed, asked)
            return
        name, cells = self._narrowed(first, goal.wanted, allowed)
        if cells:
            self._solve(rest, {**allowed, name: cells}, (*asked, _Asked(first, goal.wanted)))

    def _narrowed(
        self, leaf: Trace, wanted: Truths, allowed: Allowed
    ) -> tuple[str, frozenset[int]]:
        """The thing of a leaf, and the cells left to it where the leaf is as wanted."""
        name = subject_of(leaf.node.fact or "")
        thing = self.things[name]
        index = list(thing.leaves).index(_key(leaf.node))
        cells = allowed.get(name, range(len(thing.cells)))
        return name, frozenset(i for i in cells if thing.cells[i].truths[index] in wanted)

    def _price(self, allowed: Allowed) -> Price:
        return _sum(*(self.things[name].price(cells) for name, cells in allowed.items()))

    def _least(self, goal: _Goal, allowed: Allowed) -> Price:
        """What a goal costs at the least, beside what is spent already."""
        if goal.n <= 0:
            return NOTHING
        if goal.n > len(goal.parts):
            return IMPOSSIBLE
        prices = sorted(self._least_of(part, goal.wanted, allowed) for part in goal.parts)
        return self._together(prices[: goal.n], goal.parts)

    def _least_of(self, part: Trace, wanted: Truths, allowed: Allowed) -> Price:
        if wanted == ALL_TRUTHS:
            return NOTHING
        if _is_leaf(part):
            name, cells = self._narrowed(part, wanted, allowed)
            if not cells:
                return IMPOSSIBLE
            thing = self.things[name]
            spent = thing.price(allowed.get(name, (0,)))
            price = thing.price(cells)
            return price[0] - spent[0], price[1] - spent[1]
        return min(
            (
                self._together(
                    [self._least(goal, allowed) for goal in way],
                    [each for goal in way for each in goal.parts],
                )
                for way in _ways(part, wanted)
            ),
            default=IMPOSSIBLE,
        )

    def _together(self, prices: Sequence[Price], parts: Sequence[Trace]) -> Price:
        """The price of several at once: one change may serve two where they share a thing."""
        inside = [self._inside[id(part)] for part in parts]
        apart = sum(map(len, inside)) == len(frozenset().union(*inside))
        return _sum(*prices) if apart else max(prices, default=NOTHING)

    # --- the words

    def words(self, solution: _Solution) -> Iterator[tuple[Wanted, ...]]:
        """What each thing that changes would have to be; what follows from the rest is left out."""
        for name, cells in solution.allowed.items():
            if 0 in cells:
                continue
            asked = [a for a in solution.asked if subject_of(a.leaf.node.fact or "") == name]
            needed = {(_key(a.leaf.node), a.wanted): a for a in asked}
            for each in list(needed):
                others = [a for key, a in needed.items() if key != each]
                if self._cells_of(name, others) == cells:
                    del needed[each]
            yield tuple(_wanted(each) for each in needed.values())

    def _cells_of(self, name: str, asked: Iterable[_Asked]) -> frozenset[int]:
        allowed: Allowed = {name: frozenset(range(len(self.things[name].cells)))}
        for each in asked:
            allowed = dict([self._narrowed(each.leaf, each.wanted, allowed)])
        return allowed[name]


def _is_leaf(trace: Trace) -> bool:
    """Whether this asks for a fact that nothing inside the tree settles."""
    if trace.node.fact is None:
        return False
    return not (trace.parts and isinstance(trace.node.condition, Is))


def _key(node: Node) -> object:
    """Equal for two conditions that ask the same."""
    operator = getattr(node.condition, "op", None)
    return node.fact, operator, node.constant.value if node.constant is not None else None


def _signed(number: Interval, sign: int) -> Interval:
    return number if sign > 0 else Interval(-number.high, -number.low)


def _may_turn_out(now: Value, then: Value) -> bool:
    """Whether something can turn out so without any of what is known today being different."""
    if isinstance(now, Interval) and isinstance(then, Interval):
        return now.low <= then.low and then.high <= now.high
    if isinstance(now, Event) and isinstance(then, Event):
        no_later = now.surely is None or (then.surely is not None and then.surely <= now.surely)
        earliest = now.possibly if now.complete else Decimal(0)
        return no_later and (
            then.surely is None or (earliest is not None and then.surely >= earliest)
        )
    if isinstance(now, Category) and isinstance(then, Category):
        return set(then.possible) <= set(now.possible)
    return now is None or now is then


def _agree(values: Mapping[str, Value]) -> bool:
    """Whether the changes of one measure can be so together: relative and of range, one direction.

    Facts of other kinds stand alone, and agree with anything.
    """
    changes = [v for fact, v in values.items() if isinstance(v, Interval) and _is_gain(fact)]
    rises = any(v.low > 0 for v in changes)
    falls = any(v.high < 0 for v in changes)
    still = any(v.low == v.high == 0 for v in changes)
    return rises + falls + still <= 1


def _is_gain(fact: str) -> bool:
    return quantity_of(fact)[1] > 0


def _sum(*prices: Price) -> Price:
    return sum(p[0] for p in prices), sum(p[1] for p in prices)


def _ways(trace: Trace, wanted: Truths) -> list[list[_Goal]]:
    """The ways in which a condition comes to have one of the wanted truths, as goals for its parts.

    A way is met where all of its goals are. Of a count from which ``n`` are asked among ``m``, as
    Kleene has it: it is surely met where ``n`` members are, surely not where ``m - n + 1`` are not,
    and open where neither; ``all`` and ``any`` are counts of all and of one.
    """
    node, parts = trace.node, trace.parts
    many = len(parts)
    match node.kind:
        case "fact":
            return [[_Goal(1, parts, wanted)]]
        case "not":
            return [[_Goal(1, parts, _opposite(wanted))]]
        case "unknown":
            inner = (OPEN if True in wanted else NONE) | (YES | NO if False in wanted else NONE)
            return [[_Goal(1, parts, inner)]] if inner else []
        case "all":
            return _at_least(many, parts, wanted)
        case "any":
            return _at_least(1, parts, wanted)
        case "count":
            condition = node.condition
            assert isinstance(condition, Count)
            match condition.how:
                case "at_least":
                    return _at_least(condition.n, parts, wanted)
                case "at_most":
                    return _at_least(condition.n + 1, parts, _opposite(wanted))
                case "exactly":
                    return _exactly(condition.n, parts, wanted)
    return [[]] if trace.truth in wanted else []


def _opposite(wanted: Truths) -> Truths:
    return frozenset(None if truth is None else not truth for truth in wanted)


def _at_least(n: int, parts: tuple[Trace, ...], wanted: Truths) -> list[list[_Goal]]:
    rest = len(parts) - n + 1
    if wanted == YES | NO:
        return [*_at_least(n, parts, YES), *_at_least(n, parts, NO)]
    goals = []
    if False not in wanted:
        goals.append(_Goal(n, parts, wanted | YES))
    if True not in wanted:
        goals.append(_Goal(rest, parts, wanted | NO))
    return [goals]


def _exactly(n: int, parts: tuple[Trace, ...], wanted: Truths) -> list[list[_Goal]]:
    many = len(parts)
    ways = []
    if False in wanted:
        ways += [[_Goal(n + 1, parts, YES)], [_Goal(many - n + 1, parts, NO)]]
    if True in wanted:
        ways.append([_Goal(n, parts, YES), _Goal(many - n, parts, NO)])
    if None in wanted:
        some = [_Goal(n, parts, YES | OPEN), _Goal(many - n, parts, NO | OPEN)]
        ways.append([*some, _Goal(1, parts, OPEN)])
    return ways


_INVERSE: Mapping[Operator, Operator] = {
    ">=": "<",
    "<": ">=",
    ">": "<=",
    "<=": ">",
    "==": "!=",
    "!=": "==",
}


def _wanted(asked: _Asked) -> Wanted:
    leaf, wanted = asked.leaf, asked.wanted
    met, unmet = _said(leaf)
    if wanted == OPEN:
        says = f"not known: {leaf.node.says}"
    elif wanted == YES | NO:
        says = f"known: {leaf.node.says}"
    else:
        says = unmet if False in wanted else met
        if None in wanted:
            says += ", or not known"
    return Wanted(leaf.node.fact or "", says, leaf.seen)


def _said(leaf: Trace) -> tuple[str, str]:
    """A condition on a fact in words, where it is met and where it is not."""
    declared: Declaration = leaf.of.ruleset.facts[leaf.node.fact or ""]
    match leaf.node.condition:
        case Is():
            return f"{declared.title}: yes", f"{declared.title}: no"
        case Comparison(op=op, constant=constant):
            inverse = OPERATORS[_INVERSE[op]]
            return leaf.node.says, f"{declared.title} {inverse} {say_constant(constant)}"
        case Within(days=days):
            return leaf.node.says, f"{declared.title} not within {say_constant(days)}"
        case IsCategory(category=category):
            return leaf.node.says, f"{declared.title}: not {category}"
    return leaf.node.says, f"not: {leaf.node.says}"


def _missing(trace: Trace, rule: Rule, search: _Search) -> Iterator[Missing]:
    """What is missing and decides, and what the rule would be if each of it alone were known."""
    of = trace.of
    base = {d.name: of.evaluation.values[d.name] for d in of.ruleset.needed}
    told = set()
    for leaf in undecided(trace):
        key = _key(leaf.node)
        if key in told:
            continue
        told.add(key)
        thing = search.things[subject_of(leaf.node.fact or "")]
        index = list(thing.leaves).index(key)
        found: dict[Truth, dict[str, None]] = {True: {}, False: {}}
        for cell in thing.cells:
            if None not in cell.truths and cell.values:
                evaluation = of.ruleset.evaluate_values({**base, **cell.values})
                outcome = _OUTCOMES[evaluation.outcomes[rule.id]]
                found[cell.truths[index]][outcome] = None
        says = _said(leaf)[0]
        yield Missing(leaf.node.fact or "", says, tuple(found[True]), tuple(found[False]))


_OUTCOMES: Mapping[Truth, str] = {True: "true", False: "false", None: "unknown"}


# --- to read -------------------------------------------------------------------------------------

MOST_EVIDENCE = 4
"""Resources cited for one condition; the first are the ones that count, ``--json`` has all."""

_FIRES: Mapping[bool, Mapping[Truth, str]] = {
    True: {True: "fires", False: "does not fire", None: "not known: the rule does not fire"},
    False: {True: "true", False: "false", None: "not known"},
}
"""What became of a rule, by whether it makes a card."""


def describe(explanation: Explanation, width: int = 80) -> Iterator[str]:
    """An explanation as lines of text: what became of the rule, its conditions, what would do."""
    e = explanation
    makes_card = e.card_given is not None
    yield from wrapped(f"{e.rule} {e.version}: {e.title}", width)
    yield from wrapped(f"Patient {e.patient}, as of {e.as_of}, by rules {e.rules_version}", width)
    yield ""
    sign = SIGNS[e.truth].split(" ")[0]
    yield from wrapped(f"{sign} {_FIRES[makes_card][e.truth]}", width, "  ")
    yield from wrapped(_about_card(e), width, "  ", "  ")
    yield ""
    told: set[object] = set()
    yield from tree_lines(e.conditions, width, "", told)
    if e.truth is None and e.missing:
        yield ""
        yield "What is missing and decides:"
        for missing in e.missing:
            yield from _decision(missing, makes_card, width)
    if e.truth is not True:
        yield ""
        yield from _changes(e, makes_card, width)


def _about_card(e: Explanation) -> str:
    if e.applies is None:
        return "Whether the rules are about this patient is not known: no card can be given."
    if not e.applies:
        return "The rules are not about this patient: no card is given, whatever this one says."
    if e.instead is not None:
        return f"Its card is not given: that of {e.instead}, about the same problem, comes first."
    if e.truth and e.card_given is False:
        return "Its card is not given: not at this hook, or not about an order that was selected."
    return ""


def wrapped(text: str, width: int, rest: str = "    ", first: str = "") -> list[str]:
    """A text in lines of a width, the first and the others each with its indent."""
    return textwrap.wrap(
        text,
        width,
        initial_indent=first,
        subsequent_indent=rest,
        break_long_words=False,
        break_on_hyphens=False,
    )


def tree_lines(line: Line, width: int, indent: str, told: set[object]) -> Iterator[str]:
    """A condition, what it saw below it, and its parts further in."""
    about = _about(line)
    parts = _shown(about)
    says = line.says
    if line.member is not None and line.fact is not None:
        says = f"{line.member}: {line.seen}"  # the count has said the rest, for all members
    yield from wrapped(f"{SIGNS[line.truth]}  {says}", width, f"{indent}      ", indent)
    below = f"{indent}│   " if parts else f"{indent}    "
    for note in _notes(line, about, told):
        yield from wrapped(note, width, f"{below}  ", below)
    for part in parts:
        yield from tree_lines(part, width, f"{indent}│ ", told)


def _about(line: Line) -> Line:
    """What stands after ``not`` and ``not known``: its parts and what it saw are theirs too."""
    return _about(line.parts[0]) if line.kind in ("not", "unknown") else line


def _shown(line: Line) -> tuple[Line, ...]:
    """The parts of a condition; of a derived fact, those of its rule."""
    if line.derived_by is not None and line.parts[0].kind == "all":
        return line.parts[0].parts
    return line.parts


def _notes(line: Line, about: Line, told: set[object]) -> Iterator[str]:
    thresholds = {about.threshold}
    if about.kind == "count":
        yield f"seen: {about.seen} of {len(about.parts)}"
        thresholds = {part.threshold for part in about.parts}
    elif about.fact is not None and line.member is None and about.seen != say_truth(about.truth):
        yield f"seen: {about.seen}"
    if len(thresholds) == 1:
        yield from _say_threshold(thresholds.pop(), told)
    cited = about.evidence[:MOST_EVIDENCE]
    if cited and told.issuperset(cited):
        yield "from: as above"
    elif cited:
        told.update(cited)
        yield from (f"from: {say_evidence(each)}" for each in cited)
        if len(about.evidence) > MOST_EVIDENCE:
            yield f"and from {len(about.evidence) - MOST_EVIDENCE} more"
    if about.derived_by is not None:
        yield f"derived by the rule {about.derived_by}:"


def _say_threshold(threshold: Threshold | None, told: set[object]) -> Iterator[str]:
    """The parameter of a threshold, with its source: once in an explanation."""
    if threshold is None or threshold.parameter is None or threshold in told:
        return
    told.add(threshold)
    said = [threshold.source, threshold.certainty, threshold.note]
    number = say_number(threshold.value, threshold.unit)
    known = ", ".join(filter(None, said))
    yield f"threshold: {threshold.parameter} = {number}" + (f" ({known})" if known else "")


def _decision(missing: Missing, makes_card: bool, width: int) -> Iterator[str]:
    yield from wrapped(missing.says, width, "      ", "  ? ")
    ways = (("if so", missing.if_met), ("if not", missing.if_not_met))
    said = [f"{when}: {_then(outcomes, makes_card)}" for when, outcomes in ways if outcomes]
    if said:
        yield from wrapped("; ".join(said), width, "      ", "      ")


def _then(outcomes: tuple[str, ...], makes_card: bool) -> str:
    words = {"true": "fires", "false": "does not fire"} if makes_card else {}
    words["unknown"] = "still not known"
    return " or ".join(words.get(each, each) for each in outcomes)


def _changes(e: Explanation, makes_card: bool, width: int) -> Iterator[str]:
    goal = "fire" if makes_card else "be true"
    if e.changes is None:
        yield from wrapped(
            f"Nothing could make it {goal}: its conditions exclude each other.", width
        )
        return
    things = "one thing" if len(e.changes) == 1 else f"{len(e.changes)} things"
    yield from wrapped(f"To {goal}, {things} would have to be different:", width)
    for number, change in enumerate(e.changes, 1):
        first = f"{number:>3}. "
        for wanted in change:
            said = f"{wanted.says} (now: {wanted.now})"
            yield from wrapped(said, width, "       ", first)
            first = "     and "
    if not e.shortest:
        yield from wrapped("This was not searched to the end: a shorter list may exist.", width)
