"""The detail of a card: the sentence that matters, then everything that a reader must check."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from cds.cards.beside import (
    beside_core_set,
    named,
    say_courses,
    say_left_out,
    say_missing,
    say_others,
    settled_by,
)
from cds.cards.criteria import Criterion, criteria_table, criterion_of
from cds.cards.doubts import doubts_blocks
from cds.cards.markdown import escape, escape_authored, table
from cds.cards.options import (
    drugs_blocks,
    options_blocks,
    rules_of_drugs,
)
from cds.cards.results import say_measured, say_results
from cds.cards.shown import asks_for_weight, slots_of
from cds.cards.texts import (
    Telling,
    fill,
    link,
    missing_facts,
    say_evidence,
    say_signed,
    title_of,
    to_take,
    together,
)
from cds.chart.assessments import MeasureChange
from cds.chart.facts.drugs import cite_exposure
from cds.chart.facts.observations import cite
from cds.chart.quantities import INFINITY, UNKNOWN
from cds.chart.treatments import Exposure, carried_out, is_planned
from cds.chart.weight import last_weight
from cds.rules.derivations import Contribution, Sum
from cds.rules.language import EvidenceItem
from cds.rules.nodes import Node, Truth, Values
from cds.rules.ruleset import CardTemplate, Rule, RuleSet
from cds.rules.texts import Slot
from cds.rules.trace import Seen, Trace, open_terms, terms_of, undecided
from cds.rules.words import say_certainty, say_number, say_value


def detail_of(
    rule: Rule,
    card: CardTemplate,
    telling: Telling,
    cited: Iterable[EvidenceItem],
    elsewhere: Iterable[str] = (),
) -> str:
    """The whole detail of a rule's card, as Markdown, of the card as it is ``shown``.

    ``cited`` is the evidence that bears on this patient, ``elsewhere`` the summaries of the cards
    that carry drafts which this one would.
    """
    blocks = [fill(card.lead, telling, escape)]
    blocks += [
        f"**The draft stands on another card**, once for both: {escape(of)}" for of in elsewhere
    ]
    blocks += [fill(passage.text, telling, escape) for passage in card.passages]
    slots = slots_of(card)
    points = points_of_measures(card, telling.ruleset)
    if "measures" in card.show:
        blocks += ["**Core set measures**", measures_table(telling, points), _visits(telling)]
    for shown in card.show:
        if shown in telling.evaluation.selections:
            members = telling.evaluation.selections[shown].members
            given = "patient-view" in rule.file.hooks
            drugs = drugs_blocks(members, telling, given=given)
            blocks += [settled_by(members, telling), *drugs]
    for fact in card.show:
        if fact != points and (terms := terms_table(fact, telling)):
            blocks += [f"**{escape_authored(telling.ruleset.facts[fact].title)}**", terms]
    blocks += [say_results(card, telling)]
    blocks += options_blocks(card, telling)
    for shown in card.show:
        if shown == "treatments" or shown.startswith("drug."):
            blocks += ["**Treatment on record**", _treatments(shown, telling)]
    blocks += [_weight(slots, telling)]
    blocks += ["**Why this card**", criteria_table(rule, telling)]
    if missing := _missing(rule, slots, telling):
        blocks += [f"**Missing:** {missing}"]
    if chosen := _chosen(rule, telling):
        blocks += [chosen]
    blocks += doubts_blocks(rule, card, slots, telling)
    blocks += ["**Sources**", _sources(cited, telling)]
    return "\n\n".join(filter(None, blocks))


def _weight(slots: tuple[Slot, ...], telling: Telling) -> str:
    """The body weight that doses on this card are worked out with, or why the last one is not."""
    weight = last_weight(telling.chart) if asks_for_weight(slots) else None
    if weight is None:
        return ""
    said = escape(say_evidence(cite(weight.measurement, telling.chart)))
    if weight.counts:
        return f"**Doses by weight:** {said}."
    within = say_number(weight.within.value, weight.within.unit)
    return f"**No dose by weight:** the last weight is older than {within}: {said}."


_MEASURES = ("Measure", "Baseline", "Current", "Change", "Change of range", "Observations")


def points_of_measures(card: CardTemplate, ruleset: RuleSet) -> str | None:
    """The sum on a card whose terms are all in the table of measures on it: it needs no other."""
    if "measures" not in card.show:
        return None
    measures = ruleset.terms.vocabulary.measures
    for fact in card.show:
        derivation = ruleset.derivations.get(fact)
        if derivation is not None and isinstance(derivation.makes, Sum):
            named = [part.fact.split(".") for part in derivation.makes.parts]
            if all(kind == "measure" and measures[name].core_set for kind, name, *_ in named):
                return fact
    return None


def measures_table(telling: Telling, points: str | None = None) -> str:
    """Every core set measure at baseline and now: values, dates, change, where they are from.

    ``points`` is a sum over these measures, shown with what each adds to it. Without a later
    assessment there is nothing to compare, and no column for it.
    """
    core_set = [
        change
        for name, change in telling.chart.changes.items()
        if telling.ruleset.terms.vocabulary.measures[name].core_set
    ]
    rows = [_measure_row(change, telling) for change in core_set]
    if not any(change.current for change in core_set):
        kept = [_MEASURES.index(head) for head in ("Measure", "Baseline", "Observations")]
        return table([_MEASURES[i] for i in kept], ([row[i] for i in kept] for row in rows))
    if points is None:
        return table(_MEASURES, rows)
    at = _MEASURES.index("Observations")
    each = _points_by_measure(points, telling)
    cells = [each.get(change.measure, "") for change in core_set]
    rows = [(*row[:at], cell, *row[at:]) for row, cell in zip(rows, cells, strict=True)]
    title = escape_authored(telling.ruleset.facts[points].title)
    rows.append((f"**{title}**", "", "", "", "", f"**{_sum_of(points, telling)}**", ""))
    return table((*_MEASURES[:at], "Points", *_MEASURES[at:]), rows)


def _points_by_measure(fact: str, telling: Telling) -> dict[str, str]:
    terms = terms_of(fact, Seen(telling.ruleset, telling.chart, telling.evaluation))
    return {term.part.fact.split(".")[1]: _points_of(term) for term in terms}


def _points_of(term: Contribution) -> str:
    return f"{say_value(term.points, '')} of {say_number(term.part.most, '')}"


def _sum_of(fact: str, telling: Telling) -> str:
    """A derived sum and the most that it can be: ``67.5 of 100``."""
    makes = telling.ruleset.derivations[fact].makes
    assert isinstance(makes, Sum)
    return f"{say_value(telling.evaluation.values[fact], '')} of {say_number(makes.most, '')}"


def _measure_row(change: MeasureChange, telling: Telling) -> tuple[str, ...]:
    chart = telling.chart
    title = escape_authored(named(change, telling))
    visits = chart.visits
    cells = [
        say_missing(change.measure, visit, telling) if m is None else say_measured(m, telling)
        for m, visit in ((change.baseline, visits.baseline), (change.current, visits.current))
    ]
    if change.instrument is None:
        return (title, *cells, "", "", escape(change.remark))
    apart = telling.ruleset.thresholds
    references = [m.reference for m in (change.baseline, change.current) if m is not None]
    remarks = "; ".join(filter(None, (change.remark, *say_others(change, telling))))
    remark = f" ({escape(remarks)})" if remarks else ""
    return (
        title + remark,
        *cells,
        say_change(change, telling),
        "" if change.range_percent is None else say_signed(change.range_percent, apart),
        escape(", ".join(references)),
    )


def terms_table(fact: str, telling: Telling) -> str:
    """Every term of a derived sum: the value that was seen, its points, and how many it may give.

    Empty where the fact is no sum.
    """
    terms = terms_of(fact, Seen(telling.ruleset, telling.chart, telling.evaluation))
    if not terms:
        return ""
    rows = [
        (
            escape_authored(term_title(term.part.fact, telling)),
            escape(say_value(term.seen, term.part.unit, telling.ruleset.thresholds)),
            _points_of(term),
        )
        for term in terms
    ]
    rows.append(("**All**", "", f"**{_sum_of(fact, telling)}**"))
    return table(("Term", "Seen", "Points"), rows)


def term_title(fact: str, telling: Telling) -> str:
    """What the term of a sum is called: of a measure, the measure."""
    if fact.startswith("measure."):
        return title_of(fact.rpartition(".")[0], telling)
    return telling.ruleset.facts[fact].title


def say_change(change: MeasureChange, telling: Telling) -> str:
    """The change relative to baseline in words: ``improved 42.9 %``."""
    if change.baseline is None or change.current is None:
        return ""
    if change.undefined:
        if change.improvement == UNKNOWN:
            return "no percentage of a baseline that is not above 0"
        if change.worsening.low == INFINITY:
            return "worse (from 0, no percentage)"
        return "unchanged" if change.baseline.low == change.current.low else "rose from 0"
    return say_signed(change.improvement.low, telling.ruleset.thresholds)


def _visits(telling: Telling) -> str:
    """Which visits these are and why, what was left out, the course, and what is not counted."""
    parts = [say_visits(telling), say_left_out(telling), say_courses(telling)]
    if beside := beside_core_set(telling):
        rows = (_measure_row(change, telling) for change in beside)
        parts += ["**Beside the core set, not counted**", table(_MEASURES, rows)]
    return "\n\n".join(filter(None, parts))


def say_visits(telling: Telling) -> str:
    """Which visits are compared, and why these."""
    visits = telling.chart.visits
    if visits.baseline is None:
        return f"No baseline: {visits.reason}."
    why = visits.current_reason
    later = f"Current {visits.current}: {why}" if visits.current else f"Current: {why}"
    return f"Baseline {visits.baseline}: {visits.reason}. {later}."


def _treatments(shown: str, telling: Telling) -> str:
    """What was ordered, given and stated, the latest first; what was given once, with its days.

    Where ``drug.x`` is shown, a class, only that of its drugs, and its title heads the table.
    """
    chart = telling.chart
    known, head = tuple(dict.fromkeys((*chart.exposures, *chart.planned))), "Treatment"
    if shown.startswith("drug."):
        entry = chart.terms.vocabulary.drug_classes[shown.removeprefix("drug.")]
        known, head = tuple(n for n in known if n in entry.any_of), escape_authored(entry.title)
    exposures_of = [
        [*chart.exposures.get(name, ()), *chart.planned.get(name, ())] for name in known
    ]
    done = {order for each in exposures_of for order in carried_out(each)}
    exposures = sorted(
        (e for each in exposures_of for e in each if e.reference not in done),
        key=lambda e: (str(e.start or ""), e.reference),
        reverse=True,
    )
    alike: dict[tuple[object, ...], list[Exposure]] = {}
    for e in exposures:
        given = e.kind == "given" and e.end == e.start
        key = (e.text, e.dose, e.current, e.remark) if given else (e.drug, e.reference)
        alike.setdefault(key, []).append(e)
    groups = list(alike.values())
    if not groups:
        return "None that this service knows."
    rows = [
        (escape(text), _now(group[0], telling), escape(", ".join(references)))
        for group in groups[:MOST_TREATMENTS]
        for text, references in together(cite_exposure(e, chart) for e in group)
    ]
    more = len(groups) - MOST_TREATMENTS
    shown = table((head, "Now", "From"), rows)
    return f"{shown}\n\nand {more} earlier." if more > 0 else shown


def _now(exposure: Exposure, telling: Telling) -> str:
    if is_planned(exposure, telling.chart.as_of):
        return "not yet"
    return {True: "yes", False: "no", None: "not known"}[exposure.current]


MOST_TREATMENTS = 12
"""Rows of treatment on a card; a card is read at a glance."""


def _missing(rule: Rule, slots: tuple[Slot, ...], telling: Telling) -> str:
    """What is not known and would settle what the card leaves open, but for what its texts name."""
    leaves: dict[str, None] = {}
    of = Seen(telling.ruleset, telling.chart, telling.evaluation)
    vocabulary = telling.ruleset.terms.vocabulary
    told = {
        fact
        for slot in slots
        if slot.form == "missing"
        for fact in missing_facts(slot.name, telling)
    }
    for node, truth in _unknowns(criterion_of(rule, telling.ruleset), telling.evaluation.values):
        for leaf in undecided(Trace(node, of, truth)):
            for fact in open_terms(leaf.node.fact or "", of):
                if to_take(fact, vocabulary) in told:
                    continue
                of_term = fact.startswith("measure.") or fact != leaf.node.fact
                leaves[term_title(fact, telling) if of_term else leaf.node.says] = None
    return escape(", ".join(leaves))


def _unknowns(criterion: Criterion, values: Values) -> Iterator[tuple[Node, Truth]]:
    truth = criterion.test(values)
    if truth is None or (criterion.kind == "unknown" and truth is True):
        yield criterion.node, truth
    elif truth is True and criterion.kind != "count":
        # Of alternatives one that holds is enough, and what is decided leaves nothing open.
        for part in criterion.parts:
            if criterion.kind != "any" or part.test(values) is True:
                yield from _unknowns(part, values)


def _chosen(rule: Rule, telling: Telling) -> str:
    """The parameters that a site set and this card rests on, beside what is shipped, and why."""
    said = []
    for name, number in telling.ruleset.chosen[rule.id]:
        why = [number.note or ""]
        if number.certainty == "unverified":
            why.append("not verified in a source")
        shipped = say_number(number.shipped.value, number.shipped.unit)
        said.append(
            f"- “{escape_authored(name.replace('_', ' '))}” "
            f"{say_number(number.value, number.unit)} (shipped: {shipped}): "
            f"{escape_authored('; '.join(filter(None, why)))}"
            + (f". {link(number.source, telling)}" if number.source else "")
        )
    if not said:
        return ""
    site = telling.ruleset.chosen[rule.id][0][1].site
    return "\n".join((f"**Set by this site ({escape_authored(site)}):**", "", *said))


def _sources(cited: Iterable[EvidenceItem], telling: Telling) -> str:
    lines = [
        f"- {link(item.source, telling)}: {escape_authored(item.supports)} "
        f"(certainty: {say_certainty(item.certainty)})"
        for item in cited
    ]
    return "\n".join(lines)


def cited_evidence(rule: Rule, card: CardTemplate, telling: Telling) -> list[EvidenceItem]:
    """The evidence of a rule that bears on this patient, after that of what speaks against drafts.

    Of several items that say the same one is cited.
    """
    own = [
        item
        for item, when in zip(rule.file.evidence, card.cited, strict=True)
        if when is None or when.test(telling.evaluation.values) is True
    ]
    behind = [item for each in rules_of_drugs(card, telling) for item in each.file.evidence]
    return list({(item.source, item.supports): item for item in (*behind, *own)}.values())
