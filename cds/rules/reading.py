"""Reads a folder of rule files into a rule set; every error of every file is reported at once."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping
from decimal import Decimal
from pathlib import Path, PurePath
from typing import Any

import msgspec
from msgspec import Struct

from cds.chart.facts.allergies import current_despite, ordered_despite
from cds.chart.facts.catalogue import declare, groups
from cds.chart.facts.declaration import Declaration, Kind, Value, no_evidence
from cds.chart.facts.drugs import CONTRAINDICATION, CURRENT, ORDERED, any_current, any_ordered
from cds.chart.facts.elapsed import misnamed
from cds.chart.quantities import UNKNOWN, Category
from cds.chart.terms import compile_terms
from cds.chart.vocabulary import Number, Vocabulary
from cds.located import (
    Document,
    FilesInvalid,
    Place,
    Problem,
    Steps,
    did_you_mean,
    read_document,
    read_struct,
)
from cds.rules.assembly import (
    asked,
    compile_rules,
    facts_of_card,
    fine_thresholds,
    in_order,
    needed_facts,
)
from cds.rules.conditions import facts_of
from cds.rules.contents import read_contents, version_of
from cds.rules.derivations import (
    Derivation,
    HowMany,
    Makes,
    Part,
    Ranks,
    Sum,
    nodes_of,
)
from cds.rules.language import (
    Contraindication,
    OverrideReason,
    Rank,
    RuleFile,
    SharedFile,
    Source,
    Status,
    SuggestionFile,
    Term,
)
from cds.rules.nodes import Node, compile_node
from cds.rules.parsing import (
    BROKEN,
    ByWeight,
    Scope,
    parameter_of,
    parse_condition,
    parse_count,
)
from cds.rules.resting import Behind, chosen_of, facts_behind
from cds.rules.ruleset import (
    CardTemplate,
    Option,
    Passage,
    Rule,
    RuleSet,
    Suggestion,
    selections_of,
)
from cds.rules.shared import FILE as SHARED_FILE
from cds.rules.shared import put_shared, read_shared
from cds.rules.site import (
    FILE,
    RULES,
    SHARED,
    Site,
    SiteNumber,
    change_rule,
    change_suggestion,
    check_changes,
    read_changed_vocabulary,
    read_site,
    said_in_texts,
)
from cds.rules.texts import IT, Text, parse_text

LONGEST_QUIET = 366
"""Days; a reason not to follow a card is to be thought over once a year at least."""

_UNFINISHED: tuple[Status, ...] = ("draft", "testing")


class _Reading(Struct):
    """The state of reading one folder."""

    folder: Path
    site: Site | None
    problems: list[Problem]
    vocabulary: Vocabulary
    facts: dict[str, Declaration]
    groups: dict[str, tuple[str, ...]]
    sources: dict[str, Source]
    broken_sources: set[str] | None
    """Those that are declared, and could not be read: what cites them is not to blame. ``None``
    where a whole file of them could not be."""
    override_reasons: dict[str, OverrideReason]
    suggestions: dict[str, tuple[Document, SuggestionFile]]
    shared_document: Document
    shared: dict[str, SharedFile]
    documents: list[tuple[Document, RuleFile | None]]
    taken: frozenset[Status]
    """Rules of these statuses are evaluated; of others only the file is checked."""
    selections: frozenset[str] = frozenset()
    behind: dict[str, Mapping[str, Number]] = {}
    """The parameters of the rules that derive facts, by fact."""
    shipped: dict[str, RuleFile] = {}
    abandoned: dict[str, str] = {}
    """What only rules that the site switched off derive or select, with the rule."""


def read_ruleset(folder: Path, site: Path | None = None, *, drafts: bool = False) -> RuleSet:
    """Read, check and compile the rules of a folder, as a site's folder changes them.

    With ``drafts`` the rules in draft and in testing count as if they were active, to try them.
    Raises ``FilesInvalid`` with every error of every file.
    """
    ruleset, problems = check_ruleset(folder, site, drafts=drafts)
    if ruleset is None:
        raise FilesInvalid(p for p in problems if p.severity == "error")
    return ruleset


def check_ruleset(
    folder: Path, site: Path | None = None, *, drafts: bool = False
) -> tuple[RuleSet | None, list[Problem]]:
    """Read the rules of a folder; every problem, and the rule set where none is an error.

    With ``drafts`` the rules in draft and in testing count as if they were active. ``site`` is a
    hospital's own folder; see ``cds.rules.site``. Its files go by their paths.
    """
    problems: list[Problem] = []
    if not (folder / "vocabulary").is_dir():
        place = Place(str(folder))
        return None, [
            Problem(place, "no-vocabulary", "has no folder `vocabulary`: is it a rules folder?")
        ]
    if site is not None and not (site / FILE).is_file():
        return None, [
            Problem(Place(str(site)), "no-site", f"has no file `{FILE}`: is it a site's folder?")
        ]
    changes = read_site(site) if site is not None else None
    vocabulary = read_changed_vocabulary(folder, changes, problems)
    reading = _Reading(
        folder=folder,
        site=changes,
        problems=problems,
        vocabulary=vocabulary,
        facts=declare(vocabulary),
        groups=groups(vocabulary),
        sources={},
        broken_sources=set(),
        override_reasons={},
        suggestions={},
        shared_document=read_shared(folder),
        shared={},
        documents=[],
        taken=frozenset(_UNFINISHED if drafts else ()) | {"active"},
    )
    _read_shared(reading)
    _check_vocabulary_sources(reading)
    _check_elapsed(reading)
    _read_headers(reading)
    rules = _read_rules(reading)
    for name in reading.suggestions:  # those that no card carries are checked too
        _read_suggestion(name, reading)
    applies_to, foremost = _read_scope(reading)
    if changes is not None:
        _check_site(changes, rules, reading)
        problems.extend(changes.document.problems)
    problems.extend(p for d, _ in reading.documents for p in d.problems)
    problems.extend(p for d, _ in reading.suggestions.values() for p in d.problems)
    problems.extend(reading.shared_document.problems)
    problems = sorted(set(problems))
    if any(p.severity == "error" for p in problems):
        return None, problems
    ordered, cyclic = in_order(rules, reading.taken)
    if cyclic:
        names = ", ".join(r.id for r in cyclic)
        circle = (
            f"these rules wait for each other: {names}; take out of one of them "
            "the fact that another derives"
            if len(cyclic) > 1
            else f"`{names}` asks for the fact that it derives: take that out of its condition"
        )
        return None, [*problems, Problem(cyclic[0].place, "cycle", circle)]
    try:
        compiler, engine, checks = compile_rules(ordered)
    except FilesInvalid as fault:
        return None, [*problems, *fault.problems]
    active = [r for r in rules if isinstance(r, Rule) and r.file.status in reading.taken]
    deriving = {r.file.derive: r for r in active if r.file.derive is not None}
    contents = read_contents(folder, site)
    derivations = {
        r.fact: r for r in rules if isinstance(r, Derivation) and r.file.status in reading.taken
    }
    rests = Behind(deriving, derivations)
    return (
        RuleSet(
            version=version_of(contents),
            terms=compile_terms(vocabulary, _adult_from(deriving)),
            facts=reading.facts,
            groups=reading.groups,
            needed=needed_facts([*active, *derivations.values()], reading.facts),
            applies_to=applies_to,
            foremost=foremost,
            rules=tuple(active),
            card_rules=tuple(r for r in active if r.card is not None),
            contraindications=tuple(r for r in active if r.against is not None),
            deriving=deriving,
            derivations=derivations,
            unfinished={
                rule.id: rule.status
                for _, rule in reading.documents
                if rule is not None and rule.status in _UNFINISHED
            },
            behind={r.id: facts_behind(facts_of(r.node.condition), rests) for r in active},
            chosen={r.id: chosen_of(r, rests) for r in active},
            site=changes,
            ordered=tuple(ordered),
            checks=checks,
            selecting={name: node for rule in ordered for name, node in rule.selections},
            compiler=compiler,
            engine=engine,
            sources=reading.sources,
            override_reasons=reading.override_reasons,
            shared=reading.shared,
            thresholds=fine_thresholds(active, derivations.values()),
            contents=contents,
        ),
        problems,
    )


def _adult_from(deriving: Mapping[str, Rule]) -> Number | None:
    """The age of adults, which stands once: in the rule whose fact says who is one."""
    rule = deriving.get("patient.adult")
    return rule.file.parameters.get("adult_from") if rule is not None else None


_SHARED = (
    "sources.yaml",
    "override-reasons.yaml",
    "suggestions.yaml",
    "scope.yaml",
    SHARED_FILE,
)


def _read_shared(reading: _Reading) -> None:
    """Sources, override reasons, suggestions, passages: each declared once, for all rules."""
    for name, kind, into in (
        ("sources.yaml", Source, reading.sources),
        ("override-reasons.yaml", OverrideReason, reading.override_reasons),
        ("suggestions.yaml", SuggestionFile, reading.suggestions),
    ):
        for document in _shared_files(name, reading):
            if document.data is None and kind is Source:
                reading.broken_sources = None
            for key in document.data or ():
                entry = read_struct(document, (key,), kind)
                if key in into:
                    document.report("duplicate-id", (key,), f"`{key}` is shipped: take another id")
                elif entry is not None:
                    # The table above pairs them.
                    into[key] = (document, entry) if kind is SuggestionFile else entry  # type: ignore[assignment]
                elif kind is Source and reading.broken_sources is not None:
                    reading.broken_sources.add(key)
            reading.problems.extend(document.problems)
    for key in reading.shared_document.data or ():
        said = read_struct(reading.shared_document, (key,), SharedFile)
        if said is not None:
            reading.shared[key] = said


def _shared_files(name: str, reading: _Reading) -> Iterator[Document]:
    """The shipped file of this name, and the site's where it has one."""
    yield _read_mapping(reading.folder, name)
    if reading.site is not None and (reading.site.folder / name).exists():
        yield _read_mapping(reading.site.folder, name, str(reading.site.folder / name))


