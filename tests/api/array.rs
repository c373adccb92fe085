//! `Array`: elements of every size, ranges, guards, poison.

use crate::support::Name;
use crate::support::checks::{panic_of, shm};
use crate::{LONG, watchdog};
use shmkit::bytemuck::{Pod, Zeroable};
use shmkit::{AccessError, Array, ArrayGuard, Element, Error, OutOfBounds, Place};
use std::fmt::Debug;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::mpsc::channel;
use std::sync::{Barrier, TryLockError};
use std::thread;
use std::time::Duration;

/// A panic that does not print.
fn quiet_panic() -> ! {
    resume_unwind(Box::new("on purpose"))
}

fn panics(f: impl FnOnce()) {
    assert!(catch_unwind(AssertUnwindSafe(f)).is_err(), "no panic");
}

/// Writes every element by itself, and sees that no other changed.
fn each_by_itself<T: Element + PartialEq + Debug>(elements: [T; 4], other: T) {
    let array = Array::new(&elements).unwrap();
    for i in 0..4 {
        array.set(i, other).unwrap();
        let mut expected = elements;
        expected[i] = other;
        assert_eq!(array.to_vec(), expected);
        array.write_at(i, &elements[i..=i]).unwrap();
        assert_eq!(array.get(i), Some(elements[i]));
    }
    assert_eq!(array.to_vec(), elements);
}

#[test]
fn elements_of_every_size_are_written_one_by_one() {
    #[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
    #[repr(C, align(64))]
    struct Aligned([u64; 8]);

    each_by_itself([1u8, 2, 3, 4], 5);
    each_by_itself([1i16, -2, 3, -4], 5);
    each_by_itself([[1u8, 2], [3, 4], [5, 6], [7, 8]], [9, 10]); // aligned to 1
    each_by_itself([[1u8, 2, 3]; 4], [4, 5, 6]);
    each_by_itself([0.0f32, 1.0, 2.0, 3.0], 4.0);
    each_by_itself([[1u16, 2]; 4], [3, 4]);
    each_by_itself([1u64, 2, 3, 4], u64::MAX);
    each_by_itself([[1u8; 8], [2; 8], [3; 8], [4; 8]], [5; 8]);
    each_by_itself([1u128, 2, 3, 4], u128::MAX);
    each_by_itself([[1u64, 2, 3]; 4], [4, 5, 6]);
    each_by_itself([Aligned([7; 8]); 4], Aligned([9; 8]));
    each_by_itself([[1u8; 5000]; 4], [2; 5000]);
}

#[test]
fn an_array_is_made_of_elements_or_of_zeros() {
    let name = Name::new("zeroed");
    let zeros = Array::<[u16; 3]>::zeroed(&*name, 1000).unwrap();
    assert_eq!((zeros.len(), zeros.is_empty()), (1000, false));
    assert!(zeros.to_vec().iter().all(|element| *element == [0; 3]));
    assert!(zeros.was_created());
    let opened = Array::<[u16; 3]>::open(&*name).unwrap();
    assert_eq!((opened.len(), opened.was_created()), (1000, false));
    assert_eq!(opened.name(), Some(&*name));

    let name = Name::new("elements");
    let created = Array::open_or_create(&*name, &[1u8, 2, 3]).unwrap();
    let opened = Array::open_or_create(&*name, &[7u8, 8, 9]).unwrap();
    assert!(created.was_created() && !opened.was_created());
    assert_eq!(opened.to_vec(), [1, 2, 3], "an opener sets nothing");
    let by_fd = Array::<u8>::open(Place::fd(created.try_clone_fd().unwrap())).unwrap();
    by_fd.set(1, 20).unwrap();
    assert_eq!(created.clone().to_vec(), [1, 20, 3]);
    let anonymous = Array::new(&[1u8]).unwrap();
    assert_eq!((anonymous.name(), anonymous.was_created()), (None, true));
}

#[test]
fn ranges_are_read_and_written_whole() {
    let array = Array::new(&[0u32, 1, 2, 3, 4, 5]).unwrap();
    let mut out = [9; 3];
    array.read_at(2, &mut out).unwrap();
    assert_eq!(out, [2, 3, 4]);
    array.write_at(3, &[30, 40, 50]).unwrap();
    assert_eq!(array.to_vec(), [0, 1, 2, 30, 40, 50]);
    array.write_at(0, &[0, 10]).unwrap();
    assert_eq!(array.to_vec(), [0, 10, 2, 30, 40, 50]);
    // Nothing, anywhere up to the end.
    for offset in 0..=6 {
        array.read_at(offset, &mut []).unwrap();
        array.write_at(offset, &[]).unwrap();
    }
    assert!(!array.is_poisoned());
}

