from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from cds.advice import load_rules
from cds.authoring.coverage import CHOOSE, Coverage, Unmapped, coverage_lines, find_unmapped
from cds.chart.terms import Terms
from cds.fhir.bundles import Delivery, decode, read_resource

CHECKOUT = Path(__file__).parents[2]
SITE = CHECKOUT / "fhir_examples/site"
FLOWSHEET = "https://hospital.example/fhir/CodeSystem/flowsheet"
LOINC = "http://loinc.org"

Json = dict[str, Any]


@pytest.fixture(scope="module")
def terms() -> Terms:
    """The vocabulary that is shipped."""
    return load_rules(CHECKOUT / "rules").terms


def deliver(*resources: Json) -> Delivery:
    """One patient's resources."""
    bundle = {
        "resourceType": "Bundle",
        "type": "collection",
        "entry": [{"resource": resource} for resource in resources],
    }
    delivery = Delivery()
    read_resource(decode(json.dumps(bundle).encode()), delivery, "Bundle")
    return delivery


_numbers = iter(range(10**6))


def concept(text: str | None, *codes: tuple[str | None, str, str | None]) -> Json:
    """A concept with codings of (system, code, display)."""
    codings = [{"system": s, "code": c, "display": d} for s, c, d in codes]
    coded = [{k: v for k, v in coding.items() if v is not None} for coding in codings]
    return {"coding": coded} | ({"text": text} if text else {})


def observation(code: Json, *components: Json) -> Json:
    """An Observation, with components of these codes."""
    parts = [{"code": component} for component in components]
    identified = {"resourceType": "Observation", "id": f"o{next(_numbers)}", "status": "final"}
    return identified | {"code": code} | ({"component": parts} if parts else {})


def condition(code: Json) -> Json:
    """A Condition."""
    return {"resourceType": "Condition", "id": f"c{next(_numbers)}", "code": code}


def order(drug: Json) -> Json:
    """An order of a drug."""
    return {
        "resourceType": "MedicationRequest",
        "id": f"m{next(_numbers)}",
        "status": "active",
        "intent": "order",
        "medicationCodeableConcept": drug,
    }


def allergy(substance: Json | None, **members: object) -> Json:
    """An allergy to a substance."""
    made = {
        "resourceType": "AllergyIntolerance",
        "id": f"a{next(_numbers)}",
        "code": substance,
    }
    return {key: value for key, value in (made | members).items() if value is not None}


def the_one(coverage: Coverage) -> Unmapped:
    """The one concept that is not mapped."""
    (unmapped,) = coverage.unmapped
    return unmapped


def test_what_is_mapped_is_counted_and_not_listed(terms: Terms) -> None:
    """A coding that is known is enough, whatever stands beside it."""
    ck = concept("CK", (FLOWSHEET, "1", "CK"), (LOINC, "2157-6", None))
    dm = concept(None, ("http://snomed.info/sct", "396230008", None))
    mtx = concept(None, ("http://www.nlm.nih.gov/research/umls/rxnorm", "6851", None))
    coverage = find_unmapped([deliver(observation(ck), condition(dm), order(mtx))], terms)
    assert [(t.kind, t.concepts, t.mapped) for t in coverage.totals] == [
        ("Observation", 1, 1),
        ("Condition", 1, 1),
        ("drug", 1, 1),
        ("allergy", 0, 0),
    ]
    assert coverage.unmapped == ()
    assert coverage.systems == {}


def test_the_same_code_is_listed_once_with_its_counts(terms: Terms) -> None:
    """Resources and patients are counted; every name that it went by is used for the likeness."""
    first = observation(concept("Grip", (FLOWSHEET, "9", "Grip")))
    second = observation(concept("Grip strength", (FLOWSHEET, "9", None)))
    coverage = find_unmapped([deliver(first, second), deliver(first)], terms)
    unmapped = the_one(coverage)
    assert (unmapped.resources, unmapped.patients, unmapped.text) == (3, 2, "Grip")
    assert unmapped.likely == ()
    assert unmapped.snippet == ""


def test_the_most_frequent_comes_first(terms: Terms) -> None:
    """Within a kind the order is that of the counts."""
    rare = observation(concept("Rare", (FLOWSHEET, "1", None)))
    often = [observation(concept("Often", (FLOWSHEET, "2", None))) for _ in range(2)]
    coverage = find_unmapped([deliver(rare, *often)], terms)
    assert [each.text for each in coverage.unmapped] == ["Often", "Rare"]


