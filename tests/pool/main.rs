//! `Pool`: the consequences of a death at any point, the arguments and results that a pool carries, and the
//! processes and threads that may use it.
//!
//! Without libtest's harness, because its threads would be in the way of the forks. Arguments are parts
//! of the names of the tests to run.

#[path = "../support/crew.rs"]
mod crew;
#[path = "../support/fork.rs"]
mod fork;

mod carrying;
mod deaths;
mod descriptors;
mod ends;
mod handles;
mod orphans;
mod scarcity;
mod signals;
mod takes;
mod tasks;
mod torture;
mod using;

use fork::{Witness, descriptors, has_children};

/// A test by its function's path. It fails if it leaves a process or a descriptor behind.
macro_rules! clean {
    ($test:path) => {
        (stringify!($test), || clean($test))
    };
}

/// A test by its function's path.
macro_rules! plain {
    ($test:path) => {
        (stringify!($test), $test)
    };
}

const TESTS: fork::Tests = &[
    clean!(deaths::a_worker_killed_while_idle_is_nobodys_loss),
    clean!(deaths::a_worker_killed_in_a_task_ends_that_one),
    clean!(deaths::a_worker_killed_decoding_a_task_ends_that_one),
    clean!(deaths::a_worker_killed_encoding_a_result_ends_that_task),
    clean!(deaths::a_worker_killed_half_way_through_a_big_result_ends_that_task),
    clean!(deaths::a_worker_killed_before_the_message_of_a_big_result_leaves_no_memory),
    clean!(deaths::a_worker_killed_between_the_pieces_of_a_result_ends_that_task),
    clean!(deaths::a_big_result_outlives_its_worker),
    clean!(deaths::a_task_that_exits_ends_with_its_code),
    clean!(deaths::a_pool_whose_workers_all_die_goes_on),
    clean!(deaths::a_shutdown_with_work_pending_ends),
    clean!(deaths::a_shutdown_whose_workers_die_ends),
    clean!(ends::an_exit_ends_a_pool_before_the_names_go),
    clean!(ends::a_killed_supervisor_ends_workers_and_tasks),
    clean!(ends::a_killed_supervisor_leaves_a_subreaper_no_zombies),
    clean!(ends::a_stopped_supervisor_delays_the_end_only),
    clean!(signals::a_callers_handler_waits_for_no_worker),
    clean!(signals::a_signal_that_the_caller_handles_leaves_its_pool_working),
    clean!(orphans::workers_that_the_kernel_forgot_end_with_the_supervisor),
    clean!(orphans::workers_that_the_kernel_forgot_end_with_the_caller),
    clean!(orphans::a_pool_ends_with_a_caller_that_dropped_its_privileges),
    plain!(orphans::a_subreaper_reaps_a_worker_that_never_wrote_its_pid),
    clean!(descriptors::a_pipe_ends_and_a_port_is_free_although_a_pool_lives),
    plain!(descriptors::an_inherited_handle_never_reaches_another_file),
    plain!(descriptors::an_inherited_segment_stays_usable),
    plain!(descriptors::tasks_have_an_empty_standard_input_and_the_callers_output),
    clean!(scarcity::a_pool_with_few_descriptors_is_refused_or_works_or_is_given_up),
    clean!(scarcity::a_long_argument_beyond_the_limit_of_files_is_that_tasks_error),
    clean!(scarcity::results_outnumber_the_callers_descriptors),
    clean!(scarcity::results_of_several_pools_outnumber_a_users_descriptors),
    clean!(scarcity::forks_that_fail_for_a_moment_end_no_pool_that_works),
    clean!(scarcity::workers_that_cannot_use_the_queues_are_given_up),
    clean!(ends::a_killed_caller_leaves_nothing),
    clean!(ends::a_caller_that_becomes_another_program_ends_its_pool),
    clean!(ends::a_pool_that_is_the_last_holder_removes_the_name),
    clean!(ends::a_forked_copy_terminates_nothing),
    plain!(ends::workers_that_die_at_their_start_are_given_up),
    clean!(takes::a_death_before_the_note_leaves_the_task),
    clean!(takes::a_death_before_the_commit_leaves_the_task),
    clean!(takes::a_death_after_the_commit_has_the_task),
    clean!(takes::a_note_is_of_one_generation),
    clean!(torture::torture),
    clean!(carrying::large_arguments_and_results_are_whole),
    clean!(carrying::a_large_result_needs_no_descriptor),
    clean!(carrying::large_results_beyond_the_limit_of_files_are_whole),
    plain!(carrying::a_process_that_dropped_its_privileges_carries_large_ones_too),
    clean!(carrying::what_cannot_be_encoded_or_decoded_is_that_tasks_error),
    clean!(carrying::code_that_came_later_is_that_tasks_error),
    clean!(carrying::code_that_a_program_made_for_itself_is_that_tasks_error),
    clean!(handles::handles_are_arguments),
    clean!(handles::handles_are_kept_open_while_busy_and_no_longer),
    clean!(handles::a_handle_without_a_name_cannot_be_sent),
    clean!(using::a_pool_with_threads_is_refused),
    clean!(using::threads_share_a_pool),
    clean!(using::more_tasks_than_slots),
    clean!(using::a_full_queue_of_tasks_drains_results),
    clean!(using::a_dropped_task_goes_on_and_is_forgotten),
    clean!(using::a_closed_pool_finishes_and_takes_no_more),
    clean!(using::a_pool_that_nobody_drains_is_dropped_at_once),
    clean!(using::who_drains_hands_that_over_to_another),
    clean!(carrying::a_panic_in_a_tasks_types_leaves_nothing),
    clean!(using::a_result_is_given_out_once),
];

fn main() {
    fork::run(TESTS);
}

fn clean(test: fn()) {
    let before = descriptors();
    let witness = Witness::new();
    tasks::witness_pools(witness.end());
    test();
    assert!(!has_children(), "a child or a zombie is left");
    assert_eq!(witness.outlive(), "", "a process said something");
    assert_eq!(descriptors(), before);
}
