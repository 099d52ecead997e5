"""The vocabulary made ready for reading: every index that the chart looks things up in.

Built once at start-up, so that reading a patient is dictionary look-ups.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from msgspec import Struct
from msgspec.structs import replace

from cds.chart.coding import (
    CodeIndex,
    Match,
    Words,
    build_families,
    build_index,
    build_left_open,
    find_all,
    index_codes,
    index_words,
    texts,
    whole_words,
)
from cds.chart.naming import Denials, Names, build_denials, build_names
from cds.chart.vocabulary import (
    ConditionEntry,
    LaboratoryWords,
    Number,
    ObservationEntry,
    ResultWords,
    UnitTable,
    Vocabulary,
)
from cds.fhir.resources import CodeableConcept


class Observed(Struct, frozen=True, gc=False):
    """What an Observation's code selects, with everything that reading its value needs."""

    kind: str
    name: str
    entry: ObservationEntry | None = None
    units: UnitTable | None = None


class Written(Struct, frozen=True):
    """How some things are written: by ``codes``, or by ``words`` that are a whole text."""

    codes: CodeIndex
    words: dict[str, str]

    def find(self, concept: CodeableConcept) -> set[str]:
        """Which of them a concept says."""
        said = (self.words.get(text.strip().casefold()) for text in texts(concept))
        coded = {match.entry for match in find_all(self.codes, concept)}
        return coded.union(each for each in said if each is not None)


class Terms(Struct, frozen=True):
    """Indexes over a vocabulary.

    ``observations`` selects ``observation.x``, ``measure.x``, ``antibody.x``, ``status.x`` or the
    ``maximum`` of a scale, which ``observed`` takes apart; ``conditions`` selects ``diagnosis.x``
    or ``finding.x``. ``core_set`` has the core set measure that an ``observation.x`` or
    ``measure.x`` is of. ``allergen_drugs`` are the drugs that an allergen stands for, and
    ``allergens_with`` the allergens that include a drug. ``adult_from`` is the age from which the
    adult criteria apply.
    """

    vocabulary: Vocabulary
    adult_from: Number | None
    observations: CodeIndex
    observed: dict[str, Observed]
    maximum: Match
    results: Written
    high: Written
    sexes: Written
    measure_of: dict[str, str]
    core_set: dict[str, str]
    measure_names: Words
    conditions: CodeIndex
    condition_families: CodeIndex
    left_open: CodeIndex
    condition_names: Names
    condition_words: Words
    condition_entries: dict[str, ConditionEntry]
    condition_groups: dict[str, tuple[str, ...]]
    phrases: tuple[tuple[str, str, re.Pattern[str]], ...]
    denials: Denials
    allergy_denials: Denials
    failures: re.Pattern[str]
    drugs: CodeIndex
    drug_names: Words
    routes: CodeIndex
    route_names: Words
    allergens: CodeIndex
    allergen_names: Words
    allergen_drugs: dict[str, tuple[str, ...]]
    allergens_with: dict[str, tuple[str, ...]]
    severe_reactions: CodeIndex
    severe_reaction_names: re.Pattern[str]
    allergy_statements: CodeIndex
    allergy_statement_names: dict[str, str]


def _prefixed(prefix: str, index: CodeIndex) -> CodeIndex:
    return {
        key: replace(
            m,
            entry=f"{prefix}.{m.entry}",
            method_of=f"{prefix}.{m.method_of}" if m.method_of else "",
        )
        for key, m in index.items()
    }


def _observed(vocabulary: Vocabulary, selected: str) -> Observed:
    kind, _, name = selected.partition(".")
    if kind != "observation":
        return Observed(kind, name)
    entry = vocabulary.observations[name]
    return Observed(kind, name, entry, vocabulary.units.get(entry.units))


def _drugs_of(names: tuple[str, ...], vocabulary: Vocabulary) -> tuple[str, ...]:
    """The drugs of these drugs and classes of drugs, each once."""
    classes = vocabulary.drug_classes
    each = (classes[n].any_of if n in classes else (n,) for n in names)
    return tuple(dict.fromkeys(drug for drugs in each for drug in drugs))


def _written(vocabulary: Vocabulary, entries: Mapping[str, ResultWords]) -> Written:
    codes: CodeIndex = {}
    for name, entry in entries.items():
        codes |= index_codes(vocabulary, name, entry.codes)
    words = {word.casefold(): name for name, entry in entries.items() for word in entry.words}
    return Written(codes, words)


