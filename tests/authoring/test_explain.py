import itertools
import json
import shutil
from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner, Result

from cds import cli
from cds.advice import Advice, advise, load_rules
from cds.authoring.explain import (
    Explanation,
    Line,
    UnknownRule,
    describe,
    explain,
    find_rule,
)
from cds.chart.chart import read_chart
from cds.chart.facts.declaration import Value
from cds.chart.quantities import UNKNOWN, Interval
from cds.fhir.bundles import RESOURCE_TYPES, Delivery, decode, read_resource
from cds.located import Place
from cds.rules.conditions import (
    All,
    Any_,
    Comparison,
    Condition,
    Constant,
    Count,
    Is,
    IsUnknown,
    Not,
    Operator,
)
from cds.rules.nodes import compile_node
from cds.rules.reading import read_ruleset
from cds.rules.ruleset import Rule, RuleSet

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "fhir_examples"
DAY = date(2026, 11, 16)


@pytest.fixture(scope="module")
def shipped() -> RuleSet:
    """The shipped rules."""
    return load_rules(ROOT / "rules")


def explained(rule: str, example: str, ruleset: RuleSet, **changed: str) -> Explanation:
    """The explanation of a rule for an example patient; texts of the Bundle may be replaced."""
    text = (EXAMPLES / f"{example}.bundle.json").read_text(encoding="utf-8")
    for was, becomes in changed.items():
        assert was in text
        text = text.replace(was, becomes)
    delivery = Delivery(delivered=set(RESOURCE_TYPES))
    read_resource(decode(text.encode()), delivery, "Bundle")
    (patient,) = {p.id for p in delivery.patients}
    assert patient is not None
    advice = advise(delivery, patient, ruleset, DAY, everything=True)
    asked = find_rule(rule, ruleset)
    assert isinstance(asked, Rule)
    return explain(asked, ruleset, advice)


def lines_of(line: Line) -> Iterator[Line]:
    """A condition and every condition inside it."""
    yield line
    for part in line.parts:
        yield from lines_of(part)


def wanted(explanation: Explanation) -> list[list[str]]:
    """What would have to be different, thing by thing, in words."""
    assert explanation.changes is not None
    return [[each.says.replace("\u202f", " ") for each in thing] for thing in explanation.changes]


# --- the tree ------------------------------------------------------------------------------------


def test_each_condition_says_what_it_saw_where_and_against_what(shipped: RuleSet) -> None:
    """A condition has its value, the parameter it is compared with, and the Observations."""
    explanation = explained("imacs-improvement", "undetermined-strength-missing", shipped)
    strength = next(
        line
        for line in lines_of(explanation.conditions)
        if line.fact == "measure.muscle_strength.worsening"
    )
    limit = strength.threshold

    assert explanation.truth is None
    assert limit is not None
    assert (limit.value, limit.unit, limit.parameter) == (Decimal(25), "%", "worsening")
    assert (limit.source, limit.certainty) == ("rider-2004", "verified")
    assert strength.truth is None
    assert [(e.reference, e.date) for e in strength.evidence] == [
        ("Observation/strength-missing-mmt8-150-2026-05-18", "2026-05-18")
    ]


def test_derived_facts_are_opened_up(shipped: RuleSet) -> None:
    """Below a derived fact stand the conditions of the rule that derives it."""
    explanation = explained("response-improved", "improved-at-six-months", shipped)
    derived = [line for line in lines_of(explanation.conditions) if line.derived_by]

    assert [line.derived_by for line in derived] == ["imacs-improvement"]
    assert [part.kind for part in derived[0].parts[0].parts] == ["count", "count", "fact"]


def test_the_words_fit_a_terminal(shipped: RuleSet) -> None:
    """No line is wider than 80 columns, except for a reference that cannot be broken."""
    for rule in shipped.rules:
        explanation = explained(rule.id, "worsened", shipped)
        wide = [line for line in describe(explanation) if len(line) > 80]
        assert all(line.strip(" │)").rsplit("(", 1)[-1].startswith("Observation/") for line in wide)


