import pytest

from cds.chart.facts.catalogue import groups
from cds.chart.facts.declaration import Event
from cds.chart.quantities import Interval
from cds.fhir.bundles import RESOURCE_TYPES
from tests.chart.conftest import (
    FACTS,
    PATIENT,
    TERMS,
    Json,
    ago,
    ck,
    condition,
    dosage,
    fact,
    observation,
    order,
    physician,
    pulse,
    read,
    stated,
)
from tests.chart.facts.conftest import (
    MDA5,
    PREDNISONE,
    Damage,
    damaged,
    event,
    every_damage,
    evidence,
    fvc,
    incomplete,
)

ABSENT = [
    ("diagnosis.dermatomyositis", ("Condition",)),
    ("diagnosis.any_myositis", ("Condition",)),
    ("finding.myocarditis", ("Condition",)),
    ("finding.rapidly_progressive_ild", ("Condition",)),
    *[
        (name, ("MedicationRequest", "MedicationAdministration", "MedicationStatement"))
        for name in (
            "drug.prednisone.current",
            "drug.prednisone.ever",
            "drug.glucocorticoid.current",
            "drug.glucocorticoid.ever",
            "drug.pulse_methylprednisolone.ever",
        )
    ],
    ("measure.physician_global.current", ("Observation",)),
    ("assessment.compared", ("Observation",)),
]


@pytest.mark.parametrize(("name", "kinds"), ABSENT)
def test_false_only_where_nothing_is_recorded_and_all_was_delivered(
    name: str, kinds: tuple[str, ...]
) -> None:
    """Where everything of its types was delivered and read, what is not recorded is false."""
    assert fact(read(), name) is False
    for kind in RESOURCE_TYPES - set(kinds):
        assert fact(damaged(incomplete, kind), name) is False


@every_damage
@pytest.mark.parametrize(("name", "kinds"), ABSENT)
def test_unknown_where_something_may_be_recorded(
    name: str, kinds: tuple[str, ...], damage: Damage
) -> None:
    """A failed query, a missing page or an unreadable entry of any of its types: unknown."""
    for kind in kinds:
        assert fact(damaged(damage, kind), name) is None


PRESENT: list[tuple[str, list[Json]]] = [
    ("diagnosis.dermatomyositis", [condition("snomed|396230008")]),
    ("diagnosis.any_myositis", [condition("snomed|396230008")]),
    ("finding.interstitial_lung_disease", [condition("icd10cm|J84.114")]),
    ("antibody.mda5", [observation(MDA5, valueString="positive")]),
    ("drug.prednisone.current", [order(PREDNISONE, ago(9))]),
    ("drug.prednisone.ever", [order(PREDNISONE, ago(9), "stopped")]),
    ("drug.glucocorticoid.ever", [stated(PREDNISONE, ago(9), "completed")]),
    ("drug.pulse_methylprednisolone.ever", [pulse(1000, ago(900))]),
    ("measure.physician_global.current", [physician(5, ago(100)), physician(4)]),
    ("assessment.compared", [physician(5, ago(100)), physician(4)]),
]


@every_damage
@pytest.mark.parametrize(("name", "resources"), PRESENT)
def test_what_is_recorded_is_true_whatever_is_missing(
    name: str, resources: list[Json], damage: Damage
) -> None:
    """What more there may be cannot make a recorded fact untrue."""
    assert fact(read(*resources), name) is True
    for kind in RESOURCE_TYPES:
        assert fact(damaged(damage, kind, *resources), name) is True


@every_damage
def test_an_event_says_whether_more_may_be_recorded(damage: Damage) -> None:
    """So that a rule does not take what was not delivered for what did not happen."""
    name = "drug.pulse_methylprednisolone"
    chart = damaged(damage, "MedicationAdministration", pulse(1000, ago(40)))
    assert fact(chart, name) == event(40, 40, complete=False)
    for of_observations in ("observation.ck", "assessment.baseline", "assessment.current"):
        assert fact(read(), of_observations) == event(None, None)
        found = fact(damaged(damage, "Observation"), of_observations)
        assert found == event(None, None, complete=False)


def test_nothing_recorded_has_no_evidence() -> None:
    """Of an empty record there is nothing to cite."""
    chart = read()
    assert [name for name in FACTS if evidence(chart, name)] == []


def test_the_core_set_is_a_group_of_measures() -> None:
    """Rules count over it; every member has the facts that they count by."""
    core_set = groups(TERMS.vocabulary)["core_set"]
    assert len(core_set) == 6
    for member in core_set:
        assert {f"{member}.improvement", f"{member}.worsening"} <= set(FACTS)


def test_groups_of_the_vocabulary_have_facts() -> None:
    """Every member of every group is a fact, or has facts, or is what a rule derives."""
    derived = {"cancer_risk.dermatomyositis", "cancer_risk.onset_after_40"}
    for name, members in groups(TERMS.vocabulary).items():
        for member in members:
            known = member in FACTS or member in derived
            assert known or any(f.startswith(f"{member}.") for f in FACTS), (name, member)


def test_values_are_of_the_declared_kind() -> None:
    """A boolean fact gives a boolean or unknown, a number an interval, an event an event."""
    patient = {"resourceType": "Patient", "id": PATIENT, "birthDate": "1970"}
    full = read(
        patient,
        condition("snomed|396230008"),
        physician(5, ago(100)),
        physician(4),
        ck(900, ago(100)),
        ck(100),
        fvc(80, 90),
        fvc(70, 0),
        observation(MDA5, valueString="positive"),
        order(PREDNISONE, ago(90), **dosage(50)),
    )
    kinds: dict[str, type | tuple[type, ...]] = {
        "boolean": (bool, type(None)),
        "number": Interval,
        "event": Event,
    }
    for chart in (full, read()):
        for declared in FACTS.values():
            assert isinstance(declared.read(chart), kinds[declared.kind]), declared.name
            assert declared.title
