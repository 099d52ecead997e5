"""The parts of FHIR R4 resources that this service reads, as structures decoded straight from JSON.

Field names are FHIR's own. Everything is optional and unknown fields are ignored, because what
arrives from an EHR is read leniently here (``cds.fhir.strict`` validates in full, on demand).
Numbers are ``Decimal``, so that 0.8 stays 0.8.
What is not there is left out when written again. Specification: https://hl7.org/fhir/R4/.
"""

from __future__ import annotations

from decimal import Decimal

from msgspec import UNSET, Raw, Struct, UnsetType


class Coding(Struct, frozen=True, gc=False, omit_defaults=True):
    """One code of one code system."""

    system: str | None = None
    code: str | None = None
    display: str | None = None


class CodeableConcept(Struct, frozen=True, gc=False, omit_defaults=True):
    """A concept: any number of codings, all of which count, and a text."""

    coding: tuple[Coding, ...] = ()
    text: str | None = None


LARGEST_EXPONENT = 1000
"""Powers of ten beyond which arithmetic could overflow; no measurement comes near them."""


def _check(number: Decimal | None) -> None:
    """Refuse what JSON allows and nothing can have: ``"NaN"``, ``"Infinity"``, 1e999999."""
    if number is not None and not (
        number.is_finite() and -LARGEST_EXPONENT <= number.adjusted() <= LARGEST_EXPONENT
    ):
        raise ValueError("the number is not finite, or beyond anything that can be measured")


class Quantity(Struct, frozen=True, gc=False, omit_defaults=True):
    """A measured amount; ``comparator`` says that ``value`` is only a bound.

    ``value`` is exact, finite, and within a thousand powers of ten; other numbers are not decoded.
    """

    value: Decimal | None = None
    comparator: str | None = None
    unit: str | None = None
    system: str | None = None
    code: str | None = None

    def __post_init__(self) -> None:
        """Raise ``ValueError`` for a value that cannot be calculated with."""
        _check(self.value)


class Range(Struct, frozen=True, gc=False, omit_defaults=True):
    """A low and a high quantity."""

    low: Quantity | None = None
    high: Quantity | None = None


class ReferenceRange(Struct, frozen=True, gc=False, omit_defaults=True):
    """What is usual for an Observation."""

    low: Quantity | None = None
    high: Quantity | None = None
    type: CodeableConcept | None = None
    appliesTo: tuple[CodeableConcept, ...] = ()
    text: str | None = None


class Identifier(Struct, frozen=True, gc=False, omit_defaults=True):
    """A number by which a person or thing is known, and who gave it."""

    system: str | None = None
    value: str | None = None


class Reference(Struct, frozen=True, gc=False, omit_defaults=True):
    """A pointer to another resource, by its address or by an identifier."""

    reference: str | None = None
    identifier: Identifier | None = None
    display: str | None = None


class Period(Struct, frozen=True, gc=False, omit_defaults=True):
    """A span of time; either end may be open."""

    start: str | None = None
    end: str | None = None


class Meta(Struct, frozen=True, gc=False, omit_defaults=True):
    """When this version of a resource was written."""

    lastUpdated: str | None = None


class Resource(
    Struct, frozen=True, gc=False, omit_defaults=True, tag_field="resourceType", tag=True
):
    """What every resource has."""

    id: str | None = None
    meta: Meta | None = None


class Patient(Resource, frozen=True, gc=False, omit_defaults=True, tag=True):
    """The person; ``birthDate`` may be a year or a month."""

    identifier: tuple[Identifier, ...] = ()
    birthDate: str | None = None
    gender: str | None = None


class ObservationComponent(Struct, frozen=True, gc=False, omit_defaults=True):
    """A part of an Observation with a code and a value of its own."""

    code: CodeableConcept | None = None
    valueQuantity: Quantity | None = None
    valueInteger: int | None = None
    valueCodeableConcept: CodeableConcept | None = None
    valueString: str | None = None
    valueBoolean: bool | None = None
    dataAbsentReason: CodeableConcept | None = None
    interpretation: tuple[CodeableConcept, ...] = ()
    referenceRange: tuple[ReferenceRange, ...] = ()


