import json
import os
import re
import subprocess
import sys
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from cds import cli
from cds.fhir.strict import Fault, NotValid
from cds.rules.engine import EngineFault
from cds.rules.ruleset import EnginesDisagree
from cds.settings import Settings

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "fhir_examples"
MET = EXAMPLES / "improved-at-six-months.bundle.json"
MESS = EXAMPLES / "real-world-mess.bundle.json"
CRITICAL = EXAMPLES / "rp-ild-mda5.request.json"
DAY = ("--as-of", "2026-11-16")

# A line of --json, or any other JSON object.
Json = dict[str, Any]


@pytest.fixture(autouse=True)
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Run every test in an empty folder, without settings."""
    monkeypatch.chdir(tmp_path)
    for name in os.environ:
        if name.startswith("CDS_"):
            monkeypatch.delenv(name)
    return tmp_path


def run(*arguments: object, stdin: bytes | None = None) -> Result:
    """Run ``cds`` in this process."""
    return CliRunner().invoke(cli.app, [str(a) for a in arguments], input=stdin)


def run_apart(*arguments: object, **environment: str) -> subprocess.CompletedProcess[bytes]:
    """Run ``cds`` as a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "cds", *map(str, arguments)],
        env=os.environ | {"PYTHONPATH": str(ROOT)} | environment,
        capture_output=True,
        check=False,
    )


def lines(result: Result) -> list[Json]:
    """The lines of --json; each is one object."""
    return [json.loads(line) for line in result.stdout.splitlines()]


def write(name: str, content: str | Json) -> str:
    """Write a file into the present folder."""
    text = content if isinstance(content, str) else json.dumps(content)
    Path(name).write_text(text, encoding="utf-8")
    return name


def bundle(*resources: Json) -> Json:
    """A Bundle of some resources."""
    entries = [{"resource": resource} for resource in resources]
    return {"resourceType": "Bundle", "type": "collection", "entry": entries}


def patient(id_: str) -> Json:
    """A Patient."""
    return {"resourceType": "Patient", "id": id_}


def dermatomyositis(subject: str) -> Json:
    """A Condition that the rules are about."""
    return {
        "resourceType": "Condition",
        "id": "dm",
        "code": {"coding": [{"system": "http://snomed.info/sct", "code": "396230008"}]},
        "subject": {"reference": subject},
    }


# --- evaluate: what it answers -------------------------------------------------------------------


def test_a_bundle_is_answered_with_a_line_of_json() -> None:
    """The line names the file as given, the day, the patient and the response."""
    result = run("evaluate", MET, *DAY, "--json")
    (line,) = lines(result)

    assert (result.exit_code, result.stderr) == (0, "")
    assert line["file"] == str(MET)
    assert (line["as_of"], line["patient"]) == ("2026-11-16", "improved-six-months")
    assert line["response"]["imacs"]["improved"] is True


def test_exactly_twenty_per_cent_counts() -> None:
    """The measures that stand exactly on 20 % make the definition met."""
    result = run("evaluate", EXAMPLES / "exactly-on-the-thresholds.bundle.json", *DAY, "--json")
    (line,) = lines(result)
    percent = {m["id"]: m["improvement_percent"] for m in line["measures"]}

    assert [percent[m] for m in line["response"]["imacs"]["improved_measures"]] == [20, 20, 20]
    assert [percent[m] for m in line["response"]["imacs"]["worsened_measures"]] == [-25, -25]
    assert line["response"]["imacs"]["improved"] is True


def test_a_request_is_answered_like_the_bundle_of_the_same_patient() -> None:
    """A CDS Hooks request gives the same measures and cards as the patient's Bundle."""
    other = EXAMPLES / "rp-ild-mda5.bundle.json"
    of_request, of_bundle = lines(run("evaluate", CRITICAL, other, *DAY, "--json"))

    assert of_request["cards"][0]["indicator"] == "critical"
    for part in ("patient", "measures", "response", "cards"):
        assert of_request[part] == of_bundle[part]