def _check_vocabulary_sources(reading: _Reading) -> None:
    """The numbers of the vocabulary must cite publications that are declared.

    Where they stand is looked up only where one is not.
    """
    good = {name for name, source in reading.sources.items() if not source.retired}
    if good.issuperset(s for _, s in _citations(msgspec.to_builtins(reading.vocabulary), ())):
        return
    for document in _vocabulary_documents(reading):
        for steps, source in _citations(document.data, ()):
            _check_source(document, steps, source, reading)
        reading.problems.extend(document.problems)


def _vocabulary_documents(reading: _Reading) -> Iterator[Document]:
    """The files of the vocabulary, and those of the site's own, read anew."""
    folders = [(reading.folder / "vocabulary", "vocabulary/")]
    if reading.site is not None:
        own = reading.site.folder / "vocabulary"
        folders.append((own, f"{own}/"))
    for folder, prefix in folders:
        for path in sorted(folder.glob("*.yaml")):
            yield read_document(path, prefix + path.name)


def _check_elapsed(reading: _Reading) -> None:
    """What days are counted from and to must be facts that say how long ago something was.

    Where they stand is looked up only where one is not.
    """
    wrong = {
        name: facts
        for name, entry in reading.vocabulary.elapsed.items()
        if (facts := misnamed(entry, reading.facts))
    }
    for document in _vocabulary_documents(reading) if wrong else ():
        entries = document.data.get("elapsed") if isinstance(document.data, dict) else None
        for name in entries if isinstance(entries, dict) else ():
            for fact in wrong.get(name, ()):
                document.report(
                    "unknown-fact",
                    ("elapsed", name),
                    f"`{fact}` is no event and no number of days"
                    f"{did_you_mean(fact, reading.facts)}",
                )
        reading.problems.extend(document.problems)


