"""Makes ``<case>.request.json`` and ``<case>.cards.json`` of every ``<case>.bundle.json``.

And the table of the README that says how many cards each example brings.

Run it as ``python fhir_examples/build.py`` (``make examples``) after editing a Bundle, a rule or
the vocabulary, and read what changed.

A request is what an EHR would send that holds the patient of the Bundle: each prefetch key has the
resources that its query finds there, so Observations with no code of the vocabulary stay behind.
Only ``real-world-mess`` carries all that its Bundle holds. Where a Bundle holds draft orders, the
request is made when they are to be signed, or when those of ``SELECTED`` were selected just now.
The cards are the service's own answer.
"""

import asyncio
import json
import uuid
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

from cds.advice import load_rules
from cds.hooks.prefetch import Template, make_templates
from cds.hooks.service import answer
from cds.rules.ruleset import RuleSet

EXAMPLES = Path(__file__).resolve().parent
AS_OF = date(2026, 11, 16)
FHIR = "https://hospital.example/fhir"
MESS = "real-world-mess"
MESS_KEY = "core_set_measures"
"""Where everything of the mess is that no query would find, and its pages."""
SELECTED = {"jak-inhibitor-selected": ["MedicationRequest/jak-selected-tofacitinib-draft"]}
"""The draft orders that are selected, of the cases that are asked at order-select."""

Json = dict[str, Any]


def make_request(bundle: Json, templates: tuple[Template, ...]) -> Json:
    """Make the request of a patient's Bundle."""
    case = bundle["id"]
    patient = next(resource for resource in resources(bundle) if is_a(resource, "Patient"))
    drafts = [entry for entry in entries(bundle) if is_draft(entry["resource"])]
    found = {template.key: entries_of(template, bundle) for template in templates}
    prefetch = {
        template.key: patient if template.answer == "Patient" else searchset(found[template.key])
        for template in templates
    }
    if case == MESS:
        prefetch[MESS_KEY] = mess(bundle, found)
    context: Json = {"userId": "Practitioner/example", "patientId": patient["id"]}
    if case in SELECTED:
        context["selections"] = SELECTED[case]
    if drafts:
        context["draftOrders"] = {"resourceType": "Bundle", "type": "collection", "entry": drafts}
    return {
        "hook": hook(case, drafts),
        "hookInstance": str(uuid.uuid5(uuid.NAMESPACE_URL, f"{FHIR}/hooks/{case}")),
        "context": context,
        "prefetch": prefetch,
    }


def hook(case: str, drafts: list[Json]) -> str:
    """The hook that a case is asked at."""
    if case in SELECTED:
        return "order-select"
    return "order-sign" if drafts else "patient-view"


def resources(bundle: Json) -> Iterator[Json]:
    """Yield every resource of a Bundle and of the Bundles in it."""
    return (entry["resource"] for entry in entries(bundle))


def entries(bundle: Json) -> Iterator[Json]:
    """Yield every entry of a Bundle, and in place of a Bundle in it the entries of that."""
    for entry in bundle.get("entry", ()):
        if is_a(entry["resource"], "Bundle"):
            yield from entries(entry["resource"])
        else:
            yield entry


def is_a(resource: Json, resource_type: str) -> bool:
    """Whether a resource is of a type."""
    return bool(resource["resourceType"] == resource_type)


def is_draft(resource: Json) -> bool:
    """Whether a resource is an order that nobody has signed yet."""
    return is_a(resource, "MedicationRequest") and bool(resource["status"] == "draft")


def entries_of(template: Template, bundle: Json) -> list[Json]:
    """The entries that a query finds in a Bundle."""
    return [
        entry
        for entry in entries(bundle)
        if is_a(entry["resource"], template.resource)
        and not is_draft(entry["resource"])
        and (not template.codes or codings(entry["resource"]) & set(template.codes))
    ]


def codings(resource: Json) -> set[tuple[str, str]]:
    """What a search by ``code`` compares: the system and code of each coding."""
    return {(coding["system"], coding["code"]) for coding in resource["code"].get("coding", [])}


def searchset(found: list[Json]) -> Json:
    """Make the answer to a search."""
    bundle: Json = {"resourceType": "Bundle", "type": "searchset", "total": len(found)}
    return bundle | {"entry": found} if found else bundle


def mess(bundle: Json, found: dict[str, list[Json]]) -> Json:
    """Make one Bundle of the pages as they are, and of all that no query finds.

    What another key holds already is taken out of the pages.
    """
    elsewhere = [e for key, of_key in found.items() if key != MESS_KEY for e in of_key]

    def left(of: list[Json]) -> list[Json]:
        kept = []
        for entry in of:
            resource = entry["resource"]
            if is_a(resource, "Bundle"):
                page = left(resource["entry"])
                kept.append({**entry, "resource": {**resource, "total": len(page), "entry": page}})
            elif entry not in elsewhere:
                kept.append(entry)
        return kept

    return {"resourceType": "Bundle", "type": "collection", "entry": left(bundle["entry"])}


def make_cards(request: Json, ruleset: RuleSet, templates: tuple[Template, ...]) -> Json:
    """Ask the service for the answer to a request, on the day of the examples."""
    body = written(request).encode()
    answered = asyncio.run(answer(body, ruleset, templates, AS_OF, request["hook"]))
    cards: Json = json.loads(answered)
    return cards


COUNTED = "## How many cards each brings\n"
"""The heading in the README below which the numbers of cards stand, up to the next heading."""


def counts() -> str:
    """The table of the README with the number of cards of every example, by urgency."""
    lines = ["| Example | Critical | Warning | Information |", "|---|---|---|---|"]
    for file in sorted(EXAMPLES.glob("*.cards.json")):
        cards = json.loads(file.read_text(encoding="utf-8"))["cards"]
        found = [str(sum(card["indicator"] == i for card in cards)) for i in INDICATORS]
        lines.append(f"| {file.name.removesuffix('.cards.json')} | {' | '.join(found)} |")
    return "\n".join(lines)


INDICATORS = ("critical", "warning", "info")


def with_counts(readme: str) -> str:
    """The text of the README with the numbers as they are now."""
    before, after = readme.split(COUNTED)
    rest = after[after.index("\n## ") :]
    said = "Written by `make examples`; one more or one less is to be looked into."
    return f"{before}{COUNTED}\n{said}\n\n{counts()}\n{rest}"


def written(content: Json) -> str:
    """Write JSON as the examples are written, so that it can be read and compared."""
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def main() -> None:
    """Write the requests and cards of all examples."""
    ruleset = load_rules(EXAMPLES.parent / "rules")
    templates = make_templates(ruleset.terms.vocabulary)
    for file in sorted(EXAMPLES.glob("*.bundle.json")):
        case = file.name.removesuffix(".bundle.json")
        request = make_request(json.loads(file.read_text(encoding="utf-8")), templates)
        (EXAMPLES / f"{case}.request.json").write_text(written(request), encoding="utf-8")
        cards = make_cards(request, ruleset, templates)
        (EXAMPLES / f"{case}.cards.json").write_text(written(cards), encoding="utf-8")
    readme = EXAMPLES / "README.md"
    readme.write_text(with_counts(readme.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
