//! Exact counts, exact order, and no torn read, from processes that nobody disturbs.

use crate::board::Board;
use crate::deliveries::{PRODUCERS, deliver, item, read_item, write_down};
use crate::support::{Kid, Name, start};
use crate::{Stage, turn};
use shmkit::{Queue, Value};
use std::time::{Duration, Instant};

const COUNTERS: u64 = 4;
const COUNT_EACH: u64 = 250_000;

/// Role: adds one, many times.
pub(crate) fn count(value: &str, gate: &str) {
    let value = Value::<u64>::open(value).expect("open the value");
    Stage::open(gate).wait(1);
    for _ in 0..COUNT_EACH {
        value.update(|n| *n += 1);
    }
}

#[test]
fn updates_of_four_processes_add_up() {
    let _turn = turn("adding up");
    let (name, gate) = (Name::new("count"), Stage::new());
    let value = Value::create(&*name, 0u64).expect("create the value");
    let kids: Vec<Kid> = (0..COUNTERS)
        .map(|_| start("count", &[&name, gate.name()]))
        .collect();
    let began = Instant::now();
    gate.reach(1);
    kids.into_iter().for_each(Kid::finish);
    assert_eq!(value.get(), COUNTERS * COUNT_EACH);
    let took = began.elapsed();
    println!(
        "{COUNTERS} processes x {COUNT_EACH} updates: exactly {} in {took:?}",
        value.get()
    );
}

const ITEMS_EACH: usize = 1_000_000;

/// Role: puts its items in order, one by one.
pub(crate) fn produce(queue: &str, gate: &str, who: &str) {
    let who = who.parse().expect("a number");
    let queue = Queue::<u64>::open(queue).expect("open the queue");
    Stage::open(gate).wait(1);
    for number in 0..ITEMS_EACH {
        queue.put(item(who, number as u64)).expect("put");
    }
}

/// Role: takes items until the queue is closed.
pub(crate) fn consume(queue: &str, gate: &str, file: &str) {
    let queue = Queue::<u64>::open(queue).expect("open the queue");
    Stage::open(gate).wait(1);
    write_down(file, &queue);
}

#[test]
fn every_item_arrives_once_and_in_its_producers_order() {
    let _turn = turn("two producers, two consumers");
    let name = Name::new("items");
    let queue = Queue::<u64>::create(&*name, 1024).expect("create the queue");
    let delivery = deliver(&name, "produce", "consume", || queue.close());

    delivery.assert_order();
    let mut arrived = vec![vec![false; ITEMS_EACH]; PRODUCERS];
    for item in delivery.items() {
        let (producer, number) = read_item(item);
        let seen = &mut arrived[producer][usize::try_from(number).expect("small")];
        assert!(!*seen, "item {number} of producer {producer} twice");
        *seen = true;
    }
    let is_whole = arrived.iter().flatten().all(|seen| *seen);
    assert!(is_whole, "an item is missing");
    let (shares, took) = (delivery.shares(), delivery.took);
    println!(
        "{PRODUCERS} producers x {ITEMS_EACH} items: each once, in order; consumers got {shares:?} in {took:?}"
    );
}

const RACE: Duration = Duration::from_secs(5);
const WRITERS: usize = 2;
const READERS: usize = 2;
const FEWEST_GETS: u64 = 100_000;

/// Sixteen equal words: the writer's number and its count.
const fn wide(writer: u64, count: u64) -> [u64; 16] {
    [writer << 48 | count; 16]
}

/// Role: stores values of sixteen equal words during stage 1.
pub(crate) fn write(value: &str, stage: &str, board: &str, who: &str) {
    let who: usize = who.parse().expect("a number");
    let value = Value::<[u64; 16]>::open(value).expect("open the value");
    let (stage, board) = (Stage::open(stage), Board::open(board));
    stage.wait(1);
    while stage.now() == 1 {
        let count = board.add(who, 1) + 1;
        value.set(wide(who as u64, count));
    }
}

/// Role: reads and compares the words during stage 1.
pub(crate) fn read(value: &str, stage: &str, board: &str, who: &str) {
    let who: usize = who.parse().expect("a number");
    let value = Value::<[u64; 16]>::open(value).expect("open the value");
    let (stage, board) = (Stage::open(stage), Board::open(board));
    let mut newest = [0; WRITERS];
    stage.wait(1);
    while stage.now() == 1 {
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
    let (name, race) = (Name::new("wide"), Stage::new());
    let board = Board::new(WRITERS + READERS);
    let _value = Value::create(&*name, wide(0, 0)).expect("create the value");
    let runners = [("write", WRITERS), ("read", READERS)];
    let kids: Vec<Kid> = runners
        .into_iter()
        .flat_map(|(role, many)| (0..many).map(move |who| (role, who.to_string())))
        .map(|(role, who)| start(role, &[&name, race.name(), board.path(), &who]))
        .collect();
    race.reach(1);
    // The length of the race is the load, and FEWEST_GETS belongs to it.
    std::thread::sleep(RACE);
    race.reach(2);
    kids.into_iter().for_each(Kid::finish);
    let counts: Vec<u64> = (0..WRITERS + READERS).map(|who| board.get(who)).collect();
    let (sets, gets) = counts.split_at(WRITERS);
    println!("{RACE:?}: no torn read; sets {sets:?}, gets {gets:?}");
    assert!(sets.iter().all(|sets| *sets > 0), "{sets:?}");
    assert!(gets.iter().all(|gets| *gets >= FEWEST_GETS), "{gets:?}");
}
