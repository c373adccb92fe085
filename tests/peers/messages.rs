//! Messages between processes: whole, once and in order under load; a long one among short ones.

use crate::board::{Rng, poll};
use crate::sleeping::await_sleep;
use crate::support::{Kid, Name, start};
use crate::{Stage, turn};
use shmkit::{ByteQueue, GetError};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Read, Write};
use std::time::{Duration, Instant};

const PRODUCERS: usize = 2;
const CONSUMERS: usize = 2;
const MESSAGES_EACH: u32 = 500_000;
const LONGEST: usize = 4096;
const CAPACITY: usize = 64 * 1024;

/// From here on a message says which one it is; shorter ones are only counted.
const NUMBERED: usize = 8;

/// Bytes that messages are pieces of, so that comparing them is quick in any build.
fn pool() -> Vec<u8> {
    let mut rng = Rng::seeded(7);
    (0..2 * LONGEST)
        .map(|_| u8::try_from(rng.below(256)).expect("a byte"))
        .collect()
}

/// What follows from a message's producer and number: its length, and where in the pool it begins.
fn plan(producer: u32, number: u32) -> (usize, usize) {
    let mut rng = Rng::seeded(u64::from(producer) << 32 | u64::from(number) | 1 << 63);
    rng.below(2); // the first one hardly depends on the seed's low bits
    let len = rng.below(LONGEST as u64 + 1);
    let begin = rng.below(LONGEST as u64);
    let small = |number| usize::try_from(number).expect("small");
    (small(len), small(begin))
}

/// Writes the message to as many bytes as it has.
fn write(message: &mut [u8], pool: &[u8], producer: u32, number: u32) {
    let (len, begin) = plan(producer, number);
    assert_eq!(message.len(), len);
    message.copy_from_slice(&pool[begin..begin + len]);
    if let Some((head, _)) = message.split_first_chunk_mut::<NUMBERED>() {
        *head = (u64::from(producer) << 32 | u64::from(number)).to_ne_bytes();
    } else {
        message.fill(u8::try_from(producer + 1).expect("small"));
    }
}

/// Checks that a message is whole. Which one it is; of a short one, only its bytes tell.
fn read(message: &[u8], pool: &[u8]) -> Result<u64, Vec<u8>> {
    let Some((head, rest)) = message.split_first_chunk::<NUMBERED>() else {
        return Err(message.to_vec());
    };
    let id = u64::from_ne_bytes(*head);
    let [producer, number] = [id >> 32, id & 0xffff_ffff].map(|n| u32::try_from(n).expect("half"));
    let (len, begin) = plan(producer, number);
    assert_eq!(message.len(), len, "message {number} of {producer}");
    assert!(
        *rest == pool[begin + NUMBERED..begin + len],
        "{number} of {producer} is torn"
    );
    Ok(id)
}

/// Role: puts its messages in order, every second one in place.
pub(crate) fn send(args: &[&str]) {
    let [queue, gate, who] = args else {
        panic!("wrong arguments")
    };
    let who = who.parse().expect("a number");
    let queue = ByteQueue::open(*queue).expect("open the queue");
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

/// Role: writes which messages it got to a file, in the order it got them; every second one is read
/// in place. A short one is written with its length as if it were producer 100 + its first byte.
pub(crate) fn receive(args: &[&str]) {
    let [queue, gate, file] = args else {
        panic!("wrong arguments")
    };
    let queue = ByteQueue::open(*queue).expect("open the queue");
    let mut file = BufWriter::new(File::create(file).expect("create the output"));
    let (pool, mut buffer) = (pool(), Vec::new());
    Stage::open(gate).wait(1);
    for turn in 0.. {
        let got = if turn % 2 == 0 {
            queue.get_with(|message| read(message, &pool))
        } else {
            queue.get_into(&mut buffer).map(|_| read(&buffer, &pool))
        };
        let id = match got {
            Ok(Ok(id)) => id,
            Ok(Err(short)) => short_id(&short),
            Err(GetError::Closed) => break,
            Err(error) => panic!("{error}"),
        };
        file.write_all(&id.to_ne_bytes()).expect("write");
    }
    file.flush().expect("write");
}

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
    let (name, gate) = (Name::new("messages"), Name::new("gate"));
    let folder = tempfile::tempdir().expect("a temporary folder");
    let queue = ByteQueue::create(&*name, CAPACITY).expect("create the queue");
    let open = Stage::create(&gate);
    let output = |who: usize| folder.path().join(format!("got-{who}"));
    let consumers: Vec<Kid> = (0..CONSUMERS)
        .map(|who| {
            let file = output(who);
            start("receive", &[&name, &gate, file.to_str().expect("plain")])
        })
        .collect();
    let producers: Vec<Kid> = (0..PRODUCERS)
        .map(|who| start("send", &[&name, &gate, &who.to_string()]))
        .collect();
    let began = Instant::now();
    open.reach(1);
    for kid in producers {
        kid.finish();
    }
    queue.close();
    for kid in consumers {
        kid.finish();
    }
    let took = began.elapsed();

    // What is due: the numbered ones once each, the short ones as often as they were made.
    let mut due: BTreeMap<u64, u32> = BTreeMap::new();
    let mut bytes = 0;
    for producer in 0..PRODUCERS {
        let producer = u32::try_from(producer).expect("small");
        for number in 0..MESSAGES_EACH {
            let (len, _) = plan(producer, number);
            bytes += len;
            let id = match len {
                NUMBERED.. => u64::from(producer) << 32 | u64::from(number),
                _ => {
                    let fill = u8::try_from(producer + 1).expect("small");
                    short_id(&vec![fill; len])
                }
            };
            *due.entry(id).or_default() += 1;
        }
    }
    let mut shares = Vec::new();
    for who in 0..CONSUMERS {
        let mut got = Vec::new();
        let mut file = File::open(output(who)).expect("open the output");
        file.read_to_end(&mut got).expect("read the output");
        let (ids, rest) = got.as_chunks::<8>();
        assert!(rest.is_empty());
        shares.push(ids.len());
        let mut next = [0; PRODUCERS];
        for id in ids {
            let id = u64::from_ne_bytes(*id);
            let left = due.get_mut(&id).expect("a message that nobody put");
            assert!(*left > 0, "{id:#x} arrived too often");
            *left -= 1;
            let (producer, number) = ((id >> 32) as usize, id & 0xffff_ffff);
            if producer < PRODUCERS {
                assert!(number >= next[producer], "out of order at consumer {who}");
                next[producer] = number + 1;
            }
        }
    }
    assert!(due.values().all(|left| *left == 0), "a message is missing");
    println!(
        "{PRODUCERS} producers x {MESSAGES_EACH} messages, {} MiB: each whole, once, in order; \
         consumers got {shares:?} in {took:?}",
        bytes >> 20
    );
}

