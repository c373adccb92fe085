//! `Event`: a sleeper is woken as soon as there is work for it.

use crate::support::{bounded, exhaustive, spawn};
use loom::sync::Arc;
use loom::sync::atomic::{AtomicU64, Ordering, fence};
use shmkit::internals::{Deadline, Event};

/// Units of work, and the event to sleep on until there are some.
struct Work {
    units: AtomicU64,
    event: Event,
}

impl Work {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            units: AtomicU64::new(0),
            event: Event::default(),
        })
    }

    /// The load is relaxed, so that only the event's fences can make it fresh.
    fn look(&self) -> Option<u64> {
        let units = self.units.load(Ordering::Relaxed);
        (units > 0).then_some(units)
    }

    /// Takes a unit if it sees one.
    fn take(&self) -> Option<()> {
        let mut units = self.look()?;
        while units > 0 {
            let (from, to) = (units, units - 1);
            let taken = self
                .units
                .compare_exchange(from, to, Ordering::Relaxed, Ordering::Relaxed);
            match taken {
                Ok(_) => return Some(()),
                Err(now) => units = now,
            }
        }
        None
    }

    fn wait_and_take(&self) {
        self.event
            .wait(Deadline::NEVER, 0, || self.take())
            .expect("waits for ever");
    }

    fn publish(&self, units: u64) {
        self.units.fetch_add(units, Ordering::Relaxed);
        fence(Ordering::SeqCst); // `notify` requires this of its caller
    }

    fn publish_one(&self) {
        self.publish(1);
        self.event.notify(1);
    }
}

/// Runs `sleepers` threads that take a unit each, and `wakers` that publish one each. The caller is a waker.
fn one_unit_each(sleepers: usize, wakers: usize) {
    let work = Work::new();
    let sleepers = (0..sleepers).map(|_| spawn(&work, Work::wait_and_take));
    let wakers = (1..wakers).map(|_| spawn(&work, Work::publish_one));
    let threads: Vec<_> = sleepers.chain(wakers).collect();
    work.publish_one();
    for thread in threads {
        thread.join().unwrap();
    }
    assert_eq!(work.units.load(Ordering::Relaxed), 0);
}

#[test]
fn one_sleeper_one_waker() {
    exhaustive(|| one_unit_each(1, 1));
}

#[test]
fn two_sleepers_two_wakers() {
    bounded(3, || one_unit_each(2, 2));
}

#[test]
fn two_sleepers_are_all_told() {
    bounded(5, || {
        let work = Work::new();
        let wait = |work: &Work| work.event.wait(Deadline::NEVER, 0, || work.look());
        let sleepers = [spawn(&work, wait), spawn(&work, wait)];
        work.publish(1);
        work.event.notify_all();
        for sleeper in sleepers {
            assert_eq!(sleeper.join().unwrap(), Some(1));
        }
    });
}

/// One waker with work for two wakes both sleepers.
#[test]
fn one_waker_with_two_units() {
    bounded(5, || {
        let work = Work::new();
        let sleepers = [(); 2].map(|()| spawn(&work, Work::wait_and_take));
        work.publish(2);
        work.event.notify(2);
        for sleeper in sleepers {
            sleeper.join().unwrap();
        }
    });
}

/// The waker clears the flag after a sleeper has set it again, and more work follows. A sleeper that looked
/// in between must not go on sleeping because the other sleeper sets the flag once more.
#[test]
fn the_flag_is_cleared_and_set_again() {
    bounded(4, || {
        let work = Work::new();
        let sleepers = [1, 2].map(|units| {
            spawn(&work, move |work| {
                (0..units).for_each(|_| work.wait_and_take())
            })
        });
        for units in [1, 2] {
            work.publish(units);
            work.event.notify(units as u32);
        }
        for sleeper in sleepers {
            sleeper.join().unwrap();
        }
        assert_eq!(work.look(), None);
    });
}
