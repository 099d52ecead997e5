import json
import re
from collections.abc import Iterator
from datetime import date
from io import StringIO
from pathlib import Path
from typing import Any

import msgspec
import pytest
from rich.console import Console

from cds.advice import Advice, advise
from cds.cards.card import Card, Source
from cds.fhir.bundles import RESOURCE_TYPES, Delivery, Excluded, decode, read_resource
from cds.report import print_report, record_of
from cds.rules.reading import read_ruleset
from cds.rules.ruleset import RuleSet

ROOT = Path(__file__).parents[1]
BUNDLES = sorted((ROOT / "fhir_examples").glob("*.bundle.json"))
AS_OF = date(2026, 11, 16)
ENCODER = msgspec.json.Encoder(decimal_format="number")

# A report, or any part of one, as JSON.
Json = dict[str, Any]


@pytest.fixture(scope="module")
def ruleset() -> RuleSet:
    """The rules that travel with the package."""
    return read_ruleset(ROOT / "rules")


def advice_on(raw: bytes, ruleset: RuleSet) -> Advice:
    """The advice on a Bundle that is the whole chart of its one patient."""
    delivery = Delivery(delivered=set(RESOURCE_TYPES))
    read_resource(decode(raw), delivery, "Bundle")
    patient = delivery.patients[0].id
    assert patient is not None
    return advise(delivery, patient, ruleset, AS_OF, everything=True)


def example(name: str, ruleset: RuleSet) -> Advice:
    """The advice on one of the shipped examples."""
    return advice_on((ROOT / "fhir_examples" / f"{name}.bundle.json").read_bytes(), ruleset)


def encoded(advice: Advice, ruleset: RuleSet) -> bytes:
    """The record of some advice, as it is written."""
    return ENCODER.encode(record_of("a.json", advice, ruleset))


def measures(advice: Advice, ruleset: RuleSet) -> dict[str, Json]:
    """The measures of a record by id, their numbers exact: as text."""
    record = json.loads(encoded(advice, ruleset), parse_float=str, parse_int=str)
    return {measure["id"]: measure for measure in record["measures"]}


def report(advice: Advice, ruleset: RuleSet, width: int = 80) -> str:
    """The report as it is printed to a pipe."""
    file = StringIO()
    print_report("a.json", advice, ruleset, Console(file=file, width=width, markup=False))
    return file.getvalue()


def squeezed(text: str) -> str:
    """Text without white space, so that it does not matter where lines were broken."""
    return re.sub(r"\s", "", text)


CODES = {
    "physician_global": ("physician-global", "cm"),
    "muscle_strength": ("mmt8-150", "{score}"),
    "extramuscular": ("extramuscular-global", "cm"),
}


def two_visits(measure: str, before: str, after: str) -> bytes:
    """A chart with dermatomyositis and one measure at two visits; values as written in JSON."""
    if measure == "muscle_enzyme":
        coding, unit = '{"system": "http://loinc.org", "code": "2157-6"}', "U/L"
    else:
        local, unit = CODES[measure]
        coding = f'{{"system": "{core_set()}", "code": "{local}"}}'
    taken = ",".join(
        f"""{{"resource": {{"resourceType": "Observation", "id": "{name}", "status": "final",
        "code": {{"coding": [{coding}]}}, "subject": {{"reference": "Patient/p"}},
        "effectiveDateTime": "{day}",
        "valueQuantity": {{"value": {value}, "unit": "{unit}",
        "system": "http://unitsofmeasure.org", "code": "{unit}"}}}}}}"""
        for name, day, value in (("first", "2026-05-01", before), ("second", "2026-11-01", after))
    )
    return f"""{{"resourceType": "Bundle", "type": "collection", "entry": [
        {{"resource": {{"resourceType": "Patient", "id": "p"}}}},
        {{"resource": {{"resourceType": "Condition", "id": "c",
        "code": {{"coding": [{{"system": "http://snomed.info/sct", "code": "396230008"}}]}},
        "subject": {{"reference": "Patient/p"}}}}}}, {taken}]}}""".encode()


