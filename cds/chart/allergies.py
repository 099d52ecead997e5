"""Allergies and intolerances to drugs that the vocabulary knows, and the word that there are none.

A substance is matched as the drug of an order is: by code, else by name as a whole word, which the
evidence shows. What the vocabulary calls an allergen stands for all of its drugs.
"""

from __future__ import annotations

from datetime import date, timedelta
from typing import Literal

from msgspec import Struct

from cds.chart.coding import LONGEST_TEXT, Match, find_all, texts
from cds.chart.conditions import ACTIVE, DENIED, DOUBTED, codes_of
from cds.chart.naming import hear
from cds.chart.terms import Terms
from cds.fhir.bundles import Excluded, name_of
from cds.fhir.dates import DateSpan, read_date, read_period
from cds.fhir.resources import AllergyIntolerance, CodeableConcept

Kind = Literal["allergy", "intolerance"]


class Allergy(Struct, frozen=True, gc=False):
    """A recorded risk of reacting to one drug.

    An intolerance that is dangerous, and what is not said to be the one or the other, is an
    ``allergy``. ``said`` has what is recorded of it. One that is not ``sure`` leaves it open.
    """

    drug: str
    kind: Kind
    reference: str
    said: str
    since: DateSpan | None
    sure: bool = True


class Allergies(Struct, frozen=True):
    """What is recorded of allergies: ``of`` each drug, and where it says that there are none.

    ``open`` are the records that leave open whether there is any; ``unmatched`` are those whose
    substance may be a drug, and is none that the vocabulary knows.
    """

    of: dict[str, list[Allergy]] = {}
    none: tuple[Allergy, ...] = ()
    open: tuple[Allergy, ...] = ()
    unmatched: tuple[Allergy, ...] = ()


NO_ALLERGIES = Allergies()
"""Where nothing of allergies is recorded."""


def read_allergies(
    records: list[AllergyIntolerance],
    terms: Terms,
    as_of: date,
    excluded: list[Excluded],
    unread: set[str],
) -> Allergies:
    """Read the allergies and intolerances of a patient.

    What is left out is added to ``excluded``. Where a record may be about any drug, or says that
    nothing is known, AllergyIntolerance is added to ``unread``.
    """
    if not records:
        return NO_ALLERGIES
    of: dict[str, list[Allergy]] = {}
    none: list[Allergy] = []
    left_open: list[Allergy] = []
    unmatched: list[Allergy] = []
    for record in records:
        try:
            for allergy in _allergies(record, terms, as_of):
                if allergy.drug:
                    of.setdefault(allergy.drug, []).append(allergy)
                else:
                    none.append(allergy)
        except _Open as reason:
            left_open.append(_about("", record, str(reason), (), terms))
            unmatched += left_open[-1:] if isinstance(reason, _UnknownSubstance) else []
            excluded.append(Excluded(name_of(record), str(reason)))
            unread.add("AllergyIntolerance")
        except _Unmatched as reason:
            unmatched.append(_about("", record, "", _doubts(record), terms))
            excluded.append(Excluded(name_of(record), str(reason)))
        except _NotUsed as reason:
            excluded.append(Excluded(name_of(record), str(reason)))
    if of and none:
        # Which of the two is the later word is not asked: a recorded allergy is never passed over.
        contradicted = "says that there is no known allergy, and another record names one"
        excluded += [Excluded(allergy.reference, contradicted) for allergy in none]
        none = []
    return Allergies(of, tuple(none), tuple(left_open), tuple(unmatched))


class _NotUsed(ValueError):
    pass


class _Open(_NotUsed):
    """A record leaves open which drugs it is about, or whether there is anything."""


class _UnknownSubstance(_Open):
    """What a record is about cannot be known, so that it may be any drug."""


class _Unmatched(_NotUsed):
    """What a record is about may be a drug, and is none that the vocabulary knows."""

    def __init__(self) -> None:
        super().__init__(_NOT_MAPPED)


