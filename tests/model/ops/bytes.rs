//! `ByteQueue`'s operations against a `VecDeque` of messages, whose capacity is counted in units of 8
//! bytes.

use super::{BODY, CONSUMERS, Crew, End, Form, die_holding, holders, scramble};
use shmkit::memory::HeapMemory;
use shmkit::{ByteQueue, GetError, PutError};
use std::time::Duration;

/// How the queue should be.
pub type Model = super::Model<Vec<u8>>;

/// A length of up to one byte more than the longest. Negative numbers count down from there: -1 is one
/// byte too long, and -2 the longest.
pub type Len = i16;

/// One operation.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "derive-arbitrary", derive(arbitrary::Arbitrary))]
pub enum Op {
    /// Puts a message.
    Put(Form, Len),
    /// Reserves the first length, and commits the second. A second length below zero counts down from
    /// the first.
    Reserve(Form, Len, Len),
    /// Writes a message, and drops its reservation.
    DropReservation(Len),
    /// Writes a message, and comes to an end with its reservation.
    EndWithReservation(End, Len),
    /// Gets a message.
    Get(Form),
    /// Gets a message into a buffer.
    GetInto(Form),
    /// Gets a message through a closure.
    GetWith(Form),
    /// Puts a message while the closure looks at another one, which still takes its room. Without a
    /// length, puts the other message again, out of the ring.
    PutInGetWith(Option<Len>),
    /// Comes to an end while the closure looks at a message.
    EndInGetWith(Form, End),
    /// Dies with the producers' lock.
    DieProducing,
    /// Dies with the consumers' lock.
    DieConsuming,
    /// Takes up to so many messages from an iterator.
    TryIter(u8),
    /// Closes the queue.
    Close,
    /// Replaces the handle by a clone.
    Clone,
    /// Leaves, and comes back as another holder.
    Reopen,
    /// Looks at a message through a closure, and takes it if the closure says so.
    TakeWith(Form, bool),
}

/// How many units a message takes.
#[must_use]
pub fn units(len: usize) -> usize {
    1 + len.div_ceil(8)
}

/// The length that `len` stands for where `longest` is the longest.
fn length(len: Len, longest: usize) -> usize {
    let lengths = i64::try_from(longest + 2).unwrap();
    usize::try_from(i64::from(len).rem_euclid(lengths)).unwrap()
}

impl Model {
    fn longest(&self) -> usize {
        (self.capacity - 1) * 8
    }

    /// A new message, without a byte that is always the same.
    fn make(&mut self, len: usize) -> Vec<u8> {
        let number = self.number();
        let words = (0..).map(|part| scramble(number ^ part << 40));
        words.flat_map(u64::to_le_bytes).take(len).collect()
    }

    /// Reserves room for a message.
    fn reserve(&self, len: usize, form: Form) -> Result<(), PutError> {
        let max = self.longest();
        if len > max {
            return Err(PutError::TooLong { len, max });
        }
        self.refuses_put(units(len), form).map_or(Ok(()), Err)
    }

    fn would_put_wait(&self, len: usize, form: Form) -> bool {
        form == Form::Plain && self.reserve(len, form) == Err(PutError::Full)
    }

    /// Compares the outcome of a put.
    fn check_put(&mut self, message: &[u8], form: Form, put: Result<(), PutError>) {
        assert_eq!(put, self.reserve(message.len(), form));
        self.items.extend(put.ok().map(|()| message.to_vec()));
    }
}

/// Runs operations of the holders on a queue.
pub fn run(capacity: usize, ops: &[(usize, Op)]) {
    let mut model = Model::new(capacity.div_ceil(8), |message| units(message.len()));
    let memories = holders(8 * (2 * model.capacity - 1));
    let mut crew = Crew::new(memories, |memory| ByteQueue::create_in(memory, capacity));
    for &(who, op) in ops {
        match op {
            Op::Clone => crew.clone_handle(who),
            Op::Reopen => crew.reopen(who),
            _ => step(op, &crew.handles[who], &crew.memories[who], &mut model),
        }
        for queue in &crew.handles {
            assert_eq!(queue.used(), 8 * model.used(), "after {op:?}");
            assert_eq!(queue.is_empty(), model.items.is_empty());
            assert_eq!(queue.capacity(), capacity.next_multiple_of(8));
            assert_eq!(queue.max_message_len(), model.longest());
            assert_eq!(queue.is_closed(), model.closed);
        }
    }
    let left: Vec<_> = crew.handles[0].try_iter().collect();
    assert_eq!(model.items, left);
}

