import json
from typing import Any
from urllib.parse import parse_qsl, quote

import msgspec
import pytest
from msgspec import Raw

from cds.chart.vocabulary import (
    AntibodyEntry,
    MeasureEntry,
    ObservationEntry,
    PrefetchEntry,
    System,
    Vocabulary,
)
from cds.fhir.bundles import Delivery, keep_about
from cds.hooks.outcomes import Refused
from cds.hooks.prefetch import LONGEST_QUERY, Template, make_templates, read_prefetch
from cds.located import FilesInvalid
from cds.rules.ruleset import RuleSet

OBSERVATIONS = "Observation?patient={{context.patientId}}&code={codes}"

VOCABULARY = Vocabulary(
    systems={
        "loinc": System(url="http://loinc.org", aliases=("urn:oid:2.16.840.1.113883.6.1",)),
        "own": System(url="https://own.example"),
    },
    observations={
        "score": ObservationEntry(title="Score", units="u", codes={"own": {"score": "Score"}}),
        "lab": ObservationEntry(
            title="Lab",
            units="u",
            codes={"loinc": {"1-1": "Lab"}},
            unverified={"loinc": {"2-2": "Lab, recalled"}, "own": {"lab": "Lab"}},
        ),
    },
    measures={
        "strength": MeasureEntry(
            title="Strength",
            instruments=("score",),
            codes={"own": {"any-score": "Score"}},
            maximum={"own": {"maximum": "Maximum"}},
        )
    },
    antibodies={"ab": AntibodyEntry(title="Ab", codes={"loinc": {"3-3": "Ab"}})},
    prefetch={
        "patient": PrefetchEntry(resource="Patient", query="Patient/{{context.patientId}}"),
        "measures": PrefetchEntry(
            resource="Observation", query=OBSERVATIONS, codes_of=("measures",)
        ),
        "laboratory": PrefetchEntry(
            resource="Observation", query=OBSERVATIONS, codes_of=("observations", "antibodies")
        ),
    },
)

PATIENT = Template("patient", "Patient", "Patient/{{context.patientId}}", ())
CONDITIONS = Template("conditions", "Condition", "Condition?patient={{context.patientId}}", ())
CONDITION = {"resourceType": "Condition", "id": "c1", "code": {"text": "Dermatomyositis"}}

Json = dict[str, Any]


def bundle(*resources: Json, **fields: Any) -> Json:
    """Return the answer to a search."""
    entry = [{"resource": resource} for resource in resources]
    return {"resourceType": "Bundle", "type": "searchset", "entry": entry, **fields}


def raw(prefetch: Json) -> dict[str, Raw]:
    """Return prefetch as it is handed on by the request."""
    return msgspec.json.decode(json.dumps(prefetch), type=dict[str, Raw])


def read(*templates: Template, **prefetch: Any) -> Delivery:
    """Read what was sent for some templates, about patient p1."""
    return read_prefetch(raw(prefetch), templates, "p1")


def problems(*templates: Template, **prefetch: Any) -> tuple[str, ...]:
    """Return what cannot be had, after asserting that the call is refused for it."""
    with pytest.raises(Refused) as refusal:
        read(*templates, **prefetch)
    assert (refusal.value.status, refusal.value.issue_type) == (412, "incomplete")
    return refusal.value.problems


# --- templates -----------------------------------------------------------------------------------


def test_a_template_asks_for_the_codes_of_its_sections_by_canonical_address() -> None:
    """Measures ask for their own codes, their maximum and their instruments; the rest is apart."""
    queries = {t.key: t.query.partition("&code=")[2] for t in make_templates(VOCABULARY)}

    assert queries["measures"].split(",") == [
        "https://own.example|any-score",
        "https://own.example|maximum",
        "https://own.example|score",
    ]
    assert queries["laboratory"].split(",") == [
        "http://loinc.org|1-1",
        "http://loinc.org|2-2",
        "https://own.example|lab",
        "http://loinc.org|3-3",
    ]


def test_a_template_without_codes_stays_as_it_is_written() -> None:
    """The token of the patient is left for the EHR to fill."""
    template = make_templates(VOCABULARY)[0]

    assert template == PATIENT
    assert (template.answer, CONDITIONS.answer) == ("Patient", "Bundle")


