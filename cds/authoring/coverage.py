"""Lists the codes in patients' records that nothing in the vocabulary maps, and what they may mean.

A likely match is found by name only, and is a question to whoever owns the code, never an answer:
nothing is mapped but by an entry that somebody wrote.
"""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from difflib import SequenceMatcher
from itertools import chain, count
from typing import Literal

from msgspec import Struct, field

from cds.chart.allergies import may_be_of_drugs, substances
from cds.chart.coding import find_all, texts
from cds.chart.measurements import Unusable
from cds.chart.terms import Terms
from cds.chart.treatments import find_drugs, product_of
from cds.chart.vocabulary import CodedEntry, Vocabulary
from cds.fhir.bundles import Delivery
from cds.fhir.resources import CodeableConcept

Kind = Literal["Observation", "Condition", "drug", "allergy"]

SECTIONS: Mapping[Kind, tuple[str, ...]] = {
    "Observation": ("observations", "antibodies", "statuses"),
    "Condition": ("diagnoses", "findings"),
    "drug": ("drugs",),
    "allergy": ("drugs", "allergens", "allergy_statements"),
}
"""Where in the vocabulary the codes of each kind are declared."""


class Code(Struct, frozen=True):
    """A coding as it was sent; ``name`` is what the vocabulary calls the system, if it knows it."""

    system: str | None
    code: str | None
    display: str
    name: str | None


class Likely(Struct, frozen=True):
    """An entry whose names resemble those of a code: ``likeness`` from 0 to 1."""

    entry: str
    title: str
    likeness: float


class Unmapped(Struct, frozen=True, kw_only=True):
    """A concept none of whose codes is mapped.

    ``counted_as`` is the entry that it counts as all the same, by its name. ``snippet`` is the line
    that ``site.yaml`` would have to hold under ``section`` if the likeliest match is right, empty
    where there is none; of several about as likely, it leaves the choice open.
    """

    kind: Kind
    codes: tuple[Code, ...]
    text: str
    resources: int
    patients: int
    counted_as: str | None
    likely: tuple[Likely, ...]
    section: Literal["codes", "names"] | None
    snippet: str


class Total(Struct, frozen=True):
    """How many concepts of a kind there were in all resources, and how many of them by code."""

    kind: Kind
    concepts: int
    mapped: int


class Coverage(Struct, frozen=True):
    """What is mapped of some patients' records, and every concept that is not, the most first.

    ``systems`` names the code systems of the snippets that the vocabulary does not declare, with
    their URLs.
    """

    totals: tuple[Total, ...]
    systems: dict[str, str]
    unmapped: tuple[Unmapped, ...]


class _Group(Struct):
    """The same concept, wherever it was met."""

    kind: Kind
    concept: CodeableConcept
    counted_as: str | None
    names: dict[str, None] = field(default_factory=dict)
    resources: int = 0
    patients: set[int] = field(default_factory=set)


def find_unmapped(deliveries: Iterable[Delivery], terms: Terms) -> Coverage:
    """What of these patients' records the vocabulary maps; each delivery is one patient's."""
    concepts: dict[Kind, int] = dict.fromkeys(SECTIONS, 0)
    mapped = dict(concepts)
    groups: dict[object, _Group] = {}
    for patient, delivery in enumerate(deliveries):
        for kind, concept, known, counted_as in _concepts(delivery, terms):
            concepts[kind] += 1
            if known:
                mapped[kind] += 1
                continue
            codings = frozenset((c.system, c.code) for c in concept.coding if c.code)
            key = (kind, codings or concept.text)
            group = groups.setdefault(key, _Group(kind, concept, counted_as))
            group.names |= dict.fromkeys(texts(concept))
            group.resources += 1
            group.patients.add(patient)
    candidates = {kind: _candidates(kind, terms.vocabulary) for kind in SECTIONS}
    systems = _Systems(terms.vocabulary)
    unmapped = [_unmapped(group, systems, candidates[group.kind]) for group in groups.values()]
    order = list(SECTIONS)
    unmapped.sort(key=lambda each: (order.index(each.kind), -each.resources, each.text))
    totals = tuple(Total(kind, concepts[kind], mapped[kind]) for kind in SECTIONS)
    return Coverage(totals, systems.undeclared, tuple(unmapped))