const SOON: Duration = Duration::ZERO;

fn get_with<R>(
    queue: &ByteQueue,
    form: Form,
    look: impl FnOnce(&[u8]) -> R,
) -> Result<R, GetError> {
    match form {
        Form::Plain => queue.get_with(look),
        Form::Try => queue.try_get_with(look),
        Form::Timeout => queue.get_with_timeout(SOON, look),
    }
}

fn step(op: Op, queue: &ByteQueue, memory: &HeapMemory, model: &mut Model) {
    let max = model.longest();
    match op {
        Op::Put(form, len) | Op::Reserve(form, len, _)
            if model.would_put_wait(length(len, max), form) => {}
        Op::Put(form, len) => {
            let message = model.make(length(len, max));
            let put = match form {
                Form::Plain => queue.put(&message),
                Form::Try => queue.try_put(&message),
                Form::Timeout => queue.put_timeout(&message, SOON),
            };
            model.check_put(&message, form, put);
        }
        Op::Reserve(form, len, committed) => {
            let len = length(len, max);
            let committed = length(committed, if committed < 0 { len } else { max });
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
                model.items.push_back(message[..committed].to_vec());
            }
        }
        Op::DropReservation(len) | Op::EndWithReservation(_, len) => {
            let message = model.make(length(len, max));
            let ended = End::catch(|| {
                let mut room = queue.try_reserve(message.len())?;
                room.copy_from_slice(&message);
                match op {
                    Op::EndWithReservation(end, _) => end.come(memory),
                    _ => Ok(()),
                }
            });
            match (op, model.reserve(message.len(), Form::Try)) {
                (Op::EndWithReservation(..), Ok(())) => assert_eq!(ended, None),
                (_, expected) => assert_eq!(ended, Some(expected)),
            }
        }
        Op::Get(form) | Op::GetInto(form) | Op::GetWith(form) | Op::TakeWith(form, _)
            if model.would_get_wait(form) => {}
        Op::Get(form) => {
            let got = match form {
                Form::Plain => queue.get(),
                Form::Try => queue.try_get(),
                Form::Timeout => queue.get_timeout(SOON),
            };
            assert_eq!(got, model.get(form));
        }
        Op::GetInto(form) => {
            let before = b"old contents".to_vec();
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
        Op::GetWith(form) => {
            let got = get_with(queue, form, |message| (message.to_vec(), queue.used()));
            let used = 8 * model.used();
            assert_eq!(got, model.get(form).map(|message| (message, used)));
        }
        Op::TakeWith(form, takes) => {
            let judge = |message: &[u8]| {
                assert_eq!(queue.try_get(), Err(GetError::Busy));
                let seen = message.to_vec();
                if takes { Ok(seen) } else { Err(seen) }
            };
            let got = match form {
                Form::Plain => queue.take_with(judge),
                Form::Try => queue.try_take_with(judge),
                Form::Timeout => queue.take_with_timeout(SOON, judge),
            };
            assert_eq!(got, model.take_with(form, takes));
        }
        Op::PutInGetWith(len) => {
            let got = queue.try_get_with(|seen| {
                let made = len.map(|len| model.make(length(len, max)));
                let message = made.as_deref().unwrap_or(seen);
                model.check_put(message, Form::Try, queue.try_put(message));
                seen.to_vec()
            });
            assert_eq!(got, model.get(Form::Try));
        }
        Op::EndInGetWith(..) if model.items.is_empty() => {}
        Op::EndInGetWith(form, end) => {
            let mut seen = None;
            let ended = End::catch(|| {
                get_with(queue, form, |message| {
                    seen = Some(message.to_vec());
                    end.come(memory)
                })
            });
            assert!(ended.is_none());
            assert_eq!(seen.as_ref(), model.items.front());
        }
        Op::DieProducing => die_holding(memory, BODY),
        Op::DieConsuming => die_holding(memory, CONSUMERS),
        Op::TryIter(count) => {
            let got: Vec<_> = queue.try_iter().take(count.into()).collect();
            assert_eq!(got, model.get_some(count.into()));
        }
        Op::Close => {
            queue.close();
            model.closed = true;
        }
        Op::Clone | Op::Reopen => unreachable!("the caller replaces the handle"),
    }
}
