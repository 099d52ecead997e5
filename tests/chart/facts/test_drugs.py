import pytest

from cds.chart.facts.declaration import Event
from tests.chart.conftest import (
    Json,
    ago,
    concept,
    condition,
    dosage,
    exactly,
    fact,
    given,
    order,
    pulse,
    read,
)
from tests.chart.facts.conftest import (
    METHOTREXATE,
    PREDNISONE,
    damaged,
    event,
    evidence,
    incomplete,
)


def test_a_drug_used_before_is_not_current() -> None:
    """Known to have been used, and known not to be used now, as long as everything is known."""
    before = order(PREDNISONE, ago(9), "stopped")
    assert fact(read(before), "drug.prednisone.current") is False
    chart = damaged(incomplete, "MedicationStatement", before)
    assert fact(chart, "drug.prednisone.current") is None


def test_an_uncertain_member_of_a_class_makes_it_unknown() -> None:
    """What may have been a pulse leaves ever and current unknown."""
    name = "drug.pulse_methylprednisolone"
    chart = read(pulse(None, ago(0)))
    assert (fact(chart, f"{name}.ever"), fact(chart, f"{name}.current")) == (None, None)
    past = read(pulse(None, ago(30)))
    assert (fact(past, f"{name}.ever"), fact(past, f"{name}.current")) == (None, False)


@pytest.mark.parametrize(
    ("resources", "expected"),
    [
        ([], event(None, None)),
        ([pulse(1000, ago(14))], event(14, 14)),
        ([pulse(1000, ago(40)), pulse(1000, ago(5))], event(5, 5)),
        ([pulse(1000, ago(40)), pulse(None, ago(5))], event(40, 5)),
        ([pulse(None, ago(5))], event(None, 5)),
        ([pulse(1000)], event(None, 0)),
        ([pulse(1000, "2026-11")], event(15, 0)),
        ([pulse(1000, "2026-10")], event(46, 16)),
    ],
)
def test_when_a_pulse_was_last_given(resources: list[Json], expected: Event) -> None:
    """Surely so many days ago at the most, possibly so many at the least."""
    assert fact(read(*resources), "drug.pulse_methylprednisolone") == expected


def test_whether_more_than_an_order_tells_of_a_pulse() -> None:
    """An order does not say that it was given: an administration or a statement does."""
    ordered = order(concept("rxnorm|6902"), ago(2), **dosage(1000, route="IV"))
    name = "drug.pulse_methylprednisolone.given"
    assert fact(read(ordered), name) == event(None, None)
    both = read(ordered, pulse(1000, ago(5), id="a"))
    assert fact(both, name) == event(5, 5)
    assert [reference for reference, _, _ in evidence(both, name)] == ["MedicationAdministration/a"]


def test_a_drug_in_use_is_of_today() -> None:
    """What is taken now was last used today, however long ago the order was written."""
    assert fact(read(order(PREDNISONE, ago(200))), "drug.prednisone") == event(0, 0)
    stopped = order(PREDNISONE, ago(200), "stopped")
    assert fact(read(stopped), "drug.prednisone") == event(200, 200)


def stopped(why: str | None, status: str = "stopped") -> Json:
    """Return an order of methotrexate that ended, and why."""
    reason = {} if why is None else {"statusReason": {"text": why}}
    return order(METHOTREXATE, ago(300), status, **reason)


@pytest.mark.parametrize(
    ("resources", "failed"),
    [
        ([stopped("Lack of effect")], True),
        ([stopped("Intolerance: liver enzymes rose")], True),
        ([stopped("no response after 6 months")], True),
        ([stopped("Patient's wish; no side effects")], False),
        ([stopped("Wish to conceive")], False),
        ([stopped(None)], None),
        ([stopped(None, "completed")], None),
        ([order(METHOTREXATE, ago(300))], False),  # merely given
        ([], False),
        ([stopped("Wish to conceive"), stopped("Side effects")], True),
        ([stopped("x" * 10_001)], None),  # not looked through
        ([stopped("Patient failed to attend blood monitoring")], False),
        ([stopped("Failed to collect prescription")], False),
        ([stopped("Cost; insurance claim failed")], False),
        ([stopped("Relapse of depression, not related")], False),
        ([stopped("Flare of psoriasis")], False),
        ([stopped("Refractory epilepsy")], False),
        ([stopped("Treatment failed")], True),
        ([stopped("Failed methotrexate")], True),
        ([stopped("Relapse on methotrexate")], True),
        ([stopped("No improvement")], True),
        ([stopped("Failed to respond")], True),
        ([stopped("Flare of dermatomyositis")], True),
        ([stopped("Myositis relapse")], True),
        ([stopped("Refractory disease")], True),
        ([stopped("Possible lack of effect")], None),
        ([stopped("Ineffective?"), stopped("Side effects")], True),
    ],
)
def test_a_drug_has_failed_where_the_reason_for_its_end_says_so(
    resources: list[Json], failed: bool | None
) -> None:
    """Not known where it ended and nobody recorded why, or the reason is in doubt."""
    chart = read(*resources)
    assert fact(chart, "drug.methotrexate.failed") is failed
    assert fact(chart, "drug.steroid_sparing.failed") is failed


def test_why_a_drug_failed_is_the_evidence() -> None:
    """Only what ended for that reason is cited."""
    chart = read(stopped("Lack of effect"), order(METHOTREXATE, ago(20)))
    ((_, _, text),) = evidence(chart, "drug.steroid_sparing.failed")
    assert text.endswith(", stopped: Lack of effect")


