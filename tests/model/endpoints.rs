//! `Producer` and `Consumer` against a `VecDeque` and a record of who owns which side.

use crate::ops::queue::Model;
use crate::ops::{Crew, End, Form, Sample, die, holders, message_of_panic};
use crate::{Aligned, Wide, properties};
use proptest::prelude::*;
use shmkit::memory::HeapMemory;
use shmkit::{Consumer, GetError, Producer, PutError, Queue};
use std::sync::Arc;

#[derive(Clone, Copy, Debug)]
enum Step {
    OwnTail,
    OwnHead,
    LetGoOfTail,
    LetGoOfHead,
    /// Puts through the endpoint if the holder has it, and through the queue if not.
    TryPut,
    /// Gets through the endpoint if the holder has it, and through the queue if not.
    TryGet,
    Put,
    Get,
    PutMany(usize),
    GetMany(usize),
    Peek,
    /// Asks for so many slots, and commits up to so many of them.
    WriteChunk(usize, usize),
    /// Asks for so many items, and releases up to so many of them.
    ReadChunk(usize, usize),
    /// Writes the slots of a chunk, and panics.
    PanicInChunk,
    /// Dies with its endpoints.
    Die,
    /// Dies with its endpoints and a chunk of each.
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
    crate::steps(step, |step| matches!(step, Step::Close))
}

struct Member<T: Sample> {
    queue: Queue<T>,
    tail: Option<Producer<T>>,
    head: Option<Consumer<T>>,
}

/// The refusal of a put through the queue while an endpoint has the side.
fn busy_put<T>(model: &Model<T>) -> PutError {
    match model.closed {
        true => PutError::Closed,
        false => PutError::Busy,
    }
}

/// The refusal of a get through the queue while an endpoint has the side.
fn busy_get<T>(model: &Model<T>) -> GetError {
    match model.closed && model.items.is_empty() {
        true => GetError::Closed,
        false => GetError::Busy,
    }
}

/// A dead holder's endpoints.
type Copies<T> = (Option<Producer<T>>, Option<Consumer<T>>);

struct Run<T: Sample> {
    members: Vec<Member<T>>,
    memories: Vec<Arc<HeapMemory>>,
    model: Model<T>,
    /// The dead holders' endpoints. They are dropped at the very end, when others own the sides.
    stale: Vec<Copies<T>>,
}

impl<T: Sample> Run<T> {
    fn new(capacity: usize) -> Self {
        let memories = holders(capacity * size_of::<T>());
        let crew = Crew::new(memories, |memory| Queue::create_in(memory, capacity));
        let member = |queue| Member {
            queue,
            tail: None,
            head: None,
        };
        Self {
            members: crew.handles.into_iter().map(member).collect(),
            memories: crew.memories,
            model: Model::of_elements(capacity),
            stale: Vec::new(),
        }
    }

    fn tail_is_owned(&self) -> bool {
        self.members.iter().any(|member| member.tail.is_some())
    }

    fn head_is_owned(&self) -> bool {
        self.members.iter().any(|member| member.head.is_some())
    }

    /// Takes a dead holder's endpoints away. Each refuses all use, because its owner is another holder.
    fn bury(&mut self, who: usize) {
        const OF_A_COPY: &str = "the endpoint is its parent's";
        let member = &mut self.members[who];
        let (mut tail, mut head) = (member.tail.take(), member.head.take());
        if let Some(tail) = &mut tail {
            let text = message_of_panic(|| tail.try_put(T::sample(0))).unwrap_err();
            assert!(text.contains(OF_A_COPY), "{text}");
        }
        if let Some(head) = &mut head {
            let text = message_of_panic(|| head.try_peek().copied()).unwrap_err();
            assert!(text.contains(OF_A_COPY), "{text}");
        }
        self.stale.push((tail, head));
    }

    fn take(&mut self, who: usize, step: Step) {
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
                assert_eq!(tail.try_put(item), model.put(item, Form::Try));
            }
            (Step::TryPut, None, _) if tail_is_owned => {
                assert_eq!(member.queue.try_put(model.make()), Err(busy_put(model)));
            }
            (Step::TryPut, None, _) => {
                let item = model.make();
                assert_eq!(member.queue.try_put(item), model.put(item, Form::Try));
            }
            (Step::Put, Some(tail), _) if !model.would_put_wait(Form::Plain) => {
                let item = model.make();
                assert_eq!(tail.put(item), model.put(item, Form::Plain));
            }
            (Step::PutMany(count), Some(tail), _) => {
                model.check_put_many(count, |items| tail.put_many(items));
            }
            (Step::WriteChunk(ask, commit), Some(tail), _) => {
                model.check_write_chunk(tail, ask, commit);
            }

            (Step::TryGet, _, Some(head)) => assert_eq!(head.try_get(), model.get(Form::Try)),
            (Step::TryGet, _, None) if head_is_owned => {
                assert_eq!(member.queue.try_get(), Err(busy_get(model)));
            }
            (Step::TryGet, _, None) => {
                assert_eq!(member.queue.try_get(), model.get(Form::Try));
            }
            (Step::Get, _, Some(head)) if !model.would_get_wait(Form::Plain) => {
                assert_eq!(head.get(), model.get(Form::Plain));
            }
            (Step::GetMany(count), _, Some(head)) => {
                model.check_get_many(count, |out| head.get_many(out));
            }
            (Step::Peek, _, Some(head)) => {
                let due = match model.refuses_get(Form::Try) {
                    Some(refusal) => Err(refusal),
                    None => Ok(&model.items[0]),
                };
                assert_eq!(head.try_peek(), due);
            }
            (Step::ReadChunk(ask, release), _, Some(head)) => {
                model.check_read_chunk(head, ask, release);
            }

            (Step::PanicInChunk, Some(tail), _) => {
                let ended = End::catch(|| {
                    let mut chunk = tail.try_chunk(3);
                    if let Ok(chunk) = &mut chunk {
                        chunk.iter_mut().for_each(|slot| *slot = T::sample(0));
                    }
                    End::Panic.come(&memory)
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
            // The step needs an endpoint that the holder does not have, or would wait for ever.
            _ => {}
        }
    }
}

fn run<T: Sample>((capacity, steps): (usize, Vec<(usize, Step)>)) {
    let mut run = Run::<T>::new(capacity);
    for (who, step) in steps {
        run.take(who, step);
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
        assert_eq!(put, Err(busy_put(&run.model)), "freed by a copy");
    }
    if owned.1 {
        let got = queue.try_get();
        assert_eq!(got, Err(busy_get(&run.model)), "freed by a copy");
    }
    run.members.clear();
    let left: Vec<T> = queue.try_iter().collect();
    assert_eq!(run.model.items, left);
}

properties! {
    run, (1..=9usize, steps());
    endpoints_pass_words_like_a_deque: u64;
    endpoints_pass_three_bytes_like_a_deque: [u8; 3];
    endpoints_pass_structs_like_a_deque: Wide;
    endpoints_pass_aligned_structs_like_a_deque: Aligned;
}
