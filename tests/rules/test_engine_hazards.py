"""What goes wrong with the C engine when used freely, and that `Engine` is safe from it.

Each hazard is first shown in the bare C module, in a process of its own because it may crash or
hang, and then the same situation is put to `Engine`. A hazard that can no longer be shown means
that another release of the engine is installed, whose safe use was never measured.
"""

from __future__ import annotations

import struct
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import durable_rules_engine
import pytest

import cds.rules.engine
from cds.rules.engine import MAX_ATTRIBUTES, Engine, EngineFault
from cds.rules.formula import Both, Compare, Either, Formula, Value

REPOSITORY = Path(__file__).parents[2]

PREAMBLE = """
import json
import durable_rules_engine as bare
from decimal import Decimal
from cds.rules.engine import Engine, EngineFault
from cds.rules.formula import Both, Compare, Either

def ruleset(**conditions):
    rules = {name: {"all": [{"m": condition}]} for name, condition in conditions.items()}
    return bare.create_ruleset("rules", json.dumps(rules))

def drain(handle, state):
    started = bare.start_action_for_state(handle, state)
    action = started and started[1]
    fired = []
    while action:
        fired.append(action.split('"')[1])
        action = bare.complete_and_start_action(handle, state)
    return fired

def ask(handle, facts):
    batch = facts if isinstance(facts, str) else json.dumps(facts)
    result, state = bare.assert_facts(handle, batch)
    return result, drain(handle, state)
"""

# glibc then fills fresh and freed memory with noise, so that what is read of it always shows.
NOISE = {"MALLOC_PERTURB_": "165"}


def run(
    script: str, environment: dict[str, str] | None = None, timeout: float = 120
) -> subprocess.CompletedProcess[str]:
    """The script in a process of its own, after PREAMBLE."""
    return subprocess.run(
        [sys.executable, "-c", PREAMBLE + script],
        cwd=REPOSITORY,
        env=environment,
        capture_output=True,
        text=True,
        timeout=timeout,
    )


def answer(script: str, environment: dict[str, str] | None = None) -> str:
    """What a script prints that must end well."""
    done = run(script, environment)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def crashes(script: str, environment: dict[str, str] | None = None) -> bool:
    """Whether the process was ended by a signal."""
    return run(script, environment).returncode < 0


def is_true(name: str) -> Compare:
    """A condition over an attribute that is true or false."""
    return Compare(name, "==", True)


def test_facts_that_match_no_rule() -> None:
    """The library's own host raises before any action runs; we answer that nothing fired."""
    assert "MessageNotHandledException" in answer(
        """
from durable.engine import Host
actions = []
rule = {"all": [{"m": {"a": True}}], "run": lambda c: actions.append(1)}
host = Host({"rules": {"one": rule}})
try:
    host.assert_facts("rules", [{"a": True}, {"b": True}])
except Exception as error:
    assert not actions
    print(type(error).__name__)
import os
os._exit(0)  # its threads never end
"""
    )
    built = Engine({"one": is_true("a")})
    assert built.fired({"a": False}) == set()
    assert built.fired({"b": True}) == set()
    assert built.fired({"a": True}) == {"one"}


def test_the_host_of_the_library_is_never_imported() -> None:
    """Importing the engine brings the C module only, not the library with its threads."""
    assert answer("import sys; print([name for name in sys.modules if name == 'durable'])") == "[]"


def test_state_deleted_where_nothing_fired() -> None:
    """Deleting such a state frees noise and crashes; ours always has its sentinels' actions."""
    assert crashes(
        """
handle = ruleset(one={"a": True})
bare.assert_facts(handle, '[{"a":false}]')
bare.delete_state(handle, "0")
""",
        NOISE,
    )
    assert (
        answer(
            """
built = Engine({"one": Compare("a", "==", True)})
print([sorted(built.fired({"a": value})) for value in (False, False, True, False)])
""",
            NOISE,
        )
        == "[[], [], ['one'], []]"
    )


