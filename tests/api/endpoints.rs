//! `Producer` and `Consumer`: the others at an owned side, slots and items in place, and the traces of a
//! dropped endpoint or chunk.

use crate::support::Name;
use crate::support::checks::{deadlocks, panic_of};
use crate::{LONG, watchdog};
use shmkit::{
    ByteQueue, Consumer, GetError, Producer, PutAllError, PutError, Queue, Value, WriteChunk,
};
use std::cell::RefCell;
use std::sync::Barrier;
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

const SHORT: Duration = Duration::from_millis(5);

/// A queue and both of its sides, in one value that can be moved.
struct Pipe {
    queue: Queue<u64>,
    into: Producer<u64>,
    out: Consumer<u64>,
}

impl Pipe {
    fn new(capacity: usize) -> Self {
        let queue = Queue::new(capacity).unwrap();
        Self {
            into: queue.producer().unwrap(),
            out: queue.consumer().unwrap(),
            queue,
        }
    }
}

#[test]
fn a_struct_may_own_a_queue_and_both_its_sides() {
    let _watchdog = watchdog("a struct of endpoints");
    let mut pipe = Box::new(Pipe::new(4));
    pipe.into.put_all(&[1, 2, 3]).unwrap();
    assert_eq!(pipe.into.put_many(&[4, 5]), Ok(1));
    assert_eq!(pipe.into.try_put(5), Err(PutError::Full));
    let full = pipe.into.put_timeout(5, SHORT);
    assert_eq!(full, Err(PutError::TimedOut));
    assert!(pipe.queue.is_full() && pipe.out.queue().is_full());

    assert_eq!(pipe.out.try_peek(), Ok(&1));
    assert_eq!((pipe.out.get(), pipe.queue.len()), (Ok(1), 3));
    let mut out = [0; 5];
    assert_eq!(pipe.out.get_many(&mut out), Ok(3));
    assert_eq!(out, [2, 3, 4, 0, 0]);
    assert_eq!(pipe.out.try_get(), Err(GetError::Empty));
    assert_eq!(pipe.out.try_peek(), Err(GetError::Empty));
    assert_eq!(pipe.out.get_timeout(SHORT), Err(GetError::TimedOut));
    assert_eq!(pipe.out.peek_timeout(SHORT), Err(GetError::TimedOut));

    // The queue's own handle may go first.
    let Pipe { queue, into, out } = *pipe;
    drop(queue);
    let (mut into, mut out) = (into, out);
    into.put(6).unwrap();
    assert_eq!(out.peek(), Ok(&6));
    assert_eq!(out.try_iter().collect::<Vec<_>>(), [6]);
    assert!(format!("{into:?} {out:?}").starts_with("Producer { queue: Queue"));
}

#[test]
fn empty_batches_and_chunks_do_nothing_and_never_wait() {
    let _watchdog = watchdog("empty chunks");
    let mut pipe = Pipe::new(1);
    assert_eq!(pipe.out.get_many(&mut []), Ok(0), "of an empty queue");
    let chunk = pipe.out.chunk(0).unwrap();
    assert!(chunk.is_empty() && chunk.iter().next().is_none());
    chunk.release_all();
    pipe.into.put(1).unwrap();
    assert_eq!(pipe.into.put_many(&[]), Ok(0), "into a full queue");
    assert_eq!(pipe.into.put_all(&[]), Ok(()));
    let mut chunk = pipe.into.chunk(0).unwrap();
    assert!(chunk.is_empty() && chunk.iter_mut().next().is_none());
    chunk.commit_all().unwrap();
    assert_eq!(pipe.queue.len(), 1);
}

