"""Cards from fired rules: at most one for a problem, the most urgent first."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import Any

from msgspec.structs import replace

from cds.cards.card import SUMMARY_LIMIT, Action, Card, Coding, Link, Source, Suggestion
from cds.cards.detail import cited_evidence, detail_of
from cds.cards.markdown import shorten
from cds.cards.shown import drafts_of, shown
from cds.cards.texts import Telling, fill
from cds.chart.chart import Chart
from cds.chart.facts.drugs import ORDERED, is_about_drafts
from cds.fhir.strict import NotValid, built, validated
from cds.located import Problem, Steps
from cds.rules.language import Hook
from cds.rules.ruleset import CardTemplate, Evaluation, Rule, RuleSet
from cds.rules.ruleset import Suggestion as SuggestionTemplate

URGENCY = {"critical": 0, "warning": 1, "info": 2}

OVERRIDE_REASONS = "https://myositis-cds.example/fhir/CodeSystem/override-reason"
"""The code system of override reasons; ``.example`` is a reserved domain."""

_NAMESPACE = uuid.UUID("6f1d2f0a-6d1c-5d0f-9a44-0c1b7a5e2f61")
"""Of this project's name-based identifiers; any fixed value serves."""

_NONE: Mapping[str, str] = MappingProxyType({})


def make_cards(
    ruleset: RuleSet,
    chart: Chart,
    evaluation: Evaluation,
    hook: Hook = "patient-view",
    selected: frozenset[str] | None = None,
    left_out: Collection[str] = (),
) -> dict[str, Card]:
    """The cards of the rules that declare a hook and fired, ranked; equal input, equal cards.

    Each by its rule. A draft that two of them would carry stands on the first only, lest it be
    ordered twice. Those of the rules ``left_out`` are not given, nor do they stand in the way of
    others about the same problem.

    With ``selected``, the references of some of the draft orders, a rule that asks for drafts gives
    its card only where one of these is among the drafts that it found: of the others the reader
    was told when they were selected.
    """
    among = ruleset.card_rules
    if left_out:
        among = tuple(rule for rule in among if rule.id not in left_out)
    if selected is not None:
        among = tuple(
            rule for rule in among if _concerns(rule, selected, ruleset, chart, evaluation)
        )
    cards: dict[str, Card] = {}
    drafts: dict[str, str] = {}
    for rule, template in rank_cards(ruleset, evaluation, hook, among):
        card = make_card(rule, template, ruleset, chart, evaluation, drafts)
        for draft in drafts_of(template, evaluation.values):
            drafts.setdefault(draft.id, card.summary)
        cards[rule.id] = card
    return cards


def _concerns(
    rule: Rule,
    selected: frozenset[str],
    ruleset: RuleSet,
    chart: Chart,
    evaluation: Evaluation,
) -> bool:
    asked = [f for f in ruleset.behind[rule.id] if is_about_drafts(f)]
    values = evaluation.values
    return not asked or any(
        evidence.reference in selected
        for fact in asked
        # A contraindication that does not hold concerns no draft.
        if values[fact] is not False and values.get(fact.removesuffix(ORDERED)) is not False
        for evidence in ruleset.facts[fact].evidence(chart)
    )


def rank_cards(
    ruleset: RuleSet,
    evaluation: Evaluation,
    hook: Hook = "patient-view",
    among: tuple[Rule, ...] | None = None,
) -> list[tuple[Rule, CardTemplate]]:
    """The rules whose cards are given: of each problem the most urgent, the most urgent first.

    Only rules that declare ``hook`` count, and of these all, or those ``among`` some. Of equally
    urgent ones about one problem that of the highest priority is given, then the first of the rule
    set; of those about different problems the ones that the scope calls foremost come first.
    """
    chosen: dict[str, tuple[Rule, CardTemplate]] = {}
    for rule in ruleset.card_rules if among is None else among:
        if rule.card is None or evaluation.outcomes[rule.id] is not True:
            continue
        if hook not in rule.file.hooks:
            continue
        rival = chosen.get(rule.card.problem)
        if rival is None or precedence(rule.card) < precedence(rival[1]):
            chosen[rule.card.problem] = (rule, rule.card)
    places = {problem: place for place, problem in enumerate(ruleset.foremost)}
    return sorted(
        chosen.values(),
        key=lambda pair: (_urgency(pair[1]), places.get(pair[1].problem, len(places))),
    )


