"""What a card rests on: the thresholds that decided, and the choice of visits, of courses of
treatment and of the age of adults behind the facts that did."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from msgspec import Struct

from cds.cards.history import ingredients
from cds.cards.once import once
from cds.cards.texts import Telling
from cds.chart.chart import Chart
from cds.chart.facts.drugs import CONTRAINDICATION
from cds.chart.facts.measures import last_level_of, level_of
from cds.chart.held import instruments_of
from cds.chart.quantities import Interval
from cds.chart.terms import in_sentence
from cds.chart.vocabulary import Certainty, Number, Vocabulary
from cds.rules.conditions import Constant
from cds.rules.derivations import HowMany, Ranks, Sum
from cds.rules.nodes import Node, bearing
from cds.rules.resting import most_of
from cds.rules.ruleset import RuleSet
from cds.rules.site import SiteNumber
from cds.rules.words import say_number


class Rests(Struct, frozen=True):
    """The thresholds on which a card rests for one patient, and the facts behind its conditions.

    Each threshold has the conditions that ask for it, in words.
    """

    constants: dict[Constant, tuple[str, ...]]
    facts: tuple[str, ...]

    @property
    def doubted(self) -> Iterator[tuple[str, Number]]:
        """Those thresholds that nobody read in a source of their own, but for those of a site.

        These are its own decision, and are told as such.
        """
        for constant, asked in self.constants.items():
            number = constant.number
            if number and number.certainty != "verified" and not isinstance(number, SiteNumber):
                first, *others = asked
                yield " and ".join((first, *map(in_sentence, others))), number


def rests_on(conditions: Iterable[Node], said: Iterable[str], telling: Telling) -> Rests:
    """What conditions rest on, and facts that are said: of each what makes it what it is.

    Where one of several that must all be met is not, it is that one; what stands behind facts that
    rules derive is opened likewise. What speaks against drugs is told where it does.
    """
    ruleset, values = telling.ruleset, telling.evaluation.values
    constants: dict[Constant, tuple[str, ...]] = {}
    facts: dict[str, None] = {}
    # With the words of a count that asks it of each of its members.
    waiting: list[tuple[Node, str | None]] = []

    def rest_on(constant: Constant, asked: str) -> None:
        known = constants.get(constant, ())
        if asked not in known:
            constants[constant] = (*known, asked)

    def open_fact(fact: str) -> None:
        if fact.startswith(CONTRAINDICATION):
            return
        facts[fact] = None
        if fact in ruleset.deriving:
            waiting.append((ruleset.deriving[fact].node, None))
            return
        derivation = ruleset.derivations.get(fact)
        match derivation.makes if derivation else None:
            case Sum(parts=parts):
                for part in parts:
                    points = f"at most {say_number(part.most, '')} points"
                    rest_on(most_of(part), f"{ruleset.facts[part.fact].title}, {points}")
                    if part.fact not in facts:
                        open_fact(part.fact)
            case HowMany(node=node):
                waiting.append((node, None))
            case Ranks(ranks=ranks):
                for _, rank in ranks:
                    if rank is not None:
                        waiting.append((rank, None))
                        if rank.test(values) is True:
                            break

    def open_conditions() -> None:
        while waiting:
            node, counted = waiting.pop()
            if node.kind != "fact":
                if node.kind in ("all", "any"):
                    counted = None
                elif node.kind == "count":
                    counted = node.says
                parts = bearing(node.kind, node.parts, lambda part: part.test(values))
                waiting.extend((part, counted) for part in reversed(parts))
                continue
            if node.constant is not None:
                rest_on(node.constant, counted or node.says)
            if node.fact is not None and node.fact not in facts:
                open_fact(node.fact)

    for node in conditions:
        waiting.append((node, None))
        open_conditions()
    asked = tuple(facts)
    for fact in said:
        if fact not in facts:
            open_fact(fact)
            open_conditions()
    return Rests(constants, asked)


class Doubt(Struct, frozen=True):
    """Something in doubt, in a few words, and how certain it is."""

    certainty: Certainty
    said: str


class _Choice(Struct, frozen=True):
    """A choice that is in doubt, and the drug that it is about, if it is.

    ``level`` is the fact of a level at which a measure was held: what that rests on depends on the
    patient's instruments. ``asserted`` is the diagnosis or finding, ``observed`` the observation
    that must be on record for it to bear on the patient, ``planned`` the drug of which an order
    that begins later must be.
    """

    doubt: Doubt | None = None
    drug: str | None = None
    level: str | None = None
    asserted: str | None = None
    observed: str | None = None
    planned: str | None = None


def doubted_choices(facts: Iterable[str], telling: Telling) -> Iterator[Doubt]:
    """What of the choices behind these facts is in doubt, each once and in a few words."""
    found: dict[Doubt, None] = {}
    for fact in facts:
        for choice in _choices(fact, telling.ruleset):
            if choice.level is not None:
                found.update(dict.fromkeys(_of_level(choice.level, telling)))
            elif choice.doubt is not None and _bears(choice, telling.chart):
                found[choice.doubt] = None
    yield from found


def _bears(choice: _Choice, chart: Chart) -> bool:
    """Whether what a choice is about is on record."""
    return (
        (choice.drug is None or choice.drug in chart.exposures)
        and (choice.planned is None or choice.planned in chart.planned)
        and (choice.asserted is None or choice.asserted in chart.conditions)
        and (choice.observed is None or choice.observed in chart.measurements.series)
    )


@once
def _choices(fact: str, ruleset: RuleSet) -> tuple[_Choice, ...]:
    """The choices behind a fact that are in doubt, whoever the patient is."""
    return tuple(_doubted(fact, ruleset.terms.vocabulary))


def _doubted(fact: str, vocabulary: Vocabulary) -> Iterator[_Choice]:
    numbers = vocabulary.assessments
    kind, name, *form = fact.split(".")
    if numbers is not None:
        if kind in ("measure", "assessment"):
            visits = {
                "within": numbers.window,
                "grace": numbers.grace,
                "look-back": numbers.look_back,
                "least interval": numbers.least_interval,
            }
            for doubt in doubts_about("choice of the visits compared ({})", visits):
                yield _Choice(doubt)
        if level_of(fact, vocabulary) or last_level_of(fact, vocabulary):
            yield _Choice(level=fact)
        if fact == "treatment.line_days" or (kind == "drug" and form == ["days"]):
            gap = {"gap": numbers.course_gap}
            for doubt in doubts_about("what is one course of treatment ({})", gap):
                yield _Choice(doubt)
    if kind == "drug" and form != ["ever"]:
        for drug in ingredients(name, vocabulary):
            covers = vocabulary.drugs[drug].covers
            if covers is not None:
                about = f"how long one administration counts: {vocabulary.drugs[drug].title}, {{}}"
                for doubt in doubts_about(about, {"": covers}):
                    yield _Choice(doubt, drug)
    if kind == "drug" and form in ([], ["current"], ["ever"]) and numbers and numbers.ordered_ahead:
        about = "how soon an order must begin to count ({})"
        for doubt in doubts_about(about, {"": numbers.ordered_ahead}):
            for drug in ingredients(name, vocabulary):
                yield _Choice(doubt, planned=drug)
    yield from _spans(fact, vocabulary)


def _spans(fact: str, vocabulary: Vocabulary) -> Iterator[_Choice]:
    """For how long a finding or a measurement counts."""
    kind, name, *form = fact.split(".")
    if kind in ("diagnosis", "finding") and not form:
        entries = vocabulary.diagnoses if kind == "diagnosis" else vocabulary.findings
        for member in entries[name].any_of or (name,):
            entry = entries[member]
            if entry.counts_for is not None:
                about = f"for how long {in_sentence(entry.title)} counts, {{}}"
                for doubt in doubts_about(about, {"": entry.counts_for}):
                    yield _Choice(doubt, asserted=f"{kind}.{member}")
    if kind == "observation" and form in (["latest"], ["multiple"]):
        within = vocabulary.observations[name].counts_for
        if within is not None:
            about = f"for how long {in_sentence(vocabulary.observations[name].title)} counts, {{}}"
            for doubt in doubts_about(about, {"": within}):
                yield _Choice(doubt, observed=name)


def _of_level(fact: str, telling: Telling) -> Iterator[Doubt]:
    """What of a level at which a measure is or has been held is in doubt.

    Nothing where it has not been held, or where that is not known.
    """
    vocabulary = telling.ruleset.terms.vocabulary
    held = level_of(fact, vocabulary)
    level = held or last_level_of(fact, vocabulary)
    value = telling.evaluation.values.get(fact)
    if level is None or value is None or (isinstance(value, Interval) and value.low <= 0):
        return
    name = fact.split(".")[1]
    said: dict[Certainty, list[str]] = {}
    for each in instruments_of(name, level, telling.chart):
        number = level.no_worse_than.get(each)
        if number is not None:
            entry = vocabulary.observations[each]
            bound = "at most" if entry.worse == "higher" else "at least"
            text = f"{entry.title} {bound} {say_number(number.value, number.unit)}"
            said.setdefault(number.certainty, []).append(text)
    limits = level.upper_limits
    if limits is not None:
        title = vocabulary.measures[name].title
        text = f"{title} at most {say_number(limits.value, '')} × its upper limit"
        said.setdefault(limits.certainty, []).append(text)
    for certainty, texts in said.items():
        if certainty != "verified":
            yield Doubt(certainty, f"{level.title}: {', '.join(texts)}")
    numbers = vocabulary.assessments
    if held and numbers and numbers.held_gap:
        about = "what is so at two visits is so between them, if no more than {} lie there"
        yield from doubts_about(about, {"": numbers.held_gap})


def doubts_about(about: str, numbers: dict[str, Number]) -> Iterator[Doubt]:
    """What is in doubt of some numbers, by their names, which ``about`` has in its braces.

    Those that are equally certain are told together: ``visits (within 14 days, grace 7 days)``.
    """
    by_certainty: dict[Certainty, list[str]] = {}
    for name, number in numbers.items():
        said = f"{name} {say_number(number.value, number.unit)}".strip()
        by_certainty.setdefault(number.certainty, []).append(said)
    for certainty, texts in by_certainty.items():
        if certainty != "verified":
            yield Doubt(certainty, about.replace("{}", ", ".join(texts)))
