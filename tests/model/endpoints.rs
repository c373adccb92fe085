//! `Producer` and `Consumer` against a `VecDeque` and the knowledge who owns which side.

use crate::{
    Aligned, HOLDERS, OF_A_COPY, STEPS, Sample, Wide, config, copy_says, die, holders, until_panic,
    watchdog,
};
use proptest::collection::vec;
use proptest::prelude::*;
use shmkit::memory::HeapMemory;
use shmkit::{Consumer, GetError, Producer, PutError, Queue};
use std::collections::VecDeque;
use std::sync::Arc;

#[derive(Clone, Debug)]
enum Step {
    OwnTail,
    OwnHead,
    LetGoOfTail,
    LetGoOfHead,
    /// Through the endpoint, where the holder has it; else by the queue's own call.
    TryPut,
    TryGet,
    Put,
    Get,
    PutMany(usize),
    GetMany(usize),
    Peek,
    /// So many slots asked for, and so many of them committed at most.
    WriteChunk(usize, usize),
    ReadChunk(usize, usize),
    /// Drops its chunk with the slots written, in a panic.
    PanicInChunk,
    /// Dies, with all that it owns.
    Die,
    DieInChunk,
    Close,
}

fn steps() -> impl Strategy<Value = Vec<(usize, Step)>> {
    let many = || 0..9usize;
    let step = prop_oneof![
        8 => Just(Step::OwnTail),
        8 => Just(Step::OwnHead),
        2 => Just(Step::LetGoOfTail),
        2 => Just(Step::LetGoOfHead),
        8 => Just(Step::TryPut),
        6 => Just(Step::TryGet),
        8 => Just(Step::Put),
        6 => Just(Step::Get),
        4 => many().prop_map(Step::PutMany),
        4 => many().prop_map(Step::GetMany),
        4 => Just(Step::Peek),
        8 => (many(), many()).prop_map(|(ask, commit)| Step::WriteChunk(ask, commit)),
        8 => (many(), many()).prop_map(|(ask, release)| Step::ReadChunk(ask, release)),
        2 => Just(Step::PanicInChunk),
        2 => Just(Step::Die),
        2 => Just(Step::DieInChunk),
        1 => Just(Step::Close),
    ];
    let may_close = proptest::bool::weighted(0.25);
    (may_close, vec((0..HOLDERS, step), 1..STEPS)).prop_map(|(may_close, mut steps)| {
        steps.retain(|(_, step)| may_close || !matches!(step, Step::Close));
        steps
    })
}

struct Member<T: Sample> {
    queue: Queue<T>,
    tail: Option<Producer<T>>,
    head: Option<Consumer<T>>,
}

/// What the queue should be like.
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

    /// Why nothing can be put now.
    /// What a put is told beside an owner.
    fn busy_put(&self) -> PutError {
        if self.closed {
            PutError::Closed
        } else {
            PutError::Busy
        }
    }

    /// What a get is told beside an owner.
    fn busy_get(&self) -> GetError {
        if self.closed && self.items.is_empty() {
            GetError::Closed
        } else {
            GetError::Busy
        }
    }

    fn refuses_put(&self) -> Option<PutError> {
        match (self.closed, self.room()) {
            (true, _) => Some(PutError::Closed),
            (_, 0) => Some(PutError::Full),
            _ => None,
        }
    }

    fn refuses_get(&self) -> Option<GetError> {
        match (self.closed, self.items.len()) {
            (true, 0) => Some(GetError::Closed),
            (_, 0) => Some(GetError::Empty),
            _ => None,
        }
    }

    fn put(&mut self, item: T) -> Result<(), PutError> {
        match self.refuses_put() {
            Some(refusal) => Err(refusal),
            None => {
                self.items.push_back(item);
                Ok(())
            }
        }
    }

    fn get(&mut self) -> Result<T, GetError> {
        match self.refuses_get() {
            Some(refusal) => Err(refusal),
            None => Ok(self.items.pop_front().expect("not empty")),
        }
    }
}

/// What a dead holder leaves.
type Copies<T> = (Option<Producer<T>>, Option<Consumer<T>>);

struct Run<T: Sample> {
    members: Vec<Member<T>>,
    memories: Vec<Arc<HeapMemory>>,
    model: Model<T>,
    /// Endpoints whose holders are dead: dropped at the very end, when others own the sides.
    stale: Vec<Copies<T>>,
}

