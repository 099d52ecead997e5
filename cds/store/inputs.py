"""What a decision was made from, without the identity of the patient: enough to make it again."""

from __future__ import annotations

from collections.abc import Container

import msgspec
from msgspec import Raw, Struct
from msgspec.structs import replace

from cds.advice import Question
from cds.fhir.bundles import Delivery, keep_about, reference_id
from cds.fhir.resources import (
    AllergyIntolerance,
    Condition,
    Medication,
    MedicationUse,
    Observation,
    Patient,
)
from cds.rules.language import Hook


class Resources(Struct, frozen=True, omit_defaults=True):
    """Resources that were read, of one patient who goes by a pseudonym.

    ``delivered``, ``incomplete`` and ``unread`` are those of ``cds.fhir.bundles.Delivery``.
    """

    patients: tuple[Patient, ...] = ()
    observations: tuple[Observation, ...] = ()
    conditions: tuple[Condition, ...] = ()
    allergies: tuple[AllergyIntolerance, ...] = ()
    uses: tuple[MedicationUse, ...] = ()
    medications: dict[str, Medication] = {}
    delivered: tuple[str, ...] = ()
    incomplete: tuple[str, ...] = ()
    unread: tuple[str, ...] = ()


class Inputs(Struct, frozen=True, omit_defaults=True):
    """What a question consists of: the record, and the draft orders where there are any.

    ``selected`` names the drafts that cards were wanted for, None for all. ``settled`` says that an
    absolute reference to a Medication is to another server than the record is of. In decisions of
    before that was told it counted by its end, whatever server it named.
    """

    record: Resources
    drafts: Resources | None = None
    selected: tuple[str, ...] | None = None
    settled: bool = False


_ENCODER = msgspec.json.Encoder(decimal_format="number")
_DECODER = msgspec.json.Decoder(Inputs)
_CONTAINED = msgspec.json.Decoder(Medication)


def take_identity(question: Question, pseudonym: str) -> Question:
    """The same question about a patient who has no other name than the pseudonym.

    What is not about the patient is left out. Identifiers go, and so does whom each resource is
    about: all that is left is about this patient. Of what medications contain, only further
    medications stay. The deliveries of the question are changed, not copied.
    """
    keep_about(question.delivery, question.patient, question.drafts)
    if question.drafts is not None:
        _take(question.drafts, pseudonym)
    _take(question.delivery, pseudonym)
    return replace(question, patient=pseudonym)


def _take(delivery: Delivery, pseudonym: str) -> None:
    delivery.patients = [replace(p, id=pseudonym, identifier=()) for p in delivery.patients]
    delivery.observations = [replace(o, subject=None) for o in delivery.observations]
    delivery.conditions = [replace(c, subject=None) for c in delivery.conditions]
    delivery.allergies = [replace(a, patient=None) for a in delivery.allergies]
    delivery.uses = [
        replace(use, subject=None, contained=_medications(use.contained))
        if use.contained
        else replace(use, subject=None)
        for use in delivery.uses
    ]
    delivery.patient_urls = {}
    delivery.addresses = []


def _medications(contained: tuple[Raw, ...]) -> tuple[Raw, ...]:
    found = []
    for raw in contained:
        try:
            found.append(Raw(_ENCODER.encode(_CONTAINED.decode(raw))))
        except (msgspec.DecodeError, UnicodeDecodeError):
            continue  # none that this service would read
    return tuple(found)


def write_inputs(question: Question, *, applies: bool) -> bytes:
    """The inputs of a decision as JSON; ``take_identity`` was used before.

    Of a patient whom the rules are not about, only what tells that.
    """
    record = question.delivery
    if not applies:
        return _ENCODER.encode(
            Inputs(
                Resources(
                    conditions=tuple(record.conditions),
                    delivered=tuple(sorted(record.delivered)),
                    incomplete=tuple(sorted(record.incomplete)),
                    unread=tuple(sorted(record.unread)),
                )
            )
        )
    return _ENCODER.encode(
        Inputs(
            _resources(record),
            None if question.drafts is None else _resources(question.drafts),
            None if question.selected is None else tuple(sorted(question.selected)),
            settled=True,
        )
    )


def _resources(delivery: Delivery) -> Resources:
    return Resources(
        patients=tuple(delivery.patients),
        observations=tuple(delivery.observations),
        conditions=tuple(delivery.conditions),
        allergies=tuple(delivery.allergies),
        uses=tuple(delivery.uses),
        medications=delivery.medications,
        delivered=tuple(sorted(delivery.delivered)),
        incomplete=tuple(sorted(delivery.incomplete)),
        unread=tuple(sorted(delivery.unread)),
    )


def read_inputs(written: bytes, patient: str, hook: Hook) -> Question:
    """The question that ``write_inputs`` wrote, about a pseudonym."""
    inputs = _DECODER.decode(written)
    question = Question(
        delivery=_delivery(inputs.record),
        patient=patient,
        hook=hook,
        drafts=None if inputs.drafts is None else _delivery(inputs.drafts),
        selected=None if inputs.selected is None else frozenset(inputs.selected),
    )
    if not inputs.settled:
        parts = [part for part in (question.delivery, question.drafts) if part is not None]
        known = {name for part in parts for name in part.medications}
        for part in parts:
            part.uses = [_by_end(use, known) for use in part.uses]
    return question


def _by_end(use: MedicationUse, known: Container[str]) -> MedicationUse:
    """A use that names its Medication as an absolute reference was read once: by its end."""
    pointer = use.medicationReference
    reference = pointer.reference if pointer is not None else None
    if pointer is None or reference is None or "://" not in reference or reference in known:
        return use
    named = replace(pointer, reference=f"Medication/{reference_id(reference)}")
    return replace(use, medicationReference=named)


def _delivery(resources: Resources) -> Delivery:
    return Delivery(
        patients=list(resources.patients),
        observations=list(resources.observations),
        conditions=list(resources.conditions),
        allergies=list(resources.allergies),
        uses=list(resources.uses),
        medications=resources.medications,
        delivered=set(resources.delivered),
        incomplete=set(resources.incomplete),
        unread=set(resources.unread),
    )
