"""Explains a derived number or category: its terms with their points, or what each rank asks for.

``cds.authoring.explain`` does the same for rules that are true, false or unknown.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date

from msgspec import Struct

from cds.advice import Advice
from cds.authoring.explain import Line, line_of, tree_lines, wrapped
from cds.cards.detail import term_title
from cds.cards.texts import Telling, missing_titles, say_evidence
from cds.chart.facts.declaration import Evidence
from cds.rules.derivations import Derivation, HowMany, Ranks
from cds.rules.nodes import Truth
from cds.rules.ruleset import RuleSet
from cds.rules.trace import Seen, Trace, terms_of
from cds.rules.words import say_number, say_value


class TermLine(Struct, frozen=True, kw_only=True):
    """One term of a sum: what was seen, its points and the most that it gives, in words."""

    fact: str
    title: str
    seen: str
    points: str
    most: str
    evidence: tuple[Evidence, ...]


class RankLine(Struct, frozen=True):
    """One rank, and its condition as it was found; the last has none."""

    category: str
    conditions: Line | None


class DerivedExplanation(Struct, frozen=True, kw_only=True):
    """How one value was derived for one patient on one day.

    ``missing`` are the titles of what would make it exact. A sum has ``terms``, a category
    ``ranks``, a number that counts ``counted``.
    """

    rule: str
    version: str
    title: str
    patient: str
    as_of: date
    rules_version: str
    applies: Truth
    fact: str
    value: str
    terms: tuple[TermLine, ...]
    ranks: tuple[RankLine, ...]
    counted: Line | None
    missing: tuple[str, ...]


def explain_derived(derivation: Derivation, ruleset: RuleSet, advice: Advice) -> DerivedExplanation:
    """Explain a derived value; the advice must have been made with ``everything``."""
    if advice.chart is None or advice.evaluation is None:
        raise ValueError("an explanation needs advice made with `everything`")
    of = Seen(ruleset, advice.chart, advice.evaluation)
    telling = Telling(ruleset, advice.chart, advice.evaluation, {})
    values, makes = advice.evaluation.values, derivation.makes
    ranks = makes.ranks if isinstance(makes, Ranks) else ()
    return DerivedExplanation(
        rule=derivation.id,
        version=derivation.file.version,
        title=derivation.file.title,
        patient=advice.patient,
        as_of=advice.as_of,
        rules_version=ruleset.version,
        applies=advice.applies,
        fact=derivation.fact,
        value=say_value(
            values[derivation.fact], ruleset.facts[derivation.fact].unit, ruleset.thresholds
        ),
        terms=tuple(
            TermLine(
                fact=term.part.fact,
                title=term_title(term.part.fact, telling),
                seen=say_value(term.seen, term.part.unit, ruleset.thresholds),
                points=say_value(term.points, ""),
                most=say_number(term.part.most, ""),
                evidence=ruleset.facts[term.part.fact].evidence(advice.chart),
            )
            for term in terms_of(derivation.fact, of)
        ),
        ranks=tuple(
            RankLine(name, None if node is None else line_of(Trace(node, of, node.test(values))))
            for name, node in ranks
        ),
        counted=line_of(Trace(makes.node, of, True)) if isinstance(makes, HowMany) else None,
        missing=tuple(missing_titles(derivation.fact, telling)),
    )


def describe_derived(explanation: DerivedExplanation, width: int = 80) -> Iterator[str]:
    """An explanation as lines of text: the value, and what it was worked out of."""
    e = explanation
    yield from wrapped(f"{e.rule} {e.version}: {e.title}", width)
    yield from wrapped(f"Patient {e.patient}, as of {e.as_of}, by rules {e.rules_version}", width)
    yield ""
    yield from wrapped(f"{e.fact} = {e.value}", width)
    yield ""
    for term in e.terms:
        yield from wrapped(f"{term.title}: {term.points} of {term.most}", width)
        yield from wrapped(f"seen: {term.seen}", width, "      ", "    ")
        for each in term.evidence:
            yield from wrapped(f"from: {say_evidence(each)}", width, "      ", "    ")
    told: set[object] = set()
    for rank in e.ranks:
        yield from wrapped(
            f"{rank.category}, if:" if rank.conditions else f"{rank.category}, if none above",
            width,
        )
        if rank.conditions is not None:
            yield from tree_lines(rank.conditions, width, "  ", told)
    if e.counted is not None:
        yield from tree_lines(e.counted, width, "", told)
    if e.missing:
        yield ""
        yield from wrapped(f"What would settle it: {', '.join(e.missing)}.", width)
