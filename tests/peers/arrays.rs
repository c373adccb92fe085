//! Members of one array that are killed at random instants: every element is one that somebody wrote,
//! whole, and the array is poisoned where a guard was in the hands of the dead, and nowhere else.
//!
//! Every element names its writer and says by a checksum whether it is whole, and in its place. Before
//! and behind what may poison, a writer notes on the board that it comes to it, so that its note tells
//! after its death what was due. Of the survivors only the test itself mends and clears: so each
//! poisoning has one death to it.

use crate::board::{Board, Fleet, Rng, STOP, fleet_words, longest, longest_of, rounds_of};
use crate::support::{Name, start};
use crate::{Stage, turn};
use shmkit::Array;
use shmkit::bytemuck::{Pod, Zeroable};
use std::cell::{Cell, RefCell};
use std::sync::TryLockError;
use std::time::{Duration, Instant};

const WORKERS: usize = 4;
const KILLS: u64 = 200;
/// What each worker and its successors do together, at least.
const ROUNDS: u64 = 100_000;
const LEN: usize = 64;
/// How often a guarded write does its work.
const PASSES: usize = 30;
/// Far beyond the promise of 100 ms plus scheduling.
const LONGEST: Duration = Duration::from_secs(2);

/// 24 bytes: no store writes one at once.
#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
#[repr(C)]
struct Entry {
    writer: u64,
    count: u64,
    sum: u64,
}

impl Entry {
    fn new(index: usize, writer: u64, count: u64) -> Self {
        let mixed = writer.rotate_left(40) ^ count.rotate_left(20) ^ index as u64;
        Self {
            writer,
            count,
            sum: mixed.wrapping_mul(0x9e37_79b9_7f4a_7c15),
        }
    }

    fn is_whole(&self, index: usize) -> bool {
        *self == Self::new(index, self.writer, self.count)
    }
}

// The board's words, behind those of the fleet.

/// How often the array was mended.
const MENDED: usize = fleet_words(WORKERS);

/// What a writer is about, and how many writes it has begun.
fn stage_of(writer: u64) -> usize {
    MENDED + 1 + 2 * usize::try_from(writer).expect("a small number")
}

fn begun_of(writer: u64) -> usize {
    stage_of(writer) + 1
}

/// Nothing that may poison.
const OUTSIDE: u64 = 0;
/// It takes or drops a guard, or writes several elements: a death may poison.
const AT_THE_DOOR: u64 = 1;
/// It has a guard: a death poisons.
const INSIDE: u64 = 2;

/// One writer at its work.
struct Writer {
    array: Array<Entry>,
    board: Board,
    number: u64,
    count: u64,
    rng: Rng,
}

impl Writer {
    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.rng.below(limit as u64)).expect("less than a length")
    }

    fn at(&self, stage: u64) {
        self.board.set(stage_of(self.number), stage);
    }

    /// The number of the next write, which the board knows before the array does.
    fn begin(&mut self) -> u64 {
        self.count += 1;
        self.board.set(begun_of(self.number), self.count);
        self.count
    }

    fn set(&mut self) {
        let (index, count) = (self.below(LEN), self.begin());
        let entry = Entry::new(index, self.number, count);
        self.array.set(index, entry).expect("inside");
    }

    fn write_several(&mut self) {
        let many = 2 + self.below(7);
        let (offset, count) = (self.below(LEN - many + 1), self.begin());
        let entries: Vec<Entry> = (offset..offset + many)
            .map(|index| Entry::new(index, self.number, count))
            .collect();
        self.at(AT_THE_DOOR);
        self.array.write_at(offset, &entries).expect("inside");
        self.at(OUTSIDE);
    }

    fn write_guarded(&mut self) {
        let (first, count) = (self.below(LEN), self.begin());
        self.at(AT_THE_DOOR);
        let (is_sound, mut guard) = match self.array.lock() {
            Ok(guard) => (true, guard),
            Err(poisoned) => (false, poisoned.into_inner()),
        };
        self.at(INSIDE);
        if is_sound {
            let torn = guard
                .iter()
                .enumerate()
                .find(|(i, entry)| !entry.is_whole(*i));
            assert_eq!(torn, None, "torn, and not poisoned");
        }
        // Again and again, so that a good part of all deaths are in here.
        for _ in 0..PASSES {
            for index in (first..LEN).step_by(5) {
                // One field after the other: halves are what poison is there for.
                let new = Entry::new(index, self.number, count);
                guard[index].writer = new.writer;
                guard[index].count = new.count;
                guard[index].sum = new.sum;
            }
            std::hint::black_box(&mut *guard);
        }
        self.at(AT_THE_DOOR);
        drop(guard);
        self.at(OUTSIDE);
    }

    /// Reads do not ask whether the array is poisoned; if what they read is torn it must have been.
    fn read(&mut self) {
        let mended = self.board.get(MENDED);
        let (offset, mut out) = (self.below(LEN - 8), [Entry::zeroed(); 8]);
        self.array.read_at(offset, &mut out).expect("inside");
        let pairs = (offset..).zip(&out);
        let is_torn = pairs
            .into_iter()
            .any(|(index, entry)| !entry.is_whole(index));
        if is_torn && !self.array.is_poisoned() {
            let now = self.board.get(MENDED);
            assert_ne!(mended, now, "torn, and not poisoned: {out:?}");
        }
    }
}

