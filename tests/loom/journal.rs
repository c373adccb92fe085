//! `Journal`: a holder that dies at any step of a write leaves a whole element to all later owners. A holder
//! that dies in a write of several parts leaves poison.

use crate::support::{Holders, exhaustive, spawn};
use loom::cell::UnsafeCell;
use loom::sync::Arc;
use shmkit::internals::{Journal, LockGuard, LockWord};

/// An element of two parts. A writer makes both parts equal.
type Element = [UnsafeCell<u64>; 2];

struct Shared {
    word: LockWord,
    journal: Journal,
    element: Element,
    slot: Element,
    holders: Holders,
}

// SAFETY: only the lock's owner uses the cells, and loom reports any other thread that does.
unsafe impl Sync for Shared {}
// SAFETY: as for `Sync`.
unsafe impl Send for Shared {}

/// Copies one part.
fn copy(from: &UnsafeCell<u64>, to: &UnsafeCell<u64>) {
    // SAFETY: loom checks that no thread writes the part meanwhile.
    let value = from.with(|from| unsafe { *from });
    put(to, value);
}

fn put(to: &UnsafeCell<u64>, value: u64) {
    // SAFETY: loom checks that no other thread touches the part meanwhile.
    to.with_mut(|to| unsafe { *to = value });
}

impl Shared {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            word: LockWord::default(),
            journal: Journal::default(),
            element: std::array::from_fn(|_| UnsafeCell::new(0)),
            slot: std::array::from_fn(|_| UnsafeCell::new(0)),
            holders: Holders::mortal(),
        })
    }

    /// Takes the lock, and recovers if its owner died, as an array does.
    fn lock(&self, number: u64) -> LockGuard<'_> {
        let guard = self.holders.lock(&self.word, number);
        if guard.owner_died() {
            self.journal.recover(1, |index| {
                assert_eq!(index, 0);
                self.apply(2);
            });
        }
        guard
    }

    /// Copies the first parts from the slot to the element.
    fn apply(&self, parts: usize) {
        let pairs = self.slot.iter().zip(&self.element);
        pairs.take(parts).for_each(|(from, to)| copy(from, to));
    }

    /// Begins a write of one element, and dies after `steps` steps.
    fn write_and_die(&self, number: u64, steps: usize, value: u64) {
        let all: [&dyn Fn(); 6] = [
            &|| put(&self.slot[0], value),
            &|| put(&self.slot[1], value),
            &|| self.journal.begin_element(0),
            &|| self.apply(1),
            &|| self.apply(2),
            &|| self.journal.end(),
        ];
        self.run_and_die(number, &all[..steps]);
    }

    /// Begins a write of one part after the other under a guard, and dies after `steps` steps.
    fn change_and_die(&self, number: u64, steps: usize, value: u64) {
        let all: [&dyn Fn(); 4] = [
            &|| self.journal.begin_many(),
            &|| put(&self.element[0], value),
            &|| put(&self.element[1], value),
            &|| self.journal.end(),
        ];
        self.run_and_die(number, &all[..steps]);
    }

    fn run_and_die(&self, number: u64, steps: &[&dyn Fn()]) {
        let guard = self.lock(number);
        steps.iter().for_each(|step| step());
        std::mem::forget(guard);
        self.holders.die(number);
    }

    /// Returns the parts, and whether they are poisoned.
    fn look(&self, number: u64) -> ([u64; 2], bool) {
        let _guard = self.lock(number);
        assert!(!self.journal.is_busy(), "recovered");
        // SAFETY: loom checks that no thread writes the part meanwhile.
        let parts = self
            .element
            .each_ref()
            .map(|part| part.with(|part| unsafe { *part }));
        (parts, self.journal.is_poisoned())
    }
}

/// One holder dies; two survivors look at the same time, and judge what they find.
fn survivors(
    die: impl Fn(&Shared) + Copy + Send + 'static,
    judge: impl Fn(([u64; 2], bool)) + Copy + Send + 'static,
) {
    let shared = Shared::new();
    let dying = spawn(&shared, move |shared| die(&shared));
    // The survivors must come after the death. If both slept before it, neither would look at the owner
    // again, because the futex never times out.
    dying.join().unwrap();
    let other = spawn(&shared, move |shared| judge(shared.look(3)));
    judge(shared.look(1));
    other.join().unwrap();
}

/// Step 3 is the commit.
#[test]
fn a_death_in_a_write_of_one_element_leaves_it_whole() {
    for steps in 0..=6 {
        exhaustive(move || {
            let expected = if steps < 3 { [0, 0] } else { [7, 7] };
            survivors(
                move |shared| shared.write_and_die(2, steps, 7),
                move |found| assert_eq!(found, (expected, false), "died after {steps} steps"),
            );
        });
    }
}

#[test]
fn a_death_with_several_in_hand_poisons() {
    for steps in 0..=4 {
        exhaustive(move || {
            let in_hand = (1..4).contains(&steps);
            let parts = [[0, 0], [0, 0], [7, 0], [7, 7], [7, 7]][steps];
            survivors(
                move |shared| shared.change_and_die(2, steps, 7),
                move |found| assert_eq!(found, (parts, in_hand), "died after {steps} steps"),
            );
        });
    }
}

/// The first holder dies in the middle of its write. The second recovers from that, and dies in the middle of
/// a write of its own. The third finds the element of the first or of the second.
#[test]
fn a_death_after_a_recovery_leaves_the_element_whole() {
    for steps in 0..=6 {
        exhaustive(move || {
            let shared = Shared::new();
            shared.write_and_die(2, 4, 7);
            let second = spawn(&shared, move |shared| shared.write_and_die(3, steps, 8));
            second.join().unwrap();
            let expected = if steps < 3 { [7, 7] } else { [8, 8] };
            assert_eq!(
                shared.look(1),
                (expected, false),
                "died after {steps} steps"
            );
        });
    }
}
