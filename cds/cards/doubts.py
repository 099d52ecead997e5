"""What a card rests on or shows, and nobody read in a source of its own: how well it is known.

Numbers that were recalled, and those that were read in one secondary source.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TypeAlias

from cds.cards.markdown import escape_authored
from cds.cards.once import once
from cds.cards.options import doubts_of_options
from cds.cards.resting import Doubt, doubted_choices, doubts_about, rests_on
from cds.cards.shown import asks_for_weight
from cds.cards.texts import Telling, parameters_behind
from cds.chart.assessments import range_in_upper_limits
from cds.chart.vocabulary import Certainty, MeasureEntry, Number, Vocabulary
from cds.chart.weight import last_weight
from cds.rules.parsing import parameter_of
from cds.rules.ruleset import CardTemplate, Rule, RuleSet
from cds.rules.site import SiteNumber
from cds.rules.texts import Slot, Text, names_in
from cds.rules.words import say_number

HEADS: dict[Certainty, str] = {
    "one source": "Read in one secondary source",
    "unverified": "Not verified in a source",
}
"""How what is in doubt is headed on a card, by its certainty."""


def doubts_blocks(
    rule: Rule, card: CardTemplate, slots: tuple[Slot, ...], telling: Telling
) -> list[str]:
    """What is in doubt on the card of a rule, as blocks of Markdown: one for each certainty.

    ``slots`` are those of its texts.
    """
    found = list(dict.fromkeys(_doubts(rule, card, slots, telling)))
    blocks = []
    for certainty, head in HEADS.items():
        said = [escape_authored(each.said) for each in found if each.certainty == certainty]
        if said:
            blocks.append(f"**{head}:** {'; '.join(said)}.")
    return blocks


def _doubts(
    rule: Rule, card: CardTemplate, slots: tuple[Slot, ...], telling: Telling
) -> Iterator[Doubt]:
    ruleset = telling.ruleset
    rests = rests_on((rule.node, *card.shown_when), names_in(slots), telling)
    for asked, number in rests.doubted:
        yield _with_note(asked, number)
    for fact in rests.facts:
        if fact.startswith(("drug.", "elapsed.", "observation.")):
            yield from _behind(fact, ruleset)
    asked_for = {(each.parameter, each.number) for each in rests.constants}
    for name, number in _shown(rule, card, slots, telling):
        if (name, number) not in asked_for:
            yield _with_note(say_number(number.value, number.unit), number)
    weight = last_weight(telling.chart) if asks_for_weight(slots) else None
    if weight is not None:
        yield from doubts_about("for how long a body weight counts, {}", {"": weight.within})
    for fact in rests.facts:
        if fact.startswith("dose."):
            yield from _of_dose(fact, telling)
    yield from doubts_of_options(card, telling)
    yield from doubted_choices(rests.facts, telling)
    if "measures" in card.show:
        yield from _of_ranges(telling)


def _with_note(said: str, number: Number) -> Doubt:
    return Doubt(number.certainty, f"{said} ({number.note})" if number.note else said)


# --- numbers in texts ----------------------------------------------------------------------------


_Parameter: TypeAlias = tuple[str, Number]


def _shown(
    rule: Rule, card: CardTemplate, slots: tuple[Slot, ...], telling: Telling
) -> Iterator[_Parameter]:
    """The parameters in doubt that stand in the texts that are shown, those of drafts included.

    Not those that a site set: they are told as such.
    """
    yield from _in_text(slots, rule.file.parameters, telling)
    for draft in card.suggestions:
        for text in draft.strings.values():
            yield from _in_text(text, draft.parameters, telling)


def _in_text(text: Text, own: Mapping[str, Number], telling: Telling) -> Iterator[_Parameter]:
    for part in text:
        if not isinstance(part, Slot):
            continue
        found: tuple[_Parameter, ...] = ()
        if part.dose is not None:
            found = tuple(part.dose.numbers)
        elif (named := parameter_of(part.name)) is not None:
            fact, name = named
            behind = parameters_behind(fact, telling.ruleset) if fact else own
            found = ((name, behind[name]),)
        for name, number in found:
            if number.certainty != "verified" and not isinstance(number, SiteNumber):
                yield name, number


# --- numbers of the vocabulary -------------------------------------------------------------------


@once
def _behind(fact: str, ruleset: RuleSet) -> tuple[Doubt, ...]:
    """What of a fact is in doubt: the dose of a pulse, how far back a fall is looked for."""
    return tuple(_doubted(fact, ruleset.terms.vocabulary))


def _doubted(fact: str, vocabulary: Vocabulary) -> Iterator[Doubt]:
    kind, name, *form = fact.split(".")
    if kind == "elapsed":
        entry = vocabulary.elapsed[name]
        for each in (*entry.since, entry.until):
            yield from _doubted(each, vocabulary)
    if kind == "drug" and name in vocabulary.drug_classes:
        drugs = vocabulary.drug_classes[name]
        if drugs.daily_dose_at_least is not None:
            yield from doubts_about(drugs.title + " from {} a day", {"": drugs.daily_dose_at_least})
    if kind == "observation":
        observed = vocabulary.observations[name]
        within = observed.falls.get(form[0].removesuffix("_from")) if form else None
        if within is not None:
            yield from doubts_about(observed.title + ", fall within {}", {"": within})


def _of_dose(fact: str, telling: Telling) -> Iterator[Doubt]:
    """What of a daily dose is in doubt: equal doses, the level, the gap between orders."""
    _, name, form = fact.split(".")
    entry = telling.ruleset.terms.vocabulary.doses[name]
    doses = telling.chart.draft_doses if form == "ordered" else telling.chart.doses
    taken = doses[name].taken if name in doses else ()
    base = entry.equal[entry.expressed_in]
    for drug in sorted({each.exposure.drug for each in taken} - {entry.expressed_in}):
        about = f"{{}} {drug} counted as {say_number(base.value, base.unit)} {entry.expressed_in}"
        yield from doubts_about(about, {"": entry.equal[drug]})
    level = entry.levels.get(form.removeprefix("days_"))
    if level is not None:
        yield from doubts_about(level.title + ", {}", {"": level.dose})
        yield from doubts_about("gap between orders, {}", {"": entry.gap})


def _of_ranges(telling: Telling) -> Iterator[Doubt]:
    """Ranges of instruments that changes are counted of or missing values lie in."""
    vocabulary = telling.ruleset.terms.vocabulary
    for name, change in telling.chart.changes.items():
        if change.instrument is None or not vocabulary.measures[name].core_set:
            continue
        yield from _of_choice(vocabulary.measures[name], telling)
        entry = vocabulary.observations[change.instrument]
        scale = range_in_upper_limits(entry, adult=telling.chart.adult)
        if entry.adult_range_in_upper_limits is not None:
            if scale is None or change.range_percent is None:
                continue
            adult_from = telling.ruleset.terms.adult_from
            if adult_from is not None and not isinstance(adult_from, SiteNumber):
                about = "ranges of enzymes in adults, from {}"
                yield from doubts_about(about, {"": adult_from})
            about = f"range of {entry.title}, {{}} times its upper limit"
            yield from doubts_about(about, {"": scale})
        elif change.baseline and entry.range and entry.range.certainty != "verified":
            yield Doubt(entry.range.certainty, f"range of {entry.title}")


def _of_choice(measure: MeasureEntry, telling: Telling) -> Iterator[Doubt]:
    """How the instrument of a measure was chosen, where there were several to choose from."""
    series = telling.chart.measurements.series
    if sum(bool(series.get(each)) for each in measure.instruments) > 1:
        for said in measure.statements.values():
            if said.certainty != "verified":
                yield Doubt(said.certainty, said.says)
