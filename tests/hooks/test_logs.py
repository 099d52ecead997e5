import json
import subprocess
import sys

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
