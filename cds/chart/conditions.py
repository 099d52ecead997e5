"""Conditions as diagnoses and findings, with what was recorded and how it was recognised."""

from __future__ import annotations

import re
from collections.abc import Collection
from datetime import date

from msgspec import Struct

from cds.chart.coding import LONGEST_TEXT, find_all, find_families, texts
from cds.chart.naming import Hearing, hear
from cds.chart.terms import Terms
from cds.chart.vocabulary import ConditionEntry
from cds.fhir.bundles import Excluded, name_of
from cds.fhir.dates import DateSpan, read_date, read_period
from cds.fhir.resources import CodeableConcept, Condition

ACTIVE = frozenset({"active", "recurrence", "relapse"})
DENIED = frozenset({"refuted", "entered-in-error"})
DOUBTED = frozenset({"provisional", "differential", "unconfirmed"})


class Assertion(Struct, frozen=True, gc=False):
    """A Condition that asserts a diagnosis or finding.

    ``remark`` says what a reader must know of it: provisional, matched by name, a code of low
    specificity. One that is not ``sure`` leaves open whether it is so. ``onset`` is when it began,
    where that is stated, ``recorded`` when it was recorded, ``since`` the one or else the other.
    ``doubted``: by its verificationStatus, or by its text, it is not confirmed yet.
    """

    key: str
    reference: str
    text: str
    since: DateSpan | None
    remark: str
    sure: bool = True
    onset: DateSpan | None = None
    recorded: DateSpan | None = None
    doubted: bool = False


def read_conditions(
    conditions: list[Condition],
    terms: Terms,
    as_of: date,
    excluded: list[Excluded],
    unread: set[str],
) -> dict[str, list[Assertion]]:
    """Diagnoses and findings by their key (``diagnosis.x``, ``finding.x``), groups included.

    What is left out is added to ``excluded``; where a text that may say more is too long to be
    looked through, it is listed there, and Condition is added to ``unread``.
    """
    found: dict[str, list[Assertion]] = {}
    for condition in conditions:
        try:
            assertions = _assertions(condition, terms, as_of)
        except _NotUsed as reason:
            excluded.append(Excluded(name_of(condition), str(reason)))
            continue
        for assertion in assertions:
            found.setdefault(assertion.key, []).append(assertion)
        if _is_too_long(condition, assertions, terms):
            excluded.append(Excluded(name_of(condition), _TOO_LONG))
            unread.add("Condition")
    for group, members in terms.condition_groups.items():
        all_of_it = [a for member in members for a in found.get(member, ())]
        if all_of_it:
            found[group] = [a for a in all_of_it if a.sure] or all_of_it
    return found


class _NotUsed(ValueError):
    pass


class _Over(_NotUsed):
    """A Condition was so, and is no longer: ``status`` says how that is known."""

    def __init__(self, status: str) -> None:
        self.status = status
        super().__init__(status)


_TOO_LONG = (
    f"of its texts only those of up to {LONGEST_TEXT} characters were looked through; "
    "one is longer, and may say more"
)


def _is_too_long(condition: Condition, assertions: list[Assertion], terms: Terms) -> bool:
    """Whether a text was not looked through in which phrases are looked for."""
    assert condition.code is not None
    found = {assertion.key for assertion in assertions}
    return any(len(text) > LONGEST_TEXT for text in texts(condition.code)) and any(
        of in found and asserted not in found for of, asserted, _ in terms.phrases
    )


def codes_of(concept: CodeableConcept | None) -> set[str]:
    """All codes of a status; its text where it has none."""
    if concept is None:
        return set()
    return {c.code for c in concept.coding if c.code} or {(concept.text or "").casefold()} - {""}


