from __future__ import annotations

import decimal
import operator
import platform
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path
from typing import Any

import durable_rules_engine
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from cds.rules.engine import MAX_ATTRIBUTES, MAX_LEAVES, Engine, EngineFault
from cds.rules.formula import Both, Compare, Either, Formula, Operator, Value, leaves

REPOSITORY = Path(__file__).parents[2]

OPERATORS: dict[Operator, Callable[[Any, Any], bool]] = {
    "==": operator.eq,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


def is_true(name: str) -> Compare:
    """A condition over an attribute that is true or false."""
    return Compare(name, "==", True)


def holds(formula: Formula, attributes: Mapping[str, Value]) -> bool:
    """What a formula means, in plain Python with exact Decimals."""
    if isinstance(formula, Both):
        return all(holds(part, attributes) for part in formula.parts)
    if isinstance(formula, Either):
        return any(holds(part, attributes) for part in formula.parts)
    return formula.attribute in attributes and OPERATORS[formula.op](
        attributes[formula.attribute], formula.constant
    )


def fires(formula: Formula, attributes: Mapping[str, Value]) -> bool:
    """Whether an engine of this one rule fires it."""
    built = Engine({"rule": formula})
    try:
        return built.fired(attributes) == {"rule"}
    finally:
        built.close()


@pytest.mark.parametrize(
    ("below", "at", "above"),
    [("20.4", "20.5", "20.6"), ("-1e-15", "0", "1e-15"), ("-2", "-1", "0")],
)
@pytest.mark.parametrize(
    ("op", "expected"),
    [
        ("==", (False, True, False)),
        ("<", (True, False, False)),
        ("<=", (True, True, False)),
        (">", (False, False, True)),
        (">=", (False, True, True)),
    ],
)
def test_each_operator_below_at_and_above_its_constant(
    op: Operator, expected: tuple[bool, ...], below: str, at: str, above: str
) -> None:
    """A number is compared as the operator says, on both sides of the constant and on it."""
    formula = Compare("score", op, Decimal(at))
    got = tuple(fires(formula, {"score": Decimal(text)}) for text in (below, at, above))
    assert got == expected


@pytest.mark.parametrize(
    ("one", "other"),
    [(True, False), ("high", "higher"), ("", "x"), ("é", "e"), ("a'b,{c}", "a'b,{d}"), ("a", "a ")],
)
def test_texts_and_truths_equal_only_themselves(one: bool | str, other: bool | str) -> None:
    """A text or truth equals itself, and not what it begins or resembles."""
    for constant in (one, other):
        formula = Compare("level", "==", constant)
        assert [fires(formula, {"level": value}) for value in (one, other)] == [
            constant == one,
            constant == other,
        ]


@pytest.mark.parametrize("op", ["==", "<", "<=", ">", ">="])
def test_absent_attribute_never_fires(op: Operator) -> None:
    """A comparison with an absent attribute does not hold, whether the engine is asked or not."""
    built = Engine({"rule": Compare("absent", op, Decimal(1)), "other": is_true("present")})
    assert built.fired({}) == set()
    assert built.fired({"not named by any rule": Decimal(1)}) == set()
    assert built.fired({"present": False}) == set()
    assert built.fired({"present": True}) == {"other"}


def test_rules_are_told_apart_by_names_of_any_text() -> None:
    """Names come back as they were given, each for its own formula."""
    built = Engine(
        {
            'a "quoted" \\ name': is_true("one"),
            "m$not": Both((is_true("one"), is_true("two"))),
            "é, {}": Either((is_true("two"), is_true("three"))),
        }
    )
    assert built.fired({"one": True}) == {'a "quoted" \\ name'}
    assert built.fired({"two": True}) == {"é, {}"}
    assert built.fired({"one": True, "two": True}) == {'a "quoted" \\ name', "m$not", "é, {}"}


@pytest.mark.parametrize("constant", ["20.5", "0.1", "0", "-0.3", "1e-15", "999999999999999"])
@pytest.mark.parametrize("distance", ["1e-18", "-1e-18", "1e-35", "-1e-35", "1e-400", "-1e-400"])
def test_exact_where_doubles_coincide(constant: str, distance: str) -> None:
    """A number so near the constant that both have one double still lies on its own side."""
    with decimal.localcontext(decimal.Context(prec=1000)):
        value = Decimal(constant) + Decimal(distance)
    attributes = {"x": value}
    for op in OPERATORS:
        compare = Compare("x", op, Decimal(constant))
        assert fires(compare, attributes) == holds(compare, attributes), op


def test_neighbouring_constants_stay_apart() -> None:
    """A number between two constants that are two doubles apart lies between them."""
    lower, upper = Decimal("0.1"), Decimal("0.10000000000000003")
    built = Engine(
        {"above lower": Compare("x", ">", lower), "below upper": Compare("x", "<", upper)}
    )
    for text in ("0.10000000000000000001", "0.10000000000000001", "0.10000000000000002999999"):
        assert built.fired({"x": Decimal(text)}) == {"above lower", "below upper"}, text
    assert built.fired({"x": lower}) == {"below upper"}
    assert built.fired({"x": upper}) == {"above lower"}


def test_infinite_bounds_lie_beyond_every_constant() -> None:
    """An infinite attribute is above, or below, even the outermost constants."""
    high, low = Decimal("999999999999999.999999999"), Decimal("-999999999999999.999999999")
    built = Engine(
        {
            "over": Compare("x", ">", high),
            "at": Compare("x", "==", high),
            "under": Compare("x", "<", low),
        }
    )
    assert built.fired({"x": Decimal("Infinity")}) == {"over"}
    assert built.fired({"x": Decimal(10) ** 15}) == {"over"}
    assert built.fired({"x": high}) == {"at"}
    assert built.fired({"x": Decimal("-Infinity")}) == {"under"}


CONSTANTS = [
    Decimal(text)
    for text in ("0", "-0.0", "1e-15", "0.1", "0.3", "1e-5", "20", "20.5", "-7.25", "1e14", "-1e-9")
]
DISTANCES = [Decimal(sign).scaleb(-power) for sign in (1, -1) for power in (1, 16, 18, 30, 300)]


def near(constant: Decimal, distance: Decimal) -> Decimal:
    """A number at exactly this distance from a constant."""
    with decimal.localcontext(decimal.Context(prec=1000)):
        return constant + distance


NUMBERS = st.one_of(
    st.sampled_from(CONSTANTS),
    st.builds(near, st.sampled_from(CONSTANTS), st.sampled_from(DISTANCES)),
    st.decimals(min_value=-(10**15), max_value=10**15, allow_nan=False),
    st.sampled_from([Decimal("Infinity"), Decimal("-Infinity")]),
)
TEXTS = st.text(
    st.characters(blacklist_categories=["C", "Z"], blacklist_characters='"\\'), max_size=3
)
COMPARISONS = st.one_of(
    st.builds(
        Compare,
        st.sampled_from(["x", "y", "z"]),
        st.sampled_from(list(OPERATORS)),
        st.one_of(
            st.sampled_from(CONSTANTS),
            st.decimals(min_value=-(10**9), max_value=10**9, places=3),
        ),
    ),
    st.builds(Compare, st.sampled_from(["p", "q"]), st.just("=="), st.booleans()),
    st.builds(Compare, st.just("t"), st.just("=="), TEXTS),
)
FORMULAS = st.recursive(
    COMPARISONS,
    lambda parts: st.builds(
        lambda kind, chosen: kind(tuple(chosen)),
        st.sampled_from([Both, Either]),
        st.lists(parts, min_size=1, max_size=4),
    ),
    max_leaves=16,
)
ATTRIBUTES = st.fixed_dictionaries(
    {},
    optional={
        "x": NUMBERS,
        "y": NUMBERS,
        "z": NUMBERS,
        "p": st.booleans(),
        "q": st.booleans(),
        "t": TEXTS,
    },
)


@settings(max_examples=250, deadline=None)
@given(st.lists(FORMULAS, min_size=1, max_size=12), st.lists(ATTRIBUTES, min_size=1, max_size=4))
def test_agrees_with_plain_python(formulas: list[Formula], cases: list[dict[str, Value]]) -> None:
    """Random rules over random attributes fire exactly where they hold in Decimal arithmetic."""
    rules = {f"rule {index}": formula for index, formula in enumerate(formulas)}
    for formula in formulas:
        # Values at, and just beside, the constants that this example happens to have.
        for leaf in leaves(formula):
            if isinstance(leaf.constant, Decimal):
                cases.append({leaf.attribute: leaf.constant})
                cases.append({leaf.attribute: near(leaf.constant, Decimal("1e-40"))})
    try:
        built = Engine(rules)
    except ValueError as error:
        assume("ways to come true" not in str(error))
        raise
    try:
        for attributes in cases:
            expected = {name for name, rule in rules.items() if holds(rule, attributes)}
            assert built.fired(attributes) == expected
    finally:
        built.close()


def test_rules_beyond_one_ruleset_are_spread_over_several() -> None:
    """Two hundred rules of three conditions fire as they should, each on its own attributes."""
    rules = {
        f"rule {i}": Both(
            (is_true(f"a{i}"), Either((is_true(f"b{i}"), Compare(f"c{i}", ">=", Decimal(i)))))
        )
        for i in range(200)
    }
    built = Engine(rules)
    for chosen in (0, 17, 18, 199):
        assert built.fired({f"a{chosen}": True, f"c{chosen}": Decimal(chosen)}) == {
            f"rule {chosen}"
        }
    everything: dict[str, Value] = {f"a{i}": True for i in range(200)}
    assert built.fired(everything) == set()
    assert built.fired(everything | {f"b{i}": True for i in range(200)}) == set(rules)


@pytest.mark.parametrize("chosen", [0, 55, 56, 150, 299])
def test_a_disjunction_of_any_length_is_one_rule(chosen: int) -> None:
    """Three hundred alternatives, single or conjunctions, mean what a short disjunction means."""
    alternatives = Either(
        tuple(
            is_true(f"a{i}") if i % 2 else Both((is_true(f"a{i}"), Either((is_true(f"b{i}"),))))
            for i in range(300)
        )
    )
    formula = Both((Either((alternatives,)),))
    assert fires(formula, {f"a{chosen}": True, f"b{chosen}": True})
    assert fires(formula, {f"a{chosen}": True}) == bool(chosen % 2)
    assert not fires(formula, {"a300": True})


def test_the_largest_rules_that_are_taken_are_answered() -> None:
    """Rules at each limit of size fire when all of their attributes are true, and not one short."""
    wide = Both(tuple(is_true(f"a{i}") for i in range(MAX_LEAVES)))
    deep = Both((is_true("a0"), *(Either((is_true(f"a{i}"), is_true("b"))) for i in range(1, 10))))
    grouped: Formula = is_true("a0")
    for i in range(1, 15):
        grouped = (Both if i % 2 else Either)((is_true(f"a{i}"), grouped))
    many = Both(tuple(Either(tuple(is_true(f"a{8 * i + j}") for j in range(8))) for i in range(3)))
    attributes: dict[str, Value] = {f"a{i}": True for i in range(MAX_LEAVES)}
    for formula in (wide, deep, grouped, many):
        assert fires(formula, attributes)
    attributes["a55"] = False
    assert not fires(wide, attributes)
    assert not fires(many, {f"a{i}": True for i in range(16)})


def test_the_largest_fact_is_answered() -> None:
    """A fact of as many of the longest texts as a ruleset can name is read in full."""
    text = "\N{MATHEMATICAL FRAKTUR CAPITAL X}" * 64
    formula = Both(tuple(Compare(f"a{i}", "==", text) for i in range(MAX_LEAVES)))
    attributes: dict[str, Value] = {f"a{i}": text for i in range(MAX_LEAVES)}
    assert fires(formula, attributes)
    assert not fires(formula, attributes | {"a55": text[:-1]})


@pytest.mark.parametrize(
    "text", ["1e-400", "-1e-400", "1.23456789012345678e-15", "-999999999999999"]
)
def test_numbers_are_written_short(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """However near to zero a number is, the C code is given at most 40 characters with a dot."""
    batches: list[str] = []
    assert_facts = durable_rules_engine.assert_facts

    def listen(handle: int, batch: str) -> tuple[int, int]:
        batches.append(batch)
        result: tuple[int, int] = assert_facts(handle, batch)
        return result

    built = Engine({"one": Compare("x", "<", Decimal(0))})
    monkeypatch.setattr(durable_rules_engine, "assert_facts", listen)
    assert built.fired({"x": Decimal(text)}) == ({"one"} if text.startswith("-") else set())
    written = re.findall(r'"a0":([^,}]*)', batches[0])
    assert len(written) == 1
    assert re.fullmatch(r"-?\d+\.\d+", written[0])
    assert len(written[0]) <= 40


def conjunction(size: int) -> Formula:
    """A conjunction of this many conditions."""
    return Both(tuple(is_true(f"a{i}") for i in range(size)))


def nested(groups: int) -> Formula:
    """A formula of so many groups, one inside the other."""
    formula: Formula = Both((is_true("a"), is_true("b")))
    for index in range(groups - 1):
        formula = (Both if index % 2 else Either)((is_true(f"c{index}"), formula))
    return formula


def test_more_attributes_than_can_be_told_apart_are_refused() -> None:
    """The C code knows a name by its hash alone, and hashes are checked for so many names only."""
    formulas = {f"r{i}": is_true(f"x{i}") for i in range(MAX_ATTRIBUTES + 1)}
    with pytest.raises(ValueError, match="10001 attributes, at most 10000"):
        Engine(formulas)


@pytest.mark.parametrize(
    ("formula", "problem"),
    [
        (conjunction(MAX_LEAVES + 1), "57 comparisons .at most 56."),
        (Either((conjunction(MAX_LEAVES + 1), is_true("a"))), "57 comparisons .at most 56."),
        (nested(17), "17 groups .at most 15."),
        (
            Both(tuple(Either((is_true(f"a{i}"), is_true(f"b{i}"))) for i in range(10))),
            "1024 ways to come true .at most 512.",
        ),
        (Both(()), "Both has no parts"),
        (Both((is_true("a"), Either(()))), "Either has no parts"),
        (Compare("", "==", True), "named by a text"),
        (Compare("x", ">", Decimal("NaN")), "a number lies between -1e.15 and 1e.15"),
        (Compare("x", ">", Decimal("Infinity")), "a number lies between -1e.15 and 1e.15"),
        (Compare("x", ">", Decimal("-1e15")), "a number lies between -1e.15 and 1e.15"),
        (Compare("x", ">", Decimal("9e-16")), "0 or at least 1E-15 away"),
        (Compare("x", "==", 20), "a bool, str or Decimal, not int"),  # type: ignore[arg-type]  # refused
        (Compare("x", "!=", Decimal(1)), "one of ==, <"),  # type: ignore[arg-type]  # refused
        (Compare("x", "<", "high"), "only numbers have an order"),
        (Compare("x", ">=", True), "only numbers have an order"),
        (Compare("x", "==", 'a"b'), "no quotation mark"),
        (Compare("x", "==", "a\\u0041"), "no quotation mark or backslash"),
        (Compare("x", "==", "a\nb"), "all printable"),
        (Compare("x", "==", "a\0b"), "all printable"),
        (Compare("x", "==", "a\ud800b"), "all printable"),
        (Compare("x", "==", "a" * 65), "at most 64 characters"),
        (
            Both((Compare("x", "==", "20"), Compare("x", ">", Decimal(20)))),
            "'x' with a number, another comparison with text",
        ),
        (
            Both(
                (
                    Compare("x", ">", Decimal("0.1")),
                    Compare("x", "<", Decimal("0.1000000000000000055")),
                )
            ),
            "too close",
        ),
        (
            Both(
                (
                    Compare("x", ">", Decimal("0.1")),
                    Compare("x", "<", Decimal("0.10000000000000002")),
                )
            ),
            "too close",
        ),
    ],
)
def test_what_cannot_be_evaluated_exactly_is_refused_at_construction(
    formula: Formula, problem: str
) -> None:
    """A formula that the engine would crash on or misread is an error that says why."""
    with pytest.raises(ValueError, match=problem):
        Engine({"fine": is_true("fine"), "rule": formula})


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (Decimal("NaN"), "between -1e.15 and 1e.15"),
        (Decimal("sNaN"), "between -1e.15 and 1e.15"),
        (Decimal("1000000000000000.000001"), "between -1e.15 and 1e.15"),
        (Decimal("-1e999999"), "between -1e.15 and 1e.15"),
        ("20", "'x' is text where the rules compare it with a number"),
        (True, "'x' is true or false where the rules compare it with a number"),
        (20, "'x' is int where"),
        (20.5, "'x' is float where"),
    ],
)
def test_a_number_that_cannot_be_written_is_a_fault(value: Any, problem: str) -> None:
    """A value that the rules cannot be asked about is an error that does not repeat the value."""
    built = Engine({"rule": Compare("x", ">", Decimal(20)), "other": is_true("other")})
    with pytest.raises(EngineFault, match=problem) as caught:
        built.fired({"x": value, "other": True})
    assert str(value) not in str(caught.value)
    assert built.fired({"x": Decimal(21), "other": True}) == {"rule", "other"}


