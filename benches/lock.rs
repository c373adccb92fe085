//! `Lock`, uncontended: lock and unlock, against a bare CAS and swap, and against a robust,
//! process-shared pthread mutex.
//!
//! Criterion gives the figures of each; the ratios are taken from rounds in turns.

mod support;

use criterion::{Criterion, criterion_group};
use shmkit::internals::{Deadline, Holder, Lock, LockError, LockId, LockWord, Wait};
use shmkit::memory::{HeapMemory, Memory};
use std::cell::UnsafeCell;
use std::hint::black_box;
use std::mem::{MaybeUninit, zeroed};
use std::sync::atomic::{AtomicU64, Ordering};
use support::{compare, describe, pin, two_cpus};

const FOREVER: Wait = Wait::Until(Deadline::NEVER);

/// The lock's algorithm in memory of this process alone: where the word lies makes no difference to
/// an uncontended pair.
struct Ours {
    word: LockWord,
    memory: HeapMemory,
}

impl Ours {
    fn new() -> Self {
        Self {
            word: LockWord::default(),
            memory: HeapMemory::new(4096),
        }
    }

    #[inline]
    fn lock<'a>(&'a self, memory: &'a HeapMemory) -> Lock<'a> {
        let holder = Holder {
            number: memory.number(),
            others: memory,
        };
        Lock::new(black_box(&self.word), holder, LockId(0))
    }

    #[inline]
    fn pair(&self) {
        let lock = self.lock(&self.memory);
        drop(lock.lock(FOREVER).expect("nobody else is here"));
    }

    /// It shuts others out, and lets them in again.
    fn check(&self) {
        let other = self.memory.attach();
        let guard = self.lock(&self.memory).lock(FOREVER).expect("it is free");
        let refused = self.lock(&other).lock(Wait::Try).map(drop);
        assert_eq!(refused, Err(LockError::Busy));
        drop(guard);
        let again = self.lock(&other).lock(Wait::Try);
        drop(again.expect("it is free again"));
    }
}

/// The least that a lock can do: one CAS to take it, one swap to see on release who waits.
#[derive(Default)]
struct Bare {
    word: AtomicU64,
}

impl Bare {
    #[inline]
    fn pair(&self) {
        let word = black_box(&self.word);
        word.compare_exchange(0, 2, Ordering::Acquire, Ordering::Relaxed)
            .expect("nobody else is here");
        assert_eq!(word.swap(0, Ordering::Release), 2);
    }
}

/// A raw pthread mutex, robust and process-shared.
struct Pthread {
    mutex: Box<UnsafeCell<libc::pthread_mutex_t>>,
}

impl Pthread {
    fn new() -> Self {
        // SAFETY: only a place, which the init below fills.
        let mutex = Box::new(UnsafeCell::new(unsafe { zeroed() }));
        let mut attributes = MaybeUninit::<libc::pthread_mutexattr_t>::uninit();
        let attributes = attributes.as_mut_ptr();
        // SAFETY: `attributes` is alive.
        let init = unsafe { libc::pthread_mutexattr_init(attributes) };
        // SAFETY: `attributes` was initialised.
        let robust =
            unsafe { libc::pthread_mutexattr_setrobust(attributes, libc::PTHREAD_MUTEX_ROBUST) };
        // SAFETY: likewise.
        let shared =
            unsafe { libc::pthread_mutexattr_setpshared(attributes, libc::PTHREAD_PROCESS_SHARED) };
        // SAFETY: both are alive, and the mutex stays where it is.
        let made = unsafe { libc::pthread_mutex_init(mutex.get(), attributes) };
        assert_eq!([init, robust, shared, made], [0; 4]);
        Self { mutex }
    }

    #[inline]
    fn pair(&self) {
        let mutex = black_box(self.mutex.get());
        // SAFETY: initialised in `new`.
        assert_eq!(unsafe { libc::pthread_mutex_lock(mutex) }, 0);
        // SAFETY: locked just now, by this thread.
        assert_eq!(unsafe { libc::pthread_mutex_unlock(mutex) }, 0);
    }
}

fn uncontended(c: &mut Criterion) {
    let (ours, bare, pthread) = (Ours::new(), Bare::default(), Pthread::new());
    let mut group = c.benchmark_group("uncontended lock and unlock");
    group.bench_function("shmkit Lock", |b| b.iter(|| ours.pair()));
    group.bench_function("bare CAS and swap", |b| b.iter(|| bare.pair()));
    group.bench_function("pthread robust", |b| b.iter(|| pthread.pair()));
    group.finish();
}

criterion_group!(benches, uncontended);

fn main() {
    describe("lock");
    pin(two_cpus()[0]);
    let (ours, bare, pthread) = (Ours::new(), Bare::default(), Pthread::new());
    ours.check();
    for _ in 0..1000 {
        ours.pair();
        bare.pair();
        pthread.pair();
    }

    benches();
    Criterion::default().configure_from_args().final_summary();

    let names = ["Lock", "CAS and swap"];
    compare(names, Some(1.2), || ours.pair(), || bare.pair());
    let names = ["Lock", "pthread robust"];
    compare(names, Some(0.6), || ours.pair(), || pthread.pair());
}
