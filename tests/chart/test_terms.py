from cds.chart.naming import Named
from cds.chart.terms import compile_terms, in_sentence
from cds.chart.vocabulary import ConditionEntry, System, Vocabulary
from tests.chart.conftest import TERMS


def test_every_declared_code_is_looked_up_with_its_kind() -> None:
    """Instruments, unspecific measures, antibodies and the maximum of a scale share one index."""
    by_code = {code: match.entry for (_, code), match in TERMS.observations.items()}
    assert by_code["75874-8"] == "observation.haq_di"
    assert by_code["mmt"] == "measure.muscle_strength"
    assert by_code["mmt-maximum"] == "maximum"
    assert by_code["82424-3"] == "antibody.mda5"


def test_a_code_that_was_rejected_selects_nothing() -> None:
    """LOINC 77544-1 was seen for HAQ-DI once and is not that."""
    assert not [key for key in TERMS.observations if key[1] == "77544-1"]
    # A mass of CK-MB is no enzyme activity.
    assert not [key for key in TERMS.observations if key[1] == "13969-1"]


def test_inclusion_body_myositis_is_not_in_the_group_that_guidance_is_for() -> None:
    """It is a myositis, and another disease."""
    groups = TERMS.condition_groups
    assert "diagnosis.inclusion_body_myositis" in groups["diagnosis.any_myositis"]
    assert "diagnosis.inclusion_body_myositis" not in groups["diagnosis.myositis"]
    assert set(groups["diagnosis.myositis"]) < set(groups["diagnosis.any_myositis"])


def test_a_new_finding_needs_only_the_vocabulary() -> None:
    """Entries of any vocabulary are indexed by their codes and names, without any Python."""
    vocabulary = Vocabulary(
        systems={"x": System(url="http://x.example", aliases=("urn:x",))},
        findings={
            "new": ConditionEntry(title="New", codes={"x": {"1": "One"}}, names=("Some New",))
        },
    )
    terms = compile_terms(vocabulary)
    assert {key for key, m in terms.conditions.items() if m.entry == "finding.new"} == {
        ("http://x.example", "1"),
        ("urn:x", "1"),
    }
    assert terms.condition_names.find("Some New") == Named("finding.new")


def test_a_title_in_a_sentence_keeps_its_abbreviations() -> None:
    """Only a first word that is all small letters after its first is made small."""
    assert in_sentence("Body weight") == "body weight"
    assert in_sentence("Anti-TIF1-gamma positive") == "anti-TIF1-gamma positive"
    assert [in_sentence(each) for each in ("SpO2", "CK", "eGFR")] == ["SpO2", "CK", "eGFR"]
