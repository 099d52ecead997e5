"""Publishes the codes of this project as FHIR CodeSystems, made from the rule files.

``python -m cds.authoring.code_systems RULES`` writes them beside the vocabulary of a rules folder.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cds.advice import load_rules
from cds.cards.cards import OVERRIDE_REASONS
from cds.chart.vocabulary import Vocabulary, coded_entries
from cds.fhir.strict import validated
from cds.rules.ruleset import RuleSet

CORE_SET = "core_set"
"""The code system of this project's own measures, as the vocabulary calls it."""


def code_systems(ruleset: RuleSet) -> dict[str, dict[str, Any]]:
    """Every CodeSystem by the name of its file, each valid FHIR R4."""
    vocabulary = ruleset.terms.vocabulary
    reasons = {
        key: (reason.display, None) for key, reason in sorted(ruleset.override_reasons.items())
    }
    made = (
        _code_system(
            vocabulary.system_url(CORE_SET),
            "CoreSetMeasure",
            "Measures of myositis that have no LOINC code",
            "Codes for instruments of the myositis core set and of measures beside it, for which "
            "no LOINC code was found. The meaning of each is the instrument that it names.",
            _of_measures(vocabulary),
        ),
        _code_system(
            OVERRIDE_REASONS,
            "OverrideReason",
            "Reasons for not following a card",
            "Reasons that a clinician may give for not following a card of myositis decision "
            "support.",
            reasons,
        ),
    )
    return {f"CodeSystem-{each['id']}.json": each for each in made}


def _of_measures(vocabulary: Vocabulary) -> dict[str, tuple[str, str | None]]:
    """The project's own codes, with the display and the title of what each selects."""
    codes: dict[str, tuple[str, str | None]] = {}
    for _, _, entry in coded_entries(vocabulary):
        for code, display in entry.codes.get(CORE_SET, {}).items():
            codes[code] = (display, entry.title)
    for measure in vocabulary.measures.values():
        for code, display in measure.maximum.get(CORE_SET, {}).items():
            codes[code] = (display, None)
    return codes


def _code_system(
    url: str,
    name: str,
    title: str,
    description: str,
    concepts: Mapping[str, tuple[str, str | None]],
) -> dict[str, Any]:
    resource = {
        "resourceType": "CodeSystem",
        "id": url.rpartition("/")[2],
        "url": url,
        "name": name,
        "title": title,
        "status": "active",
        "experimental": False,
        "publisher": "Myositis decision support",
        "description": description,
        "caseSensitive": True,
        "content": "complete",
        "count": len(concepts),
        "concept": [
            {"code": code, "display": display} | ({"definition": meaning} if meaning else {})
            for code, (display, meaning) in concepts.items()
        ],
    }
    validated(resource)
    return resource


def written(resource: dict[str, Any]) -> str:
    """A CodeSystem as it stands in its file."""
    return json.dumps(resource, indent=2, ensure_ascii=False) + "\n"


def write_code_systems(folder: Path) -> None:
    """Write the CodeSystems of a rules folder beside its vocabulary."""
    ruleset = load_rules(folder)
    for name, resource in code_systems(ruleset).items():
        (folder / "vocabulary" / name).write_text(written(resource), encoding="utf-8")
    ruleset.close()


if __name__ == "__main__":
    write_code_systems(Path(sys.argv[1]))