#[test]
fn what_is_out_of_bounds_is_refused_and_changes_nothing() {
    let array = Array::new(&[[1u8; 3], [2; 3], [3; 3]]).unwrap();
    let refused = |offset, count| OutOfBounds {
        offset,
        count,
        len: 3,
    };
    assert_eq!(array.get(3), None);
    assert_eq!(array.get(usize::MAX), None);
    assert_eq!(array.set(3, [9; 3]), Err(refused(3, 1)));
    assert_eq!(array.set(usize::MAX, [9; 3]), Err(refused(usize::MAX, 1)));
    let mut out = [[7; 3]; 2];
    for offset in [2, 3, 4, usize::MAX - 1, usize::MAX] {
        assert_eq!(array.read_at(offset, &mut out), Err(refused(offset, 2)));
        let written = array.write_at(offset, &[[9; 3]; 2]);
        assert_eq!(written, Err(refused(offset, 2)));
    }
    assert_eq!(out, [[7; 3]; 2]);
    assert_eq!(array.write_at(0, &[[9; 3]; 4]), Err(refused(0, 4)));
    assert_eq!(array.write_at(4, &[]), Err(refused(4, 0)));
    assert_eq!(array.to_vec(), [[1; 3], [2; 3], [3; 3]]);
    let late = |refusal| Err::<(), _>(AccessError::OutOfBounds(refusal));
    let soon = Duration::from_millis(1);
    let (read, written) = (&mut [[0; 3]; 2], &[[9; 3]; 2]);
    assert_eq!(array.set_timeout(3, [9; 3], soon), late(refused(3, 1)));
    assert_eq!(array.read_at_timeout(2, read, soon), late(refused(2, 2)));
    assert_eq!(
        array.write_at_timeout(2, written, soon),
        late(refused(2, 2))
    );
    assert_eq!(array.get_timeout(3, soon), Ok(None));
    assert_eq!(array.to_vec(), [[1; 3], [2; 3], [3; 3]]);
    // A caller may have one error type for everything.
    let all = || -> shmkit::Result<()> { Ok(array.set(3, [9; 3])?) };
    assert!(matches!(all(), Err(Error::OutOfBounds { source }) if source == refused(3, 1)));
}

#[test]
fn a_guard_is_the_elements() {
    let _watchdog = watchdog("a guard");
    let name = Name::new("guard");
    let array = Array::create(&*name, &[3u64, 1, 2]).unwrap();
    let other = Array::<u64>::open(&*name).unwrap();
    let mut guard = array.lock().unwrap();
    assert_eq!(*guard, [3, 1, 2]);
    assert_eq!(format!("{guard:?}"), "[3, 1, 2]");
    guard.sort_unstable();
    guard[2] = 30;
    drop(guard);
    assert_eq!(other.to_vec(), [1, 2, 30]);
    drop(other.try_lock().unwrap());
    assert!(!array.is_poisoned() && !other.is_poisoned());
}

#[test]
fn try_lock_does_not_wait_for_another_s_guard() {
    let _watchdog = watchdog("try_lock");
    let array = Array::new(&[1u64, 2]).unwrap();
    let would_block = |result| matches!(result, Err(TryLockError::<ArrayGuard<u64>>::WouldBlock));
    let mut guard = array.lock().unwrap();
    guard[0] = 10;
    thread::scope(|scope| {
        scope.spawn(|| {
            assert!(would_block(array.try_lock()));
            assert!(!array.is_poisoned(), "its owner lives");
        });
    });
    assert!(would_block(array.try_lock()), "this thread's own");
    assert!(!array.is_poisoned());
    guard[1] = 20;
    drop(guard);
    assert_eq!(*array.try_lock().unwrap(), [10, 20]);
}

