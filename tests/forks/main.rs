//! Forks: a child is a holder of its own, a copied guard commits nothing, a dead parent never looks
//! alive through its child, and no descriptor of ours gets into a program that is started.
//!
//! Without libtest's harness, because its threads would be in the way of the forks. Arguments are parts
//! of the names of the tests to run.

#[path = "../support/fork.rs"]
mod fork;

mod holding;
mod locking;
#[cfg(feature = "shared_memory")]
mod shmem;
mod threads;
mod waking;

const TESTS: &[(&str, fn())] = &[
    (
        "a_child_keeps_the_name_when_its_parent_exits",
        holding::parent_exits,
    ),
    (
        "a_child_keeps_the_name_when_its_parent_is_killed",
        holding::parent_killed,
    ),
    (
        "a_child_that_drops_first_takes_nothing_away",
        holding::child_drops_first,
    ),
    ("a_grandchild_keeps_the_name_alone", holding::grandchild),
    (
        "a_child_without_descriptors_is_told_so",
        holding::child_without_descriptors,
    ),
    (
        "a_child_without_permission_is_told_so",
        holding::child_without_permission,
    ),
    (
        "two_handles_to_one_segment_are_two_holders_in_a_child_too",
        holding::two_handles,
    ),
    (
        "an_update_forked_in_its_closure_commits_once",
        locking::fork_in_update,
    ),
    (
        "a_get_forked_in_its_closure_takes_once",
        locking::fork_in_get_with,
    ),
    (
        "a_guard_forked_in_hand_is_its_parents",
        locking::fork_with_guard,
    ),
    (
        "a_reservation_copied_by_a_fork_does_nothing",
        locking::fork_with_reservation,
    ),
    (
        "a_dead_parents_lock_is_taken_over_by_its_child",
        locking::dead_parent,
    ),
    (
        "a_dead_parents_lock_is_free_though_a_child_copied_it",
        locking::dead_parent_copied,
    ),
    (
        "processes_of_one_fork_tree_share_work",
        locking::tree_at_work,
    ),
    (
        "a_childs_copies_of_endpoints_are_of_no_use",
        locking::fork_beside_endpoints,
    ),
    ("nobody_asleep_costs_no_system_call", waking::nobody_asleep),
    (
        "a_batch_for_a_sleeper_costs_one_system_call",
        waking::one_call_a_batch,
    ),
    (
        "forks_beside_threads_that_open_and_drop_never_hang",
        threads::fork_beside_openers,
    ),
    (
        "a_started_program_inherits_no_descriptor",
        threads::started_program,
    ),
    #[cfg(feature = "shared_memory")]
    (
        "a_forked_shmem_removes_no_name",
        shmem::child_removes_nothing,
    ),
    #[cfg(feature = "shared_memory")]
    ("a_shmem_of_a_dead_parent_is_its_childs", shmem::dead_parent),
    #[cfg(feature = "shared_memory")]
    (
        "a_child_without_descriptors_claims_no_shmem",
        shmem::child_without_descriptors,
    ),
];

fn main() {
    if std::env::args().any(|arg| arg == threads::PROGRAM) {
        return threads::program();
    }
    fork::run(TESTS);
}
