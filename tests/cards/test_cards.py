import json
import re
import shutil
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
import pytest
from fhir.resources.R4B.medicationrequest import MedicationRequest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cds.advice import Advice, load_rules
from cds.authoring.possible import Possible, bounds_of
from cds.cards.card import SUMMARY_LIMIT, Card
from cds.cards.cards import OVERRIDE_REASONS, make_card, make_cards, rank_cards
from cds.chart.facts.declaration import Evidence
from cds.located import FilesInvalid
from cds.rules.language import Hook
from cds.rules.ruleset import RuleSet

CHECKOUT = Path(__file__).parents[2]
CASES = sorted(
    file.name.removesuffix(".bundle.json")
    for file in (CHECKOUT / "fhir_examples").glob("*.bundle.json")
)
Example = Callable[[str], Advice]

# A card, or any part of one, as JSON.
Json = Any


def encoded(card: Card) -> Json:
    """A card as it is sent."""
    return json.loads(msgspec.json.encode(card))


def outcomes(advice: Advice, ruleset: RuleSet, fired: set[str]) -> Any:
    """An evaluation in which these rules fired and no others."""
    assert advice.evaluation is not None
    truths = {rule.id: rule.id in fired for rule in ruleset.rules}
    return msgspec.structs.replace(advice.evaluation, outcomes=truths)


# --- the structure that CDS Hooks 2.0 asks for ---------------------------------------------------


def has(part: Json, required: dict[str, type], optional: dict[str, type] | None = None) -> None:
    """Assert that an object has these keys, of these types, and no others."""
    kinds = required | (optional or {})
    assert isinstance(part, dict)
    assert required.keys() <= part.keys() <= kinds.keys()
    for key, value in part.items():
        assert isinstance(value, kinds[key]), key
        assert value not in ("", [], {}), key


def is_absolute(url: str) -> bool:
    """Whether an address says scheme and host."""
    parts = urlsplit(url)
    return parts.scheme in ("https", "http") and bool(parts.netloc)


def check_card(card: Json) -> None:
    """Assert that a card is one of CDS Hooks 2.0, with what this service always gives."""
    has(
        card,
        {
            "uuid": str,
            "summary": str,
            "indicator": str,
            "detail": str,
            "source": dict,
            "overrideReasons": list,
        },
        {"suggestions": list, "selectionBehavior": str, "links": list},
    )
    uuid.UUID(card["uuid"])
    assert len(card["summary"]) < SUMMARY_LIMIT
    assert card["indicator"] in ("info", "warning", "critical")
    has(card["source"], {"label": str}, {"url": str})
    assert is_absolute(card["source"].get("url", "https://not.given"))
    assert ("suggestions" in card) == ("selectionBehavior" in card)
    assert card.get("selectionBehavior", "any") in ("at-most-one", "any")
    for suggestion in card.get("suggestions", []):
        has(suggestion, {"label": str, "uuid": str, "actions": list})
        uuid.UUID(suggestion["uuid"])
        for action in suggestion["actions"]:
            has(action, {"type": str, "description": str, "resource": dict})
            assert action["type"] == "create"
    for reason in card["overrideReasons"]:
        has(reason, {"code": str, "system": str, "display": str})
    for link in card.get("links", []):
        has(link, {"label": str, "url": str, "type": str})
        assert link["type"] == "absolute"
        assert is_absolute(link["url"])


def empty(part: Json, path: str = "$") -> list[str]:
    """Where in some JSON a null or something empty is."""
    if part is None or part in ("", [], {}):
        return [path]
    if isinstance(part, list):
        part = dict(enumerate(part))
    if not isinstance(part, dict):
        return []
    return [found for key, value in part.items() for found in empty(value, f"{path}.{key}")]


@pytest.mark.parametrize("case", CASES)
def test_every_card_of_every_example_is_one_of_cds_hooks(example: Example, case: str) -> None:
    """Required fields are there, none is empty or unknown, all are of the right kind."""
    for card in example(case).cards:
        check_card(encoded(card))
        assert empty(encoded(card)) == []