@pytest.mark.parametrize(
    ("text", "entry"),
    [
        ("Patient global VAS", "observations.patient_global_vas"),
        ("MDAAT extramuscular global", "observations.extramuscular_vas"),
        ("HAQ disability index", "observations.haq_di"),
        ("CMAS total", "observations.cmas"),
        ("Aldolase, serum", "observations.aldolase"),
        ("Mi-2 antibody", "antibodies.mi2"),
        ("anti MDA5 IgG", "antibodies.mda5"),
    ],
)
def test_a_name_that_is_clearly_like_one_entrys_is_proposed(
    terms: Terms, text: str, entry: str
) -> None:
    """The line to paste has the entry, the system and the code."""
    coverage = find_unmapped([deliver(observation(concept(text, (FLOWSHEET, "7", text))))], terms)
    unmapped = the_one(coverage)
    assert unmapped.likely[0].entry == entry
    assert unmapped.section == "codes"
    assert yaml.safe_load(unmapped.snippet) == {entry: {"flowsheet": {"7": text}}}
    assert coverage.systems == {"flowsheet": FLOWSHEET}


@pytest.mark.parametrize(
    ("code", "among"),
    [
        (observation(concept("MD global VAS", (FLOWSHEET, "7", None))), "physician_global_vas"),
        (observation(concept("MMT8 total", (FLOWSHEET, "7", None))), "mmt8_80"),
        (order(concept("Prednisolon 5 mg tablett", (FLOWSHEET, "7", None))), "prednisone"),
    ],
)
def test_where_several_entries_are_about_as_likely_none_is_proposed(
    terms: Terms, code: Json, among: str
) -> None:
    """Physician or patient, prednisone or prednisolone is for a person to choose."""
    unmapped = the_one(find_unmapped([deliver(code)], terms))
    assert among in {likely.entry.partition(".")[2] for likely in unmapped.likely}
    assert len(unmapped.likely) > 1
    assert unmapped.snippet.startswith(f"{CHOOSE}: {{flowsheet: ")


def test_short_words_are_no_spellings_of_each_other(terms: Terms) -> None:
    """ALT is not AST, nor is a code of three letters like any other."""
    unmapped = the_one(
        find_unmapped([deliver(observation(concept("AXT", (FLOWSHEET, "7", None))))], terms)
    )
    assert unmapped.likely == ()


def test_a_panel_is_known_by_its_parts(terms: Terms) -> None:
    """The code of a panel is no gap where a part is mapped; a part that is not is listed."""
    known, unknown = concept("CK", (LOINC, "2157-6", None)), concept("Part", (FLOWSHEET, "2", None))
    panel = concept("Panel", (FLOWSHEET, "1", None))
    coverage = find_unmapped([deliver(observation(panel, known, unknown))], terms)
    assert the_one(coverage).text == "Part"
    assert coverage.totals[0].concepts == 2
    assert coverage.totals[0].mapped == 1


def test_the_parts_of_what_is_mapped_are_not_listed(terms: Terms) -> None:
    """The muscles behind a total need no code of their own."""
    total = concept("CK", (LOINC, "2157-6", None))
    part = concept("Part", (FLOWSHEET, "2", None))
    assert find_unmapped([deliver(observation(total, part))], terms).unmapped == ()


def test_what_counts_by_its_name_says_so(terms: Terms) -> None:
    """A diagnosis and a drug known by name only are listed, with what they count as."""
    dm = condition(concept("Dermatomyositis", (FLOWSHEET, "1", None)))
    rtx = order(concept("Rituximab 500 mg", (FLOWSHEET, "2", None)))
    found = find_unmapped([deliver(dm, rtx)], terms).unmapped
    assert [(each.counted_as, each.snippet) for each in found] == [
        (
            "diagnoses.dermatomyositis",
            'diagnoses.dermatomyositis: {flowsheet: {"1": "Dermatomyositis"}}',
        ),
        ("drugs.rituximab", 'drugs.rituximab: {flowsheet: {"2": "Rituximab 500 mg"}}'),
    ]


def test_a_name_in_doubt_does_not_map_a_code(terms: Terms) -> None:
    """A local code for what is asked would else be proposed for what is sure."""
    asked = condition(concept("Dermatomyositis?", (FLOWSHEET, "1", None)))
    assert the_one(find_unmapped([deliver(asked)], terms)).counted_as is None


def test_a_drug_without_a_code_is_mapped_by_its_name(terms: Terms) -> None:
    """A misspelt name is proposed under ``names``; one that counts already needs no line."""
    misspelt = the_one(find_unmapped([deliver(order(concept("Azathioprin tablets")))], terms))
    assert misspelt.section == "names"
    assert misspelt.snippet == 'drugs.azathioprine: ["Azathioprin tablets"]'
    known = the_one(find_unmapped([deliver(order(concept("Azathioprine tablets")))], terms))
    assert known.counted_as == "drugs.azathioprine"
    assert known.snippet == ""


