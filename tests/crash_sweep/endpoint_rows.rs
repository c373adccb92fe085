//! Rows of a queue's endpoints, and of operations after the death of an endpoint's owner.

use crate::contents::row;
use crate::queue_rows::{CLOSE, GET_1, Item, PUT_9, QueueRow, item};
use crate::row::Predecessor;
use crate::sleeper_rows::NOT_FULL;
use crate::step;
use shmkit::{PutError, Queue};

/// Takes an endpoint, puts item 9 through it, and gives it back.
fn own_and_put(queue: &Queue<Item>) -> bool {
    queue.producer().and_then(|mut side| side.put(item(9))) == Ok(())
}

fn own_and_find_full(queue: &Queue<Item>) -> bool {
    let put = queue.producer().and_then(|mut side| side.try_put(item(9)));
    put == Err(PutError::Full)
}

pub(crate) fn own_and_get(queue: &Queue<Item>) -> bool {
    queue.consumer().and_then(|mut side| side.get()) == Ok(item(1))
}

/// Writes items 8 and 9 in place, and puts `count` of them.
fn write_two(queue: &Queue<Item>, count: usize) -> bool {
    let Ok(mut side) = queue.producer() else {
        return false;
    };
    let Ok(mut chunk) = side.chunk(2) else {
        return false;
    };
    for (slot, number) in chunk.iter_mut().zip(8..) {
        *slot = item(number);
    }
    chunk.len() == 2 && chunk.commit(count).is_ok()
}

/// Reads items 1 and 2 in place, and takes `count` of them.
fn read_two(queue: &Queue<Item>, count: usize) -> bool {
    let Ok(mut side) = queue.consumer() else {
        return false;
    };
    let Ok(chunk) = side.chunk(2) else {
        return false;
    };
    let right = chunk.iter().eq(&[item(1), item(2)]);
    chunk.release(count);
    right
}

const DIE_WRITING: Predecessor<Queue<Item>> = Predecessor::by_itself(|queue| {
    let mut side = queue.producer().expect("nobody else's");
    let mut chunk = side.chunk(2).expect("room");
    chunk.iter_mut().for_each(|slot| *slot = item(7));
    step::die()
});

const DIE_READING: Predecessor<Queue<Item>> = Predecessor::by_itself(|queue| {
    let mut side = queue.consumer().expect("nobody else's");
    let chunk = side.chunk(2).expect("items");
    let _seen = chunk.iter().count();
    step::die()
});

/// Owns the producers' side, and dies as it falls asleep because the queue is full.
const DIE_WAITING: Predecessor<Queue<Item>> = Predecessor::when(
    |queue| {
        let put = queue.producer().and_then(|mut side| side.put(item(7)));
        put.is_ok()
    },
    |raw| raw.word(NOT_FULL) & 1 != 0,
);

pub(crate) fn rows() -> Vec<QueueRow> {
    let row = row::<Queue<Item>>;
    vec![
        row("Producer::put", own_and_put)
            .finds(&[1])
            .leaves(&[1, 9]),
        row("Producer::try_put, full", own_and_find_full).finds(&[1, 2, 3]),
        row("Producer::chunk, committed across the wrap", |queue| {
            write_two(queue, 2)
        })
        .turned(2)
        .finds(&[1])
        .leaves(&[1, 8, 9]),
        row("Producer::chunk, committed in part", |queue| {
            write_two(queue, 1)
        })
        .finds(&[1])
        .leaves(&[1, 8]),
        row("Producer::chunk, dropped", |queue| write_two(queue, 0)).finds(&[1]),
        row("Producer::put, closed in between", |queue| {
            let Ok(mut side) = queue.producer() else {
                return false;
            };
            queue.close();
            side.put(item(9)) == Err(PutError::Closed)
        })
        .finds(&[1])
        .leaves_closed(&[1]),
        row("Consumer::get", own_and_get)
            .finds(&[1, 2, 3])
            .leaves(&[2, 3]),
        row("Consumer::peek, then get", |queue| {
            let Ok(mut side) = queue.consumer() else {
                return false;
            };
            side.peek() == Ok(&item(1)) && side.get() == Ok(item(1))
        })
        .finds(&[1, 2])
        .leaves(&[2]),
        row("Consumer::chunk, released across the wrap", |queue| {
            read_two(queue, 2)
        })
        .turned(2)
        .finds(&[1, 2, 3])
        .leaves(&[3]),
        row("Consumer::chunk, released in part", |queue| {
            read_two(queue, 1)
        })
        .finds(&[1, 2])
        .leaves(&[2]),
        row("Consumer::chunk, dropped", |queue| read_two(queue, 0)).finds(&[1, 2]),
        row("Queue::put, after a death with a chunk", PUT_9)
            .finds(&[1])
            .after(DIE_WRITING)
            .leaves(&[1, 9]),
        row("Producer::put, after a death with a chunk", own_and_put)
            .finds(&[1])
            .after(DIE_WRITING)
            .leaves(&[1, 9]),
        row("Queue::get, after a death with a chunk", GET_1)
            .finds(&[1, 2])
            .after(DIE_READING)
            .leaves(&[2]),
        row("Consumer::get, after a death with a chunk", own_and_get)
            .finds(&[1, 2])
            .after(DIE_READING)
            .leaves(&[2]),
        row("Queue::get, a producer dead in its sleep", GET_1)
            .finds(&[1, 2, 3])
            .after(DIE_WAITING)
            .leaves(&[2, 3]),
        row(
            "Queue::producer, after one dead in its sleep",
            own_and_find_full,
        )
        .finds(&[1, 2, 3])
        .after(DIE_WAITING),
        row("Queue::close, a producer dead in its sleep", CLOSE)
            .finds(&[1, 2, 3])
            .after(DIE_WAITING)
            .leaves_closed(&[1, 2, 3]),
    ]
}
