import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from fastapi.testclient import TestClient

from cds.fhir.bundles import Delivery, decode, read_resource
from cds.hooks.orders import Orders, check_about, read_orders
from cds.hooks.requests import OrderSelectContext
from tests.work import assert_in_proportion, work_of

CASE = "methotrexate-ordered-with-ild"
SUMMARY = "Methotrexate ordered with interstitial lung disease on record"
DRAFTS = "$.context.draftOrders"

Example = Callable[[str], Any]
Json = dict[str, Any]


@pytest.fixture
def signing(example: Example) -> Any:
    """Return a request in which methotrexate and folic acid are about to be signed."""
    return example(CASE)


@pytest.fixture
def selecting(signing: Any) -> Any:
    """Return a request in which methotrexate was selected, and folic acid before it."""
    signing["hook"] = "order-select"
    signing["context"]["selections"] = ["MedicationRequest/methotrexate-ild-methotrexate-draft"]
    return signing


def call(client: TestClient, request: Any) -> Any:
    """Call the service of the hook that a request names."""
    return client.post(f"/cds-services/myositis-{request['hook']}", content=json.dumps(request))


def summaries(client: TestClient, request: Any) -> list[str]:
    """Return the beginnings of the summaries of the cards that a request is answered with."""
    answer = call(client, request)
    assert answer.status_code == 200, answer.text
    return [card["summary"].split(":")[0] for card in answer.json()["cards"]]


def problems(client: TestClient, request: Any) -> list[str]:
    """Return why a request is refused, after asserting that it is refused as malformed."""
    answer = call(client, request)
    assert answer.status_code == 400, answer.text
    return [issue["diagnostics"] for issue in answer.json()["issue"]]


def drafts(request: Any) -> list[Json]:
    """Return the draft orders of a request, to be changed."""
    entries: list[Json] = request["context"]["draftOrders"]["entry"]
    return entries


# --- which cards ---------------------------------------------------------------------------------


def test_a_draft_order_is_answered_with_the_card_about_it(client: TestClient, signing: Any) -> None:
    """Methotrexate that is about to be signed in lung disease gives its card, and only that."""
    assert summaries(client, signing) == [SUMMARY]


def test_without_the_draft_there_is_no_card(client: TestClient, signing: Any) -> None:
    """Folic acid alone gives no card: the hook is about orders, not about the rest of the chart."""
    del drafts(signing)[0]

    assert summaries(client, signing) == []


def test_no_draft_at_all_is_an_answer_without_cards(client: TestClient, signing: Any) -> None:
    """A Bundle without entries is nothing to sign."""
    del signing["context"]["draftOrders"]["entry"]

    assert summaries(client, signing) == []


def test_without_myositis_an_order_has_no_card(client: TestClient, signing: Any) -> None:
    """The gate of the rules is the same for every hook."""
    signing["prefetch"]["conditions"] = None

    assert summaries(client, signing) == []


def test_a_draft_that_cannot_be_read_is_said(client: TestClient, signing: Any) -> None:
    """A draft whose drug nobody can tell is no reason to be silent."""
    draft = drafts(signing)[0]["resource"]
    del draft["medicationCodeableConcept"]
    draft["medicationReference"] = {"identifier": {"value": "4711"}}

    assert summaries(client, signing) == ["A draft order was not looked at"]


def test_other_drafts_are_no_error(client: TestClient, signing: Any) -> None:
    """What is no drug is left aside."""
    drafts(signing).append(
        {
            "resource": {
                "resourceType": "ServiceRequest",
                "id": "x-ray",
                "status": "draft",
                "intent": "order",
                "subject": {"reference": "Patient/methotrexate-ild"},
            }
        }
    )

    assert summaries(client, signing) == [SUMMARY]


# --- order-select --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "selection",
    [
        "MedicationRequest/methotrexate-ild-methotrexate-draft",
        "methotrexate-ild-methotrexate-draft",
        "https://hospital.example/fhir/MedicationRequest/methotrexate-ild-methotrexate-draft",
        "MedicationRequest/methotrexate-ild-methotrexate-draft/_history/1",
    ],
)
def test_the_card_about_a_selected_order_is_given(
    client: TestClient, selecting: Any, selection: str
) -> None:
    """A selection may be written as a reference, as an address or as the id alone."""
    selecting["context"]["selections"] = [selection]

    assert summaries(client, selecting) == [SUMMARY]


