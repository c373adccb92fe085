//! Boards, on which processes note what they did, and fleets of workers to kill. Nothing here rests on the
//! crate under test.

use crate::support::{Kid, Rng, until};
use memmap2::MmapRaw;
use std::fs::OpenOptions;
use std::os::unix::process::ExitStatusExt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tempfile::{NamedTempFile, TempPath};

/// Words in a mapped file: a process's notes there outlive its SIGKILL.
pub(crate) struct Board {
    map: MmapRaw,
    /// The process that made the board removes it in the end.
    path: Option<TempPath>,
}

impl Board {
    /// A new file of `words` zeros; pages that nobody touches cost nothing.
    pub(crate) fn new(words: usize) -> Self {
        let file = NamedTempFile::new().expect("create a board");
        let sized = file.as_file().set_len(words as u64 * 8);
        sized.expect("size a board");
        let map = MmapRaw::map_raw(file.as_file()).expect("map a board");
        let path = Some(file.into_temp_path());
        Self { map, path }
    }

    pub(crate) fn open(path: &str) -> Self {
        let file = OpenOptions::new().read(true).write(true).open(path);
        let map = MmapRaw::map_raw(&file.expect("open a board")).expect("map a board");
        Self { map, path: None }
    }

    pub(crate) fn path(&self) -> &str {
        let path = self.path.as_ref().expect("this process made it");
        path.to_str().expect("temporary files have plain names")
    }

    fn word(&self, at: usize) -> &AtomicU64 {
        assert!(at < self.map.len() / 8, "word {at} is beyond the board");
        let word = self.map.as_mut_ptr().cast::<AtomicU64>().wrapping_add(at);
        // SAFETY: the word is inside the mapping by the check above, it is aligned since a mapping begins
        // at a page, and every process that maps the file uses atomics alone.
        unsafe { &*word }
    }

    pub(crate) fn get(&self, at: usize) -> u64 {
        self.word(at).load(Ordering::SeqCst)
    }

    pub(crate) fn set(&self, at: usize, value: u64) {
        self.word(at).store(value, Ordering::SeqCst);
    }

    pub(crate) fn add(&self, at: usize, more: u64) -> u64 {
        self.word(at).fetch_add(more, Ordering::SeqCst)
    }

    /// Makes a call, and keeps its time if it is the longest so far.
    pub(crate) fn timed<R>(&self, at: usize, call: impl FnOnce() -> R) -> R {
        let start = Instant::now();
        let result = call();
        self.took(at, start);
        result
    }

    /// Keeps the time since `start`, if it is the longest so far.
    pub(crate) fn took(&self, at: usize, start: Instant) {
        let nanos = u64::try_from(start.elapsed().as_nanos()).expect("less than 500 years");
        self.word(at).fetch_max(nanos, Ordering::SeqCst);
    }
}

// Every fleet's board begins with these words: one, then two for each slot.

/// Unless this word is 0, workers finish their round and end.
pub(crate) const STOP: usize = 0;

/// The word that counts the rounds of a slot's workers.
pub(crate) const fn rounds_of(slot: usize) -> usize {
    1 + 2 * slot
}

/// The word with the longest call of a slot's workers, in nanoseconds.
pub(crate) const fn longest_of(slot: usize) -> usize {
    2 + 2 * slot
}

/// The number of words that a fleet uses.
pub(crate) const fn fleet_words(slots: usize) -> usize {
    1 + 2 * slots
}

/// Workers in numbered slots, killed at random and replaced. Each worker has a `T` of its own.
pub(crate) struct Fleet<'a, T> {
    board: &'a Board,
    workers: Vec<Worker<T>>,
    start: Box<dyn FnMut(usize) -> (Kid, T) + 'a>,
}

struct Worker<T> {
    kid: Kid,
    own: T,
    /// The slot's count of rounds when the worker was started.
    before: u64,
}

impl<'a, T> Fleet<'a, T> {
    pub(crate) fn new(
        board: &'a Board,
        slots: usize,
        start: impl FnMut(usize) -> (Kid, T) + 'a,
    ) -> Self {
        let mut fleet = Self {
            board,
            workers: Vec::new(),
            start: Box::new(start),
        };
        for slot in 0..slots {
            let worker = fleet.new_worker(slot);
            fleet.workers.push(worker);
        }
        fleet
    }

    fn new_worker(&mut self, slot: usize) -> Worker<T> {
        let before = self.board.get(rounds_of(slot));
        let (kid, own) = (self.start)(slot);
        Worker { kid, own, before }
    }

    fn await_rounds(&mut self, slot: usize, rounds: u64) {
        let worker = &mut self.workers[slot].kid;
        until("a worker's rounds", || {
            if let Some(status) = worker.try_wait().expect("ask for a worker") {
                panic!("a worker failed: {status}");
            }
            self.board.get(rounds_of(slot)) >= rounds
        });
    }

    /// Kills a random worker that has done a round or more, at a random instant, and starts another in its
    /// place. Returns the dead worker's own.
    pub(crate) fn kill_one(&mut self, rng: &mut Rng) -> T {
        let slot = rng.index(self.workers.len());
        self.await_rounds(slot, self.workers[slot].before + 1);
        // This sleep draws the instant of the death. Without it, every worker would die in the beginning of
        // its second round.
        std::thread::sleep(Duration::from_micros(rng.below(1000)));
        let worker = &mut self.workers[slot].kid;
        worker.kill().expect("kill a worker");
        let status = worker.wait().expect("wait for a worker");
        let signal = status.signal();
        assert_eq!(signal, Some(9), "a worker ended by itself: {status}");
        let next = self.new_worker(slot);
        std::mem::replace(&mut self.workers[slot], next).own
    }

    /// Waits until every slot has done that many rounds.
    pub(crate) fn work_until(&mut self, rounds: u64) {
        for slot in 0..self.workers.len() {
            self.await_rounds(slot, rounds);
        }
    }

    /// Has every worker finish its round, and fails unless all of them end well. Returns the workers' own.
    pub(crate) fn stop(self) -> Vec<T> {
        self.board.set(STOP, 1);
        let end = |worker: Worker<T>| {
            worker.kid.finish();
            worker.own
        };
        self.workers.into_iter().map(end).collect()
    }
}

/// The rounds of each slot of a fleet.
pub(crate) fn rounds(board: &Board, slots: usize) -> Vec<u64> {
    (0..slots).map(|slot| board.get(rounds_of(slot))).collect()
}

/// The longest call of a fleet.
pub(crate) fn longest(board: &Board, slots: usize) -> Duration {
    let longest = (0..slots).map(|slot| board.get(longest_of(slot))).max();
    Duration::from_nanos(longest.expect("a fleet has slots"))
}
