import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from cds import cli
from cds.authoring.impact import Cohort, Member, NoCohort, NoRules, rules_at

ROOT = Path(__file__).parents[2]
RULES = ROOT / "rules"
EXAMPLES = ROOT / "fhir_examples"
DAY = ("--as-of", "2026-11-16")

# Any JSON object.
Json = dict[str, Any]
Edited = Callable[..., Path]


@pytest.fixture(autouse=True)
def present_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Run every test in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def edited(tmp_path: Path) -> Edited:
    """Copy the shipped rules, with a text in one file replaced."""

    def edit(file: str, was: str, becomes: str, name: str = "new") -> Path:
        folder = tmp_path / name
        if not folder.exists():
            shutil.copytree(RULES, folder)
        path = folder / file
        text = path.read_text(encoding="utf-8")
        assert text.count(was) == 1
        path.write_text(text.replace(was, becomes), encoding="utf-8")
        return folder

    return edit


@pytest.fixture
def stricter(edited: Edited) -> Path:
    """The shipped rules, which ask for an improvement of 30 % in place of 20 %."""
    return edited(
        "criteria/imacs-improvement.yaml", "improvement: {value: 20", "improvement: {value: 30"
    )


def run(*arguments: object) -> Result:
    """Run ``cds rules impact`` in this process."""
    return CliRunner().invoke(cli.app, ["rules", "impact", *map(str, arguments)])


def record(*arguments: object) -> tuple[Result, Json]:
    """Run it with ``--json``; what it wrote."""
    result = run(*arguments, *DAY, "--json", "impact.json")
    told: Json = json.loads(Path("impact.json").read_text(encoding="utf-8"))
    return result, told


def example(name: str) -> Path:
    """The Bundle of an example patient."""
    return EXAMPLES / f"{name}.bundle.json"


def version_of(rule: str) -> str:
    """The version of a shipped rule."""
    (text,) = (file.read_text(encoding="utf-8") for file in RULES.rglob(f"{rule}.yaml"))
    version = re.search(r"^version: (.+)$", text, re.M)
    assert version
    return version[1]


def export(folder: Path, *names: str) -> Path:
    """Write example patients as a FHIR bulk export: a file of lines for each resource type."""
    folder.mkdir()
    by_type: dict[str, list[str]] = {}
    for name in names:
        for entry in json.loads(example(name).read_text(encoding="utf-8"))["entry"]:
            resource = entry["resource"]
            by_type.setdefault(resource["resourceType"], []).append(json.dumps(resource))
    for kind, lines in by_type.items():
        # In turn from either end, so that the lines of one patient do not stand together.
        (folder / f"{kind}.ndjson").write_text("\n".join(lines[::2] + lines[1::2]), "utf-8")
    return folder


# --- gained, lost, changed -----------------------------------------------------------------------


def test_equal_rules_change_nothing() -> None:
    """Between equal sets no card differs, and the status is 0."""
    result, told = record(RULES, RULES, EXAMPLES)

    assert (result.exit_code, result.stderr) == (0, "")
    assert told["patients"] == told["rules"] == []
    assert told["totals"]["affected"] == 0
    assert told["totals"]["applies"] > 20


def test_only_the_cards_that_a_request_is_answered_with_are_compared() -> None:
    """At order-select a rule that fired on a draft selected before gives no card to compare."""
    result, told = record(RULES, RULES, EXAMPLES / "jak-inhibitor-selected.request.json")
    assert result.exit_code == 0
    assert sorted(told["totals"]["rules"]) == [
        "draft-advised-against",
        "infection-not-known-with-order",
        "jak-inhibitor-ordered-with-risk",
    ]


