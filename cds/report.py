"""What the service makes of one patient's file: as a JSON record, and as a report to read.

Numbers of a record are exact: values as they were measured (in the unit given), and percentages in
full where they end within six decimal places. A percentage that does not end there is cut after the
sixth in such a way that it never reads as a number with fewer places, so no threshold looks reached
that was not, nor missed that was reached.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import date
from decimal import ROUND_05UP, Decimal
from fractions import Fraction
from typing import ClassVar

from msgspec import Raw, Struct
from rich import box
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.markdown import Markdown, MarkdownElement, TableElement
from rich.padding import Padding
from rich.rule import Rule as Line
from rich.table import Table
from rich.text import Text

from cds.advice import Advice
from cds.cards.beside import beside_core_set, courses, say_missing, say_others
from cds.cards.card import Card, Suggestion
from cds.cards.criteria import criteria_table
from cds.cards.detail import say_change, say_visits, terms_table
from cds.cards.texts import Telling, missing_facts, title_of
from cds.chart.assessments import MeasureChange, trend
from cds.chart.facts.observations import show
from cds.chart.measurements import Measurement, plain, recorded
from cds.chart.quantities import Category, Interval
from cds.fhir.bundles import Excluded
from cds.rules.ruleset import RuleSet, Selection
from cds.rules.trace import Seen, terms_of
from cds.rules.words import say_percent, say_value
from cds.terminal import printable

IMPROVED = "response.imacs.improved"
IMPROVED_MEASURES = "response.imacs.improved_measures"
WORSENED_MEASURES = "response.imacs.worsened_measures"
SCORE = "response.tis.score"
CATEGORY = "response.tis.category"
"""What the rules call the IMACS definition of improvement and the measures that count in it, and
the ACR/EULAR Total Improvement Score and its category."""


# --- the record ----------------------------------------------------------------------------------


class ValueRecord(Struct, frozen=True):
    """One value of a measure, a JSON number in its unit, on one day."""

    date: date
    value: Raw | None
    evidence: str


class MeasureRecord(Struct, frozen=True):
    """One measure at baseline and now.

    ``baseline`` and ``current`` are JSON numbers in ``unit``. ``improvement_percent`` is relative
    to baseline and positive for better, ``None`` where a value is missing or none is defined;
    ``change_percent`` is the improvement in percent of the instrument's range. ``course`` has every
    value of the instrument, in order of time.
    """

    id: str
    baseline: Raw | None
    current: Raw | None
    unit: str | None
    baseline_date: date | None
    current_date: date | None
    improvement_percent: Raw | None
    change_percent: Raw | None
    evidence: tuple[str, ...]
    instrument: str | None
    remark: str
    course: tuple[ValueRecord, ...]


class ImacsRecord(Struct, frozen=True):
    """The IMACS definition of improvement: met, not met, or ``None`` where it is undetermined."""

    improved: bool | None
    improved_measures: tuple[str, ...]
    worsened_measures: tuple[str, ...]
    undetermined_by: tuple[str, ...]


class ContributionRecord(Struct, frozen=True):
    """What one measure adds to the Total Improvement Score: from ``low`` to ``high`` points."""

    id: str
    low: Raw
    high: Raw
    most: Raw


class TisRecord(Struct, frozen=True):
    """The ACR/EULAR Total Improvement Score, an interval where measures are missing.

    ``category`` is the one that both bounds have, or the best that can be said (``at least
    minimal``), ``None`` where nothing can be; ``possible`` are all that it may be.
    """

    low: Raw
    high: Raw
    category: str | None
    possible: tuple[str, ...]
    undetermined_by: tuple[str, ...]
    contributions: tuple[ContributionRecord, ...]


class ResponseRecord(Struct, frozen=True):
    """The response criteria; ``tis`` is ``None`` where the rules in use do not define it."""

    imacs: ImacsRecord
    tis: TisRecord | None


class Record(Struct, frozen=True):
    """What ``cds evaluate --json`` says of one file.

    ``applies``: whether the rules are about this patient; where they are not, there are no cards.
    null where Conditions could not be read, so that this is not known. ``measures`` is the core
    set; ``beside`` are measures with a value that are not of it, and never counted.
    """

    file: str
    as_of: date
    patient: str
    applies: bool | None
    baseline_date: date | None
    current_date: date | None
    visits_reason: str
    current_reason: str
    previous_date: date | None
    measures: tuple[MeasureRecord, ...]
    beside: tuple[MeasureRecord, ...]
    response: ResponseRecord
    excluded: tuple[Excluded, ...]
    cards: tuple[Card, ...]
    rules_version: str


def record_of(file: str, advice: Advice, ruleset: RuleSet) -> Record:
    """The record of a file; the advice must have been made with ``everything``."""
    telling = _telling(advice, ruleset)
    visits = telling.chart.visits
    return Record(
        file=file,
        as_of=advice.as_of,
        patient=advice.patient,
        applies=advice.applies,
        baseline_date=visits.baseline,
        current_date=visits.current,
        visits_reason=visits.reason,
        current_reason=visits.current_reason,
        previous_date=visits.previous,
        measures=tuple(_measure(change, telling) for change in _core_set(telling)),
        beside=tuple(_measure(change, telling) for change in beside_core_set(telling)),
        response=ResponseRecord(_imacs(telling), _tis(telling)),
        excluded=advice.excluded,
        cards=advice.cards,
        rules_version=ruleset.version,
    )


def _telling(advice: Advice, ruleset: RuleSet) -> Telling:
    if advice.chart is None or advice.evaluation is None:
        raise ValueError("a report needs advice made with `everything`")
    return Telling(ruleset, advice.chart, advice.evaluation, {})


def _core_set(telling: Telling) -> list[MeasureChange]:
    measures = telling.ruleset.terms.vocabulary.measures
    return [change for name, change in telling.chart.changes.items() if measures[name].core_set]


def _measure(change: MeasureChange, telling: Telling) -> MeasureRecord:
    vocabulary = telling.ruleset.terms.vocabulary
    unit = None
    if change.instrument is not None:
        unit = vocabulary.units[vocabulary.observations[change.instrument].units].unit
    taken = [m for m in (change.baseline, change.current) if m is not None]
    return MeasureRecord(
        id=change.measure,
        baseline=_value(change.baseline),
        current=_value(change.current),
        unit=unit,
        baseline_date=change.baseline.day if change.baseline else None,
        current_date=change.current.day if change.current else None,
        improvement_percent=_percent(change.relative),
        change_percent=_percent(change.range_percent),
        evidence=tuple(dict.fromkeys(m.reference for m in taken)),
        instrument=change.instrument,
        remark=change.remark,
        course=tuple(
            ValueRecord(m.day, _value(m), m.reference)
            for m in trend(change, telling.chart.measurements.series)
        ),
    )


def _value(measurement: Measurement | None) -> Raw | None:
    if measurement is None or measurement.value is None:
        return None
    return Raw(plain(measurement.value).encode())


_SIXTH_PLACE = Decimal("0.000001")


def _percent(percent: Decimal | None) -> Raw | None:
    """Write a percentage as the module says; ROUND_05UP never leaves a last digit of 0 or 5."""
    if percent is None:
        return None
    return Raw(plain(percent.quantize(_SIXTH_PLACE, ROUND_05UP)).encode())


def _imacs(telling: Telling) -> ImacsRecord:
    improved = telling.evaluation.values.get(IMPROVED)
    return ImacsRecord(
        improved=improved if isinstance(improved, bool) else None,
        improved_measures=_ids(_selected(IMPROVED_MEASURES, telling)),
        worsened_measures=_ids(_selected(WORSENED_MEASURES, telling)),
        undetermined_by=_ids(_missing(IMPROVED, telling)),
    )


def _tis(telling: Telling) -> TisRecord | None:
    score, category = (telling.evaluation.values.get(name) for name in (SCORE, CATEGORY))
    if not isinstance(score, Interval):
        return None
    ranks = category.possible if isinstance(category, Category) else ()
    known = isinstance(category, Category) and ranks != category.of
    return TisRecord(
        low=_number(score.low),
        high=_number(score.high),
        category=say_value(category, "") if known else None,
        possible=ranks,
        undetermined_by=_ids(_missing(SCORE, telling)),
        contributions=tuple(
            ContributionRecord(
                each.part.fact.removeprefix("measure.").partition(".")[0],
                _number(each.points.low),
                _number(each.points.high),
                _number(each.part.most),
            )
            for each in terms_of(SCORE, _seen(telling))
        ),
    )


def _number(number: Decimal) -> Raw:
    return Raw(plain(number).encode())


def _seen(telling: Telling) -> Seen:
    return Seen(telling.ruleset, telling.chart, telling.evaluation)


def _selected(name: str, telling: Telling) -> tuple[str, ...]:
    return telling.evaluation.selections.get(name, Selection((), ())).members


def _missing(name: str, telling: Telling) -> list[str]:
    """The facts that would settle a derived fact, if it is unknown: measures in their own order."""
    order = [f"measure.{change.measure}" for change in _core_set(telling)]
    missing = missing_facts(name, telling)
    return sorted(missing, key=lambda fact: order.index(fact) if fact in order else len(order))


def _ids(facts: Iterable[str]) -> tuple[str, ...]:
    return tuple(fact.removeprefix("measure.") for fact in facts)


# --- the report ----------------------------------------------------------------------------------


def print_report(file: str, advice: Advice, ruleset: RuleSet, console: Console) -> None:
    """Print the report of a file; the advice must have been made with ``everything``."""
    telling = _telling(advice, ruleset)
    for part in _report(file, advice, telling):
        console.print(part, highlight=False)


def _text(text: str, style: str = "") -> Text:
    return Text(printable(text), style)


def _report(file: str, advice: Advice, telling: Telling) -> Iterator[RenderableType]:
    yield Line(_text(file, "bold"), style="none", align="left")
    version = telling.ruleset.version
    yield _text(f"Patient {advice.patient}, as of {advice.as_of}, by rules {version}")
    for card in advice.cards:
        label, style = _LOOKS[card.indicator]
        yield _hanging(Text(f"{label}: ", style), card.summary)
    yield ""
    yield from _measures(telling)
    if advice.applies:
        yield ""
        yield from _definition(telling)
        yield from _score(telling)
        yield from _criteria(telling)
    if advice.cards:
        for card in advice.cards:
            yield ""
            yield _card(card)
    else:
        yield ""
        yield _no_cards(advice, telling)
    if advice.excluded:
        yield ""
        yield _left_out(advice.excluded)
    yield ""


def _measures(telling: Telling) -> Iterator[RenderableType]:
    yield Text("Core set measures", "bold")
    visits = telling.chart.visits
    if not any(change.instrument for change in _core_set(telling)):
        yield _text(_sentence(visits.reason))
        return
    yield _measures_table(_core_set(telling), telling)
    yield ""
    yield _text(say_visits(telling))
    if beside := beside_core_set(telling):
        yield ""
        yield Text("Beside the core set, not counted", "bold")
        yield _measures_table(beside, telling)
    if courses_of := list(courses(telling)):
        yield ""
        yield Text("Course", "bold")
        for title, taken in courses_of:
            values = " → ".join(f"{show(m, telling.chart)} ({m.day})" for m in taken)
            yield _hanging("• ", f"{title}: {values}")


def _measures_table(changes: Iterable[MeasureChange], telling: Telling) -> Table:
    table = _table()
    for head in ("Measure", "Baseline", "Current", "Change"):
        table.add_column(head, overflow="fold")
    for change in changes:
        table.add_row(*_measure_cells(change, telling))
    return table


def _measure_cells(change: MeasureChange, telling: Telling) -> Iterator[RenderableType]:
    observations = telling.ruleset.terms.vocabulary.observations
    title = telling.ruleset.terms.vocabulary.measures[change.measure].title
    instrument = observations[change.instrument].title if change.instrument else ""
    remarks = (change.remark, *say_others(change, telling))
    yield _lines(title, instrument.removeprefix(f"{title}, "), *remarks)
    visits = telling.chart.visits
    for measurement, visit in (
        (change.baseline, visits.baseline),
        (change.current, visits.current),
    ):
        if measurement is None:
            yield Text(say_missing(change.measure, visit, telling), "italic")
        else:
            as_recorded = f"{said} as recorded" if (said := recorded(measurement)) else ""
            yield _lines(show(measurement, telling.chart), as_recorded, str(measurement.day))
    of_range = change.range_percent
    apart = telling.ruleset.thresholds
    said = "" if of_range is None else f"{say_percent(abs(of_range), apart)} of the range"
    yield _lines(say_change(change, telling), said)


def _lines(first: str, *others: str) -> Text:
    lines = _text(first)
    for other in filter(None, others):
        lines.append(f"\n{printable(other)}", "dim")
    return lines


_FOUND = {True: "✓ met", False: "✗ not met", None: "? undetermined"}


def _definition(telling: Telling) -> Iterator[RenderableType]:
    """The IMACS definition of improvement: its answer, the measures that count, its criteria."""
    rule = telling.ruleset.deriving.get(IMPROVED)
    if rule is None:
        yield Text("The rules in use do not define the IMACS definition of improvement.")
        return
    truth = telling.evaluation.outcomes[rule.id]
    yield Text.assemble((printable(rule.file.title), "bold"), ": ", (_FOUND[truth], "bold"))
    for label, facts in (
        ("Improved", _selected(IMPROVED_MEASURES, telling)),
        ("Worsened", _selected(WORSENED_MEASURES, telling)),
        ("What would settle it", _missing(IMPROVED, telling)),
    ):
        if facts:
            yield _hanging(f"  {label}: ", _titles(facts, telling))
    yield _Markdown(printable(criteria_table(rule, telling)))


def _score(telling: Telling) -> Iterator[RenderableType]:
    """The Total Improvement Score: its category, the points of each measure, what is missing."""
    score, category = (telling.evaluation.values.get(name) for name in (SCORE, CATEGORY))
    if score is None:
        return
    facts = telling.ruleset.facts
    said = f"{say_value(score, facts[SCORE].unit)}, {say_value(category, '')}"
    yield ""
    yield Text.assemble((printable(facts[SCORE].title), "bold"), ": ", (printable(said), "bold"))
    if missing := _missing(SCORE, telling):
        yield _hanging("  What would settle it: ", _titles(missing, telling))
    yield _Markdown(printable(terms_table(SCORE, telling)))


def _criteria(telling: Telling) -> Iterator[RenderableType]:
    """Every further conclusion of the rules, and what would settle those that are unknown."""
    against = {rule.id for rule in telling.ruleset.contraindications}
    further = [
        r
        for r in telling.ruleset.rules
        if r.file.derive not in (None, IMPROVED) and r.id not in against
    ]
    if not further:
        return
    yield ""
    yield Text("Further criteria", "bold")
    for rule in further:
        truth = telling.evaluation.outcomes[rule.id]
        sign, found = _FOUND[truth].split(" ", 1)
        missing = _missing(rule.file.derive or "", telling)
        settled = f"; what would settle it: {_titles(missing, telling)}" if missing else ""
        yield _hanging(f"{sign} ", f"{rule.file.title}: {found}{settled}")


def _titles(facts: Iterable[str], telling: Telling) -> str:
    return ", ".join(title_of(fact, telling) for fact in facts)


def _hanging(sign: str | Text, text: str) -> RenderableType:
    """A line that, where it is longer than the terminal, goes on under its own beginning."""
    grid = Table.grid()
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    grid.add_row(_text(sign) if isinstance(sign, str) else sign, _text(text))
    return grid


_LOOKS = {
    "critical": ("!!! CRITICAL", "bold red"),
    "warning": ("! WARNING", "bold yellow"),
    "info": ("i INFORMATION", "bold blue"),
}
"""How urgent a card is: in a sign and a word, so that colour is never needed."""


def _card(card: Card) -> RenderableType:
    label, style = _LOOKS[card.indicator]
    parts: list[RenderableType] = [
        Line(Text(label, style), style=style, align="left", characters="━"),
        _text(card.summary, "bold"),
        "",
        _Markdown(printable(card.detail)),
    ]
    for suggestion in card.suggestions:
        parts += ["", *_suggestion(suggestion)]
    if card.links:
        parts += ["", Text("Links", "bold")]
        parts += [_hanging("• ", f"{link.label}\n{link.url}") for link in card.links]
    return Group(*parts)


def _suggestion(suggestion: Suggestion) -> Iterator[RenderableType]:
    yield Text.assemble(("Suggestion: ", "bold"), printable(suggestion.label))
    for action in suggestion.actions:
        kind = action.resource.get("resourceType", "resource")
        yield Padding(_text(f"{action.type} {kind}: {action.description}"), (0, 0, 0, 2))


def _no_cards(advice: Advice, telling: Telling) -> RenderableType:
    if advice.applies:
        return Text("No cards: no rule has anything to say.", "bold")
    title = telling.ruleset.facts[telling.ruleset.applies_to].title
    if advice.applies is None:
        why = "Conditions are missing or could not be read"
        said = f"No cards can be given: {why}, so whether “{title}” is recorded is not known."
        return _text(said, "bold")
    return _text(f"No cards: the rules are about “{title}”, which is not recorded here.", "bold")


def _left_out(excluded: Sequence[Excluded]) -> RenderableType:
    """What was delivered and not used, by reason."""
    by_reason: dict[str, list[str]] = {}
    for item in excluded:
        by_reason.setdefault(item.reason, []).append(item.reference)
    parts: list[RenderableType] = [Text(f"Not used ({len(excluded)})", "bold")]
    for reason, references in by_reason.items():
        parts.append(_hanging("• ", _sentence(reason)))
        parts.append(Padding(_text(", ".join(references), "dim"), (0, 0, 0, 4)))
    return Group(*parts)


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."


# --- Markdown ------------------------------------------------------------------------------------


class _FittingTable(TableElement):
    """A table that is never cut off: where its words do not fit, its rows are listed instead.

    The tables of rich shorten words that are longer than their column, and references are long.
    """

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        head = self.header.row if self.header else None
        heads = [cell.content for cell in head.cells] if head else []
        rows = [[cell.content for cell in row.cells] for row in self.body.rows] if self.body else []
        widths = _widths([heads, *rows], options.max_width)
        if widths is None:
            yield _listed(heads, rows, options.max_width)
        else:
            yield _tabled(heads, rows, widths)


class _Markdown(Markdown):
    """Markdown of cards."""

    elements: ClassVar[dict[str, type[MarkdownElement]]] = {
        **Markdown.elements,
        "table_open": _FittingTable,
    }


_GAP = 2
"""Columns of the terminal between two columns of a table."""

_READABLE = 18
"""Columns of the terminal below which running text in a table cannot be read with ease."""


def _widths(rows: list[list[Text]], available: int) -> list[int] | None:
    """The width of each column of a table, or ``None`` where it cannot be read at this width."""
    columns = list(zip(*rows, strict=True))
    natural = [max(cell.cell_len for cell in column) for column in columns]
    least = [
        max(min(full, _READABLE), *(cell_len(w) for cell in column for w in cell.plain.split()), 0)
        for full, column in zip(natural, columns, strict=True)
    ]
    spare = available - _GAP * (len(columns) - 1) - sum(least)
    if spare < 0:
        return None
    wanted = [full - few for full, few in zip(natural, least, strict=True)]
    share = min(Fraction(1), Fraction(spare, sum(wanted) or 1))
    return [few + int(want * share) for few, want in zip(least, wanted, strict=True)]


def _tabled(heads: list[Text], rows: list[list[Text]], widths: list[int]) -> RenderableType:
    table = _table()
    for head, width in zip(heads, widths, strict=True):
        table.add_column(head, width=width)
    for row in rows:
        table.add_row(*row)
    return table


def _table() -> Table:
    return Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, collapse_padding=True)


def _listed(heads: list[Text], rows: list[list[Text]], available: int) -> RenderableType:
    """Rows as paragraphs: the first cell, and below it the others, each after its heading."""
    parts: list[RenderableType] = []
    for first, *others in rows:
        parts.append(first)
        said = [
            Text.assemble((f"{head.plain}: ", "dim"), cell)
            for head, cell in zip(heads[1:], others, strict=True)
            if cell.plain
        ]
        parts += [Padding(line, (0, 0, 0, 4)) for line in _filled(said, available - 4)]
    return Group(*parts)


def _filled(said: list[Text], width: int) -> list[Text]:
    """Put as many texts on a line as fit whole."""
    lines: list[Text] = []
    for text in said:
        joined = Text(" · ").join([lines[-1], text]) if lines else text
        if lines and joined.cell_len <= width:
            lines[-1] = joined
        else:
            lines.append(text)
    return lines
