"""Writes out everything clinical that stands in a rules folder, for those who have to approve it.

``python -m cds.authoring.knowledge docs/knowledge.md`` makes the document from the shipped rules:
every rule in words with its parameters, its evidence and the texts of its card, every number of the
vocabulary, every source; and first, all that nobody has read in a source. A number stands in one
table; whatever else speaks of it, such as the lists of what is to be decided, leads there.
"""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path, PurePath
from typing import Any, TypeVar

from msgspec import Struct

from cds.advice import load_rules
from cds.authoring.entries import HEADINGS, anchor_of, entries
from cds.authoring.listing import list_rules
from cds.cards.markdown import table
from cds.cards.texts import join_words, parameters_behind
from cds.chart.vocabulary import (
    Bounds,
    Certainty,
    Codes,
    ConditionEntry,
    Number,
    Statement,
    Vocabulary,
    coded_entries,
    numbers_of,
    statements_of,
)
from cds.located import Steps
from cds.rules.conditions import Count
from cds.rules.derivations import Derivation, HowMany, Ranks, Sum
from cds.rules.language import (
    CardFile,
    EvidenceCertainty,
    EvidenceItem,
    LicenceStatus,
    RuleFile,
    SharedFile,
    Term,
    WeightDose,
)
from cds.rules.nodes import Node
from cds.rules.parsing import parameter_of
from cds.rules.ruleset import Option, Passage, Rule, RuleSet, Suggestion
from cds.rules.texts import IT, WEIGHT_DOSE, Slot, Text
from cds.rules.words import OPERATORS, say_certainty, say_number

A = TypeVar("A")
B = TypeVar("B")

RULES = Path(__file__).resolve().parents[2] / "rules"

_READ = {
    "verified": "read in a source",
    "one source": say_certainty("one source"),
    "unverified": "**unverified**",
}
"""How well a number is known, in words."""


def knowledge(folder: Path) -> str:
    """The whole document of a rules folder, as Markdown; raises ``FilesInvalid``."""
    ruleset = load_rules(folder)
    try:
        return "\n\n".join(_document(ruleset, folder)) + "\n"
    finally:
        ruleset.close()


def _document(ruleset: RuleSet, folder: Path) -> Iterator[str]:
    by_folder = [
        (name, list(rules)) for name, rules in groupby(sorted(ruleset.every, key=_by_file), _folder)
    ]
    yield "# What the rules know, and on what it rests"
    yield (
        "Made from the rule files by `python -m cds.authoring.knowledge docs/knowledge.md`; what "
        "is changed there appears here. It is meant for a clinical governance board: what is "
        "approved is each rule with its numbers, its sources and the words of its card. A "
        "condition is met only where it is surely true; what the chart does not hold is unknown, "
        "and a rule with an unknown condition is silent. Each number stands in one table; where "
        "else it is named, that leads there. In the words of a card ⟨ ⟩ holds what is put there "
        "for the patient."
    )
    yield "## Contents"
    yield "\n".join(_contents(by_folder, ruleset))
    yield "## What nobody has read in a source"
    yield (
        "Each of these is used, and a card that rests on one says so; how long a card stays away "
        "after a reason (“quiet”) is told here only. To approve this document is to approve them "
        "as they are, or to have them read in a source first."
    )
    yield table(("Where", "What", "Why"), _unverified(ruleset))
    yield "## What was read in one secondary source"
    yield "This too is said on every card that rests on it."
    yield table(("Where", "What", "Why"), _doubted(ruleset, "one source"))
    yield "## Rules"
    yield table(("Rule", "Title", "Version", "Owner", "Reviewed", "Review by"), _overview(ruleset))
    yield f"No rule is asked for a patient without: {_title(ruleset.applies_to, ruleset)}."
    if ruleset.foremost:
        problems = ", ".join(f"`{problem}`" for problem in ruleset.foremost)
        yield f"Of equally urgent cards those about these problems come first: {problems}."
    for name, rules in by_folder:
        yield f"### {_heading(name)}"
        for rule in rules:
            yield from _rule(rule, ruleset, folder)
    yield from _idle(folder, {rule.id for rule in ruleset.every})
    if ruleset.shared:
        yield "## What several cards say alike"
        yield "It stands on each of these cards, and here once."
        yield from _shared(ruleset)
    yield "## Policies of this project"
    yield (
        "What no publication says, and this project chose. To approve this document is to take "
        "them for the policies of the hospital; each number can be set otherwise by a site. What "
        "is not verified beside that, and is no number, stands among "
        "[what nobody has read](#what-nobody-has-read-in-a-source); so does how long each card "
        "stays away after a reason (“quiet”)."
    )
    yield table(("Where", "Policy", "What was chosen"), _policies(ruleset))
    yield f"## {_MEASURES}"
    yield from _measures(ruleset.terms.vocabulary)
    yield "## Numbers of the vocabulary"
    yield "Numbers that no single rule owns: ranges of instruments, windows, doses."
    yield table(
        ("Entry", "Number", "Value", "Certainty", "Source", "Note"),
        _vocabulary_rows(ruleset.terms.vocabulary),
    )
    yield from entries(ruleset.terms.vocabulary)
    yield "## Groups that rules count over"
    yield table(
        ("Group", "Members"),
        (
            (f"`{name}`", _cell("; ".join(_title(member, ruleset) for member in members)))
            for name, members in ruleset.groups.items()
        ),
    )
    yield "## Drafts that a card may carry"
    yield from _drafts(ruleset)
    yield "## Reasons for not following a card"
    yield (
        "After a lasting reason the card stays away from this patient for as long as its rule "
        "says, unless the facts behind it change; where the rule names no time it is given again."
    )
    yield table(
        ("Reason", "Display", "Lasting"),
        (
            (f"`{key}`", _cell(reason.display), "yes" if reason.lasting else "no")
            for key, reason in ruleset.override_reasons.items()
        ),
    )
    yield "## Sources"
    yield table(("Source", "Publication", "Citation", "Note"), _sources(ruleset))