def test_codes_that_make_a_query_too_long_are_divided_over_several_keys() -> None:
    """Every code is asked for once, in order, and no query is longer than servers take."""
    many = {f"{n:04}": "" for n in range(500)}
    lab = ObservationEntry(title="Lab", units="u", codes={"loinc": many})
    vocabulary = msgspec.structs.replace(
        VOCABULARY, observations=VOCABULARY.observations | {"lab": lab}
    )
    templates = make_templates(vocabulary)
    divided = [t for t in templates if t.key.startswith("laboratory")]
    asked = [code for t in divided for code in t.codes]

    assert len(divided) > 2
    assert [t.key for t in divided] == [
        "laboratory",
        *(f"laboratory-{n}" for n in range(2, len(divided) + 1)),
    ]
    assert asked == [*(("http://loinc.org", code) for code in many), ("http://loinc.org", "3-3")]
    for template in divided:
        sent = template.query.replace("{{context.patientId}}", "x" * 64)
        assert len(quote(sent, safe="?&=")) <= LONGEST_QUERY
        written = template.query.partition("&code=")[2]
        assert written == ",".join(f"{system}|{code}" for system, code in template.codes)


def test_only_the_recommended_query_parameters_are_used(templates: tuple[Template, ...]) -> None:
    """Reads by id, references, tokens, and sorting by date are what every EHR can do."""
    for template in templates:
        resource, _, query = template.query.partition("?")
        asked = dict(parse_qsl(query, strict_parsing=True)) if query else {}
        if not query:
            assert resource == "Patient/{{context.patientId}}"
            continue
        assert resource == template.resource
        assert asked.pop("patient") == "{{context.patientId}}"
        assert asked.pop("_sort", "-date") == "-date"
        assert all("|" in code for code in asked.pop("code", "|").split(","))
        assert asked == {}


def test_a_query_that_is_too_long_is_an_error_of_the_rules() -> None:
    """One code that is too long cannot be divided; exactly the longest passes."""
    alone = "Observation?patient=" + "x" * 64 + "&code=https%3A%2F%2Fown.example%7C"

    def lengthened(by: int) -> Vocabulary:
        long = ObservationEntry(title="", units="u", codes={"own": {"x" * by: ""}})
        return msgspec.structs.replace(
            VOCABULARY, observations=VOCABULARY.observations | {"score": long}
        )

    spare = LONGEST_QUERY - len(alone)

    assert [len(t.codes) for t in make_templates(lengthened(spare)) if "measures" in t.key] == [
        2,
        1,
    ]
    with pytest.raises(FilesInvalid, match=r"prefetch\.measures.* 2001 characters"):
        make_templates(lengthened(spare + 1))


def test_every_observation_code_of_the_vocabulary_is_asked_for(
    ruleset: RuleSet, templates: tuple[Template, ...]
) -> None:
    """What the chart could read is never left behind by the queries that the project ships."""
    asked = {code for template in templates for code in template.codes}
    canonical = {system.url for system in ruleset.terms.vocabulary.systems.values()}
    known = {(url, code) for url, code in ruleset.terms.observations if url in canonical}

    assert known
    assert known - asked == set()


# --- what was sent -------------------------------------------------------------------------------


def test_point_08_what_is_sent_is_read() -> None:
    """A Patient and a Bundle are read, and their types count as delivered."""
    delivery = read(
        PATIENT,
        CONDITIONS,
        patient={"resourceType": "Patient", "id": "p1"},
        conditions=bundle(CONDITION),
    )

    assert [p.id for p in delivery.patients] == ["p1"]
    assert [c.id for c in delivery.conditions] == ["c1"]
    assert delivery.delivered == {"Patient", "Condition"}
    assert delivery.incomplete == set()
    assert delivery.excluded == []


def test_point_08_null_says_that_there_is_nothing() -> None:
    """Null satisfies its key: the type is delivered, and empty."""
    delivery = read(PATIENT, CONDITIONS, patient=None, conditions=None)

    assert delivery.delivered == {"Patient", "Condition"}
    assert (delivery.patients, delivery.conditions) == ([], [])


@pytest.mark.parametrize("empty", [bundle(), {"resourceType": "Bundle"}])
def test_point_08_an_empty_bundle_says_that_there_is_nothing(empty: Json) -> None:
    """A search without a hit satisfies its key, with or without a list of entries."""
    assert "Condition" in read(CONDITIONS, conditions=empty).delivered