def test_sentinels_that_never_fire_do_not_delete_the_state() -> None:
    """Where not even the first sentinel fired, the handle goes and the state is left alone."""
    assert (
        answer(
            """
real = bare.assert_facts
rules = {"one": Compare("a", "==", True)}
built = Engine(rules)
for attempt in (lambda: Engine(rules), lambda: built.fired({"a": True})):
    bare.assert_facts = lambda handle, batch: real(handle, '[{"unknown":true}]')
    try:
        print(attempt())
    except EngineFault as error:
        print("sentinel b, e did not fire" in str(error))
    bare.assert_facts = real
    print(sorted(built.fired({"a": True})))
""",
            NOISE,
        ).splitlines()
        == ["True", "['one']"] * 2
    )


def test_one_handle_in_two_threads() -> None:
    """Two evaluations that interleave on a bare handle crash; ours take turns.

    The order that two threads may come to is played in one, so that it comes every time.
    """
    assert crashes(
        """
handle = ruleset(one={"a": True})
_, state = bare.assert_facts(handle, '[{"a":true}]')    # thread 1
bare.start_action_for_state(handle, state)               # thread 1
_, other = bare.assert_facts(handle, '[{"a":true}]')    # thread 2
drain(handle, other)                                     # thread 2
bare.delete_state(handle, "0")                           # thread 2
bare.complete_and_start_action(handle, state)            # thread 1
""",
        NOISE,
    )
    assert (
        answer(
            """
import sys
from concurrent.futures import ThreadPoolExecutor
sys.setswitchinterval(1e-6)
built = Engine({str(i): Compare("a", "==", Decimal(i)) for i in range(20)})
cases = [i % 20 for i in range(2000)]
with ThreadPoolExecutor(8) as pool:
    got = list(pool.map(lambda i: built.fired({"a": Decimal(i)}), cases))
print(got == [{str(i)} for i in cases])
""",
            NOISE,
        )
        == "True"
    )


def test_more_sessions_than_the_index_has_room_for() -> None:
    """From the 1,025th live session the C engine has no memory; we never have more than one."""
    assert (
        answer(
            """
handle = ruleset(one={"a": True})
try:
    for index in range(1100):
        ask(handle, [{"sid": str(index), "a": True}])
except MemoryError:
    print(index)
import os
os._exit(0)
"""
        )
        == "1024"
    )
    built = Engine({"one": is_true("a")})
    assert all(built.fired({"a": True}) == {"one"} for _ in range(2_500))


def test_an_empty_batch() -> None:
    """A batch of no facts hands out a state at random; without attributes we do not ask."""
    assert crashes(
        """
handle = ruleset(one={"a": True})
print(ask(handle, "[]"))
"""
    )
    assert Engine({"one": is_true("a")}).fired({}) == set()
    assert Engine({}).fired({"a": True}) == set()


def test_division_by_zero() -> None:
    """Arithmetic in a bare rule can end the process; in a formula it cannot be written."""
    assert crashes(
        """
handle = ruleset(one={"a": {"$div": {"$l": {"$m": "b"}, "$r": {"$m": "c"}}}})
ask(handle, '[{"a":1,"b":1,"c":0}]')
"""
    )
    quotient = {"$div": {"$l": {"$m": "b"}, "$r": {"$m": "c"}}}
    with pytest.raises(ValueError, match="a bool, str or Decimal, not dict"):
        Engine({"one": Compare("a", "==", quotient)})  # type: ignore[arg-type]  # is refused


def test_many_rules_that_share_a_condition() -> None:
    """With 256 rules on one condition the C engine crashes; ours are spread."""
    assert crashes(
        """
handle = ruleset(**{f"r{i}": {"a": True} for i in range(256)})
print(len(ask(handle, '[{"a":true}]')[1]))
"""
    )
    rules = {f"rule {i}": is_true("a") for i in range(300)}
    assert Engine(rules).fired({"a": True}) == set(rules)


def test_many_different_first_conditions() -> None:
    """With 513 conditions to begin with, building never ends; ours are spread."""
    with pytest.raises(subprocess.TimeoutExpired):
        run("ruleset(**{f'r{i}': {f'a{i}': True} for i in range(520)})", timeout=1.5)
    rules = {f"rule {i}": is_true(f"a{i}") for i in range(600)}
    assert Engine(rules).fired({f"a{i}": True for i in range(600)}) == set(rules)


