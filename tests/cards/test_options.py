"""Options of cards: evidence, approval, what the patient had, and what speaks against them."""

import json
from collections.abc import Callable

import pytest

from cds.advice import Advice, advise
from cds.cards.card import Card
from cds.cards.options import options_blocks
from cds.cards.shown import shown
from cds.cards.texts import Telling
from cds.fhir.bundles import RESOURCE_TYPES, Delivery, decode, read_resource
from cds.rules.ruleset import RuleSet
from tests.cards.conftest import AS_OF
from tests.cards.test_detail import rows

WARNED = "Options that are contraindicated or advised against in this patient"
RECORD = "What speaks against options, from the record"

Example = Callable[[str], Advice]
Tell = Callable[[str, str], Telling]


def detail(advice: Advice) -> str:
    """The detail of the first card of a patient, which is the most urgent."""
    return advice.cards[0].detail


def first_table(detail: str) -> list[list[str]]:
    """The cells of the first table of a card, without its head."""
    part = next(block for block in detail.split("\n\n") if block.startswith("| "))
    return [line[2:-2].split(" | ") for line in part.splitlines()[2:]]


def changed(bundle: bytes, change: Callable[[dict[str, object]], bool]) -> bytes:
    """A Bundle with only the resources that a change keeps."""
    content = json.loads(bundle)
    content["entry"] = [e for e in content["entry"] if change(e["resource"])]
    return json.dumps(content).encode()


# --- what the patient had ------------------------------------------------------------------------


def test_each_option_says_what_the_patient_had_of_it(example: Example) -> None:
    """Earlier infusions with their dates; a drug never had is not on record."""
    options = {row[0]: row[3] for row in rows(detail(example("refractory-previous-exposure")),
                                              "Options")}  # fmt: skip
    assert options["Rituximab"] == "rituximab 2024-03-04 to 2024-03-18, given"
    assert options["Intravenous immunoglobulin 2 g/kg every 4 weeks"] == (
        "intravenous immunoglobulin 2025-01-13 to 2025-03-10, given"
    )
    assert options["Azathioprine"] == "not on record"


def test_what_was_never_tried_stands_before_what_was(example: Example) -> None:
    """Drugs that were given and stopped come last; else the order is that of the authors."""
    text = detail(example("refractory-previous-exposure"))
    assert [row[0] for row in rows(text, "Options")] == [
        "Azathioprine",
        "Calcineurin inhibitor (tacrolimus or ciclosporin)",
        "Tofacitinib XR 11 mg daily",
        "Ruxolitinib",
        "Methotrexate",
        "Intravenous immunoglobulin 2 g/kg every 4 weeks",
        "Rituximab",
    ]


def test_a_class_of_which_one_drug_was_given_was_tried(
    bundle: Callable[[str], bytes], advise_on: Callable[[bytes], Advice]
) -> None:
    """After ciclosporin the calcineurin inhibitors stand behind the JAK inhibitors."""
    content = json.loads(bundle("rp-ild-in-pregnancy"))
    content["entry"] = [
        e for e in content["entry"] if "pregnancy-pregnan" not in e["resource"]["id"]
    ]
    for entry in content["entry"]:
        resource = entry["resource"]
        if resource["id"].endswith("azathioprine-2026-09-02"):
            resource["medicationCodeableConcept"] = {"text": "Ciclosporin capsules"}
            resource["status"] = "stopped"
    text = detail(advise_on(json.dumps(content).encode()))
    names = [row[0] for row in rows(text, "Options")]
    assert names[-3] == "JAK inhibitor"
    assert names[-1] == "Calcineurin inhibitor (tacrolimus or ciclosporin)"


def test_what_is_being_given_is_named_and_not_proposed(example: Example) -> None:
    """Mycophenolate that the patient has is no row of the options."""
    text = detail(example("chronic-progressive-ild"))
    assert "Mycophenolate" not in [row[0] for row in rows(text, "Options")]
    assert "**Being given already:** mycophenolate now, since 2024-12-16." in text


