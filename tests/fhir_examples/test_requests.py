import asyncio
import json
import re
import runpy
from pathlib import Path
from typing import Any

import pytest

from cds.advice import advise, load_rules
from cds.fhir.bundles import RESOURCE_TYPES, Delivery, decode, read_resource, take_drafts
from cds.fhir.strict import validate
from cds.hooks.prefetch import Template, make_templates
from cds.hooks.service import answer
from cds.rules.ruleset import RuleSet
from tests.hooks.conformance import faults

EXAMPLES = Path(__file__).parents[2] / "fhir_examples"
BUILD = runpy.run_path(str(EXAMPLES / "build.py"))
AS_OF = BUILD["AS_OF"]
CASES = sorted(file.name.removesuffix(".bundle.json") for file in EXAMPLES.glob("*.bundle.json"))

every_case = pytest.mark.parametrize("case", CASES)

# A resource, or any part of one, as JSON.
Json = dict[str, Any]


def text(case: str, kind: str) -> str:
    """Return one of the three files of a case."""
    return (EXAMPLES / f"{case}.{kind}.json").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def ruleset() -> RuleSet:
    """Read the rules that the project ships."""
    return load_rules(EXAMPLES.parent / "rules")


@pytest.fixture(scope="module")
def templates(ruleset: RuleSet) -> tuple[Template, ...]:
    """Make the prefetch templates of the rules that the project ships."""
    return make_templates(ruleset.terms.vocabulary)


def test_there_are_requests_and_cards_of_exactly_the_examples() -> None:
    """No request and no cards are left over from an example that is gone."""
    for kind in ("request", "cards"):
        files = EXAMPLES.glob(f"*.{kind}.json")
        assert sorted(file.name.removesuffix(f".{kind}.json") for file in files) == CASES


@every_case
def test_the_request_is_what_build_makes(case: str, templates: tuple[Template, ...]) -> None:
    """No request was forgotten after its Bundle or the vocabulary changed, or edited by hand."""
    request = BUILD["make_request"](json.loads(text(case, "bundle")), templates)

    assert text(case, "request") == BUILD["written"](request)


@every_case
def test_the_answer_to_the_request_is_the_cards_beside_it(
    case: str, ruleset: RuleSet, templates: tuple[Template, ...]
) -> None:
    """The service answers each example with exactly the cards that were read and kept."""
    body = text(case, "request").encode()

    hook = json.loads(body)["hook"]
    given = asyncio.run(answer(body, ruleset, templates, AS_OF, hook))

    assert json.loads(given) == json.loads(text(case, "cards"))


@every_case
def test_the_bundle_gives_the_same_cards_as_the_request(case: str, ruleset: RuleSet) -> None:
    """What an EHR's queries leave behind of a chart makes no difference to the advice."""
    bundle = text(case, "bundle")
    patient = next(r["id"] for r in BUILD["resources"](json.loads(bundle)))
    delivery = Delivery(delivered=set(RESOURCE_TYPES))
    read_resource(decode(bundle.encode()), delivery, "Bundle")

    request = json.loads(text(case, "request"))
    hook, selected = request["hook"], request["context"].get("selections")
    drafts = None if hook == "patient-view" else take_drafts(delivery)
    advice = advise(
        delivery,
        patient,
        ruleset,
        AS_OF,
        hook=hook,
        drafts=drafts,
        selected=selected and frozenset(selected),
    )

    expected = json.loads(text(case, "cards"))["cards"]
    assert [card.uuid for card in advice.cards] == [card["uuid"] for card in expected]


@every_case
def test_request_and_cards_are_what_the_interface_says(case: str) -> None:
    """What an EHR would send and what it gets are by the schemas of the interface."""
    assert faults("request", json.loads(text(case, "request"))) == []
    assert faults("response", json.loads(text(case, "cards"))) == []


@every_case
def test_the_prefetch_is_valid_fhir_r4(case: str, templates: tuple[Template, ...]) -> None:
    """Each key has a valid resource, but for the one entry that is of no FHIR type on purpose."""
    prefetch: dict[str, Json] = json.loads(text(case, "request"))["prefetch"]
    faults = [f for key, one in prefetch.items() for f in validate(json.dumps(one).encode(), key)]

    assert list(prefetch) == [template.key for template in templates]
    if case == BUILD["MESS"]:
        assert [fault.message for fault in faults] == ["is of a type that FHIR R4 does not have"]
    else:
        assert faults == []


def test_the_mess_is_sent_whole_and_in_two_pages() -> None:
    """The messy request carries every resource of its Bundle once, and keeps the search pages."""
    bundle, request = (json.loads(text(BUILD["MESS"], kind)) for kind in ("bundle", "request"))
    collected = {"entry": [{"resource": value} for value in request["prefetch"].values()]}
    sent, held = (
        sorted(f"{r['resourceType']}/{r['id']}" for r in BUILD["resources"](all_of))
        for all_of in (collected, bundle)
    )
    pages = [
        entry["resource"]
        for entry in request["prefetch"][BUILD["MESS_KEY"]]["entry"]
        if entry["resource"]["resourceType"] == "Bundle"
    ]

    assert sent == held
    assert [page["total"] == len(page["entry"]) > 0 for page in pages] == [True, True]


@every_case
def test_what_is_sent_is_in_the_bundle(case: str) -> None:
    """A request says nothing that its Bundle does not say."""
    bundle, request = (json.loads(text(case, kind)) for kind in ("bundle", "request"))
    held = list(BUILD["resources"](bundle))
    collected = {"entry": [{"resource": value} for value in request["prefetch"].values()]}

    assert [r for r in BUILD["resources"](collected) if r not in held] == []


def test_the_readme_states_how_many_cards_each_example_brings() -> None:
    """The numbers are those of the expected cards: one more or one less is a change to look at."""
    readme = (EXAMPLES / "README.md").read_text(encoding="utf-8")

    assert readme == BUILD["with_counts"](readme)
    for case in CASES:
        cards = json.loads(text(case, "cards"))["cards"]
        found = [sum(card["indicator"] == i for card in cards) for i in BUILD["INDICATORS"]]
        assert f"| {case} | {' | '.join(map(str, found))} |" in readme.splitlines()


@every_case
def test_the_readme_calls_the_cards_of_an_example_what_they_are(case: str) -> None:
    """Whatever its last column calls critical, a warning or an information is one."""
    readme = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    (row,) = [line for line in readme.splitlines() if line.startswith(f"| `{case}` | ")]
    brings = row.split(" | ")[-1]
    called = {
        indicator
        for word, indicator in (
            ("Critical", "critical"),
            ("Warning", "warning"),
            ("Information", "info"),
        )
        if re.search(rf"\b{word}", brings)
    }

    assert called <= {card["indicator"] for card in json.loads(text(case, "cards"))["cards"]}


@every_case
def test_no_example_brings_more_than_one_critical_card_or_two_about_one_problem(
    case: str, ruleset: RuleSet
) -> None:
    """Cards that a clinician closes unread help nobody."""
    summaries = {rule.card.problem: rule.id for rule in ruleset.card_rules if rule.card is not None}
    cards = json.loads(text(case, "cards"))["cards"]

    assert len({card["summary"] for card in cards}) == len(cards) <= len(summaries)
    assert sum(card["indicator"] == "critical" for card in cards) <= 1