def test_ways_to_come_true_multiply() -> None:
    """A conjunction of disjunctions fires once for each choice; ours is refused beyond 512."""
    assert (
        answer(
            """
groups = [{"$or": [{f"a{i}_{j}": True} for j in range(4)]} for i in range(6)]
handle = ruleset(one={"$and": groups})
print(len(ask(handle, [{f"a{i}_{j}": True for i in range(6) for j in range(4)}])[1]))
"""
        )
        == "4096"
    )
    choices = Both(tuple(Either(tuple(is_true(f"a{i}_{j}") for j in range(4))) for i in range(6)))
    with pytest.raises(ValueError, match="4096 ways to come true"):
        Engine({"one": choices})


def test_negation() -> None:
    """The bare `$not` fires although its condition holds; a formula has no negation at all.

    Where the negated fact comes after the other, the rule has fired before it is seen.
    """
    assert (
        answer(
            """
rules = {"one": {"all": [{"first": {"a": True}}, {"second$not": {"b": True}}]}}
handle = bare.create_ruleset("rules", json.dumps(rules))
result, state = bare.assert_fact(handle, '{"a":true}')
fired = drain(handle, state)
bare.assert_fact(handle, '{"b":true}')
print(fired)
"""
        )
        == "['one']"
    )
    with pytest.raises(ValueError, match="one of ==, <"):
        Engine({"one": Compare("a", "!=", Decimal(1))})  # type: ignore[arg-type]  # is refused


# Two words of one 32-bit FNV-1a hash, by which the C code tells names and sessions apart.
TWIN, OTHER_TWIN = "costarring", "liquid"


def test_names_are_told_apart_by_a_hash_alone() -> None:
    """An attribute whose name has the hash of another fires its rule; our names are our own."""
    assert (
        answer(
            f"""
handle = ruleset(one={{"{TWIN}": True}})
print(ask(handle, '[{{"{OTHER_TWIN}":true}}]')[1])
"""
        )
        == "['one']"
    )
    built = Engine({"one": is_true(TWIN), "other": is_true(OTHER_TWIN)})
    assert built.fired({TWIN: True}) == {"one"}
    assert built.fired({OTHER_TWIN: True}) == {"other"}


def test_sessions_are_told_apart_by_a_hash_alone() -> None:
    """Facts of two sessions are joined; we have one session, emptied after each evaluation."""
    assert (
        answer(
            f"""
rules = {{"one": {{"all": [{{"first": {{"a": True}}}}, {{"second": {{"b": True}}}}]}}}}
handle = bare.create_ruleset("rules", json.dumps(rules))
bare.assert_fact(handle, '{{"sid":"{TWIN}","a":true}}')
result, state = bare.assert_fact(handle, '{{"sid":"{OTHER_TWIN}","b":true}}')
print(drain(handle, state))
"""
        )
        == "['one']"
    )
    built = Engine({"one": Both((is_true("a"), is_true("b")))})
    assert built.fired({"a": True}) == built.fired({"b": True}) == set()


def fnv(text: str) -> int:
    """The hash of the C code."""
    hashed = 2166136261
    for byte in text.encode():
        hashed = (hashed ^ byte) * 16777619 % 2**32
    return hashed


def test_the_names_we_give_have_hashes_of_their_own() -> None:
    """No name that a fact of ours carries has the hash of another, or of a word of the engine."""
    assert fnv(TWIN) == fnv(OTHER_TWIN)
    ours = [*(f"a{index}" for index in range(MAX_ATTRIBUTES)), "sid", "id", "m", "b", "e", "c"]
    words = "lt lte gt gte eq neq mt imt iall iany ex nex or and m add sub mul div l r forward s i"
    names = [*ours, *(f"${word}" for word in words.split())]
    assert len({fnv(name) for name in names}) == len(names)


