import re
from collections.abc import Callable

from hypothesis import assume, example, given
from hypothesis import strategies as st
from markdown_it.token import Token

from cds.cards.markdown import escape, escape_authored, shorten, table

Render = Callable[[str], list[Token]]

BLANKS = re.compile("(?:[^\\S\u00a0\u202f]|\x00)+")
DIRECTIONS = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")

pieces = st.sampled_from(
    [
        *"\\`*_[]<>|#~$&!:;.)(-+=\"'@^{} \n\r\t/\x00\u202e\u00a0\u202f\u2028\u0085",
        "| --- |",
        "\n\n# ",
        "\n- ",
        "\n    ",
        "```",
        "~~",
        "<script>alert(1)</script>",
        "<!--",
        "<b>",
        "[x](http://evil.example)",
        "![x](http://evil.example/x.png)",
        "<http://evil.example>",
        "http://evil.example",
        "_www.evil.example",
        "me@evil.example",
        "&amp;",
        "&lt;",
        "&#60;",
        "[x]: http://evil.example",
        "1. ",
        "12) ",
        "word",
        "5",
    ]
)
hostile = st.lists(pieces | st.text(max_size=5), max_size=12).map("".join)


def shown(text: str) -> str:
    """What of a text is meant to be seen."""
    return BLANKS.sub(" ", DIRECTIONS.sub("", text))


def words(tokens: list[Token]) -> str:
    """The text of one inline token, which holds nothing but text."""
    (inline,) = [token for token in tokens if token.type == "inline"]
    assert {child.type for child in inline.children or []} <= {"text", "text_special"}
    return "".join(child.content for child in inline.children or [])


@given(hostile)
@example("www.evil.example")
@example("~~no~~")
@example("- 1. # = +")
@example("\\|")
def test_inserted_text_is_shown_and_never_read_as_markup(render: Render, text: str) -> None:
    """In the middle of a paragraph any text is that text, on one line, and nothing else."""
    tokens = render(f"Seen: {escape(text)}; checked.")

    assert [token.type for token in tokens] == ["paragraph_open", "inline", "paragraph_close"]
    assert words(tokens) == f"Seen: {shown(text)}; checked."


@given(hostile)
@example("- item")
@example(" 1. item")
@example("    code")
@example("===")
@example("+")
@example("12)")
def test_inserted_text_may_begin_a_paragraph(render: Render, text: str) -> None:
    """At its beginning no text becomes a list, a heading, a rule, a quotation or code."""
    assume(shown(text).strip())

    tokens = render(escape(text))

    assert [token.type for token in tokens] == ["paragraph_open", "inline", "paragraph_close"]
    assert words(tokens) == shown(text).strip()


@given(st.lists(st.tuples(hostile, hostile), min_size=1, max_size=3))
def test_inserted_text_stays_in_its_cell(render: Render, rows: list[tuple[str, str]]) -> None:
    """No text ends a cell or a row of a table, or opens another."""
    tokens = render(table(("A", "B"), [(escape(a), escape(b)) for a, b in rows]))

    cells = [tokens[i + 1] for i, token in enumerate(tokens) if token.type == "td_open"]
    assert [token.type for token in tokens].count("tr_open") == 1 + len(rows)
    assert [words([cell]) for cell in cells] == [shown(t).strip() for row in rows for t in row]


@given(hostile)
def test_inserted_text_is_no_address_to_follow(text: str) -> None:
    """GitHub's Markdown makes links of bare addresses; none is left bare."""
    assert not re.search(r"(?<!\\)(?:://|@)|www\.", escape(text), re.IGNORECASE)


@given(hostile)
def test_authored_text_is_escaped_alike(text: str) -> None:
    """Texts of rule files are escaped once, to the same result."""
    assert escape_authored(text) == escape(text)


def test_a_number_keeps_its_unit_on_its_line() -> None:
    """The narrow blank between a number and its unit is not made an ordinary one."""
    assert escape("20\u202f%") == "20\u202f%"
    assert shorten("20\u202f%  of all", 140) == "20\u202f% of all"


def test_marks_of_direction_are_left_out() -> None:
    """Nothing inserted can turn the digits after it around."""
    assert escape("CK \u202e0003") == "CK 0003"
    assert shorten("CK \u202e0003", 140) == "CK 0003"


@given(st.text(max_size=300), st.integers(20, 140))
def test_a_shortened_text_is_below_the_limit(text: str, limit: int) -> None:
    """Whatever it is given, the result is one line with fewer characters than the limit."""
    short = shorten(text, limit)

    assert len(short) < limit
    assert "\n" not in short


def test_a_short_text_stays_and_a_long_one_is_cut_at_a_word() -> None:
    """An ellipsis says that something is left out."""
    assert shorten("as it is", 20) == "as it is"
    assert shorten("consider intravenous pulse", 24) == "consider intravenous…"
    assert shorten("x" * 30, 20) == "x" * 18 + "…"


def test_a_table_has_a_head_and_a_line_for_each_row() -> None:
    """Tables are those of GitHub's Markdown."""
    assert table(("A", "B"), [("1", "2"), ("3", "")]) == (
        "| A | B |\n| --- | --- |\n| 1 | 2 |\n| 3 |  |"
    )
