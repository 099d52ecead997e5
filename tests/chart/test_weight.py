"""The body weight that doses are worked out with."""

from decimal import Decimal

import pytest

from cds.chart.weight import last_weight
from tests.chart.conftest import AS_OF, PATIENT, Json, ago, observation, quantity, read

ADULT = {"resourceType": "Patient", "id": PATIENT, "birthDate": "1980-01-01"}
CHILD = {"resourceType": "Patient", "id": PATIENT, "birthDate": "2015-01-01"}
UNKNOWN: Json = {"resourceType": "Patient", "id": PATIENT}


def weighed(value: object, unit: str = "kg", days: int = 0) -> Json:
    """Return a body weight of so many days ago."""
    return observation("loinc|29463-7", value, unit, ago(days))


@pytest.mark.parametrize(
    ("value", "unit", "kilograms"),
    [
        (32, "kg", "32"),
        (3250, "g", "3.25"),
        (150, "[lb_av]", "68.0388555"),
        (150, "lb", "68.0388555"),
    ],
)
def test_a_weight_is_held_in_kilograms_exactly(value: object, unit: str, kilograms: str) -> None:
    """Grams and pounds are converted by exact factors."""
    weight = last_weight(read(ADULT, weighed(value, unit)))
    assert weight is not None
    assert weight.measurement.value == Decimal(kilograms)
    assert weight.measurement.remark == ""


@pytest.mark.parametrize(
    ("patient", "days", "counts"),
    [
        (ADULT, 180, True),
        (ADULT, 181, False),
        (CHILD, 90, True),
        (CHILD, 91, False),
        (UNKNOWN, 90, True),
        (UNKNOWN, 91, False),
    ],
)
def test_a_weight_counts_for_fewer_days_in_a_child(patient: Json, days: int, counts: bool) -> None:
    """And where the age is not known, since it may be a child."""
    weight = last_weight(read(patient, weighed(32, days=days)))
    assert weight is not None
    assert weight.counts is counts


def test_the_last_weight_that_is_a_number_is_taken() -> None:
    """A bound says nothing to multiply, and a value that no body has is left out."""
    bound = observation("loinc|29463-7", valueQuantity=quantity(200, "kg", comparator=">"))
    weight = last_weight(
        read(ADULT, weighed(70, days=30), weighed(68, days=10), bound, weighed(68000, "kg"))
    )
    assert weight is not None
    assert (weight.measurement.value, (AS_OF - weight.measurement.day).days) == (68, 10)
    assert last_weight(read(ADULT)) is None