@pytest.mark.parametrize(
    ("fact", "attributes"),
    [
        ('{"a":1e-05}', {"a": Decimal("0.00001")}),
        ('{"a":Infinity}', {"a": Decimal("Infinity")}),
        ("{" + ",".join(f'"x{i}":1.0' for i in range(256)) + ',"a":1.0}', {"a": Decimal(1)}),
    ],
)
def test_a_fact_that_cannot_be_read_drops_the_batch(
    fact: str, attributes: dict[str, Value]
) -> None:
    """The rest of such a batch is lost and the call reports success; we write what can be read."""
    assert (
        answer(
            f"""
handle = ruleset(one={{"$gt": {{"a": 0.0}}}}, begin={{"begin": True}})
print(ask(handle, '[{{"begin":true}},{fact},{{"a":1.0}}]'))
"""
        )
        == "(0, ['begin'])"
    )
    built = Engine({"one": Compare("a", ">", Decimal(0)), "two": Compare("x1", "==", Decimal(1))})
    attributes |= {f"x{i}": Decimal(1) for i in range(256)}
    assert built.fired(attributes) == {"one", "two"}


def test_a_constant_that_cannot_be_read() -> None:
    """A small constant breaks a bare ruleset; ours is written out."""
    assert run('ruleset(one={"$gt": {"a": 1e-05}})').returncode == 1
    built = Engine({"one": Compare("a", ">", Decimal("1e-05"))})
    assert built.fired({"a": Decimal("2e-05")}) == {"one"}
    assert built.fired({"a": Decimal("1e-05")}) == set()


