"""Which formulas are true, asked of the C rule engine in the one way that is known to be safe.

The engine is durable_rules 2.0.28, a Rete network in C. It is fast, and it has defects that crash
the process or answer wrongly in silence. Everything here serves to stay clear of them:

* The C module `durable_rules_engine` is called directly, and only answers with rule names.
* One flat fact an evaluation, one session, one live state a handle, a lock around each handle.
* A rule is a marker and comparisons with constants under `$and` and `$or`, with never more than
  `MAX_LEAVES` comparisons in a ruleset; what is more is spread over several rulesets ("shards").
* Each fact travels between two sentinel facts. Both must fire, and the last carries a number that
  must compare rightly, or the answer is thrown away: a dropped batch would otherwise look like
  attributes for which nothing is true.
* Facts and constants are written by hand, as the C parser reads them.
* After any fault the handle is dropped, and built anew for the next evaluation.

The engine compares doubles, the formulas are over Decimals. A number whose double coincides with
that of a constant it differs from is written as the next double on its own side of that constant,
so every comparison comes out as it does in Decimal.

A shard names at most `MAX_LEAVES` attributes of at most `MAX_TEXT` characters, so no fact comes
near the 255 properties and the 60 kB that the C code takes.
"""

from __future__ import annotations

import ctypes
import itertools
import locale
import math
import platform
import threading
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal

import durable_rules_engine
import msgspec

from cds.rules.formula import Both, Compare, Either, Formula, Value, leaves

MAX_LEAVES = 56
"""Comparisons in one ruleset: the C code walks them with a stack of 64 entries."""

MAX_GROUPS = 15
"""`$and` and `$or` in one rule: the C code has room for 31 marks, two for each."""

MAX_PATHS = 512
"""Ways in which one rule may come true: the engine fires it once for each, at about 0.7 µs."""

MAX_TEXT = 64
"""Characters in a text attribute or constant."""

MAX_ATTRIBUTES = 10_000
"""Attributes of all rules: the C code tells their names apart by a hash alone, and those that are
given here are known to have different ones up to this many."""

LARGEST = Decimal(10) ** 15
"""Attributes lie within ±LARGEST, constants strictly so; infinity is written as LARGEST."""

SMALLEST = Decimal("1e-15")
"""Constants are zero or at least this far from it: what lies between is written as one value."""

_BELOW_SMALLEST = 1e-16
_LEAST_USUAL, _MOST_USUAL = 1e-14, 1e14

_SESSION = "0"
_MARKER, _BEGIN, _END, _CANARY = "m", "b", "e", "c"
_SENTINELS = frozenset({_BEGIN, _END})
_SENTINEL_RULES = (
    f'"{_BEGIN}":{{"all":[{{"m":{{"{_BEGIN}":true}}}}]}}',
    f'"{_END}":{{"all":[{{"m":{{"$and":[{{"{_END}":true}},'
    f'{{"$gt":{{"{_CANARY}":0.5}}}},{{"$lt":{{"{_CANARY}":0.875}}}}]}}}}]}}',
)
_BATCH = (
    f'[{{"sid":"{_SESSION}","id":"1","{_BEGIN}":true}},'
    f'{{"sid":"{_SESSION}","id":"2","{_MARKER}":true%s}},'
    f'{{"sid":"{_SESSION}","id":"3","{_END}":true,"{_CANARY}":0.75}}]'
)
_OPERATORS = {"<": "$lt", "<=": "$lte", ">": "$gt", ">=": "$gte"}
_KINDS: Mapping[type, str] = {bool: "true or false", str: "text", Decimal: "a number"}


class EngineFault(RuntimeError):
    """The engine gave no answer that can be trusted. Its text holds no attribute's value."""