impl<T: Sample> Run<T> {
    fn new(capacity: usize) -> Self {
        let memories = holders(capacity * size_of::<T>());
        let members = memories.iter().enumerate().map(|(i, memory)| {
            let queue = match i {
                0 => Queue::create_in(memory.clone(), capacity).unwrap(),
                _ => Queue::open_in(memory.clone()).unwrap(),
            };
            Member {
                queue,
                tail: None,
                head: None,
            }
        });
        Self {
            members: members.collect(),
            memories,
            model: Model {
                items: VecDeque::new(),
                capacity,
                closed: false,
                made: 0,
            },
            stale: Vec::new(),
        }
    }

    fn tail_is_owned(&self) -> bool {
        self.members.iter().any(|member| member.tail.is_some())
    }

    fn head_is_owned(&self) -> bool {
        self.members.iter().any(|member| member.head.is_some())
    }

    /// The holder's death, however it came: what it owned is no more than a copy now.
    fn bury(&mut self, who: usize) {
        let member = &mut self.members[who];
        let (mut tail, mut head) = (member.tail.take(), member.head.take());
        if let Some(tail) = &mut tail {
            let text = copy_says(|| tail.try_put(T::sample(0)));
            assert!(text.contains(OF_A_COPY), "{text}");
        }
        if let Some(head) = &mut head {
            let text = copy_says(|| head.try_peek().copied());
            assert!(text.contains(OF_A_COPY), "{text}");
        }
        self.stale.push((tail, head));
    }

    fn take(&mut self, who: usize, step: &Step) {
        let (tail_is_owned, head_is_owned) = (self.tail_is_owned(), self.head_is_owned());
        let memory = Arc::clone(&self.memories[who]);
        let (member, model) = (&mut self.members[who], &mut self.model);
        match (step, &mut member.tail, &mut member.head) {
            (Step::OwnTail, ..) => match member.queue.try_producer() {
                Ok(tail) => {
                    assert!(!tail_is_owned && !model.closed);
                    member.tail = Some(tail);
                }
                Err(PutError::Closed) => assert!(model.closed),
                Err(other) => assert_eq!((other, tail_is_owned), (PutError::Busy, true)),
            },
            (Step::OwnHead, ..) => match member.queue.try_consumer() {
                Ok(head) => {
                    assert!(!head_is_owned);
                    member.head = Some(head);
                }
                Err(GetError::Closed) => {
                    assert!(model.closed && model.items.is_empty());
                }
                Err(other) => assert_eq!((other, head_is_owned), (GetError::Busy, true)),
            },
            (Step::LetGoOfTail, ..) => member.tail = None,
            (Step::LetGoOfHead, ..) => member.head = None,

            (Step::TryPut, Some(tail), _) => {
                let item = model.make();
                assert_eq!(tail.try_put(item), model.put(item));
            }
            (Step::TryPut, None, _) if tail_is_owned => {
                assert_eq!(member.queue.try_put(model.make()), Err(model.busy_put()));
            }
            (Step::TryPut, None, _) => {
                let item = model.make();
                assert_eq!(member.queue.try_put(item), model.put(item));
            }
            (Step::Put, Some(tail), _) if model.refuses_put() != Some(PutError::Full) => {
                let item = model.make();
                assert_eq!(tail.put(item), model.put(item));
            }
            (Step::PutMany(count), Some(tail), _)
                if *count == 0 || model.refuses_put() != Some(PutError::Full) =>
            {
                let items: Vec<T> = (0..*count).map(|_| model.make()).collect();
                let due = match model.refuses_put() {
                    Some(refusal) if *count > 0 => Err(refusal),
                    _ => Ok(model.room().min(*count)),
                };
                assert_eq!(tail.put_many(&items), due);
                model.items.extend(&items[..due.unwrap_or(0)]);
            }
            (Step::WriteChunk(ask, commit), Some(tail), _) => {
                let refusal = model.refuses_put().filter(|_| *ask > 0);
                match tail.try_chunk(*ask) {
                    Err(error) => assert_eq!(Some(error), refusal),
                    // A close is found at the commit, where the room was known before it.
                    Ok(chunk) if model.closed && *ask > 0 => {
                        assert_eq!(chunk.commit_all(), Err(PutError::Closed));
                    }
                    Ok(mut chunk) => {
                        // What the endpoint does not know yet it need not give, but it gives some.
                        assert_eq!(chunk.len(), model.room().min(*ask));
                        let items: Vec<T> = (0..chunk.len()).map(|_| model.make()).collect();
                        let slots = chunk.iter_mut().zip(&items);
                        slots.for_each(|(slot, item)| *slot = *item);
                        let count = chunk.len().min(*commit);
                        assert_eq!(chunk.commit(count), Ok(()));
                        model.items.extend(&items[..count]);
                    }
                }
            }

            (Step::TryGet, _, Some(head)) => assert_eq!(head.try_get(), model.get()),
            (Step::TryGet, _, None) if head_is_owned => {
                assert_eq!(member.queue.try_get(), Err(model.busy_get()));
            }
            (Step::TryGet, _, None) => assert_eq!(member.queue.try_get(), model.get()),
            (Step::Get, _, Some(head)) if model.refuses_get() != Some(GetError::Empty) => {
                assert_eq!(head.get(), model.get());
            }
            (Step::GetMany(count), _, Some(head))
                if *count == 0 || model.refuses_get() != Some(GetError::Empty) =>
            {
                let mut out = vec![T::sample(u64::MAX); *count];
                let due = match model.refuses_get() {
                    Some(refusal) if *count > 0 => Err(refusal),
                    _ => Ok(model.items.len().min(*count)),
                };
                assert_eq!(head.get_many(&mut out), due);
                let taken: Vec<T> = model.items.drain(..due.unwrap_or(0)).collect();
                assert_eq!(out[..taken.len()], taken);
            }
            (Step::Peek, _, Some(head)) => {
                let due = match model.refuses_get() {
                    Some(refusal) => Err(refusal),
                    None => Ok(&model.items[0]),
                };
                assert_eq!(head.try_peek(), due);
            }
            (Step::ReadChunk(ask, release), _, Some(head)) => {
                let refusal = model.refuses_get().filter(|_| *ask > 0);
                match head.try_chunk(*ask) {
                    Err(error) => assert_eq!(Some(error), refusal),
                    Ok(chunk) => {
                        assert_eq!(chunk.len(), model.items.len().min(*ask));
                        assert!(chunk.iter().eq(model.items.iter().take(*ask)));
                        let count = chunk.len().min(*release);
                        chunk.release(count);
                        model.items.drain(..count);
                    }
                }
            }

            (Step::PanicInChunk, Some(tail), _) => {
                let ended = until_panic(|| {
                    let mut chunk = tail.try_chunk(3);
                    if let Ok(chunk) = &mut chunk {
                        chunk.iter_mut().for_each(|slot| *slot = T::sample(0));
                    }
                    crate::panic_quietly()
                });
                assert!(ended.is_none());
            }
            (Step::DieInChunk, tail, head) => {
                let ended = HeapMemory::until_death(|| {
                    let mut slots = tail.as_mut().map(|tail| tail.try_chunk(3));
                    if let Some(Ok(chunk)) = &mut slots {
                        chunk.iter_mut().for_each(|slot| *slot = T::sample(0));
                    }
                    let _items = head.as_mut().map(|head| head.try_chunk(3));
                    die(&memory)
                });
                assert!(ended.is_none());
                self.bury(who);
            }
            (Step::Die, ..) => {
                assert!(HeapMemory::until_death(|| die(&memory)).is_none());
                self.bury(who);
            }
            (Step::Close, ..) => {
                member.queue.close();
                model.closed = true;
            }
            // Without an endpoint, or where it would wait for ever.
            _ => {}
        }
    }
}