def _citations(data: Any, steps: Steps) -> Iterator[tuple[Steps, str]]:
    """Whatever stands after ``source`` in plain data, and where."""
    for key, value in data.items() if isinstance(data, dict) else ():
        if key == "source" and isinstance(value, str):
            yield (*steps, key), value
        yield from _citations(value, (*steps, key))


def _read_mapping(folder: Path, name: str, called: str | None = None) -> Document:
    """Read a file that must be a mapping; its data are None where it is not."""
    document = read_document(folder / name, called or name)
    if document.data is not None and not isinstance(document.data, dict):
        document.report("wrong-type", (), "should be a mapping (key: value)")
        document.data = None
    return document


def _read_scope(reading: _Reading) -> tuple[str, tuple[str, ...]]:
    document = _read_mapping(reading.folder, "scope.yaml")
    data = document.data or {}
    keys = ("applies_to", "foremost")
    for key in data:
        if key not in keys:
            hint = did_you_mean(key, keys)
            document.report("unknown-key", (key,), f"`{key}` is not known here{hint}")
    applies_to = data.get("applies_to")
    fact = str(applies_to)
    if applies_to is None or not fact.startswith(("diagnosis.", "finding.")):
        document.report(
            "missing-key",
            ("applies_to",),
            "`applies_to` names the diagnosis or finding that a patient must have for any rule",
        )
    elif fact not in reading.facts:
        document.report(
            "unknown-fact",
            ("applies_to",),
            f"`{fact}` is not a fact that the vocabulary declares"
            f"{did_you_mean(fact, reading.facts)}",
        )
    foremost = data.get("foremost", [])
    if not isinstance(foremost, list):
        document.report("wrong-type", ("foremost",), "should be a list of problems of cards")
        foremost = []
    reading.problems.extend(document.problems)
    return fact, tuple(map(str, foremost))


def rule_files(folder: Path) -> list[Path]:
    """The rule files of a folder, without vocabulary, shared files and tests."""
    return [
        path
        for path in sorted(folder.rglob("*.yaml"))
        if not path.name.endswith(".test.yaml")
        and path.relative_to(folder).parts[0] not in ("vocabulary", *_SHARED)
    ]


def _rule_documents(reading: _Reading) -> Iterator[tuple[Document, bool]]:
    """Every rule file, and whether it is shipped; a site's own come last."""
    for path in rule_files(reading.folder):
        yield _read_mapping(reading.folder, path.relative_to(reading.folder).as_posix()), True
    if reading.site is not None:
        folder = reading.site.folder / RULES
        for path in rule_files(folder):
            yield _read_mapping(folder, path.relative_to(folder).as_posix(), str(path)), False


def _read_headers(reading: _Reading) -> None:
    """Read every rule file and declare what they derive and select, before any condition."""
    seen: dict[str, Place] = {}
    derived: dict[str, Place] = {}
    selections: dict[str, tuple[Document, Steps]] = {}
    taken: set[str] = set()
    for document, shipped in _rule_documents(reading):
        if document.data is not None:
            taken.update(put_shared(document, reading.shared_document))
        rule = None if document.data is None else read_struct(document, (), RuleFile)
        if rule is not None and shipped and reading.site is not None:
            reading.shipped[rule.id] = rule
            rule = change_rule(reading.site, rule)
        reading.documents.append((document, rule))
        if rule is None:
            _declare_broken(document, selections, reading)
            continue
        if rule.id != (stem := PurePath(document.file).stem):
            document.report(
                "bad-id", ("id",), f"`{rule.id}` should be `{stem}`, as the file is named"
            )
        if rule.id in seen:
            document.report(
                "duplicate-id", ("id",), f"`{rule.id}` is declared already at {seen[rule.id]}"
            )
        seen[rule.id] = document.place(("id",))
        makes = (rule.derive, rule.card, rule.contraindication)
        if sum(each is not None for each in makes) != 1:
            document.report(
                "derive-or-card",
                (),
                "a rule has one of `derive`, `card` and `contraindication`, and not more",
            )
        if rule.derive is not None and rule.status in reading.taken:
            if rule.derive in reading.facts:
                where = derived.get(rule.derive, "the vocabulary")
                document.report(
                    "duplicate-id", ("derive",), f"`{rule.derive}` is declared already: {where}"
                )
            else:
                derived[rule.derive] = document.place(("derive",))
                reading.behind[rule.derive] = rule.parameters
                _declare_derived(rule.derive, rule.title, rule, reading)
        if rule.contraindication is not None and rule.status in reading.taken:
            _declare_contraindication(rule, rule.contraindication, reading)
        if rule.status in reading.taken:
            for steps, selected in _selected(rule):
                earlier = selections.setdefault(selected, (document, steps))
                if earlier != (document, steps):
                    where = earlier[0].place(earlier[1])
                    document.report(
                        "duplicate-id", steps, f"`{selected}` is selected already at {where}"
                    )
    for name in reading.shared:
        if name not in taken:
            said = f"no card takes `{name}`: name it in one, or remove it"
            reading.shared_document.report("unused-shared", (name,), said, "warning")
    _group_contraindications(reading)
    for selected, (document, steps) in selections.items():
        if selected in reading.facts:
            document.report("duplicate-id", steps, f"`{selected}` is the name of a fact already")
    for off in reading.site.file.off if reading.site else ():
        if off in reading.shipped:
            _abandon(reading.shipped[off], selections, reading)
    reading.selections = frozenset(selections) | reading.abandoned.keys()


