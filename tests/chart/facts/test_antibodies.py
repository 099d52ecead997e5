import pytest

from tests.chart.conftest import (
    Json,
    ago,
    fact,
    observation,
    read,
)
from tests.chart.facts.conftest import MDA5, Damage, damaged, every_damage, evidence


def antibody(said: str, days_ago: int = 0) -> Json:
    """Return an anti-MDA5 result."""
    return observation(MDA5, on=ago(days_ago), valueString=said)


@pytest.mark.parametrize(
    ("resources", "positive"),
    [
        ([], None),  # not measured is not negative
        ([antibody("positive")], True),
        ([antibody("negative")], False),
        ([antibody("equivocal")], None),
        ([antibody("positive", 90), antibody("negative")], True),
        ([antibody("negative", 90), antibody("positive")], True),
        ([antibody("positive"), antibody("equivocal")], True),
        ([observation("loinc|8076-2", valueString="positive")], None),  # another antibody
    ],
)
def test_an_antibody(resources: list[Json], positive: bool | None) -> None:
    """Positive once is positive; negative only where measured; anything else is unknown."""
    assert fact(read(*resources), "antibody.mda5") is positive


@every_damage
def test_a_negative_antibody_is_unknown_where_other_results_may_exist(damage: Damage) -> None:
    """A positive result may stand on the page that did not come."""
    chart = damaged(damage, "Observation", antibody("negative"))
    assert fact(chart, "antibody.mda5") is None


def test_evidence_of_an_antibody() -> None:
    """Every result, positive or negative, with its day."""
    chart = read(
        observation(MDA5, on=ago(9), id="n", valueString="negative"),
        observation(MDA5, id="p", valueString="positive"),
    )
    assert evidence(chart, "antibody.mda5") == [
        ("Observation/n", ago(9), "Anti-MDA5 negative"),
        ("Observation/p", ago(0), "Anti-MDA5 positive"),
    ]
