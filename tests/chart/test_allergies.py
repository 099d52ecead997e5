"""Allergies and intolerances to drugs, as AllergyIntolerance tells of them."""

import itertools

import pytest

from cds.chart.chart import Chart
from cds.chart.coding import LONGEST_TEXT
from cds.chart.facts.allergies import current_despite
from cds.fhir.bundles import RESOURCE_TYPES
from tests.chart.conftest import (
    FACTS,
    Json,
    ago,
    chart_of,
    concept,
    deliver,
    order,
    read,
    reasons,
)

RITUXIMAB = concept("rxnorm|121191")
NO_KNOWN_DRUG_ALLERGY = concept("snomed|409137002", text="NKDA")

_ids = itertools.count(1)


def allergy(substance: Json | None = None, **members: object) -> Json:
    """Return an AllergyIntolerance; what is given as None is not there."""
    made = {"resourceType": "AllergyIntolerance", "id": f"a{next(_ids)}", "code": substance}
    return {key: value for key, value in (made | members).items() if value is not None}


def reaction(text: str, **members: object) -> Json:
    """Return what happened on an exposure."""
    return {"reaction": [{"manifestation": [{"text": text}], **members}]}


def of(chart: Chart, name: str) -> object:
    """Return the value of a fact."""
    return FACTS[name].read(chart)


def told(chart: Chart, name: str) -> list[str]:
    """Return what the evidence of a fact says."""
    return [f"{e.text}, {e.date}" if e.date else e.text for e in FACTS[name].evidence(chart)]


# --- what counts ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("members", "known"),
    [
        ({}, ("allergy",)),
        ({"type": "allergy"}, ("allergy",)),
        ({"type": "intolerance"}, ("intolerance",)),
        ({"type": "intolerance", "criticality": "low"}, ("intolerance",)),
        ({"type": "intolerance", "criticality": "high"}, ("allergy",)),
        ({"type": "intolerance", **reaction("Nausea")}, ("intolerance",)),
        ({"type": "intolerance", **reaction("Nausea", severity="moderate")}, ("intolerance",)),
        ({"type": "intolerance", **reaction("Rash", severity="severe")}, ("allergy",)),
        (
            {"type": "intolerance", "criticality": "low", **reaction("Nausea", severity="severe")},
            ("intolerance",),
        ),
        ({"type": "intolerance", **reaction("Anaphylactic shock")}, ("allergy",)),
        ({"type": "intolerance", **reaction("Stevens-Johnson syndrome")}, ("allergy",)),
        ({"type": "intolerance", **reaction("DRESS")}, ("allergy",)),
        (
            {
                "type": "intolerance",
                "reaction": [{"manifestation": [concept("snomed|41291007")]}],
            },
            ("allergy",),
        ),
        (
            {"type": "intolerance", **reaction("x" * LONGEST_TEXT + " anaphylaxis")},
            ("intolerance",),
        ),
    ],
)
def test_an_intolerance_is_told_from_an_allergy(members: Json, known: tuple[str, ...]) -> None:
    """What is not said to be an intolerance is an allergy, and so is one that is dangerous."""
    chart = read(allergy(RITUXIMAB, **members))
    for kind in ("allergy", "intolerance"):
        assert of(chart, f"drug.rituximab.{kind}") is (kind in known)
        assert of(chart, f"patient.drug_{kind}") is (kind in known)
        assert of(chart, f"drug.methotrexate.{kind}") is False


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ({"clinicalStatus": concept("x|inactive")}, "its clinicalStatus is inactive"),
        ({"clinicalStatus": concept("x|resolved")}, "its clinicalStatus is resolved"),
        ({"verificationStatus": concept("x|refuted")}, "its verificationStatus is refuted"),
        (
            {"verificationStatus": concept("x|entered-in-error")},
            "its verificationStatus is entered-in-error",
        ),
        ({"recordedDate": ago(-2)}, f"it begins on {ago(-2)}, after {ago(0)}"),
        ({"onsetDateTime": ago(-1)}, f"it begins on {ago(-1)}, after {ago(0)}"),
    ],
)
def test_what_is_not_active_or_not_so_is_left_out_with_the_reason(
    members: Json, reason: str
) -> None:
    """A record that is over, refuted, entered in error or of a later day makes no fact true."""
    chart = read(allergy(RITUXIMAB, **members))
    assert of(chart, "drug.rituximab.allergy") is False
    assert reasons(chart) == [reason]