def compile_terms(vocabulary: Vocabulary, adult_from: Number | None = None) -> Terms:
    """Build every index from a checked vocabulary; the age of adults stands in a rule."""
    v = vocabulary
    maximum = Match("maximum")
    observations = (
        _prefixed("observation", build_index(v, v.observations))
        | _prefixed("measure", build_index(v, v.measures))
        | _prefixed("antibody", build_index(v, v.antibodies))
        | _prefixed("status", build_index(v, v.statuses))
    )
    for measure in v.measures.values():
        observations |= index_codes(v, maximum.entry, measure.maximum)
    entries = {f"diagnosis.{k}": e for k, e in v.diagnoses.items()} | {
        f"finding.{k}": e for k, e in v.findings.items()
    }
    names = {key: entry.names for key, entry in entries.items()}
    laboratory = v.laboratory or LaboratoryWords(high=ResultWords(), sexes={})
    return Terms(
        vocabulary=v,
        adult_from=adult_from,
        observations=observations,
        observed={
            selected: _observed(v, selected)
            for selected in (
                *(match.entry for match in observations.values()),
                *(f"observation.{name}" for name in v.observations),  # also those without a code
            )
        },
        maximum=maximum,
        results=_written(v, v.results),
        high=_written(v, {"high": laboratory.high}),
        sexes=_written(v, laboratory.sexes),
        measure_of={i: name for name, m in v.measures.items() for i in m.instruments},
        core_set={
            selected: name
            for name, m in v.measures.items()
            if m.core_set
            for selected in (f"measure.{name}", *(f"observation.{i}" for i in m.instruments))
        },
        measure_names=index_words({k: m.names for k, m in v.measures.items() if m.core_set}),
        conditions=_prefixed("diagnosis", build_index(v, v.diagnoses))
        | _prefixed("finding", build_index(v, v.findings)),
        condition_families=_prefixed("diagnosis", build_families(v, v.diagnoses))
        | _prefixed("finding", build_families(v, v.findings)),
        left_open=_prefixed("diagnosis", build_left_open(v, v.diagnoses))
        | _prefixed("finding", build_left_open(v, v.findings)),
        condition_names=build_names(
            names, v.qualifiers, v.qualifier_links, v.doubts, v.doubts_after
        ),
        condition_words=index_words(names),
        condition_entries=entries,
        condition_groups={
            key: tuple(f"{key.split('.')[0]}.{member}" for member in e.any_of)
            for key, e in entries.items()
            if e.any_of
        },
        phrases=tuple(
            (f"finding.{e.said_of}" if e.said_of else "", key, whole_words(e.phrases))
            for key, e in entries.items()
            if e.phrases
        ),
        denials=build_denials(
            v.negations, v.negations_after, v.doubts, v.doubts_after, v.joining, v.circumstances
        ),
        allergy_denials=build_denials(
            v.allergy_negations,
            v.allergy_negations_after,
            joining=v.joining,
            circumstances=v.circumstances,
        ),
        failures=whole_words(v.failures),
        drugs=build_index(v, v.drugs),
        drug_names=index_words({name: d.names for name, d in v.drugs.items()}, v.biologicals),
        routes=build_index(v, v.routes),
        route_names=index_words({name: r.names for name, r in v.routes.items()}),
        allergens=build_index(v, v.allergens),
        allergen_names=index_words({name: a.names for name, a in v.allergens.items()}),
        allergen_drugs={name: _drugs_of(a.drugs, v) for name, a in v.allergens.items()},
        allergens_with={
            drug: tuple(name for name, a in v.allergens.items() if drug in a.includes)
            for drug in dict.fromkeys(d for a in v.allergens.values() for d in a.includes)
        },
        severe_reactions=build_index(v, v.severe_reactions),
        severe_reaction_names=whole_words(
            name for severe in v.severe_reactions.values() for name in severe.names
        ),
        allergy_statements=build_index(v, v.allergy_statements),
        allergy_statement_names={
            said.casefold(): name for name, s in v.allergy_statements.items() for said in s.names
        },
    )


def in_sentence(title: str) -> str:
    """A title as it stands in the middle of a sentence: small, unless it is an abbreviation."""
    first = re.split(r"[^A-Za-z]", title, maxsplit=1)[0]
    return title[0].lower() + title[1:] if first[1:].islower() else title
