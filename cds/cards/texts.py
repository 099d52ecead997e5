"""Fills the texts of rules with what the chart holds."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal
from functools import cache
from operator import attrgetter

from msgspec import Struct

from cds.cards.history import history
from cds.cards.markdown import escape_authored
from cds.chart.chart import Chart
from cds.chart.facts.declaration import Event, Evidence, Value
from cds.chart.facts.measures import level_of
from cds.chart.terms import in_sentence
from cds.chart.vocabulary import WEIGHT_UNIT, Number, Vocabulary
from cds.chart.weight import last_weight
from cds.rules.parsing import ByWeight, parameter_of
from cds.rules.ruleset import Evaluation, RuleSet
from cds.rules.texts import Slot, Text
from cds.rules.trace import Seen, holding, open_terms, trace_rule, undecided
from cds.rules.words import say_number, say_percent, say_value

NONE = "none"


class Telling(Struct, frozen=True):
    """Everything that a text may ask for: one patient, one evaluation, one rule's parameters."""

    ruleset: RuleSet
    chart: Chart
    evaluation: Evaluation
    parameters: Mapping[str, Number]


def fill(text: Text, telling: Telling, escape: Callable[[str], str] = str) -> str:
    """Fill a text; what comes from the chart goes through ``escape`` first."""
    return "".join(
        [part if isinstance(part, str) else escape(_fill_slot(part, telling)) for part in text]
    )


def _fill_slot(slot: Slot, telling: Telling) -> str:
    name = slot.name
    if slot.dose is not None:
        return say_for_weight(slot.dose, telling.chart)
    if name == "patient.id":
        return telling.chart.patient
    named = parameter_of(name)
    if named is not None:
        fact, parameter = named
        behind = parameters_behind(fact, telling.ruleset) if fact else telling.parameters
        return say_number(behind[parameter].value, behind[parameter].unit)
    if name in telling.evaluation.selections:
        members = telling.evaluation.selections[name].members
        if slot.form == "evidence":
            return "; ".join(_with_evidence(m, telling) for m in members) or NONE
        return ", ".join(title_of(m, telling) for m in members) or NONE
    if slot.form == "missing":
        return join_words(missing_titles(name, telling)) or NONE
    if slot.form == "history":
        return "; ".join(history(name.split(".")[1], telling.chart)) or "nothing recorded"
    declared = telling.ruleset.facts[name]
    if slot.form == "evidence":
        return _say_evidence_of(name, telling) or "nothing recorded"
    if slot.form == "dates":
        dates = sorted({e.date for e in declared.evidence(telling.chart) if e.date})
        return ", ".join(dates) or "no known date"
    value = value_of(name, telling)
    if isinstance(value, Event):
        dates = sorted({e.date for e in declared.evidence(telling.chart) if e.date})
        return dates[-1] if dates else say_value(value, "d")
    return say_value(value, declared.unit, telling.ruleset.thresholds)


MOST_OF_MEMBER = 3
"""Resources cited for one member of a selection."""


def _with_evidence(member: str, telling: Telling) -> str:
    """A member of a selection with what it rests on: ``Hypertension: raised, 2024-03-02 (…)``."""
    title = title_of(member, telling)
    said = _say_evidence_of(member, telling, MOST_OF_MEMBER)
    return f"{title}: {said}" if said and title.casefold() not in said.casefold() else said or title


def _say_evidence_of(name: str, telling: Telling, most: int | None = None) -> str:
    """What a fact rests on; a derived one on all that makes it so, and on values like an age."""
    declared = telling.ruleset.facts.get(name)
    rule = telling.ruleset.deriving.get(name)
    if rule is None:
        return say_all(declared.evidence(telling.chart), most) if declared else ""
    trace = trace_rule(rule, telling.ruleset, telling.chart, telling.evaluation)
    said: dict[str, None] = {}
    for leaf in holding(trace):
        of_leaf = say_all(leaf.evidence, most)
        fact = leaf.node.fact or ""
        if telling.ruleset.facts[fact].kind == "number":
            of_leaf = (
                f"{leaf.seen} ({of_leaf})"
                if of_leaf
                else f"{in_sentence(title_of(fact, telling))} {leaf.seen}"
            )
        if of_leaf:
            said[of_leaf] = None
    return "; ".join(said)


