import re
import shutil
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner, Result

from cds import cli
from cds.authoring.formatting import authored_files, format_file, format_text
from cds.authoring.schemas import KINDS, RULE, TEST, VOCABULARY, kind_of
from cds.located import FilesInvalid, parse_document

RULES = Path(__file__).parents[2] / "rules"
SHIPPED = authored_files(RULES)


def run(*arguments: object) -> Result:
    """Run ``cds rules format`` in this process."""
    return CliRunner().invoke(cli.app, ["rules", "format", *map(str, arguments)])


def refusal(text: str) -> str:
    """What is said of a text that is refused."""
    with pytest.raises(FilesInvalid) as refused:
        format_text(text, RULE, "rule.yaml")
    (problem,) = refused.value.problems
    return str(problem)


# --- layout --------------------------------------------------------------------------------------


def test_keys_come_in_the_order_of_the_structures() -> None:
    """Keys of the file, of an item, and of a mapping in brackets are sorted as declared."""
    text = """\
card: {lead: Look., problem: heart, summary: A heart, indicator: info}
when:
  where: improvement >= 20 %
  as: better
  of: core_set
  at_least: 3
evidence:
  - certainty: low
    source: trial
    supports: it
title: A rule
id: rule
"""
    assert (
        format_text(text, RULE)
        == """\
id: rule
title: A rule
evidence:
  - source: trial
    supports: it
    certainty: low
when:
  at_least: 3
  of: core_set
  where: improvement >= 20 %
  as: better
card: {problem: heart, indicator: info, summary: A heart, lead: Look.}
"""
    )


def test_the_codes_of_an_entry_come_last() -> None:
    """An entry of the vocabulary says what it is, and then what selects it."""
    text = "drugs:\n  x: {codes: {atc: {A: a}}, notes: {A: n}, names: [x], title: X}\n"
    expected = "drugs:\n  x: {title: X, names: [x], codes: {atc: {A: a}}, notes: {A: n}}\n"

    assert format_text(text, VOCABULARY) == expected


def test_ids_stay_in_the_order_of_the_author() -> None:
    """What the author names (parameters, entries, facts of a case) is not sorted."""
    rule = "parameters:\n  b: {value: 1}\n  a: {value: 2}\n"
    case = "cases:\n  - facts: {z.z: true, a.a: false}\n"

    assert format_text(rule, RULE) == rule
    assert format_text(case, TEST) == case


def test_a_key_that_is_not_known_stays_behind_its_own() -> None:
    """A mistyped key does not wander off, so that the checker's message fits the place."""
    text = "titel: X\nid: x\nversion: 1\nowwner: me\nstatus: draft\ntitle: y\n"
    expected = "titel: X\nid: x\ntitle: y\nversion: 1\nowwner: me\nstatus: draft\n"

    assert format_text(text, RULE) == expected


def test_blocks_are_indented_by_two() -> None:
    """Whatever the author's indentation, and lists within mappings as well."""
    text = "when:\n     all:\n     - any:\n         -   a\n         - not:   b\n"

    assert format_text(text, RULE) == ("when:\n  all:\n    - any:\n        - a\n        - not: b\n")


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("'plain words'", "plain words"),
        ('"plain words"', "plain words"),
        ("plain words", "plain words"),
        ('"a: b"', '"a: b"'),
        ("'a: b'", '"a: b"'),
        ("'no'", '"no"'),
        ('"20"', '"20"'),
        ('"2026-11-01"', '"2026-11-01"'),
        ('"12:30"', '"12:30"'),
        ('"1e3"', '"1e3"'),
        ('""', '""'),
        ("""'say "x"'""", """'say "x"'"""),
        ('"%"', '"%"'),
        ("1.50", "1.50"),
        ("true", "true"),
    ],
)
def test_quotes_stand_where_they_are_of_use(written: str, expected: str) -> None:
    """They go where no reader of YAML takes the text for anything else; numbers stay as written."""
    assert format_text(f"title: {written}\n", RULE) == f"title: {expected}\n"


def test_quotes_in_brackets_stay() -> None:
    """A comma that is put into the text later would end it there."""
    text = 'hooks: ["one word", two]\n'

    assert format_text(text, RULE) == text


def test_brackets_over_several_lines_are_joined_where_they_fit() -> None:
    """Within 100 characters; what is on one line stays there, however long."""
    short = "hooks: [a,\n   b\n]\n"
    words = ", ".join(["a-rather-long-word"] * 4)
    wide = f"hooks: [{words},\n        {words}]\n"
    long = f"hooks: [{words}, {words}]\n"

    assert format_text(short, RULE) == "hooks: [a, b]\n"
    assert format_text(wide, RULE) == wide
    assert format_text(long, RULE) == long