def test_the_tree_is_readable(shipped: RuleSet) -> None:
    """The report shows sign and word, value, threshold, source and references as a tree."""
    explanation = explained("inadequate-response", "not-improved", shipped)
    text = "\n".join(describe(explanation)).replace("\u202f", " ")

    assert "✓ yes  Days on the current treatment line that the response is known for ≥ 84" in text
    assert "threshold: adequate_trial = 84 days (project-policy, unverified" in text
    assert "derived by the rule imacs-improvement:" in text
    assert "(Observation/not-improved-" in text
    assert "✗ no  at least 3 of 6: improvement ≥ 20 %" in text
    assert "to be different" not in text


# --- what would have to be different -------------------------------------------------------------


def test_a_rule_that_fired_needs_nothing(shipped: RuleSet) -> None:
    """Of a rule that fired nothing would have to be different."""
    explanation = explained("response-improved", "improved-at-six-months", shipped)
    assert (explanation.truth, explanation.card_given) == (True, True)
    assert explanation.changes == ()
    assert explanation.missing == ()


def test_the_cheapest_members_of_a_count_are_named(shipped: RuleSet) -> None:
    """Three measures to improve, and one fewer that is worse: a measure serves both where it can.

    Muscle strength has to be among those that improve, since it may not be worse either.
    """
    explanation = explained("response-improved", "worsened", shipped)
    said = wanted(explanation)

    assert len(said) == 4
    assert sum("improvement relative to baseline ≥ 20 %" in thing[0] for thing in said) == 3
    assert sum("worsening relative to baseline < 25 %" in thing[0] for thing in said) == 1
    assert ["Muscle strength, improvement relative to baseline ≥ 20 %"] in said


def test_the_missing_fact_that_decides_is_named_with_what_it_decides(shipped: RuleSet) -> None:
    """Of a rule that is unknown, each deciding fact says what follows from it either way."""
    explanation = explained(
        "escalate-inadequate-response", "undetermined-strength-missing", shipped
    )
    (missing,) = explanation.missing

    assert missing.fact == "measure.muscle_strength.worsening"
    assert (missing.if_met, missing.if_not_met) == (("false",), ("true",))
    assert wanted(explanation) == [["Muscle strength, worsening relative to baseline ≥ 25 %"]]


def test_not_and_not_known_are_gone_through(shipped: RuleSet) -> None:
    """Where a pulse within 14 days silences the rule, its absence is what would be different."""
    explanation = explained("pulse-for-rapidly-progressive-ild", "rp-ild-already-pulsed", shipped)
    assert ["Intravenous pulse methylprednisolone not within 14 days"] in wanted(explanation)


def test_a_condition_that_asks_for_something_unknown_says_so(shipped: RuleSet) -> None:
    """A rule that asks whether something is undetermined needs it to be not known."""
    explanation = explained("response-undetermined", "improved-at-six-months", shipped)
    ((first, *_),) = wanted(explanation)
    assert first.endswith("or not known")


def test_all_that_fails_is_listed(shipped: RuleSet) -> None:
    """Every failing part of `all` is named, and those that hold are not."""
    explanation = explained("first-line-untreated", "rp-ild-already-pulsed", shipped)
    assert wanted(explanation) == [
        ["Rapidly progressive interstitial lung disease: no"],
        ["Systemic glucocorticoid, ever: no"],
    ]


def test_a_card_that_gives_way_names_the_other(shipped: RuleSet) -> None:
    """A rule that fired while a more urgent card of its problem is given says which."""
    explanation = explained("response-not-improved", "not-improved", shipped)
    assert (explanation.truth, explanation.card_given) == (True, False)
    assert explanation.instead == "escalate-inadequate-response"
    assert any("escalate-inadequate-response" in line for line in describe(explanation))


