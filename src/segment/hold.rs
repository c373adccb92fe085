//! Holds and the gate: the kernel decides who is alive.
//!
//! Everything rests on open-file-description locks on bytes far beyond the segment's end. Such a lock ends
//! with the last descriptor and the last mapping of the open file, and therefore with the process, however
//! that ends. It knows nothing of pids, and asking for it takes nothing.
//!
//! | byte | write-locked by | for how long |
//! |---|---|---|
//! | [`GATE`] | the process that decides about the segment's *name* | the decision |
//! | `GATE + n` | holder n, a process that has the segment open | as long as the process has it open |
//!
//! Invariants:
//! 1. *A number is drawn once.* The counter in the header only grows, and a draw is one CAS.
//! 2. *Holder n is alive exactly while byte n is locked*: from `Hold::take` until [`Leaving`] is
//!    dropped, or until the kernel closes a dead process's descriptors.
//! 3. *One open file description, one holder.* A forked child shares its parent's descriptions. So the
//!    fork handler opens each segment again beforehand, and the child keeps only the new description: a
//!    dead parent never looks alive through its child, and a child is a holder from its first instruction.
//!    The child also inherits the parent's mapping, which keeps the description through which it was
//!    made; therefore that is never the hold's description.
//! 4. *No fork falls into a gate section or a half-made hold*: both run under [`Exclusive`], which the
//!    fork handler takes.
//!
//! If a process dies anywhere here, the kernel closes its descriptors: the gate opens, and the hold
//! ends. A number that was drawn and not locked yet belongs to nobody, and counts as dead.

mod counter;
mod fork;
mod gate;
mod last;

pub(crate) use counter::FIRST_COUNTER;
use counter::{draw, next_number};
pub(crate) use fork::{Exclusive, exclusive, guards_alive};
use gate::GATE;
pub(crate) use gate::{GATE_TIMEOUT, Gate};
pub(crate) use last::{UnlinkOnLast, leave_all};

use crate::error::Error;
use crate::os::{self, AsFd, BorrowedFd, File, FileId, IntoRawFd, RawFd};
use crate::sync::{HolderState, new_identity};
use std::io;
use std::path::PathBuf;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

const NO_FD: RawFd = -1;

/// This process's hold on one open segment.
#[derive(Debug)]
pub(crate) struct Hold {
    /// The hold's own open file description; [`NO_FD`] in a child that could not get one, and after
    /// leaving. It changes only under [`Exclusive`], while no other thread exists or uses it.
    fd: AtomicI32,
    /// The holder number; 0 if `fd` is `NO_FD`.
    number: AtomicU64,
    /// The next child's description and number: set by `open_for_child`, cleared on both sides of the fork.
    heir_fd: AtomicI32,
    heir_number: AtomicU64,
    /// The counter in the segment's header, mapped until `leave`.
    counter: NonNull<AtomicU64>,
    id: FileId,
    /// Tells the file from all others while this process has it open; an inode's number may come again.
    identity: (u64, u64),
    /// The file's path, for systems without /proc.
    path: Option<PathBuf>,
    /// The name that the last holder removes; unset if no name goes with the holders.
    unlink_on_last: OnceLock<UnlinkOnLast>,
}

// SAFETY: the pointer leads to an atomic that stays mapped while the hold is registered (the contract
// of `take`); everything else is atomic or constant.
unsafe impl Send for Hold {}
// SAFETY: as for `Send`.
unsafe impl Sync for Hold {}

impl Hold {
    /// Becomes a holder: draws a number, and locks its byte through `file`.
    ///
    /// An error of the kind `InvalidData` says that the counter is damaged.
    ///
    /// # Safety
    /// `counter` leads to the counter in the mapped segment of `file`, and stays mapped until
    /// [`leave`](Self::leave) returns.
    pub(crate) unsafe fn take(
        exclusive: &mut Exclusive,
        file: File,
        counter: NonNull<AtomicU64>,
        path: Option<PathBuf>,
    ) -> io::Result<Arc<Self>> {
        let id = os::FileStatus::of(&file)?.id;
        // SAFETY: mapped, by the contract above; an atomic may be shared with other processes.
        let number = lock_new_number(file.as_fd(), unsafe { counter.as_ref() })?;
        let same = exclusive.0.iter().find(|hold| hold.id == id);
        let identity = same.map_or_else(new_identity, |hold| hold.identity);
        let hold = Arc::new(Self {
            fd: AtomicI32::new(file.into_raw_fd()),
            number: AtomicU64::new(number),
            heir_fd: AtomicI32::new(NO_FD),
            heir_number: AtomicU64::new(0),
            counter,
            id,
            identity,
            path,
            unlink_on_last: OnceLock::new(),
        });
        exclusive.0.push(Arc::clone(&hold));
        Ok(hold)
    }

