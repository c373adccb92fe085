//! Messages between processes: whole, once and in order under load; a long one among short ones.

use crate::deliveries::{PRODUCERS, deliver, item, write_down};
use crate::sleeping::await_sleep;
use crate::support::{Kid, Name, Rng, start, until};
use crate::{Stage, turn};
use shmkit::{ByteQueue, GetError};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

const MESSAGES_EACH: u32 = 500_000;
const LONGEST: usize = 4096;
const CAPACITY: usize = 64 * 1024;

/// Messages of this length or more contain their producer and number; shorter ones are only counted.
const NUMBERED: usize = 8;

/// Messages are pieces of these bytes, so that comparing them is quick in any build.
fn pool() -> Vec<u8> {
    let mut rng = Rng::seeded(7);
    (0..2 * LONGEST)
        .map(|_| u8::try_from(rng.below(256)).expect("a byte"))
        .collect()
}

/// A message's length and beginning in the pool, which follow from its producer and number.
fn plan(producer: u32, number: u32) -> (usize, usize) {
    let mut rng = Rng::seeded(u64::from(producer) << 32 | u64::from(number) | 1 << 63);
    rng.below(2); // the first number hardly depends on the seed's low bits
    (rng.index(LONGEST + 1), rng.index(LONGEST))
}

/// Fills a message's bytes.
fn write(message: &mut [u8], pool: &[u8], producer: u32, number: u32) {
    let (len, begin) = plan(producer, number);
    assert_eq!(message.len(), len);
    message.copy_from_slice(&pool[begin..begin + len]);
    if let Some((head, _)) = message.split_first_chunk_mut::<NUMBERED>() {
        *head = item(producer.into(), number.into()).to_ne_bytes();
    } else {
        message.fill(u8::try_from(producer + 1).expect("small"));
    }
}

/// Asserts that a message is whole. Returns its record.
fn read(message: &[u8], pool: &[u8]) -> u64 {
    let Some((head, rest)) = message.split_first_chunk::<NUMBERED>() else {
        return short_id(message);
    };
    let id = u64::from_ne_bytes(*head);
    let [producer, number] = [id >> 32, id & 0xffff_ffff].map(|n| u32::try_from(n).expect("half"));
    let (len, begin) = plan(producer, number);
    assert_eq!(message.len(), len, "message {number} of {producer}");
    assert!(
        *rest == pool[begin + NUMBERED..begin + len],
        "{number} of {producer} is torn"
    );
    id
}

/// Role: puts its messages in order, every second one in place.
pub(crate) fn send(queue: &str, gate: &str, who: &str) {
    let who = who.parse().expect("a number");
    let queue = ByteQueue::open(queue).expect("open the queue");
    let (pool, mut buffer) = (pool(), vec![0; LONGEST]);
    Stage::open(gate).wait(1);
    for number in 0..MESSAGES_EACH {
        let (len, _) = plan(who, number);
        if number % 2 == 0 {
            write(&mut buffer[..len], &pool, who, number);
            queue.put(&buffer[..len]).expect("put");
        } else {
            let mut room = queue.reserve(len).expect("reserve");
            write(&mut room, &pool, who, number);
            room.commit(len).expect("commit");
        }
    }
}

/// Role: takes messages until the queue is closed, every second one in place, and writes their records down.
pub(crate) fn receive(queue: &str, gate: &str, file: &str) {
    let queue = ByteQueue::open(queue).expect("open the queue");
    let (pool, mut buffer) = (pool(), Vec::new());
    Stage::open(gate).wait(1);
    let ids = (0..).map_while(|turn| {
        let got = if turn % 2 == 0 {
            queue.get_with(|message| read(message, &pool))
        } else {
            queue.get_into(&mut buffer).map(|_| read(&buffer, &pool))
        };
        match got {
            Ok(id) => Some(id),
            Err(GetError::Closed) => None,
            Err(error) => panic!("{error}"),
        }
    });
    write_down(file, ids);
}

/// The record of a short message: its length, as if from producer 100 + its first byte.
fn short_id(message: &[u8]) -> u64 {
    let first = message.first().copied().unwrap_or(0);
    assert!(
        message.iter().all(|byte| *byte == first),
        "{message:?} is torn"
    );
    (100 + u64::from(first)) << 32 | message.len() as u64
}

#[test]
fn a_million_messages_arrive_whole_and_once_and_in_order() {
    let _turn = turn("a million messages");
    let name = Name::new("messages");
    let queue = ByteQueue::create(&*name, CAPACITY).expect("create the queue");
    let delivery = deliver(&name, "send", "receive", || queue.close());

    delivery.assert_order();
    // Each numbered message is due once, a short one as often as producers made its like.
    let mut due: BTreeMap<u64, u32> = BTreeMap::new();
    let mut bytes = 0;
    for producer in 0..PRODUCERS {
        let producer = u32::try_from(producer).expect("small");
        for number in 0..MESSAGES_EACH {
            let (len, _) = plan(producer, number);
            bytes += len;
            let id = match len {
                NUMBERED.. => item(producer.into(), number.into()),
                _ => {
                    let fill = u8::try_from(producer + 1).expect("small");
                    short_id(&vec![fill; len])
                }
            };
            *due.entry(id).or_default() += 1;
        }
    }
    for id in delivery.items() {
        let left = due.get_mut(&id).expect("a message that nobody put");
        assert!(*left > 0, "{id:#x} arrived too often");
        *left -= 1;
    }
    assert!(due.values().all(|left| *left == 0), "a message is missing");
    let (shares, took) = (delivery.shares(), delivery.took);
    println!(
        "{PRODUCERS} producers x {MESSAGES_EACH} messages, {} MiB: each whole, once, in order; \
         consumers got {shares:?} in {took:?}",
        bytes >> 20
    );
}