def _declare_broken(
    document: Document, selections: dict[str, tuple[Document, Steps]], reading: _Reading
) -> None:
    """Declare what a broken rule makes, lest every rule that names it is called wrong as well."""
    data = document.data or {}
    if isinstance(data.get("derive"), str) and data["derive"] not in reading.facts:
        _declare_derived(data["derive"], "", _shape(data), reading)
        if isinstance(data.get("parameters"), dict):
            reading.behind[data["derive"]] = dict.fromkeys(data["parameters"], BROKEN)
    for key in _CONDITIONS:
        for steps, selected in _named_selections(data.get(key), (key,)):
            selections.setdefault(selected, (document, steps))


_CONDITIONS = ("when", "count", "categories")
"""The keys of a rule file under which conditions stand."""


class _Shape(Struct, frozen=True):
    """As much of a broken rule file as says what kind of fact it derives."""

    unit: str
    sum: tuple[None, ...]
    count: Any
    categories: tuple[Rank, ...]


def _shape(data: dict[str, Any]) -> _Shape:
    listed = data.get("categories")
    ranks = [r.get("category") for r in listed if isinstance(r, dict)] if listed else []
    return _Shape(
        str(data.get("unit", "")),
        (None,) if "sum" in data else (),
        data.get("count"),
        tuple(Rank(category=str(name)) for name in ranks),
    )


def _declare_derived(fact: str, title: str, of: RuleFile | _Shape, reading: _Reading) -> None:
    """Declare what a rule derives: a number, a category, or whether something is so."""
    kind: Kind = "boolean"
    unknown: Value = None
    ranks = tuple(rank.category for rank in of.categories)
    if of.sum or of.count is not None:
        kind, unknown = "number", UNKNOWN
    elif ranks:
        kind, unknown = "category", Category(ranks, ranks)
    reading.facts[fact] = Declaration(
        name=fact,
        kind=kind,
        title=title,
        unit=of.unit,
        categories=ranks,
        read=lambda _: unknown,
        evidence=no_evidence,
    )


def _declare_contraindication(rule: RuleFile, said: Contraindication, reading: _Reading) -> None:
    """Declare that it holds, and that one of its drugs is ordered or given."""
    fact = _contraindication(rule)
    known = tuple(d for d in said.drugs if _is_drug(d, reading))
    reading.behind[fact] = rule.parameters
    _declare_derived(fact, rule.title, rule, reading)
    for name, title, of_drugs, despite in (
        (fact + ORDERED, f"{rule.title}: in the draft orders", any_ordered, ordered_despite),
        (fact + CURRENT, f"{rule.title}: given now", any_current, current_despite),
    ):
        kind = said.drugs_with
        declared = of_drugs(name, title, known) if kind is None else despite(name, title, kind)
        reading.facts[name] = declared


def _group_contraindications(reading: _Reading) -> None:
    """Group those of whose drugs no card of their own tells: also where that one is not active."""
    active = [r for _, r in reading.documents if r is not None and r.status in reading.taken]
    cards = {rule.id for rule in active if rule.card is not None}
    against = [(r, r.contraindication) for r in active if r.contraindication is not None]
    for group, members in (
        (CONTRAINDICATIONS, [r for r, said in against if said.ordered not in cards]),
        (
            CURRENT_CONTRAINDICATIONS,
            [r for r, said in against if said.given not in cards and said.weight != "caution"],
        ),
        (
            SERIOUS_CONTRAINDICATIONS,
            [r for r, said in against if said.ordered not in cards and said.weight != "caution"],
        ),
    ):
        if members:
            reading.groups[group] = tuple(_contraindication(rule) for rule in members)


def _contraindication(rule: RuleFile) -> str:
    """The fact that a contraindication holds."""
    return CONTRAINDICATION + rule.id.replace("-", "_")


CONTRAINDICATIONS = "contraindications"
"""The group of those contraindications of whose drugs no card of their own tells when ordered."""

SERIOUS_CONTRAINDICATIONS = "serious_contraindications"
"""Those of ``contraindications`` that are more than a caution."""

CURRENT_CONTRAINDICATIONS = "current_contraindications"
"""The group of those, more than a caution, of which no card of their own tells when given."""


def _abandon(rule: RuleFile, selections: Container[str], reading: _Reading) -> None:
    """Note what nothing derives or selects any more, and keep it known until it is checked."""
    if rule.derive is not None and rule.derive not in reading.facts:
        reading.abandoned[rule.derive] = rule.id
        _declare_derived(rule.derive, rule.title, rule, reading)
    for _, selected in _selected(rule):
        if selected not in selections:
            reading.abandoned[selected] = rule.id