@pytest.mark.parametrize(
    "value", ['say "secret"', "secret\\", "secret\n", "\udfff secret", "secret" * 11]
)
def test_a_text_that_cannot_be_written_is_a_fault(value: str) -> None:
    """A text that the C parser would misread is refused, without repeating it."""
    built = Engine({"rule": Compare("x", "==", "high")})
    with pytest.raises(EngineFault, match="Attribute 'x' cannot be given") as caught:
        built.fired({"x": value})
    assert "secret" not in str(caught.value)


def test_threads_share_an_engine() -> None:
    """Evaluations from eight threads at once are answered each for its own attributes."""
    rules: dict[str, Formula] = {
        f"{attribute} at least {i}": Compare(attribute, ">=", Decimal(i))
        for attribute in ("x", "y")
        for i in range(40)
    }
    built = Engine(rules)

    def wrong(seed: int) -> int:
        cases = [
            {"x": Decimal((seed * 7 + i) % 41), "y": Decimal((seed + i * 3) % 41)}
            for i in range(150)
        ]
        return sum(
            built.fired(case) != {name for name, rule in rules.items() if holds(rule, case)}
            for case in cases
        )

    switch_interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        with ThreadPoolExecutor(8) as pool:
            assert list(pool.map(wrong, range(8))) == [0] * 8
    finally:
        sys.setswitchinterval(switch_interval)


