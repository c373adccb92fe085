//! Rows of the bare [`Lock`], and the controls: rows that are wrong on purpose.
//!
//! The lock guards two counters that are to stay equal. A death between the two is what a survivor
//! must be told of (`owner_died`); whoever is told mends it.

use crate::step::{BODY, BOUND, Raw, path_of};
use crate::sweep::{Dies, First, Outcome, Predecessor, Row, expect, timed};
use memmap2::{MmapOptions, MmapRaw};
use shmkit::internals::{Deadline, Holder, Lock, LockError, LockId, LockWord, Wait};
use shmkit::memory::{HolderState, Liveness};
use std::fs::File;
use std::sync::atomic::{AtomicU64, Ordering};

const LOCK: u64 = 0;
const FIRST: u64 = 8;
const SECOND: u64 = 16;

/// One row: what the child does with the lock.
pub(crate) struct LockRow {
    name: &'static str,
    operate: fn(&Shared) -> bool,
    after: Option<Predecessor<Shared>>,
    /// Survivors take everybody for alive.
    deaf: bool,
    control: bool,
}

const BASE: LockRow = LockRow {
    name: "",
    operate: Shared::count_up,
    after: None,
    deaf: false,
    control: false,
};

pub(crate) const ROWS: &[LockRow] = &[
    LockRow {
        name: "Lock, lock+unlock",
        ..BASE
    },
    LockRow {
        name: "Lock, taken over from a dead owner",
        after: Some(Predecessor {
            operate: Shared::count_up,
            dies: Dies::When(|raw| raw.word(FIRST) != raw.word(SECOND)),
        }),
        ..BASE
    },
    LockRow {
        name: "control: two words without a lock",
        operate: |shared| {
            shared.bump(FIRST);
            shared.bump(SECOND);
            true
        },
        control: true,
        ..BASE
    },
    LockRow {
        name: "control: nobody is ever found dead",
        deaf: true,
        control: true,
        ..BASE
    },
];

/// A page that processes share by a name, with a lock and two counters in it.
pub(crate) struct Shared {
    map: MmapRaw,
    name: String,
    /// Tells the holders of one process apart.
    which: u64,
    deaf: bool,
}

impl Shared {
    fn open(name: &str, which: u64, deaf: bool) -> Result<Self, String> {
        let failed = |error| format!("{name}: {error}");
        let mut options = File::options();
        let file = options.read(true).write(true).create(which == 0);
        let file = file.truncate(false).open(path_of(name)).map_err(failed)?;
        file.set_len(4096).map_err(failed)?;
        let map = MmapOptions::new()
            .len(4096)
            .map_raw(&file)
            .map_err(failed)?;
        let name = name.to_owned();
        Ok(Self {
            map,
            name,
            which,
            deaf,
        })
    }

    fn word(&self, offset: u64) -> &AtomicU64 {
        let at = usize::try_from(BODY + offset).expect("small");
        assert!(at + 8 <= self.map.len());
        let word = self.map.as_mut_ptr().wrapping_add(at);
        // SAFETY: inside the mapping, aligned to 8, and an atomic wherever it is used.
        unsafe { AtomicU64::from_ptr(word.cast()) }
    }

    fn lock_word(&self) -> &LockWord {
        let word: *const AtomicU64 = self.word(LOCK);
        // SAFETY: a lock word is an atomic of that size, and any bytes of zeros are one.
        unsafe { &*word.cast() }
    }

