"""What rules and the passages of their cards rest on: thresholds, and facts behind facts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from msgspec import Struct

from cds.chart.facts.drugs import CONTRAINDICATION
from cds.chart.vocabulary import Number
from cds.rules.conditions import Constant, facts_of
from cds.rules.derivations import Derivation, Part, Sum, facts_asked, nodes_of
from cds.rules.nodes import Node
from cds.rules.ruleset import Passage, Resting, Rule
from cds.rules.site import SiteNumber
from cds.rules.texts import names_in


class Behind(Struct, frozen=True):
    """Which rule derives each fact that one does."""

    deriving: Mapping[str, Rule]
    derivations: Mapping[str, Derivation]


def _doubted(constants: Iterable[Constant]) -> tuple[Constant, ...]:
    """Those thresholds that nobody read in a source of their own, each once.

    Those that a site set are its own decision, and are shown as such.
    """
    return tuple(
        constant
        for constant in constants
        if constant.number is not None
        and constant.number.certainty != "verified"
        and not isinstance(constant.number, SiteNumber)
    )


def doubted_of(rule: Rule, rests: Behind) -> tuple[Constant, ...]:
    """The thresholds that a rule and all that its card always shows rest on, and are in doubt.

    Nobody read them, or they were read in one secondary source.

    Those of contraindications that a card counts are told where one of them holds.
    """
    counted = tuple(fact for fact in rests.deriving if fact.startswith(CONTRAINDICATION))
    return _doubted(_constants_of(rule, rests, apart=counted))


def chosen_of(rule: Rule, rests: Behind) -> tuple[tuple[str, SiteNumber], ...]:
    """The parameters that a site set and that a rule rests on or shows, each once."""
    constants = _constants_of(rule, rests)
    for passage in rule.card.passages if rule.card else ():
        constants |= _constants_of_passage(passage, rests)
    numbers = [(c.parameter or "", c.number) for c in constants]
    numbers += rule.file.parameters.items()
    for suggestion in rule.card.suggestions if rule.card else ():
        numbers += suggestion.parameters.items()
    return tuple(dict.fromkeys((name, n) for name, n in numbers if isinstance(n, SiteNumber)))


def passages_of(rule: Rule, rests: Behind) -> tuple[Resting, ...]:
    """What each passage of a card rests on beside the rest of it."""
    base = _constants_of(rule, rests)
    made = []
    for passage in rule.card.passages if rule.card else ():
        constants = _doubted(_constants_of_passage(passage, rests))
        asked = [] if passage.when is None else facts_of(passage.when.condition)
        behind = facts_behind(asked, rests)
        made.append(Resting(tuple(c for c in constants if c not in base), behind))
    return tuple(made)


def _constants_of(rule: Rule, rests: Behind, apart: Iterable[str] = ()) -> dict[Constant, None]:
    """The thresholds that a rule rests on, but for those behind passages that may not be shown.

    And for those behind the facts ``apart``.
    """
    card = rule.card
    if card is None:
        return _constants([rule.node], (), rests, apart)
    whens = [option.when for option in card.options]
    whens += [suggestion.when for suggestion in card.suggestions]
    nodes = [rule.node, *(when for when in whens if when is not None)]
    always = [passage.text for passage in card.passages if passage.when is None]
    said = [name for text in (card.summary, card.lead, *always) for name in names_in(text)]
    return _constants(nodes, said, rests, apart)


def _constants_of_passage(passage: Passage, rests: Behind) -> dict[Constant, None]:
    nodes = [] if passage.when is None else [passage.when]
    return _constants(nodes, names_in(passage.text), rests)


def _constants(
    nodes: list[Node], facts: Iterable[str], rests: Behind, apart: Iterable[str] = ()
) -> dict[Constant, None]:
    """The thresholds behind conditions and facts, those of rules that derive facts included."""
    found: dict[Constant, None] = {}
    behind = set(apart)
    waiting = list(nodes)
    asked = list(facts)

    def open_facts() -> None:
        while asked:
            fact = asked.pop()
            if fact in behind:
                continue
            behind.add(fact)
            if fact in rests.deriving:
                waiting.append(rests.deriving[fact].node)
            elif fact in rests.derivations:
                makes = rests.derivations[fact].makes
                waiting.extend(nodes_of(makes))
                for part in makes.parts if isinstance(makes, Sum) else ():
                    found[_most_of(part)] = None
                    asked.append(part.fact)

    open_facts()
    for each in waiting:
        if each.constant is not None:
            found[each.constant] = None
        waiting.extend(each.parts)
        asked += [each.fact] if each.fact is not None else []
        open_facts()
    return found


def facts_behind(facts: Iterable[str], rests: Behind) -> tuple[str, ...]:
    """Facts, and those behind the ones of them that rules derive."""
    found = dict.fromkeys(facts)
    waiting = list(found)
    for fact in waiting:
        if fact in rests.deriving:
            asked = facts_of(rests.deriving[fact].node.condition)
        elif fact in rests.derivations:
            asked = facts_asked(rests.derivations[fact].makes)
        else:
            continue
        new = [each for each in dict.fromkeys(asked) if each not in found]
        found.update(dict.fromkeys(new))
        waiting.extend(new)
    return tuple(found)


def _most_of(part: Part) -> Constant:
    """The term of a sum, told as the most points that it gives, with its source and certainty."""
    term = part.file
    number = Number(value=part.most, source=term.source, certainty=term.certainty, note=term.note)
    return Constant(part.most, "", f"points of {part.fact}", number)
