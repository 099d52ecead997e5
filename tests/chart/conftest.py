"""Small resources of one patient, and the chart that is read from them."""

import itertools
import json
from collections.abc import Iterable
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from cds.chart.chart import Chart, read_chart, read_findings
from cds.chart.facts.catalogue import declare
from cds.chart.facts.declaration import Value
from cds.chart.measurements import Measurement
from cds.chart.quantities import Interval
from cds.chart.terms import Terms, compile_terms
from cds.chart.vocabulary import Number, read_vocabulary
from cds.fhir.bundles import RESOURCE_TYPES, Delivery, decode, keep_about, read_resource
from cds.located import Problem

Json = dict[str, Any]

VOCABULARY_FOLDER = Path(__file__).parents[2] / "rules" / "vocabulary"
AS_OF = date(2026, 11, 16)
PATIENT = "p1"


def _terms() -> Terms:
    problems: list[Problem] = []
    vocabulary = read_vocabulary(VOCABULARY_FOLDER, problems)
    assert problems == []
    return compile_terms(vocabulary, Number(value=Decimal(18), unit="a"))


TERMS = _terms()
FACTS = declare(TERMS.vocabulary)

_ids = itertools.count(1)


def ago(days: int) -> str:
    """Return the date so many days before the day of the evaluation."""
    return (AS_OF - timedelta(days=days)).isoformat()


def exactly(number: str | int) -> Interval:
    """Return a known number."""
    return Interval(Decimal(number), Decimal(number))


def between(low: str | int, high: str | int) -> Interval:
    """Return a number of which the bounds are known."""
    return Interval(Decimal(low), Decimal(high))


# --- resources -----------------------------------------------------------------------------------


def concept(*codes: str, text: str | None = None) -> Json:
    """Return a concept of codes written ``loinc|2157-6``, the system as the vocabulary names it."""
    made: Json = {"text": text} if text else {}
    if codes:
        made["coding"] = [coding(code) for code in codes]
    return made


def coding(code: str, display: str | None = None) -> Json:
    """Return a coding of a code written ``loinc|2157-6``."""
    name, _, value = code.partition("|")
    system = TERMS.vocabulary.systems[name].url if name in TERMS.vocabulary.systems else name
    return {"system": system, "code": value} | ({"display": display} if display else {})


def quantity(value: object, unit: str | None = None, **members: object) -> Json:
    """Return a Quantity with the printed unit only."""
    return {"value": value} | ({"unit": unit} if unit else {}) | members


def upper(value: object, unit: str | None = None) -> Json:
    """Return a normal range up to a limit, as the members of an Observation."""
    return {"referenceRange": [{"high": quantity(value, unit)}]}


def observation(
    code: str | Json,
    value: object = None,
    unit: str | None = None,
    on: str | None = None,
    **of: Any,
) -> Json:
    """Return a final Observation of a quantity, of the day of the evaluation if not told."""
    made: Json = {
        "resourceType": "Observation",
        "id": f"o{next(_ids)}",
        "status": "final",
        "code": concept(code) if isinstance(code, str) else code,
        "effectiveDateTime": on or ago(0),
    }
    if value is not None:
        made["valueQuantity"] = quantity(value, unit)
    return _with(made, of)


def physician(value: object, on: str | None = None, unit: str = "cm", **of: Any) -> Json:
    """Return a physician global activity."""
    return observation("core_set|physician-global", value, unit, on, **of)


def patient_global(value: object, on: str | None = None, **of: Any) -> Json:
    """Return a patient global activity in cm."""
    return observation("core_set|patient-global", value, "cm", on, **of)


def mmt150(value: object, on: str | None = None, **of: Any) -> Json:
    """Return an MMT-8 of both sides, 0 to 150."""
    return observation("core_set|mmt8-150", value, None, on, **of)


def haq(value: object, on: str | None = None, **of: Any) -> Json:
    """Return a HAQ-DI."""
    return observation("loinc|75874-8", value, None, on, **of)


def ck(value: object, on: str | None = None, limit: object = 200, **of: Any) -> Json:
    """Return a CK in U/L with its upper limit."""
    of = (upper(limit, "U/L") if limit is not None else {}) | of
    return observation("loinc|2157-6", value, "U/L", on, **of)


