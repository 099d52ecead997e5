"""Facts about allergies: to a drug on record, to one that is given, or to one that is ordered."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from cds.chart.allergies import Allergy, Kind
from cds.chart.chart import Chart
from cds.chart.facts.declaration import Declaration, Evidence, EvidenceReader, Value, any_so
from cds.chart.facts.drugs import (
    CURRENT,
    drafted,
    exposures,
    is_current,
    is_ordered,
    treatments_complete,
)
from cds.chart.vocabulary import Vocabulary

ALLERGIES: dict[Kind, str] = {
    "allergy": "allergy to it on record",
    "intolerance": "intolerance of it on record",
}
"""The last part of facts of a drug that say what the patient is recorded to react to."""


def declare(vocabulary: Vocabulary) -> list[Declaration]:
    """Whether an allergy to a drug, to one of a class, or to any is on record."""
    made = [
        Declaration(
            name=f"drug.{name}.{kind}",
            kind="boolean",
            title=f"{entry.title}, {title}",
            read=_reacts(drugs, kind),
            evidence=_reactions(drugs, kind),
        )
        for entries in (vocabulary.drugs, vocabulary.drug_classes)
        for name, entry in entries.items()
        for drugs in [getattr(entry, "any_of", (name,))]
        for kind, title in ALLERGIES.items()
    ]
    every = tuple(vocabulary.drugs)
    any_drug: tuple[tuple[Kind, str], ...] = (
        ("allergy", "Allergy to a drug that this service knows"),
        ("intolerance", "Intolerance of a drug that this service knows"),
    )
    made += [
        Declaration(
            name=f"patient.drug_{kind}",
            kind="boolean",
            title=title,
            read=_reacts(every, kind),
            evidence=_reactions(every, kind),
        )
        for kind, title in any_drug
    ]
    return [*made, _unmatched()]


def _unmatched() -> Declaration:
    """Whether an allergy is on record that nothing here is weighed against."""

    def read(chart: Chart) -> Value:
        if chart.allergies.unmatched:
            return True
        return False if "AllergyIntolerance" in chart.complete else None

    return Declaration(
        name="patient.unmatched_allergy",
        kind="boolean",
        title="Allergy or intolerance to what this service could not match to a drug",
        read=read,
        evidence=lambda chart: tuple(map(_cite, chart.allergies.unmatched)),
    )


def _cite(allergy: Allergy) -> Evidence:
    since = str(allergy.since) if allergy.since else ""
    return Evidence(allergy.reference, since, allergy.said)


def _recorded_allergies(drugs: tuple[str, ...], kind: Kind, chart: Chart) -> list[Allergy]:
    of = chart.allergies.of
    # Of the two the recorded drugs are the fewer, by far.
    return [a for drug in of if drug in drugs for a in of[drug] if a.kind == kind] if of else []


def _reacts(drugs: tuple[str, ...], kind: Kind) -> Callable[[Chart], Value]:
    def read(chart: Chart) -> Value:
        found = _recorded_allergies(drugs, kind, chart)
        if any(allergy.sure for allergy in found):
            return True
        return None if found or "AllergyIntolerance" not in chart.complete else False

    return read


def _reactions(drugs: tuple[str, ...], kind: Kind) -> EvidenceReader:
    """What is recorded of drugs; where that is nothing, what leaves it open or says there is none.

    A record that stands for several of them is told once, as what it names where it names one.
    """

    def evidence(chart: Chart) -> tuple[Evidence, ...]:
        found = _recorded_allergies(drugs, kind, chart)
        told = [a for a in found if a.sure] or [*found, *chart.allergies.open]
        once: dict[tuple[str, str, str], Evidence] = {}
        for allergy in told or chart.allergies.none:
            cited = _cite(allergy)
            record = (cited.reference, cited.date, allergy.record)
            known = once.setdefault(record, cited)
            # That a drug was matched as one of a group makes it longer.
            if len(cited.text) < len(known.text):
                once[record] = cited
        return tuple(once.values())

    return evidence


def ordered_despite(name: str, title: str, kind: Kind) -> Declaration:
    """The fact that a draft order is of a drug to which an allergy or intolerance is on record."""

    def read(chart: Chart) -> Value:
        drafts = chart.drafts
        known = [_both_so(is_ordered(d), kind, d, chart) for d in drafts.exposures]
        if True not in known and drafts.unread:  # each of these could be any drug
            known.append(_unless_false(_reacts(tuple(chart.terms.vocabulary.drugs), kind)(chart)))
        return any_so(known)

    def evidence(chart: Chart) -> tuple[Evidence, ...]:
        return _of_reacting(chart.drafts.exposures, kind, is_ordered, drafted, chart)

    return Declaration(name=name, kind="boolean", title=title, read=read, evidence=evidence)


def current_despite(name: str, title: str, kind: Kind) -> Declaration:
    """The fact that a drug is current treatment to which an allergy or intolerance is recorded."""

    def cited(drug: str) -> EvidenceReader:
        return exposures(drug, CURRENT)

    def read(chart: Chart) -> Value:
        known = [_both_so(is_current(d), kind, d, chart) for d in _used(chart)]
        if True not in known and not treatments_complete(chart):
            known.append(_unless_false(_reacts(tuple(chart.terms.vocabulary.drugs), kind)(chart)))
        return any_so(known)

    def evidence(chart: Chart) -> tuple[Evidence, ...]:
        return _of_reacting(_used(chart), kind, is_current, cited, chart)

    return Declaration(name=name, kind="boolean", title=title, read=read, evidence=evidence)


def _used(chart: Chart) -> tuple[str, ...]:
    """The drugs that were used, or are ordered."""
    return tuple(dict.fromkeys((*chart.exposures, *chart.planned)))


def _both_so(used: Callable[[Chart], Value], kind: Kind, drug: str, chart: Chart) -> Value:
    reacts = _reacts((drug,), kind)(chart)
    if reacts is False:
        return False
    is_used = used(chart)
    return False if is_used is False else None if None in (reacts, is_used) else True


def _unless_false(value: Value) -> Value:
    return False if value is False else None


def _of_reacting(
    drugs: Iterable[str],
    kind: Kind,
    used: Callable[[str], Callable[[Chart], Value]],
    cited: Callable[[str], EvidenceReader],
    chart: Chart,
) -> tuple[Evidence, ...]:
    """Of each drug that may be used and reacted to, its use and what is recorded of it."""
    reacting = [d for d in drugs if _both_so(used(d), kind, d, chart) is not False]
    readers = (read for d in reacting for read in (cited(d), _reactions((d,), kind)))
    return tuple(dict.fromkeys(e for read in readers for e in read(chart)))
