//! `Queue` against a `VecDeque` with a capacity.

use crate::{
    Aligned, BODY, HOLDERS, STEPS, Sample, Wide, config, die, die_holding, holders, panic_quietly,
    until_panic, watchdog,
};
use proptest::collection::vec;
use proptest::prelude::*;
use shmkit::memory::HeapMemory;
use shmkit::{GetError, PutAllError, PutError, Queue};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

/// Where the consumers' lock lies, behind the producers'.
const CONSUMERS: usize = BODY + 128;

#[derive(Clone, Debug)]
enum Step {
    TryPut,
    Put,
    PutTimeout,
    PutMany(usize),
    PutAll(usize),
    TryGet,
    Get,
    GetTimeout,
    GetMany(usize),
    GetWith,
    TryGetWith,
    GetWithTimeout,
    /// Puts while it looks at an item, which keeps its room until it is taken.
    PutInGetWith,
    PanicInGetWith,
    DieInGetWith,
    /// Dies with the producers' lock in its hand.
    DieProducing,
    /// Dies with the consumers' lock in its hand.
    DieConsuming,
    TryIter(usize),
    Close,
    Clone,
    Reopen,
}

/// Steps; in three of four cases without one that closes the queue, so that most go on to the end.
fn steps() -> impl Strategy<Value = Vec<(usize, Step)>> {
    let many = || 0..13usize;
    let step = prop_oneof![
        9 => Just(Step::TryPut),
        9 => Just(Step::Put),
        3 => Just(Step::PutTimeout),
        6 => many().prop_map(Step::PutMany),
        3 => many().prop_map(Step::PutAll),
        6 => Just(Step::TryGet),
        6 => Just(Step::Get),
        3 => Just(Step::GetTimeout),
        6 => many().prop_map(Step::GetMany),
        3 => Just(Step::GetWith),
        3 => Just(Step::TryGetWith),
        2 => Just(Step::GetWithTimeout),
        3 => Just(Step::PutInGetWith),
        2 => Just(Step::PanicInGetWith),
        4 => Just(Step::DieInGetWith),
        2 => Just(Step::DieProducing),
        2 => Just(Step::DieConsuming),
        2 => many().prop_map(Step::TryIter),
        1 => Just(Step::Close),
        2 => Just(Step::Clone),
        2 => Just(Step::Reopen),
    ];
    let may_close = proptest::bool::weighted(0.25);
    (may_close, vec((0..HOLDERS, step), 1..STEPS)).prop_map(|(may_close, mut steps)| {
        steps.retain(|(_, step)| may_close || !matches!(step, Step::Close));
        steps
    })
}

fn capacity() -> impl Strategy<Value = usize> {
    prop_oneof![4 => 1..=10usize, 1 => Just(64)]
}

/// What the queue should be like.
struct Model<T> {
    items: VecDeque<T>,
    capacity: usize,
    closed: bool,
    /// How many elements were made: each put makes new ones.
    made: u64,
}

impl<T: Sample> Model<T> {
    fn make(&mut self) -> T {
        self.made += 1;
        T::sample(self.made)
    }

    fn make_many(&mut self, count: usize) -> Vec<T> {
        (0..count).map(|_| self.make()).collect()
    }

    fn room(&self) -> usize {
        self.capacity - self.items.len()
    }

    /// What a put of one item does, if without room it ends in `otherwise`.
    fn put(&mut self, item: T, otherwise: PutError) -> Result<(), PutError> {
        if self.closed {
            return Err(PutError::Closed);
        }
        if self.room() == 0 {
            return Err(otherwise);
        }
        self.items.push_back(item);
        Ok(())
    }

    /// What a get of one item does, if without items it ends in `otherwise`.
    fn get(&mut self, otherwise: GetError) -> Result<T, GetError> {
        let none = if self.closed {
            GetError::Closed
        } else {
            otherwise
        };
        self.items.pop_front().ok_or(none)
    }

    fn would_put_wait(&self) -> bool {
        !self.closed && self.room() == 0
    }

    fn would_get_wait(&self) -> bool {
        !self.closed && self.items.is_empty()
    }
}

fn run<T: Sample>(capacity: usize, steps: &[(usize, Step)]) {
    let mut memories = holders(capacity * size_of::<T>());
    let mut queues: Vec<Queue<T>> = memories
        .iter()
        .enumerate()
        .map(|(i, memory)| match i {
            0 => Queue::create_in(memory.clone(), capacity).unwrap(),
            _ => Queue::open_in(memory.clone()).unwrap(),
        })
        .collect();
    let mut model = Model::<T> {
        items: VecDeque::new(),
        capacity,
        closed: false,
        made: 0,
    };
    for (who, step) in steps {
        match step {
            Step::Clone => {
                let clone = queues[*who].clone();
                assert_eq!(clone.was_created(), queues[*who].was_created());
                queues[*who] = clone;
            }
            Step::Reopen => {
                memories[*who] = Arc::new(memories[*who].attach());
                queues[*who] = Queue::open_in(memories[*who].clone()).unwrap();
                assert!(!queues[*who].was_created());
            }
            _ => take(step, &queues[*who], &memories[*who], &mut model),
        }
        for queue in &queues {
            assert_eq!(queue.len(), model.items.len(), "after {step:?}");
            assert_eq!(queue.is_empty(), model.items.is_empty());
            assert_eq!(queue.is_full(), model.room() == 0);
            assert_eq!(queue.capacity(), capacity);
            assert_eq!(queue.is_closed(), model.closed);
        }
    }
    // What is left is what the model says is left.
    let left: Vec<T> = queues[0].try_iter().collect();
    assert_eq!(model.items, left);
}