class Engine:
    """One stratum of rules, compiled and ready to be evaluated from any thread."""

    def __init__(self, formulas: Mapping[str, Formula]) -> None:
        """Check and compile the formulas, given by rule name.

        Raises:
            ValueError: a formula cannot be expressed exactly and safely.
            EngineFault: the engine does not answer rightly in this process, for example because
                of a comma-decimal locale.
        """
        flat = {name: _flatten(name, formula) for name, formula in formulas.items()}
        # What asks for more that must be so is seldom to be asked: whole shards of it are left out.
        flat = dict(sorted(flat.items(), key=lambda item: _asks_to_be_true(item[1])))
        self._attributes = _attributes(flat)
        self._shards = [_Shard(rules, self._attributes) for rules in _shards(flat)]
        try:
            for shard in self._shards:
                shard.open()
        except BaseException:
            self.close()
            raise

    def fired(self, attributes: Mapping[str, Value]) -> frozenset[str]:
        """The names of the rules whose formula is true.

        Attributes that no rule names are ignored. A shard is not asked where each of its rules
        compares, in every way in which it could come true, some attribute that is absent or has
        another truth value: as there is no negation, none of them could fire.

        Raises:
            EngineFault: an attribute is not of the kind that the rules compare it with, or cannot
                be written safely, or the engine failed. There is never a partial answer.
        """
        known = self._attributes
        written: dict[str, str] = {}
        present: set[str] = set()
        for name, value in attributes.items():
            if name not in known:
                continue
            attribute = known[name]
            if attribute.kind is bool and (value is True or value is False):  # nearly all are
                written[name], said = attribute.truths[value]
                present.add(said)
            else:
                written[name] = attribute.pair + _written(name, value, attribute)
                present.add(name)
        return frozenset(name for shard in self._shards for name in shard.fired(written, present))

    def close(self) -> None:
        """Give the handles back; to evaluate afterwards raises EngineFault."""
        for shard in self._shards:
            shard.close()


