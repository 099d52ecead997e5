from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from cds.located import Place
from cds.rules.conditions import (
    All,
    Any_,
    Comparison,
    Condition,
    Constant,
    Count,
    Is,
    IsCategory,
    IsUnknown,
    Not,
    Within,
    facts_of,
    walk,
)
from cds.rules.parsing import Scope

Parse = Callable[[str], tuple[Condition | None, list[str]]]


def shape(condition: Condition) -> Any:
    """A condition without its places."""
    match condition:
        case Is(fact=fact):
            return fact
        case Comparison(fact=fact, op=op, constant=constant):
            return (fact, op, str(constant))
        case Within(fact=fact, days=days):
            return (fact, "within", str(days))
        case IsCategory(fact=fact, category=category):
            return (fact, "is", category)
        case Not(part=part):
            return {"not": shape(part)}
        case IsUnknown(part=part):
            return {"unknown": shape(part)}
        case All(parts=parts):
            return {"all": [shape(p) for p in parts]}
        case Any_(parts=parts):
            return {"any": [shape(p) for p in parts]}
        case Count(how=how, n=n, members=members):
            return {how: n, "of": {name: shape(part) for name, part in members}}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("diagnosis.myositis", "diagnosis.myositis"),
        ("'  diagnosis.myositis '", "diagnosis.myositis"),
        ("observation.spo2.latest >= 92 %", ("observation.spo2.latest", ">=", "92 %")),
        ("observation.spo2.latest > 92 %", ("observation.spo2.latest", ">", "92 %")),
        ("observation.spo2.latest <= 92 %", ("observation.spo2.latest", "<=", "92 %")),
        ("observation.spo2.latest < 92 %", ("observation.spo2.latest", "<", "92 %")),
        ("observation.spo2.latest == 92 %", ("observation.spo2.latest", "==", "92 %")),
        ("observation.spo2.latest != 92 %", ("observation.spo2.latest", "!=", "92 %")),
        ("observation.spo2.latest<92.50%", ("observation.spo2.latest", "<", "92.50 %")),
        ("measure.a.improvement <= -20 %", ("measure.a.improvement", "<=", "-20 %")),
        ("measure.a.improvement > +0.1 %", ("measure.a.improvement", ">", "0.1 %")),
        (
            "measure.a.improvement >= finding.lung.parameters.severe",
            ("measure.a.improvement", ">=", "50 %"),
        ),
        (
            "measure.a.improvement >= parameters.least",
            ("measure.a.improvement", ">=", "20 %"),
        ),
        ("observation.ck.multiple > 1", ("observation.ck.multiple", ">", "1")),
        ("drug.pulse within 14 d", ("drug.pulse", "within", "14 d")),
        ("drug.pulse within 1 day", ("drug.pulse", "within", "1 d")),
        ("drug.pulse within 14days", ("drug.pulse", "within", "14 d")),
        ("drug.pulse within 2 weeks", ("drug.pulse", "within", "14 d")),
        ("drug.pulse within 1 week", ("drug.pulse", "within", "7 d")),
        ("drug.pulse within parameters.recent", ("drug.pulse", "within", "14 d")),
        ("treatment.days >= 12 wk", ("treatment.days", ">=", "84 d")),
        ("{not: finding.lung}", {"not": "finding.lung"}),
        ("{unknown: finding.lung}", {"unknown": "finding.lung"}),
        ("{all: [finding.lung, finding.heart]}", {"all": ["finding.lung", "finding.heart"]}),
        (
            "{any: [finding.lung, {not: finding.heart}]}",
            {"any": ["finding.lung", {"not": "finding.heart"}]},
        ),
        (
            "{not: {unknown: drug.pulse within 3 d}}",
            {"not": {"unknown": ("drug.pulse", "within", "3 d")}},
        ),
        (
            "{at_least: 2, of: measures, where: improvement >= 20 %}",
            {
                "at_least": 2,
                "of": {f"measure.{m}": (f"measure.{m}.improvement", ">=", "20 %") for m in "abc"},
            },
        ),
        (
            "{at_most: 0, of: complications, where: it}",
            {
                "at_most": 0,
                "of": {"finding.lung": "finding.lung", "finding.heart": "finding.heart"},
            },
        ),
        (
            "{exactly: 1, of: measures, where: {all: [current, finding.lung]}}",
            {
                "exactly": 1,
                "of": {
                    f"measure.{m}": {"all": [f"measure.{m}.current", "finding.lung"]} for m in "abc"
                },
            },
        ),
    ],
)
def test_reads_every_form(parse: Parse, text: str, expected: Any) -> None:
    """Every form of a condition is read as what it says."""
    condition, problems = parse(f"when: {text}")
    assert problems == []
    assert condition is not None
    assert shape(condition) == expected


