from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import pytest

from cds.chart.chart import Chart
from cds.chart.facts.declaration import Event
from cds.chart.treatments import Exposure, carried_out, describe, latest
from tests.chart.conftest import (
    AS_OF,
    FACTS,
    PATIENT,
    TERMS,
    Json,
    ago,
    between,
    coding,
    concept,
    dosage,
    exactly,
    fact,
    given,
    observation,
    order,
    pulse,
    read,
    reasons,
    stated,
)

PREDNISONE = concept("rxnorm|8640")
METHYLPREDNISOLONE = concept("rxnorm|6902")
RITUXIMAB = concept("rxnorm|121191")
NOT_MAPPED = "its drug is not mapped to anything that this service knows"
UNDELIVERED = "its drug is a reference to a Medication that was not delivered"


def exposures(chart: Chart) -> list[Exposure]:
    """Return all exposures of a chart."""
    return [e for of_drug in chart.exposures.values() for e in of_drug]


def drugs(*resources: Json) -> set[str]:
    """Return the drugs that a patient was exposed to."""
    return set(read(*resources).exposures)


# --- which drug ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("named", "drug", "remark"),
    [
        (concept("rxnorm|8640"), "prednisone", ""),
        (concept("urn:hospital|1", "rxnorm|6851"), "methotrexate", ""),
        (concept("atc|L04AF01"), "tofacitinib", "code not verified"),
        (concept("atc|L04AF01", "rxnorm|1357536"), "tofacitinib", ""),
        (
            concept("rxnorm|312617", text="prednisone 5 MG Oral Tablet"),
            "prednisone",
            "matched by name",
        ),
        ({"coding": [coding("urn:x|1", "Azathioprine 50 mg")]}, "azathioprine", "matched by name"),
        ("METHOTREXATE 2.5 mg tablet", "methotrexate", "matched by name"),
        ("Cyclosporine capsule", "ciclosporin", "matched by name"),
        ("Human normal immunoglobulin 10 % infusion", "immunoglobulin", "matched by name"),
        ("Immunoglobulin, intravenous", "immunoglobulin", "matched by name"),
    ],
)
def test_a_drug_is_known_by_code_then_by_name(named: Any, drug: str, remark: str) -> None:
    """A code decides; where none is known, the name as a whole word, which the evidence shows."""
    (found,) = exposures(read(order(named, ago(5))))
    assert (found.drug, found.remark) == (drug, remark)


@pytest.mark.parametrize("antigen", ["Anti-D", "Tetanus", "Hepatitis B"])
def test_immunoglobulin_against_one_antigen_is_no_treatment_of_myositis(antigen: str) -> None:
    """It is another drug than the normal immunoglobulin, and its name alone is not matched."""
    assert exposures(read(order(f"{antigen} immunoglobulin", ago(5)))) == []


def test_a_name_does_not_add_to_a_code() -> None:
    """Where a code is known the words are not matched as well."""
    both = concept("rxnorm|8640", text="prednisone, switched from azathioprine")
    assert drugs(order(both, ago(5))) == {"prednisone"}


def test_a_name_inside_another_is_not_that_drug() -> None:
    """Methylprednisolone is not prednisolone."""
    assert drugs(order("Methylprednisolone 16 mg", ago(5))) == {"methylprednisolone"}
    assert drugs(order("methyl-prednisolone", ago(5))) == {"methylprednisolone"}
    assert drugs(order("Methyl prednisolone 1 g", ago(5))) == {"methylprednisolone"}


@pytest.mark.parametrize("suffix", ["abbs", "zzzz"])
def test_a_biological_with_the_letters_of_a_product_is_that_drug(suffix: str) -> None:
    """Whatever letters the product has in the United States, those of products to come too."""
    assert drugs(order(f"riTUXimab-{suffix} 500 mg", ago(5))) == {"rituximab"}
    assert drugs(order(f"Prednisone-{suffix}", ago(5))) == set()


def test_another_drug_is_listed() -> None:
    """An unmapped drug is listed, and is no reason to doubt what is known of the others."""
    chart = read(order("Paracetamol 500 mg", ago(5)))
    assert (exposures(chart), reasons(chart)) == ([], [NOT_MAPPED])
    assert fact(chart, "drug.glucocorticoid.ever") is False


@pytest.mark.parametrize(
    ("named", "reason"),
    [
        ({}, "its drug has no name, and no code that this service knows"),
        (concept("rxnorm|312617"), "its drug has no name, and no code that this service knows"),
        ({"reference": "Medication/none"}, UNDELIVERED),
        ({"reference": "#none"}, UNDELIVERED),
    ],
)
def test_a_drug_that_cannot_be_known_could_be_any(named: Json, reason: str) -> None:
    """Then no drug is known to be absent, whatever else was delivered."""
    for resource in (order(named, ago(5)), given(named, ago(5)), stated(named, ago(5))):
        chart = read(resource)
        assert reasons(chart) == [reason]
        assert fact(chart, "drug.prednisone.ever") is None
        assert fact(chart, "drug.prednisone.current") is None


def test_a_use_that_names_no_drug_could_be_of_any() -> None:
    """Without concept and reference the drug cannot be known either."""
    resource = order(PREDNISONE, ago(5))
    del resource["medicationCodeableConcept"]
    chart = read(resource)
    assert reasons(chart) == ["it names no drug"]
    assert fact(chart, "drug.methotrexate.ever") is None


def test_an_error_raises_no_doubt_whatever_its_drug() -> None:
    """An order entered in error tells of no drug, though its Medication was not delivered."""
    chart = read(order({"reference": "Medication/none"}, ago(5), "entered-in-error"))
    assert reasons(chart) == ["its status is entered-in-error"]
    assert fact(chart, "drug.prednisone.ever") is False


