//! `Array`: `get` and `set` of one element, of a size that is one store and of one that goes through
//! the journal, and a guard; `Array<u64>` against a `Mutex<Vec<u64>>` between threads.

mod support;

use criterion::{Criterion, criterion_group};
use shmkit::{Array, Element, Place};
use std::hint::black_box;
use std::sync::Mutex;
use support::{compare, describe, pin, two_cpus};

const LEN: usize = 1024;

fn zeroed<T: Element>() -> Array<T> {
    Array::zeroed(Place::anonymous(), LEN).expect("an anonymous array")
}

fn word(c: &mut Criterion) {
    let array = zeroed::<u64>();
    let mut group = c.benchmark_group("Array<u64>");
    group.bench_function("get", |b| b.iter(|| array.get(black_box(7))));
    group.bench_function("set", |b| b.iter(|| array.set(black_box(7), 8)));
    group.bench_function("lock, change one, drop", |b| {
        b.iter(|| array.lock().expect("not poisoned")[black_box(7)] += 1);
    });
    group.bench_function("to_vec, 8 KiB", |b| b.iter(|| array.to_vec()));
    group.finish();
}

fn wide(c: &mut Criterion) {
    let array = zeroed::<[u64; 3]>();
    let mut group = c.benchmark_group("Array<[u64; 3]>");
    group.bench_function("get", |b| b.iter(|| array.get(black_box(7))));
    group.bench_function("set", |b| b.iter(|| array.set(black_box(7), [8; 3])));
    group.finish();
}

criterion_group!(benches, word, wide);

fn main() {
    describe("array");
    pin(two_cpus()[0]);
    let array = zeroed::<u64>();
    let vec = Mutex::new(vec![0u64; LEN]);
    array.set(7, 8).expect("inside");
    assert_eq!((array.get(7), array.to_vec().len()), (Some(8), LEN));
    array.set(7, 0).expect("inside");

    benches();
    Criterion::default().configure_from_args().final_summary();

    const ROUNDS: usize = 64;
    let of_array = || {
        for i in 0..ROUNDS {
            let n = array.get(black_box(i)).expect("inside");
            array.set(black_box(i), n + 1).expect("inside");
        }
    };
    let of_vec = || {
        for i in 0..ROUNDS {
            let n = vec.lock().expect("not poisoned")[black_box(i)];
            vec.lock().expect("not poisoned")[black_box(i)] = n + 1;
        }
    };
    of_array();
    of_vec();
    assert_eq!(array.to_vec(), *vec.lock().expect("not poisoned"));
    compare(
        ["64 x Array::get and set", "64 x Mutex<Vec>, likewise"],
        None,
        of_array,
        of_vec,
    );
}