def test_point_08_every_key_that_is_missing_is_named() -> None:
    """All keys that cannot be used are told at once, with what to do."""
    first, second = problems(PATIENT, CONDITIONS)

    assert first.startswith("`prefetch.patient` is missing")
    assert second.startswith("`prefetch.conditions` is missing")
    assert "or null where the record holds nothing" in second


def test_point_08_an_operation_outcome_is_not_data() -> None:
    """Where the query failed on the client's side, the key is not satisfied."""
    outcome = {
        "resourceType": "OperationOutcome",
        "issue": [{"severity": "error", "code": "exception", "diagnostics": "Doe, Jane"}],
    }

    (problem,) = problems(CONDITIONS, conditions=outcome)

    assert problem.startswith("`prefetch.conditions` is an OperationOutcome")
    assert "Jane" not in problem


def test_point_08_pages_that_are_all_there_are_read() -> None:
    """Search pages in one Bundle, joined by `next`, are one answer."""
    one, two = "https://ehr.example/Condition?page=1", "https://ehr.example/Condition?page=2"
    links = [{"relation": "self", "url": one}, {"relation": "next", "url": two}]
    first = bundle(CONDITION, link=links)
    second = bundle({**CONDITION, "id": "c2"}, link=[{"relation": "self", "url": two}])

    delivery = read(CONDITIONS, conditions=bundle(first, second, type="collection"))

    assert [c.id for c in delivery.conditions] == ["c1", "c2"]


def test_point_08_a_page_that_is_not_there_is_missed() -> None:
    """What lies on a further page may change the advice, so the key is not satisfied."""
    link = [{"relation": "next", "url": "https://ehr.example/Condition?patient=Jane&page=2"}]

    (problem,) = problems(CONDITIONS, conditions=bundle(CONDITION, link=link))

    assert problem.startswith("`prefetch.conditions` has a further page")
    assert "Jane" not in problem


def test_point_08_an_error_among_the_entries_is_not_a_complete_answer() -> None:
    """A server that says in its answer that part of it failed has not satisfied the key."""
    outcome = {"resourceType": "OperationOutcome", "issue": [{"severity": "error"}]}

    (problem,) = problems(CONDITIONS, conditions=bundle(CONDITION, outcome))

    assert problem.startswith("`prefetch.conditions` is not complete")


def test_point_08_a_warning_among_the_entries_does_no_harm() -> None:
    """Servers add remarks to an answer that is complete."""
    outcome = {"resourceType": "OperationOutcome", "issue": [{"severity": "warning"}]}

    assert len(read(CONDITIONS, conditions=bundle(CONDITION, outcome)).conditions) == 1


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (CONDITION, "should be a Bundle, but is a Condition"),
        ({"resourceType": "Basic", "id": "Jane"}, "it is a resource of another type"),
        ({"resourceType": "Jane"}, "it is a resource of another type"),
        ({}, "has no resourceType"),
        ({"resourceType": "Bundle", "id": "Jane", "entry": {}}, "`Bundle.entry`"),
        ([], "got `array` (at prefetch.conditions)"),
        ("Jane", "got `str`"),
        (0, "got `int`"),
        (False, "got `bool`"),
    ],
)
def test_point_08_anything_else_is_not_satisfied(value: object, told: str) -> None:
    """What is no answer to the query is refused with the reason, and without repeating it."""
    (problem,) = problems(CONDITIONS, conditions=value)

    assert problem.startswith("`prefetch.conditions` should be a Bundle")
    assert told in problem
    assert "Jane" not in problem


def test_one_unreadable_entry_does_not_spoil_a_key() -> None:
    """The entry is listed as excluded, and the others are read."""
    broken = {"resourceType": "Condition", "id": "c2", "code": "dermatomyositis"}

    delivery = read(CONDITIONS, conditions=bundle(broken, CONDITION))

    assert [c.id for c in delivery.conditions] == ["c1"]
    assert [e.reference for e in delivery.excluded] == ["Condition/c2"]


def test_keys_that_nobody_asked_for_are_ignored() -> None:
    """More prefetch than discovery asks for does no harm, whatever it is."""
    assert read(CONDITIONS, conditions=None, more="anything").delivered == {"Condition"}