def keep_memory() -> bool:
    """Let the allocator keep freed memory for the next evaluation; call it once, at start.

    Each evaluation takes and frees some hundred kilobytes, which glibc otherwise hands back to the
    system and asks for again. Returns whether it was applied: other C libraries are left alone.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    trim_threshold, top_pad, mmap_threshold = -1, -2, -3  # M_… of malloc.h
    mebibyte = 1 << 20
    applied = [
        mallopt(trim_threshold, 256 * mebibyte),
        mallopt(top_pad, 16 * mebibyte),
        mallopt(mmap_threshold, 32 * mebibyte),
    ]
    return all(applied)


class _Shard:
    """One ruleset of the C engine and its lock. All that is done to a handle is done here."""

    def __init__(
        self, rules: Sequence[tuple[str, Formula]], attributes: Mapping[str, _Attribute]
    ) -> None:
        named = dict.fromkeys(leaf.attribute for _, rule in rules for leaf in leaves(rule))
        self._attributes = tuple(named)
        self._names = {f"r{index}": name for index, (name, _) in enumerate(rules)}
        self._needed = list(dict.fromkeys(_needed(rule) for _, rule in rules))
        compiled = (
            f'"r{index}":{{"all":[{{"m":{_rule(rule, attributes)}}}]}}'
            for index, (_, rule) in enumerate(rules)
        )
        self._definition = "{" + ",".join([*compiled, *_SENTINEL_RULES]) + "}"
        self._lock = threading.Lock()
        self._handle: int | None = None
        self._closed = False

    def open(self) -> None:
        """Compile the ruleset, and see its sentinels fire around a fact without attributes."""
        with self._lock:
            self._evaluate(_BATCH % "")

    def fired(self, written: Mapping[str, str], present: set[str]) -> set[str]:
        """The names of the rules that fired, each attribute given as the C parser reads it.

        ``present`` says in ``_needed``'s words what is there.
        """
        if not any(map(present.issuperset, self._needed)):
            return set()
        pairs = filter(None, map(written.get, self._attributes))
        with self._lock:
            fired = self._evaluate(_BATCH % "".join(pairs))
        return {self._names[short] for short in fired}

    def close(self) -> None:
        with self._lock:
            self._closed = True
            self._drop()

    def _evaluate(self, batch: str) -> set[str]:
        if self._closed:
            raise EngineFault("The rule engine was closed: build a new one to evaluate rules.")
        try:
            if self._handle is None:
                self._handle = durable_rules_engine.create_ruleset("rules", self._definition)
            return _evaluate(self._handle, batch)
        except BaseException as error:
            # An interrupt between two calls counts too: the state it leaves behind would take part
            # in the next evaluation.
            self._drop()
            if isinstance(error, Exception) and not isinstance(error, EngineFault):
                code = f": {error}" if isinstance(error, durable_rules_engine.error) else ""
                raise EngineFault(
                    f"The rule engine failed ({type(error).__name__}{code}). {_NO_RESULT}"
                ) from error
            raise

    def _drop(self) -> None:
        handle, self._handle = self._handle, None
        if handle is not None:
            durable_rules_engine.delete_ruleset(handle)


_NO_RESULT = "This evaluation has no result; the engine is built anew for the next."


def _evaluate(handle: int, batch: str) -> set[str]:
    """Assert a batch, collect the short names of the rules that fired, and clear the state.

    `delete_state` frees pointers that the C code sets only when an action is started, so it must
    not be called where none was. Nor is it called once the C code has reported an error: that
    state (0.5 MB) is lost with the handle, which is better than to free what may be half built.
    """
    matched, state = durable_rules_engine.assert_facts(handle, batch)
    started = durable_rules_engine.start_action_for_state(handle, state)
    action = started[1] if started else None
    fired = set()
    while action is not None:
        fired.add(action[2 : action.index('"', 2)])  # {"rule":{"m":fact}}
        action = durable_rules_engine.complete_and_start_action(handle, state)
    if started:
        durable_rules_engine.delete_state(handle, _SESSION)
    missing = _SENTINELS - fired
    if missing:
        raise EngineFault(_about_missing(missing))
    fired -= _SENTINELS
    # 0: every fact matched a rule; 1: one did not, which can only be the one between the sentinels.
    if matched != (0 if fired else 1):
        raise EngineFault(
            f"The rule engine contradicts itself: {len(fired)} rules fired where it reported "
            f"result {matched}. {_NO_RESULT}"
        )
    return fired


def _about_missing(sentinels: frozenset[str]) -> str:
    point = locale.localeconv()["decimal_point"]
    if point != ".":
        return (
            f"The rule engine misreads numbers: the LC_NUMERIC locale of this process writes them "
            f'with "{point}" where the engine needs ".". Set LC_NUMERIC=C, with LC_ALL unset, and '
            "let no code call locale.setlocale for it."
        )
    return (
        f"The rule engine dropped part of what it was given: sentinel "
        f"{', '.join(sorted(sentinels))} did not fire. {_NO_RESULT}"
    )


def _needed(formula: Formula) -> frozenset[str]:
    """What must be present for a formula to hold: attributes, of a truth value with that value."""
    if isinstance(formula, Compare):
        name, constant = formula.attribute, formula.constant
        return frozenset({_truth(name, constant) if isinstance(constant, bool) else name})
    of_parts = [_needed(part) for part in formula.parts]
    if isinstance(formula, Both):
        return frozenset().union(*of_parts)
    return of_parts[0].intersection(*of_parts[1:])


def _asks_to_be_true(formula: Formula) -> int:
    return sum(needed.endswith("=True") for needed in _needed(formula))


def _truth(name: str, value: bool) -> str:
    """What ``_needed`` calls an attribute that has this truth value."""
    return f"{name}={value}"


def _flatten(rule: str, formula: Formula) -> Formula:
    """The same formula without groups of one part, or groups in a group of their own kind."""
    if isinstance(formula, Compare):
        return formula
    kind = type(formula)
    if not formula.parts:
        raise ValueError(f"Rule {rule!r}: {kind.__name__} has no parts; give it at least one.")
    parts: list[Formula] = []
    for part in (_flatten(rule, part) for part in formula.parts):
        parts.extend(part.parts if isinstance(part, kind) else [part])
    return parts[0] if len(parts) == 1 else kind(tuple(parts))


def _fits(formula: Formula) -> bool:
    """Whether the engine takes this flattened formula as one rule."""
    return (
        sum(1 for _ in leaves(formula)) <= MAX_LEAVES
        # The marker makes one more group, which a conjunction shares with it.
        and _groups(formula) + (not isinstance(formula, Both)) <= MAX_GROUPS
        and _paths(formula) <= MAX_PATHS
    )


def _groups(formula: Formula) -> int:
    return 0 if isinstance(formula, Compare) else 1 + sum(map(_groups, formula.parts))


def _paths(formula: Formula) -> int:
    """In how many ways the formula may come true, which is how often the engine fires it."""
    if isinstance(formula, Compare):
        return 1
    paths = map(_paths, formula.parts)
    return math.prod(paths) if isinstance(formula, Both) else sum(paths)


def _split(rule: str, formula: Formula) -> Iterator[Formula]:
    """Formulas that each fit, and of which one is true exactly if the given one is."""
    if _fits(formula):
        yield formula
    elif isinstance(formula, Either):
        piece: Formula | None = None
        for part in formula.parts:
            if not _fits(part):
                raise ValueError(_too_big(rule, part))
            joined = part if piece is None else _flatten(rule, Either((piece, part)))
            if piece is not None and not _fits(joined):
                yield piece
                joined = part
            piece = joined
        if piece is not None:
            yield piece
    else:
        raise ValueError(_too_big(rule, formula))


def _too_big(rule: str, formula: Formula) -> str:
    return (
        f"Rule {rule!r} asks for too much at once: a conjunction with "
        f"{sum(1 for _ in leaves(formula))} comparisons (at most {MAX_LEAVES}), {_groups(formula)} "
        f"groups (at most {MAX_GROUPS}) and {_paths(formula)} ways to come true (at most "
        f"{MAX_PATHS}). Work part of it out beforehand, as an attribute of its own."
    )


def _shards(formulas: Mapping[str, Formula]) -> Iterator[list[tuple[str, Formula]]]:
    """The rules in their order, cut so that no shard has more than MAX_LEAVES comparisons."""
    shard: list[tuple[str, Formula]] = []
    size = 0
    for name, formula in formulas.items():
        for rule in _split(name, formula):
            count = sum(1 for _ in leaves(rule))
            if size + count > MAX_LEAVES:
                yield shard
                shard, size = [], 0
            shard.append((name, rule))
            size += count
    if shard:
        yield shard


def _rule(formula: Formula, attributes: Mapping[str, _Attribute]) -> str:
    """The C engine's form of a flattened formula, with the marker as its first condition."""
    parts = formula.parts if isinstance(formula, Both) else (formula,)
    conditions = [f'{{"{_MARKER}":true}}', *(_expression(part, attributes) for part in parts)]
    return f'{{"$and":[{",".join(conditions)}]}}'


