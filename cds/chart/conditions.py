"""Conditions as diagnoses and findings, with what was recorded and how it was recognised."""

from __future__ import annotations

import re
from datetime import date

from msgspec import Struct

from cds.chart.coding import find_all, find_families, texts
from cds.chart.terms import Terms
from cds.fhir.bundles import Excluded, name_of
from cds.fhir.dates import DateSpan, read_date, read_period
from cds.fhir.resources import CodeableConcept, Condition

ACTIVE = frozenset({"active", "recurrence", "relapse"})
DENIED = frozenset({"refuted", "entered-in-error"})
DOUBTED = frozenset({"provisional", "differential", "unconfirmed"})

_CLAUSE_END = re.compile(r"[,;.]")
_SENTENCE_END = re.compile(r"[;.]")


class Assertion(Struct, frozen=True, gc=False):
    """A Condition that asserts a diagnosis or finding.

    ``remark`` says what a reader must know of it: provisional, matched by name, a code of low
    specificity.
    """

    key: str
    reference: str
    text: str
    since: DateSpan | None
    remark: str


def read_conditions(
    conditions: list[Condition], terms: Terms, as_of: date, excluded: list[Excluded]
) -> dict[str, list[Assertion]]:
    """Diagnoses and findings by their key (``diagnosis.x``, ``finding.x``), groups included."""
    found: dict[str, list[Assertion]] = {}
    for condition in conditions:
        try:
            for assertion in _assertions(condition, terms, as_of):
                found.setdefault(assertion.key, []).append(assertion)
        except _NotUsed as reason:
            excluded.append(Excluded(name_of(condition), str(reason)))
    for group, members in terms.condition_groups.items():
        all_of_it = [a for member in members for a in found.get(member, ())]
        if all_of_it:
            found[group] = all_of_it
    return found


class _NotUsed(ValueError):
    pass


def _codes(concept: CodeableConcept | None) -> set[str]:
    """All codes of a status; its text where it has none."""
    if concept is None:
        return set()
    return {c.code for c in concept.coding if c.code} or {(concept.text or "").casefold()} - {""}


def _assertions(condition: Condition, terms: Terms, as_of: date) -> list[Assertion]:
    if condition.code is None:
        raise _NotUsed("it has no code")
    words = texts(condition.code)
    # A SNOMED and an ICD coding of one Condition often differ in detail: all of them are asserted.
    found = {m.entry: m.remark for m in find_all(terms.conditions, condition.code)}
    for match in () if found else find_families(terms.condition_families, condition.code):
        found.setdefault(match.entry, match.remark)
    if not found:
        named = {terms.condition_names.get(w.strip().casefold()) for w in words}
        found = {name: "matched by name" for name in named if name is not None}
    if not found:
        raise _NotUsed("its code is not mapped to anything that this service knows")
    status = _status(condition, as_of)
    since = _since(condition)
    if since is not None and since.first > as_of:
        raise _NotUsed(f"it begins on {since}, after {as_of}")
    for of, asserted, pattern in terms.phrases:
        if of in found and asserted not in found and _said(pattern, words, terms):
            found[asserted] = "said in the text of the Condition"
    for key in tuple(found):
        for implied in terms.condition_entries[key].implies:
            found.setdefault(f"finding.{implied}", found[key])
    text = words[0] if words else terms.condition_entries[next(iter(found))].title
    return [
        Assertion(key, name_of(condition), text, since, "; ".join(filter(None, (remark, *status))))
        for key, remark in found.items()
    ]


def _status(condition: Condition, as_of: date) -> list[str]:
    """What the statuses add to the remark; raises where the Condition does not count."""
    clinical = _codes(condition.clinicalStatus)
    verification = _codes(condition.verificationStatus)
    if denied := verification & DENIED:
        raise _NotUsed(f"its verificationStatus is {min(denied)}")
    if clinical and not clinical & ACTIVE:
        raise _NotUsed(f"its clinicalStatus is {min(clinical)}")
    start, end = read_period(condition.abatementPeriod)
    ended = read_date(condition.abatementDateTime) or end or start
    if ended is not None and ended.last <= as_of:
        raise _NotUsed(f"it ended on {ended}")
    return sorted(verification & DOUBTED)


def _since(condition: Condition) -> DateSpan | None:
    return (
        read_date(condition.onsetDateTime)
        or read_period(condition.onsetPeriod)[0]
        or read_date(condition.recordedDate)
    )


def _said(pattern: re.Pattern[str], words: list[str], terms: Terms) -> bool:
    """Whether one of the texts says a phrase without a negation before or after it.

    One before it counts within its sentence: "no infection; rapidly progressive" is an assertion.
    """
    return any(
        not terms.negation.search(_SENTENCE_END.split(text[: hit.start()])[-1])
        and not terms.negation_after.search(_CLAUSE_END.split(text[hit.end() :], maxsplit=1)[0])
        for text in map(str.casefold, words)
        for hit in pattern.finditer(text)
    )
