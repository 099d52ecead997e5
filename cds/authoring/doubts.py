"""Warnings: what the language allows in rules, and what is probably a mistake all the same.

Only what can be proven is said: that a condition is never true, that one card always gives way to
another. What is unverified or past its review is no mistake; it is said so that it stays in view.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date
from decimal import Decimal
from itertools import combinations
from pathlib import Path
from typing import Any

from msgspec import Struct

from cds.authoring.possible import Possible, bounds_of
from cds.cards.cards import precedence
from cds.cards.texts import join_words
from cds.chart.vocabulary import Number, numbers_of, statements_of
from cds.located import Document, Place, Problem, Steps, did_you_mean
from cds.rules.conditions import Constant, Count, walk
from cds.rules.derivations import Derivation, HowMany, facts_asked, nodes_of
from cds.rules.nodes import Node
from cds.rules.parsing import parameter_of
from cds.rules.reading import rule_files
from cds.rules.ruleset import Rule, RuleSet, Suggestion
from cds.rules.shared import read_rule, read_shared
from cds.rules.site import SiteNumber
from cds.rules.texts import WEIGHT_DOSE, Slot, Text
from cds.rules.words import say_constant, say_number


class _Reader:
    """The files of a rule set, each read once, for the places of what is in them."""

    def __init__(self, ruleset: RuleSet, folder: Path) -> None:
        self.ruleset = ruleset
        self.folder = folder
        self.site = ruleset.site.folder if ruleset.site else None
        self._read: dict[Path, Document] = {}
        self._shared = read_shared(folder)

    def document(self, file: str) -> Document:
        """A file as problems call it: relative to the rules, or by the path of a site's file."""
        path = self.folder / file
        return self._of(path if path.exists() else Path(file), file)

    def _of(self, path: Path, name: str) -> Document:
        if path not in self._read:
            self._read[path] = read_rule(path, name, self._shared)
        return self._read[path]

    def shared(self, name: str) -> Iterator[Document]:
        """The shipped file of this name, and the site's."""
        yield self._of(self.folder / name, name)
        if self.site is not None and (self.site / name).is_file():
            yield self._of(self.site / name, str(self.site / name))

    def vocabulary(self) -> Iterator[Document]:
        """Every file of the vocabulary, the site's included."""
        for path in sorted((self.folder / "vocabulary").glob("*.yaml")):
            yield self._of(path, f"vocabulary/{path.name}")
        if self.site is not None:
            for path in sorted((self.site / "vocabulary").glob("*.yaml")):
                yield self._of(path, str(path))

    def inactive(self) -> Iterator[Document]:
        """The rule files that are not in the rule set: drafts, and what a site switched off."""
        active = {rule.place.file for rule in self.ruleset.every}
        for path in rule_files(self.folder):
            name = path.relative_to(self.folder).as_posix()
            if name not in active:
                yield self._of(path, name)


def doubts(ruleset: RuleSet, folder: Path, as_of: date) -> list[Problem]:
    """Every warning about a rule set that was read from a folder, on one day."""
    reader = _Reader(ruleset, folder)
    possible = Possible(ruleset.facts, bounds_of(ruleset.facts, ruleset.terms.vocabulary))
    problems = [
        *_conditions(ruleset, possible, reader),
        *_shadowed(ruleset, possible),
        *_same_priority(ruleset, possible, reader),
        *_thresholds(ruleset, reader),
        *_numbers(ruleset, reader),
        *_reviews(ruleset, reader, as_of),
        *_unused(ruleset, reader),
        *_untested(ruleset, reader),
    ]
    return sorted(set(problems))


def _warning(place: Place, code: str, message: str) -> Problem:
    return Problem(place, code, message, "warning")


# --- conditions ----------------------------------------------------------------------------------


def _conditions(ruleset: RuleSet, possible: Possible, reader: _Reader) -> Iterator[Problem]:
    """Conditions that cannot turn out true, or cannot turn out false."""
    for derivation in ruleset.derivations.values():
        for node in nodes_of(derivation.makes):
            # A number that counts asks for at least none, which is always true.
            counted = isinstance(derivation.makes, HowMany)
            for each in node.parts if counted else (node,):
                yield from _settled(each, possible)
    apart: dict[Place, list[Sequence[Problem]]] = {}
    for rule in ruleset.rules:
        found = list(_settled(rule.node, possible))
        yield from found
        if any(problem.code == "never-true" for problem in found):
            continue
        for what, when in _whens(rule):
            inner = list(_settled(when, possible))
            yield from inner
            if not inner:
                given = list(_given(rule, what, when, possible))
                apart.setdefault(when.condition.place, []).append(given)
        yield from _suggested(rule, possible, reader)
    for of_cards in apart.values():
        # What several cards share is told where it is so on each of them.
        yield from min(of_cards, key=len)
    for suggestion in _suggestions(ruleset):
        if suggestion.when is not None:
            yield from _settled(suggestion.when, possible)