#[test]
fn a_side_that_is_owned_is_busy_for_tries_and_keeps_others_waiting() {
    let _watchdog = watchdog("busy endpoints");
    let name = Name::new("owned");
    let queue = Queue::<u64>::create(&*name, 2).unwrap();
    let other = Queue::<u64>::open(&*name).unwrap();
    let (mut into, mut out) = (queue.producer().unwrap(), queue.consumer().unwrap());
    for handle in [&queue, &other] {
        assert_eq!(handle.try_put(1), Err(PutError::Busy));
        assert_eq!(handle.try_get(), Err(GetError::Busy));
        assert_eq!(handle.try_producer().unwrap_err(), PutError::Busy);
        assert_eq!(handle.try_consumer().unwrap_err(), GetError::Busy);
        assert_eq!(handle.try_iter().next(), None);
    }
    into.put(1).unwrap();
    let (put, got) = (channel(), channel());
    thread::scope(|scope| {
        scope.spawn(|| {
            assert_eq!(other.put_timeout(2, SHORT), Err(PutError::Busy));
            let taken = other.producer_timeout(SHORT);
            assert_eq!(taken.unwrap_err(), PutError::Busy);
            put.0.send(Ok(())).unwrap();
            put.0.send(other.put(2)).unwrap();
        });
        scope.spawn(|| {
            assert_eq!(other.get_timeout(SHORT), Err(GetError::Busy));
            let taken = other.consumer_timeout(SHORT);
            assert_eq!(taken.unwrap_err(), GetError::Busy);
            got.0.send(Ok(0)).unwrap();
            got.0.send(other.get()).unwrap();
        });
        assert_eq!(put.1.recv_timeout(LONG), Ok(Ok(())));
        assert_eq!(got.1.recv_timeout(LONG), Ok(Ok(0)));
        // Both wait by now, or soon will: for the owner, and not for items or room.
        assert!(put.1.recv_timeout(SHORT).is_err() && got.1.recv_timeout(SHORT).is_err());
        assert_eq!((out.try_get(), into.try_put(3)), (Ok(1), Ok(())));
        drop(into);
        assert_eq!(put.1.recv_timeout(LONG), Ok(Ok(())));
        drop(out);
        assert_eq!(got.1.recv_timeout(LONG), Ok(Ok(3)));
    });
    assert_eq!(queue.try_get(), Ok(2), "free again, and in order");
}

#[test]
fn an_endpoints_thread_panics_rather_than_waits_for_itself() {
    let _watchdog = watchdog("relocking an endpoint");
    let name = Name::new("relock-endpoint");
    let queue = Queue::<u64>::create(&*name, 2).unwrap();
    let other = Queue::<u64>::open(&*name).unwrap();
    queue.put(1).unwrap();
    let (mut into, mut out) = (queue.producer().unwrap(), queue.consumer().unwrap());
    deadlocks(|| other.put(2));
    deadlocks(|| other.put_timeout(2, LONG));
    deadlocks(|| other.producer());
    deadlocks(|| other.get());
    deadlocks(|| other.get_with(|_| ()));
    deadlocks(|| other.consumer());
    // The endpoints are as they were, and the thread's note of them goes with them.
    assert_eq!((into.put(3), out.get()), (Ok(()), Ok(1)));
    drop((into, out));
    assert_eq!((other.put(4), other.get()), (Ok(()), Ok(3)));
}

#[test]
fn chunks_wrap_and_take_no_more_than_there_is() {
    let _watchdog = watchdog("chunks");
    for turned in 0..12 {
        let mut pipe = Pipe::new(5);
        for _ in 0..turned {
            pipe.into.put(7).unwrap();
            pipe.out.get().unwrap();
        }
        let at = turned % 5;
        let mut chunk = pipe.into.chunk(9).unwrap();
        assert_eq!(chunk.len(), 5, "all the room there is");
        let (first, second) = chunk.as_mut_slices();
        assert_eq!((first.len(), second.len()), (5 - at, at));
        for (slot, item) in first.iter_mut().chain(second).zip(100..) {
            *slot = item;
        }
        assert!(pipe.queue.is_empty(), "unseen until the commit");
        chunk.commit(4).unwrap();
        assert_eq!(pipe.into.try_chunk(9).unwrap().len(), 1, "one was left");
        assert_eq!(pipe.queue.len(), 4);

        let chunk = pipe.out.chunk(3).unwrap();
        assert_eq!(chunk.iter().copied().collect::<Vec<_>>(), [100, 101, 102]);
        let (first, second) = chunk.as_slices();
        assert_eq!(first.len(), 3.min(5 - at));
        assert_eq!(second.len(), 3 - first.len());
        chunk.release(2);
        assert_eq!(pipe.out.try_chunk(9).unwrap().len(), 2, "two were left");
        assert_eq!(pipe.out.try_iter().collect::<Vec<_>>(), [102, 103]);
    }
}

/// A chunk of this length, with every slot written.
fn written_chunk(into: &mut Producer<u64>, len: usize) -> WriteChunk<'_, u64> {
    let mut chunk = into.chunk(len).unwrap();
    chunk.iter_mut().for_each(|slot| *slot = 77);
    chunk
}

#[test]
fn a_dropped_chunk_leaves_no_trace() {
    let _watchdog = watchdog("dropped chunks");
    let mut pipe = Pipe::new(3);
    pipe.into.put(1).unwrap();
    drop(written_chunk(&mut pipe.into, 2));
    written_chunk(&mut pipe.into, 2).commit(0).unwrap();
    assert_eq!(pipe.queue.len(), 1);
    pipe.into.put_all(&[2, 3]).unwrap();

    let chunk = pipe.out.chunk(3).unwrap();
    assert_eq!(chunk.iter().sum::<u64>(), 6);
    drop(chunk);
    pipe.out.chunk(2).unwrap().release(0);
    assert_eq!(pipe.out.peek(), Ok(&1));
    assert_eq!(pipe.into.try_put(4), Err(PutError::Full));
    // An endpoint that is dropped with a chunk written leaves none either.
    pipe.out.get().unwrap();
    drop(written_chunk(&mut pipe.into, 1));
    drop((pipe.into, pipe.out));
    assert_eq!(pipe.queue.try_iter().collect::<Vec<_>>(), [2, 3]);
}

