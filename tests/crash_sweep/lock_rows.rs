//! Rows of the bare [`Lock`], and the controls: rows that are wrong on purpose.
//!
//! The lock guards two counters that are to stay equal. If an owner dies between the two, the lock must
//! tell the next owner (`owner_died`), who mends them.

use crate::row::{Family, First, Outcome, Predecessor, Row, expect, timed};
use crate::step::{BODY, BOUND, path_of};
use memmap2::{MmapOptions, MmapRaw};
use shmkit::internals::{Deadline, Holder, Lock, LockError, LockId, LockWord, Wait};
use shmkit::memory::{HolderState, Liveness};
use std::fs::File;
use std::sync::atomic::{AtomicU64, Ordering};

const LOCK: u64 = 0;
/// The bit of a lock's word that is set while the lock is reserved, and the two of a waiter that starves.
const RESERVED: u64 = 1 << 63;
const STARVING: u64 = 3;
const FIRST: u64 = 8;
const SECOND: u64 = 16;

/// The state of the two counters, and of the survivors.
pub(crate) struct Counters {
    /// The first counter when the operation begins.
    before: u64,
    /// Survivors take every holder for alive.
    deaf: bool,
}

const FRESH: Counters = Counters {
    before: 0,
    deaf: false,
};

pub(crate) fn rows() -> [Row<Counters>; 6] {
    let counted = || Counters { before: 1, ..FRESH };
    let deaf = Counters {
        deaf: true,
        ..FRESH
    };
    let between_the_two =
        Predecessor::when(Shared::count_up, |raw| raw.word(FIRST) != raw.word(SECOND));
    let while_reserved = Predecessor::when(Shared::count_up_starving, |raw| {
        raw.word(LOCK) & RESERVED != 0
    });
    [
        Row::new("Lock, lock+unlock", Shared::count_up, FRESH),
        Row::new(
            "Lock, taken over from a dead owner",
            Shared::count_up,
            counted(),
        )
        .after(between_the_two),
        Row::new(
            "Lock, released to a starving waiter that is gone",
            Shared::count_up_starving,
            FRESH,
        ),
        Row::new(
            "Lock, reserved for a waiter that is gone",
            Shared::count_up,
            counted(),
        )
        .after(while_reserved),
        Row::new(
            "control: two words without a lock",
            Shared::bump_both,
            FRESH,
        )
        .control(),
        Row::new("control: nobody is ever found dead", Shared::count_up, deaf).control(),
    ]
}

/// A page that processes share by a name, with a lock and two counters in it.
pub(crate) struct Shared {
    map: MmapRaw,
    name: String,
    /// 0 or 1, which tells apart the two holders of one process.
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
        // SAFETY: the word is inside the mapping, aligned to 8, and used as an atomic everywhere.
        unsafe { AtomicU64::from_ptr(word.cast()) }
    }

    fn lock_word(&self) -> &LockWord {
        let word: *const AtomicU64 = self.word(LOCK);
        // SAFETY: a lock word is an atomic of that size, and zeros are a valid lock word.
        unsafe { &*word.cast() }
    }

    fn bump(&self, offset: u64) {
        let word = self.word(offset);
        word.store(word.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }

    fn bump_both(&self) -> bool {
        self.bump(FIRST);
        self.bump(SECOND);
        true
    }

    /// Runs `f` under the lock, and tells it whether the last owner died.
    fn locked<R>(&self, f: impl FnOnce(bool) -> R) -> Result<R, String> {
        let patience = Wait::Until(Deadline::after(BOUND));
        let result = self.locked_with(patience, f);
        result.map_err(|error| format!("lock: {error:?}"))
    }

    fn locked_with<R>(&self, patience: Wait, f: impl FnOnce(bool) -> R) -> Result<R, LockError> {
        // The holder's number is made of its process's id. A dead holder is reaped before anybody asks for it.
        let number = AtomicU64::new(u64::from(std::process::id()) << 1 | self.which);
        let holder = Holder {
            number: &number,
            others: self,
        };
        let guard = Lock::new(self.lock_word(), holder, LockId(0)).lock(patience)?;
        Ok(f(guard.owner_died()))
    }

    /// Makes the counters equal if the last owner died, and fails if they differ otherwise. Returns the first.
    fn mend(&self, owner_died: bool) -> Result<u64, String> {
        let first = self.word(FIRST).load(Ordering::Relaxed);
        if owner_died {
            self.word(SECOND).store(first, Ordering::Relaxed);
        }
        let second = self.word(SECOND).load(Ordering::Relaxed);
        let what = "the counters, where no owner is said to have died";
        expect(what, second, first)?;
        Ok(first)
    }

    fn count_up(&self) -> bool {
        self.count_up_beside(0)
    }

    /// Releases the lock as if somebody slept for it and starved.
    fn count_up_starving(&self) -> bool {
        self.count_up_beside(STARVING)
    }

    fn count_up_beside(&self, waiters: u64) -> bool {
        let mended = self.locked(|owner_died| {
            let mended = self.mend(owner_died);
            self.word(LOCK).fetch_or(waiters, Ordering::Relaxed);
            mended.is_ok() && self.bump_both()
        });
        mended == Ok(true)
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
        // SAFETY: the call takes numbers, and signal 0 only asks.
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

impl Family for Counters {
    type Handle = Shared;
    const LOCKS: &'static [u64] = &[LOCK];

    fn prepare(&self, name: &str) -> Result<Shared, String> {
        Shared::open(name, 0, self.deaf)
    }

    fn judge(&self, attached: Shared, name: &str, first: First) -> Result<Outcome, String> {
        let newcomer = timed("open", || Shared::open(name, 1, self.deaf))??;
        let [one, other] = first.order(&attached, &newcomer);

        let found = timed("the first lock", || {
            one.locked(|owner_died| {
                let second = other.locked_with(Wait::Try, |_| ());
                let what = "a second lock at the same time";
                expect(what, second, Err(LockError::Busy))?;
                one.mend(owner_died)
            })
        })???;
        let outcome = match found.checked_sub(self.before) {
            Some(0) => Outcome::Before,
            Some(1) => Outcome::After,
            _ => return Err(format!("the counters are at {found}")),
        };
        for survivor in [other, one, other] {
            timed("the next lock", || {
                survivor.locked(|owner_died| {
                    expect("a death of one that lives", owner_died, false)?;
                    survivor.mend(false)?;
                    Ok::<_, String>(survivor.bump_both())
                })
            })???;
        }
        let counted = one.word(SECOND).load(Ordering::Relaxed);
        expect("the counters", counted, found + 3)?;
        Ok(outcome)
    }
}