def _by_file(rule: Rule | Derivation) -> tuple[str, str]:
    return _folder(rule), rule.id


def _folder(rule: Rule | Derivation) -> str:
    return PurePath(rule.place.file).parent.as_posix()


def _heading(folder: str) -> str:
    return ": ".join(part.replace("-", " ").capitalize() for part in folder.split("/"))


def _contents(
    by_folder: Sequence[tuple[str, Sequence[Rule | Derivation]]], ruleset: RuleSet
) -> Iterator[str]:
    yield "- [What nobody has read in a source](#what-nobody-has-read-in-a-source)"
    yield "- [What was read in one secondary source](#what-was-read-in-one-secondary-source)"
    yield "- [Rules](#rules)"
    for name, rules in by_folder:
        yield f"  - {_heading(name)}"
        for rule in rules:
            yield f"    - [{rule.file.title}](#{rule.id})"
    for heading in (
        *(["What several cards say alike"] if ruleset.shared else []),
        "Policies of this project",
        _MEASURES,
        "Numbers of the vocabulary",
        *HEADINGS,
        "Groups that rules count over",
        "Drafts that a card may carry",
        "Reasons for not following a card",
        "Sources",
    ):
        yield f"- [{heading}](#{heading.lower().replace(' ', '-')})"


def _overview(ruleset: RuleSet) -> Iterator[tuple[str, ...]]:
    for rule in sorted(ruleset.every, key=_by_file):
        file = rule.file
        yield (
            f"[`{file.id}`](#{file.id})",
            _cell(file.title),
            file.version,
            file.owner,
            str(file.reviewed),
            str(file.review_by),
        )


# --- what is unverified --------------------------------------------------------------------------


def _doubted(ruleset: RuleSet, certainty: Certainty) -> Iterator[tuple[str, ...]]:
    """What rules, drafts and the vocabulary have of one certainty; numbers by their place."""
    for each in _authored(ruleset):
        for name, number in each.parameters.items():
            if number.certainty == certainty:
                yield each.where, f"“{_name(name)}”", _chosen(number)
        for term in each.terms:
            if term.certainty == certainty:
                said = f"points of {_title(term.of, ruleset)}"
                yield each.where, said, _cell(term.note or "")
        for item in each.evidence:
            if item.certainty == certainty:
                yield each.where, "evidence", _cell(f"{item.supports} (`{item.source}`)")
        for option in each.options:
            if option.status is not None and option.status.certainty == certainty:
                said = f"status of {_said(option.option, ruleset)}"
                yield each.where, _cell(said), _cell(option.status.licence)
    for suggestion in _suggestions(ruleset):
        for name, number in suggestion.parameters.items():
            if number.certainty == certainty:
                yield _draft_link(suggestion), f"“{_name(name)}”", _chosen(number)
    for entry, what, found in _numbers(ruleset.terms.vocabulary):
        if found.certainty == certainty:
            yield _entry_link(entry), what, _chosen(found)
    for steps, _, statement in statements_of(ruleset.terms.vocabulary):
        if statement.certainty == certainty:
            yield _statement_link(steps), "how it is chosen", _cell(statement.says)