def test_what_is_being_given_and_speaks_against_itself_is_said(
    bundle: Callable[[str], bytes], advise_on: Callable[[bytes], Advice]
) -> None:
    """A drug that goes on in pregnancy though it is teratogenic is not passed over."""
    content = json.loads(bundle("rp-ild-in-pregnancy"))
    for entry in content["entry"]:
        resource = entry["resource"]
        if resource["id"].endswith("azathioprine-2026-09-02"):
            resource["medicationCodeableConcept"] = {"text": "Mycophenolate mofetil tablets"}
    text = detail(advise_on(json.dumps(content).encode()))
    (given,) = [line for line in text.splitlines() if line.startswith("**Being given already:**")]
    assert "mycophenolate now, since 2026-09-02, **contraindicated**: teratogenic" in given


def test_without_the_orders_nobody_knows_what_was_had(telling: Tell) -> None:
    """What is missing is not told as never had."""
    told = telling("escalate-inadequate-response", "refractory-previous-exposure")
    values = {**told.evaluation.values, "drug.ruxolitinib.ever": None}
    evaluation = type(told.evaluation)(values, told.evaluation.outcomes, told.evaluation.selections)
    rule = next(r for r in told.ruleset.rules if r.id == "escalate-inadequate-response")
    assert rule.card is not None
    blocks = options_blocks(
        shown(rule.card, evaluation.values),
        Telling(told.ruleset, told.chart, evaluation, told.parameters),
    )
    (ruxolitinib,) = [line for line in "\n".join(blocks).splitlines() if "| Ruxolitinib" in line]
    assert "; not known whether given before |" in ruxolitinib


# --- what speaks against it ----------------------------------------------------------------------


def test_contraindicated_options_stand_apart_with_the_reason(example: Example) -> None:
    """In pregnancy teratogenic drugs are no proposal, and say why, with the source."""
    text = detail(example("rp-ild-in-pregnancy"))
    assert [row[0] for row in rows(text, "Options")] == [
        "Intravenous immunoglobulin",
        "Calcineurin inhibitor (tacrolimus or ciclosporin)",
        "Prophylaxis against Pneumocystis, beside the treatment",
    ]
    warned = {row[0]: row[3] for row in rows(text, WARNED)}
    assert list(warned) == ["Rituximab", "Cyclophosphamide", "Mycophenolate", "JAK inhibitor"]
    for drug in ("Cyclophosphamide", "Mycophenolate"):
        assert "**contraindicated**: teratogenic" in warned[drug]
        assert "[Götestam Skorpen C et al. 2016](https://doi.org/" in warned[drug]


def test_each_jak_inhibitor_cites_the_label_that_speaks_of_it(example: Example) -> None:
    """What is contraindicated in pregnancy is not linked to the label of another drug."""
    warned = {row[0]: row[3] for row in rows(detail(example("rp-ild-in-pregnancy")), WARNED)}
    reasons = warned["JAK inhibitor"].split("**contraindicated** ")[1:]
    cited = {reason.split(":")[0]: reason.split("[")[1].split("]")[0] for reason in reasons}
    assert cited == {
        "(tofacitinib)": "Le Moniteur des pharmacies 2026",
        "(baricitinib)": "Eli Lilly 2024",
        "(upadacitinib)": "AbbVie 2024",
        "(ruxolitinib)": "Novartis 2026",
        "(filgotinib)": "MIMS Singapore 2026",
    }


@pytest.mark.parametrize(
    ("system", "code"),
    [("http://snomed.info/sct", "62403005"), ("http://hl7.org/fhir/sid/icd-10-cm", "D55.0")],
)
def test_dapsone_is_advised_against_in_a_known_g6pd_deficiency(
    bundle: Callable[[str], bytes],
    advise_on: Callable[[bytes], Advice],
    system: str,
    code: str,
) -> None:
    """Beside prophylaxis it stands that the deficiency is known, and below where that is from."""
    content = json.loads(bundle("rp-ild-mda5"))
    patient = next(e["resource"] for e in content["entry"] if "birthDate" in e["resource"])
    deficiency = {
        "resourceType": "Condition",
        "id": "g6pd",
        "code": {"coding": [{"system": system, "code": code}]},
        "subject": {"reference": f"Patient/{patient['id']}"},
        "onsetDateTime": "2001-05-07",
    }
    content["entry"].append({"resource": deficiency})
    text = detail(advise_on(json.dumps(content).encode()))
    row = next(row for row in rows(text, "Options") if row[0].startswith("Prophylaxis"))
    assert "**advised against** (dapsone): G6PD deficiency is recorded" in row[3]
    assert "(Condition/g6pd)" in text.split(f"**{RECORD}**")[1]