def test_keeps_parameters(parse: Parse, scope: Scope) -> None:
    """A threshold remembers the parameter that it came from, in days where it was in weeks."""
    condition, _ = parse("when: drug.pulse within parameters.recent")
    assert isinstance(condition, Within)
    assert condition.days == Constant(Decimal(14), "d", "recent", scope.parameters["recent"])


def test_names_selections(parse: Parse) -> None:
    """A count may name those that meet it, for texts."""
    condition, _ = parse("when: {at_least: 1, of: complications, where: it, as: seen}")
    assert isinstance(condition, Count)
    assert (condition.selects, condition.group) == ("seen", "complications")


def test_knows_places(parse: Parse) -> None:
    """Every part of a condition knows the line and column where it stands."""
    condition, _ = parse("when:\n  all:\n    - finding.lung\n    - not: finding.heart\n")
    assert condition is not None
    places = [(type(c).__name__, c.place.line, c.place.column) for c in walk(condition)]
    assert places == [("All", 1, 1), ("Is", 3, 7), ("Not", 4, 7), ("Is", 4, 7)]
    assert condition.place == Place("rule.yaml", 1, 1)


def test_lists_facts(parse: Parse) -> None:
    """The facts that a condition asks for are found however deep they stand."""
    condition, _ = parse(
        "when: {any: [finding.lung, {unknown: drug.pulse within 3 d}, "
        "{at_least: 1, of: measures, where: improvement > 0 %}]}"
    )
    assert condition is not None
    assert list(facts_of(condition)) == [
        "finding.lung",
        "drug.pulse",
        *(f"measure.{m}.improvement" for m in "abc"),
    ]


PROBLEMS = {
    "when:\n  - finding.lung": (
        "1:1 bad-condition a condition is a text such as `diagnosis.myositis` or a mapping such as "
        "`all: [...]`"
    ),
    "when:\n  not:": (
        "2:3 bad-condition a condition is a text such as `diagnosis.myositis` or a mapping such as "
        "`all: [...]`"
    ),
    "when:\n  all: [finding.lung, 3]": (
        "2:23 bad-condition a condition is a text such as `diagnosis.myositis` or a mapping such "
        "as `all: [...]`"
    ),
    "when:\n  every: [finding.lung]": (
        "1:1 bad-condition a condition has exactly one of `all`, `any`, `not`, `unknown`, "
        "`at_least`, `at_most`, `exactly`"
    ),
    "when:\n  any:\n    - unknwon: finding.lung": (
        "3:7 bad-condition a condition has exactly one of `all`, `any`, `not`, `unknown`, "
        "`at_least`, `at_most`, `exactly` (did you mean `unknown`?)"
    ),
    "when:\n  all: [finding.lung]\n  any: [finding.heart]": (
        "1:1 bad-condition a condition has exactly one of `all`, `any`, `not`, `unknown`, "
        "`at_least`, `at_most`, `exactly`"
    ),
    "when: finding.lung and finding.heart": (
        "1:1 bad-condition `finding.lung and finding.heart` is not a condition: write "
        "`all: [finding.lung, finding.heart]`"
    ),
    "when: observation.spo2.latest = 92 %": (
        "1:1 bad-condition `observation.spo2.latest = 92 %` is not a condition: write `==` for `=`"
    ),
    "when: drug.pulse within14 d": (
        "1:1 bad-condition `drug.pulse within14 d` is not a condition: write a fact, or a fact, an "
        "operator and a number with its unit, such as `observation.spo2.latest < 92 %`"
    ),
    "when: measure.a.improvement > least": (
        "1:1 bad-condition `least` is neither a number with its unit nor `parameters.<name>`"
    ),
    "when: measure.a.improvement > .5 %": (
        "1:1 bad-condition `.5 %` is neither a number with its unit nor `parameters.<name>`"
    ),
    "when:\n  not: finding.lung\n  where: it": "3:3 unknown-key `where` does not go with `not`",
    "when:\n  at_least: 1\n  of: complications\n  were: it\n  where: it": (
        "4:3 unknown-key `were` does not go with `at_least`"
    ),
    "when:\n  all: finding.lung": "2:3 wrong-type `all` takes a list of conditions",
    "when:\n  any: []": "2:3 wrong-type `any` takes a list of conditions",
    "when: {at_least: three, of: measures, where: it}": (
        "1:8 wrong-type `at_least` takes a whole number from 0"
    ),
    "when: {at_most: -1, of: measures, where: it}": (
        "1:8 wrong-type `at_most` takes a whole number from 0"
    ),
    "when: {exactly: true, of: measures, where: it}": (
        "1:8 wrong-type `exactly` takes a whole number from 0"
    ),
    "when:\n  at_least: 1\n  of: mesures\n  where: it": (
        "3:3 unknown-group `of` names a group (did you mean `measures`?): complications, measures, "
        "misspelt"
    ),
    "when:\n  at_least: 1\n  where: it": (
        "1:1 missing-key `of` names a group: complications, measures, misspelt"
    ),
    "when:\n  at_least: 1\n  of: measures": ("1:1 missing-key `where` is missing: what is counted"),
    "when:\n  at_least: 4\n  of: measures\n  where: current": (
        "2:3 never-true the group `measures` has only 3 members: count no more than these"
    ),
    "when:\n  at_least: 1\n  of: misspelt\n  where: it": (
        "3:3 unknown-fact the group `misspelt` names `finding.haert`, which the vocabulary does "
        "not declare (did you mean `finding.heart`?)"
    ),
    "when:\n  not: diagnosis.myosotis": (
        "2:3 unknown-fact `diagnosis.myosotis` is not a fact that the vocabulary or a rule "
        "declares (did you mean `diagnosis.myositis`?)"
    ),
    "when: zebra": "1:1 unknown-fact `zebra` is not a fact that the vocabulary or a rule declares",
    "when: it": "1:1 unknown-fact `it` is not a fact that the vocabulary or a rule declares",
    "when:\n  at_least: 1\n  of: measures\n  where: improvment > 20 %": (
        "4:3 unknown-fact `improvment` is not a fact that the vocabulary or a rule declares (did "
        "you mean `improvement`?)"
    ),
    "when:\n  at_least: 1\n  of: measures\n  where: it": (
        "4:3 unknown-fact `it` is not a fact that the vocabulary or a rule declares"
    ),
    "when: observation.spo2.latest": (
        "1:1 wrong-kind `observation.spo2.latest` is a number, neither true nor false: write for "
        "example `observation.spo2.latest >= 20 %`"
    ),
    "when: drug.pulse": (
        "1:1 wrong-kind `drug.pulse` is something that happened on a day, neither true nor false: "
        "write for example `drug.pulse within 14 d`"
    ),
    "when: drug.pulse >= 14 d": (
        "1:1 wrong-kind `>=` takes a number, but `drug.pulse` is something that happened on a day"
    ),
    "when: finding.lung > 1": (
        "1:1 wrong-kind `>` takes a number, but `finding.lung` is true or false"
    ),
    "when: treatment.days within 14 d": (
        "1:1 wrong-kind `within` takes something that happened on a day, but `treatment.days` is a "
        "number"
    ),
    "when: measure.a.improvement > parameters.lesat": (
        "1:1 unknown-parameter `parameters.lesat` is not among the parameters of this rule (did "
        "you mean `least`?)"
    ),
    "when: measure.a.improvement > finding.lung.parameters.sever": (
        "1:1 unknown-parameter `finding.lung.parameters.sever` is not among the parameters of the "
        "rule that derives `finding.lung` (did you mean `severe`?)"
    ),
    "when: measure.a.improvement > 20": (
        "1:1 wrong-unit `20` has no unit, but this fact has the unit `%`: write `20 %`"
    ),
    "when: observation.ck.multiple > 5 %": (
        "1:1 wrong-unit `5 %` has the unit `%`, but this fact has no unit: give the number without "
        "one"
    ),
    "when: observation.ck.multiple > parameters.least": (
        "1:1 wrong-unit `parameters.least` has the unit `%`, but this fact has no unit: give the "
        "number without one"
    ),
    "when: drug.pulse within 2 months": (
        "1:1 wrong-unit `2 months` has the unit `months`, but this fact has the unit `d`: convert "
        "the number to `d`"
    ),
    "when: drug.pulse within 14": (
        "1:1 wrong-unit `14` has no unit, but this fact has the unit `d`: write `14 d`"
    ),
}