def test_the_substance_of_an_allergy_is_mapped_as_a_drug_or_a_group_of_them(terms: Terms) -> None:
    """What is known by its name only is listed with what it counts as; food is not looked at."""
    known = allergy(concept(None, ("http://snomed.info/sct", "387381009", None)))
    none = allergy(concept(None, ("http://snomed.info/sct", "716186003", None)))
    rtx = allergy(concept("Rituximab", (FLOWSHEET, "1", None)))
    sulfa = allergy(concept("Sulfa drugs", (FLOWSHEET, "2", None)))
    nuts = allergy(concept("Nuts", (FLOWSHEET, "3", None)), category=["food"])
    coverage = find_unmapped([deliver(known, none, rtx, sulfa, nuts)], terms)
    assert (coverage.totals[-1].concepts, coverage.totals[-1].mapped) == (4, 2)
    assert {each.kind for each in coverage.unmapped} == {"allergy"}
    assert [(each.counted_as, each.snippet) for each in coverage.unmapped] == [
        ("drugs.rituximab", 'drugs.rituximab: {flowsheet: {"1": "Rituximab"}}'),
        ("allergens.sulfonamide", 'allergens.sulfonamide: {flowsheet: {"2": "Sulfa drugs"}}'),
    ]


def test_an_allergy_that_only_its_reaction_names_is_listed_too(terms: Terms) -> None:
    """A record without a code may name its substance with the reaction."""
    named = concept("Azathioprin", (FLOWSHEET, "4", None))
    record = allergy(None, reaction=[{"substance": named, "manifestation": [{"text": "Rash"}]}])
    unmapped = the_one(find_unmapped([deliver(record)], terms))
    assert (unmapped.kind, unmapped.counted_as) == ("allergy", None)
    assert unmapped.likely[0].entry == "drugs.azathioprine"


def test_an_observation_without_a_system_cannot_be_mapped(terms: Terms) -> None:
    """A code means nothing without its system, so no line is proposed for it."""
    unmapped = the_one(
        find_unmapped([deliver(observation(concept("Aldolase", (None, "A", "Aldolase"))))], terms)
    )
    assert unmapped.likely[0].entry == "observations.aldolase"
    assert unmapped.snippet == ""


def test_systems_get_names_that_are_free(terms: Terms) -> None:
    """Two systems that end alike, one like a shipped one, and an OID are told apart."""
    systems = ("https://a.example/lab", "https://b.example/lab", "https://a.example/loinc")
    named = [concept(f"Aldolase {i}", (s, "1", None)) for i, s in enumerate(systems)]
    oid = concept("Aldolase", ("urn:oid:1.2.3", "1", None))
    coverage = find_unmapped([deliver(*map(observation, (*named, oid)))], terms)
    assert {url: name for name, url in coverage.systems.items()} == {
        "https://a.example/lab": "lab",
        "https://b.example/lab": "lab_2",
        "https://a.example/loinc": "loinc_2",
        "urn:oid:1.2.3": "local",
    }


def test_the_text_is_the_name_the_counts_and_the_line_to_paste(terms: Terms) -> None:
    """Each code is shown with what is likely; what is pasted stands after a bar, on one line."""
    code = observation(concept("HAQ disability index", (FLOWSHEET, "30420", None)))
    lines = list(coverage_lines(find_unmapped([deliver(code)], terms)))
    assert lines[:6] == [
        "Observations: 0 of 1 mapped by code; 1 code is not:",
        "",
        "  HAQ disability index (1 in 1 patient)",
        f"    code    {FLOWSHEET} 30420",
        "    likely  observations.haq_di  HAQ-DI, 0–3",
        '    codes   | observations.haq_di: {flowsheet: {"30420": "HAQ disability index"}}',
    ]
    assert lines[-1] == f'    systems | flowsheet: {{url: "{FLOWSHEET}"}}'
    assert all(len(line) <= 80 or "|" in line for line in lines)


def test_pasted_lines_are_what_maps_the_patient(tmp_path: Path, terms: Terms) -> None:
    """With the lines of the report, and the choices made, in ``site.yaml``, nothing is left."""
    bundle = (SITE / "local-codes.bundle.json").read_bytes()

    def found(of: Terms) -> Coverage:
        delivery = Delivery()
        read_resource(decode(bundle), delivery, "Bundle")
        return find_unmapped([delivery], of)

    chosen = {
        "MD global VAS": "observations.physician_global_vas",
        "MMT8 total, bilateral + axial": "observations.mmt8_150",
        "Prednisolon 5 mg tablett": "drugs.prednisolone",
    }
    coverage = found(terms)
    lines = ["site: Pasted", "systems:"]
    lines += [f'  {name}: {{url: "{url}"}}' for name, url in coverage.systems.items()]
    lines.append("codes:")
    for each in coverage.unmapped:
        if each.section == "codes":
            lines.append("  " + each.snippet.replace(CHOOSE, chosen.get(each.text, CHOOSE)))
    lines.append('  observations.ck: {laboratory: {"CKS": "P-Kreatinkinas"}}')  # found by nobody
    (tmp_path / "site.yaml").write_text("\n".join(lines) + "\n", encoding="utf-8")
    pasted = found(load_rules(CHECKOUT / "rules", tmp_path).terms)
    # Ordered without a code, it counts by its name.
    assert the_one(pasted).counted_as == "drugs.methotrexate"
