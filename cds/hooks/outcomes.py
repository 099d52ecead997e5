"""What the service answers where it cannot answer with cards: FHIR R4 OperationOutcomes.

Nothing in them comes from a patient's data. https://hl7.org/fhir/R4/operationoutcome.html
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import msgspec
from msgspec import Struct

IssueType = Literal[
    "invalid",
    "not-found",
    "not-supported",
    "incomplete",
    "exception",
    "processing",
    "too-long",
    "too-costly",
    "timeout",
    "throttled",
    "transient",
]
"""Codes of https://hl7.org/fhir/R4/valueset-issue-type.html."""


class Refused(Exception):
    """A request that is not answered with cards: the HTTP status, and a sentence for each reason.

    The sentences are sent to the client and logged, so they hold no patient data.
    """

    def __init__(self, status: int, issue_type: IssueType, problems: Iterable[str]) -> None:
        self.status = status
        self.issue_type: IssueType = issue_type
        self.problems = tuple(problems)
        super().__init__(" ".join(self.problems))


class _Issue(Struct, frozen=True, tag_field="severity", tag="error"):
    code: IssueType
    diagnostics: str


class _OperationOutcome(Struct, frozen=True, tag_field="resourceType", tag="OperationOutcome"):
    issue: list[_Issue]


def operation_outcome(issue_type: IssueType, problems: Iterable[str]) -> bytes:
    """An OperationOutcome as JSON, with one issue for each problem."""
    return msgspec.json.encode(_OperationOutcome([_Issue(issue_type, text) for text in problems]))
