//! The whole system on one machine: its state in one SQLite file.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[macro_use]
mod scenarios;
mod support;

use support::Store;

system_tests! {
    Store::sqlite();
    a_tenant_is_copied_row_by_row_and_the_second_run_loads_only_what_is_new,
    an_answer_above_a_cap_is_split_and_never_ingested,
    rows_of_one_instant_are_split_by_a_hash,
    a_table_without_arrival_times_is_cut_by_its_watermark_column,
    what_is_wrong_with_one_table_is_said_and_the_others_go_on,
    a_run_that_is_killed_again_and_again_ends_equal_all_the_same,
    the_http_answers_are_those_of_the_python_app,
    a_plan_of_hundreds_of_windows_is_written_in_batches_and_wholly_dispatched,
    whatever_the_services_do_wrong_every_row_is_there_once,
    the_envelopes_of_a_host_that_does_not_forward_are_answered_too,
    a_suspended_run_stands_still_over_a_crash_and_goes_on_where_it_was,
    a_run_that_is_suspended_and_resumed_again_and_again_ends_equal_all_the_same,
    a_terminated_run_that_is_restarted_as_itself_copies_what_is_missing,
    a_run_that_could_not_begin_is_rewound_once_its_cause_is_gone,
    a_client_of_the_durable_functions_api_starts_polls_terminates_lists_and_purges,
}