def _chosen(number: Number | Bounds) -> str:
    """A number where somebody has to decide about it: its value, and what was noted of it."""
    return _cell("; ".join(filter(None, (_value(number), number.note))))


class _Authored(Struct, frozen=True):
    """What a rule has of its own, or several cards share; ``where`` links to it.

    ``quiet`` names the parameter that says how long its card stays away after a reason.
    """

    where: str
    evidence: Sequence[EvidenceItem]
    options: Sequence[Option]
    parameters: Mapping[str, Number] = {}
    terms: Sequence[Term] = ()
    quiet: str = ""


def _authored(ruleset: RuleSet) -> Iterator[_Authored]:
    """Every rule, without what its card shares; and that, each once."""
    for rule in sorted(ruleset.every, key=_by_file):
        file = rule.file
        options: Sequence[Option] = ()
        if isinstance(rule, Rule) and rule.card is not None and file.card is not None:
            together = _together(file.card.options, rule.card.options, "options", ruleset)
            options = [option for item, option in together if not isinstance(item, SharedFile)]
        yield _Authored(
            where=f"[`{rule.id}`](#{rule.id})",
            evidence=_of_its_own(file.evidence, "evidence", ruleset),
            options=options,
            parameters=file.parameters,
            terms=file.sum,
            quiet=_quiet_of(file),
        )
    for name, shared in ruleset.shared.items():
        options = _parsed(shared, ruleset).options
        yield _Authored(f"[`{name}`](#shared-{name})", shared.evidence, options)


def _of_its_own(items: Sequence[A], part: str, ruleset: RuleSet) -> list[A]:
    """The items of a card without those that it shares."""
    together = _together(items, items, part, ruleset)
    return [item for item, _ in together if not isinstance(item, SharedFile)]


def _unverified(ruleset: RuleSet) -> Iterator[tuple[str, ...]]:
    yield from _doubted(ruleset, "unverified")
    vocabulary = ruleset.terms.vocabulary
    for section, name, coded in coded_entries(vocabulary):
        codes = [
            f"{system} {code} ({display})"
            for system, by_code in coded.unverified.items()
            for code, display in by_code.items()
        ]
        if codes:
            yield f"`{section}.{name}`", "codes, recalled", _cell("; ".join(codes))
        families: Codes = coded.families if isinstance(coded, ConditionEntry) else {}
        whole = [
            f"{system} {code} ({display})"
            for system, by_code in families.items()
            for code, display in by_code.items()
        ]
        if whole:
            yield f"`{section}.{name}`", "whole categories, recalled", _cell("; ".join(whole))
    for key, source in ruleset.sources.items():
        if source.checked == "recalled":
            yield f"source `{key}`", "title and citation", "recalled"


# --- rules ---------------------------------------------------------------------------------------


def _rule(rule: Rule | Derivation, ruleset: RuleSet, folder: Path) -> Iterator[str]:
    file = rule.file
    yield f'<a id="{file.id}"></a>\n\n#### {file.title}'
    yield (
        f"`{file.id}`, version {file.version}, {file.status}. Makes {_makes(file)}. "
        f"{_asked(file)}. Owner: {file.owner}. Reviewed {file.reviewed}, to be reviewed "
        f"by {file.review_by}. File: `rules/{rule.place.file}`."
    )
    if said := _comment(folder / rule.place.file):
        yield said
    if isinstance(rule, Rule):
        yield "**When**"
        yield "\n".join(_condition(rule.node, ruleset, top=True))
    else:
        yield from _derivation(rule, ruleset)
    yield from _parameters(file.parameters)
    if file.weight_doses:
        yield "**Doses by body weight**"
        yield "\n".join(
            f"- {_name(name)}: {_per_kg(dose, ruleset)}, of the last recent weight"
            for name, dose in file.weight_doses.items()
        )
    if isinstance(rule, Rule) and file.card is not None:
        yield from _card(rule, file.card, ruleset)
    if (against := file.contraindication) is not None:
        titles = ", ".join(_drug(name, ruleset) for name in against.drugs)
        if against.drugs_with is not None:
            titles = f"every drug with an {against.drugs_with} on record"
        said = _said(rule.against or (), ruleset, rule) if isinstance(rule, Rule) else ""
        yield f"**Said of {titles}** ({against.weight}): {said}"
    cited: tuple[Node | None, ...] = (None,) * len(file.evidence)
    if isinstance(rule, Rule) and rule.card is not None:
        cited = rule.card.cited
    yield from _evidence(_together(file.evidence, cited, "evidence", ruleset), ruleset)


