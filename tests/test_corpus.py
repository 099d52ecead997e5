import os
from datetime import date
from pathlib import Path

import pytest

from cds.chart.chart import read_chart, read_findings
from cds.chart.terms import compile_terms
from cds.chart.vocabulary import read_vocabulary
from cds.fhir.bundles import Delivery, Unreadable, decode, keep_about, name_of, read_resource
from cds.fhir.resources import Bundle
from cds.fhir.strict import validate

CORPUS = os.environ.get("CDS_CORPUS")
pytestmark = pytest.mark.skipif(
    CORPUS is None, reason="CDS_CORPUS names no folder of FHIR examples written by others"
)
FILES = sorted(Path(CORPUS).rglob("*.json")) if CORPUS else []
TERMS = compile_terms(read_vocabulary(Path(__file__).parents[1] / "rules" / "vocabulary", []))
AS_OF = date(2026, 11, 16)


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
def test_every_resource_reaches_the_chart_or_is_listed(file: Path) -> None:
    """A chart is made of every file, and each resource in it is used or listed with a reason."""
    delivery = Delivery()
    try:
        read_resource(decode(file.read_bytes()), delivery, file.name)
    except Unreadable:
        return
    conditions = read_findings(delivery, TERMS, AS_OF)
    chart = read_chart(delivery, conditions, "example", TERMS, AS_OF)
    references = [
        *(m.reference for taken in chart.measurements.series.values() for m in taken),
        *(r.reference for results in chart.measurements.antibodies.values() for r in results),
        *(a.reference for asserted in chart.conditions.values() for a in asserted),
        *(e.reference for exposures in chart.exposures.values() for e in exposures),
        *(e.reference for e in chart.excluded),
    ]
    accounted = {reference.split(".component")[0] for reference in references}
    delivered = (*delivery.observations, *delivery.conditions, *delivery.uses)
    assert {name_of(resource) for resource in delivered} <= accounted
    assert all(e.reason for e in chart.excluded)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_official_examples_are_valid(file: Path) -> None:
    """Strict mode finds no fault in what HL7 publishes as valid R4."""
    assert validate(file.read_bytes()) == []
