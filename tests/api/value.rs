//! `Value`: comparing bytes, trying, waiting between threads.

use crate::support::Name;
use crate::support::checks::deadlocks;
use crate::{LONG, waits, watchdog};
use shmkit::Value;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

#[test]
fn compare_exchange_compares_bytes() {
    let value = Value::new(f64::NAN).unwrap();
    let seen = value.compare_exchange(f64::NAN, 0.0).unwrap();
    assert_eq!(seen.to_bits(), f64::NAN.to_bits());
    let seen = value.compare_exchange(-0.0, 1.0).unwrap_err();
    assert_eq!(seen.to_bits(), 0.0f64.to_bits(), "0.0 is not -0.0");
    assert_eq!(value.get().to_bits(), 0.0f64.to_bits());
    assert_eq!(value.compare_exchange(0.0, -0.0), Ok(0.0));
    assert_eq!(value.get().to_bits(), (-0.0f64).to_bits());
    let other_nan = f64::from_bits(f64::NAN.to_bits() | 1);
    value.set(other_nan);
    assert!(value.compare_exchange(f64::NAN, 1.0).unwrap_err().is_nan());
    assert_eq!(value.get().to_bits(), other_nan.to_bits());
}

#[test]
fn swap_and_update_return_what_was_there() {
    let value = Value::new([1u16, 2, 3]).unwrap();
    assert_eq!(value.swap([4, 5, 6]), [1, 2, 3]);
    let sum = value.update(|v| {
        v[0] = 40;
        v.iter().sum::<u16>()
    });
    assert_eq!((sum, value.get()), (51, [40, 5, 6]));
}

#[test]
fn a_panic_in_update_changes_nothing() {
    let _watchdog = watchdog("panic in update");
    let value = Value::new(1u64).unwrap();
    let result = catch_unwind(AssertUnwindSafe(|| {
        value.update(|v| {
            *v = 2;
            panic!("on purpose");
        })
    }));
    assert!(result.is_err());
    assert_eq!(value.get(), 1);
    value.update(|v| *v += 10); // the lock is free
    assert_eq!(value.get(), 11);
}

#[test]
fn try_update_does_not_wait_for_another_s_update_and_get_does_not_either() {
    let _watchdog = watchdog("try_update");
    let value = Value::new(1u64).unwrap();
    value.update(|v| {
        *v = 2;
        // Another thread, since this one would wait for itself.
        thread::scope(|scope| {
            scope.spawn(|| {
                assert_eq!(value.try_update(|v| *v = 3), None);
                assert_eq!(value.get(), 1, "the old value until the update is done");
            });
        });
    });
    assert_eq!(value.get(), 2);
    assert_eq!(value.try_update(|v| *v), Some(2));
}

#[test]
fn a_call_from_inside_update_panics_rather_than_waits_for_itself() {
    let _watchdog = watchdog("update in update");
    let name = Name::new("relock");
    let value = Value::create(&*name, 1u64).unwrap();
    let other = Value::<u64>::open(&*name).unwrap();
    let calls: [fn(&Value<u64>); 2] =
        [|inner| inner.set(3), |inner| _ = inner.set_timeout(3, LONG)];
    let handles = [&value, &value.clone(), &other];
    let each = handles.map(|inner| calls.map(|call| (inner, call)));
    for (inner, call) in each.into_iter().flatten() {
        deadlocks(|| {
            value.update(|v| {
                *v = 2;
                call(inner);
            });
        });
        assert_eq!(value.get(), 1);
    }
    // Reading takes no lock, and another value is another lock.
    let second = Value::new(5u64).unwrap();
    let seen = value.update(|_| {
        second.set(6);
        value.get()
    });
    assert_eq!((seen, second.get()), (1, 6));
}

#[test]
fn wait_until_sees_what_another_thread_sets() {
    const ROUNDS: u64 = 500;
    let _watchdog = watchdog("wait_until");
    let name = Name::new("wait");
    let value = Value::create(&*name, 0u64).unwrap();
    let other = Value::<u64>::open(&*name).unwrap();
    thread::scope(|scope| {
        scope.spawn(|| {
            for round in 0..ROUNDS {
                assert_eq!(other.wait_until(|v| *v == 2 * round + 1), 2 * round + 1);
                other.set(2 * round + 2);
            }
        });
        for round in 0..ROUNDS {
            value.set(2 * round + 1);
            let seen = value.wait_until_timeout(LONG, |v| *v == 2 * round + 2);
            assert_eq!(seen, Some(2 * round + 2));
        }
    });
}

#[test]
fn every_verb_that_changes_the_value_wakes_who_waits() {
    type Change = fn(&Value<u64>);
    let _watchdog = watchdog("wakes");
    let changes: [Change; 9] = [
        |value| assert!(value.set_timeout(1, LONG).is_ok()),
        |value| assert_eq!(value.swap_timeout(1, LONG), Ok(0)),
        |value| assert!(value.update_timeout(LONG, |v| *v = 1).is_ok()),
        |value| assert_eq!(value.compare_exchange_timeout(0, 1, LONG), Ok(Ok(0))),
        |value| value.set(1),
        |value| assert_eq!(value.swap(1), 0),
        |value| value.update(|v| *v = 1),
        |value| assert!(value.try_update(|v| *v = 1).is_some()),
        |value| assert!(value.compare_exchange(0, 1).is_ok()),
    ];
    for change in changes {
        let value = Value::new(0u64).unwrap();
        let (waits, is_waiting) = channel();
        thread::scope(|scope| {
            scope.spawn(|| {
                let seen = value.wait_until(|v| {
                    let _ = waits.send(());
                    *v == 1
                });
                assert_eq!(seen, 1);
            });
            is_waiting.recv().unwrap();
            change(&value);
        });
    }
}

#[test]
fn a_wait_ends_by_its_timeout() {
    let _watchdog = watchdog("timeouts");
    let value = Value::new(1u64).unwrap();
    let wait = |limit, wanted| value.wait_until_timeout(limit, |v| *v == wanted);
    assert_eq!(wait(Duration::ZERO, 2), None);
    assert_eq!(wait(Duration::ZERO, 1), Some(1));
    assert_eq!(wait(Duration::MAX, 1), Some(1));
    let timeout = Duration::from_millis(30);
    assert_eq!(waits(timeout, || wait(timeout, 2)), None);
    // A wait with a limit beyond any clock goes on until it is woken.
    thread::scope(|scope| {
        let waiter = scope.spawn(|| wait(Duration::MAX, 2));
        value.set(2);
        assert_eq!(waiter.join().unwrap(), Some(2));
    });
}

#[test]
fn odd_sizes_and_alignments_are_kept_whole() {
    #[derive(Clone, Copy, Debug, PartialEq)]
    #[repr(C, align(4096))]
    struct Page([u8; 4096]);
    // SAFETY: zeros are valid bytes.
    unsafe impl bytemuck::Zeroable for Page {}
    // SAFETY: bytes alone, as many as the alignment, so there is no padding.
    unsafe impl bytemuck::Pod for Page {}

    let pattern = |seed: u8| std::array::from_fn(|i| seed.wrapping_mul(i.to_le_bytes()[0]));
    let value = Value::new(Page(pattern(3))).unwrap();
    assert_eq!(value.swap(Page(pattern(5))), Page(pattern(3)));
    assert_eq!(value.get(), Page(pattern(5)));

    let value = Value::new([1u8; 13]).unwrap();
    value.set([9; 13]);
    assert_eq!(value.get(), [9; 13]);
}