/// Role: writes and reads in every way.
pub(crate) fn scribble(args: &[&str]) {
    let [array, board, slot, number] = args else {
        panic!("wrong arguments")
    };
    let slot = slot.parse().expect("a number");
    let mut writer = Writer {
        array: Array::open(*array).expect("open the array"),
        board: Board::open(board),
        number: number.parse().expect("a number"),
        count: 0,
        rng: Rng::new(),
    };
    while writer.board.get(STOP) == 0 {
        let round = match writer.below(10) {
            0..4 => Writer::set,
            4..6 => Writer::write_several,
            6..8 => Writer::write_guarded,
            _ => Writer::read,
        };
        let began = Instant::now();
        round(&mut writer);
        writer.board.took(longest_of(slot), began);
        writer.board.add(rounds_of(slot), 1);
    }
}

/// What the killer came upon.
#[derive(Debug, Default)]
struct Found {
    outside: u64,
    at_the_door: u64,
    inside: u64,
    poisoned: u64,
    mended: usize,
}

impl Found {
    /// After a writer's death at that stage: it poisoned if it had to, and did not if it must not.
    fn judge(&mut self, array: &Array<Entry>, board: &Board, stage: u64) {
        // Whoever has had the lock since the death has recovered from it; here, we have.
        assert!(array.get(0).is_some());
        let poisoned = array.is_poisoned();
        match stage {
            OUTSIDE => {
                self.outside += 1;
                assert!(!poisoned, "poisoned by a death outside");
            }
            INSIDE => {
                self.inside += 1;
                assert!(poisoned, "not poisoned by a death inside");
            }
            _ => self.at_the_door += 1,
        }
        if poisoned {
            self.poisoned += 1;
            let mut guard = array.lock().expect_err("still poisoned").into_inner();
            for (index, entry) in guard.iter_mut().enumerate() {
                if !entry.is_whole(index) {
                    *entry = Entry::new(index, 0, 0);
                    self.mended += 1;
                }
            }
            board.add(MENDED, 1);
            array.clear_poison();
        }
    }
}

