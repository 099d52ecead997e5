import json

from cds.terminal import printable, printable_json, printable_line

STEERING = "\x00\x07\x08\r\x1b\x7f\x85\x9b\u061c\u200e\u2028\u202e\u2066"


def test_what_steers_a_terminal_is_replaced() -> None:
    """Control characters, marks of direction and tabs; line breaks and letters stay."""
    assert printable(STEERING) == "\ufffd" * len(STEERING)
    assert printable("a\tb\nå 5 µg · ≥") == "a\ufffdb\nå 5 µg · ≥"


def test_a_line_stays_one_line() -> None:
    """Breaks of every kind in it are spaces, so that nobody can forge a further line."""
    assert printable_line("a\r\nb\nc\u2028d\x1b") == "a b c d\ufffd"


def test_json_means_the_same_and_steers_nothing() -> None:
    """What JSON would leave as it is, is written as a number, and all else is left alone."""
    encoded = json.dumps({"a": STEERING + "é"}, ensure_ascii=False).encode()
    shown = printable_json(encoded)

    assert json.loads(shown) == json.loads(encoded)
    assert not set(shown.decode()) & set(STEERING)
    assert "é" in shown.decode()
    assert printable_json(b'{"a":1}') == b'{"a":1}'