def test_a_failure_of_the_engine_fails_the_evaluation_and_not_the_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """When the C code reports an error half way, that evaluation fails and the next is right."""
    built = Engine({"one": is_true("one"), "two": is_true("two")})

    def fail(handle: int, state: int) -> None:
        raise durable_rules_engine.error("Could not complete and start action, error code: 307")

    with monkeypatch.context() as broken:
        broken.setattr(durable_rules_engine, "complete_and_start_action", fail)
        with pytest.raises(EngineFault, match=r"failed .error: .* code: 307.\. .* no result"):
            built.fired({"one": True})
    assert built.fired({"two": True}) == {"two"}


def test_an_interrupt_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    """An interrupt passes through as it is, and the next evaluation starts afresh."""
    built = Engine({"one": is_true("one"), "two": is_true("two")})

    def interrupt(handle: int, state: int) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as broken:
        broken.setattr(durable_rules_engine, "start_action_for_state", interrupt)
        with pytest.raises(KeyboardInterrupt):
            built.fired({"one": True})
    assert built.fired({"two": True}) == {"two"}


def test_an_answer_that_lost_a_rule_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    """When the engine says that a fact matched but no rule fires, there is no answer."""
    built = Engine({"one": Compare("one", ">", Decimal(5))})
    assert_facts = durable_rules_engine.assert_facts

    def matched(handle: int, batch: str) -> tuple[int, int]:
        return 0, assert_facts(handle, batch)[1]

    with monkeypatch.context() as broken:
        broken.setattr(durable_rules_engine, "assert_facts", matched)
        with pytest.raises(EngineFault, match="contradicts itself"):
            built.fired({"one": Decimal(4)})
    assert built.fired({"one": Decimal(6)}) == {"one"}


