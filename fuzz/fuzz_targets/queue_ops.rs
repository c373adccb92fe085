//! Sequences of a `Queue`'s operations over several holders, some of which die in the middle, against
//! a `VecDeque`: puts and gets, and endpoints with their chunks.
#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use shmkit::memory::HeapMemory;
use shmkit::{Element, GetError, PutError, Queue};
use shmkit_fuzz::{CONSUMERS, End, PRODUCERS, Who, die_holding, holders};
use std::collections::VecDeque;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Op {
    Put,
    PutTimeout,
    PutMany(u8),
    PutAll(u8),
    Get,
    GetTimeout,
    GetMany(u8),
    GetWith,
    PutInGetWith,
    EndInGetWith(End),
    DieProducing,
    DieConsuming,
    WriteChunk(u8, u8),
    EndInWriteChunk(u8, End),
    ReadChunk(u8, u8),
    EndInReadChunk(u8, End),
    TryIter(u8),
    Close,
    Clone,
    Reopen,
}

#[derive(Arbitrary, Debug)]
struct Input {
    capacity: u8,
    wide: bool,
    ops: Vec<(Who, Op)>,
}

trait Sample: Element + PartialEq + Debug {
    fn sample(number: u64) -> Self;
}

impl Sample for u8 {
    fn sample(number: u64) -> Self {
        number.to_le_bytes()[0]
    }
}

impl Sample for [u64; 3] {
    fn sample(number: u64) -> Self {
        [number, !number, number << 32 | 1]
    }
}

struct Model<T> {
    items: VecDeque<T>,
    capacity: usize,
    closed: bool,
    made: u64,
}

impl<T: Sample> Model<T> {
    fn make(&mut self) -> T {
        self.made += 1;
        T::sample(self.made)
    }

    fn room(&self) -> usize {
        self.capacity - self.items.len()
    }

    fn put(&mut self, item: T, full: PutError) -> Result<(), PutError> {
        match (self.closed, self.room()) {
            (true, _) => Err(PutError::Closed),
            (_, 0) => Err(full),
            _ => {
                self.items.push_back(item);
                Ok(())
            }
        }
    }

    fn get(&mut self, empty: GetError) -> Result<T, GetError> {
        let none = if self.closed { GetError::Closed } else { empty };
        self.items.pop_front().ok_or(none)
    }
}

fn run<T: Sample>(capacity: usize, ops: &[(Who, Op)]) {
    let mut memories = holders(capacity * size_of::<T>());
    let mut queues = vec![Queue::<T>::create_in(memories[0].clone(), capacity).unwrap()];
    queues.extend(
        memories[1..]
            .iter()
            .map(|memory| Queue::open_in(memory.clone()).unwrap()),
    );
    let mut model = Model {
        items: VecDeque::new(),
        capacity,
        closed: false,
        made: 0,
    };
    for &(who, op) in ops {
        let who = who.index();
        match op {
            Op::Clone => queues[who] = queues[who].clone(),
            Op::Reopen => {
                memories[who] = Arc::new(memories[who].attach());
                queues[who] = Queue::open_in(memories[who].clone()).unwrap();
            }
            _ => step(op, &queues[who], &memories[who], &mut model),
        }
        for queue in &queues {
            assert_eq!(queue.len(), model.items.len());
            assert_eq!(queue.is_full(), model.room() == 0);
            assert_eq!(queue.is_closed(), model.closed);
        }
    }
    let left: Vec<T> = queues[0].try_iter().collect();
    assert_eq!(model.items, left);
}

