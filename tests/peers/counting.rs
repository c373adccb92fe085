//! Exact counts, exact order, and no torn read, from processes that nobody disturbs.

use crate::board::Board;
use crate::support::{Kid, Name, start};
use crate::{Stage, turn};
use shmkit::{Queue, Value};
use std::fs::File;
use std::io::{BufWriter, Read, Write};
use std::time::{Duration, Instant};

const COUNTERS: u64 = 4;
const COUNT_EACH: u64 = 250_000;

/// Role: adds one, many times.
pub(crate) fn count(args: &[&str]) {
    let [value, gate] = args else {
        panic!("wrong arguments")
    };
    let value = Value::<u64>::open(*value).expect("open the value");
    Stage::open(gate).wait(1);
    for _ in 0..COUNT_EACH {
        value.update(|n| *n += 1);
    }
}

#[test]
fn updates_of_four_processes_add_up() {
    let _turn = turn("adding up");
    let (name, gate) = (Name::new("count"), Name::new("gate"));
    let value = Value::create(&*name, 0u64).expect("create the value");
    let open = Stage::create(&gate);
    let kids: Vec<Kid> = (0..COUNTERS)
        .map(|_| start("count", &[&name, &gate]))
        .collect();
    let began = Instant::now();
    open.reach(1);
    for kid in kids {
        kid.finish();
    }
    assert_eq!(value.get(), COUNTERS * COUNT_EACH);
    let took = began.elapsed();
    println!(
        "{COUNTERS} processes x {COUNT_EACH} updates: exactly {} in {took:?}",
        value.get()
    );
}

const PRODUCERS: usize = 2;
const CONSUMERS: usize = 2;
const ITEMS_EACH: u64 = 1_000_000;

/// An item says whose it is, and the how-manieth.
const fn item(producer: u64, sequence: u64) -> u64 {
    producer << 32 | sequence
}

const fn read_item(item: u64) -> (usize, u64) {
    ((item >> 32) as usize, item & 0xffff_ffff)
}

/// Role: puts its items in order, one by one.
pub(crate) fn produce(args: &[&str]) {
    let [queue, gate, who] = args else {
        panic!("wrong arguments")
    };
    let who = who.parse().expect("a number");
    let queue = Queue::<u64>::open(*queue).expect("open the queue");
    Stage::open(gate).wait(1);
    for sequence in 0..ITEMS_EACH {
        queue.put(item(who, sequence)).expect("put");
    }
}

/// Role: writes what it gets to a file, in the order it got it.
pub(crate) fn consume(args: &[&str]) {
    let [queue, gate, file] = args else {
        panic!("wrong arguments")
    };
    let queue = Queue::<u64>::open(*queue).expect("open the queue");
    let mut file = BufWriter::new(File::create(file).expect("create the output"));
    Stage::open(gate).wait(1);
    for item in &queue {
        file.write_all(&item.to_ne_bytes()).expect("write");
    }
    file.flush().expect("write");
}

#[test]
fn every_item_arrives_once_and_in_its_producers_order() {
    let _turn = turn("two producers, two consumers");
    let (name, gate) = (Name::new("items"), Name::new("gate"));
    let folder = tempfile::tempdir().expect("a temporary folder");
    let queue = Queue::<u64>::create(&*name, 1024).expect("create the queue");
    let open = Stage::create(&gate);
    let output = |who: usize| folder.path().join(format!("got-{who}"));
    let consumers: Vec<Kid> = (0..CONSUMERS)
        .map(|who| {
            start(
                "consume",
                &[&name, &gate, output(who).to_str().expect("plain")],
            )
        })
        .collect();
    let producers: Vec<Kid> = (0..PRODUCERS)
        .map(|who| start("produce", &[&name, &gate, &who.to_string()]))
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

    let mut arrived = vec![vec![false; 1_000_000]; PRODUCERS];
    let mut shares = Vec::new();
    for who in 0..CONSUMERS {
        let mut bytes = Vec::new();
        let mut file = File::open(output(who)).expect("open the output");
        file.read_to_end(&mut bytes).expect("read the output");
        let (words, rest) = bytes.as_chunks::<8>();
        assert!(rest.is_empty());
        shares.push(words.len());
        let mut next = [0; PRODUCERS];
        for word in words {
            let (producer, sequence) = read_item(u64::from_ne_bytes(*word));
            assert!(sequence >= next[producer], "out of order at consumer {who}");
            next[producer] = sequence + 1;
            let seen = &mut arrived[producer][usize::try_from(sequence).expect("small")];
            assert!(!*seen, "item {sequence} of producer {producer} twice");
            *seen = true;
        }
    }
    assert!(
        arrived.iter().flatten().all(|seen| *seen),
        "an item is missing"
    );
    println!(
        "{PRODUCERS} producers x {ITEMS_EACH} items: each once, in order; consumers got {shares:?} in {took:?}"
    );
}

