"""What of each point of the interface the tests show, by their names."""

import ast
import re
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1]

CLAUSES = {
    1: (
        "only_https_is_asked_for_again_over_https",
        "nothing_that_is_sent_is_empty",
    ),
    2: ("no_extension_is_used",),
    3: ("discovery_describes_the_service",),
    4: ("no_two_services_share_an_id",),
    5: ("only_tokens_that_every_client_knows_are_used",),
    6: ("only_the_recommended_query_parameters_are_used",),
    7: (
        "an_authorization_that_cannot_be_used_is_malformed",
        "an_authorization_for_another_patient_is_malformed_where_all_was_sent",
        "a_token_for_this_patient_is_used",
        "a_token_for_the_fhir_server_is_never_kept",
        "the_token_and_the_patient_are_nowhere_in_the_log",
        "neither_token_nor_patient_are_in_what_is_logged_or_raised",
        "what_only_tells_of_a_token_may_be_missing",
        "what_the_specification_requires_is_enough",
        "each_required_field_is_missed",
        "each_field_of_a_wrong_kind_is_named",
        "another_hook_than_that_of_the_service_is_refused",
        "an_authorization_needs_its_server",
        "each_wrong_field_of_an_authorization_is_named",
        "an_authorization_has_a_token_and_its_type",
        "the_hook_of_another_service_is_refused",
        "a_request_that_names_one_thing_twice_is_refused",
    ),
    8: (
        "all_pages_are_followed",
        "endless_pages_are_given_up",
        "each_key_that_is_missing_is_fetched_and_no_other",
        "null_is_an_answer_and_not_fetched",
        "what_does_not_satisfy_a_key_is_fetched_in_its_place",
        "an_empty_search_is_an_answer_on_each_of_its_pages",
        "what_is_sent_is_read",
        "null_says_that_there_is_nothing",
        "an_empty_bundle_says_that_there_is_nothing",
        "every_key_that_is_missing_is_named",
        "an_operation_outcome_is_not_data",
        "pages_that_are_all_there_are_read",
        "a_page_that_is_not_there_is_missed",
        "an_error_among_the_entries_is_not_a_complete_answer",
        "a_warning_among_the_entries_does_no_harm",
        "anything_else_is_not_satisfied",
        "a_key_that_holds_nothing_of_its_type_is_not_satisfied",
        "an_empty_search_with_a_remark_says_that_there_is_nothing",
        "a_total_beside_what_was_found_is_not_believed",
        "an_empty_last_page_says_nothing_against_those_before",
        "a_prefetch_that_failed_is_not_data",
    ),
    9: (
        "each_key_that_cannot_be_had_is_named_with_its_reason",
        "without_a_server_the_reason_is_told",
        "a_server_that_is_not_written_as_it_is_listed_is_not_asked",
        "answers_about_another_patient_are_refused",
        "resources_of_another_type_are_refused",
        "an_error_among_what_was_found_is_not_a_complete_answer",
        "an_answer_that_holds_nothing_of_its_type_is_refused",
        "without_prefetch_the_call_is_refused_with_every_key",
        "each_key_but_one_is_needed",
        "what_an_ehr_may_not_serve_is_not_needed",
        "a_malformed_request_is_400",
        "an_unknown_service_is_404",
        "a_fault_is_never_a_list_of_cards",
    ),
    10: (
        "a_slow_server_is_waited_for_only_until_the_deadline",
        "all_fetched_gives_the_same_cards_as_all_prefetched",
        "what_was_sent_is_not_fetched",
        "a_slow_server_is_waited_for_within_the_budget",
        "keys_are_fetched_at_the_same_time",
        "prefetch_alone_is_enough_and_quick",
    ),
    11: (
        "unknown_fields_are_ignored",
        "unknown_fields_change_nothing",
    ),
    12: ("cards_are_as_the_specification_has_them",),
    13: ("each_source_is_named_and_its_addresses_are_absolute",),
    14: ("a_suggestion_creates_a_valid_draft",),
    15: ("each_link_is_absolute_and_of_a_kind",),
    16: (
        "a_batch_is_kept_before_it_is_answered",
        "feedback_that_tells_one_thing_twice_is_refused",
        "what_is_sent_again_is_kept_once",
        "an_override_after_an_acceptance_is_kept_beside_it",
        "a_wrong_item_is_located_and_nothing_of_the_batch_is_kept",
        "what_is_no_feedback_is_refused",
    ),
    17: (
        "the_audience_is_the_endpoint_under_one_of_the_bases",
        "headers_that_are_not_known_are_ignored",
        "the_jku_header_may_be_left_out",
        "any_tenant_is_accepted_where_none_is_listed",
        "a_wrong_token_is_not_accepted",
        "every_reason_is_shown_here",
        "only_a_bearer_token_is_looked_at",
        "discovery_and_calls_are_answered_with_a_token",
        "without_a_token_nothing_is_answered",
        "only_clients_are_answered",
    ),
    18: (
        "every_asymmetric_algorithm_is_accepted",
        "no_other_algorithm_is_accepted",
        "a_wrong_token_is_not_accepted",
        "every_reason_is_shown_here",
        "a_token_is_accepted_once",
        "of_two_uses_at_once_one_is_accepted",
        "a_wrong_token_does_not_use_up_its_id",
        "key_rotation_takes_effect_with_the_first_new_token",
        "nothing_is_fetched_for_who_is_not_known",
        "who_is_not_known_costs_as_much_work",
        "a_signature_of_another_length_is_checked_as_long",
        "a_wrong_token_is_answered_with_a_bare_401",
        "a_replay_is_answered_with_a_bare_401",
        "a_set_that_cannot_be_trusted_is_refused",
        "a_key_set_is_cached",
        "an_unknown_kid_fetches_at_a_bounded_rate",
        "a_new_key_is_found_at_once",
        "a_file_is_read_again_when_it_has_changed",
        "no_other_answer_is_taken",
        "only_clients_are_answered",
        "a_token_is_used_once_whichever_worker_is_asked",
    ),
    19: (
        "clocks_may_differ_by_a_minute",
        "the_name_of_a_key_may_be_any_base64",
        "a_token_may_be_valid_from_before_it_was_made",
        "the_audience_of_feedback_is_its_own_address",
    ),
    20: (
        "a_preflight_needs_no_token",
        "a_page_of_a_named_origin_may_call_with_a_token",
        "the_page_can_read_the_answer_and_what_names_it",
        "a_page_can_read_why_it_was_refused",
        "no_other_origin_may",
        "without_origins_no_page_may_call",
        "any_origin_may_be_allowed_for_a_trial",
    ),
}
"""Of each point of CDS Hooks 2.0 that a service must get right, what must be shown.

`test_point_07_…` shows a clause of point 7, `test_points_17_and_18_…` one of both.
"""


def shown() -> set[tuple[int, str]]:
    """Return each point that a test is named after, with the rest of its name."""
    found: set[tuple[int, str]] = set()
    for file in TESTS.rglob("test_*.py"):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.FunctionDef):
                named = re.match(r"test_points?_(\d\d)_(?:and_(\d\d)_)?(\w+)", node.name)
                if named:
                    found |= {(int(number), named[3]) for number in named.groups()[:2] if number}
    return found


def test_each_point_has_clauses() -> None:
    """None of the twenty is left without."""
    assert [point for point in range(1, 21) if not CLAUSES.get(point)] == []


@pytest.mark.parametrize("point", CLAUSES)
def test_each_clause_has_a_test_of_its_name(point: int) -> None:
    """And each test that is named after a point is listed, so that it is missed if it goes."""
    assert {clause for number, clause in shown() if number == point} == set(CLAUSES[point])
