"""What a card rests on besides the thresholds of its rule: the choice of visits, of courses of
treatment and of the age of adults, where nobody read those numbers in a source."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from msgspec import Struct

from cds.cards.markdown import in_sentence
from cds.cards.once import once
from cds.cards.texts import Telling
from cds.chart.chart import Chart
from cds.chart.facts import level_of
from cds.chart.held import instruments_of
from cds.chart.quantities import Interval
from cds.chart.vocabulary import Number, Vocabulary
from cds.rules.ruleset import RuleSet
from cds.rules.words import say_number


class _Choice(Struct, frozen=True):
    """A choice that was recalled, in a few words, and the drug that it is about, if it is.

    ``level`` is the fact of a level at which a measure was held: what that rests on depends on the
    patient's instruments. ``asserted`` is the diagnosis or finding, ``observed`` the observation
    that must be on record for it to bear on the patient.
    """

    said: str
    drug: str | None = None
    level: str | None = None
    asserted: str | None = None
    observed: str | None = None


def unverified_choices(facts: Iterable[str], telling: Telling) -> Iterator[str]:
    """What of the choices behind these facts was recalled and not read, each in a few words."""
    for choice in _choices(tuple(facts), telling.ruleset):
        if choice.level is not None:
            yield from _of_level(choice.level, telling)
        elif _bears(choice, telling.chart):
            yield choice.said


def _bears(choice: _Choice, chart: Chart) -> bool:
    """Whether what a choice is about is on record."""
    return (
        (choice.drug is None or choice.drug in chart.exposures)
        and (choice.asserted is None or choice.asserted in chart.conditions)
        and (choice.observed is None or choice.observed in chart.measurements.series)
    )


@once
def _choices(facts: tuple[str, ...], ruleset: RuleSet) -> tuple[_Choice, ...]:
    """The choices behind these facts that were recalled, whoever the patient is."""
    return tuple(_recalled(facts, ruleset.terms.vocabulary))


def _recalled(facts: tuple[str, ...], vocabulary: Vocabulary) -> Iterator[_Choice]:
    numbers = vocabulary.assessments
    kinds = [fact.split(".") for fact in facts]
    if numbers is not None:
        if any(kind in ("measure", "assessment") for kind, *_ in kinds):
            visits = {
                "within": numbers.window,
                "grace": numbers.grace,
                "look-back": numbers.look_back,
                "least interval": numbers.least_interval,
            }
            if said := _said(visits):
                yield _Choice(f"choice of the visits compared ({said})")
        for fact in facts:
            if level_of(fact, vocabulary) is not None:
                yield _Choice("", level=fact)
        if any(f in (["treatment", "line_days"], ["drug", f[1], "days"]) for f in kinds) and (
            said := _said({"gap": numbers.course_gap})
        ):
            yield _Choice(f"what is one course of treatment ({said})")
    named = (name for kind, name, *form in kinds if kind == "drug" and form != ["ever"])
    drugs = dict.fromkeys(named)  # not a set: equal input, equal cards
    for drug in dict.fromkeys(each for name in drugs for each in _drugs(name, vocabulary)):
        covers = vocabulary.drugs[drug].covers
        if covers is not None and (said := _said({"": covers})):
            title = vocabulary.drugs[drug].title
            yield _Choice(f"how long one administration counts: {title}, {said}", drug)

    yield from _spans(facts, vocabulary)


def _spans(facts: tuple[str, ...], vocabulary: Vocabulary) -> Iterator[_Choice]:
    """For how long findings and measurements count."""
    for kind, name, *form in (fact.split(".") for fact in facts):
        if kind in ("diagnosis", "finding") and not form:
            entries = vocabulary.diagnoses if kind == "diagnosis" else vocabulary.findings
            for member in entries[name].any_of or (name,):
                entry = entries[member]
                if entry.counts_for is not None and (said := _said({"": entry.counts_for})):
                    about = f"for how long {in_sentence(entry.title)} counts, {said}"
                    yield _Choice(about, asserted=f"{kind}.{member}")
        if kind == "observation" and form in (["latest"], ["multiple"]):
            within = vocabulary.observations[name].counts_for
            if within is not None and (said := _said({"": within})):
                title = in_sentence(vocabulary.observations[name].title)
                yield _Choice(f"for how long {title} counts, {said}", observed=name)


def _of_level(fact: str, telling: Telling) -> Iterator[str]:
    """What of a level at which a measure has been held was recalled; nothing where it is not."""
    vocabulary = telling.ruleset.terms.vocabulary
    level = level_of(fact, vocabulary)
    value = telling.evaluation.values.get(fact)
    if level is None or not isinstance(value, Interval) or value.low <= 0:
        return
    name = fact.split(".")[1]
    said = []
    for each in instruments_of(name, level, telling.chart):
        number = level.no_worse_than.get(each)
        if number is not None and number.certainty == "unverified":
            entry = vocabulary.observations[each]
            bound = "at most" if entry.worse == "higher" else "at least"
            said.append(f"{entry.title} {bound} {say_number(number.value, number.unit)}")
    limits = level.upper_limits
    if limits is not None and limits.certainty == "unverified":
        title = vocabulary.measures[name].title
        said.append(f"{title} at most {say_number(limits.value, '')} × its upper limit")
    if said:
        yield f"{level.title}: {', '.join(said)}"
    numbers = vocabulary.assessments
    if numbers and numbers.held_gap and (gap := _said({"": numbers.held_gap})):
        yield f"what is so at two visits is so between them, if no more than {gap} lie there"


def _drugs(name: str, vocabulary: Vocabulary) -> tuple[str, ...]:
    """The drugs of a class, or the drug itself."""
    entry = vocabulary.drug_classes.get(name)
    return entry.any_of if entry is not None else (name,)


def _said(numbers: dict[str, Number]) -> str:
    return ", ".join(
        f"{name} {say_number(number.value, number.unit)}".strip()
        for name, number in numbers.items()
        if number.certainty == "unverified"
    )