def medication(named: Json, **of: Any) -> Json:
    """Return the Medication ``m``."""
    return {"resourceType": "Medication", "id": "m", "code": named} | of


@pytest.mark.parametrize(
    "reference",
    ["Medication/m", "https://ehr.example/fhir/Medication/m", "Medication/m/_history/3"],
)
def test_a_medication_that_was_delivered_is_looked_up(reference: str) -> None:
    """A reference may be relative, absolute on the server of the chart, or to a version."""
    own = {"reference": f"https://ehr.example/fhir/Patient/{PATIENT}"}
    chart = read(order({"reference": reference}, ago(5), subject=own), medication(PREDNISONE))
    assert [e.drug for e in exposures(chart)] == ["prednisone"]


def test_a_medication_of_another_server_is_another() -> None:
    """Its id alone says nothing: the drug of such an order could be any."""
    elsewhere = {"reference": "https://other.example/fhir/Medication/m"}
    chart = read(order(elsewhere, ago(5)), medication(PREDNISONE))
    assert (exposures(chart), reasons(chart)) == ([], [UNDELIVERED])
    assert fact(chart, "drug.prednisone.ever") is None


def test_a_contained_medication_is_looked_up() -> None:
    """It is found by its id among the contained resources, not by its place."""
    contained = [medication(concept("rxnorm|6851"), id="other"), medication(PREDNISONE)]
    for kind in (order, given, stated):
        assert drugs(kind({"reference": "#m"}, ago(5), contained=contained)) == {"prednisone"}


def test_the_name_on_a_reference_is_used_where_the_medication_was_not_delivered() -> None:
    """The display of the reference is the name of the product."""
    chart = read(order({"reference": "Medication/none", "display": "Rituximab 500 mg"}, ago(5)))
    assert [(e.drug, e.remark) for e in exposures(chart)] == [("rituximab", "matched by name")]


# --- which uses count ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("resource", "current"),
    [
        (order(PREDNISONE, ago(50), "active"), True),
        (order(PREDNISONE, ago(50), "on-hold"), False),
        (order(PREDNISONE, ago(50), "completed"), False),
        (order(PREDNISONE, ago(50), "stopped"), False),
        (order(PREDNISONE, ago(50), "unknown"), None),
        (stated(PREDNISONE, ago(50), "active"), True),
        (stated(PREDNISONE, ago(50), "completed"), False),
        (stated(PREDNISONE, ago(50), "unknown"), None),
        (given(PREDNISONE, ago(0)), True),
        (given(PREDNISONE, ago(1)), True),
        (given(PREDNISONE, ago(2)), False),
        (given(PREDNISONE), None),
        (given(RITUXIMAB, ago(183)), True),
        (given(RITUXIMAB, ago(184)), False),
    ],
)
def test_what_was_used_and_whether_it_still_is(resource: Json, current: bool | None) -> None:
    """The status of an order decides; an administration covers a day, or what the drug covers."""
    chart = read(resource)
    (drug,) = chart.exposures
    assert fact(chart, f"drug.{drug}.ever") is True
    assert fact(chart, f"drug.{drug}.current") is current


@pytest.mark.parametrize(
    ("resource", "reason"),
    [
        (order(PREDNISONE, ago(5), "draft"), "its status is draft"),
        (order(PREDNISONE, ago(5), "cancelled"), "its status is cancelled"),
        (order(PREDNISONE, ago(5), "entered-in-error"), "its status is entered-in-error"),
        (order(PREDNISONE, ago(5), status="") | {"status": None}, "its status is missing"),
        (given(PREDNISONE, ago(5), status="not-done"), "its status is not-done"),
        (stated(PREDNISONE, ago(5), "not-taken"), "its status is not-taken"),
        (stated(PREDNISONE, ago(5), "intended"), "its status is intended"),
        (order(PREDNISONE, ago(5), intent="plan"), "its intent is plan, so it is not an order"),
        (
            order(PREDNISONE, ago(5), intent="proposal"),
            "its intent is proposal, so it is not an order",
        ),
        (order(PREDNISONE, ago(5), doNotPerform=True), "it says not to give the drug"),
        (order(PREDNISONE, ago(-1)), f"it begins on {ago(-1)}, after {AS_OF}"),
        (given(PREDNISONE, ago(-1)), f"it begins on {ago(-1)}, after {AS_OF}"),
        (stated(PREDNISONE, ago(-1)), f"it begins on {ago(-1)}, after {AS_OF}"),
    ],
)
def test_what_was_not_used_is_listed(resource: Json, reason: str) -> None:
    """Plans, prohibitions, errors and what is yet to come are no treatment."""
    chart = read(resource)
    assert (exposures(chart), reasons(chart)) == ([], [reason])
    assert fact(chart, "drug.prednisone.ever") is False


def ordered_ahead(days: int, drug: Json = PREDNISONE, status: str = "active", **of: Any) -> Json:
    """Return an order that was written today and begins so many days from now."""
    first = {"boundsPeriod": {"start": ago(-days), "end": ago(-days - 2)}}
    return order(drug, ago(0), status, **dosage(1000, "mg", "intravenous", **first), **of)


@pytest.mark.parametrize("status", ["active", "unknown"])
@pytest.mark.parametrize("days", [1, 14])
def test_an_order_that_soon_begins_leaves_open_whether_its_drug_is_given(
    days: int, status: str
) -> None:
    """It is none that is taken, and no reason to propose the drug; no line of treatment begins."""
    chart = read(ordered_ahead(days, status=status))
    assert (exposures(chart), reasons(chart)) == ([], [])
    assert {f: fact(chart, f"drug.prednisone.{f}") for f in ("ever", "current", "failed")} == {
        "ever": None,
        "current": None,
        "failed": False,
    }
    assert fact(chart, "drug.prednisone.longest") == exactly(0)
    assert fact(chart, "dose.glucocorticoid.daily") == exactly(0)
    assert chart.line_start is None
    for name in ("ever", "current"):
        (told,) = FACTS[f"drug.prednisone.{name}"].evidence(chart)
        assert f"ordered to begin {ago(-days)}, until {ago(-days - 2)}" in told.text
    assert FACTS["drug.prednisone.days"].evidence(chart) == ()


