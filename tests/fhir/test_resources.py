from decimal import Decimal

import pytest

from cds.fhir.bundles import Unreadable, decode
from cds.fhir.resources import MedicationRequest, Observation


def observation(rest: str) -> Observation:
    """Decode an Observation with these further members, given as JSON."""
    read = decode(f'{{"resourceType": "Observation", "id": "o1", {rest}}}'.encode())
    assert isinstance(read, Observation)
    return read


def value_of(number: str) -> Decimal:
    """Return the value that this JSON text decodes to in a Quantity."""
    quantity = observation(f'"valueQuantity": {{"value": {number}}}').valueQuantity
    assert quantity is not None and quantity.value is not None
    return quantity.value


@pytest.mark.parametrize(
    "number",
    [
        "0",
        "-0.0",
        "0.8",
        "20",
        "20.0",
        "-3.5e-7",
        "1.0E-245",
        "-1E-30",
        "12345678901234567890",
        "0.1000000000000000000000000000001",
    ],
)
def test_numbers_keep_every_digit_that_was_written(number: str) -> None:
    """A number is the Decimal of its own text, trailing zeros and exponents included."""
    assert str(value_of(number)) == str(Decimal(number))


def test_a_quoted_number_is_read_as_that_number() -> None:
    """FHIR wants numbers without quotes; with them they still mean one thing."""
    assert value_of('"6.20"') == Decimal("6.20")


HUGE = ['"NaN"', '"-Infinity"', '"sNaN"', "1e1001", "1e999999999", "-1e-999999999", "0e999999999"]


@pytest.mark.parametrize("number", HUGE)
@pytest.mark.parametrize(
    ("member", "path"),
    [
        ('"valueQuantity": {"value": {N}}', "valueQuantity"),
        ('"referenceRange": [{"high": {"value": {N}}}]', "referenceRange[0].high"),
        ('"component": [{"valueQuantity": {"value": {N}}}]', "component[0].valueQuantity"),
    ],
)
def test_no_number_is_decoded_that_cannot_be_calculated_with(
    number: str, member: str, path: str
) -> None:
    """Words for no number, and exponents that overflow arithmetic, are refused everywhere."""
    with pytest.raises(Unreadable) as refused:
        observation(member.replace("{N}", number))
    assert refused.value.problem == (
        "cannot be read: the number is not finite, or beyond anything that can be measured"
        f" - at `Observation.{path}`"
    )


def test_a_period_of_no_number_is_refused() -> None:
    """How often a drug is taken is calculated with too."""
    timing = '{"timing": {"repeat": {"period": "NaN"}}}'
    with pytest.raises(Unreadable, match=r"dosageInstruction\[0\]\.timing\.repeat"):
        decode(f'{{"resourceType": "MedicationRequest", "dosageInstruction": [{timing}]}}'.encode())


@pytest.mark.parametrize("number", ["NaN", "Infinity", '"much"', "true", "[5]", "0x10", "1.", "01"])
def test_what_is_no_number_is_refused(number: str) -> None:
    """A value that is not a number makes the Observation unreadable, never a guess."""
    with pytest.raises(Unreadable):
        value_of(number)


def test_unknown_members_are_ignored() -> None:
    """Extensions, narrative and members of later FHIR versions do no harm."""
    read = observation('"text": {"div": 5}, "_status": {}, "instantiatesCanonical": [null]')
    assert read.id == "o1"


def test_null_members_count_as_absent() -> None:
    """A null in place of a value or an object is as if it had not been sent."""
    read = observation('"status": null, "code": null, "valueQuantity": null, "meta": null')
    assert read == observation('"subject": null')


def test_null_in_place_of_a_list_is_told_by_its_path() -> None:
    """A null list is unreadable, and the reason names the element but no value."""
    with pytest.raises(Unreadable) as refused:
        observation('"code": {"coding": null, "text": "secret"}')
    assert refused.value.place == "Observation/o1"
    assert "`Observation.code.coding`" in refused.value.problem
    assert "secret" not in str(refused.value)


def test_every_coding_of_a_concept_is_read() -> None:
    """All codings of a concept are there, in the order given."""
    read = observation('"code": {"coding": [{"code": "a"}, {}, {"code": "b", "system": "s"}]}')
    assert read.code is not None
    assert [(c.system, c.code) for c in read.code.coding] == [(None, "a"), (None, None), ("s", "b")]


def test_contained_resources_are_kept_as_they_were_sent() -> None:
    """What a MedicationRequest contains is not decoded with it, so it cannot spoil it."""
    read = decode(
        b'{"resourceType": "MedicationRequest", "contained": [{"resourceType": "Nope"}, 5, null]}'
    )
    assert isinstance(read, MedicationRequest)
    assert [bytes(raw) for raw in read.contained] == [b'{"resourceType": "Nope"}', b"5", b"null"]
