//! The interpreters that the properties of `tests/model` share with the targets of `fuzz`. Each runs
//! operations on a real queue and on a model, and compares the two. The operations come from the caller.
#![allow(unreachable_pub)] // in `fuzz` this module belongs to a library

pub mod bytes;
pub mod queue;

use shmkit::internals::{Deadline, Holder, Lock, LockId, LockWord, Wait};
use shmkit::memory::{HeapMemory, Memory};
use shmkit::{Array, ByteQueue, Element, GetError, PutError, Queue, Value};
use std::any::Any;
use std::cell::Cell;
use std::collections::VecDeque;
use std::fmt::Debug;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, Once};
use std::time::Duration;

/// The offset of a body. Its first word is a lock: the producers' lock, if the body is a queue's.
pub const BODY: usize = 512;

/// The offset of a queue's lock for consumers.
pub const CONSUMERS: usize = BODY + 128;

/// The length of a queue's control words.
pub const CONTROL: usize = 512;

/// How many holders share a memory.
pub const HOLDERS: usize = 3;

/// Memory with room for control words and `len` more bytes, and its holders.
///
/// A queue whose slots take `len` bytes fills the memory, so that the address sanitizer and Miri notice
/// each access behind the queue.
#[must_use]
pub fn holders(len: usize) -> Vec<Arc<HeapMemory>> {
    let first = HeapMemory::new(BODY + CONTROL + len);
    let others: Vec<_> = (1..HOLDERS).map(|_| first.attach()).collect();
    [first].into_iter().chain(others).map(Arc::new).collect()
}

/// A type whose handles can be opened over a memory.
pub trait Handle: Clone {
    /// Opens what another holder has created.
    fn open(memory: Arc<HeapMemory>) -> Self;

    /// Whether this handle, or the handle that it was cloned from, created the segment.
    fn created(&self) -> bool;
}

macro_rules! handle {
    ($handle:ty $(, $element:ident)?) => {
        impl$(<$element: Element>)? Handle for $handle {
            fn open(memory: Arc<HeapMemory>) -> Self {
                Self::open_in(memory).unwrap()
            }

            fn created(&self) -> bool {
                self.was_created()
            }
        }
    };
}

handle!(Value<T>, T);
handle!(Array<T>, T);
handle!(Queue<T>, T);
handle!(ByteQueue);

/// One handle for each holder of a memory.
pub struct Crew<H> {
    /// The holders.
    pub memories: Vec<Arc<HeapMemory>>,
    /// The handles, in the holders' order.
    pub handles: Vec<H>,
}

impl<H: Handle> Crew<H> {
    /// The first of the holders creates the segment, and the others open it.
    pub fn new(
        memories: Vec<Arc<HeapMemory>>,
        create: impl FnOnce(Arc<HeapMemory>) -> shmkit::Result<H>,
    ) -> Self {
        let mut handles = vec![create(memories[0].clone()).unwrap()];
        handles.extend(memories[1..].iter().cloned().map(H::open));
        Self { memories, handles }
    }

    /// Replaces the holder's handle by a clone.
    pub fn clone_handle(&mut self, who: usize) {
        let clone = self.handles[who].clone();
        assert_eq!(clone.created(), self.handles[who].created());
        self.handles[who] = clone;
    }

    /// The holder leaves, and comes back under another number.
    pub fn reopen(&mut self, who: usize) {
        self.memories[who] = Arc::new(self.memories[who].attach());
        self.handles[who] = H::open(self.memories[who].clone());
        assert!(!self.handles[who].created());
    }
}

/// An element that can be made from a number, so that different numbers make different elements
/// (as far as the size allows), and no byte is always the same.
pub trait Sample: Element + PartialEq + Debug {
    /// The element for a number.
    fn sample(number: u64) -> Self;
}

/// Mixes the bits of a number.
#[must_use]
pub fn scramble(number: u64) -> u64 {
    number.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x0123_4567_89ab_cdef
}

impl Sample for u8 {
    fn sample(number: u64) -> Self {
        number.to_le_bytes()[0]
    }
}

impl Sample for [u64; 3] {
    fn sample(number: u64) -> Self {
        [1, 2, 3].map(|part| scramble(number ^ part << 60))
    }
}

/// The form of a call.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "derive-arbitrary", derive(arbitrary::Arbitrary))]
pub enum Form {
    /// The call waits. The interpreters leave out a call that would wait for ever.
    Plain,
    /// The call does not wait.
    Try,
    /// The call waits no time at all.
    Timeout,
}

/// How a queue and its contents should be.
pub struct Model<I> {
    /// The items in the queue.
    pub items: VecDeque<I>,
    /// How many units fit.
    pub capacity: usize,
    /// Whether a holder has closed the queue.
    pub closed: bool,
    /// How many items were made: each put makes a new one.
    made: u64,
    units: fn(&I) -> usize,
}

impl<I> Model<I> {
    /// An empty queue, in which an item takes `units` of the capacity.
    pub fn new(capacity: usize, units: fn(&I) -> usize) -> Self {
        Self {
            items: VecDeque::new(),
            capacity,
            closed: false,
            made: 0,
            units,
        }
    }

