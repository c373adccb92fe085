//! Forks: a child is a holder of its own, a copied guard commits nothing, a dead parent never looks alive
//! through its child, and no started program inherits a descriptor of this crate.
//!
//! Without libtest's harness, because its threads would be in the way of the forks. Arguments are parts
//! of the names of the tests to run.

#[path = "../support/fork.rs"]
mod fork;

mod descriptors;
mod exits;
mod holding;
mod locking;
#[cfg(feature = "shared_memory")]
mod shmem;
mod threads;
mod waking;

const TESTS: fork::Tests = fork::tests![
    descriptors::no_descriptor_of_ours_is_a_standard_stream,
    descriptors::a_descriptor_that_was_a_standard_stream_is_opened_above,
    descriptors::a_closed_descriptor_ends_no_hold,
    descriptors::a_drop_closes_no_strangers_file,
    descriptors::a_number_that_comes_again_for_the_same_file_is_not_ours,
    descriptors::a_waiter_without_a_spare_descriptor_waits,
    descriptors::a_lost_descriptor_is_told_to_who_must_ask,
    descriptors::a_core_dump_contains_no_segment,
    exits::a_fork_in_an_exit_handler_or_a_destructor_works,
    exits::a_fork_in_a_signal_handler_does_not_hang,
    exits::a_normal_exit_leaves_no_name,
    exits::an_exit_leaves_the_names_of_others,
    exits::a_departing_holder_is_alive_for_locks,
    exits::of_several_without_descriptors_that_exit_at_once_one_takes_the_name,
    exits::a_copied_process_that_exits_departs_from_nothing,
    exits::of_several_that_exit_at_once_one_takes_the_name,
    holding::a_child_keeps_the_name_when_its_parent_exits,
    holding::a_child_keeps_the_name_when_its_parent_is_killed,
    holding::a_child_that_drops_first_takes_nothing_away,
    holding::a_grandchild_keeps_the_name_alone,
    holding::a_child_without_descriptors_is_told_so,
    holding::a_child_without_permission_is_told_so,
    holding::two_handles_to_one_segment_are_two_holders_in_a_child_too,
    locking::an_update_forked_in_its_closure_commits_once,
    locking::a_get_forked_in_its_closure_takes_once,
    locking::a_guard_forked_in_hand_is_its_parents,
    locking::a_reservation_copied_by_a_fork_does_nothing,
    locking::a_dead_parents_lock_is_taken_over_by_its_child,
    locking::a_dead_parents_lock_is_free_though_a_child_copied_it,
    locking::processes_of_one_fork_tree_share_work,
    locking::a_childs_copies_of_endpoints_are_of_no_use,
    locking::a_word_that_names_its_only_thread_is_corrupt,
    waking::nobody_asleep_costs_no_system_call,
    waking::a_batch_for_a_sleeper_costs_one_system_call,
    threads::forks_beside_threads_that_open_and_drop_never_hang,
    threads::a_started_program_inherits_no_descriptor,
    #[cfg(feature = "shared_memory")]
    shmem::a_forked_shmem_removes_no_name,
    #[cfg(feature = "shared_memory")]
    shmem::a_shmem_of_a_dead_parent_is_its_childs,
    #[cfg(feature = "shared_memory")]
    shmem::a_child_without_descriptors_claims_no_shmem,
];

fn main() {
    if std::env::args().any(|arg| arg == threads::PROGRAM) {
        return threads::program();
    }
    fork::run(TESTS);
}
