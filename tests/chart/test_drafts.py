from decimal import Decimal
from typing import Any

import pytest

from cds.chart.chart import Chart, read_chart, read_findings
from cds.chart.quantities import INFINITY, Interval
from cds.chart.treatments import LONGEST_CODE, MOST_CODES
from cds.fhir.bundles import Delivery
from tests.chart.conftest import (
    AS_OF,
    FACTS,
    PATIENT,
    TERMS,
    Json,
    ago,
    concept,
    deliver,
    dosage,
    exactly,
    fact,
    given,
    order,
    reasons,
    stated,
)

METHOTREXATE = concept("rxnorm|6851", text="Methotrexate tablets")


def draft(drug: str | Json, **of: Any) -> Json:
    """Return a MedicationRequest that nobody has signed."""
    return order(drug, ago(0), status="draft", **of)


def placing(*drafts: Json, chart: Delivery | None = None) -> Chart:
    """Read a chart while these orders are being placed."""
    delivery = chart or deliver()
    found = read_findings(delivery, TERMS, AS_OF)
    return read_chart(delivery, found, PATIENT, TERMS, AS_OF, drafts=deliver(*drafts))


@pytest.mark.parametrize(
    ("drafted", "drug", "remark"),
    [
        (METHOTREXATE, "methotrexate", ""),
        (concept("atc|L04AX03"), "methotrexate", " (code not verified)"),
        ("Methotrexate 15 mg weekly", "methotrexate", " (matched by name)"),
        (concept("rxnorm|1357536"), "jak_inhibitor", ""),
        ("Brepocitinib 30 mg tablets", "jak_inhibitor", " (matched by name)"),
    ],
)
def test_a_draft_is_of_a_drug_and_of_its_classes(drafted: Json, drug: str, remark: str) -> None:
    """A draft is matched as an order is, and the evidence says how."""
    chart = placing(draft(drafted, id="draft"))
    (evidence,) = FACTS[f"drug.{drug}.ordered"].evidence(chart)

    assert fact(chart, f"drug.{drug}.ordered") is True
    assert fact(chart, "drug.rituximab.ordered") is False
    assert (evidence.reference, evidence.date) == ("MedicationRequest/draft", ago(0))
    assert ", drafted " in evidence.text
    assert evidence.text.endswith(remark)


def test_a_draft_is_no_treatment() -> None:
    """What is being ordered is neither taken now, nor was it ever, nor opens it a line."""
    chart = placing(draft(METHOTREXATE))

    assert fact(chart, "drug.methotrexate.current") is False
    assert fact(chart, "drug.methotrexate.ever") is False
    assert chart.exposures == {}
    assert chart.line_start is None


def test_a_draft_that_the_record_holds_as_active_is_no_treatment_either() -> None:
    """An order that is still being signed counts as a draft, whatever the record says of it."""
    recorded = order(METHOTREXATE, ago(0), id="same")
    chart = placing(draft(METHOTREXATE, id="same"), chart=deliver(recorded))

    assert fact(chart, "drug.methotrexate.ordered") is True
    assert fact(chart, "drug.methotrexate.current") is False
    assert "is still a draft order" in reasons(chart)


def test_nothing_is_being_ordered_where_a_chart_is_opened() -> None:
    """Without draft orders every such fact is false, also where orders of the past are missing."""
    delivery = deliver(delivered=())
    chart = read_chart(delivery, {}, PATIENT, TERMS, AS_OF)

    assert fact(chart, "drug.methotrexate.ordered") is False
    assert fact(chart, "order.unread") is False


@pytest.mark.parametrize(
    "unknown",
    [
        {"identifier": {"value": "4711"}, "reference": None},
        concept("https://hospital.example/drugs|4711"),
    ],
)
def test_a_draft_whose_drug_cannot_be_known_could_be_any(unknown: Json) -> None:
    """Of any drug it is unknown whether it is being ordered, unless another draft is of it."""
    chart = placing(draft(unknown, id="unknown"), draft(METHOTREXATE))
    (evidence,) = FACTS["order.unread"].evidence(chart)

    assert fact(chart, "drug.rituximab.ordered") is None
    assert fact(chart, "drug.methotrexate.ordered") is True
    assert fact(chart, "order.unread") is True
    assert evidence.reference == "MedicationRequest/unknown"


def said_of_unread(drafted: Json) -> str:
    """Return what is said of the one draft whose drug cannot be known."""
    (evidence,) = FACTS["order.unread"].evidence(placing(draft(drafted)))
    return evidence.text


