import json

from msgspec import Raw

from cds.advice import Question
from cds.fhir.bundles import Delivery, find_medication
from cds.fhir.resources import (
    AllergyIntolerance,
    CodeableConcept,
    Condition,
    Identifier,
    Medication,
    MedicationRequest,
    Observation,
    Patient,
    Reference,
)
from cds.store.inputs import read_inputs, take_identity, write_inputs

NUMBER = Identifier("https://hospital.example/number", "19800101-1234")
OURS = Reference("Patient/hana", display="Hana Novak")
CONTAINED = (
    Raw(b'{"resourceType":"Patient","id":"x","name":[{"family":"Novak"}]}'),
    Raw(b'{"resourceType":"Medication","id":"m","code":{"text":"prednisone"},"extension":[{}]}'),
)


def asked(drafts: Delivery | None = None) -> Question:
    """Make up a question about a patient, with somebody else among what was delivered."""
    delivery = Delivery(
        patients=[Patient(id="hana", identifier=(NUMBER,), birthDate="1980-01-01")],
        observations=[
            Observation(id="ck", subject=OURS),
            Observation(id="mine", subject=Reference(identifier=NUMBER)),
            Observation(id="theirs", subject=Reference("Patient/other")),
        ],
        conditions=[Condition(id="dm", subject=OURS, code=CodeableConcept(text="myositis"))],
        allergies=[
            AllergyIntolerance(id="rash", patient=OURS, code=CodeableConcept(text="rituximab"))
        ],
        uses=[MedicationRequest(id="p", subject=OURS, contained=CONTAINED)],
        delivered={"Observation", "Condition"},
        patient_urls={"https://ehr.example/fhir/Patient/hana": "hana"},
    )
    return Question(delivery, "hana", "order-sign", drafts, frozenset({"MedicationRequest/1"}))


def test_nothing_that_names_the_patient_is_left() -> None:
    """No id, number, name or address; of what is contained only medications; nobody else's."""
    drafts = Delivery(uses=[MedicationRequest(id="1", subject=OURS, contained=CONTAINED)])
    question = take_identity(asked(drafts), "p5eudonym")

    written = write_inputs(question, applies=True)

    assert question.patient == "p5eudonym"
    for told in ("hana", "Hana", "Novak", "1234", "other", "ehr.example", "theirs"):
        assert told.encode() not in written
    record = json.loads(written)["record"]
    assert [patient["id"] for patient in record["patients"]] == ["p5eudonym"]
    assert [each["id"] for each in record["observations"]] == ["ck", "mine"]
    assert b"prednisone" in written


def test_the_question_comes_back_as_it_was_answered() -> None:
    """Record, drafts, hook, what was selected, and what is complete or not."""
    question = take_identity(
        asked(Delivery(uses=[MedicationRequest(id="1")], unread={"MedicationRequest"})), "p5"
    )

    again = read_inputs(write_inputs(question, applies=True), "p5", "order-sign")

    assert again.drafts is not None
    assert question.drafts is not None
    assert again.delivery.observations == question.delivery.observations
    assert again.delivery.allergies == question.delivery.allergies
    assert again.delivery.uses[0].contained == question.delivery.uses[0].contained
    assert again.delivery.delivered == {"Observation", "Condition"}
    assert again.drafts.uses == question.drafts.uses
    assert again.drafts.unread == {"MedicationRequest"}
    assert (again.patient, again.hook) == ("p5", "order-sign")
    assert again.selected == frozenset({"MedicationRequest/1"})


ELSEWHERE = "https://other.example/fhir/Medication/m1"
THERE = "https://ehr.example/fhir/Medication/m1"


def prescribed(reference: str) -> MedicationRequest:
    """Make up an order that only refers to its drug."""
    return MedicationRequest(subject=OURS, medicationReference=Reference(reference))


def named(question: Question) -> list[str | None]:
    """Return the Medications that are found by the orders and drafts of a question."""
    assert question.drafts is not None
    known = question.delivery.medications
    pointers = [
        use.medicationReference
        for use in (*question.delivery.uses, *question.drafts.uses)
        if use.medicationReference is not None
    ]
    found = [find_medication(pointer.reference or "", known) for pointer in pointers]
    return [None if medication is None else medication.id for medication in found]


def test_a_medication_is_found_again_at_its_server_only() -> None:
    """What is kept says of each reference whether it is to the server of the record."""
    question = asked(Delivery(uses=[prescribed(ELSEWHERE), prescribed(THERE)]))
    question.delivery.uses = [prescribed(THERE), prescribed(ELSEWHERE)]
    question.delivery.medications = {"Medication/m1": Medication(id="m1")}
    question.delivery.server = "ehr.example/fhir"
    taken = take_identity(question, "p5")

    again = read_inputs(write_inputs(taken, applies=True), "p5", "order-sign")

    assert named(taken) == named(again) == ["m1", None, None, "m1"]


def test_a_decision_of_before_reads_its_medications_as_it_did() -> None:
    """Then the end of a reference counted, whatever server it named, unless its whole was known."""
    written = {
        "record": {
            "uses": [
                {"resourceType": "MedicationRequest", "medicationReference": {"reference": each}}
                for each in (ELSEWHERE, f"{THERE}/_history/2", "https://x/y", "Medication/m1")
            ],
            "medications": {
                "Medication/m1": {"resourceType": "Medication", "id": "m1"},
                "https://x/y": {"resourceType": "Medication", "id": "m2"},
            },
        },
        "drafts": {
            "uses": [
                {
                    "resourceType": "MedicationRequest",
                    "medicationReference": {"reference": ELSEWHERE},
                }
            ]
        },
    }

    again = read_inputs(json.dumps(written).encode(), "p5", "order-sign")

    assert named(again) == ["m1", "m1", "m2", "m1", "m1"]


def test_of_whom_the_rules_are_not_about_only_conditions_are_written() -> None:
    """They tell that; nothing else was looked at."""
    question = take_identity(asked(), "p5")

    record = json.loads(write_inputs(question, applies=False))["record"]

    assert set(record) == {"conditions", "delivered"}
