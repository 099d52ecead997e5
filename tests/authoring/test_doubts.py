"""Warnings say what can be proven, at the place where it is mended, and are silent otherwise."""

from __future__ import annotations

import shutil
from datetime import date
from pathlib import Path

import pytest

from cds.authoring.doubts import doubts
from cds.rules.reading import read_ruleset

BASE = Path(__file__).with_name("broken")
IMPROVED = "criteria/improved.yaml"
LOW, TAPER = "guidance/low-saturation.yaml", "guidance/taper.yaml"
MEASURES = "vocabulary/measures.yaml"
DAY = date(2026, 11, 23)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of rules of which there is nothing to say."""
    return shutil.copytree(BASE / "rules", tmp_path / "rules")


def edit(folder: Path, file: str, *edits: tuple[str, str]) -> None:
    """Replace texts in a file, each of which stands there once."""
    text = (folder / file).read_text(encoding="utf-8")
    for before, after in edits:
        assert text.count(before) == 1, before
        text = text.replace(before, after)
    (folder / file).write_text(text, encoding="utf-8")


def said(folder: Path, as_of: date = DAY, site: Path | None = None) -> list[str]:
    """Every warning, as it is told; the space before a unit is a narrow one."""
    return [
        str(p).replace("\u202f", " ") for p in doubts(read_ruleset(folder, site), folder, as_of)
    ]


def test_nothing_is_said_of_rules_in_order(folder: Path) -> None:
    """Rules that use whatever they declare, and are reviewed and tested, give no warning."""
    assert said(folder) == []


def test_contradicting_thresholds_are_told_with_both_places(folder: Path) -> None:
    """The second of two conditions that cannot both be true names the first."""
    edit(
        folder,
        LOW,
        (
            "- observation.spo2 within parameters.recent\n",
            "- observation.spo2 within parameters.recent\n    - observation.spo2.latest > 92 %\n",
        ),
    )
    assert said(folder) == [
        f"{LOW}:24:7 never-true “SpO2 > 92 %” contradicts “SpO2 < 92 %” (line 22), so that both "
        "are never true: remove one, or put them under `any`"
    ]


def test_only_the_innermost_contradiction_is_told(folder: Path) -> None:
    """What can never be true because of its parts is not told a second time."""
    edit(
        folder,
        LOW,
        (
            "    - observation.spo2 within parameters.recent\n",
            "    - observation.spo2 within parameters.recent\n"
            "    - all: [finding.myocarditis, observation.spo2.previous > 120 %]\n",
        ),
    )
    assert [s.split(" ", 2)[:2] for s in said(folder)] == [[f"{LOW}:24:34", "never-true"]]


@pytest.mark.parametrize(
    ("when", "shown"),
    [
        ("observation.spo2.latest < 92 %", "always"),
        ("observation.spo2.latest < 92.5 %", "always"),
        ("observation.spo2.latest < 91 %", ""),
        ("observation.spo2.latest >= 92 %", "never"),
        ("{unknown: diagnosis.myositis}", "never"),
        ("{any: [finding.lung_disease, finding.myocarditis]}", "always"),
        ("{not: finding.lung_disease}", ""),
    ],
)
def test_passages_are_judged_where_their_rule_fires(folder: Path, when: str, shown: str) -> None:
    """A passage that every card has, or none, is told; one that some have is not."""
    edit(folder, LOW, ("    - when: finding.lung_disease\n", f"    - when: {when}\n"))
    codes = [s.split(" ")[1] for s in said(folder)]
    assert codes == ([f"{shown}-shown"] if shown else [])


def test_a_suggestion_that_a_rule_excludes_is_told(folder: Path) -> None:
    """A suggestion for adults, on a card for children, is never made."""
    edit(folder, LOW, ("    - diagnosis.myositis\n", "    - patient.age < 18 a\n"))
    assert said(folder) == [
        f"{LOW}:38:17 never-shown the suggestion `oxygen` is never made: where the rule fires, "
        "its condition cannot be true; correct or remove it"
    ]


@pytest.mark.parametrize(
    ("when", "indicator", "shadowed"),
    [
        # The other card asks for less: it is given in its place.
        ("[diagnosis.myositis, response.improved, finding.lung_disease]", "info", True),
        ("[response.improved, diagnosis.myositis]", "info", True),
        # It is more urgent itself, or fires where the other does not.
        ("[diagnosis.myositis, response.improved, finding.lung_disease]", "warning", False),
        ("[response.improved, finding.lung_disease]", "info", False),
        ("[diagnosis.myositis, {not: response.improved}]", "info", False),
    ],
)
def test_a_card_that_always_gives_way_is_told(
    folder: Path, when: str, indicator: str, shadowed: bool
) -> None:
    """A card is shadowed where a more urgent or earlier one about its problem always fires too."""
    edit(folder, TAPER, ("    - drug.prednisone.current\n", ""))
    text = (folder / TAPER).read_text(encoding="utf-8")
    text = text.replace("id: taper", "id: watch").replace(
        "indicator: info", f"indicator: {indicator}"
    )
    head, card = text.split("when:\n")[0], text[text.index("card:") :]
    (folder / "guidance/watch.yaml").write_text(f"{head}when: {{all: {when}}}\n{card}", "utf-8")
    shutil.copy(folder / "guidance/taper.test.yaml", folder / "guidance/watch.test.yaml")
    told = [
        s for s in said(folder) if " shadowed " in s and s.startswith("guidance/watch.yaml:1:1")
    ]
    assert bool(told) is shadowed


def test_cards_of_other_hooks_shadow_nothing(folder: Path) -> None:
    """A card that is given when an order is signed is not what is given when a chart is opened."""
    text = (folder / TAPER).read_text(encoding="utf-8").replace("id: taper", "id: watch")
    for hooks, shadowed in (("[order-sign]", False), ("[patient-view]", True)):
        written = text.replace("when:\n", f"hooks: {hooks}\nwhen:\n", 1)
        (folder / "guidance/watch.yaml").write_text(written, "utf-8")
        shutil.copy(folder / "guidance/taper.test.yaml", folder / "guidance/watch.test.yaml")
        assert any(" shadowed " in s for s in said(folder)) is shadowed


def test_cards_about_other_problems_shadow_nothing(folder: Path) -> None:
    """Cards about two problems are both given, whatever fires."""
    edit(
        folder,
        TAPER,
        ("    - drug.prednisone.current\n", "    - observation.spo2.latest < 80 %\n"),
    )
    assert not [s for s in said(folder) if "shadowed" in s]


def test_thresholds_of_one_source_that_differ_are_told(folder: Path) -> None:
    """Two rules that compare a fact after one source with two numbers are told at the second."""
    edit(
        folder,
        TAPER,
        ("when:\n", 'parameters:\n  safe: {value: 93, unit: "%", source: guideline-2022}\nwhen:\n'),
        ("    - response.improved\n",
         "    - response.improved\n    - observation.spo2.latest >= parameters.safe\n"),
    )  # fmt: skip
    assert said(folder) == [
        f"{TAPER}:11:3 overlapping-thresholds `observation.spo2.latest` is compared with 93 % "
        f"here and with 92 % at {LOW}:13:3, both after `guideline-2022`: make them equal, or say "
        "by their names or sources that they differ"
    ]


def test_the_same_two_numbers_in_two_rules_are_no_doubt(folder: Path) -> None:
    """A fact has one threshold for one purpose and one for another, and both rules have both."""
    low = '  low: {value: 92, unit: "%", source: guideline-2022}\n'
    safe = '  safe: {value: 96, unit: "%", source: guideline-2022}\n'
    asked = "    - observation.spo2.latest < parameters.low\n"
    both = f"{asked}    - observation.spo2.latest < parameters.safe\n"
    edit(folder, LOW, (low, low + safe), (asked, both))
    edit(
        folder,
        TAPER,
        ("when:\n", f"parameters:\n{low}{safe}when:\n"),
        ("    - response.improved\n", f"    - response.improved\n{both}"),
    )
    assert not [s for s in said(folder) if "overlapping-thresholds" in s]


@pytest.mark.parametrize("number", ["value: 92", "value: 92.0"])
def test_equal_thresholds_are_no_doubt(folder: Path, number: str) -> None:
    """The same number under the same name is what is wanted."""
    edit(
        folder,
        TAPER,
        ("when:\n", f'parameters:\n  low: {{{number}, unit: "%", source: trial-2020}}\nwhen:\n'),
        ("    - response.improved\n",
         "    - response.improved\n    - observation.spo2.latest >= parameters.low\n"),
    )  # fmt: skip
    assert said(folder) == []


def test_what_is_unverified_is_told_once_a_rule(folder: Path) -> None:
    """All numbers and evidence of a rule that nobody verified stand in one warning."""
    edit(
        folder,
        LOW,
        ('low: {value: 92, unit: "%", source: guideline-2022}',
         'low: {value: 92, unit: "%", source: guideline-2022, certainty: unverified}'),
        ("recent: {value: 7, unit: d, source: guideline-2022}",
         "recent: {value: 7, unit: d, certainty: unverified}"),
        ("certainty: low", "certainty: unverified"),
    )  # fmt: skip
    assert said(folder) == [
        f"{LOW}:13:3 unverified nobody verified `low` (92 %), `recent` (7 days) and what rests on "
        "`guideline-2022`: read it in a source, or have it approved"
    ]


def test_a_number_of_the_vocabulary_that_names_no_source_is_told(folder: Path) -> None:
    """A range and a number alike; what is unverified needs none."""
    edit(
        folder,
        MEASURES,
        ("range: {low: 0, high: 52, source: guideline-2022}", "range: {low: 0, high: 52}"),
        ("range: {low: 0, high: 3, source: guideline-2022}",
         "range: {low: 0, high: 3, certainty: unverified}"),
        ("  grace: {value: 7, unit: d, source: guideline-2022}",
         "  statements: {how: {says: somehow}}\n  grace: {value: 7, unit: d}"),
    )  # fmt: skip
    assert said(folder) == [
        f"{MEASURES}:6:5 no-source `range` is said to be verified, and names no source: add "
        "`source`, or `certainty: unverified`",
        f"{MEASURES}:32:16 no-source `how` is said to be verified, and names no source: add "
        "`source`, or `certainty: unverified`",
        f"{MEASURES}:33:3 no-source `grace` is said to be verified, and names no source: add "
        "`source`, or `certainty: unverified`",
    ]


def test_the_review_is_past_on_the_day_after(folder: Path) -> None:
    """A rule may be reviewed on the very day that `review_by` names."""
    assert said(folder, date(2027, 11, 1)) == []
    late = said(folder, date(2027, 11, 2))
    assert [s.split(" ")[1] for s in late] == ["review-past"] * 5
    assert "was to be reviewed by 2027-11-01, 1 days ago: ask rheumatology" in late[0]


def test_a_review_before_the_last_one_is_told(folder: Path) -> None:
    """A next review that lies before the last one is a slip of the pen."""
    edit(folder, TAPER, ("review_by: 2027-11-01", "review_by: 2026-10-01"))
    assert said(folder, date(2026, 9, 1)) == [
        f"{TAPER}:7:1 review-past 2026-10-01 is before the rule was reviewed (2026-11-01): write "
        "the day of the next review"
    ]


def test_drafts_are_not_judged_and_use_what_they_name(folder: Path) -> None:
    """A rule that is not active yet has no warnings of its own; what it names is in use."""
    edit(folder, TAPER, ("status: active", "status: draft"), ("2027-11-01", "2026-11-02"))
    assert said(folder) == []


def test_a_site_decides_its_own_numbers(folder: Path) -> None:
    """A number that the hospital set is not called unverified."""
    assert said(folder, site=BASE / "site") == []


def test_a_parameter_that_only_the_texts_of_other_rules_name_is_used(folder: Path) -> None:
    """A dose stands in one rule that derives a fact, and on the cards of others."""
    edit(
        folder,
        IMPROVED,
        ("parameters:\n", "parameters:\n  dose: {value: 5, unit: mg, source: trial-2020}\n"),
    )
    (told,) = said(folder)
    assert "unused-parameter nothing here uses `parameters.dose`" in told
    edit(folder, LOW, ("at most 80 mg", "at most 80 mg, {response.improved.parameters.dose}"))
    assert said(folder) == []


def test_a_dose_by_weight_that_no_text_has_is_told(folder: Path) -> None:
    """Its numbers count as used by it; the dose itself must stand in a text."""
    edit(folder, LOW, ("at most 80 mg{weight_dose.start}", "at most 80 mg"))
    (told,) = said(folder)
    assert "unused-parameter no text here has `{weight_dose.start}`: write it into one" in told
