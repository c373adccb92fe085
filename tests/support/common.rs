//! What every test with several processes uses, whether it starts programs or forks.

use std::ops::Deref;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// A segment's name that no other test and no other run uses. The process that made the name up removes
/// it from `/dev/shm` when it drops this, whoever holds the segment.
pub(crate) struct Name(pub(crate) String, u32);

impl Name {
    pub(crate) fn new(what: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let (pid, count) = (std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        Self(format!("test-{what}-{pid}-{count}"), pid)
    }

    pub(crate) fn exists(&self) -> bool {
        std::fs::exists(format!("/dev/shm/{}", self.0)).expect("look at /dev/shm")
    }

    pub(crate) fn holders(&self) -> usize {
        shmkit::inspect(&self.0).expect("inspect").holders
    }
}

impl Deref for Name {
    type Target = str;
    fn deref(&self) -> &str {
        &self.0
    }
}

impl Drop for Name {
    fn drop(&mut self) {
        if self.1 == std::process::id() {
            let _ = std::fs::remove_file(format!("/dev/shm/{}", self.0));
        }
    }
}

/// Says why a test can't run here. Under `SHMKIT_REQUIRE_ALL`, which CI sets, the test fails.
pub(crate) fn not_run(why: &str) {
    assert!(std::env::var_os("SHMKIT_REQUIRE_ALL").is_none(), "{why}");
    println!("  not run: {why}");
}

/// Looks until `look` finds something. This is for changes that wake nobody: the state of another
/// process, a word on a board.
pub(crate) fn poll<R>(what: &str, mut look: impl FnMut() -> Option<R>) -> R {
    let began = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        let waited = began.elapsed();
        assert!(waited < Duration::from_secs(30), "waited 30 s for {what}");
        // The pause leaves the CPU to the process that is waited for.
        std::thread::sleep(Duration::from_micros(200));
    }
}

/// Looks until `is_so` is true, as [`poll`] does.
pub(crate) fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    poll(what, || is_so().then_some(()));
}

/// The state and the parent from a `stat` file of `/proc`; `None` if nobody has the pid.
fn state_and_parent(stat: &str) -> Option<(char, u32)> {
    let stat = std::fs::read_to_string(stat).ok()?;
    // The program's name stands in brackets before these, and may contain anything.
    let (_, rest) = stat.rsplit_once(") ")?;
    let mut words = rest.split_whitespace();
    let state = words.next()?.chars().next()?;
    Some((state, words.next()?.parse().ok()?))
}

/// A process's state: R runs, S sleeps, T is stopped, Z has ended. `None` if nobody has the pid.
pub(crate) fn state_of(pid: u32) -> Option<char> {
    state_and_parent(&format!("/proc/{pid}/stat")).map(|(state, _)| state)
}

pub(crate) fn parent_of(pid: u32) -> Option<u32> {
    state_and_parent(&format!("/proc/{pid}/stat")).map(|(_, parent)| parent)
}

/// Whether all threads of a process are in that state.
pub(crate) fn threads_are(state: char, pid: u32) -> bool {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).expect("list the threads");
    threads
        .filter_map(|thread| {
            let stat = thread.ok()?.path().join("stat");
            state_and_parent(stat.to_str()?)
        })
        .all(|(found, _)| found == state)
}

/// Ends this process as `kill -9` does.
pub(crate) fn kill_me() -> ! {
    // SAFETY: it takes a number.
    unsafe { libc::raise(libc::SIGKILL) };
    unreachable!("killed")
}

/// Random numbers (xorshift64*).
pub(crate) struct Rng(u64);

impl Rng {
    /// From a seed that the test prints, so that a failing run shows it.
    pub(crate) fn new() -> Self {
        let now = std::time::UNIX_EPOCH.elapsed().expect("after 1970");
        let seed = u64::from(now.subsec_nanos()) << 20 | 1;
        println!("  seed {seed}");
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

    /// An index into something of that length.
    pub(crate) fn index(&mut self, len: usize) -> usize {
        usize::try_from(self.below(len as u64)).expect("less than a length")
    }
}