@pytest.mark.parametrize("case", ["rp-ild-mda5", "new-untreated-dermatomyositis"])
def test_every_card_that_the_rules_can_make_is_one_of_cds_hooks(
    ruleset: RuleSet, example: Example, case: str
) -> None:
    """Also where its rule did not fire, and most of what it speaks of is unknown."""
    advice = example(case)
    assert advice.chart is not None
    assert advice.evaluation is not None
    for rule in ruleset.card_rules:
        assert rule.card is not None
        card = encoded(make_card(rule, rule.card, ruleset, advice.chart, advice.evaluation))
        check_card(card)
        assert empty(card) == []


def test_a_patient_without_myositis_gets_no_card(example: Example) -> None:
    """There is nothing to say, and nothing is said."""
    assert example("no-myositis").cards == ()


# --- identity ------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", CASES)
def test_equal_input_gives_equal_cards(example: Example, case: str) -> None:
    """The identifiers of cards and suggestions are those of the same call before."""
    assert example(case).cards == example(case).cards


def test_identifiers_are_name_based_and_differ(example: Example) -> None:
    """No two cards or suggestions of all examples have one identifier."""
    cards = [card for case in CASES for card in example(case).cards]
    ids = [card.uuid for card in cards] + [s.uuid for card in cards for s in card.suggestions]

    assert len(set(ids)) == len(ids) > len(CASES)
    assert {uuid.UUID(each).version for each in ids} == {5}


def test_another_patient_gets_another_identifier(
    advise_on: Callable[[bytes], Advice], bundle: Callable[[str], bytes]
) -> None:
    """A card that says the same of another patient is another card."""
    raw = bundle("inclusion-body-myositis")
    patient = json.loads(raw)["entry"][0]["resource"]["id"]
    renamed = raw.replace(f"Patient/{patient}".encode(), b"Patient/other").replace(
        f'"id": "{patient}"'.encode(), b'"id": "other"'
    )

    card, *_ = advise_on(raw).cards
    other, *_ = advise_on(renamed).cards

    assert card.detail == other.detail
    assert card.uuid != other.uuid


# --- which cards ---------------------------------------------------------------------------------


def test_of_each_problem_the_most_urgent_card_is_given(ruleset: RuleSet, example: Example) -> None:
    """If every rule of a hook fired there would be one card a problem, the critical ones first."""
    advice = example("myocarditis")
    every = {rule.id for rule in ruleset.card_rules}

    ranked = rank_cards(ruleset, outcomes(advice, ruleset, every))

    problems = [card.problem for _, card in ranked]
    assert len(problems) == len(set(problems))
    assert set(problems) == {
        rule.card.problem
        for rule in ruleset.card_rules
        if rule.card and "patient-view" in rule.file.hooks
    }
    indicators = [card.indicator for _, card in ranked]
    assert indicators == sorted(indicators, key=["critical", "warning", "info"].index)
    given_ids = {rule.id for rule, _ in ranked}
    assert {"pulse-for-myocarditis", "pulse-for-rapidly-progressive-ild"} <= given_ids
    assert "escalate-inadequate-response" in given_ids


@pytest.mark.parametrize(
    "fired, given_cards",
    [
        (
            ["myocarditis-pulse-given", "troponin-without-myocarditis"],
            ["troponin-without-myocarditis"],
        ),
        (["response-not-improved", "response-worsened"], ["response-worsened"]),
        (["response-worsened", "escalate-inadequate-response"], ["escalate-inadequate-response"]),
        (
            ["chronic-progressive-ild", "suspected-rapidly-progressive-ild"],
            ["suspected-rapidly-progressive-ild"],
        ),
        (
            ["chronic-progressive-ild", "pulse-for-rapidly-progressive-ild"],
            ["pulse-for-rapidly-progressive-ild"],
        ),
        (
            ["response-improved", "suspected-rapidly-progressive-ild", "pulse-for-myocarditis"],
            ["pulse-for-myocarditis", "suspected-rapidly-progressive-ild", "response-improved"],
        ),
        (
            [
                "escalate-inadequate-response",
                "anti-mda5-suspected-lung-disease",
                "troponin-without-myocarditis",
                "myocarditis-pulse-given",
            ],
            [
                "troponin-without-myocarditis",
                "anti-mda5-suspected-lung-disease",
                "escalate-inadequate-response",
            ],
        ),
        ([], []),
    ],
)
def test_cards_are_ranked(
    ruleset: RuleSet, example: Example, fired: list[str], given_cards: list[str]
) -> None:
    """Critical before warning before information, and of equal ones heart and lung before muscle.

    Of one problem only the most urgent.
    """
    evaluation = outcomes(example("myocarditis"), ruleset, set(fired))

    assert [rule.id for rule, _ in rank_cards(ruleset, evaluation)] == given_cards


