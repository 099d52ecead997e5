"""Draw the pictures of docs/three-values.md, from what the rule engine says of their examples.

python docs/draw_three_values.py docs/images

Truth is told by a sign and a word, and what is open is hatched: no colour is needed to read them.
They stand on a ground of their own, so that they are legible on light and dark pages.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from datetime import date
from decimal import Decimal
from html import escape
from pathlib import Path

from cds.advice import advise, load_rules
from cds.cards.criteria import SIGNS
from cds.chart.facts.declaration import Declaration, Kind, Value, no_evidence
from cds.chart.quantities import Interval
from cds.fhir.bundles import RESOURCE_TYPES, Delivery, decode, read_resource
from cds.located import Place
from cds.rules.conditions import All, Any_, Comparison, Condition, Constant, Count, Is, Not
from cds.rules.derivations import Sum, contributions
from cds.rules.nodes import Truth, compile_node

CHECKOUT = Path(__file__).resolve().parent.parent
TRUTHS: tuple[Truth, ...] = (True, False, None)
WORDS: dict[Truth, str] = {True: "✓ true", False: "✗ false", None: "? unknown"}

NUMBERS = (
    ("measured: 45", "45", "45"),
    ("between 40 and 60", "40", "60"),
    ("between 20 and 39.9", "20", "39.9"),
    ("between 25 and 57.5", "25", "57.5"),
)
"""Scores that may be from the one to the other, to compare with THRESHOLD."""
THRESHOLD = Decimal(40)

COUNTS: tuple[tuple[Truth, ...], ...] = (
    (True, True, False, False, False, False),
    (True, None, False, False, False, False),
    (True, None, None, False, False, False),
    (True, True, True, None, None, False),
)
"""Of six members, which are worse by 25 %: surely, surely not, or perhaps."""
MOST = 2

EXAMPLE = "undetermined-strength-missing.bundle.json"


# --- what the engine says ------------------------------------------------------------------------

_HERE = Place("", 1, 1)


def truth_of(condition: Condition, values: dict[str, Value]) -> Truth:
    """What the engine makes of a condition."""
    facts = {name: _declared(name, value) for name, value in values.items()}
    return compile_node(condition, facts).test(values)


def _declared(name: str, value: Value) -> Declaration:
    kind: Kind = "number" if isinstance(value, Interval) else "boolean"
    return Declaration(name=name, kind=kind, title=name, read=lambda _: None, evidence=no_evidence)


def both(word: str, a: Truth, b: Truth) -> Truth:
    """``all`` or ``any`` of two conditions."""
    parts = (Is("a", _HERE), Is("b", _HERE))
    condition = All(parts, _HERE) if word == "all" else Any_(parts, _HERE)
    return truth_of(condition, {"a": a, "b": b})


def opposite(a: Truth) -> Truth:
    """``not`` of a condition."""
    return truth_of(Not(Is("a", _HERE), _HERE), {"a": a})


def reaches(low: Decimal, high: Decimal, threshold: Decimal) -> Truth:
    """Whether a number between two others reaches a threshold."""
    condition = Comparison("score", ">=", Constant(threshold, ""), _HERE)
    return truth_of(condition, {"score": Interval(low, high)})


def at_most(n: int, members: tuple[Truth, ...]) -> Truth:
    """Whether at most ``n`` members are so."""
    names = [f"member {number}" for number in range(len(members))]
    parts = tuple((name, Is(name, _HERE)) for name in names)
    condition = Count("at_most", n, "members", parts, None, _HERE)
    return truth_of(condition, dict(zip(names, members, strict=True)))


def terms_of_example() -> list[tuple[str, Interval, Decimal]]:
    """Each term of the example patient's score: title, points, and the most it can give."""
    ruleset = load_rules(CHECKOUT / "rules")
    delivery = Delivery()
    raw = (CHECKOUT / "fhir_examples" / EXAMPLE).read_bytes()
    read_resource(decode(raw, EXAMPLE), delivery, "Bundle")
    delivery.delivered |= RESOURCE_TYPES
    advice = advise(delivery, "strength-missing", ruleset, date(2026, 11, 16))
    assert advice.evaluation is not None
    makes = ruleset.derivations["response.tis.score"].makes
    assert isinstance(makes, Sum)
    terms = [
        (ruleset.facts[each.part.fact].title.split(",")[0], each.points, each.part.most)
        for each in contributions(makes, advice.evaluation.values)
    ]
    ruleset.close()
    return terms


