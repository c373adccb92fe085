//! Members of one queue, and of one value, that are killed at random instants under load: what was
//! acknowledged is there exactly once, and no survivor waits for the dead.
//!
//! The books are kept on boards, which outlive their writers. A put is acknowledged *after* it has
//! returned, so the last one of a killed producer may be in the queue unacknowledged. Half of the
//! consumers take with `get` and write down what it returned: one that is killed may have taken one
//! item that it did not write down. The others take with `get_with` and write down inside the
//! closure, before the take: the last one of a killed one may come again.

use crate::board::{Board, Fleet, Rng, STOP, fleet_words, longest, longest_of, rounds_of};
use crate::support::{Kid, Name, start};
use crate::turn;
use shmkit::{Consumer, GetError, Queue, Value};
use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::time::Duration;

const PRODUCERS: usize = 3;
/// The even ones `get`, the odd ones `get_with`.
const CONSUMERS: usize = 4;
const KILLS: u64 = 200;
/// Small, so that both sides sleep often.
const CAPACITY: usize = 16;
/// Room on one consumer's log.
const LOG_WORDS: usize = 1 << 23;
/// A promise of 100 ms plus scheduling, of eight processes on perhaps two CPUs.
const LONGEST: Duration = Duration::from_secs(1);

const fn item(producer: u64, sequence: u64) -> u64 {
    producer << 32 | sequence
}

/// How many items an owner of a side handles before it lets others have it.
const BURST: u64 = 20;

/// How a member of a fleet comes to its side.
#[derive(Clone, Copy, PartialEq)]
enum Sides {
    /// Each call for itself.
    Shared,
    /// Through an endpoint, which it has for a burst, and which may be alive when it is killed.
    Owned,
}

impl Sides {
    fn name(self) -> &'static str {
        match self {
            Self::Shared => "shared",
            Self::Owned => "owned",
        }
    }

    fn of(name: &str) -> Self {
        match name {
            "shared" => Self::Shared,
            "owned" => Self::Owned,
            other => panic!("no such way: {other}"),
        }
    }
}

/// What a member does between two bursts, so that the others come to theirs.
fn do_something_else() {
    std::thread::sleep(Duration::from_micros(300));
}

/// Role: puts 1, 2, 3 … under its number, which no other incarnation has.
pub(crate) fn put(args: &[&str]) {
    let [queue, board, slot, acknowledged, number, sides] = args else {
        panic!("wrong arguments")
    };
    let sides = Sides::of(sides);
    let slot = slot.parse().expect("a number");
    let number: usize = number.parse().expect("a number");
    let (board, acknowledged) = (Board::open(board), Board::open(acknowledged));
    let queue = Queue::<u64>::open(*queue).expect("open the queue");
    let longest = longest_of(slot);
    let mut sequence = 0;
    let mut next = || {
        sequence += 1;
        (sequence, item(number as u64, sequence))
    };
    let acknowledge = |sequence| {
        acknowledged.set(number, sequence);
        board.add(rounds_of(slot), 1);
    };
    while board.get(STOP) == 0 {
        if sides == Sides::Shared {
            let (sequence, item) = next();
            board.timed(longest, || queue.put(item).expect("put"));
            acknowledge(sequence);
            continue;
        }
        {
            let mut tail = board.timed(longest, || queue.producer().expect("a turn"));
            for _ in 0..BURST {
                let (sequence, item) = next();
                // By turns in place; a written chunk may be all that a killed one leaves.
                if sequence % 2 == 0 {
                    board.timed(longest, || tail.put(item).expect("put"));
                } else {
                    let mut chunk = board.timed(longest, || tail.chunk(3).expect("room"));
                    chunk.iter_mut().for_each(|slot| *slot = item);
                    chunk.commit(1).expect("commit");
                }
                acknowledge(sequence);
            }
        }
        do_something_else();
    }
}

