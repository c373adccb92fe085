//! `ByteQueue` against a `VecDeque` of messages, whose capacity is counted in units of 8 bytes.

use crate::{
    BODY, HOLDERS, STEPS, config, die, die_holding, holders, panic_quietly, scramble, until_panic,
    watchdog,
};
use proptest::collection::vec;
use proptest::prelude::*;
use shmkit::memory::HeapMemory;
use shmkit::{ByteQueue, Error, GetError, PutError};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

/// Where the consumers' lock lies, behind the producers'.
const CONSUMERS: usize = BODY + 128;

/// How a message is put, or taken.
#[derive(Clone, Copy, Debug)]
enum Form {
    Plain,
    Try,
    Timeout,
}

/// A length in relation to the longest.
#[derive(Clone, Copy, Debug)]
enum Len {
    Some(usize),
    Max,
    TooLong,
}

impl Len {
    fn of(self, max: usize) -> usize {
        match self {
            Self::Some(number) => number % (max + 1),
            Self::Max => max,
            Self::TooLong => max + 1,
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    Put(Form, Len),
    /// Reserves the first, commits the second; longer than the first, that is refused.
    Reserve(Form, Len, Len),
    DropReservation(Len),
    PanicWithReservation(Len),
    DieWithReservation(Len),
    Get(Form),
    GetInto(Form),
    GetWith(Form),
    /// Puts what it looks at, which keeps its room until it is taken.
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
    let form = || proptest::sample::select(&[Form::Plain, Form::Try, Form::Timeout][..]);
    let len = || {
        prop_oneof![
            6 => (0..20usize).prop_map(Len::Some),
            4 => any::<usize>().prop_map(Len::Some),
            1 => Just(Len::Max),
            1 => Just(Len::TooLong),
        ]
    };
    let step = prop_oneof![
        20 => (form(), len()).prop_map(|(form, len)| Step::Put(form, len)),
        8 => (form(), len(), len()).prop_map(|(form, len, of)| Step::Reserve(form, len, of)),
        2 => len().prop_map(Step::DropReservation),
        2 => len().prop_map(Step::PanicWithReservation),
        3 => len().prop_map(Step::DieWithReservation),
        12 => form().prop_map(Step::Get),
        6 => form().prop_map(Step::GetInto),
        6 => form().prop_map(Step::GetWith),
        3 => Just(Step::PutInGetWith),
        2 => Just(Step::PanicInGetWith),
        4 => Just(Step::DieInGetWith),
        2 => Just(Step::DieProducing),
        2 => Just(Step::DieConsuming),
        2 => (0..13usize).prop_map(Step::TryIter),
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
    prop_oneof![1 => 1..=16usize, 4 => 17..=200usize, 1 => Just(256)]
}

/// What a message takes of the capacity.
fn units(len: usize) -> usize {
    1 + len.div_ceil(8)
}

/// What the queue should be like.
struct Model {
    messages: VecDeque<Vec<u8>>,
    /// In units.
    capacity: usize,
    closed: bool,
    /// How many messages were made: each put makes a new one.
    made: u64,
}

impl Model {
    fn max(&self) -> usize {
        (self.capacity - 1) * 8
    }

    /// A new message, without a byte that is always the same.
    fn make(&mut self, len: usize) -> Vec<u8> {
        self.made += 1;
        let words = (0..).map(|part| scramble(self.made ^ part << 40));
        words.flat_map(u64::to_le_bytes).take(len).collect()
    }

    fn used(&self) -> usize {
        self.messages
            .iter()
            .map(|message| units(message.len()))
            .sum()
    }

    fn fits(&self, len: usize) -> bool {
        units(len) <= self.capacity - self.used()
    }

    /// Whether room for a message of that length is had, and if not, how that ends in that form.
    fn reserve(&self, len: usize, form: Form) -> Result<(), PutError> {
        let max = self.max();
        if len > max {
            return Err(PutError::TooLong { len, max });
        }
        if self.closed {
            return Err(PutError::Closed);
        }
        match form {
            _ if self.fits(len) => Ok(()),
            Form::Timeout => Err(PutError::TimedOut),
            Form::Try | Form::Plain => Err(PutError::Full),
        }
    }

    fn get(&mut self, form: Form) -> Result<Vec<u8>, GetError> {
        self.messages.pop_front().ok_or(match form {
            _ if self.closed => GetError::Closed,
            Form::Timeout => GetError::TimedOut,
            Form::Try | Form::Plain => GetError::Empty,
        })
    }

    /// Whether a call in that form would wait for good.
    fn would_put_wait(&self, len: usize, form: Form) -> bool {
        matches!(form, Form::Plain) && self.reserve(len, form) == Err(PutError::Full)
    }

    fn would_get_wait(&self, form: Form) -> bool {
        matches!(form, Form::Plain) && !self.closed && self.messages.is_empty()
    }
}

fn run(capacity: usize, steps: &[(usize, Step)]) {
    let mut memories = holders(2 * capacity + 16);
    let mut queues: Vec<ByteQueue> = memories
        .iter()
        .enumerate()
        .map(|(i, memory)| match i {
            0 => ByteQueue::create_in(memory.clone(), capacity).unwrap(),
            _ => ByteQueue::open_in(memory.clone()).unwrap(),
        })
        .collect();
    let mut model = Model {
        messages: VecDeque::new(),
        capacity: capacity.div_ceil(8),
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
                queues[*who] = ByteQueue::open_in(memories[*who].clone()).unwrap();
                assert!(!queues[*who].was_created());
            }
            _ => take(step, &queues[*who], &memories[*who], &mut model),
        }
        for queue in &queues {
            assert_eq!(queue.used(), 8 * model.used(), "after {step:?}");
            assert_eq!(queue.is_empty(), model.messages.is_empty());
            assert_eq!(queue.capacity(), capacity.next_multiple_of(8));
            assert_eq!(queue.max_message_len(), model.max());
            assert_eq!(queue.is_closed(), model.closed);
        }
    }
    // What is left is what the model says is left.
    let left: Vec<_> = queues[0].try_iter().collect();
    assert_eq!(model.messages, left);
}

fn take(step: &Step, queue: &ByteQueue, memory: &HeapMemory, model: &mut Model) {
    const SOON: Duration = Duration::ZERO;
    let max = model.max();
    match *step {
        Step::Put(form, len) if model.would_put_wait(len.of(max), form) => {}
        Step::Put(form, len) => {
            let message = model.make(len.of(max));
            let put = match form {
                Form::Plain => queue.put(&message),
                Form::Try => queue.try_put(&message),
                Form::Timeout => queue.put_timeout(&message, SOON),
            };
            assert_eq!(put, model.reserve(message.len(), form));
            model.messages.extend(put.ok().map(|()| message));
        }
        Step::Reserve(form, len, _) if model.would_put_wait(len.of(max), form) => {}
        Step::Reserve(form, len, committed) => {
            let (len, committed) = (len.of(max), committed.of(max));
            let reserved = match form {
                Form::Plain => queue.reserve(len),
                Form::Try => queue.try_reserve(len),
                Form::Timeout => queue.reserve_timeout(len, SOON),
            };
            let mut room = match (reserved, model.reserve(len, form)) {
                (Ok(room), Ok(())) => room,
                (reserved, expected) => return assert_eq!(reserved.map(drop), expected),
            };
            assert_eq!(room.len(), len);
            let message = model.make(len);
            room.copy_from_slice(&message);
            assert_eq!(*room, *message, "reads back");
            let done = room.commit(committed);
            if committed > len {
                let (len, max) = (committed, len);
                assert_eq!(done, Err(PutError::TooLong { len, max }));
            } else {
                assert_eq!(done, Ok(()));
                model.messages.push_back(message[..committed].to_vec());
            }
        }
        Step::DropReservation(len)
        | Step::PanicWithReservation(len)
        | Step::DieWithReservation(len) => {
            let len = len.of(max);
            let message = model.make(len);
            let write = || {
                let mut room = queue.try_reserve(len)?;
                room.copy_from_slice(&message);
                match *step {
                    Step::PanicWithReservation(_) => panic_quietly(),
                    Step::DieWithReservation(_) => die(memory),
                    _ => Ok(()),
                }
            };
            let ended = until_panic(|| HeapMemory::until_death(write)).flatten();
            let expected = model.reserve(len, Form::Try);
            match (step, expected) {
                (Step::DropReservation(_), expected) => assert_eq!(ended, Some(expected)),
                (_, Ok(())) => assert_eq!(ended, None),
                (_, refused) => assert_eq!(ended, Some(refused)),
            }
        }
        Step::Get(form) | Step::GetInto(form) | Step::GetWith(form)
            if model.would_get_wait(form) => {}
        Step::Get(form) => {
            let got = match form {
                Form::Plain => queue.get(),
                Form::Try => queue.try_get(),
                Form::Timeout => queue.get_timeout(SOON),
            };
            assert_eq!(got, model.get(form));
        }
        Step::GetInto(form) => {
            let before = b"what was in it".to_vec();
            let mut buffer = before.clone();
            let got = match form {
                Form::Plain => queue.get_into(&mut buffer),
                Form::Try => queue.try_get_into(&mut buffer),
                Form::Timeout => queue.get_into_timeout(&mut buffer, SOON),
            };
            let due = model.get(form);
            assert_eq!(got, due.as_ref().map(Vec::len).map_err(Clone::clone));
            assert_eq!(buffer, due.unwrap_or(before));
        }
        Step::GetWith(form) => {
            let look = |message: &[u8]| (message.to_vec(), queue.used());
            let got = match form {
                Form::Plain => queue.get_with(look),
                Form::Try => queue.try_get_with(look),
                Form::Timeout => queue.get_with_timeout(SOON, look),
            };
            let used = 8 * model.used();
            assert_eq!(got, model.get(form).map(|message| (message, used)));
        }
        Step::PutInGetWith => {
            let got = queue.try_get_with(|message| {
                let put = queue.try_put(message);
                assert_eq!(put, model.reserve(message.len(), Form::Try));
                model.messages.extend(put.ok().map(|()| message.to_vec()));
                message.to_vec()
            });
            assert_eq!(got, model.get(Form::Try));
        }
        Step::PanicInGetWith | Step::DieInGetWith if model.messages.is_empty() => {}
        Step::PanicInGetWith | Step::DieInGetWith => {
            let mut seen = None;
            let look = |message: &[u8]| {
                seen = Some(message.to_vec());
                match *step {
                    Step::PanicInGetWith => panic_quietly(),
                    _ => die(memory),
                }
            };
            let ended = until_panic(|| HeapMemory::until_death(|| queue.get_with(look)));
            assert!(ended.flatten().is_none());
            assert_eq!(seen.as_ref(), model.messages.front());
        }
        Step::DieProducing => die_holding(memory, BODY),
        Step::DieConsuming => die_holding(memory, CONSUMERS),
        Step::TryIter(count) => {
            let got: Vec<_> = queue.try_iter().take(count).collect();
            let due = count.min(model.messages.len());
            assert_eq!(got, model.messages.drain(..due).collect::<Vec<_>>());
        }
        Step::Close => {
            queue.close();
            model.closed = true;
        }
        Step::Clone | Step::Reopen => unreachable!("replaces the handle: done by the caller"),
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn messages_queue_like_in_a_deque(capacity in capacity(), steps in steps()) {
        let _watchdog = watchdog("messages");
        run(capacity, &steps);
    }
}

/// Every place a message can begin at, for every length: whole, and nobody else's.
#[test]
fn a_message_of_any_length_is_whole_wherever_it_begins() {
    const UNITS: usize = if cfg!(miri) { 3 } else { 9 };
    let _watchdog = watchdog("every place");
    // Exactly as long as it has to be: the control words, the slots, and the spill area.
    let needed = BODY + 512 + 8 * (2 * UNITS - 1);
    let too_small = ByteQueue::create_in(Arc::new(HeapMemory::new(needed - 1)), 8 * UNITS);
    assert!(
        matches!(too_small, Err(Error::NoSpace { .. })),
        "{too_small:?}"
    );
    let queue = ByteQueue::create_in(Arc::new(HeapMemory::new(needed)), 8 * UNITS).unwrap();
    let mut made = 0u8;
    let mut make = |len: usize| {
        made = made.wrapping_add(1);
        vec![made; len]
    };
    for begin in 0..UNITS {
        for len in 0..=queue.max_message_len() {
            // With as many behind it as fit, so that whatever it covers of theirs is seen.
            let mut messages = vec![make(len)];
            let mut left = UNITS - units(len);
            while left > 0 {
                messages.push(make(if left > 1 { 1 + left % 8 } else { 0 }));
                left -= units(messages.last().unwrap().len());
            }
            for message in &messages {
                queue.try_put(message).unwrap();
            }
            assert_eq!(queue.try_put(b""), Err(PutError::Full));
            assert_eq!(queue.used(), queue.capacity());
            assert!(queue.try_iter().eq(messages), "at {begin}, of {len} bytes");
        }
        // One unit further on.
        queue.try_put(b"").unwrap();
        queue.try_get().unwrap();
    }
}