def test_a_draft_whose_drug_cannot_be_known_says_its_code_and_system() -> None:
    """Whoever maps the drugs of the site is told what to map, or that the system is missing."""
    said = said_of_unread(
        {"coding": [{"system": "https://hospital.example/drugs", "code": "4711"}, {"code": "x"}]}
    )
    assert said.endswith("4711 of https://hospital.example/drugs, x of a system that is not named")


def test_codes_of_a_draft_that_are_many_or_long_are_counted() -> None:
    """Those beyond the most that are named, and those that are too long, are said to be there."""
    many = [{"system": "urn:x", "code": str(each)} for each in range(MOST_CODES + 2)]
    assert said_of_unread({"coding": many}).endswith("4 of urn:x, 2 more")

    long = {"system": "urn:x", "code": "9" * (LONGEST_CODE + 1)}
    assert said_of_unread({"coding": [many[0], long]}).endswith("0 of urn:x, 1 more")
    assert said_of_unread({"coding": [long]}).endswith("that this service knows")


def test_a_draft_that_cannot_be_decoded_could_be_of_any_drug() -> None:
    """A broken MedicationRequest among the drafts leaves every drug unknown, and is listed."""
    chart = placing(draft(METHOTREXATE, id="broken", dosageInstruction=5))

    assert fact(chart, "drug.methotrexate.ordered") is None
    assert fact(chart, "order.unread") is True
    assert any("cannot be read" in reason for reason in reasons(chart))


def test_a_draft_of_another_drug_is_listed() -> None:
    """A drug that the vocabulary does not know is no drug that it knows."""
    chart = placing(draft("Paracetamol 500 mg tablets"))

    assert fact(chart, "drug.methotrexate.ordered") is False
    assert fact(chart, "order.unread") is False
    assert reasons(chart) == ["its drug is not mapped to anything that this service knows"]


@pytest.mark.parametrize(
    ("of", "reason"),
    [
        ({"status": "cancelled"}, "its status is cancelled"),
        ({"status": "entered-in-error"}, "its status is entered-in-error"),
        ({"doNotPerform": True}, "it says not to give the drug"),
        (
            {"dosageInstruction": [{"route": {"text": "topical"}}]},
            "it is not systemic treatment (topical)",
        ),
    ],
)
def test_what_will_be_no_systemic_treatment_is_not_ordered(of: Json, reason: str) -> None:
    """A draft that was withdrawn, forbids the drug or is local is listed with the reason."""
    chart = placing(draft(METHOTREXATE) | of)

    assert fact(chart, "drug.methotrexate.ordered") is False
    assert reasons(chart) == [reason]


@pytest.mark.parametrize("of", [{"status": "active"}, {"intent": "plan"}, {"authoredOn": "2027"}])
def test_status_intent_and_a_later_start_do_not_make_a_draft_less_ordered(of: Json) -> None:
    """What an EHR sends as a draft order is about to be ordered."""
    assert fact(placing(draft(METHOTREXATE) | of), "drug.methotrexate.ordered") is True


@pytest.mark.parametrize("other", [given("Methotrexate"), stated("Methotrexate")])
def test_what_is_no_order_is_listed(other: Json) -> None:
    """Only orders among the drafts are read as such."""
    chart = placing(other)

    assert fact(chart, "drug.methotrexate.ordered") is False
    assert reasons(chart) == ["is among the draft orders and no order"]


@pytest.mark.parametrize(
    ("of", "ordered"),
    [
        (dosage(1000, route="intravenous"), True),
        (dosage(125, route="intravenous"), False),
        (dosage(1000, route="oral"), False),
        (dosage(1000), None),
        ({}, None),
    ],
)
def test_a_class_of_route_and_dose_is_ordered_where_the_draft_says_both(
    of: Json, ordered: bool | None
) -> None:
    """A pulse is ordered by route and dose; where the draft does not tell them it is unknown."""
    chart = placing(draft("Methylprednisolone", **of))

    assert fact(chart, "drug.methylprednisolone.ordered") is True
    assert fact(chart, "drug.pulse_methylprednisolone.ordered") is ordered


def test_a_draft_may_refer_to_a_medication_of_the_chart() -> None:
    """The product that a draft names may have been delivered with the chart."""
    medication = {"resourceType": "Medication", "id": "product", "code": METHOTREXATE}
    drafted = draft({"reference": "Medication/product"})

    assert fact(placing(drafted, chart=deliver(medication)), "drug.methotrexate.ordered") is True
    assert fact(placing(drafted, medication), "drug.methotrexate.ordered") is True