def test_care_alone_leaves_an_option_a_proposal(example: Example) -> None:
    """Severe renal impairment asks for care with immunoglobulin, and rules methotrexate out."""
    text = detail(example("untreated-with-ild"))
    (methotrexate,) = rows(text, WARNED)
    assert "**contraindicated**: severe renal impairment" in methotrexate[3]
    inhibitor = next(row for row in rows(text, "Options") if row[0].startswith("Calcineurin"))
    assert "**caution**: severe renal impairment" in inhibitor[3]


def test_a_glucocorticoid_is_proposed_with_care_in_hepatitis_b_and_latent_tuberculosis(
    bundle: Callable[[str], bytes], advise_on: Callable[[bytes], Advice]
) -> None:
    """Either may come back on it, which is no reason against the first treatment."""
    content = json.loads(bundle("new-untreated-dermatomyositis"))
    diagnosis = next(e for e in content["entry"] if e["resource"]["resourceType"] == "Condition")
    for code in ("61977001", "11999007"):
        coding = {"system": "http://snomed.info/sct", "code": code}
        recorded = {**diagnosis["resource"], "id": f"c{code}", "code": {"coding": [coding]}}
        content["entry"].append({"resource": recorded})
    options = rows(detail(advise_on(json.dumps(content).encode())), "Options")
    told = next(row[3] for row in options if row[0].startswith("Prednisolone"))
    assert "**caution**: hepatitis B, or a positive test for it, is recorded; it may be" in told
    assert "latent tuberculosis, or a positive test for it, is recorded; unless it" in told


def test_the_strongest_reason_against_an_option_comes_first(example: Example) -> None:
    """Contraindicated before caution, whatever the rules are called, and then what was had."""
    text = detail(example("rp-ild-with-infection"))
    warned = {row[0]: row[3] for row in rows(text, WARNED)}
    rituximab = warned["Rituximab"]
    assert rituximab.startswith("**contraindicated**: not to be given in active serious infection")
    assert rituximab.endswith("; rituximab 2023-03-06 to 2023-03-20, given")
    assert rituximab.index("**advised against**: hepatitis B, or a positive test for it, is") > 0
    calcineurin = warned["Calcineurin inhibitor (tacrolimus or ciclosporin)"]
    assert calcineurin.startswith("**advised against**: infection is recorded")
    assert calcineurin.index("**caution**") > 0
    assert warned["JAK inhibitor"].startswith("**contraindicated**: not to be started in active")


@pytest.mark.parametrize(
    ("egfr", "said"),
    [
        (60, ""),
        (
            59,
            "**caution** (filgotinib): renal impairment, in which (below 60 mL/min/1.73 m2) 100 mg",
        ),
        (15, "**caution** (filgotinib): renal impairment"),
        (14, "**advised against** (filgotinib): the filtration rate is below 15 mL/min/1.73 m2"),
    ],
)
def test_filgotinib_is_told_of_by_the_filtration_rate(
    bundle: Callable[[str], bytes], advise_on: Callable[[bytes], Advice], egfr: int, said: str
) -> None:
    """Below one limit with the lower dose, and below another as not recommended."""
    content = json.loads(bundle("rp-ild-with-infection"))
    for entry in content["entry"]:
        if "-egfr-" in entry["resource"]["id"]:
            entry["resource"]["valueQuantity"]["value"] = egfr
    text = detail(advise_on(json.dumps(content).encode()))
    (row,) = (line for line in text.splitlines() if line.startswith("| JAK inhibitor |"))
    assert said in row
    assert row.count("(filgotinib)") == bool(said)


def test_what_speaks_against_options_is_cited_once(example: Example) -> None:
    """Each fact stands once below the options, however many drugs it is about."""
    text = detail(example("rp-ild-with-infection"))
    cited = text.split(f"**{RECORD}**\n\n")[1].split("\n\n")[0].splitlines()
    assert cited == [
        "- Hepatitis B: Chronic hepatitis B, 2011-04-18 (Condition/rp-ild-infection-hepatitis-b)",
        "- Active serious infection: Community-acquired pneumonia, 2026-11-12 "
        "(Condition/rp-ild-infection-pneumonia)",
        "- eGFR: eGFR 24 mL/min/1.73 m2, 2026-11-13 (Observation/rp-ild-infection-egfr-2026-11-13)",
    ]