class Observation(Resource, frozen=True, gc=False, omit_defaults=True, tag=True):
    """A measurement or a finding."""

    status: str | None = None
    code: CodeableConcept | None = None
    subject: Reference | None = None
    effectiveDateTime: str | None = None
    effectivePeriod: Period | None = None
    effectiveInstant: str | None = None
    issued: str | None = None
    valueQuantity: Quantity | None = None
    valueInteger: int | None = None
    valueCodeableConcept: CodeableConcept | None = None
    valueString: str | None = None
    valueBoolean: bool | None = None
    dataAbsentReason: CodeableConcept | None = None
    interpretation: tuple[CodeableConcept, ...] = ()
    referenceRange: tuple[ReferenceRange, ...] = ()
    component: tuple[ObservationComponent, ...] = ()


class Condition(Resource, frozen=True, gc=False, omit_defaults=True, tag=True):
    """A diagnosis or problem."""

    clinicalStatus: CodeableConcept | None = None
    verificationStatus: CodeableConcept | None = None
    code: CodeableConcept | None = None
    subject: Reference | None = None
    onsetDateTime: str | None = None
    onsetPeriod: Period | None = None
    recordedDate: str | None = None
    abatementDateTime: str | None = None
    abatementPeriod: Period | None = None
    abatementAge: Quantity | None = None
    abatementString: str | None = None


class AllergyReaction(Struct, frozen=True, gc=False, omit_defaults=True):
    """What happened on an exposure: how it showed, how severe it was, when it began."""

    substance: CodeableConcept | None = None
    manifestation: tuple[CodeableConcept, ...] = ()
    description: str | None = None
    onset: str | None = None
    severity: str | None = None


class AllergyIntolerance(Resource, frozen=True, gc=False, omit_defaults=True, tag=True):
    """What a patient is at risk of reacting to."""

    clinicalStatus: CodeableConcept | None = None
    verificationStatus: CodeableConcept | None = None
    type: str | None = None
    category: tuple[str, ...] = ()
    criticality: str | None = None
    code: CodeableConcept | None = None
    patient: Reference | None = None
    onsetDateTime: str | None = None
    onsetPeriod: Period | None = None
    recordedDate: str | None = None
    reaction: tuple[AllergyReaction, ...] = ()

    @property
    def subject(self) -> Reference | None:
        """Whom it is about, by the name that other resources have for it."""
        return self.patient