def test_the_highest_dose_of_the_drafts_is_known_in_prednisone_equivalents() -> None:
    """Of steps that follow each other the highest; a dose on record is not among them."""
    steps = [
        {**dosage(32, route="Oral", frequency=1, period=1, periodUnit="d"), "sequence": 1},
        {**dosage(16, route="Oral", frequency=1, period=1, periodUnit="d"), "sequence": 2},
    ]
    taper = [{**step["dosageInstruction"][0], "sequence": step["sequence"]} for step in steps]
    chart = placing(
        draft("Methylprednisolone tablets", dosageInstruction=taper),
        chart=deliver(order("Prednisone tablets", ago(30), **dosage(80, route="Oral"))),
    )
    assert fact(chart, "dose.glucocorticoid.ordered") == exactly(40)
    assert fact(placing(draft(METHOTREXATE)), "dose.glucocorticoid.ordered") == exactly(0)


def test_a_draft_that_cannot_be_read_leaves_the_ordered_dose_open() -> None:
    """Its dose may be any; where even its drug cannot be read, so may that of any drug."""
    for drafted in (draft("Prednisone tablets"), draft({"coding": [{"code": "1"}]})):
        ordered = fact(placing(drafted), "dose.glucocorticoid.ordered")
        assert ordered == Interval(Decimal(0), INFINITY)


# --- for how long --------------------------------------------------------------------------------

DAYS = "dose.glucocorticoid.ordered_days"
OPEN = Interval(Decimal(0), INFINITY)


def lasting(**repeat: Any) -> Json:
    """Return one dosage by mouth with bounds."""
    made = dosage(20, route="Oral", frequency=1, period=1, periodUnit="d", **repeat)
    (first,) = made["dosageInstruction"]
    return dict(first)


def supply(value: int, code: str) -> Json:
    """Return how long what is dispensed is to last."""
    return {"dispenseRequest": {"expectedSupplyDuration": {"value": value, "code": code}}}


@pytest.mark.parametrize(
    ("bounds", "days"),
    [
        ({"boundsDuration": {"value": 14, "code": "d"}}, exactly(14)),
        ({"boundsDuration": {"value": 2, "unit": "weeks"}}, exactly(14)),
        ({"boundsDuration": {"value": 3, "code": "mo"}}, Interval(Decimal(84), Decimal(93))),
        ({"boundsDuration": {"value": 14, "code": "furlong"}}, OPEN),
        ({"boundsDuration": {"value": 14, "code": "d", "comparator": ">="}}, OPEN),
        ({"boundsDuration": {"value": "1e1000", "code": "d"}}, OPEN),
        ({"boundsPeriod": {"start": "2026-11-16", "end": "2026-11-29"}}, exactly(14)),
        ({"boundsPeriod": {"start": "2026-11-16"}}, OPEN),
        (
            {"boundsRange": {"low": {"value": 5, "code": "d"}, "high": {"value": 7, "code": "d"}}},
            Interval(Decimal(5), Decimal(7)),
        ),
        ({}, OPEN),
    ],
)
def test_a_draft_tells_for_how_long_it_is(bounds: Json, days: Interval) -> None:
    """By the bounds of its timing; a month has 28 to 31 days, and what is not stated is open."""
    chart = placing(draft("Prednisolone", dosageInstruction=[lasting(**bounds)]))
    assert fact(chart, DAYS) == days


def test_a_supply_is_the_least_that_a_draft_is_for() -> None:
    """It may be renewed; a stated end is never passed."""
    assert fact(
        placing(draft("Prednisolone", dosageInstruction=[lasting()], **supply(30, "d"))), DAYS
    ) == Interval(Decimal(30), INFINITY)
    short = lasting(boundsDuration={"value": 5, "code": "d"})
    chart = placing(draft("Prednisolone", dosageInstruction=[short], **supply(30, "d")))
    assert fact(chart, DAYS) == exactly(5)


def test_steps_follow_each_other_and_several_drafts_may() -> None:
    """A taper lasts for the sum of its steps; two drafts at least for the longer of them."""
    week = {"boundsDuration": {"value": 1, "code": "wk"}}
    taper = [lasting(**week) | {"sequence": n} for n in (1, 2, 3)]
    one = draft("Prednisolone", dosageInstruction=taper)
    assert fact(placing(one), DAYS) == exactly(21)
    other = draft("Prednisone", dosageInstruction=[lasting(**week)])
    assert fact(placing(one, other), DAYS) == Interval(Decimal(21), Decimal(28))


def test_without_a_draft_of_it_nothing_is_known_of_how_long() -> None:
    """Nor where a draft cannot be read, which may be another of it."""
    assert fact(placing(), DAYS) == OPEN
    week = lasting(boundsDuration={"value": 1, "code": "wk"})
    unread = draft({"coding": [{"system": "urn:local", "code": "1"}]})
    chart = placing(draft("Prednisolone", dosageInstruction=[week]), unread)
    assert fact(chart, DAYS) == Interval(Decimal(7), INFINITY)
