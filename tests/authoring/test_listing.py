import json
from datetime import date
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from cds import cli
from cds.authoring.listing import (
    SECTIONS,
    entry_lines,
    list_rules,
    list_vocabulary,
    rule_lines,
    search_entries,
)
from cds.chart.vocabulary import read_vocabulary

RULES = Path(__file__).parents[2] / "rules"
MINIMAL = Path(__file__).parents[1] / "rules" / "minimal"


def run(*arguments: object) -> Result:
    """Run ``cds`` in this process."""
    return CliRunner().invoke(cli.app, [str(a) for a in arguments])


# --- rules ---------------------------------------------------------------------------------------


def test_rules_are_listed_by_folder() -> None:
    """Each with its status, version, what it makes, hooks, review, certainty of its evidence."""
    records, problems = list_rules(MINIMAL)

    assert problems == []
    assert list(rule_lines(records, date(2026, 6, 1))) == [
        "criteria",
        "  improved  active 1.0.0, derives response.improved",
        "      Improved",
        "      patient-view; review due 2027-01-01; evidence: definition",
        "",
        "guidance",
        "  taper  active 1.0.0, info card",
        "      Taper",
        "      patient-view; review due 2027-01-01; evidence: low",
    ]


def test_an_overdue_review_is_marked() -> None:
    """From the day after the one that it was due."""
    records, _ = list_rules(MINIMAL)
    on_the_day = list(rule_lines(records, date(2027, 1, 1)))
    after = list(rule_lines(records, date(2027, 1, 2)))

    assert not any("overdue" in line for line in on_the_day)
    assert sum("review overdue since 2027-01-01" in line for line in after) == 2


def test_the_shipped_rules_fit_on_80_columns() -> None:
    """Long titles and names are broken at spaces."""
    records, problems = list_rules(RULES)

    assert problems == []
    assert max(map(len, rule_lines(records, date(2026, 1, 1)))) <= 80


def test_rules_as_json() -> None:
    """One object a line, with what the file says."""
    result = run("rules", "list", MINIMAL, "--json")
    first, second = map(json.loads, result.stdout.splitlines())

    assert result.exit_code == 0
    assert first == {
        "id": "improved",
        "file": "criteria/improved.yaml",
        "title": "Improved",
        "status": "active",
        "version": "1.0.0",
        "indicator": None,
        "derives": "response.improved",
        "hooks": ["patient-view"],
        "review_by": "2027-01-01",
        "certainties": ["definition"],
    }
    assert (second["indicator"], second["derives"]) == ("info", None)


def test_drafts_are_listed_and_broken_files_named(tmp_path: Path) -> None:
    """The others are listed all the same, and the exit status is 1."""
    (tmp_path / "vocabulary").mkdir()
    text = (MINIMAL / "criteria" / "improved.yaml").read_text()
    (tmp_path / "improved.yaml").write_text(text.replace("status: active", "status: draft"))
    (tmp_path / "broken.yaml").write_text("id: broken\ntitel: Broken\n")
    result = run("rules", "list", tmp_path)

    assert result.exit_code == 1
    assert "  improved  draft 1.0.0, derives response.improved" in result.stdout
    assert f"{tmp_path / 'broken.yaml'}:2:1 unknown-key `titel` is not known" in result.stderr


@pytest.mark.parametrize("command", [("rules", "list"), ("vocabulary", "list", "--rules")])
def test_another_folder_is_refused(command: tuple[str, ...], tmp_path: Path) -> None:
    """A folder without vocabulary holds no rules."""
    result = run(*command, tmp_path)

    assert result.exit_code == 1
    assert result.stderr == (
        f"{tmp_path}: is no rules folder; name the one that holds `vocabulary`\n"
    )


# --- vocabulary ----------------------------------------------------------------------------------


def listed(section: str | None, search: str | None = None) -> list[str]:
    """The lines of the minimal vocabulary."""
    entries = list_vocabulary(read_vocabulary(MINIMAL / "vocabulary", []))
    return list(entry_lines(search_entries(entries, section, search)))


def test_an_observation_has_its_facts_codes_and_unit() -> None:
    """The facts with their kinds and units, the codes with their systems and displays."""
    assert listed("observations", "spo2") == [
        "observations",
        "  spo2",
        "      SpO2",
        "      fact   observation.spo2.latest: number (%)",
        "      fact   observation.spo2.previous: number (%)",
        "      fact   observation.spo2.multiple: number",
        "      fact   observation.spo2.flagged_high: true or false",
        "      fact   observation.spo2: event",
        "      code   local spo2  Oxygen saturation",
        "      unit   %",
    ]


