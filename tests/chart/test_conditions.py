import re
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from cds.chart.chart import Chart, read_findings
from cds.chart.coding import LONGEST_TEXT
from tests.chart.conftest import (
    AS_OF,
    FACTS,
    PATIENT,
    TERMS,
    Json,
    ago,
    chart_of,
    coding,
    concept,
    condition,
    deliver,
    fact,
    observation,
    quantity,
    read,
    reasons,
)

DM = "snomed|396230008"
ILD = "snomed|233703007"
RP_ILD = "finding.rapidly_progressive_ild"
HAS_ILD = "finding.interstitial_lung_disease"


def status(code: str | None) -> Json:
    """Return the concept of a status."""
    return {"coding": [{"system": "http://terminology.hl7.org/x", "code": code}]}


def asserted(chart: Chart) -> set[str]:
    """Return the diagnoses and findings of a chart without groups."""
    return {key for key in chart.conditions if key not in chart.terms.condition_groups}


# --- status --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("clinical", "counts"),
    [
        ("active", True),
        ("recurrence", True),
        ("relapse", True),
        (None, True),
        ("inactive", False),
        ("remission", False),
        ("resolved", False),
        ("unheard-of", False),
    ],
)
def test_clinical_status(clinical: str | None, counts: bool) -> None:
    """Active, recurrence, relapse or none at all count; whatever else is listed with its status."""
    of: Json = {"clinicalStatus": status(clinical)} if clinical else {}
    chart = read(condition(DM, **of))
    assert fact(chart, "diagnosis.dermatomyositis") is counts
    assert reasons(chart) == ([] if counts else [f"its clinicalStatus is {clinical}"])


@pytest.mark.parametrize("verification", ["refuted", "entered-in-error"])
def test_denied_conditions_do_not_count(verification: str) -> None:
    """What was refuted or entered in error is listed, though it is active."""
    chart = read(
        condition(DM, clinicalStatus=status("active"), verificationStatus=status(verification))
    )
    assert fact(chart, "diagnosis.dermatomyositis") is False
    assert reasons(chart) == [f"its verificationStatus is {verification}"]


@pytest.mark.parametrize(
    ("verification", "remark"),
    [
        ("confirmed", ""),
        (None, ""),
        ("provisional", "provisional"),
        ("differential", "differential"),
        ("unconfirmed", "unconfirmed"),
    ],
)
def test_doubted_conditions_count_and_say_so(verification: str | None, remark: str) -> None:
    """Provisional and differential diagnoses count and are shown as such."""
    of: Json = {"verificationStatus": status(verification)} if verification else {}
    chart = read(condition(DM, **of))
    assert [a.remark for a in chart.conditions["diagnosis.dermatomyositis"]] == [remark]


@pytest.mark.parametrize(
    ("member", "code", "counts"),
    [
        ("verificationStatus", "refuted", False),
        ("verificationStatus", "confirmed", True),
        ("clinicalStatus", "active", True),
        ("clinicalStatus", "resolved", False),
    ],
)
def test_every_coding_of_a_status_is_looked_at(member: str, code: str, counts: bool) -> None:
    """A local code before or after the standard one hides nothing."""
    both = [{"system": "urn:hospital", "code": "17"}, {"code": code}]
    for codings in (both, both[::-1]):
        of: Json = {member: {"coding": codings}}
        chart = read(condition(DM, **of))
        assert fact(chart, "diagnosis.dermatomyositis") is counts


def test_a_status_may_be_words() -> None:
    """A status without codes counts by its text, whatever the case."""
    assert (
        fact(read(condition(DM, clinicalStatus={"text": "Active"})), "diagnosis.myositis") is True
    )
    gone = read(condition(DM, clinicalStatus={"text": "Resolved"}))
    assert fact(gone, "diagnosis.myositis") is False


@pytest.mark.parametrize(
    ("of", "reason"),
    [
        ({"abatementDateTime": ago(0)}, f"it ended on {AS_OF}"),
        ({"abatementDateTime": "2025"}, "it ended on 2025"),
        ({"abatementPeriod": {"end": ago(9)}}, f"it ended on {ago(9)}"),
        ({"onsetDateTime": ago(-1)}, f"it begins on {ago(-1)}, after {AS_OF}"),
        ({"abatementPeriod": {"start": ago(9)}}, f"it ended on {ago(9)}"),
        ({"abatementPeriod": {"start": ago(9), "end": ago(-9)}}, None),
        ({"abatementDateTime": ago(-1)}, None),
        ({"abatementDateTime": "2026"}, None),  # the year is not over
        (
            {"abatementAge": quantity(40, "a")},
            "it ended, as its abatement says, and no clinicalStatus says otherwise",
        ),
        (
            {"abatementString": "in childhood"},
            "it ended, as its abatement says, and no clinicalStatus says otherwise",
        ),
        ({"onsetDateTime": "2026"}, None),  # the year has begun
        ({"onsetDateTime": ago(0)}, None),
    ],
)
def test_a_condition_counts_from_its_onset_to_its_end(of: Json, reason: str | None) -> None:
    """What has ended or is still to come is left out; a partial date only where it surely is so."""
    chart = read(condition(DM, **of))
    assert reasons(chart) == ([reason] if reason else [])
    assert fact(chart, "diagnosis.dermatomyositis") is (reason is None)


def test_since_is_the_onset_else_when_it_was_recorded() -> None:
    """The date of an assertion is the onset, its period's start, or the date of the record."""
    for of, since in (
        ({"onsetDateTime": "2024-05", "recordedDate": "2025-01-01"}, "2024-05"),
        ({"onsetPeriod": {"start": "2023"}, "recordedDate": "2025-01-01"}, "2023"),
        ({"recordedDate": "2025-01-01"}, "2025-01-01"),
        ({}, "None"),
    ):
        (found,) = read(condition(DM, **of)).conditions["diagnosis.dermatomyositis"]
        assert str(found.since) == since


