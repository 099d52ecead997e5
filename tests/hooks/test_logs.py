import json
import re
import subprocess
import sys
from typing import Any

from cds.hooks.logs import describe

LOGGING = """
import logging, structlog
from cds.hooks.logs import log_json
log_json()
structlog.get_logger("own").info("served", count=1)
try:
    raise ValueError("Doe, Jane")
except ValueError as fault:
    structlog.get_logger("own").error("failed", exc_info=True)
    logging.getLogger("library").exception("also %s", "failed")
"""


def test_logs_are_json_lines_without_the_texts_of_exceptions() -> None:
    """Own and library logs tell of an exception its type and place, and not what it says."""
    ended = subprocess.run(
        [sys.executable, "-c", LOGGING], capture_output=True, text=True, check=True
    )

    served, own, library = map(json.loads, ended.stderr.splitlines())
    assert (served["event"], served["count"], served["level"]) == ("served", 1, "info")
    assert (own["event"], own["fault"], own["logger"]) == ("failed", "ValueError", "own")
    assert (library["event"], library["fault"]) == ("also failed", "ValueError")
    assert own["at"] == library["at"] == ["<string>:7 <module>"]
    assert "Jane" not in ended.stderr


VERSIONS = """
import logging, structlog
from cds.hooks.logs import log_json
versions = iter(["first", "second", "third"])
log_json(lambda: next(versions))
structlog.get_logger("own").info("started")
logging.getLogger("library").warning("heard")
structlog.contextvars.bind_contextvars(rules_version="of the request")
structlog.get_logger("own").info("answered")
logging.getLogger("library").warning("sent")
"""


def test_every_line_names_the_version_of_the_rules() -> None:
    """Of a request the one that answers it, otherwise the one in service, in library lines too."""
    ended = subprocess.run(
        [sys.executable, "-c", VERSIONS], capture_output=True, text=True, check=True
    )

    versions = [json.loads(line)["rules_version"] for line in ended.stderr.splitlines()]
    assert versions == ["first", "second", "of the request", "of the request"]


def test_a_fault_is_described_by_type_and_place() -> None:
    """The text of a fault, which may hold data, is no part of it."""

    def fail() -> None:
        raise KeyError("Doe, Jane")

    try:
        fail()
    except KeyError as fault:
        described = describe(fault)

    assert described["fault"] == "KeyError"
    assert str(described["at"]).count("test_logs.py") == 2
    assert "Jane" not in str(described)


def logged(code: str) -> list[dict[str, Any]]:
    """Run a piece of Python that logs, and return its lines."""
    ended = subprocess.run(
        [sys.executable, "-c", "import structlog\nfrom cds.hooks.logs import log_json\n" + code],
        capture_output=True,
        check=False,
    )
    assert not re.search(rb"[\x00-\x09\x0b-\x1f\x7f]", ended.stderr)
    return [json.loads(line) for line in ended.stderr.splitlines()]


def test_what_somebody_sent_makes_no_line_as_long_as_they_like() -> None:
    """Long texts and lists are cut off, with their length, wherever they stand in a line."""
    (line,) = logged(
        "log_json()\n"
        "structlog.get_logger().info('x' * 5000, problems=['y' * 3000, *map(str, range(300))])\n"
    )

    assert line["event"] == "x" * 2000 + "… (5000 characters)"
    assert line["problems"][0] == "y" * 2000 + "… (3000 characters)"
    assert line["problems"][-1] == "… (101 more)"
    assert len(line["problems"]) == 201


def test_a_line_cannot_steer_the_terminal_that_shows_it() -> None:
    """Escape sequences, line breaks and marks of direction are written as their numbers."""
    said = "\x1b[2J\n\x9b1m\u202e\x7f\u2028é"
    ended = subprocess.run(
        [
            *(sys.executable, "-c"),
            "import logging, structlog\nfrom cds.hooks.logs import log_json\nlog_json()\n"
            f"structlog.get_logger().info('sent', value={said!r})\n"
            f"logging.getLogger('library').warning('got %s', {said[4:]!r})\n",
        ],
        capture_output=True,
        check=True,
    )

    own, library = ended.stderr.decode().splitlines()
    assert json.loads(own)["value"] == said
    assert json.loads(library)["event"] == "got "
    assert set(own + library) & set("\x1b\x9b\u202e\x7f\u2028") == set()


def test_what_cannot_be_written_as_json_fails_no_call() -> None:
    """A text that is no Unicode, and a thing without a form in JSON, are told as far as they go."""
    lone, thing = logged(
        "log_json()\n"
        "structlog.get_logger().info('sent', value='\\ud800')\n"
        "structlog.get_logger().info('held', value=ValueError('Doe, Jane'))\n"
    )

    assert "\\ud800" in lone["value"]
    assert thing["value"] == "(ValueError)"


def test_of_what_libraries_say_the_first_line_is_logged() -> None:
    """asyncio writes the texts of exceptions into the further lines."""
    (line,) = logged(
        "import asyncio\nlog_json()\n"
        "async def fail(): raise ValueError('Doe, Jane')\n"
        "async def run():\n"
        "    asyncio.create_task(fail())\n"
        "    await asyncio.sleep(0)\n"
        "    await asyncio.sleep(0)\n"
        "asyncio.run(run())\n"
    )

    assert line["event"] == "Task exception was never retrieved"
    assert line["fault"] == "ValueError"
    assert "Jane" not in str(line)


def test_a_line_of_a_library_that_cannot_be_put_together_fails_nothing() -> None:
    """A message whose arguments do not fit it is told as such, without them."""
    (line,) = logged(
        "import logging\nlog_json()\nlogging.getLogger('library').warning('%d', 'J')\n"
    )

    assert line["event"] == "a line that cannot be written out (TypeError)"
    assert line["logger"] == "library"


def test_what_nobody_caught_is_logged_without_its_text() -> None:
    """Of the process, of a thread and of a warning: lines as all others."""
    warned, thread, process = logged(
        "import threading, warnings\nlog_json()\n"
        "warnings.warn('old')\n"
        "def fail(): raise ValueError('Doe, Jane')\n"
        "thread = threading.Thread(target=fail)\nthread.start()\nthread.join()\n"
        "fail()\n"
    )

    assert "UserWarning: old" in warned["event"]
    for line in (thread, process):
        assert (line["event"], line["fault"]) == ("uncaught", "ValueError")
        assert "Jane" not in str(line)


def test_commands_for_people_warn_in_words_on_stderr() -> None:
    """One line without control characters, whatever was sent; stdout is for answers."""
    ended = subprocess.run(
        [
            *(sys.executable, "-c"),
            "import structlog\nfrom cds.hooks.logs import log_plainly\nlog_plainly()\n"
            "structlog.get_logger().info('not this')\n"
            "structlog.get_logger().error('key_set_refused', told='a\\nb\\x1b[2Jc', client=None)\n",
        ],
        capture_output=True,
        text=True,
        check=True,
    )

    assert ended.stdout == ""
    assert ended.stderr == "error: key_set_refused (told: a b\ufffd[2Jc)\n"
