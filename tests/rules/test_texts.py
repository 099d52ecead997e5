from __future__ import annotations

from collections.abc import Callable

import pytest

from cds.located import Document
from cds.rules.parsing import Scope
from cds.rules.texts import Slot, Text, names_in, parse_text

ParseText = Callable[[str], tuple[Text, list[str]]]


@pytest.fixture
def text_of(write: Callable[[str], Document], scope: Scope) -> ParseText:
    """Parse a text where one selection, ``improved_measures``, is known."""

    def parsed(text: str) -> tuple[Text, list[str]]:
        document = write("card:\n  lead: said here\n")
        made = parse_text(document, ("card", "lead"), text, scope, frozenset({"improved_measures"}))
        return made, [str(p) for p in document.problems]

    return parsed


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("", ()),
        ("Consider tapering.", ("Consider tapering.",)),
        ("{finding.lung}", (Slot("finding.lung", "value"),)),
        ("Seen: {finding.lung:value}.", ("Seen: ", Slot("finding.lung", "value"), ".")),
        ("{finding.lung:evidence}", (Slot("finding.lung", "evidence"),)),
        ("{drug.pulse:dates}", (Slot("drug.pulse", "dates"),)),
        ("{finding.lung:missing}", (Slot("finding.lung", "missing"),)),
        ("{parameters.least}", (Slot("parameters.least", "value"),)),
        ("{drug.pulse:history}", (Slot("drug.pulse", "history"),)),
        (
            "{finding.lung.parameters.severe}",
            (Slot("finding.lung.parameters.severe", "value"),),
        ),
        ("{improved_measures}", (Slot("improved_measures", "value"),)),
        ("Patient/{patient.id}", ("Patient/", Slot("patient.id", "value"))),
        ("{{literally}}", ("{", "literally", "}")),
        ("{{{finding.lung}}}", ("{", Slot("finding.lung", "value"), "}")),
        (
            "{finding.lung}{finding.heart}",
            (Slot("finding.lung", "value"), Slot("finding.heart", "value")),
        ),
    ],
)
def test_reads_every_form(text_of: ParseText, text: str, parts: Text) -> None:
    """Facts, selections, parameters, the patient and doubled braces are told from plain text."""
    assert text_of(text) == (parts, [])


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("Improved { now", "bad-text `{` stands alone: close the braces, or double it"),
        ("Improved } now", "bad-text `}` stands alone: close the braces, or double it"),
        (
            "{finding.lung:evidense}",
            "bad-text `evidense` is not a form (did you mean `evidence`?)",
        ),
        (
            "{finding.lnug}",
            "unknown-fact `{finding.lnug}` is neither a fact, a selection nor a parameter of this "
            "rule (did you mean `finding.lung`?)",
        ),
        (
            "{improved_measure}",
            "unknown-fact `{improved_measure}` is neither a fact, a selection nor a parameter of "
            "this rule (did you mean `improved_measures`?)",
        ),
        (
            "{parameters.laest}",
            "unknown-fact `{parameters.laest}` is neither a fact, a selection nor a parameter of "
            "this rule (did you mean `parameters.least`?)",
        ),
        (
            "{finding.lung.parameters.sever}",
            "unknown-fact `{finding.lung.parameters.sever}` is neither a fact, a selection nor a "
            "parameter of this rule (did you mean `finding.lung.parameters.severe`?)",
        ),
        (
            "{finding.heart.parameters.severe}",
            "unknown-fact `{finding.heart.parameters.severe}` is neither a fact, a selection nor a "
            "parameter of this rule (did you mean `finding.lung.parameters.severe`?)",
        ),
        (
            "{finding.lung:history}",
            "bad-text `finding.lung` has no history: that is of drugs, `{drug.x:history}`",
        ),
        (
            "{}",
            "unknown-fact `{}` is neither a fact, a selection nor a parameter of this rule",
        ),
    ],
)
def test_reports_what_is_wrong(text_of: ParseText, text: str, problem: str) -> None:
    """What is wrong in a text is reported where the text stands, with what to write instead."""
    assert text_of(text)[1] == [f"rule.yaml:2:3 {problem}"]


def test_reports_everything_at_once(text_of: ParseText) -> None:
    """Every mistake of a text is reported, and what is right around them is kept."""
    parts, problems = text_of("{zebra} and {finding.lung:colour} and {finding.heart")
    assert [p.split()[1] for p in problems] == ["unknown-fact", "bad-text", "bad-text"]
    assert parts == (" and ", " and ", "finding.heart")


def test_the_facts_of_a_text_are_those_it_shows_or_has_a_parameter_of(text_of: ParseText) -> None:
    """A parameter of the rule itself is of no fact."""
    made, _ = text_of("{finding.lung:evidence} within {parameters.recent}, {{so}}")
    assert list(names_in(made)) == ["finding.lung"]
    shown = (Slot("response.worsened.parameters.vas", "value"), " and ", Slot("a.b", "value"))
    assert list(names_in(shown)) == ["response.worsened", "a.b"]