_NOT_MAPPED = "its substance is not mapped to anything that this service knows"


def _doubts(record: AllergyIntolerance) -> tuple[str, ...]:
    """What its verificationStatus says of a doubt."""
    return tuple(sorted(codes_of(record.verificationStatus) & DOUBTED))


def _allergies(record: AllergyIntolerance, terms: Terms, as_of: date) -> list[Allergy]:
    concepts = substances(record)
    if denied := codes_of(record.verificationStatus) & DENIED:
        raise _NotUsed(f"its verificationStatus is {min(denied)}")
    clinical = codes_of(record.clinicalStatus)
    if clinical and not clinical & ACTIVE:
        raise _NotUsed(f"its clinicalStatus is {min(clinical)}")
    since = _since(record)
    # In another time zone a record that was made just now may be of tomorrow.
    ahead = timedelta(days=1 if _begins(record) is None else 0)
    if since is not None and since.first > as_of + ahead:
        raise _NotUsed(f"it begins on {since}, after {as_of}")
    # Before what it says of allergies as a whole: one that it names is never passed over.
    found = _drugs(concepts, terms, severe=_dangerous(record, terms))
    statement = None if found else _statement(concepts, terms)
    if statement is not None:
        entry = terms.vocabulary.allergy_statements[statement]
        if entry.says == "not known":
            raise _Open("it says that allergies are not known")
        return [_about("", record, _named(concepts) or entry.title, (), terms)]
    if found:
        return [
            _about(match.entry, record, "", (*_doubts(record), match.remark), terms, sure=sure)
            for match, sure in found.items()
        ]
    if any(len(text) > LONGEST_TEXT for concept in concepts for text in texts(concept)):
        raise _UnknownSubstance(
            f"a text in it has more than {LONGEST_TEXT} characters, and was not looked through"
        )
    if not may_be_of_drugs(record):
        raise _NotUsed(_NOT_MAPPED)
    if not any(map(texts, concepts)):
        raise _UnknownSubstance("its substance has no name, and no code that this service knows")
    raise _Unmatched


def substances(record: AllergyIntolerance) -> list[CodeableConcept]:
    """What a record says that it is about, and what it says was reacted to."""
    return [c for c in (record.code, *(r.substance for r in record.reaction)) if c is not None]


def may_be_of_drugs(record: AllergyIntolerance) -> bool:
    """Whether a record is not said to be of something else, such as food."""
    return not record.category or not {"medication", "biologic"}.isdisjoint(record.category)


def _statement(concepts: list[CodeableConcept], terms: Terms) -> str | None:
    """The entry of what a record says of allergies as a whole, if it does."""
    for concept in concepts:
        if found := find_all(terms.allergy_statements, concept):
            return found[0].entry
        for text in texts(concept):
            if said := terms.allergy_statement_names.get(text.strip().casefold()):
                return said
    return None


def _drugs(concepts: list[CodeableConcept], terms: Terms, *, severe: bool) -> dict[Match, bool]:
    """The drugs that a record is about, each surely or not: by code, else by name."""
    found: dict[str, tuple[Match, bool]] = {}

    def put(drug: str, remark: str, *, sure: bool) -> None:
        known = found.get(drug)
        if known is None or (sure and not known[1]):
            found[drug] = Match(drug, remark), sure

    def put_all(allergen: str, remark: str, *, sure: bool) -> None:
        entry = terms.vocabulary.allergens[allergen]
        if entry.only_severe and not severe:
            return
        named = f"as {entry.title}"
        for drug in terms.allergen_drugs[allergen]:
            put(drug, "; ".join(filter(None, (named, remark))), sure=sure)

    for concept in concepts:
        drugs = find_all(terms.drugs, concept)
        allergens = find_all(terms.allergens, concept)
        for match in drugs:
            put(match.entry, match.remark, sure=True)
        for match in allergens:
            put_all(match.entry, match.remark, sure=True)
        for text in () if drugs or allergens else texts(concept):
            if len(text) > LONGEST_TEXT:
                continue
            # What is denied in the same text leaves it open.
            said, denials = text.casefold(), terms.allergy_denials
            for drug, at in sorted(terms.drug_names.find_spans(text).items()):
                put(drug, "matched by name", sure=hear(at, said, denials) == "said")
            for allergen, at in sorted(terms.allergen_names.find_spans(text).items()):
                sure = hear(at, said, denials) == "said"
                put_all(allergen, "matched by name", sure=sure)
    for drug, (match, sure) in tuple(found.items()):
        for allergen in terms.allergens_with.get(drug, ()):
            put_all(allergen, match.remark, sure=sure)
    return dict(found.values())