def test_an_unconfirmed_allergy_counts_and_is_told_to_be_unconfirmed() -> None:
    """Most allergies are recorded and never tested."""
    chart = read(allergy(concept(text="Rituximab"), verificationStatus=concept("x|unconfirmed")))
    assert of(chart, "drug.rituximab.allergy") is True
    assert told(chart, "drug.rituximab.allergy") == [
        "allergy or intolerance to Rituximab (unconfirmed, matched by name)"
    ]


# --- which drug ----------------------------------------------------------------------------------


def test_the_substance_of_a_reaction_counts_as_well() -> None:
    """A record without a code may name its substance with the reaction."""
    chart = read(allergy(reaction=[{"substance": concept("rxnorm|6851")}]))
    assert of(chart, "drug.methotrexate.allergy") is True


@pytest.mark.parametrize(
    ("code", "drug"),
    [
        ("387381009", "methotrexate"),
        ("386976000", "mycophenolate"),
        ("363528007", "co_trimoxazole"),
        ("713355009", "immunoglobulin"),
    ],
)
def test_a_substance_of_snomed_is_the_drug(code: str, drug: str) -> None:
    """Allergies are coded as substances, and need no name that matches."""
    chart = read(allergy(concept(f"snomed|{code}", text="Stofnr. 1")))
    assert of(chart, f"drug.{drug}.allergy") is True
    assert told(chart, f"drug.{drug}.allergy") == ["allergy or intolerance to Stofnr. 1"]


def test_a_class_has_the_allergies_of_its_drugs() -> None:
    """An allergy to one JAK inhibitor is one within the class, and to no other of its drugs."""
    chart = read(allergy(concept("rxnorm|1357536")))
    assert of(chart, "drug.jak_inhibitor.allergy") is True
    assert of(chart, "drug.tofacitinib.allergy") is True
    assert of(chart, "drug.ruxolitinib.allergy") is False


def test_an_allergen_stands_for_all_of_its_drugs() -> None:
    """An allergy to sulfonamides is one to co-trimoxazole, and told as what it is recorded to."""
    chart = read(allergy(concept("snomed|387406002", text="Sulfonamide")))
    assert of(chart, "drug.co_trimoxazole.allergy") is True
    assert of(chart, "drug.trimethoprim.allergy") is False
    assert told(chart, "drug.co_trimoxazole.allergy") == [
        "allergy or intolerance to Sulfonamide (as sulfonamides)"
    ]
    by_name = read(allergy(concept(text="Statins")))
    assert of(by_name, "drug.statin.allergy") is True
    assert of(by_name, "drug.rosuvastatin.allergy") is True


@pytest.mark.parametrize(
    ("substance", "drugs", "others"),
    [
        (concept("rxnorm|10829"), ("trimethoprim", "co_trimoxazole"), ("sulfasalazine",)),
        (concept(text="Trimethoprim"), ("trimethoprim", "co_trimoxazole"), ()),
        (concept(text="Bactrim DS"), ("co_trimoxazole",), ("trimethoprim",)),
        (concept(text="Sulfadiazine"), ("co_trimoxazole", "sulfasalazine"), ("dapsone",)),
        (concept("rxnorm|1256"), ("azathioprine", "mercaptopurine"), ("methotrexate",)),
        (concept(text="6-mercaptopurine"), ("azathioprine", "mercaptopurine"), ()),
        (concept("rxnorm|8640"), ("prednisone", "prednisolone"), ("methylprednisolone",)),
        (concept(text="Prednisolone"), ("prednisone", "prednisolone"), ("methylprednisolone",)),
        (concept(text="Methyl prednisolone"), ("methylprednisolone",), ("prednisolone",)),
    ],
)
def test_one_drug_of_an_allergen_stands_for_the_others(
    substance: Json, drugs: tuple[str, ...], others: tuple[str, ...]
) -> None:
    """A drug that holds another, or is turned into it in the body, is spoken against as well."""
    chart = read(allergy(substance))
    assert [of(chart, f"drug.{drug}.allergy") for drug in drugs] == [True] * len(drugs)
    assert [of(chart, f"drug.{other}.allergy") for other in others] == [False] * len(others)


