"""What several cards say alike: it is on each of them as if it stood there."""

from __future__ import annotations

from pathlib import Path

import pytest

from cds.rules.reading import check_ruleset, read_ruleset
from cds.rules.ruleset import CardTemplate

TAPER = "guidance/taper.yaml"
SHARED = """\
lung:
  title: The lung
  evidence:
    - {source: trial, supports: watching the lung, certainty: low, when: finding.lung_disease}
  text:
    - Look at the lung.
    - when: finding.lung_disease
      text: "Lung disease: {finding.lung_disease:evidence}."
  options:
    - {option: Respiratory medicine, evidence: One trial, source: trial, when: finding.lung_disease}
"""


@pytest.fixture
def folder(minimal: Path) -> Path:
    """The least rules, with a card that takes the text and the options of what is shared."""
    (minimal / "shared.yaml").write_text(SHARED, encoding="utf-8")
    replace(minimal, TAPER, "    - when: f", "    - shared: lung\n    - when: f")
    replace(minimal, TAPER, "  suggestions:", "    - shared: lung\n  suggestions:")
    return minimal


def replace(folder: Path, file: str, old: str, new: str) -> None:
    """Replace one text, which must stand there once, in one file."""
    text = (folder / file).read_text(encoding="utf-8")
    assert text.count(old) == 1, old
    (folder / file).write_text(text.replace(old, new), encoding="utf-8")


def problems_of(folder: Path) -> list[str]:
    """Where each problem is, and its code."""
    return [" ".join(str(problem).split()[:2]) for problem in check_ruleset(folder)[1]]


def card_of(folder: Path) -> CardTemplate:
    """The card of the rule that takes what is shared."""
    (rule,) = read_ruleset(folder).card_rules
    assert rule.card is not None
    return rule.card


def test_it_stands_where_the_card_names_it(folder: Path) -> None:
    """Its texts and options come in the place of the items that name it, in their order."""
    card = card_of(folder)
    assert ["".join(map(str, p.text))[:13] for p in card.passages][1] == "Look at the l"
    assert [p.when is not None for p in card.passages] == [False, False, True, True]
    assert [o.option[0] for o in card.options] == ["Slow taper", "Respiratory medicine"]


def test_its_evidence_is_cited_with_that_of_the_rule(folder: Path) -> None:
    """Once, however much of it the card takes, and where its condition is true."""
    (rule,) = read_ruleset(folder).card_rules
    assert [e.supports for e in rule.file.evidence] == ["tapering", "watching the lung"]
    assert rule.card is not None
    assert [cited is not None for cited in rule.card.cited] == [False, True]


def test_its_conditions_keep_their_place(folder: Path) -> None:
    """What is wrong in it is told where it was written, and what follows it where that was."""
    taken = card_of(folder).passages
    places = [p.when.condition.place for p in taken if p.when is not None]
    assert [(place.file, place.line) for place in places] == [("shared.yaml", 7), (TAPER, 22)]
    replace(
        folder, "shared.yaml", "    - when: finding.lung_disease\n", "    - when: finding.lungs\n"
    )
    replace(folder, TAPER, "    - when: finding.lung_disease\n", "    - when: finding.lungs\n")
    assert problems_of(folder) == [
        f"{TAPER}:22:7 unknown-fact",
        "shared.yaml:7:7 unknown-fact",
    ]


def test_a_name_that_nothing_is_shared_under_is_a_mistake(folder: Path) -> None:
    """It is told where the card names it, with what may have been meant."""
    replace(
        folder, TAPER, "    - shared: lung\n  suggestions:", "    - shared: lungs\n  suggestions:"
    )
    ruleset, problems = check_ruleset(folder)
    assert ruleset is None
    assert [str(p) for p in problems] == [
        f"{TAPER}:26:7 unknown-id `lungs` is not in shared.yaml (did you mean `lung`?)"
    ]


def test_an_item_that_names_it_has_nothing_else(folder: Path) -> None:
    """A condition beside the name would not be asked."""
    replace(
        folder,
        TAPER,
        "    - shared: lung\n  suggestions:",
        "    - {shared: lung, when: finding.lung_disease}\n  suggestions:",
    )
    assert problems_of(folder) == [f"{TAPER}:26:22 unknown-key"]


def test_what_no_card_takes_is_warned_of(folder: Path) -> None:
    """Nothing would check it."""
    text = SHARED.replace("lung:", "heart:", 1)
    (folder / "shared.yaml").write_text(SHARED + text, encoding="utf-8")
    assert problems_of(folder) == ["shared.yaml:11:1 unused-shared"]


def test_a_folder_without_it_shares_nothing(minimal: Path) -> None:
    """The file may be left out."""
    assert problems_of(minimal) == []
    assert read_ruleset(minimal).shared == {}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("- lung\n", "shared.yaml:1:1 wrong-type"),
        ("lung: {title: The lung, words: []}\n", "shared.yaml:1:25 unknown-key"),
        ("lung: {title: The lung, text: [{shared: lung}]}\n", "shared.yaml:1:33 unknown-key"),
    ],
)
def test_a_mistake_in_the_file_is_told_there(minimal: Path, text: str, problem: str) -> None:
    """It is no mapping, has a key that is not known, or names what is shared within itself."""
    (minimal / "shared.yaml").write_text(text, encoding="utf-8")
    assert problem in problems_of(minimal)