def test_what_decides_nothing_is_not_cited_against_options(example: Example) -> None:
    """An age that counts only beside a cardiovascular risk is not cited where there is none."""
    text = detail(example("refractory-dermatomyositis"))
    cited = text.split(f"**{RECORD}**\n\n")[1].split("\n\n")[0]
    assert "- Age: " not in cited


def test_what_is_not_known_and_would_speak_against_options_is_named(example: Example) -> None:
    """A filtration rate that was never measured, a pregnancy of which nothing is recorded."""
    text = detail(example("new-untreated-dermatomyositis"))
    said = text.split("**Not known, and of weight for the options:** ")[1]
    assert said.startswith(
        "eGFR (methotrexate, tacrolimus, ciclosporin); Pregnancy (methotrexate, mycophenolate)."
    )


def test_a_measured_filtration_rate_leaves_nothing_open(
    bundle: Callable[[str], bytes], advise_on: Callable[[bytes], Advice]
) -> None:
    """The line is there without the measurement and not with it."""
    raw = bundle("glucocorticoid-alone")
    without = changed(raw, lambda resource: "egfr" not in str(resource["id"]))
    assert "of weight for the options" not in detail(advise_on(raw))
    assert "of weight for the options:** eGFR (methotrexate" in detail(advise_on(without))


def test_prophylaxis_is_no_proposal_where_the_record_speaks_against_the_drug(
    bundle: Callable[[str], bytes], advise_on: Callable[[bytes], Advice]
) -> None:
    """Of four drugs against Pneumocystis, that is proposed which is neither allergy nor harm."""
    content = json.loads(bundle("pneumocystis-prophylaxis-in-pregnancy"))
    patient = next(e["resource"] for e in content["entry"] if "birthDate" in e["resource"])
    reference = {"reference": f"Patient/{patient['id']}"}
    for drug in ("Co-trimoxazole", "Atovaquone"):
        allergy = {
            "resourceType": "AllergyIntolerance",
            "id": drug.lower(),
            "type": "allergy",
            "code": {"text": drug},
            "patient": reference,
        }
        content["entry"].append({"resource": allergy})
    deficiency = {
        "resourceType": "Condition",
        "id": "g6pd",
        "code": {"coding": [{"system": "http://snomed.info/sct", "code": "62403005"}]},
        "subject": reference,
        "onsetDateTime": "2001-05-07",
    }
    content["entry"].append({"resource": deficiency})
    advice = advise_on(json.dumps(content).encode())
    text = next(card.detail for card in advice.cards if "Pneumocystis" in card.summary)
    assert [row[0] for row in rows(text, "Options")] == ["Pentamidine"]
    warned = {row[0]: row for row in rows(text, WARNED)}
    assert list(warned) == ["Co-trimoxazole", "Atovaquone", "Dapsone"]
    assert any("**advised against**: G6PD deficiency" in cell for cell in warned["Dapsone"])


# --- approval ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("option", "status"),
    [
        ("Intravenous immunoglobulin 2 g/kg every 4 weeks",
         "approved: adult dermatomyositis (2021)"),
        ("Rituximab", "**off label**"),
        ("Tofacitinib XR 11 mg daily", "**off label**"),
    ],
)  # fmt: skip
def test_each_option_says_whether_it_is_approved(
    example: Example, option: str, status: str
) -> None:
    """Approved for what, or off label."""
    found = {row[0]: row[2] for row in rows(detail(example("refractory-dermatomyositis")),
                                            "Options")}  # fmt: skip
    assert found[option] == status


def test_what_was_recalled_of_an_approval_is_said(example: Example) -> None:
    """Only the options whose approval nobody read are named as not verified."""
    text = detail(example("refractory-dermatomyositis"))
    assert "whether approved: Calcineurin inhibitor, Rituximab, Ruxolitinib" in text


# --- draft orders --------------------------------------------------------------------------------


def ordered(rows_: list[list[str]]) -> dict[str, str]:
    """What speaks against each draft, by the first words of it."""
    return {row[0].split(",")[0]: row[1] for row in rows_}


