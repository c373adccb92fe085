//! `Pool`: what a death at any point ends, and what it leaves; what is carried; who may use it from where.
//!
//! Without libtest's harness, because its threads would be in the way of the forks. Arguments are parts
//! of the names of the tests to run.

#[path = "../support/crew.rs"]
mod crew;
#[path = "../support/fork.rs"]
mod fork;

mod carrying;
mod deaths;
mod ends;
mod handles;
mod scarcity;
mod signals;
mod takes;
mod torture;
mod using;

use fork::{Witness, descriptors, has_children};

/// A test after which nothing is left.
macro_rules! clean {
    ($test:path) => {
        || clean($test)
    };
}

const TESTS: [(&str, fn()); 47] = [
    (
        "a_worker_killed_while_idle_is_nobodys_loss",
        clean!(deaths::idle),
    ),
    (
        "a_worker_killed_in_a_task_ends_that_one",
        clean!(deaths::running),
    ),
    ("... decoding_it", clean!(deaths::decoding)),
    ("... encoding_its_result", clean!(deaths::encoding)),
    (
        "... half_way_through_a_big_result",
        clean!(deaths::half_way),
    ),
    (
        "a_big_result_outlives_its_worker",
        clean!(deaths::not_fetched),
    ),
    (
        "a_task_that_exits_ends_with_its_code",
        clean!(deaths::exiting),
    ),
    ("a_pool_whose_workers_all_die_goes_on", clean!(deaths::all)),
    (
        "a_shutdown_with_work_pending_ends",
        clean!(deaths::shutdown),
    ),
    (
        "a_shutdown_whose_workers_die_ends",
        clean!(deaths::dying_shutdown),
    ),
    (
        "a_killed_supervisor_ends_workers_and_tasks",
        clean!(ends::killed_supervisor),
    ),
    (
        "a_killed_supervisor_leaves_a_subreaper_no_zombies",
        clean!(ends::subreaper),
    ),
    (
        "a_stopped_supervisor_delays_the_end_only",
        clean!(ends::stopped_supervisor),
    ),
    (
        "a_callers_handler_waits_for_no_worker",
        clean!(signals::reaping),
    ),
    (
        "a_pool_with_few_descriptors_is_refused_or_works_or_is_given_up",
        clean!(scarcity::steps),
    ),
    (
        "a_long_argument_beyond_the_limit_of_files_is_that_tasks_error",
        clean!(scarcity::file_sizes),
    ),
    (
        "forks_that_fail_for_a_moment_end_no_pool_that_works",
        clean!(scarcity::moment),
    ),
    (
        "workers_that_cannot_use_the_queues_are_given_up",
        clean!(scarcity::no_holders),
    ),
    ("a_killed_caller_leaves_nothing", clean!(ends::caller)),
    (
        "a_caller_that_becomes_another_program_ends_its_pool",
        clean!(ends::program),
    ),
    (
        "a_pool_that_is_the_last_holder_removes_the_name",
        clean!(ends::last_holder),
    ),
    ("a_forked_copy_terminates_nothing", clean!(ends::copy)),
    ("workers_that_die_at_their_start_are_given_up", || {
        ends::prepare_curse();
        clean(ends::stillborn);
    }),
    (
        "a_death_before_the_note_leaves_the_task",
        clean!(takes::before_the_note),
    ),
    (
        "a_death_before_the_commit_leaves_the_task",
        clean!(takes::before_the_commit),
    ),
    (
        "a_death_after_the_commit_has_the_task",
        clean!(takes::after_the_commit),
    ),
    ("a_note_is_of_one_generation", clean!(takes::generations)),
    ("torture", clean!(torture::torture)),
    (
        "large_arguments_and_results_are_whole",
        clean!(carrying::large),
    ),
    (
        "a_large_result_without_descriptors_is_that_tasks_error",
        clean!(carrying::no_descriptors),
    ),
    (
        "a_process_that_dropped_its_privileges_carries_large_ones_too",
        carrying::dropped_privileges,
    ),
    (
        "what_cannot_be_encoded_or_decoded_is_that_tasks_error",
        clean!(carrying::odd_types),
    ),
    (
        "code_that_came_later_is_that_tasks_error",
        clean!(carrying::later_code),
    ),
    (
        "code_that_a_program_made_for_itself_is_that_tasks_error",
        clean!(carrying::own_code),
    ),
    ("handles_are_arguments", clean!(handles::arguments)),
    (
        "handles_are_kept_open_while_busy_and_no_longer",
        clean!(handles::kept),
    ),
    (
        "a_handle_without_a_name_cannot_be_sent",
        clean!(handles::nameless),
    ),
    ("a_pool_with_threads_is_refused", clean!(using::refused)),
    ("threads_share_a_pool", clean!(using::shared)),
    ("more_tasks_than_slots", clean!(using::many)),
    ("a_full_queue_of_tasks_drains_results", clean!(using::full)),
    (
        "a_dropped_task_goes_on_and_is_forgotten",
        clean!(using::dropped_task),
    ),
    (
        "a_closed_pool_finishes_and_takes_no_more",
        clean!(using::closed),
    ),
    (
        "a_pool_that_nobody_drains_is_dropped_at_once",
        clean!(using::undrained),
    ),
    (
        "who_drains_hands_that_over_to_another",
        clean!(using::hand_over),
    ),
    (
        "a_panic_in_a_tasks_types_leaves_nothing",
        clean!(carrying::panicking_types),
    ),
    ("a_result_is_given_out_once", clean!(using::once)),
];

fn main() {
    fork::run(&TESTS);
}

fn clean(test: fn()) {
    let before = descriptors();
    let witness = Witness::new();
    test();
    assert!(!has_children(), "a child or a zombie is left");
    // Every process that was forked has it.
    assert_eq!(witness.outlive(), "", "somebody has something to say");
    assert_eq!(descriptors(), before);
}

fn pid_of(_: ()) -> u32 {
    std::process::id()
}

fn double(n: u64) -> u64 {
    2 * n
}
