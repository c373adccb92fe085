//! A death at each step of a take: either the task is in the queue, or the dead worker has a lease of it.

use crate::fork::{Child, kill_me};
use shmkit::ByteQueue;
use shmkit::internals::{Words, leases_of, new_task, record_lease, take_task};

const DEAD: u32 = 1;
const NEXT: u32 = 2;

fn pool_of_two_tasks() -> (ByteQueue, Words) {
    let tasks = ByteQueue::new(4096).expect("create");
    tasks.put(&new_task(3, 1)).expect("put");
    tasks.put(&new_task(4, 1)).expect("put");
    (tasks, Words::new(2).expect("create"))
}

fn dies(f: impl FnOnce()) {
    assert_eq!(Child::fork(f).wait(), 128 + libc::SIGKILL);
}

fn take(tasks: &ByteQueue, words: &Words, worker: u32, expected: Vec<u8>) {
    let mut message = Vec::new();
    take_task(tasks, words, worker, &mut message, None).expect("take");
    assert_eq!(message, expected);
}

pub(crate) fn a_death_before_the_note_leaves_the_task() {
    let (tasks, words) = pool_of_two_tasks();
    dies(|| tasks.get_with(|_| kill_me()).expect("get"));
    assert_eq!(leases_of(&tasks, &words, DEAD), Ok(vec![]));
    take(&tasks, &words, NEXT, new_task(3, 1));
}

pub(crate) fn a_death_before_the_commit_leaves_the_task() {
    let die = |tasks: &ByteQueue, words: &Words| {
        dies(|| {
            let noted = tasks.get_with(|front| {
                record_lease(words, DEAD, front);
                kill_me()
            });
            noted.expect("get");
        });
    };
    let (tasks, words) = pool_of_two_tasks();
    die(&tasks, &words);
    assert_eq!(leases_of(&tasks, &words, DEAD), Ok(vec![]));
    take(&tasks, &words, NEXT, new_task(3, 1));

    // Another worker takes the task before the leases are read.
    let (tasks, words) = pool_of_two_tasks();
    die(&tasks, &words);
    take(&tasks, &words, NEXT, new_task(3, 1));
    assert_eq!(leases_of(&tasks, &words, DEAD), Ok(vec![]));
    assert_eq!(leases_of(&tasks, &words, NEXT), Ok(vec![(3, 1)]));

    // The dead worker had a task before.
    let (tasks, words) = pool_of_two_tasks();
    take(&tasks, &words, DEAD, new_task(3, 1));
    die(&tasks, &words);
    assert_eq!(leases_of(&tasks, &words, DEAD), Ok(vec![(3, 1)]));
}

pub(crate) fn a_death_after_the_commit_has_the_task() {
    let (tasks, words) = pool_of_two_tasks();
    dies(|| {
        take(&tasks, &words, DEAD, new_task(3, 1));
        kill_me();
    });
    assert_eq!(leases_of(&tasks, &words, DEAD), Ok(vec![(3, 1)]));
    assert_eq!(leases_of(&tasks, &words, NEXT), Ok(vec![]));
    // The last task is taken, and the queue has no front.
    take(&tasks, &words, DEAD, new_task(4, 1));
    assert_eq!(leases_of(&tasks, &words, DEAD), Ok(vec![(3, 1), (4, 1)]));
    tasks.close();
    assert_eq!(leases_of(&tasks, &words, DEAD), Ok(vec![(3, 1), (4, 1)]));
}

/// The slot's next task is in the queue, and the note of the slot's last task is still there.
pub(crate) fn a_note_is_of_one_generation() {
    let (tasks, words) = pool_of_two_tasks();
    take(&tasks, &words, DEAD, new_task(3, 1));
    take(&tasks, &words, NEXT, new_task(4, 1));
    tasks.put(&new_task(3, 2)).expect("put");
    assert_eq!(leases_of(&tasks, &words, DEAD), Ok(vec![(3, 1)]));
    take(&tasks, &words, NEXT, new_task(3, 2));
    assert_eq!(leases_of(&tasks, &words, DEAD), Ok(vec![]));
    assert_eq!(leases_of(&tasks, &words, NEXT), Ok(vec![(3, 2), (4, 1)]));
}
