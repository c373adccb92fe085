//! Rows of a queue's endpoints, and of those who come after one that died with an endpoint.

use crate::queue_rows::{BASE, GET_1, Item, PUT_9, QueueRow, item};
use crate::sleeper_rows::NOT_FULL;
use crate::step;
use crate::sweep::{Dies, Predecessor};
use shmkit::{PutError, Queue};

/// Puts item 9 through an endpoint that it takes and gives back.
fn own_and_put(queue: &Queue<Item>) -> bool {
    queue.producer().and_then(|mut side| side.put(item(9))) == Ok(())
}

fn own_and_get(queue: &Queue<Item>) -> bool {
    queue.consumer().and_then(|mut side| side.get()) == Ok(item(1))
}

/// Writes items 8 and 9 in place, and puts that many of them.
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

/// Reads items 1 and 2 in place, and takes that many of them.
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

const DIE_WRITING: Predecessor<Queue<Item>> = Predecessor {
    operate: |queue| {
        let mut side = queue.producer().expect("nobody else's");
        let mut chunk = side.chunk(2).expect("room");
        chunk.iter_mut().for_each(|slot| *slot = item(7));
        step::die()
    },
    dies: Dies::ByItself,
};

const DIE_READING: Predecessor<Queue<Item>> = Predecessor {
    operate: |queue| {
        let mut side = queue.consumer().expect("nobody else's");
        let chunk = side.chunk(2).expect("items");
        let _seen = chunk.iter().count();
        step::die()
    },
    dies: Dies::ByItself,
};

/// Dies as it falls asleep, for room, with the producers' side.
const DIE_WAITING: Predecessor<Queue<Item>> = Predecessor {
    operate: |queue| {
        let put = queue.producer().and_then(|mut side| side.put(item(7)));
        put.is_ok()
    },
    dies: Dies::When(|raw| raw.word(NOT_FULL) & 1 != 0),
};

pub(crate) const ROWS: &[QueueRow] = &[
    QueueRow {
        name: "Producer::put",
        items: &[1],
        operate: own_and_put,
        after: Some((&[1, 9], false)),
        ..BASE
    },
    QueueRow {
        name: "Producer::try_put, full",
        items: &[1, 2, 3],
        operate: |queue| {
            let put = queue.producer().and_then(|mut side| side.try_put(item(9)));
            put == Err(PutError::Full)
        },
        ..BASE
    },
    QueueRow {
        name: "Producer::chunk, committed across the wrap",
        turned: 2,
        items: &[1],
        operate: |queue| write_two(queue, 2),
        after: Some((&[1, 8, 9], false)),
        ..BASE
    },
    QueueRow {
        name: "Producer::chunk, committed in part",
        items: &[1],
        operate: |queue| write_two(queue, 1),
        after: Some((&[1, 8], false)),
        ..BASE
    },
    QueueRow {
        name: "Producer::chunk, dropped",
        items: &[1],
        operate: |queue| write_two(queue, 0),
        ..BASE
    },
    QueueRow {
        name: "Producer::put, closed in between",
        items: &[1],
        operate: |queue| {
            let Ok(mut side) = queue.producer() else {
                return false;
            };
            queue.close();
            side.put(item(9)) == Err(PutError::Closed)
        },
        after: Some((&[1], true)),
        ..BASE
    },
    QueueRow {
        name: "Consumer::get",
        items: &[1, 2, 3],
        operate: own_and_get,
        after: Some((&[2, 3], false)),
        ..BASE
    },
    QueueRow {
        name: "Consumer::peek, then get",
        items: &[1, 2],
        operate: |queue| {
            let Ok(mut side) = queue.consumer() else {
                return false;
            };
            side.peek() == Ok(&item(1)) && side.get() == Ok(item(1))
        },
        after: Some((&[2], false)),
        ..BASE
    },
    QueueRow {
        name: "Consumer::chunk, released across the wrap",
        turned: 2,
        items: &[1, 2, 3],
        operate: |queue| read_two(queue, 2),
        after: Some((&[3], false)),
        ..BASE
    },
    QueueRow {
        name: "Consumer::chunk, released in part",
        items: &[1, 2],
        operate: |queue| read_two(queue, 1),
        after: Some((&[2], false)),
        ..BASE
    },
    QueueRow {
        name: "Consumer::chunk, dropped",
        items: &[1, 2],
        operate: |queue| read_two(queue, 0),
        ..BASE
    },
    QueueRow {
        name: "Queue::put, after a death with a chunk",
        items: &[1],
        operate: PUT_9,
        predecessor: Some(DIE_WRITING),
        after: Some((&[1, 9], false)),
        ..BASE
    },
    QueueRow {
        name: "Producer::put, after a death with a chunk",
        items: &[1],
        operate: own_and_put,
        predecessor: Some(DIE_WRITING),
        after: Some((&[1, 9], false)),
        ..BASE
    },
    QueueRow {
        name: "Queue::get, after a death with a chunk",
        items: &[1, 2],
        operate: GET_1,
        predecessor: Some(DIE_READING),
        after: Some((&[2], false)),
        ..BASE
    },
    QueueRow {
        name: "Consumer::get, after a death with a chunk",
        items: &[1, 2],
        operate: own_and_get,
        predecessor: Some(DIE_READING),
        after: Some((&[2], false)),
        ..BASE
    },
    QueueRow {
        name: "Queue::get, a producer dead in its sleep",
        items: &[1, 2, 3],
        operate: GET_1,
        predecessor: Some(DIE_WAITING),
        after: Some((&[2, 3], false)),
        ..BASE
    },
    QueueRow {
        name: "Queue::producer, after one dead in its sleep",
        items: &[1, 2, 3],
        operate: |queue| {
            let put = queue.producer().and_then(|mut side| side.try_put(item(9)));
            put == Err(PutError::Full)
        },
        predecessor: Some(DIE_WAITING),
        ..BASE
    },
    QueueRow {
        name: "Queue::close, a producer dead in its sleep",
        items: &[1, 2, 3],
        operate: |queue| {
            queue.close();
            true
        },
        predecessor: Some(DIE_WAITING),
        after: Some((&[1, 2, 3], true)),
        ..BASE
    },
];
