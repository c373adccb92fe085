//! `Queue`'s operations, and chunks of its endpoints, against a `VecDeque`.

use super::{BODY, CONSUMERS, Crew, End, Form, Sample, die_holding, holders};
use shmkit::memory::HeapMemory;
use shmkit::{Consumer, GetError, Producer, PutAllError, PutError, Queue};
use std::iter::repeat_n;
use std::time::Duration;

/// How the queue should be.
pub type Model<T> = super::Model<T>;

/// One operation.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "derive-arbitrary", derive(arbitrary::Arbitrary))]
pub enum Op {
    /// Puts one item.
    Put(Form),
    /// `put_many` of so many items.
    PutMany(u8),
    /// `put_all` of so many items.
    PutAll(u8),
    /// `put_many_timeout` of so many items, which waits no time at all.
    PutManyTimeout(u8),
    /// `put_all_timeout` of so many items, which waits no time at all.
    PutAllTimeout(u8),
    /// `get_many_timeout` of up to so many items, which waits no time at all.
    GetManyTimeout(u8),
    /// Gets one item.
    Get(Form),
    /// `get_many` of up to so many items.
    GetMany(u8),
    /// Gets one item through a closure.
    GetWith(Form),
    /// Puts an item while the closure looks at another one, which still takes its room.
    PutInGetWith,
    /// Comes to an end while the closure looks at an item.
    EndInGetWith(End),
    /// Dies with the producers' lock.
    DieProducing,
    /// Dies with the consumers' lock.
    DieConsuming,
    /// Asks an endpoint for so many slots, and commits up to so many of them.
    WriteChunk(u8, u8),
    /// Comes to an end with so many slots of a chunk written.
    EndInWriteChunk(u8, End),
    /// Asks an endpoint for so many items, and releases up to so many of them.
    ReadChunk(u8, u8),
    /// Comes to an end with a chunk of so many items.
    EndInReadChunk(u8, End),
    /// Takes up to so many items from an iterator.
    TryIter(u8),
    /// Closes the queue.
    Close,
    /// Replaces the handle by a clone.
    Clone,
    /// Leaves, and comes back as another holder.
    Reopen,
    /// Looks at an item through a closure, and takes it if the closure says so.
    TakeWith(Form, bool),
}

impl<T: Sample> Model<T> {
    /// An empty queue for so many elements.
    pub fn of_elements(capacity: usize) -> Self {
        Self::new(capacity, |_| 1)
    }

    /// A new element.
    pub fn make(&mut self) -> T {
        T::sample(self.number())
    }

    /// Several new elements.
    pub fn make_many(&mut self, count: usize) -> Vec<T> {
        (0..count).map(|_| self.make()).collect()
    }

    /// Puts one element.
    pub fn put(&mut self, item: T, form: Form) -> Result<(), PutError> {
        match self.refuses_put(1, form) {
            Some(refusal) => Err(refusal),
            None => {
                self.items.push_back(item);
                Ok(())
            }
        }
    }

    /// Whether a put of one element would wait for ever.
    pub fn would_put_wait(&self, form: Form) -> bool {
        form == Form::Plain && self.refuses_put(1, form) == Some(PutError::Full)
    }

    /// Compares `put_many`, unless it would wait for ever.
    pub fn check_put_many(
        &mut self,
        count: usize,
        put_many: impl FnOnce(&[T]) -> Result<usize, PutError>,
    ) {
        if count > 0 && self.would_put_wait(Form::Plain) {
            return;
        }
        let items = self.make_many(count);
        let due = match self.closed && count > 0 {
            true => Err(PutError::Closed),
            false => Ok(count.min(self.room())),
        };
        assert_eq!(put_many(&items), due);
        self.items.extend(&items[..due.unwrap_or(0)]);
    }

    /// Compares `get_many`, unless it would wait for ever.
    pub fn check_get_many(
        &mut self,
        count: usize,
        get_many: impl FnOnce(&mut [T]) -> Result<usize, GetError>,
    ) {
        if count > 0 && self.would_get_wait(Form::Plain) {
            return;
        }
        let untouched = T::sample(u64::MAX);
        let mut out = vec![untouched; count];
        let got = get_many(&mut out);
        if self.items.is_empty() && count > 0 {
            assert_eq!(got, Err(GetError::Closed));
        } else {
            assert_eq!(got, Ok(count.min(self.items.len())));
        }
        let mut due = self.get_some(count);
        due.extend(repeat_n(untouched, count - due.len()));
        assert_eq!(out, due);
    }

