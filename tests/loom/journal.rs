//! `Journal`: one that dies at any step of a write leaves an element that is whole, and poison where it
//! was to; whoever takes over, and whoever comes after that one.

use crate::support::{FOREVER, Holders, exhaustive};
use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::thread;
use shmkit::internals::{Journal, Lock, LockGuard, LockId, LockWord};

/// An element of two parts, which are equal in every element that is ever written.
type Element = [UnsafeCell<u64>; 2];

struct Shared {
    word: LockWord,
    journal: Journal,
    element: Element,
    slot: Element,
    holders: Holders,
}

// SAFETY: the cells are for the lock's owner, and loom reports it where that is not so.
unsafe impl Sync for Shared {}
// SAFETY: as for `Sync`.
unsafe impl Send for Shared {}

/// Copies one part.
fn copy(from: &UnsafeCell<u64>, to: &UnsafeCell<u64>) {
    // SAFETY: loom checks that nobody writes it meanwhile.
    let value = from.with(|from| unsafe { *from });
    put(to, value);
}

fn put(to: &UnsafeCell<u64>, value: u64) {
    // SAFETY: loom checks that nobody else touches it meanwhile.
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

    /// Takes the lock, and recovers where its owner died: as an array does.
    fn lock(&self, number: u64) -> LockGuard<'_> {
        let lock = Lock::new(&self.word, self.holders.holder(number), LockId(0));
        let guard = lock.lock(FOREVER).expect("waits for ever");
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

    /// A write of one element, up to its step `steps`; then whoever calls is dead.
    fn write_and_die(&self, number: u64, steps: usize, value: u64) {
        let guard = self.lock(number);
        let all: [&dyn Fn(); 6] = [
            &|| put(&self.slot[0], value),
            &|| put(&self.slot[1], value),
            &|| self.journal.begin_element(0),
            &|| self.apply(1),
            &|| self.apply(2),
            &|| self.journal.end(),
        ];
        all[..steps].iter().for_each(|step| step());
        std::mem::forget(guard);
        self.holders.die(number);
    }

    /// The same of a write under a guard, which touches one half after the other.
    fn change_and_die(&self, number: u64, steps: usize, value: u64) {
        let guard = self.lock(number);
        let all: [&dyn Fn(); 4] = [
            &|| self.journal.begin_many(),
            &|| put(&self.element[0], value),
            &|| put(&self.element[1], value),
            &|| self.journal.end(),
        ];
        all[..steps].iter().for_each(|step| step());
        std::mem::forget(guard);
        self.holders.die(number);
    }

    /// What a survivor finds: the parts, and whether they are said to be unsound.
    fn look(&self, number: u64) -> ([u64; 2], bool) {
        let _guard = self.lock(number);
        assert!(!self.journal.is_busy(), "recovered");
        // SAFETY: loom checks that nobody writes it meanwhile.
        let parts = self
            .element
            .each_ref()
            .map(|part| part.with(|part| unsafe { *part }));
        (parts, self.journal.is_poisoned())
    }
}

/// One dies; what two survivors find that come at the same time.
fn survivors(
    die: impl Fn(&Shared) + Copy + Send + 'static,
    judge: impl Fn(([u64; 2], bool)) + Copy + Send + 'static,
) {
    let shared = Shared::new();
    let dying = {
        let shared = shared.clone();
        thread::spawn(move || die(&shared))
    };
    // Not before: a futex that never times out would not look at the owner's life again.
    dying.join().unwrap();
    let other = {
        let shared = shared.clone();
        thread::spawn(move || judge(shared.look(3)))
    };
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

/// The first dies in the middle of its write, the second in the middle of its own after it has
/// recovered from that, and what the third finds is the second's or the first's.
#[test]
fn a_death_after_a_recovery_leaves_the_element_whole() {
    for steps in 0..=6 {
        exhaustive(move || {
            let shared = Shared::new();
            shared.write_and_die(2, 4, 7);
            let second = {
                let shared = shared.clone();
                thread::spawn(move || shared.write_and_die(3, steps, 8))
            };
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
