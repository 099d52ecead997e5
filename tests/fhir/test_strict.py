import json
import subprocess
import sys
from decimal import Decimal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cds.fhir.strict import Fault, NotValid, validate, validated

OBSERVATION: dict[str, object] = {
    "resourceType": "Observation",
    "status": "final",
    "code": {"text": "creatine kinase"},
}
REQUEST: dict[str, object] = {
    "resourceType": "MedicationRequest",
    "status": "draft",
    "intent": "proposal",
    "medicationCodeableConcept": {"text": "methylprednisolone"},
    "subject": {"reference": "Patient/p1"},
}


def faults_of(resource: object, place: str = "") -> list[str]:
    """Return the faults of a resource as they are printed."""
    return [str(f) for f in validate(json.dumps(resource).encode(), place)]


def test_a_valid_resource_has_no_faults() -> None:
    """An Observation and a MedicationRequest with what R4 requires pass."""
    assert faults_of(OBSERVATION) == []
    assert faults_of(REQUEST) == []


def test_r4_is_the_version_validated_against() -> None:
    """An order as R4 has it passes and as R5 has it fails: the package itself defaults to R5."""
    r5 = {key: value for key, value in REQUEST.items() if key != "medicationCodeableConcept"}
    r5["medication"] = {"concept": {"text": "methylprednisolone"}}
    assert faults_of(r5) == ["MedicationRequest.medication: extra inputs are not permitted"]


def test_every_entry_of_a_bundle_is_validated_by_itself() -> None:
    """The faults of all entries are found, each at its path, and sound entries have none."""
    bundle = {
        "resourceType": "Bundle",
        "type": "collection",
        "entry": [
            {"resource": {**OBSERVATION, "status": 5}},
            {"resource": OBSERVATION},
            {"resource": {**OBSERVATION, "effectiveDateTime": "spring", "mood": "good"}},
            {"resource": {"resourceType": "Telepathy"}},
            {"resource": {"status": "final"}},
            {"resource": 7},
            {"fullUrl": "urn:uuid:0c3151bd-1cbf-4d64-b04d-cd9187a4c6e0"},
        ],
    }
    assert [f.path for f in validate(json.dumps(bundle).encode())] == [
        "Bundle.entry[0].resource.status",
        "Bundle.entry[2].resource.effectiveDateTime",
        "Bundle.entry[2].resource.mood",
        "Bundle.entry[3].resource",
        "Bundle.entry[4].resource",
        "Bundle.entry[5].resource",
    ]


def test_the_bundle_itself_is_validated_too() -> None:
    """Faults of a Bundle's own members, and entries that are none, are found beside the rest."""
    bundle = {"resourceType": "Bundle", "type": "heap", "entry": [{"search": {"score": "high"}}]}
    assert [f.path for f in validate(json.dumps(bundle).encode())] == [
        "Bundle.entry[0].search.score"
    ]
    assert [f.path for f in validate(b'{"resourceType":"Bundle","type":"heap","entry":[]}')] == [
        "Bundle.entry",
        "Bundle.type",
    ]
    assert [f.path for f in validate(b'{"resourceType":"Bundle","type":"batch","entry":[5]}')] == [
        "Bundle.entry[0]"
    ]


def test_bundles_in_bundles_and_contained_resources_have_their_paths() -> None:
    """A fault deep inside is named by the whole path to it."""
    inner = {**OBSERVATION, "contained": [{"resourceType": "Patient", "gender": 3}, {}]}
    page = {"resourceType": "Bundle", "type": "searchset", "entry": [{"resource": inner}]}
    outer = {"resourceType": "Bundle", "type": "collection", "entry": [{"resource": page}]}
    at = "Bundle.entry[0].resource.entry[0].resource.contained"
    assert [f.path for f in validate(json.dumps(outer).encode())] == [f"{at}[0].gender", f"{at}[1]"]


def test_the_place_given_leads_the_path() -> None:
    """Where a resource stands in its document is how its faults are named."""
    assert faults_of({**OBSERVATION, "mood": 1}, "prefetch.labs") == [
        "prefetch.labs.mood: extra inputs are not permitted"
    ]


@pytest.mark.parametrize(
    "name", ["Telepathy", "", "observation", "Period", "Element", "Resource", "String", 5, ["x"]]
)
def test_an_unknown_resource_type_is_a_fault(name: object) -> None:
    """What is no resource of R4 is a fault, also where it is a data type or abstract."""
    assert faults_of({"resourceType": name}) == ["$: is of a type that FHIR R4 does not have"]
    assert faults_of({**OBSERVATION, "contained": [{"resourceType": name}]}) == [
        "Observation.contained[0]: is of a type that FHIR R4 does not have"
    ]


def test_an_unknown_resource_type_in_parameters_is_a_fault() -> None:
    """Where fhir.resources itself meets the unknown type, its KeyError does not get out."""
    parameters = {
        "resourceType": "Parameters",
        "parameter": [{"name": "x", "resource": {"resourceType": "Telepathy"}}],
    }
    assert faults_of(parameters) == [
        "Parameters: holds a resource of a type that FHIR R4 does not have"
    ]