    /// Asks the endpoint for `ask` slots, and commits up to `commit` of them.
    pub fn check_write_chunk(&mut self, tail: &mut Producer<T>, ask: usize, commit: usize) {
        let refusal = self.refuses_put(1, Form::Try).filter(|_| ask > 0);
        match tail.try_chunk(ask) {
            Err(error) => assert_eq!(Some(error), refusal),
            // The producer knew of room from before the close, so only the commit notices the close.
            Ok(chunk) if self.closed && ask > 0 => {
                assert_eq!(chunk.commit_all(), Err(PutError::Closed));
            }
            Ok(mut chunk) => {
                assert_eq!(chunk.len(), self.room().min(ask));
                let items = self.make_many(chunk.len());
                let slots = chunk.iter_mut().zip(&items);
                slots.for_each(|(slot, item)| *slot = *item);
                let count = chunk.len().min(commit);
                assert_eq!(chunk.commit(count), Ok(()));
                self.items.extend(&items[..count]);
            }
        }
    }

    /// Asks the endpoint for `ask` items, and releases up to `release` of them.
    pub fn check_read_chunk(&mut self, head: &mut Consumer<T>, ask: usize, release: usize) {
        let refusal = self.refuses_get(Form::Try).filter(|_| ask > 0);
        match head.try_chunk(ask) {
            Err(error) => assert_eq!(Some(error), refusal),
            Ok(chunk) => {
                assert_eq!(chunk.len(), self.items.len().min(ask));
                assert!(chunk.iter().eq(self.items.iter().take(ask)));
                let count = chunk.len().min(release);
                chunk.release(count);
                self.items.drain(..count);
            }
        }
    }
}

/// Runs operations of the holders on a queue.
pub fn run<T: Sample>(capacity: usize, ops: &[(usize, Op)]) {
    let memories = holders(capacity * size_of::<T>());
    let mut crew = Crew::new(memories, |memory| Queue::<T>::create_in(memory, capacity));
    let mut model = Model::of_elements(capacity);
    for &(who, op) in ops {
        match op {
            Op::Clone => crew.clone_handle(who),
            Op::Reopen => crew.reopen(who),
            _ => step(op, &crew.handles[who], &crew.memories[who], &mut model),
        }
        for queue in &crew.handles {
            assert_eq!(queue.len(), model.items.len(), "after {op:?}");
            assert_eq!(queue.is_empty(), model.items.is_empty());
            assert_eq!(queue.is_full(), model.room() == 0);
            assert_eq!(queue.capacity(), capacity);
            assert_eq!(queue.is_closed(), model.closed);
        }
    }
    let left: Vec<T> = crew.handles[0].try_iter().collect();
    assert_eq!(model.items, left);
}