@pytest.mark.parametrize(
    "resource",
    [
        ordered_ahead(15),
        ordered_ahead(1, status="on-hold"),
        ordered_ahead(1, status="completed"),
        ordered_ahead(1) | {"authoredOn": ago(-1)},
    ],
)
def test_an_order_that_begins_late_or_does_not_stand_yet_is_left_out(resource: Json) -> None:
    """As one of next year, one on hold, and one that had not been written on that day."""
    chart = read(resource)
    assert fact(chart, "drug.prednisone.ever") is False
    assert fact(chart, "drug.prednisone.current") is False
    (reason,) = reasons(chart)
    assert reason.startswith("it begins on ")


def test_an_order_that_soon_begins_changes_nothing_of_what_is_given_already() -> None:
    """What is current is so, since when it was, and that alone is cited."""
    now = order(PREDNISONE, ago(40))
    both = read(now, ordered_ahead(3))
    alone = read(now)
    for name in ("", ".current", ".ever", ".days", ".longest", ".failed"):
        assert fact(both, f"drug.prednisone{name}") == fact(alone, f"drug.prednisone{name}")
    for name in (".current", ".ever", ".days"):
        of_fact = FACTS[f"drug.prednisone{name}"]
        assert of_fact.evidence(both) == of_fact.evidence(alone)


def test_treatment_that_ended_has_ended_though_some_is_ordered() -> None:
    """Whether a baseline is looked for without a line does not hang on what is yet to come."""
    ended = order(PREDNISONE, ago(400), "stopped")
    measured = observation("core_set|physician-global", 5, "cm")
    chart = read(ended, measured, ordered_ahead(1))
    assert "no treatment is current" in chart.visits.reason
    assert fact(chart, "drug.prednisone.current") is None
    assert fact(chart, "drug.prednisone.ever") is True


def test_a_pulse_that_soon_begins_may_be_one_and_nothing_tells_that_it_was_given() -> None:
    """What is proposed beside it is left to the reader; a low dose is none whenever it begins."""
    chart = read(ordered_ahead(1, METHYLPREDNISOLONE))
    name = "drug.pulse_methylprednisolone"
    assert fact(chart, name) == Event(None, Decimal(0), complete=True)
    assert fact(chart, f"{name}.given") == Event(None, None, complete=True)
    assert len(FACTS[name].evidence(chart)) == 1
    first = {"boundsPeriod": {"start": ago(-1)}}
    low = order(METHYLPREDNISOLONE, ago(0), **dosage(16, "mg", "oral", **first))
    assert fact(read(low), f"{name}.current") is False


# --- route ---------------------------------------------------------------------------------------

CREAM = "Prednisolone 0.5% cream"


@pytest.mark.parametrize(
    ("resource", "route"),
    [
        (order("Prednisolone acetate 1% eye drops", ago(5)), "ophthalmic"),
        (order("Tacrolimus 0.1% topical ointment", ago(5)), "topical"),
        (order(CREAM, ago(5)), "topical"),
        (order("Prednisolone enema", ago(5)), "rectal"),
        (order(PREDNISONE, ago(5), **dosage(5, route="Inhalation")), "inhaled"),
        (given(concept("rxnorm|8638"), ago(5), 5, "Ophthalmic route"), "ophthalmic"),
        (order(PREDNISONE, ago(5), dosageInstruction=[{"text": "apply to the scalp"}]), "topical"),
        (
            order(
                METHYLPREDNISOLONE,
                ago(5),
                dosageInstruction=[{"route": concept("snomed|12130007")}],
            ),
            "intra_articular",
        ),
    ],
)
def test_local_forms_are_no_systemic_treatment(resource: Json, route: str) -> None:
    """Topical, ophthalmic, inhaled, rectal and joint forms are listed with their route."""
    chart = read(resource)
    assert reasons(chart) == [f"it is not systemic treatment ({route})"]
    assert fact(chart, "drug.glucocorticoid.ever") is False


def test_the_form_of_a_medication_tells_the_route() -> None:
    """Where neither order nor name tells, the dose form of the product does."""
    chart = read(
        order({"reference": "Medication/m"}, ago(5)),
        medication(concept("rxnorm|42316"), form={"text": "Ointment"}),
    )
    assert reasons(chart) == ["it is not systemic treatment (topical)"]


@pytest.mark.parametrize(
    ("resource", "route"),
    [
        (order("prednisone 5 MG Oral Tablet", ago(5)), "oral"),
        (order(PREDNISONE, ago(5), **dosage(5, route="by mouth")), "oral"),
        (order(PREDNISONE, ago(5), **dosage(5, route="p.o.")), "oral"),
        (order(PREDNISONE, ago(5), **dosage(5, route="Per os")), "oral"),
        (order(PREDNISONE, ago(5), **dosage(5, route="orally")), "oral"),
        (order("Prednisone 20 mg tab", ago(5)), "oral"),
        (order("Prednisone 20 mg caps", ago(5)), "oral"),
        (
            order(PREDNISONE, ago(5), dosageInstruction=[{"route": concept("snomed|26643006")}]),
            "oral",
        ),
        (pulse(500, ago(5)), "intravenous"),
        (order(PREDNISONE, ago(5)), None),  # nothing tells, so it may be systemic
    ],
)
def test_systemic_routes_count(resource: Json, route: str | None) -> None:
    """A systemic route counts, and so does one that nobody told."""
    (found,) = exposures(read(resource))
    assert found.route == route