def test_a_draft_says_what_on_record_speaks_against_its_drug(
    ruleset: RuleSet, orders: Callable[[str], dict[str, Card]]
) -> None:
    """One card for all drafts: each drug with its reasons, the strongest first, and the record."""
    card = orders("drugs-ordered-in-pregnancy")["draft-advised-against"]
    said = ordered(first_table(card.detail))
    assert list(said) == ["Mycophenolate mofetil tablets", "Rituximab for infusion"]
    assert said["Mycophenolate mofetil tablets"].startswith("**contraindicated**: teratogenic")
    assert "hepatitis B, or a positive test for it, is recorded" in said["Rituximab for infusion"]
    assert "- Pregnancy: Patient currently pregnant, 2026-08-24" in card.detail


@pytest.mark.parametrize("tofacitinib", ["active", "draft"])
def test_an_immunosuppressive_drug_is_told_of_where_a_jak_inhibitor_is_given_or_ordered_too(
    bundle: Callable[[str], bytes], sign: Callable[[bytes], dict[str, Card]], tofacitinib: str
) -> None:
    """A draft of mycophenolate has the caution that a draft of tofacitinib beside it has."""
    content = json.loads(bundle("jak-inhibitor-selected"))
    for entry in content["entry"]:
        if entry["resource"]["id"] == "jak-selected-tofacitinib-draft":
            entry["resource"]["status"] = tofacitinib
        if entry["resource"]["id"] == "jak-selected-mycophenolate-2023-02-20":
            entry["resource"]["status"] = "draft"
    card = sign(json.dumps(content).encode())["draft-advised-against"]
    said = ordered(first_table(card.detail))
    assert said["Mycophenolate mofetil tablets"].startswith(
        "**caution**: a JAK inhibitor is given or ordered as well"
    )
    assert list(said) == ["Mycophenolate mofetil tablets"]


def test_the_sources_are_those_of_what_speaks_against_the_drafts(
    ruleset: RuleSet, orders: Callable[[str], dict[str, Card]]
) -> None:
    """The card is called after the strongest, and only what holds is said to be unverified."""
    card = orders("drugs-ordered-in-pregnancy")["draft-advised-against"]
    assert ruleset.sources["eular-pregnancy-2016"].title in card.source.label
    assert "reactivation of hepatitis B (HBsAg positive)" in card.detail
    assert "**Not verified in a source:** for how long pregnancy counts, 294 days." in card.detail
    assert "contraindication: " not in card.detail
    despite = orders("ordered-despite-allergy")["draft-advised-against"]
    assert "contraindication: allergy to a drug" in despite.detail
    assert "drug of which too little is known in pregnancy" not in card.detail
    assert "mL/min" not in card.detail


def test_what_has_a_card_of_its_own_is_not_told_twice(
    orders: Callable[[str], dict[str, Card]],
) -> None:
    """Methotrexate with interstitial lung disease is one problem, and one card."""
    assert list(orders("methotrexate-ordered-with-ild")) == ["methotrexate-ordered-with-ild"]


@pytest.mark.parametrize("drug", ["Tofacitinib 5 mg", "Denosumab 60 mg", "Teriparatide 20 µg"])
def test_a_drug_whose_label_forbids_it_in_pregnancy_is_not_ordered_in_silence(
    sign: Callable[[bytes], dict[str, Card]], bundle: Callable[[str], bytes], drug: str
) -> None:
    """Not known whether pregnant it brings the question, and in pregnancy a contraindication."""

    def cards(example: str) -> dict[str, Card]:
        content = json.loads(bundle(example))
        for entry in content["entry"]:
            if entry["resource"].get("status") == "draft":
                entry["resource"]["medicationCodeableConcept"] = {"text": drug}
        return sign(json.dumps(content).encode())

    assert "pregnancy-not-known-with-order" in cards("mycophenolate-ordered-pregnancy-not-known")
    card = cards("drugs-ordered-in-pregnancy")["draft-advised-against"]
    ((_, reasons), *_) = first_table(card.detail)
    assert reasons.startswith("**contraindicated**: ")
    assert "pregnancy" in reasons.split(" ([")[0]