fn run<T: Sample>(capacity: usize, steps: &[(usize, Step)]) {
    let mut run = Run::<T>::new(capacity);
    for (who, step) in steps {
        run.take(*who, step);
        for member in &run.members {
            assert_eq!(member.queue.len(), run.model.items.len(), "after {step:?}");
            assert_eq!(member.queue.is_closed(), run.model.closed);
        }
    }
    run.stale.clear();
    let owned = (run.tail_is_owned(), run.head_is_owned());
    let queue = run.members[0].queue.clone();
    if owned.0 {
        let put = queue.try_put(T::sample(0));
        assert_eq!(put, Err(run.model.busy_put()), "freed by a copy");
    }
    if owned.1 {
        let got = queue.try_get();
        assert_eq!(got, Err(run.model.busy_get()), "freed by a copy");
    }
    run.members.clear();
    let left: Vec<T> = queue.try_iter().collect();
    assert_eq!(run.model.items, left);
}

macro_rules! like_a_deque {
    ($($name:ident: $element:ty;)*) => {
        proptest! {
            #![proptest_config(config())]
            $(
                #[test]
                fn $name(capacity in 1..=9usize, steps in steps()) {
                    let _watchdog = watchdog(stringify!($name));
                    run::<$element>(capacity, &steps);
                }
            )*
        }
    };
}

like_a_deque! {
    endpoints_pass_words_like_a_deque: u64;
    endpoints_pass_three_bytes_like_a_deque: [u8; 3];
    endpoints_pass_structs_like_a_deque: Wide;
    endpoints_pass_aligned_structs_like_a_deque: Aligned;
}