fn step<T: Sample>(op: Op, queue: &Queue<T>, memory: &HeapMemory, model: &mut Model<T>) {
    const SOON: Duration = Duration::ZERO;
    match op {
        Op::Put(form) if model.would_put_wait(form) => {}
        Op::Put(form) => {
            let item = model.make();
            let put = match form {
                Form::Plain => queue.put(item),
                Form::Try => queue.try_put(item),
                Form::Timeout => queue.put_timeout(item, SOON),
            };
            assert_eq!(put, model.put(item, form));
        }
        Op::PutMany(count) => model.check_put_many(count.into(), |items| queue.put_many(items)),
        Op::PutAll(count) if !model.closed && usize::from(count) > model.room() => {}
        Op::PutAll(count) => {
            let items = model.make_many(count.into());
            let put = queue.put_all(&items);
            if model.closed && count > 0 {
                let source = PutError::Closed;
                assert_eq!(put, Err(PutAllError { put: 0, source }));
            } else {
                assert_eq!(put, Ok(()));
                model.items.extend(items);
            }
        }
        Op::PutManyTimeout(count) if count > 0 && model.would_put_wait(Form::Plain) => {
            let put = queue.put_many_timeout(&model.make_many(count.into()), SOON);
            assert_eq!(put, Err(PutError::TimedOut));
        }
        Op::PutManyTimeout(count) => {
            model.check_put_many(count.into(), |items| queue.put_many_timeout(items, SOON));
        }
        Op::PutAllTimeout(count) => {
            let items = model.make_many(count.into());
            let put = if model.closed {
                0
            } else {
                items.len().min(model.room())
            };
            let source = match model.closed {
                true => PutError::Closed,
                false => PutError::TimedOut,
            };
            let due = match put == items.len() {
                true => Ok(()),
                false => Err(PutAllError { put, source }),
            };
            assert_eq!(queue.put_all_timeout(&items, SOON), due);
            model.items.extend(&items[..put]);
        }
        Op::GetManyTimeout(count) if count > 0 && model.would_get_wait(Form::Plain) => {
            let mut out = vec![T::sample(0); count.into()];
            let got = queue.get_many_timeout(&mut out, SOON);
            assert_eq!(got, Err(GetError::TimedOut));
        }
        Op::GetManyTimeout(count) => {
            model.check_get_many(count.into(), |out| queue.get_many_timeout(out, SOON));
        }
        Op::Get(form) | Op::GetWith(form) | Op::TakeWith(form, _) if model.would_get_wait(form) => {
        }
        Op::Get(form) => {
            let got = match form {
                Form::Plain => queue.get(),
                Form::Try => queue.try_get(),
                Form::Timeout => queue.get_timeout(SOON),
            };
            assert_eq!(got, model.get(form));
        }
        Op::GetMany(count) => model.check_get_many(count.into(), |out| queue.get_many(out)),
        Op::GetWith(form) => {
            let look = |item: &T| (*item, queue.len());
            let got = match form {
                Form::Plain => queue.get_with(look),
                Form::Try => queue.try_get_with(look),
                Form::Timeout => queue.get_with_timeout(SOON, look),
            };
            let len = model.items.len();
            assert_eq!(got, model.get(form).map(|item| (item, len)));
        }
        Op::TakeWith(form, takes) => {
            let judge = |item: &T| {
                assert_eq!(queue.try_get(), Err(GetError::Busy));
                if takes { Ok(*item) } else { Err(*item) }
            };
            let got = match form {
                Form::Plain => queue.take_with(judge),
                Form::Try => queue.try_take_with(judge),
                Form::Timeout => queue.take_with_timeout(SOON, judge),
            };
            assert_eq!(got, model.take_with(form, takes));
        }
        Op::PutInGetWith if model.would_get_wait(Form::Plain) => {}
        Op::PutInGetWith => {
            let got = queue.get_with(|item| {
                let new = model.make();
                assert_eq!(queue.try_put(new), model.put(new, Form::Try));
                *item
            });
            assert_eq!(got, model.get(Form::Plain));
        }
        Op::EndInGetWith(_) if model.items.is_empty() => {}
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
        Op::DieProducing => die_holding(memory, BODY),
        Op::DieConsuming => die_holding(memory, CONSUMERS),
        Op::WriteChunk(ask, commit) => match queue.try_producer() {
            Err(error) => assert_eq!((error, model.closed), (PutError::Closed, true)),
            Ok(mut tail) => {
                assert_eq!(queue.try_put(T::sample(0)), Err(PutError::Busy));
                model.check_write_chunk(&mut tail, ask.into(), commit.into());
            }
        },
        Op::EndInWriteChunk(..) if model.closed => {}
        Op::EndInWriteChunk(ask, end) => {
            let ended = End::catch(|| {
                let mut tail = queue.try_producer().unwrap();
                let mut chunk = tail.try_chunk(ask.into());
                if let Ok(chunk) = &mut chunk {
                    chunk.iter_mut().for_each(|slot| *slot = T::sample(0));
                }
                end.come(memory)
            });
            assert!(ended.is_none());
        }
        Op::ReadChunk(ask, release) => match queue.try_consumer() {
            Err(error) => {
                let over = model.closed && model.items.is_empty();
                assert_eq!((error, over), (GetError::Closed, true));
            }
            Ok(mut head) => {
                assert_eq!(queue.try_get(), Err(GetError::Busy));
                model.check_read_chunk(&mut head, ask.into(), release.into());
            }
        },
        Op::EndInReadChunk(..) if model.items.is_empty() => {}
        Op::EndInReadChunk(ask, end) => {
            let ended = End::catch(|| {
                let mut head = queue.try_consumer().unwrap();
                let chunk = head.try_chunk(ask.into());
                if let Ok(chunk) = &chunk {
                    assert!(chunk.iter().eq(model.items.iter().take(ask.into())));
                }
                end.come(memory)
            });
            assert!(ended.is_none());
        }
        Op::TryIter(count) => {
            let got: Vec<T> = queue.try_iter().take(count.into()).collect();
            assert_eq!(got, model.get_some(count.into()));
        }
        Op::Close => {
            queue.close();
            model.closed = true;
        }
        Op::Clone | Op::Reopen => unreachable!("the caller replaces the handle"),
    }
}
