//! `Process`: refusals, waits and signals between relatives, dropped handles and gone parents, and the end,
//! which leaves nothing.
//!
//! Without libtest's harness, because its threads would be in the way of the forks. Arguments are parts
//! of the names of the tests to run.

#[path = "../support/fork.rs"]
mod fork;

mod ending;
mod signals;
mod starting;
mod waiting;

use shmkit::Process;
use shmkit::process::Outcome;

const TESTS: fork::Tests = fork::tests![
    starting::a_process_with_threads_is_refused,
    starting::a_process_whose_threads_have_finished_is_not,
    starting::an_unchecked_start_beside_threads_that_print_never_hangs,
    starting::a_start_inside_a_closure_under_a_lock_is_refused,
    starting::a_leaked_guard_is_held_until_its_handle_goes,
    starting::a_start_without_descriptors_is_refused,
    starting::a_start_without_a_descriptor_for_each_handle_is_refused,
    starting::a_start_is_refused_where_children_are_forgotten,
    starting::a_daemon_is_refused_to_a_thread_that_may_end_before,
    starting::a_start_that_fails_runs_nothing,
    waiting::threads_that_join_at_once_agree,
    waiting::a_status_is_kept,
    waiting::a_wait_does_not_poll,
    waiting::a_wait_ends_with_the_process,
    waiting::a_signal_never_hits_a_pid_that_is_used_again,
    waiting::a_forked_child_is_no_parent_of_its_siblings,
    waiting::a_status_that_somebody_else_took_is_an_error,
    waiting::a_child_whose_status_a_handler_takes_at_once_is_started,
    signals::a_child_is_terminated_although_its_parent_handles_that,
    signals::a_child_handles_nothing_but_faults_and_blocks_nothing,
    signals::a_signal_in_the_middle_of_a_start_runs_no_handler_in_the_child,
    ending::a_dropped_handle_neither_ends_nor_waits_and_the_next_start_reaps,
    ending::a_hundred_processes_leave_nothing,
    ending::a_daemon_whose_parent_died_at_once_never_runs,
    ending::a_daemon_that_the_kernel_forgot_ends_while_it_waits,
    ending::a_daemon_has_an_empty_standard_input,
    ending::an_exit_ends_daemons_before_the_names_go,
    ending::a_child_outlives_its_parent_and_keeps_the_name,
    ending::a_child_that_is_the_last_one_out_removes_the_name,
    ending::a_child_runs_no_exit_handlers,
];

fn main() {
    fork::run(TESTS);
}

/// Starts a process that ends within a test's time in any case.
fn spawn<R: Outcome>(f: impl FnOnce() -> R) -> Process {
    let child = Process::spawn(|| {
        fork::end_after(fork::LIMIT);
        f()
    });
    child.expect("spawn")
}

/// Waits for a process's end. Returns its exit code.
fn join(child: &Process) -> Option<i32> {
    child.join().expect("join");
    child.exit_code()
}
