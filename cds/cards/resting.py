"""What a card rests on besides the thresholds of its rule: the choice of visits, of courses of
treatment and of the age of adults, where nobody read those numbers in a source."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from msgspec import Struct

from cds.chart.vocabulary import Number, Vocabulary
from cds.rules.words import say_number


class Choice(Struct, frozen=True):
    """A choice that was recalled and not read, in a few words.

    ``drug``: it bears only on who has that on record; None: on everybody.
    """

    said: str
    drug: str | None = None


def unverified_choices(facts: Iterable[str], vocabulary: Vocabulary) -> Iterator[Choice]:
    """What of the choices behind these facts was recalled and not read."""
    numbers = vocabulary.assessments
    kinds = [fact.split(".") for fact in facts]
    if numbers is not None:
        if any(kind in ("measure", "assessment") for kind, *_ in kinds):
            visits = {
                "within": numbers.window,
                "grace": numbers.grace,
                "look-back": numbers.look_back,
                "least interval": numbers.least_interval,
            }
            if said := _said(visits):
                yield Choice(f"choice of the visits compared ({said})")
        if any(f in (["treatment", "line_days"], ["drug", f[1], "days"]) for f in kinds) and (
            said := _said({"gap": numbers.course_gap})
        ):
            yield Choice(f"what is one course of treatment ({said})")
    named = {name for kind, name, *form in kinds if kind == "drug" and form != ["ever"]}
    for drug in dict.fromkeys(each for name in named for each in _drugs(name, vocabulary)):
        entry = vocabulary.drugs[drug]
        if entry.covers is not None and (said := _said({"": entry.covers})):
            yield Choice(f"how long one administration counts: {entry.title}, {said}", drug)


def _drugs(name: str, vocabulary: Vocabulary) -> tuple[str, ...]:
    """The drugs of a class, or the drug itself."""
    entry = vocabulary.drug_classes.get(name)
    return entry.any_of if entry is not None else (name,)


def _said(numbers: dict[str, Number]) -> str:
    return ", ".join(
        f"{name} {say_number(number.value, number.unit)}".strip()
        for name, number in numbers.items()
        if number.certainty == "unverified"
    )