/// Role: puts one message of that length.
pub(crate) fn post(args: &[&str]) {
    let [queue, stage, len] = args else {
        panic!("wrong arguments")
    };
    let queue = ByteQueue::open(*queue).expect("open the queue");
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
        let (name, stage) = (Name::new("full"), Name::new("stage"));
        let queue = ByteQueue::create(&*name, 256).expect("create the queue");
        queue.put(&[2; 248]).expect("put");
        let at = Stage::create(&stage);
        let kids = [(); 4].map(|()| start("post", &[&name, &stage, "56"]));
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
    // Nobody had to wait for the end of a nap of 100 ms, which began a moment before the get.
    assert!(times[ROUNDS / 2] < Duration::from_millis(50), "{times:?}");
}

const SHORT: usize = 200;
const LONG: usize = 60 * 1024;

/// Role: puts short messages until it is told to pause, and says so.
pub(crate) fn chatter(args: &[&str]) {
    let [queue, stage, paused] = args else {
        panic!("wrong arguments")
    };
    let queue = ByteQueue::open(*queue).expect("open the queue");
    let (stage, paused) = (Stage::open(stage), Stage::open(paused));
    while stage.0.get() == 1 {
        queue.put(&[1; SHORT]).expect("put a short one");
    }
    paused.add();
}

/// Role: puts one long message.
pub(crate) fn declaim(args: &[&str]) {
    let [queue, at] = args else {
        panic!("wrong arguments")
    };
    let queue = ByteQueue::open(*queue).expect("open the queue");
    let at = Stage::open(at);
    at.reach(1);
    queue.put(&[2; LONG]).expect("put the long one");
    at.reach(2);
}

#[test]
fn a_long_message_gets_in_once_short_ones_pause() {
    let _turn = turn("a long message among short ones");
    let names = ["queue", "stage", "paused", "long"].map(Name::new);
    let [name, stage, paused, at] = &names;
    let queue = ByteQueue::create(&**name, CAPACITY).expect("create the queue");
    let (go, pauses, long) = (
        Stage::create(stage),
        Stage::create(paused),
        Stage::create(at),
    );
    go.reach(1);
    let chatters = [(); 2].map(|()| start("chatter", &[name, stage, paused]));
    let await_full = || {
        poll("a full queue", || {
            (queue.used() + SHORT + 16 > CAPACITY).then_some(())
        });
    };
    await_full();
    let declaimer = start("declaim", &[name, at]);
    long.wait(1);
    await_sleep(&declaimer);

    // One is taken only when another has taken the place of the one before: the long one waits on.
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
    assert_eq!(long.0.get(), 1, "it got in where there was no room for it");
    go.reach(2);
    let paused_at = Instant::now();
    // They may be in a put that waits; what is taken here lets them end, and the long one in. Nobody
    // can tell which message is the last.
    let mut longs_taken = 0;
    poll("the long message, and everybody's end", || {
        match queue.try_get() {
            Err(GetError::Empty | GetError::Busy) => {}
            got => longs_taken = take(got),
        }
        (pauses.0.get() == 2 && longs_taken == 1 && queue.is_empty()).then_some(())
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