def _whens(rule: Rule) -> Iterator[tuple[str, Node]]:
    if rule.card is None:
        return
    for passage in rule.card.passages:
        if passage.when is not None:
            yield "passage", passage.when
    for cited in rule.card.cited:
        if cited is not None:
            yield "source", cited
    for option in rule.card.options:
        if option.when is not None:
            yield "option", option.when


def _suggestions(ruleset: RuleSet) -> Iterable[Suggestion]:
    made = {s.id: s for r in ruleset.card_rules if r.card is not None for s in r.card.suggestions}
    return made.values()


def _settled(node: Node, possible: Possible) -> Iterator[Problem]:
    """The innermost conditions of which the answer is known before any patient is."""
    found = [problem for part in node.parts for problem in _settled(part, possible)]
    if found:
        # The members of a group stand at one place, and have one mistake.
        yield from {(p.place, p.code): p for p in reversed(found)}.values()
        return
    truths = possible.truths(node)
    if True not in truths:
        place, why = _why_never(node, possible)
        yield _warning(place, "never-true", why)
    elif False not in truths:
        yield _warning(node.condition.place, "always-true", _why_always(node, possible))


def _why_never(node: Node, possible: Possible) -> tuple[Place, str]:
    if node.kind == "all":
        for one, other in combinations(node.parts, 2):
            if not possible.together([one, other]):
                return (
                    other.condition.place,
                    f"{_quote(other)} contradicts {_quote(one)} (line "
                    f"{one.condition.place.line}), so that both are never true: "
                    "remove one, or put them under `any`",
                )
        why = "these conditions contradict each other and are never all true: remove one"
        return node.condition.place, why
    why = f"{_quote(node)} can never be true, whatever the patient: correct or remove it"
    return node.condition.place, why


def _why_always(node: Node, possible: Possible) -> str:
    if node.kind == "any":
        hint = "; if only what is unknown should be left out, write `not: {unknown: ...}`"
        return f"can never be false: these conditions leave no other case{hint}"
    return f"{_quote(node)} can never be false, whatever the patient: correct or remove it"


def _quote(node: Node) -> str:
    """A condition in words; of one with parts only its kind and line."""
    if node.kind in ("not", "unknown") and node.parts[0].kind in ("all", "any"):
        return f"`{node.kind}` on line {node.condition.place.line}"
    if node.kind in ("all", "any"):
        return f"`{node.kind}` on line {node.condition.place.line}"
    return f"“{node.says}”"


def _given(rule: Rule, what: str, when: Node, possible: Possible) -> Iterator[Problem]:
    """A passage or option whose condition is settled where the rule fires."""
    fires = _conjuncts(rule.node)
    if not possible.together([*fires, when]):
        yield _warning(
            when.condition.place,
            "never-shown",
            f"this {what} is never shown: where the rule fires, its condition cannot be true; "
            "correct or remove it",
        )
    elif possible.implies(fires, when):
        yield _warning(
            when.condition.place,
            "always-shown",
            f"this {what} is always shown: where the rule fires, its condition is true; "
            "remove the `when`",
        )


def _suggested(rule: Rule, possible: Possible, reader: _Reader) -> Iterator[Problem]:
    for i, suggestion in enumerate(rule.card.suggestions if rule.card else ()):
        when = suggestion.when
        if when is not None and not possible.together([*_conjuncts(rule.node), when]):
            yield _warning(
                reader.document(rule.place.file).place(("card", "suggestions", i)),
                "never-shown",
                f"the suggestion `{suggestion.id}` is never made: where the rule fires, its "
                "condition cannot be true; correct or remove it",
            )


def _conjuncts(node: Node) -> list[Node]:
    """What must all be true for a condition to be true."""
    if node.kind != "all":
        return [node]
    return [each for part in node.parts for each in _conjuncts(part)]