def test_the_code_of_a_route_counts_before_all_words() -> None:
    """An oral route by code is oral, though the product is named for the eye."""
    instruction = [{"route": concept("snomed|26643006")}]
    chart = read(order("Prednisolone eye drops", ago(5), dosageInstruction=instruction))
    assert [e.route for e in exposures(chart)] == ["oral"]


# --- dates ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("resource", "days"),
    [
        (order(PREDNISONE, ago(100)), exactly(100)),
        (order(PREDNISONE, "2026-05"), between(169, 199)),
        (order(PREDNISONE, "2025"), between(320, 684)),
        (order(PREDNISONE, "2026"), between(0, 319)),  # the year is not over
        (stated(PREDNISONE, ago(100)), exactly(100)),
    ],
)
def test_a_partial_date_is_the_days_that_it_can_mean(resource: Json, days: object) -> None:
    """How long a course lasts is exact for a full date, an interval for a month or a year."""
    assert fact(read(resource), "drug.prednisone.days") == days


def test_without_a_date_the_length_of_a_course_is_unknown() -> None:
    """The drug is current, since when nobody says."""
    chart = read(order(PREDNISONE))
    assert fact(chart, "drug.prednisone.current") is True
    assert chart.courses["prednisone"].since is None
    assert chart.line_start is None


def bounds(start: str | None, end: str | None) -> Json:
    """Return the bounds of an order."""
    period = {k: v for k, v in (("start", start), ("end", end)) if v}
    return {"dosageInstruction": [{"timing": {"repeat": {"boundsPeriod": period}}}]}


@pytest.mark.parametrize(
    ("start", "end", "current"),
    [
        (ago(90), ago(1), False),
        (ago(90), ago(0), True),
        (ago(90), None, True),
        (ago(90), "9999-12-31", True),  # how some systems write that it is open
        (ago(90), "2026", None),
        (ago(90), "2026-10", False),
    ],
)
def test_an_active_order_is_current_until_its_end(
    start: str, end: str | None, current: bool | None
) -> None:
    """The bounds of an order count before the day on which it was written."""
    chart = read(order(PREDNISONE, ago(400), **bounds(start, end)))
    assert fact(chart, "drug.prednisone.current") is current
    (found,) = exposures(chart)
    assert str(found.start) == start


def test_an_open_end_written_as_the_last_of_all_days() -> None:
    """9999-12-31 as the end of orders and administrations is read like any other date."""
    forever = bounds(ago(300), "9999-12-31")
    chart = read(
        order(PREDNISONE, ago(300), **forever),
        order(PREDNISONE, ago(10)),
        given(
            METHYLPREDNISOLONE,
            effectiveDateTime=None,
            effectivePeriod={"start": ago(5), "end": "9999-12-31"},
        ),
    )
    assert fact(chart, "drug.prednisone.days") == exactly(300)
    assert fact(chart, "drug.methylprednisolone.current") is True


@pytest.mark.parametrize(("gap", "since"), [(90, 300), (91, 109)])
def test_orders_that_follow_each_other_are_one_course(gap: int, since: int) -> None:
    """Orders up to 90 days apart are one course; after a longer gap a new one begins."""
    ended = 200
    chart = read(
        order(PREDNISONE, ago(300), "completed", **bounds(ago(300), ago(ended))),
        order(PREDNISONE, ago(ended - gap)),
    )
    assert fact(chart, "drug.prednisone.days") == exactly(300 if gap == 90 else since)


def test_a_long_order_bridges_shorter_ones_that_began_later() -> None:
    """What an earlier order still covers is no gap."""
    chart = read(
        order(PREDNISONE, ago(400), "completed", **bounds(ago(400), ago(50))),
        order(PREDNISONE, ago(390), "completed", **bounds(ago(390), ago(380))),
        order(PREDNISONE, ago(10)),
    )
    assert fact(chart, "drug.prednisone.days") == exactly(400)


def test_one_glucocorticoid_after_another_is_one_course_of_the_class() -> None:
    """Of each drug the course is its own, of the class they are one."""
    chart = read(
        order(PREDNISONE, ago(200), "completed", **bounds(ago(200), ago(100))),
        order(concept("rxnorm|8638"), ago(95)),
    )
    assert fact(chart, "drug.glucocorticoid.days") == exactly(200)
    assert fact(chart, "drug.prednisolone.days") == exactly(95)
    assert fact(chart, "drug.prednisone.current") is False


def test_the_line_begins_on_the_first_day_that_a_partial_date_allows() -> None:
    """So that the baseline surely precedes the treatment."""
    assert read(order(PREDNISONE, "2026-05")).line_start == date(2026, 5, 1)


# --- pulses --------------------------------------------------------------------------------------


def pulsed(*resources: Json) -> bool | None:
    """Return whether a pulse was given in the last 14 days, as a rule asks for it."""
    event = fact(read(*resources), "drug.pulse_methylprednisolone")
    assert isinstance(event, Event)
    if event.surely is not None and event.surely <= 14:
        return True
    if event.possibly is not None and event.possibly <= 14:
        return None
    return False if event.complete else None


