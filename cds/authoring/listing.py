"""Lists what there is: the rules of a folder, and what its vocabulary declares.

Each list is records first, which are what ``--json`` prints, and lines to read made from them.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Mapping
from datetime import date
from itertools import groupby
from pathlib import Path

from msgspec import Struct

from cds.chart.facts.catalogue import declare, groups
from cds.chart.facts.declaration import Kind
from cds.chart.vocabulary import (
    AllergenEntry,
    CodedEntry,
    Entry,
    MeasureEntry,
    ObservationEntry,
    ResultWords,
    Vocabulary,
)
from cds.located import Document, Problem, read_struct
from cds.rules.language import EvidenceCertainty, Hook, Indicator, RuleFile, Status
from cds.rules.reading import rule_files
from cds.rules.shared import read_rule, read_shared
from cds.rules.site import RULES, Site

# --- rules ---------------------------------------------------------------------------------------


class RuleRecord(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a list says of a rule.

    ``file`` is relative to the rules folder. A rule has an ``indicator`` where it makes a card, and
    ``derives`` a fact or is a contraindication otherwise. ``certainties`` are those of its
    evidence, each once, in order. ``site`` says what a site's folder does with it, if anything; a
    rule of the site's own has its whole path as ``file``.
    """

    id: str
    file: str
    title: str
    status: Status
    version: str
    indicator: Indicator | None
    derives: str | None
    hooks: tuple[Hook, ...]
    review_by: date
    certainties: tuple[EvidenceCertainty, ...]
    site: str = ""

    @property
    def folder(self) -> str:
        """The folder of its file, relative to the rules folder."""
        return Path(self.file).parent.as_posix()


def list_rules(folder: Path, site: Site | None = None) -> tuple[list[RuleRecord], list[Problem]]:
    """Every rule of a folder, of whatever status, and what is wrong with files that are none.

    The rules of a site's own follow.
    """
    records: list[RuleRecord] = []
    problems: list[Problem] = []
    named = [(path, path.relative_to(folder).as_posix()) for path in rule_files(folder)]
    if site is not None:
        named += [(path, str(path)) for path in rule_files(site.folder / RULES)]
        problems += site.document.problems
    shared = read_shared(folder)
    for path, name in named:
        document = read_rule(path, name, shared)
        rule = read_struct(document, (), RuleFile)
        problems += document.problems
        if rule is not None:
            said = "" if site is None else _said_of(rule, document, site)
            records.append(_record(rule, document, said))
    return records, problems


def _said_of(rule: RuleFile, document: Document, site: Site) -> str:
    """What a site does with a rule."""
    if site.holds(document.file):
        return f"a rule of {site.file.site}"
    if rule.id in site.file.off:
        return f"switched off: {site.file.off[rule.id]}"
    changed = ", ".join(
        f"{name} {choice.value} {choice.unit}".strip()
        for name, choice in site.file.parameters.get(rule.id, {}).items()
    )
    return f"changed: {changed}" if changed else ""


def _record(rule: RuleFile, document: Document, site: str) -> RuleRecord:
    return RuleRecord(
        id=rule.id,
        file=document.file,
        title=rule.title,
        status=rule.status,
        version=rule.version,
        indicator=rule.card.indicator if rule.card else None,
        derives=rule.derive,
        hooks=rule.hooks,
        review_by=rule.review_by,
        certainties=tuple(dict.fromkeys(each.certainty for each in rule.evidence)),
        site=site,
    )


def rule_lines(records: Iterable[RuleRecord], today: date, width: int = 80) -> Iterator[str]:
    """The rules as a text, by folder; a review that is overdue on this day is marked."""
    by_folder = sorted(records, key=lambda record: (record.folder, record.id))
    for number, (folder, group) in enumerate(groupby(by_folder, lambda r: r.folder)):
        if number:
            yield ""
        yield folder
        for record in group:
            makes = "contraindication"
            if record.indicator:
                makes = f"{record.indicator} card"
            elif record.derives:
                makes = f"derives {record.derives}"
            head = f"{record.id}  {record.status} {record.version}, {makes}"
            yield from _wrapped(head, width, "  ", "      ")
            yield from _wrapped(record.title, width)
            due = "overdue since" if record.review_by < today else "due"
            certainties = ", ".join(record.certainties) or "none"
            said = f"{', '.join(record.hooks)}; review {due} {record.review_by}"
            yield from _wrapped(f"{said}; evidence: {certainties}", width)
            if record.site:
                yield from _wrapped(f"site: {record.site}", width)