def _shadowed(ruleset: RuleSet, possible: Possible) -> Iterator[Problem]:
    """Cards that always give way to another card about the same problem."""
    places = {rule.id: precedence(rule.card) for rule in ruleset.card_rules if rule.card}
    ranked = sorted(ruleset.card_rules, key=lambda rule: places[rule.id])
    for i, rule in enumerate(ranked):
        given = _conjuncts(rule.node)
        if not possible.together(given):
            continue
        for other in ranked[:i]:
            if (
                _problem(other) == _problem(rule)
                and set(rule.file.hooks) <= set(other.file.hooks)
                and possible.implies(given, other.node)
            ):
                yield _warning(
                    rule.place,
                    "shadowed",
                    f"the card of `{rule.id}` is never given: wherever it fires, `{other.id}` "
                    f"fires too, comes first, and is about the same problem `{_problem(rule)}`; "
                    "narrow one of the two, or name another problem",
                )
                break


def _same_priority(ruleset: RuleSet, possible: Possible, reader: _Reader) -> Iterator[Problem]:
    """Cards about one problem that may fire together, of which nobody said which is given."""
    for one, other in combinations(ruleset.card_rules, 2):
        if (
            one.card is not None
            and other.card is not None
            and _problem(one) == _problem(other)
            and precedence(one.card) == precedence(other.card)
            and set(one.file.hooks) & set(other.file.hooks)
            and possible.together([*_conjuncts(one.node), *_conjuncts(other.node)])
        ):
            key = "priority" if other.card.priority else "indicator"
            yield _warning(
                reader.document(other.place.file).place(("card", key)),
                "same-priority",
                f"the cards of `{one.id}` and `{other.id}` are about the same problem "
                f"`{_problem(one)}`, as urgent, and may fire together: give the one that is to be "
                "given the higher `priority`",
            )


def _problem(rule: Rule) -> str:
    return rule.card.problem if rule.card else ""


# --- numbers -------------------------------------------------------------------------------------


class _Use(Struct, frozen=True):
    """A threshold that a fact is compared with: which parameter, of which rule or suggestion."""

    owner: str
    place: Place
    constant: Constant


def _nodes_of(rule: Rule | Derivation) -> Iterator[Node]:
    if isinstance(rule, Derivation):
        yield from nodes_of(rule.makes)
        return
    yield rule.node
    for _, when in _whens(rule):
        yield when


def _leaves(node: Node) -> Iterator[Node]:
    if node.constant is not None:
        yield node
    for part in node.parts:
        yield from _leaves(part)


def _thresholds(ruleset: RuleSet, reader: _Reader) -> Iterator[Problem]:
    """One fact, compared in several rules with different numbers that seem to be meant as one."""
    uses: dict[str, dict[tuple[str, str], _Use]] = {}
    own: dict[str, Mapping[str, Number]] = {r.id: r.file.parameters for r in ruleset.every}
    own |= {suggestion.id: suggestion.parameters for suggestion in _suggestions(ruleset)}
    for owner, place_of, node in _owners(ruleset, reader):
        for leaf in _leaves(node):
            if leaf.constant is not None and leaf.constant.parameter and leaf.fact:
                name = leaf.constant.parameter
                if name not in own[owner]:
                    continue  # it is named as another rule's number, and is compared as that
                use = _Use(owner, place_of(name), leaf.constant)
                uses.setdefault(leaf.fact, {}).setdefault((owner, name), use)
    told: set[tuple[Place, Place]] = set()
    for fact, of in uses.items():
        for one, other in combinations(of.values(), 2):
            if one.owner == other.owner or one.constant.value == other.constant.value:
                continue
            if _values_of(one.owner, of.values()) == _values_of(other.owner, of.values()):
                continue  # each has both numbers, for two purposes
            why = _taken_for_one(one.constant, other.constant)
            if why and (one.place, other.place) not in told:
                told.add((one.place, other.place))
                yield _warning(
                    other.place,
                    "overlapping-thresholds",
                    f"`{fact}` is compared with {say_constant(other.constant)} here and with "
                    f"{say_constant(one.constant)} at {one.place}, {why}: make them equal, "
                    "or say by their names or sources that they differ",
                )


def _values_of(owner: str, uses: Iterable[_Use]) -> set[Decimal]:
    return {use.constant.value for use in uses if use.owner == owner}


def _taken_for_one(one: Constant, other: Constant) -> str:
    if one.parameter == other.parameter:
        return f"both by a parameter called `{one.parameter}`"
    a, b = one.number, other.number
    if a is not None and b is not None and a.source is not None and a.source == b.source:
        return f"both after `{a.source}`"
    return ""