@pytest.mark.parametrize(
    ("resource", "given_recently"),
    [
        (pulse(1000, ago(3)), True),
        (pulse(250, ago(3)), True),
        (pulse("249.9", ago(3)), False),
        (pulse(249, ago(3)), False),
        (pulse(1, ago(3), unit="g"), True),
        (pulse("0.249", ago(3), unit="g"), False),
        (pulse(1000, ago(0)), True),
        (pulse(1000, ago(14)), True),
        (pulse(1000, ago(15)), False),
        (pulse(1000, "2026-11"), None),
        (pulse(1000, "2026-10"), False),
        (pulse(1000), None),
        (pulse(None, ago(3)), None),
        (pulse(30, ago(3), unit="mg/kg"), None),
        (pulse(1000, ago(3), unit="ampoules"), None),
        (pulse(None, ago(15)), False),
        (given(METHYLPREDNISOLONE, ago(3), 1000), None),  # route not known
        (given(METHYLPREDNISOLONE, ago(3), 1000, "oral"), False),
        (given(METHYLPREDNISOLONE, ago(3), 249), False),
        (given("Methylprednisolone 1 g", ago(3), 1000, "IV"), True),
        (given(METHYLPREDNISOLONE, ago(3), 1000, "intramuscular"), False),
        (given(PREDNISONE, ago(3), 1000, "intravenous"), False),
        (pulse(1000, ago(3), status="not-done"), False),
        (pulse(1000, ago(3), status="stopped"), None),  # halted before all of it was given
        (pulse(1000, ago(3), status="on-hold"), None),
    ],
)
def test_a_pulse_in_the_last_fourteen_days(resource: Json, given_recently: bool | None) -> None:
    """At least 250 mg of methylprednisolone a day, intravenously; unknown where dose, route or
    day cannot be read, but never for a dose, route or day that rules it out.
    """
    assert pulsed(resource) is given_recently


@pytest.mark.parametrize(
    ("resource", "given_recently"),
    [
        (dosage(1000, route="IV"), True),
        (dosage(1000, route="IV", frequency=1, period=1, periodUnit="d"), True),
        (dosage(125, route="IV", frequency=2, period=1, periodUnit="d"), True),
        (dosage(62.25, route="IV", frequency=1, period=6, periodUnit="h"), False),
        (dosage(62.5, route="IV", frequency=1, period=6, periodUnit="h"), True),
        (dosage(40, route="IV", frequency=1, period=1, periodUnit="d"), False),
        (dosage(1000, route="oral"), False),
        ({"dosageInstruction": [{"route": {"text": "IV"}, "text": "1 g daily"}]}, None),
    ],
)
def test_an_order_of_a_pulse(resource: Json, given_recently: bool | None) -> None:
    """Of an order the dose of one day counts, from the day on which it begins."""
    assert pulsed(order(METHYLPREDNISOLONE, ago(3), **resource)) is given_recently


def test_a_pulse_order_that_stays_active_is_of_the_day_it_began() -> None:
    """An order that nobody closed does not go on being a pulse for ever."""
    members = dosage(1000, route="IV")
    assert pulsed(order(METHYLPREDNISOLONE, ago(14), **members)) is True
    assert pulsed(order(METHYLPREDNISOLONE, ago(15), **members)) is False


@pytest.mark.parametrize(
    ("status", "given_recently"),
    [
        ("on-hold", None),
        ("stopped", None),
        ("active", True),
        ("completed", True),
        ("unknown", True),
    ],
)
def test_a_pulse_order_that_was_held_or_stopped_need_not_have_been_given(
    status: str, given_recently: bool | None
) -> None:
    """Held or stopped, it may have been given or not; no other status says that it ended early."""
    ordered = order(METHYLPREDNISOLONE, ago(3), status, **dosage(1000, route="IV"))
    assert pulsed(ordered) is given_recently


@pytest.mark.parametrize("status", ["on-hold", "stopped"])
def test_of_a_pulse_order_that_was_held_or_stopped_what_was_given_counts(status: str) -> None:
    """An administration since it began tells of it; another dose or an earlier one does not."""
    ordered = order(METHYLPREDNISOLONE, ago(3), status, **dosage(1000, route="IV"))
    told = read(ordered, pulse(1000, ago(2)))
    assert fact(told, "drug.pulse_methylprednisolone") == Event(Decimal(2), Decimal(2), True)
    assert pulsed(ordered, pulse(40, ago(2))) is None
    before = fact(read(ordered, pulse(1000, ago(4))), "drug.pulse_methylprednisolone")
    assert before == Event(Decimal(4), Decimal(3), True)


@pytest.mark.parametrize(
    ("status", "withheld", "given_recently"),
    [
        ("on-hold", pulse(1000, ago(3), status="not-done"), False),
        ("stopped", pulse(1000, ago(3), status="not-done"), False),
        ("stopped", given(METHYLPREDNISOLONE, ago(3), status="not-done"), False),
        ("stopped", given(METHYLPREDNISOLONE, "2026-11", status="not-done"), False),
        ("stopped", given(METHYLPREDNISOLONE, None, status="not-done"), None),
        ("stopped", given(METHYLPREDNISOLONE, ago(3), 16, "oral", status="not-done"), None),
        ("stopped", pulse(1000, ago(2), status="not-done"), None),
        ("stopped", given({}, ago(3), status="not-done"), None),
        ("active", pulse(1000, ago(3), status="not-done"), None),
        ("completed", pulse(1000, ago(3), status="not-done"), None),
        ("active", given(METHYLPREDNISOLONE, ago(3), 16, "oral", status="not-done"), True),
    ],
)
def test_a_pulse_that_was_not_given_on_the_day_of_its_order(
    status: str, withheld: Json, given_recently: bool | None
) -> None:
    """It speaks against the order: a halted one tells of none then, of another it is not known."""
    ordered = order(METHYLPREDNISOLONE, ago(3), status, **dosage(1000, route="IV"))
    assert pulsed(ordered, withheld) is given_recently
    assert pulsed(ordered, withheld, pulse(1000, ago(2))) is True