@pytest.mark.parametrize(
    ("formula", "attributes", "asked"),
    [
        (is_true("a"), {"a": False}, False),
        (is_true("a"), {}, False),
        (is_true("a"), {"a": True}, True),
        (Compare("a", "==", False), {"a": False}, True),
        (Both((is_true("a"), Compare("n", ">", Decimal(5)))), {"a": True}, False),
        (Both((is_true("a"), Compare("n", ">", Decimal(5)))), {"a": True, "n": Decimal(1)}, True),
        (Either((is_true("a"), is_true("b"))), {"a": False, "b": True}, True),
        (Both((is_true("c"), Either((is_true("a"), is_true("b"))))), {"a": True, "b": True}, False),
        (Either((Both((is_true("a"), is_true("b"))), is_true("a"))), {"b": True}, False),
    ],
)
def test_the_engine_is_asked_only_where_a_rule_may_fire(
    monkeypatch: pytest.MonkeyPatch,
    formula: Formula,
    attributes: dict[str, Value],
    asked: bool,
) -> None:
    """Where every way for each rule to come true lacks something, the answer is none at once."""
    built = Engine({"one": formula})
    batches = []
    assert_facts = durable_rules_engine.assert_facts

    def noted(handle: int, batch: str) -> tuple[int, int]:
        batches.append(batch)
        answer: tuple[int, int] = assert_facts(handle, batch)
        return answer

    monkeypatch.setattr(durable_rules_engine, "assert_facts", noted)
    assert built.fired(attributes) == ({"one"} if holds(formula, attributes) else set())
    assert bool(batches) is asked