def _owners(ruleset: RuleSet, reader: _Reader) -> Iterator[tuple[str, Any, Node]]:
    """Every condition with whose it is, and where the parameters of that one stand."""
    for rule in ruleset.every:
        document = reader.document(rule.place.file)

        def of_rule(name: str, document: Document = document) -> Place:
            return document.place(("parameters", name))

        for node in _nodes_of(rule):
            yield rule.id, of_rule, node
    for suggestion in _suggestions(ruleset):
        document = reader.document(suggestion.place.file)

        def of_suggestion(
            name: str, document: Document = document, owner: str = suggestion.id
        ) -> Place:
            return document.place((owner, "parameters", name))

        if suggestion.when is not None:
            yield suggestion.id, of_suggestion, suggestion.when


def _numbers(ruleset: RuleSet, reader: _Reader) -> Iterator[Problem]:
    """What a rule or suggestion rests on and nobody verified, said once; and what has no source."""
    for rule in ruleset.every:
        document = reader.document(rule.place.file)
        evidence: dict[Steps, str] = {
            ("evidence", i): f"what rests on `{item.source}`"
            for i, item in enumerate(rule.file.evidence)
            if item.certainty == "unverified"
        }
        for i, term in enumerate(rule.file.sum):
            if term.certainty == "unverified":
                evidence["sum", i] = f"the points of `{term.of}`"
        yield from _uncertain(document, ("parameters",), rule.file.parameters, evidence)
    for suggestion in _suggestions(ruleset):
        document = reader.document(suggestion.place.file)
        yield from _uncertain(document, (suggestion.id, "parameters"), suggestion.parameters, {})
    vocabulary = ruleset.terms.vocabulary
    for entry, within, number in (*numbers_of(vocabulary), *statements_of(vocabulary)):
        if number.certainty != "unverified" and number.source is None:
            steps = (*entry, *within)
            document = next(d for d in reader.vocabulary() if _holds(d, entry))
            yield _sourceless(document.place(steps), str(within[-1]), number.certainty)


def _holds(document: Document, steps: Steps) -> bool:
    """Whether an entry stands in this file."""
    data = document.data
    for step in steps:
        if not isinstance(data, dict) or step not in data:
            return False
        data = data[step]
    return True


def _sourceless(place: Place, name: str, certainty: str) -> Problem:
    return _warning(
        place,
        "no-source",
        f"`{name}` is said to be {certainty}, and names no source: add `source`, "
        "or `certainty: unverified`",
    )


def _uncertain(
    document: Document,
    steps: Steps,
    parameters: Mapping[str, Number],
    evidence: Mapping[Steps, str],
) -> Iterator[Problem]:
    unverified = {
        (*steps, name): f"`{name}` ({say_number(number.value, number.unit)})"
        for name, number in parameters.items()
        if number.certainty == "unverified" and not isinstance(number, SiteNumber)
    } | dict(evidence)
    if unverified:
        yield _warning(
            document.place(next(iter(unverified))),
            "unverified",
            f"nobody verified {join_words(list(unverified.values()))}: read it in a source, or "
            "have it approved",
        )
    for name, number in parameters.items():
        if number.certainty != "unverified" and number.source is None:
            yield _sourceless(document.place((*steps, name)), name, number.certainty)


# --- upkeep --------------------------------------------------------------------------------------


def _reviews(ruleset: RuleSet, reader: _Reader, as_of: date) -> Iterator[Problem]:
    for rule in ruleset.every:
        place = reader.document(rule.place.file).place(("review_by",))
        if rule.file.review_by < rule.file.reviewed:
            yield _warning(
                place,
                "review-past",
                f"{rule.file.review_by} is before the rule was reviewed ({rule.file.reviewed}): "
                "write the day of the next review",
            )
        elif rule.file.review_by < as_of:
            yield _warning(
                place,
                "review-past",
                f"was to be reviewed by {rule.file.review_by}, {(as_of - rule.file.review_by).days}"
                f" days ago: ask {rule.file.owner} to read it against its sources, "
                "then set `reviewed` and `review_by` anew",
            )


def _untested(ruleset: RuleSet, reader: _Reader) -> Iterator[Problem]:
    for rule in ruleset.every:
        test = rule.place.file.removesuffix(".yaml") + ".test.yaml"
        if not (reader.folder / test).is_file() and not Path(test).is_file():
            yield _warning(
                rule.place,
                "test-missing",
                f"`{rule.id}` has no test: write {Path(test).name} beside it",
            )