#[test]
fn others_wait_for_a_guard() {
    let _watchdog = watchdog("waiting for a guard");
    type Wait = fn(&Array<u64>) -> Vec<u64>;
    let waits: [Wait; 8] = [
        |array| array.to_vec_timeout(LONG).unwrap(),
        |array| array.lock_timeout(LONG).unwrap().to_vec(),
        |array| {
            array.set_timeout(0, 10, Duration::MAX).unwrap();
            array.to_vec()
        },
        |array| vec![array.get(0).unwrap(), array.get(1).unwrap()],
        |array| array.to_vec(),
        |array| array.lock().unwrap().to_vec(),
        |array| {
            let mut out = vec![0; 2];
            array.read_at(0, &mut out).unwrap();
            out
        },
        |array| {
            array.set(0, 10).unwrap();
            array.to_vec()
        },
    ];
    for wait in waits {
        let array = Array::new(&[1u64, 2]).unwrap();
        let (done, is_done) = channel();
        let entered = Barrier::new(2);
        thread::scope(|scope| {
            scope.spawn(|| {
                entered.wait();
                done.send(wait(&array)).unwrap();
            });
            let mut guard = array.lock().unwrap();
            entered.wait();
            guard[0] = 10;
            // Some thousand times the time that each of them takes.
            let early = is_done.recv_timeout(Duration::from_millis(20));
            assert!(early.is_err(), "past a guard: {early:?}");
            guard[1] = 20;
            drop(guard);
            assert_eq!(is_done.recv_timeout(LONG).unwrap(), [10, 20]);
        });
    }
}

#[test]
fn a_panic_with_a_guard_poisons_until_it_is_cleared() {
    let _watchdog = watchdog("a panic");
    let array = Array::new(&[1u64, 2, 3]).unwrap();
    let clone = array.clone();
    panics(|| {
        let mut guard = array.lock().unwrap();
        guard[0] = 10;
        quiet_panic();
    });
    assert!(array.is_poisoned() && clone.is_poisoned());
    assert!(format!("{array:?}").contains("poisoned: true"));
    // The guard comes with the error, and cures nothing while the poison is not cleared.
    for _ in 0..2 {
        assert_eq!(*clone.lock().unwrap_err().into_inner(), [10, 2, 3]);
        let tried = clone.try_lock();
        assert!(matches!(tried, Err(TryLockError::Poisoned(guard)) if guard.get_ref()[0] == 10));
    }
    // The other verbs go on.
    clone.set(0, 1).unwrap();
    clone.write_at(1, &[20, 30]).unwrap();
    assert_eq!((clone.get(0), clone.to_vec()), (Some(1), vec![1, 20, 30]));
    assert!(array.is_poisoned(), "not cured by a write");
    clone.clear_poison();
    assert!(!array.is_poisoned());
    assert_eq!(*array.lock().unwrap(), [1, 20, 30]);
}

#[test]
fn poison_can_be_cleared_with_the_guard_in_hand() {
    let _watchdog = watchdog("clearing with a guard");
    let array = Array::new(&[1u64]).unwrap();
    panics(|| {
        let _guard = array.lock().unwrap();
        quiet_panic();
    });
    let mut guard = array.lock().unwrap_err().into_inner();
    guard[0] = 2;
    array.clear_poison();
    drop(guard);
    assert_eq!(*array.lock().unwrap(), [2]);
}

#[test]
fn a_panic_beside_a_guard_does_not_poison() {
    let _watchdog = watchdog("a panic elsewhere");
    let array = Array::new(&[1u64, 2]).unwrap();
    // The panic comes before the lock: the guard is made and dropped on the way out.
    struct OnTheWayOut<'a>(&'a Array<u64>);
    impl Drop for OnTheWayOut<'_> {
        fn drop(&mut self) {
            self.0.lock().unwrap()[0] += 10;
        }
    }
    panics(|| {
        let _out = OnTheWayOut(&array);
        quiet_panic();
    });
    // The panic comes under the guard, and is caught there.
    let mut guard = array.lock().unwrap();
    panics(|| quiet_panic());
    guard[1] = 20;
    drop(guard);
    assert!(!array.is_poisoned());
    assert_eq!(*array.lock().unwrap(), [11, 20]);
}