def _expression(formula: Formula, attributes: Mapping[str, _Attribute]) -> str:
    if isinstance(formula, Compare):
        constant = formula.constant
        text = _number(float(constant)) if isinstance(constant, Decimal) else _literal(constant)
        pair = f'{{"{attributes[formula.attribute].key}":{text}}}'
        return pair if formula.op == "==" else f'{{"{_OPERATORS[formula.op]}":{pair}}}'
    parts = ",".join(_expression(part, attributes) for part in formula.parts)
    return f'{{"{"$and" if isinstance(formula, Both) else "$or"}":[{parts}]}}'


class _Attribute(msgspec.Struct, frozen=True):
    """What the rules compare an attribute with: its kind and, by their double, its numbers.

    ``key`` is what the C engine calls it, ``pair`` what its value is written after. ``truths`` has,
    of one that is true or false, both written whole, each with what ``_needed`` calls it.
    """

    kind: type
    numbers: Mapping[float, Decimal]
    key: str
    pair: str
    truths: Mapping[bool, tuple[str, str]]


def _attributes(formulas: Mapping[str, Formula]) -> dict[str, _Attribute]:
    """Check every comparison, and gather the attributes they name."""
    constants: dict[str, list[Value]] = {}
    for rule, formula in formulas.items():
        for leaf in leaves(formula):
            _check(rule, leaf)
            known = constants.setdefault(leaf.attribute, [])
            if known and type(known[0]) is not type(leaf.constant):
                raise ValueError(
                    f"Rule {rule!r} compares {leaf.attribute!r} with "
                    f"{_KINDS[type(leaf.constant)]}, another comparison with "
                    f"{_KINDS[type(known[0])]}: an attribute is of one kind."
                )
            known.append(leaf.constant)
    if len(constants) > MAX_ATTRIBUTES:
        raise ValueError(
            f"The rules compare {len(constants)} attributes, at most {MAX_ATTRIBUTES} can be told "
            "apart: divide the rules over several engines."
        )
    return {
        name: _attribute(name, f"a{index}", known)
        for index, (name, known) in enumerate(constants.items())
    }


def _attribute(name: str, key: str, constants: list[Value]) -> _Attribute:
    kind = type(constants[0])
    numbers = _by_double(name, {c for c in constants if isinstance(c, Decimal)})
    pair = f',"{key}":'
    written = {truth: (pair + _literal(truth), _truth(name, truth)) for truth in (True, False)}
    return _Attribute(kind, numbers, key, pair, written if kind is bool else {})


