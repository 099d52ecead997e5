import shutil
from decimal import Decimal
from pathlib import Path

import pytest

from cds.located import FilesInvalid
from cds.rules.reading import read_ruleset

MINIMAL = Path(__file__).parent / "minimal"
TAPER = "guidance/taper.yaml"


def read(folder: Path, parameters: str, named: str = "parameters.quiet") -> Decimal | None:
    """Read the minimal rules with a card that stays away, as a parameter says; the days."""
    rules = shutil.copytree(MINIMAL, folder / "rules")
    file = rules / TAPER
    text = file.read_text().replace("when:\n", f"parameters:\n  {parameters}\nwhen:\n", 1)
    file.write_text(text.rstrip() + f"\n  quiet_after_override: {named}\n")
    ruleset = read_ruleset(rules)
    (rule,) = ruleset.card_rules
    ruleset.close()
    return rule.card.quiet_days if rule.card else None


def test_a_card_stays_away_for_the_days_of_its_parameter(tmp_path: Path) -> None:
    """The parameter gives the number, so that a site can set its own."""
    assert read(tmp_path, "quiet: {value: 90, unit: d}") == 90


@pytest.mark.parametrize(
    ("parameters", "named", "told"),
    [
        ("quiet: {value: 90, unit: d}", "quiet", "unknown-parameter `quiet` is not"),
        ("quiet: {value: 90, unit: d}", "parameters.quite", "did you mean `quiet`"),
        ("quiet: {value: 3, unit: mo}", "parameters.quiet", "wrong-unit has the unit `mo`"),
        ("quiet: {value: 90}", "parameters.quiet", "wrong-unit has no unit"),
        ("quiet: {value: 0, unit: d}", "parameters.quiet", "bad-number is 0 d"),
        ("quiet: {value: 367, unit: d}", "parameters.quiet", "at most 366 days"),
    ],
)
def test_a_time_that_is_none_is_refused(
    tmp_path: Path, parameters: str, named: str, told: str
) -> None:
    """An unknown parameter, another unit than days, nothing, and more than a year."""
    with pytest.raises(FilesInvalid) as refused:
        read(tmp_path, parameters, named)

    (problem,) = refused.value.problems
    assert told in str(problem)
    assert str(problem).startswith(f"{TAPER}:")