def _parameters(parameters: Mapping[str, Number]) -> Iterator[str]:
    """The numbers of a rule or a draft: the table in which each of them stands."""
    if parameters:
        yield "**Parameters**"
        yield table(
            ("Parameter", "Value", "Certainty", "Source", "Note"),
            (
                (_name(name), _value(n), _read(n), _ref(n.source), _cell(n.note or ""))
                for name, n in parameters.items()
            ),
        )


def _read(number: Number | Bounds | Statement | Term) -> str:
    """How well a number is known; what stands in no source was not read in one."""
    if number.certainty == "verified" and number.source in (None, _POLICY):
        return "**no source**" if number.source is None else "chosen by this project"
    return _READ[number.certainty]


def _evidence(
    evidence: Iterable[tuple[EvidenceItem | SharedFile, Node | None]], ruleset: RuleSet
) -> Iterator[str]:
    """What each source supports, as a table; what cards share is named in one row."""
    rows = [
        (f"that of {_shared_link(e, ruleset)}", "", "", "")
        if isinstance(e, SharedFile)
        else (
            _ref(e.source),
            _cell(e.supports),
            _certainty(e.certainty),
            _inline(when, ruleset),
        )
        for e, when in evidence
    ]
    if not rows:
        return
    yield "**Evidence**"
    kept = 4 if any(row[3] for row in rows) else 3
    heads = ("Source", "Supports", "Certainty", "Cited where")
    yield table(heads[:kept], (row[:kept] for row in rows))


def _certainty(certainty: EvidenceCertainty) -> str:
    return "**unverified**" if certainty == "unverified" else say_certainty(certainty)


def _comment(path: Path) -> str:
    """What the author says above the rule."""
    said = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        if "yaml-language-server" not in line:
            said.append(line.lstrip("# ").rstrip())
    return " ".join(said)


def _condition(node: Node, ruleset: RuleSet, depth: int = 0, *, top: bool = False) -> Iterator[str]:
    """A condition as a nested list; the parts of the topmost ``all`` need no word around them."""
    if top and node.kind == "all":
        for part in node.parts:
            yield from _condition(part, ruleset, depth)
        return
    yield f"{'  ' * depth}- {_says(node, ruleset)}"
    parts = node.parts
    if node.kind in ("not", "unknown"):
        parts = parts[0].parts if parts[0].kind in ("all", "any") else ()
    if node.kind != "count":
        for part in parts:
            yield from _condition(part, ruleset, depth + 1)


def _says(node: Node, ruleset: RuleSet) -> str:
    """What a condition says itself, without its parts."""
    if node.kind == "count":
        members = ", ".join(_title(member, ruleset) for member in node.members)
        counted = node.parts[0]
        shared = _title(node.members[0], ruleset)
        criterion = _says(counted, ruleset).replace(shared, "the measure or finding", 1)
        how_many = node.says.partition(":")[0]
        if counted.kind in ("all", "any"):
            criterion = _inline(counted, ruleset).replace(shared, "it")
        return f"{how_many} ({members}): {criterion}"
    if node.kind in ("all", "any"):
        return {"all": "all of these:", "any": "at least one of these:"}[node.kind]
    if node.kind in ("not", "unknown"):
        word = {"not": "not", "unknown": "not known"}[node.kind]
        return f"{word}: {_says(node.parts[0], ruleset)}"
    return _cell(node.says)


def _inline(node: Node | None, ruleset: RuleSet) -> str:
    """A condition on one line."""
    if node is None:
        return ""
    if node.kind in ("all", "any"):
        joined = {"all": " and ", "any": " or "}[node.kind].join(
            f"({inner})" if part.kind in ("all", "any") else inner
            for part in node.parts
            for inner in [_inline(part, ruleset)]
        )
        return joined
    if node.kind in ("not", "unknown"):
        word = {"not": "not", "unknown": "not known"}[node.kind]
        return f"{word}: {_inline(node.parts[0], ruleset)}"
    return _says(node, ruleset)