    /// Stops forks from renewing this hold, and returns the rest of it: dropping the result ends the hold.
    /// Returns `None` in a child that never got a hold.
    pub(crate) fn leave(&self, exclusive: &mut Exclusive) -> Option<Leaving> {
        exclusive.0.retain(|other| !std::ptr::eq(&**other, self));
        let number = self.number.swap(0, Ordering::Relaxed);
        take_fd(&self.fd).map(|file| Leaving { file, number })
    }

    /// Returns the hold's own open file description.
    pub(crate) fn fd(&self) -> Option<BorrowedFd<'_>> {
        borrow_fd(&self.fd)
    }

    pub(crate) fn number(&self) -> &AtomicU64 {
        &self.number
    }

    /// Returns the identity for [`Liveness::identity`](crate::sync::Liveness::identity), which all holds on
    /// the file share.
    pub(crate) fn identity(&self) -> (u64, u64) {
        self.identity
    }

    /// Returns what is known about the holder with this number.
    pub(crate) fn holder_state(&self, number: u64) -> HolderState {
        if number == self.number.load(Ordering::Relaxed) {
            return HolderState::Alive;
        }
        // SAFETY: the counter is mapped while we are registered, and the caller has the segment open.
        let word = unsafe { self.counter.as_ref() }.load(Ordering::Relaxed);
        let drawn = next_number(word).is_some_and(|next| (1..next).contains(&number));
        if !drawn {
            return HolderState::NeverDrawn;
        }
        let Some(fd) = self.fd() else {
            return HolderState::Alive;
        };
        match os::find_locked(fd, GATE + number, 1) {
            Ok(None) => HolderState::Dead,
            // If the kernel can't answer, the holder counts as alive: a waiter asks again after a nap.
            Ok(Some(_)) | Err(_) => HolderState::Alive,
        }
    }

    fn open_for_child(&self) {
        let opened = self.fd().ok_or(io::Error::from(io::ErrorKind::NotFound));
        let opened = opened.and_then(|fd| {
            let file = os::reopen(fd, self.path.as_deref())?;
            if os::FileStatus::of(&file)?.id != self.id {
                return Err(io::ErrorKind::NotFound.into());
            }
            // SAFETY: the counter is mapped while we are registered, and we are on the list.
            let number = lock_new_number(file.as_fd(), unsafe { self.counter.as_ref() })?;
            Ok((file.into_raw_fd(), number))
        });
        // If this failed, the child is told at its first use.
        let (fd, number) = opened.unwrap_or((NO_FD, 0));
        self.heir_fd.store(fd, Ordering::Relaxed);
        self.heir_number.store(number, Ordering::Relaxed);
    }

    fn drop_heir(&self) {
        drop(take_fd(&self.heir_fd));
    }

    fn become_heir(&self) {
        drop(take_fd(&self.fd));
        let heir = self.heir_fd.swap(NO_FD, Ordering::Relaxed);
        self.fd.store(heir, Ordering::Relaxed);
        let number = self.heir_number.load(Ordering::Relaxed);
        self.number.store(number, Ordering::Relaxed);
    }
}

/// Translates an error of [`Hold::take`] into the crate's.
pub(crate) fn refusal(label: &str, error: io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::InvalidData => Error::Corrupt {
            place: label.to_owned(),
            what: "holder counter",
            expected: "a number never drawn before, and its check".into(),
            found: "another word".into(),
        },
        _ => Error::from_os(label, "become a holder", error),
    }
}

/// A hold that nothing in this process uses any more. Dropping it ends the hold.
#[derive(Debug)]
pub(crate) struct Leaving {
    file: File,
    number: u64,
}