# --- codes and names -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "key"),
    [
        ("snomed|396230008", "diagnosis.dermatomyositis"),
        ("snomed|402425006", "diagnosis.dermatomyositis"),
        ("snomed|238935002", "diagnosis.amyopathic_dermatomyositis"),
        ("snomed|1212005", "diagnosis.juvenile_dermatomyositis"),
        ("snomed|31384009", "diagnosis.polymyositis"),
        ("snomed|445187004", "diagnosis.antisynthetase_syndrome"),
        ("snomed|72315009", "diagnosis.inclusion_body_myositis"),
        ("icd10cm|M33.13", "diagnosis.amyopathic_dermatomyositis"),
        ("icd10cm|M33.02", "diagnosis.juvenile_dermatomyositis"),
        ("icd10cm|M33.22", "diagnosis.polymyositis"),
        ("icd10cm|G72.41", "diagnosis.inclusion_body_myositis"),
        ("snomed|50920009", "finding.myocarditis"),
        ("icd10cm|I41", "finding.myocarditis"),
        ("snomed|233703007", "finding.interstitial_lung_disease"),
        ("snomed|711379004", "finding.interstitial_lung_disease"),
        ("icd10cm|J84.170", "finding.interstitial_lung_disease"),
        ("snomed|76571007", "finding.sepsis"),
        ("snomed|385093006", "finding.pneumonia"),
        ("snomed|882784691000119100", "finding.pneumonia"),
        ("snomed|4740000", "finding.acute_viral_infection"),
        ("snomed|95883001", "finding.deep_infection"),
    ],
)
def test_codes_assert_their_entry_and_nothing_else(code: str, key: str) -> None:
    """Each code asserts one diagnosis or finding."""
    assert asserted(read(condition(code))) == {key}


@pytest.mark.parametrize(
    ("code", "key"),
    [
        ("icd10cm|M33.90", "diagnosis.dermatopolymyositis"),
        ("icd10cm|M36.0", "diagnosis.myositis_in_neoplastic_disease"),
    ],
)
def test_a_diagnosis_may_leave_open_others(code: str, key: str) -> None:
    """Whether it is dermatomyositis or polymyositis is unknown then, and not false."""
    chart = read(condition(code))
    assert fact(chart, key) is True
    assert fact(chart, "diagnosis.myositis") is True
    assert fact(chart, "diagnosis.dermatomyositis") is None
    assert fact(chart, "diagnosis.any_dermatomyositis") is None
    assert fact(chart, "diagnosis.antisynthetase_syndrome") is False
    assert fact(chart, "finding.cancer") is (code == "icd10cm|M36.0")


def test_what_one_diagnosis_leaves_open_another_may_say() -> None:
    """An unspecified code beside that of dermatomyositis takes nothing from it."""
    chart = read(condition("icd10cm|M33.90"), condition("icd10cm|M33.10"))
    assert fact(chart, "diagnosis.dermatomyositis") is True
    assert fact(chart, "diagnosis.polymyositis") is None


@pytest.mark.parametrize(
    ("code", "past"),
    [
        ("icd10cm|I26.99", "finding.venous_thromboembolism"),
        ("icd10cm|C50.919", "finding.cancer_history"),
        ("icd10cm|C90.00", "finding.cancer_history"),
        ("icd10cm|I21.9", "finding.coronary_disease"),
    ],
)
def test_what_is_over_may_still_count(code: str, past: str) -> None:
    """A thrombosis or a cancer that is resolved is one that the patient had."""
    chart = read(condition(code, clinicalStatus=status("resolved")))
    assert asserted(chart) == {past}


def test_what_was_refuted_is_not_of_the_past() -> None:
    """It never was."""
    chart = read(condition("icd10cm|I26.99", verificationStatus=status("refuted")))
    assert asserted(chart) == set()


def test_a_cancer_of_the_blood_cells_that_make_antibodies_makes_the_blood_viscous() -> None:
    """Myeloma is a cancer, and a risk of thrombosis with immunoglobulin."""
    chart = read(condition("icd10cm|C90.00"))
    assert fact(chart, "finding.cancer") is True
    assert fact(chart, "finding.hyperviscosity") is True


@pytest.mark.parametrize("code", ["C00.1", "C17.0", "C4A.9", "C69.90", "C7A.00", "C84.10", "C96.9"])
def test_every_malignant_neoplasm_is_a_cancer(code: str) -> None:
    """By the categories of ICD-10-CM."""
    assert fact(read(condition(f"icd10cm|{code}")), "finding.cancer") is True


def test_skin_cancer_other_than_melanoma_stands_apart() -> None:
    """It is no cancer that hides that of myositis has still to be looked for."""
    chart = read(condition("icd10cm|C44.91"))
    assert fact(chart, "finding.cancer") is False
    assert fact(chart, "finding.skin_cancer_not_melanoma") is True


@pytest.mark.parametrize(
    ("code", "on", "so"),
    [
        ("icd10cm|J18.9", ago(90), True),
        ("icd10cm|J18.9", ago(91), None),
        ("icd10cm|J18.9", None, True),
        ("snomed|77386006", ago(294), True),
        ("snomed|77386006", ago(295), None),
    ],
)
def test_what_was_recorded_long_ago_may_be_over(code: str, on: str | None, so: bool | None) -> None:
    """An infection or a pregnancy is unknown then, and the evidence says why."""
    chart = read(condition(code, recordedDate=on))
    name = "finding.pregnancy" if code.startswith("snomed") else "finding.active_infection"
    assert fact(chart, name) is so
    cited = FACTS[name].evidence(chart)
    assert ("may be over" in cited[0].text) is (so is None)


def patient(gender: str, born: str | None) -> Json:
    """Return a patient of a gender, born on a day."""
    made: Json = {"resourceType": "Patient", "id": PATIENT, "gender": gender}
    return made | ({"birthDate": born} if born else {})


@pytest.mark.parametrize(
    ("gender", "born", "pregnant"),
    [
        ("female", "1990-01-01", None),
        ("female", None, None),
        ("other", "1990-01-01", None),
        ("male", "1990-01-01", False),
        ("female", "1950-01-01", False),
        ("female", "2020-01-01", False),
        ("female", "1976-01-01", None),
    ],
)
def test_a_pregnancy_that_nobody_recorded_is_not_known(
    gender: str, born: str | None, pregnant: bool | None
) -> None:
    """It is false in men, and before and after the years in which it may be."""
    assert fact(read(patient(gender, born)), "finding.pregnancy") is pregnant


