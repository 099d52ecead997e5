"""From a patient's resources to advice: the one function that everything below calls."""

from __future__ import annotations

from collections.abc import Callable, Collection
from datetime import date
from pathlib import Path

from msgspec import Struct

from cds.cards.card import Card
from cds.cards.cards import check_drafts, make_cards
from cds.chart.chart import Chart, read_chart, read_findings
from cds.fhir.bundles import Delivery, Excluded, keep_about
from cds.located import FilesInvalid
from cds.rules.language import Hook
from cds.rules.nodes import Truth
from cds.rules.reading import read_ruleset
from cds.rules.ruleset import Evaluation, RuleSet


class Advice(Struct, frozen=True):
    """What the service makes of one patient on one day.

    Where the rules do not apply (no myositis is recorded) there are no cards, and chart and
    evaluation are made only on demand. ``applies`` is None where Conditions are missing or could
    not be read, so that nobody can say: an answer without cards would then be wrong. ``cards`` are
    those for ``hook``; ``given`` names the rule of each.
    """

    patient: str
    as_of: date
    applies: Truth
    chart: Chart | None
    evaluation: Evaluation | None
    cards: tuple[Card, ...]
    excluded: tuple[Excluded, ...]
    hook: Hook = "patient-view"
    given: tuple[str, ...] = ()


LeftOut = Callable[[Evaluation], Collection[str]]
"""Tells the rules whose cards are not to be given, by what the rules made of a patient."""


class Question(Struct, frozen=True):
    """What is asked: about whom, by what was sent, at which hook, with which draft orders.

    ``drafts`` and ``selected`` are as ``advise`` has them.
    """

    delivery: Delivery
    patient: str
    hook: Hook = "patient-view"
    drafts: Delivery | None = None
    selected: frozenset[str] | None = None


def advise_on(
    question: Question,
    ruleset: RuleSet,
    as_of: date,
    *,
    baseline: date | None = None,
    everything: bool = False,
    left_out: LeftOut | None = None,
) -> Advice:
    """Answer a question as ``advise`` does."""
    return advise(
        question.delivery,
        question.patient,
        ruleset,
        as_of,
        baseline=baseline,
        everything=everything,
        hook=question.hook,
        drafts=question.drafts,
        selected=question.selected,
        left_out=left_out,
    )


def load_rules(folder: Path, site: Path | None = None, *, drafts: bool = False) -> RuleSet:
    """Read and check the rules of a folder, with everything that they may send.

    With ``drafts`` the rules in draft and in testing count as if they were active, to try them.
    ``site`` is a hospital's own folder, which changes them; see ``cds.rules.site``.
    Raises ``FilesInvalid`` with every error of every file.
    """
    ruleset = read_ruleset(folder, site, drafts=drafts)
    problems = check_drafts(ruleset)
    if problems:
        ruleset.close()
        raise FilesInvalid(problems)
    return ruleset


def advise(
    delivery: Delivery,
    patient: str,
    ruleset: RuleSet,
    as_of: date,
    *,
    baseline: date | None = None,
    everything: bool = False,
    hook: Hook = "patient-view",
    drafts: Delivery | None = None,
    selected: frozenset[str] | None = None,
    left_out: LeftOut | None = None,
) -> Advice:
    """Read the chart, evaluate the rules and make the cards.

    ``baseline`` names the date to compare with. ``everything`` reads the chart even of a patient
    whom the rules are not about, for a report. Cards are given of the rules that declare ``hook``.
    ``drafts`` holds the orders that are being placed, which are no treatment yet, whatever else the
    record says of them; ``selected`` names those of them (``MedicationRequest/1``) that cards are
    wanted for, as ``make_cards`` has it. ``left_out`` is asked, once the rules are evaluated,
    whose cards are not to be given. Raises ``EngineFault`` or ``EnginesDisagree`` where no answer
    can be trusted; never answers with fewer cards instead.
    """
    keep_about(delivery, patient, drafts)
    conditions = read_findings(delivery, ruleset.terms, as_of)
    complete = "Condition" in delivery.delivered - delivery.incomplete - delivery.unread
    applies = ruleset.applies(conditions, complete=complete)
    if applies is None and complete:
        applies = True  # what is left open on record is for the rules, which ask for it
    if not applies and not everything:
        return Advice(patient, as_of, applies, None, None, (), tuple(delivery.excluded), hook)
    chart = read_chart(delivery, conditions, patient, ruleset.terms, as_of, baseline, drafts)
    evaluation = ruleset.evaluate(chart)
    cards = {}
    if applies:
        without = left_out(evaluation) if left_out is not None else ()
        cards = make_cards(ruleset, chart, evaluation, hook, selected, without)
    return Advice(
        patient,
        as_of,
        applies,
        chart,
        evaluation,
        tuple(cards.values()),
        chart.excluded,
        hook,
        tuple(cards),
    )
