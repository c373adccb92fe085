//! `Process`: what is refused, who may wait for and signal whom, what a dropped handle and a gone parent
//! leave, and that nothing is left at all.
//!
//! Without libtest's harness, because its threads would be in the way of the forks. Arguments are parts
//! of the names of the tests to run.

#[path = "../support/fork.rs"]
mod fork;

mod ending;
mod starting;
mod waiting;

const TESTS: [(&str, fn()); 23] = [
    ("a_process_with_threads_is_refused", starting::threads),
    (
        "a_process_whose_threads_have_finished_is_not",
        starting::finished_threads,
    ),
    (
        "an_unchecked_start_beside_threads_that_print_never_hangs",
        starting::unchecked,
    ),
    (
        "a_start_inside_a_closure_under_a_lock_is_refused",
        starting::guards,
    ),
    (
        "a_leaked_guard_is_held_until_its_handle_goes",
        starting::leaked_guard,
    ),
    (
        "a_start_without_descriptors_is_refused",
        starting::without_descriptors,
    ),
    (
        "a_start_is_refused_where_children_are_forgotten",
        starting::forgotten_children,
    ),
    (
        "a_daemon_is_refused_to_a_thread_that_may_end_before",
        starting::daemon_of_a_thread,
    ),
    ("a_start_that_fails_runs_nothing", starting::failing_fork),
    ("threads_that_join_at_once_agree", waiting::many_joins),
    ("a_status_is_kept", waiting::kept_status),
    ("a_wait_does_not_poll", waiting::no_polling),
    ("a_wait_ends_with_the_process", waiting::prompt),
    (
        "a_signal_never_hits_a_pid_that_is_used_again",
        waiting::reused_pid,
    ),
    (
        "a_forked_child_is_no_parent_of_its_siblings",
        waiting::siblings,
    ),
    (
        "a_status_that_somebody_else_took_is_an_error",
        waiting::taken_status,
    ),
    (
        "a_child_whose_status_a_handler_takes_at_once_is_started",
        waiting::reaped_at_once,
    ),
    (
        "a_dropped_handle_neither_ends_nor_waits_and_the_next_start_reaps",
        ending::dropped,
    ),
    ("a_hundred_processes_leave_nothing", ending::hundred),
    (
        "a_daemon_whose_parent_died_at_once_never_runs",
        ending::orphan_before_it_starts,
    ),
    (
        "a_child_outlives_its_parent_and_keeps_the_name",
        ending::keeps_the_name,
    ),
    (
        "a_child_that_is_the_last_one_out_removes_the_name",
        ending::last_one_out,
    ),
    ("a_child_runs_no_exit_handlers", ending::exit_handlers),
];

fn main() {
    fork::run(&TESTS);
}
