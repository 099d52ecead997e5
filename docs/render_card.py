"""Render the cards of an example request as a page, much as an EHR shows them, for the README.

python docs/render_card.py rp-ild-mda5 > card.html
chromium --headless --hide-scrollbars --window-size=1000,1240 --screenshot=card.png card.html
"""

from __future__ import annotations

import html
import json
import sys
from pathlib import Path
from typing import Any

from markdown_it import MarkdownIt

EXAMPLES = Path(__file__).resolve().parent.parent / "fhir_examples"
MARKDOWN = MarkdownIt("commonmark", {"html": False}).enable("table")
SIGNS = {"critical": "■ CRITICAL", "warning": "▲ WARNING", "info": "● INFO"}

STYLE = """
body { font: 15px/1.45 system-ui, 'DejaVu Sans', sans-serif; margin: 24px; color: #1b1f24;
       background: #eef1f4; }
article { background: #fff; border-left: 10px solid #2b5fa8; border-radius: 6px;
          padding: 14px 22px; box-shadow: 0 1px 4px #0003; margin-bottom: 18px; }
article.critical { border-color: #a4161a; }
article.warning { border-color: #b7791f; }
h1 { font-size: 19px; margin: 4px 0 8px; }
.indicator { font-weight: 700; letter-spacing: .06em; font-size: 13px; }
.critical .indicator { color: #a4161a; }
.warning .indicator { color: #8a5a00; }
table { border-collapse: collapse; margin: 6px 0 10px; font-size: 13px; }
th, td { border: 1px solid #d0d7de; padding: 3px 8px; text-align: left; vertical-align: top; }
th { background: #f3f5f7; }
button { font: inherit; padding: 5px 12px; margin: 6px 8px 2px 0; border-radius: 5px;
         border: 1px solid #2b5fa8; background: #2b5fa8; color: #fff; }
button.reason { background: #fff; color: #1b1f24; border-color: #8c959f; font-size: 13px; }
.source { color: #57606a; font-size: 13px; }
"""


def render(card: dict[str, Any]) -> str:
    """One card as HTML."""
    buttons = "".join(
        f"<button>{html.escape(s['label'])}</button>" for s in card.get("suggestions", ())
    )
    reasons = "".join(
        f"<button class=reason>{html.escape(r['display'])}</button>"
        for r in card.get("overrideReasons", ())
    )
    return (
        f"<article class={card['indicator']}>"
        f"<div class=indicator>{SIGNS[card['indicator']]}</div>"
        f"<h1>{html.escape(card['summary'])}</h1>"
        f"{MARKDOWN.render(card['detail'])}"
        f"<div>{buttons}</div><div>{reasons}</div>"
        f"<p class=source>{html.escape(card['source']['label'])}</p></article>"
    )


def main() -> None:
    """Print the page of one example."""
    answer = json.loads((EXAMPLES / f"{sys.argv[1]}.cards.json").read_bytes())
    cards = answer["cards"] if isinstance(answer, dict) else answer
    body = "".join(map(render, cards))
    print(f"<!doctype html><meta charset=utf-8><style>{STYLE}</style>{body}")


if __name__ == "__main__":
    main()