def test_a_threshold_that_is_raised_takes_a_card_and_gives_another(stricter: Path) -> None:
    """Exactly 20 % no longer improves: one card is lost, and that of the same problem gained."""
    result, told = record(RULES, stricter, example("exactly-on-the-thresholds"))
    (patient,) = told["patients"]

    assert result.exit_code == 0
    assert [(c["rule"], c["kind"]) for c in patient["changes"]] == [
        ("response-improved", "lost"),
        ("escalate-inadequate-response", "gained"),
    ]
    assert patient["changes"][0]["old"]["summary"].startswith("Improved")
    assert patient["changes"][1]["old"] is None
    assert told["totals"]["exchanged"] == [
        {"old": "response-improved", "new": "escalate-inadequate-response", "patients": 1}
    ]


@pytest.mark.parametrize(
    ("was", "becomes", "part"),
    [
        ("indicator: info", "indicator: warning", "indicator"),
        ('summary: "Improved since', 'summary: "Better since', "summary"),
        ("show: [measures, response.tis.score]", "show: []", "detail"),
        (
            "override_reasons: [data-wrong, not-appropriate]",
            "override_reasons: []",
            "override reasons",
        ),
    ],
)
def test_the_part_that_changed_is_named(edited: Edited, was: str, becomes: str, part: str) -> None:
    """A card that both sets give is compared part by part."""
    new = edited("guidance/response/response-improved.yaml", was, becomes)
    _, told = record(RULES, new, example("improved-at-six-months"))
    ((change,),) = (patient["changes"] for patient in told["patients"])
    assert (change["rule"], change["kind"], change["parts"]) == (
        "response-improved",
        "changed",
        [part],
    )


def test_a_changed_suggestion_is_a_change(edited: Edited) -> None:
    """What a suggestion would create counts as a part of the card."""
    new = edited(
        "suggestions.yaml",
        "intravenously once a day for {",
        "intravenously every other day for {",
    )
    _, told = record(RULES, new, example("rp-ild-mda5"))
    ((change,),) = (patient["changes"] for patient in told["patients"])
    assert change["parts"] == ["suggestions"]
    assert told["files"] == {"suggestions.yaml": "changed"}


def test_a_new_version_alone_changes_no_card(edited: Edited) -> None:
    """The identifiers of cards follow the version of their rule, and are no change of a card."""
    file, version = "guidance/response/response-improved.yaml", version_of("response-improved")
    new = edited(file, f"version: {version}", "version: 99.0.0")
    _, told = record(RULES, new, example("improved-at-six-months"))
    assert told["patients"] == []
    assert [(r["old_version"], r["new_version"]) for r in told["rules"]] == [(version, "99.0.0")]


def test_a_rule_in_one_set_only_is_named(edited: Edited) -> None:
    """A rule that is retired is only in the old set, and its cards are lost."""
    new = edited("guidance/response/response-improved.yaml", "status: active", "status: retired")
    result, told = record(RULES, new, EXAMPLES)
    (change,) = told["rules"]
    tally = told["totals"]["rules"]["response-improved"]

    assert (change["rule"], change["new_version"]) == ("response-improved", None)
    assert tally["new"] == 0
    assert len(tally["lost"]) == tally["old"] > 0
    version = version_of("response-improved")
    assert f"response-improved {version}: only in the old set" in result.stdout


# --- cohorts -------------------------------------------------------------------------------------

NAMES = ("exactly-on-the-thresholds", "improved-at-six-months", "rp-ild-mda5", "no-myositis")


def test_a_bulk_export_gives_the_cards_of_the_same_bundles(stricter: Path, tmp_path: Path) -> None:
    """Lines of several files by type are put together by patient, Medications included."""
    folder = export(tmp_path / "export", *NAMES)
    _, of_export = record(RULES, stricter, folder)
    _, of_bundles = record(RULES, stricter, *map(example, NAMES))

    def cards(told: Json) -> list[tuple[str, list[Json]]]:
        return sorted((p["patient"], p["changes"]) for p in told["patients"])

    assert cards(of_export) == cards(of_bundles)
    for count in ("patients", "compared", "applies", "affected"):
        assert of_export["totals"][count] == of_bundles["totals"][count]


