import re
from collections.abc import Iterator

import pytest

from cds.chart.coding import LONGEST_TEXT
from cds.chart.naming import Hearing, Named, build_denials, build_names, hear, parts
from tests.chart.conftest import TERMS

NAMES = build_names(
    {"pneumonia": ["pneumonia", "COVID-19 pneumonia"], "sepsis": ["sepsis", "severe sepsis"]},
    qualifiers=["right", "lower lobe", "severe"],
    links=["of", "of the"],
    doubts=["?", "rule out", "possible"],
    doubts_after=["?", "suspected"],
)
DENIALS = build_denials(
    ["no", "not"],
    ["excluded"],
    ["?", "possible", "not excluded"],
    ["?", "to exclude", "not excluded"],
    joining=["or", "and"],
    circumstances=["by", "after"],
)


def heard(text: str) -> Hearing:
    """Whether a text says "ild"."""
    said = text.casefold()
    return hear([hit.span() for hit in re.finditer(r"\bild\b", said)], said, DENIALS)


def shipped() -> Iterator[tuple[str, str]]:
    """Each name of a diagnosis or finding that is shipped, with what it names."""
    for key, entry in TERMS.condition_entries.items():
        yield from ((name, key) for name in entry.names)


# --- a name that is the whole text ---------------------------------------------------------------


def test_the_words_of_a_text_are_compared_without_what_stands_between_them() -> None:
    """Case, hyphens, commas and brackets make no difference, and a question mark is a word."""
    assert parts("COVID-19 pneumonia (right), e. coli?") == (
        "covid", "19", "pneumonia", "right", "e", "coli", "?",
    )  # fmt: skip
    assert parts(" ,-() ") == ()


@pytest.mark.parametrize(
    "text",
    [
        "Pneumonia",
        "Right lower lobe pneumonia",
        "Pneumonia, right lower lobe",
        "Pneumonia of the right lower lobe",
        "Severe COVID 19 pneumonia (right)",
    ],
)
def test_a_qualifier_before_or_behind_a_name_changes_nothing(text: str) -> None:
    """It may stand on either side, with a comma, in brackets, or with a word that joins it."""
    assert NAMES.find(text) == Named("pneumonia")


@pytest.mark.parametrize(
    "text",
    ["?Pneumonia", "Pneumonia?", "Rule out right lower lobe pneumonia", "Pneumonia, suspected"],
)
def test_a_doubt_before_or_behind_a_name_is_told(text: str) -> None:
    """What is named is then left open."""
    assert NAMES.find(text) == Named("pneumonia", doubted=True)


@pytest.mark.parametrize(
    "text",
    [
        "No pneumonia",
        "Pneumonia in childhood",
        "Pneumonia of",
        "of the right pneumonia",
        "suspected pneumonia",
        "right",
        "",
        "?",
    ],
)
def test_a_word_that_is_not_declared_makes_it_another_text(text: str) -> None:
    """On the side on which it stands; a text that has no name in it is none either."""
    assert NAMES.find(text) is None


def test_the_longest_name_is_meant() -> None:
    """A qualifier that a name has in itself is part of the name."""
    assert NAMES.find("severe sepsis") == Named("sepsis")
    longer = build_names({"a": ["sepsis"], "b": ["possible sepsis"]}, doubts=["possible"])
    assert longer.find("possible sepsis") == Named("b")


def test_of_a_very_long_text_only_a_name_is_looked_for() -> None:
    """Words around it are not."""
    assert NAMES.find("right " * LONGEST_TEXT + "pneumonia") is None


@pytest.mark.parametrize(
    ("text", "doubts"),
    [("?LRTI", True), ("LRTI, suspected", True), ("LRTI ?viral, mild", False), ("LRTI", False)],
)
def test_a_text_that_names_nothing_may_be_in_doubt(text: str, doubts: bool) -> None:
    """As one is that begins or ends with a doubt."""
    assert NAMES.doubts_whole(text) is doubts


