"""Records the decisions of calls, before their answers leave.

What is recorded knows the patient by a pseudonym only: so does the question once it is recorded,
and with it everything that is worked out. The answer gets the patient's own id at the very end, by
which it is known to the client.
"""

from __future__ import annotations

import re
import time
from collections.abc import Collection
from datetime import UTC, date, datetime, timedelta

import structlog
from msgspec import Struct

from cds.advice import Advice, Question
from cds.cards.card import encode_cards
from cds.chart.facts.declaration import Evidence
from cds.fhir.bundles import OF_SERVER, Excluded
from cds.hooks.outcomes import Refused
from cds.hooks.requests import Request
from cds.rules.language import Hook
from cds.rules.ruleset import Evaluation, Rule, RuleSet
from cds.store.decisions import (
    CardGiven,
    Decision,
    Facts,
    encode_facts,
    name_cards,
)
from cds.store.fingerprints import behind, fingerprints
from cds.store.inputs import take_identity, write_inputs
from cds.store.journal import JournalFull
from cds.store.overrides import standing
from cds.store.store import Store, software_version

_log = structlog.get_logger()


class _Begun(Struct, frozen=True):
    """What is known of a call before it is answered."""

    hook: Hook
    hook_instance: str
    patient: str
    pseudonym: str
    as_of: date


class Recording:
    """The record of one call: ``begin``, ``left_out`` once it is evaluated, and ``end``.

    ``decision`` is the id by which the decision is known in the log and to the client as well.
    """

    def __init__(
        self, store: Store, ruleset: RuleSet, service: str, client: str, decision: str
    ) -> None:
        self._began = time.perf_counter_ns()
        self._at = datetime.now(UTC)
        self._store = store
        self._ruleset = ruleset
        self._service = service
        self._client = client
        self._id = decision
        self._begun: _Begun | None = None
        self._fingerprints: dict[str, str] = {}
        self._standing: dict[str, str] = {}
        self._overrides_known = True

    def begin(self, request: Request, question: Question, as_of: date) -> Question:
        """The question as it is to be answered: about the pseudonym of the patient."""
        patient = self._store.pseudonym(self._client, request.fhirServer or "", question.patient)
        self._begun = _Begun(
            question.hook, str(request.hookInstance), question.patient, patient, as_of
        )
        return take_identity(question, patient)

    def left_out(self, evaluation: Evaluation) -> Collection[str]:
        """The rules whose cards were overridden with a lasting reason, for this very patient.

        Where that cannot be found out in time none is left out: a card too many is the lesser harm.
        """
        assert self._begun is not None
        days_of = {
            rule: rule.card.quiet_days
            for rule in self._ruleset.card_rules
            if rule.card is not None
            and rule.card.quiet_days is not None
            and evaluation.outcomes[rule.id] is True
            and self._begun.hook in rule.file.hooks
        }
        if not days_of:
            return ()
        as_of = self._begun.as_of
        self._fingerprints = fingerprints(days_of, self._ruleset, evaluation, as_of)
        quiet = {
            rule.id: (timedelta(days=float(days)), self._fingerprints[rule.id])
            for rule, days in days_of.items()
        }
        told = self._store.told(self._client, self._begun.pseudonym, self._at)
        if told is None:
            self._overrides_known = False
            return ()
        self._standing = standing(told, quiet, self._ruleset.override_reasons, self._at)
        return self._standing

    def end(self, question: Question, advice: Advice) -> bytes:
        """Note the decision, and give the answer as JSON.

        Raises ``Refused`` with status 503 where it cannot be noted: an answer of which nothing is
        known later is not given.
        """
        assert self._begun is not None
        id_ = self._id
        cards = name_cards(zip(advice.given, advice.cards, strict=True), id_)
        answer = encode_cards(cards)
        rules = {rule.id: rule for rule in self._ruleset.card_rules}
        given = [rules[name] for name in advice.given]
        left_out = [rules[name] for name in self._standing]
        decision = Decision(
            id=id_,
            at=self._at,
            service=self._service,
            hook=self._begun.hook,
            hook_instance=self._begun.hook_instance,
            client=self._client,
            patient=self._begun.pseudonym,
            rules_version=self._ruleset.version,
            software=software_version(),
            as_of=self._begun.as_of,
            applies=bool(advice.applies),
            microseconds=(time.perf_counter_ns() - self._began) // 1000,
            overrides_known=self._overrides_known,
            inputs=write_inputs(question, applies=bool(advice.applies)),
            facts=encode_facts(_facts([*given, *left_out], advice, self._ruleset)),
            answer=answer,
            cards=(
                *(self._card(rule, card.uuid) for rule, card in zip(given, cards, strict=True)),
                *(self._card(rule, None) for rule in left_out),
            ),
        )
        try:
            self._store.keep_rules(self._ruleset)
            self._store.note(decision)
        except JournalFull as fault:
            _log.error("decision_not_noted", reason=str(fault))
            raise Refused(503, "transient", [_FULL]) from None
        # A pseudonym stands nowhere by chance: it is 32 digits of a keyed hash.
        return answer.replace(self._begun.pseudonym.encode(), self._begun.patient.encode())

    def _card(self, rule: Rule, uuid: str | None) -> CardGiven:
        assert rule.card is not None
        return CardGiven(
            rule=rule.id,
            rule_version=rule.file.version,
            indicator=rule.card.indicator,
            uuid=uuid,
            fingerprint=self._fingerprints.get(rule.id),
            silenced_by=None if uuid else self._standing[rule.id],
        )


_FULL = (
    "The service cannot record its decisions at present, and gives no advice that nobody could "
    "account for later. Call again in some minutes; the log of the service tells more."
)


def _facts(rules: list[Rule], advice: Advice, ruleset: RuleSet) -> Facts:
    """What the rules saw, with the resources behind the cards of some of them."""
    excluded = tuple(Excluded(_anonymous(e.reference), _told(e.reason)) for e in advice.excluded)
    if advice.chart is None or advice.evaluation is None:
        return Facts({}, {}, {}, excluded)
    evidence: dict[str, tuple[Evidence, ...]] = {}
    outcomes = advice.evaluation.outcomes
    against = [o for rule in rules for o in behind(rule, ruleset).against if outcomes[o.id] is True]
    for rule in (*rules, *against):
        for fact in behind(rule, ruleset).facts:
            if fact not in evidence:
                evidence[fact] = ruleset.facts[fact].evidence(advice.chart)
    return Facts(
        advice.evaluation.values,
        advice.evaluation.outcomes,
        {fact: told for fact, told in evidence.items() if told},
        excluded,
    )


_PATIENT = re.compile(r"\bPatient/[^/\s]+")


def _anonymous(reference: str) -> str:
    """A reference without the id of a patient, whoever it is."""
    return _PATIENT.sub("Patient", reference)


def _told(reason: str) -> str:
    """A reason without what a server wrote, which may be about anybody."""
    return OF_SERVER if reason.startswith(OF_SERVER) else reason