def test_standard_input_is_read() -> None:
    """A dash stands for standard input."""
    (line,) = lines(run("evaluate", "-", *DAY, "--json", stdin=CRITICAL.read_bytes()))
    assert (line["file"], line["patient"]) == ("-", "rp-ild-mda5")


def test_a_byte_order_mark_is_no_obstacle() -> None:
    """Files as some editors save them are read, requests included."""
    Path("marked.json").write_bytes(b"\xef\xbb\xbf" + CRITICAL.read_bytes())
    (line,) = lines(run("evaluate", "marked.json", *DAY, "--json"))
    assert line["patient"] == "rp-ild-mda5"


def test_without_json_a_report_is_printed() -> None:
    """The report of each file stands in the order given, each under the name of its file."""
    result = run("evaluate", MET, CRITICAL, *DAY)

    assert result.exit_code == 0
    assert result.stdout.index(MET.name) < result.stdout.index(CRITICAL.name)
    assert "IMACS definition of improvement: ✓ met" in result.stdout
    assert "!!! CRITICAL" in result.stdout


def test_the_day_is_today_where_none_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without --as-of the patient is judged from the present day of the settings."""
    monkeypatch.setattr(cli, "today", lambda settings: date(2026, 11, 17))
    (line,) = lines(run("evaluate", MET, "--json"))
    assert line["as_of"] == "2026-11-17"


def test_the_day_matters() -> None:
    """Judged from before the second visit, there is nothing to compare with yet."""
    (line,) = lines(run("evaluate", MET, "--as-of", "2026-05-20", "--json"))
    assert line["current_date"] is None
    assert line["response"]["imacs"]["improved"] is None


def test_a_baseline_can_be_named() -> None:
    """--baseline names the visit that is compared with, and a day without a visit gives none."""
    (named,) = lines(run("evaluate", MET, *DAY, "--baseline", "2026-05-13", "--json"))
    (nothing,) = lines(run("evaluate", MET, *DAY, "--baseline", "2020-01-01", "--json"))

    assert named["visits_reason"] == "named by the caller (2026-05-13), the nearest assessment"
    assert named["baseline_date"] == "2026-05-11"
    assert nothing["baseline_date"] is None
    assert nothing["response"]["imacs"]["improved"] is None


@pytest.mark.parametrize("option", ["--as-of", "--baseline"])
def test_a_day_that_is_none_is_refused(option: str) -> None:
    """What is not a day of the calendar is refused before any file is read."""
    result = run("evaluate", MET, option, "2026-02-30")
    assert result.exit_code == 2
    assert "2026-02-30" in result.stderr
    assert result.stdout == ""


@pytest.mark.parametrize("subject", ["Patient/p", "https://x.example/fhir/Patient/p", "urn:uuid:p"])
def test_without_a_patient_the_one_subject_tells_whose_it_is(subject: str) -> None:
    """A search result without the Patient is about the one whom its resources name."""
    file = write("a.json", bundle(dermatomyositis(subject)))
    (line,) = lines(run("evaluate", file, *DAY, "--json"))
    assert (line["patient"], line["applies"]) == ("p", True)


def test_a_bundle_is_the_whole_chart() -> None:
    """What a Bundle does not hold is not recorded: a patient without diagnoses has no myositis."""
    file = write("a.json", bundle(patient("p")))
    (line,) = lines(run("evaluate", file, *DAY, "--json"))
    assert (line["applies"], line["cards"]) == (False, [])


def test_a_single_resource_is_not_the_whole_chart() -> None:
    """Of a Patient alone nobody knows the diagnoses: having no cards is an error, and is told."""
    file = write("a.json", patient("p"))
    result = run("evaluate", file, *DAY, "--json")
    (line,) = lines(result)
    assert (line["patient"], line["applies"]) == ("p", None)
    assert result.stderr.startswith("a.json: Conditions are missing or could not be read")
    assert result.exit_code == 1


# --- evaluate: what it cannot answer -------------------------------------------------------------


UNREADABLE = {
    "truncated": ('{"resourceType": "Bundle",\n "entry": [{"resource"', "a.json:2:23", "too early"),
    "not JSON": ("resourceType: Bundle", "a.json:1:1", "malformed"),
    "empty": ("\n", "a.json", "is empty"),
    "a list": ("[1]", "a.json", "Expected `object`"),
    "nothing known": ("{}", "a.json", "has no resourceType"),
    "deep": ('{"resourceType": "Bundle", "x": ' + "[" * 100_000, "a.json", "too deeply"),
    "another resource": (
        '{"resourceType": "Practitioner", "id": "x"}',
        "Practitioner/x",
        "is not used by this service",
    ),
    "nobody's": (json.dumps(bundle()), "a.json", "holds no Patient with an id, and no subject"),
    "two patients": (
        json.dumps(bundle(patient("q"), patient("p"))),
        "a.json",
        "holds several patients (Patient/p, Patient/q)",
    ),
    "two subjects": (
        json.dumps(bundle(dermatomyositis("Patient/q"), dermatomyositis("Patient/p"))),
        "a.json",
        "holds several patients (Patient/p, Patient/q)",
    ),
    "somebody else's": (
        json.dumps(bundle(patient("p"), dermatomyositis("Patient/q"))),
        "a.json",
        "is about Patient/p, but every Condition in it is about somebody else",
    ),
    "request without instance": (
        '{"hook": "patient-view", "context": {"userId": "a", "patientId": "b"}}',
        "a.json",
        "hookInstance",
    ),
    "other hook": (
        json.dumps(json.loads(CRITICAL.read_bytes()) | {"hook": "encounter-start"}),
        "a.json",
        "patient-view",
    ),
}


@pytest.mark.parametrize("content, place, problem", UNREADABLE.values(), ids=UNREADABLE)
def test_a_file_that_cannot_be_read_is_named_with_place_and_problem(
    content: str, place: str, problem: str
) -> None:
    """On stderr and in the JSON line stand the file, the place and the problem; status 1."""
    write("a.json", content)
    result = run("evaluate", "a.json", *DAY, "--json")
    (line,) = lines(result)

    assert result.exit_code == 1
    assert line["file"] == "a.json"
    assert set(line) == {"file", "error"}
    assert line["error"]["place"] == place
    assert problem in line["error"]["problem"]
    within = place if place.startswith("a.json") else f"a.json: {place}"
    assert result.stderr == f"{within}: {line['error']['problem']}\n"


@pytest.mark.parametrize("file", ["missing.json", "."])
def test_a_file_that_is_not_there_is_named(file: str) -> None:
    """A missing file, and a folder in place of one, are errors of that file."""
    result = run("evaluate", file, *DAY, "--json")
    (line,) = lines(result)
    assert result.exit_code == 1
    assert (line["file"], line["error"]["place"]) == (file, file)
    assert line["error"]["problem"].startswith("cannot be read: ")


def test_good_and_bad_files_keep_their_order() -> None:
    """Each file has its line, in the order given, whatever became of those before it."""
    write("broken.json", '{"resourceType": ')
    files = [str(MET), "broken.json", str(CRITICAL), "missing.json", str(MET)]
    result = run("evaluate", *files, *DAY, "--json")

    told = lines(result)
    assert result.exit_code == 1
    assert [line["file"] for line in told] == files
    assert ["error" in line for line in told] == [False, True, False, True, False]
    assert [line.split(": ")[0] for line in result.stderr.splitlines()] == [
        "broken.json:1:18",
        "missing.json",
    ]


def test_a_bad_file_spoils_no_report() -> None:
    """Without --json, too, the other files are reported and the exit status is 1."""
    result = run("evaluate", "missing.json", MET, *DAY)
    assert result.exit_code == 1
    assert "IMACS definition of improvement: ✓ met" in result.stdout
    assert "missing.json: cannot be read" in result.stderr
    assert "missing.json" not in result.stdout


@pytest.mark.parametrize("failed", [None, {"resourceType": "OperationOutcome", "issue": []}])
def test_a_request_that_lacks_something_names_the_key(failed: Json | None) -> None:
    """A prefetch key that is missing, or failed at the client, is named, and nothing is advised."""
    request = json.loads(CRITICAL.read_bytes())
    del request["prefetch"]["conditions"]
    if failed:
        request["prefetch"]["conditions"] = failed
    result = run("evaluate", write("a.json", request), *DAY, "--json")
    (line,) = lines(result)

    assert result.exit_code == 1
    assert "`prefetch.conditions`" in line["error"]["problem"]
    assert "laboratory" not in line["error"]["problem"]


def test_a_request_about_one_patient_with_the_data_of_another_is_refused() -> None:
    """Where all Conditions sent along are somebody else's, nothing is advised."""
    request = json.loads(CRITICAL.read_bytes())
    for entry in request["prefetch"]["conditions"]["entry"]:
        entry["resource"]["subject"]["reference"] = "Patient/another"
    (line,) = lines(run("evaluate", write("a.json", request), *DAY, "--json"))
    problem = line["error"]["problem"]
    assert "`prefetch.conditions` is about another patient" in problem
    assert "nothing of it was used" in problem