@pytest.mark.parametrize(
    ("member", "fault"),
    [
        (
            {"valueQuantity": {"value": "6.2"}},
            "valueQuantity.value: should be a number, but is text",
        ),
        ({"valueBoolean": "true"}, "valueBoolean: should be true or false, but is text"),
        ({"effectiveDateTime": 20200101}, "effectiveDateTime: should be text, but is a number"),
        ({"component": []}, "component: is empty: leave it out"),
        ({"component": None}, "component: is empty: leave it out"),
        ({"subject": {}}, "subject: is empty: leave it out"),
        ({"resource_type": "Observation"}, "resource_type: is not an element of FHIR R4 here"),
    ],
)
def test_nothing_passes_by_being_taken_for_something_else(
    member: dict[str, object], fault: str
) -> None:
    """What fhir.resources would silently convert or drop is a fault."""
    assert faults_of({**OBSERVATION, **member}) == [f"Observation.{fault}"]


@pytest.mark.parametrize("status", ["nonsense", "Active"])
def test_required_code_lists_are_enforced(status: str) -> None:
    """A status or intent that is not in FHIR's list is a fault that names the list."""
    (fault,) = faults_of({**REQUEST, "status": status})
    assert fault == (
        "MedicationRequest.status: is not one of active, on-hold, cancelled, completed, "
        "entered-in-error, stopped, draft, unknown"
    )
    (fault,) = faults_of({**REQUEST, "intent": status})
    assert fault.startswith("MedicationRequest.intent: is not one of proposal, plan, order,")


def test_code_lists_are_enforced_inside_lists() -> None:
    """A code deep in a resource is named by its whole path."""
    timing = {"repeat": {"dayOfWeek": ["mon", "someday"], "periodUnit": "d"}}
    (fault,) = faults_of({**REQUEST, "dosageInstruction": [{"timing": timing}]})
    assert fault.startswith(
        "MedicationRequest.dosageInstruction[0].timing.repeat.dayOfWeek[1]: is not one of mon,"
    )


def test_no_value_of_the_patient_is_in_a_message() -> None:
    """Messages tell the place and the kind of fault, never what stands there."""
    secret = "Musterfrau"
    patient = {
        "resourceType": "Patient",
        "id": f"{secret} {secret}",
        "gender": secret,
        "birthDate": secret,
        "active": secret,
        "name": secret,
        "multipleBirthInteger": secret,
        "telecom": [{"system": [secret]}, secret],
        "contained": [secret, {"resourceType": secret}],
        "link": [{"other": {"reference": {"x": secret}}}],
    }
    faults = faults_of(patient)
    assert len(faults) > 8
    assert [f for f in faults if secret in f] == []


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"", "is not JSON: Input data was truncated"),
        (b'{"resourceType": NaN}', "is not JSON: JSON is malformed: invalid character (byte 17)"),
        (b'{"resourceType": "\xff"}', "holds text that is not UTF-8"),
        (b"[" * 100_000, "is nested too deeply to be validated"),
        (b"[]", "should be a resource: a JSON object with a resourceType"),
        (b"{}", "has no resourceType"),
    ],
)
def test_what_is_no_json_object_is_a_fault(raw: bytes, message: str) -> None:
    """Any bytes at all get an answer."""
    assert validate(raw, "upload") == [Fault("upload", message)]


def test_a_resource_nested_too_deeply_is_a_fault() -> None:
    """Nesting that is still JSON, but too deep to walk, is told and does not raise."""
    extension = b'{"url": "u", "extension": [' * 300 + b'{"url": "u"}' + b"]}" * 300
    raw = b'{"resourceType": "Basic", "code": {"text": "x"}, "extension": [' + extension + b"]}"
    assert [f.message for f in validate(raw)][:1] == ["is nested too deeply to be validated"]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.floats(allow_nan=False),
    lambda inside: (
        st.lists(inside, max_size=3)
        | st.dictionaries(
            st.sampled_from(["resourceType", "status", "code", "entry", "contained", "id"]), inside
        )
    ),
    max_leaves=8,
)


@given(st.sampled_from(["Observation", "Bundle", "Patient", "MedicationRequest"]), JSON, JSON, JSON)
def test_garbage_gives_faults_and_never_an_exception(
    name: str, one: object, two: object, three: object
) -> None:
    """Whatever stands in a resource, validation answers."""
    resource = {"resourceType": name, "contained": [one], "entry": [two], "code": three}
    assert validate(msgspec.json.encode(resource))


def test_what_is_sent_comes_back_as_plain_json() -> None:
    """A valid resource comes back as JSON objects and numbers, ready to be sent."""
    dose = {"doseAndRate": [{"doseQuantity": {"value": Decimal("0.8"), "unit": "g"}}]}
    sent = validated({**REQUEST, "dosageInstruction": (dose,)})
    assert sent == {
        **REQUEST,
        "dosageInstruction": [{"doseAndRate": [{"doseQuantity": {"value": 0.8, "unit": "g"}}]}],
    }
    assert json.loads(json.dumps(sent)) == sent


def test_what_is_not_valid_is_not_sent() -> None:
    """All faults of what the service made are raised at once."""
    with pytest.raises(NotValid) as refused:
        validated({**REQUEST, "status": "nonsense", "intent": "wish"})
    assert [f.path for f in refused.value.faults] == [
        "MedicationRequest.intent",
        "MedicationRequest.status",
    ]
    assert str(refused.value).count("\n") == 1


def test_importing_costs_nothing_until_something_is_validated() -> None:
    """The slow import of fhir.resources waits for the first validation."""
    code = "import sys, cds.fhir.strict; print('fhir.resources' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "False"
