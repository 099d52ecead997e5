import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fhir.resources.R4B import get_fhir_model_class
from fhir.resources.R4B.bundle import Bundle

EXAMPLES = Path(__file__).parents[2] / "fhir_examples"
FILES = sorted(EXAMPLES.glob("*.bundle.json"))
AS_OF = "2026-11-16"

# Shows what the service does with a resource type FHIR does not have, so it cannot be valid FHIR.
INVALID_ON_PURPOSE = {"real-world-mess.bundle.json": "FancyDeviceReport"}
# Stands for a resource of somebody else, delivered by mistake.
FOREIGN_PATIENT = {"real-world-mess.bundle.json": {"Patient/somebody-else"}}

every_example = pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)

# A resource, or any part of one, as JSON.
Json = dict[str, Any]


def bundle(file: Path) -> Json:
    """Return the Bundle of one example."""
    content: Json = json.loads(file.read_text(encoding="utf-8"))
    return content


def resources(of: Json) -> Iterator[Json]:
    """Yield every resource of a Bundle, and of the Bundles inside it after each of these."""
    for entry in of["entry"]:
        resource = entry["resource"]
        yield resource
        if resource["resourceType"] == "Bundle":
            yield from resources(resource)


def values(part: Any, key: str) -> Iterator[str]:
    """Yield every text found under a key, at any depth."""
    if isinstance(part, dict):
        for name, inner in part.items():
            if name == key and isinstance(inner, str):
                yield inner
            else:
                yield from values(inner, key)
    elif isinstance(part, list):
        for inner in part:
            yield from values(inner, key)


def dates(part: Any) -> Iterator[str]:
    """Yield every date and date-time that says when something was, at any depth."""
    for key in ("effectiveDateTime", "issued", "recordedDate", "authoredOn", "onsetDateTime"):
        yield from values(part, key)
    for key in ("start", "birthDate"):
        yield from values(part, key)


@every_example
def test_each_example_is_a_valid_fhir_r4_collection(file: Path) -> None:
    """Every Bundle is valid, but for the one entry that is of no FHIR type on purpose."""
    content = bundle(file)
    invalid = INVALID_ON_PURPOSE.get(file.name)
    refused = [e for e in content["entry"] if e["resource"]["resourceType"] == invalid]
    content["entry"] = [e for e in content["entry"] if e not in refused]

    checked = Bundle.model_validate(content)

    assert checked.type == "collection"
    assert len(refused) == (1 if invalid else 0)


@pytest.mark.parametrize("name, resource_type", INVALID_ON_PURPOSE.items())
def test_the_exception_is_still_needed(name: str, resource_type: str) -> None:
    """The resource type that is excused from validation is one that FHIR R4 does not know."""
    assert resource_type in values(bundle(EXAMPLES / name), "resourceType")
    with pytest.raises(ValueError, match=f"{resource_type} is not a valid FHIR Model"):
        get_fhir_model_class(resource_type)


@every_example
def test_each_example_is_named_for_its_file_and_holds_one_patient(file: Path) -> None:
    """The id of the Bundle is the name of the case, and the first entry is its only Patient."""
    content = bundle(file)
    types = [resource["resourceType"] for resource in resources(content)]

    assert f"{content['id']}.bundle.json" == file.name
    assert types[0] == "Patient"
    assert types.count("Patient") == 1


@every_example
def test_each_full_url_is_that_of_its_resource(file: Path) -> None:
    """Every entry, nested ones too, stands under the address its type and id give."""
    content = bundle(file)
    nested = [r for r in resources(content) if r["resourceType"] == "Bundle"]
    for entry in (entry for b in [content, *nested] for entry in b["entry"]):
        resource = entry["resource"]
        assert entry["fullUrl"].endswith(f"/{resource['resourceType']}/{resource['id']}")


@every_example
def test_each_reference_resolves_within_its_example(file: Path) -> None:
    """Nothing points outside its Bundle, but for the patient who is foreign on purpose."""
    content = bundle(file)
    held = {f"{resource['resourceType']}/{resource['id']}" for resource in resources(content)}

    assert set(values(content, "reference")) - held == FOREIGN_PATIENT.get(file.name, set())


@every_example
def test_nothing_in_an_example_is_later_than_the_day_it_is_told_on(file: Path) -> None:
    """No visit, result, order or treatment starts after the day the README names."""
    told = list(dates(bundle(file)))

    assert told
    assert max(date[:10] for date in told) <= AS_OF


def test_no_id_is_used_twice() -> None:
    """No resource shares its type and id with another, in the same example or between two."""
    contents = [bundle(file) for file in FILES]
    every = [r for content in contents for r in (content, *resources(content))]
    used = Counter(f"{resource['resourceType']}/{resource['id']}" for resource in every)

    assert [reference for reference, times in used.items() if times > 1] == []


def test_no_two_patients_share_a_name_or_a_record_number() -> None:
    """Every patient has a name and a record number of their own, and a family name that says so."""
    patients = [next(resources(bundle(file))) for file in FILES]
    names = [patient["name"][0]["text"] for patient in patients]
    numbers = [patient["identifier"][0]["value"] for patient in patients]

    assert len(set(names)) == len(set(numbers)) == len(patients) == len(FILES)
    assert {patient["name"][0]["family"] for patient in patients} == {"Example"}


@every_example
def test_each_example_is_tidy(file: Path) -> None:
    """Examples are edited by hand: two spaces, characters as they read, no key given twice."""

    def once(pairs: list[tuple[str, Any]]) -> Json:
        assert len({key for key, _ in pairs}) == len(pairs)
        return dict(pairs)

    text = file.read_text(encoding="utf-8")
    content = json.loads(text, object_pairs_hook=once)

    assert text == json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def test_the_second_page_of_observations_is_the_one_the_first_points_to() -> None:
    """In the messy example the Observations come as two search result pages, joined by `next`."""
    content = bundle(EXAMPLES / "real-world-mess.bundle.json")
    first, second = (
        {link["relation"]: link["url"] for link in resource["link"]}
        for resource in resources(content)
        if resource["resourceType"] == "Bundle"
    )

    assert second["self"] == first["next"] != first["self"]
    assert "next" not in second


def test_the_readme_lists_every_example() -> None:
    """The table of the README has one row for each file, and no row without a file."""
    rows = (EXAMPLES / "README.md").read_text(encoding="utf-8").splitlines()
    listed = [row.split("`")[1] for row in rows if row.startswith("| `")]

    assert sorted(listed) == sorted(file.name.removesuffix(".bundle.json") for file in FILES)