fn take<T: Sample>(step: &Step, queue: &Queue<T>, memory: &HeapMemory, model: &mut Model<T>) {
    match *step {
        Step::TryPut => {
            let item = model.make();
            assert_eq!(queue.try_put(item), model.put(item, PutError::Full));
        }
        Step::Put if model.would_put_wait() => {}
        Step::Put => {
            let item = model.make();
            assert_eq!(queue.put(item), model.put(item, PutError::Full));
        }
        Step::PutTimeout => {
            let item = model.make();
            let put = queue.put_timeout(item, Duration::ZERO);
            assert_eq!(put, model.put(item, PutError::TimedOut));
        }
        Step::PutMany(count) if count > 0 && model.would_put_wait() => {}
        Step::PutMany(count) => {
            let items = model.make_many(count);
            let put = queue.put_many(&items);
            if model.closed && count > 0 {
                assert_eq!(put, Err(PutError::Closed));
            } else {
                let fits = count.min(model.room());
                assert_eq!(put, Ok(fits));
                model.items.extend(&items[..fits]);
            }
        }
        Step::PutAll(count) if !model.closed && count > model.room() => {}
        Step::PutAll(count) => {
            let items = model.make_many(count);
            let put = queue.put_all(&items);
            if model.closed && count > 0 {
                let source = PutError::Closed;
                assert_eq!(put, Err(PutAllError { put: 0, source }));
            } else {
                assert_eq!(put, Ok(()));
                model.items.extend(items);
            }
        }
        Step::TryGet => assert_eq!(queue.try_get(), model.get(GetError::Empty)),
        Step::Get if model.would_get_wait() => {}
        Step::Get => assert_eq!(queue.get(), model.get(GetError::Empty)),
        Step::GetTimeout => {
            let got = queue.get_timeout(Duration::ZERO);
            assert_eq!(got, model.get(GetError::TimedOut));
        }
        Step::GetMany(count) if count > 0 && model.would_get_wait() => {}
        Step::GetMany(count) => {
            let untouched = T::sample(u64::MAX);
            let mut out = vec![untouched; count];
            let got = queue.get_many(&mut out);
            if model.items.is_empty() && count > 0 {
                assert_eq!(got, Err(GetError::Closed));
            } else {
                let taken = count.min(model.items.len());
                assert_eq!(got, Ok(taken));
                let due = model.items.drain(..taken);
                let rest = std::iter::repeat_n(untouched, count - taken);
                assert_eq!(out, due.chain(rest).collect::<Vec<_>>());
            }
        }
        Step::TryIter(count) => {
            let got: Vec<T> = queue.try_iter().take(count).collect();
            let due = count.min(model.items.len());
            assert_eq!(got, model.items.drain(..due).collect::<Vec<_>>());
        }
        Step::GetWith | Step::PutInGetWith if model.would_get_wait() => {}
        Step::GetWith => {
            let got = queue.get_with(|item| (*item, queue.len()));
            let len = model.items.len();
            assert_eq!(got, model.get(GetError::Empty).map(|item| (item, len)));
        }
        Step::TryGetWith => {
            let got = queue.try_get_with(|item| (*item, queue.len()));
            let len = model.items.len();
            assert_eq!(got, model.get(GetError::Empty).map(|item| (item, len)));
        }
        Step::GetWithTimeout => {
            let got = queue.get_with_timeout(Duration::ZERO, |item| *item);
            assert_eq!(got, model.get(GetError::TimedOut));
        }
        Step::PutInGetWith => {
            let got = queue.get_with(|item| {
                let new = model.make();
                assert_eq!(queue.try_put(new), model.put(new, PutError::Full));
                *item
            });
            assert_eq!(got, model.get(GetError::Empty));
        }
        Step::PanicInGetWith | Step::DieInGetWith if model.items.is_empty() => {}
        Step::PanicInGetWith => {
            let mut seen = None;
            let ended = until_panic(|| {
                queue.get_with(|item| {
                    seen = Some(*item);
                    panic_quietly()
                })
            });
            assert!(ended.is_none());
            assert_eq!(seen.as_ref(), model.items.front());
        }
        Step::DieInGetWith => {
            let mut seen = None;
            let ended = HeapMemory::until_death(|| {
                queue.get_with(|item| {
                    seen = Some(*item);
                    die(memory)
                })
            });
            assert!(ended.is_none());
            assert_eq!(seen.as_ref(), model.items.front());
        }
        Step::DieProducing => die_holding(memory, BODY),
        Step::DieConsuming => die_holding(memory, CONSUMERS),
        Step::Close => {
            queue.close();
            model.closed = true;
        }
        Step::Clone | Step::Reopen => unreachable!("replaces the handle: done by the caller"),
    }
}

macro_rules! like_a_deque {
    ($($name:ident: $element:ty;)*) => {
        proptest! {
            #![proptest_config(config())]
            $(
                #[test]
                fn $name(capacity in capacity(), steps in steps()) {
                    let _watchdog = watchdog(stringify!($name));
                    run::<$element>(capacity, &steps);
                }
            )*
        }
    };
}

like_a_deque! {
    bytes_queue_like_in_a_deque: u8;
    words_queue_like_in_a_deque: u64;
    three_bytes_queue_like_in_a_deque: [u8; 3];
    structs_queue_like_in_a_deque: Wide;
    aligned_structs_queue_like_in_a_deque: Aligned;
}