def test_a_held_pulse_order_without_a_date_tells_of_no_day() -> None:
    """It may have been given on any day, as any pulse without a date."""
    assert pulsed(order(METHYLPREDNISOLONE, None, "on-hold", **dosage(1000, route="IV"))) is None
    assert pulsed(order(METHYLPREDNISOLONE, None, "active", **dosage(1000, route="IV"))) is None


def test_what_was_not_given_is_listed_as_left_out() -> None:
    """It is no treatment, and says so with its status."""
    chart = read(pulse(1000, ago(3), status="not-done"))
    assert (exposures(chart), reasons(chart)) == ([], ["its status is not-done"])
    assert "MedicationAdministration" in chart.complete


@pytest.mark.parametrize(("status", "said"), [("on-hold", "on hold"), ("stopped", "stopped")])
def test_the_evidence_says_what_was_held_or_stopped(status: str, said: str) -> None:
    """Who reads of it learns that it need not have been carried out, or not whole."""
    (one,) = exposures(read(order("Methylprednisolone", ago(3), status)))
    assert describe(one, AS_OF) == f"Methylprednisolone, ordered {ago(3)} ({said})"
    (infusion,) = exposures(read(pulse(1000, ago(3), status=status)))
    assert f"given {ago(3)} ({said})" in describe(infusion, AS_OF)


def test_the_doses_of_one_day_are_added() -> None:
    """A day's dose may be given in parts; those of different days, or other routes, do not add."""
    assert pulsed(pulse(125, ago(3)), pulse(125, ago(3))) is True
    assert pulsed(pulse(125, ago(3)), pulse(124, ago(3))) is False
    assert pulsed(pulse(125, ago(3)), pulse(125, ago(4))) is False
    by_mouth = given(METHYLPREDNISOLONE, ago(3), 125, "oral")
    assert pulsed(pulse(125, ago(3)), by_mouth) is False


def test_an_unreadable_dose_beside_a_pulse_changes_nothing() -> None:
    """What is surely a pulse is one, whatever else is uncertain."""
    assert pulsed(pulse(1000, ago(3)), pulse(None, ago(2))) is True


def test_an_old_pulse_and_an_uncertain_recent_one() -> None:
    """The old one is over, the recent one may have been a pulse: unknown."""
    assert pulsed(pulse(1000, ago(100)), pulse(None, ago(3))) is None


def test_no_pulse_where_nothing_was_given() -> None:
    """Nothing recorded and everything delivered: surely none."""
    assert pulsed() is False


def test_intravenous_methylprednisolone_counts_at_any_dose() -> None:
    """The class without a dose asks for the route only."""
    name = "drug.intravenous_methylprednisolone.ever"
    assert fact(read(pulse(40, ago(3))), name) is True
    assert fact(read(pulse(None, ago(3))), name) is True
    assert fact(read(given(METHYLPREDNISOLONE, ago(3), 1000, "oral")), name) is False


# --- in words ------------------------------------------------------------------------------------


def test_an_exposure_in_words() -> None:
    """Text, kind, dates and dose, as the evidence on a card has them."""
    (found,) = exposures(
        read(order(concept("rxnorm|8640", text="Prednisone"), ago(0), **dosage(50)))
    )
    assert describe(found, AS_OF) == f"Prednisone, ordered {AS_OF}, 50 mg on a day of treatment"
    (large,) = exposures(
        read(order(concept("rxnorm|8640", text="Prednisone"), ago(0), **dosage(70_000)))
    )
    assert describe(large, AS_OF) == f"Prednisone, ordered {AS_OF}, 70 g on a day of treatment"
    span = bounds("2026-05-11", "2026-06-10")
    (bounded,) = exposures(read(order(concept("rxnorm|8640", text="Prednisone"), ago(0), **span)))
    assert describe(bounded, AS_OF) == "Prednisone, ordered 2026-05-11 to 2026-06-10"


def steps(*doses: tuple[Any, str, str | None]) -> Json:
    """The members of an order whose dose changes: mg a day, from when, until when."""
    written = []
    for mg, start, end in doses:
        (one,) = dosage(mg, frequency=1, period=1, periodUnit="d")["dosageInstruction"]
        one["timing"]["repeat"]["boundsPeriod"] = {"start": start} | ({"end": end} if end else {})
        written.append(one)
    return {"dosageInstruction": written}


TAPER = [
    (50, "2026-08-12", "2026-09-22"),
    (30, "2026-09-23", "2026-10-20"),
    (20, "2026-10-21", None),
]


def told(*doses: tuple[Any, str, str | None], as_of: date = AS_OF, **members: Any) -> str:
    """What is said of the dose of a tapered order."""
    chart = read(order(PREDNISONE, "2026-08-12", **steps(*doses), **members), as_of=as_of)
    (found,) = exposures(chart)
    return describe(found, as_of).split(", ", 2)[-1]


def test_of_a_tapered_order_the_present_dose_is_told() -> None:
    """The dose of today comes first, then the earlier ones with their ends, and what is planned."""
    assert (
        told(*TAPER)
        == "20 mg a day since 2026-10-21 (50 mg until 2026-09-22, 30 mg until 2026-10-20)"
    )
    assert told(*TAPER, as_of=date(2026, 9, 1)) == (
        "50 mg a day since 2026-08-12 (then 30 mg from 2026-09-23, 20 mg from 2026-10-21)"
    )


def test_of_a_tapered_order_that_is_over_every_dose_is_told() -> None:
    """Where none is present, each stands with its end, and none is called that of today."""
    ended = [*TAPER[:2], (20, "2026-10-21", "2026-11-01")]
    said = "50 mg a day until 2026-09-22, 30 mg until 2026-10-20, 20 mg until 2026-11-01"
    assert told(*ended) == said
    assert told(*ended, status="stopped") == said