def core_set() -> str:
    """The URL of the code system of the core set measures, as the examples have it."""
    text = (ROOT / "fhir_examples" / "not-improved.bundle.json").read_text(encoding="utf-8")
    found = re.search(r'"system": "([^"]*)",\s*"code": "physician-global"', text)
    assert found is not None
    return found[1]


# --- the record ----------------------------------------------------------------------------------


def test_the_record_has_the_promised_shape(ruleset: RuleSet) -> None:
    """Every promised field is there, and the six measures are in the order of the definition."""
    record = json.loads(encoded(example("improved-at-six-months", ruleset), ruleset))

    assert {"file", "as_of", "patient", "measures", "response", "excluded", "cards"} <= set(record)
    assert (record["file"], record["as_of"], record["patient"]) == (
        "a.json",
        "2026-11-16",
        "improved-six-months",
    )
    assert [m["id"] for m in record["measures"]] == [
        "physician_global",
        "patient_global",
        "muscle_strength",
        "physical_function",
        "muscle_enzyme",
        "extramuscular",
    ]
    assert set(record["response"]) == {"imacs", "tis"}
    assert set(record["response"]["imacs"]) == {
        "improved",
        "improved_measures",
        "worsened_measures",
        "undetermined_by",
    }
    tis = record["response"]["tis"]
    assert (tis["low"], tis["high"], tis["category"]) == (82.5, 82.5, "major")
    assert (tis["possible"], tis["undetermined_by"]) == (["major"], [])
    assert {c["id"]: (c["low"], c["high"], c["most"]) for c in tis["contributions"]} == {
        "physician_global": (20, 20, 20),
        "patient_global": (10, 10, 10),
        "muscle_strength": (20, 20, 32.5),
        "physical_function": (10, 10, 10),
        "muscle_enzyme": (7.5, 7.5, 7.5),
        "extramuscular": (15, 15, 20),
    }
    assert {frozenset(item) for item in record["excluded"]} == {frozenset({"reference", "reason"})}
    assert record["cards"][0]["indicator"] == "info"
    assert record["rules_version"] == ruleset.version


def test_values_exactly_on_the_thresholds_are_told_exactly(ruleset: RuleSet) -> None:
    """Twenty per cent better and twenty-five worse are those very numbers, and they count."""
    advice = example("exactly-on-the-thresholds", ruleset)
    told = measures(advice, ruleset)

    assert {name: measure["improvement_percent"] for name, measure in told.items()} == {
        "physician_global": "20",
        "patient_global": "-25",
        "muscle_strength": "20",
        "physical_function": "20",
        "muscle_enzyme": "4.878048",
        "extramuscular": "-25",
    }
    assert told["physician_global"] == {
        "id": "physician_global",
        "baseline": "5.5",
        "current": "4.4",
        "unit": "cm",
        "baseline_date": "2026-06-01",
        "current_date": "2026-11-09",
        "improvement_percent": "20",
        "change_percent": "11",
        "evidence": [
            "Observation/on-the-thresholds-physician-global-2026-06-01",
            "Observation/on-the-thresholds-physician-global-2026-11-09",
        ],
        "instrument": "physician_global_vas",
        "remark": "",
        "course": [
            {
                "date": "2026-06-01",
                "value": "5.5",
                "evidence": "Observation/on-the-thresholds-physician-global-2026-06-01",
            },
            {
                "date": "2026-11-09",
                "value": "4.4",
                "evidence": "Observation/on-the-thresholds-physician-global-2026-11-09",
            },
        ],
    }
    imacs = record_of("a.json", advice, ruleset).response.imacs
    assert imacs.improved is True
    assert imacs.improved_measures == ("physician_global", "muscle_strength", "physical_function")
    assert imacs.worsened_measures == ("patient_global", "extramuscular")
    assert imacs.undetermined_by == ()