    fn bump(&self, offset: u64) {
        let word = self.word(offset);
        word.store(word.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }

    /// Runs `f` under the lock, with what the lock says of its last owner.
    fn locked<R>(&self, f: impl FnOnce(bool) -> R) -> Result<R, String> {
        let patience = Wait::Until(Deadline::after(BOUND));
        let result = self.locked_with(patience, f);
        result.map_err(|error| format!("lock: {error:?}"))
    }

    fn locked_with<R>(&self, patience: Wait, f: impl FnOnce(bool) -> R) -> Result<R, LockError> {
        // A holder's number is its process's id here; who dies is reaped before anybody asks.
        let number = AtomicU64::new(u64::from(std::process::id()) << 1 | self.which);
        let holder = Holder {
            number: &number,
            others: self,
        };
        let guard = Lock::new(self.lock_word(), holder, LockId(0)).lock(patience)?;
        Ok(f(guard.owner_died()))
    }

    /// Under the lock: mends what a dead owner left, and finds the counters equal; how far they are.
    fn mend(&self, owner_died: bool) -> Result<u64, String> {
        let first = self.word(FIRST).load(Ordering::Relaxed);
        if owner_died {
            self.word(SECOND).store(first, Ordering::Relaxed);
        }
        let second = self.word(SECOND).load(Ordering::Relaxed);
        expect(
            "the counters, where no owner is said to have died",
            second,
            first,
        )?;
        Ok(first)
    }

    fn count_up(&self) -> bool {
        let counted = self.locked(|owner_died| {
            self.mend(owner_died)?;
            self.bump(FIRST);
            self.bump(SECOND);
            Ok::<_, String>(())
        });
        matches!(counted, Ok(Ok(())))
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        if self.which == 0 {
            let _ = std::fs::remove_file(path_of(&self.name));
        }
    }
}

impl Liveness for Shared {
    fn holder_state(&self, number: u64) -> HolderState {
        let Ok(pid @ 1..) = libc::pid_t::try_from(number >> 1) else {
            return HolderState::NeverDrawn;
        };
        // SAFETY: signal 0 only asks.
        let found = unsafe { libc::kill(pid, 0) } == 0;
        if found || self.deaf {
            HolderState::Alive
        } else {
            HolderState::Dead
        }
    }

    fn identity(&self) -> (u64, u64) {
        (u64::MAX, self.map.as_ptr().addr() as u64)
    }
}

impl Row for LockRow {
    type Handle = Shared;

    fn name(&self) -> &'static str {
        self.name
    }

    fn commits(&self) -> bool {
        true
    }

    fn is_control(&self) -> bool {
        self.control
    }

    fn locks(&self) -> &'static [u64] {
        &[LOCK]
    }

    fn prepare(&self, name: &str) -> Result<Shared, String> {
        Shared::open(name, 0, self.deaf)
    }

    fn predecessor(&self) -> Option<&Predecessor<Shared>> {
        self.after.as_ref()
    }

    fn operate(&self, shared: &Shared) -> bool {
        (self.operate)(shared)
    }

    fn judge(&self, attached: Shared, name: &str, first: First) -> Result<Outcome, String> {
        let newcomer = timed("open", || Shared::open(name, 1, self.deaf))??;
        let [one, other] = first.order(&attached, &newcomer);
        let base = u64::from(self.after.is_some());

        let found = timed("the first lock", || {
            one.locked(|owner_died| {
                let second = other.locked_with(Wait::Try, |_| ());
                expect(
                    "a second lock at the same time",
                    second,
                    Err(LockError::Busy),
                )?;
                one.mend(owner_died)
            })
        })???;
        let outcome = match found.checked_sub(base) {
            Some(0) => Outcome::Before,
            Some(1) => Outcome::After,
            _ => return Err(format!("the counters are at {found}")),
        };
        for survivor in [other, one, other] {
            timed("the next lock", || {
                survivor.locked(|owner_died| {
                    expect("a death of one that lives", owner_died, false)?;
                    survivor.mend(false)?;
                    survivor.bump(FIRST);
                    survivor.bump(SECOND);
                    Ok::<_, String>(())
                })
            })???;
        }
        expect(
            "the counters",
            one.word(SECOND).load(Ordering::Relaxed),
            found + 3,
        )?;
        let word = Raw::open(name)?.word(LOCK);
        expect("the lock word at the end", word, 0)?;
        Ok(outcome)
    }
}
