"""The vocabulary: what the service can know of a patient, as declared in ``rules/vocabulary/``.

Each file there has one or more of the sections named in ``Vocabulary``; an entry may stand in any
file. What an entry means is said at its structure here, and only there: the checker, the chart and
the prefetch templates all read these structures. No code, unit, range or drug is known to Python.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Literal, get_args, get_type_hints

import msgspec
from msgspec import Struct

from cds.chart.code_forms import Form, fault_of
from cds.located import (
    Document,
    Place,
    Problem,
    Steps,
    did_you_mean,
    read_document,
    read_struct,
    read_value,
)

Certainty = Literal["verified", "one source", "unverified"]
"""How well a number is known: read in a primary source, in one secondary source, or recalled."""

Codes = dict[str, dict[str, str]]
"""Code system (a name of ``systems``) to code to display."""


class Entry(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What every entry has: a ``title``, how it is called on a card."""

    title: str


class CodedEntry(Entry, frozen=True, kw_only=True):
    """An entry that ``codes`` select, by code system, then code, each with its display.

    Codes that are ``unverified`` count as well, and say so on the evidence.

    ``notes`` (code to text) are shown wherever that code was what matched.
    """

    codes: Codes = {}
    unverified: Codes = {}
    notes: dict[str, str] = {}


