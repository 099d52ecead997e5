import json
from collections.abc import Callable
from datetime import date
from pathlib import Path

import pytest
from markdown_it import MarkdownIt
from markdown_it.token import Token

from cds.advice import Advice, advise, load_rules
from cds.cards.card import Card
from cds.cards.texts import Telling
from cds.fhir.bundles import RESOURCE_TYPES, Delivery, decode, read_resource, take_drafts
from cds.rules.ruleset import RuleSet

CHECKOUT = Path(__file__).parents[2]
AS_OF = date(2026, 11, 16)


@pytest.fixture(scope="session")
def ruleset() -> RuleSet:
    """Read the rules that the project ships."""
    return load_rules(CHECKOUT / "rules")


@pytest.fixture(scope="session")
def bundle() -> Callable[[str], bytes]:
    """Read an example patient, as it is written."""
    return lambda case: (CHECKOUT / f"fhir_examples/{case}.bundle.json").read_bytes()


@pytest.fixture(scope="session")
def advise_on(ruleset: RuleSet) -> Callable[[bytes], Advice]:
    """Advise on a Bundle that is the whole chart of its one patient."""

    def answer(raw: bytes) -> Advice:
        delivery = Delivery(delivered=set(RESOURCE_TYPES))
        read_resource(decode(raw), delivery, "Bundle")
        patient = delivery.patients[0].id
        assert patient is not None
        return advise(delivery, patient, ruleset, AS_OF)

    return answer


@pytest.fixture(scope="session")
def example(
    advise_on: Callable[[bytes], Advice], bundle: Callable[[str], bytes]
) -> Callable[[str], Advice]:
    """Advise on an example patient."""
    return lambda case: advise_on(bundle(case))


@pytest.fixture(scope="session")
def ordered(
    advise_on: Callable[[bytes], Advice], bundle: Callable[[str], bytes]
) -> Callable[[str, str, str], Advice]:
    """Advise on an example patient for whom a drug, named in words, is ordered from a day on."""

    def answer(case: str, drug: str, start: str) -> Advice:
        document = json.loads(bundle(case))
        resources = [entry["resource"] for entry in document["entry"]]
        (patient,) = (each["id"] for each in resources if each["resourceType"] == "Patient")
        order = {
            "resourceType": "MedicationRequest",
            "id": "ordered",
            "status": "active",
            "intent": "order",
            "subject": {"reference": f"Patient/{patient}"},
            "authoredOn": AS_OF.isoformat(),
            "medicationCodeableConcept": {"text": drug},
            "dosageInstruction": [{"timing": {"repeat": {"boundsPeriod": {"start": start}}}}],
        }
        document["entry"].append({"resource": order})
        return advise_on(json.dumps(document).encode())

    return answer


@pytest.fixture(scope="session")
def sign(ruleset: RuleSet) -> Callable[..., dict[str, Card]]:
    """Make the cards of a Bundle for the signing of its draft orders, by their rules."""

    def answer(raw: bytes, selected: frozenset[str] | None = None) -> dict[str, Card]:
        delivery = Delivery(delivered=set(RESOURCE_TYPES))
        read_resource(decode(raw), delivery, "Bundle")
        patient = delivery.patients[0].id
        assert patient is not None
        drafts = take_drafts(delivery)
        advice = advise(
            delivery, patient, ruleset, AS_OF, hook="order-sign", drafts=drafts, selected=selected
        )
        return dict(zip(advice.given, advice.cards, strict=True))

    return answer


@pytest.fixture(scope="session")
def orders(
    sign: Callable[..., dict[str, Card]], bundle: Callable[[str], bytes]
) -> Callable[..., dict[str, Card]]:
    """The same of an example patient."""
    return lambda case, selected=None: sign(bundle(case), selected)


@pytest.fixture(scope="session")
def telling(ruleset: RuleSet, example: Callable[[str], Advice]) -> Callable[[str, str], Telling]:
    """What the texts of a rule may ask for, of an example patient."""

    def tell(rule: str, case: str) -> Telling:
        advice = example(case)
        assert advice.chart is not None
        assert advice.evaluation is not None
        parameters = next(r for r in ruleset.rules if r.id == rule).file.parameters
        return Telling(ruleset, advice.chart, advice.evaluation, parameters)

    return tell


@pytest.fixture(scope="session")
def render() -> Callable[[str], list[Token]]:
    """Read Markdown as its readers do, HTML and the tables of GitHub's flavour included."""
    reader = MarkdownIt("commonmark").enable(["table", "strikethrough"])
    return reader.parse
