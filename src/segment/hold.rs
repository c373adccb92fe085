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
//! | `DEPARTING + n` | holder n, whose process is in its exit handlers | until that process has ended |
//!
//! Invariants:
//! 1. *A number is drawn once.* The counter in the header only grows, and a draw is one CAS.
//! 2. *Holder n is alive exactly while one of its bytes is locked*: from `Hold::take` until the hold ends,
//!    or until the kernel has closed a dead process's descriptors and undone its mappings. A departing
//!    holder locks its second byte before it unlocks its first, and [`Hold::holder_state`] asks for the
//!    first before the second.
//! 3. *One open file description, one holder.* A forked child shares its parent's descriptions. So the
//!    fork handler opens each segment again beforehand, and the child keeps only the new description: a
//!    dead parent never looks alive through its child, and a child is a holder from its first instruction.
//!    The child also inherits the parent's mapping, which keeps the description through which it was
//!    made; therefore that is never the hold's description.
//! 4. *No fork falls into a gate section or a half-made hold*: both run under [`Exclusive`], which the
//!    fork handler takes. Nobody waits under it: whoever finds a gate shut gives up everything, and
//!    tries again ([`in_turns`]).
//! 5. *A program that closes descriptors ends no hold*: an [`os::Anchor`], a mapping that no child inherits,
//!    keeps the description open. The descriptor is only a way to ask. Each use asks first whether the number
//!    still leads to the hold's own description (`is_own`); any other number is left alone. On overlayfs a
//!    mapping keeps the lower filesystem's file instead, so there a closed descriptor does end a hold.
//!
//! If a process dies anywhere here, the kernel closes its descriptors and undoes its mappings: the gate opens,
//! and the hold ends. (Whoever reads the dead process's memory through /proc delays that until it has read.)
//! A number that was drawn and not locked yet belongs to nobody, and counts as dead.

mod counter;
mod fork;
mod gate;
mod last;

pub(crate) use counter::FIRST_COUNTER;
use counter::{NUMBERS, draw, next_number};
#[cfg(feature = "serde")]
pub(crate) use fork::held_descriptors;
pub(crate) use fork::{Exclusive, exclusive, guards_alive, want_of_last_fork, watch_forks};
use gate::GATE;
pub(crate) use gate::{GATE_TIMEOUT, Gate, in_turns};
pub(crate) use last::{UnlinkOnLast, leave_all};

use crate::error::Error;
use crate::os::{self, Anchor, AsFd, BorrowedFd, File, FileId, FileStatus, IntoRawFd, RawFd};
use crate::sync::{HolderState, new_identity};
use fork::Entry;
use std::io;
use std::path::PathBuf;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

/// The bytes of departing holders lie behind those of all others.
const DEPARTING: u64 = GATE + NUMBERS;

const NO_FD: RawFd = -1;

/// This process's hold on one open segment.
#[derive(Debug)]
pub(crate) struct Hold {
    /// The descriptor of the hold's open file description, unless the program closed it; [`NO_FD`] in a child
    /// that could not get one, and after the hold has ended.
    fd: AtomicI32,
    /// The holder number; 0 if there is none. It changes only under [`Exclusive`].
    number: AtomicU64,
    /// The counter in the segment's header, mapped until `leave`.
    counter: NonNull<AtomicU64>,
    id: FileId,
    /// Tells the file from all others while this process has it open; an inode's number may come again.
    identity: (u64, u64),
    /// The file's path, for systems without /proc, and for a program that closed the descriptor.
    path: Option<PathBuf>,
    /// The name that the last holder removes; unset if no name goes with the holders.
    unlink_on_last: OnceLock<UnlinkOnLast>,
    /// Whether the process is in its exit handlers. It changes only under [`Exclusive`].
    departs: AtomicBool,
}

// SAFETY: the pointer leads to an atomic that stays mapped while the hold is registered (the contract
// of `take`); everything else is atomic or constant.
unsafe impl Send for Hold {}
// SAFETY: as for `Send`.
unsafe impl Sync for Hold {}

