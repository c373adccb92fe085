//! Many processes use one name: there is one segment at a time, no call fails, and nothing stays behind.
//!
//! The tests ask the kernel, not the crate, whether there is one segment at a time. No test here removes a
//! name that is in use, so as long as a process holds a segment, the name must lead to the very inode that
//! the process has open. Two segments in use under one name would have two inodes. The name would lead to
//! one of them at most, and the holder of the other would see that.

use crate::board::{Board, Fleet, STOP, fleet_words, longest, longest_of, rounds, rounds_of};
use crate::support::{Kid, Name, Rng, start};
use crate::{Stage, turn};
use bytemuck::{Pod, Zeroable};
use shmkit::{Error, Queue, Value};
use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

const PROCESSES: usize = 8;
const ROUNDS: u64 = 200;
const CHURN_ROUNDS: u64 = 500;
const KILLS: u64 = 1000;

fn inode_held(value: &Value<[u64; 2]>) -> u64 {
    let file = File::from(value.try_clone_fd().expect("reopen the segment"));
    file.metadata().expect("look at the segment").ino()
}

/// The inode to which the name leads, or 0.
fn inode_named(name: &str) -> u64 {
    std::fs::metadata(format!("/dev/shm/{name}")).map_or(0, |status| status.ino())
}

/// The files in `/dev/shm` of that name, hidden drafts of it included.
fn left_behind(name: &str) -> Vec<String> {
    let entries = std::fs::read_dir("/dev/shm").expect("list /dev/shm");
    entries
        .map(|entry| entry.expect("list /dev/shm").file_name())
        .map(|entry| entry.to_string_lossy().into_owned())
        .filter(|entry| entry.ends_with(name))
        .collect()
}

/// One process's observations in one round.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Sight {
    round: u64,
    content: [u64; 2],
    inode_held: u64,
    inode_named: u64,
    created: u64,
}

/// Role: opens or creates at the same time as the others, in every round.
pub(crate) fn meet(name: &str, barrier: &str, sights: &str, who: &str) {
    let who = who.parse().expect("a number");
    let barrier = Stage::open(barrier);
    let sights = Queue::<Sight>::open(sights).expect("open the sights");
    let mut met = 0;
    let mut meet = || {
        met += 1;
        barrier.add();
        barrier.wait(met * PROCESSES as u64);
    };
    for round in 0..ROUNDS {
        meet(); // nobody has the segment, and all begin
        let value = Value::open_or_create(name, [round, who]).expect("open or create");
        meet(); // all have the segment
        let sight = Sight {
            round,
            content: value.get(),
            inode_held: inode_held(&value),
            inode_named: inode_named(name),
            created: value.was_created().into(),
        };
        sights.put(sight).expect("tell");
        meet(); // all have looked
        drop(value);
        meet(); // all have dropped the segment
        assert_eq!(inode_named(name), 0, "the last one out left the name");
    }
}

#[test]
fn racing_openers_end_with_one_segment_in_every_round() {
    let _turn = turn("racing openers");
    let (name, barrier, sights) = (Name::new("meet"), Stage::new(), Name::new("sights"));
    let told = Queue::<Sight>::create(&*sights, PROCESSES).expect("create the sights");
    let kids: Vec<Kid> = (0..PROCESSES)
        .map(|who| start("meet", &[&name, barrier.name(), &sights, &who.to_string()]))
        .collect();
    let mut creators = [0; PROCESSES];
    for round in 0..ROUNDS {
        let mut seen = Vec::new();
        for _ in 0..PROCESSES {
            seen.push(told.get_timeout(Duration::from_secs(30)).expect("a sight"));
        }
        let first = seen[0];
        assert_ne!(first.inode_held, 0);
        assert_eq!(first.content[0], round);
        for sight in &seen {
            assert_eq!(sight.round, round);
            assert_eq!(sight.inode_held, first.inode_held, "round {round}");
            assert_eq!(sight.inode_named, first.inode_held, "round {round}");
            assert_eq!(sight.content, first.content, "round {round}");
        }
        let created: u64 = seen.iter().map(|sight| sight.created).sum();
        assert_eq!(created, 1, "creators in round {round}");
        creators[usize::try_from(first.content[1]).expect("a small number")] += 1;
    }
    kids.into_iter().for_each(Kid::finish);
    assert!(left_behind(&name).is_empty());
    println!("{PROCESSES} processes, {ROUNDS} rounds: one segment each; creators {creators:?}");
}

