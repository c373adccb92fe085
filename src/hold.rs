//! Holds and the gate: who is alive, decided by the kernel.
//!
//! Everything rests on open-file-description locks on bytes far beyond the segment's end. They end
//! with the last descriptor and the last mapping of the open file, so with the process, however it
//! ends; they know nothing of pids; and asking for them takes nothing.
//!
//! | byte | write-locked by | for how long |
//! |---|---|---|
//! | [`GATE`] | whoever decides about the segment's *name* | the decision |
//! | `GATE + n` | holder n, a process that has the segment open | as long as it has |
//!
//! Invariants:
//! 1. *A number is drawn once.* The counter in the header only grows; a draw is one CAS.
//! 2. *Holder n is alive exactly while byte n is locked*, from `Hold::take` until [`Leaving`] is
//!    dropped, or the kernel closes a dead process's descriptors.
//! 3. *One open file description, one holder.* A fork shares its parent's, so `prepare` opens each
//!    segment again beforehand and the child keeps that one alone: a dead parent never looks alive
//!    through its child, and a child is a holder from its first instruction. The child's mapping is
//!    its parent's, and would keep the description it was made through: so that is never the hold's.
//! 4. *No fork falls into a gate section or a half-made hold*: those run under [`Exclusive`], which
//!    `prepare` takes.
//!
//! If a process dies anywhere here, the kernel closes its descriptors: the gate opens, the hold
//! ends. A number that was drawn and not locked yet is nobody's, and dead.

mod last;

pub(crate) use last::{Ends, leave_all};

use crate::error::Error;
use crate::os::{self, FileId};
use crate::sync::{Deadline, Standing, count_announced, forget_held_locks, new_identity};
use std::cell::Cell;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, IntoRawFd, RawFd};
use std::path::PathBuf;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

/// The gate's byte. Beyond any file's end, and with room above it for every number.
const GATE: u64 = 1 << 62;

/// How long anybody tries to get into a gate. A live process is in it for microseconds.
pub(crate) const GATE_PATIENCE: Duration = Duration::from_secs(1);

// The counter of holder numbers.

/// How many bits of the counter are the next number; the 16 above are a check of them.
const NUMBER_BITS: u32 = 48;
const NUMBER_MASK: u64 = (1 << NUMBER_BITS) - 1;

/// The counter's word for the next number `next`.
///
/// ```text
/// bit 63 … 48   check: the number's three 16-bit parts and a constant, XORed; so one flipped byte
///               is found, and zeroed memory is no counter
/// bit 47 … 0    the next number to be drawn, from 1 on
/// ```
const fn counter_word(next: u64) -> u64 {
    let check = next ^ next >> 16 ^ next >> 32 ^ 0x5a5a;
    next & NUMBER_MASK | (check & 0xffff) << NUMBER_BITS
}

/// The counter of a new segment.
pub(crate) const FIRST_COUNTER: u64 = counter_word(1);

/// The next number that a counter's word names; `None` where the word is damaged.
pub(crate) fn next_number(word: u64) -> Option<u64> {
    let next = word & NUMBER_MASK;
    (next != 0 && word == counter_word(next)).then_some(next)
}

fn draw(counter: &AtomicU64) -> io::Result<u64> {
    let mut word = counter.load(Ordering::Relaxed);
    loop {
        let next = next_number(word).filter(|next| *next < NUMBER_MASK);
        let next = next.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))?;
        match counter.compare_exchange_weak(
            word,
            counter_word(next + 1),
            Ordering::Relaxed,
            Ordering::Relaxed,
        ) {
            Ok(_) => return Ok(next),
            Err(now) => word = now,
        }
    }
}

// The process-wide lock and the forks.