def test_each_line_may_be_a_bundle(stricter: Path) -> None:
    """An NDJSON file may have a patient's Bundle, or request, on each line."""
    texts = [example(NAMES[0]), EXAMPLES / f"{NAMES[0]}.request.json"]
    lines = [json.dumps(json.loads(path.read_text(encoding="utf-8"))) for path in texts]
    Path("all.ndjson").write_text("\n".join([*lines, ""]), encoding="utf-8")
    _, told = record(RULES, stricter, "all.ndjson")

    assert [p["place"] for p in told["patients"]] == ["all.ndjson:1", "all.ndjson:2"]
    assert told["patients"][0]["changes"] == told["patients"][1]["changes"]
    assert told["totals"]["again"] == 1


def test_the_cohort_is_read_one_patient_at_a_time(tmp_path: Path) -> None:
    """Nothing is read before it is asked for, and a patient's lines come with its Medications."""
    folder = export(tmp_path / "export", *NAMES)
    cohort = Cohort([folder])
    assert len(cohort) == len(NAMES)
    first, second = (member for member, _ in zip(cohort, range(2), strict=False))
    cohort.close()

    def patients(member: Member) -> set[str]:
        return {
            entry["resource"]["id"]
            for entry in json.loads(member.content)["entry"]
            if entry["resource"]["resourceType"] == "Patient"
        }

    assert (first.number, second.number) == (1, 2)
    assert len(patients(first)) == len(patients(second)) == 1
    assert patients(first) != patients(second)


def test_medications_that_orders_name_are_put_with_them(tmp_path: Path) -> None:
    """A Medication has no subject: it goes with every patient whose orders name it."""
    folder = tmp_path / "export"
    folder.mkdir()
    orders = [
        {
            "resourceType": "MedicationRequest",
            "id": f"order-{patient}",
            "subject": {"reference": f"Patient/{patient}"},
            "medicationReference": {"reference": "Medication/shared"},
        }
        for patient in ("a", "b")
    ]
    (folder / "MedicationRequest.ndjson").write_text("\n".join(map(json.dumps, orders)), "utf-8")
    (folder / "Medication.ndjson").write_text(
        '{"resourceType": "Medication", "id": "shared"}\n{"resourceType": "Medication", "id": "x"}',
        "utf-8",
    )
    cohort = Cohort([folder])
    held = [
        sorted(entry["resource"]["id"] for entry in json.loads(member.content)["entry"])
        for member in cohort
    ]
    cohort.close()
    assert held == [["order-a", "shared"], ["order-b", "shared"]]


def test_what_is_no_patient_is_counted_as_left_aside(tmp_path: Path) -> None:
    """Other JSON of a folder, and lines of other types, are named with their number."""
    folder = export(tmp_path / "export", NAMES[0])
    (folder / "Encounter.ndjson").write_text('{"resourceType": "Encounter"}\n' * 2, "utf-8")
    (folder / "manifest.json").write_text('{"output": []}', "utf-8")
    cohort = Cohort([folder])
    cohort.close()
    assert cohort.aside == {
        "lines of type Encounter": 2,
        "JSON files that are neither FHIR nor CDS Hooks requests": 1,
    }


def test_a_cohort_without_patients_is_refused(tmp_path: Path) -> None:
    """A path that is not there, or holds nothing, is a mistake and no cohort of nobody."""
    (tmp_path / "empty").mkdir()
    with pytest.raises(NoCohort, match="there is no such file or folder"):
        Cohort([tmp_path / "nothing"])
    with pytest.raises(NoCohort, match="holds no Bundle"):
        Cohort([tmp_path / "empty"])


# --- faults --------------------------------------------------------------------------------------