# --- what nothing uses ---------------------------------------------------------------------------


def _unused(ruleset: RuleSet, reader: _Reader) -> Iterator[Problem]:
    """Whatever is declared, and named by no rule."""
    elsewhere = _parameters_elsewhere(ruleset)
    for rule in ruleset.every:
        document = reader.document(rule.place.file)
        used = set(_parameters_in(_nodes_of(rule), _texts_of(rule)))
        used |= {name for fact, name in elsewhere if fact == rule.file.derive}
        if rule.file.card is not None and rule.file.card.quiet_after_override is not None:
            used.add(rule.file.card.quiet_after_override.removeprefix("parameters."))
        shown = set(_slots(_texts_of(rule)))
        for name, dose in rule.file.weight_doses.items():
            numbers = filter(None, (dose.per_kg, dose.up_to, dose.at_most))
            used.update(number.removeprefix("parameters.") for number in numbers)
            if f"{WEIGHT_DOSE}{name}" not in shown:
                yield _warning(
                    document.place(("weight_doses", name)),
                    "unused-parameter",
                    f"no text here has `{{{WEIGHT_DOSE}{name}}}`: write it into one, or remove it",
                )
        yield from _unused_parameters(document, ("parameters",), rule.file.parameters, used)
    for suggestion in _suggestions(ruleset):
        document = reader.document(suggestion.place.file)
        nodes = [suggestion.when] if suggestion.when is not None else []
        used = set(_parameters_in(nodes, _texts_of_suggestion(suggestion)))
        steps = (suggestion.id, "parameters")
        yield from _unused_parameters(document, steps, suggestion.parameters, used)
    drafts = set(_words(document.data for document in reader.inactive()))
    problems = {_problem(rule) for rule in ruleset.card_rules}
    for place, problem in enumerate(ruleset.foremost):
        if problem not in problems | drafts:
            yield _warning(
                reader.document("scope.yaml").place(("foremost", place)),
                "unused-problem",
                f"no card is about the problem `{problem}`{did_you_mean(problem, problems)}: "
                "name one that a card is about, or remove it",
            )
    yield from _unused_facts(ruleset, reader, drafts)
    yield from _unused_shared(ruleset, reader, drafts)
    groups = {
        each.group
        for rule in ruleset.every
        for node in [*_nodes_of(rule), *(s.when for s in _suggestions(ruleset) if s.when)]
        for each in walk(node.condition)
        if isinstance(each, Count)
    }
    for document in reader.vocabulary():
        for name in _section(document, "groups"):
            if name not in groups | drafts:
                yield _warning(
                    document.place(("groups", name)),
                    "unused-group",
                    f"no rule counts over the group `{name}`: use it with `of`, or remove it",
                )


def _parameters_elsewhere(ruleset: RuleSet) -> set[tuple[str, str]]:
    """The parameters of rules that derive facts which texts and doses name, with those facts."""
    texts = [text for rule in ruleset.every for text in _texts_of(rule)]
    texts += [text for each in _suggestions(ruleset) for text in _texts_of_suggestion(each)]
    doses = [dose for rule in ruleset.every for dose in rule.file.weight_doses.values()]
    named = [*_slots(texts)]
    named += [n for dose in doses for n in (dose.per_kg, dose.up_to, dose.at_most) if n is not None]
    return {found for each in named if (found := parameter_of(each)) is not None}


def _unused_parameters(
    document: Document, steps: Steps, parameters: Mapping[str, Number], used: set[str]
) -> Iterator[Problem]:
    for name in parameters:
        if name not in used:
            yield _warning(
                document.place((*steps, name)),
                "unused-parameter",
                f"nothing here uses `parameters.{name}`: use it, or remove it",
            )


def _unused_facts(ruleset: RuleSet, reader: _Reader, drafts: set[str]) -> Iterator[Problem]:
    asked = {leaf for rule in ruleset.every for node in _nodes_of(rule) for leaf in _names(node)}
    asked |= {fact for each in ruleset.derivations.values() for fact in facts_asked(each.makes)}
    asked |= {table for rule in ruleset.card_rules if rule.card for table in rule.card.show}
    for suggestion in _suggestions(ruleset):
        if suggestion.when is not None:
            asked |= set(_names(suggestion.when))
        asked |= set(_slots(_texts_of_suggestion(suggestion)))
    asked |= {name for rule in ruleset.every for name in _slots(_texts_of(rule))}
    for rule in ruleset.every:
        fact = rule.file.derive
        if rule.file.contraindication is None and fact not in {None, *asked, *drafts}:
            yield _warning(
                reader.document(rule.place.file).place(("derive",)),
                "unused-derived-fact",
                f"no rule asks for `{fact}`: name it in one, or retire this rule",
            )