@pytest.mark.parametrize(
    ("answer", "days", "pregnant"),
    [
        ("snomed|60001007", 30, False),
        ("loinc|LA26683-5", 1, False),
        ("snomed|60001007", 31, None),
        ("loinc|LA15173-0", 31, True),
        ("loinc|LA4489-6", 1, None),
    ],
)
def test_a_pregnancy_status(answer: str, days: int, pregnant: bool | None) -> None:
    """That she is not pregnant says something for a month, an unknown status nothing."""
    said = observation("loinc|82810-3", on=ago(days), valueCodeableConcept=concept(answer))
    assert fact(read(patient("female", "1990-01-01"), said), "finding.pregnancy") is pregnant


def test_every_coding_of_a_condition_is_looked_at() -> None:
    """A SNOMED and an ICD coding of one Condition are both asserted, wherever they stand."""
    chart = read(condition("urn:hospital|9", "snomed|445187004", "icd10cm|M33.20"))
    assert asserted(chart) == {"diagnosis.antisynthetase_syndrome", "diagnosis.polymyositis"}


@pytest.mark.parametrize(
    "code",
    [
        "icd10cm|M33.11",
        "icd10cm|M33.01",
        "icd10cm|M33.21",
        "icd10cm|M33.91",
        "snomed|311671000119100",
    ],
)
def test_respiratory_involvement_is_no_proof_of_ild(code: str) -> None:
    """They assert myositis and leave ILD open; the evidence warns of reading more into them."""
    chart = read(condition(code))
    assert fact(chart, "diagnosis.myositis") is True
    assert (fact(chart, HAS_ILD), fact(chart, RP_ILD)) == (None, False)
    (found,) = chart.conditions["diagnosis.myositis"]
    assert found.remark == "respiratory involvement is no proof of interstitial lung disease"


def test_a_code_of_low_specificity_asserts_less() -> None:
    """I51.4 may be myocarditis, and says so; a better coding beside it asserts myocarditis too."""
    doubtful = read(condition("icd10cm|I51.4"))
    assert fact(doubtful, "finding.myocarditis") is False
    (found,) = doubtful.conditions["finding.possible_myocarditis"]
    assert "low specificity" in found.remark
    both = read(condition("icd10cm|I51.4", "snomed|50920009"))
    assert fact(both, "finding.myocarditis.confirmed") is True


@pytest.mark.parametrize("code", ["icd10cm|I40.0", "icd10cm|B58.81", "icd10cm|B33.22"])
def test_an_infective_myocarditis_is_not_that_of_the_myositis(code: str) -> None:
    """Of what one Condition is coded as, the infective one is meant; another asserts the other."""
    one = read(condition(code, "snomed|50920009"))
    assert fact(one, "finding.infective_myocarditis") is True
    assert (fact(one, "finding.myocarditis"), fact(one, "finding.active_infection")) == (
        False,
        True,
    )
    assert fact(read(condition(code), condition("snomed|50920009")), "finding.myocarditis") is True


@pytest.mark.parametrize(
    ("codes", "key"),
    [
        ("A40.0 A41.2 A41.3 A41.4 A41.52 A41.59 B37.7 R65.21 R78.81 T80.211A", "sepsis"),
        ("J10.00 J11.08 J12.1 J12.82 J15.1 J15.212 J16.8 J17 J18.1 J85.1 J86.9 A48.1", "pneumonia"),
        ("J69.0", "pneumonia"),
        ("A15.4 A17.0 A18.2 A19.0", "tuberculosis"),
        ("B25.8 B37.1 B39.9 B44.1 B44.7 B45.1 B58.2 B59 A81.2", "opportunistic_infection"),
        ("B01.2 B02.1 B02.24 B02.8 J09.X2 J10.1 J11.89 U07.1 B16.9", "acute_viral_infection"),
        ("G00.1 I33.9 K65.0 L03.115 M00.00 M72.6 M86.10 N10", "deep_infection"),
        # What is no infection, is over or latent, or is local and mild.
        ("J84.111 J84.114 J84.116 J84.2 J67.9 J68.0 J69.1 B44.81 B02.22 B02.29", None),
        ("K65.4 M86.30 L03.011 L02.91 N39.0 J06.9 G03.0 Z22.7 Z86.19 B90.9 B20", None),
    ],
)
def test_a_serious_infection_is_known_by_every_code_of_it(codes: str, key: str | None) -> None:
    """An interstitial pneumonia is none, nor is what is over or latent, or local and mild."""
    for code in codes.split():
        chart = read(condition(f"icd10cm|{code}"))
        assert ("finding.active_infection" in chart.conditions) is (key is not None), code
        assert key is None or f"finding.{key}" in chart.conditions, code


@pytest.mark.parametrize(
    ("text", "infection"),
    [
        ("Community-acquired pneumonia", True),
        ("Community acquired pneumonia", True),
        ("COVID-19 pneumonia", True),
        ("Covid 19", True),
        ("Urosepsis", True),
        ("Bacteremia", True),
        ("PJP", True),
        ("Influenza A", True),
        ("Shingles", True),
        ("Bacterial meningitis", True),
        ("Necrotising fasciitis", True),
        ("Interstitial pneumonia", False),
        ("Non-specific interstitial pneumonia", False),
        ("Cryptogenic organizing pneumonia", False),
        ("Pneumonitis", False),
        ("Lipoid pneumonia", False),
        ("Aseptic meningitis", False),
        ("PCP", False),
        ("History of sepsis", False),
        ("Pneumonia in childhood", False),
        ("Sepsis ruled out", False),
        ("Post-herpetic neuralgia", False),
        ("Latent TB", False),
    ],
)
def test_a_serious_infection_is_known_by_what_people_call_it(text: str, infection: bool) -> None:
    """A name is the whole text, so that a doubt, a past or another lung disease is none."""
    assert ("finding.active_infection" in read(condition(text=text)).conditions) is infection


@pytest.mark.parametrize("doubt", ["provisional", "differential", "unconfirmed"])
def test_a_doubted_condition_counts_and_is_not_confirmed(doubt: str) -> None:
    """One beside it that is not doubted confirms the finding."""
    doubted = condition("snomed|50920009", verificationStatus={"coding": [{"code": doubt}]})
    chart = read(doubted)
    assert fact(chart, "finding.myocarditis") is True
    assert fact(chart, "finding.myocarditis.confirmed") is False
    both = read(doubted, condition("snomed|50920009"))
    assert fact(both, "finding.myocarditis.confirmed") is True