def test_a_closed_engine_says_so() -> None:
    """After close an evaluation is an error, and closing again is not."""
    built = Engine({"one": is_true("one")})
    built.close()
    built.close()
    with pytest.raises(EngineFault, match="was closed"):
        built.fired({"one": True})


def test_a_closed_engine_gives_its_memory_back() -> None:
    """Building and closing engines, as each reload of the rules does, takes no more memory."""
    script = """
import resource
from cds.rules.engine import Engine
from cds.rules.formula import Compare

def build(times):
    for _ in range(times):
        built = Engine({"one": Compare("one", "==", True)})
        assert built.fired({"one": True}) == {"one"}
        built.close()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

before = build(200)
print(build(3000) - before)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=REPOSITORY, capture_output=True, text=True, timeout=30
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 8 * 1024, "kilobytes on Linux"


def test_keep_memory_applies_to_glibc_only() -> None:
    """The allocator takes every setting where it is glibc's, and evaluation goes on as before."""
    script = """
from cds.rules.engine import Engine, keep_memory
from cds.rules.formula import Compare
print(keep_memory(), Engine({"one": Compare("one", "==", True)}).fired({"one": True}))
"""
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=REPOSITORY, capture_output=True, text=True, timeout=30
    )
    applied = platform.libc_ver()[0] == "glibc"
    assert done.stdout == f"{applied} frozenset({{'one'}})\n", done.stderr
