//! Writers of one array are killed at random instants: every element is as some writer wrote it, whole, and
//! the array is poisoned if the dead writer had a guard, and not otherwise.
//!
//! Every element names its writer, and a checksum shows that the element is whole and in its place. Before
//! and after each operation that may poison, a writer notes so on the board: after its death, the test reads
//! there whether the array must be poisoned. Of the survivors only the test repairs the array and clears the
//! poison, so that each poisoning belongs to one death.

use crate::board::{Board, Fleet, STOP, fleet_words, longest, longest_of, rounds, rounds_of};
use crate::support::{Name, Rng, start};
use crate::{Stage, turn};
use shmkit::Array;
use shmkit::bytemuck::{Pod, Zeroable};
use std::sync::TryLockError;
use std::time::{Duration, Instant};

const WORKERS: usize = 4;
const KILLS: u64 = 200;
/// Each slot's workers do so many rounds together, or more.
const ROUNDS: u64 = 100_000;
const LEN: usize = 64;
/// A guarded write writes each of its elements so often.
const PASSES: usize = 30;
/// Far more than the promised 100 ms plus scheduling.
const LONGEST: Duration = Duration::from_secs(2);

/// 24 bytes, which no single store writes.
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

/// The word that counts the repairs of the array.
const MENDED: usize = fleet_words(WORKERS);

/// The word in which a writer notes its stage. The next word counts the writes that it has begun.
fn stage_of(writer: u64) -> usize {
    MENDED + 1 + 2 * usize::try_from(writer).expect("a small number")
}

fn begun_of(writer: u64) -> usize {
    stage_of(writer) + 1
}

/// The writer does nothing that may poison.
const OUTSIDE: u64 = 0;
/// The writer takes or drops a guard, or writes several elements: its death may poison.
const AT_THE_DOOR: u64 = 1;
/// The writer has a guard: its death poisons.
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
        self.rng.index(limit)
    }

    fn at(&self, stage: u64) {
        self.board.set(stage_of(self.number), stage);
    }

    /// Begins a write, on the board before the array. Returns the write's number.
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
        // The many passes take long, so that a good part of all deaths happen here.
        for _ in 0..PASSES {
            for index in (first..LEN).step_by(5) {
                // Field by field, so that a death here leaves a torn element.
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

    /// A read goes on in a poisoned array, and may find torn elements there alone.
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

/// Role: writes and reads in every way, in random order.
pub(crate) fn scribble(array: &str, board: &str, slot: &str, number: &str) {
    let slot = slot.parse().expect("a number");
    let mut writer = Writer {
        array: Array::open(array).expect("open the array"),
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

/// Counts of what the deaths left.
#[derive(Debug, Default)]
struct Found {
    outside: u64,
    at_the_door: u64,
    inside: u64,
    poisoned: u64,
    mended: usize,
}

impl Found {
    /// Asserts that a writer's death at that stage poisoned the array, or did not, as it must.
    fn judge(&mut self, array: &Array<Entry>, board: &Board, stage: u64) {
        // This call locks the array, and so recovers from the death, unless another call already has.
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
    // Number 0 is the test's own.
    let most = KILLS + WORKERS as u64 + 1;
    let board = Board::new(stage_of(most));
    let zeros: Vec<Entry> = (0..LEN).map(|index| Entry::new(index, 0, 0)).collect();
    let array = Array::create(&*name, &zeros).expect("create the array");

    let mut started = 0;
    let mut rng = Rng::new();
    let mut found = Found::default();
    let mut fleet = Fleet::new(&board, WORKERS, |slot| {
        started += 1;
        let args = [&name, board.path(), &slot.to_string(), &started.to_string()];
        (start("scribble", &args), started)
    });
    for _ in 0..KILLS {
        let dead = fleet.kill_one(&mut rng);
        found.judge(&array, &board, board.get(stage_of(dead)));
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
    let (rounds, longest) = (rounds(&board, WORKERS), longest(&board, WORKERS));
    println!("{KILLS} kills, rounds {rounds:?}, longest call {longest:?}; {found:?}");
    let has_both = found.inside > 0 && found.outside > 0;
    assert!(has_both, "hardly a test: {found:?}");
    assert!(longest < LONGEST, "{longest:?}");
}

/// Role: stays until it is killed, with a guard in hand ("inside") or after it has written ("outside").
pub(crate) fn hold_array(what: &str, name: &str, stage: &str) {
    let stage = Stage::open(stage);
    let array = Array::<u64>::open(name).expect("open the array");
    match what {
        "inside" => {
            let mut guard = array.lock().expect("not poisoned");
            guard[0] += 10;
            stage.stay();
            guard[1] += 10;
        }
        "outside" => {
            array.lock().expect("not poisoned")[0] += 10;
            array.write_at(1, &[11, 12]).expect("inside");
            stage.stay();
        }
        other => panic!("no such way to hold: {other}"),
    }
}

#[test]
fn a_holder_killed_with_a_guard_poisons() {
    let _turn = turn("a killed holder");
    let name = Name::new("holder");
    let array = Array::create(&*name, &[0u64, 1, 2]).expect("create the array");
    for round in 0..5 {
        let at = Stage::new();
        let holder = start("hold-array", &["inside", &name, at.name()]);
        at.wait(1);
        assert!(matches!(array.try_lock(), Err(TryLockError::WouldBlock)));
        assert!(!array.is_poisoned(), "the holder lives");
        holder.kill_and_reap();
        let began = Instant::now();
        // In every second round the question comes upon the death, otherwise the lock.
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
    let (name, at) = (Name::new("bystander"), Stage::new());
    let array = Array::create(&*name, &[0u64, 1, 2]).expect("create the array");
    let bystander = start("hold-array", &["outside", &name, at.name()]);
    at.wait(1);
    bystander.kill_and_reap();
    assert!(!array.is_poisoned());
    assert_eq!(*array.lock().expect("not poisoned"), [10, 11, 12]);
}