    /// A new number.
    pub fn number(&mut self) -> u64 {
        self.made += 1;
        self.made
    }

    /// How many units the items take.
    pub fn used(&self) -> usize {
        self.items.iter().map(self.units).sum()
    }

    /// How many units are free.
    pub fn room(&self) -> usize {
        self.capacity - self.used()
    }

    /// Why a put of so many units fails, if it does. A plain call that would wait counts as failed.
    pub fn refuses_put(&self, units: usize, form: Form) -> Option<PutError> {
        match form {
            _ if self.closed => Some(PutError::Closed),
            _ if units <= self.room() => None,
            Form::Timeout => Some(PutError::TimedOut),
            Form::Try | Form::Plain => Some(PutError::Full),
        }
    }

    /// Why a get fails, if it does. A plain call that would wait counts as failed.
    pub fn refuses_get(&self, form: Form) -> Option<GetError> {
        match form {
            _ if !self.items.is_empty() => None,
            _ if self.closed => Some(GetError::Closed),
            Form::Timeout => Some(GetError::TimedOut),
            Form::Try | Form::Plain => Some(GetError::Empty),
        }
    }

    /// Gets one item.
    pub fn get(&mut self, form: Form) -> Result<I, GetError> {
        match self.refuses_get(form) {
            Some(refusal) => Err(refusal),
            None => Ok(self.items.pop_front().expect("a get is refused")),
        }
    }

    /// Looks at one item, and gets it if `takes`. Either way the result contains the item.
    pub fn take_with(&mut self, form: Form, takes: bool) -> Result<Result<I, I>, GetError>
    where
        I: Clone,
    {
        match takes {
            true => self.get(form).map(Ok),
            false => match self.refuses_get(form) {
                Some(refusal) => Err(refusal),
                None => Ok(Err(self.items[0].clone())),
            },
        }
    }

    /// Whether a get would wait for ever.
    pub fn would_get_wait(&self, form: Form) -> bool {
        form == Form::Plain && self.refuses_get(form) == Some(GetError::Empty)
    }

    /// Gets up to `most` items.
    pub fn get_some(&mut self, most: usize) -> Vec<I> {
        self.items.drain(..most.min(self.items.len())).collect()
    }
}

/// How a holder leaves an operation in the middle.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "derive-arbitrary", derive(arbitrary::Arbitrary))]
pub enum End {
    /// The holder dies.
    Death,
    /// The user's code panics.
    Panic,
}

impl End {
    /// Leaves the operation.
    pub fn come(self, memory: &HeapMemory) -> ! {
        match self {
            Self::Death => die(memory),
            // `panic!` would print a message, and its hook would end the fuzzer.
            Self::Panic => resume_unwind(Box::new(Quiet)),
        }
    }

    /// Runs `f`; returns `None` if a holder left it in the middle.
    pub fn catch<R>(f: impl FnOnce() -> R) -> Option<R> {
        match catch_unwind(AssertUnwindSafe(|| HeapMemory::until_death(f))) {
            Ok(result) => result,
            Err(payload) if payload.is::<Quiet>() => None,
            Err(payload) => resume_unwind(payload),
        }
    }
}

/// The payload of the user's panic.
struct Quiet;

/// Kills the holder.
pub fn die(memory: &HeapMemory) -> ! {
    // SAFETY: the interpreters and the properties use one thread for each memory, and no slice of a
    // guard, a reservation or a chunk outlives the unwinding.
    unsafe { memory.die() }
}

/// The holder takes the lock at `offset`, and dies with it.
pub fn die_holding(memory: &HeapMemory, offset: usize) {
    let died = HeapMemory::until_death(|| {
        let word = memory.base().as_ptr().wrapping_add(offset);
        // SAFETY: the body has a lock word at the offset, inside the memory and aligned; a lock word is
        // an atomic.
        let word = unsafe { &*word.cast::<LockWord>() };
        let holder = Holder {
            number: memory.number(),
            others: memory,
        };
        let patience = Wait::Until(Deadline::after(Duration::from_secs(60)));
        let guard = Lock::new(word, holder, LockId(9)).lock(patience);
        let _guard = guard.expect("no living holder has the lock");
        die(memory)
    });
    assert!(died.is_none());
}

thread_local! {
    static MAY_PANIC: Cell<bool> = const { Cell::new(false) };
}

/// Runs `f`; returns the message of a panic in it.
///
/// No hook sees the panic: libtest's would print it, and the fuzzer's would end the run.
pub fn message_of_panic<R>(f: impl FnOnce() -> R) -> Result<R, String> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let hook = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if !MAY_PANIC.get() {
                hook(info);
            }
        }));
    });
    MAY_PANIC.set(true);
    let result = catch_unwind(AssertUnwindSafe(f));
    MAY_PANIC.set(false);
    result.map_err(|payload| text_of(&*payload).expect("a message").to_owned())
}

fn text_of(payload: &(dyn Any + Send)) -> Option<&str> {
    let text = payload.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| payload.downcast_ref::<&str>().copied())
}