def test_only_rules_of_the_hook_make_cards(ruleset: RuleSet, example: Example) -> None:
    """What is for orders is not shown when a chart is opened, nor the other way round."""
    fired = {"methotrexate-ordered-with-ild", "pulse-for-myocarditis"}
    evaluation = outcomes(example("myocarditis"), ruleset, fired)

    def ranked(hook: Hook) -> list[str]:
        return [rule.id for rule, _ in rank_cards(ruleset, evaluation, hook)]

    assert ranked("patient-view") == ["pulse-for-myocarditis"]
    assert ranked("order-sign") == ranked("order-select") == ["methotrexate-ordered-with-ild"]


def test_a_rule_that_is_unknown_makes_no_card(ruleset: RuleSet, example: Example) -> None:
    """Only what is surely true is said."""
    advice = example("myocarditis")
    assert advice.chart is not None
    assert advice.evaluation is not None
    unknown = dict.fromkeys(advice.evaluation.outcomes)
    evaluation = msgspec.structs.replace(advice.evaluation, outcomes=unknown)

    assert make_cards(ruleset, advice.chart, evaluation) == {}


# --- the parts of a card -------------------------------------------------------------------------


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(dates=st.lists(st.text(min_size=1, max_size=60), min_size=1, max_size=30))
def test_the_summary_stays_below_its_limit_whatever_is_inserted(
    ruleset: RuleSet, example: Example, dates: list[str]
) -> None:
    """Many dates, long ones or strange ones never make a summary of 140 characters or two lines."""
    advice = example("rp-ild-already-pulsed")
    assert advice.chart is not None
    assert advice.evaluation is not None
    rule = next(r for r in ruleset.rules if r.id == "rapidly-progressive-ild-pulse-given")
    assert rule.card is not None
    name = "drug.pulse_methylprednisolone"
    cited = tuple(Evidence(f"MedicationAdministration/{i}", d, "") for i, d in enumerate(dates))
    declared = msgspec.structs.replace(ruleset.facts[name], evidence=lambda _: cited)
    other = msgspec.structs.replace(ruleset, facts={**ruleset.facts, name: declared})

    card = make_card(rule, rule.card, other, advice.chart, advice.evaluation)

    assert 0 < len(card.summary) < SUMMARY_LIMIT
    assert not re.search(r"[\n\r\t]", card.summary)


def test_a_suggestion_is_a_draft_that_proposes(example: Example) -> None:
    """A valid MedicationRequest for this patient: a proposal, for the clinician to complete."""
    card, *_ = example("myocarditis").cards
    (suggestion,) = card.suggestions
    (action,) = suggestion.actions

    request = action.resource
    MedicationRequest.model_validate(request)
    assert (request["status"], request["intent"]) == ("draft", "proposal")
    assert request["subject"] == {"reference": "Patient/myocarditis"}
    assert request["medicationCodeableConcept"]["coding"][0]["code"] == "6902"
    assert "to be completed by the prescriber" in request["dosageInstruction"][0]["text"]
    assert card.selectionBehavior == "at-most-one"