impl Hold {
    /// Becomes a holder: draws a number, and locks its byte through `file`.
    ///
    /// An error of the kind `InvalidData` says that the counter is damaged, one of the kind `WouldBlock` that
    /// a process which may only read the file keeps the byte from being locked.
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
        let id = FileStatus::of(&file)?.id;
        let anchor = Anchor::of_own(file.as_fd())?;
        // SAFETY: mapped, by the contract above; an atomic may be shared with other processes.
        let number = lock_new_number(GATE, file.as_fd(), unsafe { counter.as_ref() })?;
        let same = exclusive.entries().find(|entry| entry.hold.id == id);
        let identity = same.map_or_else(new_identity, |entry| entry.hold.identity);
        let hold = Arc::new(Self {
            fd: AtomicI32::new(file.into_raw_fd()),
            number: AtomicU64::new(number),
            counter,
            id,
            identity,
            path,
            unlink_on_last: OnceLock::new(),
            departs: AtomicBool::new(false),
        });
        exclusive.register(Entry::new(Arc::clone(&hold), anchor));
        Ok(hold)
    }

    /// Ends the hold, and returns its descriptor. The unlocking is explicit: while another thread starts a
    /// program, a child that is not one of our forks has copies of all descriptors, which would keep the
    /// bytes locked.
    fn end(&self, exclusive: &mut Exclusive) -> Option<File> {
        let file = self.take_fd();
        let number = self.number.swap(0, Ordering::Relaxed);
        let anchor = exclusive.deregister(self);
        if let Some(file) = &file {
            for byte in [GATE, DEPARTING].map(|first| first + number) {
                let left = os::unlock_byte(file.as_fd(), byte);
                debug_assert!(left.is_ok(), "holder {number}: {left:?}");
            }
        }
        drop(anchor);
        file
    }

    /// Returns the descriptor of the hold's open file description. Returns `None` in a child that never got
    /// a hold, after the hold has ended, and if the program closed the descriptor.
    pub(crate) fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.raw_fd().filter(|fd| self.is_own(*fd))
    }

    /// Returns where the bytes lie of which the hold has one.
    fn first_byte(&self) -> u64 {
        match self.departs.load(Ordering::Relaxed) {
            true => DEPARTING,
            false => GATE,
        }
    }

    /// Returns the number in the cell, which may be a stranger's by now.
    fn raw_fd(&self) -> Option<BorrowedFd<'_>> {
        let fd = self.fd.load(Ordering::Relaxed);
        // SAFETY: the descriptor is open as long as the hold is, unless the program closed it; then the number
        // is only compared, because whoever uses it asks `is_own` first.
        (fd != NO_FD).then(|| unsafe { BorrowedFd::borrow_raw(fd) })
    }

    /// Returns whether a descriptor is of the hold's own open file description: it leads to the file, and does
    /// not see the hold's byte locked. Through every other description of the file, the byte looks locked.
    fn is_own(&self, fd: BorrowedFd<'_>) -> bool {
        let byte = self.first_byte() + self.number.load(Ordering::Relaxed);
        let found = || os::insist(|| os::find_locked(fd, byte, 1));
        leads_to(&fd, self.id) && found().is_ok_and(|found| found.is_none())
    }

    /// Takes the descriptor out of the cell, if it is the hold's own.
    fn take_fd(&self) -> Option<File> {
        let is_own = self.fd().is_some();
        let fd = self.fd.swap(NO_FD, Ordering::Relaxed);
        // SAFETY: nobody else closes a descriptor of the hold's description; since the swap the cell does not own it.
        is_own.then(|| unsafe { os::adopt(fd) }.into())
    }

    /// Returns a way to the segment's file: the hold's own descriptor, or a new one if the program closed
    /// that. An error of the kind `NotFound` says that there is no way.
    fn file(&self) -> io::Result<HoldFile<'_>> {
        if let Some(fd) = self.fd() {
            return Ok(HoldFile::Own(fd));
        }
        let not_found = || io::Error::from(io::ErrorKind::NotFound);
        self.raw_fd().ok_or_else(not_found)?; // there never was a hold, or it has ended
        let file = os::open(self.path.as_ref().ok_or_else(not_found)?, true)?;
        leads_to(&file, self.id)
            .then_some(HoldFile::Opened(file))
            .ok_or_else(not_found)
    }

    pub(crate) fn number(&self) -> &AtomicU64 {
        &self.number
    }

    /// Returns whether the path with which the segment was created or opened still leads to its file.
    pub(crate) fn is_reachable(&self) -> bool {
        let there = self.path.as_deref().map(FileStatus::at);
        there.is_some_and(|there| there.is_ok_and(|there| there.id == self.id))
    }

    /// Returns the identity for [`Liveness::identity`](crate::sync::Liveness::identity), which all holds on
    /// the file share.
    pub(crate) fn identity(&self) -> (u64, u64) {
        self.identity
    }

    /// Returns what is known about the holder with this number.
    ///
    /// # Panics
    /// If the program closed the segment's descriptor, and nothing else leads to the file: nobody can be
    /// asked then, and a guess would let two in or keep all out.
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
        // If nobody can answer now, the holder counts as alive: a waiter asks again after a nap.
        let file = match self.file() {
            Ok(file) => file,
            Err(error) => {
                let lost = self.fd.load(Ordering::Relaxed);
                assert!(
                    lost == NO_FD || error.kind() != io::ErrorKind::NotFound,
                    "can't ask whether holder {number} of a segment is alive: the program closed \
                     the segment's descriptor {lost}, and no path leads to the file"
                );
                return HolderState::Alive;
            }
        };
        let is_free =
            |byte| os::find_locked(file.as_fd(), byte, 1).is_ok_and(|locked| locked.is_none());
        if is_free(GATE + number) && is_free(DEPARTING + number) {
            HolderState::Dead
        } else {
            HolderState::Alive
        }
    }

    /// Returns whether anybody but holder `number`, who is this one, holds the segment. Departing holders don't
    /// count.
    fn is_held_by_others(&self, fd: BorrowedFd<'_>, number: u64) -> io::Result<bool> {
        // After the program closed our descriptor, `fd` is of another description, and would find our lock. The
        // order matters: a fork locks its child's number, which is above its parent's, without the gate.
        let (below, above) = (1..number, number + 1..NUMBERS);
        for numbers in [below, above] {
            let count = numbers.end - numbers.start;
            if count > 0 && os::find_locked(fd, GATE + numbers.start, count)?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Makes a hold for the next child.
    fn open_for_child(&self) -> io::Result<Heir> {
        let file = match self.file()? {
            HoldFile::Own(fd) => os::reopen(fd, self.path.as_deref())?,
            HoldFile::Opened(file) => file,
        };
        if !leads_to(&file, self.id) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let anchor = Anchor::new(file.as_fd())?;
        // Who departs has no right to keep the name, and so can't pass it on.
        // SAFETY: the counter is mapped while we are registered, and we are on the list.
        let number =
            unsafe { lock_new_number(self.first_byte(), file.as_fd(), self.counter.as_ref()) }?;
        Ok(Heir {
            file,
            number,
            anchor,
        })
    }

    /// Replaces the parent's hold by the child's; returns the anchor of the latter.
    fn become_heir(&self, heir: Option<Heir>) -> Option<Anchor> {
        drop(self.take_fd());
        // Without an heir, the child is told at its first use.
        let (number, anchor) = heir.map_or((0, None), |heir| {
            self.fd.store(heir.file.into_raw_fd(), Ordering::Relaxed);
            (heir.number, Some(heir.anchor))
        });
        self.number.store(number, Ordering::Relaxed);
        anchor
    }
}

/// A way to a segment's file.
enum HoldFile<'a> {
    /// Through the hold's own open file description.
    Own(BorrowedFd<'a>),
    /// Through a new one.
    Opened(File),
}

impl AsFd for HoldFile<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Own(fd) => *fd,
            Self::Opened(file) => file.as_fd(),
        }
    }
}