#[test]
fn more_than_a_chunk_has_is_a_panic_that_changes_nothing() {
    let _watchdog = watchdog("beyond a chunk");
    let mut pipe = Pipe::new(2);
    let said = panic_of(|| pipe.into.chunk(2).unwrap().commit(3));
    let text = "expected at most 2 slots of the chunk to be committed, found 3";
    assert_eq!(said, text);
    pipe.into.put(1).unwrap();
    let said = panic_of(|| pipe.out.chunk(2).unwrap().release(2));
    let text = "expected at most 1 items of the chunk to be released, found 2";
    assert_eq!(said, text);
    assert_eq!((pipe.queue.len(), pipe.out.get()), (1, Ok(1)));
}

#[test]
fn a_close_is_heard_by_endpoints() {
    let _watchdog = watchdog("close");
    let mut pipe = Pipe::new(4);
    pipe.into.put(1).unwrap();
    let chunk = written_chunk(&mut pipe.into, 2);
    pipe.out.queue().close();
    assert_eq!(chunk.commit(2), Err(PutError::Closed), "written before it");
    assert_eq!(pipe.into.put(2), Err(PutError::Closed));
    assert_eq!(pipe.into.try_put(2), Err(PutError::Closed));
    assert_eq!(pipe.into.put_many(&[2]), Err(PutError::Closed));
    let source = PutError::Closed;
    assert_eq!(pipe.into.put_all(&[2]), Err(PutAllError { put: 0, source }));
    drop(pipe.into);
    assert_eq!(pipe.queue.producer().unwrap_err(), PutError::Closed);
    assert_eq!(pipe.out.iter().collect::<Vec<_>>(), [1]);
    assert_eq!(pipe.out.get(), Err(GetError::Closed));
    assert_eq!(pipe.out.peek(), Err(GetError::Closed));
    assert_eq!(pipe.out.chunk(2).unwrap_err(), GetError::Closed);
    assert_eq!(pipe.out.get_many(&mut [0]), Err(GetError::Closed));
    drop(pipe.out);
    assert_eq!(pipe.queue.consumer().unwrap_err(), GetError::Closed);
}

#[test]
fn a_close_wakes_endpoints_that_wait() {
    let _watchdog = watchdog("close wakes endpoints");
    let (full, empty) = (Queue::<u8>::new(1).unwrap(), Queue::<u8>::new(1).unwrap());
    full.put(1).unwrap();
    let ready = Barrier::new(3);
    thread::scope(|scope| {
        let putter = scope.spawn(|| {
            let mut into = full.producer().unwrap();
            ready.wait();
            into.put(2)
        });
        let getter = scope.spawn(|| {
            let mut out = empty.consumer().unwrap();
            ready.wait();
            out.get()
        });
        ready.wait();
        full.close();
        empty.close();
        assert_eq!(putter.join().unwrap(), Err(PutError::Closed));
        assert_eq!(getter.join().unwrap(), Err(GetError::Closed));
    });
    assert_eq!(full.get(), Ok(1));
}

/// Either side is an endpoint or plain, in a ring so small that both sleep often.
#[test]
fn endpoints_and_plain_calls_pass_everything_on() {
    const ITEMS: u64 = 4_000;
    let _watchdog = watchdog("a stream through endpoints");
    let setups = [
        (1, true, true),
        (3, true, false),
        (3, false, true),
        (64, true, true),
    ];
    for (capacity, owned_into, owned_out) in setups {
        let queue = Queue::<u64>::new(capacity).unwrap();
        let taken: Vec<u64> = thread::scope(|scope| {
            scope.spawn(|| {
                if owned_into {
                    let mut into = queue.producer().unwrap();
                    (0..ITEMS).for_each(|item| into.put(item).unwrap());
                } else {
                    (0..ITEMS).for_each(|item| queue.put(item).unwrap());
                }
                queue.close();
            });
            // The producer may be through before this is here to take.
            match owned_out {
                true => queue.consumer().unwrap().iter().collect(),
                false => queue.iter().collect(),
            }
        });
        assert!(taken.into_iter().eq(0..ITEMS));
    }
}