def test_inclusion_body_myositis_is_in_one_group_only() -> None:
    """It is any myositis, and not the myositis that the guidance is for."""
    chart = read(condition("snomed|72315009"))
    assert fact(chart, "diagnosis.any_myositis") is True
    assert fact(chart, "diagnosis.myositis") is False


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("Dermatomyositis", "diagnosis.dermatomyositis"),
        ("  POLYMYOSITIS ", "diagnosis.polymyositis"),
        ("Immune-mediated necrotising myopathy", "diagnosis.immune_mediated_necrotizing_myopathy"),
        ("Family history of dermatomyositis", None),
    ],
)
def test_without_a_known_code_the_whole_text_may_be_the_name(text: str, key: str | None) -> None:
    """A name counts where it is the whole text, in text or display, and the evidence says so."""
    for code in ({"text": text}, {"coding": [coding("urn:hospital|9", text)]}):
        chart = read(condition(code=code))
        assert asserted(chart) == ({key} if key else set())
        if key:
            assert [a.remark for a in chart.conditions[key]] == ["matched by name"]
        else:
            assert reasons(chart) == ["its code is not mapped to anything that this service knows"]


def test_a_name_does_not_add_to_a_code() -> None:
    """Where a code is known, it decides, and the text is not matched as a name."""
    assert asserted(read(condition(ILD, text="Polymyositis"))) == {HAS_ILD}


def test_a_condition_without_code_is_listed() -> None:
    """It asserts nothing."""
    chart = read(condition(code=None))
    assert (asserted(chart), reasons(chart)) == (set(), ["it has no code"])


# --- fracture ------------------------------------------------------------------------------------

BROKEN = "finding.fracture_of_major_site"


@pytest.mark.parametrize(
    "text",
    [
        "Fracture of the right proximal humerus",
        "Closed fracture of distal radius, left",
        "Vertebral compression fracture of L1",
        "Fractured hip",
        "Osteoporotic fracture",
        "History of hip fracture",
    ],
)
def test_a_text_says_which_bone_was_broken(text: str) -> None:
    """The words count whatever the code, and after it has healed."""
    assert fact(read(condition(text=text)), BROKEN) is True
    assert fact(read(condition(text=text, clinicalStatus=status("resolved"))), BROKEN) is True


@pytest.mark.parametrize(
    "text",
    [
        "Fracture of tooth",
        "Fracture of finger",
        "Family history of hip fracture",
        "Hip pain, fracture excluded",
        "At risk of hip fracture",
        "Sprain of wrist",
    ],
)
def test_a_text_of_another_bone_or_of_none_says_no_such_fracture(text: str) -> None:
    """Another bone, a fracture that is denied, and a site without a fracture."""
    assert fact(read(condition(text=text)), BROKEN) is False


@pytest.mark.parametrize(
    "code",
    [
        "icd10cm|S42.201A",
        "icd10cm|M80.08XD",
        "icd10cm|Z87.310",
        "snomed|443165006",
        "snomed|359817006",
        "snomed|5913000",
        "snomed|15724005",
        "snomed|263199001",
    ],
)
def test_codes_of_fractures_whose_risk_counts(code: str) -> None:
    """By their category or by themselves, now and after they have healed."""
    assert fact(read(condition(code)), BROKEN) is True
    assert fact(read(condition(code, clinicalStatus=status("resolved"))), BROKEN) is True


# --- rapidly progressive ILD ---------------------------------------------------------------------


@pytest.mark.parametrize("code", ["icd10cm|J84.114", "snomed|236302005"])
def test_acute_interstitial_pneumonia_asserts_it_and_ild(code: str) -> None:
    """The codes of acute interstitial pneumonia assert RP-ILD, and with it ILD."""
    assert asserted(read(condition(code))) == {RP_ILD, HAS_ILD}


@pytest.mark.parametrize(
    "text", ["Acute interstitial pneumonia", "Acute interstitial pneumonitis", "RP-ILD"]
)
def test_its_name_alone_asserts_it_and_ild(text: str) -> None:
    """A Condition without a code that is called so counts as one with it."""
    assert asserted(read(condition(code={"text": text}))) == {RP_ILD, HAS_ILD}


@pytest.mark.parametrize(
    "text",
    [
        "Rapidly progressive interstitial lung disease",
        "ILD, rapidly progressive, anti-MDA5 positive",
        "RP-ILD",
        "MDA5-associated rapidly-progressive ILD",
        "Rapidly progressive ILD, infection excluded by lavage",
        "Rapidly progressive ILD; drug reaction unlikely",
    ],
)
def test_an_ild_condition_whose_text_says_so_asserts_it(text: str) -> None:
    """The words count in the text and in a display, and the evidence says where they stood."""
    for code in (concept(ILD, text=text), {"coding": [coding(ILD, text)]}):
        chart = read(condition(code=code))
        assert asserted(chart) == {RP_ILD, HAS_ILD}
        assert [a.remark for a in chart.conditions[RP_ILD]] == ["said in the text of the Condition"]


@pytest.mark.parametrize(
    "text",
    [
        "Interstitial lung disease",
        "Progressive ILD",
        "Not rapidly progressive ILD",
        "ILD, no evidence of rapidly progressive course",
        "ILD without rapidly progressive features",
        "Non-rapidly progressive ILD",
        "ILD, RP-ILD ruled out",
        "Rapidly progressive ILD excluded by CT",
        "Rapidly progressive ILD unlikely",
        "Risk of rapidly progressive ILD",
        "History of rapidly progressive ILD",
    ],
)
def test_a_text_that_denies_it_does_not_assert_it(text: str) -> None:
    """Negated or past, the words leave it at ILD."""
    chart = read(condition(ILD, text=text))
    assert asserted(chart) == {HAS_ILD}
    assert fact(chart, RP_ILD) is False


def test_a_possible_rapid_course_does_not_put_a_sure_disease_in_doubt() -> None:
    """By its code the disease is there; the words leave open how fast it goes on."""
    chart = read(condition(ILD, text="Possible rapidly progressive ILD"))
    assert (fact(chart, HAS_ILD), fact(chart, RP_ILD)) == (True, None)