def test_of_an_order_selected_before_nothing_is_said_again(
    client: TestClient, selecting: Any
) -> None:
    """When folic acid is selected, the card about methotrexate was given before."""
    selecting["context"]["selections"] = ["MedicationRequest/methotrexate-ild-folic-acid-draft"]

    assert summaries(client, selecting) == []


def test_a_draft_without_an_id_counts_as_selected(client: TestClient, selecting: Any) -> None:
    """No selection could name it, so nobody can say that it was told of before."""
    methotrexate, folic_acid = drafts(selecting)
    del methotrexate["resource"]["id"], methotrexate["fullUrl"]
    selecting["context"]["selections"] = [folic_acid["fullUrl"]]

    assert summaries(client, selecting) == [SUMMARY]


def test_a_draft_known_by_its_address_alone_can_be_selected(
    client: TestClient, selecting: Any
) -> None:
    """What is not stored yet often has a UUID as its address and no id."""
    draft = drafts(selecting)[0]
    del draft["resource"]["id"]
    draft["fullUrl"] = "urn:uuid:0a6f3e0e-8a44-4f0e-9d3c-2d1b6a3d9f10"
    selecting["context"]["selections"] = [draft["fullUrl"]]

    assert summaries(client, selecting) == [SUMMARY]


def test_a_selection_that_is_not_among_the_drafts_is_refused(
    client: TestClient, selecting: Any
) -> None:
    """What was selected could not be looked at, so that no answer would be one about it."""
    selecting["context"]["selections"].append("MedicationRequest/elsewhere")

    (problem,) = problems(client, selecting)
    assert "`$.context.selections[1]` names no entry of `$.context.draftOrders`" in problem


def test_a_selection_of_another_type_is_another_order(client: TestClient, selecting: Any) -> None:
    """An id is one of its type only."""
    selecting["context"]["selections"] = ["ServiceRequest/methotrexate-ild-methotrexate-draft"]

    assert "selections[0]" in problems(client, selecting)[0]


# --- what is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "subject",
    [
        {"reference": "Patient/somebody-else"},
        {"identifier": {"system": "https://hospital.example/number", "value": "1"}},
    ],
)
@pytest.mark.parametrize(
    ("kind", "field"),
    [
        ("MedicationRequest", "subject"),
        ("ServiceRequest", "subject"),
        ("NutritionOrder", "patient"),
    ],
)
def test_a_draft_about_somebody_else_is_refused(
    client: TestClient, signing: Any, subject: Json, kind: str, field: str
) -> None:
    """Where one draft is another patient's, nothing in the request can be trusted."""
    drafts(signing)[1]["resource"] = {"resourceType": kind, "id": "other", field: subject}

    (problem,) = problems(client, signing)
    assert f"`{DRAFTS}.entry[1].resource` is about " in problem
    assert "somebody-else" not in problem


def test_a_draft_about_the_same_id_on_another_server_is_refused(
    client: TestClient, signing: Any
) -> None:
    """What the reference begins with is compared with the `fhirServer` of the call."""
    patient = signing["context"]["patientId"]
    signing["fhirServer"] = "https://EHR.example/fhir/"
    subject = drafts(signing)[0]["resource"]["subject"]

    subject["reference"] = f"https://ehr.example:443/fhir/Patient/{patient}"
    assert summaries(client, signing)

    subject["reference"] = f"https://other.example/fhir/Patient/{patient}"
    (problem,) = problems(client, signing)
    assert f"`{DRAFTS}.entry[0].resource` is about a patient with this id at an address" in problem
    assert "other.example" not in problem