def say_for_weight(dose: ByWeight, chart: Chart) -> str:
    """A dose by body weight for this patient, after a blank; empty without a recent weight."""
    weight = last_weight(chart)
    if weight is None or not weight.counts:
        return ""
    kilograms = weight.measurement.low
    low, high = dose.low * kilograms, dose.high * kilograms
    if dose.most is not None and high > dose.most:
        low, high = min(low, dose.most), dose.most
    least = "" if low == high else f"{say_number(low, '')} to "
    most = ", the maximum" if high == dose.most else ""
    on = weight.measurement.day
    said = f"{least}{say_number(high, dose.unit)}{most}"
    return f" (for {say_number(kilograms, WEIGHT_UNIT)}, {on}: {said})"


def parameters_behind(fact: str, ruleset: RuleSet) -> Mapping[str, Number]:
    """The parameters of the rule that derives a fact."""
    rule = ruleset.deriving.get(fact)
    return (rule or ruleset.derivations[fact]).file.parameters


def value_of(name: str, telling: Telling) -> Value:
    """The value of a fact: as the rules saw it, or read now where no condition asked for it."""
    values = telling.evaluation.values
    return values[name] if name in values else telling.ruleset.facts[name].read(telling.chart)


def say_evidence(evidence: Evidence) -> str:
    """Evidence in words: ``CK 3000 U/L, 2026-05-04 (Observation/ck-1)``."""
    dated = _dated(evidence)
    return f"{dated} ({evidence.reference})" if evidence.reference else dated


def _dated(evidence: Evidence) -> str:
    said = evidence.date and evidence.date not in evidence.text
    return f"{evidence.text}, {evidence.date}" if said else evidence.text


def say_all(evidence: Sequence[Evidence], most: int | None = None) -> str:
    """Evidence in words, one after the other; of more than ``most`` the first ones and the last.

    How many are left out is said. What several say alike of different days is said once.
    """
    said = together(evidence)
    more = 0 if most is None else len(said) - most
    if most is not None and more > 0:
        more = sum(max(len(references), 1) for _, references in said[most - 1 : -1])
        said = [*said[: most - 1], said[-1]]
    parts = [f"{text} ({', '.join(refs)})" if refs else text for text, refs in said]
    return "; ".join([*parts, f"and {more} more"] if more > 0 else parts)


MOST_DATES = 6
"""Days of a treatment that are told one by one; of more the first, the last and their number."""


def together(evidence: Iterable[Evidence]) -> list[tuple[str, list[str]]]:
    """What evidence says, with the resources that say it.

    Texts that are alike but for their own dates are one, with the dates in order of time.
    """
    alike: dict[str, list[Evidence]] = {}
    for each in evidence:
        own = bool(each.date) and each.date in each.text
        key = each.text.replace(each.date, "\0", 1) if own else f"{each.text}\0{each.reference}"
        alike.setdefault(key, []).append(each)
    return [_as_one(group) for group in alike.values()]


def _as_one(group: list[Evidence]) -> tuple[str, list[str]]:
    if len(group) == 1:
        return _dated(group[0]), [group[0].reference] if group[0].reference else []
    group = sorted(group, key=attrgetter("date"))
    dates = list(dict.fromkeys(each.date for each in group))
    said = join_words(dates)
    if len(dates) > MOST_DATES:
        said = f"{dates[0]} to {dates[-1]} on {len(dates)} days"
    text = group[0].text.replace(group[0].date, said, 1)
    return text, [each.reference for each in group if each.reference]


