"""The detail of a card: the sentence that matters, then everything that a reader must check."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

from cds.cards.markdown import escape, table
from cds.cards.texts import Telling, fill, say_evidence, title_of
from cds.chart.assessments import MeasureChange
from cds.chart.facts import show
from cds.chart.quantities import INFINITY
from cds.chart.treatments import describe
from cds.rules.ruleset import CardTemplate, Rule
from cds.rules.trace import Trace, trace_rule, undecided, walk
from cds.rules.words import say_constant, say_number, say_truth

SIGNS = {True: "✓ yes", False: "✗ no", None: "? not known"}
"""Truth in a sign and a word, so that neither colour nor font is needed to tell them apart."""


def detail_of(rule: Rule, card: CardTemplate, telling: Telling) -> str:
    """The whole detail of a rule's card, as Markdown."""
    trace = trace_rule(rule, telling.ruleset, telling.chart, telling.evaluation)
    blocks = [fill(card.lead, telling, escape)]
    blocks += [
        fill(passage.text, telling, escape)
        for passage in card.passages
        if passage.when is None or passage.when.test(telling.evaluation.values) is True
    ]
    if "measures" in card.show:
        blocks += ["**Core set measures**", measures_table(telling), _visits(telling)]
    if options := _options(card, telling):
        blocks += ["**Options**", options]
    if "treatments" in card.show:
        blocks += ["**Treatment on record**", _treatments(telling)]
    blocks += ["**Why this card**", criteria_table(trace)]
    if missing := _missing(trace, telling):
        blocks += [f"**Missing:** {missing}"]
    if doubts := _unverified(trace):
        blocks += [f"**Not verified in a source:** {'; '.join(doubts)}."]
    blocks += ["**Sources**", _sources(rule, card, telling)]
    return "\n\n".join(filter(None, blocks))


def _options(card: CardTemplate, telling: Telling) -> str:
    rows = [
        (
            fill(option.option, telling, escape),
            fill(option.evidence, telling, escape),
            _link(option.source, telling),
        )
        for option in card.options
        if option.when is None or option.when.test(telling.evaluation.values) is True
    ]
    return table(("Consider", "Evidence", "Source"), rows) if rows else ""


def measures_table(telling: Telling) -> str:
    """Every core set measure at baseline and now: values, dates, change, where they are from."""
    return table(
        ("Measure", "Baseline", "Current", "Change", "Of range", "Observations"),
        (
            _measure_row(name, change, telling)
            for name, change in telling.chart.changes.items()
            if telling.ruleset.terms.vocabulary.measures[name].core_set
        ),
    )


def _measure_row(name: str, change: MeasureChange, telling: Telling) -> tuple[str, ...]:
    chart = telling.chart
    title = title_of(f"measure.{name}", telling)
    if change.instrument is None:
        return (title, "missing", "missing", "", "", escape(change.remark))
    instrument = telling.ruleset.terms.vocabulary.observations[change.instrument].title
    cells = [
        "missing" if m is None else f"{escape(show(m, chart))} ({m.day})"
        for m in (change.baseline, change.current)
    ]
    references = [m.reference for m in (change.baseline, change.current) if m is not None]
    said = ", ".join(map(escape, references))
    if change.remark:
        said += f" ({escape(change.remark)})"
    return (
        instrument if instrument.startswith(title) else f"{title}: {instrument}",
        *cells,
        say_change(change),
        "" if change.range_percent is None else _signed(change.range_percent),
        said,
    )


def say_change(change: MeasureChange) -> str:
    """The change relative to baseline in words: ``improved 42.9 %``."""
    if change.baseline is None or change.current is None:
        return ""
    if change.undefined:
        if change.worsening.low == INFINITY:
            return "worse (from 0, no percentage)"
        return "unchanged" if change.baseline.low == change.current.low else "rose from 0"
    return _signed(change.improvement.low)


def _signed(percent: Decimal) -> str:
    if percent == 0:
        return "unchanged"
    return f"{'improved' if percent > 0 else 'worse'} {say_number(abs(percent), '%')}"