def test_what_is_not_counted_is_told_apart(ruleset: RuleSet) -> None:
    """Damage, quality of life and skin have a list of their own, beside the six."""
    record = record_of("a.json", example("measures-missing", ruleset), ruleset)

    assert len(record.measures) == 6
    assert [measure.id for measure in record.beside] == [
        "physician_damage",
        "patient_damage",
        "physical_quality_of_life",
        "mental_quality_of_life",
        "skin_activity",
    ]
    assert record.beside[0].improvement_percent == msgspec.Raw(b"-100")


def test_the_record_says_why_these_visits(ruleset: RuleSet) -> None:
    """The reasons for baseline and current are told, and the visit before the current one."""
    record = record_of("a.json", example("worsened", ruleset), ruleset)

    assert record.visits_reason == (
        "the last assessment on or before the start of systemic glucocorticoid and azathioprine "
        "on 2026-03-18"
    )
    assert record.current_reason == "the latest assessment, at least 28 days after baseline"
    assert record.previous_date == date(2026, 10, 12)


def test_the_report_tells_the_course_and_what_is_not_counted(ruleset: RuleSet) -> None:
    """Every value with its day, from the first visit to the last."""
    printed = report(example("measures-missing", ruleset), ruleset, 200)

    assert "Skin activity: CDASI activity, 0–100: 24 (2026-05-11) → 15 (2026-08-10) → 9" in printed
    assert "Beside the core set, not counted" in printed


def test_the_report_tells_the_instrument_that_does_not_count(ruleset: RuleSet) -> None:
    """Of CMAS beside manual testing in a child, how it changed."""
    raw = (ROOT / "fhir_examples/juvenile-dermatomyositis.bundle.json").read_text("utf-8")
    content = json.loads(raw)
    for entry in [e for e in content["entry"] if "-cmas-" in e["resource"]["id"]]:
        tested = json.loads(json.dumps(entry).replace("cmas", "mmt"))
        tested["resource"]["code"]["coding"][0]["code"] = "mmt8-80"
        content["entry"].append(tested)
    said = squeezed(report(advice_on(json.dumps(content).encode(), ruleset), ruleset, 200))
    assert squeezed("CMAS, 0–52 is recorded too: 28 → 46") in said


def test_the_report_says_how_a_value_is_missing_and_what_was_recorded(ruleset: RuleSet) -> None:
    """Not performed is more than missing, and a converted value can be found in the record."""
    missing = report(example("undetermined-strength-missing", ruleset), ruleset, 200)
    converted = report(example("real-world-mess", ruleset), ruleset, 200)

    assert "not performed (2026-11-10)" in missing
    assert "42.5 µkat/L as recorded" in converted


def test_a_response_that_fails_is_false(ruleset: RuleSet) -> None:
    """A definition that is surely not met is false, and nothing would settle it."""
    imacs = record_of("a.json", example("not-improved", ruleset), ruleset).response.imacs
    assert (imacs.improved, imacs.undetermined_by) == (False, ())


def test_an_undetermined_response_names_what_would_settle_it(ruleset: RuleSet) -> None:
    """Where strength is missing, the response is neither met nor failed, and asks for strength."""
    advice = example("undetermined-strength-missing", ruleset)
    imacs = record_of("a.json", advice, ruleset).response.imacs
    strength = measures(advice, ruleset)["muscle_strength"]

    assert imacs.improved is None
    assert imacs.undetermined_by == ("muscle_strength",)
    assert (strength["baseline"], strength["current"]) == ("118", None)
    assert strength["current_date"] is None
    assert (strength["improvement_percent"], strength["change_percent"]) == (None, None)
    assert strength["evidence"] == ["Observation/strength-missing-mmt8-150-2026-05-18"]


def test_what_would_settle_a_response_stands_in_the_order_of_the_measures(
    ruleset: RuleSet,
) -> None:
    """With a single visit every measure would be needed, and they are named in their own order."""
    imacs = record_of("a.json", example("rp-ild-mda5", ruleset), ruleset).response.imacs
    assert imacs.undetermined_by == (
        "physician_global",
        "patient_global",
        "muscle_strength",
        "physical_function",
        "muscle_enzyme",
        "extramuscular",
    )