/// Role: puts one message of that length.
pub(crate) fn post(queue: &str, stage: &str, len: &str) {
    let queue = ByteQueue::open(queue).expect("open the queue");
    let stage = Stage::open(stage);
    stage.add();
    let message = vec![1; len.parse().expect("a number")];
    queue.put(&message).expect("put");
    stage.add();
}

#[test]
fn one_get_wakes_all_who_may_fit_now() {
    const ROUNDS: usize = 5;
    let _turn = turn("one get wakes all who fit");
    let mut times = Vec::new();
    for _ in 0..ROUNDS {
        let (name, at) = (Name::new("full"), Stage::new());
        let queue = ByteQueue::create(&*name, 256).expect("create the queue");
        queue.put(&[2; 248]).expect("put");
        let kids = [(); 4].map(|()| start("post", &[&name, at.name(), "56"]));
        at.wait(4);
        kids.iter().for_each(await_sleep);
        let began = Instant::now();
        assert_eq!(queue.try_get().expect("the long one").len(), 248);
        at.wait(8);
        times.push(began.elapsed());
        kids.into_iter().for_each(Kid::finish);
        assert_eq!(queue.used(), 256);
    }
    times.sort();
    println!("4 sleepers woken by one get within {times:?}");
    // No sleeper waited for the end of its nap of 100 ms, which began a moment before the get.
    assert!(times[ROUNDS / 2] < Duration::from_millis(50), "{times:?}");
}

const SHORT: usize = 200;
const LONG: usize = 60 * 1024;

/// Role: puts short messages during stage 1, and then says that it pauses.
pub(crate) fn chatter(queue: &str, go: &str, paused: &str) {
    let queue = ByteQueue::open(queue).expect("open the queue");
    let (go, paused) = (Stage::open(go), Stage::open(paused));
    while go.now() == 1 {
        queue.put(&[1; SHORT]).expect("put a short one");
    }
    paused.add();
}

/// Role: puts one long message.
pub(crate) fn declaim(queue: &str, stage: &str) {
    let queue = ByteQueue::open(queue).expect("open the queue");
    let stage = Stage::open(stage);
    stage.reach(1);
    queue.put(&[2; LONG]).expect("put the long one");
    stage.reach(2);
}

#[test]
fn a_long_message_gets_in_once_short_ones_pause() {
    let _turn = turn("a long message among short ones");
    let name = Name::new("queue");
    let queue = ByteQueue::create(&*name, CAPACITY).expect("create the queue");
    let (go, paused, long) = (Stage::new(), Stage::new(), Stage::new());
    go.reach(1);
    let chatters = [(); 2].map(|()| start("chatter", &[&name, go.name(), paused.name()]));
    let await_full = || until("a full queue", || queue.used() + SHORT + 16 > CAPACITY);
    await_full();
    let declaimer = start("declaim", &[&name, long.name()]);
    long.wait(1);
    await_sleep(&declaimer);

    // While each message is taken from a full queue, the long one finds no room and waits on.
    let (mut shorts, mut longs) = (0, 0);
    let mut take = |message: Result<Vec<u8>, GetError>| {
        let message = message.expect("a message, of whichever length");
        match message.len() {
            SHORT => shorts += 1,
            LONG => longs += 1,
            other => panic!("a message of {other} bytes"),
        }
        assert!(message.iter().all(|byte| *byte == message[0]), "torn");
        longs
    };
    for _ in 0..1000 {
        await_full();
        take(queue.get_timeout(Duration::from_secs(30)));
    }
    assert_eq!(long.now(), 1, "it got in where there was no room for it");
    go.reach(2);
    let paused_at = Instant::now();
    // The producers of short messages may be waiting in a put. Takes let them end, and the long message in;
    // nothing tells which message is the last.
    let mut longs_taken = 0;
    until("the long message, and everybody's end", || {
        match queue.try_get() {
            Err(GetError::Empty | GetError::Busy) => {}
            got => longs_taken = take(got),
        }
        paused.now() == 2 && longs_taken == 1 && queue.is_empty()
    });
    let took = paused_at.elapsed();
    long.wait(2);
    declaimer.finish();
    chatters.into_iter().for_each(Kid::finish);
    println!(
        "{took:?} after two producers of short messages were told to pause, the long one was there, \
         behind {shorts} of theirs"
    );
    assert_eq!(longs, 1);
}