class TimingRepeat(Struct, frozen=True, gc=False, omit_defaults=True):
    """How often, and between which dates or for how long."""

    boundsPeriod: Period | None = None
    boundsDuration: Quantity | None = None
    boundsRange: Range | None = None
    frequency: int | None = None
    frequencyMax: int | None = None
    period: Decimal | None = None
    periodMax: Decimal | None = None
    periodUnit: str | None = None
    dayOfWeek: tuple[str, ...] = ()
    timeOfDay: tuple[str, ...] = ()
    when: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Raise ``ValueError`` for a period that cannot be calculated with."""
        _check(self.period)
        _check(self.periodMax)


class Timing(Struct, frozen=True, gc=False, omit_defaults=True):
    """When a drug is to be taken; ``code`` is an abbreviation such as BID."""

    repeat: TimingRepeat | None = None
    code: CodeableConcept | None = None


class DoseAndRate(Struct, frozen=True, gc=False, omit_defaults=True):
    """How much of a drug."""

    doseQuantity: Quantity | None = None
    doseRange: Range | None = None


class Ratio(Struct, frozen=True, gc=False, omit_defaults=True):
    """One quantity for each of another."""

    numerator: Quantity | None = None
    denominator: Quantity | None = None


class Dosage(Struct, frozen=True, gc=False, omit_defaults=True):
    """How a drug is to be taken; steps of different ``sequence`` follow each other."""

    sequence: int | None = None
    text: str | None = None
    timing: Timing | None = None
    asNeededBoolean: bool | None = None
    asNeededCodeableConcept: CodeableConcept | None = None
    route: CodeableConcept | None = None
    doseAndRate: tuple[DoseAndRate, ...] = ()
    maxDosePerPeriod: Ratio | None = None


class Medication(Resource, frozen=True, gc=False, omit_defaults=True, tag=True):
    """A product, to which orders may refer in place of naming it."""

    code: CodeableConcept | None = None
    form: CodeableConcept | None = None


class DispenseRequest(Struct, frozen=True, gc=False, omit_defaults=True):
    """For how long a supply is to last."""

    expectedSupplyDuration: Quantity | None = None


class MedicationRequest(Resource, frozen=True, gc=False, omit_defaults=True, tag=True):
    """An order."""

    status: str | None = None
    statusReason: CodeableConcept | None = None
    intent: str | None = None
    doNotPerform: bool | None = None
    medicationCodeableConcept: CodeableConcept | None = None
    medicationReference: Reference | None = None
    contained: tuple[Raw, ...] = ()
    subject: Reference | None = None
    authoredOn: str | None = None
    dosageInstruction: tuple[Dosage, ...] = ()
    dispenseRequest: DispenseRequest | None = None


class AdministrationDosage(Struct, frozen=True, gc=False, omit_defaults=True):
    """What was given."""

    text: str | None = None
    route: CodeableConcept | None = None
    dose: Quantity | None = None


class MedicationAdministration(Resource, frozen=True, gc=False, omit_defaults=True, tag=True):
    """A drug that was given."""

    status: str | None = None
    statusReason: tuple[CodeableConcept, ...] = ()
    medicationCodeableConcept: CodeableConcept | None = None
    medicationReference: Reference | None = None
    contained: tuple[Raw, ...] = ()
    subject: Reference | None = None
    effectiveDateTime: str | None = None
    effectivePeriod: Period | None = None
    dosage: AdministrationDosage | None = None


class MedicationStatement(Resource, frozen=True, gc=False, omit_defaults=True, tag=True):
    """A drug that somebody says the patient takes or took."""

    status: str | None = None
    statusReason: tuple[CodeableConcept, ...] = ()
    medicationCodeableConcept: CodeableConcept | None = None
    medicationReference: Reference | None = None
    contained: tuple[Raw, ...] = ()
    subject: Reference | None = None
    effectiveDateTime: str | None = None
    effectivePeriod: Period | None = None
    dateAsserted: str | None = None
    dosage: tuple[Dosage, ...] = ()


class OutcomeIssue(Struct, frozen=True, gc=False, omit_defaults=True):
    """One thing that an OperationOutcome tells."""

    severity: str | None = None
    code: str | None = None
    diagnostics: str | None = None


class OperationOutcome(Resource, frozen=True, gc=False, omit_defaults=True, tag=True):
    """What a FHIR server says in place of, or beside, data."""

    issue: tuple[OutcomeIssue, ...] = ()


class BundleLink(Struct, frozen=True, gc=False, omit_defaults=True):
    """A link of a Bundle: ``self``, ``next`` and others."""

    relation: str | None = None
    url: str | None = None


class EntryRequest(Struct, frozen=True, gc=False, omit_defaults=True):
    """What a transaction asks for, or what a history tells was done."""

    method: str | None = None
    url: str | None = None


class EntryResponse(Struct, frozen=True, gc=False, omit_defaults=True):
    """How a server answered one entry of a batch or transaction: an HTTP status."""

    status: str | None = None


class BundleEntry(Struct, frozen=True, gc=False, omit_defaults=True):
    """One entry; its resource is decoded by itself, so that it cannot spoil its neighbours."""

    fullUrl: str | None = None
    resource: Raw | UnsetType = UNSET
    request: EntryRequest | None = None
    response: EntryResponse | None = None


class Bundle(Resource, frozen=True, gc=False, omit_defaults=True, tag=True):
    """A collection of resources, or one page of a search.

    ``total`` is how many a search found, of all pages together; some servers put the size of the
    page there, and what is no number is no reason not to read the rest.
    """

    type: str | None = None
    total: object = None
    link: tuple[BundleLink, ...] = ()
    entry: tuple[BundleEntry, ...] = ()


MedicationUse = MedicationRequest | MedicationAdministration | MedicationStatement

AboutPatient = Observation | Condition | AllergyIntolerance | MedicationUse
"""The three resources that tell of a treatment."""

AnyResource = (
    Patient
    | Observation
    | Condition
    | AllergyIntolerance
    | Medication
    | MedicationRequest
    | MedicationAdministration
    | MedicationStatement
    | OperationOutcome
    | Bundle
)
"""Every resource that is read; others are listed as not used."""