def ldh(value: object, on: str | None = None, limit: object = 250, **of: Any) -> Json:
    """Return an LDH in U/L with its upper limit."""
    of = (upper(limit, "U/L") if limit is not None else {}) | of
    return observation("loinc|2532-0", value, "U/L", on, **of)


def condition(*codes: str, text: str | None = None, **of: Any) -> Json:
    """Return a Condition without statuses."""
    made: Json = {
        "resourceType": "Condition",
        "id": f"c{next(_ids)}",
        "code": concept(*codes, text=text),
    }
    return _with(made, of)


def order(drug: str | Json, on: str | None = None, status: str = "active", **of: Any) -> Json:
    """Return a MedicationRequest; a drug given as text is named, not coded."""
    made = _use("MedicationRequest", drug, status) | {"intent": "order", "authoredOn": on}
    return _with(made, of)


def given(
    drug: str | Json,
    on: str | None = None,
    dose: object = None,
    route: str | None = None,
    *,
    unit: str = "mg",
    **of: Any,
) -> Json:
    """Return a completed MedicationAdministration; the route is given as words."""
    dosage: Json = {}
    if dose is not None:
        dosage["dose"] = quantity(dose, unit)
    if route is not None:
        dosage["route"] = {"text": route}
    made = _use("MedicationAdministration", drug, "completed")
    return _with(made | {"effectiveDateTime": on, "dosage": dosage}, of)


def pulse(dose: object, on: str | None = None, **of: Any) -> Json:
    """Return methylprednisolone given intravenously."""
    return given(concept("rxnorm|6902"), on, dose, "intravenous", **of)


def stated(drug: str | Json, on: str | None = None, status: str = "active", **of: Any) -> Json:
    """Return a MedicationStatement."""
    made = _use("MedicationStatement", drug, status)
    return _with(made | {"effectiveDateTime": on}, of)


def dosage(value: object, unit: str = "mg", route: str | None = None, **repeat: object) -> Json:
    """Return one dosage instruction, as the members of a MedicationRequest."""
    made: Json = {"doseAndRate": [{"doseQuantity": quantity(value, unit)}]}
    if route is not None:
        made["route"] = {"text": route}
    if repeat:
        made["timing"] = {"repeat": repeat}
    return {"dosageInstruction": [made]}


def _use(kind: str, drug: str | Json, status: str) -> Json:
    named = {"text": drug} if isinstance(drug, str) else drug
    of = "medicationReference" if "reference" in named else "medicationCodeableConcept"
    return {"resourceType": kind, "id": f"m{next(_ids)}", "status": status, of: named}


def _with(made: Json, members: Json) -> Json:
    """Return the resource with these members, without those that are None."""
    return {key: value for key, value in (made | members).items() if value is not None}


# --- charts --------------------------------------------------------------------------------------


def deliver(*resources: Json, delivered: Iterable[str] = RESOURCE_TYPES) -> Delivery:
    """Read resources as a Bundle of search results; all types were asked for if not told."""
    into = Delivery(delivered=set(delivered))
    entries = [{"resource": resource} for resource in resources]
    document = {"resourceType": "Bundle", "type": "searchset", "entry": entries}
    read_resource(decode(json.dumps(document).encode()), into, "Bundle")
    keep_about(into, PATIENT)
    return into


def chart_of(delivery: Delivery, as_of: date = AS_OF, baseline: date | None = None) -> Chart:
    """Read the chart of a delivery."""
    conditions = read_findings(delivery, TERMS, as_of)
    return read_chart(delivery, conditions, PATIENT, TERMS, as_of, baseline)


def read(*resources: Json, as_of: date = AS_OF, baseline: date | None = None) -> Chart:
    """Read the chart of a patient of whom everything recorded was delivered."""
    return chart_of(deliver(*resources), as_of, baseline)


def fact(chart: Chart, name: str) -> Value:
    """Return the value of a fact."""
    return FACTS[name].read(chart)


def reasons(chart: Chart) -> list[str]:
    """Return why things were left out."""
    return [excluded.reason for excluded in chart.excluded]


def series(chart: Chart, entry: str) -> list[Measurement]:
    """Return the measurements of an entry."""
    return chart.measurements.series.get(entry, [])


def values(chart: Chart, entry: str) -> list[Decimal | None]:
    """Return the numbers of an entry in order of time."""
    return [m.value for m in series(chart, entry)]
