import json

from fhir.resources.R4B.operationoutcome import OperationOutcome

from cds.hooks.outcomes import Refused, operation_outcome


def test_an_outcome_is_valid_fhir_with_one_issue_for_each_problem() -> None:
    """FHIR's own definitions accept the body, and each problem is an error of its own."""
    body = operation_outcome("incomplete", ["The first.", "The second."])

    read = OperationOutcome.model_validate_json(body)

    assert [issue.diagnostics for issue in read.issue] == ["The first.", "The second."]
    assert {issue.code for issue in read.issue} == {"incomplete"}
    assert {issue.severity for issue in read.issue} == {"error"}
    assert next(iter(json.loads(body))) == "resourceType"


def test_a_refusal_tells_its_problems() -> None:
    """As an exception it reads like the sentences that the client gets."""
    assert (
        str(Refused(412, "incomplete", ["The first.", "The second."])) == "The first. The second."
    )