#[test]
fn kills_among_writers_leave_every_element_whole_and_poison_where_due() {
    let _turn = turn("kills among an array's writers");
    let name = Name::new("array");
    let folder = tempfile::tempdir().expect("a temporary folder");
    // Number 0 is the test's own.
    let most = KILLS + WORKERS as u64 + 1;
    let board = Board::create(folder.path().join("board"), stage_of(most));
    let zeros: Vec<Entry> = (0..LEN).map(|index| Entry::new(index, 0, 0)).collect();
    let array = Array::create(&*name, &zeros).expect("create the array");

    let (started, newest) = (Cell::new(0), RefCell::new([0; WORKERS]));
    let mut rng = Rng::new();
    let mut found = Found::default();
    let mut fleet = Fleet::new(&board, WORKERS, |slot| {
        started.set(started.get() + 1);
        newest.borrow_mut()[slot] = started.get();
        let (slot, number) = (slot.to_string(), started.get().to_string());
        start("scribble", &[&name, board.path(), &slot, &number])
    });
    for _ in 0..KILLS {
        let before = *newest.borrow();
        let slot = fleet.kill_one(&mut rng);
        found.judge(&array, &board, board.get(stage_of(before[slot])));
    }
    fleet.work_until(ROUNDS);
    fleet.stop();

    assert!(!array.is_poisoned());
    let all = array.lock().expect("nobody died since");
    for (index, entry) in all.iter().enumerate() {
        assert!(entry.is_whole(index), "torn: {entry:?}");
        let begun = board.get(begun_of(entry.writer));
        assert!(entry.count <= begun, "nobody wrote {entry:?}");
    }
    let (rounds, longest) = (
        (0..WORKERS)
            .map(|slot| board.get(rounds_of(slot)))
            .collect::<Vec<_>>(),
        longest(&board, WORKERS),
    );
    println!("{KILLS} kills, rounds {rounds:?}, longest call {longest:?}; {found:?}");
    assert!(
        found.inside > 0 && found.outside > 0,
        "hardly a test: {found:?}"
    );
    assert!(longest < LONGEST, "{longest:?}");
}

/// Role: changes one element under a guard, and stays there until it is killed; or has done all it
/// does before that.
pub(crate) fn hold_array(args: &[&str]) {
    let [what, name, stage] = args else {
        panic!("wrong arguments")
    };
    let stage = Stage::open(stage);
    let array = Array::<u64>::open(*name).expect("open the array");
    let stay = || {
        stage.reach(1);
        stage.wait(2); // which it never is
    };
    match *what {
        "inside" => {
            let mut guard = array.lock().expect("not poisoned");
            guard[0] += 10;
            stay();
            guard[1] += 10;
        }
        "outside" => {
            array.lock().expect("not poisoned")[0] += 10;
            array.write_at(1, &[11, 12]).expect("inside");
            stay();
        }
        other => panic!("no such way to hold: {other}"),
    }
}

#[test]
fn a_holder_killed_with_a_guard_poisons() {
    let _turn = turn("a killed holder");
    let (name, stage) = (Name::new("holder"), Name::new("stage"));
    let array = Array::create(&*name, &[0u64, 1, 2]).expect("create the array");
    for round in 0..5 {
        let at = Stage::create(&stage);
        let holder = start("hold-array", &["inside", &name, &stage]);
        at.wait(1);
        assert!(matches!(array.try_lock(), Err(TryLockError::WouldBlock)));
        assert!(!array.is_poisoned(), "the holder lives");
        holder.kill_and_reap();
        let began = Instant::now();
        // In turn: who asks, and who locks, is the one that comes upon the death.
        if round % 2 == 0 {
            assert!(array.is_poisoned());
        }
        let mut guard = array.lock().expect_err("poisoned").into_inner();
        assert!(began.elapsed() < LONGEST);
        assert_eq!(*guard, [10, 1, 2], "what it had done by then");
        guard[0] = 0;
        drop(guard);
        assert!(array.lock().is_err(), "until somebody clears it");
        assert_eq!(array.to_vec(), [0, 1, 2], "the other verbs go on");
        array.clear_poison();
        assert!(!array.is_poisoned() && array.lock().is_ok());
    }
}

#[test]
fn a_process_killed_without_a_guard_does_not_poison() {
    let _turn = turn("a killed bystander");
    let (name, stage) = (Name::new("bystander"), Name::new("stage"));
    let array = Array::create(&*name, &[0u64, 1, 2]).expect("create the array");
    let at = Stage::create(&stage);
    let bystander = start("hold-array", &["outside", &name, &stage]);
    at.wait(1);
    bystander.kill_and_reap();
    assert!(!array.is_poisoned());
    assert_eq!(*array.lock().expect("not poisoned"), [10, 11, 12]);
}