def test_a_draft_that_two_cards_would_carry_stands_on_the_first_only(
    bundle: Callable[[str], bytes], advise_on: Callable[[bytes], Advice]
) -> None:
    """Heart and lung in danger: the pulse is drafted once, and the other card says where."""
    both = json.loads(bundle("myocarditis"))
    patient = next(
        e["resource"] for e in both["entry"] if e["resource"]["resourceType"] == "Patient"
    )
    lung = {
        "resourceType": "Condition",
        "id": "rapidly-progressive",
        "subject": {"reference": f"Patient/{patient['id']}"},
        "code": {"text": "Rapidly progressive interstitial lung disease"},
        "recordedDate": "2026-11-14",
    }
    url = "https://hospital.example/fhir/Condition/rapidly-progressive"
    both["entry"].append({"fullUrl": url, "resource": lung})
    first, second, *_ = advise_on(json.dumps(both).encode()).cards
    assert first.summary.startswith("Myocarditis in myositis")
    assert second.summary.startswith("Rapidly progressive ILD in myositis")
    assert [s.label for s in first.suggestions] == [
        "Draft a proposal: methylprednisolone IV pulse (adult)"
    ]
    assert "stands on another card" not in first.detail
    assert second.suggestions == ()
    assert second.selectionBehavior is None
    assert (
        "**The draft stands on another card**, once for both: "
        "Myocarditis in myositis: consider IV pulse methylprednisolone and urgent cardiology"
    ) in second.detail


def test_every_draft_of_the_rules_proposes_and_orders_nothing(ruleset: RuleSet) -> None:
    """No suggestion can come as an order, and each says where its dose is from."""
    drafts = [
        suggestion.resource
        for rule in ruleset.card_rules
        if rule.card
        for suggestion in rule.card.suggestions
    ]

    assert drafts
    assert {(draft["status"], draft["intent"]) for draft in drafts} == {("draft", "proposal")}
    for draft in drafts:
        assert re.search(r"\(.*\b20\d\d\b", draft["dosageInstruction"][0]["text"])


def test_reasons_for_not_following_a_card_are_codings(ruleset: RuleSet, example: Example) -> None:
    """They are those that the rule names, in its order, as the shared file declares them."""
    card, *_ = example("inclusion-body-myositis").cards

    assert encoded(card)["overrideReasons"] == [
        {
            "code": code,
            "system": OVERRIDE_REASONS,
            "display": ruleset.override_reasons[code].display,
        }
        for code in ("not-appropriate", "data-wrong")
    ]


def test_a_card_links_each_of_its_sources_once(ruleset: RuleSet, example: Example) -> None:
    """The links are the publications of the rule that have an address."""
    card, *_ = example("rp-ild-mda5").cards
    rule = next(r for r in ruleset.rules if r.id == "pulse-for-rapidly-progressive-ild")
    keys = [
        item.source
        for item in rule.file.evidence
        if item.when is None or item.source == "etg-myositis"
    ]
    of_prophylaxis = [
        *("eular-pjp-2022", "pneumocystis-review-2004"),
        *("dapsone-table", "etg-sulfonamide-hypersensitivity", "medsafe-dapsone-2022"),
    ]
    sources = [ruleset.sources[key] for key in dict.fromkeys([*keys, *of_prophylaxis])]
    cited = [source for source in sources if source.url is not None]

    assert [(link.label, link.url) for link in card.links] == [(s.title, s.url) for s in cited]
    assert card.source.url == cited[0].url
    assert cited[0].title in card.source.label


@pytest.mark.parametrize(
    "written, changed, said",
    [
        ("intent: proposal", "intent: propsal", "intent"),
        ("status: draft", "status: [draft]", "status"),
        ("resourceType: MedicationRequest", "resourceType: MedicationOrder", "FHIR R4"),
    ],
)
def test_a_draft_that_is_not_fhir_is_refused_when_the_rules_are_read(
    tmp_path: Path, written: str, changed: str, said: str
) -> None:
    """The fault is told at the suggestion, long before a patient would have met it."""
    shutil.copytree(CHECKOUT / "rules", tmp_path / "rules")
    file = tmp_path / "rules/suggestions.yaml"
    file.write_text(file.read_text("utf-8").replace(written, changed, 1), "utf-8")

    with pytest.raises(FilesInvalid) as refused:
        load_rules(tmp_path / "rules")

    (problem,) = refused.value.problems
    stands = file.read_text("utf-8").splitlines().index("pulse-methylprednisolone-adult:") + 1
    assert (problem.place.file, problem.place.line) == ("suggestions.yaml", stands)
    assert problem.code == "not-fhir"
    assert said in problem.message