@pytest.mark.parametrize(
    ("drug", "basis"),
    [
        ("Upadacitinib 15 mg", "(recalled, not read)"),
        ("Ruxolitinib 10 mg", "([Clin Pharmacokinet 2023]("),
        ("Filgotinib 200 mg", "([Galapagos 2026]("),
    ],
)
def test_a_dose_in_renal_impairment_cites_what_was_read_of_the_drug(
    sign: Callable[[bytes], dict[str, Card]], bundle: Callable[[str], bytes], drug: str, basis: str
) -> None:
    """Nothing was read of upadacitinib, and it does not borrow the source of another drug."""
    content = json.loads(bundle("untreated-with-ild"))
    (patient,) = {e["resource"]["id"] for e in content["entry"] if "birthDate" in e["resource"]}
    draft = {
        "resourceType": "MedicationRequest",
        "id": "draft",
        "status": "draft",
        "intent": "order",
        "subject": {"reference": f"Patient/{patient}"},
        "medicationCodeableConcept": {"text": drug},
    }
    content["entry"].append({"resource": draft})
    card = sign(json.dumps(content).encode())["draft-advised-against"]
    ((_, reasons),) = first_table(card.detail)
    said = next(each for each in reasons.split("; **") if "renal impairment" in each)
    assert basis in said


def test_a_selected_draft_is_not_told_what_speaks_against_another(
    ruleset: RuleSet, orders: Callable[[str, frozenset[str]], dict[str, Card]]
) -> None:
    """The card is given where a draft is selected that something speaks against."""
    selected = frozenset({"MedicationRequest/drafts-pregnancy-rituximab"})
    assert "draft-advised-against" in orders("drugs-ordered-in-pregnancy", selected)
    other = frozenset({"MedicationRequest/another"})
    assert orders("drugs-ordered-in-pregnancy", other) == {}


# --- what is given -------------------------------------------------------------------------------


def test_a_drug_that_is_given_says_what_on_record_speaks_against_it(example: Example) -> None:
    """A pregnancy while mycophenolate is given brings one card, with the drug and its reason."""
    text = next(
        c.detail for c in example("mycophenolate-in-pregnancy").cards if "being given" in c.summary
    )
    assert "| Given | What speaks against it |" in text
    assert "**contraindicated**: teratogenic, and pregnancy is recorded" in text
    assert "- Pregnancy: Patient currently pregnant, 2026-08-24" in text


def test_an_infection_under_immunosuppression_asks_whether_to_pause_it(
    bundle: Callable[[str], bytes], advise_on: Callable[[bytes], Advice]
) -> None:
    """Sepsis beside mycophenolate and prednisolone brings one card, and none without it."""
    content = json.loads(bundle("mycophenolate-in-pregnancy"))
    pregnancy = next(
        e["resource"]
        for e in content["entry"]
        if e["resource"]["id"] == "given-pregnancy-pregnancy"
    )
    coding = {"system": "http://hl7.org/fhir/sid/icd-10-cm", "code": "A41.9"}
    pregnancy |= {"code": {"coding": [coding], "text": "Sepsis"}, "onsetDateTime": "2026-11-12"}
    advice = advise_on(json.dumps(content).encode())
    given = dict(zip(advice.given, advice.cards, strict=True))
    card = given["immunosuppression-in-infection-given"]
    assert "Sepsis, 2026-11-12" in card.detail
    assert "Mycophenolate mofetil tablets" in card.detail
    assert "The glucocorticoid is not to be stopped at once" in card.detail
    assert "current-advised-against" not in given
    pregnancy["onsetDateTime"] = "2026-01-12"
    pregnancy["recordedDate"] = "2026-01-12"
    long_ago = advise_on(json.dumps(content).encode())
    assert "immunosuppression-in-infection-given" not in long_ago.given


def test_what_is_given_and_has_a_card_of_its_own_is_not_told_twice(example: Example) -> None:
    """Methotrexate with interstitial lung disease is one problem, and one card."""
    assert not any("Given although" in c.summary for c in example("methotrexate-with-ild").cards)


# --- what the patient reacts to ------------------------------------------------------------------