@pytest.mark.parametrize(
    "text",
    [
        "Suspected RPILD",
        "Possible RP ILD",
        "Suspected rapidly progressive ILD",
        "Suspected rapidly progressive interstitial pneumonia",
    ],
)
def test_a_suspicion_that_has_no_code_leaves_the_lung_open(text: str) -> None:
    """Whether there is lung disease, and how fast it goes on, is then not known."""
    chart = read(condition(text=text))
    assert (fact(chart, HAS_ILD), fact(chart, RP_ILD)) == (None, None)


@pytest.mark.parametrize(
    "text", ["Suspected sepsis", "Possible Pneumocystis pneumonia", "Probable tuberculosis"]
)
def test_a_suspected_infection_is_neither_there_nor_excluded(text: str) -> None:
    """Cards say that it is not known, with what is recorded."""
    assert fact(read(condition(text=text)), "finding.active_infection") is None


# --- in doubt, and with words of side, site and severity -----------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "RP-ILD?",
        "?RP-ILD",
        "? RP-ILD",
        "RP-ILD (?)",
        "RP-ILD suspected",
        "RP-ILD, suspected",
        "RP-ILD suspected on CT",
        "Probable RP-ILD",
        "Query RP-ILD",
        "Rule out RP-ILD",
        "R/o RP-ILD",
        "RP-ILD, to exclude",
        "RP-ILD not excluded",
        "RP-ILD vs infection",
        "Unconfirmed RP-ILD",
        "Dermatomyositis with possible RP ILD",
    ],
)
def test_a_rapid_course_in_doubt_is_not_known(text: str) -> None:
    """Neither it nor the disease that it is of; a code of the disease makes that sure."""
    chart = read(condition(text=text))
    for name in (RP_ILD, HAS_ILD):
        assert (fact(chart, name), fact(chart, f"{name}.confirmed")) == (None, False)
        assert "in doubt by its text" in FACTS[name].evidence(chart)[0].text
    coded = read(condition(ILD, text=text))
    assert (fact(coded, HAS_ILD), fact(coded, RP_ILD)) == (True, None)


def test_what_is_said_of_a_disease_in_doubt_is_in_doubt() -> None:
    """With a code for the disease it is sure."""
    text = "Probable NSIP, rapidly progressive"
    assert fact(read(condition(text=text)), RP_ILD) is None
    assert fact(read(condition(ILD, text=text)), RP_ILD) is True


@pytest.mark.parametrize(
    "text",
    [
        "Confirmed RP-ILD",
        "RP-ILD, confirmed",
        "RP-ILD with possible infection",
        "RP-ILD possible infection",
        "RP-ILD probable NSIP",
        "RP-ILD, possible infection",
        "Possible infection, RP-ILD",
        "Infection? RP-ILD",
        "Pneumonia not excluded, RP-ILD",
    ],
)
def test_a_doubt_of_something_else_leaves_a_rapid_course_sure(text: str) -> None:
    """It belongs to what it stands with."""
    chart = read(condition(text=text))
    assert (fact(chart, RP_ILD), fact(chart, f"{RP_ILD}.confirmed")) == (True, True)


@pytest.mark.parametrize(
    "text",
    [
        "Pneumonia?",
        "Query pneumonia",
        "Rule out pneumonia",
        "r/o right lower lobe pneumonia",
        "Pneumonia, to exclude",
        "Severe pneumonia suspected",
        "Probable urosepsis",
        "Influenza A?",
        "?infection",
    ],
)
def test_an_infection_in_doubt_is_neither_there_nor_excluded(text: str) -> None:
    """By any of its names, also with words of side, site and severity."""
    assert fact(read(condition(text=text)), "finding.active_infection") is None


@pytest.mark.parametrize(
    "text",
    [
        "Possible myocarditis",
        "Myocarditis?",
        "r/o acute myocarditis",
        "Suspected viral myocarditis",
    ],
)
def test_a_myocarditis_in_doubt_is_a_possible_one(text: str) -> None:
    """It is asked about, and not taken for one that is recorded."""
    chart = read(condition(text=text))
    assert fact(chart, "finding.possible_myocarditis") is True
    assert fact(chart, "finding.myocarditis") is False


@pytest.mark.parametrize("text", ["dermatomyositis?", "Probable dermatomyositis", "r/o JDM"])
def test_a_diagnosis_in_doubt_is_not_known(text: str) -> None:
    """Whether the patient has it is left open."""
    chart = read(condition(text=text))
    assert fact(chart, "diagnosis.any_dermatomyositis") is None
    assert fact(chart, "diagnosis.any_myositis") is None


def test_what_a_name_in_doubt_asserts_as_well_is_in_doubt() -> None:
    """And what it leaves open, what it belongs to, and what it would be once it is over."""
    myeloma = condition(text="Multiple myeloma?")
    assert fact(read(myeloma), "finding.cancer") is None
    assert fact(read(condition(text="?Dermatopolymyositis")), "diagnosis.polymyositis") is None
    over = read(condition(text="PE? Pulmonary embolism?", clinicalStatus=status("resolved")))
    assert fact(over, "finding.venous_thromboembolism") is False
    over = read(condition(text="Pulmonary embolism?", clinicalStatus=status("resolved")))
    assert fact(over, "finding.venous_thromboembolism") is None
    refuted = read(condition(text="RP-ILD?", verificationStatus=status("refuted")))
    assert fact(refuted, RP_ILD) is False


@pytest.mark.parametrize(
    ("code", "text", "name"),
    [
        ("icd10cm|J18.9", "Pneumonia?", "finding.pneumonia"),
        ("icd10cm|J18.9", "?LRTI", "finding.pneumonia"),
        ("icd10cm|I40.9", "Myocarditis, suspected", "finding.myocarditis"),
        ("icd10cm|J84.114", "?RP-ILD", RP_ILD),
        ("icd10cm|J84.114", "?RP-ILD", HAS_ILD),
        ("icd10cm|C50.919", "Breast cancer?", "finding.cancer"),
    ],
)
def test_a_code_whose_text_is_in_doubt_counts_as_provisional(
    code: str, text: str, name: str
) -> None:
    """A code is a code, and the doubt is told as one in verificationStatus is."""
    chart = read(condition(code, text=text))
    assert (fact(chart, name), fact(chart, f"{name}.confirmed")) == (True, False)
    assert FACTS[name].evidence(chart)[0].text.endswith("in doubt by its text)")