def _check(rule: str, leaf: Compare) -> None:
    constant = leaf.constant
    problem = None
    if not isinstance(leaf.attribute, str) or not leaf.attribute:
        problem = "an attribute is named by a text that is not empty"
    elif type(constant) not in _KINDS:
        problem = f"a constant is a bool, str or Decimal, not {type(constant).__name__}"
    elif isinstance(constant, Decimal):
        if not constant.is_finite() or constant.copy_abs() >= LARGEST:
            problem = f"a number lies between -{LARGEST:.0e} and {LARGEST:.0e}"
        elif constant and constant.copy_abs() < SMALLEST:
            problem = f"a number is 0 or at least {SMALLEST} away from it"
    elif leaf.op != "==":
        problem = "only numbers have an order, the rest is compared with =="
    elif isinstance(constant, str) and not _is_plain(constant):
        problem = _PLAIN
    if problem is None and leaf.op not in ("==", *_OPERATORS):
        problem = f"the operator is one of ==, {', '.join(_OPERATORS)}"
    if problem:
        raise ValueError(
            f"Rule {rule!r}: {leaf.attribute!r} {leaf.op} {constant!r} cannot be evaluated; "
            f"{problem}."
        )


def _by_double(attribute: str, numbers: set[Decimal]) -> dict[float, Decimal]:
    """Numbers by their double, which must leave a double between each and the next."""
    ordered = sorted(numbers)
    for lower, upper in itertools.pairwise(ordered):
        if math.nextafter(float(lower), math.inf) >= float(upper):
            raise ValueError(
                f"{attribute!r} is compared with {lower} and with {upper}, which are too close for "
                "the engine to tell apart: use one of them."
            )
    return {float(number): number for number in ordered}


_PLAIN = (
    f"a text has at most {MAX_TEXT} characters, all printable, and no quotation mark or backslash"
)


def _is_plain(text: str) -> bool:
    """Whether the C parser, which takes escapes literally, reads this text as it is."""
    return len(text) <= MAX_TEXT and text.isprintable() and '"' not in text and "\\" not in text


def _written(name: str, value: Value, attribute: _Attribute) -> str:
    """The value of an attribute as the C parser reads it."""
    if type(value) is not attribute.kind:
        raise EngineFault(
            f"Attribute {name!r} is {_KINDS.get(type(value), type(value).__name__)} where the "
            f"rules compare it with {_KINDS[attribute.kind]}. This evaluation has no result."
        )
    if isinstance(value, Decimal):
        return _number(_double(name, value, attribute.numbers))
    if isinstance(value, str) and not _is_plain(value):
        raise EngineFault(
            f"Attribute {name!r} cannot be given to the rule engine: {_PLAIN}. This evaluation "
            "has no result."
        )
    return _literal(value)


def _double(name: str, value: Decimal, constants: Mapping[float, Decimal]) -> float:
    """A double that stands to each constant's double as the value does to the constant."""
    if value.is_finite():
        double = float(value)
        # Nearly every number: neither vast nor tiny.
        if not value or _LEAST_USUAL < abs(double) < _MOST_USUAL:
            constant = constants.get(double)
            if constant is None or constant == value:
                return double
    if value.is_nan() or (value.is_finite() and value.copy_abs() > LARGEST):
        raise EngineFault(
            f"Attribute {name!r} cannot be given to the rule engine: a number lies between "
            f"-{LARGEST:.0e} and {LARGEST:.0e}, or is infinite. This evaluation has no result."
        )
    if value.is_infinite():
        double = math.copysign(float(LARGEST), value)
    elif value and value.copy_abs() < SMALLEST:
        double = math.copysign(_BELOW_SMALLEST, value)
    else:
        double = float(value)
    constant = constants.get(double)
    if constant is not None and constant != value:
        double = math.nextafter(double, math.inf if value > constant else -math.inf)
    return double


def _number(double: float) -> str:
    """The shortest text that reads as this double, always with a dot and never an exponent.

    The C parser drops a whole batch over `1e-05`, and takes a number without a dot for another
    type. Within ±LARGEST and not nearer to zero than 1e-16 it has at most 36 characters.
    """
    text = repr(double)
    return format(Decimal(text), "f") if "e" in text else text


def _literal(value: bool | str) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return f'"{value}"'