/// Proof that this thread alone opens, creates or drops segments in this process, and that no fork
/// happens meanwhile.
pub(crate) struct Exclusive(MutexGuard<'static, Vec<Arc<Hold>>>);

/// The holds of this process, for a fork to renew.
static HOLDS: Mutex<Vec<Arc<Hold>>> = Mutex::new(Vec::new());

/// Takes the process-wide lock.
pub(crate) fn exclusive() -> Exclusive {
    static WATCHING: OnceLock<()> = OnceLock::new();
    WATCHING.get_or_init(|| {
        os::on_fork(before_fork, after_fork_in_parent, after_fork_in_child)
            .expect("registering three fork handlers needs a few bytes of memory");
    });
    Exclusive(HOLDS.lock().unwrap_or_else(PoisonError::into_inner))
}

thread_local! {
    /// The process-wide lock, held by the forking thread from before the fork until after it.
    static FORKING: Cell<Option<Exclusive>> = const { Cell::new(None) };
}

extern "C" fn before_fork() {
    let exclusive = exclusive();
    for hold in exclusive.0.iter() {
        hold.open_for_child();
    }
    FORKING.set(Some(exclusive));
}

extern "C" fn after_fork_in_parent() {
    if let Some(exclusive) = FORKING.take() {
        for hold in exclusive.0.iter() {
            hold.drop_heir();
        }
    }
}

extern "C" fn after_fork_in_child() {
    forget_held_locks();
    if let Some(exclusive) = FORKING.take() {
        for hold in exclusive.0.iter() {
            hold.become_heir();
        }
    }
}

/// How many locks of open segments this thread holds for code that is not ours: what a fork would
/// copy without its being the child's. A leaked one counts until its handle is dropped, and a copy not
/// at all: a forked child holds by other numbers.
pub(crate) fn guards_alive() -> usize {
    if count_announced(|_, _| true) == 0 {
        return 0; // as a rule, and without the process-wide lock
    }
    let exclusive = exclusive();
    count_announced(|identity, number| {
        exclusive
            .0
            .iter()
            .any(|hold| identity == hold.identity && number == hold.number.load(Ordering::Relaxed))
    })
}

// Holds.

const NO_FD: RawFd = -1;

/// This process's hold on one open segment.
#[derive(Debug)]
pub(crate) struct Hold {
    /// Our own open file description; [`NO_FD`] in a child that could not get one, and after
    /// leaving. Changes only under [`Exclusive`], while no other thread exists or uses it.
    fd: AtomicI32,
    /// Our number; 0 where `fd` is `NO_FD`.
    number: AtomicU64,
    /// What the next child gets: set by `open_for_child`, cleared on both sides of the fork.
    heir_fd: AtomicI32,
    heir_number: AtomicU64,
    /// The counter in the segment's header, mapped until `leave`.
    counter: NonNull<AtomicU64>,
    id: FileId,
    /// Tells the file from others as long as this process has it open; an inode's number comes again.
    identity: (u64, u64),
    /// A way to the file for systems without /proc.
    path: Option<PathBuf>,
    /// Which name is to end with the last holder; unset where none is.
    ends: OnceLock<Ends>,
}

// SAFETY: the pointer leads to an atomic that stays mapped while the hold is registered (contract
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
            ends: OnceLock::new(),
        });
        exclusive.0.push(Arc::clone(&hold));
        Ok(hold)
    }

    /// Stops forks from renewing this hold, and hands over what is left of it: dropping that ends
    /// the hold. `None` in a child that never got one.
    pub(crate) fn leave(&self, exclusive: &mut Exclusive) -> Option<Leaving> {
        exclusive.0.retain(|other| !std::ptr::eq(&**other, self));
        let number = self.number.swap(0, Ordering::Relaxed);
        take_fd(&self.fd).map(|file| Leaving { file, number })
    }

    /// Our open file description.
    pub(crate) fn fd(&self) -> Option<BorrowedFd<'_>> {
        borrow_fd(&self.fd)
    }

    pub(crate) fn number(&self) -> &AtomicU64 {
        &self.number
    }

    /// As [`Liveness::identity`](crate::sync::Liveness::identity): that of every hold on the file.
    pub(crate) fn identity(&self) -> (u64, u64) {
        self.identity
    }

    /// Whether the holder with that number lives.
    pub(crate) fn standing(&self, number: u64) -> Standing {
        if number == self.number.load(Ordering::Relaxed) {
            return Standing::Alive;
        }
        // SAFETY: mapped while we are registered, and whoever asks has the segment open.
        let word = unsafe { self.counter.as_ref() }.load(Ordering::Relaxed);
        let drawn = next_number(word).is_some_and(|next| (1..next).contains(&number));
        if !drawn {
            return Standing::NeverDrawn;
        }
        let Some(fd) = self.fd() else {
            return Standing::Alive;
        };
        match os::find_locked(fd, GATE + number, 1) {
            Ok(None) => Standing::Dead,
            // Who can't be asked for counts as alive: the question is put again after a nap.
            Ok(Some(_)) | Err(_) => Standing::Alive,
        }
    }

    fn open_for_child(&self) {
        let opened = self.fd().ok_or(io::Error::from(io::ErrorKind::NotFound));
        let opened = opened.and_then(|fd| {
            let file = os::reopen(fd, self.path.as_deref())?;
            if os::FileStatus::of(&file)?.id != self.id {
                return Err(io::ErrorKind::NotFound.into());
            }
            // SAFETY: mapped while we are registered, and we are on the list.
            let number = lock_new_number(file.as_fd(), unsafe { self.counter.as_ref() })?;
            Ok((file.into_raw_fd(), number))
        });
        // Where this failed, the child is told at its first use.
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

/// An error of [`Hold::take`], as the crate's.
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

    /// Ends the hold, with the file still open: for who is in its gate.
    pub(crate) fn end(&self) {
        // Closing is not enough: while another thread starts a program, a child that is not one of
        // our forks has copies of all descriptors, and would keep the byte locked with them.
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
        // By invariant 1 nobody else can have it: the counter was set back.
        Err(io::ErrorKind::InvalidData.into())
    }
}

