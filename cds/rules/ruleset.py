"""A rule set: rules compiled for both engines, and what they make of a patient.

``cds.rules.reading`` makes one from a folder of rule files.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from typing import Any

from msgspec import Struct

from cds.chart.chart import Chart
from cds.chart.conditions import Assertion
from cds.chart.facts.declaration import Declaration, Value
from cds.chart.terms import Terms
from cds.chart.vocabulary import Number
from cds.located import Place, Steps
from cds.rules.compiler import Compiler
from cds.rules.conditions import Count
from cds.rules.derivations import Derivation, Ranks, work_out
from cds.rules.engine import Engine
from cds.rules.language import (
    Indicator,
    LicenceStatus,
    OverrideReason,
    RuleFile,
    SharedFile,
    Source,
    Status,
)
from cds.rules.nodes import Node, Truth, Values
from cds.rules.site import Site, SiteNumber
from cds.rules.texts import Text


class EnginesDisagree(RuntimeError):
    """The two engines gave different answers for one patient; neither may be used."""

    def __init__(self, rules: Iterable[str]) -> None:
        self.rules = tuple(sorted(rules))
        super().__init__(f"the two rule engines disagree on: {', '.join(self.rules)}")


class Passage(Struct, frozen=True):
    """A paragraph of a card, and when it is shown (None: always)."""

    text: Text
    when: Node | None


class Option(Struct, frozen=True):
    """A row of the options of a card; ``drug`` is a drug or a class of the vocabulary."""

    option: Text
    evidence: Text
    source: str
    when: Node | None
    drug: str | None
    status: LicenceStatus | None


class Suggestion(Struct, frozen=True):
    """A draft resource; ``strings`` are its texts with facts in them, by their place in it."""

    id: str
    place: Place
    label: Text
    description: Text
    resource: dict[str, Any]
    strings: dict[Steps, Text]
    parameters: Mapping[str, Number]
    when: Node | None


class CardTemplate(Struct, frozen=True):
    """What a fired rule says, with its texts parsed.

    ``cited`` has for each item of the rule's evidence when the card cites it (None: always).
    ``quiet_days``: how long the card is not given again after a lasting override (None: it is).
    """

    problem: str
    indicator: Indicator
    priority: int
    summary: Text
    lead: Text
    passages: tuple[Passage, ...]
    cited: tuple[Node | None, ...]
    options: tuple[Option, ...]
    show: tuple[str, ...]
    suggestions: tuple[Suggestion, ...]
    override_reasons: tuple[str, ...]
    quiet_days: Decimal | None = None

    @property
    def shown_when(self) -> tuple[Node, ...]:
        """The conditions under which its passages, options and suggestions are shown."""
        whens = (
            *(passage.when for passage in self.passages),
            *(option.when for option in self.options),
            *(suggestion.when for suggestion in self.suggestions),
        )
        return tuple(when for when in whens if when is not None)

    @property
    def conditions(self) -> tuple[Node, ...]:
        """Every condition on it: those of ``shown_when``, and when it cites its evidence."""
        return (*self.shown_when, *(when for when in self.cited if when is not None))


class Rule(Struct, frozen=True, eq=False):
    """One rule, parsed: its file's header, its condition, what it makes, what it selects.

    ``against`` is what a contraindication says of the drugs of its file.
    """

    id: str
    file: RuleFile
    place: Place
    node: Node
    card: CardTemplate | None
    selections: tuple[tuple[str, Node], ...]
    against: Text | None = None


class Selection(Struct, frozen=True):
    """The members of a group that meet a condition: surely, and perhaps."""

    members: tuple[str, ...]
    possible: tuple[str, ...]


class Selections(Mapping[str, Selection]):
    """The selections by their names, each made when it is asked for: few are ever shown."""

    def __init__(self, nodes: Mapping[str, Node], values: Values) -> None:
        self._nodes = nodes
        self._values = values

    def __getitem__(self, name: str) -> Selection:
        return select(self._nodes[name], self._values)

    def __contains__(self, name: object) -> bool:
        return name in self._nodes

    def __iter__(self) -> Iterator[str]:
        return iter(self._nodes)

    def __len__(self) -> int:
        return len(self._nodes)


class Evaluation(Struct, frozen=True):
    """What the rules make of one patient: the facts, and the truth of each rule."""

    values: dict[str, Value]
    outcomes: dict[str, Truth]
    selections: Mapping[str, Selection]


class Check(Struct, frozen=True):
    """What both engines say, to be compared: a rule, or a condition of one of its ranks (``node``).

    ``holds`` is what the engine calls the formula that it is surely true, ``fails`` the one that it
    is surely false, None for a rule that derives nothing.
    """

    rule: str
    holds: str
    fails: str | None
    node: Node | None = None


class RuleSet(Struct, frozen=True, eq=False, weakref=True):
    """Every active rule of a folder, ready to answer.

    ``rules`` are those that are true, false or unknown; ``derivations``, by their fact, those that
    work out a number or a category. ``ordered`` has each after those whose conclusions it waits
    for. ``deriving`` has the rule of each fact that is true, false or unknown.
    ``unfinished`` names the rules in draft and in testing, which count only where they are tried.
    ``chosen`` has, by rule, the parameters that it rests on and a site set, by name; ``site`` is
    that site.
    ``foremost`` are the problems whose cards come first of equally urgent ones, in that order.
    ``contraindications`` are the rules that speak against drugs. ``behind`` has, by rule, the facts
    that it asks for, and those behind the facts that other rules derive. ``checks`` are what the
    two engines are compared on; ``selecting`` has the count behind each selection.
    ``shared`` is what several cards say alike, by its name: it is on each of them as if it stood
    there.
    ``thresholds`` are those in percent that are no whole numbers, which no percentage may be
    rounded to.
    ``contents`` are the files that ``version`` is a hash of, as ``read_contents`` has them.
    """

    version: str
    terms: Terms
    facts: Mapping[str, Declaration]
    groups: Mapping[str, tuple[str, ...]]
    needed: tuple[Declaration, ...]
    applies_to: str
    foremost: tuple[str, ...]
    rules: tuple[Rule, ...]
    card_rules: tuple[Rule, ...]
    contraindications: tuple[Rule, ...]
    behind: Mapping[str, tuple[str, ...]]
    deriving: Mapping[str, Rule]
    derivations: Mapping[str, Derivation]
    unfinished: Mapping[str, Status]
    chosen: Mapping[str, tuple[tuple[str, SiteNumber], ...]]
    site: Site | None
    ordered: tuple[Rule | Derivation, ...]
    checks: tuple[Check, ...]
    selecting: Mapping[str, Node]
    compiler: Compiler
    engine: Engine
    sources: Mapping[str, Source]
    override_reasons: Mapping[str, OverrideReason]
    shared: Mapping[str, SharedFile] = {}
    thresholds: frozenset[Decimal] = frozenset()
    contents: Mapping[str, bytes] = {}

    @property
    def every(self) -> tuple[Rule | Derivation, ...]:
        """Every active rule, whatever it makes, by its id."""
        return tuple(sorted((*self.rules, *self.derivations.values()), key=lambda rule: rule.id))

    def applies(self, conditions: Mapping[str, Iterable[Assertion]], *, complete: bool) -> Truth:
        """Whether the rules are about this patient; unknown where Conditions lack or leave open."""
        assertions = tuple(conditions.get(self.applies_to, ()))
        if any(assertion.sure for assertion in assertions):
            return True
        return False if complete and not assertions else None

    def evaluate(self, chart: Chart) -> Evaluation:
        """Evaluate every rule for a chart, on both engines.

        Raises ``EngineFault`` or ``EnginesDisagree`` where no answer can be trusted.
        """
        return self.evaluate_values({d.name: d.read(chart) for d in self.needed})

    def evaluate_values(self, values: dict[str, Value]) -> Evaluation:
        """Evaluate every rule for given values of the facts; derived facts given stay as given."""
        outcomes: dict[str, Truth] = {}
        for rule in self.ordered:
            if isinstance(rule, Derivation):
                values.setdefault(rule.fact, work_out(rule.makes, values))
                continue
            outcome = outcomes[rule.id] = rule.node.test(values)
            if rule.file.derive is not None:
                values.setdefault(rule.file.derive, outcome)
        self._compare(outcomes, values)
        return Evaluation(values, outcomes, Selections(self.selecting, values))

    def _compare(self, outcomes: Mapping[str, Truth], values: Values) -> None:
        """Ask the engine for every rule at once, and compare.

        Conclusions that other rules wait for are among its attributes. Each of them is compared
        too, so agreement on all is what asking stratum by stratum would have given.
        """
        fired = self.engine.fired(self.compiler.attributes(values))
        differing = []
        for check in self.checks:
            truth = outcomes[check.rule] if check.node is None else check.node.test(values)
            if (check.holds in fired) is not (truth is True) or (
                check.fails is not None and (check.fails in fired) is not (truth is False)
            ):
                differing.append(check.rule)
        if differing:
            raise EnginesDisagree(differing)

    def close(self) -> None:
        """Give the engine's memory back; to evaluate afterwards raises ``EngineFault``."""
        self.engine.close()


def select(count: Node, values: Values) -> Selection:
    """Which members of a group meet the condition of a count."""
    pairs = zip(count.members, count.parts, strict=True)
    truths = [(name, part.test(values)) for name, part in pairs]
    return Selection(
        tuple(name for name, truth in truths if truth is True),
        tuple(name for name, truth in truths if truth is None),
    )


def selections_of(node: Node) -> Iterator[tuple[str, Node]]:
    """The counts inside a condition that name those who meet them, by that name."""
    if isinstance(node.condition, Count) and node.condition.selects:
        yield node.condition.selects, node
    for part in node.parts:
        yield from selections_of(part)


def conditions_of(rule: Derivation) -> Iterator[tuple[str, Node]]:
    """The conditions of the ranks of a category, by what the engine calls their formulas."""
    if isinstance(rule.makes, Ranks):
        for name, node in rule.makes.ranks:
            if node is not None:
                yield f"{rule.id} {name}", node


def negative(rule: str) -> str:
    """What the engine calls the formula that a deriving rule is surely false."""
    return f"not {rule}"
