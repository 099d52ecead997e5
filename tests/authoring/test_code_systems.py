"""The published CodeSystems are those of the rule files, and valid FHIR."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cds.advice import load_rules
from cds.authoring.code_systems import CORE_SET, code_systems, write_code_systems, written
from cds.chart.vocabulary import coded_entries
from cds.fhir.strict import validated
from cds.rules.ruleset import RuleSet

RULES = Path(__file__).parents[2] / "rules"


@pytest.fixture(scope="module")
def ruleset() -> RuleSet:
    """The shipped rules."""
    return load_rules(RULES)


def test_the_files_are_those_of_the_rules(ruleset: RuleSet) -> None:
    """`make documents` brings them up to date."""
    for name, resource in code_systems(ruleset).items():
        assert (RULES / "vocabulary" / name).read_text(encoding="utf-8") == written(resource)


def test_each_is_valid_and_found_by_its_canonical_address() -> None:
    """By HL7's own definitions of R4; the file is named for the last part of the address."""
    for path in sorted((RULES / "vocabulary").glob("CodeSystem-*.json")):
        resource = json.loads(path.read_text(encoding="utf-8"))
        validated(resource)
        address = "https://myositis-cds.example/fhir/" + path.stem.replace("-", "/", 1)
        assert resource["url"] == address


def test_every_code_of_the_project_is_published_once(ruleset: RuleSet) -> None:
    """Those of instruments, of measures, and of the maximum of a scale."""
    vocabulary = ruleset.terms.vocabulary
    used = {c for _, _, e in coded_entries(vocabulary) for c in e.codes.get(CORE_SET, {})}
    used |= {c for m in vocabulary.measures.values() for c in m.maximum.get(CORE_SET, {})}
    published = [
        c["code"] for c in code_systems(ruleset)["CodeSystem-core-set-measure.json"]["concept"]
    ]
    assert sorted(published) == sorted(used)
    assert {"cmas", "chaq", "chq-phs", "das", "cdasi-activity", "sf36-pcs"} <= used


def test_the_override_reasons_are_published(ruleset: RuleSet) -> None:
    """What a clinician may answer is what feedback carries."""
    published = code_systems(ruleset)["CodeSystem-override-reason.json"]["concept"]
    assert {c["code"]: c["display"] for c in published} == {
        key: reason.display for key, reason in ruleset.override_reasons.items()
    }


def test_they_are_written_beside_the_vocabulary(tmp_path: Path) -> None:
    """Into the rules folder that is named, and nowhere else."""
    folder = tmp_path / "rules"
    for path in RULES.rglob("*.yaml"):
        copy = folder / path.relative_to(RULES)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(path.read_bytes())
    write_code_systems(folder)
    made = sorted(path.name for path in folder.rglob("*.json"))
    assert made == ["CodeSystem-core-set-measure.json", "CodeSystem-override-reason.json"]