def test_a_change_from_zero_has_no_percentage(ruleset: RuleSet) -> None:
    """From a baseline of 0 the relative change is null, and the change of the range is a number."""
    told = measures(advice_on(two_visits("extramuscular", "0", "2.5"), ruleset), ruleset)
    assert told["extramuscular"]["improvement_percent"] is None
    assert told["extramuscular"]["change_percent"] == "-25"


@pytest.mark.parametrize(
    "before, after, percent, counts",
    [
        ("9", "7.2", "20", True),
        ("9", "7.2000000001", "19.999999", False),
        ("9", "7.1999999999", "20.000001", True),
        ("3", "1", "66.666666", True),
        ("3", "5", "-66.666666", False),
        ("8", "5", "37.5", True),
    ],
)
def test_a_percentage_that_is_cut_never_reads_as_a_threshold(
    ruleset: RuleSet, before: str, after: str, percent: str, counts: bool
) -> None:
    """What falls short of 20 % by a hair is not written as 20, nor is what exceeds it by a hair."""
    advice = advice_on(two_visits("physician_global", before, after), ruleset)
    imacs = record_of("a.json", advice, ruleset).response.imacs

    assert measures(advice, ruleset)["physician_global"]["improvement_percent"] == percent
    assert ("physician_global" in imacs.improved_measures) is counts


def test_numbers_are_written_out(ruleset: RuleSet) -> None:
    """Numbers are written without an exponent, however the file and the arithmetic write them."""
    raw = two_visits("muscle_enzyme", "0.0001", "9E+6")
    enzyme = measures(advice_on(raw, ruleset), ruleset)["muscle_enzyme"]

    assert (enzyme["baseline"], enzyme["current"]) == ("0.0001", "9000000")
    assert enzyme["improvement_percent"] == "-8999999999900"


def test_measures_are_told_of_a_patient_whom_the_rules_are_not_about(ruleset: RuleSet) -> None:
    """Without myositis there are no cards, and what was measured is told all the same."""
    advice = example("no-myositis", ruleset)
    record = record_of("a.json", advice, ruleset)

    assert (record.applies, record.cards) == (False, ())
    assert measures(advice, ruleset)["muscle_enzyme"]["baseline"] == "104"


def test_a_record_is_not_made_of_advice_without_a_chart(ruleset: RuleSet) -> None:
    """Advice that skipped the chart cannot become a record that looks as if nothing were there."""
    advice = msgspec.structs.replace(example("no-myositis", ruleset), chart=None)
    with pytest.raises(ValueError, match="everything"):
        record_of("a.json", advice, ruleset)


# --- the report ----------------------------------------------------------------------------------


def references(advice: Advice) -> Iterator[str]:
    """Every reference that the cards cite or that is listed as not used."""
    for item in advice.excluded:
        yield item.reference
    for card in advice.cards:
        yield from re.findall(r"(?:Observation|Condition|Medication\w*)/[\w-]+", card.detail)


@pytest.mark.parametrize("width", [60, 80, 120])
@pytest.mark.parametrize("file", BUNDLES, ids=lambda file: file.name)
def test_nothing_is_cut_off_at_any_width(ruleset: RuleSet, file: Path, width: int) -> None:
    """Every line fits the terminal, and no reference, link or summary is shortened."""
    advice = advice_on(file.read_bytes(), ruleset)
    printed = report(advice, ruleset, width)
    found = squeezed(printed)

    assert max(map(len, printed.splitlines())) <= width
    assert "…" not in printed
    for reference in references(advice):
        assert squeezed(reference) in found
    for card in advice.cards:
        assert squeezed(card.summary) in found
        assert all(link.url in found for link in card.links)


def test_the_report_needs_no_colour(ruleset: RuleSet) -> None:
    """In a pipe there are no escape sequences, and urgency and truth are words and signs."""
    printed = report(example("rp-ild-mda5", ruleset), ruleset)

    assert "\x1b" not in printed
    assert "!!! CRITICAL" in printed
    assert "✓ yes" in printed