@pytest.mark.parametrize(
    "text",
    [
        "Myocarditis ruled out",
        "Myocarditis (ruled out by CMR)",
        "No myocarditis",
        "History of myocarditis",
    ],
)
def test_a_code_of_myocarditis_that_its_text_denies_is_not_confirmed(text: str) -> None:
    """It is no surer than one that the text doubts; of other codes the text does not take away."""
    chart = read(condition("snomed|50920009", text=text))
    name = "finding.myocarditis"
    assert (fact(chart, name), fact(chart, f"{name}.confirmed")) == (True, False)
    sure = read(condition("snomed|50920009", text="Myocarditis without heart failure"))
    assert fact(sure, f"{name}.confirmed") is True
    clot = read(condition("icd10cm|I26.99", text="History of pulmonary embolism"))
    assert fact(clot, "finding.venous_thromboembolism.confirmed") is True


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("RP-ILD (infection unlikely)", True),
        ("RP-ILD (infection unlikely, PJP excluded)", True),
        ("RP-ILD - infection excluded", True),
        ("RP-ILD, ruled out", False),
        ("RP-ILD, resolved 2024", False),
        ("RP-ILD (excluded by HRCT)", False),
        ("RP-ILD (resolved after rituximab)", False),
        ("RP-ILD - resolved after rituximab", False),
        ("RP-ILD: ruled out by CT", False),
        ("RP-ILD (unlikely given stable CT)", False),
        ("RP-ILD, PJP ruled out by BAL", True),
        ("CADM (no weakness) with RP-ILD", None),
        ("No PE or infection, RP-ILD", None),
        ("CADM without weakness, RP-ILD", None),
        ("No infection, RP-ILD", None),
        ("No fever, cough or RP-ILD", False),
    ],
)
def test_a_denial_of_something_else_does_not_deny_a_rapid_course(
    text: str, expected: bool | None
) -> None:
    """It belongs to what it stands with, and where that is not clear the course is left open."""
    assert fact(read(condition(text=text)), RP_ILD) is expected


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (DM, "Dermatomyositis, possible ILD"),
        (DM, "Dermatomyositis ?ILD"),
        (DM, "Probable dermatomyositis; dermatomyositis on biopsy"),
        ("icd10cm|J18.9", "Pneumonia, right lower lobe"),
    ],
)
def test_a_code_whose_text_doubts_something_else_is_sure(code: str, text: str) -> None:
    """As it is where the text says elsewhere that it is so."""
    (first, *_) = read(condition(code, text=text)).conditions.values()
    assert [(a.sure, a.doubted) for a in first] == [(True, False)]


def test_no_shipped_code_is_in_doubt_by_its_own_display() -> None:
    """What a code system calls a code is no doubt of it."""
    for key, entry in TERMS.condition_entries.items():
        for system, by_code in (*entry.codes.items(), *entry.unverified.items()):
            for code, display in by_code.items():
                chart = read(condition(code={"coding": [coding(f"{system}|{code}", display)]}))
                assert not any(a.doubted for a in chart.conditions.get(key, ())), display


def test_a_text_in_doubt_beside_a_local_display_is_told() -> None:
    """The display of a code that nobody knows says it, and the text doubts it."""
    code = {"coding": [coding("urn:hospital|9", "Pneumonia")], "text": "?Pneumonia"}
    chart = read(condition(code=code))
    assert fact(chart, "finding.pneumonia") is True
    assert fact(chart, "finding.pneumonia.confirmed") is False


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("Pneumonia, right lower lobe", "finding.pneumonia"),
        ("Severe right lower lobe pneumonia", "finding.pneumonia"),
        ("Pneumonia of left lung", "finding.pneumonia"),
        ("Pneumonia of the right lower lobe", "finding.pneumonia"),
        ("Bilateral pneumonia", "finding.pneumonia"),
        ("Pneumonia (bilateral)", "finding.pneumonia"),
        ("RLL pneumonia", "finding.pneumonia"),
        ("Cellulitis of left leg", "finding.deep_infection"),
        ("Septic arthritis, right knee", "finding.deep_infection"),
        ("DVT left leg", "finding.venous_thromboembolism"),
        ("ILD, bilateral", HAS_ILD),
        ("Severe polymyositis", "diagnosis.polymyositis"),
    ],
)
def test_side_site_and_severity_leave_a_name_as_it_is(text: str, key: str) -> None:
    """Before it and behind it, with a comma, in brackets or joined by a word."""
    chart = read(condition(text=text))
    assert asserted(chart) == {key}
    assert [(a.remark, a.sure) for a in chart.conditions[key]] == [("matched by name", True)]


@pytest.mark.parametrize(
    "text",
    [
        "Pneumonia in childhood",
        "Pneumonia, resolved",
        "No pneumonia, right lower lobe",
        "Risk of severe sepsis",
        "Pulmonary hypertension",
        "Skin cancer",
        "Shoulder immobility",
        "Cellulitis of finger",
        "Query fever pneumonia",
        "Exposure to tuberculosis?",
    ],
)
def test_with_a_word_that_is_not_declared_a_text_is_listed(text: str) -> None:
    """What it would make of the name nobody has said."""
    chart = read(condition(text=text))
    assert asserted(chart) == set()
    assert reasons(chart) == ["its code is not mapped to anything that this service knows"]


def test_one_of_several_texts_is_enough() -> None:
    """A negation in one text does not silence another text of the same Condition."""
    code = {"coding": [coding(ILD, "ILD, not otherwise specified")], "text": "RP-ILD"}
    assert RP_ILD in read(condition(code=code)).conditions


@pytest.mark.parametrize("code", ["icd10cm|M33.11", "snomed|396230008", "snomed|50920009"])
def test_the_words_count_in_an_ild_condition_only(code: str) -> None:
    """Rapidly progressive weakness is no rapidly progressive lung disease."""
    assert RP_ILD not in read(condition(code, text="rapidly progressive")).conditions


def test_its_name_alone_asserts_it() -> None:
    """A Condition without a known code, of just this name, asserts it and ILD by name."""
    chart = read(condition(text="Rapidly progressive interstitial lung disease"))
    assert asserted(chart) == {RP_ILD, HAS_ILD}
    assert {a.remark for key in (RP_ILD, HAS_ILD) for a in chart.conditions[key]} == {
        "matched by name"
    }


