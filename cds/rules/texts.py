"""Texts with facts in them: ``{fact}``, ``{fact:form}``, ``{parameters.x}``, parsed and checked.

``{fact}`` is the value, formatted; ``{fact:evidence}`` what it rests on, with dates, of a derived
fact what makes it so; ``{selection:evidence}`` each of its members with what that rests on;
``{fact:dates}`` only the dates; ``{drug.x:history}`` the times on a drug, or on each of a class;
``{fact:missing}``, of a derived fact that is not known or not exactly, what would settle it;
``{fact.parameters.x}`` a parameter of the rule that derives it, so that no text has to repeat its
number. ``{weight_dose.x}`` is a dose by body weight, worked out for the patient, and nothing where
no recent weight is known. An event gives the date of its last time, a selection the titles of its
members. ``{{`` is a brace. What speaks against whichever drug is so recorded has in ``{it.x}`` the
fact x of that drug.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Literal, TypeAlias, get_args

from msgspec import Struct
from msgspec.structs import replace

from cds.located import Document, Steps, did_you_mean
from cds.rules.parsing import ByWeight, Scope, parameter_of

Form = Literal["value", "evidence", "dates", "missing", "history"]
_FORMS: tuple[str, ...] = get_args(Form)
WEIGHT_DOSE = "weight_dose."
"""What the names of doses by body weight begin with in texts."""

IT = "it."
"""What the names of facts of the drug begin with that a text is about, whichever it is."""

_BRACES = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")


class Slot(Struct, frozen=True):
    """A place in a text where something known of the patient, or a parameter, is put.

    ``dose`` is the dose by body weight that it asks for.
    """

    name: str
    form: Form
    dose: ByWeight | None = None


Text: TypeAlias = tuple[str | Slot, ...]


def about_drug(text: Text, drug: str) -> Text:
    """A text that is about whichever drug, with the facts of one."""
    return tuple(
        replace(part, name=f"drug.{drug}.{part.name.removeprefix(IT)}")
        if isinstance(part, Slot) and part.name.startswith(IT)
        else part
        for part in text
    )


def names_in(text: Text) -> Iterator[str]:
    """The facts that a text shows, or of whose rule it shows a parameter."""
    for part in text:
        if isinstance(part, Slot):
            fact, _ = parameter_of(part.name) or (part.name, "")
            if fact:
                yield fact


def parse_text(
    document: Document, steps: Steps, text: str, scope: Scope, selections: frozenset[str]
) -> Text:
    """Parse a text; names that nothing declares are filed as problems."""
    parts: list[str | Slot] = []
    end = 0
    for hit in _BRACES.finditer(text):
        parts.append(text[end : hit.start()])
        end = hit.end()
        whole = hit.group()
        if whole in ("{{", "}}"):
            parts.append(whole[0])
            continue
        if hit[1] is None:
            document.report(
                "bad-text", steps, f"`{whole}` stands alone: close the braces, or double it"
            )
            continue
        name, _, form = hit[1].partition(":")
        if form and form not in _FORMS:
            document.report(
                "bad-text", steps, f"`{form}` is not a form{did_you_mean(form, _FORMS)}"
            )
            continue
        if not _known(name, scope, selections):
            document.report(
                "unknown-fact",
                steps,
                f"`{{{name}}}` is neither a fact, a selection nor a parameter of this rule"
                f"{did_you_mean(name, _names(scope, selections))}",
            )
            continue
        if form == "history" and not name.startswith("drug."):
            document.report(
                "bad-text",
                steps,
                f"`{name}` has no history: that is of drugs, `{{drug.x:history}}`",
            )
            continue
        dose = None
        if name.startswith(WEIGHT_DOSE):
            dose = scope.weight_doses[name.removeprefix(WEIGHT_DOSE)]
            if form:
                document.report("bad-text", steps, f"`{name}` has no forms: take out `:{form}`")
                continue
        parts.append(Slot(name, form or "value", dose))  # type: ignore[arg-type]  # checked just above
    parts.append(text[end:])
    return tuple(p for p in parts if p)


def _known(name: str, scope: Scope, selections: frozenset[str]) -> bool:
    named = parameter_of(name)
    if name.startswith(WEIGHT_DOSE):
        return name.removeprefix(WEIGHT_DOSE) in scope.weight_doses
    if named is not None:
        fact, parameter = named
        return parameter in (scope.behind.get(fact, {}) if fact else scope.parameters)
    return name in scope.facts or name in selections or name == "patient.id"


def _names(scope: Scope, selections: frozenset[str]) -> list[str]:
    behind = (f"{fact}.parameters.{x}" for fact, numbers in scope.behind.items() for x in numbers)
    own = (f"parameters.{name}" for name in scope.parameters)
    doses = (f"{WEIGHT_DOSE}{name}" for name in scope.weight_doses)
    return [*scope.facts, *selections, *own, *behind, *doses]