def _derivation(rule: Derivation, ruleset: RuleSet) -> Iterator[str]:
    """How a number or a category is worked out."""
    makes = rule.makes
    unit = rule.file.unit
    if isinstance(makes, Sum):
        yield (
            f"**Sum of points** (at most {say_number(makes.most, unit)}). A band reaches from "
            "above its threshold up to the next one, that included; a number that is not known may "
            "give anything from the least to the most."
        )
        rows = (
            (
                _cell(_title(part.fact, ruleset)),
                _cell(
                    "; ".join(
                        f"above {say_number(band.above, part.unit)}: {say_number(band.points, '')}"
                        for band in part.bands
                    )
                ),
                _read(part.file),
                _ref(part.file.source),
            )
            for part in makes.parts
        )
        yield table(("Number", "Points", "Certainty", "Source"), rows)
    elif isinstance(makes, HowMany):
        yield "**Number of those that meet a condition**"
        yield "\n".join(_condition(makes.node, ruleset))
    elif isinstance(makes, Ranks):
        yield "**The first of these whose condition is met**"
        for name, node in makes.ranks:
            yield f"{name}:" if node is not None else f"{name}: otherwise"
            if node is not None:
                yield "\n".join(_condition(node, ruleset, top=True))


def _per_kg(dose: WeightDose, ruleset: RuleSet) -> str:
    """A dose by body weight in words: ``30 mg/kg, at most 1000 mg``."""

    def said(named: str) -> str:
        fact, name = parameter_of(named) or ("", "")
        return _number_link(fact, name, ruleset) if fact else f"“{_name(name)}”"

    upper = f" to {said(dose.up_to)}" if dose.up_to else ""
    most = f", at most {said(dose.at_most)}" if dose.at_most else ""
    return f"{said(dose.per_kg)}{upper}{most}"


def _makes(file: RuleFile) -> str:
    if file.card is not None:
        return f"a card ({file.card.indicator})"
    if file.contraindication is not None:
        return "a contraindication"
    return f"`{file.derive}`, for other rules"


def _asked(file: RuleFile) -> str:
    """Where a rule is asked for; only one with a card is so at hooks of its own."""
    if file.card is not None:
        return f"Asked at: {', '.join(file.hooks)}"
    if file.contraindication is not None:
        return "Shown with options, and with drugs that are given or ordered"
    return "Worked out wherever a card asks for it"


def _drug(name: str, ruleset: RuleSet) -> str:
    vocabulary = ruleset.terms.vocabulary
    entry = vocabulary.drug_classes.get(name) or vocabulary.drugs[name]
    return entry.title


def _status(status: LicenceStatus | None) -> str:
    """Whether an option is approved, and for what; not read where that was recalled."""
    if status is None:
        return ""
    said = ": ".join(filter(None, (status.licence, status.indication)))
    return _cell(said) + (" (**unverified**)" if status.certainty == "unverified" else "")


def _card(rule: Rule, file: CardFile, ruleset: RuleSet) -> Iterator[str]:
    """The words of a card, with what is put into them for a patient named in its place."""
    card = rule.card
    assert card is not None
    yield f"**Card** ({file.indicator}; of several about `{file.problem}` only one is given)"
    said = [f"**{_said(card.summary, ruleset, rule)}**", _said(card.lead, ruleset, rule)]
    for item, passage in _together(file.text, card.passages, "text", ruleset):
        if isinstance(item, SharedFile):
            said.append(f"[the text of {_shared_link(item, ruleset)}]")
        else:
            said.append(_passage(passage, ruleset, rule))
    yield _quote(said)
    yield from _options(_together(file.options, card.options, "options", ruleset), ruleset, rule)
    carries = [
        f"Tables: {', '.join(file.show)}." if file.show else "",
        f"Drafts: {_listed(file.suggestions)}." if file.suggestions else "",
        f"Reasons for not following: {_listed(file.override_reasons)}."
        if file.override_reasons
        else "",
        _quiet(rule, file),
    ]
    if told := " ".join(filter(None, carries)):
        yield told


def _passage(passage: Passage, ruleset: RuleSet, rule: Rule | None = None) -> str:
    said = _said(passage.text, ruleset, rule)
    return said if passage.when is None else f"[where {_inline(passage.when, ruleset)}] {said}"


def _quote(said: Iterable[str]) -> str:
    return "\n>\n".join(f"> {text}" for text in said)