def _unused_shared(ruleset: RuleSet, reader: _Reader, drafts: set[str]) -> Iterator[Problem]:
    cards = [rule.card for rule in ruleset.card_rules if rule.card is not None]
    suggested = {s.id for card in cards for s in card.suggestions}
    reasons = {reason for card in cards for reason in card.override_reasons}
    cited = {item.source for rule in ruleset.every for item in rule.file.evidence}
    cited |= {option.source for card in cards for option in card.options}
    for rule in ruleset.every:
        cited |= set(_sources(rule.file.parameters))
        cited |= {term.source for term in rule.file.sum if term.source}
    for document in reader.shared("suggestions.yaml"):
        for entry in (document.data or {}).values():
            cited |= set(_cited(entry))
    for document in reader.vocabulary():
        cited |= set(_cited(document.data))
    for place, name in _not_among(cited | drafts, reader, "sources.yaml"):
        yield _warning(
            place, "unused-source", f"no rule rests on `{name}`: cite it in one, or remove it"
        )
    for place, name in _not_among(suggested | drafts, reader, "suggestions.yaml"):
        yield _warning(
            place, "unused-suggestion", f"no card carries `{name}`: name it in one, or remove it"
        )
    for place, name in _not_among(reasons | drafts, reader, "override-reasons.yaml"):
        yield _warning(
            place,
            "unused-override-reason",
            f"no card offers `{name}`: offer it, or remove it",
        )


def _not_among(used: set[str], reader: _Reader, file: str) -> Iterator[tuple[Place, str]]:
    """What a shared file declares and nothing uses; what is retired is kept for the record."""
    for document in reader.shared(file):
        for name, entry in (document.data or {}).items():
            if name not in used and entry.get("retired") is not True:
                yield document.place((name,)), name


def _sources(parameters: Mapping[str, Number]) -> Iterator[str]:
    yield from (number.source for number in parameters.values() if number.source)


def _cited(data: Any) -> Iterator[str]:
    """Whatever stands after `source` in plain data."""
    if isinstance(data, dict):
        for key, value in data.items():
            if key == "source" and isinstance(value, str):
                yield value
            yield from _cited(value)
    elif isinstance(data, list):
        for value in data:
            yield from _cited(value)


_WORD = re.compile(r"[\w.-]+")


def _words(data: Any) -> Iterator[str]:
    """Every word in the texts of plain data: a draft uses what it mentions."""
    if isinstance(data, str):
        yield from _WORD.findall(data)
    elif isinstance(data, dict):
        yield from _words(list(data.values()))
    elif isinstance(data, Iterable):
        for value in data:
            yield from _words(value)


def _section(document: Document, name: str) -> Sequence[str]:
    section = document.data.get(name) if isinstance(document.data, dict) else None
    return list(section) if isinstance(section, dict) else []


def _names(node: Node) -> Iterator[str]:
    if node.fact is not None:
        yield node.fact
    for part in node.parts:
        yield from _names(part)


def _texts_of(rule: Rule | Derivation) -> Iterator[Text]:
    card = rule.card if isinstance(rule, Rule) else None
    if isinstance(rule, Rule) and rule.against is not None:
        yield rule.against
    if card is not None:
        yield from (card.summary, card.lead, *(passage.text for passage in card.passages))
        for option in card.options:
            yield from (option.option, option.evidence)


def _texts_of_suggestion(suggestion: Suggestion) -> Iterator[Text]:
    yield from (suggestion.label, suggestion.description, *suggestion.strings.values())


def _slots(texts: Iterable[Text]) -> Iterator[str]:
    for text in texts:
        yield from (part.name for part in text if isinstance(part, Slot))


def _parameters_in(nodes: Iterable[Node], texts: Iterable[Text]) -> Iterator[str]:
    for node in nodes:
        yield from (c.constant.parameter for c in _leaves(node) if c.constant.parameter)  # type: ignore[union-attr]  # leaves have one
    for name in _slots(texts):
        if name.startswith("parameters."):
            yield name.removeprefix("parameters.")