def reaction(substance: Json, kind: str = "intolerance", **members: object) -> Json:
    """Return a record of an intolerance, or of an allergy."""
    return {
        "resourceType": "AllergyIntolerance",
        "id": "reaction",
        "type": kind,
        "code": substance,
        "onsetDateTime": "2023-04",
        **members,
    }


AZATHIOPRINE = concept("rxnorm|1256")


@pytest.mark.parametrize(
    ("resources", "failed"),
    [
        ([reaction(AZATHIOPRINE)], True),
        ([reaction(AZATHIOPRINE, "allergy")], True),
        ([reaction(AZATHIOPRINE), order(METHOTREXATE, ago(300))], True),
        ([reaction(AZATHIOPRINE), order(AZATHIOPRINE, ago(300))], False),  # given all the same
        ([reaction(AZATHIOPRINE), order(AZATHIOPRINE, ago(300), "unknown")], None),
        ([reaction(AZATHIOPRINE, clinicalStatus=concept("x|resolved"))], False),
        ([reaction(concept(text="Not allergic to azathioprine"))], None),
        ([reaction(concept(text="Immunoglobulin"))], False),
    ],
)
def test_an_intolerance_on_record_is_a_failure_of_a_drug_that_is_not_given(
    resources: list[Json], failed: bool | None
) -> None:
    """What is given in spite of it has not been given up; immunoglobulin suppresses nothing."""
    assert fact(read(*resources), "drug.immunosuppressive.failed") is failed


def test_an_intolerance_is_told_where_it_counts_as_a_failure() -> None:
    """With the day on which it began; a drug without a reaction adds nothing."""
    chart = read(reaction(AZATHIOPRINE), order(METHOTREXATE, ago(20)))
    ((reference, day, text),) = evidence(chart, "drug.immunosuppressive.failed")
    assert (reference, day) == ("AllergyIntolerance/reaction", "2023-04")
    assert text.startswith("intolerance of ")


def test_whether_a_drug_was_tolerated_is_unknown_where_allergies_were_not_delivered() -> None:
    """Nothing on record is no failure only where all of the record came."""
    chart = damaged(incomplete, "AllergyIntolerance")
    assert fact(chart, "drug.immunosuppressive.failed") is None


def test_the_longest_course_of_one_drug_of_a_class() -> None:
    """Two drugs one after the other are no long course of either."""
    azathioprine = concept("rxnorm|1256")
    one = stopped("Wish to conceive") | {"dosageInstruction": []}
    chart = read(one, order(azathioprine, ago(20)), order(concept("rxnorm|42316"), ago(50)))
    assert fact(chart, "drug.steroid_sparing.longest") == exactly(50)
    assert fact(read(one), "drug.steroid_sparing.longest") == exactly(0)
    assert len(evidence(chart, "drug.steroid_sparing.longest")) == 1


def test_a_class_that_is_one_line_is_one_course_through_a_change_of_drug() -> None:
    """Prednisolone after prednisone goes on with it; the first and what is current are cited."""
    prednisone = order(concept("rxnorm|8640"), ago(96)) | {"status": "completed"}
    prednisone["dispenseRequest"] = {"validityPeriod": {"start": ago(96), "end": ago(30)}}
    chart = read(prednisone, order(concept("rxnorm|8638"), ago(30)))
    assert fact(chart, "drug.glucocorticoid.longest") == exactly(96)
    assert len(evidence(chart, "drug.glucocorticoid.longest")) == 2


def test_evidence_of_a_group_is_that_of_its_members() -> None:
    """A group cites the Conditions that are in it."""
    chart = read(condition("snomed|31384009", text="PM", id="pm"))
    assert evidence(chart, "diagnosis.myositis") == [("Condition/pm", "", "PM")]


def test_evidence_of_a_drug() -> None:
    """What was ordered or given, matched by name where it was, and what is uncertain."""
    chart = read(
        given("Methylprednisolone 1 g", ago(3), 1000, "IV", id="sure"),
        pulse(None, ago(2), id="doubtful"),
    )
    assert evidence(chart, "drug.pulse_methylprednisolone") == [
        (
            "MedicationAdministration/sure",
            ago(3),
            f"Methylprednisolone 1 g, given {ago(3)}, 1000 mg on a day of treatment "
            "(matched by name)",
        ),
        (
            "MedicationAdministration/doubtful",
            ago(2),
            f"Methylprednisolone, given {ago(2)}",
        ),
    ]


def test_of_an_order_that_was_carried_out_what_was_given_is_the_evidence() -> None:
    """Three infusions say what their order says; what is current still names the order."""
    members = dosage(1000, route="intravenous")
    members["dosageInstruction"][0]["timing"] = {
        "repeat": {"boundsPeriod": {"start": ago(5), "end": ago(3)}}
    }
    infusion = order(concept("rxnorm|6902"), ago(5), status="completed", id="o", **members)
    days = [pulse(1000, ago(day), id=f"g{day}") for day in (5, 4, 3)]

    given_all = evidence(read(infusion, *days), "drug.pulse_methylprednisolone")
    given_two = evidence(read(infusion, *days[:2]), "drug.pulse_methylprednisolone")

    assert [reference for reference, _, _ in given_all] == [
        f"MedicationAdministration/g{day}" for day in (5, 4, 3)
    ]
    assert "MedicationRequest/o" in {reference for reference, _, _ in given_two}