impl Leaving {
    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// Ends the hold while the file is still open, for a caller in the file's gate.
    pub(crate) fn end(&self) {
        // Closing is not enough. While another thread starts a program, a child that is not one of our
        // forks has copies of all descriptors, which would keep the byte locked.
        let left = os::unlock_byte(self.file.as_fd(), GATE + self.number);
        debug_assert!(left.is_ok(), "holder {}: {left:?}", self.number);
    }
}

impl Drop for Leaving {
    fn drop(&mut self) {
        self.end();
    }
}

fn lock_new_number(fd: BorrowedFd<'_>, counter: &AtomicU64) -> io::Result<u64> {
    let number = draw(counter)?;
    if os::try_lock_byte(fd, GATE + number)? {
        Ok(number)
    } else {
        // By invariant 1 nobody else can have the number: somebody set the counter back.
        Err(io::ErrorKind::InvalidData.into())
    }
}

/// Locks the byte of the number that the first holder of a file will draw, before the file has a counter.
pub(crate) fn lock_first_number(fd: BorrowedFd<'_>) -> io::Result<bool> {
    os::try_lock_byte(fd, GATE + 1)
}

/// Does what the death of that first holder does.
#[cfg(test)]
pub(crate) fn unlock_first_number(fd: BorrowedFd<'_>) -> io::Result<()> {
    os::unlock_byte(fd, GATE + 1)
}

fn take_fd(cell: &AtomicI32) -> Option<File> {
    let fd = cell.swap(NO_FD, Ordering::Relaxed);
    // SAFETY: a descriptor in a hold's cell is open and the hold's own; since the swap the cell does not own it.
    (fd != NO_FD).then(|| unsafe { os::adopt(fd) }.into())
}

fn borrow_fd(cell: &AtomicI32) -> Option<BorrowedFd<'_>> {
    let fd = cell.load(Ordering::Relaxed);
    // SAFETY: the descriptor is open as long as the hold is; only a forked child and `leave` replace it.
    (fd != NO_FD).then(|| unsafe { BorrowedFd::borrow_raw(fd) })
}

/// Returns whether anybody but the open file description behind `fd` holds the segment.
pub(crate) fn is_held_by_others(fd: BorrowedFd<'_>) -> io::Result<bool> {
    Ok(os::find_locked(fd, GATE + 1, 0)?.is_some())
}