/// Producer and consumer pass chunks, of sizes that do not fit each other.
#[test]
fn chunks_pass_everything_on() {
    const ITEMS: u64 = 4_000;
    let _watchdog = watchdog("a stream of chunks");
    let queue = Queue::<u64>::new(12).unwrap();
    let taken: Vec<u64> = thread::scope(|scope| {
        scope.spawn(|| {
            let mut into = queue.producer().unwrap();
            let mut next = 0;
            while next < ITEMS {
                let mut chunk = into.chunk(7).unwrap();
                let mut count = 0;
                for (slot, item) in chunk.iter_mut().zip(next..ITEMS) {
                    *slot = item;
                    count += 1;
                }
                chunk.commit(count).unwrap();
                next += count as u64;
            }
            queue.close();
        });
        let mut out = queue.consumer().unwrap();
        let mut taken = Vec::new();
        while let Ok(chunk) = out.chunk(5) {
            taken.extend(chunk.iter());
            chunk.release_all();
        }
        taken
    });
    assert!(taken.into_iter().eq(0..ITEMS));
}

/// The thread's own notes may be gone before the endpoint is.
#[test]
fn an_endpoint_may_be_dropped_with_its_threads_locals() {
    thread_local! {
        static KEPT: RefCell<Option<Pipe>> = const { RefCell::new(None) };
    }
    let _watchdog = watchdog("endpoints in thread-locals");
    let queue = Queue::<u64>::new(2).unwrap();
    thread::scope(|scope| {
        scope.spawn(|| {
            // Registered first, so destroyed last, on most systems: after the notes.
            KEPT.with_borrow_mut(|kept| assert!(kept.is_none()));
            let (into, out) = (queue.producer().unwrap(), queue.consumer().unwrap());
            let queue = queue.clone();
            KEPT.set(Some(Pipe { queue, into, out }));
        });
    });
    let start = Instant::now();
    assert_eq!((queue.put(1), queue.get()), (Ok(()), Ok(1)));
    assert!(start.elapsed() < LONG);
}

/// A thread that waits for a side hears a close, whoever has the side and for however long.
#[test]
fn a_close_reaches_those_who_wait_for_an_owned_side() {
    let _watchdog = watchdog("a close beside endpoints");
    let queue = Queue::<u64>::new(2).unwrap();
    let bytes = ByteQueue::new(64).unwrap();
    let (mut into, out) = (queue.producer().unwrap(), queue.consumer().unwrap());
    let room = bytes.reserve(8).unwrap();
    thread::scope(|scope| {
        let put = scope.spawn(|| queue.put(1));
        let get = scope.spawn(|| queue.get());
        let message = scope.spawn(|| bytes.put(b"x"));
        queue.close();
        bytes.close();
        assert_eq!(put.join().unwrap(), Err(PutError::Closed));
        assert_eq!(get.join().unwrap(), Err(GetError::Closed));
        assert_eq!(message.join().unwrap(), Err(PutError::Closed));
    });
    assert_eq!(queue.try_put(1), Err(PutError::Closed));
    assert_eq!(queue.put_timeout(1, LONG), Err(PutError::Closed));
    assert_eq!(queue.try_get(), Err(GetError::Closed));
    assert_eq!(bytes.try_put(b"x"), Err(PutError::Closed));
    assert_eq!(into.put(1), Err(PutError::Closed));
    assert_eq!(room.commit(1), Err(PutError::Closed));
    drop(out);

    // The owner takes the items that are left, and the others wait for their turn.
    let queue = Queue::<u64>::new(2).unwrap();
    queue.put(7).unwrap();
    let mut out = queue.consumer().unwrap();
    queue.close();
    assert_eq!(queue.try_get(), Err(GetError::Busy));
    assert_eq!(out.get(), Ok(7));
    assert_eq!(queue.try_get(), Err(GetError::Closed));
}

/// A destructor makes a call after the thread's notes are gone, while another thread has the lock.
#[test]
fn a_contended_call_may_come_from_a_thread_locals_drop() {
    struct Last(RefCell<Option<Box<dyn FnOnce()>>>);
    impl Drop for Last {
        fn drop(&mut self) {
            if let Some(call) = self.0.take() {
                call();
            }
        }
    }
    thread_local! {
        static LAST: Last = const { Last(RefCell::new(None)) };
    }
    let _watchdog = watchdog("a call from a thread-local");
    let queue = Queue::<u64>::new(2).unwrap();
    let value = Value::new(0u64).unwrap();
    let _into = queue.producer().unwrap();
    let (queue, changed) = (queue.clone(), value.clone());
    let thread = thread::spawn(move || {
        // Registered first, so destroyed last, on most systems: after the notes, which `update` makes.
        LAST.with(|last| {
            *last.0.borrow_mut() = Some(Box::new(move || {
                let put = queue.put_timeout(1, Duration::from_millis(1));
                let in_time = put != Err(PutError::Busy);
                changed.update(|n| *n = 1 + u64::from(in_time));
            }));
        });
        Value::new(0u64).unwrap().update(|_| ());
    });
    thread.join().unwrap();
    assert_eq!(value.get(), 1);
}