@pytest.mark.parametrize("patient", [{"resourceType": "Patient"}, bundle()])
def test_a_patient_without_id_or_none_at_all_is_accepted(patient: Json) -> None:
    """The age is then unknown, which is no reason to withhold the rest."""
    assert read(PATIENT, patient=patient).delivered == {"Patient"}


@pytest.mark.parametrize("wrap", [lambda resource: resource, bundle])
def test_another_patient_than_that_of_the_context_is_never_used(wrap: Any) -> None:
    """A call whose data are another person's is refused as a whole, and not as incomplete."""
    with pytest.raises(Refused, match="another Patient than") as refusal:
        read(CONDITIONS, PATIENT, patient=wrap({"resourceType": "Patient", "id": "p2"}))

    assert refusal.value.status == 400
    assert "p2" not in str(refusal.value)


# --- what holds nothing --------------------------------------------------------------------------

OBSERVATION = {"resourceType": "Observation", "id": "o1", "status": "final"}
REMARK = {"resourceType": "OperationOutcome", "issue": [{"severity": "information"}]}
UNFIT = "has entries, and none of them is of the type that was asked for and can be read"


@pytest.mark.parametrize(
    ("sent", "told"),
    [
        (bundle(OBSERVATION), "holds Observation, which was not asked for"),
        (bundle(CONDITION, OBSERVATION), "holds Observation, which was not asked for"),
        (bundle({**CONDITION, "resourceType": "condition"}), UNFIT),
        (bundle({"resourceType": "Basic"}, {"resourceType": "Practitioner"}), UNFIT),
        (bundle({"resourceType": "Patient", "id": "p1"}), UNFIT),
        (bundle({"resourceType": "Medication", "id": "m1"}), UNFIT),
        ({"resourceType": "Bundle", "entry": [{"resource": 5}]}, UNFIT),
        (bundle(total=5), "by its `total` there are 5, and none is in it"),
        (bundle(REMARK, total=2), "by its `total` there are 2, and none is in it"),
        (bundle(bundle(total=5), type="collection"), "by its `total` there are 5"),
        (
            {"resourceType": "Bundle", "entry": [{"fullUrl": "https://ehr.example/Condition/1"}]},
            "there are entries in it that hold no resource",
        ),
        (
            {"resourceType": "Bundle", "entry": [{"resource": CONDITION}, {"fullUrl": "urn:x"}]},
            "there are entries in it that hold no resource",
        ),
        (
            {"resourceType": "Bundle", "entry": [{"response": {"status": "200"}}]},
            "there are entries in it that hold no resource",
        ),
        (
            bundle({"resourceType": "OperationOutcome", "issue": [{"severity": "ERROR"}]}),
            "the server reported an error among its entries",
        ),
        (
            bundle({"resourceType": "OperationOutcome", "issue": [{"code": "exception"}]}),
            "the server reported an error among its entries",
        ),
    ],
)
def test_point_08_a_key_that_holds_nothing_of_its_type_is_not_satisfied(
    sent: Json, told: str
) -> None:
    """That nothing is there is told by null or an empty answer, and by nothing else."""
    (problem,) = problems(CONDITIONS, conditions=sent)

    assert problem.startswith("`prefetch.conditions` ")
    assert told in problem


@pytest.mark.parametrize(
    "sent",
    [
        bundle(total=0),
        bundle(REMARK),
        bundle(REMARK, total=1),
        bundle(REMARK, total=0),
        bundle(bundle(total=0), type="collection"),
        {
            "resourceType": "Bundle",
            "type": "searchset",
            "total": 0,
            "entry": [{"resource": REMARK, "search": {"mode": "outcome"}}],
        },
    ],
)
def test_point_08_an_empty_search_with_a_remark_says_that_there_is_nothing(sent: Json) -> None:
    """Servers tell in an OperationOutcome how they searched, and some count it as a hit."""
    delivery = read(CONDITIONS, conditions=sent)

    assert (delivery.delivered, delivery.conditions) == ({"Condition"}, [])
    assert delivery.incomplete == set()


@pytest.mark.parametrize("total", [0, 1, 50, "50", 1.5, None])
def test_point_08_a_total_beside_what_was_found_is_not_believed(total: object) -> None:
    """Some servers put the size of the page there, or leave it at nothing."""
    delivery = read(CONDITIONS, conditions=bundle(CONDITION, total=total))

    assert [c.id for c in delivery.conditions] == ["c1"]
    assert delivery.incomplete == set()