@pytest.mark.parametrize(
    ("substance", "reaction", "dapsone"),
    [
        (concept("snomed|387406002"), {"manifestation": [concept("snomed|73442001")]}, True),
        (concept(text="Bactrim DS"), {"manifestation": [concept(text="DRESS syndrome")]}, True),
        (concept(text="Sulfadiazine"), {"manifestation": [concept(text="Rash")]}, False),
        (concept(text="Sulfadiazine"), {"severity": "severe"}, True),
        (concept("rxnorm|10829"), {"manifestation": [concept("snomed|73442001")]}, False),
    ],
)
def test_a_severe_reaction_speaks_against_what_a_mild_one_does_not(
    substance: Json, reaction: Json, dapsone: bool
) -> None:
    """Dapsone after Stevens-Johnson syndrome on a sulfonamide, and not after a rash."""
    chart = read(allergy(substance, reaction=[reaction]))
    assert of(chart, "drug.dapsone.allergy") is dapsone


def test_it_is_told_as_what_another_drug_is_spoken_against() -> None:
    """The evidence names the group, and that a name or a doubtful code was what matched."""
    chart = read(allergy(concept("rxnorm|10829", text="Trimethoprim")))
    assert told(chart, "drug.co_trimoxazole.allergy") == [
        "allergy or intolerance to Trimethoprim (as trimethoprim; code not verified)"
    ]
    assert told(read(allergy(concept(text="Azathioprine"))), "drug.mercaptopurine.allergy") == [
        "allergy or intolerance to Azathioprine (as thiopurines; matched by name)"
    ]


@pytest.mark.parametrize("drug", ["Prednisolone", "Prednisone"])
def test_a_record_that_stands_for_several_drugs_is_told_once(drug: str) -> None:
    """Of a class it is told as the drug that it names, and another record beside it."""
    chart = read(
        allergy(concept(text=drug), id=None), allergy(concept(text="Dexamethasone"), id=None)
    )
    assert told(chart, "drug.glucocorticoid.allergy") == [
        f"allergy or intolerance to {drug} (matched by name)",
        "allergy or intolerance to Dexamethasone (matched by name)",
    ]


@pytest.mark.parametrize(
    ("text", "counts"),
    [
        ("No allergy to methotrexate", None),
        ("Not allergic to methotrexate", None),
        ("Tolerates methotrexate", None),
        ("Denies methotrexate allergy", None),
        ("Methotrexate allergy ruled out", None),
        ("History of anaphylaxis to methotrexate", True),
        ("Methotrexate - not tolerated", True),
        ("Methotrexate: not tolerated well", True),
        ("Does not tolerate methotrexate", True),
        ("Possible methotrexate allergy", True),
        ("Suspected allergy to methotrexate", True),
        ("Non-allergic reaction to methotrexate", True),
        ("No known allergies except methotrexate", True),
        ("Methotrexate (tolerates mycophenolate)", True),
    ],
)
def test_a_denial_in_words_leaves_it_open_and_a_doubt_counts(
    text: str, counts: bool | None
) -> None:
    """A list of allergies is full of doubt, and the words of a diagnosis deny none of it."""
    chart = read(allergy(concept(text=text)))
    assert of(chart, "drug.methotrexate.allergy") is counts
    assert of(chart, "drug.rituximab.allergy") is False
    assert told(chart, "drug.methotrexate.allergy") == [
        f"allergy or intolerance to {text} (matched by name)"
    ]


def test_a_denial_counts_within_its_sentence() -> None:
    """What is tolerated in its place says nothing against the allergy to the other."""
    chart = read(allergy(concept(text="Prednisone (tolerates methylprednisolone)")))
    assert of(chart, "drug.prednisone.allergy") is True
    assert of(chart, "drug.methylprednisolone.allergy") is None