/// Locks the byte of the number that the first holder of a file will draw, before it has a counter.
pub(crate) fn lock_first_number(fd: BorrowedFd<'_>) -> io::Result<bool> {
    os::try_lock_byte(fd, GATE + 1)
}

/// What the death of that first holder does.
#[cfg(test)]
pub(crate) fn unlock_first_number(fd: BorrowedFd<'_>) -> io::Result<()> {
    os::unlock_byte(fd, GATE + 1)
}

fn take_fd(cell: &AtomicI32) -> Option<File> {
    let fd = cell.swap(NO_FD, Ordering::Relaxed);
    // SAFETY: a descriptor in a hold's cell is open and the hold's own; the swap gave up the claim.
    (fd != NO_FD).then(|| unsafe { os::adopt(fd) }.into())
}

fn borrow_fd(cell: &AtomicI32) -> Option<BorrowedFd<'_>> {
    let fd = cell.load(Ordering::Relaxed);
    // SAFETY: open as long as the hold is; only a fork's child and the last use replace it.
    (fd != NO_FD).then(|| unsafe { BorrowedFd::borrow_raw(fd) })
}

/// Whether anybody but the open file description behind `fd` holds the segment.
pub(crate) fn is_held_by_others(fd: BorrowedFd<'_>) -> io::Result<bool> {
    Ok(os::find_locked(fd, GATE + 1, 0)?.is_some())
}

/// How many hold the segment, the open file description behind `fd` not counted.
///
/// The kernel names some lock of a range, not the first: so what lies on either side is asked next.
/// A hold is one byte; a longer lock is somebody else's doing, and stepped over.
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

/// Being in a segment's gate, with a descriptor for the open file description that locked the gate's
/// byte; dropping it leaves. A borrowed one, except where the file moves on meanwhile: who leaves a
/// segment must be able to enter when no descriptor is to be had.
#[derive(Debug)]
pub(crate) struct Gate<F: AsFd>(F);

impl<F: AsFd> Gate<F> {
    /// Enters the gate of the segment behind `fd`: tries, backs off, tries again. `None` at the
    /// deadline: a stopped process may sit in it.
    pub(crate) fn enter(_: &Exclusive, fd: F, deadline: Deadline) -> io::Result<Option<Self>> {
        let mut pause = Duration::from_micros(10);
        loop {
            if os::try_lock_byte(fd.as_fd(), GATE)? {
                return Ok(Some(Self(fd)));
            }
            if deadline.left().is_none() {
                return Ok(None);
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(1));
        }
    }
}