const RACE: Duration = Duration::from_secs(5);
const WRITERS: usize = 2;
const READERS: usize = 2;
const FEWEST_GETS: u64 = 100_000;

/// Words that are all the same: the writer's number and its count.
const fn wide(writer: u64, count: u64) -> [u64; 16] {
    [writer << 48 | count; 16]
}

/// Role: stores values whose words are all the same, until it is told to stop.
pub(crate) fn write(args: &[&str]) {
    let [value, stage, board, who] = args else {
        panic!("wrong arguments")
    };
    let who: usize = who.parse().expect("a number");
    let value = Value::<[u64; 16]>::open(*value).expect("open the value");
    let (stage, board) = (Stage::open(stage), Board::open(board));
    stage.wait(1);
    while stage.0.get() == 1 {
        let count = board.add(who, 1) + 1;
        value.set(wide(who as u64, count));
    }
}

/// Role: reads, and compares the words.
pub(crate) fn read(args: &[&str]) {
    let [value, stage, board, who] = args else {
        panic!("wrong arguments")
    };
    let who: usize = who.parse().expect("a number");
    let value = Value::<[u64; 16]>::open(*value).expect("open the value");
    let (stage, board) = (Stage::open(stage), Board::open(board));
    let mut newest = [0; WRITERS];
    stage.wait(1);
    while stage.0.get() == 1 {
        let words = value.get();
        assert!(
            words.iter().all(|word| *word == words[0]),
            "torn: {words:?}"
        );
        let (writer, count) = ((words[0] >> 48) as usize, words[0] & 0xffff_ffff_ffff);
        assert!(count >= newest[writer], "older than what was read before");
        newest[writer] = count;
        board.add(WRITERS + who, 1);
    }
}

#[test]
fn readers_see_no_torn_value_and_are_not_held_up() {
    let _turn = turn("the race for torn reads");
    let (name, stage) = (Name::new("wide"), Name::new("stage"));
    let folder = tempfile::tempdir().expect("a temporary folder");
    let board = Board::create(folder.path().join("board"), WRITERS + READERS);
    let _value = Value::create(&*name, wide(0, 0)).expect("create the value");
    let race = Stage::create(&stage);
    let runners = [("write", WRITERS), ("read", READERS)];
    let kids: Vec<Kid> = runners
        .into_iter()
        .flat_map(|(role, many)| (0..many).map(move |who| (role, who.to_string())))
        .map(|(role, who)| start(role, &[&name, &stage, board.path(), &who]))
        .collect();
    race.reach(1);
    std::thread::sleep(RACE); // how long the race is to last
    race.reach(2);
    for kid in kids {
        kid.finish();
    }
    let counts: Vec<u64> = (0..WRITERS + READERS).map(|who| board.get(who)).collect();
    let (sets, gets) = counts.split_at(WRITERS);
    println!("{RACE:?}: no torn read; sets {sets:?}, gets {gets:?}");
    assert!(sets.iter().all(|sets| *sets > 0), "{sets:?}");
    assert!(gets.iter().all(|gets| *gets >= FEWEST_GETS), "{gets:?}");
}