@pytest.mark.parametrize(
    "of",
    [{"verificationStatus": status("refuted")}, {"clinicalStatus": status("resolved")}],
)
def test_its_statuses_count_as_those_of_every_condition(of: dict[str, Any]) -> None:
    """Refuted or resolved, the words in the text assert nothing."""
    assert asserted(read(condition(ILD, text="RP-ILD", **of))) == set()


def test_a_negation_counts_within_its_sentence() -> None:
    """What is denied of something else before does not silence an assertion of danger."""
    for text in ("No infection; rapidly progressive ILD", "Not septic. Rapidly progressive"):
        assert fact(read(condition(ILD, text=text)), "finding.rapidly_progressive_ild") is True
    text = "no signs of acute or rapidly progressive ILD"
    assert fact(read(condition(ILD, text=text)), "finding.rapidly_progressive_ild") is False
    # Like "without weakness, RP-ILD", which may say it.
    text = "no signs of acute, rapidly progressive ILD"
    assert fact(read(condition(ILD, text=text)), "finding.rapidly_progressive_ild") is None


@pytest.mark.parametrize(
    ("code", "key"),
    [
        ("icd10cm|C50.919", "finding.cancer"),
        ("icd10cm|C34", "finding.cancer"),
        ("icd10cm|I26.99", "finding.venous_thromboembolism"),
        ("icd10cm|Z85.3", "finding.cancer_history"),
        ("icd10cm|R13.12", "finding.dysphagia"),
        ("icd10cm|E78.01", "finding.hyperlipidaemia"),
    ],
)
def test_a_code_within_a_category_asserts_the_entry_that_takes_it_whole(
    code: str, key: str
) -> None:
    """And the evidence says that the code itself was not verified."""
    (assertion,) = read(condition(code)).conditions[key]
    assert assertion.remark.endswith("code not verified")


def test_a_category_takes_no_code_beside_it() -> None:
    """E78.1 is not within E78.0, and a carcinoma in situ of the skin is no cancer."""
    assert asserted(read(condition("icd10cm|E78.1"), condition("icd10cm|D04.9"))) == set()


@pytest.mark.parametrize("code", ["I80.01", "I80.3", "G45.4", "I69.10"])
def test_what_is_no_thrombosis_of_deep_veins_or_arteries_is_no_risk(code: str) -> None:
    """Superficial veins, transient global amnesia and old haemorrhages are left out."""
    assert asserted(read(condition(f"icd10cm|{code}"))) == set()


@pytest.mark.parametrize(
    ("code", "finding"),
    [
        ("I80.209", "finding.venous_thromboembolism"),
        ("G45.9", "finding.stroke"),
        ("I69.354", "finding.stroke"),
        ("I74.3", "finding.arterial_thrombosis"),
    ],
)
def test_thromboses_are_found_by_their_categories(code: str, finding: str) -> None:
    """Deep veins, arteries of the brain and other arteries."""
    assert asserted(read(condition(f"icd10cm|{code}"))) == {finding}


def test_a_code_of_an_entry_goes_before_its_category() -> None:
    """Monoclonal gammopathy and history of embolism have codes of their own."""
    (assertion,) = read(condition("icd10cm|Z86.711")).conditions["finding.venous_thromboembolism"]
    assert assertion.remark == "code not verified"


# --- answers that are findings -------------------------------------------------------------------


def smoking(*codes: str, on: str | None = None, **of: Any) -> Json:
    """Return a smoking status."""
    answer = {"valueCodeableConcept": concept(*codes)} if codes else {}
    return observation("loinc|72166-2", on=on, **(answer | of))


@pytest.mark.parametrize(
    ("statuses", "smokes"),
    [
        ((smoking("snomed|8517006"),), True),
        ((smoking("loinc|LA18976-3"),), True),
        ((smoking(valueString="Former smoker"),), True),
        ((smoking("snomed|266919005"),), False),
        ((smoking("snomed|77176002", on=ago(400)), smoking("snomed|266919005")), False),
        ((smoking("snomed|266919005", on=ago(400)), smoking("snomed|77176002")), True),
        ((), False),
    ],
)
def test_the_latest_answer_about_a_status_is_a_finding(
    statuses: tuple[Json, ...], smokes: bool
) -> None:
    """By code or name; an answer that is no finding asserts nothing."""
    assert fact(read(*statuses), "finding.smoking") is smokes


def test_an_answer_does_not_take_back_a_condition() -> None:
    """What the problem list says is counted beside it, and the evidence has both."""
    chart = read(condition("icd10cm|F17.210"), smoking("snomed|266919005"))
    assert fact(chart, "finding.smoking") is True
    both = read(condition("icd10cm|F17.210"), smoking("snomed|8517006", id="status"))
    said = [a.reference for a in both.conditions["finding.smoking"]]
    assert said[1:] == ["Observation/status"]
    assert len(said) == 2


def test_a_status_without_an_answer_is_left_out() -> None:
    """And says why."""
    assert reasons(read(smoking())) == ["it has no answer"]


def test_a_finding_that_answers_may_assert_is_not_known_without_observations() -> None:
    """Nobody recorded it as a Condition, but it may be in an Observation that did not come."""
    chart = chart_of(deliver(delivered={"Patient", "Condition"}))
    assert fact(chart, "finding.smoking") is None
    assert fact(chart, "finding.hypertension") is False


# --- long texts ----------------------------------------------------------------------------------


class Counting:
    """Looks for a pattern, and counts the characters that are looked through."""

    def __init__(self, pattern: re.Pattern[str]) -> None:
        self.pattern = pattern
        self.characters = 0

    def search(self, text: str) -> re.Match[str] | None:
        """Find the first."""
        self.characters += len(text)
        return self.pattern.search(text)

    def finditer(self, text: str) -> Iterator[re.Match[str]]:
        """Find each."""
        self.characters += len(text)
        return self.pattern.finditer(text)