fn step<T: Sample>(op: Op, queue: &Queue<T>, memory: &HeapMemory, model: &mut Model<T>) {
    match op {
        Op::Put => {
            let item = model.make();
            assert_eq!(queue.try_put(item), model.put(item, PutError::Full));
        }
        Op::PutTimeout => {
            let item = model.make();
            let put = queue.put_timeout(item, Duration::ZERO);
            assert_eq!(put, model.put(item, PutError::TimedOut));
        }
        // What would wait for good is left out.
        Op::PutMany(count) if count > 0 && !model.closed && model.room() == 0 => {}
        Op::PutMany(count) => {
            let items: Vec<T> = (0..count).map(|_| model.make()).collect();
            let put = queue.put_many(&items);
            if model.closed && count > 0 {
                assert_eq!(put, Err(PutError::Closed));
            } else {
                let fits = items.len().min(model.room());
                assert_eq!(put, Ok(fits));
                model.items.extend(&items[..fits]);
            }
        }
        Op::PutAll(count) if !model.closed && usize::from(count) > model.room() => {}
        Op::PutAll(count) => {
            let items: Vec<T> = (0..count).map(|_| model.make()).collect();
            let put = queue.put_all(&items);
            assert_eq!(put.is_err(), model.closed && count > 0);
            model
                .items
                .extend(put.ok().map(|()| items).unwrap_or_default());
        }
        Op::Get => assert_eq!(queue.try_get(), model.get(GetError::Empty)),
        Op::GetTimeout => {
            let got = queue.get_timeout(Duration::ZERO);
            assert_eq!(got, model.get(GetError::TimedOut));
        }
        Op::GetMany(count) if count > 0 && !model.closed && model.items.is_empty() => {}
        Op::GetMany(count) => {
            let mut out = vec![T::sample(u64::MAX); count.into()];
            let got = queue.get_many(&mut out);
            let due = out.len().min(model.items.len());
            if due == 0 && count > 0 {
                assert_eq!(got, Err(GetError::Closed));
            } else {
                assert_eq!(got, Ok(due));
                assert!(model.items.drain(..due).eq(out[..due].iter().copied()));
            }
        }
        Op::GetWith | Op::PutInGetWith | Op::EndInGetWith(_) if model.items.is_empty() => {}
        Op::GetWith => assert_eq!(queue.get_with(|item| *item), model.get(GetError::Empty)),
        Op::PutInGetWith => {
            let got = queue.get_with(|item| {
                let new = model.make();
                assert_eq!(queue.try_put(new), model.put(new, PutError::Full));
                *item
            });
            assert_eq!(got, model.get(GetError::Empty));
        }
        Op::EndInGetWith(end) => {
            let mut seen = None;
            let ended = End::catch(|| {
                queue.get_with(|item| {
                    seen = Some(*item);
                    end.come(memory)
                })
            });
            assert!(ended.is_none());
            assert_eq!(seen.as_ref(), model.items.front());
        }
        Op::DieProducing => die_holding(memory, PRODUCERS),
        Op::DieConsuming => die_holding(memory, CONSUMERS),
        Op::WriteChunk(most, count) => match queue.try_producer() {
            Err(error) => assert_eq!((error, model.closed), (PutError::Closed, true)),
            Ok(mut producer) => {
                assert_eq!(queue.try_put(T::sample(0)), Err(PutError::Busy));
                let due = usize::from(most).min(model.room());
                match producer.try_chunk(most.into()) {
                    Err(error) => assert_eq!((error, due), (PutError::Full, 0)),
                    Ok(mut chunk) => {
                        assert_eq!(chunk.len(), due);
                        let count = usize::from(count).min(due);
                        let items: Vec<T> = (0..count).map(|_| model.make()).collect();
                        chunk
                            .iter_mut()
                            .zip(&items)
                            .for_each(|(slot, item)| *slot = *item);
                        assert_eq!(chunk.commit(count), Ok(()));
                        model.items.extend(items);
                    }
                }
            }
        },
        Op::EndInWriteChunk(most, end) if !model.closed => {
            let ended = End::catch(|| {
                let mut producer = queue.try_producer().unwrap();
                if let Ok(mut chunk) = producer.try_chunk(most.into()) {
                    chunk.iter_mut().for_each(|slot| *slot = T::sample(0));
                }
                end.come(memory)
            });
            assert!(ended.is_none());
        }
        Op::EndInWriteChunk(..) => {}
        Op::ReadChunk(most, count) => match queue.try_consumer() {
            Err(error) => {
                let over = model.closed && model.items.is_empty();
                assert_eq!((error, over), (GetError::Closed, true));
            }
            Ok(mut consumer) => {
                assert_eq!(queue.try_get(), Err(GetError::Busy));
                let due = usize::from(most).min(model.items.len());
                match consumer.try_chunk(most.into()) {
                    Err(error) => assert_eq!((error, due), (GetError::Empty, 0)),
                    Ok(chunk) => {
                        assert!(chunk.iter().eq(model.items.iter().take(due)));
                        let count = usize::from(count).min(due);
                        chunk.release(count);
                        model.items.drain(..count);
                    }
                }
            }
        },
        Op::EndInReadChunk(most, end) if !model.items.is_empty() => {
            let ended = End::catch(|| {
                let mut consumer = queue.try_consumer().unwrap();
                if let Ok(chunk) = consumer.try_chunk(most.into()) {
                    let due = usize::from(most).min(model.items.len());
                    assert!(chunk.iter().eq(model.items.iter().take(due)));
                }
                end.come(memory)
            });
            assert!(ended.is_none());
        }
        Op::EndInReadChunk(..) => {}
        Op::TryIter(count) => {
            let got: Vec<T> = queue.try_iter().take(count.into()).collect();
            let due = usize::from(count).min(model.items.len());
            assert_eq!(got, model.items.drain(..due).collect::<Vec<_>>());
        }
        Op::Close => {
            queue.close();
            model.closed = true;
        }
        Op::Clone | Op::Reopen => unreachable!("done by the caller"),
    }
}

fuzz_target!(|input: Input| {
    let capacity = usize::from(input.capacity % 40) + 1;
    if input.wide {
        run::<[u64; 3]>(capacity, &input.ops);
    } else {
        run::<u8>(capacity, &input.ops);
    }
});
