from __future__ import annotations

import re
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"
PAGES = sorted(DOCS.glob("*.md"))


def headings(page: Path) -> set[str]:
    """What the headings of a page, and the marks set in it, are called in links."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    found = re.findall(r"^#+ (.*)$", text, re.M)
    marks = set(re.findall(r'<a id="([^"]+)">', text))
    return marks | {re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-") for head in found}


def test_the_index_names_every_page() -> None:
    """Each page of docs/ is linked from docs/README.md, with a word on what it is."""
    index = (DOCS / "README.md").read_text(encoding="utf-8")
    for page in PAGES:
        assert page.name == "README.md" or f"]({page.name})" in index, page.name


@pytest.mark.parametrize("page", [*PAGES, DOCS.parent / "README.md"], ids=lambda page: page.name)
def test_links_to_other_files_lead_somewhere(page: Path) -> None:
    """A link from a page to a file of this repository, or to a part of one, is not broken."""
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if "://" in target:
            continue
        file, _, part = target.partition("#")
        linked = page.parent / file if file else page
        assert linked.exists(), target
        assert not part or part in headings(linked), target
