"""Holds what the service answers against the JSON Schemas of the interface."""

import json
import re
from functools import cache
from typing import Any

import jsonschema

from cds.hooks.interface import read_schema

SERVICE = re.compile(r"/cds-services/[^/]+/?")


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

    Of a bare 401, and of what was asked for with HEAD or OPTIONS, there is no body to check.
    """
    if method in ("HEAD", "OPTIONS") or (status == 401 and not body):
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
