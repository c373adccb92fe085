//! Code that several handles share: constructors, methods about the place, the lock of a value or an array,
//! and the slots and iterators of queues.

use crate::error::GetError;
use crate::segment::Region;
use crate::sync::{Lock, LockError, LockGuard, LockId, LockWord, Wait};

/// Writes a handle's six constructors.
///
/// `constructors! { "queue" with "capacity", Region, capacity: usize => (capacity, &[]); ... }` writes
/// constructors over a `Region` that take `capacity` and pass `(capacity, &[])` on. The two nouns are for
/// the docs; a type whose size is no choice of the caller leaves out the second. The macro's caller documents
/// each constructor's purpose and gives an example, and the macro adds the errors.
macro_rules! constructors {
    (
        $noun:literal $(with $size:literal)?, $inner:ident, $param:ident: $type:ty => ($($args:expr),*);
        $(#[$new:meta])* new;
        $(#[$create:meta])* create;
        $(#[$open:meta])* open;
        $(#[$open_or_create:meta])* open_or_create;
        $(#[$create_in:meta])* create_in;
        $(#[$open_in:meta])* open_in;
    ) => {
        $(#[$new])*
        ///
        /// # Errors
        $(
            #[doc = concat!("- [`InvalidSize`](crate::Error::InvalidSize) for a ", $size)]
            ///   of 0, or one that no address space holds.
        )?
        /// - [`NoSpace`](crate::Error::NoSpace) or [`Os`](crate::Error::Os).
        pub fn new($param: $type) -> Result<Self> {
            Self::create(Place::anonymous(), $param)
        }

        $(#[$create])*
        ///
        /// All memory is reserved before this returns. The name appears when the segment is complete, so
        /// that nobody opens a part of it.
        ///
        /// # Errors
        /// - [`AlreadyExists`](crate::Error::AlreadyExists) if the name is taken. A segment that is only the
        ///   leftover of a crash is replaced instead.
        $(
            #[doc = concat!("- [`InvalidSize`](crate::Error::InvalidSize) for a ", $size)]
            ///   of 0, or one that no address space holds.
        )?
        /// - [`NoSpace`](crate::Error::NoSpace), [`InvalidName`](crate::Error::InvalidName),
        ///   [`PermissionDenied`](crate::Error::PermissionDenied), [`Stalled`](crate::Error::Stalled) or
        ///   [`Os`](crate::Error::Os).
        pub fn create(place: impl Into<Place>, $param: $type) -> Result<Self> {
            $inner::create(&place.into(), $($args),*).map(Self::of)
        }

        $(#[$open])*
        ///
        /// # Errors
        /// - [`NotFound`](crate::Error::NotFound) if there is no segment, and nobody creates one within
        ///   [`Place::open_timeout`](crate::Place::open_timeout).
        /// - [`Foreign`](crate::Error::Foreign), [`Corrupt`](crate::Error::Corrupt) or
        #[doc = concat!("  [`Mismatch`](crate::Error::Mismatch) if there is anything but a sound ", $noun)]
        ///   of this type. The file is left as it was.
        /// - [`InvalidName`](crate::Error::InvalidName),
        ///   [`PermissionDenied`](crate::Error::PermissionDenied), [`Stalled`](crate::Error::Stalled) or
        ///   [`Os`](crate::Error::Os).
        pub fn open(place: impl Into<Place>) -> Result<Self> {
            $inner::open(&place.into()).map(Self::of)
        }

        $(#[$open_or_create])*
        ///
        /// If several processes race, one of them creates the segment, and all of them get that segment.
        ///
        /// # Errors
        /// The errors are those of [`open`](Self::open) and [`create`](Self::create).
        $(
            #[doc = concat!("An existing ", $noun, " with another ", $size, " is a")]
            /// [`Mismatch`](crate::Error::Mismatch).
        )?
        pub fn open_or_create(place: impl Into<Place>, $param: $type) -> Result<Self> {
            $inner::open_or_create(&place.into(), $($args),*).map(Self::of)
        }

        $(#[$create_in])*
        ///
        /// # Errors
        $(
            #[doc = concat!("- [`InvalidSize`](crate::Error::InvalidSize) for a ", $size)]
            ///   of 0, or one that no address space holds.
        )?
        #[doc = concat!("- [`NoSpace`](crate::Error::NoSpace) if the ", $noun)]
        ///   does not fit into the memory.
        /// - [`AlreadyExists`](crate::Error::AlreadyExists) if the memory contains something already, or if
        ///   somebody else is laying something out in it.
        /// - [`Unsupported`](crate::Error::Unsupported) in a forked child that could not become a holder of
        ///   the memory.
        pub fn create_in(memory: Arc<dyn Memory>, $param: $type) -> Result<Self> {
            $inner::create_in(memory, $($args),*).map(Self::of)
        }

        $(#[$open_in])*
        ///
        /// # Errors
        /// - [`NotFound`](crate::Error::NotFound) if nobody has finished laying something out in the memory.
        /// - [`Foreign`](crate::Error::Foreign), [`Corrupt`](crate::Error::Corrupt) or
        #[doc = concat!("  [`Mismatch`](crate::Error::Mismatch) if there is anything but a sound ", $noun)]
        ///   of this type.
        pub fn open_in(memory: Arc<dyn Memory>) -> Result<Self> {
            $inner::open_in(memory).map(Self::of)
        }
    };
}

/// Writes the methods about a handle's place. They ask the field `$inner`. `$type` and `$arg` are for an
/// example, which creates a handle with `$type::new($arg)`.
macro_rules! place_methods {
    ($inner:tt, $type:literal, $arg:literal) => {
        /// Returns the name or the path with which the segment was created or opened. The result is `None`
        /// for anonymous memory, for a descriptor, and for memory of your own.
        #[must_use]
        pub fn name(&self) -> Option<&str> {
            self.$inner.name()
        }

        /// Returns whether [`name`](Self::name) still leads to this segment, so that others can open it by that
        /// name. If not, this handle and all others go on working, but nobody finds the segment any more:
        /// somebody removed the name ([`unlink`](crate::unlink), `rm`, or one of the programs that the README
        /// lists), and perhaps gave it to another segment. Where `name` is `None`, so that there is nothing to
        /// lead anywhere, the result is `false`. Somebody may remove the name right after this call.
        ///
        /// ```
        /// # fn main() -> shmkit::Result<()> {
        #[doc = concat!("# let name = format!(\"doc-reachable-", $type, "-{}\", std::process::id());")]
        #[doc = concat!("let ours = shmkit::", $type, "::create(&name, ", $arg, ")?;")]
        /// assert!(ours.is_reachable());
        /// shmkit::unlink(&name)?; // usually another program
        /// assert!(!ours.is_reachable());
        /// # Ok(())
        /// # }
        /// ```
        #[must_use]
        pub fn is_reachable(&self) -> bool {
            self.$inner.is_reachable()
        }

        /// Returns whether this handle, or the handle that it was cloned from, created the segment.
        #[must_use]
        pub fn was_created(&self) -> bool {
            self.$inner.was_created()
        }

        /// Returns a new descriptor of the segment's file. If you pass the descriptor to another process,
        /// that process can open the segment with [`Place::fd`]. The descriptor does not keep the segment
        /// alive, so keep this handle until the other process has opened the segment.
        ///
        /// ```
        /// use shmkit::Place;
        ///
        /// # fn main() -> shmkit::Result<()> {
        #[doc = concat!("let ours = shmkit::", $type, "::new(", $arg, ")?;")]
        /// let fd = ours.try_clone_fd()?; // goes to another process, through a socket, say
        #[doc = concat!("let theirs = shmkit::", $type, "::open(Place::fd(fd))?; // usually over there")]
        /// assert!(ours.was_created() && !theirs.was_created());
        /// # Ok(())
        /// # }
        /// ```
        ///
        /// # Errors
        /// - [`PermissionDenied`](crate::Error::PermissionDenied) or [`Os`](crate::Error::Os).
        /// - [`Unsupported`](crate::Error::Unsupported) if there is no file behind the memory.
        pub fn try_clone_fd(&self) -> Result<OwnedFd> {
            self.$inner.try_clone_fd()
        }
    };
}

pub(super) use {constructors, place_methods};

/// Takes the lock in `word`, which is one of the region's control words. Returns `None` if a live owner
/// still has the lock when the wait is over.
///
/// # Panics
/// This panics if the word names an owner that never was. The message has the region's name, or `noun` if
/// the region has no name.
#[inline]
pub(super) fn lock_word<'a, T, B>(
    region: &'a Region<T, B>,
    word: &'a LockWord,
    wait: Wait,
    noun: &str,
) -> Option<LockGuard<'a>> {
    match Lock::new(word, region.holder(), LockId(0)).lock(wait) {
        Ok(guard) => Some(guard),
        Err(LockError::Busy | LockError::TimedOut) => None,
        Err(LockError::Corrupt) => panic!(
            "the lock word of {} names an owner that never was: a peer wrote where it must not",
            region.name().unwrap_or(noun)
        ),
    }
}

/// Elements of at least this size in bytes are copied on the heap or in place, because the stack of a thread
/// may be 2 MiB.
const LARGE: usize = 64 * 1024;

/// Returns whether an element is too large for a copy on the stack.
///
/// In a debug build, a function's stack frame has space for the locals of both branches of an `if`. So each
/// branch is a function of its own if one of them has an element as a local.
#[inline]
pub(super) const fn is_large<T>() -> bool {
    size_of::<T>() >= LARGE
}

/// Runs a closure when it is dropped: after the function's result is where the caller wants it. If a commit
/// came before that, the result would have to survive the commit in a copy on the stack.
pub(super) struct AfterResult<F: FnOnce()>(Option<F>);

impl<F: FnOnce()> AfterResult<F> {
    pub(super) fn new(f: F) -> Self {
        Self(Some(f))
    }
}

impl<F: FnOnce()> Drop for AfterResult<F> {
    fn drop(&mut self) {
        if let Some(f) = self.0.take() {
            f();
        }
    }
}

/// Finds the slot for each position of a ring.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slots {
    count: u64,
    /// `count - 1` if the count is a power of two, else 0. The mask finds a slot without a division.
    mask: u64,
}

impl Slots {
    pub(super) fn new(count: u64) -> Self {
        let mask = if count.is_power_of_two() {
            count - 1
        } else {
            0
        };
        Self { count, mask }
    }

    #[inline]
    pub(super) fn count(self) -> u64 {
        self.count
    }

    /// Returns the index of a position's slot, which is less than the count for every position.
    #[inline]
    pub(super) fn index(self, position: u64) -> usize {
        let index = if self.mask != 0 {
            position & self.mask
        } else {
            position % self.count
        };
        #[allow(clippy::cast_possible_truncation)] // less than the count, and all slots are mapped
        let index = index as usize;
        index
    }
}

/// Turns the outcome of a get into an iterator's next item: an error ends the iteration.
///
/// # Panics
/// This panics if the error is [`GetError::Corrupt`].
pub(super) fn item_or_end<T>(got: Result<T, GetError>) -> Option<T> {
    match got {
        Ok(item) => Some(item),
        Err(GetError::Corrupt) => panic!("{}", GetError::Corrupt),
        Err(_) => None,
    }
}