def test_a_patient_who_cannot_be_read_is_listed_and_the_rest_compared(stricter: Path) -> None:
    """A broken file is named on stderr and in both reports, and the status is 1."""
    Path("cohort").mkdir()
    shutil.copy(example(NAMES[0]), "cohort/b.json")
    Path("cohort/a.json").write_text('{"resourceType": "Bundle",', encoding="utf-8")
    result, told = record(RULES, stricter, "cohort", "--markdown", "impact.md")
    broken, whole = told["patients"]

    assert result.exit_code == 1
    assert result.stderr.startswith("cohort/a.json:1:27: ends too early")
    assert (broken["number"], broken["faults"][0]["side"]) == (1, "both")
    assert len(whole["changes"]) == 2
    assert (told["totals"]["patients"], told["totals"]["compared"]) == (2, 1)
    assert "| 1 | both | could not be read |" in Path("impact.md").read_text(encoding="utf-8")


def test_a_line_that_cannot_be_read_is_listed(stricter: Path, tmp_path: Path) -> None:
    """A line of an export that is no JSON, or nobody's, is a fault with its file and line."""
    folder = export(tmp_path / "export", NAMES[0])
    with (folder / "Observation.ndjson").open("a", encoding="utf-8") as file:
        file.write('\n{"resourceType": "Observation", "id": "x"}\n{oops')
    result, told = record(RULES, stricter, folder)
    lines = (folder / "Observation.ndjson").read_text(encoding="utf-8").count("\n") + 1

    assert result.exit_code == 1
    assert f"Observation.ndjson:{lines}: cannot be told whose it is" in result.stderr
    assert f"Observation.ndjson:{lines - 1}: is of type Observation and names no" in result.stderr
    assert told["totals"]["faults"] == 2
    assert told["totals"]["affected"] == 1


def test_a_patient_of_whom_nobody_can_say_whether_rules_apply_is_a_fault(stricter: Path) -> None:
    """Where Conditions lack, no cards would be a reassurance that nobody can give."""
    alone = {
        "resourceType": "Observation",
        "id": "o",
        "status": "final",
        "code": {"text": "CK"},
        "subject": {"reference": "Patient/1"},
    }
    Path("alone.json").write_text(json.dumps(alone), encoding="utf-8")
    result, told = record(RULES, stricter, "alone.json")
    assert result.exit_code == 1
    assert told["patients"][0]["faults"][0]["reason"] == "whether the rules apply is not known"


def test_rules_that_cannot_be_read_are_refused(edited: Edited) -> None:
    """A mistake in either set ends with status 1 and its place in the file."""
    new = edited("criteria/imacs-improvement.yaml", "at_most: 2", "at_mots: 2")
    result = run(RULES, new, EXAMPLES)
    assert result.exit_code == 1
    assert re.search(r"imacs-improvement\.yaml:\d+:\d+ bad-condition", result.stderr)


# --- the report ----------------------------------------------------------------------------------


def test_the_report_names_no_patient(edited: Edited) -> None:
    """The Markdown has numbers for patients, and neither ids, files, references nor dates."""
    new = edited(
        "criteria/confirmed-deterioration.yaml",
        "any_measure: {value: 30",
        "any_measure: {value: 40",
    )
    new = edited(
        "guidance/escalation/escalate-inadequate-response.yaml",
        "    - treatment.inadequate_response",
        "    - treatment.inadequate_response\n    - assessment.current within 3650 d",
    )
    text = example("worsened").read_text(encoding="utf-8")
    Path("q7q7.json").write_text(text.replace("worsened", "z9z9"), encoding="utf-8")
    result, told = record(RULES, new, "q7q7.json", EXAMPLES, "--markdown", "impact.md")
    report = Path("impact.md").read_text(encoding="utf-8")
    examples = report.partition("## Examples")[2]

    assert result.exit_code == 0
    assert told["totals"]["affected"] > 0
    assert "```diff" in examples
    assert all(patient["place"] not in report for patient in told["patients"])
    assert "z9z9" in json.dumps(told)
    assert "z9z9" not in report
    assert not re.search(r"\d{4}-\d{2}-\d{2}", examples)
    assert not re.search(r"(Observation|Condition|Patient|Medication\w*)/(?!\d+\b)", examples)
    assert "[day " in examples


