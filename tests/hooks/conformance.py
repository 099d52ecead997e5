"""Holds what the service answers against the JSON Schemas of the interface."""

import json
import re
from functools import cache
from typing import Any

import httptools
import jsonschema

from cds.hooks.interface import read_schema

SERVICE = re.compile(r"/cds-services/[^/]+/?")
REQUEST = re.compile(rb"^([A-Z]+) ([^ ?]+)\S* HTTP/1", re.MULTILINE)


@cache
def validator(name: str) -> jsonschema.Draft202012Validator:
    """Return what checks JSON against one of the schemas."""
    schema = read_schema(name)
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def faults(name: str, content: Any) -> list[str]:
    """Return where and how JSON departs from a schema."""
    found = validator(name).iter_errors(content)
    return [f"{fault.json_path}: {fault.message[:200]}" for fault in found]


def check_answer(method: str, path: str, status: int, body: bytes) -> None:
    """Assert that an answer is what the interface says of its address and status.

    Of a bare 401, and of what was asked for with HEAD or OPTIONS, there is no body to check; what
    tells of the service's health is no part of the interface.
    """
    if method in ("HEAD", "OPTIONS") or (status == 401 and not body):
        return
    if path.startswith("/health/"):
        return
    if status >= 400:
        name = "operation-outcome"
    elif path.rstrip("/") == "/cds-services":
        name = "discovery"
    elif SERVICE.fullmatch(path):
        name = "response"
    else:
        return
    content = json.loads(body)
    assert faults(name, content) == [], f"{method} {path} answered {status}"
    if name == "discovery":
        ids = [service["id"] for service in content["services"]]
        assert len(set(ids)) == len(ids)
    if name == "response":
        uuids = [card["uuid"] for card in content["cards"]]
        assert len(set(uuids)) == len(uuids)


class Answers:
    """The answers in what came over a connection, each with its status and body."""

    def __init__(self, received: bytes) -> None:
        self.read: list[tuple[int, bytes]] = []
        self._body = b""
        self._parser = httptools.HttpResponseParser(self)
        self._parser.feed_data(received)

    def on_message_begin(self) -> None:
        """Begin with an answer."""
        self._body = b""

    def on_body(self, body: bytes) -> None:
        """Take a part of a body."""
        self._body += body

    def on_message_complete(self) -> None:
        """Take an answer, unless it only asks to go on."""
        status = self._parser.get_status_code()
        if status >= 200:
            self.read.append((status, self._body))


def check_conversation(sent: bytes, received: bytes) -> None:
    """Assert of a connection that each answer on it is what the interface says; there must be one.

    Requests are found by their first lines; what has none, and is answered, is no request.
    """
    asked = iter(REQUEST.findall(sent))
    answers = Answers(received).read
    assert answers
    for status, body in answers:
        method, path = next(asked, (b"", b""))
        check_answer(method.decode(), path.decode(), status, body)