def _urgency(card: CardTemplate) -> int:
    return URGENCY[card.indicator]


def precedence(card: CardTemplate) -> tuple[int, int]:
    """Which of several cards about one problem is given: the one with the lowest of these."""
    return _urgency(card), -card.priority


def make_card(
    rule: Rule,
    card: CardTemplate,
    ruleset: RuleSet,
    chart: Chart,
    evaluation: Evaluation,
    drafts: Mapping[str, str] = _NONE,
) -> Card:
    """The card of one rule that fired.

    ``drafts`` are those that other cards carry already, by id, with the summary of the card: this
    one names that card, and does not carry them again.
    """
    telling = Telling(ruleset, chart, evaluation, rule.file.parameters)
    card = shown(card, evaluation.values)
    summary = shorten(fill(card.summary, telling), SUMMARY_LIMIT)
    evidence = cited_evidence(rule, card, telling)
    elsewhere = dict.fromkeys(drafts[d.id] for d in card.suggestions if d.id in drafts)
    card = replace(card, suggestions=tuple([d for d in card.suggestions if d.id not in drafts]))
    detail = detail_of(rule, card, telling, evidence, elsewhere)
    identity = f"{rule.id}\n{rule.file.version}\n{chart.patient}\n{summary}\n{detail}"
    card_id = str(uuid.uuid5(_NAMESPACE, identity))
    suggestions = tuple(_suggest(template, telling, card_id) for template in card.suggestions)
    cited = [item.source for item in evidence]
    first = ruleset.sources[cited[0] if cited else rule.file.evidence[0].source]
    return Card(
        uuid=card_id,
        summary=summary,
        indicator=card.indicator,
        detail=detail,
        source=Source(f"Myositis decision support, after: {first.title}", first.url),
        suggestions=suggestions,
        selectionBehavior="at-most-one" if suggestions else None,
        overrideReasons=tuple(
            Coding(key, OVERRIDE_REASONS, ruleset.override_reasons[key].display)
            for key in card.override_reasons
        ),
        links=tuple(
            Link(ruleset.sources[key].title, url)
            for key in dict.fromkeys(cited)
            if (url := ruleset.sources[key].url)
        ),
    )


def _suggest(template: SuggestionTemplate, telling: Telling, card_id: str) -> Suggestion:
    """A suggestion with its draft resource, which FHIR's own definitions must accept."""
    own = Telling(telling.ruleset, telling.chart, telling.evaluation, template.parameters)
    resource = template.resource
    for steps, text in template.strings.items():
        resource = _with(resource, steps, fill(text, own))
    return Suggestion(
        label=fill(template.label, own),
        uuid=str(uuid.uuid5(_NAMESPACE, f"{card_id}\n{template.id}")),
        actions=(Action("create", fill(template.description, own), built(resource)),),
    )


def _with(value: Any, steps: Steps, text: str) -> Any:
    """A copy of a JSON value with one text in it replaced."""
    if not steps:
        return text
    changed: Any = list(value) if isinstance(value, list) else dict(value)
    changed[steps[0]] = _with(value[steps[0]], steps[1:], text)
    return changed


def check_drafts(ruleset: RuleSet) -> list[Problem]:
    """Validate in full what the rules may send as a FHIR resource, once, when they are read.

    What a text will put into the resource is stood in for by a word.
    """
    problems: list[Problem] = []
    for rule in ruleset.card_rules:
        for template in rule.card.suggestions if rule.card else ():
            resource = template.resource
            for steps in template.strings:
                resource = _with(resource, steps, "Patient/example")
            try:
                validated(resource)
            except NotValid as fault:
                problems.extend(
                    Problem(template.place, "not-fhir", f"`{template.id}` {f}")
                    for f in fault.faults
                )
    return sorted(set(problems))
