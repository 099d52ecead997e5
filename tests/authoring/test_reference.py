from __future__ import annotations

import re
from pathlib import Path
from typing import get_args, get_type_hints

import msgspec

from cds.advice import load_rules
from cds.authoring.codes import CODES
from cds.authoring.reference import page
from cds.chart.vocabulary import Vocabulary
from cds.rules.conditions import HowMany, Operator
from cds.rules.language import RuleFile, Status
from cds.rules.texts import Form

CHECKOUT = Path(__file__).parents[2]


def test_the_reference_is_up_to_date() -> None:
    """The page is what is made now: python -m cds.authoring.reference docs/reference.md."""
    assert (CHECKOUT / "docs/reference.md").read_text(encoding="utf-8") == page()


def test_what_is_written_by_hand_names_all_there_is() -> None:
    """Every operator, count, form of a text, status, section and code stands in the reference."""
    made = page()
    for operator in get_args(Operator):
        assert f"`{operator}`" in made or f" {operator} 92 %`" in made, operator
    for how in get_args(HowMany):
        assert how in made
    for form in get_args(Form):
        assert form == "value" or f"{{fact:{form}}}" in made, form
    for status in get_args(Status):
        assert f"| `{status}` |" in made
    for section in ("observations", "measures", "drugs", "drug_classes", "antibodies", "findings"):
        assert section in get_type_hints(Vocabulary)
        assert re.search(rf"^### .*`{section}`", made, re.M)
    for code in CODES:
        assert f"(problems/{code}.md)" in made
    for field in msgspec.structs.fields(RuleFile):
        assert f"| `{field.name}` |" in made


def test_every_fact_of_the_shipped_rules_is_of_a_kind_in_the_reference() -> None:
    """A fact that the vocabulary makes stands in the table, with x for the entry's own name."""
    made = page()
    ruleset = load_rules(CHECKOUT / "rules")
    derived = {rule.file.derive for rule in ruleset.every}
    entries = (
        "contraindication|diagnosis|finding|antibody|status|drug|dose|observation|measure|elapsed"
    )
    for name in ruleset.facts.keys() - derived:
        general = re.sub(rf"^({entries})\.\w+", r"\1.x", name)
        general = re.sub(r"^(dose|measure)\.x\.(days|last)_\w+", r"\1.x.\2_y", general)
        general = re.sub(r"^measure\.x\.worse_(?!by)\w+", "measure.x.worse_y", general)
        if re.fullmatch(r"observation\.x\.(?!latest|previous|multiple)\w+", general):
            general = "observation.x.y"
        assert f"| `{general}` |" in made, name
    ruleset.close()


def test_every_link_within_the_reference_leads_somewhere() -> None:
    """Each link to a part of the page names a heading of it."""
    made = page()
    headings = {
        re.sub(r"[^a-z0-9 _-]", "", heading.lower()).replace(" ", "-")
        for heading in re.findall(r"^#+ (.*)$", made, re.M)
    }
    assert set(re.findall(r"\]\(#([^)]*)\)", made)) <= headings
