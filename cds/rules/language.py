"""The files of the rule language: what may stand in them, as structures.

These structures are the definition: the parser reads files into them, whatever they do not name is
an error, and their fields stand in the order in which ``cds rules format`` puts the keys.
Conditions are parsed by ``cds.rules.parsing``.
"""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Any, Literal

from msgspec import Struct

from cds.chart.vocabulary import Certainty, Number

Status = Literal["draft", "testing", "active", "retired"]
Indicator = Literal["critical", "warning", "info"]
Hook = Literal["patient-view", "order-select", "order-sign"]
EvidenceCertainty = Literal[
    "high", "moderate", "low", "expert opinion", "definition", "one source", "unverified"
]
"""How certain what a source supports is; or how well it was read, where that weighs more."""


class Source(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A publication: ``checked`` says whether the citation was read or recalled.

    ``note`` says what of it was not read. A ``retired`` one is cited no more.
    """

    title: str
    citation: str
    url: str | None = None
    year: int
    checked: Literal["read", "recalled"] = "recalled"
    note: str | None = None
    retired: bool = False


class EvidenceItem(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A ``source``, by its id, what of the rule it ``supports``, and the ``certainty`` of that.

    A card cites it only where ``when`` is true, if that is given: the dose for children in a child.
    """

    source: str
    supports: str
    certainty: EvidenceCertainty
    when: Any = None


class Passage(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A paragraph of a card: its ``text`` is shown only where ``when`` is true."""

    when: Any = None
    text: str


class LicenceStatus(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Whether a drug has a ``licence`` for what an option proposes, and for which ``indication``.

    ``certainty`` says whether that was read or recalled.
    """

    licence: Literal["approved", "off label", "differs between countries"]
    indication: str = ""
    certainty: Certainty = "verified"


class Option(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A row of a card: an ``option`` to consider, its ``evidence`` and the ``source`` of that.

    It is shown where ``when`` is true, or always. ``drug`` is a drug or a class of the vocabulary.
    Of it the card shows what this patient had and has, and what speaks against it (rules with a
    ``contraindication``); what is being given already is not proposed.
    """

    option: str
    drug: str | None = None
    evidence: str
    source: str
    status: LicenceStatus | None = None
    when: Any = None


class CardFile(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a fired rule says. Texts are Markdown with ``{facts}``; see ``cds.cards.texts``.

    Of several cards about one ``problem`` only the most urgent is given, that with the highest
    ``indicator``, and of equally urgent ones that of the highest ``priority``. ``summary`` is its
    first line. ``lead`` is the sentence that matters, and comes first in the detail. ``text`` are
    the paragraphs after it, and ``options`` a table of what there is to consider. ``suggestions``
    and ``override_reasons`` are ids in the files of that name. ``show`` names the tables that
    follow: ``measures``, ``treatments``, or ``drug.x`` for those with the drugs of a class only, a
    derived number whose terms are shown with their points (beside ``measures`` as a column of
    these), a selection of measures, shown with when each was last taken and what it would settle,
    or ``observation.x`` or a group of observations, whose last values are shown with their days and
    upper limit.

    An item ``{shared: name}`` of ``text`` or of ``options`` stands for those of that name in
    ``shared.yaml``, the evidence of which the card cites with its own.

    ``quiet_after_override`` names a parameter of the rule, in days: so long the card is not given
    again to a patient for whom it was overridden with a lasting reason, unless the facts behind it
    change. Without it the card is given at every call.
    """

    problem: str
    indicator: Indicator
    priority: int = 0
    summary: str
    lead: str
    text: tuple[str | Passage, ...] = ()
    options: tuple[Option, ...] = ()
    show: tuple[str, ...] = ()
    suggestions: tuple[str, ...] = ()
    override_reasons: tuple[str, ...] = ()
    quiet_after_override: str | None = None


class Contraindication(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What speaks against drugs where its rule holds; every card that proposes one of them says so.

    ``drugs`` are drugs and classes of the vocabulary, ``weight`` how much it speaks against them.
    With ``drugs_with`` in their place it speaks against those drugs, whichever they are, to which
    the patient has an ``allergy`` or of which an ``intolerance`` on record (``drug.x.allergy``).
    ``text`` says why, with ``{facts}``; of ``drugs_with`` it may show what is on record of the drug
    (``{it.allergy:evidence}``). It makes three facts: ``contraindication.x``, that it holds
    (of the rule ``a-b`` it is ``contraindication.a_b``), and ``contraindication.x.ordered`` and
    ``contraindication.x.current``, that a draft order is of one of its drugs, or that one is given.
    ``ordered`` names the rule whose own card tells of it where such a drug is ordered; all others
    are members of the group ``contraindications``, over which a rule about draft orders counts,
    those that are more than a caution of ``serious_contraindications`` too.
    ``given`` names that where such a drug is given; all others that are more than a caution are
    members of the group ``current_contraindications``.
    """

    drugs: tuple[str, ...] = ()
    drugs_with: Literal["allergy", "intolerance"] | None = None
    weight: Literal["contraindicated", "advised against", "caution"]
    text: str
    ordered: str | None = None
    given: str | None = None


class Band(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``points`` for numbers ``above`` a threshold, up to the next band's and that included."""

    above: Decimal
    points: Decimal


class Term(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one number adds to a sum: the points of the band it lies in, and 0 below the first.

    ``of`` names the fact, ``unit`` is its unit, in which the ``bands`` are given, from the lowest
    to the highest. ``source`` is where the points were read, ``certainty`` how well, and ``note``
    says more. Where the number is not known the term is everything from its least to its most
    points.
    """

    of: str
    unit: str = ""
    bands: tuple[Band, ...]
    source: str | None = None
    certainty: Certainty = "verified"
    note: str | None = None


class Rank(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A ``category`` of a rule, had where ``when`` is true and no category above it is had."""

    category: str
    when: Any = None


class WeightDose(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A dose by body weight, which a text shows for this patient with ``{weight_dose.name}``.

    ``per_kg`` names a parameter of the rule in a unit per kg (``parameters.pulse``, in mg/kg), or
    one of the rule that derives a fact (``fact.parameters.pulse``),
    ``up_to`` that of the upper end, if the dose is a range, and ``at_most`` that of the most that
    is given in all (in mg). Of 30 mg/kg, at most 1000 mg, the text has for a child of 32 kg
    " (for 32 kg, 2026-11-12: 960 mg)", with the blank before it. Where no recent body weight is on
    record it has nothing.
    """

    per_kg: str
    up_to: str | None = None
    at_most: str | None = None


class RuleFile(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A rule: when it holds, it makes a card, or derives a fact that other rules may name.

    Or it is a ``contraindication``, which the options of other rules' cards show.

    ``id`` is also the name of its file, and ``version`` goes up with each change of what is in
    service. ``title`` is what it is called. ``status`` says whether it counts for patients: only an
    active rule does. ``hooks`` are where it is asked. ``owner`` answers for it, was last content
    with it when it was ``reviewed``, and looks at it again until ``review_by``, after which the
    check warns. ``evidence`` says what each source supports. ``parameters`` are its numbers by
    name, which a site may set otherwise; conditions and texts say ``parameters.name``.
    ``weight_doses`` are doses by body weight, by name, for its texts.

    ``derive`` is the name of the fact. What it derives is true or false (``when``), a number
    (``sum``, the points of several numbers added, or ``count``, of the members of a group that meet
    a condition) in a ``unit``, or one of ``categories``, which stand from the highest to the
    lowest, the last without a condition.
    """

    id: str
    title: str
    version: str
    status: Status
    owner: str
    reviewed: date
    review_by: date
    evidence: tuple[EvidenceItem, ...]
    hooks: tuple[Hook, ...] = ("patient-view",)
    parameters: dict[str, Number] = {}
    weight_doses: dict[str, WeightDose] = {}
    derive: str | None = None
    unit: str = ""
    when: Any = None
    sum: tuple[Term, ...] = ()
    count: Any = None
    categories: tuple[Rank, ...] = ()
    card: CardFile | None = None
    contraindication: Contraindication | None = None


class SharedFile(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What several cards say alike: paragraphs of their ``text``, rows of their ``options``.

    ``title`` is what it is about. ``evidence`` is what it rests on, which each of these cards
    cites. Texts and conditions may name every fact, and no parameters but those of rules that
    derive facts.
    """

    title: str
    evidence: tuple[EvidenceItem, ...] = ()
    text: tuple[str | Passage, ...] = ()
    options: tuple[Option, ...] = ()


class OverrideReason(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A reason that a clinician may give for not following a card.

    One that is ``lasting`` holds beyond the moment: after it the card stays away for the period
    that its rule states.
    """

    display: str
    lasting: bool = False


class SuggestionFile(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A draft that a card may carry, for the clinician to complete: a FHIR resource to create.

    It is offered where ``when`` is true. Texts in the ``resource`` may name facts in braces.
    """

    label: str
    description: str
    parameters: dict[str, Number] = {}
    when: Any = None
    resource: dict[str, Any]


class CardParts(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a card is expected to hold: texts are parts of the card's own, as Markdown.

    ``summary`` is a part of its first line, ``detail`` are parts of the rest. ``without`` are texts
    that its detail must not hold. ``suggestions`` are their labels in full, in order. ``shown``
    says whether the card is given: of several about one problem only one is.
    """

    indicator: Indicator | None = None
    summary: str | None = None
    detail: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    suggestions: tuple[str, ...] | None = None
    shown: bool | None = None


class Case(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One test of a rule: facts or an example Bundle, a date, and what is expected.

    ``hook`` is the hook that calls: the first that the rule declares, if not given. Where an order
    is being placed, the MedicationRequests of status ``draft`` in an example are the draft orders.

    ``facts`` gives values by name: true, false or ``unknown``; a number or ``[low, high]``; for an
    event the days since, ``never``, ``unknown`` or ``perhaps 3`` (something that may be one, 3 days
    ago). ``measures`` gives the values of core set measures, ``[baseline, current]``, or
    ``[baseline]`` where the current one is missing, by measure (its first instrument) or by
    instrument. ``otherwise`` is what every other fact is: unknown, or what it is where everything
    was delivered and nothing of it is recorded.

    ``expect`` is ``fires``, ``silent`` or ``unknown`` of a rule with a card, ``true``, ``false`` or
    ``unknown`` of one that derives whether something is so. Of a derived number ``expect`` is the
    number, or ``[low, high]`` where it is not known exactly; of a category it is the one, or a list
    of all that are possible. ``selects`` gives the members of a selection.
    """

    name: str
    hook: Hook | None = None
    example: str | None = None
    as_of: date | None = None
    facts: dict[str, Any] = {}
    measures: dict[str, tuple[Decimal, ...]] = {}
    otherwise: Literal["unknown", "not recorded"] = "unknown"
    expect: Any
    selects: dict[str, tuple[str, ...]] = {}
    card: CardParts | None = None


class CaseFile(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The ``cases`` that test a ``rule``, beside it, in ``<rule>.test.yaml``."""

    rule: str
    cases: tuple[Case, ...]