def _assertions(condition: Condition, terms: Terms, as_of: date) -> list[Assertion]:
    if condition.code is None:
        raise _NotUsed("it has no code")
    words = texts(condition.code)
    entries = terms.condition_entries
    # A SNOMED and an ICD coding of one Condition often differ in detail: all of them are asserted.
    found = {m.entry: m.remark for m in find_all(terms.conditions, condition.code)}
    for match in () if found else find_families(terms.condition_families, condition.code):
        found.setdefault(match.entry, match.remark)
    # What a text doubts; what stands nowhere else is left open by that, and not asserted.
    doubts = _doubted(found, words, terms)
    for named in () if found else tuple(map(terms.condition_names.find, words)):
        if named is not None and named.doubted:
            doubts.add(named.entry)
        elif named is not None:
            found[named.entry] = "matched by name"
    also = {f"finding.{i}" for key in found for i in entries[key].implies}
    for of, asserted, pattern in terms.phrases:
        if not of and asserted not in found.keys() | also:
            heard = _heard(pattern, words, terms)
            if "said" in heard:
                found[asserted] = _SAID
            if "doubted" in heard:
                doubts.add(asserted)
    for key in doubts - found.keys():
        if (possible := entries[key].in_doubt) is not None:
            doubts.remove(key)
            found.setdefault(f"finding.{possible}", _DOUBTED)
    opened = {m.entry: m.remark for m in find_all(terms.left_open, condition.code)}
    if not found and not doubts and not opened:
        raise _NotUsed("its code is not mapped to anything that this service knows")
    try:
        status = _status(condition, as_of)
    except _Over as over:
        found = _past(found, terms)
        doubts = {*_past(dict.fromkeys(doubts, ""), terms)}
        if not found and not doubts:
            raise
        status = [over.status]
    onset = _onset(condition)
    recorded = read_date(condition.recordedDate)
    since = onset or recorded
    if since is not None and since.first > as_of:
        raise _NotUsed(f"it begins on {since}, after {as_of}")
    for of, asserted, pattern in terms.phrases:
        if of in found.keys() | doubts and asserted not in found:
            heard = _heard(pattern, words, terms)
            if "said" in heard and of in found:
                found[asserted] = _SAID
            elif heard:
                doubts.add(asserted)
                if of in found:  # the doubt is of this, and not of what it is said of
                    doubts.discard(of)
    for key in (*found, *sorted(doubts - found.keys())):
        for implied in (f"finding.{each}" for each in entries[key].implies):
            if implied not in found and key in doubts:
                doubts.add(implied)
            if key in found:
                found.setdefault(implied, found[key])
    for key in tuple(found):
        for broader in entries[key].in_place_of:
            found.pop(f"finding.{broader}", None)
            doubts.discard(f"finding.{broader}")
    text = words[0] if words else entries[next(iter(found or opened))].title
    made = []
    name = name_of(condition)
    open_ = {key: _DOUBTED for key in sorted(doubts - found.keys())}
    for key, remark in (found | open_).items():
        entry = entries[key]
        old = too_old(entry, since, as_of)
        doubt = _DOUBTED if key in doubts and key in found else ""
        said = "; ".join(filter(None, (remark, doubt, *status, old)))
        dated = (onset, recorded, bool(status) or key in doubts)
        made.append(Assertion(key, name, text, since, said, key in found and not old, *dated))
        section = key.partition(".")[0]
        for other in entry.perhaps:
            if (perhaps := f"{section}.{other}") not in found.keys() | doubts:
                said = f"left open by “{entry.title}”"
                made.append(Assertion(perhaps, name, text, since, said, False, *dated))
    for key, remark in opened.items():
        if key not in found.keys() | doubts:
            said = "; ".join(filter(None, ("left open by its code", remark, *status)))
            dated = (onset, recorded, bool(status))
            made.append(Assertion(key, name, text, since, said, False, *dated))
    return made


_SAID = "said in the text of the Condition"
_DOUBTED = "in doubt by its text"


def _heard(pattern: re.Pattern[str], words: list[str], terms: Terms) -> set[Hearing]:
    """Whether texts say a phrase, and whether one leaves it open; empty where they do neither."""
    heard: set[Hearing] = set()
    for text in words:
        if len(text) <= LONGEST_TEXT:
            said = text.casefold()
            heard.add(hear([hit.span() for hit in pattern.finditer(said)], said, terms.denials))
    return heard - {None}


def _doubted(asserted: Collection[str], words: list[str], terms: Terms) -> set[str]:
    """What a text doubts of what the codes of its Condition assert.

    Where the text does not call it by a name that is known, the doubt must begin or end the text.
    """
    doubted: set[str] = set()
    for text in words if asserted else ():
        if len(text) > LONGEST_TEXT:
            continue
        said, names = text.casefold(), terms.condition_words.find_spans(text)
        for key in asserted:
            patterns = [pattern for _, of, pattern in terms.phrases if of == key]
            hits = [hit.span() for pattern in patterns for hit in pattern.finditer(said)]
            hits += names.get(key, [])
            heard = hear(hits, said, terms.denials)
            # A code that its text denies ("myocarditis ruled out") is no surer than one in doubt.
            denied = hits and heard is None and terms.condition_entries[key].in_doubt
            whole = not hits and terms.condition_names.doubts_whole(text)
            if heard == "doubted" or denied or whole:
                doubted.add(key)
    return doubted


def _past(found: dict[str, str], terms: Terms) -> dict[str, str]:
    """What Conditions that are over assert of the past, of what they assert while they go on."""
    pasts = ((terms.condition_entries[key].past, remark) for key, remark in found.items())
    return {f"finding.{past}": remark for past, remark in pasts if past is not None}


def too_old(entry: ConditionEntry, since: DateSpan | None, as_of: date) -> str:
    """Why an assertion may be over; empty where it is recent enough, or counts for ever."""
    if entry.counts_for is None or since is None:
        return ""
    days = int(entry.counts_for.value)
    if (as_of - since.first).days <= days:
        return ""
    return f"may be over: it is not surely of the last {days} days"


def _status(condition: Condition, as_of: date) -> list[str]:
    """What the statuses add to the remark; raises where the Condition does not count."""
    clinical = codes_of(condition.clinicalStatus)
    verification = codes_of(condition.verificationStatus)
    if denied := verification & DENIED:
        raise _NotUsed(f"its verificationStatus is {min(denied)}")
    if clinical and not clinical & ACTIVE:
        raise _Over(f"its clinicalStatus is {min(clinical)}")
    start, end = read_period(condition.abatementPeriod)
    ended = read_date(condition.abatementDateTime) or end or start
    if ended is not None and ended.last <= as_of:
        raise _Over(f"it ended on {ended}")
    if not clinical and (condition.abatementAge or condition.abatementString):
        raise _Over("it ended, as its abatement says, and no clinicalStatus says otherwise")
    return sorted(verification & DOUBTED)


def _onset(condition: Condition) -> DateSpan | None:
    return read_date(condition.onsetDateTime) or read_period(condition.onsetPeriod)[0]
