"""Looks codings up in the vocabulary: every coding of a concept counts, not only the first."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping

from msgspec import Struct

from cds.chart.vocabulary import CodedEntry, Codes, ConditionEntry, ObservationEntry, Vocabulary
from cds.fhir.resources import CodeableConcept


class Match(Struct, frozen=True, gc=False):
    """What a code selects: the entry, and what the evidence must say of the match.

    ``method_of`` is the entry of the same by a method that its code leaves open.
    """

    entry: str
    remark: str = ""
    method_of: str = ""


CodeIndex = dict[tuple[str | None, str | None], Match]
"""(system, code) to what it selects."""


class Ambiguous(ValueError):
    """The codings of one concept select different entries."""


def _fill(
    index: CodeIndex, vocabulary: Vocabulary, codes: Codes, match_of: Mapping[str, Match]
) -> None:
    for system, by_code in codes.items():
        declared = vocabulary.systems.get(system)
        if declared is None:
            continue
        for code in by_code:
            for url in (declared.url, *declared.aliases):
                index[url, code] = match_of[code]


def build_index(vocabulary: Vocabulary, entries: Mapping[str, CodedEntry]) -> CodeIndex:
    """Index the codes of entries by every URL of their systems."""
    index: CodeIndex = {}
    for name, entry in entries.items():
        for codes, doubt in ((entry.codes, ""), (entry.unverified, "code not verified")):
            remarks = {
                code: Match(
                    name,
                    "; ".join(filter(None, (entry.notes.get(code), doubt))),
                    entry.method_of if isinstance(entry, ObservationEntry) else "",
                )
                for by_code in codes.values()
                for code in by_code
            }
            _fill(index, vocabulary, codes, remarks)
    return index


def index_codes(vocabulary: Vocabulary, name: str, codes: Codes) -> CodeIndex:
    """Index plain codes, all of which select ``name``."""
    index: CodeIndex = {}
    match = Match(name)
    _fill(index, vocabulary, codes, {c: match for by_code in codes.values() for c in by_code})
    return index


def build_families(vocabulary: Vocabulary, entries: Mapping[str, ConditionEntry]) -> CodeIndex:
    """Index the categories of a classification that entries take whole."""
    index: CodeIndex = {}
    for name, entry in entries.items():
        matches = {
            code: Match(name, f"in category {code} {title}; code not verified")
            for by_code in entry.families.values()
            for code, title in by_code.items()
        }
        _fill(index, vocabulary, entry.families, matches)
    return index


def build_left_open(vocabulary: Vocabulary, entries: Mapping[str, ConditionEntry]) -> CodeIndex:
    """Index the codes, of other entries or of none, that leave an entry open."""
    index: CodeIndex = {}
    for name, entry in entries.items():
        matches = {
            code: Match(name, entry.notes.get(code, ""))
            for by_code in entry.left_open_by.values()
            for code in by_code
        }
        _fill(index, vocabulary, entry.left_open_by, matches)
    return index


SHORTEST_CATEGORY = 3
"""Characters of a category of ICD-10."""

LONGEST_CATEGORY = 32
"""Characters of a category that is looked for; those of ICD-10 and its modifications have 7."""

LONGEST_TEXT = 10_000
"""Characters of a text in which words are looked for. A diagnosis or an order has some hundred."""


def find_families(families: CodeIndex, concept: CodeableConcept) -> list[Match]:
    """What the categories select in which a concept's codes lie, of each code the narrowest."""
    found = []
    for coding in concept.coding:
        code = coding.code or ""
        for end in range(min(len(code), LONGEST_CATEGORY), SHORTEST_CATEGORY - 1, -1):
            match = families.get((coding.system, code[:end].rstrip(".")))
            if match is not None:
                found.append(match)
                break
    return found


def find_all(index: CodeIndex, concept: CodeableConcept) -> list[Match]:
    """Everything that a concept's codings select, each entry once."""
    found: list[Match] = []
    for coding in concept.coding:
        match = index.get((coding.system, coding.code))
        if match is None:
            continue
        for i, other in enumerate(found):
            if other.entry == match.entry:
                if other.remark and not match.remark:
                    found[i] = match
                break
        else:
            found.append(match)
    return found


def find(index: CodeIndex, concept: CodeableConcept) -> Match | None:
    """What a concept's codings select; raises ``Ambiguous`` where they disagree.

    A code that leaves the method open says the same as one beside it that names it.
    """
    if len(concept.coding) == 1:  # nearly always, and this is asked of every Observation
        coding = concept.coding[0]
        return index.get((coding.system, coding.code))
    found = find_all(index, concept)
    if len(found) > 1:
        left_open = {match.method_of for match in found}
        found = [match for match in found if match.entry not in left_open]
    if len(found) > 1:
        entries = " and ".join(sorted(m.entry for m in found))
        raise Ambiguous(f"its codes mean different things: {entries}")
    return found[0] if found else None


def texts(concept: CodeableConcept) -> list[str]:
    """What a concept says in words: its text and the displays of its codings."""
    said = [concept.text] if concept.text else []
    said.extend(c.display for c in concept.coding if c.display)
    return said


class Words(Struct, frozen=True):
    """Names that are looked for in texts as whole words, whatever the case, and what they mean."""

    pattern: re.Pattern[str]
    means: dict[str, str]

    def find_all(self, text: str) -> set[str]:
        """Everything that a text names."""
        means = self.means
        return {means[hit] for hit in self.pattern.findall(text.casefold())}

    def find_spans(self, text: str) -> dict[str, list[tuple[int, int]]]:
        """Everything that a text names, each with where it stands in the casefolded text."""
        found: dict[str, list[tuple[int, int]]] = {}
        for hit in self.pattern.finditer(text.casefold()):
            found.setdefault(self.means[hit[0]], []).append(hit.span())
        return found


def whole_words(names: Iterable[str], suffixed: Collection[str] = ()) -> re.Pattern[str]:
    """A pattern that finds any of these names as whole words in casefolded text.

    One that may be ``suffixed`` is found with a hyphen and four letters after it as well.
    """
    inner = _any_of(names)
    found = rf"(?:{inner})(?![\w-])" if inner else r"(?!)"
    if suffixed:
        found = rf"(?:{found}|(?:{_any_of(suffixed)})(?=-[a-z]{{4}}(?![\w-])))"
    return re.compile(rf"(?<![\w-]){found}")


def _any_of(names: Iterable[str]) -> str:
    # By their first characters, so that at a word only those are tried that begin like it.
    by_first: dict[str, list[str]] = {}
    for name in sorted((n.casefold() for n in names if n), key=len, reverse=True):
        by_first.setdefault(name[0], []).append(re.escape(name[1:]))
    return "|".join(f"{re.escape(c)}(?:{'|'.join(rest)})" for c, rest in by_first.items())


def index_words(names: Mapping[str, Iterable[str]], suffixed: Collection[str] = ()) -> Words:
    """Index the names of entries; those of the ``suffixed`` ones may have letters after them."""
    means = {name.casefold(): entry for entry, each in names.items() for name in each}
    with_letters = {name for name, entry in means.items() if entry in suffixed}
    return Words(whole_words(means, with_letters), means)
