//! The family of the three queues. A row says by number which items its operation finds, and which it
//! leaves.

use crate::row::{Family, First, Outcome, Row, succeed, text, timed};
use crate::step::Raw;
use shmkit::{GetError, PutError};
use std::marker::PhantomData;

/// The offsets of the words of a ring from the begin of the control words.
pub(crate) const PRODUCERS: u64 = 0;
pub(crate) const TAIL: u64 = 8;
pub(crate) const CONSUMERS: u64 = 128;
pub(crate) const HEAD: u64 = 136;

/// A queue whose items follow from their numbers, so that a torn item is found.
pub(crate) trait Numbered: Sized {
    fn create(name: &str) -> shmkit::Result<Self>;

    fn open(name: &str) -> shmkit::Result<Self>;

    fn put_number(&self, number: u64) -> Result<(), PutError>;

    /// Puts and takes an item that no row has, so that the next item begins further on in the ring.
    fn turn(&self, count: u64) -> Result<(), String> {
        Err(format!("turn {count}: no row asks for it"))
    }

    fn close(&self);

    /// The survivors put an item of their own behind the others if they can, and take all. Returns the items
    /// that were there before, and whether the queue is closed.
    fn look(survivors: [&Self; 2]) -> Result<(Vec<u64>, bool), String>;

    /// The survivors use the queue, which is empty by now, as if nobody had died.
    fn use_on(survivors: [&Self; 2], closed: bool) -> Result<(), String>;
}

/// The items in a queue, by number, and whether the queue is closed.
type State = (&'static [u64], bool);

/// The contents of a queue before the operation, and after it.
pub(crate) struct Contents<Q> {
    /// How many items went through the ring before, so that the others begin further on.
    turned: u64,
    /// The items that a predecessor finds, if it leaves others.
    prepared: Option<&'static [u64]>,
    before: State,
    /// `None` where the operation changes nothing.
    after: Option<State>,
    queue: PhantomData<Q>,
}

/// A row in which the operation finds an empty queue, and changes nothing.
pub(crate) fn row<Q: Numbered>(name: &'static str, operate: fn(&Q) -> bool) -> Row<Contents<Q>> {
    let contents = Contents {
        turned: 0,
        prepared: None,
        before: (&[], false),
        after: None,
        queue: PhantomData,
    };
    Row::new(name, operate, contents)
}

impl<Q: Numbered> Row<Contents<Q>> {
    pub(crate) fn turned(mut self, count: u64) -> Self {
        self.family.turned = count;
        self
    }

    pub(crate) fn prepared(mut self, items: &'static [u64]) -> Self {
        self.family.prepared = Some(items);
        self
    }

    pub(crate) fn finds(mut self, items: &'static [u64]) -> Self {
        self.family.before = (items, false);
        self
    }

    pub(crate) fn finds_closed(mut self, items: &'static [u64]) -> Self {
        self.family.before = (items, true);
        self
    }

    pub(crate) fn leaves(mut self, items: &'static [u64]) -> Self {
        self.family.after = Some((items, false));
        self
    }

    pub(crate) fn leaves_closed(mut self, items: &'static [u64]) -> Self {
        self.family.after = Some((items, true));
        self
    }
}

/// Creates a queue with these items.
pub(crate) fn filled<Q: Numbered>(name: &str, turned: u64, items: &[u64]) -> Result<Q, String> {
    let queue = Q::create(name).map_err(text)?;
    for count in 0..turned {
        queue.turn(count)?;
    }
    for number in items {
        queue.put_number(*number).map_err(text)?;
    }
    Ok(queue)
}

/// Whether a put has committed to `tail`, and not unlocked yet. Some machines commit and unlock in one
/// step unless a sleeper has to be woken, so this function pretends that somebody sleeps.
pub(crate) fn at_commit_of_put(raw: &Raw, tail: u64) -> bool {
    raw.mark_sleeper(PRODUCERS);
    raw.word(PRODUCERS) != 0 && raw.word(TAIL) == tail
}

/// The survivors take items in turn until there is none. Returns the numbers.
pub(crate) fn take_all<Q, T>(
    survivors: [&Q; 2],
    try_get: fn(&Q) -> Result<T, GetError>,
    number_of: fn(T) -> Result<u64, String>,
) -> Result<Vec<u64>, String> {
    let mut numbers = Vec::new();
    for survivor in survivors.into_iter().cycle() {
        match timed("get", || try_get(survivor))? {
            Ok(found) => numbers.push(number_of(found)?),
            Err(GetError::Empty) => break,
            Err(error) => return Err(format!("a survivor's get: {error}")),
        }
    }
    Ok(numbers)
}

impl<Q: Numbered> Family for Contents<Q> {
    type Handle = Q;
    const LOCKS: &'static [u64] = &[PRODUCERS, CONSUMERS];

    fn commits(&self) -> bool {
        self.after.is_some()
    }

    fn prepare(&self, name: &str) -> Result<Q, String> {
        let (items, closed) = self.before;
        let queue: Q = filled(name, self.turned, self.prepared.unwrap_or(items))?;
        if closed {
            queue.close();
        }
        Ok(queue)
    }

    fn judge(&self, attached: Q, name: &str, first: First) -> Result<Outcome, String> {
        let newcomer = succeed("open", || Q::open(name))?;
        let survivors = first.order(&attached, &newcomer);
        let (items, closed) = Q::look(survivors)?;
        let outcome = match (&*items, closed) {
            found if found == self.before => Outcome::Before,
            found if Some(found) == self.after => Outcome::After,
            found => return Err(format!("a state that is none (items, closed): {found:?}")),
        };
        Q::use_on(survivors, closed)?;
        Ok(outcome)
    }
}
