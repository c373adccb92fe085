//! What the tests keep their books in, and kill with: nothing here rests on the crate under test.

use crate::support::Kid;
use memmap2::MmapRaw;
use std::fs::OpenOptions;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Words in a mapped file: what a process wrote there outlives its SIGKILL.
pub(crate) struct Board {
    map: MmapRaw,
    path: PathBuf,
}

impl Board {
    /// A new file of `words` zeros; pages that nobody touches cost nothing.
    pub(crate) fn create(path: PathBuf, words: usize) -> Self {
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create_new(true).open(&path);
        let file = file.expect("create a board");
        file.set_len(words as u64 * 8).expect("size a board");
        let map = MmapRaw::map_raw(&file).expect("map a board");
        Self { map, path }
    }

    pub(crate) fn open(path: &str) -> Self {
        let file = OpenOptions::new().read(true).write(true).open(path);
        let map = MmapRaw::map_raw(&file.expect("open a board")).expect("map a board");
        let path = path.into();
        Self { map, path }
    }

    pub(crate) fn path(&self) -> &str {
        let path: &Path = &self.path;
        path.to_str().expect("temporary folders have plain names")
    }

    pub(crate) fn word(&self, at: usize) -> &AtomicU64 {
        assert!(at < self.map.len() / 8, "word {at} is beyond the board");
        let word = self.map.as_mut_ptr().cast::<AtomicU64>().wrapping_add(at);
        // SAFETY: inside the mapping by the check above, aligned since a mapping begins at a page,
        // and everybody who maps the file uses atomics alone.
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

    /// Makes a call, and keeps the longest time that any took.
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

// The words that every fleet's board begins with: one, then two for each slot.

/// Not 0: finish the round, and end.
pub(crate) const STOP: usize = 0;

/// How many rounds a slot's workers have done.
pub(crate) const fn rounds_of(slot: usize) -> usize {
    1 + 2 * slot
}

/// The longest call of a slot's workers, in nanoseconds.
pub(crate) const fn longest_of(slot: usize) -> usize {
    2 + 2 * slot
}

/// How many words a fleet of that size uses.
pub(crate) const fn fleet_words(slots: usize) -> usize {
    1 + 2 * slots
}

/// Workers in numbered slots, killed at random and replaced.
pub(crate) struct Fleet<'a> {
    board: &'a Board,
    /// The worker, and the slot's count of rounds when it was started.
    slots: Vec<(Kid, u64)>,
    start: Box<dyn Fn(usize) -> Kid + 'a>,
}

impl<'a> Fleet<'a> {
    pub(crate) fn new(board: &'a Board, slots: usize, start: impl Fn(usize) -> Kid + 'a) -> Self {
        let start = Box::new(start);
        let slots = (0..slots).map(|slot| (start(slot), 0)).collect();
        Self {
            board,
            slots,
            start,
        }
    }

    /// Kills a worker that has done a round or more, at an instant that is anybody's guess, and
    /// starts another in its place. Returns the slot.
    pub(crate) fn kill_one(&mut self, rng: &mut Rng) -> usize {
        let slot = rng.below(self.slots.len() as u64);
        let slot = usize::try_from(slot).expect("a small number");
        let (worker, before) = &mut self.slots[slot];
        poll("a worker's first round", || {
            if let Some(status) = worker.try_wait().expect("ask for a worker") {
                panic!("a worker failed: {status}");
            }
            (self.board.get(rounds_of(slot)) > *before).then_some(())
        });
        // The workload of a killer: without it, all would die in the beginning of their second round.
        std::thread::sleep(Duration::from_micros(rng.below(1000)));
        worker.kill().expect("kill a worker");
        let status = worker.wait().expect("wait for a worker");
        assert_eq!(
            status.signal(),
            Some(9),
            "a worker ended by itself: {status}"
        );
        *before = self.board.get(rounds_of(slot));
        *worker = (self.start)(slot);
        slot
    }

    /// Waits until every slot has done that many rounds: the watchdog sees to the end of it.
    pub(crate) fn work_until(&mut self, rounds: u64) {
        for (slot, (worker, _)) in self.slots.iter_mut().enumerate() {
            while self.board.get(rounds_of(slot)) < rounds {
                if let Some(status) = worker.try_wait().expect("ask for a worker") {
                    panic!("a worker failed: {status}");
                }
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    }

    /// Has every worker finish its round, and fails unless they end well.
    pub(crate) fn stop(self) {
        self.board.set(STOP, 1);
        for (worker, _) in self.slots {
            worker.finish();
        }
    }
}

/// The longest call of a fleet.
pub(crate) fn longest(board: &Board, slots: usize) -> Duration {
    let longest = (0..slots).map(|slot| board.get(longest_of(slot))).max();
    Duration::from_nanos(longest.expect("a fleet has slots"))
}

/// Waits for what no futex tells of: the state of another process, or a board's word.
pub(crate) fn poll<R>(what: &str, mut look: impl FnMut() -> Option<R>) -> R {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited 30 s for {what}");
        std::thread::sleep(Duration::from_micros(100));
    }
}

/// Random numbers (xorshift64*), from a seed that a failing run shows.
pub(crate) struct Rng(u64);

impl Rng {
    pub(crate) fn new() -> Self {
        let now = std::time::UNIX_EPOCH.elapsed().expect("after 1970");
        let seed = u64::from(now.subsec_nanos()) << 20 | 1;
        println!("seed {seed}");
        Self(seed)
    }

    /// The same numbers for the same seed, which is not 0.
    pub(crate) fn seeded(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32) % limit
    }
}
