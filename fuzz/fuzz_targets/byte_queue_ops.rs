//! Sequences of a `ByteQueue`'s operations over several holders, some of which die in the middle,
//! against a `VecDeque` of messages.
#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use shmkit::memory::HeapMemory;
use shmkit::{ByteQueue, GetError, PutError};
use shmkit_fuzz::{CONSUMERS, End, PRODUCERS, Who, die_holding, holders};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Op {
    Put(u16),
    PutTimeout(u16),
    Reserve(u16, u16),
    DropReservation(u16),
    EndWithReservation(End, u16),
    Get,
    GetTimeout,
    GetInto,
    GetWith,
    PutInGetWith(u16),
    EndInGetWith(End),
    DieProducing,
    DieConsuming,
    TryIter(u8),
    Close,
    Clone,
    Reopen,
}

#[derive(Arbitrary, Debug)]
struct Input {
    capacity: u16,
    ops: Vec<(Who, Op)>,
}

struct Model {
    messages: VecDeque<Vec<u8>>,
    /// In units of 8 bytes.
    units: usize,
    closed: bool,
    made: u8,
}

impl Model {
    /// A message of up to one byte more than fit; each has its own bytes.
    fn make(&mut self, len: u16) -> Vec<u8> {
        self.made = self.made.wrapping_add(37);
        let len = usize::from(len) % (8 * self.units - 8 + 2);
        (0..len)
            .map(|at| self.made.wrapping_add(at as u8))
            .collect()
    }

    fn used(&self) -> usize {
        let units = |message: &Vec<u8>| 1 + message.len().div_ceil(8);
        self.messages.iter().map(units).sum()
    }

    fn room(&self, len: usize, full: PutError) -> Result<(), PutError> {
        let max = 8 * self.units - 8;
        if len > max {
            return Err(PutError::TooLong { len, max });
        }
        if self.closed {
            return Err(PutError::Closed);
        }
        match self.used() + 1 + len.div_ceil(8) <= self.units {
            true => Ok(()),
            false => Err(full),
        }
    }

    fn get(&mut self, empty: GetError) -> Result<Vec<u8>, GetError> {
        let none = if self.closed { GetError::Closed } else { empty };
        self.messages.pop_front().ok_or(none)
    }
}

fn run(capacity: usize, ops: &[(Who, Op)]) {
    let units = capacity.div_ceil(8);
    // Exactly as much as is needed: the sanitizer guards the rest.
    let mut memories = holders(8 * (2 * units - 1));
    let mut queues = vec![ByteQueue::create_in(memories[0].clone(), capacity).unwrap()];
    queues.extend(
        memories[1..]
            .iter()
            .map(|memory| ByteQueue::open_in(memory.clone()).unwrap()),
    );
    let mut model = Model {
        messages: VecDeque::new(),
        units,
        closed: false,
        made: 0,
    };
    for &(who, op) in ops {
        let who = who.index();
        match op {
            Op::Clone => queues[who] = queues[who].clone(),
            Op::Reopen => {
                memories[who] = Arc::new(memories[who].attach());
                queues[who] = ByteQueue::open_in(memories[who].clone()).unwrap();
            }
            _ => step(op, &queues[who], &memories[who], &mut model),
        }
        for queue in &queues {
            assert_eq!(queue.used(), 8 * model.used());
            assert_eq!(queue.is_closed(), model.closed);
        }
    }
    let left: Vec<_> = queues[0].try_iter().collect();
    assert_eq!(model.messages, left);
}

fn step(op: Op, queue: &ByteQueue, memory: &HeapMemory, model: &mut Model) {
    match op {
        Op::Put(len) => {
            let message = model.make(len);
            let put = queue.try_put(&message);
            assert_eq!(put, model.room(message.len(), PutError::Full));
            model.messages.extend(put.ok().map(|()| message));
        }
        Op::PutTimeout(len) => {
            let message = model.make(len);
            let put = queue.put_timeout(&message, Duration::ZERO);
            assert_eq!(put, model.room(message.len(), PutError::TimedOut));
            model.messages.extend(put.ok().map(|()| message));
        }
        Op::Reserve(len, committed) => {
            let message = model.make(len);
            let len = message.len();
            let mut room = match (queue.try_reserve(len), model.room(len, PutError::Full)) {
                (Ok(room), Ok(())) => room,
                (reserved, expected) => return assert_eq!(reserved.map(drop), expected),
            };
            room.copy_from_slice(&message);
            let committed = usize::from(committed) % (len + 2);
            let put = room.commit(committed);
            if committed > len {
                let (len, max) = (committed, len);
                assert_eq!(put, Err(PutError::TooLong { len, max }));
            } else {
                assert_eq!(put, Ok(()));
                model.messages.push_back(message[..committed].to_vec());
            }
        }
        Op::DropReservation(len) | Op::EndWithReservation(_, len) => {
            let message = model.make(len);
            let ended = End::catch(|| {
                let mut room = queue.try_reserve(message.len())?;
                room.copy_from_slice(&message);
                match op {
                    Op::EndWithReservation(end, _) => end.come(memory),
                    _ => Ok(()),
                }
            });
            match (op, model.room(message.len(), PutError::Full)) {
                (Op::EndWithReservation(..), Ok(())) => assert_eq!(ended, None),
                (_, expected) => assert_eq!(ended, Some(expected)),
            }
        }
        Op::Get => assert_eq!(queue.try_get(), model.get(GetError::Empty)),
        Op::GetTimeout => {
            let got = queue.get_timeout(Duration::ZERO);
            assert_eq!(got, model.get(GetError::TimedOut));
        }
        Op::GetInto => {
            let mut buffer = vec![1, 2, 3];
            let got = queue.try_get_into(&mut buffer);
            match model.get(GetError::Empty) {
                Ok(due) => assert_eq!((got, buffer), (Ok(due.len()), due)),
                Err(error) => assert_eq!((got, buffer), (Err(error), vec![1, 2, 3])),
            }
        }
        Op::GetWith => {
            let got = queue.try_get_with(<[u8]>::to_vec);
            assert_eq!(got, model.get(GetError::Empty));
        }
        Op::PutInGetWith(len) => {
            let got = queue.try_get_with(|seen| {
                let message = model.make(len);
                let put = queue.try_put(&message);
                assert_eq!(put, model.room(message.len(), PutError::Full));
                model.messages.extend(put.ok().map(|()| message));
                seen.to_vec()
            });
            assert_eq!(got, model.get(GetError::Empty));
        }
        Op::EndInGetWith(_) if model.messages.is_empty() => {}
        Op::EndInGetWith(end) => {
            let mut seen = None;
            let ended = End::catch(|| {
                queue.try_get_with(|message| {
                    seen = Some(message.to_vec());
                    end.come(memory)
                })
            });
            assert!(ended.is_none());
            assert_eq!(seen.as_ref(), model.messages.front());
        }
        Op::DieProducing => die_holding(memory, PRODUCERS),
        Op::DieConsuming => die_holding(memory, CONSUMERS),
        Op::TryIter(count) => {
            let got: Vec<_> = queue.try_iter().take(count.into()).collect();
            let due = usize::from(count).min(model.messages.len());
            assert_eq!(got, model.messages.drain(..due).collect::<Vec<_>>());
        }
        Op::Close => {
            queue.close();
            model.closed = true;
        }
        Op::Clone | Op::Reopen => unreachable!("done by the caller"),
    }
}

fuzz_target!(|input: Input| run(usize::from(input.capacity % 600) + 1, &input.ops));