def test_of_a_long_taper_the_first_dose_and_the_latest_are_told() -> None:
    """What is left out between them is counted."""
    days = [date(2026, 8, 12) + timedelta(days=7 * i) for i in range(8)]
    ends = [str(day + timedelta(days=6)) for day in days[:-1]]
    taper = [
        (60 - 5 * i, str(day), end)
        for i, (day, end) in enumerate(zip(days, [*ends, None], strict=True))
    ]
    assert told(*taper) == (
        "25 mg a day since 2026-09-30 (60 mg until 2026-08-18, 3 more steps, "
        "40 mg until 2026-09-15, 35 mg until 2026-09-22, 30 mg until 2026-09-29)"
    )


@pytest.mark.parametrize(
    "doses",
    [
        [(20, "2026-08-12", None), (10, "2026-08-12", None)],
        [(20, "2026-08-12", "2026-09-22"), (10, "2026-09-22", None)],
        [(20, "2026-08-12", "2026-09-22"), ("<10", "2026-09-23", None)],
    ],
)
def test_of_doses_that_may_be_taken_together_none_is_called_the_present_one(
    doses: list[tuple[Any, str, str | None]],
) -> None:
    """Several doses without an order of their own are told by the highest, and as several."""
    members = steps(*[(10 if mg == "<10" else mg, start, end) for mg, start, end in doses])
    if doses[1][0] == "<10":
        members["dosageInstruction"][1]["doseAndRate"][0]["doseQuantity"]["comparator"] = "<"
    (found,) = exposures(read(order(PREDNISONE, "2026-08-12", **members)))
    assert found.steps == ()
    assert describe(found, AS_OF).endswith(
        "20 mg on a day of treatment, the highest of several doses"
    )


@pytest.mark.parametrize(
    ("days", "dose", "route", "done"),
    [
        ([5, 4, 3], 1000, "intravenous", True),
        ([6, 5, 4, 3], 1000, "intravenous", True),
        ([5, 4], 1000, "intravenous", False),
        ([5, 4, 2], 1000, "intravenous", False),
        ([5, 4, 3], 500, "intravenous", False),
        ([5, 4, 3], 1000, "oral", False),
        ([], 1000, "intravenous", False),
    ],
)
def test_an_order_is_carried_out_when_its_dose_was_given_on_each_of_its_days(
    days: list[int], dose: int, route: str, done: bool
) -> None:
    """A day without it, another dose or another route leaves the order something of its own."""
    members = dosage(1000, route="intravenous")
    period = bounds(ago(5), ago(3))["dosageInstruction"][0]["timing"]
    members["dosageInstruction"][0]["timing"] = period
    chart = read(
        order(METHYLPREDNISOLONE, ago(5), status="completed", id="o", **members),
        *[given(METHYLPREDNISOLONE, ago(day), dose, route) for day in days],
    )
    assert carried_out(exposures(chart)) == ({"MedicationRequest/o"} if done else set())


def test_an_order_without_an_end_is_never_carried_out() -> None:
    """It may go on, whatever was given."""
    chart = read(order(METHYLPREDNISOLONE, ago(3), **dosage(1000)), pulse(1000, ago(3)))
    assert carried_out(exposures(chart)) == set()


def test_the_latest_use() -> None:
    """The last day of several exposures, by their ends where they have one; none without dates."""
    chart = read(pulse(1000, ago(30)), pulse(1000, ago(3)), pulse(1000))
    last = latest(exposures(chart))
    assert last is not None
    assert last.last == AS_OF - timedelta(days=3)
    assert latest([]) is None


def test_the_dose_of_a_day_is_exact() -> None:
    """0.1 g three times a day is 300 mg."""
    members = dosage("0.1", "g", "IV", frequency=3, period=1, periodUnit="d")
    (found,) = exposures(read(order(METHYLPREDNISOLONE, ago(3), **members)))
    assert found.dose == Decimal(300)


def test_a_drug_of_another_patient_is_not_used() -> None:
    """What is about somebody else is listed and tells nothing of this patient."""
    ours = order(PREDNISONE, ago(3), subject={"reference": f"Patient/{PATIENT}"})
    theirs = order(concept("rxnorm|6851"), ago(3), subject={"reference": "Patient/other"})
    chart = read(ours, theirs)
    assert set(chart.exposures) == {"prednisone"}
    assert reasons(chart) == ["is about another patient"]


@pytest.mark.parametrize(
    ("use", "why"),
    [
        (order("prednisone", ago(90), "stopped", statusReason={"text": "Nausea"}), "Nausea"),
        (stated("prednisone", ago(90), "stopped",
                statusReason=[{"text": "Nausea"}, {"text": "Rash"}]), "Nausea; Rash"),
        (order("prednisone", ago(90), "stopped"), ""),
    ],
)  # fmt: skip
def test_the_reason_for_a_status_is_kept(use: Json, why: str) -> None:
    """Why a drug was stopped is told with it, as it is recorded."""
    (exposure,) = exposures(read(use))
    assert (exposure.status, exposure.why) == ("stopped", why)


# --- more than anybody orders --------------------------------------------------------------------

TOO_LONG = "a text in it has more than 10000 characters, and was not looked through"


@pytest.mark.parametrize(
    "of",
    [
        {"drug": "x " * 5001},
        {"drug": {"coding": [coding("urn:x|1", "x " * 5001)]}},
        {"drug": PREDNISONE, "dosageInstruction": [{"text": "x " * 5001}]},
        {"drug": PREDNISONE, "dosageInstruction": [{"route": {"text": "x " * 5001}}]},
    ],
)
def test_a_text_too_long_to_be_looked_through_may_name_any_drug(of: Json) -> None:
    """The order is listed, and whether a drug was ever given is not known."""
    chart = read(order(of.pop("drug"), ago(5), **of))

    assert reasons(chart) == [TOO_LONG]
    assert fact(chart, "drug.prednisone.ever") is None
    assert fact(chart, "drug.methotrexate.ever") is None