def _options(
    options: Iterable[tuple[Any, Option]], ruleset: RuleSet, rule: Rule | None = None
) -> Iterator[str]:
    """The rows of a card, as a table; what cards share is named in one row."""
    rows = [
        (f"the rows of {_shared_link(item, ruleset)}", "", "", "", "")
        if isinstance(item, SharedFile)
        else (
            _cell(_said(option.option, ruleset, rule)),
            _cell(_said(option.evidence, ruleset, rule)),
            _status(option.status),
            _ref(option.source),
            _inline(option.when, ruleset),
        )
        for item, option in options
    ]
    if rows:
        yield table(("Option", "Evidence", "Status", "Source", "Where"), rows)


_FORMS = {
    "value": "{}",
    "evidence": "what is on record of: {}",
    "dates": "the dates of: {}",
    "missing": "what would settle: {}",
    "history": "the times on: {}",
}
"""What each form of a fact puts into a text, in words."""


def _said(text: Text, ruleset: RuleSet, rule: Rule | None = None) -> str:
    """A text of a card of ``rule``: numbers with the way to their table, facts by what they are."""
    return "".join(part if isinstance(part, str) else _slot(part, ruleset, rule) for part in text)


def _slot(slot: Slot, ruleset: RuleSet, rule: Rule | None) -> str:
    if slot.name.startswith(WEIGHT_DOSE):
        return f" ⟨{_name(slot.name.removeprefix(WEIGHT_DOSE))} for the last recent weight⟩"
    named = parameter_of(slot.name)
    if named is not None:
        fact, name = named
        if fact:
            return _number_link(fact, name, ruleset)
        assert rule is not None, "a text that is shared names no parameters of a rule"
        return _value(rule.file.parameters[name])
    if slot.name in ruleset.selecting:
        counted = ruleset.selecting[slot.name].condition
        assert isinstance(counted, Count)
        what = f"those counted of the group “{_name(counted.group)}”"
        return f"⟨{what}⟩" if slot.form == "value" else f"⟨what is on record of {what}⟩"
    what = _title(slot.name, ruleset)
    if slot.name == "patient.id":
        what = "the id of the patient"
    elif slot.name.startswith(IT):
        what = f"{_name(slot.name.removeprefix(IT))} of this drug"
    return f"⟨{_FORMS[slot.form].format(what)}⟩"


def _number_link(fact: str, name: str, ruleset: RuleSet) -> str:
    """A parameter of the rule that derives a fact, with the way to the table that it stands in."""
    rule = ruleset.deriving.get(fact) or ruleset.derivations[fact]
    return f"[{_value(parameters_behind(fact, ruleset)[name])}](#{rule.id})"


# --- what several cards say alike -----------------------------------------------------------------


def _together(
    items: Sequence[A], templates: Sequence[B], part: str, ruleset: RuleSet
) -> Iterator[tuple[A | SharedFile, B]]:
    """The items of a card, each with what it was parsed into; those that it shares as one."""
    i = 0
    while i < len(items):
        for shared in ruleset.shared.values():
            of = getattr(shared, part)
            if of and items[i : i + len(of)] == of:
                yield shared, templates[i]
                i += len(of)
                break
        else:
            yield items[i], templates[i]
            i += 1


def _shared(ruleset: RuleSet) -> Iterator[str]:
    """What several cards say alike, each once, with the cards that say it."""
    for name, shared in ruleset.shared.items():
        yield f'<a id="shared-{name}"></a>\n\n### {shared.title}'
        takers = sorted(_takers(shared, ruleset), key=_by_file)
        on = ", ".join(f"[`{rule.id}`](#{rule.id})" for rule in takers)
        yield f"`{name}`, in `rules/shared.yaml`. On the cards of {on}."
        parsed = _parsed(shared, ruleset)
        if parsed.passages:
            yield _quote(_passage(passage, ruleset) for passage in parsed.passages)
        yield from _options(zip(shared.options, parsed.options, strict=True), ruleset)
        yield from _evidence(zip(shared.evidence, parsed.cited, strict=True), ruleset)


class _Parsed(Struct, frozen=True):
    """What cards share, as the card that takes it has it."""

    passages: Sequence[Passage]
    options: Sequence[Option]
    cited: Sequence[Node | None]


def _parsed(shared: SharedFile, ruleset: RuleSet) -> _Parsed:
    """What cards share, parsed; a card may take the paragraphs and not the rows."""
    passages: Sequence[Passage] = ()
    options: Sequence[Option] = ()
    cited: Sequence[Node | None] = ()
    for rule in _takers(shared, ruleset):
        card, file = rule.card, rule.file.card
        assert card is not None and file is not None
        passages = passages or _run(file.text, shared.text, card.passages)
        options = options or _run(file.options, shared.options, card.options)
        cited = cited or _run(rule.file.evidence, shared.evidence, card.cited)
    return _Parsed(passages, options, cited)