@pytest.mark.parametrize("lost", ["b", "e"])
def test_a_dropped_batch_is_a_fault(lost: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Should a batch be dropped after all, either sentinel tells, and the next batch is well."""
    built = Engine({"one": is_true("a")})
    assert_facts = durable_rules_engine.assert_facts

    def lose(handle: int, batch: str) -> tuple[int, int]:
        result: tuple[int, int] = assert_facts(handle, batch.replace(f'"{lost}":true', '"z":true'))
        return result

    with monkeypatch.context() as broken:
        broken.setattr(durable_rules_engine, "assert_facts", lose)
        with pytest.raises(EngineFault, match=f"sentinel {lost} did not fire"):
            built.fired({"a": True})
    assert built.fired({"a": True}) == {"one"}


def test_an_unreadable_number_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    """Should a number be written with an exponent after all, that is never an empty answer."""
    built = Engine({"one": Compare("a", "<", Decimal(1))})
    with monkeypatch.context() as broken:
        broken.setattr(cds.rules.engine, "_number", repr)
        with pytest.raises(EngineFault, match="sentinel e did not fire"):
            built.fired({"a": Decimal("1e-05")})
    assert built.fired({"a": Decimal("1e-05")}) == {"one"}


@pytest.fixture
def comma(tmp_path: Path) -> dict[str, str]:
    """An environment in which the locale xx_XX writes numbers with a comma.

    It is written here, byte for byte as glibc's localedef would, as machines seldom have one.
    """
    elements = [
        b",\0",
        b".\0",
        b"\3\3\0\0",
        struct.pack("=i", 44),
        struct.pack("=i", 46),
        b"UTF-8\0",
    ]
    category = 1  # LC_NUMERIC
    offset, offsets = 8 + 4 * len(elements), []
    for element in elements:
        offsets.append(offset)
        offset += len(element)
    folder = tmp_path / "xx_XX"
    folder.mkdir()
    (folder / "LC_NUMERIC").write_bytes(
        struct.pack(f"={2 + len(offsets)}I", 0x20031115 ^ category, len(offsets), *offsets)
        + b"".join(elements)
    )
    return {"LOCPATH": str(tmp_path)}


def test_comma_decimal_locale(comma: dict[str, str]) -> None:
    """Under a comma-decimal locale 20.4 >= 20.5 fires; we fault, say why, and recover."""
    set_locale = """
import locale
locale.setlocale(locale.LC_NUMERIC, "xx_XX")
assert locale.localeconv()["decimal_point"] == ","
"""
    assert (
        answer(
            set_locale
            + """
handle = ruleset(one={"$gte": {"a": 20.5}})
print(ask(handle, '[{"a":20.4}]')[1])
""",
            comma,
        )
        == "['one']"
    )
    faults_and_recovers = """
try:
    print(built.fired({"a": Decimal("20.4")}))
except EngineFault as error:
    print("Set LC_NUMERIC=C" in str(error))
locale.setlocale(locale.LC_NUMERIC, "C")
print([sorted(built.fired({"a": Decimal(text)})) for text in ("20.4", "20.5")])
"""
    rules = 'rules = {"one": Compare("a", ">=", Decimal("20.5"))}\n'
    recovered = ["True", "[[], ['one']]"]
    assert (
        answer(
            rules + "built = Engine(rules)" + set_locale + faults_and_recovers, comma
        ).splitlines()
        == recovered
    )
    assert answer(
        set_locale
        + rules
        + """
try:
    Engine(rules)
except EngineFault as error:
    print(error)
""",
        comma,
    ).startswith("The rule engine misreads numbers")


def test_faults_that_repeat_do_not_take_memory(comma: dict[str, str]) -> None:
    """A process left in a comma-decimal locale faults on every call without growing."""
    grown = answer(
        """
import locale, resource
built = Engine({"one": Compare("a", ">=", Decimal("20.5"))})
locale.setlocale(locale.LC_NUMERIC, "xx_XX")

def fault(times):
    for _ in range(times):
        try:
            print(built.fired({"a": Decimal(1)}))
        except EngineFault:
            pass
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

before = fault(100)
print(fault(2000) - before)
""",
        comma,
    )
    assert int(grown) < 8 * 1024, "kilobytes on Linux"


def test_comparison_of_a_text_with_a_number() -> None:
    """The bare engine compares 10.0 < "9" as texts; kinds that differ are a fault here."""
    assert (
        answer("""print(ask(ruleset(one={"$lt": {"a": "9"}}), '[{"a":10.0}]')[1])""") == "['one']"
    )
    assert answer("""print(ask(ruleset(one={"a": "1.5"}), '[{"a":1.5}]')[1])""") == "['one']"
    built = Engine({"one": Compare("a", "==", "1.5"), "two": is_true("b")})
    for attributes in ({"a": Decimal("1.5")}, {"b": Decimal(1)}, {"b": "true"}):
        with pytest.raises(EngineFault, match="where the rules compare it with"):
            built.fired(attributes)
    assert built.fired({"a": "1.5", "b": True}) == {"one", "two"}


def test_twenty_is_twenty() -> None:
    """However many zeros a number is written with, it is the same number."""
    for constant in ("20", "20.0", "2e1"):
        built = Engine({"one": Compare("a", "==", Decimal(constant))})
        for value in ("20", "20.00", "0.2e2"):
            assert built.fired({"a": Decimal(value)}) == {"one"}


def test_order_of_texts() -> None:
    """The bare engine puts "ab" after "ab ", reading past its end; texts have no order here."""
    assert (
        answer("""print(ask(ruleset(one={"$gt": {"a": "ab "}}), '[{"a":"ab"}]')[1])""") == "['one']"
    )
    with pytest.raises(ValueError, match="only numbers have an order"):
        Engine({"one": Compare("a", ">", "ab ")})


def test_escapes_in_texts() -> None:
    """The bare engine takes an escape and what it stands for as different; neither is let in."""
    assert answer(r"""print(ask(ruleset(one={"a": "é"}), '[{"a":"é"}]')[1])""") == "[]", (
        "json.dumps wrote an escape"
    )
    built = Engine({"one": Compare("a", "==", "é")})
    assert built.fired({"a": "é"}) == {"one"}
    with pytest.raises(EngineFault, match="backslash"):
        built.fired({"a": "\\u00e9"})


def test_attributes_named_as_the_sentinels_are() -> None:
    """An attribute by the name of a sentinel, marker or id is an attribute like any other."""
    rules: dict[str, Formula] = {name: is_true(name) for name in ("m", "b", "e", "sid", "id", "$s")}
    rules["c"] = Compare("c", "==", Decimal("0.75"))
    built = Engine(rules)
    assert built.fired({"m": False}) == set()
    attributes: dict[str, Value] = {name: True for name in rules if name != "c"}
    assert built.fired(attributes | {"c": Decimal("0.75")}) == set(rules)
    assert built.fired(dict.fromkeys(attributes, False) | {"c": Decimal(1)}) == set()
