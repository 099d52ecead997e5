"""What the entries of the vocabulary are made of, for those who have to approve it.

Each class of drugs with its drugs, each group of diagnoses with its members, and of each entry the
codes and names by which it is recognised; codes that nobody read are marked. Their numbers stand in
a table of their own, to which these lead.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from cds.cards.markdown import table
from cds.chart.vocabulary import (
    CodedEntry,
    Codes,
    ConditionEntry,
    DrugClassEntry,
    DrugEntry,
    Unrecorded,
    Vocabulary,
)

HEADINGS = (
    "Classes of drugs",
    "Drugs",
    "Diagnoses",
    "Findings",
    "Measurements and tests",
    "Ways in",
)
"""The headings of what ``entries`` yields, for a table of contents."""


def anchor_of(entry: str) -> str:
    """Where the numbers of an entry (``drugs.rituximab``) stand in the table of numbers."""
    return f"number-{entry}"


def entries(vocabulary: Vocabulary) -> Iterator[str]:
    """The sections on the entries of the vocabulary, as blocks of Markdown."""
    yield "## Classes of drugs"
    yield "What a rule says of a class it says of each of its drugs, given systemically."
    yield table(
        ("Class", "Drugs", "Only where"),
        (
            (
                _called(name, entry.title),
                _titles(entry.any_of, vocabulary.drugs),
                _limits(name, entry),
            )
            for name, entry in vocabulary.drug_classes.items()
        ),
    )
    yield "## Drugs"
    yield "An order is recognised by a code, and by a name only where none of its codes is known."
    yield table(
        ("Drug", "Codes", "Names", "One administration counts for"),
        (
            (_called(name, drug.title), _codes(drug), _listed(drug.names), _covers(name, drug))
            for name, drug in vocabulary.drugs.items()
        ),
    )
    for heading, section, recognised in (
        ("Diagnoses", vocabulary.diagnoses, _recognised(vocabulary)),
        ("Findings", vocabulary.findings, "They are recognised as diagnoses are."),
    ):
        kind = heading.lower()
        yield f"## {heading}"
        yield recognised
        yield table(
            ("Entry", "Members, or codes", "Names", "What else it means"),
            (
                (
                    _called(name, entry.title),
                    _titles(entry.any_of, section) if entry.any_of else _codes(entry),
                    _listed((*entry.names, *entry.phrases)),
                    _more(f"{kind}.{name}", entry, section, vocabulary.findings),
                )
                for name, entry in section.items()
            ),
        )
    yield "## Measurements and tests"
    yield table(
        ("Entry", "Codes"),
        (
            (_called(name, entry.title), _codes(entry))
            for coded in (
                vocabulary.observations,
                vocabulary.measures,
                vocabulary.antibodies,
                vocabulary.statuses,
            )
            for name, entry in coded.items()
        ),
    )
    yield "## Ways in"
    yield "Forms that are not systemic are not counted as treatment."
    yield table(
        ("Route", "Systemic", "Codes", "Names"),
        (
            (
                _called(name, route.title),
                "yes" if route.systemic else "no",
                _codes(route),
                _listed(route.names),
            )
            for name, route in vocabulary.routes.items()
        ),
    )


def _called(name: str, title: str) -> str:
    return f"{_cell(title)} (`{name}`)"


def _titles(names: tuple[str, ...], among: Mapping[str, CodedEntry]) -> str:
    return _cell("; ".join(among[name].title for name in names))


def _codes(entry: CodedEntry) -> str:
    """Every code with its display and its note, by code system."""
    said = [
        f"{system} {code} {display}{_noted(entry.notes.get(code))}{doubt}"
        for codes, doubt in ((entry.codes, ""), (entry.unverified, " (**unverified**)"))
        for system, by_code in codes.items()
        for code, display in by_code.items()
    ]
    families: Codes = entry.families if isinstance(entry, ConditionEntry) else {}
    said += [
        f"{system} {code} and all within it: {display} (**unverified**)"
        for system, by_code in families.items()
        for code, display in by_code.items()
    ]
    return _cell("; ".join(said)) or "none: recognised by name only"


def _noted(note: str | None) -> str:
    return f" [{note}]" if note else ""


def _listed(words: tuple[str, ...]) -> str:
    return _cell("; ".join(words))


def _limits(name: str, entry: DrugClassEntry) -> str:
    """What a class asks for beside the drug."""
    said = [f"given by this route: {', '.join(entry.routes)}"] if entry.routes else []
    if entry.daily_dose_at_least is not None:
        said.append(f"at least {_link(f'drug_classes.{name}', 'so much')} a day")
    if entry.single:
        said.append("each order is of the day it begins")
    if entry.line is not None:
        said.append(f"a start opens a treatment line ({entry.line})")
    return _cell("; ".join(said))


def _covers(name: str, drug: DrugEntry) -> str:
    return _link(f"drugs.{name}", "so long") if drug.covers is not None else "the day itself"


def _recognised(vocabulary: Vocabulary) -> str:
    """By what a diagnosis or finding is recognised, and what may stand around its name."""
    said = (
        "A Condition is recognised by a code, and by a name only where none of its codes is known: "
        "that is then its whole text."
    )
    if vocabulary.qualifiers:
        said += f" Before or behind a name these change nothing: {_listed(vocabulary.qualifiers)}."
    doubts = tuple(dict.fromkeys((*vocabulary.doubts, *vocabulary.doubts_after)))
    if doubts:
        said += (
            f" These leave it open, so that it is not known: {_listed(doubts)}. What a code "
            "asserts and the text doubts counts, and is told as not confirmed."
        )
    if vocabulary.negations:
        said += f" These deny what stands behind them: {_listed(vocabulary.negations)}."
    if vocabulary.negations_after:
        said += f" These what stands before them: {_listed(vocabulary.negations_after)}."
    return said


def _more(
    called: str,
    entry: ConditionEntry,
    section: Mapping[str, ConditionEntry],
    findings: Mapping[str, ConditionEntry],
) -> str:
    """What an entry says of others, and for how long it counts."""
    said = []
    if entry.implies:
        said.append(f"asserts also: {_titles(entry.implies, findings)}")
    if entry.said_of:
        said.append(f"said in the text of: {findings[entry.said_of].title}")
    if entry.perhaps:
        said.append(f"leaves open: {_titles(entry.perhaps, section)}")
    if entry.phrases and not entry.said_of:
        said.append("asserted also by a text that says a name among other words")
    if entry.left_open_by:
        codes = [code for by_code in entry.left_open_by.values() for code in by_code]
        said.append(f"left open by the codes: {', '.join(codes)}")
    if entry.past:
        said.append(f"once it is over it counts as: {findings[entry.past].title}")
    if entry.in_doubt:
        said.append(f"in doubt by a text it counts as: {findings[entry.in_doubt].title}")
    if entry.counts_for is not None:
        said.append(f"not known {_link(called, 'so long')} after it")
    if entry.denied_by:
        said.append(f"denied by: {_titles(entry.denied_by, findings)}")
    if entry.unrecorded is not None:
        said.append(_open(called, entry.unrecorded))
    return "; ".join(said)


def _open(called: str, unrecorded: Unrecorded) -> str:
    ages = _link(called, "between two ages")
    but = f", but not in the gender {unrecorded.false_in}" if unrecorded.false_in else ""
    return f"not known, and not false, where nobody recorded it: {ages}{but}"


def _link(entry: str, said: str) -> str:
    """The way to the numbers of an entry."""
    return f"[{said}](#{anchor_of(entry)})"


def _cell(text: str) -> str:
    """Text in the cell of a table."""
    return text.replace("|", "\\|").replace("<", "\\<").replace("\n", " ")