def _concepts(
    delivery: Delivery, terms: Terms
) -> Iterator[tuple[Kind, CodeableConcept, bool, str | None]]:
    """The concepts of a delivery: their kind, whether a code is mapped, what they count as."""
    for observation in delivery.observations:
        own = observation.code is not None and bool(find_all(terms.observations, observation.code))
        parts = [part.code for part in observation.component if part.code is not None]
        known = [bool(find_all(terms.observations, part)) for part in parts]
        # The code of a panel says nothing where its parts are mapped, nor do parts of what is.
        if observation.code is not None and (own or not any(known)):
            yield "Observation", observation.code, own, None
        if not own:
            for part, is_known in zip(parts, known, strict=True):
                yield "Observation", part, is_known, None
    for condition in delivery.conditions:
        if condition.code is not None:
            said = map(terms.condition_names.find, texts(condition.code))
            named = sorted({n.entry for n in said if n is not None and not n.doubted})
            section = {"diagnosis": "diagnoses", "finding": "findings"}
            counted = [f"{section[k]}.{e}" for k, _, e in (name.partition(".") for name in named)]
            known_ = bool(find_all(terms.conditions, condition.code))
            yield "Condition", condition.code, known_, " and ".join(counted) or None
    for use in delivery.uses:
        try:
            concept, _ = product_of(use, delivery.medications)
        except Unusable:
            continue  # it has neither a code nor a name
        by_code = bool(find_all(terms.drugs, concept))
        drugs = [f"drugs.{match.entry}" for match in find_drugs(concept, terms)]
        yield "drug", concept, by_code, " and ".join(drugs) or None
    for record in filter(may_be_of_drugs, delivery.allergies):
        for concept in substances(record):
            indexes = (terms.drugs, terms.allergens, terms.allergy_statements)
            by_code = any(find_all(index, concept) for index in indexes)
            counted_as = " and ".join(_allergens_named(concept, terms))
            yield "allergy", concept, by_code, counted_as or None


def _allergens_named(concept: CodeableConcept, terms: Terms) -> list[str]:
    """What an allergy is to, or what it says of allergies as a whole, by its name."""
    said = texts(concept)
    named = {f"drugs.{match.entry}" for match in find_drugs(concept, terms)}
    named |= {f"allergens.{each}" for text in said for each in terms.allergen_names.find_all(text)}
    stated = {terms.allergy_statement_names.get(text.strip().casefold()) for text in said}
    return sorted(named | {f"allergy_statements.{each}" for each in stated if each})


def _unmapped(group: _Group, systems: _Systems, candidates: Mapping[str, _Candidate]) -> Unmapped:
    codes = tuple(
        Code(c.system, c.code, c.display or "", systems.declared.get(c.system or ""))
        for c in group.concept.coding
        if c.code
    )
    likely = _likely(group.names, candidates)
    text = next(iter(group.names), "")
    section, line = None, ""
    if group.counted_as in candidates:
        entry = group.counted_as
    elif likely and (len(likely) == 1 or likely[0].likeness - likely[1].likeness >= _CLEARLY):
        entry = likely[0].entry
    else:  # which one, if any, is not for a likeness to say
        entry = CHOOSE if likely else None
    if entry is not None:
        section, line = _snippet(entry, group, codes, text, systems)
    return Unmapped(
        kind=group.kind,
        codes=codes,
        text=text,
        resources=group.resources,
        patients=len(group.patients),
        counted_as=group.counted_as,
        likely=likely,
        section=section,
        snippet=line,
    )


# --- likely matches ------------------------------------------------------------------------------

LEAST_LIKENESS = 0.35
MOST_LIKELY = 3
_CLEARLY = 0.1
"""How much likelier than the next a match must be to be proposed alone."""
_ALIKE = 0.8
"""From which likeness two words are spellings of one: creatinkinase, creatine kinase."""