def test_the_report_says_what_changed_in_the_rules(edited: Edited) -> None:
    """Versions, parameters old and new, and the condition as a diff."""
    file = "criteria/imacs-improvement.yaml"
    new = edited(file, "improvement: {value: 20", "improvement: {value: 30")
    edited(file, "at_most: 2", "at_most: 1")
    run(RULES, new, EXAMPLES, *DAY, "--markdown", "impact.md")
    report = Path("impact.md").read_text(encoding="utf-8").replace("\u202f", " ")

    assert "| imacs-improvement | 1.1.0 (version not raised) | parameters, condition |" in report
    assert "| improvement | 20 % (rider-2004, verified) | 30 % (rider-2004, verified) |" in report
    assert "\n-- at_most: 2\n" in report
    assert "\n+- at_most: 1\n" in report


def test_counts_and_rates_are_of_the_patients_whom_the_rules_apply_to(stricter: Path) -> None:
    """A patient without myositis counts in the cohort, and not in the rates."""
    result = run(RULES, stricter, *map(example, NAMES), *DAY, "--markdown", "impact.md")
    report = Path("impact.md").read_text(encoding="utf-8")

    assert "4 patients in the cohort" in " ".join(result.stdout.split())
    assert "Rates are of the 3 patients whom the rules apply to." in report
    assert "| response-improved | 2 (66.7 %) | 1 (33.3 %) | 0 (0.0 %) | 1 (33.3 %) |" in report


def test_the_text_fits_a_terminal(stricter: Path) -> None:
    """What is printed is at most 80 columns wide, but for paths that cannot be broken."""
    result = run(RULES, stricter, EXAMPLES, *DAY)
    wide = [line for line in result.stdout.splitlines() if len(line) > 80]
    assert all(str(ROOT) in line or str(stricter) in line for line in wide)


# --- revisions -----------------------------------------------------------------------------------


def git(*arguments: str) -> None:
    """Run git in the present folder, without the settings of this machine's user."""
    subprocess.run(
        ["git", "-c", "user.name=a", "-c", "user.email=a@example.org", *arguments],
        check=True,
        capture_output=True,
    )


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository whose first commit has the shipped rules, in `rules` and in `deep/rules`."""
    shutil.copytree(RULES, tmp_path / "rules")
    shutil.copytree(RULES, tmp_path / "deep" / "rules")
    git("init", "-q")
    git("add", "-A")
    git("commit", "-q", "-m", "rules")
    return tmp_path


def test_a_revision_is_compared_with_the_folder(repository: Path, edited: Edited) -> None:
    """A revision of the repository stands for its rules then, whatever the folder has become."""
    edited(
        "criteria/imacs-improvement.yaml",
        "improvement: {value: 20",
        "improvement: {value: 30",
        name="rules",
    )
    for revision in ("HEAD", "HEAD:deep/rules"):
        _, told = record(revision, "rules", example(NAMES[0]))
        assert told["old"]["name"].startswith(f"HEAD:{revision[5:] or 'rules'} (")
        assert told["totals"]["affected"] == 1


def test_a_revision_may_be_named_from_a_folder_inside(
    repository: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Paths of revisions are those of the repository, wherever in it the reader stands."""
    monkeypatch.chdir(repository / "deep")
    folder, _ = rules_at("HEAD:rules", tmp_path / "into")
    assert (folder / "vocabulary").is_dir()
    assert (folder / "scope.yaml").read_bytes() == (RULES / "scope.yaml").read_bytes()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("nothing", "is neither a folder nor a revision of this repository"),
        ("--all", "is neither a folder nor a revision of this repository"),
        ("HEAD:nowhere", "has no folder `nowhere`"),
    ],
)
def test_what_is_no_revision_is_refused(repository: Path, text: str, said: str) -> None:
    """The text says what is wrong, and what to write instead."""
    with pytest.raises(NoRules, match=said):
        rules_at(text, repository / "into")


def test_outside_of_a_repository_only_folders_are_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where there is no repository the complaint says so."""
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    with pytest.raises(NoRules, match="no git revision can be read here"):
        rules_at("HEAD", tmp_path / "into")