def _selected(rule: RuleFile) -> Iterator[tuple[Steps, str]]:
    """The selections that a rule names, and where."""
    yield from _named_selections(rule.when, ("when",))
    yield from _named_selections(rule.count, ("count",))
    for i, rank in enumerate(rule.categories):
        yield from _named_selections(rank.when, ("categories", i, "when"))


def _named_selections(data: Any, steps: Steps) -> Iterator[tuple[Steps, str]]:
    if isinstance(data, dict):
        if isinstance(data.get("as"), str):
            yield (*steps, "as"), data["as"]
        for key, value in data.items():
            yield from _named_selections(value, (*steps, key))
    elif isinstance(data, list):
        for i, value in enumerate(data):
            yield from _named_selections(value, (*steps, i))


def _read_rules(reading: _Reading) -> list[Rule | Derivation]:
    rules: list[Rule | Derivation] = []
    for document, file in reading.documents:
        if file is None or file.status == "retired":
            continue
        scope = Scope(
            reading.facts,
            reading.groups,
            file.parameters,
            reading.behind,
            _read_weight_doses(document, file, reading),
        )
        _check_evidence(document, file, reading)
        if not file.hooks:
            said = "names no hook, so that its card would never be given: leave it out, or name one"
            document.report("wrong-value", ("hooks",), said)
        if not _one_meaning(document, file):
            continue
        if file.derive is not None and file.when is None:
            makes = _read_makes(document, file, scope)
            if makes is not None:
                rules.append(
                    Derivation(
                        file,
                        file.derive,
                        document.place(("id",)),
                        makes,
                        tuple(s for node in nodes_of(makes) for s in selections_of(node)),
                    )
                )
            continue
        condition = parse_condition(document, ("when",), scope)
        card = _read_card(document, file, scope, reading)
        against = _read_contraindication(document, file.contraindication, scope, reading)
        if condition is None or (file.card is not None and card is None):
            continue
        node = compile_node(condition, reading.facts)
        if file.contraindication is not None:
            file = msgspec.structs.replace(file, derive=_contraindication(file))
        rules.append(
            Rule(
                id=file.id,
                file=file,
                place=document.place(("id",)),
                node=node,
                card=card,
                selections=tuple(selections_of(node)),
                against=against,
            )
        )
    return rules


def _read_weight_doses(
    document: Document, file: RuleFile, reading: _Reading
) -> dict[str, ByWeight]:
    """The doses by body weight of a rule, with their numbers; those with problems are left out."""
    found = {}
    for name, dose in file.weight_doses.items():
        steps = ("weight_doses", name)
        if reading.vocabulary.weight is None:
            document.report(
                "unknown-id",
                steps,
                "the vocabulary has no section `weight`, which names the body weight: add it",
            )
            continue
        numbers = {
            key: _parameter(document, (*steps, key), named, file, reading)
            for key, named in (
                ("per_kg", dose.per_kg),
                ("up_to", dose.up_to),
                ("at_most", dose.at_most),
            )
            if named is not None
        }
        made = _by_weight(document, steps, numbers)
        if made is not None:
            named = [each for each in (dose.per_kg, dose.up_to, dose.at_most) if each is not None]
            own = (each.rpartition(".")[2] for each in named)
            by_name = tuple(zip(own, filter(None, numbers.values()), strict=True))
            found[name] = msgspec.structs.replace(made, numbers=by_name)
    return found


def _parameter(
    document: Document, steps: Steps, named: str, file: RuleFile, reading: _Reading
) -> Number | None:
    """A parameter of this rule (``parameters.x``), or of one that derives a fact."""
    fact, name = parameter_of(named) or ("", "")
    parameters = reading.behind.get(fact, {}) if fact else file.parameters
    if name not in parameters:
        document.report(
            "unknown-parameter",
            steps,
            f"`{named}` is not a parameter of this rule"
            f"{did_you_mean(name or named, parameters)}: declare "
            "the number under `parameters`, and write `parameters.<name>` here",
        )
        return None
    return parameters[name]


def _by_weight(
    document: Document, steps: Steps, numbers: Mapping[str, Number | None]
) -> ByWeight | None:
    """A dose by body weight of its numbers, whose units must fit."""
    per_kg, up_to, most = (numbers.get(key) for key in ("per_kg", "up_to", "at_most"))
    if None in numbers.values() or per_kg is None:
        return None
    dose, per, rest = per_kg.unit.partition("/kg")
    unit = dose + rest
    wanted = {"per_kg": per_kg.unit if per and dose else "mg/kg", "up_to": per_kg.unit}
    wrong = False
    for key, number in numbers.items():
        should = wanted.get(key, unit)
        if number is not None and number.unit != should:
            said = f"is in `{number.unit}`" if number.unit else "has no unit"
            document.report(
                "bad-weight-dose",
                (*steps, key),
                f"{said} and should be in `{should}`: convert the number",
            )
            wrong = True
    if wrong:
        return None
    high = per_kg if up_to is None else up_to
    if not 0 < per_kg.value <= high.value or (most is not None and most.value <= 0):
        document.report(
            "bad-weight-dose",
            steps,
            "a dose is above 0, and `up_to` is not below `per_kg`: correct the numbers",
        )
        return None
    return ByWeight(per_kg.value, high.value, most.value if most else None, unit)