/// Role: opens or creates, uses, drops, over and over.
pub(crate) fn churn(name: &str, board: &str, slot: &str, most: &str) {
    let slot = slot.parse().expect("a number");
    let most: u64 = most.parse().expect("a number");
    let board = Board::open(board);
    let call = longest_of(slot);
    let created = fleet_words(PROCESSES) + slot;
    for round in 0..most {
        // In every third round this only opens, and may find nothing.
        let opened = if round % 3 == 2 {
            match board.timed(call, || Value::<[u64; 2]>::open(name)) {
                Err(Error::NotFound { .. }) => None,
                opened => Some(opened),
            }
        } else {
            Some(board.timed(call, || Value::open_or_create(name, [0, 0])))
        };
        if let Some(opened) = opened {
            let value = opened.expect("open or create");
            let held = inode_held(&value);
            assert_eq!(inode_named(name), held, "the name leads to another segment");
            board.add(created, value.was_created().into());
            for _ in 0..8 {
                board.timed(call, || value.update(|both| *both = both.map(|n| n + 1)));
                let [one, other] = board.timed(call, || value.get());
                assert_eq!(one, other, "a torn value");
            }
            assert_eq!(inode_named(name), held, "the name leads to another segment");
            board.timed(call, || drop(value));
        }
        board.add(rounds_of(slot), 1);
        if board.get(STOP) != 0 {
            break;
        }
    }
}

fn churner(name: &str, board: &Board, slot: usize, most: u64) -> Kid {
    let (slot, most) = (slot.to_string(), most.to_string());
    start("churn", &[name, board.path(), &slot, &most])
}

fn churn_board() -> Board {
    Board::new(fleet_words(PROCESSES) + PROCESSES)
}

fn creations(board: &Board) -> u64 {
    (0..PROCESSES)
        .map(|slot| board.get(fleet_words(PROCESSES) + slot))
        .sum()
}

#[test]
fn openers_racing_with_droppers_never_fail() {
    let _turn = turn("openers and droppers");
    let name = Name::new("churn");
    let board = churn_board();
    let kids: Vec<Kid> = (0..PROCESSES)
        .map(|slot| churner(&name, &board, slot, CHURN_ROUNDS))
        .collect();
    kids.into_iter().for_each(Kid::finish);
    assert!(left_behind(&name).is_empty(), "the last one out left it");
    let (created, longest) = (creations(&board), longest(&board, PROCESSES));
    println!(
        "{PROCESSES} processes x {CHURN_ROUNDS} rounds: {created} segments, one at a time; longest call {longest:?}"
    );
    assert!(created > 1, "the name was never left by all of them");
}

#[test]
fn a_thousand_kills_leave_one_segment_at_a_time_and_nothing_behind() {
    let _turn = turn("the naming stress");
    let name = Name::new("killed");
    let board = churn_board();
    let mut rng = Rng::new();
    let mut fleet = Fleet::new(&board, PROCESSES, |slot| {
        (churner(&name, &board, slot, u64::MAX), ())
    });
    for _ in 0..KILLS {
        fleet.kill_one(&mut rng);
    }
    fleet.stop();

    // A segment that the killed processes left is an orphan, so that a create finds the name free.
    drop(Value::create(&*name, [0u64; 2]).expect("nobody holds the segment"));
    assert_eq!(left_behind(&name), Vec::<String>::new());
    let rounds: u64 = rounds(&board, PROCESSES).iter().sum();
    let (created, longest) = (creations(&board), longest(&board, PROCESSES));
    println!(
        "{KILLS} kills, {rounds} rounds, {created} segments, one at a time; longest call {longest:?}"
    );
    assert!(longest < Duration::from_secs(1), "{longest:?}");
}
