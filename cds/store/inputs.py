"""What a decision was made from, without the identity of the patient: enough to make it again."""

from __future__ import annotations

import msgspec
from msgspec import Raw, Struct
from msgspec.structs import replace

from cds.fhir.bundles import Delivery, keep_about
from cds.fhir.resources import (
    Condition,
    Medication,
    MedicationUse,
    Observation,
    Patient,
)


class Inputs(Struct, frozen=True, omit_defaults=True):
    """The resources that were read, of one patient who goes by a pseudonym.

    ``delivered``, ``incomplete`` and ``unread`` are those of ``cds.fhir.bundles.Delivery``.
    """

    patients: tuple[Patient, ...] = ()
    observations: tuple[Observation, ...] = ()
    conditions: tuple[Condition, ...] = ()
    uses: tuple[MedicationUse, ...] = ()
    medications: dict[str, Medication] = {}
    delivered: tuple[str, ...] = ()
    incomplete: tuple[str, ...] = ()
    unread: tuple[str, ...] = ()


_ENCODER = msgspec.json.Encoder(decimal_format="number")
_DECODER = msgspec.json.Decoder(Inputs)
_CONTAINED = msgspec.json.Decoder(Medication)


def take_identity(delivery: Delivery, patient: str, pseudonym: str) -> None:
    """Leave in a delivery what is about the patient, who has no other name than the pseudonym then.

    Identifiers go, and so does who each resource is about: all that is left is about this patient.
    Of what medications contain, only further medications stay.
    """
    keep_about(delivery, patient)
    delivery.patients = [replace(p, id=pseudonym, identifier=()) for p in delivery.patients]
    delivery.observations = [replace(o, subject=None) for o in delivery.observations]
    delivery.conditions = [replace(c, subject=None) for c in delivery.conditions]
    delivery.uses = [
        replace(use, subject=None, contained=_medications(use.contained))
        if use.contained
        else replace(use, subject=None)
        for use in delivery.uses
    ]
    delivery.patient_urls = {}


def _medications(contained: tuple[Raw, ...]) -> tuple[Raw, ...]:
    found = []
    for raw in contained:
        try:
            found.append(Raw(_ENCODER.encode(_CONTAINED.decode(raw))))
        except (msgspec.DecodeError, UnicodeDecodeError):
            continue  # none that this service would read
    return tuple(found)


def write_inputs(delivery: Delivery, *, applies: bool) -> bytes:
    """The inputs of a decision as JSON; ``take_identity`` was used before.

    Of a patient whom the rules are not about, only what tells that.
    """
    told = {
        "conditions": tuple(delivery.conditions),
        "delivered": tuple(sorted(delivery.delivered)),
        "incomplete": tuple(sorted(delivery.incomplete)),
        "unread": tuple(sorted(delivery.unread)),
    }
    if not applies:
        return _ENCODER.encode(Inputs(**told))  # type: ignore[arg-type]  # named just above
    return _ENCODER.encode(
        Inputs(
            patients=tuple(delivery.patients),
            observations=tuple(delivery.observations),
            uses=tuple(delivery.uses),
            medications=delivery.medications,
            **told,  # type: ignore[arg-type]  # named just above
        )
    )


def read_inputs(written: bytes) -> Delivery:
    """The delivery that ``write_inputs`` wrote."""
    inputs = _DECODER.decode(written)
    return Delivery(
        patients=list(inputs.patients),
        observations=list(inputs.observations),
        conditions=list(inputs.conditions),
        uses=list(inputs.uses),
        medications=inputs.medications,
        delivered=set(inputs.delivered),
        incomplete=set(inputs.incomplete),
        unread=set(inputs.unread),
    )