def test_point_08_an_empty_last_page_says_nothing_against_those_before() -> None:
    """The total of a search is that of all its pages."""
    two = "https://ehr.example/Condition?page=2"
    first = bundle(CONDITION, total=1, link=[{"relation": "next", "url": two}])
    last = bundle(total=1, link=[{"relation": "self", "url": two}])

    delivery = read(CONDITIONS, conditions=bundle(first, last, type="collection"))

    assert [c.id for c in delivery.conditions] == ["c1"]


# --- whose they are ------------------------------------------------------------------------------


def test_a_key_that_is_all_about_another_patient_is_not_satisfied() -> None:
    """It is told of that key, however much of the same type other keys hold of this patient."""
    about = {"subject": {"reference": "Patient/p2"}}
    laboratory = Template("laboratory", "Observation", "Observation?patient=x", ())
    antibodies = Template("antibodies", "Observation", "Observation?patient=x", ())

    (problem,) = problems(
        laboratory,
        antibodies,
        laboratory=bundle({**OBSERVATION, "subject": {"reference": "Patient/p1"}}),
        antibodies=bundle(OBSERVATION | about, OBSERVATION | about),
    )

    assert problem == (
        "`prefetch.antibodies` is about another patient than `context.patientId`: "
        "nothing of it was used."
    )


@pytest.mark.parametrize(
    ("fhir_server", "told"),
    [
        ("https://EHR.example:443/fhir/", None),
        ("http://ehr.example/fhir", None),
        (None, None),
        ("no address", None),
        ("https://gateway.example/fhir", "or begin with the `fhirServer` of the call."),
    ],
)
def test_a_key_that_is_all_about_the_same_id_on_another_server_is_not_satisfied(
    fhir_server: str | None, told: str | None
) -> None:
    """It is told how references should be written; without a server of the call, they tell it."""
    about = {**CONDITION, "subject": {"reference": "https://ehr.example/fhir/Patient/p1"}}
    sent = raw({"conditions": bundle(about, about | {"id": "c2"})})

    if told is None:
        assert len(read_prefetch(sent, (CONDITIONS,), "p1", fhir_server).conditions) == 2
    else:
        with pytest.raises(Refused, match=r"`prefetch.conditions` names the patient at") as refusal:
            read_prefetch(sent, (CONDITIONS,), "p1", fhir_server)
        assert refusal.value.status == 412
        assert refusal.value.problems[0].endswith(told)


def test_one_resource_about_another_patient_leaves_its_key_satisfied() -> None:
    """It is for the reader of the chart to leave it out, and to list it."""
    other = {**CONDITION, "id": "c2", "subject": {"reference": "Patient/p2"}}

    assert len(read(CONDITIONS, conditions=bundle(CONDITION, other)).conditions) == 2


def test_the_patient_may_be_known_by_an_identifier_wherever_its_key_stands() -> None:
    """The Patient is read before the others, and tells by what numbers they may refer to them."""
    number = {"system": "https://hospital.example/number", "value": "4711"}
    about = {**CONDITION, "subject": {"identifier": number}}
    patient = {"resourceType": "Patient", "id": "p1", "identifier": [number]}

    known = read(CONDITIONS, PATIENT, conditions=bundle(about), patient=patient)
    assert len(known.conditions) == 1

    (problem,) = problems(CONDITIONS, PATIENT, conditions=bundle(about), patient=None)
    assert problem.startswith("`prefetch.conditions` is about another patient")


def test_a_medication_that_two_keys_hold_counts_in_the_version_last_updated() -> None:
    """What was sent with one key is known to the orders of another."""
    orders = Template("orders", "MedicationRequest", "MedicationRequest?patient=x", ())
    statements = Template("statements", "MedicationStatement", "MedicationStatement?patient=x", ())

    def medication(text: str, updated: str) -> Json:
        told = {"code": {"text": text}, "meta": {"lastUpdated": updated}}
        return {"resourceType": "Medication", "id": "m1", **told}

    delivery = read(
        orders,
        statements,
        orders=bundle(
            {"resourceType": "MedicationRequest", "id": "r1"},
            medication("azathioprine", "2026-02-01T00:00:00Z"),
        ),
        statements=bundle(
            {"resourceType": "MedicationStatement", "id": "s1"},
            medication("methotrexate", "2026-01-01T00:00:00Z"),
        ),
    )

    (code,) = {medication.code for medication in delivery.medications.values()}
    assert code is not None
    assert code.text == "azathioprine"


