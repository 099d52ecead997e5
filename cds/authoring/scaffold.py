"""Writes a new rule with its test, from a few answers: both pass the checker and the tests at once.

The test has the rule's conditions all true, each false in turn, and unknown.
"""

from __future__ import annotations

import json
import operator
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

from msgspec import Struct

from cds.authoring.formatting import format_text
from cds.authoring.schemas import FOLDER, RULE, TEST, modeline
from cds.chart.facts.declaration import Declaration
from cds.chart.measurements import plain
from cds.located import FilesInvalid, Problem, did_you_mean, parse_document
from cds.rules.conditions import Comparison, Is, IsCategory, Within
from cds.rules.language import EvidenceCertainty, Indicator, Source, Status
from cds.rules.parsing import Scope, parse_condition
from cds.rules.reading import check_ruleset, rule_files

Kind = Literal["card", "criterion"]


class Unfit(ValueError):
    """An answer that cannot stand in a rule: what is wrong with it, and what to write instead."""


class Answers(Struct, frozen=True, kw_only=True):
    """What a new rule is made from.

    ``when`` are conditions in words of the rule language (a fact, or a fact, an operator and a
    number with its unit), each about another fact; all of them must hold. A criterion ``derives`` a
    fact. A card has the ``problem`` that it is about, an indicator, a summary and a lead.
    """

    id: str
    kind: Kind
    folder: str
    title: str
    owner: str
    status: Status
    when: tuple[str, ...]
    source: str
    supports: str
    certainty: EvidenceCertainty
    derives: str = ""
    problem: str = ""
    indicator: Indicator = "info"
    summary: str = ""
    lead: str = ""


class Shelf(Struct, frozen=True):
    """The rules that a new one joins: its folder, and the names that it may use or must not."""

    folder: Path
    facts: Mapping[str, Declaration]
    groups: Mapping[str, tuple[str, ...]]
    sources: Mapping[str, Source]
    ids: frozenset[str]


def read_shelf(folder: Path) -> Shelf:
    """Read the rules of a folder; raises ``FilesInvalid`` where they have errors already."""
    ruleset, problems = check_ruleset(folder)
    if ruleset is None:
        raise FilesInvalid(problem for problem in problems if problem.severity == "error")
    ids = frozenset(path.stem for path in rule_files(folder))
    return Shelf(folder, ruleset.facts, ruleset.groups, ruleset.sources, ids)


# --- answers -------------------------------------------------------------------------------------


def check_id(answer: str, shelf: Shelf) -> str:
    """An id for a new rule; raises ``Unfit`` where it is not one, or is taken."""
    if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", answer):
        raise Unfit(f"`{answer}` is not an id: use small letters, digits and hyphens")
    if answer in shelf.ids:
        raise Unfit(f"`{answer}` is a rule already: choose another id")
    return answer


def check_folder(answer: str) -> str:
    """A folder for a rule, within the rules folder; raises ``Unfit`` for any other."""
    if not re.fullmatch(r"(criteria|guidance)(/[a-z0-9]+(-[a-z0-9]+)*)*", answer):
        raise Unfit(
            f"`{answer}` is not a folder for rules: begin with `criteria` or `guidance`, and use "
            "small letters, digits and hyphens, such as guidance/escalation"
        )
    return answer


def check_source(answer: str, shelf: Shelf) -> str:
    """A source that a rule may cite; raises ``Unfit`` for one that is not declared, or retired."""
    if answer not in shelf.sources:
        raise Unfit(
            f"`{answer}` is not in sources.yaml{did_you_mean(answer, shelf.sources)}: "
            "declare it there first"
        )
    if shelf.sources[answer].retired:
        raise Unfit(f"`{answer}` is retired: cite another")
    return answer


def check_derived(answer: str, shelf: Shelf) -> str:
    """A name for a fact that a rule derives; raises ``Unfit`` where it is none, or is taken."""
    if not re.fullmatch(r"[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)+", answer):
        raise Unfit(
            f"`{answer}` is not the name of a fact: write for example response.my_criterion"
        )
    if answer in shelf.facts:
        raise Unfit(f"`{answer}` is a fact already: choose another name")
    return answer


def check_when(answer: str, shelf: Shelf) -> str:
    """A condition about one fact; raises ``Unfit`` with what the checker says of any other."""
    _parse(answer, shelf)
    return answer


_Asked: TypeAlias = Is | Comparison | Within | IsCategory
"""What a condition that is one line of text can be."""


def _parse(text: str, shelf: Shelf) -> _Asked:
    document = parse_document(json.dumps({"when": text}), "condition")
    scope = Scope(shelf.facts, shelf.groups, {})
    condition = parse_condition(document, ("when",), scope)
    if document.problems:
        raise Unfit("; ".join(problem.message for problem in document.problems))
    assert isinstance(condition, _Asked)
    return condition


_CHOICES: Mapping[str, tuple[str, ...]] = {
    "kind": get_args(Kind),
    "status": get_args(Status),
    "certainty": get_args(EvidenceCertainty),
    "indicator": get_args(Indicator),
}