/// Counts the holders of the segment, without the open file description behind `fd`.
///
/// The kernel names some lock of a range, not the first one, so this asks again on either side of it. A
/// hold is one byte long; a longer lock is somebody else's, and is not counted.
pub(crate) fn count_holders(fd: BorrowedFd<'_>) -> io::Result<usize> {
    let mut ranges = vec![(GATE + 1, i64::MAX as u64)];
    let mut count = 0;
    while let Some((start, end)) = ranges.pop() {
        if start >= end {
            continue;
        }
        if let Some(locked) = os::find_locked(fd, start, end - start)? {
            count += usize::from(locked.end - locked.start == 1);
            ranges.push((start, locked.start));
            ranges.push((locked.end, end));
        }
    }
    Ok(count)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sync::{Deadline, Holder, Liveness, Lock, LockError, LockId, LockWord, Wait};
    use std::time::Duration;

    /// A holder of a file that consists of a counter and a lock's word.
    struct TestHolder {
        map: os::MmapRaw,
        hold: Arc<Hold>,
    }

    impl TestHolder {
        fn new(file: &File) -> Self {
            let map = os::map(file, 16).unwrap();
            let counter = NonNull::new(map.as_mut_ptr().cast()).unwrap();
            let own = os::reopen(file.as_fd(), None).unwrap();
            // SAFETY: the counter is in the file's mapping, which `drop` keeps until it has left.
            let hold = unsafe { Hold::take(&mut exclusive(), own, counter, None) }.unwrap();
            Self { map, hold }
        }

        fn lock(&self) -> Lock<'_> {
            let word = self.map.as_mut_ptr().wrapping_add(8).cast::<LockWord>();
            let holder = Holder {
                number: self.hold.number(),
                others: self,
            };
            // SAFETY: the word is mapped as long as `self` is, and aligned; a lock's word is atomic.
            Lock::new(unsafe { &*word }, holder, LockId(0))
        }
    }

    impl Drop for TestHolder {
        fn drop(&mut self) {
            drop(self.hold.leave(&mut exclusive()));
        }
    }

    impl Liveness for TestHolder {
        fn holder_state(&self, number: u64) -> HolderState {
            self.hold.holder_state(number)
        }

        fn identity(&self) -> (u64, u64) {
            self.hold.identity()
        }
    }

    const FOREVER: Wait = Wait::Until(Deadline::NEVER);

    #[test]
    fn a_leaked_guard_lives_as_long_as_its_handle() {
        let file = os::create_in_memory().unwrap();
        file.set_len(16).unwrap();
        os::write_at(&file, &FIRST_COUNTER.to_le_bytes(), 0).unwrap();
        // Two handles to one segment, in one process: two holders of one lock.
        let (one, other) = (TestHolder::new(&file), TestHolder::new(&file));
        assert_eq!(guards_alive(), 0);
        let guard = one.lock().lock(FOREVER).unwrap();
        assert_eq!(guards_alive(), 0, "no code but ours runs under it");
        let announced = guard.announce();
        assert_eq!(guards_alive(), 1);
        let elsewhere = std::thread::spawn(guards_alive).join().unwrap();
        assert_eq!(elsewhere, 0, "another thread's are not this one's");
        drop(announced);
        assert_eq!(guards_alive(), 0);
        std::mem::forget(guard.announce());
        std::mem::forget(guard);
        assert_eq!(guards_alive(), 1, "leaked, and still locked");
        assert!(other.lock().lock(Wait::Try).is_err());
        drop(one);
        assert_eq!(guards_alive(), 0, "its handle is gone");
        assert!(other.lock().lock(FOREVER).unwrap().owner_died());
    }

    /// Inode numbers come again at once on some filesystems: here one file stands for two.
    #[test]
    fn a_leaked_guard_does_not_belong_to_a_later_segment() {
        let file = os::create_in_memory().unwrap();
        file.set_len(16).unwrap();
        let new_segment = || {
            let words = [FIRST_COUNTER.to_le_bytes(), [0; 8]].concat();
            os::write_at(&file, &words, 0).unwrap();
            TestHolder::new(&file)
        };
        let first = new_segment();
        let guard = first.lock().lock(FOREVER).unwrap();
        std::mem::forget(guard.announce());
        std::mem::forget(guard);
        let number = first.hold.number().load(Ordering::Relaxed);
        drop(first);

        let (later, same) = (new_segment(), TestHolder::new(&file));
        assert_eq!(later.hold.number().load(Ordering::Relaxed), number);
        assert_eq!(later.identity(), same.identity());
        assert_eq!(guards_alive(), 0, "the guard was the first one's");
        std::thread::scope(|scope| {
            let (locked, is_locked) = std::sync::mpsc::channel();
            let (done, is_done) = std::sync::mpsc::channel::<()>();
            let later = &later;
            scope.spawn(move || {
                let guard = later.lock().lock(FOREVER).unwrap();
                locked.send(()).unwrap();
                is_done.recv().unwrap_err(); // the other side is gone
                drop(guard);
            });
            is_locked.recv().unwrap();
            let soon = Wait::within(Duration::from_millis(1));
            let refused = [later, &same].map(|holder| holder.lock().lock(soon).map(drop));
            drop(done);
            assert_eq!(refused, [Err(LockError::TimedOut); 2], "another thread's");
        });
    }

    #[test]
    fn a_guard_in_memory_of_your_own_does_not_count() {
        struct Own;
        impl Liveness for Own {
            fn holder_state(&self, _: u64) -> HolderState {
                HolderState::Alive
            }
            fn identity(&self) -> (u64, u64) {
                (u64::MAX, 1)
            }
        }
        let file = os::create_in_memory().unwrap();
        file.set_len(16).unwrap();
        os::write_at(&file, &FIRST_COUNTER.to_le_bytes(), 0).unwrap();
        let same_number = TestHolder::new(&file);
        let number = AtomicU64::new(same_number.hold.number().load(Ordering::Relaxed));
        let word = LockWord::default();
        let holder = Holder {
            number: &number,
            others: &Own,
        };
        let guard = Lock::new(&word, holder, LockId(0)).lock(FOREVER).unwrap();
        let announced = guard.announce();
        assert_eq!(guards_alive(), 0);
        drop(announced);
    }
}
