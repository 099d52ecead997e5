"""The criteria of a card: met or not, what was seen, and where that is from."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cds.advice import Advice, advise, load_rules
from cds.cards.card import Card
from cds.fhir.bundles import RESOURCE_TYPES, Delivery, decode, read_resource
from tests.cards.conftest import AS_OF, CHECKOUT

Example = Callable[[str], Advice]


def criteria(card: Card) -> list[list[str]]:
    """The cells of the table of criteria, without its head."""
    part = card.detail.split("**Why this card**\n\n")[1].split("\n\n")[0]
    return [line[2:-2].split(" | ") for line in part.splitlines()[2:]]


def test_each_criterion_says_whether_it_is_met_and_from_what(example: Example) -> None:
    """Criterion, a sign with a word, the value seen, and the resource with its date."""
    card, *_ = example("myocarditis").cards

    assert criteria(card) == [
        [
            "Idiopathic inflammatory myopathy other than inclusion body myositis",
            "✓ yes",
            "",
            "Polymyositis, 2026-09-07 (Condition/myocarditis-polymyositis)",
        ],
        [
            "Myocarditis, recorded without doubt",
            "✓ yes",
            "",
            "Myocarditis in polymyositis, active on cardiac magnetic resonance, 2026-11-12 "
            "(Condition/myocarditis-myocarditis)",
        ],
        ["not: Intravenous pulse methylprednisolone within 14 days", "✓ yes", "not recorded", ""],
        ["not: Intravenous pulse methylprednisolone, ever", "✓ yes", "no", ""],
    ]


def test_criteria_that_are_not_met_are_shown_as_such(example: Example) -> None:
    """A definition that is not met shows which of its parts fails, and with how many measures.

    Those of its parts that are met do not say why it is not.
    """
    card, *_ = example("not-improved").cards

    met = {row[0].lstrip("– "): row[1:3] for row in criteria(card)}

    assert met["not: IMACS definition of improvement"] == ["✓ yes", "no"]
    assert met["at least 3 of 6: improvement ≥ 20\u202f%"] == ["✗ no", "0"]
    assert "at most 2 of 6: worsening ≥ 25\u202f%" not in met


def test_what_derives_a_fact_is_told_where_it_first_stands(example: Example) -> None:
    """The definition is asked for twice, and what it counts is told once."""
    card, *_ = example("not-improved").cards
    said = [row[0].lstrip("– ") for row in criteria(card)]
    assert said.count("not: IMACS definition of improvement") == 2
    assert said.count("at least 3 of 6: improvement ≥ 20\u202f%") == 1


def test_only_current_treatment_is_cited_for_what_is_current(example: Example) -> None:
    """Drugs stopped years ago stand in the table of treatment, not behind “now”."""
    card, *_ = example("refractory-dermatomyositis").cards

    cited = {row[0].lstrip("– "): row[3] for row in criteria(card)}

    assert cited["Systemic glucocorticoid, now"] == (
        "Prednisolone tablets, ordered 2026-07-15, 12.5 mg on a day of treatment "
        "(MedicationRequest/refractory-prednisolone-2026-07-15)"
    )
    assert card.detail.count("| MedicationRequest/refractory-") == 8


def test_a_resource_is_cited_once_for_a_criterion(example: Example) -> None:
    """A Condition whose two codes assert the same group of diagnoses stands there once."""
    card, *_ = example("rp-ild-already-pulsed").cards

    first = criteria(card)[0]

    assert first[3].count("Condition/already-pulsed-antisynthetase") == 1


def test_what_is_counted_is_cited(example: Example) -> None:
    """A count of findings cites those it counts; one of measures leaves that to their table."""
    risk = next(c for c in example("jak-inhibitor-with-risk").cards if "JAK" in c.summary)
    response, *_ = example("improved-at-six-months").cards

    cited = {row[0].lstrip("– "): row[3] for row in criteria(risk)}
    assert "Hypertension" in cited["at least 1 of 7: cardiovascular risk"]
    cited = {row[0].lstrip("– "): row[3] for row in criteria(response)}
    assert cited["at least 3 of 6: improvement ≥ 20\u202f%"] == ""


def test_what_decides_nothing_of_what_is_counted_is_not_cited(
    tmp_path: Path, bundle: Callable[[str], bytes]
) -> None:
    """What holds in a group that as a whole does not is not cited for a count."""
    shutil.copytree(CHECKOUT / "rules", tmp_path / "rules")
    rule = tmp_path / "rules/criteria/jak-inhibitor-risk.yaml"
    text = rule.read_text(encoding="utf-8")
    changed = "where: {any: [it, {all: [finding.smoking, finding.stroke]}]}"
    assert text.count("where: it") == 1
    rule.write_text(text.replace("where: it", changed), encoding="utf-8")
    delivery = Delivery(delivered=set(RESOURCE_TYPES))
    read_resource(decode(bundle("jak-inhibitor-with-risk")), delivery, "Bundle")
    patient = delivery.patients[0].id
    assert patient is not None

    cards = advise(delivery, patient, load_rules(tmp_path / "rules"), AS_OF).cards

    risk = next(card for card in cards if "JAK" in card.summary)
    cited = next(row[3] for row in criteria(risk) if "at least 1 of 7" in row[0])
    assert "Hypertension" in cited
    assert "smok" not in cited.casefold()


def test_what_nothing_on_record_speaks_for_has_one_row(example: Example) -> None:
    """That no life-threatening involvement is recorded is not told part by part."""
    card = next(c for c in example("improved-at-six-months").cards if "cancer" in c.summary)

    said = [row[0] for row in criteria(card)]

    assert "not: Life-threatening involvement that began, or was recorded, lately" in said
    assert not [each for each in said if "Myocarditis" in each]


def by_criterion(card: Card) -> dict[str, list[str]]:
    """The cells of each criterion, by what it says."""
    return {row[0].lstrip("– "): row[1:] for row in criteria(card)}


def test_a_change_among_the_criteria_is_for_better_or_worse(example: Example) -> None:
    """No sign has to be read against the direction of the criterion."""
    strength = "Muscle strength, worsening relative to baseline \\< 25\u202f%"

    improved, *_ = example("improved-at-six-months").cards
    worsened, *_ = example("worsened").cards
    unknown, *_ = example("undetermined-strength-missing").cards

    assert by_criterion(improved)[strength][:2] == ["✓ yes", "improved 26.8\u202f%"]
    assert by_criterion(worsened)[strength][:2] == ["✗ no", "worse 25.8\u202f%"]
    assert by_criterion(unknown)[strength][:2] == [
        "? not known",
        "anything from worse 100\u202f% to improved 27.1\u202f%",
    ]


def test_a_change_without_a_percentage_keeps_its_words(
    bundle: Callable[[str], bytes], advise_on: Callable[[bytes], Advice]
) -> None:
    """Of a strength of which nothing is recorded at baseline nothing is called better or worse."""
    content: Any = json.loads(bundle("undetermined-strength-missing"))
    content["entry"] = [
        e for e in content["entry"] if "mmt8-150-2026-05" not in e["resource"]["id"]
    ]

    card, *_ = advise_on(json.dumps(content).encode()).cards

    strength = by_criterion(card)["Muscle strength, worsening relative to baseline \\< 25\u202f%"]
    assert strength[:2] == ["? not known", ""]


def test_what_is_asked_to_be_unknown_is_told_as_not_known(example: Example) -> None:
    """One row with one sign, and no “not known: yes”."""
    card, *_ = example("undetermined-strength-missing").cards

    assert by_criterion(card)["IMACS definition of improvement"] == ["? not known", "", ""]
    assert "not known:" not in card.detail


def test_of_several_that_none_holds_each_is_told(example: Example) -> None:
    """A row says what is not recorded, not only that something is not."""
    card = next(c for c in example("measures-missing").cards if c.summary.startswith("Missing"))

    found = by_criterion(card)

    assert found["not: Myocarditis"] == ["✓ yes", "no", ""]
    assert found["not: Rapidly progressive interstitial lung disease"] == ["✓ yes", "no", ""]
    assert found["not all of"][:2] == ["✓ yes", ""]
    assert "not: at least one of" not in found