class Number(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A clinical number: its ``value`` in a ``unit``, as a condition gives it (%, d, a, mg).

    ``source`` is the id of a publication, ``certainty`` says whether it was read there, and
    ``note``, which cards show, what else must be known.
    """

    value: Decimal
    unit: str = ""
    source: str | None = None
    certainty: Certainty = "verified"
    note: str | None = None


class Fall(Number, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How far back the highest value before the latest is looked for, to say how much it fell.

    Of each there are two facts: how much it fell, and with ``_from`` that highest value.

    Of a fall ``after`` a drug or class, only values from the day of its last use on count; of one
    ``during`` treatment only those since the earliest current course of these began, or at most the
    window of an assessment before that.
    """

    after: str | None = None
    during: tuple[str, ...] = ()


class Bounds(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The least and greatest value that an instrument can give, in its unit; either may be open.

    ``source``, ``certainty`` and ``note`` are those of a number.
    """

    low: Decimal | None = None
    high: Decimal | None = None
    source: str | None = None
    certainty: Certainty = "verified"
    note: str | None = None


class Statement(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What decides and is no number: what it ``says``, with the source and certainty of a number.

    What is not verified is told on the cards that show a measure of which it is said, where several
    instruments of it are recorded.
    """

    says: str
    source: str | None = None
    certainty: Certainty = "verified"


class System(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A code system: its canonical URL and other spellings met in practice.

    ``form`` says how its codes are made, so that a mistyped one is found.
    """

    url: str
    aliases: tuple[str, ...] = ()
    form: Form | None = None


class UnitTable(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The unit in which values are held, and the factor to it from every accepted spelling.

    ``may_be_absent`` accepts a bare number, for scores that have no unit.
    """

    unit: str
    spellings: dict[str, Decimal]
    may_be_absent: bool = False


class ObservationEntry(CodedEntry, frozen=True, kw_only=True):
    """A numeric Observation: an instrument or a laboratory value.

    ``units`` names a unit table. A value outside ``range`` is excluded. ``upper_limit`` is used,
    and labelled as such, where an Observation brings no reference range.
    ``adult_range_in_upper_limits`` gives the range of an enzyme in adults as a multiple of its
    upper limit, which the response criteria need. ``juvenile_range_in_upper_limits`` gives it in
    children, and counts only where it names its source. ``falls`` names facts of its fall, each
    with how far back the highest value before the latest is looked for. A value older than
    ``counts_for`` (days) is not taken for the current one, which is unknown then. ``method_of``
    names the Observation of the same by a method that is left open: a code of that beside one of
    this means this, and both are one enzyme.
    """

    units: str
    worse: Literal["higher", "lower"] = "higher"
    range: Bounds | None = None
    upper_limit: Number | None = None
    adult_range_in_upper_limits: Number | None = None
    juvenile_range_in_upper_limits: Number | None = None
    falls: dict[str, Fall] = {}
    counts_for: Number | None = None
    method_of: str = ""


class MeasureLevel(Entry, frozen=True, kw_only=True):
    """A level of a measure that a patient may be held at over time, such as no activity.

    A value is at the level that is ``no_worse_than`` the number given for its instrument, in the
    unit of that, or no more than so many times its own ``upper_limits`` of normal, which goes for
    all instruments that no number is given for, but for those of children. Other instruments do
    not count.
    """

    no_worse_than: dict[str, Number] = {}
    upper_limits: Number | None = None


class MeasureEntry(CodedEntry, frozen=True, kw_only=True):
    """A core set measure and the instruments (Observation entries) it is taken from, in order.

    ``choose`` says which counts where several were used: the first in the list that both visits
    have, or the one with the highest multiple of its upper limit at baseline. ``codes`` of the
    measure itself name no instrument: then the maximum of the scale must be in the Observation.
    A measure that is not of the ``core_set`` is shown beside it and never counted. ``for_children``
    are those instruments that stand in for the others in a child only, where no other has a value
    at both visits. ``makes_visit`` is false of what may be taken between visits, such as laboratory
    values and what patients tell from home: it makes an assessment only where nothing else does.
    ``levels`` name the levels of which rules ask for how long they have been held, and
    ``worsenings`` the days, up to now, of which rules ask how much worse than its best it is.
    An Observation whose code nothing maps and whose text has one of the ``names`` as whole words is
    listed on the card as left out, and never counted. ``statements`` say how its value is chosen.
    """

    instruments: tuple[str, ...]
    names: tuple[str, ...] = ()
    for_children: tuple[str, ...] = ()
    core_set: bool = True
    makes_visit: bool = True
    choose: Literal["first", "highest multiple of upper limit"] = "first"
    maximum: Codes = {}
    levels: dict[str, MeasureLevel] = {}
    worsenings: dict[str, Number] = {}
    statements: dict[str, Statement] = {}


class Unrecorded(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """In whom a finding that nobody recorded is unknown, and not false.

    It is false only in a patient of the administrative gender ``false_in``, in one who is surely
    younger than ``from_age`` or surely older than ``to_age`` (years).
    """

    false_in: Literal["male", "female"] | None = None
    from_age: Number
    to_age: Number


class ConditionEntry(CodedEntry, frozen=True, kw_only=True):
    """A diagnosis or finding that Conditions assert.

    ``names`` match where the whole text of a Condition without a known code is that name, with or
    without hyphens, commas and brackets, and with nothing around it but the ``qualifiers`` of the
    vocabulary, which leave its meaning as it is ("right lower lobe", "severe"), and its ``doubts``,
    which leave open whether it is so: it is unknown then, and not false.
    ``any_of`` makes it a group. ``implies`` names findings that it asserts as well. A Condition
    asserts this one too where its text says one of the ``phrases`` and no negation with it; with
    ``said_of`` only one of that other entry does. With a doubt it leaves it open. Where a text
    doubts what a code asserts, it counts as provisional.
    ``in_doubt`` names the finding that a text in doubt asserts in its place.
    ``left_open_by`` are codes, of other entries too, of which this one is unknown, and not false.
    A code may leave open one entry only.
    ``families`` are categories of a classification (C50): a code within one (C50.919) that no entry
    has for itself asserts this entry, and the evidence says that its code was not verified.
    ``in_place_of`` names findings that a Condition asserting this one does not assert as well,
    whatever its other codes are: of two that it says, this is what is meant.
    ``perhaps`` names entries of the same section that it leaves open: they are unknown, not false.
    ``past`` names the finding that a Condition of this entry asserts once it is over. One that
    began, or was recorded, more than ``counts_for`` (days) ago may be over: it is unknown then.
    ``denied_by`` names findings that say that it is not so: one that is later than all that asserts
    it makes it unknown. ``unrecorded`` says in whom it is unknown where nobody recorded it.
    """

    names: tuple[str, ...] = ()
    families: Codes = {}
    any_of: tuple[str, ...] = ()
    implies: tuple[str, ...] = ()
    in_place_of: tuple[str, ...] = ()
    said_of: str | None = None
    phrases: tuple[str, ...] = ()
    perhaps: tuple[str, ...] = ()
    left_open_by: Codes = {}
    past: str | None = None
    in_doubt: str | None = None
    counts_for: Number | None = None
    denied_by: tuple[str, ...] = ()
    unrecorded: Unrecorded | None = None


class AntibodyEntry(CodedEntry, frozen=True, kw_only=True):
    """What is found or not found: an autoantibody, or what tells of an infection."""


class StatusEntry(CodedEntry, frozen=True, kw_only=True):
    """An Observation whose answer may be a finding, such as a smoking status.

    The latest one counts: it asserts those of the findings in ``asserts`` whose code or name its
    answer is, and otherwise nothing.
    """

    asserts: tuple[str, ...]


class ResultWords(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a positive or a negative result is written: codings, interpretations, whole texts."""

    codes: Codes = {}
    words: tuple[str, ...] = ()


class LaboratoryWords(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a laboratory says that a result is ``high``, and for patients of which sex a range is.

    ``sexes`` are by the administrative gender, as FHIR has it.
    """

    high: ResultWords
    sexes: dict[str, ResultWords]


class DrugEntry(CodedEntry, frozen=True, kw_only=True):
    """A substance. ``names`` match as whole words where no code does.

    ``covers`` is how long one administration counts as current treatment.
    """

    names: tuple[str, ...]
    covers: Number | None = None


class RouteEntry(CodedEntry, frozen=True, kw_only=True):
    """A way in; ``names`` match as whole words in the text of a route or a product."""

    systemic: bool
    names: tuple[str, ...] = ()


class DrugClassEntry(Entry, frozen=True, kw_only=True):
    """Drugs that count together; systemic treatment only, unless ``routes`` says which.

    ``daily_dose_at_least`` asks for that dose on one day; ``single`` makes each order an event of
    the day it begins, however long it stays active: one that was held or stopped is unknown where
    no administration tells of it, and so is any of whose first day one says that nothing was given.
    ``line`` says that a start opens a treatment line, to whose start the baseline belongs: a start
    of the class as one, or of each drug in it.
    """

    any_of: tuple[str, ...]
    routes: tuple[str, ...] = ()
    daily_dose_at_least: Number | None = None
    single: bool = False
    line: Literal["class", "each drug"] | None = None


class AllergenEntry(CodedEntry, frozen=True, kw_only=True):
    """What an allergy is recorded to and that is no one drug: it stands for all of its ``drugs``.

    These are drugs and classes of drugs. ``names`` match as whole words where no code does. What is
    recorded to one of the drugs that it ``includes`` is recorded to this as well. What is
    ``only_severe`` stands for its drugs only where a further exposure may be dangerous.
    """

    drugs: tuple[str, ...]
    includes: tuple[str, ...] = ()
    only_severe: bool = False
    names: tuple[str, ...] = ()


class SevereReactionEntry(CodedEntry, frozen=True, kw_only=True):
    """A manifestation that makes of an intolerance an allergy, by code or by these ``names``.

    The names match as whole words.
    """

    names: tuple[str, ...] = ()


class AllergyStatementEntry(CodedEntry, frozen=True, kw_only=True):
    """What a record of an allergy may say in place of a substance, by code or in these ``names``.

    It ``says`` that there are none to drugs, or that it is not known whether there are any.
    """

    says: Literal["none", "not known"]
    names: tuple[str, ...] = ()


class DoseLevel(Entry, frozen=True, kw_only=True):
    """A daily dose whose duration counts: at least ``dose``, or with ``exceeded`` more than it."""

    dose: Number
    exceeded: bool = False


class Depots(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Injections of these ``drugs`` by these ``routes``, which ``last`` for so many days.

    For so long after one a daily dose is not known: no equal dose holds for them.
    """

    drugs: tuple[str, ...]
    routes: tuple[str, ...]
    last: Number


class DoseEntry(Entry, frozen=True, kw_only=True):
    """The daily dose of drugs that are counted together, by these ``routes``.

    ``equal`` has a dose of each drug (mg), all of which have one effect; doses are expressed in the
    drug that ``expressed_in`` names. ``levels`` name the doses whose duration rules ask for. Orders
    no further apart than ``gap`` (days) follow each other. What is of the class of drugs
    ``without`` is no daily dose; what may be of it counts as possible. ``depots`` leave the dose
    open.
    """

    expressed_in: str
    equal: dict[str, Number]
    routes: tuple[str, ...]
    gap: Number
    levels: dict[str, DoseLevel] = {}
    without: str | None = None
    depots: Depots | None = None


class AssessmentNumbers(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which Observations make an assessment and which two are compared (days).

    What was found at two assessments no further apart than ``held_gap`` is taken to have been so
    between them: the ``levels`` of measures need it. An order that begins within ``ordered_ahead``
    leaves open whether its drug is given; one that begins later does not count. ``statements`` say
    how the two are chosen.
    From which age the adult criteria apply is the parameter ``adult_from`` of the rule that derives
    ``patient.adult``; without one that is not known.
    """

    window: Number
    grace: Number
    look_back: Number
    least_interval: Number
    course_gap: Number
    held_gap: Number | None = None
    ordered_ahead: Number | None = None
    statements: dict[str, Statement] = {}


class WeightNumbers(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The body weight that doses are worked out with: which ``observation`` has it, in kg.

    It counts for so many days in an adult (``adult_within``), and in a child, or where the age is
    not known, for so many (``child_within``).
    """

    observation: str
    adult_within: Number
    child_within: Number


class Elapsed(Entry, frozen=True, kw_only=True):
    """The days from one thing to another, below 0 where the second came first.

    Each is a fact that says how long ago something was: an event (``drug.x``, ``observation.x``,
    ``assessment.current``), or a number of days (``drug.x.days``, ``finding.x.days_latest``). Of
    several facts ``since`` the earliest counts.
    """

    since: tuple[str, ...]
    until: str


class PrefetchEntry(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One prefetch key: the query, the resource type, and whose codes fill ``{codes}``.

    Without an ``optional`` one a call is answered all the same: what it would hold is unknown then.
    """

    resource: str
    query: str
    optional: bool = False
    codes_of: tuple[Literal["observations", "measures", "antibodies", "statuses"], ...] = ()


class Vocabulary(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All sections, by the ids of their entries."""

    systems: dict[str, System] = {}
    units: dict[str, UnitTable] = {}
    observations: dict[str, ObservationEntry] = {}
    measures: dict[str, MeasureEntry] = {}
    diagnoses: dict[str, ConditionEntry] = {}
    findings: dict[str, ConditionEntry] = {}
    antibodies: dict[str, AntibodyEntry] = {}
    statuses: dict[str, StatusEntry] = {}
    results: dict[str, ResultWords] = {}
    drugs: dict[str, DrugEntry] = {}
    routes: dict[str, RouteEntry] = {}
    drug_classes: dict[str, DrugClassEntry] = {}
    doses: dict[str, DoseEntry] = {}
    allergens: dict[str, AllergenEntry] = {}
    severe_reactions: dict[str, SevereReactionEntry] = {}
    allergy_statements: dict[str, AllergyStatementEntry] = {}
    elapsed: dict[str, Elapsed] = {}
    groups: dict[str, tuple[str, ...]] = {}
    assessments: AssessmentNumbers | None = None
    weight: WeightNumbers | None = None
    laboratory: LaboratoryWords | None = None
    prefetch: dict[str, PrefetchEntry] = {}
    negations: tuple[str, ...] = ()
    negations_after: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()
    doubts_after: tuple[str, ...] = ()
    qualifiers: tuple[str, ...] = ()
    qualifier_links: tuple[str, ...] = ()
    joining: tuple[str, ...] = ()
    circumstances: tuple[str, ...] = ()
    allergy_negations: tuple[str, ...] = ()
    allergy_negations_after: tuple[str, ...] = ()
    failures: tuple[str, ...] = ()
    biologicals: tuple[str, ...] = ()

    def system_url(self, name: str) -> str:
        """The canonical URL of a code system by its name."""
        return self.systems[name].url


_ID = re.compile(r"[a-z][a-z0-9_]*")
_SECTIONS: dict[str, object] = get_type_hints(Vocabulary)
_SINGLE: dict[str, object] = {
    "assessments": AssessmentNumbers,
    "weight": WeightNumbers,
    "laboratory": LaboratoryWords,
    "negations": tuple[str, ...],
    "negations_after": tuple[str, ...],
    "doubts": tuple[str, ...],
    "doubts_after": tuple[str, ...],
    "qualifiers": tuple[str, ...],
    "qualifier_links": tuple[str, ...],
    "joining": tuple[str, ...],
    "circumstances": tuple[str, ...],
    "allergy_negations": tuple[str, ...],
    "allergy_negations_after": tuple[str, ...],
    "failures": tuple[str, ...],
    "biologicals": tuple[str, ...],
}


def read_vocabulary(
    folder: Path,
    problems: list[Problem],
    own: Path | None = None,
    change: Callable[[Vocabulary], Vocabulary] = lambda vocabulary: vocabulary,
) -> Vocabulary:
    """Read every YAML file of a folder into one vocabulary; what is wrong is added to ``problems``.

    Entries with problems are left out, so that the rest can still be checked. ``own`` is a site's
    folder of further entries, and ``change`` what it changes in the whole before that is checked.
    """
    sections: dict[str, dict[str, object]] = {}
    single: dict[str, object] = {}
    places: dict[tuple[str, str], tuple[Document, tuple[str, str]]] = {}
    files = [(path, f"{folder.name}/{path.name}") for path in sorted(folder.glob("*.yaml"))]
    files += [(path, str(path)) for path in sorted(own.glob("*.yaml"))] if own else []
    for path, name in files:
        document = read_document(path, name)
        if isinstance(document.data, dict):
            _read_sections(document, sections, single, places)
        elif not document.problems:
            document.report("wrong-type", (), "should be a mapping of sections")
        problems.extend(document.problems)
    vocabulary = msgspec.convert({}, Vocabulary)
    vocabulary = msgspec.structs.replace(vocabulary, **sections, **single)
    documents: dict[str, Document] = {d.file: d for d, _ in places.values()}
    for document in documents.values():
        document.problems.clear()
    _check_systems_apart(vocabulary, places)
    _check_forms(vocabulary, places)
    vocabulary = change(vocabulary)
    _check_references(vocabulary, places)
    _check_codes(vocabulary, places)
    _check_ranges(vocabulary, places)
    _check_levels(vocabulary, places)
    _check_doses(vocabulary, places)
    _check_weight(vocabulary, places)
    _check_spans(vocabulary, places)
    for document in documents.values():
        problems.extend(document.problems)
    return vocabulary


Places = Mapping[tuple[str, str], tuple[Document, tuple[str, str]]]


def _read_sections(
    document: Document,
    sections: dict[str, dict[str, object]],
    single: dict[str, object],
    places: dict[tuple[str, str], tuple[Document, tuple[str, str]]],
) -> None:
    for section, entries in document.data.items():
        if section not in _SECTIONS:
            document.report(
                "unknown-key",
                (section,),
                f"`{section}` is not a section of the vocabulary{did_you_mean(section, _SECTIONS)}",
            )
        elif section in single:
            document.report("duplicate-id", (section,), f"`{section}` stands in another file too")
        elif section in _SINGLE:
            value = read_value(document, (section,), _SINGLE[section])
            if value is not None:
                single[section] = value
                places[section, ""] = (document, (section, ""))
        elif not isinstance(entries, dict):
            document.report("wrong-type", (section,), "should be a mapping from id to entry")
        else:
            kind = get_args(_SECTIONS[section])[1]
            for name in entries:
                _read_entry(document, section, name, kind, sections, places)


def _read_entry(
    document: Document,
    section: str,
    name: str,
    kind: type[Struct],
    sections: dict[str, dict[str, object]],
    places: dict[tuple[str, str], tuple[Document, tuple[str, str]]],
) -> None:
    steps = (section, name)
    if not _ID.fullmatch(name):
        document.report("bad-id", steps, f"`{name}` is not an id: use small letters, digits and _")
        return
    earlier = places.get(steps)
    if earlier is not None:
        where = earlier[0].place(earlier[1])
        document.report("duplicate-id", steps, f"`{name}` is declared already at {where}")
        return
    places[steps] = (document, steps)
    entry: object
    if isinstance(kind, type):
        entry = read_struct(document, steps, kind)
    else:
        entry = read_value(document, steps, kind)
    if entry is not None:
        sections.setdefault(section, {})[name] = entry


def _check_references(vocabulary: Vocabulary, places: Places) -> None:
    """Every id that an entry names must be declared."""

    def known(section: str, name: str, ids: tuple[str, ...], key: str, among: str) -> None:
        declared: Mapping[str, object] = getattr(vocabulary, among)
        document, steps = places[section, name]
        for id_ in ids:
            if id_ not in declared:
                document.report(
                    "unknown-id",
                    (*steps, key),
                    f"`{id_}` is not declared among the {among}{did_you_mean(id_, declared)}",
                )

    for name, observation in vocabulary.observations.items():
        known("observations", name, (observation.units,), "units", "units")
        if observation.method_of:
            known("observations", name, (observation.method_of,), "method_of", "observations")
        for fall in observation.falls.values():
            for drug in filter(None, (fall.after, *fall.during)):
                if drug not in vocabulary.drugs:
                    known("observations", name, (drug,), "falls", "drug_classes")
    for name, measure in vocabulary.measures.items():
        known("measures", name, measure.instruments, "instruments", "observations")
        for i, id_ in enumerate(measure.for_children):
            if id_ not in measure.instruments:
                document, steps = places["measures", name]
                document.report(
                    "unknown-id",
                    (*steps, "for_children", i),
                    f"`{id_}` is not among the `instruments` of this measure"
                    f"{did_you_mean(id_, measure.instruments)}",
                )
    for section in ("diagnoses", "findings"):
        entries: dict[str, ConditionEntry] = getattr(vocabulary, section)
        for name, entry in entries.items():
            known(section, name, entry.any_of, "any_of", section)
            known(section, name, entry.implies, "implies", "findings")
            known(section, name, entry.in_place_of, "in_place_of", "findings")
            known(section, name, entry.perhaps, "perhaps", section)
            known(section, name, entry.denied_by, "denied_by", "findings")
            if entry.said_of:
                known(section, name, (entry.said_of,), "said_of", "findings")
            if entry.past:
                known(section, name, (entry.past,), "past", "findings")
            if entry.in_doubt:
                known(section, name, (entry.in_doubt,), "in_doubt", "findings")
    for name, status in vocabulary.statuses.items():
        known("statuses", name, status.asserts, "asserts", "findings")
    for i, drug in enumerate(vocabulary.biologicals):
        if drug not in vocabulary.drugs:
            places["biologicals", ""][0].report(
                "unknown-id",
                ("biologicals", i),
                f"`{drug}` is not declared among the drugs{did_you_mean(drug, vocabulary.drugs)}",
            )
    for name, drug_class in vocabulary.drug_classes.items():
        known("drug_classes", name, drug_class.any_of, "any_of", "drugs")
        known("drug_classes", name, drug_class.routes, "routes", "routes")
    for name, allergen in vocabulary.allergens.items():
        for drug in allergen.drugs:
            if drug not in vocabulary.drugs:
                known("allergens", name, (drug,), "drugs", "drug_classes")
        known("allergens", name, allergen.includes, "includes", "drugs")
    for name, dose in vocabulary.doses.items():
        known("doses", name, tuple(dose.equal), "equal", "drugs")
        known("doses", name, dose.routes, "routes", "routes")
        if dose.without is not None:
            known("doses", name, (dose.without,), "without", "drug_classes")
        if dose.depots is not None:
            known("doses", name, dose.depots.drugs, "depots", "drugs")
            known("doses", name, dose.depots.routes, "depots", "routes")


def coded_entries(vocabulary: Vocabulary) -> Iterator[tuple[str, str, CodedEntry]]:
    """Every entry that codes select: (section, id, entry)."""
    for section in (
        "observations",
        "measures",
        "diagnoses",
        "findings",
        "antibodies",
        "statuses",
        "drugs",
        "routes",
        "allergens",
        "severe_reactions",
        "allergy_statements",
    ):
        entries: dict[str, CodedEntry] = getattr(vocabulary, section)
        for name, entry in entries.items():
            yield section, name, entry


def numbers_of(vocabulary: Vocabulary) -> Iterator[tuple[Steps, Steps, Number | Bounds]]:
    """Every number and range: the way to its entry, the way within that, and what stands there."""
    for section in vocabulary.__struct_fields__:
        content = getattr(vocabulary, section)
        entries = content if isinstance(content, Mapping) else {}
        owners = {(section,): content} | {(section, name): each for name, each in entries.items()}
        for steps, entry in owners.items():
            if isinstance(entry, Struct):
                for within, number in _numbers_within(entry):
                    yield steps, within, number


def statements_of(vocabulary: Vocabulary) -> Iterator[tuple[Steps, Steps, Statement]]:
    """Every statement on measures and assessments, with the ways that ``numbers_of`` gives."""
    owners: list[tuple[Steps, AssessmentNumbers | MeasureEntry]] = [
        (("measures", name), entry) for name, entry in vocabulary.measures.items()
    ]
    if vocabulary.assessments is not None:
        owners.insert(0, (("assessments",), vocabulary.assessments))
    for steps, entry in owners:
        for name, statement in entry.statements.items():
            yield steps, ("statements", name), statement


def _numbers_within(value: object) -> Iterator[tuple[Steps, Number | Bounds]]:
    """The numbers of an entry, those within its own fields included: the dose of a level."""
    if isinstance(value, Number | Bounds):
        yield (), value
    elif isinstance(value, Struct):
        for field in value.__struct_fields__:
            for steps, number in _numbers_within(getattr(value, field)):
                yield (field, *steps), number
    elif isinstance(value, Mapping):
        for key, each in value.items():
            for steps, number in _numbers_within(each):
                yield (key, *steps), number


CONFLICTING = {
    "observations": "Observation",
    "measures": "Observation",
    "antibodies": "Observation",
    "statuses": "Observation",
    "diagnoses": "Condition",
    "findings": "Condition",
    "drugs": "drug",
    "routes": "route",
    "allergens": "allergen",
    "severe_reactions": "reaction",
    "allergy_statements": "allergen",
}
"""Sections whose codes are looked up in one place, so that a code may stand in one entry only."""


def _check_codes(vocabulary: Vocabulary, places: Places) -> None:
    """Every system must be declared, and no code may select two entries."""
    owners: dict[tuple[str, str, str], tuple[str, str]] = {}
    for section, name, entry in coded_entries(vocabulary):
        document, steps = places[section, name]
        families = entry.families if isinstance(entry, ConditionEntry) else {}
        for key, codes in (
            ("codes", entry.codes),
            ("unverified", entry.unverified),
            ("families", families),
        ):
            _check_systems(vocabulary, document, (*steps, key), codes)
            for system, by_code in codes.items():
                for code in by_code:
                    slot = (CONFLICTING[section], system, code)
                    owner = owners.setdefault(slot, (section, name))
                    if owner != (section, name):
                        document.report(
                            "duplicate-code",
                            (*steps, key, system, code),
                            f"{system} {code} stands already under {owner[0]}.{owner[1]}: "
                            "one code can mean one thing only",
                        )
        if isinstance(entry, ConditionEntry):
            _check_systems(vocabulary, document, (*steps, "left_open_by"), entry.left_open_by)
    for section, key, named in (
        ("measures", "maximum", {k: m.maximum for k, m in vocabulary.measures.items()}),
        ("results", "codes", {k: r.codes for k, r in vocabulary.results.items()}),
    ):
        for name, codes in named.items():
            document, steps = places[section, name]
            _check_systems(vocabulary, document, (*steps, key), codes)


def _all_codes(vocabulary: Vocabulary) -> Iterator[tuple[str, str, str, Codes]]:
    """All codes that stand anywhere: (section, id of the entry, key, codes)."""
    for section, name, entry in coded_entries(vocabulary):
        yield section, name, "codes", entry.codes
        yield section, name, "unverified", entry.unverified
        if isinstance(entry, ConditionEntry):
            yield section, name, "left_open_by", entry.left_open_by
    for name, measure in vocabulary.measures.items():
        yield "measures", name, "maximum", measure.maximum
    for name, result in vocabulary.results.items():
        yield "results", name, "codes", result.codes


def _check_forms(vocabulary: Vocabulary, places: Places) -> None:
    """A code must be made as its system makes them, and stand once, with one display."""
    displays: dict[tuple[str, str], tuple[str, str, Place]] = {}
    for section, name, key, codes in _all_codes(vocabulary):
        document, steps = places[section, name]
        for system, by_code in codes.items():
            form = vocabulary.systems[system].form if system in vocabulary.systems else None
            for code, display in by_code.items():
                at = (*steps, key, system, code)
                if form is not None and (fault := fault_of(code, form)):
                    document.report(
                        "bad-code",
                        at,
                        f"{system} {code} cannot be right: {fault}; look it up again",
                    )
                if not display.strip():
                    document.report("blank", at, f"{system} {code} has no display")
                own = (CONFLICTING.get(section, section), display, document.place(at))
                kind, said, place = displays.setdefault((system, code), own)
                # Of one kind the code would select two entries, which `_check_codes` reports.
                if said != display and kind != own[0]:
                    document.report(
                        "contradictory-code",
                        at,
                        f"{system} {code} is “{display}” here and “{said}” at {place}: "
                        "correct the one that is wrong",
                    )
    for section, name, entry in coded_entries(vocabulary):
        document, steps = places[section, name]
        for system, by_code in entry.unverified.items():
            for code in by_code.keys() & entry.codes.get(system, {}).keys():
                document.report(
                    "contradictory-code",
                    (*steps, "unverified", system, code),
                    f"{system} {code} stands under `codes` too: remove it from one of the two",
                )
        left_open = entry.left_open_by if isinstance(entry, ConditionEntry) else {}
        all_codes = (entry.codes, entry.unverified, left_open)
        mapped = {c for each in all_codes for of in each.values() for c in of}
        for code in entry.notes.keys() - mapped:
            document.report(
                "unknown-id",
                (*steps, "notes", code),
                f"`{code}` is no code of this entry{did_you_mean(code, mapped)}",
            )


def _check_systems_apart(vocabulary: Vocabulary, places: Places) -> None:
    """One address can name one code system only."""
    owners: dict[str, str] = {}
    for name, system in vocabulary.systems.items():
        for url in (system.url, *system.aliases):
            owner = owners.setdefault(url, name)
            if owner != name:
                document, steps = places["systems", name]
                document.report(
                    "duplicate-id", steps, f"{url} is the system `{owner}` already: use that name"
                )


def _check_ranges(vocabulary: Vocabulary, places: Places) -> None:
    """No value could be within a range whose lowest value is above its highest.

    And no fall may be called what another fact of an observation is called.
    """
    for name, entry in vocabulary.observations.items():
        for fall in entry.falls:
            taken = fall in ("latest", "previous", "multiple") or fall.endswith("_from")
            if not _ID.fullmatch(fall) or taken:
                document, steps = places["observations", name]
                document.report(
                    "bad-id",
                    (*steps, "falls", fall),
                    f"a fall cannot be called `{fall}`: use small letters, digits and _, and not "
                    "latest, previous, multiple or what ends in _from",
                )
        if entry.range is None or entry.range.low is None or entry.range.high is None:
            continue
        if entry.range.low >= entry.range.high:
            document, steps = places["observations", name]
            document.report(
                "bad-range",
                (*steps, "range"),
                f"`low` ({entry.range.low}) is not below `high` ({entry.range.high}), so that "
                "every value would be excluded: exchange or correct them",
            )


def _check_levels(vocabulary: Vocabulary, places: Places) -> None:
    """A level of a measure must say what is at it, of its own instruments and in their units.

    And a worsening has an id and a number of days.
    """
    for name, entry in vocabulary.measures.items():
        document, steps = places["measures", name]
        for key in entry.worsenings:
            if not _ID.fullmatch(key) or key == "by":
                document.report(
                    "bad-id",
                    (*steps, "worsenings", key),
                    f"a worsening cannot be called `{key}`: use small letters, digits and _, and "
                    "not by",
                )
        days = [(("worsenings", key), number, "d") for key, number in entry.worsenings.items()]
        _check_units(document, steps, days)
        for key, level in entry.levels.items():
            at = (*steps, "levels", key)
            if not _ID.fullmatch(key):
                document.report(
                    "bad-id", at, f"`{key}` is not an id: use small letters, digits and _"
                )
            if vocabulary.assessments is not None and vocabulary.assessments.held_gap is None:
                document.report(
                    "missing-key",
                    at,
                    "`held_gap` is missing under `assessments`: how long two assessments may lie "
                    "apart, without which nothing can be known to have been held between them",
                )
            if not level.no_worse_than and level.upper_limits is None:
                document.report(
                    "missing-key",
                    at,
                    "`no_worse_than` or `upper_limits` is missing: which values are at the level",
                )
            for instrument, number in level.no_worse_than.items():
                here = (*at, "no_worse_than", instrument)
                if instrument not in entry.instruments:
                    document.report(
                        "unknown-id",
                        here,
                        f"`{instrument}` is not among the `instruments` of this measure"
                        f"{did_you_mean(instrument, entry.instruments)}",
                    )
                    continue
                declared = vocabulary.observations.get(instrument)
                table = vocabulary.units.get(declared.units) if declared else None
                if table is not None and number.unit != table.unit:
                    document.report(
                        "wrong-unit",
                        here,
                        f"the unit is `{number.unit}` and should be `{table.unit}`: "
                        "convert the number",
                    )
            limits = level.upper_limits
            if limits is not None and limits.unit:
                document.report(
                    "wrong-unit",
                    (*at, "upper_limits"),
                    f"so many times the upper limit has no unit: remove `{limits.unit}`",
                )
            if limits is not None and limits.value <= 0:
                document.report(
                    "bad-range",
                    (*at, "upper_limits"),
                    f"the number ({limits.value}) is not above 0, so that no value is at the level",
                )


def _check_doses(vocabulary: Vocabulary, places: Places) -> None:
    """Doses can be converted only with a dose above 0 of each drug, of the named one among them.

    Their numbers have one unit each, which nothing converts.
    """
    for name, entry in vocabulary.doses.items():
        document, steps = places["doses", name]
        if entry.expressed_in not in entry.equal:
            document.report(
                "unknown-id",
                (*steps, "expressed_in"),
                f"`{entry.expressed_in}` has no dose under `equal`"
                f"{did_you_mean(entry.expressed_in, entry.equal)}",
            )
        for drug, number in entry.equal.items():
            if number.value <= 0:
                document.report(
                    "bad-range",
                    (*steps, "equal", drug),
                    f"the dose ({number.value}) is not above 0, so that nothing can be converted",
                )
        numbers: list[_InUnit] = [
            (("gap",), entry.gap, "d"),
            *((("equal", drug), number, "mg") for drug, number in entry.equal.items()),
            *((("levels", key, "dose"), v.dose, "mg/d") for key, v in entry.levels.items()),
        ]
        if entry.depots is not None:
            numbers.append((("depots", "last"), entry.depots.last, "d"))
        _check_units(document, steps, numbers)
        for level in entry.levels:
            if not _ID.fullmatch(level):
                document.report(
                    "bad-id",
                    (*steps, "levels", level),
                    f"`{level}` is not an id: use small letters, digits and _",
                )


WEIGHT_UNIT = "kg"
"""The unit of a body weight, as doses by weight are given per kg."""


def _check_weight(vocabulary: Vocabulary, places: Places) -> None:
    """The body weight is an observation in kg, and counts for days."""
    weight = vocabulary.weight
    if weight is None:
        return
    document, _ = places["weight", ""]
    entry = vocabulary.observations.get(weight.observation)
    table = vocabulary.units.get(entry.units) if entry else None
    if entry is None:
        document.report(
            "unknown-id",
            ("weight", "observation"),
            f"`{weight.observation}` is not declared among the observations"
            f"{did_you_mean(weight.observation, vocabulary.observations)}",
        )
    elif table is not None and table.unit != WEIGHT_UNIT:
        document.report(
            "wrong-unit",
            ("weight", "observation"),
            f"`{weight.observation}` is held in `{table.unit}` and should be in `{WEIGHT_UNIT}`: "
            "name a body weight",
        )
    times = ("adult_within", weight.adult_within), ("child_within", weight.child_within)
    _check_units(document, ("weight",), [((key,), number, "d") for key, number in times])


def _check_spans(vocabulary: Vocabulary, places: Places) -> None:
    """How long something counts is given in days, and in whom it is unknown in years."""
    for section in ("observations", "diagnoses", "findings"):
        entries: Mapping[str, ObservationEntry | ConditionEntry] = getattr(vocabulary, section)
        for name, entry in entries.items():
            spans: list[_InUnit] = []
            if entry.counts_for is not None:
                spans.append((("counts_for",), entry.counts_for, "d"))
            if isinstance(entry, ConditionEntry) and entry.unrecorded is not None:
                ages = entry.unrecorded
                spans.append((("unrecorded", "from_age"), ages.from_age, "a"))
                spans.append((("unrecorded", "to_age"), ages.to_age, "a"))
            document, steps = places[section, name]
            _check_units(document, steps, spans)


_InUnit = tuple[Steps, Number, str]
"""Where a number stands within its entry, the number, and the unit that it should have."""


def _check_units(document: Document, steps: Steps, numbers: Iterable[_InUnit]) -> None:
    for inner, number, unit in numbers:
        if number.unit != unit:
            document.report(
                "wrong-unit",
                (*steps, *inner),
                f"the unit is `{number.unit}` and should be `{unit}`: convert the number",
            )


def _check_systems(vocabulary: Vocabulary, document: Document, steps: Steps, codes: Codes) -> None:
    for system in codes:
        if system not in vocabulary.systems:
            document.report(
                "unknown-id",
                (*steps, system),
                f"`{system}` is not a declared code system"
                f"{did_you_mean(system, vocabulary.systems)}",
            )