@pytest.mark.parametrize(
    "fault",
    [
        EngineFault("the engine gave no answer"),
        EnginesDisagree(["a-rule"]),
        NotValid([Fault("MedicationRequest.status", "field required")]),
    ],
)
def test_a_fault_of_the_rules_is_an_error_and_not_an_answer(
    fault: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where no answer can be trusted there is none, and the fault is told."""

    def fail(*arguments: object, **options: object) -> None:
        raise fault

    monkeypatch.setattr(cli, "advise_on", fail)
    result = run("evaluate", MET, *DAY, "--json")
    (line,) = lines(result)

    assert result.exit_code == 1
    assert line["error"]["problem"] == f"no answer can be trusted: {fault}"
    assert "cards" not in line


def test_names_that_are_no_text_are_told_in_numbers() -> None:
    """A file name of bytes that are not UTF-8 still gives a line of valid JSON."""
    result = run("evaluate", os.fsdecode(b"caf\xe9.json"), "--json")
    (line,) = lines(result)
    assert (result.exit_code, line["file"]) == (1, "caf\\xe9.json")


def test_what_a_file_says_cannot_steer_the_terminal() -> None:
    """Escape sequences in what an error cites are shown, not sent."""
    file = write("a.json", bundle(patient("p"), patient("q\x1b[2J")))
    result = run("evaluate", file, *DAY)
    assert "\x1b" not in result.stderr
    assert "Patient/q\N{REPLACEMENT CHARACTER}[2J" in result.stderr


# --- evaluate --strict ---------------------------------------------------------------------------


def test_strict_lets_valid_files_pass() -> None:
    """A valid Bundle and a valid request are answered as without --strict."""
    strict = run("evaluate", MET, CRITICAL, *DAY, "--json", "--strict")
    assert strict.exit_code == 0
    assert strict.stdout == run("evaluate", MET, CRITICAL, *DAY, "--json").stdout


def test_strict_names_every_fault_by_its_path() -> None:
    """A file that is not valid is not evaluated; each fault is told with its FHIR path."""
    invalid = {"resourceType": "Observation", "id": "o", "status": 5, "subject": {}}
    file = write("a.json", bundle(patient("p"), invalid))
    result = run("evaluate", file, str(MET), *DAY, "--json", "--strict")
    line, other = lines(result)

    assert result.exit_code == 1
    assert set(line) == {"file", "faults"}
    assert [fault["path"] for fault in line["faults"]] == [
        "Bundle.entry[1].resource.code",
        "Bundle.entry[1].resource.status",
    ]
    assert result.stderr.splitlines() == [
        f"a.json: {fault['path']}: {fault['problem']}" for fault in line["faults"]
    ]
    assert other["response"]["imacs"]["improved"] is True


def test_strict_looks_into_requests() -> None:
    """Every resource of the prefetch is validated, and a fault is told with its key."""
    request = json.loads(CRITICAL.read_bytes())
    request["prefetch"]["patient"]["birthDate"] = "yesterday"
    request["prefetch"]["medication_statements"] = None
    file = write("a.json", request)
    (line,) = lines(run("evaluate", file, *DAY, "--json", "--strict"))
    assert [fault["path"] for fault in line["faults"]] == ["prefetch.patient.birthDate"]


def test_strict_finds_the_fault_that_lenient_reading_lists() -> None:
    """The one invalid entry of the untidy example is a fault when strict, else an exclusion."""
    (strict,) = lines(run("evaluate", MESS, *DAY, "--json", "--strict"))
    (lenient,) = lines(run("evaluate", MESS, *DAY, "--json"))
    assert len(strict["faults"]) == 1
    assert any("FancyDeviceReport" in item["reference"] for item in lenient["excluded"])


def test_strict_places_what_is_no_json_like_lenient_reading() -> None:
    """Truncated JSON has a line and a column with --strict too."""
    file = write("a.json", '{"resourceType": "Bundle",\n"entry": [')
    (line,) = lines(run("evaluate", file, *DAY, "--json", "--strict"))
    assert line["error"]["place"] == "a.json:2:11"


# --- as a process --------------------------------------------------------------------------------


def test_only_answers_are_on_stdout() -> None:
    """What the reading of requests logs does not come between the lines of JSON."""
    request = json.loads(CRITICAL.read_bytes())
    request["context"]["patientId"] = "Patient/" + request["context"]["patientId"]
    answer = run_apart("evaluate", write("a.json", request), *DAY, "--json")
    (line,) = answer.stdout.splitlines()
    assert json.loads(line)["patient"] == "rp-ild-mda5"
    assert (answer.returncode, answer.stderr) == (0, b"")


def test_a_terminal_that_lacks_a_character_shows_its_number() -> None:
    """Where stdout is ASCII the report is printed all the same, and no sign becomes another."""
    answer = run_apart("evaluate", MET, *DAY, PYTHONIOENCODING="ascii")
    assert (answer.returncode, answer.stderr) == (0, b"")
    assert b"\\u2713 met" in answer.stdout


def test_json_is_utf_8_everywhere() -> None:
    """The lines of JSON are UTF-8 whatever the terminal is."""
    answer = run_apart("evaluate", MET, *DAY, "--json", PYTHONIOENCODING="ascii")
    assert "≥" in answer.stdout.decode("utf-8")


# --- settings and rules --------------------------------------------------------------------------


def copy_of_rules(folder: str, **changes: tuple[str, str]) -> Path:
    """Copy the rules into a folder; each change is a rule file's name, a text, and another."""
    for file in (ROOT / "rules").rglob("*.yaml"):
        target = Path(folder) / file.relative_to(ROOT / "rules")
        target.parent.mkdir(parents=True, exist_ok=True)
        text = file.read_text(encoding="utf-8")
        before, after = changes.get(file.stem.replace("-", "_"), ("", ""))
        assert before in text
        target.write_text(text.replace(before, after) if before else text, encoding="utf-8")
    return Path(folder)


BROKEN = {"imacs_improvement": ("improvement >= parameters.", "improvment >= parameters.")}


@pytest.mark.parametrize("arguments", [("evaluate", str(MET)), ("rules", "check"), ("serve",)])
def test_settings_that_cannot_be_used_are_told(
    arguments: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every problem of the settings is printed as it is, with status 1 and no traceback."""
    monkeypatch.setenv("CDS_RULES", "nowhere")
    monkeypatch.setenv("CDS_PORT", "many")
    result = run(*arguments)
    assert result.exit_code == 1
    assert result.stderr.startswith("The settings cannot be used:\n  - CDS_RULES is 'nowhere'")
    assert "CDS_PORT is 'many'" in result.stderr
    assert isinstance(result.exception, SystemExit)


def test_rules_in_order_are_counted() -> None:
    """The rules that travel with the package have no errors, and their number is told."""
    result = run("rules", "check")
    assert (result.exit_code, result.stderr) == (0, "")
    assert re.search(r"^[1-9]\d* rules read from .*rules: no errors", result.stdout, re.MULTILINE)


def test_problems_of_rules_are_told_where_they_can_be_opened() -> None:
    """Each problem stands as file:line:column CODE message, from the present folder; status 1."""
    copy_of_rules("mine", **BROKEN)
    result = run("rules", "check", "mine")

    first, *_ = result.stdout.splitlines()
    place, code, message = first.split(" ", 2)
    file, line, column = place.rsplit(":", 2)
    assert "improvment" in Path(file).read_text(encoding="utf-8").splitlines()[int(line) - 1]
    assert int(column) >= 1
    assert file == str(Path("mine/criteria/imacs-improvement.yaml"))
    assert re.fullmatch(r"[a-z-]+", code)
    assert "improvment" in message
    assert result.exit_code == 1
    assert re.search(r"\d+ errors? in mine", result.stderr)


def test_problems_of_rules_elsewhere_are_told_with_the_whole_path(tmp_path: Path) -> None:
    """From another folder the path is absolute, so that it can be opened from anywhere."""
    copy_of_rules("mine", **BROKEN)
    (tmp_path / "work").mkdir()
    os.chdir(tmp_path / "work")
    result = run("rules", "check", tmp_path / "mine")
    assert result.stdout.startswith(f"{tmp_path}/mine/criteria/imacs-improvement.yaml:")


@pytest.mark.parametrize("path, said", [("nowhere", "is not a folder"), (".", "no-vocabulary")])
def test_a_folder_that_holds_no_rules_is_refused(path: str, said: str) -> None:
    """What is no folder, or has no vocabulary, is no success with nothing to check."""
    result = run("rules", "check", path)
    assert result.exit_code == 1
    assert said in result.output


SITE = EXAMPLES / "site"


def test_rules_are_checked_with_a_site(monkeypatch: pytest.MonkeyPatch) -> None:
    """The site that --site or CDS_SITE names is checked with the rules; --site counts first."""
    write("site.yaml", "site: Mine\noff: {pulse-for-myocarditi: x}\n")
    given = run("rules", "check", "--site", ".")
    assert given.exit_code == 1
    assert given.stdout.startswith(
        "site.yaml:2:7 unknown-rule `pulse-for-myocarditi` is no shipped"
    )
    monkeypatch.setenv("CDS_SITE", str(Path.cwd()))
    assert run("rules", "check").stdout == given.stdout
    assert run("rules", "check", "--site", SITE).exit_code == 0


@pytest.mark.parametrize("name, said", [("nowhere", "is not a folder"), (".", "no-site")])
def test_a_folder_that_is_no_site_is_refused(name: str, said: str) -> None:
    """Neither check nor evaluation goes on without the changes that were asked for."""
    for command in (("rules", "check"), ("evaluate", MET)):
        result = run(*command, "--site", name)
        assert result.exit_code == 1
        assert said in result.output


def test_patients_are_evaluated_with_a_site() -> None:
    """A patient in the hospital's own codes has a card of the site's own rule."""
    patient_file = SITE / "local-codes.bundle.json"
    (without,) = lines(run("evaluate", patient_file, "--json", *DAY))
    (with_site,) = lines(run("evaluate", patient_file, "--json", *DAY, "--site", SITE))
    assert without["cards"] == []
    said = [card["summary"].split(":")[0] for card in with_site["cards"]]
    assert said[0] == "Improved since 2026-05-11"
    assert "Myositis registry" in said


def test_rules_are_tested_with_a_site() -> None:
    """The site's own cases are run, and the boundary of the threshold that it has set."""
    result = run("rules", "test", "--site", SITE, "--coverage", 100)
    assert (result.exit_code, result.stderr) == (0, "")
    assert "5 cases" in result.stdout


def test_rules_and_vocabulary_are_listed_with_a_site() -> None:
    """The list says what the site does with a rule; its codes stand under their entries."""
    listed = run("rules", "list", "--site", SITE).stdout
    assert "site: switched off: First-line treatment follows the order sets" in listed
    assert "site: changed: adequate_trial 112 d" in listed
    assert "site: a rule of Example University Hospital" in listed
    entries = run("vocabulary", "list", "--site", SITE, "--search", "30401").stdout
    assert "flowsheet 30401  MD global VAS" in entries


def test_codes_that_nothing_maps_are_listed() -> None:
    """As a text, or as one JSON object; with the site nothing is left but a name."""
    patient_file = SITE / "local-codes.bundle.json"
    result = run("vocabulary", "coverage", patient_file)
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.startswith("Observations: 0 of 13 mapped by code; 7 different codes")
    (found,) = lines(run("vocabulary", "coverage", patient_file, "--json", "--site", SITE))
    assert [each["counted_as"] for each in found["unmapped"]] == ["drugs.methotrexate"]


def test_coverage_names_a_file_that_cannot_be_read_and_goes_on() -> None:
    """The other files are counted; status 1."""
    result = run("vocabulary", "coverage", write("broken.json", "{"), CRITICAL)
    assert result.exit_code == 1
    assert result.stderr.startswith("broken.json")
    assert re.search(r"^Observations: [1-9]", result.stdout, re.MULTILINE)


def test_a_query_that_is_too_long_is_a_problem_of_the_rules() -> None:
    """What would keep the service from starting is found when the rules are checked."""
    long = "&_x=" + "y" * 2000
    copy_of_rules("mine", prefetch=("&code={codes}&_sort=-date", "&code={codes}" + long))
    result = run("rules", "check", "mine")
    assert result.exit_code == 1
    assert "query-too-long" in result.stdout


def test_a_draft_that_is_not_fhir_is_a_problem_of_the_rules() -> None:
    """A suggestion that could not be sent is found when the rules are checked."""
    copy_of_rules("mine", suggestions=("intent: proposal", "intent: 5"))
    result = run("rules", "check", "mine")
    assert result.exit_code == 1
    assert str(Path("mine/suggestions.yaml")) in result.stdout
    assert "not-fhir" in result.stdout


def test_evaluate_refuses_rules_with_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    """With broken rules no file is answered, and the problems are told at their places."""
    copy_of_rules("mine", **BROKEN)
    monkeypatch.setenv("CDS_RULES", "mine")
    result = run("evaluate", MET, "--json")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith(f"{Path('mine/criteria/imacs-improvement.yaml')}:")


# --- serve, examples, version --------------------------------------------------------------------


def test_serve_takes_settings_from_the_environment_and_options(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """--host and --port stand above CDS_HOST and CDS_PORT; the rest is as in the environment."""
    served: list[Settings] = []
    monkeypatch.setattr("cds.hooks.server.serve", served.append)
    monkeypatch.setenv("CDS_PORT", "8001")
    monkeypatch.setenv("CDS_AUTH", "off")
    run("serve")
    run("serve", "--host", "::1", "--port", "0")
    assert [(s.host, s.port, s.auth) for s in served] == [
        ("127.0.0.1", 8001, "off"),
        ("::1", 0, "off"),
    ]


def test_serve_refuses_what_is_no_port() -> None:
    """A port beyond 65535 is a mistake of use."""
    assert run("serve", "--port", "65536").exit_code == 2


def files_below(folder: Path) -> dict[Path, bytes]:
    """Every file of a folder, by its path there."""
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_examples_are_copied() -> None:
    """The example patients lie in the folder asked for, and a second time changes nothing."""
    first, second = run("examples", "mine"), run("examples", "mine")
    assert files_below(Path("mine")) == files_below(EXAMPLES)
    assert (first.exit_code, second.exit_code) == (0, 0)


def test_examples_go_into_fhir_examples_where_no_folder_is_named() -> None:
    """The folder is called as in the documentation, and the command told next works."""
    result = run("examples")
    assert Path("fhir_examples/rp-ild-mda5.bundle.json").is_file()
    command = re.search(r"cds (evaluate .*)", result.stdout)
    assert command is not None
    assert "CRITICAL" in run(*command[1].split()).stdout


def test_examples_never_overwrite_unasked() -> None:
    """A file that was changed stops the copying before it begins, but for --force."""
    run("examples", "mine")
    changed, missing = Path("mine") / MET.name, Path("mine") / MESS.name
    changed.write_text("mine", encoding="utf-8")
    missing.unlink()

    refused = run("examples", "mine")
    assert refused.exit_code == 1
    assert str(changed) in refused.stderr
    assert changed.read_text(encoding="utf-8") == "mine"
    assert not missing.exists()

    assert run("examples", "mine", "--force").exit_code == 0
    assert changed.read_bytes() == MET.read_bytes()
    assert missing.exists()


def test_examples_cannot_go_where_a_file_is() -> None:
    """A file in the place of the folder is told, without a traceback."""
    write("mine", "")
    result = run("examples", "mine")
    assert result.exit_code == 1
    assert result.stderr.startswith("mine")
    assert isinstance(result.exception, SystemExit)


def test_the_version_is_told() -> None:
    """--version names the command and exits well."""
    result = run("--version")
    assert result.exit_code == 0
    assert result.stdout.startswith("cds")


# --- orders that are being placed ----------------------------------------------------------------

SIGNING = EXAMPLES / "methotrexate-ordered-with-ild.request.json"
ORDERED = "methotrexate-ordered-with-ild"


def test_a_request_about_orders_is_answered_with_the_cards_about_them() -> None:
    """A request is read by its hook; its drafts are in no list of treatment."""
    signing = run("evaluate", SIGNING, *DAY, "--json")
    (line,) = lines(signing)

    assert signing.exit_code == 0
    assert [card["indicator"] for card in line["cards"]] == ["warning"]
    assert "Methotrexate ordered" in line["cards"][0]["summary"]


def test_the_drafts_of_a_bundle_are_no_treatment() -> None:
    """A Bundle is read as when its chart is opened: what is a draft is listed as such."""
    (line,) = lines(run("evaluate", EXAMPLES / f"{ORDERED}.bundle.json", *DAY, "--json"))
    excluded = {each["reference"]: each["reason"] for each in line["excluded"]}

    assert (
        excluded["MedicationRequest/methotrexate-ild-methotrexate-draft"] == "its status is draft"
    )
    assert not any("Methotrexate ordered" in card["summary"] for card in line["cards"])


@pytest.mark.parametrize("kind", ["bundle", "request"])
def test_a_rule_about_orders_is_explained(kind: str) -> None:
    """The drafts of a Bundle count where the rule is one about orders."""
    result = run("rules", "explain", ORDERED, EXAMPLES / f"{ORDERED}.{kind}.json", *DAY, "--json")
    explained = json.loads(result.stdout)

    assert (explained["truth"], explained["card_given"]) == (True, True)


def test_drafts_are_checked_too_where_strictness_is_asked_for() -> None:
    """A draft that is not valid FHIR is named by its place."""
    request = json.loads(SIGNING.read_bytes())
    request["context"]["draftOrders"]["entry"][0]["resource"]["intent"] = 5
    result = run("evaluate", write("a.json", json.dumps(request)), *DAY, "--strict")

    assert result.exit_code == 1
    assert "context.draftOrders" in result.stderr


def test_the_list_of_rules_says_their_hooks() -> None:
    """Who looks for a rule sees when it is asked."""
    result = run("rules", "list", ROOT / "rules")

    assert re.search(rf"{ORDERED} .*?order-select, order-sign", result.stdout, re.DOTALL)


def test_a_change_of_a_rule_about_orders_has_an_impact() -> None:
    """Requests about orders are compared at their hook."""
    changed = ("indicator: warning", "indicator: info")
    copy_of_rules("mine", methotrexate_ordered_with_ild=changed)
    result = run("rules", "impact", ROOT / "rules", "mine", SIGNING, *DAY)

    assert result.exit_code == 0
    assert ORDERED in result.stdout
