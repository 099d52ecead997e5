"""Parses conditions from rule files; what is wrong is reported where it stands.

A condition is a text (``diagnosis.myositis``, ``observation.spo2.latest < 92 %``,
``drug.x within 14 d``, ``response.tis.category is moderate``) or a mapping with one of ``all``,
``any``, ``not``, ``unknown``, ``at_least``, ``at_most``, ``exactly``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from functools import cache
from typing import Any, get_args

from msgspec import Struct

from cds.chart.facts.declaration import Declaration
from cds.chart.vocabulary import Number
from cds.located import Document, Steps, did_you_mean
from cds.rules.conditions import (
    All,
    Any_,
    Comparison,
    Condition,
    Constant,
    Count,
    HowMany,
    Is,
    IsCategory,
    IsUnknown,
    Not,
    Operator,
    Within,
)

BROKEN = Number(value=Decimal(0))
"""Stands for a parameter of a rule that cannot be read: what is wrong is told there, once."""


class ByWeight(Struct, frozen=True):
    """A dose by body weight: from ``low`` to ``high`` for each kg, at most ``most`` in all.

    ``unit`` is that of the dose itself; ``numbers`` are the parameters that say all this, by name.
    """

    low: Decimal
    high: Decimal
    most: Decimal | None
    unit: str
    numbers: tuple[tuple[str, Number], ...] = ()


@cache
def parameter_of(name: str) -> tuple[str, str] | None:
    """The fact and the parameter that ``fact.parameters.x`` names; no fact for ``parameters.x``."""
    fact, found, parameter = f".{name}".rpartition(".parameters.")
    return (fact.removeprefix("."), parameter) if found else None


class Scope(Struct, frozen=True):
    """What names mean where a condition is written: facts, groups, the rule's parameters.

    ``behind`` has the parameters of the rules that derive facts, by fact: texts may show them, and
    conditions compare with them.
    ``weight_doses`` has the doses by body weight that texts may show.
    """

    facts: Mapping[str, Declaration]
    groups: Mapping[str, tuple[str, ...]]
    parameters: Mapping[str, Number]
    behind: Mapping[str, Mapping[str, Number]] = {}
    weight_doses: Mapping[str, ByWeight] = {}


_TEXT = re.compile(
    r"(?P<fact>[A-Za-z][\w.]*)(?:\s*(?P<op>>=|<=|==|!=|>|<|\bwithin\b|\bis\b)\s*(?P<operand>\S.*))?"
)
_NUMBER = re.compile(r"(?P<value>[-+]?\d+(?:\.\d+)?)(?:\s*(?P<unit>\S.*))?")
_COMMA = re.compile(r",\d")
_CALLED = {"y": "a", "yr": "a", "year": "a", "years": "a", "percent": "%"}
"""What units are called elsewhere; said, and not taken, so that one unit has one spelling."""
_DAYS = {"d": 1, "day": 1, "days": 1, "wk": 7, "week": 7, "weeks": 7}
_WORDS = ("all", "any", "not", "unknown", "at_least", "at_most", "exactly")


def parse_condition(
    document: Document, steps: Steps, scope: Scope, member: str | None = None
) -> Condition | None:
    """Parse the condition at ``steps``; ``None``, with problems filed, where it is not one.

    In ``where``, ``member`` is the member of the group that names are looked up under first, and
    ``it`` is that member itself.
    """
    data = document.at(steps)
    if isinstance(data, str):
        return _parse_text(document, steps, data, scope, member)
    if isinstance(data, dict):
        return _parse_mapping(document, steps, data, scope, member)
    document.report(
        "bad-condition",
        steps,
        "a condition is a text such as `diagnosis.myositis` or a mapping such as `all: [...]`",
    )
    return None


def _parse_mapping(
    document: Document, steps: Steps, data: dict[str, Any], scope: Scope, member: str | None
) -> Condition | None:
    place = document.place(steps)
    words = [w for w in data if w in _WORDS]
    if len(words) != 1:
        hints = [] if words else [did_you_mean(key, _WORDS) for key in data]
        near = next(filter(None, hints), "")
        document.report(
            "bad-condition",
            steps,
            f"a condition has exactly one of {', '.join(f'`{w}`' for w in _WORDS)}{near}",
        )
        return None
    word = words[0]
    for how in get_args(HowMany):
        if word == how:
            return _parse_how_many(document, steps, data, scope, how)
    for extra in data:
        if extra != word:
            document.report("unknown-key", (*steps, extra), f"`{extra}` does not go with `{word}`")
    if word in ("not", "unknown"):
        part = parse_condition(document, (*steps, word), scope, member)
        if part is None:
            return None
        return Not(part, place) if word == "not" else IsUnknown(part, place)
    listed = data[word]
    if not isinstance(listed, list) or not listed:
        document.report("wrong-type", (*steps, word), f"`{word}` takes a list of conditions")
        return None
    parts = [
        parse_condition(document, (*steps, word, i), scope, member) for i in range(len(listed))
    ]
    whole = tuple(p for p in parts if p is not None)
    if len(whole) != len(parts):
        return None
    return All(whole, place) if word == "all" else Any_(whole, place)


def _parse_how_many(
    document: Document,
    steps: Steps,
    data: dict[str, Any],
    scope: Scope,
    how: HowMany,
) -> Condition | None:
    for extra in data:
        if extra not in (how, "of", "where", "as"):
            document.report("unknown-key", (*steps, extra), f"`{extra}` does not go with `{how}`")
    n = data[how]
    if not isinstance(n, int) or isinstance(n, bool) or n < 0:
        document.report("wrong-type", (*steps, how), f"`{how}` takes a whole number from 0")
        return None
    count = _count_over(document, steps, data, scope, how, n)
    if count is not None and n > len(count.members):
        document.report(
            "never-true",
            (*steps, how),
            f"the group `{count.group}` has only {len(count.members)} members: "
            "count no more than these",
        )
    return count


def parse_count(document: Document, steps: Steps, scope: Scope) -> Count | None:
    """Parse ``of``, ``where`` and ``as`` of a number that counts; ``None`` where it is wrong."""
    data = document.at(steps)
    if not isinstance(data, dict):
        document.report("wrong-type", steps, "`count` takes `of` and `where`")
        return None
    for extra in data:
        if extra not in ("of", "where", "as"):
            document.report("unknown-key", (*steps, extra), f"`{extra}` does not go with `count`")
    return _count_over(document, steps, data, scope, "at_least", 0)


def _count_over(
    document: Document, steps: Steps, data: dict[str, Any], scope: Scope, how: HowMany, n: int
) -> Count | None:
    group = str(data.get("of"))
    if group not in scope.groups:
        document.report(
            "unknown-group" if "of" in data else "missing-key",
            (*steps, "of"),
            f"`of` names a group{did_you_mean(group, scope.groups)}: "
            f"{', '.join(sorted(scope.groups))}",
        )
        return None
    for name in scope.groups[group]:
        if name not in scope.facts and not _names_under(name, scope):
            document.report(
                "unknown-fact",
                (*steps, "of"),
                f"the group `{group}` names `{name}`, which the vocabulary does not declare"
                f"{did_you_mean(name, scope.facts)}",
            )
            return None
    if "where" not in data:
        document.report("missing-key", steps, "`where` is missing: what is counted")
        return None
    members: list[tuple[str, Condition]] = []
    for name in scope.groups[group]:
        part = parse_condition(document, (*steps, "where"), scope, name)
        if part is None:  # the same mistakes would be reported again for every other member
            return None
        members.append((name, part))
    selects = data.get("as")
    return Count(
        how, n, group, tuple(members), str(selects) if selects else None, document.place(steps)
    )


def _parse_text(
    document: Document, steps: Steps, text: str, scope: Scope, member: str | None
) -> Condition | None:
    found = _TEXT.fullmatch(text.strip())
    if found is None:
        document.report(
            "bad-condition",
            steps,
            f"`{text}` is not a condition: {_advice(text)}",
        )
        return None
    fact = _resolve(found["fact"], scope, member)
    if fact is None:
        document.report(
            "unknown-fact",
            steps,
            f"`{found['fact']}` is not a fact that the vocabulary or a rule declares"
            f"{did_you_mean(found['fact'], [*_names_under(member, scope), *scope.facts])}",
        )
        return None
    declared = scope.facts[fact]
    place = document.place(steps)
    op, operand = found["op"], found["operand"]
    if op is None:
        if declared.kind != "boolean":
            hint = {
                "event": "within 14 d",
                "category": f"is {next(iter(declared.categories), 'high')}",
            }.get(declared.kind, f">= 20 {declared.unit}".rstrip())
            document.report(
                "wrong-kind",
                steps,
                f"`{fact}` is {_article(declared.kind)}, neither true nor false: "
                f"write for example `{found['fact']} {hint}`",
            )
            return None
        return Is(fact, place)
    wanted = {"within": "event", "is": "category"}.get(op, "number")
    if declared.kind != wanted:
        document.report(
            "wrong-kind",
            steps,
            f"`{op}` takes {_article(wanted)}, but `{fact}` is {_article(declared.kind)}"
            f"{_instead(found['fact'], op, operand.strip(), declared.kind)}",
        )
        return None
    if op == "is":
        category = operand.strip()
        if category not in declared.categories:
            document.report(
                "unknown-category",
                steps,
                f"`{category}` is not one of {', '.join(declared.categories)}"
                f"{did_you_mean(category, declared.categories)}",
            )
            return None
        return IsCategory(fact, category, place)
    constant = _constant(document, steps, operand, scope, "d" if op == "within" else declared.unit)
    if constant is None:
        return None
    if op == "within":
        return Within(fact, constant, place)
    operator: Operator = next(o for o in get_args(Operator) if o == op)
    return Comparison(fact, operator, constant, place)


_SIGNS = {"=<": "<=", "=>": ">=", "≤": "<=", "≥": ">=", "≠": "!=", "<>": "!=", " = ": " == "}
"""What is written for an operator elsewhere, and the operator."""


def _advice(text: str) -> str:
    """What to write in place of a text that is no condition."""
    for sign, operator in _SIGNS.items():
        if sign in text:
            return f"write `{operator.strip()}` for `{sign.strip()}`"
    if text.startswith("not "):
        return f"write `not: {text.removeprefix('not ').strip()}`"
    for word, key in (("and", "all"), ("or", "any")):
        parts = re.split(rf"\s+{word}\s+", text)
        if len(parts) > 1:
            return f"write `{key}: [{', '.join(parts)}]`"
    if " - " in text:
        return f"these are several: indent `- {text.rpartition(' - ')[2]}` as the lines above it"
    return (
        "write a fact, or a fact, an operator and a number with its unit, "
        "such as `observation.spo2.latest < 92 %`"
    )


def _instead(fact: str, op: str, operand: str, kind: str) -> str:
    """What to write in place of an operator that a fact of this kind does not take."""
    if kind == "category":
        return f": write `{fact} is {operand}`"
    if kind == "boolean" and operand in ("true", "false"):
        wanted = (operand == "true") == (op in ("==", "is"))
        return f": write `{fact}` alone" if wanted else f": write `not: {fact}`"
    return ""


def _article(kind: str) -> str:
    return {
        "event": "something that happened on a day",
        "number": "a number",
        "category": "a category",
    }.get(kind, "true or false")


def _resolve(name: str, scope: Scope, member: str | None) -> str | None:
    if member is not None:
        inner = member if name == "it" else f"{member}.{name}"
        if inner in scope.facts:
            return inner
    return name if name in scope.facts else None


def _names_under(member: str | None, scope: Scope) -> list[str]:
    """What the facts of a member of a group are called in ``where``."""
    return [f.removeprefix(f"{member}.") for f in scope.facts if f.startswith(f"{member}.")]


def _constant(
    document: Document, steps: Steps, operand: str, scope: Scope, unit: str
) -> Constant | None:
    parameter: str | None = None
    number: Number | None = None
    named = parameter_of(operand)
    if named is not None:
        fact, parameter = named
        parameters = scope.behind.get(fact, {}) if fact else scope.parameters
        number = parameters.get(parameter)
        if number is None:
            whose = f"the rule that derives `{fact}`" if fact else "this rule"
            document.report(
                "unknown-parameter",
                steps,
                f"`{operand}` is not among the parameters of {whose}"
                f"{did_you_mean(parameter, parameters)}",
            )
            return None
        value, given = number.value, unit if number is BROKEN else number.unit
    else:
        found = _NUMBER.fullmatch(operand)
        if found is None:
            document.report(
                "bad-condition",
                steps,
                f"`{operand}` is neither a number with its unit nor `parameters.<name>`",
            )
            return None
        value, given = Decimal(found["value"]), (found["unit"] or "").strip()
        if _COMMA.match(given):
            document.report(
                "bad-condition",
                steps,
                f"`{operand}` has a comma in its number: write `{operand.replace(',', '.', 1)}`",
            )
            return None
    if unit == "d" and given in _DAYS:
        return Constant(value * _DAYS[given], "d", parameter, number)
    if given != unit:
        # A number in another unit is another number: only where none is given can it be kept.
        same = not given or _CALLED.get(given.lower()) == unit
        advice = f"write `{value} {unit}`" if same else f"convert the number to `{unit}`"
        # Where the unit stands it is mended: once for a parameter, and not wherever it is used.
        owners: tuple[Steps, ...] = ((), steps[:1]) if parameter else ()
        own = ((*owner, "parameters", parameter or "") for owner in owners)
        place = next((each for each in own if each in document.places), None)
        document.report(
            "wrong-unit",
            place or steps,
            f"`{operand}` has {_unit(given)}, but "
            f"{'what it is compared with' if place else 'this fact'} has {_unit(unit)}: "
            + (advice if unit else "give the number without one"),
        )
        return None
    return Constant(value, unit, parameter, number)


def _unit(unit: str) -> str:
    return f"the unit `{unit}`" if unit else "no unit"