class _Candidate(Struct, frozen=True):
    """An entry with everything it is called, as words; words that few entries have weigh more."""

    title: str
    names: tuple[frozenset[str], ...]
    weights: Mapping[str, float]


_WORD = re.compile(r"[^\W\d_]+|\d+")


def _words(text: str) -> frozenset[str]:
    return frozenset(_WORD.findall(text.casefold()))


def _candidates(kind: Kind, vocabulary: Vocabulary) -> dict[str, _Candidate]:
    called: dict[str, tuple[str, frozenset[frozenset[str]]]] = {}
    for section in SECTIONS[kind]:
        entries: Mapping[str, CodedEntry] = getattr(vocabulary, section)
        for id_, entry in entries.items():
            if getattr(entry, "any_of", ()):
                continue  # a group is what its members are
            names = [entry.title, id_.replace("_", " "), *getattr(entry, "names", ())]
            for codes in (entry.codes, entry.unverified):
                names += [display for by_code in codes.values() for display in by_code.values()]
            words = frozenset(filter(None, map(_words, names)))
            called[f"{section}.{id_}"] = (entry.title, words)
    counts: dict[str, int] = {}
    for _, words in called.values():
        for word in frozenset().union(*words):
            counts[word] = counts.get(word, 0) + 1
    weights = {word: number**-0.5 for word, number in counts.items()}
    return {
        entry: _Candidate(title, tuple(words), weights) for entry, (title, words) in called.items()
    }


def _likely(names: Iterable[str], candidates: Mapping[str, _Candidate]) -> tuple[Likely, ...]:
    """The entries that are called most like one of these names, the likeliest first."""
    said = [words for words in map(_words, names) if words]
    found = []
    for entry, candidate in candidates.items():
        likeness = max(
            (_likeness(a, b, candidate.weights) for a in said for b in candidate.names), default=0.0
        )
        if likeness >= LEAST_LIKENESS:
            found.append(Likely(entry, candidate.title, round(likeness, 2)))
    return tuple(sorted(found, key=lambda each: (-each.likeness, each.entry))[:MOST_LIKELY])


_UNKNOWN_WORD = 0.25
"""The weight of a word that no entry has: it speaks against a match, less than a rare word for."""


def _likeness(said: frozenset[str], name: frozenset[str], weights: Mapping[str, float]) -> float:
    """How much two names share, from 0 to 1: twice the shared weight over the weight of both."""
    shared = total = 0.0
    matched = set()
    for word in said:
        likeness, near = (1.0, word) if word in name else _nearest(word, name)
        weight = weights.get(near or word, _UNKNOWN_WORD)
        total += weight
        if near is not None:
            shared += 2 * weight * likeness**2
            matched.add(near)
            total += weight
    total += sum(weights[word] for word in name - matched)
    return min(1.0, shared / total)


def _nearest(word: str, among: Iterable[str]) -> tuple[float, str | None]:
    """The word that this one is a spelling of, and how alike they are."""
    nothing: tuple[float, str | None] = (0.0, None)
    if len(word) < 5:  # too short for a misspelling to be told from another word
        return nothing
    alike = [(SequenceMatcher(None, word, each).ratio(), each) for each in among if len(each) > 4]
    best = max(alike, default=nothing)
    return best if best[0] >= _ALIKE else nothing


# --- what to write into site.yaml ----------------------------------------------------------------


CHOOSE = "CHOOSE"
"""Stands for an entry that the reader has to choose; `cds rules check` refuses it."""


