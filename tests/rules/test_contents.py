import shutil
from pathlib import Path

import pytest

from cds.rules.contents import content_version, read_contents, read_stamps
from cds.rules.reading import read_ruleset

IMPROVED = "criteria/improved.yaml"
TAPER = "guidance/taper.yaml"
VOCABULARY = "vocabulary/vocabulary.yaml"


def test_a_rule_set_bears_the_version_of_its_files(minimal: Path) -> None:
    """So what looks for changes knows whether the rules in service are those of the folder."""
    ruleset = read_ruleset(minimal)
    assert ruleset.version == content_version(minimal, None)
    assert ruleset.contents == read_contents(minimal, None)


def test_the_same_content_has_the_same_version(minimal: Path, tmp_path: Path) -> None:
    """The version depends on what the files hold, not on where or when they were written."""
    copy = shutil.copytree(minimal, tmp_path / "copy")
    assert content_version(copy, None) == content_version(minimal, None)


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        (IMPROVED, "value: 20", "value: 21"),
        (TAPER, "Consider tapering.", "Consider tapering!"),
        ("scope.yaml", "applies_to:", "# who\napplies_to:"),
        (VOCABULARY, "title: Prednisone", "title: Prednisolone"),
    ],
)
def test_the_version_changes_with_any_file(minimal: Path, file: str, old: str, new: str) -> None:
    """Whatever changes in any file, the version changes."""
    before = content_version(minimal, None)
    text = (minimal / file).read_text(encoding="utf-8")
    assert text.count(old) == 1, old
    (minimal / file).write_text(text.replace(old, new), encoding="utf-8")
    assert content_version(minimal, None) != before


def test_the_version_changes_with_a_file_name(minimal: Path) -> None:
    """A rule that moves to another folder is another version."""
    before = content_version(minimal, None)
    (minimal / IMPROVED).rename(minimal / "guidance/improved.yaml")
    assert content_version(minimal, None) != before


def test_files_of_the_tools_that_keep_a_folder_do_not_count(minimal: Path) -> None:
    """A copy that an editor keeps, or a hidden folder that a mount is made of, changes nothing."""
    before = content_version(minimal, None)
    (minimal / ".tools").mkdir()
    (minimal / ".tools" / "a.yaml").write_text("a: 1\n", encoding="utf-8")
    (minimal / "guidance" / ".taper.yaml").write_text("a: 1\n", encoding="utf-8")
    (minimal / "guidance" / "taper.yaml~").write_text("a: 1\n", encoding="utf-8")
    assert content_version(minimal, None) == before


def test_the_files_of_a_site_are_told_from_those_that_are_shipped(
    minimal: Path, tmp_path: Path
) -> None:
    """Each goes by its folder and its path in it, the shipped ones first."""
    site = tmp_path / "hospital"
    site.mkdir()
    (site / "site.yaml").write_text("site: x\n", encoding="utf-8")
    names = list(read_contents(minimal, site))
    assert names == [*read_contents(minimal, None), "site/site.yaml"]
    assert [stamp[0] for stamp in read_stamps(minimal, site)] == names