_QUESTIONS: Mapping[str, tuple[str, str]] = {
    "id": ("Id of the rule, such as pulse-for-myocarditis", ""),
    "kind": ("A card, or a criterion that derives a fact for other rules?", "card"),
    "folder": ("Folder, such as criteria or guidance/escalation", ""),
    "title": ("Title", ""),
    "owner": ("Owner", ""),
    "status": ("Status", "draft"),
    "when": ("Condition, such as finding.myocarditis or observation.spo2.latest < 92 %", ""),
    "source": ("Source, an id in sources.yaml", ""),
    "supports": ("What of the rule does the source support?", ""),
    "certainty": ("How certain is it?", ""),
    "derives": ("Fact that it derives, such as response.my_criterion", ""),
    "problem": ("Problem that the card is about, such as myocarditis", ""),
    "indicator": ("Indicator", "info"),
    "summary": ("Summary of the card, a line", ""),
    "lead": ("Lead: the sentence that matters", ""),
}
"""What is asked for each answer, and the default; the status is only given."""

_NONE = "none"
_ANOTHER = "Another condition that must hold as well"

_OF_A_CRITERION = ("derives",)
_OF_A_CARD = ("problem", "indicator", "summary", "lead")

Ask = Callable[[str, str, Callable[[str], str]], str]
"""Asks a question with a default (empty: none) until the check passes the answer."""


def answer(given: Mapping[str, str | list[str] | None], shelf: Shelf, ask: Ask) -> Answers:
    """The answers for a rule: those given, which are checked, and the others, which are asked.

    The status is not asked: a rule is a draft if nothing else is given. Its tests are run like
    those of active rules, and it counts nowhere else until it is made active.

    Raises ``Unfit`` where a given one does not fit.
    """
    said: dict[str, Any] = {}
    for name, (question, default) in _QUESTIONS.items():
        unasked = _OF_A_CARD if said.get("kind") == "criterion" else _OF_A_CRITERION
        value: Any = given.get(name)
        if name in unasked:
            if value:
                raise Unfit(f"`{name}` does not go with a {said['kind']}")
            continue

        def check(text: str, name: str = name) -> str:
            return _check(name, text, shelf)

        if not value and name == "status":
            value = default
        elif not value:
            if name in _CHOICES:
                question = f"{question} ({', '.join(_CHOICES[name])})"
            value = ask(question, default or _default(name, said), check)
        elif isinstance(value, str):
            value = check(value)
        if name == "when":
            asked = not given.get(name)
            value = list(map(check, [value] if isinstance(value, str) else value))
            while asked and (more := ask(_ANOTHER, _NONE, _or_none(check))) != _NONE:
                value.append(more)
            value = tuple(value)
        said[name] = value
    return Answers(**said)


def _or_none(check: Callable[[str], str]) -> Callable[[str], str]:
    return lambda text: text if text == _NONE else check(text)


def _default(name: str, said: Mapping[str, Any]) -> str:
    match name:
        case "folder":
            return "criteria" if said["kind"] == "criterion" else "guidance"
        case "title":
            words: str = said["id"].replace("-", " ")
            return words[0].upper() + words[1:]
        case _:
            return ""


def _check(name: str, text: str, shelf: Shelf) -> str:
    """An answer that fits; raises ``Unfit`` for one that does not."""
    if not text.strip():
        raise Unfit(f"`{name}` is empty: it has to say something")
    if name in _CHOICES and text not in _CHOICES[name]:
        known = ", ".join(_CHOICES[name])
        raise Unfit(f"`{text}` is not one of {known}{did_you_mean(text, _CHOICES[name])}")
    match name:
        case "id":
            return check_id(text, shelf)
        case "folder":
            return check_folder(text)
        case "source":
            return check_source(text, shelf)
        case "derives":
            return check_derived(text, shelf)
        case "when":
            return check_when(text, shelf)
        case _:
            return text


# --- files ---------------------------------------------------------------------------------------


def write_rule(answers: Answers, shelf: Shelf, today: date) -> tuple[Path, Path]:
    """Write a rule and its test, and check the folder with them: the paths of both.

    Raises ``Unfit`` for an answer that does not fit, ``FileExistsError`` where either file is
    there, and ``FilesInvalid`` where the checker finds errors; then nothing is left behind.
    """
    rule_text, test_text = make_rule(answers, shelf, today)
    folder = shelf.folder / answers.folder
    rule, test = folder / f"{answers.id}.yaml", folder / f"{answers.id}.test.yaml"
    for path in (rule, test):
        if path.exists():
            raise FileExistsError(f"{path}: is there already, and is not overwritten")
    folder.mkdir(parents=True, exist_ok=True)
    rule.write_text(rule_text, encoding="utf-8")
    test.write_text(test_text, encoding="utf-8")
    _, problems = check_ruleset(shelf.folder)
    errors: list[Problem] = [problem for problem in problems if problem.severity == "error"]
    if errors:
        rule.unlink()
        test.unlink()
        raise FilesInvalid(errors)
    return rule, test