def _run(items: Sequence[A], of: Sequence[A], parsed: Sequence[B]) -> Sequence[B]:
    """What a run of items was parsed into; nothing where it is not among them."""
    at = _at(items, of)
    return parsed[at : at + len(of)]


def _takers(shared: SharedFile, ruleset: RuleSet) -> list[Rule]:
    """The rules whose cards take something of what is shared."""
    return [
        rule
        for rule in ruleset.card_rules
        if (card := rule.file.card) is not None
        and any(
            of and _at(items, of) < len(items)
            for items, of in ((card.text, shared.text), (card.options, shared.options))
        )
    ]


def _at(items: Sequence[Any], of: Sequence[Any]) -> int:
    """Where a run of items begins within others; their number where it does not."""
    n = len(of)
    return next((i for i in range(len(items)) if items[i : i + n] == of), len(items))


def _shared_link(shared: SharedFile, ruleset: RuleSet) -> str:
    name = next(name for name, each in ruleset.shared.items() if each is shared)
    return f"[{shared.title}](#shared-{name})"


def _quiet(rule: Rule, file: CardFile) -> str:
    """For how long the card stays away after a lasting reason."""
    if not file.override_reasons:
        return ""
    if file.quiet_after_override is None:
        return "It does not stay away after a reason."
    number = rule.file.parameters[_quiet_of(rule.file)]
    return f"After a lasting reason it stays away for {_value(number)}."


def _quiet_of(file: RuleFile) -> str:
    """The parameter that says so; empty where there is none."""
    named = file.card.quiet_after_override if file.card is not None else None
    return (named or "").removeprefix("parameters.")


_POLICY = "project-policy"
"""The source of what this project chose itself."""


def _policies(ruleset: RuleSet) -> Iterator[tuple[str, ...]]:
    """Numbers by their place, and what else was chosen and is no doubt in itself."""
    for each in _authored(ruleset):
        for name, number in each.parameters.items():
            told = name == each.quiet and number.certainty == "unverified"
            if _is_policy(number) and not told:
                yield each.where, f"“{_name(name)}”", _chosen(number)
        for item in each.evidence:
            if item.source == _POLICY and item.certainty != "unverified":
                yield each.where, "evidence", _cell(item.supports)
    for entry, what, found in _numbers(ruleset.terms.vocabulary):
        if _is_policy(found):
            yield _entry_link(entry), what, _chosen(found)
    for steps, _, statement in statements_of(ruleset.terms.vocabulary):
        if statement.source == _POLICY and statement.certainty != "unverified":
            yield _statement_link(steps), "how it is chosen", _cell(statement.says)


def _is_policy(number: Number | Bounds) -> bool:
    return number.source == _POLICY or (number.note or "").startswith("Project policy")


def _idle(folder: Path, active: set[str]) -> Iterator[str]:
    """The rules that are not in force, which nothing asks."""
    records = [each for each in list_rules(folder)[0] if each.id not in active]
    if records:
        yield "### Not in force"
        yield table(
            ("Rule", "Title", "Status", "Version"),
            ((f"`{r.id}`", _cell(r.title), r.status, r.version) for r in records),
        )


def _suggestions(ruleset: RuleSet) -> list[Suggestion]:
    carried = {s.id: s for rule in ruleset.card_rules if rule.card for s in rule.card.suggestions}
    return [carried[name] for name in sorted(carried)]


def _draft_link(suggestion: Suggestion) -> str:
    return f"[draft `{suggestion.id}`](#draft-{suggestion.id})"


def _drafts(ruleset: RuleSet) -> Iterator[str]:
    yield "A draft is a proposal: the clinician completes, changes and signs it."
    for suggestion in _suggestions(ruleset):
        label = _said(suggestion.label, ruleset)
        yield f'<a id="draft-{suggestion.id}"></a>\n\n**{label}** (`{suggestion.id}`)'
        if suggestion.when is not None:
            yield f"Where {_inline(suggestion.when, ruleset)}."
        yield from _parameters(suggestion.parameters)
        doses = [
            _said(suggestion.strings.get(steps, (dose["text"],)), ruleset)
            for i, dose in enumerate(suggestion.resource.get("dosageInstruction", ()))
            if "text" in dose
            for steps in [("dosageInstruction", i, "text")]
        ]
        yield _quote(doses) if doses else "It states no dose."