def _read_contraindication(
    document: Document, said: Contraindication | None, scope: Scope, reading: _Reading
) -> Text | None:
    if said is None:
        return None
    steps = ("contraindication",)
    if bool(said.drugs) == (said.drugs_with is not None):
        document.report(
            "missing-key" if not said.drugs else "one-meaning",
            steps,
            "either `drugs` or `drugs_with` says which drugs it speaks against, and not both",
        )
    if said.drugs_with is not None:
        of_drug = next(iter(reading.vocabulary.drugs), "")
        declared = reading.facts.get(f"drug.{of_drug}.{said.drugs_with}")
        own = {} if declared is None else {f"{IT}{said.drugs_with}": declared}
        scope = msgspec.structs.replace(scope, facts={**scope.facts, **own})
    for i, drug in enumerate(said.drugs):
        _check_drug(document, (*steps, "drugs", i), drug, reading)
    cards = {rule.id for _, rule in reading.documents if rule is not None and rule.card is not None}
    for key, named in (("ordered", said.ordered), ("given", said.given)):
        if named is not None and named not in cards:
            document.report(
                "unknown-id",
                (*steps, key),
                f"`{named}` is not a rule with a card{did_you_mean(named, cards)}",
            )
    return parse_text(document, (*steps, "text"), said.text, scope, reading.selections)


def _check_drug(document: Document, steps: Steps, drug: str, reading: _Reading) -> None:
    if not _is_drug(drug, reading):
        drugs = [*reading.vocabulary.drugs, *reading.vocabulary.drug_classes]
        document.report(
            "unknown-id",
            steps,
            f"`{drug}` is not declared among the drugs and drug_classes{did_you_mean(drug, drugs)}",
        )


def _is_drug(name: str, reading: _Reading) -> bool:
    """Whether a drug or a class of drugs has this name."""
    return name in reading.vocabulary.drugs or name in reading.vocabulary.drug_classes


_MEANINGS = ("when", "sum", "count", "categories")
"""The keys of a rule file that say what the rule means: one of them, and of a card the first."""


def _one_meaning(document: Document, file: RuleFile) -> bool:
    """File what is wrong where a rule says nothing, or says it in two ways."""
    said = [key for key in _MEANINGS if key in (document.data or {})]
    if not said and file.derive is None:
        document.report("missing-key", (), "`when` is missing: the condition of this rule")
    elif len(said) != 1:
        document.report(
            "one-meaning",
            (said[1],) if said else ("derive",),
            "a derived fact has exactly one of `when` (true or false), `sum` or `count` "
            f"(a number) and `categories`; here {'are ' + ', '.join(said) if said else 'is none'}",
        )
    elif file.derive is None and said != ["when"]:
        document.report(
            "one-meaning", (said[0],), "a rule with a card or a contraindication has `when`"
        )
    elif file.unit and said not in (["sum"], ["count"]):
        document.report("one-meaning", ("unit",), "only a derived number has a unit")
    else:
        return True
    return False


def _read_makes(document: Document, file: RuleFile, scope: Scope) -> Makes | None:
    """Read how a number or a category is derived; ``None``, with problems filed, if it is wrong."""
    if file.sum:
        parts = [_read_term(document, i, term, scope) for i, term in enumerate(file.sum)]
        for i, term in enumerate(file.sum):
            if term.of in [earlier.of for earlier in file.sum[:i]]:
                document.report("duplicate-id", ("sum", i, "of"), f"`{term.of}` is added already")
        whole = tuple(part for part in parts if part is not None)
        return Sum(whole) if len(whole) == len(parts) else None
    if file.count is not None:
        count = parse_count(document, ("count",), scope)
        return None if count is None else HowMany(compile_node(count, scope.facts))
    return _read_ranks(document, file, scope)


def _read_term(document: Document, i: int, term: Term, scope: Scope) -> Part | None:
    steps: Steps = ("sum", i)
    before = len(document.problems)
    declared = scope.facts.get(term.of)
    if declared is None:
        document.report(
            "unknown-fact",
            (*steps, "of"),
            f"`{term.of}` is not a fact that the vocabulary or a rule declares"
            f"{did_you_mean(term.of, scope.facts)}",
        )
    elif declared.kind != "number":
        document.report("wrong-kind", (*steps, "of"), f"`{term.of}` is not a number")
    elif declared.unit != term.unit:
        document.report(
            "wrong-unit",
            (*steps, "unit" if term.unit else "of"),
            f"`{term.of}` is in `{declared.unit}`: give the bands, and `unit`, in that"
            if declared.unit
            else f"`{term.of}` has no unit: leave `unit` out",
        )
    if not term.bands:
        document.report("bad-bands", (*steps, "bands"), "a term has at least one band")
    for j in range(1, len(term.bands)):
        if term.bands[j].above <= term.bands[j - 1].above:
            document.report(
                "bad-bands",
                (*steps, "bands", j, "above"),
                f"bands go upwards: {term.bands[j].above} does not lie above "
                f"{term.bands[j - 1].above}; put them in order",
            )
    if len(document.problems) > before:
        return None
    return Part(term.of, term.unit, term.bands, term, document.place(steps))


def _read_ranks(document: Document, file: RuleFile, scope: Scope) -> Ranks | None:
    before = len(document.problems)
    names = [rank.category for rank in file.categories]
    for i, name in enumerate(names):
        if name in names[:i]:
            document.report(
                "duplicate-id",
                ("categories", i, "category"),
                f"`{name}` stands above already: rename one",
            )
    for i, rank in enumerate(file.categories):
        last = i == len(names) - 1
        if last is not (rank.when is None):
            document.report(
                "bad-categories",
                ("categories", i),
                f"`{rank.category}` is the last, which is had by all others: take out its `when`"
                if last
                else f"`{rank.category}` has no `when`, and is not the last: say when it is had",
            )
    if len(names) == 1:
        document.report(
            "bad-categories", ("categories",), "one category alone says nothing: add one"
        )
    if len(document.problems) > before:
        return None
    ranks: list[tuple[str, Node | None]] = []
    for i, rank in enumerate(file.categories):
        if rank.when is None:
            ranks.append((rank.category, None))
            continue
        condition = parse_condition(document, ("categories", i, "when"), scope)
        if condition is not None:
            ranks.append((rank.category, compile_node(condition, scope.facts)))
    return Ranks(tuple(ranks)) if len(ranks) == len(names) else None


