//! `Value`: `get`, `set` and `update`, small and large; `Value<u64>::get` against a loop of atomic
//! loads.

mod support;

use criterion::{Criterion, criterion_group};
use shmkit::Value;
use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};
use support::{compare, describe, pin, two_cpus};

fn word(c: &mut Criterion) {
    let value = Value::new(7u64).expect("an anonymous value");
    let atomic = AtomicU64::new(7);
    let mut group = c.benchmark_group("Value<u64>");
    group.bench_function("get", |b| b.iter(|| black_box(&value).get()));
    group.bench_function("atomic load, for comparison", |b| {
        b.iter(|| black_box(&atomic).load(Ordering::Acquire));
    });
    group.bench_function("set", |b| b.iter(|| value.set(black_box(8))));
    group.bench_function("update", |b| b.iter(|| value.update(|n| *n += 1)));
    group.finish();
}

fn line(c: &mut Criterion) {
    let value = Value::new([7u64; 16]).expect("an anonymous value");
    let mut group = c.benchmark_group("Value<[u64; 16]>");
    group.bench_function("get", |b| b.iter(|| black_box(&value).get()));
    group.bench_function("set", |b| b.iter(|| value.set(black_box([8; 16]))));
    group.finish();
}

criterion_group!(benches, word, line);

fn main() {
    describe("value");
    pin(two_cpus()[0]);
    let value = Value::new(7u64).expect("an anonymous value");
    let atomic = AtomicU64::new(7);
    value.update(|n| *n += 1);
    assert_eq!(value.swap(9), 8);
    assert_eq!(value.get(), 9);
    let large = Value::new([1u64; 16]).expect("an anonymous value");
    large.set([2; 16]);
    assert_eq!(large.get(), [2; 16]);

    benches();
    Criterion::default().configure_from_args().final_summary();

    // Loops whose body can't be moved out, since others may write between two turns.
    const LOADS: u64 = 64;
    value.set(1);
    atomic.store(1, Ordering::Relaxed);
    let value_sum = || black_box((0..LOADS).map(|_| value.get()).sum::<u64>());
    let atomic_sum = || {
        let loads = (0..LOADS).map(|_| black_box(&atomic).load(Ordering::Acquire));
        black_box(loads.sum::<u64>())
    };
    assert_eq!((value_sum(), atomic_sum()), (LOADS, LOADS));
    compare(
        ["64 x Value<u64>::get", "64 atomic loads"],
        Some(2.0),
        || {
            value_sum();
        },
        || {
            atomic_sum();
        },
    );
}
