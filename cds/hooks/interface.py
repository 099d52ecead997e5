"""The interface in OpenAPI 3.1, made of the JSON Schemas beside this module.

The schemas are written from the specification, https://cds-hooks.hl7.org/2.0/, not from the code:
every answer in the tests is held against them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from importlib.resources import files
from typing import Any

from cds.hooks.services import TITLE, Service

Json = dict[str, Any]

NAMES = ("discovery", "request", "response", "feedback", "operation-outcome")
"""The schemas that there are."""


def read_schema(name: str) -> Json:
    """One of the schemas, by its name."""
    file = files("cds.hooks") / "schemas" / f"{name}.schema.json"
    schema: Json = json.loads(file.read_text("utf-8"))
    return schema


def describe_interface(
    services: Iterable[Service], version: str, *, feedback: bool, authenticated: bool
) -> Json:
    """Describe the interface as OpenAPI.

    ``feedback`` says whether feedback is taken, ``authenticated`` whether clients must say who they
    are. ``version`` is that of the rules, since with them the services change.
    """
    paths: Json = {
        "/cds-services": {
            "get": {
                "operationId": "discover",
                "summary": "The services that there are",
                "responses": _responses("discovery", "The services.", errors=(500, 503)),
            }
        }
    }
    for service in services:
        address = f"/cds-services/{service.id}"
        paths[address] = {
            "post": {
                "operationId": service.id,
                "summary": service.title,
                "description": f"{service.description} {service.usageRequirements}",
                "requestBody": _body("request"),
                "responses": _responses(
                    "response", "The cards, if any.", errors=(400, 408, 412, 413, 415, 500, 503)
                ),
            }
        }
        if feedback:
            paths[f"{address}/feedback"] = {
                "post": {
                    "operationId": f"{service.id}-feedback",
                    "summary": f"{service.title}: what became of its cards",
                    "requestBody": _body("feedback"),
                    "responses": _responses(None, "Taken.", errors=(400, 408, 413, 415, 500, 503)),
                }
            }
    described: Json = {
        "openapi": "3.1.0",
        "info": {
            "title": TITLE,
            "version": version,
            "description": "CDS Hooks 2.0, https://cds-hooks.hl7.org/2.0/",
        },
        "paths": paths,
        "components": {"schemas": _components()},
    }
    if authenticated:
        described["security"] = [{"clientJwt": []}]
        described["components"]["securitySchemes"] = {
            "clientJwt": {
                "type": "http",
                "scheme": "bearer",
                "bearerFormat": "JWT",
                "description": "https://cds-hooks.hl7.org/2.0/#trusting-cds-clients",
            }
        }
        for path in paths.values():
            for operation in path.values():
                operation["responses"]["401"] = {"description": "Who calls is not known."}
    return described


_ERRORS = {
    400: "This is no request that can be answered; it says where and why.",
    408: "The request did not arrive in time.",
    412: "Data that the answer depends on are missing or cannot be read; it says which.",
    413: "The request is larger than this service reads; it says what the limit is.",
    415: "The request is not said to be JSON; it says how to say so.",
    500: "The service failed, and gives no advice rather than advice that may be wrong.",
    503: "The service is too busy or too slow at present; Retry-After says when to call again.",
}


def _body(schema: str) -> Json:
    return {"required": True, "content": _json(schema)}


def _json(schema: str) -> Json:
    return {"application/json": {"schema": {"$ref": f"#/components/schemas/{_title(schema)}"}}}


def _responses(schema: str | None, said: str, errors: tuple[int, ...]) -> Json:
    answered: Json = {"description": said, "headers": _headers(required=True)}
    if schema is not None:
        answered["content"] = _json(schema)
    refused = {
        str(status): {
            "description": _ERRORS[status],
            "headers": _headers(required=status not in _BEFORE_RULES),
            "content": _json("operation-outcome"),
        }
        for status in errors
    }
    return {"200": answered, **refused}


def _headers(*, required: bool) -> Json:
    return {
        "X-Rules-Version": {
            "description": "The version of the rules that it was answered by.",
            "required": required,
            "schema": {"type": "string"},
        }
    }


_BEFORE_RULES = (408, 500, 503)
"""May be answered before it is known who calls, or what for: then no rules were taken for it."""


def _title(name: str) -> str:
    title: str = read_schema(name)["title"]
    return title


def _components() -> Json:
    """The schemas and their parts side by side, as OpenAPI has them."""
    components: Json = {}
    for name in NAMES:
        text = json.dumps(read_schema(name)).replace('"#/$defs/', '"#/components/schemas/')
        schema: Json = json.loads(text)
        parts: Json = schema.pop("$defs", {})
        del schema["$schema"], schema["$id"]
        components |= {schema["title"]: schema, **parts}
    return components