@pytest.mark.parametrize(
    ("text", "drug", "known"),
    [
        ("Solu-Medrol: anaphylaxis", "methylprednisolone", True),
        ("Imuran", "azathioprine", True),
        ("Rituxan", "rituximab", True),
        ("Steroids", "prednisolone", True),
        ("Anabolic steroids", "prednisolone", False),
        ("Anabolic steroids; steroid inhaler", "prednisolone", True),
        ("NSAIDs (non-steroidal anti-inflammatory drugs)", "prednisolone", False),
        ("Hizentra", "immunoglobulin", True),
        ("Anti-D immunoglobulin", "immunoglobulin", True),
        ("Anti-thymocyte immunoglobulin (rabbit)", "immunoglobulin", False),
        ("Immunoglobulin; anti-thymocyte immunoglobulin", "immunoglobulin", True),
    ],
)
def test_an_allergy_is_recorded_by_brand_or_in_plain_words(
    text: str, drug: str, known: bool
) -> None:
    """What people write speaks against the drug that it means, and against no other."""
    assert of(read(allergy(concept(text=text))), f"drug.{drug}.allergy") is known


def test_a_substance_that_nothing_maps_is_listed_and_harms_nothing() -> None:
    """Most allergies are to other drugs, or to food."""
    chart = read(
        allergy(concept(text="Penicillin")), allergy(concept("x|peanut"), category=["food"])
    )
    assert of(chart, "patient.drug_allergy") is False
    assert reasons(chart) == ["its substance is not mapped to anything that this service knows"] * 2


@pytest.mark.parametrize(
    "substance",
    [None, {}, concept("urn:local|4711"), concept(text=f"methotrexate {'x' * LONGEST_TEXT}")],
)
def test_a_substance_that_cannot_be_known_could_be_any_drug(substance: Json | None) -> None:
    """Without a name and a known code nothing is taken to be false."""
    chart = read(allergy(substance))
    assert of(chart, "drug.rituximab.allergy") is None
    assert of(chart, "patient.drug_intolerance") is None
    assert len(reasons(chart)) == 1
    assert of(read(allergy(substance), allergy(RITUXIMAB)), "drug.rituximab.allergy") is True


def test_what_could_not_be_matched_is_told_unless_it_is_no_drug() -> None:
    """A brand that nobody listed may be of any drug: whoever prescribes has to read it."""
    name = "patient.unmatched_allergy"
    chart = read(
        allergy(
            concept(text="Penicillin"),
            **reaction("Rash"),
            verificationStatus=concept("x|unconfirmed"),
        ),
        allergy(concept("urn:local|4711")),
        allergy(concept(text="Peanut"), category=["food"]),
        allergy(concept(text="Imuran")),
    )
    assert of(chart, name) is True
    assert told(chart, name) == [
        "allergy or intolerance to Penicillin: Rash (unconfirmed)",
        "its substance has no name, and no code that this service knows",
    ]
    assert of(read(allergy(concept(text="Imuran"))), name) is False
    assert of(read(allergy(NO_KNOWN_DRUG_ALLERGY)), name) is False
    assert of(chart_of(deliver(delivered=RESOURCE_TYPES - {"AllergyIntolerance"})), name) is None


# --- what is recorded of it ----------------------------------------------------------------------


def test_reactions_are_told_with_date_and_severity_as_recorded() -> None:
    """The manifestation, when, how severe, and the criticality; the date is that of the onset."""
    chart = read(
        allergy(
            concept("rxnorm|121191", text="Rituximab"),
            type="allergy",
            criticality="high",
            onsetDateTime="2024-03-18",
            recordedDate="2024-03-20",
            **reaction("Anaphylaxis", onset="2024-03-18T10:00:00Z", severity="severe"),
        )
    )
    assert told(chart, "drug.rituximab.allergy") == [
        "allergy to Rituximab: Anaphylaxis 2024-03-18, severe (criticality high), 2024-03-18"
    ]