def test_a_rule_with_a_lasting_reason_says_for_how_long(ruleset: RuleSet) -> None:
    """But for what threatens life: nothing keeps a critical card away, or a warning for long."""
    longest = {"critical": 0, "warning": 190, "info": 366}
    for rule in ruleset.card_rules:
        card = rule.card
        assert card is not None
        lasting = any(ruleset.override_reasons[each].lasting for each in card.override_reasons)
        threatens = "life-threatening" in rule.place.file or card.indicator == "critical"
        assert not lasting or threatens or card.quiet_days is not None, rule.id
        most = min(longest[card.indicator], 14) if threatens else longest[card.indicator]
        assert (card.quiet_days or 0) <= most, rule.id


def test_what_a_card_says_was_recalled_is_among_its_sources(ruleset: RuleSet) -> None:
    """Where a paragraph says so, the card cites evidence that nobody read in a source."""
    possible = Possible(ruleset.facts, bounds_of(ruleset.facts, ruleset.terms.vocabulary))
    for rule in ruleset.card_rules:
        card = rule.card
        assert card is not None
        unread = [
            when
            for evidence, when in zip(rule.file.evidence, card.cited, strict=True)
            if evidence.certainty == "unverified"
        ]
        for passage in card.passages:
            said = "".join(part for part in passage.text if isinstance(part, str))
            shown = [passage.when] if passage.when else []
            cited = any(when is None or possible.implies(shown, when) for when in unread)
            assert cited or "recalled" not in said, f"{rule.id}: {said}"


def test_of_an_order_a_reason_holds_for_that_order(ruleset: RuleSet) -> None:
    """A warning on an order that was overridden is given again with the next one."""
    for rule in ruleset.card_rules:
        card = rule.card
        if card is not None and "patient-view" not in rule.file.hooks:
            assert card.indicator != "warning" or card.quiet_days == 1, rule.id


# --- what a text doubts --------------------------------------------------------------------------


def with_text(raw: bytes, display: str, text: str, *, coded: bool) -> bytes:
    """A Bundle with another text of the Condition that has a display, with its codes or without."""
    bundle = json.loads(raw)
    for resource in (entry["resource"] for entry in bundle["entry"]):
        coding = resource.get("code", {}).get("coding", [])
        if resource["resourceType"] == "Condition" and display in [c["display"] for c in coding]:
            kept = [{"system": c["system"], "code": c["code"]} for c in coding] if coded else []
            resource["code"] = {"coding": kept, "text": text} if kept else {"text": text}
    return json.dumps(bundle).encode()


def test_a_code_whose_text_is_in_doubt_is_told_as_not_confirmed(
    advise_on: Callable[[bytes], Advice], bundle: Callable[[str], bytes]
) -> None:
    """A dangerous course is shown as one that is recorded, with the doubt."""
    raw = bundle("rp-ild-mda5")
    card, *_ = advise_on(
        with_text(raw, "Acute interstitial pneumonia", "?RP-ILD", coded=True)
    ).cards
    assert card.indicator == "critical"
    assert "not confirmed" in card.detail
    assert "in doubt by its text" in card.detail
    sure, *_ = advise_on(raw).cards
    assert "not confirmed" not in sure.detail


def test_a_dangerous_course_in_doubt_asks_to_settle_it(
    advise_on: Callable[[bytes], Advice], bundle: Callable[[str], bytes]
) -> None:
    """Without a code it is recorded as possible, and nothing is proposed as if it were so."""
    raw = with_text(bundle("rp-ild-mda5"), "Acute interstitial pneumonia", "RP-ILD?", coded=False)
    card, *_ = advise_on(raw).cards
    assert card.indicator == "warning"
    assert "recorded as possible" in card.detail
    assert "RP-ILD? (in doubt by its text)" in re.sub(r"\\", "", card.detail)


def test_of_myositis_in_doubt_no_card_speaks_as_if_it_were_so(
    advise_on: Callable[[bytes], Advice], bundle: Callable[[str], bytes]
) -> None:
    """The rules are asked, and find that the diagnosis is not known; the call does not fail."""
    advice = advise_on(
        with_text(bundle("rp-ild-mda5"), "Dermatomyositis", "?Dermatomyositis", coded=False)
    )
    assert (advice.applies, advice.cards) == (True, ())