@pytest.mark.parametrize(("text", "problem"), PROBLEMS.items())
def test_reports_where_it_stands(parse: Parse, text: str, problem: str) -> None:
    """What is wrong is reported at its line and column, with what to write instead."""
    _, problems = parse(text)
    assert set(problems) == {f"rule.yaml:{problem}"}


def test_reports_everything_at_once(parse: Parse) -> None:
    """Every mistake of a condition is reported, those inside a count too, and each once."""
    condition, problems = parse(
        "when:\n"
        "  any:\n"
        "    - zebra\n"
        "    - at_least: 1\n"
        "      of: measures\n"
        "      where: {all: [zebra, improvement > 20, current]}\n"
        "    - not: finding.lung within 3 d\n"
    )
    assert condition is None
    assert [p.split()[:2] for p in problems] == [
        ["rule.yaml:3:7", "unknown-fact"],
        ["rule.yaml:6:21", "unknown-fact"],
        ["rule.yaml:6:28", "wrong-unit"],
        ["rule.yaml:7:7", "wrong-kind"],
    ]


def test_where_may_name_other_facts(parse: Parse) -> None:
    """In ``where``, a name is that of the member's own fact, or else that of any fact."""
    condition, problems = parse(
        "when: {at_least: 1, of: measures, where: {any: [current, diagnosis.myositis]}}"
    )
    assert problems == []
    assert condition is not None
    assert set(facts_of(condition)) == {
        "measure.a.current",
        "measure.b.current",
        "measure.c.current",
        "diagnosis.myositis",
    }