def _visits(telling: Telling) -> str:
    visits = telling.chart.visits
    if visits.baseline is None:
        return f"No baseline: {visits.reason}."
    later = f"current {visits.current}" if visits.current else "no later assessment"
    return f"Baseline {visits.baseline} ({visits.reason}); {later}."


def _treatments(telling: Telling) -> str:
    exposures = sorted(
        (e for each in telling.chart.exposures.values() for e in each),
        key=lambda e: (str(e.start or ""), e.reference),
        reverse=True,
    )
    rows = []
    for exposure in exposures[:MOST_TREATMENTS]:
        said = describe(exposure)
        remark = f" ({exposure.remark})" if exposure.remark else ""
        now = {True: "yes", False: "no", None: "not known"}[exposure.current]
        rows.append((escape(said + remark), now, escape(exposure.reference)))
    if not rows:
        return "None that this service knows."
    more = len(exposures) - len(rows)
    return table(("Treatment", "Now", "From"), rows) + (f"\n\nand {more} earlier." if more else "")


MOST_TREATMENTS = 12
"""Rows of treatment on a card; a card is read at a glance."""


def criteria_table(trace: Trace) -> str:
    """Every condition of the rule: met or not, what was seen, and where that is from."""
    return table(("Criterion", "Met", "Seen", "From"), _criteria(trace, 0))


def _criteria(trace: Trace, depth: int) -> Iterator[tuple[str, ...]]:
    kind, truth = trace.node.kind, trace.truth
    parts = trace.parts
    if kind == "all" and depth == 0:
        for part in parts:
            yield from _criteria(part, 0)
        return
    about = parts[0] if kind in ("not", "unknown") else trace
    seen = "" if kind in ("all", "any") else about.seen
    yield (
        "– " * depth + escape(trace.node.says),
        SIGNS[truth],
        "" if seen == say_truth(truth) else escape(seen),
        escape("; ".join(map(say_evidence, about.evidence[:MOST_EVIDENCE]))),
    )
    if kind == "count":
        return  # its members stand in the table of measures, or are named by the text
    below = about.parts
    if len(below) == 1 and below[0].node.kind == "all" and kind != "any":
        below = below[0].parts
    for part in below:
        if kind != "any" or truth is not True or part.truth is True:
            yield from _criteria(part, depth + 1)


MOST_EVIDENCE = 4
"""Resources cited in one cell of the criteria; the first are the ones that count."""


def _missing(trace: Trace, telling: Telling) -> str:
    """What is not known and could still change something."""
    leaves: dict[str, None] = {}
    for node in _unknowns(trace):
        for leaf in undecided(node):
            fact = leaf.node.fact or ""
            name = ".".join(fact.split(".")[:2])
            measure = fact.startswith("measure.")
            leaves[title_of(name, telling) if measure else leaf.node.says] = None
    return escape(", ".join(leaves))


def _unknowns(trace: Trace) -> Iterator[Trace]:
    if trace.truth is None or (trace.node.kind == "unknown" and trace.truth is True):
        yield trace
        return
    for part in trace.parts:
        yield from _unknowns(part)


def _unverified(trace: Trace) -> list[str]:
    """Thresholds that were recalled and not read, of the conditions that this card rests on."""
    found: dict[str, None] = {}
    for part in walk(trace):
        constant = part.node.constant
        if constant and constant.number and constant.number.certainty == "unverified":
            note = f" ({constant.number.note})" if constant.number.note else ""
            name = (constant.parameter or "").replace("_", " ")
            found[escape(f"{name} {say_constant(constant)}{note}")] = None
    return list(found)


def _sources(rule: Rule, card: CardTemplate, telling: Telling) -> str:
    lines = [
        f"- {_link(item.source, telling)}: {escape(item.supports)} ({item.certainty})"
        for item in rule.file.evidence
    ]
    return "\n".join(lines)


def _link(key: str, telling: Telling) -> str:
    source = telling.ruleset.sources[key]
    label = escape(source.citation.split(". ")[0] + f" {source.year}")
    return f"[{label}]({source.url})" if source.url else escape(source.title)