@pytest.mark.parametrize(
    "text",
    ["no rapidly progressive ", "rapidly progressive unlikely, ", "not rapidly progressive; "],
)
def test_a_text_is_looked_through_once_however_often_it_says_a_phrase(text: str) -> None:
    """Nothing of what stands before or after a phrase is gone through anew for the next."""
    counts = []
    for times in (80, 160):
        before, after = Counting(TERMS.denials.before), Counting(TERMS.denials.after)
        denials = msgspec.structs.replace(TERMS.denials, before=before, after=after)
        terms = msgspec.structs.replace(TERMS, denials=denials)
        delivery = deliver(condition(ILD, text=text * times))
        assert RP_ILD not in read_findings(delivery, terms, AS_OF)
        counts.append(before.characters + after.characters)

    assert counts[0] <= 2 * len(text) * 80
    assert counts[1] <= 2 * counts[0]


def test_a_text_too_long_to_be_looked_through_is_listed_and_leaves_the_finding_unknown() -> None:
    """What it may say beside its code is neither read nor taken for not said."""
    words = "interstitial lung disease "
    chart = read(condition(ILD, text=words * (LONGEST_TEXT // len(words) + 1)))

    assert fact(chart, HAS_ILD) is True
    assert fact(chart, RP_ILD) is None
    assert reasons(chart) == [
        "of its texts only those of up to 10000 characters were looked through; "
        "one is longer, and may say more"
    ]


def test_a_long_text_beside_one_that_says_it_leaves_nothing_open() -> None:
    """What is said in a text of usual length needs no other."""
    code = concept(ILD, text="x" * (LONGEST_TEXT + 1))
    code["coding"][0]["display"] = "rapidly progressive interstitial lung disease"
    chart = read({**condition(ILD), "code": code})

    assert fact(chart, RP_ILD) is True
    assert reasons(chart) == []


# --- said among other words, and left open -------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "ILD, fibrotic NSIP pattern",
        "Non-specific interstitial pneumonia",
        "Cryptogenic organising pneumonia",
        "Interstitial lung disease due to polymyositis",
        "RP-ILD after infection",
    ],
)
def test_interstitial_lung_disease_may_stand_among_other_words(text: str) -> None:
    """A text without a known code that says it asserts it."""
    assert fact(read(condition(text=text)), HAS_ILD) is True


@pytest.mark.parametrize(
    "text", ["No ILD on CT", "Family history of interstitial lung disease", "ILD excluded"]
)
def test_interstitial_lung_disease_denied_is_not_asserted(text: str) -> None:
    """A text that denies it, or tells of the past, asserts nothing."""
    assert fact(read(condition(text=text)), HAS_ILD) is False


@pytest.mark.parametrize("text", ["Suspected ILD", "Polymyositis, possible ILD"])
def test_suspected_interstitial_lung_disease_is_not_absent(text: str) -> None:
    """Whether there is any is not known then."""
    assert fact(read(condition(text=text)), HAS_ILD) is None


@pytest.mark.parametrize("code", ["J84.10", "J84.112", "J84.113", "J84.116", "J84.2"])
def test_other_interstitial_lung_diseases_count(code: str) -> None:
    """By codes that were recalled, which the evidence says."""
    chart = read(condition(f"icd10cm|{code}"))
    assert fact(chart, HAS_ILD) is True
    assert "code not verified" in FACTS[HAS_ILD].evidence(chart)[0].text


@pytest.mark.parametrize(
    "code",
    [
        "icd10cm|M33.01",
        "icd10cm|M33.11",
        "icd10cm|M33.21",
        "icd10cm|M33.91",
        "icd10cm|J99",
        "snomed|311671000119100",
    ],
)
def test_respiratory_involvement_leaves_interstitial_lung_disease_open(code: str) -> None:
    """It is neither proved nor absent by it; where it is recorded as well, it is so."""
    chart = read(condition(code))
    assert fact(chart, HAS_ILD) is None
    assert "left open by its code" in FACTS[HAS_ILD].evidence(chart)[0].text
    assert fact(read(condition(code), condition(ILD)), HAS_ILD) is True


@pytest.mark.parametrize(
    ("text", "possible"),
    [
        ("Acute myocarditis due to polymyositis", True),
        ("Suspected myocarditis, MRI pending", True),
        ("No myocarditis", False),
        ("Myocarditis excluded", False),
        ("History of myocarditis", False),
        ("Acute viral myocarditis", False),
    ],
)
def test_myocarditis_among_other_words_is_possible(text: str, possible: bool) -> None:
    """A text that says it without a code for it is a reason to confirm it, and no more."""
    chart = read(condition(text=text))
    assert fact(chart, "finding.possible_myocarditis") is possible
    assert fact(chart, "finding.myocarditis") is False


def test_a_code_of_myocarditis_is_not_also_possible_myocarditis() -> None:
    """What its code says is not said less surely by its text."""
    chart = read(condition("icd10cm|I40.9", text="Acute myocarditis, unspecified"))
    assert fact(chart, "finding.myocarditis") is True
    assert fact(chart, "finding.possible_myocarditis") is False


@pytest.mark.parametrize(
    ("recorded", "days", "expected"),
    [
        ({"codes": ("icd10cm|N17.9",)}, 30, True),
        ({"codes": ("icd10cm|N17.0",)}, 31, None),
        ({"codes": ("snomed|14669001",)}, 3, True),
        ({"codes": (), "text": "Acute renal failure"}, 3, True),
        ({"codes": (), "text": "AKI"}, 3, True),
        ({"codes": ("icd10cm|N18.4",)}, 3, False),
    ],
)
def test_an_acute_kidney_injury(recorded: Json, days: int, expected: bool | None) -> None:
    """It is known by code, category and name, and may be over after a month."""
    said = condition(*recorded["codes"], text=recorded.get("text"), recordedDate=ago(days))
    assert fact(read(said), "finding.acute_kidney_injury") is expected


@pytest.mark.parametrize(
    "text",
    [
        "Chronic kidney disease stage 4 (severe)",
        "Chronic kidney disease, stage 5",
        "CKD stage 4",
        "ESRD",
    ],
)
def test_a_severe_renal_impairment_by_name(text: str) -> None:
    """The displays of ICD-10-CM and the usual short forms count where no code is known."""
    assert fact(read(condition(text=text)), "finding.severe_renal_impairment") is True


@pytest.mark.parametrize("text", ["Chronic kidney disease stage 3", "CKD", "Acute on chronic"])
def test_another_kidney_disease_is_no_severe_impairment(text: str) -> None:
    """Only the stages 4 and 5 are severe by name."""
    assert fact(read(condition(text=text)), "finding.severe_renal_impairment") is False