def test_other_entries_have_what_selects_them() -> None:
    """Names of drugs, members of classes and groups, spellings of units."""
    assert listed("drugs")[-1] == "      name   prednisone"
    assert listed("drug_classes")[-1] == "      of     prednisone"
    assert listed("groups")[:3] == [
        "groups",
        "  core_set",
        "      of     measure.strength, measure.activity",
    ]
    assert listed("units") == [
        "units",
        "  score",
        "      unit   {score}",
        "  percent",
        "      unit   %",
    ]


def test_facts_of_no_entry_are_listed_too() -> None:
    """Of the patient, the visits and the treatment."""
    assert "      fact   patient.age: number (a)" in listed("chart")


def test_every_fact_is_listed_once() -> None:
    """In the shipped vocabulary, under the entry that makes it or under the chart."""
    from cds.chart.facts.catalogue import declare

    vocabulary = read_vocabulary(RULES / "vocabulary", [])
    entries = list_vocabulary(vocabulary)
    names = [fact.name for entry in entries for fact in entry.facts]

    assert sorted(names) == sorted(declare(vocabulary))
    assert {entry.section for entry in entries} == set(SECTIONS)
    assert max(map(len, entry_lines(entries))) <= 80


def test_a_recalled_code_is_marked() -> None:
    """It stands under `unverified` in the file."""
    result = run("vocabulary", "list", "observations", "--rules", RULES, "--search", "98979-8")

    told = " ".join(result.stdout.split())
    assert "sq M.predicted by CKD-EPI 2021 (unverified)" in told


@pytest.mark.parametrize("text", ["PREDNISONE", "drug.prednisone.ever", "glucocort", "pred now"])
def test_a_search_finds_ids_titles_facts_codes_and_names(text: str) -> None:
    """Whatever the case; of several words each must be there."""
    assert any(line in ("drugs", "drug_classes") for line in listed(None, text))


def test_a_search_that_finds_nothing_says_so() -> None:
    """With exit status 1, as other tools that search."""
    result = run("vocabulary", "list", "--rules", MINIMAL, "--search", "aspirin")

    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == "nothing says `aspirin`\n"


def test_vocabulary_as_json() -> None:
    """One object a line for each entry."""
    result = run("vocabulary", "list", "diagnoses", "--rules", MINIMAL, "--json")

    assert json.loads(result.stdout) == {
        "section": "diagnoses",
        "id": "myositis",
        "title": "Myositis",
        "facts": [
            {"name": "diagnosis.myositis", "kind": "boolean", "unit": "", "title": "Myositis"},
            *(
                {
                    "name": f"diagnosis.myositis.{name}",
                    "kind": "number",
                    "unit": unit,
                    "title": said,
                }
                for name, unit, said in (
                    ("days", "d", "Myositis, days since its earliest date on record"),
                    ("days_latest", "d", "Myositis, days since its latest date on record"),
                    ("age", "a", "Myositis, age at its earliest date on record"),
                    ("recorded_days", "d", "Myositis, days since it was first recorded"),
                    ("onset_days", "d", "Myositis, days since it began"),
                    ("onset_age", "a", "Myositis, age when it began"),
                )
            ),
            {
                "name": "diagnosis.myositis.confirmed",
                "kind": "boolean",
                "unit": "",
                "title": "Myositis, recorded without doubt",
            },
        ],
        "codes": [
            {"system": "local", "code": "myositis", "display": "Myositis", "unverified": False}
        ],
        "names": [],
        "members": [],
        "unit": "",
        "units": [],
    }


def test_a_mistyped_section_is_refused_with_the_nearest() -> None:
    """And with all of them."""
    result = run("vocabulary", "list", "drug_class")

    assert result.exit_code == 1
    assert result.stderr.startswith("`drug_class` is no section (did you mean `drug_classes`?)")


def test_a_broken_vocabulary_is_listed_as_far_as_it_goes(tmp_path: Path) -> None:
    """What is wrong is said at its place, and the exit status is 1."""
    (tmp_path / "vocabulary").mkdir()
    text = "drugs:\n  x: {title: X, names: [x]}\n  y: {titel: Y}\n"
    (tmp_path / "vocabulary" / "a.yaml").write_text(text)
    result = run("vocabulary", "list", "drugs", "--rules", tmp_path)

    assert result.exit_code == 1
    assert result.stdout.startswith("drugs\n  x\n")
    assert f"{tmp_path / 'vocabulary' / 'a.yaml'}:3:7 unknown-key" in result.stderr