class _Systems:
    """The code systems by URL: those that are declared, and names for others as they are met."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.declared = {
            url: name
            for name, system in vocabulary.systems.items()
            for url in (system.url, *system.aliases)
        }
        self.undeclared: dict[str, str] = {}
        self._names = dict(self.declared)

    def name(self, url: str) -> str:
        """What a system is called; one that is not declared, after the end of its URL."""
        if url not in self._names:
            last = "" if url.startswith("urn:") else url.rstrip("/").rsplit("/", 1)[-1]
            stem = "_".join(_WORD.findall(last.casefold())) or "local"
            taken = {*self._names.values()}
            numbered = (f"{stem}_{number}" for number in count(2))
            name = next(each for each in chain([stem], numbered) if each not in taken)
            self._names[url] = name
            self.undeclared[name] = url
        return self._names[url]


def _snippet(
    entry: str, group: _Group, codes: tuple[Code, ...], text: str, systems: _Systems
) -> tuple[Literal["codes", "names"] | None, str]:
    """The section and the line of ``site.yaml`` that would map a concept to an entry."""
    by_system: dict[str, list[str]] = {}
    for code in codes:
        if code.system and code.code:
            pair = f"{_quoted(code.code)}: {_quoted(code.display or text or code.code)}"
            by_system.setdefault(systems.name(code.system), []).append(pair)
    if by_system:
        said = ", ".join(f"{name}: {{{', '.join(pairs)}}}" for name, pairs in by_system.items())
        return "codes", f"{entry}: {{{said}}}"
    # An Observation is known by its codes only; a code without a system cannot be mapped; and what
    # counts by its name needs no other.
    if group.kind == "Observation" or codes or group.counted_as or not text:
        return None, ""
    return "names", f"{entry}: [{_quoted(text)}]"


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


# --- to read -------------------------------------------------------------------------------------

_PLURALS: Mapping[Kind, str] = {
    "Observation": "Observations",
    "Condition": "Conditions",
    "drug": "Drugs",
    "allergy": "Allergies to drugs",
}


def coverage_lines(coverage: Coverage, width: int = 80) -> Iterator[str]:
    """The coverage as a text: of each kind how much is mapped, then each concept that is not."""
    for total in coverage.totals:
        unmapped = [each for each in coverage.unmapped if each.kind == total.kind]
        different = "1 code is" if len(unmapped) == 1 else f"{len(unmapped)} different codes are"
        rest = f"; {different} not:" if unmapped else ""
        yield f"{_PLURALS[total.kind]}: {total.mapped} of {total.concepts} mapped by code{rest}"
        for each in unmapped:
            yield ""
            yield from _lines(each, width)
        yield ""
    if not any(each.snippet for each in coverage.unmapped):
        return
    yield from textwrap.wrap(
        "The lines marked | belong into site.yaml, under the section before them. A likeness of "
        "names proves nothing: ask whoever owns a code what it stands for. "
        f"Where several entries are likely, write the right one in place of {CHOOSE}.",
        width,
    )
    if coverage.systems:
        yield from ("", "Code systems that are not declared yet:")
        yield from (
            f"    systems | {name}: {{url: {_quoted(url)}}}"
            for name, url in coverage.systems.items()
        )


def _lines(each: Unmapped, width: int) -> Iterator[str]:
    times = f"{each.resources} in {each.patients} patient{'' if each.patients == 1 else 's'}"
    yield from _wrapped(f"{each.text or 'without a name'} ({times})", width, 2)
    for code in each.codes:
        said = f"{code.name or code.system or 'no code system'} {code.code}"
        shown = f"{said}  {code.display}" if code.display not in ("", each.text) else said
        yield from _wrapped(f"code    {shown}", width, 4)
    if not each.codes:
        yield from _wrapped("code    none", width, 4)
    if each.counted_as:
        yield from _wrapped(f"counts  as {each.counted_as}, by its name", width, 4)
    for likely in each.likely if not each.counted_as else ():
        yield from _wrapped(f"likely  {likely.entry}  {likely.title}", width, 4)
    if not each.likely and not each.counted_as:
        yield from _wrapped("likely  nothing in the vocabulary has a name like it", width, 4)
    if each.snippet:
        yield f"    {each.section}   | {each.snippet}"  # not wrapped, so that it can be pasted


def _wrapped(text: str, width: int, indent: int) -> list[str]:
    return textwrap.wrap(
        text,
        width,
        initial_indent=" " * indent,
        subsequent_indent=" " * (indent + 8),
        break_long_words=False,
        break_on_hyphens=False,
    )
