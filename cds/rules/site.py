"""A hospital's own folder: what it adds to the shipped rules, and what it changes in them.

The folder (``CDS_SITE``) lies outside the shipped rules, so that an upgrade never touches it:

| | |
|---|---|
| ``site.yaml`` | changes to what is shipped; its sections are those of ``SiteFile`` |
| ``rules/`` | rules of its own, with their tests |
| ``vocabulary/`` | entries of its own |
| ``sources.yaml``, ``override-reasons.yaml``, ``suggestions.yaml`` | more of each |

All but ``site.yaml`` have the form of the shipped files. Nothing here changes a file: the functions
give changed copies of what was read, and file what is wrong in ``Site.document``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any, get_type_hints

from msgspec import Struct
from msgspec.structs import replace

from cds.chart.code_forms import fault_of
from cds.chart.naming import parts
from cds.chart.vocabulary import (
    CONFLICTING,
    Certainty,
    Codes,
    Number,
    ResultWords,
    System,
    Vocabulary,
    coded_entries,
    read_vocabulary,
)
from cds.located import Document, Place, Problem, did_you_mean, read_document, read_value
from cds.rules.language import RuleFile, SuggestionFile

FILE = "site.yaml"
SHARED = ("sources.yaml", "override-reasons.yaml", "suggestions.yaml")
RULES = "rules"
VOCABULARY = "vocabulary"


class SiteSystem(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A code system of the hospital's own, by its ``url``; or more ``aliases`` of a shipped one."""

    url: str | None = None
    aliases: tuple[str, ...] = ()