# --- drawing -------------------------------------------------------------------------------------

_INK = "#1b1f24"
_FILL: dict[Truth, str] = {True: "#cfe8d5", False: "#f3d3d0", None: "url(#open)"}


def text(x: float, y: float, said: str, *, anchor: str = "start", bold: bool = False) -> str:
    """A line of text."""
    weight = ' font-weight="700"' if bold else ""
    return f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}"{weight}>{escape(said)}</text>'


def box(x: float, y: float, width: float, height: float, fill: str) -> str:
    """A box with a border."""
    return (
        f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" fill="{fill}" '
        f'stroke="{_INK}"/>'
    )


def line(x1: float, y1: float, x2: float, y2: float, dash: str = "") -> str:
    """A line, dashed if said."""
    dashed = f' stroke-dasharray="{dash}"' if dash else ""
    return f'<path d="M{x1:g} {y1:g} L{x2:g} {y2:g}" stroke="{_INK}" fill="none"{dashed}/>'


def truth_cell(x: float, y: float, truth: Truth, width: float = 110) -> str:
    """A box with a truth in a sign and a word."""
    said = text(x + width / 2, y + 21, WORDS[truth], anchor="middle")
    return box(x, y, width, 32, _FILL[truth]) + said


def picture(width: int, height: int, title: str, parts: Iterable[str]) -> str:
    """A whole picture, with its title for those who do not see it."""
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
            f'width="{width}" height="{height}" role="img" aria-labelledby="title" '
            'font-family="system-ui, \'DejaVu Sans\', sans-serif" font-size="15" '
            f'fill="{_INK}">',
            f'<title id="title">{escape(title)}</title>',
            '<defs><pattern id="open" width="8" height="8" patternUnits="userSpaceOnUse">'
            '<rect width="8" height="8" fill="#fff"/>'
            '<path d="M-2 2 L2 -2 M0 8 L8 0 M6 10 L10 6" stroke="#b9c0c8"/></pattern></defs>',
            f'<rect width="{width}" height="{height}" rx="8" fill="#fff"/>',
            *parts,
            "</svg>\n",
        ]
    )


def kleene() -> str:
    """The tables of ``all``, ``any`` and ``not``."""
    parts = []
    for left, word in ((20, "all"), (430, "any")):
        parts.append(text(left, 30, f"{word}: A, B", bold=True))
        for column, b in enumerate(TRUTHS):
            parts.append(text(left + 115 + 110 * column, 56, f"B {WORDS[b]}", anchor="middle"))
        for row, a in enumerate(TRUTHS):
            y = 68 + 32 * row
            parts.append(text(left - 8, y + 21, f"A {WORDS[a][0]}"))
            parts += [
                truth_cell(left + 60 + 110 * column, y, both(word, a, b))
                for column, b in enumerate(TRUTHS)
            ]
    parts.append(text(20, 210, "not: A", bold=True))
    for column, a in enumerate(TRUTHS):
        x = 80 + 110 * column
        parts.append(text(x + 55, 236, f"A {WORDS[a]}", anchor="middle"))
        parts.append(truth_cell(x, 246, opposite(a)))
    return picture(840, 295, "all, any and not of true, false and unknown conditions", parts)


