"""Why a rule is true, false or unknown: its condition as a tree, with what each part saw.

Parts, values and evidence are looked up only when they are asked for.
"""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import Struct

from cds.chart.chart import Chart
from cds.chart.facts.declaration import Evidence, Value
from cds.rules.deciding import deciding
from cds.rules.derivations import Contribution, Sum, contributions, nodes_of
from cds.rules.nodes import Node, Truth, bearing
from cds.rules.ruleset import Evaluation, Rule, RuleSet
from cds.rules.words import say_truth, say_value


class Seen(Struct, frozen=True):
    """What a rule was asked of: the rule set, the chart and its evaluation."""

    ruleset: RuleSet
    chart: Chart
    evaluation: Evaluation


class Trace(Struct):
    """One condition of a rule, as it was found for one patient."""

    node: Node
    of: Seen
    truth: Truth
    _parts: tuple[Trace, ...] | None = None

    @property
    def parts(self) -> tuple[Trace, ...]:
        """The conditions inside; of a derived fact, the condition of the rule that derives it."""
        if self._parts is None:
            nodes = self.node.parts
            if self.node.fact is not None:
                rule = self.of.ruleset.deriving.get(self.node.fact)
                nodes = (rule.node,) if rule is not None else ()
            values = self.of.evaluation.values
            self._parts = tuple([Trace(node, self.of, node.test(values)) for node in nodes])
        return self._parts

    @property
    def seen(self) -> str:
        """The value that was seen, in words."""
        node, values = self.node, self.of.evaluation.values
        if node.fact is not None:
            ruleset = self.of.ruleset
            return say_value(values[node.fact], ruleset.facts[node.fact].unit, ruleset.thresholds)
        if node.tally is not None:
            least, most = node.tally(values)
            return str(least) if least == most else f"{least} to {most}"
        return self.parts[0].seen if node.kind in ("not", "unknown") else say_truth(self.truth)

    @property
    def evidence(self) -> tuple[Evidence, ...]:
        """The resources that the fact of this condition comes from."""
        if self.node.fact is None:
            return ()
        return self.of.ruleset.facts[self.node.fact].evidence(self.of.chart)


def trace_rule(rule: Rule, ruleset: RuleSet, chart: Chart, evaluation: Evaluation) -> Trace:
    """The trace of one rule for one patient."""
    of = Seen(ruleset, chart, evaluation)
    return Trace(rule.node, of, rule.node.test(evaluation.values))


def walk(trace: Trace) -> list[Trace]:
    """A trace and every trace inside it."""
    found = [trace]
    for each in found:
        found.extend(each.parts)
    return found


def open_terms(fact: str, of: Seen) -> Iterator[str]:
    """The facts that a derived number or category is not known exactly for; of others, itself."""
    derivation = of.ruleset.derivations.get(fact)
    if derivation is None:
        yield fact
    elif isinstance(derivation.makes, Sum):
        for each in contributions(derivation.makes, of.evaluation.values):
            if each.points.low != each.points.high:
                yield from open_terms(each.part.fact, of)
    else:
        for node in nodes_of(derivation.makes):
            for leaf in undecided(Trace(node, of, node.test(of.evaluation.values))):
                yield from open_terms(leaf.node.fact or "", of)


def terms_of(fact: str, of: Seen) -> tuple[Contribution, ...]:
    """What each term adds to a derived sum; none where the fact is not one."""
    derivation = of.ruleset.derivations.get(fact)
    if derivation is None or not isinstance(derivation.makes, Sum):
        return ()
    return contributions(derivation.makes, of.evaluation.values)


def holding(trace: Trace) -> Iterator[Trace]:
    """The conditions on facts of the chart that hold and decide a trace, and no others.

    One that holds within a group that does not, and so decides nothing, is not among them.
    """
    if trace.truth is True and trace.node.fact is not None and not trace.parts:
        yield trace
    for part in bearing(trace.node.kind, trace.parts, lambda part: part.truth):
        yield from holding(part)


def undecided(trace: Trace) -> list[Trace]:
    """The unknown conditions that decide a trace which is unknown, and no others.

    Of a condition that asks whether something is unknown, they are those that make it so.
    """
    if trace.node.kind == "unknown" and trace.truth is True:
        return undecided(trace.parts[0])
    leaves = list(_unknown(trace))
    if len(leaves) < 2:
        return leaves
    # Derived facts are derived anew from each outcome, those that others wait for first.
    derived = {
        part.node.fact: part.parts[0].node
        for part in reversed(list(walk(trace)))
        if part.node.fact is not None and part.parts and part.truth is None
    }

    def answer(values: dict[str, Value]) -> Truth:
        for fact, node in derived.items():
            values[fact] = node.test(values)
        return trace.node.test(values)

    facts = deciding((leaf.node for leaf in leaves), trace.of.evaluation.values, answer)
    # Where nothing decides by itself, all that is missing may.
    return [leaf for leaf in leaves if leaf.node.fact in facts] or leaves


def _unknown(trace: Trace) -> Iterator[Trace]:
    """The unknown conditions that make an unknown trace so, whether or not they decide it."""
    if trace.node.kind == "unknown" and trace.truth is True:
        yield from _unknown(trace.parts[0])
    elif trace.truth is None:
        if not trace.parts:
            yield trace
        for part in trace.parts:
            yield from _unknown(part)
