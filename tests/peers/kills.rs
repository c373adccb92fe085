//! Members of one queue, and of one value, are killed at random instants under load: each acknowledged item
//! or update is there exactly once, and no survivor waits for the dead.
//!
//! Producers acknowledge and consumers log on boards, which outlive them. A producer acknowledges a put
//! *after* the put has returned, so the last put of a killed producer may be in the queue unacknowledged.
//! Half of the consumers take with `get` and log the item afterwards: a killed consumer may have taken one
//! item that it did not log. The others take with `get_with` and log inside the closure, before the take:
//! the last item of a killed consumer may come again.

use crate::board::{Board, Fleet, STOP, fleet_words, longest, longest_of, rounds, rounds_of};
use crate::deliveries::{item, read_item};
use crate::support::{Kid, Name, Rng, start, until};
use crate::turn;
use shmkit::{Consumer, GetError, Queue, Value};
use std::collections::{HashMap, HashSet};
use std::time::Duration;

const PRODUCERS: usize = 3;
/// The consumers in even slots take by `get`, those in odd slots by `get_with`.
const CONSUMERS: usize = 4;
const KILLS: u64 = 200;
/// Small, so that both sides sleep often.
const CAPACITY: usize = 16;
/// The room in a consumer's log.
const LOG_WORDS: usize = 1 << 23;
/// A promise of 100 ms plus scheduling, of eight processes on perhaps two CPUs.
const LONGEST: Duration = Duration::from_secs(1);

/// An owner of a side handles so many items before it lets others have the side.
const BURST: u64 = 20;

