import os
from pathlib import Path

import pytest

from cds.fhir.bundles import Delivery, Unreadable, decode, keep_about, read_resource
from cds.fhir.resources import Bundle
from cds.fhir.strict import validate

CORPUS = os.environ.get("CDS_CORPUS")
pytestmark = pytest.mark.skipif(
    CORPUS is None, reason="CDS_CORPUS names no folder of FHIR examples written by others"
)
FILES = sorted(Path(CORPUS).rglob("*.json")) if CORPUS else []


def test_the_corpus_holds_examples() -> None:
    """The folder that CDS_CORPUS names is there and holds Observations and a Bundle."""
    names = [file.name for file in FILES]
    assert any(name.startswith("Observation-") for name in names)
    assert any(name.startswith("Bundle-") for name in names)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_resource_is_read_or_listed(file: Path) -> None:
    """Reading never raises, and every resource of a file is used or listed with a reason."""
    raw = file.read_bytes()
    read = Delivery()
    try:
        resource = decode(raw, file.name)
    except Unreadable as reason:
        assert "is not used by this service" in reason.problem
        return
    read_resource(resource, read, type(resource).__name__)
    resources = len(resource.entry) if isinstance(resource, Bundle) else 1
    for _ in range(2):
        used = (read.patients, read.observations, read.conditions, read.uses, read.medications)
        assert sum(len(kind) for kind in used) + len(read.excluded) == resources
        keep_about(read, "example")
    assert all(e.reference and e.reason for e in read.excluded)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_official_examples_are_valid(file: Path) -> None:
    """Strict mode finds no fault in what HL7 publishes as valid R4."""
    assert validate(file.read_bytes()) == []