/// The hold of a child that is about to be forked.
#[derive(Debug)]
struct Heir {
    file: File,
    number: u64,
    anchor: Anchor,
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
        io::ErrorKind::WouldBlock => {
            let op = "become a holder: a reader of the file has locked the bytes of holders";
            Error::from_os(label, op, error)
        }
        _ => Error::from_os(label, "become a holder", error),
    }
}

/// Draws a number, and locks its byte among those from `first` on.
fn lock_new_number(first: u64, fd: BorrowedFd<'_>, counter: &AtomicU64) -> io::Result<u64> {
    let number = draw(counter)?;
    if os::try_lock_byte(fd, first + number)? {
        return Ok(number);
    }
    // By invariant 1 nobody else can have the number. If a writer has its byte, somebody set the counter back.
    Err(match os::find_locked(fd, first + number, 1)? {
        Some(_) => io::ErrorKind::InvalidData.into(),
        None => io::ErrorKind::WouldBlock.into(),
    })
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

fn leads_to(fd: &impl AsFd, id: FileId) -> bool {
    os::insist(|| FileStatus::of(fd)).is_ok_and(|status| status.id == id)
}

/// Returns whether anybody but the open file description behind `fd` holds the segment. Departing holders
/// don't count.
pub(crate) fn is_held_by_others(fd: BorrowedFd<'_>) -> io::Result<bool> {
    Ok(os::find_locked(fd, GATE + 1, NUMBERS - 1)?.is_some())
}

/// Counts the holders of the segment, without the open file description behind `fd`.
///
/// The kernel names some lock of a range, not the first one, so this asks again on either side of it. A
/// hold is one byte long; a longer lock is somebody else's, and is not counted.
pub(crate) fn count_holders(fd: BorrowedFd<'_>) -> io::Result<usize> {
    let mut ranges = vec![(GATE + 1, DEPARTING)];
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
            self.hold.leave();
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
