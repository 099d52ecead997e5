"""The criteria of a card: every condition of its rule, met or not, what was seen, and its source.

What a row says of any patient is made once for each rule; see ``cds.cards.once``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Literal

from msgspec import Struct

from cds.cards.markdown import escape, escape_authored, table
from cds.cards.once import once
from cds.cards.texts import Telling, say_all, say_signed
from cds.chart.chart import Chart
from cds.chart.facts.declaration import EvidenceReader, Value, no_evidence
from cds.chart.quantities import INFINITY, Interval
from cds.rules.conditions import Is
from cds.rules.nodes import Kind, Node, Test, Truth, Values, bearing
from cds.rules.ruleset import Rule, RuleSet
from cds.rules.words import say_truth, say_value

SIGNS = {True: "✓ yes", False: "✗ no", None: "? not known"}
"""Truth in a sign and a word, so that neither colour nor font is needed to tell them apart."""

MOST_EVIDENCE = 4
"""What is cited in one cell of the criteria: the first are the ones that count, and the last is
where a run of days begins."""


class Criterion(Struct, frozen=True):
    """A condition of a rule, with all that a row says of it whoever the patient is.

    ``says`` is Markdown; ``see`` says what was seen. ``parts`` are the conditions inside, of a
    derived fact that of the rule that derives it. ``behind`` reads the evidence of all these, of
    each fact once. ``measures`` is a count of what stands in the table of measures.
    """

    node: Node
    kind: Kind
    test: Test
    says: str
    see: Callable[[Values], str]
    evidence: EvidenceReader
    parts: tuple[Criterion, ...]
    behind: tuple[EvidenceReader, ...]
    measures: bool


def criteria_table(rule: Rule, telling: Telling) -> str:
    """The conditions of the rule: met or not, what was seen, and where that is from.

    What derives a fact is told where the fact first stands. Of several conditions that must all be
    met, and are not, it is those that fail.
    """
    criterion = criterion_of(rule, telling.ruleset)
    truth = criterion.test(telling.evaluation.values)
    rows = _rows(criterion, truth, 0, telling, set())
    return table(("Criterion", "Met", "Seen", "From"), rows)


@once
def criterion_of(rule: Rule, ruleset: RuleSet) -> Criterion:
    """The condition of a rule, with all those in it and behind it."""
    return _criterion(rule.node, ruleset)


def _criterion(node: Node, ruleset: RuleSet) -> Criterion:
    parts: tuple[Node, ...] = node.parts
    evidence: EvidenceReader = no_evidence
    if node.fact is not None:
        evidence = ruleset.facts[node.fact].evidence
        deriving = ruleset.deriving.get(node.fact)
        against = deriving.file.contraindication if deriving is not None else None
        # Of allergies only those to the drugs in question bear on a card, and are cited with these.
        of_any_drug = against is not None and against.drugs_with is not None
        parts = () if deriving is None or of_any_drug else (deriving.node,)
    inner = tuple(_criterion(part, ruleset) for part in parts)
    behind = dict.fromkeys((evidence, *(each for part in inner for each in part.behind)))
    behind.pop(no_evidence, None)
    return Criterion(
        node,
        node.kind,
        node.test,
        escape_authored(_says(node)),
        _see(node, ruleset),
        evidence,
        inner,
        tuple(behind),
        node.kind == "count" and node.members[0].startswith("measure."),
    )


def _says(node: Node) -> str:
    none_of_all = node.kind == "not" and node.parts[0].kind == "all"
    return "not all of" if none_of_all else node.says


def _see(node: Node, ruleset: RuleSet) -> Callable[[Values], str]:
    if node.kind in ("not", "unknown"):
        return _see(node.parts[0], ruleset)
    if node.tally is not None:
        tally = node.tally

        def count(values: Values) -> str:
            least, most = tally(values)
            return str(least) if least == most else f"{least} to {most}"

        return count
    if node.fact is not None:
        fact, unit = node.fact, ruleset.facts[node.fact].unit
        if isinstance(node.condition, Is):
            return lambda values: say_truth(node.test(values))
        apart = ruleset.thresholds
        if (sense := ruleset.facts[fact].sense) is not None:
            return lambda values: _say_change(values[fact], unit, sense, apart)
        return lambda values: say_value(values[fact], unit, apart)
    return lambda values: say_truth(node.test(values))


def _say_change(
    value: Value, unit: str, sense: Literal["better", "worse"], apart: frozenset[Decimal]
) -> str:
    """A change, and whether it is for the better, which no sign tells."""
    if not isinstance(value, Interval) or INFINITY in (value.high, -value.low):
        return say_value(value, unit, apart)
    low, high = (value.low, value.high) if sense == "better" else (-value.high, -value.low)
    most = say_signed(high, apart)
    return most if low == high else f"anything from {say_signed(low, apart)} to {most}"


def _rows(
    criterion: Criterion, truth: Truth, depth: int, telling: Telling, told: set[str]
) -> Iterator[tuple[str, ...]]:
    """The rows of a condition; of the facts in ``told`` the rows above say what derives them."""
    kind, values = criterion.kind, telling.evaluation.values
    # The members of a count stand in the table of measures, or are named by the text.
    parts = () if kind == "count" else criterion.parts
    if kind == "unknown":
        # Said as what it is about: of what is not known, that it is not known.
        yield from _rows(parts[0], parts[0].test(values), depth, telling, told)
        return
    if kind == "any":
        # Of alternatives only those that hold are shown; one alone needs no word around it.
        holding = tuple([part for part in parts if part.test(values) is True])
        parts = holding if truth is True else parts
        if len(parts) == 1:
            yield from _rows(parts[0], parts[0].test(values), depth, telling, told)
            return
    below = parts
    if kind != "all" or depth > 0:
        about = parts[0] if kind == "not" else criterion
        if about is not criterion and truth is True and _is_simple_any(about):
            # None of several: each stands for itself.
            for part in about.parts:
                yield _not_met(part, depth, telling)
            return
        seen = "" if about.kind in ("all", "any") else about.see(values)
        yield (
            "– " * depth + criterion.says,
            SIGNS[truth],
            "" if seen == say_truth(truth) else escape(seen),
            escape(_cite(about, telling)),
        )
        if about is not criterion:
            if truth is True and not _on_record(about, telling.chart):
                return  # what nothing on record speaks for needs no row for each of its parts
            below = about.parts
        fact = about.node.fact
        if fact is not None and below:
            if fact in told:
                return
            told.add(fact)
        truth = about.test(values)
        if len(below) == 1 and below[0].kind == "all":
            below = below[0].parts
        depth += 1
    if truth is False:
        # Of conditions that must all be met those that are not say why.
        below = tuple([part for part in below if part.test(values) is False])
    for part in below:
        yield from _rows(part, part.test(values), depth, telling, told)


def _is_simple_any(criterion: Criterion) -> bool:
    return criterion.kind == "any" and all(p.kind in ("fact", "count") for p in criterion.parts)


def _not_met(criterion: Criterion, depth: int, telling: Telling) -> tuple[str, ...]:
    """A condition that is not met, where that is what is asked for."""
    says = "– " * depth + escape_authored(f"not: {criterion.node.says}")
    seen = escape(criterion.see(telling.evaluation.values))
    return says, SIGNS[True], seen, escape(_cite(criterion, telling))


def _on_record(criterion: Criterion, chart: Chart) -> bool:
    """Whether there is evidence of what a condition asks for, or of what stands behind that."""
    return any(read(chart) for read in criterion.behind)


def _cite(criterion: Criterion, telling: Telling) -> str:
    """The evidence of a condition; a resource that says it in two ways is cited once.

    Of a count it is that of the members that it counts, unless the table of measures has them.
    """
    evidence = criterion.evidence(telling.chart)
    if criterion.kind == "count" and not criterion.measures:
        values = telling.evaluation.values
        evidence = tuple(
            e
            for part in criterion.parts
            if part.test(values) is True
            for each in _bearing_in(part, values)
            if each.test(values) is True
            for e in each.evidence(telling.chart)
        )
    if len(evidence) > 1:
        by_reference = {e.reference or e.text: e for e in reversed(evidence)}
        evidence = tuple(reversed(by_reference.values()))
    return say_all(evidence, MOST_EVIDENCE)


def _bearing_in(criterion: Criterion, values: Values) -> list[Criterion]:
    """A condition and every condition inside it that makes it true, false or unknown."""
    found = [criterion]
    for each in found:
        found.extend(bearing(each.kind, each.parts, lambda part: part.test(values)))
    return found