# --- vocabulary and sources ----------------------------------------------------------------------


def _numbers(vocabulary: Vocabulary) -> Iterator[tuple[str, str, Number | Bounds]]:
    """Every number of the vocabulary: the entry, what it is, and the number."""
    for entry, within, number in numbers_of(vocabulary):
        yield ".".join(map(str, entry)), ": ".join(_name(str(step)) for step in within), number


def _vocabulary_rows(vocabulary: Vocabulary) -> Iterator[tuple[str, ...]]:
    before = ""
    for entry, what, number in _numbers(vocabulary):
        place = f'<a id="{anchor_of(entry)}"></a>' if entry != before else ""
        row = (f"{place}`{entry}`", what, _value(number), _read(number), _ref(number.source))
        yield (*row, _cell(number.note or ""))
        before = entry


_MEASURES = "Measures and assessments"


def _measures(vocabulary: Vocabulary) -> Iterator[str]:
    """How two assessments are chosen, and what is compared of each measure."""
    yield (
        "Which Observations make an assessment, which two are compared, and which instrument of a "
        "measure counts. The numbers that are named stand in [their table](#number-assessments)."
    )
    yield table(
        ("Measure", "Counts", "Instruments, in their order", "In a child only", "Which is taken"),
        (
            (
                f"{_cell(entry.title)} (`{name}`)",
                "in the core set" if entry.core_set else "shown beside it",
                _instruments(set(entry.instruments) - set(entry.for_children), name, vocabulary),
                _instruments(entry.for_children, name, vocabulary),
                "the first that both have" if entry.choose == "first" else entry.choose,
            )
            for name, entry in vocabulary.measures.items()
        ),
    )
    yield table(
        ("Of", "What is said", "Certainty", "Source"),
        (
            (f"`{'.'.join(map(str, steps))}`", _cell(each.says), _read(each), _ref(each.source))
            for steps, _, each in statements_of(vocabulary)
        ),
    )


def _instruments(taken: Collection[str], measure: str, vocabulary: Vocabulary) -> str:
    """The titles of some instruments of a measure, in its order."""
    order = vocabulary.measures[measure].instruments
    return _cell("; ".join(vocabulary.observations[i].title for i in order if i in taken))


def _statement_link(steps: Steps) -> str:
    return f"[`{'.'.join(map(str, steps))}`](#{_MEASURES.lower().replace(' ', '-')})"


def _entry_link(entry: str) -> str:
    return f"[`{entry}`](#{anchor_of(entry)})"


def _sources(ruleset: RuleSet) -> Iterator[tuple[str, ...]]:
    for key, source in ruleset.sources.items():
        title = f"[{_cell(source.title)}]({source.url})" if source.url else _cell(source.title)
        known = ["**recalled**" if source.checked == "recalled" else "read"]
        if key == _POLICY:  # which nobody could read elsewhere
            known = []
        if source.retired:
            known.append("retired")
        remarks = f" ({'; '.join(known)})" if known else ""
        yield (
            f'<a id="source-{key}"></a>`{key}`',
            title,
            f"{_cell(source.citation)}{remarks}",
            _cell(source.note or ""),
        )


# --- words ---------------------------------------------------------------------------------------


def _name(name: str) -> str:
    return name.replace("_", " ")


def _listed(names: Iterable[str]) -> str:
    return join_words([f"`{name}`" for name in names])


def _ref(source: str | None) -> str:
    return f"[`{source}`](#source-{source})" if source else ""


def _value(number: Number | Bounds) -> str:
    if isinstance(number, Number):
        return say_number(number.value, number.unit)
    low, high = number.low, number.high
    if low is not None and high is not None:
        return f"{say_number(low, '')} to {say_number(high, '')}"
    if low is None:
        return "" if high is None else f"{OPERATORS['<=']} {say_number(high, '')}"
    return f"{OPERATORS['>=']} {say_number(low, '')}"


def _title(fact: str, ruleset: RuleSet) -> str:
    """The title of a fact or of a measure."""
    if fact in ruleset.facts:
        return ruleset.facts[fact].title
    kind, _, name = fact.partition(".")
    vocabulary = ruleset.terms.vocabulary
    if kind == "measure" and name in vocabulary.measures:
        return vocabulary.measures[name].title
    return fact


def _cell(text: str) -> str:
    """Text in the cell of a table or in a list."""
    return text.replace("|", "\\|").replace("<", "\\<").replace("\n", " ")


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(knowledge(RULES), encoding="utf-8")