def title_of(member: str, telling: Telling) -> str:
    """The title of a member of a group: of a measure, of an Observation, or of a fact.

    A measure for which another construct stands in, in a child, is called by that too. Of a fact
    of either (``measure.x.improvement``, ``observation.x.latest``) it is that of what is measured;
    where it is about all assessments (``measure.x.days_y``) it says so.
    """
    kind, _, rest = member.partition(".")
    name = rest.partition(".")[0]
    vocabulary = telling.ruleset.terms.vocabulary
    if kind == "measure":
        title = vocabulary.measures[name].title
        if level_of(member, vocabulary) is not None:
            return f"{title} over time"
        change = telling.chart.changes.get(name)
        if change is None or change.instrument not in vocabulary.measures[name].for_children:
            return title
        return f"{title} (by {vocabulary.observations[change.instrument].title})"
    if kind == "observation":
        return vocabulary.observations[name].title
    return telling.ruleset.facts[member].title


def link(key: str, telling: Telling) -> str:
    """A source as a link, called by its first author and year; without an address by its title."""
    source = telling.ruleset.sources[key]
    if not source.url:
        return escape_authored(source.title)
    return f"[{_label(source.citation, source.year)}]({source.url})"


@cache
def _label(citation: str, year: int) -> str:
    authors = citation.split(". ")[0].split(", ")
    return escape_authored(f"{authors[0]}{' et al.' if len(authors) > 1 else ''} {year}")


def say_signed(percent: Decimal, apart: frozenset[Decimal]) -> str:
    """A change in words: ``improved 42.9 %``; ``apart`` is as ``say_percent`` has it."""
    if percent == 0:
        return "unchanged"
    return f"{'improved' if percent > 0 else 'worse'} {say_percent(abs(percent), apart)}"


def join_words(words: list[str]) -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    if len(words) < 2:
        return "".join(words)
    return f"{', '.join(words[:-1])} and {words[-1]}"


def missing_facts(name: str, telling: Telling) -> list[str]:
    """The facts that would settle a derived fact which is unknown.

    A measure counts once; for how long it was held at a level is apart, since to take it today need
    not settle that.
    """
    of = Seen(telling.ruleset, telling.chart, telling.evaluation)
    rule = telling.ruleset.deriving.get(name)
    if rule is not None:
        trace = trace_rule(rule, telling.ruleset, telling.chart, telling.evaluation)
        leaves = [leaf.node.fact or "" for leaf in undecided(trace)]
    elif name in telling.ruleset.derivations:
        leaves = [name]
    else:
        return []
    vocabulary = telling.ruleset.terms.vocabulary
    facts = (each for leaf in leaves for each in open_terms(leaf, of))
    return list(dict.fromkeys(to_take(fact, vocabulary) for fact in facts))


def to_take(fact: str, vocabulary: Vocabulary) -> str:
    """What is to be taken to settle a fact: of a measure the measure, whatever of it is asked."""
    of_now = fact.startswith("measure.") and level_of(fact, vocabulary) is None
    return ".".join(fact.split(".")[:2]) if of_now else fact


def missing_titles(name: str, telling: Telling) -> list[str]:
    """The titles of what would settle a derived fact, in the middle of a sentence.

    Of a measure that was taken by another instrument than at baseline with the instrument that is
    asked for, since to take it so again would settle nothing.
    """
    return [in_sentence(_asked_for(fact, telling)) for fact in missing_facts(name, telling)]


def _asked_for(fact: str, telling: Telling) -> str:
    change = telling.chart.changes.get(fact.removeprefix("measure."))
    if change is None or change.instrument is None or not change.by_another:
        return title_of(fact, telling)
    vocabulary = telling.ruleset.terms.vocabulary
    instrument = vocabulary.observations[change.instrument].title
    return f"{vocabulary.measures[change.measure].title} (by {instrument}, as at baseline)"