/// The way in which a member of a fleet uses its side.
#[derive(Clone, Copy, PartialEq)]
enum Sides {
    /// Each call locks the side for itself.
    Shared,
    /// The member has an endpoint for a burst, and may be killed with it.
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

/// Leaves the side to the other members between two bursts.
fn do_something_else() {
    // This sleep is the work of a member that has something else to do: no event ends it.
    std::thread::sleep(Duration::from_micros(300));
}

/// Role: puts 1, 2, 3 … under its number, which no other producer has, dead ones included.
pub(crate) fn put(
    queue: &str,
    board: &str,
    slot: &str,
    acknowledged: &str,
    number: &str,
    sides: &str,
) {
    let sides = Sides::of(sides);
    let slot = slot.parse().expect("a number");
    let number: usize = number.parse().expect("a number");
    let (board, acknowledged) = (Board::open(board), Board::open(acknowledged));
    let queue = Queue::<u64>::open(queue).expect("open the queue");
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
                // Every second item goes through a chunk, which a killed producer may leave uncommitted.
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

/// Role: takes items, and logs them.
pub(crate) fn take(queue: &str, board: &str, slot: &str, log: &str, in_place: &str, sides: &str) {
    let sides = Sides::of(sides);
    let slot = slot.parse().expect("a number");
    let (board, log) = (Board::open(board), Board::open(log));
    let queue = Queue::<u64>::open(queue).expect("open the queue");
    let note_item = |item| {
        let next = usize::try_from(log.get(0)).expect("a small number") + 1;
        log.set(next, item);
        log.set(0, next as u64);
    };
    let get = || match in_place {
        "in place" => queue.get_with(|item| note_item(*item)),
        _ => queue.get().map(note_item),
    };
    let get_owned = |head: &mut Consumer<u64>| match in_place {
        "in place" => {
            let chunk = head.chunk(1)?;
            chunk.iter().for_each(|item| note_item(*item));
            chunk.release_all();
            Ok(())
        }
        _ => head.get().map(note_item),
    };
    let longest = longest_of(slot);
    let count = |got| match got {
        Ok(()) => {
            board.add(rounds_of(slot), 1);
            true
        }
        Err(GetError::Closed) => false,
        Err(error) => panic!("{error}"),
    };
    if sides == Sides::Shared {
        while count(board.timed(longest, get)) {}
        return;
    }
    loop {
        match board.timed(longest, || queue.consumer()) {
            Ok(mut head) => {
                (0..BURST).all(|_| count(board.timed(longest, || get_owned(&mut head))))
            }
            Err(closed) => count(Err(closed)),
        };
        if queue.is_closed() && queue.is_empty() {
            return;
        }
        do_something_else();
    }
}

/// One consumer's log: the number of items there, and the items.
struct Log {
    board: Board,
    in_place: bool,
    killed: bool,
}

impl Log {
    fn new(in_place: bool) -> Self {
        Self {
            board: Board::new(LOG_WORDS),
            in_place,
            killed: false,
        }
    }
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
    let most = usize::try_from(KILLS).expect("a small number") + PRODUCERS + CONSUMERS;
    let acknowledged = Board::new(most);
    let queue = Queue::<u64>::create(&*name, CAPACITY).expect("create the queue");
    let (puts, takes) = (
        Board::new(fleet_words(PRODUCERS)),
        Board::new(fleet_words(CONSUMERS)),
    );

    let mut producers_started = 0;
    let mut producers = Fleet::new(&puts, PRODUCERS, |slot| {
        let (slot, number) = (slot.to_string(), producers_started.to_string());
        producers_started += 1;
        let (puts, acknowledged) = (puts.path(), acknowledged.path());
        let args = [&name, puts, &slot, acknowledged, &number, sides.name()];
        (start("put", &args), ())
    });
    let mut consumers = Fleet::new(&takes, CONSUMERS, |slot| {
        let log = Log::new(slot % 2 == 1);
        let how = if log.in_place { "in place" } else { "by value" };
        let (slot, path) = (slot.to_string(), log.board.path());
        let args = [&name, takes.path(), &slot, path, how, sides.name()];
        (start("take", &args), log)
    });

    let mut rng = Rng::new();
    let mut logs = Vec::new();
    for _ in 0..KILLS {
        if rng.below(2) == 0 {
            producers.kill_one(&mut rng);
        } else {
            logs.push(consumers.kill_one(&mut rng));
        }
    }
    logs.iter_mut().for_each(|log| log.killed = true);
    producers.stop();
    queue.close();
    logs.extend(consumers.stop());
    assert!(queue.is_empty());

    let numbers = 0..producers_started;
    let acknowledged: Vec<u64> = numbers.map(|number| acknowledged.get(number)).collect();
    check_books(&acknowledged, &logs);
    let (put, taken) = (longest(&puts, PRODUCERS), longest(&takes, CONSUMERS));
    println!("longest put {put:?}, longest take {taken:?}");
    assert!(put < LONGEST && taken < LONGEST, "{put:?}, {taken:?}");
}

fn check_books(acknowledged: &[u64], logs: &[Log]) {
    let mut taken = HashSet::new();
    // Items that a killed consumer logged in place, and may or may not have taken.
    let mut perhaps = HashSet::new();
    for log in logs {
        let written = usize::try_from(log.board.get(0)).expect("a small number");
        let mut newest = HashMap::new();
        for at in 1..=written {
            let item = log.board.get(at);
            let (producer, sequence) = read_item(item);
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
        let killed = logs.iter().filter(|log| log.killed);
        killed.filter(|log| log.in_place == in_place).count()
    };
    let (by_value, in_place) = (killed(false), killed(true));
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
pub(crate) fn add(value: &str, board: &str, slot: &str) {
    let slot = slot.parse().expect("a number");
    let board = Board::open(board);
    let value = Value::<u64>::open(value).expect("open the value");
    while board.get(STOP) == 0 {
        board.timed(longest_of(slot), || value.update(|n| *n += 1));
        board.add(rounds_of(slot), 1);
    }
}

/// Kills adders on a value, and compares the value with the acknowledged updates.
pub(crate) fn kill_adders(slots: usize, kills: u64, starter: impl Fn(&str, &[&str]) -> Kid) {
    let name = Name::new("adders");
    let board = Board::new(fleet_words(slots));
    let value = Value::create(&*name, 0u64).expect("create the value");
    let mut rng = Rng::new();
    let mut fleet = Fleet::new(&board, slots, |slot| {
        let args = [&name, board.path(), &slot.to_string()];
        (starter("add", &args), ())
    });
    for _ in 0..kills {
        fleet.kill_one(&mut rng);
    }
    fleet.stop();
    // In a namespace, the adder is a child of the killed process, and may take a little longer to die.
    until("the last adder's end", || name.holders() == 1);
    let acknowledged: u64 = rounds(&board, slots).iter().sum();
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