@pytest.mark.parametrize(
    ("members", "date"),
    [
        ({"onsetDateTime": "2019", "recordedDate": "2020-01-02"}, "2019"),
        ({"onsetPeriod": {"start": "2019-05"}, "recordedDate": "2020-01-02"}, "2019-05"),
        ({"recordedDate": "2020-01-02", **reaction("Rash", onset="2018-07")}, "2018-07"),
        ({"recordedDate": "2020-01-02"}, "2020-01-02"),
        ({}, ""),
    ],
)
def test_the_date_is_the_best_that_is_recorded(members: Json, date: str) -> None:
    """When it began, else of its first reaction, else when it was recorded."""
    (evidence,) = FACTS["drug.rituximab.allergy"].evidence(read(allergy(RITUXIMAB, **members)))
    assert evidence.date == date


# --- that there is none --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "statement",
    [
        concept("snomed|716186003"),
        NO_KNOWN_DRUG_ALLERGY,
        concept("absent_unknown_ips|no-known-allergies"),
        concept("absent_unknown_ips|no-known-medication-allergies"),
        concept(text="No known drug allergies"),
    ],
)
def test_no_known_allergy_is_read_as_recorded_absence(statement: Json) -> None:
    """It is no unmapped substance, and is what the absence rests on."""
    chart = read(allergy(statement, recordedDate="2026-05-04"))
    assert of(chart, "patient.drug_allergy") is False
    assert reasons(chart) == []
    (said,) = told(chart, "patient.drug_allergy")
    assert said.endswith(", 2026-05-04")


def test_a_recorded_allergy_counts_against_the_word_that_there_is_none() -> None:
    """The contradiction is listed."""
    chart = read(allergy(NO_KNOWN_DRUG_ALLERGY), allergy(RITUXIMAB))
    assert of(chart, "drug.rituximab.allergy") is True
    assert reasons(chart) == ["says that there is no known allergy, and another record names one"]


def test_a_drug_that_a_record_names_counts_against_its_own_word_that_there_is_none() -> None:
    """A reaction was added to the word that there is no allergy, and that was not taken back."""
    chart = read(allergy(NO_KNOWN_DRUG_ALLERGY, reaction=[{"substance": RITUXIMAB}]))
    assert of(chart, "drug.rituximab.allergy") is True


def test_a_record_that_was_made_in_another_time_zone_counts() -> None:
    """There it may be tomorrow already."""
    chart = read(allergy(RITUXIMAB, recordedDate="2026-11-17T00:10:00+13:00"))
    assert of(chart, "drug.rituximab.allergy") is True


@pytest.mark.parametrize(
    "statement", [concept("absent_unknown_ips|no-allergy-info"), concept(text="Allergies unknown")]
)
def test_that_allergies_are_not_known_is_unknown_and_not_none(statement: Json) -> None:
    """The record says itself that nobody knows."""
    chart = read(allergy(statement))
    assert of(chart, "patient.drug_allergy") is None
    assert reasons(chart) == ["it says that allergies are not known"]


def test_nothing_recorded_is_none_where_it_was_delivered_and_unknown_where_not() -> None:
    """What could not be had is unknown."""
    assert of(read(), "drug.rituximab.allergy") is False
    without = chart_of(deliver(delivered=RESOURCE_TYPES - {"AllergyIntolerance"}))
    assert of(without, "drug.rituximab.allergy") is None
    assert of(without, "patient.drug_intolerance") is None


def test_a_record_says_nothing_of_what_is_given() -> None:
    """An allergy to a drug is no treatment with it, nor the other way round."""
    chart = read(allergy(RITUXIMAB), order("Methotrexate", ago(3)))
    assert of(chart, "drug.rituximab.ever") is False
    assert of(chart, "drug.methotrexate.allergy") is False


def test_what_is_ordered_to_begin_later_despite_an_allergy_is_not_surely_given() -> None:
    """It is not known to be given, and cited with what is recorded of it."""
    begins = {"timing": {"repeat": {"boundsPeriod": {"start": ago(-1)}}}}
    later = order(RITUXIMAB, ago(0), dosageInstruction=[begins])
    despite = current_despite("x", "", "allergy")
    chart = read(allergy(RITUXIMAB), later)
    assert despite.read(chart) is None
    assert [e.reference.split("/")[0] for e in despite.evidence(chart)] == [
        "MedicationRequest",
        "AllergyIntolerance",
    ]
    assert despite.read(read(later)) is False