def _wrapped(text: str, width: int, first: str = " " * 6, rest: str = " " * 6) -> list[str]:
    return textwrap.wrap(
        text,
        width,
        initial_indent=first,
        subsequent_indent=rest,
        break_long_words=False,
        break_on_hyphens=False,
    )


# --- vocabulary ----------------------------------------------------------------------------------


class FactRecord(Struct, frozen=True):
    """A fact that conditions may name; of a number, its unit."""

    name: str
    kind: Kind
    unit: str
    title: str


class CodeRecord(Struct, frozen=True):
    """A code that selects an entry; one that was recalled and not looked up is ``unverified``."""

    system: str
    code: str
    display: str
    unverified: bool = False


class EntryRecord(Struct, frozen=True, kw_only=True):
    """An entry of the vocabulary: the facts it makes, what selects it, and what it names.

    ``unit`` is the one in which values are held, ``units`` all spellings of it that are accepted
    where the entry is a table of them. ``names`` are texts that stand for it where no
    code does; ``members`` the ids of other entries that it is made of.
    """

    section: str
    id: str
    title: str
    facts: tuple[FactRecord, ...] = ()
    codes: tuple[CodeRecord, ...] = ()
    names: tuple[str, ...] = ()
    members: tuple[str, ...] = ()
    unit: str = ""
    units: tuple[str, ...] = ()


_PREFIXES: Mapping[str, str] = {
    "observations": "observation",
    "measures": "measure",
    "diagnoses": "diagnosis",
    "findings": "finding",
    "antibodies": "antibody",
    "drugs": "drug",
    "drug_classes": "drug",
    "doses": "dose",
    "elapsed": "elapsed",
    "statuses": "status",
}
"""What the names of the facts of a section begin with."""

CHART = "chart"
"""The section of facts that no entry makes: of the patient, the visits, the treatment."""

SECTIONS = (
    *_PREFIXES,
    "groups",
    CHART,
    "units",
    "systems",
    "results",
    "routes",
    "allergens",
    "severe_reactions",
    "allergy_statements",
)
"""The sections that can be listed."""


def list_vocabulary(vocabulary: Vocabulary) -> list[EntryRecord]:
    """Every entry of the sections that can be listed, in their order."""
    facts = {
        name: FactRecord(name, each.kind, each.unit, each.title)
        for name, each in declare(vocabulary).items()
    }
    records: list[EntryRecord] = []
    for section, prefix in _PREFIXES.items():
        entries: Mapping[str, Entry] = getattr(vocabulary, section)
        for id_, entry in entries.items():
            own = f"{prefix}.{id_}"
            made = tuple(f for name, f in facts.items() if f"{name}.".startswith(f"{own}."))
            records.append(_entry(section, id_, entry, made, vocabulary))
            for fact in made:
                del facts[fact.name]
    for id_, members in groups(vocabulary).items():
        records.append(EntryRecord(section="groups", id=id_, title="", members=members))
    for name, fact in facts.items():
        records.append(EntryRecord(section=CHART, id=name, title=fact.title, facts=(fact,)))
    for id_, table in vocabulary.units.items():
        spellings = tuple(table.spellings)
        records.append(
            EntryRecord(section="units", id=id_, title="", unit=table.unit, units=spellings)
        )
    for id_, system in vocabulary.systems.items():
        records.append(
            EntryRecord(section="systems", id=id_, title=system.url, names=system.aliases)
        )
    for id_, result in vocabulary.results.items():
        records.append(_result(id_, result))
    for id_, route in vocabulary.routes.items():
        records.append(_entry("routes", id_, route, (), vocabulary))
    for id_, allergen in vocabulary.allergens.items():
        records.append(_entry("allergens", id_, allergen, (), vocabulary))
    for id_, severe in vocabulary.severe_reactions.items():
        records.append(_entry("severe_reactions", id_, severe, (), vocabulary))
    for id_, statement in vocabulary.allergy_statements.items():
        records.append(_entry("allergy_statements", id_, statement, (), vocabulary))
    return records