def _check_evidence(document: Document, file: RuleFile, reading: _Reading) -> None:
    if not file.evidence:
        document.report("no-evidence", ("evidence",), "a rule must name what it rests on")
    cited: list[tuple[Steps, str]] = [
        (("evidence", i, "source"), e.source) for i, e in enumerate(file.evidence)
    ]
    cited += [
        (("parameters", name, "source"), p.source)
        for name, p in file.parameters.items()
        if p.source and not isinstance(p, SiteNumber)  # those are checked where the site sets them
    ]
    cited += [(("sum", i, "source"), t.source) for i, t in enumerate(file.sum) if t.source]
    for i, item in enumerate(file.evidence):
        if item.when is not None and file.card is None:
            document.report(
                "unknown-key",
                ("evidence", i, "when"),
                "only a card cites some of its evidence and not other: remove `when`",
            )
    if file.card:
        cited += [
            (("card", "options", i, "source"), o.source) for i, o in enumerate(file.card.options)
        ]
    for steps, source in cited:
        _check_source(document, steps, source, reading)


def _check_source(document: Document, steps: Steps, source: str, reading: _Reading) -> None:
    if reading.broken_sources is None or source in reading.broken_sources:
        return  # told once, where it is declared
    if source not in reading.sources:
        document.report(
            "unknown-source",
            steps,
            f"`{source}` is not in sources.yaml{did_you_mean(source, reading.sources)}",
        )
    elif reading.sources[source].retired:
        document.report("retired-source", steps, f"`{source}` is retired: cite another")


def _read_card(
    document: Document, file: RuleFile, scope: Scope, reading: _Reading
) -> CardTemplate | None:
    card = file.card
    if card is None:
        return None
    before = len(document.problems)

    def text(steps: Steps, said: str) -> Text:
        return parse_text(document, ("card", *steps), said, scope, reading.selections)

    def shown(steps: Steps, when: Any) -> Node | None:
        return _read_shown(document, ("card", *steps, "when"), when, scope)

    passages = []
    for i, item in enumerate(card.text):
        if isinstance(item, str):
            passages.append(Passage(text(("text", i), item), None))
        else:
            when = shown(("text", i), item.when)
            passages.append(Passage(text(("text", i, "text"), item.text), when))
    options = tuple(
        Option(
            text(("options", i, "option"), o.option),
            text(("options", i, "evidence"), o.evidence),
            o.source,
            shown(("options", i), o.when),
            o.drug,
            o.status,
        )
        for i, o in enumerate(card.options)
    )
    for i, o in enumerate(card.options):
        if o.drug is not None:
            _check_drug(document, ("card", "options", i, "drug"), o.drug, reading)
    suggestions = []
    for i, name in enumerate(card.suggestions):
        if name not in reading.suggestions:
            document.report(
                "unknown-id",
                ("card", "suggestions", i),
                f"`{name}` is not in suggestions.yaml{did_you_mean(name, reading.suggestions)}",
            )
        else:
            suggestions.append(_read_suggestion(name, reading))
    for i, reason in enumerate(card.override_reasons):
        if reason not in reading.override_reasons:
            document.report(
                "unknown-id",
                ("card", "override_reasons", i),
                f"`{reason}` is not in override-reasons.yaml"
                f"{did_you_mean(reason, reading.override_reasons)}",
            )
    quiet_days = _read_quiet(document, card.quiet_after_override, scope)
    # Of broken rules too, lest every card that shows their sum is called wrong as well.
    read = [each.data for each, _ in reading.documents if isinstance(each.data, dict)]
    sums = [str(data.get("derive")) for data in read if "sum" in data]
    courses = [f"drug.{name}" for name in reading.vocabulary.drug_classes]
    tables = {
        "measures",
        "treatments",
        *courses,
        *sums,
        *reading.selections,
        *_results(reading),
    }
    for i, shown_table in enumerate(card.show):
        if shown_table not in tables:
            document.report(
                "unknown-id",
                ("card", "show", i),
                f"`{shown_table}` is no table: write `measures`, `treatments`, a class of drugs as "
                "`drug.x`, a derived sum, a selection of measures, or an observation or a group of "
                "them"
                f"{did_you_mean(shown_table, tables)}",
            )
    template = CardTemplate(
        problem=card.problem,
        indicator=card.indicator,
        priority=card.priority,
        summary=text(("summary",), card.summary),
        lead=text(("lead",), card.lead),
        passages=tuple(passages),
        cited=tuple(
            _read_shown(document, ("evidence", i, "when"), item.when, scope)
            for i, item in enumerate(file.evidence)
        ),
        options=options,
        show=card.show,
        suggestions=tuple(suggestions),
        override_reasons=card.override_reasons,
        quiet_days=quiet_days,
    )
    return template if len(document.problems) == before else None


def _results(reading: _Reading) -> Iterator[str]:
    """The observations whose course a card may show, and the groups of them."""
    names = {f"observation.{name}" for name in reading.vocabulary.observations}
    yield from names
    for group, members in reading.vocabulary.groups.items():
        if names.issuperset(members):
            yield group


