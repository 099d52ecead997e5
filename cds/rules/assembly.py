"""Puts rules together: their order, what they ask for, and the engine that evaluates them."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping
from decimal import Decimal
from typing import TypeAlias

from cds.chart.facts.declaration import Declaration
from cds.located import FilesInvalid, Problem
from cds.rules.compiler import Compiler
from cds.rules.conditions import facts_of
from cds.rules.derivations import Derivation, Sum, facts_asked, nodes_of
from cds.rules.engine import Engine
from cds.rules.formula import Formula
from cds.rules.language import Status
from cds.rules.ruleset import Check, Rule, conditions_of, negative

_Any: TypeAlias = Rule | Derivation


def asked(rule: _Any) -> Iterator[str]:
    """The facts that a rule waits for before it says anything."""
    if isinstance(rule, Derivation):
        yield from facts_asked(rule.makes)
    else:
        yield from facts_of(rule.node.condition)


def in_order(rules: list[_Any], taken: Container[Status]) -> tuple[list[_Any], list[_Any]]:
    """Rules of these statuses, each after those it waits for; and those in a circle, if any."""
    waiting = [r for r in rules if r.file.status in taken]
    derived_by = {r.file.derive: r.id for r in waiting if r.file.derive}
    ordered: list[_Any] = []
    done: set[str] = set()
    while waiting:
        ready = [
            r for r in waiting if all(derived_by[f] in done for f in asked(r) if f in derived_by)
        ]
        if not ready:
            return ordered, _circle(waiting)
        ordered.extend(ready)
        done.update(r.id for r in ready)
        waiting = [r for r in waiting if r.id not in done]
    return ordered, []


def _circle(waiting: list[_Any]) -> list[_Any]:
    """The rules that wait for each other, without those that only wait for one of them."""
    awaited = {fact for rule in waiting for fact in asked(rule)}
    inner = [rule for rule in waiting if rule.file.derive in awaited]
    return inner if len(inner) == len(waiting) else _circle(inner)


def compile_rules(rules: list[_Any]) -> tuple[Compiler, Engine, tuple[Check, ...]]:
    """Compile rules; raises ``FilesInvalid`` at the one that the engine cannot take."""
    compiler = Compiler()
    formulas: dict[str, Formula] = {}
    checks = list(_checks(rules))
    nodes = {rule.id: rule.node for rule in rules if isinstance(rule, Rule)}
    for check in checks:
        node = nodes[check.rule] if check.node is None else check.node
        formulas[check.holds] = compiler.formula(node, truth=True)
        if check.fails is not None:
            formulas[check.fails] = compiler.formula(node, truth=False)
    try:
        return compiler, Engine(formulas), tuple(checks)
    except ValueError as fault:
        if len(rules) > 1:
            compile_rules(rules[:-1])  # raises where an earlier rule is at fault
        raise FilesInvalid([Problem(rules[-1].place, "not-compilable", str(fault))]) from fault


def _checks(rules: list[_Any]) -> Iterator[Check]:
    """What the engine is asked: whether each rule holds, and of what it derives, whether not."""
    for rule in rules:
        if isinstance(rule, Derivation):
            for called, node in conditions_of(rule):
                yield Check(rule.id, called, negative(called), node)
        else:
            yield Check(rule.id, rule.id, negative(rule.id) if rule.file.derive else None)


def needed_facts(rules: list[_Any], facts: Mapping[str, Declaration]) -> tuple[Declaration, ...]:
    """The facts that any condition, passage, option or suggestion of the rules asks for.

    Of the drug of an option: whether it is given now, or ever was, and what of it is on record that
    contraindications ask for of whichever drug.
    """
    forms = ["current", "ever"]
    for rule in rules:
        said = rule.file.contraindication
        if said is not None and said.drugs_with is not None:
            forms.append(said.drugs_with)
    derived = {r.file.derive for r in rules}
    names: dict[str, None] = {}
    for rule in rules:
        names.update(dict.fromkeys(asked(rule)))
        if isinstance(rule, Rule):
            names.update(dict.fromkeys(facts_of_card(rule)))
        for option in rule.card.options if isinstance(rule, Rule) and rule.card else ():
            if option.drug is not None:
                names.update({f"drug.{option.drug}.{form}": None for form in forms})
    return tuple(facts[n] for n in names if n not in derived)


def fine_thresholds(rules: Iterable[Rule], derivations: Iterable[Derivation]) -> frozenset[Decimal]:
    """Every threshold in percent, of conditions and of bands, that is no whole number."""
    found = {
        abs(band.above)
        for each in derivations
        if isinstance(each.makes, Sum)
        for part in each.makes.parts
        if part.unit == "%"
        for band in part.bands
    }
    nodes = [rule.node for rule in rules]
    nodes += [node for rule in rules if rule.card is not None for node in rule.card.conditions]
    nodes += [node for each in derivations for node in nodes_of(each.makes)]
    for node in nodes:
        nodes.extend(node.parts)
        if node.constant is not None and node.constant.unit == "%":
            found.add(abs(node.constant.value))
    return frozenset(value for value in found if value != value.to_integral_value())


def facts_of_card(rule: Rule) -> Iterator[str]:
    """The facts that the conditions on passages, options and suggestions of a card ask for."""
    for node in rule.card.conditions if rule.card else ():
        yield from facts_of(node.condition)
