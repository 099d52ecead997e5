"""What rules and their cards rest on, whoever the patient is: numbers, and facts behind facts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from msgspec import Struct

from cds.chart.vocabulary import Number
from cds.rules.conditions import Constant, facts_of
from cds.rules.derivations import Derivation, Part, Sum, facts_asked, nodes_of
from cds.rules.nodes import Node
from cds.rules.ruleset import Rule
from cds.rules.site import SiteNumber
from cds.rules.texts import names_in


class Behind(Struct, frozen=True):
    """Which rule derives each fact that one does."""

    deriving: Mapping[str, Rule]
    derivations: Mapping[str, Derivation]


def chosen_of(rule: Rule, rests: Behind) -> tuple[tuple[str, SiteNumber], ...]:
    """The parameters that a site set and that a rule rests on or shows, each once."""
    nodes: list[Node] = [rule.node]
    said: tuple[str, ...] = ()
    numbers = list(rule.file.parameters.items())
    if (card := rule.card) is not None:
        nodes += card.shown_when
        texts = (card.summary, card.lead, *(passage.text for passage in card.passages))
        said = tuple(name for text in texts for name in names_in(text))
        numbers += [pair for draft in card.suggestions for pair in draft.parameters.items()]
    behind = [(c.parameter or "", c.number) for c in _constants(nodes, said, rests)]
    every = (*behind, *numbers)
    return tuple(dict.fromkeys((name, n) for name, n in every if isinstance(n, SiteNumber)))


def _constants(nodes: list[Node], facts: Iterable[str], rests: Behind) -> dict[Constant, None]:
    """The thresholds behind conditions and facts, those of rules that derive facts included."""
    found: dict[Constant, None] = {}
    behind: set[str] = set()
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
                    found[most_of(part)] = None
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


def most_of(part: Part) -> Constant:
    """The term of a sum, told as the most points that it gives, with its source and certainty."""
    term = part.file
    number = Number(value=part.most, source=term.source, certainty=term.certainty, note=term.note)
    return Constant(part.most, "", f"points of {part.fact}", number)