impl<F: AsFd> Drop for Gate<F> {
    fn drop(&mut self) {
        // It can only fail for a descriptor that is none; closing the file leaves the gate as well.
        let fd = self.0.as_fd();
        let left = os::unlock_byte(fd, GATE);
        debug_assert!(left.is_ok(), "{fd:?}: {left:?}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sync::{Holder, Liveness, Lock, LockError, LockWord, Patience};

    /// A holder of a file of a counter and a lock's word.
    struct Member {
        map: memmap2::MmapRaw,
        hold: Arc<Hold>,
    }

    impl Member {
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
            // SAFETY: mapped as long as `self` is, and aligned; a lock's word is atomic.
            Lock::new(unsafe { &*word }, holder, 0)
        }
    }

    impl Drop for Member {
        fn drop(&mut self) {
            drop(self.hold.leave(&mut exclusive()));
        }
    }

    impl Liveness for Member {
        fn standing(&self, number: u64) -> Standing {
            self.hold.standing(number)
        }

        fn identity(&self) -> (u64, u64) {
            self.hold.identity()
        }
    }

    const FOREVER: Patience = Patience::Until(Deadline::NEVER);

    #[test]
    fn a_leaked_guard_lives_as_long_as_its_handle() {
        let file = os::create_in_memory().unwrap();
        file.set_len(16).unwrap();
        std::os::unix::fs::FileExt::write_all_at(&file, &FIRST_COUNTER.to_le_bytes(), 0).unwrap();
        // Two handles to one segment, in one process: two holders of one lock.
        let (one, other) = (Member::new(&file), Member::new(&file));
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
        assert!(other.lock().lock(Patience::Try).is_err());
        drop(one);
        assert_eq!(guards_alive(), 0, "its handle is gone");
        assert!(other.lock().lock(FOREVER).unwrap().owner_died());
    }

    /// Inode numbers come again at once on some filesystems: here one file stands for two.
    #[test]
    fn a_leaked_guard_is_not_a_later_segment_s() {
        let file = os::create_in_memory().unwrap();
        file.set_len(16).unwrap();
        let new_segment = || {
            let words = [FIRST_COUNTER.to_le_bytes(), [0; 8]].concat();
            std::os::unix::fs::FileExt::write_all_at(&file, &words, 0).unwrap();
            Member::new(&file)
        };
        let first = new_segment();
        let guard = first.lock().lock(FOREVER).unwrap();
        std::mem::forget(guard.announce());
        std::mem::forget(guard);
        let number = first.hold.number().load(Ordering::Relaxed);
        drop(first);

        let (later, same) = (new_segment(), Member::new(&file));
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
            let soon = Patience::within(Duration::from_millis(1));
            let refused = [later, &same].map(|member| member.lock().lock(soon).map(drop));
            drop(done);
            assert_eq!(refused, [Err(LockError::TimedOut); 2], "another thread's");
        });
    }

    #[test]
    fn a_guard_in_memory_of_one_s_own_does_not_count() {
        struct Own;
        impl Liveness for Own {
            fn standing(&self, _: u64) -> Standing {
                Standing::Alive
            }
            fn identity(&self) -> (u64, u64) {
                (u64::MAX, 1)
            }
        }
        let file = os::create_in_memory().unwrap();
        file.set_len(16).unwrap();
        std::os::unix::fs::FileExt::write_all_at(&file, &FIRST_COUNTER.to_le_bytes(), 0).unwrap();
        let same_number = Member::new(&file);
        let number = AtomicU64::new(same_number.hold.number().load(Ordering::Relaxed));
        let word = LockWord::default();
        let holder = Holder {
            number: &number,
            others: &Own,
        };
        let guard = Lock::new(&word, holder, 0).lock(FOREVER).unwrap();
        let announced = guard.announce();
        assert_eq!(guards_alive(), 0);
        drop(announced);
    }

    #[test]
    fn a_flipped_byte_of_the_counter_is_found() {
        for next in [1, 2, 0xffff, 0x1_0000, 0x1234_5678_9abc] {
            let word = counter_word(next);
            assert_eq!(next_number(word), Some(next));
            for byte in 0..8 {
                for mask in 1..=255u64 {
                    assert_eq!(next_number(word ^ mask << (8 * byte)), None);
                }
            }
        }
        assert_eq!(next_number(0), None);
    }

    #[test]
    fn numbers_are_drawn_once() {
        let counter = AtomicU64::new(FIRST_COUNTER);
        let drawn: Vec<_> = (0..70_000).map(|_| draw(&counter).unwrap()).collect();
        assert!(drawn.iter().copied().eq(1..=70_000));
    }
}