@pytest.mark.parametrize(
    ("sent", "named"),
    [
        ({"resourceType": "Patient", "id": "doe"}, f"`{DRAFTS}` should be a Bundle"),
        ({}, f"missing required field `resourceType` - at `{DRAFTS}`"),
        ([], f"`{DRAFTS}`"),
        (None, f"`{DRAFTS}`"),
        ("doe", f"`{DRAFTS}`"),
        ({"resourceType": "Bundle", "entry": [{}]}, f"at `{DRAFTS}.entry[0]`"),
        (
            {"resourceType": "Bundle", "entry": [{"resource": {"id": "doe"}}]},
            f"at `{DRAFTS}.entry[0].resource`",
        ),
        ({"resourceType": "Bundle", "entry": {"doe": 1}}, f"at `{DRAFTS}.entry`"),
        ({"resourceType": "Bundle", "type": 5}, "`Bundle.type`"),
    ],
)
def test_what_is_no_bundle_of_drafts_is_refused(
    client: TestClient, signing: Any, sent: Any, named: str
) -> None:
    """The answer says where in the request the problem is, and nothing of what stood there."""
    signing["context"]["draftOrders"] = sent

    (problem,) = problems(client, signing)
    assert named in problem
    assert "doe" not in problem


@pytest.mark.parametrize("field", ["draftOrders", "selections"])
def test_what_a_hook_requires_must_be_there(client: TestClient, selecting: Any, field: str) -> None:
    """A call without the orders that it is about is malformed."""
    del selecting["context"][field]

    assert f"`{field}` - at `$.context`" in problems(client, selecting)[0]


def test_a_request_for_another_hook_is_told_so(client: TestClient, example: Example) -> None:
    """What lacks the draft orders because it is for another hook is told the hook."""
    request = json.dumps(example("rp-ild-mda5"))
    answer = client.post("/cds-services/myositis-order-sign", content=request)

    assert answer.status_code == 400
    assert "for the hook order-sign, and `$.hook` names another" in answer.text


# --- many ----------------------------------------------------------------------------------------


def test_more_selections_than_drafts_are_refused(client: TestClient, selecting: Any) -> None:
    """Each selection is of one draft."""
    selecting["context"]["selections"] *= 3

    (problem,) = problems(client, selecting)
    assert (
        "`$.context.selections` names more than the entries of `$.context.draftOrders`" in problem
    )


def test_one_id_may_be_of_several_drafts(client: TestClient, selecting: Any) -> None:
    """An id alone, or an address, selects each draft that has it."""
    methotrexate, folic_acid = drafts(selecting)
    folic_acid["resource"] |= {
        "resourceType": "ServiceRequest",
        "id": methotrexate["resource"]["id"],
    }
    selecting["context"]["selections"] = [methotrexate["resource"]["id"]]

    assert summaries(client, selecting) == [SUMMARY]

    folic_acid["fullUrl"] = methotrexate["fullUrl"] = (
        "urn:uuid:0a6f3e0e-8a44-4f0e-9d3c-2d1b6a3d9f10"
    )
    selecting["context"]["selections"] = [methotrexate["fullUrl"]]

    assert summaries(client, selecting) == [SUMMARY]


def _orders(number: int, patient: str) -> Orders:
    """Return so many drafts about a patient, all of which were selected."""
    subject = {
        "identifier": {"value": "none", "type": {"text": "x"}},
        "reference": f"Patient/{patient}",
    }
    resources = [
        {"resourceType": "ServiceRequest", "id": f"d{i}", "subject": subject} for i in range(number)
    ]
    context = {
        "userId": "Practitioner/1",
        "patientId": patient,
        "selections": [f"ServiceRequest/d{i}" for i in range(number)],
        "draftOrders": {"resourceType": "Bundle", "entry": [{"resource": r} for r in resources]},
    }
    read = read_orders(msgspec.json.decode(json.dumps(context), type=OrderSelectContext))
    assert read is not None
    return read


def test_reading_selections_costs_in_proportion_to_the_drafts() -> None:
    """Drafts are not gone through anew for each selection."""
    assert_in_proportion(lambda number: work_of(lambda: _orders(number, "p1")), 50)


def test_whom_drafts_are_about_costs_in_proportion_to_what_the_patient_is_known_by() -> None:
    """The names of the patient are not gathered anew for each draft."""

    def work(number: int) -> int:
        known: Json = {"resourceType": "Patient", "id": "p1"}
        known["identifier"] = [{"value": str(i)} for i in range(number)]
        delivery = Delivery()
        read_resource(decode(json.dumps(known).encode()), delivery, "Patient")
        orders = _orders(number, "p1")
        return work_of(lambda: check_about(orders, delivery, "p1"))

    assert_in_proportion(work, 50)