def test_blank_lines_become_one() -> None:
    """Between entries and around comments; none at either end."""
    text = "\n\nid: x\n\n\n\n# about\n\n\ntitle: y\n\n\n"

    assert format_text(text, RULE) == "id: x\n\n# about\n\ntitle: y\n"


@pytest.mark.parametrize(
    "text",
    [
        "title: |\n  two\n    lines\n\n  and more\nowner: x\n",
        "title: >-\n  folded\n  text\n# c\nowner: x\n",
        "title: |+\n  kept\n\n\nowner: x\n",
        "title: plain that\n  goes on\n\n  here\nowner: x\n",
        'title: "quoted that\n  goes on \\\n  here"\nowner: x\n',
    ],
)
def test_text_over_several_lines_keeps_its_lines(text: str) -> None:
    """Block text and text that goes on are laid out already."""
    assert format_text(text, RULE) == text


def test_block_text_moves_with_its_indentation() -> None:
    """The lines of a text keep their places towards each other."""
    text = "card:\n      lead: |\n             one\n               two\n"

    assert format_text(text, RULE) == "card:\n  lead: |\n    one\n      two\n"


def test_lines_may_end_as_on_windows() -> None:
    """They end as everywhere else afterwards, and a mark at the beginning goes."""
    assert format_text("\ufeffid: x\r\ntitle: y  # c\r\n", RULE) == "id: x\ntitle: y  # c\n"


# --- comments ------------------------------------------------------------------------------------


def test_comments_move_with_their_keys() -> None:
    """Those above, at the end of the line, below and further in."""
    text = """\
# About the file.

# About the title.
title: 'X'   # beside the title
    # below the title, further in
id: x # beside the id
when: # beside when
    # above any
    any:
    - a
    # above b
    -   unknown:
          b      # beside b
    # below the list
owner: me
"""
    assert (
        format_text(text, RULE)
        == """\
# About the file.

id: x  # beside the id
# About the title.
title: X     # beside the title
  # below the title, further in
owner: me
when:  # beside when
  # above any
  any:
    - a
    # above b
    - unknown: b  # beside b
  # below the list
"""
    )


def test_comments_in_brackets_keep_their_lines() -> None:
    """The brackets then stay as they are broken, and their entries unsorted."""
    text = """\
evidence:
  - {supports: it,  # what
     # above the source
     source: trial,
     certainty: low}
hooks: [
  patient-view,  # always
  # sometimes
  order-sign
  # never another
]
"""
    assert format_text(text, RULE) == text


def test_comments_beside_each_other_stay_in_their_column() -> None:
    """They stand where they stood, or two spaces behind what has grown."""
    text = "id: x          # one\ntitle: 'y'     # two\nowner: a long name # three\n"

    assert format_text(text, RULE) == (
        "id: x          # one\ntitle: y       # two\nowner: a long name  # three\n"
    )


def test_a_block_with_a_comment_below_its_last_key_is_not_sorted() -> None:
    """The comment may be about that key."""
    text = "title: y\nid: x\n# about id?\n"

    assert format_text(text, RULE) == text


_LINES = st.lists(
    st.tuples(st.integers(0, 200), st.integers(0, 8), st.booleans()), min_size=1, max_size=12
)


@settings(max_examples=60, deadline=None)
@given(path=st.sampled_from(SHIPPED), places=_LINES)
def test_comments_put_anywhere_stay_at_their_keys(
    path: Path, places: list[tuple[int, int, bool]]
) -> None:
    """Each is there once, beside the same key or above it; the data are the same."""
    lines = path.read_text(encoding="utf-8").splitlines()
    for number, (at, column, beside) in enumerate(places):
        at %= len(lines)
        if beside and not re.search(r"#|[\[{,]$", lines[at]):
            lines[at] += f" #c{number}c"
        elif not beside and not lines[at].startswith(" " * 11):  # not among broken brackets
            lines.insert(at, " " * column + f"#c{number}c")
    text = "\n".join(lines) + "\n"
    kind = kind_of(path)
    made = format_text(text, kind)

    assert format_text(made, kind) == made
    assert parse_document(made, "").data == parse_document(text, "").data
    assert sorted(re.findall(r"#c\d+c", made)) == sorted(re.findall(r"#c\d+c", text))
    assert beside_of(made) == beside_of(text)