#[test]
fn a_forgotten_guard_holds_until_its_handle_goes_and_poisons() {
    let _watchdog = watchdog("a forgotten guard");
    for asks in [true, false] {
        let name = Name::new("forgotten");
        let array = Array::create(&*name, &[1u64, 2]).unwrap();
        let other = Array::<u64>::open(&*name).unwrap();
        let mut guard = array.lock().unwrap();
        guard[0] = 10;
        std::mem::forget(guard);
        assert!(matches!(other.try_lock(), Err(TryLockError::WouldBlock)));
        assert!(!other.is_poisoned());
        drop(array);
        if asks {
            assert!(other.is_poisoned(), "seen before anybody locks");
            assert_eq!(*other.lock().unwrap_err().into_inner(), [10, 2]);
        }
        // Clearing works even if nobody has seen the poison before.
        other.clear_poison();
        assert!(!other.is_poisoned());
        assert_eq!(*other.lock().unwrap(), [10, 2]);
    }
}

#[test]
fn a_lock_word_that_cannot_be_is_a_panic_that_names_the_array() {
    let name = Name::new("stray");
    let array = Array::create(&*name, &[1u64, 2]).unwrap();
    let file = File::options().write(true).open(shm(&name)).unwrap();
    // The control words begin at 512, with the lock. No holder ever had this number.
    file.write_all_at(&[0xff; 8], 512).unwrap();
    let calls: [fn(&Array<u64>); 4] = [
        |array| _ = array.get(0),
        |array| array.set(0, 9).unwrap(),
        |array| drop(array.lock()),
        |array| drop(array.try_lock()),
    ];
    for call in calls {
        let text = panic_of(|| call(&array));
        let expected = format!("the lock word of {name} names an owner");
        assert!(text.starts_with(&expected), "{text}");
    }
    file.write_all_at(&[0; 8], 512).unwrap();
    assert_eq!(array.to_vec(), [1, 2]);
}

/// A thread's notes of its locks may be gone when the thread drops a guard from a thread-local.
#[test]
fn a_guard_left_in_a_thread_local_unlocks_with_the_thread() {
    use std::cell::RefCell;
    use std::sync::OnceLock;
    static ARRAY: OnceLock<Array<u64>> = OnceLock::new();
    thread_local! {
        static LEFT: RefCell<Option<ArrayGuard<'static, u64>>> = const { RefCell::new(None) };
    }
    let _watchdog = watchdog("a guard in a thread-local");
    let array = ARRAY.get_or_init(|| Array::new(&[1]).unwrap());
    thread::spawn(|| {
        LEFT.with_borrow_mut(|left| {
            let guard = left.insert(array.lock().unwrap());
            guard[0] = 2;
        });
    })
    .join()
    .unwrap();
    assert_eq!(*array.lock().unwrap(), [2]);
}

#[test]
fn guarded_counting_by_threads_loses_nothing() {
    const THREADS: u64 = 4;
    const EACH: u64 = 5000;
    let _watchdog = watchdog("threads at an array");
    let name = Name::new("threads");
    let array = Array::create(&*name, &[[0u64; 3]; 8]).unwrap();
    thread::scope(|scope| {
        for number in 0..THREADS {
            let array = match number % 2 {
                0 => array.clone(),
                _ => Array::open(&*name).unwrap(),
            };
            scope.spawn(move || {
                for round in 0..EACH {
                    if round % 2 == 0 {
                        for element in array.lock().unwrap().iter_mut() {
                            *element = element.map(|n| n + 1);
                        }
                    }
                    let seen = array.to_vec();
                    let first = seen[0];
                    assert!(seen.iter().all(|element| *element == first), "{seen:?}");
                    assert!(first.iter().all(|n| *n == first[0]), "torn: {first:?}");
                }
            });
        }
    });
    assert_eq!(array.get(7), Some([THREADS * EACH / 2; 3]));
}

/// Compiles only while a guard is neither `Send` nor `Sync`: otherwise two traits would fit.
#[test]
fn a_guard_stays_with_its_thread() {
    trait UnlessSend<Candidate> {
        const FINE: bool = true;
    }
    impl<T> UnlessSend<()> for T {}
    impl<T: Send> UnlessSend<u8> for T {}
    trait UnlessSync<Candidate> {
        const FINE: bool = true;
    }
    impl<T> UnlessSync<()> for T {}
    impl<T: Sync> UnlessSync<u8> for T {}
    type Guard = ArrayGuard<'static, u64>;
    const { assert!(<Guard as UnlessSend<_>>::FINE && <Guard as UnlessSync<_>>::FINE) };
}