def test_every_shipped_name_means_what_it_is_the_name_of() -> None:
    """Without doubt, and no two names that are compared alike mean different things."""
    assert [n for n, key in shipped() if TERMS.condition_names.find(n) != Named(key)] == []


def test_no_shipped_qualifier_makes_something_else_of_a_shipped_name() -> None:
    """Before and behind each name, so that none is half of a longer name of another entry."""
    find = TERMS.condition_names.find
    wrong = [
        text
        for name, key in shipped()
        for word in TERMS.vocabulary.qualifiers
        for text in (f"{word} {name}", f"{name}, {word}", f"{name} of the {word}")
        if find(text) != Named(key)
    ]
    assert wrong == []


def test_every_shipped_doubt_leaves_open_every_shipped_name() -> None:
    """But where the doubt and the name are together the name of something else."""
    find = TERMS.condition_names.find
    doubts, after = TERMS.vocabulary.doubts, TERMS.vocabulary.doubts_after
    wrong = [
        text
        for name, key in shipped()
        for text in (
            *(f"{word} {name}" for word in doubts),
            *(f"{name} {word}" for word in (*doubts, *after)),
        )
        if find(text) != Named(key, doubted=True)
    ]
    assert wrong == []


# --- a name among other words --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ILD, fibrotic", "said"),
        ("nothing of it", None),
        ("?ILD", "doubted"),
        ("ILD?", "doubted"),
        ("Fibrosis, ?ILD", "doubted"),
        ("ILD (?)", "doubted"),
        ("Infection? ILD", "said"),
        ("ILD? on CT", "doubted"),
        ("Possible ILD", "doubted"),
        ("Possible infection, ILD", "said"),
        ("Possible infection; ILD", "said"),
        ("ILD possible", "doubted"),
        ("ILD possible UIP", "said"),
        ("ILD to exclude on CT", "doubted"),
        ("ILD to exclude", "doubted"),
        ("ILD of lung, possible", "said"),
        ("ILD, possible", "doubted"),
        ("ILD - possible", "doubted"),
        ("ILD, possible infection", "said"),
        ("ILD - possible infection", "said"),
        ("ILD with possible infection", "said"),
        ("ILD. Possible.", "said"),
        ("ILD not excluded", "doubted"),
        ("Not excluded: ILD", "doubted"),
        ("ILD excluded", None),
        ("No ILD", None),
        ("No possible ILD", None),
        ("No infection; ILD", "said"),
        ("possible ILD; ILD on CT", "said"),
        ("possible ILD; no ILD on CT", "doubted"),
        ("impossible ILD", "said"),
        ("ILD (excluded)", None),
        ("ILD, excluded", None),
        ("ILD, excluded 2024", None),
        ("ILD - excluded", None),
        ("ILD. Excluded.", "said"),
        ("ILD (infection excluded)", "said"),
        ("ILD - infection excluded", "said"),
        ("ILD, infection excluded", "said"),
        ("No infection, ILD", "doubted"),
        ("No fever, cough or ILD", None),
        ("No infection and, so far, ILD", "doubted"),
        ("No infection or cough, ILD", "doubted"),
        ("Dermatomyositis (no weakness) with ILD", "doubted"),
        ("Dermatomyositis - no weakness - ILD", "doubted"),
        ("ILD (excluded by CT)", None),
        ("ILD - excluded after treatment", None),
        ("ILD: excluded by CT", None),
        ("ILD (infection excluded by CT)", "said"),
        ("ILD (excluded infection)", "said"),
    ],
)
def test_words_around_a_name_deny_or_doubt_it(text: str, expected: Hearing) -> None:
    """A doubt reaches as far as its clause, and behind a name must end that, or be next to it.

    A denial before a name reaches through its sentence, and leaves open what is parted from it and
    not joined; one behind it reaches as far as its clause, and is not one of something else in
    brackets.
    """
    assert heard(text) == expected