def against_threshold() -> str:
    """Numbers that are known more or less, against a threshold."""

    def at(score: Decimal) -> float:
        return 200 + float(score) * 4

    parts = [text(at(THRESHOLD), 26, f"threshold {THRESHOLD}", anchor="middle", bold=True)]
    for row, (said, low, high) in enumerate(NUMBERS):
        y, from_, to = 46 + 44 * row, Decimal(low), Decimal(high)
        truth = reaches(from_, to, THRESHOLD)
        parts.append(text(16, y + 20, said))
        left, width = (at(from_), at(to) - at(from_)) if from_ < to else (at(from_) - 2, 4)
        parts.append(box(left, y + 4, width, 22, _FILL[truth]))
        parts.append(text(630, y + 20, WORDS[truth], bold=True))
    bottom = 46 + 44 * len(NUMBERS)
    parts += [line(at(THRESHOLD), 34, at(THRESHOLD), bottom, "6 4"), line(200, bottom, 600, bottom)]
    parts += [text(at(Decimal(n)), bottom + 20, str(n), anchor="middle") for n in range(0, 101, 20)]
    return picture(740, bottom + 36, f"Does the score reach {THRESHOLD}?", parts)


def counted() -> str:
    """Counts with members of which it is not known whether they count."""
    parts = [
        text(16, 28, "worse by 25 %?", bold=True),
        text(420, 28, "how many", bold=True),
        text(560, 28, f"at most {MOST}", bold=True),
    ]
    for row, members in enumerate(COUNTS):
        y = 44 + 46 * row
        for number, truth in enumerate(members):
            x = 16 + 62 * number
            parts.append(box(x, y, 54, 32, _FILL[truth]))
            parts.append(text(x + 27, y + 21, WORDS[truth][0], anchor="middle", bold=True))
        sure, perhaps = members.count(True), members.count(None)
        many = f"{sure}" if not perhaps else f"{sure} to {sure + perhaps}"
        parts.append(text(420, y + 21, f"{many} of {len(members)}"))
        parts.append(text(560, y + 21, WORDS[at_most(MOST, members)], bold=True))
    key = ", ".join(f"{WORDS[truth][0]} {SIGNS[truth][2:]}" for truth in TRUTHS)
    height = 44 + 46 * len(COUNTS)
    parts.append(text(16, height + 14, key))
    return picture(700, height + 30, f"Are at most {MOST} of six measures worse by 25 %?", parts)


def score() -> str:
    """The Total Improvement Score of the example as an interval, with its terms."""
    terms = terms_of_example()

    def at(points: Decimal) -> float:
        return 270 + float(points) * 6

    parts, low, high = [], Decimal(0), Decimal(0)
    for row, (title, points, most) in enumerate(terms):
        y = 20 + 34 * row
        parts.append(text(16, y + 18, title))
        if points.high:
            parts.append(box(at(Decimal(0)), y, at(points.low) - at(Decimal(0)), 24, _FILL[True]))
        if points.high > points.low:
            parts.append(box(at(points.low), y, at(points.high) - at(points.low), 24, _FILL[None]))
        many = (
            f"{points.low:f}" if points.low == points.high else f"{points.low:f} to {points.high:f}"
        )
        parts.append(text(at(points.high) + 10, y + 18, f"{many} of {most:f}"))
        low, high = low + points.low, high + points.high
    y = 20 + 34 * len(terms) + 8
    parts.append(text(16, y + 18, "Score", bold=True))
    parts.append(box(at(Decimal(0)), y, at(low) - at(Decimal(0)), 24, _FILL[True]))
    parts.append(box(at(low), y, at(high) - at(low), 24, _FILL[None]))
    parts.append(text(at(Decimal(60)) + 12, y + 18, f"{low:f} to {high:f}", bold=True))
    bottom = y + 34
    for name, threshold in (("minimal", 20), ("moderate", 40), ("major", 60)):
        x = at(Decimal(threshold))
        parts.append(line(x, y - 4, x, bottom, "6 4"))
        parts.append(text(x, bottom + 16, f"{threshold}: {name}", anchor="middle"))
    return picture(890, bottom + 32, "The Total Improvement Score with strength missing", parts)


PICTURES = {
    "kleene.svg": kleene,
    "threshold.svg": against_threshold,
    "count.svg": counted,
    "score.svg": score,
}


if __name__ == "__main__":
    for name, draw in PICTURES.items():
        (Path(sys.argv[1]) / name).write_text(draw(), encoding="utf-8")