def _about(
    drug: str,
    record: AllergyIntolerance,
    said: str,
    remarks: tuple[str, ...],
    terms: Terms,
    *,
    sure: bool = True,
) -> Allergy:
    harmless = record.type == "intolerance" and not _dangerous(record, terms)
    kind: Kind = "intolerance" if harmless else "allergy"
    return Allergy(
        drug,
        kind,
        name_of(record),
        said or _describe(record, remarks),
        _since(record),
        sure,
    )


def _dangerous(record: AllergyIntolerance, terms: Terms) -> bool:
    """Whether a further exposure may be dangerous, by what is recorded.

    By its criticality, else by a reaction that was severe; by what some reactions are in any case.
    """
    if record.criticality == "high":
        return True
    return any(
        (reaction.severity == "severe" and record.criticality != "low")
        or any(
            find_all(terms.severe_reactions, manifestation)
            or any(
                terms.severe_reaction_names.search(text.casefold())
                for text in texts(manifestation)
                if len(text) <= LONGEST_TEXT
            )
            for manifestation in reaction.manifestation
        )
        for reaction in record.reaction
    )


_KINDS = {"allergy": "allergy to", "intolerance": "intolerance of"}


def _describe(record: AllergyIntolerance, remarks: tuple[str, ...]) -> str:
    """A record in words: ``allergy to Methotrexate: anaphylaxis 2019-03-02, severe``.

    With its criticality and what else must be known of it: ``(criticality high, unconfirmed)``.
    """
    concepts = substances(record)
    kind = _KINDS.get(record.type or "", "allergy or intolerance to")
    told = f"{kind} {_named(concepts) or 'a substance that is not named'}"
    reactions = []
    for reaction in record.reaction:
        shown = [said[0] for said in map(texts, reaction.manifestation) if said]
        how = ", ".join(shown) or reaction.description or ""
        when = read_date(reaction.onset)
        parts = (" ".join(filter(None, (how, str(when) if when else ""))), reaction.severity or "")
        if told_of := ", ".join(filter(None, parts)):
            reactions.append(told_of)
    if reactions:
        told += f": {'; '.join(reactions)}"
    critical = f"criticality {record.criticality}" if record.criticality in _TOLD else ""
    beside = ", ".join(filter(None, (critical, *remarks)))
    return f"{told} ({beside})" if beside else told


_TOLD = frozenset({"low", "high"})
"""Criticalities that tell something; of the third it could not be assessed."""


def _named(concepts: list[CodeableConcept]) -> str:
    return next((said[0] for said in map(texts, concepts) if said), "")


def _begins(record: AllergyIntolerance) -> DateSpan | None:
    """When it began as that is stated, or at the first reaction that has a date."""
    begun = read_date(record.onsetDateTime) or read_period(record.onsetPeriod)[0]
    if begun is not None:
        return begun
    dates = [d for d in (read_date(reaction.onset) for reaction in record.reaction) if d]
    return min(dates, key=lambda d: d.first) if dates else None


def _since(record: AllergyIntolerance) -> DateSpan | None:
    """When it began, else when it was recorded."""
    return _begins(record) or read_date(record.recordedDate)
