"""Reads a folder of rule files into a rule set; every error of every file is reported at once."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from msgspec import Struct

from cds.chart.facts import Declaration, declare, groups, no_evidence
from cds.chart.terms import compile_terms
from cds.chart.vocabulary import Vocabulary, read_vocabulary
from cds.located import (
    Document,
    FilesInvalid,
    Place,
    Problem,
    Steps,
    did_you_mean,
    read_document,
    read_struct,
)
from cds.rules.compiler import Compiler
from cds.rules.conditions import Count, facts_of
from cds.rules.engine import Engine
from cds.rules.formula import Formula
from cds.rules.language import OverrideReason, RuleFile, Source, SuggestionFile
from cds.rules.nodes import Node, compile_node
from cds.rules.parsing import Scope, parse_condition
from cds.rules.ruleset import (
    CardTemplate,
    Option,
    Passage,
    Rule,
    RuleSet,
    Stratum,
    Suggestion,
    negative,
)
from cds.rules.texts import Text, parse_text


class _Reading(Struct):
    """The state of reading one folder."""

    folder: Path
    problems: list[Problem]
    vocabulary: Vocabulary
    facts: dict[str, Declaration]
    groups: dict[str, tuple[str, ...]]
    sources: dict[str, Source]
    override_reasons: dict[str, OverrideReason]
    suggestions: dict[str, tuple[Document, SuggestionFile]]
    documents: list[tuple[Document, RuleFile | None]]
    selections: frozenset[str] = frozenset()


def read_ruleset(folder: Path) -> RuleSet:
    """Read, check and compile the rules of a folder.

    Raises ``FilesInvalid`` with every error of every file.
    """
    ruleset, problems = check_ruleset(folder)
    if ruleset is None:
        raise FilesInvalid(p for p in problems if p.severity == "error")
    return ruleset


def check_ruleset(folder: Path) -> tuple[RuleSet | None, list[Problem]]:
    """Read the rules of a folder; every problem, and the rule set where none is an error."""
    problems: list[Problem] = []
    if not (folder / "vocabulary").is_dir():
        place = Place(str(folder))
        return None, [
            Problem(place, "no-vocabulary", "has no folder `vocabulary`: is it a rules folder?")
        ]
    vocabulary = read_vocabulary(folder / "vocabulary", problems)
    reading = _Reading(
        folder=folder,
        problems=problems,
        vocabulary=vocabulary,
        facts=declare(vocabulary),
        groups=groups(vocabulary),
        sources={},
        override_reasons={},
        suggestions={},
        documents=[],
    )
    _read_shared(reading)
    _read_headers(reading)
    rules = _read_rules(reading)
    applies_to = _read_scope(reading)
    problems.extend(p for d, _ in reading.documents for p in d.problems)
    problems.extend(p for d, _ in reading.suggestions.values() for p in d.problems)
    problems = sorted(set(problems))
    if any(p.severity == "error" for p in problems):
        return None, problems
    strata, cyclic = _stratify(rules)
    if cyclic:
        names = ", ".join(r.id for r in cyclic)
        return None, [
            Problem(cyclic[0].place, "cycle", f"these rules wait for each other: {names}")
        ]
    active = [r for r in rules if r.file.status == "active"]
    return (
        RuleSet(
            version=_version(folder),
            terms=compile_terms(vocabulary),
            facts=reading.facts,
            groups=reading.groups,
            needed=_needed(active, reading.facts),
            applies_to=applies_to,
            rules=tuple(active),
            card_rules=tuple(r for r in active if r.card is not None),
            deriving={r.file.derive: r for r in active if r.file.derive is not None},
            strata=tuple(map(_compile, strata)),
            sources=reading.sources,
            override_reasons=reading.override_reasons,
        ),
        problems,
    )


_SHARED = ("sources.yaml", "override-reasons.yaml", "suggestions.yaml", "scope.yaml")


def _read_shared(reading: _Reading) -> None:
    """Sources, override reasons and suggestions: each declared once, for all rules."""
    for name, kind, into in (
        ("sources", Source, reading.sources),
        ("override-reasons", OverrideReason, reading.override_reasons),
    ):
        path = reading.folder / f"{name}.yaml"
        document = read_document(path, path.relative_to(reading.folder).as_posix())
        for key in document.data if isinstance(document.data, dict) else ():
            entry = read_struct(document, (key,), kind)
            if entry is not None:
                into[key] = entry  # type: ignore[assignment]  # the table above pairs them
        reading.problems.extend(document.problems)
    path = reading.folder / "suggestions.yaml"
    document = read_document(path, path.relative_to(reading.folder).as_posix())
    for key in document.data if isinstance(document.data, dict) else ():
        suggestion = read_struct(document, (key,), SuggestionFile)
        if suggestion is not None:
            reading.suggestions[key] = (document, suggestion)
    if not reading.suggestions:
        reading.problems.extend(document.problems)


def _read_scope(reading: _Reading) -> str:
    document = read_document(reading.folder / "scope.yaml", "scope.yaml")
    applies_to = document.data.get("applies_to") if isinstance(document.data, dict) else None
    fact = str(applies_to)
    if applies_to is None or not fact.startswith(("diagnosis.", "finding.")):
        document.report(
            "missing-key",
            ("applies_to",),
            "`applies_to` names the diagnosis or finding that a patient must have for any rule",
        )
    elif fact not in reading.facts:
        document.report(
            "unknown-fact",
            ("applies_to",),
            f"`{fact}` is not a fact that the vocabulary declares"
            f"{did_you_mean(fact, reading.facts)}",
        )
    reading.problems.extend(document.problems)
    return fact


def rule_files(folder: Path) -> list[Path]:
    """The rule files of a folder, without vocabulary, shared files and tests."""
    return [
        path
        for path in sorted(folder.rglob("*.yaml"))
        if not path.name.endswith(".test.yaml")
        and path.relative_to(folder).parts[0] not in ("vocabulary", *_SHARED)
    ]


def _read_headers(reading: _Reading) -> None:
    """Read every rule file and declare what they derive and select, before any condition."""
    seen: dict[str, Place] = {}
    derived: dict[str, Place] = {}
    selections: set[str] = set()
    for path in rule_files(reading.folder):
        name = path.relative_to(reading.folder).as_posix()
        document = read_document(path, name)
        rule = read_struct(document, (), RuleFile) if isinstance(document.data, dict) else None
        if document.data is not None and not isinstance(document.data, dict):
            document.report("wrong-type", (), "should be a mapping (key: value)")
        reading.documents.append((document, rule))
        if rule is None:
            continue
        if rule.id != path.stem:
            document.report(
                "bad-id", ("id",), f"`{rule.id}` should be `{path.stem}`, as the file is named"
            )
        if rule.id in seen:
            document.report(
                "duplicate-id", ("id",), f"`{rule.id}` is declared already at {seen[rule.id]}"
            )
        seen[rule.id] = document.place(("id",))
        if (rule.derive is None) == (rule.card is None):
            document.report(
                "derive-or-card", (), "a rule has either `derive` or `card`, and not both"
            )
        if rule.derive is not None and rule.status == "active":
            if rule.derive in reading.facts:
                where = derived.get(rule.derive, "the vocabulary")
                document.report(
                    "duplicate-id", ("derive",), f"`{rule.derive}` is declared already: {where}"
                )
            else:
                derived[rule.derive] = document.place(("derive",))
                reading.facts[rule.derive] = Declaration(
                    name=rule.derive,
                    kind="boolean",
                    title=rule.title,
                    read=lambda _: None,
                    evidence=no_evidence,
                )
        if rule.status == "active":
            selections.update(_named_selections(document.data))
    reading.selections = frozenset(selections)


def _named_selections(data: Any) -> Iterable[str]:
    if isinstance(data, dict):
        if isinstance(data.get("as"), str):
            yield data["as"]
        for value in data.values():
            yield from _named_selections(value)
    elif isinstance(data, list):
        for value in data:
            yield from _named_selections(value)


def _read_rules(reading: _Reading) -> list[Rule]:
    rules = []
    for document, file in reading.documents:
        if file is None or file.status == "retired":
            continue
        scope = Scope(reading.facts, reading.groups, file.parameters)
        condition = parse_condition(document, ("when",), scope)
        _check_evidence(document, file, reading)
        card = _read_card(document, file, scope, reading)
        if condition is None or (file.card is not None and card is None):
            continue
        node = compile_node(condition, reading.facts)
        rules.append(
            Rule(
                file=file,
                place=document.place(("id",)),
                node=node,
                card=card,
                selections=tuple(_selections(node)),
            )
        )
    return rules


def _selections(node: Node) -> Iterator[tuple[str, Node]]:
    if isinstance(node.condition, Count) and node.condition.selects:
        yield node.condition.selects, node
    for part in node.parts:
        yield from _selections(part)


def _check_evidence(document: Document, file: RuleFile, reading: _Reading) -> None:
    if not file.evidence:
        document.report("no-evidence", ("evidence",), "a rule must name what it rests on")
    cited: list[tuple[Steps, str]] = [
        (("evidence", i, "source"), e.source) for i, e in enumerate(file.evidence)
    ]
    cited += [
        (("parameters", name, "source"), p.source)
        for name, p in file.parameters.items()
        if p.source
    ]
    if file.card:
        cited += [
            (("card", "options", i, "source"), o.source) for i, o in enumerate(file.card.options)
        ]
    for steps, source in cited:
        if source not in reading.sources:
            document.report(
                "unknown-source",
                steps,
                f"`{source}` is not in sources.yaml{did_you_mean(source, reading.sources)}",
            )
        elif reading.sources[source].retired:
            document.report("retired-source", steps, f"`{source}` is retired: cite another")


def _read_card(
    document: Document, file: RuleFile, scope: Scope, reading: _Reading
) -> CardTemplate | None:
    card = file.card
    if card is None:
        return None
    before = len(document.problems)

    def text(steps: Steps, said: str) -> Text:
        return parse_text(document, ("card", *steps), said, scope, reading.selections)

    def shown(steps: Steps, when: Any) -> Node | None:
        return _read_shown(document, ("card", *steps, "when"), when, scope)

    passages = []
    for i, item in enumerate(card.text):
        if isinstance(item, str):
            passages.append(Passage(text(("text", i), item), None))
        else:
            when = shown(("text", i), item.when)
            passages.append(Passage(text(("text", i, "text"), item.text), when))
    options = tuple(
        Option(
            text(("options", i, "option"), o.option),
            text(("options", i, "evidence"), o.evidence),
            o.source,
            shown(("options", i), o.when),
        )
        for i, o in enumerate(card.options)
    )
    suggestions = []
    for i, name in enumerate(card.suggestions):
        if name not in reading.suggestions:
            document.report(
                "unknown-id",
                ("card", "suggestions", i),
                f"`{name}` is not in suggestions.yaml{did_you_mean(name, reading.suggestions)}",
            )
        else:
            suggestions.append(_read_suggestion(name, reading))
    for i, reason in enumerate(card.override_reasons):
        if reason not in reading.override_reasons:
            document.report(
                "unknown-id",
                ("card", "override_reasons", i),
                f"`{reason}` is not in override-reasons.yaml"
                f"{did_you_mean(reason, reading.override_reasons)}",
            )
    template = CardTemplate(
        problem=card.problem,
        indicator=card.indicator,
        summary=text(("summary",), card.summary),
        lead=text(("lead",), card.lead),
        passages=tuple(passages),
        options=options,
        show=card.show,
        suggestions=tuple(suggestions),
        override_reasons=card.override_reasons,
    )
    return template if len(document.problems) == before else None


def _read_shown(document: Document, steps: Steps, when: Any, scope: Scope) -> Node | None:
    if when is None:
        return None
    condition = parse_condition(document, steps, scope)
    return None if condition is None else compile_node(condition, scope.facts)


def _read_suggestion(name: str, reading: _Reading) -> Suggestion:
    document, file = reading.suggestions[name]
    scope = Scope(reading.facts, reading.groups, file.parameters)
    strings: dict[Steps, Text] = {}

    def collect(value: Any, steps: Steps) -> None:
        if isinstance(value, str):
            if "{" in value:
                strings[steps] = parse_text(
                    document, (name, "resource", *steps), value, scope, reading.selections
                )
        elif isinstance(value, dict):
            for key, inner in value.items():
                collect(inner, (*steps, key))
        elif isinstance(value, list):
            for i, inner in enumerate(value):
                collect(inner, (*steps, i))

    collect(file.resource, ())
    return Suggestion(
        id=name,
        place=document.place((name,)),
        label=parse_text(document, (name, "label"), file.label, scope, reading.selections),
        description=parse_text(
            document, (name, "description"), file.description, scope, reading.selections
        ),
        resource=file.resource,
        strings=strings,
        parameters=file.parameters,
        when=_read_shown(document, (name, "when"), file.when, scope),
    )


# --- strata --------------------------------------------------------------------------------------


def _stratify(rules: list[Rule]) -> tuple[list[list[Rule]], list[Rule]]:
    """Sort active rules into strata by what they derive; the rest, where they form a circle."""
    waiting = [r for r in rules if r.file.status == "active"]
    derived_by = {r.file.derive: r.id for r in waiting if r.file.derive}
    strata: list[list[Rule]] = []
    done: set[str] = set()
    while waiting:
        ready = [
            r
            for r in waiting
            if all(derived_by[f] in done for f in facts_of(r.node.condition) if f in derived_by)
        ]
        if not ready:
            return strata, waiting
        strata.append(ready)
        done.update(r.id for r in ready)
        waiting = [r for r in waiting if r.id not in done]
    return strata, []


def _compile(rules: list[Rule]) -> Stratum:
    compiler = Compiler()
    formulas: dict[str, Formula] = {}
    for rule in rules:
        formulas[rule.id] = compiler.formula(rule.node, truth=True)
        if rule.file.derive is not None:
            formulas[negative(rule.id)] = compiler.formula(rule.node, truth=False)
    return Stratum(tuple(rules), compiler, Engine(formulas))


def _needed(rules: list[Rule], facts: Mapping[str, Declaration]) -> tuple[Declaration, ...]:
    """The facts that any condition, passage, option or suggestion of the rules asks for."""
    derived = {r.file.derive for r in rules}
    names: dict[str, None] = {}
    for rule in rules:
        names.update(dict.fromkeys(facts_of(rule.node.condition)))
        names.update(dict.fromkeys(_facts_of_card(rule)))
    return tuple(facts[n] for n in names if n not in derived)


def _facts_of_card(rule: Rule) -> Iterator[str]:
    if rule.card is None:
        return
    for when in (
        *(passage.when for passage in rule.card.passages),
        *(option.when for option in rule.card.options),
        *(suggestion.when for suggestion in rule.card.suggestions),
    ):
        if when is not None:
            yield from facts_of(when.condition)


def _version(folder: Path) -> str:
    """A hash of every file of the folder: the same content has the same version."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.yaml")):
        digest.update(path.relative_to(folder).as_posix().encode())
        digest.update(b"\0")
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]