/// Role: takes, and writes down what it took.
pub(crate) fn take(args: &[&str]) {
    let [queue, board, slot, log, in_place, sides] = args else {
        panic!("wrong arguments")
    };
    let sides = Sides::of(sides);
    let slot = slot.parse().expect("a number");
    let (board, log) = (Board::open(board), Board::open(log));
    let queue = Queue::<u64>::open(*queue).expect("open the queue");
    let write_down = |item| {
        let next = usize::try_from(log.get(0)).expect("a small number") + 1;
        log.set(next, item);
        log.set(0, next as u64);
    };
    let get = || match *in_place {
        "in place" => queue.get_with(|item| write_down(*item)),
        _ => queue.get().map(write_down),
    };
    let get_owned = |head: &mut Consumer<u64>| match *in_place {
        "in place" => {
            let chunk = head.chunk(1)?;
            chunk.iter().for_each(|item| write_down(*item));
            chunk.release_all();
            Ok(())
        }
        _ => head.get().map(write_down),
    };
    let longest = longest_of(slot);
    let note = |got| match got {
        Ok(()) => {
            board.add(rounds_of(slot), 1);
            true
        }
        Err(GetError::Closed) => false,
        Err(error) => panic!("{error}"),
    };
    if sides == Sides::Shared {
        while note(board.timed(longest, get)) {}
        return;
    }
    loop {
        match board.timed(longest, || queue.consumer()) {
            Ok(mut head) => (0..BURST).all(|_| note(board.timed(longest, || get_owned(&mut head)))),
            Err(closed) => note(Err(closed)),
        };
        if queue.is_closed() && queue.is_empty() {
            return;
        }
        do_something_else();
    }
}

/// One consumer's log, and what is known of its writer.
struct Log {
    board: Board,
    in_place: bool,
    killed: bool,
}

fn new_log(folder: &Path, logs: &mut Vec<Log>, in_place: bool) -> String {
    let path = folder.join(format!("log-{}", logs.len()));
    let board = Board::create(path, LOG_WORDS);
    let path = board.path().to_owned();
    logs.push(Log {
        board,
        in_place,
        killed: false,
    });
    path
}

#[test]
fn kills_under_load_lose_and_repeat_nothing_that_was_acknowledged() {
    let _turn = turn("kills under load");
    kill_members(Sides::Shared);
}

#[test]
fn killed_owners_of_a_side_lose_and_repeat_nothing_that_was_acknowledged() {
    let _turn = turn("kills of owners");
    kill_members(Sides::Owned);
}

fn kill_members(sides: Sides) {
    let name = Name::new("load");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = |name: &str| folder.path().join(name);
    let most = usize::try_from(KILLS).expect("a small number") + PRODUCERS + CONSUMERS;
    let acknowledged = Board::create(file("acknowledged"), most);
    let queue = Queue::<u64>::create(&*name, CAPACITY).expect("create the queue");
    let puts = Board::create(file("puts"), fleet_words(PRODUCERS));
    let takes = Board::create(file("takes"), fleet_words(CONSUMERS));

    let producers_started = RefCell::new(0);
    let mut producers = Fleet::new(&puts, PRODUCERS, |slot| {
        let mut number = producers_started.borrow_mut();
        *number += 1;
        let (slot, number) = (slot.to_string(), (*number - 1).to_string());
        start(
            "put",
            &[
                &name,
                puts.path(),
                &slot,
                acknowledged.path(),
                &number,
                sides.name(),
            ],
        )
    });
    let logs = RefCell::new(Vec::new());
    let newest_log = RefCell::new([0; CONSUMERS]);
    let mut consumers = Fleet::new(&takes, CONSUMERS, |slot| {
        let in_place = slot % 2 == 1;
        newest_log.borrow_mut()[slot] = logs.borrow().len();
        let log = new_log(folder.path(), &mut logs.borrow_mut(), in_place);
        let how = if in_place { "in place" } else { "by value" };
        let slot = slot.to_string();
        start(
            "take",
            &[&name, takes.path(), &slot, &log, how, sides.name()],
        )
    });

    let mut rng = Rng::new();
    for _ in 0..KILLS {
        if rng.below(2) == 0 {
            producers.kill_one(&mut rng);
        } else {
            let before = *newest_log.borrow();
            let slot = consumers.kill_one(&mut rng);
            logs.borrow_mut()[before[slot]].killed = true;
        }
    }
    producers.stop();
    queue.close();
    consumers.stop();
    assert!(queue.is_empty());

    let acknowledged: Vec<u64> = (0..*producers_started.borrow())
        .map(|number| acknowledged.get(number))
        .collect();
    check_books(&acknowledged, &logs.borrow());
    let (put, taken) = (longest(&puts, PRODUCERS), longest(&takes, CONSUMERS));
    println!("longest put {put:?}, longest take {taken:?}");
    assert!(put < LONGEST && taken < LONGEST, "{put:?}, {taken:?}");
}