def test_the_report_begins_with_what_is_urgent(ruleset: RuleSet) -> None:
    """Right below the patient stand the cards, each in a line, before anything to be looked up."""
    _, patient, card, *_ = report(example("rp-ild-mda5", ruleset), ruleset, 120).splitlines()
    assert patient.startswith("Patient rp-ild-mda5, as of 2026-11-16")
    assert card.startswith("!!! CRITICAL: Rapidly progressive ILD in myositis")


def test_the_report_tells_values_dates_and_changes(ruleset: RuleSet) -> None:
    """Each measure stands with both values, both dates, and its change in words."""
    lines = report(example("exactly-on-the-thresholds", ruleset), ruleset).splitlines()
    row = next(i for i, line in enumerate(lines) if line.startswith("Physician global activity"))

    assert re.split(r"\s{2,}", lines[row].strip()) == [
        "Physician global activity",
        "5.5 cm",
        "4.4 cm",
        "improved 20\u202f%",
    ]
    assert re.split(r"\s{2,}", lines[row + 1].strip()) == [
        "VAS 0–10 cm",
        "2026-06-01",
        "2026-11-09",
        "11\u202f% of the range",
    ]


@pytest.mark.parametrize(
    "name, line",
    [
        ("improved-at-six-months", "IMACS definition of improvement: ✓ met"),
        ("not-improved", "IMACS definition of improvement: ✗ not met"),
        ("undetermined-strength-missing", "IMACS definition of improvement: ? undetermined"),
        ("undetermined-strength-missing", "  What would settle it: Muscle strength"),
        ("new-untreated-dermatomyositis", "Current: no assessment at least 28 days after"),
        ("no-myositis", "No cards: the rules are about"),
    ],
)
def test_the_report_says_the_answer(ruleset: RuleSet, name: str, line: str) -> None:
    """The answer on the response, and why there is none, stand in words of their own."""
    assert line in report(example(name, ruleset), ruleset)


def test_the_report_names_a_suggestion(ruleset: RuleSet) -> None:
    """What a card proposes to draft is told, with the type of the resource."""
    printed = report(example("rp-ild-mda5", ruleset), ruleset)
    assert "Suggestion: Draft a proposal: methylprednisolone IV pulse (adult)" in printed
    assert "create MedicationRequest: " in printed


def test_what_is_not_used_stands_with_its_reason(ruleset: RuleSet) -> None:
    """Excluded resources are gathered below their reason, and counted."""
    advice = example("no-myositis", ruleset)
    excluded = (
        Excluded("Observation/a", "its status is preliminary"),
        Excluded("Observation/b", "it has no effective date"),
        Excluded("Observation/c", "its status is preliminary"),
    )
    printed = report(msgspec.structs.replace(advice, excluded=excluded), ruleset)

    told = [line.rstrip() for line in printed[printed.index("Not used") :].splitlines() if line]
    assert told == [
        "Not used (3)",
        "• Its status is preliminary.",
        "    Observation/a, Observation/c",
        "• It has no effective date.",
        "    Observation/b",
    ]


def test_a_chart_cannot_steer_the_terminal(ruleset: RuleSet) -> None:
    """Escape sequences and markup that come from a chart are shown and do nothing."""
    card = Card("u", "A [bold]\x1b[2Jsummary", "info", "Detail\x9b31m [red]here", Source("s"))
    advice = msgspec.structs.replace(
        example("no-myositis", ruleset),
        cards=(card,),
        excluded=(Excluded("Observation/\x1b]0;x\x07", "because"),),
    )
    printed = report(advice, ruleset)

    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", printed)
    assert "A [bold]\N{REPLACEMENT CHARACTER}[2Jsummary" in printed
    assert "[red]here" in printed


def test_rules_without_the_definition_are_no_obstacle(ruleset: RuleSet) -> None:
    """Where the rules in use do not define the IMACS response, the report says so."""
    advice = example("not-improved", ruleset)
    bare = msgspec.structs.replace(ruleset, deriving={}, rules=())
    assert "do not define the IMACS definition of improvement" in report(advice, bare)
