from typing import Any

import pytest

from cds.chart.coding import (
    LONGEST_CATEGORY,
    Ambiguous,
    Match,
    find,
    find_all,
    find_families,
    index_words,
    texts,
    whole_words,
)
from cds.fhir.resources import CodeableConcept, Coding
from tests.chart.conftest import TERMS

LOINC = "http://loinc.org"
ELSEWHERE = Coding(system="https://hospital.example/codes", code="7")


def concept(*codings: Coding, text: str | None = None) -> CodeableConcept:
    """Return a concept of these codings."""
    return CodeableConcept(coding=codings, text=text)


def test_every_coding_is_looked_at() -> None:
    """A known code counts wherever it stands among the codings."""
    known = Coding(system=LOINC, code="2157-6")
    for codings in ((known, ELSEWHERE), (ELSEWHERE, known)):
        assert find(TERMS.observations, concept(*codings)) == Match("observation.ck")


def test_a_code_counts_only_in_its_own_system() -> None:
    """The same code in another system, or in none, means nothing."""
    for system in (None, "http://snomed.info/sct", ""):
        assert find(TERMS.observations, concept(Coding(system=system, code="2157-6"))) is None


@pytest.mark.parametrize("url", ["urn:oid:2.16.840.1.113883.6.1", "https://loinc.org"])
def test_a_system_is_known_by_its_other_names(url: str) -> None:
    """The aliases of a code system select what its canonical URL selects."""
    found = find(TERMS.observations, concept(Coding(system=url, code="2157-6")))
    assert found == Match("observation.ck")


def test_codings_that_agree_are_one_match() -> None:
    """Two codes of one entry are no contradiction."""
    alt = concept(Coding(system=LOINC, code="1742-6"), Coding(system=LOINC, code="1744-2"))
    assert find(TERMS.observations, alt) == Match("observation.alt")


def test_codings_that_disagree_are_refused() -> None:
    """Where the codings of one concept mean different things, none of them counts."""
    both = concept(Coding(system=LOINC, code="2157-6"), Coding(system=LOINC, code="2532-0"))
    with pytest.raises(Ambiguous, match=r"different things: observation\.ck and observation\.ldh"):
        find(TERMS.observations, both)
    assert {m.entry for m in find_all(TERMS.observations, both)} == {
        "observation.ck",
        "observation.ldh",
    }


def test_an_unverified_code_says_so() -> None:
    """A match by a code that was recalled, not read, carries that on the evidence."""
    egfr = concept(Coding(system=LOINC, code="98979-8"))
    found = find(TERMS.observations, egfr)
    assert found == Match("observation.egfr", "code not verified")


def test_a_verified_code_clears_the_doubt_of_another() -> None:
    """Beside a verified code of the same entry the unverified one leaves no remark."""
    doubtful = Coding(system=LOINC, code="2708-6")
    sure = Coding(system=LOINC, code="59408-5")
    for codings in ((doubtful, sure), (sure, doubtful)):
        assert find(TERMS.observations, concept(*codings)) == Match("observation.spo2")


def test_texts_are_the_text_and_all_displays() -> None:
    """What a concept says in words is its text first, then the display of each coding."""
    said = concept(Coding(display="a"), Coding(code="x"), Coding(display="b"), text="t")
    assert texts(said) == ["t", "a", "b"]


def test_whole_words_only() -> None:
    """A name inside another word, or joined to one by a hyphen, is not that name."""
    words = index_words({"prednisolone": ["prednisolone"], "oral": ["by mouth"]})
    assert words.find_all("PREDNISOLONE 5 mg, by mouth") == {"prednisolone", "oral"}
    for other in ("methylprednisolone", "methyl-prednisolone", "prednisolones", "by mouthful"):
        assert words.find_all(other) == set()


def test_the_longest_name_wins() -> None:
    """Of names of which one begins another, the longer is what is found."""
    words = index_words({"short": ["ear"], "long": ["ear drops"]})
    assert words.find_all("ear drops") == {"long"}


def test_no_names_find_nothing() -> None:
    """An empty list of names, or an empty name, matches no text, not every text."""
    assert whole_words([]).search("anything") is None
    assert whole_words([""]).search("anything") is None


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Infliximab-dyyb 100 mg", {"infliximab"}),
        ("infliximab-DYYB/saline", {"infliximab"}),
        ("infliximab 100 mg", {"infliximab"}),
        ("infliximab-based", set()),  # five letters
        ("infliximab-dyyb-like", set()),
        ("pre-infliximab", set()),
        ("methotrexate-free", set()),
        ("methotrexate", {"methotrexate"}),
    ],
)
def test_four_letters_may_follow_the_name_of_a_biological(text: str, found: set[str]) -> None:
    """As the FDA gives them to each product, and after no other name."""
    names = {"infliximab": ["infliximab"], "methotrexate": ["methotrexate"]}
    words = index_words(names, ("infliximab",))
    assert words.find_all(text) == found
    assert set(words.find_spans(text)) == found


def test_a_code_is_looked_up_by_its_first_characters_only() -> None:
    """No category has more, so a code of any length costs no more than one of these."""
    url = TERMS.vocabulary.system_url("icd10cm")
    asked: list[tuple[str | None, str | None]] = []

    class Noting(dict[tuple[str | None, str | None], Match]):
        def get(self, key: Any, default: Any = None) -> Any:
            asked.append(key)
            return super().get(key, default)

    families = Noting({(url, "C50"): Match("diagnosis.cancer")})
    of_a_category = Coding(system=url, code="C50." + "9" * 100_000)

    assert find_families(families, concept(of_a_category)) == [Match("diagnosis.cancer")]
    assert len(asked) <= LONGEST_CATEGORY