class Choice(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A number that the hospital sets, in the unit of the shipped one.

    ``note`` says why, and is shown on cards. ``source`` names a publication; without one the number
    is the hospital's own decision, ``certainty: unverified``.
    """

    value: Decimal
    unit: str = ""
    note: str
    source: str | None = None
    certainty: Certainty = "unverified"


class SiteFile(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a hospital changes in the shipped rules. ``site`` is its name, as cards show it.

    ``systems`` declares code systems. ``codes`` are added to entries of the vocabulary, named
    ``section.entry``: by system, then code, with its display. ``names`` are added likewise: of
    drugs and routes, diagnoses and findings, and the words of ``results.positive`` and
    ``results.negative``. ``units`` adds spellings to unit tables, each with its factor to the
    table's unit. ``upper_limits`` gives the upper limit of normal of an observation, used where a
    result brings no reference range.

    ``parameters`` sets parameters of shipped rules and suggestions, by their id. ``off`` switches
    shipped rules off, each with the reason.
    """

    site: str
    systems: dict[str, SiteSystem] = {}
    codes: dict[str, Codes] = {}
    names: dict[str, tuple[str, ...]] = {}
    units: dict[str, dict[str, Decimal]] = {}
    upper_limits: dict[str, Choice] = {}
    parameters: dict[str, dict[str, Choice]] = {}
    off: dict[str, str] = {}


class SiteNumber(Number, frozen=True, kw_only=True):
    """A number that a site set in place of the ``shipped`` one, ``of`` a rule or suggestion."""

    site: str
    of: str
    shipped: Number


class Site(Struct, frozen=True):
    """A site's folder, with its ``site.yaml`` and where everything in it stands."""

    folder: Path
    file: SiteFile
    document: Document

    def holds(self, file: str) -> bool:
        """Whether a file, as problems call it, is one of the site's own."""
        return Path(file).is_relative_to(self.folder)


def read_site(folder: Path) -> Site:
    """Read ``site.yaml`` of a folder; what is wrong is filed in the document.

    Sections with problems are left out, so that the rest can still be checked.
    """
    document = read_document(folder / FILE, str(folder / FILE))
    data = document.data
    if data is not None and not isinstance(data, dict):
        document.report("wrong-type", (), "should be a mapping (key: value)")
    sections: dict[str, Any] = {}
    if isinstance(data, dict):
        types = get_type_hints(SiteFile)
        for key in data:
            if key not in types:
                hint = did_you_mean(key, types)
                document.report("unknown-key", (key,), f"`{key}` is not known here{hint}")
            else:
                value = read_value(document, (key,), types[key])
                if value is not None:
                    sections[key] = value
        if "site" not in data:
            document.report("missing-key", (), "`site` is missing: the name that cards show")
    _check_said(document, sections)
    document.problems.extend(_strangers(folder))
    return Site(folder, SiteFile(**{"site": "", **sections}), document)


def _check_said(document: Document, sections: Mapping[str, Any]) -> None:
    """Refuse blank texts where one is asked for: they would say nothing, or match everything."""
    for section, name, texts in (
        ("site", None, (sections.get("site", "?"),)),
        *(("off", rule, (why,)) for rule, why in sections.get("off", {}).items()),
        *(("names", entry, names) for entry, names in sections.get("names", {}).items()),
        *(("units", table, units) for table, units in sections.get("units", {}).items()),
    ):
        if any(not text.strip() for text in texts):
            steps = (section,) if name is None else (section, name)
            document.report("blank", steps, "has a text that is empty")


def _strangers(folder: Path) -> Iterator[Problem]:
    """Files in a site's folder that nobody would ever read."""
    for path in sorted((*folder.rglob("*.yaml"), *folder.rglob("*.yml"))):
        inner = path.relative_to(folder)
        if any(part.startswith(".") for part in inner.parts):
            continue  # of the tools that keep the folder, not of the site
        known = (FILE, *SHARED) if len(inner.parts) == 1 else (RULES, VOCABULARY)
        if path.suffix == ".yml":
            what = "is not read: end its name in .yaml"
        elif inner.parts[0] not in known or _unread(*inner.parts):
            hint = did_you_mean(inner.parts[0], known)
            what = (
                f"is not read{hint}: a site has {', '.join((FILE, *SHARED))}, "
                f"rules in {RULES}/ and entries in {VOCABULARY}/"
            )
        else:
            continue
        yield Problem(Place(str(path)), "unread-file", what)


def _unread(first: str, second: str = "", *deeper: str) -> bool:
    """Whether a file in a folder that is read is passed over there."""
    if first == VOCABULARY:
        return bool(deeper)
    return first == RULES and second in (FILE, *SHARED, "scope.yaml", VOCABULARY)


# --- vocabulary ----------------------------------------------------------------------------------


def read_changed_vocabulary(folder: Path, site: Site | None, problems: list[Problem]) -> Vocabulary:
    """The vocabulary of a rules folder, with a site's entries and changes where there is a site.

    What is wrong in vocabulary files is added to ``problems``, what is wrong in ``site.yaml`` is
    filed in ``Site.document``.
    """
    shipped = folder / VOCABULARY
    if site is None:
        return read_vocabulary(shipped, problems)
    own = site.folder / VOCABULARY
    return read_vocabulary(shipped, problems, own, partial(change_vocabulary, site))


def change_vocabulary(site: Site, vocabulary: Vocabulary) -> Vocabulary:
    """The vocabulary with what a site adds to it; what cannot be added is filed and left out."""
    for change in (_add_systems, _add_codes, _add_names, _add_units, _set_upper_limits):
        vocabulary = change(site, vocabulary)
    return vocabulary


def _changed(vocabulary: Vocabulary, section: str, name: str, **fields: Any) -> Vocabulary:
    """A copy of the vocabulary with fields of one entry replaced."""
    entries = getattr(vocabulary, section)
    return replace(vocabulary, **{section: {**entries, name: replace(entries[name], **fields)}})


def _add_systems(site: Site, vocabulary: Vocabulary) -> Vocabulary:
    report = site.document.report
    owners = {
        url: name
        for name, system in vocabulary.systems.items()
        for url in (system.url, *system.aliases)
    }
    for name, added in site.file.systems.items():
        shipped = vocabulary.systems.get(name)
        steps = ("systems", name)
        if shipped is None and added.url is None:
            hint = did_you_mean(name, vocabulary.systems)
            report(
                "missing-key", steps, f"`url` is missing: `{name}` is not a shipped system{hint}"
            )
            continue
        if shipped is not None and added.url not in (None, shipped.url):
            report(
                "duplicate-id",
                (*steps, "url"),
                f"`{name}` is a shipped system with another URL ({shipped.url}): "
                "give yours another name, or write this URL under `aliases`",
            )
            continue
        urls = [*added.aliases, *([added.url] if added.url and shipped is None else ())]
        taken = [url for url in urls if owners.setdefault(url, name) != name]
        for url in taken:
            report(
                "duplicate-id", steps, f"{url} is the system `{owners[url]}` already: use that name"
            )
        if taken:
            continue
        system = shipped or System(url=added.url or "")
        merged = replace(system, aliases=(*system.aliases, *added.aliases))
        vocabulary = replace(vocabulary, systems={**vocabulary.systems, name: merged})
    return vocabulary


def _entries(vocabulary: Vocabulary, sections: Iterable[str]) -> dict[str, tuple[str, str]]:
    """The entries of sections by what a site calls them, ``section.entry``."""
    return {
        f"{section}.{name}": (section, name)
        for section in sections
        for name in getattr(vocabulary, section)
    }


_Slot = tuple[str, str, str]
"""Where a code is looked up, its system's URL, and the code."""


def _owners(vocabulary: Vocabulary) -> dict[_Slot, str]:
    """The entry that each code selects."""
    owners: dict[_Slot, str] = {}

    def own(kind: str, entry: str, codes: Codes) -> None:
        for system, by_code in codes.items():
            if system in vocabulary.systems:
                for code in by_code:
                    owners[kind, vocabulary.system_url(system), code] = entry

    for name, measure in vocabulary.measures.items():
        own(CONFLICTING["measures"], f"the maximum of measures.{name}", measure.maximum)
    for name, result in vocabulary.results.items():
        own("result", f"results.{name}", result.codes)
    for section, name, entry in coded_entries(vocabulary):
        for codes in (entry.codes, entry.unverified):
            own(CONFLICTING[section], f"{section}.{name}", codes)
    return owners


def _add_codes(site: Site, vocabulary: Vocabulary) -> Vocabulary:
    report = site.document.report
    known = _entries(vocabulary, (*CONFLICTING, "results"))
    owners = _owners(vocabulary)
    for entry, codes in site.file.codes.items():
        if entry not in known:
            _unknown_entry(site, ("codes", entry), entry, known, "codes")
            continue
        section, name = known[entry]
        merged = dict(getattr(vocabulary, section)[name].codes)
        for system, by_code in codes.items():
            if system not in vocabulary.systems:
                hint = did_you_mean(system, vocabulary.systems)
                report(
                    "unknown-id",
                    ("codes", entry, system),
                    f"`{system}` is not a declared code system{hint}: "
                    "declare yours, with its URL, under `systems`",
                )
                continue
            url = vocabulary.system_url(system)
            for code, display in by_code.items():
                owner = owners.setdefault((CONFLICTING.get(section, "result"), url, code), entry)
                if owner != entry:
                    report(
                        "duplicate-code",
                        ("codes", entry, system, code),
                        f"{system} {code} stands already under {owner}: "
                        "one code can mean one thing only",
                    )
                elif code in merged.get(system, {}):
                    report(
                        "duplicate-code",
                        ("codes", entry, system, code),
                        f"{system} {code} is shipped under {entry}: remove it here",
                        "warning",
                    )
                else:
                    merged[system] = {**merged.get(system, {}), code: display}
                    _check_form(site, vocabulary, entry, system, code)
        vocabulary = _changed(vocabulary, section, name, codes=merged)
    return vocabulary


def _check_form(site: Site, vocabulary: Vocabulary, entry: str, system: str, code: str) -> None:
    """Warn of a code that its system cannot have made; some hospitals send such codes."""
    form = vocabulary.systems[system].form
    if form is not None and (fault := fault_of(code, form)):
        site.document.report(
            "bad-code",
            ("codes", entry, system, code),
            f"{system} {code} cannot be right: {fault}; keep it only if your system sends it so",
            "warning",
        )


_NAMED: Mapping[str, str] = {
    "drugs": "drug",
    "routes": "route",
    "diagnoses": "Condition",
    "findings": "Condition",
    "results": "result",
    "allergens": "allergen",
    "severe_reactions": "reaction",
    "allergy_statements": "allergen",
}
"""Sections whose entries are known by names too, and where those are looked up."""


def _add_names(site: Site, vocabulary: Vocabulary) -> Vocabulary:
    known = _entries(vocabulary, _NAMED)
    owners = {
        (_NAMED[section], parts(said)): entry
        for entry, (section, name) in known.items()
        for said in _names_of(getattr(vocabulary, section)[name])
    }
    for entry, names in site.file.names.items():
        if entry not in known:
            _unknown_entry(site, ("names", entry), entry, known, "names")
            continue
        section, name = known[entry]
        merged = list(_names_of(getattr(vocabulary, section)[name]))
        for i, said in enumerate(names):
            if not said.strip():
                continue  # refused already
            owner = owners.setdefault((_NAMED[section], parts(said)), entry)
            if owner != entry:
                site.document.report(
                    "duplicate-name",
                    ("names", entry, i),
                    f"`{said}` stands already under {owner}: one name can mean one thing only",
                )
            elif said not in merged:
                merged.append(said)
        field = "words" if section == "results" else "names"
        vocabulary = _changed(vocabulary, section, name, **{field: tuple(merged)})
    return vocabulary


def _names_of(entry: Any) -> tuple[str, ...]:
    if not isinstance(entry, ResultWords):
        names: tuple[str, ...] = entry.names
        return names
    words: tuple[str, ...] = entry.words
    return words


def _add_units(site: Site, vocabulary: Vocabulary) -> Vocabulary:
    report = site.document.report
    for table, spellings in site.file.units.items():
        if table not in vocabulary.units:
            _unknown_entry(site, ("units", table), table, vocabulary.units, "units")
            continue
        shipped = vocabulary.units[table]
        merged = dict(shipped.spellings)
        for spelling, factor in spellings.items():
            steps = ("units", table, spelling)
            if factor <= 0:
                report("bad-number", steps, f"the factor to {shipped.unit} must be more than 0")
            elif spelling in shipped.spellings:
                same = shipped.spellings[spelling] == factor
                report(
                    "duplicate-unit",
                    steps,
                    f"`{spelling}` is shipped as {shipped.spellings[spelling]} {shipped.unit}: "
                    + ("remove it here" if same else "a unit can mean one thing only"),
                    "warning" if same else "error",
                )
            else:
                merged[spelling] = factor
        vocabulary = _changed(vocabulary, "units", table, spellings=merged)
    return vocabulary


def _set_upper_limits(site: Site, vocabulary: Vocabulary) -> Vocabulary:
    report = site.document.report
    for name, choice in site.file.upper_limits.items():
        steps = ("upper_limits", name)
        if name not in vocabulary.observations:
            _unknown_entry(site, steps, name, vocabulary.observations, "upper_limits")
            continue
        table = vocabulary.units.get(vocabulary.observations[name].units)
        if table is None:
            continue  # reported where the entry is
        if choice.unit != table.unit:
            factor = table.spellings.get(choice.unit)
            convert = "" if factor is None else f", which is {choice.value * factor} {table.unit}"
            report(
                "wrong-unit",
                steps,
                f"`{choice.value} {choice.unit}`{convert}: give it in {table.unit}, "
                f"in which `{name}` is held",
            )
        elif choice.value <= 0:
            report("bad-number", steps, "an upper limit must be more than 0")
        else:
            number = Number(
                value=choice.value,
                unit=choice.unit,
                source=choice.source,
                certainty=choice.certainty,
                note=choice.note,
            )
            vocabulary = _changed(vocabulary, "observations", name, upper_limit=number)
    return vocabulary


def _unknown_entry(
    site: Site, steps: tuple[str, ...], name: str, known: Iterable[str], section: str
) -> None:
    known = list(known)
    hint = did_you_mean(name, known)
    form = "" if "." in name or section not in ("codes", "names") else ": write `section.entry`"
    near = [each for each in known if each.endswith(f".{name}")]
    if form and near:
        hint, form = f" (did you mean `{near[0]}`?)", ""
    site.document.report(
        "unknown-id", steps, f"`{name}` is no entry that can have `{section}`{hint}{form}"
    )


# --- rules ---------------------------------------------------------------------------------------


def change_rule(site: Site, rule: RuleFile) -> RuleFile:
    """A shipped rule as a site has it: with its parameters, and retired where it is off."""
    status = "retired" if rule.id in site.file.off else rule.status
    return replace(rule, status=status, parameters=_set(site, rule.id, rule.parameters))


def change_suggestion(site: Site, id_: str, suggestion: SuggestionFile) -> SuggestionFile:
    """A shipped suggestion with the parameters that a site sets."""
    return replace(suggestion, parameters=_set(site, id_, suggestion.parameters))


def _set(site: Site, of: str, shipped: Mapping[str, Number]) -> dict[str, Number]:
    numbers = dict(shipped)
    for name, choice in site.file.parameters.get(of, {}).items():
        if name in shipped and choice.unit == shipped[name].unit:
            numbers[name] = SiteNumber(
                value=choice.value,
                unit=choice.unit,
                source=choice.source,
                certainty=choice.certainty,
                note=choice.note,
                site=site.file.site,
                of=of,
                shipped=shipped[name],
            )
    return numbers


def check_changes(
    site: Site,
    rules: Mapping[str, RuleFile],
    suggestions: Mapping[str, SuggestionFile],
    own: frozenset[str],
    check_source: Callable[[tuple[str, ...], str], None],
) -> None:
    """File what a site changes that is not there, or not in that way.

    ``rules`` and ``suggestions`` are the shipped ones, unchanged; ``own`` are the ids of the site's
    own, which it changes where they stand. ``check_source`` is given each source that is named, and
    where.
    """
    report = site.document.report

    def unknown(steps: tuple[str, ...], id_: str, known: Iterable[str], what: str) -> None:
        if id_ in own:
            report("own-rule", steps, f"`{id_}` is this site's own: change it in its file")
        else:
            hint = did_you_mean(id_, known)
            report("unknown-rule", steps, f"`{id_}` is no shipped {what}{hint}")

    for id_ in site.file.off:
        if id_ not in rules:
            unknown(("off", id_), id_, rules, "rule")
        elif rules[id_].status != "active":
            already = f"`{id_}` is {rules[id_].status} as shipped: it is off already, remove this"
            report("off-already", ("off", id_), already, "warning")
    for id_, choices in site.file.parameters.items():
        steps = ("parameters", id_)
        if id_ in site.file.off:
            report("off-already", steps, f"`{id_}` is switched off: remove its parameters")
        elif id_ in rules:
            _check_choices(site, id_, choices, rules[id_].parameters, check_source)
        elif id_ in suggestions:
            _check_choices(site, id_, choices, suggestions[id_].parameters, check_source)
        else:
            unknown(steps, id_, [*rules, *suggestions], "rule or suggestion")
    for name, choice in site.file.upper_limits.items():
        if choice.source:
            check_source(("upper_limits", name, "source"), choice.source)


def _check_choices(
    site: Site,
    of: str,
    choices: Mapping[str, Choice],
    shipped: Mapping[str, Number],
    check_source: Callable[[tuple[str, ...], str], None],
) -> None:
    report = site.document.report
    for name, choice in choices.items():
        steps = ("parameters", of, name)
        if name not in shipped:
            hint = did_you_mean(name, shipped)
            has = ", ".join(f"`{each}`" for each in shipped) or "none"
            report(
                "unknown-parameter", steps, f"`{of}` has no parameter `{name}`{hint}; it has {has}"
            )
            continue
        number = shipped[name]
        if choice.unit != number.unit:
            report(
                "wrong-unit",
                steps,
                f"the unit of `{name}` is {_unit(number.unit)} as shipped, "
                f"and {_unit(choice.unit)} here: a site sets the value only, so convert it",
            )
        elif choice.value == number.value:
            report("same-value", steps, f"`{name}` has this value as shipped: remove it", "warning")
        if choice.source:
            check_source((*steps, "source"), choice.source)


def _unit(unit: str) -> str:
    return f"`{unit}`" if unit else "none"


def said_in_texts(number: SiteNumber, text: str) -> bool:
    """Whether a card's text has the shipped number written out, which the site has changed."""
    if not number.unit:
        return False
    unit = re.escape(number.unit)
    return bool(re.search(rf"(?<![\d.,]){number.shipped.value}[\s\u202f]*{unit}", text))