def test_a_patient_whom_the_rules_are_not_about_gets_no_card(shipped: RuleSet) -> None:
    """That the rules do not apply is said, whatever the conditions are."""
    explanation = explained("response-improved", "no-myositis", shipped)
    assert (explanation.applies, explanation.card_given) == (False, False)
    assert "The rules are not about this patient" in "\n".join(describe(explanation))


# --- the shortest list, against trying everything ------------------------------------------------

PLACE = Place("test.yaml")
BOOLEANS = ("diagnosis.myositis", "finding.lung_disease")
MEASURES = ("measure.strength", "measure.activity")
NUMBERS = tuple(
    Interval(Decimal(low), Decimal(high))
    for low, high in ((30, 30), (0, 0), (-30, -30), (0, 30), (-30, 0), (-30, 30))
)


@cache
def minimal_rules() -> RuleSet:
    """The least rule set that is valid; it derives `response.improved`."""
    return read_ruleset(ROOT / "tests" / "rules" / "minimal")


def comparison(measure: str, what: str, op: Operator, limit: int) -> Condition:
    """A change of a measure against a number."""
    return Comparison(f"{measure}.{what}", op, Constant(Decimal(limit), "%"), PLACE)


LEAVES = st.one_of(
    st.sampled_from((*BOOLEANS, "response.improved")).map(lambda fact: Is(fact, PLACE)),
    st.builds(
        comparison, st.sampled_from(MEASURES), st.just("improvement"), st.just(">="), st.just(20)
    ),
    st.builds(
        comparison, st.sampled_from(MEASURES), st.just("worsening"), st.just("<"), st.just(25)
    ),
)


def _inside(parts: st.SearchStrategy[Condition]) -> st.SearchStrategy[Condition]:
    several = st.lists(parts, min_size=1, max_size=3).map(tuple)
    return st.one_of(
        several.map(lambda of: All(of, PLACE)),
        several.map(lambda of: Any_(of, PLACE)),
        parts.map(lambda of: Not(of, PLACE)),
        parts.map(lambda of: IsUnknown(of, PLACE)),
        st.builds(
            lambda how, n, of: Count(how, n, "g", tuple((BOOLEANS[0], p) for p in of), None, PLACE),
            st.sampled_from(("at_least", "at_most", "exactly")),
            st.integers(0, 2),
            st.lists(parts, min_size=2, max_size=3),
        ),
    )


CONDITIONS = st.recursive(LEAVES, _inside, max_leaves=6)


def changes_of(measure: str, gain: Interval) -> dict[str, Value]:
    """Both faces of the change of a measure."""
    loss = Interval(-gain.high, -gain.low)
    return {f"{measure}.improvement": gain, f"{measure}.worsening": loss}


WAYS: list[list[dict[str, Value]]] = [
    *[[dict[str, Value]({fact: truth}) for truth in (True, False, None)] for fact in BOOLEANS],
    *[[changes_of(measure, gain) for gain in (*NUMBERS, UNKNOWN)] for measure in MEASURES],
]
"""Every way in which each thing can be."""


@given(condition=CONDITIONS, now=st.tuples(*map(st.sampled_from, WAYS)))
@settings(max_examples=150, deadline=None)
def test_no_shorter_list_exists(condition: Condition, now: tuple[dict[str, Value], ...]) -> None:
    """The list is as long as the best one found by trying every way in which things can be."""
    minimal = minimal_rules()
    derived = minimal.deriving["response.improved"].node
    node = compile_node(condition, minimal.facts)

    def truth_of(ways: tuple[dict[str, Value], ...]) -> bool | None:
        values = {fact: value for way in ways for fact, value in way.items()}
        return node.test({**values, "response.improved": derived.test(values)})

    best = min(
        (
            sum(way is not was for way, was in zip(ways, now, strict=True))
            for ways in itertools.product(*WAYS)
            if truth_of(ways) is True
        ),
        default=None,
    )
    taper = next(rule for rule in minimal.rules if rule.id == "taper")
    rule = msgspec.structs.replace(taper, node=node)
    values = {fact: value for way in now for fact, value in way.items()}
    chart = read_chart(Delivery(), {}, "1", minimal.terms, DAY)
    advice = Advice("1", DAY, True, chart, minimal.evaluate_values(values), (), ())
    explanation = explain(rule, minimal, advice)

    assert explanation.shortest
    assert (None if explanation.changes is None else len(explanation.changes)) == best