fn check_books(acknowledged: &[u64], logs: &[Log]) {
    let mut taken = HashSet::new();
    // What a killed consumer wrote down in place, and may or may not have taken.
    let mut perhaps = HashSet::new();
    for log in logs {
        let written = usize::try_from(log.board.get(0)).expect("a small number");
        let mut newest = HashMap::new();
        for at in 1..=written {
            let item = log.board.get(at);
            let producer = usize::try_from(item >> 32).expect("a small number");
            let sequence = item & 0xffff_ffff;
            let most = acknowledged[producer] + 1;
            assert!((1..=most).contains(&sequence), "never put: {item:#x}");
            let before = newest.insert(producer, sequence);
            assert!(
                before.is_none_or(|before| before < sequence),
                "out of order"
            );
            if at == written && log.in_place && log.killed {
                perhaps.insert(item);
            } else {
                assert!(taken.insert(item), "taken twice: {item:#x}");
            }
        }
    }
    let repeated = taken.intersection(&perhaps).count();
    let (mut sum, mut missing) = (0, 0);
    for (producer, &last) in acknowledged.iter().enumerate() {
        sum += last;
        for sequence in 1..=last {
            let item = item(producer as u64, sequence);
            missing += usize::from(!taken.contains(&item) && !perhaps.contains(&item));
        }
    }
    let killed = |in_place| {
        logs.iter()
            .filter(move |log| log.killed && log.in_place == in_place)
    };
    let (by_value, in_place) = (killed(false).count(), killed(true).count());
    println!(
        "{KILLS} kills, {sum} puts acknowledged; {by_value} getters killed, {missing} items taken with them; \
         {in_place} killed in or around get_with, {repeated} items seen again"
    );
    assert!(
        missing <= by_value,
        "lost: {missing} by {by_value} dead getters"
    );
    assert!(sum > 10 * KILLS, "hardly a load: {sum}");
}

/// Role: adds one, and acknowledges it, over and over.
pub(crate) fn add(args: &[&str]) {
    let [value, board, slot] = args else {
        panic!("wrong arguments")
    };
    let slot = slot.parse().expect("a number");
    let board = Board::open(board);
    let value = Value::<u64>::open(*value).expect("open the value");
    while board.get(STOP) == 0 {
        board.timed(longest_of(slot), || value.update(|n| *n += 1));
        board.add(rounds_of(slot), 1);
    }
}

/// Kills `kills` of `slots` adders on a value; what the value then is, to what was acknowledged.
pub(crate) fn kill_adders(slots: usize, kills: u64, starter: impl Fn(&str, &[&str]) -> Kid) {
    let name = Name::new("adders");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let board = Board::create(folder.path().join("board"), fleet_words(slots));
    let value = Value::create(&*name, 0u64).expect("create the value");
    let mut rng = Rng::new();
    let mut fleet = Fleet::new(&board, slots, |slot| {
        starter("add", &[&name, board.path(), &slot.to_string()])
    });
    for _ in 0..kills {
        fleet.kill_one(&mut rng);
    }
    fleet.stop();
    // Where the killed one was somebody's child, it may have been dying a little longer.
    crate::board::poll("the last adder's end", || {
        let holders = shmkit::inspect(&*name).expect("inspect the value").holders;
        (holders == 1).then_some(())
    });
    let acknowledged: u64 = (0..slots).map(|slot| board.get(rounds_of(slot))).sum();
    let (found, longest) = (value.get(), longest(&board, slots));
    println!(
        "{kills} kills: {acknowledged} updates acknowledged, {found} counted; longest call {longest:?}"
    );
    assert!(acknowledged <= found && found <= acknowledged + kills);
    assert!(longest < LONGEST, "{longest:?}");
}

#[test]
fn kills_under_load_lose_no_acknowledged_update() {
    let _turn = turn("kills among adders");
    kill_adders(4, KILLS, start);
}