def _result(id_: str, result: ResultWords) -> EntryRecord:
    codes = tuple(
        CodeRecord(system, code, display)
        for system, by_code in result.codes.items()
        for code, display in by_code.items()
    )
    return EntryRecord(section="results", id=id_, title="", codes=codes, names=result.words)


def _entry(
    section: str, id_: str, entry: Entry, facts: tuple[FactRecord, ...], vocabulary: Vocabulary
) -> EntryRecord:
    codes: tuple[CodeRecord, ...] = ()
    if isinstance(entry, CodedEntry):
        codes = tuple(
            CodeRecord(system, code, display, unverified)
            for of_entry, unverified in ((entry.codes, False), (entry.unverified, True))
            for system, by_code in of_entry.items()
            for code, display in by_code.items()
        )
    unit = ""
    if isinstance(entry, ObservationEntry) and entry.units in vocabulary.units:
        unit = vocabulary.units[entry.units].unit
    members: tuple[str, ...] = getattr(entry, "any_of", ())
    if isinstance(entry, MeasureEntry):
        members = entry.instruments
    elif isinstance(entry, AllergenEntry):
        members = entry.drugs
    return EntryRecord(
        section=section,
        id=id_,
        title=entry.title,
        facts=facts,
        codes=codes,
        names=getattr(entry, "names", ()),
        members=members,
        unit=unit,
    )


def search_entries(
    records: Iterable[EntryRecord], section: str | None, text: str | None
) -> list[EntryRecord]:
    """The entries of a section, if one is named, that say a text, if one is given.

    It is looked for in ids, titles, facts, codes, displays, names and members, whatever the case;
    of several words, each must be found.
    """
    words = (text or "").casefold().split()
    return [
        record
        for record in records
        if section in (None, record.section)
        and all(any(word in said for said in _said(record)) for word in words)
    ]


def _said(record: EntryRecord) -> list[str]:
    said = [record.id, record.title, *record.names, *record.members]
    said += [part for code in record.codes for part in (code.code, code.display)]
    said += [part for fact in record.facts for part in (fact.name, fact.title)]
    return [each.casefold() for each in said]


_KINDS: Mapping[Kind, str] = {"boolean": "true or false", "number": "number", "event": "event"}


def entry_lines(records: Iterable[EntryRecord], width: int = 80) -> Iterator[str]:
    """The entries as a text, by section: the facts of each, and what selects it."""
    for number, (section, group) in enumerate(groupby(records, lambda r: r.section)):
        if number:
            yield ""
        yield section
        for record in group:
            yield from _entry_lines(record, width)


def _entry_lines(record: EntryRecord, width: int) -> Iterator[str]:
    yield f"  {record.id}"
    if record.title:
        yield from _wrapped(record.title, width)
    for fact in record.facts:
        kind = f"{_KINDS.get(fact.kind, fact.kind)}{f' ({fact.unit})' if fact.unit else ''}"
        yield from _labelled("fact", f"{fact.name}: {kind}", width)
    for code in record.codes:
        recalled = " (unverified)" if code.unverified else ""
        text = f"{code.system} {code.code}  {code.display}{recalled}"
        yield from _labelled("code", text, width)
    for label, listed in (
        ("unit", _unit(record)),
        ("of", record.members),
        ("name", record.names),
    ):
        if listed:
            yield from _labelled(label, ", ".join(listed), width)


def _unit(record: EntryRecord) -> tuple[str, ...]:
    """The unit in which values are held, then the other spellings that are taken."""
    others = tuple(unit for unit in record.units if unit != record.unit)
    return (record.unit, *others) if record.unit else others


def _labelled(label: str, text: str, width: int) -> list[str]:
    return _wrapped(text, width, f"      {label:<7}", " " * 13)