def make_rule(answers: Answers, shelf: Shelf, today: date) -> tuple[str, str]:
    """The text of a rule and of its test; raises ``Unfit`` for an answer that does not fit."""
    check_id(answers.id, shelf)
    check_folder(answers.folder)
    check_source(answers.source, shelf)
    if answers.kind == "criterion":
        check_derived(answers.derives, shelf)
    conditions = [_parse(text, shelf) for text in answers.when]
    facts = [condition.fact for condition in conditions]
    if not facts:
        raise Unfit("a rule needs a condition")
    for fact in facts:
        if facts.count(fact) > 1:
            raise Unfit(f"two conditions are about `{fact}`: give one, and add the other by hand")
    file = shelf.folder / answers.folder / f"{answers.id}.yaml"
    schema_line = modeline(file, shelf.folder) if (shelf.folder / FOLDER).is_dir() else None
    rule = format_text("\n".join(_rule_lines(answers, today)), RULE, file.name, schema_line)
    test_file = file.with_suffix(".test.yaml")
    schema_line = schema_line and modeline(test_file, shelf.folder)
    test = "\n".join(_test_lines(answers, conditions, shelf))
    return rule, format_text(test, TEST, test_file.name, schema_line)


def _rule_lines(answers: Answers, today: date) -> Iterator[str]:
    yield f"id: {answers.id}"
    yield f"title: {_quoted(answers.title)}"
    yield "version: 0.1.0"
    yield f"status: {answers.status}"
    yield f"owner: {_quoted(answers.owner)}"
    yield f"reviewed: {today}"
    yield f"review_by: {_a_year_after(today)}"
    yield "evidence:"
    yield f"  - source: {answers.source}"
    yield f"    supports: {_quoted(answers.supports)}"
    yield f"    certainty: {answers.certainty}"
    if answers.kind == "criterion":
        yield f"derive: {answers.derives}"
    yield "when:"
    yield "  all:"
    for condition in answers.when:
        yield f"    - {condition}"  # what the parser takes needs no quotes
    if answers.kind == "card":
        yield "card:"
        yield f"  problem: {_quoted(answers.problem)}"
        yield f"  indicator: {answers.indicator}"
        yield f"  summary: {_quoted(answers.summary)}"
        yield f"  lead: {_quoted(answers.lead)}"


def _test_lines(answers: Answers, conditions: list[_Asked], shelf: Shelf) -> Iterator[str]:
    fires, silent = ("fires", "silent") if answers.kind == "card" else ('"true"', '"false"')
    held = {condition.fact: _value(condition, shelf, truth=True) for condition in conditions}
    yield f"rule: {answers.id}"
    yield "cases:"
    yield from _case("every condition holds", held, fires)
    for condition in conditions:
        unlike = held | {condition.fact: _value(condition, shelf, truth=False)}
        yield from _case(f"not so: {_said(condition)}", unlike, silent)
    for condition in conditions:
        unlike = held | {condition.fact: "unknown"}
        yield from _case(f"not known: {_said(condition)}", unlike, "unknown")


def _case(name: str, facts: Mapping[str, str], expected: str) -> Iterator[str]:
    yield f"  - name: {_quoted(name)}"
    yield f"    facts: {{{', '.join(f'{fact}: {value}' for fact, value in facts.items())}}}"
    yield f"    expect: {expected}"


def _said(condition: _Asked) -> str:
    match condition:
        case Is(fact=fact):
            return fact
        case Comparison(fact=fact, op=op, constant=constant):
            return f"{fact} {op} {constant}"
        case Within(fact=fact, days=days):
            return f"{fact} within {days}"
        case IsCategory(fact=fact, category=category):
            return f"{fact} is {category}"


_MEANING: Mapping[str, Callable[[Decimal, Decimal], bool]] = {
    ">=": operator.ge,
    ">": operator.gt,
    "<=": operator.le,
    "<": operator.lt,
    "==": operator.eq,
    "!=": operator.ne,
}


def _value(condition: _Asked, shelf: Shelf, *, truth: bool) -> str:
    """A value of its fact that makes a condition true, or false: at the threshold, or one off."""
    match condition:
        case Is():
            return "true" if truth else "false"
        case Within(days=days):
            return plain(days.value if truth else days.value + 1)
        case IsCategory(fact=fact, category=category):
            ranks = shelf.facts[fact].categories
            return next(rank for rank in ranks if (rank == category) is truth)
        case Comparison(op=op, constant=constant):
            c = constant.value
            return plain(next(n for n in (c, c - 1, c + 1) if _MEANING[op](n, c) is truth))


def _quoted(text: str) -> str:
    """A text in quotes; the formatter takes them away where they are of no use."""
    return json.dumps(text, ensure_ascii=False)


def _a_year_after(day: date) -> date:
    try:
        return day.replace(year=day.year + 1)
    except ValueError:  # the 29th of February
        return day.replace(year=day.year + 1, day=28)