# --- optional keys -------------------------------------------------------------------------------

ALLERGIES = Template(
    "allergies",
    "AllergyIntolerance",
    "AllergyIntolerance?patient={{context.patientId}}",
    (),
    optional=True,
)
ALLERGY = {
    "resourceType": "AllergyIntolerance",
    "id": "a1",
    "code": {"text": "Rituximab"},
    "patient": {"reference": "Patient/p1"},
}
OTHERS = {**ALLERGY, "patient": {"reference": "Patient/other"}}


@pytest.mark.parametrize(
    "sent",
    [
        {},
        {"allergies": {"resourceType": "OperationOutcome", "issue": []}},
        {"allergies": bundle(OTHERS)},
        {"allergies": bundle(CONDITION)},
        {"allergies": bundle(ALLERGY, link=[{"relation": "next", "url": "https://x.example/2"}])},
    ],
)
def test_a_call_without_an_optional_key_is_read_and_lists_it(sent: Json) -> None:
    """Nothing of it is used, its type is not delivered, and the reason is listed."""
    delivery = read(CONDITIONS, ALLERGIES, conditions=bundle(CONDITION), **sent)
    assert delivery.delivered == {"Condition"}
    assert delivery.allergies == []
    (excluded,) = delivery.excluded
    assert excluded.reference == "prefetch.allergies"


def test_an_optional_key_that_is_sent_is_read_as_any_other() -> None:
    """Its resources count, and null says that there are none."""
    delivery = read(ALLERGIES, allergies=bundle(ALLERGY))
    assert [allergy.id for allergy in delivery.allergies] == ["a1"]
    assert delivery.delivered == {"AllergyIntolerance"}
    assert read(ALLERGIES, allergies=None).delivered == {"AllergyIntolerance"}


def test_a_refusal_names_only_the_keys_that_are_needed() -> None:
    """What could be gone without is not asked for."""
    with pytest.raises(Refused) as refused:
        read(CONDITIONS, ALLERGIES)
    (problem,) = refused.value.problems
    assert problem.startswith("`prefetch.conditions`")


A_NAMESAKE = {
    "resourceType": "Patient",
    "id": "p1",
    "identifier": [{"value": "2"}],
    "birthDate": "2015-01-01",
    "meta": {"lastUpdated": "2024-01-01T00:00:00Z"},
}
AT_ANOTHER_SERVER = {"fullUrl": "https://other.example/fhir/Patient/p1", "resource": A_NAMESAKE}


@pytest.mark.parametrize("fhir_server", [None, "https://ehr.example/fhir"])
def test_a_namesake_among_what_was_sent_is_not_the_patient(fhir_server: str | None) -> None:
    """A Patient of another server who has the same id is left out, and what is about them."""
    patient = {"resourceType": "Patient", "id": "p1", "birthDate": "1950-01-01"}
    mine = {
        "fullUrl": "https://ehr.example/fhir/Condition/c1",
        "resource": {**CONDITION, "subject": {"reference": "https://ehr.example/fhir/Patient/p1"}},
    }
    theirs = {"resource": {**CONDITION, "id": "c2", "subject": {"identifier": {"value": "2"}}}}
    sent = {"resourceType": "Bundle", "entry": [mine, AT_ANOTHER_SERVER, theirs]}

    delivery = read_prefetch(
        raw({"patient": patient, "conditions": sent}), (CONDITIONS, PATIENT), "p1", fhir_server
    )
    keep_about(delivery, "p1")

    assert [p.birthDate for p in delivery.patients] == ["1950-01-01"]
    assert [c.id for c in delivery.conditions] == ["c1"]


def test_of_two_patients_with_one_id_on_two_servers_none_is_chosen() -> None:
    """Where nothing tells which of them the call is about, the key is not satisfied."""
    first = {"fullUrl": "https://ehr.example/fhir/Patient/p1", "resource": A_NAMESAKE}
    both = {"resourceType": "Bundle", "entry": [first, AT_ANOTHER_SERVER]}

    (problem,) = problems(PATIENT, patient=both)

    assert problem.startswith("`prefetch.patient` has entries, and none of them")