def test_an_order_of_many_drugs_is_a_list_and_of_none() -> None:
    """Up to ten are read; of more the order could be any of them."""
    names = [drug.names[0] for drug in TERMS.vocabulary.drugs.values() if drug.names]

    assert len(drugs(order(" ".join(names[:10]), ago(5)))) == 10

    chart = read(order(" ".join(names[:11]), ago(5)))
    assert reasons(chart) == ["it names more than 10 drugs, and could be any of them"]
    assert fact(chart, f"drug.{next(iter(TERMS.vocabulary.drugs))}.ever") is None


# --- last current --------------------------------------------------------------------------------


def during(start: str, end: str | None = None) -> Json:
    """Return the dosage of an order for a time, as its members."""
    return dosage(5, boundsPeriod={"start": start} | ({"end": end} if end else {}))


@pytest.mark.parametrize(
    ("resources", "surely", "possibly"),
    [
        ([], None, None),
        ([order(PREDNISONE, ago(900))], 0, 0),
        ([order(PREDNISONE, ago(900), "completed", **during(ago(900), ago(200)))], 200, 200),
        ([order(PREDNISONE, ago(900), "stopped", **during(ago(900), ago(200)))], 200, 200),
        ([order(PREDNISONE, ago(900), **during(ago(900), ago(200)))], 200, 200),
        # Where no end is told, or it was to end later, it may have ended on any day.
        ([order(PREDNISONE, ago(900), "stopped")], 900, 0),
        ([order(PREDNISONE, ago(900), "completed")], 900, 0),
        ([order(PREDNISONE, ago(900), "on-hold")], 900, 0),
        ([order(PREDNISONE, ago(900), "unknown")], 900, 0),
        ([order(PREDNISONE, ago(90), "stopped", **during(ago(90), ago(-30)))], 90, 0),
        ([stated(PREDNISONE, ago(900), "completed")], 900, 0),
        ([order(PREDNISONE, None, "stopped")], None, 0),
        # Of a partial date the bounds are known.
        ([order(PREDNISONE, ago(900), "stopped", **during(ago(900), "2026-04"))], 229, 200),
        # An administration covers some days.
        ([given(PREDNISONE, ago(200), 5)], 199, 199),
        ([given(PREDNISONE, ago(0), 5)], 0, 0),
        ([given(RITUXIMAB, ago(183), 1000)], 0, 0),
        ([given(RITUXIMAB, ago(400), 1000)], 217, 217),
        ([given(RITUXIMAB, ago(400), 1000), given(RITUXIMAB, "2026-04", 1000)], 46, 17),
        # So may an order, after its end.
        ([order(RITUXIMAB, ago(400), "completed", **during(ago(400), ago(390)))], 390, 207),
        (
            [
                order(PREDNISONE, ago(900), "stopped", **during(ago(900), ago(500))),
                stated(PREDNISONE, ago(700), "stopped", effectiveDateTime=None),
            ],
            500,
            0,
        ),
    ],
)
def test_when_a_drug_last_was_current(
    resources: list[Json], surely: int | None, possibly: int | None
) -> None:
    """Surely so many days ago at most, possibly so many at least; never, where nothing tells."""
    found = fact(read(*resources), "drug.immunomodulating.was_current")
    sure, maybe = (None if days is None else Decimal(days) for days in (surely, possibly))
    assert found == Event(sure, maybe, complete=True)


def test_a_dose_that_cannot_be_read_may_have_been_current() -> None:
    """What may belong to a class is no certain member of it, and not excluded either."""
    found = fact(read(pulse(None, ago(100))), "drug.pulse_methylprednisolone.was_current")
    assert found == Event(None, Decimal(99), complete=True)


def test_the_latest_treatment_is_cited_first_for_when_it_last_was_current() -> None:
    """A card cites the first few, and those are the ones that decide."""
    chart = read(given(PREDNISONE, ago(300), 5), given(PREDNISONE, ago(200), 5))
    cited = FACTS["drug.prednisone.was_current"].evidence(chart)
    assert [each.date for each in cited] == [ago(200), ago(300)]


# --- names ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "drugs"),
    [
        ("CellCept 500 mg tablet", {"mycophenolate"}),
        ("Solu-Medrol 1 g IV", {"methylprednisolone"}),
        ("solu medrol 1 g", {"methylprednisolone"}),
        ("Medrol 16 mg", {"methylprednisolone"}),
        ("Decortin 5 mg", {"prednisone"}),
        ("Decortin H 5 mg", {"prednisolone"}),
        ("MTX 15 mg weekly", {"methotrexate"}),
        ("Truxima (rituximab-abbs) 500 mg/50 mL", {"rituximab"}),
        ("adalimumab-adaz 40 mg/0.4 mL pen", {"adalimumab"}),
        ("immune globulin (human) (PRIVIGEN) 10 % solution", {"immunoglobulin"}),
        ("GAMUNEX-C 10 %", {"immunoglobulin"}),
        ("hepatitis B immune globulin (human)", set()),
        ("Rho(D) immune globulin (human)", set()),
        ("sulfamethoxazole-trimethoprim 800-160 mg", {"co_trimoxazole"}),
        ("ezetimibe-simvastatin 10-20 mg", {"simvastatin"}),
        ("nystatin 100 000 units/mL", set()),
        ("Protopic 0.1 % ointment", set()),
        ("Pred Forte 1 % eye drops", set()),
    ],
)
def test_a_drug_is_known_by_its_brands(text: str, drugs: set[str]) -> None:
    """As they are written in practice, and none is taken for another drug."""
    assert set(read(order(concept(text=text))).exposures) == drugs