def beside_of(text: str) -> dict[str, str]:
    """For each comment at the end of a line, the first word of the line, without quotes."""
    found = re.findall(r"^ *(?:- )*([^\s#][^\s:]*).* (#c\d+c)$", text, re.MULTILINE)
    return {comment: word.strip("\"'") for word, comment in found}


# --- what is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("---\nid: x\n", "1:1 not-formatted uses a document marker (---): write the file without"),
        ("id: !!str x\n", "1:5 not-formatted uses a tag (!name): write the file without it"),
        ("? id\n: x\n", "1:1 not-formatted uses a key with `?`: write `key: value`"),
        ("title: |2\n    x\n", "1:8 not-formatted says its own indentation: leave the digit out"),
        ("id: {a:\n  # c\n  b}\n", "2:1 not-formatted has a comment inside a value: put it above"),
        ("id: x\nid: y\n", "2:1 duplicate-key `id` stands twice"),
        ("id: [\n", "2:1 not-yaml is not YAML here"),
        ("# nothing\n", "1:1 empty is empty: fill or remove it"),
        ("id: &a x\n", "1:5 not-formatted uses an anchor (&name): write the file without it"),
    ],
)
def test_what_cannot_be_laid_out_is_refused_at_its_place(text: str, problem: str) -> None:
    """The file stays as it is, and the author is told what to do."""
    assert refusal(text).startswith(f"rule.yaml:{problem}")


# --- files ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_the_shipped_files_are_laid_out(path: Path) -> None:
    """With the modeline of their kind: `cds rules format` changes nothing."""
    before, after = format_file(path)

    assert after == before


def test_the_modeline_names_the_schema_of_the_file(tmp_path: Path) -> None:
    """It is put on top, or right, where the rules folder holds the schemas; others stay."""
    (tmp_path / "schema").mkdir()
    for kind in KINDS:
        (tmp_path / "schema" / kind.schema_file).touch()
    file = tmp_path / "guidance" / "rule.yaml"
    file.parent.mkdir()
    right = "# yaml-language-server: $schema=../schema/rule.schema.json\n"

    file.write_text("id: x\n")
    assert format_file(file)[1] == f"{right}id: x\n"
    file.write_text("# yaml-language-server: $schema=schema/rule.schema.json\n# c\nid: x\n")
    assert format_file(file)[1] == f"{right}# c\nid: x\n"
    file.write_text(f"{right}id: x\n")
    assert format_file(file)[1] == f"{right}id: x\n"
    shutil.rmtree(tmp_path / "schema")
    file.write_text("id: 'x'\n")
    assert format_file(file)[1] == "id: x\n"


def test_the_command_rewrites_files_and_says_which(tmp_path: Path) -> None:
    """Files that are laid out already are not named."""
    (tmp_path / "a.yaml").write_text("title: 'A'\n")
    (tmp_path / "b.yaml").write_text("title: B\n")
    result = run(tmp_path)

    assert result.exit_code == 0
    assert result.stdout == f"changed: {tmp_path / 'a.yaml'}\n2 files, 1 changed\n"
    assert (tmp_path / "a.yaml").read_text() == "title: A\n"


def test_check_writes_nothing_and_fails(tmp_path: Path) -> None:
    """It names the files that would change; where there are none it succeeds."""
    file = tmp_path / "a.yaml"
    file.write_text("title: 'A'\n")
    result = run("--check", file)

    assert (result.exit_code, file.read_text()) == (1, "title: 'A'\n")
    assert result.stdout == f"would change: {file}\n1 file, 1 would change\n"
    file.write_text("title: A\n")
    assert run("--check", file).exit_code == 0


def test_a_refused_file_is_named_and_the_others_laid_out(tmp_path: Path) -> None:
    """The exit status is 1."""
    (tmp_path / "a.yaml").write_text("--- \ntitle: 'A'\n")
    (tmp_path / "b.yaml").write_text("title: 'B'\n")
    result = run(tmp_path)

    assert result.exit_code == 1
    assert result.stderr.startswith(f"{tmp_path / 'a.yaml'}:1:1 not-formatted")
    assert result.stdout.endswith("2 files, 1 changed, 1 refused\n")
    assert (tmp_path / "b.yaml").read_text() == "title: B\n"


def test_a_path_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    """It may be a slip of the pen."""
    result = run(tmp_path / "none")

    assert result.exit_code == 1
    assert "is neither a file nor a folder" in result.stderr