def _read_quiet(document: Document, named: str | None, scope: Scope) -> Decimal | None:
    """The days that a card stays away after a lasting override, by the parameter that has them."""
    if named is None:
        return None
    steps = ("card", "quiet_after_override")
    name = named.removeprefix("parameters.")
    number = scope.parameters.get(name)
    if number is None or name == named:
        hint = did_you_mean(name, scope.parameters)
        document.report(
            "unknown-parameter",
            steps,
            f"`{named}` is not a parameter of this rule{hint}: declare the days under "
            "`parameters`, and write `parameters.<name>` here",
        )
    elif number.unit != "d":
        document.report(
            "wrong-unit",
            ("parameters", name),
            f"has {f'the unit `{number.unit}`' if number.unit else 'no unit'}, but how long a card "
            "stays away is in days: write a number of days, with the unit `d`",
        )
    elif not 0 < number.value <= LONGEST_QUIET:
        document.report(
            "bad-number",
            ("parameters", name),
            f"is {number.value} d, but a card stays away for at most {LONGEST_QUIET} days, and "
            "more than none: leave `quiet_after_override` out for a card that never does",
        )
    else:
        return number.value
    return None


def _read_shown(document: Document, steps: Steps, when: Any, scope: Scope) -> Node | None:
    if when is None:
        return None
    condition = parse_condition(document, steps, scope)
    return None if condition is None else compile_node(condition, scope.facts)


def _read_suggestion(name: str, reading: _Reading) -> Suggestion:
    document, file = reading.suggestions[name]
    if reading.site is not None:
        file = change_suggestion(reading.site, name, file)
    scope = Scope(reading.facts, reading.groups, file.parameters, reading.behind)
    for key, number in file.parameters.items():
        if number.source and not isinstance(number, SiteNumber):
            _check_source(document, (name, "parameters", key, "source"), number.source, reading)
    strings: dict[Steps, Text] = {}

    def collect(value: Any, steps: Steps) -> None:
        if isinstance(value, str):
            if "{" in value:
                strings[steps] = parse_text(
                    document, (name, "resource", *steps), value, scope, reading.selections
                )
        elif isinstance(value, dict):
            for key, inner in value.items():
                collect(inner, (*steps, key))
        elif isinstance(value, list):
            for i, inner in enumerate(value):
                collect(inner, (*steps, i))

    collect(file.resource, ())
    return Suggestion(
        id=name,
        place=document.place((name,)),
        label=parse_text(document, (name, "label"), file.label, scope, reading.selections),
        description=parse_text(
            document, (name, "description"), file.description, scope, reading.selections
        ),
        resource=file.resource,
        strings=strings,
        parameters=file.parameters,
        when=_read_shown(document, (name, "when"), file.when, scope),
    )


# --- the site's changes --------------------------------------------------------------------------


def _check_site(site: Site, rules: list[Rule | Derivation], reading: _Reading) -> None:
    """File what is wrong with a site's changes, now that everything is known which they name."""
    suggestions = {
        name: suggestion
        for name, (document, suggestion) in reading.suggestions.items()
        if document.file in SHARED
    }
    read = {rule.id for _, rule in reading.documents if rule is not None}
    check_changes(
        site,
        reading.shipped,
        suggestions,
        frozenset(read | reading.suggestions.keys()) - reading.shipped.keys() - suggestions.keys(),
        lambda steps, source: _check_source(site.document, steps, source, reading),
    )
    for rule in rules:
        for name in dict.fromkeys(_names_in(rule)):
            off = reading.abandoned.get(name)
            if off is not None:
                site.document.report(
                    "rule-needed",
                    ("off", off),
                    f"`{off}` cannot be switched off: `{rule.id}` needs its `{name}`. "
                    f"Switch that off too, or let a rule of this site derive it",
                )
    for name in reading.abandoned:
        reading.facts.pop(name, None)
    _warn_of_texts(site, rules)


def _names_in(rule: Rule | Derivation) -> Iterator[str]:
    """The facts and selections that a rule names, in its conditions and in its texts."""
    yield from asked(rule)
    if isinstance(rule, Derivation):
        return
    yield from facts_of_card(rule)
    for text in _texts_of(rule):
        for part in text:
            if not isinstance(part, str):
                named = parameter_of(part.name)
                yield part.name if named is None or not named[0] else named[0]


def _texts_of(rule: Rule) -> Iterator[Text]:
    card = rule.card
    if rule.against is not None:
        yield rule.against
    if card is None:
        return
    yield from (card.summary, card.lead)
    yield from (passage.text for passage in card.passages)
    for option in card.options:
        yield from (option.option, option.evidence)
    for suggestion in card.suggestions:
        yield from (suggestion.label, suggestion.description, *suggestion.strings.values())


def _warn_of_texts(site: Site, every: list[Rule | Derivation]) -> None:
    """Warn of cards whose texts have a number written out that the site has changed."""
    rules = [rule for rule in every if isinstance(rule, Rule)]
    rests = Behind(
        {r.file.derive: r for r in rules if r.file.derive is not None},
        {d.fact: d for d in every if isinstance(d, Derivation)},
    )
    for rule in rules:
        said = " ".join(part for text in _texts_of(rule) for part in text if isinstance(part, str))
        for name, number in chosen_of(rule, rests):
            if said_in_texts(number, said):
                site.document.report(
                    "number-in-text",
                    ("parameters", number.of, name),
                    f"the card of `{rule.id}` has the shipped number "
                    f"({number.shipped.value} {number.unit}) written in its text: "
                    "switch it off, and add one of your own that says yours",
                    "warning",
                )