def test_options_the_patient_reacted_to_stand_apart_with_date_and_reaction(
    example: Example,
) -> None:
    """An allergy contraindicates and an intolerance advises against, each with its record."""
    text = detail(example("allergies-on-record"))
    warned = {row[0]: row[3] for row in rows(text, WARNED)}
    assert list(warned) == ["Methotrexate", "Rituximab"]
    assert warned["Rituximab"].startswith(
        "**contraindicated**: allergy to Rituximab: Anaphylaxis 2024-03-18, severe "
        "(criticality high) (AllergyIntolerance/allergic-rituximab)"
    )
    assert warned["Methotrexate"].startswith(
        "**advised against**: intolerance of Methotrexate: Nausea 2023-10, moderate"
    )
    # A refuted allergy, and an intolerance that is over, speak against nothing.
    assert {row[0]: row[3] for row in rows(text, "Options")}["Azathioprine"] == "not on record"
    assert "AllergyIntolerance/allergic-tacrolimus" not in text


def test_a_class_is_an_option_while_the_patient_reacts_to_one_of_its_drugs_only(
    bundle: Callable[[str], bytes], advise_on: Callable[[bytes], Advice]
) -> None:
    """Of two calcineurin inhibitors one is left to consider, and the other is named."""
    content = json.loads(bundle("allergies-on-record"))
    for entry in content["entry"]:
        if entry["resource"]["id"] == "allergic-tacrolimus":
            entry["resource"]["clinicalStatus"]["coding"][0]["code"] = "active"
    options = rows(detail(advise_on(json.dumps(content).encode())), "Options")
    told = next(row[3] for row in options if row[0].startswith("Calcineurin inhibitor"))
    assert told.startswith("**advised against** (tacrolimus): intolerance of Tacrolimus")


def test_allergies_that_are_not_known_are_said_once_and_not_for_each_option(
    bundle: Callable[[str], bytes], ruleset: RuleSet
) -> None:
    """Where the EHR does not serve them, no row changes, and one line says what is not known."""
    delivery = Delivery(delivered=set(RESOURCE_TYPES - {"AllergyIntolerance"}))
    read_resource(decode(bundle("not-improved")), delivery, "Bundle")
    advice = advise(delivery, delivery.patients[0].id or "", ruleset, AS_OF)
    text = next(c.detail for c in advice.cards if "**Options**" in c.detail)
    assert text.count("llergy to a drug that this service knows") == 1
    assert text.count("ntolerance of a drug that this service knows") == 1
    line = next(line for line in text.split("\n") if line.startswith("**Not known"))
    assert "Allergy to a drug that this service knows; Intolerance of a drug" in line


def test_a_drug_is_told_of_that_is_ordered_or_given_despite_an_allergy(
    orders: Callable[[str], dict[str, Card]],
    bundle: Callable[[str], bytes],
    advise_on: Callable[[bytes], Advice],
) -> None:
    """Of draft orders and of what is given, each drug with what the patient is recorded to have."""
    draft = orders("ordered-despite-allergy")["draft-advised-against"]
    ((drug, said),) = first_table(draft.detail)
    assert drug.startswith("Co-trimoxazole 960 mg tablets")
    assert said.startswith(
        "**contraindicated**: allergy or intolerance to Sulfonamides: Stevens-Johnson syndrome"
    )
    content = json.loads(bundle("allergies-on-record"))
    for entry in content["entry"]:
        if entry["resource"]["id"] == "allergic-mycophenolate":
            entry["resource"]["type"] = "allergy"
    advice = advise_on(json.dumps(content).encode())
    given = dict(zip(advice.given, advice.cards, strict=True))["current-advised-against"]
    assert given.indicator == "warning"
    ((drug, why),) = first_table(given.detail)
    assert drug.startswith("Mycophenolate mofetil tablets")
    assert why.startswith("**contraindicated**: allergy to Mycophenolate mofetil: Diarrhoea")
    # The other drug that she is allergic to is not given, and is no reason for this card.
    assert "allergic-rituximab" not in given.detail


def test_an_intolerance_of_a_drug_that_is_given_is_told_and_does_not_warn(
    example: Example,
) -> None:
    """Only the drug that is given, with its record, on a card of its own."""
    advice = example("allergies-on-record")
    cards = dict(zip(advice.given, advice.cards, strict=True))
    assert "current-advised-against" not in cards
    told = cards["current-not-tolerated"]
    assert told.indicator == "info"
    assert "intolerance of Mycophenolate mofetil: Diarrhoea" in told.detail
    assert "intolerance of Methotrexate" not in told.detail