# --- the command ---------------------------------------------------------------------------------


def run(*arguments: object) -> Result:
    """Run ``cds rules explain`` in this process."""
    return CliRunner().invoke(cli.app, ["rules", "explain", *map(str, arguments)])


def test_the_command_explains_requests_like_bundles() -> None:
    """A CDS Hooks request is explained like the Bundle of the same patient."""
    of_bundle, of_request = (
        run("response-improved", EXAMPLES / f"worsened.{kind}.json", "--as-of", DAY)
        for kind in ("bundle", "request")
    )
    assert (of_bundle.exit_code, of_bundle.stderr) == (0, "")
    assert "4 things would have to be different" in of_bundle.stdout
    assert of_request.stdout == of_bundle.stdout


def test_a_card_about_an_order_that_was_not_selected_is_not_given() -> None:
    """At order-select a rule may fire on a draft that was selected before, and then says so."""
    request = EXAMPLES / "jak-inhibitor-selected.request.json"
    selected, before = (
        run(rule, request, "--as-of", DAY).stdout
        for rule in ("jak-inhibitor-ordered-with-risk", "pneumocystis-prophylaxis-with-order")
    )
    assert "✓ fires" in selected and "Its card is not given" not in selected
    assert "✓ fires" in before and "Its card is not given: not at this hook" in before


def test_json_has_all_of_it() -> None:
    """``--json`` gives the tree with exact numbers, and the shortest list."""
    result = run(
        "response.imacs.improved",
        EXAMPLES / "worsened.bundle.json",
        "--as-of",
        DAY,
        "--json",
    )
    told: dict[str, Any] = json.loads(result.stdout)
    assert (told["rule"], told["truth"], told["shortest"]) == ("imacs-improvement", False, True)
    assert told["conditions"]["parts"][0]["parts"][0]["threshold"]["value"] == 20
    assert len(told["changes"]) == 4


def test_a_name_that_no_rule_has_is_refused_with_the_nearest() -> None:
    """An unknown rule ends with status 1 and a suggestion."""
    result = run("response-improvd", EXAMPLES / "worsened.bundle.json")
    assert result.exit_code == 1
    assert "did you mean `response-improved`?" in result.stderr


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    """A file that is no FHIR ends with status 1, and with its name and place."""
    broken = tmp_path / "broken.json"
    broken.write_text('{"resourceType": "Bundle",\n  oops}', encoding="utf-8")
    result = run("response-improved", broken)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith(f"{broken}:2:3")


def test_another_folder_of_rules_may_be_explained(tmp_path: Path) -> None:
    """``--rules`` names the folder, whose thresholds are the ones shown."""
    folder = shutil.copytree(ROOT / "rules", tmp_path / "rules")
    file = folder / "criteria" / "imacs-improvement.yaml"
    text = file.read_text(encoding="utf-8")
    file.write_text(text.replace("improvement: {value: 20", "improvement: {value: 35"), "utf-8")
    result = run(
        "imacs-improvement", EXAMPLES / "worsened.bundle.json", "--as-of", DAY, "--rules", folder
    )
    assert "at least 3 of 6: improvement ≥ 35" in result.stdout


def test_only_active_rules_are_found(shipped: RuleSet) -> None:
    """A name is that of an active rule or of the fact that it derives."""
    assert find_rule("response.worsened", shipped).id == "worsening"
    with pytest.raises(UnknownRule, match="`nothing` is not an active rule"):
        find_rule("nothing", shipped)
